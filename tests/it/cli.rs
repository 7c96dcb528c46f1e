//! Commands as people type them: what they print, how they end, what they leave on disk (DESIGN.md §4, §5, §7).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::bodies::plain_request;
use crate::support::http_client::BodyEnd;
use crate::support::scene::{Scene, openai_config};
use crate::support::service::Service;
use crate::support::world::World;

/// Nobody listens there; enough for everything that asks no model.
const NOWHERE: &str = "http://127.0.0.1:1/v1";

#[test]
fn check_names_every_fault_with_its_place() {
    let world = World::new();
    let config = world.write(
        "faulty.toml",
        "[backends.openai-api]\n\
         base_url = \"not a url\"\n\
         defualt_model = \"gpt-5.5\"\n\
         \n\
         [supervisor]\n\
         backoff_initial = \"soon\"\n",
    );
    let path = config.to_str().expect("UTF-8");
    let ran = world.run(&["check", "--config", path]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let said = ran.said();
    let faults: Vec<&str> = said.lines().filter(|line| line.contains("faulty.toml:")).collect();
    assert_eq!(faults.len(), 3, "{said}");
    for (line, mentions) in [(2, "base_url"), (3, "default_model"), (6, "backoff_initial")] {
        let place = format!("faulty.toml:{line}:");
        let fault = faults.iter().find(|fault| fault.contains(&place)).unwrap_or_else(|| panic!("{place} in {said}"));
        assert!(fault.contains(mentions), "{fault}");
        let column = fault.split(&place).nth(1).and_then(|rest| rest.split(": ").next());
        assert!(column.is_some_and(|column| column.parse::<u32>().is_ok()), "{fault}");
    }
}

#[test]
fn check_takes_a_good_file_and_says_where_a_syntax_error_is() {
    let world = World::new();
    let good = world.write("good.toml", &openai_config(NOWHERE));
    assert_eq!(world.run(&["check", "--config", good.to_str().expect("UTF-8")]).code, Some(0));
    let torn = world.write("torn.toml", "[backends.openai-api\nbase_url = 1\n");
    let ran = world.run(&["check", "--config", torn.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.said().contains("torn.toml:1:"), "{}", ran.said());
}

#[test]
fn a_named_config_that_is_missing_or_faulty_ends_the_service_with_2() {
    let world = World::new();
    for command in ["serve", "check"] {
        let ran = world.run(&[command, "--config", "/nonexistent/claudette.toml"]);
        assert_eq!(ran.code, Some(2), "{command}: {ran:?}");
        assert!(ran.said().contains("/nonexistent/claudette.toml"), "{command}: {ran:?}");
    }
    let faulty = world.write("faulty.toml", "[backends.openai-api]\nwobble = 1\n");
    assert_eq!(world.run(&["serve", "--config", faulty.to_str().expect("UTF-8")]).code, Some(2));
}

#[test]
fn usage_errors_are_2_and_help_is_0() {
    let world = World::new();
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["serve", "--help"], 0),
        (&["no-such-command"], 2),
        (&["serve", "--no-such-flag"], 2),
        (&["env"], 2),
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    }
    assert!(world.run(&["--version"]).stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn commands_that_need_the_service_say_that_there_is_none() {
    let world = World::new();
    for arguments in [&["env", "openai-api"][..], &["env", "openai-api", "--json"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(3), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("claudette serve"), "it says how to start one: {ran:?}");
        assert_eq!(ran.stdout, "", "nothing that a shell could take for exports");
    }
}

#[test]
fn a_second_service_is_refused_and_names_the_first() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let first = Service::start(&world, &config);
    let ran = world.run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.said().contains(&first.pid().to_string()), "{ran:?}");
    first.environment(&world, "openai-api");
}

#[test]
fn a_service_that_was_killed_leaves_nothing_in_the_way() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let first = Service::start(&world, &config);
    let before = first.gateway(&world, "openai-api");
    drop(first);
    let ran = world.run(&["env", "openai-api", "--json"]);
    assert_eq!(ran.code, Some(3), "the control.json left behind belongs to nobody: {ran:?}");
    let second = Service::start(&world, &config);
    let after = second.gateway(&world, "openai-api");
    assert_eq!((after.address, after.token), (before.address, before.token), "a running claude survives the restart");
}

#[test]
fn sigterm_ends_the_service_with_0_and_takes_its_control_file_away() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let service = Service::start(&world, &config);
    assert!(world.state().join("control.json").exists());
    let (status, _, log) = service.stop();
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
    assert!(!world.state().join("control.json").exists());
}

#[test]
fn a_stop_lets_the_running_request_finish() {
    let script = json!([{"on": "plain", "reply": {"stream": [{"text": ["begun, ", {"hold": "end"}, "finished"]}]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun, ");
    scene.service.signal(rustix::process::Signal::TERM);
    scene.service.wait_for("service.stopping");
    scene.upstream.release("end");
    assert_eq!(stream.next_text(), "finished");
    assert_eq!(stream.read_to_end().last().map(|event| event.name.as_str()), Some("message_stop"));
    assert_eq!(stream.end(), BodyEnd::Clean);
    assert_eq!(scene.service.wait().0.code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let script = json!([{"on": "plain", "reply": {"stream": [{"text": ["begun", {"hold": "never"}]}]}}]);
    let scene = Scene::openai(script);
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun");
    scene.service.signal(rustix::process::Signal::TERM);
    scene.service.wait_for("service.stopping");
    scene.service.signal(rustix::process::Signal::TERM);
    scene.service.wait();
    scene.upstream.wait("aborted=1");
}

#[test]
fn the_state_folder_is_ours_alone() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let service = Service::start(&world, &config);
    service.environment(&world, "openai-api");
    let mode = |path: &Path| path.metadata().unwrap_or_else(|error| panic!("{path:?}: {error}")).permissions().mode();
    assert_eq!(mode(&world.state()) & 0o7777, 0o700);
    for file in ["control.json", "gateways.json"] {
        assert_eq!(mode(&world.state().join(file)) & 0o7777, 0o600, "{file}");
    }
    let control = std::fs::read_to_string(world.state().join("control.json")).expect("our own file");
    let control: serde_json::Value = serde_json::from_str(&control).expect("JSON");
    assert_eq!(control["pid"], service.pid());
}

#[test]
fn a_state_folder_that_is_a_link_is_refused() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    std::os::unix::fs::symlink(world.path("tmp"), world.state()).expect("a link in a fresh folder");
    let ran = world.run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for arguments in [&["status"][..], &["claude", "--backend", "anthropic"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("symbolic link") && !ran.stderr.contains("does not answer"), "{ran:?}");
    }
}

#[test]
fn env_prints_what_claude_needs_and_unsets_the_rest() {
    let scene = Scene::openai(json!([]));
    let environment = scene.service.environment(&scene.world, "openai-api");
    for (name, value) in [
        ("ANTHROPIC_MODEL", "anthropic/gpt-5.5"),
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", "anthropic/gpt-5.5"),
        ("ANTHROPIC_DEFAULT_SONNET_MODEL", "anthropic/gpt-5.5"),
        ("ANTHROPIC_DEFAULT_FABLE_MODEL", "anthropic/gpt-5.5"),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", "anthropic/gpt-5-mini"),
        ("ANTHROPIC_SMALL_FAST_MODEL", "anthropic/gpt-5-mini"),
        ("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", "1"),
        ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
        ("CLAUDE_CODE_ATTRIBUTION_HEADER", "0"),
        ("CLAUDE_STREAM_IDLE_TIMEOUT_MS", "1800000"),
        ("API_TIMEOUT_MS", "1800000"),
        ("API_FORCE_IDLE_TIMEOUT", "0"),
    ] {
        assert_eq!(environment.get(name).and_then(Option::as_deref), Some(value), "{name} in {environment:#?}");
    }
    for name in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_USE_BEDROCK"]
    {
        assert_eq!(environment.get(name), Some(&None), "{name} must be unset");
    }
    let url = environment["ANTHROPIC_BASE_URL"].as_deref().expect("set");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let no_proxy = environment["NO_PROXY"].as_deref().expect("set");
    assert!(no_proxy.contains("127.0.0.1"), "{no_proxy}");
    for name in ["CLAUDE_CONFIG_DIR", "HTTPS_PROXY", "CLAUDE_CODE_MAX_RETRIES", "ENABLE_TOOL_SEARCH"] {
        assert!(!environment.contains_key(name), "{name} is the person's own");
    }
}

#[test]
fn env_prints_exports_that_a_shell_takes() {
    let scene = Scene::openai(json!([]));
    let ran = scene.world.run(&["env", "openai-api"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("claudette claude"), "it says that this shell holds no lease: {ran:?}");
    let script =
        format!("export ANTHROPIC_API_KEY=old\n{}\necho \"$ANTHROPIC_MODEL ${{ANTHROPIC_API_KEY-unset}}\"", ran.stdout);
    let shell = scene.world.command("/bin/sh").args(["-euc", &script]).output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "anthropic/gpt-5.5 unset\n", "{ran:?}");
}

#[test]
fn env_for_a_backend_that_is_not_there_names_those_that_are() {
    let scene = Scene::openai(json!([]));
    let ran = scene.world.run(&["env", "no-such-backend"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for known in ["openai-api", "anthropic", "codex-subscription (disabled)"] {
        assert!(ran.stderr.contains(known), "no {known} in {ran:?}");
    }
    assert_eq!(ran.stdout, "");
}

#[test]
fn env_with_a_model_asks_for_a_slot_of_its_own() {
    let scene = Scene::openai(json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Hello."}]}}]));
    let ran = scene.world.run(&["env", "openai-api", "--model", "gpt-5-mini", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let environment: crate::support::service::Environment = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(environment["ANTHROPIC_MODEL"].as_deref(), Some("anthropic/gpt-5-mini"));
    let asked = crate::support::service::Gateway::from_environment(&environment);
    assert_ne!(asked.address, scene.gateway.address);
    let mut connection = asked.connect();
    let mut body = plain_request("hi");
    body["model"] = json!("claude-opus-5-5");
    connection.send("POST", "/v1/messages", &asked.headers(), body.to_string().as_bytes());
    assert_eq!(
        connection.into_event_stream().read_to_end().last().map(|event| event.name.clone()).as_deref(),
        Some("message_stop")
    );
    assert_eq!(scene.upstream.only_request().body["model"], "gpt-5-mini");
    // The token of one gateway is nothing to another.
    let mut connection = scene.gateway.connect();
    connection.send("GET", "/v1/models", &asked.headers(), b"");
    assert_eq!(connection.read_response().status, 401);
}

#[test]
fn init_writes_a_good_config_once() {
    let world = World::new();
    let named = world.path("named/claudette.toml");
    for (arguments, path) in [
        (vec!["init"], world.path("config/claudette/claudette.toml")),
        (vec!["init", "--config", named.to_str().expect("UTF-8")], named.clone()),
    ] {
        let ran = world.run(&arguments);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.stdout.trim(), path.to_str().expect("UTF-8"));
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o7777, 0o600);
        assert_eq!(world.run(&["check", "--config", ran.stdout.trim()]).code, Some(0));
        std::fs::write(&path, "# mine\n").expect("our own file");
        let again = world.run(&arguments);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("our own file"), "# mine\n");
    }
}

#[test]
fn completions_are_what_the_shell_takes() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = world.run(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("claudette") && ran.stdout.contains("status"), "{shell}");
    }
    assert_eq!(world.run(&["completions", "no-such-shell"]).code, Some(2));
}

#[test]
fn status_shows_gateways_and_where_to_look_further() {
    let scene = Scene::openai(json!([]));
    let ran = scene.world.run(&["status"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for shown in ["openai-api", "serving", &scene.gateway.address, "log: stderr", "transcripts: "] {
        assert!(ran.stdout.contains(shown), "{shown} is not in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains(&scene.gateway.token));
}

#[test]
fn a_watched_status_goes_on_until_the_service_ends() {
    use std::io::{BufRead, BufReader};
    let scene = Scene::openai(json!([]));
    let mut command = scene.world.claudette(&["status", "--json", "--watch"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("the program can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
    for _ in 0..2 {
        let line = lines.next().expect("a line");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON")["revision"], 1);
    }
    scene.service.stop();
    assert_eq!(lines.count(), 0);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}
