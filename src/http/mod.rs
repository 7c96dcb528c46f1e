//! Moves bytes: who may come in, and how we reach an upstream. Knows no dialect and no `Addr`.
//!
//! [`access`] decides whether a loopback request is let in, [`upstream`] is the client that talks to the servers
//! behind us.

pub mod access;
pub mod upstream;
