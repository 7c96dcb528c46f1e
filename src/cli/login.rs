//! `claudette login` and `claudette logout`: the codex CLI's own, in this terminal, on the folder of that backend.
//!
//! We never see a password or a token of it. A running service notices the login by itself.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::claude::in_foreground;
use super::{Exit, models, serve};
use crate::actors::claude::{Ended, Program};
use crate::actors::codex::program::INSTALL;
use crate::settings::{Backend, BackendKind, CodexSettings};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Login,
    Logout,
}

pub fn run(action: Action, backend: &str) -> anyhow::Result<Exit> {
    let settings = match serve::checked_settings(None) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let Some(backend) = models::known_backend(&settings, backend) else { return Ok(Exit::Failed) };
    let Some(codex) = &backend.codex else {
        eprintln!("claudette: {}", no_login(backend));
        return Ok(Exit::Failed);
    };
    let home = std::path::absolute(&codex.home)?;
    match action {
        // The CLI refuses a folder that does not exist.
        Action::Login => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&home)?,
        Action::Logout => eprintln!(
            "claudette: this revokes the login in {} for every program that uses it, the codex CLI itself included.",
            home.display()
        ),
    }
    actix::System::new().block_on(run_codex(action, codex, &home))
}

async fn run_codex(action: Action, codex: &CodexSettings, home: &Path) -> anyhow::Result<Exit> {
    let word = match action {
        Action::Login => "login",
        Action::Logout => "logout",
    };
    let program = Program {
        path: codex.bin.clone().into(),
        arguments: vec![OsString::from(word)],
        set: vec![("CODEX_HOME".to_owned(), home.display().to_string())],
        unset: Vec::new(),
    };
    Ok(match in_foreground(program).await? {
        Some(Ended::Exited(0)) => Exit::Done,
        Some(Ended::Exited(code)) => Exit::Child(code),
        Some(Ended::Killed(signal)) => Exit::Child(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Some(Ended::NotStarted(error)) => {
            eprintln!(
                "claudette: cannot run `{}`: {error}. Install the codex CLI with `{INSTALL}`, or set codex_bin in the config.",
                codex.bin.display()
            );
            Exit::Failed
        }
        None => Exit::Failed,
    })
}

/// What a person does about a backend that has no login.
fn no_login(backend: &Backend) -> String {
    match backend.kind {
        BackendKind::Anthropic => "backend anthropic is claude's own login: run `claude` and /login there.".to_owned(),
        BackendKind::OpenAiApi | BackendKind::CustomOpenAi | BackendKind::CodexSubscription => format!(
            "backend {0} takes a key, not a login: set `credential` under [backends.{0}] in the config.",
            backend.id
        ),
    }
}
