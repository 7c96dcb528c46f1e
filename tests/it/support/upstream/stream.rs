//! Builds well-formed Responses event streams: one value per response that numbers, indexes and names everything.
//!
//! It decides what is said and never writes to a socket: each method returns the events to send, in order. What the
//! shapes are comes from the OpenAI types; obfuscation and logprobs are there because the live service sends them.

use serde_json::{Value, json};

/// One response being told: its id, what was said so far, the next sequence number.
pub struct Telling {
    id: String,
    request: Value,
    sequence_number: u64,
    output: Vec<Value>,
    pub usage: Value,
}

/// A function call of the script.
#[derive(Clone)]
pub struct Call {
    pub call_id: String,
    pub name: String,
    pub arguments: String,
}

impl Telling {
    pub fn new(number: usize, request: Value) -> Self {
        Self {
            id: format!("resp_{number:048x}"),
            request,
            sequence_number: 0,
            output: Vec::new(),
            usage: json!({
                "input_tokens": 1200, "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 0},
                "output_tokens": 80, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 1280
            }),
        }
    }

    pub fn opening(&mut self) -> Vec<Value> {
        let response = self.response("in_progress", Value::Null, Value::Null);
        vec![
            self.numbered(json!({"type": "response.created", "response": response})),
            self.numbered(json!({"type": "response.in_progress", "response": response})),
        ]
    }

    pub fn completed(&mut self) -> Value {
        let response = self.response("completed", Value::Null, Value::Null);
        self.numbered(json!({"type": "response.completed", "response": response}))
    }

    pub fn incomplete(&mut self, reason: &str) -> Value {
        let response = self.response("incomplete", Value::Null, json!({"reason": reason}));
        self.numbered(json!({"type": "response.incomplete", "response": response}))
    }

    pub fn failed(&mut self, error: &Value) -> Value {
        let response = self.response("failed", error.clone(), Value::Null);
        self.numbered(json!({"type": "response.failed", "response": response}))
    }

    /// The whole answer, for a request that does not stream.
    pub fn whole(&self) -> Value {
        self.response("completed", Value::Null, Value::Null)
    }

    /// Gives the next sequence number to an event that has none.
    pub fn numbered(&mut self, mut event: Value) -> Value {
        if let Some(fields) = event.as_object_mut()
            && !fields.contains_key("sequence_number")
        {
            fields.insert("sequence_number".into(), json!(self.sequence_number));
            self.sequence_number += 1;
        }
        event
    }

    /// A reasoning item with a summary (none if `summary` is empty) and its encrypted content.
    pub fn reasoning(&mut self, summary: &str, encrypted: Option<&str>) -> Vec<Value> {
        let (index, item_id) = self.next_item("rs");
        let mut item = json!({"id": item_id, "type": "reasoning", "summary": []});
        if encrypted.is_some() {
            item["encrypted_content"] = json!("gAAAAABearly");
        }
        let mut events = vec![json!({"type": "response.output_item.added", "output_index": index, "item": item})];
        if !summary.is_empty() {
            let place = json!({"item_id": item_id, "output_index": index, "summary_index": 0});
            let empty = json!({"type": "summary_text", "text": ""});
            events.push(with(&place, json!({"type": "response.reasoning_summary_part.added", "part": empty})));
            for delta in pieces(summary) {
                let delta =
                    json!({"type": "response.reasoning_summary_text.delta", "delta": delta, "obfuscation": "aZ3"});
                events.push(with(&place, delta));
            }
            let part = json!({"type": "summary_text", "text": summary});
            events.push(with(&place, json!({"type": "response.reasoning_summary_text.done", "text": summary})));
            events.push(with(&place, json!({"type": "response.reasoning_summary_part.done", "part": part})));
            item["summary"] = json!([part]);
        }
        if let Some(encrypted) = encrypted {
            item["encrypted_content"] = json!(encrypted);
        }
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        self.told(events, item)
    }

    /// The raw reasoning text of open models: no summary, nothing encrypted.
    pub fn reasoning_text(&mut self, text: &str) -> Vec<Value> {
        let (index, item_id) = self.next_item("rs");
        let place = json!({"item_id": item_id, "output_index": index, "content_index": 0});
        let item = json!({"id": item_id, "type": "reasoning", "summary": [], "content": []});
        let mut events = vec![json!({"type": "response.output_item.added", "output_index": index, "item": item})];
        for delta in pieces(text) {
            events.push(with(&place, json!({"type": "response.reasoning_text.delta", "delta": delta})));
        }
        events.push(with(&place, json!({"type": "response.reasoning_text.done", "text": text})));
        let item = json!({"id": item_id, "type": "reasoning", "summary": [],
            "content": [{"type": "reasoning_text", "text": text}]});
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        self.told(events, item)
    }

    /// A message item up to its first delta. What [`Self::message_end`] closes.
    pub fn message_start(&mut self, phase: Option<&str>) -> (Message, Vec<Value>) {
        let (index, item_id) = self.next_item("msg");
        let mut item = json!({"id": item_id, "type": "message", "status": "in_progress", "role": "assistant",
            "content": []});
        if let Some(phase) = phase {
            item["phase"] = json!(phase);
        }
        let message = Message { index, item_id, phase: phase.map(str::to_owned), text: String::new() };
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
        let events = vec![
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
            with(&message.place(), json!({"type": "response.content_part.added", "part": part})),
        ];
        (message, self.number(events))
    }

    pub fn message_delta(&mut self, message: &mut Message, delta: &str) -> Value {
        message.text.push_str(delta);
        let fields = json!({"type": "response.output_text.delta", "delta": delta, "logprobs": [], "obfuscation": "Qx"});
        let event = with(&message.place(), fields);
        self.numbered(event)
    }

    /// The end of a message, with `url_citation` annotations for `(url, title)` pairs.
    pub fn message_end(&mut self, message: &Message, citations: &[(String, String)]) -> Vec<Value> {
        let place = message.place();
        let annotations: Vec<Value> = citations
            .iter()
            .map(|(url, title)| {
                json!({"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": 1})
            })
            .collect();
        let mut events = Vec::new();
        for (annotation_index, annotation) in annotations.iter().enumerate() {
            let fields = json!({"type": "response.output_text.annotation.added",
                "annotation_index": annotation_index, "annotation": annotation});
            events.push(with(&place, fields));
        }
        let part = json!({"type": "output_text", "annotations": annotations, "logprobs": [], "text": message.text});
        let done = json!({"type": "response.output_text.done", "text": message.text, "logprobs": []});
        events.push(with(&place, done));
        events.push(with(&place, json!({"type": "response.content_part.done", "part": part})));
        let mut item = json!({"id": message.item_id, "type": "message", "status": "completed", "role": "assistant",
            "content": [part]});
        if let Some(phase) = &message.phase {
            item["phase"] = json!(phase);
        }
        events.push(json!({"type": "response.output_item.done", "output_index": message.index, "item": item}));
        self.told(events, item)
    }

    /// A message that only refuses.
    pub fn refusal(&mut self, text: &str) -> Vec<Value> {
        let (index, item_id) = self.next_item("msg");
        let place = json!({"item_id": item_id, "output_index": index, "content_index": 0});
        let begun = json!({"id": item_id, "type": "message", "status": "in_progress", "role": "assistant",
            "content": []});
        let part = json!({"type": "refusal", "refusal": text});
        let item = json!({"id": item_id, "type": "message", "status": "completed", "role": "assistant",
            "content": [part]});
        let empty = json!({"type": "refusal", "refusal": ""});
        let events = vec![
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            with(&place, json!({"type": "response.content_part.added", "part": empty})),
            with(&place, json!({"type": "response.refusal.delta", "delta": text})),
            with(&place, json!({"type": "response.refusal.done", "refusal": text})),
            with(&place, json!({"type": "response.content_part.done", "part": part})),
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        ];
        self.told(events, item)
    }

    /// Function calls of one turn. Several are interleaved: all begin, their arguments alternate, all end.
    pub fn calls(&mut self, calls: &[Call]) -> Vec<Value> {
        let places: Vec<(usize, String)> = calls
            .iter()
            .enumerate()
            .map(|(offset, _)| (self.output.len() + offset, self.item_id("fc", self.output.len() + offset)))
            .collect();
        let mut events = Vec::new();
        for (call, (index, item_id)) in calls.iter().zip(&places) {
            let item = call.item(item_id, "in_progress", "");
            events.push(json!({"type": "response.output_item.added", "output_index": index, "item": item}));
        }
        let mut rests: Vec<_> = calls.iter().map(|call| pieces(&call.arguments).into_iter()).collect();
        loop {
            let before = events.len();
            for (rest, (index, item_id)) in rests.iter_mut().zip(&places) {
                if let Some(delta) = rest.next() {
                    events.push(json!({"type": "response.function_call_arguments.delta", "item_id": item_id,
                        "output_index": index, "delta": delta, "obfuscation": "k9"}));
                }
            }
            if events.len() == before {
                break;
            }
        }
        for (call, (index, item_id)) in calls.iter().zip(&places) {
            let item = call.item(item_id, "completed", &call.arguments);
            events.push(json!({"type": "response.function_call_arguments.done", "item_id": item_id,
                "output_index": index, "arguments": call.arguments}));
            events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
            self.output.push(item);
        }
        self.number(events)
    }

    /// A web search that is done, with what it looked at.
    pub fn search(&mut self, query: &str, sources: &[String]) -> Vec<Value> {
        let (index, item_id) = self.next_item("ws");
        let place = json!({"item_id": item_id, "output_index": index});
        let sources: Vec<Value> = sources.iter().map(|url| json!({"type": "url", "url": url})).collect();
        let begun = json!({"id": item_id, "type": "web_search_call", "status": "in_progress"});
        let item = json!({"id": item_id, "type": "web_search_call", "status": "completed",
            "action": {"type": "search", "query": query, "queries": [query], "sources": sources}});
        let events = vec![
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            with(&place, json!({"type": "response.web_search_call.in_progress"})),
            with(&place, json!({"type": "response.web_search_call.searching"})),
            with(&place, json!({"type": "response.web_search_call.completed"})),
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        ];
        self.told(events, item)
    }

    fn told(&mut self, events: Vec<Value>, item: Value) -> Vec<Value> {
        self.output.push(item);
        self.number(events)
    }

    fn number(&mut self, events: Vec<Value>) -> Vec<Value> {
        events.into_iter().map(|event| self.numbered(event)).collect()
    }

    fn next_item(&self, prefix: &str) -> (usize, String) {
        (self.output.len(), self.item_id(prefix, self.output.len()))
    }

    fn item_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}{index:04x}", &self.id["resp_".len()..])
    }

    fn response(&self, status: &str, error: Value, incomplete_details: Value) -> Value {
        let echo = |key: &str, absent: Value| self.request.get(key).cloned().unwrap_or(absent);
        let ended = status != "in_progress";
        json!({
            "id": self.id, "object": "response", "created_at": 1_795_420_600, "status": status, "background": false,
            "completed_at": if ended { json!(1_795_420_603) } else { Value::Null },
            "error": error, "incomplete_details": incomplete_details,
            "instructions": echo("instructions", Value::Null), "model": echo("model", json!("")),
            "max_output_tokens": echo("max_output_tokens", Value::Null), "max_tool_calls": null, "metadata": {},
            "output": if ended { json!(self.output) } else { json!([]) },
            "parallel_tool_calls": echo("parallel_tool_calls", json!(true)), "previous_response_id": null,
            "prompt_cache_key": echo("prompt_cache_key", Value::Null),
            "reasoning": echo("reasoning", json!({"effort": null, "summary": null})),
            "service_tier": "default", "store": false, "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": echo("tool_choice", json!("auto")), "tools": echo("tools", json!([])),
            "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
            "usage": if ended { self.usage.clone() } else { Value::Null }, "user": null,
        })
    }
}

pub struct Message {
    index: usize,
    item_id: String,
    phase: Option<String>,
    text: String,
}

impl Message {
    fn place(&self) -> Value {
        json!({"item_id": self.item_id, "output_index": self.index, "content_index": 0})
    }
}

impl Call {
    fn item(&self, item_id: &str, status: &str, arguments: &str) -> Value {
        json!({"id": item_id, "type": "function_call", "status": status, "arguments": arguments,
            "call_id": self.call_id, "name": self.name})
    }
}

/// One event as the service frames it.
pub fn frame(event: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message")).into_bytes()
}

/// Small deltas, split between characters.
pub fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(8).map(|piece| piece.iter().collect()).collect()
}

fn with(place: &Value, mut fields: Value) -> Value {
    if let (Some(fields), Some(place)) = (fields.as_object_mut(), place.as_object()) {
        fields.extend(place.clone());
    }
    fields
}
