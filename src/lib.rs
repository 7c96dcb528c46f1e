//! Claudette runs the official `claude` CLI on OpenAI-shaped models.
//!
//! It opens small listeners on loopback ("gateways") that speak the Anthropic Messages API, translates each request
//! to the OpenAI Responses API and streams the answer back. Modules in reading order: [`ids`] names things,
//! [`providers`] holds the two dialects and the pure translation between them, [`settings`] turns the config file into
//! checked values, [`http`] moves bytes, [`actors`] own everything that lives and dies, and [`cli`] is what people type.
//! Each may use what stands before it in that list, never what comes after.

pub mod ids;
pub mod telemetry;

pub mod providers;

pub mod settings;

pub mod state;

pub mod guard;

pub mod http;

pub mod actors;
pub mod service_manager;
pub mod signals;

pub mod cli;

#[cfg(test)]
mod own_process;
