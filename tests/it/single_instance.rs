//! One service per state folder, and what a dead one leaves is in nobody's way.

use std::fs;

use crate::support::scene::openai_config;
use crate::support::service::Service;
use crate::support::world::World;

const NOWHERE: &str = "http://127.0.0.1:1/v1";

#[test]
fn a_second_service_leaves_the_files_of_the_first_alone() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    let first = Service::start(&world, &config);
    let files =
        || ["control.json", "gateways.json"].map(|name| fs::read(world.state().join(name)).expect("it is there"));
    let before = files();
    let ran = world.run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains(&first.pid().to_string()), "{ran:?}");
    assert_eq!(files(), before);
}

#[test]
fn a_control_file_of_a_dead_service_is_known_for_what_it_is() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    Service::start(&world, &config).kill();
    assert!(world.state().join("control.json").exists());
    for arguments in [&["status"][..], &["status", "--json"], &["env", "openai-api"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(3), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("claudette serve"), "{ran:?}");
    }
}

#[test]
fn a_torn_gateways_file_costs_the_ports_and_no_more() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config(NOWHERE));
    Service::start(&world, &config).kill();
    fs::write(world.state().join("gateways.json"), "{\"gatew").expect("our own file");
    let service = Service::start(&world, &config);
    service.gateway(&world, "openai-api");
}
