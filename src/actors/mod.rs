//! Everything that lives and dies, one actor a file; the pure core that decides about lives in [`supervision`].
//!
//! Commands go down as actor messages, events come up through one channel ([`messages`]). No request and no byte of an
//! answer passes through here.

pub mod messages;
pub mod supervisor;

pub mod supervision;

pub mod auth;
pub mod catalog;
pub mod claude;
pub mod codex;

mod session;

mod config;
mod control;
mod gateway;

mod credential_loader;
mod gateways;
mod notes;
mod questions;
mod report;
mod sessions;
mod wanted;
