//! What is asked of the Codex backend beside responses: small questions, each with the person's credential.

use std::time::Duration;

use crate::http::upstream::credential::Credential;
use crate::http::upstream::{Outgoing, UpstreamClient, route};
use crate::providers::codex::quota::PlanQuota;
use crate::settings::{Backend, UpstreamSettings};

/// Small and quick, or not worth waiting for: for the head of an answer, and for its body.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes: a catalogue with its prompts is some hundred kilobytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// An answer of any status.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// `GET {base_url}{path}`. `version`: of the installed CLI.
///
/// # Errors
/// There is no answer: a sentence without the URL.
pub async fn get(
    backend: &Backend,
    upstream: &UpstreamSettings,
    credential: &Credential,
    path: &str,
    version: Option<&str>,
) -> Result<Answer, String> {
    let target = route::target(backend, upstream).map_err(|fault| fault.to_string())?;
    let client = UpstreamClient::new(&target).map_err(|fault| fault.to_string())?;
    let mut outgoing = Outgoing::get(path);
    outgoing.headers = route::headers(backend, credential);
    let manner = route::Manner { client_version: version, ..route::Manner::default() };
    outgoing.headers.extend(route::codex_headers(backend, credential, &manner));
    let incoming = client.send(&outgoing, LIMIT).await.map_err(|fault| fault.to_string())?;
    let status = incoming.status();
    Ok(Answer { status, body: incoming.read_limited(MOST_BYTES, LIMIT).await })
}

/// How much of the plan is used (`GET /wham/usage`).
///
/// # Errors
/// As a sentence: it did not tell.
pub async fn usage(
    backend: &Backend,
    upstream: &UpstreamSettings,
    credential: &Credential,
) -> Result<PlanQuota, String> {
    let answer = get(backend, upstream, credential, "/wham/usage", None).await?;
    if answer.status != 200 {
        return Err(format!("HTTP {}", answer.status));
    }
    PlanQuota::of_usage(&answer.body).ok_or_else(|| "the answer tells of no window".to_owned())
}
