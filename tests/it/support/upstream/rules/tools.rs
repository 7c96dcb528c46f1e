//! `tools`, `tool_choice`, `parallel_tool_calls` and `text`: what the model may call and how its answer is shaped.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::input::is_name;
use super::{Findings, Profile};

/// OpenAI's limit of tools in one request.
const MOST_TOOLS: usize = 128;
/// OpenAI's limit of nesting in a strict schema.
const DEEPEST_STRICT_SCHEMA: usize = 10;

pub fn check(fields: &Map<String, Value>, profile: Profile, findings: &mut Findings) {
    let tools = match fields.get("tools") {
        None => &[][..],
        Some(Value::Array(tools)) => tools,
        Some(_) => return findings.add("tools", "not a list"),
    };
    if tools.is_empty() {
        for key in ["tools", "tool_choice", "parallel_tool_calls"] {
            findings.check(!fields.contains_key(key), key, "sent although there are no tools");
        }
        return;
    }
    findings.check(tools.len() <= MOST_TOOLS, "tools", format!("more than {MOST_TOOLS} tools"));
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let param = format!("tools[{index}]");
        let Some(tool) = tool.as_object() else {
            findings.add(param, "not an object");
            continue;
        };
        match tool.get("type").and_then(Value::as_str) {
            Some("function") => {
                let name = check_function(tool, profile, &param, findings);
                findings.check(names.insert(name), format!("{param}.name"), format!("a second tool called {name}"));
            }
            Some("web_search") if profile != Profile::Custom => check_web_search(tool, &param, findings),
            kind => findings.add(format!("{param}.type"), format!("{kind:?} is no tool here")),
        }
    }
    if let Some(parallel) = fields.get("parallel_tool_calls") {
        findings.check(parallel.is_boolean(), "parallel_tool_calls", "not a boolean");
    }
    check_choice(fields.get("tool_choice"), &names, tools, findings);
}

fn check_function<'a>(tool: &'a Map<String, Value>, profile: Profile, param: &str, findings: &mut Findings) -> &'a str {
    findings.only(tool, &["type", "name", "description", "parameters", "strict"], param);
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    findings.check(is_name(name), format!("{param}.name"), format!("{name:?} is not [a-zA-Z0-9_-]{{1,64}}"));
    if let Some(description) = tool.get("description") {
        findings.check(description.is_string(), format!("{param}.description"), "not a string");
    }
    let strict = tool.get("strict");
    let said = strict.is_some_and(Value::is_boolean) || (strict.is_none() && profile == Profile::Custom);
    findings.check(said, format!("{param}.strict"), "absent means strict: say it");
    let param = format!("{param}.parameters");
    match tool.get("parameters").and_then(Value::as_object) {
        Some(schema) => {
            check_parameters(schema, &param, findings);
            if strict == Some(&Value::Bool(true)) {
                check_strict(&Value::Object(schema.clone()), &param, 0, findings);
            }
        }
        None => findings.add(param, "not an object"),
    }
    name
}

fn check_parameters(schema: &Map<String, Value>, param: &str, findings: &mut Findings) {
    let is_object = schema.get("type").is_some_and(|kind| kind == "object");
    findings.check(is_object, format!("{param}.type"), "schema must be of type object");
    let has_properties = schema.get("properties").is_some_and(Value::is_object);
    findings.check(has_properties, format!("{param}.properties"), "object schema missing properties");
    for key in ["oneOf", "anyOf", "allOf", "enum", "not"] {
        findings.check(!schema.contains_key(key), format!("{param}.{key}"), "not at the top level of a schema");
    }
    for key in ["$schema", "$id"] {
        findings.check(!schema.contains_key(key), format!("{param}.{key}"), "the schema's own header is not wanted");
    }
}

/// A schema that is sent as strict must be eligible: every object closed and all its keys required.
fn check_strict(schema: &Value, param: &str, depth: usize, findings: &mut Findings) {
    if depth > DEEPEST_STRICT_SCHEMA {
        return findings.add(param, "a strict schema is nested too deep");
    }
    let Some(fields) = schema.as_object() else { return };
    if fields.get("type").is_some_and(|kind| kind == "object") {
        let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
        findings.check(closed, param, "strict: additionalProperties must be false");
        let keys: BTreeSet<&str> =
            fields.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| &**key).collect();
        let required: BTreeSet<&str> =
            fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        findings.check(keys == required, param, "strict: every property must be required");
    }
    for (key, inner) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check_strict(inner, &format!("{param}.{key}"), depth + 1, findings);
    }
    if let Some(items) = fields.get("items") {
        check_strict(items, &format!("{param}.items"), depth + 1, findings);
    }
}

fn check_web_search(tool: &Map<String, Value>, param: &str, findings: &mut Findings) {
    findings.only(tool, &["type", "filters", "user_location", "search_context_size"], param);
    findings.one_of(tool, "search_context_size", &["low", "medium", "high"], &format!("{param}."));
    if let Some(filters) = tool.get("filters") {
        let param = format!("{param}.filters");
        let Some(filters) = filters.as_object() else { return findings.add(param, "not an object") };
        findings.only(filters, &["allowed_domains"], &param);
        let domains = filters.get("allowed_domains").and_then(Value::as_array);
        let plain = domains.is_some_and(|domains| {
            let is_plain = |domain: &str| !domain.contains("://") && !domain.is_empty();
            domains.iter().all(|domain| domain.as_str().is_some_and(is_plain))
        });
        findings.check(plain, format!("{param}.allowed_domains"), "not a list of domains without scheme");
    }
}

fn check_choice(choice: Option<&Value>, names: &BTreeSet<&str>, tools: &[Value], findings: &mut Findings) {
    match choice {
        None => {}
        Some(Value::String(word)) => {
            findings.check(["auto", "none", "required"].contains(&&**word), "tool_choice", format!("no choice {word}"));
        }
        Some(Value::Object(choice)) => match choice.get("type").and_then(Value::as_str) {
            Some("function") => {
                findings.only(choice, &["type", "name"], "tool_choice");
                let name = choice.get("name").and_then(Value::as_str).unwrap_or_default();
                let message = "Tool choice 'function' not found in 'tools' parameter.";
                findings.check(names.contains(name), "tool_choice", message);
            }
            Some("allowed_tools") => check_allowed_tools(choice, names, tools, findings),
            kind => findings.add("tool_choice.type", format!("{kind:?} is no choice")),
        },
        Some(_) => findings.add("tool_choice", "neither a string nor an object"),
    }
}

fn check_allowed_tools(choice: &Map<String, Value>, names: &BTreeSet<&str>, tools: &[Value], findings: &mut Findings) {
    findings.only(choice, &["type", "mode", "tools"], "tool_choice");
    findings.one_of(choice, "mode", &["auto", "required"], "tool_choice.");
    let allowed = choice.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    findings.check(!allowed.is_empty(), "tool_choice.tools", "no tool is allowed");
    for tool in allowed {
        let known = match tool["type"].as_str() {
            Some("function") => tool["name"].as_str().is_some_and(|name| names.contains(name)),
            kind => kind.is_some() && tools.iter().any(|declared| declared["type"].as_str() == kind),
        };
        findings.check(known, "tool_choice.tools", format!("{tool} is not among the tools"));
    }
}

pub fn check_text(fields: &Map<String, Value>, findings: &mut Findings) {
    let Some(text) = fields.get("text") else { return };
    let Some(text) = text.as_object() else { return findings.add("text", "not an object") };
    findings.only(text, &["format", "verbosity"], "text");
    findings.one_of(text, "verbosity", &["low", "medium", "high"], "text.");
    let Some(format) = text.get("format") else { return };
    let Some(format) = format.as_object() else { return findings.add("text.format", "not an object") };
    match format.get("type").and_then(Value::as_str) {
        Some("text" | "json_object") => findings.only(format, &["type"], "text.format"),
        Some("json_schema") => check_schema_format(format, findings),
        kind => findings.add("text.format.type", format!("{kind:?} is no format")),
    }
}

fn check_schema_format(format: &Map<String, Value>, findings: &mut Findings) {
    findings.only(format, &["type", "name", "schema", "strict", "description"], "text.format");
    let name = format.get("name").and_then(Value::as_str).unwrap_or_default();
    findings.check(is_name(name), "text.format.name", format!("{name:?} is not [a-zA-Z0-9_-]{{1,64}}"));
    let schema = format.get("schema");
    findings.check(schema.is_some_and(Value::is_object), "text.format.schema", "not an object");
    if let (Some(schema), Some(Value::Bool(true))) = (schema, format.get("strict")) {
        check_strict(schema, "text.format.schema", 0, findings);
    }
}
