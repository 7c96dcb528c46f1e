//! Who may talk to our loopback listeners: programs of this machine that hold the listener's token, no web page.
//!
//! Pure checks of a request's head (DESIGN.md §6), made by the gateways and the control endpoint alike. The `Host`
//! check stops DNS rebinding, the origin check stops pages that post to a port they have guessed. The token stays out
//! of logs and is compared in constant time.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Bytes of a token before they are written as hex digits.
const TOKEN_LENGTH: usize = 32;

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("The Host header does not name this machine's loopback interface.")]
    ForeignHost,
    #[error("Requests of web pages are refused.")]
    WebPage,
    #[error("The request carries no token: send it as Authorization: Bearer or as x-api-key.")]
    TokenMissing,
    #[error("The request's token is not this gateway's.")]
    TokenWrong,
}

/// The checks that hold for every path, whatever token is shown.
pub fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) || headers.get_all(SEC_FETCH_SITE).any(is_of_another_site) {
        return Err(Refusal::WebPage);
    }
    let mut hosts = headers.get_all(HOST).peekable();
    let is_named = hosts.peek().is_some();
    let is_ours = hosts.all(|host| host.to_str().is_ok_and(is_loopback_host));
    if is_named && is_ours { Ok(()) } else { Err(Refusal::ForeignHost) }
}

/// Lets in whoever shows `token` in either header, whatever the other one holds: people keep an `ANTHROPIC_API_KEY`
/// in their environment, and `claude` sends it along.
pub fn check_token(headers: &HeaderMap, token: &LocalToken) -> Result<(), Refusal> {
    let bearers = headers.get_all(AUTHORIZATION).filter_map(|value| bearer_of(value.as_bytes()));
    let keys = headers.get_all(X_API_KEY).map(HeaderValue::as_bytes);
    let mut refusal = Refusal::TokenMissing;
    for presented in bearers.chain(keys) {
        if token.matches(presented) {
            return Ok(());
        }
        refusal = Refusal::TokenWrong;
    }
    Err(refusal)
}

/// `none` is an address that somebody typed, `same-origin` a page of ours (whose name the `Host` check has seen).
fn is_of_another_site(value: &HeaderValue) -> bool {
    !matches!(value.as_bytes(), b"none" | b"same-origin")
}

/// `127.0.0.0/8`, `[::1]` or `localhost`, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        return is_port_or_nothing(port) && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let end = host.find(':').unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let is_ours =
        name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_ours && is_port_or_nothing(port)
}

fn is_port_or_nothing(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

fn bearer_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

/// What `claude` presents to a gateway: 256 random bits as 64 hex digits, one per generation. Printed as `***`.
#[derive(Clone)]
pub struct LocalToken(Zeroizing<String>);

impl LocalToken {
    /// Fails only where the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; TOKEN_LENGTH]);
        getrandom::fill(&mut *bytes)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * TOKEN_LENGTH));
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        Ok(Self(text))
    }

    /// A token that was kept in a file; `None` if it does not look like one of ours.
    pub fn restore(text: &str) -> Option<Self> {
        let is_ours =
            text.len() == 2 * TOKEN_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_ours.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, for a child's environment and the 0600 files of the state folder.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the same time wherever the two differ.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl PartialEq for LocalToken {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for LocalToken {}

impl fmt::Debug for LocalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_a_loopback_host_is_ours() {
        let table = [
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("127.255.0.9:1", true),
            ("localhost", true),
            ("LOCALHOST:65535", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("[0:0:0:0:0:0:0:1]:8080", true),
            ("", false),
            ("example.com", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("127.0.0.1:", false),
            ("127.0.0.1:port", false),
            ("127.0.0.1:1:2", false),
            ("127.1", false),
            ("0.0.0.0", false),
            ("192.168.0.1", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[::2]", false),
            ("localhost@example.com", false),
            ("example.com#localhost", false),
        ];
        for (host, is_ours) in table {
            let expected = if is_ours { Ok(()) } else { Err(Refusal::ForeignHost) };
            assert_eq!(check_origin(&headers(&[("host", host)])), expected, "{host:?}");
        }
    }

    #[test]
    fn a_missing_or_second_foreign_host_is_refused() {
        assert_eq!(check_origin(&headers(&[])), Err(Refusal::ForeignHost));
        let two = headers(&[("host", "localhost"), ("host", "example.com")]);
        assert_eq!(check_origin(&two), Err(Refusal::ForeignHost));
    }

    #[test]
    fn web_pages_are_refused() {
        let table = [
            ("origin", "https://example.com", Err(Refusal::WebPage)),
            ("origin", "http://localhost:3000", Err(Refusal::WebPage)),
            ("origin", "null", Err(Refusal::WebPage)),
            ("sec-fetch-site", "cross-site", Err(Refusal::WebPage)),
            ("sec-fetch-site", "same-site", Err(Refusal::WebPage)),
            ("sec-fetch-site", "", Err(Refusal::WebPage)),
            ("sec-fetch-site", "same-origin", Ok(())),
            ("sec-fetch-site", "none", Ok(())),
            ("sec-fetch-mode", "cors", Ok(())),
            ("user-agent", "claude-cli", Ok(())),
        ];
        for (name, value, expected) in table {
            let headers = headers(&[("host", "127.0.0.1:8080"), (name, value)]);
            assert_eq!(check_origin(&headers), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_token_is_taken_from_either_header_and_a_foreign_one_beside_it_is_ignored() {
        let token = LocalToken::random().unwrap();
        let bearer = format!("Bearer {}", token.expose());
        let small = format!("bearer  {} ", token.expose());
        let longer = format!("Bearer {}0", token.expose());
        let shorter = format!("Bearer {}", &token.expose()[1..]);
        let basic = format!("Basic {}", token.expose());
        type Pairs<'a> = &'a [(&'static str, &'a str)];
        let table: &[(Pairs<'_>, Result<(), Refusal>)] = &[
            (&[("authorization", &bearer)], Ok(())),
            (&[("authorization", &small)], Ok(())),
            (&[("x-api-key", token.expose())], Ok(())),
            (&[("authorization", &bearer), ("x-api-key", "sk-foreign")], Ok(())),
            (&[("authorization", "Bearer foreign"), ("x-api-key", token.expose())], Ok(())),
            (&[("authorization", &basic), ("x-api-key", token.expose())], Ok(())),
            (&[], Err(Refusal::TokenMissing)),
            (&[("authorization", &basic)], Err(Refusal::TokenMissing)),
            (&[("authorization", "Bear")], Err(Refusal::TokenMissing)),
            (&[("authorization", "Bearer ")], Err(Refusal::TokenWrong)),
            (&[("authorization", &longer)], Err(Refusal::TokenWrong)),
            (&[("authorization", &shorter)], Err(Refusal::TokenWrong)),
            (&[("x-api-key", "")], Err(Refusal::TokenWrong)),
            (&[("authorization", "Bearer foreign"), ("x-api-key", "sk-foreign")], Err(Refusal::TokenWrong)),
        ];
        for (pairs, expected) in table {
            assert_eq!(check_token(&headers(pairs), &token), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_is_64_hex_digits_unlike_any_other_and_survives_a_file() {
        let (one, other) = (LocalToken::random().unwrap(), LocalToken::random().unwrap());
        assert_eq!(one.expose().len(), 64);
        assert_ne!(one, other);
        assert_eq!(LocalToken::restore(one.expose()), Some(one));
        for text in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65)] {
            assert_eq!(LocalToken::restore(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = LocalToken::random().unwrap();
        assert_eq!(format!("{token:?}"), "LocalToken(***)");
    }
}
