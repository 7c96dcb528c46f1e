//! The `codex` CLI and its folder, as the actors use them.
//!
//! [`program`] runs the CLI as a child, [`folder`] reads the login that it keeps, [`memory`] decides (purely) whether a
//! login may be used or must be refreshed first, [`desk`] hands out the credential of one backend, [`backend`] puts
//! small questions to the vendor, and [`catalogue`] finds the model list. The login is never written by us, and never refreshed but by the CLI (CODEX.md §0.7).

pub mod program;

pub mod desk;
pub mod folder;
pub mod memory;

pub mod backend;
pub mod catalogue;
