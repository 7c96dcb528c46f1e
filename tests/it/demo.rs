//! `claudette demo` as a first-time user meets it: with no `claude` on PATH, with one that misbehaves, with the real one.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::claude;
use crate::support::world::World;

/// The demo in a world whose PATH is one folder.
fn demo(world: &World, path: &Path, arguments: &[&str]) -> Command {
    let mut command = world.claudette(&["demo"]);
    command.args(arguments).env("PATH", path);
    command
}

/// A `claude` that is a shell script, in a folder of its own.
fn fake_claude(world: &World, script: &str) -> PathBuf {
    let program = world.path("bin").join("claude");
    fs::create_dir_all(world.path("bin")).expect("a folder in a fresh folder");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file in a fresh folder");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
    world.path("bin")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?}, or too early, in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

/// Neither its temporary folder nor anything in the person's own ones.
#[track_caller]
fn assert_nothing_is_left(world: &World) {
    for folder in ["tmp", "home", "config", "data", "cache", "claude", "work"] {
        let left: Vec<_> = fs::read_dir(world.path(folder)).expect("the world's folder").collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    assert!(!world.state().exists(), "the state folder is none of the demo's business");
}

#[test]
fn without_claude_a_built_in_client_shows_a_whole_turn() {
    let world = World::new();
    let output = demo(&world, &world.path("work"), &["What is this?"]).output().expect("the program starts");
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.lines().next().is_some_and(|line| line.contains("No `claude`")), "{said}");
    assert_in_order(
        &said,
        &[
            "gateway   http://127.0.0.1:",
            "upstream  http://127.0.0.1:",
            "you         What is this?",
            "thinking  ",
            "You asked: \"What is this?\"",
            "tool call   Bash  echo \"hello from claudette's demo\"",
            "result      hello from claudette's demo",
            "The shell said: \"hello from",
            "Timings",
            "What just happened",
            "OPENAI_API_KEY",
        ],
    );
    for row in ["prompt ", "result "] {
        let line = said.lines().skip_while(|line| !line.contains("1st byte")).find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("no row {row:?} in:\n{said}"));
        assert!(line.matches(" ms").count() == 4 && !line.contains(" -"), "everything was measured: {line}");
    }
    let longest = said.lines().take_while(|line| !line.starts_with("Next")).map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "it fits a small terminal:\n{said}");
    assert!(!said.contains('\x1b'), "no colour where no terminal is");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_nothing_is_left(&world);
}

#[test]
fn what_is_said_streams() {
    let world = World::new();
    let mut child = demo(&world, &world.path("work"), &[]).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut text = String::new();
    let mut reads_of_thought = 0;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        reads_of_thought += usize::from(text.contains("thinking") && !text.contains("tool call"));
    }
    assert!(reads_of_thought > 5, "{reads_of_thought} pieces: the words came at once\n{text}");
    assert!(child.wait().expect("a child can be waited for").success());
}

#[test]
fn a_claude_that_fails_is_quoted() {
    let world = World::new();
    let path = fake_claude(&world, "echo 'out of luck' >&2; exit 3");
    let output = demo(&world, &path, &[]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("exit status: 3") && said.contains("out of luck"), "{said}");
    assert_nothing_is_left(&world);
}

#[test]
fn an_interrupt_ends_claude_and_leaves_nothing() {
    let world = World::new();
    let init = r#"{\"type\":\"system\",\"subtype\":\"init\",\"claude_code_version\":\"pid-$$\"}"#;
    let path = fake_claude(&world, &format!("echo \"{init}\"\nexec /bin/sleep 600"));
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = demo(&world, &path, &[]).stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
        let mut lines = lines.skip_while(|line| !line.contains("is up after"));
        let line = lines.next().expect("claude has started");
        let number = line.split_once("pid-").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let claude = number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("no pid in {line}"));
        test_kill_process(claude).expect("claude runs");
        kill_process(Pid::from_raw(child.id() as i32).expect("a child has a pid"), signal).expect("the demo runs");
        assert_eq!(child.wait().expect("a child can be waited for").code(), Some(1));
        assert!(test_kill_process(claude).is_err(), "claude is gone with the demo");
        assert_nothing_is_left(&world);
    }
}

#[test]
#[ignore = "needs the real claude CLI: run tests/run"]
fn the_real_claude_runs_the_tool_and_nothing_of_it_is_left() {
    let world = World::new();
    let bin = world.path("bin");
    fs::create_dir(&bin).expect("a folder in a fresh folder");
    std::os::unix::fs::symlink(claude::binary(), bin.join("claude")).expect("a link in a fresh folder");
    let system = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&system))).expect("no colons");
    let output = demo(&world, Path::new(&path), &["What is this?"]).output().expect("the program starts");
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_in_order(
        &said,
        &[
            "client    ",
            "you         What is this?",
            " is up after ",
            "thinking  ",
            "You asked: \"What is this?\"",
            "tool call   Bash  echo \"hello from claudette's demo\"",
            "result      hello from claudette's demo",
            "The shell said: \"hello from",
            "Timings",
        ],
    );
    assert!(!said.contains("No `claude`"), "{said}");
    assert_nothing_is_left(&world);
}
