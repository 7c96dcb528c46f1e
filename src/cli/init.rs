//! `claudette init`: a config to begin with, every key in it as a comment, where the service will look for it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Exit;
use crate::settings::{self, Located, Surroundings};

pub fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    let path = match settings::locate(config, &Surroundings::of_process()) {
        Ok(Located::File(path)) => path,
        Ok(Located::Defaults { appears_at }) => {
            appears_at.context("no place for the config: set HOME or use --config")?
        }
        // Named, and not there yet.
        Err(fault) => fault.file,
    };
    match write(&path) {
        Ok(()) => {
            println!("{}", path.display());
            eprintln!("claudette: every key in it is a comment; `claudette serve` runs with the defaults as they are.");
            Ok(Exit::Done)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            eprintln!("claudette: {} is there already and stays as it is.", path.display());
            Ok(Exit::Failed)
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Readable to its owner alone, because keys may come to stand in it. Never over what is there, not even a dangling link.
fn write(path: &Path) -> std::io::Result<()> {
    let path: PathBuf = std::path::absolute(path)?;
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(settings::commented_config().as_bytes())
}
