//! What other crates say through the `log` facade, passed on as `library.logged`. Only warnings and errors: the levels
//! below hold headers and bodies.

use log::{LevelFilter, Log, Metadata, Record};

/// Listens from now on. Somebody else's logger, were there one, stays.
pub(super) fn listen() {
    if log::set_logger(&LibraryLog).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

pub(super) struct LibraryLog;

impl Log for LibraryLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        match record.level() {
            log::Level::Error => {
                tracing::error!(event = "library.logged", target = record.target(), "{}", record.args());
            }
            log::Level::Warn => {
                tracing::warn!(event = "library.logged", target = record.target(), "{}", record.args());
            }
            log::Level::Info | log::Level::Debug | log::Level::Trace => {}
        }
    }

    fn flush(&self) {}
}
