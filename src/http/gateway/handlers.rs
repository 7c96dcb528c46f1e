//! The gateway's routes (DESIGN.md §6): who may enter, and which answer each path gives.
//!
//! A panic in here ends the one request with a 500; the gateway goes on.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::http::Method;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt;

use super::listener::Worker;
use super::messages::{self, Asked};
use super::record::Record;
use super::{Admission, body, counting, errors};
use crate::http::access::{self, Refusal};
use crate::providers::anthropic::models::{self as model_list, ListShape};
use crate::providers::translate::{ApiError, ErrorKind};

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/", web::head().to(alive))
        .route("/", web::get().to(alive))
        .route("/health", web::head().to(alive))
        .route("/health", web::get().to(alive))
        .route("/api/hello", web::head().to(alive))
        .route("/v1/models", web::get().to(models))
        .route("/v1/models/{id:.*}", web::get().to(model))
        .route("/v1/messages", web::post().to(post_messages))
        .route("/v1/messages/count_tokens", web::post().to(count_tokens));
    #[cfg(test)]
    config.route("/panic", web::get().to(panics));
}

/// For the tests of what a panic ends.
#[cfg(test)]
async fn panics(request: HttpRequest) -> HttpResponse {
    guarded(request, |_, _| async { panic!("a handler panics") }).await
}

/// `claude` probes these without a token.
async fn alive(request: HttpRequest) -> HttpResponse {
    match access::check_origin(request.headers()) {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(refusal) => errors::response(&refused(&refusal), &request_id()),
    }
}

pub async fn not_found(request: HttpRequest) -> HttpResponse {
    guarded(request, |request, _| async move {
        let path = request.path();
        Err(ApiError::new(404, ErrorKind::NotFound, format!("{} {path} is not served here", request.method())))
    })
    .await
}

async fn models(request: HttpRequest) -> HttpResponse {
    guarded(request, |request, _| async move {
        let worker = worker(&request)?;
        let list = model_list::list(&listed_models(&worker), &worker.context.slot.backend, shape(&request));
        Ok(HttpResponse::Ok().content_type("application/json").body(list))
    })
    .await
}

async fn model(request: HttpRequest) -> HttpResponse {
    guarded(request, |request, _| async move {
        let worker = worker(&request)?;
        let id = request.match_info().query("id").replace("%2F", "/").replace("%2f", "/");
        let known = listed_models(&worker);
        let model = model_list::one(&id, &known, &worker.context.slot.backend, shape(&request))
            .ok_or_else(|| model_list::unknown_model_error(&id, &known))?;
        Ok(HttpResponse::Ok().content_type("application/json").body(model))
    })
    .await
}

async fn post_messages(request: HttpRequest, payload: Payload) -> HttpResponse {
    guarded(request, |request, id| async move {
        let worker = worker(&request)?;
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let (session_id, agent_id) = (header("x-claude-code-session-id"), header("x-claude-code-agent-id"));
        let record = Record::begin(worker.context.clone(), session_id.as_deref(), agent_id.as_deref());
        if let Some(refusal) = closed(&worker) {
            return Ok(messages::refuse(&refusal, &id, &record));
        }
        let body = match body::read(payload, announced(&request)).await {
            Ok(body) => body,
            Err(error) => return Ok(messages::refuse(&error, &id, &record)),
        };
        let asked = Asked { body, session_id, agent_id, request_id: id.clone() };
        let answer = AssertUnwindSafe(messages::answer(worker, asked, record.clone())).catch_unwind().await;
        Ok(answer.unwrap_or_else(|_| messages::refuse(&our_fault(), &id, &record)))
    })
    .await
}

async fn count_tokens(request: HttpRequest, payload: Payload) -> HttpResponse {
    guarded(request, |request, _| async move {
        let worker = worker(&request)?;
        if let Some(refusal) = closed(&worker) {
            return Err(refusal);
        }
        let body = body::read(payload, announced(&request)).await?;
        let tokens = counting::tokens(&worker, &body).await?;
        Ok(HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"input_tokens":{tokens}}}"#)))
    })
    .await
}

/// Checks who asks before anything is read, turns errors and panics into answers, and gives each answer its id.
async fn guarded<F, A>(request: HttpRequest, handle: F) -> HttpResponse
where
    F: FnOnce(HttpRequest, String) -> A,
    A: Future<Output = Result<HttpResponse, ApiError>>,
{
    let allowed = access::check_origin(request.headers()).and_then(|()| match worker(&request) {
        Ok(worker) => access::check_token(request.headers(), &worker.context.token),
        Err(_) => Ok(()),
    });
    let id = request_id();
    if let Err(refusal) = allowed {
        let error = refused(&refusal);
        if let (&Method::POST, "/v1/messages", Ok(worker)) = (request.method(), request.path(), worker(&request)) {
            Record::turned_away(worker.context.clone(), &error);
        }
        return errors::response(&error, &id);
    }
    match AssertUnwindSafe(handle(request, id.clone())).catch_unwind().await {
        Ok(Ok(response)) => errors::named(response, &id),
        Ok(Err(error)) => errors::response(&error, &id),
        Err(_) => errors::response(&our_fault(), &id),
    }
}

fn worker(request: &HttpRequest) -> Result<Rc<Worker>, ApiError> {
    request.app_data::<Rc<Worker>>().cloned().ok_or_else(our_fault)
}

fn listed_models(worker: &Worker) -> Vec<crate::providers::openai::models::ModelEntry> {
    worker.context.upstreams.first().map(|upstream| upstream.listed_models()).unwrap_or_default()
}

/// OpenAI clients send no `anthropic-version` (WIRE.md §4).
fn shape(request: &HttpRequest) -> ListShape {
    let user_agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    // `claude`'s discovery sends no version header, so its name counts as one.
    if request.headers().contains_key("anthropic-version") || user_agent.starts_with("claude") {
        ListShape::Anthropic
    } else {
        ListShape::OpenAi
    }
}

fn closed(worker: &Worker) -> Option<ApiError> {
    match &**worker.context.admission.load() {
        Admission::Open => None,
        Admission::Refusing { reason, retry } => {
            let error = ApiError::new(503, ErrorKind::Api, reason.clone());
            Some(ApiError { should_retry: Some(*retry), ..error })
        }
    }
}

fn announced(request: &HttpRequest) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::TokenMissing | Refusal::TokenWrong => {
            ApiError::new(401, ErrorKind::Authentication, refusal.to_string()).final_answer()
        }
        Refusal::ForeignHost | Refusal::WebPage => {
            ApiError::new(403, ErrorKind::Permission, refusal.to_string()).final_answer()
        }
    }
}

fn our_fault() -> ApiError {
    ApiError::new(500, ErrorKind::Api, "the gateway failed on this request: see its log").final_answer()
}

/// `req_` and 24 hex digits. Unique is enough; a machine without randomness gets a counter's worth of zeros.
fn request_id() -> String {
    let mut bytes = [0_u8; 12];
    let _ = getrandom::fill(&mut bytes);
    let mut id = String::with_capacity(28);
    id.push_str("req_");
    for byte in bytes {
        use std::fmt::Write;
        let _ = write!(id, "{byte:02x}");
    }
    id
}
