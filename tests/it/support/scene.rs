//! A test's usual stage: an upstream with a script, the service in a world of its own, one gateway to speak to.

use serde_json::Value;

use super::anthropic_reader::Message;
use super::codex;
use super::http_client::{Event, EventStream, Response};
use super::service::{Gateway, Service};
use super::upstream_process::Upstream;
use super::world::World;

/// The key that the upstream takes and the config holds. It looks like a real one, so that masking is tried too.
pub const UPSTREAM_KEY: &str = "sk-upstream-0123456789abcdefghijklmnop";
pub const ACCOUNT: &str = "account-of-the-tests";

// Dropped in this order: the service stops before its upstream, and its world goes last.
pub struct Scene {
    pub service: Service,
    pub gateway: Gateway,
    pub upstream: Upstream,
    pub backend: &'static str,
    pub world: World,
}

impl Scene {
    /// The `openai-api` backend, with `gpt-5.5` and, for small work, `gpt-5-mini`.
    pub fn openai(script: Value) -> Self {
        Self::openai_with(script, "")
    }

    /// The same, with more lines at the end of the config file.
    pub fn openai_with(script: Value, more: &str) -> Self {
        Self::openai_in(World::new(), script, more)
    }

    /// The same in a world where something lies already.
    pub fn openai_in(world: World, script: Value, more: &str) -> Self {
        let upstream =
            Upstream::start(&["--profile", "openai", "--key", UPSTREAM_KEY, "--models", "gpt-5.5,gpt-5-mini"]);
        let config = format!("{}\n{more}", openai_config(&format!("http://{}/v1", upstream.address)));
        Self::start(world, upstream, "openai-api", &config, script)
    }

    /// A backend of kind `custom-openai` without a key, with the model `qwen3-coder`.
    pub fn custom(script: Value) -> Self {
        let upstream = Upstream::start(&["--profile", "custom", "--models", "qwen3-coder"]);
        let config = format!(
            "[backends.local]\nkind = \"custom-openai\"\nbase_url = \"http://{}/v1\"\n\
             default_model = \"qwen3-coder\"\ncontext_window = 32768\n",
            upstream.address
        );
        Self::start(World::new(), upstream, "local", &config, script)
    }

    /// The ChatGPT subscription: a login in `auth.json`, as `codex login` leaves it.
    pub fn codex(script: Value) -> Self {
        let world = World::new();
        let token = codex::token("usual", codex::FOREVER);
        world.write("codex/auth.json", &codex::login(&token, ACCOUNT));
        let entry = ["--key", &token, "--account", ACCOUNT];
        Self::codex_in(world, &entry, "/nonexistent/codex", script)
    }

    /// The same in a world whose login the test has laid out. `entry` is what the upstream asks of who comes in.
    pub fn codex_in(world: World, entry: &[&str], codex_bin: &str, script: Value) -> Self {
        Self::codex_with(world, entry, codex_bin, "", script)
    }

    /// The same, with more lines for the backend's part of the config.
    pub fn codex_with(world: World, entry: &[&str], codex_bin: &str, more: &str, script: Value) -> Self {
        let upstream = Upstream::start(&[&["--profile", "codex", "--models", "gpt-5.5,gpt-6-sol"], entry].concat());
        let config = format!(
            "[backends.codex-subscription]\nenabled = true\nbase_url = \"http://{}/backend-api\"\n\
             codex_bin = \"{codex_bin}\"\ndefault_model = \"gpt-5.5\"\n{more}",
            upstream.address
        );
        Self::start(world, upstream, "codex-subscription", &config, script)
    }

    fn start(world: World, upstream: Upstream, backend: &'static str, config: &str, script: Value) -> Self {
        if !script.is_null() {
            upstream.script(&script);
        }
        let config = world.write("claudette.toml", config);
        let service = Service::start(&world, &config);
        let gateway = service.gateway(&world, backend);
        Self { service, gateway, upstream, backend, world }
    }

    /// Saves the config of [`Scene::openai`] with other lines at its end.
    pub fn edit(&self, more: &str) {
        self.save(&format!("{}\n{more}", openai_config(&format!("http://{}/v1", self.upstream.address))));
    }

    /// Saves the config file as an editor does: beside it, then renamed over it.
    pub fn save(&self, text: &str) {
        let new = self.world.write("claudette.toml.new", text);
        std::fs::rename(new, self.world.path("claudette.toml")).expect("both lie in one folder");
    }

    /// Stops the service and starts it again on the same state.
    pub fn restart_service(mut self) -> Self {
        let config = self.world.path("claudette.toml");
        let (status, _, log) = self.service.stop();
        assert!(status.success(), "{status}: {log:#?}");
        self.service = Service::start(&self.world, &config);
        self
    }

    /// Sends `POST /v1/messages?beta=true` on a connection of its own and reads the response as a stream.
    pub fn stream(&self, body: &Value) -> EventStream {
        let mut connection = self.gateway.connect();
        connection.send("POST", "/v1/messages?beta=true", &self.gateway.headers(), body.to_string().as_bytes());
        let stream = connection.into_event_stream();
        let status = stream.head.status;
        if status != 200 {
            let text = stream.into_text();
            panic!("HTTP {status}: {text}");
        }
        stream
    }

    /// Streams an answer to its end and reads it as a message.
    pub fn message(&self, body: &Value) -> Message {
        Message::from_events(&self.events(body))
    }

    pub fn events(&self, body: &Value) -> Vec<Event> {
        self.stream(body).read_to_end()
    }

    /// Sends a request and reads the whole response, whatever it is.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let mut connection = self.gateway.connect();
        connection.send("POST", path, &self.gateway.headers(), body.to_string().as_bytes());
        connection.read_response()
    }

    /// A `POST /v1/messages` that fails before its stream begins.
    pub fn refusal(&self, body: &Value) -> Response {
        let response = self.post("/v1/messages?beta=true", body);
        assert_ne!(response.status, 200, "{}", response.text());
        response
    }

    pub fn get(&self, path: &str) -> Response {
        let mut connection = self.gateway.connect();
        connection.send("GET", path, &self.gateway.headers(), b"");
        connection.read_response()
    }
}

pub fn openai_config(base_url: &str) -> String {
    format!(
        "[backends.openai-api]\ncredential = {{ value = \"{UPSTREAM_KEY}\" }}\nbase_url = \"{base_url}\"\n\
         default_model = \"gpt-5.5\"\nsmall_model = \"gpt-5-mini\"\n"
    )
}

/// Asserts the envelope of an error and gives back its type and message.
pub fn error_of(response: &Response) -> (String, String) {
    let body = response.json();
    assert_eq!(body["type"], "error", "{body}");
    assert!(body["request_id"].is_string(), "no request_id: {body}");
    assert!(response.header("request-id").is_some(), "no request-id header");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (text(&body["error"]["type"]), text(&body["error"]["message"]))
}
