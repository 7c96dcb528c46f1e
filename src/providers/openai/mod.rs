//! OpenAI's dialect: the Responses API on the wire, and facts about its models.

pub mod discovery;
pub mod models;
pub mod wire;
