//! What people type: one file per command, each a thin caller of the actors or of the control endpoint.

mod check;
mod claude;
mod completions;
mod demo;
mod env;
mod init;
mod login;
mod models;
mod serve;
mod status;
mod test;
mod turn;

mod codex_test;

mod logging;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::guard;

/// Exit codes, a contract (DESIGN.md §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Usage,
    NoService,
    AlreadyRunning,
    /// A child's own code, or 128 + n for a signal.
    Child(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoService => 3,
            Exit::AlreadyRunning => 4,
            Exit::Child(code) => code,
        })
    }
}

/// Run the official `claude` CLI on OpenAI-shaped models.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigFlag,
}

const EXAMPLES: &str = "Examples:
  claudette demo                         one turn without a key, against an embedded upstream
  claudette serve                        the service, in the foreground; logs go to stderr
  claudette claude -- -p \"hi\"            run claude on the first enabled backend
  eval \"$(claudette env openai-api)\"     wire up a claude that you start yourself";

#[derive(clap::Args, Clone, Default)]
struct ConfigFlag {
    /// The config file; else $CLAUDETTE_CONFIG, else ~/.config/claudette/claudette.toml, else the built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service in the foreground (the default command)
    Serve(ConfigFlag),
    /// One real turn with no key and no config: embedded upstream, gateway, claude
    Demo {
        /// What to ask
        prompt: Option<String>,
    },
    /// Write a config to begin with, where there is none
    Init(ConfigFlag),
    /// Validate the config: one fault a line, as file:line:column: message
    Check(ConfigFlag),
    /// What the running service does: backends, gateways, usage, last errors
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
        /// Again every second, until the service or you end it
        #[arg(long)]
        watch: bool,
    },
    /// Print the environment that wires a claude in another terminal to BACKEND
    Env {
        backend: String,
        /// The model of the slot; left out: the backend's default
        #[arg(long)]
        model: Option<String>,
        /// One JSON object, name to value, null for a variable to unset
        #[arg(long)]
        json: bool,
    },
    /// Log in to BACKEND's service: runs `codex login` in this terminal
    Login { backend: String },
    /// Log out again: runs `codex logout`, which revokes the login for every program that uses it
    Logout { backend: String },
    /// Check that a backend answers with its credential
    Test { backend: String },
    /// List a backend's models
    Models {
        backend: String,
        /// Ask the backend, whatever is kept from the last time
        #[arg(long)]
        refresh: bool,
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Run claude here, wired to a backend, under a lease that lasts until it exits
    Claude {
        /// The backend; left out: `[claude] backend`, else the first enabled one
        #[arg(long)]
        backend: Option<String>,
        /// The model; left out: the backend's default
        #[arg(long)]
        model: Option<String>,
        /// The config file, used only when no service runs
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Arguments for claude itself: everything from `--`, or from the first word that is none of the above
        #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// The next turn of a session; streams its text, and Ctrl-C interrupts it
    Turn {
        /// A session of the config
        session: String,
        /// What to say; `-` reads it from stdin; left out: the configured prompt
        prompt: Option<String>,
    },
    /// Print what completes these commands in a shell
    Completions { shell: Shell },
    /// The process between a session's claude and the service; nobody types it
    #[command(hide = true)]
    Guard {
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Parses the arguments and runs the command.
pub fn run() -> anyhow::Result<Exit> {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(flag) => serve::run(flag.config),
        Command::Demo { prompt } => demo::run(prompt),
        Command::Init(flag) => init::run(flag.config.as_deref()),
        Command::Check(flag) => check::run(flag.config.as_deref()),
        Command::Login { backend } => login::run(login::Action::Login, &backend),
        Command::Logout { backend } => login::run(login::Action::Logout, &backend),
        Command::Status { json, watch } => status::run(json, watch),
        Command::Test { backend } => test::run(&backend),
        Command::Models { backend, refresh, json } => models::run(&backend, refresh, json),
        Command::Env { backend, model, json } => env::run(backend, model, json),
        Command::Claude { backend, model, config, arguments } => claude::run(backend, model, config, arguments),
        Command::Turn { session, prompt } => turn::run(session, prompt),
        Command::Completions { shell } => Ok(completions::run(shell, &mut Arguments::command())),
        Command::Guard { command } => Ok(Exit::Child(guard::run(&command))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_gets_everything_from_its_first_own_argument_on() {
        for (typed, backend, expected) in [
            ("claude", None, &[][..]),
            ("claude -- -p hi", None, &["-p", "hi"]),
            ("claude -p hi", None, &["-p", "hi"]),
            ("claude hello --model x", None, &["hello", "--model", "x"]),
            ("claude --backend vllm -p x --backend y", Some("vllm"), &["-p", "x", "--backend", "y"]),
            ("claude --backend vllm -- --backend y -- z", Some("vllm"), &["--backend", "y", "--", "z"]),
            ("claude --version", None, &["--version"]),
        ] {
            let words = std::iter::once("claudette").chain(typed.split(' '));
            let parsed = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{typed}: {error}"));
            let Some(Command::Claude { backend: parsed_backend, arguments, .. }) = parsed.command else {
                panic!("{typed}")
            };
            assert_eq!((parsed_backend.as_deref(), arguments), (backend, expected.iter().map(Into::into).collect()));
        }
    }
}
