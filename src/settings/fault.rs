//! What is wrong with a config file, and where: faults carry a line and a column, and name the nearest known word.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong (or, among warnings, worth a look). Prints as `file:line:column: message` and never contains
/// a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The config file; for a fault of the environment, the variable's name.
    pub file: PathBuf,
    /// Counted from 1; 0 if the fault has no place in the text.
    pub line: usize,
    /// In characters, counted from 1; 0 if the fault has no place in the text.
    pub column: usize,
    pub message: String,
}

impl Fault {
    /// A fault of the whole file, or of an environment variable.
    pub fn whole(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, message: message.into() }
    }

    /// A fault at a byte offset of the file's text.
    pub(super) fn at(file: &Path, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = line_and_column(text, offset);
        Self { file: file.to_owned(), line, column, message: message.into() }
    }
}

/// In the order of the text; those without a place come first.
pub(super) fn sort(faults: &mut [Fault]) {
    faults.sort_by(|a, b| (a.line, a.column, &a.file, &a.message).cmp(&(b.line, b.column, &b.file, &b.message)));
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}: {}", self.file.display(), self.message),
            (line, column) => write!(f, "{}:{line}:{column}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for Fault {}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

const LONGEST_COMPARED_BYTES: usize = 64;

/// "did you mean" when one of `known` is close enough to be a slip of the hand, else the whole list.
pub(super) fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    // No name of ours or of a backend is longer; a megabyte typed as a key is not worth comparing.
    if typed.len() > LONGEST_COMPARED_BYTES {
        return format!("known: {}", backticked(known));
    }
    let close_enough = (typed.chars().count() / 3).max(1);
    let closest = known.iter().map(|name| (edits(typed, name), *name)).min();
    match closest {
        Some((distance, name)) if distance <= close_enough => format!("did you mean `{name}`?"),
        Some(_) => format!("known: {}", backticked(known)),
        None => "there is none".to_owned(),
    }
}

pub(super) fn backticked<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// How many insertions, deletions, replacements and swaps of neighbours turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // `distance[i][j]`: between the first i letters of one and the first j of the other.
    let mut distance = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            distance[i][j] = match (i, j) {
                (0, letters) | (letters, 0) => letters,
                _ => {
                    let replaced = distance[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                    let swaps = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                    let swapped = if swaps { distance[i - 2][j - 2] + 1 } else { usize::MAX };
                    replaced.min(swapped).min(distance[i - 1][j] + 1).min(distance[i][j - 1] + 1)
                }
            };
        }
    }
    distance[from.len()][to.len()]
}
