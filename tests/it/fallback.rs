//! What happens when a backend's quota is used up (DESIGN.md §5, `fallback`), and when an upstream refuses everything.

use serde_json::{Value, json};

use crate::support::bodies::{first_request, plain_request};
use crate::support::scene::{Scene, error_of};
use crate::support::upstream_process::Upstream;

/// A script that answers everything with `words`.
fn says(words: &str) -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": words}]}}])
}

fn always_fails(status: u16, code: &str, message: &str) -> Value {
    let error = json!({"error": {"code": code, "type": "invalid_request_error", "message": message}});
    json!([{"on": "any", "times": 0, "reply": {"status": status, "json": error}}])
}

fn used_up() -> Value {
    always_fails(429, "insufficient_quota", "You exceeded your current quota.")
}

/// The `openai-api` backend with a local server behind it.
fn with_fallback(first: Value, second: &Value) -> (Scene, Upstream) {
    let local = Upstream::start(&["--profile", "custom", "--models", "qwen3-coder,qwen3-tiny"]);
    local.script(second);
    let more = format!(
        "fallback = [\"local\"]\n[backends.local]\nkind = \"custom-openai\"\nbase_url = \"http://{}/v1\"\n\
         default_model = \"qwen3-coder\"\nsmall_model = \"qwen3-tiny\"\ncontext_window = 32768\n",
        local.address
    );
    (Scene::openai_with(first, &more), local)
}

fn models_asked(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    requests.iter().map(|request| request.body["model"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_used_up_quota_sends_requests_to_the_fallback() {
    let (scene, local) = with_fallback(used_up(), &says("From the second."));
    let mut small = plain_request("and a small one");
    small["model"] = json!("claude-haiku-5-5");
    for body in [plain_request("one"), small] {
        let message = scene.message(&body);
        assert_eq!(message.text(), "From the second.");
        assert_eq!(json!(message.model), body["model"], "the request's model is echoed");
    }
    assert_eq!(models_asked(&scene.upstream), ["gpt-5.5"], "the empty one is left alone until its reset");
    assert_eq!(models_asked(&local), ["qwen3-coder", "qwen3-tiny"]);
    let lines = scene.service.wait_for_count("request.fell_back", 2);
    assert_eq!((&lines[0]["backend"], &lines[0]["fallback"]), (&json!("openai-api"), &json!("local")));
    assert_eq!(lines[0]["code"], "insufficient_quota");
    let finished = scene.service.wait_for("request.finished");
    assert_eq!((&finished["backend"], &finished["upstream_model"]), (&json!("local"), &json!("qwen3-coder")));
}

#[test]
fn a_quota_that_ends_as_the_first_event_falls_back_too() {
    let failure = json!({"fail": {"code": "usage_limit_reached", "message": "The usage limit has been reached"}});
    let first = json!([{"on": "any", "times": 0, "reply": {"stream": [failure]}}]);
    let (scene, _local) = with_fallback(first, &says("From the second."));
    assert_eq!(scene.message(&first_request("go")).text(), "From the second.");
    let mut whole = plain_request("unstreamed");
    whole["stream"] = json!(false);
    assert_eq!(scene.post("/v1/messages", &whole).status, 200);
}

#[test]
fn when_all_are_empty_the_first_ones_error_is_the_answer() {
    let (scene, _local) = with_fallback(used_up(), &always_fails(402, "insufficient_quota", "The second is empty."));
    for prompt in ["one", "two"] {
        let response = scene.refusal(&plain_request(prompt));
        assert_eq!(response.status, 402, "{}", response.text());
        assert!(error_of(&response).1.contains("current quota"), "{}", response.text());
    }
}

#[test]
fn another_failure_than_a_quota_is_no_reason_to_fall_back() {
    let (scene, local) = with_fallback(always_fails(500, "server_error", "Broken."), &says("From the second."));
    assert_eq!(scene.refusal(&plain_request("go")).status, 500);
    assert!(local.requests().is_empty());
}

#[test]
fn an_upstream_that_refuses_everything_is_told_of_once_with_a_hint() {
    let scene = Scene::openai(always_fails(404, "model_not_found", "The model does not exist."));
    for number in 0..7 {
        let mut body = plain_request(&format!("question {number}"));
        body["model"] = json!("gpt-5.55");
        body["top_k"] = json!(5);
        scene.refusal(&body);
    }
    scene.service.wait_for_count("request.finished", 7);
    let lines = scene.service.wait_for_count("gateway.rejecting", 1);
    assert_eq!(lines.len(), 1, "once per run");
    let line = &lines[0];
    assert_eq!((&line["status"], &line["code"]), (&json!(404), &json!("model_not_found")));
    assert_eq!(line["model"], "gpt-5.55");
    assert_eq!(line["dropped"], "top_k");
    assert!(line["upstream_message"].as_str().is_some_and(|words| words.contains("does not exist")), "{line:#}");
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("gpt-5.5")), "{line:#}");

    scene.upstream.script(&says("Fine."));
    scene.message(&plain_request("better"));
    scene.upstream.script(&always_fails(404, "model_not_found", "The model does not exist."));
    for number in 0..5 {
        scene.refusal(&plain_request(&format!("again {number}")));
    }
    scene.service.wait_for_count("gateway.rejecting", 2);
}
