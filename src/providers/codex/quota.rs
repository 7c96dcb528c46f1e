//! How much of a ChatGPT plan is used (CODEX.md §5.3): from response headers, from `codex.rate_limits` events, or from
//! `GET /wham/usage`.
//!
//! "Primary" and "secondary" say nothing about a window's length, so windows are named by their minutes.

use std::fmt;

use super::wire::{RateLimitsEvent, Usage, Window};
use crate::providers::utc;

/// The state of a plan. Displayed as one line for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanQuota {
    pub plan: Option<String>,
    /// Shortest first.
    pub windows: Vec<QuotaWindow>,
    pub limit_reached: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QuotaWindow {
    pub minutes: u64,
    /// 0 to 100, or above.
    pub used_percent: f64,
    /// Unix seconds.
    pub resets_at: Option<u64>,
}

impl PlanQuota {
    /// From the headers of a response, whatever its status; nothing if they tell of no window.
    pub fn of_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let number = |name: &str| header(name)?.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        let whole = |name: &str| header(name)?.trim().parse::<u64>().ok();
        let window = |place: &str| {
            Some(QuotaWindow {
                minutes: whole(&format!("x-codex-{place}-window-minutes"))?,
                used_percent: number(&format!("x-codex-{place}-used-percent"))?,
                resets_at: whole(&format!("x-codex-{place}-reset-at")),
            })
        };
        let plan = header("x-codex-plan-type").map(str::to_owned);
        let reached = header("x-codex-rate-limit-reached-type").is_some_and(|kind| !kind.is_empty());
        Self::of([window("primary"), window("secondary")], plan, Some(reached))
    }

    /// From the JSON of a `codex.rate_limits` event.
    pub fn of_event(json: &str) -> Option<Self> {
        let event: RateLimitsEvent = serde_json::from_str(json).ok()?;
        let limits = event.rate_limits?;
        Self::of([limits.primary, limits.secondary].map(read), event.plan_type, limits.limit_reached)
    }

    /// From the answer of `GET /wham/usage`.
    pub fn of_usage(body: &[u8]) -> Option<Self> {
        let usage: Usage = serde_json::from_slice(body).ok()?;
        let limits = usage.rate_limit?;
        Self::of([limits.primary_window, limits.secondary_window].map(read), usage.plan_type, limits.limit_reached)
    }

    fn of(windows: [Option<QuotaWindow>; 2], plan: Option<String>, limit_reached: Option<bool>) -> Option<Self> {
        let mut windows: Vec<QuotaWindow> = windows.into_iter().flatten().filter(|window| window.minutes > 0).collect();
        windows.sort_by_key(|window| window.minutes);
        let plan = plan.filter(|plan| !plan.is_empty());
        (!windows.is_empty()).then_some(Self { plan, windows, limit_reached: limit_reached.unwrap_or(false) })
    }

    /// Whether a person would want to hear of it after `before`: another plan, another window, a tenth more or less
    /// of one, a limit reached or lifted.
    pub fn is_news_after(&self, before: &Self) -> bool {
        let tenths = |quota: &Self| -> Vec<(u64, i64)> {
            quota.windows.iter().map(|window| (window.minutes, (window.used_percent / 10.0).floor() as i64)).collect()
        };
        self.plan != before.plan || self.limit_reached != before.limit_reached || tenths(self) != tenths(before)
    }
}

impl QuotaWindow {
    /// `5 h`, `week`, `3 days`, `90 min`.
    pub fn name(&self) -> String {
        match self.minutes {
            10_080 => "week".to_owned(),
            minutes if minutes % 1440 == 0 => format!("{} days", minutes / 1440),
            minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
            minutes => format!("{minutes} min"),
        }
    }
}

impl fmt::Display for PlanQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plan) = &self.plan {
            write!(f, "{plan}: ")?;
        }
        for (index, window) in self.windows.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {:.0} %", window.name(), window.used_percent)?;
            if let Some(resets_at) = window.resets_at {
                write!(f, " (resets {})", utc::minute(resets_at))?;
            }
        }
        if self.limit_reached {
            f.write_str(", limit reached")?;
        }
        Ok(())
    }
}

fn read(window: Option<Window>) -> Option<QuotaWindow> {
    let window = window?;
    Some(QuotaWindow {
        minutes: window.window_minutes.or(window.limit_window_seconds.map(|seconds| seconds / 60))?,
        used_percent: window.used_percent?,
        resets_at: window.reset_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        let path = format!("{}/tests/fixtures/codex/responses/{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    fn headers() -> std::collections::HashMap<String, String> {
        serde_json::from_str(&fixture("rate_limit_headers")).unwrap()
    }

    fn of_headers(headers: &std::collections::HashMap<String, String>) -> Option<PlanQuota> {
        PlanQuota::of_headers(|name| headers.get(name).map(String::as_str))
    }

    const EVENT: &str = r#"{"type": "codex.rate_limits", "plan_type": "pro", "rate_limits": {"limit_reached": false,
        "primary": {"used_percent": 40, "window_minutes": 10080, "reset_at": 1795900000},
        "secondary": {"used_percent": 12, "window_minutes": 300, "reset_at": 1795430000}}, "promo": null}"#;

    #[test]
    fn headers_event_and_usage_tell_the_same() {
        let of_event = PlanQuota::of_event(EVENT).unwrap();
        assert_eq!(PlanQuota::of_usage(fixture("usage").as_bytes()).as_ref(), Some(&of_event));
        let mut of_headers = of_headers(&headers()).unwrap();
        of_headers.windows[0].used_percent = 12.0;
        assert_eq!(of_headers, of_event);
        assert_eq!(
            of_event.to_string(),
            "pro: 5 h 12 % (resets 2026-11-23 10:33 UTC), week 40 % (resets 2026-11-28 21:06 UTC)"
        );
    }

    #[test]
    fn windows_are_known_by_their_length_not_by_their_place() {
        let minutes = |quota: &PlanQuota| quota.windows.iter().map(|window| window.minutes).collect::<Vec<_>>();
        assert_eq!(minutes(&PlanQuota::of_event(EVENT).unwrap()), [300, 10_080]);
        let name = |minutes| QuotaWindow { minutes, used_percent: 0.0, resets_at: None }.name();
        assert_eq!([300, 10_080, 4320, 90].map(name), ["5 h", "week", "3 days", "90 min"]);
    }

    #[test]
    fn what_tells_of_no_window_is_no_quota() {
        assert_eq!(PlanQuota::of_headers(|_| None), None);
        for json in ["", "{}", r#"{"rate_limits": {}}"#, r#"{"plan_type": "pro", "rate_limits": null}"#] {
            assert_eq!(PlanQuota::of_event(json), None, "{json}");
        }
        let mut headers = headers();
        headers.insert("x-codex-primary-reset-at".to_owned(), String::new());
        headers.insert("x-codex-secondary-used-percent".to_owned(), "NaN".to_owned());
        let quota = of_headers(&headers).unwrap();
        assert_eq!(quota.windows, [QuotaWindow { minutes: 300, used_percent: 12.5, resets_at: None }]);
    }

    #[test]
    fn only_a_tenth_a_plan_or_a_limit_is_news() {
        let before = PlanQuota::of_event(EVENT).unwrap();
        let with = |change: fn(&mut PlanQuota)| {
            let mut after = before.clone();
            change(&mut after);
            after.is_news_after(&before)
        };
        assert!(!with(|quota| quota.windows[0].used_percent = 19.9));
        assert!(!with(|quota| quota.windows[0].resets_at = Some(1)));
        assert!(with(|quota| quota.windows[0].used_percent = 20.0));
        assert!(with(|quota| quota.limit_reached = true));
        assert!(with(|quota| quota.plan = Some("free".to_owned())));
        assert!(with(|quota| quota.windows.truncate(1)));
    }
}
