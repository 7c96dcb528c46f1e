//! Conversations that nobody would write: whatever comes, the body is sound or the answer is a 400.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{KINDS, SCOPE, Upstream};
use crate::providers::anthropic::wire::MessagesRequest;
use crate::providers::openai::wire::request::Phase;
use crate::providers::translate::envelope::{Envelope, Kept};

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("a_2".to_owned()),
        Just("c:d".to_owned()),
        "[a-z|]{0,80}"
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("Read".to_owned()), Just("a.b".to_owned()), Just("a_b".to_owned()), "\\PC{0,70}"]
}

fn words() -> impl Strategy<Value = Value> {
    prop_oneof![Just(""), Just(" \n"), Just("plain"), Just("\"q\" \\ \u{1}é😀")]
        .prop_map(|text| json!({"type": "text", "text": text}))
}

fn signature() -> impl Strategy<Value = String> {
    let envelope = (any::<bool>(), proptest::option::of(id()), any::<bool>()).prop_map(|(plain, after, commentary)| {
        let kept = if plain { Kept::PlainText } else { Kept::Encrypted("E".into()) };
        let phase = commentary.then_some(Phase::Commentary);
        Envelope { model: "gpt-5.5".into(), after: after.map(Into::into), phase, kept }.encode(SCOPE)
    });
    prop_oneof![envelope, Just("gAAAA".to_owned()), Just(format!("cgw1.{SCOPE}.e30"))]
}

fn media() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iV BO"}})),
        Just(json!({"type": "image", "source": {"type": "url", "url": "https://a"}})),
        Just(json!({"type": "document", "source": {"type": "base64", "data": "JVBE"}})),
        Just(json!({"type": "document", "source": {"type": "text", "data": ""}})),
        Just(json!({"type": "image"})),
        Just(json!({"type": "search_result", "content": [{"type": "text", "text": "x"}]})),
        Just(json!({"type": "hologram", "x": [1, {"y": null}]})),
    ]
}

fn inner() -> impl Strategy<Value = Value> {
    prop_oneof![words(), media(), name().prop_map(|name| json!({"type": "tool_reference", "tool_name": name}))]
}

fn block() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        Just(Value::Null),
        Just(json!("out")),
        Just(json!({"odd": 1})),
        proptest::collection::vec(inner(), 0..3).prop_map(Value::from)
    ];
    let input = prop_oneof![Just(json!({"a": "\""})), Just(Value::Null), Just(json!("{\"b\":1}")), Just(json!([1]))];
    let call = (id(), name(), input)
        .prop_map(|(id, name, input)| json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    let result = (id(), content, any::<bool>())
        .prop_map(|(id, content, failed)| json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed}));
    let thinking =
        signature().prop_map(|signature| json!({"type": "thinking", "thinking": "hm", "signature": signature}));
    let mcp = (id(), any::<bool>()).prop_map(|(id, call)| match call {
        true => json!({"type": "mcp_tool_use", "id": id, "name": "x", "input": {}}),
        false => json!({"type": "mcp_tool_result", "tool_use_id": id, "content": "x"}),
    });
    prop_oneof![2 => words(), 4 => call, 4 => result, 2 => thinking, 1 => media(), 1 => mcp]
}

fn message() -> impl Strategy<Value = Value> {
    let role = prop_oneof![4 => Just("user"), 4 => Just("assistant"), 1 => Just("system")];
    (role, proptest::collection::vec(block(), 0..5)).prop_map(|(role, blocks)| json!({"role": role, "content": blocks}))
}

/// Tools with names of their own.
fn tools() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::btree_set(name(), 0..4)
        .prop_map(|names| names.into_iter().map(|name| json!({"name": name, "input_schema": {}})).collect())
}

/// Members of both APIs, and some of none.
fn parameter() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "max_tokens",
        "system",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "metadata",
        "thinking",
        "output_config",
        "output_format",
        "context_management",
        "tool_choice",
        "service_tier",
        "speed",
        "container",
        "mcp_servers",
        "stream",
        "store",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "previous_response_id",
        "reasoning",
        "safety_identifier",
        "truncation",
        "user",
        "of_tomorrow",
    ])
}

fn parameter_value() -> impl Strategy<Value = Value> {
    let format = json!({"type": "json_schema", "schema": {"type": "object", "properties": {}}});
    proptest::sample::select(vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(0.5),
        json!(4096),
        json!(-1),
        json!("x"),
        json!("auto"),
        json!("fast"),
        json!("standard_only"),
        json!([]),
        json!(["stop", 1]),
        json!([{"type": "text", "text": "s"}]),
        json!({"type": "any", "disable_parallel_tool_use": true}),
        json!({"type": "enabled", "budget_tokens": 1024}),
        json!({"type": "adaptive", "display": "omitted"}),
        json!({"effort": "max", "format": format}),
        json!({"user_id": "u"}),
        format,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_becomes_a_sound_body_twice_the_same(
        messages in proptest::collection::vec(message(), 1..8),
        tools in tools(),
    ) {
        let request = json!({"model": "m", "messages": messages, "tools": tools}).to_string();
        for kind in KINDS {
            let upstream = Upstream::of(kind, "gpt-5.5");
            match (upstream.try_bytes(request.as_bytes()), upstream.try_bytes(request.as_bytes())) {
                (Ok(one), Ok(two)) => prop_assert_eq!(one.body, two.body),
                (Err(one), Err(two)) => {
                    prop_assert_eq!(one.status, 400);
                    prop_assert_eq!(one, two);
                }
                (one, two) => prop_assert!(false, "{one:?} and {two:?}"),
            }
        }
    }

    #[test]
    fn whatever_a_request_holds_the_codex_body_keeps_to_its_allow_list(
        members in proptest::collection::vec((parameter(), parameter_value()), 0..12),
        tools in tools(),
    ) {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let mut request = json!({"model": "m", "max_tokens": 9, "messages": messages, "tools": tools});
        for (key, value) in members {
            request[key] = value;
        }
        for kind in KINDS {
            // The invariants know each list, and check every body that is made.
            if let Err(error) = Upstream::of(kind, "gpt-5.5").try_bytes(request.to_string().as_bytes()) {
                prop_assert_eq!(error.status, 400);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = MessagesRequest::parse(&bytes);
    }

    #[test]
    fn a_broken_recording_is_read_or_refused(at in 0usize..1300, byte in any::<u8>()) {
        let mut bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude/model_probe_nonstream.json")).to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = text.find("\"body\":").map_or("", |start| &text[start + 7..text.len().saturating_sub(2)]);
        if let Ok(request) = MessagesRequest::parse(body.as_bytes()) {
            let _ = request.stream();
            let _ = Upstream::openai().try_bytes(body.as_bytes());
        }
    }
}
