//! Messages requests of three sizes. The recorded one has 12 tools in 40 KB; the larger ones get copies of its tools
//! under other names and turns of a made-up conversation until they are as large as wanted.

use serde_json::{Value, json};

const RECORDED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude/2.1.330/main_first_turn.json"));

/// Tools of a session with a few MCP servers.
const TOOLS: usize = 25;

/// One line of the files that the made-up conversation reads, with what JSON has to escape.
const LINE: &str = "    let path = root.join(\"src\").join(name); // \u{2192} \\\\server\\share\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 2 KB: a short question and one tool.
    Small,
    /// 85 KB: the first turns of a session, 25 tools with their schemas.
    Session,
    /// 1 MB: the same tools and 120 messages.
    Conversation,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Size::Small => 2_000,
            Size::Session => 85_000,
            Size::Conversation => 1_000_000,
        }
    }

    fn messages(self) -> usize {
        match self {
            Size::Small => 1,
            Size::Session => 6,
            Size::Conversation => 120,
        }
    }
}

/// A request of that size whose first member is `model`.
pub fn request(size: Size, model: &str) -> Vec<u8> {
    let recorded: Value = serde_json::from_str(RECORDED).expect("the fixture is JSON");
    let mut body = recorded["body"].clone();
    body.as_object_mut().expect("a body is an object").remove("model");
    if size == Size::Small {
        body["tools"].as_array_mut().expect("tools are a list").retain(|tool| tool["name"] == "Write");
        body["system"] = json!("You are a helpful assistant.");
        body["messages"] = json!([]);
    } else {
        body["tools"] = more_tools(body["tools"].as_array().expect("tools are a list"));
    }
    converse(&mut body, size);
    let body = body.to_string();
    format!("{{\"model\":\"{model}\",{}", &body[1..]).into_bytes()
}

fn more_tools(recorded: &[Value]) -> Value {
    let tools = recorded.iter().cycle().take(TOOLS).enumerate();
    let named = tools.map(|(index, tool)| {
        let mut tool = tool.clone();
        if index >= recorded.len() {
            tool["name"] = json!(format!("mcp__server__{}", tool["name"].as_str().unwrap_or("tool")));
        }
        tool
    });
    named.collect()
}

/// Fills the request up with turns: the person asks, the model calls a tool, the tool's result is a file.
fn converse(body: &mut Value, size: Size) {
    let present = body["messages"].as_array().map_or(0, Vec::len);
    let wanted = size.messages().saturating_sub(present);
    let missing = size.bytes().saturating_sub(body.to_string().len());
    let share = missing / wanted.max(1);
    for index in present..present + wanted {
        let message = match index % 2 {
            0 if index == 0 => json!({"role": "user", "content": [{"type": "text", "text": text(share)}]}),
            1 => json!({"role": "assistant", "content": [
                {"type": "text", "text": "I will read the next file."},
                {"type": "tool_use", "id": call_id(index), "name": "Write",
                    "input": {"file_path": "/src/main.rs", "content": text(share)}},
            ]}),
            _ => json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": call_id(index - 1), "content": [
                    {"type": "text", "text": text(share)}
                ]},
            ]}),
        };
        body["messages"].as_array_mut().expect("messages are a list").push(message);
    }
    // The last call of an even conversation has its answer in the next request.
    if size.messages().is_multiple_of(2) && wanted > 0 {
        let last = body["messages"].as_array_mut().and_then(|messages| messages.last_mut()).expect("one was pushed");
        last["content"] = json!([{"type": "text", "text": text(share)}]);
    }
}

fn call_id(index: usize) -> String {
    format!("toolu_01{index:022}")
}

/// As many lines as have `bytes` as JSON, about.
fn text(bytes: usize) -> String {
    let line_bytes = json!(LINE).to_string().len() - 2;
    LINE.repeat((bytes / line_bytes).max(1))
}
