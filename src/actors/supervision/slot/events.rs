//! What happens to the slot's generations and leases, and what an unplanned end leads to.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Heard, SlotRecord, UnplannedEnd};
use crate::actors::supervision::budget::Verdict;
use crate::actors::supervision::decisions::{Decisions, Purpose};
use crate::actors::supervision::gateway::{Gateway, Quarantine, Role, Stage};
use crate::actors::supervision::vocabulary::{
    Action, Answer, AskId, Chain, EndCause, GatewayEvent, Holder, LeaseId, Note, QuarantineReason, Refusal,
    ReleaseCause, Retirement, StartCause,
};
use crate::ids::Generation;

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
            // Nobody told it to: an end like any other.
            (Stage::Starting | Stage::Serving { .. }, GatewayEvent::Stopped) => {
                self.ended(generation, EndCause::ActorEnded, decisions);
            }
            (Stage::Serving { running, sampled }, GatewayEvent::Sampled { running: runs_now, last_use }) => {
                (*running, *sampled) = (runs_now, Some(decisions.now));
                gateway.used(if runs_now > 0 { decisions.now } else { last_use.unwrap_or(gateway.idle_since) });
            }
            (Stage::Ending { running, .. }, GatewayEvent::Sampled { running: runs_now, .. }) => *running = runs_now,
            (Stage::Ending { .. }, GatewayEvent::Stopped) => self.stopped(generation, decisions),
            (Stage::Ending { .. }, GatewayEvent::Ended { cause }) => {
                self.ended_on_the_way(generation, cause, decisions)
            }
            // These were under way when the gateway was told to end, or ended.
            (Stage::Ending { .. }, GatewayEvent::Ready { .. })
            | (Stage::BackingOff { .. } | Stage::Quarantined(_) | Stage::Starting, GatewayEvent::Sampled { .. }) => {}
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
