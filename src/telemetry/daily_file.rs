//! A log file that begins anew each UTC day. The file of today has the configured name, so that `tail -F` and scripts
//! find it; earlier days carry their date at the end of the name and go once they are too old.
//!
//! Several processes may log to one file: whoever first notices the new day renames it, with a step that cannot take a
//! second one's fresh file away. Trouble with the old file never stops the log.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::calendar::Day;

pub(super) struct DailyFile {
    path: PathBuf,
    keep: Duration,
    day: Day,
    file: File,
}

impl DailyFile {
    /// Opens the file for today, with its folder (0700) if there is none; the file is its owner's alone (0600).
    pub(super) fn open(path: PathBuf, keep: Duration) -> io::Result<Self> {
        Self::open_at(path, keep, SystemTime::now())
    }

    fn open_at(path: PathBuf, keep: Duration, now: SystemTime) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let day = Day::of(now);
        let file = turn_page(&path, day)?;
        delete_older(&path, keep, now);
        Ok(Self { path, keep, day, file })
    }

    fn write_at(&mut self, line: &[u8], now: SystemTime) -> io::Result<usize> {
        let today = Day::of(now);
        if today > self.day {
            // Once a day whatever comes of it: without a new file the old one serves for another day.
            self.day = today;
            if let Ok(file) = turn_page(&self.path, today) {
                self.file = file;
            }
            delete_older(&self.path, self.keep, now);
        }
        self.file.write(line)
    }
}

impl Write for DailyFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_at(line, SystemTime::now())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Puts a file of an earlier day aside and opens the one of `today`.
fn turn_page(path: &Path, today: Day) -> io::Result<File> {
    if let Ok(metadata) = fs::symlink_metadata(path)
        && metadata.is_file()
        && let Ok(modified) = metadata.modified()
        && Day::of(modified) < today
    {
        set_aside(path, &dated(path, Day::of(modified)));
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Renames unless the new name is taken. A link fails where a rename would overwrite; file systems without links get
/// the rename.
fn set_aside(path: &Path, dated: &Path) {
    let _ = match fs::hard_link(path, dated) {
        Ok(()) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::rename(path, dated),
    };
}

fn dated(path: &Path, day: Day) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{day}"));
    PathBuf::from(name)
}

fn delete_older(path: &Path, keep: Duration, now: SystemTime) {
    let (Some(name), Some(folder)) = (path.file_name().and_then(|name| name.to_str()), path.parent()) else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let day = file_name.to_str().and_then(|other| other.strip_prefix(name)?.strip_prefix('.')).and_then(Day::parse);
        if day.is_some_and(|day| now.duration_since(day.end()).is_ok_and(|age| age > keep)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::DAY;
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_day_begins_a_new_file_and_keeps_the_old_one_under_its_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/service.log");
        let today = SystemTime::now();
        let mut log = DailyFile::open_at(path.clone(), 30 * DAY, today).unwrap();
        log.write_at(b"today\n", today).unwrap();
        log.write_at(b"tomorrow\n", today + DAY).unwrap();
        let dated = dated(&path, Day::of(fs::metadata(&path).unwrap().modified().unwrap()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "tomorrow\n");
        assert_eq!(fs::read_to_string(dated).unwrap(), "today\n");
    }

    #[test]
    fn a_second_process_never_overwrites_the_day_put_aside_by_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        fs::write(&path, "fresh").unwrap();
        let aside = folder.path().join("service.log.2026-01-01");
        fs::write(&aside, "yesterday").unwrap();
        set_aside(&path, &aside);
        assert_eq!(fs::read_to_string(aside).unwrap(), "yesterday");
        assert_eq!(fs::read_to_string(path).unwrap(), "fresh");
    }

    #[test]
    fn only_dated_files_of_this_log_go_and_only_when_older_than_keep() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["a.log.2026-01-01", "a.log.2026-01-08", "a.log.2026-01-09", "b.log.2026-01-01", "a.log.old", "a.log"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let noon = Day::parse("2026-01-10").unwrap().start() + DAY / 2;
        delete_older(&folder.path().join("a.log"), DAY, noon);
        assert_eq!(names(folder.path()), ["a.log", "a.log.2026-01-09", "a.log.old", "b.log.2026-01-01"]);
    }
}
