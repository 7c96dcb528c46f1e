//! What travels as a thinking block's signature: the upstream's reasoning, sealed so that only the same upstream gets
//! it back (WIRE.md §1.5).
//!
//! `claude` returns signatures byte for byte. An envelope is `cgw1.` + scope + `.` + base64url of a small JSON object;
//! whatever does not begin like that is some other service's and is dropped by the reader.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::providers::openai::wire::request::Phase;

/// First bytes of every envelope, whatever its scope: a cheap reject for foreign signatures.
pub const PREFIX: &str = "cgw1.";

/// The reasoning of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The upstream's id of the model that reasoned.
    pub model: Cow<'a, str>,
    /// The call id that came directly before it (Q-R5): `claude` moves calls behind their thinking.
    pub after: Option<Cow<'a, str>>,
    /// The phase of the message that followed it (Q-M8).
    pub phase: Option<Phase>,
    pub kept: Kept<'a>,
}

/// In which form the reasoning can be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<'a> {
    Encrypted(Cow<'a, str>),
    /// The thinking block's own text is all there is (Q-R4).
    PlainText,
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    k: Cow<'a, str>,
    m: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ph: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<Cow<'a, str>>,
}

impl Envelope<'_> {
    /// The signature to send with a thinking block, or the data of a redacted one (Q-R1). `scope` as
    /// [`scope`](crate::providers::openai::models::scope) makes it.
    pub fn encode(&self, scope: &str) -> String {
        let (kind, encrypted) = match &self.kept {
            Kept::Encrypted(content) => ("e", Some(Cow::Borrowed(&**content))),
            Kept::PlainText => ("t", None),
        };
        let sealed = Sealed {
            k: Cow::Borrowed(kind),
            m: Cow::Borrowed(&self.model),
            a: self.after.as_deref().map(Cow::Borrowed),
            ph: self.phase.map(|phase| Cow::Borrowed(phase.as_str())),
            e: encrypted,
        };
        let json = serde_json::to_vec(&sealed).unwrap_or_default();
        let mut signature = String::with_capacity(PREFIX.len() + scope.len() + 1 + json.len().div_ceil(3) * 4);
        signature.push_str(PREFIX);
        signature.push_str(scope);
        signature.push('.');
        URL_SAFE_NO_PAD.encode_string(json, &mut signature);
        signature
    }

    /// Opens a signature of ours. Nothing if it is anybody else's, of another scope, or damaged (Q-R2).
    pub fn decode(signature: &str, scope: &str) -> Option<Envelope<'static>> {
        let sealed = signature.strip_prefix(PREFIX)?.strip_prefix(scope)?.strip_prefix('.')?;
        let json = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let sealed: Sealed<'_> = serde_json::from_slice(&json).ok()?;
        let kept = match (&*sealed.k, sealed.e) {
            ("e", Some(content)) if !content.is_empty() => Kept::Encrypted(Cow::Owned(content.into_owned())),
            ("t", _) => Kept::PlainText,
            _ => return None,
        };
        Some(Envelope {
            model: Cow::Owned(sealed.m.into_owned()),
            after: sealed.a.map(|id| Cow::Owned(id.into_owned())),
            phase: sealed.ph.as_deref().and_then(Phase::of),
            kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope<'static> {
        Envelope {
            model: "gpt-5.5".into(),
            after: Some("call_1".into()),
            phase: Some(Phase::Commentary),
            kept: Kept::Encrypted("gAAAA\u{e9}\"".into()),
        }
    }

    #[test]
    fn q_r1_an_envelope_opens_to_what_was_sealed() {
        let plain = Envelope { after: None, phase: None, kept: Kept::PlainText, ..envelope() };
        for original in [envelope(), plain] {
            let signature = original.encode("0123456789ab");
            assert!(signature.starts_with("cgw1.0123456789ab."));
            assert_eq!(Envelope::decode(&signature, "0123456789ab"), Some(original));
        }
    }

    #[test]
    fn q_r2_foreign_damaged_and_other_scopes_stay_shut() {
        let mine = envelope().encode("0123456789ab");
        let cut = &mine[..mine.len() - 3];
        for signature in
            ["", "gAAAAABk", "cgw1.", "cgw1.0123456789ab.", "cgw1.0123456789ab.!!", "cgw2.0123456789ab.e30", cut]
        {
            assert_eq!(Envelope::decode(signature, "0123456789ab"), None, "{signature}");
        }
        assert_eq!(Envelope::decode(&mine, "ba9876543210"), None);
    }

    #[test]
    fn an_empty_encrypted_content_is_absent() {
        let empty = Envelope { kept: Kept::Encrypted("".into()), ..envelope() };
        assert_eq!(Envelope::decode(&empty.encode("s"), "s"), None);
    }
}
