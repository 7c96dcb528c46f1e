//! One call of the core in the making: the moment it is asked at, what it decided so far, and the armed timers.
//!
//! A timer is a number and a purpose. Who cancels one simply forgets it here: the number then means nothing when it fires.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::vocabulary::{Action, Note, Policy, TimerId};
use crate::ids::{Generation, Slot};

/// What an armed timer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The backoff of a generation is over.
    Restart(Slot, Generation),
    /// A damped replacement may be carried out.
    Damping(Slot),
    /// A generation may have been idle long enough.
    Retire(Slot, Generation),
    /// The service stop has lasted `drain_deadline`.
    Deadline,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    last: u64,
    armed: BTreeMap<TimerId, Purpose>,
}

impl Timers {
    /// What the timer was armed for; `None` if that has been cancelled.
    pub fn fired(&mut self, timer: TimerId) -> Option<Purpose> {
        self.armed.remove(&timer)
    }

    pub fn cancel(&mut self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.armed.remove(&timer);
        }
    }

    fn arm(&mut self, purpose: Purpose) -> TimerId {
        self.last += 1;
        let timer = TimerId(self.last);
        self.armed.insert(timer, purpose);
        timer
    }
}

pub(super) struct Decisions {
    pub now: Instant,
    pub policy: Policy,
    /// The service is stopping: nothing new is started for anybody but a running turn.
    pub stopping: bool,
    pub timers: Timers,
    pub actions: Vec<Action>,
}

impl Decisions {
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn log(&mut self, note: Note) {
        self.actions.push(Action::Log(note));
    }

    pub fn arm(&mut self, delay: Duration, purpose: Purpose) -> TimerId {
        let timer = self.timers.arm(purpose);
        self.actions.push(Action::Arm { timer, delay });
        timer
    }
}
