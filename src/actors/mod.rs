//! Everything that lives and dies: the supervisor and its children, one file per actor, and the work they wait for.

pub mod credential_loader;
//! Everything that lives and dies, and the pure core that decides over it.
//!
//! [`supervision`] decides which gateways run and what follows when one ends; it performs nothing itself.

pub mod supervision;
