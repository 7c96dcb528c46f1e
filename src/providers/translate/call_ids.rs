//! Ids of tool calls: what both vendors accept (WIRE.md Q-M33, §2.10).

use std::borrow::Cow;

use crate::providers::digest::sha256_hex;

/// Bytes. More is `string_above_max_length` upstream.
const LONGEST: usize = 64;
/// Bytes kept of an id that is changed: with `_` and 16 hex digits it is as long as allowed.
const KEPT: usize = 47;

/// The id to use for `id` in both directions: itself if it is 1 to 64 of `[A-Za-z0-9_-]`, else its first 47
/// characters (foreign ones as `_`), `_`, and 16 hex digits of its SHA-256. A mapped id maps to itself.
pub fn sanitise(id: &str) -> Cow<'_, str> {
    sanitise_to(id, LONGEST)
}

/// The same for an id that gets a prefix later and so must be shorter: at most `longest` bytes, at least 18.
pub fn sanitise_to(id: &str, longest: usize) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= longest && id.bytes().all(is_legal) {
        return Cow::Borrowed(id);
    }
    let kept = id.chars().map(legal).take(KEPT.min(longest.saturating_sub(17)));
    let digest = sha256_hex(&[id]);
    Cow::Owned(kept.chain("_".chars()).chain(digest.chars().take(16)).collect())
}

pub(super) fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn legal(character: char) -> char {
    if u8::try_from(character).is_ok_and(is_legal) { character } else { '_' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_m33_good_ids_pass_unchanged() {
        for id in ["call_1", "toolu_01-A", &"x".repeat(64)] {
            assert!(matches!(sanitise(id), Cow::Borrowed(same) if same == id));
        }
    }

    #[test]
    fn q_m33_long_or_foreign_ids_are_cut_and_hashed() {
        for id in ["", "a:b", "é", &"x".repeat(65), &format!("{}|fc_/+=", "x".repeat(240))] {
            let mapped = sanitise(id).into_owned();
            assert!(mapped.len() <= 64 && mapped.bytes().all(is_legal), "{mapped}");
            assert_eq!(sanitise(&mapped), mapped, "a mapped id maps to itself");
        }
        assert_eq!(sanitise(&"x".repeat(65)).len(), 64);
        assert!(sanitise("a:b").starts_with("a_b_"));
    }

    #[test]
    fn q_m33_ids_with_a_common_start_stay_apart() {
        let start = "x".repeat(70);
        assert_ne!(sanitise(&format!("{start}1")), sanitise(&format!("{start}2")));
        assert_ne!(sanitise("a:b"), sanitise("a/b"));
    }

    #[test]
    fn an_id_that_gets_a_prefix_is_cut_shorter() {
        assert_eq!(sanitise_to(&"x".repeat(64), 60).len(), 60);
        assert_eq!(sanitise_to("msg", 60), "msg");
    }
}
