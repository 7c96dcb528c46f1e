//! The `input` list: the shape of each item per role, and the pairing of calls and outputs both ways.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Findings, Profile};

pub fn check(input: Option<&Value>, profile: Profile, findings: &mut Findings) {
    let Some(input) = input else { return findings.add("input", "Missing required parameter") };
    let Some(items) = input.as_array() else { return findings.add("input", "Input must be a list") };
    findings.check(!items.is_empty(), "input", "the list is empty");
    for (index, item) in items.iter().enumerate() {
        let param = format!("input[{index}]");
        match item.as_object() {
            Some(item) => check_item(item, profile, &param, findings),
            None => findings.add(param, "not an object"),
        }
    }
    check_pairs(items, findings);
    check_reasoning_followers(items, findings);
}

fn check_item(item: &Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => check_message(item, profile, param, findings),
        // The easy form of a message has no type.
        None if item.contains_key("role") => check_message(item, profile, param, findings),
        Some("function_call") => check_call(item, param, findings),
        Some("function_call_output") => check_output(item, profile, param, findings),
        Some("reasoning") => check_reasoning(item, profile, param, findings),
        kind => findings.add(format!("{param}.type"), format!("{kind:?} cannot be an input item of ours")),
    }
}

fn check_message(item: &Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) {
    let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
    let known: &[&str] = if role == "assistant" && profile != Profile::Custom {
        &["type", "role", "content", "phase"]
    } else {
        &["type", "role", "content"]
    };
    findings.only(item, known, param);
    let roles: &[&str] = match profile {
        Profile::Codex => &["user", "assistant", "developer"],
        Profile::OpenAi | Profile::Custom => &["user", "assistant", "developer", "system"],
    };
    let role_param = format!("{param}.role");
    if profile == Profile::Codex && role == "system" {
        findings.add(role_param, "System messages are not allowed");
    } else {
        findings.check(roles.contains(&role), role_param, format!("{role:?} is none of {roles:?}"));
    }
    findings.one_of(item, "phase", &["commentary", "final_answer"], &format!("{param}."));
    match item.get("content") {
        Some(Value::String(text)) => {
            findings.check(!text.is_empty(), format!("{param}.content"), "empty");
        }
        Some(Value::Array(parts)) => check_parts(parts, role, profile, param, findings),
        _ => findings.add(format!("{param}.content"), "neither a string nor a list"),
    }
}

fn check_parts(parts: &[Value], role: &str, profile: Profile, param: &str, findings: &mut Findings) {
    findings.check(!parts.is_empty(), format!("{param}.content"), "no part");
    if role == "assistant" && profile == Profile::Custom {
        // vLLM reads the first part alone and says nothing.
        findings.check(parts.len() == 1, format!("{param}.content"), "an assistant message has exactly one part here");
    }
    for (index, part) in parts.iter().enumerate() {
        let param = format!("{param}.content[{index}]");
        let Some(part) = part.as_object() else {
            findings.add(param, "not an object");
            continue;
        };
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        let allowed: &[&str] = match role {
            "assistant" if profile == Profile::Custom => &["output_text"],
            "assistant" => &["output_text", "refusal"],
            "user" => &["input_text", "input_image", "input_file"],
            _ => &["input_text"],
        };
        if allowed.contains(&kind) {
            check_part(part, kind, profile, &param, findings);
        } else {
            findings.add(
                format!("{param}.type"),
                format!("Invalid value: '{kind}'. Supported values for role {role} are: {allowed:?}"),
            );
        }
    }
}

fn check_part(part: &Map<String, Value>, kind: &str, profile: Profile, param: &str, findings: &mut Findings) {
    match kind {
        "input_text" | "output_text" => {
            let known: &[&str] =
                if kind == "input_text" { &["type", "text"] } else { &["type", "text", "annotations", "logprobs"] };
            findings.only(part, known, param);
            let text = part.get("text").and_then(Value::as_str);
            findings.check(text.is_some_and(|text| !text.is_empty()), format!("{param}.text"), "missing or empty");
        }
        "refusal" => {
            findings.only(part, &["type", "refusal"], param);
            findings.check(part.get("refusal").is_some_and(Value::is_string), format!("{param}.refusal"), "no string");
        }
        "input_image" => check_image(part, profile, param, findings),
        _ => check_file(part, param, findings),
    }
}

fn check_image(part: &Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) {
    findings.only(part, &["type", "image_url", "detail"], param);
    findings.one_of(part, "detail", &["low", "high", "auto", "original"], &format!("{param}."));
    if profile == Profile::Custom {
        findings.check(part.contains_key("detail"), format!("{param}.detail"), "vLLM refuses its absence");
    }
    let url = part.get("image_url").and_then(Value::as_str).unwrap_or_default();
    let good = url.starts_with("https://") || url.starts_with("http://") || is_data_url(url, &["image/"]);
    findings.check(good, format!("{param}.image_url"), "neither http nor a base64 data URL of an image");
}

fn check_file(part: &Map<String, Value>, param: &str, findings: &mut Findings) {
    findings.only(part, &["type", "filename", "file_data", "file_url"], param);
    match part.get("file_data").and_then(Value::as_str) {
        Some(data) => {
            findings.check(is_data_url(data, &["application/pdf"]), format!("{param}.file_data"), "no PDF data URL");
            let name = part.get("filename").and_then(Value::as_str).unwrap_or_default();
            findings.check(name.ends_with(".pdf"), format!("{param}.filename"), "does not end in .pdf");
        }
        None => findings.check(part.contains_key("file_url"), param, "neither file_data nor file_url"),
    }
}

fn is_data_url(url: &str, media_types: &[&str]) -> bool {
    let Some((media_type, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
        return false;
    };
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    media_types.iter().any(|wanted| media_type.starts_with(wanted)) && !data.is_empty() && data.bytes().all(is_base64)
}

fn check_call(item: &Map<String, Value>, param: &str, findings: &mut Findings) {
    findings.only(item, &["type", "call_id", "name", "arguments"], param);
    check_call_id(item, param, findings);
    let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
    findings.check(is_name(name), format!("{param}.name"), format!("{name:?} is not [a-zA-Z0-9_-]{{1,64}}"));
    let arguments = item.get("arguments").and_then(Value::as_str).unwrap_or_default();
    let is_object = serde_json::from_str::<Map<String, Value>>(arguments).is_ok();
    findings.check(is_object, format!("{param}.arguments"), "not the text of a JSON object");
}

fn check_output(item: &Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) {
    findings.only(item, &["type", "call_id", "output"], param);
    check_call_id(item, param, findings);
    match item.get("output") {
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            findings.check(profile != Profile::Custom, format!("{param}.output"), "local servers take a string");
            check_parts(parts, "user", profile, param, findings);
        }
        _ => findings.add(format!("{param}.output"), "neither a string nor a list"),
    }
}

fn check_call_id(item: &Map<String, Value>, param: &str, findings: &mut Findings) {
    let call_id = item.get("call_id").and_then(Value::as_str).unwrap_or_default();
    let message = format!("{call_id:?} is not [a-zA-Z0-9_-]{{1,64}} (string_above_max_length beyond)");
    findings.check(is_name(call_id), format!("{param}.call_id"), message);
}

pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn check_reasoning(item: &Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) {
    findings.only(item, &["type", "summary", "content", "encrypted_content"], param);
    check_reasoning_texts(item, "summary", "summary_text", param, findings);
    findings.check(item.contains_key("summary"), format!("{param}.summary"), "Missing required parameter");
    if item.contains_key("content") {
        check_reasoning_texts(item, "content", "reasoning_text", param, findings);
    }
    match item.get("encrypted_content") {
        Some(encrypted) => {
            let filled = encrypted.as_str().is_some_and(|text| !text.is_empty());
            findings.check(filled, format!("{param}.encrypted_content"), "no text");
            let allowed = profile != Profile::Custom;
            findings.check(allowed, format!("{param}.encrypted_content"), "Encrypted content is not supported");
        }
        None => findings.check(item.contains_key("content"), param, "neither encrypted_content nor content"),
    }
}

fn check_reasoning_texts(item: &Map<String, Value>, key: &str, kind: &str, param: &str, findings: &mut Findings) {
    let parts = item.get(key).and_then(Value::as_array);
    let good = parts.is_some_and(|parts| {
        parts.iter().all(|part| {
            part.as_object().is_some_and(|part| part.len() == 2 && part["type"] == kind && part["text"].is_string())
        })
    });
    findings.check(good, format!("{param}.{key}"), format!("not a list of {kind} parts"));
}

/// Every call has exactly one output after it, every output a call before it.
fn check_pairs(items: &[Value], findings: &mut Findings) {
    let mut open: HashMap<&str, bool> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let call_id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") => {
                let first = open.insert(call_id, true).is_none();
                findings.check(first, format!("input[{index}].call_id"), format!("a second call with id {call_id}"));
            }
            Some("function_call_output") => match open.get_mut(call_id) {
                Some(waits) if *waits => *waits = false,
                Some(_) => findings.add(format!("input[{index}]"), format!("a second output for call {call_id}")),
                None => findings.add(
                    format!("input[{index}]"),
                    format!("No tool call found for function call output with call_id {call_id}."),
                ),
            },
            _ => {}
        }
    }
    for (call_id, _) in open.iter().filter(|(_, waits)| **waits) {
        findings.add("input", format!("No tool output found for function call {call_id}."));
    }
}

/// A reasoning item needs the item that it led to: the assistant's next message, call or reasoning.
fn check_reasoning_followers(items: &[Value], findings: &mut Findings) {
    for (index, item) in items.iter().enumerate().filter(|(_, item)| item["type"] == "reasoning") {
        let follower = items.get(index + 1);
        let good = follower.is_some_and(|next| {
            next["type"] == "function_call" || next["type"] == "reasoning" || next["role"] == "assistant"
        });
        findings.check(
            good,
            format!("input[{index}]"),
            format!("Item of type 'reasoning' was provided without its required following item ({})", item["type"]),
        );
    }
}
