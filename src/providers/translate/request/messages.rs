//! Messages become input items, in order (WIRE.md §1.2).
//!
//! Text, image and file blocks of one message gather in one `message` item; anything else closes it first, so what came
//! before a call stays before it. Messages are never merged (Q-M6).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::names::{Names, added_tool};
use super::parts::{PartWriter, kind_of};
use super::reasoning::{self, Replay};
use super::{RequestContext, is_prompt, results, role};
use crate::providers::anthropic::wire::{Block, Content, Members, Message, MessagesRequest, Tool, loose};
use crate::providers::json_text::{JsonText, TextWriter, inside, join, quote};
use crate::providers::openai::wire::request::{Item, Origin, Part, Phase, Role, Text};
use crate::providers::profile::MidSystem;
use crate::providers::translate::{ApiError, Dropped, call_ids};

/// What all messages together became.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub items: Vec<Item<'a>>,
    pub late_tools: Vec<LateTool<'a>>,
    /// The first message of which reasoning is replayed.
    pub replayed_reasoning: Option<usize>,
}

/// A tool that came into play on the way, in the order of the history: it stands after all others (Q-T8, Q-M5).
pub(super) enum LateTool<'a> {
    /// Declared, and named by a `tool_reference`.
    Referenced(JsonText<'a>),
    /// Defined by a `tool_addition`.
    Added(Box<Tool<'a>>),
}

/// Translates all messages.
///
/// # Errors
/// 400 with a path: an unknown role (Q0.2), a block without what it cannot do without, a file id (Q-M14).
pub(super) fn translate<'a>(
    request: &MessagesRequest<'a>,
    context: &RequestContext<'_>,
    names: &Names,
    dropped: &mut Dropped,
) -> Result<Conversation<'a>, ApiError> {
    let messages = request.messages();
    let last_prompt = messages.iter().rposition(is_prompt);
    let mut conversation = Conversation { items: Vec::with_capacity(messages.len() * 2), ..Conversation::default() };
    for (index, message) in messages.iter().enumerate() {
        let mut writer = MessageWriter {
            context,
            names,
            dropped,
            late_tools: &mut conversation.late_tools,
            index,
            in_tool_loop: last_prompt.is_none_or(|prompt| index > prompt),
            items: Vec::new(),
            parts: Vec::new(),
        };
        writer.message(message)?;
        let items = writer.items;
        if items.iter().any(|item| matches!(item, Item::Reasoning { .. })) {
            conversation.replayed_reasoning.get_or_insert(index);
        }
        conversation.items.extend(items);
    }
    Ok(conversation)
}

/// One message on its way.
struct MessageWriter<'w, 'a> {
    context: &'w RequestContext<'w>,
    names: &'w Names,
    dropped: &'w mut Dropped,
    late_tools: &'w mut Vec<LateTool<'a>>,
    /// Index of the message, from 0.
    index: usize,
    /// After the last real user message: plain reasoning is replayed here alone (Q-R4).
    in_tool_loop: bool,
    items: Vec<Item<'a>>,
    /// Of the message item that is being gathered.
    parts: Vec<Part<'a>>,
}

impl<'a> MessageWriter<'_, 'a> {
    fn message(&mut self, message: &Message<'a>) -> Result<(), ApiError> {
        let role = role(message);
        if !matches!(&*role, "user" | "assistant" | "system") {
            let index = self.index;
            return Err(ApiError::invalid(format!("messages.{index}.role: Unexpected role \"{role}\"")));
        }
        let blocks = match &message.content {
            None => return Err(self.missing("content")),
            Some(Content::Blocks(blocks)) => blocks.as_slice(),
            Some(Content::Text(text)) => {
                self.plain_message(&role, text);
                return Ok(());
            }
        };
        self.refuse_untyped(blocks)?;
        match &*role {
            "assistant" => self.assistant(blocks),
            "system" => {
                self.system(blocks);
                Ok(())
            }
            _ => self.user(blocks),
        }
    }

    fn missing(&self, path: &str) -> ApiError {
        ApiError::invalid(format!("messages.{}.{path}: Field required", self.index))
    }

    fn refuse_untyped(&self, blocks: &[Block<'a>]) -> Result<(), ApiError> {
        match blocks.iter().position(|block| block.kind.and_then(JsonText::of).is_none()) {
            None => Ok(()),
            Some(index) => Err(self.missing(&format!("content.{index}.type"))),
        }
    }

    /// A message whose content is one text.
    fn plain_message(&mut self, role: &str, text: &Text<'a>) {
        let content = JsonText::of(text);
        let empty = content.is_none_or(|text| text.is_empty());
        match role {
            "assistant" if content.is_none_or(|text| text.is_blank()) => {}
            "assistant" => {
                self.parts.push(Part::OutputText { text: text.clone() });
                self.close_assistant(self.phase(false, false));
            }
            _ if empty => {}
            "system" => self.mid_system(vec![text.clone()]),
            _ => {
                self.parts.push(Part::InputText { text: text.clone() });
                self.close(Role::User, None);
            }
        }
    }

    fn close(&mut self, role: Role, phase: Option<Phase>) {
        if !self.parts.is_empty() {
            let content = std::mem::take(&mut self.parts);
            self.items.push(Item::Message { role, content, phase });
        }
    }

    // --- user ---

    fn user(&mut self, blocks: &[Block<'a>]) -> Result<(), ApiError> {
        let last_result = blocks.iter().rposition(|block| block.kind() == "tool_result");
        let mut attached = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            if block.kind() == "tool_result" {
                self.close(Role::User, None);
                attached.extend(self.tool_result(block, index, block.tool_use_id)?);
            } else {
                self.part(block, index)?;
            }
            if Some(index) == last_result {
                self.parts.append(&mut attached);
                self.close(Role::User, None);
            }
        }
        self.close(Role::User, None);
        Ok(())
    }

    fn part(&mut self, block: &Block<'a>, index: usize) -> Result<(), ApiError> {
        let mut parts = std::mem::take(&mut self.parts);
        let origin = Origin { message: self.index, block: index, nested: None };
        let written = self.with_part_writer(|writer| writer.push(block, origin, &mut parts));
        self.parts = parts;
        written
    }

    fn with_part_writer<T>(
        &mut self,
        act: impl FnOnce(&mut PartWriter<'_, 'a>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut references = Vec::new();
        let mut writer =
            PartWriter { context: self.context, names: self.names, dropped: self.dropped, references: &mut references };
        let result = act(&mut writer);
        self.late_tools.extend(references.into_iter().map(LateTool::Referenced));
        result
    }

    /// Writes the output and gives back the images that must follow it.
    fn tool_result(
        &mut self,
        block: &Block<'a>,
        index: usize,
        call: Option<&'a RawValue>,
    ) -> Result<Vec<Part<'a>>, ApiError> {
        let call = call.and_then(JsonText::of).ok_or_else(|| self.missing(&format!("content.{index}.tool_use_id")))?;
        let origin = Origin { message: self.index, block: index, nested: None };
        let result = self.with_part_writer(|writer| results::translate(block, origin, writer))?;
        self.items.push(Item::FunctionCallOutput { call_id: call_id(call), output: result.output });
        Ok(result.attached)
    }

    // --- system in the middle (Q-M5) ---

    fn system(&mut self, blocks: &[Block<'a>]) {
        let mut texts = Vec::with_capacity(blocks.len());
        for block in blocks {
            match &*block.kind() {
                "text" => texts.extend(block.text.and_then(JsonText::of).filter(|text| !text.is_empty())),
                "tool_addition" => {
                    self.late_tools.extend(added_tool(block).map(|tool| LateTool::Added(Box::new(tool))));
                }
                "tool_removal" => {}
                other => self.dropped.note(kind_of(other)),
            }
        }
        self.mid_system(texts.into_iter().map(|text| Cow::Borrowed(text.raw())).collect());
    }

    fn mid_system(&mut self, texts: Vec<Text<'a>>) {
        if texts.is_empty() {
            return;
        }
        let role = match self.context.profile.mid_system {
            MidSystem::Developer => Role::Developer,
            MidSystem::System => Role::System,
            MidSystem::Reminder => Role::User,
        };
        self.parts = match self.context.profile.mid_system {
            MidSystem::Developer | MidSystem::System => {
                texts.into_iter().map(|text| Part::InputText { text }).collect()
            }
            MidSystem::Reminder => vec![Part::InputText { text: reminder(&texts) }],
        };
        self.close(role, None);
    }

    // --- assistant ---

    fn assistant(&mut self, blocks: &[Block<'a>]) -> Result<(), ApiError> {
        let last_call = blocks.iter().rposition(is_call);
        let mut replays: Vec<(usize, Replay<'a>)> = Vec::new();
        let mut stated_phase = None;
        for (index, block) in blocks.iter().enumerate() {
            let phase =
                stated_phase.or_else(|| self.phase(last_call.is_some(), last_call.is_some_and(|call| call >= index)));
            match &*block.kind() {
                "text" => self.assistant_text(block),
                "thinking" | "redacted_thinking" => {
                    self.close_assistant(phase);
                    stated_phase = None;
                    if let Some(replay) = reasoning::replay(block, self.context, self.in_tool_loop) {
                        stated_phase = replay.phase.filter(|_| self.context.model.phase);
                        self.items.push(replay.item.clone());
                        replays.push((self.items.len() - 1, replay));
                    }
                }
                "tool_use" => {
                    self.close_assistant(phase);
                    stated_phase = None;
                    self.call(block, index)?;
                }
                "mcp_tool_use" if answer_of(block, blocks).is_some() => {
                    self.close_assistant(phase);
                    stated_phase = None;
                    self.call(block, index)?;
                }
                "mcp_tool_result" if call_of(block, blocks) => {
                    self.close_assistant(phase);
                    let attached = self.tool_result(block, index, block.tool_use_id)?;
                    self.parts = attached;
                    self.close(Role::User, None);
                }
                "compaction" => {
                    self.close_assistant(phase);
                    self.compaction(block);
                }
                other => self.foreign(other, block, blocks),
            }
        }
        let phase = stated_phase.or_else(|| self.phase(last_call.is_some(), false));
        self.close_assistant(phase);
        reasoning::restore_order(&mut self.items, &replays);
        Ok(())
    }

    /// The phase that a text's place tells: before a call it is commentary, without any call it is the answer (Q-M8).
    fn phase(&self, has_call: bool, call_follows: bool) -> Option<Phase> {
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

    /// Closes the assistant's message; a custom upstream gets all its texts as one part (Q-M2).
    fn close_assistant(&mut self, phase: Option<Phase>) {
        if self.context.profile.is_custom() && self.parts.len() > 1 {
            let texts: Vec<Text<'a>> = self.parts.drain(..).filter_map(text_of).collect();
            self.parts.push(Part::OutputText { text: join(&texts, "\n\n") });
        }
        self.close(Role::Assistant, phase);
    }

    fn call(&mut self, block: &Block<'a>, index: usize) -> Result<(), ApiError> {
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
                self.dropped.note(kind_of(kind));
                self.parts.push(Part::OutputText { text: quote(&format!("[{kind} left out]")) });
            }
            _ => self.dropped.note(kind_of(kind)),
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

/// A call's id as it goes upstream, for the call and its output alike (Q-M33).
fn call_id<'a>(id: JsonText<'a>) -> Cow<'a, str> {
    match id.decode() {
        Cow::Borrowed(id) => call_ids::sanitise(id),
        Cow::Owned(id) => Cow::Owned(call_ids::sanitise(&id).into_owned()),
    }
}

fn same_text(one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    one.is_some() && one.map(RawValue::get) == other.map(RawValue::get)
}

fn answer_of<'b, 'a>(call: &Block<'a>, blocks: &'b [Block<'a>]) -> Option<&'b Block<'a>> {
    blocks.iter().find(|block| block.kind() == "mcp_tool_result" && same_text(block.tool_use_id, call.id))
}

fn call_of(answer: &Block<'_>, blocks: &[Block<'_>]) -> bool {
    blocks.iter().any(|block| block.kind() == "mcp_tool_use" && same_text(block.id, answer.tool_use_id))
}

/// One text of several, as a reminder inside a user message.
fn reminder<'a>(texts: &[Text<'a>]) -> Text<'a> {
    let joined = join(texts, "\n\n");
    if inside(&joined).starts_with("<system-reminder>") {
        return joined;
    }
    let mut text = TextWriter::with_capacity(joined.get().len() + 48);
    text.plain("<system-reminder>\n").escaped(inside(&joined)).plain("\n</system-reminder>");
    text.finish()
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
    quote(if input.get().starts_with('{') { input.get() } else { EMPTY })
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
