//! Facts about models: which efforts they take, whether they reason, how large their window is (WIRE.md §1.4b).
//!
//! A model that is listed nowhere gets the facts of its profile's unknown model, never a guess from its host.

use serde::{Deserialize, Serialize};

use crate::ids::ModelId;

/// The effort levels of both vendors, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

/// A model of a backend's list: discovered, from the Codex catalogue, or written in the config.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelEntry {
    pub id: ModelId,
    pub display_name: String,
    /// Tokens of input and output together, as the upstream states it.
    pub context_window: Option<u64>,
    /// In the catalogue, but not meant for a picker.
    pub hidden: bool,
    /// The catalogue's own effort list; empty: the family table of this module decides.
    pub efforts: Vec<Effort>,
    /// `service_tier: "priority"` is on offer (Codex catalogue).
    pub fast_tier: bool,
    /// The Codex catalogue's `use_responses_lite`.
    pub lite: bool,
}
