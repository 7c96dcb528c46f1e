//! Recorded requests of the real `claude`, through every profile.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

use super::{KINDS, Upstream};
use crate::providers::profile::ProfileKind;

#[derive(serde::Deserialize)]
struct Recording {
    path: String,
    body: Option<Box<RawValue>>,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the fixtures are there").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn body(path: &Path) -> Option<Box<RawValue>> {
    let recording: Recording = serde_json::from_slice(&fs::read(path).expect("a file")).expect("a recording");
    recording.body.filter(|_| recording.path.starts_with("/v1/messages"))
}

fn recorded(name: &str) -> Value {
    let body = body(&folder().join(name)).expect("a body");
    serde_json::from_str(body.get()).expect("JSON")
}

#[test]
fn every_recorded_request_becomes_a_sound_body_twice_the_same() {
    let mut seen = 0;
    for path in files(folder()) {
        let Some(body) = body(&path) else { continue };
        for kind in KINDS {
            let upstream = Upstream::of(kind, "gpt-5.1-codex");
            let one = upstream.try_bytes(body.get().as_bytes()).unwrap_or_else(|error| panic!("{path:?}: {error:?}"));
            let two = upstream.try_bytes(body.get().as_bytes()).expect("it was translated a moment ago");
            assert_eq!(one.body, two.body, "{path:?}");
            assert!(one.reply.input_estimate > 0);
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} recordings");
}

#[test]
fn the_title_request_keeps_its_format_and_thinks_little() {
    let body = Upstream::openai().body(recorded("title_stream.json"));
    assert_eq!(body["text"]["format"]["name"], "structured_output");
    assert_eq!(body["text"]["format"]["strict"], true);
    assert_eq!(body["reasoning"]["effort"], "none");
    assert!(!body["instructions"].as_str().unwrap().contains("x-anthropic-billing-header"));
    assert!(body.get("tools").is_none() && body.get("parallel_tool_calls").is_none());
}

#[test]
fn the_inner_web_search_is_the_upstreams_own() {
    let body = Upstream::openai().body(recorded("websearch_server_tool.json"));
    assert_eq!(body["tools"][0]["type"], "web_search");
    assert_eq!(body["tools"][0]["filters"]["allowed_domains"][0], "ex.com");
    assert_eq!(body["max_tool_calls"], 8);
    assert_eq!(body["tool_choice"], "auto");
    let custom = Upstream::custom().body(recorded("websearch_server_tool.json"));
    assert!(custom.get("tools").is_none() && custom.get("tool_choice").is_none());
}

#[test]
fn loaded_tools_stand_last_and_the_placeholder_is_gone() {
    let body = Upstream::openai().body(recorded("2.1.330/toolsearch_loaded.json"));
    let names: Vec<_> = body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names[names.len() - 2..], ["WebFetch", "NotebookEdit"]);
    assert!(!names.contains(&"DeferredToolPlaceholder"));
}

#[test]
fn safeguards_leave_no_trace() {
    for kind in KINDS {
        let upstream = Upstream::of(kind, "gpt-5.5");
        let translated = upstream.translated(&recorded("2.1.330/auto_mode_safeguards.json"));
        let body = String::from_utf8(translated.body).unwrap();
        assert!(!body.contains("safeguards") && !body.contains("classifier_context"));
        assert!(!translated.dropped.iter().any(|kind| kind.contains("safeguards")));
    }
}

#[test]
fn long_names_and_ids_of_the_real_client_are_mapped_and_back() {
    let translated = Upstream::codex().translated(&recorded("mcp_results_image_error.json"));
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    let calls = body["input"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call");
    let long = calls.map(|call| call["name"].as_str().unwrap()).find(|name| name.contains("very_long")).unwrap();
    assert_eq!(long.len(), 64);
    assert!(translated.reply.tool_names.restore(long).len() > 100);
    assert!(!translated.images.is_empty());
    Upstream::of(ProfileKind::Codex, "gpt-5.5").body(recorded("long_tool_id.json"));
}

#[test]
fn a_count_holds_what_the_counting_endpoint_knows_and_nothing_else() {
    let known = ["model", "instructions", "input", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"];
    for name in ["count_tokens_min.json", "title_stream.json", "bare_mode.json"] {
        let (request, upstream) = (recorded(name), Upstream { session: Some("s"), ..Upstream::openai() });
        let (count, full) = (upstream.count_body(&request), upstream.body(request));
        for (key, value) in count.as_object().unwrap() {
            assert!(known.contains(&key.as_str()), "{key}");
            assert_eq!(value, &full[key], "{name} {key}");
        }
        assert_eq!(count["input"], full["input"]);
    }
}
