//! The service under load, in a temporary home whose config is edited.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// What must not happen to a gateway or the process however bad the traffic is.
const OF_NOTE: [&str; 6] = [
    "process.panicked",
    "gateway.exited",
    "gateway.restart_scheduled",
    "gateway.restart_loop",
    "gateway.quarantined",
    "library.logged",
];

pub struct Service {
    child: Child,
    home: TempDir,
    upstream: SocketAddr,
    noted: Arc<Mutex<Vec<String>>>,
    /// How many revisions of the config were loaded or refused.
    revisions: watch::Receiver<u64>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Gateway {
    pub address: String,
    pub token: String,
}

impl Service {
    pub async fn start(upstream: SocketAddr) -> Self {
        let home = TempDir::with_prefix("claudette-soak-").expect("a temporary folder");
        std::fs::write(home.path().join("config.toml"), config(upstream, 0)).expect("a file in a fresh folder");
        let mut child = command(&home)
            .args(["serve", "--config"])
            .arg(home.path().join("config.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service can be started");
        let (revised, mut revisions) = watch::channel(0);
        let noted = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&noted);
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        tokio::task::spawn_local(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let is = |event: &str| line.contains(&format!("\"event\":\"{event}\""));
                if is("config.loaded") || is("config.rejected") {
                    revised.send_modify(|revisions| *revisions += 1);
                } else if OF_NOTE.iter().any(|event| is(event)) {
                    notes.lock().expect("nobody panics here").push(line);
                }
            }
        });
        revisions.wait_for(|revisions| *revisions == 1).await.expect("the service starts");
        Self { child, home, upstream, noted, revisions }
    }

    /// Waits until the edit is in force or refused.
    pub async fn edit(&self, number: u64) {
        let new = self.home.path().join("config.new");
        std::fs::write(&new, config(self.upstream, number)).expect("our own folder");
        let mut revisions = self.revisions.clone();
        let before = *revisions.borrow();
        std::fs::rename(new, self.home.path().join("config.toml")).expect("both lie in one folder");
        revisions.wait_for(|revisions| *revisions > before).await.expect("the service runs");
    }

    pub async fn gateway(&self) -> Gateway {
        let output = command(&self.home).args(["env", "soak", "--json"]).output().await.expect("it can be started");
        let environment: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let value = |name: &str| environment[name].as_str().expect("a variable").to_owned();
        let address = value("ANTHROPIC_BASE_URL").trim_start_matches("http://").trim_end_matches('/').to_owned();
        Gateway { address, token: value("ANTHROPIC_AUTH_TOKEN") }
    }

    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("the service runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process has it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).expect("the service runs").count()
    }

    /// Log lines that should not be there.
    pub fn events_of_note(&self) -> Vec<String> {
        self.noted.lock().expect("nobody panics here").clone()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id().expect("the service runs"))
    }
}

/// Two of three edits make a new gateway; the third is refused, and the one after it mends that. So many edits would be
/// taken for a loop, and damped.
fn config(upstream: SocketAddr, edit: u64) -> String {
    let fault = if edit % 3 == 2 { "unheard_of = true\n" } else { "" };
    format!(
        "[backends.soak]\nkind = \"custom-openai\"\nbase_url = \"http://{upstream}/v1\"\ndefault_model = \"soak\"\n\
         context_window = {}\n{fault}[upstream]\nidle_timeout = \"3s\"\n[supervisor]\nretire_after = \"5s\"\n\
         restart_intensity = 1000\n",
        100_000 + edit
    )
}

fn command(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claudette"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("CLAUDETTE_STATE_DIR", home.path().join("state"))
        .env("CLAUDETTE_LOG_FORMAT", "json")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
