//! What was measured: per request, when the upstream sent each delta, when it was shown, and the gateway's own log line.
//!
//! The three meet in this process, so their clocks agree. [`Ledger`] is filled while the turn runs; [`Ledger::table`]
//! is the account at the end.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// What a request of a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `claude` wants a name for the conversation.
    Title,
    /// The prompt; answered with a tool call.
    Question,
    /// The tool's result; answered with the final text.
    Answer,
    Other,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Title => "title",
            Step::Question => "prompt",
            Step::Answer => "result",
            Step::Other => "other",
        }
    }

    /// Whether its answer is shown.
    fn is_shown(self) -> bool {
        matches!(self, Step::Question | Step::Answer | Step::Other)
    }
}

/// Shared by the upstream, which writes what it sends, and the screen's side, which writes what is shown.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    step: Step,
    began: Instant,
    input_tokens: usize,
    sent: Vec<Instant>,
    shown: Vec<Instant>,
}

impl Ledger {
    /// A request has arrived; its number.
    pub fn begin(&self, step: Step) -> usize {
        let mut entries = self.entries();
        let began = Instant::now();
        entries.push(Entry { step, began, input_tokens: 0, sent: Vec::new(), shown: Vec::new() });
        entries.len()
    }

    /// Under which id the upstream answers it; the gateway logs that id.
    pub fn request_id(number: usize) -> String {
        format!("req_demo{number}")
    }

    /// The request's input tokens; returns those of the shown request before it, with which it begins.
    pub fn remember_input(&self, number: usize, tokens: usize) -> usize {
        let mut entries = self.entries();
        let (before, this) = entries.split_at_mut(number - 1);
        let Some(entry) = this.first_mut() else { return 0 };
        entry.input_tokens = tokens;
        let earlier = before.iter().rev().find(|earlier| entry.step.is_shown() && earlier.step.is_shown());
        earlier.map_or(0, |earlier| earlier.input_tokens.min(tokens))
    }

    /// A delta leaves the upstream.
    pub fn sent(&self, number: usize) {
        if let Some(entry) = self.entries().get_mut(number - 1) {
            entry.sent.push(Instant::now());
        }
    }

    /// A delta is on the screen. It belongs to the newest request that is shown at all: they follow each other.
    pub fn shown(&self) {
        if let Some(entry) = self.entries().iter_mut().rev().find(|entry| entry.step.is_shown()) {
            entry.shown.push(Instant::now());
        }
    }

    /// The account, one line a request, with the numbers of the gateway's log.
    pub fn table(&self, log: &str) -> String {
        let logged = read_log(log);
        let rows: Vec<_> = self
            .entries()
            .iter()
            .enumerate()
            .map(|(at, entry)| entry.row(logged.get(&Self::request_id(at + 1))))
            .collect();
        laid_out(&HEAD, &rows)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const HEAD: [&str; 9] = ["request", "1st byte", "1st delta", "total", "deltas", "delay", "input", "cached", "output"];

impl Entry {
    fn row(&self, logged: Option<&Finished>) -> [String; 9] {
        let number = |pick: fn(&Finished) -> Option<u64>| {
            logged.and_then(pick).map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        let time = |pick: fn(&Finished) -> Option<u64>| {
            logged.and_then(pick).map_or_else(|| "-".to_owned(), |milliseconds| format!("{milliseconds} ms"))
        };
        let first_delta = self.shown.first().map(|shown| shown.saturating_duration_since(self.began));
        [
            self.step.name().to_owned(),
            time(|line| line.ttfb_ms),
            first_delta.map_or_else(|| "-".to_owned(), |delay| format!("{} ms", delay.as_millis())),
            time(|line| line.duration_ms),
            self.sent.len().to_string(),
            self.delay().map_or_else(|| "-".to_owned(), |delay| format!("{:.1} ms", delay.as_secs_f64() * 1000.0)),
            number(|line| line.input_tokens),
            number(|line| line.cached_input_tokens),
            number(|line| line.output_tokens),
        ]
    }

    /// The median time from a delta's leaving the upstream to its showing, where each one was shown by itself.
    fn delay(&self) -> Option<Duration> {
        if self.sent.len() != self.shown.len() {
            return None;
        }
        let pairs = self.sent.iter().zip(&self.shown);
        let mut delays: Vec<_> = pairs.map(|(sent, shown)| shown.saturating_duration_since(*sent)).collect();
        delays.sort_unstable();
        delays.get(delays.len() / 2).copied()
    }
}

/// As much of a log line as the table shows (DESIGN.md §8).
#[derive(Deserialize)]
struct Finished {
    event: String,
    #[serde(default)]
    upstream_request_id: String,
    ttfb_ms: Option<u64>,
    duration_ms: Option<u64>,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// The `request.finished` lines of the log by the upstream's request id.
fn read_log(log: &str) -> HashMap<String, Finished> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Finished>(line).ok());
    let finished = lines.filter(|line| line.event == "request.finished");
    finished.map(|line| (line.upstream_request_id.clone(), line)).collect()
}

/// A table whose first column is aligned to the left and the others, numbers, to the right.
fn laid_out<const COLUMNS: usize>(head: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in all() {
        let _ = write!(text, "{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"event":"gateway.ready","backend":"openai-api"}
no JSON
{"event":"request.finished","upstream_request_id":"req_demo2","ttfb_ms":3,"duration_ms":900,"input_tokens":40,"cached_input_tokens":128,"output_tokens":7}
"#;

    #[test]
    fn the_table_joins_what_was_sent_shown_and_logged() {
        let ledger = Ledger::default();
        let title = ledger.begin(Step::Title);
        let question = ledger.begin(Step::Question);
        ledger.sent(title);
        ledger.sent(question);
        ledger.shown();
        let table = ledger.table(LOG);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(lines[0], HEAD);
        assert_eq!(lines[1], ["title", "-", "-", "-", "1", "-", "-", "-", "-"], "nothing of it is shown or logged");
        assert_eq!((lines[2][0], lines[2][1], lines[2][3], lines[2][4]), ("prompt", "3 ms", "900 ms", "1"));
        assert_eq!(lines[2][6..], ["40", "128", "7"]);
        assert!(lines[2][5].ends_with(" ms"), "{table}");
    }

    #[test]
    fn deltas_that_were_not_shown_one_by_one_have_no_delay() {
        let ledger = Ledger::default();
        let number = ledger.begin(Step::Question);
        ledger.sent(number);
        ledger.sent(number);
        ledger.shown();
        assert!(ledger.entries()[0].delay().is_none());
    }

    #[test]
    fn a_later_step_begins_with_what_an_earlier_one_sent() {
        let ledger = Ledger::default();
        let (title, question, answer) =
            (ledger.begin(Step::Title), ledger.begin(Step::Question), ledger.begin(Step::Answer));
        assert_eq!(ledger.remember_input(title, 50), 0);
        assert_eq!(ledger.remember_input(question, 1000), 0, "a title's request is another prompt");
        assert_eq!(ledger.remember_input(answer, 1100), 1000);
    }
}
