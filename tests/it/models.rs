//! Which models there are, under which names, and which one a request gets (DESIGN.md §6).

use serde_json::{Value, json};

use crate::support::bodies::{first_request, plain_request};
use crate::support::scene::{Scene, error_of};

fn says_hello() -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Hello."}]}}])
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str()).collect()
}

#[test]
fn every_model_is_listed_under_its_alias_too() {
    for (scene, expected) in [(Scene::openai(says_hello()), "gpt-5.5"), (Scene::custom(says_hello()), "qwen3-coder")] {
        let response = scene.get("/v1/models?limit=1000");
        assert_eq!(response.status, 200, "{}", response.text());
        let list = response.json();
        let ids = ids(&list);
        let alias = format!("anthropic/{expected}");
        assert!(ids.contains(&alias.as_str()) && ids.contains(&expected), "{ids:?}");
        assert_eq!(list["has_more"], false);
        assert_eq!(list["first_id"], ids[0]);
        assert_eq!(list["last_id"], *ids.last().expect("not empty"));
        for model in list["data"].as_array().expect("a list") {
            assert_eq!(model["type"], "model");
            assert!(model["display_name"].is_string(), "a null name spoils the whole list for claude: {model}");
            assert!(model["created_at"].is_string(), "{model}");
        }
    }
}

#[test]
fn an_openai_client_gets_a_list_of_its_own_shape() {
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    let headers = [("authorization".to_owned(), format!("Bearer {}", scene.gateway.token))];
    connection.send("GET", "/v1/models", &headers, b"");
    let list = connection.read_response().json();
    assert_eq!(list["object"], "list");
    assert!(ids(&list).contains(&"gpt-5.5"), "{list}");
}

#[test]
fn one_model_is_found_by_id_and_by_alias() {
    let scene = Scene::openai(says_hello());
    for path in ["/v1/models/gpt-5.5", "/v1/models/anthropic/gpt-5.5", "/v1/models/anthropic%2Fgpt-5.5"] {
        let response = scene.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(response.json()["type"], "model");
    }
    let response = scene.get("/v1/models/no-such-model");
    assert_eq!(response.status, 404);
    assert_eq!(error_of(&response).0, "not_found_error");
}

#[test]
fn a_model_list_needs_the_token() {
    let scene = Scene::openai(says_hello());
    let mut connection = scene.gateway.connect();
    connection.send("GET", "/v1/models", &[], b"");
    assert_eq!(connection.read_response().status, 401);
}

#[test]
fn each_name_gets_the_model_that_it_means() {
    let scene = Scene::openai(says_hello());
    for (requested, upstream) in [
        ("anthropic/gpt-5.5", "gpt-5.5"),
        ("gpt-5.5", "gpt-5.5"),
        ("anthropic/gpt-5-mini", "gpt-5-mini"),
        ("gpt-5.5[1m]", "gpt-5.5"),
        ("anthropic/gpt-5.5[1m]", "gpt-5.5"),
        ("claude-gpt-5-mini", "gpt-5-mini"),
        ("claude-opus-5-5", "gpt-5.5"),
        ("claude-sonnet-5-5", "gpt-5.5"),
        ("claude-haiku-5-5", "gpt-5-mini"),
        ("claude-3-5-haiku-20241022", "gpt-5-mini"),
        ("haiku", "gpt-5-mini"),
        ("opus", "gpt-5.5"),
        ("default", "gpt-5.5"),
        // Nobody knows it, so the upstream decides.
        ("gpt-5.2", "gpt-5.2"),
    ] {
        let mut body = plain_request("hi");
        body["model"] = json!(requested);
        let message = scene.message(&body);
        assert_eq!(message.model, requested, "the reply echoes the request's model");
        let sent = scene.upstream.requests().last().expect("a request").body["model"].clone();
        assert_eq!(sent, upstream, "{requested}");
    }
}

#[test]
fn the_upstreams_own_model_id_is_in_a_header() {
    let scene = Scene::openai(says_hello());
    let mut body = first_request("hi");
    body["model"] = json!("claude-haiku-5-5");
    let stream = scene.stream(&body);
    assert_eq!(stream.head.header("x-upstream-model"), Some("gpt-5-mini"));
}

#[test]
fn a_local_server_with_one_model_needs_no_default() {
    use crate::support::service::Service;
    use crate::support::upstream_process::Upstream;
    use crate::support::world::World;

    let upstream = Upstream::start(&["--profile", "custom"]);
    upstream.script(&json!([
        {"on": "models", "times": 0, "reply": {"json": {"object": "list",
            "data": [{"id": "tiny", "object": "model", "max_model_len": 65536}]}}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Hello."}]}},
    ]));
    let world = World::new();
    let config = world.write(
        "claudette.toml",
        &format!("[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://{}/v1\"\n", upstream.address),
    );
    let service = Service::start(&world, &config);
    // The list is asked for beside the start; what it names then makes the next generation.
    service.wait_for_line("gateway.replaced", |line| line["cause"] == "model_discovered");
    let environment = service.environment(&world, "vllm");
    assert_eq!(environment["ANTHROPIC_MODEL"].as_deref(), Some("anthropic/tiny"));
    assert_eq!(environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"].as_deref(), Some("65536"));
}
