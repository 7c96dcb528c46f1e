//! The events of a Responses stream, borrowed from their bytes.
//!
//! Every field is taken as raw JSON and read when it is needed, so that one field of an unexpected type never costs the
//! event: servers differ in everything but the names (RESPONSES-SERVERS.md). What is not named here is not read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::escaped::Escaped;

/// One event. [`StreamEvent::kind`] says which fields mean something.
#[derive(Debug, Default, Deserialize)]
pub struct StreamEvent<'a> {
    #[serde(borrow, rename = "type", default)]
    type_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary_index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    part: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What an event is, by its `type` (or, without one, by its `event:` line: R-P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `response.created`, `.queued`, `.in_progress`.
    Lifecycle,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    TextDelta,
    TextDone,
    RefusalDelta,
    RefusalDone,
    AnnotationAdded,
    SummaryDelta,
    SummaryDone,
    SummaryPartDone,
    ReasoningDelta,
    ReasoningDone,
    ArgumentsDelta,
    ArgumentsDone,
    CustomInputDelta,
    CustomInputDone,
    /// `response.completed` and `.done`: the status in the response has the last word.
    Completed,
    Incomplete,
    /// `response.failed`, `.cancelled`, `error`, and an object with nothing but an `error`.
    Failed,
    /// A sign that a hosted tool works: no output, but the model has begun.
    Working,
    /// `codex.rate_limits`: how much of the plan is used up.
    RateLimits,
    /// Keepalives and vendor metadata (R-P6).
    Metadata,
    /// Whatever comes next year.
    Unknown,
}

const KINDS: [(&str, EventKind); 36] = [
    ("response.output_text.delta", EventKind::TextDelta),
    ("response.function_call_arguments.delta", EventKind::ArgumentsDelta),
    ("response.reasoning_summary_text.delta", EventKind::SummaryDelta),
    ("response.reasoning_text.delta", EventKind::ReasoningDelta),
    ("response.output_item.added", EventKind::ItemAdded),
    ("response.output_item.done", EventKind::ItemDone),
    ("response.content_part.added", EventKind::PartAdded),
    ("response.content_part.done", EventKind::PartDone),
    ("response.output_text.done", EventKind::TextDone),
    ("response.refusal.delta", EventKind::RefusalDelta),
    ("response.refusal.done", EventKind::RefusalDone),
    ("response.output_text.annotation.added", EventKind::AnnotationAdded),
    ("response.reasoning_summary_text.done", EventKind::SummaryDone),
    ("response.reasoning_summary_part.added", EventKind::PartAdded),
    ("response.reasoning_summary_part.done", EventKind::SummaryPartDone),
    ("response.reasoning_text.done", EventKind::ReasoningDone),
    ("response.function_call_arguments.done", EventKind::ArgumentsDone),
    ("response.custom_tool_call_input.delta", EventKind::CustomInputDelta),
    ("response.custom_tool_call_input.done", EventKind::CustomInputDone),
    ("response.created", EventKind::Lifecycle),
    ("response.queued", EventKind::Lifecycle),
    ("response.in_progress", EventKind::Lifecycle),
    ("response.completed", EventKind::Completed),
    ("response.incomplete", EventKind::Incomplete),
    ("response.done", EventKind::Completed),
    ("response.failed", EventKind::Failed),
    ("response.cancelled", EventKind::Failed),
    ("response.error", EventKind::Failed),
    ("error", EventKind::Failed),
    ("response.reasoning_part.added", EventKind::PartAdded),
    ("response.reasoning_part.done", EventKind::PartDone),
    ("codex.rate_limits", EventKind::RateLimits),
    ("codex.response.metadata", EventKind::Metadata),
    ("response.metadata", EventKind::Metadata),
    ("keepalive", EventKind::Metadata),
    ("ping", EventKind::Metadata),
];

/// Hosted tools whose progress events need no list of their own.
const WORKING_PREFIXES: [&str; 6] = [
    "response.web_search_call.",
    "response.file_search_call.",
    "response.code_interpreter_call",
    "response.image_generation_call.",
    "response.mcp_",
    "response.audio.",
];

impl EventKind {
    /// It says nothing of the output: a failure after it can still become a proper HTTP status (R-H1).
    pub fn is_held(self) -> bool {
        use EventKind::{Failed, Lifecycle, Metadata, RateLimits, Unknown};
        matches!(self, Lifecycle | RateLimits | Metadata | Failed | Unknown)
    }

    fn of(name: &str) -> Self {
        if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
            return *kind;
        }
        match WORKING_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            true => Self::Working,
            false => Self::Unknown,
        }
    }
}

impl<'a> StreamEvent<'a> {
    /// # Errors
    /// When the bytes are not one JSON object.
    pub fn parse(data: &'a [u8]) -> Result<Self, serde_json::Error> {
        match std::str::from_utf8(data) {
            // Checked once, not again for each of its fields: a third of the time that a delta takes.
            Ok(text) => serde_json::from_str(text),
            // What is broken may stand in a field that nobody reads.
            Err(_) => serde_json::from_slice(data),
        }
    }

    pub fn kind(&self, event_name: &str) -> EventKind {
        match self.type_name.and_then(text) {
            Some(name) => EventKind::of(&name),
            None if event_name.is_empty() && self.error.is_some() => EventKind::Failed,
            None => EventKind::of(event_name),
        }
    }

    pub fn has_sequence_number(&self) -> bool {
        self.sequence_number.is_some()
    }

    pub fn item_id(&self) -> Option<Cow<'a, str>> {
        self.item_id.and_then(filled)
    }

    pub fn output_index(&self) -> Option<u64> {
        self.output_index.and_then(number)
    }

    /// Absent (L): the first part.
    pub fn content_index(&self) -> u64 {
        self.content_index.and_then(number).unwrap_or(0)
    }

    pub fn summary_index(&self) -> u64 {
        self.summary_index.and_then(number).unwrap_or(0)
    }

    pub fn delta(&self) -> Option<Escaped<'a>> {
        self.delta.and_then(Escaped::of)
    }

    /// The whole text of a `.done` event.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        self.text.and_then(text)
    }

    pub fn refusal(&self) -> Option<Cow<'a, str>> {
        self.refusal.and_then(text)
    }

    pub fn arguments(&self) -> Option<Cow<'a, str>> {
        self.arguments.map(text_or_json)
    }

    pub fn input(&self) -> Option<Cow<'a, str>> {
        self.input.and_then(text)
    }

    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.name.and_then(filled)
    }

    pub fn item(&self) -> Option<OutputItem<'a>> {
        self.item.and_then(object)
    }

    pub fn part(&self) -> Option<Part<'a>> {
        self.part.and_then(object)
    }

    pub fn annotation(&self) -> Option<Annotation<'a>> {
        self.annotation.and_then(object)
    }

    pub fn response(&self) -> Option<Response<'a>> {
        self.response.and_then(object)
    }
}

/// An item of the output, as `added`, `done` and the finished response carry it.
#[derive(Debug, Default, Deserialize)]
pub struct OutputItem<'a> {
    #[serde(borrow, rename = "type", default)]
    type_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    phase: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    action: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemType {
    Message,
    Reasoning,
    FunctionCall,
    CustomToolCall,
    WebSearchCall,
    ImageGenerationCall,
    /// Known, and nothing that a client could see or run.
    Opaque,
    Unknown,
}

impl<'a> OutputItem<'a> {
    pub fn item_type(&self) -> ItemType {
        let name = self.type_name.and_then(text).unwrap_or_default();
        match &*name {
            "message" => ItemType::Message,
            "reasoning" => ItemType::Reasoning,
            "function_call" => ItemType::FunctionCall,
            "custom_tool_call" => ItemType::CustomToolCall,
            "web_search_call" => ItemType::WebSearchCall,
            "image_generation_call" => ItemType::ImageGenerationCall,
            "file_search_call"
            | "code_interpreter_call"
            | "computer_call"
            | "shell_call"
            | "local_shell_call"
            | "apply_patch_call"
            | "tool_search_call"
            | "program"
            | "program_output" => ItemType::Opaque,
            other if other.starts_with("mcp_") => ItemType::Opaque,
            _ => ItemType::Unknown,
        }
    }

    pub fn id(&self) -> Option<Cow<'a, str>> {
        self.id.and_then(filled)
    }

    pub fn call_id(&self) -> Option<Cow<'a, str>> {
        self.call_id.and_then(filled)
    }

    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.name.and_then(filled)
    }

    pub fn arguments(&self) -> Option<Cow<'a, str>> {
        self.arguments.map(text_or_json)
    }

    pub fn input(&self) -> Option<Cow<'a, str>> {
        self.input.and_then(text)
    }

    /// As [`OutputItem::arguments`], but only text: in an item that has just begun an object is a placeholder.
    pub fn arguments_text(&self) -> Option<Cow<'a, str>> {
        self.arguments.and_then(text)
    }

    /// The parts of a message, or the raw reasoning.
    pub fn content(&self) -> Vec<Part<'a>> {
        self.content.map(objects).unwrap_or_default()
    }

    pub fn summary(&self) -> Vec<Part<'a>> {
        self.summary.map(objects).unwrap_or_default()
    }

    /// `""` is absent (L: Q-R4).
    pub fn encrypted_content(&self) -> Option<Cow<'a, str>> {
        self.encrypted_content.and_then(filled)
    }

    pub fn phase(&self) -> Option<Cow<'a, str>> {
        self.phase.and_then(filled)
    }

    pub fn failed(&self) -> bool {
        self.status.and_then(text).is_some_and(|status| status == "failed")
    }

    pub fn action(&self) -> Option<SearchAction<'a>> {
        self.action.and_then(object)
    }

    pub fn has_result(&self) -> bool {
        self.result.and_then(filled).is_some()
    }
}

/// A part of a message or of a reasoning item.
#[derive(Debug, Default, Deserialize)]
pub struct Part<'a> {
    #[serde(borrow, rename = "type", default)]
    type_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    pub fn is_reasoning(&self) -> bool {
        self.type_name.and_then(text).is_some_and(|name| name == "reasoning_text" || name == "summary_text")
    }

    pub fn text(&self) -> Option<Cow<'a, str>> {
        self.text.and_then(text)
    }

    pub fn refusal(&self) -> Option<Cow<'a, str>> {
        self.refusal.and_then(text)
    }

    pub fn annotations(&self) -> Vec<Annotation<'a>> {
        self.annotations.map(objects).unwrap_or_default()
    }
}

/// A citation, of which only `url_citation` has a use here.
#[derive(Debug, Default, Deserialize)]
pub struct Annotation<'a> {
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    title: Option<&'a RawValue>,
}

impl<'a> Annotation<'a> {
    pub fn url(&self) -> Option<Cow<'a, str>> {
        self.url.and_then(filled)
    }

    pub fn title(&self) -> Option<Cow<'a, str>> {
        self.title.and_then(filled)
    }
}

/// What a web search did.
#[derive(Debug, Default, Deserialize)]
pub struct SearchAction<'a> {
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(borrow, default)]
    queries: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sources: Option<&'a RawValue>,
}

impl<'a> SearchAction<'a> {
    pub fn query(&self) -> Option<Cow<'a, str>> {
        self.query.and_then(filled)
    }

    pub fn queries(&self) -> Vec<Cow<'a, str>> {
        self.queries.map(elements).unwrap_or_default().into_iter().filter_map(filled).collect()
    }

    pub fn url(&self) -> Option<Cow<'a, str>> {
        self.url.and_then(filled)
    }

    pub fn sources(&self) -> Vec<Annotation<'a>> {
        self.sources.map(objects).unwrap_or_default()
    }
}

/// The response object, in lifecycle and terminal events, and as a whole body.
#[derive(Debug, Default, Deserialize)]
pub struct Response<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// `response.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Completed,
    Incomplete,
    Failed,
    /// Absent, or a word that says nothing about an end.
    Unknown,
}

impl<'a> Response<'a> {
    /// # Errors
    /// When the bytes are not one JSON object.
    pub fn parse(data: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(data)
    }

    pub fn id(&self) -> Option<Cow<'a, str>> {
        self.id.and_then(filled)
    }

    pub fn model(&self) -> Option<Cow<'a, str>> {
        self.model.and_then(filled)
    }

    pub fn status(&self) -> Status {
        match self.status.and_then(text).as_deref() {
            Some("completed") => Status::Completed,
            Some("incomplete") => Status::Incomplete,
            Some("failed" | "cancelled") => Status::Failed,
            _ => Status::Unknown,
        }
    }

    pub fn incomplete_reason(&self) -> Option<Cow<'a, str>> {
        let details: IncompleteDetails<'a> = self.incomplete_details.and_then(object)?;
        details.reason.and_then(filled)
    }

    pub fn service_tier(&self) -> Option<Cow<'a, str>> {
        self.service_tier.and_then(filled)
    }

    pub fn has_output(&self) -> bool {
        self.output.is_some_and(|raw| raw.get().starts_with('['))
    }

    /// Null entries, and entries that are no objects, are left out (R-C1); the number is the place in the list.
    pub fn output(&self) -> Vec<(u64, OutputItem<'a>)> {
        let entries = self.output.map(elements).unwrap_or_default().into_iter();
        (0..).zip(entries).filter_map(|(index, raw)| Some((index, object(raw)?))).collect()
    }

    pub fn usage(&self) -> Option<ReportedUsage> {
        let usage: UsageObject<'a> = self.usage.and_then(object)?;
        let input: UsageDetails<'a> = usage.input_tokens_details.and_then(object).unwrap_or_default();
        let output: UsageDetails<'a> = usage.output_tokens_details.and_then(object).unwrap_or_default();
        Some(ReportedUsage {
            input: usage.input_tokens.and_then(number)?,
            cached: input.cached_tokens.and_then(number).unwrap_or(0),
            cache_write: input.cache_write_tokens.and_then(number).unwrap_or(0),
            output: usage.output_tokens.and_then(number).unwrap_or(0),
            reasoning: output.reasoning_tokens.and_then(number).unwrap_or(0),
        })
    }

    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }
}

/// `response.usage`, in tokens, as reported: `input` includes what came from the cache, `output` the reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedUsage {
    pub input: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
}

#[derive(Default, Deserialize)]
struct IncompleteDetails<'a> {
    #[serde(borrow, default)]
    reason: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct UsageObject<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct UsageDetails<'a> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_tokens: Option<&'a RawValue>,
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    Escaped::of(raw).map(Escaped::decode)
}

fn filled(raw: &RawValue) -> Option<Cow<'_, str>> {
    text(raw).filter(|text| !text.is_empty())
}

/// Arguments are a string that holds JSON; some servers send the JSON itself.
fn text_or_json(raw: &RawValue) -> Cow<'_, str> {
    text(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

fn number(raw: &RawValue) -> Option<u64> {
    raw.get().parse().ok()
}

fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok())?
}

fn elements(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn objects<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Vec<T> {
    elements(raw).into_iter().filter_map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_wrong_type_does_not_cost_the_event() {
        let json = br#"{"type":"response.output_text.delta","output_index":"x","item_id":7,"delta":"hi","logprobs":3}"#;
        let event = StreamEvent::parse(json).unwrap();
        assert_eq!(event.kind(""), EventKind::TextDelta);
        assert_eq!((event.output_index(), event.item_id()), (None, None));
        assert_eq!(event.delta().unwrap().decode(), "hi");
    }

    #[test]
    fn r_p2_the_type_wins_over_the_event_line() {
        let cases = [
            (r#"{"type":"response.completed"}"#, "response.failed", EventKind::Completed),
            (r#"{"response":{}}"#, "response.completed", EventKind::Completed),
            (r#"{"error":{"message":"no"}}"#, "", EventKind::Failed),
            (r#"{"type":"codex.rate_limits"}"#, "", EventKind::RateLimits),
            (r#"{"type":"response.hologram.delta"}"#, "", EventKind::Unknown),
            (r#"{"type":"response.mcp_call.in_progress"}"#, "", EventKind::Working),
        ];
        for (json, name, wanted) in cases {
            assert_eq!(StreamEvent::parse(json.as_bytes()).unwrap().kind(name), wanted, "{json}");
        }
    }

    #[test]
    fn r_c1_the_output_is_read_leniently() {
        let json = br#"{"output":[null,7,{"type":"message","content":[null,{"type":"output_text","text":"a"}]}],
            "usage":{"input_tokens":9,"input_tokens_details":null,"output_tokens":2}}"#;
        let response = Response::parse(json).unwrap();
        let output = response.output();
        assert_eq!((output.len(), output[0].0), (1, 2));
        assert_eq!(output[0].1.content()[0].text().unwrap(), "a");
        let usage = response.usage().unwrap();
        assert_eq!((usage.input, usage.cached, usage.output), (9, 0, 2));
    }
}
