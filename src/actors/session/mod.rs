//! SessionActor: one configured session, with its prompts, its turns and its transcripts.
//!
//! The core ([`super::supervision::session`]) decides when a turn starts and what follows its end; this actor asks the
//! Supervisor for a lease on the current generation, runs one [`GuardedClaude`] a turn, and tells those who watch what it
//! says. It holds no address of the Supervisor: events and questions go up by their channels.

pub mod prompt;
pub mod record;

mod notes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use self::prompt::PromptFile;
use self::record::{Conversation, Record};
use super::claude::Ended;
use super::claude::guarded::{EndTurn, GuardedClaude, Report, TurnEnded, TurnProgram};
use super::claude::hearing::{Said, Summary};
use super::messages::{self, Events};
use super::supervision::budget::Limits;
use super::supervision::session::{Action, Denial, Event, Failure, Job, Plan, SessionLife, TurnEnd, TurnId};
use crate::http::control::status::{LastTurn, SessionReport};
use crate::http::control::{Denied, Granted, Question, TurnLine, TurnLines, Wish};
use crate::ids::SessionName;
use crate::providers::claude_cli::argv::{self, turn_arguments};
use crate::providers::claude_cli::environment;
use crate::settings::{self, Restart, SessionSettings, Start, session_fingerprint};
use crate::state::StateFolder;

/// Between two looks at a prompt's file. Two looks must agree before a change counts.
const PROMPT_FILE_LOOKS: Duration = Duration::from_millis(500);
/// Lines that one who watches may lag behind; who lags further is let go, for the turn waits for nobody.
const WATCHER_LAG_LINES: usize = 4096;
/// Reports of one `claude` under way to here; then it waits.
const REPORT_QUEUE: usize = 256;

/// What the config says of this session and of what it stands on.
#[derive(Clone)]
pub struct Configured {
    pub session: SessionSettings,
    /// Whether its backend is.
    pub is_enabled: bool,
    pub limits: Limits,
    /// Variables that hold somebody's credential: no business of `claude` and its tools.
    pub credential_variables: Vec<String>,
}

pub struct SessionActor {
    name: SessionName,
    configured: Configured,
    life: SessionLife,
    record: Record,
    running: Option<RunningTurn>,
    watchers: HashMap<TurnId, mpsc::Sender<TurnLine>>,
    prompt_file: Option<PromptFile>,
    folder: Arc<StateFolder>,
    events: Events,
    questions: mpsc::Sender<Question>,
    published: Option<SessionReport>,
    /// Told by being dropped.
    _done: oneshot::Sender<()>,
}

/// From the start of a turn to its end.
struct RunningTurn {
    job: Job,
    attempt: u32,
    /// Of all turns of this session ever: names its transcript.
    number: u64,
    since: Instant,
    /// Until it is wired.
    asking: Option<SpawnHandle>,
    claude: Option<Addr<GuardedClaude>>,
    lease: Option<u64>,
    conversation: Option<Conversation>,
    /// The local token, to be masked in what `claude` writes.
    token: String,
    timed_out: bool,
}

impl SessionActor {
    /// The actor to start, and what ends with it.
    pub fn new(
        configured: Configured,
        folder: Arc<StateFolder>,
        events: Events,
        questions: mpsc::Sender<Question>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (done, ended) = oneshot::channel();
        let name = configured.session.name.clone();
        let record = Record::load(&folder, &name);
        let actor = Self {
            life: SessionLife::new(record.finished),
            record,
            name,
            configured,
            running: None,
            watchers: HashMap::new(),
            prompt_file: None,
            folder,
            events,
            questions,
            published: None,
            _done: done,
        };
        (actor, ended)
    }

    /// The core decides, we perform.
    fn decide(&mut self, event: Event, ctx: &mut Context<Self>) {
        for action in self.life.on(event, Instant::now()) {
            self.perform(action, ctx);
        }
        self.publish();
    }

    fn perform(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Start { job, attempt } => self.start_turn(job, attempt, ctx),
            Action::Interrupt { turn } => self.interrupt(turn, ctx),
            Action::Deny { turn, denial } => {
                let reason = self.denied(&denial);
                self.tell(turn, TurnLine::Denied { reason });
                self.watchers.remove(&turn);
            }
            Action::Remember { digest } => {
                self.record.finished = Some(digest);
                self.record.store(&self.folder, &self.name);
            }
            Action::Arm { timer, delay } => {
                ctx.run_later(delay, move |actor, ctx| actor.decide(Event::Timer(timer), ctx));
            }
            Action::Log(note) => notes::decided(&self.name, &note),
            Action::Finish => {
                self.publish();
                let _ = self.events.send(messages::Event::SessionFinished { session: self.name.clone() });
                ctx.stop();
            }
        }
    }

    fn denied(&self, denial: &Denial) -> String {
        let (name, backend) = (&self.name, &self.configured.session.backend);
        match denial {
            Denial::BackendDisabled => format!("session {name} is blocked: backend {backend} is disabled"),
            Denial::Quarantined(reason) => format!(
                "session {name} is quarantined: {reason}; change its prompt or settings, or send SIGHUP to the service"
            ),
            Denial::NoPrompt => format!("session {name} has no prompt: its prompt_file cannot be read"),
            Denial::Replaced => format!("a newer prompt of session {name} took its place"),
            Denial::Interrupted => "interrupted before it began".to_owned(),
            Denial::Stopping => format!("session {name} is stopping"),
        }
    }

    /// Who cannot keep up is let go.
    fn tell(&mut self, turn: TurnId, line: TurnLine) {
        if let Some(watcher) = self.watchers.get(&turn)
            && watcher.try_send(line).is_err()
        {
            self.watchers.remove(&turn);
        }
    }

    fn publish(&mut self) {
        let session = &self.configured.session;
        let conversation = self.running.as_ref().and_then(|running| running.conversation.as_ref());
        let conversation = conversation.or(self.record.conversation.as_ref());
        let report = SessionReport {
            name: self.name.to_string(),
            state: self.life.state().as_str().to_owned(),
            backend: session.backend.to_string(),
            model: session.model.as_ref().map(ToString::to_string),
            turns: self.record.turns,
            conversation: conversation.map(|conversation| conversation.id.clone()),
            last_turn: self.record.last_turn.clone(),
            transcripts: self.folder.path().join(StateFolder::session(&self.name)).display().to_string(),
        };
        if self.published.as_ref() != Some(&report) {
            self.published = Some(report.clone());
            let _ = self.events.send(messages::Event::SessionChanged { session: self.name.clone(), report });
        }
    }
}

// Its prompts.
impl SessionActor {
    fn plan(&mut self, ctx: &mut Context<Self>) {
        let session = &self.configured.session;
        let prompt = match prompt::read(&session.prompt) {
            Ok(prompt) => Some(prompt),
            Err(reason) => {
                warn!(event = "config.warned", session = %self.name, fault = reason, "{reason}");
                None
            }
        };
        let text = prompt.as_ref().map_or("", |prompt| &*prompt.text);
        let plan = Plan {
            is_auto: session.start == Start::Auto,
            is_retried: session.restart == Restart::OnFailure,
            is_enabled: self.configured.is_enabled,
            fingerprint: session_fingerprint(session, text),
            limits: self.configured.limits,
            prompt,
        };
        self.decide(Event::Planned(plan), ctx);
    }

    /// The stamp is taken before the content is read: what is written in between is a change.
    fn watch_prompt(&mut self) {
        let settings::Prompt::File(path) = &self.configured.session.prompt else {
            self.prompt_file = None;
            return;
        };
        if self.prompt_file.as_ref().is_none_or(|file| file.path() != path) {
            self.prompt_file = Some(PromptFile::new(path.clone()));
        }
    }

    fn look_at_prompt(&mut self, ctx: &mut Context<Self>) {
        if self.prompt_file.as_mut().is_some_and(PromptFile::changed) {
            self.plan(ctx);
        }
    }
}

// Its turns.
impl SessionActor {
    fn start_turn(&mut self, job: Job, attempt: u32, ctx: &mut Context<Self>) {
        self.record.turns += 1;
        self.record.store(&self.folder, &self.name);
        let session = &self.configured.session;
        let backend = Some(session.backend.to_string());
        let model = session.model.as_ref().map(ToString::to_string);
        let wish = Wish { backend, model, token: None };
        let questions = self.questions.clone();
        let granted = async move {
            let (answer, granted) = oneshot::channel();
            let stopping = || Denied { reason: "the service is stopping".to_owned() };
            questions.send(Question::TurnLease { wish, answer }).await.map_err(|_| stopping())?;
            granted.await.unwrap_or_else(|_| Err(stopping()))
        };
        let asking = ctx.spawn(granted.into_actor(self).map(|granted, actor, ctx| actor.wired(granted, ctx)));
        self.running = Some(RunningTurn {
            job,
            attempt,
            number: self.record.turns,
            since: Instant::now(),
            asking: Some(asking),
            claude: None,
            lease: None,
            conversation: None,
            token: String::new(),
            timed_out: false,
        });
    }

    fn wired(&mut self, granted: Result<Granted, Denied>, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        running.asking = None;
        let claude = match granted {
            Ok(granted) => {
                running.lease = granted.lease;
                self.start_claude(granted, ctx).map_err(|error| (Failure::NotStarted, error.to_string()))
            }
            Err(Denied { reason }) => Err((Failure::NoGateway, reason)),
        };
        match (claude, &mut self.running) {
            (Ok(claude), Some(running)) => running.claude = Some(claude),
            (Ok(_), None) => {}
            (Err((failure, reason)), _) => self.not_begun(failure, reason, ctx),
        }
    }

    fn start_claude(&mut self, granted: Granted, ctx: &mut Context<Self>) -> std::io::Result<Addr<GuardedClaude>> {
        let Some(running) = &mut self.running else { return Err(std::io::Error::other("no turn is running")) };
        let session = &self.configured.session;
        let resumed = self.record.resumable(session).cloned();
        let is_resumed = resumed.is_some();
        let conversation = match resumed {
            Some(conversation) => conversation,
            None => Conversation::new(session)?,
        };
        let model = match &granted.wiring {
            Some(wiring) => wiring.model.as_ref().map(|model| format!("anthropic/{}", model.id)),
            None => session.model.as_ref().map(ToString::to_string),
        };
        let arguments = turn_arguments(&argv::Turn {
            conversation: match is_resumed {
                true => argv::Conversation::Resumed(&conversation.id),
                false => argv::Conversation::New(&conversation.id),
            },
            model: model.as_deref(),
            setting_sources: &session.setting_sources,
            partial_messages: true,
            args: &session.args,
        });
        let transcript = self.folder.append(&record::transcript(&self.name, running.number));
        let transcript = transcript.map_err(std::io::Error::other)?;
        running.conversation = Some(conversation);
        running.token = granted.wiring.as_ref().map(|wiring| wiring.token.clone()).unwrap_or_default();
        notes::started(&self.name, running, &granted.backend, model.as_deref(), is_resumed);
        let (turn, text) = (running.job.turn, running.job.text.to_string());
        let program = program(session, &self.configured.credential_variables, granted, arguments, text);
        let (reports, heard) = mpsc::channel(REPORT_QUEUE);
        ctx.add_stream(ReceiverStream::new(heard));
        ctx.run_later(session.turn_timeout, move |actor, _| actor.turn_timed_out(turn));
        self.tell(turn, TurnLine::Started);
        Ok(GuardedClaude::new(program, transcript, reports).start())
    }

    fn turn_timed_out(&mut self, turn: TurnId) {
        if let Some(running) = self.running.as_mut().filter(|running| running.job.turn == turn)
            && let Some(claude) = &running.claude
        {
            running.timed_out = true;
            claude.do_send(EndTurn);
        }
    }

    fn interrupt(&mut self, turn: TurnId, ctx: &mut Context<Self>) {
        let Some(running) = self.running.as_mut().filter(|running| running.job.turn == turn) else { return };
        match (&running.claude, running.asking.take()) {
            (Some(claude), _) => claude.do_send(EndTurn),
            (None, Some(asking)) => {
                ctx.cancel_future(asking);
                self.not_begun(Failure::NoGateway, "interrupted".to_owned(), ctx);
            }
            (None, None) => {}
        }
    }

    fn not_begun(&mut self, failure: Failure, reason: String, ctx: &mut Context<Self>) {
        let end = Ended::NotStarted(std::io::Error::other(reason));
        let ended = TurnEnded { end, heard: Default::default(), stderr: String::new() };
        self.turn_over(ended, Some(failure), ctx);
    }

    /// Its process and everything below it are gone, or never were.
    fn turn_over(&mut self, ended: TurnEnded, known: Option<Failure>, ctx: &mut Context<Self>) {
        let Some(running) = self.running.take() else { return };
        let TurnEnded { end, heard, stderr } = ended;
        self.give_lease_back(running.lease);
        let code = exit_code(&end);
        let is_told = heard.has_told_result();
        let failure = match (&heard.summary, &end) {
            (Some(summary), _) if summary.is_lost_conversation => {
                self.record.conversation = None;
                Some(Failure::ConversationLost)
            }
            (Some(_), _) => None,
            (None, _) if known.is_some() => known,
            (None, _) if running.timed_out => Some(Failure::TimedOut),
            (None, Ended::NotStarted(_)) => Some(Failure::NotStarted),
            (None, Ended::Exited(_) | Ended::Killed(_)) => Some(Failure::NoResult),
        };
        let (last, line, turn_end) = match (heard.summary, failure) {
            (Some(summary), None) => {
                notes::finished(&self.name, &running, &summary, heard.tools, code, &running.token);
                let text = (summary.is_error && !is_told).then(|| summary.text.clone());
                let code = if summary.is_error { code.max(1) } else { code };
                let line = TurnLine::Ended { code, is_error: summary.is_error, text };
                (last_turn(&running, &summary, heard.tools), line, TurnEnd::Result)
            }
            (_, failure) => {
                let failure = failure.unwrap_or(Failure::NoResult);
                notes::exited(&self.name, &running, failure, &end, &stderr, &running.token);
                let text = Some(without_result(failure, &end, &self.name));
                let line = TurnLine::Ended { code: code.max(1), is_error: true, text };
                (turn_without_result(&running, failure, heard.tools), line, TurnEnd::NoResult(failure))
            }
        };
        self.record.last_turn = Some(last);
        self.record.store(&self.folder, &self.name);
        let turn = running.job.turn;
        let watcher = self.watchers.remove(&turn);
        self.decide(Event::Ended { turn, end: turn_end }, ctx);
        // After the new state is published: whoever hears of the end and asks for the status sees it there.
        if let Some(watcher) = watcher {
            let _ = watcher.try_send(line);
        }
    }

    fn give_lease_back(&self, lease: Option<u64>) {
        let Some(lease) = lease else { return };
        let questions = self.questions.clone();
        // Not a future of this actor, which may be about to stop.
        actix_rt::spawn(async move {
            let _ = questions.send(Question::LeaseEnded { lease }).await;
        });
    }

    fn said(&mut self, said: Said) {
        let Some(running) = &self.running else { return };
        let (turn, number) = (running.job.turn, running.number);
        match said {
            Said::Replied if self.record.conversation != running.conversation => {
                self.record.conversation = running.conversation.clone();
                self.record.store(&self.folder, &self.name);
            }
            Said::Replied => {}
            Said::Text(text) => self.tell(turn, TurnLine::Text { text }),
            Said::ToolUsed { name, id, by_subagent } => {
                notes::tool_used(&self.name, number, &name, &id, by_subagent);
                self.tell(turn, TurnLine::ToolUsed { tool: name });
            }
        }
    }
}

fn program(
    session: &SessionSettings,
    credential_variables: &[String],
    granted: Granted,
    arguments: Vec<String>,
    prompt: String,
) -> TurnProgram {
    let environment =
        granted.wiring.as_ref().map(|wiring| environment::environment(wiring, &|name| std::env::var(name).ok()));
    let environment = environment.unwrap_or_default();
    let set = environment.set.into_iter().map(|(name, value)| (name.to_owned(), value));
    let config_dir = session.config_dir.as_ref().map(|path| path.display().to_string());
    TurnProgram {
        path: granted.claude_bin.into(),
        arguments,
        cwd: session.cwd.clone(),
        set: set.chain(config_dir.map(|path| ("CLAUDE_CONFIG_DIR".to_owned(), path))).collect(),
        // What is set wins over what is unset.
        unset: environment.unset.into_iter().map(str::to_owned).chain(credential_variables.iter().cloned()).collect(),
        prompt,
    }
}

fn exit_code(end: &Ended) -> u8 {
    match end {
        Ended::Exited(code) => *code,
        Ended::Killed(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        Ended::NotStarted(_) => 1,
    }
}

fn without_result(failure: Failure, end: &Ended, session: &SessionName) -> String {
    match (failure, end) {
        (_, Ended::NotStarted(error)) => format!("the turn could not start: {error}"),
        (Failure::TimedOut, _) => format!("the turn of session {session} ran into its turn_timeout"),
        (Failure::ConversationLost, _) => {
            format!(
                "claude does not find the conversation of session {session} any more; the next turn begins a new one"
            )
        }
        (_, Ended::Exited(code)) => {
            format!("claude exited with {code} before it had a result; its stderr is in the service's log")
        }
        (_, Ended::Killed(signal)) => format!("claude was killed by signal {signal} before it had a result"),
    }
}

fn last_turn(running: &RunningTurn, summary: &Summary, tools: u64) -> LastTurn {
    let usage = summary.usage;
    LastTurn {
        input_tokens: usage.input_tokens + usage.cache_creation_input_tokens,
        cached_input_tokens: usage.cache_read_input_tokens,
        output_tokens: usage.output_tokens,
        cost_usd: summary.cost_usd,
        is_error: summary.is_error,
        ..turn_that(running, &summary.subtype, tools)
    }
}

fn turn_without_result(running: &RunningTurn, failure: Failure, tools: u64) -> LastTurn {
    turn_that(running, failure.as_str(), tools)
}

fn turn_that(running: &RunningTurn, outcome: &str, tools: u64) -> LastTurn {
    LastTurn {
        turn: running.number,
        outcome: outcome.to_owned(),
        is_error: true,
        ended: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        duration_ms: notes::milliseconds(running.since.elapsed()),
        tools,
        input_tokens: 0,
        cached_input_tokens: 0,
        output_tokens: 0,
        cost_usd: 0.0,
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_prompt();
        self.plan(ctx);
        ctx.run_interval(PROMPT_FILE_LOOKS, Self::look_at_prompt);
    }
}

impl StreamHandler<Report> for SessionActor {
    fn handle(&mut self, report: Report, ctx: &mut Self::Context) {
        match report {
            Report::Said(said) => self.said(said),
            Report::Ended(ended) => self.turn_over(*ended, None, ctx),
        }
    }

    /// One turn's stream has ended, which is no reason to stop. If its end was not told, its actor died.
    fn finished(&mut self, ctx: &mut Self::Context) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.claude.as_ref().is_some_and(|claude| !claude.connected()))
        {
            self.not_begun(Failure::NoResult, "the actor of its claude ended".to_owned(), ctx);
        }
    }
}

/// A new revision of the config.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt(pub Configured);

/// `claudette turn`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// Absent: the configured one.
    pub prompt: Option<String>,
    pub answer: oneshot::Sender<Result<TurnLines, Denied>>,
}

/// What else reaches a session.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum Tell {
    /// Ctrl-C of the one who asked for this turn.
    Interrupt { turn: u64 },
    /// SIGHUP.
    Release,
    /// The service is stopping; what runs has until then.
    Drain { deadline: Instant },
    /// It was taken out of the config.
    Stop,
}

impl Handler<Adopt> for SessionActor {
    type Result = ();

    fn handle(&mut self, Adopt(configured): Adopt, ctx: &mut Self::Context) {
        self.configured = configured;
        self.watch_prompt();
        self.plan(ctx);
    }
}

impl Handler<Ask> for SessionActor {
    type Result = ();

    fn handle(&mut self, Ask { prompt, answer }: Ask, ctx: &mut Self::Context) {
        let turn = self.life.new_turn();
        let (watcher, mut lines) = mpsc::channel(WATCHER_LAG_LINES);
        self.watchers.insert(turn, watcher);
        self.decide(Event::Asked { turn, prompt: prompt.map(Into::into) }, ctx);
        let answered = match self.watchers.contains_key(&turn) {
            true => Ok(TurnLines { turn: turn.0, lines }),
            false => match lines.try_recv() {
                Ok(TurnLine::Denied { reason }) => Err(Denied { reason }),
                Ok(_) | Err(_) => Err(Denied { reason: format!("session {} runs no such turn", self.name) }),
            },
        };
        let _ = answer.send(answered);
    }
}

impl Handler<Tell> for SessionActor {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        match tell {
            Tell::Interrupt { turn } => self.decide(Event::Interrupted { turn: TurnId(turn) }, ctx),
            Tell::Release => self.decide(Event::Release, ctx),
            Tell::Drain { deadline } => {
                self.decide(Event::Drain, ctx);
                let left = deadline.saturating_duration_since(Instant::now());
                ctx.run_later(left, |actor, ctx| actor.decide(Event::Stop, ctx));
            }
            Tell::Stop => self.decide(Event::Stop, ctx),
        }
    }
}
