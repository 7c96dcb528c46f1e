//! The upstream: answers `POST /v1/responses` from memory. The model's name says how.

use std::rc::Rc;
use std::time::Duration;

use memchr::memmem;
use tokio::net::{TcpListener, TcpStream};

use super::http;
use super::workload::streams;

/// 50 deltas, each written by itself.
pub const ANSWER: &str = "bench-50";
pub const ANSWER_DELTAS: usize = 50;
/// 1000 deltas, ten to a write.
pub const FLOOD: &str = "bench-1000";
pub const FLOOD_DELTAS: usize = 1000;
/// A delta, and another one every [`SLOW_PAUSE`] until the client goes away.
pub const SLOW: &str = "bench-slow";
const SLOW_PAUSE: Duration = Duration::from_millis(500);

const DELTA: &str = " and the next";

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// Prints its address and serves until it is killed.
pub fn run() {
    super::raise_open_files();
    super::runtime().block_on(async {
        let listener = listen().await;
        println!("{}", listener.local_addr().expect("a listener has an address"));
        let scripts = Rc::new(Scripts::new());
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve(stream, Rc::clone(&scripts)));
                }
            })
            .await;
    });
}

/// Below 32768: from there on the system gives ports to clients, which could be in the way.
async fn listen() -> TcpListener {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    for port in first..32_768 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
    panic!("no port from {first} to 32767 is free");
}

/// What is written for each model, write by write.
struct Scripts {
    answer: Vec<Vec<u8>>,
    flood: Vec<Vec<u8>>,
    slow: Vec<Vec<u8>>,
}

impl Scripts {
    fn new() -> Self {
        Self {
            answer: script(ANSWER, ANSWER_DELTAS, 1),
            flood: script(FLOOD, FLOOD_DELTAS, 10),
            slow: script(SLOW, 1, 1),
        }
    }
}

/// The head with what opens the text, the deltas, and the end.
fn script(model: &str, deltas: usize, per_write: usize) -> Vec<Vec<u8>> {
    let frame = streams::text_frame(model, &DELTA.repeat(deltas));
    let events: Vec<_> = (0..deltas).map(|number| streams::text_delta(number, DELTA)).collect();
    let mut writes = vec![[HEAD, &http::chunk(&frame.opening.concat())].concat()];
    writes.extend(events.chunks(per_write).map(|events| http::chunk(&events.concat())));
    writes.push([&*http::chunk(&frame.closing.concat()), http::LAST_CHUNK].concat());
    writes
}

async fn serve(mut stream: TcpStream, scripts: Rc<Scripts>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Ok(Some(body_at)) = http::read_request(&mut stream, &mut buffer).await {
        let model = model(&buffer[body_at..]).to_owned();
        // Held streams shall cost the gateway memory, and not this process.
        if buffer.capacity() > 16 * 1024 {
            buffer = Vec::new();
        }
        let written = match &*model {
            ANSWER => play(&mut stream, &scripts.answer).await,
            FLOOD => play(&mut stream, &scripts.flood).await,
            SLOW => play_slowly(&mut stream, &scripts.slow).await,
            _ => http::write(&mut stream, NOT_FOUND).await,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The `model` of a body; on both ways it stands at the front.
fn model(body: &[u8]) -> &str {
    const KEY: &[u8] = b"\"model\":\"";
    let Some(at) = memmem::find(body, KEY) else { return "" };
    let rest = &body[at + KEY.len()..];
    let end = memchr::memchr(b'"', rest).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or("")
}

async fn play(stream: &mut TcpStream, writes: &[Vec<u8>]) -> std::io::Result<()> {
    for bytes in writes {
        http::write(stream, bytes).await?;
    }
    Ok(())
}

async fn play_slowly(stream: &mut TcpStream, writes: &[Vec<u8>]) -> std::io::Result<()> {
    http::write(stream, &writes[0]).await?;
    for number in 0.. {
        http::write(stream, &http::chunk(&streams::text_delta(number, DELTA))).await?;
        tokio::time::sleep(SLOW_PAUSE).await;
    }
    Ok(())
}
