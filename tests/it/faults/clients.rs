//! Clients that are slow, half gone, too many, too large or in a hurry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Faulty, request, send, told};
use crate::support::PATIENCE;
use crate::support::http_client::Connection;
use crate::support::raw_upstream::{LAST_CHUNK, STREAM_HEAD, broken, completed, delta};

const MIB: usize = 1024 * 1024;

fn serving() -> Faulty {
    Faulty::with(|_, wire| wire.stall())
}

/// The head of a request, up to its last bytes.
fn head(faulty: &Faulty, more: &str) -> String {
    let gateway = &faulty.gateway;
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n{more}",
        gateway.address, gateway.token
    )
}

/// A whole request as bytes.
fn whole(faulty: &Faulty, prompt: &str) -> Vec<u8> {
    let body = request(prompt).to_string();
    [head(faulty, &format!("content-length: {}\r\n\r\n", body.len())).as_bytes(), body.as_bytes()].concat()
}

#[test]
fn slow_loris_clients_keep_nobody_out() {
    const EACH: usize = 100;
    let faulty = serving();
    let request = whole(&faulty, "never finished");
    let body_at = request.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    // Some stop in the head, some before the body, some in it.
    let mut lorises: Vec<Connection> = Vec::new();
    for round in 0..EACH {
        for until in [round % 40, body_at, body_at + round % 50] {
            let mut connection = faulty.gateway.connect();
            connection.write(&request[..until]);
            lorises.push(connection);
            if round % 25 == 0 {
                faulty.assert_serves("slow clients");
            }
        }
    }
    faulty.assert_serves("slow clients");
    // One that goes on after all is served.
    let mut late = lorises.pop().expect("one of them");
    late.write(&request[body_at + (EACH - 1) % 50..]);
    assert_eq!(told(late.into_event_stream()).text, "Fine.");
}

/// Takes some thirty seconds: a head has 10 s, each piece of a body 30 s.
#[test]
#[ignore = "slow: run tests/run --slow"]
fn slow_loris_clients_are_given_up() {
    let faulty = serving();
    let request = whole(&faulty, "never finished");
    let body_at = request.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let [mut in_head, mut in_body] = [30, body_at + 20].map(|until| {
        let mut connection = faulty.gateway.connect();
        connection.write(&request[..until]);
        connection
    });
    assert_eq!(in_head.read_head().status, 408);
    assert_eq!(in_body.read_response().status, 408);
    faulty.assert_serves("clients that were given up");
}

/// A client that will write nothing more is taken for one that hung up, before and in its answer: then nothing is left
/// running for it upstream.
#[test]
fn a_half_closed_client_ends_its_request() {
    for in_the_answer in [false, true] {
        let (asked, hung_up) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (was_asked, has_hung_up) = (Arc::clone(&asked), Arc::clone(&hung_up));
        let faulty = Faulty::with(move |_, wire| {
            if in_the_answer {
                wire.begin(&delta("Half"));
            }
            was_asked.wait();
            wire.stall();
            has_hung_up.wait();
        });
        let connection = send(&faulty.gateway, &broken("half closed"));
        asked.wait();
        if in_the_answer {
            let mut stream = connection.into_event_stream();
            assert_eq!(stream.next_text(), "Half");
            stream.close_writing();
            hung_up.wait();
        } else {
            connection.close_writing();
            hung_up.wait();
        }
        faulty.assert_serves("a half-closed client");
    }
}

#[test]
fn a_reader_of_a_few_bytes_holds_up_nobody_and_loses_nothing() {
    const DELTAS: usize = 20_000;
    let faulty = Faulty::with(|_, wire| {
        wire.say(STREAM_HEAD.as_bytes());
        for number in 0..DELTAS {
            wire.chunk(&delta(&format!("{number} ")));
        }
        wire.chunk(&completed());
        wire.say(LAST_CHUNK);
    });
    let mut connection = faulty.gateway.connect();
    connection.read_at_most(1);
    connection.write(&whole(&faulty, &broken("many deltas")));
    let mut stream = connection.into_event_stream();
    for _ in 0..20 {
        stream.read_some(16);
        faulty.assert_serves("a few bytes");
    }
    stream.read_at_most(usize::MAX);
    let expected: String = (0..DELTAS).map(|number| format!("{number} ")).collect();
    let told = told(stream);
    assert!(told.text == expected, "{} bytes of {}: {}", told.text.len(), expected.len(), told.message);
}

#[test]
fn a_body_without_an_end_is_refused_at_its_limit_and_the_refusal_is_read() {
    let faulty = serving();
    let mut connection = faulty.gateway.connect();
    connection.write(head(&faulty, "transfer-encoding: chunked\r\n\r\n").as_bytes());
    let piece = [format!("{MIB:x}\r\n").as_bytes(), &vec![b' '; MIB], b"\r\n"].concat();
    for _ in 0..33 {
        assert!(connection.try_write(&piece), "the rest is read, so that the answer is seen");
    }
    connection.write(LAST_CHUNK);
    let response = connection.read_response();
    assert_eq!(response.status, 413, "{}", response.text());
    assert!(response.text().contains("request_too_large"), "{}", response.text());
    faulty.assert_serves("a body without an end");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let faulty = serving();
    let health = format!("GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", faulty.gateway.address).into_bytes();
    let models = String::from_utf8_lossy(&health).replace("/health", "/v1/models").into_bytes();
    let mut connection = faulty.gateway.connect();
    connection.write(&[&health[..], &whole(&faulty, "one"), &models, &whole(&faulty, "two"), &health].concat());
    assert_eq!(connection.read_response().status, 200);
    let mut connection = read_answer(connection);
    assert_eq!(connection.read_response().status, 401, "each request shows its own token");
    let mut connection = read_answer(connection);
    assert_eq!(connection.read_response().status, 200);
}

fn read_answer(connection: Connection) -> Connection {
    let mut stream = connection.into_event_stream();
    let events = stream.read_to_end();
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("message_stop"), "{events:#?}");
    stream.into_connection()
}

#[test]
fn two_thousand_connections_are_held_and_given_back() {
    hold(2_000);
}

#[test]
#[ignore = "slow: run tests/run --slow"]
fn slow_ten_thousand_connections_are_held_and_given_back() {
    hold(10_000);
}

/// Opens that many connections, each of which was served once, while others are served; then lets go of them.
fn hold(connections: usize) {
    let faulty = serving();
    let most = raise_open_files();
    assert!(most > connections as u64 + 200, "{most} open files are too few for this test");
    let descriptors = faulty.open_files();
    let probe = format!("HEAD /health HTTP/1.1\r\nhost: {}\r\n\r\n", faulty.gateway.address);
    let held: Vec<TcpStream> = (0..connections)
        .map(|number| {
            let mut connection = TcpStream::connect(&faulty.gateway.address).expect("the gateway listens");
            connection.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
            connection.write_all(probe.as_bytes()).expect("the gateway reads");
            let mut answer = [0; 15];
            connection.read_exact(&mut answer).expect("the gateway answers");
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            if number % 500 == 0 {
                faulty.assert_serves("many connections");
            }
            connection
        })
        .collect();
    faulty.assert_serves("all connections");
    drop(held);
    faulty.assert_serves("connections that were closed at once");
    // They go one by one; a few of the upstream's may have come.
    let deadline = Instant::now() + PATIENCE;
    while let (Some(before), Some(now)) = (descriptors, faulty.open_files()) {
        if now <= before + 20 {
            break;
        }
        assert!(Instant::now() < deadline, "{now} descriptors are open, {before} were before");
        faulty.assert_serves("connections that are being closed");
    }
}

/// Yields the limit.
fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() { maximum } else { current }
        .unwrap_or(u64::MAX)
}
