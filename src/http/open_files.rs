//! How many files and sockets the process may have open (DESIGN.md §6). Systems start programs with 256 or 1024, and
//! every running request holds two sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the hard limit is unlimited: more than loopback can ever need, and no more than Linux allows by default.
const ENOUGH: u64 = 1_048_576;

/// The most macOS grants whatever its hard limit says (`OPEN_MAX`).
const MOST_ON_MACOS: u64 = 10_240;

/// The limit on open files before and after; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    pub before: u64,
    pub now: u64,
}

/// Raises the soft limit to the hard one, or as near as the system allows. Never lowers it and never fails: a service
/// with few files is better than none, and the caller can log what came of it.
pub fn raise_limit() -> OpenFiles {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(u64::MAX);
    let raised = wanted(before, maximum)
        .find(|&limit| setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum }).is_ok());
    OpenFiles { before, now: raised.unwrap_or(before) }
}

/// What to ask for, the most first.
fn wanted(before: u64, maximum: Option<u64>) -> impl Iterator<Item = u64> {
    let most = maximum.unwrap_or(ENOUGH);
    [most, ENOUGH, MOST_ON_MACOS].into_iter().filter(move |&limit| before < limit && limit <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_asked_for_from_the_most_down_and_never_lowered() {
        for (before, maximum, expected) in [
            (1_024, Some(524_288), vec![524_288, 10_240]),
            (256, None, vec![ENOUGH, ENOUGH, 10_240]),
            (4_096, Some(4_096), vec![]),
            (u64::MAX, None, vec![]),
            (256, Some(2_097_152), vec![2_097_152, ENOUGH, 10_240]),
        ] {
            assert_eq!(wanted(before, maximum).collect::<Vec<_>>(), expected, "{before} of {maximum:?}");
        }
    }

    #[test]
    fn raising_twice_changes_nothing_more() {
        let first = raise_limit();
        assert!(first.now >= first.before);
        assert_eq!(raise_limit(), OpenFiles { before: first.now, now: first.now });
    }
}
