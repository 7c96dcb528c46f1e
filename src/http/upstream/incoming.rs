//! An answer whose head has come and whose body streams.
//!
//! It owns the connection: dropping it closes that (HTTP/1.1) or resets its stream (HTTP/2) at once, which is how a
//! request is cancelled. Read to its end, the connection goes back to the pool. It has no idle timeout of its own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use awc::ClientResponse;
use awc::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use awc::http::{Method, Version};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::client::Taken;
use super::fault::BodyFault;

pub struct Incoming {
    response: ClientResponse,
    /// Bytes that `content-length` promises.
    announced: Option<u64>,
    /// Bytes of body so far.
    received: u64,
    ended: bool,
    /// Behind `response`, which is dropped first: the client is free again when its answer is gone.
    _taken: Taken,
}

impl Incoming {
    pub(super) fn new(response: ClientResponse, method: &Method, taken: Taken) -> Self {
        let has_body = *method != Method::HEAD && !matches!(response.status().as_u16(), 204 | 304);
        let announced = has_body.then(|| content_length(&response)).flatten();
        Self { response, announced, received: 0, ended: false, _taken: taken }
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The header's first value, if it is readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Every header that is readable text; a name repeats where the upstream repeats it.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.response.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// The body has neither a length nor chunks and so ends with the connection. awc reads such a body of HTTP/1.1 as
    /// an empty one (STACK.md §0), and whoever words the error should say so.
    pub fn has_unreadable_body(&self) -> bool {
        let headers = self.response.headers();
        self.response.version() == Version::HTTP_11
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
            && !matches!(self.status(), 204 | 304)
    }

    /// What comes of the body within `limit` bytes and the time `within`, meant for error bodies: a cut or slow one
    /// gives what has come by then.
    pub async fn read_limited(mut self, limit: usize, within: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let _ = tokio::time::timeout(within, async {
            while let Some(Ok(chunk)) = self.next().await {
                let wanted = chunk.len().min(limit - body.len());
                body.extend_from_slice(&chunk[..wanted]);
                if body.len() == limit {
                    break;
                }
            }
        })
        .await;
        body
    }

    /// Judges the end of the body against the announced length.
    fn end(&mut self) -> Option<Result<Bytes, BodyFault>> {
        self.ended = true;
        let announced = self.announced.filter(|&announced| self.received < announced)?;
        Some(Err(BodyFault::Truncated { announced, received: self.received }))
    }
}

/// Chunks as they arrive, never an empty one (HTTP/2 sends one at its end). After a fault there is nothing more.
impl Stream for Incoming {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            match ready!(self.response.poll_next_unpin(context)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyFault::of(error))));
                }
                None => return Poll::Ready(self.end()),
            }
        }
        Poll::Ready(None)
    }
}

fn content_length(response: &ClientResponse) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
