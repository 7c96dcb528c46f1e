//! The inside of JSON strings: what a delta is made of on both sides.
//!
//! Text that arrives escaped leaves escaped, spliced from one vendor's JSON into the other's; only what must be looked
//! at is decoded.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The inside of a JSON string, still escaped: it can be spliced into our own JSON as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(&'a str);

impl<'a> Escaped<'a> {
    /// Absent where `raw` is no string.
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().strip_prefix('"')?.strip_suffix('"').map(Self)
    }

    /// `text` must be the inside of a JSON string already.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Appends the text that is meant. Half a surrogate pair becomes U+FFFD.
    pub fn decode_into(self, text: &mut String) {
        let mut rest = self.0;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            text.push_str(&rest[..at]);
            let (character, length) = escape(&rest.as_bytes()[at..]);
            text.push(character);
            rest = rest.get(at + length..).unwrap_or_default();
        }
        text.push_str(rest);
    }

    pub fn decode(self) -> Cow<'a, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(self.0);
        }
        let mut text = String::with_capacity(self.0.len());
        self.decode_into(&mut text);
        Cow::Owned(text)
    }
}

/// The character of the escape that `bytes` begin with, and the escape's length.
fn escape(bytes: &[u8]) -> (char, usize) {
    let simple = |character| (character, 2);
    match bytes.get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'u') => unicode_escape(bytes),
        Some(&other) => simple(char::from(other)),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

fn unicode_escape(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(bytes.get(at + 2..at + 6)?).ok()?;
        (bytes.get(at..at + 2)? == b"\\u").then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let Some(character) = char::from_u32(first.into()) {
        return (character, 6);
    }
    let pair = [first, unit(6).unwrap_or(0)];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => (character, 12),
        Some(Err(_)) | None => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn escape_into(text: &str, escaped: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
        escaped.push_str(&rest[..at]);
        escaped.push_str(match rest.as_bytes()[at] {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            control => CONTROLS[usize::from(control)],
        });
        rest = &rest[at + 1..];
    }
    escaped.push_str(rest);
}

const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t", "\\n",
    "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014", "\\u0015",
    "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_json_means_them() {
        let cases = [
            (r#""plain""#, "plain"),
            (r#""a\n\t\r\b\f\"\\\/z""#, "a\n\t\r\u{8}\u{c}\"\\/z"),
            (r#""\u00e9\ud83d\ude00!""#, "\u{e9}\u{1f600}!"),
            (r#""half \ud83d""#, "half \u{fffd}"),
            (r#""\ude00x\ud83dy""#, "\u{fffd}x\u{fffd}y"),
        ];
        for (json, wanted) in cases {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(Escaped::of(raw).unwrap().decode(), wanted, "{json}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_back_the_same() {
        let text: String = (0..0x300u32).filter_map(char::from_u32).chain("\u{1f600}".chars()).collect();
        let mut escaped = String::new();
        escape_into(&text, &mut escaped);
        assert_eq!(serde_json::from_str::<String>(&format!("\"{escaped}\"")).unwrap(), text);
        assert_eq!(Escaped::new(&escaped).decode(), text);
    }
}
