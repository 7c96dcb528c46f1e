//! The items of one response: what is known of each, and which of them an event means (WIRE.md §2.4 "Item key").
//!
//! Servers name an item by its id, its call id, its place in the output, by all of these or by none. This table finds
//! it and keeps what came for it until it is written; it decides nothing about when that is.

use std::ops::{Index, IndexMut};

use super::search::Search;
use crate::providers::openai::wire::events::{ItemType, OutputItem, StreamEvent};
use crate::providers::openai::wire::request::Phase;

/// More items than any response has, so that a stream of items cannot grow our memory and time without bound.
pub(super) const MAX_ITEMS: usize = 4096;

/// Ids of one item that are remembered: `added`, deltas and `done` may each have their own.
const MAX_IDS: usize = 8;

/// An item's place in the table.
pub(super) type Key = usize;

/// How an event names its item.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub id: Option<Box<str>>,
    pub call_id: Option<Box<str>>,
    pub output_index: Option<u64>,
}

impl Names {
    pub(super) fn of_item(item: &OutputItem<'_>, output_index: Option<u64>) -> Self {
        Self { id: item.id().map(Into::into), call_id: item.call_id().map(Into::into), output_index }
    }

    fn are_absent(&self) -> bool {
        self.id.is_none() && self.call_id.is_none() && self.output_index.is_none()
    }
}

#[derive(Debug)]
pub(super) struct Item {
    item_type: ItemType,
    ids: Vec<Box<str>>,
    pub call_id: Option<Box<str>>,
    output_index: u64,
    /// Its place among the items, as they are written.
    pub order: u64,
    /// The upstream has said all of it.
    pub done: bool,
    /// A later item took the turn (custom profile): it holds nothing back any more.
    pub passed: bool,
    /// It has had its turn.
    pub settled: bool,
    reconciled: bool,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Message(Message),
    Reasoning(Reasoning),
    Call(Call),
    Search(Option<Search>),
    /// A hosted tool's item, with the sentence that stands for its result.
    Hosted(Option<&'static str>),
}

#[derive(Debug, Default)]
pub(super) struct Message {
    parts: Parts,
    /// Text that is not written yet.
    pub pending: String,
    /// More than white space has come.
    pub started: bool,
    pub phase: Option<Phase>,
}

#[derive(Debug, Default)]
pub(super) struct Reasoning {
    source: Option<Source>,
    parts: Parts,
    pub pending: String,
    pub opened: bool,
    pub encrypted: Option<Box<str>>,
    /// As it stood in `added`: may be incomplete, and counts only if nothing else came.
    pub early_encrypted: Option<Box<str>>,
}

/// Which of its two texts a reasoning item is shown by: the first that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Summary,
    Raw,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    /// A `custom_tool_call`: its input is text, and is wrapped.
    pub custom: bool,
    pub name: Option<Box<str>>,
    received: Received,
    pub pending: String,
    pub opened: bool,
}

impl Item {
    fn new(item_type: ItemType, names: Names, order: u64) -> Self {
        let body = match item_type {
            ItemType::Message => Body::Message(Message::default()),
            ItemType::Reasoning => Body::Reasoning(Reasoning::default()),
            ItemType::FunctionCall => Body::Call(Call::default()),
            ItemType::CustomToolCall => Body::Call(Call { custom: true, ..Call::default() }),
            ItemType::WebSearchCall => Body::Search(None),
            ItemType::ImageGenerationCall | ItemType::Opaque | ItemType::Unknown => Body::Hosted(None),
        };
        Self {
            item_type,
            ids: names.id.into_iter().collect(),
            call_id: names.call_id,
            output_index: names.output_index.unwrap_or(order),
            order,
            done: false,
            passed: false,
            settled: false,
            reconciled: false,
            body,
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.ids.first().map(|id| &**id)
    }

    fn has_id(&self, id: &str) -> bool {
        self.ids.iter().any(|known| **known == *id)
    }

    /// Whether what has come of it is a beginning of `object`, so that the two may be one item under two names.
    fn resembles(&self, object: &OutputItem<'_>) -> bool {
        match &self.body {
            Body::Message(message) => {
                let text = object.content().first().and_then(|part| part.text());
                text.is_some_and(|text| message.parts.first().is_some_and(|part| part.begins(&text)))
            }
            Body::Reasoning(reasoning) => {
                let text = object.summary().iter().chain(&object.content()).find_map(|part| part.text());
                text.is_some_and(|text| reasoning.parts.first().is_some_and(|part| part.begins(&text)))
            }
            Body::Call(call) => {
                let arguments = object.arguments().or_else(|| object.input()).unwrap_or_default();
                call.name.as_deref() == object.name().as_deref() && call.received.begins(&arguments)
            }
            Body::Search(_) | Body::Hosted(_) => false,
        }
    }

    /// What comes for thinking or for a call that had its turn is never written.
    pub(super) fn forget_late_text(&mut self) {
        if self.settled {
            match &mut self.body {
                Body::Reasoning(reasoning) => reasoning.pending.clear(),
                Body::Call(call) => call.pending.clear(),
                Body::Message(_) | Body::Search(_) | Body::Hosted(_) => {}
            }
        }
    }

    fn learn(&mut self, names: &Names) {
        if let Some(id) = &names.id {
            self.learn_id(id);
        }
        if self.call_id.is_none() {
            self.call_id.clone_from(&names.call_id);
        }
    }

    fn learn_id(&mut self, id: &str) {
        if self.ids.len() < MAX_IDS && !self.has_id(id) {
            self.ids.push(id.into());
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Items(Vec<Item>);

impl Items {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ITEMS
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.0.iter_mut()
    }

    /// The item that a delta means, which learns the id. Allocates nothing for a known one.
    pub(super) fn find_for_delta(&mut self, event: &StreamEvent<'_>, item_type: ItemType) -> Option<Key> {
        let (id, index) = (event.item_id(), event.output_index());
        let key = match (&id, index) {
            (None, None) => self.latest(|item| item.item_type == item_type),
            (id, index) => {
                let found = self.find(item_type, id.as_deref(), None, index);
                found.or_else(|| self.nameless(item_type, index))
            }
        }?;
        if let Some(id) = id {
            self.0[key].learn_id(&id);
        }
        Some(key)
    }

    /// The item that `names` mean, which learns those that are new to it. Without names, the latest of that type.
    pub(super) fn find_and_learn(&mut self, item_type: ItemType, names: &Names) -> Option<Key> {
        let key = match names.are_absent() {
            true => self.latest(|item| item.item_type == item_type),
            false => self.find_known(item_type, names).or_else(|| self.nameless(item_type, names.output_index)),
        }?;
        self.0[key].learn(names);
        Some(key)
    }

    /// An item that was added without an id or a place gets its id from what follows.
    fn nameless(&self, item_type: ItemType, index: Option<u64>) -> Option<Key> {
        let latest = self.latest(|item| item.item_type == item_type && !item.done)?;
        (index.is_none() && self.0[latest].ids.is_empty()).then_some(latest)
    }

    /// The known item that an `added` event means. Without names, or with the place of a finished item but another id,
    /// it is a new one.
    pub(super) fn find_added(&mut self, item_type: ItemType, names: &Names) -> Option<Key> {
        let key = if names.are_absent() { None } else { self.find_known(item_type, names) }?;
        let item = &mut self.0[key];
        let other = names.id.as_deref().is_some_and(|id| !item.has_id(id) && !item.ids.is_empty());
        if other && item.done {
            return None;
        }
        item.learn(names);
        Some(key)
    }

    fn find_known(&self, item_type: ItemType, names: &Names) -> Option<Key> {
        self.find(item_type, names.id.as_deref(), names.call_id.as_deref(), names.output_index)
    }

    /// The item that an entry of the finished response means (R-C1).
    pub(super) fn reconcile(&mut self, object: &OutputItem<'_>, index: u64) -> Option<Key> {
        let (item_type, names) = (object.item_type(), Names::of_item(object, Some(index)));
        let nameless = names.id.is_none() && names.call_id.is_none();
        let by_names = self.find_known(item_type, &names).filter(|key| !(nameless && self.0[*key].reconciled));
        let key = by_names.or_else(|| {
            self.0.iter().position(|item| {
                item.item_type == item_type && !item.reconciled && (nameless || item.resembles(object))
            })
        })?;
        self.0[key].learn(&names);
        self.0[key].reconciled = true;
        Some(key)
    }

    pub(super) fn add(&mut self, item_type: ItemType, names: Names) -> Key {
        let after_all = self.0.iter().map(|item| item.order + 1).max().unwrap_or(0);
        let free = |index: &u64| self.0.iter().all(|item| item.output_index != *index);
        // Saturating somewhere far above any real list keeps `order + 1` from wrapping.
        let order = names.output_index.filter(free).unwrap_or(after_all).min(u64::from(u32::MAX));
        self.0.push(Item::new(item_type, names, order));
        self.0.len() - 1
    }

    fn latest(&self, matches: impl Fn(&Item) -> bool) -> Option<Key> {
        self.0.iter().rposition(matches)
    }

    fn find(&self, item_type: ItemType, id: Option<&str>, call_id: Option<&str>, index: Option<u64>) -> Option<Key> {
        let of_type = |item: &Item| item.item_type == item_type;
        let by_id = id.and_then(|id| self.latest(|item| of_type(item) && item.has_id(id)));
        let by_call_id = || {
            let same = |item: &Item| item.call_id.as_deref() == call_id;
            let other_id = |item: &Item| id.is_some() && !item.ids.is_empty();
            let other_index = |item: &Item| index.is_some_and(|index| index != item.output_index);
            // Two calls with one call id differ in all else (WIRE.md §2.10).
            call_id
                .and_then(|_| self.latest(|item| of_type(item) && same(item) && !(other_id(item) && other_index(item))))
        };
        let by_index = || {
            let other_call =
                |item: &Item| call_id.is_some() && item.call_id.is_some() && item.call_id.as_deref() != call_id;
            index.and_then(|index| self.latest(|item| of_type(item) && item.output_index == index && !other_call(item)))
        };
        by_id.or_else(by_call_id).or_else(by_index)
    }
}

impl Index<Key> for Items {
    type Output = Item;

    fn index(&self, key: Key) -> &Item {
        &self.0[key]
    }
}

impl IndexMut<Key> for Items {
    fn index_mut(&mut self, key: Key) -> &mut Item {
        &mut self.0[key]
    }
}

impl Message {
    pub(super) fn received(&mut self, content_index: u64) -> &mut Received {
        self.parts.at(content_index)
    }

    /// Whether there is something to write: white space at the start waits for more.
    pub(super) fn has_text_to_write(&self) -> bool {
        !self.pending.is_empty() && (self.started || !self.pending.trim().is_empty())
    }
}

impl Reasoning {
    /// Text of one part; ignored if the item is shown by its other text.
    pub(super) fn receive(&mut self, source: Source, index: u64, text: &str) {
        if text.is_empty() || *self.source.get_or_insert(source) != source {
            return;
        }
        let begun = self.parts.is_begun();
        let part = self.parts.at(index);
        if begun && part.is_empty() {
            self.pending.push_str("\n\n");
        }
        part.extend(text);
        self.pending.push_str(text);
    }

    /// The suffix rule for a part's whole text.
    pub(super) fn receive_whole(&mut self, source: Source, index: u64, whole: &str) {
        if self.source.is_none_or(|known| known == source) {
            let from = self.parts.at(index).missing(whole);
            self.receive(source, index, &whole[from..]);
        }
    }
}

impl Call {
    pub(super) fn receive(&mut self, text: &str) {
        self.received.extend(text);
        self.pending.push_str(text);
    }

    pub(super) fn receive_whole(&mut self, whole: &str) {
        let from = self.received.missing(whole);
        self.receive(&whole[from..]);
    }

    /// As [`Call::receive`], for text that is written at once.
    pub(super) fn note(&mut self, text: &str) {
        self.received.extend(text);
    }
}

/// The texts of an item's parts, by their index.
#[derive(Debug, Default)]
struct Parts(Vec<(u64, Received)>);

impl Parts {
    fn at(&mut self, index: u64) -> &mut Received {
        let known = self.0.iter().rposition(|(known, _)| *known == index);
        // Beyond any real number of parts the last one stands for the rest.
        let place = known.or_else(|| (self.0.len() >= MAX_ITEMS).then(|| self.0.len() - 1));
        let place = place.unwrap_or_else(|| {
            self.0.push((index, Received::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    fn first(&self) -> Option<&Received> {
        self.0.first().map(|(_, received)| received)
    }

    fn is_begun(&self) -> bool {
        self.0.iter().any(|(_, received)| !received.is_empty())
    }
}

/// How much of a text has come, without the text: its length and a running FNV-1a digest, enough to tell whether a
/// whole text begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    bytes: usize,
    digest: u64,
}

impl Default for Received {
    fn default() -> Self {
        Self { bytes: 0, digest: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Received {
    pub(super) fn extend(&mut self, text: &str) {
        self.bytes += text.len();
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where in `whole` the part begins that has not come: its end, if it is another text (the suffix rule).
    pub(super) fn missing(&self, whole: &str) -> usize {
        if self.is_prefix_of(whole) { self.bytes } else { whole.len() }
    }

    /// Something has come, and `whole` begins with it.
    fn begins(&self, whole: &str) -> bool {
        !self.is_empty() && self.is_prefix_of(whole)
    }

    fn is_prefix_of(&self, whole: &str) -> bool {
        let mut prefix = Self::default();
        whole.get(..self.bytes).is_some_and(|text| {
            prefix.extend(text);
            prefix == *self
        })
    }
}
