//! The Supervisor: hears what happens, lets the pure core decide, and performs what the core says.
//!
//! It owns the other actors, the gateways' sockets and tokens, and the leases' connections' names. Whatever is decided
//! about lives, restarts and replacements is decided in [`super::supervision`]; what a config means for slots, in
//! [`super::wanted`].

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tracing::{error, info};

use super::auth::{Adopt, AuthActor, Forget};
use super::catalog::{CatalogActor, Refresh};
use super::config::{ConfigActor, Reload};
use super::control::{Close, ControlActor};
use super::gateways::{Gateways, Kept};
use super::messages::{Child, Event, Events, ReloadCause, Signal};
use super::questions::{Next, Questions};
use super::sessions::Sessions;
use super::supervision::snapshot::GatewayStatus;
use super::supervision::{
    self, Action, EndCause, GatewayEvent, LeaseId, RevisionCause, StartKind, Supervision, WantedBy,
};
use super::wanted::{self, Origin, Spec, States};
use super::{notes, questions, report};
use crate::http::access::LocalToken;
use crate::http::control::status::StatusView;
use crate::http::control::{ControlContext, Question};
use crate::http::upstream::credential::CredentialSource;
use crate::ids::{Fingerprint, Revision, Slot};
use crate::service_manager;
use crate::settings::{Backend, LogLevel, Settings};
use crate::state::{GatewayRecord, GatewaysFile, StateFolder, StoredToken};

const QUESTION_QUEUE: usize = 64;
/// After the drain deadline a stopping gateway has this long; the process ends without one that hangs.
const STUCK_TIME: Duration = Duration::from_secs(8);

/// How this Supervisor runs.
pub struct Options {
    /// `--config`.
    pub config: Option<PathBuf>,
    pub mode: Mode,
    /// Where the log goes, for `status`.
    pub log: String,
}

pub enum Mode {
    /// The service: control endpoint, state folder, every configured slot.
    Service { folder: Arc<StateFolder> },
    /// One `claudette claude` without a service: nothing but the slot that it asks for.
    Single,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    Stopped,
    /// There was no usable config to begin with; its faults are in the log.
    ConfigUnusable,
    /// The control endpoint could not be opened.
    NoControl,
}

/// A started Supervisor.
pub struct Started {
    pub supervisor: Addr<Supervisor>,
    pub events: Events,
    pub questions: mpsc::Sender<Question>,
    /// `[log] level` of the running revision.
    pub log_level: watch::Receiver<LogLevel>,
    /// Resolves when everything is stopped.
    pub end: oneshot::Receiver<RunEnd>,
}

pub struct Supervisor {
    options: Options,
    core: Supervision,
    running: Option<(Arc<Settings>, Revision)>,
    states: States,
    specs: HashMap<(Slot, Fingerprint), Spec>,
    gateways: Gateways,
    questions: Questions,
    sessions: Sessions,
    /// In [`Mode::Single`]: the models of what its `claude` can reach are asked for.
    asked_for_models: bool,
    /// Questions that came before the first config.
    early: Vec<Question>,
    /// The current generations of the service's last run.
    kept: GatewaysFile,
    status: watch::Sender<Arc<StatusView>>,
    started_at: Instant,
    announced: bool,
    stopping: bool,
    /// What is known of the end that the core is deciding about, for the log.
    detail: Option<String>,
    /// Those whose credential settings the AuthActor keeps.
    origins: HashSet<Origin>,
    log_level: watch::Sender<LogLevel>,
    events: Events,
    inbox: Option<(mpsc::UnboundedReceiver<Event>, mpsc::Receiver<Question>)>,
    config: Addr<ConfigActor>,
    auth: Addr<AuthActor>,
    catalog: Addr<CatalogActor>,
    control: Option<Addr<ControlActor>>,
    control_context: ControlContext,
    end: Option<oneshot::Sender<RunEnd>>,
}

/// Starts the actors; the config is read as soon as they run.
///
/// # Errors
/// The machine has no randomness for the control token.
pub fn start(options: Options) -> std::io::Result<Started> {
    let (events, inbox) = mpsc::unbounded_channel();
    let (questions, questions_inbox) = mpsc::channel(QUESTION_QUEUE);
    let (credentials, credential_requests) = CredentialSource::channel();
    let (status, status_view) = watch::channel(Arc::new(StatusView::empty()));
    let (log_level, level) = watch::channel(LogLevel::Info);
    let (end, ended) = oneshot::channel();
    let control_context =
        ControlContext { token: Arc::new(LocalToken::random()?), questions: questions.clone(), status: status_view };
    let folder = match &options.mode {
        Mode::Service { folder } => Some(Arc::clone(folder)),
        Mode::Single => None,
    };
    let supervisor = Supervisor {
        core: Supervision::new(report::default_policy()),
        running: None,
        states: States::default(),
        specs: HashMap::new(),
        gateways: Gateways::new(events.clone(), credentials.clone()),
        questions: Questions::default(),
        sessions: Sessions::new(folder.clone(), events.clone(), questions.clone()),
        asked_for_models: false,
        early: Vec::new(),
        kept: folder.as_ref().and_then(|folder| folder.load(StateFolder::GATEWAYS).ok().flatten()).unwrap_or_default(),
        status,
        started_at: Instant::now(),
        announced: false,
        stopping: false,
        detail: None,
        origins: HashSet::new(),
        log_level,
        events: events.clone(),
        inbox: Some((inbox, questions_inbox)),
        config: ConfigActor::new(options.config.clone(), events.clone(), folder.is_some()).start(),
        auth: AuthActor::new(credential_requests).start(),
        catalog: CatalogActor::new(events.clone(), credentials, folder).start(),
        control: None,
        control_context,
        end: Some(end),
        options,
    };
    Ok(Started { supervisor: supervisor.start(), events, questions, log_level: level, end: ended })
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some((events, questions)) = self.inbox.take() {
            ctx.add_stream(UnboundedReceiverStream::new(events));
            ctx.add_stream(ReceiverStream::new(questions));
        }
        if let Mode::Service { folder } = &self.options.mode {
            match ControlActor::start(self.control_context.clone(), Arc::clone(folder)) {
                Ok(control) => self.control = Some(control),
                Err(error) => {
                    error!(event = "service.stopped", error = %error, "the control endpoint cannot be opened");
                    return self.finish(RunEnd::NoControl, ctx);
                }
            }
        }
        if let (Mode::Service { .. }, Some(interval)) = (&self.options.mode, service_manager::watchdog_interval()) {
            ctx.run_interval(interval, |_, _| service_manager::tell(&[service_manager::ALIVE]));
        }
        self.config.do_send(Reload(ReloadCause::Start));
    }
}

impl StreamHandler<Event> for Supervisor {
    fn handle(&mut self, event: Event, ctx: &mut Self::Context) {
        match event {
            Event::ConfigAccepted { settings, revision, cause } => self.adopt(settings, revision, cause, ctx),
            Event::ConfigUnusable => self.finish(RunEnd::ConfigUnusable, ctx),
            Event::ConfigKept => self.answer_reload(),
            Event::Listener { child, run, report } => {
                if let Some((event, detail)) = self.gateways.heard(&child, run, report) {
                    self.gateway(child, event, Some(detail), ctx);
                }
            }
            Event::GatewayStopped { child } => self.gateway(child, GatewayEvent::Stopped, None, ctx),
            Event::GatewayNotStarted { child, cause, detail } => {
                self.gateway(child, GatewayEvent::Ended { cause }, Some(detail), ctx);
            }
            Event::ModelsAsked { backend, origin, models } => self.models_asked(&backend, &origin, models, ctx),
            Event::SessionChanged { session, report } => self.sessions.changed(&session, report),
            Event::SessionFinished { session } => {
                self.sessions.finished(&session, self.running.as_ref().map(|(settings, _)| &**settings));
            }
            Event::TimerFired(timer) => self.decide(supervision::Event::Timer(timer), ctx),
            Event::Signalled(signal) => self.signalled(signal, ctx),
        }
        self.publish();
    }
}

impl StreamHandler<Question> for Supervisor {
    fn handle(&mut self, question: Question, ctx: &mut Self::Context) {
        self.question(question, ctx);
        self.publish();
    }
}

impl Supervisor {
    /// The core decides, we perform. What `status` says is never older than what the log says.
    fn decide(&mut self, event: supervision::Event, ctx: &mut Context<Self>) {
        for action in self.core.on(event, Instant::now()) {
            self.perform(action, ctx);
        }
        self.forget_the_gone();
        self.publish();
    }

    fn perform(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Start { slot, generation, fingerprint, kind, model: _ } => {
                self.start_gateway(&Child { slot, generation }, fingerprint, kind);
            }
            Action::Refuse { slot, generation, refusal } => self.gateways.refuse(&Child { slot, generation }, &refusal),
            Action::Drain { slot, generation, refusal } => self.gateways.drain(&Child { slot, generation }, &refusal),
            Action::Stop { slot, generation } => self.gateways.stop(&Child { slot, generation }),
            Action::Sample { slot, generation } => self.sample(Child { slot, generation }, ctx),
            Action::Arm { timer, delay } => {
                let events = self.events.clone();
                // At a stop each moment counts, and nothing starts together.
                let jitter = if self.stopping { Duration::ZERO } else { jitter(delay) };
                ctx.run_later(delay + jitter, move |_, _| drop(events.send(Event::TimerFired(timer))));
            }
            Action::Answer { ask, answer } => {
                if let Some(lease) = self.questions.answer(ask, &answer, &self.gateways, self.running.as_ref()) {
                    self.decide(supervision::Event::LeaseEnded { lease }, ctx);
                }
            }
            Action::Log(note) => notes::log(&note, self.detail.as_deref()),
            Action::Finish => self.finish(RunEnd::Stopped, ctx),
        }
    }

    fn start_gateway(&mut self, child: &Child, fingerprint: Fingerprint, kind: StartKind) {
        let result = match kind {
            StartKind::Restart if self.gateways.address(child).is_some() => self.gateways.restart(child),
            StartKind::New | StartKind::Restart => match self.specs.get(&(child.slot.clone(), fingerprint)).cloned() {
                Some(spec) => {
                    let kept = self.kept_place(&child.slot, fingerprint);
                    self.gateways.start(child, spec, kept)
                }
                None => Err(std::io::Error::other("no settings are known for this fingerprint")),
            },
        };
        if let Err(error) = result {
            let detail = error.to_string();
            let cause =
                if self.gateways.address(child).is_some() { EndCause::StartFailed } else { EndCause::BindFailed };
            let _ = self.events.send(Event::GatewayNotStarted { child: child.clone(), cause, detail });
        }
    }

    /// The port and token that the slot had before the service restarted, if it means the same now. Taken once.
    fn kept_place(&mut self, slot: &Slot, fingerprint: Fingerprint) -> Option<Kept> {
        let at = self
            .kept
            .gateways
            .iter()
            .position(|entry| entry.slot == *slot && entry.fingerprint == fingerprint.to_string())?;
        let entry = self.kept.gateways.swap_remove(at);
        Some(Kept { port: entry.port, token: LocalToken::restore(entry.token.expose())? })
    }

    fn gateway(&mut self, child: Child, event: GatewayEvent, detail: Option<String>, ctx: &mut Context<Self>) {
        let Child { slot, generation } = child;
        self.detail = detail.filter(|detail| !detail.is_empty());
        self.decide(supervision::Event::Gateway { slot, generation, event }, ctx);
        self.detail = None;
        if matches!(event, GatewayEvent::Ready { .. } | GatewayEvent::Stopped) {
            self.keep_gateways();
        }
        self.announce();
    }

    fn sample(&mut self, child: Child, ctx: &mut Context<Self>) {
        let (running, last_use) = match self.gateways.activity(&child) {
            Some(activity) => (activity.running(), Some(activity.last_use())),
            None => (0, None),
        };
        self.gateway(child, GatewayEvent::Sampled { running, last_use }, None, ctx);
    }

    fn adopt(&mut self, settings: Arc<Settings>, revision: Revision, cause: ReloadCause, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        self.running = Some((Arc::clone(&settings), revision));
        self.log_level.send_replace(settings.log.level);
        self.origins.extend(settings.backends.iter().map(wanted::origin));
        self.auth.do_send(Adopt(Arc::clone(&settings)));
        let cause = match cause {
            ReloadCause::Start => RevisionCause::Startup,
            ReloadCause::Signal | ReloadCause::Edit | ReloadCause::Login => RevisionCause::Config,
        };
        if cause == RevisionCause::Startup {
            self.restore_asked(&settings, ctx);
        }
        self.wish(cause, ctx);
        self.sessions.adopt(&settings);
        if let Mode::Service { .. } = self.options.mode {
            for backend in settings.backends.iter().filter(|backend| wanted::has_gateway(backend)) {
                self.ask_for_models(backend, &settings);
            }
        }
        for question in std::mem::take(&mut self.early) {
            self.question(question, ctx);
        }
        self.announce();
        self.answer_reload();
    }

    fn ask_for_models(&mut self, backend: &Backend, settings: &Settings) {
        self.questions.expect_models(&backend.id);
        let (backend, state) = (Arc::new(backend.clone()), self.states.of(backend));
        self.catalog.do_send(Refresh { backend, upstream: settings.upstream.clone(), state });
    }

    /// Without a service only the backends that the one `claude` can reach are asked.
    fn ask_for_reachable_models(&mut self, question: &Question, settings: &Settings) {
        let Question::Lease { wish, .. } = question else { return };
        let Ok(backend) = questions::chosen(wish, settings) else { return };
        let mut reachable = settings.fallback_chain(&backend.id);
        reachable.push(backend.id.clone());
        let reachable = reachable.iter().filter_map(|id| settings.backend(id)).filter(|it| wanted::has_gateway(it));
        for backend in reachable {
            self.ask_for_models(backend, settings);
        }
    }

    /// Tells the core what should run now.
    fn wish(&mut self, cause: RevisionCause, ctx: &mut Context<Self>) {
        let Some((settings, revision)) = self.running.clone() else { return };
        let configured = match self.options.mode {
            Mode::Service { .. } => wanted::configured(&settings),
            Mode::Single => Vec::new(),
        };
        let asked = self.core.asked().filter(|slot| !configured.contains(slot)).cloned().collect::<Vec<_>>();
        let slots = configured.into_iter().map(|slot| (slot, WantedBy::Config));
        let slots = slots.chain(asked.into_iter().map(|slot| (slot, WantedBy::Asking)));
        let mut wanted = Vec::new();
        for (slot, by) in slots {
            let Some(described) = wanted::describe(&settings, &slot, &mut self.states) else { continue };
            wanted.push(wanted::wish(slot.clone(), &described, by));
            self.specs.insert((slot, described.fingerprint), described.spec);
        }
        let policy = report::policy(&settings.supervisor);
        self.decide(supervision::Event::Revision { revision, cause, policy, wanted }, ctx);
    }

    fn models_asked(
        &mut self,
        backend: &crate::ids::BackendId,
        origin: &str,
        models: Option<Vec<crate::providers::openai::models::ModelEntry>>,
        ctx: &mut Context<Self>,
    ) {
        let Some((settings, _)) = self.running.clone() else { return };
        let Some(backend) = settings.backend(backend).filter(|backend| backend.origin() == origin) else { return };
        if let Some(models) = models {
            self.states.of(backend).replace_models(models);
            if backend.default_model.is_none() {
                self.wish(RevisionCause::ModelDiscovered, ctx);
            }
        }
        for question in self.questions.models_are_known(&backend.id) {
            self.question(question, ctx);
        }
    }

    fn question(&mut self, question: Question, ctx: &mut Context<Self>) {
        let Some((settings, _)) = self.running.clone() else {
            // Asked in the moment between our start and the first config.
            return self.early.push(question);
        };
        if let Question::LeaseEnded { lease } = question {
            return self.decide(supervision::Event::LeaseEnded { lease: LeaseId(lease) }, ctx);
        }
        let Some(question) = self.sessions.put(question) else { return };
        if let Mode::Single = self.options.mode
            && !std::mem::replace(&mut self.asked_for_models, true)
        {
            self.ask_for_reachable_models(&question, &settings);
        }
        let states = &mut self.states;
        let gateways = &self.gateways;
        match self.questions.put(question, &settings, gateways, |slot| wanted::describe(&settings, slot, states)) {
            Next::Nothing => {}
            Next::Ask { event, slot, described } => {
                self.specs.insert((slot, described.fingerprint), described.spec);
                self.decide(event, ctx);
            }
            Next::Rejoin { event } => self.decide(event, ctx),
        }
    }

    fn restore_asked(&mut self, settings: &Settings, ctx: &mut Context<Self>) {
        let asked: Vec<Slot> =
            self.kept.gateways.iter().map(|entry| entry.slot.clone()).filter(|slot| slot.model.is_some()).collect();
        for slot in asked {
            let Some(described) = wanted::describe(settings, &slot, &mut self.states) else { continue };
            self.specs.insert((slot.clone(), described.fingerprint), described.spec);
            let (model, fingerprint) = (described.model, described.fingerprint);
            let asker = supervision::Asker::Restored;
            self.decide(supervision::Event::Asked { slot, model, fingerprint, asker }, ctx);
        }
    }

    fn signalled(&mut self, signal: Signal, ctx: &mut Context<Self>) {
        match signal {
            Signal::Reload => {
                self.tell_manager(&[service_manager::RELOADING, &service_manager::monotonic_now()]);
                self.decide(supervision::Event::Release, ctx);
                self.sessions.release();
                self.config.do_send(Reload(ReloadCause::Signal));
            }
            Signal::Status => {
                let view = self.status.borrow().clone();
                report::log(&view);
            }
            Signal::Stop => self.stop(ctx),
        }
    }

    fn stop(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.tell_manager(&[service_manager::STOPPING]);
            let leases = self.core.snapshot().gateways.iter().map(|gateway| gateway.leases).sum::<usize>();
            info!(event = "service.stopping", leases, "the service is stopping; {leases} lease(s) end with it");
            let drain =
                self.running.as_ref().map_or(Duration::ZERO, |(settings, _)| settings.supervisor.drain_deadline);
            ctx.run_later(drain + STUCK_TIME, |actor, ctx| {
                error!(event = "service.stopping", "a gateway does not stop: the service ends without it");
                actor.finish(RunEnd::Stopped, ctx);
            });
        }
        self.drain_sessions();
        self.decide(supervision::Event::Stop, ctx);
    }

    fn drain_sessions(&mut self) {
        let patience = self.running.as_ref().map(|(settings, _)| settings.supervisor.drain_deadline);
        self.sessions.drain(Instant::now() + patience.unwrap_or_default());
    }

    fn finish(&mut self, end: RunEnd, ctx: &mut Context<Self>) {
        let control = self.control.take();
        let sender = self.end.take();
        let sessions = self.sessions.ended();
        let closing = async move {
            sessions.await;
            if let Some(control) = control {
                let _ = control.send(Close).await;
            }
        };
        ctx.spawn(closing.into_actor(self).map(move |(), _, ctx| {
            if let Some(sender) = sender {
                let _ = sender.send(end);
            }
            ctx.stop();
        }));
    }

    /// Writes port and token of each current generation, so that a restarted service gives them out again. At a stop the
    /// file already says what was current.
    fn keep_gateways(&self) {
        let Mode::Service { folder } = &self.options.mode else { return };
        if self.stopping {
            return;
        }
        let mut current = self.core.snapshot().gateways;
        current.retain(|gateway| gateway.current);
        // What the last run left and this one has not come to yet: a start cut short must not lose it, and neither must
        // a slot whose model is still to be discovered.
        let is_past =
            |gateway: &GatewayStatus, kept: &GatewayRecord| gateway.slot == kept.slot && gateway.model.is_some();
        let is_open = |kept: &&GatewayRecord| !current.iter().any(|gateway| is_past(gateway, kept));
        let open = self.kept.gateways.iter().filter(is_open).cloned();
        let records = open.chain(current.iter().filter_map(|gateway| self.record(gateway))).collect();
        if let Err(fault) = folder.store(StateFolder::GATEWAYS, &GatewaysFile { gateways: records }) {
            error!(event = "library.logged", error = %fault, "gateways.json cannot be written");
        }
    }

    fn record(&self, gateway: &GatewayStatus) -> Option<GatewayRecord> {
        let child = Child { slot: gateway.slot.clone(), generation: gateway.generation };
        Some(GatewayRecord {
            slot: gateway.slot.clone(),
            port: self.gateways.address(&child)?.port(),
            token: StoredToken::new(self.gateways.token(&child)?.expose()),
            fingerprint: gateway.fingerprint.to_string(),
        })
    }

    /// Lets go what belongs to no generation and to no wish any more: sockets, tokens, settings, what is known of an
    /// upstream, and its credential.
    fn forget_the_gone(&mut self) {
        let living = self.core.snapshot().gateways;
        self.gateways.keep(|child| {
            living.iter().any(|gateway| gateway.slot == child.slot && gateway.generation == child.generation)
        });
        let of_living = living.iter().map(|gateway| (gateway.slot.clone(), gateway.fingerprint));
        let wished = self.core.wishes().map(|(slot, fingerprint)| (slot.clone(), fingerprint));
        let meant: HashSet<(Slot, Fingerprint)> = of_living.chain(wished).collect();
        self.specs.retain(|key, _| meant.contains(key));
        let Some((settings, _)) = &self.running else { return };
        let upstreams = self.specs.values().chain(self.gateways.specs()).flat_map(|spec| &spec.upstreams);
        let spoken_to = upstreams.map(|upstream| wanted::origin(&upstream.backend));
        let used: HashSet<Origin> = spoken_to.chain(settings.backends.iter().map(wanted::origin)).collect();
        self.states.keep(|origin| used.contains(origin));
        for (backend, origin) in self.origins.extract_if(|origin| !used.contains(origin)) {
            self.auth.do_send(Forget { backend, origin });
        }
    }

    /// `service.started`, once every wanted slot serves or is past its first failed start.
    fn announce(&mut self) {
        if self.announced || self.running.is_none() || !self.core.is_settled() {
            return;
        }
        self.announced = true;
        if let Mode::Service { .. } = self.options.mode {
            let took = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let gateways = self.core.snapshot().gateways.len();
            info!(
                event = "service.started",
                pid = std::process::id(),
                gateways,
                took_ms = took,
                "the service is started"
            );
            // Slots that are wanted no longer.
            let core = &self.core;
            self.kept.gateways.retain(|kept| core.wishes().any(|(slot, _)| *slot == kept.slot));
            let status = format!("STATUS={gateways} gateway(s)");
            self.tell_manager(&[service_manager::READY, &status]);
        }
    }

    /// The config was read again, whatever came of it.
    fn answer_reload(&self) {
        if self.announced {
            self.tell_manager(&[service_manager::READY]);
        }
    }

    fn tell_manager(&self, words: &[&str]) {
        if let Mode::Service { .. } = self.options.mode {
            service_manager::tell(words);
        }
    }

    fn publish(&self) {
        let settings = self.running.as_ref().map(|(settings, revision)| (&**settings, *revision));
        let view = report::view(
            settings,
            &self.core,
            &self.gateways,
            &self.states,
            &self.sessions,
            self.started_at,
            &self.options.log,
        );
        self.status.send_replace(Arc::new(view));
    }
}

/// Up to a tenth more, so that slots that died together do not start together.
fn jitter(delay: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    let _ = getrandom::fill(&mut byte);
    delay.mul_f64(f64::from(byte[0]) / 2550.0)
}

#[cfg(test)]
mod tests;
