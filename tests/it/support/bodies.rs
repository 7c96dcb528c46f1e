//! Requests as `claude` sends them: recorded ones from `tests/fixtures/claude`, and small ones built by hand.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The body of a recorded request, such as `title_stream`.
pub fn recorded(name: &str) -> Value {
    read_recording(&recordings().join(format!("{name}.json")))["body"].clone()
}

/// Every recorded `POST /v1/messages`: the file's name and the body.
pub fn all_recorded() -> Vec<(String, Value)> {
    let mut folders = vec![recordings()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let recording = read_recording(&path);
                if recording["path"].as_str().is_some_and(|path| path.starts_with("/v1/messages?")) {
                    found.push((entry.file_name().to_string_lossy().into_owned(), recording["body"].clone()));
                }
            }
        }
    }
    found
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude")
}

fn read_recording(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
