//! The script: a list of steps, each saying for which kind of request it is and what is replied, how often.
//!
//! ```json
//! [ {"on": "turn", "reply": {"stream": [{"reasoning": "Thinking.", "encrypted": "gAAAA"}, {"text": "Let me look."},
//!                                       {"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "ls"}}}]}},
//!   {"on": "results", "reply": {"stream": [{"text": ["Done", {"hold": "end"}, "."]}]}},
//!   {"on": "any", "times": 0, "reply": {"status": 429, "headers": {"retry-after": "2"}, "json": {"error": {}}}} ]
//! ```
//! Kinds: `turn` (tools and no fresh results), `results` (the input ends in outputs), `plain` (no tools), `title` (a
//! JSON schema is asked for), `search` (the web search tool), `models`, `count`, `account`, `usage`, `any` (any kind of POST
//! …/responses). The first step that fits and is not used up is taken; `times: 0` is never used up (default 1), and
//! `contains` asks that the body holds a text.

use serde_json::{Map, Value};

use crate::stream::Call;

pub struct Step {
    on: String,
    contains: Option<String>,
    /// How often it is still taken; `None` for ever.
    left: Option<usize>,
    reply: Reply,
}

#[derive(Clone)]
pub struct Reply {
    /// A hold point before the status line.
    pub hold: Option<String>,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

#[derive(Clone)]
pub enum Body {
    Stream(Vec<Part>),
    Json(Value),
    Text(String),
    /// Nothing at all: the connection ends before the status line.
    Cut(Cut),
}

/// One thing that a stream does.
#[derive(Clone)]
pub enum Part {
    Reasoning {
        summary: String,
        encrypted: Option<String>,
    },
    ReasoningText(String),
    Text {
        deltas: Vec<Delta>,
        phase: Option<String>,
        citations: Vec<(String, String)>,
    },
    Refusal(String),
    Calls(Vec<Call>),
    Search {
        query: String,
        sources: Vec<String>,
    },
    /// An event as it stands (it gets a sequence number if it has none).
    Event(Value),
    /// Bytes as they stand, as one chunk.
    Raw(String),
    Hold(String),
    DelayMs(u64),
    Usage(Value),
    /// Text deltas of 32 KiB each, this many bytes in all.
    Flood(u64),
    /// What ends a stream; without one of these it completes.
    Incomplete(String),
    Failed(Value),
    Cut(Cut),
    /// A clean end of the body without a terminal event.
    End,
}

#[derive(Clone)]
pub enum Delta {
    Say(String),
    Hold(String),
}

#[derive(Clone, Copy)]
pub enum Cut {
    Fin,
    Reset,
}

impl Step {
    pub fn is_for(&self, kind: &str, body: &str) -> bool {
        let kinds_agree =
            self.on == kind || (self.on == "any" && !matches!(kind, "models" | "count" | "account" | "usage"));
        kinds_agree && self.left != Some(0) && self.contains.as_ref().is_none_or(|text| body.contains(text))
    }

    pub fn take(&mut self) -> Reply {
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.reply.clone()
    }
}

impl Reply {
    pub fn stream(parts: Vec<Part>) -> Self {
        Self { hold: None, status: 200, headers: Vec::new(), body: Body::Stream(parts) }
    }

    pub fn json(status: u16, value: Value) -> Self {
        Self { hold: None, status, headers: Vec::new(), body: Body::Json(value) }
    }
}

impl Part {
    pub fn text(text: &str) -> Self {
        let deltas = crate::stream::pieces(text).into_iter().map(Delta::Say).collect();
        Self::Text { deltas, phase: None, citations: Vec::new() }
    }
}

pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("the script is not JSON: {error}"))?;
    let steps = value.as_array().ok_or("the script is not a list")?;
    steps.iter().map(|step| parse_step(object(step)?)).collect()
}

fn parse_step(step: &Map<String, Value>) -> Result<Step, String> {
    only(step, &["on", "contains", "times", "reply"])?;
    let times = step.get("times").map_or(Some(1), Value::as_u64).ok_or("times is not a number")?;
    Ok(Step {
        on: text(step, "on")?,
        contains: optional_text(step, "contains"),
        left: (times > 0).then_some(times as usize),
        reply: parse_reply(object(step.get("reply").ok_or("a step has no reply")?)?)?,
    })
}

fn parse_reply(reply: &Map<String, Value>) -> Result<Reply, String> {
    only(reply, &["hold", "status", "headers", "stream", "json", "text", "cut"])?;
    let headers = match reply.get("headers") {
        None => Vec::new(),
        Some(headers) => {
            let pairs = object(headers)?.iter();
            pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
        }
    };
    let body = if let Some(parts) = reply.get("stream") {
        Body::Stream(list(parts)?.iter().map(|part| parse_part(object(part)?)).collect::<Result<_, _>>()?)
    } else if let Some(value) = reply.get("json") {
        Body::Json(value.clone())
    } else if reply.contains_key("cut") {
        Body::Cut(parse_cut(&text(reply, "cut")?)?)
    } else {
        Body::Text(optional_text(reply, "text").unwrap_or_default())
    };
    let status = reply.get("status").and_then(Value::as_u64).unwrap_or(200);
    Ok(Reply { hold: optional_text(reply, "hold"), status: status as u16, headers, body })
}

fn parse_part(part: &Map<String, Value>) -> Result<Part, String> {
    let has = |key: &str| part.contains_key(key);
    if has("reasoning") {
        Ok(Part::Reasoning { summary: text(part, "reasoning")?, encrypted: optional_text(part, "encrypted") })
    } else if has("text") {
        parse_text(part)
    } else if let Some(call) = part.get("call") {
        Ok(Part::Calls(vec![parse_call(object(call)?)?]))
    } else if let Some(calls) = part.get("calls") {
        Ok(Part::Calls(list(calls)?.iter().map(|call| parse_call(object(call)?)).collect::<Result<_, _>>()?))
    } else if let Some(search) = part.get("search") {
        let search = object(search)?;
        let sources = search.get("sources").map_or(Ok(&[][..]), |sources| list(sources).map(Vec::as_slice))?;
        let sources = sources.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Part::Search { query: text(search, "query")?, sources })
    } else {
        parse_single(part)
    }
}

fn parse_text(part: &Map<String, Value>) -> Result<Part, String> {
    only(part, &["text", "phase", "citations"])?;
    let deltas = match &part["text"] {
        Value::String(text) => crate::stream::pieces(text).into_iter().map(Delta::Say).collect(),
        deltas => list(deltas)?.iter().map(parse_delta).collect::<Result<_, _>>()?,
    };
    let citations = part.get("citations").map_or(Ok(&[][..]), |citations| list(citations).map(Vec::as_slice))?;
    let citations = citations.iter().map(|citation| {
        let citation = object(citation)?;
        Ok::<_, String>((text(citation, "url")?, text(citation, "title")?))
    });
    Ok(Part::Text { deltas, phase: optional_text(part, "phase"), citations: citations.collect::<Result<_, _>>()? })
}

fn parse_delta(delta: &Value) -> Result<Delta, String> {
    match delta {
        Value::String(text) => Ok(Delta::Say(text.clone())),
        delta => Ok(Delta::Hold(text(object(delta)?, "hold")?)),
    }
}

fn parse_call(call: &Map<String, Value>) -> Result<Call, String> {
    only(call, &["id", "name", "arguments"])?;
    let arguments = match call.get("arguments") {
        Some(Value::String(raw)) => raw.clone(),
        Some(arguments) => arguments.to_string(),
        None => String::new(),
    };
    Ok(Call { call_id: text(call, "id")?, name: text(call, "name")?, arguments })
}

/// The parts that are one key and its value.
fn parse_single(part: &Map<String, Value>) -> Result<Part, String> {
    let mut fields = part.iter();
    let (Some((key, value)), None) = (fields.next(), fields.next()) else {
        return Err(format!("no such part: {part:?}"));
    };
    let text = || value.as_str().map(str::to_owned).ok_or_else(|| format!("{key} is not a text"));
    let number = || value.as_u64().ok_or_else(|| format!("{key} is not a number"));
    Ok(match key.as_str() {
        "reasoning_text" => Part::ReasoningText(text()?),
        "refusal" => Part::Refusal(text()?),
        "event" => Part::Event(value.clone()),
        "raw" => Part::Raw(text()?),
        "hold" => Part::Hold(text()?),
        "delay_ms" => Part::DelayMs(number()?),
        "usage" => Part::Usage(value.clone()),
        "flood" => Part::Flood(number()?),
        "incomplete" => Part::Incomplete(text()?),
        "fail" => Part::Failed(value.clone()),
        "cut" => Part::Cut(parse_cut(&text()?)?),
        "end" => Part::End,
        _ => return Err(format!("no such part: {key}")),
    })
}

fn parse_cut(word: &str) -> Result<Cut, String> {
    match word {
        "fin" => Ok(Cut::Fin),
        "reset" => Ok(Cut::Reset),
        _ => Err(format!("no such cut: {word}")),
    }
}

fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("the script has the unknown key {key}")),
        None => Ok(()),
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("not an object: {value}"))
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("not a list: {value}"))
}

fn text(fields: &Map<String, Value>, key: &str) -> Result<String, String> {
    optional_text(fields, key).ok_or_else(|| format!("{key} is missing or no text in {fields:?}"))
}

fn optional_text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).map(str::to_owned)
}
