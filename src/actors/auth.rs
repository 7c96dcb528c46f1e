//! AuthActor: owns the credentials. Handlers ask it before each upstream request; it reads them afresh.
//!
//! A codex backend's login comes by way of a [`Desk`]. Only a command's output is kept, for its `ttl`, and at most one run of a command is under way. A setting is bound to
//! its origin: a newer one takes its place only for the same origin, so a new key never reaches an old host.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;

use super::codex::desk::Desk;
use super::credential_loader::{self, LIMIT};
use crate::http::upstream::credential::{Credential, CredentialFault, CredentialRequest};
use crate::ids::BackendId;
use crate::settings::{CredentialSetting, Settings};

type Key = (BackendId, String);
type Answer = oneshot::Sender<Result<Credential, CredentialFault>>;

pub struct AuthActor {
    requests: Option<tokio::sync::mpsc::Receiver<CredentialRequest>>,
    settings: HashMap<Key, Option<CredentialSetting>>,
    outputs: HashMap<Key, Output>,
    desks: HashMap<Key, Rc<Desk>>,
}

/// What is known of a command.
enum Output {
    Running { waiting: Vec<Answer> },
    Kept { credential: Credential, until: Instant },
}

impl AuthActor {
    pub fn new(requests: tokio::sync::mpsc::Receiver<CredentialRequest>) -> Self {
        Self { requests: Some(requests), settings: HashMap::new(), outputs: HashMap::new(), desks: HashMap::new() }
    }

    fn ask(&mut self, key: Key, answer: Answer, ctx: &mut Context<Self>) {
        match self.settings.get(&key).cloned() {
            None => {
                let (backend, origin) = key;
                let _ = answer.send(Err(CredentialFault::UnknownOrigin { backend, origin }));
            }
            Some(None) => match self.desks.get(&key).map(Rc::clone) {
                None => drop(answer.send(Ok(Credential::none()))),
                Some(desk) => {
                    let load = async move { drop(answer.send(desk.credential().await)) };
                    ctx.spawn(load.into_actor(self));
                }
            },
            Some(Some(CredentialSetting::Value(secret))) => {
                let _ = answer.send(credential_loader::from_value(secret.expose()));
            }
            Some(Some(CredentialSetting::Env(name))) => {
                let _ = answer.send(credential_loader::from_env(&name, |name| std::env::var_os(name)));
            }
            Some(Some(CredentialSetting::File(path))) => {
                let load = async move {
                    let _ = answer.send(credential_loader::from_file(&path, LIMIT).await);
                };
                ctx.spawn(load.into_actor(self));
            }
            Some(Some(CredentialSetting::Command { argv, ttl })) => self.ask_command(key, argv, ttl, answer, ctx),
        }
    }

    fn ask_command(&mut self, key: Key, argv: Vec<String>, ttl: Duration, answer: Answer, ctx: &mut Context<Self>) {
        match self.outputs.get_mut(&key) {
            Some(Output::Running { waiting }) => return waiting.push(answer),
            Some(Output::Kept { credential, until }) if *until > Instant::now() => {
                return drop(answer.send(Ok(credential.clone())));
            }
            Some(Output::Kept { .. }) | None => {}
        }
        self.outputs.insert(key.clone(), Output::Running { waiting: vec![answer] });
        let run = async move { credential_loader::from_command(&argv, LIMIT).await };
        ctx.spawn(run.into_actor(self).map(move |result, actor, _| actor.finished(key, ttl, &result)));
    }

    fn finished(&mut self, key: Key, ttl: Duration, result: &Result<Credential, CredentialFault>) {
        let Some(Output::Running { waiting }) = self.outputs.remove(&key) else { return };
        if let Ok(credential) = result {
            self.outputs.insert(key, Output::Kept { credential: credential.clone(), until: Instant::now() + ttl });
        }
        for answer in waiting {
            let _ = answer.send(result.clone());
        }
    }
}

impl Actor for AuthActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(requests) = self.requests.take() {
            ctx.add_stream(ReceiverStream::new(requests));
        }
    }
}

impl StreamHandler<CredentialRequest> for AuthActor {
    fn handle(&mut self, request: CredentialRequest, ctx: &mut Self::Context) {
        match request {
            CredentialRequest::Get { backend, origin, answer } => self.ask((backend, origin), answer, ctx),
            CredentialRequest::Rejected { backend, origin, credential: refused } => {
                let key = (backend, origin);
                if matches!(self.outputs.get(&key), Some(Output::Kept { credential, .. }) if *credential == refused) {
                    self.outputs.remove(&key);
                }
                if let Some(desk) = self.desks.get(&key) {
                    desk.rejected(&refused);
                }
            }
        }
    }
}

/// A revision was accepted: its credential settings count from now on, each for its own origin.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt(pub std::sync::Arc<Settings>);

impl Handler<Adopt> for AuthActor {
    type Result = ();

    fn handle(&mut self, Adopt(settings): Adopt, _: &mut Self::Context) {
        for backend in &settings.backends {
            let key = (backend.id.clone(), backend.origin());
            match self.desks.get(&key) {
                Some(desk) if desk.is_for(backend, &settings.upstream) => desk.forgive(),
                Some(_) | None => match Desk::new(backend, &settings.upstream).filter(|_| backend.credential.is_none())
                {
                    Some(desk) => drop(self.desks.insert(key.clone(), Rc::new(desk))),
                    None => drop(self.desks.remove(&key)),
                },
            }
            let before = self.settings.insert(key.clone(), backend.credential.clone());
            if before.is_some_and(|before| before != backend.credential) {
                self.outputs.remove(&key);
            }
        }
    }
}

/// The last generation with this origin has stopped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Forget {
    pub backend: BackendId,
    pub origin: String,
}

impl Handler<Forget> for AuthActor {
    type Result = ();

    fn handle(&mut self, Forget { backend, origin }: Forget, _: &mut Self::Context) {
        let key = (backend, origin);
        self.settings.remove(&key);
        self.outputs.remove(&key);
        self.desks.remove(&key);
    }
}
