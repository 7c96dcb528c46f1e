//! A strict reader of Anthropic streams: whatever a client could stumble over is a failed assertion.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What a client would have understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Transcript {
    pub start: Value,
    /// One line per block: `text "…"`, `thinking "…" <envelope>`, `tool_use id name input`, …; an open one ends in `…`.
    pub blocks: Vec<String>,
    /// The final `message_delta`.
    pub end: Value,
    pub stopped: bool,
    pub error: Option<Value>,
    /// The names of all frames.
    pub frames: Vec<String>,
}

struct Open {
    kind: String,
    head: Value,
    text: String,
    signatures: Vec<String>,
}

impl Transcript {
    /// # Panics
    /// On anything that breaks the form or the order of a Messages stream.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("frames are UTF-8");
        let mut transcript = Self::default();
        let mut open = None;
        for frame in text.split_terminator("\n\n") {
            let (name, data) = frame.split_once('\n').expect("two lines a frame");
            let name = name.strip_prefix("event: ").expect("R-W1: an event line");
            let data = data.strip_prefix("data: ").expect("a data line");
            assert!(!data.contains('\n'), "one data line: {data}");
            let data: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            assert_eq!(data["type"], name, "R-W1");
            assert!(!transcript.stopped, "R-C3: nothing after message_stop, but {name}");
            assert!(transcript.error.is_none(), "nothing after an error, but {name}");
            transcript.take(name, &data, &mut open);
            transcript.frames.push(name.to_owned());
        }
        if let Some(open) = open {
            assert!(!transcript.stopped, "an open block at message_stop");
            transcript.blocks.push(open.line() + " …");
        }
        transcript
    }

    fn take(&mut self, name: &str, data: &Value, open: &mut Option<Open>) {
        if name != "message_start" && name != "ping" && name != "error" {
            assert!(!self.start.is_null(), "{name} before message_start");
        }
        match name {
            "message_start" => self.take_start(&data["message"]),
            "content_block_start" => {
                assert!(open.is_none(), "R-W3: one open block at a time");
                assert_eq!(data["index"], self.blocks.len(), "R-W3: dense indexes");
                assert!(self.end.is_null());
                *open = Some(Open::start(&data["content_block"]));
            }
            "content_block_delta" => {
                assert_eq!(data["index"], self.blocks.len());
                open.as_mut().expect("a delta in an open block").delta(&data["delta"]);
            }
            "content_block_stop" => {
                assert_eq!(data["index"], self.blocks.len());
                let block = open.take().expect("a stop of an open block");
                assert_eq!(block.signatures.len(), usize::from(block.kind == "thinking"), "R-C2: one signature");
                self.blocks.push(block.line());
            }
            "message_delta" if data["delta"]["stop_reason"].is_null() => {
                assert_eq!(data["usage"]["output_tokens"], 0);
                assert!(open.is_none(), "R-K2: the null delta is for a time without a block");
            }
            "message_delta" => {
                assert!(open.is_none() && self.end.is_null());
                for counter in
                    ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
                {
                    assert!(data["usage"][counter].is_u64(), "R-U4: {counter}");
                }
                self.end = data.clone();
            }
            "message_stop" => {
                assert!(!self.end.is_null(), "message_stop after its delta");
                self.stopped = true;
            }
            "error" => self.error = Some(data["error"].clone()),
            "ping" => {}
            other => panic!("no such event: {other}"),
        }
    }

    fn take_start(&mut self, message: &Value) {
        assert!(self.start.is_null(), "one message_start");
        for (key, wanted) in [("role", json!("assistant")), ("type", json!("message")), ("content", json!([]))] {
            assert_eq!(message[key], wanted);
        }
        assert!(message["stop_reason"].is_null() && message["usage"]["input_tokens"].is_u64());
        let id = message["id"].as_str().unwrap();
        assert!(id.starts_with("msg_") && id.len() <= 64, "R-W6: {id}");
        self.start = message.clone();
    }

    pub(super) fn stop_reason(&self) -> &str {
        self.end["delta"]["stop_reason"].as_str().unwrap_or("none")
    }

    pub(super) fn usage(&self) -> &Value {
        &self.end["usage"]
    }

    /// All text of the blocks of one kind, joined.
    pub(super) fn joined(&self, kind: &str) -> String {
        let texts = self.blocks.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
        texts.map(|line| first_json(line).as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn first_json(line: &str) -> Value {
    serde_json::Deserializer::from_str(line).into_iter::<Value>().next().unwrap().unwrap()
}

impl Open {
    fn start(block: &Value) -> Self {
        let kind = block["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "text" => assert_eq!(block["text"], "", "R-W4"),
            "thinking" => assert_eq!((&block["thinking"], &block["signature"]), (&json!(""), &json!("")), "R-W4"),
            "tool_use" | "server_tool_use" => {
                assert_eq!(block["input"], json!({}), "R-W4");
                let id = block["id"].as_str().unwrap();
                let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                assert!((1..=64).contains(&id.len()) && id.chars().all(legal), "2.10: {id}");
                assert!(!block["name"].as_str().unwrap().is_empty());
            }
            "web_search_tool_result" => assert!(block["tool_use_id"].is_string()),
            other => panic!("no such block: {other}"),
        }
        Self { kind, head: block.clone(), text: String::new(), signatures: Vec::new() }
    }

    fn delta(&mut self, delta: &Value) {
        let kind = delta["type"].as_str().unwrap();
        assert!(self.signatures.is_empty(), "R-C2: the signature is last");
        let key = match (self.kind.as_str(), kind) {
            ("text", "text_delta") => "text",
            ("thinking", "thinking_delta") => "thinking",
            ("thinking", "signature_delta") => {
                self.signatures.push(delta["signature"].as_str().unwrap().to_owned());
                return;
            }
            ("tool_use" | "server_tool_use", "input_json_delta") => "partial_json",
            (block, delta) => panic!("R-W5: {delta} in {block}"),
        };
        self.text.push_str(delta[key].as_str().unwrap());
    }

    fn line(&self) -> String {
        let head = |key: &str| self.head[key].as_str().unwrap_or_default().to_owned();
        match self.kind.as_str() {
            "thinking" => {
                let envelopes: Vec<String> = self.signatures.iter().map(|signature| envelope(signature)).collect();
                format!("thinking {} {}", json!(self.text), envelopes.concat())
            }
            "text" => format!("text {}", json!(self.text)),
            "web_search_tool_result" => {
                format!("web_search_tool_result {} {}", head("tool_use_id"), self.head["content"])
            }
            kind => format!("{kind} {} {} {}", head("id"), head("name"), self.text),
        }
    }
}

fn envelope(signature: &str) -> String {
    let content = signature.strip_prefix("cgw1.0123456789ab.").expect("Q-R1: prefix and scope");
    String::from_utf8(URL_SAFE_NO_PAD.decode(content).unwrap()).unwrap()
}
