//! The clock and the upstream as a client sees them: time stands still and jumps to the next timer, no socket is open.

use std::rc::Rc;
use std::time::{Duration, Instant as StdInstant};

use actix_web::web::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::super::refusals::Digest;
use super::super::testing::{judge, reply_context, worker};
use super::*;

type Chunks = BoxStream<'static, Result<Bytes, BodyFault>>;

const BODY: &str = r#"{"model":"model-0"}"#;

fn frame(event: &Value) -> Bytes {
    format!("data: {event}\n\n").into()
}

fn text(words: &str) -> Bytes {
    frame(&json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": words}))
}

fn completed() -> Bytes {
    frame(&json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}))
}

/// An answer that said `words` and goes on with `incoming`.
fn opened(
    worker: &Rc<Worker>,
    words: &str,
    started: bool,
    incoming: impl Stream<Item = Bytes> + Send + 'static,
) -> Opened<Chunks> {
    let mut reply = Reply::new(reply_context(), "req_1");
    if started {
        reply.assume_started();
    }
    let mut out = EventWriter::stream();
    assert_eq!(reply.feed(&text(words), &mut out), Step::Flowing);
    let mut judge = judge(worker, BODY);
    judge.commit();
    Opened { reply, out, rest: Rest::Coming(incoming.map(Ok).boxed()), judge }
}

fn record(worker: &Rc<Worker>) -> Record {
    Record::begin(worker.context.clone(), None, None)
}

fn flowing(worker: &Rc<Worker>, incoming: impl Stream<Item = Bytes> + Send + 'static) -> MessageStream<Chunks> {
    MessageStream::flowing(opened(worker, "Hel", false, incoming), worker, record(worker))
}

fn opening(
    worker: &Rc<Worker>,
    answer: impl Future<Output = Result<Opened<Chunks>, ApiError>> + 'static,
) -> MessageStream<Chunks> {
    let placeholder = Reply::new(reply_context(), "req_1");
    MessageStream::opening(answer.boxed_local(), placeholder, worker, record(worker))
}

/// Names of events, an error's with its type, and the texts between them.
fn told(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            match (name, &data["delta"]["text"], &data["error"]["type"]) {
                (_, Value::String(text), _) => text.clone(),
                (_, _, Value::String(kind)) => format!("error {kind}"),
                _ => name.to_owned(),
            }
        })
        .collect()
}

async fn next(stream: &mut MessageStream<Chunks>) -> Vec<String> {
    stream.next().await.map(|bytes| told(&bytes.unwrap())).unwrap_or_default()
}

async fn all(mut stream: MessageStream<Chunks>) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(bytes) = stream.next().await {
        events.extend(told(&bytes.unwrap()));
    }
    events
}

#[actix_rt::test]
async fn r_h1_a_late_answer_follows_what_was_begun_without_a_second_start() {
    tokio::time::pause();
    let worker = worker();
    let late = opened(&worker, "Hello", true, stream::iter([completed()]));
    let stream = opening(&worker, async {
        sleep(Duration::from_secs(3)).await;
        Ok(late)
    });
    let expected = [
        "message_start",
        "message_delta",
        "content_block_start",
        "Hello",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(all(stream).await, expected);
}

#[actix_rt::test]
async fn r_h1_a_failure_after_a_late_start_is_an_error_event() {
    let worker = worker();
    let stream = opening(&worker, async { Err(ApiError::new(429, ErrorKind::RateLimit, "slow down")) });
    assert_eq!(all(stream).await, ["message_start", "message_delta", "error rate_limit_error"]);
}

#[actix_rt::test]
async fn r_k1_and_r_k2_silence_is_filled_with_pings_and_each_minute_with_more() {
    tokio::time::pause();
    let worker = worker();
    let mut stream = flowing(&worker, stream::pending());
    assert_eq!(next(&mut stream).await, ["message_start", "content_block_start", "Hel"]);
    let start = Instant::now();
    for second in [10, 20, 30, 40, 50, 60, 70, 80] {
        let expected = if second == 60 { "" } else { "ping" };
        assert_eq!(next(&mut stream).await, [expected], "after {second} s");
        assert_eq!(start.elapsed().as_secs(), second);
    }
}

#[actix_rt::test]
async fn r_k2_without_an_open_block_the_no_op_is_a_null_delta() {
    tokio::time::pause();
    let worker = worker();
    let mut stream = opening(&worker, std::future::pending());
    assert_eq!(next(&mut stream).await, ["message_start", "message_delta"]);
    for expected in ["ping", "ping", "ping", "ping", "ping", "message_delta", "ping"] {
        assert_eq!(next(&mut stream).await, [expected]);
    }
}

#[actix_rt::test]
async fn r_k1_what_the_upstream_says_puts_the_ping_off() {
    tokio::time::pause();
    let worker = worker();
    let (tx, rx) = mpsc::unbounded_channel();
    let mut stream = flowing(&worker, UnboundedReceiverStream::new(rx));
    next(&mut stream).await;
    let start = Instant::now();
    actix_rt::spawn(async move {
        sleep(Duration::from_secs(6)).await;
        tx.send(text("lo")).unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(next(&mut stream).await, ["lo"]);
    assert_eq!(next(&mut stream).await, ["ping"]);
    assert_eq!(start.elapsed().as_secs(), 16);
}

#[actix_rt::test]
async fn r_k3_an_upstream_that_goes_silent_is_a_cut() {
    tokio::time::pause();
    let worker = worker();
    let idle_timeout = worker.context.settings.idle_timeout;
    let start = Instant::now();
    let events = all(flowing(&worker, stream::pending())).await;
    assert_eq!(events.last().unwrap(), "error overloaded_error", "no block is closed: the client may stream again");
    assert_eq!(start.elapsed().as_secs(), idle_timeout.as_secs());
}

#[actix_rt::test]
async fn r_x1_an_upstream_that_ends_too_early_is_a_cut() {
    let worker = worker();
    let events = all(flowing(&worker, stream::iter([text("lo")]))).await;
    assert_eq!(events, ["message_start", "content_block_start", "Hel", "lo", "error overloaded_error"]);
}

#[actix_rt::test]
async fn r_x3_a_late_failure_that_asking_again_cannot_mend_is_remembered() {
    let failure = |code: &str| {
        frame(&json!({"type": "response.failed", "response": {"error": {"code": code, "message": "No."}}}))
    };
    for (code, kind, remembered) in [
        ("cyber_policy", "error invalid_request_error", true),
        ("server_is_overloaded", "error overloaded_error", false),
    ] {
        let worker = worker();
        let events = all(flowing(&worker, stream::iter([failure(code)]))).await;
        assert_eq!(events.last().unwrap(), kind);
        let digest = || Digest::of(&worker.context.upstreams[0].backend.id, BODY.as_bytes());
        let answer = worker.refusals.borrow_mut().recall(StdInstant::now(), digest);
        assert_eq!(answer.is_some(), remembered, "{code}");
    }
}

#[actix_rt::test]
async fn a_quota_that_ends_late_sends_the_next_request_to_the_fallback() {
    let worker = worker();
    let failure =
        json!({"type": "response.failed", "response": {"error": {"code": "insufficient_quota", "message": "No."}}});
    all(flowing(&worker, stream::iter([frame(&failure)]))).await;
    assert!(worker.context.upstreams[0].state.skipped_until(0).is_some());
}

#[actix_rt::test]
async fn a_panic_ends_its_own_stream_with_an_error_event() {
    let worker = worker();
    let panics = stream::poll_fn(|_| -> Poll<Option<Bytes>> { panic!("a bug") });
    let events = all(flowing(&worker, panics)).await;
    assert_eq!(events, ["message_start", "content_block_start", "Hel", "error api_error"]);
}

#[actix_rt::test]
async fn a_stream_that_is_cut_says_that_the_gateway_stops() {
    let worker = worker();
    for mut stream in [flowing(&worker, stream::pending()), opening(&worker, std::future::pending())] {
        next(&mut stream).await;
        worker.context.cut.cancel();
        assert_eq!(next(&mut stream).await, ["error overloaded_error"]);
        assert!(next(&mut stream).await.is_empty());
    }
}

#[actix_rt::test]
async fn a_running_stream_counts_until_it_is_dropped() {
    let worker = worker();
    let stream = flowing(&worker, stream::pending());
    assert_eq!(worker.context.activity.running(), 1);
    drop(stream);
    assert_eq!(worker.context.activity.running(), 0);
}

#[actix_rt::test]
async fn a_late_overflow_tells_the_true_size_of_the_input() {
    let worker = worker();
    let message = "This model's maximum context length is 100 tokens.";
    let failure = json!({"type": "response.failed",
        "response": {"error": {"code": "context_length_exceeded", "message": message}}});
    let body: String =
        json!({"input": [{"content": [{"type": "input_text", "text": "so long ".repeat(100)}]}]}).to_string();
    let mut opened = opened(&worker, "Hel", false, stream::iter([frame(&failure)]));
    opened.judge = judge(&worker, body.leak());
    let mut stream = MessageStream::flowing(opened, &worker, record(&worker));
    next(&mut stream).await;
    let error = stream.next().await.unwrap().unwrap();
    // 200 words, the blank at the end, and seven for the item and the request.
    assert!(String::from_utf8_lossy(&error).contains("prompt is too long: 208 tokens > 100 maximum"), "{error:?}");
}
