//! The pure core of one session: when its turns start, and what follows when one ends (DESIGN.md §2).
//!
//! [`SessionLife::on`] takes one event and the moment it happened and returns what to do; like the gateways' core it
//! performs nothing and reads no clock. It knows prompts and turns, never processes, conversations or files.

mod vocabulary;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use super::budget::{Budget, Verdict};
use super::vocabulary::{ReleaseCause, TimerId};
use crate::ids::Fingerprint;
pub use vocabulary::*;

/// ```text
///          a prompt is due              result, or nothing to retry
///   Idle ──────────────────> Running ──────────────────────────────> Idle
///    ^                          │  no result
///    │   a newer prompt         ├───────────> BackingOff ──timer──> Running
///    ├──────────────────────────│────────────────┘
///    │   fingerprint, SIGHUP    └── too often ──> Quarantined
///    └───────────────────────────────────────────────┘
///   any ──Drain, Stop──> (Running until its end) ──> Finished
/// ```
/// `blocked` is no phase: it is an idle or waiting session whose backend is disabled.
#[derive(Debug)]
enum Phase {
    Idle,
    Running { job: Job, attempt: u32, told: Told },
    BackingOff { job: Job, attempt: u32, timer: TimerId },
    Quarantined { job: Job, reason: Reason },
    Finished,
}

/// Whether the running turn was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// By a person: its prompt is done with.
    ByPerson,
    /// By us: its prompt is still to be done, in the service's next life or when the session comes back.
    ByService,
}

#[derive(Debug)]
pub struct SessionLife {
    phase: Phase,
    plan: Option<Plan>,
    waiting: Option<Job>,
    /// The configured prompt that was last started, or finished in an earlier life.
    latest: Option<Fingerprint>,
    ends: Budget<(Failure, Fingerprint)>,
    is_leaving: bool,
    turns: u64,
    timers: u64,
}

impl SessionLife {
    /// A session as it first appears. `finished` is the digest of the configured prompt that was finished last.
    pub fn new(finished: Option<Fingerprint>) -> Self {
        Self {
            phase: Phase::Idle,
            plan: None,
            waiting: None,
            latest: finished,
            ends: Budget::default(),
            is_leaving: false,
            turns: 0,
            timers: 0,
        }
    }

    /// A number for the turn that somebody is about to ask for.
    pub fn new_turn(&mut self) -> TurnId {
        self.turns += 1;
        TurnId(self.turns)
    }

    pub fn state(&self) -> State {
        let is_blocked = self.plan.as_ref().is_some_and(|plan| !plan.is_enabled);
        match &self.phase {
            Phase::Finished => State::Stopping,
            Phase::Running { told, .. } if self.is_leaving || *told != Told::Nothing => State::Stopping,
            Phase::Running { .. } => State::Running,
            Phase::Quarantined { .. } => State::Quarantined,
            Phase::Idle | Phase::BackingOff { .. } if is_blocked => State::Blocked,
            Phase::BackingOff { .. } => State::BackingOff,
            Phase::Idle => State::Idle,
        }
    }

    /// Takes in one event and says what to do about it, in order. `now` never goes back.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Planned(plan) => self.planned(plan, &mut actions),
            Event::Asked { turn, prompt } => self.asked(turn, prompt, &mut actions),
            Event::Interrupted { turn } => self.interrupted(turn, &mut actions),
            Event::Ended { turn, end } => self.ended(turn, end, now, &mut actions),
            Event::Timer(timer) => self.backoff_over(timer, &mut actions),
            Event::Release => self.release(&mut actions),
            Event::Drain => self.leave(&mut actions),
            Event::Stop => {
                self.leave(&mut actions);
                self.tell_to_end(Told::ByService, &mut actions);
            }
        }
        self.advance(&mut actions);
        actions
    }

    /// What is idle takes up what waits.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        let is_enabled = self.plan.as_ref().is_some_and(|plan| plan.is_enabled);
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        if self.is_leaving {
            self.phase = Phase::Finished;
            actions.push(Action::Finish);
        } else if is_enabled && let Some(job) = self.waiting.take() {
            self.start(job, 1, actions);
        }
    }

    fn start(&mut self, job: Job, attempt: u32, actions: &mut Vec<Action>) {
        if job.digest.is_some() {
            self.latest = job.digest;
        }
        actions.push(Action::Start { job: job.clone(), attempt });
        self.phase = Phase::Running { job, attempt, told: Told::Nothing };
    }

    fn planned(&mut self, plan: Plan, actions: &mut Vec<Action>) {
        let before = self.plan.replace(plan.clone());
        if self.is_leaving {
            return;
        }
        self.release_if_changed(&plan, actions);
        let digest = |plan: &Plan| plan.prompt.as_ref().map(|prompt| prompt.digest);
        let is_new = before.is_none_or(|before| digest(&before) != digest(&plan));
        if let Some(prompt) = plan.prompt.filter(|_| is_new && plan.is_auto) {
            self.prompt_is(prompt, actions);
        }
    }

    /// Another configured prompt than before.
    fn prompt_is(&mut self, prompt: Prompt, actions: &mut Vec<Action>) {
        if self.latest == Some(prompt.digest) {
            // An edit taken back before its turn came.
            if self.waiting.as_ref().is_some_and(|job| !job.is_asked) {
                self.waiting = None;
            }
            return;
        }
        let job = Job { turn: self.new_turn(), text: prompt.text, digest: Some(prompt.digest), is_asked: false };
        self.queue(job, actions);
    }

    /// A newer prompt takes the place of a waiting one, be it waiting for its first start or for another.
    fn queue(&mut self, job: Job, actions: &mut Vec<Action>) {
        if let Some(older) = self.waiting.replace(job) {
            deny(&older, Denial::Replaced, actions);
        }
        if matches!(self.phase, Phase::BackingOff { .. }) {
            self.phase = Phase::Idle;
        }
    }

    fn release_if_changed(&mut self, plan: &Plan, actions: &mut Vec<Action>) {
        let was_tried = self.ends.causes().any(|(_, fingerprint)| *fingerprint == plan.fingerprint);
        if let Phase::Quarantined { job, .. } = &self.phase
            && !was_tried
        {
            let is_meant = plan.prompt.as_ref().map(|prompt| prompt.digest) == job.digest;
            self.waiting = is_meant.then(|| job.clone());
            self.phase = Phase::Idle;
            actions.push(Action::Log(Note::Released { cause: ReleaseCause::FingerprintChanged }));
        }
    }

    fn asked(&mut self, turn: TurnId, prompt: Option<Arc<str>>, actions: &mut Vec<Action>) {
        match self.asked_job(turn, prompt) {
            Ok(job) => self.queue(job, actions),
            Err(denial) => actions.push(Action::Deny { turn, denial }),
        }
    }

    fn asked_job(&self, turn: TurnId, prompt: Option<Arc<str>>) -> Result<Job, Denial> {
        if self.is_leaving {
            return Err(Denial::Stopping);
        }
        if let Phase::Quarantined { reason, .. } = &self.phase {
            return Err(Denial::Quarantined(*reason));
        }
        let plan = self.plan.as_ref().filter(|plan| plan.is_enabled).ok_or(Denial::BackendDisabled)?;
        match (prompt, &plan.prompt) {
            (Some(text), _) => Ok(Job { turn, text, digest: None, is_asked: true }),
            (None, Some(Prompt { text, digest })) => {
                Ok(Job { turn, text: Arc::clone(text), digest: Some(*digest), is_asked: true })
            }
            (None, None) => Err(Denial::NoPrompt),
        }
    }

    fn interrupted(&mut self, turn: TurnId, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Running { job, .. } if job.turn == turn => self.tell_to_end(Told::ByPerson, actions),
            _ => {
                if let Some(job) = self.waiting.take_if(|job| job.turn == turn) {
                    deny(&job, Denial::Interrupted, actions);
                }
            }
        }
    }

    fn tell_to_end(&mut self, by: Told, actions: &mut Vec<Action>) {
        if let Phase::Running { job, told, .. } = &mut self.phase
            && *told == Told::Nothing
        {
            *told = by;
            actions.push(Action::Interrupt { turn: job.turn });
        }
    }

    fn ended(&mut self, turn: TurnId, end: TurnEnd, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Running { job, attempt, told } = &self.phase else { return };
        if job.turn != turn {
            return;
        }
        let (job, attempt, told) = (job.clone(), *attempt, *told);
        self.phase = Phase::Idle;
        match (end, told) {
            (_, Told::ByService) => {}
            (TurnEnd::Result, Told::Nothing | Told::ByPerson) | (TurnEnd::NoResult(_), Told::ByPerson) => {
                remember(&job, actions);
            }
            // It was cut off by the stop: the next life of the service runs it again.
            (TurnEnd::NoResult(_), Told::Nothing) if self.is_leaving => {}
            (TurnEnd::NoResult(cause), Told::Nothing) => self.failed(job, attempt, cause, now, actions),
        }
    }

    fn failed(&mut self, job: Job, attempt: u32, cause: Failure, now: Instant, actions: &mut Vec<Action>) {
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.is_retried && !job.is_asked) else {
            return remember(&job, actions);
        };
        let verdict = self.ends.spend((cause, plan.fingerprint), now, &plan.limits);
        let is_last = usize::try_from(attempt).is_ok_and(|attempt| attempt > plan.limits.intensity);
        match verdict {
            // The newer prompt has taken its place meanwhile.
            _ if self.waiting.is_some() => {}
            Verdict::RestartAfter(delay) if !is_last => {
                self.timers += 1;
                let timer = TimerId(self.timers);
                self.phase = Phase::BackingOff { job, attempt, timer };
                actions.push(Action::Log(Note::RestartScheduled { cause, attempt, delay }));
                actions.push(Action::Arm { timer, delay });
            }
            Verdict::RestartAfter(_) | Verdict::Exhausted => {
                let causes = self.ends.causes().map(|(cause, _)| *cause).collect();
                let reason = Reason { attempts: attempt, last: cause };
                self.phase = Phase::Quarantined { job, reason };
                actions.push(Action::Log(Note::RestartLoop { causes }));
                actions.push(Action::Log(Note::Quarantined { reason }));
            }
        }
    }

    fn backoff_over(&mut self, timer: TimerId, actions: &mut Vec<Action>) {
        let Phase::BackingOff { job, attempt, timer: armed } = &self.phase else { return };
        if *armed != timer {
            return;
        }
        let (job, attempt) = (job.clone(), *attempt);
        if self.plan.as_ref().is_some_and(|plan| plan.is_enabled) {
            self.start(job, attempt + 1, actions);
        } else {
            self.phase = Phase::Idle;
            self.waiting = Some(job);
        }
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        self.ends.clear();
        if let Phase::Quarantined { job, .. } = &self.phase {
            self.waiting = Some(job.clone());
            self.phase = Phase::Idle;
            actions.push(Action::Log(Note::Released { cause: ReleaseCause::Sighup }));
        }
    }

    fn leave(&mut self, actions: &mut Vec<Action>) {
        self.is_leaving = true;
        if let Some(job) = self.waiting.take() {
            deny(&job, Denial::Stopping, actions);
        }
        if matches!(self.phase, Phase::BackingOff { .. } | Phase::Quarantined { .. }) {
            self.phase = Phase::Idle;
        }
    }
}

/// Nobody waits for the answer of a turn that the config started.
fn deny(job: &Job, denial: Denial, actions: &mut Vec<Action>) {
    if job.is_asked {
        actions.push(Action::Deny { turn: job.turn, denial });
    }
}

fn remember(job: &Job, actions: &mut Vec<Action>) {
    actions.extend(job.digest.map(|digest| Action::Remember { digest }));
}
