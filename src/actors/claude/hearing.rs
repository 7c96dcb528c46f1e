//! What the `claude` of one turn has said so far, as a pure value: it hears line after line and knows what is worth
//! passing on, and when there is nothing left for its stdin to say.

use crate::providers::claude_cli::stream_json::{Assistant, Block, Line, Outcome, Usage};

/// What is worth passing on from a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The model has answered: the conversation is there to be resumed.
    Replied,
    /// Text of the main conversation, as it streams.
    Text(String),
    ToolUsed {
        name: String,
        id: String,
        by_subagent: bool,
    },
}

/// The last `result` line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `success`, `error_during_execution`, …
    pub subtype: String,
    pub is_error: bool,
    /// The last text, or what went wrong.
    pub text: String,
    pub is_lost_conversation: bool,
    pub api_error_status: Option<u16>,
    /// Of the model.
    pub num_turns: u32,
    pub duration_ms: u64,
    /// US dollars at Anthropic's prices, as `claude` believes.
    pub cost_usd: f64,
    pub usage: Usage,
}

#[derive(Clone, Debug, Default)]
pub struct Hearing {
    pub summary: Option<Summary>,
    pub tools: u64,
    /// Lines that were no JSON object, or too long.
    pub unreadable_lines: u64,
    background_tasks: usize,
    has_replied: bool,
    /// Whether text of the current block was passed on as it streamed.
    has_streamed: bool,
    /// The last whole text block.
    last_text: String,
}

impl Hearing {
    pub fn hear(&mut self, line: Line<'_>) -> Vec<Said> {
        match line {
            Line::BackgroundTasks { running } => {
                self.background_tasks = running;
                Vec::new()
            }
            Line::TextDelta { text, parent_tool_use_id: None } => {
                self.has_streamed = true;
                self.replied(vec![Said::Text(text.into_owned())])
            }
            Line::Assistant(assistant) => {
                let said = self.blocks(assistant);
                self.replied(said)
            }
            Line::Outcome(outcome) => {
                self.summary = Some(Summary::from(outcome));
                Vec::new()
            }
            Line::TextDelta { .. }
            | Line::ThinkingDelta { .. }
            | Line::Init(_)
            | Line::Retry(_)
            | Line::ToolResults(_)
            | Line::Unknown { .. } => Vec::new(),
        }
    }

    /// There is a result and no background task is known to run: its stdin can be closed (DESIGN.md §2).
    pub fn is_complete(&self) -> bool {
        self.summary.is_some() && self.background_tasks == 0
    }

    /// Whether the result's text has been passed on already, as the last text block.
    pub fn has_told_result(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.text.trim() == self.last_text.trim())
    }

    fn replied(&mut self, said: Vec<Said>) -> Vec<Said> {
        let is_first = !std::mem::replace(&mut self.has_replied, true);
        is_first.then_some(Said::Replied).into_iter().chain(said).collect()
    }

    fn blocks(&mut self, assistant: Assistant<'_>) -> Vec<Said> {
        let by_subagent = assistant.parent_tool_use_id.is_some();
        let mut said = Vec::new();
        for block in assistant.blocks {
            match block {
                Block::Text(text) if !by_subagent => said.extend(self.end_of_text(&text)),
                Block::ToolUse { id, name, .. } => {
                    self.tools += 1;
                    said.push(Said::ToolUsed { name: name.into_owned(), id: id.into_owned(), by_subagent });
                }
                Block::Text(_) | Block::Thinking(_) | Block::Unknown(_) => {}
            }
        }
        said
    }

    /// A whole block: passed on unless it streamed before (a reply that was not streamed comes whole only), with a line's
    /// end behind it.
    fn end_of_text(&mut self, text: &str) -> Option<Said> {
        self.last_text = text.to_owned();
        let rest = if std::mem::take(&mut self.has_streamed) { "" } else { text };
        match text.ends_with('\n') {
            true if rest.is_empty() => None,
            true => Some(Said::Text(rest.to_owned())),
            false => Some(Said::Text(format!("{rest}\n"))),
        }
    }
}

impl From<Outcome<'_>> for Summary {
    fn from(outcome: Outcome<'_>) -> Self {
        Self {
            is_error: outcome.is_error,
            text: outcome.words().into_owned(),
            is_lost_conversation: outcome.is_lost_conversation(),
            api_error_status: outcome.api_error_status,
            num_turns: outcome.num_turns,
            duration_ms: outcome.duration_ms,
            cost_usd: outcome.total_cost_usd,
            usage: outcome.usage,
            subtype: outcome.subtype.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(hearing: &mut Hearing, line: &str) -> Vec<Said> {
        hearing.hear(Line::parse(line).unwrap())
    }

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"done"}"#;
    const NO_TASKS: &str = r#"{"type":"system","subtype":"background_tasks_changed","tasks":[]}"#;
    const ONE_TASK: &str = r#"{"type":"system","subtype":"background_tasks_changed","tasks":[{"id":"a"}]}"#;

    fn delta(piece: &str) -> String {
        format!(
            r#"{{"type":"stream_event","event":{{"delta":{{"type":"text_delta","text":"{piece}"}}}},"parent_tool_use_id":null}}"#
        )
    }

    fn block(piece: &str) -> String {
        format!(r#"{{"type":"assistant","message":{{"id":"m","content":[{{"type":"text","text":"{piece}"}}]}}}}"#)
    }

    #[test]
    fn stdin_is_closed_after_a_result_when_no_background_task_is_known() {
        for (lines, complete) in [
            (&[][..], false),
            (&[NO_TASKS], false),
            (&[RESULT], true),
            (&[ONE_TASK, RESULT], false),
            (&[ONE_TASK, RESULT, NO_TASKS], true),
            (&[ONE_TASK, NO_TASKS, RESULT], true),
        ] {
            let mut hearing = Hearing::default();
            for line in lines {
                hear(&mut hearing, line);
            }
            assert_eq!(hearing.is_complete(), complete, "{lines:?}");
        }
    }

    #[test]
    fn text_is_passed_on_once_as_it_streams_or_whole() {
        let mut hearing = Hearing::default();
        assert_eq!(hear(&mut hearing, &delta("o")), [Said::Replied, text("o")]);
        assert_eq!(hear(&mut hearing, &delta("ne")), [text("ne")]);
        assert_eq!(hear(&mut hearing, &block("one")), [text("\n")]);
        assert_eq!(hear(&mut hearing, &block("done")), [text("done\n")]);
        assert!(!hearing.has_told_result());
        hear(&mut hearing, RESULT);
        assert!(hearing.has_told_result());
    }

    #[test]
    fn a_subagents_text_is_not_the_turns_and_its_tools_are() {
        let mut hearing = Hearing::default();
        let line = r#"{"type":"assistant","parent_tool_use_id":"t","message":{"id":"m","content":[
            {"type":"text","text":"mine"},{"type":"tool_use","id":"u","name":"Read","input":{}}]}}"#;
        let used = Said::ToolUsed { name: "Read".into(), id: "u".into(), by_subagent: true };
        assert_eq!(hear(&mut hearing, line), [Said::Replied, used]);
        assert_eq!(hearing.tools, 1);
    }

    #[test]
    fn the_last_result_counts() {
        let mut hearing = Hearing::default();
        hear(&mut hearing, RESULT);
        hear(&mut hearing, r#"{"type":"result","subtype":"success","is_error":true,"result":"API Error"}"#);
        let summary = hearing.summary.unwrap();
        assert_eq!((summary.is_error, summary.text.as_str()), (true, "API Error"));
    }
}
