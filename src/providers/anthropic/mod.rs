//! Anthropic's dialect: what `claude` sends and expects.

pub mod wire;

pub mod events;
