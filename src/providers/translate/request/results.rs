//! Tool results become `function_call_output` items (WIRE.md Q-M23 to Q-M28).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::parts::{PartWriter, composed};
use crate::providers::anthropic::wire::{Block, Content, loose};
use crate::providers::json_text::{JsonText, TextWriter, inside, join, quote};
use crate::providers::openai::wire::request::{Origin, Output, Part, Text};
use crate::providers::translate::ApiError;

/// A result on its way out.
pub(super) struct ToolResult<'a> {
    pub output: Output<'a>,
    /// Images and files that an upstream without array outputs gets in a user message of their own (Q-M25).
    pub attached: Vec<Part<'a>>,
}

/// Translates the content of a `tool_result` (or `mcp_tool_result`) block.
///
/// # Errors
/// As [`PartWriter::push`].
pub(super) fn translate<'a>(
    block: &Block<'a>,
    origin: Origin,
    writer: &mut PartWriter<'_, 'a>,
) -> Result<ToolResult<'a>, ApiError> {
    let content = read(block, origin, writer)?;
    let is_error = block.is_error.is_some_and(|raw| raw.get() == "true");
    let profile = writer.context.profile;
    if content.rich && profile.array_outputs {
        let parts = if is_error { mark_parts(content.parts) } else { content.parts };
        return Ok(ToolResult { output: Output::Parts(parts), attached: Vec::new() });
    }
    let (texts, attached) = flatten(content.parts);
    let text = match texts.is_empty() {
        true if profile.empty_output_ok => quote(""),
        true => quote("(no output)"),
        false => join(&texts, "\n"),
    };
    Ok(ToolResult { output: Output::Text(if is_error { mark(text) } else { text }), attached })
}

struct ResultContent<'a> {
    parts: Vec<Part<'a>>,
    /// Holds an image, a document or a search result: sent as an array where the upstream takes one.
    rich: bool,
}

fn read<'a>(block: &Block<'a>, origin: Origin, writer: &mut PartWriter<'_, 'a>) -> Result<ResultContent<'a>, ApiError> {
    let Some(raw) = block.content else { return Ok(ResultContent { parts: Vec::new(), rich: false }) };
    if let Some(text) = JsonText::of(raw) {
        let parts = if text.is_empty() { Vec::new() } else { vec![super::parts::input_text(text)] };
        return Ok(ResultContent { parts, rich: false });
    }
    let Some(Content::Blocks(blocks)) = loose::<Content<'a>>(Some(raw)) else {
        return Ok(ResultContent { parts: unknown_shape(raw), rich: false });
    };
    let mut parts = Vec::with_capacity(blocks.len());
    for (nested, inner) in blocks.iter().enumerate() {
        writer.push(inner, Origin { nested: Some(nested), ..origin }, &mut parts)?;
    }
    let rich = blocks.iter().any(|inner| matches!(&*inner.kind(), "image" | "document" | "search_result"));
    Ok(ResultContent { rich: rich && !parts.is_empty(), parts })
}

/// Neither a text nor blocks: the model gets the JSON as it is, so that nothing is lost.
fn unknown_shape<'a>(raw: &RawValue) -> Vec<Part<'a>> {
    vec![composed(raw.get())]
}

/// Texts for a plain output, with a note where an image or a file stood, and those.
fn flatten<'a>(parts: Vec<Part<'a>>) -> (Vec<Text<'a>>, Vec<Part<'a>>) {
    let (mut texts, mut attached) = (Vec::with_capacity(parts.len()), Vec::new());
    for part in parts {
        match part {
            Part::InputText { text } | Part::OutputText { text } => texts.push(text),
            Part::InputImage { .. } => {
                texts.push(quote("[image attached below]"));
                attached.push(part);
            }
            Part::InputFile { .. } => {
                texts.push(quote("[document attached below]"));
                attached.push(part);
            }
        }
    }
    (texts, attached)
}

/// Says in words that the tool failed: the Responses API has no flag for it (Q-M27).
fn mark<'a>(text: Text<'a>) -> Text<'a> {
    let escaped = inside(&text);
    if escaped.starts_with("<tool_use_error>") || escaped.starts_with("Error") {
        return text;
    }
    let mut marked = TextWriter::with_capacity(escaped.len() + 8);
    marked.plain("Error: ").escaped(escaped);
    marked.finish()
}

fn mark_parts<'a>(mut parts: Vec<Part<'a>>) -> Vec<Part<'a>> {
    if let Some(Part::InputText { text }) = parts.first_mut() {
        *text = mark(std::mem::replace(text, Cow::Borrowed(RawValue::NULL)));
    } else {
        parts.insert(0, composed("Error: "));
    }
    parts
}
