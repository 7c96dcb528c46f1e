//! ConfigActor: owns the config file. It reads it when told to, checks it whole, and publishes what it accepted.
//!
//! A file with faults leaves the running revision alone. What a revision means for gateways is the Supervisor's matter.

use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use tracing::{error, info, warn};

use super::messages::{Event, Events, ReloadCause};
use crate::ids::Revision;
use crate::settings::{self, Fault, Loaded, Settings, Surroundings};

pub struct ConfigActor {
    /// `--config`.
    flag: Option<PathBuf>,
    events: Events,
    revision: Revision,
    running: Option<Arc<Settings>>,
}

impl ConfigActor {
    pub fn new(flag: Option<PathBuf>, events: Events) -> Self {
        Self { flag, events, revision: Revision::default(), running: None }
    }

    fn accept(&mut self, loaded: Loaded, cause: ReloadCause) {
        for warning in &loaded.warnings {
            warn!(event = "config.warned", fault = %warning, "{warning}");
        }
        let settings = Arc::new(loaded.settings);
        self.revision = self.revision.next();
        if let Some(before) = &self.running {
            let keys = settings::changed_keys(before, &settings);
            if !keys.is_empty() {
                info!(
                    event = "config.changed",
                    revision = self.revision.0,
                    keys = keys.join(","),
                    "the config has changed"
                );
            }
        }
        info!(event = "config.loaded", revision = self.revision.0, cause = cause.as_str(), "the config is loaded");
        self.running = Some(Arc::clone(&settings));
        let _ = self.events.send(Event::ConfigAccepted { settings, revision: self.revision, cause });
    }

    fn reject(&self, faults: &[Fault]) {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        error!(
            event = "config.rejected",
            revision = self.revision.0,
            faults = lines.join("\n"),
            "the config has {} fault(s): the running revision stays",
            lines.len()
        );
        if self.running.is_none() {
            let _ = self.events.send(Event::ConfigUnusable);
        }
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;
}

/// Read the file now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub ReloadCause);

impl Handler<Reload> for ConfigActor {
    type Result = ();

    fn handle(&mut self, Reload(cause): Reload, _: &mut Self::Context) {
        match settings::read(self.flag.as_deref(), &Surroundings::of_process()) {
            Ok(loaded) => self.accept(loaded, cause),
            Err(faults) => self.reject(&faults),
        }
    }
}
