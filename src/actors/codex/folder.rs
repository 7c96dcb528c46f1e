//! The folder of the `codex` CLI, read and never written but for a lock of our own.
//!
//! The CLI replaces `auth.json` by a rename, older ones wrote it in place: a file that does not parse is read once more.
//! The lock keeps several of our processes from making the CLI refresh at once, which can burn a login for good
//! (CODEX.md §0.7).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::providers::codex::login::{CodexLogin, CredentialStore, LoginFault};
use crate::providers::digest::sha256_hex;

/// Bytes. A login is a few kilobytes.
const MOST_BYTES: u64 = 1024 * 1024;
/// How long a write in place may take.
const TORN_PAUSE: Duration = Duration::from_millis(50);
const LOCK: &str = ".claudette-refresh.lock";
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Of waiting for another process's refresh: longer than one may take.
const LOCK_LIMIT: Duration = Duration::from_secs(40);

#[derive(Clone, Debug)]
pub struct LoginFolder {
    path: PathBuf,
}

/// A login as it was read, with the name of the content that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub login: CodexLogin,
    pub content: String,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `auth.json`
    File,
    /// The CLI itself, out of a keyring.
    Cli,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderFault {
    #[error("there is no auth.json in {}", .folder.display())]
    Missing { folder: PathBuf },
    #[error("auth.json in {} cannot be read: {reason}", .folder.display())]
    Unreadable { folder: PathBuf, reason: String },
    #[error("{0}")]
    NoLogin(#[from] LoginFault),
}

impl LoginFolder {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads `auth.json` afresh; torn, once more after 50 ms.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it holds no usable login.
    pub async fn read(&self) -> Result<Seen, FolderFault> {
        match self.read_once().await {
            Err(FolderFault::NoLogin(LoginFault::Torn)) => {
                tokio::time::sleep(TORN_PAUSE).await;
                self.read_once().await
            }
            read => read,
        }
    }

    async fn read_once(&self) -> Result<Seen, FolderFault> {
        let bytes = self.bytes("auth.json").await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FolderFault::Missing { folder: self.path.clone() },
            _ => FolderFault::Unreadable { folder: self.path.clone(), reason: error.to_string() },
        })?;
        let login = CodexLogin::parse(&bytes)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(Seen { login, content: sha256_hex(&[text]), source: Source::File })
    }

    /// Where the CLI keeps its login.
    pub async fn store(&self) -> CredentialStore {
        match self.bytes("config.toml").await {
            Ok(bytes) => CredentialStore::of_config(&String::from_utf8_lossy(&bytes)),
            Err(_) => CredentialStore::File,
        }
    }

    /// The model list that the CLI fetched last.
    pub async fn cached_models(&self) -> Option<Vec<u8>> {
        self.bytes("models_cache.json").await.ok().map(|bytes| bytes.to_vec())
    }

    async fn bytes(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = self.path.join(name);
        // A pipe without a writer would hold a thread for good.
        let metadata = tokio::fs::metadata(&path).await?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        // Large enough never to move: a moved buffer leaves a copy behind.
        let room = usize::try_from(metadata.len().min(MOST_BYTES)).unwrap_or_default() + 64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        tokio::fs::File::open(&path).await?.take(MOST_BYTES).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    /// Waits until no other process of ours has the login refreshed. Where no lock can be had (a folder that cannot be
    /// written), there is none to wait for.
    pub async fn lock(&self) -> Option<RefreshLock> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(self.path.join(LOCK)).ok()?;
        let waiting = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Some(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                    Err(TryLockError::Error(_)) => return None,
                }
            }
        };
        tokio::time::timeout(LOCK_LIMIT, waiting).await.ok().flatten()?;
        Some(RefreshLock { _file: file })
    }
}

/// Ends when it is dropped, or with the process.
#[derive(Debug)]
pub struct RefreshLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_LOGIN: &str = r#"{"OPENAI_API_KEY": "sk-1"}"#;

    fn folder() -> (tempfile::TempDir, LoginFolder) {
        let root = tempfile::tempdir().unwrap();
        let folder = LoginFolder::new(root.path());
        (root, folder)
    }

    #[actix_rt::test]
    async fn each_read_is_afresh() {
        let (root, folder) = folder();
        let path = root.path().join("auth.json");
        assert_eq!(folder.read().await, Err(FolderFault::Missing { folder: root.path().to_owned() }));
        std::fs::write(&path, KEY_LOGIN).unwrap();
        let first = folder.read().await.unwrap();
        std::fs::write(&path, KEY_LOGIN.replace("sk-1", "sk-2")).unwrap();
        let second = folder.read().await.unwrap();
        assert_eq!((first.login.token.as_str(), second.login.token.as_str()), ("sk-1", "sk-2"));
        assert_ne!(first.content, second.content);
    }

    #[actix_rt::test]
    async fn a_torn_file_is_read_once_more() {
        let (root, folder) = folder();
        let path = root.path().join("auth.json");
        std::fs::write(&path, &KEY_LOGIN[..10]).unwrap();
        let (seen, ()) = tokio::join!(folder.read(), async {
            tokio::time::sleep(TORN_PAUSE / 5).await;
            std::fs::write(&path, KEY_LOGIN).unwrap();
        });
        assert!(seen.is_ok());
        std::fs::write(&path, &KEY_LOGIN[..10]).unwrap();
        assert_eq!(folder.read().await, Err(FolderFault::NoLogin(LoginFault::Torn)));
    }

    #[actix_rt::test]
    async fn a_folder_where_the_file_should_be_is_no_login() {
        let (root, folder) = folder();
        std::fs::create_dir(root.path().join("auth.json")).unwrap();
        assert!(matches!(folder.read().await, Err(FolderFault::Unreadable { .. })));
    }

    #[actix_rt::test]
    async fn the_store_is_read_from_the_clis_config() {
        let (root, folder) = folder();
        assert_eq!(folder.store().await, CredentialStore::File);
        std::fs::write(root.path().join("config.toml"), "cli_auth_credentials_store = 'keyring'").unwrap();
        assert_eq!(folder.store().await, CredentialStore::Keyring);
    }

    #[actix_rt::test]
    async fn the_lock_is_held_by_one() {
        let (_root, folder) = folder();
        let first = folder.lock().await.expect("a lock");
        let second = folder.lock();
        let mut second = std::pin::pin!(second);
        let first_look = std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context))).await;
        assert!(first_look.is_pending());
        drop(first);
        assert!(second.await.is_some());
    }
}
