//! An upstream of its own: a process that speaks the OpenAI Responses API as the OpenAI types define it.
//!
//! It knows nothing of Claudette. It reads every request as strictly as the real service does (and says what was
//! wrong), plays the replies that a script names, and lets a test see and steer it over a second, control port:
//! requests seen, violations, connections open, hold points. Plain threads and blocking sockets, so that what it
//! writes and when is exactly what the script says. It ends when its standard input does, so no test run leaves one.
//!
//! `responses-upstream [--profile openai|codex|custom] [--key KEY] [--account ID] [--script FILE] [--models ID,ID]`
//! prints `{"address":"127.0.0.1:PORT","control":"127.0.0.1:PORT"}` and serves.

mod control;
mod http;
mod play;
mod rules;
mod script;
mod serve;
mod state;
mod stream;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use serde_json::json;

use crate::rules::Profile;
use crate::state::State;

/// What the command line says, fixed for the life of the process.
pub struct Options {
    pub profile: Profile,
    /// The one key that is let in; `None` lets everybody in, as local servers do.
    pub key: Option<String>,
    /// The `chatgpt-account-id` that the codex profile expects.
    pub account: Option<String>,
    pub models: Vec<String>,
    pub script: Option<String>,
}

fn main() {
    let options = match parse_arguments(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!("responses-upstream: {sentence}");
            std::process::exit(2);
        }
    };
    let state = Arc::new(State::new());
    if let Some(file) = &options.script {
        let text = std::fs::read_to_string(file).expect("the script file can be read");
        state.set_script(script::parse(&text).expect("the script is well-formed"));
    }
    let replies = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let control = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    println!(
        "{}",
        json!({
            "address": replies.local_addr().expect("a bound socket has an address").to_string(),
            "control": control.local_addr().expect("a bound socket has an address").to_string(),
        })
    );
    let control_state = Arc::clone(&state);
    thread::spawn(move || control::listen(&control, &control_state));
    let options = Arc::new(options);
    thread::spawn(move || serve::listen(&replies, &state, &options));
    wait_for_the_end_of_stdin();
}

/// The parent holds the other end of our standard input: when it dies, however it dies, we end too.
fn wait_for_the_end_of_stdin() {
    let mut sink = [0_u8; 256];
    while matches!(std::io::stdin().read(&mut sink), Ok(count) if count > 0) {}
}

fn parse_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { profile: Profile::OpenAi, key: None, account: None, models: vec!["gpt-5.5".into()], script: None };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--profile" => options.profile = Profile::parse(&value).ok_or_else(|| format!("no profile {value}"))?,
            "--key" => options.key = Some(value),
            "--account" => options.account = Some(value),
            "--script" => options.script = Some(value),
            "--models" => options.models = value.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            _ => return Err(format!("unknown argument {flag}")),
        }
    }
    Ok(options)
}
