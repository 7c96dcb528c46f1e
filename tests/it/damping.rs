//! Settings that flap: replacements are slowed down, nobody is stranded, and only the newest wish is carried out.

use serde_json::json;

use crate::support::scene::Scene;

fn version(number: u64, backoff: &str) -> String {
    format!(
        "[upstream]\nidle_timeout = \"{number}s\"\n[supervisor]\nrestart_intensity = 1\nbackoff_initial = \"{backoff}\"\n\
         backoff_max = \"1h\"\ndebounce = \"10ms\"\n"
    )
}

fn save(scene: &Scene, number: u64, backoff: &str) {
    scene.edit(&version(number, backoff));
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == number);
}

#[test]
fn flapping_settings_are_damped_and_the_newest_wish_wins() {
    let scene = Scene::openai_with(json!([]), &version(1, "300ms"));
    save(&scene, 2, "300ms");
    scene.service.wait_for_line("gateway.replaced", |line| line["generation"] == 2);
    save(&scene, 3, "300ms");
    let damped = scene.service.wait_for("gateway.restart_loop");
    assert_eq!(damped["chain"], "settings_changed -> settings_changed", "{damped}");
    assert!(damped["hint"].as_str().is_some_and(|hint| hint.contains("rewriting")), "{damped}");
    save(&scene, 4, "300ms");
    scene.service.wait_for_line("gateway.replaced", |line| line["generation"] == 3);
    let status = scene.service.status(&scene.world);
    let current = status["gateways"].as_array().expect("a list").iter().find(|gateway| gateway["current"] == true);
    assert_eq!(current.map(|gateway| &gateway["generation"]), Some(&json!(3)), "one for both: {status}");
}

#[test]
fn a_wish_for_what_runs_cancels_the_damped_one() {
    let scene = Scene::openai_with(json!([]), &version(1, "1h"));
    save(&scene, 2, "1h");
    scene.service.wait_for_line("gateway.replaced", |line| line["generation"] == 2);
    let current = scene.service.gateway(&scene.world, "openai-api");
    save(&scene, 3, "1h");
    scene.service.wait_for("gateway.restart_loop");
    assert_eq!(scene.service.gateway(&scene.world, "openai-api").token, current.token, "it is served meanwhile");
    scene.edit(&version(2, "1h"));
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == 4);
    assert_eq!(scene.service.gateway(&scene.world, "openai-api").token, current.token);
}
