//! The service under measurement, in a temporary home with two gateways to the same upstream.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Of `/proc/PID/stat`: the kernel shows every process 100 ticks a second, whatever it counts by itself.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Service {
    child: Child,
    home: TempDir,
    pub startup: Duration,
}

/// The address and local token of one gateway.
pub struct Gateway {
    pub address: String,
    pub token: String,
}

impl Service {
    /// Starts it and waits until its first gateway is ready, then until all of it has started.
    pub fn start(upstream: &str) -> Self {
        let home = TempDir::with_prefix("claudette-bench-").expect("a temporary folder");
        let config = home.path().join("config.toml");
        let backend = |name: &str| {
            format!(
                "[backends.{name}]\nkind = \"custom-openai\"\nbase_url = \"http://{upstream}/v1\"\n\
                 default_model = \"some-model\"\n"
            )
        };
        std::fs::write(&config, backend("one") + &backend("two")).expect("a file in a fresh folder");
        let begin = Instant::now();
        let mut child = command(home.path())
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service can be started");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        wait_for(&mut log, "gateway.ready");
        let startup = begin.elapsed();
        wait_for(&mut log, "service.started");
        // A pipe that nobody reads would stop the service.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, home, startup }
    }

    pub fn gateway(&self) -> Gateway {
        let output = command(self.home.path()).args(["env", "one", "--json"]).output().expect("it can be started");
        let environment: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an environment");
        let value = |name: &str| environment[name].as_str().expect("a variable").to_owned();
        let url = value("ANTHROPIC_BASE_URL");
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Gateway { address, token: value("ANTHROPIC_AUTH_TOKEN") }
    }

    /// Resident memory in KiB.
    pub fn rss(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process has it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Seconds of all its threads, in user space and in the kernel.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // The name before the last `)` may hold anything; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        fields.map(|field| field.parse::<f64>().expect("a number") / TICKS_PER_SECOND).sum()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the service runs")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claudette"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("CLAUDETTE_STATE_DIR", home.join("state"))
        .env("CLAUDETTE_LOG_FORMAT", "json")
        .stdin(Stdio::null());
    command
}

fn wait_for(log: &mut BufReader<ChildStderr>, event: &str) {
    let wanted = format!("\"event\":\"{event}\"");
    let mut said = String::new();
    loop {
        let from = said.len();
        assert!(log.read_line(&mut said).expect("the log is text") > 0, "the service ended:\n{said}");
        if said[from..].contains(&wanted) {
            return;
        }
    }
}
