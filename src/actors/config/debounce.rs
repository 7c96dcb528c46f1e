//! When to look at a file that somebody is writing: once it has been quiet for a while, and soon in any case.
//!
//! Editors write a file in several steps; looking between two of them shows half of it. Pure: the moment is an argument,
//! the timer is the caller's.

use std::time::{Duration, Instant};

/// Somebody who never stops writing is looked at this often all the same.
const LONGEST: Duration = Duration::from_secs(1);

/// ```text
///           noticed                     quiet long enough, or pending too long
///   Still ──────────> Pending (timer) ─────────────────────────────────────────> look, Still
///                      ^   │ noticed, or the timer fires early
///                      └───┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Debounce {
    #[default]
    Still,
    Pending {
        first: Instant,
        due: Instant,
    },
}

/// What a fired timer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Due {
    Now,
    /// There was more to notice meanwhile: ask again after this long.
    In(Duration),
    /// Somebody has looked already.
    Never,
}

impl Debounce {
    /// Something has happened. Gives the delay of the timer to arm, if none is under way.
    pub fn noticed(&mut self, now: Instant, quiet: Duration) -> Option<Duration> {
        let (first, armed) = match *self {
            Self::Still => (now, false),
            Self::Pending { first, .. } => (first, true),
        };
        let due = (now + quiet).min(first + quiet.max(LONGEST));
        *self = Self::Pending { first, due };
        (!armed).then(|| due.saturating_duration_since(now))
    }

    /// The timer has fired.
    pub fn fired(&mut self, now: Instant) -> Due {
        match *self {
            Self::Still => Due::Never,
            Self::Pending { due, .. } if due > now => Due::In(due - now),
            Self::Pending { .. } => {
                *self = Self::Still;
                Due::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(250);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Runs the machine with its timer and tells at which milliseconds somebody looks.
    fn looks(noticed_at_ms: impl IntoIterator<Item = u64>, quiet: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut machine = Debounce::default();
        let mut timer = None;
        let mut noticed = noticed_at_ms.into_iter().peekable();
        let mut looks = Vec::new();
        loop {
            let next = match (noticed.peek().copied(), timer) {
                (None, None) => return looks,
                (Some(event), None) => event,
                (None, Some(timer)) => timer,
                (Some(event), Some(timer)) => event.min(timer),
            };
            let now = start + ms(next);
            if timer == Some(next) {
                timer = match machine.fired(now) {
                    Due::Now => {
                        looks.push(next);
                        None
                    }
                    Due::In(delay) => Some(next + delay.as_millis() as u64),
                    Due::Never => None,
                };
            } else {
                noticed.next();
                timer = timer.or(machine.noticed(now, quiet).map(|delay| next + delay.as_millis() as u64));
            }
        }
    }

    #[test]
    fn one_change_is_looked_at_after_the_quiet_time() {
        assert_eq!(looks([0], QUIET), [250]);
    }

    #[test]
    fn a_save_in_several_steps_is_looked_at_once_after_the_last() {
        assert_eq!(looks([0, 100, 200, 300], QUIET), [550]);
    }

    #[test]
    fn somebody_who_never_stops_is_looked_at_every_second() {
        assert_eq!(looks((0..30).map(|step| step * 100), QUIET), [1000, 2000, 3000]);
    }

    #[test]
    fn a_longer_quiet_time_is_obeyed() {
        assert_eq!(looks([0, 100], ms(5000)), [5000]);
    }

    #[test]
    fn saves_far_apart_are_looked_at_one_by_one() {
        assert_eq!(looks([0, 1000, 2000], QUIET), [250, 1250, 2250]);
    }
}
