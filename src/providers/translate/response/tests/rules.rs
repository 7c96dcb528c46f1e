//! One test per rule of WIRE.md §2 and §3.4, on hand-written events.

use serde_json::{Value, json};

use super::transcript::Transcript;
use super::{added, call, completed, context, delta, done, message, run, sse, whole};
use crate::providers::anthropic::events::{EventWriter, StopReason};
use crate::providers::profile::ProfileKind::{self, Codex, Custom, OpenAi};
use crate::providers::translate::response::{Failure, Reply, Step};
use crate::providers::translate::{ApiError, ErrorKind, ReplyContext};

fn read_in(context: ReplyContext, events: &[Value]) -> Transcript {
    let bytes = sse(events);
    let (transcript, step) = run(context.clone(), &bytes, bytes.len());
    assert_eq!(step, Step::Finished, "{transcript:?}");
    assert_eq!(run(context, &bytes, 5), (transcript.clone(), step), "in other chunks");
    transcript
}

fn read(profile: ProfileKind, events: &[Value]) -> Transcript {
    read_in(context(profile), events)
}

fn blocks(profile: ProfileKind, events: &[Value]) -> Vec<String> {
    read(profile, events).blocks
}

fn ended(status: &str, details: Value, usage: Value) -> Value {
    json!({"type": "response.completed",
        "response": {"status": status, "incomplete_details": details, "output": [], "usage": usage}})
}

#[test]
fn r_p2_three_events_that_are_no_json_pass_and_the_fourth_fails() {
    let text = sse(&[done(0, message("a")), completed()]);
    for (count, wanted) in [(3, Step::Finished), (4, Step::Failed(Failure::Malformed))] {
        let bytes = [b"data: not json\n\n".repeat(count), b"data: [DONE]\n\n".repeat(9), text.clone()].concat();
        assert_eq!(run(context(OpenAi), &bytes, 9).1, wanted);
    }
}

#[test]
fn r_p2_the_event_line_stands_in_for_a_missing_type() {
    let bytes =
        b"event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\nevent: response.completed\ndata: {}\n\n";
    let (transcript, step) = run(context(Custom), bytes, 4);
    assert_eq!((transcript.blocks, step), (vec![r#"text "hi""#.to_owned()], Step::Finished));
}

#[test]
fn r_p1_a_pending_event_at_the_end_counts_if_it_is_whole() {
    let mut bytes = sse(&[done(0, message("a")), completed()]);
    bytes.truncate(bytes.len() - 2);
    assert_eq!(run(context(OpenAi), &bytes, 9).1, Step::Finished);
    bytes.truncate(bytes.len() - 1);
    assert_eq!(run(context(OpenAi), &bytes, 9).1, Step::Failed(Failure::Cut));
}

#[test]
fn r_p4_the_first_byte_says_what_a_body_is() {
    let object = br#" {"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#;
    let error = br#"{"error":{"message":"no","code":400}}"#;
    let empty_error = br#"{"output":[],"error":{"message":"no"}}"#;
    let failed = br#"{"status":"failed","output":[]}"#;
    let page = b"\n<html>hello</html>";
    let reported =
        |event: &[u8]| Step::Failed(Failure::Reported { event: String::from_utf8_lossy(event).into_owned() });
    let cases: &[(&[u8], Step)] = &[
        (object, Step::Finished),
        (b"\xef\xbb\xbf{\"output\":[]}", Step::Finished),
        (error, reported(error)),
        (empty_error, reported(empty_error)),
        (failed, reported(failed)),
        (b"{\"detail\":\"x\"}", reported(b"{\"detail\":\"x\"}")),
        (b"{\"output\":[", Step::Failed(Failure::Cut)),
        (b"{\"output\":]}", Step::Failed(Failure::Malformed)),
        (page, Step::Failed(Failure::Html("\n<html>hello</html>".to_owned()))),
        (b"", Step::Failed(Failure::Empty)),
        (b" \r\n ", Step::Failed(Failure::Empty)),
        (b": comment\n\n", Step::Failed(Failure::Cut)),
        (b"data: {\"error\":{\"message\":\"no\"}}\n\n", reported(b"{\"error\":{\"message\":\"no\"}}")),
    ];
    for (bytes, wanted) in cases {
        for size in [1, 3, 1000] {
            let step = run(context(OpenAi), bytes, size).1;
            assert_eq!(step, *wanted, "{}", String::from_utf8_lossy(bytes));
        }
    }
    assert_eq!(run(context(OpenAi), object, 1).0.blocks, [r#"text "hi""#]);
}

#[test]
fn r_p5_only_numbered_events_can_be_duplicates() {
    let numbered = json!({"type": "response.output_text.delta", "delta": "a", "sequence_number": 4});
    let bare = json!({"type": "response.output_text.delta", "delta": "b"});
    let events = [numbered.clone(), numbered, bare.clone(), bare, completed()];
    assert_eq!(blocks(OpenAi, &events), [r#"text "abb""#]);
}

#[test]
fn r_h1_lifecycle_and_metadata_are_held() {
    let held = [
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.5-2026"}}),
        json!({"type": "response.queued"}),
        json!({"type": "response.in_progress"}),
        json!({"type": "codex.rate_limits"}),
        json!({"type": "codex.response.metadata"}),
        json!({"type": "response.metadata"}),
        json!({"type": "keepalive"}),
        json!({"type": "response.hologram"}),
    ];
    let mut reply = Reply::new(context(Codex), "req_test");
    let mut out = EventWriter::stream();
    assert_eq!(reply.feed(&sse(&held), &mut out), Step::Held);
    assert!(out.is_empty() && !reply.committed());
    assert_eq!(reply.upstream_model_reported(), Some("gpt-5.5-2026"));
    assert_eq!(reply.take_rate_limits().as_deref(), Some(r#"{"type":"codex.rate_limits"}"#));
    assert_eq!(reply.summary().unknown_events, 1);
    assert_eq!(reply.feed(&sse(&[added(0, json!({"type": "message", "id": "m"}))]), &mut out), Step::Flowing);
    assert_eq!(Transcript::read(&out.take_bytes()).start["id"], "msg_resp_1");
}

#[test]
fn r_h1_the_end_of_the_hold_writes_the_head_once_and_null_deltas_after_it() {
    let mut reply = Reply::new(context(Codex), "req_test");
    let mut out = EventWriter::stream();
    reply.keep_alive(&mut out);
    assert!(out.is_empty());
    reply.commit(&mut out);
    reply.commit(&mut out);
    reply.keep_alive(&mut out);
    out.ping();
    let transcript = Transcript::read(&out.take_bytes());
    assert_eq!(transcript.frames, ["message_start", "message_delta", "ping"]);
    assert_eq!(transcript.start["id"], "msg_req_test");
}

#[test]
fn r_h1_a_head_that_somebody_else_wrote_does_not_make_the_answer_begin() {
    let mut reply = Reply::new(context(Codex), "req_test");
    let mut out = EventWriter::stream();
    reply.assume_started();
    assert_eq!(reply.feed(&sse(&[json!({"type": "response.in_progress"})]), &mut out), Step::Held);
    let events = [added(0, json!({"type": "message"})), delta("output_text", 0, "hi")];
    assert_eq!(reply.feed(&sse(&events), &mut out), Step::Flowing);
    assert!(!String::from_utf8_lossy(&out.take_bytes()).contains("message_start"));
}

#[test]
fn r_k2_the_open_block_gets_an_empty_delta() {
    let opened = [
        (added(0, json!({"type": "reasoning", "id": "r"})), "thinking"),
        (delta("output_text", 0, "a"), "text"),
        (added(0, call("c", "Read", "")), "tool_use"),
    ];
    for (event, kind) in opened {
        let mut reply = Reply::new(context(Codex), "req_test");
        let mut out = EventWriter::stream();
        let _ = reply.feed(&sse(&[event]), &mut out);
        reply.keep_alive(&mut out);
        let transcript = Transcript::read(&out.take_bytes());
        assert!(transcript.blocks[0].starts_with(kind));
        assert_eq!(transcript.frames.last().unwrap(), "content_block_delta");
    }
}

#[test]
fn r_w6_long_and_odd_response_ids_are_cut() {
    for id in ["r".repeat(600), "a:b/c".to_owned(), "\u{e9}".repeat(80)] {
        let created = json!({"type": "response.created", "response": {"id": id}});
        read(Custom, &[created, done(0, message("a")), completed()]);
    }
}

#[test]
fn active_the_lowest_index_owns_the_stream_and_the_others_wait() {
    let events = [
        added(0, json!({"type": "message", "id": "m0"})),
        added(1, call("c1", "Read", "")),
        added(2, call("c2", "Bash", "")),
        delta("function_call_arguments", 2, "{\"b\":"),
        delta("function_call_arguments", 1, "{\"a\":"),
        delta("output_text", 0, "first"),
        delta("function_call_arguments", 1, "1}"),
        delta("function_call_arguments", 2, "2}"),
        done(2, call("c2", "Bash", "{\"b\":2}")),
        done(1, call("c1", "Read", "{\"a\":1}")),
        done(0, message("first")),
        completed(),
    ];
    let wanted = [r#"text "first""#, r#"tool_use c1 Read {"a":1}"#, r#"tool_use c2 Bash {"b":2}"#];
    for profile in [OpenAi, Codex] {
        assert_eq!(blocks(profile, &events), wanted);
    }
}

#[test]
fn active_a_call_without_a_name_lets_later_items_pass() {
    let events = [
        added(0, json!({"type": "function_call", "id": "f", "call_id": "c"})),
        delta("output_text", 1, "text"),
        done(1, message("text")),
        json!({"type": "response.function_call_arguments.done", "item_id": "f", "name": "Read", "arguments": "{}"}),
        completed(),
    ];
    assert_eq!(blocks(OpenAi, &events), [r#"text "text""#, "tool_use c Read {}"]);
    assert_eq!(blocks(Custom, &events), ["tool_use c Read {}", r#"text "text""#]);
}

#[test]
fn active_a_call_that_gets_its_name_takes_the_turn_back_from_text() {
    let events = [
        added(0, json!({"type": "function_call", "id": "f", "call_id": "c"})),
        delta("output_text", 1, "one"),
        done(0, json!({"type": "function_call", "id": "f", "call_id": "c", "name": "Read", "arguments": "{}"})),
        delta("output_text", 1, "two"),
        completed(),
    ];
    assert_eq!(blocks(OpenAi, &events), [r#"text "one""#, "tool_use c Read {}", r#"text "two""#]);
}

#[test]
fn active_custom_thinking_that_lost_its_turn_is_signed_as_text() {
    let reasoning = json!({"type": "reasoning", "id": "r", "encrypted_content": "early"});
    let events = |place: usize| {
        let mut events =
            vec![added(0, reasoning.clone()), delta("reasoning_text", 0, "hm"), delta("output_text", 1, "a")];
        events.insert(place, done(0, reasoning.clone()));
        events.push(completed());
        events
    };
    let passed = r#"thinking "hm" {"k":"t","m":"gpt-5.5"}"#;
    let finished = r#"thinking "hm" {"k":"e","m":"gpt-5.5","e":"early"}"#;
    assert_eq!(blocks(Custom, &events(3))[0], passed);
    assert_eq!(blocks(Custom, &events(2))[0], finished);
}

#[test]
fn active_items_of_unknown_type_never_own_the_stream() {
    let events = [
        added(0, json!({"type": "hologram", "id": "h"})),
        delta("output_text", 1, "text"),
        done(0, json!({"type": "hologram", "id": "h"})),
        completed(),
    ];
    assert_eq!(blocks(OpenAi, &events), [r#"text "text""#]);
    assert_eq!(blocks(Custom, &events), [r#"text "text""#]);
}

#[test]
fn active_custom_newcomers_take_the_turn_from_text_and_thinking() {
    let reasoning = json!({"type": "reasoning", "id": "r", "encrypted_content": ""});
    let events = [
        added(0, reasoning.clone()),
        delta("reasoning_text", 0, "hm"),
        added(1, json!({"type": "message", "id": "m"})),
        delta("output_text", 1, "one"),
        added(2, call("c1", "Read", "")),
        delta("output_text", 1, " two"),
        delta("reasoning_text", 0, " lost"),
        added(3, call("c2", "Bash", "{}")),
        done(2, call("c1", "Read", "{}")),
        done(0, reasoning),
        done(3, call("c2", "Bash", "{}")),
        done(1, message("one two")),
        completed(),
    ];
    let wanted = [
        r#"thinking "hm" {"k":"t","m":"gpt-5.5"}"#,
        r#"text "one""#,
        "tool_use c1 Read {}",
        "tool_use c2 Bash {}",
        r#"text " two""#,
    ];
    assert_eq!(blocks(Custom, &events), wanted);
}

#[test]
fn active_text_streams_behind_unfinished_thinking_in_the_custom_profile_only() {
    let start = [added(0, json!({"type": "reasoning", "id": "r"})), added(1, json!({"type": "message", "id": "m"}))];
    for (profile, wanted) in [(Custom, true), (OpenAi, false)] {
        let mut reply = Reply::new(context(profile), "req_test");
        let mut out = EventWriter::stream();
        let _ = reply.feed(&sse(&start), &mut out);
        let _ = reply.feed(&sse(&[delta("output_text", 1, "now")]), &mut out);
        let written = String::from_utf8(out.take_bytes().to_vec()).unwrap();
        assert_eq!(written.contains("now"), wanted, "{profile:?}");
    }
}

#[test]
fn items_are_found_by_id_then_call_id_then_index() {
    let first = json!({"type": "function_call", "id": "f1", "call_id": "c", "name": "Read", "arguments": "{}"});
    let second = json!({"type": "function_call", "id": "f2", "call_id": "c", "name": "Read", "arguments": "{\"x\":1}"});
    let wanted = ["tool_use c Read {}", r#"tool_use c_2 Read {"x":1}"#];
    // Two calls with one call id are two if all else differs, whatever the events are.
    assert_eq!(blocks(OpenAi, &[done(0, first.clone()), done(1, second.clone()), completed()]), wanted);
    let output = json!({"type": "response.completed", "response": {"output": [first.clone(), second]}});
    assert_eq!(blocks(OpenAi, &[output]), wanted);
    // One call told of under another id and no index is the same.
    let renamed = json!({"type": "function_call", "id": "other", "call_id": "c", "name": "Read", "arguments": "{}"});
    let events = [done(0, first), json!({"type": "response.output_item.done", "item": renamed}), completed()];
    assert_eq!(blocks(OpenAi, &events), ["tool_use c Read {}"]);
}

#[test]
fn a_known_index_with_another_type_or_call_is_a_new_item() {
    let events =
        [done(0, call("c1", "Read", "{}")), done(0, message("text")), done(0, call("c2", "Bash", "{}")), completed()];
    assert_eq!(blocks(Custom, &events), ["tool_use c1 Read {}", r#"text "text""#, "tool_use c2 Bash {}"]);
}

#[test]
fn a_new_id_at_the_place_of_a_finished_item_is_a_new_item() {
    let named =
        |id: &str, text: &str| json!({"type": "message", "id": id, "content": [{"type": "output_text", "text": text}]});
    let events = [done(0, named("m1", "one")), added(0, named("m2", "")), done(0, named("m2", "two")), completed()];
    assert_eq!(blocks(Custom, &events), [r#"text "one""#, r#"text "two""#]);
}

#[test]
fn an_item_added_without_names_learns_them_from_what_follows() {
    let named = json!({"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "one"}]});
    let text = json!({"type": "response.output_text.delta", "item_id": "m1", "delta": "on"});
    let start = json!({"type": "response.output_item.added", "item": {"type": "message"}});
    let end = json!({"type": "response.output_item.done", "item": named});
    assert_eq!(blocks(Custom, &[start.clone(), text, end.clone(), completed()]), [r#"text "one""#]);
    assert_eq!(blocks(Custom, &[start, end, completed()]), [r#"text "one""#]);
}

#[test]
fn a_place_may_be_known_under_several_ids() {
    let text = |id: &str, text: &str| json!({"type": "response.output_text.delta", "output_index": 0, "item_id": id, "delta": text});
    let last = json!({"type": "response.output_text.delta", "item_id": "b", "delta": "c"});
    let events = [added(0, json!({"type": "message", "id": "a"})), text("a", "a"), text("b", "b"), last, completed()];
    assert_eq!(blocks(OpenAi, &events), [r#"text "abc""#]);
}

#[test]
fn deltas_without_keys_mean_the_latest_item_or_make_one() {
    let bare = |kind: &str, text: &str| json!({"type": format!("response.{kind}.delta"), "delta": text});
    let events = [bare("reasoning_text", "hm"), bare("output_text", "a"), bare("output_text", "b"), completed()];
    assert_eq!(blocks(Custom, &events), [r#"thinking "hm" {"k":"t","m":"gpt-5.5"}"#, r#"text "ab""#]);
}

#[test]
fn white_space_at_the_start_of_a_message_waits_for_text() {
    let events = |rest: &str| [delta("output_text", 0, "\n\u{2003}"), delta("output_text", 0, rest), completed()];
    assert_eq!(blocks(OpenAi, &events(" ")), [""; 0]);
    assert_eq!(blocks(OpenAi, &events("x\n")), ["text \"\\n\u{2003}x\\n\""]);
}

#[test]
fn the_suffix_rule_writes_what_is_missing_and_nothing_twice() {
    let text_done = |text: &str| json!({"type": "response.output_text.done", "output_index": 0, "text": text});
    let cases = [
        (vec![delta("output_text", 0, "ab"), text_done("abcd"), done(0, message("abcdef"))], r#"text "abcdef""#),
        (vec![delta("output_text", 0, "ab"), text_done("ab"), done(0, message("ab"))], r#"text "ab""#),
        (vec![delta("output_text", 0, "ab"), text_done("xy"), done(0, message("ab"))], r#"text "ab""#),
        (vec![delta("output_text", 0, "ab"), text_done("a")], r#"text "ab""#),
        (vec![text_done("\u{e9}"), done(0, message("\u{e9}\u{1f600}"))], "text \"\u{e9}\u{1f600}\""),
    ];
    for (mut events, wanted) in cases {
        events.push(completed());
        assert_eq!(blocks(OpenAi, &events), [wanted]);
    }
}

#[test]
fn parts_of_a_message_share_a_block_and_refusals_count() {
    let item = json!({"type": "message", "content": [
        {"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}, {"type": "refusal", "refusal": "no"}]});
    let transcript = read(OpenAi, &[done(0, item), completed()]);
    assert_eq!(transcript.blocks, [r#"text "abno""#]);
    assert_eq!(transcript.stop_reason(), "end_turn");
}

#[test]
fn reasoning_is_one_block_with_its_final_signature() {
    let part = |index: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": index, "delta": text});
    let item = json!({"type": "reasoning", "encrypted_content": "final",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two!"}]});
    let events = [
        added(0, json!({"type": "reasoning", "encrypted_content": "early"})),
        part(0, "one"),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 1}),
        part(1, "two"),
        json!({"type": "response.reasoning_text.delta", "output_index": 0, "delta": "raw is not shown as well"}),
        done(0, item),
        completed(),
    ];
    assert_eq!(blocks(OpenAi, &events), [r#"thinking "one\n\ntwo!" {"k":"e","m":"gpt-5.5","e":"final"}"#]);
}

#[test]
fn reasoning_without_text_keeps_its_signature_and_without_both_is_nothing() {
    let events = |item: Value| [done(0, item), completed()];
    let cases = [
        (
            json!({"type": "reasoning", "summary": [], "encrypted_content": "x"}),
            vec![r#"thinking "" {"k":"e","m":"gpt-5.5","e":"x"}"#],
        ),
        (json!({"type": "reasoning", "encrypted_content": ""}), vec![]),
        (
            json!({"type": "reasoning", "summary": null, "content": [{"type": "output_text", "text": "b"}]}),
            vec![r#"thinking "b" {"k":"t","m":"gpt-5.5"}"#],
        ),
    ];
    for (item, wanted) in cases {
        assert_eq!(blocks(OpenAi, &events(item)), wanted);
    }
}

#[test]
fn q_r5_reasoning_after_a_call_names_it() {
    let reasoning = json!({"type": "reasoning", "encrypted_content": "x"});
    let events =
        [done(0, call("c:1", "Read", "{}")), done(1, reasoning), done(2, call("c2", "Read", "{}")), completed()];
    let blocks = blocks(OpenAi, &events);
    let id = blocks[0].split(' ').nth(1).unwrap();
    assert_eq!(blocks[1], format!(r#"thinking "" {{"k":"e","m":"gpt-5.5","a":"{id}","e":"x"}}"#));
}

#[test]
fn calls_get_names_ids_and_arguments_from_wherever_they_come() {
    let mut names = context(OpenAi);
    names.tool_names.insert("mcp_long".to_owned(), "mcp__server__long.name".to_owned());
    let cases = [
        (call("c", "mcp_long", "{\"a\":1}"), r#"tool_use c mcp__server__long.name {"a":1}"#),
        (call("c", "Read", ""), "tool_use c Read "),
        (
            json!({"type": "function_call", "id": "f", "name": "Read", "arguments": {"a": 1}}),
            r#"tool_use f Read {"a":1}"#,
        ),
        (json!({"type": "function_call", "call_id": "c", "arguments": "{}"}), "tool_use c unknown_tool {}"),
        (
            json!({"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "a\n\"b\""}),
            "tool_use c exec {\"input\":\"a\\n\\\"b\\\"\"}",
        ),
    ];
    for (item, wanted) in cases {
        assert_eq!(read_in(names.clone(), &[done(0, item), completed()]).blocks, [wanted]);
    }
    let placeholder = json!({"type": "function_call", "call_id": "c", "name": "Read", "arguments": {}});
    let events = [added(0, placeholder), delta("function_call_arguments", 0, "{\"a\":1}"), completed()];
    assert_eq!(blocks(OpenAi, &events), [r#"tool_use c Read {"a":1}"#]);
    let nameless = read(OpenAi, &[done(0, json!({"type": "function_call", "name": "Read"})), completed()]);
    assert!(nameless.blocks[0].starts_with("tool_use call_"));
}

#[test]
fn a_call_that_the_end_cut_is_closed_with_what_came() {
    let events = [
        added(0, call("c", "Read", "")),
        delta("function_call_arguments", 0, "{\"file"),
        ended("incomplete", json!({"reason": "max_output_tokens"}), Value::Null),
    ];
    let transcript = read(OpenAi, &events);
    assert_eq!(transcript.blocks, ["tool_use c Read {\"file"]);
    assert_eq!(transcript.stop_reason(), "max_tokens");
}

#[test]
fn hosted_tools_leave_at_most_a_note() {
    let events = [
        done(0, json!({"type": "image_generation_call", "id": "ig", "result": "aGVsbG8="})),
        done(1, json!({"type": "mcp_call", "id": "mc", "output": "x"})),
        completed(),
    ];
    let transcript = read(OpenAi, &events);
    assert_eq!(transcript.blocks, [r#"text "[image generated, not displayable here]""#]);
    assert_eq!(transcript.stop_reason(), "end_turn");
}

#[test]
fn r_c1_the_finished_output_fills_what_events_left_out() {
    let output = json!([null, 3, message("abc"), {"type": "function_call", "id": "f", "call_id": "c", "name": "Read", "arguments": "{}"}]);
    let last = json!({"type": "response.completed", "response": {"status": "completed", "output": output}});
    assert_eq!(blocks(OpenAi, &[delta("output_text", 2, "ab"), last.clone()]), [r#"text "abc""#, "tool_use c Read {}"]);
    assert_eq!(blocks(OpenAi, &[last]), [r#"text "abc""#, "tool_use c Read {}"]);
}

#[test]
fn r_c1_without_ids_each_entry_means_the_next_unused_item() {
    let thinking = done(0, json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}));
    let events = [thinking, done(1, message("one")), added(2, message("tw"))];
    let output = json!([message("one"), message("two")]);
    let last = json!({"type": "response.completed", "response": {"status": "completed", "output": output}});
    let lines = blocks(OpenAi, &[&events[..], &[last]].concat());
    assert_eq!(lines[1..], [r#"text "one""#, r#"text "two""#]);
}

#[test]
fn r_c1_another_id_in_the_finished_output_does_not_double_the_text() {
    let named = |id: &str| json!({"type": "message", "id": id, "content": [{"type": "output_text", "text": "abc"}]});
    let reasoning = json!({"type": "reasoning", "id": "r9", "content": [{"type": "reasoning_text", "text": "hm"}]});
    let last = json!({"type": "response.completed", "response": {"output": [reasoning, named("m9")]}});
    assert_eq!(blocks(Custom, &[done(0, named("m1")), last]).iter().filter(|line| line.starts_with("text")).count(), 1);
}

#[test]
fn r_c3_nothing_follows_message_stop() {
    let events = [done(0, message("a")), completed(), done(1, message("b")), json!({"type": "error"}), completed()];
    assert_eq!(blocks(OpenAi, &events), [r#"text "a""#]);
}

#[test]
fn r_c5_an_empty_answer_has_no_block() {
    let transcript = read(OpenAi, &[completed()]);
    assert_eq!((transcript.blocks.len(), transcript.stop_reason()), (0, "end_turn"));
    assert_eq!(whole(context(OpenAi), &sse(&[completed()])).unwrap()["content"], json!([]));
}

#[test]
fn section_2_6_the_first_row_that_holds_gives_the_stop_reason() {
    let refusal = json!({"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]});
    let reason = |reason: &str| ended("incomplete", json!({"reason": reason}), Value::Null);
    let full = ended("completed", Value::Null, json!({"input_tokens": 1, "output_tokens": 64}));
    let cases = [
        (OpenAi, vec![done(0, call("c", "Read", "{}")), reason("content_filter")], "refusal"),
        (OpenAi, vec![done(0, refusal.clone()), completed()], "refusal"),
        (OpenAi, vec![done(0, refusal.clone()), done(1, call("c", "Read", "{}")), completed()], "tool_use"),
        (OpenAi, vec![done(0, call("c", "Read", "{}")), reason("max_output_tokens")], "max_tokens"),
        (OpenAi, vec![reason("something_new")], "max_tokens"),
        (OpenAi, vec![json!({"type": "response.incomplete", "response": {}})], "max_tokens"),
        (OpenAi, vec![reason("model_context_window_exceeded")], "model_context_window_exceeded"),
        (OpenAi, vec![json!({"type": "response.done", "response": {"status": "incomplete"}})], "max_tokens"),
        (Custom, vec![done(0, call("c", "Read", "{\"a")), full.clone()], "max_tokens"),
        (OpenAi, vec![done(0, call("c", "Read", "{}")), full], "tool_use"),
        (OpenAi, vec![done(0, message("a")), completed()], "end_turn"),
    ];
    for (profile, events, wanted) in cases {
        let context = ReplyContext { max_output_tokens: Some(64), ..context(profile) };
        let transcript = read_in(context, &events);
        assert_eq!(transcript.stop_reason(), wanted, "{events:?}");
    }
    let details = read(OpenAi, &[done(0, refusal), completed()]).end["delta"]["stop_details"].clone();
    assert_eq!(details, json!({"type": "refusal", "category": null, "explanation": "I will not."}));
}

#[test]
fn section_2_7_a_search_becomes_its_two_blocks() {
    let search = |status: &str, action: Value| json!({"type": "web_search_call", "id": "ws_1", "status": status, "action": action});
    let sources = json!([{"type": "url", "url": "https://a.example/x"}, {"type": "url", "url": "https://b.example"}]);
    let annotation = json!({"type": "response.output_text.annotation.added", "output_index": 0,
        "annotation": {"type": "url_citation", "url": "https://b.example", "title": "B"}});
    let events = [
        annotation,
        done(1, search("completed", json!({"type": "search", "queries": ["x", "y"], "sources": sources}))),
        done(2, message("found")),
        completed(),
    ];
    let transcript = read(OpenAi, &events);
    assert_eq!(transcript.blocks[0], r#"server_tool_use srvtoolu_ws_1 web_search {"query":"x | y"}"#);
    let results: Value = serde_json::from_str(transcript.blocks[1].rsplit_once("srvtoolu_ws_1 ").unwrap().1).unwrap();
    let titles: Vec<_> = results.as_array().unwrap().iter().map(|result| (&result["title"], &result["url"])).collect();
    assert_eq!(
        titles,
        [(&json!("a.example"), &json!("https://a.example/x")), (&json!("B"), &json!("https://b.example"))]
    );
    assert_eq!(transcript.usage()["server_tool_use"]["web_search_requests"], 1);
    assert_eq!(transcript.stop_reason(), "end_turn");
    let failed =
        read(OpenAi, &[done(0, search("failed", json!({"type": "open_page", "url": "https://c"}))), completed()]);
    assert!(failed.blocks[0].contains(r#"{"query":"open: https://c"}"#));
    assert!(failed.blocks[1].contains(r#""error_code":"unavailable""#));
}

#[test]
fn section_2_8_usage_is_counted_as_anthropic_counts() {
    let cases = [
        (
            json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}, "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3}}),
            [30, 60, 10, 7, 3],
        ),
        (
            json!({"input_tokens": 50, "input_tokens_details": {"cached_tokens": 90}, "output_tokens": 7}),
            [1, 50, 0, 7, 0],
        ),
        (
            json!({"input_tokens": 50, "input_tokens_details": null, "output_tokens": 7, "output_tokens_details": null}),
            [50, 0, 0, 7, 0],
        ),
        (Value::Null, [500, 0, 0, 3, 0]),
    ];
    for (usage, wanted) in cases {
        let transcript = read(OpenAi, &[done(0, message("twelve bytes")), ended("completed", Value::Null, usage)]);
        let count = |counter: &str| transcript.usage()[counter].as_u64().unwrap();
        let thinking = transcript.usage()["output_tokens_details"]["thinking_tokens"].as_u64().unwrap();
        let counted =
            ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"].map(count);
        assert_eq!((counted.as_slice(), thinking), (&wanted[..4], wanted[4]));
        assert_eq!(transcript.start["usage"]["input_tokens"], 500);
        assert_eq!(transcript.start["usage"]["output_tokens"], 1);
    }
}

#[test]
fn r_u6_the_priority_tier_is_fast() {
    let tier = |tier: &str| json!({"type": "response.completed", "response": {"service_tier": tier}});
    let usage = |event: Value| read(OpenAi, &[event]).usage().clone();
    assert_eq!(
        (&usage(tier("priority"))["service_tier"], &usage(tier("priority"))["speed"]),
        (&json!("priority"), &json!("fast"))
    );
    assert_eq!(
        (&usage(tier("default"))["service_tier"], &usage(tier("default"))["speed"]),
        (&json!("standard"), &Value::Null)
    );
}

#[test]
fn section_2_9_a_stop_sequence_ends_the_message() {
    let mut stopping = context(OpenAi);
    stopping.stop_sequences = vec!["</block>".to_owned()];
    let cases = [
        (vec!["yes</blo", "ck> more"], vec![r#"text "yes""#], "stop_sequence"),
        (vec!["</block>"], vec![r#"text """#], "stop_sequence"),
        (vec!["no</bloc"], vec![r#"text "no</bloc""#], "end_turn"),
    ];
    for (texts, wanted, reason) in cases {
        let mut events: Vec<Value> = texts.iter().map(|text| delta("output_text", 0, text)).collect();
        events.push(completed());
        let transcript = read_in(stopping.clone(), &events);
        assert_eq!(
            (transcript.blocks.clone(), transcript.stop_reason()),
            (wanted.iter().map(|line| (*line).to_owned()).collect(), reason)
        );
        let message = whole(stopping.clone(), &sse(&events)).unwrap();
        assert_eq!(message["stop_sequence"], transcript.end["delta"]["stop_sequence"]);
        assert_eq!(format!("text {}", message["content"][0]["text"]), wanted[0]);
    }
    let tool = [done(0, call("c", "Read", "{\"a\":\"</block>\"}")), completed()];
    assert_eq!(read_in(stopping, &tool).stop_reason(), "tool_use");
}

#[test]
fn section_2_11_unstreamed_arguments_are_an_object_or_the_sentinel() {
    let long = "x".repeat(3000);
    let cases = [
        ("", json!({})),
        ("{\"a\": 1}", json!({"a": 1})),
        ("[1]", json!([1])),
        ("\"{\\\"a\\\":1}\"", json!({"a": 1})),
        ("\"plain\"", json!("plain")),
        ("{\"a", json!({"__unparsedToolInput": {"raw": "{\"a", "len": 3}})),
        (&long, json!({"__unparsedToolInput": {"raw": "x".repeat(2048), "len": 3000}})),
    ];
    for (arguments, wanted) in cases {
        let message = whole(context(OpenAi), &sse(&[done(0, call("c", "Read", arguments)), completed()])).unwrap();
        assert_eq!(message["content"][0]["input"], wanted, "{arguments}");
    }
}

#[test]
fn section_2_12_the_whole_message_has_anthropic_s_form() {
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        done(0, json!({"type": "reasoning", "encrypted_content": "x"})),
        done(1, message("hi \"there\"")),
        completed(),
    ];
    let message = whole(context(OpenAi), &sse(&events)).unwrap();
    assert_eq!(message["id"], "msg_resp_1");
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(message["content"][1], json!({"type": "text", "text": "hi \"there\""}));
    assert!(message["content"][0]["signature"].as_str().unwrap().starts_with("cgw1."));
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert_eq!(message["usage"]["output_tokens"], 2);
    assert!(whole(context(OpenAi), &sse(&events[..3])).is_none());
}

#[test]
fn failures_in_the_stream_are_reported_in_the_upstream_s_words() {
    let failures = [
        json!({"type": "response.failed", "response": {"error": {"code": "slow_down"}}}),
        json!({"type": "error", "error": {"message": "no"}}),
        json!({"type": "response.cancelled", "response": {}}),
        json!({"type": "response.done", "response": {"status": "failed"}}),
        json!({"error": {"message": "no"}, "status_code": 429}),
    ];
    for failure in failures {
        let (transcript, step) = run(context(Codex), &sse(&[done(0, message("a")), failure.clone()]), 11);
        assert_eq!(step, Step::Failed(Failure::Reported { event: failure.to_string() }));
        assert!(transcript.error.is_none() && !transcript.stopped);
    }
}

#[test]
fn r_x1_a_cut_is_overloaded_until_a_block_was_closed() {
    let cases = [
        (vec![delta("output_text", 0, "a")], 529, ErrorKind::Overloaded),
        (vec![done(0, call("c", "Read", "{}"))], 502, ErrorKind::Api),
    ];
    for (events, status, kind) in cases {
        let mut reply = Reply::new(context(OpenAi), "req_test");
        let mut out = EventWriter::stream();
        let _ = reply.feed(&sse(&events), &mut out);
        assert_eq!(reply.end(&mut out), Step::Failed(Failure::Cut));
        let error = reply.cut_error();
        assert_eq!((error.status, error.kind), (status, kind));
        assert_eq!(error.should_retry, (kind == ErrorKind::Overloaded).then_some(true));
        reply.fail(&error, &mut out);
        reply.keep_alive(&mut out);
        assert!(matches!(reply.feed(&sse(&[completed()]), &mut out), Step::Failed(_)));
        let transcript = Transcript::read(&out.take_bytes());
        assert_eq!(transcript.error.unwrap()["type"], kind.as_str());
        assert_eq!(transcript.blocks.len(), 1);
    }
}

#[test]
fn section_3_4_an_error_leaves_the_open_block_open() {
    let mut reply = Reply::new(context(OpenAi), "req_test");
    let mut out = EventWriter::stream();
    let _ = reply.feed(&sse(&[delta("output_text", 0, "a")]), &mut out);
    reply.fail(&ApiError::invalid("say \"why\""), &mut out);
    let transcript = Transcript::read(&out.take_bytes());
    assert_eq!(transcript.blocks, ["text \"a\" …"]);
    assert_eq!(transcript.error.unwrap(), json!({"type": "invalid_request_error", "message": "say \"why\""}));
}

#[test]
fn the_summary_is_what_the_log_needs() {
    let mut reply = Reply::new(context(OpenAi), "req_test");
    let mut out = EventWriter::stream();
    assert_eq!(reply.summary().stop_reason, None);
    let usage = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3}});
    let last =
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": usage, "service_tier": "priority"}});
    let _ = reply.feed(&sse(&[last]), &mut out);
    let summary = reply.summary();
    assert_eq!((summary.input_tokens, summary.cached_input_tokens), (40, 60));
    assert_eq!((summary.output_tokens, summary.reasoning_tokens), (7, 3));
    assert_eq!((summary.stop_reason, summary.response_id.as_deref()), (Some(StopReason::EndTurn), Some("resp_1")));
    assert!(reply.fast_tier());
}

#[test]
fn half_of_a_surrogate_pair_goes_on_as_it_came() {
    let bytes = b"data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"\\ud83d\"}\n\n";
    let mut reply = Reply::new(context(OpenAi), "req_test");
    let mut out = EventWriter::stream();
    let _ = reply.feed(bytes, &mut out);
    let written = String::from_utf8(out.take_bytes().to_vec()).unwrap();
    assert!(written.contains(r#""text":"\ud83d""#));
}
