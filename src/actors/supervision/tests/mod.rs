//! One slot's life, told as events in and a line per action out.

mod asking;
mod ends;
mod properties;
mod reload;
mod stages;
mod stop;

use std::time::{Duration, Instant};

use super::budget::Limits;
use super::*;
use crate::ids::Fingerprint;

fn policy() -> Policy {
    Policy {
        restarts: Limits {
            intensity: 2,
            period: Duration::from_secs(60),
            backoff_initial: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        },
        retire_after: Duration::from_secs(1800),
        drain_deadline: Duration::from_secs(30),
    }
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint([number; 32])
}

/// `"a"` is the backend's slot, `"a/m"` one for a model.
fn slot(text: &str) -> Slot {
    let (backend, model) = match text.split_once('/') {
        None => (text, None),
        Some((backend, model)) => (backend, Some(model.into())),
    };
    Slot { backend: backend.into(), model }
}

fn address(generation: u64) -> std::net::SocketAddr {
    ([127, 0, 0, 1], 4000 + u16::try_from(generation).unwrap()).into()
}

fn configured(slot_text: &str, number: u8) -> Wanted {
    Wanted { slot: slot(slot_text), model: None, fingerprint: fingerprint(number), by: WantedBy::Config }
}

fn still_asked(slot_text: &str, number: u8) -> Wanted {
    Wanted { by: WantedBy::Asking, ..configured(slot_text, number) }
}

fn ended(cause: EndCause) -> GatewayEvent {
    GatewayEvent::Ended { cause }
}

const DIED: GatewayEvent = GatewayEvent::Ended { cause: EndCause::ListenerDied };

/// A service in a test: its clock, and the timers it armed.
struct Service {
    supervision: Supervision,
    now: Instant,
    armed: Vec<(TimerId, Duration)>,
    revision: Revision,
}

impl Service {
    fn new() -> Self {
        Self { supervision: Supervision::new(policy()), now: Instant::now(), armed: Vec::new(), revision: Revision(0) }
    }

    /// A service that runs generation 1 of slot `a` with fingerprint 1.
    fn serving() -> Self {
        let mut service = Self::new();
        service.wants(&[configured("a", 1)]);
        service.ready("a", 1);
        service
    }

    /// And one where generation 2 with fingerprint 2 has replaced it.
    fn replaced(leased: bool) -> Self {
        let mut service = Self::serving();
        if leased {
            service.lease("a", 1, Holder::Terminal);
        }
        service.wants(&[configured("a", 2)]);
        service.ready("a", 2);
        service
    }

    /// And one whose only generation has spent its budget.
    fn quarantined() -> Self {
        let mut service = Self::serving();
        for _ in 0..2 {
            service.gateway("a", 1, DIED);
            service.fire();
            service.ready("a", 1);
        }
        service.gateway("a", 1, DIED);
        service
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        let actions = self.supervision.on(event, self.now);
        for action in &actions {
            if let Action::Arm { timer, delay } = action {
                self.armed.push((*timer, *delay));
            }
        }
        actions.iter().map(line).collect()
    }

    fn wants(&mut self, wanted: &[Wanted]) -> Vec<String> {
        let cause = if self.revision == Revision(0) { RevisionCause::Startup } else { RevisionCause::Config };
        self.wants_because(cause, wanted)
    }

    fn wants_because(&mut self, cause: RevisionCause, wanted: &[Wanted]) -> Vec<String> {
        self.revision = self.revision.next();
        self.on(Event::Revision { revision: self.revision, cause, policy: policy(), wanted: wanted.to_vec() })
    }

    fn gateway(&mut self, slot_text: &str, generation: u64, event: GatewayEvent) -> Vec<String> {
        self.on(Event::Gateway { slot: slot(slot_text), generation: Generation(generation), event })
    }

    fn ready(&mut self, slot_text: &str, generation: u64) -> Vec<String> {
        self.gateway(slot_text, generation, GatewayEvent::Ready { address: address(generation) })
    }

    fn sample(&mut self, slot_text: &str, generation: u64, running: u64) -> Vec<String> {
        self.gateway(slot_text, generation, GatewayEvent::Sampled { running, last_use: None })
    }

    fn ask(&mut self, slot_text: &str, number: u8, asker: Asker) -> Vec<String> {
        let fingerprint = fingerprint(number);
        self.on(Event::Asked { slot: slot(slot_text), model: None, fingerprint, asker })
    }

    fn env(&mut self, slot_text: &str, number: u8, ask: u64) -> Vec<String> {
        self.ask(slot_text, number, Asker::Env { ask: AskId(ask) })
    }

    fn lease(&mut self, slot_text: &str, lease: u64, holder: Holder) -> Vec<String> {
        self.ask(slot_text, 1, Asker::Lease { ask: AskId(lease), lease: LeaseId(lease), holder })
    }

    fn lease_ends(&mut self, lease: u64) -> Vec<String> {
        self.on(Event::LeaseEnded { lease: LeaseId(lease) })
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    /// Waits for the timer armed last, and lets it fire.
    fn fire(&mut self) -> Vec<String> {
        let (timer, delay) = self.armed.pop().expect("a timer is armed");
        self.passes(delay);
        self.on(Event::Timer(timer))
    }

    fn states(&self) -> Vec<(u64, snapshot::GatewayState, bool)> {
        let gateways = self.supervision.snapshot().gateways;
        gateways.iter().map(|gateway| (gateway.generation.0, gateway.state, gateway.current)).collect()
    }
}

/// What an action does, in a few words. Slot `a` is understood.
fn line(action: &Action) -> String {
    let name = |slot: &Slot, generation: &Generation| match slot.to_string().as_str() {
        "a" => format!("#{generation}"),
        other => format!("{other}#{generation}"),
    };
    match action {
        Action::Start { slot, generation, kind: StartKind::New, fingerprint, .. } => {
            format!("start {} with {}", name(slot, generation), fingerprint.0[0])
        }
        Action::Start { slot, generation, kind: StartKind::Restart, .. } => {
            format!("restart {}", name(slot, generation))
        }
        Action::Refuse { slot, generation, refusal } => format!("refuse {}: {}", name(slot, generation), word(refusal)),
        Action::Drain { slot, generation, refusal } => format!("drain {}: {}", name(slot, generation), word(refusal)),
        Action::Stop { slot, generation } => format!("stop {}", name(slot, generation)),
        Action::Sample { slot, generation } => format!("sample {}", name(slot, generation)),
        Action::Arm { delay, .. } => format!("arm {delay:?}"),
        Action::Answer { ask, answer: Answer::Granted { slot, generation } } => {
            format!("grant {}: {}", ask.0, name(slot, generation))
        }
        Action::Answer { ask, answer: Answer::Refused(refusal) } => format!("deny {}: {}", ask.0, word(refusal)),
        Action::Log(note) => note_line(note),
        Action::Finish => "finish".into(),
    }
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BackendDisabled { .. } => "disabled",
        Refusal::Quarantined { .. } => "quarantined",
        Refusal::Retired { .. } => "retired",
        Refusal::ServiceStopping => "stopping",
    }
}

fn note_line(note: &Note) -> String {
    let event = note.event().trim_start_matches("gateway.");
    match note {
        Note::Ready { generation, cause, restarts, .. } => format!("log {event} #{generation} {cause} {restarts}"),
        Note::Replaced { generation, previous, cause, .. } => {
            format!("log {event} #{previous} by #{generation} {cause}")
        }
        Note::Drained { generation, cause, .. } => format!("log {event} #{generation} {cause}"),
        Note::Exited { generation, cause, .. } => format!("log {event} #{generation} {cause}"),
        Note::RestartScheduled { generation, cause, delay, .. } => {
            format!("log {event} #{generation} {cause} {delay:?}")
        }
        Note::RestartLoop { generation, chain, .. } => format!("log {event} #{generation} {chain}"),
        Note::Quarantined { generation, reason, .. } => format!("log {event} #{generation} {}", reason.ends),
        Note::Released { cause, .. } => format!("log {event} {cause}"),
    }
}
