//! The difference between what is wanted and what runs, and the steps that make it smaller.
//!
//! A new generation is started before the old one is let go, a replacement may be damped, nothing that was quarantined is
//! started, and what nobody needs stops when it has been idle long enough.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Claims, SlotRecord, Waiting, Want};
use crate::actors::supervision::decisions::{Decisions, Purpose};
use crate::actors::supervision::gateway::{Gateway, Patience, Role, Stage};
use crate::actors::supervision::vocabulary::{
    Action, Answer, Chain, Note, Refusal, ReleaseCause, Retirement, StartKind,
};
use crate::ids::{Fingerprint, Generation};

impl SlotRecord {
    /// Compares what is wanted with what runs, lets go what is not needed any more and answers who waits. Called after
    /// every event that touched the slot; a second call decides nothing new.
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
    pub(super) fn has_to_change(&self) -> bool {
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
    pub(super) fn set_aside(&mut self, next: Generation, why: Retirement, decisions: &mut Decisions) {
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

    pub(super) fn replace(&mut self, decisions: &mut Decisions) {
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

    pub(super) fn restart(&mut self, generation: Generation, decisions: &mut Decisions) {
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
    pub(super) fn end(&mut self, generation: Generation, why: Retirement, decisions: &mut Decisions) {
        let refusal = self.refusal(why);
        let Some(gateway) = self.gateways.get_mut(&generation).filter(|gateway| !gateway.is_ending()) else { return };
        if !gateway.is_serving() || why == Retirement::Died {
            return self.end_by_force(generation, why, decisions);
        }
        leave(gateway, why, false, decisions);
        decisions.act(Action::Drain { slot: self.slot.clone(), generation, refusal });
    }

    pub(super) fn end_by_force(&mut self, generation: Generation, why: Retirement, decisions: &mut Decisions) {
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

    pub(super) fn refuse_waiting(&mut self, refusal: &Refusal, decisions: &mut Decisions) {
        for Waiting { ask, .. } in self.waiting.drain(..) {
            decisions.act(Action::Answer { ask, answer: Answer::Refused(refusal.clone()) });
        }
    }
}

fn leave(gateway: &mut Gateway, why: Retirement, forced: bool, decisions: &mut Decisions) {
    decisions.timers.cancel(gateway.retire.take());
    if let Stage::BackingOff { timer } = gateway.stage {
        decisions.timers.cancel(Some(timer));
    }
    gateway.role = Role::Old { why };
    gateway.stage = Stage::Ending { why, forced, running: gateway.running() };
}
