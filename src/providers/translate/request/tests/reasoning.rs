//! The reasoning round trip: WIRE.md §1.5.

use serde_json::{Value, json};

use super::{SCOPE, Upstream};
use crate::providers::openai::wire::request::Phase;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::envelope::{Envelope, Kept};

fn sealed(content: &'static str) -> Envelope<'static> {
    Envelope { model: "gpt-5.5".into(), after: None, phase: None, kept: Kept::Encrypted(content.into()) }
}

fn thinking(signature: &str) -> Value {
    json!({"type": "thinking", "thinking": "hm", "signature": signature})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn results(ids: &[&str]) -> Value {
    let blocks = ids.iter().map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "x"}));
    json!({"role": "user", "content": blocks.collect::<Vec<_>>()})
}

fn turn(blocks: Value, ids: &[&str]) -> Value {
    json!([{"role": "user", "content": "go"}, {"role": "assistant", "content": blocks}, results(ids)])
}

fn outline(input: &Value) -> Vec<String> {
    let word = |item: &Value| match item["type"].as_str().unwrap() {
        "reasoning" => item["encrypted_content"].as_str().or(item["content"][0]["text"].as_str()).unwrap().to_owned(),
        "message" => item["role"].as_str().unwrap().to_owned(),
        "function_call" => item["call_id"].as_str().unwrap().to_owned(),
        _ => "out".to_owned(),
    };
    input.as_array().unwrap().iter().map(word).collect()
}

#[test]
fn q_r3_our_own_reasoning_is_replayed_as_the_bare_item() {
    let blocks = json!([thinking(&sealed("E").encode(SCOPE)), call("1")]);
    let translated = Upstream::codex().translated(&json!({"model": "m", "messages": turn(blocks, &["1"])}));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["input"][1], json!({"type": "reasoning", "summary": [], "encrypted_content": "E"}));
    assert_eq!(translated.replayed_reasoning, Some(1));
}

#[test]
fn q_r3_redacted_thinking_is_replayed_too() {
    let block = json!({"type": "redacted_thinking", "data": sealed("E").encode(SCOPE)});
    assert_eq!(outline(&Upstream::openai().input(turn(json!([block, call("1")]), &["1"]))), ["user", "E", "1", "out"]);
}

#[test]
fn q_r2_only_the_same_upstream_and_family_gets_it_back() {
    let of_model = |model: &'static str| Envelope { model: model.into(), ..sealed("E") }.encode(SCOPE);
    let cases = [
        (of_model("gpt-5.5"), true),
        (of_model("gpt-5.5-2026-04-01"), true),
        (of_model("gpt-5.4"), false),
        (of_model("gpt-5.5-codex"), false),
        (sealed("E").encode("ffffffffffff"), false),
        ("gAAAAABo".to_owned(), false),
        ("EqQBCkYIBxgCKkD".to_owned(), false),
        (String::new(), false),
        (format!("cgw1.{SCOPE}.broken"), false),
    ];
    for (signature, replayed) in cases {
        let input = Upstream::openai().input(turn(json!([thinking(&signature), call("1")]), &["1"]));
        assert_eq!(outline(&input).contains(&"E".to_owned()), replayed, "{signature}");
    }
}

#[test]
fn q_r2_encrypted_reasoning_needs_the_profiles_consent() {
    let mut upstream = Upstream::of(ProfileKind::Custom, "gpt-5.5");
    let messages = turn(json!([thinking(&sealed("E").encode(SCOPE)), call("1")]), &["1"]);
    assert_eq!(outline(&upstream.input(messages.clone())), ["user", "1", "out"]);
    upstream.profile.encrypted_reasoning = true;
    assert_eq!(outline(&upstream.input(messages)), ["user", "E", "1", "out"]);
}

#[test]
fn q_r4_plain_reasoning_goes_back_inside_the_tool_loop_only() {
    let signature = Envelope { model: "qwen3-coder".into(), kept: Kept::PlainText, ..sealed("") }.encode(SCOPE);
    let mut messages = turn(json!([thinking(&signature), call("1")]), &["1"]);
    let upstream = Upstream::custom();
    let input = upstream.input(messages.clone());
    let expected = json!({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]});
    assert_eq!(input[1], expected);
    messages.as_array_mut().unwrap().push(json!({"role": "user", "content": "next"}));
    assert_eq!(outline(&upstream.input(messages)), ["user", "1", "out", "user"]);
}

#[test]
fn q_r4_plain_reasoning_goes_to_no_openai_upstream() {
    let signature = Envelope { kept: Kept::PlainText, ..sealed("") }.encode(SCOPE);
    for upstream in [Upstream::openai(), Upstream::codex()] {
        let messages = turn(json!([thinking(&signature), call("1")]), &["1"]);
        assert_eq!(outline(&upstream.input(messages)), ["user", "1", "out"]);
    }
}

#[test]
fn q_r5_reasoning_moves_back_behind_the_call_it_followed() {
    let behind = |content: &'static str, call: &'static str| {
        thinking(&Envelope { after: Some(call.into()), ..sealed(content) }.encode(SCOPE))
    };
    let blocks =
        json!([thinking(&sealed("A").encode(SCOPE)), behind("B", "1"), behind("C", "1"), call("1"), call("2")]);
    let input = Upstream::openai().input(turn(blocks, &["1", "2"]));
    assert_eq!(outline(&input), ["user", "A", "1", "B", "C", "2", "out", "out"]);
    let elsewhere = json!([behind("B", "9"), call("1")]);
    assert_eq!(outline(&Upstream::openai().input(turn(elsewhere, &["1"]))), ["user", "B", "1", "out"]);
}

#[test]
fn q_r5_an_interrupted_call_is_answered_before_the_next_turns_reasoning() {
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [call("1")]},
        {"role": "assistant", "content": [thinking(&sealed("E").encode(SCOPE)), {"type": "text", "text": "a"}]},
    ]);
    assert_eq!(outline(&Upstream::openai().input(messages)), ["user", "1", "out", "E", "assistant"]);
}

#[test]
fn q_r6_reasoning_that_nothing_follows_is_dropped() {
    let alone = thinking(&sealed("E").encode(SCOPE));
    let text = json!({"type": "text", "text": "a"});
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [text, alone]},
        {"role": "user", "content": "next"},
        {"role": "assistant", "content": [alone, alone]},
    ]);
    let translated = Upstream::openai().translated(&json!({"model": "m", "messages": messages}));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(outline(&body["input"]), ["user", "assistant", "user"]);
    assert_eq!(translated.replayed_reasoning, None);
}

#[test]
fn q_r7_reasoning_items_can_be_left_out_for_one_request() {
    let mut upstream = Upstream::openai();
    upstream.omit.reasoning_items = true;
    let messages = turn(json!([thinking(&sealed("E").encode(SCOPE)), call("1")]), &["1"]);
    assert_eq!(outline(&upstream.input(messages)), ["user", "1", "out"]);
}

#[test]
fn q_m8_the_envelopes_phase_beats_the_derived_one() {
    let signature = Envelope { phase: Some(Phase::Commentary), ..sealed("E") }.encode(SCOPE);
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [thinking(&signature), {"type": "text", "text": "a"}]},
        {"role": "user", "content": "on"},
    ]);
    assert_eq!(Upstream::openai().input(messages)[2]["phase"], "commentary");
}

#[test]
fn q_r2_thinking_that_is_dropped_leaves_no_cut_in_the_text() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [text("a"), thinking("EqQBCkYI"), text("b")]},
    ]);
    let input = Upstream::custom().input(messages);
    assert_eq!(input[1]["content"], json!([{"type": "output_text", "text": "a\n\nb"}]));
}
