//! Where a config comes from: which file is meant, its text, and the few facts of the machine that loading asks for.
//!
//! Everything else in [`super`] is a pure function of a [`Source`] and [`Surroundings`]; only [`Source::read`] and
//! [`Surroundings::of_process`] touch the machine.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::ids::BackendId;

/// Names the config file when `--config` does not.
pub const CONFIG_VARIABLE: &str = "CLAUDETTE_CONFIG";

/// A config is typed by a person; a larger file is a mistake (a device, a log) that must not fill our memory.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// What loading may know about the machine.
pub struct Surroundings<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub file_exists: &'a dyn Fn(&Path) -> bool,
    pub home: Option<PathBuf>,
    /// The backends that are enabled in the running revision: a codex backend that was once enabled because its login
    /// existed stays enabled after a logout (DESIGN.md §5). Empty at start.
    pub enabled_before: &'a [BackendId],
}

impl Surroundings<'static> {
    /// This process's environment, files and home.
    pub fn of_process() -> Self {
        Self { env: &variable, file_exists: &exists, home: std::env::home_dir(), enabled_before: &[] }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn exists(path: &Path) -> bool {
    path.exists()
}

impl Surroundings<'_> {
    /// A variable's value; an empty one counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// Which config is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    File(PathBuf),
    /// No file: the embedded defaults hold until one appears at this path (`None`: no home is known).
    Defaults {
        appears_at: Option<PathBuf>,
    },
}

/// `--config`, else `$CLAUDETTE_CONFIG`, else `$XDG_CONFIG_HOME/claudette/claudette.toml` (`~/.config` when unset), else
/// the embedded defaults.
///
/// # Errors
/// A file named by the flag or the variable does not exist.
pub fn locate(flag: Option<&Path>, surroundings: &Surroundings<'_>) -> Result<Located, Fault> {
    let variable = surroundings.variable(CONFIG_VARIABLE).map(PathBuf::from);
    let (path, named_by) = match (flag, variable) {
        (Some(path), _) => (path.to_owned(), "--config"),
        (None, Some(path)) => (path, CONFIG_VARIABLE),
        (None, None) => return Ok(usual_place(surroundings)),
    };
    if (surroundings.file_exists)(&path) {
        Ok(Located::File(path))
    } else {
        Err(Fault::whole(path, format!("this file, named by {named_by}, does not exist")))
    }
}

fn usual_place(surroundings: &Surroundings<'_>) -> Located {
    // The XDG specification says that a relative path in the variable is to be ignored.
    let folder = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| surroundings.home.as_ref().map(|home| home.join(".config")));
    match folder.map(|folder| folder.join("claudette").join("claudette.toml")) {
        Some(path) if (surroundings.file_exists)(&path) => Located::File(path),
        appears_at => Located::Defaults { appears_at },
    }
}

/// A config file's text as typed.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// As the person gave it; faults name it so.
    pub path: PathBuf,
    /// The file's folder, absolute: where relative paths in the file start. Programs run elsewhere than we do.
    pub folder: PathBuf,
    pub text: String,
    /// The group or everybody may read it.
    pub world_readable: bool,
}

impl Source {
    /// Reads the file once.
    ///
    /// # Errors
    /// It cannot be read, is larger than 1 MiB, or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let unreadable = |error: std::io::Error| Fault::whole(path, format!("cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let world_readable = world_readable(&file).map_err(unreadable)?;
        let mut text = String::new();
        file.take(LARGEST_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LARGEST_FILE_BYTES {
            return Err(Fault::whole(path, "is larger than 1 MiB"));
        }
        let folder = std::path::absolute(path).map_err(unreadable)?.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path: path.to_owned(), folder, text, world_readable })
    }
}

fn world_readable(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o044 != 0)
}
