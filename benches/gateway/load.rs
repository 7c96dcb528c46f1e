//! The load client: so many requests over so many connections, and how long each took. Checks every answer, too.

use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::http;

/// What a load process is told, as one JSON argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub address: String,
    pub path: String,
    pub token: String,
    /// A file that holds the body.
    pub body: String,
    /// What every delta holds, and nothing else: it is looked for and counted.
    pub delta: String,
    pub deltas: usize,
    pub concurrency: usize,
    /// All connections together.
    pub requests: usize,
}

/// What a load process prints, as one line of JSON. Times in µs, from before the request is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub requests_per_second: f64,
    pub first_byte: Percentiles,
    pub first_delta: Percentiles,
    pub total: Percentiles,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

/// Requests of each connection before the clock starts.
const WARM_UP: usize = 3;

pub fn run(arguments: &[String]) {
    let order: Order = serde_json::from_str(&arguments[0]).expect("an order");
    let body = std::fs::read(&order.body).expect("the body's file");
    let asked = Rc::new(Asked { request: http::request(&order.path, &order.token, &body), order });
    let outcome = super::runtime().block_on(tokio::task::LocalSet::new().run_until(measure(asked)));
    println!("{}", serde_json::to_string(&outcome).expect("numbers"));
}

struct Asked {
    request: Vec<u8>,
    order: Order,
}

#[derive(Clone, Copy)]
struct Times {
    first_byte: Duration,
    first_delta: Duration,
    total: Duration,
}

async fn measure(asked: Rc<Asked>) -> Outcome {
    let mut connections = Vec::new();
    for _ in 0..asked.order.concurrency {
        let mut stream = http::connect(&asked.order.address).await.expect("the server listens");
        for _ in 0..WARM_UP {
            ask(&mut stream, &asked, &mut Vec::new()).await;
        }
        connections.push(stream);
    }
    let share = asked.order.requests / asked.order.concurrency;
    let begin = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut stream| {
            let asked = Rc::clone(&asked);
            tokio::task::spawn_local(async move {
                let (mut times, mut buffer) = (Vec::with_capacity(share), Vec::new());
                for _ in 0..share {
                    times.push(ask(&mut stream, &asked, &mut buffer).await);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("every answer is right"));
    }
    let requests_per_second = times.len() as f64 / begin.elapsed().as_secs_f64();
    Outcome {
        requests_per_second,
        first_byte: percentiles(&times, |times| times.first_byte),
        first_delta: percentiles(&times, |times| times.first_delta),
        total: percentiles(&times, |times| times.total),
    }
}

/// One request and its whole answer.
async fn ask(stream: &mut TcpStream, asked: &Asked, buffer: &mut Vec<u8>) -> Times {
    buffer.clear();
    let delta = asked.order.delta.as_bytes();
    let begin = Instant::now();
    http::write(stream, &asked.request).await.expect("the request is taken");
    let (mut first_byte, mut first_delta) = (None, None);
    while !buffer.ends_with(http::LAST_CHUNK) {
        let read = stream.read_buf(buffer).await.expect("the answer goes on");
        assert!(read > 0, "the answer was cut: {}", String::from_utf8_lossy(buffer));
        first_byte.get_or_insert_with(|| begin.elapsed());
        if first_delta.is_none() && memmem::find(buffer, delta).is_some() {
            first_delta = Some(begin.elapsed());
        }
    }
    let total = begin.elapsed();
    let deltas = memmem::find_iter(buffer, delta).count();
    assert_eq!(deltas, asked.order.deltas, "deltas in an answer of {} bytes", buffer.len());
    Times { first_byte: first_byte.unwrap_or(total), first_delta: first_delta.unwrap_or(total), total }
}

fn percentiles(times: &[Times], which: impl Fn(&Times) -> Duration) -> Percentiles {
    let mut sorted: Vec<f64> = times.iter().map(|times| which(times).as_secs_f64() * 1e6).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    Percentiles { p50: at(0.5), p99: at(0.99) }
}
