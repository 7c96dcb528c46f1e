//! Facts about models: which efforts they take, whether they reason, how large their window is (WIRE.md §1.4b).
//!
//! A model that is listed nowhere gets the facts of its profile's unknown model, never a guess from its host.

use serde::{Deserialize, Serialize};

use crate::ids::ModelId;
use crate::providers::digest::sha256_hex;
use crate::providers::profile::{Profile, ProfileKind};

/// The effort levels of both vendors, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub const ALL: [Effort; 7] =
        [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];

    /// The effort of that name, if there is one.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

/// A model of a backend's list: discovered, from the Codex catalogue, or written in the config.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelEntry {
    pub id: ModelId,
    pub display_name: String,
    /// Tokens of input and output together, as the upstream states it.
    pub context_window: Option<u64>,
    /// In the catalogue, but not meant for a picker.
    pub hidden: bool,
    /// The catalogue's own effort list; empty: the family table of this module decides.
    pub efforts: Vec<Effort>,
    /// `service_tier: "priority"` is on offer (Codex catalogue).
    pub fast_tier: bool,
    /// The Codex catalogue's `use_responses_lite`.
    pub lite: bool,
}

/// When `temperature` and `top_p` may be sent (Q-P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    Always,
    /// gpt-5.1 and later, while they do not reason.
    WithEffortNone,
    Never,
}

/// What the translation must know about one model of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    pub id: ModelId,
    /// Accepted `reasoning.effort`, weakest first; empty: `reasoning` is not sent.
    pub efforts: Vec<Effort>,
    /// Whether the model reasons, as far as we know.
    pub reasons: bool,
    /// Whether assistant messages carry `phase` (Q-M8).
    pub phase: bool,
    /// Whether `reasoning.summary` may be sent (Q-E6).
    pub summary: bool,
    pub sampling: Sampling,
    /// Tokens of input and output together.
    pub context_window: Option<u64>,
    /// Tokens.
    pub max_output: Option<u64>,
    /// `service_tier: "priority"` may be sent (Q-P11).
    pub fast_tier: bool,
    /// The Codex catalogue says `use_responses_lite`.
    pub lite: bool,
}

impl ModelFacts {
    /// The facts of `id` on an upstream of `profile`, with what the backend's model list says of it.
    pub fn of(id: &ModelId, profile: &Profile, entry: Option<&ModelEntry>) -> Self {
        let facts = match profile.kind {
            ProfileKind::OpenAi => Self { fast_tier: true, ..Self::of_vendor(id) },
            ProfileKind::Codex => Self::of_codex(id, entry),
            ProfileKind::Custom => Self::of_custom(id, profile),
        };
        let listed_window = entry.and_then(|entry| entry.context_window);
        Self {
            context_window: listed_window.or(facts.context_window),
            lite: entry.is_some_and(|entry| entry.lite),
            ..facts
        }
    }

    fn of_vendor(id: &ModelId) -> Self {
        let family = Family::of(id.as_str());
        let efforts = family.efforts().to_vec();
        let reasons = !efforts.is_empty();
        let sampling = match (reasons, efforts.first()) {
            (false, _) => Sampling::Always,
            (true, Some(Effort::None)) => Sampling::WithEffortNone,
            (true, _) => Sampling::Never,
        };
        Self {
            id: id.clone(),
            efforts,
            reasons,
            phase: family.knows_phase(),
            summary: !id.as_str().contains("codex-spark"),
            sampling,
            context_window: family.context_window(),
            max_output: family.max_output(),
            fast_tier: false,
            lite: false,
        }
    }

    fn of_codex(id: &ModelId, entry: Option<&ModelEntry>) -> Self {
        let vendor = Self::of_vendor(id);
        let listed = entry.map(|entry| entry.efforts.clone()).filter(|efforts| !efforts.is_empty());
        let mut efforts = listed.unwrap_or_else(|| {
            // The lists of the Codex backend start at low; it refuses `minimal`.
            vendor.efforts.iter().copied().filter(|effort| *effort >= Effort::Low).collect()
        });
        efforts.sort_unstable();
        efforts.dedup();
        let reasons = !efforts.is_empty();
        let fast_tier = entry.is_some_and(|entry| entry.fast_tier);
        Self { efforts, reasons, sampling: Sampling::Never, context_window: Some(272_000), fast_tier, ..vendor }
    }

    fn of_custom(id: &ModelId, profile: &Profile) -> Self {
        let efforts = [Effort::None, Effort::Low, Effort::Medium, Effort::High];
        Self {
            id: id.clone(),
            efforts: if profile.reasoning { efforts.to_vec() } else { Vec::new() },
            reasons: profile.reasoning,
            phase: false,
            summary: true,
            sampling: Sampling::Always,
            context_window: None,
            max_output: None,
            fast_tier: false,
            lite: false,
        }
    }
}

/// What an OpenAI model's id says: `gpt-5.1-codex-max-2026-01-01` is version (5, 1), variant `-codex-max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family<'a> {
    Gpt {
        version: (u32, u32),
        variant: &'a str,
    },
    /// o1, o3, o4-mini, …
    OSeries,
    Unknown,
}

impl<'a> Family<'a> {
    fn of(id: &'a str) -> Self {
        let name = undated(id.strip_prefix("ft:").unwrap_or(id));
        if name.starts_with("chatgpt-") {
            return Self::Gpt { version: (4, 0), variant: "" };
        }
        if let Some(rest) = name.strip_prefix("gpt-") {
            return Self::of_gpt(rest);
        }
        match name.as_bytes() {
            [b'o', digit, ..] if digit.is_ascii_digit() => Self::OSeries,
            _ => Self::Unknown,
        }
    }

    fn of_gpt(rest: &'a str) -> Self {
        let (major, rest) = leading_number(rest);
        let Some(major) = major else { return Self::Unknown };
        let (minor, variant) = match rest.strip_prefix('.').map(leading_number) {
            Some((Some(minor), variant)) => (minor, variant),
            _ => (0, rest),
        };
        Self::Gpt { version: (major, minor), variant }
    }

    /// The table of WIRE.md §1.4b.
    fn efforts(self) -> &'static [Effort] {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        const LOW_TO_HIGH: &[Effort] = &[Low, Medium, High];
        const LOW_TO_XHIGH: &[Effort] = &[Low, Medium, High, XHigh];
        let Self::Gpt { version, variant } = self else { return LOW_TO_HIGH };
        let codex = variant.contains("codex");
        let pro = variant.starts_with("-pro");
        match version {
            (..5, _) => &[],
            _ if variant.starts_with("-chat") => &[],
            (5, 0) if pro => &[High],
            (5, 0) if codex => LOW_TO_HIGH,
            (5, 0) => &[Minimal, Low, Medium, High],
            (5, 1) if variant.contains("codex-max") => LOW_TO_XHIGH,
            (5, 1) if codex => LOW_TO_HIGH,
            (5, 1) => &[None, Low, Medium, High],
            (5, 2..=5) if pro => &[Medium, High, XHigh],
            (5, 2..=5) if codex => LOW_TO_XHIGH,
            (5, 2..=5) => &[None, Low, Medium, High, XHigh],
            (5, 6) => &[Low, Medium, High, XHigh, Max],
            _ => LOW_TO_HIGH,
        }
    }

    fn knows_phase(self) -> bool {
        match self {
            Self::Gpt { version: (5, 3), variant } => variant.contains("codex"),
            Self::Gpt { version, .. } => version >= (5, 4),
            Self::OSeries | Self::Unknown => false,
        }
    }

    /// Tokens.
    fn context_window(self) -> Option<u64> {
        match self {
            Self::Gpt { version: (4, 1), .. } => Some(1_047_576),
            Self::Gpt { version: (4, _), .. } => Some(128_000),
            Self::Gpt { version: (5, _), .. } => Some(400_000),
            Self::OSeries => Some(200_000),
            Self::Gpt { .. } | Self::Unknown => Option::None,
        }
    }

    /// Tokens.
    fn max_output(self) -> Option<u64> {
        match self {
            Self::Gpt { version: (4, 1), .. } => Some(32_768),
            Self::Gpt { version: (4, _), variant } if variant.starts_with('o') => Some(16_384),
            Self::Gpt { version: (5, _), variant } if variant.starts_with("-chat") => Some(16_384),
            Self::Gpt { version: (5.., _), .. } => Some(128_000),
            Self::OSeries => Some(100_000),
            Self::Gpt { .. } | Self::Unknown => Option::None,
        }
    }
}

fn leading_number(text: &str) -> (Option<u32>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

/// A model's id without its date (`-2026-01-31` or `-20260131`): reasoning may be replayed to the same family (Q-R2).
pub fn undated(id: &str) -> &str {
    let all_digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut pieces = id.rsplitn(4, '-');
    let (day, month, year) = (pieces.next(), pieces.next(), pieces.next());
    let (Some(day), month, year, rest) = (day, month.unwrap_or(""), year.unwrap_or(""), pieces.next()) else {
        return id;
    };
    if all_digits(day, 8) && !month.is_empty() {
        return &id[..id.len() - 9];
    }
    if rest.is_some() && all_digits(day, 2) && all_digits(month, 2) && all_digits(year, 4) {
        return &id[..id.len() - 11];
    }
    id
}

/// Names the upstream and account that reasoning envelopes belong to (Q-R1): twelve hex digits. `origin` is the
/// scheme, host and port of the backend's `base_url`; no key goes in, so rotation keeps reasoning.
pub fn scope(kind: ProfileKind, origin: &str, account: Option<&str>) -> String {
    let mut digits = sha256_hex(&[kind.as_str(), origin, account.unwrap_or("")]);
    digits.truncate(12);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: ProfileKind, id: &str) -> ModelFacts {
        ModelFacts::of(&ModelId::from(id), &Profile::of(kind), None)
    }

    #[test]
    fn a_date_is_no_part_of_a_family() {
        let cases = [
            ("gpt-5.5", "gpt-5.5"),
            ("gpt-5.5-2026-04-01", "gpt-5.5"),
            ("gpt-4o-2024-11-20", "gpt-4o"),
            ("model-20260401", "model"),
            ("20260401", "20260401"),
            ("2026-04-01", "2026-04-01"),
            ("gpt-4-0613", "gpt-4-0613"),
            ("", ""),
            ("é-2026-04-01", "é"),
        ];
        for (id, family) in cases {
            assert_eq!(undated(id), family);
        }
    }

    #[test]
    fn a_scope_names_profile_origin_and_account_in_twelve_hex_digits() {
        let base = scope(ProfileKind::Codex, "https://chatgpt.com", Some("a"));
        assert!(base.len() == 12 && base.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(base, scope(ProfileKind::Codex, "https://chatgpt.com", Some("b")));
        assert_ne!(base, scope(ProfileKind::OpenAi, "https://chatgpt.com", Some("a")));
        assert_ne!(base, scope(ProfileKind::Codex, "https://example.com", Some("a")));
    }

    #[test]
    fn any_text_is_a_model_id() {
        for id in ["", "gpt-", "gpt-5.", "gpt-99999999999999999999", "o", "o3", "-", "é", "ft:gpt-4.1:org::x"] {
            for kind in [ProfileKind::OpenAi, ProfileKind::Codex, ProfileKind::Custom] {
                assert_eq!(facts(kind, id).id.as_str(), id);
            }
        }
        assert!(!facts(ProfileKind::OpenAi, "ft:gpt-4.1:org::x").reasons);
    }

    #[test]
    fn the_custom_profile_knows_no_family() {
        let facts = facts(ProfileKind::Custom, "gpt-5.5");
        assert_eq!((facts.phase, facts.context_window, facts.max_output), (false, None, None));
        assert_eq!(facts.sampling, Sampling::Always);
    }
}
