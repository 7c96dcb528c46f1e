//! Reads a request's body: bounded in size and in silence (DESIGN.md §6).

use std::time::Duration;

use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::providers::translate::{ApiError, ErrorKind};

/// `claude` itself states this limit.
pub const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// A client that stops in the middle of its body is given up after this.
const IDLE: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DISCARD: Duration = Duration::from_secs(10);

/// The whole body.
///
/// # Errors
/// 413 beyond [`BODY_LIMIT`], 408 after 30 s without a byte, 400 when the connection breaks.
pub async fn read(mut payload: Payload, announced: Option<usize>) -> Result<Bytes, ApiError> {
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        actix_rt::spawn(discard(payload));
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(16 * 1024));
    loop {
        let chunk = match timeout(IDLE, payload.next()).await {
            Err(_) => return Err(silent()),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => {
                return Err(ApiError::invalid(format!("the request body could not be read: {error}")));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if body.len() + chunk.len() > BODY_LIMIT {
            actix_rt::spawn(discard(payload));
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

/// The answer need not wait for this. As the body is still held when the answer ends, the connection is closed, after a
/// while in which whatever comes is read.
async fn discard(mut payload: Payload) {
    let until = Instant::now() + DISCARD;
    while let Ok(Some(Ok(_))) = timeout_at(until, payload.next()).await {}
}

fn too_large() -> ApiError {
    // Must not say "context window": that would make `claude` compact a conversation that only holds a large file.
    ApiError::new(413, ErrorKind::RequestTooLarge, "request body exceeds the limit of 32 MiB").final_answer()
}

fn silent() -> ApiError {
    ApiError::new(408, ErrorKind::InvalidRequest, "no byte of the request body came for 30 s")
}
