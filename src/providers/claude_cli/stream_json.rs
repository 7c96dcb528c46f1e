//! The lines that `claude -p` prints and reads in its stream-json mode, one JSON object each.
//!
//! Printed lines become [`Line`]s whose texts and tool inputs borrow from the line; what nobody acts upon stays
//! [`Line::Unknown`]. A field that is missing counts as empty, for `claude` adds and drops fields from version to version.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One line of `claude`'s stdout.
#[derive(Clone, Debug)]
pub enum Line<'a> {
    /// `system/init`: printed before every turn, not once.
    Init(Init<'a>),
    /// `system/background_tasks_changed`: how many are running now.
    BackgroundTasks {
        running: usize,
    },
    /// `system/api_retry`.
    Retry(Retry<'a>),
    /// A finished block; several lines share one message id.
    Assistant(Assistant<'a>),
    /// A piece of text as it streams (`--include-partial-messages`), of the main conversation or a subagent.
    TextDelta {
        text: Cow<'a, str>,
        parent_tool_use_id: Option<Cow<'a, str>>,
    },
    /// A piece of thinking as it streams, like a [`Line::TextDelta`].
    ThinkingDelta {
        thinking: Cow<'a, str>,
        parent_tool_use_id: Option<Cow<'a, str>>,
    },
    ToolResults(Vec<ToolResult<'a>>),
    /// The end of a turn. Another may follow without any input, after a background task.
    Outcome(Outcome<'a>),
    Unknown {
        kind: Cow<'a, str>,
        subtype: Option<Cow<'a, str>>,
    },
}

#[derive(Clone, Debug, Deserialize)]
pub struct Init<'a> {
    #[serde(borrow, default)]
    pub session_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub model: Cow<'a, str>,
    #[serde(borrow, default)]
    pub claude_code_version: Cow<'a, str>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Retry<'a> {
    #[serde(default)]
    pub attempt: u32,
    #[serde(default)]
    pub retry_delay_ms: f64,
    /// The HTTP status; absent when there was no reply.
    #[serde(default)]
    pub error_status: Option<u16>,
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug)]
pub struct Assistant<'a> {
    pub message_id: Cow<'a, str>,
    pub model: Cow<'a, str>,
    pub blocks: Vec<Block<'a>>,
    /// Set on the lines of a subagent.
    pub parent_tool_use_id: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug)]
pub enum Block<'a> {
    Text(Cow<'a, str>),
    Thinking(Cow<'a, str>),
    ToolUse { id: Cow<'a, str>, name: Cow<'a, str>, input: Option<&'a RawValue> },
    Unknown(Cow<'a, str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult<'a> {
    pub tool_use_id: Cow<'a, str>,
    /// Its texts, joined by line ends; what is no text (images) is left out.
    pub text: Cow<'a, str>,
    pub is_error: bool,
}

/// The `result` line. An API failure is `subtype: "success"` with `is_error`.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome<'a> {
    /// `success`, `error_during_execution`, `error_max_turns`, `error_max_budget_usd`, …
    #[serde(borrow)]
    pub subtype: Cow<'a, str>,
    #[serde(default)]
    pub is_error: bool,
    /// The last text, or what went wrong.
    #[serde(borrow, default)]
    pub result: Option<Cow<'a, str>>,
    /// What went wrong where there is no `result`.
    #[serde(default)]
    pub errors: Vec<String>,
    #[serde(default)]
    pub api_error_status: Option<u16>,
    #[serde(borrow, default)]
    pub session_id: Cow<'a, str>,
    #[serde(default)]
    pub num_turns: u32,
    #[serde(default)]
    pub duration_ms: u64,
    /// US dollars at Anthropic's prices: no statement about our backends.
    #[serde(default)]
    pub total_cost_usd: f64,
    #[serde(default)]
    pub usage: Usage,
}

/// Tokens. All zero after a reply that was not streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub output_tokens: u64,
}

impl Outcome<'_> {
    /// What `claude` answers to `--resume` with an id that it does not find in this folder and configuration.
    pub fn is_lost_conversation(&self) -> bool {
        self.is_error && self.errors.iter().any(|error| error.starts_with("No conversation found"))
    }

    /// The last text, or what went wrong; maybe empty.
    pub fn words(&self) -> Cow<'_, str> {
        match self.result.as_deref() {
            Some(result) => Cow::Borrowed(result),
            None => Cow::Owned(self.errors.join("\n")),
        }
    }
}

impl<'a> Line<'a> {
    /// Reads one line, without its line end. An error means that it is no JSON object or that a field which we read
    /// has another type than it ever had.
    pub fn parse(line: &'a str) -> Result<Self, serde_json::Error> {
        let head: Head<'a> = serde_json::from_str(line)?;
        Ok(match (&*head.kind, head.subtype.as_deref()) {
            ("system", Some("init")) => Self::Init(serde_json::from_str(line)?),
            ("system", Some("background_tasks_changed")) => {
                let tasks: BackgroundTasks<'a> = serde_json::from_str(line)?;
                Self::BackgroundTasks { running: tasks.tasks.len() }
            }
            ("system", Some("api_retry")) => Self::Retry(serde_json::from_str(line)?),
            ("assistant", _) => Self::Assistant(serde_json::from_str::<RawAssistant<'a>>(line)?.into()),
            ("user", _) => return Self::of_user(line, head),
            ("stream_event", _) => return Self::of_stream_event(line, head),
            ("result", Some(_)) => Self::Outcome(serde_json::from_str(line)?),
            _ => head.unknown(),
        })
    }

    /// A user line matters for its tool results; prompts come back as text.
    fn of_user(line: &'a str, head: Head<'a>) -> Result<Self, serde_json::Error> {
        let user: RawUser<'a> = serde_json::from_str(line)?;
        let content = user.message.content.map_or("", RawValue::get);
        let blocks: Vec<RawBlock<'a>> =
            if content.starts_with('[') { serde_json::from_str(content)? } else { Vec::new() };
        let results: Vec<_> = blocks.into_iter().filter_map(RawBlock::into_tool_result).collect();
        Ok(if results.is_empty() { head.unknown() } else { Self::ToolResults(results) })
    }

    fn of_stream_event(line: &'a str, head: Head<'a>) -> Result<Self, serde_json::Error> {
        let RawStreamEvent { event, parent_tool_use_id } = serde_json::from_str(line)?;
        let Some(RawDelta { kind, text, thinking }) = event.delta else { return Ok(head.unknown()) };
        Ok(match &*kind {
            "text_delta" => Self::TextDelta { text, parent_tool_use_id },
            "thinking_delta" => Self::ThinkingDelta { thinking, parent_tool_use_id },
            _ => head.unknown(),
        })
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    fn unknown(self) -> Line<'a> {
        Line::Unknown { kind: self.kind, subtype: self.subtype }
    }
}

#[derive(Deserialize)]
struct BackgroundTasks<'a> {
    #[serde(borrow, default)]
    tasks: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawAssistant<'a> {
    #[serde(borrow)]
    message: RawMessage<'a>,
    #[serde(borrow, default)]
    parent_tool_use_id: Option<Cow<'a, str>>,
}

impl<'a> From<RawAssistant<'a>> for Assistant<'a> {
    fn from(raw: RawAssistant<'a>) -> Self {
        Self {
            message_id: raw.message.id,
            model: raw.message.model,
            blocks: raw.message.content.into_iter().map(RawBlock::into_block).collect(),
            parent_tool_use_id: raw.parent_tool_use_id,
        }
    }
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Vec<RawBlock<'a>>,
}

#[derive(Deserialize)]
struct RawUser<'a> {
    #[serde(borrow, default)]
    message: RawUserMessage<'a>,
}

#[derive(Default, Deserialize)]
struct RawUserMessage<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawStreamEvent<'a> {
    #[serde(borrow)]
    event: RawEvent<'a>,
    #[serde(borrow, default)]
    parent_tool_use_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow, default)]
    delta: Option<RawDelta<'a>>,
}

/// `message_delta` has a delta without a type.
#[derive(Deserialize)]
struct RawDelta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    thinking: Cow<'a, str>,
}

/// Blocks of every type in one: an enum tagged from inside could not borrow its input.
#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    thinking: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_use_id: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
}

impl<'a> RawBlock<'a> {
    fn into_block(self) -> Block<'a> {
        match &*self.kind {
            "text" => Block::Text(self.text),
            "thinking" => Block::Thinking(self.thinking),
            "tool_use" => Block::ToolUse { id: self.id, name: self.name, input: self.input },
            _ => Block::Unknown(self.kind),
        }
    }

    fn into_tool_result(self) -> Option<ToolResult<'a>> {
        (self.kind == "tool_result").then(|| ToolResult {
            tool_use_id: self.tool_use_id,
            text: self.content.map(result_text).unwrap_or_default(),
            is_error: self.is_error.unwrap_or_default(),
        })
    }
}

/// A result's content is a string or a list of blocks.
fn result_text(content: &RawValue) -> Cow<'_, str> {
    let json = content.get();
    if !json.starts_with('[') {
        return serde_json::from_str::<String>(json).unwrap_or_default().into();
    }
    let blocks: Vec<RawBlock<'_>> = serde_json::from_str(json).unwrap_or_default();
    let texts: Vec<_> = blocks.into_iter().filter(|block| block.kind == "text").map(|block| block.text).collect();
    texts.join("\n").into()
}

/// A line for `claude`'s stdin, its line end included. `claude` ends at once on a line that is no JSON.
pub fn prompt_line(prompt: &str) -> String {
    line(&PromptLine { kind: "user", message: PromptMessage { role: "user", content: prompt } })
}

/// Asks the running turn to stop; answered by a `control_response` with the same id.
pub fn interrupt_line(request_id: &str) -> String {
    line(&ControlLine { kind: "control_request", request_id, request: ControlRequest { subtype: "interrupt" } })
}

#[derive(Serialize)]
struct PromptLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: PromptMessage<'a>,
}

#[derive(Serialize)]
struct PromptMessage<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct ControlLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    request_id: &'a str,
    request: ControlRequest,
}

#[derive(Serialize)]
struct ControlRequest {
    subtype: &'static str,
}

fn line(value: &impl Serialize) -> String {
    // Structs of texts: there is nothing that JSON could not express.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real `claude` printed in a conversation with a tool, an interrupt and an API error.
    fn recorded() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude/stream_json_stdout.jsonl");
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_recorded_conversation_is_read() {
        let recorded = recorded();
        let lines: Vec<_> =
            recorded.iter().map(|line| Line::parse(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();

        let init = lines.iter().find_map(|line| match line {
            Line::Init(init) => Some(init),
            _ => None,
        });
        assert_eq!(init.unwrap().model, "gpt-5.1-codex");
        assert!(init.unwrap().claude_code_version.starts_with("2.1."));

        let tool_uses = lines.iter().filter_map(|line| match line {
            Line::Assistant(assistant) => assistant.blocks.iter().find_map(|block| match block {
                Block::ToolUse { name, input, .. } => Some((name.as_ref(), input.unwrap().get().contains("command"))),
                Block::Text(_) | Block::Thinking(_) | Block::Unknown(_) => None,
            }),
            _ => None,
        });
        assert!(tool_uses.into_iter().all(|tool_use| tool_use == ("Bash", true)));

        let outcomes: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Outcome(outcome) => Some((outcome.subtype.as_ref(), outcome.is_error, outcome.api_error_status)),
                _ => None,
            })
            .collect();
        assert_eq!(outcomes.first(), Some(&("success", false, None)));
        assert!(outcomes.contains(&("error_during_execution", true, None)));
        assert_eq!(outcomes.last(), Some(&("success", true, Some(400))));

        assert!(
            lines
                .iter()
                .any(|line| matches!(line, Line::TextDelta { text: Cow::Borrowed(text), .. } if !text.is_empty()))
        );
        assert!(lines.iter().any(|line| matches!(line, Line::ThinkingDelta { thinking, .. } if thinking == "plan")));
        assert!(lines.iter().any(|line| matches!(line, Line::ToolResults(results) if results[0].is_error)));
    }

    #[test]
    fn usage_and_cost_come_with_the_outcome() {
        let recorded = recorded();
        let outcome = recorded.iter().find_map(|line| match Line::parse(line) {
            Ok(Line::Outcome(outcome)) => Some(outcome),
            _ => None,
        });
        let outcome = outcome.unwrap();
        assert!(outcome.usage.output_tokens > 0 && outcome.total_cost_usd > 0.0, "{outcome:?}");
        assert_eq!(outcome.result.as_deref(), Some("answer"));
    }

    #[test]
    fn a_results_texts_are_read_from_a_string_and_from_blocks() {
        for (content, expected) in [
            (r#""two\nlines""#, "two\nlines"),
            (r#"[{"type":"text","text":"one"},{"type":"image","source":{}},{"type":"text","text":"two"}]"#, "one\ntwo"),
            ("null", ""),
            ("7", ""),
        ] {
            let line = format!(
                r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t","content":{content}}}]}}}}"#
            );
            let Ok(Line::ToolResults(results)) = Line::parse(&line) else { panic!("{line}") };
            assert_eq!((&*results[0].tool_use_id, &*results[0].text), ("t", expected));
        }
    }

    #[test]
    fn a_lost_conversation_is_told_from_other_errors() {
        let found = |line: &str| match Line::parse(line) {
            Ok(Line::Outcome(outcome)) => (outcome.is_lost_conversation(), outcome.words().into_owned()),
            other => panic!("{other:?}"),
        };
        let lost = r#"{"type":"result","subtype":"error_during_execution","is_error":true,
            "errors":["No conversation found with session ID: 0190"]}"#;
        assert_eq!(found(lost), (true, "No conversation found with session ID: 0190".to_owned()));
        let other = r#"{"type":"result","subtype":"success","is_error":true,"result":"No conversation found"}"#;
        assert_eq!(found(other), (false, "No conversation found".to_owned()));
    }

    #[test]
    fn background_tasks_are_counted() {
        for (line, expected) in [
            (r#"{"type":"system","subtype":"background_tasks_changed","tasks":[{"id":"a"},{"id":"b"}]}"#, 2),
            (r#"{"type":"system","subtype":"background_tasks_changed","tasks":[]}"#, 0),
            (r#"{"type":"system","subtype":"background_tasks_changed"}"#, 0),
        ] {
            assert!(
                matches!(Line::parse(line), Ok(Line::BackgroundTasks { running }) if running == expected),
                "{line}"
            );
        }
    }

    #[test]
    fn what_nobody_acts_upon_is_unknown_and_what_is_no_object_an_error() {
        let cases = [
            (r#"{"type":"system","subtype":"informational","text":"x"}"#, "system", Some("informational")),
            (r#"{"type":"user","message":{"role":"user","content":"words"}}"#, "user", None),
            (r#"{"type":"stream_event","event":{"type":"message_stop"}}"#, "stream_event", None),
            (r#"{"type":"rate_limit_event"}"#, "rate_limit_event", None),
        ];
        for (line, kind, subtype) in cases {
            match Line::parse(line) {
                Ok(Line::Unknown { kind: got, subtype: got_subtype }) => {
                    assert_eq!((got.as_ref(), got_subtype.as_deref()), (kind, subtype));
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        for line in ["", "words", "[]", "{}", r#"{"type":7}"#] {
            assert!(Line::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_for_stdin_are_one_line_each() {
        assert_eq!(
            prompt_line("two\n\"lines\""),
            "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"two\\n\\\"lines\\\"\"}}\n"
        );
        assert_eq!(
            interrupt_line("r1"),
            "{\"type\":\"control_request\",\"request_id\":\"r1\",\"request\":{\"subtype\":\"interrupt\"}}\n"
        );
    }
}
