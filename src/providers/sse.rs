//! Server-sent events: the splitter for what comes, pure and incremental (WIRE.md §2.1).
//!
//! Works on bytes, since a chunk may end inside a character, a line or a `\r\n`. It knows fields and blank lines, never
//! what an event means, and reuses its buffers: in steady state an event costs no allocation.

/// The largest line, and the largest event, that is taken (R-P3): encrypted reasoning and images are large.
pub const MAX_EVENT_BYTES: usize = 64 << 20;

/// Buffers that grew beyond this are given back after the event.
const KEPT_CAPACITY: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event, borrowed from the [`Reader`] until its next call.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field; empty if there was none.
    pub name: &'a str,
    /// The `data:` lines, joined by line feeds.
    pub data: &'a [u8],
    /// The data is byte for byte that of the event before (R-P5).
    pub repeated: bool,
}

/// A line or an event above [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a byte stream into events: feed a chunk, then take events until there are none.
#[derive(Debug, Default)]
pub struct Reader {
    /// What was fed and is not yet split into lines, from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    /// Up to here the buffer holds no end of line, so that a line in many chunks is searched once.
    searched: usize,
    /// The last line ended in `\r` at the end of a chunk: a `\n` that follows belongs to it.
    after_carriage_return: bool,
    past_first_line: bool,
    data: Vec<u8>,
    has_data: bool,
    name: String,
    /// The event that was handed out last, and whether `data` still holds it.
    previous: Vec<u8>,
    handed_out: bool,
}

impl Reader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes as they came.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.taken);
        }
        self.searched = self.searched.saturating_sub(self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete event, if what was fed holds one.
    pub fn next_event(&mut self) -> Option<Result<Event<'_>, TooLong>> {
        self.forget_event();
        loop {
            let Some((start, end)) = self.take_line() else {
                let too_long = self.buffer.len() - self.taken + self.data.len() > MAX_EVENT_BYTES;
                return too_long.then_some(Err(TooLong));
            };
            if start == end {
                if self.has_data && !self.data.is_empty() {
                    return Some(Ok(self.hand_out()));
                }
                self.clear_fields();
            } else if self.field(start, end).is_err() {
                return Some(Err(TooLong));
            }
        }
    }

    /// The event that the end of the stream left without its blank line. Whether it is whole, its JSON must tell (R-P1).
    pub fn finish(&mut self) -> Option<Result<Event<'_>, TooLong>> {
        self.forget_event();
        let (start, end) = (self.taken, self.buffer.len());
        self.taken = end;
        self.searched = end;
        if self.field(start, end).is_err() {
            return Some(Err(TooLong));
        }
        (self.has_data && !self.data.is_empty()).then(|| Ok(self.hand_out()))
    }

    /// The bounds of the next line in the buffer, without its end.
    fn take_line(&mut self) -> Option<(usize, usize)> {
        if self.after_carriage_return && self.taken < self.buffer.len() {
            self.after_carriage_return = false;
            if self.buffer[self.taken] == b'\n' {
                self.taken += 1;
            }
        }
        let from = self.searched.max(self.taken);
        let Some(offset) = memchr::memchr2(b'\n', b'\r', &self.buffer[from..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let (start, end) = (self.taken, from + offset);
        self.after_carriage_return = self.buffer[end] == b'\r';
        self.taken = end + 1;
        self.searched = self.taken;
        Some((start, end))
    }

    fn field(&mut self, start: usize, end: usize) -> Result<(), TooLong> {
        let mut line = &self.buffer[start..end];
        if !self.past_first_line {
            self.past_first_line = true;
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() >= MAX_EVENT_BYTES {
                    return Err(TooLong);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.push_str(std::str::from_utf8(value).unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Event<'_> {
        self.handed_out = true;
        Event { name: &self.name, data: &self.data, repeated: self.data == self.previous }
    }

    fn forget_event(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            std::mem::swap(&mut self.data, &mut self.previous);
            if self.previous.capacity() > KEPT_CAPACITY {
                self.previous = Vec::new();
            }
            self.clear_fields();
        }
    }

    fn clear_fields(&mut self) {
        self.data.clear();
        self.has_data = false;
        self.name.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        let mut note = |event: Event<'_>| {
            seen.push((event.name.to_owned(), String::from_utf8_lossy(event.data).into_owned()));
        };
        for chunk in chunks {
            reader.feed(chunk);
            while let Some(event) = reader.next_event() {
                note(event.unwrap());
            }
        }
        if let Some(event) = reader.finish() {
            note(event.unwrap());
        }
        seen
    }

    #[test]
    fn r_p1_every_line_end_and_field_form_is_read() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("data: a\n\n", &[("", "a")]),
            ("data:a\r\n\r\n", &[("", "a")]),
            ("data:  a\r\r", &[("", " a")]),
            ("event: x\ndata: a\ndata: b\n\n", &[("x", "a\nb")]),
            ("\u{feff}data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]),
            (": comment\nid: 4\nretry: 9\ndata: a\n\n", &[("", "a")]),
            ("event: x\n\ndata: a\n\n", &[("", "a")]),
            ("data\n\ndata:\n\n", &[]),
            ("data: a", &[("", "a")]),
            ("data: a\n", &[("", "a")]),
            ("\n\n\r\n", &[]),
            ("data: a\r\n\r\ndata: b\r\r\ndata: c\n\r", &[("", "a"), ("", "b"), ("", "c")]),
            ("data: \u{1f600}\n\n", &[("", "\u{1f600}")]),
        ];
        for (stream, wanted) in cases {
            let wanted: Vec<_> = wanted.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect();
            for size in [1, 2, 3, 7, 1000] {
                let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
                assert_eq!(events(&chunks), wanted, "{stream:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn r_p3_a_line_above_the_cap_is_an_error_and_not_memory() {
        let mut reader = Reader::new();
        reader.feed(b"data: ");
        let chunk = vec![b'x'; 1 << 20];
        let mut result = None;
        for _ in 0..66 {
            reader.feed(&chunk);
            result = reader.next_event().map(|event| event.map(|_| ()));
            if result.is_some() {
                break;
            }
        }
        assert_eq!(result, Some(Err(TooLong)));
    }

    #[test]
    fn r_p5_the_same_bytes_twice_are_marked() {
        let mut reader = Reader::new();
        reader.feed(b"data: a\n\ndata: a\n\ndata: b\n\ndata: a\n\n");
        let mut marks = Vec::new();
        while let Some(Ok(event)) = reader.next_event() {
            marks.push(event.repeated);
        }
        assert_eq!(marks, [false, true, false, false]);
    }

    #[test]
    fn an_event_is_dispatched_at_its_carriage_return() {
        let mut reader = Reader::new();
        reader.feed(b"data: a\r\n\r");
        assert!(reader.next_event().is_some());
        reader.feed(b"\ndata: b\r\n\r");
        assert_eq!(reader.next_event().unwrap().unwrap().data, b"b");
    }
}
