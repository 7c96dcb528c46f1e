//! Edits that count: a saved file is loaded by itself, whatever saved it (DESIGN.md §5).

use std::fs;

use serde_json::{Value, json};

use crate::support::scene::{Scene, UPSTREAM_KEY, openai_config};
use crate::support::service::Service;
use crate::support::world::World;

const NOWHERE: &str = "http://127.0.0.1:1/v1";

fn revision(service: &Service, revision: u64) -> Value {
    service.wait_for_line("config.loaded", |line| line["revision"] == revision)
}

#[test]
fn a_saved_file_is_loaded_and_the_log_names_the_keys_but_no_values() {
    let scene = Scene::openai(json!([]));
    revision(&scene.service, 1);
    scene.edit("[upstream]\nidle_timeout = \"77s\"\n[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:1\"\ncredential = { value = \"sk-another-secret\" }\n");
    let loaded = revision(&scene.service, 2);
    assert_eq!(loaded["cause"], "edit");
    let changed = scene.service.wait_for("config.changed");
    let keys: Vec<&str> = changed["keys"].as_str().expect("keys").split(',').collect();
    assert!(keys.contains(&"upstream.idle_timeout"), "{changed}");
    assert!(keys.contains(&"backends.vllm.credential"), "{changed}");
    let log = scene.service.log_lines().join("\n");
    for secret in ["77s", "sk-another-secret", UPSTREAM_KEY] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_new_backend_is_served_from_then_on() {
    let scene = Scene::openai(json!([]));
    scene.edit("[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:1\"\ndefault_model = \"m\"\n");
    let ready = scene.service.wait_for_line("gateway.ready", |line| line["backend"] == "vllm");
    assert_eq!(ready["cause"], "configured");
    scene.service.gateway(&scene.world, "vllm");
}

#[test]
fn a_file_that_appears_at_the_usual_place_is_loaded() {
    let world = World::new();
    let service = Service::spawn_command(world.claudette(&["serve"]));
    service.wait_for("service.started");
    fs::create_dir(world.path("config/claudette")).expect("a new folder");
    world.write("config/claudette/claudette.toml", &openai_config(NOWHERE));
    revision(&service, 2);
    service.wait_for_line("gateway.ready", |line| line["backend"] == "openai-api");
}

#[test]
fn sighup_reloads_at_once() {
    let scene = Scene::openai_with(json!([]), "[supervisor]\ndebounce = \"1h\"\n");
    scene.edit("[upstream]\nidle_timeout = \"77s\"\n");
    scene.service.signal(rustix::process::Signal::HUP);
    assert_eq!(revision(&scene.service, 2)["cause"], "signal");
    scene.service.wait_for("config.changed");
}

#[test]
fn a_file_that_was_gone_and_returns_is_loaded() {
    let scene = Scene::openai(json!([]));
    fs::remove_file(scene.world.path("claudette.toml")).expect("it is there");
    scene.service.wait_for("config.warned");
    scene.edit("[upstream]\nidle_timeout = \"77s\"\n");
    revision(&scene.service, 2);
}

#[test]
fn a_linked_file_is_followed_when_the_link_is_swapped() {
    let world = World::new();
    for (name, timeout) in [("one.toml", "71s"), ("two.toml", "72s")] {
        world.write(name, &format!("{}[upstream]\nidle_timeout = \"{timeout}\"\n", openai_config(NOWHERE)));
    }
    let config = world.path("claudette.toml");
    std::os::unix::fs::symlink("one.toml", &config).expect("a link in a fresh folder");
    let service = Service::start(&world, &config);
    std::os::unix::fs::symlink("two.toml", world.path("new")).expect("a link in a fresh folder");
    fs::rename(world.path("new"), &config).expect("both lie in one folder");
    revision(&service, 2);
    assert_eq!(service.wait_for("config.changed")["keys"], "upstream.idle_timeout");
}

#[test]
fn a_login_that_comes_enables_its_backend() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let service = Service::start(&world, &config);
    let ran = world.run(&["env", "codex-subscription"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    world.write("codex/auth.json", "{}");
    assert_eq!(revision(&service, 2)["cause"], "login");
    service.gateway(&world, "codex-subscription");
    fs::remove_file(world.path("codex/auth.json")).expect("it is there");
    service.signal(rustix::process::Signal::HUP);
    revision(&service, 3);
    service.gateway(&world, "codex-subscription");
}

#[test]
fn the_log_level_follows_the_config() {
    let scene = Scene::openai(json!([]));
    let until = |revision: u64| {
        while scene.service.status(&scene.world)["revision"] != revision {
            std::thread::yield_now();
        }
    };
    for (number, text) in [(2, "error"), (3, "error"), (4, "info")] {
        scene.edit(&format!("[upstream]\nidle_timeout = \"{number}s\"\n[log]\nlevel = \"{text}\"\n"));
        until(number);
    }
    scene.service.signal(rustix::process::Signal::HUP);
    revision(&scene.service, 5);
    let log = scene.service.log_lines();
    let is_loaded = |line: &&String| line.contains("config.loaded") && line.contains("\"revision\":3");
    assert_eq!(log.iter().find(is_loaded), None, "the level was error then");
}

#[test]
fn without_alternative_backends_the_log_says_who_is_not_offered() {
    let scene = Scene::openai(json!([]));
    scene.edit("[experimental]\nalternative_backends = false\n");
    let line = scene.service.wait_for_line("backend.not_offered", |line| line["backend"] == "openai-api");
    assert!(line["message"].as_str().is_some_and(|text| text.contains("alternative_backends")), "{line}");
    let ran = scene.world.run(&["env", "openai-api"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}
