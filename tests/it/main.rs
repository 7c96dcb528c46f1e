//! What people see of Claudette, tried from outside: the program is started, spoken to and watched like anybody
//! would. The upstream is a process of its own (`support/upstream`), and `real_claude` drives the official CLI.
//!
//! Each file is one subject; `support` holds what they share. `tests/run` runs everything, the real CLIs too.

mod support;

mod cli;
mod codex;
mod codex_login;
mod damping;
mod demo;
mod does_not_reload;
mod drain;
mod edits;
mod errors;
mod fallback;
mod faults;
mod gateway;
mod generated;
mod logs;
mod models;
mod oracles;
mod real_claude;
mod real_codex;
mod reload;
mod replace;
mod restart;
mod security;
mod service_manager;
mod sessions;
mod signals;
mod single_instance;
mod streaming;
mod tidy;
mod upstream;
