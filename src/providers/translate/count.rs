//! How many tokens a translated body is, counted without asking anybody (WIRE.md §4).
//!
//! The walk knows what a model is shown and what it costs beside its text; how many tokens a text is, is told by the
//! caller's function, since a tokenizer's tables are large and somebody must own them. Any bytes get a number.

mod image_size;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::providers::json_text::decoded;

/// Tokens that an item costs beside its texts.
const PER_ITEM: u64 = 4;
/// Tokens that a tool costs beside its texts.
const PER_TOOL: u64 = 8;
/// Tokens of every request.
const PER_REQUEST: u64 = 3;
/// Bytes of encrypted reasoning per token.
const ENCRYPTED_BYTES_PER_TOKEN: usize = 6;
/// Tokens of an image whose size cannot be told.
const UNKNOWN_IMAGE: u64 = 1000;
/// Tokens of a file, whatever its pages.
const FILE: u64 = 1500;
/// Characters of base64 that are looked at for an image's size; a multiple of four. Photographs keep theirs behind
/// the camera's notes, of up to 64 KiB each.
const IMAGE_HEAD_CHARACTERS: usize = 256 * 1024;

/// Which table of tokens a model reads with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    O200k,
    /// gpt-4 and gpt-3.5, without gpt-4o, gpt-4.1 and gpt-4.5.
    Cl100k,
}

impl Encoding {
    /// By the model's id; an unknown one reads as the newest do.
    pub fn of(model: &str) -> Self {
        let model = model.rsplit('/').next().unwrap_or(model);
        let is_old =
            |prefix: &str| model.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if is_old("gpt-4") || is_old("gpt-3.5") { Encoding::Cl100k } else { Encoding::O200k }
    }
}

/// The tokens of a Responses body. `tokens` counts those of one text.
pub fn count(body: &[u8], tokens: &dyn Fn(&str) -> usize) -> u64 {
    // A body of ours always reads; of anything else nothing is known but its size.
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return (body.len() / 4) as u64 };
    let of = |raw: Option<&RawValue>| tokens(&decoded(raw)) as u64;
    let items: u64 = body.input.iter().map(|item| PER_ITEM + item.tokens(&of, tokens)).sum();
    let tools: u64 = body.tools.iter().map(|tool| PER_TOOL + tool.tokens(&of, tokens)).sum();
    PER_REQUEST + of(body.instructions) + items + tools
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Vec<Item<'a>>,
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
}

/// Whatever an item may hold; each kind fills its own part.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
    /// The tools that stand in the input on the lite lane.
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
}

impl<'a> Item<'a> {
    fn tokens(&self, of: &dyn Fn(Option<&'a RawValue>) -> u64, tokens: &dyn Fn(&str) -> usize) -> u64 {
        let sealed = self.encrypted_content.map_or(0, |sealed| sealed.get().len().saturating_sub(2));
        let tools: u64 = self.tools.iter().map(|tool| PER_TOOL + tool.tokens(of, tokens)).sum();
        of(self.name)
            + of(self.arguments)
            + text_or_parts(self.content, of)
            + text_or_parts(self.output, of)
            + (sealed / ENCRYPTED_BYTES_PER_TOKEN) as u64
            + tools
    }
}

/// A string, or a list of parts.
fn text_or_parts<'a>(raw: Option<&'a RawValue>, of: &dyn Fn(Option<&'a RawValue>) -> u64) -> u64 {
    match raw.map(|raw| serde_json::from_str::<Vec<Part<'a>>>(raw.get())) {
        Some(Ok(parts)) => parts.iter().map(|part| part.tokens(of)).sum(),
        Some(Err(_)) => of(raw),
        None => 0,
    }
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    fn tokens(&self, of: &dyn Fn(Option<&'a RawValue>) -> u64) -> u64 {
        match &*decoded(self.kind) {
            "input_image" => image(&decoded(self.image_url)),
            "input_file" => FILE,
            _ => of(self.text),
        }
    }
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    description: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

impl<'a> Tool<'a> {
    fn tokens(&self, of: &dyn Fn(Option<&'a RawValue>) -> u64, tokens: &dyn Fn(&str) -> usize) -> u64 {
        let schema = self.parameters.map_or(0, |schema| tokens(&minified(schema.get())));
        of(self.name) + of(self.description) + schema as u64
    }
}

/// JSON without the white space between its tokens.
fn minified(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keeps = |c: &char| {
        let keep = in_text || !c.is_ascii_whitespace();
        match c {
            '"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = *c == '\\' && !escaped;
        keep
    };
    json.chars().filter(keeps).collect()
}

/// An image by its size: 85 tokens, and 170 for each tile of 512 pixels after it was fitted into 2048 square and its
/// shorter side into 768.
fn image(url: &str) -> u64 {
    let Some((width, height)) = base64_head(url).and_then(|head| image_size::of(&head)) else { return UNKNOWN_IMAGE };
    let (width, height) = fitted(f64::from(width), f64::from(height));
    let tiles = |side: f64| (side / 512.0).ceil().max(1.0) as u64;
    85 + 170 * tiles(width) * tiles(height)
}

fn fitted(width: f64, height: f64) -> (f64, f64) {
    let into_square = (2048.0 / width.max(height)).min(1.0);
    let (width, height) = (width * into_square, height * into_square);
    let into_short = (768.0 / width.min(height)).min(1.0);
    ((width * into_short).round(), (height * into_short).round())
}

/// The first bytes of a data URL.
fn base64_head(url: &str) -> Option<Vec<u8>> {
    let (_, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    let whole = data.len() <= IMAGE_HEAD_CHARACTERS;
    STANDARD.decode(if whole { data } else { data.get(..IMAGE_HEAD_CHARACTERS)? }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// One token a word.
    fn words(body: &serde_json::Value) -> u64 {
        count(body.to_string().as_bytes(), &|text| text.split_whitespace().count())
    }

    #[test]
    fn texts_count_and_items_tools_and_the_request_cost_a_little_more() {
        let message =
            |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        let cases = [
            (json!({"model": "m", "input": []}), 3),
            (json!({"model": "m", "instructions": "be good", "input": []}), 5),
            (json!({"input": [message("one two"), message("three")]}), 3 + 8 + 3),
            (
                json!({"input": [{"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{\"a\": 1}"}]}),
                3 + 4 + 1 + 2,
            ),
            (json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "a b c"}]}), 3 + 4 + 3),
            (
                json!({"input": [{"type": "function_call_output", "call_id": "c",
                    "output": [{"type": "input_text", "text": "a b"}, {"type": "input_file", "file_data": "x"}]}]}),
                3 + 4 + 2 + 1500,
            ),
            (
                json!({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x".repeat(600)}]}),
                3 + 4 + 100,
            ),
            (
                json!({"input": [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "so it is"}]}]}),
                3 + 4 + 3,
            ),
            (
                json!({"input": [], "tools": [{"type": "function", "name": "ls", "description": "lists files",
                    "parameters": {"type": "object", "a": "b c"}}, {"type": "web_search"}]}),
                3 + 8 + 1 + 2 + 2 + 8,
            ),
            (
                json!({"input": [{"type": "additional_tools", "tools": [{"type": "function", "name": "ls",
                    "description": "lists files", "parameters": {"type": "object", "a": "b c"}}]}]}),
                3 + 4 + 8 + 1 + 2 + 2,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(words(&body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_body_counts_by_its_size() {
        assert_eq!(count(b"not JSON at all!", &|_| 0), 4);
    }

    #[test]
    fn a_text_cut_inside_a_character_still_counts() {
        let body = br#"{"input":[{"content":[{"type":"input_text","text":"a \ud83d"}]}]}"#;
        assert!(count(body, &|text| text.chars().count()) > 3 + 4);
    }

    #[test]
    fn schemas_count_without_the_space_between_their_tokens() {
        assert_eq!(minified("{ \"a b\" :\n [1,\t\"\\\" \"] }"), "{\"a b\":[1,\"\\\" \"]}");
    }

    #[test]
    fn images_cost_by_their_tiles() {
        for ((width, height), tokens) in [
            ((1, 1), 255),
            ((512, 512), 255),
            ((513, 512), 425),
            ((1024, 1024), 765),
            ((2048, 4096), 1105),
            ((4096, 8192), 1105),
        ] {
            let url = format!("data:image/png;base64,{}", STANDARD.encode(image_size::png(width, height)));
            assert_eq!(image(&url), tokens, "{width} x {height}");
        }
        for url in ["https://example.com/a.png", "data:image/png;base64,!!", "data:image/png;base64,aGVsbG8=", ""] {
            assert_eq!(image(url), 1000, "{url}");
        }
    }

    #[test]
    fn only_the_first_chat_models_read_with_the_old_table() {
        for model in ["gpt-4", "gpt-4-turbo", "gpt-4-0613", "gpt-3.5-turbo", "openai/gpt-4"] {
            assert_eq!(Encoding::of(model), Encoding::Cl100k, "{model}");
        }
        for model in ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.5-preview", "gpt-5.5", "o3", "qwen3-coder", ""] {
            assert_eq!(Encoding::of(model), Encoding::O200k, "{model}");
        }
    }
}
