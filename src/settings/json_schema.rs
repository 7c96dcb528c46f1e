//! `config/claudette.schema.json`, by which editors complete and check a config: written from the tables of
//! [`super::schema`] and the comments of `config/default.toml`. Compiled for tests alone, which fail when the file is
//! stale.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::DEFAULT_TOML;
use super::choices::BackendKind;
use super::schema::{self, Key, Shape};

/// `backends.NAME`, for what a section lacks that is about one of the built-in backends.
const ANY_BACKEND_SECTION: &str = "backends.NAME";

fn document() -> Value {
    let notes = Notes::of_default_toml();
    let mut root = table(schema::ROOT, "", &notes);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Claudette's config");
    root
}

fn table(keys: &[Key], section: &str, notes: &Notes) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key, section, notes))).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn property(key: &Key, section: &str, notes: &Notes) -> Value {
    let path = if section.is_empty() { key.name.to_owned() } else { format!("{section}.{}", key.name) };
    let mut value = shape(key.shape, &path, notes);
    if let Some(why) = notes.why(section, key.name) {
        value["description"] = json!(why);
    }
    if let Some(default) = notes.defaults.get(&path) {
        value["default"] = default.clone();
    }
    value
}

fn shape(shape: Shape, path: &str, notes: &Notes) -> Value {
    let text = || json!({ "type": "string" });
    let filled = || json!({ "type": "string", "minLength": 1 });
    match shape {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Text | Shape::Path | Shape::HeaderText | Shape::SettingSources => text(),
        Shape::FilledText | Shape::FilledPath | Shape::Program | Shape::Variable => filled(),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::WireApi => json!({ "enum": ["responses"] }),
        Shape::StoreOverride => json!({ "enum": ["omit", false] }),
        Shape::Count { least, most } if most < i64::MAX as u64 => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Count { least, .. } => json!({ "type": "integer", "minimum": least }),
        Shape::Duration => json!({ "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$" }),
        Shape::BaseUrl => json!({ "type": "string", "pattern": "^https?://" }),
        Shape::Texts | Shape::Names => json!({ "type": "array", "items": text() }),
        Shape::Command => json!({ "type": "array", "items": text(), "minItems": 1 }),
        Shape::Headers => json!({ "type": "object", "additionalProperties": text() }),
        Shape::Models => {
            let mut entry = table(schema::MODEL, path, notes);
            entry["required"] = json!(["id"]);
            json!({ "type": "array", "items": { "anyOf": [filled(), entry] } })
        }
        Shape::Credential => {
            let mut credential = table(schema::CREDENTIAL, path, notes);
            credential["oneOf"] = one_of(&["value", "env", "file", "command"]);
            credential
        }
        Shape::Table(keys) => table(keys, path, notes),
        Shape::Backends => backends(notes),
        Shape::Sessions => {
            let mut session = table(schema::SESSION, "sessions.NAME", notes);
            session["required"] = json!(["backend", "cwd"]);
            session["oneOf"] = one_of(&["prompt", "prompt_file"]);
            json!({ "type": "object", "propertyNames": name(), "additionalProperties": session })
        }
    }
}

fn backends(notes: &Notes) -> Value {
    let of_kind = |kind: BackendKind, section: &str| table(&schema::backend(kind).concat(), section, notes);
    let built_in = [BackendKind::Anthropic, BackendKind::OpenAiApi, BackendKind::CodexSubscription];
    let built_in: Map<String, Value> = built_in
        .into_iter()
        .map(|kind| (kind.as_str().to_owned(), of_kind(kind, &format!("backends.{kind}"))))
        .collect();
    let mut custom = of_kind(BackendKind::CustomOpenAi, ANY_BACKEND_SECTION);
    custom["required"] = json!(["kind", "base_url"]);
    json!({ "type": "object", "propertyNames": name(), "properties": built_in, "additionalProperties": custom })
}

fn name() -> Value {
    json!({ "pattern": "^[a-z0-9][a-z0-9-]{0,63}$" })
}

fn one_of(keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({ "required": [key] })).collect()
}

/// What `config/default.toml` says of each key: why it is there, and its default.
struct Notes {
    why: BTreeMap<String, String>,
    defaults: BTreeMap<String, Value>,
}

impl Notes {
    fn of_default_toml() -> Self {
        let mut notes = Self { why: BTreeMap::new(), defaults: BTreeMap::new() };
        let mut section = String::new();
        for line in DEFAULT_TOML.lines() {
            let code = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = code.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = code.split_once(" = ").filter(|(key, _)| is_key(key)) {
                notes.take(&format!("{section}.{key}"), value, line == code);
            }
        }
        notes
    }

    fn take(&mut self, path: &str, value: &str, is_default: bool) {
        let (value, why) = value.split_once(" # ").unwrap_or((value, ""));
        if !why.is_empty() {
            self.why.insert(path.to_owned(), why.to_owned());
        }
        let value = toml::from_str::<BTreeMap<String, Value>>(&format!("value = {value}"));
        if let (true, Ok(mut value)) = (is_default, value) {
            self.defaults.extend(value.remove("value").map(|value| (path.to_owned(), value)));
        }
    }

    fn why(&self, section: &str, key: &str) -> Option<&String> {
        let of_any = || section.starts_with("backends.").then(|| self.why.get(&format!("{ANY_BACKEND_SECTION}.{key}")));
        self.why.get(&format!("{section}.{key}")).or_else(|| of_any().flatten())
    }
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn the_schema_file_says_what_the_tables_say() {
    const WRITE: &str = "CLAUDETTE_WRITE_SCHEMA";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/claudette.schema.json");
    let text = format!("{:#}\n", document());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "config/claudette.schema.json is stale: run this test with {WRITE}=1 to write it");
}

#[test]
fn every_key_of_the_schema_has_a_description_or_stands_for_itself() {
    let document = document();
    for pointer in [
        "/properties/supervisor/properties/restart_intensity",
        "/properties/backends/properties/openai-api/properties/base_url",
        "/properties/backends/additionalProperties/properties/kind",
        "/properties/sessions/additionalProperties/properties/start",
    ] {
        let property = document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
        assert!(property["description"].is_string(), "{pointer}: {property}");
    }
    assert_eq!(document["properties"]["supervisor"]["properties"]["restart_period"]["default"], "60s");
}
