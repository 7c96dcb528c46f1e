//! How hard the model shall think (WIRE.md §1.4b).

use super::RequestContext;
use super::tools::Tools;
use crate::providers::anthropic::wire::{MessagesRequest, OutputConfig, Thinking, loose};
use crate::providers::json_text::decoded;
use crate::providers::openai::models::Effort;
use crate::providers::translate::Parameter;

/// What `reasoning` shall say. Neither: it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thought {
    pub effort: Option<Effort>,
    pub summary: bool,
}

/// What the client asked for, in words of our own.
enum Wish {
    /// As little as the model can.
    Lowest,
    Level(Effort),
    /// At most this many tokens.
    Budget(u64),
    /// The model's own default.
    Default,
}

/// Chooses effort and summary. An effort that the upstream has refused by name leaves `reasoning` out (Q0.5).
pub(super) fn choose(request: &MessagesRequest<'_>, context: &RequestContext<'_>, tools: &Tools<'_>) -> Thought {
    let accepted = &context.model.efforts;
    if accepted.is_empty() || !context.profile.reasoning || !context.sends(Parameter::Reasoning) {
        return Thought::default();
    }
    let thinking = request.thinking();
    let own_turn = context.agent_id.is_some() && tools.has_functions;
    let effort = match wish(thinking.as_ref(), &request.output_config(), own_turn) {
        Wish::Lowest => accepted.first().copied(),
        Wish::Level(effort) => nearest(effort, accepted),
        Wish::Budget(tokens) => nearest(level(tokens, accepted), accepted),
        Wish::Default => None,
    };
    let effort = effort.map(|effort| raised_for_search(effort, tools, accepted));
    if effort.is_some_and(|effort| context.omit.efforts.contains(&effort)) {
        return Thought::default();
    }
    let summary =
        thinking.is_some_and(|thinking| is_shown(&thinking)) && context.model.summary && !context.omit.summary;
    Thought { effort, summary }
}

/// Q-E1 to Q-E3. A request without `thinking` is a side request whatever effort it names, unless it is a subagent's
/// own turn.
fn wish(thinking: Option<&Thinking<'_>>, config: &OutputConfig<'_>, own_turn: bool) -> Wish {
    let stated = || Effort::of(&decoded(config.effort)).map_or(Wish::Default, Wish::Level);
    let Some(thinking) = thinking else {
        return if own_turn { stated() } else { Wish::Lowest };
    };
    match (&*decoded(thinking.kind), loose(thinking.budget_tokens)) {
        ("disabled", _) => Wish::Lowest,
        ("enabled", Some(tokens)) => Wish::Budget(tokens),
        _ => stated(),
    }
}

/// Q-E3.
fn level(budget_tokens: u64, accepted: &[Effort]) -> Effort {
    if budget_tokens < 512 && accepted.contains(&Effort::Minimal) {
        return Effort::Minimal;
    }
    match budget_tokens {
        ..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        8193..=24576 => Effort::High,
        _ => Effort::XHigh,
    }
}

/// The accepted level that is nearest, the lower one of two (Q-E4).
fn nearest(wanted: Effort, accepted: &[Effort]) -> Option<Effort> {
    let rank = |effort: Effort| effort as u8;
    accepted.iter().copied().min_by_key(|effort| (rank(*effort).abs_diff(rank(wanted)), rank(*effort)))
}

/// Web search does not work with minimal effort (Q-E5).
fn raised_for_search(effort: Effort, tools: &Tools<'_>, accepted: &[Effort]) -> Effort {
    if effort == Effort::Minimal && tools.has_web_search && accepted.contains(&Effort::Low) {
        Effort::Low
    } else {
        effort
    }
}

/// Whether the person sees the thinking (Q-E6).
fn is_shown(thinking: &Thinking<'_>) -> bool {
    decoded(thinking.kind) != "disabled" && decoded(thinking.display) != "omitted"
}
