//! `POST /v1/messages/count_tokens` (WIRE.md §4): OpenAI counts by itself, for every other upstream we do.

use std::time::Duration;

use actix_web::web::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::Upstream;
use super::listener::Worker;
use crate::http::upstream::{HeaderName, HeaderValue, Outgoing, UpstreamClient, route};
use crate::ids::ModelId;
use crate::providers::anthropic::models::{Resolved, no_model_error, resolve};
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::count::Encoding;
use crate::providers::translate::request::{RequestContext, translate_for_count};
use crate::providers::translate::{ApiError, ErrorKind};

/// For the whole question, a credential included: `claude` waits for the count.
const UPSTREAM_TIME: Duration = Duration::from_millis(1500);
/// Bytes; the answer is two members.
const ANSWER_LIMIT: usize = 4 * 1024;

/// The tokens that the request's input is.
///
/// # Errors
/// The request cannot be read or translated, or names no model.
pub async fn tokens(worker: &Worker, body: &[u8]) -> Result<u64, ApiError> {
    let Some(upstream) = worker.context.upstreams.first() else {
        return Err(ApiError::new(500, ErrorKind::Api, "this gateway has no backend").final_answer());
    };
    let (body, model) = translated(upstream, body)?;
    if upstream.backend.profile.kind == ProfileKind::OpenAi
        && let Some(Ok(client)) = worker.clients.first()
        && let Ok(Some(tokens)) = timeout(UPSTREAM_TIME, upstreams_count(worker, upstream, client, &body)).await
    {
        return Ok(tokens);
    }
    Ok(worker.context.tokenizer.count(&body, Encoding::of(model.as_str())).await)
}

fn translated(upstream: &Upstream, body: &[u8]) -> Result<(Bytes, ModelId), ApiError> {
    let request = MessagesRequest::parse_for_count(body)?;
    let known = upstream.state.models();
    let model = match resolve(&request.model(), upstream.model.as_ref(), upstream.small_model.as_ref(), &known) {
        Resolved::Model(model) => model,
        Resolved::NoModel => return Err(no_model_error(&upstream.backend.id)),
    };
    let (facts, omit, scope) = (upstream.facts(&model), upstream.state.omissions(&model), upstream.scope(None));
    let context = RequestContext {
        profile: &upstream.backend.profile,
        scope: &scope,
        model: &facts,
        session_id: None,
        agent_id: None,
        omit: &omit,
    };
    Ok((translate_for_count(&request, &context)?.into(), model))
}

#[derive(Deserialize)]
struct Counted {
    input_tokens: u64,
}

/// Nothing, whatever goes wrong: a count is never worth an error.
async fn upstreams_count(worker: &Worker, upstream: &Upstream, client: &UpstreamClient, body: &Bytes) -> Option<u64> {
    let backend = &upstream.backend;
    let credential = worker.context.credentials.get(&backend.id, &backend.origin()).await.ok()?;
    let mut outgoing = Outgoing::post("/responses/input_tokens", body.clone())
        .with_header(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
    outgoing.headers.extend(route::headers(backend, &credential));
    let incoming = client.send(&outgoing, UPSTREAM_TIME).await.ok()?;
    if incoming.status() != 200 {
        return None;
    }
    let answer = incoming.read_limited(ANSWER_LIMIT, UPSTREAM_TIME).await;
    serde_json::from_slice::<Counted>(&answer).ok().map(|counted| counted.input_tokens)
}
