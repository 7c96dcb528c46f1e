//! How one kind of upstream differs from another: the table of WIRE.md §0 as a value.
//!
//! Every rule of the translation that depends on the upstream reads it from here, never from a model's name or a host.

use serde::{Deserialize, Serialize};

/// Which column of WIRE.md §0 holds. It follows from the backend's kind alone, never from the host of its `base_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileKind {
    OpenAi,
    Codex,
    Custom,
}

impl ProfileKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ProfileKind::OpenAi => "openai",
            ProfileKind::Codex => "codex",
            ProfileKind::Custom => "custom",
        }
    }
}

/// What a `role:"system"` message in the middle of a conversation becomes (Q-M5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MidSystem {
    Developer,
    System,
    /// A user message wrapped in `<system-reminder>`.
    Reminder,
}

/// Whether the body carries `store` (Q-P14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    Omit,
    False,
}

/// One upstream's habits. Start from [`Profile::of`], then apply the backend's `profile` overrides (DESIGN.md §5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Profile {
    pub kind: ProfileKind,
    pub mid_system: MidSystem,
    pub store: Store,
    /// Tool outputs may be arrays of parts (Q-M25).
    pub array_outputs: bool,
    /// `strict` is written into tools and formats (Q-T2).
    pub strict: bool,
    /// Encrypted reasoning is asked for and replayed (Q-P15).
    pub encrypted_reasoning: bool,
    /// `""` is a legal tool output (Q-M26).
    pub empty_output_ok: bool,
    /// `reasoning` is sent at all.
    pub reasoning: bool,
}

impl Profile {
    pub fn of(kind: ProfileKind) -> Self {
        let known_vendor = kind != ProfileKind::Custom;
        Self {
            kind,
            mid_system: if known_vendor { MidSystem::Developer } else { MidSystem::Reminder },
            store: if known_vendor { Store::False } else { Store::Omit },
            array_outputs: known_vendor,
            strict: true,
            encrypted_reasoning: known_vendor,
            empty_output_ok: true,
            reasoning: true,
        }
    }

    pub fn is_custom(&self) -> bool {
        self.kind == ProfileKind::Custom
    }
}
