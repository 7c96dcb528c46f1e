//! What the layers mean together: which backends exist and are enabled, who falls back to whom, which session uses what.
//!
//! The last step of loading. It sees values of the right form only and checks what takes more than one key to check.
//! A fault here makes the whole file refused, so what is built next to one (a stand-in URL, say) is never seen.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use url::{Host, Url};

use super::choices::BackendKind;
use super::fault::{self, Fault, nearest};
use super::layers::{Layered, LayeredBackend, LayeredCredential, LayeredSession, ProfileOverrides};
use super::source::Surroundings;
use super::walk::Places;
use super::{Backend, CodexSettings, CredentialSetting, Prompt, SessionSettings, Settings, built_in};
use crate::ids::{BackendId, SessionName};
use crate::providers::profile::{Profile, ProfileKind};

/// In the order of DESIGN.md §1.
const BUILT_IN: [BackendKind; 3] = [BackendKind::Anthropic, BackendKind::OpenAiApi, BackendKind::CodexSubscription];

/// Where `claude` goes by itself; we never ask it.
const ANTHROPIC_URL: &str = "https://api.anthropic.com";

pub(super) struct Resolved {
    /// Meaningless if there are faults.
    pub settings: Settings,
    pub faults: Vec<Fault>,
    pub warnings: Vec<Fault>,
}

pub(super) fn resolve(
    mut layered: Layered,
    places: &Places<'_>,
    surroundings: &Surroundings<'_>,
    world_readable: bool,
) -> Resolved {
    let alternative_backends = layered.experimental.alternative_backends;
    let mut resolution = Resolution { places, surroundings, alternative_backends, faults: Vec::new() };

    let backends: Vec<Backend> = backend_order(places)
        .into_iter()
        .filter_map(|id| {
            // Absent, though named: it is no table, and that fault is known.
            let typed = layered.backends.remove(&id)?;
            Some(resolution.backend(id, typed))
        })
        .collect();
    resolution.check_fallbacks(&backends);
    if !layered.upstream.allow_plain_http {
        resolution.check_plain_http(&backends);
    }

    let ids: Vec<&str> = backends.iter().map(|backend| backend.id.as_str()).collect();
    let sessions = resolution.sessions(layered.sessions, &ids);
    if let Some(id) = &layered.claude.backend {
        resolution.check_known("claude.backend", id.as_str(), &ids);
    }

    let faults = resolution.faults;
    let warnings = if world_readable { readable_secrets(&backends, places) } else { Vec::new() };
    let settings = Settings {
        alternative_backends,
        backends,
        upstream: layered.upstream,
        sessions,
        claude: layered.claude,
        supervisor: layered.supervisor,
        log: layered.log,
    };
    Resolved { settings, faults, warnings }
}

/// The built-in ones first, those that the file names in the file's order among themselves; then the others.
fn backend_order(places: &Places<'_>) -> Vec<String> {
    let typed = places.names_in("backends");
    let (typed_built_in, others): (Vec<&str>, Vec<&str>) = typed.into_iter().partition(|id| built_in(id).is_some());
    let mut as_typed = typed_built_in.iter().copied();
    let built_in = BUILT_IN.iter().map(|kind| {
        let id = kind.as_str();
        if typed_built_in.contains(&id) { as_typed.next().unwrap_or(id) } else { id }
    });
    let mut order: Vec<String> = built_in.map(str::to_owned).collect();
    order.extend(others.into_iter().map(str::to_owned));
    order
}

fn readable_secrets(backends: &[Backend], places: &Places<'_>) -> Vec<Fault> {
    let typed_secret = |backend: &&Backend| matches!(backend.credential, Some(CredentialSetting::Value(_)));
    let warning = |backend: &Backend| {
        let path = format!("backends.{}.credential.value", backend.id);
        places.at_key(&path, format!("others can read this file and with it `{path}`: chmod 600 it"))
    };
    let mut warnings: Vec<Fault> = backends.iter().filter(typed_secret).map(warning).collect();
    fault::sort(&mut warnings);
    warnings
}

struct Resolution<'a> {
    places: &'a Places<'a>,
    surroundings: &'a Surroundings<'a>,
    alternative_backends: bool,
    faults: Vec<Fault>,
}

impl Resolution<'_> {
    fn backend(&mut self, id: String, typed: LayeredBackend) -> Backend {
        let kind = self.kind(&id, &typed);
        let credential = typed.credential.and_then(credential_setting);
        let codex = (kind == BackendKind::CodexSubscription).then(|| CodexSettings {
            home: typed.codex_home.unwrap_or_else(|| self.usual_codex_home()),
            bin: typed.codex_bin,
            originator: typed.originator,
        });
        let mut backend = Backend {
            kind,
            enabled: true,
            disabled_because: None,
            credential,
            base_url: self.base_url(&id, kind, typed.base_url),
            id: BackendId::new(id),
            default_model: typed.default_model,
            small_model: typed.small_model,
            models: typed.models,
            // An empty one is an element whose fault is already known.
            fallback: typed.fallback.into_iter().map(BackendId::new).collect(),
            headers: typed.headers.into_iter().collect(),
            ca_file: typed.ca_file,
            context_window: typed.context_window,
            profile: profile(kind, &typed.profile),
            codex,
        };
        backend.disabled_because = self.disabled_because(&backend, typed.enabled);
        backend.enabled = backend.disabled_because.is_none();
        backend
    }

    /// The built-in ones have their kind by their id; whatever else a person adds is a custom one.
    fn kind(&mut self, id: &str, typed: &LayeredBackend) -> BackendKind {
        let path = format!("backends.{id}");
        let kind_path = format!("{path}.kind");
        match (built_in(id), typed.kind) {
            (Some(kind), Some(other)) if kind != other => {
                let message = format!("`{kind_path}` cannot be \"{other}\": the backend `{id}` is built in");
                self.faults.push(self.places.at_value(&kind_path, message));
                kind
            }
            (Some(kind), _) => kind,
            (None, Some(BackendKind::CustomOpenAi)) => BackendKind::CustomOpenAi,
            (None, Some(other)) => {
                let message = format!(
                    "`{kind_path}` cannot be \"{other}\": only backends of kind \"custom-openai\" can be added"
                );
                self.faults.push(self.places.at_value(&kind_path, message));
                other
            }
            (None, None) => {
                if !self.places.holds(&kind_path) {
                    self.faults.push(self.places.at_key(&path, format!("`{path}` needs `kind = \"custom-openai\"`")));
                }
                BackendKind::CustomOpenAi
            }
        }
    }

    fn base_url(&mut self, id: &str, kind: BackendKind, typed: Option<String>) -> Url {
        let path = format!("backends.{id}");
        let url_path = format!("{path}.base_url");
        if typed.is_none() && kind == BackendKind::CustomOpenAi && !self.places.holds(&url_path) {
            self.faults.push(self.places.at_key(&path, format!("`{path}` needs a `base_url`")));
        }
        let text = typed.as_deref().unwrap_or(ANTHROPIC_URL);
        Url::parse(text).expect("the walk lets only URLs through, and the constant is one")
    }

    fn usual_codex_home(&self) -> PathBuf {
        match self.surroundings.variable("CODEX_HOME") {
            Some(home) => PathBuf::from(home),
            None => self.surroundings.home.clone().unwrap_or_else(|| PathBuf::from("/")).join(".codex"),
        }
    }

    /// Why a backend is not offered; `None` if it is (DESIGN.md §5, `enabled`).
    fn disabled_because(&self, backend: &Backend, typed: Option<bool>) -> Option<String> {
        if !self.alternative_backends && backend.kind != BackendKind::Anthropic {
            return Some("`[experimental] alternative_backends` is false".to_owned());
        }
        match (typed, backend.kind) {
            (Some(true), _) => None,
            (Some(false), _) => Some(format!("`[backends.{}] enabled` is false", backend.id)),
            (None, BackendKind::Anthropic | BackendKind::CustomOpenAi) => None,
            (None, BackendKind::OpenAiApi) => self.missing_credential(backend.credential.as_ref()),
            (None, BackendKind::CodexSubscription) => self.missing_login(backend),
        }
    }

    fn missing_credential(&self, credential: Option<&CredentialSetting>) -> Option<String> {
        match credential {
            None => Some("it has no credential".to_owned()),
            Some(CredentialSetting::Env(name)) => {
                self.surroundings.variable(name).is_none().then(|| format!("the variable {name} is not set"))
            }
            Some(CredentialSetting::File(path)) => {
                let missing = !(self.surroundings.file_exists)(path);
                missing.then(|| format!("the credential file {} does not exist", path.display()))
            }
            // A command is not run to find out.
            Some(CredentialSetting::Value(_) | CredentialSetting::Command { .. }) => None,
        }
    }

    fn missing_login(&self, backend: &Backend) -> Option<String> {
        let file = backend.codex.as_ref()?.login_file();
        let usable = (self.surroundings.file_exists)(&file)
            || backend.credential.is_some()
            || self.surroundings.enabled_before.contains(&backend.id);
        let sentence = || format!("{} does not exist: run `claudette login {}`", file.display(), backend.id);
        (!usable).then(sentence)
    }

    fn check_fallbacks(&mut self, backends: &[Backend]) {
        let ids: Vec<&str> = backends.iter().map(|backend| backend.id.as_str()).collect();
        for backend in backends {
            for (index, target) in backend.fallback.iter().enumerate() {
                let path = format!("backends.{}.fallback[{index}]", backend.id);
                if backends.iter().any(|other| other.id == *target && other.kind == BackendKind::Anthropic) {
                    let message = format!("`{path}` cannot be `{target}`: it has no gateway to fall back to");
                    self.faults.push(self.places.at_value(&path, message));
                } else if !target.as_str().is_empty() {
                    self.check_known(&path, target.as_str(), &ids);
                }
            }
        }
        let mut done = BTreeSet::new();
        for backend in backends {
            self.check_circles(backend, backends, &mut done);
        }
    }

    /// Depth first, with the trail on the heap: a file can hold a long chain. An edge back into the trail closes a circle
    /// and is told once, where it stands.
    fn check_circles<'b>(&mut self, start: &'b Backend, backends: &'b [Backend], done: &mut BTreeSet<&'b BackendId>) {
        let mut trail: Vec<(&Backend, usize)> = Vec::new();
        let mut next = Some(start);
        loop {
            trail.extend(next.take().filter(|backend| !done.contains(&backend.id)).map(|backend| (backend, 0)));
            let Some((backend, index)) = trail.last_mut() else { return };
            let Some(target) = backend.fallback.get(*index) else {
                done.insert(&backend.id);
                trail.pop();
                continue;
            };
            let path = format!("backends.{}.fallback[{index}]", backend.id);
            *index += 1;
            if let Some(first) = trail.iter().position(|(backend, _)| backend.id == *target) {
                let circle: Vec<&str> = trail[first..].iter().map(|(backend, _)| backend.id.as_str()).collect();
                let message = format!("`{path}` closes a circle: {} → {target}", circle.join(" → "));
                self.faults.push(self.places.at_value(&path, message));
            } else {
                next = backends.iter().find(|backend| backend.id == *target);
            }
        }
    }

    /// A credential must not cross a network in the clear unless the person says so.
    fn check_plain_http(&mut self, backends: &[Backend]) {
        for backend in backends {
            let carries_one = backend.credential.is_some() || backend.codex.is_some();
            if carries_one && backend.base_url.scheme() == "http" && !is_loopback(&backend.base_url) {
                let path = format!("backends.{}.base_url", backend.id);
                let message = format!(
                    "`{path}` would send the credential over plain http: use https, \
                     or set `[upstream] allow_plain_http = true`"
                );
                self.faults.push(self.places.at_value(&path, message));
            }
        }
    }

    fn sessions(&mut self, mut typed: HashMap<String, LayeredSession>, ids: &[&str]) -> Vec<SessionSettings> {
        let names = self.places.names_in("sessions");
        let in_order = names.into_iter().filter_map(|name| Some((name, typed.remove(name)?)));
        in_order.filter_map(|(name, session)| self.session(name, session, ids)).collect()
    }

    fn session(&mut self, name: &str, typed: LayeredSession, ids: &[&str]) -> Option<SessionSettings> {
        let path = format!("sessions.{name}");
        for key in ["backend", "cwd"] {
            if !self.places.holds(&format!("{path}.{key}")) {
                self.faults.push(self.places.at_key(&path, format!("`{path}` needs a `{key}`")));
            }
        }
        if let Some(id) = &typed.backend {
            self.check_known(&format!("{path}.backend"), id, ids);
        }
        let prompt = self.prompt(&path, typed.prompt, typed.prompt_file);
        Some(SessionSettings {
            name: SessionName::new(name),
            backend: BackendId::new(typed.backend?),
            cwd: typed.cwd?,
            prompt: prompt?,
            start: typed.start,
            restart: typed.restart,
            args: typed.args,
            model: typed.model,
            turn_timeout: typed.turn_timeout,
            config_dir: typed.config_dir,
            setting_sources: typed.setting_sources,
        })
    }

    fn prompt(&mut self, path: &str, text: Option<String>, file: Option<PathBuf>) -> Option<Prompt> {
        let (text_path, file_path) = (format!("{path}.prompt"), format!("{path}.prompt_file"));
        match (self.places.holds(&text_path), self.places.holds(&file_path)) {
            (true, true) => {
                let message = format!("`{path}` has both `prompt` and `prompt_file`: keep one");
                self.faults.push(self.places.at_key(&file_path, message));
            }
            (false, false) => {
                self.faults.push(self.places.at_key(path, format!("`{path}` needs a `prompt` or a `prompt_file`")));
            }
            (true, false) | (false, true) => {}
        }
        text.map(Prompt::Text).or(file.map(Prompt::File))
    }

    fn check_known(&mut self, path: &str, id: &str, ids: &[&str]) {
        if !ids.contains(&id) {
            let hint = nearest(id, ids.iter().copied());
            self.faults.push(self.places.at_value(path, format!("`{path}`: there is no backend `{id}`: {hint}")));
        }
    }
}

fn credential_setting(typed: LayeredCredential) -> Option<CredentialSetting> {
    let value = typed.value.map(CredentialSetting::Value);
    let env = typed.env.map(CredentialSetting::Env);
    let file = typed.file.map(CredentialSetting::File);
    let command = typed.command.map(|argv| CredentialSetting::Command { argv, ttl: typed.ttl });
    value.or(env).or(file).or(command)
}

fn profile(kind: BackendKind, overrides: &ProfileOverrides) -> Profile {
    let usual = Profile::of(match kind {
        BackendKind::OpenAiApi => ProfileKind::OpenAi,
        BackendKind::CodexSubscription => ProfileKind::Codex,
        BackendKind::CustomOpenAi | BackendKind::Anthropic => ProfileKind::Custom,
    });
    Profile {
        kind: usual.kind,
        mid_system: overrides.mid_system.unwrap_or(usual.mid_system),
        store: overrides.store.unwrap_or(usual.store),
        array_outputs: overrides.array_outputs.unwrap_or(usual.array_outputs),
        strict: overrides.strict.unwrap_or(usual.strict),
        encrypted_reasoning: overrides.encrypted_reasoning.unwrap_or(usual.encrypted_reasoning),
        empty_output_ok: overrides.empty_output_ok.unwrap_or(usual.empty_output_ok),
        reasoning: overrides.reasoning.unwrap_or(usual.reasoning),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
