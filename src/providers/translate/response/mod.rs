//! Responses stream to Anthropic events (WIRE.md §2).
//!
//! [`Reply`] is one upstream response: its bytes go in, Anthropic events come out into the caller's [`EventWriter`]. It
//! touches no socket and no clock; the gateway decides when the hold is over and when silence is too long.

mod machine;

mod blocks;
mod items;

mod search;
mod stop_reason;
mod stop_sequences;
mod usage;

mod ids;

#[cfg(test)]
mod tests;

use machine::Machine;

use super::{ApiError, ErrorKind, ReplyContext};
use crate::providers::anthropic::events::{EventWriter, StopReason};
use crate::providers::openai::wire::events::{EventKind, Response, Status, StreamEvent};
use crate::providers::sse;

/// Events whose data is no JSON that are let pass (R-P2).
const MAX_MALFORMED_EVENTS: u32 = 3;

/// All bytes of one response: far above the longest answer, and a bound for what may wait in memory.
const MAX_REPLY_BYTES: u64 = 512 << 20;

/// Of an HTML page, as much as an error needs.
const MAX_HTML_BYTES: usize = 64 << 10;

/// Blank bytes before the first real one that are kept to be judged.
const MAX_BLANK_BYTES: usize = 4 << 10;

/// Where a response stands after what was fed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing but lifecycle and metadata so far: a failure can still become a proper HTTP status (R-H1), or another
    /// attempt.
    Held,
    /// The message has begun.
    Flowing,
    /// `message_stop` is written; what comes now is ignored (R-C3), and the upstream need not be read any further.
    Finished,
    Failed(Failure),
}

/// How a response failed. Nothing was written about it: before the commit it becomes an HTTP error, after it
/// [`Reply::fail`] writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The upstream's own words: the JSON of its event or body.
    Reported { event: String },
    /// The stream ended without a terminal event (R-X1).
    Cut,
    /// Too much of it is no JSON, or no response at all.
    Malformed,
    /// One event is above [`sse::MAX_EVENT_BYTES`], or the whole is beyond any answer.
    TooLong,
    /// A success without a body.
    Empty,
    /// A page instead of a response; its first part.
    Html(String),
}

/// What the log line says of a response. Tokens; `input_tokens` without what came from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    /// Absent for a response that did not reach its end.
    pub stop_reason: Option<StopReason>,
    /// The upstream's id.
    pub response_id: Option<String>,
    /// Events whose type we do not know.
    pub unknown_events: u32,
}

/// One upstream response being translated.
#[derive(Debug)]
pub struct Reply {
    body: Body,
    machine: Machine,
    received_bytes: u64,
    malformed_events: u32,
    rate_limits: Option<String>,
    failed: bool,
}

/// What the body is, judged by its first byte that is no white space (R-P4).
#[derive(Debug)]
enum Body {
    Unknown(Vec<u8>),
    Stream(sse::Reader),
    /// A response that came whole, or an error.
    Object(Vec<u8>),
    Html(Vec<u8>),
}

impl Reply {
    /// `seed` names this response, for ids that the upstream does not give: the gateway's request id.
    pub fn new(context: ReplyContext, seed: &str) -> Self {
        Self {
            body: Body::Unknown(Vec::new()),
            machine: Machine::new(context, seed),
            received_bytes: 0,
            malformed_events: 0,
            rate_limits: None,
            failed: false,
        }
    }

    /// Takes bytes as they came and writes all that follows from them, up to a terminal event.
    pub fn feed(&mut self, chunk: &[u8], out: &mut EventWriter) -> Step {
        if self.machine.is_finished() || self.failed {
            return self.standing();
        }
        self.received_bytes += chunk.len() as u64;
        if self.received_bytes > MAX_REPLY_BYTES {
            return self.failure(Failure::TooLong);
        }
        match &mut self.body {
            Body::Unknown(start) => {
                start.extend_from_slice(chunk);
                match judged(start) {
                    Some(body) => self.body = body,
                    None => return self.standing(),
                }
                if let Body::Stream(_) = self.body { self.drain(out) } else { self.feed(&[], out) }
            }
            Body::Stream(reader) => {
                reader.feed(chunk);
                self.drain(out)
            }
            Body::Object(bytes) => {
                bytes.extend_from_slice(chunk);
                if bytes.len() > sse::MAX_EVENT_BYTES { self.failure(Failure::TooLong) } else { self.standing() }
            }
            Body::Html(page) => {
                page.extend_from_slice(chunk);
                if page.len() > MAX_HTML_BYTES { self.end(out) } else { self.standing() }
            }
        }
    }

    /// The upstream's bytes are over.
    pub fn end(&mut self, out: &mut EventWriter) -> Step {
        if self.machine.is_finished() || self.failed {
            return self.standing();
        }
        match std::mem::replace(&mut self.body, Body::Unknown(Vec::new())) {
            Body::Unknown(_) => self.failure(Failure::Empty),
            Body::Stream(mut reader) => {
                // R-P1: an event without its blank line counts if it is whole, and is no fault if it is not.
                if let Some(Ok(event)) = reader.finish()
                    && StreamEvent::parse(event.data).is_ok()
                    && let Some(failure) = self.event(&event, out)
                {
                    return self.failure(failure);
                }
                if self.machine.is_finished() { Step::Finished } else { self.failure(Failure::Cut) }
            }
            Body::Object(bytes) => self.whole(&bytes, out),
            Body::Html(mut page) => {
                page.truncate(MAX_HTML_BYTES);
                self.failure(Failure::Html(String::from_utf8_lossy(&page).into_owned()))
            }
        }
    }

    /// The hold is over: writes `message_start`. May be called again.
    pub fn commit(&mut self, out: &mut EventWriter) {
        self.machine.commit(out);
    }

    /// The head of the message was written already, by somebody who could not wait for this reply.
    pub fn assume_started(&mut self) {
        self.machine.assume_started();
    }

    /// The answer ended here, at a stop sequence, while the upstream still goes on: its connection is to be dropped.
    pub fn stopped_early(&self) -> bool {
        self.machine.stopped_early()
    }

    pub fn committed(&self) -> bool {
        self.machine.committed()
    }

    /// R-K2: an event that says nothing but counts as life, in the form that fits the present state. The plain ping is
    /// [`EventWriter::ping`].
    pub fn keep_alive(&mut self, out: &mut EventWriter) {
        if self.machine.committed() && !self.machine.is_finished() && !self.failed {
            self.machine.blocks().keep_alive(out);
        }
    }

    /// The error event, after the commit. The open block stays open: closed, the client would count it as received
    /// (WIRE.md §3.4).
    pub fn fail(&mut self, error: &ApiError, out: &mut EventWriter) {
        if !self.machine.is_finished() {
            self.failed = true;
            out.error(error.kind.as_str(), &error.message);
        }
    }

    /// R-X1: what a stream that ended early means. Overloaded makes the client stream again, and fits as long as it
    /// has received no block.
    pub fn cut_error(&self) -> ApiError {
        let message = "upstream stream ended before completion";
        match self.machine.any_block_closed() {
            false => ApiError { should_retry: Some(true), ..ApiError::new(529, ErrorKind::Overloaded, message) },
            true => ApiError::new(502, ErrorKind::Api, message),
        }
    }

    pub fn summary(&self) -> Summary {
        let response_id = self.machine.response_id().map(str::to_owned);
        let unknown_events = self.machine.unknown_events();
        let Some((reason, usage)) = self.machine.end() else {
            return Summary { response_id, unknown_events, ..Summary::default() };
        };
        Summary {
            input_tokens: usage.input_tokens + usage.cache_creation_input_tokens,
            cached_input_tokens: usage.cache_read_input_tokens,
            output_tokens: usage.output_tokens,
            reasoning_tokens: usage.thinking_tokens,
            stop_reason: Some(*reason),
            response_id,
            unknown_events,
        }
    }

    /// The model that the upstream says it is.
    pub fn upstream_model_reported(&self) -> Option<&str> {
        self.machine.upstream_model()
    }

    /// The upstream serves the request in its priority tier (R-U6).
    pub fn fast_tier(&self) -> bool {
        self.machine.is_priority()
    }

    /// The JSON of the last `codex.rate_limits` event since the last call (R-P6).
    pub fn take_rate_limits(&mut self) -> Option<String> {
        self.rate_limits.take()
    }

    fn drain(&mut self, out: &mut EventWriter) -> Step {
        let Body::Stream(mut reader) = std::mem::replace(&mut self.body, Body::Unknown(Vec::new())) else {
            return self.standing();
        };
        let mut failure = None;
        while let (None, false, Some(event)) = (&failure, self.machine.is_finished(), reader.next_event()) {
            failure = match event {
                Ok(event) => self.event(&event, out),
                Err(sse::TooLong) => Some(Failure::TooLong),
            };
        }
        self.body = Body::Stream(reader);
        match failure {
            Some(failure) => self.failure(failure),
            None => self.standing(),
        }
    }

    fn event(&mut self, event: &sse::Event<'_>, out: &mut EventWriter) -> Option<Failure> {
        let Ok(parsed) = StreamEvent::parse(event.data) else {
            let counts = event.data.trim_ascii() != b"[DONE]";
            self.malformed_events += u32::from(counts);
            return (self.malformed_events > MAX_MALFORMED_EVENTS).then_some(Failure::Malformed);
        };
        // R-P5: a server that sends an event twice numbers it the same; without numbers equal deltas are two.
        if event.repeated && parsed.has_sequence_number() {
            return None;
        }
        let kind = parsed.kind(event.name);
        if reports_failure(kind, &parsed) {
            return Some(Failure::Reported { event: String::from_utf8_lossy(event.data).into_owned() });
        }
        if kind == EventKind::RateLimits {
            self.rate_limits = Some(String::from_utf8_lossy(event.data).into_owned());
        }
        self.machine.push(kind, &parsed, out);
        (self.machine.is_overfull() && !self.machine.is_finished()).then_some(Failure::Malformed)
    }

    fn whole(&mut self, bytes: &[u8], out: &mut EventWriter) -> Step {
        let response = match Response::parse(bytes) {
            Ok(response) => response,
            Err(error) if error.is_eof() => return self.failure(Failure::Cut),
            Err(_) => return self.failure(Failure::Malformed),
        };
        let only_error = response.has_error() && response.output().is_empty();
        if only_error || !response.has_output() || response.status() == Status::Failed {
            return self.failure(Failure::Reported { event: String::from_utf8_lossy(bytes).into_owned() });
        }
        self.machine.finish(false, &response, out);
        Step::Finished
    }

    fn failure(&mut self, failure: Failure) -> Step {
        self.failed = true;
        Step::Failed(failure)
    }

    fn standing(&self) -> Step {
        match (self.machine.is_finished(), self.failed, self.machine.begun()) {
            (true, _, _) => Step::Finished,
            (false, true, _) => Step::Failed(Failure::Cut),
            (false, false, true) => Step::Flowing,
            (false, false, false) => Step::Held,
        }
    }
}

fn reports_failure(kind: EventKind, event: &StreamEvent<'_>) -> bool {
    let ends = matches!(kind, EventKind::Completed | EventKind::Incomplete);
    let failed = || event.response().is_some_and(|response| response.status() == Status::Failed);
    kind == EventKind::Failed || (ends && failed())
}

/// Absent until a byte came that is no white space.
fn judged(start: &mut Vec<u8>) -> Option<Body> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(byte);
    let first = start.iter().position(|byte| !blank(byte));
    match first.map(|at| start[at]) {
        Some(b'{') => Some(Body::Object(start.split_off(first.unwrap_or(0)))),
        Some(b'<') => Some(Body::Html(std::mem::take(start))),
        None if start.len() <= MAX_BLANK_BYTES => None,
        Some(_) | None => {
            let mut reader = sse::Reader::new();
            reader.feed(start);
            Some(Body::Stream(reader))
        }
    }
}
