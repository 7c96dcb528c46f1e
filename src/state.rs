//! The state folder (DESIGN.md §7): where the service keeps what must outlive it, and where the commands find it.
//!
//! The folder is its owner's alone (0700, its files 0600, given when they are made, so that the umask our children
//! inherit stays the person's own). Files are written aside, synced and renamed: a reader sees the old content or the
//! new one, never half of it. One service per folder, kept by a lock that ends with the process however it dies.

mod contents;
mod ownership;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use std::{process, thread};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::ids::{BackendId, SessionName};

pub use contents::{ControlFile, GatewayRecord, GatewaysFile, ModelsFile, StoredToken};
pub use ownership::Refusal;
use ownership::{Aside, FILE_MODE, open_ours, own_folder};

const LOCK: &str = "service.lock";

/// A reader of the lock holds it for microseconds; a service that finds it held looks again before it gives up.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What cannot be done with the state folder, and why.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error("no place for the state folder: set HOME, XDG_STATE_HOME or CLAUDETTE_STATE_DIR")]
    NoHome,
    #[error("{} is refused as part of the state folder: it is {refusal}", .path.display())]
    Refused { path: PathBuf, refusal: Refusal },
    #[error("a service runs already on this state folder{}", .pid.map(|pid| format!(": process {pid}")).unwrap_or_default())]
    AlreadyRunning {
        /// Absent in the instant between the first one's lock and its name in it.
        pid: Option<u32>,
    },
    #[error("`{name}` is no name of a file in the state folder")]
    BadName { name: String },
    #[error("cannot {doing} {}: {source}", .path.display())]
    Failed { doing: &'static str, path: PathBuf, source: io::Error },
    /// Without the content, which may hold a token.
    #[error("{}:{line}:{column}: not what this version of the service writes", .path.display())]
    Malformed { path: PathBuf, line: usize, column: usize },
}

/// Whether a service runs on this folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Absent,
    /// It holds the lock and has not yet said how to reach it, or no longer does.
    Unreachable {
        pid: Option<u32>,
    },
    Running(ControlFile),
}

/// A state folder that is there and ours.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// Held by the one service on a folder. The lock ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct ServiceLock {
    _file: File,
}

impl StateFolder {
    /// Finds the folder by `$CLAUDETTE_STATE_DIR`, `$XDG_STATE_HOME/claudette` or `~/.local/state/claudette`, makes it if
    /// there is none, and closes it to others if it was open. Empty variables count as unset, and so does a relative
    /// `XDG_STATE_HOME`, as its specification wants.
    ///
    /// # Errors
    /// There is no such place, it cannot be made, or it is a symbolic link or somebody else's.
    pub fn open(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, StateFault> {
        let path = place(lookup)?;
        own_folder(&path)?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `control.json`
    pub const CONTROL: &str = "control.json";

    /// `gateways.json`
    pub const GATEWAYS: &str = "gateways.json";

    /// `models/BACKEND.json`
    pub fn models(backend: &BackendId) -> String {
        format!("models/{backend}.json")
    }

    /// `sessions/NAME`, to put a file's name behind.
    pub fn session(session: &SessionName) -> String {
        format!("sessions/{session}")
    }

    /// `logs/`, made if there is none.
    ///
    /// # Errors
    /// As for [`StateFolder::folder`].
    pub fn logs(&self) -> Result<PathBuf, StateFault> {
        self.folder("logs")
    }

    /// A folder inside, made if there is none (0700).
    ///
    /// # Errors
    /// It cannot be made, or it is a symbolic link or somebody else's.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StateFault> {
        let mut path = self.path.clone();
        for part in parts(name)? {
            path.push(part);
            own_folder(&path)?;
        }
        Ok(path)
    }

    /// Takes the folder for this process, and removes the `control.json` a dead service left.
    ///
    /// # Errors
    /// [`StateFault::AlreadyRunning`] if another service holds it.
    pub fn lock(&self) -> Result<ServiceLock, StateFault> {
        let path = self.path.join(LOCK);
        let mut file = open_ours(&path, OpenOptions::new().read(true).write(true).create(true).mode(FILE_MODE))?;
        if !try_lock_patiently(&file).map_err(failed("lock", &path))? {
            return Err(StateFault::AlreadyRunning { pid: read_pid(&mut file) });
        }
        name_holder(&mut file).map_err(failed("write", &path))?;
        self.remove(Self::CONTROL)?;
        Ok(ServiceLock { _file: file })
    }

    /// Whether a service runs here and how to reach it. A `control.json` without a held lock is stale, and so is one of
    /// another process than the one that holds it.
    ///
    /// # Errors
    /// The lock or `control.json` cannot be read.
    pub fn service(&self) -> Result<Service, StateFault> {
        let path = self.path.join(LOCK);
        let mut file = match open_ours(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(StateFault::Failed { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Service::Absent);
            }
            Err(fault) => return Err(fault),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Service::Absent),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file);
                let control = self.load::<ControlFile>(Self::CONTROL)?.filter(|control| Some(control.pid) == pid);
                Ok(control.map_or(Service::Unreachable { pid }, Service::Running))
            }
        }
    }

    /// Puts `bytes` in the place of the file `name` (0600), all of them or none, safe against a power cut.
    ///
    /// # Errors
    /// The file or its folder cannot be written; the old content is then still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateFault> {
        let (folder, file_name) = self.containing(name)?;
        let path = folder.join(&file_name);
        let aside = Aside::create(&folder, &file_name)?;
        aside.fill(bytes).map_err(failed("write", &aside.path))?;
        fs::rename(&aside.path, &path).map_err(failed("write", &path))?;
        // The rename has to reach the disk too.
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", &folder))
    }

    /// The content of the file `name`; absent if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or it is a symbolic link or somebody else's.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateFault> {
        let path = self.path.join(parts(name)?.collect::<PathBuf>());
        let mut file = match open_ours(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(StateFault::Failed { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok(Some(bytes))
    }

    /// Removes the file `name`; it is no fault if there is none.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StateFault> {
        let path = self.path.join(parts(name)?.collect::<PathBuf>());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Opens the file `name` to append to it, as transcripts are (0600).
    ///
    /// # Errors
    /// It cannot be opened or made, or it is a symbolic link or somebody else's.
    pub fn append(&self, name: &str) -> Result<File, StateFault> {
        let (folder, file_name) = self.containing(name)?;
        open_ours(&folder.join(file_name), OpenOptions::new().append(true).create(true).mode(FILE_MODE))
    }

    /// Writes `content` as JSON into the file `name`.
    ///
    /// # Errors
    /// As for [`StateFolder::write`].
    pub fn store<T: Serialize>(&self, name: &str, content: &T) -> Result<(), StateFault> {
        let bytes = serde_json::to_vec_pretty(content).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| failed("write", &self.path.join(name))(error.into()))?;
        self.write(name, &bytes)
    }

    /// Reads the JSON in the file `name`; absent if there is no such file.
    ///
    /// # Errors
    /// As for [`StateFolder::read`], or [`StateFault::Malformed`].
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateFault> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| StateFault::Malformed {
            path: self.path.join(name),
            line: error.line(),
            column: error.column(),
        })
    }

    fn containing(&self, name: &str) -> Result<(PathBuf, String), StateFault> {
        let (folder, file_name) = name.rsplit_once('/').unwrap_or(("", name));
        let _ = parts(file_name)?;
        let folder = if folder.is_empty() { self.path.clone() } else { self.folder(folder)? };
        Ok((folder, file_name.to_owned()))
    }
}

fn place(lookup: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StateFault> {
    let path = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = path("CLAUDETTE_STATE_DIR") {
        return std::path::absolute(&path).map_err(failed("find", &path));
    }
    if let Some(state) = path("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
        return Ok(state.join("claudette"));
    }
    let home = path("HOME").filter(|path| path.is_absolute()).ok_or(StateFault::NoHome)?;
    Ok(home.join(".local/state/claudette"))
}

/// The parts of a name inside the folder: at least one, none of which leads out of it.
fn parts(name: &str) -> Result<impl Iterator<Item = &Path>, StateFault> {
    let inside = |component| matches!(component, Component::Normal(_));
    if name.is_empty() || name.contains('\0') || !Path::new(name).components().all(inside) {
        return Err(StateFault::BadName { name: name.to_owned() });
    }
    Ok(Path::new(name).iter().map(Path::new))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateFault {
    let path = path.to_owned();
    move |source| StateFault::Failed { doing, path, source }
}

fn try_lock_patiently(file: &File) -> io::Result<bool> {
    for attempt in 0..LOCK_ATTEMPTS {
        if attempt > 0 {
            thread::sleep(LOCK_PAUSE);
        }
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", process::id()).as_bytes())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests;
