//! `claudette claude`: runs `claude` here, wired to a backend, under a lease that lasts until it exits.
//!
//! With a running service the lease is a connection to it, taken again by the local token if the service restarts.
//! Without one, a Supervisor of our own runs the one slot, with its log in the state folder.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use actix::Actor;
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tokio::sync::oneshot;

use super::service::{Lease, Service, Trouble};
use super::{Exit, logging, serve};
use crate::actors::claude::{ClaudeActor, Ended, Forward, Program};
use crate::actors::messages::{Event, Signal};
use crate::actors::supervisor::{self, Mode, Options, RunEnd, Started};
use crate::http::control::{Granted, Question, Wish};
use crate::providers::claude_cli::environment;
use crate::state::StateFolder;
use crate::telemetry;

/// Between two attempts to take a lost lease again.
const REJOIN: Duration = Duration::from_secs(1);
/// How long our own slot may take to start.
const START_TIME: Duration = Duration::from_secs(30);

pub fn run(
    backend: Option<String>,
    model: Option<String>,
    config: Option<PathBuf>,
    arguments: Vec<OsString>,
) -> anyhow::Result<Exit> {
    let wish = Wish { backend, model, token: None };
    actix::System::new().block_on(async move {
        let leased = match Service::find() {
            Ok(service) => service.lease(&wish).await,
            Err(trouble) => Err(trouble),
        };
        match leased {
            Ok(lease) => with_service(lease, wish, arguments).await,
            Err(Trouble::NotRunning) => without_service(wish, config, arguments).await,
            Err(trouble) => Ok(trouble.tell()),
        }
    })
}

async fn with_service(lease: Lease, wish: Wish, arguments: Vec<OsString>) -> anyhow::Result<Exit> {
    let granted = lease.granted.clone();
    let token = granted.wiring.as_ref().map(|wiring| wiring.token.clone());
    // Dropped at the end of this scope, and the lease with it.
    let (_done, ended) = oneshot::channel::<()>();
    actix_rt::spawn(keep_lease(lease, Wish { token, ..wish }, ended));
    run_claude(granted, arguments).await
}

/// Holds the lease; when the service goes away, takes it again as soon as there is one.
async fn keep_lease(first: Lease, wish: Wish, mut ended: oneshot::Receiver<()>) {
    let mut lease = Some(first);
    loop {
        let lost = async {
            if let Some(mut held) = lease.take() {
                while let Some(Ok(_)) = held.connection.next().await {}
            }
            tokio::time::sleep(REJOIN).await;
        };
        tokio::select! {
            _ = &mut ended => return,
            () = lost => {}
        }
        if let Ok(service) = Service::find() {
            lease = service.lease(&wish).await.ok();
        }
    }
}

async fn without_service(wish: Wish, config: Option<PathBuf>, arguments: Vec<OsString>) -> anyhow::Result<Exit> {
    let settings = match serve::checked_settings(config.as_deref()) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let folder = StateFolder::open(|name| std::env::var_os(name))?;
    let log = folder.logs()?.join("claude.log");
    // Never to the terminal: that belongs to `claude`.
    let _telemetry = telemetry::init(&logging::to_file(&settings.log, log.clone()))?;
    let options = Options { config, mode: Mode::Single, log: log.display().to_string() };
    let Started { events, questions, end, .. } = supervisor::start(options)?;
    let (answer, granted) = oneshot::channel();
    questions.send(Question::Lease { wish, answer }).await?;
    let granted = tokio::select! {
        granted = tokio::time::timeout(START_TIME, granted) => granted,
        end = end => return Ok(unusable(end.unwrap_or(RunEnd::Stopped))),
    };
    let exit = match granted {
        Ok(Ok(Ok(granted))) => run_claude(granted, arguments).await?,
        Ok(Ok(Err(denied))) => {
            eprintln!("claudette: {}", denied.reason);
            Exit::Failed
        }
        Ok(Err(_)) | Err(_) => {
            eprintln!("claudette: the gateway does not start; its log is {}", log.display());
            Exit::Failed
        }
    };
    let _ = events.send(Event::Signalled(Signal::Stop));
    Ok(exit)
}

fn unusable(end: RunEnd) -> Exit {
    match end {
        RunEnd::ConfigUnusable => Exit::Usage,
        RunEnd::NoControl | RunEnd::Stopped => Exit::Failed,
    }
}

/// Runs `claude` in the foreground until it exits, passing signals on.
async fn run_claude(granted: Granted, arguments: Vec<OsString>) -> anyhow::Result<Exit> {
    // The `anthropic` backend runs `claude` as it is.
    let environment =
        granted.wiring.as_ref().map(|wiring| environment::environment(wiring, &|name| std::env::var(name).ok()));
    let environment = environment.unwrap_or_default();
    let program = Program {
        path: granted.claude_bin.clone().into(),
        arguments,
        set: environment.set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        unset: environment.unset.into_iter().map(str::to_owned).collect(),
    };
    Ok(match in_foreground(program).await? {
        Some(Ended::Exited(0)) => Exit::Done,
        Some(Ended::Exited(code)) => Exit::Child(code),
        Some(Ended::Killed(signal)) => Exit::Child(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Some(Ended::NotStarted(error)) => {
            let bin = &granted.claude_bin;
            eprintln!(
                "claudette: cannot run `{bin}`: {error}. Install it with `npm install -g @anthropic-ai/claude-code`, or \
                 set [claude] bin in the config."
            );
            Exit::Failed
        }
        None => Exit::Failed,
    })
}

/// Runs a program that the terminal belongs to until it exits, passing on the signals that only we get. Nothing: nobody
/// told how it ended.
///
/// # Errors
/// Our own signals cannot be listened to.
pub async fn in_foreground(program: Program) -> anyhow::Result<Option<Ended>> {
    let mut signals = signal_hook_tokio::Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
    let (actor, end) = ClaudeActor::new(program);
    let running = actor.start();
    let passing_on = async {
        while let Some(signal) = signals.next().await {
            match signal {
                SIGTERM => running.do_send(Forward::Terminate),
                SIGHUP => running.do_send(Forward::HangUp),
                // The terminal sends these to the program itself; we outlive them to pass its exit code on.
                _ => {}
            }
        }
    };
    tokio::select! {
        end = end => Ok(end.ok()),
        () = passing_on => Ok(None),
    }
}
