//! From a file's text to a layer of checked values, remembering where each key stands.
//!
//! The walk goes through a spanned TOML document next to the tables of [`super::schema`] and collects every fault of
//! form: unknown keys, types, words, durations, URLs, names. What is faulty is left out of the layer, so that the checks
//! of meaning can still look at the rest. Values leave in their settled form (milliseconds, absolute paths, tables for
//! manual models). Tables are handled here, single values in [`super::values`].

use std::collections::BTreeMap;
use std::path::Path;

use config::{Map, Value as Settled};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::choices::BackendKind;
use super::fault::{Fault, nearest};
use super::schema::{self, Key, Shape};
use super::{built_in, is_name};

/// A file's text and what its paths are relative to.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    /// Where relative paths start.
    pub folder: &'a Path,
    pub home: Option<&'a Path>,
}

/// What the walk leaves behind.
pub(super) struct Walked<'a> {
    pub layer: Map<String, Settled>,
    pub places: Places<'a>,
    /// In no particular order.
    pub faults: Vec<Fault>,
}

/// Where the keys of a document stand.
pub(super) struct Places<'a> {
    document: Document<'a>,
    by_path: BTreeMap<String, Place>,
}

/// Byte offsets of a key and of its value.
#[derive(Clone, Copy)]
struct Place {
    key: usize,
    value: usize,
}

impl<'a> Places<'a> {
    pub fn none(document: Document<'a>) -> Self {
        Self { document, by_path: BTreeMap::new() }
    }

    /// The file says something under this key, right or wrong.
    pub fn holds(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The names under `section`, as the file orders them.
    pub fn names_in(&self, section: &str) -> Vec<&str> {
        let mut named: Vec<(usize, &str)> = self
            .by_path
            .iter()
            .filter_map(|(path, place)| {
                let name = path.strip_prefix(section)?.strip_prefix('.')?;
                is_name(name).then_some((place.key, name))
            })
            .collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name).collect()
    }

    pub fn at_key(&self, path: &str, message: impl Into<String>) -> Fault {
        self.at(path, |place| place.key, message.into())
    }

    pub fn at_value(&self, path: &str, message: impl Into<String>) -> Fault {
        self.at(path, |place| place.value, message.into())
    }

    /// At the key, or at the nearest table around it that the file has.
    fn at(&self, path: &str, offset: fn(&Place) -> usize, message: String) -> Fault {
        let mut nearest = path;
        loop {
            if let Some(place) = self.by_path.get(nearest) {
                let offset = if nearest == path { offset(place) } else { place.key };
                return Fault::at(self.document.file, self.document.text, offset, message);
            }
            match nearest.rsplit_once('.') {
                Some((around, _)) => nearest = around,
                None => return Fault::whole(self.document.file, message),
            }
        }
    }
}

/// # Errors
/// The text is not TOML (a key given twice included). Such a fault stands alone.
pub(super) fn walk(document: Document<'_>) -> Result<Walked<'_>, Fault> {
    let root = DeTable::parse(document.text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Fault::at(document.file, document.text, offset, error.message())
    })?;
    let mut walk = Walk { document, places: Places::none(document), faults: Vec::new() };
    let layer = walk.table("", root.get_ref(), &[schema::ROOT]);
    Ok(Walked { layer, places: walk.places, faults: walk.faults })
}

pub(super) struct Walk<'a> {
    pub document: Document<'a>,
    places: Places<'a>,
    faults: Vec<Fault>,
}

/// A value as the document holds it.
pub(super) type Typed<'t> = Spanned<DeValue<'t>>;

impl Walk<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>, keys: &[&'static [Key]]) -> Map<String, Settled> {
        let mut layer = Map::new();
        for (name, value) in table {
            let Some(key) = keys.iter().copied().flatten().find(|key| key.name == name.get_ref()) else {
                self.unknown_key(path, name, keys);
                continue;
            };
            let path = self.remember(path, name, value);
            if let Some(checked) = self.value(&path, value, key.shape) {
                layer.insert(key.name.to_owned(), checked);
            }
        }
        layer
    }

    fn value(&mut self, path: &str, value: &Typed<'_>, shape: Shape) -> Option<Settled> {
        match shape {
            Shape::Boolean => self.boolean(path, value),
            Shape::Text => self.string(path, value).map(Settled::from),
            Shape::FilledText => self.filled(path, value).map(Settled::from),
            Shape::Choice(words) => self.choice(path, value, words),
            Shape::WireApi => self.wire_api(path, value),
            Shape::StoreOverride => self.store_override(path, value),
            Shape::SettingSources => self.setting_sources(path, value),
            Shape::Count { least, most } => self.count(path, value, least, most),
            Shape::Duration => self.duration(path, value),
            Shape::BaseUrl => self.base_url(path, value),
            Shape::Path => self.path(path, value),
            Shape::FilledPath => self.filled(path, value).and_then(|_| self.path(path, value)),
            Shape::Program => self.program(path, value),
            Shape::Variable => self.variable(path, value),
            Shape::HeaderText => self.header_text(path, value),
            Shape::Texts => self.list(path, value, Shape::Text),
            Shape::Names => self.list(path, value, Shape::FilledText),
            Shape::Command => self.command(path, value),
            Shape::Headers => self.headers(path, value),
            Shape::Models => self.models(path, value),
            Shape::Credential => self.credential(path, value),
            Shape::Table(keys) => self.table_value(path, value, keys),
            Shape::Backends => self.backends(path, value),
            Shape::Sessions => self.sessions(path, value),
        }
    }

    fn table_value(&mut self, path: &str, value: &Typed<'_>, keys: &'static [Key]) -> Option<Settled> {
        let table = self.expect_table(path, value)?;
        Some(self.table(path, table, &[keys]).into())
    }

    fn backends(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        self.named_tables(path, value, |walk, path, name, table| {
            let kind = built_in(name).or_else(|| kind_as_typed(table)).unwrap_or(BackendKind::CustomOpenAi);
            walk.table(path, table, schema::backend(kind))
        })
    }

    fn sessions(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        self.named_tables(path, value, |walk, path, _, table| walk.table(path, table, &[schema::SESSION]))
    }

    /// A table of tables whose keys are names that the person gives.
    fn named_tables(
        &mut self,
        path: &str,
        value: &Typed<'_>,
        mut inner: impl FnMut(&mut Self, &str, &str, &DeTable<'_>) -> Map<String, Settled>,
    ) -> Option<Settled> {
        let mut layer: Map<String, Settled> = Map::new();
        for (name, value) in self.expect_table(path, value)? {
            let path = self.remember(path, name, value);
            let named = self.check_name(name);
            let Some(table) = self.expect_table(&path, value) else { continue };
            let checked = inner(self, &path, name.get_ref(), table);
            if named {
                layer.insert(name.get_ref().clone().into_owned(), checked.into());
            }
        }
        Some(layer.into())
    }

    fn check_name(&mut self, name: &Spanned<DeString<'_>>) -> bool {
        let good = is_name(name.get_ref());
        if !good {
            let message = format!(
                "`{}` is not a name: 1 to 64 lower-case letters, digits and hyphens, the first one no hyphen",
                name.get_ref()
            );
            self.fault(name.span().start, message);
        }
        good
    }

    /// A list whose elements have one shape; each is remembered as `path[index]`.
    pub(super) fn list(&mut self, path: &str, value: &Typed<'_>, element: Shape) -> Option<Settled> {
        let DeValue::Array(elements) = value.get_ref() else {
            self.wrong_type(path, value, "a list");
            return None;
        };
        let mut checked = Vec::new();
        for (index, typed) in elements.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let offset = typed.span().start;
            self.places.by_path.insert(path.clone(), Place { key: offset, value: offset });
            // A faulty element stays as an empty one: dropping it would shift the places of those behind it.
            checked.push(self.value(&path, typed, element).unwrap_or_else(|| Settled::from("")));
        }
        Some(checked.into())
    }

    /// `"id"` or `{ id, display_name, context_window }`; both leave as tables.
    fn models(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let DeValue::Array(elements) = value.get_ref() else {
            self.wrong_type(path, value, "a list of \"id\" or { id, display_name, context_window }");
            return None;
        };
        let models: Vec<Settled> = elements.iter().filter_map(|element| self.model(path, element)).collect();
        Some(models.into())
    }

    fn model(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        match value.get_ref() {
            DeValue::String(_) => {
                let id = self.filled(path, value)?;
                Some(Map::from([("id".to_owned(), Settled::from(id))]).into())
            }
            DeValue::Table(table) => {
                let model = self.table(path, table, &[schema::MODEL]);
                if !table.contains_key("id") {
                    self.fault(value.span().start, format!("`{path}`: a model needs an `id`"));
                }
                model.contains_key("id").then(|| model.into())
            }
            _ => {
                self.wrong_type(path, value, "a list of \"id\" or { id, display_name, context_window }");
                None
            }
        }
    }

    /// Exactly one of `value`, `env`, `file` and `command`; `ttl` belongs to `command`.
    fn credential(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(path, value, "a table such as { env = \"NAME\" }");
            return None;
        };
        let checked = self.table(path, table, &[schema::CREDENTIAL]);
        let ways = ["value", "env", "file", "command"];
        if ways.iter().filter(|way| table.contains_key(**way)).count() != 1 {
            let message = format!("`{path}` needs exactly one of `value`, `env`, `file` and `command`");
            self.fault(value.span().start, message);
        }
        if let (Some((ttl, _)), false) = (table.get_key_value("ttl"), table.contains_key("command")) {
            self.fault(ttl.span().start, format!("`{path}.ttl` goes with `command` only"));
        }
        Some(checked.into())
    }

    fn headers(&mut self, path: &str, value: &Typed<'_>) -> Option<Settled> {
        let mut headers: Map<String, Settled> = Map::new();
        for (name, value) in self.expect_table(path, value)? {
            let path = self.remember(path, name, value);
            let lower = name.get_ref().to_ascii_lowercase();
            let named = self.check_header_name(name, &lower, headers.contains_key(&lower));
            let checked = self.header_text(&path, value);
            if let (true, Some(checked)) = (named, checked) {
                headers.insert(lower, checked);
            }
        }
        Some(headers.into())
    }

    fn check_header_name(&mut self, typed: &Spanned<DeString<'_>>, lower: &str, again: bool) -> bool {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let message = if lower.is_empty() || !lower.bytes().all(token) {
            format!("`{}` is not the name of an HTTP header", typed.get_ref())
        } else if FRAMING_HEADERS.contains(&lower) {
            format!("the header `{lower}` is set by the HTTP client itself")
        } else if again {
            format!("the header `{lower}` is given twice")
        } else {
            return true;
        };
        self.fault(typed.span().start, message);
        false
    }

    pub(super) fn expect_table<'v, 't>(&mut self, path: &str, value: &'v Typed<'t>) -> Option<&'v DeTable<'t>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(path, value, "a table");
            return None;
        };
        Some(table)
    }

    fn unknown_key(&mut self, path: &str, name: &Spanned<DeString<'_>>, keys: &[&'static [Key]]) {
        let typed = name.get_ref();
        let known = keys.iter().copied().flatten().map(|key| key.name);
        let of_another_kind = path.starts_with("backends.")
            && keys.len() < schema::ANY_BACKEND.len()
            && schema::ANY_BACKEND.iter().copied().flatten().any(|key| key.name == typed);
        let message = if of_another_kind {
            format!("`{typed}` is not a key of this kind of backend; its keys: {}", super::fault::backticked(known))
        } else {
            format!("unknown key `{}`: {}", joined(path, typed), nearest(typed, known))
        };
        self.fault(name.span().start, message);
    }

    /// "must be a string, not a number", without the value: it may be a secret.
    pub(super) fn wrong_type(&mut self, path: &str, value: &Typed<'_>, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(value.span().start, format!("`{path}` must be {wanted}, not {found}"));
    }

    pub(super) fn fault(&mut self, offset: usize, message: String) {
        self.faults.push(Fault::at(self.document.file, self.document.text, offset, message));
    }

    fn remember(&mut self, path: &str, name: &Spanned<DeString<'_>>, value: &Typed<'_>) -> String {
        let path = joined(path, name.get_ref());
        self.places.by_path.insert(path.clone(), Place { key: name.span().start, value: value.span().start });
        path
    }
}

/// What frames a message or names its receiver: a second one would break the request or redirect it.
const FRAMING_HEADERS: [&str; 8] =
    ["connection", "content-length", "content-type", "expect", "host", "te", "transfer-encoding", "upgrade"];

fn kind_as_typed(table: &DeTable<'_>) -> Option<BackendKind> {
    BackendKind::named(table.get("kind")?.get_ref().as_str()?)
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
