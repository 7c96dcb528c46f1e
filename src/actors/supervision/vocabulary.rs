//! What goes into the core and what comes out of it: events, actions, notes for the log, and the causes in them.
//!
//! Every enum here is closed, so that logs can be counted and every consumer matches exhaustively. The contract of the
//! one who performs the actions is written on [`Action`].

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::budget::Limits;
use crate::ids::{Fingerprint, Generation, ModelId, Revision, Slot};

/// The `[supervisor]` keys that the core obeys. Every revision brings its own; timers already armed keep their delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub restarts: Limits,
    /// How long an old or merely asked generation must have been idle before it stops.
    pub retire_after: Duration,
    /// What running requests and turns get at service stop.
    pub drain_deadline: Duration,
}

/// A slot that a revision wants, as the settings describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub slot: Slot,
    /// The model the slot resolves to; absent while none is configured and none is discovered.
    pub model: Option<ModelId>,
    pub fingerprint: Fingerprint,
    pub by: WantedBy,
}

/// If a slot is listed both ways, the config counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedBy {
    /// Listed because [`super::Supervision::asked`] names it and its backend is still enabled.
    Asking,
    /// An enabled backend, or a session's model.
    Config,
}

/// What made the settings say something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionCause {
    /// The first one of this process.
    Startup,
    Config,
    /// Same config, but a discovered default model resolved or changed.
    ModelDiscovered,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}

number! {
    /// One question that waits for an [`Action::Answer`]; numbered by the one who asks, never twice the same.
    AskId
}
number! {
    /// One lease; numbered by the one who holds the connection or runs the turn, never twice the same.
    LeaseId
}
number! {
    /// One [`Action::Arm`]; numbered by the core, never twice the same.
    TimerId
}

/// Who keeps a generation alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A `claudette claude` in a terminal: does not delay a service stop.
    Terminal,
    /// A running turn of a session: a service stop waits for it, up to the deadline.
    Turn,
}

/// Who asks for a slot, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// `claudette env`: the slot then stays wanted until its backend goes or the service stops.
    Env { ask: AskId },
    /// `claudette claude` or a turn: the lease is taken in the moment of the answer.
    Lease { ask: AskId, lease: LeaseId, holder: Holder },
    /// An asked slot of the service's last run: wanted until idle for `retire_after`. Nobody waits for an answer.
    Restored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A revision was accepted. `wanted` is complete: what it does not name is wanted no longer. A backend of which
    /// nothing is named is disabled or removed. Startup is the same event with nothing running.
    Revision {
        revision: Revision,
        cause: RevisionCause,
        policy: Policy,
        wanted: Vec<Wanted>,
    },
    /// Somebody asks for a slot of an *enabled* backend (a wrong name never gets here). `model` and `fingerprint` are
    /// those of the running revision; they count only if the slot is not wanted yet.
    Asked {
        slot: Slot,
        model: Option<ModelId>,
        fingerprint: Fingerprint,
        asker: Asker,
    },
    /// An asker gave up waiting. (One that waits for a lease may as well send [`Event::LeaseEnded`].)
    Withdrawn {
        ask: AskId,
    },
    /// A holder shows the local token of `generation` again, after its connection or the service went away.
    Rejoined {
        ask: AskId,
        slot: Slot,
        generation: Generation,
        lease: LeaseId,
        holder: Holder,
    },
    LeaseEnded {
        lease: LeaseId,
    },
    /// What became of one child.
    Gateway {
        slot: Slot,
        generation: Generation,
        event: GatewayEvent,
    },
    /// The delay of an [`Action::Arm`] is over. A timer that has become meaningless may fire; it is ignored.
    Timer(TimerId),
    /// SIGHUP: quarantined slots get a fresh start. (The reload that SIGHUP also means comes as a [`Event::Revision`].)
    Release,
    /// SIGTERM or SIGINT: drain and stop. A second one stops at once.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// It accepts connections.
    Ready { address: SocketAddr },
    /// An unplanned end, or a start that failed.
    Ended { cause: EndCause },
    /// The end that [`Action::Drain`] or [`Action::Stop`] asked for.
    Stopped,
    /// The gateway's counters: requests running now, and when the last one began or ended.
    Sampled { running: u64, last_use: Option<Instant> },
}

macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

causes! {
    /// Why a gateway ended without being told to.
    EndCause {
        /// The accept loop ended.
        ListenerDied = "listener_died",
        /// The gateway's thread panicked outside any request.
        ThreadPanicked = "thread_panicked",
        /// The GatewayActor ended.
        ActorEnded = "actor_ended",
        /// No socket, or no address to bind.
        BindFailed = "bind_failed",
        /// Any other failed start.
        StartFailed = "start_failed",
    }
}

causes! {
    /// Why a generation was started.
    StartCause {
        Startup = "startup",
        /// Its backend became enabled, or a session names its model.
        Configured = "configured",
        Asked = "asked",
        Restored = "restored",
        SettingsChanged = "settings_changed",
        ModelChanged = "model_changed",
        ModelDiscovered = "model_discovered",
    }
}

causes! {
    /// Why a generation stops in good order.
    Retirement {
        /// A newer generation serves its slot.
        Replaced = "replaced",
        /// It was never current, and the wish is another one by now.
        Superseded = "superseded",
        /// Its slot was only asked for, and nobody used it for `retire_after`.
        Idle = "idle",
        /// Its slot is not configured any more; the backend is.
        Unwanted = "unwanted",
        BackendDisabled = "backend_disabled",
        /// It ended unplanned while it was an old one without a lease: not restarted.
        Died = "died",
        ServiceStopping = "service_stopping",
    }
}

causes! {
    /// What ended a quarantine.
    ReleaseCause {
        FingerprintChanged = "fingerprint_changed",
        Sighup = "sighup",
    }
}

/// Why a gateway's port, or the control endpoint, answers no. [`fmt::Display`] is a sentence for the person: what is the
/// case and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    BackendDisabled {
        slot: Slot,
    },
    Quarantined {
        slot: Slot,
        reason: QuarantineReason,
    },
    /// The generation is not the current one any more and takes no new work.
    Retired {
        slot: Slot,
    },
    ServiceStopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackendDisabled { slot } => write!(f, "backend {} is disabled", slot.backend),
            Self::Quarantined { slot, reason } => write!(
                f,
                "the gateway of {slot} is quarantined: {reason}; change its settings, or send SIGHUP to the service to \
                 try again"
            ),
            Self::Retired { slot } => {
                write!(f, "this gateway of {slot} was replaced and has stopped; run `claudette env {}`", slot.backend)
            }
            Self::ServiceStopping => f.write_str("the claudette service is stopping"),
        }
    }
}

/// What exhausted the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineReason {
    /// Unplanned ends within the window.
    pub ends: usize,
    pub period: Duration,
    pub last: EndCause,
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ends, period, last } = self;
        write!(f, "it ended {ends} times within {period:?}, last by {last}")
    }
}

/// How a gateway is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    /// A new generation: a new socket and token, or the kept ones of the last run if the fingerprint is the same.
    New,
    /// The same generation again: same settings, same socket and token, if it got that far.
    Restart,
}

/// What the Supervisor actor has to do, in this order.
///
/// Its side of the contract: `Start` is followed by `Ready` or `Ended`; after `Ready` comes at most one `Ended`; `Drain`
/// and `Stop`, whatever the gateway's state, are followed by exactly one `Stopped` (or the `Ended` that came first). The
/// socket and token of a generation live until its `Stopped`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    Start {
        slot: Slot,
        generation: Generation,
        model: Option<ModelId>,
        fingerprint: Fingerprint,
        kind: StartKind,
    },
    /// Nothing lives behind the generation's socket, if it has one: answer its connections with the refusal (token
    /// checked first). Ends with a `Start` or `Stop` of the same generation.
    Refuse {
        slot: Slot,
        generation: Generation,
        refusal: Refusal,
    },
    /// Answer new requests with the refusal, let the running ones end, then stop.
    Drain {
        slot: Slot,
        generation: Generation,
        refusal: Refusal,
    },
    /// Stop now, whatever runs.
    Stop {
        slot: Slot,
        generation: Generation,
    },
    /// Read the gateway's counters and send them as [`GatewayEvent::Sampled`].
    Sample {
        slot: Slot,
        generation: Generation,
    },
    /// Send [`Event::Timer`] after the delay, plus jitter where many would fire at once.
    Arm {
        timer: TimerId,
        delay: Duration,
    },
    Answer {
        ask: AskId,
        answer: Answer,
    },
    Log(Note),
    /// After [`Event::Stop`]: no gateway is left.
    Finish,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Wired to this generation; an asked lease is held from now on.
    Granted {
        slot: Slot,
        generation: Generation,
    },
    Refused(Refusal),
}

/// One log event each (DESIGN.md §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Ready {
        slot: Slot,
        generation: Generation,
        address: SocketAddr,
        cause: StartCause,
        restarts: u64,
    },
    /// `generation` is current now, `previous` drains.
    Replaced {
        slot: Slot,
        generation: Generation,
        previous: Generation,
        cause: StartCause,
    },
    Drained {
        slot: Slot,
        generation: Generation,
        cause: Retirement,
    },
    Exited {
        slot: Slot,
        generation: Generation,
        cause: EndCause,
    },
    RestartScheduled {
        slot: Slot,
        generation: Generation,
        cause: EndCause,
        delay: Duration,
    },
    RestartLoop {
        slot: Slot,
        generation: Generation,
        chain: Chain,
    },
    Quarantined {
        slot: Slot,
        generation: Generation,
        reason: QuarantineReason,
    },
    Released {
        slot: Slot,
        cause: ReleaseCause,
    },
}

impl Note {
    pub fn event(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "gateway.ready",
            Self::Replaced { .. } => "gateway.replaced",
            Self::Drained { .. } => "gateway.drained",
            Self::Exited { .. } => "gateway.exited",
            Self::RestartScheduled { .. } => "gateway.restart_scheduled",
            Self::RestartLoop { .. } => "gateway.restart_loop",
            Self::Quarantined { .. } => "gateway.quarantined",
            Self::Released { .. } => "gateway.released",
        }
    }
}

/// The causes that make a loop, oldest first; [`fmt::Display`] joins them with arrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    Unplanned(Vec<EndCause>),
    /// The last cause is the replacement that now waits for `delay`.
    Planned {
        causes: Vec<StartCause>,
        delay: Duration,
    },
}

impl Chain {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unplanned(causes) => match causes.last() {
                Some(EndCause::BindFailed) => "no loopback address could be bound: look at open files and firewalls",
                Some(_) | None => "look at the `gateway.exited` and `process.panicked` lines before this one",
            },
            Self::Planned { causes, .. } => match causes.last() {
                Some(StartCause::ModelDiscovered) => {
                    "the upstream's model list keeps changing: set default_model to pin one"
                }
                Some(_) | None => "something keeps rewriting the config: look for a tool that saves it in turns",
            },
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = match self {
            Self::Unplanned(causes) => causes.iter().map(|cause| cause.as_str()).collect(),
            Self::Planned { causes, .. } => causes.iter().map(|cause| cause.as_str()).collect(),
        };
        f.write_str(&names.join(" -> "))
    }
}
