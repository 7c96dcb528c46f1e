//! The API's side: let in, look at the request, choose a reply, play it, and keep the connection.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::Options;
use crate::http::{Connection, Request};
use crate::play::{Left, Player, error_body};
use crate::rules::{self, Profile};
use crate::script::{Part, Reply};
use crate::state::{Chosen, State};
use crate::stream::Telling;

/// Numbers the responses, so that every id of a run is its own.
static RESPONSES: AtomicUsize = AtomicUsize::new(1);

/// What a request is about; its name is what scripts call it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Responses,
    Count,
    Models,
    Account,
    Usage,
}

pub fn listen(listener: &TcpListener, state: &Arc<State>, options: &Arc<Options>) {
    for stream in listener.incoming().flatten() {
        let (state, options) = (Arc::clone(state), Arc::clone(options));
        thread::spawn(move || serve(stream, &state, &options));
    }
}

fn serve(stream: TcpStream, state: &Arc<State>, options: &Options) {
    let Ok(mut connection) = Connection::new(stream, Arc::clone(state)) else { return };
    loop {
        let request = match connection.read_request() {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(sentence) => return state.violation(format!("not HTTP: {sentence}")),
        };
        let left = answer(&request, &mut connection, state, options);
        state.reply_ended(left != Left::Aborted);
        if left != Left::Reusable || !request.keep_alive {
            return;
        }
    }
}

fn answer(request: &Request, connection: &mut Connection, state: &State, options: &Options) -> Left {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    state.request_seen(json!({
        "method": request.method, "target": request.target, "path": request.path(), "body": body,
        "headers": request.headers.iter().cloned().map(|(name, value)| (name, json!(value)))
            .collect::<serde_json::Map<_, _>>(),
    }));
    let reply = reply_to(request, &body, state, options);
    let telling = Telling::new(RESPONSES.fetch_add(1, Ordering::SeqCst), body.clone());
    let stream_content_type = (options.profile != Profile::Codex).then_some("text/event-stream; charset=utf-8");
    let streams = body.get("stream") == Some(&Value::Bool(true));
    Player { connection, state, streams, stream_content_type }.play(reply, telling)
}

fn reply_to(request: &Request, body: &Value, state: &State, options: &Options) -> Reply {
    let Some(endpoint) = endpoint(request, options.profile) else {
        state.violation(format!("no such endpoint: {} {}", request.method, request.target));
        let message = format!("Invalid URL ({} {})", request.method, request.path());
        return Reply::json(404, error_body(&message, "invalid_request_error", Value::Null, Value::Null));
    };
    if let Some(refusal) = refuse_entry(request, options) {
        return refusal;
    }
    for sentence in rules::check_headers(request) {
        state.violation(sentence);
    }
    let violations = match endpoint {
        Endpoint::Responses if takes_the_lite_lane(request, options) => rules::check_lite_request(body),
        Endpoint::Responses => rules::check_response_request(body, options.profile),
        Endpoint::Count => rules::check_count_request(body, options.profile),
        Endpoint::Models | Endpoint::Account | Endpoint::Usage => Vec::new(),
    };
    if let Some(first) = violations.first() {
        let refusal = Reply::json(400, first.body(options.profile));
        violations.iter().for_each(|violation| state.violation(violation.to_string()));
        return refusal;
    }
    let kind = kind(endpoint, body);
    match state.choose(kind, &String::from_utf8_lossy(&request.body)) {
        Chosen::Reply(reply) => reply,
        Chosen::NoScript => default_reply(kind, options),
        Chosen::NoStep if matches!(kind, "title" | "models" | "count" | "account" | "usage") => {
            default_reply(kind, options)
        }
        Chosen::NoStep => {
            state.violation(format!("the script has no step for this {kind} request"));
            Reply::json(500, error_body("no step of the script", "server_error", Value::Null, Value::Null))
        }
    }
}

fn takes_the_lite_lane(request: &Request, options: &Options) -> bool {
    options.profile == Profile::Codex && request.header("x-openai-internal-codex-responses-lite") == Some("true")
}

fn endpoint(request: &Request, profile: Profile) -> Option<Endpoint> {
    let endpoints: &[(&str, &str, Endpoint)] = match profile {
        Profile::OpenAi => &[
            ("POST", "/v1/responses", Endpoint::Responses),
            ("POST", "/v1/responses/input_tokens", Endpoint::Count),
            ("GET", "/v1/models", Endpoint::Models),
        ],
        Profile::Custom => &[("POST", "/v1/responses", Endpoint::Responses), ("GET", "/v1/models", Endpoint::Models)],
        Profile::Codex => &[
            ("POST", "/backend-api/codex/responses", Endpoint::Responses),
            ("GET", "/backend-api/codex/models", Endpoint::Models),
            ("GET", "/backend-api/wham/accounts/check", Endpoint::Account),
            ("GET", "/backend-api/wham/usage", Endpoint::Usage),
        ],
    };
    let found = endpoints.iter().find(|(method, path, _)| *method == request.method && *path == request.path());
    found.map(|(_, _, endpoint)| *endpoint)
}

/// Keys and accounts are looked at before the body. A refusal is the service's, so it is no violation.
fn refuse_entry(request: &Request, options: &Options) -> Option<Reply> {
    let shown = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if options.key.as_deref().is_some_and(|key| shown != Some(key)) {
        return Some(match options.profile {
            Profile::Codex => Reply::json(401, json!({"detail": "Unauthorized"})),
            Profile::OpenAi | Profile::Custom => {
                let message = format!("Incorrect API key provided: {}.", shown.unwrap_or("''"));
                let body = error_body(&message, "invalid_request_error", json!("invalid_api_key"), Value::Null);
                Reply::json(401, body)
            }
        });
    }
    let account = request.header("chatgpt-account-id");
    if options.account.as_deref().is_some_and(|expected| account != Some(expected)) {
        return Some(Reply::json(
            403,
            json!({"error": {"code": "invalid_workspace_selected", "message": "Workspace"}}),
        ));
    }
    None
}

/// What the script calls this request.
fn kind(endpoint: Endpoint, body: &Value) -> &'static str {
    match endpoint {
        Endpoint::Models => return "models",
        Endpoint::Count => return "count",
        Endpoint::Account => return "account",
        Endpoint::Usage => return "usage",
        Endpoint::Responses => {}
    }
    let tools = rules::tools_of(body);
    let last = body["input"].as_array().and_then(|items| {
        items.iter().rev().find(|item| !matches!(item["role"].as_str(), Some("developer" | "system")))
    });
    if tools.iter().any(|tool| tool["type"] == "web_search") {
        "search"
    } else if body["text"]["format"]["type"] == "json_schema" && tools.is_empty() {
        "title"
    } else if tools.is_empty() {
        "plain"
    } else if last.is_some_and(|item| item["type"] == "function_call_output") {
        "results"
    } else {
        "turn"
    }
}

fn default_reply(kind: &str, options: &Options) -> Reply {
    match kind {
        "title" => Reply::stream(vec![Part::text(r#"{"title":"A title from the upstream"}"#)]),
        "count" => Reply::json(200, json!({"object": "response.input_tokens", "input_tokens": 4321})),
        "usage" => {
            let window = |percent: u8, seconds: u64| json!({"used_percent": percent, "limit_window_seconds": seconds});
            let limits =
                json!({"limit_reached": false, "primary_window": window(12, 18_000), "secondary_window": null});
            Reply::json(200, json!({"plan_type": "pro", "rate_limit": limits}))
        }
        "account" => Reply::json(404, json!({"detail": "Not Found"})),
        "models" if options.profile == Profile::Codex => {
            let models: Vec<Value> = options.models.iter().map(|id| codex_model(id)).collect();
            Reply::json(200, json!({"models": models}))
        }
        "models" => {
            let models: Vec<Value> = options
                .models
                .iter()
                .map(|id| json!({"id": id, "object": "model", "created": 1_795_000_000, "owned_by": "openai"}))
                .collect();
            Reply::json(200, json!({"object": "list", "data": models}))
        }
        _ => Reply::stream(vec![Part::text("Hello from the upstream.")]),
    }
}

fn codex_model(id: &str) -> Value {
    json!({
        "slug": id, "display_name": id.to_uppercase(), "shell_type": "shell_command", "visibility": "list",
        "supported_reasoning_levels": [{"effort": "low", "description": "l"}, {"effort": "medium", "description": "m"},
            {"effort": "high", "description": "h"}, {"effort": "xhigh", "description": "x"}],
        "supported_in_api": true, "priority": 1, "support_verbosity": true, "default_reasoning_level": "medium",
        "truncation_policy": {"mode": "tokens", "limit": 10000}, "experimental_supported_tools": [],
        "base_instructions": "b", "context_window": 272_000, "use_responses_lite": id != "gpt-5.5",
    })
}
