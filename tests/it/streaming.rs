//! Answers as they stream: what the upstream says, when the client sees it, and what the upstream gets back in the
//! next request (WIRE.md §1 and §2).

use serde_json::{Value, json};

use crate::support::anthropic_reader::Message;
use crate::support::bodies::{
    RED_PIXEL, all_recorded, first_request, main_request, plain_request, recorded, tool_result, user,
};
use crate::support::http_client::{BodyEnd, Event};
use crate::support::scene::Scene;

/// First a thought, a sentence and a call; then, with the call's result, the answer.
pub fn agent_turn() -> Value {
    json!([
        {"on": "turn", "reply": {"stream": [
            {"reasoning": "**Looking**\n\nI will list the files.", "encrypted": "gAAAAABfirst-thought"},
            {"text": "I'll look at the folder.", "phase": "commentary"},
            {"call": {"id": "call_Abc123", "name": "Bash", "arguments": {"command": "echo héllo && ls"}}},
        ]}},
        {"on": "results", "contains": "the listing", "reply": {"stream": [
            {"text": "There are two files.", "phase": "final_answer"},
        ]}},
    ])
}

#[test]
fn an_agent_turn_runs_over_two_requests() {
    run_an_agent_turn(&Scene::openai(agent_turn()));
}

/// Plays [`agent_turn`] from the client's side and looks at what the upstream got.
pub fn run_an_agent_turn(scene: &Scene) {
    let first = scene.message(&first_request("What is in this folder?"));
    assert_eq!(first.kinds(), ["thinking", "text", "tool_use"], "{}", scene.backend);
    assert_eq!(first.content[0]["thinking"], "**Looking**\n\nI will list the files.");
    assert!(!first.content[0]["signature"].as_str().unwrap_or_default().is_empty());
    assert_eq!(first.text(), "I'll look at the folder.");
    assert_eq!(first.content[2]["name"], "Bash");
    assert_eq!(first.content[2]["id"], "call_Abc123");
    assert_eq!(first.content[2]["input"], json!({"command": "echo héllo && ls"}));
    assert_eq!(first.stop_reason, "tool_use");
    assert_eq!(first.model, "anthropic/gpt-5.5", "the request's model is echoed byte for byte");

    let result = tool_result("call_Abc123", json!("the listing"));
    let messages = json!([
        user("What is in this folder?"),
        first.as_history(),
        {"role": "user", "content": [result]},
        {"role": "system", "content": "Mind the time."},
    ]);
    let second = scene.message(&main_request(messages));
    assert_eq!(second.text(), "There are two files.");
    assert_eq!(second.stop_reason, "end_turn");

    let requests = scene.upstream.requests();
    assert_eq!(requests.len(), 2);
    let second = &requests[1];
    assert_eq!(second.items("reasoning").len(), 1, "the thought is replayed");
    assert_eq!(second.items("reasoning")[0]["encrypted_content"], "gAAAAABfirst-thought");
    assert_eq!(second.items("function_call")[0]["call_id"], "call_Abc123");
    assert_eq!(second.items("function_call_output")[0]["output"], "the listing");
    let developer = second.body["input"].as_array().into_iter().flatten().find(|item| item["role"] == "developer");
    assert!(developer.is_some_and(|item| item.to_string().contains("Mind the time.")), "{:#}", second.body);
    let instructions = second.body["instructions"].as_str().unwrap_or_default();
    assert_eq!(instructions, "You are a Claude agent.\n\nBe brief.");
    assert_eq!(second.body["prompt_cache_key"], requests[0].body["prompt_cache_key"]);
}

#[test]
fn a_local_server_gets_only_what_it_understands() {
    let script = json!([
        {"on": "turn", "reply": {"stream": [
            {"reasoning_text": "Let me think."},
            {"text": "Looking."},
            {"call": {"id": "chatcmpl-tool-1", "name": "Bash", "arguments": {"command": "ls"}}},
        ]}},
        {"on": "results", "reply": {"stream": [{"text": "Done."}]}},
    ]);
    let scene = Scene::custom(script);
    let mut body = first_request("go");
    body["model"] = json!("anthropic/qwen3-coder");
    let first = scene.message(&body);
    assert_eq!(first.kinds(), ["thinking", "text", "tool_use"]);
    assert_eq!(first.content[0]["thinking"], "Let me think.");
    let result = tool_result("chatcmpl-tool-1", json!([{"type": "text", "text": "ok"}]));
    let messages = json!([user("go"), first.as_history(), {"role": "user", "content": [result]}]);
    let mut body = main_request(messages);
    body["model"] = json!("anthropic/qwen3-coder");
    assert_eq!(scene.message(&body).text(), "Done.");
    let requests = scene.upstream.requests();
    assert_eq!(requests[1].items("reasoning")[0]["content"][0]["text"], "Let me think.");
    assert_eq!(requests[0].header("authorization"), None, "no key is configured, none is sent");
}

#[test]
fn every_delta_reaches_the_client_before_the_next_is_sent() {
    let script = json!([{"on": "plain", "reply": {"stream": [
        {"text": ["one ", {"hold": "second"}, "two ", {"hold": "third"}, "three"]},
        {"hold": "end"},
    ]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("count"));
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    assert!(stream.head.header("request-id").is_some());
    // The upstream goes on only when this test has seen the delta before: nothing can wait for the end.
    assert_eq!(stream.next_text(), "one ");
    scene.upstream.wait("holding=second");
    scene.upstream.release("second");
    assert_eq!(stream.next_text(), "two ");
    scene.upstream.wait("holding=third");
    scene.upstream.release("third");
    assert_eq!(stream.next_text(), "three");
    scene.upstream.wait("holding=end");
    scene.upstream.release("end");
    let rest = stream.read_to_end();
    assert_eq!(rest.last().map(|event| event.name.as_str()), Some("message_stop"));
    assert_eq!(stream.end(), BodyEnd::Clean);
}

#[test]
fn a_tool_call_is_finished_before_the_response_is() {
    let script = json!([{"on": "turn", "reply": {"stream": [
        {"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "ls"}}},
        {"hold": "end"},
    ]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&first_request("go"));
    stream.read_to(|event| event.name == "content_block_stop");
    scene.upstream.wait("holding=end");
    scene.upstream.release("end");
    assert_eq!(stream.read_to_end().last().map(|event| event.name.as_str()), Some("message_stop"));
}

#[test]
fn interleaved_calls_come_out_one_after_the_other() {
    let script = json!([{"on": "turn", "reply": {"stream": [{"text": "Both."}, {"calls": [
        {"id": "call_1", "name": "Bash", "arguments": {"command": "echo the first of two"}},
        {"id": "call_2", "name": "Read", "arguments": {"file_path": "/the/second/of/two"}},
    ]}]}}]);
    let scene = Scene::openai(script);
    let message = scene.message(&first_request("go"));
    assert_eq!(message.kinds(), ["text", "tool_use", "tool_use"]);
    assert_eq!(message.content[1]["input"], json!({"command": "echo the first of two"}));
    assert_eq!(message.content[2]["input"], json!({"file_path": "/the/second/of/two"}));
    assert_eq!(message.content[2]["name"], "Read");
}

#[test]
fn results_in_any_order_and_missing_ones_still_pair_up() {
    let script = json!([{"on": "results", "reply": {"stream": [{"text": "Fine."}]}}]);
    let scene = Scene::openai(script);
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": "ls"}});
    let long_id = format!("toolu:{}", "x".repeat(240));
    let messages = json!([
        user("go"),
        {"role": "assistant", "content": [call("call_1"), call("call_2"), call(&long_id)]},
        {"role": "user", "content": [
            tool_result("call_2", json!("second")),
            {"type": "tool_result", "tool_use_id": long_id, "content": "Exit code 1", "is_error": true},
        ]},
    ]);
    assert_eq!(scene.message(&main_request(messages)).text(), "Fine.");
    let request = scene.upstream.only_request();
    let outputs = request.items("function_call_output");
    assert_eq!(outputs.len(), 3, "{outputs:#?}");
    let failed = outputs.iter().find(|item| item["output"].to_string().contains("Exit code 1")).expect("the failed");
    assert!(failed["output"].as_str().unwrap_or_default().starts_with("Error"), "{failed}");
}

#[test]
fn an_image_that_a_tool_read_reaches_the_upstream() {
    let script = json!([{"on": "results", "times": 0, "reply": {"stream": [{"text": "Red."}]}}]);
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": RED_PIXEL}});
    let messages = json!([
        user("What colour is it?"),
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"file_path": "/p.png"}}]},
        {"role": "user", "content": [tool_result("call_1", json!([image]))]},
    ]);
    let scene = Scene::openai(script.clone());
    assert_eq!(scene.message(&main_request(messages.clone())).text(), "Red.");
    let request = scene.upstream.only_request();
    let part = &request.items("function_call_output")[0]["output"][0];
    assert_eq!(part["type"], "input_image");
    assert_eq!(part["image_url"], format!("data:image/png;base64,{RED_PIXEL}"));

    // A local server takes no lists as outputs: the image follows in a user message.
    let script = json!([{"on": "any", "reply": {"stream": [{"text": "Red."}]}}]);
    let scene = Scene::custom(script);
    let mut body = main_request(messages);
    body["model"] = json!("anthropic/qwen3-coder");
    assert_eq!(scene.message(&body).text(), "Red.");
    let request = scene.upstream.only_request();
    assert!(request.items("function_call_output")[0]["output"].is_string());
    assert!(request.items("message").last().is_some_and(|item| item.to_string().contains(RED_PIXEL)));
}

#[test]
fn a_title_request_gets_its_json() {
    let scene = Scene::openai(json!([]));
    let mut body = recorded("title_stream");
    body["model"] = json!("anthropic/gpt-5.5");
    let message = scene.message(&body);
    assert_eq!(message.text(), r#"{"title":"A title from the upstream"}"#);
    let request = scene.upstream.only_request();
    let format = &request.body["text"]["format"];
    assert_eq!((&format["type"], &format["strict"]), (&json!("json_schema"), &json!(true)));
    assert_eq!(request.body["reasoning"]["effort"], "none", "a title is not worth a minute of thought");
}

#[test]
fn every_recorded_request_is_taken_by_openai_and_by_local_servers() {
    send_every_recording(&Scene::openai(says_fine()), "anthropic/gpt-5.5");
    send_every_recording(&Scene::custom(says_fine()), "anthropic/qwen3-coder");
}

pub fn says_fine() -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}])
}

pub fn send_every_recording(scene: &Scene, model: &str) {
    for (name, mut body) in all_recorded() {
        // Web search is the services' own tool; a local server has none.
        if scene.backend == "local" && name.starts_with("websearch") {
            continue;
        }
        body["model"] = json!(model);
        let answer = scene.post("/v1/messages?beta=true", &body);
        assert_eq!(answer.status, 200, "{name} on {}: {}", scene.backend, answer.text());
    }
    for request in scene.upstream.requests() {
        let sent = request.body.to_string();
        assert!(!sent.contains("x-anthropic-billing-header"));
        assert!(!sent.contains("DeferredToolPlaceholder"));
    }
}

#[test]
fn a_web_search_comes_back_with_links() {
    let script = json!([{"on": "search", "reply": {"stream": [
        {"search": {"query": "rust 2026", "sources": ["https://www.rust-lang.org/", "https://blog.example/rust"]}},
        {"text": "Rust is fine.", "citations": [{"url": "https://www.rust-lang.org/", "title": "The Rust language"}]},
    ]}}]);
    let scene = Scene::openai(script);
    let mut body = recorded("websearch_server_tool");
    body["model"] = json!("anthropic/gpt-5.5");
    let message = scene.message(&body);
    assert_eq!(message.kinds(), ["server_tool_use", "web_search_tool_result", "text"]);
    assert_eq!(message.content[0]["name"], "web_search");
    assert_eq!(message.content[0]["input"], json!({"query": "rust 2026"}));
    assert_eq!(message.content[1]["tool_use_id"], message.content[0]["id"]);
    let links = message.content[1]["content"].as_array().expect("a list of results");
    let urls: Vec<_> = links.iter().map(|link| link["url"].as_str().unwrap_or_default()).collect();
    assert_eq!(urls, ["https://www.rust-lang.org/", "https://blog.example/rust"]);
    assert_eq!(message.stop_reason, "end_turn");
    assert_eq!(message.usage["server_tool_use"]["web_search_requests"], 1);
    let tool = &scene.upstream.only_request().body["tools"][0];
    assert_eq!(tool["filters"]["allowed_domains"], json!(["ex.com"]));
}

#[test]
fn usage_counts_cached_tokens_apart() {
    let script = json!([{"on": "plain", "reply": {"stream": [
        {"text": "Counted."},
        {"usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100},
            "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 1050}},
    ]}}]);
    let scene = Scene::openai(script);
    let usage = scene.message(&plain_request("count")).usage;
    assert_eq!(usage["input_tokens"], 300);
    assert_eq!(usage["cache_read_input_tokens"], 600);
    assert_eq!(usage["cache_creation_input_tokens"], 100);
    assert_eq!(usage["output_tokens"], 50);
}

#[test]
fn each_way_to_end_has_its_stop_reason() {
    for (parts, stop_reason) in [
        (json!([{"text": "Cut sh"}, {"incomplete": "max_output_tokens"}]), "max_tokens"),
        (json!([{"text": "Bad"}, {"incomplete": "content_filter"}]), "refusal"),
        (json!([{"refusal": "I can't help with that."}]), "refusal"),
        (json!([{"text": "All."}]), "end_turn"),
    ] {
        let scene = Scene::openai(json!([{"on": "plain", "reply": {"stream": parts}}]));
        assert_eq!(scene.message(&plain_request("go")).stop_reason, stop_reason, "{parts}");
    }
}

#[test]
fn a_stop_sequence_ends_the_answer_and_the_upstream_request() {
    let script = json!([{"on": "plain", "times": 0, "reply": {"stream": [
        {"text": ["<block>no</bl", "ock> and more", {"hold": "never"}]},
    ]}}]);
    let scene = Scene::openai(script);
    let mut body = plain_request("judge");
    body["stop_sequences"] = json!(["</block>"]);
    for (streams, aborted) in [(true, 1), (false, 2)] {
        body["stream"] = json!(streams);
        let message =
            if streams { scene.message(&body) } else { Message::from_json(&scene.post("/v1/messages", &body).json()) };
        assert_eq!(message.text(), "<block>no");
        assert_eq!(message.stop_reason, "stop_sequence");
        assert_eq!(message.stop_sequence.as_deref(), Some("</block>"));
        scene.upstream.wait(&format!("aborted={aborted}"));
    }
}

#[test]
fn a_client_that_hangs_up_ends_the_upstream_request() {
    // While text streams, and while nothing at all was said yet.
    for parts in [json!([{"text": ["begun ", {"hold": "never"}]}]), json!([{"hold": "never"}])] {
        let says_text = parts[0]["text"].is_array();
        let scene = Scene::openai(json!([{"on": "plain", "reply": {"stream": parts}}]));
        let mut connection = scene.gateway.connect();
        let body = plain_request("go").to_string();
        connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.as_bytes());
        if says_text {
            let mut stream = connection.into_event_stream();
            assert_eq!(stream.next_text(), "begun ");
            scene.upstream.wait("holding=never");
            drop(stream);
        } else {
            scene.upstream.wait("holding=never");
            drop(connection);
        }
        scene.upstream.wait("aborted=1");
    }
}

#[test]
fn a_client_that_hangs_up_before_the_upstream_answers_ends_the_request_too() {
    let script = json!([{"on": "plain", "reply": {"hold": "never", "stream": []}}]);
    let scene = Scene::openai(script);
    let mut connection = scene.gateway.connect();
    let body = plain_request("go").to_string();
    connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.as_bytes());
    scene.upstream.wait("holding=never");
    drop(connection);
    scene.upstream.wait("aborted=1");
}

#[test]
fn an_unread_answer_holds_the_upstream_back() {
    const FLOOD_BYTES: u64 = 96 * 1024 * 1024;
    /// Four socket buffers of some MiB each and what the gateway keeps, generously.
    const MOST_IN_FLIGHT_BYTES: u64 = 48 * 1024 * 1024;
    let scene = Scene::openai(json!([{"on": "plain", "reply": {"stream": [{"flood": FLOOD_BYTES}]}}]));
    let mut stream = scene.stream(&plain_request("go"));
    assert!(!stream.next_text().is_empty());
    // Nobody reads any more: the upstream's writes must come to a halt long before the flood is over.
    let state = scene.upstream.wait("stalled=1");
    let written = state["bytes_written"].as_u64().expect("a number");
    assert!(written < MOST_IN_FLIGHT_BYTES, "the gateway took {written} bytes that nobody read");
    // Reading on lets it flow again.
    assert!(!stream.next_text().is_empty());
    drop(stream);
    scene.upstream.wait("aborted=1");
}

#[test]
fn an_answer_without_event_lines_and_with_extras_reads_the_same() {
    let frame = |event: Value| json!({"raw": format!("data: {event}\n\n")});
    let script = json!([{"on": "plain", "reply": {"stream": [
        {"raw": ": a comment\n\nid: 7\nretry: 3\n\n"},
        frame(json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})),
        frame(json!({"type": "codex.rate_limits", "plan_type": "plus"})),
        frame(json!({"type": "keepalive"})),
        frame(json!({"type": "response.frobnicated", "wobble": [1, 2]})),
        frame(json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "message",
            "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Only at the end."}]}})),
        frame(json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed",
            "output": [], "usage": null}})),
        {"raw": "data: [DONE]\n\n"},
        {"end": true},
    ]}}]);
    let scene = Scene::openai(script);
    let message = scene.message(&plain_request("go"));
    assert_eq!(message.text(), "Only at the end.");
    assert_eq!(message.stop_reason, "end_turn");
    assert!(message.usage["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0));
}

/// Takes some twelve seconds: the first sign of life comes after ten of silence (WIRE.md R-K1).
#[test]
#[ignore = "slow: run tests/run --slow"]
fn slow_a_silent_upstream_is_bridged_by_pings() {
    let script = json!([{"on": "plain", "reply": {"stream": [{"text": ["a", {"hold": "end"}, "b"]}]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "a");
    stream.read_to(|event| event.name == "ping");
    scene.upstream.release("end");
    assert_eq!(stream.next_text(), "b");
}

/// Takes some twenty seconds: the status line is held back that long for a better one (WIRE.md R-H1).
#[test]
#[ignore = "slow: run tests/run --slow"]
fn slow_the_status_line_does_not_wait_for_ever() {
    let script = json!([{"on": "plain", "reply": {"hold": "head", "stream": [{"text": "late"}]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("go"));
    stream.read_to(|event| event.name == "message_start");
    scene.upstream.release("head");
    assert_eq!(Message::from_events(&prepend_start(stream.read_to_end())).text(), "late");
}

/// Message reading begins with a start; the one that the test took before is put back in spirit.
fn prepend_start(events: Vec<Event>) -> Vec<Event> {
    let data = json!({"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {}}});
    let start = Event { name: "message_start".into(), data };
    std::iter::once(start).chain(events).collect()
}
