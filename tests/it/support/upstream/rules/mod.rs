//! What a request must look like, read as strictly as the real services read it, and somewhat more strictly where
//! they are silent: every key must be known, at every depth.
//!
//! Pure: a body in, findings out, in the order in which the services would name them. The source is the OpenAI types
//! (`ResponseCreateParams`, `InputTokenCountParams`) and, for the codex profile, the refusals known of that backend.

mod input;
mod tools;

use std::fmt;

use serde_json::{Map, Value, json};

use crate::http::Request;

/// Whose rules hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    OpenAi,
    /// The ChatGPT Codex backend: a short allow-list, streams only, no system messages.
    Codex,
    /// Local servers: they take little for granted, so what only OpenAI knows must not be sent.
    Custom,
}

impl Profile {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "codex" => Some(Self::Codex),
            "custom" => Some(Self::Custom),
            _ => None,
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Debug)]
pub struct Violation {
    pub param: String,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.param, self.message)
    }
}

impl Violation {
    /// The 400 body in which that service would say it.
    pub fn body(&self, profile: Profile) -> Value {
        match profile {
            Profile::Codex => json!({"detail": self.to_string()}),
            Profile::OpenAi | Profile::Custom => json!({"error": {"message": self.to_string(),
                "type": "invalid_request_error", "param": self.param, "code": null}}),
        }
    }
}

/// Collects findings; all checks run, so that one run of a test shows everything.
pub struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, param: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation { param: param.into(), message: message.into() });
    }

    fn check(&mut self, holds: bool, param: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.add(param, message);
        }
    }

    /// Names every key of `fields` that is not in `known`.
    fn only(&mut self, fields: &Map<String, Value>, known: &[&str], param: &str) {
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = if param.is_empty() { key.clone() } else { format!("{param}.{key}") };
            self.add(path, "Unknown parameter");
        }
    }

    /// A key that, if it is there, must be one of `allowed`.
    fn one_of(&mut self, fields: &Map<String, Value>, key: &str, allowed: &[&str], param: &str) {
        if let Some(value) = fields.get(key) {
            let known = value.as_str().is_some_and(|value| allowed.contains(&value));
            self.check(known, format!("{param}{key}"), format!("{value} is none of {allowed:?}"));
        }
    }
}

const OPENAI_KEYS: &[&str] = &[
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

const CODEX_KEYS: &[&str] = &[
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

/// What every measured local server takes; the rest is OpenAI's own.
const CUSTOM_KEYS: &[&str] = &[
    "model",
    "instructions",
    "input",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "store",
    "stream",
    "max_output_tokens",
    "prompt_cache_key",
    "temperature",
    "top_p",
];

const COUNT_KEYS: &[&str] = &[
    "conversation",
    "input",
    "instructions",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];

const INCLUDES: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Nothing of the client's own headers may reach an upstream.
pub fn check_headers(request: &Request) -> Vec<String> {
    let foreign = ["anthropic-", "x-stainless-", "x-claude-code-", "x-api-key", "x-app"];
    let mut found: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| foreign.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, _)| format!("header {name}: belongs to the client and was forwarded"))
        .collect();
    if request.method == "POST" {
        let content_type = request.header("content-type").unwrap_or_default();
        if !content_type.starts_with("application/json") {
            found.push(format!("header content-type: {content_type:?} is not application/json"));
        }
    }
    if request.header("accept-encoding").is_some_and(|value| value != "identity") {
        found.push("header accept-encoding: a stream must not be compressed".into());
    }
    if request.header("host").is_none() {
        found.push("header host: missing".into());
    }
    found
}

/// `POST …/responses`.
pub fn check_response_request(body: &Value, profile: Profile) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    let Some(fields) = body.as_object() else {
        findings.add("body", "the body is not a JSON object");
        return findings.0;
    };
    let known = match profile {
        Profile::OpenAi => OPENAI_KEYS,
        Profile::Codex => CODEX_KEYS,
        Profile::Custom => CUSTOM_KEYS,
    };
    findings.only(fields, known, "");
    check_store_and_stream(fields, profile, &mut findings);
    check_shared(fields, profile, &mut findings);
    check_scalars(fields, profile, &mut findings);
    check_include(fields, &mut findings);
    findings.0
}

/// `POST …/codex/responses` on the lite lane: the tools stand in the first item, calls are not parallel, and the whole
/// reasoning is kept. What remains is checked as any request of the profile.
pub fn check_lite_request(body: &Value) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    findings.check(body.get("tools").is_none(), "tools", "unsupported_value: tools belong into input[0] here");
    let parallel = body.get("parallel_tool_calls");
    findings.check(parallel == Some(&Value::Bool(false)), "parallel_tool_calls", "unsupported_value: must be false");
    let context = &body["reasoning"]["context"];
    findings.check(*context == "all_turns", "reasoning.context", "unsupported_value: must be all_turns");
    let mut classic = body.clone();
    let first = body["input"][0].as_object();
    match first.filter(|item| item.get("type").is_some_and(|kind| kind == "additional_tools")) {
        Some(item) => {
            findings.only(item, &["type", "role", "tools"], "input[0]");
            findings.check(item.get("role").is_some_and(|role| role == "developer"), "input[0].role", "no developer");
            classic["tools"] = item.get("tools").cloned().unwrap_or_default();
            if let Some(items) = classic["input"].as_array_mut() {
                items.remove(0);
            }
        }
        None => drop(classic.as_object_mut().map(|fields| fields.remove("parallel_tool_calls"))),
    }
    // The base prompt may stand in a developer message here.
    if let Some(fields) = classic.as_object_mut() {
        fields.entry("instructions").or_insert_with(|| json!(""));
    }
    findings.0.extend(check_response_request(&classic, Profile::Codex));
    findings.0
}

/// The tools of a request, wherever its lane puts them.
pub fn tools_of(body: &Value) -> &[Value] {
    let lite =
        body["input"].as_array().and_then(|items| items.first()).filter(|item| item["type"] == "additional_tools");
    let tools = lite.map_or(&body["tools"], |item| &item["tools"]);
    tools.as_array().map_or(&[], Vec::as_slice)
}

/// `POST /v1/responses/input_tokens`: its own, shorter list of keys.
pub fn check_count_request(body: &Value, profile: Profile) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    match body.as_object() {
        None => findings.add("body", "the body is not a JSON object"),
        Some(fields) => {
            findings.only(fields, COUNT_KEYS, "");
            check_shared(fields, profile, &mut findings);
        }
    }
    findings.0
}

/// What both endpoints take.
fn check_shared(fields: &Map<String, Value>, profile: Profile, findings: &mut Findings) {
    let model = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    findings.check(!model.is_empty(), "model", "Missing required parameter");
    findings.check(!model.contains("[1m]"), "model", "the suffix [1m] is the client's");
    match fields.get("instructions") {
        None => findings.check(profile != Profile::Codex, "instructions", "Instructions are required"),
        Some(instructions) => {
            findings.check(instructions.is_string(), "instructions", "not a string");
            let text = instructions.as_str().unwrap_or_default();
            findings.check(profile == Profile::Codex || !text.is_empty(), "instructions", "empty: leave it out");
            let telemetry = text.contains("x-anthropic-billing-header");
            findings.check(!telemetry, "instructions", "the client's billing line is in the prompt");
        }
    }
    input::check(fields.get("input"), profile, findings);
    tools::check(fields, profile, findings);
    tools::check_text(fields, findings);
    check_reasoning(fields, model, profile, findings);
}

fn check_store_and_stream(fields: &Map<String, Value>, profile: Profile, findings: &mut Findings) {
    let store = fields.get("store");
    let stateless = store == Some(&Value::Bool(false)) || (store.is_none() && profile == Profile::Custom);
    findings.check(stateless, "store", "Store must be set to false");
    let stream = fields.get("stream");
    findings.check(stream == Some(&Value::Bool(true)), "stream", "Stream must be set to true");
}

fn check_reasoning(fields: &Map<String, Value>, model: &str, profile: Profile, findings: &mut Findings) {
    let Some(reasoning) = fields.get("reasoning") else { return };
    let Some(reasoning) = reasoning.as_object() else { return findings.add("reasoning", "not an object") };
    let known: &[&str] =
        if profile == Profile::Codex { &["effort", "summary", "context"] } else { &["effort", "summary"] };
    findings.only(reasoning, known, "reasoning");
    findings.one_of(reasoning, "effort", efforts_of(model, profile), "reasoning.");
    findings.one_of(reasoning, "summary", &["auto", "concise", "detailed"], "reasoning.");
    let reasons = profile == Profile::Custom || is_reasoning_model(model);
    findings.check(reasons, "reasoning", format!("Unsupported parameter: 'reasoning' is not supported with {model}"));
}

fn is_reasoning_model(model: &str) -> bool {
    !model.starts_with("gpt-4") && !model.starts_with("gpt-3")
}

/// The efforts a model family takes; an unknown id of OpenAI's gets the whole list.
fn efforts_of(model: &str, profile: Profile) -> &'static [&'static str] {
    if profile == Profile::Custom {
        return &["none", "low", "medium", "high"];
    }
    let starts = |prefix: &str| model.starts_with(prefix);
    if starts("o1") || starts("o3") || starts("o4") || starts("gpt-5-codex") {
        &["low", "medium", "high"]
    } else if starts("gpt-5.1-codex-max") || starts("gpt-5.2-codex") || starts("gpt-5.3-codex") {
        &["low", "medium", "high", "xhigh"]
    } else if starts("gpt-5.1-codex") {
        &["low", "medium", "high"]
    } else if starts("gpt-5.1") {
        &["none", "low", "medium", "high"]
    } else if starts("gpt-5.2") || starts("gpt-5.4") || starts("gpt-5.5") {
        let from = usize::from(profile == Profile::Codex);
        &["none", "low", "medium", "high", "xhigh"][from..]
    } else if model == "gpt-5" || starts("gpt-5-mini") || starts("gpt-5-nano") {
        &["minimal", "low", "medium", "high"]
    } else {
        EFFORTS
    }
}

fn check_scalars(fields: &Map<String, Value>, profile: Profile, findings: &mut Findings) {
    let model = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    if let Some(maximum) = fields.get("max_output_tokens") {
        let least = if profile == Profile::OpenAi { 16 } else { 1 };
        let enough = maximum.as_u64().is_some_and(|tokens| tokens >= least);
        findings.check(enough, "max_output_tokens", format!("{maximum} is below {least}"));
    }
    for key in ["temperature", "top_p"] {
        if let Some(value) = fields.get(key) {
            findings.check(value.is_number(), key, "not a number");
            // From gpt-5.1 on a model that does not reason in this request may be sampled.
            let rests = fields.get("reasoning").is_some_and(|reasoning| reasoning["effort"] == "none");
            let samples = profile == Profile::Custom || !is_reasoning_model(model) || rests;
            findings.check(samples, key, format!("Unsupported parameter: '{key}' is not supported with this model."));
        }
    }
    for key in ["prompt_cache_key", "safety_identifier", "user"] {
        if let Some(value) = fields.get(key) {
            let short = value.as_str().is_some_and(|text| (1..=64).contains(&text.len()));
            findings.check(short, key, "not a string of 1 to 64 characters");
        }
    }
    if let Some(value) = fields.get("max_tool_calls") {
        findings.check(value.as_u64().is_some_and(|calls| calls > 0), "max_tool_calls", "not a positive number");
    }
    let tiers: &[&str] = match profile {
        Profile::Codex => &["priority"],
        Profile::OpenAi | Profile::Custom => &["auto", "default", "flex", "priority", "scale", "fast"],
    };
    findings.one_of(fields, "service_tier", tiers, "");
    findings.one_of(fields, "truncation", &["disabled"], "");
    check_small_objects(fields, findings);
}

fn check_small_objects(fields: &Map<String, Value>, findings: &mut Findings) {
    for key in ["previous_response_id", "conversation", "prompt", "background"] {
        findings.check(!fields.contains_key(key), key, "a stateless client does not send it");
    }
    if let Some(options) = fields.get("stream_options") {
        match options.as_object() {
            Some(options) => findings.only(options, &["include_obfuscation"], "stream_options"),
            None => findings.add("stream_options", "not an object"),
        }
    }
    for key in ["metadata", "client_metadata"] {
        if let Some(value) = fields.get(key) {
            let texts =
                value.as_object().is_some_and(|pairs| pairs.len() <= 16 && pairs.values().all(Value::is_string));
            findings.check(texts, key, "not an object of at most 16 strings");
        }
    }
}

fn check_include(fields: &Map<String, Value>, findings: &mut Findings) {
    let Some(include) = fields.get("include") else { return };
    let Some(values) = include.as_array() else { return findings.add("include", "not a list") };
    for value in values {
        let known = value.as_str().is_some_and(|value| INCLUDES.contains(&value));
        findings.check(known, "include", format!("{value} cannot be included"));
    }
    let model = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    let encrypted = values.iter().any(|value| value == "reasoning.encrypted_content");
    findings.check(
        !encrypted || is_reasoning_model(model),
        "include",
        "Encrypted content is not supported with this model",
    );
}
