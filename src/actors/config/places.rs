//! Which folders to watch so that no change of a file goes unseen, however it is put in its place.
//!
//! A file changes by being written, by another file being renamed over it, or by a symbolic link on the way to it being
//! swapped. All of these happen in a folder that the path leads through, so those are watched, never the file itself: a
//! watch on a file goes deaf with the first rename. Where the path does not exist yet, the last folder that does is
//! watched. Pure: what stands in the file system is asked of the caller.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows; more are a circle.
const MOST_LINKS: usize = 40;

/// What stands at a path, without following it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Missing,
    Link(PathBuf),
    FileOrFolder,
}

/// The folders in which something can happen to the file at `path`, which is absolute.
pub fn folders(path: &Path, entry: impl Fn(&Path) -> Entry) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut links = 0;
    let mut folder = PathBuf::from("/");
    let mut steps: VecDeque<OsString> = steps_of(path).collect();
    while let Some(step) = steps.pop_front() {
        if step == ".." {
            folder.pop();
            continue;
        }
        let here = folder.join(&step);
        match entry(&here) {
            Entry::Missing => {
                folders.insert(folder);
                return folders;
            }
            Entry::FileOrFolder if steps.is_empty() => {
                folders.insert(folder);
                return folders;
            }
            Entry::FileOrFolder => folder = here,
            Entry::Link(target) => {
                folders.insert(folder.clone());
                links += 1;
                if links > MOST_LINKS {
                    return folders;
                }
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                steps_of(&target).rev().for_each(|step| steps.push_front(step));
            }
        }
    }
    folders
}

fn steps_of(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// What stands at a path of this machine.
pub fn entry(path: &Path) -> Entry {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => path.read_link().map_or(Entry::Missing, Entry::Link),
        Ok(_) => Entry::FileOrFolder,
        Err(_) => Entry::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path, and where it leads if it is a link.
    type Placed = (&'static str, Option<&'static str>);

    /// A file system of these paths and the folders on the way to them.
    fn watched(path: &str, paths: &[Placed]) -> Vec<String> {
        let entry = |asked: &Path| {
            let link = paths.iter().find(|(path, _)| Path::new(path) == asked).and_then(|(_, target)| *target);
            match link {
                Some(target) => Entry::Link(target.into()),
                None if paths.iter().any(|(path, _)| Path::new(path).starts_with(asked)) => Entry::FileOrFolder,
                None => Entry::Missing,
            }
        };
        folders(Path::new(path), entry).iter().map(|folder| folder.display().to_string()).collect()
    }

    #[test]
    fn every_folder_that_can_change_what_the_path_means_is_watched() {
        let file = "/home/p/.config/claudette/claudette.toml";
        let cases: [(&str, &[Placed], &[&str]); 9] = [
            ("a plain file", &[(file, None)], &["/home/p/.config/claudette"]),
            ("a missing file", &[("/home/p/.config/claudette/other", None)], &["/home/p/.config/claudette"]),
            ("a missing folder", &[("/home/p/.config/other", None)], &["/home/p/.config"]),
            ("nothing at all", &[("/home/other", None)], &["/home"]),
            (
                "a linked file",
                &[(file, Some("../../dotfiles/c.toml")), ("/home/p/dotfiles/c.toml", None)],
                &["/home/p/.config/claudette", "/home/p/dotfiles"],
            ),
            (
                "a linked folder, as stow makes them",
                &[
                    ("/home/p/.config/claudette", Some("../dotfiles/claudette")),
                    ("/home/p/dotfiles/claudette/claudette.toml", None),
                ],
                &["/home/p/.config", "/home/p/dotfiles/claudette"],
            ),
            (
                "a link of links, as nix makes them",
                &[
                    (file, Some("/nix/profile/c.toml")),
                    ("/nix/profile", Some("/nix/store/1")),
                    ("/nix/store/1/c.toml", None),
                ],
                &["/home/p/.config/claudette", "/nix", "/nix/store/1"],
            ),
            (
                "a dangling link",
                &[(file, Some("/srv/there/c.toml")), ("/srv/other", None)],
                &["/home/p/.config/claudette", "/srv"],
            ),
            ("a link to itself", &[(file, Some("claudette.toml"))], &["/home/p/.config/claudette"]),
        ];
        for (what, paths, expected) in cases {
            assert_eq!(watched(file, paths), expected, "{what}");
        }
    }

    #[test]
    fn the_swap_of_a_mounted_kubernetes_folder_is_seen() {
        let paths = [
            ("/etc/c/claudette.toml", Some("..data/claudette.toml")),
            ("/etc/c/..data", Some("..2026_11_25")),
            ("/etc/c/..2026_11_25/claudette.toml", None),
        ];
        assert_eq!(watched("/etc/c/claudette.toml", &paths), ["/etc/c", "/etc/c/..2026_11_25"]);
    }
}
