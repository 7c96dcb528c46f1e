//! The client that plays `claude` where there is none: it sends requests of its shape through the gateway, shows what
//! streams back, and answers the demo's one tool call. It never executes anything.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use awc::ClientResponse;
use awc::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::screen::{Screen, Voice};
use super::upstream::{COMMAND, COMMAND_PRINTS};
use crate::providers::claude_cli::environment::Wiring;
use crate::providers::sse::Reader;

/// Requests of one turn: the script needs two.
const MOST_REQUESTS: usize = 4;
/// For the head of an answer, over loopback.
const HEAD_TIME: Duration = Duration::from_secs(20);
const ERROR_LIMIT: usize = 64 * 1024;

/// Runs one turn and shows it.
pub async fn turn<W: Write>(
    wiring: &Wiring,
    prompt: &str,
    screen: &mut Screen<W>,
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let mut messages = opening(prompt);
    for _ in 0..MOST_REQUESTS {
        let response = send(wiring, &messages).await?;
        let reply = read(response, screen, ledger).await?;
        let results = run_tools(&reply, screen)?;
        if results.is_empty() {
            return Ok(());
        }
        messages.push(json!({"role": "assistant", "content": reply}));
        messages.push(json!({"role": "user", "content": results}));
    }
    bail!("the model called tools without end")
}

/// The first messages as `claude` sends them: reminders before the prompt, a system message behind it.
fn opening(prompt: &str) -> Vec<Value> {
    vec![
        json!({"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>\nThe folder is empty.\n</system-reminder>"},
            {"type": "text", "text": prompt}]}),
        json!({"role": "system", "content": [
            {"type": "text", "text": "The working directory is temporary.", "cache_control": {"type": "ephemeral"}}]}),
    ]
}

fn request(model: &str, messages: &[Value]) -> Value {
    let billing = "x-anthropic-billing-header: cc_version=0.0.0.demo; cc_entrypoint=sdk-cli;";
    let command = json!({"type": "string", "description": "The command to execute"});
    let description = json!({"type": "string", "description": "What the command does, in a few words"});
    json!({
        "model": model,
        "max_tokens": 32000,
        "stream": true,
        "system": [
            {"type": "text", "text": billing},
            {"type": "text", "text": "You are an agent on a command line.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": messages,
        "tools": [{
            "name": "Bash",
            "description": "Executes a shell command and returns what it prints.",
            "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
                "properties": {"command": command, "description": description},
                "required": ["command"], "additionalProperties": false},
        }],
        "thinking": {"type": "adaptive", "display": "updates"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": r#"{"device_id":"demo","account_uuid":"","session_id":"demo"}"#},
    })
}

async fn send(
    wiring: &Wiring,
    messages: &[Value],
) -> anyhow::Result<ClientResponse<impl Stream<Item = Result<Bytes, PayloadError>> + Unpin + use<>>> {
    let model = wiring.model.as_ref().map_or("sonnet".to_owned(), |model| format!("anthropic/{}", model.id));
    let client = awc::Client::builder().timeout(HEAD_TIME).disable_redirects().no_default_headers().finish();
    let mut response = client
        .post(format!("{}/v1/messages?beta=true", wiring.base_url))
        .bearer_auth(&wiring.token)
        .insert_header(("anthropic-version", "2023-06-01"))
        .insert_header(("user-agent", concat!("claudette-demo/", env!("CARGO_PKG_VERSION"))))
        .send_json(&request(&model, messages))
        .await
        .map_err(|error| anyhow::anyhow!("the gateway cannot be reached: {error}"))?;
    if !response.status().is_success() {
        let body = response.body().limit(ERROR_LIMIT).await.unwrap_or_default();
        bail!("the gateway answered {}: {}", response.status(), String::from_utf8_lossy(&body));
    }
    Ok(response)
}

/// A block of the assistant's message, as it is shown and as it goes back with the next request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Thinking {
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
}

/// The events of a stream that the demo acts upon.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamEvent {
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop,
    MessageStop,
    Error {
        error: ErrorBody,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    message: String,
}

/// A message that is being received. Blocks come one after another.
#[derive(Default)]
struct Reply {
    blocks: Vec<Block>,
    /// The JSON of the open tool call's input.
    arguments: String,
    ended: bool,
}

/// Reads an answer to its end and shows it as it comes.
async fn read<W: Write>(
    mut chunks: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    screen: &mut Screen<W>,
    ledger: &Ledger,
) -> anyhow::Result<Vec<Block>> {
    let mut reader = Reader::new();
    let mut reply = Reply::default();
    while let Some(chunk) = chunks.next().await {
        reader.feed(&chunk.context("the gateway's answer broke off")?);
        while let Some(event) = reader.next_event() {
            let event = event.map_err(|_| anyhow::anyhow!("an event of the gateway is too long"))?;
            let event = serde_json::from_slice(event.data).context("an event of the gateway cannot be read")?;
            if let Some((voice, piece)) = reply.take(event)? {
                screen.stream(voice, &piece)?;
                ledger.shown();
            }
        }
    }
    screen.end()?;
    if reply.ended { Ok(reply.blocks) } else { bail!("the gateway's answer ended early") }
}

impl Reply {
    /// Puts the event into its place; returns what of it is to be shown.
    fn take(&mut self, event: StreamEvent) -> anyhow::Result<Option<(Voice, String)>> {
        match event {
            StreamEvent::ContentBlockStart { content_block } => self.blocks.push(content_block),
            StreamEvent::ContentBlockDelta { delta } => return Ok(self.grow(delta)),
            StreamEvent::ContentBlockStop => self.close()?,
            StreamEvent::MessageStop => self.ended = true,
            StreamEvent::Error { error } => bail!("the gateway reports an error: {}", error.message),
            StreamEvent::Unknown => {}
        }
        Ok(None)
    }

    fn grow(&mut self, delta: Delta) -> Option<(Voice, String)> {
        match (delta, self.blocks.last_mut()) {
            (Delta::Text { text: piece }, Some(Block::Text { text })) => {
                text.push_str(&piece);
                Some((Voice::Model, piece))
            }
            (Delta::Thinking { thinking: piece }, Some(Block::Thinking { thinking, .. })) => {
                thinking.push_str(&piece);
                Some((Voice::Thinking, piece))
            }
            (Delta::Signature { signature: piece }, Some(Block::Thinking { signature, .. })) => {
                signature.push_str(&piece);
                None
            }
            (Delta::InputJson { partial_json }, _) => {
                self.arguments.push_str(&partial_json);
                None
            }
            _ => None,
        }
    }

    fn close(&mut self) -> anyhow::Result<()> {
        let arguments = std::mem::take(&mut self.arguments);
        if let Some(Block::ToolUse { input, .. }) = self.blocks.last_mut()
            && !arguments.is_empty()
        {
            *input = serde_json::from_str(&arguments).context("a tool's input is no JSON")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct BashInput {
    command: String,
}

/// The results of the message's tool calls. The demo's own command is known to print its line; nothing is run.
fn run_tools<W: Write>(reply: &[Block], screen: &mut Screen<W>) -> anyhow::Result<Vec<Value>> {
    let mut results = Vec::new();
    for block in reply {
        let Block::ToolUse { id, name, input } = block else { continue };
        let command = BashInput::deserialize(input).map(|input| input.command).unwrap_or_default();
        screen.say(Voice::ToolCall, &format!("{name}  {command}"))?;
        let is_known = name == "Bash" && command == COMMAND;
        let (voice, content) = match is_known {
            true => (Voice::ToolResult, COMMAND_PRINTS),
            false => (Voice::ToolError, "The demo's client runs nothing but the demo's own command."),
        };
        screen.say(voice, content)?;
        results.push(json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": !is_known}));
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(command: &str) -> Vec<Block> {
        vec![
            Block::Text { text: "Let me see.".into() },
            Block::ToolUse { id: "t".into(), name: "Bash".into(), input: json!({"command": command}) },
        ]
    }

    #[test]
    fn only_the_demos_own_command_is_answered_with_its_output() {
        let mut shown = Vec::new();
        let results = run_tools(&reply(COMMAND), &mut Screen::new(&mut shown, false)).unwrap();
        assert_eq!(results[0]["content"], COMMAND_PRINTS);
        assert_eq!(results[0]["is_error"], false);
        let results = run_tools(&reply("rm -rf ~"), &mut Screen::new(&mut shown, false)).unwrap();
        assert_eq!(results[0]["is_error"], true);
    }

    #[test]
    fn a_message_is_put_together_from_its_events() {
        let events = [
            r#"{"type":"message_start","message":{"id":"m"}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sealed"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"Bash","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"command\":"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"true\"}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let mut reply = Reply::default();
        let shown: Vec<_> =
            events.iter().filter_map(|event| reply.take(serde_json::from_str(event).unwrap()).unwrap()).collect();
        assert_eq!(shown, [(Voice::Thinking, "Hm.".to_owned())]);
        assert!(reply.ended);
        assert_eq!(
            serde_json::to_value(&reply.blocks).unwrap(),
            json!([
                {"type": "thinking", "thinking": "Hm.", "signature": "sealed"},
                {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "true"}},
            ])
        );
        let error = r#"{"type":"error","error":{"type":"api_error","message":"no luck"}}"#;
        let fault = Reply::default().take(serde_json::from_str(error).unwrap()).unwrap_err();
        assert!(fault.to_string().contains("no luck"));
    }
}
