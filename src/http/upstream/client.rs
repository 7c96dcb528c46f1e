//! The client of one upstream on one thread, with its own pool of connections.
//!
//! It adds nothing to a request but what HTTP needs, follows no redirect, and limits no number of connections:
//! admission is decided elsewhere. A pooled connection that turns out to be dead is no failure: the request is sent
//! once more, on a new one (WIRE.md R-X2). It cannot leave its thread.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body;
use awc::http::header::{ACCEPT_ENCODING, HeaderValue};
use awc::{Client, Connector};
use rustls::ClientConfig;
use url::{Position, Url};

use super::connector::{self, Dialer};
use super::fault::SendFault;
use super::incoming::Incoming;
use super::proxy::Proxy;
use super::request::{self, Outgoing};
use super::tls::{self, TlsFault};

/// Longest age of a pooled connection: bounds how long a name's old address is used.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// Kept for the next requests; each holds a connection.
const MOST_IDLE_CLIENTS: usize = 32;

/// One upstream and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    pub base_url: Url,
    /// PEM file of authorities trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// Used for an `https` upstream only. [`super::ProxySettings::proxy_for`] chooses it.
    pub proxy: Option<Proxy>,
    /// For name lookup, TCP and a proxy's CONNECT together, and once more for the TLS handshake.
    pub connect_timeout: Duration,
    /// How long an idle connection may be used again. 4 s for custom servers: some close after 5 s (WIRE.md R-X2).
    pub pool_idle: Duration,
}

pub struct UpstreamClient {
    /// `https://host/v1`: no trailing slash, userinfo, query or fragment.
    base: String,
    host: String,
    wiring: Wiring,
    pool: Rc<Pool>,
}

impl UpstreamClient {
    /// Reads `ca_file` and the platform's roots, for an `https` upstream only.
    pub fn new(target: &Target) -> Result<Self, TlsFault> {
        let tls = match target.base_url.scheme() {
            "https" => Some(tls::client_config(target.ca_file.as_deref())?),
            _ => None,
        };
        let wiring = Wiring {
            dialer: Dialer::new(target.proxy.clone().map(Rc::new)),
            tls,
            connect_timeout: target.connect_timeout,
            pool_idle: target.pool_idle,
        };
        let host = target.base_url.host_str().unwrap_or_default().to_owned();
        Ok(Self { base: base_of(&target.base_url), host, wiring, pool: Rc::default() })
    }

    /// Sends and waits for the response head, at most `first_byte_timeout` from now on, connecting included. Dropping
    /// the future cancels the request.
    pub async fn send(&self, outgoing: &Outgoing, first_byte_timeout: Duration) -> Result<Incoming, SendFault> {
        tokio::time::timeout(first_byte_timeout, self.send_or_send_again(outgoing))
            .await
            .unwrap_or(Err(SendFault::FirstByteTimeout))
    }

    async fn send_or_send_again(&self, outgoing: &Outgoing) -> Result<Incoming, SendFault> {
        let (answer, dialed) = connector::noting_dials(self.attempt(outgoing)).await;
        match answer {
            Err(fault) if !dialed && fault.is_closed_early() => {
                self.renew_pool();
                self.attempt(outgoing).await
            }
            answer => answer,
        }
    }

    /// With one dead connection in the pool the others are suspect too, and the second try must not meet them.
    /// Answers that still stream on the old pool keep their connections.
    fn renew_pool(&self) {
        self.pool.idle.borrow_mut().clear();
        self.pool.age.set(self.pool.age.get() + 1);
    }

    /// An idle client, or a new one.
    fn take(&self) -> Taken {
        let idle = self.pool.idle.borrow_mut().pop();
        let client = idle.unwrap_or_else(|| self.wiring.client());
        Taken { client, age: self.pool.age.get(), pool: Rc::clone(&self.pool) }
    }

    async fn attempt(&self, outgoing: &Outgoing) -> Result<Incoming, SendFault> {
        let mut taken = self.take();
        let mut request = taken.client.request(outgoing.method.clone(), format!("{}{}", self.base, outgoing.path));
        for (name, value) in &outgoing.headers {
            request = request.append_header((name.clone(), value.clone()));
        }
        request = request.insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        let sending = if outgoing.body.is_empty() {
            request.send_body(body::None::new())
        } else if request::is_sent_in_slices(&outgoing.body) {
            request.send_body(request::in_slices(outgoing.body.clone()))
        } else {
            request.send_body(outgoing.body.clone())
        };
        let response = sending.await.map_err(|error| SendFault::of(error, &self.host))?;
        if response.status().is_informational() {
            // awc takes it for the answer. The real one still comes, and would be read as that of the next request.
            taken.age = NEVER_BACK;
        }
        Ok(Incoming::new(response, &outgoing.method, taken))
    }
}

/// The clients that no answer streams on, the last used one last.
///
/// A client has one request at a time. Over HTTP/2 awc would share one connection, and a GOAWAY while an answer streams
/// lets the next request close that connection under the answer: measured, and an answer must never be cut by another.
#[derive(Default)]
struct Pool {
    idle: RefCell<Vec<Client>>,
    /// How often the idle ones were thrown away; what was taken before does not come back.
    age: Cell<u64>,
}

/// The age of a client that does not go back to its pool: it ends with its answer, and its connection with it.
const NEVER_BACK: u64 = u64::MAX;

/// A client in use. It goes back to its pool when this is dropped.
pub(super) struct Taken {
    client: Client,
    age: u64,
    pool: Rc<Pool>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.borrow_mut();
        if self.age == self.pool.age.get() && idle.len() < MOST_IDLE_CLIENTS {
            idle.push(self.client.clone());
        }
    }
}

/// Everything a new pool is made from.
struct Wiring {
    dialer: Dialer,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    pool_idle: Duration,
}

impl Wiring {
    /// Every default that awc has a limit or a habit for is undone here (STACK.md §0).
    fn client(&self) -> Client {
        let mut connector = Connector::new()
            .connector(self.dialer.clone())
            .timeout(self.connect_timeout)
            .handshake_timeout(self.connect_timeout)
            .conn_keep_alive(self.pool_idle)
            .conn_lifetime(CONNECTION_LIFETIME)
            .limit(0);
        if let Some(tls) = &self.tls {
            connector = connector.rustls_0_23(tls.clone());
        }
        Client::builder().no_default_headers().disable_redirects().disable_timeout().connector(connector).finish()
    }
}

fn base_of(url: &Url) -> String {
    let origin = format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort]);
    format!("{origin}{}", url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_url_without_trailing_slashes_and_secrets() {
        let table = [
            ("https://api.example.com/v1", "https://api.example.com/v1"),
            ("https://api.example.com/v1//", "https://api.example.com/v1"),
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com:443/", "https://api.example.com"),
            ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
            ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
            ("https://user:secret@api.example.com/v1?key=secret#part", "https://api.example.com/v1"),
        ];
        for (url, expected) in table {
            assert_eq!(base_of(&Url::parse(url).unwrap()), expected);
        }
    }
}
