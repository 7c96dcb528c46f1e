//! The control port: how a test sees what arrived and steers what is sent.
//!
//! `GET /state` · `GET /wait?requests=N&connections=N&holding=NAME&stalled=N&aborted=N&finished=N&patience_ms=N` (waits
//! until all that is named holds, then answers the state; 408 with the state when patience ends) · `POST /script` (the
//! steps from now on) · `POST /release/NAME` · `POST /forget`
//! (answers the state, then forgets its violations) · `POST /shutdown`.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Connection, Request};
use crate::script;
use crate::state::{Condition, State};

pub fn listen(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming().flatten() {
        let state = Arc::clone(state);
        thread::spawn(move || serve(stream, &state));
    }
}

fn serve(stream: TcpStream, state: &State) {
    // Connections to this port are not counted: a state of their own keeps them apart.
    let Ok(mut connection) = Connection::new(stream, Arc::new(State::new())) else { return };
    while let Ok(Some(request)) = connection.read_request() {
        let (status, body) = answer(&request, state);
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        if connection.write_reply(status, &headers, body.to_string().as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, state: &State) -> (u16, Value) {
    match (request.method.as_str(), request.path()) {
        ("GET", "/state") => (200, state.summary()),
        ("GET", "/wait") => {
            let (condition, patience) = parse_condition(&request.target);
            state.wait_for(&condition, patience).map_or_else(|| (408, state.summary()), |summary| (200, summary))
        }
        ("POST", "/script") => match script::parse(&String::from_utf8_lossy(&request.body)) {
            Ok(steps) => {
                state.set_script(steps);
                (200, json!({}))
            }
            Err(sentence) => (400, json!({"error": sentence})),
        },
        ("POST", "/forget") => (200, state.forget_violations()),
        ("POST", "/shutdown") => std::process::exit(0),
        ("POST", path) => match path.strip_prefix("/release/") {
            Some(name) => {
                state.release(name);
                (200, json!({}))
            }
            None => (404, json!({})),
        },
        _ => (404, json!({})),
    }
}

fn parse_condition(target: &str) -> (Condition, Duration) {
    let mut condition = Condition::default();
    let mut patience = Duration::from_secs(30);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = value.parse().ok();
        match key {
            "requests" => condition.requests = number,
            "connections" => condition.connections = number,
            "stalled" => condition.stalled = number,
            "aborted" => condition.aborted = number,
            "finished" => condition.finished = number,
            "holding" => condition.holding = Some(value.to_owned()),
            "patience_ms" => patience = number.map_or(patience, |ms| Duration::from_millis(ms as u64)),
            _ => {}
        }
    }
    (condition, patience)
}
