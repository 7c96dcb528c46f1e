//! The `codex` program as a child: what it is run for, each time bounded in time and in what it may print.
//!
//! It runs in a process group of its own. Whatever may refresh the login is never killed, not even when we stop waiting
//! for it: cut off between the vendor's answer and its own file, it would have spent the login for nothing. Its stderr is
//! read for one purpose only, `login status`, where it says what the person wants to know; elsewhere it may quote what
//! must not be logged.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::actors::credential_loader::RunningCommand;
use crate::providers::codex::app_server::{Conversation, Topic};
use crate::providers::codex::headers::version_in;
use crate::providers::codex::login::CodexLogin;
use crate::settings::CodexSettings;

/// How a person gets the CLI.
pub const INSTALL: &str = "npm install -g @openai/codex";

/// Of one run: a refresh waits for the network, and the CLI itself gives up before.
const LIMIT: Duration = Duration::from_secs(30);
/// `--version` asks nobody.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of stdout: a catalogue with its prompts is some hundred kilobytes.
const MOST_OUTPUT: u64 = 16 * 1024 * 1024;

/// Whether a run may refresh the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    Nothing,
    Login,
}

/// The installed CLI, with the folder that it shall use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodexProgram {
    bin: PathBuf,
    home: PathBuf,
}

/// Why a run gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramFault {
    #[error("the codex CLI is not installed (`{}`): {INSTALL}, or set codex_bin", .bin.display())]
    Missing { bin: PathBuf },
    #[error("the codex CLI cannot be run (`{}`): {reason}", .bin.display())]
    NotStarted { bin: PathBuf, reason: String },
    #[error("the codex CLI was not done within {} s", LIMIT.as_secs())]
    TimedOut,
    #[error("the codex CLI failed: {status}")]
    Failed { status: ExitStatus },
    #[error("{0}")]
    NoLogin(String),
}

/// What `codex login status` says: its exit code and the lines of its stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginStatus {
    pub logged_in: bool,
    pub words: String,
}

impl CodexProgram {
    pub fn of(settings: &CodexSettings) -> Self {
        // The child gets another working folder, so a relative path must be fixed now.
        let home = std::path::absolute(&settings.home).unwrap_or_else(|_| settings.home.clone());
        Self { bin: settings.bin.clone(), home }
    }

    /// The command with its folder set, its streams closed, in no project's folder: a project's own configuration of the
    /// CLI must not count.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.args(arguments).env("CODEX_HOME", &self.home).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The version of the installed CLI; absent if it does not run or does not say.
    pub async fn version(&self) -> Option<String> {
        let (_, printed) = self.output(&["--version"], Touch::Nothing, VERSION_LIMIT).await.ok()?;
        version_in(&String::from_utf8_lossy(&printed)).map(str::to_owned)
    }

    /// Lets the CLI refresh a token that is due: the cheapest command that does (CODEX.md §3.2). That it worked shows in
    /// the file alone.
    ///
    /// # Errors
    /// The CLI did not run to its end.
    pub async fn refresh_due(&self) -> Result<(), ProgramFault> {
        self.output(&["features", "list"], Touch::Login, LIMIT).await.map(drop)
    }

    /// The login out of the CLI's own store.
    ///
    /// # Errors
    /// The CLI did not run, did not answer, or is not logged in.
    pub async fn ask(&self, topic: Topic) -> Result<CodexLogin, ProgramFault> {
        let mut command = self.command(&["app-server"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = self.start(&mut command, Touch::Login)?;
        timeout(LIMIT, converse(&mut running, topic))
            .await
            .map_err(|_| ProgramFault::TimedOut)?
            .map_err(|error| self.not_started(&error))?
            .login()
            .map_err(ProgramFault::NoLogin)
    }

    /// What `codex debug models` prints; `bundled`: the list that came with the CLI, without the network.
    ///
    /// # Errors
    /// The CLI did not run, or failed.
    pub async fn models(&self, bundled: bool) -> Result<Vec<u8>, ProgramFault> {
        let arguments: &[&str] = if bundled { &["debug", "models", "--bundled"] } else { &["debug", "models"] };
        let (status, printed) = self.output(arguments, Touch::Login, LIMIT).await?;
        if status.success() { Ok(printed.to_vec()) } else { Err(ProgramFault::Failed { status }) }
    }

    /// `codex login status`, which asks nobody and says everything on stderr (CODEX.md §3.1).
    ///
    /// # Errors
    /// The CLI did not run to its end.
    pub async fn login_status(&self) -> Result<LoginStatus, ProgramFault> {
        let mut command = self.command(&["login", "status"]);
        command.stderr(Stdio::piped());
        let mut running = self.start(&mut command, Touch::Nothing)?;
        let run = async {
            let mut said = Vec::new();
            if let Some(stderr) = running.child.stderr.take() {
                stderr.take(MOST_OUTPUT).read_to_end(&mut said).await?;
            }
            Ok::<_, io::Error>((running.child.wait().await?, said))
        };
        let (status, said) =
            timeout(LIMIT, run).await.map_err(|_| ProgramFault::TimedOut)?.map_err(|error| self.not_started(&error))?;
        let said = String::from_utf8_lossy(&said);
        let words = said.lines().filter(|line| !line.starts_with("WARNING:") && !line.is_empty());
        Ok(LoginStatus { logged_in: status.success(), words: words.collect::<Vec<_>>().join(" ") })
    }

    async fn output(
        &self,
        arguments: &[&str],
        touch: Touch,
        limit: Duration,
    ) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), ProgramFault> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped());
        let mut running = self.start(&mut command, touch)?;
        let run = async {
            let mut printed = Zeroizing::new(Vec::new());
            if let Some(stdout) = running.child.stdout.take() {
                stdout.take(MOST_OUTPUT).read_to_end(&mut printed).await?;
            }
            Ok::<_, io::Error>((running.child.wait().await?, printed))
        };
        timeout(limit, run).await.map_err(|_| ProgramFault::TimedOut)?.map_err(|error| self.not_started(&error))
    }

    fn start(&self, command: &mut Command, touch: Touch) -> Result<RunningCommand, ProgramFault> {
        let mut running = RunningCommand::spawn(command).map_err(|error| self.not_started(&error))?;
        if touch == Touch::Login {
            running.spare();
        }
        Ok(running)
    }

    fn not_started(&self, error: &io::Error) -> ProgramFault {
        let bin = self.bin.clone();
        match error.kind() {
            io::ErrorKind::NotFound => ProgramFault::Missing { bin },
            _ => ProgramFault::NotStarted { bin, reason: error.to_string() },
        }
    }
}

/// Asks everything at once and listens until all of it is answered, or the CLI ends.
async fn converse(running: &mut RunningCommand, topic: Topic) -> io::Result<Conversation> {
    let mut conversation = Conversation::about(topic);
    let (Some(mut stdin), Some(stdout)) = (running.child.stdin.take(), running.child.stdout.take()) else {
        return Ok(conversation);
    };
    let opening = conversation.opening(env!("CARGO_PKG_VERSION"));
    // One that ends before it has read everything may have said something all the same.
    let _ = stdin.write_all(opening.as_bytes()).await;
    let mut lines = BufReader::new(stdout.take(MOST_OUTPUT));
    let mut line = Zeroizing::new(String::new());
    loop {
        line.clear();
        // Its stdin stays open until we have heard enough: closed, it ends the CLI, after what that has begun.
        if lines.read_line(&mut line).await? == 0 || conversation.hear(&line) {
            return Ok(conversation);
        }
    }
}
