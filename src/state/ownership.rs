//! Files and folders that are ours alone: how they are made, and what is refused in their place.
//!
//! Modes are given at the making and checks are made on the opened file, never on a path that somebody could point
//! elsewhere in between.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, process};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::{StateFault, failed};

pub(super) const FOLDER_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

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

/// Makes a folder of ours, or makes sure that what is there is one. Checked and closed through one handle, so that
/// nothing can be put in its place between the two.
pub(super) fn own_folder(path: &Path) -> Result<(), StateFault> {
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
pub(super) fn open_ours(path: &Path, options: &mut OpenOptions) -> Result<File, StateFault> {
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

/// A file being written beside the one it will replace. Goes away when dropped, unless it was renamed.
pub(super) struct Aside {
    pub(super) path: PathBuf,
    file: File,
}

impl Aside {
    pub(super) fn create(folder: &Path, file_name: &str) -> Result<Self, StateFault> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{file_name}.{}.{count}.new", process::id()));
        // Left by a dead process that had our number.
        let _ = fs::remove_file(&path);
        let file = open_with(&path, OpenOptions::new().write(true).create_new(true).mode(FILE_MODE), OFlags::NOFOLLOW)?;
        Ok(Self { path, file })
    }

    pub(super) fn fill(&self, bytes: &[u8]) -> io::Result<()> {
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
