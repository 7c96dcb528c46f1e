//! `claudette status`: what the running service does, as a table or as one JSON object.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Exit, service};
use crate::http::control::status::Report;
use crate::state::StateFolder;
use crate::telemetry::Plain;

/// Between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);
/// To the upper left corner, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub fn run(json: bool, watch: bool) -> anyhow::Result<Exit> {
    let clears = watch && !json && std::io::stdout().is_terminal();
    loop {
        let report = match service::block_on(async { service::Service::find()?.status().await })? {
            Ok(report) => report,
            Err(trouble) => return Ok(trouble.tell()),
        };
        let text = match json {
            true => format!("{}\n", serde_json::to_string(&report)?),
            false => format!("{}{}", if clears { CLEAR } else { "" }, table(&report, transcripts().as_deref())),
        };
        let mut stdout = std::io::stdout();
        // Whoever reads may have seen enough.
        let heard = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if !watch || heard.is_err() {
            return Ok(Exit::Done);
        }
        std::thread::sleep(PAUSE);
    }
}

fn transcripts() -> Option<PathBuf> {
    Some(StateFolder::open(|name| std::env::var_os(name)).ok()?.path().join("sessions"))
}

fn table(report: &Report, transcripts: Option<&Path>) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "claudette  pid {}  up {}  config revision {}",
        report.pid,
        elapsed(report.uptime_s),
        report.revision
    );
    let backends = report.backends.iter().map(|backend| {
        let state = if backend.enabled { "enabled" } else { "disabled" };
        let model = backend.default_model.clone().unwrap_or_else(|| "-".to_owned());
        vec![backend.id.clone(), backend.kind.clone(), state.to_owned(), model, backend.models.to_string()]
    });
    rows(&mut text, &["BACKEND", "KIND", "STATE", "DEFAULT MODEL", "MODELS"], backends);
    let gateways = report.gateways.iter().map(|gateway| {
        vec![
            gateway.model.as_ref().map_or(gateway.backend.clone(), |model| format!("{}/{model}", gateway.backend)),
            gateway.generation.to_string(),
            if gateway.current { gateway.state.clone() } else { format!("{} (old)", gateway.state) },
            gateway.address.clone().unwrap_or_else(|| "-".to_owned()),
            gateway.leases.to_string(),
            format!("{}/{}", gateway.requests_running, gateway.requests_total),
            gateway.cause.clone().unwrap_or_default(),
        ]
    });
    rows(&mut text, &["GATEWAY", "GEN", "STATE", "ADDRESS", "LEASES", "RUNNING/TOTAL", "CAUSE"], gateways);
    let sessions = report.sessions.iter().map(|session| {
        let model =
            session.model.as_ref().map_or(session.backend.clone(), |model| format!("{}/{model}", session.backend));
        let last = session.last_turn.as_ref().map_or("-".to_owned(), |last| last.outcome.clone());
        vec![
            session.name.clone(),
            session.state.clone(),
            model,
            session.turns.to_string(),
            last,
            session.transcripts.clone(),
        ]
    });
    rows(&mut text, &["SESSION", "STATE", "BACKEND", "TURNS", "LAST TURN", "TRANSCRIPTS"], sessions);
    let plans = report.backends.iter().filter_map(|backend| Some(vec![backend.id.clone(), backend.quota.clone()?]));
    rows(&mut text, &["PLAN", "USED"], plans);
    let usage = report.usage.iter().map(|usage| {
        let errors: u64 = usage.errors.values().sum();
        vec![
            usage.backend.clone(),
            usage.requests.to_string(),
            usage.input_tokens.to_string(),
            usage.cached_input_tokens.to_string(),
            usage.output_tokens.to_string(),
            usage.reasoning_tokens.to_string(),
            errors.to_string(),
        ]
    });
    rows(&mut text, &["USAGE", "REQUESTS", "INPUT", "CACHED", "OUTPUT", "REASONING", "ERRORS"], usage);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let errors = report.last_errors.iter().map(|error| {
        let age = format!("{} ago", elapsed(now.saturating_sub(error.time)));
        vec![age, error.backend.clone(), error.status.to_string(), error.kind.clone(), error.message.clone()]
    });
    rows(&mut text, &["LAST ERRORS", "BACKEND", "STATUS", "TYPE", "MESSAGE"], errors);
    let _ = writeln!(text, "\nlog: {}", report.log);
    if let Some(folder) = transcripts {
        let _ = writeln!(text, "transcripts: {}", folder.join("NAME").display());
    }
    text
}

/// A table whose columns are as wide as their widest cell; nothing where there are no rows. Some cells are an upstream's
/// own words, and none of them steers the terminal.
fn rows(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| Plain(cell).to_string()).collect()).collect();
    if rows.is_empty() {
        return;
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    text.push('\n');
    let head = head.iter().map(|&title| title.to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
}

fn elapsed(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}
