//! The one place that renders an error before the head is sent: status, headers and Anthropic envelope (WIRE.md §3.1).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::providers::translate::{ApiError, ErrorKind};

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Body<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    message: &'a str,
}

pub fn response(error: &ApiError, request_id: &str) -> HttpResponse {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(retry) = error.should_retry {
        response.insert_header((SHOULD_RETRY, if retry { "true" } else { "false" }));
    }
    if let Some(seconds) = error.retry_after {
        response.insert_header((RETRY_AFTER, seconds));
        response.insert_header((RETRY_AFTER_MS, seconds.saturating_mul(1000)));
    }
    let envelope =
        Envelope { r#type: "error", error: Body { r#type: error.kind.as_str(), message: &error.message }, request_id };
    named(response.json(envelope), request_id)
}

/// What a request is told that still runs when the gateway stops.
pub fn cut() -> ApiError {
    ApiError::new(529, ErrorKind::Overloaded, "the gateway is stopping: ask again")
}

/// The response with its id in the header that `claude` logs.
pub fn named(mut response: HttpResponse, request_id: &str) -> HttpResponse {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
