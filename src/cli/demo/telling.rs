//! Tells one scripted answer as the events of a Responses API stream, with the pause before each.
//!
//! A plain value: it numbers, names and orders the events as OpenAI's types want them and never touches a socket. What
//! is said is decided by [`super::upstream`].

use std::time::Duration;

use serde_json::{Value, json};

/// Before each delta, so that one sees the answer stream.
const PACE: Duration = Duration::from_millis(30);

/// One event on its way.
#[derive(Debug)]
pub struct Beat {
    /// Waited before the event is sent.
    pub pause: Duration,
    /// A piece of text or thinking that somebody sees appear.
    pub is_delta: bool,
    /// The event as bytes of an event stream.
    pub frame: String,
}

/// Tokens that the answer claims to have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub input: usize,
    pub cached: usize,
    pub output: usize,
    pub reasoning: usize,
}

/// One answer being told.
pub struct Telling {
    number: usize,
    model: String,
    sequence_number: u64,
    output: Vec<Value>,
    beats: Vec<Beat>,
}

impl Telling {
    /// The answer to the `number`-th request.
    pub fn new(number: usize, model: &str) -> Self {
        let mut telling =
            Self { number, model: model.to_owned(), sequence_number: 0, output: Vec::new(), beats: Vec::new() };
        for kind in ["response.created", "response.in_progress"] {
            let response = telling.response("in_progress", None);
            telling.event(json!({"type": kind, "response": response}));
        }
        telling
    }

    /// A reasoning item: its summary in deltas, and the encrypted thought that must come back with the next request.
    pub fn reasoning(&mut self, summary: &str) {
        let (index, id) = self.next_item("rs");
        let place = json!({"item_id": id, "output_index": index, "summary_index": 0});
        let mut item = json!({"type": "reasoning", "id": id, "summary": []});
        self.event(json!({"type": "response.output_item.added", "output_index": index, "item": item}));
        let empty = json!({"type": "summary_text", "text": ""});
        self.placed(&place, json!({"type": "response.reasoning_summary_part.added", "part": empty}));
        for delta in pieces(summary) {
            self.delta(&place, json!({"type": "response.reasoning_summary_text.delta", "delta": delta}));
        }
        let part = json!({"type": "summary_text", "text": summary});
        self.placed(&place, json!({"type": "response.reasoning_summary_text.done", "text": summary}));
        self.placed(&place, json!({"type": "response.reasoning_summary_part.done", "part": part}));
        item["summary"] = json!([part]);
        item["encrypted_content"] = json!(format!("gAAAAABdemo-thought-{}", self.number));
        self.item_done(index, item);
    }

    /// A message of the assistant: its text in deltas.
    pub fn message(&mut self, text: &str, phase: &str) {
        let (index, id) = self.next_item("msg");
        let place = json!({"item_id": id, "output_index": index, "content_index": 0});
        let mut item = json!({"type": "message", "id": id, "role": "assistant", "status": "in_progress",
            "phase": phase, "content": []});
        self.event(json!({"type": "response.output_item.added", "output_index": index, "item": item}));
        let mut part = json!({"type": "output_text", "text": "", "annotations": []});
        self.placed(&place, json!({"type": "response.content_part.added", "part": part}));
        for delta in pieces(text) {
            self.delta(&place, json!({"type": "response.output_text.delta", "delta": delta}));
        }
        part["text"] = json!(text);
        self.placed(&place, json!({"type": "response.output_text.done", "text": text}));
        self.placed(&place, json!({"type": "response.content_part.done", "part": part}));
        item["status"] = json!("completed");
        item["content"] = json!([part]);
        self.item_done(index, item);
    }

    /// A call of the function `name`; `arguments` are JSON.
    pub fn call(&mut self, name: &str, arguments: &str) {
        let (index, id) = self.next_item("fc");
        let place = json!({"item_id": id, "output_index": index});
        let mut item = json!({"type": "function_call", "id": id, "call_id": format!("call_demo{}", self.number),
            "name": name, "arguments": "", "status": "in_progress"});
        self.event(json!({"type": "response.output_item.added", "output_index": index, "item": item}));
        for delta in pieces(arguments) {
            self.placed(&place, json!({"type": "response.function_call_arguments.delta", "delta": delta}));
        }
        self.placed(&place, json!({"type": "response.function_call_arguments.done", "arguments": arguments}));
        item["arguments"] = json!(arguments);
        item["status"] = json!("completed");
        self.item_done(index, item);
    }

    /// Ends the answer; what it was told as.
    pub fn completed(mut self, usage: Usage) -> Vec<Beat> {
        let usage = json!({
            "input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        });
        let response = self.response("completed", Some(usage));
        self.event(json!({"type": "response.completed", "response": response}));
        self.beats
    }

    fn response(&self, status: &str, usage: Option<Value>) -> Value {
        json!({"id": format!("resp_demo{}", self.number), "object": "response", "created_at": 0, "status": status,
            "model": self.model, "output": self.output, "usage": usage, "error": null, "incomplete_details": null})
    }

    fn next_item(&self, prefix: &str) -> (usize, String) {
        let index = self.output.len();
        (index, format!("{prefix}_demo{}_{index}", self.number))
    }

    fn item_done(&mut self, index: usize, item: Value) {
        self.event(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        self.output.push(item);
    }

    fn placed(&mut self, place: &Value, event: Value) {
        let event = with(place, event);
        self.event(event);
    }

    fn delta(&mut self, place: &Value, event: Value) {
        self.placed(place, event);
        if let Some(beat) = self.beats.last_mut() {
            (beat.pause, beat.is_delta) = (PACE, true);
        }
    }

    fn event(&mut self, event: Value) {
        let event = with(&json!({"sequence_number": self.sequence_number}), event);
        self.sequence_number += 1;
        let kind = event["type"].as_str().unwrap_or_default();
        let frame = format!("event: {kind}\ndata: {event}\n\n");
        self.beats.push(Beat { pause: Duration::ZERO, is_delta: false, frame });
    }
}

/// An event with the fields that say where it belongs.
fn with(fields: &Value, mut event: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event
}

/// Words, each with the space behind it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_numbered_without_gaps_and_ends_with_all_its_items() {
        let mut telling = Telling::new(7, "gpt-demo");
        telling.reasoning("First I think.");
        telling.message("Then I speak.", "commentary");
        telling.call("Bash", r#"{"command": "true"}"#);
        let beats = telling.completed(Usage { input: 10, cached: 4, output: 3, reasoning: 1 });
        let events: Vec<Value> = beats
            .iter()
            .map(|beat| beat.frame.split_once("data: ").and_then(|(_, data)| serde_json::from_str(data).ok()).unwrap())
            .collect();
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], json!(number));
        }
        let text_of = |kind: &str| -> String {
            events.iter().filter(|event| event["type"] == kind).filter_map(|event| event["delta"].as_str()).collect()
        };
        assert_eq!(text_of("response.reasoning_summary_text.delta"), "First I think.");
        assert_eq!(text_of("response.output_text.delta"), "Then I speak.");
        assert_eq!(text_of("response.function_call_arguments.delta"), r#"{"command": "true"}"#);
        assert_eq!(beats.iter().filter(|beat| beat.is_delta).count(), 6, "arguments are no words to look at");
        let response = &events.last().unwrap()["response"];
        let kinds: Vec<_> = response["output"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call"]);
        assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 4);
    }
}
