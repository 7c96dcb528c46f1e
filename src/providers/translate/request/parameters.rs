//! Everything of a request that is neither content nor a tool (WIRE.md §1.4).

use super::RequestContext;
use super::effort::Thought;
use super::schema::strict_eligible;
use super::tools::Tools;
use crate::providers::anthropic::wire::{Members, MessagesRequest, OutputFormat, loose};
use crate::providers::digest::{sha256_hex, sha256_uuid};
use crate::providers::json_text::{JsonText, decoded};
use crate::providers::openai::models::{Effort, Sampling};
use crate::providers::openai::wire::request::{Format, Reasoning, ResponsesRequest, StreamOptions, TextOptions};
use crate::providers::profile::{ProfileKind, Store};
use crate::providers::translate::{ApiError, Dropped, Parameter};

/// Tokens. OpenAI refuses less.
const SMALLEST_OUTPUT: u64 = 16;
/// Tokens. A reasoning model given less would answer with reasoning alone (Q-P2).
const SMALLEST_REASONING_OUTPUT: u64 = 1024;

/// Refuses what would be lost silently (Q-P13).
///
/// # Errors
/// 400 that names `mcp_servers`.
pub(super) fn refuse_untranslatable(request: &MessagesRequest<'_>) -> Result<(), ApiError> {
    match request.has_mcp_servers() {
        true => Err(ApiError::invalid("mcp_servers: MCP servers are not supported by this backend")),
        false => Ok(()),
    }
}

/// The body's parameters, in a body that lacks content, tools and cache key.
pub(super) fn translate<'a>(
    request: &MessagesRequest<'a>,
    context: &RequestContext<'_>,
    thought: &Thought,
    tools: &Tools<'_>,
    dropped: &mut Dropped,
) -> ResponsesRequest<'a> {
    let kind = context.profile.kind;
    let sends = |parameter: Parameter| context.sends(parameter);
    let openai_only = |parameter: Parameter| kind == ProfileKind::OpenAi && sends(parameter);
    if request.has_top_k() {
        dropped.note("top_k");
    }
    let samples = may_sample(context, thought);
    let sampling = [("temperature", request.temperature()), ("top_p", request.top_p())];
    for (name, _) in sampling.iter().filter(|(_, value)| value.is_some() && !samples) {
        dropped.note(*name);
    }
    let reasons = thought.effort.is_some() || thought.summary;
    ResponsesRequest {
        model: "",
        instructions: None,
        input: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        reasoning: reasons.then(|| Reasoning {
            effort: thought.effort,
            summary: thought.summary.then_some("auto"),
            context: None,
        }),
        text: text_options(request, context, dropped).filter(|_| sends(Parameter::Text)),
        include: if sends(Parameter::Include) { include(context, tools) } else { Vec::new() },
        store: (context.profile.store == Store::False && sends(Parameter::Store)).then_some(false),
        stream: true,
        max_output_tokens: max_output_tokens(request, context).filter(|_| sends(Parameter::MaxOutputTokens)),
        temperature: request.temperature().filter(|_| samples && sends(Parameter::Temperature)),
        top_p: request.top_p().filter(|_| samples && sends(Parameter::TopP)),
        prompt_cache_key: None,
        safety_identifier: safety_identifier(request).filter(|_| openai_only(Parameter::SafetyIdentifier)),
        service_tier: service_tier(request, context).filter(|_| sends(Parameter::ServiceTier)),
        stream_options: openai_only(Parameter::StreamOptions).then_some(StreamOptions { include_obfuscation: false }),
        max_tool_calls: tools.max_searches.filter(|_| openai_only(Parameter::MaxToolCalls)),
    }
}

/// Q-P3.
fn may_sample(context: &RequestContext<'_>, thought: &Thought) -> bool {
    match context.model.sampling {
        Sampling::Always => true,
        Sampling::WithEffortNone => thought.effort == Some(Effort::None),
        Sampling::Never => false,
    }
}

/// Q-P2. Tokens.
fn max_output_tokens(request: &MessagesRequest<'_>, context: &RequestContext<'_>) -> Option<u64> {
    let asked = request.max_tokens()?;
    match context.profile.kind {
        ProfileKind::Codex => None,
        ProfileKind::Custom => {
            let room = context.model.context_window.map_or(u64::MAX, |window| window.saturating_sub(1).max(1));
            Some(asked.min(room))
        }
        ProfileKind::OpenAi => {
            let floor = if context.model.reasons { SMALLEST_REASONING_OUTPUT } else { SMALLEST_OUTPUT };
            Some(asked.max(floor).min(context.model.max_output.unwrap_or(u64::MAX)))
        }
    }
}

/// Q-P15, and the sources of searches (Q-T9).
fn include(context: &RequestContext<'_>, tools: &Tools<'_>) -> Vec<&'static str> {
    let mut include = Vec::new();
    if context.model.reasons && context.profile.encrypted_reasoning {
        include.push("reasoning.encrypted_content");
    }
    if tools.has_web_search && context.profile.kind == ProfileKind::OpenAi {
        include.push("web_search_call.action.sources");
    }
    include
}

/// Structured output (Q-P12).
fn text_options<'a>(
    request: &MessagesRequest<'a>,
    context: &RequestContext<'_>,
    dropped: &mut Dropped,
) -> Option<TextOptions<'a>> {
    let raw = request.output_config().format.or(request.output_format())?;
    let format: OutputFormat<'a> = loose(Some(raw)).unwrap_or_default();
    let kind = decoded(format.kind);
    let members: Option<Members<'a>> = loose(format.schema);
    let (Some(schema), Some(members), "json_schema") = (format.schema, members, &*kind) else {
        dropped.note("output_format");
        return None;
    };
    let strict = context.profile.strict.then(|| strict_eligible(&members));
    Some(TextOptions { format: Format::JsonSchema { name: "structured_output", schema, strict } })
}

/// Q-P10, Q-P11.
fn service_tier(request: &MessagesRequest<'_>, context: &RequestContext<'_>) -> Option<&'static str> {
    let fast = request.speed().as_deref() == Some("fast");
    let standard = request.service_tier().as_deref() == Some("standard_only");
    match context.profile.kind {
        ProfileKind::OpenAi if fast => Some("priority"),
        ProfileKind::OpenAi if standard => Some("default"),
        ProfileKind::Codex if fast && context.model.fast_tier => Some("priority"),
        ProfileKind::OpenAi | ProfileKind::Codex | ProfileKind::Custom => None,
    }
}

/// One key per conversation and agent, so that the upstream finds its prefix again (Q-P8).
pub(super) fn cache_key(request: &MessagesRequest<'_>, context: &RequestContext<'_>) -> Option<String> {
    let user = request.user_id().map(|id| UserId::read(&id)).unwrap_or_default();
    let stated = context.session_id.filter(|id| !id.is_empty());
    let session = stated.map(str::to_owned).or(user.session)?;
    let agent = context.agent_id.unwrap_or("main");
    Some(sha256_uuid(&[context.scope, context.model.id.as_str(), &session, agent]))
}

/// Never the id itself (Q-P9).
fn safety_identifier(request: &MessagesRequest<'_>) -> Option<String> {
    let device = UserId::read(&request.user_id()?).device?;
    Some(sha256_hex(&[&device]))
}

/// What `metadata.user_id` says: JSON from `claude`, or the older `user_…_session_…` (Q-P7).
#[derive(Default)]
struct UserId {
    device: Option<String>,
    session: Option<String>,
}

impl UserId {
    fn read(user_id: &str) -> Self {
        if let Ok(members) = serde_json::from_str::<Members<'_>>(user_id) {
            let text = |key: &str| {
                let text = JsonText::of(members.get(key)?)?.decode().into_owned();
                (!text.is_empty()).then_some(text)
            };
            return Self { device: text("device_id"), session: text("session_id") };
        }
        let (user, session) = match user_id.rsplit_once("_session_") {
            Some((user, session)) => (user, Some(session)),
            None => (user_id, None),
        };
        let device = user.split_once("_account_").map_or(user, |(device, _)| device);
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self { device: filled(device), session: session.and_then(filled) }
    }
}
