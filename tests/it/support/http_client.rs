//! A plain HTTP/1.1 client over a blocking socket, for seeing exactly what is sent and when.
//!
//! It reads a body piece by piece as its framing gives them, tells a clean end from a cut one, and can stop reading.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use super::PATIENCE;

pub struct Connection {
    stream: TcpStream,
    buffered: Vec<u8>,
    /// Bytes that are read at once.
    portion: usize,
}

pub struct Head {
    pub status: u16,
    pub reason: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its framing says.
    Clean,
    /// The connection ended before.
    Cut,
}

/// Bytes that are usually read at once.
const PORTION: usize = 16 * 1024;

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

/// A response whose body is read as it comes.
pub struct EventStream {
    connection: Connection,
    pub head: Head,
    framing: Framing,
    text: Vec<u8>,
    end: Option<BodyEnd>,
}

#[derive(Clone, Copy)]
enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a connected socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a connected socket");
        Self { stream, buffered: Vec::new(), portion: PORTION }
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) {
        let mut headers = headers.to_vec();
        headers.push(("content-length".into(), body.len().to_string()));
        self.send_head(method, path, &headers);
        self.write(body);
    }

    /// Sends a head alone; a `host` is added if there is none.
    pub fn send_head(&mut self, method: &str, path: &str, headers: &[(String, String)]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let host = self.stream.peer_addr().expect("a connected socket");
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer reads");
    }

    /// Writes what the peer takes; `false` when it stopped taking.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more will be written.
    pub fn close_writing(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// From now on takes at most this many bytes from the socket at once.
    pub fn read_at_most(&mut self, bytes: usize) {
        self.portion = bytes.clamp(1, PORTION);
    }

    pub fn read_head(&mut self) -> Head {
        let end = loop {
            if let Some(place) = find(&self.buffered, b"\r\n\r\n") {
                break place + 4;
            }
            assert!(self.fill(), "the connection ended before a response head");
        };
        let head: Vec<u8> = self.buffered.drain(..end).collect();
        parse_head(&String::from_utf8(head).expect("a head is ASCII"))
    }

    /// Reads one whole response, which must not be cut.
    pub fn read_response(&mut self) -> Response {
        let head = self.read_head();
        let mut framing = head.framing();
        let mut body = Vec::new();
        while let Some(piece) = self.read_piece(&mut framing).expect("the response is whole") {
            body.extend(piece);
        }
        let Head { status, reason, headers } = head;
        Response { status, reason, headers, body }
    }

    /// The response to a `HEAD`: whatever its headers promise, there is no body.
    pub fn read_bodyless_response(&mut self) -> Response {
        let head = self.read_head();
        let Head { status, reason, headers } = head;
        Response { status, reason, headers, body: Vec::new() }
    }

    pub fn into_event_stream(mut self) -> EventStream {
        let head = self.read_head();
        let framing = head.framing();
        EventStream { connection: self, head, framing, text: Vec::new(), end: None }
    }

    /// The next piece of a body; `None` at its clean end, an error when it is cut.
    fn read_piece(&mut self, framing: &mut Framing) -> Result<Option<Vec<u8>>, ()> {
        match framing {
            Framing::UntilClose => {
                if self.buffered.is_empty() && !self.fill() {
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.buffered)))
            }
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.buffered.is_empty() && !self.fill() {
                    return Err(());
                }
                let count = self.buffered.len().min(*left);
                *left -= count;
                Ok(Some(self.buffered.drain(..count).collect()))
            }
            Framing::Chunked => {
                let line = self.read_line()?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.unwrap_or_else(|_| panic!("chunk size {line:?}"));
                while self.buffered.len() < size + 2 {
                    if !self.fill() {
                        return Err(());
                    }
                }
                let piece: Vec<u8> = self.buffered.drain(..size + 2).take(size).collect();
                Ok((size > 0).then_some(piece))
            }
        }
    }

    fn read_line(&mut self) -> Result<String, ()> {
        loop {
            if let Some(place) = find(&self.buffered, b"\r\n") {
                let line: Vec<u8> = self.buffered.drain(..place + 2).take(place).collect();
                return String::from_utf8(line).map_err(|_| ());
            }
            if !self.fill() {
                return Err(());
            }
        }
    }

    /// Reads more; `false` at the end of the connection, however it ended. Panics when nothing came for too long.
    fn fill(&mut self) -> bool {
        let mut bytes = [0_u8; PORTION];
        loop {
            match self.stream.read(&mut bytes[..self.portion]) {
                Ok(0) => return false,
                Ok(count) => {
                    self.buffered.extend_from_slice(&bytes[..count]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came for {PATIENCE:?}; unread: {:?}", String::from_utf8_lossy(&self.buffered))
                }
                Err(_) => return false,
            }
        }
    }
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a content-length is a number")),
            None => Framing::UntilClose,
        }
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl EventStream {
    /// The next event; `None` at the end of the body (see [`Self::end`]).
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(place) = find(&self.text, b"\n\n") {
                let frame: Vec<u8> = self.text.drain(..place + 2).collect();
                if let Some(event) = parse_event(&String::from_utf8(frame).expect("a frame is UTF-8")) {
                    return Some(event);
                }
                continue;
            }
            if self.end.is_some() {
                return None;
            }
            match self.connection.read_piece(&mut self.framing) {
                Ok(Some(piece)) => self.text.extend(piece),
                Ok(None) => self.end = Some(BodyEnd::Clean),
                Err(()) => self.end = Some(BodyEnd::Cut),
            }
        }
    }

    /// Reads on to the first event that `fits` and returns everything read, it included.
    pub fn read_to(&mut self, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event() {
            let found = fits(&event);
            events.push(event);
            if found {
                return events;
            }
        }
        panic!("the stream ended ({:?}) before the event looked for; it held {events:#?}", self.end);
    }

    /// Reads on to the first text delta and returns its text.
    pub fn next_text(&mut self) -> String {
        let events = self.read_to(|event| event.data["delta"]["type"] == "text_delta");
        events.last().map(|event| event.data["delta"]["text"].as_str().unwrap_or_default().to_owned()).expect("one")
    }

    pub fn read_to_end(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next_event()).collect()
    }

    /// Takes up to so many portions from the socket, without looking at them.
    pub fn read_some(&mut self, portions: usize) {
        for _ in 0..portions {
            self.connection.fill();
        }
    }

    pub fn read_at_most(&mut self, bytes: usize) {
        self.connection.read_at_most(bytes);
    }

    pub fn close_writing(&self) {
        self.connection.close_writing();
    }

    pub fn end(&self) -> BodyEnd {
        self.end.expect("the body was read to its end")
    }

    /// The rest of the body as text, for a response that is no stream after all.
    pub fn into_text(mut self) -> String {
        while let Ok(Some(piece)) = self.connection.read_piece(&mut self.framing) {
            self.text.extend(piece);
        }
        String::from_utf8_lossy(&self.text).into_owned()
    }

    pub fn into_connection(self) -> Connection {
        assert_eq!(self.end, Some(BodyEnd::Clean), "the connection is in the middle of a body");
        self.connection
    }
}

fn parse_head(head: &str) -> Head {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
    assert_eq!(words.next(), Some("HTTP/1.1"), "{head:?}");
    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Head { status, reason: words.next().unwrap_or_default().to_owned(), headers }
}

fn parse_event(frame: &str) -> Option<Event> {
    let field = |prefix: &str| frame.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim_start);
    let data = field("data:")?;
    let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data:?}"));
    Some(Event { name: field("event:").unwrap_or_default().to_owned(), data })
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
