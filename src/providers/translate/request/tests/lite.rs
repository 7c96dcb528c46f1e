//! The lite lane of the Codex backend (CODEX.md §1.4).

use serde_json::{Value, json};

use super::Upstream;
use crate::providers::translate::Omissions;

fn lite() -> Upstream {
    Upstream { model: "gpt-6-sol", omit: Omissions { full_lane: true, ..Omissions::default() }, ..Upstream::codex() }
}

fn tool(name: &str) -> Value {
    json!({"name": name, "description": "d", "input_schema": {"type": "object", "properties": {}}})
}

#[test]
fn tools_and_prompt_stand_before_the_conversation() {
    let body = lite().body_with(json!({"system": "Be brief.", "tools": [tool("Bash"), tool("Read")]}));
    assert_eq!(body.get("tools"), None);
    assert_eq!(body.get("instructions"), None);
    let input = body["input"].as_array().unwrap();
    assert_eq!((&input[0]["type"], &input[0]["role"]), (&json!("additional_tools"), &json!("developer")));
    let names: Vec<_> = input[0]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["Bash", "Read"]);
    let prompt =
        json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]});
    assert_eq!(input[1], prompt);
    assert_eq!(input[2]["role"], "user");
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(body["reasoning"]["context"], "all_turns");
}

#[test]
fn without_tools_or_prompt_nothing_is_put_first() {
    let body = lite().body_with(json!({}));
    assert_eq!(body["input"].as_array().unwrap().len(), 1);
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(body["reasoning"]["context"], "all_turns");
}

#[test]
fn the_web_search_is_dropped_there_and_told() {
    let request = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, tool("Bash")]});
    let translated = lite().translated(&request);
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(body["input"][0]["tools"].as_array().unwrap().len(), 1);
    assert!(translated.dropped.iter().any(|kind| kind == "tool.web_search"));
}

#[test]
fn an_images_place_is_that_of_the_body_as_sent() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}});
    let request = json!({"model": "m", "max_tokens": 100, "system": "s", "tools": [tool("Bash")],
        "messages": [{"role": "user", "content": [image]}]});
    let translated = lite().translated(&request);
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    let place = &translated.images[0];
    assert_eq!(body["input"][place.item]["content"][place.part]["type"], "input_image");
    assert_eq!(place.path(), "messages.0.content.0.image");
}

#[test]
fn other_profiles_have_one_lane() {
    let omit = Omissions { full_lane: true, ..Omissions::default() };
    let body = Upstream { omit, ..Upstream::openai() }.body_with(json!({"tools": [tool("Bash")]}));
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
}
