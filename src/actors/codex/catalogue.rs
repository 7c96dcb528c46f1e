//! Finds a codex backend's model list, in the order of CODEX.md §2: the backend itself with the person's login, then
//! the `codex` CLI, then the list that it fetched last, then the one that it brings along, then ours.

use tracing::warn;

use super::backend::{self, Answer};
use super::folder::LoginFolder;
use super::program::CodexProgram;
use crate::http::upstream::BackendState;
use crate::http::upstream::credential::CredentialSource;
use crate::providers::codex::catalogue::{CatalogueFault, built_in, parse};
use crate::providers::codex::headers::KNOWN_CLIENT_VERSION;
use crate::providers::openai::models::ModelEntry;
use crate::settings::{Backend, CodexSettings, UpstreamSettings};

/// Why the backend itself gave no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveFault {
    /// It answered with a list, and there is nothing in it: no other source would be truer.
    Empty(String),
    NoList(String),
}

/// Tells the backend's state which CLI is installed, if that is not known yet.
pub async fn learn_version(backend: &Backend, state: &BackendState) {
    let Some(codex) = backend.codex.as_ref().filter(|_| state.client_version().is_none()) else { return };
    if let Some(version) = CodexProgram::of(codex).version().await {
        state.learn_client_version(version);
    }
}

/// The models, from the first source that has any. `version`: of the installed CLI; absent: there is none.
///
/// # Errors
/// The backend's own list is empty: a sentence that says what that means.
pub async fn fetch(
    backend: &Backend,
    upstream: &UpstreamSettings,
    credentials: &CredentialSource,
    version: Option<&str>,
) -> Result<Vec<ModelEntry>, String> {
    match live(backend, upstream, credentials, version).await {
        Ok(models) => return Ok(models),
        Err(LiveFault::Empty(reason)) => return Err(reason),
        Err(LiveFault::NoList(reason)) => {
            warn!(
                event = "models.refresh_failed",
                backend = %backend.id,
                error = reason,
                "the backend gives no model list: the codex CLI's is used"
            );
        }
    }
    match &backend.codex {
        Some(codex) => Ok(of_cli(codex, version.is_some()).await),
        None => Ok(built_in()),
    }
}

/// `GET {base_url}/codex/models`.
///
/// # Errors
/// A sentence for people: which URL, and what it answered.
pub async fn live(
    backend: &Backend,
    upstream: &UpstreamSettings,
    credentials: &CredentialSource,
    version: Option<&str>,
) -> Result<Vec<ModelEntry>, LiveFault> {
    let no_list = |reason: String| LiveFault::NoList(reason);
    let credential =
        credentials.get(&backend.id, &backend.origin()).await.map_err(|fault| no_list(fault.to_string()))?;
    let path = format!("/codex/models?client_version={}", version.unwrap_or(KNOWN_CLIENT_VERSION));
    let url = format!("GET {}{path}", backend.base_url.as_str().trim_end_matches('/'));
    let answer = backend::get(backend, upstream, &credential, &path, version).await;
    let Answer { status, body } = answer.map_err(|fault| no_list(format!("{url}: {fault}")))?;
    if status != 200 {
        return Err(no_list(format!("{url}: HTTP {status}")));
    }
    parse(&body).map_err(|fault| match fault {
        CatalogueFault::Empty => LiveFault::Empty(format!("{url}: {fault}")),
        CatalogueFault::NoList => no_list(format!("{url}: {fault}")),
    })
}

/// The list as the CLI has it. Asking it may refresh the login, so our other processes wait meanwhile.
async fn of_cli(codex: &CodexSettings, is_installed: bool) -> Vec<ModelEntry> {
    let (program, folder) = (CodexProgram::of(codex), LoginFolder::new(&codex.home));
    if is_installed {
        let _lock = folder.lock().await;
        if let Some(models) = program.models(false).await.ok().and_then(|printed| parse(&printed).ok()) {
            return models;
        }
    }
    if let Some(models) = folder.cached_models().await.and_then(|cached| parse(&cached).ok()) {
        return models;
    }
    let bundled = if is_installed { program.models(true).await.ok() } else { None };
    bundled.and_then(|printed| parse(&printed).ok()).unwrap_or_else(built_in)
}
