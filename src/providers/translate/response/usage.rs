//! What a response cost, counted as Anthropic counts it (WIRE.md §2.8).

use crate::providers::anthropic::events::Usage;
use crate::providers::openai::wire::events::ReportedUsage;

/// Tokens, from what the upstream reported; without a report from the request's estimate and the bytes of the answer.
pub(super) fn usage(reported: Option<&ReportedUsage>, input_estimate: u64, answer_bytes: u64) -> Usage {
    let Some(reported) = reported else {
        return Usage { input_tokens: input_estimate, output_tokens: answer_bytes / 4, ..Usage::default() };
    };
    // R-U3: the client keeps a start estimate that the end does not overwrite with more than zero.
    let least_input = u64::from(input_estimate > 0);
    let cached = reported.cached.min(reported.input);
    let written = reported.cache_write.min(reported.input - cached);
    Usage {
        input_tokens: (reported.input - cached - written).max(least_input),
        cache_creation_input_tokens: written,
        cache_read_input_tokens: cached,
        output_tokens: reported.output,
        thinking_tokens: reported.reasoning,
        ..Usage::default()
    }
}
