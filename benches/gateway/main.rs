//! The gateway from end to end on loopback: an upstream, a load client and the service, each a process of its own.
//!
//! `cargo bench --bench gateway` measures everything and prints Markdown. The same program plays the other two roles
//! when it is started with their names: [`upstream`] answers from memory, [`load`] asks and takes the time. Both are
//! raw TCP and share no code with the gateway, so that they cost the same on the way through it and on the way around.

mod http;
mod upstream;

mod load;

mod service;
mod streams_held;

mod measure;
mod table;

#[path = "../workload/mod.rs"]
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => upstream::run(),
        Some("load") => load::run(&arguments[1..]),
        Some("hold") => streams_held::run(&arguments[1..]),
        Some(_) | None => measure::run(),
    }
    ExitCode::SUCCESS
}

/// Both of the other roles do everything on one thread: there are few cores, and the gateway shall have its own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// As many descriptors as the system lets us have: a thousand streams need a thousand.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
