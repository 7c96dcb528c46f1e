//! What the actors say to each other: commands go down as actor messages, events come up through one channel.
//!
//! Children hold no address of the Supervisor; they hold an [`Events`] sender. Every event of a gateway names its
//! child, so that one of a generation long gone is recognised and dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::supervision::{EndCause, TimerId};
use crate::http::control::status::SessionReport;
use crate::ids::{BackendId, Generation, Revision, SessionName, Slot};
use crate::providers::openai::models::ModelEntry;
use crate::settings::Settings;

/// The way up. Unbounded, because what travels on it is rare and must not be lost: lives, not requests.
pub type Events = mpsc::UnboundedSender<Event>;

/// What a signal of the system asks of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the config again, release what is quarantined.
    Reload,
    /// SIGTERM or SIGINT: drain, then stop.
    Stop,
    /// SIGUSR1: log a status.
    Status,
}

/// A gateway's incarnation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child {
    pub slot: Slot,
    pub generation: Generation,
}

/// One run of a listener: a generation has a further one after each restart. What an earlier run still has to say is
/// known by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run(pub u64);

/// What becomes of a listener: at most one `Ready`, then exactly one of the others.
#[derive(Debug)]
pub enum Report {
    Ready {
        address: SocketAddr,
    },
    /// As it was told to.
    Stopped,
    /// Unplanned; `detail` is for the log.
    Ended {
        cause: EndCause,
        detail: String,
    },
}

#[derive(Debug)]
pub enum Event {
    /// A config was accepted.
    ConfigAccepted {
        settings: Arc<Settings>,
        revision: Revision,
        cause: ReloadCause,
    },
    /// The first config could not be used: nothing can start.
    ConfigUnusable,
    /// A later one could not be used: the running revision stays.
    ConfigKept,
    /// A listener tells about itself.
    Listener {
        child: Child,
        run: Run,
        report: Report,
    },
    /// A generation behind whose socket nothing runs was told to end: it has.
    GatewayStopped {
        child: Child,
    },
    /// A generation could not be started; `detail` is for the log.
    GatewayNotStarted {
        child: Child,
        cause: EndCause,
        detail: String,
    },
    /// A backend's model list is known anew, or could not be had.
    ModelsAsked {
        backend: BackendId,
        origin: String,
        models: Option<Vec<ModelEntry>>,
    },
    /// What a session says of itself now.
    SessionChanged {
        session: SessionName,
        report: SessionReport,
    },
    /// It runs nothing and will not: it was taken out, or the service is stopping.
    SessionFinished {
        session: SessionName,
    },
    TimerFired(TimerId),
    Signalled(Signal),
}

/// Why the config was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    Start,
    /// SIGHUP.
    Signal,
    /// The file has changed.
    Edit,
    /// A login has come that a backend waited for.
    Login,
}

impl ReloadCause {
    pub fn as_str(self) -> &'static str {
        match self {
            ReloadCause::Start => "start",
            ReloadCause::Signal => "signal",
            ReloadCause::Edit => "edit",
            ReloadCause::Login => "login",
        }
    }
}
