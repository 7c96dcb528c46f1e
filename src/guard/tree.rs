//! Everything below the guard in the process tree, and its end.

use std::time::{Duration, Instant};

use rustix::io;
use rustix::process::{Pid, WaitOptions, wait};

/// A killed process is gone within milliseconds, unless the kernel holds it in a call that cannot be interrupted: nobody
/// can end that one, and the service waits for us.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Kills `claude` and every descendant, again and again, until none is left: each may have started others meanwhile.
pub fn end_all(claude: Pid) {
    let deadline = Instant::now() + PATIENCE;
    while kill_round(claude) && Instant::now() < deadline {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        std::thread::sleep(PAUSE);
    }
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

#[cfg(target_os = "linux")]
pub fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

#[cfg(not(target_os = "linux"))]
pub fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// Whether there was anybody to kill.
#[cfg(target_os = "linux")]
fn kill_round(_: Pid) -> bool {
    let found = linux::descendants(rustix::process::getpid());
    for pid in &found {
        // It may be gone already, or be a zombie that its parent has yet to reap.
        let _ = rustix::process::kill_process(*pid, rustix::process::Signal::KILL);
    }
    !found.is_empty()
}

/// A group's number is not given to another while it has a member; an empty one is an error here.
#[cfg(not(target_os = "linux"))]
fn kill_round(claude: Pid) -> bool {
    rustix::process::kill_process_group(claude, rustix::process::Signal::KILL).is_ok()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;

    use rustix::process::Pid;

    /// Children, their children, and so on, as `/proc` shows them now.
    pub fn descendants(ancestor: Pid) -> Vec<Pid> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for pid in processes() {
            if let Some(parent) = fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| parent_in(&stat)) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = Vec::new();
        let mut waiting = vec![ancestor.as_raw_nonzero().get()];
        while let Some(parent) = waiting.pop() {
            let below = children.remove(&parent).unwrap_or_default();
            waiting.extend(&below);
            found.extend(below.into_iter().filter_map(Pid::from_raw));
        }
        found
    }

    fn processes() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// The fourth field. The second one, the program's name in brackets, may hold anything, brackets included.
    pub fn parent_in(stat: &[u8]) -> Option<i32> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        fields.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{descendants, parent_in};

    #[test]
    fn the_parent_is_read_behind_any_program_name() {
        for (stat, parent) in [
            (&b"7 (sh) S 3 7 7 0 -1"[..], Some(3)),
            (b"7 (a) S 9 (b) R 4 7", Some(4)),
            (b"7 (\xff\xfe) Z 1 0", Some(1)),
            (b"7 (sh) S", None),
            (b"", None),
        ] {
            assert_eq!(parent_in(stat), parent, "{stat:?}");
        }
    }

    #[test]
    fn a_grandchild_in_a_session_of_its_own_is_a_descendant() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let mut shell = Command::new("sh")
            .args(["-c", "setsid sh -c 'echo $$; exec sleep 60' & wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sleeper = rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        assert!(descendants(rustix::process::getpid()).contains(&sleeper));
        let _ = rustix::process::kill_process(sleeper, rustix::process::Signal::KILL);
        shell.wait().unwrap();
    }
}
