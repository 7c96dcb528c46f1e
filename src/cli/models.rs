//! `claudette models`: a backend's model list, from the last one kept or asked for anew. Needs no service.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::Actor;
use serde::Serialize;

use super::{Exit, serve};
use crate::actors::auth::{Adopt, AuthActor};
use crate::actors::catalog;
use crate::http::upstream::credential::CredentialSource;
use crate::ids::{BackendId, ModelId};
use crate::providers::openai::discovery;
use crate::providers::openai::models::ModelEntry;
use crate::settings::{Backend, BackendKind, Settings};
use crate::state::{ModelsFile, StateFolder};
use crate::telemetry::Plain;

/// One entry of `--json`.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a ModelId,
    display_name: &'a str,
    context_window: Option<u64>,
    hidden: bool,
}

pub fn run(backend: &str, refresh: bool, json: bool) -> anyhow::Result<Exit> {
    let settings = match serve::checked_settings(None) {
        Ok(settings) => settings,
        Err(exit) => return Ok(exit),
    };
    let Some(backend) = known_backend(&settings, backend) else { return Ok(Exit::Failed) };
    if backend.kind == BackendKind::Anthropic {
        if json {
            println!("[]");
        }
        eprintln!("claudette: backend anthropic is claude's own login; its models are claude's own.");
        return Ok(Exit::Done);
    }
    let folder = StateFolder::open(|name| std::env::var_os(name))?;
    let kept = folder.load::<ModelsFile<ModelEntry>>(&StateFolder::models(&backend.id))?;
    let discovered = match kept.filter(|_| !refresh) {
        Some(kept) => kept.models,
        None => match fetch(&settings, backend) {
            Ok(models) => {
                let fetched_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
                folder.store(&StateFolder::models(&backend.id), &ModelsFile { fetched_at, models: models.clone() })?;
                models
            }
            Err(reason) => {
                eprintln!("claudette: {reason}");
                return Ok(Exit::Failed);
            }
        },
    };
    let models = discovery::merge(discovered, &backend.models, backend.profile.kind);
    if json {
        println!("{}", serde_json::to_string(&models.iter().map(listed).collect::<Vec<_>>())?);
    } else {
        print!("{}", table(&models));
    }
    if models.is_empty() {
        eprintln!("claudette: {}", no_models(&backend.id));
    }
    Ok(Exit::Done)
}

/// What to do about an empty list.
pub fn no_models(backend: &BackendId) -> String {
    format!(
        "{backend} lists no model that can chat. Load one in the server, or name it: set default_model or models under \
         [backends.{backend}], then run `claudette models {backend} --refresh`."
    )
}

/// The backend of that name; otherwise says which there are.
pub fn known_backend<'a>(settings: &'a Settings, name: &str) -> Option<&'a Backend> {
    let backend = settings.backends.iter().find(|backend| backend.id.as_str() == name);
    if backend.is_none() {
        let known: Vec<&str> = settings.backends.iter().map(|backend| backend.id.as_str()).collect();
        eprintln!("claudette: there is no backend {name}; the config has: {}", known.join(", "));
    }
    backend
}

/// Asks the upstream, with the backend's credential.
///
/// # Errors
/// A sentence: which URL, and what came of it.
pub fn fetch(settings: &Settings, backend: &Backend) -> Result<Vec<ModelEntry>, String> {
    actix::System::new().block_on(async {
        let (credentials, requests) = CredentialSource::channel();
        let auth = AuthActor::new(requests).start();
        auth.do_send(Adopt(Arc::new(settings.clone())));
        catalog::fetch(backend, &settings.upstream, &credentials).await
    })
}

fn listed(model: &ModelEntry) -> Listed<'_> {
    Listed {
        id: &model.id,
        display_name: &model.display_name,
        context_window: model.context_window,
        hidden: model.hidden,
    }
}

/// Ids and names are an upstream's own words: none of them steers the terminal.
fn table(models: &[ModelEntry]) -> String {
    let id = |model: &ModelEntry| Plain(model.id.as_str()).to_string();
    let width = models.iter().map(|model| id(model).chars().count()).max().unwrap_or(0);
    let line = |model: &ModelEntry| {
        let window = model.context_window.map(|tokens| format!("  {tokens} tokens")).unwrap_or_default();
        let name = if model.display_name == model.id.as_str() { "" } else { &*model.display_name };
        let hidden = if model.hidden { "  (hidden)" } else { "" };
        format!("{:width$}  {}{window}{hidden}", id(model), Plain(name)).trim_end().to_owned() + "\n"
    };
    models.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, display_name: &str, context_window: Option<u64>, hidden: bool) -> ModelEntry {
        ModelEntry {
            id: ModelId::from(id),
            display_name: display_name.to_owned(),
            context_window,
            hidden,
            efforts: Vec::new(),
            fast_tier: false,
            lite: false,
        }
    }

    #[test]
    fn the_table_has_a_line_a_model_and_marks_hidden_ones() {
        let models = [entry("gpt-5.5", "GPT-5.5", Some(272_000), false), entry("o3", "o3", None, true)];
        assert_eq!(table(&models), "gpt-5.5  GPT-5.5  272000 tokens\no3         (hidden)\n");
    }

    #[test]
    fn json_has_the_four_fields_of_the_contract() {
        let models = [entry("m", "M", None, false)];
        let json = serde_json::to_string(&models.iter().map(listed).collect::<Vec<_>>()).expect("plain data");
        assert_eq!(json, r#"[{"id":"m","display_name":"M","context_window":null,"hidden":false}]"#);
    }
}
