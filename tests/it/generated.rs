//! Conversations that nobody wrote: whatever a client sends, the upstream must get a body that it takes, or nothing at
//! all. The upstream that judges is the strict one of `support/upstream`, which knows nothing of the translator.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::streaming::says_fine;
use crate::support::bodies::RED_PIXEL;
use crate::support::scene::Scene;

/// Enough for every kind of block to meet every other, and still seconds.
pub const GENERATED_CONVERSATIONS: u32 = 150;

#[test]
fn any_conversation_is_one_that_openai_takes() {
    send_generated(&Scene::openai(says_fine()), "anthropic/gpt-5.5");
}

#[test]
fn any_conversation_is_one_that_the_subscription_takes() {
    send_generated(&Scene::codex(says_fine()), "anthropic/gpt-5.5");
}

#[test]
fn any_conversation_is_one_that_local_servers_take() {
    send_generated(&Scene::custom(says_fine()), "anthropic/qwen3-coder");
}

/// Sends the same conversations in each run: a failure can be looked for again.
pub fn send_generated(scene: &Scene, model: &str) {
    let config = Config { cases: GENERATED_CONVERSATIONS, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&request(), |mut body| {
        body["model"] = json!(model);
        let answer = scene.post("/v1/messages?beta=true", &body);
        let violations = scene.upstream.take_violations();
        prop_assert!(violations.is_empty(), "{violations:?} in {body:#}");
        prop_assert!(matches!(answer.status, 200 | 400), "{}: {}", answer.status, answer.text());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{}: {error}", scene.backend));
    let taken = scene.upstream.requests().len();
    assert!(taken > GENERATED_CONVERSATIONS as usize / 2, "the upstream saw only {taken} requests");
}

fn request() -> impl Strategy<Value = Value> {
    (turns(), tools(), parameters()).prop_map(|(messages, tools, parameters)| {
        let mut body = json!({"max_tokens": 4096, "stream": true, "messages": messages});
        if !tools.is_empty() {
            body["tools"] = tools.into();
        }
        for (key, value) in parameters {
            body[key] = value;
        }
        forget_choice_of_missing_tool(&mut body);
        body
    })
}

/// To choose a tool that is not there is the client's own fault, and any upstream says so.
fn forget_choice_of_missing_tool(body: &mut Value) {
    let chosen = &body["tool_choice"]["name"];
    let is_there = body["tools"].as_array().into_iter().flatten().any(|tool| tool["name"] == *chosen);
    if chosen.is_string() && !is_there {
        body.as_object_mut().expect("an object").remove("tool_choice");
    }
}

/// Some of the members that a request may have beside its messages and tools.
fn parameters() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let schema = json!({"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
        "additionalProperties": false});
    let all = vec![
        ("system", json!("Be brief.")),
        ("system", json!([{"type": "text", "text": "One."}, {"type": "text", "text": ""}])),
        ("tool_choice", json!({"type": "any", "disable_parallel_tool_use": true})),
        ("tool_choice", json!({"type": "tool", "name": "Bash"})),
        ("tool_choice", json!({"type": "tool", "name": "web_search"})),
        ("tool_choice", json!({"type": "none"})),
        ("thinking", json!({"type": "enabled", "budget_tokens": 2048})),
        ("thinking", json!({"type": "adaptive", "display": "updates"})),
        ("thinking", json!({"type": "disabled"})),
        ("output_config", json!({"effort": "max"})),
        ("output_config", json!({"effort": "low", "format": {"type": "json_schema", "schema": schema}})),
        ("temperature", json!(0.3)),
        ("top_p", json!(0.9)),
        ("top_k", json!(5)),
        ("max_tokens", json!(1)),
        ("max_tokens", json!(200_000)),
        ("stop_sequences", json!(["</end>", ""])),
        ("metadata", json!({"user_id": "{\"session_id\":\"s\"}"})),
        ("service_tier", json!("standard_only")),
        ("speed", json!("fast")),
        ("mcp_servers", json!([])),
        ("container", json!("c")),
        ("new_parameter", json!({"a": 1})),
    ];
    subsequence(all, 0..8)
}

fn tools() -> impl Strategy<Value = Vec<Value>> {
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let long_name = format!("mcp__server__{}", "a_very_long_name_".repeat(6));
    let all = vec![
        json!({"name": "Bash", "description": "Runs.", "input_schema": object(json!({"command": {"type": "string"}}))}),
        json!({"name": "Read", "strict": true, "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"],
            "additionalProperties": false}}),
        json!({"name": long_name, "input_schema": object(json!({}))}),
        json!({"name": "mcp__a.b__c/d", "description": "", "input_schema": {"type": "object"}}),
        json!({"name": "one_of", "input_schema": {"oneOf": [object(json!({"a": {"type": "string"}})),
            object(json!({"b": {"type": "number"}}))]}}),
        json!({"name": "recursive", "input_schema": {"type": "object", "properties": {"node": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}}),
        json!({"name": "nothing", "input_schema": null, "cache_control": {"type": "ephemeral"}, "defer_loading": true}),
        json!({"name": "examples", "input_schema": object(json!({"n": {"type": ["integer", "null"], "minimum": 1}})),
            "input_examples": [{"n": 1}], "eager_input_streaming": true}),
        json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 8,
            "allowed_domains": ["https://example.com/", "example.org"]}),
        json!({"type": "bash_20250124", "name": "bash"}),
        json!({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}),
        json!({"type": "code_execution_20250825", "name": "code_execution"}),
    ];
    subsequence(all, 0..10)
}

/// Turns in any order, as a broken history may have them; most answer the calls before them. The user has the last
/// word: calls in the last position may wait for their outputs (WIRE.md Q-M32), and no upstream would take that.
fn turns() -> impl Strategy<Value = Vec<Value>> {
    let last = json!({"role": "user", "content": "What now?"});
    vec(prop_oneof![3 => user(), 2 => exchange(), 2 => assistant(), 1 => system()], 0..6)
        .prop_map(move |turns| turns.into_iter().flatten().chain([last.clone()]).collect())
}

fn user() -> impl Strategy<Value = Vec<Value>> {
    let blocks = vec(prop_oneof![3 => text(), 2 => media(), 1 => result(id())], 0..4).prop_map(Value::from);
    prop_oneof![blocks, Just(json!("Go on.")), Just(json!(""))]
        .prop_map(|content| vec![json!({"role": "user", "content": content})])
}

fn assistant() -> impl Strategy<Value = Vec<Value>> {
    let blocks = vec(prop_oneof![2 => text(), 1 => thinking(), 1 => call(id()), 1 => search()], 0..4);
    blocks.prop_map(|blocks| vec![json!({"role": "assistant", "content": blocks})])
}

fn system() -> impl Strategy<Value = Vec<Value>> {
    let content = prop_oneof![Just(json!("Mind the time.")), text().prop_map(|text| json!([text]))];
    content.prop_map(|content| vec![json!({"role": "system", "content": content})])
}

/// A thought, some calls, and their results.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    (weighted(0.5, thinking()), vec((id(), any::<bool>()), 1..4)).prop_flat_map(|(thought, calls)| {
        let answered = calls.iter().filter(|(_, answered)| *answered).map(|(id, _)| result(Just(id.clone())).boxed());
        let answered: Vec<_> = answered.collect();
        let calls: Vec<_> = calls.iter().map(|(id, _)| call(Just(id.clone())).boxed()).collect();
        (Just(thought), calls, answered, weighted(0.3, text())).prop_map(|(thought, calls, results, more)| {
            let said: Vec<_> = thought.into_iter().chain(calls).collect();
            let heard: Vec<_> = results.into_iter().chain(more).collect();
            vec![json!({"role": "assistant", "content": said}), json!({"role": "user", "content": heard})]
        })
    })
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "call_[a-zA-Z0-9]{8}",
        1 => Just("toolu_same".to_owned()),
        1 => Just(format!("chatcmpl-tool-{}", "x".repeat(70))),
        1 => "[a-z:|./é ]{1,12}",
    ]
}

fn text() -> impl Strategy<Value = Value> {
    select(vec!["Hello.", "", " \n", "quotes \" and \\ and \u{1}", "é😀漢", "</end>"])
        .prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}))
}

fn thinking() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"type": "thinking", "thinking": "Hm.", "signature": "ErUBCkYIBRgCIkDfakeanthropicsignature"}),
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        json!({"type": "redacted_thinking", "data": "gAAAAA"}),
    ])
}

fn call(id: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    let names = select(vec!["Bash", "Read", "web_search", "mcp__a.b__c/d", "one_of", "not offered any more", ""]);
    let inputs = select(vec![json!({"command": "ls"}), json!({}), json!("{\"a\": 1}"), Value::Null, json!([1])]);
    (id, names, inputs)
        .prop_map(|(id, name, input)| json!({"type": "tool_use", "id": id, "name": name, "input": input}))
}

fn result(id: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    let reference = json!({"type": "tool_reference", "tool_name": "Read"});
    let parts = vec(prop_oneof![3 => text(), 2 => media(), 1 => Just(reference)], 0..4).prop_map(Value::from);
    let content = prop_oneof![2 => parts, 2 => Just(json!("done")), 1 => Just(json!("")), 1 => Just(Value::Null)];
    (id, content, any::<bool>()).prop_map(
        |(id, content, failed)| json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed}),
    )
}

fn media() -> impl Strategy<Value = Value> {
    let source = |media_type: &str, data: &str| json!({"type": "base64", "media_type": media_type, "data": data});
    select(vec![
        json!({"type": "image", "source": source("image/png", RED_PIXEL)}),
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        json!({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        json!({"type": "document", "source": source("application/pdf", "JVBERi0xLjQK"), "title": "A plan"}),
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Plain."}}),
        json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "context": "c"}),
        json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Inner."}]}}),
        json!({"type": "search_result", "source": "https://example.com", "title": "T",
            "content": [{"type": "text", "text": "Found."}], "citations": {"enabled": true}}),
        json!({"type": "container_upload", "file_id": "f"}),
        json!({"type": "of_tomorrow", "data": [1, {"a": null}]}),
    ])
}

/// What a server tool left in the history.
fn search() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rust"}}),
        json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
            {"type": "web_search_result", "title": "Rust", "url": "https://www.rust-lang.org/", "encrypted_content": ""}]}),
        json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
            "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}),
        json!({"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {}}),
        json!({"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "m"}]}),
    ])
}
