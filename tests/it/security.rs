//! What others on this machine, web pages in its browsers, and upstreams can get out of the service or do to it:
//! nothing (DESIGN.md §5, §6 and §8).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::streaming::says_fine;
use crate::support::PATIENCE;
use crate::support::bodies::plain_request;
use crate::support::http_client::{Connection, Response};
use crate::support::leaseholder::{Leaseholder, waiting_claude};
use crate::support::raw_upstream::RawUpstream;
use crate::support::scene::{Scene, UPSTREAM_KEY, openai_config};
use crate::support::service::{Gateway, Service};
use crate::support::stage;
use crate::support::upstream_process::Upstream;
use crate::support::world::World;

/// Forges a log line, wipes a terminal, and ends strings of every kind.
const FORGERY: &str = "x\r\n{\"event\":\"service.stopped\"}\n\u{1b}[2J\u{9b}31m\"'`$(touch pwned)\\";

/// A door into the service, with what opens it.
fn doors(scene: &Scene, backends: &[&str]) -> Vec<Gateway> {
    let mut doors: Vec<_> = backends.iter().map(|backend| scene.service.gateway(&scene.world, backend)).collect();
    doors.push(control(&scene.world));
    doors
}

fn control(world: &World) -> Gateway {
    let file = fs::read_to_string(world.state().join("control.json")).expect("the service runs");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let text = |key: &str| file[key].as_str().expect("a text").to_owned();
    Gateway { address: text("address"), token: text("token") }
}

fn ask(door: &Gateway, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut connection = Connection::open(&door.address);
    connection.send(method, path, &headers, body.as_bytes());
    connection.read_response()
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_listens_beyond_loopback() {
    let scene = Scene::openai(says_fine());
    let fds = fs::read_dir(format!("/proc/{}/fd", scene.service.pid())).expect("the service runs").flatten();
    let own: Vec<String> =
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).map(|link| link.display().to_string()).collect();
    let mut listening = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let sockets = fs::read_to_string(format!("/proc/{}/net/{table}", scene.service.pid())).unwrap_or_default();
        for socket in sockets.lines().skip(1) {
            let fields: Vec<&str> = socket.split_whitespace().collect();
            let is_connected = table.starts_with("tcp") && fields[3] != "0A";
            if is_connected || !own.contains(&format!("socket:[{}]", fields[9])) {
                continue;
            }
            listening += 1;
            assert_eq!(table, "tcp", "{socket}");
            let address = u32::from_str_radix(fields[1].split(':').next().unwrap_or_default(), 16).expect("hex digits");
            assert_eq!(address.to_ne_bytes(), [127, 0, 0, 1], "{socket}");
        }
    }
    assert_eq!(listening, 2, "one gateway and the control endpoint");
}

/// With the right token even: a page cannot know it, but must get nothing if it does.
#[test]
fn a_web_page_gets_nothing_from_any_door() {
    let scene = Scene::openai(says_fine());
    let body = plain_request("drive by").to_string();
    let attacks: [(&str, &[(&str, &str)]); 6] = [
        ("a rebound name", &[("host", "rebound.evil.example")]),
        ("fetch", &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]),
        ("fetch with no-cors", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]),
        ("a form", &[("origin", "null"), ("content-type", "application/x-www-form-urlencoded")]),
        ("a page of another port", &[("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")]),
        ("an image", &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")]),
    ];
    let paths = [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/nothing"),
        ("OPTIONS", "/v1/messages"),
        ("GET", "/status"),
        ("POST", "/environment"),
        ("POST", "/lease"),
    ];
    for door in doors(&scene, &["openai-api"]) {
        let bearer = format!("Bearer {}", door.token);
        for (attack, attacking) in attacks {
            for (method, path) in paths {
                let headers = [&[("authorization", bearer.as_str())], attacking].concat();
                let response = ask(&door, method, path, &headers, &body);
                let case = format!("{attack}, {method} {path}: {} {}", response.status, response.text());
                assert!((400..500).contains(&response.status), "{case}");
                let is_cors = |(name, _): &(String, String)| name.starts_with("access-control-");
                assert!(!response.headers.iter().any(is_cors), "{case}");
                assert!(!response.text().contains(&door.token), "{case}");
            }
        }
    }
    assert_eq!(scene.upstream.requests().len(), 0, "the upstream was asked");
}

#[test]
fn each_token_opens_its_own_door_alone() {
    let more =
        "[backends.other]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\ndefault_model = \"m\"\n";
    let scene = Scene::openai_with(says_fine(), more);
    let doors = doors(&scene, &["openai-api", "other"]);
    for (at, door) in doors.iter().enumerate() {
        let path = if at == 2 { "/status" } else { "/v1/models" };
        for (of, key) in doors.iter().enumerate() {
            let bearer = format!("Bearer {}", key.token);
            let status = ask(door, "GET", path, &[("authorization", &bearer)], "").status;
            assert_eq!(status, if at == of { 200 } else { 401 }, "the token of {of} at {at}");
        }
        for nearly in [String::new(), door.token[1..].to_owned(), door.token.to_uppercase(), format!("{}0", door.token)]
        {
            let bearer = format!("Bearer {nearly}");
            let status = ask(door, "GET", path, &[("authorization", &bearer)], "").status;
            assert!(status == 401 || nearly == door.token, "{nearly} at {at}: {status}");
        }
    }
}

#[test]
fn a_replaced_gateway_has_another_token_and_neither_opens_the_other() {
    let scene = Scene::openai(says_fine());
    let old = scene.gateway.clone();
    scene.edit("[upstream]\nidle_timeout = \"77s\"\n");
    scene.service.wait_for("gateway.replaced");
    let new = scene.service.gateway(&scene.world, scene.backend);
    for (door, key, status) in [(&old, &old, 200), (&new, &new, 200), (&old, &new, 401), (&new, &old, 401)] {
        let bearer = format!("Bearer {}", key.token);
        assert_eq!(ask(door, "GET", "/v1/models", &[("authorization", &bearer)], "").status, status);
    }
}

/// A command that runs with the umask of somebody careless.
fn with_open_umask(world: &World, arguments: &[&str], variable: &str) -> Command {
    let mut command = world.command("/bin/sh");
    let script = format!("umask 000; export {variable}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_claudette")]).args(arguments);
    command
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")).flatten();
    let below = entries.flat_map(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => files_below(&entry.path()),
        false => vec![entry.path()],
    });
    std::iter::once(folder.to_owned()).chain(below).collect()
}

fn assert_ours_alone(folder: &Path) {
    for path in files_below(folder) {
        let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode, if metadata.is_dir() { 0o700 } else { 0o600 }, "{path:?}: {mode:o}");
    }
}

#[test]
fn what_the_service_writes_is_ours_alone_under_an_open_umask() {
    let world = World::new();
    let config = world.write("claudette.toml", &stage::config("answers", "prompt = \"Say hello.\"\n"));
    let arguments = ["serve", "--config", config.to_str().expect("UTF-8")];
    let service = Service::spawn_command(with_open_umask(&world, &arguments, "X=1"));
    service.wait_for("session.turn_finished");
    service.environment(&world, "local");
    assert!(files_below(&world.state()).len() > 4, "{:?}", files_below(&world.state()));
    assert_ours_alone(&world.state());
    let mode = fs::metadata(world.path("work").join("arguments")).expect("claude wrote it").permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "what a claude writes is left to its own umask");
}

#[test]
fn a_log_file_and_its_folder_are_ours_alone_under_an_open_umask() {
    let world = World::new();
    let more = format!("[log]\nfile = \"{}\"\n", world.path("logs/claudette.log").display());
    let config = world.write("claudette.toml", &format!("{}{more}", openai_config("http://127.0.0.1:1/v1")));
    let arguments = ["serve", "--config", config.to_str().expect("UTF-8")];
    let _service = Service::spawn_command(with_open_umask(&world, &arguments, "X=1"));
    wait_until_it_answers(&world);
    assert!(files_below(&world.path("logs")).len() > 1);
    assert_ours_alone(&world.path("logs"));
}

/// For a service whose log is not to be read.
fn wait_until_it_answers(world: &World) {
    let deadline = Instant::now() + PATIENCE;
    while world.run(&["status"]).code != Some(0) {
        assert!(Instant::now() < deadline, "the service does not answer");
    }
}

#[test]
fn a_redirect_is_never_followed_with_a_credential() {
    let elsewhere = RawUpstream::start(|_, _| {});
    for status in [301, 302, 303, 307, 308] {
        let location = json!({"location": format!("http://{}/v1/responses", elsewhere.address)});
        let reply = json!({"status": status, "headers": location, "json": {}});
        let scene = Scene::openai(json!([
            {"on": "any", "times": 0, "reply": reply}, {"on": "models", "times": 0, "reply": reply},
            {"on": "count", "times": 0, "reply": reply},
        ]));
        let told = scene.refusal(&plain_request("go"));
        assert_eq!(told.status, 502, "{status}: {}", told.text());
        scene.post("/v1/messages/count_tokens", &plain_request("count"));
        for command in [&["models", "openai-api", "--refresh"][..], &["test", "openai-api"]] {
            let config = scene.world.path("claudette.toml");
            let mut command = scene.world.claudette(command);
            let ran = command.env("CLAUDETTE_CONFIG", config).output().expect("it can be started");
            assert!(!ran.status.success(), "{status}: {ran:?}");
        }
    }
    assert_eq!(elsewhere.connections(), 0, "somebody followed a redirect");
}

#[test]
fn each_upstream_sees_its_own_key_and_nothing_of_the_clients() {
    const OTHER_KEY: &str = "sk-other-0123456789abcdefghijklmnop";
    let other = Upstream::start(&["--profile", "custom", "--models", "qwen3-coder", "--key", OTHER_KEY]);
    let more = format!(
        "[backends.other]\nkind = \"custom-openai\"\nbase_url = \"http://{}/v1\"\ndefault_model = \"qwen3-coder\"\n\
         credential = {{ value = \"{OTHER_KEY}\" }}\n",
        other.address
    );
    let scene = Scene::openai_with(says_fine(), &more);
    let doors = [scene.gateway.clone(), scene.service.gateway(&scene.world, "other")];
    let foreign =
        [("x-api-key", "sk-ant-of-the-client"), ("cookie", "session=of-the-client"), ("x-any", "of-the-client")];
    for door in &doors {
        let bearer = format!("Bearer {}", door.token);
        let headers = [&[("authorization", bearer.as_str())], &foreign[..]].concat();
        let mut body = plain_request("go");
        body["stream"] = json!(false);
        assert_eq!(ask(door, "POST", "/v1/messages", &headers, &body.to_string()).status, 200);
        ask(door, "GET", "/v1/models", &headers, "");
    }
    for (upstream, own, not) in [(&scene.upstream, UPSTREAM_KEY, OTHER_KEY), (&other, OTHER_KEY, UPSTREAM_KEY)] {
        let requests = upstream.state()["requests"].as_array().expect("a list").clone();
        assert!(requests.len() >= 2, "models and messages: {requests:#?}");
        for request in requests {
            assert_eq!(request["headers"]["authorization"], format!("Bearer {own}"));
            let said = request.to_string();
            for secret in [not, &doors[0].token, &doors[1].token, "of-the-client"] {
                assert!(!said.contains(secret), "{secret} in {said}");
            }
        }
    }
}

#[test]
fn a_credential_goes_over_plain_http_only_where_the_config_says_so() {
    let world = World::new();
    for (url, more, code) in [
        ("http://192.0.2.1/v1", "", 2),
        ("http://localhost.evil.example/v1", "", 2),
        ("http://127.0.0.1.evil.example/v1", "", 2),
        ("http://192.0.2.1/v1", "[upstream]\nallow_plain_http = true\n", 0),
        ("https://192.0.2.1/v1", "", 0),
        ("http://127.0.0.1:8000/v1", "", 0),
        ("http://localhost:8000/v1", "", 0),
    ] {
        let config = world.write("claudette.toml", &format!("{}{more}", openai_config(url)));
        let ran = world.run(&["check", "--config", config.to_str().expect("UTF-8")]);
        assert_eq!(ran.code, Some(code), "{url} {more}: {ran:?}");
        assert_eq!(ran.said().contains("plain http"), code == 2, "{url}: {ran:?}");
        assert!(!ran.said().contains(UPSTREAM_KEY), "{ran:?}");
    }
}

/// The upstream tells every secret that it can know; what it says goes to the client, the log and the commands.
#[test]
fn no_secret_is_told_whatever_fails() {
    let world = World::new();
    let claude = waiting_claude(&world);
    let words = format!("key {UPSTREAM_KEY}, bearer {UPSTREAM_KEY}, Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln");
    let error = json!({"error": {"message": words, "type": UPSTREAM_KEY, "code": UPSTREAM_KEY, "param": UPSTREAM_KEY}});
    let headers = json!({"x-request-id": format!("req_{UPSTREAM_KEY}"), "location": format!("/{UPSTREAM_KEY}")});
    let reply = |status: u16| json!({"status": status, "headers": headers, "json": error});
    let mut script: Vec<Value> =
        [400, 401, 404, 429, 500, 307].iter().map(|status| json!({"on": "any", "reply": reply(*status)})).collect();
    script.push(json!({"on": "any", "reply": {"stream": [{"text": "Half"}, {"fail": error["error"]}]}}));
    script.push(json!({"on": "any", "times": 0, "reply": {"stream": [{"fail": error["error"]}]}}));
    script.push(json!({"on": "models", "times": 0, "reply": reply(403)}));
    let scene = Scene::openai_in(world, Value::Array(script), &format!("{claude}[log]\nlevel = \"trace\"\n"));
    let holder = Leaseholder::start(&scene.world, &[]);
    let mut said = String::new();
    for number in 0..9 {
        said.push_str(&scene.post("/v1/messages", &plain_request(&format!("request {number}"))).text());
    }
    let secrets = [UPSTREAM_KEY, &scene.gateway.token, &control(&scene.world).token, "eyJhbGciOiJIUzI1NiJ9"];
    let commands: [&[&str]; 4] =
        [&["status"], &["status", "--json"], &["models", "openai-api", "--refresh"], &["test", "openai-api"]];
    for arguments in commands {
        let mut command = scene.world.claudette(arguments);
        let ran = command.env("CLAUDETTE_CONFIG", scene.world.path("claudette.toml")).output().expect("it starts");
        said.push_str(&String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
    }
    let commands = command_lines(scene.service.pid(), &scene.world);
    said.push_str(&commands.join("\n"));
    holder.end();
    said.push_str(&scene.service.log_lines().join("\n"));
    for secret in secrets {
        let at = said.find(secret).map(|at| &said[said[..at].rfind('\n').unwrap_or(0)..][..300.min(said.len() - at)]);
        assert!(at.is_none(), "{secret}: {at:?}");
    }
}

/// The arguments of the service, of its children, and of whatever else runs in this world; empty where there is no
/// `/proc`.
fn command_lines(service: u32, world: &World) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let home = world.path("home").display().to_string();
    let lines: Vec<String> = processes
        .flatten()
        .filter(|process| {
            let read = |file: &str| fs::read(process.path().join(file)).unwrap_or_default();
            process.file_name().to_string_lossy() == service.to_string()
                || String::from_utf8_lossy(&read("environ")).contains(&home)
        })
        .map(|process| String::from_utf8_lossy(&fs::read(process.path().join("cmdline")).unwrap_or_default()).into())
        .collect();
    assert!(lines.len() >= 3, "the service, claudette claude, and its claude: {lines:?}");
    lines
}

#[test]
fn a_model_id_injects_neither_headers_nor_log_lines() {
    let scene = Scene::custom(says_fine());
    for id in
        [FORGERY, "m\r\nx-evil: 1\r\n\r\n", "m\nx-evil: 1", "m\u{0}", "m\"}{\"event\":\"service.stopped\"", "é\u{2028}"]
    {
        let mut body = plain_request("go");
        body["model"] = json!(id);
        let mut connection = scene.gateway.connect();
        connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.to_string().as_bytes());
        let stream = connection.into_event_stream();
        assert!(stream.head.header("x-evil").is_none(), "{id:?}: {:?}", stream.head.headers);
        let status = stream.head.status;
        assert_eq!(status, 200, "{id:?}: {}", stream.into_text());
    }
    let seen: Vec<Value> = scene.upstream.requests().into_iter().map(|request| request.body["model"].clone()).collect();
    assert!(seen.contains(&json!(FORGERY)), "{seen:?}");
    let lines = scene.service.wait_for_count("request.finished", 6);
    assert!(lines.iter().any(|line| line["upstream_model"] == FORGERY), "{lines:#?}");
    assert_each_line_is_one_event(&scene.service.log_lines());
}

fn assert_each_line_is_one_event(lines: &[String]) {
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_ne!(value["event"], "service.stopped", "a forged line: {line}");
        assert!(!line.contains(['\u{1b}', '\u{9b}', '\r']), "{line:?}");
    }
}

#[test]
fn words_of_an_upstream_steer_no_terminal_and_forge_no_line() {
    let error = json!({"error": {"message": FORGERY, "type": FORGERY, "code": FORGERY, "param": FORGERY}});
    for format in ["json", "text"] {
        let world = World::new();
        let upstream = Upstream::start(&["--profile", "custom", "--models", FORGERY]);
        upstream.script(&json!([
            {"on": "any", "reply": {"status": 418, "json": error}},
            {"on": "any", "times": 0, "reply": {"stream": [{"text": "Half"}, {"fail": error["error"]}]}},
        ]));
        let text = format!(
            "[backends.local]\nkind = \"custom-openai\"\nbase_url = \"http://{}/v1\"\ncontext_window = 9000\n",
            upstream.address
        );
        let config = world.write("claudette.toml", &text);
        let arguments = ["serve", "--config", config.to_str().expect("UTF-8")];
        let variable = format!("CLAUDETTE_LOG_FORMAT={format}");
        let service = Service::spawn_command(with_open_umask(&world, &arguments, &variable));
        wait_until_it_answers(&world);
        let gateway = service.gateway(&world, "local");
        let bearer = format!("Bearer {}", gateway.token);
        let mut said = String::new();
        for number in 0..2 {
            let body = plain_request(&format!("request {number}")).to_string();
            said.push_str(&ask(&gateway, "POST", "/v1/messages", &[("authorization", &bearer)], &body).text());
        }
        for arguments in [&["status"][..], &["models", "local", "--refresh"], &["test", "local"]] {
            let mut command = world.claudette(arguments);
            let ran = command.env("CLAUDETTE_CONFIG", &config).output().expect("it starts");
            said.push_str(&String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
        }
        let ran = world
            .command("/bin/sh")
            .args(["-c", "eval \"$(\"$0\" env local)\"; printf %s \"$ANTHROPIC_MODEL\""])
            .arg(env!("CARGO_BIN_EXE_claudette"))
            .output()
            .expect("a shell");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("anthropic/{FORGERY}"), "{ran:?}");
        assert!(!world.path("work/pwned").exists(), "a model's name was run");
        let (_, _, log) = service.stop();
        let log = &log[..log.len() - 1];
        if format == "json" {
            assert_each_line_is_one_event(log);
        }
        said.push_str(&log.join("\n"));
        let steered = said.find(['\u{1b}', '\u{9b}', '\r']);
        assert!(
            steered.is_none(),
            "{format}: {:?}",
            steered.map(|at| said[..at + 20.min(said.len() - at)].lines().last())
        );
        assert!(said.lines().all(|line| !line.starts_with("{\"event\"")), "{format}: {said}");
    }
}
