//! The state machine of WIRE.md §2.4: Responses events in, Anthropic events out.
//!
//! Items arrive interleaved, blocks leave one after the other. The machine keeps a queue of the items that have not had
//! their turn; the first one owns the stream (the ACTIVE rule), what comes for the others waits in the item. Text and
//! thinking blocks stay open until another block opens (LAZY CLOSE), a tool's until its item is done.
//!
//! ```text
//!   added ──▶ queued ──▶ has the turn ──▶ settled        (late text of a settled message opens a block of its own)
//!                 ▲            │
//!                 └────────────┘ a lower output index may take the turn back from text
//! ```

use super::blocks::{Blocks, OpenBlock};
use super::ids::{self, CallIds};
use super::items::{Body, Items, Key, Names, Source};
use super::search::{Citations, Search};
use super::stop_reason::{Seen, stop_reason};
use super::usage::usage;
use crate::providers::anthropic::events::{Ending, EventWriter, MessageStart, StopReason, Usage};
use crate::providers::escaped::escape_into;
use crate::providers::openai::wire::events::{EventKind, ItemType, OutputItem, Response, StreamEvent};
use crate::providers::openai::wire::request::Phase;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::ReplyContext;
use crate::providers::translate::envelope::{Envelope, Kept};

/// Characters of a refusal that are shown as its explanation.
const MAX_EXPLANATION_CHARS: usize = 400;

/// A call that the upstream never named: the client answers it with its list of tools.
const NAMELESS_TOOL: &str = "unknown_tool";

const IMAGE_NOTE: &str = "[image generated, not displayable here]";

#[derive(Debug)]
pub(super) struct Machine {
    context: ReplyContext,
    seed: String,
    committed: bool,
    response_id: Option<String>,
    upstream_model: Option<String>,
    priority: bool,
    items: Items,
    /// Items that have not had their turn, in the order of their turns.
    queue: Vec<Key>,
    /// Messages that had their turn and for which more text came.
    late: Vec<Key>,
    blocks: Blocks,
    call_ids: CallIds,
    /// The call that was written last, as the client knows it.
    last_call: Option<String>,
    citations: Citations,
    seen: Seen,
    refusal: String,
    searches: u64,
    /// The stop sequence that ended the text.
    stopped: Option<String>,
    end: Option<(StopReason, Usage)>,
    unknown_events: u32,
    decoded: String,
}

impl Machine {
    pub(super) fn new(context: ReplyContext, seed: &str) -> Self {
        Self {
            blocks: Blocks::new(&context.stop_sequences),
            call_ids: CallIds::new(seed),
            context,
            seed: seed.to_owned(),
            committed: false,
            response_id: None,
            upstream_model: None,
            priority: false,
            items: Items::default(),
            queue: Vec::new(),
            late: Vec::new(),
            last_call: None,
            citations: Citations::default(),
            seen: Seen::default(),
            refusal: String::new(),
            searches: 0,
            stopped: None,
            end: None,
            unknown_events: 0,
            decoded: String::new(),
        }
    }

    pub(super) fn committed(&self) -> bool {
        self.committed
    }

    /// Writes the head of the message; once.
    pub(super) fn commit(&mut self, out: &mut EventWriter) {
        if !std::mem::replace(&mut self.committed, true) {
            let id = ids::message_id(self.response_id.as_deref().unwrap_or(&self.seed));
            let model = &self.context.requested_model;
            out.message_start(&MessageStart { id: &id, model, input_tokens: self.context.input_estimate });
        }
    }

    pub(super) fn assume_started(&mut self) {
        self.committed = true;
    }

    pub(super) fn stopped_early(&self) -> bool {
        self.stopped.is_some()
    }

    pub(super) fn blocks(&mut self) -> &mut Blocks {
        &mut self.blocks
    }

    pub(super) fn any_block_closed(&self) -> bool {
        self.blocks.any_closed()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some()
    }

    /// More items came than any response has.
    pub(super) fn is_overfull(&self) -> bool {
        self.items.is_full()
    }

    pub(super) fn end(&self) -> Option<&(StopReason, Usage)> {
        self.end.as_ref()
    }

    pub(super) fn unknown_events(&self) -> u32 {
        self.unknown_events
    }

    pub(super) fn response_id(&self) -> Option<&str> {
        self.response_id.as_deref()
    }

    pub(super) fn upstream_model(&self) -> Option<&str> {
        self.upstream_model.as_deref()
    }

    pub(super) fn is_priority(&self) -> bool {
        self.priority
    }

    /// Takes one event. Failures are not for here: [`EventKind::Failed`] is ignored.
    pub(super) fn push(&mut self, kind: EventKind, event: &StreamEvent<'_>, out: &mut EventWriter) {
        if let Some(response) = event.response() {
            self.note_head(&response);
        }
        self.unknown_events += u32::from(kind == EventKind::Unknown);
        if kind.is_held() || self.is_finished() {
            return;
        }
        self.commit(out);
        match kind {
            EventKind::ItemAdded => self.item_added(event),
            EventKind::ItemDone => self.item_done(event),
            EventKind::PartDone => self.part_done(event),
            EventKind::TextDelta => return self.text_delta(false, event, out),
            EventKind::RefusalDelta => return self.text_delta(true, event, out),
            EventKind::TextDone => self.text_done(event),
            EventKind::RefusalDone => self.refusal_done(event),
            EventKind::AnnotationAdded => self.annotation_added(event),
            EventKind::SummaryDelta => return self.reasoning_delta(Source::Summary, event.summary_index(), event, out),
            EventKind::ReasoningDelta => return self.reasoning_delta(Source::Raw, event.content_index(), event, out),
            EventKind::SummaryDone => self.reasoning_done(Source::Summary, event.summary_index(), event),
            EventKind::ReasoningDone => self.reasoning_done(Source::Raw, event.content_index(), event),
            EventKind::SummaryPartDone => self.summary_part_done(event),
            EventKind::ArgumentsDelta => return self.call_delta(ItemType::FunctionCall, event, out),
            EventKind::CustomInputDelta => return self.call_delta(ItemType::CustomToolCall, event, out),
            EventKind::ArgumentsDone => self.call_done(ItemType::FunctionCall, event),
            EventKind::CustomInputDone => self.call_done(ItemType::CustomToolCall, event),
            EventKind::Completed => return self.finish(false, &event.response().unwrap_or_default(), out),
            EventKind::Incomplete => return self.finish(true, &event.response().unwrap_or_default(), out),
            EventKind::PartAdded | EventKind::Working => {}
            EventKind::Lifecycle | EventKind::RateLimits | EventKind::Metadata => {}
            EventKind::Failed | EventKind::Unknown => {}
        }
        self.pump(out);
    }

    /// The terminal event, or a response that came whole: what it holds beyond the events is written, then the end.
    pub(super) fn finish(&mut self, incomplete: bool, response: &Response<'_>, out: &mut EventWriter) {
        self.note_head(response);
        self.commit(out);
        for (index, object) in response.output() {
            self.reconcile(index, &object);
        }
        for item in self.items.iter_mut() {
            item.done = true;
        }
        self.pump(out);
        if self.is_finished() {
            return;
        }
        self.close_block(None, out);
        let reason = stop_reason(incomplete, response, self.seen, &self.context);
        let usage = usage(response.usage().as_ref(), self.context.input_estimate, self.blocks.written_bytes());
        self.write_end(reason, usage, out);
    }

    fn write_end(&mut self, reason: StopReason, usage: Usage, out: &mut EventWriter) {
        let usage = Usage { web_search_requests: self.searches, priority: self.priority, ..usage };
        let explanation = (!self.refusal.is_empty()).then_some(self.refusal.as_str());
        out.message_delta(&Ending { reason, stop_sequence: self.stopped.as_deref(), explanation, usage });
        out.message_stop();
        self.end = Some((reason, usage));
    }

    fn note_head(&mut self, response: &Response<'_>) {
        if self.response_id.is_none() {
            self.response_id = response.id().map(|id| id.into_owned());
        }
        if let Some(model) = response.model().filter(|model| self.upstream_model.as_deref() != Some(model)) {
            self.upstream_model = Some(model.into_owned());
        }
        if let Some(tier) = response.service_tier() {
            self.priority = tier == "priority";
        }
    }

    // What came: into the items.

    fn item_added(&mut self, event: &StreamEvent<'_>) {
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

    fn item_done(&mut self, event: &StreamEvent<'_>) {
        let Some(object) = event.item() else { return };
        let item_type = object.item_type();
        if item_type != ItemType::Unknown {
            let key = self.item(item_type, Names::of_item(&object, event.output_index()));
            self.complete(key, &object);
        }
    }

    /// R-C1: items that no event told of are taken whole, the others meet the suffix rule.
    fn reconcile(&mut self, index: u64, object: &OutputItem<'_>) {
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

    fn text_delta(&mut self, refusal: bool, event: &StreamEvent<'_>, out: &mut EventWriter) {
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

    fn text_done(&mut self, event: &StreamEvent<'_>) {
        if let Some(text) = event.text() {
            let key = self.delta_item(event, ItemType::Message);
            self.take_text(key, event.content_index(), false, &text);
        }
    }

    fn refusal_done(&mut self, event: &StreamEvent<'_>) {
        if let Some(text) = event.refusal() {
            let key = self.delta_item(event, ItemType::Message);
            self.take_text(key, event.content_index(), true, &text);
        }
    }

    fn part_done(&mut self, event: &StreamEvent<'_>) {
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

    fn annotation_added(&mut self, event: &StreamEvent<'_>) {
        if let Some(annotation) = event.annotation() {
            self.citations.note(&annotation);
        }
    }

    fn reasoning_delta(&mut self, source: Source, index: u64, event: &StreamEvent<'_>, out: &mut EventWriter) {
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

    fn reasoning_done(&mut self, source: Source, index: u64, event: &StreamEvent<'_>) {
        let key = self.delta_item(event, ItemType::Reasoning);
        if let (Body::Reasoning(reasoning), Some(text)) = (&mut self.items[key].body, event.text()) {
            reasoning.receive_whole(source, index, &text);
        }
    }

    fn summary_part_done(&mut self, event: &StreamEvent<'_>) {
        let Some(text) = event.part().and_then(|part| part.text()) else { return };
        let key = self.delta_item(event, ItemType::Reasoning);
        if let Body::Reasoning(reasoning) = &mut self.items[key].body {
            reasoning.receive_whole(Source::Summary, event.summary_index(), &text);
        }
    }

    fn call_delta(&mut self, item_type: ItemType, event: &StreamEvent<'_>, out: &mut EventWriter) {
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

    fn call_done(&mut self, item_type: ItemType, event: &StreamEvent<'_>) {
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

    // Whose turn it is, and what leaves.

    /// The item that owns the stream.
    fn turn(&self) -> Option<Key> {
        if let OpenBlock::Thinking(key) | OpenBlock::ToolUse(key) = self.blocks.open() {
            // Neither can be opened a second time, so neither gives the turn away.
            if !self.items[key].settled {
                return Some(key);
            }
        }
        self.queue.iter().copied().find(|key| !self.steps_aside(*key))
    }

    /// A call that has no name yet cannot start and, outside the custom profile, lets later items pass.
    fn steps_aside(&self, key: Key) -> bool {
        let item = &self.items[key];
        let nameless = matches!(&item.body, Body::Call(call) if call.name.is_none());
        nameless && !item.done && self.context.profile != ProfileKind::Custom
    }

    /// Writes all that may be written now.
    fn pump(&mut self, out: &mut EventWriter) {
        while let Some(key) = self.turn() {
            if self.is_finished() || !self.advance(key, out) {
                break;
            }
            self.queue.retain(|queued| *queued != key);
            self.items[key].settled = true;
        }
        self.write_late(out);
    }

    /// Writes what the item has. True when it needs the turn no more.
    fn advance(&mut self, key: Key, out: &mut EventWriter) -> bool {
        let over = self.items[key].done || self.items[key].passed;
        match &self.items[key].body {
            Body::Message(_) => {
                self.write_message(key, out);
                over
            }
            Body::Reasoning(_) => {
                self.write_reasoning(key, over, out);
                over
            }
            Body::Call(_) => self.write_call(key, out),
            Body::Search(_) => self.write_search(key, out),
            Body::Hosted(note) => {
                if let (true, Some(note)) = (over, *note) {
                    self.write_text(key, note, out);
                }
                over
            }
        }
    }

    fn write_message(&mut self, key: Key, out: &mut EventWriter) {
        let Body::Message(message) = &mut self.items[key].body else { return };
        if !message.has_text_to_write() {
            return;
        }
        message.started = true;
        let mut text = std::mem::take(&mut message.pending);
        self.write_text(key, &text, out);
        text.clear();
        if let Body::Message(message) = &mut self.items[key].body {
            message.pending = text;
        }
    }

    fn write_text(&mut self, key: Key, text: &str, out: &mut EventWriter) {
        if self.blocks.open() != OpenBlock::Text(key) {
            let phase = match &self.items[key].body {
                Body::Message(message) => message.phase,
                Body::Reasoning(_) | Body::Call(_) | Body::Search(_) | Body::Hosted(_) => None,
            };
            self.close_block(phase, out);
            self.blocks.open_text(key, out);
        }
        if let Some(sequence) = self.blocks.text(text, out) {
            self.stopped = Some(sequence);
            self.blocks.close(out);
            let usage = usage(None, self.context.input_estimate, self.blocks.written_bytes());
            self.write_end(StopReason::StopSequence, usage, out);
        }
    }

    fn write_reasoning(&mut self, key: Key, over: bool, out: &mut EventWriter) {
        let Body::Reasoning(reasoning) = &mut self.items[key].body else { return };
        let kept = reasoning.encrypted.is_some() || reasoning.early_encrypted.is_some();
        if over && !reasoning.opened && !kept && reasoning.pending.is_empty() {
            return;
        }
        let opens = !std::mem::replace(&mut reasoning.opened, true);
        let mut text = std::mem::take(&mut reasoning.pending);
        if opens {
            self.close_block(None, out);
            self.blocks.open_thinking(key, out);
        }
        self.blocks.write(&text, out);
        text.clear();
        if let Body::Reasoning(reasoning) = &mut self.items[key].body {
            reasoning.pending = text;
        }
    }

    fn write_call(&mut self, key: Key, out: &mut EventWriter) -> bool {
        if !self.open_call(key, out) {
            return false;
        }
        let done = self.items[key].done;
        let Body::Call(call) = &mut self.items[key].body else { return done };
        if !call.custom || done {
            let text = std::mem::take(&mut call.pending);
            match call.custom {
                true => self.blocks.write(&wrapped(&text), out),
                false => self.blocks.write(&text, out),
            }
        }
        if done {
            self.blocks.close(out);
        }
        done
    }

    /// True when the call's block is open.
    fn open_call(&mut self, key: Key, out: &mut EventWriter) -> bool {
        let item = &self.items[key];
        let Body::Call(call) = &item.body else { return false };
        if call.opened {
            return true;
        }
        let name = call.name.as_deref().or_else(|| item.done.then_some(NAMELESS_TOOL));
        let Some(name) = name.map(|name| self.context.tool_names.restore(name).to_owned()) else { return false };
        let id = self.call_ids.give(item.call_id.as_deref(), item.id());
        self.close_block(None, out);
        self.blocks.open_tool_use(key, &id, &name, out);
        self.last_call = Some(id);
        self.seen.tool_use = true;
        if let Body::Call(call) = &mut self.items[key].body {
            call.opened = true;
        }
        true
    }

    fn write_search(&mut self, key: Key, out: &mut EventWriter) -> bool {
        let item = &self.items[key];
        let Body::Search(search) = &item.body else { return true };
        let Some(search) = search.clone() else { return item.done };
        let id = match item.id() {
            Some(id) => Search::block_id(id),
            None => Search::block_id(&self.call_ids.invent(self.searches)),
        };
        self.searches += 1;
        self.close_block(None, out);
        self.blocks.search(&id, &search, out);
        true
    }

    /// What still comes for messages that had their turn waits while a call or a thought has it.
    fn write_late(&mut self, out: &mut EventWriter) {
        let waits = self.turn().is_some_and(|key| matches!(self.items[key].body, Body::Call(_) | Body::Reasoning(_)));
        if self.late.is_empty() || waits {
            return;
        }
        for key in std::mem::take(&mut self.late) {
            if !self.is_finished() {
                self.write_message(key, out);
            }
        }
    }

    /// `phase` is that of the message whose block opens next (Q-M8).
    fn close_block(&mut self, phase: Option<Phase>, out: &mut EventWriter) {
        match self.blocks.open() {
            OpenBlock::Thinking(key) => {
                let signature = self.signature(key, phase);
                self.blocks.close_thinking(&signature, out);
            }
            OpenBlock::None | OpenBlock::Text(_) | OpenBlock::ToolUse(_) => self.blocks.close(out),
        }
    }

    fn signature(&self, key: Key, phase: Option<Phase>) -> String {
        let item = &self.items[key];
        let encrypted = match &item.body {
            Body::Reasoning(reasoning) if item.done => {
                reasoning.encrypted.as_deref().or(reasoning.early_encrypted.as_deref())
            }
            Body::Reasoning(_) | Body::Message(_) | Body::Call(_) | Body::Search(_) | Body::Hosted(_) => None,
        };
        let kept = encrypted.map_or(Kept::PlainText, |content| Kept::Encrypted(content.into()));
        let model = self.context.upstream_model.as_str().into();
        let after = self.last_call.as_deref().map(Into::into);
        Envelope { model, after, phase, kept }.encode(&self.context.scope)
    }
}

/// A phase that we know (Q-M8).
fn phase(object: &OutputItem<'_>) -> Option<Phase> {
    object.phase().as_deref().and_then(Phase::of)
}

/// The arguments of a custom tool's call: its text in an object.
fn wrapped(input: &str) -> String {
    let mut json = String::with_capacity(input.len() + 12);
    json.push_str("{\"input\":\"");
    escape_into(input, &mut json);
    json.push_str("\"}");
    json
}
