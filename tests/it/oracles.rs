//! The official clients as judges: what we answer is read by the Anthropic package, what we send is checked by the types
//! of the OpenAI package. Neither knows anything of this project.
//!
//! Ignored by default, because the packages must be installed first: `tests/run` does that and runs them.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::generated::{GENERATED_CONVERSATIONS, send_generated};
use crate::streaming::{says_fine, send_every_recording};
use crate::support::bodies::{first_request, plain_request, tool_result, user};
use crate::support::node;
use crate::support::scene::Scene;

/// A recorded stream of a real server, and the message that it tells.
struct Golden {
    name: &'static str,
    /// The types of its blocks.
    kinds: &'static [&'static str],
    text: &'static str,
    stop_reason: &'static str,
    /// Input, read from the cache, output.
    usage: [u64; 3],
}

const fn golden(
    name: &'static str,
    kinds: &'static [&'static str],
    text: &'static str,
    stop_reason: &'static str,
    usage: [u64; 3],
) -> Golden {
    Golden { name, kinds, text, stop_reason, usage }
}

const SUBSCRIPTION: &[Golden] = &[
    golden(
        "codex_turn1_tool_call",
        &["thinking", "text", "tool_use"],
        "I'll look at the directory.",
        "tool_use",
        [210, 1024, 56],
    ),
    golden(
        "codex_turn2_final_with_extras",
        &["thinking", "text"],
        "Hi! The tool said hello-from-tool.",
        "end_turn",
        [220, 1280, 33],
    ),
    golden(
        "codex_turn2_final_empty_completed_output",
        &["thinking", "text"],
        "Hi! The tool said hello-from-tool.",
        "end_turn",
        [220, 1280, 33],
    ),
    golden("codex_incomplete_max_output_tokens", &["text"], "Partial answ", "max_tokens", [10, 0, 4]),
    golden("codex_lite_turn1_custom_exec", &["thinking", "tool_use"], "", "tool_use", [210, 1024, 56]),
    golden("codex_minimal_no_event_lines", &["text"], "minimal ok", "end_turn", [0, 0, 2]),
];

const LOCAL_SERVERS: &[Golden] = &[
    golden("vllm", &["thinking", "tool_use"], "", "tool_use", [20, 64, 20]),
    golden("vllm_cut", &["thinking", "text"], "\n\nHello wor", "max_tokens", [100, 0, 16]),
    golden("llama_cpp", &["thinking", "text", "tool_use", "tool_use"], "I look twice.", "tool_use", [40, 10, 12]),
    golden(
        "litellm_passed_on",
        &["thinking", "text", "tool_use", "tool_use"],
        "I look twice.",
        "tool_use",
        [40, 10, 12],
    ),
    golden("transformers", &["thinking", "text", "tool_use"], "\n\nI will read it.", "tool_use", [30, 0, 8]),
    golden("transformers_call_only", &["tool_use"], "", "tool_use", [30, 0, 8]),
    golden("litellm_chat", &["thinking", "text", "tool_use"], "Hello.", "tool_use", [40, 0, 10]),
];

/// What ends in an error, and the type and status that the client must see. All but the first fail before their first
/// word, so that there still is a status to send.
const FAILURES: &[(&str, &str, u16)] = &[
    ("streams/codex_cut_mid_text", "api_error", 502),
    ("streams/codex_error_event", "api_error", 500),
    ("streams/codex_failed_slow_down", "rate_limit_error", 429),
    ("codex/sse/error_event", "api_error", 500),
    ("codex/sse/failed_context_length", "invalid_request_error", 400),
    ("codex/sse/failed_cyber_policy", "invalid_request_error", 400),
    ("codex/sse/failed_insufficient_quota", "billing_error", 402),
    ("codex/sse/failed_invalid_prompt", "invalid_request_error", 400),
    ("codex/sse/failed_model_not_found", "not_found_error", 404),
    ("codex/sse/failed_rate_limit_exceeded", "rate_limit_error", 429),
    ("codex/sse/failed_server_error", "api_error", 500),
    ("codex/sse/failed_server_overloaded", "overloaded_error", 529),
    ("codex/sse/failed_slow_down", "rate_limit_error", 429),
    ("codex/sse/failed_usage_limit_reached", "rate_limit_error", 429),
    ("codex/sse/failed_usage_not_included", "permission_error", 403),
];

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_anthropic_client_reads_every_recorded_stream() {
    let scene = Scene::openai(script_of(SUBSCRIPTION));
    read_every_stream(&scene, "anthropic/gpt-5.5", SUBSCRIPTION);
    let scene = Scene::custom(script_of(LOCAL_SERVERS));
    read_every_stream(&scene, "anthropic/qwen3-coder", LOCAL_SERVERS);
}

fn script_of(golden: &[Golden]) -> Value {
    golden.iter().map(|golden| played(golden.name, &stream(&format!("streams/{}", golden.name)))).collect()
}

fn read_every_stream(scene: &Scene, model: &str, golden: &[Golden]) {
    let bodies = golden.iter().map(|golden| (golden.name.to_owned(), request_for(golden.name, model))).collect();
    let told = ask(scene, &bodies);
    for golden in golden {
        let name = golden.name;
        let answer = &told["messages"][name];
        let (streamed, whole) = (&answer["streamed"]["message"], &answer["whole"]["message"]);
        assert!(streamed.is_object() && whole.is_object(), "{name}: {answer:#}");
        for message in [streamed, whole] {
            let content = message["content"].as_array().unwrap_or_else(|| panic!("{name}: {message:#}"));
            let kinds: Vec<_> = content.iter().map(|block| block["type"].as_str().unwrap_or_default()).collect();
            assert_eq!(kinds, golden.kinds, "{name}");
            let text: String = content.iter().filter_map(|block| block["text"].as_str()).collect();
            assert_eq!(text, golden.text, "{name}");
            assert!(content.iter().all(|block| block["type"] != "tool_use" || block["input"].is_object()), "{name}");
            assert_eq!(message["stop_reason"], golden.stop_reason, "{name}");
            assert_eq!(message["model"], model, "{name}");
            assert_usage(&message["usage"], golden);
        }
        assert_eq!(streamed["content"], whole["content"], "{name}: the two ways differ");
        let heard = &streamed["told"];
        assert_eq!(heard["blocks"], streamed["content"], "{name}: what its listeners heard");
        assert_eq!(heard["text"], golden.text, "{name}: what its listeners heard");
    }
}

fn assert_usage(usage: &Value, golden: &Golden) {
    let [input, read, output] = golden.usage;
    // An upstream that does not say leaves the gateway's estimate.
    if input > 0 {
        assert_eq!(usage["input_tokens"], input, "{}: {usage}", golden.name);
    } else {
        assert!(usage["input_tokens"].as_u64() > Some(0), "{}: {usage}", golden.name);
    }
    assert_eq!(usage["cache_read_input_tokens"], read, "{}: {usage}", golden.name);
    assert_eq!(usage["output_tokens"], output, "{}: {usage}", golden.name);
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_anthropic_client_throws_the_error_that_a_stream_ends_in() {
    for (file, kind, status) in FAILURES {
        let name = file.rsplit('/').next().unwrap_or(file);
        // A scene of its own: the gateway remembers some failures.
        let scene = Scene::openai(json!([played(name, &stream(file))]));
        let bodies = Map::from_iter([(name.to_owned(), request_for(name, "anthropic/gpt-5.5"))]);
        let answer = &ask(&scene, &bodies)["messages"][name];
        for (way, begun) in [("streamed", file.contains("cut_mid_text")), ("whole", false)] {
            let error = &answer[way]["error"];
            assert_eq!(error["api"], true, "{file} {way}: no APIError in {answer:#}");
            assert_eq!(error["type"], *kind, "{file} {way}: {error:#}");
            assert_eq!(error["status"].as_u64(), (!begun).then_some(u64::from(*status)), "{file} {way}: {error:#}");
            assert!(error["request_id"].is_string(), "{file} {way}: {error:#}");
        }
    }
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_anthropic_client_throws_an_error_that_comes_after_the_first_words() {
    let whole = stream("streams/codex_turn1_tool_call");
    let (beginning, _) = whole.split_at(whole.find("event: response.output_text.done").expect("the stream has a text"));
    for (file, kind) in [
        ("codex/sse/error_event", "api_error"),
        ("codex/sse/failed_context_length", "invalid_request_error"),
        ("codex/sse/failed_cyber_policy", "invalid_request_error"),
        ("codex/sse/failed_rate_limit_exceeded", "rate_limit_error"),
        ("codex/sse/failed_usage_limit_reached", "rate_limit_error"),
        ("codex/sse/failed_server_overloaded", "overloaded_error"),
    ] {
        let failure = stream(file);
        let last = failure.trim_end().rfind("\n\n").expect("more events than one");
        // The failure waits until the client has read the first words.
        let parts = json!([{"raw": beginning}, {"hold": "late"}, {"raw": &failure[last + 2..]}, {"end": null}]);
        let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": parts}}]));
        let bodies = Map::from_iter([("late".to_owned(), request_for("late", "anthropic/gpt-5.5"))]);
        let answer = &ask_and_release(&scene, &bodies, Some("late"))["messages"]["late"];
        let error = &answer["streamed"]["error"];
        assert_eq!(error["api"], true, "{file}: no APIError in {answer:#}");
        assert_eq!(error["type"], kind, "{file}: {error:#}");
        assert!(error["status"].is_null(), "{file}: its status was 200 long ago");
        assert_eq!(answer["whole"]["error"]["type"], kind, "{file}: {answer:#}");
    }
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_anthropic_client_counts_and_lists() {
    for (scene, model, other) in [
        (Scene::openai(says_fine()), "anthropic/gpt-5.5", "gpt-5-mini"),
        (Scene::custom(says_fine()), "anthropic/qwen3-coder", "qwen3-coder"),
    ] {
        let bodies = Map::from_iter([("fine".to_owned(), request_for("fine", model))]);
        let told = ask(&scene, &bodies);
        assert_eq!(told["messages"]["fine"]["streamed"]["message"]["content"][0]["text"], "Fine.", "{told:#}");
        assert!(told["counted"]["message"]["input_tokens"].as_u64() > Some(0), "{told:#}");
        assert_eq!(told["model"]["message"]["id"], model, "{told:#}");
        let models = told["models"]["message"].as_array().unwrap_or_else(|| panic!("{told:#}"));
        let ids: Vec<_> = models.iter().filter_map(|model| model["id"].as_str()).collect();
        assert!(ids.contains(&model) && ids.contains(&other), "{ids:?}");
        assert!(models.iter().all(|model| model["display_name"].is_string() && model["created_at"].is_string()));
    }
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_openai_types_take_every_body_for_openai() {
    assert_types_take_all(&Scene::openai(thinks_first()), "anthropic/gpt-5.5");
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_openai_types_take_every_body_for_the_subscription() {
    assert_types_take_all(&Scene::codex(thinks_first()), "anthropic/gpt-5.5");
}

#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_openai_types_take_every_body_for_local_servers() {
    assert_types_take_all(&Scene::custom(thinks_first()), "anthropic/qwen3-coder");
}

/// Thinks, speaks and calls where the prompt asks for it; else says that all is fine.
fn thinks_first() -> Value {
    let thoughtful = json!({"on": "any", "contains": "Think first.", "reply": {"stream": [
        {"reasoning": "One.", "encrypted": "gAAAAABone"}, {"reasoning_text": "Two."},
        {"text": "Looking.", "phase": "commentary"},
        {"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "ls"}}},
    ]}});
    let script = std::iter::once(thoughtful).chain(says_fine().as_array().cloned().unwrap_or_default());
    script.collect()
}

fn assert_types_take_all(scene: &Scene, model: &str) {
    let mut body = first_request("Think first.");
    body["model"] = json!(model);
    let thoughtful = scene.message(&body);
    let results = json!({"role": "user", "content": [tool_result("call_1", json!("done"))]});
    body["messages"] = json!([user("Think first."), thoughtful.as_history(), results]);
    assert_eq!(scene.message(&body).text(), "Fine.");
    let replayed = scene.upstream.requests().last().expect("a request").items("reasoning").len();
    assert!(replayed > 0, "no thought was replayed");

    send_every_recording(scene, model);
    send_generated(scene, model);
    let requests = scene.upstream.requests();
    assert!(requests.len() > GENERATED_CONVERSATIONS as usize / 2, "{} requests", requests.len());
    let bodies = requests.iter().enumerate().map(|(index, request)| (format!("request {index}"), request.body.clone()));
    let complaints = node::run("openai.mjs", &bodies.collect::<Map<_, _>>().into());
    assert_eq!(complaints, json!({}), "{complaints:#}");
}

/// A judge that takes everything would prove nothing.
#[test]
#[ignore = "needs node and the official SDKs: run tests/run"]
fn the_openai_types_refuse_what_they_do_not_know() {
    let text = |kind: &str| json!([{"type": kind, "text": "hi"}]);
    let body = |item: Value| json!({"model": "m", "stream": true, "input": [item]});
    let mut unknown_key = body(json!({"type": "message", "role": "user", "content": text("input_text")}));
    unknown_key["frobnicate"] = json!(1);
    let bodies = json!({
        "good": body(json!({"type": "message", "role": "assistant", "content": text("output_text")})),
        "unknown key": unknown_key,
        "unknown role": body(json!({"type": "message", "role": "tool", "content": text("input_text")})),
        "unknown part": body(json!({"type": "message", "role": "user", "content": text("text")})),
        "unknown key of an item": body(json!({"type": "function_call_output", "call_id": "c", "output": "o", "is_error": true})),
        "unknown item": body(json!({"type": "tool_use", "call_id": "c"})),
        "missing key": body(json!({"type": "function_call", "call_id": "c", "name": "n"})),
        "no stream": {"model": "m", "stream": false, "input": []},
    });
    let complaints = node::run("openai.mjs", &bodies);
    for name in bodies.as_object().expect("an object").keys() {
        assert_eq!(complaints.get(name).is_some(), name != "good", "{name}: {complaints:#}");
    }
}

/// Lets the official client ask the gateway for each body, in every way, and gives what it made of the answers.
fn ask(scene: &Scene, bodies: &Map<String, Value>) -> Value {
    ask_and_release(scene, bodies, None)
}

/// The same; the client releases a hold point of the upstream when it has read the first words.
fn ask_and_release(scene: &Scene, bodies: &Map<String, Value>, hold: Option<&str>) -> Value {
    let base_url = format!("http://{}", scene.gateway.address);
    let release = hold.map(|name| scene.upstream.release_url(name));
    let input = json!({"base_url": base_url, "token": scene.gateway.token, "bodies": bodies, "release": release});
    node::run("anthropic.mjs", &input)
}

/// A request whose prompt names the recorded stream that answers it.
fn request_for(name: &str, model: &str) -> Value {
    let mut body = plain_request(&format!("play {name}."));
    body["model"] = json!(model);
    body.as_object_mut().expect("an object").remove("stream");
    body
}

fn played(name: &str, stream: &str) -> Value {
    json!({"on": "any", "contains": format!("play {name}."), "times": 0,
        "reply": {"stream": [{"raw": stream}, {"end": null}]}})
}

fn stream(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.sse"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
