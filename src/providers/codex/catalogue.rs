//! The Codex backend's model list (CODEX.md §2): the answer of `GET /codex/models`, `models_cache.json`, and what
//! `codex debug models` prints are all of one form.
//!
//! An entry that cannot be read is left out and spoils no other. The list comes out in the order of its `priority`.

use super::wire::{Catalogue, CatalogueModel};
use crate::ids::ModelId;
use crate::providers::openai::models::{Effort, ModelEntry};

/// Why an answer is no catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueFault {
    #[error("the answer is no model list")]
    NoList,
    #[error("the model list is empty: the plan may not include Codex, see https://chatgpt.com/codex")]
    Empty,
}

/// Reads a catalogue.
///
/// # Errors
/// It is no list, or holds no model that can be read.
pub fn parse(body: &[u8]) -> Result<Vec<ModelEntry>, CatalogueFault> {
    let catalogue: Catalogue = serde_json::from_slice(body).map_err(|_| CatalogueFault::NoList)?;
    let readable = catalogue.models.iter().filter_map(|entry| serde_json::from_str(entry.get()).ok());
    let mut models: Vec<CatalogueModel> = readable.filter(|model: &CatalogueModel| !model.slug.is_empty()).collect();
    if models.is_empty() {
        return Err(CatalogueFault::Empty);
    }
    let priority = |model: &CatalogueModel| model.priority.unwrap_or(f64::INFINITY);
    models.sort_by(|one, other| priority(one).total_cmp(&priority(other)));
    Ok(models.into_iter().map(entry).collect())
}

/// The list for a machine on which neither the backend nor a `codex` CLI can be asked: what version 0.169 brings along.
pub fn built_in() -> Vec<ModelEntry> {
    use Effort::{High, Low, Max, Medium, XHigh};
    const TO_MAX: &[Effort] = &[Low, Medium, High, XHigh, Max];
    const TO_XHIGH: &[Effort] = &[Low, Medium, High, XHigh];
    let known = [
        ("gpt-6.1-sol", "GPT-6.1-Sol", 272_000, TO_MAX, true),
        ("gpt-6-astra", "GPT-6-Astra", 272_000, TO_MAX, true),
        ("gpt-6-sol", "GPT-6-Sol", 272_000, TO_MAX, true),
        ("gpt-6-luna", "GPT-6-Luna", 272_000, TO_MAX, true),
        ("gpt-5.6-sol", "GPT-5.6-Sol", 272_000, TO_MAX, true),
        ("gpt-6.1-terra", "GPT-6.1-Terra", 500_000, TO_MAX, true),
        ("gpt-5.6-terra", "GPT-5.6-Terra", 272_000, TO_MAX, true),
        ("gpt-5.6-luna", "GPT-5.6-Luna", 272_000, TO_MAX, true),
        ("gpt-5.5", "GPT-5.5", 272_000, TO_XHIGH, false),
    ];
    let entry = |(id, display_name, window, efforts, lite): (&str, &str, u64, &[Effort], bool)| ModelEntry {
        id: ModelId::from(id),
        display_name: display_name.to_owned(),
        context_window: Some(window),
        hidden: false,
        efforts: efforts.to_vec(),
        fast_tier: false,
        lite,
    };
    known.into_iter().map(entry).collect()
}

fn entry(model: CatalogueModel) -> ModelEntry {
    let levels = model.supported_reasoning_levels.unwrap_or_default();
    let tiers = model.service_tiers.unwrap_or_default();
    ModelEntry {
        display_name: model.display_name.filter(|name| !name.is_empty()).unwrap_or_else(|| model.slug.clone()),
        context_window: model.context_window.filter(|window| *window > 0),
        hidden: model.visibility.is_some_and(|visibility| visibility != "list"),
        // `ultra` is a way of delegating tasks, no level that a request of `claude` could mean.
        efforts: levels.iter().filter_map(|level| Effort::of(&level.effort)).collect(),
        fast_tier: tiers.iter().any(|tier| tier.id.as_deref() == Some("priority")),
        lite: model.use_responses_lite.unwrap_or(false),
        id: ModelId::new(model.slug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Vec<ModelEntry> {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/codex/responses/models_slim_for_simulator.json");
        parse(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_recorded_list_comes_by_priority_with_hidden_ones_marked() {
        let models = recorded();
        let shown: Vec<&str> = models.iter().filter(|model| !model.hidden).map(|model| model.id.as_str()).collect();
        assert_eq!(
            shown,
            [
                "gpt-6.1-sol",
                "gpt-6-astra",
                "gpt-6-sol",
                "gpt-6-luna",
                "gpt-5.6-sol",
                "gpt-6.1-terra",
                "gpt-5.6-terra",
                "gpt-5.6-luna",
                "gpt-5.5"
            ]
        );
        assert_eq!(models.iter().filter(|model| model.hidden).count(), 3);
    }

    #[test]
    fn an_entry_tells_lane_tier_efforts_and_window() {
        let models = recorded();
        let of = |id: &str| models.iter().find(|model| model.id.as_str() == id).unwrap();
        let (classic, lite) = (of("gpt-5.5"), of("gpt-6.1-terra"));
        assert_eq!((classic.lite, lite.lite), (false, true));
        assert_eq!((classic.context_window, lite.context_window), (Some(272_000), Some(500_000)));
        assert_eq!(classic.efforts, [Effort::Low, Effort::Medium, Effort::High, Effort::XHigh]);
        assert_eq!(lite.efforts.last(), Some(&Effort::Max));
        assert!(lite.fast_tier);
    }

    #[test]
    fn a_bad_entry_spoils_no_other() {
        let body = r#"{"models": [5, {"slug": ""}, {"slug": 1}, {"slug": "b", "priority": "x"}, {"slug": "a", "priority": 1}]}"#;
        let ids: Vec<String> = parse(body.as_bytes()).unwrap().into_iter().map(|model| model.id.to_string()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn no_list_and_an_empty_one_are_told_apart() {
        assert_eq!(parse(b"{}"), Err(CatalogueFault::NoList));
        assert_eq!(parse(b"<html>"), Err(CatalogueFault::NoList));
        assert_eq!(parse(br#"{"models": []}"#), Err(CatalogueFault::Empty));
    }

    #[test]
    fn the_built_in_list_agrees_with_the_recorded_one() {
        let recorded = recorded();
        for model in built_in() {
            let other = recorded.iter().find(|entry| entry.id == model.id).unwrap();
            assert_eq!((model.lite, model.context_window), (other.lite, other.context_window), "{}", model.id);
            assert_eq!(model.efforts, other.efforts, "{}", model.id);
        }
    }
}
