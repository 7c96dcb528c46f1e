//! ClaudeActor: owns one `claude` process from its start to its exit.
//!
//! [`ClaudeActor`] runs it in the terminal's foreground, for `claudette claude`: it has the terminal's own input and output
//! and its process group, so Ctrl-C reaches it directly; SIGTERM and SIGHUP are passed on. [`guarded`] runs a session's
//! turn. Neither knows anything of gateways.

pub mod guarded;

pub mod hearing;

mod lines;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use actix::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::oneshot;

/// What to start.
pub struct Program {
    pub path: OsString,
    pub arguments: Vec<OsString>,
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
}

/// How the process ended.
#[derive(Debug)]
pub enum Ended {
    Exited(u8),
    Killed(i32),
    NotStarted(std::io::Error),
}

pub struct ClaudeActor {
    program: Program,
    pid: Option<Pid>,
    ended: Option<oneshot::Sender<Ended>>,
}

impl ClaudeActor {
    /// The actor to start, and where its process's end will be told.
    pub fn new(program: Program) -> (Self, oneshot::Receiver<Ended>) {
        let (ended, end) = oneshot::channel();
        (Self { program, pid: None, ended: Some(ended) }, end)
    }

    fn tell(&mut self, end: Ended) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(end);
        }
    }
}

impl Actor for ClaudeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.arguments);
        for name in &self.program.unset {
            command.env_remove(name);
        }
        command.envs(self.program.set.iter().map(|(name, value)| (name, value)));
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.tell(Ended::NotStarted(error));
                return ctx.stop();
            }
        };
        self.pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let waiting = async move { child.wait().await };
        ctx.spawn(waiting.into_actor(self).map(|status, actor, ctx| {
            actor.pid = None;
            actor.tell(status.map_or_else(Ended::NotStarted, end_of));
            ctx.stop();
        }));
    }
}

/// Pass a signal on.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Forward {
    Terminate,
    HangUp,
}

impl Handler<Forward> for ClaudeActor {
    type Result = ();

    fn handle(&mut self, forward: Forward, _: &mut Self::Context) {
        let signal = match forward {
            Forward::Terminate => Signal::TERM,
            Forward::HangUp => Signal::HUP,
        };
        if let Some(pid) = self.pid {
            // It may have exited in this moment; its end is on the way then.
            let _ = kill_process(pid, signal);
        }
    }
}

fn end_of(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}
