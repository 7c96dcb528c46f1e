//! Why a message ended, in Anthropic's words (WIRE.md §2.6).

use crate::providers::anthropic::events::StopReason;
use crate::providers::openai::wire::events::{Response, Status};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::ReplyContext;

/// What the translation saw of the output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub text: bool,
    pub refusal: bool,
    pub tool_use: bool,
}

/// The first row of the table that holds. A stop sequence, its first row, ends the message before this is asked.
///
/// `incomplete` is what the event's name says; status and details in the response say more (V).
pub(super) fn stop_reason(incomplete: bool, response: &Response<'_>, seen: Seen, context: &ReplyContext) -> StopReason {
    let reason = response.incomplete_reason();
    let incomplete = incomplete || response.status() == Status::Incomplete || reason.is_some();
    let reason = reason.unwrap_or_default();
    if (incomplete && reason == "content_filter") || (seen.refusal && !seen.text && !seen.tool_use) {
        StopReason::Refusal
    } else if incomplete && reason.contains("context") {
        StopReason::ContextWindowExceeded
    } else if incomplete || cut_in_silence(response, context) {
        StopReason::MaxTokens
    } else if seen.tool_use {
        StopReason::ToolUse
    } else {
        StopReason::EndTurn
    }
}

/// L and T end a cut answer as completed; only the count shows it.
fn cut_in_silence(response: &Response<'_>, context: &ReplyContext) -> bool {
    let sent = context.max_output_tokens.filter(|_| context.profile == ProfileKind::Custom);
    let used = response.usage().map(|usage| usage.output);
    sent.zip(used).is_some_and(|(sent, used)| used >= sent)
}
