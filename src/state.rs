//! The state folder (DESIGN.md §7): where the service keeps what must outlive it, and where the commands find it.
//!
//! The folder is its owner's alone (0700, its files 0600, given when they are made, so that the umask our children
//! inherit stays the person's own). Files are written aside, synced and renamed: a reader sees the old content or the
//! new one, never half of it. One service per folder, kept by a lock that ends with the process however it dies.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, process, thread};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ids::{BackendId, SessionName, Slot};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
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

/// Why a file or folder is not taken for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Symlink,
    NotAFolder,
    NotAFile,
    ForeignOwner { uid: u32 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => f.write_str("a symbolic link"),
            Self::NotAFolder => f.write_str("not a folder"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::ForeignOwner { uid } => write!(f, "owned by user {uid}"),
        }
    }
}

/// A token as a state file holds it: prints `***`, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct StoredToken(String);

impl StoredToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `control.json`: how the commands reach the running service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    pub pid: u32,
    pub address: SocketAddr,
    pub token: StoredToken,
}

/// `gateways.json`: what the next service needs to be where the last one was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaysFile {
    pub gateways: Vec<GatewayRecord>,
}

/// The current generation of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    pub slot: Slot,
    pub port: u16,
    pub token: StoredToken,
    /// Hex digits; another one means other settings, and then neither port nor token is taken up.
    pub fingerprint: String,
}

/// `models/BACKEND.json`: a backend's discovered models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelsFile<Entry> {
    /// Seconds since 1970-01-01 UTC.
    pub fetched_at: u64,
    pub models: Vec<Entry>,
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

/// Makes a folder of ours, or makes sure that what is there is one. Checked and closed through one handle, so that
/// nothing can be put in its place between the two.
fn own_folder(path: &Path) -> Result<(), StateFault> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).or_else(|error| {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(()),
            Err(_) => Err(failed("make", path)(error)),
        }
    })?;
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let folder = open_with(path, OpenOptions::new().read(true), flags)?;
    let metadata = folder.metadata().map_err(failed("inspect", path))?;
    check_owner(path, &metadata)?;
    match metadata.mode() & 0o777 {
        FOLDER_MODE => Ok(()),
        _ => folder.set_permissions(Permissions::from_mode(FOLDER_MODE)).map_err(failed("close to others", path)),
    }
}

/// Opens a file that is ours and not reached by a symbolic link.
fn open_ours(path: &Path, options: &mut OpenOptions) -> Result<File, StateFault> {
    // A pipe put there would make the opening wait for its other end.
    let file = open_with(path, options, OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    check_owner(path, &metadata)?;
    match metadata.is_file() {
        true => Ok(file),
        false => Err(StateFault::Refused { path: path.to_owned(), refusal: Refusal::NotAFile }),
    }
}

fn open_with(path: &Path, options: &mut OpenOptions, flags: OFlags) -> Result<File, StateFault> {
    let flags = flags.bits().cast_signed();
    options.custom_flags(flags).open(path).map_err(|error| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => refused(path, Refusal::Symlink),
        Ok(metadata) if error.kind() == io::ErrorKind::NotADirectory && !metadata.is_dir() => {
            refused(path, Refusal::NotAFolder)
        }
        _ => failed("open", path)(error),
    })
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), StateFault> {
    match metadata.uid() {
        uid if uid == geteuid().as_raw() => Ok(()),
        uid => Err(refused(path, Refusal::ForeignOwner { uid })),
    }
}

fn refused(path: &Path, refusal: Refusal) -> StateFault {
    StateFault::Refused { path: path.to_owned(), refusal }
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

/// A file being written beside the one it will replace. Goes away when dropped, unless it was renamed.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn create(folder: &Path, file_name: &str) -> Result<Self, StateFault> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{file_name}.{}.{count}.new", process::id()));
        // Left by a dead process that had our number.
        let _ = fs::remove_file(&path);
        let file = open_with(&path, OpenOptions::new().write(true).create_new(true).mode(FILE_MODE), OFlags::NOFOLLOW)?;
        Ok(Self { path, file })
    }

    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)?;
        // A strict umask would keep even us from reading it again.
        self.file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        self.file.sync_all()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
