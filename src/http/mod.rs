//! Moves bytes: who may come in, and how we reach an upstream. Knows no dialect and no `Addr`.
//!
//! [`gateway`] is what `claude` talks to, [`control`] what our own commands talk to; [`access`] decides for both whether a
//! request is let in. [`upstream`] is the client that talks to the servers behind us, [`open_files`] makes room for many
//! connections, [`tokens`] counts tokens.

pub mod access;
pub mod control;
pub mod gateway;
pub mod open_files;
pub mod tokens;
pub mod upstream;
