//! Plays one reply of the script on a connection, event by event, and stops at once when the peer has gone.

use std::io;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Connection;
use crate::script::{Body, Cut, Delta, Part, Reply};
use crate::state::State;
use crate::stream::{Telling, frame};

/// A delta of a flood: large, so that socket buffers fill within few events.
const FLOOD_DELTA_BYTES: usize = 32 * 1024;

/// How a reply left its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Reusable,
    /// The reply ended the connection on purpose.
    Ended,
    /// The peer went away before the end.
    Aborted,
}

/// What a stream does after one of its parts.
enum Next {
    GoOn,
    /// The terminal event was sent, or the script wants none.
    EndBody,
    Cut(Cut),
}

pub struct Player<'a> {
    pub connection: &'a mut Connection,
    pub state: &'a State,
    /// Whether the request asked for a stream; without it a streamed reply is told whole.
    pub streams: bool,
    /// The live Codex backend sends no content type with its streams.
    pub stream_content_type: Option<&'static str>,
}

impl Player<'_> {
    pub fn play(&mut self, reply: Reply, telling: Telling) -> Left {
        self.perform(reply, telling).unwrap_or(Left::Aborted)
    }

    fn perform(&mut self, reply: Reply, telling: Telling) -> io::Result<Left> {
        if let Some(name) = &reply.hold {
            self.hold(name)?;
        }
        let Reply { status, mut headers, body, .. } = reply;
        match body {
            Body::Cut(cut) => Ok(self.cut(cut)),
            Body::Json(value) => {
                set_content_type(&mut headers, "application/json");
                self.connection.write_reply(status, &headers, value.to_string().as_bytes()).map(|()| Left::Reusable)
            }
            Body::Text(text) => {
                set_content_type(&mut headers, "text/plain");
                self.connection.write_reply(status, &headers, text.as_bytes()).map(|()| Left::Reusable)
            }
            Body::Stream(parts) if self.streams => {
                if let Some(content_type) = self.stream_content_type {
                    set_content_type(&mut headers, content_type);
                }
                headers.push(("transfer-encoding".into(), "chunked".into()));
                headers.push(("x-request-id".into(), "req_of_the_upstream".into()));
                self.connection.write_head(status, &headers)?;
                self.stream(parts, telling)
            }
            Body::Stream(parts) => self.tell_whole(parts, telling),
        }
    }

    fn stream(&mut self, parts: Vec<Part>, mut telling: Telling) -> io::Result<Left> {
        if !matches!(parts.first(), Some(Part::Raw(_))) {
            let opening = telling.opening();
            self.send(&opening)?;
        }
        for part in parts {
            match self.stream_part(part, &mut telling)? {
                Next::GoOn => {}
                Next::EndBody => return self.connection.write_last_chunk().map(|()| Left::Reusable),
                Next::Cut(cut) => return Ok(self.cut(cut)),
            }
        }
        let completed = telling.completed();
        self.send(&[completed])?;
        self.connection.write_last_chunk().map(|()| Left::Reusable)
    }

    fn stream_part(&mut self, part: Part, telling: &mut Telling) -> io::Result<Next> {
        let events = match part {
            Part::Reasoning { summary, encrypted } => telling.reasoning(&summary, encrypted.as_deref()),
            Part::ReasoningText(text) => telling.reasoning_text(&text),
            Part::Text { deltas, phase, citations } => {
                return self.stream_text(deltas, phase.as_deref(), &citations, telling).map(|()| Next::GoOn);
            }
            Part::Refusal(text) => telling.refusal(&text),
            Part::Calls(calls) => telling.calls(&calls),
            Part::Search { query, sources } => telling.search(&query, &sources),
            Part::Event(event) => vec![telling.numbered(event)],
            Part::Raw(bytes) => return self.connection.write_chunk(bytes.as_bytes()).map(|()| Next::GoOn),
            Part::Hold(name) => return self.hold(&name).map(|()| Next::GoOn),
            Part::DelayMs(delay_ms) => {
                thread::sleep(Duration::from_millis(delay_ms));
                Vec::new()
            }
            Part::Usage(usage) => {
                telling.usage = usage;
                Vec::new()
            }
            Part::Flood(bytes) => return self.flood(bytes, telling).map(|()| Next::GoOn),
            Part::Incomplete(reason) => {
                let event = telling.incomplete(&reason);
                return self.send(&[event]).map(|()| Next::EndBody);
            }
            Part::Failed(error) => {
                let event = telling.failed(&error);
                return self.send(&[event]).map(|()| Next::EndBody);
            }
            Part::Cut(cut) => return Ok(Next::Cut(cut)),
            Part::End => return Ok(Next::EndBody),
        };
        self.send(&events).map(|()| Next::GoOn)
    }

    fn stream_text(
        &mut self,
        deltas: Vec<Delta>,
        phase: Option<&str>,
        citations: &[(String, String)],
        telling: &mut Telling,
    ) -> io::Result<()> {
        let (mut message, events) = telling.message_start(phase);
        self.send(&events)?;
        for delta in deltas {
            match delta {
                Delta::Say(text) => {
                    let event = telling.message_delta(&mut message, &text);
                    self.send(&[event])?;
                }
                Delta::Hold(name) => self.hold(&name)?,
            }
        }
        let events = telling.message_end(&message, citations);
        self.send(&events)
    }

    fn flood(&mut self, bytes: u64, telling: &mut Telling) -> io::Result<()> {
        let (mut message, events) = telling.message_start(None);
        self.send(&events)?;
        let delta = "flood of text, ".repeat(FLOOD_DELTA_BYTES / 15);
        for _ in 0..bytes / delta.len() as u64 {
            let event = telling.message_delta(&mut message, &delta);
            self.send(&[event])?;
        }
        let events = telling.message_end(&message, &[]);
        self.send(&events)
    }

    /// A request without `stream` gets the response object; only what can be told in one piece is told.
    fn tell_whole(&mut self, parts: Vec<Part>, mut telling: Telling) -> io::Result<Left> {
        for part in parts {
            match part {
                Part::Reasoning { summary, encrypted } => drop(telling.reasoning(&summary, encrypted.as_deref())),
                Part::Text { deltas, phase, citations } => {
                    let (mut message, _) = telling.message_start(phase.as_deref());
                    for delta in deltas {
                        if let Delta::Say(text) = delta {
                            telling.message_delta(&mut message, &text);
                        }
                    }
                    telling.message_end(&message, &citations);
                }
                Part::Calls(calls) => drop(telling.calls(&calls)),
                Part::Search { query, sources } => drop(telling.search(&query, &sources)),
                Part::Usage(usage) => telling.usage = usage,
                _ => {}
            }
        }
        let body = telling.whole().to_string();
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        self.connection.write_reply(200, &headers, body.as_bytes()).map(|()| Left::Reusable)
    }

    fn send(&mut self, events: &[Value]) -> io::Result<()> {
        for event in events {
            if self.connection.is_gone() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.connection.write_chunk(&frame(event))?;
        }
        Ok(())
    }

    fn hold(&mut self, name: &str) -> io::Result<()> {
        let connection = &self.connection;
        if self.state.hold(name, || connection.is_gone()) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn cut(&mut self, cut: Cut) -> Left {
        match cut {
            Cut::Fin => self.connection.finish(),
            Cut::Reset => self.connection.reset(),
        }
        Left::Ended
    }
}

/// The error body that OpenAI sends, for refusals that no script asked for.
pub fn error_body(message: &str, kind: &str, code: Value, param: Value) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code, "param": param}})
}

fn set_content_type(headers: &mut Vec<(String, String)>, value: &str) {
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("content-type".into(), value.into()));
    }
}
