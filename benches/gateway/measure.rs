//! Which measurements are made, in which order, and how their figures come together.
//!
//! Direct and through the gateway take turns, each in a load process of its own; of several rounds the median counts.
//! What the gateway adds is the difference of the two medians.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use super::load::{Order, Outcome};
use super::service::Service;
use super::table::{Held, Latency, Rate, Report};
use super::upstream::{ANSWER, ANSWER_DELTAS, FLOOD, FLOOD_DELTAS, SLOW};
use super::workload::requests::{Size, request};

const ROUNDS: usize = 5;
const STARTS: usize = 9;

/// Until what a service does only at first, or only at the end of a request, is over.
const SETTLE: Duration = Duration::from_secs(2);

/// From the end of the streams until their memory must be back: it is given back at most every 30 s.
const GIVEN_BACK: Duration = Duration::from_secs(35);

pub fn run() {
    let bench = Bench::new();
    let startup = median((0..STARTS).map(|_| Service::start(&bench.upstream).startup.as_secs_f64() * 1e3).collect());
    let service = Service::start(&bench.upstream);
    sleep(SETTLE);
    let idle_rss = service.rss();
    let latencies = [("2 KB", Size::Small, 400), ("85 KB", Size::Session, 400), ("1 MB", Size::Conversation, 60)];
    let latencies = latencies.map(|(name, size, requests)| {
        let run = Run { model: ANSWER, deltas: ANSWER_DELTAS, size, concurrency: 1, requests };
        let pairs = bench.pairs(&service, &run, ROUNDS);
        Latency::of(name, &pairs)
    });
    let rates = [1, 16, 64].map(|concurrency| {
        let run = Run { model: ANSWER, deltas: ANSWER_DELTAS, size: Size::Session, concurrency, requests: 1920 };
        Rate::of(concurrency, &bench.pairs(&service, &run, ROUNDS))
    });
    let answer = Run { model: ANSWER, deltas: ANSWER_DELTAS, size: Size::Session, concurrency: 16, requests: 3200 };
    let cpu_per_1000 = median((0..ROUNDS).map(|_| bench.cpu_per_1000(&service, &answer)).collect());
    let flood = Run { model: FLOOD, deltas: FLOOD_DELTAS, size: Size::Small, concurrency: 16, requests: 480 };
    let floods = Rate::of(16, &bench.pairs(&service, &flood, ROUNDS));
    drop(service);
    let held = [(Size::Small, 200), (Size::Small, 1000), (Size::Session, 200), (Size::Session, 1000)];
    let held = held.map(|(size, streams)| bench.hold(size, streams));
    let report = Report {
        startup_ms: startup,
        idle_rss,
        latencies,
        rates,
        cpu_per_1000,
        events_direct: floods.direct * FLOOD_DELTAS as f64,
        events_through: floods.through * FLOOD_DELTAS as f64,
        held,
    };
    print!("{report}");
}

/// What one load process does.
struct Run {
    model: &'static str,
    deltas: usize,
    size: Size,
    concurrency: usize,
    requests: usize,
}

/// One round: around the gateway, and through it.
pub struct Pair {
    pub direct: Outcome,
    pub through: Outcome,
}

struct Bench {
    upstream_process: Child,
    upstream: String,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let mut child = role("upstream").stdout(Stdio::piped()).spawn().expect("the upstream can be started");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it prints its address");
        let folder = TempDir::with_prefix("claudette-bench-").expect("a temporary folder");
        Self { upstream_process: child, upstream: address.trim().to_owned(), folder }
    }

    fn pairs(&self, service: &Service, run: &Run, rounds: usize) -> Vec<Pair> {
        let (direct, through) = (self.direct(run), self.through(service, run));
        (0..rounds).map(|_| Pair { direct: load(&direct), through: load(&through) }).collect()
    }

    fn cpu_per_1000(&self, service: &Service, run: &Run) -> f64 {
        let before = service.cpu_seconds();
        load(&self.through(service, run));
        (service.cpu_seconds() - before) * 1000.0 / run.requests as f64
    }

    fn hold(&self, size: Size, streams: usize) -> Held {
        let service = Service::start(&self.upstream);
        let warm_up = Run { model: ANSWER, deltas: ANSWER_DELTAS, size, concurrency: 1, requests: 20 };
        load(&self.through(&service, &warm_up));
        sleep(SETTLE);
        let before = service.rss();
        let run = Run { model: SLOW, deltas: 0, size, concurrency: streams, requests: streams };
        let mut child = role("hold")
            .arg(serde_json::to_string(&self.through(&service, &run)).expect("an order is JSON"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says when all are open");
        assert_eq!(line, "open\n");
        sleep(SETTLE);
        let open = service.rss();
        drop(child.stdin.take());
        child.wait().expect("a child can be waited for");
        sleep(SETTLE);
        let ended = service.rss();
        sleep(GIVEN_BACK);
        Held { size, streams, before, open, ended, later: service.rss() }
    }

    fn direct(&self, run: &Run) -> Order {
        self.order(run, &self.upstream, "/v1/responses", "none", "response.output_text.delta\n")
    }

    fn through(&self, service: &Service, run: &Run) -> Order {
        let gateway = service.gateway();
        self.order(run, &gateway.address, "/v1/messages?beta=true", &gateway.token, "\"text_delta\"")
    }

    fn order(&self, run: &Run, address: &str, path: &str, token: &str, delta: &str) -> Order {
        Order {
            address: address.to_owned(),
            path: path.to_owned(),
            token: token.to_owned(),
            body: self.body(run).to_str().expect("a temporary path is UTF-8").to_owned(),
            delta: delta.to_owned(),
            deltas: run.deltas,
            concurrency: run.concurrency,
            requests: run.requests,
        }
    }

    fn body(&self, run: &Run) -> PathBuf {
        let body = request(run.size, run.model);
        let path = self.folder.path().join(format!("{}-{}", run.model, body.len()));
        let mut file = std::fs::File::create(&path).expect("a file in a fresh folder");
        file.write_all(&body).expect("a file in a fresh folder");
        path
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.upstream_process.kill();
        let _ = self.upstream_process.wait();
    }
}

fn load(order: &Order) -> Outcome {
    let order = serde_json::to_string(order).expect("an order is JSON");
    let output = role("load").arg(order).stderr(Stdio::inherit()).output().expect("the client can be started");
    serde_json::from_slice(&output.stdout).expect("the client prints its outcome")
}

fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(name).stdin(Stdio::null());
    command
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
