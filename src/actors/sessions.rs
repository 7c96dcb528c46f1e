//! The sessions as the Supervisor keeps them: which are configured, and what each says of itself. Decides nothing about
//! turns: that is each session's own core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::messages::Events;
use super::report;
use super::session::{Adopt, Ask, Configured, SessionActor, Tell, record};
use crate::http::control::status::SessionReport;
use crate::http::control::{Denied, Question};
use crate::ids::SessionName;
use crate::settings::{CredentialSetting, Settings};
use crate::state::StateFolder;

/// Between two looks for transcripts older than `log.keep`.
const DAY: Duration = Duration::from_secs(86_400);

pub struct Sessions {
    /// Absent where no service runs: then there are none.
    folder: Option<Arc<StateFolder>>,
    living: BTreeMap<SessionName, Living>,
    events: Events,
    questions: mpsc::Sender<Question>,
    is_draining: bool,
    /// `log.keep`, and when it was last looked after.
    keep: Duration,
    cleaned: Option<Instant>,
}

struct Living {
    session: Addr<SessionActor>,
    report: Option<SessionReport>,
    /// Taken out of the config; it ends when its turn has.
    is_leaving: bool,
    ended: oneshot::Receiver<()>,
}

impl Sessions {
    pub fn new(folder: Option<Arc<StateFolder>>, events: Events, questions: mpsc::Sender<Question>) -> Self {
        Self {
            folder,
            living: BTreeMap::new(),
            events,
            questions,
            is_draining: false,
            keep: Duration::MAX,
            cleaned: None,
        }
    }

    /// Starts, changes and takes out what a revision says.
    pub fn adopt(&mut self, settings: &Settings) {
        let Some(folder) = self.folder.clone().filter(|_| !self.is_draining) else { return };
        self.keep = settings.log.keep;
        self.clean();
        for (name, living) in &mut self.living {
            if settings.session(name).is_none() && !living.is_leaving {
                living.is_leaving = true;
                living.session.do_send(Tell::Stop);
            }
        }
        for configured in configured(settings) {
            let name = configured.session.name.clone();
            match self.living.get(&name) {
                Some(living) if !living.is_leaving => living.session.do_send(Adopt(configured)),
                // The one of the same name that is just leaving goes first.
                Some(_) => {}
                None => {
                    let (events, questions) = (self.events.clone(), self.questions.clone());
                    let (actor, ended) = SessionActor::new(configured, Arc::clone(&folder), events, questions);
                    let living = Living { session: actor.start(), report: None, is_leaving: false, ended };
                    self.living.insert(name, living);
                }
            }
        }
    }

    pub fn changed(&mut self, name: &SessionName, report: SessionReport) {
        if let Some(living) = self.living.get_mut(name) {
            living.report = Some(report);
        }
        self.clean();
    }

    /// One has ended; if it is configured again meanwhile, it starts anew.
    pub fn finished(&mut self, name: &SessionName, settings: Option<&Settings>) {
        if self.is_draining {
            return;
        }
        self.living.remove(name);
        if let Some(settings) = settings {
            self.adopt(settings);
        }
    }

    /// A question about a turn; others come back.
    pub fn put(&self, question: Question) -> Option<Question> {
        match question {
            Question::Turn { session, prompt, answer } => {
                match self.find(&session) {
                    Some(living) => living.session.do_send(Ask { prompt, answer }),
                    None => drop(answer.send(Err(Denied { reason: self.unknown(&session) }))),
                }
                None
            }
            Question::InterruptTurn { session, turn } => {
                if let Some(living) = self.find(&session) {
                    living.session.do_send(Tell::Interrupt { turn });
                }
                None
            }
            other => Some(other),
        }
    }

    fn find(&self, name: &str) -> Option<&Living> {
        self.living.get(name).filter(|living| !living.is_leaving)
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<_> = self.living.keys().map(SessionName::as_str).collect();
        match known.is_empty() {
            true => format!("there is no session {name}: the config has no [sessions.NAME]"),
            false => format!("there is no session {name}; configured are: {}", known.join(", ")),
        }
    }

    pub fn release(&self) {
        self.living.values().for_each(|living| living.session.do_send(Tell::Release));
    }

    /// Nothing new starts; what runs has until the deadline.
    pub fn drain(&mut self, deadline: Instant) {
        self.is_draining = true;
        self.living.values().for_each(|living| living.session.do_send(Tell::Drain { deadline }));
    }

    /// Resolves when every session has ended.
    pub fn ended(&mut self) -> impl Future<Output = ()> + 'static {
        let ends: Vec<_> = std::mem::take(&mut self.living).into_values().map(|living| living.ended).collect();
        async move {
            for end in ends {
                let _ = end.await;
            }
        }
    }

    pub fn reports(&self) -> Vec<SessionReport> {
        self.living.values().filter_map(|living| living.report.clone()).collect()
    }

    fn clean(&mut self) {
        let Some(folder) = &self.folder else { return };
        if self.cleaned.is_some_and(|cleaned| cleaned.elapsed() < DAY) {
            return;
        }
        self.cleaned = Some(Instant::now());
        if let Err(fault) = record::delete_old_transcripts(folder, self.keep, SystemTime::now()) {
            warn!(event = "library.logged", error = %fault, "old transcripts cannot be deleted");
        }
    }
}

fn configured(settings: &Settings) -> impl Iterator<Item = Configured> {
    let credential_variables: Vec<String> = settings
        .backends
        .iter()
        .filter_map(|backend| match &backend.credential {
            Some(CredentialSetting::Env(name)) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let limits = report::policy(&settings.supervisor).restarts;
    settings.sessions.iter().map(move |session| Configured {
        session: session.clone(),
        is_enabled: settings.backend(&session.backend).is_some_and(|backend| backend.enabled),
        limits,
        credential_variables: credential_variables.clone(),
    })
}
