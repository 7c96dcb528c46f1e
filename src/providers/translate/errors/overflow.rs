//! A request that does not fit: the two wordings that make `claude` compact or lower its cap (WIRE.md §3.2 and §3.3).
//!
//! Numbers come from the upstream's own text wherever it gives them, since they decide how much `claude` cuts.

use super::ErrorContext;
use super::reading::Reading;
use crate::providers::translate::{ApiError, ErrorKind, Parameter};

/// Texts that say that the input does not fit.
const PHRASES: [&str; 8] = [
    "context window",
    "context size",
    "context length",
    "maximum context",
    "too many tokens",
    "prompt is too long",
    "tokens to keep",
    "input is too long",
];

const CODES: [&str; 3] = ["context_length_exceeded", "context_too_large", "exceed_context_size_error"];

/// The names that upstreams have for the cap on the output.
const CAP_NAMES: [&str; 5] =
    ["max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "in the completion"];

/// Which of the two does not fit. All numbers are tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The input alone is larger than the window.
    Input { input: u64, limit: u64 },
    /// The input fits, but not together with the cap on the output.
    Cap { input: u64, cap: u64, limit: u64 },
}

impl Overflow {
    pub fn of(reading: &Reading, context: &ErrorContext<'_>) -> Option<Self> {
        Self::of_cap(reading, context).or_else(|| {
            let fits = !says_overflow(reading) || is_rate_limit(reading) || is_about_the_cap_alone(reading, context);
            (!fits).then(|| Self::of_input(reading, context))
        })
    }

    /// For the class of an answer without a code.
    pub fn name(self) -> &'static str {
        match self {
            Overflow::Input { .. } => "context_overflow",
            Overflow::Cap { .. } => "max_tokens_overflow",
        }
    }

    /// The wordings that `claude` matches, digits without separators.
    pub fn error(self) -> ApiError {
        match self {
            Overflow::Input { input, limit } => {
                ApiError::invalid(format!("prompt is too long: {input} tokens > {limit} maximum"))
            }
            Overflow::Cap { input, cap, limit } => ApiError::new(
                400,
                ErrorKind::InvalidRequest,
                format!(
                    "input length and `max_tokens` exceed context limit: {input} + {cap} > {limit}, decrease input \
                     length or `max_tokens` and try again"
                ),
            ),
        }
    }

    /// The row that is looked at first: a text with both numbers, the input being smaller than the limit.
    fn of_cap(reading: &Reading, context: &ErrorContext<'_>) -> Option<Self> {
        let text = &reading.lower;
        if let Some((input, cap, limit)) = sum_above_limit(text) {
            return (input < limit).then_some(Self::Cap { input, cap, limit });
        }
        let input = first_number(text, &INPUTS_BESIDE_A_CAP)?;
        let limit = stated_limit(reading)?;
        let cap = first_number(text, &CAPS)
            .or_else(|| names_cap(text).then_some(context.max_output_tokens).flatten())
            .filter(|cap| input.saturating_add(*cap) > limit)?;
        (input < limit).then_some(Self::Cap { input, cap, limit })
    }

    /// N and L of WIRE.md §3.3.
    fn of_input(reading: &Reading, context: &ErrorContext<'_>) -> Self {
        let counted = stated_input(reading).unwrap_or(0).max(context.input_tokens).max(1);
        match stated_limit(reading).or(context.context_window).filter(|limit| *limit > 0) {
            Some(limit) if counted > limit => Self::Input { input: counted, limit },
            Some(limit) => Self::Input { input: limit.saturating_add(limit.div_ceil(10)), limit },
            None => Self::Input { input: counted, limit: counted - counted.div_ceil(20) },
        }
    }
}

fn says_overflow(reading: &Reading) -> bool {
    let too_long_input = reading.has_code("string_above_max_length")
        && reading.params.iter().any(|param| param.trim_start_matches("body.").starts_with("input"));
    reading.has_any_code(&CODES) || too_long_input || reading.says_any(&PHRASES)
}

/// "Too many tokens per minute" is a matter of waiting.
fn is_rate_limit(reading: &Reading) -> bool {
    reading.has_code("rate_limit_exceeded")
        || (reading.is_status(&[429]) && reading.says_any(&["per min", "per day", "rate limit", "please wait"]))
}

/// A text that finds fault with a cap as large as the window and says nothing of the input: compacting would not help,
/// leaving the cap out does (Q0.5).
fn is_about_the_cap_alone(reading: &Reading, context: &ErrorContext<'_>) -> bool {
    let cap_is_too_large = context
        .max_output_tokens
        .is_some_and(|cap| stated_limit(reading).is_some_and(|limit| cap >= limit && context.input_tokens < limit));
    context.body_keys.contains(&Parameter::MaxOutputTokens)
        && names_cap(&reading.lower)
        && stated_input(reading).is_none()
        && !reading.lower.contains("at least")
        && cap_is_too_large
}

fn names_cap(text: &str) -> bool {
    CAP_NAMES.iter().any(|name| text.contains(name))
}

/// The words before and after a number.
type Pattern = (&'static str, &'static str);

/// The upstream's own count of the input. Not "at least N", which is a bound, nor a number of characters.
const INPUTS: [Pattern; 9] = [
    ("requested ", " tokens"),
    ("resulted in ", " tokens"),
    ("request (", " tokens"),
    ("contains ", " input tokens"),
    ("has ", " input tokens"),
    ("passed ", " input tokens"),
    ("n_prompt_tokens", ""),
    ("n_keep", ""),
    ("prompt is too long: ", " tokens"),
];

/// The input where the text counts the cap apart from it.
const INPUTS_BESIDE_A_CAP: [Pattern; 6] = [
    ("(", " in the messages"),
    ("(", " in your prompt"),
    ("contains ", " input tokens"),
    ("has ", " input tokens"),
    ("passed ", " input tokens"),
    ("given: ", " `inputs` tokens"),
];

const CAPS: [Pattern; 8] = [
    ("messages, ", " in the completion"),
    ("messages, ", " in completion"),
    ("prompt; ", " for the completion"),
    ("requested ", " output tokens"),
    ("max_output_tokens", ""),
    ("max_completion_tokens' is too large", ""),
    ("max_tokens", ""),
    ("tokens and ", " `max_new_tokens`"),
];

const LIMITS: [Pattern; 11] = [
    ("context length is only ", ""),
    ("context length is ", ""),
    ("context length of only ", ""),
    ("context length of ", ""),
    ("context size (", " tokens"),
    ("context size is ", ""),
    ("context size of ", ""),
    ("context window of ", ""),
    ("context window is ", ""),
    ("n_ctx", ""),
    ("max_model_len", ""),
];

fn stated_input(reading: &Reading) -> Option<u64> {
    reading.prompt_tokens.max(INPUTS.iter().filter_map(|pattern| number_at(&reading.lower, *pattern)).max())
}

fn stated_limit(reading: &Reading) -> Option<u64> {
    let anthropic =
        || reading.lower.contains("prompt is too long").then(|| number_at(&reading.lower, ("tokens > ", ""))).flatten();
    reading.context_size.or_else(|| first_number(&reading.lower, &LIMITS)).or_else(anthropic).filter(|limit| *limit > 0)
}

/// Anthropic's own wording, which gateways behind us may pass on: `exceed context limit: I + M > L`.
fn sum_above_limit(text: &str) -> Option<(u64, u64, u64)> {
    let (_, sum) = text.split_once("exceed context limit: ")?;
    let (input, sum) = leading_number(sum)?;
    let (cap, sum) = leading_number(sum.strip_prefix(" + ")?)?;
    let (limit, _) = leading_number(sum.strip_prefix(" > ")?)?;
    Some((input, cap, limit))
}

fn first_number(text: &str, patterns: &[Pattern]) -> Option<u64> {
    patterns.iter().find_map(|pattern| number_at(text, *pattern))
}

/// The first number in `text` that stands between the words of `pattern`. Before it `: = > '` and quotes may stand.
fn number_at(text: &str, (before, after): Pattern) -> Option<u64> {
    text.match_indices(before).find_map(|(start, _)| {
        let rest = &text[start + before.len()..];
        let rest = rest.trim_start_matches([' ', ':', '=', '>', '\'', '"', '`']);
        let (number, rest) = leading_number(rest)?;
        rest.starts_with(after).then_some(number)
    })
}

/// The digits that `text` begins with, separators dropped, and what follows them.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let bytes = text.as_bytes();
    let is_separator =
        |at: usize| matches!(bytes.get(at), Some(b',' | b'_')) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    let end = (0..bytes.len()).find(|at| !bytes[*at].is_ascii_digit() && !is_separator(*at)).unwrap_or(bytes.len());
    let digits: String = text[..end].chars().filter(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, &text[end..]))
}
