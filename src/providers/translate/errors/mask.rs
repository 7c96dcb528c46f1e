//! Secrets out of text: the literal ones of a request first, then whatever looks like a key. What could steer a terminal
//! goes with them: `claude` and the commands print what upstreams say.
//!
//! Every upstream text passes through here before it reaches a log line or `claude` (DESIGN.md §8).

use std::borrow::Cow;

/// What stands in place of a secret.
const MASK: &str = "***";

/// A literal shorter than this is no secret worth masking: it would turn up in ordinary words.
const SHORTEST_LITERAL_BYTES: usize = 6;

/// Replaces each of `literals`, then key-like words (`sk-…`, `Bearer …`, JWTs), by `***`, and each control character but
/// line feed and tab by U+FFFD.
pub fn mask<'a>(text: &'a str, literals: &[&str]) -> Cow<'a, str> {
    let mut masked = Cow::Borrowed(text);
    for literal in literals.iter().filter(|literal| literal.len() >= SHORTEST_LITERAL_BYTES) {
        if masked.contains(literal) {
            masked = Cow::Owned(masked.replace(literal, MASK));
        }
    }
    if let Some(text) = mask_key_like(&masked) {
        masked = Cow::Owned(text);
    }
    if masked.contains(steers_a_terminal) {
        masked = Cow::Owned(masked.replace(steers_a_terminal, "\u{fffd}"));
    }
    masked
}

fn steers_a_terminal(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
}

/// `text` without its key-like words, if it has any.
fn mask_key_like(text: &str) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    let mut after_bearer = false;
    for (start, word) in words(text) {
        if is_key_like(word) || (after_bearer && word.len() >= SHORTEST_LITERAL_BYTES) {
            masked.push_str(&text[copied..start]);
            masked.push_str(MASK);
            copied = start + word.len();
        }
        after_bearer = word.eq_ignore_ascii_case("bearer");
    }
    if copied == 0 {
        return None;
    }
    masked.push_str(&text[copied..]);
    Some(masked)
}

/// Maximal runs of the characters that keys are made of, with their byte offsets.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_key_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '*');
    text.split(move |c: char| !is_key_character(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

/// OpenAI's `sk-…` (also `api_key=sk-…`), a few other vendors' prefixes, and JWTs.
fn is_key_like(word: &str) -> bool {
    let value = word.rsplit('=').find(|value| !value.is_empty()).unwrap_or(word);
    let prefixed = ["sk-", "sk_", "gsk_", "sess-", "rt_", "hf_", "xai-", "pplx-", "fw_", "AIza", "ghp_"]
        .iter()
        .any(|prefix| value.len() >= prefix.len() + 8 && value.starts_with(prefix));
    prefixed || is_json_web_token(value)
}

/// `eyJ….…`: base64url of a JSON object, a dot, and more; also one that was cut short.
fn is_json_web_token(word: &str) -> bool {
    word.len() >= 20 && word.starts_with("eyJ") && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn literal_secrets_and_key_like_words_are_masked() {
        let cases = [
            ("nothing to hide", "nothing to hide"),
            ("the key my-own-key-1 is wrong", "the key *** is wrong"),
            ("Incorrect API key provided: sk-proj-abc123def456.", "Incorrect API key provided: ***"),
            ("Incorrect API key provided: sk-abcd***************wxyz; sorry", "Incorrect API key provided: ***; sorry"),
            ("Authorization: Bearer abcdefgh12345678, sent", "Authorization: Bearer ***, sent"),
            ("a bearer of news", "a bearer of news"),
            ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln expired", "token *** expired"),
            ("?api_key=sk-1234567890ab&x=1", "?***&x=1"),
            ("task-12345678 and a risk-taking disk-", "task-12345678 and a risk-taking disk-"),
            ("schlüssel „sk-12345678ö“", "schlüssel „***ö“"),
            ("a line\n\tand\u{1b}[2J\r\u{9b}31m more", "a line\n\tand\u{fffd}[2J\u{fffd}\u{fffd}31m more"),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text, &["my-own-key-1", "a"]), expected, "{text}");
        }
    }
}
