//! The stream translator: whatever an upstream sends, `claude` gets a well-formed stream that no chunking changes, and a
//! client that does not stream gets JSON. The first byte says how the request was made, the second how bytes are cut.
#![no_main]

use claudette::ids::ModelId;
use claudette::providers::anthropic::events::EventWriter;
use claudette::providers::profile::ProfileKind;
use claudette::providers::translate::response::{Reply, Step};
use claudette::providers::translate::{ReplyContext, ToolNames};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let [options, size, stream @ ..] = input else { return };
    let pieces = stream.chunks(usize::from(*size).max(1));
    let (whole, end) = translated(*options, stream.chunks(stream.len().max(1)), EventWriter::stream());
    let (whole, events) = (bytes(whole), end.clone());
    let (pieced, end_of_pieces) = translated(*options, pieces, EventWriter::stream());
    assert_eq!(whole, bytes(pieced));
    assert_eq!(events, end_of_pieces);
    check(&whole, end == Step::Finished);
    let (message, end) = translated(*options, stream.chunks(4096), EventWriter::whole());
    let message = message.into_message();
    assert_eq!(message.is_some(), end == Step::Finished);
    if let Some(message) = message {
        serde_json::from_slice::<Value>(&message).expect("a message is JSON");
    }
});

fn translated<'a>(options: u8, chunks: impl Iterator<Item = &'a [u8]>, mut out: EventWriter) -> (EventWriter, Step) {
    let mut reply = Reply::new(context(options), "req_1");
    for chunk in chunks {
        let _ = reply.feed(chunk, &mut out);
    }
    let step = reply.end(&mut out);
    (out, step)
}

fn bytes(mut out: EventWriter) -> Vec<u8> {
    out.take_bytes().to_vec()
}

fn context(options: u8) -> ReplyContext {
    ReplyContext {
        profile: [ProfileKind::OpenAi, ProfileKind::Codex, ProfileKind::Custom][usize::from(options % 3)],
        requested_model: "claude-opus-4-8".to_owned(),
        upstream_model: ModelId::from("gpt-5.5"),
        tool_names: ToolNames::default(),
        stop_sequences: if options & 64 == 0 { Vec::new() } else { vec!["I".to_owned(), "the \n".to_owned()] },
        max_output_tokens: (options & 128 != 0).then_some(100),
        input_estimate: 1000,
        scope: "0123456789ab".to_owned(),
    }
}

/// The grammar of Anthropic's stream, as a client relies on it.
fn check(stream: &[u8], finished: bool) {
    let text = std::str::from_utf8(stream).expect("events are text");
    let (mut started, mut open, mut next, mut ended) = (false, None, 0, false);
    for frame in text.split_terminator("\n\n") {
        let (name, data) = frame.split_once('\n').expect("an event has two lines");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("data is JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert!(!ended, "after the end: {frame}");
        let kind = data["type"].as_str().unwrap_or_default();
        assert_eq!(kind == "message_start", !started, "{frame}");
        let index = data["index"].as_u64();
        match kind {
            "message_start" => started = true,
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(next)), "{frame}");
                open = index;
            }
            "content_block_delta" => assert!(index.is_some() && index == open, "{frame}"),
            "content_block_stop" => {
                assert!(index.is_some() && index == open, "{frame}");
                (open, next) = (None, next + 1);
            }
            "message_delta" => assert_eq!(open, None, "{frame}"),
            "message_stop" => ended = true,
            other => panic!("{other} is no event of a stream"),
        }
    }
    assert_eq!(ended, finished);
}
