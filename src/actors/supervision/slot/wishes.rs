//! What a revision or an asker wants of the slot, and the end of that.

use super::{Claims, SlotRecord, Waiting, Want};
use crate::actors::supervision::decisions::Decisions;
use crate::actors::supervision::gateway::Role;
use crate::actors::supervision::vocabulary::{
    Action, Answer, AskId, Asker, Refusal, Retirement, RevisionCause, StartCause, Wanted, WantedBy,
};
use crate::ids::{Fingerprint, ModelId};

impl SlotRecord {
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
    pub(super) fn let_go(&mut self, why: Retirement, decisions: &mut Decisions) {
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

fn refuse(asker: Asker, refusal: Refusal, decisions: &mut Decisions) {
    match asker {
        Asker::Env { ask } | Asker::Lease { ask, .. } => {
            decisions.act(Action::Answer { ask, answer: Answer::Refused(refusal) });
        }
        Asker::Restored => {}
    }
}
