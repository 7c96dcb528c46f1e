//! Makes the TCP connections below TLS: straight to the upstream, or through a proxy's CONNECT tunnel.
//!
//! Always used, in place of awc's own connector, because it tries every address of a name, side by side, and sets
//! the socket's options. The connect timeout is the caller's: awc drops the future when it is over.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::SendFault;
use super::proxy::Proxy;

/// Before the next address of a name is tried beside the ones that have not answered yet (RFC 8305).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Bytes. A proxy's answer to CONNECT is a few lines.
const PROXY_HEAD_LIMIT: usize = 8 * 1024;
/// Silence before the kernel asks whether the peer still lives, and between two questions. Home routers forget a
/// silent connection after a few minutes, and a model may think for longer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Milliseconds that sent bytes may stay unacknowledged: otherwise a vanished peer is retried for a quarter of an hour.
/// Long enough for a server that is too busy to read the body it is being sent.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_LIMIT_MS: u32 = 120_000;

#[derive(Clone)]
pub struct Dialer {
    proxy: Option<Rc<Proxy>>,
}

impl Dialer {
    pub fn new(proxy: Option<Rc<Proxy>>) -> Self {
        Self { proxy }
    }
}

impl Service<ConnectInfo<Uri>> for Dialer {
    type Response = Connection<Uri, TcpStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let uri = info.request().clone();
        let port = info.port();
        let proxy = self.proxy.clone().filter(|_| uri.scheme_str() == Some("https"));
        Box::pin(async move {
            note_dial();
            let host = uri.host().unwrap_or_default();
            let dialed = match &proxy {
                None => dial(host, port).await,
                Some(proxy) => dial_through(proxy, host, port).await,
            };
            let stream = dialed.map_err(|fault| ConnectError::Io(io::Error::other(fault)))?;
            Ok(Connection::new(uri, stream))
        })
    }
}

tokio::task_local! {
    static DIALED: Cell<bool>;
}

/// Runs `work` and tells whether a [`Dialer`] was asked for a new connection within it. awc does not say whether a
/// failed request had a pooled connection, and the answer decides about sending it again.
pub async fn noting_dials<T>(work: impl Future<Output = T>) -> (T, bool) {
    let noted = async { (work.await, DIALED.with(Cell::get)) };
    DIALED.scope(Cell::new(false), noted).await
}

fn note_dial() {
    // Fails only outside `noting_dials`, where nobody asks.
    let _ = DIALED.try_with(|dialed| dialed.set(true));
}

/// `host` may be a name, an address, or an IPv6 address in brackets.
async fn dial(host: &str, port: u16) -> Result<TcpStream, SendFault> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let addresses: Vec<_> = found.map_err(|error| SendFault::Dns(format!("{host}: {error}")))?.collect();
    if addresses.is_empty() {
        return Err(SendFault::Dns(format!("{host}: it has no address")));
    }
    let stream = connect_to_first(alternating(addresses)).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => SendFault::Refused(format!("{host}:{port}")),
        _ => SendFault::Unreachable(format!("{host}:{port}: {error}")),
    })?;
    set_options(&stream).map_err(|error| SendFault::Unreachable(format!("{host}:{port}: {error}")))?;
    Ok(stream)
}

/// The addresses with the families taking turns, the resolver's favourite first: a dead family costs one delay.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (favoured, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut favoured = favoured.into_iter();
    let mut others = others.into_iter();
    let mut order = Vec::new();
    loop {
        let (one, other) = (favoured.next(), others.next());
        if one.is_none() && other.is_none() {
            return order;
        }
        order.extend(one.into_iter().chain(other));
    }
}

/// Starts one attempt after the other, sooner if one fails, and takes the first that succeeds. If none does, a refusal
/// is the error to tell: it says that the host is there.
async fn connect_to_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) if failure.kind() != io::ErrorKind::ConnectionRefused => failure = error,
                Err(_) => {}
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_LIMIT_MS)?;
    Ok(())
}

async fn dial_through(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, SendFault> {
    let mut stream = dial(proxy.host(), proxy.port()).await?;
    let said = |what: &str| SendFault::ProxyRefused(format!("{proxy} {what}"));
    let asked = stream.write_all(proxy.connect_request(host, port).as_bytes()).await;
    asked.map_err(|error| said(&format!("cut the connection: {error}")))?;
    let head = read_proxy_head(&mut stream).await.map_err(|error| said(&format!("gave no usable answer: {error}")))?;
    match status_of(&head) {
        Some(status) if (200..300).contains(&status) => Ok(stream),
        Some(407) => Err(said("wants a user name and a password (407), or does not know those in its URL")),
        Some(status) => Err(said(&format!("refused to connect to {host}:{port} with status {status}"))),
        None => Err(said("does not speak HTTP")),
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to TLS. So each portion is looked at
/// before it is taken out of the socket.
async fn read_proxy_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut portion = [0; 1024];
    while head.len() < PROXY_HEAD_LIMIT {
        let seen = stream.peek(&mut portion).await?;
        if seen == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        let before = head.len();
        head.extend_from_slice(&portion[..seen]);
        let end = end_of_head(&head, before);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(&mut portion[..taken]).await?;
        if let Some(end) = end {
            head.truncate(end);
            return Ok(head);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "its head is too long"))
}

/// The length of the head in `bytes`, of which the first `searched` held no end.
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let start = searched.saturating_sub(3);
    memchr::memmem::find(&bytes[start..], b"\r\n\r\n").map(|found| start + found + 4)
}

fn status_of(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|&byte| byte == b'\r').next()?).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn address_families_take_turns_with_the_first_one_leading() {
        let table = [
            ("", ""),
            ("1.1.1.1:1 2.2.2.2:1", "1.1.1.1:1 2.2.2.2:1"),
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"),
            ("1.1.1.1:1 [::1]:1 [::2]:1 2.2.2.2:1", "1.1.1.1:1 [::1]:1 2.2.2.2:1 [::2]:1"),
        ];
        for (given, expected) in table {
            let addresses = given.split_whitespace().map(|address| address.parse().unwrap()).collect();
            let order: Vec<_> = alternating(addresses).iter().map(SocketAddr::to_string).collect();
            assert_eq!(order.join(" "), expected);
        }
    }

    #[actix_rt::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = connect_to_first(vec![dead, living.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), living.local_addr().unwrap());
        let error = connect_to_first(vec![dead, dead]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_to_first(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[actix_rt::test]
    async fn a_dialed_socket_sends_at_once_and_watches_its_peer() {
        use rustix::net::sockopt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial("localhost", listener.local_addr().unwrap().port()).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE_IDLE);
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), UNACKNOWLEDGED_LIMIT_MS);
    }

    #[actix_rt::test]
    async fn bytes_behind_a_proxys_head_stay_in_the_socket() {
        let long = format!("HTTP/1.1 200 OK\r\nvia: {}\r\n\r\n", "x".repeat(3000));
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\na: b\r\n\r\n", &long] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut proxy, _) = listener.accept().await.unwrap();
            proxy.write_all(format!("{head}\r\n\r\nTLS").as_bytes()).await.unwrap();
            drop(proxy);
            assert_eq!(read_proxy_head(&mut stream).await.unwrap(), head.as_bytes());
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "\r\n\r\nTLS");
        }
    }

    #[actix_rt::test]
    async fn a_proxys_head_may_come_byte_by_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut proxy, _) = listener.accept().await.unwrap();
        proxy.set_nodelay(true).unwrap();
        let sending = actix_rt::spawn(async move {
            for byte in b"HTTP/1.1 200 OK\r\n\r\n" {
                proxy.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            proxy
        });
        let head = read_proxy_head(&mut stream).await.unwrap();
        sending.await.unwrap();
        assert_eq!(status_of(&head), Some(200));
    }

    #[test]
    fn a_status_is_read_from_http_alone() {
        let table = [
            ("HTTP/1.1 200 OK\r\n\r\n", Some(200)),
            ("HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", Some(407)),
            ("HTTP/1.1 200\r\n\r\n", Some(200)),
            ("HTTP/1.1 ok\r\n\r\n", None),
            ("HTTP/1.1\r\n\r\n", None),
            ("SSH-2.0\r\n\r\n", None),
            ("\r\n\r\n", None),
            ("", None),
        ];
        for (head, expected) in table {
            assert_eq!(status_of(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[actix_rt::test]
    async fn a_dial_is_noted_only_where_it_happens() {
        assert_eq!(noting_dials(async { 1 }).await, (1, false));
        assert_eq!(noting_dials(async { note_dial() }).await, ((), true));
        note_dial();
    }
}
