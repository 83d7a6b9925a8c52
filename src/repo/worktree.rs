//! The only writer of the work tree.
//!
//! Everything goes through directory handles that were opened without following a symlink, and a
//! file appears under its name only when it is whole: it is written under a temporary name in the
//! same directory (`O_EXCL|O_NOFOLLOW`) and renamed. A killed checkout leaves each file old, new
//! or absent, and a hard link to the outside is replaced, never written through.
//!
//! Only below a directory that held nothing ([`WorkTree::create`]) files are made under their own
//! names, `O_EXCL` too: there is nothing to replace, and a rename for each file would cost a third
//! of the time. A killed checkout leaves such a directory incomplete, with one cut-off file for each
//! thread.
//!
//! Files that are staged too are stamped ([`WorkTree::open_stamped`]): they get the time at which the
//! command began, so that whatever is written to them later has another. An equal stat then proves
//! an equal file at once, while one that has just been written by anybody else is proved by its
//! content only, until the clock has ticked.
//!
//! In the work tree of a repository, only what is stored is replaced or removed ([`Stored`]); a file that
//! somebody else changed or made meanwhile stays.
//!
//! A temporary file is locked as long as it is written. One that is a minute old and that nobody
//! locks was left by a killed process, and [`WorkTree::sweep`] removes it.

mod handles;
mod leftovers;
mod new_file;
mod rename;
mod sink;
mod stored;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use thiserror::Error;

use self::handles::Handles;
pub use self::new_file::NewFile;
use self::new_file::{Temporary, publish_file};
pub use self::sink::FileSink;
pub use self::stored::Stored;
use super::beneath::{DIR_HANDLE, PathKind, file_stat, is_absent, open_beneath};
use super::walk::temporary_name;
use crate::path::{RepoPath, split_last};
use crate::storage::format::staging::FileStat;

/// A failed operation on the work tree.
#[derive(Debug, Error)]
pub enum WorkTreeError {
    /// The operating system refused.
    #[error("cannot {op} '{path}'")]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On which path below the work tree.
        path: RepoPath,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Something of another type is in the way, and is left alone: a file or symlink where a
    /// directory should be, a directory where a file should be.
    #[error("'{path}' is in the way")]
    Obstructed {
        /// What is in the way.
        path: RepoPath,
    },
    /// Somebody changed it since it was looked at, and it is left alone.
    #[error("'{path}' was changed meanwhile")]
    Changed {
        /// What was changed.
        path: RepoPath,
    },
    /// The directory of the work tree itself cannot be opened or made.
    #[error("cannot {op} '{}'", path.display())]
    Root {
        /// What was tried, as a verb.
        op: &'static str,
        /// The directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Result of an operation on the work tree.
pub type Result<T> = std::result::Result<T, WorkTreeError>;

impl WorkTreeError {
    pub(super) fn io(op: &'static str, path: &RepoPath, source: impl Into<io::Error>) -> Self {
        Self::Io { op, path: path.clone(), source: source.into() }
    }

    /// For an operation that puts something at `path` or takes it away.
    fn at(op: &'static str, path: &RepoPath, errno: Errno) -> Self {
        match errno {
            Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => {
                Self::Obstructed { path: path.clone() }
            }
            errno => Self::io(op, path, errno),
        }
    }

    /// Whether something of the work tree is in the way, and was left alone; all else goes on.
    pub(super) fn is_of_one_path(&self) -> bool {
        matches!(self, Self::Obstructed { .. } | Self::Changed { .. })
    }
}

/// Times an operation is tried on a fresh handle when its directory was removed meanwhile.
const ATTEMPTS: usize = 4;

/// The directory into which files are checked out. Threads share it.
#[derive(Debug)]
pub struct WorkTree {
    root: Arc<OwnedFd>,
    path: PathBuf,
    /// It held nothing when it was opened, so whatever lies in it is ours.
    is_fresh: bool,
    handles: Handles,
    /// Beginning of the temporary names of this process; unguessable, and `O_EXCL` besides.
    seed: u64,
    next: AtomicU64,
    /// The modification time that files get, in nanoseconds since 1970.
    stamp: Option<i64>,
    /// What alone may be replaced or removed; anything without it.
    stored: Option<Arc<Stored>>,
}

impl WorkTree {
    /// Opens an existing directory.
    pub fn open(root: &Path) -> Result<Self> {
        let fail = |source| WorkTreeError::Root { op: "open", path: root.to_owned(), source };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(CWD, root, flags, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| fail(io::Error::other(error)))?;
        Ok(Self {
            root: Arc::new(handle),
            path: root.to_owned(),
            is_fresh: false,
            handles: Handles::default(),
            seed: u64::from_le_bytes(seed),
            next: AtomicU64::new(0),
            stamp: None,
            stored: None,
        })
    }

    /// As [`Self::open`], for files whose stat data will be staged.
    ///
    /// The kernel stamps a write with the coarse clock, or a finer one that is never behind it. The
    /// stamp lies before what that clock shows now: a write by anybody, once a file has its name,
    /// leaves a later time. It does not lie before the tick that went before, so that files made
    /// before the command, say by a compiler, are not taken for newer. Some random nanoseconds tell
    /// the commands of one tick apart.
    pub fn open_stamped(root: &Path) -> Result<Self> {
        let tree = Self::open(root)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let now = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec);
        let apart = i64::from(tree.seed as u16) + 1;
        Ok(Self { stamp: now.checked_sub(apart), ..tree })
    }

    /// Whether a stat is that of a file as it was written here, and nobody wrote to it since. Not
    /// for certain on a file system that keeps whole seconds.
    pub fn is_as_written(&self, stat: &FileStat) -> bool {
        self.stamp == Some(stat.mtime_ns) && stat.mtime_ns % 1_000_000_000 != 0
    }

    /// Opens a directory that is made, with its missing parents, where there is none. If there is
    /// nothing in it, files are written under their own names at once.
    pub fn create(target: &Path) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).create(target).map_err(|source| {
            WorkTreeError::Root { op: "create the directory", path: target.to_owned(), source }
        })?;
        let mut tree = Self::open(target)?;
        tree.is_fresh = std::fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
        Ok(tree)
    }

    /// Whether it held nothing when it was opened.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The handle of the directory, as the walk takes it.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory and its missing parents. Where the parent was used a moment ago, this
    /// takes two or three system calls, however deep it lies.
    pub fn ensure_dir(&self, dir: &RepoPath) -> Result<()> {
        let (parent, name) = split_last(dir.as_bytes());
        let above = self.handles.get(parent);
        let above = above.as_ref().or(parent.is_empty().then_some(&self.root));
        let made = match above.filter(|_| !name.is_empty()) {
            Some(above) => open_or_make(above.as_fd(), name, self.is_fresh, &|| dir.clone()),
            None => self.open_dir(dir, true),
        };
        let made = match made {
            // A remembered handle may be that of a directory that was removed.
            Err(WorkTreeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.handles.forget(parent);
                self.open_dir(dir, true)
            }
            made => made,
        };
        self.handles.put(dir.as_bytes(), made?);
        Ok(())
    }

    /// Opens a directory; `make` says whether missing ones are made.
    fn open_dir(&self, dir: &RepoPath, make: bool) -> Result<OwnedFd> {
        match open_beneath(self.root.as_fd(), dir.as_bytes(), DIR_HANDLE) {
            Err(errno) if make && is_absent(errno) => self.make_dirs(dir),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(WorkTreeError::Obstructed { path: self.obstacle(dir) })
            }
            Err(errno) => Err(WorkTreeError::io("open the directory", dir, errno)),
            Ok(handle) => Ok(handle),
        }
    }

    /// The first component of `dir` that is no directory.
    fn obstacle(&self, dir: &RepoPath) -> RepoPath {
        let mut at = Vec::new();
        for component in dir.components() {
            at.extend_from_slice(component);
            if open_beneath(self.root.as_fd(), &at, DIR_HANDLE).is_err() {
                return RepoPath::new_unchecked(at);
            }
            at.push(b'/');
        }
        dir.clone()
    }

    /// Makes what is missing, from the root down.
    fn make_dirs(&self, dir: &RepoPath) -> Result<OwnedFd> {
        let mut handle = open_beneath(self.root.as_fd(), b"", DIR_HANDLE)
            .map_err(|errno| WorkTreeError::io("open the directory", dir, errno))?;
        let mut end = 0;
        for component in dir.components() {
            end += component.len();
            let here = || RepoPath::new_unchecked(dir.as_bytes()[..end].to_vec());
            handle = open_or_make(handle.as_fd(), component, false, &here)?;
            end += 1;
        }
        Ok(handle)
    }

    /// Runs `act` on the handle of the parent of `path` and the name there. A remembered handle
    /// may be that of a directory that was removed and made again: `ENOENT` is asked twice.
    fn in_parent<T>(
        &self,
        path: &RepoPath,
        make: bool,
        mut act: impl FnMut(&Arc<OwnedFd>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<rustix::io::Result<T>> {
        let (parent, name) = split_last(path.as_bytes());
        if parent.is_empty() {
            return Ok(act(&self.root, if name.is_empty() { b"." } else { name }));
        }
        for _ in 0..ATTEMPTS {
            let known = self.handles.get(parent);
            let was_known = known.is_some();
            let handle = if let Some(handle) = known {
                handle
            } else {
                let dir = RepoPath::new_unchecked(parent.to_vec());
                match self.open_dir(&dir, make) {
                    Ok(handle) => self.handles.put(parent, handle),
                    // A directory made a moment ago was removed again.
                    Err(WorkTreeError::Io { source, .. })
                        if make && source.kind() == io::ErrorKind::NotFound =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            match act(&handle, name) {
                Err(Errno::NOENT) if was_known || make => self.handles.forget(parent),
                answer => return Ok(answer),
            }
        }
        Ok(Err(Errno::NOENT))
    }

    /// As [`Self::in_parent`] for what exists; `None` where it does not, or only through a symlink.
    fn in_existing_parent<T>(
        &self,
        op: &'static str,
        path: &RepoPath,
        act: impl FnMut(&Arc<OwnedFd>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<Option<T>> {
        match self.in_parent(path, false, act) {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(Errno::NOENT)) | Err(WorkTreeError::Obstructed { .. }) => Ok(None),
            Ok(Err(errno)) => Err(WorkTreeError::at(op, path, errno)),
            Err(WorkTreeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn temporary_name(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        temporary_name(self.seed, number)
    }

    /// Makes an entry under a temporary name in the directory of `path`, which is made too.
    fn make_temporary<T>(
        &self,
        path: &RepoPath,
        make: impl Fn(BorrowedFd<'_>, &str) -> rustix::io::Result<T>,
    ) -> Result<(T, Temporary)> {
        let answer = self.in_parent(path, true, |dir, _| {
            loop {
                let name = self.temporary_name();
                match make(dir.as_fd(), &name) {
                    Err(Errno::EXIST) => {}
                    Err(errno) => break Err(errno),
                    Ok(made) => {
                        let (dir, name) = (Arc::clone(dir), name.into_bytes());
                        break Ok((made, Temporary { dir, name }));
                    }
                }
            }
        });
        answer?.map_err(|errno| WorkTreeError::io("create", path, errno))
    }

    fn create_file(&self, path: &RepoPath, executable: bool) -> Result<(File, Temporary)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The umask is applied by the kernel; the bits above these nine are never set.
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let make = |dir: BorrowedFd<'_>, name: &[u8]| openat(dir, name, flags, mode);
        if self.is_fresh {
            let made = self.in_parent(path, true, |dir, name| {
                let file = make(dir.as_fd(), name)?;
                Ok((File::from(file), Temporary { dir: Arc::clone(dir), name: name.to_vec() }))
            })?;
            // Somebody else made a file of that name meanwhile: it is replaced as a whole.
            if !matches!(made, Err(Errno::EXIST)) {
                return made.map_err(|errno| WorkTreeError::io("create", path, errno));
            }
        }
        self.make_temporary(path, |dir, name| {
            let file = make(dir, name.as_bytes())?;
            // Tells a sweep that somebody is at it; without locks there is none.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
            Ok(File::from(file))
        })
    }

    /// Starts a file that replaces a file or symlink of its name once it is published. Missing
    /// directories are made.
    pub fn new_file(&self, path: &RepoPath, executable: bool) -> Result<NewFile> {
        let (file, temporary) = self.create_file(path, executable)?;
        let sink = FileSink::new(file, path.clone());
        let (path, stored) = (path.clone(), self.stored.clone());
        Ok(NewFile { sink, temporary, path, stamp: self.stamp, stored })
    }

    /// Writes a file, replacing a file or symlink of its name; `write` gives the bytes. Missing
    /// directories are made. With `want_stat`, answers what the file is once it has its name.
    pub fn write_file<E: From<WorkTreeError>>(
        &self,
        path: &RepoPath,
        executable: bool,
        want_stat: bool,
        write: impl FnOnce(&mut FileSink) -> std::result::Result<(), E>,
    ) -> std::result::Result<Option<FileStat>, E> {
        let mut file = self.new_file(path, executable)?;
        write(&mut file.sink)?;
        Ok(file.publish(want_stat)?)
    }

    /// As [`Self::write_file`], for a file that is in memory: three system calls in a fresh
    /// directory, five elsewhere.
    pub fn write_small(
        &self,
        path: &RepoPath,
        executable: bool,
        bytes: &[u8],
        want_stat: bool,
    ) -> Result<Option<FileStat>> {
        if bytes.len() >= FileSink::MIN_HOLE {
            return self.write_file(path, executable, want_stat, |sink| sink.write(bytes));
        }
        let (mut file, temporary) = self.create_file(path, executable)?;
        if !bytes.is_empty() {
            file.write_all(bytes).map_err(|error| WorkTreeError::io("write", path, error))?;
        }
        publish_file(&file, temporary, (path, self.stored.as_deref()), (self.stamp, want_stat))
    }

    /// Makes a symlink, replacing a file or symlink of its name. Missing directories are made.
    pub fn write_symlink(
        &self,
        path: &RepoPath,
        target: &[u8],
        want_stat: bool,
    ) -> Result<Option<FileStat>> {
        let ((), temporary) =
            self.make_temporary(path, |dir, name| symlinkat(target, dir, name))?;
        let dir = temporary.publish(path, self.stored.as_deref())?;
        if !want_stat {
            return Ok(None);
        }
        match statat(&dir, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(file_stat(&stat))),
            Err(errno) => Err(WorkTreeError::io("read the status of", path, errno)),
        }
    }

    /// Removes a file or symlink; answers whether there was one. What lies behind a symlink is
    /// not there.
    pub fn remove_file(&self, path: &RepoPath) -> Result<bool> {
        let removed = self.in_existing_parent("remove", path, |dir, name| match &self.stored {
            Some(stored) => stored.unlink(dir, name, path),
            None => unlinkat(dir, name, AtFlags::empty()).map(|()| true),
        })?;
        match removed {
            Some(false) => Err(WorkTreeError::Changed { path: path.clone() }),
            removed => Ok(removed.is_some()),
        }
    }

    /// Removes a file or symlink that is in the way. One that was changed meanwhile stays: whatever
    /// needs its place cannot be written, and is reported.
    pub(super) fn clear_file(&self, path: &RepoPath) -> Result<()> {
        match self.remove_file(path) {
            Err(error) if error.is_of_one_path() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Removes an empty directory; answers whether nothing is there now. One that is not empty,
    /// or is in use, stays.
    pub fn remove_dir(&self, dir: &RepoPath) -> Result<bool> {
        if dir.is_root() {
            return Ok(false);
        }
        self.handles.forget(dir.as_bytes());
        let removed = self.in_existing_parent("remove", dir, |parent, name| {
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(false),
                answer => answer.map(|()| true),
            }
        });
        removed.map(|removed| removed.unwrap_or(true))
    }

    /// Removes the directories above `path` that are empty now, from the deepest up.
    pub fn remove_empty_dirs_up(&self, path: &RepoPath) -> Result<()> {
        self.remove_empty_dirs_unless(path, |_| false)
    }

    /// The same, up to the first one that stays.
    pub fn remove_empty_dirs_unless(
        &self,
        path: &RepoPath,
        stays: impl Fn(&RepoPath) -> bool,
    ) -> Result<()> {
        let mut dir = path.parent();
        while let Some(at) = dir.filter(|at| !at.is_root() && !stays(at)) {
            match self.remove_dir(&at) {
                Ok(true) => {}
                Ok(false) | Err(WorkTreeError::Obstructed { .. }) => break,
                Err(error) => return Err(error),
            }
            dir = at.parent();
        }
        Ok(())
    }

    /// What lies at `path`, by `lstat`; `None` when there is nothing, or only through a symlink.
    pub fn stat(&self, path: &RepoPath) -> Result<Option<(PathKind, FileStat)>> {
        let stat = self.in_existing_parent("read the status of", path, |dir, name| {
            statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        Ok(stat.map(|stat| (PathKind::of(&stat), file_stat(&stat))))
    }
}

/// An error with its cause, on one line.
pub(super) fn why(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Opens one directory below `parent`, made where there is nothing; `is_absent` says that there
/// will be nothing.
fn open_or_make(
    parent: BorrowedFd<'_>,
    name: &[u8],
    is_absent: bool,
    path: &dyn Fn() -> RepoPath,
) -> Result<OwnedFd> {
    let open = || openat(parent, name, DIR_HANDLE, Mode::empty());
    let found = if is_absent { Err(Errno::NOENT) } else { open() };
    let opened = match found {
        Err(Errno::NOENT) => match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
            // Another thread may have made it first.
            Ok(()) | Err(Errno::EXIST) => open(),
            Err(errno) => return Err(WorkTreeError::io("create the directory", &path(), errno)),
        },
        opened => opened,
    };
    opened.map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => WorkTreeError::Obstructed { path: path() },
        errno => WorkTreeError::io("open the directory", &path(), errno),
    })
}

#[cfg(test)]
mod tests;
