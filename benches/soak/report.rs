//! What a run came to, as Markdown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Faults that are kept in words.
const MOST_KEPT: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An answer that is not what was planned.
    Lost,
    /// Bytes of another answer in it.
    Mixed,
    NotConnected,
}

#[derive(Default)]
pub struct Tally {
    answers: BTreeMap<&'static str, u64>,
    faults: BTreeMap<Fault, u64>,
    words: Vec<String>,
}

pub struct Sample {
    pub at: Duration,
    pub rss_kib: u64,
    pub open_files: usize,
    pub requests: u64,
}

pub struct Report {
    pub length: Duration,
    pub clients: u64,
    pub edits: u64,
    pub tally: Tally,
    pub samples: Vec<Sample>,
    pub quiet: Sample,
    /// Log lines that should not be there.
    pub ended: Vec<String>,
}

impl Tally {
    pub fn count(&mut self, answer: &'static str) {
        *self.answers.entry(answer).or_default() += 1;
    }

    pub fn fault(&mut self, fault: Fault, words: &str) {
        *self.faults.entry(fault).or_default() += 1;
        if self.words.len() < MOST_KEPT {
            self.words.push(format!("{fault:?}: {words}"));
        }
    }

    pub fn requests(&self) -> u64 {
        self.answers.values().sum()
    }

    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn faults_of(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.length.as_secs_f64() / 60.0;
        writeln!(f, "{minutes} minutes, {} clients at once, {} edits of the config.\n", self.clients, self.edits)?;
        writeln!(f, "| answers | |\n|---|---|")?;
        for (answer, count) in &self.tally.answers {
            writeln!(f, "| {answer} | {count} |")?;
        }
        writeln!(f, "| all | {} |", self.tally.requests())?;
        writeln!(f, "| lost | {} |", self.tally.faults_of(Fault::Lost))?;
        writeln!(f, "| mixed | {} |", self.tally.faults_of(Fault::Mixed))?;
        writeln!(f, "| connections that were not made | {} |", self.tally.faults_of(Fault::NotConnected))?;
        writeln!(f, "| restarts, panics and warnings in the log | {} |\n", self.ended.len())?;
        writeln!(f, "| after | requests | RSS | open files |\n|---|---|---|---|")?;
        // About a dozen of them, the first and the last included.
        let step = (self.samples.len() / 12).max(1);
        let last = self.samples.len().saturating_sub(1);
        for (at, sample) in self.samples.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last) {
            writeln!(f, "{}", row(sample, if at == last { ", the last under load" } else { "" }))?;
        }
        writeln!(f, "{}", row(&self.quiet, ", in peace"))?;
        for words in self.tally.words.iter().chain(self.ended.iter().take(MOST_KEPT)) {
            writeln!(f, "\n    {words}")?;
        }
        Ok(())
    }
}

fn row(sample: &Sample, note: &str) -> String {
    let Sample { at, rss_kib, open_files, requests } = sample;
    format!("| {} s{note} | {requests} | {:.1} MB | {open_files} |", at.as_secs(), *rss_kib as f64 / 1024.0)
}
