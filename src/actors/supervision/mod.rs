//! The pure core of the supervision: which gateways run, and what follows when one ends (DESIGN.md §2).
//!
//! [`Supervision::on`] takes one event and the moment it happened, and returns what to do; it performs nothing, reads no
//! clock and throws no dice. It knows slots, generations and fingerprints, never settings, sockets or tokens: those are
//! kept by the Supervisor actor under the same (slot, generation). Startup is a reload with nothing running.
//!
//! A restart after an unplanned end is the same generation again, for its address, token and settings stay; only a
//! replacement is a new number. Reading order: `vocabulary`, `slot`, `gateway`, [`budget`].

mod vocabulary;

mod slot;

mod gateway;

mod decisions;

pub mod budget;

pub mod snapshot;

pub mod session;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use self::decisions::{Decisions, Purpose, Timers};
use self::slot::{Heard, SlotRecord};
use self::snapshot::Snapshot;
pub use self::vocabulary::*;
use crate::ids::{BackendId, Fingerprint, Generation, Revision, Slot};

/// ```text
///  Running ──Stop──> Draining ──deadline, or a second Stop──> Stopping
///                       └───────── no gateway is left ───────────┴──> Finished
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining { deadline: TimerId },
    Stopping,
    Finished,
}

#[derive(Debug)]
pub struct Supervision {
    phase: Phase,
    policy: Policy,
    revision: Revision,
    /// Every slot ever wanted by this process.
    slots: BTreeMap<Slot, SlotRecord>,
    timers: Timers,
    dropped_events: u64,
}

impl Supervision {
    pub fn new(policy: Policy) -> Self {
        Self {
            phase: Phase::Running,
            policy,
            revision: Revision::default(),
            slots: BTreeMap::new(),
            timers: Timers::default(),
            dropped_events: 0,
        }
    }

    /// Takes in one event and says what to do about it, in order. `now` never goes back.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut decisions = Decisions {
            now,
            policy: self.policy,
            stopping: self.phase != Phase::Running,
            timers: std::mem::take(&mut self.timers),
            actions: Vec::new(),
        };
        self.take(event, &mut decisions);
        self.finish_if_empty(&mut decisions);
        self.timers = decisions.timers;
        decisions.actions
    }

    fn take(&mut self, event: Event, decisions: &mut Decisions) {
        match event {
            Event::Revision { .. } if decisions.stopping => {}
            Event::Revision { revision, cause, policy, wanted } => {
                self.revision = revision;
                self.obey(policy, decisions);
                self.accept(cause, wanted, decisions);
            }
            Event::Asked { slot, model, fingerprint, asker } => {
                let record = self.record(slot);
                record.asked(model, fingerprint, asker, decisions);
                record.review(decisions);
            }
            Event::Withdrawn { ask } => self.every_slot(decisions, |record, _| record.withdraw(ask)),
            Event::Rejoined { ask, slot, generation, lease, holder } => match self.slots.get_mut(&slot) {
                None => decisions.act(Action::Answer { ask, answer: Answer::Refused(Refusal::Retired { slot }) }),
                Some(record) => {
                    record.rejoined(ask, generation, lease, holder, decisions);
                    record.review(decisions);
                }
            },
            Event::LeaseEnded { lease } => self.end_lease(lease, decisions),
            Event::Gateway { slot, generation, event } => self.hear(&slot, generation, event, decisions),
            Event::Timer(timer) => self.fire(timer, decisions),
            Event::Release => self.every_slot(decisions, SlotRecord::release),
            Event::Stop => self.stop(decisions),
        }
    }

    fn obey(&mut self, policy: Policy, decisions: &mut Decisions) {
        if policy.retire_after != self.policy.retire_after {
            self.slots.values_mut().for_each(|record| record.forget_retire_timers(decisions));
        }
        self.policy = policy;
        decisions.policy = policy;
    }

    fn accept(&mut self, cause: RevisionCause, mut wanted: Vec<Wanted>, decisions: &mut Decisions) {
        let enabled: BTreeSet<BackendId> = wanted.iter().map(|wanted| wanted.slot.backend.clone()).collect();
        let mut named = BTreeSet::new();
        wanted.sort_by_key(|wanted| wanted.by);
        for wanted in wanted {
            named.insert(wanted.slot.clone());
            self.record(wanted.slot.clone()).wanted(wanted, cause, decisions);
        }
        self.every_slot(decisions, |record, decisions| {
            if !named.contains(&record.slot) {
                record.unwanted(enabled.contains(&record.slot.backend), decisions);
            }
        });
    }

    fn end_lease(&mut self, lease: LeaseId, decisions: &mut Decisions) {
        let mut is_known = false;
        self.every_slot(decisions, |record, decisions| is_known |= record.lease_ended(lease, decisions));
        self.dropped_events += u64::from(!is_known);
    }

    fn hear(&mut self, slot: &Slot, generation: Generation, event: GatewayEvent, decisions: &mut Decisions) {
        let heard = match self.slots.get_mut(slot) {
            None => Heard::Dropped,
            Some(record) => {
                let heard = record.gateway_event(generation, event, decisions);
                record.review(decisions);
                heard
            }
        };
        self.dropped_events += u64::from(heard == Heard::Dropped);
    }

    fn fire(&mut self, timer: TimerId, decisions: &mut Decisions) {
        match decisions.timers.fired(timer) {
            None => {}
            Some(Purpose::Deadline) => self.stop_at_once(decisions),
            Some(Purpose::Restart(slot, generation)) => {
                self.one_slot(&slot, decisions, |record, decisions| record.backoff_over(generation, decisions));
            }
            Some(Purpose::Damping(slot)) => self.one_slot(&slot, decisions, SlotRecord::damping_over),
            Some(Purpose::Retire(slot, generation)) => {
                self.one_slot(&slot, decisions, |record, _| record.retire_timer_fired(generation));
            }
        }
    }

    fn stop(&mut self, decisions: &mut Decisions) {
        match self.phase {
            Phase::Running => {
                decisions.stopping = true;
                let deadline = decisions.arm(decisions.policy.drain_deadline, Purpose::Deadline);
                self.phase = Phase::Draining { deadline };
                self.every_slot(decisions, SlotRecord::stop);
            }
            Phase::Draining { deadline } => {
                decisions.timers.cancel(Some(deadline));
                self.stop_at_once(decisions);
            }
            Phase::Stopping | Phase::Finished => {}
        }
    }

    fn stop_at_once(&mut self, decisions: &mut Decisions) {
        self.phase = Phase::Stopping;
        self.every_slot(decisions, SlotRecord::stop_at_once);
    }

    fn finish_if_empty(&mut self, decisions: &mut Decisions) {
        let is_empty = self.slots.values().all(|record| record.gateways.is_empty());
        let deadline = match self.phase {
            Phase::Draining { deadline } if is_empty => Some(deadline),
            Phase::Stopping if is_empty => None,
            Phase::Running | Phase::Draining { .. } | Phase::Stopping | Phase::Finished => return,
        };
        decisions.timers.cancel(deadline);
        self.phase = Phase::Finished;
        decisions.act(Action::Finish);
    }

    fn record(&mut self, slot: Slot) -> &mut SlotRecord {
        self.slots.entry(slot.clone()).or_insert_with(|| SlotRecord::new(slot))
    }

    fn one_slot(
        &mut self,
        slot: &Slot,
        decisions: &mut Decisions,
        change: impl FnOnce(&mut SlotRecord, &mut Decisions),
    ) {
        if let Some(record) = self.slots.get_mut(slot) {
            change(record, decisions);
            record.review(decisions);
        }
    }

    /// All are changed before any is reviewed: what stops, stops together.
    fn every_slot(&mut self, decisions: &mut Decisions, mut change: impl FnMut(&mut SlotRecord, &mut Decisions)) {
        self.slots.values_mut().for_each(|record| change(record, decisions));
        self.slots.values_mut().for_each(|record| record.review(decisions));
    }
}

// What others may know.
impl Supervision {
    /// The generation that new work goes to, if it serves now.
    pub fn serving(&self, slot: &Slot) -> Option<Generation> {
        self.slots.get(slot)?.serving()
    }

    /// The slots that are wanted because somebody asked. The next revision names those of enabled backends as
    /// [`WantedBy::Asking`]; all of them are kept in the state folder.
    pub fn asked(&self) -> impl Iterator<Item = &Slot> {
        let is_asked =
            |record: &&SlotRecord| record.want.as_ref().is_some_and(|want| want.claims.env || want.claims.asked);
        self.slots.values().filter(is_asked).map(|record| &record.slot)
    }

    /// What is wanted of each slot now.
    pub fn wishes(&self) -> impl Iterator<Item = (&Slot, Fingerprint)> {
        self.slots.values().filter_map(|record| Some((&record.slot, record.want.as_ref()?.fingerprint)))
    }

    /// Every wanted slot serves or is past its first failed start: the service has started (DESIGN.md §8).
    pub fn is_settled(&self) -> bool {
        self.slots.values().all(SlotRecord::is_settled)
    }

    pub fn snapshot(&self) -> Snapshot {
        let quarantined =
            |record: &SlotRecord| record.quarantine.as_ref().map(|quarantine| (record.slot.clone(), quarantine.reason));
        Snapshot {
            revision: self.revision,
            gateways: self.slots.values().flat_map(snapshot::of_slot).collect(),
            quarantined: self.slots.values().filter_map(quarantined).collect(),
            dropped_events: self.dropped_events,
        }
    }
}
