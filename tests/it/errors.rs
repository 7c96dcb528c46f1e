//! Upstream failures and what `claude` is told: status, type, words, and whether to try again (WIRE.md §3).

use serde_json::{Value, json};

use crate::support::anthropic_reader::{Message, error_event};
use crate::support::bodies::{first_request, plain_request};
use crate::support::http_client::{BodyEnd, Response};
use crate::support::scene::{Scene, UPSTREAM_KEY, error_of, openai_config};
use crate::support::service::Service;
use crate::support::world::World;

/// What the client must be told.
pub struct Told {
    pub status: u16,
    pub kind: &'static str,
    /// `x-should-retry`; `None` when it must be absent.
    pub retry: Option<&'static str>,
    /// Each must be in the message.
    pub says: &'static [&'static str],
}

pub fn assert_told(response: &Response, told: &Told, case: &str) {
    assert_eq!(response.status, told.status, "{case}: {}", response.text());
    let (kind, message) = error_of(response);
    assert_eq!(kind, told.kind, "{case}: {message}");
    assert_eq!(response.header("x-should-retry"), told.retry, "{case}: {message}");
    for words in told.says {
        assert!(message.contains(words), "{case}: {words:?} is not in {message:?}");
    }
    let text = response.text();
    assert!(!text.contains(UPSTREAM_KEY), "{case}: the key is in the error");
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": "invalid_request_error", "code": code, "param": null}})
}

/// Every step replies the same: some failures are tried once more by the gateway.
pub fn always(status: u16, headers: Value, body: Value) -> Value {
    json!([{"on": "any", "times": 0, "reply": {"status": status, "headers": headers, "json": body}}])
}

#[test]
fn http_failures_keep_their_meaning() {
    let none = json!({});
    for (case, script, told) in [
        (
            "a key that the upstream does not take",
            always(
                401,
                none.clone(),
                error("invalid_api_key", &format!("Incorrect API key provided: {UPSTREAM_KEY}.")),
            ),
            Told { status: 401, kind: "authentication_error", retry: Some("false"), says: &["Incorrect API key"] },
        ),
        (
            "an unknown model",
            always(404, none.clone(), error("model_not_found", "The model `gpt-5.5` does not exist.")),
            Told { status: 404, kind: "not_found_error", retry: Some("false"), says: &["model: gpt-5.5"] },
        ),
        (
            "a wrong path",
            always(404, none.clone(), json!({"detail": "Not Found"})),
            Told {
                status: 404,
                kind: "not_found_error",
                retry: Some("false"),
                says: &["no /responses at http://", "check base_url"],
            },
        ),
        (
            "a rate limit",
            always(429, json!({"retry-after": "7"}), error("rate_limit_exceeded", "Rate limit reached.")),
            Told { status: 429, kind: "rate_limit_error", retry: None, says: &["Rate limit reached."] },
        ),
        (
            "a used up quota",
            always(429, none.clone(), error("insufficient_quota", "You exceeded your current quota.")),
            Told { status: 402, kind: "billing_error", retry: Some("false"), says: &["current quota"] },
        ),
        (
            "a limit that time lifts",
            always(
                429,
                none.clone(),
                json!({"error": {"type": "usage_limit_reached", "message": "limit",
                "plan_type": "plus", "resets_in_seconds": 3600}}),
            ),
            Told { status: 429, kind: "rate_limit_error", retry: Some("false"), says: &["plus", "resets 20"] },
        ),
        (
            "overload",
            always(503, none.clone(), error("server_is_overloaded", "The server is overloaded.")),
            Told { status: 529, kind: "overloaded_error", retry: Some("true"), says: &["overloaded"] },
        ),
        (
            "an overflow of the context",
            always(
                400,
                none.clone(),
                error(
                    "context_length_exceeded",
                    "This model's maximum context length is 128000 tokens. However, your messages resulted in 131000 tokens.",
                ),
            ),
            Told {
                status: 400,
                kind: "invalid_request_error",
                retry: Some("false"),
                says: &["prompt is too long: 131000 tokens > 128000 maximum"],
            },
        ),
        (
            "a policy",
            always(400, none.clone(), error("cyber_policy", "This looks like an attack.")),
            Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &["looks like an attack"] },
        ),
        (
            "an unknown 400",
            always(400, none.clone(), error("weird", "Something is off.")),
            Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &["Something is off."] },
        ),
        (
            "a 422 of a local server",
            always(
                422,
                none.clone(),
                json!({"detail": [{"loc": ["body"], "msg": "Field required", "type": "missing"}]}),
            ),
            Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &["Field required"] },
        ),
        (
            "a server error",
            always(500, none.clone(), error("server_error", "The server had an error.")),
            Told { status: 500, kind: "api_error", retry: None, says: &["The server had an error."] },
        ),
        (
            "a redirect",
            always(307, json!({"location": "http://127.0.0.1:1/elsewhere"}), json!({})),
            Told { status: 502, kind: "api_error", retry: Some("false"), says: &["/elsewhere"] },
        ),
        (
            "a plan without the model",
            always(403, none.clone(), error("usage_not_included", "Your plan does not include it.")),
            Told { status: 403, kind: "permission_error", retry: Some("false"), says: &["plan"] },
        ),
    ] {
        let scene = Scene::openai(script);
        assert_told(&scene.refusal(&first_request("go")), &told, case);
    }
}

#[test]
fn a_rate_limit_says_when_to_come_again() {
    let scene = Scene::openai(always(429, json!({"retry-after": "7"}), error("rate_limit_exceeded", "Slow down.")));
    assert_eq!(scene.refusal(&plain_request("go")).header("retry-after"), Some("7"));
    let scene =
        Scene::openai(always(429, json!({}), error("rate_limit_exceeded", "Please try again in 1.5s. Thank you.")));
    assert_eq!(scene.refusal(&plain_request("go")).header("retry-after"), Some("2"));
}

#[test]
fn a_page_of_a_proxy_is_no_answer() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>";
    for status in [200, 502] {
        let script = json!([{"on": "any", "times": 0, "reply": {"status": status,
            "headers": {"content-type": "text/html"}, "text": page}}]);
        let response = Scene::openai(script).refusal(&plain_request("go"));
        assert_eq!(response.status, 502, "{status}: {}", response.text());
        let (kind, message) = error_of(&response);
        assert_eq!(kind, "api_error");
        assert!(!message.contains('<'), "tags in {message}");
    }
    let challenge = json!([{"on": "any", "times": 0, "reply": {"status": 403, "text": "<html>Just a moment...</html>",
        "headers": {"content-type": "text/html", "cf-mitigated": "challenge"}}}]);
    let response = Scene::openai(challenge).refusal(&plain_request("go"));
    let told = Told { status: 502, kind: "api_error", retry: Some("false"), says: &["Cloudflare"] };
    assert_told(&response, &told, "a challenge");
}

/// Until something worth a 200 was said, a failure in the stream is a failure of the request (WIRE.md R-H1).
#[test]
fn a_failure_as_the_first_event_becomes_a_status() {
    for (code, message, told) in [
        (
            "context_length_exceeded",
            "Your input exceeds the context window of this model.",
            Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &["prompt is too long: "] },
        ),
        (
            "rate_limit_exceeded",
            "Rate limit reached. Please try again in 20s.",
            Told { status: 429, kind: "rate_limit_error", retry: None, says: &["Rate limit"] },
        ),
        (
            "usage_limit_reached",
            "The usage limit has been reached",
            Told { status: 429, kind: "rate_limit_error", retry: Some("false"), says: &[] },
        ),
        (
            "server_is_overloaded",
            "Our servers are currently overloaded.",
            Told { status: 529, kind: "overloaded_error", retry: Some("true"), says: &["overloaded"] },
        ),
        (
            "insufficient_quota",
            "You exceeded your current quota.",
            Told { status: 402, kind: "billing_error", retry: Some("false"), says: &["quota"] },
        ),
        (
            "invalid_prompt",
            "Invalid prompt.",
            Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &["Invalid prompt."] },
        ),
    ] {
        let failure = json!({"fail": {"code": code, "message": message}});
        let script = json!([{"on": "any", "times": 0, "reply": {"stream": [failure]}}]);
        let scene = Scene::openai(script);
        assert_told(&scene.refusal(&plain_request("go")), &told, code);
        let mut whole = plain_request("and unstreamed");
        whole["stream"] = json!(false);
        assert_told(&scene.refusal(&whole), &told, code);
    }
}

#[test]
fn a_failure_after_text_is_an_error_event_with_its_type() {
    let script = json!([{"on": "plain", "reply": {"stream": [
        {"text": "Half an ans"},
        {"fail": {"code": "cyber_policy", "message": "This looks like an attack."}},
    ]}}]);
    let scene = Scene::openai(script);
    let events = scene.events(&plain_request("go"));
    let (kind, message) = error_event(&events);
    assert_eq!(kind, "invalid_request_error");
    assert!(message.contains("looks like an attack"), "{message}");
    let last_text = events.iter().rposition(|event| event.name == "content_block_delta").expect("a delta");
    let closed = events[last_text..].iter().any(|event| event.name == "content_block_stop");
    assert!(!closed, "an open block stays open, or the client takes it for finished");
}

/// How the upstream's bytes are divided must not show: the first text and the failure come in one chunk (DESIGN.md §9).
#[test]
fn a_failure_in_one_chunk_with_the_first_text_follows_it() {
    let delta =
        r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"Half"}"#;
    let failed = r#"{"type":"response.failed","response":{"error":{"code":"cyber_policy","message":"No."}}}"#;
    let both = format!("data: {delta}\n\ndata: {failed}\n\n");
    let scene = Scene::openai(json!([{"on": "plain", "reply": {"stream": [{"raw": both}, {"end": true}]}}]));
    let events = scene.events(&plain_request("go"));
    assert_eq!(error_event(&events).0, "invalid_request_error");
    assert!(events.iter().any(|event| event.name == "content_block_delta"), "the text comes first");
}

/// A cut stream never looks like a finished one (WIRE.md R-X1).
#[test]
fn a_cut_stream_ends_in_an_error_event() {
    let beginning = json!({"text": ["Half an ans", {"hold": "seen"}]});
    let call = json!({"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "ls"}}});
    for (parts, kind) in [
        (json!([beginning, {"cut": "fin"}]), "overloaded_error"),
        (json!([beginning, {"cut": "reset"}]), "overloaded_error"),
        (json!([beginning, {"end": true}]), "overloaded_error"),
        (json!([beginning, call, {"cut": "fin"}]), "api_error"),
    ] {
        let script = json!([{"on": "any", "reply": {"stream": parts}}]);
        let scene = Scene::openai(script);
        let mut stream = scene.stream(&first_request("go"));
        assert_eq!(stream.next_text(), "Half an ans");
        scene.upstream.release("seen");
        let events = stream.read_to_end();
        assert_eq!(error_event(&events).0, kind, "{parts}");
        assert!(events.iter().all(|event| event.name != "message_stop"), "{parts}");
        assert_eq!(stream.end(), BodyEnd::Clean, "the error is the end, and all of it arrives");
    }
}

#[test]
fn a_stream_that_ends_before_it_says_anything_is_a_failed_request() {
    for parts in [json!([{"cut": "fin"}]), json!([{"end": true}])] {
        let script = json!([{"on": "any", "times": 0, "reply": {"stream": parts}}]);
        let response = Scene::openai(script).refusal(&plain_request("go"));
        assert!(response.status >= 500, "{}", response.text());
        error_of(&response);
    }
}

#[test]
fn a_connection_that_ends_without_an_answer_is_a_502() {
    let script = json!([{"on": "any", "times": 0, "reply": {"cut": "fin"}}]);
    let scene = Scene::openai(script);
    let response = scene.refusal(&plain_request("go"));
    assert_eq!(response.status, 502, "{}", response.text());
    assert_eq!(error_of(&response).0, "api_error");
    let asked = scene.upstream.requests().len();
    assert!((1..=2).contains(&asked), "asked {asked} times: one retry at most");
}

/// A pooled connection that the server closed meanwhile is no failure (WIRE.md R-X2).
#[test]
fn a_connection_closed_between_two_requests_is_not_noticed() {
    let script = json!([
        {"on": "plain", "contains": "first", "reply": {"stream": [{"text": "one"}]}},
        {"on": "plain", "contains": "second", "reply": {"cut": "fin"}},
        {"on": "plain", "contains": "second", "reply": {"stream": [{"text": "two"}]}},
    ]);
    let scene = Scene::openai(script);
    assert_eq!(scene.message(&plain_request("first")).text(), "one");
    assert_eq!(scene.message(&plain_request("second")).text(), "two");
}

#[test]
fn an_upstream_that_is_down_is_named() {
    let mut scene = Scene::openai(json!([]));
    scene.upstream.stop();
    let response = scene.refusal(&first_request("go"));
    let told = Told { status: 502, kind: "api_error", retry: Some("false"), says: &["is the server running at"] };
    assert_told(&response, &told, "an upstream that is down");
    assert!(error_of(&response).1.contains(&scene.upstream.address), "{}", response.text());
}

#[test]
fn the_service_starts_and_answers_although_its_upstream_never_ran() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config("http://127.0.0.1:1/v1"));
    let service = Service::start(&world, &config);
    let gateway = service.gateway(&world, "openai-api");
    let mut connection = gateway.connect();
    connection.send("POST", "/v1/messages", &gateway.headers(), plain_request("go").to_string().as_bytes());
    let response = connection.read_response();
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(error_of(&response).1.contains("http://127.0.0.1:1/v1"), "{}", response.text());
}

/// `claude` answers an unknown 400 with re-sends that translate to the same body (WIRE.md R-X3).
#[test]
fn the_same_faulty_request_is_answered_from_memory() {
    let scene = Scene::openai(always(400, json!({}), error("weird", "Something is off.")));
    let body = first_request("go");
    let first = scene.refusal(&body);
    let asked = scene.upstream.requests().len();
    let mut again = body.clone();
    again["thinking"] = json!({"type": "adaptive"});
    for body in [&body, &again] {
        let response = scene.refusal(body);
        assert_eq!((response.status, error_of(&response)), (first.status, error_of(&first)));
    }
    assert_eq!(scene.upstream.requests().len(), asked, "the upstream was asked again");
    assert_eq!(scene.refusal(&first_request("something else")).status, 400);
    assert_eq!(scene.upstream.requests().len(), asked * 2, "another request is another request");
}

#[test]
fn a_parameter_that_the_upstream_refuses_is_left_out_and_remembered() {
    let script = json!([
        {"on": "plain", "contains": "max_output_tokens", "times": 0, "reply": {"status": 400, "json": {"error": {
            "message": "Unsupported parameter: 'max_output_tokens' is not supported with this model.",
            "type": "invalid_request_error", "param": "max_output_tokens", "code": "unsupported_parameter"}}}},
        {"on": "plain", "times": 0, "reply": {"stream": [{"text": "Fine."}]}},
    ]);
    let scene = Scene::openai(script);
    assert_eq!(scene.message(&plain_request("one")).text(), "Fine.");
    assert_eq!(scene.upstream.requests().len(), 2);
    assert_eq!(scene.message(&plain_request("two")).text(), "Fine.");
    assert_eq!(scene.upstream.requests().len(), 3, "the second request knows it already");
    scene.service.wait_for("upstream.adapted");
}

#[test]
fn refused_encrypted_reasoning_is_dropped_without_the_client_noticing() {
    let script = json!([
        {"on": "plain", "contains": "first question", "reply": {"stream": [
            {"reasoning": "Hm.", "encrypted": "gAAAAABthought"}, {"text": "One."}]}},
        {"on": "plain", "contains": "gAAAAABthought", "reply": {"status": 400, "json": {"error": {
            "message": "The encrypted content gAAA could not be verified.", "type": "invalid_request_error",
            "code": "invalid_encrypted_content", "param": null}}}},
        {"on": "plain", "contains": "second question", "reply": {"stream": [{"text": "Two."}]}},
    ]);
    let scene = Scene::openai(script);
    let mut body = plain_request("first question");
    body["thinking"] = json!({"type": "adaptive"});
    body["output_config"] = json!({"effort": "high"});
    let first = scene.message(&body);
    let question = body["messages"][0].clone();
    scene.upstream.script(&json!([
        {"on": "plain", "contains": "gAAAAABthought", "reply": {"status": 400, "json": {"error": {
            "message": "The encrypted content gAAA could not be verified.", "type": "invalid_request_error",
            "code": "invalid_encrypted_content", "param": null}}}},
        {"on": "plain", "reply": {"stream": [{"text": "Two."}]}},
    ]));
    let second = json!({"role": "user", "content": "second question"});
    body["messages"] = json!([question, first.as_history(), second]);
    assert_eq!(scene.message(&body).text(), "Two.");
    let requests = scene.upstream.requests();
    assert_eq!(requests[1].items("reasoning").len(), 1);
    assert!(requests[2].items("reasoning").is_empty());
}

#[test]
fn a_key_in_the_upstreams_words_is_masked() {
    let words = format!("The key {UPSTREAM_KEY} may not do that; nor sk-proj-abcdefghijklmnopqrstuvwxyz012345.");
    let scene = Scene::openai(always(400, json!({}), error("weird", &words)));
    let response = scene.refusal(&plain_request("go"));
    assert!(!response.text().contains("sk-proj-abcdef"), "{}", response.text());
    assert!(!response.text().contains(UPSTREAM_KEY), "{}", response.text());
    let log = scene.service.log_lines().join("\n");
    assert!(!log.contains(UPSTREAM_KEY), "the key is in the log");
    assert!(!log.contains(&scene.gateway.token), "the local token is in the log");
}

#[test]
fn an_endless_loop_of_unreadable_calls_is_ended() {
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]));
    let mut messages = vec![json!({"role": "user", "content": "go"})];
    for number in 0..5 {
        let id = format!("call_{number}");
        let input = json!({"__unparsedToolInput": {"raw": "{\"a\":", "len": 5}});
        messages.push(json!({"role": "assistant", "content": [
            {"type": "tool_use", "id": id, "name": "Bash", "input": input}]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": "InputValidationError", "is_error": true}]}));
    }
    let mut body = first_request("go");
    body["messages"] = Value::Array(messages);
    let response = scene.refusal(&body);
    let told = Told { status: 400, kind: "invalid_request_error", retry: Some("false"), says: &[] };
    assert_told(&response, &told, "five unreadable calls in a row");
    assert!(scene.upstream.requests().is_empty());
    // One turn fewer is still the model's to mend.
    let messages = body["messages"].as_array_mut().expect("a list");
    messages.drain(1..3);
    assert_eq!(Message::from_events(&scene.events(&body)).text(), "Fine.");
}
