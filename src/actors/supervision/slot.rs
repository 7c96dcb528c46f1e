//! One slot: what is wanted of it, the generations that live for it, and its memory of ends and replacements.
//!
//! Each event changes one thing; [`SlotRecord::review`] then compares what is wanted with what runs and decides the rest.
//! What is wanted ([`Want`]) and what runs ([`Gateway`]) are never the same type. A record outlives its generations, so
//! that numbers grow, and so that switching a backend off and on is no way around a quarantine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::{Budget, Verdict};
use super::decisions::{Decisions, Purpose};
use super::gateway::{Gateway, Patience, Quarantine, Role, Stage};
use super::vocabulary::{
    Action, Answer, AskId, Asker, Chain, EndCause, GatewayEvent, Holder, LeaseId, Note, QuarantineReason, Refusal,
    ReleaseCause, Retirement, RevisionCause, StartCause, StartKind, TimerId, Wanted, WantedBy,
};
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

// What is wanted.
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

    /// A revision names this slot. One that is named only because it was asked for, and is not wanted any more by now,
    /// stays unwanted.
    pub fn wanted(&mut self, wanted: Wanted, cause: RevisionCause, decisions: &mut Decisions) {
        let before = self.want.as_ref().map(|want| want.claims).unwrap_or_default();
        let claims = Claims { configured: wanted.by == WantedBy::Config, ..before };
        if claims == Claims::default() {
            return self.unwanted(true, decisions);
        }
        let Wanted { model, fingerprint, .. } = wanted;
        let cause = self.cause_of(&model, fingerprint, cause);
        self.want = Some(Want { model, fingerprint, cause, claims });
        self.change_retirement(Retirement::BackendDisabled, Retirement::Replaced);
    }

    fn cause_of(&self, model: &Option<ModelId>, fingerprint: Fingerprint, cause: RevisionCause) -> StartCause {
        match (&self.want, cause) {
            (Some(want), _) if want.fingerprint == fingerprint => want.cause,
            (Some(_), RevisionCause::ModelDiscovered) => StartCause::ModelDiscovered,
            (Some(want), _) if want.model != *model => StartCause::ModelChanged,
            (Some(_), _) => StartCause::SettingsChanged,
            (None, RevisionCause::Startup) => StartCause::Startup,
            (None, RevisionCause::Config | RevisionCause::ModelDiscovered) => StartCause::Configured,
        }
    }

    /// A revision does not name this slot. If its backend is enabled, who asked for it still has it.
    pub fn unwanted(&mut self, backend_enabled: bool, decisions: &mut Decisions) {
        if !backend_enabled {
            self.change_retirement(Retirement::Replaced, Retirement::BackendDisabled);
            self.change_retirement(Retirement::Unwanted, Retirement::BackendDisabled);
            return self.let_go(Retirement::BackendDisabled, decisions);
        }
        self.change_retirement(Retirement::BackendDisabled, Retirement::Unwanted);
        match &mut self.want {
            Some(want) if want.claims.env || want.claims.asked => want.claims.configured = false,
            Some(_) => self.let_go(Retirement::Unwanted, decisions),
            None => {}
        }
    }

    pub fn asked(&mut self, model: Option<ModelId>, fingerprint: Fingerprint, asker: Asker, decisions: &mut Decisions) {
        if let Some(refusal) = self.refusal_for(fingerprint, decisions) {
            return refuse(asker, refusal, decisions);
        }
        let cause = if asker == Asker::Restored { StartCause::Restored } else { StartCause::Asked };
        let claims = Claims::default();
        let want = self.want.get_or_insert(Want { model, fingerprint, cause, claims });
        match asker {
            Asker::Env { ask } => {
                want.claims.env = true;
                self.waiting.push(Waiting { ask, lease: None });
            }
            Asker::Lease { ask, lease, holder } => {
                want.claims.asked = true;
                self.waiting.push(Waiting { ask, lease: Some((lease, holder)) });
            }
            Asker::Restored => want.claims.asked = true,
        }
        if let Some(current) = self.current() {
            self.gateway(current, |gateway| gateway.used(decisions.now));
        }
    }

    /// An ask for a slot that nobody wants must not bring back what is quarantined.
    fn refusal_for(&self, fingerprint: Fingerprint, decisions: &Decisions) -> Option<Refusal> {
        match &self.quarantine {
            _ if decisions.stopping => Some(Refusal::ServiceStopping),
            Some(quarantine) if self.want.is_none() && quarantine.tried.contains(&fingerprint) => {
                Some(self.quarantined(quarantine.reason))
            }
            Some(_) | None => None,
        }
    }

    pub fn withdraw(&mut self, ask: AskId) {
        self.waiting.retain(|waiting| waiting.ask != ask);
    }

    /// Nobody wants the slot any more: nothing new starts, and what runs becomes old.
    fn let_go(&mut self, why: Retirement, decisions: &mut Decisions) {
        self.want = None;
        decisions.timers.cancel(self.damped.take());
        let refusal = self.refusal(why);
        self.refuse_waiting(&refusal, decisions);
        if let Some(next) = self.next() {
            self.set_aside(next, why, decisions);
        }
        if let Some(current) = self.current() {
            self.gateway(current, |gateway| {
                gateway.role = Role::Old { why };
                if why != Retirement::Idle {
                    gateway.used(decisions.now);
                }
            });
        }
    }

    fn change_retirement(&mut self, from: Retirement, to: Retirement) {
        for gateway in self.gateways.values_mut().filter(|gateway| gateway.role == Role::Old { why: from }) {
            gateway.role = Role::Old { why: to };
        }
    }
}

// What happens.
impl SlotRecord {
    /// A holder came back by its token. It may hold any generation that still serves it: an old one takes no new leases,
    /// but this is not a new one.
    pub fn rejoined(
        &mut self,
        ask: AskId,
        generation: Generation,
        lease: LeaseId,
        holder: Holder,
        decisions: &mut Decisions,
    ) {
        let slot = self.slot.clone();
        let answer = match self.gateways.get_mut(&generation) {
            _ if decisions.stopping => Answer::Refused(Refusal::ServiceStopping),
            Some(gateway) if !gateway.is_ending() => {
                gateway.leases.insert(lease, holder);
                Answer::Granted { slot, generation }
            }
            Some(_) | None => Answer::Refused(Refusal::Retired { slot }),
        };
        decisions.act(Action::Answer { ask, answer });
    }

    /// `false` if the lease is not one of this slot's.
    pub fn lease_ended(&mut self, lease: LeaseId, decisions: &mut Decisions) -> bool {
        let asks = self.waiting.len();
        self.waiting.retain(|waiting| waiting.lease.is_none_or(|(asked, _)| asked != lease));
        let mut is_known = self.waiting.len() < asks;
        for gateway in self.gateways.values_mut() {
            if gateway.leases.remove(&lease).is_some() {
                gateway.used(decisions.now);
                is_known = true;
            }
        }
        is_known
    }

    pub fn gateway_event(&mut self, generation: Generation, event: GatewayEvent, decisions: &mut Decisions) -> Heard {
        let Some(gateway) = self.gateways.get_mut(&generation) else {
            return Heard::Dropped;
        };
        match (&mut gateway.stage, event) {
            (Stage::Starting, GatewayEvent::Ready { address }) => self.ready(generation, address, decisions),
            (Stage::Starting | Stage::Serving { .. }, GatewayEvent::Ended { cause }) => {
                self.ended(generation, cause, decisions);
            }
            (Stage::Starting | Stage::Serving { .. }, GatewayEvent::Stopped) => {
                self.ended(generation, EndCause::ActorEnded, decisions);
            }
            (Stage::Serving { running, sampled }, GatewayEvent::Sampled { running: runs_now, last_use }) => {
                (*running, *sampled) = (runs_now, Some(decisions.now));
                gateway.used(if runs_now > 0 { decisions.now } else { last_use.unwrap_or(gateway.idle_since) });
            }
            (Stage::Ending { .. }, GatewayEvent::Stopped) => self.stopped(generation, decisions),
            (Stage::Ending { .. }, GatewayEvent::Ended { cause }) => {
                self.ended_on_the_way(generation, cause, decisions)
            }
            // These were under way when the gateway was told to end, or ended.
            (Stage::Ending { .. }, GatewayEvent::Ready { .. })
            | (
                Stage::Ending { .. } | Stage::BackingOff { .. } | Stage::Quarantined(_) | Stage::Starting,
                GatewayEvent::Sampled { .. },
            ) => {}
            (Stage::Serving { .. }, GatewayEvent::Ready { .. })
            | (
                Stage::BackingOff { .. } | Stage::Quarantined(_),
                GatewayEvent::Ready { .. } | GatewayEvent::Ended { .. } | GatewayEvent::Stopped,
            ) => return Heard::Dropped,
        }
        Heard::Taken
    }

    fn ready(&mut self, generation: Generation, address: SocketAddr, decisions: &mut Decisions) {
        let previous = self.current();
        let Some(gateway) = self.gateways.get_mut(&generation) else { return };
        gateway.stage = Stage::Serving { running: 0, sampled: None };
        gateway.address = Some(address);
        let Gateway { cause, restarts, fingerprint, role, .. } = *gateway;
        decisions.log(Note::Ready { slot: self.slot.clone(), generation, address, cause, restarts });
        if role == Role::Next {
            gateway.role = Role::Current;
            gateway.used(decisions.now);
            self.hand_over(previous, generation, cause, decisions);
        }
        let is_wish = self.want.as_ref().is_some_and(|want| want.fingerprint == fingerprint);
        if is_wish && self.current() == Some(generation) {
            self.quarantine = None;
        }
    }

    fn hand_over(
        &mut self,
        previous: Option<Generation>,
        generation: Generation,
        cause: StartCause,
        decisions: &mut Decisions,
    ) {
        let Some(previous) = previous else { return };
        self.gateway(previous, |gateway| {
            gateway.role = Role::Old { why: Retirement::Replaced };
            gateway.used(decisions.now);
        });
        self.replaced += 1;
        decisions.log(Note::Replaced { slot: self.slot.clone(), generation, previous, cause });
    }

    fn ended(&mut self, generation: Generation, cause: EndCause, decisions: &mut Decisions) {
        let Some(gateway) = self.gateways.get_mut(&generation) else { return };
        gateway.last_end = Some(cause);
        let is_needed = gateway.is_held(decisions.stopping) || !(gateway.is_old() || decisions.stopping);
        let end = UnplannedEnd { cause, fingerprint: gateway.fingerprint };
        decisions.log(Note::Exited { slot: self.slot.clone(), generation, cause });
        if !is_needed {
            return self.end(generation, Retirement::Died, decisions);
        }
        match self.ends.spend(end, decisions.now, &decisions.policy.restarts) {
            Verdict::RestartAfter(delay) => self.back_off(generation, cause, delay, decisions),
            Verdict::Exhausted => self.enter_quarantine(generation, cause, decisions),
        }
    }

    fn back_off(&mut self, generation: Generation, cause: EndCause, delay: Duration, decisions: &mut Decisions) {
        let slot = self.slot.clone();
        decisions.log(Note::RestartScheduled { slot: slot.clone(), generation, cause, delay });
        let timer = decisions.arm(delay, Purpose::Restart(slot, generation));
        self.gateway(generation, |gateway| gateway.stage = Stage::BackingOff { timer });
    }

    fn enter_quarantine(&mut self, generation: Generation, last: EndCause, decisions: &mut Decisions) {
        let slot = self.slot.clone();
        let chain = Chain::Unplanned(self.ends.causes().map(|end| end.cause).collect());
        let reason =
            QuarantineReason { ends: self.ends.causes().len(), period: decisions.policy.restarts.period, last };
        let tried = self.ends.causes().map(|end| end.fingerprint).collect();
        let refusal = self.quarantined(reason);
        decisions.log(Note::RestartLoop { slot: slot.clone(), generation, chain });
        decisions.log(Note::Quarantined { slot: slot.clone(), generation, reason });
        decisions.act(Action::Refuse { slot, generation, refusal });
        let quarantine = Quarantine { tried, reason };
        self.gateway(generation, |gateway| {
            gateway.stage = Stage::Quarantined(quarantine.clone());
            gateway.used(decisions.now);
        });
        self.remember(quarantine);
    }

    /// The slot is quarantined if what is wanted was tried in this window too and neither runs nor comes up.
    fn remember(&mut self, quarantine: Quarantine) {
        let Some(want) = &self.want else { return };
        let is_alive = |gateway: &Gateway| !gateway.is_old() && (gateway.is_coming() || gateway.is_serving());
        let lives = self.gateways.values().any(|gateway| gateway.fingerprint == want.fingerprint && is_alive(gateway));
        if quarantine.tried.contains(&want.fingerprint) && !lives {
            self.quarantine = Some(quarantine);
        }
    }

    /// Told to end, it ended by itself first.
    fn ended_on_the_way(&mut self, generation: Generation, cause: EndCause, decisions: &mut Decisions) {
        if let Some(Gateway { stage: Stage::Ending { forced: false, .. }, .. }) = self.gateways.get(&generation) {
            decisions.log(Note::Exited { slot: self.slot.clone(), generation, cause });
        }
        self.gateways.remove(&generation);
    }

    fn stopped(&mut self, generation: Generation, decisions: &mut Decisions) {
        let Some(gateway) = self.gateways.remove(&generation) else { return };
        match gateway.stage {
            Stage::Ending { why: Retirement::Died, .. } => {}
            Stage::Ending { why, .. } if gateway.address.is_some() => {
                decisions.log(Note::Drained { slot: self.slot.clone(), generation, cause: why });
            }
            Stage::Ending { .. }
            | Stage::Starting
            | Stage::Serving { .. }
            | Stage::BackingOff { .. }
            | Stage::Quarantined(_) => {}
        }
    }

    pub fn backoff_over(&mut self, generation: Generation, decisions: &mut Decisions) {
        if let Some(Gateway { stage: Stage::BackingOff { .. }, .. }) = self.gateways.get(&generation) {
            self.restart(generation, decisions);
        }
    }

    /// The newest wish is carried out, if it still differs from what runs.
    pub fn damping_over(&mut self, decisions: &mut Decisions) {
        self.damped = None;
        if self.has_to_change() && self.quarantine.is_none() {
            self.replace(decisions);
        }
    }

    /// SIGHUP: the window is forgotten, and what somebody needs starts again.
    pub fn release(&mut self, decisions: &mut Decisions) {
        let wish = self.want.as_ref().map(|want| want.fingerprint);
        let stuck: Vec<_> = self.quarantined_generations().collect();
        if self.quarantine.take().is_none() && stuck.is_empty() {
            return;
        }
        self.ends.clear();
        decisions.log(Note::Released { slot: self.slot.clone(), cause: ReleaseCause::Sighup });
        for generation in stuck {
            let gateway = &self.gateways[&generation];
            let is_wanted = !gateway.is_old() && Some(gateway.fingerprint) == wish;
            if is_wanted || gateway.is_held(decisions.stopping) {
                self.restart(generation, decisions);
            }
        }
    }

    /// The service stops: nothing is wanted; what a turn holds goes on until the deadline.
    pub fn stop(&mut self, decisions: &mut Decisions) {
        self.refuse_waiting(&Refusal::ServiceStopping, decisions);
        self.want = None;
        decisions.timers.cancel(self.damped.take());
    }

    pub fn stop_at_once(&mut self, decisions: &mut Decisions) {
        let generations: Vec<_> = self.gateways.keys().copied().collect();
        for generation in generations {
            self.end_by_force(generation, Retirement::ServiceStopping, decisions);
        }
    }
}

// What follows.
impl SlotRecord {
    /// Compares what is wanted with what runs, lets go what is not needed any more and answers who waits. Called after
    /// every event that touched the slot; changes nothing when called twice.
    pub fn review(&mut self, decisions: &mut Decisions) {
        if !decisions.stopping {
            self.reconcile(decisions);
        }
        let generations: Vec<_> = self.gateways.keys().copied().collect();
        for generation in generations {
            self.retire_if_unneeded(generation, decisions);
        }
        self.answer_waiting(decisions);
    }

    fn reconcile(&mut self, decisions: &mut Decisions) {
        let Some(wish) = self.want.as_ref().map(|want| want.fingerprint) else { return };
        self.release_by_fingerprint(wish, decisions);
        if !self.has_to_change() {
            return self.settle(wish, decisions);
        }
        if self.quarantine.is_some() || self.damped.is_some() {
            return;
        }
        if self.next().is_none() && self.current().is_none() {
            return self.start(decisions);
        }
        match self.replacements.damping(decisions.now, &decisions.policy.restarts) {
            None => self.replace(decisions),
            Some(delay) => self.damp(delay, decisions),
        }
    }

    fn release_by_fingerprint(&mut self, wish: Fingerprint, decisions: &mut Decisions) {
        if self.quarantine.as_ref().is_some_and(|quarantine| !quarantine.tried.contains(&wish)) {
            self.quarantine = None;
            let cause = ReleaseCause::FingerprintChanged;
            decisions.log(Note::Released { slot: self.slot.clone(), cause });
        }
    }

    /// Neither the current generation nor the one coming up is what is wanted.
    fn has_to_change(&self) -> bool {
        let is_wish = |generation: Option<Generation>| {
            let wish = self.want.as_ref().map(|want| want.fingerprint);
            generation.is_some_and(|generation| Some(self.gateways[&generation].fingerprint) == wish)
        };
        self.want.is_some() && !is_wish(self.next()) && !is_wish(self.current())
    }

    /// What is wanted runs or comes up: a damped replacement is off, and so is one under way to something else. Or it is
    /// quarantined, and the wish has come back to it.
    fn settle(&mut self, wish: Fingerprint, decisions: &mut Decisions) {
        decisions.timers.cancel(self.damped.take());
        if let Some(next) = self.next().filter(|next| self.gateways[next].fingerprint != wish) {
            self.set_aside(next, Retirement::Replaced, decisions);
        }
        let chosen = self.next().or(self.current()).map(|chosen| &self.gateways[&chosen].stage);
        if let (Some(Stage::Quarantined(quarantine)), None) = (chosen, &self.quarantine) {
            self.quarantine = Some(quarantine.clone());
        }
    }

    /// One that was never ready has nothing to drain, unless somebody came back to it by the token of the service's last
    /// run and waits in its backlog.
    fn set_aside(&mut self, next: Generation, why: Retirement, decisions: &mut Decisions) {
        if self.gateways[&next].is_held(decisions.stopping) {
            self.gateway(next, |gateway| gateway.role = Role::Old { why });
        } else {
            self.end(next, Retirement::Superseded, decisions);
        }
    }

    fn damp(&mut self, delay: Duration, decisions: &mut Decisions) {
        let (Some(want), Some(generation)) = (&self.want, self.current().or(self.next())) else { return };
        let causes = self.replacements.causes().copied().chain([want.cause]).collect();
        let chain = Chain::Planned { causes, delay };
        decisions.log(Note::RestartLoop { slot: self.slot.clone(), generation, chain });
        self.damped = Some(decisions.arm(delay, Purpose::Damping(self.slot.clone())));
    }

    fn replace(&mut self, decisions: &mut Decisions) {
        let Some(want) = &self.want else { return };
        self.replacements.record(want.cause, decisions.now, &decisions.policy.restarts);
        if let Some(next) = self.next() {
            self.set_aside(next, Retirement::Replaced, decisions);
        }
        self.start(decisions);
    }

    fn start(&mut self, decisions: &mut Decisions) {
        let Some(Want { model, fingerprint, cause, .. }) = self.want.clone() else { return };
        let generation = self.last_generation.next();
        self.last_generation = generation;
        let gateway = Gateway {
            model,
            fingerprint,
            cause,
            role: Role::Next,
            stage: Stage::Starting,
            address: None,
            leases: BTreeMap::new(),
            restarts: 0,
            last_end: None,
            idle_since: decisions.now,
            retire: None,
        };
        decisions.act(self.start_action(generation, &gateway, StartKind::New));
        self.gateways.insert(generation, gateway);
    }

    fn restart(&mut self, generation: Generation, decisions: &mut Decisions) {
        self.gateway(generation, |gateway| {
            gateway.stage = Stage::Starting;
            gateway.restarts += 1;
        });
        decisions.act(self.start_action(generation, &self.gateways[&generation], StartKind::Restart));
    }

    fn start_action(&self, generation: Generation, gateway: &Gateway, kind: StartKind) -> Action {
        let Gateway { model, fingerprint, .. } = gateway;
        Action::Start { slot: self.slot.clone(), generation, model: model.clone(), fingerprint: *fingerprint, kind }
    }

    fn retire_if_unneeded(&mut self, generation: Generation, decisions: &mut Decisions) {
        let forgotten = self.is_forgotten();
        let Some(gateway) = self.gateways.get_mut(&generation) else { return };
        let Some(why) = gateway.retirement(forgotten, decisions.stopping) else {
            return decisions.timers.cancel(gateway.retire.take());
        };
        match gateway.patience(why, decisions) {
            Patience::Wait(delay) => {
                let slot = self.slot.clone();
                gateway.retire.get_or_insert_with(|| decisions.arm(delay, Purpose::Retire(slot, generation)));
            }
            Patience::Look => decisions.act(Action::Sample { slot: self.slot.clone(), generation }),
            Patience::Over if why == Retirement::Idle => {
                self.let_go(why, decisions);
                self.end(generation, why, decisions);
            }
            Patience::Over => self.end(generation, why, decisions),
        }
    }

    pub fn retire_timer_fired(&mut self, generation: Generation) {
        self.gateway(generation, |gateway| gateway.retire = None);
    }

    /// `retire_after` may have changed: the next review arms anew.
    pub fn forget_retire_timers(&mut self, decisions: &mut Decisions) {
        for gateway in self.gateways.values_mut() {
            decisions.timers.cancel(gateway.retire.take());
        }
    }

    /// The slot is wanted only because it was asked for, and nobody holds it or waits for it.
    fn is_forgotten(&self) -> bool {
        let asked_only = Claims { asked: true, ..Claims::default() };
        self.want.as_ref().is_some_and(|want| want.claims == asked_only)
            && self.waiting.is_empty()
            && self.gateways.values().all(|gateway| gateway.leases.is_empty())
            && self.next().is_none_or(|next| !self.gateways[&next].is_coming())
    }

    /// A serving gateway may finish what runs; of any other nothing is left but its socket.
    fn end(&mut self, generation: Generation, why: Retirement, decisions: &mut Decisions) {
        let refusal = self.refusal(why);
        let Some(gateway) = self.gateways.get_mut(&generation).filter(|gateway| !gateway.is_ending()) else { return };
        if !gateway.is_serving() || why == Retirement::Died {
            return self.end_by_force(generation, why, decisions);
        }
        leave(gateway, why, false, decisions);
        decisions.act(Action::Drain { slot: self.slot.clone(), generation, refusal });
    }

    fn end_by_force(&mut self, generation: Generation, why: Retirement, decisions: &mut Decisions) {
        let Some(gateway) = self.gateways.get_mut(&generation) else { return };
        if let Stage::Ending { forced: true, .. } = gateway.stage {
            return;
        }
        leave(gateway, why, true, decisions);
        decisions.act(Action::Stop { slot: self.slot.clone(), generation });
    }

    fn answer_waiting(&mut self, decisions: &mut Decisions) {
        if let Some(generation) = self.serving() {
            for Waiting { ask, lease } in std::mem::take(&mut self.waiting) {
                let answer = Answer::Granted { slot: self.slot.clone(), generation };
                self.gateway(generation, |gateway| gateway.leases.extend(lease));
                decisions.act(Action::Answer { ask, answer });
            }
        } else if let Some(refusal) = self.hopeless() {
            self.refuse_waiting(&refusal, decisions);
        }
    }

    /// Why waiting leads to nothing, if so.
    fn hopeless(&self) -> Option<Refusal> {
        let lives = [self.next(), self.current()].into_iter().flatten().map(|generation| &self.gateways[&generation]);
        if self.damped.is_some() || lives.clone().any(Gateway::is_coming) {
            return None;
        }
        let of_slot = self.quarantine.as_ref().map(|quarantine| self.quarantined(quarantine.reason));
        of_slot.or_else(|| {
            lives.into_iter().find_map(|gateway| match &gateway.stage {
                Stage::Quarantined(quarantine) => Some(self.quarantined(quarantine.reason)),
                Stage::Starting | Stage::Serving { .. } | Stage::BackingOff { .. } | Stage::Ending { .. } => None,
            })
        })
    }

    fn refuse_waiting(&mut self, refusal: &Refusal, decisions: &mut Decisions) {
        for Waiting { ask, .. } in self.waiting.drain(..) {
            decisions.act(Action::Answer { ask, answer: Answer::Refused(refusal.clone()) });
        }
    }
}

// What is the case.
impl SlotRecord {
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

fn leave(gateway: &mut Gateway, why: Retirement, forced: bool, decisions: &mut Decisions) {
    decisions.timers.cancel(gateway.retire.take());
    if let Stage::BackingOff { timer } = gateway.stage {
        decisions.timers.cancel(Some(timer));
    }
    gateway.role = Role::Old { why };
    gateway.stage = Stage::Ending { why, forced };
}

fn refuse(asker: Asker, refusal: Refusal, decisions: &mut Decisions) {
    match asker {
        Asker::Env { ask } | Asker::Lease { ask, .. } => {
            decisions.act(Action::Answer { ask, answer: Answer::Refused(refusal) });
        }
        Asker::Restored => {}
    }
}
