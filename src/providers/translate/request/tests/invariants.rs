//! What every body must hold, whatever it was made of: written against the APIs' rules, without the translator's types.

use std::collections::HashSet;

use serde_json::Value;

use crate::providers::profile::ProfileKind;

const CODEX_KEYS: [&str; 14] = [
    "model",
    "instructions",
    "input",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "include",
    "store",
    "stream",
    "prompt_cache_key",
    "service_tier",
    "client_metadata",
];
const MORE_KEYS_OF_CUSTOM: [&str; 3] = ["max_output_tokens", "temperature", "top_p"];
const MORE_KEYS_OF_OPENAI: [&str; 6] =
    ["max_output_tokens", "temperature", "top_p", "safety_identifier", "stream_options", "max_tool_calls"];

pub(super) fn check(kind: ProfileKind, body: &Value) {
    keys(body, &allowed(kind));
    assert_eq!(body["stream"], true);
    assert!(body["model"].as_str().is_some_and(|model| !model.is_empty()));
    let input = body["input"].as_array().expect("input is an array");
    assert!(!input.is_empty(), "input is never empty");
    for item in input {
        check_item(kind, item);
    }
    pairs(input);
    reasoning(input);
    tools(kind, body);
    if kind == ProfileKind::Codex {
        assert_eq!(body["store"], false);
        assert!(body["instructions"].is_string());
    }
}

fn allowed(kind: ProfileKind) -> Vec<&'static str> {
    let mut keys = CODEX_KEYS.to_vec();
    match kind {
        ProfileKind::Codex => {}
        ProfileKind::OpenAi => keys.extend(MORE_KEYS_OF_OPENAI),
        ProfileKind::Custom => {
            keys.extend(MORE_KEYS_OF_CUSTOM);
            keys.retain(|key| *key != "service_tier");
        }
    }
    keys
}

fn keys(value: &Value, allowed: &[&str]) {
    for key in value.as_object().expect("an object").keys() {
        assert!(allowed.contains(&key.as_str()), "{key} is not allowed in {value}");
    }
}

fn is_id(value: &Value) -> bool {
    let text = value.as_str().expect("an id is a string");
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn check_item(kind: ProfileKind, item: &Value) {
    match item["type"].as_str().expect("an item has a type") {
        "message" => {
            keys(item, &["type", "role", "content", "phase"]);
            let role = item["role"].as_str().expect("a role");
            assert!(matches!(role, "user" | "assistant" | "developer" | "system"), "{role}");
            assert!(kind != ProfileKind::Codex || role != "system", "codex refuses the role system");
            let parts = item["content"].as_array().expect("content is an array");
            assert!(!parts.is_empty(), "no message is empty");
            assert!(kind != ProfileKind::Custom || role != "assistant" || parts.len() == 1, "one part: {item}");
            parts.iter().for_each(|part| check_part(part, role == "assistant"));
        }
        "function_call" => {
            keys(item, &["type", "call_id", "name", "arguments"]);
            assert!(is_id(&item["call_id"]) && is_id(&item["name"]), "{item}");
            let arguments = item["arguments"].as_str().expect("arguments are text");
            let arguments: Value = serde_json::from_str(arguments).expect("arguments are JSON");
            assert!(arguments.is_object());
        }
        "function_call_output" => {
            keys(item, &["type", "call_id", "output"]);
            match &item["output"] {
                Value::String(_) => {}
                Value::Array(parts) => {
                    assert_ne!(kind, ProfileKind::Custom);
                    assert!(!parts.is_empty());
                    parts.iter().for_each(|part| check_part(part, false));
                }
                other => panic!("output is {other}"),
            }
        }
        "reasoning" => {
            keys(item, &["type", "summary", "content", "encrypted_content"]);
            assert_eq!(item["summary"], Value::Array(Vec::new()));
            let (plain, sealed) = (item.get("content").is_some(), item.get("encrypted_content").is_some());
            assert!(plain != sealed, "one of both: {item}");
        }
        other => panic!("an item of type {other}"),
    }
}

fn check_part(part: &Value, of_assistant: bool) {
    let kind = part["type"].as_str().expect("a part has a type");
    match kind {
        "input_text" | "output_text" => {
            keys(part, &["type", "text"]);
            assert!(!part["text"].as_str().expect("text").is_empty(), "no text is empty");
        }
        "input_image" => {
            keys(part, &["type", "image_url", "detail"]);
            assert_eq!(part["detail"], "auto");
            assert!(part["image_url"].is_string());
        }
        "input_file" => {
            keys(part, &["type", "filename", "file_data", "file_url"]);
            assert!(part["file_data"].is_string() != part["file_url"].is_string());
        }
        other => panic!("a part of type {other}"),
    }
    assert_eq!(of_assistant, kind == "output_text", "{part}");
}

/// Every output answers exactly one earlier call; every call is answered, but for those that the input ends with.
fn pairs(input: &[Value]) {
    let (mut calls, mut answered) = (HashSet::new(), HashSet::new());
    for item in input {
        let id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") => assert!(calls.insert(id), "two calls {id}"),
            Some("function_call_output") => {
                assert!(calls.contains(id), "no call for {id}");
                assert!(answered.insert(id), "two outputs for {id}");
            }
            _ => {}
        }
    }
    let is_call = |item: &&Value| matches!(item["type"].as_str(), Some("function_call" | "reasoning"));
    let last: HashSet<_> = input.iter().rev().take_while(is_call).filter_map(|item| item["call_id"].as_str()).collect();
    for id in calls {
        assert!(answered.contains(id) || last.contains(id), "call {id} has no output");
    }
}

fn reasoning(input: &[Value]) {
    for (index, item) in input.iter().enumerate().filter(|(_, item)| item["type"] == "reasoning") {
        let follower = input[index..].iter().find(|item| item["type"] != "reasoning");
        let follower = follower.unwrap_or_else(|| panic!("{item} is last"));
        assert!(follower["type"] == "function_call" || follower["role"] == "assistant", "reasoning before {follower}");
    }
}

fn tools(kind: ProfileKind, body: &Value) {
    let Some(tools) = body.get("tools") else {
        assert!(body.get("tool_choice").is_none() && body.get("parallel_tool_calls").is_none());
        return;
    };
    let tools = tools.as_array().expect("tools are an array");
    assert!(!tools.is_empty());
    let mut names = HashSet::new();
    for tool in tools {
        match tool["type"].as_str().expect("a tool has a type") {
            "function" => {
                keys(tool, &["type", "name", "description", "parameters", "strict"]);
                assert!(is_id(&tool["name"]) && names.insert(&tool["name"]), "{}", tool["name"]);
                let parameters = &tool["parameters"];
                assert_eq!(parameters["type"], "object");
                assert!(parameters["properties"].is_object());
                for key in ["$schema", "$id", "anyOf", "oneOf", "allOf", "enum", "not"] {
                    assert!(parameters.get(key).is_none(), "{key} in {parameters}");
                }
            }
            "web_search" => {
                keys(tool, &["type", "filters", "user_location"]);
                assert_ne!(kind, ProfileKind::Custom);
            }
            other => panic!("a tool of type {other}"),
        }
    }
}
