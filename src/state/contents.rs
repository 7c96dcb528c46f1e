//! What the JSON files of the state folder hold. Tokens are secrets here as everywhere else.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ids::Slot;

/// A token as a state file holds it: prints `***`, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct StoredToken(String);

impl StoredToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `control.json`: how the commands reach the running service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    pub pid: u32,
    pub address: SocketAddr,
    pub token: StoredToken,
}

/// `gateways.json`: what the next service needs to be where the last one was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaysFile {
    pub gateways: Vec<GatewayRecord>,
}

/// The current generation of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    pub slot: Slot,
    pub port: u16,
    pub token: StoredToken,
    /// Hex digits; another one means other settings, and then neither port nor token is taken up.
    pub fingerprint: String,
}

/// `models/BACKEND.json`: a backend's discovered models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelsFile<Entry> {
    /// Seconds since 1970-01-01 UTC.
    pub fetched_at: u64,
    pub models: Vec<Entry>,
}
