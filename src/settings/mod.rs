//! From a config file's text to [`Settings`]: checked values that nothing re-checks afterwards.
//!
//! [`locate`] says which file is meant, [`load`] turns its text into settings or into every fault it has, each with its
//! line and column, and [`fingerprint()`] says which part of the settings a running gateway depends on. Loading is a pure
//! function of the text and of a few facts about the machine ([`Surroundings`]): it runs no command, opens no file and
//! reads no credential. Inside, the walk checks the form of what was typed, the crate `config` lays defaults, file and
//! environment over each other, and a last step resolves what the layers mean together (DESIGN.md §5).

mod choices;
mod duration;
mod fault;
mod fingerprint;
mod layers;
mod resolve;
mod schema;
mod secret;
mod source;
mod values;
mod walk;

#[cfg(test)]
mod json_schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

pub use crate::providers::openai::discovery::ManualModel;
pub use choices::{BackendKind, LogFormat, LogLevel, Restart, Start};
pub use fault::Fault;
pub use fingerprint::{changed_keys, fingerprint, session_fingerprint};
pub use secret::Secret;
pub use source::{CONFIG_VARIABLE, Located, Source, Surroundings, locate};

use crate::ids::{BackendId, ModelId, SessionName};
use crate::providers::profile::Profile;
use walk::{Document, Places, walk};

/// Every key with its default and a line of why; the lowest layer.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// A config file to begin with: all keys and what they mean, none of them set.
pub fn commented_config() -> String {
    let is_set = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase());
    DEFAULT_TOML.lines().map(|line| if is_set(line) { format!("# {line}\n") } else { format!("{line}\n") }).collect()
}

/// The smallest useful file.
pub const EXAMPLE_TOML: &str = include_str!("../../config/example.toml");

/// One accepted config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Off: only `anthropic` is offered.
    pub alternative_backends: bool,
    /// The three built-in ones, in the file's order as far as it names them, then the others in the file's order.
    pub backends: Vec<Backend>,
    pub upstream: UpstreamSettings,
    /// In the file's order.
    pub sessions: Vec<SessionSettings>,
    pub claude: ClaudeSettings,
    pub supervisor: SupervisorSettings,
    pub log: LogSettings,
}

impl Settings {
    pub fn backend(&self, id: &BackendId) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.id == *id)
    }

    pub fn session(&self, name: &SessionName) -> Option<&SessionSettings> {
        self.sessions.iter().find(|session| session.name == *name)
    }

    /// The backends that `fallback` leads to from `id`, in the order of asking, without `id` itself.
    pub fn fallback_chain(&self, id: &BackendId) -> Vec<BackendId> {
        let mut chain: Vec<BackendId> = Vec::new();
        let mut next = vec![id.clone()];
        while let Some(id) = next.pop() {
            let Some(backend) = self.backend(&id) else { continue };
            for fallback in backend.fallback.iter().rev() {
                next.push(fallback.clone());
            }
            if !chain.contains(&id) {
                chain.push(id);
            }
        }
        chain.remove(0);
        chain
    }

    pub fn enabled_backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(|backend| backend.enabled)
    }

    /// The backend of a `claudette claude` without `--backend`: the configured one, enabled or not, else the first
    /// enabled of openai-api, codex-subscription, the custom ones in file order, anthropic (DESIGN.md §4).
    pub fn preferred_backend(&self) -> Option<&Backend> {
        if let Some(id) = &self.claude.backend {
            return self.backend(id);
        }
        self.enabled_backends().min_by_key(|backend| match backend.kind {
            BackendKind::OpenAiApi => 0,
            BackendKind::CodexSubscription => 1,
            BackendKind::CustomOpenAi => 2,
            BackendKind::Anthropic => 3,
        })
    }
}

/// A named entry under `[backends]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub id: BackendId,
    pub kind: BackendKind,
    /// As resolved: what the file says, else whether the credential or login is there.
    pub enabled: bool,
    /// A sentence for people, present exactly when `enabled` is false.
    pub disabled_because: Option<String>,
    pub credential: Option<CredentialSetting>,
    /// Without a slash at its end, unless its path is empty.
    pub base_url: Url,
    pub default_model: Option<ModelId>,
    /// What claude's haiku-class requests use; `None`: `default_model`.
    pub small_model: Option<ModelId>,
    /// Written by hand, beside the discovered ones.
    pub models: Vec<ManualModel>,
    /// Asked in this order when this backend's quota or credit is used up. No cycles, never `anthropic`.
    pub fallback: Vec<BackendId>,
    /// Names in lower case, sorted.
    pub headers: Vec<(String, Secret)>,
    pub ca_file: Option<PathBuf>,
    /// In tokens; `None`: as discovered.
    pub context_window: Option<u64>,
    /// The kind's profile with the file's overrides applied. Without meaning for `anthropic`.
    pub profile: Profile,
    /// Present exactly for `codex-subscription`.
    pub codex: Option<CodexSettings>,
}

impl Backend {
    /// `scheme://host:port`, the port always written: what a credential is bound to.
    pub fn origin(&self) -> String {
        let host = self.base_url.host_str().unwrap_or_default();
        let port = self.base_url.port_or_known_default().unwrap_or_default();
        format!("{}://{host}:{port}", self.base_url.scheme())
    }
}

/// Where a backend's credential comes from. Loading does not read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSetting {
    Value(Secret),
    Env(String),
    File(PathBuf),
    Command {
        /// A program and its arguments; no shell.
        argv: Vec<String>,
        /// How long its output may be kept.
        ttl: Duration,
    },
}

/// What only a `codex-subscription` backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodexSettings {
    /// The folder of the login: `codex_home`, else `$CODEX_HOME`, else `~/.codex`.
    pub home: PathBuf,
    pub bin: PathBuf,
    pub originator: String,
}

impl CodexSettings {
    /// Where the `codex` CLI keeps the login. Its coming is watched while the backend waits for it.
    pub fn login_file(&self) -> PathBuf {
        self.home.join("auth.json")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpstreamSettings {
    #[serde(deserialize_with = "layers::milliseconds")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub first_byte_timeout: Duration,
    /// Between two pieces of a running answer.
    #[serde(deserialize_with = "layers::milliseconds")]
    pub idle_timeout: Duration,
    pub allow_plain_http: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    pub name: SessionName,
    /// A backend that the config has; it may be disabled.
    pub backend: BackendId,
    pub cwd: PathBuf,
    pub prompt: Prompt,
    pub start: Start,
    pub restart: Restart,
    /// Further arguments for `claude`.
    pub args: Vec<String>,
    /// `None`: the backend's default.
    pub model: Option<ModelId>,
    pub turn_timeout: Duration,
    /// `None`: the person's own claude configuration.
    pub config_dir: Option<PathBuf>,
    /// Comma-separated words out of `user`, `project`, `local`; may be empty.
    pub setting_sources: String,
}

/// A session's configured prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    /// Read when a turn is due; its content counts, not its name.
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ClaudeSettings {
    /// A bare name is looked up on PATH.
    pub bin: PathBuf,
    /// For `claudette claude`; see [`Settings::preferred_backend`].
    #[serde(deserialize_with = "layers::backend_unless_empty")]
    pub backend: Option<BackendId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SupervisorSettings {
    /// Most restarts allowed in `restart_period`, per slot or session.
    pub restart_intensity: u32,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub restart_period: Duration,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub backoff_initial: Duration,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub backoff_max: Duration,
    /// Equal upstream rejections in a row until `gateway.rejecting` is logged.
    pub rejection_threshold: u32,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub retire_after: Duration,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub drain_deadline: Duration,
    #[serde(deserialize_with = "layers::milliseconds")]
    pub debounce: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: LogLevel,
    /// `None`: stderr.
    #[serde(deserialize_with = "layers::path_unless_empty")]
    pub file: Option<PathBuf>,
    /// For logs and transcripts.
    #[serde(deserialize_with = "layers::milliseconds")]
    pub keep: Duration,
}

/// A config that was accepted, and what is worth saying about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub settings: Settings,
    /// Sorted by position.
    pub warnings: Vec<Fault>,
}

/// Finds the config that is in force, reads it and loads it.
///
/// # Errors
/// As [`locate`], [`Source::read`] and [`load`].
pub fn read(flag: Option<&Path>, surroundings: &Surroundings<'_>) -> Result<Loaded, Vec<Fault>> {
    let source = match locate(flag, surroundings).map_err(|fault| vec![fault])? {
        Located::File(path) => Some(Source::read(&path).map_err(|fault| vec![fault])?),
        Located::Defaults { .. } => None,
    };
    load(source.as_ref(), surroundings)
}

/// The settings that a file and the environment give; without a file, those of the embedded defaults.
///
/// # Errors
/// Every fault of the file, sorted by position; a file that is not TOML has that one fault alone.
pub fn load(source: Option<&Source>, surroundings: &Surroundings<'_>) -> Result<Loaded, Vec<Fault>> {
    let home = surroundings.home.as_deref();
    // Names no relative path, so its folder does not matter.
    let file = Path::new("config/default.toml");
    let defaults =
        walk(Document { file, text: DEFAULT_TOML, folder: Path::new("/"), home }).map_err(|fault| vec![fault])?;
    let mut faults = defaults.faults;

    let (file_layer, places) = match source {
        None => (config::Map::new(), Places::none(Document { file, text: "", folder: Path::new("/"), home })),
        Some(source) => {
            let document = Document { file: &source.path, text: &source.text, folder: &source.folder, home };
            let walked = walk(document).map_err(|fault| vec![fault])?;
            faults.extend(walked.faults);
            (walked.layer, walked.places)
        }
    };
    let (overrides, override_faults) = layers::overrides(surroundings);
    faults.extend(override_faults);

    let layered = layers::lay(defaults.layer, file_layer, overrides, &places).map_err(|fault| {
        faults.push(fault);
        std::mem::take(&mut faults)
    })?;
    let world_readable = source.is_some_and(|source| source.world_readable);
    let resolved = resolve::resolve(layered, &places, surroundings, world_readable);
    faults.extend(resolved.faults);
    fault::sort(&mut faults);
    if faults.is_empty() {
        Ok(Loaded { settings: resolved.settings, warnings: resolved.warnings })
    } else {
        Err(faults)
    }
}

/// The kind of a built-in backend, which carries it as its id.
fn built_in(id: &str) -> Option<BackendKind> {
    BackendKind::named(id).filter(|kind| *kind != BackendKind::CustomOpenAi)
}

/// `[a-z0-9][a-z0-9-]{0,63}`, for backends and sessions.
fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = text.bytes().next().is_some_and(letter);
    first && text.len() <= 64 && text.bytes().all(|byte| letter(byte) || byte == b'-')
}
