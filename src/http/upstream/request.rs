//! One request to an upstream as a plain value, so that it can be sent again.
//!
//! The header list is complete: nothing of the client's request is added to it, only `host`, `content-length`,
//! `accept-encoding: identity` and, by awc's HTTP/1.1 encoder, `date` (WIRE.md Q0.1, R-X2).

use std::convert::Infallible;
use std::fmt;

use awc::body::SizedStream;
use awc::http::Method;
use awc::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::stream::{self, Stream};

/// Bytes. A body up to this size goes out whole; awc keeps a second copy of what it is given for as long as the
/// answer streams, so a larger one is fed to it in slices (STACK.md §2).
const WHOLE_BODY_LIMIT: usize = 32 * 1024;
/// Bytes of one slice of a larger body.
const SLICE_LENGTH: usize = 16 * 1024;

#[derive(Clone)]
pub struct Outgoing {
    pub method: Method,
    /// What follows the `base_url` without its trailing slashes: `/responses`, `/models?client_version=1`.
    pub path: String,
    /// A value that is secret is marked so (`HeaderValue::set_sensitive`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Outgoing {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    pub fn post(path: impl Into<String>, body: Bytes) -> Self {
        Self { method: Method::POST, path: path.into(), headers: Vec::new(), body }
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Neither the body (a prompt) nor a header's value is printed.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("body_length", &self.body.len())
            .finish()
    }
}

pub(super) fn is_sent_in_slices(body: &Bytes) -> bool {
    body.len() > WHOLE_BODY_LIMIT
}

/// The body as slices of the same memory, announced with its length.
pub(super) fn in_slices(body: Bytes) -> SizedStream<impl Stream<Item = Result<Bytes, Infallible>>> {
    let length = body.len();
    let starts = (0..length).step_by(SLICE_LENGTH);
    let slices = starts.map(move |start| Ok(body.slice(start..length.min(start + SLICE_LENGTH))));
    SizedStream::new(length as u64, stream::iter(slices))
}
