//! `claudette test`: does the backend answer, with this credential? Needs no service.

use std::time::Instant;

use super::{Exit, codex_test, models, serve};
use crate::providers::openai::models::ModelEntry;
use crate::settings::{Backend, BackendKind};
use crate::telemetry::Plain;

pub fn run(backend: &str) -> anyhow::Result<Exit> {
    let settings = match serve::checked_settings(None) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let Some(backend) = models::known_backend(&settings, backend) else { return Ok(Exit::Failed) };
    if backend.kind == BackendKind::Anthropic {
        println!("anthropic: claude's own login is used; run `claude` and `/status` there.");
        return Ok(Exit::Done);
    }
    if let Some(codex) = &backend.codex {
        return codex_test::run(&settings, backend, codex);
    }
    let began = Instant::now();
    match models::fetch(&settings, backend) {
        Ok(models) => {
            println!("{}: ok, {} models in {} ms", backend.id, models.len(), began.elapsed().as_millis());
            print!("{}", findings(backend, &models));
            Ok(Exit::Done)
        }
        Err(reason) => {
            eprintln!("claudette: {}: {reason}", backend.id);
            eprintln!("claudette: {}", advice(backend));
            Ok(Exit::Failed)
        }
    }
}

/// What is worth saying about a list that came.
fn findings(backend: &Backend, models: &[ModelEntry]) -> String {
    if models.is_empty() {
        return models::no_models(&backend.id) + "\n";
    }
    match &backend.default_model {
        Some(model) if models.iter().any(|entry| entry.id == *model) => format!("default_model {model} is listed\n"),
        Some(model) => format!("default_model {model} is not listed: the backend may refuse it\n"),
        None if models.len() == 1 => format!("the one listed model is used: {}\n", Plain(models[0].id.as_str())),
        None => "set default_model: the backend lists several models\n".to_owned(),
    }
}

fn advice(backend: &Backend) -> String {
    match backend.kind {
        BackendKind::OpenAiApi => {
            "check the key, and its credit and limits at https://platform.openai.com/usage".to_owned()
        }
        BackendKind::CodexSubscription => format!("run `claudette login {}`", backend.id),
        BackendKind::CustomOpenAi | BackendKind::Anthropic => {
            format!("is the server running at {}, and does it serve /models and /responses there?", backend.base_url)
        }
    }
}
