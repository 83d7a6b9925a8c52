//! What of the work tree may be replaced or removed, because its bytes are stored.
//!
//! Whoever finds out that a file or link is stored notes the stat that it had before it was read.
//! Directly before it is replaced or removed, its stat is compared with that; and where nothing was
//! noted, nothing may lie. So what somebody else changes or makes meanwhile stays, however long
//! ago a command looked. A note serves once.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, RenameFlags, Stat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::{Result, WorkTree};
use crate::path::RepoPath;
use crate::repo::Repository;
use crate::repo::beneath::file_stat;
use crate::storage::format::staging::FileStat;

/// The notes of a command; a few dozen bytes for each file.
#[derive(Debug, Default)]
pub struct Stored {
    hash: RandomState,
    notes: Mutex<HashMap<u64, Note>>,
    /// Files of several names of which one is gone: that changed their `ctime`.
    unlinked: Mutex<HashSet<(u32, u64)>>,
}

#[derive(Debug, Clone, Copy)]
struct Note {
    /// Of everything else.
    hash: u64,
    ctime_ns: i64,
}

impl Stored {
    /// Notes that what has this stat is stored.
    pub fn note(&self, path: &RepoPath, stat: &FileStat) {
        let note = Note { hash: self.hash_of(stat), ctime_ns: stat.ctime_ns };
        locked(&self.notes).insert(self.hash.hash_one(path.as_bytes()), note);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        locked(&self.notes).clear();
        locked(&self.unlinked).clear();
    }

    fn hash_of(&self, stat: &FileStat) -> u64 {
        self.hash.hash_one((stat.size, stat.mtime_ns, stat.ino, stat.dev))
    }

    fn take(&self, path: &RepoPath) -> Option<Note> {
        locked(&self.notes).remove(&self.hash.hash_one(path.as_bytes()))
    }

    /// Whether a file is as it was noted; if so, it goes now.
    fn is_as_noted(&self, note: Note, found: &Stat) -> bool {
        let stat = file_stat(found);
        let inode = (stat.dev, stat.ino);
        let is_same = note.hash == self.hash_of(&stat)
            && (note.ctime_ns == stat.ctime_ns || locked(&self.unlinked).contains(&inode));
        if is_same && found.st_nlink > 1 {
            locked(&self.unlinked).insert(inode);
        }
        is_same
    }

    /// Whether something was noted of a path.
    pub(super) fn knows(&self, path: &RepoPath) -> bool {
        locked(&self.notes).contains_key(&self.hash.hash_one(path.as_bytes()))
    }

    /// Gives an entry the name of `path`, if nothing or what was noted lies there; whether it is as
    /// it was noted.
    pub(super) fn rename(
        &self,
        (old_dir, old_name): (BorrowedFd<'_>, &[u8]),
        (dir, name): (BorrowedFd<'_>, &[u8]),
        path: &RepoPath,
    ) -> rustix::io::Result<bool> {
        let Some(note) = self.take(path) else {
            return rename_new(old_dir, old_name, dir, name).map(|()| true);
        };
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => rename_new(old_dir, old_name, dir, name).map(|()| true),
            Err(errno) => Err(errno),
            Ok(found) if self.is_as_noted(note, &found) => {
                renameat(old_dir, old_name, dir, name).map(|()| true)
            }
            Ok(_) => Ok(false),
        }
    }

    /// Removes a file or link, if it is as it was noted; whether it was.
    pub(super) fn unlink(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &RepoPath,
    ) -> rustix::io::Result<bool> {
        let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        if !self.take(path).is_some_and(|note| self.is_as_noted(note, &found)) {
            return Ok(false);
        }
        unlinkat(dir, name, AtFlags::empty()).map(|()| true)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives an entry a name that is not in use.
pub(super) fn rename_new(
    old_dir: BorrowedFd<'_>,
    old_name: &[u8],
    new_dir: BorrowedFd<'_>,
    new_name: &[u8],
) -> rustix::io::Result<()> {
    match renameat_with(old_dir, old_name, new_dir, new_name, RenameFlags::NOREPLACE) {
        // A file system or a kernel that cannot promise it, or a sandbox that does not know it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => {
            match statat(new_dir, new_name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(old_dir, old_name, new_dir, new_name),
                Ok(_) => Err(Errno::EXIST),
                Err(errno) => Err(errno),
            }
        }
        answer => answer,
    }
}

impl WorkTree {
    /// Lets nothing be replaced or removed but what is noted.
    pub(super) fn only_stored(self, stored: &Arc<Stored>) -> Self {
        Self { stored: Some(Arc::clone(stored)), ..self }
    }
}

impl Repository {
    /// The work tree of the repository, of which only what is stored is replaced or removed.
    pub(in crate::repo) fn guarded(&self) -> Result<WorkTree> {
        Ok(WorkTree::open(&self.place().work_tree)?.only_stored(&self.stored))
    }

    /// The same, stamped.
    pub(in crate::repo) fn guarded_stamped(&self) -> Result<WorkTree> {
        Ok(WorkTree::open_stamped(&self.place().work_tree)?.only_stored(&self.stored))
    }

    /// Notes that a file or link of the work tree that has this stat is stored.
    pub(in crate::repo) fn note_stored(&self, path: &RepoPath, stat: &FileStat) {
        self.stored.note(path, stat);
    }
}
