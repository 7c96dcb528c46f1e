//! The official `claude`, run against the gateway: what people do with it, from their prompt to the final text.
//!
//! Ignored by default, because the program must be installed first: `tests/run` does that and runs them.

use std::time::Duration;

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

/// The backend's own streams, recorded. Their tool is one that `claude` does not have: it says so, and the loop goes on.
#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_turn_runs_on_the_subscriptions_recorded_streams() {
    let recorded = |name: &str| {
        let path = format!("{}/tests/fixtures/streams/{name}.sse", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a fixture of the repository")
    };
    let scene = Scene::codex(json!([
        {"on": "turn", "reply": {"stream": [{"raw": recorded("codex_turn1_tool_call")}, {"end": true}]}},
        {"on": "results", "reply": {"stream": [{"raw": recorded("codex_turn2_final_with_extras")}, {"end": true}]}},
    ]));
    let run = run(&scene, "Bash", "Look around, please.");
    assert_eq!(run.answer(), "Hi! The tool said hello-from-tool.");
    let requests = scene.upstream.requests();
    let agent: Vec<_> = requests.iter().filter(|request| request.body["tools"].is_array()).collect();
    assert_eq!(agent.len(), 2, "one request per step, none repeated");
    let thought = &agent[1].items("reasoning")[0]["encrypted_content"];
    assert!(thought.as_str().is_some_and(|thought| thought.starts_with("gAAAAABfake-encrypted")), "{thought}");
    assert_eq!(agent[1].items("function_call")[0]["name"], "exec_command");
    assert_eq!(agent[1].items("function_call_output").len(), 1);
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
fn every_thought_comes_back_as_it_was_and_where_it_was() {
    let thoughts = ["first", "second", "third"].map(|name| format!("gAAAAAB{}_-=", name.repeat(800)));
    let step = |thought: &str, word: &str| {
        json!([{"reasoning": format!("The {word} thought."), "encrypted": thought},
            call(&format!("call_{word}"), "Bash", json!({"command": format!("echo {word}"), "description": word}))])
    };
    let scene = Scene::openai(json!([
        {"on": "turn", "reply": {"stream": step(&thoughts[0], "one")}},
        {"on": "results", "reply": {"stream": step(&thoughts[1], "two")}},
        {"on": "results", "reply": {"stream": step(&thoughts[2], "three")}},
        {"on": "results", "reply": {"stream": [{"text": "Counted."}]}},
    ]));
    let run = run(&scene, "Bash", "Count.");
    assert_eq!(run.answer(), "Counted.");
    let requests = scene.upstream.requests();
    let input = requests.last().expect("a request").body["input"].as_array().cloned().unwrap_or_default();
    let replayed = input.iter().skip_while(|item| item["type"] != "reasoning");
    let replayed: Vec<_> =
        replayed.map(|item| item["encrypted_content"].as_str().or(item["call_id"].as_str())).collect();
    let expected = [
        [&thoughts[0], "call_one", "call_one"],
        [&thoughts[1], "call_two", "call_two"],
        [&thoughts[2], "call_three", "call_three"],
    ];
    assert_eq!(replayed, expected.concat().into_iter().map(Some).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn an_answer_has_the_shape_that_a_schema_asks_for() {
    let script = json!([
        {"on": "any", "times": 0, "reply": {"stream": [call("call_out", "StructuredOutput", json!({"number": 7}))]}},
    ]);
    let scene = Scene::openai(script);
    let environment = scene.service.environment(&scene.world, scene.backend);
    let schema = json!({"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"],
        "additionalProperties": false});
    let claude =
        Claude::new(&scene.world, &environment, "Read").argument("--json-schema").argument(&schema.to_string());
    let run = claude.run("Which number?");
    assert_eq!(run.result()["structured_output"], json!({"number": 7}), "{run:?}");
    let requests = scene.upstream.requests();
    let tools = requests[0].body["tools"].as_array().cloned().unwrap_or_default();
    let tool = tools.iter().find(|tool| tool["name"] == "StructuredOutput").expect("the tool is offered");
    assert_eq!(tool["parameters"]["properties"], schema["properties"]);
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_tool_whose_name_is_too_long_for_the_upstream_runs() {
    let name = format!("mcp__long__{}", "n".repeat(105));
    assert_eq!(name.len(), 116);
    // As WIRE.md Q-T7 says: what fits, and a digest of the whole.
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&name);
    let digest: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let sent = format!("{}_{digest}", &name[..55]);
    let script = json!([
        // Tools of MCP servers are loaded by their own names, which the model has read in a system message.
        {"on": "turn", "reply": {"stream": [call("call_load", "ToolSearch", json!({"query": format!("select:{name}")}))]}},
        {"on": "results", "reply": {"stream": [call("call_long", &sent, json!({}))]}},
        {"on": "results", "contains": "out of the long tool", "reply": {"stream": [{"text": "It ran."}]}},
    ]);
    let scene = Scene::openai(script);
    let environment = scene.service.environment(&scene.world, scene.backend);
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/claude/mcp_long_name.mjs");
    let servers = json!({"mcpServers": {"long": {"command": "node", "args": [server, &name["mcp__long__".len()..]]}}});
    let claude = Claude::new(&scene.world, &environment, &name)
        .argument("--strict-mcp-config")
        .argument("--mcp-config")
        .argument(&servers.to_string());
    let run = claude.run("Use the long tool.");
    assert_eq!(run.answer(), "It ran.");
    let called = run.lines.iter().filter(|line| line["type"] == "assistant");
    let names: Vec<_> = called.filter_map(|line| line["message"]["content"][0]["name"].as_str()).collect();
    assert_eq!(names, ["ToolSearch", name.as_str()], "the name is its own again");
    let requests = scene.upstream.requests();
    let last = requests.last().expect("a request");
    assert_eq!(last.items("function_call")[1]["name"], sent.as_str());
    assert_eq!(last.body["tools"].as_array().and_then(|tools| tools.last()).expect("tools")["name"], sent.as_str());
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_conversation_that_is_too_long_is_compacted_and_goes_on() {
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Noted."}]}}]));
    assert_eq!(run(&scene, "Read", "Remember the number seven.").answer(), "Noted.");
    let before = scene.upstream.requests().len();
    let overflow = json!({"code": "context_length_exceeded",
        "message": "Your input exceeds the context window of this model. Please adjust your input and try again."});
    scene.upstream.script(&json!([
        {"on": "any", "contains": "Which number?", "reply": {"stream": [{"fail": overflow}]}},
        {"on": "any", "contains": "<summary>", "reply": {"stream": [
            {"text": "<analysis>Short.</analysis><summary>The number to remember is seven.</summary>"}]}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Seven."}]}},
    ]));
    let environment = scene.service.environment(&scene.world, scene.backend);
    let run = Claude::new(&scene.world, &environment, "Read").argument("--continue").run("Which number?");
    assert_eq!(run.answer(), "Seven.");
    let boundary = run.lines.iter().find(|line| line["subtype"] == "compact_boundary");
    assert!(boundary.is_some(), "nothing was compacted: {run:?}");
    // The overflow, the summary, the prompt again: nothing was sent twice in vain.
    assert_eq!(scene.upstream.requests().len() - before, 3, "{run:?}");
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn a_refused_key_is_said_in_one_attempt() {
    let script = json!([{"on": "any", "times": 0, "reply": {"status": 401, "json": {"error": {
        "type": "invalid_request_error", "code": "invalid_api_key", "message": "Incorrect API key provided."}}}}]);
    let scene = Scene::openai(script);
    let run = run(&scene, "Read", "Say hello.");
    let result = run.result();
    assert_eq!(result["is_error"], true, "{result:#}");
    assert!(result["result"].as_str().unwrap_or_default().contains("Incorrect API key"), "{result:#}");
    assert_eq!(scene.upstream.requests().len(), 1, "nobody retries what cannot succeed");
}

/// Longer than the 300 s after which the program gives up on a stream that says nothing.
#[test]
#[ignore = "needs the real claude CLI and six minutes: run tests/run --slow"]
fn slow_a_model_that_thinks_in_silence_is_asked_once() {
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": [
        {"delay_ms": 340_000}, {"text": "At last."}]}}]));
    let environment = scene.service.environment(&scene.world, scene.backend);
    let claude = Claude::new(&scene.world, &environment, "Read").patience(Duration::from_secs(480));
    assert_eq!(claude.run("Think it over.").answer(), "At last.");
    scene.upstream.only_request();
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn its_choice_of_models_has_the_gateways_aliases() {
    let models =
        ["gpt-5.5", "gpt-5-mini", "gpt-5.2"].map(|id| json!({"id": id, "object": "model", "owned_by": "openai"}));
    let scene = Scene::openai(json!([
        {"on": "models", "times": 0, "reply": {"json": {"object": "list", "data": models}}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Hello."}]}},
    ]));
    scene.service.wait_for("models.refreshed");
    let environment = scene.service.environment(&scene.world, scene.backend);
    let ask = || Claude::new(&scene.world, &environment, "Read").ask(&json!({"subtype": "initialize"}));
    // It waits three seconds for the list at most, and keeps it for the next start: a slow machine may need two.
    ask();
    let answer = ask();
    let rows = answer["models"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
    // The default and the small model stand in the rows of claude's own names, and in no others.
    for (value, resolved) in
        [("opus", "anthropic/gpt-5.5"), ("haiku", "anthropic/gpt-5-mini"), ("anthropic/gpt-5.2", "anthropic/gpt-5.2")]
    {
        let row = rows.iter().find(|row| row["value"] == value).unwrap_or_else(|| panic!("no {value} in {rows:#?}"));
        assert_eq!(row["resolvedModel"], resolved, "{row:#}");
    }
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
