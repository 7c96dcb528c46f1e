//! What the tests stand on, in reading order: a folder that is a whole home, the service in it, the upstream behind
//! it, a client in front of it, and the three put together as a [`scene::Scene`].

pub mod world;

pub mod service;

pub mod upstream_process;

pub mod raw_upstream;

pub mod http_client;

pub mod anthropic_reader;

pub mod bodies;

pub mod claude;

pub mod codex;

pub mod node;

pub mod leaseholder;

pub mod scene;

pub mod stage;

use std::time::Duration;

/// How long a test waits for something that must come. Generous, because it is only ever used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(40);
