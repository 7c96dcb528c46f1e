//! What all generations of one backend share about its origin: lessons, models, pauses and counts.
//!
//! One `Arc` per (backend, origin), handed to every generation's handlers on any thread (DESIGN.md §2). Nothing is
//! awaited under its locks, and time is always an argument. It dies with the service.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::ids::ModelId;
use crate::providers::codex::quota::PlanQuota;
use crate::providers::openai::models::ModelEntry;
use crate::providers::translate::{ErrorKind, Omissions};

/// Models with lessons. Any client may name any model, so the number must end somewhere.
const REMEMBERED_MODELS: usize = 256;
/// Errors kept for `status`.
const REMEMBERED_ERRORS: usize = 20;
/// Bytes of a kept error's message.
const ERROR_MESSAGE_LIMIT: usize = 2048;

#[derive(Default)]
pub struct BackendState {
    omissions: Mutex<HashMap<ModelId, Omissions>>,
    models: ArcSwap<Vec<ModelEntry>>,
    /// Seconds since the epoch; 0: not skipped.
    skipped_until: AtomicU64,
    quota: Mutex<Option<PlanQuota>>,
    client_version: OnceLock<String>,
    usage: Usage,
    last_errors: Mutex<VecDeque<RecordedError>>,
}

impl BackendState {
    pub fn new(models: Vec<ModelEntry>) -> Self {
        Self { models: ArcSwap::from_pointee(models), ..Self::default() }
    }

    /// What `model` is known to refuse.
    pub fn omissions(&self, model: &ModelId) -> Omissions {
        lock(&self.omissions).get(model).cloned().unwrap_or_default()
    }

    /// Adds a lesson about `model` and tells whether it was new. `reasoning_items` holds for one request only and is
    /// not kept.
    pub fn learn(&self, model: &ModelId, lesson: impl FnOnce(&mut Omissions)) -> bool {
        let mut all = lock(&self.omissions);
        let before = all.get(model).cloned().unwrap_or_default();
        let mut after = before.clone();
        lesson(&mut after);
        after.reasoning_items = false;
        if after == before {
            return false;
        }
        if all.len() >= REMEMBERED_MODELS && !all.contains_key(model) {
            // Lessons are cheap to learn again.
            all.clear();
        }
        all.insert(model.clone(), after);
        true
    }

    pub fn models(&self) -> Arc<Vec<ModelEntry>> {
        self.models.load_full()
    }

    pub fn replace_models(&self, models: Vec<ModelEntry>) {
        self.models.store(Arc::new(models));
    }

    /// Until `until` (seconds since the epoch) requests go to the fallback at once; 0 ends that.
    pub fn skip_until(&self, until: u64) {
        self.skipped_until.store(until, Ordering::Relaxed);
    }

    /// The time set by [`Self::skip_until`] if it is after `now`, both in seconds since the epoch.
    pub fn skipped_until(&self, now: u64) -> Option<u64> {
        Some(self.skipped_until.load(Ordering::Relaxed)).filter(|&until| until > now)
    }

    /// The plan's quota as last told by the upstream.
    pub fn quota(&self) -> Option<PlanQuota> {
        lock(&self.quota).clone()
    }

    /// Keeps `quota` and tells whether a person would want to hear of the difference.
    pub fn set_quota(&self, quota: PlanQuota) -> bool {
        let mut kept = lock(&self.quota);
        let is_news = kept.as_ref().is_none_or(|before| quota.is_news_after(before));
        *kept = Some(quota);
        is_news
    }

    /// The version of the client whose login is used (the `codex` CLI), once it is known.
    pub fn client_version(&self) -> Option<&str> {
        self.client_version.get().map(String::as_str)
    }

    /// The first one stays: an upgrade counts from the next start on.
    pub fn learn_client_version(&self, version: String) {
        let _ = self.client_version.set(version);
    }

    pub fn count_request(&self) {
        self.usage.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_tokens(&self, tokens: Tokens) {
        self.usage.input.fetch_add(tokens.input, Ordering::Relaxed);
        self.usage.cached.fetch_add(tokens.cached, Ordering::Relaxed);
        self.usage.output.fetch_add(tokens.output, Ordering::Relaxed);
        self.usage.reasoning.fetch_add(tokens.reasoning, Ordering::Relaxed);
    }

    /// Counts an error and keeps it for `status`. Its message must hold no secret by now.
    pub fn record_error(&self, mut error: RecordedError) {
        error.message.truncate(error.message.floor_char_boundary(ERROR_MESSAGE_LIMIT));
        *lock(&self.usage.errors).entry(error.kind.as_str()).or_default() += 1;
        let mut last = lock(&self.last_errors);
        last.truncate(REMEMBERED_ERRORS - 1);
        last.push_front(error);
    }

    /// Newest first.
    pub fn last_errors(&self) -> Vec<RecordedError> {
        lock(&self.last_errors).iter().cloned().collect()
    }

    pub fn usage(&self) -> UsageSnapshot {
        let tokens = Tokens {
            input: self.usage.input.load(Ordering::Relaxed),
            cached: self.usage.cached.load(Ordering::Relaxed),
            output: self.usage.output.load(Ordering::Relaxed),
            reasoning: self.usage.reasoning.load(Ordering::Relaxed),
        };
        let requests = self.usage.requests.load(Ordering::Relaxed);
        UsageSnapshot { requests, tokens, errors: lock(&self.usage.errors).clone() }
    }
}

/// Tokens of one answer, or of all: `input` without the cached ones, `output` with the reasoning ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
    pub reasoning: u64,
}

/// A backend's counts since the start of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSnapshot {
    pub requests: u64,
    pub tokens: Tokens,
    /// By Anthropic's error type.
    pub errors: BTreeMap<&'static str, u64>,
}

/// An error as it was answered, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedError {
    pub time: SystemTime,
    pub status: u16,
    pub kind: ErrorKind,
    pub message: String,
}

#[derive(Default)]
struct Usage {
    requests: AtomicU64,
    input: AtomicU64,
    cached: AtomicU64,
    output: AtomicU64,
    reasoning: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

/// A panic elsewhere leaves nothing half-done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::translate::Parameter;

    fn error(message: &str) -> RecordedError {
        RecordedError {
            time: SystemTime::UNIX_EPOCH,
            status: 429,
            kind: ErrorKind::RateLimit,
            message: message.to_owned(),
        }
    }

    #[test]
    fn state_is_shared_between_threads() {
        fn assert_shared<T: Send + Sync>() {}
        assert_shared::<BackendState>();
    }

    #[test]
    fn a_lesson_holds_for_its_model_and_is_new_once() {
        let state = BackendState::default();
        let (taught, other) = (ModelId::from("taught"), ModelId::from("other"));
        let no_temperature = |omissions: &mut Omissions| {
            omissions.parameters.insert(Parameter::Temperature);
        };
        assert!(state.learn(&taught, no_temperature));
        assert!(!state.learn(&taught, no_temperature));
        assert!(state.omissions(&taught).parameters.contains(&Parameter::Temperature));
        assert_eq!(state.omissions(&other), Omissions::default());
    }

    #[test]
    fn q_r7_refused_reasoning_items_are_not_remembered() {
        let state = BackendState::default();
        assert!(!state.learn(&"model".into(), |omissions| omissions.reasoning_items = true));
        assert_eq!(state.omissions(&"model".into()), Omissions::default());
    }

    #[test]
    fn lessons_about_endless_models_are_bounded() {
        let state = BackendState::default();
        for number in 0..=REMEMBERED_MODELS {
            state.learn(&format!("model-{number}").as_str().into(), |omissions| omissions.images = true);
        }
        assert!(lock(&state.omissions).len() <= REMEMBERED_MODELS);
        assert!(state.omissions(&format!("model-{REMEMBERED_MODELS}").as_str().into()).images);
    }

    #[test]
    fn a_backend_is_skipped_until_its_time_comes() {
        let state = BackendState::default();
        assert_eq!(state.skipped_until(0), None);
        state.skip_until(100);
        assert_eq!(state.skipped_until(99), Some(100));
        assert_eq!(state.skipped_until(100), None);
        state.skip_until(0);
        assert_eq!(state.skipped_until(99), None);
    }

    #[test]
    fn a_quota_is_news_only_when_a_tenth_more_is_used() {
        let state = BackendState::default();
        let used = |used_percent: f64| {
            let event = format!(
                r#"{{"rate_limits": {{"primary": {{"used_percent": {used_percent}, "window_minutes": 300}}}}}}"#
            );
            PlanQuota::of_event(&event).unwrap()
        };
        assert!(state.set_quota(used(1.0)));
        assert!(!state.set_quota(used(9.0)));
        assert!(state.set_quota(used(10.0)));
        assert_eq!(state.quota(), Some(used(10.0)));
    }

    #[test]
    fn counts_add_up() {
        let state = BackendState::default();
        let tokens = Tokens { input: 1, cached: 2, output: 3, reasoning: 1 };
        for _ in 0..2 {
            state.count_request();
            state.count_tokens(tokens);
        }
        state.record_error(error("slow down"));
        let usage = state.usage();
        assert_eq!(usage.requests, 2);
        assert_eq!(usage.tokens, Tokens { input: 2, cached: 4, output: 6, reasoning: 2 });
        assert_eq!(usage.errors, BTreeMap::from([("rate_limit_error", 1)]));
    }

    #[test]
    fn the_last_errors_are_few_short_and_newest_first() {
        let state = BackendState::default();
        for number in 0..REMEMBERED_ERRORS + 5 {
            state.record_error(error(&number.to_string()));
        }
        state.record_error(error(&"ü".repeat(ERROR_MESSAGE_LIMIT)));
        let last = state.last_errors();
        assert_eq!(last.len(), REMEMBERED_ERRORS);
        assert_eq!(last[0].message.len(), ERROR_MESSAGE_LIMIT);
        assert_eq!(last[1].message, (REMEMBERED_ERRORS + 4).to_string());
    }
}
