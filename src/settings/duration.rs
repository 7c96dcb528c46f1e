//! Durations as the config writes them: a whole number and a unit.

use std::time::Duration;

/// Units with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `"250ms"`, `"10s"`, `"5m"`, `"2h"`, `"30d"`; anything above zero. `None` for every other text.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let total_ms = number.parse::<u64>().ok()?.checked_mul(*unit_ms)?;
    (total_ms > 0).then(|| Duration::from_millis(total_ms))
}
