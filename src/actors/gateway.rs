//! GatewayActor: owns one listener, which is one thread with its own accept loop.
//!
//! It starts the loop on a clone of the Supervisor's socket, tells when it serves and when it ends, and stops it in
//! order. It never touches a request and decides nothing about restarts.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio_util::sync::CancellationToken;

use super::messages::{Child, Event, Events};
use super::supervision::EndCause;
use crate::http::gateway::{Admission, GatewayContext, listener};

/// After the cut: time for the streams to write their error event.
const LAST_WORDS: Duration = Duration::from_millis(300);

pub struct GatewayActor {
    child: Child,
    context: Arc<GatewayContext>,
    socket: Option<TcpListener>,
    events: Events,
    arbiter: Arbiter,
    stop: CancellationToken,
}

impl GatewayActor {
    pub fn new(context: Arc<GatewayContext>, socket: TcpListener, events: Events) -> Self {
        let child = Child { slot: context.slot.clone(), generation: context.generation };
        Self { child, context, socket: Some(socket), events, arbiter: Arbiter::new(), stop: CancellationToken::new() }
    }
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let Some(socket) = self.socket.take() else { return };
        let mut end = EndReport {
            child: self.child.clone(),
            events: self.events.clone(),
            stop: self.stop.clone(),
            failure: None,
        };
        let ready = (self.events.clone(), self.child.clone());
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        // The service and its connections are not `Send`: they are made on the thread that they live on.
        self.arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                let serving = listener::serve(socket, context, stop, move |address| {
                    let (events, child) = ready;
                    let _ = events.send(Event::GatewayReady { child, address });
                });
                if let Err(error) = serving.await {
                    end.failure = Some(error.to_string());
                }
                drop(end);
            });
        });
    }
}

impl Drop for GatewayActor {
    fn drop(&mut self) {
        // Also when the actor panicked: the thread must not go on without an owner. Its end is reported by `EndReport`.
        self.arbiter.stop();
    }
}

/// Tells the Supervisor how the listener ended, whatever ended it: dropped with the thread at the latest.
struct EndReport {
    child: Child,
    events: Events,
    stop: CancellationToken,
    failure: Option<String>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let child = self.child.clone();
        let event = match self.failure.take() {
            _ if self.stop.is_cancelled() => Event::GatewayStopped { child },
            Some(detail) => Event::GatewayEnded { child, cause: EndCause::StartFailed, detail },
            None if std::thread::panicking() => {
                Event::GatewayEnded { child, cause: EndCause::ThreadPanicked, detail: String::new() }
            }
            None => Event::GatewayEnded { child, cause: EndCause::ListenerDied, detail: String::new() },
        };
        let _ = self.events.send(event);
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

/// The listener's thread ends as if its worker had died.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub struct KillWorker;

impl Handler<Drain> for GatewayActor {
    type Result = ();

    fn handle(&mut self, Drain { reason, retry }: Drain, ctx: &mut Self::Context) {
        self.context.admission.store(Arc::new(Admission::Refusing { reason, retry }));
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let drained = async move {
            context.activity.idle().await;
            stop.cancel();
        };
        ctx.spawn(drained.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Handler<Stop> for GatewayActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        context.cut.cancel();
        let said = async move {
            let _ = tokio::time::timeout(LAST_WORDS, context.activity.idle()).await;
            stop.cancel();
        };
        ctx.spawn(said.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

#[cfg(test)]
impl Handler<KillWorker> for GatewayActor {
    type Result = ();

    fn handle(&mut self, _: KillWorker, _: &mut Self::Context) {
        self.arbiter.stop();
    }
}
