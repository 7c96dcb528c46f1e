//! The folder against the real file system: modes, owners, links, locks and interrupted writes.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::process::geteuid;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::ids::Slot;
use crate::own_process;

fn folder_in(parent: &Path) -> Result<StateFolder, StateFault> {
    let path = parent.join("state");
    StateFolder::open(|name| (name == "CLAUDETTE_STATE_DIR").then(|| path.clone().into()))
}

fn fresh() -> (TempDir, StateFolder) {
    let parent = tempfile::tempdir().unwrap();
    let folder = folder_in(parent.path()).unwrap();
    (parent, folder)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

fn control(pid: u32) -> ControlFile {
    ControlFile { pid, address: "127.0.0.1:4711".parse().unwrap(), token: StoredToken::new("secret") }
}

#[test]
fn the_folder_is_found_by_the_first_usable_variable() {
    let home = ("HOME", "/home/ann");
    for (variables, expected) in [
        (vec![("CLAUDETTE_STATE_DIR", "/a"), ("XDG_STATE_HOME", "/x"), home], Some("/a")),
        (vec![("CLAUDETTE_STATE_DIR", ""), ("XDG_STATE_HOME", "/x"), home], Some("/x/claudette")),
        (vec![("XDG_STATE_HOME", "x"), home], Some("/home/ann/.local/state/claudette")),
        (vec![("XDG_STATE_HOME", ""), home], Some("/home/ann/.local/state/claudette")),
        (vec![("HOME", "")], None),
        (vec![], None),
    ] {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        assert_eq!(place(lookup).ok(), expected.map(PathBuf::from), "{variables:?}");
    }
}

#[test]
fn nothing_is_open_to_others_under_any_usual_umask() {
    if let Some(umask) = own_process::case() {
        let umask = rustix::fs::RawMode::from_str_radix(&umask, 8).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        let (_parent, folder) = fresh();
        let _lock = folder.lock().unwrap();
        folder.write("models/vllm.json", b"{}").unwrap();
        folder.append("sessions/reviewer/1.jsonl").unwrap();
        let path = |name: &str| folder.path().join(name);
        for folder in ["", "models", "sessions", "sessions/reviewer"] {
            assert_eq!(mode(&path(folder)), 0o700, "{folder}");
        }
        for file in [LOCK, "models/vllm.json", "sessions/reviewer/1.jsonl"] {
            assert_eq!(mode(&path(file)), 0o600, "{file}");
        }
        return;
    }
    for umask in ["000", "022", "077"] {
        let output = own_process::run("state::tests::nothing_is_open_to_others_under_any_usual_umask", umask);
        assert!(output.status.success(), "{umask}: {output:?}");
    }
}

#[test]
fn a_folder_that_was_open_to_others_is_closed() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    folder_in(parent.path()).unwrap();
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn symbolic_links_are_refused_as_folder_and_inside_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("victim"), "kept").unwrap();
    for target in [elsewhere.path().to_owned(), elsewhere.path().join("absent")] {
        let parent = tempfile::tempdir().unwrap();
        symlink(target, parent.path().join("state")).unwrap();
        let fault = folder_in(parent.path()).unwrap_err();
        assert!(matches!(fault, StateFault::Refused { refusal: Refusal::Symlink, .. }), "{fault}");
    }

    let (_parent, folder) = fresh();
    let victim = elsewhere.path().join("victim");
    for name in [LOCK, "control.json", "log.jsonl"] {
        symlink(&victim, folder.path().join(name)).unwrap();
    }
    symlink(elsewhere.path(), folder.path().join("models")).unwrap();
    let faults = [
        folder.lock().unwrap_err(),
        folder.read("control.json").unwrap_err(),
        folder.append("log.jsonl").unwrap_err(),
        folder.write("models/vllm.json", b"{}").unwrap_err(),
    ];
    for fault in faults {
        assert!(matches!(fault, StateFault::Refused { refusal: Refusal::Symlink, .. }), "{fault}");
    }
    // Writing replaces the link and leaves alone what it pointed to.
    folder.write("control.json", b"{}").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
}

#[test]
fn what_is_neither_folder_nor_file_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("state"), "").unwrap();
    let fault = folder_in(parent.path()).unwrap_err();
    assert!(matches!(fault, StateFault::Refused { refusal: Refusal::NotAFolder, .. }), "{fault}");

    let (_parent, folder) = fresh();
    fs::create_dir(folder.path().join("control.json")).unwrap();
    let fault = folder.read("control.json").unwrap_err();
    assert!(matches!(fault, StateFault::Refused { refusal: Refusal::NotAFile, .. }), "{fault}");
}

#[test]
fn somebody_elses_folder_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let mut foreign = PathBuf::from("/");
    if geteuid().is_root() {
        foreign = parent.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
    }
    let fault = own_folder(&foreign).unwrap_err();
    assert!(matches!(fault, StateFault::Refused { refusal: Refusal::ForeignOwner { .. }, .. }), "{fault}");
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let (_parent, folder) = fresh();
    for name in ["", "/etc/passwd", "../x", "models/../../x", "models/..", "./x", "a\0b", "models/"] {
        let fault = folder.write(name, b"").unwrap_err();
        assert!(matches!(fault, StateFault::BadName { .. }), "{name:?}: {fault}");
    }
}

#[test]
fn a_written_file_reads_back_and_nothing_else_is_left() {
    let (_parent, folder) = fresh();
    assert_eq!(folder.read("a.json").unwrap(), None);
    for content in ["one", "two, longer", ""] {
        folder.write("a.json", content.as_bytes()).unwrap();
        assert_eq!(folder.read("a.json").unwrap().unwrap().as_slice(), content.as_bytes());
        assert_eq!(names(folder.path()), ["a.json"]);
    }
    folder.remove("a.json").unwrap();
    folder.remove("a.json").unwrap();
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_write_that_fails_keeps_what_was_there_and_cleans_up() {
    let (_parent, folder) = fresh();
    let occupied = folder.path().join("a.json");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("kept"), "").unwrap();
    assert!(matches!(folder.write("a.json", b"{}").unwrap_err(), StateFault::Failed { .. }));
    assert_eq!(names(folder.path()), ["a.json"]);
    assert_eq!(names(&occupied), ["kept"]);
}

#[test]
fn writers_at_the_same_time_leave_one_of_their_contents_whole() {
    let (_parent, folder) = fresh();
    let contents = ["a".repeat(100_000), "b".repeat(200_000)];
    thread::scope(|scope| {
        for content in &contents {
            let folder = &folder;
            scope.spawn(move || (0..10).for_each(|_| folder.write("a.json", content.as_bytes()).unwrap()));
        }
    });
    let read = folder.read("a.json").unwrap().unwrap();
    assert!(contents.iter().any(|content| content.as_bytes() == read.as_slice()));
    assert_eq!(names(folder.path()), ["a.json"]);
}

#[test]
fn the_typed_files_read_back_and_never_print_their_tokens() {
    let (_parent, folder) = fresh();
    let slot = Slot { backend: "vllm".into(), model: Some("org/model".into()) };
    let record = GatewayRecord { slot, port: 4712, token: StoredToken::new("secret"), fingerprint: "f00d".into() };
    let gateways = GatewaysFile { gateways: vec![record] };
    let models = ModelsFile { fetched_at: 1_772_355_907, models: vec!["a".to_owned()] };
    let models_name = StateFolder::models(&"vllm".into());
    folder.store(StateFolder::GATEWAYS, &gateways).unwrap();
    folder.store(&models_name, &models).unwrap();
    assert_eq!(folder.load(StateFolder::GATEWAYS).unwrap(), Some(gateways.clone()));
    assert_eq!(folder.load(&models_name).unwrap(), Some(models));
    assert!(!format!("{gateways:?} {:?}", control(1)).contains("secret"));
}

#[test]
fn a_file_of_another_shape_is_named_without_its_content() {
    let (_parent, folder) = fresh();
    let broken = json!({ "pid": "secret", "address": "127.0.0.1:1", "token": "secret" }).to_string();
    for content in [broken.as_str(), "", "{\"pid\":1"] {
        folder.write(StateFolder::CONTROL, content.as_bytes()).unwrap();
        let fault = folder.load::<ControlFile>(StateFolder::CONTROL).unwrap_err();
        assert!(matches!(fault, StateFault::Malformed { .. }) && !fault.to_string().contains("secret"), "{fault}");
    }
}

#[test]
fn a_second_service_is_refused_and_learns_the_first_ones_pid() {
    let (_parent, folder) = fresh();
    let lock = folder.lock().unwrap();
    let fault = folder.lock().unwrap_err();
    assert!(matches!(fault, StateFault::AlreadyRunning { pid: Some(pid) } if pid == process::id()), "{fault}");
    drop(lock);
    folder.lock().unwrap();
}

#[test]
fn a_lock_ends_with_its_process_however_that_ends() {
    const NAME: &str = "state::tests::a_lock_ends_with_its_process_however_that_ends";
    if let Some(parent) = own_process::case() {
        let folder = folder_in(Path::new(&parent)).unwrap();
        let _lock = folder.lock().unwrap();
        folder.store(StateFolder::CONTROL, &control(process::id())).unwrap();
        assert!(matches!(folder.service().unwrap(), Service::Running(_)));
        process::abort();
    }
    let (parent, folder) = fresh();
    let output = own_process::run(NAME, parent.path().to_str().unwrap());
    assert!(!output.status.success() && folder.read(StateFolder::CONTROL).unwrap().is_some(), "{output:?}");
    assert_eq!(folder.service().unwrap(), Service::Absent);
    let _lock = folder.lock().unwrap();
    assert_eq!(folder.read(StateFolder::CONTROL).unwrap(), None);
}

#[test]
fn a_service_is_running_only_while_it_holds_the_lock_and_control_json_is_its_own() {
    let (_parent, folder) = fresh();
    assert_eq!(folder.service().unwrap(), Service::Absent);
    folder.store(StateFolder::CONTROL, &control(process::id())).unwrap();
    assert_eq!(folder.service().unwrap(), Service::Absent);

    let lock = folder.lock().unwrap();
    let unreachable = Service::Unreachable { pid: Some(process::id()) };
    assert_eq!(folder.service().unwrap(), unreachable);
    folder.store(StateFolder::CONTROL, &control(1)).unwrap();
    assert_eq!(folder.service().unwrap(), unreachable);
    folder.store(StateFolder::CONTROL, &control(process::id())).unwrap();
    assert_eq!(folder.service().unwrap(), Service::Running(control(process::id())));

    drop(lock);
    assert_eq!(folder.service().unwrap(), Service::Absent);
}
