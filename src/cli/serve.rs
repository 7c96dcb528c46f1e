//! `claudette serve`: the service, in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use tracing::info;

use super::{Exit, logging};
use crate::actors::messages::Event;
use crate::actors::supervisor::{self, Mode, Options, RunEnd, Started};
use crate::http::open_files;
use crate::settings::{self, Settings, Surroundings};
use crate::signals;
use crate::state::{StateFault, StateFolder};
use crate::telemetry;

pub fn run(config: Option<PathBuf>) -> anyhow::Result<Exit> {
    let settings = match checked_settings(config.as_deref()) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let folder = Arc::new(StateFolder::open(|name| std::env::var_os(name))?);
    let _lock = match folder.lock() {
        Ok(lock) => lock,
        Err(fault @ StateFault::AlreadyRunning { .. }) => {
            eprintln!("claudette: {fault}; stop it first, or see `claudette status`.");
            return Ok(Exit::AlreadyRunning);
        }
        Err(fault) => return Err(fault.into()),
    };
    let guard = telemetry::init(&logging::of_service(&settings.log))?;
    let log = settings.log.file.as_ref().map_or("stderr".to_owned(), |path| path.display().to_string());
    open_files::raise_limit();
    actix::System::new().block_on(serve(config, folder, log, &guard))
}

async fn serve(
    config: Option<PathBuf>,
    folder: Arc<StateFolder>,
    log: String,
    guard: &telemetry::Guard,
) -> anyhow::Result<Exit> {
    let (mut signals, _handle) = signals::listen()?;
    let options = Options { config, mode: Mode::Service { folder }, log };
    let Started { events, mut log_level, end, .. } = supervisor::start(options)?;
    actix_rt::spawn(async move {
        while let Some(signal) = signals.next().await {
            let _ = events.send(Event::Signalled(signal));
        }
    });
    let levels = async {
        while log_level.changed().await.is_ok() {
            guard.set_level(logging::level(*log_level.borrow_and_update()));
        }
        std::future::pending().await
    };
    let end = tokio::select! {
        end = end => end.unwrap_or(RunEnd::Stopped),
        () = levels => RunEnd::Stopped,
    };
    info!(event = "service.stopped", "the service has stopped");
    Ok(match end {
        RunEnd::Stopped => Exit::Done,
        RunEnd::ConfigUnusable => Exit::Usage,
        RunEnd::NoControl => Exit::Failed,
    })
}

/// The settings as they are before anything starts; the faults of a bad config are told on stderr.
pub fn checked_settings(config: Option<&Path>) -> Result<Settings, Exit> {
    match settings::read(config, &Surroundings::of_process()) {
        Ok(loaded) => Ok(loaded.settings),
        Err(faults) => {
            for fault in faults {
                eprintln!("{fault}");
            }
            Err(Exit::Usage)
        }
    }
}
