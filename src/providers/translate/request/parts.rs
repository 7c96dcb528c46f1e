//! Content blocks of user messages and tool results become parts (WIRE.md Q-M10 to Q-M20, Q-M28).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::RequestContext;
use super::names::Names;
use crate::providers::anthropic::wire::{Block, Content, Source, loose};
use crate::providers::json_text::{JsonText, TextWriter, decoded, inside, join, quote};
use crate::providers::openai::wire::request::{Origin, Part, Text};
use crate::providers::profile::ProfileKind;
use crate::providers::translate::{ApiError, Dropped};

/// What a model that refused images reads instead (WIRE.md §3.2).
const IMAGE_OMITTED: &str = "[image omitted: this model cannot see images]";
/// Bytes of one base64 string beyond which a block that we do not know loses it (Q-M20).
const LONGEST_BASE64: usize = 1024;

/// Makes parts of blocks, in order.
pub(super) struct PartWriter<'w, 'a> {
    pub context: &'w RequestContext<'w>,
    pub names: &'w Names,
    pub dropped: &'w mut Dropped,
    /// Names that `tool_reference` blocks bring into play, in their order (Q-T8).
    pub references: &'w mut Vec<JsonText<'a>>,
}

impl<'a> PartWriter<'_, 'a> {
    /// Appends what `block` becomes: no part, one, or several.
    ///
    /// # Errors
    /// 400 with the block's path for an Anthropic file id, which means nothing upstream (Q-M14).
    pub(super) fn push(
        &mut self,
        block: &Block<'a>,
        origin: Origin,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), ApiError> {
        match &*block.kind() {
            "text" => parts.extend(block.text.and_then(JsonText::of).filter(|text| !text.is_empty()).map(input_text)),
            "image" => parts.extend(self.image(block, origin)?),
            "document" => self.document(block, origin, parts)?,
            "search_result" => self.search_result(block, origin, parts)?,
            "tool_reference" => parts.extend(self.tool_reference(block)),
            "thinking" | "redacted_thinking" => self.dropped.note("thinking.user"),
            other => {
                self.dropped.note(noted("block", other));
                parts.push(composed(&compact(block)));
            }
        }
        Ok(())
    }

    fn image(&mut self, block: &Block<'a>, origin: Origin) -> Result<Option<Part<'a>>, ApiError> {
        let source: Source<'a> = loose(block.source).unwrap_or_default();
        let kind = decoded(source.kind);
        let image_url = match &*kind {
            "file" => return Err(file_source("image", origin)),
            _ if self.context.omit.images => return Ok(Some(composed(IMAGE_OMITTED))),
            "url" => source.url.and_then(JsonText::of).map(|url| Cow::Borrowed(url.raw())),
            _ => source.data.and_then(JsonText::of).map(|data| data_url(&image_type(&source, data), data)),
        };
        if image_url.is_none() {
            self.dropped.note("image.source");
        }
        Ok(image_url.map(|image_url| Part::InputImage { image_url, detail: "auto", origin }))
    }

    fn document(&mut self, block: &Block<'a>, origin: Origin, parts: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
        let source: Source<'a> = loose(block.source).unwrap_or_default();
        let kind = decoded(source.kind);
        match &*kind {
            "file" => return Err(file_source("document", origin)),
            "base64" => parts.extend(source.data.and_then(JsonText::of).map(|data| pdf(block, data, origin))),
            "url" => parts.extend(source.url.and_then(JsonText::of).map(|url| self.document_url(url, origin))),
            "text" => parts.extend(text_document(block, &source)),
            "content" => self.expand(source.content, origin, parts)?,
            _ => {
                self.dropped.note("document.source");
                parts.push(composed(&compact(block)));
            }
        }
        Ok(())
    }

    fn document_url(&self, url: JsonText<'a>, origin: Origin) -> Part<'a> {
        match self.context.profile.kind {
            ProfileKind::Codex => composed(&format!("[document: {}]", url.decode())),
            ProfileKind::OpenAi | ProfileKind::Custom => {
                Part::InputFile { filename: None, file_data: None, file_url: Some(Cow::Borrowed(url.raw())), origin }
            }
        }
    }

    fn search_result(&mut self, block: &Block<'a>, origin: Origin, parts: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
        let title = block.title.and_then(JsonText::of).map_or("", JsonText::escaped);
        let source = block.source.and_then(JsonText::of).map_or("", JsonText::escaped);
        let mut inner = Vec::new();
        self.expand(block.content, origin, &mut inner)?;
        let mut text = TextWriter::with_capacity(256);
        text.plain("<search_result source=\"").escaped(source).plain("\" title=\"").escaped(title).plain("\">\n");
        for part in &inner {
            if let Part::InputText { text: line } = part {
                text.escaped(inside(line)).plain("\n");
            }
        }
        text.plain("</search_result>");
        parts.push(Part::InputText { text: text.finish() });
        parts.extend(inner.into_iter().filter(|part| !matches!(part, Part::InputText { .. })));
        Ok(())
    }

    /// Content inside a block: a text, or blocks that stand for the block itself (Q-M17).
    fn expand(
        &mut self,
        content: Option<&'a RawValue>,
        origin: Origin,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), ApiError> {
        match loose::<Content<'a>>(content) {
            Some(Content::Text(text)) if inside(&text).is_empty() => Ok(()),
            Some(Content::Text(text)) => {
                parts.push(Part::InputText { text });
                Ok(())
            }
            // A document inside a document does not exist; not following it bounds the depth.
            Some(Content::Blocks(blocks)) => blocks
                .iter()
                .filter(|block| matches!(&*block.kind(), "text" | "image"))
                .try_for_each(|block| self.push(block, origin, parts)),
            None => Ok(()),
        }
    }

    fn tool_reference(&mut self, block: &Block<'a>) -> Option<Part<'a>> {
        let name = block.tool_name.and_then(JsonText::of)?;
        self.references.push(name);
        Some(composed(&format!("Tool {} is now available. Call it directly.", self.names.sent(name))))
    }
}

pub(super) fn input_text(text: JsonText<'_>) -> Part<'_> {
    Part::InputText { text: Cow::Borrowed(text.raw()) }
}

pub(super) fn composed(text: &str) -> Part<'static> {
    Part::InputText { text: quote(text) }
}

/// The name under which something dropped is noted: its type, which the client chose, so of bounded length and no
/// content.
pub(super) fn noted(what: &str, kind: &str) -> String {
    let kind: String = kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    format!("{what}.{kind}")
}

fn file_source(kind: &str, origin: Origin) -> ApiError {
    let path = origin.path();
    ApiError::invalid(format!("{path}.{kind}.source: file sources are not supported by this backend"))
}

/// The image's media type: as stated, else told by the first bytes of its base64 (Q-M12).
fn image_type(source: &Source<'_>, data: JsonText<'_>) -> String {
    let stated =
        source.media_type.and_then(JsonText::of).map(JsonText::decode).filter(|stated| stated.starts_with("image/"));
    let told = || match data.escaped().trim_start() {
        jpeg if jpeg.starts_with("/9j/") => "image/jpeg",
        gif if gif.starts_with("R0lGOD") => "image/gif",
        webp if webp.starts_with("UklGR") => "image/webp",
        _ => "image/png",
    };
    stated.map_or_else(|| told().to_owned(), Cow::into_owned)
}

fn data_url<'a>(media_type: &str, data: JsonText<'a>) -> Text<'a> {
    let mut url = TextWriter::with_capacity(data.escaped().len() + media_type.len() + 16);
    url.plain("data:").plain(media_type).plain(";base64,");
    let plain = !data.escaped().bytes().any(|byte| byte == b'\\' || byte.is_ascii_whitespace());
    if plain {
        url.escaped(data.escaped());
    } else {
        for line in data.decode().split_whitespace() {
            url.plain(line);
        }
    }
    url.finish()
}

fn pdf<'a>(block: &Block<'a>, data: JsonText<'a>, origin: Origin) -> Part<'a> {
    let title = block.title.and_then(JsonText::of).map(JsonText::decode).filter(|title| !title.trim().is_empty());
    let title = title.unwrap_or(Cow::Borrowed("document.pdf"));
    let filename =
        if title.to_ascii_lowercase().ends_with(".pdf") { quote(&title) } else { quote(&format!("{title}.pdf")) };
    let file_data = Some(data_url("application/pdf", data));
    Part::InputFile { filename: Some(filename), file_data, file_url: None, origin }
}

/// Title line, context line, then the text (Q-M16).
fn text_document<'a>(block: &Block<'a>, source: &Source<'a>) -> Option<Part<'a>> {
    let lines = [block.title, block.context, source.data];
    let lines: Vec<Text<'a>> = lines
        .into_iter()
        .filter_map(|line| JsonText::of(line?))
        .filter(|line| !line.is_empty())
        .map(|line| Cow::Borrowed(line.raw()))
        .collect();
    (!lines.is_empty()).then(|| Part::InputText { text: join(&lines, "\n") })
}

/// A block that we do not know as compact JSON, without long base64 (Q-M20).
fn compact(block: &Block<'_>) -> String {
    let mut json = String::from("{");
    for (key, value) in block.members() {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(quote(key).get());
        json.push(':');
        push_compact(value.get(), &mut json);
    }
    json.push('}');
    json
}

/// Copies legal JSON without the white space between its tokens.
fn push_compact(mut json: &str, out: &mut String) {
    while let Some(start) = json.find('"') {
        out.extend(json[..start].split_ascii_whitespace());
        let string = &json[start..start + string_length(&json[start..])];
        if string.len() > LONGEST_BASE64 && is_base64(&string[1..string.len() - 1]) {
            out.push_str(&format!("\"[{} bytes of base64 left out]\"", string.len() - 2));
        } else {
            out.push_str(string);
        }
        json = &json[start + string.len()..];
    }
    out.extend(json.split_ascii_whitespace());
}

/// Bytes of the JSON string that `json` begins with, its quotes included.
fn string_length(json: &str) -> usize {
    let bytes = json.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_base64(text: &str) -> bool {
    let body = text.strip_prefix("data:").and_then(|url| url.split_once(";base64,")).map_or(text, |(_, data)| data);
    body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'))
}
