//! An assistant's message becomes items: its words, calls and reasoning, and what Anthropic's own tools left in it
//! (WIRE.md Q-M2, Q-M8, Q-M11, Q-M21, Q-M22, Q-M30, Q-M31).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::messages::{MessageWriter, call_id};
use super::parts::noted;
use super::reasoning;
use crate::providers::anthropic::wire::{Block, Members, loose};
use crate::providers::json_text::{JsonText, join, mended, quote};
use crate::providers::openai::wire::request::{Item, Part, Phase, Role, Text};
use crate::providers::translate::ApiError;

/// Where the blocks of one assistant message stand.
pub(super) struct AssistantTurn<'b, 'a> {
    blocks: &'b [Block<'a>],
    last_call: Option<usize>,
    /// What the envelope of the reasoning before says about the message that comes.
    stated_phase: Option<Phase>,
    /// Items of reasoning that stood behind a call: their indices, and the call's id.
    moves: Vec<(usize, String)>,
}

impl<'b, 'a> AssistantTurn<'b, 'a> {
    pub(super) fn of(blocks: &'b [Block<'a>]) -> Self {
        Self { blocks, last_call: blocks.iter().rposition(is_call), stated_phase: None, moves: Vec::new() }
    }
}

impl<'a> MessageWriter<'_, 'a> {
    /// Translates the blocks in order.
    ///
    /// # Errors
    /// 400 for a call without id or name.
    pub(super) fn assistant(&mut self, mut turn: AssistantTurn<'_, 'a>) -> Result<(), ApiError> {
        let blocks = turn.blocks;
        for (index, block) in blocks.iter().enumerate() {
            match &*block.kind() {
                "text" => self.assistant_text(block),
                "thinking" | "redacted_thinking" => self.thinking(block, index, &mut turn),
                "tool_use" => self.call(block, index, &mut turn)?,
                "mcp_tool_use" if has_answer(block, blocks) => self.call(block, index, &mut turn)?,
                "mcp_tool_result" if has_call(block, blocks) => {
                    self.close_assistant(index, &mut turn);
                    self.parts = self.tool_result(block, index)?;
                    self.close(Role::User, None);
                }
                "compaction" => {
                    self.close_assistant(index, &mut turn);
                    self.compaction(block);
                }
                other => self.foreign(other, block, blocks),
            }
        }
        self.close_assistant(blocks.len(), &mut turn);
        reasoning::restore_order(&mut self.items, &turn.moves);
        Ok(())
    }

    /// The phase that a text's place tells: before a call it is commentary, without any call it is the answer (Q-M8).
    pub(super) fn phase(&self, has_call: bool, call_follows: bool) -> Option<Phase> {
        match (self.context.model.phase, has_call, call_follows) {
            (false, _, _) | (true, true, false) => None,
            (true, _, true) => Some(Phase::Commentary),
            (true, false, false) => Some(Phase::FinalAnswer),
        }
    }

    fn assistant_text(&mut self, block: &Block<'a>) {
        if let Some(text) = block.text.and_then(JsonText::of).filter(|text| !text.is_blank()) {
            self.parts.push(Part::OutputText { text: Cow::Borrowed(text.raw()) });
        }
    }

    /// Closes the message before the block at `index`; a custom upstream gets all its texts as one part (Q-M2).
    fn close_assistant(&mut self, index: usize, turn: &mut AssistantTurn<'_, 'a>) {
        let call_follows = turn.last_call.is_some_and(|call| call >= index);
        let phase = turn.stated_phase.take().or_else(|| self.phase(turn.last_call.is_some(), call_follows));
        if self.context.profile.is_custom() && self.parts.len() > 1 {
            let texts: Vec<Text<'a>> = self.parts.drain(..).filter_map(text_of).collect();
            self.parts.push(Part::OutputText { text: join(&texts, "\n\n") });
        }
        self.close(Role::Assistant, phase);
    }

    /// Reasoning of this very upstream goes back; other thinking leaves no trace, not even a cut in the text.
    fn thinking(&mut self, block: &Block<'a>, index: usize, turn: &mut AssistantTurn<'_, 'a>) {
        if let Some(replay) = reasoning::replay(block, self.context, self.in_tool_loop) {
            self.close_assistant(index, turn);
            turn.stated_phase = replay.phase.filter(|_| self.context.model.phase);
            turn.moves.extend(replay.after.map(|call| (self.items.len(), call)));
            self.items.push(replay.item);
        }
    }

    fn call(&mut self, block: &Block<'a>, index: usize, turn: &mut AssistantTurn<'_, 'a>) -> Result<(), ApiError> {
        self.close_assistant(index, turn);
        let id = block.id.and_then(JsonText::of).ok_or_else(|| self.missing(&format!("content.{index}.id")))?;
        let name = block.name.and_then(JsonText::of).ok_or_else(|| self.missing(&format!("content.{index}.name")))?;
        let arguments = arguments(block.input);
        self.items.push(Item::FunctionCall { call_id: call_id(id), name: self.names.sent(name), arguments });
        Ok(())
    }

    /// What a server-side compaction left: its summary, with the authority of a system message (Q-M31).
    fn compaction(&mut self, block: &Block<'a>) {
        if let Some(summary) = block.content.and_then(JsonText::of).filter(|text| !text.is_empty()) {
            self.mid_system(vec![Cow::Borrowed(summary.raw())]);
        }
    }

    /// Blocks of Anthropic's own tools, and such that we do not know (Q-M30, Q-M31, Q-M20).
    fn foreign(&mut self, kind: &str, block: &Block<'a>, blocks: &[Block<'a>]) {
        match kind {
            // Its result speaks for both.
            "server_tool_use" => {}
            "web_search_tool_result" => self.parts.extend(web_search_note(block, blocks)),
            _ if kind.ends_with("_tool_result")
                || matches!(kind, "container_upload" | "fallback" | "mcp_tool_listing") =>
            {
                self.dropped.note(noted("block", kind));
                self.parts.push(Part::OutputText { text: quote(&format!("[{kind} left out]")) });
            }
            _ => self.dropped.note(noted("block", kind)),
        }
    }
}

fn is_call(block: &Block<'_>) -> bool {
    matches!(&*block.kind(), "tool_use" | "mcp_tool_use")
}

fn text_of<'a>(part: Part<'a>) -> Option<Text<'a>> {
    match part {
        Part::OutputText { text } | Part::InputText { text } => Some(text),
        Part::InputImage { .. } | Part::InputFile { .. } => None,
    }
}

fn same_text(one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    one.is_some() && one.map(RawValue::get) == other.map(RawValue::get)
}

fn has_answer(call: &Block<'_>, blocks: &[Block<'_>]) -> bool {
    blocks.iter().any(|block| block.kind() == "mcp_tool_result" && same_text(block.tool_use_id, call.id))
}

fn has_call(answer: &Block<'_>, blocks: &[Block<'_>]) -> bool {
    blocks.iter().any(|block| block.kind() == "mcp_tool_use" && same_text(block.id, answer.tool_use_id))
}

/// A call's `arguments`: the JSON text of its input, which must be an object (Q-M21, Q-M22).
fn arguments<'a>(input: Option<&'a RawValue>) -> Text<'a> {
    const EMPTY: &str = "{}";
    let Some(input) = input else { return quote(EMPTY) };
    if let Some(raw) = unparsed_input(input) {
        return quote(if is_object(&raw) { &raw } else { input.get() });
    }
    if let Some(text) = JsonText::of(input) {
        let text = text.decode();
        return quote(if is_object(&text) { &text } else { EMPTY });
    }
    quote(&if input.get().starts_with('{') { mended(input.get()) } else { Cow::Borrowed(EMPTY) })
}

fn is_object(json: &str) -> bool {
    serde_json::from_str::<Members<'_>>(json).is_ok()
}

/// The text that the model wrote as arguments, if `claude` could not parse it and put its sentinel there (Q-M22).
pub(super) fn unparsed_input<'a>(input: &'a RawValue) -> Option<Cow<'a, str>> {
    let inside = input.get().strip_prefix('{')?.trim_start();
    if !inside.starts_with("\"__unparsedToolInput\"") {
        return None;
    }
    let sentinel: Members<'a> = loose(loose::<Members<'a>>(Some(input))?.get("__unparsedToolInput"))?;
    Some(sentinel.get("raw").and_then(JsonText::of).map_or(Cow::Borrowed(""), JsonText::decode))
}

/// A search and what it found, as words in place (Q-M30). Nothing found: nothing said.
fn web_search_note<'a>(result: &Block<'a>, blocks: &[Block<'a>]) -> Option<Part<'a>> {
    let found: Vec<Members<'a>> = loose(result.content)?;
    let text = |entry: &Members<'a>, key: &str| entry.get(key).and_then(JsonText::of).map(JsonText::decode);
    let places: Vec<String> = found
        .iter()
        .filter_map(|entry| {
            let url = text(entry, "url")?;
            Some(format!("{} ({url})", text(entry, "title").unwrap_or(Cow::Borrowed(""))))
        })
        .collect();
    if places.is_empty() {
        return None;
    }
    let call = blocks.iter().find(|block| block.kind() == "server_tool_use" && same_text(block.id, result.tool_use_id));
    let input: Option<Members<'a>> = call.and_then(|call| loose(call.input));
    let query = input.and_then(|input| text(&input, "query")).unwrap_or(Cow::Borrowed(""));
    let note = quote(&format!("[web search: \"{query}\" -> {}]", places.join("; ")));
    Some(Part::OutputText { text: note })
}
