//! The translation alone: a request of three sizes, and streams event by event.
//!
//! `cargo bench --bench translate`. Of the streams, one iteration is 1000 events, each fed as a chunk of its own and its
//! output taken, so a time in µs is ns per event and an `alloc` of 1 is 0.001 allocations per event.

use claudette::ids::ModelId;
use claudette::providers::anthropic::events::EventWriter;
use claudette::providers::anthropic::wire::MessagesRequest;
use claudette::providers::openai::models::ModelFacts;
use claudette::providers::profile::{Profile, ProfileKind};
use claudette::providers::translate::request::{RequestContext, Translated, translate};
use claudette::providers::translate::response::Reply;
use claudette::providers::translate::{Omissions, ReplyContext, ToolNames};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};

use workload::requests::{Size, request};
use workload::streams;

mod workload;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const MODEL: &str = "gpt-5.5";

/// Events of one iteration.
const EVENTS: usize = 1000;

fn main() {
    divan::main();
}

#[divan::bench]
fn request_2_kb(bencher: Bencher<'_, '_>) {
    bench_request(bencher, Size::Small);
}

#[divan::bench]
fn request_85_kb(bencher: Bencher<'_, '_>) {
    bench_request(bencher, Size::Session);
}

#[divan::bench]
fn request_1_mb(bencher: Bencher<'_, '_>) {
    bench_request(bencher, Size::Conversation);
}

fn bench_request(bencher: Bencher<'_, '_>, size: Size) {
    let body = request(size, MODEL);
    let profile = Profile::of(ProfileKind::OpenAi);
    let facts = ModelFacts::of(&ModelId::from(MODEL), &profile, None);
    let omit = Omissions::default();
    let context = RequestContext {
        profile: &profile,
        scope: "0123456789ab",
        model: &facts,
        session_id: Some("00000000-0000-4000-8000-000000000000"),
        agent_id: None,
        omit: &omit,
    };
    bencher.counter(BytesCount::new(body.len())).bench(|| translated(black_box(&body), &context));
}

/// From the client's bytes to the upstream's.
fn translated(body: &[u8], context: &RequestContext<'_>) -> Translated {
    let request = MessagesRequest::parse(body).expect("the workload is a request");
    translate(&request, context).expect("the workload can be translated")
}

#[divan::bench]
fn stream_text(bencher: Bencher<'_, '_>) {
    let opening = streams::text_frame(MODEL, "").opening;
    bench_stream(bencher, &opening, |number| streams::text_delta(number, " and the next"));
}

#[divan::bench]
fn stream_interleaved_calls(bencher: Bencher<'_, '_>) {
    bench_stream(bencher, &streams::calls_opening(MODEL), streams::call_delta);
}

#[divan::bench]
fn stream_reasoning(bencher: Bencher<'_, '_>) {
    bench_stream(bencher, &streams::reasoning_opening(MODEL), streams::reasoning_delta);
}

fn bench_stream(bencher: Bencher<'_, '_>, opening: &[Vec<u8>], delta: impl Fn(usize) -> Vec<u8>) {
    let events: Vec<_> = (0..EVENTS).map(delta).collect();
    let begun = || {
        let (mut reply, mut out) = (Reply::new(reply_context(), "req_1"), EventWriter::stream());
        for event in opening {
            feed(&mut reply, event, &mut out);
        }
        (reply, out)
    };
    bencher.counter(ItemsCount::new(EVENTS)).with_inputs(begun).bench_local_refs(|(reply, out)| {
        for event in &events {
            feed(reply, black_box(event), out);
        }
    });
}

fn feed(reply: &mut Reply, event: &[u8], out: &mut EventWriter) {
    let _ = black_box(reply.feed(event, out));
    black_box(out.take_bytes());
}

fn reply_context() -> ReplyContext {
    ReplyContext {
        profile: ProfileKind::OpenAi,
        requested_model: "claude-opus-4-8".to_owned(),
        upstream_model: ModelId::from(MODEL),
        tool_names: ToolNames::default(),
        stop_sequences: Vec::new(),
        max_output_tokens: None,
        input_estimate: 20_000,
        scope: "0123456789ab".to_owned(),
    }
}
