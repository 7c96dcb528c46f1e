//! `claudette serve` as a child: started, watched through its log, asked for its environment, stopped.
//!
//! Its log lines are read by a thread of their own; tests wait for events on a condition variable. The child is
//! killed when the value is dropped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;
use super::http_client::Connection;
use super::world::World;

pub struct Service {
    child: Child,
    log: Arc<Log>,
    stdout: Option<JoinHandle<String>>,
}

/// What `claudette env BACKEND --json` printed: name to value, `None` for a variable to unset.
pub type Environment = BTreeMap<String, Option<String>>;

/// The address and local token of one gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub address: String,
    pub token: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grew: Condvar,
}

#[derive(Default)]
struct Lines {
    /// As written.
    raw: Vec<String>,
    ended: bool,
}

impl Service {
    /// Starts the service and waits until it says that it has started.
    pub fn start(world: &World, config: &Path) -> Self {
        let service = Self::spawn(world, config);
        service.wait_for("service.started");
        service
    }

    /// Starts the service without waiting for anything.
    pub fn spawn(world: &World, config: &Path) -> Self {
        let config = config.to_str().expect("a temporary path is UTF-8");
        Self::spawn_command(world.claudette(&["serve", "--config", config]))
    }

    /// Runs a command that is the service.
    pub fn spawn_command(mut command: Command) -> Self {
        let mut child = command
            .env("CLAUDETTE_LOG_FORMAT", "json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service can be started");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let reader = Arc::clone(&log);
        thread::spawn(move || reader.collect(stderr));
        let mut stdout = child.stdout.take().expect("stdout is piped");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self { child, log, stdout: Some(stdout) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first log line with this event.
    pub fn wait_for(&self, event: &str) -> Value {
        self.wait_for_line(event, |_| true)
    }

    /// Waits for the first log line with this event that `fits`.
    pub fn wait_for_line(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(event, |lines| {
            lines.iter().filter_map(|line| parse(line)).find(|line| line["event"] == event && fits(line))
        })
    }

    /// Waits until `count` lines of this event were written, and returns them.
    pub fn wait_for_count(&self, event: &str, count: usize) -> Vec<Value> {
        self.log.wait(event, |lines| {
            let found: Vec<Value> =
                lines.iter().filter_map(|line| parse(line)).filter(|line| line["event"] == event).collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// How many lines of this event were written so far.
    pub fn count(&self, event: &str) -> usize {
        self.log_lines().iter().filter_map(|line| parse(line)).filter(|line| line["event"] == event).count()
    }

    /// Every line so far, as written.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("no reader panics").raw.clone()
    }

    /// What `claudette status --json` says.
    pub fn status(&self, world: &World) -> Value {
        let ran = world.run(&["status", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("`status --json` prints one JSON object")
    }

    /// Ends it as a crash would, with no chance to put anything in order.
    pub fn kill(mut self) {
        self.child.kill().expect("the service runs");
        self.child.wait().expect("a child can be waited for");
    }

    /// The environment for a `claude` that uses this backend.
    pub fn environment(&self, world: &World, backend: &str) -> Environment {
        let ran = world.run(&["env", backend, "--json"]);
        assert_eq!(ran.code, Some(0), "claudette env {backend}: {ran:?}\n{}", self.log_lines().join("\n"));
        serde_json::from_str(&ran.stdout).expect("`env --json` prints one JSON object of names")
    }

    pub fn gateway(&self, world: &World, backend: &str) -> Gateway {
        Gateway::from_environment(&self.environment(world, backend))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a pid");
        kill_process(pid, signal).expect("the service runs");
    }

    /// Waits for the end of a service that ends by itself.
    pub fn wait(mut self) -> (ExitStatus, String, Vec<String>) {
        let status = self.child.wait().expect("a child can be waited for");
        let stdout = self.stdout.take().expect("waited for once").join().expect("the reader ends");
        self.log.wait_for_end();
        (status, stdout, self.log_lines())
    }

    /// Stops the service as a service manager would, and returns how it ended, its stdout and its log.
    pub fn stop(self) -> (ExitStatus, String, Vec<String>) {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the service ---\n{}", self.log_lines().join("\n"));
        }
    }
}

impl Log {
    fn collect(&self, stderr: impl BufRead) {
        for line in stderr.split(b'\n').map_while(Result::ok) {
            self.lines.lock().expect("no reader panics").raw.push(String::from_utf8_lossy(&line).into_owned());
            self.grew.notify_all();
        }
        self.lines.lock().expect("no reader panics").ended = true;
        self.grew.notify_all();
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().expect("no reader panics");
        loop {
            if let Some(found) = find(&lines.raw) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                let log = lines.raw.join("\n");
                drop(lines);
                panic!("no {what} in the service's log:\n{log}");
            }
            lines = self.grew.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    fn wait_for_end(&self) {
        let mut lines = self.lines.lock().expect("no reader panics");
        let deadline = Instant::now() + PATIENCE;
        while !lines.ended && Instant::now() < deadline {
            lines = self.grew.wait_timeout(lines, PATIENCE).expect("no reader panics").0;
        }
    }
}

impl Gateway {
    pub fn from_environment(environment: &Environment) -> Self {
        let value = |name: &str| {
            environment.get(name).cloned().flatten().unwrap_or_else(|| panic!("{name} is not in {environment:?}"))
        };
        let url = value("ANTHROPIC_BASE_URL");
        let address = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is no http URL"));
        Self { address: address.trim_end_matches('/').to_owned(), token: value("ANTHROPIC_AUTH_TOKEN") }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// The headers that `claude` sends with a request.
    pub fn headers(&self) -> Vec<(String, String)> {
        [
            ("authorization", format!("Bearer {}", self.token)),
            ("content-type", "application/json".into()),
            ("anthropic-version", "2023-06-01".into()),
            ("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14".into()),
            ("user-agent", "claude-cli/2.1.330 (external, sdk-cli)".into()),
            ("x-claude-code-session-id", "00000000-0000-4000-8000-000000000000".into()),
            ("x-stainless-lang", "js".into()),
            ("x-app", "cli".into()),
            ("accept-encoding", "gzip, deflate, br, zstd".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
