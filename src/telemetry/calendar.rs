//! Points in time as people and programs write them: RFC 3339 in UTC, and the day a log file holds. Pure arithmetic on
//! the proleptic Gregorian calendar; reads no clock and knows no time zone.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Days in 400 years, after which the Gregorian calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;

/// From 0000-03-01, where the arithmetic begins, to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;

/// A UTC day, counted from 1970-01-01. Shown as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(u64);

impl Day {
    /// The day of a point in time; a clock set before 1970 reads as the first day.
    pub(super) fn of(time: SystemTime) -> Self {
        Self(since_1970(time).as_secs() / DAY.as_secs())
    }

    /// The day's first moment.
    pub(super) fn start(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0 * DAY.as_secs())
    }

    /// The first moment after the day.
    pub(super) fn end(self) -> SystemTime {
        self.start() + DAY
    }

    /// Reads what `Display` writes, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let mut number = |digits: usize| -> Option<u64> {
            let part = parts.next()?;
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        };
        let (year, month, day_of_month) = (number(4)?, number(2)?, number(2)?);
        let day = Self::from_date(year, month, day_of_month)?;
        (day.date() == (year, month, day_of_month)).then_some(day)
    }

    /// Counts in years that begin in March, so that a leap day comes last.
    fn from_date(year: u64, month: u64, day_of_month: u64) -> Option<Self> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day_of_month) {
            return None;
        }
        let year = year.checked_sub(u64::from(month <= 2))?;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day_of_month - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * DAYS_PER_ERA + day_of_era).checked_sub(DAYS_BEFORE_1970).map(Self)
    }

    /// Year, month and day of the month, the inverse of `from_date`.
    fn date(self) -> (u64, u64, u64) {
        let days = self.0 + DAYS_BEFORE_1970;
        let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day_of_month) = self.date();
        write!(f, "{year:04}-{month:02}-{day_of_month:02}")
    }
}

/// A point in time, shown as RFC 3339 in UTC with milliseconds: `2026-03-01T09:05:07.042Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timestamp(pub(super) SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", Day::of(self.0), TimeOfDay(self.0))
    }
}

/// The time within the UTC day with milliseconds: `09:05:07.042Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOfDay(pub(super) SystemTime);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elapsed = since_1970(self.0);
        let seconds = elapsed.as_secs() % DAY.as_secs();
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:03}Z", elapsed.subsec_millis())
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_in_utc_with_milliseconds() {
        for (milliseconds, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_772_355_907_042, "2026-03-01T09:05:07.042Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            assert_eq!(Timestamp(time).to_string(), written);
        }
    }

    #[test]
    fn every_day_reads_back_as_written() {
        for days in 0..60_000 {
            assert_eq!(Day::parse(&Day(days).to_string()), Some(Day(days)));
        }
    }

    #[test]
    fn other_texts_are_no_day() {
        for text in
            ["", "2026-02-30", "2026-13-01", "2026-1-01", "2026-01-01.gz", "+026-01-01", "1969-12-31", "0000-01-01"]
        {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
