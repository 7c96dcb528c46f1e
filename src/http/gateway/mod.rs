//! A gateway: the loopback listener that serves one slot.
//!
//! Everything of one generation runs on one thread: [`listener`] accepts, [`handlers`] routes, [`messages`] answers
//! `POST /v1/messages`: [`asking`] chooses the upstream, [`attempt`] gets its answer to the commit point, [`judge`] says
//! what its failures mean, [`stream`] passes the answer on. [`refusals`] and [`rejections`] remember what failed. A handler shares two things with the rest of the service:
//! its immutable [`GatewayContext`] and its backends' `BackendState`. It knows no actor and decides nothing about the
//! gateway's own life.

pub mod listener;

mod connection;

mod handlers;

mod messages;

mod asking;
mod attempt;
mod codex;
mod judge;
mod stream;

mod refusals;
mod rejections;

mod memory;

mod counting;

mod body;
mod errors;
mod record;

#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::access::LocalToken;
use crate::http::tokens::Tokenizer;
use crate::http::upstream::BackendState;
use crate::http::upstream::credential::CredentialSource;
use crate::ids::{Generation, ModelId, Slot};
use crate::providers::openai::discovery;
use crate::providers::openai::models::{self, ModelEntry, ModelFacts};
use crate::settings::{Backend, UpstreamSettings};

/// What one generation's handlers read. Fixed for the generation's life, but for the two switches at the end.
pub struct GatewayContext {
    pub slot: Slot,
    pub generation: Generation,
    pub token: LocalToken,
    /// The slot's backend first, then those that its `fallback` reaches, in the order of asking.
    pub upstreams: Vec<Upstream>,
    pub settings: UpstreamSettings,
    pub credentials: CredentialSource,
    pub tokenizer: Tokenizer,
    /// Equal upstream rejections in a row until `gateway.rejecting` is logged.
    pub rejection_threshold: u32,
    pub activity: Arc<Activity>,
    pub admission: Arc<ArcSwap<Admission>>,
    /// Cancelled when the drain deadline has passed: every stream ends with an error event.
    pub cut: CancellationToken,
}

/// One backend as one generation sees it: its settings, the models that it resolved, and what all its generations share.
#[derive(Clone)]
pub struct Upstream {
    pub backend: Arc<Backend>,
    /// The slot's model; absent where none is configured and none was discovered.
    pub model: Option<ModelId>,
    pub small_model: Option<ModelId>,
    pub state: Arc<BackendState>,
}

impl Upstream {
    pub fn facts(&self, model: &ModelId) -> ModelFacts {
        let is_meant = |id: &ModelId| id == model;
        let known = self.state.models().iter().filter(|entry| is_meant(&entry.id)).cloned().collect();
        let manual: Vec<_> = self.backend.models.iter().filter(|entry| is_meant(&entry.id)).cloned().collect();
        let entry = discovery::merge(known, &manual, self.backend.profile.kind);
        let mut facts = ModelFacts::of(model, &self.backend.profile, entry.first());
        facts.context_window = self.backend.context_window.or(facts.context_window);
        facts
    }

    /// The discovered models with the config's own.
    pub fn listed_models(&self) -> Vec<ModelEntry> {
        let known = self.state.models().as_ref().clone();
        discovery::merge(known, &self.backend.models, self.backend.profile.kind)
    }

    /// `account`: of a codex login.
    pub fn scope(&self, account: Option<&str>) -> String {
        models::scope(self.backend.profile.kind, &self.backend.origin(), account)
    }
}

/// Seconds since the epoch.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Whether new requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Open,
    /// New requests get 503 with the reason; `retry` tells the client whether trying again can help.
    Refusing {
        reason: String,
        retry: bool,
    },
}

/// What a generation is doing: counted by its handlers, sampled by its GatewayActor.
pub struct Activity {
    running: watch::Sender<u64>,
    total: AtomicU64,
    /// Milliseconds from `born` to the last start or end of a request.
    last_use: AtomicU64,
    born: Instant,
}

impl Activity {
    pub fn new(born: Instant) -> Self {
        Self { running: watch::Sender::new(0), total: AtomicU64::new(0), last_use: AtomicU64::new(0), born }
    }

    /// Counts a request as running until the guard is dropped, however it ends.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.running.send_modify(|running| *running += 1);
        self.touch();
        Running { activity: Arc::clone(self) }
    }

    pub fn running(&self) -> u64 {
        *self.running.borrow()
    }

    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub fn last_use(&self) -> Instant {
        self.born + std::time::Duration::from_millis(self.last_use.load(Ordering::Relaxed))
    }

    /// Resolves when no request runs.
    pub async fn idle(&self) {
        // The sender lives as long as `self`, so waiting can only end by the condition.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Resolves when a request runs.
    async fn busy(&self) {
        let _ = self.running.subscribe().wait_for(|running| *running > 0).await;
    }

    fn touch(&self) {
        let since = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_use.store(since, Ordering::Relaxed);
    }
}

/// One running request.
pub struct Running {
    activity: Arc<Activity>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.touch();
        self.activity.running.send_modify(|running| *running -= 1);
    }
}
