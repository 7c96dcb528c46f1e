//! Which part of a refused request can be left out, so that one more attempt is worth it (Q0.5, Q-R7, Q-E6, images).

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::reading::Reading;
use super::rows::Row;
use super::{ErrorContext, Repair};
use crate::providers::openai::models::Effort;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::Parameter;

/// Most attempts that Q0.5 may add to one request.
const MOST_PARAMETER_RETRIES: u8 = 3;

/// The repair for a reply of `row`, or nothing where the reply is the answer.
pub(super) fn of(row: Row, reading: &Reading, context: &ErrorContext<'_>) -> Option<Repair> {
    if wants_lite_lane(row, reading, context) {
        return Some(Repair::OnLiteLane);
    }
    match row {
        Row::Reasoning => {
            let replayed = context.replayed_reasoning.is_some() && !context.omit.reasoning_items;
            replayed.then_some(Repair::WithoutReasoningItems)
        }
        _ if refuses_summary(reading, context) => Some(Repair::WithoutSummary),
        Row::Image { blind: true } if context.profile == ProfileKind::Custom => {
            (!context.omit.images).then_some(Repair::WithoutImages)
        }
        Row::Image { .. } | Row::SystemRole => None,
        _ => without_parameters(reading, context),
    }
}

/// The keys of a Responses body that Q0.5 may leave out. Read only when a request has failed.
pub fn sent_parameters(body: &[u8]) -> Vec<Parameter> {
    // A body of ours is always an object; of anything else there is nothing to leave out.
    serde_json::Deserializer::from_slice(body).deserialize_map(TopLevelKeys).unwrap_or_default()
}

struct TopLevelKeys;

impl<'de> Visitor<'de> for TopLevelKeys {
    type Value = Vec<Parameter>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Responses body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, IgnoredAny)) = map.next_entry::<std::borrow::Cow<'de, str>, IgnoredAny>()? {
            keys.extend(Parameter::ALL.into_iter().find(|parameter| parameter.as_str() == key));
        }
        Ok(keys)
    }
}

/// Only a model that the catalogue calls lite may be asked there, and what hides the model may also be the lane.
fn wants_lite_lane(row: Row, reading: &Reading, context: &ErrorContext<'_>) -> bool {
    let hidden = matches!(row, Row::Model) && reading.is_status(&[404]);
    let refused = reading.is_status(&[400]) && reading.has_code("unsupported_value");
    let is_lite = || context.known_models.iter().any(|entry| entry.id == *context.model && entry.lite);
    context.profile == ProfileKind::Codex && !context.omit.full_lane && (hidden || refused) && is_lite()
}

/// Q-E6: an organisation that is not verified, and models that know no such key.
fn refuses_summary(reading: &Reading, context: &ErrorContext<'_>) -> bool {
    let named = reading.says("verified to generate reasoning summaries")
        || reading.params.iter().any(|param| param.trim_start_matches("body.") == "reasoning.summary");
    named && context.summary && !context.omit.summary
}

/// Q0.5.
fn without_parameters(reading: &Reading, context: &ErrorContext<'_>) -> Option<Repair> {
    let refused = reading.is_status(&[400, 422]) && context.parameter_retries < MOST_PARAMETER_RETRIES;
    if !refused {
        return None;
    }
    let mut named = named_keys(reading);
    named.retain(|key| context.body_keys.contains(key));
    named.sort();
    named.dedup();
    let Some(effort) = refused_effort(context) else {
        return (!named.is_empty()).then_some(Repair::WithoutParameters(named));
    };
    if named == [Parameter::Reasoning] {
        return Some(Repair::WithoutEffort(effort));
    }
    // Refused beside others, `reasoning` gets an attempt of its own, so that only its effort is remembered.
    named.retain(|key| *key != Parameter::Reasoning);
    (!named.is_empty()).then_some(Repair::WithoutParameters(named))
}

/// The effort of the request, unless it had been left out already: then `reasoning` itself is refused.
fn refused_effort(context: &ErrorContext<'_>) -> Option<Effort> {
    context.effort.filter(|effort| !context.omit.efforts.contains(effort))
}

/// The keys that the reply finds fault with. A param or a place that names something else (`input[0]…`) settles that
/// no key is meant, whatever words the text quotes.
fn named_keys(reading: &Reading) -> Vec<Parameter> {
    let params: Vec<_> = reading.params.iter().map(String::as_str).filter(|param| !is_whole_body(param)).collect();
    if params.is_empty() {
        return keys_in_text(&reading.lower);
    }
    params.into_iter().filter_map(key_named).collect()
}

fn is_whole_body(param: &str) -> bool {
    param.is_empty() || param == "body" || param == "None"
}

/// Keys in quotes or backticks, after "parameter" and the like, under `body.`, or bare with an underscore. `text` is
/// in lower case, as all our keys are.
fn keys_in_text(text: &str) -> Vec<Parameter> {
    let mut keys = Vec::new();
    let mut announced = false;
    for word in Words::of(text) {
        let named = word.quoted || announced || word.text.contains('_') || word.text.starts_with("body.");
        keys.extend(key_named(word.text).filter(|_| named));
        announced = ANNOUNCEMENTS.contains(&word.text.trim_end_matches('s'));
    }
    keys
}

const ANNOUNCEMENTS: [&str; 4] = ["parameter", "field", "argument", "key"];

/// A param, or a word of a text, as one of our keys: itself, `body.<key>[.…]`, an alias, or a part that only we put in.
fn key_named(name: &str) -> Option<Parameter> {
    if let Some(inside) = name.strip_prefix("body.") {
        let key = inside.split(['.', '[']).next().unwrap_or(inside);
        return key_or_alias(key);
    }
    let (head, rest) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
    let ours =
        rest.is_empty() || matches!((head, rest), ("reasoning", ".effort") | ("stream_options", _) | ("include", _));
    if ours { key_or_alias(head) } else { None }
}

fn key_or_alias(name: &str) -> Option<Parameter> {
    match name {
        "reasoning_effort" | "effort" | "enable_thinking" => Some(Parameter::Reasoning),
        "max_tokens" => Some(Parameter::MaxOutputTokens),
        "response_format" => Some(Parameter::Text),
        _ => Parameter::ALL.into_iter().find(|key| key.as_str() == name),
    }
}

/// A run of the characters that names are made of, and whether quotes or backticks stand around it.
struct Word<'a> {
    text: &'a str,
    quoted: bool,
}

/// The words of a text, one after the other.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.find(is_name_character)?;
        let rest = &self.text[start..];
        let end = start + rest.find(|c: char| !is_name_character(c)).unwrap_or(rest.len());
        self.at = end;
        let is_quote = |c: char| matches!(c, '\'' | '"' | '`');
        let quoted = self.text[..start].ends_with(is_quote) && self.text[end..].starts_with(is_quote);
        // A full stop at the end belongs to the sentence.
        Some(Word { text: self.text[start..end].trim_end_matches('.'), quoted })
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']')
}
