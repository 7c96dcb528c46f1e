//! The subscription's login: read afresh for each request, renewed by the codex CLI alone, and said with the way out
//! when it is gone (CODEX.md §3, §4).

use std::thread;

use serde_json::{Value, json};

use crate::errors::{Told, assert_told};
use crate::support::anthropic_reader::Message;
use crate::support::bodies::plain_request;
use crate::support::codex::{FOREVER, FakeCodex, a_minute_ago, files_with, login, replace_login, token};
use crate::support::scene::{ACCOUNT, Scene};
use crate::support::world::World;

fn fine() -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}])
}

/// A world whose login holds this token.
fn world_with(token: &str) -> World {
    let world = World::new();
    world.write("codex/auth.json", &login(token, ACCOUNT));
    world
}

fn assert_no_login(scene: &Scene, says: &str) {
    let told = Told {
        status: 401,
        kind: "authentication_error",
        retry: Some("false"),
        says: &["claudette login codex-subscription"],
    };
    let response = scene.refusal(&plain_request("go"));
    assert_told(&response, &told, says);
    assert!(response.text().contains(says), "{says} in {}", response.text());
}

fn assert_fine(scene: &Scene) {
    assert_eq!(scene.message(&plain_request("go")).text(), "Fine.");
}

/// Neither tokens nor refresh tokens may come to rest with us.
fn assert_kept_nowhere(scene: &Scene, secrets: &[&str]) {
    let log = scene.service.log_lines().join("\n");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert_eq!(files_with(&scene.world.state(), secret), Vec::<String>::new());
    }
}

#[test]
fn twenty_requests_on_an_expired_token_cause_one_refresh() {
    let (old, new) = (token("old", a_minute_ago()), token("new", FOREVER));
    let world = world_with(&old);
    let codex = FakeCodex::install(&world);
    world.write("renewed.json", &login(&new, ACCOUNT));
    world.write("held", "");
    let scene = Scene::codex_in(world, &["--key", &new, "--account", ACCOUNT], &codex.bin(), fine());
    thread::scope(|scope| {
        let answers: Vec<_> = (0..20)
            .map(|_| {
                let mut connection = scene.gateway.connect();
                let body = plain_request("go").to_string();
                connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.as_bytes());
                scope.spawn(move || connection.read_response())
            })
            .collect();
        scene.world.write("go", "");
        for answer in answers {
            let response = answer.join().expect("no client panics");
            assert_eq!(response.status, 200, "{}", response.text());
        }
    });
    assert_eq!(codex.calls("features list"), 1);
    assert_eq!(codex.calls("app-server"), 0);
    scene.service.wait_for("credential.refreshed");
    assert_kept_nowhere(&scene, &[&old, &new, "refresh-token-of-the-tests"]);
}

#[test]
fn two_services_on_one_login_cause_one_refresh() {
    let (old, new) = (token("old", a_minute_ago()), token("new", FOREVER));
    let world = world_with(&old);
    let codex = FakeCodex::install(&world);
    world.write("renewed.json", &login(&new, ACCOUNT));
    world.write("held", "");
    let first = Scene::codex_in(world, &["--key", &new], &codex.bin(), fine());
    let more = format!("codex_home = \"{}\"\n", first.world.path("codex").display());
    let second = Scene::codex_with(World::new(), &["--key", &new], &codex.bin(), &more, fine());
    thread::scope(|scope| {
        let answers = [&first, &second].map(|scene| scope.spawn(|| scene.message(&plain_request("go")).text()));
        first.world.write("go", "");
        for answer in answers {
            assert_eq!(answer.join().expect("no client panics"), "Fine.");
        }
    });
    assert_eq!(codex.calls("features list"), 1);
}

#[test]
fn a_refused_token_that_looks_good_is_renewed_by_force_and_the_request_goes_on() {
    let (old, new) = (token("old", FOREVER), token("new", FOREVER));
    let world = world_with(&old);
    let codex = FakeCodex::install(&world);
    world.write("renewed.json", &login(&new, ACCOUNT));
    let scene = Scene::codex_in(world, &["--key", &new], &codex.bin(), fine());
    assert_fine(&scene);
    assert_fine(&scene);
    assert_eq!((codex.calls("app-server"), codex.calls("features list")), (1, 0));
    scene.service.wait_for("credential.rejected");
    assert_kept_nowhere(&scene, &[&old, &new]);
}

#[test]
fn after_a_401_a_login_that_was_replaced_meanwhile_is_used_without_a_refresh() {
    let (old, new) = (token("old", FOREVER), token("new", FOREVER));
    let script = json!([
        {"on": "any", "reply": {"hold": "refusal", "status": 401, "json": {"detail": "Unauthorized"}}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}},
    ]);
    let scene = Scene::codex_in(world_with(&old), &[], "/nonexistent/codex", script);
    thread::scope(|scope| {
        let asking = scope.spawn(|| scene.message(&plain_request("go")).text());
        scene.upstream.wait("holding=refusal");
        replace_login(&scene.world, &login(&new, ACCOUNT));
        scene.upstream.release("refusal");
        assert_eq!(asking.join().expect("no client panics"), "Fine.");
    });
    let shown: Vec<_> =
        scene.upstream.requests().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(shown, [Some(format!("Bearer {old}")), Some(format!("Bearer {new}"))]);
}

#[test]
fn a_refresh_that_changes_nothing_is_not_tried_again_until_the_login_changes() {
    let old = token("old", a_minute_ago());
    let world = world_with(&old);
    let codex = FakeCodex::install(&world);
    let scene = Scene::codex_in(world, &[], &codex.bin(), fine());
    for _ in 0..3 {
        assert_no_login(&scene, "expired");
    }
    assert_eq!(codex.calls("features list"), 1);
    assert_eq!(scene.service.wait_for_count("credential.expired", 1).len(), 1);
    replace_login(&scene.world, &login(&token("new", FOREVER), ACCOUNT));
    assert_fine(&scene);
}

#[test]
fn a_login_that_only_a_missing_cli_could_renew_says_how_to_get_it() {
    let scene = Scene::codex_in(world_with(&token("old", a_minute_ago())), &[], "/nonexistent/codex", fine());
    assert_no_login(&scene, "npm install -g @openai/codex");
}

#[test]
fn whatever_happens_to_the_login_counts_from_the_next_request_on() {
    let (one, two) = (token("one", FOREVER), token("two", FOREVER));
    let script = json!([
        {"on": "any", "contains": "slow", "reply": {"stream": [{"text": ["Slow ", {"hold": "end"}, "answer."]}]}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}},
    ]);
    let scene = Scene::codex_in(world_with(&one), &[], "/nonexistent/codex", script);
    let mut slow = scene.stream(&plain_request("slow"));
    scene.upstream.wait("holding=end");

    replace_login(&scene.world, &login(&two, "another-account"));
    assert_fine(&scene);
    let last = scene.upstream.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some(&*format!("Bearer {two}")));
    assert_eq!(last.header("chatgpt-account-id"), Some("another-account"));

    scene.world.write("codex/auth.json", &login(&one, ACCOUNT));
    assert_fine(&scene);

    std::fs::remove_file(scene.world.path("codex/auth.json")).expect("our own file");
    assert_no_login(&scene, "not logged in");
    for (text, says) in [
        ("", "no whole JSON"),
        ("{\"auth_mode\": \"chatgpt\", \"tok", "no whole JSON"),
        ("{}", "holds no login"),
        ("{\"auth_mode\": \"agentIdentity\"}", "agent identity"),
        ("{\"auth_mode\": \"a-new-one\"}", "a-new-one"),
    ] {
        scene.world.write("codex/auth.json", text);
        assert_no_login(&scene, says);
    }
    scene.world.write("codex/auth.json", "{\"OPENAI_API_KEY\": \"sk-of-the-file\"}");
    assert_fine(&scene);
    let last = scene.upstream.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer sk-of-the-file"));
    assert_eq!(last.header("chatgpt-account-id"), None);

    scene.upstream.release("end");
    let answer = Message::from_events(&slow.read_to_end());
    assert_eq!(answer.text(), "Slow answer.");
    assert_kept_nowhere(&scene, &[&one, &two, "sk-of-the-file", "refresh-token-of-the-tests"]);
}

#[test]
fn a_login_in_a_keyring_comes_from_the_cli_and_is_asked_for_once() {
    let kept = token("kept", FOREVER);
    let world = world_with(&token("ignored", FOREVER));
    world.write("codex/config.toml", "cli_auth_credentials_store = \"keyring\"\n");
    world.write("keyring-token", &kept);
    let codex = FakeCodex::install(&world);
    let scene = Scene::codex_in(world, &["--key", &kept, "--account", "account-of-the-keyring"], &codex.bin(), fine());
    assert_fine(&scene);
    assert_fine(&scene);
    assert_eq!(codex.calls("app-server"), 1);
    assert_kept_nowhere(&scene, &[&kept]);
}

#[test]
fn the_account_of_a_personal_access_token_comes_from_the_cli() {
    let world = World::new();
    world.write(
        "codex/auth.json",
        r#"{"auth_mode": "personalAccessToken", "personal_access_token": "at-of-the-tests"}"#,
    );
    world.write("keyring-token", "at-of-the-tests");
    let codex = FakeCodex::install(&world);
    let entry = ["--key", "at-of-the-tests", "--account", "account-of-the-keyring"];
    let scene = Scene::codex_in(world, &entry, &codex.bin(), fine());
    assert_fine(&scene);
    assert_fine(&scene);
    assert_eq!(codex.calls("app-server"), 1);
    assert_kept_nowhere(&scene, &["at-of-the-tests"]);
}

#[test]
fn an_https_origin_that_the_workspace_prescribes_gets_the_request_and_an_http_one_does_not() {
    let account = |origin: &str| {
        let accounts = json!({"accounts": [{"id": ACCOUNT, "workspace_backend_origin": origin,
            "account_routing_override": "us"}]});
        json!([{"on": "account", "times": 0, "reply": {"status": 200, "json": accounts}},
            {"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}])
    };
    let good = token("good", FOREVER);
    let scene = Scene::codex_in(world_with(&good), &[], "/nonexistent/codex", account("http://127.0.0.1:1"));
    assert_fine(&scene);
    assert_eq!(scene.upstream.only_request().header("x-openai-account-routing-override"), None);
    scene.service.wait_for("upstream.adapted");

    let scene = Scene::codex_in(world_with(&good), &[], "/nonexistent/codex", account("https://127.0.0.1:1"));
    scene.refusal(&plain_request("go"));
    assert!(scene.upstream.requests().is_empty(), "the prescribed origin is the only one");
}

#[test]
fn the_installed_clis_version_goes_along_and_its_list_stands_in_for_the_backends() {
    let world = world_with(&token("good", FOREVER));
    let codex = FakeCodex::install(&world);
    world.write("models.json", &json!({"models": [{"slug": "gpt-from-the-cli", "visibility": "list"}]}).to_string());
    let script = json!([{"on": "models", "times": 0, "reply": {"status": 500, "json": {}}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]);
    let scene = Scene::codex_in(world, &[], &codex.bin(), script);
    scene.service.wait_for("models.refreshed");
    assert_fine(&scene);
    assert_eq!(scene.upstream.only_request().header("version"), Some("9.9.9"));
    assert!(scene.get("/v1/models").text().contains("gpt-from-the-cli"));
}

#[test]
fn the_plans_use_is_logged_when_it_changes_and_shown_in_the_status() {
    let headers = json!({"x-codex-plan-type": "pro", "x-codex-primary-used-percent": "12.5",
        "x-codex-primary-window-minutes": "300", "x-codex-primary-reset-at": "1795430000"});
    let event = json!({"type": "codex.rate_limits", "plan_type": "pro", "rate_limits": {"limit_reached": false,
        "primary": {"used_percent": 61, "window_minutes": 300, "reset_at": 1_795_430_000}}});
    let script = json!([
        {"on": "any", "reply": {"headers": headers, "stream": [{"text": "Fine."}]}},
        {"on": "any", "reply": {"headers": headers, "stream": [{"text": "Fine."}]}},
        {"on": "any", "reply": {"stream": [{"event": event}, {"text": "Fine."}]}},
    ]);
    let scene = Scene::codex_in(world_with(&token("good", FOREVER)), &[], "/nonexistent/codex", script);
    let quota = || {
        let ran = scene.world.run(&["status", "--json"]);
        let report: Value = serde_json::from_str(&ran.stdout).expect("one JSON object");
        let backends = report["backends"].as_array().expect("a list").clone();
        backends.into_iter().find(|backend| backend["id"] == scene.backend).expect("the backend")["quota"].clone()
    };
    assert_eq!(quota(), Value::Null);
    assert_fine(&scene);
    assert_eq!(quota(), "pro: 5 h 12 % (resets 2026-11-23 10:33 UTC)");
    assert_fine(&scene);
    assert_fine(&scene);
    assert_eq!(quota(), "pro: 5 h 61 % (resets 2026-11-23 10:33 UTC)");
    assert_eq!(scene.service.wait_for_count("quota.updated", 2).len(), 2);
}

#[test]
fn login_and_logout_are_the_clis_own_with_its_exit_code() {
    let world = World::new();
    let codex = FakeCodex::install(&world);
    let config = format!("[backends.codex-subscription]\ncodex_bin = \"{}\"\n", codex.bin());
    std::fs::create_dir(world.path("config/claudette")).expect("a fresh folder");
    world.write("config/claudette/claudette.toml", &config);
    let ran = world.run(&["login", "codex-subscription"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stdout.contains(&format!("asked to log in at {}", world.path("codex").display())), "{ran:?}");
    let ran = world.run(&["logout", "codex-subscription"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "asked to log out\n"), "{ran:?}");
    assert!(ran.stderr.contains("revokes"), "{ran:?}");
    let ran = world.run(&["login", "openai-api"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("credential"), "{ran:?}");

    world.write(
        "config/claudette/claudette.toml",
        "[backends.codex-subscription]\ncodex_bin = \"/nonexistent/codex\"\n",
    );
    let ran = world.run(&["login", "codex-subscription"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("npm install -g @openai/codex"), "{ran:?}");
}

#[test]
fn test_tells_login_life_plan_models_and_use() {
    let world = world_with(&token("good", FOREVER));
    let codex = FakeCodex::install(&world);
    let scene = Scene::codex_in(world, &[], &codex.bin(), fine());
    let named = scene.world.path("claudette.toml").display().to_string();
    let mut command = scene.world.claudette(&["test", "codex-subscription"]);
    let output = command.env("CLAUDETTE_CONFIG", named).output().expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    for part in [
        "codex CLI 9.9.9",
        "Logged in using ChatGPT",
        "ann@example.com",
        "plan pro",
        "2100-01-01",
        "2 models",
        "used: pro: 5 h 12 %",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
}
