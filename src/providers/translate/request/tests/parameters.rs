//! Everything that is neither content nor a tool: WIRE.md §1.4, and what a refusal leaves out (Q0.5).

use serde_json::{Value, json};

use super::{KINDS, SCOPE, Upstream};
use crate::ids::ModelId;
use crate::providers::openai::models::ModelEntry;
use crate::providers::profile::{ProfileKind, Store};
use crate::providers::translate::Parameter;

const USER_ID: &str = r#"{"device_id":"d1","account_uuid":"","session_id":"s1"}"#;

fn listed(window: Option<u64>, fast_tier: bool) -> Option<ModelEntry> {
    Some(ModelEntry {
        id: ModelId::from("m"),
        display_name: "M".to_owned(),
        context_window: window,
        hidden: false,
        efforts: Vec::new(),
        fast_tier,
        lite: false,
    })
}

#[test]
fn q_p1_the_model_is_the_upstreams_and_the_reply_echoes_the_clients() {
    let translated = Upstream::openai()
        .translated(&json!({"model": "anthropic/gpt-5.5[1m]", "messages": [{"role": "user", "content": "hi"}]}));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["model"], "gpt-5.5");
    assert_eq!(translated.reply.requested_model, "anthropic/gpt-5.5[1m]");
    assert_eq!(translated.reply.scope, SCOPE);
}

#[test]
fn q_p2_output_limits_follow_model_and_profile() {
    let cases = [
        (ProfileKind::OpenAi, "gpt-4.1", 1, json!(16)),
        (ProfileKind::OpenAi, "gpt-4.1", 100, json!(100)),
        (ProfileKind::OpenAi, "gpt-4.1", 64000, json!(32768)),
        (ProfileKind::OpenAi, "gpt-5.5", 64, json!(1024)),
        (ProfileKind::OpenAi, "gpt-5.5", 32000, json!(32000)),
        (ProfileKind::OpenAi, "gpt-5.5", 200_000, json!(128_000)),
        (ProfileKind::OpenAi, "unheard-of", 200_000, json!(200_000)),
        (ProfileKind::Codex, "gpt-5.5", 32000, Value::Null),
        (ProfileKind::Custom, "gpt-5.5", 1, json!(1)),
        (ProfileKind::Custom, "gpt-5.5", 32000, json!(32000)),
    ];
    for (kind, model, asked, sent) in cases {
        let upstream = Upstream::of(kind, model);
        let request = json!({"model": "m", "max_tokens": asked, "messages": [{"role": "user", "content": "hi"}]});
        let translated = upstream.translated(&request);
        let body: Value = serde_json::from_slice(&translated.body).unwrap();
        assert_eq!(body["max_output_tokens"], sent, "{model} {asked}");
        assert_eq!(json!(translated.reply.max_output_tokens), sent, "{model} {asked}");
    }
    let mut small = Upstream::custom();
    small.entry = listed(Some(32000), false);
    assert_eq!(small.body_with(json!({}))["max_output_tokens"], 31999);
}

#[test]
fn q_p3_sampling_goes_only_where_it_is_taken() {
    let cases = [
        (ProfileKind::OpenAi, "gpt-4.1", true),
        (ProfileKind::OpenAi, "gpt-5.5", true),
        (ProfileKind::OpenAi, "gpt-5", false),
        (ProfileKind::OpenAi, "o3", false),
        (ProfileKind::Codex, "gpt-4.1", false),
        (ProfileKind::Codex, "gpt-5.5", false),
        (ProfileKind::Custom, "gpt-5.5", true),
    ];
    for (kind, model, sent) in cases {
        let body = Upstream::of(kind, model).body_with(json!({"temperature": 0.7, "top_p": 1}));
        assert_eq!((body["temperature"] == 0.7, body["top_p"] == 1), (sent, sent), "{model}");
    }
    let thinking = json!({"temperature": 1, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}});
    assert!(
        Upstream::openai().body_with(thinking).get("temperature").is_none(),
        "gpt-5.1 and later: with effort none alone"
    );
}

#[test]
fn q_p4_top_k_is_dropped_and_noted() {
    let request = json!({"model": "m", "top_k": 5, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(Upstream::custom().translated(&request).dropped.iter().collect::<Vec<_>>(), ["top_k"]);
}

#[test]
fn q_p5_stop_sequences_are_kept_for_the_reply() {
    let request =
        json!({"model": "m", "stop_sequences": ["</block>", "", 4], "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(Upstream::openai().translated(&request).reply.stop_sequences, ["</block>"]);
}

#[test]
fn q_p6_the_upstream_always_streams() {
    for kind in KINDS {
        assert_eq!(Upstream::of(kind, "gpt-5.5").body_with(json!({"stream": false}))["stream"], true);
    }
}

fn key(upstream: &Upstream, user_id: &str) -> Option<String> {
    let request =
        json!({"model": "m", "metadata": {"user_id": user_id}, "messages": [{"role": "user", "content": "hi"}]});
    let translated = upstream.translated(&request);
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["prompt_cache_key"].as_str(), translated.cache_key.as_deref());
    translated.cache_key
}

#[test]
fn q_p7_and_q_p8_the_cache_key_names_upstream_model_session_and_agent() {
    let plain = Upstream::openai();
    let base = key(&plain, USER_ID).unwrap();
    assert_eq!(base.len(), 36);
    assert_eq!(
        key(&plain, "user_d1_account_a_session_s1").as_ref(),
        Some(&base),
        "the older form names the same session"
    );
    assert_eq!(key(&Upstream { session: Some("s1"), ..Upstream::openai() }, "x").as_ref(), Some(&base));
    assert_eq!(
        key(&Upstream { session: Some("s2"), ..Upstream::openai() }, USER_ID),
        key(&Upstream { session: Some("s2"), ..Upstream::openai() }, "x"),
        "the header comes first"
    );
    assert_ne!(key(&Upstream { agent: Some("a"), ..Upstream::openai() }, USER_ID).as_ref(), Some(&base));
    assert_ne!(key(&Upstream::of(ProfileKind::OpenAi, "gpt-5.4"), USER_ID).as_ref(), Some(&base));
    assert_eq!(key(&plain, "nobody"), None);
    assert!(key(&Upstream::codex(), USER_ID).is_some());
}

#[test]
fn q_p9_the_safety_identifier_is_a_digest_of_the_device_for_openai_alone() {
    let members = json!({"metadata": {"user_id": USER_ID}});
    let body = Upstream::openai().body_with(members.clone());
    let identifier = body["safety_identifier"].as_str().unwrap();
    assert_eq!(identifier, crate::providers::digest::sha256_hex(&["d1"]));
    for upstream in [Upstream::codex(), Upstream::custom()] {
        assert!(upstream.body_with(members.clone()).get("safety_identifier").is_none());
    }
}

#[test]
fn q_p10_and_q_p11_service_tiers() {
    let fast = json!({"speed": "fast"});
    let standard = json!({"service_tier": "standard_only"});
    let tier = |upstream: &Upstream, members: &Value| upstream.body_with(members.clone())["service_tier"].take();
    assert_eq!(tier(&Upstream::openai(), &fast), "priority");
    assert_eq!(tier(&Upstream::openai(), &standard), "default");
    assert_eq!(tier(&Upstream::openai(), &json!({"service_tier": "auto"})), Value::Null);
    assert_eq!(tier(&Upstream::codex(), &fast), Value::Null);
    assert_eq!(tier(&Upstream { entry: listed(None, true), ..Upstream::codex() }, &fast), "priority");
    assert_eq!(tier(&Upstream { entry: listed(None, true), ..Upstream::codex() }, &standard), Value::Null);
    assert_eq!(tier(&Upstream::custom(), &fast), Value::Null);
}

#[test]
fn q_p12_structured_output_is_enforced_strictly_where_the_schema_allows() {
    let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    for (schema, strict) in [(&closed, true), (&open, false)] {
        let format = json!({"type": "json_schema", "schema": schema});
        let expected = json!({"type": "json_schema", "name": "structured_output", "schema": schema, "strict": strict});
        for members in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
            assert_eq!(Upstream::codex().body_with(members)["text"]["format"], expected);
        }
    }
    assert!(Upstream::openai().body_with(json!({"output_format": {"type": "poem"}})).get("text").is_none());
}

#[test]
fn q_p13_mcp_servers_are_refused_by_name_unless_there_are_none() {
    let with =
        |servers: Value| json!({"model": "m", "mcp_servers": servers, "messages": [{"role": "user", "content": "hi"}]});
    let error = Upstream::openai().error(with(json!([{"url": "https://a"}])));
    assert!(error.status == 400 && error.message.starts_with("mcp_servers"), "{error:?}");
    Upstream::openai().body(with(json!([])));
}

#[test]
fn q_p14_store_is_false_or_absent() {
    assert_eq!(Upstream::openai().body_with(json!({}))["store"], false);
    assert_eq!(Upstream::codex().body_with(json!({}))["store"], false);
    let mut custom = Upstream::custom();
    assert!(custom.body_with(json!({})).get("store").is_none());
    custom.profile.store = Store::False;
    assert_eq!(custom.body_with(json!({}))["store"], false);
}

#[test]
fn q_p15_encrypted_reasoning_is_asked_of_models_that_reason() {
    let include = |upstream: &Upstream| upstream.body_with(json!({}))["include"].take();
    assert_eq!(include(&Upstream::openai()), json!(["reasoning.encrypted_content"]));
    assert_eq!(include(&Upstream::codex()), json!(["reasoning.encrypted_content"]));
    assert_eq!(include(&Upstream::of(ProfileKind::OpenAi, "gpt-4.1")), Value::Null);
    assert_eq!(include(&Upstream::custom()), Value::Null);
    let mut particular = Upstream::custom();
    particular.profile.encrypted_reasoning = true;
    assert_eq!(include(&particular), json!(["reasoning.encrypted_content"]));
}

#[test]
fn q_p18_obfuscation_is_switched_off_on_openai() {
    assert_eq!(Upstream::openai().body_with(json!({}))["stream_options"], json!({"include_obfuscation": false}));
}

#[test]
fn q0_5_each_refused_parameter_is_left_out() {
    let everything = json!({
        "temperature": 0.5, "top_p": 0.5, "speed": "fast",
        "metadata": {"user_id": USER_ID},
        "tool_choice": {"type": "auto"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    let full = Upstream::openai().body_with(everything.clone());
    for parameter in Parameter::ALL {
        let mut upstream = Upstream::openai();
        upstream.omit.parameters.insert(parameter);
        let body = upstream.body_with(everything.clone());
        assert!(full.get(parameter.as_str()).is_some(), "{parameter:?} is sent at first");
        assert!(body.get(parameter.as_str()).is_none(), "{parameter:?}");
    }
}

#[test]
fn the_estimate_counts_texts_and_no_images() {
    let estimate = |content: Value| {
        Upstream::openai()
            .translated(&json!({"model": "m", "messages": [{"role": "user", "content": content}]}))
            .reply
            .input_estimate
    };
    let words = estimate(json!([{"type": "text", "text": "x".repeat(40_000)}]));
    assert!((10_000..10_200).contains(&words), "{words}");
    let image = json!({"type": "base64", "media_type": "image/png", "data": "A".repeat(400_000)});
    assert!(estimate(json!([{"type": "image", "source": image}])) < 200);
}
