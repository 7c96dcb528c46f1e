//! Anthropic's dialect: what `claude` sends and expects.

pub mod models;
pub mod wire;

pub mod events;
