//! What came: each event finds its item and leaves there what it brought (WIRE.md §2.4, the table).
//!
//! Nothing is written here but a delta of the block that is open already, which goes out as it came. Texts that come
//! whole meet the suffix rule: what is missing is added, what is known is not said twice.

use super::{IMAGE_NOTE, MAX_EXPLANATION_CHARS, Machine};
use crate::providers::anthropic::events::EventWriter;
use crate::providers::openai::wire::events::{ItemType, OutputItem, StreamEvent};
use crate::providers::openai::wire::request::Phase;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::response::blocks::OpenBlock;
use crate::providers::translate::response::items::{Body, Key, Names, Source};
use crate::providers::translate::response::search::Search;

impl Machine {
    pub(super) fn item_added(&mut self, event: &StreamEvent<'_>) {
        let Some(object) = event.item() else { return };
        let item_type = object.item_type();
        if item_type == ItemType::Unknown {
            return;
        }
        let names = Names::of_item(&object, event.output_index());
        let key = match self.items.find_added(item_type, &names) {
            Some(key) => key,
            None => self.add(item_type, names),
        };
        let item = &mut self.items[key];
        match &mut item.body {
            Body::Message(message) => message.phase = phase(&object).or(message.phase),
            Body::Reasoning(reasoning) => reasoning.early_encrypted = object.encrypted_content().map(Into::into),
            Body::Call(_) | Body::Search(_) | Body::Hosted(_) => {}
        }
        self.take_texts(key, false, &object);
    }

    pub(super) fn item_done(&mut self, event: &StreamEvent<'_>) {
        let Some(object) = event.item() else { return };
        let item_type = object.item_type();
        if item_type != ItemType::Unknown {
            let key = self.item(item_type, Names::of_item(&object, event.output_index()));
            self.complete(key, &object);
        }
    }

    /// R-C1: items that no event told of are taken whole, the others meet the suffix rule.
    pub(super) fn reconcile(&mut self, index: u64, object: &OutputItem<'_>) {
        let item_type = object.item_type();
        if item_type != ItemType::Unknown && !self.items.is_full() {
            let known = self.items.reconcile(object, index);
            let key = known.unwrap_or_else(|| self.add(item_type, Names::of_item(object, Some(index))));
            self.complete(key, object);
        }
    }

    fn complete(&mut self, key: Key, object: &OutputItem<'_>) {
        self.take_texts(key, true, object);
        let item = &mut self.items[key];
        match &mut item.body {
            Body::Message(message) => message.phase = phase(object).or(message.phase),
            Body::Reasoning(reasoning) => {
                reasoning.encrypted = object.encrypted_content().map(Into::into).or(reasoning.encrypted.take());
            }
            Body::Search(search) => *search = Some(Search::of(object, &self.citations)),
            Body::Hosted(note) if object.item_type() == ItemType::ImageGenerationCall && object.has_result() => {
                *note = Some(IMAGE_NOTE);
            }
            Body::Call(_) | Body::Hosted(_) => {}
        }
        item.done = true;
    }

    /// The texts that an item carries, each by the suffix rule; `whole` if it is said to be finished.
    fn take_texts(&mut self, key: Key, whole: bool, object: &OutputItem<'_>) {
        match &mut self.items[key].body {
            Body::Message(_) => self.take_message(key, object),
            Body::Reasoning(reasoning) => {
                let texts = |source| match source {
                    Source::Summary => object.summary(),
                    Source::Raw => object.content(),
                };
                for source in [Source::Summary, Source::Raw] {
                    for (index, part) in (0..).zip(texts(source)) {
                        reasoning.receive_whole(source, index, &part.text().unwrap_or_default());
                    }
                }
            }
            Body::Call(call) => {
                call.name = object.name().map(Into::into).or(call.name.take());
                let arguments = if whole { object.arguments() } else { object.arguments_text() };
                if let Some(text) = arguments.or_else(|| object.input()) {
                    call.receive_whole(&text);
                }
            }
            Body::Search(_) | Body::Hosted(_) => {}
        }
    }

    fn take_message(&mut self, key: Key, object: &OutputItem<'_>) {
        for (index, part) in (0..).zip(object.content()) {
            self.take_text(key, index, false, &part.text().unwrap_or_default());
            self.take_text(key, index, true, &part.refusal().unwrap_or_default());
            for annotation in part.annotations() {
                self.citations.note(&annotation);
            }
        }
    }

    /// A part's whole text.
    fn take_text(&mut self, key: Key, content_index: u64, refusal: bool, whole: &str) {
        if let Body::Message(message) = &mut self.items[key].body {
            let received = message.received(content_index);
            let missing = &whole[received.missing(whole)..];
            received.extend(missing);
            message.pending.push_str(missing);
            self.note_text(key, refusal, missing);
        }
    }

    /// Remembers what kind of text came, and messages that have had their turn.
    fn note_text(&mut self, key: Key, refusal: bool, text: &str) {
        let visible = !text.trim().is_empty();
        self.seen.refusal |= refusal && visible;
        self.seen.text |= !refusal && visible;
        if refusal {
            let room = MAX_EXPLANATION_CHARS.saturating_sub(self.refusal.chars().count());
            self.refusal.extend(text.chars().take(room));
        }
        if !text.is_empty() && self.items[key].settled && !self.late.contains(&key) {
            self.late.push(key);
        }
    }

    pub(super) fn text_delta(&mut self, refusal: bool, event: &StreamEvent<'_>, out: &mut EventWriter) {
        let Some(delta) = event.delta() else { return };
        let key = self.delta_item(event, ItemType::Message);
        let mut text = std::mem::take(&mut self.decoded);
        text.clear();
        delta.decode_into(&mut text);
        let owner = self.turn() == Some(key) && self.blocks.open() == OpenBlock::Text(key);
        if let Body::Message(message) = &mut self.items[key].body {
            message.received(event.content_index()).extend(&text);
            if owner && message.pending.is_empty() && self.blocks.takes_spliced_text() {
                self.blocks.splice(delta.as_str(), text.len(), out);
            } else {
                message.pending.push_str(&text);
            }
        }
        self.note_text(key, refusal, &text);
        self.decoded = text;
        self.pump(out);
    }

    pub(super) fn text_done(&mut self, event: &StreamEvent<'_>) {
        if let Some(text) = event.text() {
            let key = self.delta_item(event, ItemType::Message);
            self.take_text(key, event.content_index(), false, &text);
        }
    }

    pub(super) fn refusal_done(&mut self, event: &StreamEvent<'_>) {
        if let Some(text) = event.refusal() {
            let key = self.delta_item(event, ItemType::Message);
            self.take_text(key, event.content_index(), true, &text);
        }
    }

    pub(super) fn part_done(&mut self, event: &StreamEvent<'_>) {
        let Some(part) = event.part() else { return };
        if part.is_reasoning() {
            let key = self.delta_item(event, ItemType::Reasoning);
            if let (Body::Reasoning(reasoning), Some(text)) = (&mut self.items[key].body, part.text()) {
                reasoning.receive_whole(Source::Raw, event.content_index(), &text);
            }
            return;
        }
        let key = self.delta_item(event, ItemType::Message);
        self.take_text(key, event.content_index(), false, &part.text().unwrap_or_default());
        self.take_text(key, event.content_index(), true, &part.refusal().unwrap_or_default());
    }

    pub(super) fn annotation_added(&mut self, event: &StreamEvent<'_>) {
        if let Some(annotation) = event.annotation() {
            self.citations.note(&annotation);
        }
    }

    pub(super) fn reasoning_delta(
        &mut self,
        source: Source,
        index: u64,
        event: &StreamEvent<'_>,
        out: &mut EventWriter,
    ) {
        let Some(delta) = event.delta() else { return };
        let key = self.delta_item(event, ItemType::Reasoning);
        let mut text = std::mem::take(&mut self.decoded);
        text.clear();
        delta.decode_into(&mut text);
        if let Body::Reasoning(reasoning) = &mut self.items[key].body {
            reasoning.receive(source, index, &text);
        }
        self.items[key].forget_late_text();
        self.decoded = text;
        self.pump(out);
    }

    pub(super) fn reasoning_done(&mut self, source: Source, index: u64, event: &StreamEvent<'_>) {
        let key = self.delta_item(event, ItemType::Reasoning);
        if let (Body::Reasoning(reasoning), Some(text)) = (&mut self.items[key].body, event.text()) {
            reasoning.receive_whole(source, index, &text);
        }
    }

    pub(super) fn summary_part_done(&mut self, event: &StreamEvent<'_>) {
        let Some(text) = event.part().and_then(|part| part.text()) else { return };
        let key = self.delta_item(event, ItemType::Reasoning);
        if let Body::Reasoning(reasoning) = &mut self.items[key].body {
            reasoning.receive_whole(Source::Summary, event.summary_index(), &text);
        }
    }

    pub(super) fn call_delta(&mut self, item_type: ItemType, event: &StreamEvent<'_>, out: &mut EventWriter) {
        let Some(delta) = event.delta() else { return };
        let key = self.delta_item(event, item_type);
        let mut text = std::mem::take(&mut self.decoded);
        text.clear();
        delta.decode_into(&mut text);
        let owner = self.blocks.open() == OpenBlock::ToolUse(key);
        if let Body::Call(call) = &mut self.items[key].body {
            if owner && !call.custom && call.pending.is_empty() {
                call.note(&text);
                self.blocks.splice(delta.as_str(), text.len(), out);
            } else {
                call.receive(&text);
            }
        }
        self.items[key].forget_late_text();
        self.decoded = text;
        self.pump(out);
    }

    pub(super) fn call_done(&mut self, item_type: ItemType, event: &StreamEvent<'_>) {
        let key = self.delta_item(event, item_type);
        if let Body::Call(call) = &mut self.items[key].body {
            call.name = event.name().map(Into::into).or(call.name.take());
            if let Some(text) = event.arguments().or_else(|| event.input()) {
                call.receive_whole(&text);
            }
        }
    }

    fn delta_item(&mut self, event: &StreamEvent<'_>, item_type: ItemType) -> Key {
        match self.items.find_for_delta(event, item_type) {
            Some(key) => key,
            None => {
                let id = event.item_id().map(Into::into);
                self.item(item_type, Names { id, call_id: None, output_index: event.output_index() })
            }
        }
    }

    /// The item that `names` mean, which may be new.
    fn item(&mut self, item_type: ItemType, names: Names) -> Key {
        match self.items.find_and_learn(item_type, &names) {
            Some(key) => key,
            None => self.add(item_type, names),
        }
    }

    fn add(&mut self, item_type: ItemType, names: Names) -> Key {
        let key = self.items.add(item_type, names);
        if self.context.profile == ProfileKind::Custom {
            // The newcomer takes the turn from thinking and text (L says `done` only at the end).
            for earlier in &self.queue {
                let item = &mut self.items[*earlier];
                item.passed = matches!(item.body, Body::Message(_) | Body::Reasoning(_));
            }
        }
        let place = (self.items[key].order, key);
        let at = self.queue.partition_point(|queued| (self.items[*queued].order, *queued) < place);
        self.queue.insert(at, key);
        key
    }
}

/// A phase that we know (Q-M8).
fn phase(object: &OutputItem<'_>) -> Option<Phase> {
    object.phase().as_deref().and_then(Phase::of)
}
