//! What the Supervisor publishes about itself, and the `[supervisor]` keys as the core's policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::gateways::Gateways;
use super::messages::Child;
use super::sessions::Sessions;
use super::supervision::budget::Limits;
use super::supervision::snapshot::{GatewayState, GatewayStatus};
use super::supervision::{Policy, Supervision};
use super::wanted::States;
use crate::http::control::status::{BackendView, GatewayView, StatusView};
use crate::ids::Revision;
use crate::settings::{Backend, Settings, SupervisorSettings};

pub fn policy(settings: &SupervisorSettings) -> Policy {
    Policy {
        restarts: Limits {
            intensity: usize::try_from(settings.restart_intensity).unwrap_or(usize::MAX),
            period: settings.restart_period,
            backoff_initial: settings.backoff_initial,
            backoff_max: settings.backoff_max,
        },
        retire_after: settings.retire_after,
        drain_deadline: settings.drain_deadline,
    }
}

/// Before the first revision there is nothing that it could apply to.
pub fn default_policy() -> Policy {
    let second = Duration::from_secs(1);
    let restarts = Limits { intensity: 0, period: second, backoff_initial: second, backoff_max: second };
    Policy { restarts, retire_after: second, drain_deadline: second }
}

pub fn view(
    running: Option<(&Settings, Revision)>,
    core: &Supervision,
    gateways: &Gateways,
    states: &States,
    sessions: &Sessions,
    started: Instant,
    log: &str,
) -> StatusView {
    let backends = running.map(|(settings, _)| settings.backends.as_slice()).unwrap_or_default();
    StatusView {
        revision: running.map_or(0, |(_, revision)| revision.0),
        started,
        backends: backends.iter().map(|backend| backend_view(backend, states)).collect(),
        gateways: core.snapshot().gateways.into_iter().map(|gateway| gateway_view(gateway, gateways)).collect(),
        sessions: sessions.reports(),
        log: log.to_owned(),
    }
}

/// `service.status`, for SIGUSR1.
pub fn log(view: &Arc<StatusView>) {
    let report = view.report();
    let status = serde_json::to_string(&report).unwrap_or_default();
    info!(event = "service.status", revision = report.revision, uptime_s = report.uptime_s, status, "status");
}

fn backend_view(backend: &Backend, states: &States) -> BackendView {
    BackendView {
        id: backend.id.to_string(),
        kind: backend.kind.as_str(),
        enabled: backend.enabled,
        default_model: backend.default_model.as_ref().map(ToString::to_string),
        state: states.known(backend),
    }
}

fn gateway_view(gateway: GatewayStatus, gateways: &Gateways) -> GatewayView {
    let child = Child { slot: gateway.slot, generation: gateway.generation };
    let activity = gateways.activity(&child).map(Arc::clone);
    GatewayView {
        backend: child.slot.backend.to_string(),
        model: gateway.model.map(|model| model.to_string()),
        state: match gateway.state {
            GatewayState::Starting => "starting",
            GatewayState::Serving => "serving",
            GatewayState::Draining => "draining",
            GatewayState::BackingOff => "backing_off",
            GatewayState::Quarantined => "quarantined",
        },
        generation: gateway.generation.0,
        current: gateway.current,
        address: gateway.address,
        leases: gateway.leases,
        restarts: gateway.restarts,
        replaced: gateway.replaced,
        cause: Some(gateway.cause.as_str().to_owned()),
        activity,
    }
}
