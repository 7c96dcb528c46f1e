//! Reads one credential from where its setting says it lies: the config itself, the environment, a file, or what a
//! command prints (DESIGN.md §5).
//!
//! Each function reads once and keeps nothing: how long a command's output is good for, and that it runs once for many
//! waiting requests, is the actor's business. Whatever is read is bounded in size and time, and overwritten in memory
//! after use.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::http::upstream::credential::{Credential, CredentialFault};

/// How long a file or a command may take: a password manager may have to ask its person for a fingerprint.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A `value` of the config, exactly as written there.
///
/// # Errors
/// It is empty or cannot stand in a header.
pub fn from_value(secret: &str) -> Result<Credential, CredentialFault> {
    Credential::bearer(Zeroizing::new(secret.to_owned()))
}

/// A variable of the service's environment, exactly as set there; an empty one counts as missing.
///
/// # Errors
/// The variable is missing, empty, no text, or cannot stand in a header.
pub fn from_env(name: &str, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Credential, CredentialFault> {
    let value = lookup(name).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| CredentialFault::MissingVariable { name: name.to_owned() })?;
    let text = value.into_string().map_err(|_| CredentialFault::UnreadableVariable { name: name.to_owned() })?;
    Credential::bearer(Zeroizing::new(text))
}

/// A file's content without the whitespace at its end. A link is followed: secrets are often mounted as one.
///
/// # Errors
/// The file is missing, unreadable, no regular file, too long, not read within `limit`, empty, or cannot stand in a
/// header.
pub async fn from_file(path: &Path, limit: Duration) -> Result<Credential, CredentialFault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CredentialFault::MissingFile { path: path.to_owned() },
        _ => CredentialFault::UnreadableFile { path: path.to_owned(), reason: error.to_string() },
    };
    let read = async {
        // A pipe without a writer would hold a thread for good.
        if !tokio::fs::metadata(path).await.map_err(fault)?.is_file() {
            return Err(fault(io::Error::other("not a regular file")));
        }
        read_bounded(tokio::fs::File::open(path).await.map_err(fault)?, fault).await
    };
    trimmed(&within(limit, read).await?)
}

/// What a command prints on stdout, without the whitespace at its end. `argv` is run as it is, by no shell, with our
/// environment and an empty stdin; its stderr goes nowhere, for it may quote the secret.
///
/// # Errors
/// The command does not start, fails, prints too much or nothing usable, or is not done within `limit`. Whatever runs of
/// it then is killed, its own children included.
pub async fn from_command(argv: &[String], limit: Duration) -> Result<Credential, CredentialFault> {
    let program = argv.first().map_or("", String::as_str);
    let not_started = |error: io::Error| CredentialFault::CommandNotStarted {
        program: program.to_owned(),
        reason: error.to_string(),
    };
    let mut running = RunningCommand::start(program, argv.get(1..).unwrap_or_default()).map_err(not_started)?;
    let (output, status) = within(limit, async {
        let stdout = running.child.stdout.take().ok_or_else(|| not_started(io::ErrorKind::BrokenPipe.into()))?;
        let output = read_bounded(stdout, not_started).await?;
        Ok((output, running.child.wait().await.map_err(not_started)?))
    })
    .await?;
    match status.success() {
        true => trimmed(&output),
        false => Err(CredentialFault::CommandFailed { program: program.to_owned(), status: status.to_string() }),
    }
}

/// A command in a process group of its own, which is killed unless the command was seen to end.
pub struct RunningCommand {
    pub child: Child,
    is_spared: bool,
}

impl RunningCommand {
    /// # Errors
    /// The program cannot be run.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.process_group(0).spawn()?, is_spared: false })
    }

    /// It shall not be killed: for what must not be cut off half-way.
    pub fn spare(&mut self) {
        self.is_spared = true;
    }

    fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        Self::spawn(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // The id is gone once the child has been waited for; until then its number cannot be another process's.
        let group = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group.filter(|_| !self.is_spared) {
            // Fails if all of it has just ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, CredentialFault>>,
) -> Result<T, CredentialFault> {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(limit, work).await.unwrap_or(Err(CredentialFault::TimedOut { limit_ms }))
}

async fn read_bounded(
    source: impl AsyncRead + Unpin,
    fault: impl FnOnce(io::Error) -> CredentialFault,
) -> Result<Zeroizing<Vec<u8>>, CredentialFault> {
    // Large enough never to move: a moved buffer leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(Credential::MAX_BYTES + 1));
    let most = u64::try_from(Credential::MAX_BYTES + 1).unwrap_or(u64::MAX);
    source.take(most).read_to_end(&mut bytes).await.map_err(fault)?;
    match bytes.len() <= Credential::MAX_BYTES {
        true => Ok(bytes),
        false => Err(CredentialFault::TooLong),
    }
}

fn trimmed(bytes: &[u8]) -> Result<Credential, CredentialFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| CredentialFault::NotAHeader)?;
    Credential::bearer(Zeroizing::new(text.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::PathBuf;

    use rustix::fs::OFlags;

    use super::*;

    fn secret(loaded: Result<Credential, CredentialFault>) -> Result<String, CredentialFault> {
        loaded.map(|credential| credential.expose().unwrap().to_owned())
    }

    async fn printed(script: &str) -> Result<String, CredentialFault> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        secret(from_command(&argv, LIMIT).await)
    }

    fn program() -> String {
        "sh".to_owned()
    }

    #[test]
    fn a_value_and_a_variable_are_taken_as_they_are() {
        let environment = |name: &str| match name {
            "KEY" => Some("sk-1".into()),
            "EMPTY" => Some("".into()),
            "SPACE" => Some("sk-1 ".into()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        };
        let missing = |name: &str| Err(CredentialFault::MissingVariable { name: name.into() });
        for (name, expected) in [
            ("KEY", Ok("sk-1".to_owned())),
            ("EMPTY", missing("EMPTY")),
            ("ABSENT", missing("ABSENT")),
            ("SPACE", Err(CredentialFault::NotAHeader)),
            ("BYTES", Err(CredentialFault::UnreadableVariable { name: "BYTES".into() })),
        ] {
            assert_eq!(secret(from_env(name, environment)), expected, "{name}");
        }
        assert_eq!(secret(from_value("sk-2")).unwrap(), "sk-2");
    }

    #[actix_rt::test]
    async fn a_files_last_whitespace_is_not_part_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let longest = "k".repeat(Credential::MAX_BYTES);
        for (content, expected) in [
            ("sk-1\r\n \t\n".to_owned(), Ok("sk-1".to_owned())),
            (" sk-1".to_owned(), Err(CredentialFault::NotAHeader)),
            (" \n".to_owned(), Err(CredentialFault::Empty)),
            (longest.clone(), Ok(longest.clone())),
            (longest + "k", Err(CredentialFault::TooLong)),
        ] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(secret(from_file(&link, LIMIT).await), expected, "{} bytes", content.len());
        }
    }

    #[actix_rt::test]
    async fn a_file_that_is_not_there_and_one_that_is_none_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let absent: PathBuf = folder.path().join("absent");
        assert_eq!(from_file(&absent, LIMIT).await, Err(CredentialFault::MissingFile { path: absent.clone() }));
        let fault = from_file(folder.path(), LIMIT).await.unwrap_err();
        assert!(matches!(fault, CredentialFault::UnreadableFile { .. }), "{fault}");
    }

    #[actix_rt::test]
    async fn a_commands_stdout_is_the_key_and_its_stderr_is_not() {
        let failed = |status: &str| Err(CredentialFault::CommandFailed { program: program(), status: status.into() });
        for (script, expected) in [
            ("echo noise >&2; echo sk-1; echo", Ok("sk-1".to_owned())),
            ("cat; printf sk-1", Ok("sk-1".to_owned())),
            ("true", Err(CredentialFault::Empty)),
            ("printf '\\377'", Err(CredentialFault::NotAHeader)),
            ("echo sk-1; exit 3", failed("exit status: 3")),
            ("echo sk-1; kill -9 $$", failed("signal: 9 (SIGKILL)")),
            ("cat /dev/zero", Err(CredentialFault::TooLong)),
        ] {
            assert_eq!(printed(script).await, expected, "{script}");
        }
    }

    #[actix_rt::test]
    async fn a_command_runs_by_no_shell_and_its_arguments_are_never_told() {
        let argv = ["echo", "$HOME;`id`"].map(str::to_owned);
        assert_eq!(secret(from_command(&argv, LIMIT).await).unwrap(), "$HOME;`id`");
        let argv = ["/no/such/program", "sk-1234"].map(str::to_owned);
        for argv in [&argv[..], &[]] {
            let fault = from_command(argv, LIMIT).await.unwrap_err();
            assert!(matches!(fault, CredentialFault::CommandNotStarted { .. }), "{fault}");
            assert!(!format!("{fault} {fault:?}").contains("1234"));
        }
    }

    #[actix_rt::test]
    async fn a_command_that_never_ends_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut pipe = std::fs::OpenOptions::new();
        let mut pipe = pipe.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&fifo).unwrap();
        let script = format!("exec 3> '{}'; sleep 1000 & sleep 1000", fifo.display());
        let argv = ["sh", "-c", &script].map(str::to_owned);
        let limit = Duration::from_millis(300);
        assert_eq!(from_command(&argv, limit).await, Err(CredentialFault::TimedOut { limit_ms: 300 }));
        // The shell and both of its children held the pipe: its end comes when the last of them is gone.
        rustix::fs::fcntl_setfl(&pipe, OFlags::empty()).unwrap();
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    }
}
