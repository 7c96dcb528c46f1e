//! A service with one session and a `claude` of a few lines of shell, named after its one misbehaviour
//! (`support/fake_claudes`). There is no upstream: none of them asks one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use super::PATIENCE;
use super::service::Service;
use super::world::World;

// Dropped in this order: the service stops before its world goes.
pub struct Stage {
    pub service: Service,
    pub config: PathBuf,
    pub world: World,
}

/// The `[supervisor]` keys of a test that wants to see the end of its patience.
pub const IMPATIENT: &str =
    "[supervisor]\nrestart_intensity = 2\nbackoff_initial = \"10ms\"\ndrain_deadline = \"500ms\"\n";

/// A config with the session `worker`; `keys` are more lines of it, tables after them included.
pub fn config(claude: &str, keys: &str) -> String {
    let claude = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/fake_claudes").join(claude);
    let backend = if keys.starts_with("backend") { "" } else { "backend = \"local\"\n" };
    format!(
        "[claude]\nbin = \"{}\"\n[backends.local]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         default_model = \"qwen3-coder\"\n[sessions.worker]\n{backend}cwd = \"work\"\n{keys}",
        claude.display()
    )
}

impl Stage {
    pub fn with(claude: &str, keys: &str) -> Self {
        let world = World::new();
        let config = world.write("claudette.toml", &config(claude, keys));
        let service = Service::start(&world, &config);
        Self { service, config, world }
    }

    /// Edits the config and waits until it is in force.
    pub fn edit(&self, claude: &str, keys: &str) {
        let loaded = self.service.count("config.loaded");
        self.world.write("claudette.toml", &config(claude, keys));
        self.service.wait_for_count("config.loaded", loaded + 1);
    }

    /// The service's next life, on the same state folder.
    pub fn restart(self) -> Self {
        let Self { service, config, world } = self;
        let (status, _, log) = service.stop();
        assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
        let service = Service::start(&world, &config);
        Self { service, config, world }
    }

    /// What `status --json` says of the session.
    pub fn session(&self) -> Value {
        let ran = self.world.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        status["sessions"][0].clone()
    }

    /// Waits until `status` shows the session in this state.
    pub fn wait_for_state(&self, state: &str) -> Value {
        self.wait_for(state, |session| session["state"] == state)
    }

    /// Waits until `status` shows no session any more.
    pub fn wait_for_none(&self) {
        self.wait_for("no session", Value::is_null);
    }

    fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let session = self.session();
            if fits(&session) {
                return session;
            }
            assert!(Instant::now() < deadline, "not {what}: {session}");
        }
    }

    /// A file that a `claude` wrote where it works.
    pub fn written(&self, name: &str) -> String {
        fs::read_to_string(self.world.path("work").join(name)).unwrap_or_default()
    }

    pub fn pids(&self) -> Vec<Pid> {
        let pids: Vec<_> = self.written("pids").lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        assert!(!pids.is_empty(), "nobody wrote its pid");
        pids
    }

    pub fn transcript(&self, turn: u64) -> PathBuf {
        self.world.state().join(format!("sessions/worker/turn-{turn:06}.jsonl"))
    }
}

/// Waits until none of these processes is left.
pub fn wait_until_gone(pids: &[Pid]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) {
        assert!(Instant::now() < deadline, "still there: {pids:?}");
        std::thread::yield_now();
    }
}
