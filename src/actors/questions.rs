//! The questions that came through the control endpoint: what each asks for, and who waits for which answer.
//!
//! A wish becomes an event for the core, or is answered at once where no gateway is involved. The core's answer becomes
//! the wiring of a `claude`. Decides nothing about lives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::gateways::Gateways;
use super::messages::Child;
use super::supervision::{Answer, AskId, Asker, Event, Holder, LeaseId};
use super::wanted::{Described, Spec};
use crate::http::control::{Denied, Granted, Question, Wish};
use crate::ids::{BackendId, ModelId, Revision, Slot};
use crate::providers::claude_cli::environment::{WiredModel, Wiring};
use crate::settings::{Backend, BackendKind, Settings};

type Reply = oneshot::Sender<Result<Granted, Denied>>;

#[derive(Default)]
pub struct Questions {
    waiting: HashMap<AskId, Waiting>,
    /// Backends whose first model list is still to come.
    expecting: HashSet<BackendId>,
    /// Questions that need such a list: their backend names no model.
    parked: Vec<(BackendId, Question)>,
    asks: u64,
    leases: u64,
}

struct Waiting {
    reply: Reply,
    lease: Option<LeaseId>,
}

/// What a question leads to.
pub enum Next {
    /// It is answered, or parked.
    Nothing,
    Ask {
        event: Event,
        slot: Slot,
        described: Described,
    },
    Rejoin {
        event: Event,
    },
}

impl Questions {
    /// A backend's models are being asked for.
    pub fn expect_models(&mut self, backend: &BackendId) {
        self.expecting.insert(backend.clone());
    }

    /// They came, or could not be had: the questions that waited for them.
    pub fn models_are_known(&mut self, backend: &BackendId) -> Vec<Question> {
        self.expecting.remove(backend);
        let (ready, parked) = std::mem::take(&mut self.parked).into_iter().partition(|(id, _)| id == backend);
        self.parked = parked;
        let ready: Vec<(BackendId, Question)> = ready;
        ready.into_iter().map(|(_, question)| question).collect()
    }

    pub fn put(
        &mut self,
        question: Question,
        settings: &Settings,
        gateways: &Gateways,
        describe: impl FnOnce(&Slot) -> Option<Described>,
    ) -> Next {
        let (wish, reply, holder) = match question {
            Question::Environment { wish, answer } => (wish, answer, None),
            Question::Lease { wish, answer } => (wish, answer, Some(Holder::Terminal)),
            Question::TurnLease { wish, answer } => (wish, answer, Some(Holder::Turn)),
            Question::LeaseEnded { .. } | Question::Turn { .. } | Question::InterruptTurn { .. } => {
                return Next::Nothing;
            }
        };
        if let Some(child) = wish.token.as_deref().and_then(|token| gateways.by_token(token)) {
            return self.rejoin(child.clone(), reply);
        }
        let backend = match chosen(&wish, settings) {
            Ok(backend) => backend,
            Err(reason) => {
                deny(reply, &reason);
                return Next::Nothing;
            }
        };
        if backend.kind == BackendKind::Anthropic {
            let _ = reply.send(Ok(without_gateway(backend, settings)));
            return Next::Nothing;
        }
        let slot = Slot { backend: backend.id.clone(), model: wish.model.as_deref().map(ModelId::from) };
        let Some(described) = describe(&slot) else {
            deny(reply, &format!("backend {} has no gateway", backend.id));
            return Next::Nothing;
        };
        if described.model.is_none() && self.expecting.contains(&backend.id) {
            let question = match holder {
                Some(Holder::Terminal) => Question::Lease { wish, answer: reply },
                Some(Holder::Turn) => Question::TurnLease { wish, answer: reply },
                None => Question::Environment { wish, answer: reply },
            };
            self.parked.push((backend.id.clone(), question));
            return Next::Nothing;
        }
        let (ask, lease) = self.wait(reply, holder.is_some());
        let asker = match lease.zip(holder) {
            Some((lease, holder)) => Asker::Lease { ask, lease, holder },
            None => Asker::Env { ask },
        };
        let (model, fingerprint) = (described.model.clone(), described.fingerprint);
        Next::Ask { event: Event::Asked { slot: slot.clone(), model, fingerprint, asker }, slot, described }
    }

    fn rejoin(&mut self, child: Child, reply: Reply) -> Next {
        let (ask, lease) = self.wait(reply, true);
        let Some(lease) = lease else { return Next::Nothing };
        let Child { slot, generation } = child;
        Next::Rejoin { event: Event::Rejoined { ask, slot, generation, lease, holder: Holder::Terminal } }
    }

    fn wait(&mut self, reply: Reply, leases: bool) -> (AskId, Option<LeaseId>) {
        self.asks += 1;
        let ask = AskId(self.asks);
        let lease = leases.then(|| {
            self.leases += 1;
            LeaseId(self.leases)
        });
        self.waiting.insert(ask, Waiting { reply, lease });
        (ask, lease)
    }

    /// Passes the core's answer on. A lease whose holder has gone meanwhile comes back, to be ended.
    #[must_use]
    pub fn answer(
        &mut self,
        ask: AskId,
        answer: &Answer,
        gateways: &Gateways,
        running: Option<&(Arc<Settings>, Revision)>,
    ) -> Option<LeaseId> {
        let Waiting { reply, lease } = self.waiting.remove(&ask)?;
        let granted = match (answer, running) {
            (Answer::Refused(refusal), _) => Err(Denied { reason: refusal.to_string() }),
            (Answer::Granted { slot, generation }, Some((settings, _))) => {
                let child = Child { slot: slot.clone(), generation: *generation };
                grant(&child, lease, gateways, settings)
            }
            (Answer::Granted { .. }, None) => Err(Denied { reason: "the service has no config yet".to_owned() }),
        };
        let useless = granted.is_err();
        let gone = reply.send(granted).is_err();
        lease.filter(|_| (gone || useless) && matches!(answer, Answer::Granted { .. }))
    }
}

fn grant(child: &Child, lease: Option<LeaseId>, gateways: &Gateways, settings: &Settings) -> Result<Granted, Denied> {
    let found = (gateways.address(child), gateways.token(child), gateways.spec(child));
    let (Some(address), Some(token), Some(spec)) = found else {
        return Err(Denied { reason: format!("the gateway of {} has just stopped: ask again", child.slot) });
    };
    Ok(Granted {
        backend: child.slot.backend.to_string(),
        wiring: Some(wiring(spec, &child.slot.backend, format!("http://{address}"), token.expose().to_owned())),
        lease: lease.map(|LeaseId(lease)| lease),
        claude_bin: settings.claude.bin.display().to_string(),
    })
}

fn wiring(spec: &Spec, backend: &BackendId, base_url: String, token: String) -> Wiring {
    let upstream = spec.upstreams.first();
    let named = |model: Option<&ModelId>| {
        let id = model?.clone();
        let known = upstream.map(|upstream| upstream.listed_models()).unwrap_or_default();
        let display_name = known.iter().find(|entry| entry.id == id).map(|entry| entry.display_name.clone());
        Some(WiredModel { display_name: display_name.unwrap_or_else(|| id.to_string()), id })
    };
    Wiring {
        base_url,
        token,
        backend: backend.clone(),
        model: named(spec.model()),
        small_model: named(upstream.and_then(|upstream| upstream.small_model.as_ref())),
        context_window: upstream.zip(spec.model()).and_then(|(upstream, model)| upstream.facts(model).context_window),
    }
}

fn without_gateway(backend: &Backend, settings: &Settings) -> Granted {
    Granted {
        backend: backend.id.to_string(),
        wiring: None,
        lease: None,
        claude_bin: settings.claude.bin.display().to_string(),
    }
}

/// The backend that the wish names, or the default one.
pub fn chosen<'a>(wish: &Wish, settings: &'a Settings) -> Result<&'a Backend, String> {
    let known = || settings.backends.iter().map(known_as).collect::<Vec<_>>().join(", ");
    let backend = match &wish.backend {
        Some(name) => settings.backends.iter().find(|backend| backend.id.as_str() == name),
        None => settings.preferred_backend(),
    };
    let Some(backend) = backend else {
        let fault = wish
            .backend
            .as_ref()
            .map_or("no backend is enabled".to_owned(), |name| format!("there is no backend {name}"));
        return Err(format!("{fault}; known are: {}", known()));
    };
    if !backend.enabled {
        let because = backend.disabled_because.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(format!("backend {} is disabled{because}; known are: {}", backend.id, known()));
    }
    Ok(backend)
}

fn known_as(backend: &Backend) -> String {
    if backend.enabled { backend.id.to_string() } else { format!("{} (disabled)", backend.id) }
}

fn deny(reply: Reply, reason: &str) {
    let _ = reply.send(Err(Denied { reason: reason.to_owned() }));
}
