//! The body of a streamed answer: owns the upstream's answer, so that dropping either ends both.
//!
//! ```text
//! Opening ──upstream's first real event──▶ Flowing ──terminal event──▶ Done
//!    │                                        └─ failure ─▶ Failing ──▶ Done, with an error event
//!    └──────────────── failure, judged already ──────────────────────▶ Done, with an error event
//! ```
//! It starts in `Flowing`, or in `Opening` if the hold ran out first (WIRE.md R-H1). Everything that one upstream chunk
//! yields goes out as one chunk; nothing is read from the upstream before the client has taken what was there.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, Stream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::asking::{Opened, Rest};
use super::attempt::finish_reading;
use super::errors;
use super::judge::FailureJudge;
use super::listener::Worker;
use super::record::Record;
use crate::http::upstream::{BodyFault, Incoming};
use crate::providers::anthropic::events::EventWriter;
use crate::providers::translate::response::{Failure, Reply, Step};
use crate::providers::translate::{ApiError, ErrorKind};

/// R-K1: after this long without output a ping goes out.
const PING: Duration = Duration::from_secs(10);
/// R-K2: after this long without an event other than a ping, one that `claude`'s watchdog counts.
const NO_OP: Duration = Duration::from_secs(60);

/// An answer that has not come to its commit point.
pub type Opening<I> = LocalBoxFuture<'static, Result<Opened<I>, ApiError>>;

pub struct MessageStream<I = Incoming> {
    phase: Phase<I>,
    out: EventWriter,
    /// Fires when the upstream has been silent too long.
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    /// Fires when the client has had nothing for [`PING`].
    beat: Pin<Box<Sleep>>,
    last_event: Instant,
    /// What waits to go out is a ping and nothing else.
    only_a_ping: bool,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    record: Record,
}

enum Phase<I> {
    /// `placeholder` has written the `message_start` and writes keepalives until the real answer comes.
    Opening {
        answer: Opening<I>,
        placeholder: Reply,
    },
    Flowing {
        reply: Reply,
        incoming: Option<I>,
        judge: Box<FailureJudge>,
    },
    Failing {
        reply: Reply,
        error: LocalBoxFuture<'static, ApiError>,
    },
    Done,
}

impl<I> Phase<I> {
    fn of(reply: Reply, rest: Rest<I>, judge: Box<FailureJudge>) -> Self {
        match rest {
            Rest::Coming(incoming) => Self::Flowing { reply, incoming: Some(incoming), judge },
            Rest::Complete => Self::Flowing { reply, incoming: None, judge },
            Rest::Failed(failure) => Self::failing(reply, failure, judge),
        }
    }

    fn failing(reply: Reply, failure: Failure, judge: Box<FailureJudge>) -> Self {
        let cut = reply.cut_error();
        Self::Failing { reply, error: async move { judge.late_failure(&failure, cut).await }.boxed_local() }
    }
}

impl<I: Upstreamed> MessageStream<I> {
    pub fn flowing(opened: Opened<I>, worker: &Worker, record: Record) -> Self {
        let Opened { reply, out, rest, judge } = opened;
        Self::new(Phase::of(reply, rest, judge), out, worker, record)
    }

    /// Begins the message for an answer that has kept its client waiting too long.
    pub fn opening(answer: Opening<I>, mut placeholder: Reply, worker: &Worker, record: Record) -> Self {
        let mut out = EventWriter::stream();
        placeholder.commit(&mut out);
        placeholder.keep_alive(&mut out);
        Self::new(Phase::Opening { answer, placeholder }, out, worker, record)
    }

    fn new(phase: Phase<I>, out: EventWriter, worker: &Worker, record: Record) -> Self {
        let idle_timeout = worker.context.settings.idle_timeout;
        Self {
            phase,
            out,
            idle: Box::pin(sleep(idle_timeout)),
            idle_timeout,
            beat: Box::pin(sleep(PING)),
            last_event: Instant::now(),
            only_a_ping: false,
            cut: Box::pin(worker.context.cut.clone().cancelled_owned()),
            record,
        }
    }

    /// Moves on as far as it can without waiting. False: nothing more to do now.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        if self.cut.as_mut().poll(cx).is_ready() {
            self.fail(&errors::cut());
            return true;
        }
        let moved = match &mut self.phase {
            Phase::Done => return true,
            Phase::Opening { answer, .. } => match answer.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(opened)) => {
                    self.flow(opened);
                    true
                }
                Poll::Ready(Err(error)) => {
                    self.fail(&error);
                    true
                }
            },
            Phase::Failing { error, .. } => match error.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(error) => {
                    self.fail(&error);
                    true
                }
            },
            Phase::Flowing { incoming: None, .. } => {
                self.finish();
                true
            }
            Phase::Flowing { incoming: Some(incoming), .. } => match Pin::new(incoming).poll_next(cx) {
                Poll::Pending => false,
                Poll::Ready(next) => {
                    self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
                    self.take(next.map(|chunk| chunk.map_err(|_| Failure::Cut)));
                    true
                }
            },
        };
        moved || self.beats(cx)
    }

    fn flow(&mut self, opened: Opened<I>) {
        let Opened { reply, mut out, rest, judge } = opened;
        self.out.append(&mut out);
        self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
        self.phase = Phase::of(reply, rest, judge);
    }

    /// One chunk of the upstream's answer, its end, or a broken connection.
    fn take(&mut self, next: Option<Result<Bytes, Failure>>) {
        let Phase::Flowing { reply, judge, .. } = &mut self.phase else { return };
        let step = match next {
            Some(Ok(chunk)) => reply.feed(&chunk, &mut self.out),
            Some(Err(failure)) => Step::Failed(failure),
            None => reply.end(&mut self.out),
        };
        judge.note_quota(reply);
        match step {
            // Held after the commit point means: nothing to write yet.
            Step::Held | Step::Flowing => {}
            Step::Finished => self.finish(),
            Step::Failed(failure) => self.judge(failure),
        }
    }

    /// The upstream is let go; what its failure means may take a moment to tell.
    fn judge(&mut self, failure: Failure) {
        if let Phase::Flowing { reply, judge, .. } = std::mem::replace(&mut self.phase, Phase::Done) {
            self.phase = Phase::failing(reply, failure, judge);
        }
    }

    fn beats(&mut self, cx: &mut Context<'_>) -> bool {
        if matches!(self.phase, Phase::Flowing { .. }) && self.idle.as_mut().poll(cx).is_ready() {
            self.go_idle();
            return true;
        }
        if self.beat.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = Instant::now();
        self.beat.as_mut().reset(now + PING);
        if now.duration_since(self.last_event) < NO_OP {
            self.out.ping();
            self.only_a_ping = true;
            return true;
        }
        self.last_event = now;
        match &mut self.phase {
            Phase::Opening { placeholder: reply, .. } | Phase::Flowing { reply, .. } | Phase::Failing { reply, .. } => {
                reply.keep_alive(&mut self.out)
            }
            Phase::Done => {}
        }
        true
    }

    /// R-K3: the upstream has been silent too long, which is a cut.
    fn go_idle(&mut self) {
        if let Phase::Flowing { reply, judge, .. } = &self.phase {
            let error = judge.idle(reply.cut_error());
            self.fail(&error);
        }
    }

    fn finish(&mut self) {
        if let Phase::Flowing { reply, incoming, .. } = std::mem::replace(&mut self.phase, Phase::Done) {
            self.record.summary(reply.summary());
            if let Some(incoming) = incoming.filter(|_| !reply.stopped_early()) {
                finish_reading(incoming);
            }
        }
    }

    fn fail(&mut self, error: &ApiError) {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Opening { placeholder: mut reply, .. }
            | Phase::Flowing { mut reply, .. }
            | Phase::Failing { mut reply, .. } => {
                reply.fail(error, &mut self.out);
                self.record.summary(reply.summary());
                self.record.failed(error);
            }
            Phase::Done => {}
        }
    }

    /// The next bytes for the client.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.out.is_empty() {
                let bytes = self.out.take_bytes();
                let now = Instant::now();
                self.beat.as_mut().reset(now + PING);
                if !std::mem::take(&mut self.only_a_ping) {
                    self.last_event = now;
                }
                return Poll::Ready(Some(bytes));
            }
            if matches!(self.phase, Phase::Done) {
                return Poll::Ready(None);
            }
            if !self.advance(cx) {
                return Poll::Pending;
            }
        }
    }
}

/// An upstream's body as it comes in.
pub trait Upstreamed: Stream<Item = Result<Bytes, BodyFault>> + Unpin + 'static {}

impl<I: Stream<Item = Result<Bytes, BodyFault>> + Unpin + 'static> Upstreamed for I {}

impl<I: Upstreamed> Stream for MessageStream<I> {
    type Item = Result<Bytes, Infallible>;

    /// Never an `Err`: that would close the socket and discard what is not flushed. A panic ends this stream alone.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| this.poll_bytes(cx))) {
            Ok(next) => next.map(|bytes| bytes.map(Ok)),
            Err(_) => {
                this.fail(&ApiError::new(500, ErrorKind::Api, "the gateway failed while it answered: see its log"));
                Poll::Ready((!this.out.is_empty()).then(|| Ok(this.out.take_bytes())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
