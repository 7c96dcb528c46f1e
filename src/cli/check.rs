//! `claudette check`: every fault of the config, one a line.

use std::path::Path;

use super::Exit;
use crate::settings::{self, Surroundings};

pub fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    match settings::read(config, &Surroundings::of_process()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(Exit::Done)
        }
        Err(faults) => {
            for fault in faults {
                println!("{fault}");
            }
            Ok(Exit::Usage)
        }
    }
}
