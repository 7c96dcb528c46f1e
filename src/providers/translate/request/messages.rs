//! Messages become input items, in order (WIRE.md §1.2).
//!
//! Text, image and file blocks of one message gather in one `message` item; anything else closes it first, so what came
//! before a call stays before it. Messages are never merged (Q-M6).

use std::borrow::Cow;

use super::assistant::AssistantTurn;
use super::names::{Names, added_tool};
use super::parts::{PartWriter, noted};
use super::{RequestContext, is_prompt, results, role};
use crate::providers::anthropic::wire::{Block, Content, Message, MessagesRequest, Tool};
use crate::providers::json_text::{JsonText, TextWriter, inside, join};
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
pub(super) struct MessageWriter<'w, 'a> {
    pub context: &'w RequestContext<'w>,
    pub names: &'w Names,
    pub dropped: &'w mut Dropped,
    late_tools: &'w mut Vec<LateTool<'a>>,
    /// Index of the message, from 0.
    index: usize,
    /// After the last real user message: plain reasoning is replayed here alone (Q-R4).
    pub in_tool_loop: bool,
    pub items: Vec<Item<'a>>,
    /// Of the message item that is being gathered.
    pub parts: Vec<Part<'a>>,
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
            "assistant" => self.assistant(AssistantTurn::of(blocks)),
            "system" => {
                self.system(blocks);
                Ok(())
            }
            _ => self.user(blocks),
        }
    }

    pub(super) fn missing(&self, path: &str) -> ApiError {
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
                self.close(Role::Assistant, self.phase(false, false));
            }
            _ if empty => {}
            "system" => self.mid_system(vec![text.clone()]),
            _ => {
                self.parts.push(Part::InputText { text: text.clone() });
                self.close(Role::User, None);
            }
        }
    }

    pub(super) fn close(&mut self, role: Role, phase: Option<Phase>) {
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
                attached.extend(self.tool_result(block, index)?);
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
    pub(super) fn tool_result(&mut self, block: &Block<'a>, index: usize) -> Result<Vec<Part<'a>>, ApiError> {
        let call = block.tool_use_id.and_then(JsonText::of);
        let call = call.ok_or_else(|| self.missing(&format!("content.{index}.tool_use_id")))?;
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
                other => self.dropped.note(noted("block", other)),
            }
        }
        self.mid_system(texts.into_iter().map(|text| Cow::Borrowed(text.raw())).collect());
    }

    pub(super) fn mid_system(&mut self, texts: Vec<Text<'a>>) {
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
}

/// A call's id as it goes upstream, for the call and its output alike (Q-M33).
pub(super) fn call_id<'a>(id: JsonText<'a>) -> Cow<'a, str> {
    match id.decode() {
        Cow::Borrowed(id) => call_ids::sanitise(id),
        Cow::Owned(id) => Cow::Owned(call_ids::sanitise(&id).into_owned()),
    }
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
