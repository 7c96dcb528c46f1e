//! An upstream made of raw bytes, on threads of the test: for what no HTTP server would ever send.
//!
//! A request whose prompt is `break it: NAME.` gets what the test writes for that name, on a connection that ends with
//! it. Any other one gets a short whole answer on a connection that is kept.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use super::PATIENCE;

pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const MARK: &str = "break it: ";

/// What the test writes: the name in the prompt, and the connection.
type Play = dyn Fn(&str, &mut Wire) + Send + Sync;

pub struct RawUpstream {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// A port that refuses connections until somebody listens on it; no other program can take it meanwhile.
pub struct ClosedPort(Socket);

/// The upstream's end of one connection.
pub struct Wire {
    bytes: Box<dyn ReadWrite>,
    socket: TcpStream,
    unread: Vec<u8>,
}

trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// The prompt that gets what is written for `name`.
pub fn broken(name: &str) -> String {
    format!("{MARK}{name}.")
}

impl RawUpstream {
    pub fn start(play: impl Fn(&str, &mut Wire) + Send + Sync + 'static) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("a free port"), None, play)
    }

    pub fn start_with_tls(tls: Arc<ServerConfig>, play: impl Fn(&str, &mut Wire) + Send + Sync + 'static) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("a free port"), Some(tls), play)
    }

    fn serve(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        play: impl Fn(&str, &mut Wire) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (play, seen): (Arc<Play>, _) = (Arc::new(play), Arc::clone(&connections));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                seen.fetch_add(1, Ordering::SeqCst);
                let (play, tls) = (Arc::clone(&play), tls.clone());
                thread::spawn(move || Wire::new(socket, tls).map(|wire| wire.serve(&*play)));
            }
        });
        Self { address, connections }
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl ClosedPort {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket has an address")
    }

    /// The server is started after all.
    pub fn open(self) -> RawUpstream {
        self.0.listen(16).expect("a bound socket can listen");
        RawUpstream::serve(self.0.into(), None, |_, _| {})
    }
}

impl Wire {
    fn new(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Self> {
        socket.set_nodelay(true).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        let plain = socket.try_clone().ok()?;
        let bytes: Box<dyn ReadWrite> = match tls {
            Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(tls).ok()?, plain)),
            None => Box::new(plain),
        };
        Some(Self { bytes, socket, unread: Vec::new() })
    }

    fn serve(mut self, play: &Play) {
        while let Some((target, body)) = self.read_request() {
            if let Some(name) = body.split_once(MARK).and_then(|(_, rest)| rest.split('.').next()) {
                play(name, &mut self);
                return;
            }
            self.answer(&target);
        }
    }

    /// Answers whatever comes on this connection from now on.
    pub fn go_on(&mut self) {
        while let Some((target, _)) = self.read_request() {
            self.answer(&target);
        }
    }

    /// Sends this answer when the next request comes on this connection.
    pub fn answer_late(&mut self, events: &str) {
        if self.read_request().is_some() {
            self.begin(events);
            self.say(LAST_CHUNK);
        }
    }

    fn answer(&mut self, target: &str) {
        if target.ends_with("/models") {
            self.say(&whole(&json!({"object": "list", "data": [{"id": "qwen3-coder"}]}).to_string()));
        } else {
            self.begin(&answer("Fine."));
            self.say(LAST_CHUNK);
        }
    }

    /// The target and body of the next request; `None` when the peer is gone.
    fn read_request(&mut self) -> Option<(String, String)> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
        while self.unread.len() < head_end + length {
            self.fill()?;
        }
        let body = self.unread.drain(..head_end + length).skip(head_end).collect::<Vec<u8>>();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Some((target, String::from_utf8_lossy(&body).into_owned()))
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        let count = self.bytes.read(&mut bytes).ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&bytes[..count]);
        Some(())
    }

    /// False: the peer is gone.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.bytes.write_all(bytes).and_then(|()| self.bytes.flush()).is_ok()
    }

    /// Writes what the peer still takes.
    pub fn say(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }

    pub fn chunk(&mut self, text: &str) -> bool {
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    /// The head of a stream and one chunk of it.
    pub fn begin(&mut self, text: &str) {
        self.say(STREAM_HEAD.as_bytes());
        self.chunk(text);
    }

    /// Says nothing more until the peer hangs up.
    pub fn stall(&mut self) {
        while self.fill().is_some() {}
    }

    /// Ends the connection with a RST instead of a FIN. It may overtake what the peer has not read yet.
    pub fn reset(&mut self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let lingers = SockRef::from(&self.socket).linger();
        if !matches!(lingers, Ok(Some(Duration::ZERO))) {
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }
}

pub fn event(event: &Value) -> String {
    format!("data: {event}\n\n")
}

pub fn delta(text: &str) -> String {
    event(&json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0,
        "delta": text}))
}

pub fn completed() -> String {
    event(&json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [],
        "usage": null}}))
}

/// The events of a whole answer.
pub fn answer(text: &str) -> String {
    let created = event(&json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}));
    format!("{created}{}{}", delta(text), completed())
}

/// A whole JSON response.
fn whole(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}
