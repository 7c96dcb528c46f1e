//! How often something may be started again: a sliding window, and a backoff that doubles.
//!
//! One [`Budget`] remembers one kind of event of one slot or session, with its causes. It is used in two ways: an
//! unplanned end *spends* ([`Budget::spend`]: wait, then restart; too many: quarantine), and a planned replacement is
//! *damped* ([`Budget::damping`]: too many only wait). It reads no clock; `now` is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Entries kept beyond what counting needs, so that "tried in that window" has a memory even for a small intensity.
const MIN_REMEMBERED: usize = 64;

/// The `[supervisor]` keys a budget obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most restarts within `period`.
    pub intensity: usize,
    pub period: Duration,
    /// The first wait; each further one is twice as long,
    pub backoff_initial: Duration,
    /// up to this.
    pub backoff_max: Duration,
}

/// What an unplanned end leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    RestartAfter(Duration),
    /// The (intensity+1)st end within the period.
    Exhausted,
}

/// ```text
///          spend / record            spend, more than `intensity` in the window
///  Quiet ─────────────────> Counting ───────────────────────────────────────────> Exhausted
///    ^                          │  each wait doubles the next                         │
///    └── a whole period without ┴───────────────── clear ─────────────────────────────┘
/// ```
#[derive(Clone, Debug)]
pub struct Budget<C> {
    recent: VecDeque<(Instant, C)>,
    /// Waits handed out since the last quiet period: the exponent of the next one.
    waits: u32,
}

impl<C> Default for Budget<C> {
    fn default() -> Self {
        Self { recent: VecDeque::new(), waits: 0 }
    }
}

impl<C> Budget<C> {
    /// Counts one unplanned end and says what follows.
    pub fn spend(&mut self, cause: C, now: Instant, limits: &Limits) -> Verdict {
        self.record(cause, now, limits);
        if self.recent.len() > limits.intensity {
            Verdict::Exhausted
        } else {
            Verdict::RestartAfter(self.next_wait(limits))
        }
    }

    /// How long the next planned replacement has to wait; `None`: not at all. Once one had to wait, each further one
    /// does, until a whole period passes without any. A replacement carried out is then told by [`Budget::record`].
    pub fn damping(&mut self, now: Instant, limits: &Limits) -> Option<Duration> {
        self.forget(now, limits);
        let is_damped = self.waits > 0 || self.recent.len() >= limits.intensity;
        is_damped.then(|| self.next_wait(limits))
    }

    /// Counts one event without asking what follows.
    pub fn record(&mut self, cause: C, now: Instant, limits: &Limits) {
        self.forget(now, limits);
        self.recent.push_back((now, cause));
        let most = limits.intensity.saturating_add(1).max(MIN_REMEMBERED);
        if self.recent.len() > most {
            self.recent.pop_front();
        }
    }

    /// The causes still in the window as of the last call, oldest first.
    pub fn causes(&self) -> impl ExactSizeIterator<Item = &C> {
        self.recent.iter().map(|(_, cause)| cause)
    }

    /// Forgets everything: somebody who can judge (SIGHUP) asked for a fresh start.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget(&mut self, now: Instant, limits: &Limits) {
        self.recent.retain(|(at, _)| now.saturating_duration_since(*at) < limits.period);
        if self.recent.is_empty() {
            self.waits = 0;
        }
    }

    fn next_wait(&mut self, limits: &Limits) -> Duration {
        let factor = 1u32 << self.waits.min(31);
        self.waits = self.waits.saturating_add(1);
        limits.backoff_initial.saturating_mul(factor).min(limits.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(intensity: usize) -> Limits {
        Limits { intensity, period: 60 * SECOND, backoff_initial: Duration::from_millis(200), backoff_max: 30 * SECOND }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_maximum() {
        let (mut budget, limits, now) = (Budget::default(), limits(100), Instant::now());
        let waits: Vec<_> = (0..40).map(|_| budget.spend((), now, &limits)).collect();
        let after = |milliseconds| Verdict::RestartAfter(Duration::from_millis(milliseconds));
        assert_eq!(waits[..4], [after(200), after(400), after(800), after(1600)]);
        assert_eq!(waits[8..], [after(30_000); 32]);
    }

    #[test]
    fn the_end_after_the_last_allowed_restart_exhausts() {
        for intensity in [0, 1, 5] {
            let (mut budget, limits, now) = (Budget::default(), limits(intensity), Instant::now());
            for _ in 0..intensity {
                assert!(matches!(budget.spend((), now, &limits), Verdict::RestartAfter(_)));
            }
            assert_eq!(budget.spend((), now, &limits), Verdict::Exhausted, "{intensity}");
        }
    }

    #[test]
    fn the_window_slides() {
        let (mut budget, limits, start) = (Budget::default(), limits(1), Instant::now());
        for turn in 0..5u32 {
            let verdict = budget.spend(turn, start + limits.period * turn, &limits);
            assert_eq!(verdict, Verdict::RestartAfter(limits.backoff_initial));
            assert_eq!(budget.causes().collect::<Vec<_>>(), [&turn]);
        }
        let verdict = budget.spend(5, start + limits.period * 4 + 59 * SECOND, &limits);
        assert_eq!(verdict, Verdict::Exhausted);
    }

    #[test]
    fn ends_that_never_leave_a_quiet_period_keep_the_backoff_growing() {
        let (mut budget, limits, mut now) = (Budget::default(), limits(5), Instant::now());
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now += 50 * SECOND;
            let Verdict::RestartAfter(wait) = budget.spend((), now, &limits) else { panic!("two in a window of five") };
            longest = longest.max(wait);
        }
        assert_eq!(longest, limits.backoff_max);
    }

    #[test]
    fn once_damped_each_further_replacement_waits_until_a_quiet_period() {
        let (mut budget, limits, mut now) = (Budget::default(), limits(1), Instant::now());
        assert_eq!(budget.damping(now, &limits), None);
        budget.record((), now, &limits);
        for milliseconds in [200, 400, 800] {
            now += 40 * SECOND;
            assert_eq!(budget.damping(now, &limits), Some(Duration::from_millis(milliseconds)));
            budget.record((), now, &limits);
        }
        now += limits.period;
        assert_eq!(budget.damping(now, &limits), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut budget, limits, now) = (Budget::default(), limits(3), Instant::now());
        for _ in 0..1000 {
            budget.record((), now, &limits);
        }
        assert_eq!(budget.causes().len(), MIN_REMEMBERED);
    }

    #[test]
    fn clearing_gives_a_fresh_start() {
        let (mut budget, limits, now) = (Budget::default(), limits(0), Instant::now());
        assert_eq!(budget.spend((), now, &limits), Verdict::Exhausted);
        budget.clear();
        assert_eq!(budget.causes().len(), 0);
    }
}
