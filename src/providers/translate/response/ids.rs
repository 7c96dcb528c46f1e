//! The ids that the client sees: its alphabet, its length, unique within a message (WIRE.md §2.10, R-W6, Q-M33).

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

const MAX_ID_BYTES: usize = 64;

/// The id as it is if it conforms, else 47 characters of it and 16 hex digits of its digest.
pub(super) fn outward(id: &str) -> Cow<'_, str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(legal) {
        return Cow::Borrowed(id);
    }
    let sane = |character: char| if u8::try_from(character).is_ok_and(legal) { character } else { '_' };
    let start: String = id.chars().take(47).map(sane).collect();
    Cow::Owned(format!("{start}_{}", digest(id, 16)))
}

/// The message's id, from the response's or from a seed of the gateway's own.
pub(super) fn message_id(response_id: &str) -> String {
    outward(&format!("msg_{response_id}")).into_owned()
}

pub(super) fn search_id(item_id: &str) -> String {
    outward(&format!("srvtoolu_{item_id}")).into_owned()
}

fn digest(text: &str, digits: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}

/// Gives each call of a message its id.
#[derive(Debug)]
pub(super) struct CallIds {
    seed: String,
    given: BTreeSet<String>,
}

impl CallIds {
    /// `seed` names this response: ids that the upstream did not give follow from it.
    pub(super) fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), given: BTreeSet::new() }
    }

    /// The id for a call that the upstream calls `call_id`, or else knows as `item_id`.
    pub(super) fn give(&mut self, call_id: Option<&str>, item_id: Option<&str>) -> String {
        let wanted = match call_id.or(item_id) {
            Some(id) => outward(id).into_owned(),
            None => format!("call_{}", digest(&format!("{} {}", self.seed, self.given.len()), 24)),
        };
        let mut id = wanted.clone();
        let mut copies = 1;
        while !self.given.insert(id.clone()) {
            copies += 1;
            id = outward(&format!("{wanted}_{copies}")).into_owned();
        }
        id
    }

    /// Another id of the gateway's own, for a search without one.
    pub(super) fn invent(&self, number: u64) -> String {
        digest(&format!("{} search {number}", self.seed), 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_m33_a_mapped_id_maps_to_itself() {
        let long = "a".repeat(70);
        for id in ["call_1", "call:1", "", long.as_str(), "caf\u{e9}"] {
            let once = outward(id).into_owned();
            assert!((1..=64).contains(&once.len()), "{once}");
            assert_eq!(outward(&once), once);
        }
    }

    #[test]
    fn duplicate_call_ids_are_numbered() {
        let mut ids = CallIds::new("req_1");
        assert_eq!(ids.give(Some("call_a"), Some("fc_1")), "call_a");
        assert_eq!(ids.give(Some("call_a"), None), "call_a_2");
        assert_eq!(ids.give(Some("call_a"), None), "call_a_3");
        assert_eq!(ids.give(None, Some("fc_2")), "fc_2");
        let invented = ids.give(None, None);
        assert_eq!(invented.len(), 29);
        assert_ne!(invented, ids.give(None, None));
    }
}
