//! The `claude` program itself: its environment, its arguments and the lines it prints.
//!
//! Pure values only; whoever starts processes reads from here what to give them and what they say.

pub mod argv;
pub mod environment;
pub mod stream_json;
