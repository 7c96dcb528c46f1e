//! The environment that wires a `claude` to a gateway: DESIGN.md §6, to the letter.
//!
//! A pure value: what to set and what to unset, rendered as shell exports or JSON, or applied by whoever starts the
//! process. The caller's own environment is asked for one thing only, the hosts that it keeps from its proxy.

use std::fmt;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, ModelId};

/// The window that `claude` is told where ours is not known, in tokens: by itself it would believe in a million.
const UNKNOWN_CONTEXT_WINDOW: u64 = 200_000;

/// Half an hour, in milliseconds: thinking models are silent for long, and the gateway has timeouts of its own.
const PATIENCE_MS: &str = "1800000";

/// What a proxy must never be asked for.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The variables of one of `claude`'s model classes.
struct ClassVariables {
    model: &'static str,
    name: &'static str,
    description: &'static str,
}

const OPUS: ClassVariables = ClassVariables {
    model: "ANTHROPIC_DEFAULT_OPUS_MODEL",
    name: "ANTHROPIC_DEFAULT_OPUS_MODEL_NAME",
    description: "ANTHROPIC_DEFAULT_OPUS_MODEL_DESCRIPTION",
};
const SONNET: ClassVariables = ClassVariables {
    model: "ANTHROPIC_DEFAULT_SONNET_MODEL",
    name: "ANTHROPIC_DEFAULT_SONNET_MODEL_NAME",
    description: "ANTHROPIC_DEFAULT_SONNET_MODEL_DESCRIPTION",
};
const HAIKU: ClassVariables = ClassVariables {
    model: "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    name: "ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME",
    description: "ANTHROPIC_DEFAULT_HAIKU_MODEL_DESCRIPTION",
};
const FABLE: ClassVariables = ClassVariables {
    model: "ANTHROPIC_DEFAULT_FABLE_MODEL",
    name: "ANTHROPIC_DEFAULT_FABLE_MODEL_NAME",
    description: "ANTHROPIC_DEFAULT_FABLE_MODEL_DESCRIPTION",
};

/// What would send `claude` elsewhere, or tell it that it runs inside another one.
pub const UNSET: [&str; 22] = [
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_BETAS",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_EXTRA_BODY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDECODE",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_CHILD_NOTES_DIR",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_PID",
];

/// A model as `claude` is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WiredModel {
    pub id: ModelId,
    pub display_name: String,
}

/// What a `claude` must know of the generation that serves it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Wiring {
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// The local token.
    pub token: String,
    pub backend: BackendId,
    /// Absent: none configured and none discovered. `claude` then keeps its own names and the gateway answers them.
    pub model: Option<WiredModel>,
    /// Absent: `model`.
    pub small_model: Option<WiredModel>,
    /// Tokens, of `model`.
    pub context_window: Option<u64>,
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring")
            .field("base_url", &self.base_url)
            .field("token", &"***")
            .field("backend", &self.backend)
            .field("model", &self.model)
            .field("small_model", &self.small_model)
            .field("context_window", &self.context_window)
            .finish()
    }
}

/// Changes to an environment. Holds the local token: it is printed for the person who asks for it and nowhere else.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    pub set: Vec<(&'static str, String)>,
    pub unset: Vec<&'static str>,
}

/// The environment of a `claude` that is wired to a gateway. `inherited` looks a variable up in the environment that
/// these changes will be applied to.
pub fn environment(wiring: &Wiring, inherited: &dyn Fn(&str) -> Option<String>) -> Environment {
    let mut environment = Environment { set: Vec::with_capacity(32), unset: UNSET.to_vec() };
    environment.put("ANTHROPIC_BASE_URL", &wiring.base_url);
    environment.put("ANTHROPIC_AUTH_TOKEN", &wiring.token);
    environment.put("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", "1");
    environment.put("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1");
    environment.put_models(wiring);
    let window = wiring.context_window.unwrap_or(UNKNOWN_CONTEXT_WINDOW).to_string();
    environment.put("CLAUDE_CODE_MAX_CONTEXT_TOKENS", &window);
    environment.put("CLAUDE_CODE_AUTO_COMPACT_WINDOW", &window);
    environment.put("CLAUDE_STREAM_IDLE_TIMEOUT_MS", PATIENCE_MS);
    environment.put("API_FORCE_IDLE_TIMEOUT", "0");
    environment.put("API_TIMEOUT_MS", PATIENCE_MS);
    environment.put("CLAUDE_CODE_ATTRIBUTION_HEADER", "0");
    for variable in NO_PROXY {
        let own = inherited(variable).or_else(|| NO_PROXY.into_iter().find_map(inherited)).unwrap_or_default();
        environment.put(variable, &with_loopback(&own));
    }
    environment
}

/// Takes back in a shell what [`environment`] set there, for the `anthropic` backend. Hosts that the person keeps from
/// a proxy stay; what we added to them goes.
pub fn without_wiring(inherited: &dyn Fn(&str) -> Option<String>) -> Environment {
    let nobody = Wiring {
        base_url: String::new(),
        token: String::new(),
        backend: BackendId::new(""),
        model: Some(WiredModel { id: ModelId::new(""), display_name: String::new() }),
        small_model: None,
        context_window: None,
    };
    let wired = environment(&nobody, &|_| None);
    let mut environment = Environment::default();
    environment.unset.extend(wired.set.iter().map(|(name, _)| *name).filter(|name| !NO_PROXY.contains(name)));
    for variable in NO_PROXY {
        environment.restore_no_proxy(variable, inherited(variable));
    }
    environment
}

impl Environment {
    /// `export NAME='…'` and `unset NAME`, one per line, for any POSIX shell.
    pub fn to_shell(&self) -> String {
        let exports = self.set.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
        exports.chain(self.unset.iter().map(|name| format!("unset {name}\n"))).collect()
    }

    /// One JSON object, name → value; `null` means unset.
    pub fn to_json(&self) -> String {
        // Names and values are text: there is nothing that JSON could not express.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn put(&mut self, name: &'static str, value: &str) {
        self.set.push((name, value.to_owned()));
    }

    fn put_models(&mut self, wiring: &Wiring) {
        let model = wiring.model.as_ref();
        let small = wiring.small_model.as_ref().or(model);
        self.put_model("ANTHROPIC_MODEL", model);
        for class in [OPUS, SONNET, FABLE] {
            self.put_class(class, model, &wiring.backend);
        }
        self.put_class(HAIKU, small, &wiring.backend);
        self.put_model("ANTHROPIC_SMALL_FAST_MODEL", small);
    }

    fn put_model(&mut self, name: &'static str, model: Option<&WiredModel>) {
        match model {
            Some(model) => self.put(name, &format!("anthropic/{}", model.id)),
            None => self.unset.push(name),
        }
    }

    /// Without a name and a description, `/model` shows Anthropic's prices.
    fn put_class(&mut self, class: ClassVariables, model: Option<&WiredModel>, backend: &BackendId) {
        self.put_model(class.model, model);
        match model {
            Some(model) => {
                self.put(class.name, &model.display_name);
                self.put(class.description, backend.as_str());
            }
            None => self.unset.extend([class.name, class.description]),
        }
    }

    fn restore_no_proxy(&mut self, variable: &'static str, value: Option<String>) {
        let ours = LOOPBACK.join(",");
        let value = value.unwrap_or_else(|| ours.clone());
        match value.strip_suffix(&ours) {
            Some("") => self.unset.push(variable),
            Some(own) => self.put(variable, own.trim_end_matches(',')),
            // Never ours: theirs alone.
            None => {}
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.set.iter().map(|(name, _)| name).collect();
        f.debug_struct("Environment").field("set", &names).field("unset", &self.unset).finish()
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.set.len() + self.unset.len()))?;
        for (name, value) in &self.set {
            map.serialize_entry(name, value)?;
        }
        for name in &self.unset {
            map.serialize_entry(name, &None::<&str>)?;
        }
        map.end()
    }
}

/// The caller's list with loopback appended, once. A lone `*` keeps everything from the proxy already.
fn with_loopback(own: &str) -> String {
    let own = own.trim().trim_end_matches(',');
    if own == "*" {
        return own.to_owned();
    }
    let has = |host: &str| own.split(',').any(|entry| entry.trim() == host);
    if LOOPBACK.iter().all(|host| has(host)) {
        return own.to_owned();
    }
    let ours = LOOPBACK.join(",");
    if own.is_empty() { ours } else { format!("{own},{ours}") }
}

/// A word that every POSIX shell reads as `value`, whatever is in it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn wired(id: &str, display_name: &str) -> WiredModel {
        WiredModel { id: ModelId::new(id), display_name: display_name.to_owned() }
    }

    fn wiring() -> Wiring {
        Wiring {
            base_url: "http://127.0.0.1:4000".into(),
            token: "local-token".into(),
            backend: BackendId::new("vllm"),
            model: Some(wired("qwen/qwen3", "Qwen 3")),
            small_model: Some(wired("tiny", "Tiny")),
            context_window: Some(32_768),
        }
    }

    fn value<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        environment.set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn claude_is_wired_to_the_gateway() {
        let environment = environment(&wiring(), &nothing);
        let expected = [
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000"),
            ("ANTHROPIC_AUTH_TOKEN", "local-token"),
            ("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", "1"),
            ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
            ("ANTHROPIC_MODEL", "anthropic/qwen/qwen3"),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL", "anthropic/qwen/qwen3"),
            ("ANTHROPIC_DEFAULT_SONNET_MODEL", "anthropic/qwen/qwen3"),
            ("ANTHROPIC_DEFAULT_FABLE_MODEL", "anthropic/qwen/qwen3"),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL", "anthropic/tiny"),
            ("ANTHROPIC_SMALL_FAST_MODEL", "anthropic/tiny"),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL_NAME", "Qwen 3"),
            ("ANTHROPIC_DEFAULT_SONNET_MODEL_NAME", "Qwen 3"),
            ("ANTHROPIC_DEFAULT_FABLE_MODEL_NAME", "Qwen 3"),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME", "Tiny"),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL_DESCRIPTION", "vllm"),
            ("ANTHROPIC_DEFAULT_SONNET_MODEL_DESCRIPTION", "vllm"),
            ("ANTHROPIC_DEFAULT_FABLE_MODEL_DESCRIPTION", "vllm"),
            ("ANTHROPIC_DEFAULT_HAIKU_MODEL_DESCRIPTION", "vllm"),
            ("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "32768"),
            ("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "32768"),
            ("CLAUDE_STREAM_IDLE_TIMEOUT_MS", "1800000"),
            ("API_FORCE_IDLE_TIMEOUT", "0"),
            ("API_TIMEOUT_MS", "1800000"),
            ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
            ("NO_PROXY", "127.0.0.1,localhost,::1"),
            ("no_proxy", "127.0.0.1,localhost,::1"),
        ];
        let set: BTreeMap<_, _> = environment.set.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(set, BTreeMap::from(expected));
        assert_eq!(environment.set.len(), expected.len(), "no variable twice");
        assert_eq!(environment.unset, UNSET);
    }

    #[test]
    fn what_belongs_to_the_person_is_never_touched() {
        let environment = environment(&wiring(), &nothing);
        let touched: BTreeSet<_> = environment.set.iter().map(|(name, _)| *name).chain(environment.unset).collect();
        for name in [
            "CLAUDE_CONFIG_DIR",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "ALL_PROXY",
            "CLAUDE_CODE_MAX_RETRIES",
            "CLAUDE_CODE_SUBAGENT_MODEL",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
            "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS",
            "ENABLE_TOOL_SEARCH",
        ] {
            assert!(!touched.contains(name), "{name}");
        }
    }

    #[test]
    fn without_a_small_model_haiku_is_the_model_and_an_unknown_window_is_200k() {
        let wiring = Wiring { small_model: None, context_window: None, ..wiring() };
        let environment = environment(&wiring, &nothing);
        assert_eq!(value(&environment, "ANTHROPIC_DEFAULT_HAIKU_MODEL"), Some("anthropic/qwen/qwen3"));
        assert_eq!(value(&environment, "ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME"), Some("Qwen 3"));
        assert_eq!(value(&environment, "ANTHROPIC_SMALL_FAST_MODEL"), Some("anthropic/qwen/qwen3"));
        assert_eq!(value(&environment, "CLAUDE_CODE_AUTO_COMPACT_WINDOW"), Some("200000"));
    }

    #[test]
    fn without_a_model_the_model_variables_are_unset() {
        let wiring = Wiring { model: None, small_model: None, ..wiring() };
        let environment = environment(&wiring, &nothing);
        for name in ["ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL_NAME", "ANTHROPIC_SMALL_FAST_MODEL"] {
            assert!(value(&environment, name).is_none() && environment.unset.contains(&name), "{name}");
        }
    }

    #[test]
    fn loopback_is_appended_to_the_hosts_that_are_kept_from_a_proxy() {
        let cases = [
            (Some("corp.example"), None, "corp.example,127.0.0.1,localhost,::1"),
            (None, Some("corp.example,"), "corp.example,127.0.0.1,localhost,::1"),
            (Some("*"), None, "*"),
            (Some("localhost, 127.0.0.1,::1,a"), None, "localhost, 127.0.0.1,::1,a"),
            (Some("localhost"), None, "localhost,127.0.0.1,localhost,::1"),
        ];
        for (upper, lower, expected) in cases {
            let inherited = |name: &str| match name {
                "NO_PROXY" => upper.map(str::to_owned),
                "no_proxy" => lower.map(str::to_owned),
                other => panic!("asked for {other}"),
            };
            let environment = environment(&wiring(), &inherited);
            for name in NO_PROXY {
                assert_eq!(value(&environment, name), Some(expected));
            }
        }
    }

    #[test]
    fn anthropic_unsets_every_variable_that_we_set() {
        let wired = environment(&wiring(), &nothing);
        let restored = without_wiring(&nothing);
        let set: BTreeSet<_> = wired.set.iter().map(|(name, _)| *name).collect();
        assert_eq!(restored.unset.iter().copied().collect::<BTreeSet<_>>(), set);
        assert!(restored.set.is_empty());
    }

    #[test]
    fn anthropic_leaves_the_persons_own_proxy_exceptions() {
        for (inherited, expected) in
            [("corp.example,127.0.0.1,localhost,::1", Some("corp.example")), ("corp.example", None)]
        {
            let restored = without_wiring(&|_| Some(inherited.to_owned()));
            assert_eq!(value(&restored, "NO_PROXY"), expected);
            assert!(!restored.unset.contains(&"NO_PROXY"));
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let environment = Environment {
            set: vec![("A", "it's $HOME `x` \"y\" \\".into()), ("B", "two\nlines".into())],
            unset: vec!["C"],
        };
        let expected = "export A='it'\\''s $HOME `x` \"y\" \\'\nexport B='two\nlines'\nunset C\n";
        assert_eq!(environment.to_shell(), expected);
    }

    #[test]
    fn json_is_one_object_with_null_for_unset() {
        let environment = Environment { set: vec![("A", "a\"b".into())], unset: vec!["C"] };
        assert_eq!(environment.to_json(), r#"{"A":"a\"b","C":null}"#);
    }

    #[test]
    fn no_debug_output_shows_the_token() {
        let wiring = wiring();
        let environment = environment(&wiring, &nothing);
        assert!(!format!("{wiring:?} {environment:?}").contains("local-token"));
    }
}
