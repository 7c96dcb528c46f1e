//! From `[log]` to telemetry.

use std::path::PathBuf;

use crate::settings::{LogFormat, LogLevel, LogSettings};
use crate::telemetry::{Destination, Format, Level, Telemetry};

/// `serve`: where the config says, else stderr.
pub fn of_service(settings: &LogSettings) -> Telemetry {
    let keep = settings.keep;
    let destination = settings.file.clone().map_or(Destination::Stderr, |path| Destination::File { path, keep });
    telemetry(settings, destination)
}

/// Commands that share their terminal with `claude`: always a file.
pub fn to_file(settings: &LogSettings, path: PathBuf) -> Telemetry {
    telemetry(settings, Destination::File { path, keep: settings.keep })
}

fn telemetry(settings: &LogSettings, destination: Destination) -> Telemetry {
    let format = match settings.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    Telemetry { format, level: level(settings.level), destination }
}

pub fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    }
}
