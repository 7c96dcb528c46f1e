//! The signature of a thinking block: what the upstream needs to get its reasoning back (WIRE.md Q-R1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// What a reasoning item gave us to send back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoning<'a> {
    Encrypted(&'a str),
    /// Only its text, which is in the block itself.
    Text,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub kind: Reasoning<'a>,
    pub model: &'a str,
    /// The call that the reasoning followed, as the client knows it (Q-R5).
    pub after: Option<&'a str>,
    /// The phase of the message that follows (Q-M8).
    pub phase: Option<&'a str>,
}

#[derive(Serialize)]
struct Content<'a> {
    k: &'static str,
    m: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ph: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<&'a str>,
}

impl Envelope<'_> {
    pub(super) fn encode(&self, scope: &str) -> String {
        let (k, e) = match self.kind {
            Reasoning::Encrypted(content) => ("e", Some(content)),
            Reasoning::Text => ("t", None),
        };
        let content = Content { k, m: self.model, a: self.after, ph: self.phase, e };
        let json = serde_json::to_vec(&content).unwrap_or_default();
        format!("cgw1.{scope}.{}", URL_SAFE_NO_PAD.encode(json))
    }
}
