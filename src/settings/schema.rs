//! Every key of the config and the shape of its value, as data.
//!
//! The walk checks a file against these tables and the faults list names from them; nothing else knows key names except
//! the typed structs that the layers become. A JSON schema can be written from here.

use super::choices::{BackendKind, LogFormat, LogLevel, Restart, Start};

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Boolean,
    /// A string; empty means "not given".
    Text,
    /// A string that must not be empty.
    FilledText,
    Choice(&'static [&'static str]),
    /// `"responses"`; `"chat"` has a fault of its own.
    WireApi,
    /// `"omit"` or `false`.
    StoreOverride,
    /// Comma-separated words out of `user`, `project` and `local`.
    SettingSources,
    /// A whole number in these bounds, both included.
    Count {
        least: u64,
        most: u64,
    },
    Duration,
    BaseUrl,
    /// A path, `~` expanded; empty means "not given".
    Path,
    FilledPath,
    /// A program: a bare name is looked up on PATH, anything with a slash is a path.
    Program,
    /// The name of an environment variable.
    Variable,
    /// What goes into an HTTP header as it is; often a secret.
    HeaderText,
    Texts,
    /// A list of ids of backends.
    Names,
    /// A program and its arguments.
    Command,
    Headers,
    Models,
    Credential,
    Table(&'static [Key]),
    Backends,
    Sessions,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

const AT_LEAST_ONE: Shape = Shape::Count { least: 1, most: u32::MAX as u64 };

pub(super) const ROOT: &[Key] = &[
    key("experimental", Shape::Table(EXPERIMENTAL)),
    key("backends", Shape::Backends),
    key("upstream", Shape::Table(UPSTREAM)),
    key("sessions", Shape::Sessions),
    key("claude", Shape::Table(CLAUDE)),
    key("supervisor", Shape::Table(SUPERVISOR)),
    key("log", Shape::Table(LOG)),
];

pub(super) const EXPERIMENTAL: &[Key] = &[key("alternative_backends", Shape::Boolean)];

/// The keys of every kind of backend.
const EVERY_BACKEND: &[Key] = &[key("kind", Shape::Choice(BackendKind::NAMES)), key("enabled", Shape::Boolean)];

/// The further keys of the three OpenAI-shaped kinds.
const OPENAI_SHAPED: &[Key] = &[
    key("credential", Shape::Credential),
    key("base_url", Shape::BaseUrl),
    key("wire_api", Shape::WireApi),
    key("default_model", Shape::Text),
    key("small_model", Shape::Text),
    key("models", Shape::Models),
    key("context_window", Shape::Count { least: 1, most: i64::MAX as u64 }),
    key("fallback", Shape::Names),
    key("headers", Shape::Headers),
    key("ca_file", Shape::Path),
    key("profile", Shape::Table(PROFILE)),
];

/// What only a `codex-subscription` has.
const CODEX_ONLY: &[Key] =
    &[key("codex_home", Shape::Path), key("codex_bin", Shape::Program), key("originator", Shape::HeaderText)];

/// Every key that some kind of backend has.
pub(super) const ANY_BACKEND: &[&[Key]] = &[EVERY_BACKEND, OPENAI_SHAPED, CODEX_ONLY];

pub(super) fn backend(kind: BackendKind) -> &'static [&'static [Key]] {
    match kind {
        BackendKind::Anthropic => &[EVERY_BACKEND],
        BackendKind::OpenAiApi | BackendKind::CustomOpenAi => &[EVERY_BACKEND, OPENAI_SHAPED],
        BackendKind::CodexSubscription => ANY_BACKEND,
    }
}

pub(super) const CREDENTIAL: &[Key] = &[
    key("value", Shape::HeaderText),
    key("env", Shape::Variable),
    key("file", Shape::FilledPath),
    key("command", Shape::Command),
    key("ttl", Shape::Duration),
];

pub(super) const MODEL: &[Key] = &[
    key("id", Shape::FilledText),
    key("display_name", Shape::FilledText),
    key("context_window", Shape::Count { least: 1, most: i64::MAX as u64 }),
];

pub(super) const PROFILE: &[Key] = &[
    key("mid_system", Shape::Choice(&["developer", "system", "reminder"])),
    key("store", Shape::StoreOverride),
    key("array_outputs", Shape::Boolean),
    key("strict", Shape::Boolean),
    key("encrypted_reasoning", Shape::Boolean),
    key("empty_output_ok", Shape::Boolean),
    key("reasoning", Shape::Boolean),
];

pub(super) const UPSTREAM: &[Key] = &[
    key("connect_timeout", Shape::Duration),
    key("first_byte_timeout", Shape::Duration),
    key("idle_timeout", Shape::Duration),
    key("allow_plain_http", Shape::Boolean),
];

pub(super) const SESSION: &[Key] = &[
    key("backend", Shape::FilledText),
    key("cwd", Shape::FilledPath),
    key("prompt", Shape::FilledText),
    key("prompt_file", Shape::FilledPath),
    key("start", Shape::Choice(Start::NAMES)),
    key("restart", Shape::Choice(Restart::NAMES)),
    key("args", Shape::Texts),
    key("model", Shape::Text),
    key("turn_timeout", Shape::Duration),
    key("config_dir", Shape::Path),
    key("setting_sources", Shape::SettingSources),
];

pub(super) const CLAUDE: &[Key] = &[key("bin", Shape::Program), key("backend", Shape::Text)];

pub(super) const SUPERVISOR: &[Key] = &[
    key("restart_intensity", Shape::Count { least: 0, most: u32::MAX as u64 }),
    key("restart_period", Shape::Duration),
    key("backoff_initial", Shape::Duration),
    key("backoff_max", Shape::Duration),
    key("rejection_threshold", AT_LEAST_ONE),
    key("retire_after", Shape::Duration),
    key("drain_deadline", Shape::Duration),
    key("debounce", Shape::Duration),
];

pub(super) const LOG: &[Key] = &[
    key("format", Shape::Choice(LogFormat::NAMES)),
    key("level", Shape::Choice(LogLevel::NAMES)),
    key("file", Shape::Path),
    key("keep", Shape::Duration),
];
