//! The rows of WIRE.md §3.2, first match first, and what each of them answers.

use super::reading::{Reading, ceiling};
use super::{Answer, Attachment, Class, ErrorContext, Quota};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::{ApiError, ErrorKind};
use crate::providers::utc;

/// The longest pause that a rate limit may ask of `claude`, seconds: above 60 it gives up at once.
const LONGEST_RATE_LIMIT_PAUSE: u64 = 60;

/// How many known model ids a hint names.
const HINTED_MODELS: usize = 3;

/// What a failed reply is, in the order of the table. Overflows are looked at before ([`super::overflow`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// The replayed reasoning was not accepted (Q-R7).
    Reasoning,
    /// An image was not accepted; `blind`: the model takes none at all.
    Image {
        blind: bool,
    },
    Document,
    /// A system message in the middle of the conversation (Q-M5).
    SystemRole,
    Credential,
    Cloudflare,
    Permission,
    Model,
    /// A 404 that is not about a model: nothing answers at that path.
    Path,
    UsageLimit,
    Credit,
    RateLimit,
    Overloaded,
    Policy,
    /// A 5xx whose text says that asking again is no use.
    Permanent,
    Redirect,
    TooLarge,
    Timeout,
    Invalid,
    Server,
}

impl Row {
    pub fn of(reading: &Reading, context: &ErrorContext<'_>) -> Self {
        let tests: [(Row, bool); 18] = [
            (Row::Reasoning, is_reasoning(reading)),
            (Row::Image { blind: true }, reading.says_any(&BLIND_PHRASES)),
            (Row::Image { blind: false }, is_image(reading)),
            (Row::Document, is_document(reading)),
            (Row::SystemRole, context.system_in_middle && is_system_role(reading)),
            // Its code counts at any status, so it stands before what a status alone decides.
            (Row::UsageLimit, is_usage_limit(reading)),
            (Row::Credential, is_credential(reading)),
            (Row::Cloudflare, is_cloudflare(reading)),
            (Row::Permission, is_permission(reading)),
            (Row::Path, is_path(reading, context)),
            (Row::Model, is_model(reading)),
            (Row::Credit, is_credit(reading)),
            (Row::RateLimit, is_rate_limit(reading)),
            (Row::Overloaded, is_overloaded(reading)),
            (Row::Policy, reading.has_any_code(&POLICY_CODES)),
            (Row::Permanent, is_permanent(reading)),
            (Row::Redirect, reading.status.is_some_and(|status| (300..400).contains(&status))),
            (Row::Timeout, reading.is_status(&[408, 504]) || reading.has_code("timeout_error")),
        ];
        tests.into_iter().find_map(|(row, holds)| holds.then_some(row)).unwrap_or_else(|| Self::of_status(reading))
    }

    /// What is left is told by the status alone; a failure inside a stream without one is the server's.
    fn of_status(reading: &Reading) -> Self {
        let bad_request = reading.has_any_code(&["invalid_request_error", "invalid_request", "bad_request"]);
        match reading.status {
            Some(413) => Row::TooLarge,
            // A conflict and "too early" may pass when asked again.
            Some(409 | 425) => Row::Server,
            Some(400..500) => Row::Invalid,
            None | Some(0..300) if bad_request => Row::Invalid,
            Some(_) | None => Row::Server,
        }
    }

    /// For the class of an answer without a code.
    pub fn name(self) -> &'static str {
        match self {
            Row::Reasoning => "invalid_encrypted_content",
            Row::Image { .. } => "invalid_image",
            Row::Document => "invalid_document",
            Row::SystemRole => "system_role_refused",
            Row::Credential => "invalid_credential",
            Row::Cloudflare => "blocked_by_cloudflare",
            Row::Permission => "permission_denied",
            Row::Model => "model_not_found",
            Row::Path => "path_not_found",
            Row::UsageLimit => "usage_limit_reached",
            Row::Credit => "credit_exhausted",
            Row::RateLimit => "rate_limited",
            Row::Overloaded => "overloaded",
            Row::Policy => "refused_by_policy",
            Row::Permanent => "server_unusable",
            Row::Redirect => "redirected",
            Row::TooLarge => "request_too_large",
            Row::Timeout => "timed_out",
            Row::Invalid => "invalid_request",
            Row::Server => "server_error",
        }
    }

    pub fn answer(self, reading: &Reading, context: &ErrorContext<'_>) -> Answer {
        Answer { error: self.error(reading, context), class: self.class(reading, context) }
    }

    fn class(self, reading: &Reading, context: &ErrorContext<'_>) -> Class {
        let quota = match self {
            Row::UsageLimit => Some(Quota { resets_at: resets_at(reading, context) }),
            Row::Credit => Some(Quota { resets_at: None }),
            _ => None,
        };
        Class { quota, ..reading.class(self.name()) }
    }

    fn error(self, reading: &Reading, context: &ErrorContext<'_>) -> ApiError {
        let words = &reading.message;
        match self {
            Row::Reasoning => {
                // Any place will do: `claude` strips all its thinking blocks and sends the rest at once.
                let message = context.replayed_reasoning.unwrap_or(1);
                ApiError::invalid(format!("messages.{message}.content.0: Invalid `signature` in `thinking` block"))
            }
            Row::Image { .. } => ApiError::invalid(attachment_message(Attachment::Image, reading, context)),
            Row::Document => ApiError::invalid(attachment_message(Attachment::Document, reading, context)),
            // `claude` matches these words, folds its system messages into the user's, and asks again.
            Row::SystemRole => ApiError::invalid(format!("role 'system' is not supported: {words}")),
            Row::Credential => {
                ApiError::new(401, ErrorKind::Authentication, credential_message(reading, context)).final_answer()
            }
            Row::Cloudflare => {
                let message = format!("{} is blocked by Cloudflare: {words}", context.base_url);
                ApiError::new(502, ErrorKind::Api, message).final_answer()
            }
            Row::Permission => ApiError::new(403, ErrorKind::Permission, words).final_answer(),
            Row::Model => ApiError::new(404, ErrorKind::NotFound, model_message(reading, context)).final_answer(),
            Row::Path => {
                let message = format!("no /responses at {}: check base_url", context.base_url);
                ApiError::new(404, ErrorKind::NotFound, message).final_answer()
            }
            Row::UsageLimit => usage_limit_error(reading, context),
            Row::Credit => ApiError::new(402, ErrorKind::Billing, words).final_answer(),
            Row::RateLimit => {
                let pause = reading.retry_after.or_else(|| pause_in_words(&reading.lower));
                let retry_after = pause.map(|seconds| seconds.min(LONGEST_RATE_LIMIT_PAUSE));
                ApiError { retry_after, ..ApiError::new(429, ErrorKind::RateLimit, words) }
            }
            Row::Overloaded => ApiError {
                should_retry: Some(true),
                retry_after: reading.retry_after.map(|seconds| seconds.min(LONGEST_RATE_LIMIT_PAUSE)),
                ..ApiError::new(529, ErrorKind::Overloaded, words)
            },
            Row::Policy | Row::Permanent | Row::Invalid => ApiError::invalid(words),
            Row::Redirect => ApiError::new(502, ErrorKind::Api, redirect_message(reading, context)).final_answer(),
            Row::TooLarge => ApiError::new(413, ErrorKind::RequestTooLarge, words).final_answer(),
            Row::Timeout => ApiError::new(504, ErrorKind::Api, words),
            Row::Server => ApiError::new(server_status(reading), ErrorKind::Api, words),
        }
    }
}

const BLIND_PHRASES: [&str; 4] =
    ["image input is not supported", "mmproj", "not a multimodal model", "does not support image"];

const POLICY_CODES: [&str; 5] =
    ["cyber_policy", "bio_policy", "invalid_prompt", "content_policy_violation", "content_filter"];

fn is_reasoning(reading: &Reading) -> bool {
    let unverified = reading.says("encrypted content") && reading.says("could not be verified");
    // vLLM takes no encrypted reasoning at all. OpenAI says the same of a model, but about `include`, which is Q0.5's.
    let unsupported = reading.says("encrypted content is not supported") && reading.params.is_empty();
    reading.has_code("invalid_encrypted_content")
        || unverified
        || unsupported
        || reading.says("was provided without its required")
}

fn is_image(reading: &Reading) -> bool {
    let code = reading.has_code_prefix("invalid_image")
        || reading.has_code_prefix("image_")
        || reading.has_any_code(&["unsupported_image_media_type", "empty_image_file", "failed_to_download_image"]);
    code || (reading.says("invalid 'input[") && reading.says("image_url")) || has_param_at(reading, "image_url")
}

fn is_document(reading: &Reading) -> bool {
    let named = reading.says("pdf") || reading.says("input_file") || reading.says("file_data");
    let refused = reading.says_any(&[
        "invalid",
        "not valid",
        "could not",
        "unable",
        "corrupt",
        "failed",
        "password",
        "encrypted",
        "too many pages",
        "unsupported",
        "not supported",
    ]);
    let client_fault = reading.status.is_none_or(|status| matches!(status, 200 | 400 | 413 | 415 | 422));
    reading.has_any_code(&["invalid_file", "invalid_pdf", "unsupported_file", "invalid_file_data"])
        || has_param_at(reading, "file_data")
        || (client_fault && named && refused)
}

const SYSTEM_ROLE_NAMES: [&str; 11] = [
    "system message",
    "developer message",
    "system role",
    "developer role",
    "role 'system'",
    "role 'developer'",
    "role: system",
    "role: developer",
    "message role",
    "role must be",
    "only user and assistant roles",
];

const REFUSALS: [&str; 8] =
    ["not supported", "unsupported", "not allowed", "unexpected", "invalid", "unknown", "must be", "only user and"];

/// A server, or its model's chat template, that takes developer or system messages at the beginning only or not at all.
fn is_system_role(reading: &Reading) -> bool {
    let client_fault = reading.status.is_none_or(|status| matches!(status, 200 | 400 | 422 | 500));
    // A text may quote the whole request, so its words count only where no place is named.
    let in_words = || reading.params.is_empty() && reading.says_any(&SYSTEM_ROLE_NAMES) && reading.says_any(&REFUSALS);
    client_fault && (has_param_at(reading, ".role") || in_words())
}

/// Whether a param such as `input[3].content[1].image_url` ends in `field`.
fn has_param_at(reading: &Reading, field: &str) -> bool {
    reading.params.iter().any(|param| param.contains("input") && param.ends_with(field))
}

fn is_credential(reading: &Reading) -> bool {
    let codes = ["invalid_api_key", "token_expired", "token_invalidated", "no_db_connection", "authentication_error"];
    reading.is_status(&[401]) || reading.has_any_code(&codes) || reading.says("token expired")
}

fn is_cloudflare(reading: &Reading) -> bool {
    let page = reading.is_status(&[403]) && (reading.html || reading.says("just a moment"));
    reading.cloudflare || page
}

fn is_permission(reading: &Reading) -> bool {
    let codes = [
        "usage_not_included",
        "unsupported_country",
        "unsupported_country_region_territory",
        "ip_not_authorized",
        "deactivated_workspace",
        "invalid_workspace_selected",
    ];
    reading.has_any_code(&codes) || reading.is_status(&[403])
}

fn is_model_wording(reading: &Reading) -> bool {
    reading.has_code("model_not_found")
        || reading.says_any(&[
            "model is not supported when using codex",
            "invalid model name",
            "server is pinned to",
            "model not found",
        ])
}

fn is_model(reading: &Reading) -> bool {
    reading.is_status(&[404]) || is_model_wording(reading)
}

/// Also a 405: something answers there, but not to us.
fn is_path(reading: &Reading, context: &ErrorContext<'_>) -> bool {
    let about_model =
        is_model_wording(reading) || reading.says("model") || reading.says(&context.model.as_str().to_lowercase());
    reading.is_status(&[405]) || (reading.is_status(&[404]) && !about_model)
}

fn is_usage_limit(reading: &Reading) -> bool {
    ["usage_limit", "credits_depleted", "spend_limit", "spending_limit"]
        .iter()
        .any(|part| reading.has_code_containing(part))
}

fn is_credit(reading: &Reading) -> bool {
    let codes = ["insufficient_quota", "credit_balance_exhausted", "insufficient_credits", "billing_error"];
    reading.has_any_code(&codes)
        || reading.has_code_prefix("billing_")
        || reading.is_status(&[402])
        || reading.says("insufficient_quota")
}

fn is_rate_limit(reading: &Reading) -> bool {
    reading.is_status(&[429])
        || reading.has_any_code(&["rate_limit_exceeded", "rate_limit_error", "slow_down", "too_many_requests"])
}

fn is_overloaded(reading: &Reading) -> bool {
    let codes = ["server_is_overloaded", "service_unavailable_error", "overloaded_error"];
    reading.is_status(&[503, 529]) || reading.has_any_code(&codes) || reading.says("model is at capacity")
}

fn is_permanent(reading: &Reading) -> bool {
    let refused = reading.status.is_some_and(|status| (300..500).contains(&status));
    !refused && reading.says_any(&["model not loaded", "failed to load model", "model is not loaded"])
}

/// 500 stays 500, any other failure of a server is a bad gateway.
fn server_status(reading: &Reading) -> u16 {
    let in_stream = reading.status.is_none_or(|status| status < 300);
    let own = reading.is_status(&[500]) || (in_stream && reading.has_code("server_error"));
    if own && !reading.html && !reading.empty { 500 } else { 502 }
}

/// `claude` finds the block by its path, strips it and sends the rest again.
fn attachment_message(kind: Attachment, reading: &Reading, context: &ErrorContext<'_>) -> String {
    let place = place_in_input(reading);
    let path = (context.attachment_path)(kind, place).or_else(|| (context.attachment_path)(kind, None));
    let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
    let words = &reading.message;
    match kind {
        Attachment::Image => format!("{path}Could not process image: {words}"),
        Attachment::Document => format!("{path}The PDF specified was not valid: {words}"),
    }
}

/// `input[3].content[1]`, `input[3].output[1]` or `input.3.content.1`, in the param or in the text.
fn place_in_input(reading: &Reading) -> Option<(usize, usize)> {
    reading.params.iter().chain([&reading.lower]).find_map(|text| {
        text.match_indices("input").find_map(|(start, word)| {
            let (item, rest) = index_at(&text[start + word.len()..])?;
            let part =
                ["content", "output"].iter().find_map(|list| index_at(rest.strip_prefix('.')?.strip_prefix(list)?));
            Some((item, part.map_or(0, |(part, _)| part)))
        })
    })
}

/// The index that `text` begins with, `[3]` or `.3`, and what follows.
fn index_at(text: &str) -> Option<(usize, &str)> {
    let digits = text.strip_prefix(['[', '.'])?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let index = digits[..end].parse().ok()?;
    Some((index, digits[end..].trim_start_matches(']')))
}

/// `claude` prints "run /login" about a 401, so the text must say whose credential it is.
fn credential_message(reading: &Reading, context: &ErrorContext<'_>) -> String {
    let ErrorContext { backend, base_url, login, .. } = context;
    let words = reading.message.trim_end_matches('.');
    format!("{base_url} refused the credential of backend {backend}: {words}. Not claude's own login: {login}")
}

fn model_message(reading: &Reading, context: &ErrorContext<'_>) -> String {
    let nearest = nearest_models(context.model.as_str(), context.known_models.iter().map(|entry| entry.id.as_str()));
    let hint = match nearest.is_empty() {
        true => String::new(),
        false => format!(" (nearest known ids: {})", nearest.join(", ")),
    };
    format!("model: {}: {}{hint}", context.model, reading.message)
}

/// The known ids that are most like `model`, nearest first; `model` itself is none of them.
pub fn nearest_models<'a>(model: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut known: Vec<_> = known.filter(|id| *id != model).map(|id| (distance(model, id), id)).collect();
    known.sort();
    known.into_iter().take(HINTED_MODELS).map(|(_, id)| id).collect()
}

/// Levenshtein's distance in bytes, of at most 64 bytes of each: enough to order model ids by likeness.
fn distance(one: &str, other: &str) -> usize {
    let one = &one.as_bytes()[..one.len().min(64)];
    let other = &other.as_bytes()[..other.len().min(64)];
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, byte) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn usage_limit_error(reading: &Reading, context: &ErrorContext<'_>) -> ApiError {
    let resets_at = resets_at(reading, context);
    let reset = resets_at.map(|at| format!("; resets {}", utc::minute(at))).unwrap_or_default();
    let plan = reading.plan.as_deref().map(|plan| format!(" ({plan})")).unwrap_or_default();
    // Only ChatGPT names plans, whoever passes its answer on.
    let of_chatgpt = reading.plan.is_some() || context.profile == ProfileKind::Codex;
    let what = if of_chatgpt { "ChatGPT plan limit reached" } else { &reading.message };
    let message = format!("{what}{plan}{reset}");
    ApiError {
        retry_after: resets_at.map(|at| at - context.now_unix).or(reading.retry_after),
        ..ApiError::new(429, ErrorKind::RateLimit, message).final_answer()
    }
}

/// Unix seconds in the future: `resets_at` if it is, else now and `resets_in_seconds`.
fn resets_at(reading: &Reading, context: &ErrorContext<'_>) -> Option<u64> {
    let relative =
        || reading.resets_in.filter(|seconds| *seconds > 0).map(|seconds| context.now_unix.saturating_add(seconds));
    reading.resets_at.filter(|at| *at > context.now_unix).or_else(relative)
}

/// "try again in 11.05s", "… 20ms", "… 3 seconds", "… 1m30s": seconds, rounded up.
fn pause_in_words(lower: &str) -> Option<u64> {
    let (_, words) = lower.split_once("try again in ")?;
    let (first, rest) = quantity(words)?;
    let more = quantity(rest.trim_start()).map_or(0.0, |(seconds, _)| seconds);
    ceiling(first + more)
}

/// The seconds that `text` begins with, and what follows them.
fn quantity(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim_start();
    let length = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
    let factor = match &unit[..length] {
        "ms" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        _ => return None,
    };
    Some((number * factor, &unit[length..]))
}

fn redirect_message(reading: &Reading, context: &ErrorContext<'_>) -> String {
    let status = reading.status.unwrap_or(302);
    let target = reading.location.as_deref().unwrap_or("an unnamed place");
    format!("{} answered HTTP {status} to {target}; redirects are not followed: check base_url", context.base_url)
}
