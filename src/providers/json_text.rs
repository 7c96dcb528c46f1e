//! Strings as they stand in JSON: quoted and escaped, passed on without being decoded.
//!
//! A conversation is mostly text that nobody has to read. [`JsonText`] is a piece of it that is still the client's
//! bytes; [`TextWriter`] joins such pieces and our own words into one new JSON string. Looking inside (a prefix, a
//! blank) works on the escaped form; [`JsonText::decode`] is for the few rules that need the characters.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde_json::value::RawValue;

use crate::providers::escaped::{Escaped, escape_into};

/// A JSON string in its quotes, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct JsonText<'a>(&'a RawValue);

impl<'a> JsonText<'a> {
    /// `raw` if it is a string, nothing if it is any other JSON value.
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().starts_with('"').then_some(Self(raw))
    }

    pub fn raw(self) -> &'a RawValue {
        self.0
    }

    /// What stands between the quotes: escaped once.
    pub fn escaped(self) -> &'a str {
        let quoted = self.0.get();
        quoted.get(1..quoted.len() - 1).unwrap_or("")
    }

    pub fn is_empty(self) -> bool {
        self.escaped().is_empty()
    }

    /// Holds nothing but white space.
    pub fn is_blank(self) -> bool {
        let rest = skip_space(self.escaped());
        rest.is_empty() || (may_hide_space(rest) && self.decode().trim().is_empty())
    }

    /// Whether the text, without the white space it begins with, starts with `prefix` (plain ASCII, no quotes).
    pub fn trimmed_starts_with(self, prefix: &str) -> bool {
        let rest = skip_space(self.escaped());
        rest.starts_with(prefix) || (may_hide_space(rest) && self.decode().trim_start().starts_with(prefix))
    }

    /// The characters. A lone half of a surrogate pair, legal in JSON alone, becomes U+FFFD.
    pub fn decode(self) -> Cow<'a, str> {
        Escaped::new(self.escaped()).decode()
    }
}

/// The characters of an optional member; empty if it is absent or no string.
pub fn decoded<'a>(raw: Option<&'a RawValue>) -> Cow<'a, str> {
    raw.and_then(JsonText::of).map_or(Cow::Borrowed(""), JsonText::decode)
}

/// Without the white space, plain or in its short escapes, that the escaped text begins with.
fn skip_space(mut escaped: &str) -> &str {
    loop {
        escaped = escaped.trim_start();
        match escaped
            .strip_prefix(r"\n")
            .or_else(|| escaped.strip_prefix(r"\r"))
            .or_else(|| escaped.strip_prefix(r"\t"))
        {
            Some(rest) => escaped = rest,
            None => return escaped,
        }
    }
}

/// The next character is written as `\uXXXX` (or a form feed), so only decoding can tell what it is.
fn may_hide_space(escaped: &str) -> bool {
    escaped.starts_with(r"\u") || escaped.starts_with(r"\f")
}

/// Reads a JSON string's bytes, where serde_json lets lone surrogates pass, and makes legal text of them.
pub struct Lossy;

impl<'de> Visitor<'de> for Lossy {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A new JSON string, made of pieces. Escapes never span pieces, so escaped ones are joined as they are.
pub struct TextWriter {
    json: String,
}

impl TextWriter {
    /// `capacity` in bytes of escaped text.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut json = String::with_capacity(capacity + 2);
        json.push('"');
        Self { json }
    }

    pub fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    /// Appends text that is escaped already.
    pub fn escaped(&mut self, text: &str) -> &mut Self {
        self.json.push_str(text);
        self
    }

    /// Appends characters, escaping what JSON wants escaped.
    pub fn plain(&mut self, text: &str) -> &mut Self {
        escape_into(text, &mut self.json);
        self
    }

    /// The string, in its quotes.
    pub fn finish(mut self) -> Cow<'static, RawValue> {
        self.json.push('"');
        match RawValue::from_string(self.json) {
            Ok(raw) => Cow::Owned(raw),
            Err(error) => unreachable!("pieces of JSON strings form a JSON string: {error}"),
        }
    }
}

/// `text` as a JSON string.
pub fn quote(text: &str) -> Cow<'static, RawValue> {
    let mut writer = TextWriter::with_capacity(text.len() + text.len() / 16);
    writer.plain(text);
    writer.finish()
}

/// The inside of a string that we have made or borrowed.
pub fn inside(raw: &RawValue) -> &str {
    JsonText::of(raw).map_or("", JsonText::escaped)
}

/// One string of several, with `separator` between them.
pub fn join<'a>(texts: &[Cow<'a, RawValue>], separator: &str) -> Cow<'a, RawValue> {
    if let [only] = texts {
        return only.clone();
    }
    let mut writer = TextWriter::with_capacity(texts.iter().map(|text| text.get().len() + separator.len()).sum());
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            writer.plain(separator);
        }
        writer.escaped(inside(text));
    }
    writer.finish()
}

/// Replaces escapes of lone surrogate halves by U+FFFD in place: JSON allows them, many parsers do not, and a text that
/// was cut in the middle of a character would make a conversation unusable for ever.
pub fn mend_surrogates(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&json[at..], b"\\u") {
        let start = at + found;
        let backslashes = json[..start].iter().rev().take_while(|byte| **byte == b'\\').count();
        at = match unit_at(json, start) {
            _ if backslashes % 2 == 1 => start + 2,
            Some(0xd800..=0xdbff) if matches!(unit_at(json, start + 6), Some(0xdc00..=0xdfff)) => start + 12,
            Some(0xd800..=0xdfff) => {
                json[start + 2..start + 6].copy_from_slice(b"fffd");
                start + 6
            }
            Some(_) | None => start + 2,
        };
    }
}

/// The same for JSON that is to be quoted, and so is escaped once more.
pub fn mended(json: &str) -> Cow<'_, str> {
    if !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut bytes = json.as_bytes().to_vec();
    mend_surrogates(&mut bytes);
    String::from_utf8(bytes).map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The UTF-16 unit of the escape `\uXXXX` at `start`, if there is one.
fn unit_at(json: &[u8], start: usize) -> Option<u16> {
    let digits = json.get(start..start + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    fn text(json: &str) -> JsonText<'_> {
        JsonText::of(raw(json)).unwrap()
    }

    #[test]
    fn only_strings_are_texts() {
        for json in ["1", "null", "{}", "[]", "true"] {
            assert!(JsonText::of(raw(json)).is_none(), "{json}");
        }
    }

    #[test]
    fn a_lone_surrogate_decodes_to_the_replacement_character() {
        assert_eq!(text(r#""a\ud83db""#).decode().chars().next_back(), Some('b'));
        assert_eq!(text(r#""\ud83d\ude00""#).decode(), "😀");
    }

    #[test]
    fn blank_and_prefix_see_through_escapes() {
        assert!(text(r#"" \n\t\r ""#).is_blank());
        assert!(text(r#""\u0020\u000a""#).is_blank());
        assert!(!text(r#""\u0041""#).is_blank());
        assert!(text(r#""\n x-a: b""#).trimmed_starts_with("x-a:"));
        assert!(text(r#""\u0078-a: b""#).trimmed_starts_with("x-a:"));
        assert!(!text(r#""y x-a: b""#).trimmed_starts_with("x-a:"));
    }

    #[test]
    fn joining_keeps_escapes_as_they_are() {
        let parts = [Cow::Borrowed(raw(r#""a\"b""#)), Cow::Borrowed(raw(r#""\ud83d""#)), Cow::Borrowed(raw(r#""c""#))];
        assert_eq!(join(&parts, "\n").get(), r#""a\"b\n\ud83d\nc""#);
        assert_eq!(join(&[], "\n").get(), r#""""#);
    }

    #[test]
    fn lone_surrogates_are_mended_and_pairs_kept() {
        let cases = [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\uDE00b""#, r#""\ufffdb""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u00e9\n""#, r#""\u00e9\n""#),
        ];
        for (json, expected) in cases {
            let mut bytes = json.as_bytes().to_vec();
            mend_surrogates(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_decodes_to_itself(original in ".*") {
            let quoted = quote(&original);
            assert_eq!(JsonText::of(&quoted).unwrap().decode(), original);
        }
    }
}
