//! The upstream: keeps to the plan that a request's prompt names.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::http;
use super::plan::{Plan, Way};
use super::workload::streams;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const MODELS: &str = r#"{"object":"list","data":[{"id":"soak"}]}"#;
const PAUSE: Duration = Duration::from_millis(15);

/// Serves for as long as the process runs.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Ok(Some(body_at)) = http::read_request(&mut stream, &mut buffer).await {
        let kept = match Plan::heard(&buffer[body_at..]) {
            None => http::write(&mut stream, json(200, MODELS).as_bytes()).await.map(|()| true),
            Some(plan) => keep(&mut stream, plan).await,
        };
        if !matches!(kept, Ok(true)) {
            return;
        }
    }
}

fn json(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// False: the connection is not to be used again.
async fn keep(stream: &mut TcpStream, plan: Plan) -> io::Result<bool> {
    let refusal = |status| json(status, r#"{"error":{"message":"Not now.","type":"server_error","code":null}}"#);
    match plan.way {
        Way::RateLimited => return http::write(stream, refusal(429).as_bytes()).await.map(|()| true),
        Way::Overloaded => return http::write(stream, refusal(503).as_bytes()).await.map(|()| true),
        _ => {}
    }
    let frame = streams::text_frame("soak", &plan.text());
    http::write(stream, &[HEAD, &http::chunk(&frame.opening.concat())].concat()).await?;
    for number in 0..plan.deltas {
        if matches!(plan.way, Way::Slow | Way::HungUp) {
            tokio::time::sleep(PAUSE).await;
        }
        let delta = streams::text_delta(usize::try_from(number).unwrap_or_default(), &plan.delta(number));
        http::write(stream, &http::chunk(&delta)).await?;
    }
    let last = match plan.way {
        Way::Cut => return Ok(false),
        Way::Reset => {
            let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            return Ok(false);
        }
        Way::Stalled => {
            while stream.read(&mut [0; 64]).await? > 0 {}
            return Ok(false);
        }
        Way::Garbage => b"data: {\"type\":\n\n".repeat(100),
        Way::Failed => streams::event(&serde_json::json!({"type": "response.failed", "response":
            {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "It failed."}}})),
        _ => frame.closing.concat(),
    };
    http::write(stream, &[&*http::chunk(&last), http::LAST_CHUNK].concat()).await?;
    Ok(true)
}
