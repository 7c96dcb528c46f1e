//! The vendors' dialects and the translation between them: pure values, no actix, awc, tokio, files or clocks.
//!
//! [`anthropic`] is what `claude` speaks, [`openai`] and [`codex`] what the upstreams speak, [`profile`] says how one
//! kind of upstream differs from another, [`sse`] splits event streams, [`json_text`] carries text
//! between them, [`translate`] turns one dialect into the other,
//! and [`claude_cli`] knows the `claude` program itself.

pub mod digest;
pub mod escaped;
pub mod json_text;
pub mod profile;
pub mod sse;
pub mod utc;

pub mod anthropic;
pub mod codex;
pub mod openai;

pub mod translate;

pub mod claude_cli;
