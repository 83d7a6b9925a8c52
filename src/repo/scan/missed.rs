//! Tells a file that a walk missed from one that is gone.
//!
//! A file that takes the place of another by `rename` while its directory is read may show under
//! neither name: tmpfs, btrfs and others give it a new place in the directory. Nothing is taken for
//! deleted because of that.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, OFlags};

use super::super::beneath::{PathKind, open_beneath, stat_one};
use crate::path::{RepoPath, split_last};

/// Looks again where a walk met nothing, for paths in their order.
pub(in crate::repo) struct Missed<'r> {
    root: &'r OwnedFd,
    last: Option<Listing>,
}

/// A directory that was read once more.
struct Listing {
    dir: Vec<u8>,
    names: Names,
}

enum Names {
    /// The directory is not there by that name.
    Gone,
    /// It cannot be read.
    Unknown,
    Are(HashSet<Vec<u8>>),
}

impl<'r> Missed<'r> {
    pub(in crate::repo) fn new(root: &'r OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// Whether a file or a link lies there, or nobody can tell.
    pub(in crate::repo) fn is_there(&mut self, path: &RepoPath) -> bool {
        match stat_one(self.root, path) {
            Ok(Some((PathKind::File { .. } | PathKind::Symlink, _))) | Err(_) => {
                self.is_listed(path)
            }
            Ok(_) => false,
        }
    }

    /// Whether its directory has the very name, and those above it theirs: where case is folded, a stat
    /// finds others too. What cannot be listed may have it.
    fn is_listed(&mut self, path: &RepoPath) -> bool {
        let (parent, name) = split_last(path.as_bytes());
        if self.last.as_ref().is_none_or(|last| last.dir != parent) {
            let names = match self.names(parent) {
                _ if !self.is_named(parent) => Names::Gone,
                Ok(names) => Names::Are(names),
                Err(_) => Names::Unknown,
            };
            self.last = Some(Listing { dir: parent.to_vec(), names });
        }
        match self.last.as_ref().map(|last| &last.names) {
            Some(Names::Are(names)) => names.contains(name),
            Some(Names::Unknown) => true,
            Some(Names::Gone) | None => false,
        }
    }

    fn is_named(&self, dir: &[u8]) -> bool {
        let (parent, name) = split_last(dir);
        let is_listed = || !self.names(parent).is_ok_and(|names| !names.contains(name));
        dir.is_empty() || is_listed() && self.is_named(parent)
    }

    fn names(&self, dir: &[u8]) -> rustix::io::Result<HashSet<Vec<u8>>> {
        let handle = open_beneath(self.root.as_fd(), dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = Dir::read_from(&handle)?;
        entries.map(|entry| Ok(entry?.file_name().to_bytes().to_vec())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn what_lies_there_by_its_own_name_was_missed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        std::fs::write(temp.path().join("d/file"), "").unwrap();
        symlink("nowhere", temp.path().join("d/link")).unwrap();
        symlink("d", temp.path().join("e")).unwrap();
        let root = OwnedFd::from(std::fs::File::open(temp.path()).unwrap());
        let mut missed = Missed::new(&root);
        let mut is_there = |path: &str| missed.is_there(&RepoPath::new(path).unwrap());
        for path in ["d/file", "d/link", "e"] {
            assert!(is_there(path), "{path}");
        }
        for path in ["d", "d/other", "d/file/x", "e/file", "other/x", "other"] {
            assert!(!is_there(path), "{path}");
        }
    }
}
