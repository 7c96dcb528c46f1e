//! The closed sets of words that the config uses, each written once: what a fault lists is what a value can be.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every word of the set, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            pub fn named(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// What a backend is. The first three are built in and carry their kind as their id.
    BackendKind {
        /// `claude` with its own login; no gateway.
        Anthropic = "anthropic",
        OpenAiApi = "openai-api",
        /// A ChatGPT login that the `codex` CLI keeps.
        CodexSubscription = "codex-subscription",
        /// Any server with `/v1/responses`.
        CustomOpenAi = "custom-openai",
    }
}

choice! {
    /// When a session takes its configured prompt.
    Start {
        /// When the session first appears, and when its prompt changes.
        Auto = "auto",
        /// Only when asked by `claudette turn`.
        Manual = "manual",
    }
}

choice! {
    /// Whether a turn that ended without a result is tried again.
    Restart {
        OnFailure = "on-failure",
        Never = "never",
    }
}

choice! {
    LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        Json = "json",
        Text = "text",
    }
}

choice! {
    /// The least severe level that is logged.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}
