//! How hard the model thinks: WIRE.md §1.4b.

use serde_json::{Value, json};

use super::Upstream;
use crate::ids::ModelId;
use crate::providers::openai::models::{Effort, ModelEntry};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::Parameter;

fn effort(upstream: &Upstream, members: Value) -> String {
    let body = upstream.body_with(members);
    body["reasoning"]["effort"].as_str().unwrap_or("-").to_owned()
}

fn adaptive(level: &str) -> Value {
    json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": level}})
}

fn tools() -> Value {
    json!([{"name": "f", "input_schema": {"type": "object"}}])
}

#[test]
fn each_family_takes_its_own_levels() {
    let cases = [
        (ProfileKind::OpenAi, "gpt-4.1", "- - - - -"),
        (ProfileKind::OpenAi, "gpt-4o-2024-11-20", "- - - - -"),
        (ProfileKind::OpenAi, "o3-mini", "low low medium high high"),
        (ProfileKind::OpenAi, "gpt-5", "minimal low medium high high"),
        (ProfileKind::OpenAi, "gpt-5-mini-2025-08-07", "minimal low medium high high"),
        (ProfileKind::OpenAi, "gpt-5-codex", "low low medium high high"),
        (ProfileKind::OpenAi, "gpt-5-pro", "high high high high high"),
        (ProfileKind::OpenAi, "gpt-5.1", "none low medium high high"),
        (ProfileKind::OpenAi, "gpt-5.1-codex-mini", "low low medium high high"),
        (ProfileKind::OpenAi, "gpt-5.1-codex-max", "low low medium high xhigh"),
        (ProfileKind::OpenAi, "gpt-5.3-codex-spark", "low low medium high xhigh"),
        (ProfileKind::OpenAi, "gpt-5.4-mini", "none low medium high xhigh"),
        (ProfileKind::OpenAi, "gpt-5.6-sol", "low low medium high max"),
        (ProfileKind::OpenAi, "something-else", "low low medium high high"),
        (ProfileKind::Codex, "gpt-5.5", "low low medium high xhigh"),
        (ProfileKind::Codex, "gpt-6-unheard-of", "low low medium high high"),
        (ProfileKind::Custom, "gpt-4.1", "none low medium high high"),
        (ProfileKind::Custom, "qwen3-coder", "none low medium high high"),
    ];
    for (kind, model, expected) in cases {
        let upstream = Upstream::of(kind, model);
        let mut efforts = vec![effort(&upstream, json!({"thinking": {"type": "disabled"}}))];
        efforts.extend(["low", "medium", "high", "max"].map(|level| effort(&upstream, adaptive(level))));
        assert_eq!(efforts.join(" "), expected, "{model}");
    }
}

#[test]
fn a_catalogues_own_levels_win() {
    let mut upstream = Upstream::of(ProfileKind::Codex, "gpt-6-sol");
    upstream.entry = Some(ModelEntry {
        id: ModelId::from("gpt-6-sol"),
        display_name: "GPT-6 Sol".to_owned(),
        context_window: Some(272_000),
        hidden: false,
        efforts: vec![Effort::Max, Effort::Low, Effort::High],
        fast_tier: true,
        lite: true,
    });
    assert_eq!(effort(&upstream, adaptive("xhigh")), "high", "q_e4: ties go down");
    assert_eq!(effort(&upstream, adaptive("max")), "max");
    assert!(upstream.facts().lite && upstream.facts().fast_tier);
}

#[test]
fn q_e1_without_thinking_the_level_is_the_lowest_whatever_effort_is_named() {
    let named = json!({"output_config": {"effort": "high"}, "tools": tools()});
    assert_eq!(effort(&Upstream::openai(), named.clone()), "none");
    assert_eq!(effort(&Upstream::codex(), named.clone()), "low");
    assert_eq!(effort(&Upstream::custom(), named), "none");
}

#[test]
fn q_e1_a_subagents_own_turn_thinks_as_told() {
    let mut upstream = Upstream::openai();
    upstream.agent = Some("agent-1");
    let own_turn = json!({"output_config": {"effort": "high"}, "tools": tools()});
    assert_eq!(effort(&upstream, own_turn.clone()), "high");
    assert!(upstream.body_with(own_turn)["reasoning"].get("summary").is_none());
    assert_eq!(
        effort(&upstream, json!({"output_config": {"effort": "high"}})),
        "none",
        "without tools it is a side request"
    );
    assert_eq!(effort(&upstream, json!({"thinking": {"type": "disabled"}, "tools": tools()})), "none");
}

#[test]
fn q_e2_adaptive_without_an_effort_leaves_it_to_the_model() {
    let body = Upstream::openai().body_with(json!({"thinking": {"type": "adaptive"}}));
    assert_eq!(body["reasoning"], json!({"summary": "auto"}));
}

#[test]
fn q_e3_budgets_become_levels() {
    let cases = [
        ("gpt-5", 400, "minimal"),
        ("gpt-5", 1024, "low"),
        ("gpt-5.5", 400, "low"),
        ("gpt-5.5", 8192, "medium"),
        ("gpt-5.5", 24576, "high"),
        ("gpt-5.5", 31999, "xhigh"),
        ("gpt-5.1", 31999, "high"),
    ];
    for (model, budget, expected) in cases {
        let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
        assert_eq!(effort(&Upstream::of(ProfileKind::OpenAi, model), thinking), expected, "{model} {budget}");
    }
}

#[test]
fn q_e5_web_search_raises_minimal_to_low() {
    let search = json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]});
    assert_eq!(effort(&Upstream::of(ProfileKind::OpenAi, "gpt-5"), search), "low");
}

#[test]
fn q_e6_a_summary_is_asked_for_whenever_thinking_is_shown() {
    let summary = |upstream: &Upstream, thinking: Value| {
        upstream.body_with(json!({"thinking": thinking}))["reasoning"].get("summary").is_some()
    };
    let openai = Upstream::openai();
    assert!(summary(&openai, json!({"type": "adaptive"})));
    assert!(summary(&openai, json!({"type": "adaptive", "display": "updates"})));
    assert!(summary(&openai, json!({"type": "enabled", "budget_tokens": 2000})));
    assert!(!summary(&openai, json!({"type": "adaptive", "display": "omitted"})));
    assert!(!summary(&openai, json!({"type": "disabled"})));
    assert!(!summary(&Upstream::of(ProfileKind::OpenAi, "gpt-5.3-codex-spark"), json!({"type": "adaptive"})));
    let mut refused = Upstream::openai();
    refused.omit.summary = true;
    assert!(!summary(&refused, json!({"type": "adaptive"})));
}

#[test]
fn q0_5_a_refused_effort_leaves_reasoning_out_and_others_are_still_sent() {
    let mut upstream = Upstream::custom();
    upstream.omit.efforts.insert(Effort::None);
    assert!(upstream.body_with(json!({})).get("reasoning").is_none());
    assert_eq!(effort(&upstream, adaptive("high")), "high");
    upstream.omit.parameters.insert(Parameter::Reasoning);
    assert!(upstream.body_with(adaptive("high")).get("reasoning").is_none());
}

#[test]
fn a_profile_without_reasoning_sends_none() {
    let mut upstream = Upstream::custom();
    upstream.profile.reasoning = false;
    assert!(upstream.body_with(adaptive("high")).get("reasoning").is_none());
}
