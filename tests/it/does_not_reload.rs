//! Edits that do not count, or count for nothing that runs: the gateways stay as they are.

use std::fs;

use serde_json::json;

use crate::support::scene::{Scene, UPSTREAM_KEY};

/// Waits for the revision, then asserts that the scene's gateway is what it was.
fn gateway_stays(scene: &Scene, revision: u64) {
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == revision);
    let now = scene.service.gateway(&scene.world, scene.backend);
    assert_eq!((&now.address, &now.token), (&scene.gateway.address, &scene.gateway.token));
    let status = scene.service.status(&scene.world);
    assert_eq!(status["gateways"].as_array().map(Vec::len), Some(1), "{status}");
}

#[test]
fn a_faulty_file_keeps_the_running_revision_and_every_fault_is_logged() {
    let scene = Scene::openai(json!([]));
    scene.save(
        "[backends.openai-api]\nbase_url = \"not a url\"\ndefualt_model = \"m\"\n[supervisor]\nretire_after = 5\n",
    );
    let rejected = scene.service.wait_for("config.rejected");
    assert_eq!(rejected["revision"], 1);
    let faults = rejected["faults"].as_str().expect("faults");
    for (place, mentions) in [(":2:", "base_url"), (":3:", "default_model"), (":5:", "retire_after")] {
        let fault = faults.lines().find(|fault| fault.contains(place)).unwrap_or_else(|| panic!("{place}: {faults}"));
        assert!(fault.contains("claudette.toml") && fault.contains(mentions), "{fault}");
    }
    assert_eq!(scene.service.status(&scene.world)["revision"], 1);
    scene.edit("");
    gateway_stays(&scene, 2);
}

#[test]
fn a_comment_is_a_revision_without_a_change() {
    let scene = Scene::openai(json!([]));
    scene.edit("# a comment\n");
    gateway_stays(&scene, 2);
    assert!(!scene.service.log_lines().iter().any(|line| line.contains("config.changed")));
}

#[test]
fn keys_that_no_gateway_reads_leave_it_alone() {
    let scene = Scene::openai(json!([]));
    scene.edit("[supervisor]\nretire_after = \"5m\"\n[claude]\nbackend = \"openai-api\"\n");
    gateway_stays(&scene, 2);
}

#[test]
fn a_rotated_credential_leaves_the_gateway_alone() {
    let scene = Scene::openai(json!([]));
    let path = scene.world.path("claudette.toml");
    let text = fs::read_to_string(path).expect("our own file");
    scene.save(&text.replace(UPSTREAM_KEY, "sk-rotated"));
    gateway_stays(&scene, 2);
    assert_eq!(scene.service.wait_for("config.changed")["keys"], "backends.openai-api.credential");
}

#[test]
fn a_file_saved_as_it_was_is_no_revision() {
    let scene = Scene::openai(json!([]));
    let text = fs::read_to_string(scene.world.path("claudette.toml")).expect("our own file");
    scene.save(&text);
    fs::remove_file(scene.world.path("claudette.toml")).expect("it is there");
    scene.service.wait_for("config.warned");
    scene.save(&text);
    scene.save(&format!("{text}# now it is another\n"));
    gateway_stays(&scene, 2);
}
