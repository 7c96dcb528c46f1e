//! The official `claude`, run against the gateway: what people do with it, from their prompt to the final text.
//!
//! Ignored by default, because the program must be installed first: `tests/run` does that and runs them.

use serde_json::{Value, json};

use crate::support::claude::{Claude, Run};
use crate::support::scene::Scene;

/// Runs one prompt; the tools named need no permission.
fn run(scene: &Scene, allowed_tools: &str, prompt: &str) -> Run {
    let environment = scene.service.environment(&scene.world, scene.backend);
    Claude::new(&scene.world, &environment, allowed_tools).run(prompt)
}

fn call(id: &str, name: &str, arguments: Value) -> Value {
    json!({"call": {"id": id, "name": name, "arguments": arguments}})
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_prompt_becomes_an_agent_turn_with_a_tool() {
    run_a_turn_with_a_tool(&Scene::openai(turn_with_a_tool()));
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_prompt_becomes_an_agent_turn_by_subscription() {
    run_a_turn_with_a_tool(&Scene::codex(turn_with_a_tool()));
}

fn turn_with_a_tool() -> Value {
    json!([
        {"on": "turn", "reply": {"stream": [
            {"reasoning": "I should run it.", "encrypted": "gAAAAABthe-thought"},
            {"text": "I'll run the command.", "phase": "commentary"},
            call("call_run1", "Bash", json!({"command": "echo out-of-the-shell", "description": "Echo"})),
        ]}},
        {"on": "results", "contains": "out-of-the-shell", "reply": {"stream": [
            {"text": "The shell said out-of-the-shell.", "phase": "final_answer"},
        ]}},
    ])
}

fn run_a_turn_with_a_tool(scene: &Scene) {
    let run = run(scene, "Bash", "Run the echo command, please.");
    assert_eq!(run.answer(), "The shell said out-of-the-shell.");
    let results = run.tool_results();
    assert_eq!(results.len(), 1, "{results:#?}");
    assert!(results[0].to_string().contains("out-of-the-shell"));

    let requests = scene.upstream.requests();
    let agent: Vec<_> = requests.iter().filter(|request| request.body["tools"].is_array()).collect();
    assert_eq!(agent.len(), 2, "one request per step, none repeated");
    assert_eq!(agent[1].items("reasoning")[0]["encrypted_content"], "gAAAAABthe-thought");
    assert_eq!(agent[1].items("function_call")[0]["call_id"], "call_run1");
    assert_eq!(agent[1].items("function_call_output")[0]["output"], "out-of-the-shell");
    assert!(run.stream_events().iter().any(|event| event["delta"]["type"] == "thinking_delta"));
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn text_is_shown_while_the_model_still_speaks() {
    let script = json!([{"on": "turn", "reply": {"stream": [{"text": "A first sentence. And a second one."}]}}]);
    let scene = Scene::openai(script);
    let run = run(&scene, "Read", "Say two sentences.");
    assert_eq!(run.answer(), "A first sentence. And a second one.");
    let deltas = run.stream_events().iter().filter(|event| event["delta"]["type"] == "text_delta").count();
    assert!(deltas > 2, "{deltas} deltas: the text came in one piece");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn parallel_tools_run_and_a_failing_one_is_told() {
    let script = json!([
        {"on": "turn", "reply": {"stream": [{"text": "Both."}, {"calls": [
            {"id": "call_good", "name": "Bash", "arguments": {"command": "echo fine-and-well", "description": "a"}},
            {"id": "call_bad", "name": "Bash", "arguments": {"command": "echo broken >&2; exit 3", "description": "b"}},
        ]}]}},
        {"on": "results", "reply": {"stream": [{"text": "One of the two failed."}]}},
    ]);
    let scene = Scene::openai(script);
    let run = run(&scene, "Bash", "Run both commands.");
    assert_eq!(run.answer(), "One of the two failed.");
    let requests = scene.upstream.requests();
    let outputs = requests.last().expect("a request").items("function_call_output");
    let output_of = |id: &str| {
        let found = outputs.iter().find(|item| item["call_id"] == id).unwrap_or_else(|| panic!("{id} in {outputs:#?}"));
        found["output"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(output_of("call_good"), "fine-and-well");
    assert!(output_of("call_bad").starts_with("Error"), "{}", output_of("call_bad"));
    assert!(output_of("call_bad").contains("broken"), "{}", output_of("call_bad"));
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_web_search_brings_links() {
    let script = json!([
        {"on": "turn", "reply": {"stream": [call("call_search", "WebSearch", json!({"query": "rust release"}))]}},
        {"on": "search", "reply": {"stream": [
            {"search": {"query": "rust release", "sources": ["https://blog.rust-lang.org/"]}},
            {"text": "Rust was released.",
                "citations": [{"url": "https://blog.rust-lang.org/", "title": "Announcing Rust"}]},
        ]}},
        {"on": "results", "reply": {"stream": [{"text": "It was released."}]}},
    ]);
    let scene = Scene::openai(script);
    let run = run(&scene, "WebSearch", "When was Rust released?");
    assert_eq!(run.answer(), "It was released.");
    let results = run.tool_results();
    let result = results[0].to_string();
    assert!(result.contains("https://blog.rust-lang.org/"), "no link in {result}");
    assert!(result.contains("Rust was released."), "no text in {result}");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn an_image_that_it_reads_reaches_the_model() {
    let scene = Scene::openai(json!([]));
    let image = scene.world.path("work").join("pixel.png");
    std::fs::write(&image, decode_base64(crate::support::bodies::RED_PIXEL)).expect("a file in a fresh folder");
    scene.upstream.script(&json!([
        {"on": "turn", "reply": {"stream": [call("call_read", "Read", json!({"file_path": image}))]}},
        {"on": "results", "reply": {"stream": [{"text": "It is red."}]}},
    ]));
    let run = run(&scene, "Read", "What colour is pixel.png?");
    assert_eq!(run.answer(), "It is red.");
    let requests = scene.upstream.requests();
    let output = &requests.last().expect("a request").items("function_call_output")[0]["output"];
    let image = output.as_array().into_iter().flatten().find(|part| part["type"] == "input_image");
    assert!(image.is_some(), "no image in {output}");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_conversation_goes_on_with_the_thoughts_of_its_first_turn() {
    let script = json!([
        {"on": "turn", "contains": "number seven", "reply": {"stream": [
            {"reasoning": "Remember it.", "encrypted": "gAAAAABremembered"}, {"text": "Noted."}]}},
    ]);
    let scene = Scene::openai(script);
    assert_eq!(run(&scene, "Read", "Remember the number seven.").answer(), "Noted.");
    scene.upstream.script(&json!([{"on": "turn", "reply": {"stream": [{"text": "Seven."}]}}]));
    let environment = scene.service.environment(&scene.world, scene.backend);
    let second = Claude::new(&scene.world, &environment, "Read").argument("--continue").run("Which number?");
    assert_eq!(second.answer(), "Seven.");
    let requests = scene.upstream.requests();
    let last = requests.last().expect("a request");
    assert_eq!(last.items("reasoning")[0]["encrypted_content"], "gAAAAABremembered");
    assert_eq!(last.body["prompt_cache_key"], requests[0].body["prompt_cache_key"], "one session, one cache");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_used_up_plan_is_said_in_one_attempt() {
    let script = json!([{"on": "any", "times": 0, "reply": {"status": 429, "json": {"error": {
        "type": "usage_limit_reached", "message": "limit", "plan_type": "plus", "resets_in_seconds": 3600}}}}]);
    let scene = Scene::codex(script);
    let run = run(&scene, "Read", "Say hello.");
    let result = run.result();
    assert_eq!(result["is_error"], true, "{result:#}");
    assert!(result["result"].as_str().unwrap_or_default().contains("plan limit"), "{result:#}");
    assert_eq!(scene.upstream.requests().len(), 1, "nobody retries what cannot succeed");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_stream_cut_in_the_middle_is_taken_up_again() {
    let script = json!([
        {"on": "turn", "reply": {"stream": [{"text": ["Half an ans"]}, {"cut": "fin"}]}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "The whole answer."}]}},
    ]);
    let scene = Scene::openai(script);
    let run = run(&scene, "Read", "Answer me.");
    assert!(run.answer().ends_with("The whole answer."), "{run:?}");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn its_model_list_is_the_gateways() {
    // The program asks for the list beside its first request and does not wait for it: the answer leaves it time.
    let answer = json!([{"delay_ms": 2000}, {"text": "Hello."}]);
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": answer}}]));
    run(&scene, "Read", "Say hello.");
    let cache = scene.world.path("claude").join("cache/gateway-models.json");
    let cache = std::fs::read_to_string(&cache).unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
    assert!(cache.contains("anthropic/gpt-5.5"), "{cache}");
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("valid base64")
}
