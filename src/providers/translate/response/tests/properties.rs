//! What holds for every stream, however strange.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{completed, context, run, sse, whole};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::response::{Failure, Step};

/// An item and the pieces in which its text comes.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    kind: Kind,
    pieces: usize,
    /// The events name the item's place; they always name its id.
    says_done: bool,
    closing_text: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Message,
    Reasoning,
    Call,
}

pub(super) fn planned() -> impl Strategy<Value = Planned> {
    (select(vec![Kind::Message, Kind::Reasoning, Kind::Call]), 0..5usize, any::<bool>(), any::<bool>())
        .prop_map(|(kind, pieces, says_done, closing_text)| Planned { kind, pieces, says_done, closing_text })
}

/// A letter of its own for each item, so that every letter in the answer can be told to its item.
fn letter(index: usize) -> String {
    char::from(b'a' + u8::try_from(index).unwrap()).to_string()
}

fn item(plan: &Planned, index: usize, text: &str) -> Value {
    let id = format!("item_{index}");
    match plan.kind {
        Kind::Message => json!({"type": "message", "id": id, "content": [{"type": "output_text", "text": text}]}),
        Kind::Reasoning => json!({"type": "reasoning", "id": id, "encrypted_content": id,
            "summary": [{"type": "summary_text", "text": text}]}),
        Kind::Call => json!({"type": "function_call", "id": id, "call_id": id, "name": "Read", "arguments": text}),
    }
}

fn events(plan: &Planned, index: usize) -> Vec<Value> {
    let kind = match plan.kind {
        Kind::Message => "output_text",
        Kind::Reasoning => "reasoning_summary_text",
        Kind::Call => "function_call_arguments",
    };
    let with_item = |event: &str, text: &str| json!({"type": format!("response.output_item.{event}"), "output_index": index, "item": item(plan, index, text)});
    let piece = json!({"type": format!("response.{kind}.delta"), "output_index": index,
        "item_id": format!("item_{index}"), "delta": letter(index)});
    let mut events = vec![with_item("added", "")];
    events.extend(std::iter::repeat_n(piece, plan.pieces));
    if plan.says_done {
        let extra = usize::from(plan.closing_text);
        events.push(with_item("done", &letter(index).repeat(plan.pieces + extra)));
    }
    events
}

/// The items' events, each item's in their order, otherwise as `choices` say.
pub(super) fn interleaved(plans: &[Planned], choices: &[Index]) -> Vec<Value> {
    let mut sources: Vec<_> = plans.iter().enumerate().map(|(index, plan)| events(plan, index)).collect();
    let mut mixed = Vec::new();
    let mut choices = choices.iter().cycle();
    while sources.iter().any(|source| !source.is_empty()) {
        let open: Vec<usize> = (0..sources.len()).filter(|index| !sources[*index].is_empty()).collect();
        let chosen = choices.next().map_or(0, |choice| choice.index(open.len()));
        mixed.push(sources[open[chosen]].remove(0));
    }
    mixed.push(completed());
    mixed
}

/// Events with the right names and anything in them.
fn odd_event() -> impl Strategy<Value = Value> {
    let kinds = select(vec![
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.output_text.annotation.added",
        "response.completed",
        "response.nothing_known",
    ]);
    let types =
        select(vec!["message", "reasoning", "function_call", "custom_tool_call", "web_search_call", "mcp_call", "x"]);
    let text = select(vec!["", " ", "a", "\n", "\u{1f600}", "{\"a\":1}", "\"", "aaab"]);
    let index =
        prop_oneof![Just(Value::Null), (0..4u64).prop_map(Value::from), Just(json!(u64::MAX)), Just(json!("x"))];
    let id = prop_oneof![Just(Value::Null), select(vec!["i0", "i1", "", "\u{e9}"]).prop_map(Value::from)];
    (kinds, types, text, index, id).prop_map(|(kind, item_type, text, index, id)| {
        let part = json!({"type": "output_text", "text": text, "annotations": [{"url": text}]});
        let item = json!({"type": item_type, "id": id, "call_id": id, "name": text, "arguments": text, "input": text,
            "content": [part], "summary": [part, null], "encrypted_content": text, "action": {"query": text}});
        json!({"type": kind, "output_index": index, "item_id": id, "delta": text, "text": text, "arguments": text,
            "content_index": index, "summary_index": index, "name": text, "item": item, "part": part,
            "annotation": {"url": text}, "response": {"id": id, "output": [item, null, index]}})
    })
}

pub(super) fn profiles() -> impl Strategy<Value = ProfileKind> {
    select(vec![ProfileKind::OpenAi, ProfileKind::Codex, ProfileKind::Custom])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_is_well_formed_and_loses_no_text(
        plans in vec(planned(), 1..6), choices in vec(any::<Index>(), 1..30), profile in profiles(), size in 1..200usize,
    ) {
        let bytes = sse(&interleaved(&plans, &choices));
        let (transcript, step) = run(context(profile), &bytes, size);
        prop_assert_eq!(step, Step::Finished);
        let (texts, thoughts) = (transcript.joined("text"), transcript.joined("thinking"));
        for (index, plan) in plans.iter().enumerate() {
            let extra = usize::from(plan.says_done && plan.closing_text);
            let wanted = letter(index).repeat(plan.pieces + extra);
            match plan.kind {
                Kind::Message => prop_assert_eq!(texts.matches(&letter(index)).count(), wanted.len()),
                // Custom: thinking that lost its turn is not shown any further.
                Kind::Reasoning if profile == ProfileKind::Custom => {
                    prop_assert!(thoughts.matches(&letter(index)).count() <= wanted.len());
                }
                Kind::Reasoning => prop_assert_eq!(thoughts.matches(&letter(index)).count(), wanted.len()),
                Kind::Call => {
                    let line = format!("tool_use item_{index} Read {wanted}");
                    prop_assert_eq!(transcript.blocks.iter().filter(|block| **block == line).count(), 1);
                }
            }
        }
        let message = whole(context(profile), &bytes).unwrap();
        prop_assert_eq!(message["content"].as_array().unwrap().len(), transcript.blocks.len());
    }

    #[test]
    fn any_events_are_well_formed_and_the_same_in_any_chunks(
        events in vec(odd_event(), 0..20), profile in profiles(), stops in any::<bool>(), size in 1..50usize,
    ) {
        let mut context = context(profile);
        if stops {
            context.stop_sequences = vec!["aab".to_owned(), "\u{1f600}a".to_owned()];
        }
        let bytes = sse(&events);
        let once = run(context.clone(), &bytes, bytes.len());
        prop_assert_eq!(run(context, &bytes, size), once.clone());
        prop_assert_eq!(once.0.stopped, once.1 == Step::Finished);
    }

    #[test]
    fn any_bytes_end_in_a_step_and_not_in_a_panic(
        bytes in vec(any::<u8>(), 0..300), text in "(data: |event: |\\{|\\}|\"type\"|:|\"error\"|\r|\n| |<|\\[DONE\\]){0,60}", size in 1..20usize,
    ) {
        for input in [bytes.as_slice(), text.as_bytes()] {
            let (transcript, step) = run(context(ProfileKind::Custom), input, size);
            prop_assert!(matches!(step, Step::Failed(_)));
            prop_assert!(!transcript.stopped);
            if input.is_empty() {
                prop_assert_eq!(step, Step::Failed(Failure::Empty));
            }
        }
    }
}
