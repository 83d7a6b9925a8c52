//! Removal of temporary files that a killed checkout left.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, statat, unlinkat,
};

use super::super::beneath::open_beneath;
use super::super::walk::is_temporary_name;
use super::WorkTree;
use crate::path::RepoPath;

/// Younger ones are let be: their writer may not have locked them yet.
const MIN_AGE: Duration = Duration::from_mins(1);

impl WorkTree {
    /// Removes the temporary files of a directory that nobody is writing: at least a minute old and
    /// not locked; none where the file system has no locks. Returns how many. What cannot be read or
    /// removed stays, and harms nobody: it is never added.
    pub fn sweep(&self, dir: &RepoPath) -> u64 {
        self.sweep_older(dir, MIN_AGE)
    }

    /// As [`Self::sweep`], however young they are: for who knows that their writer is gone, and
    /// holds the repository's lock, so that there is no other.
    pub fn sweep_now(&self, dir: &RepoPath) -> u64 {
        self.sweep_older(dir, Duration::ZERO)
    }

    fn sweep_older(&self, dir: &RepoPath, age: Duration) -> u64 {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(handle) = open_beneath(self.root.as_fd(), dir.as_bytes(), flags) else { return 0 };
        let Ok(entries) = Dir::read_from(&handle) else { return 0 };
        let names = entries.filter_map(Result::ok);
        let left = names.filter(|entry| {
            let name = entry.file_name().to_bytes();
            is_temporary_name(name) && is_left_over(&handle, name, age)
        });
        left.filter(|entry| unlinkat(&handle, entry.file_name(), AtFlags::empty()).is_ok()).count()
            as u64
    }
}

fn is_left_over(dir: &OwnedFd, name: &[u8], min_age: Duration) -> bool {
    let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(u64::MAX));
    if now.checked_sub(changed).is_none_or(|age| age < min_age) {
        return false;
    }
    match FileType::from_raw_mode(stat.st_mode) {
        // A link is made and renamed at once: one that is a minute old was left.
        FileType::Symlink => true,
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(dir, name, flags, Mode::empty());
            let lock = |file| flock(&file, FlockOperation::NonBlockingLockExclusive);
            file.is_ok_and(|file| lock(file).is_ok())
        }
        _ => false,
    }
}
