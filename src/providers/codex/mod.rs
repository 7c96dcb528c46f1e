//! What the official `codex` CLI and the ChatGPT Codex backend say, as values: pure, and read-only towards the CLI.
//!
//! [`login`] reads the CLI's `auth.json` and settings, [`app_server`] the answers of its JSON-RPC mode, [`catalogue`] the
//! model list that both share, [`routing`] where a workspace's traffic goes, [`quota`] how much of the plan is used, and
//! [`headers`] names what a request to that backend carries. Whoever reads the files and runs the CLI lives elsewhere.

pub mod login;

pub mod app_server;

pub mod routing;

pub mod catalogue;
pub mod headers;
pub mod quota;

mod wire;
