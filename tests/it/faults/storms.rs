//! Upstreams that refuse everything for a while, and many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Faulty, ask, told};
use crate::support::raw_upstream::{RawUpstream, broken, completed, delta};

/// Clients that ask at once, and how often each.
const CLIENTS: usize = 16;
const TIMES: usize = 10;

/// Every request has its own answer, the upstream is not asked more often than it was, and then it is over.
#[test]
fn a_storm_of_refusals_is_passed_on_one_by_one() {
    const STORM: [(u16, &str, u16, &str); 3] = [
        (429, "retry-after: 3\r\n", 429, "rate_limit_error"),
        (500, "", 500, "api_error"),
        (503, "", 529, "overloaded_error"),
    ];
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let upstream = RawUpstream::start(move |name, wire| {
        counted.fetch_add(1, Ordering::SeqCst);
        let (status, header, ..) = STORM[name.parse::<usize>().expect("a number") % STORM.len()];
        let body = r#"{"error": {"message": "Not now.", "type": "server_error", "code": null}}"#;
        let head = format!("HTTP/1.1 {status} Not now\r\ncontent-type: application/json\r\n{header}");
        wire.say(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    });
    let faulty = Faulty::before(&upstream, "");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let faulty = &faulty;
            scope.spawn(move || {
                for time in 0..TIMES {
                    let number = client + time;
                    let (.., status, kind) = STORM[number % STORM.len()];
                    let told = faulty.told(&number.to_string());
                    assert_eq!((told.status, told.kind.as_str()), (status, kind), "{told:?}");
                    assert!(told.message.contains("Not now."), "{told:?}");
                }
            });
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), CLIENTS * TIMES, "a storm is not made worse by asking again");
    faulty.assert_serves("a storm");
}

/// Some answers are whole, some cut, some given up by their clients; none has a byte of another.
#[test]
fn answers_keep_apart_while_others_break() {
    let faulty = Faulty::with(|name, wire| {
        wire.begin(&delta(name));
        if name.ends_with("whole") {
            wire.chunk(&format!("{}{}", delta(", and its end"), completed()));
        } else if name.ends_with("left") {
            wire.stall();
        }
    });
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let gateway = &faulty.gateway;
            scope.spawn(move || {
                for time in 0..TIMES {
                    let end = ["whole", "cut", "left"][(client + time) % 3];
                    let name = format!("{client} {time} {end}");
                    let mut stream = ask(gateway, &broken(&name));
                    if end == "left" {
                        assert_eq!(stream.next_text(), name);
                        continue;
                    }
                    let told = told(stream);
                    let (text, kind) = match end {
                        "whole" => (format!("{name}, and its end"), ""),
                        _ => (name, "overloaded_error"),
                    };
                    assert_eq!((told.text, told.kind.as_str()), (text, kind));
                }
            });
        }
    });
    faulty.assert_serves("broken answers among whole ones");
}
