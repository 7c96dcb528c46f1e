//! The figures as Markdown, each beside its target.

use std::fmt;

use super::load::{Outcome, Percentiles};
use super::measure::{Pair, median};
use super::workload::requests::Size;

pub struct Report {
    pub startup_ms: f64,
    /// KiB.
    pub idle_rss: u64,
    pub latencies: [Latency; 3],
    pub rates: [Rate; 3],
    /// Seconds.
    pub cpu_per_1000: f64,
    pub events_direct: f64,
    pub events_through: f64,
    pub held: [Held; 4],
}

/// What the gateway adds, in ms, at one request at a time.
pub struct Latency {
    name: &'static str,
    first_byte: Percentiles,
    first_delta: Percentiles,
    total: Percentiles,
    direct_total: f64,
}

/// Requests per second.
pub struct Rate {
    concurrency: usize,
    pub direct: f64,
    pub through: f64,
}

/// Resident memory in KiB before the streams, while they are open, right after their end, and later.
pub struct Held {
    pub size: Size,
    pub streams: usize,
    pub before: u64,
    pub open: u64,
    pub ended: u64,
    pub later: u64,
}

impl Latency {
    pub fn of(name: &'static str, pairs: &[Pair]) -> Self {
        let added = |which: fn(&Outcome) -> Percentiles| Percentiles {
            p50: added(pairs, |outcome| which(outcome).p50),
            p99: added(pairs, |outcome| which(outcome).p99),
        };
        Self {
            name,
            first_byte: added(|outcome| outcome.first_byte),
            first_delta: added(|outcome| outcome.first_delta),
            total: added(|outcome| outcome.total),
            direct_total: median(pairs.iter().map(|pair| pair.direct.total.p50 / 1e3).collect()),
        }
    }
}

fn added(pairs: &[Pair], which: impl Fn(&Outcome) -> f64) -> f64 {
    let of = |outcomes: Vec<f64>| median(outcomes) / 1e3;
    of(pairs.iter().map(|pair| which(&pair.through)).collect())
        - of(pairs.iter().map(|pair| which(&pair.direct)).collect())
}

impl Rate {
    pub fn of(concurrency: usize, pairs: &[Pair]) -> Self {
        Self {
            concurrency,
            direct: median(pairs.iter().map(|pair| pair.direct.requests_per_second).collect()),
            through: median(pairs.iter().map(|pair| pair.through.requests_per_second).collect()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | target |\n|---|---|---|")?;
        self.latencies.iter().try_for_each(|latency| latency.rows(f))?;
        self.rates.iter().try_for_each(|rate| rate.row(f))?;
        let (through, direct) = (self.events_through, self.events_direct);
        writeln!(
            f,
            "| text deltas per second, 10 in a write, 16 at once | {through:.0} (direct {direct:.0}) | ≥ 400000 |"
        )?;
        writeln!(f, "| CPU of the service per 1000 requests of 85 KB | {:.3} s | ≤ 0.3 s |", self.cpu_per_1000)?;
        writeln!(f, "| start to the first gateway ready | {:.1} ms | ≤ 50 ms |", self.startup_ms)?;
        writeln!(f, "| memory, idle with two gateways | {} | ≤ 15 MB |", megabytes(self.idle_rss))?;
        self.held.iter().try_for_each(|held| held.rows(f))
    }
}

impl Latency {
    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.name {
            "85 KB" => "≤ 0.4 / ≤ 2 ms",
            "1 MB" => "≤ 4 ms / –",
            _ => "–",
        };
        let rows = [("first byte", self.first_byte), ("first delta", self.first_delta)];
        for (what, Percentiles { p50, p99 }) in rows {
            writeln!(f, "| added to the {what}, {}, p50 / p99 | {p50:.2} / {p99:.2} ms | {target} |", self.name)?;
        }
        let (Percentiles { p50, p99 }, direct) = (self.total, self.direct_total);
        writeln!(
            f,
            "| added to the whole of 50 deltas, {}, p50 / p99 | {p50:.2} / {p99:.2} ms (direct {direct:.2} ms) | – |",
            self.name
        )
    }
}

impl Rate {
    fn row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { concurrency, direct, through } = self;
        let share = 100.0 * through / direct;
        let target = if *concurrency == 16 { "≥ 50 %" } else { "–" };
        writeln!(
            f,
            "| requests per second, 85 KB, {concurrency} at once | {through:.0} (direct {direct:.0}): {share:.0} % | {target} |"
        )
    }
}

impl Held {
    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, target) = match self.size {
            Size::Small => ("2 KB", "≤ 60 KB"),
            Size::Session => ("85 KB", "≤ 160 KB"),
            Size::Conversation => ("1 MB", "–"),
        };
        let Self { streams, before, open, ended, later, .. } = self;
        let each = (open - before) as f64 / *streams as f64;
        writeln!(f, "| memory per stream, {streams} slow ones, {size} | {each:.0} KB | {target} |")?;
        let [before, open, ended, later] = [before, open, ended, later].map(|kib| megabytes(*kib));
        writeln!(
            f,
            "| … before, open, 2 s and 37 s after their end | {before}, {open}, {ended}, {later} | given back |"
        )
    }
}

fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 / 1024.0)
}
