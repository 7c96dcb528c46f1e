//! What the connection threads and the control port share: one mutex, one condition variable, every change told.
//!
//! Waiting is always for a condition with a deadline, never a poll.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::script::{Reply, Step};

/// How long a hold point or a control wait lasts at most: longer than any test, so that only a broken test sees it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    requests: Vec<Value>,
    violations: Vec<String>,
    script: Option<Vec<Step>>,
    released: BTreeSet<String>,
    holding: Vec<String>,
    connections_open: usize,
    connections_total: usize,
    replies_finished: usize,
    replies_aborted: usize,
    bytes_written: u64,
    writes_stalled: usize,
}

/// What a control wait asks for; every part that is given must hold.
#[derive(Default)]
pub struct Condition {
    pub requests: Option<usize>,
    pub connections: Option<usize>,
    pub holding: Option<String>,
    pub stalled: Option<usize>,
    pub aborted: Option<usize>,
    pub finished: Option<usize>,
}

/// What the script says about one request.
pub enum Chosen {
    Reply(Reply),
    /// No script was ever given.
    NoScript,
    /// There is a script, and no step of it is for this request.
    NoStep,
}

impl State {
    pub fn new() -> Self {
        Self { inner: Mutex::new(Inner::default()), changed: Condvar::new() }
    }

    pub fn set_script(&self, steps: Vec<Step>) {
        self.change(|inner| inner.script = Some(steps));
    }

    pub fn connection_opened(&self) {
        self.change(|inner| {
            inner.connections_open += 1;
            inner.connections_total += 1;
        });
    }

    pub fn connection_closed(&self) {
        self.change(|inner| inner.connections_open -= 1);
    }

    pub fn request_seen(&self, request: Value) {
        self.change(|inner| inner.requests.push(request));
    }

    pub fn violation(&self, sentence: String) {
        eprintln!("violation: {sentence}");
        self.change(|inner| inner.violations.push(sentence));
    }

    /// The state as it was before its violations were forgotten.
    pub fn forget_violations(&self) -> Value {
        let mut inner = self.lock();
        let summary = inner.summary();
        inner.violations.clear();
        summary
    }

    pub fn bytes_written(&self, count: usize) {
        self.change(|inner| inner.bytes_written += count as u64);
    }

    pub fn write_stalled(&self) {
        self.change(|inner| inner.writes_stalled += 1);
    }

    pub fn reply_ended(&self, whole: bool) {
        self.change(|inner| if whole { inner.replies_finished += 1 } else { inner.replies_aborted += 1 });
    }

    /// Takes the first step that is for a request of this kind and body and that is not used up.
    pub fn choose(&self, kind: &str, body: &str) -> Chosen {
        let mut inner = self.lock();
        let Some(steps) = inner.script.as_mut() else { return Chosen::NoScript };
        let Some(step) = steps.iter_mut().find(|step| step.is_for(kind, body)) else { return Chosen::NoStep };
        Chosen::Reply(step.take())
    }

    pub fn release(&self, name: &str) {
        self.change(|inner| {
            inner.released.insert(name.to_owned());
        });
    }

    /// Waits until a test releases `name`, or until `gone` says that nobody waits for the reply any more.
    /// A release counts once, whether it comes before or during the wait. Returns whether the reply goes on.
    pub fn hold(&self, name: &str, gone: impl Fn() -> bool) -> bool {
        self.change(|inner| inner.holding.push(name.to_owned()));
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut inner = self.wait(deadline, |inner| inner.released.contains(name) || gone());
        let released = inner.released.remove(name);
        if let Some(place) = inner.holding.iter().position(|holding| holding == name) {
            inner.holding.remove(place);
        }
        drop(inner);
        self.changed.notify_all();
        released
    }

    /// Wakes everybody who waits, to look again at something kept outside the mutex (a connection that was closed).
    pub fn nudge(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Waits for `condition` and returns the state, or `None` at the deadline.
    pub fn wait_for(&self, condition: &Condition, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience.min(LONGEST_WAIT);
        let inner = self.wait(deadline, |inner| inner.satisfies(condition));
        inner.satisfies(condition).then(|| inner.summary())
    }

    pub fn summary(&self) -> Value {
        self.lock().summary()
    }

    fn change(&self, action: impl FnOnce(&mut Inner)) {
        action(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, deadline: Instant, done: impl Fn(&Inner) -> bool) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        while !done(&inner) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.changed.wait_timeout(inner, left).expect("no thread panics with the state in hand").0;
        }
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics with the state in hand")
    }
}

impl Inner {
    fn satisfies(&self, condition: &Condition) -> bool {
        condition.requests.is_none_or(|wanted| self.requests.len() >= wanted)
            && condition.connections.is_none_or(|wanted| self.connections_open == wanted)
            && condition.holding.as_ref().is_none_or(|wanted| self.holding.contains(wanted))
            && condition.stalled.is_none_or(|wanted| self.writes_stalled >= wanted)
            && condition.aborted.is_none_or(|wanted| self.replies_aborted >= wanted)
            && condition.finished.is_none_or(|wanted| self.replies_finished >= wanted)
    }

    fn summary(&self) -> Value {
        json!({
            "requests": self.requests,
            "violations": self.violations,
            "holding": self.holding,
            "connections_open": self.connections_open,
            "connections_total": self.connections_total,
            "replies_finished": self.replies_finished,
            "replies_aborted": self.replies_aborted,
            "bytes_written": self.bytes_written,
            "writes_stalled": self.writes_stalled,
        })
    }
}
