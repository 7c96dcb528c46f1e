//! A temporary folder that is a whole world: home, configuration, state, and a folder to work in.
//!
//! Commands started in it see nothing of the person's own environment but `PATH`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub struct World {
    root: TempDir,
}

impl World {
    pub fn new() -> Self {
        let world = Self { root: TempDir::with_prefix("claudette-it-").expect("a temporary folder") };
        for folder in ["home", "config", "data", "cache", "codex", "claude", "tmp", "work"] {
            fs::create_dir(world.path(folder)).expect("a folder in a fresh folder");
        }
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The state folder; it is the service that makes it.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes `name` with mode 0600, as a file that holds a key must be.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file in a fresh folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("data"))
            .env("CLAUDETTE_STATE_DIR", self.state())
            .env("CODEX_HOME", self.path("codex"))
            .env("TMPDIR", self.path("tmp"))
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command
    }

    /// The program under test.
    pub fn claudette(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_claudette"));
        command.args(arguments);
        command
    }

    /// Runs a command of Claudette to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.claudette(arguments).output().expect("the program can be started");
        Ran::new(&output)
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Everything it said, wherever it said it.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
