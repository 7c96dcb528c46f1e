//! The `claude` on PATH, run for one turn in a home of its own, and what it prints shown as it comes.
//!
//! It gets a process group of its own, so that Ctrl-C reaches the demo alone, which then ends it and waits for it.
//! Nothing of the person's own configuration is read or written.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::screen::{Screen, Voice};
use crate::providers::claude_cli::environment::{Wiring, environment};
use crate::providers::claude_cli::stream_json::{Block, Line, Outcome};

/// A turn against the scripted model takes seconds; a `claude` that takes longer than this hangs.
const TURN_TIME: Duration = Duration::from_secs(120);
/// Between SIGTERM and SIGKILL. `claude` ends its tools first.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes of stdout: a turn prints a few hundred kB.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// Lines of stderr that a failure shows.
const SHOWN_STDERR: usize = 12;

/// The folders of its home; each is made anew.
const FOLDERS: [&str; 4] = ["home", "claude", "work", "tmp"];

/// The program that a shell would start as `claude`.
pub fn on_path(path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(path?).map(|folder| folder.join("claude")).find(is_program)?;
    // Its working directory will be another one.
    std::path::absolute(found).ok()
}

/// One turn to be run.
pub struct Turn<'a> {
    pub program: &'a Path,
    pub wiring: &'a Wiring,
    pub prompt: &'a str,
    /// Everything that it writes is written here.
    pub folder: &'a Path,
}

/// Runs the turn and shows it. It is ended when `stop` is cancelled.
pub async fn turn<W: Write>(
    turn: &Turn<'_>,
    screen: &mut Screen<W>,
    ledger: &Ledger,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let stderr = turn.folder.join("claude.stderr");
    let began = Instant::now();
    let mut child = turn.start(&stderr).with_context(|| format!("{} cannot be started", turn.program.display()))?;
    let stdout = child.stdout.take().context("claude has no stdout")?;
    let shown = tokio::select! {
        shown = tokio::time::timeout(TURN_TIME, show(stdout, began, screen, ledger)) => shown,
        () = stop.cancelled() => {
            end(&mut child).await;
            return Ok(());
        }
    };
    let shown = match shown {
        Ok(Ok(finished)) => finished,
        Ok(Err(error)) => {
            end(&mut child).await;
            return Err(error);
        }
        Err(_) => {
            end(&mut child).await;
            bail!("claude did not finish its turn within {} s{}", TURN_TIME.as_secs(), said(&stderr));
        }
    };
    let status = tokio::time::timeout(GRACE, child.wait()).await;
    if status.is_err() {
        end(&mut child).await;
    }
    judge(shown, status.ok().and_then(Result::ok), &stderr)
}

impl Turn<'_> {
    fn start(&self, stderr: &Path) -> std::io::Result<Child> {
        for folder in FOLDERS {
            std::fs::create_dir_all(self.folder.join(folder))?;
        }
        let environment = environment(self.wiring, &|name| std::env::var(name).ok());
        let mut command = Command::new(self.program);
        command
            .args(["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"])
            .args(["--setting-sources", "user", "--strict-mcp-config", "--allowedTools", "Bash"])
            // `--` ends the list of tools.
            .args(["--", self.prompt])
            .envs(environment.set);
        for name in environment.unset {
            command.env_remove(name);
        }
        for (name, folder) in [("HOME", "home"), ("CLAUDE_CONFIG_DIR", "claude"), ("TMPDIR", "tmp")] {
            command.env(name, self.folder.join(folder));
        }
        for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env(name, self.folder.join("home").join(name.to_lowercase()));
        }
        command
            .env("CLAUDE_CODE_TMPDIR", self.folder.join("tmp"))
            // The demo needs no network, so nothing is to ask for it.
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .env("CLAUDE_CODE_MAX_RETRIES", "1")
            .current_dir(self.folder.join("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(stderr)?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// How the turn ended, as `claude` says.
struct Finished {
    is_error: bool,
    result: String,
}

impl From<Outcome<'_>> for Finished {
    fn from(outcome: Outcome<'_>) -> Self {
        Self {
            is_error: outcome.is_error,
            result: outcome.result.map_or_else(|| outcome.subtype.to_string(), |result| result.into_owned()),
        }
    }
}

/// Shows every line until there are no more; absent: there was no result among them.
async fn show<W: Write>(
    stdout: ChildStdout,
    began: Instant,
    screen: &mut Screen<W>,
    ledger: &Ledger,
) -> anyhow::Result<Option<Finished>> {
    let mut lines = BufReader::new(stdout.take(OUTPUT_LIMIT)).lines();
    let mut finished = None;
    while let Some(line) = lines.next_line().await.context("claude's output cannot be read")? {
        match Line::parse(&line) {
            Ok(Line::Init(init)) => {
                let (version, milliseconds) = (init.claude_code_version, began.elapsed().as_millis());
                screen.say(Voice::Stage, &format!("claude {version} is up after {milliseconds} ms"))?;
            }
            Ok(Line::Outcome(outcome)) => {
                screen.end()?;
                finished = Some(outcome.into());
            }
            Ok(line) => show_line(&line, screen, ledger)?,
            // Other programs may print beside it.
            Err(_) => {}
        }
    }
    screen.end()?;
    Ok(finished)
}

fn show_line<W: Write>(line: &Line<'_>, screen: &mut Screen<W>, ledger: &Ledger) -> std::io::Result<()> {
    match line {
        Line::ThinkingDelta { thinking, .. } => {
            screen.stream(Voice::Thinking, thinking)?;
            ledger.shown();
        }
        Line::TextDelta { text, .. } => {
            screen.stream(Voice::Model, text)?;
            ledger.shown();
        }
        Line::Assistant(assistant) => {
            for block in &assistant.blocks {
                show_call(block, screen)?;
            }
        }
        Line::ToolResults(results) => {
            for result in results {
                let voice = if result.is_error { Voice::ToolError } else { Voice::ToolResult };
                screen.say(voice, &result.text)?;
            }
        }
        Line::Retry(retry) => {
            let why = retry.error.as_deref().unwrap_or("no answer");
            screen.say(Voice::Stage, &format!("claude tries again ({why})"))?;
        }
        Line::Init(_) | Line::Outcome(_) | Line::BackgroundTasks { .. } | Line::Unknown { .. } => {}
    }
    Ok(())
}

#[derive(Deserialize)]
struct ToolInput {
    #[serde(default)]
    command: String,
}

/// Text and thinking have been shown as they streamed.
fn show_call<W: Write>(block: &Block<'_>, screen: &mut Screen<W>) -> std::io::Result<()> {
    match block {
        Block::ToolUse { name, input, .. } => {
            let json = input.map_or("", |input| input.get());
            let command = serde_json::from_str::<ToolInput>(json).map(|input| input.command).unwrap_or_default();
            let input = if command.is_empty() { json } else { &command };
            screen.say(Voice::ToolCall, &format!("{name}  {input}"))
        }
        Block::Text(_) | Block::Thinking(_) | Block::Unknown(_) => Ok(()),
    }
}

/// Ends the process and its group, and waits until it is gone.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // It may have exited in this moment, and is then only waited for.
    let _ = group.map(|group| kill_process_group(group, Signal::TERM));
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = child.wait().await;
    }
}

fn judge(finished: Option<Finished>, status: Option<ExitStatus>, stderr: &Path) -> anyhow::Result<()> {
    match finished {
        Some(Finished { is_error: false, .. }) => Ok(()),
        Some(Finished { result, .. }) => bail!("claude's turn failed: {result}{}", said(stderr)),
        None => {
            let how = status.map_or_else(|| "did not exit".to_owned(), |status| format!("ended with {status}"));
            bail!("claude {how} and gave no result{}", said(stderr))
        }
    }
}

/// The end of what it wrote to stderr, on lines of its own.
fn said(stderr: &Path) -> String {
    let text = std::fs::read(stderr).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.trim_end().lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_STDERR)..];
    if shown.is_empty() { String::new() } else { format!("; it wrote to stderr:\n{}", shown.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_is_the_first_program_of_that_name_on_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("claude"), "").unwrap();
            std::fs::set_permissions(place.join("claude"), std::fs::Permissions::from_mode(mode)).unwrap();
            place
        };
        let (no_program, first, second) = (file("a", 0o644), file("b", 0o755), file("c", 0o755));
        let path = std::env::join_paths([&no_program, &first, &second]).unwrap();
        assert_eq!(on_path(Some(&path)), Some(first.join("claude")));
        assert_eq!(on_path(Some(no_program.as_os_str())), None);
        assert_eq!(on_path(None), None);
    }

    #[test]
    fn a_turn_without_a_result_shows_the_end_of_stderr() {
        let folder = tempfile::tempdir().unwrap();
        let stderr = folder.path().join("stderr");
        std::fs::write(&stderr, (1..=20).map(|number| format!("line {number}\n")).collect::<String>()).unwrap();
        let fault = judge(None, None, &stderr).unwrap_err().to_string();
        assert!(fault.ends_with("line 19\nline 20") && !fault.contains("line 8\n"), "{fault}");
        let good = Finished { is_error: false, result: String::new() };
        assert!(judge(Some(good), None, &stderr).is_ok());
        let bad = Finished { is_error: true, result: "no model".into() };
        assert!(judge(Some(bad), None, &stderr).unwrap_err().to_string().starts_with("claude's turn failed: no model"));
    }
}
