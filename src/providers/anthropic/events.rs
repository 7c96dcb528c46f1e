//! The events of a Messages stream, written as SSE frames into one buffer, or gathered into one whole message
//! (WIRE.md §2.2, §2.12).
//!
//! The writer knows the form of each event and nothing of their order: that is the translator's. Text arrives as the
//! inside of a JSON string and leaves as it came, so a delta costs a copy and no allocation.

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::providers::escaped::{Escaped, escape_into};

/// Characters of unreadable tool input that are kept (WIRE.md §2.11).
const MAX_UNPARSED_CHARS: usize = 2048;

/// Bytes that the stream buffer begins with: room for a few dozen deltas, and the size in which it is renewed.
const STREAM_CAPACITY: usize = 4 << 10;

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageStart<'a> {
    pub id: &'a str,
    pub model: &'a str,
    /// Estimated, in tokens.
    pub input_tokens: u64,
}

/// The four counters that every final usage carries (R-U4), in tokens, and what hosted tools and tiers add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Without what was read from or written to the cache.
    pub input_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    /// With reasoning.
    pub output_tokens: u64,
    pub thinking_tokens: u64,
    pub web_search_requests: u64,
    /// The upstream served the request in its priority tier.
    pub priority: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    EndTurn,
    ToolUse,
    MaxTokens,
    StopSequence,
    ContextWindowExceeded,
    Refusal,
}

impl StopReason {
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::EndTurn => "end_turn",
            StopReason::ToolUse => "tool_use",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopSequence => "stop_sequence",
            StopReason::ContextWindowExceeded => "model_context_window_exceeded",
            StopReason::Refusal => "refusal",
        }
    }
}

/// What the final `message_delta` says.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    pub reason: StopReason,
    pub stop_sequence: Option<&'a str>,
    /// The upstream's words, for [`StopReason::Refusal`].
    pub explanation: Option<&'a str>,
    pub usage: Usage,
}

/// One entry of a web search's result list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchResult {
    pub title: String,
    pub url: String,
}

/// Takes Anthropic events; see the module's page.
#[derive(Debug)]
pub struct EventWriter(Form);

#[derive(Debug)]
enum Form {
    Stream(BytesMut),
    Whole(Box<Whole>),
}

/// A message being gathered: its JSON up to the blocks, its blocks, and its end once it is known.
#[derive(Debug, Default)]
struct Whole {
    head: String,
    blocks: Vec<Block>,
    end: String,
    stopped: bool,
}

/// Texts are insides of JSON strings, as they came.
#[derive(Debug)]
enum Block {
    Text(String),
    Thinking { text: String, signature: String },
    ToolUse { server: bool, id: String, name: String, input: String },
    SearchResult(String),
}

impl EventWriter {
    /// SSE frames, for `stream: true`.
    pub fn stream() -> Self {
        Self(Form::Stream(BytesMut::with_capacity(STREAM_CAPACITY)))
    }

    /// One message, for a client that does not stream.
    pub fn whole() -> Self {
        Self(Form::Whole(Box::default()))
    }

    /// The frames since the last call. Always empty for a whole message.
    pub fn take_bytes(&mut self) -> Bytes {
        match &mut self.0 {
            Form::Stream(buffer) => buffer.split().freeze(),
            Form::Whole(_) => Bytes::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Stream(buffer) => buffer.is_empty(),
            Form::Whole(_) => true,
        }
    }

    /// The `application/json` body; absent for a stream and for a message that did not reach its end.
    pub fn into_message(self) -> Option<Vec<u8>> {
        match self.0 {
            Form::Stream(_) => None,
            Form::Whole(whole) => whole.stopped.then(|| whole.render()),
        }
    }

    pub fn message_start(&mut self, start: &MessageStart<'_>) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                frame(buffer, "message_start");
                buffer.extend_from_slice(b",\"message\":{");
                head(buffer, start);
                buffer.extend_from_slice(
                    b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":",
                );
                integer(buffer, start.input_tokens);
                buffer.extend_from_slice(
                    b",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}",
                );
                end_frame(buffer);
            }
            Form::Whole(whole) => {
                let mut buffer = BytesMut::new();
                head(&mut buffer, start);
                whole.head = text_of(&buffer);
            }
        }
    }

    pub fn text_start(&mut self, index: u64) {
        match &mut self.0 {
            Form::Stream(buffer) => block_start(buffer, index, b"{\"type\":\"text\",\"text\":\"\"}"),
            Form::Whole(whole) => whole.blocks.push(Block::Text(String::new())),
        }
    }

    pub fn thinking_start(&mut self, index: u64) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                block_start(buffer, index, b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
            }
            Form::Whole(whole) => {
                whole.blocks.push(Block::Thinking { text: String::new(), signature: String::new() });
            }
        }
    }

    pub fn tool_use_start(&mut self, index: u64, id: &str, name: &str) {
        self.tool_start(index, false, id, name);
    }

    pub fn server_tool_use_start(&mut self, index: u64, id: &str, name: &str) {
        self.tool_start(index, true, id, name);
    }

    fn tool_start(&mut self, index: u64, server: bool, id: &str, name: &str) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                open_block(buffer, index);
                tool_head(buffer, server, id, name);
                buffer.extend_from_slice(b",\"input\":{}}}");
                end_frame(buffer);
            }
            Form::Whole(whole) => whole.blocks.push(Block::ToolUse {
                server,
                id: id.to_owned(),
                name: name.to_owned(),
                input: String::new(),
            }),
        }
    }

    /// A whole `web_search_tool_result` block, but for its stop. `None` for a search that failed.
    pub fn search_result_start(&mut self, index: u64, tool_use_id: &str, results: Option<&[SearchResult]>) {
        let mut json = BytesMut::new();
        search_result(&mut json, tool_use_id, results);
        match &mut self.0 {
            Form::Stream(buffer) => block_start(buffer, index, &json),
            Form::Whole(whole) => whole.blocks.push(Block::SearchResult(text_of(&json))),
        }
    }

    /// `escaped` is the inside of a JSON string.
    pub fn text_delta(&mut self, index: u64, escaped: &str) {
        match &mut self.0 {
            Form::Stream(buffer) => delta(buffer, index, b"{\"type\":\"text_delta\",\"text\":\"", escaped),
            Form::Whole(whole) => whole.append(escaped),
        }
    }

    /// `escaped` is the inside of a JSON string.
    pub fn thinking_delta(&mut self, index: u64, escaped: &str) {
        match &mut self.0 {
            Form::Stream(buffer) => delta(buffer, index, b"{\"type\":\"thinking_delta\",\"thinking\":\"", escaped),
            Form::Whole(whole) => whole.append(escaped),
        }
    }

    /// `escaped` is the inside of a JSON string: a piece of JSON, escaped once more.
    pub fn input_json_delta(&mut self, index: u64, escaped: &str) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                delta(buffer, index, b"{\"type\":\"input_json_delta\",\"partial_json\":\"", escaped)
            }
            Form::Whole(whole) => whole.append(escaped),
        }
    }

    pub fn signature_delta(&mut self, index: u64, signature: &str) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                delta(buffer, index, b"{\"type\":\"signature_delta\",\"signature\":\"", signature);
            }
            Form::Whole(whole) => {
                if let Some(Block::Thinking { signature: place, .. }) = whole.blocks.last_mut() {
                    place.push_str(signature);
                }
            }
        }
    }

    pub fn block_stop(&mut self, index: u64) {
        if let Form::Stream(buffer) = &mut self.0 {
            frame(buffer, "content_block_stop");
            buffer.extend_from_slice(b",\"index\":");
            integer(buffer, index);
            buffer.extend_from_slice(b"}");
            end_frame(buffer);
        }
    }

    /// The final `message_delta`.
    pub fn message_delta(&mut self, ending: &Ending<'_>) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                frame(buffer, "message_delta");
                buffer.extend_from_slice(b",\"delta\":{");
                stop(buffer, ending);
                buffer.extend_from_slice(b"},\"usage\":");
                usage(buffer, &ending.usage);
                buffer.extend_from_slice(b"}");
                end_frame(buffer);
            }
            Form::Whole(whole) => {
                let mut buffer = BytesMut::new();
                stop(&mut buffer, ending);
                buffer.extend_from_slice(b",\"usage\":");
                usage(&mut buffer, &ending.usage);
                whole.end = text_of(&buffer);
            }
        }
    }

    pub fn message_stop(&mut self) {
        match &mut self.0 {
            Form::Stream(buffer) => {
                frame(buffer, "message_stop");
                buffer.extend_from_slice(b"}");
                end_frame(buffer);
            }
            Form::Whole(whole) => whole.stopped = true,
        }
    }

    /// Moves what `other` holds behind what is here.
    pub fn append(&mut self, other: &mut EventWriter) {
        if let (Form::Stream(buffer), Form::Stream(other)) = (&mut self.0, &mut other.0) {
            buffer.unsplit(other.split());
        }
    }

    /// R-K1: keeps sockets and byte watchdogs happy; the client's idle watchdog does not see it.
    pub fn ping(&mut self) {
        if let Form::Stream(buffer) = &mut self.0 {
            buffer.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
    }

    /// R-K2: a `message_delta` that says nothing, for a time without an open block.
    pub fn null_delta(&mut self) {
        if let Form::Stream(buffer) = &mut self.0 {
            frame(buffer, "message_delta");
            buffer.extend_from_slice(
                b",\"delta\":{\"stop_reason\":null,\"stop_sequence\":null},\"usage\":{\"output_tokens\":0}}",
            );
            end_frame(buffer);
        }
    }

    /// The `error` event (WIRE.md §3.4). `kind` is one of Anthropic's error types (R-X4).
    pub fn error(&mut self, kind: &str, message: &str) {
        if let Form::Stream(buffer) = &mut self.0 {
            frame(buffer, "error");
            buffer.extend_from_slice(b",\"error\":{\"type\":");
            string(buffer, kind);
            buffer.extend_from_slice(b",\"message\":");
            string(buffer, message);
            buffer.extend_from_slice(b"}}");
            end_frame(buffer);
        }
    }
}

impl Whole {
    fn append(&mut self, escaped: &str) {
        match self.blocks.last_mut() {
            Some(Block::Text(text) | Block::Thinking { text, .. } | Block::ToolUse { input: text, .. }) => {
                text.push_str(escaped);
            }
            Some(Block::SearchResult(_)) | None => {}
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut body = BytesMut::new();
        body.extend_from_slice(b"{");
        body.extend_from_slice(self.head.as_bytes());
        body.extend_from_slice(b",\"content\":[");
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                body.extend_from_slice(b",");
            }
            block.render(&mut body);
        }
        body.extend_from_slice(b"],");
        body.extend_from_slice(self.end.as_bytes());
        body.extend_from_slice(b"}");
        body.into()
    }
}

impl Block {
    fn render(&self, body: &mut BytesMut) {
        match self {
            Block::Text(text) => quoted(body, b"{\"type\":\"text\",\"text\":\"", text, b"\"}"),
            Block::Thinking { text, signature } => {
                quoted(body, b"{\"type\":\"thinking\",\"thinking\":\"", text, b"\",\"signature\":\"");
                quoted(body, b"", signature, b"\"}");
            }
            Block::ToolUse { server, id, name, input } => {
                tool_head(body, *server, id, name);
                quoted(body, b",\"input\":", &whole_input(input), b"}");
            }
            Block::SearchResult(json) => body.extend_from_slice(json.as_bytes()),
        }
    }
}

/// What a client hands back to the model when a call's arguments are no JSON: its own sentinel (Q-M22), never `{}`.
#[derive(Serialize)]
struct Unparsed<'a> {
    #[serde(rename = "__unparsedToolInput")]
    input: UnparsedInput<'a>,
}

#[derive(Serialize)]
struct UnparsedInput<'a> {
    raw: &'a str,
    len: usize,
}

/// The `input` of a finished call as JSON (WIRE.md §2.11): as it came, unwrapped if it is an object inside a string.
fn whole_input(escaped: &str) -> String {
    if escaped.is_empty() {
        return "{}".to_owned();
    }
    let arguments = Escaped::new(escaped).decode().into_owned();
    if serde_json::from_str::<&RawValue>(&arguments).is_ok() {
        let inner: Option<String> = serde_json::from_str(&arguments).ok();
        let wrapped = inner.filter(|text| text.trim_start().starts_with('{'));
        return wrapped.filter(|text| serde_json::from_str::<&RawValue>(text).is_ok()).unwrap_or(arguments);
    }
    let cut = arguments.char_indices().nth(MAX_UNPARSED_CHARS).map_or(arguments.len(), |(at, _)| at);
    let input = UnparsedInput { raw: &arguments[..cut], len: arguments.chars().count() };
    serde_json::to_string(&Unparsed { input }).unwrap_or_else(|_| "{}".to_owned())
}

fn frame(buffer: &mut BytesMut, name: &str) {
    for piece in ["event: ", name, "\ndata: {\"type\":\"", name, "\""] {
        buffer.extend_from_slice(piece.as_bytes());
    }
}

fn end_frame(buffer: &mut BytesMut) {
    buffer.extend_from_slice(b"\n\n");
}

fn open_block(buffer: &mut BytesMut, index: u64) {
    frame(buffer, "content_block_start");
    buffer.extend_from_slice(b",\"index\":");
    integer(buffer, index);
    buffer.extend_from_slice(b",\"content_block\":");
}

fn block_start(buffer: &mut BytesMut, index: u64, block: &[u8]) {
    open_block(buffer, index);
    buffer.extend_from_slice(block);
    buffer.extend_from_slice(b"}");
    end_frame(buffer);
}

fn delta(buffer: &mut BytesMut, index: u64, opening: &[u8], escaped: &str) {
    frame(buffer, "content_block_delta");
    buffer.extend_from_slice(b",\"index\":");
    integer(buffer, index);
    buffer.extend_from_slice(b",\"delta\":");
    quoted(buffer, opening, escaped, b"\"}}");
    end_frame(buffer);
}

fn quoted(buffer: &mut BytesMut, before: &[u8], escaped: &str, after: &[u8]) {
    buffer.extend_from_slice(before);
    buffer.extend_from_slice(escaped.as_bytes());
    buffer.extend_from_slice(after);
}

fn head(buffer: &mut BytesMut, start: &MessageStart<'_>) {
    buffer.extend_from_slice(b"\"id\":");
    string(buffer, start.id);
    buffer.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    string(buffer, start.model);
}

fn tool_head(buffer: &mut BytesMut, server: bool, id: &str, name: &str) {
    let kind: &[u8] = if server { b"{\"type\":\"server_tool_use\",\"id\":" } else { b"{\"type\":\"tool_use\",\"id\":" };
    buffer.extend_from_slice(kind);
    string(buffer, id);
    buffer.extend_from_slice(b",\"name\":");
    string(buffer, name);
}

fn search_result(buffer: &mut BytesMut, tool_use_id: &str, results: Option<&[SearchResult]>) {
    buffer.extend_from_slice(b"{\"type\":\"web_search_tool_result\",\"tool_use_id\":");
    string(buffer, tool_use_id);
    buffer.extend_from_slice(b",\"content\":");
    let Some(results) = results else {
        buffer.extend_from_slice(b"{\"type\":\"web_search_tool_result_error\",\"error_code\":\"unavailable\"}}");
        return;
    };
    for (index, result) in results.iter().enumerate() {
        buffer.extend_from_slice(if index == 0 { b"[" } else { b"," });
        buffer.extend_from_slice(b"{\"type\":\"web_search_result\",\"title\":");
        string(buffer, &result.title);
        buffer.extend_from_slice(b",\"url\":");
        string(buffer, &result.url);
        buffer.extend_from_slice(b",\"encrypted_content\":\"\",\"page_age\":null}");
    }
    buffer.extend_from_slice(if results.is_empty() { b"[]}" } else { b"]}" });
}

fn stop(buffer: &mut BytesMut, ending: &Ending<'_>) {
    buffer.extend_from_slice(b"\"stop_reason\":");
    string(buffer, ending.reason.as_str());
    buffer.extend_from_slice(b",\"stop_sequence\":");
    optional_string(buffer, ending.stop_sequence);
    if ending.reason == StopReason::Refusal {
        buffer.extend_from_slice(b",\"stop_details\":{\"type\":\"refusal\",\"category\":null,\"explanation\":");
        optional_string(buffer, ending.explanation);
        buffer.extend_from_slice(b"}");
    }
}

fn usage(buffer: &mut BytesMut, usage: &Usage) {
    let counters: [(&[u8], u64); 5] = [
        (b"{\"input_tokens\":", usage.input_tokens),
        (b",\"cache_creation_input_tokens\":", usage.cache_creation_input_tokens),
        (b",\"cache_read_input_tokens\":", usage.cache_read_input_tokens),
        (b",\"output_tokens\":", usage.output_tokens),
        (b",\"output_tokens_details\":{\"thinking_tokens\":", usage.thinking_tokens),
    ];
    for (key, tokens) in counters {
        buffer.extend_from_slice(key);
        integer(buffer, tokens);
    }
    buffer.extend_from_slice(b"}");
    if usage.web_search_requests > 0 {
        buffer.extend_from_slice(b",\"server_tool_use\":{\"web_search_requests\":");
        integer(buffer, usage.web_search_requests);
        buffer.extend_from_slice(b"}");
    }
    let tier: &[u8] = match usage.priority {
        true => b",\"service_tier\":\"priority\",\"speed\":\"fast\"}",
        false => b",\"service_tier\":\"standard\"}",
    };
    buffer.extend_from_slice(tier);
}

fn integer(buffer: &mut BytesMut, value: u64) {
    buffer.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn optional_string(buffer: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => string(buffer, text),
        None => buffer.extend_from_slice(b"null"),
    }
}

fn string(buffer: &mut BytesMut, text: &str) {
    buffer.extend_from_slice(b"\"");
    let mut escaped = String::with_capacity(text.len());
    escape_into(text, &mut escaped);
    buffer.extend_from_slice(escaped.as_bytes());
    buffer.extend_from_slice(b"\"");
}

fn text_of(buffer: &[u8]) -> String {
    String::from_utf8_lossy(buffer).into_owned()
}
