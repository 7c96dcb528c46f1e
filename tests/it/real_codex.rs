//! The official `codex` CLI as the keeper of the login: what our reading of it rests on, tried with the program itself.
//!
//! Its folder is always a temporary one, its token endpoint a socket of the test, and every other way out of the machine
//! a closed door. Ignored by default: `tests/run` installs it and runs these.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::bodies::plain_request;
use crate::support::codex::{FOREVER, a_minute_ago, login, token};
use crate::support::scene::{ACCOUNT, Scene};
use crate::support::world::World;

/// Nobody listens there.
const CLOSED_DOOR: &str = "http://127.0.0.1:9";

/// The program of the platform's package.
fn binary() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/claude/node_modules/@openai");
    let below = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let vendors = below(&packages).map(|package| package.join("vendor"));
    let mut programs =
        vendors.flat_map(|vendor| below(&vendor).collect::<Vec<_>>()).map(|target| target.join("bin/codex"));
    programs.find(|program| program.exists()).expect("tests/run installs the codex CLI under tests/claude")
}

/// A token endpoint that always answers with the same new token, and counts.
struct TokenEndpoint {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl TokenEndpoint {
    fn start(new_token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let url = format!("http://{}/oauth/token", listener.local_addr().expect("bound"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, answer) =
            (Arc::clone(&asked), json!({"access_token": new_token, "refresh_token": "rt-new"}).to_string());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let mut length = 0;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    answer.len()
                );
                let _ = (&stream).write_all((head + &answer).as_bytes());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The real CLI behind a line of shell that closes the doors. Gives its path.
fn fenced(world: &World, token_url: &str) -> String {
    let program = binary();
    let script = format!(
        "#!/bin/sh\nexport CODEX_REFRESH_TOKEN_URL_OVERRIDE={token_url} CODEX_REVOKE_TOKEN_URL_OVERRIDE={CLOSED_DOOR}/\n\
         export HTTPS_PROXY={CLOSED_DOOR} ALL_PROXY={CLOSED_DOOR} NO_PROXY=127.0.0.1\nexec '{}' \"$@\"\n",
        program.display()
    );
    let path = world.write("fenced-codex", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("our own file");
    path.display().to_string()
}

fn fine() -> Value {
    json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}])
}

/// A scene whose login holds `old`, whose upstream takes only `new`, and whose CLI is the real one.
fn scene(old: &str, new: &str, script: Value) -> (Scene, TokenEndpoint) {
    let world = World::new();
    world.write("codex/auth.json", &login(old, ACCOUNT));
    let endpoint = TokenEndpoint::start(new);
    let bin = fenced(&world, &endpoint.url);
    (Scene::codex_in(world, &["--key", new, "--account", ACCOUNT], &bin, script), endpoint)
}

#[test]
#[ignore = "needs the real codex CLI: run tests/run"]
fn the_real_cli_renews_an_expired_login_once() {
    let new = token("new", FOREVER);
    let (scene, endpoint) = scene(&token("old", a_minute_ago()), &new, fine());
    for _ in 0..2 {
        assert_eq!(scene.message(&plain_request("go")).text(), "Fine.");
    }
    assert_eq!(endpoint.asked(), 1);
    let kept = std::fs::read_to_string(scene.world.path("codex/auth.json")).expect("the CLI keeps it");
    assert!(kept.contains(&new), "the CLI itself wrote the file");
    scene.service.wait_for("credential.refreshed");
}

#[test]
#[ignore = "needs the real codex CLI: run tests/run"]
fn the_real_app_server_renews_a_refused_login_by_force() {
    let new = token("new", FOREVER);
    let (scene, endpoint) = scene(&token("old", FOREVER), &new, fine());
    assert_eq!(scene.message(&plain_request("go")).text(), "Fine.");
    assert_eq!(endpoint.asked(), 1);
}

#[test]
#[ignore = "needs the real codex CLI: run tests/run"]
fn the_real_clis_model_list_stands_in_for_the_backends() {
    let good = token("good", FOREVER);
    let script = json!([{"on": "models", "times": 0, "reply": {"status": 500, "json": {}}},
        {"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]);
    let (scene, _endpoint) = scene(&good, &good, script);
    let refreshed = scene.service.wait_for("models.refreshed");
    assert!(refreshed["models"].as_u64().is_some_and(|models| models > 5), "{refreshed}");
    let listed = scene.get("/v1/models").text();
    for id in ["gpt-6.1-sol", "gpt-5.5"] {
        assert!(listed.contains(id), "{id} in {listed}");
    }
    scene.message(&plain_request("go"));
    let version = scene.upstream.only_request().header("version").map(str::to_owned);
    assert!(version.is_some_and(|version| version.starts_with("0.")), "the installed CLI's version goes along");
}

#[test]
#[ignore = "needs the real codex CLI: run tests/run"]
fn the_real_clis_word_on_a_login_is_not_enough() {
    let good = login(&token("good", FOREVER), ACCOUNT);
    let expired = login(&token("old", a_minute_ago()), ACCOUNT);
    let table = [
        (None, 1, "Not logged in"),
        (Some(good.as_str()), 0, "Logged in using ChatGPT"),
        (Some(expired.as_str()), 0, "Logged in using ChatGPT"),
        (Some("{}"), 0, "Logged in using ChatGPT"),
        (Some("{\"OPENAI_API_KEY\": \"sk-proj-1234567890abcdef\"}"), 0, "API key configured"),
        (Some("{\"auth_mode\": \"chatgpt\", \"tok"), 1, "Error checking login status"),
        (Some("{\"auth_mode\": \"a-new-one\"}"), 1, "Error checking login status"),
    ];
    for (file, code, words) in table {
        let world = World::new();
        if let Some(file) = file {
            world.write("codex/auth.json", file);
        }
        let bin = fenced(&world, CLOSED_DOOR);
        let output = world.command(&bin).args(["login", "status"]).output().expect("the CLI runs");
        assert_eq!(output.status.code(), Some(code), "{file:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{words}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
#[ignore = "needs the real codex CLI: run tests/run"]
fn test_and_logout_work_with_the_real_cli() {
    let good = token("good", FOREVER);
    let (scene, _endpoint) = scene(&good, &good, fine());
    let named = scene.world.path("claudette.toml").display().to_string();
    let run = |command: &str| {
        let mut command = scene.world.claudette(&[command, "codex-subscription"]);
        command.env("CLAUDETTE_CONFIG", &named).output().expect("the program can be started")
    };
    let tested = run("test");
    let said = String::from_utf8_lossy(&tested.stdout);
    for part in ["codex CLI 0.", "Logged in using ChatGPT", "plan pro", "2 models", "used: pro: 5 h 12 %"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(tested.status.code(), Some(0), "{tested:?}");
    let out = run("logout");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(!scene.world.path("codex/auth.json").exists());
    assert_eq!(run("test").status.code(), Some(1));
}
