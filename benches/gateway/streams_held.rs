//! Holds so many slow streams open until its stdin ends: the memory that they cost is measured from outside.

use std::io::Read;
use std::sync::Arc;

use memchr::memmem;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::http;
use super::load::Order;

/// Requests that are being sent at one time. Unbounded, the connections would be a test of the backlog.
const OPENING_AT_ONCE: usize = 32;

pub fn run(arguments: &[String]) {
    super::raise_open_files();
    let order: Order = serde_json::from_str(&arguments[0]).expect("an order");
    let body = std::fs::read(&order.body).expect("the body's file");
    let request = Arc::new(http::request(&order.path, &order.token, &body));
    super::runtime().block_on(async move {
        let doors = Arc::new(Semaphore::new(OPENING_AT_ONCE));
        let opening: Vec<_> = (0..order.concurrency)
            .map(|_| {
                let (doors, request, order) = (Arc::clone(&doors), Arc::clone(&request), order.clone());
                tokio::spawn(async move {
                    let _permit = doors.acquire().await.expect("nobody closes it");
                    open(&order, &request).await
                })
            })
            .collect();
        for opened in opening {
            let stream = opened.await.expect("every stream opens");
            tokio::spawn(read_on(stream));
        }
        println!("open");
        let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = closed.await;
    });
}

/// Asks, and reads until the first delta.
async fn open(order: &Order, request: &[u8]) -> TcpStream {
    let mut stream = http::connect(&order.address).await.expect("the server listens");
    http::write(&mut stream, request).await.expect("the request is taken");
    let mut buffer = Vec::new();
    while memmem::find(&buffer, order.delta.as_bytes()).is_none() {
        let read = stream.read_buf(&mut buffer).await.expect("the answer goes on");
        assert!(read > 0, "the answer was cut: {}", String::from_utf8_lossy(&buffer));
    }
    stream
}

async fn read_on(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
