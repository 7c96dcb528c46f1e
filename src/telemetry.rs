//! What the service says about itself: the subscriber and the closed list of event names (DESIGN.md §8).
//!
//! Our own events carry an `event` field out of [`EVENTS`]; whatever other crates say, through `tracing` or `log`, is
//! passed on as `library.logged`, warnings and errors only. Lines go through a bounded queue to one writer thread, so a
//! stuck terminal or disk never holds up a request; lines that do not fit are dropped and counted. Nothing here knows
//! a secret: whoever logs text of others masks it first.

mod calendar;
mod daily_file;
mod library;
mod lines;
mod panics;

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use daily_file::DailyFile;
pub use lines::Plain;
use lines::{JsonLines, TextLines};

/// Every event name there is, `noun.verb_past` and a few plain nouns. A test holds the sources to it.
pub const EVENTS: &[&str] = &[
    "backend.not_offered",
    "config.changed",
    "config.loaded",
    "config.rejected",
    "config.warned",
    "credential.expired",
    "credential.refreshed",
    "credential.rejected",
    "gateway.drained",
    "gateway.exited",
    "gateway.quarantined",
    "gateway.ready",
    "gateway.rejecting",
    "gateway.released",
    "gateway.replaced",
    "gateway.restart_loop",
    "gateway.restart_scheduled",
    "library.logged",
    "models.refresh_failed",
    "models.refreshed",
    "process.panicked",
    "quota.updated",
    "request.degraded",
    "request.fell_back",
    "request.finished",
    "service.started",
    "service.status",
    "service.stopped",
    "service.stopping",
    "session.exited",
    "session.quarantined",
    "session.released",
    "session.restart_loop",
    "session.restart_scheduled",
    "session.tool_used",
    "session.turn_finished",
    "session.turn_started",
    "upstream.adapted",
];

/// The name under which events of other crates appear.
const LIBRARY_LOGGED: &str = "library.logged";

/// The crate whose events count as ours; its modules are targets below it.
const OUR_CRATE: &str = "claudette";

/// Lines that may wait for the writer thread: seconds of the busiest log, and a few megabytes.
const QUEUED_LINES: usize = 16_384;

/// How a process logs. Built by the command that runs: `serve` takes it from `[log]`, `claude` always takes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    pub format: Format,
    pub level: Level,
    pub destination: Destination,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text if the lines go to a terminal, else JSON.
    #[default]
    Auto,
    Json,
    Text,
}

/// The least important of our own events that is written. Other crates are never heard below a warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stderr,
    /// Appended to `path`. At the first line of a UTC day the file becomes `PATH.YYYY-MM-DD`, named after the day it
    /// holds; such files are deleted once their day is longer ago than `keep`.
    File {
        path: PathBuf,
        keep: Duration,
    },
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryFault {
    #[error("cannot open the log file {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("logging has begun already in this process")]
    AlreadyBegun,
}

/// Keeps logging alive. Dropping it writes what is still queued, so it outlives everything that logs.
#[must_use = "dropping the guard ends logging"]
pub struct Guard {
    level: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Guard {
    /// Changes the level from the next event on.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then nobody listens to any level.
        let _ = self.level.reload(targets(level));
    }

    /// Lines dropped so far because the queue was full.
    #[must_use]
    pub fn dropped_lines(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("dropped_lines", &self.dropped_lines()).finish_non_exhaustive()
    }
}

/// Begins logging for the whole process and reports panics from then on.
///
/// # Errors
/// The log file cannot be opened, or logging has begun before.
pub fn init(telemetry: &Telemetry) -> Result<Guard, TelemetryFault> {
    let (writer, worker) = open(&telemetry.destination)?;
    let dropped = writer.error_counter();
    let (filter, level) = reload::Layer::new(targets(telemetry.level));
    let subscriber = Registry::default().with(filter).with(layer(shape(telemetry), writer));
    subscriber.try_init().map_err(|_| TelemetryFault::AlreadyBegun)?;
    library::listen();
    panics::report();
    Ok(Guard { level, dropped, _writer: worker })
}

fn open(destination: &Destination) -> Result<(NonBlocking, WorkerGuard), TelemetryFault> {
    let queue = NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name("log-writer");
    match destination {
        Destination::Stderr => Ok(queue.finish(io::stderr())),
        Destination::File { path, keep } => {
            let file = DailyFile::open(path.clone(), *keep)
                .map_err(|source| TelemetryFault::File { path: path.clone(), source })?;
            Ok(queue.finish(file))
        }
    }
}

/// A format that no longer depends on where the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Text { colour: bool },
}

fn shape(telemetry: &Telemetry) -> Shape {
    let on_terminal = telemetry.destination == Destination::Stderr && io::stderr().is_terminal();
    // https://no-color.org: set and not empty means no colour.
    let colour = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    choose_shape(telemetry.format, on_terminal, colour)
}

fn choose_shape(format: Format, on_terminal: bool, colour: bool) -> Shape {
    match (format, on_terminal) {
        (Format::Json, _) | (Format::Auto, false) => Shape::Json,
        (Format::Text, _) | (Format::Auto, true) => Shape::Text { colour },
    }
}

fn targets(level: Level) -> Targets {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(OUR_CRATE, ours)
}

fn layer<S, W>(shape: Shape, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match shape {
        Shape::Json => layer.event_format(JsonLines).boxed(),
        Shape::Text { colour } => layer.event_format(TextLines { colour }).boxed(),
    }
}

#[cfg(test)]
mod tests;
