//! `claudette completions`: what a shell needs to complete our commands, on stdout.

use std::io::Write;

use clap_complete::Shell;

use super::Exit;

pub fn run(shell: Shell, command: &mut clap::Command) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "claudette", &mut text);
    match std::io::stdout().write_all(&text) {
        Ok(()) => Exit::Done,
        // The reader has seen enough.
        Err(_) => Exit::Failed,
    }
}
