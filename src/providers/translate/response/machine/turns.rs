//! What leaves: whose turn it is (the ACTIVE rule), and the blocks that items become.
//!
//! Text and thinking blocks stay open until another block opens (LAZY CLOSE), a tool's until its item is done. Calls and
//! thoughts cannot be opened twice, so they keep the turn; text may give it away and go on in a new block.

use super::{Machine, NAMELESS_TOOL};
use crate::providers::anthropic::events::{EventWriter, StopReason};
use crate::providers::escaped::escape_into;
use crate::providers::openai::wire::request::Phase;
use crate::providers::profile::ProfileKind;
use crate::providers::translate::envelope::{Envelope, Kept};
use crate::providers::translate::response::blocks::OpenBlock;
use crate::providers::translate::response::items::{Body, Key};
use crate::providers::translate::response::search::Search;
use crate::providers::translate::response::usage::usage;

impl Machine {
    /// The item that owns the stream.
    pub(super) fn turn(&self) -> Option<Key> {
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
    pub(super) fn pump(&mut self, out: &mut EventWriter) {
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
    pub(super) fn close_block(&mut self, phase: Option<Phase>, out: &mut EventWriter) {
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

/// The arguments of a custom tool's call: its text in an object.
fn wrapped(input: &str) -> String {
    let mut json = String::with_capacity(input.len() + 12);
    json.push_str("{\"input\":\"");
    escape_into(input, &mut json);
    json.push_str("\"}");
    json
}
