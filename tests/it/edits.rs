//! Many edits while many answers stream: none is cut, and nothing of the old generations is left behind.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::bodies::plain_request;
use crate::support::http_client::BodyEnd;
use crate::support::scene::Scene;

const EDITS: u64 = 200;
const CLIENTS: usize = 20;
/// What may differ from the start: the current gateway keeps its connections to the upstream for the next requests, and a
/// few are just closing. A leaked generation would cost a thread and several descriptors, a hundred times.
const MORE_FILES: usize = CLIENTS + 8;
const MORE_THREADS: usize = 2;

fn config(step: u64) -> String {
    let supervisor =
        "[supervisor]\nretire_after = \"3s\"\ndebounce = \"10ms\"\nrestart_intensity = 1000\nbackoff_max = \"1ms\"\n";
    match step % 4 {
        0 => supervisor.to_owned(),
        1 => format!("{supervisor}[upstream]\nidle_timeout = \"{}s\"\n", 100 + step),
        2 => format!("{supervisor}[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:{step}\"\n"),
        _ => format!("{supervisor}[upstream]\nidle_timeout = \"soon\"\n"),
    }
}

/// Threads and open descriptors of the service.
fn footprint(scene: &Scene) -> (usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", scene.service.pid())).expect("it runs").count();
    (count("task"), count("fd"))
}

#[test]
#[cfg(target_os = "linux")]
fn slow_two_hundred_edits_cut_no_stream_and_leave_nothing_behind() {
    let script = json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": ["one ", "two ", "three"]}]}}]);
    let scene = Scene::openai_with(script, &config(0));
    let before = footprint(&scene);
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let gateway = scene.service.gateway(&scene.world, "openai-api");
                    let mut connection = gateway.connect();
                    let body = plain_request("go").to_string();
                    connection.send("POST", "/v1/messages", &gateway.headers(), body.as_bytes());
                    let mut stream = connection.into_event_stream();
                    let events = stream.read_to_end();
                    assert_eq!(events.last().map(|event| event.name.as_str()), Some("message_stop"), "{events:?}");
                    assert_eq!(stream.end(), BodyEnd::Clean);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for step in 1..=EDITS {
            scene.edit(&config(step));
            std::thread::sleep(Duration::from_millis(250));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(answers.load(Ordering::Relaxed) > CLIENTS, "there were answers");
    let rejected = scene.service.wait_for_count("config.rejected", usize::try_from(EDITS / 4).expect("small") - 1);
    assert!(rejected.iter().all(|line| line["faults"].as_str().is_some_and(|faults| faults.contains("idle_timeout"))));
    scene.edit(&config(0));
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    loop {
        let (threads, files) = footprint(&scene);
        if threads <= before.0 + MORE_THREADS && files <= before.1 + MORE_FILES {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{:?} at the start, {threads} and {files} now", before);
        std::thread::sleep(Duration::from_millis(100));
    }
}
