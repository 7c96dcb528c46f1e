//! The log: one JSON object per line, a closed list of events, and nothing in it that is secret (DESIGN.md §8).

use serde_json::{Value, json};

use crate::support::bodies::{first_request, plain_request};
use crate::support::scene::{Scene, UPSTREAM_KEY};

#[test]
fn a_finished_request_is_one_line_with_everything() {
    let script = json!([{"on": "turn", "reply": {"stream": [
        {"reasoning": "Hm.", "encrypted": "gAAAAABx"},
        {"text": "Done."},
        {"usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 600},
            "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 1050}},
    ]}}]);
    let scene = Scene::openai(script);
    scene.message(&first_request("a secret prompt"));
    let line = scene.service.wait_for("request.finished");
    for (field, value) in [
        ("backend", json!("openai-api")),
        ("requested_model", json!("anthropic/gpt-5.5")),
        ("upstream_model", json!("gpt-5.5")),
        ("status", json!(200)),
        ("stop_reason", json!("end_turn")),
        ("input_tokens", json!(400)),
        ("cached_input_tokens", json!(600)),
        ("output_tokens", json!(50)),
        ("reasoning_tokens", json!(20)),
        ("session_id", json!("00000000-0000-4000-8000-000000000000")),
        ("upstream_request_id", json!("req_of_the_upstream")),
    ] {
        assert_eq!(line[field], value, "{field} in {line:#}");
    }
    for field in ["generation", "ttfb_ms", "duration_ms"] {
        assert!(line[field].is_number(), "{field} in {line:#}");
    }
    assert!(line["ttfb_ms"].as_f64() <= line["duration_ms"].as_f64(), "{line:#}");
}

#[test]
fn a_failed_request_says_what_the_client_was_told() {
    let script = json!([{"on": "any", "times": 0, "reply": {"status": 429, "json": {"error": {
        "code": "rate_limit_exceeded", "message": "Rate limit reached."}}}}]);
    let scene = Scene::openai(script);
    scene.refusal(&plain_request("go"));
    let line = scene.service.wait_for("request.finished");
    assert_eq!(line["status"], 429, "{line:#}");
    assert_eq!(line["error_type"], "rate_limit_error", "{line:#}");
}

#[test]
fn every_request_is_a_line_with_every_field_even_one_that_is_not_let_in() {
    const FIELDS: [&str; 17] = [
        "backend",
        "generation",
        "requested_model",
        "upstream_model",
        "status",
        "stop_reason",
        "ttfb_ms",
        "duration_ms",
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "reasoning_tokens",
        "upstream_request_id",
        "session_id",
        "agent_id",
        "dropped",
        "error_type",
    ];
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]));
    scene.message(&plain_request("go"));
    scene.post("/v1/messages", &json!({"messages": 1}));
    let mut stranger = scene.gateway.connect();
    stranger.send("POST", "/v1/messages", &[("x-api-key".into(), "wrong".into())], b"{}");
    assert_eq!(stranger.read_response().status, 401);
    let lines = scene.service.wait_for_count("request.finished", 3);
    for line in &lines {
        let missing: Vec<_> = FIELDS.iter().filter(|field| line[**field].is_null()).collect();
        assert!(missing.is_empty(), "no {missing:?} in {line:#}");
    }
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [200, 400, 401]);
    // What was let in is told of the backend; what was not is none of its errors.
    let status = scene.service.status(&scene.world);
    assert_eq!(status["usage"][0]["requests"], 2, "{status:#}");
    assert_eq!(status["usage"][0]["errors"], json!({"invalid_request_error": 1}), "{status:#}");
    assert_eq!(status["last_errors"][0]["status"], 400, "{status:#}");
}

#[test]
fn a_client_that_hangs_up_is_a_line_too() {
    let script = json!([{"on": "plain", "reply": {"stream": [{"text": ["begun", {"hold": "never"}]}]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun");
    drop(stream);
    scene.service.wait_for("request.finished");
}

#[test]
fn every_line_is_an_event_and_none_holds_a_secret() {
    let script = json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "the answer's own words"}]}}]);
    let scene = Scene::openai(script);
    scene.message(&first_request("the prompt's own words"));
    scene.service.wait_for("request.finished");
    let token = scene.gateway.token.clone();
    let (status, stdout, lines) = scene.service.stop();
    assert_eq!(status.code(), Some(0), "{}", lines.join("\n"));
    assert_eq!(stdout, "", "nothing goes to stdout");
    let mut events = Vec::new();
    for line in &lines {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for field in ["timestamp", "level", "event", "message"] {
            assert!(value[field].is_string(), "no {field} in {line}");
        }
        let timestamp = value["timestamp"].as_str().unwrap_or_default();
        assert!(timestamp.ends_with('Z') && timestamp.len() == "2026-01-02T03:04:05.678Z".len(), "{timestamp}");
        assert!(value.as_object().is_some_and(|fields| fields.values().all(|field| !field.is_object())), "{line}");
        events.push(value["event"].as_str().unwrap_or_default().to_owned());
        for secret in [UPSTREAM_KEY, token.as_str(), "the prompt's own words", "the answer's own words"] {
            assert!(!line.contains(secret), "{secret:?} in {line}");
        }
    }
    for event in ["config.loaded", "gateway.ready", "service.started", "request.finished", "service.stopping"] {
        assert!(events.iter().any(|found| found == event), "no {event} in {events:?}");
    }
    assert_eq!(events.iter().filter(|event| *event == "config.loaded").count(), 1, "once per revision");
    assert_eq!(events.last().map(String::as_str), Some("service.stopped"));
}

#[test]
fn what_translation_drops_is_told_once_per_kind() {
    let script = json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]);
    let scene = Scene::openai(script);
    for prompt in ["one", "two"] {
        let mut body = plain_request(prompt);
        body["messages"][0]["content"] = json!([{"type": "text", "text": prompt}, {"type": "hologram", "data": "x"}]);
        scene.message(&body);
    }
    scene.service.wait_for_count("request.finished", 2);
    let degraded = scene.service.log_lines().iter().filter(|line| line.contains("\"request.degraded\"")).count();
    assert_eq!(degraded, 1);
    let dropped = scene.service.wait_for("request.finished")["dropped"].clone();
    assert!(dropped.as_str().is_some_and(|kinds| kinds.contains("hologram")), "{dropped}");
}
