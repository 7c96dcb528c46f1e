//! Tables of files as people type them: what is said about the bad ones, and what the good ones mean.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::schema::{Key, Shape};
use super::*;
use crate::ids::{Fingerprint, Slot};
use crate::providers::profile::{MidSystem, ProfileKind, Store};

/// A machine with a home, the given variables and the given files.
struct Machine {
    variables: Vec<(&'static str, &'static str)>,
    files: Vec<&'static str>,
    enabled_before: Vec<BackendId>,
    home: Option<PathBuf>,
}

impl Machine {
    fn bare() -> Self {
        Self { variables: Vec::new(), files: Vec::new(), enabled_before: Vec::new(), home: Some("/home/ann".into()) }
    }

    /// With a key and a login for both built-in backends that need one.
    fn furnished() -> Self {
        Self { variables: vec![("OPENAI_API_KEY", "sk-1")], files: vec!["/home/ann/.codex/auth.json"], ..Self::bare() }
    }

    fn with<T>(&self, work: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let env = |name: &str| {
            let set = self.variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let file_exists = |path: &Path| self.files.iter().any(|file| Path::new(file) == path);
        work(&Surroundings {
            env: &env,
            file_exists: &file_exists,
            home: self.home.clone(),
            enabled_before: &self.enabled_before,
        })
    }

    fn load(&self, text: &str) -> Result<Loaded, Vec<Fault>> {
        self.with(|surroundings| load(Some(&source(text)), surroundings))
    }

    fn settings(&self, text: &str) -> Settings {
        match self.load(text) {
            Ok(loaded) => loaded.settings,
            Err(faults) => panic!("refused: {}", lines(&faults).join("\n")),
        }
    }

    fn faults(&self, text: &str) -> Vec<String> {
        match self.load(text) {
            Ok(_) => Vec::new(),
            Err(faults) => lines(&faults),
        }
    }
}

fn source(text: &str) -> Source {
    Source { path: "c.toml".into(), folder: "/etc".into(), text: text.to_owned(), world_readable: false }
}

fn lines(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(|fault| fault.to_string().replace("c.toml:", "")).collect()
}

fn backend<'s>(settings: &'s Settings, id: &str) -> &'s Backend {
    settings.backend(&BackendId::from(id)).expect("the backend exists")
}

fn ids(settings: &Settings) -> Vec<&str> {
    settings.backends.iter().map(|backend| backend.id.as_str()).collect()
}

fn enabled(settings: &Settings) -> Vec<&str> {
    settings.enabled_backends().map(|backend| backend.id.as_str()).collect()
}

const VLLM: &str = "[backends.vllm]\nkind = 'custom-openai'\nbase_url = 'http://127.0.0.1:8000/v1'\n";

#[test]
fn a_bad_value_is_told_with_its_line_and_column() {
    let table: &[(&str, &[&str])] = &[
        // Unknown keys, with the nearest known one.
        ("[upstrem]", &["1:2: unknown key `upstrem`: did you mean `upstream`?"]),
        ("[upstream]\nidle_timout = '1s'", &["2:1: unknown key `upstream.idle_timout`: did you mean `idle_timeout`?"]),
        ("[claude]\ncolour = 'red'", &["2:1: unknown key `claude.colour`: known: `bin`, `backend`"]),
        (
            "[backends.openai-api]\ncredential = { enw = 'X' }",
            &[
                "2:14: `backends.openai-api.credential` needs exactly one of `value`, `env`, `file` and `command`",
                "2:16: unknown key `backends.openai-api.credential.enw`: did you mean `env`?",
            ],
        ),
        (
            "[backends.openai-api]\nmodels = [{ id = 'a', window = 3 }]",
            &["2:23: unknown key `backends.openai-api.models.window`: known: `id`, `display_name`, `context_window`"],
        ),
        // Types.
        ("log = 3", &["1:7: `log` must be a table, not a number"]),
        ("[log]\nlevel = 3", &["2:9: `log.level` must be a string, not a number"]),
        (
            "[log]\nkeep = 30",
            &["2:8: `log.keep` must be a duration such as \"250ms\", \"10s\", \"5m\", \"2h\" or \"30d\", not a number"],
        ),
        (
            "[upstream]\n  allow_plain_http = 'yes'",
            &["2:22: `upstream.allow_plain_http` must be true or false, not a string"],
        ),
        (
            "[backends.openai-api]\nfallback = 'codex-subscription'",
            &["2:12: `backends.openai-api.fallback` must be a list, not a string"],
        ),
        (
            "[backends.openai-api]\nfallback = [1]",
            &["2:13: `backends.openai-api.fallback[0]` must be a string, not a number"],
        ),
        ("[[backends.openai-api]]", &["1:1: `backends.openai-api` must be a table, not a list"]),
        ("backends.vllm = 3", &["1:17: `backends.vllm` must be a table, not a number"]),
        (
            "[backends.openai-api]\nmodels = [{ display_name = 'A' }, 3]",
            &[
                "2:11: `backends.openai-api.models`: a model needs an `id`",
                "2:35: `backends.openai-api.models` must be a list of \"id\" or { id, display_name, context_window }, not a number",
            ],
        ),
        // Words.
        ("[log]\nlevel = 'inof'", &["2:9: `log.level` cannot be \"inof\": did you mean `info`?"]),
        ("[log]\nformat = 'jsn'", &["2:10: `log.format` cannot be \"jsn\": did you mean `json`?"]),
        (
            "[backends.openai-api]\nwire_api = 'chat'",
            &[
                "2:12: `backends.openai-api.wire_api` = \"chat\" is not supported: the server must offer /v1/responses, and `wire_api` be \"responses\"",
            ],
        ),
        (
            "[backends.openai-api]\nprofile = { store = true, mid_system = 'user' }",
            &[
                "2:21: `backends.openai-api.profile.store` must be \"omit\" or false",
                "2:40: `backends.openai-api.profile.mid_system` cannot be \"user\": known: `developer`, `system`, `reminder`",
            ],
        ),
        // Numbers and durations.
        (
            "[supervisor]\nrestart_intensity = -1",
            &["2:21: `supervisor.restart_intensity` must be a whole number from 0 to 4294967295"],
        ),
        (
            "[supervisor]\nrejection_threshold = 0",
            &["2:23: `supervisor.rejection_threshold` must be a whole number from 1 to 4294967295"],
        ),
        (
            "[supervisor]\nrestart_intensity = 1.5",
            &["2:21: `supervisor.restart_intensity` must be a whole number, not a decimal number"],
        ),
        // URLs; their text is not repeated.
        (
            "[backends.openai-api]\nbase_url = 'api.openai.com'",
            &["2:12: `backends.openai-api.base_url` is not a URL: relative URL without a base"],
        ),
        (
            "[backends.openai-api]\nbase_url = 'ftp://h/'",
            &["2:12: `backends.openai-api.base_url` must begin with `https://`, `http://`"],
        ),
        (
            "[backends.openai-api]\nbase_url = 'https://me:pw@h/'",
            &["2:12: `backends.openai-api.base_url` must hold no user or password; a key belongs into `credential`"],
        ),
        (
            "[backends.openai-api]\nbase_url = 'https://h/?a=b'",
            &["2:12: `backends.openai-api.base_url` must hold no query and no fragment"],
        ),
        // Names and kinds.
        (
            "[backends.My_Box]\nkind = 'custom-openai'\nbase_url = 'https://h/v1'",
            &["1:11: `My_Box` is not a name: 1 to 64 lower-case letters, digits and hyphens, the first one no hyphen"],
        ),
        (
            "[sessions.-a]\nbackend = 'anthropic'\ncwd = '/'\nprompt = 'hi'",
            &["1:11: `-a` is not a name: 1 to 64 lower-case letters, digits and hyphens, the first one no hyphen"],
        ),
        (
            "[backends.vllm]",
            &["1:11: `backends.vllm` needs `kind = \"custom-openai\"`", "1:11: `backends.vllm` needs a `base_url`"],
        ),
        (
            "[backends.work]\nkind = 'openai-api'",
            &[
                "2:8: `backends.work.kind` cannot be \"openai-api\": only backends of kind \"custom-openai\" can be added",
            ],
        ),
        (
            "[backends.openai-api]\nkind = 'custom-openai'",
            &["2:8: `backends.openai-api.kind` cannot be \"custom-openai\": the backend `openai-api` is built in"],
        ),
        (
            "[backends.anthropic]\nenabled = false\nbase_url = 'https://h'",
            &["3:1: `base_url` is not a key of this kind of backend; its keys: `kind`, `enabled`"],
        ),
        (
            "[backends.vllm]\nkind = 'custom-openai'\nbase_url = 'https://h/v1'\ncodex_home = '~'",
            &[
                "4:1: `codex_home` is not a key of this kind of backend; its keys: `kind`, `enabled`, `credential`, `base_url`, \
               `wire_api`, `default_model`, `small_model`, `models`, `context_window`, `fallback`, `headers`, `ca_file`, `profile`",
            ],
        ),
        // Credentials and headers.
        (
            "[backends.openai-api]\ncredential = 'sk-secret'",
            &["2:14: `backends.openai-api.credential` must be a table such as { env = \"NAME\" }, not a string"],
        ),
        (
            "[backends.openai-api]\ncredential = { env = 'sk-secret' }",
            &["2:22: `backends.openai-api.credential.env` must be the name of an environment variable"],
        ),
        (
            "[backends.openai-api]\ncredential = { env = 'A', file = '/k', ttl = '1m' }",
            &[
                "2:14: `backends.openai-api.credential` needs exactly one of `value`, `env`, `file` and `command`",
                "2:40: `backends.openai-api.credential.ttl` goes with `command` only",
            ],
        ),
        (
            "[backends.openai-api]\ncredential = { command = [] }",
            &["2:26: `backends.openai-api.credential.command` must name a program"],
        ),
        (
            "[backends.openai-api]\ncredential = { value = \"sk\\nx\" }",
            &["2:24: `backends.openai-api.credential.value` must be one line of printable ASCII"],
        ),
        (
            "[backends.openai-api.headers]\nHost = 'h'\n'a b' = 'c'\nX-A = '1'\nx-a = '2'",
            &[
                "2:1: the header `host` is set by the HTTP client itself",
                "3:1: `a b` is not the name of an HTTP header",
                "5:1: the header `x-a` is given twice",
            ],
        ),
        // References.
        (
            "[backends.openai-api]\nfallback = ['anthropic', 'codex-subscripton']",
            &[
                "2:13: `backends.openai-api.fallback[0]` cannot be `anthropic`: it has no gateway to fall back to",
                "2:26: `backends.openai-api.fallback[1]`: there is no backend `codex-subscripton`: did you mean `codex-subscription`?",
            ],
        ),
        (
            "[backends.openai-api]\nfallback = ['codex-subscription']\n[backends.codex-subscription]\nfallback = ['openai-api']",
            &[
                "4:13: `backends.codex-subscription.fallback[0]` closes a circle: openai-api → codex-subscription → openai-api",
            ],
        ),
        (
            "[backends.openai-api]\nfallback = ['openai-api']",
            &["2:13: `backends.openai-api.fallback[0]` closes a circle: openai-api → openai-api"],
        ),
        (
            "[claude]\nbackend = 'x'",
            &[
                "2:11: `claude.backend`: there is no backend `x`: known: `anthropic`, `openai-api`, `codex-subscription`",
            ],
        ),
        // Plain http.
        (
            "[backends.openai-api]\nbase_url = 'http://10.0.0.1/v1'",
            &[
                "2:12: `backends.openai-api.base_url` would send the credential over plain http: use https, or set `[upstream] allow_plain_http = true`",
            ],
        ),
        (
            "[backends.codex-subscription]\nbase_url = 'http://localhost.example/v1'",
            &[
                "2:12: `backends.codex-subscription.base_url` would send the credential over plain http: use https, or set `[upstream] allow_plain_http = true`",
            ],
        ),
        // Sessions.
        (
            "[sessions.a]",
            &[
                "1:11: `sessions.a` needs a `backend`",
                "1:11: `sessions.a` needs a `cwd`",
                "1:11: `sessions.a` needs a `prompt` or a `prompt_file`",
            ],
        ),
        (
            "[sessions.a]\nbackend = 'openai'\ncwd = ''\nprompt = 'x'\nprompt_file = 'y'\nsetting_sources = 'user,all'",
            &[
                "2:11: `sessions.a.backend`: there is no backend `openai`: known: `anthropic`, `openai-api`, `codex-subscription`",
                "3:7: `sessions.a.cwd` must not be empty",
                "5:1: `sessions.a` has both `prompt` and `prompt_file`: keep one",
                "6:19: `sessions.a.setting_sources` cannot be \"all\": known: `user`, `project`, `local`",
            ],
        ),
        ("[log]\nfile = '~bob/log'", &["2:8: `log.file`: of `~` only `~` and `~/…` are understood"]),
        ("[log]\nfile = \"a\\u0000b\"", &["2:8: `log.file` must not hold a NUL character"]),
        // What is not TOML stands alone.
        ("[log]\nlevel = \n[nonsense]", &["2:9: string values must be quoted, expected literal string"]),
        ("[log]\nlevel = 'info'\nlevel = 'warn'", &["3:1: duplicate key"]),
    ];
    for (text, expected) in table {
        assert_eq!(Machine::bare().faults(text), *expected, "for\n{text}");
    }
}

#[test]
fn all_faults_of_form_and_meaning_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
[sessions.reviewer]
backend = 'vlm'
cwd = '~/src'
prompt = 'hi'
turn_timeout = '0s'

[backends.vllm]
kind = 'custom-openai'
base_url = 'http://127.0.0.1:8000/v1'
fallback = ['anthropic']

[log]
levle = 'info'
";
    let duration = "a duration such as \"250ms\", \"10s\", \"5m\", \"2h\" or \"30d\"";
    assert_eq!(
        Machine::bare().faults(text),
        [
            "2:11: `sessions.reviewer.backend`: there is no backend `vlm`: did you mean `vllm`?".to_owned(),
            format!("5:16: `sessions.reviewer.turn_timeout` must be {duration}, above zero, not \"0s\""),
            "10:13: `backends.vllm.fallback[0]` cannot be `anthropic`: it has no gateway to fall back to".to_owned(),
            "13:1: unknown key `log.levle`: did you mean `level`?".to_owned(),
        ]
    );
}

#[test]
fn a_column_counts_characters() {
    assert_eq!(
        Machine::bare().faults("sessions = { 'ä' = 3 }"),
        [
            "1:14: `ä` is not a name: 1 to 64 lower-case letters, digits and hyphens, the first one no hyphen",
            "1:20: `sessions.ä` must be a table, not a number",
        ]
    );
}

#[test]
fn durations_are_whole_numbers_with_a_unit() {
    let day = Duration::from_secs(86_400);
    let good = [("250ms", Duration::from_millis(250)), ("1s", Duration::from_secs(1)), ("30d", 30 * day)];
    for (text, expected) in good {
        assert_eq!(duration::parse(text), Some(expected), "{text}");
    }
    for text in
        ["", "0s", "10", "s", "-1s", "1.5s", "1 s", "1h30m", "1S", "99999999999999999999s", "18446744073709551615h"]
    {
        assert_eq!(duration::parse(text), None, "{text}");
    }
}

#[test]
fn without_a_file_the_defaults_hold() {
    let loaded = Machine::bare().with(|surroundings| load(None, surroundings)).expect("the defaults are good");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings, Machine::bare().settings(""));
    let settings = loaded.settings;
    assert!(settings.alternative_backends);
    assert_eq!(ids(&settings), ["anthropic", "openai-api", "codex-subscription"]);
    assert_eq!(enabled(&settings), ["anthropic"]);
    let openai = backend(&settings, "openai-api");
    assert_eq!(openai.credential, Some(CredentialSetting::Env("OPENAI_API_KEY".to_owned())));
    assert_eq!(openai.base_url.as_str(), "https://api.openai.com/v1");
    assert_eq!(openai.origin(), "https://api.openai.com:443");
    assert_eq!(openai.default_model, Some(ModelId::from("gpt-5.5")));
    assert_eq!(openai.small_model, Some(ModelId::from("gpt-5-mini")));
    assert_eq!(openai.profile, Profile::of(ProfileKind::OpenAi));
    let codex = backend(&settings, "codex-subscription").codex.as_ref().expect("codex settings");
    assert_eq!(codex.home, Path::new("/home/ann/.codex"));
    assert_eq!((codex.bin.as_path(), codex.originator.as_str()), (Path::new("codex"), "claudette"));
    assert_eq!(settings.upstream.idle_timeout, Duration::from_secs(600));
    assert_eq!(settings.supervisor.restart_intensity, 5);
    assert_eq!((settings.log.format, settings.log.level), (LogFormat::Auto, LogLevel::Info));
    assert_eq!((settings.log.file, settings.claude.backend), (None, None));
}

#[test]
fn a_file_is_laid_over_the_defaults() {
    let settings = Machine::furnished().settings(
        "[sessions.reviewer]
backend = 'vllm'
cwd = '~/src/app'
prompt_file = 'review.md'
args = ['--permission-mode', 'acceptEdits']
start = 'manual'

[backends.vllm]
kind = 'custom-openai'
base_url = 'http://127.0.0.1:8000/v1/'
credential = { command = ['op', 'read', 'x'], ttl = '1h' }
models = ['qwen3-coder', { id = 'b/c', display_name = 'B', context_window = 32_768 }]
context_window = 0x8000
fallback = ['openai-api']
headers = { X-Title = 'a', authorization-2 = 'b' }
ca_file = 'ca.pem'
profile = { mid_system = 'system', store = false, reasoning = false }

[backends.a-first]
kind = 'custom-openai'
base_url = 'https://h'
",
    );
    assert_eq!(ids(&settings), ["anthropic", "openai-api", "codex-subscription", "vllm", "a-first"]);
    let vllm = backend(&settings, "vllm");
    assert!(vllm.enabled);
    assert_eq!(vllm.base_url.as_str(), "http://127.0.0.1:8000/v1");
    assert_eq!(vllm.origin(), "http://127.0.0.1:8000");
    let argv = ["op", "read", "x"].map(str::to_owned).to_vec();
    assert_eq!(vllm.credential, Some(CredentialSetting::Command { argv, ttl: Duration::from_secs(3600) }));
    assert_eq!(
        vllm.models,
        [
            ManualModel { id: "qwen3-coder".into(), display_name: None, context_window: None },
            ManualModel { id: "b/c".into(), display_name: Some("B".to_owned()), context_window: Some(32_768) },
        ]
    );
    assert_eq!(vllm.context_window, Some(32_768));
    assert_eq!(vllm.fallback, ["openai-api".into()]);
    let headers: Vec<(&str, &str)> = vllm.headers.iter().map(|(name, value)| (&**name, value.expose())).collect();
    assert_eq!(headers, [("authorization-2", "b"), ("x-title", "a")]);
    assert_eq!(vllm.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let usual = Profile::of(ProfileKind::Custom);
    let expected = Profile { mid_system: MidSystem::System, store: Store::False, reasoning: false, ..usual };
    assert_eq!(vllm.profile, expected);
    assert_eq!(
        settings.sessions,
        [SessionSettings {
            name: "reviewer".into(),
            backend: "vllm".into(),
            cwd: "/home/ann/src/app".into(),
            prompt: Prompt::File("/etc/review.md".into()),
            start: Start::Manual,
            restart: Restart::OnFailure,
            args: vec!["--permission-mode".to_owned(), "acceptEdits".to_owned()],
            model: None,
            turn_timeout: Duration::from_secs(1800),
            config_dir: None,
            setting_sources: "user".to_owned(),
        }]
    );
}

#[test]
fn built_in_backends_come_first_in_the_order_of_the_file_and_the_others_in_theirs() {
    let custom = |name: &str| format!("[backends.{name}]\nkind = 'custom-openai'\nbase_url = 'https://h'\n");
    let table: &[(String, &[&str])] = &[
        (
            format!("{}[backends.openai-api]\n{}", custom("z"), custom("a")),
            &["anthropic", "openai-api", "codex-subscription", "z", "a"],
        ),
        (
            "[backends.codex-subscription]\n[backends.openai-api]\n".to_owned(),
            &["anthropic", "codex-subscription", "openai-api"],
        ),
        (
            "[backends.codex-subscription]\n[backends.anthropic]\n".to_owned(),
            &["codex-subscription", "openai-api", "anthropic"],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(ids(&Machine::bare().settings(text)), *expected, "for\n{text}");
    }
}

#[test]
fn enabled_left_out_follows_the_credential() {
    let furnished = Machine::furnished;
    let keyed = |credential: &str| format!("[backends.openai-api]\ncredential = {credential}");
    let table: Vec<(&str, Machine, String, &[&str])> = vec![
        ("nothing is there", Machine::bare(), String::new(), &["anthropic"]),
        ("all is there", furnished(), String::new(), &["anthropic", "openai-api", "codex-subscription"]),
        (
            "an empty variable",
            Machine { variables: vec![("OPENAI_API_KEY", "")], ..Machine::bare() },
            String::new(),
            &["anthropic"],
        ),
        (
            "a file that exists",
            Machine { files: vec!["/key"], ..Machine::bare() },
            keyed("{ file = '/key' }"),
            &["anthropic", "openai-api"],
        ),
        ("a file that does not", Machine::bare(), keyed("{ file = '/key' }"), &["anthropic"]),
        ("a value", Machine::bare(), keyed("{ value = 'sk-2' }"), &["anthropic", "openai-api"]),
        (
            "a command is not run to find out",
            Machine::bare(),
            keyed("{ command = ['false'] }"),
            &["anthropic", "openai-api"],
        ),
        (
            "another codex home",
            Machine { variables: vec![("CODEX_HOME", "/c")], files: vec!["/c/auth.json"], ..Machine::bare() },
            String::new(),
            &["anthropic", "codex-subscription"],
        ),
        (
            "a codex login that is gone again",
            Machine { enabled_before: vec!["codex-subscription".into(), "openai-api".into()], ..Machine::bare() },
            String::new(),
            &["anthropic", "codex-subscription"],
        ),
        (
            "written down",
            Machine::bare(),
            "[backends.openai-api]\nenabled = true\n[backends.anthropic]\nenabled = false".to_owned(),
            &["openai-api"],
        ),
        ("a custom one", Machine::bare(), VLLM.to_owned(), &["anthropic", "vllm"]),
        (
            "no alternative backends",
            furnished(),
            format!("{VLLM}enabled = true\n[experimental]\nalternative_backends = false"),
            &["anthropic"],
        ),
    ];
    for (case, machine, text, expected) in table {
        assert_eq!(enabled(&machine.settings(&text)), expected, "{case}");
    }
}

#[test]
fn a_disabled_backend_says_why() {
    let reason = |text: &str, id: &str| backend(&Machine::bare().settings(text), id).disabled_because.clone();
    let table = [
        ("", "openai-api", Some("the variable OPENAI_API_KEY is not set")),
        (
            "",
            "codex-subscription",
            Some("/home/ann/.codex/auth.json does not exist: run `claudette login codex-subscription`"),
        ),
        ("[backends.anthropic]\nenabled = false", "anthropic", Some("`[backends.anthropic] enabled` is false")),
        (
            "[experimental]\nalternative_backends = false",
            "openai-api",
            Some("`[experimental] alternative_backends` is false"),
        ),
        ("", "anthropic", None),
    ];
    for (text, id, expected) in table {
        assert_eq!(reason(text, id).as_deref(), expected, "{id} for\n{text}");
    }
}

#[test]
fn a_credential_may_cross_plain_http_only_on_this_machine_or_when_allowed() {
    let base_urls = [
        "http://127.0.0.1:1/v1",
        "http://127.8.8.8/v1",
        "http://[::1]:1/v1",
        "http://localhost/v1",
        "https://10.0.0.1/v1",
    ];
    for base_url in base_urls {
        let text = format!("[backends.openai-api]\nbase_url = '{base_url}'");
        assert_eq!(Machine::bare().faults(&text), [] as [&str; 0], "{base_url}");
    }
    let allowed = "[upstream]\nallow_plain_http = true\n[backends.openai-api]\nbase_url = 'http://10.0.0.1/v1'";
    assert_eq!(Machine::bare().faults(allowed), [] as [&str; 0]);
    let without_credential = "[backends.lan]\nkind = 'custom-openai'\nbase_url = 'http://10.0.0.1/v1'";
    assert_eq!(Machine::bare().faults(without_credential), [] as [&str; 0]);
}

#[test]
fn the_environment_sets_three_log_keys_and_nothing_else() {
    let machine = Machine {
        variables: vec![
            ("CLAUDETTE_LOG_LEVEL", "debug"),
            ("CLAUDETTE_LOG_FORMAT", "json"),
            ("CLAUDETTE_LOG_FILE", "/tmp/l"),
            ("CLAUDETTE_CLAUDE_BIN", "/x"),
        ],
        ..Machine::bare()
    };
    let settings = machine.settings("[log]\nlevel = 'warn'");
    assert_eq!((settings.log.level, settings.log.format), (LogLevel::Debug, LogFormat::Json));
    assert_eq!(settings.log.file.as_deref(), Some(Path::new("/tmp/l")));
    assert_eq!(settings.claude.bin, Path::new("claude"));
}

#[test]
fn a_bad_word_in_the_environment_is_a_fault_beside_those_of_the_file() {
    let machine = Machine { variables: vec![("CLAUDETTE_LOG_LEVEL", "debgu")], ..Machine::bare() };
    assert_eq!(
        machine.faults("[log]\nfrmat = 'json'"),
        [
            "CLAUDETTE_LOG_LEVEL: cannot be \"debgu\": did you mean `debug`?",
            "2:1: unknown key `log.frmat`: did you mean `format`?",
        ]
    );
}

#[test]
fn a_readable_file_with_a_key_in_it_is_warned_about() {
    let text = "[backends.openai-api]\ncredential = { value = 'sk-2' }";
    let world_readable = Source { world_readable: true, ..source(text) };
    let loaded = Machine::bare().with(|surroundings| load(Some(&world_readable), surroundings)).expect("it is good");
    assert_eq!(
        lines(&loaded.warnings),
        ["2:16: others can read this file and with it `backends.openai-api.credential.value`: chmod 600 it"]
    );
    assert_eq!(Machine::bare().load(text).expect("it is good").warnings, []);
}

#[test]
fn secrets_print_as_stars() {
    let settings = Machine::bare().settings(&format!(
        "{VLLM}headers = {{ x-key = 'hunter2' }}\n[backends.openai-api]\ncredential = {{ value = 'hunter2' }}"
    ));
    let printed = format!("{settings:?}");
    assert!(printed.contains("***"));
    assert!(!printed.contains("hunter2"));
    assert_eq!(Secret::new("hunter2").to_string(), "***");
}

#[test]
fn a_tilde_is_a_fault_where_no_home_is_known() {
    let homeless = Machine { home: None, ..Machine::bare() };
    assert_eq!(
        homeless.faults("[log]\nfile = '~/l'"),
        ["2:8: `log.file`: `~` cannot be used, no home folder is known"]
    );
    assert_eq!(homeless.faults(""), [] as [&str; 0]);
}

#[test]
fn programs_are_names_or_paths() {
    let bin = |text: &str| Machine::bare().settings(&format!("[claude]\nbin = '{text}'")).claude.bin;
    assert_eq!(bin("claude"), Path::new("claude"));
    assert_eq!(bin("~/bin/claude"), Path::new("/home/ann/bin/claude"));
    assert_eq!(bin("./claude"), Path::new("/etc/./claude"));
}

#[test]
fn the_preferred_backend_is_the_configured_one_else_the_first_enabled() {
    let preferred = |machine: &Machine, text: &str| {
        let settings = machine.settings(text);
        settings.preferred_backend().map(|backend| backend.id.as_str().to_owned())
    };
    let bare = Machine::bare();
    assert_eq!(preferred(&bare, "").as_deref(), Some("anthropic"));
    assert_eq!(preferred(&bare, VLLM).as_deref(), Some("vllm"));
    assert_eq!(preferred(&Machine::furnished(), VLLM).as_deref(), Some("openai-api"));
    assert_eq!(preferred(&bare, "[claude]\nbackend = 'codex-subscription'").as_deref(), Some("codex-subscription"));
    assert_eq!(preferred(&bare, "[backends.anthropic]\nenabled = false"), None);
}

#[test]
fn the_config_is_found_by_flag_then_variable_then_usual_place() {
    let found = |variables: &[(&'static str, &'static str)], files: &[&'static str], flag: Option<&str>| {
        let machine = Machine { variables: variables.to_vec(), files: files.to_vec(), ..Machine::bare() };
        let located = machine.with(|surroundings| locate(flag.map(Path::new), surroundings));
        located.map_err(|fault| fault.to_string())
    };
    let file = |path: &str| Ok(Located::File(path.into()));
    let defaults = |path: &str| Ok(Located::Defaults { appears_at: Some(path.into()) });
    let variable = ("CLAUDETTE_CONFIG", "/b");
    let usual = "/home/ann/.config/claudette/claudette.toml";
    assert_eq!(found(&[variable], &["/a", "/b", usual], Some("/a")), file("/a"));
    assert_eq!(found(&[variable], &["/b", usual], None), file("/b"));
    assert_eq!(found(&[("CLAUDETTE_CONFIG", "")], &[usual], None), file(usual));
    assert_eq!(found(&[], &[], None), defaults(usual));
    assert_eq!(found(&[("XDG_CONFIG_HOME", "/x")], &[usual], None), defaults("/x/claudette/claudette.toml"));
    assert_eq!(found(&[("XDG_CONFIG_HOME", "x")], &[usual], None), file(usual));
    assert_eq!(
        found(&[variable], &["/b"], Some("/a")),
        Err("/a: this file, named by --config, does not exist".to_owned())
    );
    assert_eq!(
        found(&[variable], &[], None),
        Err("/b: this file, named by CLAUDETTE_CONFIG, does not exist".to_owned())
    );
}

#[test]
fn a_source_is_read_with_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[log]\n").expect("written");
    for (mode, world_readable) in [(0o600, false), (0o640, true), (0o644, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
        let source = Source::read(&path).expect("readable");
        assert_eq!(source.folder, folder.path());
        assert_eq!((source.text.as_str(), source.world_readable), ("[log]\n", world_readable));
    }
    std::fs::write(&path, b"\xff").expect("written");
    assert!(Source::read(&path).is_err_and(|fault| fault.message.starts_with("cannot be read")));
}

const CHAIN: &str = "
[backends.vllm]
kind = 'custom-openai'
base_url = 'https://h/v1'
fallback = ['other']
[backends.other]
kind = 'custom-openai'
base_url = 'https://i/v1'
fallback = ['openai-api']
";

fn chain_fingerprint(text: &str) -> Fingerprint {
    let slot = Slot { backend: "vllm".into(), model: None };
    fingerprint(&Machine::furnished().settings(text), &slot, Some(&"m".into()), None)
}

#[test]
fn a_fingerprint_does_not_depend_on_credentials_nor_on_what_handlers_do_not_read() {
    let edits = [
        "[backends.openai-api]\ncredential = { value = 'sk-9' }",
        "[backends.vllm.credential]\nenv = 'OTHER'",
        "[log]\nlevel = 'debug'",
        "[supervisor]\nretire_after = '1s'",
        "[claude]\nbin = '/x'",
        "[backends.codex-subscription]\ndefault_model = 'not reachable'",
        "[backends.openai-api]\ndefault_model = 'gpt-5.5'",
        "# a comment",
    ];
    for edit in edits {
        assert_eq!(chain_fingerprint(CHAIN), chain_fingerprint(&format!("{CHAIN}{edit}")), "{edit}");
    }
}

#[test]
fn a_fingerprint_depends_on_the_backend_on_upstream_and_on_every_fallback() {
    let mut seen = BTreeSet::from([chain_fingerprint(CHAIN)]);
    let edits = [
        "[backends.vllm.headers]\nx-a = '1'",
        "[backends.vllm.headers]\nx-a = '2'",
        "[backends.vllm.profile]\nstrict = false",
        "[upstream]\nidle_timeout = '1s'",
        "[backends.openai-api]\nsmall_model = 'x'",
        "[backends.openai-api]\nmodels = ['x']",
        "[backends.openai-api]\nmodels = [{ id = 'x', display_name = 'X' }]",
        "[backends.openai-api]\nenabled = false",
        "[backends.openai-api]\nca_file = '/x'",
        "[backends.openai-api]\nbase_url = 'https://j/v1'",
        "[backends.openai-api]\ncontext_window = 1",
    ];
    for edit in edits {
        assert!(seen.insert(chain_fingerprint(&format!("{CHAIN}{edit}"))), "{edit}");
    }
    let settings = Machine::furnished().settings(CHAIN);
    let slot = Slot { backend: "vllm".into(), model: None };
    for (model, small) in [(None, None), (Some("n"), None), (None, Some("m")), (Some("m"), Some("m"))] {
        let (model, small) = (model.map(ModelId::from), small.map(ModelId::from));
        assert!(seen.insert(fingerprint(&settings, &slot, model.as_ref(), small.as_ref())), "{model:?} {small:?}");
    }
}

#[test]
fn a_fingerprint_survives_being_written_down() {
    let fingerprint = chain_fingerprint(CHAIN);
    let text = serde_json::to_string(&fingerprint).expect("text");
    assert_eq!(text.len(), 66);
    assert_eq!(serde_json::from_str::<Fingerprint>(&text).expect("a fingerprint"), fingerprint);
    assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    assert!("0".repeat(63).parse::<Fingerprint>().is_err());
}

#[test]
fn a_sessions_fingerprint_depends_on_its_prompt() {
    let settings = Machine::bare().settings("[sessions.a]\nbackend = 'anthropic'\ncwd = '/'\nprompt_file = 'p'");
    let session = settings.session(&"a".into()).expect("the session");
    assert_eq!(session_fingerprint(session, "x"), session_fingerprint(session, "x"));
    assert_ne!(session_fingerprint(session, "x"), session_fingerprint(session, "y"));
}

#[test]
fn changed_keys_are_named_without_values() {
    let machine = Machine::furnished();
    let old = machine.settings(CHAIN);
    let edited = "[backends.openai-api]\ncredential = { value = 'sk-9' }\ndefault_model = 'x'\n[log]\nlevel = 'debug'
[sessions.a]\nbackend = 'anthropic'\ncwd = '/'\nprompt = 'p'";
    let new = machine.settings(&format!("{CHAIN}{edited}"));
    let changed = changed_keys(&old, &new);
    assert_eq!(changed[..3], ["backends.openai-api.credential", "backends.openai-api.default_model", "log.level"]);
    assert!(changed[3..].iter().all(|path| path.starts_with("sessions.a.")));
    assert_eq!(changed_keys(&new, &old), changed);
    assert_eq!(changed_keys(&old, &old), [] as [&str; 0]);
}

#[test]
fn the_example_is_good_and_says_what_the_defaults_say() {
    let machine = Machine::furnished();
    assert_eq!(machine.settings(EXAMPLE_TOML), machine.settings(""));
}

#[test]
fn the_commented_config_sets_nothing_and_shows_everything() {
    let machine = Machine::furnished();
    assert_eq!(machine.settings(&commented_config()), machine.settings(""));
    assert!(commented_config().contains("\n# retire_after = \"30m\""));
}

/// `config/default.toml` with the keys and sections that it shows in comments made real.
fn default_toml_uncommented() -> String {
    let shown = |line: &str| {
        let code = line.strip_prefix("# ")?;
        let word = code.split([' ', '.']).next()?;
        let key =
            word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && code[word.len()..].starts_with(" = ");
        (key || word == "[backends" || word == "[sessions").then(|| code.replace("NAME]", "name]"))
    };
    let lines = DEFAULT_TOML.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<String>>().join("\n")
}

#[test]
fn default_toml_shows_every_known_key() {
    let text = default_toml_uncommented();
    let root = toml::de::DeTable::parse(&text).expect("it is TOML");
    let root = root.get_ref();
    let section = |path: &[&str]| {
        let found = path.iter().try_fold(root, |table, name| table.get(*name)?.get_ref().as_table());
        found.unwrap_or_else(|| panic!("there is no section {path:?}"))
    };
    let misses = |path: &[&str], keys: &[Key]| -> Vec<&'static str> {
        let table = section(path);
        keys.iter().map(|key| key.name).filter(|name| !table.contains_key(*name)).collect()
    };
    for key in schema::ROOT {
        if let Shape::Table(keys) = key.shape {
            assert_eq!(misses(&[key.name], keys), [] as [&str; 0], "in {}", key.name);
        }
    }
    assert_eq!(misses(&["backends", "name", "profile"], schema::PROFILE), [] as [&str; 0]);
    assert_eq!(misses(&["sessions", "name"], schema::SESSION), ["prompt_file"], "the other of the two ways");
    assert_eq!(misses(&["backends", "name"], &schema::backend(BackendKind::CustomOpenAi).concat()), [] as [&str; 0]);
    assert_eq!(misses(&["backends", "openai-api"], &schema::backend(BackendKind::OpenAiApi).concat()), ["kind"]);
    for key in schema::CREDENTIAL.iter().chain(schema::MODEL).chain(schema::ANY_BACKEND.concat().iter()) {
        assert!(text.contains(&format!("{} = ", key.name)), "{} is not shown", key.name);
    }
}

#[test]
fn default_toml_shows_no_value_but_the_defaults() {
    let machine = Machine::furnished();
    let minimal = "[backends.name]\nkind = 'custom-openai'\nbase_url = 'http://127.0.0.1:8000/v1'
[sessions.name]\nbackend = 'openai-api'\ncwd = '~/src/app'\nprompt = 'Review it.'";
    let mut shown = machine.settings(&default_toml_uncommented());
    let mut defaults = machine.settings(minimal);
    // These keys have no default value, only a meaning when left out; the comment shows an example.
    for settings in [&mut shown, &mut defaults] {
        for backend in &mut settings.backends {
            backend.context_window = None;
            if backend.kind == BackendKind::CustomOpenAi {
                backend.credential = None;
            }
        }
    }
    assert_eq!(shown, defaults);
    assert_eq!(machine.settings(DEFAULT_TOML), machine.settings(""));
}

/// What the walk lets through must fit the typed structs: a layer that does not would be a fault without a place.
#[test]
fn every_value_of_a_wrong_form_is_a_fault_with_a_place() {
    let machine = Machine::furnished();
    let text = default_toml_uncommented();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(['#', ' '])) else { continue };
        for value in ["-1", "3", "1.5", "true", "false", "''", "'x'", "[]", "[['x']]", "{}", "{ x = 1 }", "1979-05-27"]
        {
            let line = format!("{key} = {value}");
            let mut edited = lines.clone();
            edited[index] = &line;
            let faults = machine.load(&edited.join("\n")).err().unwrap_or_default();
            assert!(faults.iter().all(|fault| fault.line > 0), "{line}: {faults:?}");
        }
    }
}
