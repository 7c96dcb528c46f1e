//! `claudette test` for a codex backend: the CLI's word on the login, its token's life, one catalogue request, and how
//! much of the plan is used.
//!
//! `codex login status` alone would not do: it calls an expired or empty login good (CODEX.md §3.1).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::Actor;

use super::Exit;
use crate::actors::auth::{Adopt, AuthActor};
use crate::actors::codex::backend::usage;
use crate::actors::codex::catalogue::{self, LiveFault};
use crate::actors::codex::desk::Desk;
use crate::actors::codex::program::{CodexProgram, INSTALL};
use crate::http::upstream::credential::CredentialSource;
use crate::providers::codex::login::CodexLogin;
use crate::providers::utc;
use crate::settings::{Backend, CodexSettings, Settings};

pub fn run(settings: &Settings, backend: &Backend, codex: &CodexSettings) -> anyhow::Result<Exit> {
    actix::System::new().block_on(async { Ok(examine(settings, backend, codex).await) })
}

async fn examine(settings: &Settings, backend: &Backend, codex: &CodexSettings) -> Exit {
    let program = CodexProgram::of(codex);
    let version = program.version().await;
    match &version {
        Some(version) => println!("{}: codex CLI {version}, its folder is {}", backend.id, codex.home.display()),
        None => println!("{}: no codex CLI (`{}`): {INSTALL}", backend.id, codex.bin.display()),
    }
    if let Ok(status) = program.login_status().await {
        println!("codex login status: {}", status.words);
    }
    if !login_is_good(settings, backend).await {
        return Exit::Failed;
    }
    let (credentials, requests) = CredentialSource::channel();
    AuthActor::new(requests).start().do_send(Adopt(Arc::new(settings.clone())));
    let answers = catalogue_answers(settings, backend, &credentials, version.as_deref()).await;
    if let Ok(credential) = credentials.get(&backend.id, &backend.origin()).await {
        match usage(backend, &settings.upstream, &credential).await {
            Ok(quota) => println!("used: {quota}"),
            Err(reason) => println!("used: the backend did not tell ({reason})"),
        }
    }
    if answers { Exit::Done } else { Exit::Failed }
}

/// Tells of the login as a request would get it, renewed by the CLI if it is due.
async fn login_is_good(settings: &Settings, backend: &Backend) -> bool {
    // With a `credential` of its own the backend does not use the CLI's login.
    let Some(desk) = Desk::new(backend, &settings.upstream).filter(|_| backend.credential.is_none()) else {
        return true;
    };
    match desk.login().await {
        Ok(login) => {
            println!("{}", life(&login, unix_now()));
            true
        }
        Err(fault) => {
            eprintln!("claudette: {fault}");
            false
        }
    }
}

async fn catalogue_answers(
    settings: &Settings,
    backend: &Backend,
    credentials: &CredentialSource,
    version: Option<&str>,
) -> bool {
    match catalogue::live(backend, &settings.upstream, credentials, version).await {
        Ok(models) => {
            let shown = models.iter().filter(|model| !model.hidden).count();
            println!("{shown} models, and {} hidden ones", models.len() - shown);
            match &backend.default_model {
                Some(model) if models.iter().all(|entry| entry.id != *model) => {
                    println!("default_model {model} is not listed: the plan may not include it");
                }
                Some(_) | None => {}
            }
            true
        }
        Err(LiveFault::Empty(reason) | LiveFault::NoList(reason)) => {
            eprintln!("claudette: {}: {reason}", backend.id);
            false
        }
    }
}

/// Who is logged in on what plan, and how long the token lasts.
fn life(login: &CodexLogin, now: u64) -> String {
    let who = login.email.as_deref().unwrap_or("somebody");
    let plan = login.plan.as_deref().map(|plan| format!(", plan {plan}")).unwrap_or_default();
    let end = match login.exp {
        Some(exp) => {
            format!("the token is good until {} ({} h)", utc::minute(exp), exp.saturating_sub(now) / 3600)
        }
        None => "the token does not say how long it is good".to_owned(),
    };
    format!("logged in as {who}{plan}; {end}")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::providers::codex::login::LoginMode;

    #[test]
    fn the_life_of_a_login_is_one_sentence() {
        let bare = CodexLogin::of_token(Zeroizing::new("opaque".to_owned()), LoginMode::ChatGpt);
        assert_eq!(life(&bare, 0), "logged in as somebody; the token does not say how long it is good");
        let (email, plan) = (Some("ann@example.com".to_owned()), Some("pro".to_owned()));
        let full = CodexLogin { exp: Some(1_795_514_400), email, plan, ..bare };
        assert_eq!(
            life(&full, 1_795_514_400 - 7200),
            "logged in as ann@example.com, plan pro; the token is good until 2026-11-24 10:00 UTC (2 h)"
        );
    }
}
