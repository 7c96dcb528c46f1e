//! The lines of a child's output, each up to a cap: what is longer is skipped to its end, and the next line is read as
//! if nothing had been. The last line may lack its end; it may be half of one.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longer than any line of a real `claude` (a tool's output with images); a bound for a broken one.
pub const LONGEST_LINE_BYTES: usize = 64 * 1024 * 1024;

/// What stood there, without the line's end.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    Line(&'a [u8]),
    /// It had this many bytes.
    TooLong(usize),
    End,
}

pub struct Lines<R> {
    reader: R,
    cap: usize,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// `cap` in bytes, without the line's end.
    pub fn new(reader: R, cap: usize) -> Self {
        Self { reader, cap, line: Vec::new() }
    }

    /// The next line.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub async fn next(&mut self) -> io::Result<Taken<'_>> {
        self.line.clear();
        let mut length = 0;
        loop {
            let available = self.reader.fill_buf().await?;
            let is_end = available.is_empty();
            let newline = memchr::memchr(b'\n', available);
            let piece = &available[..newline.unwrap_or(available.len())];
            length += piece.len();
            if length <= self.cap {
                self.line.extend_from_slice(piece);
            }
            let taken = newline.map_or(available.len(), |at| at + 1);
            self.reader.consume(taken);
            if newline.is_some() || is_end {
                return Ok(self.taken(length, newline.is_none()));
            }
        }
    }

    fn taken(&mut self, length: usize, is_end: bool) -> Taken<'_> {
        if length > self.cap {
            // What one flood took is given back.
            self.line = Vec::new();
            return Taken::TooLong(length);
        }
        match is_end && length == 0 {
            true => Taken::End,
            false => Taken::Line(&self.line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &str, buffer: usize) -> Vec<String> {
        let reader = tokio::io::BufReader::with_capacity(buffer, text.as_bytes());
        let mut lines = Lines::new(reader, 5);
        let mut found = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                Taken::Line(line) => found.push(String::from_utf8_lossy(line).into_owned()),
                Taken::TooLong(length) => found.push(format!("({length})")),
                Taken::End => return found,
            }
        }
    }

    #[actix_rt::test]
    async fn lines_come_whole_whatever_the_chunks_and_a_long_one_is_skipped() {
        for (text, expected) in [
            ("", &[][..]),
            ("a\nbb\n", &["a", "bb"]),
            ("a\n\nb", &["a", "", "b"]),
            ("12345\n123456\nok\n", &["12345", "(6)", "ok"]),
            ("half", &["half"]),
            ("too-long-and-half", &["(17)"]),
        ] {
            for buffer in [1, 2, 3, 64] {
                assert_eq!(all(text, buffer).await, expected, "{text:?} by {buffer}");
            }
        }
    }
}
