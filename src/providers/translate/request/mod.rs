//! Messages request to Responses body (WIRE.md §1).
//!
//! The rooms in the order in which a request passes them: [`names`] makes tool names legal, [`system`] becomes
//! `instructions`, [`messages`] become input items ([`assistant`] turns apart; content by [`parts`], tool results by [`results`],
//! thinking by [`reasoning`]), [`pairing`] sees to it that every call has its output, [`tools`] and [`schema`] declare
//! functions, [`effort`] and [`parameters`] fill in the rest, and [`lite`] gives
//! the body the shape of the Codex backend's other lane. Pure: the same request and context give the same bytes.

mod assistant;
mod effort;
mod lite;
mod messages;
mod names;
mod pairing;
mod parameters;
mod parts;
mod reasoning;
mod results;
mod schema;
mod system;
mod tools;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::providers::anthropic::wire::{Content, Message, MessagesRequest};
use crate::providers::json_text::{decoded, mend_surrogates};
use crate::providers::openai::models::{Effort, ModelFacts};
use crate::providers::openai::wire::request::{CountRequest, Item, Origin, Output, Part, ResponsesRequest, Role};
use crate::providers::profile::{Profile, ProfileKind};
use crate::providers::translate::{ApiError, Dropped, Omissions, Parameter, ReplyContext};

/// What a translation reads besides the request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    pub profile: &'a Profile,
    /// Of reasoning envelopes: [`scope`](crate::providers::openai::models::scope).
    pub scope: &'a str,
    /// Of the model that the request goes to; its `id` is the upstream's.
    pub model: &'a ModelFacts,
    /// The header `X-Claude-Code-Session-Id`.
    pub session_id: Option<&'a str>,
    /// The header `X-Claude-Code-Agent-Id`: the request is a subagent's own.
    pub agent_id: Option<&'a str>,
    pub omit: &'a Omissions,
}

impl RequestContext<'_> {
    fn sends(&self, parameter: Parameter) -> bool {
        !self.omit.parameters.contains(&parameter)
    }
}

/// A request as it goes upstream, and what must be remembered of it.
#[derive(Clone)]
pub struct Translated {
    /// The JSON of the Responses body.
    pub body: Vec<u8>,
    pub reply: ReplyContext,
    /// `prompt_cache_key`, in the shape of a UUID; Codex wants it in headers too (Q-P8). Absent without a session id.
    pub cache_key: Option<String>,
    /// Where the images and files of the body came from, in the body's order.
    pub images: Vec<ImagePlace>,
    pub dropped: Dropped,
    /// `reasoning.effort` as sent, to remember a refused one (Q0.5).
    pub effort: Option<Effort>,
    /// `reasoning.summary` was sent (Q-E6).
    pub summary: bool,
    /// A system message stands in the middle of the conversation as one (Q-M5).
    pub system_in_middle: bool,
    /// The first message whose reasoning is replayed: the N of Q-R7's last answer. Absent: nothing is replayed.
    pub replayed_reasoning: Option<usize>,
}

/// Without the body: prompts do not belong in logs.
impl fmt::Debug for Translated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, reply, cache_key, images, dropped, effort, summary, system_in_middle, replayed_reasoning } =
            self;
        f.debug_struct("Translated")
            .field("body_bytes", &body.len())
            .field("reply", reply)
            .field("cache_key", cache_key)
            .field("images", images)
            .field("dropped", dropped)
            .field("effort", effort)
            .field("summary", summary)
            .field("system_in_middle", system_in_middle)
            .field("replayed_reasoning", replayed_reasoning)
            .finish()
    }
}

/// An image or a file in the translated body, and the client's block it was made of (WIRE.md §3.2, image row).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlace {
    /// Index into `input`.
    pub item: usize,
    /// Index into that item's `content` or `output`.
    pub part: usize,
    pub kind: MediaKind,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Document,
}

impl ImagePlace {
    /// `messages.i.content.j.image` (or `….document`): with it `claude` strips that very block and goes on.
    pub fn path(&self) -> String {
        let kind = match self.kind {
            MediaKind::Image => "image",
            MediaKind::Document => "document",
        };
        format!("{}.{kind}", self.origin.path())
    }
}

/// Translates a request.
///
/// # Errors
/// 400 `invalid_request_error` with a path where a request asks for what cannot be translated: an unknown role, a file
/// id, MCP servers, a forced tool that the upstream cannot have, or no content at all.
pub fn translate(request: &MessagesRequest<'_>, context: &RequestContext<'_>) -> Result<Translated, ApiError> {
    let cache_key = parameters::cache_key(request, context);
    let mut draft = draft(request, context)?;
    draft.body.prompt_cache_key = cache_key.as_deref().filter(|_| context.sends(Parameter::PromptCacheKey));
    let body = write(&draft.body, request.size())?;
    let input = &draft.body.input;
    let reply = ReplyContext {
        profile: context.profile.kind,
        requested_model: request.model().into_owned(),
        upstream_model: context.model.id.clone(),
        tool_names: draft.names.into_tool_names(),
        stop_sequences: request.stop_sequences(),
        max_output_tokens: draft.body.max_output_tokens,
        input_estimate: (body.len().saturating_sub(opaque_bytes(input)) / 4) as u64,
        scope: context.scope.to_owned(),
    };
    let replays = input.iter().any(|item| matches!(item, Item::Reasoning { .. }));
    let reasoning = draft.body.reasoning.as_ref();
    Ok(Translated {
        body,
        reply,
        images: image_places(input),
        dropped: draft.dropped,
        effort: reasoning.and_then(|reasoning| reasoning.effort),
        summary: reasoning.is_some_and(|reasoning| reasoning.summary.is_some()),
        system_in_middle: draft.system_in_middle,
        replayed_reasoning: draft.replayed_reasoning.filter(|_| replays),
        cache_key,
    })
}

/// The body of `POST /responses/input_tokens` for a request: of the translated body what that endpoint knows
/// (WIRE.md §4).
///
/// # Errors
/// As [`translate`].
pub fn translate_for_count(request: &MessagesRequest<'_>, context: &RequestContext<'_>) -> Result<Vec<u8>, ApiError> {
    let full = draft(request, context)?.body;
    let ResponsesRequest {
        model, instructions, input, tools, tool_choice, parallel_tool_calls, reasoning, text, ..
    } = full;
    let counted = CountRequest { model, instructions, input, tools, tool_choice, parallel_tool_calls, reasoning, text };
    write(&counted, request.size())
}

/// A body that lacks nothing but its cache key, and what was learned on the way.
struct Draft<'a> {
    body: ResponsesRequest<'a>,
    names: names::Names,
    dropped: Dropped,
    system_in_middle: bool,
    replayed_reasoning: Option<usize>,
}

/// Everything that makes the body comes together here; another lane (another shape of the same content) starts here.
fn draft<'a>(request: &MessagesRequest<'a>, context: &RequestContext<'a>) -> Result<Draft<'a>, ApiError> {
    parameters::refuse_untranslatable(request)?;
    let mut dropped = Dropped::default();
    let names = names::Names::of(request);
    let conversation = messages::translate(request, context, &names, &mut dropped)?;
    let input = reasoning::drop_orphans(pairing::pair(conversation.items));
    if input.is_empty() {
        return Err(ApiError::invalid("messages: at least one message with content is required"));
    }
    let is_system = |item: &Item<'_>| matches!(item, Item::Message { role: Role::Developer | Role::System, .. });
    let system_in_middle = input.iter().any(is_system);
    let tools = tools::translate(request, context, &names, &conversation.late_tools, &mut dropped)?;
    let thought = effort::choose(request, context, &tools);
    let parameters = parameters::translate(request, context, &thought, &tools, &mut dropped);
    let mut body = ResponsesRequest {
        model: context.model.id.as_str(),
        instructions: system::translate(request, context, &tools.blocked_domains),
        input,
        tool_choice: tools.choice.filter(|_| context.sends(Parameter::ToolChoice)),
        parallel_tool_calls: tools.parallel.filter(|_| context.sends(Parameter::ParallelToolCalls)),
        tools: tools.declared,
        ..parameters
    };
    if context.profile.kind == ProfileKind::Codex && context.omit.full_lane {
        lite::reshape(&mut body, &mut dropped);
    }
    Ok(Draft { body, names, dropped, system_in_middle, replayed_reasoning: conversation.replayed_reasoning })
}

/// The answer to a conversation that repeats broken tool calls for ever (DESIGN.md §6): the last five assistant turns
/// since the person last said something hold no other calls than ones that `claude` could not parse.
pub fn endless_loop(request: &MessagesRequest<'_>) -> Option<ApiError> {
    const TURNS: usize = 5;
    let since_prompt = request.messages().iter().rev().take_while(|message| !is_prompt(message));
    let turns: Vec<_> = since_prompt.filter(|message| role(message) == "assistant").take(TURNS).collect();
    if turns.len() < TURNS || !turns.into_iter().all(holds_only_broken_calls) {
        return None;
    }
    Some(ApiError::invalid(format!(
        "the model's last {TURNS} tool calls could not be parsed as JSON: stopped here, as the same request would go on for ever"
    )))
}

fn holds_only_broken_calls(message: &Message<'_>) -> bool {
    let Some(Content::Blocks(blocks)) = &message.content else { return false };
    let mut calls = blocks.iter().filter(|block| block.kind() == "tool_use").peekable();
    calls.peek().is_some()
        && calls.all(|call| call.input.is_some_and(|input| assistant::unparsed_input(input).is_some()))
}

/// A message's role, decoded; empty if it has none.
fn role<'a>(message: &Message<'a>) -> Cow<'a, str> {
    decoded(message.role)
}

/// A real user message: one that answers no tool call.
fn is_prompt(message: &Message<'_>) -> bool {
    let answers = match &message.content {
        Some(Content::Blocks(blocks)) => blocks.iter().any(|block| block.kind() == "tool_result"),
        Some(Content::Text(_)) | None => false,
    };
    role(message) == "user" && !answers
}

/// Bytes. Allocators map larger bodies page by page: what was never written costs no memory there, and giving it back
/// makes the next body fault its pages in anew (measured: 0.4 ms with 1 MB).
const LARGEST_SHRUNK_BODY: usize = 128 * 1024;

fn write(body: &impl Serialize, request_size: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(request_size + request_size / 4 + 1024);
    serde_json::to_writer(&mut bytes, body)
        .map_err(|error| ApiError::invalid(format!("the request cannot be written as JSON: {error}")))?;
    mend_surrogates(&mut bytes);
    // It may be kept for as long as the answer streams.
    if bytes.len() < LARGEST_SHRUNK_BODY {
        bytes.shrink_to_fit();
    }
    Ok(bytes)
}

/// An item's parts, wherever it keeps them.
fn parts<'i, 'a>(item: &'i Item<'a>) -> &'i [Part<'a>] {
    match item {
        Item::Message { content, .. } => content,
        Item::FunctionCallOutput { output: Output::Parts(parts), .. } => parts,
        Item::FunctionCallOutput { output: Output::Text(_), .. }
        | Item::FunctionCall { .. }
        | Item::Reasoning { .. }
        | Item::AdditionalTools { .. } => &[],
    }
}

fn image_places(input: &[Item<'_>]) -> Vec<ImagePlace> {
    let all = input.iter().enumerate();
    all.flat_map(|(item, entry)| parts(entry).iter().enumerate().map(move |(part, content)| (item, part, content)))
        .filter_map(|(item, part, content)| match content {
            Part::InputImage { origin, .. } => Some(ImagePlace { item, part, kind: MediaKind::Image, origin: *origin }),
            Part::InputFile { origin, .. } => {
                Some(ImagePlace { item, part, kind: MediaKind::Document, origin: *origin })
            }
            Part::InputText { .. } | Part::OutputText { .. } => None,
        })
        .collect()
}

/// Bytes that are no text: images, files, encrypted reasoning. They do not count in an estimate of bytes / 4.
fn opaque_bytes(input: &[Item<'_>]) -> usize {
    let media = input.iter().flat_map(|item| parts(item)).map(|part| match part {
        Part::InputImage { image_url, .. } => image_url.get().len(),
        Part::InputFile { file_data, .. } => file_data.as_ref().map_or(0, |data| data.get().len()),
        Part::InputText { .. } | Part::OutputText { .. } => 0,
    });
    let sealed = input.iter().map(|item| match item {
        Item::Reasoning { encrypted_content, .. } => encrypted_content.as_ref().map_or(0, |content| content.len()),
        Item::Message { .. }
        | Item::FunctionCall { .. }
        | Item::FunctionCallOutput { .. }
        | Item::AdditionalTools { .. } => 0,
    });
    media.sum::<usize>() + sealed.sum::<usize>()
}
