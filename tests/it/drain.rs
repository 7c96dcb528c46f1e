//! Gateways that end: those of a disabled backend, and all of them when the service stops.

use serde_json::json;

use crate::support::bodies::plain_request;
use crate::support::http_client::BodyEnd;
use crate::support::scene::{Scene, error_of};

fn holding() -> serde_json::Value {
    json!([{"on": "plain", "reply": {"stream": [{"text": ["begun, ", {"hold": "end"}, "finished"]}]}}])
}

#[test]
fn a_disabled_backend_refuses_new_requests_lets_the_running_one_finish_and_stops() {
    let scene = Scene::openai(holding());
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun, ");
    scene.save("[backends.openai-api]\nenabled = false\n");
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == 2);
    // The gateway hears of it just after the log does.
    let refused = loop {
        let response = scene.post("/v1/messages", &json!({}));
        if response.status != 400 {
            break response;
        }
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(error_of(&refused).1.contains("backend openai-api is disabled"), "{}", refused.text());
    scene.upstream.release("end");
    assert_eq!(stream.next_text(), "finished");
    stream.read_to_end();
    assert_eq!(stream.end(), BodyEnd::Clean);
    let drained = scene.service.wait_for("gateway.drained");
    assert_eq!(drained["cause"], "backend_disabled");
}

#[test]
fn a_stop_refuses_new_requests_and_says_that_trying_again_helps() {
    let scene = Scene::openai(holding());
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun, ");
    scene.service.signal(rustix::process::Signal::TERM);
    scene.service.wait_for("service.stopping");
    let refused = loop {
        let response = scene.post("/v1/messages", &json!({}));
        if response.status != 400 {
            break response;
        }
    };
    assert_eq!((refused.status, refused.header("x-should-retry")), (503, Some("true")));
    scene.upstream.release("end");
    stream.read_to_end();
    assert_eq!(stream.end(), BodyEnd::Clean);
    let (status, _, log) = scene.service.wait();
    assert!(status.success());
    assert!(log.last().is_some_and(|line| line.contains("service.stopped")), "{log:#?}");
}

#[test]
fn the_drain_deadline_ends_an_answer_that_is_not_streamed_with_an_error() {
    let scene = Scene::openai_with(holding(), "[supervisor]\ndrain_deadline = \"200ms\"\n");
    let mut body = plain_request("go");
    body["stream"] = json!(false);
    let mut connection = scene.gateway.connect();
    connection.send("POST", "/v1/messages", &scene.gateway.headers(), body.to_string().as_bytes());
    scene.upstream.wait("holding=end");
    scene.service.signal(rustix::process::Signal::TERM);
    let response = connection.read_response();
    assert_eq!((response.status, error_of(&response).0.as_str()), (529, "overloaded_error"));
    assert!(scene.service.wait().0.success());
}

#[test]
fn the_drain_deadline_ends_a_stream_with_an_error_event() {
    let scene = Scene::openai_with(holding(), "[supervisor]\ndrain_deadline = \"200ms\"\n");
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "begun, ");
    scene.service.signal(rustix::process::Signal::TERM);
    let events = stream.read_to_end();
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("error"), "{events:?}");
    assert!(scene.service.wait().0.success());
}
