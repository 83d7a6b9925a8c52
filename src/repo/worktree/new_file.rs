//! A file of the work tree between its creation and its name.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, renameat, unlinkat};

use super::{FileSink, Result, Stored, WorkTreeError};
use crate::path::RepoPath;
use crate::repo::beneath::file_stat;
use crate::storage::format::staging::FileStat;

/// Gives a whole file its stamp, where there is one, and its name. Renaming changes ctime, so the
/// stat is taken afterwards, and from the open file, so that it is of no other file.
pub(super) fn publish_file(
    file: &File,
    temporary: Temporary,
    (path, stored): (&RepoPath, Option<&Stored>),
    (stamp, want_stat): (Option<i64>, bool),
) -> Result<Option<FileStat>> {
    if let Some(stamp) = stamp {
        // A file without its stamp is compared by content until it is added.
        let _ = futimens(file, &times(stamp));
    }
    temporary.publish(path, stored)?;
    if !want_stat {
        return Ok(None);
    }
    let stat = fstat(file).map_err(|errno| WorkTreeError::io("read the status of", path, errno))?;
    Ok(Some(file_stat(&stat)))
}

/// The times of a file that was modified at `stamp`, in nanoseconds since 1970.
fn times(stamp: i64) -> Timestamps {
    let (tv_sec, tv_nsec) = (stamp.div_euclid(1_000_000_000), stamp.rem_euclid(1_000_000_000));
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access, last_modification: Timespec { tv_sec, tv_nsec } }
}

/// A file of the work tree under construction; it vanishes unless it is published.
#[derive(Debug)]
pub struct NewFile {
    pub(super) sink: FileSink,
    pub(super) temporary: Temporary,
    pub(super) path: RepoPath,
    pub(super) stamp: Option<i64>,
    pub(super) stored: Option<Arc<Stored>>,
}

impl NewFile {
    /// Where its bytes go; threads may write different parts at once.
    pub fn sink(&self) -> &FileSink {
        &self.sink
    }

    /// Its path.
    pub fn path(&self) -> &RepoPath {
        &self.path
    }

    /// Gives it its name. With `want_stat`, answers what it is then.
    pub fn publish(self, want_stat: bool) -> Result<Option<FileStat>> {
        let file = self.sink.finish()?;
        let place = (&self.path, self.stored.as_deref());
        publish_file(&file, self.temporary, place, (self.stamp, want_stat))
    }
}

/// An entry under its temporary name, or in a fresh directory under its own; removed unless it is
/// published.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) dir: Arc<OwnedFd>,
    /// Empty once published.
    pub(super) name: Vec<u8>,
}

impl Temporary {
    /// Gives the entry the name of `path`, replacing anything, or only what is stored; answers the
    /// directory.
    pub(super) fn publish(
        mut self,
        path: &RepoPath,
        stored: Option<&Stored>,
    ) -> Result<Arc<OwnedFd>> {
        if self.name != path.name() {
            let (old, new) = (&*self.name, path.name());
            let dir = self.dir.as_fd();
            let renamed = match stored {
                Some(stored) => stored.rename((dir, old), (dir, new), path),
                None => renameat(dir, old, dir, new).map(|()| true),
            };
            match renamed {
                Ok(true) => {}
                Ok(false) => return Err(WorkTreeError::Changed { path: path.clone() }),
                Err(errno) => return Err(WorkTreeError::at("rename a file to", path, errno)),
            }
        }
        self.name.clear();
        Ok(Arc::clone(&self.dir))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Nothing is left to try when this fails; the walk reports what stays behind.
            let _ = unlinkat(&*self.dir, &*self.name, AtFlags::empty());
        }
    }
}
