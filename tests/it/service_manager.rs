//! The service under systemd: what it is told, and when.

use std::os::unix::net::UnixDatagram;

use crate::support::PATIENCE;
use crate::support::scene::openai_config;
use crate::support::service::Service;
use crate::support::world::World;

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("the service says something");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The next message that is no sign of life.
fn next(socket: &UnixDatagram) -> String {
    loop {
        let message = heard(socket);
        if message != "WATCHDOG=1" {
            return message;
        }
    }
}

#[test]
fn systemd_is_told_of_the_start_each_reload_life_and_the_stop() {
    let world = World::new();
    let config = world.write("claudette.toml", &openai_config("http://127.0.0.1:1/v1"));
    let socket = UnixDatagram::bind(world.path("notify")).expect("a socket in a fresh folder");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut command = world.claudette(&["serve", "--config", config.to_str().expect("UTF-8")]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "200000");
    let service = Service::spawn_command(command);
    assert!(next(&socket).starts_with("READY=1"));
    while heard(&socket) != "WATCHDOG=1" {}
    for text in ["", "[broken"] {
        world.write("claudette.toml", &format!("{}{text}", openai_config("http://127.0.0.1:1/v1")));
        service.signal(rustix::process::Signal::HUP);
        let reloading = next(&socket);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(micros.is_some_and(|micros| micros.parse::<u64>().is_ok()), "{reloading}");
        assert!(next(&socket).starts_with("READY=1"), "even if the config is refused");
    }
    service.signal(rustix::process::Signal::TERM);
    while next(&socket) != "STOPPING=1" {}
    assert!(service.wait().0.success());
}
