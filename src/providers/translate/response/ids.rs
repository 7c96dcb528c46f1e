//! The ids that the client sees: its alphabet, its length, unique within a message (WIRE.md §2.10, R-W6, Q-M33).

use std::collections::BTreeSet;

use crate::providers::digest::sha256_hex;
use crate::providers::translate::call_ids::sanitise;

/// The message's id, from the response's or from a seed of the gateway's own.
pub(super) fn message_id(response_id: &str) -> String {
    sanitise(&format!("msg_{response_id}")).into_owned()
}

pub(super) fn search_id(item_id: &str) -> String {
    sanitise(&format!("srvtoolu_{item_id}")).into_owned()
}

/// 24 hex digits that follow from the seed alone.
fn invented(seed: &str, what: &str, number: u64) -> String {
    let mut digits = sha256_hex(&[seed, what, &number.to_string()]);
    digits.truncate(24);
    digits
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
            Some(id) => sanitise(id).into_owned(),
            None => format!("call_{}", invented(&self.seed, "call", self.given.len() as u64)),
        };
        let mut id = wanted.clone();
        let mut copies = 1;
        while !self.given.insert(id.clone()) {
            copies += 1;
            id = sanitise(&format!("{wanted}_{copies}")).into_owned();
        }
        id
    }

    /// Another id of the gateway's own, for a search without one.
    pub(super) fn invent(&self, number: u64) -> String {
        invented(&self.seed, "search", number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
