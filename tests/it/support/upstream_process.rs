//! The test's side of the fake upstream (`support/upstream`): starts it, gives it a script, sees what arrived.
//!
//! A violation of the API that no test expected fails the test when the value is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::http_client::Connection;

pub struct Upstream {
    child: Child,
    pub address: String,
    control: String,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: serde_json::Map<String, Value>,
    pub body: Value,
}

impl Upstream {
    /// Starts it with arguments such as `["--profile", "openai", "--key", "sk-upstream"]`.
    pub fn start(arguments: &[&str]) -> Self {
        let program = program();
        assert!(
            program.exists(),
            "{} is missing: `cargo test` builds it, `cargo test --test it` needs `cargo build --example \
             responses-upstream` first",
            program.display()
        );
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the upstream can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the upstream says where it is");
        let place: Value = serde_json::from_str(&line).expect("the upstream says where it is");
        let text = |key: &str| place[key].as_str().expect("an address").to_owned();
        Self { child, address: text("address"), control: text("control") }
    }

    /// The steps from now on; see `support/upstream/script.rs`.
    pub fn script(&self, steps: &Value) {
        let (status, answer) = self.control("POST", "/script", Some(steps));
        assert_eq!(status, 200, "{answer}");
    }

    pub fn release(&self, name: &str) {
        self.control("POST", &format!("/release/{name}"), None);
    }

    /// Where another process POSTs to, to release this hold point.
    pub fn release_url(&self, name: &str) -> String {
        format!("http://{}/release/{name}", self.control)
    }

    pub fn state(&self) -> Value {
        self.control("GET", "/state", None).1
    }

    /// Waits for a condition such as `holding=first` or `aborted=1&connections=0`; returns the state.
    pub fn wait(&self, condition: &str) -> Value {
        let (status, state) = self.control("GET", &format!("/wait?{condition}"), None);
        assert_eq!(status, 200, "the upstream never came to {condition}: {state:#}");
        state
    }

    /// The `POST …/responses` requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        let state = self.state();
        let all = state["requests"].as_array().expect("a list").iter().map(Seen::new);
        all.filter(|seen| seen.path.ends_with("/responses")).collect()
    }

    /// The only `POST …/responses` request so far.
    pub fn only_request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    /// Takes it away, as a machine that is switched off.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn control(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut connection = Connection::open(&self.control);
        connection.send(method, path, &[], body.as_bytes());
        let response = connection.read_response();
        let status = response.status;
        (status, response.json())
    }

    /// The violations so far, which are then forgotten: for tests of the upstream itself.
    pub fn take_violations(&self) -> Vec<String> {
        let (_, state) = self.control("POST", "/forget", None);
        let list = state["violations"].as_array().expect("a list");
        list.iter().map(|sentence| sentence.as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Seen {
    fn new(request: &Value) -> Self {
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        Self {
            path: text("path"),
            headers: request["headers"].as_object().cloned().unwrap_or_default(),
            body: request["body"].clone(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// The input items of one type.
    pub fn items(&self, kind: &str) -> Vec<&Value> {
        self.body["input"].as_array().into_iter().flatten().filter(|item| item["type"] == kind).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let still_runs = matches!(self.child.try_wait(), Ok(None));
        let violations = if still_runs && !std::thread::panicking() { self.take_violations() } else { Vec::new() };
        self.stop();
        assert!(violations.is_empty(), "requests that the real service refuses:\n{}", violations.join("\n"));
    }
}

/// Examples stand beside the program under test.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_claudette")).parent().expect("a program stands in a folder");
    folder.join("examples/responses-upstream")
}
