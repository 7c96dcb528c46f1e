//! A session's log lines (DESIGN.md §8). Never a prompt, never an answer: those are in the transcript.

use std::time::Duration;

use tracing::{error, info, warn};

use super::RunningTurn;
use crate::actors::claude::Ended;
use crate::actors::claude::hearing::Summary;
use crate::actors::supervision::session::{Failure, Note};
use crate::ids::SessionName;
use crate::providers::translate::errors::mask::mask;

/// Of stderr, in one log line: its end tells why.
const STDERR_LOGGED_CHARACTERS: usize = 2_000;

pub fn decided(session: &SessionName, note: &Note) {
    match note {
        Note::RestartScheduled { cause, attempt, delay } => warn!(
            event = "session.restart_scheduled",
            session = %session,
            cause = cause.as_str(),
            attempt,
            delay_ms = milliseconds(*delay),
            "the turn will be tried again"
        ),
        Note::RestartLoop { causes } => {
            let chain: Vec<_> = causes.iter().map(|cause| cause.as_str()).collect();
            error!(
                event = "session.restart_loop",
                session = %session,
                chain = chain.join(" -> "),
                hint = causes.last().map_or("", |cause| cause.hint()),
                "a session's turn fails in a loop"
            );
        }
        Note::Quarantined { reason } => error!(
            event = "session.quarantined",
            session = %session,
            reason = %reason,
            "session is quarantined until its prompt or settings change or the service gets SIGHUP"
        ),
        Note::Released { cause } => {
            info!(event = "session.released", session = %session, cause = cause.as_str(), "quarantine is over");
        }
    }
}

pub fn started(session: &SessionName, turn: &RunningTurn, backend: &str, model: Option<&str>, is_resumed: bool) {
    info!(
        event = "session.turn_started",
        session = %session,
        turn = turn.number,
        backend,
        model,
        cause = if turn.job.is_asked { "asked" } else { "prompt" },
        attempt = turn.attempt,
        conversation = turn.conversation.as_ref().map(|conversation| conversation.id.as_str()),
        resumed = is_resumed,
        "a turn has started"
    );
}

pub fn tool_used(session: &SessionName, turn: u64, tool: &str, id: &str, by_subagent: bool) {
    info!(event = "session.tool_used", session = %session, turn, tool, tool_use_id = id, by_subagent, "{tool}");
}

pub fn finished(session: &SessionName, turn: &RunningTurn, summary: &Summary, tools: u64, code: u8, secret: &str) {
    // A good result is the model's answer, and no matter of the log; an error is claude's own sentence.
    let error = summary.is_error.then(|| mask(&summary.text, &[secret]).into_owned());
    let usage = summary.usage;
    info!(
        event = "session.turn_finished",
        session = %session,
        turn = turn.number,
        outcome = summary.subtype,
        is_error = summary.is_error,
        error,
        exit_code = code,
        duration_ms = milliseconds(turn.since.elapsed()),
        num_turns = summary.num_turns,
        tools,
        input_tokens = usage.input_tokens + usage.cache_creation_input_tokens,
        cached_input_tokens = usage.cache_read_input_tokens,
        output_tokens = usage.output_tokens,
        cost_usd = summary.cost_usd,
        api_error_status = summary.api_error_status,
        "a turn has finished"
    );
}

/// An end without a result.
pub fn exited(session: &SessionName, turn: &RunningTurn, failure: Failure, end: &Ended, stderr: &str, secret: &str) {
    let (exit_code, detail) = match end {
        Ended::Exited(code) => (Some(*code), format!("claude exited with {code}")),
        Ended::Killed(signal) => (None, format!("its guard was killed by signal {signal}")),
        Ended::NotStarted(error) => (None, error.to_string()),
    };
    let stderr = mask(stderr, &[secret]).into_owned();
    let skipped = stderr.chars().count().saturating_sub(STDERR_LOGGED_CHARACTERS);
    let stderr: String = stderr.chars().skip(skipped).collect();
    error!(
        event = "session.exited",
        session = %session,
        turn = turn.number,
        cause = failure.as_str(),
        exit_code,
        detail,
        stderr,
        duration_ms = milliseconds(turn.since.elapsed()),
        "a turn ended without a result: {detail}"
    );
}

pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
