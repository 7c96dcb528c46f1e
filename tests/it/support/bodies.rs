//! Requests as `claude` sends them: recorded ones from `tests/fixtures/claude`, and small ones built by hand.

use serde_json::{Value, json};

/// The body of a recorded request, such as `title_stream`.
pub fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/claude/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let recording: Value = serde_json::from_str(&text).expect("a recording is JSON");
    recording["body"].clone()
}

/// A main request with the tools `Bash`, `Read` and `WebSearch` and these messages.
pub fn main_request(messages: Value) -> Value {
    json!({
        "model": "anthropic/gpt-5.5",
        "max_tokens": 32000,
        "stream": true,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.b89; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are a Claude agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": messages,
        "tools": [
            tool("Bash", json!({"command": {"type": "string"}}), json!(["command"])),
            tool("Read", json!({"file_path": {"type": "string"}}), json!(["file_path"])),
            tool("WebSearch", json!({"query": {"type": "string"}}), json!(["query"])),
        ],
        "thinking": {"type": "adaptive", "display": "updates"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}"},
    })
}

/// The first request of a conversation.
pub fn first_request(prompt: &str) -> Value {
    main_request(json!([user(prompt)]))
}

/// A request without tools and without thinking.
pub fn plain_request(prompt: &str) -> Value {
    json!({"model": "anthropic/gpt-5.5", "max_tokens": 1000, "stream": true, "messages": [user(prompt)]})
}

pub fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

pub fn tool_result(id: &str, content: Value) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": content})
}

fn tool(name: &str, properties: Value, required: Value) -> Value {
    json!({
        "name": name, "description": format!("The tool {name}."),
        "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": properties, "required": required, "additionalProperties": false},
    })
}

/// A PNG of one red pixel, base64.
pub const RED_PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
