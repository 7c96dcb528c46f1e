//! The system's file notifications, reduced to one bit: something has happened, look again.
//!
//! They arrive on a thread of the crate `notify`. A channel of one place holds the bit, so a storm of them costs nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

pub struct Watcher {
    /// Absent if the system has none for us; the slow look has to do then.
    system: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// The watcher, and where its bit arrives.
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        let (dirty, noticed) = mpsc::channel(1);
        let system = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| event.need_rescan() || is_change(event.kind)) {
                // Full means that the bit is set.
                let _ = dirty.try_send(());
            }
        });
        (Self { system: system.ok(), watched: BTreeSet::new() }, noticed)
    }

    /// Watches these folders and no others, and gives back those that cannot be watched. Each is watched anew: another
    /// folder may stand under the same name by now.
    pub fn watch(&mut self, folders: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let Some(system) = &mut self.system else { return folders.into_iter().collect() };
        for folder in std::mem::take(&mut self.watched) {
            // Fails for a folder that has gone, and then there is nothing to end.
            let _ = system.unwatch(&folder);
        }
        let (watched, deaf) =
            folders.into_iter().partition(|folder| system.watch(folder, RecursiveMode::NonRecursive).is_ok());
        self.watched = watched;
        let deaf: BTreeSet<PathBuf> = deaf;
        deaf.into_iter().collect()
    }
}

/// Our own reading is an access; taking it for a change would never end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(_) | EventKind::Other => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
    }
}
