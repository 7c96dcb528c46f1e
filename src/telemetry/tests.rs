//! Whole lines as a reader of the log sees them, written into memory through the real subscriber.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::own_process;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Memory {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn written(shape: Shape, level: Level, say: impl FnOnce()) -> String {
    let memory = Memory::default();
    let subscriber = Registry::default().with(targets(level)).with(layer(shape, memory.clone()));
    tracing::subscriber::with_default(subscriber, say);
    memory.text()
}

fn json_lines(level: Level, say: impl FnOnce()) -> Vec<Value> {
    written(Shape::Json, level, say).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FORGERY: &str = "a\r\n{\"event\":\"service.stopped\"}\u{1b}[2J\u{9b}31m\u{7}\u{202e}\u{2028}\"\\z";

#[test]
fn a_json_line_is_one_flat_object_that_begins_with_the_four_keys() {
    let line = written(Shape::Json, Level::Info, || {
        let none: Option<u64> = None;
        let backend = crate::ids::BackendId::from("vllm");
        tracing::info!(
            event = "gateway.ready",
            %backend,
            generation = 3_u64,
            ratio = 0.5,
            odd = f64::NAN,
            ok = true,
            words = ?["a"],
            none,
            "gateway is ready"
        );
    });
    assert!(line.starts_with(r#"{"timestamp":"2"#), "{line}");
    let tail = line.split_once("Z\",").unwrap().1;
    assert_eq!(
        tail,
        concat!(
            r#""level":"info","event":"gateway.ready","message":"gateway is ready","#,
            r#""backend":"vllm","generation":3,"ratio":0.5,"odd":"NaN","ok":true,"words":"[\"a\"]"}"#,
            "\n"
        )
    );
    let value: Value = serde_json::from_str(&line).unwrap();
    let timestamp = value["timestamp"].as_str().unwrap();
    assert_eq!((timestamp.len(), &timestamp[10..11]), ("2026-03-01T09:05:07.042Z".len(), "T"));
}

#[test]
fn no_value_breaks_out_of_its_line() {
    let say = || tracing::info!(event = "request.finished", error_type = FORGERY, "{FORGERY}");
    let shapes = [Shape::Json, Shape::Text { colour: false }];
    for shape in shapes {
        let line = written(shape, Level::Info, say);
        let (body, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        for character in ['\r', '\n', '\u{1b}', '\u{9b}', '\u{7}', '\u{202e}', '\u{2028}'] {
            assert!(!body.contains(character), "{character:?} in {body:?}");
        }
    }
    let value = &json_lines(Level::Info, say)[0];
    assert_eq!((value["message"].as_str(), value["error_type"].as_str()), (Some(FORGERY), Some(FORGERY)));
}

#[test]
fn text_quotes_values_that_would_look_like_more_fields() {
    let line = written(Shape::Text { colour: false }, Level::Info, || {
        tracing::warn!(event = "config.warned", key = "a b=c", plain = "x/y", empty = "", "look here");
    });
    assert_eq!(&line[13..], " WARN  config.warned  look here  key=\"a b=c\" plain=x/y empty=\"\"\n");
}

#[test]
fn colour_is_the_only_escape_sequence_of_a_text_line() {
    let line = written(Shape::Text { colour: true }, Level::Info, || {
        tracing::error!(event = "service.stopped", "{FORGERY}");
    });
    assert_eq!(line.matches('\u{1b}').count(), 4, "{line:?}");
}

#[test]
fn other_crates_are_heard_from_warnings_up_whatever_our_level() {
    let lines = json_lines(Level::Trace, || {
        tracing::info!(target: "h2::client", "not this");
        tracing::warn!(target: "h2::client", event = "service.stopped", level = "x", target = "y", stream = 1, "reset");
        tracing::warn!(target: "claudette_other", "a neighbour's name is not ours");
        tracing::trace!(event = "service.status", "ours");
    });
    let heads: Vec<_> = lines.iter().map(|line| (line["event"].as_str().unwrap(), line["target"].as_str())).collect();
    assert_eq!(
        heads,
        [("library.logged", Some("h2::client")), ("library.logged", Some("claudette_other")), ("service.status", None)]
    );
    assert_eq!((lines[0]["level"].as_str(), lines[0]["stream"].as_i64()), (Some("warn"), Some(1)));
}

#[test]
fn the_level_holds_for_our_events_and_lowers_those_of_others() {
    let say = || {
        tracing::info!(event = "service.status", "ours");
        tracing::warn!(event = "config.warned", "ours");
        tracing::warn!(target: "h2", "theirs");
        tracing::error!(target: "h2", "theirs");
    };
    for (level, count) in [(Level::Error, 1), (Level::Warn, 3), (Level::Info, 4), (Level::Debug, 4)] {
        assert_eq!(json_lines(level, say).len(), count, "{level:?}");
    }
}

#[test]
fn records_of_the_log_facade_become_library_logged_with_their_own_target() {
    let lines = json_lines(Level::Info, || {
        let say = |level, words: fmt::Arguments<'_>| {
            log::Log::log(
                &library::LibraryLog,
                &log::Record::builder().level(level).target("rustls::conn").args(words).build(),
            );
        };
        say(log::Level::Info, format_args!("hello"));
        say(log::Level::Warn, format_args!("bad frame"));
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(
        [lines[0]["event"].as_str(), lines[0]["target"].as_str(), lines[0]["message"].as_str()],
        [Some("library.logged"), Some("rustls::conn"), Some("bad frame")]
    );
}

#[test]
fn auto_means_text_only_on_a_terminal() {
    let text = Shape::Text { colour: false };
    for (format, on_terminal, expected) in [
        (Format::Auto, true, text),
        (Format::Auto, false, Shape::Json),
        (Format::Json, true, Shape::Json),
        (Format::Text, false, text),
    ] {
        assert_eq!(choose_shape(format, on_terminal, false), expected, "{format:?}");
    }
}

#[test]
fn a_panic_is_one_event_and_only_words_written_in_the_program_are_repeated() {
    if let Some(path) = own_process::case() {
        return log_two_panics(path.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/claude.log");
    let name = "telemetry::tests::a_panic_is_one_event_and_only_words_written_in_the_program_are_repeated";
    let output = own_process::run(name, path.to_str().unwrap());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{:?}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = lines.iter().map(|line| line["panic"].as_str()).collect();
    assert_eq!(said, [Some("plain words"), None]);
    assert!(!fs::read_to_string(&path).unwrap().contains("sk-1234"));
    for line in &lines {
        assert_eq!((line["event"].as_str(), line["thread"].as_str()), (Some("process.panicked"), Some("worker")));
        assert!(line["location"].as_str().unwrap().contains("src/telemetry/tests.rs:"), "{line}");
    }
}

fn log_two_panics(path: PathBuf) {
    let destination = Destination::File { path, keep: Duration::from_secs(60) };
    let telemetry = Telemetry { format: Format::Auto, level: Level::Info, destination };
    let _guard = init(&telemetry).unwrap();
    assert!(matches!(init(&telemetry), Err(TelemetryFault::AlreadyBegun)));
    let secret = "sk-1234";
    let panicking: [fn(&str); 2] = [|_| panic!("plain words"), |secret| panic!("bad key {secret}")];
    for panicking in panicking {
        let worker = std::thread::Builder::new().name("worker".into());
        assert!(worker.spawn(move || panicking(secret)).unwrap().join().is_err());
    }
}

#[test]
fn every_event_named_in_the_sources_is_on_the_list() {
    let mut unknown = Vec::new();
    for_each_source(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |path, source| {
        let names = source.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next());
        unknown.extend(names.filter(|name| !EVENTS.contains(name)).map(|name| format!("{}: {name}", path.display())));
    });
    assert!(unknown.is_empty(), "not in EVENTS: {unknown:#?}");
}

#[test]
fn the_list_is_sorted_without_doubles_and_every_name_has_a_noun_and_a_verb() {
    assert!(EVENTS.is_sorted_by(|a, b| a < b));
    for name in EVENTS {
        let (noun, verb) = name.split_once('.').unwrap();
        let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(plain(noun) && plain(verb), "{name}");
    }
}

fn for_each_source(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
