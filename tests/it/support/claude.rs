//! Runs the official `claude` in a world of its own, wired to a gateway as `claudette env` says, and collects its
//! stream-json.
//!
//! The program is the native one of the platform's package under `tests/claude` (postinstall scripts may be off);
//! `CLAUDETTE_TEST_CLAUDE` names another.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::service::Environment;
use super::world::World;

/// One turn of the real program against a local upstream takes seconds; a machine under load may need minutes.
const TURN_PATIENCE: Duration = Duration::from_secs(180);

pub struct Claude {
    command: Command,
    patience: Duration,
}

/// What one run printed and how it ended.
pub struct Run {
    pub lines: Vec<Value>,
    pub code: Option<i32>,
    pub stderr: String,
}

impl Claude {
    /// `claude -p` with stream-json output; these tools need no permission.
    pub fn new(world: &World, environment: &Environment, allowed_tools: &str) -> Self {
        let mut command = world.command(binary());
        command
            .args(["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"])
            .args(["--setting-sources", "user", "--allowedTools", allowed_tools])
            .env("CLAUDE_CONFIG_DIR", world.path("claude"))
            // No look-ups of hosts outside; the gateway's own discovery works with it.
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("CLAUDE_CODE_MAX_RETRIES", "2")
            .env("LANG", "C.UTF-8");
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command, patience: TURN_PATIENCE }
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// How long the run may last.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs one prompt to its end.
    pub fn run(mut self, prompt: &str) -> Run {
        // `--` ends the list that --allowedTools takes.
        self.command.args(["--", prompt]);
        self.start().collect()
    }

    /// Asks one control request over stream-json, and ends without a prompt.
    pub fn ask(mut self, request: &Value) -> Value {
        self.command.args(["--input-format", "stream-json"]).stdin(Stdio::piped());
        let mut started = self.start();
        let mut stdin = started.child.0.stdin.take().expect("stdin is piped");
        let line = json!({"type": "control_request", "request_id": "asked", "request": request});
        writeln!(stdin, "{line}").expect("claude reads its input");
        drop(stdin);
        let run = started.collect();
        let answer = run.lines.iter().find(|line| line["response"]["request_id"] == "asked");
        answer.unwrap_or_else(|| panic!("no answer: {run:?}"))["response"]["response"].clone()
    }

    fn start(mut self) -> Started {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", binary()));
        Started { child: Running(child), patience: self.patience }
    }
}

impl Run {
    pub fn result(&self) -> &Value {
        self.lines.iter().rev().find(|line| line["type"] == "result").unwrap_or_else(|| panic!("no result: {self:?}"))
    }

    /// The text of the result, which must be a good one.
    pub fn answer(&self) -> &str {
        let result = self.result();
        assert_eq!(result["is_error"], false, "{self:?}");
        assert_eq!(self.code, Some(0), "{self:?}");
        result["result"].as_str().unwrap_or_default()
    }

    /// The raw API events that the program passed on.
    pub fn stream_events(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["type"] == "stream_event").map(|line| &line["event"]).collect()
    }

    /// The tool results that went back to the model, in order.
    pub fn tool_results(&self) -> Vec<&Value> {
        self.lines
            .iter()
            .filter(|line| line["type"] == "user")
            .flat_map(|line| line["message"]["content"].as_array().into_iter().flatten())
            .filter(|block| block["type"] == "tool_result")
            .collect()
    }
}

/// One line per line, cut: what a failed test shows.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARACTERS: usize = 600;
        writeln!(f, "claude ended with {:?}; stderr: {}", self.code, self.stderr)?;
        for line in &self.lines {
            writeln!(f, "  {}", line.to_string().chars().take(SHOWN_CHARACTERS).collect::<String>())?;
        }
        Ok(())
    }
}

/// Kills the child when a test gives up on it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Started {
    child: Running,
    patience: Duration,
}

impl Started {
    fn collect(self) -> Run {
        let Self { child: mut running, patience } = self;
        let stdout = BufReader::new(running.0.stdout.take().expect("stdout is piped"));
        let mut stderr = running.0.stderr.take().expect("stderr is piped");
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let (tx, rx) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            match rx.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("claude did not end; so far: {lines:?}"),
            }
        }
        let code = running.0.wait().expect("a child can be waited for").code();
        Run { lines, code, stderr: stderr.join().expect("the reader ends") }
    }
}

pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CLAUDETTE_TEST_CLAUDE") {
        return path.into();
    }
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        system => system,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        machine => machine,
    };
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/claude/node_modules/@anthropic-ai");
    let program = packages.join(format!("claude-code-{system}-{machine}/claude"));
    if program.exists() { program } else { packages.join(format!("claude-code-{system}-{machine}-musl/claude")) }
}
