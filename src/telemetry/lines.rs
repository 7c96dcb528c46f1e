//! One event as one line, for programs (JSON) or for people (text).
//!
//! A line break, an escape sequence or a character that turns text around never leaves a value: whatever an upstream, a
//! model or a header says, it cannot forge a line or steer a terminal. Spans are ignored, our fields are flat.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::calendar::{TimeOfDay, Timestamp};
use super::{LIBRARY_LOGGED, OUR_CRATE};

/// `{"timestamp":…,"level":…,"event":…,"message":…,FIELDS}`
pub(super) struct JsonLines;

/// `09:05:07.042Z INFO  gateway.ready  gateway is ready  backend=openai-api generation=1`
pub(super) struct TextLines {
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = Line::read(event, Syntax::Json);
        write!(out, r#"{{"timestamp":"{}","level":"{}""#, Timestamp(SystemTime::now()), level(event))?;
        write!(out, r#","event":{},"message":{}"#, Json(&line.event), Json(&line.message))?;
        writeln!(out, "{}}}", line.fields)
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = Line::read(event, Syntax::Text);
        let (dim, bright, plain) = match self.colour {
            true => ("\x1b[2m", level_colour(event), "\x1b[0m"),
            false => ("", "", ""),
        };
        let (time, level) = (TimeOfDay(SystemTime::now()), level(event).to_ascii_uppercase());
        write!(out, "{dim}{time}{plain} {bright}{level:<5}{plain} {}  {}", Plain(&line.event), Plain(&line.message))?;
        match line.fields.is_empty() {
            true => writeln!(out),
            false => writeln!(out, " {dim}{}{plain}", line.fields),
        }
    }
}

fn level(event: &Event<'_>) -> &'static str {
    match *event.metadata().level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

fn level_colour(event: &Event<'_>) -> &'static str {
    match *event.metadata().level() {
        tracing::Level::ERROR => "\x1b[31m",
        tracing::Level::WARN => "\x1b[33m",
        tracing::Level::INFO => "\x1b[32m",
        tracing::Level::DEBUG | tracing::Level::TRACE => "\x1b[2m",
    }
}

#[derive(Clone, Copy)]
enum Syntax {
    Json,
    Text,
}

/// An event's fields, taken apart: its name and message as they are, the others written one after the other.
struct Line {
    syntax: Syntax,
    ours: bool,
    event: String,
    message: String,
    fields: String,
}

impl Line {
    /// An event of another crate has no name we know; neither has one of ours that forgot it, and a log in which every
    /// line has `event` matters more than whose mistake it was. Both say where they come from.
    fn read(event: &Event<'_>, syntax: Syntax) -> Self {
        let target = event.metadata().target();
        let ours = is_ours(target);
        let mut line = Self { syntax, ours, event: String::new(), message: String::new(), fields: String::new() };
        event.record(&mut line);
        if line.event.is_empty() || !ours {
            LIBRARY_LOGGED.clone_into(&mut line.event);
            line.put("target", Value::Text(target));
        }
        line
    }

    fn record(&mut self, field: &Field, value: Value<'_>) {
        match (field.name(), &value) {
            ("event", Value::Text(text)) => (*text).clone_into(&mut self.event),
            ("message", Value::Text(text)) => (*text).clone_into(&mut self.message),
            // Only other crates use our line's own keys as fields, and a key must not stand in a line twice.
            ("event" | "message" | "timestamp" | "level", _) => {}
            ("target", _) if !self.ours => {}
            (name, _) => self.put(name.trim_start_matches("r#"), value),
        }
    }

    fn put(&mut self, name: &str, value: Value<'_>) {
        // Writing to a String cannot fail.
        let _ = match (self.syntax, value) {
            (Syntax::Json, Value::Text(text)) => write!(self.fields, ",{}:{}", Json(name), Json(text)),
            (Syntax::Json, Value::Bare(bare)) => write!(self.fields, ",{}:{bare}", Json(name)),
            (Syntax::Text, Value::Text(text)) => write!(self.fields, " {}={}", Plain(name), Word(text)),
            (Syntax::Text, Value::Bare(bare)) => write!(self.fields, " {}={bare}", Plain(name)),
        };
    }
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OUR_CRATE).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A field's value: text to be quoted and escaped, or a number or truth value that needs neither.
enum Value<'a> {
    Text(&'a str),
    Bare(fmt::Arguments<'a>),
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, Value::Text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, Value::Text(&format!("{value:?}")));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, Value::Bare(format_args!("{value}")));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, Value::Bare(format_args!("{value}")));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, Value::Bare(format_args!("{value}")));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record(field, Value::Bare(format_args!("{value}")));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.record(field, Value::Bare(format_args!("{value}")));
    }

    /// JSON has no infinity and no not-a-number; they become text.
    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.record(field, Value::Bare(format_args!("{value}"))),
            false => self.record(field, Value::Text(&value.to_string())),
        }
    }
}

/// What must not reach a terminal or end a line: the control characters of C0 and C1, the two Unicode line ends, and
/// the marks that reorder what follows them.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON string.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // All of them lie in the first plane, so four digits do.
                _ if is_unsafe(character) => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

/// Text as it is, but for what is unsafe.
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match is_unsafe(character) {
            true => write!(f, "{}", character.escape_default()),
            false => f.write_char(character),
        })
    }
}

/// The value in `name=value`: bare while it is one word, else quoted so that it cannot look like further fields.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_word = !self.0.is_empty() && !self.0.contains(|c: char| c.is_whitespace() || c == '"' || c == '=');
        match one_word {
            true => Plain(self.0).fmt(f),
            false => Json(self.0).fmt(f),
        }
    }
}
