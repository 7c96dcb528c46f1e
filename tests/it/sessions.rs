//! Sessions: turns that start by themselves and by `claudette turn`, what follows when `claude` misbehaves, and that
//! nothing of it is ever left behind. The `claude`s are a few lines of shell each (`support/fake_claudes`).

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::claude;
use crate::support::scene::{Scene, openai_config};
use crate::support::stage::{IMPATIENT, Stage, config, wait_until_gone};

const PROMPT: &str = "prompt = \"Say hello.\"\n";
const MANUAL: &str = "prompt = \"Say hello.\"\nstart = \"manual\"\n";

fn impatient(keys: &str) -> String {
    format!("{keys}{IMPATIENT}")
}

/// No line of the log has the event.
fn never(stage: &Stage, event: &str) {
    assert_eq!(stage.service.count(event), 0, "{}", stage.service.log_lines().join("\n"));
}

#[test]
fn a_session_takes_its_prompt_when_it_first_appears() {
    let stage = Stage::with("answers", PROMPT);
    let finished = stage.service.wait_for("session.turn_finished");
    assert_eq!(finished["session"], "worker");
    assert_eq!((&finished["outcome"], &finished["is_error"]), (&json!("success"), &json!(false)));
    let usage = [&finished["input_tokens"], &finished["cached_input_tokens"], &finished["output_tokens"]];
    assert_eq!(usage, [7, 3, 2]);
    assert_eq!((&finished["cost_usd"], &finished["tools"]), (&json!(0.25), &json!(1)));
    let started = stage.service.wait_for("session.turn_started");
    assert_eq!((&started["cause"], &started["attempt"]), (&json!("prompt"), &json!(1)));
    assert_eq!(stage.service.wait_for("session.tool_used")["tool"], "Bash");

    let log = stage.service.log_lines().join("\n");
    assert!(!log.contains("Say hello") && !log.contains("hello from the turn"), "prompts and answers are no log");
    let transcript = std::fs::read_to_string(stage.transcript(1)).unwrap();
    assert!(transcript.contains("Say hello.") && transcript.contains("hello from the turn"), "{transcript}");
    let mode = std::fs::metadata(stage.transcript(1)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let environment = stage.written("environment");
    assert!(environment.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:"), "{environment}");
    assert!(environment.contains("ANTHROPIC_MODEL=anthropic/qwen3-coder"), "{environment}");
    let arguments = stage.written("arguments");
    assert!(arguments.contains("--model anthropic/qwen3-coder --session-id "), "{arguments}");
}

#[test]
fn status_shows_the_session_and_its_last_turn() {
    let stage = Stage::with("answers", PROMPT);
    stage.service.wait_for("session.turn_finished");
    let session = stage.wait_for_state("idle");
    assert_eq!(session["name"], "worker");
    assert_eq!((&session["backend"], &session["turns"]), (&json!("local"), &json!(1)));
    assert_eq!(session["conversation"].as_str().map(str::len), Some(36));
    let last = &session["last_turn"];
    assert_eq!((&last["outcome"], &last["output_tokens"]), (&json!("success"), &json!(2)));
    let table = stage.world.run(&["status"]).stdout;
    assert!(table.contains("SESSION") && table.contains("worker"), "{table}");
}

#[test]
fn a_finished_prompt_is_not_run_again_by_a_restarted_service_and_its_conversation_goes_on() {
    let stage = Stage::with("answers", PROMPT);
    stage.service.wait_for("session.turn_finished");
    let stage = stage.restart();
    let ran = stage.world.run(&["turn", "worker", "Go on."]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello from the turn\n"), "{ran:?}");
    let started = stage.service.wait_for_count("session.turn_started", 1);
    assert_eq!((&started[0]["cause"], &started[0]["resumed"]), (&json!("asked"), &json!(true)));
    let arguments = stage.written("arguments");
    let lines: Vec<_> = arguments.lines().collect();
    let id = lines[0].split("--session-id ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert_eq!(lines.len(), 2, "{arguments}");
    assert!(lines[1].contains(&format!("--resume {id}")), "{arguments}");
}

#[test]
fn a_changed_prompt_is_a_turn_and_another_key_is_none() {
    let stage = Stage::with("answers", PROMPT);
    stage.service.wait_for("session.turn_finished");
    stage.edit("answers", "prompt = \"Say hello.\"\nargs = [\"--max-turns\", \"3\"]\n");
    stage.edit("answers", "prompt = \"Say it again.\"\nargs = [\"--max-turns\", \"3\"]\n");
    stage.service.wait_for_count("session.turn_finished", 2);
    assert_eq!(stage.service.count("session.turn_started"), 2);
    assert!(std::fs::read_to_string(stage.transcript(2)).unwrap().contains("Say it again."));
    assert!(stage.written("arguments").lines().nth(1).unwrap().ends_with("--max-turns 3"));
}

#[test]
fn the_content_of_a_prompt_file_counts() {
    let stage = Stage::with("answers", "prompt_file = \"prompt.md\"\n");
    assert!(stage.service.wait_for("config.warned")["fault"].as_str().unwrap().contains("prompt.md"));
    for (turn, prompt) in [(1, "The first one."), (2, "A longer second one.")] {
        stage.world.write("prompt.md", prompt);
        stage.service.wait_for_count("session.turn_finished", turn);
        let transcript = std::fs::read_to_string(stage.transcript(turn as u64)).unwrap();
        assert!(transcript.contains(prompt), "{transcript}");
    }
}

#[test]
fn a_changed_cwd_begins_a_new_conversation() {
    let stage = Stage::with("answers", MANUAL);
    assert_eq!(stage.world.run(&["turn", "worker"]).code, Some(0));
    let first = stage.session()["conversation"].clone();
    let elsewhere = MANUAL.replace("start", "config_dir = \"claude\"\nstart");
    stage.edit("answers", &elsewhere);
    assert_eq!(stage.world.run(&["turn", "worker"]).code, Some(0));
    assert_ne!(stage.session()["conversation"], first);
    assert!(stage.written("environment").contains("CLAUDE_CONFIG_DIR="));
}

#[test]
fn turn_says_what_is_wrong() {
    let stage = Stage::with("answers_with_an_error", MANUAL);
    let ran = stage.world.run(&["turn", "nobody"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("nobody") && ran.stderr.contains("worker"), "{}", ran.stderr);

    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said().contains("API Error: 400 no such model"), "{ran:?}");
    never(&stage, "session.exited");

    let (_, _, _) = stage.service.stop();
    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("claudette serve"), "{}", ran.stderr);
}

#[test]
fn the_prompt_of_a_turn_can_come_from_stdin() {
    let stage = Stage::with("answers", MANUAL);
    let mut command = stage.world.claudette(&["turn", "worker", "-"]);
    let prompt = stage.world.write("long.txt", "A prompt of\ntwo lines.");
    let output = command.stdin(std::fs::File::open(prompt).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(std::fs::read_to_string(stage.transcript(1)).unwrap().contains("A prompt of\\ntwo lines."));
}

#[test]
fn ctrl_c_interrupts_the_turn_and_waits_for_its_end() {
    let stage = Stage::with("answers_the_interrupt", MANUAL);
    let mut command = stage.world.claudette(&["turn", "worker"]).stderr(Stdio::piped()).spawn().unwrap();
    stage.service.wait_for("session.turn_started");
    let pid = Pid::from_raw(command.id() as i32).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(130));
    let finished = stage.service.wait_for("session.turn_finished");
    assert_eq!(finished["outcome"], "error_during_execution");
    wait_until_gone(&stage.pids());
}

#[test]
fn a_turn_whose_listener_leaves_goes_on() {
    let stage = Stage::with("answers_the_interrupt", MANUAL);
    let mut command = stage.world.claudette(&["turn", "worker"]).spawn().unwrap();
    stage.service.wait_for("session.turn_started");
    command.kill().unwrap();
    command.wait().unwrap();
    stage.wait_for_state("running");
    never(&stage, "session.turn_finished");
}

#[test]
fn a_claude_that_exits_at_start_is_tried_again_and_then_quarantined() {
    let stage = Stage::with("exits_at_start", &impatient(PROMPT));
    let quarantined = stage.service.wait_for("session.quarantined");
    assert!(quarantined["reason"].as_str().unwrap().contains("3 times"), "{quarantined}");
    assert_eq!(stage.service.count("session.restart_scheduled"), 2);
    let exited = stage.service.wait_for("session.exited");
    assert_eq!((&exited["cause"], &exited["exit_code"]), (&json!("no_result"), &json!(3)));
    let stderr = exited["stderr"].as_str().unwrap();
    assert!(stderr.starts_with("cannot start with key") && !stderr.contains("0123456789"), "{stderr}");
    let chain = stage.service.wait_for("session.restart_loop");
    assert_eq!(chain["chain"], "no_result -> no_result -> no_result");

    stage.wait_for_state("quarantined");
    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("quarantined"), "{}", ran.stderr);

    stage.edit("answers", &impatient("prompt = \"Another one.\"\n"));
    assert_eq!(stage.service.wait_for("session.released")["cause"], "fingerprint_changed");
    stage.service.wait_for("session.turn_finished");
}

#[test]
fn sighup_releases_a_quarantined_session() {
    let stage = Stage::with("exits_at_start", &impatient(PROMPT));
    stage.service.wait_for("session.quarantined");
    stage.service.signal(Signal::HUP);
    assert_eq!(stage.service.wait_for("session.released")["cause"], "sighup");
    stage.service.wait_for_count("session.quarantined", 2);
}

#[test]
fn a_claude_that_fails_once_is_tried_again() {
    let stage = Stage::with("exits_at_its_first_start", &impatient(PROMPT));
    stage.service.wait_for("session.restart_scheduled");
    stage.service.wait_for("session.turn_finished");
    let started = stage.service.wait_for_count("session.turn_started", 2);
    assert_eq!(started[1]["attempt"], 2);
}

#[test]
fn what_was_asked_for_is_not_tried_again() {
    let stage = Stage::with("exits_at_start", &impatient(MANUAL));
    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("before it had a result"), "{}", ran.stderr);
    stage.wait_for_state("idle");
    never(&stage, "session.restart_scheduled");
}

#[test]
fn a_claude_that_is_not_there_is_said() {
    let stage = Stage::with("no-such-claude", &impatient(MANUAL));
    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("could not start") && ran.stderr.contains("no-such-claude"), "{}", ran.stderr);
    assert_eq!(stage.service.wait_for("session.exited")["cause"], "not_started");
}

#[test]
fn a_lost_conversation_is_said_and_the_next_turn_begins_a_new_one() {
    let stage = Stage::with("loses_its_conversations", MANUAL);
    assert_eq!(stage.world.run(&["turn", "worker"]).code, Some(0));
    let lost = stage.session()["conversation"].clone();
    let ran = stage.world.run(&["turn", "worker"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the next turn begins a new one"), "{}", ran.stderr);
    assert_eq!(stage.service.wait_for("session.exited")["cause"], "conversation_lost");
    assert_eq!(stage.world.run(&["turn", "worker"]).code, Some(0));
    let found = stage.session()["conversation"].clone();
    assert!(found.is_string() && found != lost, "{lost} {found}");
}

#[test]
fn half_a_result_is_none() {
    let stage = Stage::with("writes_half_a_line", "prompt = \"Say hello.\"\nrestart = \"never\"\n");
    assert_eq!(stage.service.wait_for("session.exited")["cause"], "no_result");
    stage.wait_for_state("idle");
    never(&stage, "session.restart_scheduled");
    let transcript = std::fs::read_to_string(stage.transcript(1)).unwrap();
    assert!(transcript.ends_with("\"subtype\":\"succ\n"), "{transcript}");
}

#[test]
fn a_flood_on_stdout_is_read_over() {
    let stage = Stage::with("floods_stdout", PROMPT);
    assert_eq!(stage.service.wait_for("session.turn_finished")["is_error"], false);
    let size = std::fs::metadata(stage.transcript(1)).unwrap().len();
    assert!(size < 2_000_000, "the line beyond the cap is not kept: {size}");
}

#[test]
fn a_grandchild_in_a_session_of_its_own_ends_with_the_turn() {
    let stage = Stage::with("forks_a_grandchild", PROMPT);
    stage.service.wait_for("session.turn_finished");
    wait_until_gone(&stage.pids());
}

#[test]
fn a_claude_that_stays_after_its_result_is_ended_by_the_turns_timeout() {
    let stage = Stage::with("stays_after_its_result", "prompt = \"Say hello.\"\nturn_timeout = \"500ms\"\n");
    let finished = stage.service.wait_for("session.turn_finished");
    assert_eq!((&finished["is_error"], &finished["exit_code"]), (&json!(false), &json!(130)), "its result counts");
    wait_until_gone(&stage.pids());
}

#[test]
fn a_session_taken_out_of_the_config_is_interrupted() {
    let stage = Stage::with("answers_the_interrupt", PROMPT);
    stage.service.wait_for("session.turn_started");
    let without = config("answers", "").split("[sessions.worker]").next().unwrap().to_owned();
    stage.world.write("claudette.toml", &without);
    stage.service.wait_for("session.turn_finished");
    wait_until_gone(&stage.pids());
    stage.wait_for_none();
    // It was not its prompt's fault: back again, it is run again.
    stage.edit("answers", PROMPT);
    stage.service.wait_for_count("session.turn_finished", 2);
}

#[test]
fn a_session_of_the_anthropic_backend_runs_with_an_untouched_environment() {
    let stage = Stage::with("answers", "backend = \"anthropic\"\nprompt = \"Say hello.\"\n");
    stage.service.wait_for("session.turn_finished");
    let (environment, arguments) = (stage.written("environment"), stage.written("arguments"));
    assert!(!environment.contains("ANTHROPIC_"), "{environment}");
    assert!(!arguments.contains("--model"), "{arguments}");
}

#[test]
fn a_running_turn_keeps_its_generation_through_an_edit() {
    let stage = Stage::with("answers_the_interrupt", PROMPT);
    stage.service.wait_for("session.turn_started");
    let text = config("answers_the_interrupt", PROMPT).replace("qwen3-coder", "qwen4-coder");
    stage.world.write("claudette.toml", &text);
    stage.service.wait_for("gateway.replaced");
    let leases = |generation: u64| {
        let status: Value = serde_json::from_str(&stage.world.run(&["status", "--json"]).stdout).unwrap();
        let gateways = status["gateways"].as_array().unwrap().clone();
        gateways.iter().find(|gateway| gateway["generation"] == generation).map(|gateway| gateway["leases"].clone())
    };
    assert_eq!((leases(1), leases(2)), (Some(json!(1)), Some(json!(0))));
    let without = text.split("[sessions.worker]").next().unwrap();
    stage.world.write("claudette.toml", without);
    stage.service.wait_for("session.turn_finished");
}

#[test]
fn a_stopping_service_leads_a_deaf_claude_down_the_whole_ladder() {
    let stage = Stage::with("ignores_signals", &impatient(PROMPT));
    stage.service.wait_for("session.tool_used");
    let pids = stage.pids();
    assert_eq!(pids.len(), 2);
    let Stage { service, config, world } = stage;
    let (status, _, log) = service.stop();
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
    wait_until_gone(&pids);
    // Interrupted, not finished: the next life of the service runs it again.
    let service = crate::support::service::Service::start(&world, &config);
    service.wait_for("session.turn_started");
}

#[test]
fn a_killed_service_leaves_no_claude_and_nothing_of_its_behind() {
    let stage = Stage::with("ignores_signals", PROMPT);
    stage.service.wait_for("session.tool_used");
    let pids = stage.pids();
    stage.service.signal(Signal::KILL);
    let Stage { service, config, world } = stage;
    drop(service.wait());
    wait_until_gone(&pids);
    let service = crate::support::service::Service::start(&world, &config);
    let started = service.wait_for("session.turn_started");
    assert_eq!(started["resumed"], true, "the model had answered in it");
}

/// The config of a session that runs the real program against the scene's upstream.
fn real(keys: &str) -> String {
    format!(
        "[claude]\nbin = \"{}\"\n[sessions.worker]\nbackend = \"openai-api\"\ncwd = \"work\"\nconfig_dir = \"claude\"\n\
         start = \"manual\"\nprompt = \"Run the echo command, please.\"\nargs = [\"--allowedTools\", \"Bash\"]\n{keys}",
        claude::binary().display()
    )
}

fn turn(scene: &Scene, arguments: &[&str]) -> String {
    let ran = scene.world.run(&[&["turn", "worker"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", scene.service.log_lines().join("\n"));
    ran.stdout
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claude_takes_turns_in_one_conversation_across_a_service_restart() {
    let script = json!([
        {"on": "turn", "contains": "echo command", "reply": {"stream": [
            {"call": {"id": "call_1", "name": "Bash", "arguments": {"command": "echo out-of-the-shell", "description": "Echo"}}},
        ]}},
        {"on": "results", "contains": "out-of-the-shell", "reply": {"stream": [{"text": "The shell has spoken."}]}},
        {"on": "turn", "contains": "second", "reply": {"stream": [{"text": "That is the second."}]}},
        {"on": "turn", "contains": "third", "reply": {"stream": [{"text": "And the third."}]}},
    ]);
    let scene = Scene::openai_with(script, &real(""));
    assert_eq!(turn(&scene, &[]), "The shell has spoken.\n");
    assert_eq!(scene.service.wait_for("session.tool_used")["tool"], "Bash");
    let finished = scene.service.wait_for("session.turn_finished");
    assert!(finished["output_tokens"].as_u64().unwrap() > 0, "{finished}");
    assert_eq!(turn(&scene, &["The second, please."]), "That is the second.\n");

    let Scene { service, gateway, upstream, backend, world } = scene;
    service.stop();
    let service = crate::support::service::Service::start(&world, &world.path("claudette.toml"));
    let scene = Scene { service, gateway, upstream, backend, world };
    assert_eq!(turn(&scene, &["The third, please."]), "And the third.\n");
    let requests = scene.upstream.requests();
    let history = requests.last().expect("a request").body.to_string();
    for said in ["out-of-the-shell", "The second, please.", "That is the second."] {
        assert!(history.contains(said), "{said} is not in the resumed conversation");
    }
}

/// An edit in the middle of an answer cuts nothing, and counts from the next turn on.
#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claude_streams_through_an_edit_and_asks_the_new_model_next() {
    let script = json!([
        {"on": "turn", "contains": "echo command", "reply": {"stream": [{"text": ["Half, ", {"hold": "edited"}, "and half."]}]}},
        {"on": "turn", "contains": "second", "reply": {"stream": [{"text": "That is the second."}]}},
    ]);
    let scene = Scene::openai_with(script, &real(""));
    let command = scene.world.claudette(&["turn", "worker"]).stdout(Stdio::piped()).spawn().unwrap();
    scene.upstream.wait("holding=edited");
    let before = openai_config(&format!("http://{}/v1", scene.upstream.address));
    scene.save(&format!("{}\n{}", before.replace("gpt-5.5", "gpt-5-mini"), real("")));
    scene.service.wait_for("gateway.replaced");
    scene.upstream.release("edited");
    let output = command.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Half, and half.\n");
    assert_eq!(turn(&scene, &["The second, please."]), "That is the second.\n");
    let requests = scene.upstream.requests();
    let turns = requests.iter().filter(|request| request.body.get("tools").is_some());
    let models: Vec<_> = turns.map(|request| request.body["model"].clone()).collect();
    assert_eq!(models, ["gpt-5.5", "gpt-5-mini"]);
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claudes_tool_dies_with_a_killed_service() {
    let script = json!([{"on": "turn", "reply": {"stream": [
        {"call": {"id": "call_1", "name": "Bash",
            "arguments": {"command": "echo $$ > pids; sleep 600", "description": "Wait", "timeout": 600000}}},
    ]}}]);
    let scene = Scene::openai_with(script, &real(""));
    let mut command = scene.world.claudette(&["turn", "worker"]).stdout(Stdio::piped()).spawn().unwrap();
    scene.service.wait_for("session.tool_used");
    let tool = wait_for_pid(&scene);
    scene.service.signal(Signal::KILL);
    wait_until_gone(&[tool]);
    let mut rest = String::new();
    let _ = BufReader::new(command.stdout.take().unwrap()).read_line(&mut rest);
    assert_ne!(command.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claude_ends_its_turn_while_the_service_is_stopping() {
    let script = json!([
        {"on": "turn", "reply": {"stream": [
            {"call": {"id": "call_1", "name": "Bash",
                "arguments": {"command": "echo $$ > pids; sleep 1; echo slept", "description": "Wait"}}},
        ]}},
        {"on": "results", "contains": "slept", "reply": {"stream": [{"text": "Rested."}]}},
    ]);
    let scene = Scene::openai_with(script, &real(""));
    let command = scene.world.claudette(&["turn", "worker"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for_pid(&scene);
    let (status, _, log) = scene.service.stop();
    let output = command.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), "Rested.\n"));
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claude_is_interrupted_by_ctrl_c_and_its_tool_with_it() {
    let script = json!([{"on": "turn", "reply": {"stream": [
        {"call": {"id": "call_1", "name": "Bash",
            "arguments": {"command": "echo $$ > pids; sleep 600", "description": "Wait", "timeout": 600000}}},
    ]}}]);
    let scene = Scene::openai_with(script, &real(""));
    let mut command = scene.world.claudette(&["turn", "worker"]).spawn().unwrap();
    let tool = wait_for_pid(&scene);
    kill_process(Pid::from_raw(command.id() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(130));
    let finished = scene.service.wait_for("session.turn_finished");
    assert_eq!(finished["outcome"], "error_during_execution");
    assert!(finished["duration_ms"].as_u64().unwrap() < 60_000, "{finished}");
    wait_until_gone(&[tool]);
}

fn wait_for_pid(scene: &Scene) -> Pid {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let text = std::fs::read_to_string(scene.world.path("work").join("pids")).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            return pid;
        }
        assert!(std::time::Instant::now() < deadline, "the tool does not start");
        std::thread::yield_now();
    }
}
