//! The body of `POST /v1/messages` (and `…/count_tokens`), borrowed from the bytes that came.
//!
//! One pass over the body makes flat objects of optional raw values; texts, ids and schemas stay the client's bytes.
//! Reading is lenient where a new `claude` may send something new: fields and block types that we do not know are kept
//! aside, a repeated key counts with its last value, and an optional field of the wrong type is as if absent. Where a
//! shape makes translation impossible, the error is Anthropic's 400 with the path (WIRE.md Q0.3).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::providers::json_text::{JsonText, Lossy, decoded, quote};
use crate::providers::translate::ApiError;

/// A Messages request that has what every request must have: a model, messages, and (but for counting) a limit.
pub struct MessagesRequest<'a> {
    body: Body<'a>,
    model: Cow<'a, str>,
    /// Bytes.
    size: usize,
}

impl<'a> MessagesRequest<'a> {
    /// Reads the body of `POST /v1/messages`.
    ///
    /// # Errors
    /// 400 `invalid_request_error` for malformed JSON, a missing or impossible `model`, `messages` or `max_tokens`, and
    /// for content whose shape cannot be translated.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let request = Self::parse_for_count(body)?;
        match request.max_tokens() {
            Some(_) => Ok(request),
            None if request.body.max_tokens.is_none() => Err(ApiError::invalid("max_tokens: Field required")),
            None => Err(ApiError::invalid("max_tokens: Input should be a valid integer")),
        }
    }

    /// Reads the body of `POST /v1/messages/count_tokens`, which has no `max_tokens`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_for_count(body: &'a [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
        let parsed: Body<'a> = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
        let model = parsed.model.ok_or_else(|| ApiError::invalid("model: Field required"))?;
        let model = JsonText::of(model).ok_or_else(|| ApiError::invalid("model: Input should be a valid string"))?;
        match &parsed.messages {
            None => Err(ApiError::invalid("messages: Field required")),
            Some(messages) if messages.is_empty() => {
                Err(ApiError::invalid("messages: at least one message is required"))
            }
            Some(_) => Ok(Self { model: model.decode(), size: text.len(), body: parsed }),
        }
    }

    /// The model as the client wrote it.
    pub fn model(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.model)
    }

    /// Whether the client wants events; absent means no.
    pub fn stream(&self) -> bool {
        loose(self.body.stream).unwrap_or(false)
    }

    /// Bytes of the whole body.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn messages(&self) -> &[Message<'a>] {
        self.body.messages.as_deref().unwrap_or(&[])
    }

    pub fn system(&self) -> Option<&Content<'a>> {
        self.body.system.as_ref()
    }

    pub fn tools(&self) -> &[Tool<'a>] {
        self.body.tools.as_deref().unwrap_or(&[])
    }

    pub fn tool_choice(&self) -> Option<ToolChoice<'a>> {
        loose(self.body.tool_choice)
    }

    /// Tokens. A number that is no whole one is cut.
    pub fn max_tokens(&self) -> Option<u64> {
        let number: f64 = loose(self.body.max_tokens)?;
        (number >= 0.0).then_some(number as u64)
    }

    pub fn thinking(&self) -> Option<Thinking<'a>> {
        loose(self.body.thinking)
    }

    pub fn output_config(&self) -> OutputConfig<'a> {
        loose(self.body.output_config).unwrap_or_default()
    }

    /// The older place of `output_config.format`.
    pub fn output_format(&self) -> Option<&'a RawValue> {
        self.body.output_format
    }

    /// `temperature`, if it is a number.
    pub fn temperature(&self) -> Option<&'a RawValue> {
        self.body.temperature.filter(|raw| is_number(raw))
    }

    /// `top_p`, if it is a number.
    pub fn top_p(&self) -> Option<&'a RawValue> {
        self.body.top_p.filter(|raw| is_number(raw))
    }

    pub fn has_top_k(&self) -> bool {
        self.body.top_k.is_some()
    }

    pub fn stop_sequences(&self) -> Vec<String> {
        let sequences: Vec<&RawValue> = loose(self.body.stop_sequences).unwrap_or_default();
        let texts = sequences.into_iter().filter_map(JsonText::of).filter(|text| !text.is_empty());
        texts.map(|text| text.decode().into_owned()).collect()
    }

    /// `metadata.user_id`: an opaque text that names device and session (Q-P7).
    pub fn user_id(&self) -> Option<Cow<'a, str>> {
        let metadata: Metadata<'a> = loose(self.body.metadata)?;
        Some(metadata.user_id.and_then(JsonText::of)?.decode())
    }

    pub fn service_tier(&self) -> Option<Cow<'a, str>> {
        Some(self.body.service_tier.and_then(JsonText::of)?.decode())
    }

    pub fn speed(&self) -> Option<Cow<'a, str>> {
        Some(self.body.speed.and_then(JsonText::of)?.decode())
    }

    /// Whether `mcp_servers` holds anything.
    pub fn has_mcp_servers(&self) -> bool {
        self.body.mcp_servers.is_some_and(|raw| loose::<Vec<&RawValue>>(Some(raw)).is_none_or(|list| !list.is_empty()))
    }

    /// Top-level keys that we do not know; their values may hold private matters and are never logged (Q0.2).
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.body.others.iter().map(|(key, _)| &**key)
    }
}

/// Model and size alone: prompts do not belong in logs.
impl fmt::Debug for MessagesRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagesRequest").field("model", &self.model).field("size", &self.size).finish_non_exhaustive()
    }
}

/// An optional part, or nothing if it is absent or of a shape that we do not know.
pub fn loose<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn is_number(raw: &RawValue) -> bool {
    raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Defines a struct of optional fields, read from a JSON object in one pass: unknown keys go to `others`, a repeated
/// key counts with its last value, and `null` is absent.
macro_rules! wire_object {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        $visibility struct $name<'a> {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// Members that we do not know, in their order.
            pub others: Vec<(Cow<'a, str>, &'a RawValue)>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields<'a>(PhantomData<&'a ()>);

                impl<'de: 'a, 'a> Visitor<'de> for Fields<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'a>, A::Error> {
                        let mut object = $name::default();
                        while let Some(key) = map.next_key_seed(Key)? {
                            match &*key {
                                $($key => object.$field = map.next_value()?,)*
                                _ => object.others.push((key, map.next_value()?)),
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Fields(PhantomData))
            }
        }
    };
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(Lossy)
    }
}

wire_object! {
    struct Body {
        model: &'a RawValue = "model",
        messages: Vec<Message<'a>> = "messages",
        system: Content<'a> = "system",
        tools: Vec<Tool<'a>> = "tools",
        tool_choice: &'a RawValue = "tool_choice",
        max_tokens: &'a RawValue = "max_tokens",
        stream: &'a RawValue = "stream",
        thinking: &'a RawValue = "thinking",
        output_config: &'a RawValue = "output_config",
        output_format: &'a RawValue = "output_format",
        temperature: &'a RawValue = "temperature",
        top_p: &'a RawValue = "top_p",
        top_k: &'a RawValue = "top_k",
        stop_sequences: &'a RawValue = "stop_sequences",
        metadata: &'a RawValue = "metadata",
        service_tier: &'a RawValue = "service_tier",
        speed: &'a RawValue = "speed",
        mcp_servers: &'a RawValue = "mcp_servers",
    }
}

wire_object! {
    /// One message: `user`, `assistant`, or (2026-04) `system` in the middle of a conversation.
    pub struct Message {
        role: &'a RawValue = "role",
        content: Content<'a> = "content",
    }
}

wire_object! {
    /// A content block of any type: every field of every type, raw.
    pub struct Block {
        kind: &'a RawValue = "type",
        text: &'a RawValue = "text",
        id: &'a RawValue = "id",
        name: &'a RawValue = "name",
        input: &'a RawValue = "input",
        tool_use_id: &'a RawValue = "tool_use_id",
        content: &'a RawValue = "content",
        is_error: &'a RawValue = "is_error",
        source: &'a RawValue = "source",
        title: &'a RawValue = "title",
        context: &'a RawValue = "context",
        thinking: &'a RawValue = "thinking",
        signature: &'a RawValue = "signature",
        data: &'a RawValue = "data",
        tool_name: &'a RawValue = "tool_name",
        tool: &'a RawValue = "tool",
        cache_control: &'a RawValue = "cache_control",
    }
}

impl<'a> Block<'a> {
    /// The block's `type`; empty if it has none.
    pub fn kind(&self) -> Cow<'a, str> {
        decoded(self.kind)
    }

    /// The block's members, but for `cache_control`: the ones that we know, then the others.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        let known = [
            ("type", self.kind),
            ("text", self.text),
            ("id", self.id),
            ("name", self.name),
            ("input", self.input),
            ("tool_use_id", self.tool_use_id),
            ("content", self.content),
            ("is_error", self.is_error),
            ("source", self.source),
            ("title", self.title),
            ("context", self.context),
            ("thinking", self.thinking),
            ("signature", self.signature),
            ("data", self.data),
            ("tool_name", self.tool_name),
            ("tool", self.tool),
        ];
        let known = known.into_iter().filter_map(|(key, value)| Some((key, value?)));
        known.chain(self.others.iter().map(|(key, value)| (&**key, *value)))
    }
}

wire_object! {
    /// The `source` of an image or a document.
    pub struct Source {
        kind: &'a RawValue = "type",
        media_type: &'a RawValue = "media_type",
        data: &'a RawValue = "data",
        url: &'a RawValue = "url",
        content: &'a RawValue = "content",
    }
}

wire_object! {
    pub struct Tool {
        kind: &'a RawValue = "type",
        name: &'a RawValue = "name",
        description: &'a RawValue = "description",
        input_schema: Members<'a> = "input_schema",
        strict: &'a RawValue = "strict",
        allowed_domains: &'a RawValue = "allowed_domains",
        blocked_domains: &'a RawValue = "blocked_domains",
        user_location: &'a RawValue = "user_location",
        max_uses: &'a RawValue = "max_uses",
    }
}

impl<'a> Tool<'a> {
    /// The tool's `type`; empty for a client's own tool.
    pub fn kind(&self) -> Cow<'a, str> {
        decoded(self.kind)
    }
}

wire_object! {
    pub struct ToolChoice {
        kind: &'a RawValue = "type",
        name: &'a RawValue = "name",
        disable_parallel_tool_use: &'a RawValue = "disable_parallel_tool_use",
    }
}

wire_object! {
    pub struct Thinking {
        kind: &'a RawValue = "type",
        budget_tokens: &'a RawValue = "budget_tokens",
        display: &'a RawValue = "display",
    }
}

wire_object! {
    pub struct OutputConfig {
        effort: &'a RawValue = "effort",
        format: &'a RawValue = "format",
    }
}

wire_object! {
    /// What `output_config.format` and `output_format` hold.
    pub struct OutputFormat {
        kind: &'a RawValue = "type",
        schema: &'a RawValue = "schema",
    }
}

wire_object! {
    struct Metadata {
        user_id: &'a RawValue = "user_id",
    }
}

wire_object! {
    /// What a `tool_addition` block carries (Q-M5).
    pub struct AddedTool {
        kind: &'a RawValue = "type",
        name: &'a RawValue = "name",
        definition: &'a RawValue = "definition",
    }
}

/// A JSON object, taken apart on its top level only.
#[derive(Clone, Debug, Default)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Anything::deserialize(deserializer)?.others))
    }
}

wire_object! {
    struct Anything {}
}

/// `content` and `system`: one text, or blocks.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    Text(Cow<'a, RawValue>),
    Blocks(Vec<Block<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextOrBlocks(PhantomData))
    }
}

struct TextOrBlocks<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for TextOrBlocks<'a> {
    type Value = Content<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of content blocks")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Content<'a>, E> {
        Ok(Content::Text(quote(&String::from_utf8_lossy(bytes))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'a>, A::Error> {
        let mut blocks = Vec::with_capacity(seq.size_hint().unwrap_or(4));
        while let Some(block) = seq.next_element()? {
            blocks.push(block);
        }
        Ok(Content::Blocks(blocks))
    }
}

fn malformed(error: &dyn fmt::Display) -> ApiError {
    ApiError::invalid(format!("The request body is not valid JSON: {error}"))
}

/// Says where a body goes wrong that is JSON but not of the right shape. Parses again, piece by piece: errors are rare.
fn explain(text: &str, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        return malformed(error);
    }
    let Ok(body) = serde_json::from_str::<Members<'_>>(text) else {
        return ApiError::invalid("The request body should be a JSON object");
    };
    let fault = list_fault(&body, "messages", message_fault)
        .or_else(|| list_fault(&body, "tools", tool_fault))
        .or_else(|| body.get("system").and_then(|raw| content_fault(raw, "system")));
    ApiError::invalid(fault.unwrap_or_else(|| format!("The request body has an unexpected shape: {error}")))
}

fn list_fault(body: &Members<'_>, key: &str, fault: fn(&RawValue, &str) -> Option<String>) -> Option<String> {
    let raw = body.get(key)?;
    match serde_json::from_str::<Option<Vec<&RawValue>>>(raw.get()) {
        Ok(list) => (0..).zip(list?).find_map(|(index, raw): (usize, _)| fault(raw, &format!("{key}.{index}"))),
        Err(_) => Some(format!("{key}: Input should be a valid list")),
    }
}

fn message_fault(raw: &RawValue, path: &str) -> Option<String> {
    if serde_json::from_str::<Message<'_>>(raw.get()).is_ok() {
        return None;
    }
    match serde_json::from_str::<Members<'_>>(raw.get()) {
        Ok(message) => message.get("content").and_then(|content| content_fault(content, &format!("{path}.content"))),
        Err(_) => Some(format!("{path}: Input should be an object")),
    }
}

fn content_fault(raw: &RawValue, path: &str) -> Option<String> {
    if serde_json::from_str::<Option<Content<'_>>>(raw.get()).is_ok() {
        return None;
    }
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(blocks) => blocks
            .iter()
            .position(|block| !block.get().starts_with('{'))
            .map(|index| format!("{path}.{index}: Input should be an object")),
        Err(_) => Some(format!("{path}: Input should be a valid string or a list of content blocks")),
    }
}

fn tool_fault(raw: &RawValue, path: &str) -> Option<String> {
    if serde_json::from_str::<Tool<'_>>(raw.get()).is_ok() {
        return None;
    }
    Some(match serde_json::from_str::<Members<'_>>(raw.get()) {
        Ok(_) => format!("{path}.input_schema: Input should be an object"),
        Err(_) => format!("{path}: Input should be an object"),
    })
}
