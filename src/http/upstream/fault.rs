//! What goes wrong between us and an upstream, in whole sentences that hold no secret.
//!
//! A [`SendFault`] ends a request before there is a response head, a [`BodyFault`] ends a response's body. An HTTP
//! status, however bad, is neither: it arrives as an answer.

use std::io;

use actix_http::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use rustls::CertificateError;
use thiserror::Error;

/// Why there is no response head.
#[derive(Debug, Error)]
pub enum SendFault {
    #[error("{0} refused the connection.")]
    Refused(String),
    #[error("The host name could not be resolved: {0}.")]
    Dns(String),
    #[error("No connection could be made to {0}.")]
    Unreachable(String),
    #[error("The TLS handshake failed: {0}.")]
    Tls(String),
    #[error(
        "The certificate of {host} is not trusted: no authority that this system trusts signed it. If a private one \
         did, name that authority's file in ca_file."
    )]
    Untrusted { host: String },
    #[error("The certificate of {host} is not valid: {reason}.")]
    BadCertificate { host: String, reason: String },
    #[error("The connection was not made within the connect timeout.")]
    ConnectTimeout,
    #[error("The upstream did not begin its answer within the first-byte timeout.")]
    FirstByteTimeout,
    #[error("The upstream closed the connection before it answered.")]
    ClosedBeforeHead,
    #[error("The upstream closed the connection while the request was being sent. It may refuse the key or the size.")]
    ClosedWhileSending,
    /// The proxy's own words, and its name.
    #[error("The proxy {0}.")]
    ProxyRefused(String),
    #[error("The upstream's answer is not HTTP that we understand: {0}.")]
    BadAnswer(String),
    #[error("The upstream's address is not a usable URL: {0}.")]
    BadUrl(String),
    #[error("The request could not be sent: {0}.")]
    Other(String),
}

impl SendFault {
    /// Time ran out (504), as opposed to a connection that failed (502): WIRE.md §3.2.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendFault::ConnectTimeout | SendFault::FirstByteTimeout)
    }

    /// The connection ended before a byte of the answer came: no failure if it was a pooled one (WIRE.md R-X2).
    pub fn is_closed_early(&self) -> bool {
        matches!(self, SendFault::ClosedBeforeHead | SendFault::ClosedWhileSending)
    }

    /// Reads awc's error; `host` is the upstream's name, for the sentence about its certificate.
    pub(super) fn of(error: SendRequestError, host: &str) -> Self {
        match error {
            SendRequestError::Connect(error) => of_connect(error, host),
            SendRequestError::Send(error) if is_closed(&error) => SendFault::ClosedWhileSending,
            SendRequestError::Send(error) => SendFault::Other(error.to_string()),
            SendRequestError::Response(error) => of_head(error),
            SendRequestError::H2(error) if error.is_io() || error.is_go_away() || error.is_reset() => {
                SendFault::ClosedBeforeHead
            }
            SendRequestError::H2(error) => SendFault::BadAnswer(error.to_string()),
            SendRequestError::Timeout => SendFault::FirstByteTimeout,
            SendRequestError::Url(error) => SendFault::BadUrl(error.to_string()),
            SendRequestError::Http(error) => SendFault::BadUrl(error.to_string()),
            other => SendFault::Other(other.to_string()),
        }
    }
}

fn of_connect(error: ConnectError, host: &str) -> SendFault {
    match error {
        ConnectError::Timeout => SendFault::ConnectTimeout,
        ConnectError::Disconnected => SendFault::ClosedBeforeHead,
        ConnectError::Io(error) => of_connect_io(error, host),
        ConnectError::H2(error) => SendFault::BadAnswer(error.to_string()),
        ConnectError::Resolver(error) => SendFault::Dns(error.to_string()),
        other => SendFault::Other(other.to_string()),
    }
}

/// Our connector wraps what it has to say in an `io::Error`; any other one here is of the TLS handshake.
fn of_connect_io(error: io::Error, host: &str) -> SendFault {
    let shown = error.to_string();
    let Some(inner) = error.into_inner() else { return SendFault::Tls(shown) };
    match inner.downcast::<SendFault>() {
        Ok(fault) => *fault,
        Err(inner) => match inner.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(reason)) => of_certificate(reason, host.to_owned()),
            _ => SendFault::Tls(shown),
        },
    }
}

fn of_certificate(reason: &CertificateError, host: String) -> SendFault {
    match reason {
        // A bad signature: a trusted authority has the issuer's name, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => SendFault::Untrusted { host },
        reason => SendFault::BadCertificate { host, reason: reason.to_string() },
    }
}

fn of_head(error: ParseError) -> SendFault {
    match error {
        ParseError::Io(error) if is_closed(&error) => SendFault::ClosedBeforeHead,
        ParseError::Incomplete => SendFault::ClosedBeforeHead,
        other => SendFault::BadAnswer(other.to_string()),
    }
}

/// The peer went away, in one of the ways that a kernel or TLS reports it.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero)
}

/// Why a response's body ended before it was whole. awc reports a body cut between two chunks as a clean end, so the
/// absence of this is no proof of wholeness (STACK.md §0): a stream's terminal event is.
#[derive(Debug, Error)]
pub enum BodyFault {
    #[error("The upstream's answer ended after {received} of {announced} bytes.")]
    Truncated { announced: u64, received: u64 },
    #[error("The upstream cut its answer off: {0}.")]
    Cut(String),
    #[error("The upstream's answer is not HTTP that we understand: {0}.")]
    BadBody(String),
}

impl BodyFault {
    pub(super) fn of(error: PayloadError) -> Self {
        match error {
            PayloadError::Incomplete(None) => BodyFault::Cut("the connection was closed".to_owned()),
            PayloadError::Incomplete(Some(error)) | PayloadError::Io(error) => BodyFault::Cut(error.to_string()),
            PayloadError::Http2Payload(error) => BodyFault::Cut(error.to_string()),
            other => BodyFault::BadBody(other.to_string()),
        }
    }
}
