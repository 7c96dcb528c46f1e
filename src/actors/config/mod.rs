//! ConfigActor: owns the config file. It looks at it when told to and whenever something happens to it, checks it whole,
//! and publishes what it accepted.
//!
//! A file with faults, and one that has gone, leave the running revision alone. What a revision means for gateways is the
//! Supervisor's matter. The coming of a codex login that a backend waits for is watched in the same way.

mod debounce;
mod places;
mod watcher;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{error, info, warn};

use self::debounce::{Debounce, Due};
use self::watcher::Watcher;
use super::messages::{Event, Events, ReloadCause};
use crate::ids::{BackendId, Revision};
use crate::settings::{self, BackendKind, Fault, Loaded, Located, Settings, Source, Surroundings};

/// For file systems that tell nothing: networks, overlays.
const SLOW_LOOK: Duration = Duration::from_secs(30);
/// Who truncates a file before writing it leaves it empty for a moment, and an empty file would be a valid one.
const EMPTY_PATIENCE: Duration = Duration::from_millis(500);
/// Until a revision says otherwise.
const FIRST_DEBOUNCE: Duration = Duration::from_millis(250);

pub struct ConfigActor {
    /// `--config`.
    flag: Option<PathBuf>,
    events: Events,
    revision: Revision,
    running: Option<Arc<Settings>>,
    /// For each of these a codex backend waits to be enabled.
    awaited_logins: Vec<PathBuf>,
    watch: Option<Watch>,
    seen: Seen,
}

/// What belongs to watching; absent where the file is read once.
struct Watch {
    watcher: Watcher,
    noticed: Option<mpsc::Receiver<()>>,
    debounce: Debounce,
    /// Folders of which nothing is heard were told of.
    told_deaf: bool,
}

/// What the last look found, to tell a change from a mere touch.
#[derive(Default)]
struct Seen {
    /// Absent while the embedded defaults hold.
    content: Option<Content>,
    /// The file is gone since; what was read of it still holds.
    gone: bool,
    /// It was found empty and gets a moment.
    emptied: bool,
    mark: Option<Mark>,
}

/// What a file holds, as far as two looks are compared.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    /// With the reason.
    Unreadable(String),
}

/// Changes with the file, cheap to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    modified: Option<SystemTime>,
    inode: u64,
    bytes: u64,
}

/// What stands where the config is looked for.
enum Found {
    File(Source),
    Unreadable(Fault),
    /// With the fault, if it should be there.
    Nothing(Option<Fault>),
}

/// What a look leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Verdict {
    Load,
    /// Nothing new.
    Leave,
    /// Look again soon.
    Wait,
    /// It has just gone.
    Gone,
}

impl ConfigActor {
    /// `watches`: whether the file is looked at again after the first time.
    pub fn new(flag: Option<PathBuf>, events: Events, watches: bool) -> Self {
        let watch = watches.then(|| {
            let (watcher, noticed) = Watcher::new();
            Watch { watcher, noticed: Some(noticed), debounce: Debounce::Still, told_deaf: false }
        });
        Self {
            flag,
            events,
            revision: Revision::default(),
            running: None,
            awaited_logins: Vec::new(),
            watch,
            seen: Seen::default(),
        }
    }

    /// `told`: somebody wants an answer, so the file is loaded whether or not it has changed.
    fn look(&mut self, told: Option<ReloadCause>, ctx: &mut Context<Self>) {
        // Before reading: what happens in between is noticed, and looked at again.
        self.watch_places();
        self.seen.mark = self.place().and_then(|place| mark(&place));
        let found = self.find();
        let login_came = self.take_arrived_logins();
        match judge(&mut self.seen, &found, told.is_some() || login_came) {
            Verdict::Leave => {}
            Verdict::Wait => drop(ctx.run_later(EMPTY_PATIENCE, |actor, ctx| actor.look(None, ctx))),
            Verdict::Gone => self.say_gone(),
            Verdict::Load => {
                let cause = told.unwrap_or(if login_came { ReloadCause::Login } else { ReloadCause::Edit });
                self.load(found, cause);
                // A login that is awaited from now on.
                self.watch_places();
            }
        }
    }

    fn find(&self) -> Found {
        match settings::locate(self.flag.as_deref(), &Surroundings::of_process()) {
            Err(fault) => Found::Nothing(Some(fault)),
            Ok(Located::Defaults { .. }) => Found::Nothing(None),
            Ok(Located::File(path)) => match Source::read(&path) {
                Ok(source) => Found::File(source),
                // Renamed away between the two steps.
                Err(_) if !path.exists() => Found::Nothing(None),
                Err(fault) => Found::Unreadable(fault),
            },
        }
    }

    fn load(&mut self, found: Found, cause: ReloadCause) {
        let source = match found {
            Found::File(source) => Some(source),
            Found::Nothing(None) if self.seen.content.is_none() => None,
            Found::Unreadable(fault) | Found::Nothing(Some(fault)) => return self.reject(&[fault]),
            Found::Nothing(None) => {
                let place = self.place().unwrap_or_default();
                return self.reject(&[Fault::whole(place, "the file has gone")]);
            }
        };
        let enabled = self.enabled();
        let surroundings = Surroundings { enabled_before: &enabled, ..Surroundings::of_process() };
        match settings::load(source.as_ref(), &surroundings) {
            Ok(loaded) => self.accept(loaded, cause),
            Err(faults) => self.reject(&faults),
        }
    }

    fn accept(&mut self, loaded: Loaded, cause: ReloadCause) {
        for warning in &loaded.warnings {
            warn!(event = "config.warned", fault = %warning, "{warning}");
        }
        let settings = Arc::new(loaded.settings);
        self.revision = self.revision.next();
        let revision = self.revision.0;
        if let Some(before) = &self.running {
            let keys = settings::changed_keys(before, &settings);
            if !keys.is_empty() {
                info!(event = "config.changed", revision, keys = keys.join(","), "the config has changed");
            }
        }
        if self.running.as_ref().is_none_or(|before| before.alternative_backends) && !settings.alternative_backends {
            say_not_offered(&settings);
        }
        info!(event = "config.loaded", revision, cause = cause.as_str(), "the config is loaded");
        self.awaited_logins = awaited_logins(&settings);
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
        let _ = self.events.send(match self.running {
            None => Event::ConfigUnusable,
            Some(_) => Event::ConfigKept,
        });
    }

    fn say_gone(&self) {
        let place = self.place().unwrap_or_default();
        let revision = self.revision.0;
        let place = place.display();
        warn!(event = "config.warned", revision, "{place} has gone: the running revision stays until it returns");
    }

    /// Where the config is, or will be looked for.
    fn place(&self) -> Option<PathBuf> {
        let place = match settings::locate(self.flag.as_deref(), &Surroundings::of_process()) {
            Ok(Located::File(path)) => Some(path),
            Ok(Located::Defaults { appears_at }) => appears_at,
            Err(fault) => Some(fault.file),
        };
        place.and_then(|place| std::path::absolute(place).ok())
    }

    fn watch_places(&mut self) {
        let files: Vec<PathBuf> = self.place().into_iter().chain(self.awaited_logins.iter().cloned()).collect();
        let Some(watch) = &mut self.watch else { return };
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| places::folders(file, places::entry)).collect();
        let deaf = watch.watcher.watch(folders);
        if !deaf.is_empty() && !watch.told_deaf {
            watch.told_deaf = true;
            let names: Vec<_> = deaf.iter().map(|folder| folder.display().to_string()).collect();
            let names = names.join(", ");
            warn!(event = "config.warned", "{names} cannot be watched: changes are seen within 30 s, or with SIGHUP");
        }
    }

    /// The logins that are awaited and have come; they are awaited no longer.
    fn take_arrived_logins(&mut self) -> bool {
        let before = self.awaited_logins.len();
        self.awaited_logins.retain(|login| !login.exists());
        self.awaited_logins.len() < before
    }

    fn enabled(&self) -> Vec<BackendId> {
        let settings = self.running.as_ref();
        settings
            .into_iter()
            .flat_map(|settings| settings.enabled_backends())
            .map(|backend| backend.id.clone())
            .collect()
    }

    fn quiet_time(&self) -> Duration {
        self.running.as_ref().map_or(FIRST_DEBOUNCE, |settings| settings.supervisor.debounce)
    }

    fn noticed(&mut self, ctx: &mut Context<Self>) {
        let quiet = self.quiet_time();
        let Some(watch) = &mut self.watch else { return };
        if let Some(delay) = watch.debounce.noticed(Instant::now().into_std(), quiet) {
            ctx.run_later(delay, Self::timer_fired);
        }
    }

    fn timer_fired(&mut self, ctx: &mut Context<Self>) {
        let Some(watch) = &mut self.watch else { return };
        match watch.debounce.fired(Instant::now().into_std()) {
            Due::Now => self.look(None, ctx),
            Due::In(delay) => drop(ctx.run_later(delay, Self::timer_fired)),
            Due::Never => {}
        }
    }

    fn slow_look(&mut self, ctx: &mut Context<Self>) {
        if self.place().and_then(|place| mark(&place)) != self.seen.mark {
            self.noticed(ctx);
        }
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(watch) = &mut self.watch else { return };
        if let Some(noticed) = watch.noticed.take() {
            ctx.add_stream(ReceiverStream::new(noticed));
        }
        ctx.run_interval(SLOW_LOOK, Self::slow_look);
    }
}

/// Something has happened in a watched folder.
impl StreamHandler<()> for ConfigActor {
    fn handle(&mut self, (): (), ctx: &mut Self::Context) {
        self.noticed(ctx);
    }

    /// Without notifications there is still the slow look.
    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Read the file now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub ReloadCause);

impl Handler<Reload> for ConfigActor {
    type Result = ();

    fn handle(&mut self, Reload(cause): Reload, ctx: &mut Self::Context) {
        self.look(Some(cause), ctx);
    }
}

/// Compares what a look found with what was seen before, and remembers it. `told`: load whatever is there.
fn judge(seen: &mut Seen, found: &Found, told: bool) -> Verdict {
    let content = match found {
        Found::File(source) => Content::Text(source.text.clone()),
        Found::Unreadable(fault) => Content::Unreadable(fault.to_string()),
        Found::Nothing(_) => {
            let has_just_gone = seen.content.is_some() && !std::mem::replace(&mut seen.gone, true);
            return match (told, has_just_gone) {
                (true, _) => Verdict::Load,
                (false, true) => Verdict::Gone,
                (false, false) => Verdict::Leave,
            };
        }
    };
    seen.gone = false;
    let is_empty = matches!(&content, Content::Text(text) if text.trim().is_empty());
    let had_text = seen.content.as_ref().is_some_and(|before| *before != content);
    if is_empty && had_text && !told && !std::mem::replace(&mut seen.emptied, true) {
        return Verdict::Wait;
    }
    seen.emptied = false;
    let is_new = seen.content.as_ref() != Some(&content);
    seen.content = Some(content);
    if is_new || told { Verdict::Load } else { Verdict::Leave }
}

fn mark(path: &Path) -> Option<Mark> {
    let metadata = path.metadata().ok()?;
    Some(Mark { modified: metadata.modified().ok(), inode: metadata.ino(), bytes: metadata.len() })
}

/// The logins whose coming would enable a backend. (One that the config switches off stays so; a look more is no harm.)
fn awaited_logins(settings: &Settings) -> Vec<PathBuf> {
    let waiting = settings.backends.iter().filter(|backend| settings.alternative_backends && !backend.enabled);
    let logins = waiting.filter_map(|backend| Some(backend.codex.as_ref()?.login_file()));
    logins.filter(|login| !login.exists()).collect()
}

fn say_not_offered(settings: &Settings) {
    for backend in settings.backends.iter().filter(|backend| backend.kind != BackendKind::Anthropic) {
        info!(
            event = "backend.not_offered",
            backend = %backend.id,
            reason = backend.disabled_because.as_deref().unwrap_or_default(),
            "the backend is not offered: [experimental] alternative_backends is off"
        );
    }
}

#[cfg(test)]
mod tests;
