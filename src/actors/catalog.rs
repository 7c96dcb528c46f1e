//! CatalogActor: owns the model lists. It asks each backend's `/models` at the start and after a change of config, and
//! keeps the last answer on disk for the next start.
//!
//! A list that cannot be had is no failure of the backend: it is logged, and the last known one stays.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use tracing::{info, warn};

use super::codex;
use super::messages::{Event, Events};
use crate::http::upstream::credential::CredentialSource;
use crate::http::upstream::{BackendState, Outgoing, UpstreamClient, route};
use crate::providers::codex::catalogue::built_in;
use crate::providers::openai::discovery;
use crate::providers::openai::models::ModelEntry;
use crate::settings::{Backend, BackendKind, UpstreamSettings};
use crate::state::{ModelsFile, StateFolder};

/// A model list is small and quick, or not worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Larger lists are no model lists.
const LIMIT: usize = 8 * 1024 * 1024;

pub struct CatalogActor {
    events: Events,
    credentials: CredentialSource,
    /// Absent where nothing is kept on disk (`claudette claude` without a service).
    folder: Option<Arc<StateFolder>>,
}

impl CatalogActor {
    pub fn new(events: Events, credentials: CredentialSource, folder: Option<Arc<StateFolder>>) -> Self {
        Self { events, credentials, folder }
    }

    /// What holds until the answer is there: the last answer, else what we know of the vendor's models ourselves. The
    /// first request may come before it.
    fn known_before(&self, backend: &Backend) -> Option<Vec<ModelEntry>> {
        let ours = || (backend.kind == BackendKind::CodexSubscription).then(built_in);
        self.cached(backend).or_else(ours)
    }

    fn cached(&self, backend: &Backend) -> Option<Vec<ModelEntry>> {
        let folder = self.folder.as_ref()?;
        folder.load::<ModelsFile<ModelEntry>>(&StateFolder::models(&backend.id)).ok().flatten().map(|file| file.models)
    }

    fn tell(&self, backend: &Backend, models: Option<Vec<ModelEntry>>) {
        let (backend, origin) = (backend.id.clone(), backend.origin());
        let _ = self.events.send(Event::ModelsAsked { backend, origin, models });
    }

    fn keep(&self, backend: &Backend, models: &[ModelEntry]) {
        let Some(folder) = &self.folder else { return };
        let fetched_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let file = ModelsFile { fetched_at, models: models.to_vec() };
        if let Err(fault) = folder.store(&StateFolder::models(&backend.id), &file) {
            warn!(event = "models.refresh_failed", backend = %backend.id, error = %fault, "the model list cannot be kept");
        }
    }
}

impl Actor for CatalogActor {
    type Context = Context<Self>;
}

/// Ask this backend for its models.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Refresh {
    pub backend: Arc<Backend>,
    pub upstream: UpstreamSettings,
    pub state: Arc<BackendState>,
}

impl Handler<Refresh> for CatalogActor {
    type Result = ();

    fn handle(&mut self, Refresh { backend, upstream, state }: Refresh, ctx: &mut Self::Context) {
        if state.models().is_empty()
            && let Some(models) = self.known_before(&backend)
        {
            state.replace_models(models);
        }
        let credentials = self.credentials.clone();
        let asked = Arc::clone(&backend);
        let known = Arc::clone(&state);
        let fetching = async move {
            codex::catalogue::learn_version(&asked, &known).await;
            discover(&asked, &upstream, &credentials, known.client_version()).await
        };
        ctx.spawn(fetching.into_actor(self).map(move |result, actor, _| match result {
            Ok(models) => {
                // Before anything is said: whoever reads the log may ask for them at once.
                state.replace_models(models.clone());
                info!(event = "models.refreshed", backend = %backend.id, models = models.len(), "the model list is fresh");
                actor.keep(&backend, &models);
                actor.tell(&backend, Some(models));
            }
            Err(reason) => {
                warn!(event = "models.refresh_failed", backend = %backend.id, error = reason, "no model list");
                actor.tell(&backend, None);
            }
        }));
    }
}

/// The models that `GET base_url/models` names and that can chat; a codex backend's are found by [`codex::catalogue`].
///
/// # Errors
/// A sentence for people: which URL, and what it answered.
pub async fn fetch(
    backend: &Backend,
    settings: &UpstreamSettings,
    credentials: &CredentialSource,
) -> Result<Vec<ModelEntry>, String> {
    let version = match &backend.codex {
        Some(codex) => codex::program::CodexProgram::of(codex).version().await,
        None => None,
    };
    discover(backend, settings, credentials, version.as_deref()).await
}

/// `version`: of the installed codex CLI, if there is one.
async fn discover(
    backend: &Backend,
    settings: &UpstreamSettings,
    credentials: &CredentialSource,
    version: Option<&str>,
) -> Result<Vec<ModelEntry>, String> {
    if backend.codex.is_some() {
        return codex::catalogue::fetch(backend, settings, credentials, version).await;
    }
    let credential = credentials.get(&backend.id, &backend.origin()).await.map_err(|fault| fault.to_string())?;
    let target = route::target(backend, settings).map_err(|fault| fault.to_string())?;
    let client = UpstreamClient::new(&target).map_err(|fault| fault.to_string())?;
    let url = format!("{}/models", backend.base_url.as_str().trim_end_matches('/'));
    let outgoing = Outgoing { headers: route::headers(backend, &credential), ..Outgoing::get("/models") };
    let incoming = client.send(&outgoing, TIMEOUT).await.map_err(|fault| format!("GET {url}: {fault}"))?;
    let status = incoming.status();
    let body = incoming.read_limited(LIMIT, TIMEOUT).await;
    if !(200..300).contains(&status) {
        return Err(format!("GET {url}: HTTP {status}"));
    }
    discovery::parse(&body, backend.profile.kind).map_err(|error| format!("GET {url}: {error}"))
}
