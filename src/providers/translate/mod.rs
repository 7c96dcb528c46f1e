//! The translation between the Messages API and the Responses API: pure and total, its rooms named after WIRE.md.
//!
//! [`request`] turns a Messages request into a Responses body and a [`ReplyContext`]; [`response`] turns the bytes of
//! the answer into Anthropic events with that context; [`errors`] judges what went wrong; [`count`] tells how long a body is; [`envelope`] seals reasoning
//! for its way through `claude` and [`call_ids`] names calls. This page holds what more than one of them must know.

pub mod call_ids;
pub mod count;
pub mod envelope;
pub mod errors;
pub mod request;
pub mod response;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ModelId;
use crate::providers::openai::models::Effort;
use crate::providers::profile::ProfileKind;

/// What the response side must know about the request that it answers. Owned, so that the client's body can be freed.
#[derive(Clone, Debug)]
pub struct ReplyContext {
    pub profile: ProfileKind,
    /// The request's `model`, echoed byte for byte (DESIGN.md §6): otherwise `claude` drops its thinking blocks.
    pub requested_model: String,
    pub upstream_model: ModelId,
    pub tool_names: ToolNames,
    /// Enforced by us (WIRE.md §2.9), since the Responses API has none.
    pub stop_sequences: Vec<String>,
    /// As sent upstream; absent where the profile forbids it.
    pub max_output_tokens: Option<u64>,
    /// Tokens, text bytes / 4 (R-U3): for `message_start`, and for the end where the upstream reports no usage.
    pub input_estimate: u64,
    /// Twelve hex digits that name (profile, origin, account): the scope of reasoning envelopes (Q-R1).
    pub scope: String,
}

/// The names that had to be changed for the upstream (Q-T7), looked up when a call comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolNames {
    changed: BTreeMap<String, String>,
}

impl ToolNames {
    /// Remembers that the client's `name` goes upstream as `sent`.
    pub fn insert(&mut self, sent: String, name: String) {
        self.changed.insert(sent, name);
    }

    /// The client's name of a tool that the upstream calls `sent`.
    pub fn restore<'a>(&'a self, sent: &'a str) -> &'a str {
        self.changed.get(sent).map_or(sent, String::as_str)
    }
}

/// A top-level key of our body that an upstream may refuse and that we can leave out (Q0.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    MaxOutputTokens,
    Temperature,
    TopP,
    ToolChoice,
    ParallelToolCalls,
    Reasoning,
    Text,
    Store,
    Include,
    PromptCacheKey,
    SafetyIdentifier,
    ServiceTier,
    StreamOptions,
    MaxToolCalls,
}

impl Parameter {
    pub const ALL: [Parameter; 14] = [
        Parameter::MaxOutputTokens,
        Parameter::Temperature,
        Parameter::TopP,
        Parameter::ToolChoice,
        Parameter::ParallelToolCalls,
        Parameter::Reasoning,
        Parameter::Text,
        Parameter::Store,
        Parameter::Include,
        Parameter::PromptCacheKey,
        Parameter::SafetyIdentifier,
        Parameter::ServiceTier,
        Parameter::StreamOptions,
        Parameter::MaxToolCalls,
    ];

    /// The key as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Parameter::MaxOutputTokens => "max_output_tokens",
            Parameter::Temperature => "temperature",
            Parameter::TopP => "top_p",
            Parameter::ToolChoice => "tool_choice",
            Parameter::ParallelToolCalls => "parallel_tool_calls",
            Parameter::Reasoning => "reasoning",
            Parameter::Text => "text",
            Parameter::Store => "store",
            Parameter::Include => "include",
            Parameter::PromptCacheKey => "prompt_cache_key",
            Parameter::SafetyIdentifier => "safety_identifier",
            Parameter::ServiceTier => "service_tier",
            Parameter::StreamOptions => "stream_options",
            Parameter::MaxToolCalls => "max_tool_calls",
        }
    }
}

/// What an upstream has refused and we leave out from then on: remembered per (backend, origin, model), but for
/// `reasoning_items`, which holds for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omissions {
    pub parameters: BTreeSet<Parameter>,
    /// Efforts that were refused by name; other efforts are still sent.
    pub efforts: BTreeSet<Effort>,
    /// `reasoning.summary` (Q-E6).
    pub summary: bool,
    /// The full lane of the Codex backend: the request takes the lite one (CODEX.md §1.4).
    pub full_lane: bool,
    /// Images become a sentence (WIRE.md §3.2, image row).
    pub images: bool,
    /// Replayed reasoning items (Q-R7). For the one request only.
    pub reasoning_items: bool,
}

/// Anthropic's error types: the only names that may stand in an error we send (R-X4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidRequest,
    Authentication,
    Billing,
    Permission,
    NotFound,
    RequestTooLarge,
    RateLimit,
    Api,
    Overloaded,
}

impl ErrorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request_error",
            ErrorKind::Authentication => "authentication_error",
            ErrorKind::Billing => "billing_error",
            ErrorKind::Permission => "permission_error",
            ErrorKind::NotFound => "not_found_error",
            ErrorKind::RequestTooLarge => "request_too_large",
            ErrorKind::RateLimit => "rate_limit_error",
            ErrorKind::Api => "api_error",
            ErrorKind::Overloaded => "overloaded_error",
        }
    }
}

/// An error as `claude` gets it: WIRE.md §3. Rendered in one place each: `http/gateway` before the head is sent,
/// the stream translator after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub kind: ErrorKind,
    pub message: String,
    /// The `x-should-retry` header; absent: left to the client.
    pub should_retry: Option<bool>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: u16, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), should_retry: None, retry_after: None }
    }

    /// A 400 `invalid_request_error` that the client need not send again.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, ErrorKind::InvalidRequest, message).final_answer()
    }

    /// Sets `x-should-retry: false`.
    #[must_use]
    pub fn final_answer(self) -> Self {
        Self { should_retry: Some(false), ..self }
    }
}

/// What a translation could not carry over, for `dropped` in `request.finished`: a kind (`top_k`, `image.file`),
/// never content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(BTreeSet<String>);

impl Dropped {
    pub fn note(&mut self, kind: impl Into<String>) {
        self.0.insert(kind.into());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
