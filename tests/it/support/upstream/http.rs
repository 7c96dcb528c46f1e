//! The server's side of HTTP/1.1 over a blocking socket: requests in, replies out, byte by byte as told.
//!
//! A thread of its own reads each connection, so that a peer that hangs up is noticed at once, also while a reply
//! waits at a hold point. Knows both body framings, `Expect: 100-continue` and keep-alive; nothing of the API.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::state::State;

/// A head beyond this is no request of ours.
const LARGEST_HEAD_BYTES: usize = 64 * 1024;
/// Requests carry base64 images; the gateway itself takes 32 MiB.
const LARGEST_BODY_BYTES: usize = 128 * 1024 * 1024;
/// A write that makes no progress for this long counts as stalled (and is tried again).
const STALL: Duration = Duration::from_secs(1);

pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

impl Request {
    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or(&self.target)
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub struct Connection {
    stream: TcpStream,
    incoming: Receiver<Vec<u8>>,
    buffered: Vec<u8>,
    gone: Arc<AtomicBool>,
    resets: bool,
    state: Arc<State>,
}

impl Connection {
    pub fn new(stream: TcpStream, state: Arc<State>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(STALL))?;
        let (tx, incoming) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        let mut reader = stream.try_clone()?;
        let (reader_gone, reader_state) = (Arc::clone(&gone), Arc::clone(&state));
        state.connection_opened();
        thread::spawn(move || {
            let mut buffer = vec![0_u8; 64 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if tx.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
            reader_gone.store(true, Ordering::SeqCst);
            reader_state.connection_closed();
            reader_state.nudge();
        });
        Ok(Self { stream, incoming, buffered: Vec::new(), gone, resets: false, state })
    }

    /// Whether the peer has hung up.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// The next request, or `None` when the peer ended the connection between two requests.
    pub fn read_request(&mut self) -> Result<Option<Request>, String> {
        let Some(head_end) = self.read_until_blank_line()? else { return Ok(None) };
        let head: Vec<u8> = self.buffered.drain(..head_end).collect();
        let head = String::from_utf8(head).map_err(|_| "the head is not UTF-8".to_owned())?;
        let mut request = parse_head(&head)?;
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|error| error.to_string())?;
        }
        request.body = self.read_body(&request)?;
        Ok(Some(request))
    }

    fn read_until_blank_line(&mut self) -> Result<Option<usize>, String> {
        loop {
            if let Some(place) = find(&self.buffered, b"\r\n\r\n") {
                return Ok(Some(place + 4));
            }
            if self.buffered.len() > LARGEST_HEAD_BYTES {
                return Err("the head is too large".into());
            }
            if !self.fill() {
                return if self.buffered.is_empty() { Ok(None) } else { Err("cut inside the head".into()) };
            }
        }
    }

    fn read_body(&mut self, request: &Request) -> Result<Vec<u8>, String> {
        let chunked = request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        match request.header("content-length") {
            Some(_) if chunked => Err("both content-length and transfer-encoding".into()),
            None if chunked => self.read_chunks(),
            None => Ok(Vec::new()),
            Some(length) => {
                let length = length.trim().parse().map_err(|_| format!("content-length {length}"))?;
                self.take(length)
            }
        }
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let size = line.split(';').next().unwrap_or_default().trim().to_owned();
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk size {size:?}"))?;
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if !self.take_line()?.is_empty() {
                return Err("a chunk is longer than it says".into());
            }
            if body.len() > LARGEST_BODY_BYTES {
                return Err("the body is too large".into());
            }
        }
    }

    fn take_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(place) = find(&self.buffered, b"\r\n") {
                let line: Vec<u8> = self.buffered.drain(..place + 2).take(place).collect();
                return String::from_utf8(line).map_err(|_| "a line is not UTF-8".into());
            }
            if !self.fill() {
                return Err("cut inside a line".into());
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        if length > LARGEST_BODY_BYTES {
            return Err("the body is too large".into());
        }
        while self.buffered.len() < length {
            if !self.fill() {
                return Err("cut inside the body".into());
            }
        }
        Ok(self.buffered.drain(..length).collect())
    }

    fn fill(&mut self) -> bool {
        match self.incoming.recv() {
            Ok(bytes) => {
                self.buffered.extend(bytes);
                true
            }
            Err(_) => false,
        }
    }

    /// Writes all of `bytes`, counting what the socket took and each time that it took nothing for a second.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut stalled = false;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.state.bytes_written(count);
                    bytes = &bytes[count..];
                    stalled = false;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.is_gone() {
                        return Err(ErrorKind::BrokenPipe.into());
                    }
                    if !stalled {
                        self.state.write_stalled();
                        stalled = true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn write_head(&mut self, status: u16, headers: &[(String, String)]) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes())
    }

    /// A whole reply with a `content-length`.
    pub fn write_reply(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
        let mut headers = headers.to_vec();
        headers.push(("content-length".into(), body.len().to_string()));
        self.write_head(status, &headers)?;
        self.write(body)
    }

    pub fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk)
    }

    pub fn write_last_chunk(&mut self) -> io::Result<()> {
        self.write(b"0\r\n\r\n")
    }

    /// Ends the connection with a FIN, whatever was promised.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the connection with a RST: closed with a linger time of zero, once the reading thread let go of it too.
    pub fn reset(&mut self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        let _ = self.stream.shutdown(Shutdown::Read);
        self.resets = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.resets {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

fn parse_head(head: &str) -> Result<Request, String> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the request line has not three words".into());
    };
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(':').ok_or_else(|| format!("header line {line:?}")))
        .map(|line| line.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
        .collect::<Result<Vec<_>, _>>()?;
    let closes = headers.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        keep_alive: version == "HTTP/1.1" && !closes,
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
