//! What signals ask of the service, beyond those that end it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::scene::Scene;

#[test]
fn sigusr1_logs_a_status() {
    let scene = Scene::openai(json!([]));
    scene.service.signal(Signal::USR1);
    let line = scene.service.wait_for("service.status");
    let status: Value = serde_json::from_str(line["status"].as_str().expect("a text")).expect("JSON");
    assert_eq!(status["gateways"][0]["backend"], "openai-api", "{status}");
    assert!(!line.to_string().contains(&scene.gateway.token), "no secret in it");
}

#[test]
fn sigint_stops_like_sigterm() {
    let scene = Scene::openai(json!([]));
    scene.service.signal(Signal::INT);
    let (status, _, log) = scene.service.wait();
    assert!(status.success());
    assert!(log.last().is_some_and(|line| line.contains("service.stopped")), "{log:#?}");
}

#[test]
fn sighup_leaves_what_has_not_changed_alone() {
    let scene = Scene::openai(json!([]));
    scene.service.signal(Signal::HUP);
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == 2);
    assert_eq!(scene.service.gateway(&scene.world, "openai-api").token, scene.gateway.token);
}
