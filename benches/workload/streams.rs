//! Responses streams, event by event, shaped like those of the OpenAI API.

use serde_json::{Value, json};

/// What stands before the first delta of a text, and after the last one.
pub struct Frame {
    pub opening: Vec<Vec<u8>>,
    pub closing: Vec<Vec<u8>>,
}

/// An event as its bytes on the wire.
pub fn event(data: &Value) -> Vec<u8> {
    let name = data["type"].as_str().expect("an event has a type");
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}

pub fn text_frame(model: &str, text: &str) -> Frame {
    let item = |status: &str, content: Value| json!({"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content});
    let part = |text: &str| json!({"type": "output_text", "annotations": [], "text": text});
    let closed = item("completed", json!([part(text)]));
    Frame {
        opening: vec![
            event(
                &json!({"type": "response.created", "sequence_number": 0, "response": response(model, "in_progress")}),
            ),
            event(&json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
                "item": item("in_progress", json!([]))})),
            event(&json!({"type": "response.content_part.added", "sequence_number": 2, "output_index": 0,
                "content_index": 0, "item_id": "msg_1", "part": part("")})),
        ],
        closing: vec![
            event(&json!({"type": "response.output_text.done", "sequence_number": 900_001, "output_index": 0,
                "content_index": 0, "item_id": "msg_1", "text": text})),
            event(&json!({"type": "response.output_item.done", "sequence_number": 900_002, "output_index": 0,
                "item": closed})),
            event(&json!({"type": "response.completed", "sequence_number": 900_003,
                "response": finished(model, json!([closed]))})),
        ],
    }
}

pub fn text_delta(number: usize, text: &str) -> Vec<u8> {
    event(&json!({"type": "response.output_text.delta", "sequence_number": number + 3, "output_index": 0,
        "content_index": 0, "item_id": "msg_1", "delta": text, "logprobs": [], "obfuscation": "aZ3kQx"}))
}

/// Two calls that are open at once.
pub fn calls_opening(model: &str) -> Vec<Vec<u8>> {
    let created = json!({"type": "response.created", "sequence_number": 0, "response": response(model, "in_progress")});
    let added = |index: usize| {
        json!({"type": "response.output_item.added", "sequence_number": 1 + index, "output_index": index, "item": {
            "id": format!("fc_{index}"), "type": "function_call", "status": "in_progress", "arguments": "",
            "call_id": format!("call_{index}"), "name": "Read"}})
    };
    vec![event(&created), event(&added(0)), event(&added(1))]
}

pub fn call_delta(number: usize) -> Vec<u8> {
    let index = number % 2;
    event(&json!({"type": "response.function_call_arguments.delta", "sequence_number": number + 3,
        "output_index": index, "item_id": format!("fc_{index}"), "delta": "\\\"path\\\": ", "obfuscation": "k9"}))
}

pub fn reasoning_opening(model: &str) -> Vec<Vec<u8>> {
    vec![
        event(&json!({"type": "response.created", "sequence_number": 0, "response": response(model, "in_progress")})),
        event(&json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
            "item": {"id": "rs_1", "type": "reasoning", "summary": []}})),
        event(&json!({"type": "response.reasoning_summary_part.added", "sequence_number": 2, "output_index": 0,
            "summary_index": 0, "item_id": "rs_1", "part": {"type": "summary_text", "text": ""}})),
    ]
}

pub fn reasoning_delta(number: usize) -> Vec<u8> {
    event(&json!({"type": "response.reasoning_summary_text.delta", "sequence_number": number + 3, "output_index": 0,
        "summary_index": 0, "item_id": "rs_1", "delta": " the next step", "obfuscation": "aZ3"}))
}

fn response(model: &str, status: &str) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": model, "output": [],
        "parallel_tool_calls": true, "tools": [], "metadata": {}})
}

fn finished(model: &str, output: Value) -> Value {
    let mut response = response(model, "completed");
    response["output"] = output;
    response["usage"] = json!({"input_tokens": 20_000, "input_tokens_details": {"cached_tokens": 18_000},
        "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 20_050});
    response
}
