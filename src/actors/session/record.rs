//! What of a session outlives the service: `sessions/NAME/session.json`, and the names of its transcripts.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::http::control::status::LastTurn;
use crate::ids::{Fingerprint, SessionName};
use crate::settings::SessionSettings;
use crate::state::{StateFault, StateFolder};

const TRANSCRIPT_PREFIX: &str = "turn-";
const TRANSCRIPT_SUFFIX: &str = ".jsonl";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Present once the model has answered in it: before that, `claude` may not have kept it.
    pub conversation: Option<Conversation>,
    /// Digest of the configured prompt that was finished last.
    pub finished: Option<Fingerprint>,
    /// Ever started; the number of the last transcript.
    pub turns: u64,
    pub last_turn: Option<LastTurn>,
}

/// `claude` finds a conversation by its id, in one working directory and one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: String,
    pub cwd: PathBuf,
    pub config_dir: Option<PathBuf>,
}

impl Record {
    /// A record that cannot be read counts as none: the session begins anew rather than not at all.
    pub fn load(folder: &StateFolder, session: &SessionName) -> Self {
        match folder.load(&file(session)) {
            Ok(record) => record.unwrap_or_default(),
            Err(fault) => {
                warn!(event = "library.logged", session = %session, error = %fault, "a session's record is unreadable");
                Self::default()
            }
        }
    }

    pub fn store(&self, folder: &StateFolder, session: &SessionName) {
        if let Err(fault) = folder.store(&file(session), self) {
            warn!(event = "library.logged", session = %session, error = %fault, "a session's record cannot be written");
        }
    }

    /// The conversation that the next turn goes on with.
    pub fn resumable(&self, settings: &SessionSettings) -> Option<&Conversation> {
        let is_same = |conversation: &&Conversation| {
            conversation.cwd == settings.cwd && conversation.config_dir == settings.config_dir
        };
        self.conversation.as_ref().filter(is_same)
    }
}

impl Conversation {
    /// One that nobody ever used.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn new(settings: &SessionSettings) -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self { id: uuid(bytes), cwd: settings.cwd.clone(), config_dir: settings.config_dir.clone() })
    }
}

/// Version 4, which is random but for six bits.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Below the state folder.
pub fn transcript(session: &SessionName, turn: u64) -> String {
    format!("{}/{TRANSCRIPT_PREFIX}{turn:06}{TRANSCRIPT_SUFFIX}", StateFolder::session(session))
}

fn file(session: &SessionName) -> String {
    format!("{}/session.json", StateFolder::session(session))
}

/// Deletes the transcripts that nobody wrote to for `keep`, those of sessions long gone from the config too.
///
/// # Errors
/// The folder of the sessions cannot be had.
pub fn delete_old_transcripts(folder: &StateFolder, keep: Duration, now: SystemTime) -> Result<(), StateFault> {
    let sessions = folder.folder("sessions")?;
    for session in entries(&sessions).filter(|path| path.is_dir()) {
        for path in entries(&session).filter(|path| is_transcript(path)) {
            let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > keep)) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_transcript(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(TRANSCRIPT_PREFIX) && name.ends_with(TRANSCRIPT_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_one_that_claude_takes() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn only_transcripts_go_and_only_when_older_than_keep() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let folder = StateFolder::open(|name| (name == "CLAUDETTE_STATE_DIR").then(|| state.clone().into())).unwrap();
        let session = SessionName::new("reviewer");
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        for (name, age) in [(transcript(&session, 1), 9), (transcript(&session, 2), 1), (file(&session), 9)] {
            folder.append(&name).unwrap().set_modified(now - age * day).unwrap();
        }
        delete_old_transcripts(&folder, 5 * day, now).unwrap();
        let left = |name: &str| state.join(name).exists();
        assert!(!left(&transcript(&session, 1)));
        assert!(left(&transcript(&session, 2)) && left(&file(&session)));
    }
}
