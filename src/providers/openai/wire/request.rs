//! The body of `POST /responses`: an allow-list (WIRE.md Q0.1). What has no field here is never sent.
//!
//! Texts are JSON strings as they stood in the client's body, or composed ones; they are spliced, not encoded again.
//! Key order is the order of the fields, so equal requests give equal bytes (Q0.4).

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::providers::openai::models::Effort;

/// A JSON string in its quotes, the client's own or composed.
pub type Text<'a> = Cow<'a, RawValue>;

#[derive(Debug, Serialize)]
pub struct ResponsesRequest<'a> {
    pub model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Text<'a>>,
    pub input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextOptions<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Numbers pass as they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u64>,
}

/// The body of `POST /responses/input_tokens`.
#[derive(Debug, Serialize)]
pub struct CountRequest<'a> {
    pub model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Text<'a>>,
    pub input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextOptions<'a>>,
}

/// One item of `input`. None carries `id` or `status` (Q-M4).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item<'a> {
    /// The lite lane's place for tools (CODEX.md §1.4).
    AdditionalTools {
        role: Role,
        tools: Vec<Tool<'a>>,
    },
    Message {
        role: Role,
        content: Vec<Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<Phase>,
    },
    FunctionCall {
        call_id: Cow<'a, str>,
        name: Cow<'a, str>,
        /// JSON text inside a JSON string.
        arguments: Text<'a>,
    },
    FunctionCallOutput {
        call_id: Cow<'a, str>,
        output: Output<'a>,
    },
    Reasoning {
        /// Always empty, and always there (Q-R3).
        summary: [(); 0],
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<[ReasoningText<'a>; 1]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<Cow<'a, str>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    Developer,
    System,
}

/// What an assistant message is to the models that know the difference (Q-M8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Commentary,
    FinalAnswer,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Commentary => "commentary",
            Phase::FinalAnswer => "final_answer",
        }
    }

    /// The phase of that name, if we know it.
    pub fn of(name: &str) -> Option<Self> {
        [Phase::Commentary, Phase::FinalAnswer].into_iter().find(|phase| phase.as_str() == name)
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part<'a> {
    InputText {
        text: Text<'a>,
    },
    OutputText {
        text: Text<'a>,
    },
    InputImage {
        image_url: Text<'a>,
        detail: &'static str,
        /// Where the client sent it; not part of the body.
        #[serde(skip)]
        origin: Origin,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<Text<'a>>,
        #[serde(skip)]
        origin: Origin,
    },
}

/// A content block of the client's request, all indices from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub message: usize,
    pub block: usize,
    /// The place inside a `tool_result`'s content.
    pub nested: Option<usize>,
}

impl Origin {
    /// The path that Anthropic's errors give to the block: `messages.1.content.0`, or with
    /// `.tool_result.content.2` after it.
    pub fn path(self) -> String {
        let Origin { message, block, nested } = self;
        match nested {
            None => format!("messages.{message}.content.{block}"),
            Some(nested) => format!("messages.{message}.content.{block}.tool_result.content.{nested}"),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Output<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReasoningText<'a> {
    ReasoningText { text: Text<'a> },
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool<'a> {
    Function {
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<Text<'a>>,
        parameters: Schema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    WebSearch {
        #[serde(skip_serializing_if = "Option::is_none")]
        filters: Option<Filters>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_location: Option<UserLocation<'a>>,
    },
}

/// A JSON object whose members pass as they are, in their order.
#[derive(Clone, Debug, Default)]
pub struct Schema<'a>(pub Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl Serialize for Schema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Filters {
    pub allowed_domains: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UserLocation<'a> {
    pub r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToolChoice<'a> {
    /// `auto`, `required` or `none`.
    Mode(&'static str),
    One(ChosenTool<'a>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChosenTool<'a> {
    Function { name: Cow<'a, str> },
    AllowedTools { mode: &'static str, tools: [AllowedTool; 1] },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AllowedTool {
    WebSearch,
}

#[derive(Debug, Serialize)]
pub struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<&'static str>,
    /// `all_turns` on the lite lane (CODEX.md §1.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct TextOptions<'a> {
    pub format: Format<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Format<'a> {
    JsonSchema {
        name: &'static str,
        schema: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Debug, Serialize)]
pub struct StreamOptions {
    pub include_obfuscation: bool,
}
