//! The state machine of WIRE.md §2.4: Responses events in, Anthropic events out.
//!
//! Items arrive interleaved, blocks leave one after the other. The machine keeps a queue of the items that have not had
//! their turn; the first one owns the stream (the ACTIVE rule), what comes for the others waits in the item. Text and
//! thinking blocks stay open until another block opens (LAZY CLOSE), a tool's until its item is done. [`intake`] puts
//! what came into the items, [`turns`] writes what may leave.
//!
//! ```text
//!   added ──▶ queued ──▶ has the turn ──▶ settled        (late text of a settled message opens a block of its own)
//!                 ▲            │
//!                 └────────────┘ a lower output index may take the turn back from text
//! ```

mod intake;
mod turns;

use super::blocks::Blocks;
use super::ids::{self, CallIds};
use super::items::{Items, Key, Source};
use super::search::Citations;
use super::stop_reason::{Seen, stop_reason};
use super::usage::usage;
use crate::providers::anthropic::events::{Ending, EventWriter, MessageStart, StopReason, Usage};
use crate::providers::openai::wire::events::{EventKind, ItemType, Response, StreamEvent};
use crate::providers::translate::ReplyContext;

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
    /// An event has come that is no lifecycle and no metadata.
    begun: bool,
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
            begun: false,
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

    pub(super) fn begun(&self) -> bool {
        self.begun
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
        self.begun = true;
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
}
