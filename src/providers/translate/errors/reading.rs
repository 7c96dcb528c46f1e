//! One failed reply, read: code, type, message and numbers out of every shape that upstreams use (WIRE.md §3.1).
//!
//! Shapes: `{"error":{…}}`, `{"error":"text"}`, `{"detail":"text" | [{loc, msg}] | {code, message}}`, `{"message":…}`,
//! `{"response":{"error":{…}}}`, the same after `data: `, HTML, plain text, nothing. A field of an unexpected type
//! is skipped and never makes the rest unreadable.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::mask::mask;
use super::{Class, UpstreamReply};

/// Longest text taken from a body that is no JSON, in characters (WIRE.md §3.1).
const LONGEST_PLAIN_TEXT: usize = 512;

/// Longest message taken from JSON, in characters: some servers print the whole request.
const LONGEST_MESSAGE: usize = 2_000;

/// How much of a message is looked through for words, in characters: what follows may be the request, quoted.
const LOOKED_THROUGH: usize = 1_000;

/// Longest code, in characters: it goes into log fields.
const LONGEST_CODE: usize = 64;

/// What a failed reply says. All texts are masked.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The status that counts: the HTTP one, or the one inside the body where that tells more.
    pub status: Option<u16>,
    /// Codes and types, most telling first, as the upstream spells them.
    pub codes: Vec<String>,
    /// The upstream's own words; never empty.
    pub message: String,
    /// The beginning of `message` in lower case, for looking up words.
    pub lower: String,
    /// `error.param` and `detail[].loc`, dotted.
    pub params: Vec<String>,
    pub plan: Option<String>,
    /// Unix seconds.
    pub resets_at: Option<u64>,
    /// Seconds.
    pub resets_in: Option<u64>,
    /// `retry-after`, in whole seconds.
    pub retry_after: Option<u64>,
    /// llama.cpp's own numbers of an overflow, tokens.
    pub prompt_tokens: Option<u64>,
    pub context_size: Option<u64>,
    pub location: Option<String>,
    pub html: bool,
    pub empty: bool,
    pub cloudflare: bool,
}

impl Reading {
    pub fn of(reply: &UpstreamReply<'_>, secrets: &[&str]) -> Self {
        let text = String::from_utf8_lossy(reply.body);
        let text = without_event_framing(text.trim());
        let mut reading = Self { status: reply.status, cloudflare: reply.cloudflare, ..Self::default() };
        let (mut message, plain) = match serde_json::from_str::<Loose>(text) {
            Ok(body) => (reading.absorb(body), false),
            Err(_) => (Some(reading.absorb_text(text)), true),
        };
        if message.as_deref().is_none_or(|message| message.trim().is_empty()) {
            message = Some(reading.wordless(reply.status));
        }
        // Masked before it is shortened: half a secret would not be recognised.
        let message = mask(message.as_deref().unwrap_or_default().trim(), secrets).into_owned();
        reading.lower = shortened(&message, LOOKED_THROUGH).to_lowercase();
        reading.message = shortened(&message, if plain { LONGEST_PLAIN_TEXT } else { LONGEST_MESSAGE });
        reading.location = reply.location.map(|location| mask(location, secrets).into_owned());
        reading.retry_after = reply.retry_after.and_then(whole_seconds).or(reading.retry_after);
        reading.codes.iter_mut().for_each(|code| *code = mask(code, secrets).into_owned());
        reading
    }

    /// Whether one of the codes or types is `name`.
    pub fn has_code(&self, name: &str) -> bool {
        self.codes.iter().any(|code| code.eq_ignore_ascii_case(name))
    }

    pub fn has_any_code(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has_code(name))
    }

    /// Whether one of the codes or types begins with `prefix`.
    pub fn has_code_prefix(&self, prefix: &str) -> bool {
        self.codes.iter().any(|code| code.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
    }

    /// Whether one of the codes or types contains `part` (lower case).
    pub fn has_code_containing(&self, part: &str) -> bool {
        self.codes.iter().any(|code| code.to_ascii_lowercase().contains(part))
    }

    /// Whether the message holds one of `phrases` (lower case).
    pub fn says_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }

    pub fn says(&self, phrase: &str) -> bool {
        self.lower.contains(phrase)
    }

    pub fn is_status(&self, statuses: &[u16]) -> bool {
        self.status.is_some_and(|status| statuses.contains(&status))
    }

    /// The class of a failure without a quota, under the upstream's own code or else `row`.
    pub fn class(&self, row: &str) -> Class {
        let code = self.codes.first().map_or(row, String::as_str);
        Class { code: code.chars().take(LONGEST_CODE).collect(), quota: None }
    }

    /// The message of a reply that has no words: its code, or its status.
    fn wordless(&mut self, status: Option<u16>) -> String {
        match (self.codes.first(), status) {
            (Some(code), _) => code.clone(),
            (None, Some(status)) => {
                self.empty = true;
                format!("upstream returned HTTP {status} with an empty body")
            }
            (None, None) => {
                self.empty = true;
                "upstream failed without saying why".to_owned()
            }
        }
    }

    /// Takes in a JSON body and returns its message.
    fn absorb(&mut self, body: Loose) -> Option<String> {
        match body {
            Loose::Text(text) => Some(text),
            Loose::Object(fields) => self.absorb_fields(*fields),
            Loose::List(entries) => entries.into_iter().find_map(|entry| self.absorb(entry)),
            Loose::Number(_) | Loose::Other(_) => None,
        }
    }

    fn absorb_fields(&mut self, fields: Fields) -> Option<String> {
        let (error, sentence) = match fields.error {
            Some(Loose::Text(sentence)) => (None, Some(sentence)),
            error => (error, None),
        };
        let nested = self.absorb_nested(fields.response, error);
        self.absorb_codes([fields.code, fields.kind]);
        self.absorb_status([fields.status, fields.status_code]);
        self.params.extend([fields.param].into_iter().flatten().filter_map(Loose::text));
        self.absorb_numbers(&fields.numbers);
        if let Some(Loose::Object(headers)) = fields.headers {
            self.retry_after = headers.retry_after.and_then(Loose::text).as_deref().and_then(whole_seconds);
        }
        nested
            .or_else(|| fields.detail.and_then(|detail| self.absorb_detail(detail)))
            .or_else(|| fields.message.and_then(|message| self.absorb(message)))
            .or_else(|| fields.msg.and_then(Loose::text))
            // Often no more than the name of the status.
            .or(sentence)
    }

    /// The error object first, wherever it stands: its codes tell more than those around it.
    fn absorb_nested(&mut self, response: Option<Loose>, error: Option<Loose>) -> Option<String> {
        error.and_then(|error| self.absorb(error)).or_else(|| response.and_then(|response| self.absorb(response)))
    }

    /// `detail`: text, an object, or a list of faults with the place of each.
    fn absorb_detail(&mut self, detail: Loose) -> Option<String> {
        let Loose::List(faults) = detail else { return self.absorb(detail) };
        let mut messages = Vec::new();
        for fault in faults {
            match fault {
                Loose::Object(fault) => {
                    let place = fault.loc.map(Loose::dotted).unwrap_or_default();
                    let message = fault.msg.or(fault.message).and_then(Loose::text).unwrap_or_default();
                    messages.push(if place.is_empty() { message } else { format!("{place}: {message}") });
                    self.params.push(place);
                }
                other => messages.extend(other.text()),
            }
        }
        Some(messages.join("; "))
    }

    fn absorb_codes(&mut self, codes: [Option<Loose>; 2]) {
        for code in codes.into_iter().flatten() {
            match code {
                Loose::Number(number) => self.absorb_inner_status(number.as_u64()),
                Loose::Text(text) => match text.trim().parse() {
                    Ok(number) => self.absorb_inner_status(Some(number)),
                    Err(_) if is_shell(&text) => {}
                    Err(_) => self.codes.push(text),
                },
                Loose::Object(_) | Loose::List(_) | Loose::Other(_) => {}
            }
        }
    }

    fn absorb_status(&mut self, statuses: [Option<Loose>; 2]) {
        for status in statuses.into_iter().flatten() {
            self.absorb_inner_status(status.number());
        }
    }

    /// A status inside the body counts where HTTP has none of its own, or says 5xx about what is our 4xx (LiteLLM).
    fn absorb_inner_status(&mut self, inner: Option<u64>) {
        let Some(inner) = inner.and_then(|inner| u16::try_from(inner).ok()).filter(|s| (300..600).contains(s)) else {
            return;
        };
        let outer = self.status.unwrap_or(200);
        if outer < 300 || (outer >= 500 && inner < 500) {
            self.status = Some(inner);
        }
    }

    fn absorb_numbers(&mut self, numbers: &Numbers) {
        let number = |field: &Option<Loose>| field.as_ref().and_then(Loose::as_number);
        self.plan = numbers.plan_type.clone().and_then(Loose::text).or(self.plan.take());
        self.resets_at = number(&numbers.resets_at).or(self.resets_at);
        self.resets_in = number(&numbers.resets_in_seconds).or(self.resets_in);
        self.prompt_tokens = number(&numbers.n_prompt_tokens).or(self.prompt_tokens);
        self.context_size = number(&numbers.n_ctx).or(self.context_size);
    }

    /// Takes in a body that is no JSON and returns its words.
    fn absorb_text(&mut self, text: &str) -> String {
        self.html = text.starts_with('<') || text.to_ascii_lowercase().contains("<html");
        if self.html { without_tags(text) } else { text.to_owned() }
    }
}

/// A JSON value of whatever type the upstream chose.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Loose {
    Text(String),
    Number(serde_json::Number),
    // Before `Object`, since a struct may also be read from a list.
    List(Vec<Loose>),
    Object(Box<Fields>),
    Other(IgnoredAny),
}

impl Loose {
    fn text(self) -> Option<String> {
        match self {
            Loose::Text(text) => Some(text),
            Loose::Number(number) => Some(number.to_string()),
            Loose::List(_) | Loose::Object(_) | Loose::Other(_) => None,
        }
    }

    fn number(self) -> Option<u64> {
        self.as_number()
    }

    /// A whole number, also out of a fraction or a text.
    fn as_number(&self) -> Option<u64> {
        match self {
            Loose::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(ceiling)),
            Loose::Text(text) => text.trim().parse().ok(),
            Loose::List(_) | Loose::Object(_) | Loose::Other(_) => None,
        }
    }

    /// `["body", "tools", 0]` as `body.tools.0`.
    fn dotted(self) -> String {
        match self {
            Loose::List(steps) => steps.into_iter().filter_map(Loose::text).collect::<Vec<_>>().join("."),
            other => other.text().unwrap_or_default(),
        }
    }
}

/// Every field that any of the shapes puts anywhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    error: Option<Loose>,
    detail: Option<Loose>,
    message: Option<Loose>,
    msg: Option<Loose>,
    code: Option<Loose>,
    #[serde(rename = "type")]
    kind: Option<Loose>,
    param: Option<Loose>,
    loc: Option<Loose>,
    status: Option<Loose>,
    status_code: Option<Loose>,
    response: Option<Loose>,
    headers: Option<Loose>,
    #[serde(rename = "retry-after")]
    retry_after: Option<Loose>,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Numbers {
    plan_type: Option<Loose>,
    resets_at: Option<Loose>,
    resets_in_seconds: Option<Loose>,
    n_prompt_tokens: Option<Loose>,
    n_ctx: Option<Loose>,
}

/// Names of wrappers, which say nothing about what went wrong.
fn is_shell(kind: &str) -> bool {
    kind.is_empty() || matches!(kind, "error" | "response.failed" | "response.error" | "None" | "null")
}

/// LiteLLM answers a failure before the stream as `data: {"error":…}` and `data: [DONE]` under an HTTP 500.
fn without_event_framing(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("data:")).map_or(text, str::trim)
}

/// The text between tags, its whitespace collapsed; titles stay, scripts and styles go.
pub(super) fn without_tags(html: &str) -> String {
    let mut words = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        push_words(&mut words, &rest[..open]);
        rest = &rest[open..];
        let invisible = ["script", "style"].iter().find(|tag| starts_with_tag(rest, tag));
        let close = match invisible {
            Some(tag) => find_ignoring_case(rest, &format!("</{tag}")).unwrap_or(0),
            None => 0,
        };
        rest = rest[close..].find('>').map_or("", |end| &rest[close + end + 1..]);
    }
    push_words(&mut words, rest);
    words
}

fn starts_with_tag(text: &str, tag: &str) -> bool {
    text.get(1..=tag.len()).is_some_and(|name| name.eq_ignore_ascii_case(tag))
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(needle)
}

fn push_words(words: &mut String, text: &str) {
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
}

/// At most `characters` of `text`.
fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `retry-after` in whole seconds, rounded up; a date counts as nothing said.
fn whole_seconds(header: &str) -> Option<u64> {
    header.trim().parse::<f64>().ok().and_then(ceiling)
}

/// A fraction that is not negative, rounded up.
pub(super) fn ceiling(number: f64) -> Option<u64> {
    // Above 2^53 a float names no single whole number any more.
    (0.0..9e15).contains(&number).then(|| number.ceil() as u64)
}
