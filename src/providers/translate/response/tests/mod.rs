//! Tests of the response side: streams in, strictly checked Anthropic streams out.

mod transcript;

mod cuts;
mod properties;
mod rules;
mod streams;

use serde_json::{Value, json};

use super::{Reply, Step};
use crate::ids::ModelId;
use crate::providers::anthropic::events::EventWriter;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::{ReplyContext, ToolNames};
use transcript::Transcript;

fn context(profile: ProfileKind) -> ReplyContext {
    ReplyContext {
        profile,
        requested_model: "anthropic/gpt-5.5".to_owned(),
        upstream_model: ModelId::new("gpt-5.5"),
        tool_names: ToolNames::default(),
        stop_sequences: Vec::new(),
        max_output_tokens: None,
        input_estimate: 500,
        scope: "0123456789ab".to_owned(),
    }
}

fn sse(events: &[Value]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
}

/// Feeds `bytes` in chunks of `size`, then the end; the transcript and the last step.
fn run(context: ReplyContext, bytes: &[u8], size: usize) -> (Transcript, Step) {
    run_chunks(context, bytes.chunks(size.max(1)))
}

/// The same with chunks of any sizes.
fn run_chunks<'b>(context: ReplyContext, chunks: impl IntoIterator<Item = &'b [u8]>) -> (Transcript, Step) {
    let mut reply = Reply::new(context, "req_test");
    let (written, step) = feed(&mut reply, chunks);
    (Transcript::read(&written), step)
}

/// What was written, and the last step.
fn feed<'b>(reply: &mut Reply, chunks: impl IntoIterator<Item = &'b [u8]>) -> (Vec<u8>, Step) {
    let mut out = EventWriter::stream();
    let mut written = Vec::new();
    for chunk in chunks {
        let step = reply.feed(chunk, &mut out);
        written.extend_from_slice(&out.take_bytes());
        if matches!(step, Step::Failed(_)) {
            return (written, step);
        }
    }
    let step = reply.end(&mut out);
    written.extend_from_slice(&out.take_bytes());
    (written, step)
}

fn whole(context: ReplyContext, bytes: &[u8]) -> Option<Value> {
    let mut reply = Reply::new(context, "req_test");
    let mut out = EventWriter::whole();
    let _ = reply.feed(bytes, &mut out);
    let _ = reply.end(&mut out);
    out.into_message().map(|message| serde_json::from_slice(&message).unwrap())
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn delta(kind: &str, index: u64, text: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "output_index": index, "delta": text})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "content": [{"type": "output_text", "text": text}]})
}

fn call(call_id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}})
}
