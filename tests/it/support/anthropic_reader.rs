//! Reads an Anthropic event stream as strictly as its grammar allows and gives back the message it tells.
//!
//! Every broken rule is a failed assertion that names it: `event:` equals `type`, indexes are dense, one block is
//! open at a time, deltas match their block, starts are empty, the end comes once and last.

use serde_json::{Value, json};

use super::http_client::Event;

/// A message, whether it was streamed or not.
#[derive(Debug)]
pub struct Message {
    pub model: String,
    pub content: Vec<Value>,
    pub stop_reason: String,
    pub stop_sequence: Option<String>,
    pub usage: Value,
}

impl Message {
    pub fn from_events(events: &[Event]) -> Self {
        let mut reader = Reader::default();
        for event in events {
            assert_eq!(event.data["type"], event.name.as_str(), "the event line and the type differ");
            reader.read(&event.name, &event.data);
        }
        assert!(reader.stopped, "no message_stop: {events:#?}");
        reader.message()
    }

    pub fn from_json(message: &Value) -> Self {
        assert_eq!(message["type"], "message", "{message:#}");
        assert_eq!(message["role"], "assistant");
        Self {
            model: text(&message["model"]),
            content: message["content"].as_array().cloned().unwrap_or_default(),
            stop_reason: text(&message["stop_reason"]),
            stop_sequence: message["stop_sequence"].as_str().map(str::to_owned),
            usage: message["usage"].clone(),
        }
    }

    /// The types of its blocks, in order.
    pub fn kinds(&self) -> Vec<&str> {
        self.content.iter().map(|block| block["type"].as_str().unwrap_or_default()).collect()
    }

    pub fn blocks(&self, kind: &str) -> Vec<&Value> {
        self.content.iter().filter(|block| block["type"] == kind).collect()
    }

    /// All its text.
    pub fn text(&self) -> String {
        self.blocks("text").iter().map(|block| text(&block["text"])).collect()
    }

    /// As it goes back to the service in the next request.
    pub fn as_history(&self) -> Value {
        json!({"role": "assistant", "content": self.content})
    }
}

#[derive(Default)]
struct Reader {
    message: Option<Value>,
    content: Vec<Value>,
    open: bool,
    input: String,
    delta: Value,
    usage: Value,
    stopped: bool,
}

impl Reader {
    fn read(&mut self, name: &str, data: &Value) {
        assert!(!self.stopped, "{name} after message_stop");
        match name {
            "ping" => {}
            "message_start" => {
                assert!(self.message.is_none(), "a second message_start");
                assert_eq!(data["message"]["content"], json!([]), "content in message_start is lost");
                assert_eq!(data["message"]["role"], "assistant");
                self.usage = data["message"]["usage"].clone();
                self.message = Some(data["message"].clone());
            }
            _ if self.message.is_none() => panic!("{name} before message_start"),
            "content_block_start" => self.start_block(data),
            "content_block_delta" => self.add_delta(&data["delta"], &data["index"]),
            "content_block_stop" => self.stop_block(&data["index"]),
            "message_delta" => self.add_message_delta(data),
            "message_stop" => {
                assert!(!self.open, "message_stop in an open block");
                assert!(self.delta["stop_reason"].is_string(), "message_stop without a stop_reason");
                self.stopped = true;
            }
            _ => panic!("unexpected event {name}: {data}"),
        }
    }

    fn start_block(&mut self, data: &Value) {
        assert!(!self.open, "a block begins while another is open");
        assert_eq!(data["index"], self.content.len(), "indexes are not dense");
        let block = &data["content_block"];
        match block["type"].as_str() {
            Some("text") => assert_eq!(block["text"], ""),
            Some("thinking") => assert_eq!(block["thinking"], ""),
            Some("tool_use" | "server_tool_use") => assert_eq!(block["input"], json!({})),
            Some("redacted_thinking" | "web_search_tool_result") => {}
            kind => panic!("unexpected block {kind:?}"),
        }
        self.content.push(block.clone());
        self.open = true;
        self.input.clear();
    }

    fn add_delta(&mut self, delta: &Value, index: &Value) {
        assert!(self.open, "a delta outside of a block");
        assert_eq!(*index, self.content.len() - 1, "a delta for another block");
        let block = self.content.last_mut().expect("a block is open");
        let (kind, key) = match delta["type"].as_str() {
            Some("text_delta") => ("text", "text"),
            Some("thinking_delta") => ("thinking", "thinking"),
            Some("signature_delta") => ("thinking", "signature"),
            Some("input_json_delta") => {
                assert!(matches!(block["type"].as_str(), Some("tool_use" | "server_tool_use")), "{delta}");
                return self.input.push_str(&text(&delta["partial_json"]));
            }
            kind => panic!("unexpected delta {kind:?}"),
        };
        assert_eq!(block["type"], kind, "{delta} in a {} block", block["type"]);
        let whole = format!("{}{}", block[key].as_str().unwrap_or_default(), text(&delta[key]));
        block[key] = json!(whole);
    }

    fn stop_block(&mut self, index: &Value) {
        assert!(self.open, "a block ends twice");
        assert_eq!(*index, self.content.len() - 1, "another block ends");
        let block = self.content.last_mut().expect("a block is open");
        if !self.input.is_empty() {
            block["input"] = serde_json::from_str(&self.input).unwrap_or_else(|_| json!(self.input));
        }
        self.open = false;
    }

    fn add_message_delta(&mut self, data: &Value) {
        // A delta without a stop reason is a sign of life.
        if data["delta"]["stop_reason"].is_null() {
            return;
        }
        assert!(!self.open, "the message ends in an open block");
        assert!(self.delta.is_null(), "a second message_delta with a stop reason");
        self.delta = data["delta"].clone();
        for (key, value) in data["usage"].as_object().into_iter().flatten() {
            self.usage[key] = value.clone();
        }
    }

    fn message(self) -> Message {
        let message = self.message.unwrap_or_default();
        Message {
            model: text(&message["model"]),
            content: self.content,
            stop_reason: text(&self.delta["stop_reason"]),
            stop_sequence: self.delta["stop_sequence"].as_str().map(str::to_owned),
            usage: self.usage,
        }
    }
}

/// What an `error` event says: its type and message.
pub fn error_event(events: &[Event]) -> (String, String) {
    let last = events.last().expect("at least one event");
    assert_eq!(last.name, "error", "the last event is {last:?}");
    assert_eq!(last.data["type"], "error");
    (text(&last.data["error"]["type"]), text(&last.data["error"]["message"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
