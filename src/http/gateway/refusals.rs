//! Upstream failures that `claude` is going to ask for again, kept for half a minute (WIRE.md R-X3).
//!
//! `claude` answers an unknown 400 by up to five re-sends and a failure inside a stream by one; most of them translate to
//! the same body. Knows no clock: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::ids::BackendId;
use crate::providers::translate::errors::Answer;

/// How long a failure is answered from here.
const KEPT: Duration = Duration::from_secs(30);
/// Failures at the same time; the oldest goes first.
const MOST: usize = 256;

/// What names a request: the backend and the body as first sent, before retries change it. Every body says
/// `"stream": true`, so the client's wish for a stream makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(backend: &BackendId, body: &[u8]) -> Self {
        let hasher = Sha256::new().chain_update(backend.as_str()).chain_update([0]).chain_update(body);
        Self(hasher.finalize().into())
    }
}

/// The failures of the last half minute.
#[derive(Default)]
pub struct Refusals {
    kept: HashMap<Digest, Kept>,
}

struct Kept {
    answer: Answer,
    since: Instant,
}

impl Refusals {
    pub fn keep(&mut self, digest: Digest, answer: Answer, now: Instant) {
        self.forget_old(now);
        if self.kept.len() >= MOST {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.since).map(|(digest, _)| *digest);
            oldest.map(|digest| self.kept.remove(&digest));
        }
        self.kept.insert(digest, Kept { answer, since: now });
    }

    /// The answer to a request that failed lately. Its digest is asked for only while there is any such request:
    /// usually there is none.
    pub fn recall(&mut self, now: Instant, digest: impl FnOnce() -> Digest) -> Option<Answer> {
        self.forget_old(now);
        if self.kept.is_empty() {
            return None;
        }
        self.kept.get(&digest()).map(|kept| kept.answer.clone())
    }

    fn forget_old(&mut self, now: Instant) {
        self.kept.retain(|_, kept| now.duration_since(kept.since) < KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::translate::ApiError;
    use crate::providers::translate::errors::Class;

    fn answer(message: &str) -> Answer {
        Answer { error: ApiError::invalid(message), class: Class { code: "weird".into(), quota: None } }
    }

    fn digest(body: &str) -> Digest {
        Digest::of(&BackendId::from("openai-api"), body.as_bytes())
    }

    #[test]
    fn r_x3_a_failure_is_remembered_for_half_a_minute_and_for_its_own_body() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        refusals.keep(digest("one"), answer("off"), start);
        let almost = start + KEPT - Duration::from_millis(1);
        assert_eq!(refusals.recall(almost, || digest("one")), Some(answer("off")));
        assert_eq!(refusals.recall(almost, || digest("two")), None);
        assert_eq!(refusals.recall(almost, || Digest::of(&BackendId::from("vllm"), b"one")), None);
        assert_eq!(refusals.recall(start + KEPT, || digest("one")), None);
    }

    #[test]
    fn r_x3_nothing_is_hashed_while_nothing_is_kept() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.recall(start, || panic!("hashed")), None);
        refusals.keep(digest("one"), answer("off"), start);
        assert_eq!(refusals.recall(start + KEPT, || panic!("hashed")), None);
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_goes_first() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        for number in 0..=MOST as u64 {
            refusals.keep(digest(&number.to_string()), answer("off"), start + Duration::from_millis(number));
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(refusals.kept.len(), MOST);
        assert_eq!(refusals.recall(now, || digest("0")), None);
        assert!(refusals.recall(now, || digest("1")).is_some());
    }
}
