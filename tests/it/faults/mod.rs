//! What an upstream and a client can do wrong on the wire, and what the other side then sees. After each fault the
//! gateway serves the next request: [`Faulty`] asks for that.

mod clients;
mod storms;
mod upstreams;

use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::support::anthropic_reader::Message;
use crate::support::bodies::plain_request;
use crate::support::http_client::{BodyEnd, Connection, EventStream};
use crate::support::raw_upstream::{RawUpstream, Wire, broken};
use crate::support::service::{Gateway, Service};
use crate::support::world::World;

/// A service with one gateway to a [`RawUpstream`].
// Dropped in this order.
struct Faulty {
    service: Service,
    gateway: Gateway,
    _world: World,
}

/// What a client is told: in a refusal, or in the events of a stream.
#[derive(Debug)]
struct Told {
    status: u16,
    /// The text that came before the error.
    text: String,
    /// Of the error; empty when the answer is whole.
    kind: String,
    message: String,
}

impl Faulty {
    fn with(play: impl Fn(&str, &mut Wire) + Send + Sync + 'static) -> Self {
        Self::before(&RawUpstream::start(play), "")
    }

    /// `more`: lines at the end of the config.
    fn before(upstream: &RawUpstream, more: &str) -> Self {
        let world = World::new();
        let config = world.write("claudette.toml", &config(&format!("http://{}/v1", upstream.address), more));
        let service = Service::start(&world, &config);
        let gateway = service.gateway(&world, "local");
        Self { service, gateway, _world: world }
    }

    fn ask(&self, prompt: &str) -> EventStream {
        ask(&self.gateway, prompt)
    }

    fn told(&self, fault: &str) -> Told {
        told(self.ask(&broken(fault)))
    }

    fn assert_serves(&self, after: &str) {
        assert_serves(&self.gateway, after);
    }

    /// How many descriptors the service has open; `None` where the system does not tell.
    fn open_files(&self) -> Option<usize> {
        std::fs::read_dir(format!("/proc/{}/fd", self.service.pid())).ok().map(Iterator::count)
    }

    /// The most memory that the service ever had, in bytes; `None` where the system does not tell.
    fn most_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }
}

fn config(base_url: &str, more: &str) -> String {
    format!(
        "[backends.local]\nkind = \"custom-openai\"\nbase_url = \"{base_url}\"\ndefault_model = \"qwen3-coder\"\n\
         context_window = 32768\n{more}"
    )
}

fn request(prompt: &str) -> Value {
    let mut body = plain_request(prompt);
    body["model"] = json!("anthropic/qwen3-coder");
    body
}

fn send(gateway: &Gateway, prompt: &str) -> Connection {
    let mut connection = gateway.connect();
    connection.send("POST", "/v1/messages?beta=true", &gateway.headers(), request(prompt).to_string().as_bytes());
    connection
}

fn ask(gateway: &Gateway, prompt: &str) -> EventStream {
    send(gateway, prompt).into_event_stream()
}

fn told(mut stream: EventStream) -> Told {
    let status = stream.head.status;
    if status != 200 {
        let text = stream.into_text();
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault} in {text:?}"));
        return Told::new(status, String::new(), &error["error"]);
    }
    let events = stream.read_to_end();
    assert_eq!(stream.end(), BodyEnd::Clean, "all of the answer arrives, its error too: {events:#?}");
    let last = events.last().expect("an answer has events");
    if last.name != "error" {
        return Told::new(200, Message::from_events(&events).text(), &Value::Null);
    }
    assert!(events.iter().all(|event| event.name != "message_stop"), "a broken answer looks whole: {events:#?}");
    let text = events.iter().filter_map(|event| event.data["delta"]["text"].as_str()).collect();
    Told::new(status, text, &last.data["error"])
}

impl Told {
    fn new(status: u16, text: String, error: &Value) -> Self {
        let words = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        Self { status, text, kind: words("type"), message: words("message") }
    }
}

fn assert_serves(gateway: &Gateway, after: &str) {
    let next = told(ask(gateway, "the next one"));
    assert_eq!((next.status, next.text.as_str(), next.kind.as_str()), (200, "Fine.", ""), "after {after}: {next:?}");
}

/// A certificate of its own making for 127.0.0.1: what serves with it, and the file that trusts it.
fn self_signed() -> (Arc<ServerConfig>, String) {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a certificate and its key");
    (Arc::new(tls), signed.cert.pem())
}
