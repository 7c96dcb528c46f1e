//! The ChatGPT subscription: its login, its headers, its lanes, and what it alone refuses (CODEX.md).

use serde_json::json;

use crate::errors::{Told, always, assert_told};
use crate::streaming::{agent_turn, run_an_agent_turn, says_fine, send_every_recording};
use crate::support::bodies::{first_request, plain_request};
use crate::support::scene::Scene;
use crate::support::service::Service;
use crate::support::world::World;

#[test]
fn an_agent_turn_runs_by_subscription() {
    run_an_agent_turn(&Scene::codex(agent_turn()));
}

#[test]
fn every_recorded_request_is_taken_by_the_subscription() {
    send_every_recording(&Scene::codex(says_fine()), "anthropic/gpt-5.5");
}

#[test]
fn the_subscription_is_asked_in_our_own_name_and_by_session() {
    let scene = Scene::codex(json!([{"on": "any", "times": 0, "reply": {"stream": [{"text": "Fine."}]}}]));
    scene.message(&first_request("hi"));
    let request = scene.upstream.only_request();
    assert_eq!(request.header("originator"), Some("claudette"));
    let key = request.body["prompt_cache_key"].as_str().expect("a key");
    assert_eq!(request.header("session-id"), Some(key));
    assert_eq!(request.header("thread-id"), Some(key));
    let groups: Vec<usize> = key.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{key} is not shaped as a UUID");
    assert_eq!(request.header("openai-beta"), None);
}

/// The full lane first; refused, a model that the catalogue calls lite is asked on the lite lane, and that is remembered.
#[test]
fn a_model_that_only_knows_the_lite_lane_is_found_out() {
    let script = json!([
        {"on": "any", "contains": "additional_tools", "times": 0, "reply": {"stream": [{"text": "Lite."}]}},
        {"on": "any", "times": 0, "reply": {"status": 404, "json": {"detail": "Model not found gpt-6-sol"}}},
    ]);
    let scene = Scene::codex(script);
    let mut body = first_request("hi");
    body["model"] = json!("anthropic/gpt-6-sol");
    assert_eq!(scene.message(&body).text(), "Lite.");
    assert_eq!(scene.upstream.requests().len(), 2);
    assert_eq!(scene.message(&body).text(), "Lite.");
    assert_eq!(scene.upstream.requests().len(), 3, "the second request knows the lane");
    scene.service.wait_for("upstream.adapted");
}

#[test]
fn a_used_up_plan_is_named_with_its_end() {
    let limit = json!({"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "plus", "resets_in_seconds": 3600}});
    let response = Scene::codex(always(429, json!({}), limit)).refusal(&first_request("go"));
    let told = Told {
        status: 429,
        kind: "rate_limit_error",
        retry: Some("false"),
        says: &["ChatGPT plan limit reached (plus); resets 20"],
    };
    assert_told(&response, &told, "a used up plan");
    let seconds = response.header("retry-after").and_then(|value| value.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (3500..=3600).contains(&seconds)), "{seconds:?}");
}

#[test]
fn a_codex_login_that_is_missing_is_said_with_the_way_out() {
    let world = World::new();
    let config = world.write(
        "claudette.toml",
        "[backends.codex-subscription]\nenabled = true\nbase_url = \"http://127.0.0.1:1/backend-api\"\n\
         codex_bin = \"/nonexistent/codex\"\n",
    );
    let service = Service::start(&world, &config);
    let gateway = service.gateway(&world, "codex-subscription");
    let mut connection = gateway.connect();
    connection.send("POST", "/v1/messages", &gateway.headers(), plain_request("go").to_string().as_bytes());
    let told = Told {
        status: 401,
        kind: "authentication_error",
        retry: Some("false"),
        says: &["claudette login codex-subscription"],
    };
    assert_told(&connection.read_response(), &told, "no login");
}
