//! Everything that lives and dies: the supervisor and its children, one file per actor, and the work they wait for.

pub mod credential_loader;
