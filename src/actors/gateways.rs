//! The living generations, as the Supervisor keeps them: their sockets, local tokens and actors.
//!
//! A socket and its token live here from a generation's first start to its `Stopped`, so a restart keeps both, and
//! connections made meanwhile wait in the socket's backlog. Decides nothing: the core says what to start and stop.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gateway::{Drain, GatewayActor, Stop};
use super::messages::{Child, Event, Events};
use super::supervision::Refusal;
use super::wanted::Spec;
use crate::http::access::LocalToken;
use crate::http::gateway::{Activity, Admission, GatewayContext};
use crate::http::tokens::Tokenizer;
use crate::http::upstream::credential::CredentialSource;

/// Many connections may wait while a gateway restarts.
const BACKLOG: i32 = 1024;

/// The living generations of all slots.
pub struct Gateways {
    living: HashMap<Child, Living>,
    events: Events,
    credentials: CredentialSource,
    tokenizer: Tokenizer,
}

struct Living {
    socket: TcpListener,
    address: SocketAddr,
    token: LocalToken,
    spec: Spec,
    activity: Arc<Activity>,
    /// Absent while nothing runs on the socket.
    actor: Option<Addr<GatewayActor>>,
}

/// A port and token to take if they can be had: those of a slot's generation before the service restarted.
pub struct Kept {
    pub port: u16,
    pub token: LocalToken,
}

impl Gateways {
    pub fn new(events: Events, credentials: CredentialSource) -> Self {
        Self { living: HashMap::new(), events, credentials, tokenizer: Tokenizer::default() }
    }

    /// Starts a new generation on a socket of its own.
    ///
    /// # Errors
    /// No loopback port can be bound.
    pub fn start(&mut self, child: &Child, spec: Spec, kept: Option<Kept>) -> io::Result<()> {
        let (socket, token) = match kept.map(|kept| (bind(kept.port), kept.token)) {
            Some((Ok(socket), token)) => (socket, token),
            // A taken port means a new one, and then a new token.
            Some((Err(_), _)) | None => (bind(0)?, LocalToken::random()?),
        };
        let address = socket.local_addr()?;
        let activity = Arc::new(Activity::new(Instant::now()));
        let living = Living { socket, address, token, spec, activity, actor: None };
        self.living.insert(child.clone(), living);
        self.run(child, Admission::Open)
    }

    /// Starts the same generation again, on the socket that it had.
    ///
    /// # Errors
    /// The socket cannot be cloned.
    pub fn restart(&mut self, child: &Child) -> io::Result<()> {
        self.run(child, Admission::Open)
    }

    /// Lets the generation's port answer with a refusal.
    pub fn refuse(&mut self, child: &Child, refusal: &Refusal) {
        let admission = Admission::Refusing { reason: refusal.to_string(), retry: false };
        // A port that cannot even refuse leaves its connections in the backlog; the core's next word frees them.
        let _ = self.run_telling(child, admission, mpsc::unbounded_channel().0);
    }

    fn run(&mut self, child: &Child, admission: Admission) -> io::Result<()> {
        self.run_telling(child, admission, self.events.clone())
    }

    fn run_telling(&mut self, child: &Child, admission: Admission, events: Events) -> io::Result<()> {
        let Some(living) = self.living.get_mut(child) else {
            return Err(io::Error::other("this generation has no socket"));
        };
        if let Some(refusing) = living.actor.take() {
            refusing.do_send(Stop);
        }
        let context = GatewayContext {
            slot: child.slot.clone(),
            generation: child.generation,
            token: living.token.clone(),
            upstreams: living.spec.upstreams.clone(),
            settings: living.spec.settings.clone(),
            credentials: self.credentials.clone(),
            tokenizer: self.tokenizer.clone(),
            rejection_threshold: living.spec.rejection_threshold,
            activity: Arc::clone(&living.activity),
            admission: Arc::new(ArcSwap::from_pointee(admission)),
            cut: CancellationToken::new(),
        };
        let socket = living.socket.try_clone()?;
        living.actor = Some(GatewayActor::new(Arc::new(context), socket, events).start());
        Ok(())
    }

    pub fn drain(&mut self, child: &Child, refusal: &Refusal) {
        let retry = matches!(refusal, Refusal::ServiceStopping);
        match self.actor(child) {
            Some(actor) => actor.do_send(Drain { reason: refusal.to_string(), retry }),
            None => self.already_stopped(child),
        }
    }

    pub fn stop(&mut self, child: &Child) {
        match self.actor(child) {
            Some(actor) => actor.do_send(Stop),
            None => self.already_stopped(child),
        }
    }

    /// Its listener is gone; the socket stays.
    pub fn ended(&mut self, child: &Child) {
        if let Some(living) = self.living.get_mut(child) {
            living.actor = None;
        }
    }

    /// It will not come back: its socket is closed, its token forgotten.
    pub fn forget(&mut self, child: &Child) {
        self.living.remove(child);
    }

    pub fn activity(&self, child: &Child) -> Option<&Arc<Activity>> {
        self.living.get(child).map(|living| &living.activity)
    }

    pub fn spec(&self, child: &Child) -> Option<&Spec> {
        self.living.get(child).map(|living| &living.spec)
    }

    pub fn address(&self, child: &Child) -> Option<SocketAddr> {
        self.living.get(child).map(|living| living.address)
    }

    pub fn token(&self, child: &Child) -> Option<&LocalToken> {
        self.living.get(child).map(|living| &living.token)
    }

    /// The generation that a local token opens.
    pub fn by_token(&self, token: &str) -> Option<&Child> {
        self.living.iter().find(|(_, living)| living.token.matches(token.as_bytes())).map(|(child, _)| child)
    }

    fn actor(&self, child: &Child) -> Option<&Addr<GatewayActor>> {
        self.living.get(child)?.actor.as_ref().filter(|actor| actor.connected())
    }

    fn already_stopped(&self, child: &Child) {
        let _ = self.events.send(Event::GatewayStopped { child: child.clone() });
    }

    #[cfg(test)]
    pub fn kill_worker(&self, child: &Child) {
        if let Some(actor) = self.actor(child) {
            actor.do_send(super::gateway::KillWorker);
        }
    }
}

/// A loopback listener; port 0 is any free one.
fn bind(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
