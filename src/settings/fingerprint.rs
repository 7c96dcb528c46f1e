//! Digests of settings: what a generation depends on, and which keys an edit changed.
//!
//! Both come from one table of facts: a key path and the digest of its value. No value leaves this module. The form of
//! the digests is kept in the state folder (`gateways.json`), so it depends on nothing but the values: no hasher of the
//! standard library, no `Debug` text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{
    Backend, ClaudeSettings, CodexSettings, CredentialSetting, LogSettings, ManualModel, Prompt, SessionSettings,
    Settings, SupervisorSettings, UpstreamSettings,
};
use crate::ids::{BackendId, Fingerprint, ModelId, Slot};
use crate::providers::profile::{MidSystem, Profile, ProfileKind, Store};

/// The fingerprint of a slot's next generation: its backend's settings without the credential setting, the models it
/// resolves to, `[upstream]`, and the settings of every backend that `fallback` reaches.
pub fn fingerprint(
    settings: &Settings,
    slot: &Slot,
    resolved_model: Option<&ModelId>,
    small: Option<&ModelId>,
) -> Fingerprint {
    let mut facts = Facts::default();
    facts.say("slot.backend", [slot.backend.as_str()]);
    facts.say("slot.model", resolved_model.or(slot.model.as_ref()).map(ModelId::as_str));
    facts.say("slot.small_model", small.map(ModelId::as_str));
    facts.upstream(&settings.upstream);
    for id in reachable(settings, &slot.backend) {
        if let Some(backend) = settings.backend(id) {
            facts.backend(backend);
            facts.0.remove(&credential_key(backend));
        }
    }
    facts.digest()
}

/// The fingerprint of a session: what decides whether a quarantined one is tried again. `prompt` is the prompt's text,
/// whether it stands in the config or in a file.
pub fn session_fingerprint(session: &SessionSettings, prompt: &str) -> Fingerprint {
    let mut facts = Facts::default();
    facts.session(session);
    facts.say("prompt", [prompt]);
    facts.digest()
}

/// The key paths in which two configs differ, as far as the settled values do; never a value. Sorted.
pub fn changed_keys(old: &Settings, new: &Settings) -> Vec<String> {
    let (old, new) = (Facts::of(old).0, Facts::of(new).0);
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths.into_iter().filter(|path| old.get(*path) != new.get(*path)).cloned().collect()
}

/// The backend itself and all that its fallbacks lead to.
fn reachable<'s>(settings: &'s Settings, from: &'s BackendId) -> BTreeSet<&'s BackendId> {
    let mut seen = BTreeSet::from([from]);
    let mut waiting = vec![from];
    while let Some(backend) = waiting.pop().and_then(|id| settings.backend(id)) {
        waiting.extend(backend.fallback.iter().filter(|id| seen.insert(id)));
    }
    seen
}

fn credential_key(backend: &Backend) -> String {
    format!("backends.{}.credential", backend.id)
}

/// Key paths with the digests of their values.
#[derive(Default)]
struct Facts(BTreeMap<String, [u8; 32]>);

impl Facts {
    fn of(settings: &Settings) -> Self {
        let Settings { alternative_backends, backends, upstream, sessions, claude, supervisor, log } = settings;
        let mut facts = Self::default();
        facts.say("experimental.alternative_backends", [truth(*alternative_backends)]);
        backends.iter().for_each(|backend| facts.backend(backend));
        facts.upstream(upstream);
        sessions.iter().for_each(|session| facts.session(session));
        facts.claude(claude);
        facts.supervisor(supervisor);
        facts.log(log);
        facts
    }

    fn say<'p>(&mut self, path: impl Into<String>, parts: impl IntoIterator<Item = &'p str>) {
        self.0.insert(path.into(), digest(parts));
    }

    fn say_duration(&mut self, path: impl Into<String>, duration: Duration) {
        self.say(path, [duration.as_millis().to_string().as_str()]);
    }

    fn digest(&self) -> Fingerprint {
        let mut hasher = Sha256::new();
        for (path, digest) in &self.0 {
            feed(&mut hasher, path);
            hasher.update(digest);
        }
        Fingerprint(hasher.finalize().into())
    }

    // Each of these takes its struct apart whole, so that a new field cannot be forgotten.

    fn backend(&mut self, backend: &Backend) {
        let Backend {
            id,
            kind,
            enabled,
            disabled_because: _,
            credential,
            base_url,
            default_model,
            small_model,
            models,
            fallback,
            headers,
            ca_file,
            context_window,
            profile,
            codex,
        } = backend;
        let key = |name: &str| format!("backends.{id}.{name}");
        self.say(key("kind"), [kind.as_str()]);
        self.say(key("enabled"), [truth(*enabled)]);
        self.say(key("base_url"), [base_url.as_str()]);
        self.say(key("default_model"), default_model.as_ref().map(ModelId::as_str));
        self.say(key("small_model"), small_model.as_ref().map(ModelId::as_str));
        self.say(key("fallback"), fallback.iter().map(BackendId::as_str));
        self.say(key("ca_file"), ca_file.as_ref().map(|path| path.to_string_lossy()).as_deref());
        self.say(key("context_window"), context_window.map(|tokens| tokens.to_string()).as_deref());
        self.0.insert(credential_key(backend), credential_digest(credential.as_ref()));
        self.0.insert(key("models"), models_digest(models));
        for (name, value) in headers {
            self.say(key(&format!("headers.{name}")), [value.expose()]);
        }
        self.profile(&key("profile"), profile);
        if let Some(CodexSettings { home, bin, originator }) = codex {
            self.say(key("codex_home"), [&*home.to_string_lossy()]);
            self.say(key("codex_bin"), [&*bin.to_string_lossy()]);
            self.say(key("originator"), [originator.as_str()]);
        }
    }

    fn profile(&mut self, path: &str, profile: &Profile) {
        let Profile { kind, mid_system, store, array_outputs, strict, encrypted_reasoning, empty_output_ok, reasoning } =
            profile;
        let kind = match kind {
            ProfileKind::OpenAi => "openai",
            ProfileKind::Codex => "codex",
            ProfileKind::Custom => "custom",
        };
        let mid_system = match mid_system {
            MidSystem::Developer => "developer",
            MidSystem::System => "system",
            MidSystem::Reminder => "reminder",
        };
        let store = match store {
            Store::Omit => "omit",
            Store::False => "false",
        };
        self.say(format!("{path}.kind"), [kind]);
        self.say(format!("{path}.mid_system"), [mid_system]);
        self.say(format!("{path}.store"), [store]);
        self.say(format!("{path}.array_outputs"), [truth(*array_outputs)]);
        self.say(format!("{path}.strict"), [truth(*strict)]);
        self.say(format!("{path}.encrypted_reasoning"), [truth(*encrypted_reasoning)]);
        self.say(format!("{path}.empty_output_ok"), [truth(*empty_output_ok)]);
        self.say(format!("{path}.reasoning"), [truth(*reasoning)]);
    }

    fn upstream(&mut self, upstream: &UpstreamSettings) {
        let UpstreamSettings { connect_timeout, first_byte_timeout, idle_timeout, allow_plain_http } = upstream;
        self.say_duration("upstream.connect_timeout", *connect_timeout);
        self.say_duration("upstream.first_byte_timeout", *first_byte_timeout);
        self.say_duration("upstream.idle_timeout", *idle_timeout);
        self.say("upstream.allow_plain_http", [truth(*allow_plain_http)]);
    }

    fn session(&mut self, session: &SessionSettings) {
        let SessionSettings {
            name,
            backend,
            cwd,
            prompt,
            start,
            restart,
            args,
            model,
            turn_timeout,
            config_dir,
            setting_sources,
        } = session;
        let key = |key: &str| format!("sessions.{name}.{key}");
        self.say(key("backend"), [backend.as_str()]);
        self.say(key("cwd"), [&*cwd.to_string_lossy()]);
        match prompt {
            Prompt::Text(text) => self.say(key("prompt"), [text.as_str()]),
            Prompt::File(path) => self.say(key("prompt_file"), [&*path.to_string_lossy()]),
        }
        self.say(key("start"), [start.as_str()]);
        self.say(key("restart"), [restart.as_str()]);
        self.say(key("args"), args.iter().map(String::as_str));
        self.say(key("model"), model.as_ref().map(ModelId::as_str));
        self.say_duration(key("turn_timeout"), *turn_timeout);
        self.say(key("config_dir"), config_dir.as_ref().map(|path| path.to_string_lossy()).as_deref());
        self.say(key("setting_sources"), [setting_sources.as_str()]);
    }

    fn claude(&mut self, claude: &ClaudeSettings) {
        let ClaudeSettings { bin, backend } = claude;
        self.say("claude.bin", [&*bin.to_string_lossy()]);
        self.say("claude.backend", backend.as_ref().map(BackendId::as_str));
    }

    fn supervisor(&mut self, supervisor: &SupervisorSettings) {
        let SupervisorSettings {
            restart_intensity,
            restart_period,
            backoff_initial,
            backoff_max,
            rejection_threshold,
            retire_after,
            drain_deadline,
            debounce,
        } = supervisor;
        self.say("supervisor.restart_intensity", [restart_intensity.to_string().as_str()]);
        self.say_duration("supervisor.restart_period", *restart_period);
        self.say_duration("supervisor.backoff_initial", *backoff_initial);
        self.say_duration("supervisor.backoff_max", *backoff_max);
        self.say("supervisor.rejection_threshold", [rejection_threshold.to_string().as_str()]);
        self.say_duration("supervisor.retire_after", *retire_after);
        self.say_duration("supervisor.drain_deadline", *drain_deadline);
        self.say_duration("supervisor.debounce", *debounce);
    }

    fn log(&mut self, log: &LogSettings) {
        let LogSettings { format, level, file, keep } = log;
        self.say("log.format", [format.as_str()]);
        self.say("log.level", [level.as_str()]);
        self.say("log.file", file.as_ref().map(|path| path.to_string_lossy()).as_deref());
        self.say_duration("log.keep", *keep);
    }
}

fn credential_digest(credential: Option<&CredentialSetting>) -> [u8; 32] {
    match credential {
        None => digest([]),
        Some(CredentialSetting::Value(secret)) => digest(["value", secret.expose()]),
        Some(CredentialSetting::Env(name)) => digest(["env", name]),
        Some(CredentialSetting::File(path)) => digest(["file", &path.to_string_lossy()]),
        Some(CredentialSetting::Command { argv, ttl }) => {
            let ttl_ms = ttl.as_millis().to_string();
            digest(["command", &ttl_ms].into_iter().chain(argv.iter().map(String::as_str)))
        }
    }
}

fn models_digest(models: &[ManualModel]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for ManualModel { id, display_name, context_window } in models {
        let context_window = context_window.map(|tokens| tokens.to_string());
        hasher.update(digest([id.as_str()]));
        hasher.update(digest(display_name.as_deref()));
        hasher.update(digest(context_window.as_deref()));
    }
    hasher.finalize().into()
}

fn digest<'p>(parts: impl IntoIterator<Item = &'p str>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        feed(&mut hasher, part);
    }
    hasher.finalize().into()
}

/// With its length before it, so that two lists of parts never run together into the same bytes.
fn feed(hasher: &mut Sha256, part: &str) {
    hasher.update((part.len() as u64).to_le_bytes());
    hasher.update(part.as_bytes());
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
