//! The system prompt becomes `instructions` (WIRE.md §1.1).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::RequestContext;
use crate::providers::anthropic::wire::{Content, MessagesRequest};
use crate::providers::json_text::{JsonText, join, quote};
use crate::providers::openai::wire::request::Text;
use crate::providers::profile::ProfileKind;

/// Client telemetry that changes between requests: kept, it would break prefix caching at the first byte (Q-S2).
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// `instructions`; absent without a system prompt, but for Codex, which wants the key (Q-S5).
pub(super) fn translate<'a>(
    request: &MessagesRequest<'a>,
    context: &RequestContext<'_>,
    blocked_domains: &[String],
) -> Option<Text<'a>> {
    let mut texts = kept_texts(request);
    if !blocked_domains.is_empty() {
        texts.push(quote(&format!("Do not use results from: {}", blocked_domains.join(", "))));
    }
    if !texts.is_empty() {
        return Some(join(&texts, "\n\n"));
    }
    (context.profile.kind == ProfileKind::Codex).then(|| quote(""))
}

fn kept_texts<'a>(request: &MessagesRequest<'a>) -> Vec<Text<'a>> {
    let texts: Vec<Text<'a>> = match request.system() {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![text.clone()],
        Some(Content::Blocks(blocks)) => blocks.iter().filter_map(|block| block.text).map(Cow::Borrowed).collect(),
    };
    texts.into_iter().filter(|text| is_prompt(text)).collect()
}

fn is_prompt(raw: &RawValue) -> bool {
    JsonText::of(raw).is_some_and(|text| !text.is_empty() && !text.trimmed_starts_with(BILLING_HEADER))
}
