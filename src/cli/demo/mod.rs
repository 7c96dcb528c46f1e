//! `claudette demo`: one turn of an agent, with no key, no config and no network.
//!
//! Everything that a real one takes is there, but for the vendor: [`upstream`] plays the model on a loopback port, our
//! own Supervisor runs one gateway in front of it, and the `claude` on PATH ([`official`]), or a [`builtin`] client where
//! there is none, speaks to that. All files lie in one temporary folder that goes at the end, however it comes.

mod upstream;

mod telling;

mod ledger;

mod official;

mod builtin;

mod screen;

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::ledger::Ledger;
use self::screen::{Screen, Voice};
use self::upstream::{MODEL, Upstream};
use super::Exit;
use crate::actors::messages::{Event, Events, Signal};
use crate::actors::supervisor::{self, Mode, Options, RunEnd, Started};
use crate::http::control::{Question, Wish};
use crate::providers::claude_cli::environment::Wiring;
use crate::telemetry::{self, Destination, Format, Guard, Level, Telemetry};

const PROMPT: &str = "Say hello from the shell.";

/// How long the gateway may take to start, and to stop.
const START_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(5);
/// The log does not outlive the demo.
const KEEP_LOG: Duration = Duration::from_secs(24 * 60 * 60);

pub fn run(prompt: Option<String>) -> anyhow::Result<Exit> {
    let prompt = prompt.filter(|prompt| !prompt.trim().is_empty()).unwrap_or_else(|| PROMPT.to_owned());
    actix::System::new().block_on(async move {
        let stop = on_signal()?;
        let mut screen = Screen::of_process();
        let stage = Stage::set().await?;
        let played = stage.play(&prompt, &mut screen, &stop).await;
        let _ = screen.end();
        let account = stage.strike().await;
        if stop.is_cancelled() {
            eprintln!("claudette: the demo was stopped; nothing of it is left.");
            return Ok(Exit::Failed);
        }
        let client = played?;
        close(&mut screen, &account?, client)?;
        Ok(Exit::Done)
    })
}

/// Cancelled by the first signal that asks us to stop.
fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = signal_hook_tokio::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    actix_rt::spawn(async move {
        signals.next().await;
        stopped.cancel();
    });
    Ok(stop)
}

/// Who speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Official,
    BuiltIn,
}

/// The upstream and the gateway, both running, and the folder with all their files.
struct Stage {
    // Dropped, it is removed.
    folder: TempDir,
    upstream: Upstream,
    gateway: Gateway,
    ledger: Ledger,
    log: PathBuf,
    telemetry: Guard,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("claudette-demo-").tempdir().context("no temporary folder")?;
        let log = folder.path().join("demo.log");
        let destination = Destination::File { path: log.clone(), keep: KEEP_LOG };
        let telemetry = telemetry::init(&Telemetry { format: Format::Json, level: Level::Info, destination })?;
        let ledger = Ledger::default();
        let upstream = Upstream::start(ledger.clone()).context("no loopback port for the demo's model")?;
        let config = folder.path().join("claudette.toml");
        write_config(&config, &upstream).context("cannot write the demo's config")?;
        let gateway = Gateway::start(config, &log).await?;
        Ok(Self { folder, upstream, gateway, ledger, log, telemetry })
    }

    /// Shows who is there and plays the turn.
    async fn play<W: Write>(
        &self,
        prompt: &str,
        screen: &mut Screen<W>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Client> {
        let wiring = &self.gateway.wiring;
        let program = official::on_path(std::env::var_os("PATH").as_deref());
        self.introduce(program.as_deref(), screen)?;
        screen.say(Voice::Person, prompt)?;
        match program {
            Some(program) => {
                let turn = official::Turn { program: &program, wiring, prompt, folder: self.folder.path() };
                official::turn(&turn, screen, &self.ledger, stop).await?;
                Ok(Client::Official)
            }
            None => {
                tokio::select! {
                    played = builtin::turn(wiring, prompt, screen, &self.ledger) => played?,
                    () = stop.cancelled() => {}
                }
                Ok(Client::BuiltIn)
            }
        }
    }

    fn introduce<W: Write>(&self, program: Option<&Path>, screen: &mut Screen<W>) -> io::Result<()> {
        let heading = "claudette demo: one agent turn on a scripted model. No key, no network needed.";
        if program.is_none() {
            screen.heading("No `claude` on your PATH: a built-in client sends requests of its shape.")?;
        }
        screen.heading(heading)?;
        screen.plain("\n")?;
        match program {
            Some(program) => {
                let home = "in a temporary home, config and folder";
                screen.line("client", &format!("{}  {home}", program.display()))?;
            }
            None => screen.line("client", "built in; the real one: npm install -g @anthropic-ai/claude-code")?,
        }
        let gateway = &self.gateway.wiring.base_url;
        screen.line("gateway", &format!("{gateway}  Messages API in, Responses API out"))?;
        let upstream = self.upstream.address;
        screen.line("upstream", &format!("http://{upstream}/v1  {MODEL}, scripted, in this process"))?;
        screen.plain("\n")
    }

    /// Stops everything and removes the folder; the table of what was measured.
    async fn strike(self) -> anyhow::Result<String> {
        self.gateway.stop().await;
        self.upstream.stop().await;
        // Writes what is still queued.
        drop(self.telemetry);
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let place = self.folder.path().to_owned();
        self.folder.close().with_context(|| format!("cannot remove {}", place.display()))?;
        Ok(self.ledger.table(&log))
    }
}

/// Nothing but the demo's own backend: the others could ask their hosts for models.
fn write_config(path: &Path, upstream: &Upstream) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    write!(
        file,
        "[backends.openai-api]\n\
         base_url = \"http://{}/v1\"\n\
         credential = {{ value = \"sk-demo-key-of-no-worth\" }}\n\
         default_model = \"{MODEL}\"\n\
         small_model = \"\"\n\
         [backends.codex-subscription]\n\
         enabled = false\n\
         [backends.anthropic]\n\
         enabled = false\n\
         [supervisor]\n\
         drain_deadline = \"1s\"\n",
        upstream.address
    )
}

/// Our own Supervisor with its one gateway, under a lease that lasts as long as it does.
struct Gateway {
    wiring: Wiring,
    events: Events,
    end: oneshot::Receiver<RunEnd>,
}

impl Gateway {
    async fn start(config: PathBuf, log: &Path) -> anyhow::Result<Self> {
        let options = Options { config: Some(config), mode: Mode::Single, log: log.display().to_string() };
        let Started { events, questions, mut end, .. } = supervisor::start(options)?;
        let wish = Wish { backend: Some("openai-api".to_owned()), ..Wish::default() };
        let (answer, granted) = oneshot::channel();
        questions.send(Question::Lease { wish, answer }).await?;
        let granted = tokio::select! {
            granted = tokio::time::timeout(START_TIME, granted) => granted,
            _ = &mut end => bail!("the gateway does not start{}", last_words(log)),
        };
        match granted {
            Ok(Ok(Ok(granted))) => {
                let wiring = granted.wiring.context("the demo's backend has no gateway")?;
                Ok(Self { wiring, events, end })
            }
            Ok(Ok(Err(denied))) => bail!("the gateway does not start: {}", denied.reason),
            Ok(Err(_)) | Err(_) => {
                bail!("the gateway does not start within {} s{}", START_TIME.as_secs(), last_words(log))
            }
        }
    }

    async fn stop(self) {
        let _ = self.events.send(Event::Signalled(Signal::Stop));
        let _ = tokio::time::timeout(STOP_TIME, self.end).await;
    }
}

/// The log goes with its folder, so what it says last is said here.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().map(|line| format!("; its log ends with:\n{line}")).unwrap_or_default()
}

/// What was measured, what it meant, and what comes next.
fn close<W: Write>(screen: &mut Screen<W>, table: &str, client: Client) -> io::Result<()> {
    screen.heading("Timings, request by request")?;
    screen.plain(table)?;
    screen.plain(
        "1st delta: from the model's getting the request to the first word on screen.\n\
         delay: what a word took from the model to this screen, the median; the model\n\
         waits 30 ms before each. Tokens are estimates.\n\n",
    )?;
    let who = match client {
        Client::Official => "claude",
        Client::BuiltIn => "The built-in client",
    };
    screen.heading("What just happened")?;
    screen.plain(&format!(
        "1. {who} spoke Anthropic's API; the gateway asked /v1/responses.\n\
         2. What it thought, said and called came back as OpenAI events, one by one.\n\
         3. The tool's result went up with the model's sealed thought, and it answered.\n\n"
    ))?;
    screen.heading("Next: a real model")?;
    let program = std::env::args_os().next().map_or("claudette".into(), |name| name.to_string_lossy().into_owned());
    let install = match client {
        Client::Official => "",
        Client::BuiltIn => "  npm install -g @anthropic-ai/claude-code\n",
    };
    screen.plain(&format!("{install}  export OPENAI_API_KEY=sk-...\n  {program} claude\n"))
}
