//! What went wrong upstream, in words that `claude` acts upon: WIRE.md §3.
//!
//! [`judge`] reads one failed reply, whatever its shape, and either answers it or asks for the request to be sent once
//! more without the part that was refused. It decides only: the caller sends, counts and remembers. Looking for words
//! in an upstream's text happens in this folder and nowhere else.

pub mod mask;
pub mod transport;

mod overflow;
mod reading;
mod repair;
mod rows;
#[cfg(test)]
mod tests;

use crate::ids::{BackendId, ModelId};
use crate::providers::openai::models::{Effort, ModelEntry};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::{ApiError, ErrorKind, Omissions, Parameter};

pub use mask::mask;
pub use repair::sent_parameters;
pub use rows::nearest_models;
pub use transport::{StreamFault, TransportFault, stream_error, transport_error};

use overflow::Overflow;
use reading::Reading;
use rows::Row;

/// A reply that is no answer: an HTTP status that is not 2xx, or a failure inside a stream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamReply<'a> {
    /// The HTTP status; absent for a failure inside a stream.
    pub status: Option<u16>,
    /// The HTTP body, or the data of the event that failed.
    pub body: &'a [u8],
    /// The `retry-after` header.
    pub retry_after: Option<&'a str>,
    /// The `location` header.
    pub location: Option<&'a str>,
    /// The reply has a `cf-mitigated` header.
    pub cloudflare: bool,
}

impl<'a> UpstreamReply<'a> {
    pub fn of_status(status: u16, body: &'a [u8]) -> Self {
        Self { status: Some(status), body, retry_after: None, location: None, cloudflare: false }
    }

    /// A failure inside a stream: `response.failed`, an `error` event, or a bare error body under a 200.
    pub fn in_stream(body: &'a [u8]) -> Self {
        Self { status: None, body, retry_after: None, location: None, cloudflare: false }
    }
}

/// A kind of block that an upstream may refuse one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    Image,
    Document,
}

/// Where a part of our `input` came from: `(index in input, index of the part)`, or nothing for the last attachment of
/// that kind in the request, gives the path of the client's block, such as `messages.3.content.1.image`.
pub type AttachmentPath<'a> = dyn Fn(Attachment, Option<(usize, usize)>) -> Option<String> + 'a;

/// What the judge must know about the request that failed.
#[derive(Clone, Copy)]
pub struct ErrorContext<'a> {
    pub profile: ProfileKind,
    pub backend: &'a BackendId,
    pub base_url: &'a str,
    pub model: &'a ModelId,
    /// Tokens, as the profile or the model list has it.
    pub context_window: Option<u64>,
    /// Tokens: the local count, or the estimate where there is none.
    pub input_tokens: u64,
    /// Tokens, as sent.
    pub max_output_tokens: Option<u64>,
    /// `reasoning.effort`, as sent.
    pub effort: Option<Effort>,
    /// `reasoning.summary` was sent.
    pub summary: bool,
    /// The conversation held a system message that went up as one (Q-M5).
    pub system_in_middle: bool,
    /// The first message whose reasoning was replayed when the request was first translated; absent: none was.
    pub replayed_reasoning: Option<usize>,
    /// What had been left out of this request already.
    pub omit: &'a Omissions,
    /// The keys of this request's body that may be left out ([`sent_parameters`]); what is not in it was not sent.
    pub body_keys: &'a [Parameter],
    /// How often this request was sent again because of a refused parameter (Q0.5).
    pub parameter_retries: u8,
    pub attachment_path: &'a AttachmentPath<'a>,
    /// For the hint at the nearest ids.
    pub known_models: &'a [ModelEntry],
    /// Unix seconds.
    pub now_unix: u64,
    /// What to run or check after a 401, as a sentence: "run `claudette login codex-subscription`".
    pub login: &'a str,
    /// The credential and the local token of the request: masked before anything else.
    pub secrets: &'a [&'a str],
}

/// What to do about a failed reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Answer(Answer),
    /// Send the request again, at once, without this.
    Retry(Repair),
}

/// The error to answer with, and what the service itself should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub error: ApiError,
    pub class: Class,
}

/// A failure for logs and for the choice of another backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The upstream's own code or type where it gave one, else the name of our row; at most 64 characters.
    pub code: String,
    /// Quota or credit is used up: another backend may be asked (DESIGN.md §5, `fallback`).
    pub quota: Option<Quota>,
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Unix seconds, always in the future; absent: not told.
    pub resets_at: Option<u64>,
}

/// What to leave out of the one more attempt. All but the reasoning items are worth remembering (Q0.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Q-R7.
    WithoutReasoningItems,
    /// Q-E6.
    WithoutSummary,
    /// The image row of WIRE.md §3.2.
    WithoutImages,
    /// The Codex backend refuses the model on its full lane (CODEX.md §1.4).
    OnLiteLane,
    /// Q0.5.
    WithoutParameters(Vec<Parameter>),
    /// Q0.5: `reasoning` was refused while it named this effort.
    WithoutEffort(Effort),
}

impl Repair {
    /// Adds to `omissions` what this repair leaves out.
    pub fn apply(&self, omissions: &mut Omissions) {
        match self {
            Repair::WithoutReasoningItems => omissions.reasoning_items = true,
            Repair::WithoutSummary => omissions.summary = true,
            Repair::WithoutImages => omissions.images = true,
            Repair::OnLiteLane => omissions.full_lane = true,
            Repair::WithoutParameters(parameters) => omissions.parameters.extend(parameters),
            Repair::WithoutEffort(effort) => {
                omissions.efforts.insert(*effort);
            }
        }
    }

    /// Whether it counts against the three retries of Q0.5 ([`ErrorContext::parameter_retries`]).
    pub fn is_of_parameters(&self) -> bool {
        match self {
            Repair::WithoutParameters(_) | Repair::WithoutEffort(_) => true,
            Repair::WithoutReasoningItems | Repair::WithoutSummary | Repair::WithoutImages | Repair::OnLiteLane => {
                false
            }
        }
    }
}

/// Judges a failed reply by the table of WIRE.md §3.2, the first match winning. Total: any bytes get a verdict.
pub fn judge(reply: &UpstreamReply<'_>, context: &ErrorContext<'_>) -> Verdict {
    let reading = Reading::of(reply, context.secrets);
    if let Some(overflow) = Overflow::of(&reading, context) {
        return Verdict::Answer(Answer { error: overflow.error(), class: reading.class(overflow.name()) });
    }
    let row = Row::of(&reading, context);
    match repair::of(row, &reading, context) {
        Some(repair) => Verdict::Retry(repair),
        None => Verdict::Answer(row.answer(&reading, context)),
    }
}

/// Whether the reply says that the input is larger than the window, so that [`judge`] wants to know its true size in
/// [`ErrorContext::input_tokens`] (WIRE.md §3.3).
pub fn is_overflow(reply: &UpstreamReply<'_>, context: &ErrorContext<'_>) -> bool {
    let overflow = Overflow::of(&Reading::of(reply, context.secrets), context);
    matches!(overflow, Some(Overflow::Input { .. }))
}

/// For a bug of ours: a handler that panicked, a state that cannot be.
pub fn internal_error() -> ApiError {
    ApiError::new(500, ErrorKind::Api, "the gateway failed; its log says how").final_answer()
}

/// For a request body above the gateway's own bound. No word of a context window: it would make `claude` compact.
pub fn body_too_large(limit_bytes: u64) -> ApiError {
    let message = format!("the request body is larger than {} MiB", limit_bytes >> 20);
    ApiError::new(413, ErrorKind::RequestTooLarge, message).final_answer()
}
