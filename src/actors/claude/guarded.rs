//! The ClaudeActor of a session's turn: `claude` in stream-json mode behind a guard.
//!
//! It gives the prompt, hears what is printed, keeps every line in the transcript, closes stdin when there is nothing
//! left to say, and leads the process down the ladder when told to. What it heard goes up one bounded channel, the end
//! last. It decides nothing about retries and knows nothing of gateways.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::hearing::{Hearing, Said};
use super::lines::{LONGEST_LINE_BYTES, Lines, Taken};
use super::{Ended, end_of};
use crate::guard::{self, Line as GuardLine, Order};
use crate::providers::claude_cli::stream_json::{Line, interrupt_line, prompt_line};

/// What of stderr is kept for the log.
const STDERR_KEPT_BYTES: usize = 64 * 1024;
const STDOUT_BUFFER_BYTES: usize = 64 * 1024;
/// After the guard's end nobody writes any more; only where a descendant could leave its group (macOS) a pipe may stay open.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The ladder of DESIGN.md §2: how long each step is given before the next.
const AFTER_INTERRUPT: Duration = Duration::from_secs(2);
const AFTER_CLOSED_STDIN: Duration = Duration::from_secs(1);
const AFTER_SIGINT: Duration = Duration::from_secs(2);
const AFTER_SIGTERM: Duration = Duration::from_secs(2);

/// What to start.
pub struct TurnProgram {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub cwd: PathBuf,
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
    pub prompt: String,
}

/// What goes up; `Ended` is the last.
#[derive(Debug)]
pub enum Report {
    Said(Said),
    Ended(Box<TurnEnded>),
}

#[derive(Debug)]
pub struct TurnEnded {
    pub end: Ended,
    pub heard: Hearing,
    /// The last of it, as it was written.
    pub stderr: String,
}

pub struct GuardedClaude {
    program: Option<(TurnProgram, File)>,
    reports: mpsc::Sender<Report>,
    running: Option<Running>,
}

struct Running {
    guard: Rc<GuardLine>,
    stdin: Rc<Stdin>,
}

impl GuardedClaude {
    pub fn new(program: TurnProgram, transcript: File, reports: mpsc::Sender<Report>) -> Self {
        Self { program: Some((program, transcript)), reports, running: None }
    }
}

impl Actor for GuardedClaude {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((program, transcript)) = self.program.take() else { return };
        let reports = self.reports.clone();
        let conversation = match Conversation::start(program, transcript, reports.clone()) {
            Ok((running, conversation)) => {
                self.running = Some(running);
                Ok(conversation)
            }
            Err(error) => Err(error),
        };
        let whole = async move {
            let ended = match conversation {
                Ok(conversation) => conversation.hold().await,
                Err(error) => TurnEnded::not_started(error),
            };
            let _ = reports.send(Report::Ended(Box::new(ended))).await;
        };
        ctx.spawn(whole.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// End the turn: down the ladder, as far as it needs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndTurn;

impl Handler<EndTurn> for GuardedClaude {
    type Result = ();

    fn handle(&mut self, _: EndTurn, ctx: &mut Self::Context) {
        if let Some(Running { guard, stdin }) = &self.running {
            // Over as soon as the actor is, which ends with its process.
            ctx.spawn(descend(Rc::clone(guard), Rc::clone(stdin)).into_actor(self));
        }
    }
}

async fn descend(guard: Rc<GuardLine>, stdin: Rc<Stdin>) {
    stdin.say(interrupt_line("stop"));
    tokio::time::sleep(AFTER_INTERRUPT).await;
    stdin.close();
    tokio::time::sleep(AFTER_CLOSED_STDIN).await;
    guard.order(Order::Interrupt);
    tokio::time::sleep(AFTER_SIGINT).await;
    guard.order(Order::Terminate);
    tokio::time::sleep(AFTER_SIGTERM).await;
    guard.order(Order::Kill);
}

/// The writing end of `claude`'s stdin. A task writes, so that a prompt larger than the pipe holds nobody up.
struct Stdin {
    lines: mpsc::UnboundedSender<String>,
    task: JoinHandle<()>,
}

impl Stdin {
    fn new(pipe: OwnedFd, first: String) -> io::Result<Self> {
        let mut pipe = pipe::Sender::from_owned_fd(pipe)?;
        let (lines, mut waiting) = mpsc::unbounded_channel::<String>();
        let task = actix_rt::spawn(async move {
            let mut line = Some(first);
            while let Some(text) = line {
                // A broken pipe means that `claude` has ended: that is told elsewhere.
                if pipe.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
                line = waiting.recv().await;
            }
        });
        Ok(Self { lines, task })
    }

    fn say(&self, line: String) {
        let _ = self.lines.send(line);
    }

    /// Also in the middle of a line: whoever closes has stopped waiting for it to be read.
    fn close(&self) {
        self.task.abort();
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.close();
    }
}

/// A started process, from its first line to its exit.
struct Conversation {
    guard: tokio::process::Child,
    line: Rc<GuardLine>,
    stdin: Rc<Stdin>,
    transcript: Transcript,
    reports: mpsc::Sender<Report>,
}

impl Conversation {
    fn start(
        program: TurnProgram,
        transcript: File,
        reports: mpsc::Sender<Report>,
    ) -> io::Result<(Running, Conversation)> {
        if !program.cwd.is_dir() {
            return Err(io::Error::other(format!("its cwd {} is no folder", program.cwd.display())));
        }
        let prompt = prompt_line(&program.prompt);
        let mut transcript = Transcript(transcript);
        transcript.keep(prompt.trim_end().as_bytes());
        let (claude_stdin, ours) = io::pipe()?;
        let (line, guard_stdin) = GuardLine::open(&claude_stdin)?;
        drop(claude_stdin);
        let mut command = guard::command(program.path.as_os_str(), &program.arguments)?;
        command.current_dir(&program.cwd).stdin(guard_stdin).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        for name in &program.unset {
            command.env_remove(name);
        }
        command.envs(program.set.iter().map(|(name, value)| (name, value)));
        let guard = Command::from(command).spawn()?;
        let stdin = Rc::new(Stdin::new(ours.into(), prompt)?);
        let line = Rc::new(line);
        let running = Running { guard: Rc::clone(&line), stdin: Rc::clone(&stdin) };
        Ok((running, Self { guard, line, stdin, transcript, reports }))
    }

    /// Until the guard has ended, and with it everything that `claude` had started.
    async fn hold(self) -> TurnEnded {
        let Self { mut guard, line, stdin, mut transcript, reports } = self;
        let heard = Rc::new(RefCell::new(Hearing::default()));
        let kept = Rc::new(RefCell::new(Tail::default()));
        let (stdout, stderr) = (guard.stdout.take(), guard.stderr.take());
        let (hearing, keeping) = (Rc::clone(&heard), Rc::clone(&kept));
        let mut reading = Box::pin(async move {
            tokio::join!(listen(stdout, &hearing, &stdin, &mut transcript, &reports), keep_tail(stderr, &keeping))
        });
        let status = tokio::select! {
            status = guard.wait() => {
                let _ = tokio::time::timeout(LAST_LINES, &mut reading).await;
                status
            }
            _ = &mut reading => guard.wait().await,
        };
        drop(reading);
        let end = match (line.failure(), status) {
            (Some(reason), _) => Ended::NotStarted(io::Error::other(reason)),
            (None, Ok(status)) => end_of(status),
            (None, Err(error)) => Ended::NotStarted(error),
        };
        TurnEnded { end, heard: heard.take(), stderr: kept.take().into_text() }
    }
}

impl TurnEnded {
    fn not_started(error: io::Error) -> Self {
        Self { end: Ended::NotStarted(error), heard: Hearing::default(), stderr: String::new() }
    }
}

/// Hears every line of stdout; a slow consumer slows `claude`.
async fn listen(
    stdout: Option<ChildStdout>,
    hearing: &RefCell<Hearing>,
    stdin: &Stdin,
    transcript: &mut Transcript,
    reports: &mpsc::Sender<Report>,
) {
    let Some(stdout) = stdout else { return };
    let mut lines = Lines::new(BufReader::with_capacity(STDOUT_BUFFER_BYTES, stdout), LONGEST_LINE_BYTES);
    loop {
        let said = match lines.next().await {
            Ok(Taken::Line(line)) => {
                transcript.keep(line);
                hear(line, hearing, stdin)
            }
            Ok(Taken::TooLong(_)) => {
                hearing.borrow_mut().unreadable_lines += 1;
                Vec::new()
            }
            Ok(Taken::End) | Err(_) => return,
        };
        for said in said {
            let _ = reports.send(Report::Said(said)).await;
        }
    }
}

fn hear(line: &[u8], hearing: &RefCell<Hearing>, stdin: &Stdin) -> Vec<Said> {
    let mut hearing = hearing.borrow_mut();
    let parsed = std::str::from_utf8(line).ok().and_then(|line| Line::parse(line).ok());
    let Some(parsed) = parsed else {
        hearing.unreadable_lines += u64::from(!line.is_empty());
        return Vec::new();
    };
    let said = hearing.hear(parsed);
    if hearing.is_complete() {
        stdin.close();
    }
    said
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * STDERR_KEPT_BYTES {
            self.0.drain(..self.0.len() - STDERR_KEPT_BYTES);
        }
    }

    fn into_text(self) -> String {
        let start = self.0.len().saturating_sub(STDERR_KEPT_BYTES);
        String::from_utf8_lossy(&self.0[start..]).trim().to_owned()
    }
}

/// Reads to the end: a stderr that nobody reads would stop `claude`.
async fn keep_tail(stderr: Option<ChildStderr>, tail: &RefCell<Tail>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        tail.borrow_mut().push(&buffer[..length]);
    }
}

/// Every line as it came. A full disk costs the transcript, not the turn.
struct Transcript(File);

impl Transcript {
    fn keep(&mut self, line: &[u8]) {
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        let _ = self.0.write_all(&whole);
    }
}
