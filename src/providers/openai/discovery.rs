//! A backend's model list: what an OpenAI-shaped `GET /v1/models` says, and the config's own entries beside it.
//!
//! Servers agree on `data[].id` and little else; windows and names are read under every key that one of them uses. An
//! entry that cannot be read is left out and spoils no other.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ids::ModelId;
use crate::providers::openai::models::ModelEntry;
use crate::providers::profile::ProfileKind;

/// Why an answer is no model list.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("the model list is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the answer has no `data` with models")]
    NoList,
}

/// A model of the config's `models`: beside discovered ones, or with better facts about one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct ManualModel {
    pub id: ModelId,
    pub display_name: Option<String>,
    /// Tokens.
    pub context_window: Option<u64>,
}

/// Reads the answer of `GET {base_url}/models`: the models that can chat. OpenAI's come sorted by id, with dated
/// versions hidden behind the names that stand for them; a custom server's keep its order.
pub fn parse(body: &[u8], kind: ProfileKind) -> Result<Vec<ModelEntry>, DiscoveryError> {
    let listed = match serde_json::from_slice::<Answer>(body)? {
        // Together answers with the bare list.
        Answer::Bare(listed) => listed,
        Answer::Wrapped(Wrapped { data: Some(listed), .. }) => listed,
        // Ollama without a model.
        Answer::Wrapped(Wrapped { data: None, object: Some(object) }) if object == "list" => Vec::new(),
        Answer::Wrapped(_) | Answer::Other(_) => return Err(DiscoveryError::NoList),
    };
    let mut models: Vec<_> = listed.into_iter().filter_map(|listed| listed.into_entry(kind)).collect();
    if kind == ProfileKind::OpenAi {
        models.sort_by(|one, other| one.id.cmp(&other.id));
        hide_dated(&mut models);
    }
    Ok(models)
}

/// `discovered` with the config's entries: what these say wins, and those that are not listed come last.
pub fn merge(mut discovered: Vec<ModelEntry>, manual: &[ManualModel], kind: ProfileKind) -> Vec<ModelEntry> {
    for model in manual {
        let at = discovered.iter().position(|entry| entry.id == model.id).unwrap_or_else(|| {
            discovered.push(entry(model.id.clone(), None, None, kind));
            discovered.len() - 1
        });
        let entry = &mut discovered[at];
        entry.hidden = false;
        entry.context_window = model.context_window.or(entry.context_window);
        if let Some(display_name) = &model.display_name {
            entry.display_name.clone_from(display_name);
        }
    }
    discovered
}

/// The tokens that an OpenAI model takes, where its family is known: the bound on its input where OpenAI has a smaller
/// one for it, since `claude` compacts by this number. Rather too small than too large.
pub fn known_window(id: &str) -> Option<u64> {
    const WINDOWS: [(&str, u64); 18] = [
        ("gpt-5-chat", 128_000),
        ("gpt-5.1-chat", 128_000),
        ("gpt-5.2-chat", 128_000),
        ("gpt-5.3-chat", 128_000),
        // 400 000 with the output, but 272 000 of input.
        ("gpt-5", 272_000),
        ("gpt-6", 272_000),
        ("gpt-4.1", 1_047_576),
        ("gpt-4o", 128_000),
        ("chatgpt-4o", 128_000),
        ("gpt-4-turbo", 128_000),
        ("gpt-4-1106", 128_000),
        ("gpt-4-0125", 128_000),
        ("gpt-4", 8_192),
        ("gpt-3.5-turbo", 16_385),
        ("o1-mini", 128_000),
        ("o1", 200_000),
        ("o3", 200_000),
        ("o4", 200_000),
    ];
    let id = id.strip_prefix("ft:").unwrap_or(id);
    let of_family =
        |family: &str| id.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ':']));
    WINDOWS.iter().find(|(family, _)| of_family(family)).map(|(_, window)| *window)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    // Before `Wrapped`, since a struct may also be read from a list.
    Bare(Vec<Listed>),
    Wrapped(Wrapped),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(default)]
    data: Option<Vec<Listed>>,
    #[serde(default)]
    object: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Model(Box<ListedModel>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
    #[serde(default)]
    display_name: Option<Text>,
    #[serde(default)]
    name: Option<Text>,
    /// What Together says that a model is for.
    #[serde(default, rename = "type")]
    purpose: Option<Text>,
    /// vLLM.
    #[serde(default)]
    max_model_len: Option<Count>,
    /// llama.cpp.
    #[serde(default)]
    meta: Option<Meta>,
    /// Groq.
    #[serde(default)]
    context_window: Option<Count>,
    /// OpenRouter, Together.
    #[serde(default)]
    context_length: Option<Count>,
    /// Mistral, LM Studio.
    #[serde(default)]
    max_context_length: Option<Count>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Meta {
    Known {
        #[serde(default)]
        n_ctx: Option<Count>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Known(String),
    Other(IgnoredAny),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Count {
    Known(u64),
    Other(IgnoredAny),
}

impl Text {
    fn known(self) -> Option<String> {
        match self {
            Text::Known(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Text::Other(_) => None,
        }
    }
}

impl Listed {
    fn into_entry(self, kind: ProfileKind) -> Option<ModelEntry> {
        match self {
            Listed::Model(model) => model.into_entry(kind),
            Listed::Other(_) => None,
        }
    }
}

impl ListedModel {
    fn into_entry(self, kind: ProfileKind) -> Option<ModelEntry> {
        let window = self.window();
        let purpose = self.purpose.and_then(Text::known);
        if self.id.is_empty() || !can_chat(&self.id, purpose.as_deref(), kind) {
            return None;
        }
        let display_name = self.display_name.and_then(Text::known).or_else(|| self.name.and_then(Text::known));
        Some(entry(ModelId::new(self.id), display_name, window, kind))
    }

    /// Tokens; 0 is how some servers say that they do not know.
    fn window(&self) -> Option<u64> {
        let in_meta = match &self.meta {
            Some(Meta::Known { n_ctx }) => *n_ctx,
            Some(Meta::Other(_)) | None => None,
        };
        let counts = [self.max_model_len, in_meta, self.context_window, self.context_length, self.max_context_length];
        counts.into_iter().flatten().find_map(|count| match count {
            Count::Known(tokens) => Some(tokens).filter(|tokens| *tokens > 0),
            Count::Other(_) => None,
        })
    }
}

/// What the list says, completed by what is known of OpenAI's families; a custom server's names mean nothing.
fn entry(id: ModelId, display_name: Option<String>, window: Option<u64>, kind: ProfileKind) -> ModelEntry {
    let known_window = || known_window(id.as_str()).filter(|_| kind == ProfileKind::OpenAi);
    ModelEntry {
        display_name: display_name.unwrap_or_else(|| id.to_string()),
        context_window: window.or_else(known_window),
        id,
        hidden: false,
        efforts: Vec::new(),
        fast_tier: false,
        lite: false,
    }
}

/// Words of ids that no chat model has, on any server.
const OTHER_PURPOSES: [&str; 14] = [
    "embedding",
    "embeddings",
    "embed",
    "whisper",
    "tts",
    "dall",
    "moderation",
    "moderations",
    "rerank",
    "reranker",
    "transcribe",
    "transcription",
    "sora",
    "diffusion",
];

/// Words of OpenAI's ids that the Responses API does not serve, or not without tools of their own.
const OTHER_OPENAI_PURPOSES: [&str; 11] =
    ["audio", "realtime", "image", "instruct", "search", "research", "computer", "babbage", "davinci", "ada", "curie"];

/// What Together's `type` says of models that do not chat.
const OTHER_TYPES: [&str; 7] = ["image", "embedding", "moderation", "rerank", "audio", "transcribe", "video"];

fn can_chat(id: &str, purpose: Option<&str>, kind: ProfileKind) -> bool {
    let is_other = |word: &str| {
        let word = word.to_ascii_lowercase();
        OTHER_PURPOSES.contains(&&*word) || (kind == ProfileKind::OpenAi && OTHER_OPENAI_PURPOSES.contains(&&*word))
    };
    let typed_otherwise = purpose.is_some_and(|purpose| OTHER_TYPES.contains(&purpose));
    !typed_otherwise && !id.split(['-', '_', '.', '/', ':']).any(is_other)
}

/// Hides `gpt-5-2025-08-07` where `gpt-5` is listed too.
fn hide_dated(models: &mut [ModelEntry]) {
    let ids: Vec<_> = models.iter().map(|entry| entry.id.clone()).collect();
    for entry in models {
        let undated = undated(entry.id.as_str());
        entry.hidden = undated.is_some_and(|undated| ids.iter().any(|id| id.as_str() == undated));
    }
}

/// The id before `-YYYY-MM-DD`.
fn undated(id: &str) -> Option<&str> {
    let (undated, date) = id.split_at_checked(id.len().checked_sub("-YYYY-MM-DD".len())?)?;
    let is_date = date.bytes().zip("-YYYY-MM-DD".bytes()).all(|(byte, pattern)| match pattern {
        b'-' => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    is_date.then_some(undated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(models: &[ModelEntry]) -> Vec<(&str, &str, Option<u64>)> {
        models.iter().map(|m| (m.id.as_str(), m.display_name.as_str(), m.context_window)).collect()
    }

    fn custom(body: &str) -> Vec<ModelEntry> {
        parse(body.as_bytes(), ProfileKind::Custom).unwrap()
    }

    #[test]
    fn every_servers_list_is_read() {
        let cases = [
            (
                r#"{"object":"list","data":[{"id":"q","object":"model","max_model_len":65536,"root":"q","parent":null}]}"#,
                ("q", "q", Some(65_536)),
            ),
            (
                r#"{"models":[{"name":"x"}],"object":"list","data":[{"id":"q","meta":{"n_ctx":4096,"n_ctx_train":8192}}]}"#,
                ("q", "q", Some(4_096)),
            ),
            (r#"{"data":[{"id":"q","meta":null}]}"#, ("q", "q", None)),
            (r#"{"data":[{"id":"q","context_window":131072,"active":true}]}"#, ("q", "q", Some(131_072))),
            (
                r#"{"data":[{"id":"a/q","name":"A: Q","context_length":1000,"architecture":{}}]}"#,
                ("a/q", "A: Q", Some(1_000)),
            ),
            (r#"[{"id":"a/q","display_name":"Q","type":"chat","context_length":0}]"#, ("a/q", "Q", None)),
            (
                r#"{"data":[{"id":"q","display_name":null,"max_model_len":"long","context_length":7.5}]}"#,
                ("q", "q", None),
            ),
            (r#"{"data":[7,{"id":null},{"name":"x"},"text",{"id":""},{"id":"q"}]}"#, ("q", "q", None)),
        ];
        for (body, expected) in cases {
            assert_eq!(facts(&custom(body)), [expected], "{body}");
        }
    }

    #[test]
    fn an_empty_list_is_a_list_and_other_answers_are_not() {
        for body in [r#"{"data":[]}"#, r#"{"object":"list","data":null}"#, "[]"] {
            assert!(custom(body).is_empty(), "{body}");
        }
        for body in [r#"{"error":{"message":"no"}}"#, r#"{"detail":"Not Found"}"#, "7", "null"] {
            assert!(matches!(parse(body.as_bytes(), ProfileKind::Custom), Err(DiscoveryError::NoList)), "{body}");
        }
        assert!(matches!(parse(b"<html>", ProfileKind::Custom), Err(DiscoveryError::NotJson(_))));
    }

    #[test]
    fn openai_lists_what_can_chat_with_known_windows_and_dated_versions_hidden() {
        let ids = [
            "whisper-1",
            "tts-1-hd",
            "dall-e-3",
            "text-embedding-3-small",
            "omni-moderation-latest",
            "gpt-image-1",
            "gpt-4o-realtime-preview",
            "gpt-4o-audio-preview",
            "gpt-4o-mini-transcribe",
            "gpt-4o-mini-tts",
            "sora-2",
            "gpt-3.5-turbo-instruct",
            "davinci-002",
            "babbage-002",
            "gpt-4o-search-preview",
            "o3-deep-research",
            "computer-use-preview",
            "gpt-5.5",
            "gpt-5-2025-08-07",
            "gpt-5",
            "gpt-4.1-mini",
            "o3",
            "gpt-4-0613",
            "gpt-5-chat-latest",
            "o9-2031-01-01",
            "ft:gpt-4.1:org::x",
        ];
        let listed: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id, "object": "model"})).collect();
        let body = serde_json::json!({"object": "list", "data": listed}).to_string();
        let models = parse(body.as_bytes(), ProfileKind::OpenAi).unwrap();
        let got: Vec<_> = models.iter().map(|m| (m.id.as_str(), m.context_window, m.hidden)).collect();
        let expected = [
            ("ft:gpt-4.1:org::x", Some(1_047_576), false),
            ("gpt-4-0613", Some(8_192), false),
            ("gpt-4.1-mini", Some(1_047_576), false),
            ("gpt-5", Some(272_000), false),
            ("gpt-5-2025-08-07", Some(272_000), true),
            ("gpt-5-chat-latest", Some(128_000), false),
            ("gpt-5.5", Some(272_000), false),
            ("o3", Some(200_000), false),
            ("o9-2031-01-01", None, false),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn a_custom_server_keeps_its_order_and_its_names_mean_nothing() {
        let body = r#"{"data":[{"id":"z-instruct"},{"id":"gpt-5"},{"id":"bge-embed"},{"id":"flux","type":"image"},{"id":"qwen2-audio"}]}"#;
        assert_eq!(
            facts(&custom(body)),
            [("z-instruct", "z-instruct", None), ("gpt-5", "gpt-5", None), ("qwen2-audio", "qwen2-audio", None)]
        );
    }

    #[test]
    fn manual_entries_win_and_come_last() {
        let manual = |id: &str, display_name: Option<&str>, context_window| ManualModel {
            id: ModelId::new(id),
            display_name: display_name.map(str::to_owned),
            context_window,
        };
        let discovered = custom(r#"{"data":[{"id":"a","max_model_len":10},{"id":"b","name":"B","max_model_len":20}]}"#);
        let entries = [manual("new", None, None), manual("b", None, Some(5)), manual("a", Some("A"), None)];
        let merged = merge(discovered, &entries, ProfileKind::Custom);
        assert_eq!(facts(&merged), [("a", "A", Some(10)), ("b", "B", Some(5)), ("new", "new", None)]);
        let known = merge(Vec::new(), &[manual("gpt-5.5", None, None)], ProfileKind::OpenAi);
        assert_eq!(facts(&known), [("gpt-5.5", "gpt-5.5", Some(272_000))]);
    }
}
