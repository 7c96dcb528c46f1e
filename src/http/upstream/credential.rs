//! A request's credential, asked for and held for that request alone.
//!
//! Handlers own a [`CredentialSource`], one end of a bounded channel; whoever loads credentials holds the other and
//! answers each [`CredentialRequest`]. A credential belongs to a backend *and* the origin of its `base_url`, so that a
//! new key never reaches an old host (DESIGN.md §1). Nothing here reads a file or runs a command, and nothing prints a
//! secret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use awc::http::header::HeaderValue;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::ids::BackendId;
use crate::providers::codex::routing::WorkspaceRoute;

/// Questions that may wait for the loader: more than any number of requests that begin within one answer.
const WAITING_REQUESTS: usize = 256;

/// What one upstream request is let in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    secret: Option<Zeroizing<String>>,
    account: Option<String>,
    fedramp: bool,
    route: Option<Arc<WorkspaceRoute>>,
}

impl Credential {
    /// The most a credential may hold, in bytes: what a command may print (DESIGN.md §5).
    pub const MAX_BYTES: usize = 64 * 1024;

    /// A key or token to be shown as `Bearer`.
    ///
    /// # Errors
    /// [`CredentialFault::Empty`], or [`CredentialFault::NotAHeader`] if it holds anything but visible ASCII.
    pub fn bearer(secret: Zeroizing<String>) -> Result<Self, CredentialFault> {
        if secret.is_empty() {
            return Err(CredentialFault::Empty);
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CredentialFault::NotAHeader);
        }
        Ok(Self { secret: Some(secret), ..Self::none() })
    }

    /// For a backend without a `credential`: local servers often want none.
    #[must_use]
    pub fn none() -> Self {
        Self { secret: None, account: None, fedramp: false, route: None }
    }

    /// The same, on behalf of a ChatGPT account (`chatgpt-account-id`).
    #[must_use]
    pub fn with_account(self, account: String) -> Self {
        Self { account: Some(account), ..self }
    }

    /// The same, for an account of the US government's cloud (`x-openai-fedramp`).
    #[must_use]
    pub fn with_fedramp(self, fedramp: bool) -> Self {
        Self { fedramp, ..self }
    }

    /// The same, to be used where the account's workspace wants its traffic.
    #[must_use]
    pub fn with_route(self, route: Option<Arc<WorkspaceRoute>>) -> Self {
        Self { route, ..self }
    }

    /// The `authorization` header, marked sensitive; absent for [`Credential::none`].
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        let secret = self.secret.as_ref()?;
        let text = Zeroizing::new(format!("Bearer {}", secret.as_str()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    #[must_use]
    pub fn fedramp(&self) -> bool {
        self.fedramp
    }

    /// Absent: the configured `base_url`.
    #[must_use]
    pub fn route(&self) -> Option<&WorkspaceRoute> {
        self.route.as_deref()
    }

    /// The secret itself, for masking it in an upstream's text. Never for a log.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.as_str())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(***)")
    }
}

/// Why there is no credential, in words for the person who wrote the config. Of a command only its program is named:
/// its arguments may be secret, its stderr is never read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    #[error("the environment variable {name} is not set in the service's environment")]
    MissingVariable { name: String },
    #[error("the environment variable {name} is not text")]
    UnreadableVariable { name: String },
    #[error("the credential file {} does not exist", .path.display())]
    MissingFile { path: PathBuf },
    #[error("the credential file {} cannot be read: {reason}", .path.display())]
    UnreadableFile { path: PathBuf, reason: String },
    #[error("the credential command `{program}` did not start: {reason}")]
    CommandNotStarted { program: String, reason: String },
    #[error("the credential command `{program}` failed: {status}")]
    CommandFailed { program: String, status: String },
    #[error("the credential was not there within {limit_ms} ms")]
    TimedOut { limit_ms: u64 },
    #[error("the credential is longer than {} bytes", Credential::MAX_BYTES)]
    TooLong,
    #[error("the credential is empty")]
    Empty,
    #[error("the credential holds a space, a line break or a character beyond ASCII, which no key or token does")]
    NotAHeader,
    #[error("backend `{backend}` is not logged in: run `claudette login {backend}`")]
    NoLogin { backend: BackendId },
    #[error("backend `{backend}` has no usable login ({reason}): run `claudette login {backend}`")]
    UnusableLogin { backend: BackendId, reason: String },
    #[error("the login of backend `{backend}` is used up ({reason}): run `claudette login {backend}`")]
    LoginUsedUp { backend: BackendId, reason: String },
    #[error("backend `{backend}` has no credential for {origin} any more")]
    UnknownOrigin { backend: BackendId, origin: String },
    #[error("credentials cannot be loaded while the service is stopping")]
    Stopping,
}

/// What a handler asks of the loader.
#[derive(Debug)]
pub enum CredentialRequest {
    Get {
        backend: BackendId,
        /// Scheme, host and port of `base_url`, as in `https://api.openai.com`.
        origin: String,
        answer: oneshot::Sender<Result<Credential, CredentialFault>>,
    },
    /// The upstream answered 401 to this credential: forget it if it is the one still kept, a newer one stays.
    Rejected { backend: BackendId, origin: String, credential: Credential },
}

/// The handlers' end.
#[derive(Clone, Debug)]
pub struct CredentialSource {
    requests: mpsc::Sender<CredentialRequest>,
}

impl CredentialSource {
    /// A source and the loader's end of it.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<CredentialRequest>) {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        (Self { requests }, receiver)
    }

    /// The credential to use for one upstream request. Waits as long as loading takes, which the loader bounds.
    ///
    /// # Errors
    /// Whatever kept it from being loaded; [`CredentialFault::Stopping`] if nobody loads any more.
    pub async fn get(&self, backend: &BackendId, origin: &str) -> Result<Credential, CredentialFault> {
        let (answer, loaded) = oneshot::channel();
        let request = CredentialRequest::Get { backend: backend.clone(), origin: origin.to_owned(), answer };
        self.requests.send(request).await.map_err(|_| CredentialFault::Stopping)?;
        loaded.await.unwrap_or(Err(CredentialFault::Stopping))
    }

    /// Tells that the upstream refused `credential` with a 401, so that the next `get` loads anew.
    pub async fn rejected(&self, backend: &BackendId, origin: &str, credential: Credential) {
        let request = CredentialRequest::Rejected { backend: backend.clone(), origin: origin.to_owned(), credential };
        // Without a loader there is nothing left to forget.
        let _ = self.requests.send(request).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(secret: &str) -> Result<Credential, CredentialFault> {
        Credential::bearer(Zeroizing::new(secret.to_owned()))
    }

    #[test]
    fn a_secret_shows_in_its_header_alone() {
        let credential = bearer("sk-1234").unwrap().with_account("acct".into());
        let header = credential.authorization().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer sk-1234");
        assert!(header.is_sensitive());
        assert!(!format!("{credential:?} {header:?}").contains("1234"));
        assert_eq!((credential.expose(), credential.account()), (Some("sk-1234"), Some("acct")));
    }

    #[test]
    fn no_credential_is_no_header() {
        assert_eq!(Credential::none().authorization(), None);
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_credential() {
        for (secret, fault) in [
            ("", CredentialFault::Empty),
            ("sk\r\nx-evil: 1", CredentialFault::NotAHeader),
            ("two words", CredentialFault::NotAHeader),
            ("schlüssel", CredentialFault::NotAHeader),
            ("sk\u{7f}", CredentialFault::NotAHeader),
        ] {
            assert_eq!(bearer(secret).unwrap_err(), fault, "{secret:?}");
        }
    }

    #[actix_rt::test]
    async fn a_request_reaches_the_loader_and_its_answer_comes_back() {
        let (source, mut requests) = CredentialSource::channel();
        let backend = BackendId::from("vllm");
        let loader = async {
            let Some(CredentialRequest::Get { origin, answer, .. }) = requests.recv().await else { panic!() };
            assert_eq!(origin, "http://127.0.0.1:8000");
            answer.send(bearer("sk-1234")).unwrap();
            requests.recv().await
        };
        let handler = async {
            let credential = source.get(&backend, "http://127.0.0.1:8000").await.unwrap();
            source.rejected(&backend, "http://127.0.0.1:8000", credential).await;
        };
        let (last, ()) = tokio::join!(loader, handler);
        let Some(CredentialRequest::Rejected { credential, .. }) = last else { panic!("{last:?}") };
        assert_eq!(credential, bearer("sk-1234").unwrap());
    }

    #[actix_rt::test]
    async fn without_a_loader_the_answer_is_that_the_service_stops() {
        let backend = BackendId::from("vllm");
        let (source, requests) = CredentialSource::channel();
        drop(requests);
        assert_eq!(source.get(&backend, "http://h").await, Err(CredentialFault::Stopping));
        source.rejected(&backend, "http://h", Credential::none()).await;

        let (source, mut requests) = CredentialSource::channel();
        let (answer, ()) = tokio::join!(source.get(&backend, "http://h"), async { drop(requests.recv().await) });
        assert_eq!(answer, Err(CredentialFault::Stopping));
    }
}
