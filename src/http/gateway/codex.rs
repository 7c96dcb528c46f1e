//! What requests to a codex backend need beyond others: a second look at the login after a 401, the way that the account's
//! workspace prescribes, and the plan's quota as its answers tell it.

use std::rc::Rc;

use tracing::info;

use super::Upstream;
use super::listener::Worker;
use crate::http::upstream::credential::{Credential, CredentialFault};
use crate::http::upstream::{Incoming, UpstreamClient, route};
use crate::providers::codex::quota::PlanQuota;

/// After a 401: tells that `credential` was refused and asks for another one. Nothing: there is none to try with.
///
/// # Errors
/// The login is used up: better said than the upstream's 401.
pub async fn second_credential(
    worker: &Worker,
    upstream: &Upstream,
    credential: Credential,
) -> Result<Option<Credential>, CredentialFault> {
    let (backend, credentials) = (&upstream.backend, &worker.context.credentials);
    let origin = backend.origin();
    let refused = credential.expose().map(str::to_owned).map(zeroize::Zeroizing::new);
    credentials.rejected(&backend.id, &origin, credential).await;
    if backend.codex.is_none() {
        return Ok(None);
    }
    let next = credentials.get(&backend.id, &origin).await?;
    let is_another = next.expose() != refused.as_ref().map(|refused| refused.as_str());
    Ok(is_another.then_some(next))
}

/// The client for the origin that the credential's workspace prescribes; nothing: the configured one.
///
/// # Errors
/// As a sentence: there can be no client for it.
pub fn routed_client(
    worker: &Worker,
    upstream: &Upstream,
    credential: &Credential,
) -> Result<Option<Rc<UpstreamClient>>, String> {
    let backend = &upstream.backend;
    let Some(route) =
        credential.route().filter(|route| route.origin != backend.base_url.origin().ascii_serialization())
    else {
        return Ok(None);
    };
    if let Some(client) = worker.routed.borrow().get(&route.origin) {
        return Ok(Some(Rc::clone(client)));
    }
    let target = route::routed_target(backend, &route.origin, &worker.context.settings)?;
    let client = Rc::new(UpstreamClient::new(&target).map_err(|fault| fault.to_string())?);
    worker.routed.borrow_mut().insert(route.origin.clone(), Rc::clone(&client));
    Ok(Some(client))
}

/// Keeps what the head of an answer tells of the plan.
pub fn note_headers(upstream: &Upstream, incoming: &Incoming) {
    if upstream.backend.codex.is_some()
        && let Some(quota) = PlanQuota::of_headers(|name| incoming.header(name))
    {
        note(upstream, quota);
    }
}

/// Keeps what a `codex.rate_limits` event tells of it.
pub fn note_event(upstream: &Upstream, event: Option<String>) {
    if upstream.backend.codex.is_some()
        && let Some(quota) = event.and_then(|event| PlanQuota::of_event(&event))
    {
        note(upstream, quota);
    }
}

fn note(upstream: &Upstream, quota: PlanQuota) {
    let (plan, used) = (quota.plan.clone(), quota.to_string());
    if upstream.state.set_quota(quota) {
        info!(event = "quota.updated", backend = %upstream.backend.id, plan, quota = used, "the plan's use has changed");
    }
}
