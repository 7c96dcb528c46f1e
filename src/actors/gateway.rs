//! GatewayActor: owns one listener, which is one thread with its own accept loop.
//!
//! It starts the loop on a clone of the Supervisor's socket, tells when it serves and when it ends, and stops it in
//! order. It never touches a request and decides nothing about restarts.

use std::io;
use std::net::TcpListener;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio_util::sync::CancellationToken;

use super::messages::{Child, Event, Events, Report, Run};
use super::supervision::EndCause;
use crate::http::gateway::{Admission, GatewayContext, listener};

/// After the last request or the cut: time to write what is left to slow readers.
const LAST_WORDS: Duration = Duration::from_millis(300);

pub struct GatewayActor {
    context: Arc<GatewayContext>,
    socket: Option<TcpListener>,
    arbiter: Arbiter,
    teller: Teller,
}

/// What the listener's end report goes by; shared with it.
#[derive(Clone)]
struct Teller {
    child: Child,
    run: Run,
    events: Events,
    /// The end is planned.
    stop: CancellationToken,
    /// The actor has gone before its listener.
    abandoned: Arc<AtomicBool>,
}

impl GatewayActor {
    /// A listener to be started on `socket`, on a thread of its own.
    ///
    /// # Errors
    /// The system has no thread or no runtime left for us.
    pub fn new(context: Arc<GatewayContext>, socket: TcpListener, run: Run, events: Events) -> io::Result<Self> {
        // It panics where a thread or its event queue cannot be had.
        let arbiter = catch_unwind(Arbiter::new).map_err(|_| io::Error::other("no thread for another gateway"))?;
        let child = Child { slot: context.slot.clone(), generation: context.generation };
        let (stop, abandoned) = (CancellationToken::new(), Arc::default());
        let teller = Teller { child, run, events, stop, abandoned };
        Ok(Self { context, socket: Some(socket), arbiter, teller })
    }
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let Some(socket) = self.socket.take() else { return };
        let teller = self.teller.clone();
        let mut end = EndReport { teller: self.teller.clone(), failure: None };
        let (context, stop) = (Arc::clone(&self.context), self.teller.stop.clone());
        // The service and its connections are not `Send`: they are made on the thread that they live on.
        self.arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let ready = move |address| teller.tell(Report::Ready { address });
                if let Err(error) = listener::serve(socket, context, stop, ready).await {
                    end.failure = Some(error.to_string());
                }
                drop(end);
            });
        });
    }
}

impl Drop for GatewayActor {
    fn drop(&mut self) {
        self.teller.abandoned.store(true, Ordering::Release);
        // Also when the actor panicked: the thread must not go on without an owner. Its end is reported by `EndReport`.
        self.arbiter.stop();
    }
}

impl Teller {
    fn tell(&self, report: Report) {
        let _ = self.events.send(Event::Listener { child: self.child.clone(), run: self.run, report });
    }
}

/// Tells the Supervisor how the listener ended, whatever ended it: dropped with the thread at the latest.
struct EndReport {
    teller: Teller,
    failure: Option<String>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let ended = |cause| Report::Ended { cause, detail: String::new() };
        let report = match self.failure.take() {
            _ if self.teller.stop.is_cancelled() => Report::Stopped,
            Some(detail) => Report::Ended { cause: EndCause::StartFailed, detail },
            None if std::thread::panicking() => ended(EndCause::ThreadPanicked),
            None if self.teller.abandoned.load(Ordering::Acquire) => ended(EndCause::ActorEnded),
            None => ended(EndCause::ListenerDied),
        };
        self.teller.tell(report);
    }
}

/// Refuse new requests with this reason, let the running ones end, then stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    pub reason: String,
    /// Whether trying again can help the client.
    pub retry: bool,
}

/// Stop now: running streams get an error event.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Drain> for GatewayActor {
    type Result = ();

    fn handle(&mut self, Drain { reason, retry }: Drain, ctx: &mut Self::Context) {
        self.context.admission.store(Arc::new(Admission::Refusing { reason, retry }));
        let (context, stop) = (Arc::clone(&self.context), self.teller.stop.clone());
        let drained = async move {
            if context.activity.running() > 0 {
                context.activity.idle().await;
                tokio::time::sleep(LAST_WORDS).await;
            }
            stop.cancel();
        };
        ctx.spawn(drained.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Handler<Stop> for GatewayActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let (context, stop) = (Arc::clone(&self.context), self.teller.stop.clone());
        context.cut.cancel();
        let said = async move {
            if context.activity.running() > 0 {
                tokio::time::sleep(LAST_WORDS).await;
            }
            stop.cancel();
        };
        ctx.spawn(said.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// What can befall a gateway, for the tests of what follows.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Message, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum Misfortune {
    /// The listener's thread ends.
    WorkerDies,
    /// The actor ends, as if it had panicked.
    ActorEnds,
}

#[cfg(test)]
impl Handler<Misfortune> for GatewayActor {
    type Result = ();

    fn handle(&mut self, misfortune: Misfortune, ctx: &mut Self::Context) {
        match misfortune {
            Misfortune::WorkerDies => drop(self.arbiter.stop()),
            Misfortune::ActorEnds => ctx.stop(),
        }
    }
}
