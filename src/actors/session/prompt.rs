//! A session's configured prompt as it is now. That of a file is looked at again and again: its content counts, not its
//! name, and a file that is just being written is given time to be whole.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::actors::supervision::session::Prompt;
use crate::ids::Fingerprint;
use crate::settings;

/// Far more than any model reads.
const LONGEST_PROMPT_BYTES: u64 = 4 * 1024 * 1024;

/// What tells one state of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

/// Watches the file of a prompt, looked at by [`PromptFile::changed`].
pub struct PromptFile {
    path: PathBuf,
    seen: Stamp,
    taken: Stamp,
}

impl PromptFile {
    /// The state in which it was just read counts as taken.
    pub fn new(path: PathBuf) -> Self {
        let stamp = stamp(&path);
        Self { path, seen: stamp, taken: stamp }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is another one than was taken, and the same as at the last look.
    pub fn changed(&mut self) -> bool {
        let now = stamp(&self.path);
        let is_settled = now == self.seen;
        self.seen = now;
        let is_changed = is_settled && now != self.taken;
        if is_changed {
            self.taken = now;
        }
        is_changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The prompt with its digest.
///
/// # Errors
/// A sentence: its file cannot be read, is empty, too long, or no UTF-8.
pub fn read(setting: &settings::Prompt) -> Result<Prompt, String> {
    match setting {
        settings::Prompt::Text(text) => Ok(prompt(text)),
        settings::Prompt::File(path) => {
            let text = read_file(path).map_err(|reason| format!("prompt_file {}: {reason}", path.display()))?;
            Ok(prompt(text.trim_end()))
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LONGEST_PROMPT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_PROMPT_BYTES {
        return Err(format!("it has more than {LONGEST_PROMPT_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    match text.trim().is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(text),
    }
}

fn prompt(text: &str) -> Prompt {
    Prompt { text: text.into(), digest: Fingerprint(Sha256::digest(text.as_bytes()).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_content_counts_and_faults_are_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompt.md");
        let setting = settings::Prompt::File(path.clone());
        assert!(read(&setting).unwrap_err().contains("prompt.md"));
        for (content, expected) in
            [(&b"Review it.\n"[..], Ok("Review it.")), (b" \n", Err("it is empty")), (b"\xff", Err("it is not UTF-8"))]
        {
            std::fs::write(&path, content).unwrap();
            match (read(&setting), expected) {
                (Ok(prompt), Ok(text)) => assert_eq!(&*prompt.text, text),
                (Err(fault), Err(reason)) => assert!(fault.ends_with(reason), "{fault}"),
                (got, _) => panic!("{content:?}: {got:?}"),
            }
        }
        std::fs::write(&path, "Same.").unwrap();
        let by_text = read(&settings::Prompt::Text("Same.".into())).unwrap();
        assert_eq!(read(&setting).unwrap().digest, by_text.digest);
    }

    #[test]
    fn a_change_is_taken_once_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompt.md");
        std::fs::write(&path, "one").unwrap();
        let mut file = PromptFile::new(path.clone());
        assert!(!file.changed());
        std::fs::write(&path, "longer").unwrap();
        assert_eq!([file.changed(), file.changed(), file.changed()], [false, true, false]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!([file.changed(), file.changed(), file.changed()], [false, true, false]);
    }
}
