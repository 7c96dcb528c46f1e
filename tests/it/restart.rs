//! A service that stops, or dies, and comes back: running `claude`s find their gateways where they were.

use serde_json::json;

use crate::support::leaseholder::{Leaseholder, waiting_claude};
use crate::support::scene::{Scene, openai_config};
use crate::support::service::{Gateway, Service};
use crate::support::world::World;

const NOWHERE: &str = "http://127.0.0.1:1/v1";
const VLLM: &str =
    "[backends.vllm]\nkind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:1\"\ndefault_model = \"m\"\n";

fn places(world: &World, service: &Service) -> Vec<(String, String)> {
    let asked = world.run(&["env", "openai-api", "--model", "gpt-5-mini", "--json"]);
    let asked = Gateway::from_environment(&serde_json::from_str(&asked.stdout).expect("JSON"));
    let gateways = [service.gateway(world, "openai-api"), service.gateway(world, "vllm"), asked];
    gateways.into_iter().map(|gateway| (gateway.address, gateway.token)).collect()
}

#[test]
fn ports_and_tokens_outlive_a_stop_and_a_kill_asked_slots_included() {
    let world = World::new();
    let config = world.write("claudette.toml", &format!("{}{VLLM}", openai_config(NOWHERE)));
    let mut service = Service::start(&world, &config);
    let before = places(&world, &service);
    for ends_well in [true, false, true] {
        match ends_well {
            true => assert!(service.stop().0.success()),
            false => service.kill(),
        }
        service = Service::start(&world, &config);
        let restored = service.wait_for_line("gateway.ready", |line| line["model"] == "gpt-5-mini");
        assert_eq!(restored["cause"], "restored");
        assert_eq!(places(&world, &service), before);
    }
}

#[test]
fn other_settings_mean_another_token() {
    let world = World::new();
    let config = world.write("claudette.toml", &format!("{}{VLLM}", openai_config(NOWHERE)));
    let service = Service::start(&world, &config);
    let before = places(&world, &service);
    assert!(service.stop().0.success());
    world.write("claudette.toml", &format!("{}{VLLM}small_model = \"s\"\n", openai_config(NOWHERE)));
    let service = Service::start(&world, &config);
    let after = places(&world, &service);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
}

#[test]
fn a_running_claude_takes_its_lease_again() {
    let world = World::new();
    let claude = waiting_claude(&world);
    let mut scene = Scene::openai_in(world, json!([]), &claude);
    let holder = Leaseholder::start(&scene.world, &[]);
    let leases = |scene: &Scene| scene.service.status(&scene.world)["gateways"][0]["leases"].clone();
    assert_eq!(leases(&scene), 1);
    scene = scene.restart_service();
    while leases(&scene) != 1 {
        std::thread::yield_now();
    }
    assert_eq!(scene.service.gateway(&scene.world, "openai-api").token, holder.gateway.token);
    holder.end();
    while leases(&scene) != 0 {
        std::thread::yield_now();
    }
}

#[test]
fn the_stop_says_how_many_leases_end_with_it() {
    let world = World::new();
    let claude = waiting_claude(&world);
    let scene = Scene::openai_in(world, json!([]), &claude);
    let _holders = [Leaseholder::start(&scene.world, &[]), Leaseholder::start(&scene.world, &["--model", "other"])];
    scene.service.signal(rustix::process::Signal::TERM);
    assert_eq!(scene.service.wait_for("service.stopping")["leases"], 2);
    assert!(scene.service.wait().0.success(), "idle leases do not delay it");
}
