//! Failures without a reply to read: the connection never came about, broke, or carried something that is no stream.
//!
//! The caller names what happened as one of two closed lists; the words, the status and whether to try again are here
//! (WIRE.md §3.2, R-X1).

use super::ErrorContext;
use super::mask::mask;
use super::reading::without_tags;
use crate::providers::translate::{ApiError, ErrorKind};

/// Characters of a page's words that an error quotes.
const LONGEST_PAGE: usize = 200;

/// Why no response head came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportFault {
    Refused,
    /// No route, host or network down, and whatever else the system says while connecting.
    Unreachable(String),
    Dns,
    Tls(String),
    ConnectTimeout,
    /// Connected and sent, but no response head within `first_byte_timeout`.
    FirstByteTimeout,
    IdleTimeout,
    /// Closed or reset before the head, also on a second connection (R-X2).
    ClosedBeforeHead,
    /// The proxy answered CONNECT with this.
    ProxyRefused(String),
    /// What came is no HTTP.
    Garbled(String),
    /// The answer has this `content-encoding`, although none but `identity` was asked for.
    Compressed(String),
    /// The answer's body has neither a length nor chunks: its end and a cut look the same.
    Unframed,
}

/// The answer to a fault before the response head; names the URL.
pub fn transport_error(fault: &TransportFault, context: &ErrorContext<'_>) -> ApiError {
    let url = context.base_url;
    let words = mask_of(fault, context);
    // More follows.
    let words = words.trim_end_matches('.');
    match fault {
        TransportFault::ConnectTimeout => timed_out(format!("no connection to {url} in time")),
        TransportFault::FirstByteTimeout => timed_out(format!("{url} took the request and did not answer in time")),
        TransportFault::IdleTimeout => timed_out(format!("{url} went silent in the middle of its answer")),
        TransportFault::Refused => unreachable(format!("{url} refused the connection"), context),
        TransportFault::Unreachable(_) => unreachable(format!("cannot reach {url}: {words}"), context),
        TransportFault::Dns => unreachable(format!("cannot resolve the host of {url}"), context),
        TransportFault::Tls(_) => unreachable(format!("no TLS with {url}: {words}"), context),
        TransportFault::ClosedBeforeHead => {
            unreachable(format!("{url} closed the connection before it answered"), context)
        }
        TransportFault::ProxyRefused(_) => {
            unreachable(format!("the proxy refused to connect to {url}: {words}"), context)
        }
        TransportFault::Garbled(_) => {
            ApiError::new(502, ErrorKind::Api, format!("{url} did not answer in HTTP: {words}"))
        }
        TransportFault::Compressed(_) => unusable(format!("{url} compressed its answer unasked ({words})")),
        TransportFault::Unframed => unusable(format!("{url} sent an answer without a length or chunks")),
    }
}

/// The text that a fault carries, masked.
fn mask_of(fault: &TransportFault, context: &ErrorContext<'_>) -> String {
    match fault {
        TransportFault::Unreachable(text)
        | TransportFault::Tls(text)
        | TransportFault::ProxyRefused(text)
        | TransportFault::Garbled(text)
        | TransportFault::Compressed(text) => mask(text, context.secrets).into_owned(),
        TransportFault::Refused
        | TransportFault::Dns
        | TransportFault::ConnectTimeout
        | TransportFault::FirstByteTimeout
        | TransportFault::IdleTimeout
        | TransportFault::ClosedBeforeHead
        | TransportFault::Unframed => String::new(),
    }
}

fn timed_out(message: String) -> ApiError {
    ApiError::new(504, ErrorKind::Api, message)
}

/// A habit of the server or of what stands before it: asking again would meet it again.
fn unusable(message: String) -> ApiError {
    ApiError::new(502, ErrorKind::Api, message).final_answer()
}

/// A server on this machine that cannot be reached was not started: asking again would only hide that.
fn unreachable(message: String, context: &ErrorContext<'_>) -> ApiError {
    if is_local(context.base_url) {
        let message = format!("{message}: is the server running at {}?", context.base_url);
        return ApiError::new(502, ErrorKind::Api, message).final_answer();
    }
    ApiError::new(502, ErrorKind::Api, message)
}

/// Whether the URL's host is this machine.
fn is_local(base_url: &str) -> bool {
    let Ok(url) = url::Url::parse(base_url) else { return false };
    match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => false,
    }
}

/// Why an answer that began as a stream is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// Too much of it could not be read.
    Malformed,
    /// One event exceeds the bound on its size.
    TooLong,
    /// A 200 without a single event.
    Empty,
    /// A 200 with a page instead of events; the text of the page.
    Html(String),
}

/// The answer to a stream that is none. One that just ended is the translator's to judge (R-X1).
pub fn stream_error(fault: &StreamFault, context: &ErrorContext<'_>) -> ApiError {
    let url = context.base_url;
    match fault {
        StreamFault::Malformed => {
            ApiError::new(502, ErrorKind::Api, format!("{url} sent a stream that cannot be read"))
        }
        StreamFault::TooLong => {
            ApiError::new(502, ErrorKind::Api, format!("{url} sent an event that is too large")).final_answer()
        }
        StreamFault::Empty => ApiError::new(502, ErrorKind::Api, format!("{url} answered with an empty stream")),
        StreamFault::Html(page) => {
            let words = without_tags(page);
            let page: String = mask(&words, context.secrets).chars().take(LONGEST_PAGE).collect();
            ApiError::new(502, ErrorKind::Api, format!("{url} answered with a page instead of a stream: {page}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Case;
    use super::*;

    #[test]
    fn a_fault_names_the_url_and_only_a_local_server_is_asked_after() {
        let cases = [
            (TransportFault::Refused, 502, "refused the connection"),
            (TransportFault::Unreachable("no route to host".into()), 502, "no route to host"),
            (TransportFault::Dns, 502, "cannot resolve"),
            (TransportFault::Tls("certificate expired".into()), 502, "certificate expired"),
            (TransportFault::ClosedBeforeHead, 502, "closed the connection"),
            (TransportFault::ProxyRefused("407 for SECRET-1234".into()), 502, "407 for ***"),
        ];
        for (fault, status, words) in cases {
            let far = Case::default().with(|context| transport_error(&fault, context));
            assert_eq!((far.status, far.should_retry), (status, None), "{fault:?}");
            assert!(far.message.contains("https://api.openai.com/v1") && far.message.contains(words), "{far:?}");

            for base_url in ["http://localhost:8000/v1", "http://127.0.0.2:8000/v1", "http://[::1]:8000/v1"] {
                let near = Case { base_url, ..Case::default() }.with(|context| transport_error(&fault, context));
                assert_eq!((near.status, near.should_retry), (status, Some(false)), "{fault:?}");
                assert!(near.message.ends_with(&format!("is the server running at {base_url}?")), "{near:?}");
            }
        }
    }

    #[test]
    fn timeouts_are_retryable_504s() {
        for fault in [TransportFault::ConnectTimeout, TransportFault::FirstByteTimeout, TransportFault::IdleTimeout] {
            let error = Case { base_url: "http://localhost:1", ..Case::default() }
                .with(|context| transport_error(&fault, context));
            assert_eq!((error.status, error.kind, error.should_retry), (504, ErrorKind::Api, None), "{fault:?}");
            assert!(error.message.contains("http://localhost:1"), "{error:?}");
        }
    }

    #[test]
    fn a_stream_that_is_none_says_what_came_instead() {
        let cases = [
            (StreamFault::Malformed, "cannot be read", None),
            (StreamFault::TooLong, "too large", Some(false)),
            (StreamFault::Empty, "empty stream", None),
            (StreamFault::Html("<p>Sign <b>in</b> sk-12345678</p>".into()), "instead of a stream: Sign in ***", None),
        ];
        for (fault, words, should_retry) in cases {
            let error = Case::default().with(|context| stream_error(&fault, context));
            assert_eq!((error.status, error.kind, error.should_retry), (502, ErrorKind::Api, should_retry));
            assert!(error.message.contains(words), "{error:?}");
        }
    }
}
