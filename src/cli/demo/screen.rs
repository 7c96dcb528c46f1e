//! How the demo looks: labelled paragraphs that grow while their text streams, colour on a terminal only.
//!
//! It writes each piece at once and knows nothing of where the pieces come from.

use std::io::{self, IsTerminal, Write};

/// Columns of the labels.
const MARGIN: usize = 12;
/// Columns of a line: no terminal has fewer.
const WIDTH: usize = 78;

/// Whose words a paragraph holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// What the demo says of itself.
    Stage,
    Person,
    Thinking,
    Model,
    ToolCall,
    ToolResult,
    ToolError,
}

impl Voice {
    fn label(self) -> &'static str {
        match self {
            Voice::Stage => "",
            Voice::Person => "you",
            Voice::Thinking => "thinking",
            Voice::Model => "model",
            Voice::ToolCall => "tool call",
            Voice::ToolResult => "result",
            Voice::ToolError => "error",
        }
    }

    /// SGR parameters of the label and of the text; empty: plain.
    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Voice::Stage => ("2", "2"),
            Voice::Person => ("1;34", "1"),
            Voice::Thinking => ("2", "2;3"),
            Voice::Model => ("1;36", ""),
            Voice::ToolCall => ("1;33", "33"),
            Voice::ToolResult => ("1;32", "32"),
            Voice::ToolError => ("1;31", "31"),
        }
    }
}

pub struct Screen<W> {
    out: W,
    colour: bool,
    column: usize,
    /// Spaces that wait for the word behind them: none is left at the end of a line.
    gap: usize,
    voice: Option<Voice>,
}

impl Screen<io::Stdout> {
    pub fn of_process() -> Self {
        let out = io::stdout();
        // https://no-color.org: set and not empty means no colour.
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::new(out, colour)
    }
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, column: 0, gap: 0, voice: None }
    }

    /// A heading on a line of its own.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.end()?;
        let text = self.painted("1", text);
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A line with a name in the margin.
    pub fn line(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.end()?;
        let name = self.painted("36", &format!("{name:<width$}", width = MARGIN - 2));
        writeln!(self.out, "  {name}{text}")?;
        self.out.flush()
    }

    /// Lines as they are.
    pub fn plain(&mut self, text: &str) -> io::Result<()> {
        self.end()?;
        write!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A whole paragraph.
    pub fn say(&mut self, voice: Voice, text: &str) -> io::Result<()> {
        self.end()?;
        self.stream(voice, text)?;
        self.end()
    }

    /// The next piece of a paragraph, which begins where another voice spoke before. Lines break between words.
    pub fn stream(&mut self, voice: Voice, piece: &str) -> io::Result<()> {
        if self.voice != Some(voice) {
            self.begin(voice)?;
        }
        for line in piece.split_inclusive('\n') {
            for word in line.trim_end_matches('\n').split_inclusive(' ') {
                self.word(word)?;
            }
            if line.ends_with('\n') {
                self.break_line()?;
            }
        }
        self.out.flush()
    }

    /// Ends the paragraph, if one is open, with an empty line.
    pub fn end(&mut self) -> io::Result<()> {
        if self.voice.take().is_some() {
            let reset = if self.colour { "\x1b[0m" } else { "" };
            write!(self.out, "{reset}\n\n")?;
        }
        self.out.flush()
    }

    fn begin(&mut self, voice: Voice) -> io::Result<()> {
        self.end()?;
        let (of_label, of_text) = voice.colours();
        let label = self.painted(of_label, &format!("{:<MARGIN$}", voice.label()));
        let opened = if self.colour && !of_text.is_empty() { format!("\x1b[{of_text}m") } else { String::new() };
        write!(self.out, "{label}{opened}")?;
        (self.column, self.gap) = (MARGIN, 0);
        self.voice = Some(voice);
        Ok(())
    }

    /// What steers a terminal is no text and is left out.
    fn word(&mut self, word: &str) -> io::Result<()> {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        let text = word.trim_end_matches(' ');
        let columns = text.chars().count();
        if columns > 0 {
            if self.column > MARGIN && self.column + self.gap + columns > WIDTH {
                self.break_line()?;
            }
            write!(self.out, "{:gap$}{text}", "", gap = self.gap)?;
            self.column += self.gap + columns;
            self.gap = 0;
        }
        self.gap += word.len() - text.len();
        Ok(())
    }

    fn break_line(&mut self) -> io::Result<()> {
        (self.column, self.gap) = (MARGIN, 0);
        write!(self.out, "\n{:MARGIN$}", "")
    }

    fn painted(&self, colours: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colours}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(colour: bool, act: impl Fn(&mut Screen<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        act(&mut Screen::new(&mut bytes, colour)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pieces_of_one_voice_are_one_paragraph() {
        let text = shown(false, |screen| {
            screen.stream(Voice::Thinking, "I ")?;
            screen.stream(Voice::Thinking, "think.")?;
            screen.stream(Voice::Model, "Two\n")?;
            screen.stream(Voice::Model, "lines.")?;
            screen.end()
        });
        assert_eq!(text, "thinking    I think.\n\nmodel       Two\n            lines.\n\n");
    }

    #[test]
    fn lines_break_between_words() {
        let text = shown(false, |screen| screen.say(Voice::Model, &"word ".repeat(40)));
        let lines: Vec<_> = text.trim_end().lines().collect();
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn nothing_but_our_own_colours_steers_the_terminal() {
        let text = shown(false, |screen| screen.say(Voice::ToolResult, "a\x1b[31mb\x07"));
        assert_eq!(text, "result      a[31mb\n\n");
        let text = shown(true, |screen| screen.say(Voice::ToolResult, "a"));
        assert!(text.contains("\x1b[32ma\x1b[0m"), "{text:?}");
    }
}
