//! The way out: one client per upstream and thread, its connections, and what is remembered about a backend.
//!
//! [`request`] says what is sent, [`client`] sends it and hands back an [`Incoming`] whose body streams,
//! [`connector`] makes the TCP connections below TLS, [`proxy`] and [`tls`] say through whom and trusting whom,
//! [`fault`] names everything that goes wrong before and within an answer, and [`state`] is what all generations of a
//! backend share. Nothing here reads a body's meaning, follows a redirect or looks at the process environment.

pub mod client;
pub mod connector;
pub mod credential;
pub mod fault;
pub mod incoming;
pub mod proxy;
pub mod request;
pub mod route;
pub mod state;
pub mod tls;

pub use awc::http::Method;
pub use awc::http::header::{HeaderName, HeaderValue};

pub use client::{Target, UpstreamClient};
pub use fault::{BodyFault, SendFault};
pub use incoming::Incoming;
pub use proxy::{Proxy, ProxyFault, ProxySettings};
pub use request::Outgoing;
pub use state::BackendState;
pub use tls::TlsFault;

#[cfg(test)]
mod tests;
