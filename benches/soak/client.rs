//! One client: asks, reads what comes, and compares it with what must come.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::http;
use super::plan::{Dice, Plan, Way};
use super::report::{Fault, Tally};
use super::service::Gateway;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_DELTAS: u64 = 60;
/// Bytes of text beside the plan.
const MOST_PADDING: u64 = 60_000;

pub struct Shared {
    pub gateway: RefCell<Gateway>,
    pub tally: RefCell<Tally>,
    pub until: Instant,
}

/// What of a response was read.
#[derive(Default)]
struct Read {
    status: u16,
    /// Decoded.
    body: Vec<u8>,
    whole: bool,
}

/// What is asked for beside messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Message,
    Count,
    Models,
}

pub async fn run(number: u64, shared: Rc<Shared>) {
    let mut dice = Dice::new(number);
    let mut connected: Option<(Gateway, TcpStream)> = None;
    let mut asked = 0;
    while Instant::now() < shared.until {
        asked += 1;
        let gateway = shared.gateway.borrow().clone();
        // Whoever has a connection to the gateway of today keeps it.
        let kept = connected.take().filter(|(of, _)| *of == gateway).map(|(_, stream)| stream);
        let stream = match kept {
            Some(stream) => stream,
            None => match http::connect(&gateway.address).await {
                Ok(stream) => stream,
                Err(_) => {
                    shared.tally.borrow_mut().fault(Fault::NotConnected, &gateway.address);
                    continue;
                }
            },
        };
        let plan = Plan { id: number * 100_000_000 + asked, deltas: 1 + dice.roll(MOST_DELTAS), way: dice.way() };
        let kind = match dice.roll(20) {
            0 => Kind::Models,
            1 => Kind::Count,
            2 | 3 if plan.way == Way::Whole => Kind::Message,
            _ => Kind::Stream,
        };
        let padding = "padding ".repeat(usize::try_from(dice.roll(MOST_PADDING) / 8).unwrap_or_default());
        let request = request(kind, plan, &padding, &gateway.token);
        match tokio::time::timeout(PATIENCE, ask(stream, &request, kind, plan)).await {
            Err(_) => shared.tally.borrow_mut().fault(Fault::Lost, &format!("{plan:?} took too long")),
            Ok((read, stream)) => {
                judge(&mut shared.tally.borrow_mut(), kind, plan, &read);
                connected = stream.filter(|_| read.whole).map(|stream| (gateway, stream));
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
    }
}

fn request(kind: Kind, plan: Plan, padding: &str, token: &str) -> Vec<u8> {
    let body = json!({"model": "anthropic/soak", "max_tokens": 1000, "stream": kind == Kind::Stream,
        "messages": [{"role": "user", "content": format!("{} {padding}", plan.said())}]});
    match kind {
        Kind::Stream | Kind::Message => http::request("/v1/messages?beta=true", token, body.to_string().as_bytes()),
        Kind::Count => http::request("/v1/messages/count_tokens", token, body.to_string().as_bytes()),
        Kind::Models => {
            format!("GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {token}\r\n\r\n").into_bytes()
        }
    }
}

/// Yields the connection if it may be used again.
async fn ask(mut stream: TcpStream, request: &[u8], kind: Kind, plan: Plan) -> (Read, Option<TcpStream>) {
    let mut read = Read::default();
    if http::write(&mut stream, request).await.is_err() {
        return (read, None);
    }
    let leaves = kind == Kind::Stream && plan.way == Way::HungUp;
    let middle = plan.delta(plan.deltas / 2);
    let mut buffer = Vec::new();
    while !read.take(&buffer) {
        if leaves && memmem::find(&read.body, middle.as_bytes()).is_some() {
            return (read, None);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return (read, None),
        }
    }
    (read, Some(stream))
}

impl Read {
    /// Decodes what has come. True: the response is whole.
    fn take(&mut self, buffer: &[u8]) -> bool {
        let Some(head_end) = memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4) else { return false };
        let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
        self.status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let rest = &buffer[head_end..];
        if let Some(length) = length.and_then(|length| length.parse::<usize>().ok()) {
            self.body = rest.to_vec();
            self.whole = rest.len() == length;
            return self.whole;
        }
        // Each time from the front: the answers are small.
        self.body.clear();
        let mut rest = rest;
        while let Some(line_end) = memmem::find(rest, b"\r\n") {
            let size =
                std::str::from_utf8(&rest[..line_end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size) = size else { return false };
            if rest.len() < line_end + 2 + size + 2 {
                return false;
            }
            self.body.extend_from_slice(&rest[line_end + 2..line_end + 2 + size]);
            rest = &rest[line_end + 2 + size + 2..];
            if size == 0 {
                self.whole = rest.is_empty();
                return self.whole;
            }
        }
        false
    }

    /// The text of a stream and the type of its last event.
    fn events(&self) -> (String, String) {
        let (mut text, mut last) = (String::new(), String::new());
        for frame in String::from_utf8_lossy(&self.body).split("\n\n") {
            let Some(data) = frame.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            let Ok(data) = serde_json::from_str::<Value>(data) else { continue };
            text.push_str(data["delta"]["text"].as_str().unwrap_or_default());
            data["type"].as_str().unwrap_or_default().clone_into(&mut last);
        }
        (text, last)
    }
}

fn judge(tally: &mut Tally, kind: Kind, plan: Plan, read: &Read) {
    let lost = |tally: &mut Tally| {
        let end = String::from_utf8_lossy(&read.body[read.body.len().saturating_sub(300)..]).into_owned();
        tally.fault(Fault::Lost, &format!("{plan:?}: HTTP {}, whole: {}, …{end}", read.status, read.whole));
    };
    match kind {
        Kind::Models | Kind::Count => {
            tally.count("models and counts");
            if read.status != 200 || !read.whole {
                lost(tally);
            }
        }
        Kind::Message => {
            tally.count("whole, not streamed");
            let message: Value = serde_json::from_slice(&read.body).unwrap_or_default();
            if message["content"][0]["text"] != plan.text() {
                lost(tally);
            }
        }
        Kind::Stream => judge_stream(tally, plan, read, lost),
    }
}

fn judge_stream(tally: &mut Tally, plan: Plan, read: &Read, lost: impl Fn(&mut Tally)) {
    let (text, last) = read.events();
    let expected = plan.text();
    if !expected.starts_with(&text) {
        tally.fault(Fault::Mixed, &format!("{plan:?}: {text}"));
    }
    let (name, is_right) = match plan.way {
        Way::Whole => ("whole", text == expected && last == "message_stop"),
        Way::Slow => ("slow, whole", text == expected && last == "message_stop"),
        Way::HungUp => ("left by the client", read.status == 200),
        Way::RateLimited => ("refused with 429", read.status == 429),
        Way::Overloaded => ("refused with 503", read.status == 529),
        // A reset may overtake the deltas before it.
        Way::Reset => ("reset", last == "error" || read.status >= 500),
        Way::Cut => ("cut", text == expected && last == "error"),
        Way::Failed => ("failed", text == expected && last == "error"),
        Way::Garbage => ("unreadable", text == expected && last == "error"),
        Way::Stalled => ("stalled", text == expected && last == "error"),
    };
    tally.count(name);
    if !is_right || (plan.way != Way::HungUp && !read.whole) {
        lost(tally);
    }
}
