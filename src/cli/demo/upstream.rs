//! The model that the demo speaks to: a scripted one on a loopback port of this process, which speaks enough of the
//! Responses API for one turn of an agent.
//!
//! [`script`] decides what is said from what is asked, purely; the rest sends it, delta by delta, and notes in the
//! [`Ledger`] when it did.

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::ledger::{Ledger, Step};
use super::telling::{Beat, Telling, Usage};

/// The one model there is. Its name says its family, so that it is asked for all that its family can do.
pub const MODEL: &str = "gpt-5.5-demo";

/// What the scripted model wants to run, and what that prints.
pub const COMMAND: &str = r#"echo "hello from claudette's demo""#;
pub const COMMAND_PRINTS: &str = "hello from claudette's demo";

/// Bytes of a request body: `claude` sends about 100 kB.
const BODY_LIMIT: usize = 32 << 20;
/// Characters of the prompt that the model repeats.
const QUOTE_LENGTH: usize = 80;
/// Vendors count about so many bytes of English a token.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens are cached in blocks of this size.
const CACHE_BLOCK: usize = 128;

/// The running upstream. It serves until it is stopped.
pub struct Upstream {
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Upstream {
    /// # Errors
    /// No loopback port can be bound.
    pub fn start(ledger: Ledger) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            App::new()
                .app_data(Data::new(ledger.clone()))
                .app_data(web::PayloadConfig::new(BODY_LIMIT))
                .route("/v1/models", web::get().to(models))
                .route("/v1/responses", web::post().to(responses))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { address, handle })
    }

    /// Closes the port and every connection.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

async fn models() -> HttpResponse {
    HttpResponse::Ok().json(json!({"object": "list", "data": [
        {"id": MODEL, "object": "model", "created": 0, "owned_by": "claudette"}]}))
}

async fn responses(ledger: Data<Ledger>, body: Bytes) -> HttpResponse {
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let error = json!({"type": "invalid_request_error", "message": error.to_string()});
            return HttpResponse::BadRequest().json(json!({"error": error}));
        }
    };
    let step = asked.step();
    let number = ledger.begin(step);
    let tokens = body.len() / BYTES_PER_TOKEN;
    // What came before is cached, as a vendor's prefix cache would have it.
    let cached = ledger.remember_input(number, tokens) / CACHE_BLOCK * CACHE_BLOCK;
    let beats = script(&asked, step, number, Usage { input: tokens, cached, ..Usage::default() });
    let ledger = ledger.get_ref().clone();
    let events = stream::iter(beats).then(move |Beat { pause, is_delta, frame }| {
        let ledger = ledger.clone();
        async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if is_delta {
                ledger.sent(number);
            }
            Ok::<_, std::convert::Infallible>(Bytes::from(frame))
        }
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("x-request-id", Ledger::request_id(number)))
        .streaming(events)
}

/// What the script says to a request.
fn script(asked: &Asked, step: Step, number: usize, mut usage: Usage) -> Vec<Beat> {
    let mut telling = Telling::new(number, &asked.model);
    let mut said = Said { telling: &mut telling, usage: &mut usage };
    match step {
        Step::Title => said.text(r#"{"title": "A demo of claudette"}"#, "final_answer"),
        Step::Question => {
            said.thought(
                "I am a script and know no answers, but I can show the way. A harmless command takes a tool call all \
                 the way round: the shell shall say hello.",
            );
            let prompt = asked.prompt();
            said.text(
                &format!("You asked: \"{prompt}\" Let me run a command first, to show what a tool call looks like."),
                "commentary",
            );
            said.call("Bash", &json!({"command": COMMAND, "description": "Say hello"}).to_string());
        }
        Step::Answer => {
            let output = asked.tool_output();
            said.text(
                &format!(
                    "The shell said: \"{output}\". Your prompt, the tool call and its result have been to the \
                     Responses API and back, and these words reach you one by one, as the model says them."
                ),
                "final_answer",
            );
        }
        Step::Other => said.text("Hello! I am the scripted model of claudette's demo.", "final_answer"),
    }
    telling.completed(usage)
}

/// An answer in the making, with the tokens it takes.
struct Said<'a> {
    telling: &'a mut Telling,
    usage: &'a mut Usage,
}

impl Said<'_> {
    fn thought(&mut self, summary: &str) {
        self.telling.reasoning(summary);
        self.usage.reasoning += summary.len() / BYTES_PER_TOKEN;
        self.usage.output += summary.len() / BYTES_PER_TOKEN;
    }

    fn text(&mut self, text: &str, phase: &str) {
        self.telling.message(text, phase);
        self.usage.output += text.len() / BYTES_PER_TOKEN;
    }

    fn call(&mut self, name: &str, arguments: &str) {
        self.telling.call(name, arguments);
        self.usage.output += arguments.len() / BYTES_PER_TOKEN;
    }
}

/// As much of a request as the script looks at.
#[derive(Deserialize)]
struct Asked {
    model: String,
    input: Vec<Item>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    text: TextOptions,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    role: String,
    /// Of a message.
    #[serde(default)]
    content: Vec<Part>,
    /// Of a function's output.
    #[serde(default)]
    output: Option<Output>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Output {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TextOptions {
    format: Option<TextFormat>,
}

#[derive(Deserialize)]
struct TextFormat {
    #[serde(rename = "type")]
    kind: String,
}

impl Asked {
    fn step(&self) -> Step {
        if self.text.format.as_ref().is_some_and(|format| format.kind == "json_schema") {
            Step::Title
        } else if self.input.iter().any(|item| item.output.is_some()) {
            Step::Answer
        } else if self.tools.iter().any(|tool| tool.name == "Bash") {
            Step::Question
        } else {
            Step::Other
        }
    }

    /// What the person typed, shortened: `claude` puts reminders of its own before it.
    fn prompt(&self) -> String {
        let of_user = self.input.iter().filter(|item| item.role == "user").flat_map(|item| &item.content);
        let mut typed = of_user.map(|part| part.text.trim()).filter(|text| !text.starts_with("<system-reminder>"));
        quoted(typed.next_back().unwrap_or_default())
    }

    fn tool_output(&self) -> String {
        let output = self.input.iter().filter_map(|item| item.output.as_ref()).next_back();
        match output {
            Some(Output::Text(text)) => quoted(text),
            Some(Output::Parts(parts)) => quoted(&parts.iter().map(|part| &*part.text).collect::<Vec<_>>().join(" ")),
            None => String::new(),
        }
    }
}

/// One line of bounded length.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE_LENGTH) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_of_a_turn_is_known_by_its_shape() {
        let user =
            |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        let bash = json!([{"type": "function", "name": "Bash"}]);
        let output =
            |output: serde_json::Value| json!({"type": "function_call_output", "call_id": "c", "output": output});
        let table = [
            (json!({"model": "m", "input": [user("hi")], "text": {"format": {"type": "json_schema"}}}), Step::Title),
            (json!({"model": "m", "input": [user("hi")], "tools": bash}), Step::Question),
            (json!({"model": "m", "input": [user("hi"), output(json!("out"))], "tools": bash}), Step::Answer),
            (json!({"model": "m", "input": [output(json!([{"type": "input_text", "text": "out"}]))]}), Step::Answer),
            (json!({"model": "m", "input": [user("hi")]}), Step::Other),
        ];
        for (body, expected) in table {
            let asked: Asked = serde_json::from_value(body.clone()).unwrap();
            assert_eq!(asked.step(), expected, "{body}");
            if expected == Step::Answer {
                assert_eq!(asked.tool_output(), "out");
            }
        }
    }

    #[test]
    fn the_prompt_is_the_last_text_that_a_person_typed() {
        let body = json!({"model": "m", "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "<system-reminder>\nnoise</system-reminder>"},
                {"type": "input_text", "text": "two\nlines "}]},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "more noise"}]}]});
        let asked: Asked = serde_json::from_value(body).unwrap();
        assert_eq!(asked.prompt(), "two lines");
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), QUOTE_LENGTH + 1);
    }
}
