//! A `claudette claude` that holds a lease: the `claude` that it runs says how it is wired, then waits for its input to
//! end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Stdio};

use super::service::Gateway;
use super::world::World;

pub struct Leaseholder {
    child: Child,
    stdin: Option<ChildStdin>,
    pub gateway: Gateway,
}

/// Lines for the config: the `claude` that a [`Leaseholder`] needs.
pub fn waiting_claude(world: &World) -> String {
    let script = "#!/bin/sh\necho \"$ANTHROPIC_BASE_URL $ANTHROPIC_AUTH_TOKEN\"\nexec cat\n";
    let path = world.write("waiting-claude", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("our own file");
    format!("[claude]\nbin = \"{}\"\n", path.display())
}

impl Leaseholder {
    pub fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.claudette(&["claude"]);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a line");
        let (url, token) = line.trim().split_once(' ').unwrap_or_else(|| panic!("not wired: {line:?}"));
        let address = url.trim_start_matches("http://").to_owned();
        Self { child, stdin, gateway: Gateway { address, token: token.to_owned() } }
    }

    /// Lets `claude` exit, and the lease with it.
    pub fn end(mut self) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Leaseholder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
