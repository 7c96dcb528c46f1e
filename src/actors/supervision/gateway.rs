//! One generation of a slot's gateway, as the core sees it: where it is in its life, and what part it plays in its slot.
//!
//! The two are independent: an old generation with a lease is restarted like the current one, and a new one can be
//! quarantined while the current one serves. A restart keeps the generation's number, for address, token and settings
//! stay the same (DESIGN.md §1); `restarts` counts it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::decisions::Decisions;
use super::vocabulary::{EndCause, Holder, LeaseId, QuarantineReason, Retirement, StartCause, TimerId};
use crate::ids::{Fingerprint, ModelId};

/// ```text
///                 ready                 not needed any more
///    Starting ─────────────> Serving ──────────────────────────> Ending ──stopped──> (gone)
///     ^  │ ^                    │ unplanned end                    ^
///     │  │ └─timer─ BackingOff <┤ budget left                      │
///     │  └─failed──────^        v budget spent                     │
///     └──── SIGHUP ──────── Quarantined ───────────────────────────┘ (so does every other stage)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Serving {
        /// Requests running at the last sample.
        running: u64,
        sampled: Option<Instant>,
    },
    BackingOff {
        timer: TimerId,
    },
    /// Nothing lives here but a refusal.
    Quarantined(Quarantine),
    Ending {
        why: Retirement,
        /// Told to stop whatever runs.
        forced: bool,
        /// Requests running at the last sample.
        running: u64,
    },
}

/// No start of a tried fingerprint until SIGHUP, or until the wish is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quarantine {
    /// Those that ended unplanned in the window.
    pub tried: Vec<Fingerprint>,
    pub reason: QuarantineReason,
}

/// ```text
///  Next ──ready the first time──> Current ──replaced or not wanted──> Old
///    └────────────────────── superseded ──────────────────────────────^
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Never ready so far.
    Next,
    /// Takes the slot's new leases and turns. At most one per slot.
    Current,
    /// Takes no new leases and never becomes current again.
    Old { why: Retirement },
}

#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub model: Option<ModelId>,
    pub fingerprint: Fingerprint,
    pub cause: StartCause,
    pub role: Role,
    pub stage: Stage,
    /// Known from the first `Ready` on, the same for the whole life.
    pub address: Option<SocketAddr>,
    pub leases: BTreeMap<LeaseId, Holder>,
    pub restarts: u64,
    pub last_end: Option<EndCause>,
    /// The latest of: start, becoming old, the last lease's end, the last known use.
    pub idle_since: Instant,
    pub retire: Option<TimerId>,
}

/// Whether a gateway that is not needed any more stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Over,
    /// As far as the last sample tells: look again, then decide.
    Look,
    Wait(Duration),
}

impl Gateway {
    pub fn is_held(&self, stopping: bool) -> bool {
        self.leases.values().any(|holder| match holder {
            Holder::Turn => true,
            Holder::Terminal => !stopping,
        })
    }

    pub fn is_old(&self) -> bool {
        match self.role {
            Role::Next | Role::Current => false,
            Role::Old { .. } => true,
        }
    }

    pub fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving { .. })
    }

    /// It does not serve, but it is about to.
    pub fn is_coming(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::BackingOff { .. })
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Requests running at the last sample.
    pub fn running(&self) -> u64 {
        match self.stage {
            Stage::Serving { running, .. } | Stage::Ending { running, .. } => running,
            Stage::Starting | Stage::BackingOff { .. } | Stage::Quarantined(_) => 0,
        }
    }

    pub fn is_quarantined(&self) -> bool {
        matches!(self.stage, Stage::Quarantined(_))
    }

    pub fn used(&mut self, at: Instant) {
        self.idle_since = self.idle_since.max(at);
    }

    /// Why it is not needed any more, if so. `forgotten`: its slot was only asked for, and nobody holds or awaits it.
    pub fn retirement(&self, forgotten: bool, stopping: bool) -> Option<Retirement> {
        if self.is_ending() || self.is_held(stopping) {
            return None;
        }
        match self.role {
            _ if stopping => Some(Retirement::ServiceStopping),
            Role::Old { why } => Some(why),
            Role::Next | Role::Current => (forgotten && !self.is_coming()).then_some(Retirement::Idle),
        }
    }

    pub fn patience(&self, why: Retirement, decisions: &Decisions) -> Patience {
        let is_fresh = match self.stage {
            Stage::Starting | Stage::BackingOff { .. } | Stage::Ending { .. } => return Patience::Over,
            Stage::Serving { sampled, .. } => sampled == Some(decisions.now),
            Stage::Quarantined(_) => true,
        };
        if !waits_for_idleness(why) {
            return Patience::Over;
        }
        let idle = decisions.now.saturating_duration_since(self.idle_since);
        match decisions.policy.retire_after.checked_sub(idle) {
            Some(left) if !left.is_zero() => Patience::Wait(left),
            Some(_) | None if is_fresh => Patience::Over,
            Some(_) | None => Patience::Look,
        }
    }
}

fn waits_for_idleness(why: Retirement) -> bool {
    match why {
        Retirement::Replaced | Retirement::Idle | Retirement::Unwanted => true,
        Retirement::Superseded | Retirement::BackendDisabled | Retirement::Died | Retirement::ServiceStopping => false,
    }
}
