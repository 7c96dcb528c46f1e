//! Tool schemas, as OpenAI takes them (WIRE.md Q-T3 to Q-T6). Only the top level is ever changed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::providers::anthropic::wire::{Members, loose};
use crate::providers::json_text::{JsonText, quote};
use crate::providers::openai::wire::request::Schema;

/// Keywords that may not stand on the top level of a function's parameters (Q-T4).
const ALTERNATIVES: [&str; 3] = ["anyOf", "oneOf", "allOf"];
/// Keywords that strict mode does not know (Q-T5).
const NOT_STRICT: [&str; 20] = [
    "allOf",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "maxProperties",
    "minContains",
    "minProperties",
    "not",
    "oneOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "dependencies",
];
const DEEPEST_STRICT: usize = 10;

/// A tool's `parameters`, and what its description must say about alternatives that the schema no longer tells.
pub(super) struct Parameters<'a> {
    pub schema: Schema<'a>,
    pub note: Option<String>,
}

/// Makes an object schema with properties of whatever the tool declares.
pub(super) fn parameters<'a>(declared: Option<&Members<'a>>) -> Parameters<'a> {
    let empty = Members::default();
    let declared = declared.unwrap_or(&empty);
    if declared.0.iter().any(|(key, _)| ALTERNATIVES.contains(&&**key)) {
        return merged(declared);
    }
    Parameters { schema: object(passed(declared)), note: None }
}

type Entries<'a> = Vec<(Cow<'a, str>, Cow<'a, RawValue>)>;

/// The members that pass as they are.
fn passed<'a>(declared: &Members<'a>) -> Entries<'a> {
    let dropped = |key: &str| matches!(key, "$schema" | "$id" | "enum" | "not") || ALTERNATIVES.contains(&key);
    let kept = declared.0.iter().filter(|(key, _)| !dropped(key));
    kept.map(|(key, value)| (key.clone(), Cow::Borrowed(*value))).collect()
}

/// Sees to it that the schema is of type object and has properties (Q-T3).
fn object<'a>(mut entries: Entries<'a>) -> Schema<'a> {
    match entries.iter_mut().find(|(key, _)| key == "type") {
        Some((_, kind)) if kind.get() == "\"object\"" => {}
        Some((_, kind)) => *kind = quote("object"),
        None => entries.insert(0, (Cow::Borrowed("type"), quote("object"))),
    }
    let properties = entries.iter_mut().find(|(key, _)| key == "properties");
    match properties {
        Some((_, value)) if value.get().starts_with('{') => {}
        Some((_, value)) => *value = raw("{}".to_owned()),
        None => entries.push((Cow::Borrowed("properties"), raw("{}".to_owned()))),
    }
    Schema(entries)
}

/// Text that we have composed of legal JSON.
fn raw(json: String) -> Cow<'static, RawValue> {
    match RawValue::from_string(json) {
        Ok(raw) => Cow::Owned(raw),
        Err(error) => unreachable!("JSON made of JSON values is JSON: {error}"),
    }
}

// --- alternatives on the top level (Q-T4) ---

struct Branch<'a> {
    properties: Members<'a>,
    required: BTreeSet<String>,
}

/// Merges the alternatives: all their properties, required is what all of them require.
fn merged<'a>(declared: &Members<'a>) -> Parameters<'a> {
    let own = branch(declared);
    let mut properties: Vec<(Cow<'a, str>, Vec<&'a str>)> = Vec::new();
    let mut required = own.required.clone();
    let mut notes = Vec::new();
    add_properties(&mut properties, &own.properties);
    for (key, list) in declared.0.iter().filter(|(key, _)| ALTERNATIVES.contains(&&**key)) {
        let branches: Vec<Branch<'a>> = branches(list, declared);
        branches.iter().for_each(|branch| add_properties(&mut properties, &branch.properties));
        let sets = branches.iter().map(|branch| branch.required.clone());
        // Of allOf every branch holds, of the others at least one.
        let shared = if key == "allOf" {
            sets.reduce(|one, other| &one | &other)
        } else {
            notes.extend(note(key, &branches));
            sets.reduce(|one, other| &one & &other)
        };
        required.extend(shared.unwrap_or_default());
    }
    let mut entries = passed(declared);
    entries.retain(|(key, _)| key != "properties" && key != "required");
    entries.push((Cow::Borrowed("properties"), properties_json(&properties)));
    if !required.is_empty() {
        entries.push((Cow::Borrowed("required"), required_json(&required)));
    }
    Parameters { schema: object(entries), note: (!notes.is_empty()).then(|| notes.join(" ")) }
}

fn branch<'a>(schema: &Members<'a>) -> Branch<'a> {
    Branch {
        properties: loose(schema.get("properties")).unwrap_or_default(),
        required: strings(schema.get("required")),
    }
}

fn branches<'a>(list: &'a RawValue, root: &Members<'a>) -> Vec<Branch<'a>> {
    let schemas: Vec<Members<'a>> = loose::<Vec<&RawValue>>(Some(list))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|schema| loose(Some(schema)))
        .collect();
    schemas.iter().map(|schema| branch(&resolved(schema, root).unwrap_or_else(|| schema.clone()))).collect()
}

/// What a local `$ref` points to: `#/$defs/NAME` or `#/definitions/NAME`.
fn resolved<'a>(schema: &Members<'a>, root: &Members<'a>) -> Option<Members<'a>> {
    let pointer = JsonText::of(schema.get("$ref")?)?.decode();
    let (place, name) = pointer.strip_prefix("#/")?.split_once('/')?;
    loose(loose::<Members<'a>>(root.get(place))?.get(name))
}

fn add_properties<'a>(properties: &mut Vec<(Cow<'a, str>, Vec<&'a str>)>, more: &Members<'a>) {
    for (name, schema) in &more.0 {
        let schema = schema.get();
        match properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, schemas)) if schemas.contains(&schema) => {}
            Some((_, schemas)) => schemas.push(schema),
            None => properties.push((name.clone(), vec![schema])),
        }
    }
}

/// A property that the alternatives define differently may be any of them: below the top level that is allowed.
fn properties_json(properties: &[(Cow<'_, str>, Vec<&str>)]) -> Cow<'static, RawValue> {
    let members = properties.iter().map(|(name, schemas)| match &schemas[..] {
        [only] => format!("{}:{only}", quote(name).get()),
        several => format!("{}:{{\"anyOf\":[{}]}}", quote(name).get(), several.join(",")),
    });
    raw(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

fn required_json(required: &BTreeSet<String>) -> Cow<'static, RawValue> {
    let names: Vec<_> = required.iter().map(|name| quote(name).get().to_owned()).collect();
    raw(format!("[{}]", names.join(",")))
}

fn note(keyword: &str, branches: &[Branch<'_>]) -> Option<String> {
    let names = |branch: &Branch<'_>| match branch.required.is_empty() {
        true => branch.properties.0.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", "),
        false => branch.required.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let alternatives: Vec<_> = branches.iter().map(names).filter(|names| !names.is_empty()).collect();
    let how_many = if keyword == "oneOf" { "exactly one" } else { "at least one" };
    let list = alternatives.join("), (");
    (!alternatives.is_empty()).then(|| format!("Give {how_many} of these sets of arguments: ({list})."))
}

fn strings(raw: Option<&RawValue>) -> BTreeSet<String> {
    let list: Vec<&RawValue> = loose(raw).unwrap_or_default();
    list.into_iter().filter_map(JsonText::of).map(|text| text.decode().into_owned()).collect()
}

// --- strict mode (Q-T5) ---

/// Whether a schema can be enforced as it is: every object closed and all its properties required, nothing that strict
/// mode does not know, at most ten levels.
pub(super) fn strict_eligible(schema: &Members<'_>) -> bool {
    is_object(schema) && schema.get("anyOf").is_none() && is_strict(schema, 0)
}

fn is_object(schema: &Members<'_>) -> bool {
    schema.get("properties").is_some() || schema.get("type").is_some_and(|kind| kind.get().contains("\"object\""))
}

fn is_strict(schema: &Members<'_>, depth: usize) -> bool {
    if depth >= DEEPEST_STRICT || schema.0.iter().any(|(key, _)| NOT_STRICT.contains(&&**key)) {
        return false;
    }
    let closed = schema.get("additionalProperties").is_some_and(|value| value.get() == "false");
    if is_object(schema) && !(closed && requires_all(schema)) {
        return false;
    }
    schema.0.iter().all(|(key, value)| match &**key {
        "properties" | "$defs" | "definitions" => all_strict(loose::<Members<'_>>(Some(value)), depth),
        "anyOf" => {
            let list: Option<Vec<&RawValue>> = loose(Some(value));
            list.is_some_and(|list| list.into_iter().all(|value| value_is_strict(value, depth)))
        }
        "items" => value_is_strict(value, depth),
        _ => true,
    })
}

fn all_strict(schemas: Option<Members<'_>>, depth: usize) -> bool {
    schemas.is_some_and(|schemas| schemas.0.iter().all(|(_, value)| value_is_strict(value, depth)))
}

fn value_is_strict(value: &RawValue, depth: usize) -> bool {
    loose::<Members<'_>>(Some(value)).is_some_and(|schema| is_strict(&schema, depth + 1))
}

fn requires_all(schema: &Members<'_>) -> bool {
    let properties: Members<'_> = loose(schema.get("properties")).unwrap_or_default();
    let required = strings(schema.get("required"));
    properties.0.len() == required.len() && properties.0.iter().all(|(name, _)| required.contains(&**name))
}
