//! The blocks of a message as the client sees them: dense indexes, one open at a time (WIRE.md R-W3).
//!
//! ```text
//!            open_*            delta…            close
//!   None ───────────────▶ Text │ Thinking │ ToolUse ───────▶ None (next index)
//! ```
//! It knows which item owns the open block and how much has been written; when to open and close is the machine's.

use super::items::Key;
use super::search::Search;
use super::stop_sequences::{Filtered, StopFilter};
use crate::providers::anthropic::events::EventWriter;
use crate::providers::escaped::escape_into;

/// The open block and the item that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenBlock {
    None,
    Text(Key),
    Thinking(Key),
    ToolUse(Key),
}

#[derive(Debug)]
pub(super) struct Blocks {
    open: OpenBlock,
    index: u64,
    /// UTF-8 bytes of text, thinking and arguments (R-U5).
    written_bytes: u64,
    stop_filter: StopFilter,
    escaped: String,
}

impl Blocks {
    pub(super) fn new(stop_sequences: &[String]) -> Self {
        Self {
            open: OpenBlock::None,
            index: 0,
            written_bytes: 0,
            stop_filter: StopFilter::new(stop_sequences),
            escaped: String::new(),
        }
    }

    pub(super) fn open(&self) -> OpenBlock {
        self.open
    }

    /// Some block has reached its stop: the client has counted it as received (R-X1).
    pub(super) fn any_closed(&self) -> bool {
        self.index > 0
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    pub(super) fn open_text(&mut self, key: Key, out: &mut EventWriter) {
        out.text_start(self.index);
        self.open = OpenBlock::Text(key);
    }

    pub(super) fn open_thinking(&mut self, key: Key, out: &mut EventWriter) {
        out.thinking_start(self.index);
        self.open = OpenBlock::Thinking(key);
    }

    pub(super) fn open_tool_use(&mut self, key: Key, id: &str, name: &str, out: &mut EventWriter) {
        out.tool_use_start(self.index, id, name);
        self.open = OpenBlock::ToolUse(key);
    }

    /// Text in the open text block. Yields the stop sequence that it completed.
    pub(super) fn text(&mut self, text: &str, out: &mut EventWriter) -> Option<String> {
        if self.stop_filter.is_idle() {
            self.write(text, out);
            return None;
        }
        match self.stop_filter.push(text) {
            Filtered::Text(text) => {
                self.write(&text, out);
                None
            }
            Filtered::Stopped { text, sequence } => {
                self.write(&text, out);
                Some(sequence)
            }
        }
    }

    /// Whether text may go out as it came: nothing needs to see it first.
    pub(super) fn takes_spliced_text(&self) -> bool {
        self.stop_filter.is_idle()
    }

    /// A delta in the open block as it came from the upstream: the inside of a JSON string that means `bytes` bytes.
    pub(super) fn splice(&mut self, escaped: &str, bytes: usize, out: &mut EventWriter) {
        self.written_bytes += bytes as u64;
        match self.open {
            OpenBlock::Text(_) => out.text_delta(self.index, escaped),
            OpenBlock::Thinking(_) => out.thinking_delta(self.index, escaped),
            OpenBlock::ToolUse(_) => out.input_json_delta(self.index, escaped),
            OpenBlock::None => {}
        }
    }

    /// A delta in the open block, past the stop sequences.
    pub(super) fn write(&mut self, text: &str, out: &mut EventWriter) {
        if text.is_empty() {
            return;
        }
        let mut escaped = std::mem::take(&mut self.escaped);
        escaped.clear();
        escape_into(text, &mut escaped);
        self.splice(&escaped, text.len(), out);
        self.escaped = escaped;
    }

    /// Closes whatever is open; a thinking block through [`Blocks::close_thinking`].
    pub(super) fn close(&mut self, out: &mut EventWriter) {
        if matches!(self.open, OpenBlock::Text(_)) {
            let held = self.stop_filter.flush();
            self.write(&held, out);
        }
        if self.open != OpenBlock::None {
            self.open = OpenBlock::None;
            self.stop(out);
        }
    }

    /// One signature, directly before the stop (R-C2).
    pub(super) fn close_thinking(&mut self, signature: &str, out: &mut EventWriter) {
        out.signature_delta(self.index, signature);
        self.close(out);
    }

    /// The two blocks of a finished search.
    pub(super) fn search(&mut self, id: &str, search: &Search, out: &mut EventWriter) {
        let mut input = String::new();
        escape_into(&search.input(), &mut input);
        out.server_tool_use_start(self.index, id, "web_search");
        out.input_json_delta(self.index, &input);
        self.stop(out);
        out.search_result_start(self.index, id, search.results.as_deref());
        self.stop(out);
    }

    /// R-K2: something the client's idle watchdog sees and nobody reads.
    pub(super) fn keep_alive(&mut self, out: &mut EventWriter) {
        match self.open {
            OpenBlock::None => out.null_delta(),
            OpenBlock::Text(_) | OpenBlock::Thinking(_) | OpenBlock::ToolUse(_) => self.splice("", 0, out),
        }
    }

    fn stop(&mut self, out: &mut EventWriter) {
        out.block_stop(self.index);
        self.index += 1;
    }
}
