//! The three layers, laid over each other by the crate `config`: defaults, file, and three scalars of the environment.
//!
//! The layers arrive checked and settled (see [`super::walk`]); what is wrong with the file is known before. There is no
//! blanket environment source: one would invent entries of `[backends]` out of unrelated variables.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, ConfigError, Map, Source, Value as Settled, ValueKind};
use serde::{Deserialize, Deserializer};

use super::choices::{BackendKind, LogFormat, LogLevel, Restart, Start};
use super::fault::{Fault, nearest};
use super::walk::Places;
use super::{ClaudeSettings, LogSettings, ManualModel, Secret, SupervisorSettings, Surroundings, UpstreamSettings};
use crate::ids::{BackendId, ModelId};
use crate::providers::profile::{MidSystem, Store};

/// The layers' sum, typed; entries of the maps may still lack what they need.
#[derive(Deserialize)]
pub(super) struct Layered {
    pub experimental: Experimental,
    pub backends: HashMap<String, LayeredBackend>,
    pub upstream: UpstreamSettings,
    #[serde(default)]
    pub sessions: HashMap<String, LayeredSession>,
    pub claude: ClaudeSettings,
    pub supervisor: SupervisorSettings,
    pub log: LogSettings,
}

#[derive(Deserialize)]
pub(super) struct Experimental {
    pub alternative_backends: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LayeredBackend {
    pub kind: Option<BackendKind>,
    pub enabled: Option<bool>,
    pub credential: Option<LayeredCredential>,
    pub base_url: Option<String>,
    #[serde(deserialize_with = "model_unless_empty")]
    pub default_model: Option<ModelId>,
    #[serde(deserialize_with = "model_unless_empty")]
    pub small_model: Option<ModelId>,
    pub models: Vec<ManualModel>,
    pub context_window: Option<u64>,
    pub fallback: Vec<String>,
    pub headers: BTreeMap<String, Secret>,
    #[serde(deserialize_with = "path_unless_empty")]
    pub ca_file: Option<PathBuf>,
    pub profile: ProfileOverrides,
    #[serde(deserialize_with = "path_unless_empty")]
    pub codex_home: Option<PathBuf>,
    pub codex_bin: PathBuf,
    pub originator: String,
}

#[derive(Deserialize)]
pub(super) struct LayeredCredential {
    pub value: Option<Secret>,
    pub env: Option<String>,
    pub file: Option<PathBuf>,
    pub command: Option<Vec<String>>,
    #[serde(default = "default_ttl", deserialize_with = "milliseconds")]
    pub ttl: Duration,
}

/// Long enough not to ask a password manager all the time, short enough for a rotated key.
fn default_ttl() -> Duration {
    Duration::from_secs(5 * 60)
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProfileOverrides {
    pub mid_system: Option<MidSystem>,
    pub store: Option<Store>,
    pub array_outputs: Option<bool>,
    pub strict: Option<bool>,
    pub encrypted_reasoning: Option<bool>,
    pub empty_output_ok: Option<bool>,
    pub reasoning: Option<bool>,
}

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct LayeredSession {
    pub backend: Option<String>,
    pub cwd: Option<PathBuf>,
    pub prompt: Option<String>,
    pub prompt_file: Option<PathBuf>,
    pub start: Start,
    pub restart: Restart,
    pub args: Vec<String>,
    #[serde(deserialize_with = "model_unless_empty")]
    pub model: Option<ModelId>,
    #[serde(deserialize_with = "milliseconds")]
    pub turn_timeout: Duration,
    #[serde(deserialize_with = "path_unless_empty")]
    pub config_dir: Option<PathBuf>,
    pub setting_sources: String,
}

/// No session is built in, so `config/default.toml` can only show these in a comment; a test keeps the two equal.
impl Default for LayeredSession {
    fn default() -> Self {
        Self {
            backend: None,
            cwd: None,
            prompt: None,
            prompt_file: None,
            start: Start::Auto,
            restart: Restart::OnFailure,
            args: Vec::new(),
            model: None,
            turn_timeout: Duration::from_secs(30 * 60),
            config_dir: None,
            setting_sources: "user".to_owned(),
        }
    }
}

/// The keys that the environment may set, over the file.
#[derive(Default)]
pub(super) struct Overrides {
    log_level: Option<String>,
    log_format: Option<String>,
    log_file: Option<String>,
}

pub(super) fn overrides(surroundings: &Surroundings<'_>) -> (Overrides, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut word = |name: &str, words: &[&str]| {
        let value = surroundings.variable(name)?;
        if words.contains(&value.as_str()) {
            return Some(value);
        }
        faults.push(Fault::whole(name, format!("cannot be \"{value}\": {}", nearest(&value, words.iter().copied()))));
        None
    };
    let overrides = Overrides {
        log_level: word("CLAUDETTE_LOG_LEVEL", LogLevel::NAMES),
        log_format: word("CLAUDETTE_LOG_FORMAT", LogFormat::NAMES),
        log_file: surroundings.variable("CLAUDETTE_LOG_FILE"),
    };
    (overrides, faults)
}

/// # Errors
/// The layers do not have the form that the walk promises: a fault of ours, told without values.
pub(super) fn lay(
    mut defaults: Map<String, Settled>,
    file: Map<String, Settled>,
    overrides: Overrides,
    places: &Places<'_>,
) -> Result<Layered, Fault> {
    drop_replaced_credentials(&mut defaults, places);
    let laid = || -> Result<Layered, ConfigError> {
        Config::builder()
            .add_source(Layer(defaults))
            .add_source(Layer(file))
            .set_override_option("log.level", overrides.log_level)?
            .set_override_option("log.format", overrides.log_format)?
            .set_override_option("log.file", overrides.log_file)?
            .build()?
            .try_deserialize()
    };
    laid().map_err(|error| places.at_key("", format!("the layers do not fit together: {error}")))
}

/// Tables are merged key by key, but a credential is one choice: the file's takes the place of the default's.
fn drop_replaced_credentials(defaults: &mut Map<String, Settled>, places: &Places<'_>) {
    let Some(ValueKind::Table(backends)) = defaults.get_mut("backends").map(|backends| &mut backends.kind) else {
        return;
    };
    for (id, backend) in backends {
        if let ValueKind::Table(keys) = &mut backend.kind
            && places.holds(&format!("backends.{id}.credential"))
        {
            keys.remove("credential");
        }
    }
}

/// A walked document as a source of the crate `config`.
#[derive(Clone)]
struct Layer(Map<String, Settled>);

/// The trait asks for it; a layer may hold secrets.
impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Layer").finish_non_exhaustive()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Settled>, ConfigError> {
        Ok(self.0.clone())
    }
}

pub(super) fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn text_unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(text).filter(|text| !text.is_empty()))
}

pub(super) fn path_unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(text_unless_empty(deserializer)?.map(PathBuf::from))
}

pub(super) fn backend_unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BackendId>, D::Error> {
    Ok(text_unless_empty(deserializer)?.map(BackendId::new))
}

fn model_unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ModelId>, D::Error> {
    Ok(text_unless_empty(deserializer)?.map(ModelId::new))
}
