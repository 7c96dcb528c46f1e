//! A config file: any text is settings or faults, each with its place, and settings have fingerprints.
#![no_main]

use std::path::PathBuf;

use claudette::ids::Slot;
use claudette::settings::{Source, Surroundings, fingerprint, load, session_fingerprint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = Source {
        path: PathBuf::from("/home/someone/claudette.toml"),
        folder: PathBuf::from("/home/someone"),
        text: text.to_owned(),
        world_readable: false,
    };
    let surroundings = Surroundings {
        env: &|_| None,
        file_exists: &|_| true,
        home: Some(PathBuf::from("/home/someone")),
        enabled_before: &[],
    };
    match load(Some(&source), &surroundings) {
        Ok(loaded) => {
            for backend in &loaded.settings.backends {
                let slot = Slot { backend: backend.id.clone(), model: None };
                let _ = fingerprint(&loaded.settings, &slot, None, None);
            }
            for session in &loaded.settings.sessions {
                let _ = session_fingerprint(session, "");
            }
        }
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.to_string().is_empty())),
    }
});
