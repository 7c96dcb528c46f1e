//! Stop sequences, which the Responses API does not have (WIRE.md §2.9).
//!
//! The filter stands between the text and the client. It holds back the longest end of the text that may become a stop
//! sequence, and decides at the character that completes one, so any split of the text gives the same answer.

/// What may be written after a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filtered {
    /// The rest is held back.
    Text(String),
    /// The text before the stop sequence, which ends the message.
    Stopped { text: String, sequence: String },
}

#[derive(Debug)]
pub(super) struct StopFilter {
    sequences: Vec<String>,
    held: String,
}

impl StopFilter {
    pub(super) fn new(sequences: &[String]) -> Self {
        let sequences = sequences.iter().filter(|sequence| !sequence.is_empty()).cloned().collect();
        Self { sequences, held: String::new() }
    }

    /// With no sequences the text need not pass here at all.
    pub(super) fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(super) fn push(&mut self, text: &str) -> Filtered {
        self.held.push_str(text);
        if let Some((start, sequence)) = self.first_match() {
            let sequence = sequence.to_owned();
            self.held.truncate(start);
            return Filtered::Stopped { text: std::mem::take(&mut self.held), sequence };
        }
        let kept = self.held.len() - self.longest_beginning();
        let held = self.held.split_off(kept);
        Filtered::Text(std::mem::replace(&mut self.held, held))
    }

    /// What was held back, when the text is over.
    pub(super) fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The match that ends first; of those that end together, the longest.
    fn first_match(&self) -> Option<(usize, &str)> {
        let matches = self.sequences.iter().filter_map(|sequence| Some((self.held.find(sequence)?, sequence.as_str())));
        matches.min_by_key(|(start, sequence)| (start + sequence.len(), *start))
    }

    /// Bytes at the end of the text that begin a stop sequence.
    fn longest_beginning(&self) -> usize {
        let beginning = |sequence: &String| {
            let lengths = (1..sequence.len()).rev().filter(|length| sequence.is_char_boundary(*length));
            lengths.into_iter().find(|length| self.held.ends_with(&sequence[..*length])).unwrap_or(0)
        };
        self.sequences.iter().map(beginning).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sequences: &[&str], text: &str, split: usize) -> (String, Option<String>) {
        let sequences: Vec<String> = sequences.iter().map(|s| (*s).to_owned()).collect();
        let mut filter = StopFilter::new(&sequences);
        let mut seen = String::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(split) {
            match filter.push(&piece.iter().collect::<String>()) {
                Filtered::Text(text) => seen.push_str(&text),
                Filtered::Stopped { text, sequence } => return (seen + &text, Some(sequence)),
            }
        }
        (seen + &filter.flush(), None)
    }

    #[test]
    fn any_split_stops_at_the_same_place() {
        let cases: &[(&[&str], &str, &str, Option<&str>)] = &[
            (&["</block>"], "yes</block>more", "yes", Some("</block>")),
            (&["</block>"], "</block>", "", Some("</block>")),
            (&["</block>"], "a</bloc", "a</bloc", None),
            (&["ab", "abc"], "xabc", "x", Some("ab")),
            (&["xabc", "ab"], "xabd", "x", Some("ab")),
            (&["bc", "abc"], "xabcd", "x", Some("abc")),
            (&["aab"], "aaab", "a", Some("aab")),
            (&["\u{1f600}x"], "a\u{1f600}\u{1f600}xb", "a\u{1f600}", Some("\u{1f600}x")),
            (&[""], "abc", "abc", None),
        ];
        for (sequences, text, wanted, stop) in cases {
            for split in [1, 2, 3, 100] {
                let (seen, sequence) = run(sequences, text, split);
                assert_eq!((seen.as_str(), sequence.as_deref()), (*wanted, *stop), "{text} by {split}");
            }
        }
    }
}
