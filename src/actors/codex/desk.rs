//! Hands out the credential of one codex backend: the login as it is now, refreshed by the CLI where that is due, and
//! the way that the account's workspace prescribes.
//!
//! Any number of requests may ask at once; at most one of them has the CLI refresh, the others wait for it and look
//! again. The login is read for each request. Only one that comes out of a keyring is kept, for a minute, since asking
//! costs a process.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::backend::{self, Answer};
use super::folder::{FolderFault, LoginFolder, Seen, Source};
use super::memory::{Decision, Means, Memory, Need};
use super::program::{CodexProgram, ProgramFault};
use crate::http::upstream::credential::{Credential, CredentialFault};
use crate::providers::codex::app_server::Topic;
use crate::providers::codex::login::{CodexLogin, CredentialStore, LoginMode};
use crate::providers::codex::routing::WorkspaceRoute;
use crate::providers::digest::sha256_hex;
use crate::settings::{Backend, UpstreamSettings};

/// How long a login out of a keyring is good for.
const KEPT: Duration = Duration::from_secs(60);
/// After no answer at all; one that was given holds for as long as the login.
const ASK_AGAIN: Duration = Duration::from_secs(60);

pub struct Desk {
    backend: Backend,
    upstream: UpstreamSettings,
    folder: LoginFolder,
    program: CodexProgram,
    memory: RefCell<Memory>,
    /// Held while the CLI refreshes.
    turn: Mutex<()>,
    /// Held while the CLI is asked for its login; never by somebody who then waits for the turn.
    asking: Mutex<()>,
    kept: RefCell<Option<(Seen, Instant)>>,
    route: Mutex<Option<KnownRoute>>,
    /// What the CLI says of a personal access token, by the token's digest.
    account: Mutex<Option<(String, Option<String>)>>,
    /// The content whose end was logged.
    told: RefCell<Option<String>>,
}

struct KnownRoute {
    /// Digest of account and token.
    login: String,
    route: Option<Arc<WorkspaceRoute>>,
    until: Option<Instant>,
}

impl Desk {
    /// A desk for `backend`; nothing if it is no codex backend.
    pub fn new(backend: &Backend, upstream: &UpstreamSettings) -> Option<Self> {
        let codex = backend.codex.as_ref()?;
        Some(Self {
            backend: backend.clone(),
            upstream: upstream.clone(),
            folder: LoginFolder::new(&codex.home),
            program: CodexProgram::of(codex),
            memory: RefCell::default(),
            turn: Mutex::default(),
            asking: Mutex::default(),
            kept: RefCell::default(),
            route: Mutex::default(),
            account: Mutex::default(),
            told: RefCell::default(),
        })
    }

    /// Whether it is still the desk for these settings.
    pub fn is_for(&self, backend: &Backend, upstream: &UpstreamSettings) -> bool {
        self.backend == *backend && self.upstream == *upstream
    }

    pub fn forgive(&self) {
        self.memory.borrow_mut().forgive();
    }

    /// The upstream refused this credential.
    pub fn rejected(&self, credential: &Credential) {
        self.kept.replace(None);
        let Some(token) = credential.expose() else { return };
        self.memory.borrow_mut().rejected(token);
        warn!(event = "credential.rejected", backend = %self.backend.id, "the upstream refused the login's token");
    }

    /// The credential for one request.
    ///
    /// # Errors
    /// There is no login, or none that can be used: a sentence that names the command to run.
    pub async fn credential(&self) -> Result<Credential, CredentialFault> {
        let mut login = self.login().await?;
        if login.mode == LoginMode::PersonalAccessToken && login.account_id.is_none() {
            login.account_id = self.account_of(&login).await;
        }
        let route = self.route(&login).await;
        let credential = Credential::bearer(login.token)?.with_fedramp(login.fedramp).with_route(route);
        Ok(match login.account_id {
            Some(account) => credential.with_account(account),
            None => credential,
        })
    }

    /// A personal access token does not tell whose it is: the CLI asks, once per token (CODEX.md §4).
    async fn account_of(&self, login: &CodexLogin) -> Option<String> {
        let digest = sha256_hex(&["account", &login.token]);
        let mut known = self.account.lock().await;
        if let Some((_, account)) = known.as_ref().filter(|(of, _)| *of == digest) {
            return account.clone();
        }
        let account = self.program.ask(Topic::Login).await.ok().and_then(|login| login.account_id);
        *known = Some((digest, account.clone()));
        account
    }

    /// The login that may be used now.
    ///
    /// # Errors
    /// As [`Desk::credential`].
    pub async fn login(&self) -> Result<CodexLogin, CredentialFault> {
        let seen = self.look().await?;
        match self.decide(&seen) {
            Decision::Use => Ok(seen.login),
            Decision::Refuse(refusal) => Err(self.used_up(&seen, refusal.to_string())),
            Decision::Refresh { .. } => self.refreshed().await,
        }
    }

    async fn look(&self) -> Result<Seen, CredentialFault> {
        match self.folder.store().await {
            CredentialStore::File => self.folder.read().await.map_err(|fault| self.no_login(fault)),
            CredentialStore::Auto => match self.folder.read().await {
                Err(FolderFault::Missing { .. }) => self.ask(false).await,
                read => read.map_err(|fault| self.no_login(fault)),
            },
            CredentialStore::Keyring => self.ask(false).await,
            CredentialStore::Ephemeral => {
                Err(self.unusable("the codex CLI is set to keep its login in the memory of one process".to_owned()))
            }
        }
    }

    /// The login out of the CLI's own store; with `refresh` a new one in any case.
    async fn ask(&self, refresh: bool) -> Result<Seen, CredentialFault> {
        let _asking = self.asking.lock().await;
        let kept = self.kept.borrow().clone().filter(|(_, until)| *until > Instant::now());
        if let Some((seen, _)) = kept.filter(|_| !refresh) {
            return Ok(seen);
        }
        let topic = if refresh { Topic::NewLogin } else { Topic::Login };
        let login = self.program.ask(topic).await.map_err(|fault| self.unusable(fault.to_string()))?;
        let seen = Seen { content: sha256_hex(&["keyring", &login.token]), source: Source::Cli, login };
        self.kept.replace(Some((seen.clone(), Instant::now() + KEPT)));
        Ok(seen)
    }

    fn decide(&self, seen: &Seen) -> Decision {
        self.memory.borrow().decide(&seen.login, &seen.content, unix_now())
    }

    /// Has the CLI refresh, unless somebody else did while we waited for our turn.
    async fn refreshed(&self) -> Result<CodexLogin, CredentialFault> {
        let _turn = self.turn.lock().await;
        let _lock = self.folder.lock().await;
        let seen = self.look().await?;
        let (need, means) = match self.decide(&seen) {
            Decision::Use => return Ok(seen.login),
            Decision::Refuse(refusal) => return Err(self.used_up(&seen, refusal.to_string())),
            Decision::Refresh { need, means } => (need, means),
        };
        let ran = self.refresh(seen.source, means).await;
        let after = self.look().await?;
        if after.login.token != seen.login.token {
            info!(event = "credential.refreshed", backend = %self.backend.id, "the codex CLI renewed the login's token");
        } else if ran.is_ok() {
            self.memory.borrow_mut().fruitless(after.content.clone(), need);
        }
        match (self.decide(&after), ran) {
            (Decision::Use, _) => Ok(after.login),
            (Decision::Refresh { need: Need::Soon, .. }, Err(_)) => Ok(after.login),
            (Decision::Refresh { .. } | Decision::Refuse(_), Err(fault)) => Err(self.used_up(&after, fault)),
            (Decision::Refuse(refusal), Ok(())) => Err(self.used_up(&after, refusal.to_string())),
            (Decision::Refresh { .. }, Ok(())) => {
                Err(self.used_up(&after, "the codex CLI renewed it to one that is no better".to_owned()))
            }
        }
    }

    async fn refresh(&self, source: Source, means: Means) -> Result<(), String> {
        let ran = match (source, means) {
            (Source::Cli, _) => return self.ask(true).await.map(drop).map_err(|fault| fault.to_string()),
            (Source::File, Means::Due) => self.program.refresh_due().await,
            (Source::File, Means::Forced) => self.program.ask(Topic::NewToken).await.map(drop),
        };
        match ran {
            // It ran and got nothing: that is an answer too.
            Ok(()) | Err(ProgramFault::NoLogin(_) | ProgramFault::TimedOut | ProgramFault::Failed { .. }) => Ok(()),
            Err(fault @ (ProgramFault::Missing { .. } | ProgramFault::NotStarted { .. })) => Err(fault.to_string()),
        }
    }

    /// Where the account's workspace wants its traffic; nothing: the configured `base_url`. Asked once per login.
    async fn route(&self, login: &CodexLogin) -> Option<Arc<WorkspaceRoute>> {
        let account = login.account_id.as_deref()?;
        let digest = sha256_hex(&[account, &login.token]);
        let mut known = self.route.lock().await;
        let holds =
            |known: &&KnownRoute| known.login == digest && known.until.is_none_or(|until| until > Instant::now());
        if let Some(known) = known.as_ref().filter(holds) {
            return known.route.clone();
        }
        let (route, until) = match self.ask_route(login, account).await {
            Ok(route) => (Some(Arc::new(route)), None),
            Err((reason, lasting)) => {
                info!(
                    event = "upstream.adapted",
                    backend = %self.backend.id,
                    reason,
                    "the workspace's routing is unusable: base_url is used as configured"
                );
                (None, (!lasting).then(|| Instant::now() + ASK_AGAIN))
            }
        };
        *known = Some(KnownRoute { login: digest, route: route.clone(), until });
        route
    }

    /// # Errors
    /// Why there is no route, and whether asking again would give the same.
    async fn ask_route(&self, login: &CodexLogin, account: &str) -> Result<WorkspaceRoute, (String, bool)> {
        let passing = |reason: String| (reason, false);
        let credential = Credential::bearer(login.token.clone())
            .map_err(|fault| passing(fault.to_string()))?
            .with_account(account.to_owned())
            .with_fedramp(login.fedramp);
        let answer = backend::get(&self.backend, &self.upstream, &credential, "/wham/accounts/check", None).await;
        let Answer { status, body } = answer.map_err(passing)?;
        match status {
            200 => WorkspaceRoute::parse(&body, account).map_err(|fault| (fault.to_string(), true)),
            // A refused token is no answer of the workspace's.
            401 | 408 | 429 | 500.. => Err(passing(format!("HTTP {status}"))),
            _ => Err((format!("HTTP {status}"), true)),
        }
    }

    fn no_login(&self, fault: FolderFault) -> CredentialFault {
        match fault {
            FolderFault::Missing { .. } => self.nobody(),
            FolderFault::Unreadable { .. } | FolderFault::NoLogin(_) => self.unusable(fault.to_string()),
        }
    }

    fn nobody(&self) -> CredentialFault {
        CredentialFault::NoLogin { backend: self.backend.id.clone() }
    }

    fn unusable(&self, reason: String) -> CredentialFault {
        CredentialFault::UnusableLogin { backend: self.backend.id.clone(), reason }
    }

    /// Logged once for each content: every request meets it again.
    fn used_up(&self, seen: &Seen, reason: String) -> CredentialFault {
        if self.told.borrow().as_deref() != Some(&*seen.content) {
            self.told.replace(Some(seen.content.clone()));
            warn!(event = "credential.expired", backend = %self.backend.id, reason, "the login cannot be used any more");
        }
        CredentialFault::LoginUsedUp { backend: self.backend.id.clone(), reason }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
