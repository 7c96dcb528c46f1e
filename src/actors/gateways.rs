//! The living generations, as the Supervisor keeps them: their sockets, local tokens and listeners.
//!
//! A socket and its token live here from a generation's first start until the core knows it no more, so a restart keeps
//! both, and connections made meanwhile wait in the socket's backlog. Decides nothing: the core says what to start and
//! stop. A listener that only refuses, behind the socket of a quarantined generation, is no matter of the core's: what it
//! has to say stays here, and it makes room before the generation is started again, so that never two accept on a socket.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::gateway::{Drain, GatewayActor, Stop};
use super::messages::{Child, Event, Events, Report, Run};
use super::supervision::{EndCause, GatewayEvent, Refusal};
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
    /// Generations without a listener that were told to end, and were said to have ended.
    said_stopped: HashSet<Child>,
    last_run: Run,
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
    listener: Option<Listener>,
}

struct Listener {
    run: Run,
    actor: Addr<GatewayActor>,
    part: Part,
}

/// ```text
///   Serves ───told to end──> Leaves
///   Refuses ──told to end──────^
///      └──────told to start──> MakesRoom ──its end──> (another one) Serves
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What it says is for the core.
    Serves,
    /// The core takes the generation for dead.
    Refuses,
    /// It refuses still; with its end the generation is started again.
    MakesRoom,
    /// Its end is what the core waits for.
    Leaves,
}

/// A port and token to take if they can be had: those of a slot's generation before the service restarted.
pub struct Kept {
    pub port: u16,
    pub token: LocalToken,
}

impl Gateways {
    pub fn new(events: Events, credentials: CredentialSource) -> Self {
        Self {
            living: HashMap::new(),
            said_stopped: HashSet::new(),
            last_run: Run(0),
            events,
            credentials,
            tokenizer: Tokenizer::default(),
        }
    }

    /// Starts a new generation on a socket of its own.
    ///
    /// # Errors
    /// No loopback port can be bound, or no thread can be had.
    pub fn start(&mut self, child: &Child, spec: Spec, kept: Option<Kept>) -> io::Result<()> {
        let (socket, token) = match kept.map(|kept| (bind(kept.port), kept.token)) {
            Some((Ok(socket), token)) => (socket, token),
            // A taken port means a new one, and then a new token.
            Some((Err(_), _)) | None => (bind(0)?, LocalToken::random()?),
        };
        let address = socket.local_addr()?;
        let activity = Arc::new(Activity::new(Instant::now()));
        let living = Living { socket, address, token, spec, activity, listener: None };
        self.living.insert(child.clone(), living);
        self.run(child, Part::Serves, Admission::Open)
    }

    /// Starts the same generation again, on the socket that it had.
    ///
    /// # Errors
    /// The socket cannot be cloned, or no thread can be had.
    pub fn restart(&mut self, child: &Child) -> io::Result<()> {
        match self.listener(child) {
            Some(refusing) => {
                refusing.part = Part::MakesRoom;
                refusing.actor.do_send(Stop);
                Ok(())
            }
            None => self.run(child, Part::Serves, Admission::Open),
        }
    }

    /// Lets the generation's port answer with a refusal.
    pub fn refuse(&mut self, child: &Child, refusal: &Refusal) {
        if !self.living.contains_key(child) {
            // It never had a port.
            return;
        }
        let admission = Admission::Refusing { reason: refusal.to_string(), retry: false };
        if let Err(error) = self.run(child, Part::Refuses, admission) {
            // Its connections wait in the backlog then, until the core's next word.
            warn!(
                event = "library.logged",
                backend = %child.slot.backend,
                generation = child.generation.0,
                error = %error,
                "the port of a quarantined gateway does not answer"
            );
        }
    }

    fn run(&mut self, child: &Child, part: Part, admission: Admission) -> io::Result<()> {
        let Some(living) = self.living.get_mut(child) else {
            return Err(io::Error::other("this generation has no socket"));
        };
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
        let run = Run(self.last_run.0 + 1);
        self.last_run = run;
        let socket = living.socket.try_clone()?;
        let actor = GatewayActor::new(Arc::new(context), socket, run, self.events.clone())?.start();
        living.listener = Some(Listener { run, actor, part });
        Ok(())
    }

    pub fn drain(&mut self, child: &Child, refusal: &Refusal) {
        let retry = matches!(refusal, Refusal::ServiceStopping);
        match self.listener(child) {
            Some(listener) => {
                listener.part = Part::Leaves;
                listener.actor.do_send(Drain { reason: refusal.to_string(), retry });
            }
            None => self.say_stopped(child),
        }
    }

    pub fn stop(&mut self, child: &Child) {
        match self.listener(child) {
            Some(listener) => {
                listener.part = Part::Leaves;
                listener.actor.do_send(Stop);
            }
            None => self.say_stopped(child),
        }
    }

    /// What a listener's report means for the core, if anything; with a detail for the log.
    pub fn heard(&mut self, child: &Child, run: Run, report: Report) -> Option<(GatewayEvent, String)> {
        let part = self.listener(child).filter(|listener| listener.run == run)?.part;
        let end = match report {
            Report::Ready { address } => {
                return (part == Part::Serves).then_some((GatewayEvent::Ready { address }, String::new()));
            }
            Report::Stopped => (GatewayEvent::Stopped, String::new()),
            Report::Ended { cause, detail } => (GatewayEvent::Ended { cause }, detail),
        };
        self.living.get_mut(child)?.listener = None;
        match part {
            Part::Serves | Part::Leaves => Some(end),
            Part::Refuses => None,
            Part::MakesRoom => {
                let error = self.run(child, Part::Serves, Admission::Open).err()?;
                Some((GatewayEvent::Ended { cause: EndCause::StartFailed }, error.to_string()))
            }
        }
    }

    /// Closes the sockets and forgets the tokens of all generations but those that the core still knows.
    pub fn keep(&mut self, is_known: impl Fn(&Child) -> bool) {
        self.living.retain(|child, _| is_known(child));
        self.said_stopped.retain(|child| is_known(child));
    }

    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.living.values().map(|living| &living.spec)
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

    fn listener(&mut self, child: &Child) -> Option<&mut Listener> {
        self.living.get_mut(child)?.listener.as_mut()
    }

    /// Once, however often it is told to end.
    fn say_stopped(&mut self, child: &Child) {
        if self.said_stopped.insert(child.clone()) {
            let _ = self.events.send(Event::GatewayStopped { child: child.clone() });
        }
    }

    #[cfg(test)]
    pub fn befall(&self, child: &Child, misfortune: super::gateway::Misfortune) {
        if let Some(listener) = self.living.get(child).and_then(|living| living.listener.as_ref()) {
            listener.actor.do_send(misfortune);
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
