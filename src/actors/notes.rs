//! The core's notes as log events: one line each, the event's name from the note itself (DESIGN.md §8).

use tracing::{error, info, warn};

use super::supervision::Note;

/// `detail`: what is known beyond the cause of an unplanned end, in words.
pub fn log(note: &Note, detail: Option<&str>) {
    match note {
        Note::Ready { slot, generation, address, cause, restarts } => info!(
            event = "gateway.ready",
            backend = %slot.backend,
            model = slot.model.as_ref().map(tracing::field::display),
            generation = generation.0,
            addr = %address,
            cause = cause.as_str(),
            restarts,
            "gateway is ready"
        ),
        Note::Replaced { slot, generation, previous, cause } => info!(
            event = "gateway.replaced",
            backend = %slot.backend,
            model = slot.model.as_ref().map(tracing::field::display),
            generation = generation.0,
            previous = previous.0,
            cause = cause.as_str(),
            "a new generation is current; the previous one drains"
        ),
        Note::Drained { slot, generation, cause } => info!(
            event = "gateway.drained",
            backend = %slot.backend,
            generation = generation.0,
            cause = cause.as_str(),
            "gateway has stopped"
        ),
        Note::Exited { slot, generation, cause } => error!(
            event = "gateway.exited",
            backend = %slot.backend,
            generation = generation.0,
            cause = cause.as_str(),
            detail,
            "a gateway ended unplanned"
        ),
        Note::RestartScheduled { slot, generation, cause, delay } => warn!(
            event = "gateway.restart_scheduled",
            backend = %slot.backend,
            generation = generation.0,
            cause = cause.as_str(),
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "gateway will be restarted on the same port"
        ),
        Note::RestartLoop { slot, generation, chain } => error!(
            event = "gateway.restart_loop",
            backend = %slot.backend,
            generation = generation.0,
            chain = %chain,
            hint = chain.hint(),
            "a gateway restarts in a loop"
        ),
        Note::Quarantined { slot, generation, reason } => error!(
            event = "gateway.quarantined",
            backend = %slot.backend,
            generation = generation.0,
            reason = %reason,
            "gateway is quarantined until its settings change or the service gets SIGHUP"
        ),
        Note::Released { slot, cause } => {
            info!(event = "gateway.released", backend = %slot.backend, cause = cause.as_str(), "quarantine is over");
        }
    }
}
