//! Mixed traffic for as long as one likes: `benches/soak/run MINUTES`.
//!
//! Clients ask the service for answers whose every byte they can tell beforehand, while the upstream fails in all the
//! ways that it has, clients hang up, and the config is edited every few seconds. An answer that lacks a byte, has one
//! of another, or looks whole when it is not ends the run with exit code 1. Memory and descriptors are sampled.

#[path = "../gateway/http.rs"]
mod http;

mod plan;

mod client;
mod service;
mod upstream;

mod report;

#[path = "../workload/mod.rs"]
#[allow(dead_code, reason = "the soak plays texts alone")]
mod workload;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use client::Shared;
use report::{Report, Sample};
use service::Service;

/// Connections that ask at the same time.
const CLIENTS: u64 = 32;
const USUAL_MINUTES: f64 = 30.0;
const EDIT_EVERY: Duration = Duration::from_secs(7);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// At the end, without a request: the service gives memory back after half a minute.
const QUIET: Duration = Duration::from_secs(45);

fn main() -> ExitCode {
    let minutes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(USUAL_MINUTES);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let tasks = tokio::task::LocalSet::new();
    let report = tasks.block_on(&runtime, soak(Duration::from_secs_f64(minutes * 60.0)));
    print!("{report}");
    if report.tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn soak(length: Duration) -> Report {
    let upstream = upstream::start().await;
    let service = Rc::new(Service::start(upstream).await);
    let begin = Instant::now();
    let shared = Rc::new(Shared {
        gateway: RefCell::new(service.gateway().await),
        tally: RefCell::default(),
        until: begin + length,
    });
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::task::spawn_local(client::run(number, Rc::clone(&shared)))).collect();
    let editor = tokio::task::spawn_local(edit(Rc::clone(&service), Rc::clone(&shared)));
    let mut samples = Vec::new();
    while Instant::now() < shared.until {
        tokio::time::sleep(SAMPLE_EVERY).await;
        samples.push(sample(&service, &shared, begin));
    }
    for client in clients {
        client.await.expect("a client runs to its end");
    }
    let edits = editor.await.expect("the editor runs to its end");
    tokio::time::sleep(QUIET).await;
    let quiet = sample(&service, &shared, begin);
    let tally = shared.tally.take();
    Report { length, clients: CLIENTS, edits, tally, samples, quiet, ended: service.events_of_note() }
}

fn sample(service: &Service, shared: &Shared, begin: Instant) -> Sample {
    let requests = shared.tally.borrow().requests();
    Sample { at: begin.elapsed(), rss_kib: service.rss_kib(), open_files: service.open_files(), requests }
}

/// Yields how many edits there were. Every third is one that the service must refuse.
async fn edit(service: Rc<Service>, shared: Rc<Shared>) -> u64 {
    let mut edits = 0;
    while Instant::now() + EDIT_EVERY < shared.until {
        tokio::time::sleep(EDIT_EVERY).await;
        edits += 1;
        service.edit(edits).await;
        let gateway = service.gateway().await;
        shared.gateway.replace(gateway);
    }
    edits
}
