//! Planned replacements: a new generation is ready first, then the old one drains, and nobody is cut off.

use serde_json::{Value, json};

use crate::support::bodies::plain_request;
use crate::support::http_client::BodyEnd;
use crate::support::leaseholder::{Leaseholder, waiting_claude};
use crate::support::scene::Scene;
use crate::support::service::{Gateway, Service};
use crate::support::world::World;

/// A change that makes the backend's next generation.
const CHANGE: &str = "[upstream]\nidle_timeout = \"77s\"\n";
const VLLM: &str = "[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:1\"\n";

fn replaced(service: &Service, backend: &str, generation: u64) -> Value {
    let fits = |line: &Value| line["backend"] == backend && line["generation"] == generation;
    service.wait_for_line("gateway.replaced", fits)
}

fn answers(gateway: &Gateway) -> u16 {
    let mut connection = gateway.connect();
    connection.send("GET", "/v1/models", &gateway.headers(), b"");
    connection.read_response().status
}

/// The generations in `status`, oldest first, as (generation, current, leases).
fn generations(scene: &Scene) -> Vec<(u64, bool, u64)> {
    let status = scene.service.status(&scene.world);
    let gateways = status["gateways"].as_array().expect("a list").iter();
    let number = |value: &Value| value.as_u64().expect("a number");
    gateways
        .map(|gateway| (number(&gateway["generation"]), gateway["current"] == true, number(&gateway["leases"])))
        .collect()
}

#[test]
fn a_changed_backend_replaces_its_own_gateway_alone() {
    let scene = Scene::openai_with(json!([]), &format!("{VLLM}default_model = \"one\"\n"));
    let vllm = scene.service.gateway(&scene.world, "vllm");
    scene.edit(&format!("{VLLM}default_model = \"two\"\n"));
    let line = replaced(&scene.service, "vllm", 2);
    assert_eq!((&line["previous"], &line["cause"]), (&json!(1), &json!("model_changed")));
    let lines = scene.service.log_lines();
    let at = |what: &str| lines.iter().position(|line| line.contains(what) && line.contains("\"generation\":2"));
    assert!(at("gateway.ready") < at("gateway.replaced"), "the new one is ready first");
    let next = scene.service.gateway(&scene.world, "vllm");
    assert_ne!((&next.address, &next.token), (&vllm.address, &vllm.token));
    let untouched = scene.service.gateway(&scene.world, "openai-api");
    assert_eq!((untouched.address, &untouched.token), (scene.gateway.address.clone(), &scene.gateway.token));
    assert_eq!(answers(&vllm), 200, "a claude that still uses the old one is served until it has been idle");
}

#[test]
fn a_running_stream_survives_every_edit() {
    let script = json!([{"on": "plain", "reply": {"stream": [
        {"text": ["one ", {"hold": "a"}, "two ", {"hold": "b"}, "three ", {"hold": "c"}, "four"]}]}}]);
    let scene = Scene::openai_with(script, "[supervisor]\nretire_after = \"1ms\"\n");
    let mut stream = scene.stream(&plain_request("go"));
    assert_eq!(stream.next_text(), "one ");
    scene.edit(&format!("{CHANGE}[supervisor]\nretire_after = \"1ms\"\n"));
    replaced(&scene.service, "openai-api", 2);
    scene.upstream.release("a");
    assert_eq!(stream.next_text(), "two ");
    scene.save("[backends.openai-api]\nenabled = false\n");
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == 3);
    scene.upstream.release("b");
    assert_eq!(stream.next_text(), "three ");
    scene.edit("");
    scene.service.wait_for_line("config.loaded", |line| line["revision"] == 4);
    scene.upstream.release("c");
    assert_eq!(stream.next_text(), "four");
    assert_eq!(stream.read_to_end().last().map(|event| event.name.clone()).as_deref(), Some("message_stop"));
    assert_eq!(stream.end(), BodyEnd::Clean);
}

#[test]
fn a_lease_keeps_its_generation_and_the_next_one_gets_the_new() {
    let world = World::new();
    let claude = waiting_claude(&world);
    let scene = Scene::openai_in(world, json!([]), &format!("{claude}[supervisor]\nretire_after = \"1ms\"\n"));
    let first = Leaseholder::start(&scene.world, &[]);
    assert_eq!(first.gateway.token, scene.gateway.token);
    scene.edit(&format!("{claude}{CHANGE}[supervisor]\nretire_after = \"1ms\"\n"));
    replaced(&scene.service, "openai-api", 2);
    assert_eq!(generations(&scene), [(1, false, 1), (2, true, 0)]);
    assert_eq!(answers(&first.gateway), 200);
    let second = Leaseholder::start(&scene.world, &[]);
    assert_ne!(second.gateway.token, first.gateway.token);
    assert_eq!(generations(&scene), [(1, false, 1), (2, true, 1)]);
    first.end();
    let drained = scene.service.wait_for_line("gateway.drained", |line| line["generation"] == 1);
    assert_eq!(drained["cause"], "replaced");
    assert_eq!(generations(&scene), [(2, true, 1)]);
}

#[test]
fn a_lease_survives_the_disabling_of_its_backend() {
    let world = World::new();
    let claude = waiting_claude(&world);
    let scene = Scene::openai_in(world, json!([]), &claude);
    let holder = Leaseholder::start(&scene.world, &[]);
    scene.save(&format!("[backends.openai-api]\nenabled = false\n{claude}"));
    scene.service.wait_for("config.changed");
    assert_eq!(answers(&holder.gateway), 200);
    let ran = scene.world.run(&["env", "openai-api"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("disabled"), "{ran:?}");
    holder.end();
    let drained = scene.service.wait_for("gateway.drained");
    assert_eq!(drained["cause"], "backend_disabled");
}

#[test]
fn an_asked_slot_is_replaced_with_its_backend_and_stays_wanted() {
    let scene = Scene::openai(json!([]));
    let asked = |scene: &Scene| {
        let ran = scene.world.run(&["env", "openai-api", "--model", "gpt-5-mini", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        Gateway::from_environment(&serde_json::from_str(&ran.stdout).expect("JSON"))
    };
    let first = asked(&scene);
    scene.edit(CHANGE);
    scene.service.wait_for_line("gateway.replaced", |line| line["model"] == "gpt-5-mini");
    assert_ne!(asked(&scene).token, first.token);
}
