//! `claudette turn`: the next turn of a session, its text as it streams.
//!
//! The turn runs in the service; this command watches. Ctrl-C asks the service to interrupt it and waits for its end; a
//! second one leaves at once. A connection that is lost leaves the turn running.

use std::io::{Read, Write};

use futures_util::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

use super::Exit;
use super::service::{Service, Trouble, Turn};
use crate::http::control::{TurnLine, TurnWish};

/// What `-` stands for.
const STDIN: &str = "-";

pub fn run(session: String, prompt: Option<String>) -> anyhow::Result<Exit> {
    let prompt = match prompt.as_deref() {
        Some(STDIN) => Some(read_stdin()?),
        Some(_) | None => prompt,
    };
    if prompt.as_ref().is_some_and(|prompt| prompt.trim().is_empty()) {
        eprintln!("claudette: the prompt is empty.");
        return Ok(Exit::Usage);
    }
    super::service::block_on(async move {
        let wish = TurnWish { session, prompt };
        let service = match Service::find() {
            Ok(service) => service,
            Err(trouble) => return Ok(trouble.tell()),
        };
        // Before the turn is asked for: from then on Ctrl-C means the turn.
        let signals = Signals::new([SIGINT, SIGTERM])?;
        match service.turn(&wish).await {
            Ok(turn) => watch(&service, &wish.session, turn, signals).await,
            Err(trouble) => Ok(trouble.tell()),
        }
    })?
}

fn read_stdin() -> std::io::Result<String> {
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt)?;
    Ok(prompt)
}

async fn watch(service: &Service, session: &str, mut turn: Turn, mut signals: Signals) -> anyhow::Result<Exit> {
    let mut id = None;
    let mut was_interrupted = None;
    loop {
        tokio::select! {
            line = turn.next() => match line {
                Ok(Some(TurnLine::Queued { turn })) => {
                    id = Some(turn);
                    // Ctrl-C came before the turn had a name.
                    if was_interrupted.is_some()
                        && let Err(trouble) = service.interrupt_turn(session, turn).await
                    {
                        return Ok(trouble.tell());
                    }
                }
                Ok(Some(TurnLine::Text { text })) => print(&text)?,
                Ok(Some(TurnLine::Started | TurnLine::ToolUsed { .. })) => {}
                Ok(Some(TurnLine::Denied { reason })) => return Ok(Trouble::Denied(reason).tell()),
                Ok(Some(TurnLine::Ended { code, is_error, text })) => {
                    return Ok(ended(code, is_error, text, was_interrupted));
                }
                Ok(None) => return Ok(lost("the service ended the stream")),
                Err(reason) => return Ok(lost(&reason)),
            },
            Some(signal) = signals.next() => {
                let code = Exit::Child(u8::try_from(128 + signal).unwrap_or(u8::MAX));
                if was_interrupted.replace(code).is_some() {
                    return Ok(code);
                }
                if let Some(turn) = id
                    && let Err(trouble) = service.interrupt_turn(session, turn).await
                {
                    return Ok(trouble.tell());
                }
            }
        }
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn ended(code: u8, is_error: bool, text: Option<String>, was_interrupted: Option<Exit>) -> Exit {
    if let Some(interrupted) = was_interrupted.filter(|_| is_error) {
        // In claude's own words this is an error; the one who pressed Ctrl-C knows better.
        eprintln!("claudette: the turn was interrupted.");
        return interrupted;
    }
    if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
        eprintln!("claudette: {}", text.trim_end());
    }
    match code {
        0 => Exit::Done,
        code => Exit::Child(code),
    }
}

fn lost(reason: &str) -> Exit {
    eprintln!("claudette: {reason}; the turn may still run: see `claudette status` and the session's transcript.");
    Exit::Failed
}
