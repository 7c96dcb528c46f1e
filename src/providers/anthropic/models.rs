//! Model ids between `claude` and a gateway: which model a request means, and the lists that `claude` discovers.
//!
//! Every gateway passes any id (DESIGN.md §6, "Model ids"). The lists hold strings only, never `null`: one `null` makes
//! `claude` drop the whole list.

use serde::Serialize;

use crate::ids::{BackendId, ModelId};
use crate::providers::openai::models::ModelEntry;
use crate::providers::translate::errors::nearest_models;
use crate::providers::translate::{ApiError, ErrorKind};

/// What `claude` appends to a model's name to ask for a window of a million tokens.
const MILLION_SUFFIX: &str = "[1m]";

/// `claude` keeps only listed ids that begin with `claude` or `anthropic`.
const ALIAS_PREFIX: &str = "anthropic/";

/// Upstreams do not tell when a model was made, but the shape wants a time.
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// The model that a request's `model` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    Model(ModelId),
    /// A Claude name, but the slot has no model: see [`no_model_error`].
    NoModel,
}

/// Resolves a request's `model` by the rules of DESIGN.md §6. A Claude name means the slot's models; any other id goes
/// upstream as it is, listed or not.
pub fn resolve(
    requested: &str,
    slot_model: Option<&ModelId>,
    small_model: Option<&ModelId>,
    known: &[ModelEntry],
) -> Resolved {
    let requested = strip_million(requested.trim());
    let id = requested.strip_prefix(ALIAS_PREFIX).unwrap_or(requested);
    if let Some(rest) = id.strip_prefix("claude-").filter(|rest| known.iter().any(|entry| entry.id.as_str() == *rest)) {
        return Resolved::Model(ModelId::new(rest));
    }
    if !is_claude_name(id) {
        return Resolved::Model(ModelId::new(id));
    }
    let small = small_model.filter(|_| id.to_ascii_lowercase().contains("haiku"));
    small.or(slot_model).map_or(Resolved::NoModel, |model| Resolved::Model(model.clone()))
}

fn strip_million(id: &str) -> &str {
    id.len()
        .checked_sub(MILLION_SUFFIX.len())
        .filter(|end| id.get(*end..).is_some_and(|suffix| suffix.eq_ignore_ascii_case(MILLION_SUFFIX)))
        .map_or(id, |end| &id[..end])
}

/// One of Anthropic's own names: of a model, or of a class of models. Empty: no wish at all.
fn is_claude_name(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    id.starts_with("claude-") || matches!(&*id, "" | "claude" | "opus" | "sonnet" | "haiku" | "fable" | "default")
}

/// For a Claude name on a slot that has no model.
pub fn no_model_error(backend: &BackendId) -> ApiError {
    let message = format!("no models: run `claudette models {backend} --refresh` or set default_model");
    ApiError::new(404, ErrorKind::NotFound, message).final_answer()
}

/// For `GET /v1/models/{id}` with an id that is not listed; names the nearest ones.
pub fn unknown_model_error(id: &str, known: &[ModelEntry]) -> ApiError {
    let nearest = nearest_models(id, known.iter().map(|entry| entry.id.as_str()));
    let hint = match nearest.is_empty() {
        true => String::new(),
        false => format!(" (nearest known ids: {})", nearest.join(", ")),
    };
    ApiError::new(404, ErrorKind::NotFound, format!("model: {id} is not listed{hint}")).final_answer()
}

/// Whose shape a list has: Anthropic's for a client that sends `anthropic-version`, OpenAI's for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListShape {
    Anthropic,
    OpenAi,
}

/// The body of `GET /v1/models`: every model under the alias `anthropic/<id>`, which `claude` keeps, and under its id.
/// Hidden models are left out.
pub fn list(known: &[ModelEntry], backend: &BackendId, shape: ListShape) -> String {
    let shown: Vec<_> = known.iter().filter(|entry| !entry.hidden).collect();
    let aliases = shown.iter().map(|entry| (format!("{ALIAS_PREFIX}{}", entry.id), *entry));
    let ids = shown.iter().map(|entry| (entry.id.to_string(), *entry));
    let named: Vec<_> = aliases.chain(ids).collect();
    match shape {
        ListShape::Anthropic => json(&AnthropicList {
            first_id: named.first().map_or("", |(id, _)| id),
            last_id: named.last().map_or("", |(id, _)| id),
            has_more: false,
            data: named.iter().map(|(id, entry)| AnthropicModel::of(id, entry)).collect(),
        }),
        ListShape::OpenAi => json(&OpenAiList {
            object: "list",
            data: named.iter().map(|(id, _)| OpenAiModel::of(id, backend)).collect(),
        }),
    }
}

/// The body of `GET /v1/models/{id}`, hidden models included; `id` is echoed. Nothing: [`unknown_model_error`].
pub fn one(id: &str, known: &[ModelEntry], backend: &BackendId, shape: ListShape) -> Option<String> {
    let plain = strip_million(id);
    let plain = plain.strip_prefix(ALIAS_PREFIX).unwrap_or(plain);
    let is_meant = |entry: &&ModelEntry| {
        entry.id.as_str() == id
            || entry.id.as_str() == plain
            || plain.strip_prefix("claude-") == Some(entry.id.as_str())
    };
    let entry = known.iter().find(is_meant)?;
    Some(match shape {
        ListShape::Anthropic => json(&AnthropicModel::of(id, entry)),
        ListShape::OpenAi => json(&OpenAiModel::of(id, backend)),
    })
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: &'a str,
    last_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

impl<'a> AnthropicModel<'a> {
    fn of(id: &'a str, entry: &'a ModelEntry) -> Self {
        let display_name = if entry.display_name.is_empty() { entry.id.as_str() } else { &entry.display_name };
        Self { kind: "model", id, display_name, created_at: CREATED_AT }
    }
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

impl<'a> OpenAiModel<'a> {
    fn of(id: &'a str, backend: &'a BackendId) -> Self {
        Self { id, object: "model", created: 0, owned_by: backend.as_str() }
    }
}

fn json(value: &impl Serialize) -> String {
    // Structs of texts and numbers: there is nothing that JSON could not express.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, display_name: &str) -> ModelEntry {
        ModelEntry {
            id: ModelId::new(id),
            display_name: display_name.to_owned(),
            context_window: None,
            hidden: false,
            efforts: Vec::new(),
            fast_tier: false,
            lite: false,
        }
    }

    fn known() -> Vec<ModelEntry> {
        vec![entry("gpt-5.5", "GPT-5.5"), entry("org/model", ""), ModelEntry { hidden: true, ..entry("secret", "S") }]
    }

    #[test]
    fn ids_go_upstream_as_they_are_and_claude_names_mean_the_slots_models() {
        let cases = [
            ("gpt-5.5", "gpt-5.5"),
            ("gpt-9[1m]", "gpt-9"),
            ("gpt-9[1M]", "gpt-9"),
            ("anthropic/gpt-5.5", "gpt-5.5"),
            ("anthropic/gpt-5.5[1m]", "gpt-5.5"),
            ("anthropic/org/model", "org/model"),
            ("org/model", "org/model"),
            ("claude-gpt-5.5", "gpt-5.5"),
            ("claude-org/model", "org/model"),
            ("claude-gpt-4.1", "the-slot"),
            ("claude-opus-4-8[1m]", "the-slot"),
            ("anthropic/claude-sonnet-4-5", "the-slot"),
            ("claude-haiku-4-5-20251001", "the-small"),
            ("claude-3-5-haiku-latest", "the-small"),
            ("Haiku", "the-small"),
            ("opus", "the-slot"),
            ("sonnet", "the-slot"),
            ("fable", "the-slot"),
            ("default", "the-slot"),
            ("", "the-slot"),
            ("my-haiku", "my-haiku"),
            ("claudette", "claudette"),
        ];
        let (slot, small) = (ModelId::new("the-slot"), ModelId::new("the-small"));
        for (requested, expected) in cases {
            let resolved = resolve(requested, Some(&slot), Some(&small), &known());
            assert_eq!(resolved, Resolved::Model(ModelId::new(expected)), "{requested}");
        }
    }

    #[test]
    fn haiku_means_the_slots_model_where_there_is_no_small_one() {
        let slot = ModelId::new("the-slot");
        assert_eq!(resolve("claude-haiku-4-5", Some(&slot), None, &[]), Resolved::Model(slot.clone()));
    }

    #[test]
    fn a_claude_name_without_a_model_is_a_404_that_says_what_to_do() {
        assert_eq!(resolve("claude-opus-4-8", None, None, &known()), Resolved::NoModel);
        assert_eq!(resolve("gpt-5.5", None, None, &[]), Resolved::Model(ModelId::new("gpt-5.5")));
        let error = no_model_error(&BackendId::new("vllm"));
        assert_eq!(error.message, "no models: run `claudette models vllm --refresh` or set default_model");
        assert_eq!((error.status, error.kind, error.should_retry), (404, ErrorKind::NotFound, Some(false)));
    }

    #[test]
    fn claude_finds_every_model_under_an_alias_with_a_name() {
        let list: serde_json::Value =
            serde_json::from_str(&list(&known(), &BackendId::new("vllm"), ListShape::Anthropic)).unwrap();
        let model = |id: &str, name: &str| serde_json::json!({"type": "model", "id": id, "display_name": name, "created_at": "1970-01-01T00:00:00Z"});
        let expected = serde_json::json!({
            "data": [
                model("anthropic/gpt-5.5", "GPT-5.5"),
                model("anthropic/org/model", "org/model"),
                model("gpt-5.5", "GPT-5.5"),
                model("org/model", "org/model"),
            ],
            "has_more": false,
            "first_id": "anthropic/gpt-5.5",
            "last_id": "org/model",
        });
        assert_eq!(list, expected);
    }

    #[test]
    fn an_openai_client_gets_its_own_shape() {
        let list: serde_json::Value =
            serde_json::from_str(&list(&known()[..1], &BackendId::new("vllm"), ListShape::OpenAi)).unwrap();
        let model = |id: &str| serde_json::json!({"id": id, "object": "model", "created": 0, "owned_by": "vllm"});
        assert_eq!(list, serde_json::json!({"object": "list", "data": [model("anthropic/gpt-5.5"), model("gpt-5.5")]}));
    }

    #[test]
    fn an_empty_list_has_no_null() {
        assert!(!list(&[], &BackendId::new("vllm"), ListShape::Anthropic).contains("null"));
    }

    #[test]
    fn one_model_is_found_under_all_its_names() {
        let backend = BackendId::new("vllm");
        for id in ["org/model", "anthropic/org/model", "claude-org/model", "anthropic/org/model[1m]", "secret"] {
            let body = one(id, &known(), &backend, ListShape::Anthropic).unwrap();
            assert!(body.contains(&format!(r#""id":"{id}""#)), "{body}");
        }
        assert_eq!(one("gpt-5", &known(), &backend, ListShape::OpenAi), None);
        let error = unknown_model_error("gpt-5", &known());
        assert_eq!((error.status, error.kind), (404, ErrorKind::NotFound));
        assert!(
            error.message.starts_with("model: gpt-5 is not listed (nearest known ids: gpt-5.5"),
            "{}",
            error.message
        );
    }
}
