//! One slot: what is wanted of it, the generations that live for it, and its memory of ends and replacements.
//!
//! Each event changes one thing: what is wanted ([`wishes`]) or what runs ([`events`]). [`SlotRecord::review`] then compares
//! the two and decides the rest ([`plan`]).
//! What is wanted ([`Want`]) and what runs ([`Gateway`]) are never the same type. A record outlives its generations, so
//! that numbers grow, and so that switching a backend off and on is no way around a quarantine.

mod wishes;

mod events;

mod plan;

use std::collections::BTreeMap;

use super::budget::Budget;
use super::gateway::{Gateway, Quarantine, Role};
use super::vocabulary::{AskId, EndCause, Holder, LeaseId, QuarantineReason, Refusal, Retirement, StartCause, TimerId};
use crate::ids::{Fingerprint, Generation, ModelId, Slot};

#[derive(Debug)]
pub(super) struct SlotRecord {
    pub slot: Slot,
    pub want: Option<Want>,
    pub gateways: BTreeMap<Generation, Gateway>,
    pub last_generation: Generation,
    /// How often a new generation took over.
    pub replaced: u64,
    pub quarantine: Option<Quarantine>,
    ends: Budget<UnplannedEnd>,
    replacements: Budget<StartCause>,
    /// A replacement is due when this timer fires.
    damped: Option<TimerId>,
    waiting: Vec<Waiting>,
}

/// The newest wish.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub model: Option<ModelId>,
    pub fingerprint: Fingerprint,
    pub cause: StartCause,
    pub claims: Claims,
}

/// On whose account a slot is wanted; at least one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub configured: bool,
    /// Until the backend goes or the service stops.
    pub env: bool,
    /// Until the last lease ends, then idle for `retire_after`.
    pub asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct UnplannedEnd {
    cause: EndCause,
    fingerprint: Fingerprint,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ask: AskId,
    lease: Option<(LeaseId, Holder)>,
}

/// Whether an event made sense; what made none is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Heard {
    Taken,
    Dropped,
}

impl SlotRecord {
    pub fn new(slot: Slot) -> Self {
        Self {
            slot,
            want: None,
            gateways: BTreeMap::new(),
            last_generation: Generation(0),
            replaced: 0,
            quarantine: None,
            ends: Budget::default(),
            replacements: Budget::default(),
            damped: None,
            waiting: Vec::new(),
        }
    }

    pub fn current(&self) -> Option<Generation> {
        self.in_role(Role::Current)
    }

    /// The current generation, if it serves.
    pub fn serving(&self) -> Option<Generation> {
        self.current().filter(|current| self.gateways[current].is_serving())
    }

    /// Past its first start, however that went; nothing to wait for at the service's start.
    pub fn is_settled(&self) -> bool {
        let has_tried = |gateway: &Gateway| match gateway.role {
            Role::Current => true,
            Role::Next => gateway.last_end.is_some(),
            Role::Old { .. } => false,
        };
        self.want.is_none() || self.quarantine.is_some() || self.gateways.values().any(has_tried)
    }

    fn next(&self) -> Option<Generation> {
        self.in_role(Role::Next)
    }

    fn in_role(&self, role: Role) -> Option<Generation> {
        self.gateways.iter().find(|(_, gateway)| gateway.role == role).map(|(generation, _)| *generation)
    }

    fn quarantined_generations(&self) -> impl Iterator<Item = Generation> {
        self.gateways.iter().filter(|(_, gateway)| gateway.is_quarantined()).map(|(generation, _)| *generation)
    }

    fn quarantined(&self, reason: QuarantineReason) -> Refusal {
        Refusal::Quarantined { slot: self.slot.clone(), reason }
    }

    fn refusal(&self, why: Retirement) -> Refusal {
        let slot = self.slot.clone();
        match why {
            Retirement::BackendDisabled => Refusal::BackendDisabled { slot },
            Retirement::ServiceStopping => Refusal::ServiceStopping,
            Retirement::Replaced
            | Retirement::Superseded
            | Retirement::Idle
            | Retirement::Unwanted
            | Retirement::Died => Refusal::Retired { slot },
        }
    }

    fn gateway(&mut self, generation: Generation, change: impl FnOnce(&mut Gateway)) {
        if let Some(gateway) = self.gateways.get_mut(&generation) {
            change(gateway);
        }
    }
}
