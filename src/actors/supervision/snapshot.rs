//! What `status` shows of the gateways, and what the state folder keeps of them: a copy, made when asked.

use std::net::SocketAddr;

use serde::Serialize;

use super::gateway::{Gateway, Role, Stage};
use super::slot::SlotRecord;
use super::vocabulary::{EndCause, QuarantineReason, Retirement, StartCause};
use crate::ids::{Fingerprint, Generation, ModelId, Revision, Slot};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: Revision,
    /// One per living generation, by slot, oldest first.
    pub gateways: Vec<GatewayStatus>,
    /// Slots of which what is wanted does not run, whether or not a generation is left to say so.
    pub quarantined: Vec<(Slot, QuarantineReason)>,
    /// Events that made no sense: of generations that are not known, or twice the same.
    pub dropped_events: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    pub slot: Slot,
    pub model: Option<ModelId>,
    pub fingerprint: Fingerprint,
    pub state: GatewayState,
    pub generation: Generation,
    pub current: bool,
    /// Absent until it was ready for the first time.
    pub address: Option<SocketAddr>,
    pub leases: usize,
    /// At the last sample.
    pub requests_running: u64,
    /// Of this generation.
    pub restarts: u64,
    /// Of its slot.
    pub replaced: u64,
    pub cause: Cause,
}

/// The words of DESIGN.md §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    Starting,
    Serving,
    Draining,
    BackingOff,
    Quarantined,
}

/// What brought the gateway into its state: why it ended last, why it drains, else why it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Cause {
    Start(StartCause),
    End(EndCause),
    Retirement(Retirement),
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start(cause) => cause.as_str(),
            Self::End(cause) => cause.as_str(),
            Self::Retirement(cause) => cause.as_str(),
        }
    }
}

pub(super) fn of_slot(record: &SlotRecord) -> impl Iterator<Item = GatewayStatus> {
    record.gateways.iter().map(|(generation, gateway)| GatewayStatus {
        slot: record.slot.clone(),
        model: gateway.model.clone(),
        fingerprint: gateway.fingerprint,
        state: state(gateway),
        generation: *generation,
        current: gateway.role == Role::Current,
        address: gateway.address,
        leases: gateway.leases.len(),
        requests_running: gateway.running(),
        restarts: gateway.restarts,
        replaced: record.replaced,
        cause: cause(gateway),
    })
}

fn state(gateway: &Gateway) -> GatewayState {
    match gateway.stage {
        Stage::Starting => GatewayState::Starting,
        Stage::Serving { .. } if gateway.is_old() => GatewayState::Draining,
        Stage::Serving { .. } => GatewayState::Serving,
        Stage::BackingOff { .. } => GatewayState::BackingOff,
        Stage::Quarantined(_) => GatewayState::Quarantined,
        Stage::Ending { .. } => GatewayState::Draining,
    }
}

fn cause(gateway: &Gateway) -> Cause {
    match (&gateway.stage, gateway.role, gateway.last_end) {
        (Stage::Ending { why, .. }, _, _) => Cause::Retirement(*why),
        (Stage::Serving { .. }, Role::Old { why }, _) => Cause::Retirement(why),
        (_, _, Some(end)) => Cause::End(end),
        (_, _, None) => Cause::Start(gateway.cause),
    }
}
