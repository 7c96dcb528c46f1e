//! Upstreams that cannot be reached, fall silent, break off, or talk nonsense.

use std::sync::{Arc, Barrier};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Faulty, Told, ask, assert_serves, config, self_signed, told};
use crate::support::raw_upstream::{
    ClosedPort, LAST_CHUNK, RawUpstream, STREAM_HEAD, Wire, answer, broken, completed, delta, event,
};
use crate::support::service::Service;
use crate::support::world::World;

const MIB: usize = 1024 * 1024;
/// An event may have 64 MiB (WIRE.md R-P3), which a growing buffer holds twice for a moment, and a test build is large.
const MOST_MEMORY: u64 = 400 * MIB as u64;

/// A fault, how the upstream commits it, and what the client is told: status, error type, words, text before.
type Case = (&'static str, fn(&mut Wire), u16, &'static str, &'static str, &'static str);

#[test]
fn a_broken_answer_is_told_as_what_it_is() {
    let cases: &[Case] = &[
        ("closed before the head", |_| {}, 502, "api_error", "closed the connection before it answered", ""),
        ("reset before the head", Wire::reset, 502, "api_error", "closed the connection before it answered", ""),
        ("half a head", |wire| wire.say(b"HTTP/1.1 200 O"), 502, "api_error", "answer in HTTP", ""),
        ("another protocol", |wire| wire.say(b"220 mail ESMTP\r\n"), 502, "api_error", "answer in HTTP", ""),
        ("noise", |wire| wire.say(&noise(64 * 1024)), 502, "api_error", "answer in HTTP", ""),
        ("an endless head", endless_head, 502, "api_error", "answer in HTTP", ""),
        ("closed after the head", |wire| wire.say(STREAM_HEAD.as_bytes()), 502, "api_error", "empty stream", ""),
        (
            "noise as events",
            |wire| wire.begin(&"\u{1}\u{fffd}{x}\r\n".repeat(1000)),
            529,
            "overloaded_error",
            "ended",
            "",
        ),
        ("events that are no JSON", |wire| wire.begin(&"data: {\"type\":\n\n".repeat(100)), 502, "api_error", "", ""),
        ("a chunk without a size", |wire| wire.say(&unsized_chunk()), 529, "overloaded_error", "ended", ""),
        ("gzip that nobody asked for", gzip, 502, "api_error", "gzip", ""),
        ("a gzipped refusal", gzipped_refusal, 500, "api_error", "\u{fffd}[2J", ""),
        ("a body without a length", without_length, 502, "api_error", "without a length", ""),
        ("a page", page, 502, "api_error", "Welcome", ""),
        ("nothing", |wire| wire.say(b"HTTP/1.1 204 No Content\r\n\r\n"), 502, "api_error", "", ""),
        ("an event that is cut", |wire| wire.begin(&delta("Half")[..30]), 529, "overloaded_error", "ended", ""),
        ("cut between events", |wire| wire.begin(&delta("Half")), 200, "overloaded_error", "ended", "Half"),
        ("cut inside an event", cut_inside, 200, "overloaded_error", "ended", "Half"),
        ("a length that is too long", |wire| sized(wire, 50), 200, "", "", "Whole."),
        ("a length that is too short", |wire| sized(wire, -50), 200, "overloaded_error", "ended", "Whole."),
        ("hints before the head", early_hints, 502, "api_error", "HTTP 103", ""),
        ("a body in two framings", two_framings, 200, "", "", "Whole."),
        ("more than the length says", smuggle, 200, "", "", "Whole."),
    ];
    let faulty = Faulty::with(|name, wire| {
        let case = cases.iter().find(|case| case.0 == name);
        case.unwrap_or_else(|| panic!("no case {name}")).1(wire);
    });
    let mut faults = String::new();
    for (name, _, status, kind, words, text) in cases {
        let told = faulty.told(name);
        let seen = (told.status, told.kind.as_str(), told.text.as_str());
        if seen != (*status, *kind, *text) || !told.message.contains(words) {
            faults.push_str(&format!("{name}: {told:?}\n"));
        }
        faulty.assert_serves(name);
    }
    assert!(faults.is_empty(), "\n{faults}");
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn endless_head(wire: &mut Wire) {
    wire.write(b"HTTP/1.1 200 OK\r\n");
    let line = format!("x-more: {}\r\n", "y".repeat(1000));
    for _ in 0..64 * 1024 {
        if !wire.write(line.as_bytes()) {
            return;
        }
    }
}

fn unsized_chunk() -> Vec<u8> {
    format!("{STREAM_HEAD}no hex digits\r\n{}", answer("never seen")).into_bytes()
}

fn gzip(wire: &mut Wire) {
    // `response.completed` alone.
    const ZIPPED: &str = "H4sIAAAAAAACA02LOwqAMAxA955CMhfBtVcRkWCDCLUNJhmk9O52EHF9n4iKYaigNxMEuEi4ZKFxKycnUorgPwihwhHfap26EUU16eSfF1M2hTAvHkxw71+2lFpz7gE5LueNbgAAAA==";
    let zipped = STANDARD.decode(ZIPPED).expect("base64");
    let length = zipped.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
    );
    wire.write(&[head.as_bytes(), &zipped].concat());
}

fn gzipped_refusal(wire: &mut Wire) {
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
    let zipped = [31, 139, 8, 0, 27, b'[', b'2', b'J', 13, 10, 0, 255, 254];
    wire.say(&[head.as_bytes(), b"content-length: 13\r\n\r\n", &zipped].concat());
}

fn without_length(wire: &mut Wire) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    wire.say(format!("{head}{}", answer("Whole.")).as_bytes());
}

fn page(wire: &mut Wire) {
    let page = "<!doctype html><title>Welcome</title><p>to the hotel's network";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", page.len());
    wire.write(format!("{head}{page}").as_bytes());
}

fn cut_inside(wire: &mut Wire) {
    wire.begin(&delta("Half"));
    wire.chunk(&delta(" and never this")[..40]);
}

/// A whole answer whose `content-length` is off by so many bytes.
fn sized(wire: &mut Wire, off: isize) {
    let body = answer("Whole.");
    let length = body.len().checked_add_signed(off).expect("a small difference");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n");
    wire.write(format!("{head}{body}").as_bytes());
}

fn early_hints(wire: &mut Wire) {
    wire.say(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n");
    // The answer to this request, behind the next one if that comes on this connection.
    wire.answer_late(&answer("Whole."));
}

fn two_framings(wire: &mut Wire) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5\r\ntransfer-encoding: chunked";
    wire.say(format!("{head}\r\n\r\n").as_bytes());
    wire.chunk(&answer("Whole."));
    wire.say(LAST_CHUNK);
}

/// A second response behind the first one, which must not become the answer to the next request.
fn smuggle(wire: &mut Wire) {
    sized(wire, 0);
    sized(wire, 0);
    wire.go_on();
}

#[test]
fn a_server_that_is_started_later_gets_the_next_request() {
    let (world, port) = (World::new(), ClosedPort::new());
    let config = world.write("claudette.toml", &config(&format!("http://{}/v1", port.address()), ""));
    let service = Service::start(&world, &config);
    let gateway = service.gateway(&world, "local");
    let refused = told(ask(&gateway, "hello"));
    assert_eq!((refused.status, refused.kind.as_str()), (502, "api_error"), "{refused:?}");
    assert!(refused.message.contains("is the server running at"), "{refused:?}");
    let _upstream = port.open();
    assert_serves(&gateway, "a refused connection");
}

#[test]
fn a_name_that_nobody_has_is_told_and_an_edit_mends_it() {
    let world = World::new();
    let path = world.write("claudette.toml", &config("http://nobody.invalid/v1", ""));
    let service = Service::start(&world, &path);
    let gateway = service.gateway(&world, "local");
    for _ in 0..2 {
        let told = told(ask(&gateway, "hello"));
        assert_eq!((told.status, told.kind.as_str()), (502, "api_error"), "{told:?}");
        assert!(told.message.contains("cannot resolve the host of http://nobody.invalid/v1"), "{told:?}");
    }
    let upstream = RawUpstream::start(|_, _| {});
    world.write("claudette.toml", &config(&format!("http://{}/v1", upstream.address), ""));
    service.wait_for("gateway.replaced");
    assert_serves(&service.gateway(&world, "local"), "a name that nobody has");
}

#[test]
fn a_certificate_is_trusted_by_its_ca_file_alone() {
    let (world, (tls, pem)) = (World::new(), self_signed());
    let upstream = RawUpstream::start_with_tls(tls, |_, _| {});
    let url = format!("https://{}/v1", upstream.address);
    let path = world.write("claudette.toml", &config(&url, ""));
    let service = Service::start(&world, &path);
    let told = told(ask(&service.gateway(&world, "local"), "hello"));
    assert_eq!((told.status, told.kind.as_str()), (502, "api_error"), "{told:?}");
    assert!(told.message.contains("no TLS with https://127.0.0.1"), "{told:?}");
    assert!(told.message.contains("ca_file"), "{told:?}");

    let ca_file = world.write("ca.pem", &pem);
    world.write("claudette.toml", &config(&url, &format!("ca_file = \"{}\"\n", ca_file.display())));
    service.wait_for("gateway.replaced");
    assert_serves(&service.gateway(&world, "local"), "a certificate that was not trusted");
}

/// Each waits for its timeout, so they do it at once.
#[test]
fn a_silent_upstream_is_given_up_and_let_go() {
    const SHORT: &str = "[upstream]\nfirst_byte_timeout = \"2s\"\nidle_timeout = \"2s\"\n";
    type Case = (&'static str, fn(&mut Wire), u16, &'static str, &'static str, &'static str);
    const CASES: [Case; 3] = [
        ("before its head", |_| {}, 504, "api_error", "did not answer in time", ""),
        ("after its head", |wire| wire.say(STREAM_HEAD.as_bytes()), 504, "api_error", "went silent", ""),
        ("in its answer", |wire| wire.begin(&delta("Half")), 200, "overloaded_error", "", "Half"),
    ];
    // Each upstream comes here only when the gateway has hung up.
    let let_go = Arc::new(Barrier::new(CASES.len() + 1));
    let hung_up = Arc::clone(&let_go);
    let upstream = RawUpstream::start(move |name, wire| {
        let case = CASES.iter().find(|case| case.0 == name);
        case.unwrap_or_else(|| panic!("no case {name}")).1(wire);
        wire.stall();
        hung_up.wait();
    });
    let faulty = Faulty::before(&upstream, SHORT);
    thread::scope(|scope| {
        for (name, _, status, kind, words, text) in CASES {
            let faulty = &faulty;
            scope.spawn(move || {
                let told = faulty.told(name);
                let seen = (told.status, told.kind.as_str(), told.text.as_str());
                assert_eq!(seen, (status, kind, text), "silent {name}: {told:?}");
                assert!(told.message.contains(words), "silent {name}: {told:?}");
            });
        }
    });
    let_go.wait();
    faulty.assert_serves("three silent answers");
}

#[test]
fn a_reset_after_text_keeps_the_text_and_ends_in_an_error() {
    for (place, rest) in [("between events", String::new()), ("inside an event", delta(" never")[..30].to_owned())] {
        let seen = Arc::new(Barrier::new(2));
        let text_was_seen = Arc::clone(&seen);
        let faulty = Faulty::with(move |_, wire| {
            wire.begin(&delta("Half"));
            text_was_seen.wait();
            if !rest.is_empty() {
                wire.chunk(&rest);
            }
            wire.reset();
        });
        let mut stream = faulty.ask(&broken(place));
        assert_eq!(stream.next_text(), "Half");
        seen.wait();
        let told = told(stream);
        assert_eq!((told.status, told.kind.as_str()), (200, "overloaded_error"), "{place}: {told:?}");
        faulty.assert_serves(place);
    }
}

/// What comes after the terminal event cannot spoil the answer.
#[test]
fn a_reset_after_the_end_is_not_noticed() {
    let faulty = Faulty::with(|_, wire| {
        wire.begin(&answer("Whole."));
        wire.stall();
        wire.reset();
    });
    let told = faulty.told("reset");
    assert_eq!((told.status, told.text.as_str(), told.kind.as_str()), (200, "Whole.", ""), "{told:?}");
    faulty.assert_serves("a reset after the end");
}

#[test]
fn an_endless_line_and_a_giant_event_are_given_up_in_bounded_memory() {
    let faulty = Faulty::with(|name, wire| {
        if name.ends_with("after text") {
            wire.begin(&delta("Half"));
        } else {
            wire.write(STREAM_HEAD.as_bytes());
        }
        // Far beyond what is taken: the gateway hangs up long before.
        let (opening, megabytes) = if name.starts_with("endless") { (": ", 1024) } else { ("data: {\"delta\":\"", 70) };
        let taken = wire.chunk(opening) && (0..megabytes).all(|_| wire.chunk(&"x".repeat(MIB)));
        if taken && wire.chunk("\"}\n\n") {
            wire.stall();
        }
    });
    for (name, status, text) in [("endless", 502, ""), ("endless after text", 200, "Half"), ("giant", 502, "")] {
        let told = faulty.told(name);
        let seen = (told.status, told.kind.as_str(), told.text.as_str());
        assert_eq!(seen, (status, "api_error", text), "{name}: {told:?}");
        assert!(told.message.contains("sent an event that is too large"), "{name}: {told:?}");
        faulty.assert_serves(name);
    }
    let most = faulty.most_memory().unwrap_or_default();
    assert!(most < MOST_MEMORY, "{} MiB", most / MIB as u64);
}

#[test]
fn an_event_of_a_few_megabytes_is_one_as_any_other() {
    let text = "long ".repeat(MIB / 2);
    let whole = event(&json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "message",
        "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}}));
    let faulty = Faulty::with(move |_, wire| {
        wire.begin(&whole);
        wire.chunk(&completed());
        wire.write(LAST_CHUNK);
    });
    let Told { status, text: seen, kind, .. } = faulty.told("large");
    assert_eq!((status, kind.as_str()), (200, ""));
    assert!(seen == text, "{} bytes of {}", seen.len(), text.len());
    faulty.assert_serves("a large event");
}
