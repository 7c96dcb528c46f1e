//! Moves bytes: who may come in, and how we reach an upstream. Knows no dialect and no `Addr`.
//!
//! [`access`] decides whether a loopback request is let in, [`upstream`] is the client that talks to the servers
//! behind us, [`open_files`] makes room for many connections.

pub mod access;
pub mod open_files;
pub mod upstream;
