//! What a service manager is told: systemd's notification protocol, one datagram of `NAME=value` lines a message.
//!
//! Without a manager (`$NOTIFY_SOCKET` unset, as on macOS or in a terminal) nothing is told. Telling never fails: the
//! service is none the worse for a manager that does not listen.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Every wanted gateway serves, or the config was read again.
pub const READY: &str = "READY=1";
/// To be told together with [`monotonic_now`].
pub const RELOADING: &str = "RELOADING=1";
pub const STOPPING: &str = "STOPPING=1";
/// The loop that everything hangs on still turns.
pub const ALIVE: &str = "WATCHDOG=1";

/// By this the manager knows which of its reloads is meant.
pub fn monotonic_now() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    format!("MONOTONIC_USEC={}", i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000)
}

/// How often the manager wants to hear [`ALIVE`]: half of the time after which it gives up on us.
pub fn watchdog_interval() -> Option<Duration> {
    interval(|name| std::env::var(name).ok(), std::process::id())
}

fn interval(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let micros: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    // Meant for another process that we have inherited the variables from.
    if variable("WATCHDOG_PID").is_some_and(|meant| meant != pid.to_string()) {
        return None;
    }
    (micros > 0).then(|| Duration::from_micros(micros) / 2)
}

/// Tells the manager, if there is one.
pub fn tell(words: &[&str]) {
    let Some(address) = std::env::var("NOTIFY_SOCKET").ok().and_then(|name| address(&name)) else { return };
    let message = words.join("\n");
    if let Ok(socket) = UnixDatagram::unbound() {
        // A manager that is slow to read must not stop us.
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}

/// A path, or with `@` a name in Linux's abstract namespace.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
        None => None,
        Some(name) => abstract_address(name),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> Option<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name).ok()
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> Option<SocketAddr> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_hears_twice_in_its_time() {
        let with = |usec: Option<&str>, pid: Option<&str>| {
            let variable = |name: &str| match name {
                "WATCHDOG_USEC" => usec.map(str::to_owned),
                _ => pid.map(str::to_owned),
            };
            interval(variable, 7)
        };
        assert_eq!(with(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(with(Some("30000000"), Some("7")), Some(Duration::from_secs(15)));
        for (usec, pid) in [(None, None), (Some("0"), None), (Some("soon"), None), (Some("30000000"), Some("8"))] {
            assert_eq!(with(usec, pid), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        assert!(address("/run/notify").is_some());
        assert!(address("notify").is_none());
        assert_eq!(address("@name").is_some(), cfg!(target_os = "linux"));
    }
}
