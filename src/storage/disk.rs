//! The disk edge: the only place that creates, renames, syncs, removes and locks files of a
//! repository.
//!
//! Everything durable is *published*: a temporary file made with `O_EXCL` under `tmp/` → write →
//! fsync → rename → fsync of the directory. Stores speak to the [`Disk`] trait; [`OsDisk`] keeps its
//! promises on a [`FileSystem`], so that tests can fail and crash every call below the protocol.

mod file_bytes;
mod files;
mod fs;
mod rewrite;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use thiserror::Error;

pub use file_bytes::{FileBytes, MappedFile};
use files::{OpenFile, OsAppendFile, OsNewFile, OsReadFile, new_name};
use fs::NoRegularFile;
pub use fs::{FileSystem, RawFile, RawLock, RealFs};
pub use rewrite::rewrite;

/// A failed operation on the disk.
#[derive(Debug, Error)]
#[error("cannot {op} '{}'", path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub op: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

impl DiskError {
    /// Whether the bytes are not there, or the disk cannot read them any more: lost, either way. So
    /// they are where something else lies in the place of the file, or more than any of its kind holds.
    pub fn is_unreadable(&self) -> bool {
        self.source.kind() == io::ErrorKind::UnexpectedEof
            || self.source.raw_os_error() == Some(BAD_SECTOR)
            || self.is_no_file()
            || self.is_too_long()
    }

    /// Whether there was no room on the disk, or none that this user may have.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }

    /// Whether the file is longer than any of its kind.
    fn is_too_long(&self) -> bool {
        matches!(self.source.get_ref(), Some(inner) if inner.is::<TooLong>())
    }

    /// Whether a pipe, a socket or a device lies in the place of the file.
    pub fn is_no_file(&self) -> bool {
        matches!(self.source.get_ref(), Some(inner) if inner.is::<NoRegularFile>())
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// What the kernel answers where the disk fails.
const BAD_SECTOR: i32 = Errno::IO.raw_os_error();

/// A file that is longer than any of its kind.
#[derive(Debug, Error)]
#[error("{len} bytes exceed {limit}")]
struct TooLong {
    len: u64,
    limit: u64,
}

/// Result of a disk operation.
pub type Result<T> = std::result::Result<T, DiskError>;

trait Context<T> {
    fn context(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| DiskError { op, path: path.to_owned(), source: source.into() })
    }
}

/// A file open for positioned reading.
#[expect(clippy::len_without_is_empty, reason = "the length of a file, not of a collection")]
pub trait ReadFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> Result<u64>;
    /// Fills `buf` from `offset`; a file that ends before is an error of kind `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;
    /// The bytes `offset..offset + len`.
    fn map(&self, offset: u64, len: usize) -> Result<FileBytes>;
}

/// A new file that nobody sees under its final name until it is published.
pub trait NewFile: Send {
    /// Appends bytes.
    fn write_all(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes the bytes durable and gives the file its final name in an existing directory. With
    /// `replace`, a file of that name is replaced atomically; without, one that is there wins
    /// and this one is dropped (immutable files of one name have equal content).
    fn publish(self: Box<Self>, path: &Path, replace: bool) -> Result<()>;
    /// Gives the file its final name, replacing one that is there, without making it durable.
    fn publish_unsynced(self: Box<Self>, path: &Path) -> Result<()>;
}

/// A file that only grows, made durable frame by frame.
pub trait AppendFile: Send {
    /// Appends bytes and makes them durable, the file's new length included.
    fn append_durable(&mut self, bytes: &[u8]) -> Result<()>;
    /// Cuts a torn tail off, durably.
    fn truncate(&mut self, len: u64) -> Result<()>;
}

/// Held as long as it lives; the kernel releases it when the process dies, however it dies.
pub trait LockGuard: Send + std::fmt::Debug {
    /// Whether who held it last came to no good end: the process died, or the disk failed. What it
    /// wrote can be seen, and may still be lost; see [`Disk::settle`].
    fn was_abandoned(&self) -> bool;
}

/// A lock that many hold at once; released as [`LockGuard`].
pub trait SharedLock: Send + Sync + std::fmt::Debug {
    /// Makes it exclusive if nobody else holds it, without waiting.
    fn make_exclusive(&self) -> bool;
    /// Makes it shared again.
    fn make_shared(&self);
}

/// Everything a repository asks of the disk. Paths are relative to the repository's directory.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Where the repository lies, for messages.
    fn root(&self) -> &Path;
    /// Creates a directory and its missing parents, 0700, durably.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// Opens for reading; `None` when there is no such file.
    fn open(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>>;
    /// Reads a small file whole; `None` when there is no such file, an error above `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Names of the entries of a directory; none when there is no such directory.
    fn list(&self, path: &Path) -> Result<Vec<String>>;
    /// Whether it is a directory, and its length; `None` when there is no such file.
    fn file_kind(&self, path: &Path) -> Result<Option<(bool, u64)>>;
    /// Starts a new file under `tmp/`, which is made where it is missing.
    fn create(&self) -> Result<Box<dyn NewFile>>;
    /// Opens an existing file for appending.
    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>>;
    /// Removes a file; one that is already gone is no error.
    fn remove(&self, path: &Path) -> Result<()>;
    /// As [`Self::remove`]; when it returns, the file stays gone.
    fn remove_durably(&self, path: &Path) -> Result<()>;
    /// Gives a file a name that is not in use, in a directory that is there, durably.
    fn move_durably(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a directory that holds nothing; answers whether it is gone.
    fn remove_empty_dir(&self, path: &Path) -> Result<bool>;
    /// Takes the exclusive lock on `path` without waiting; `None` when another process holds it.
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>>;
    /// Takes a shared lock on `path`, which is there, without waiting or writing; `None` when another
    /// process holds it exclusively.
    fn try_share(&self, path: &Path) -> Result<Option<Box<dyn SharedLock>>>;

    /// Makes durable all that a dead process left half done, before anything relies on it: what can
    /// be seen was not synced for certain. Files that grow are written anew, because bytes whose
    /// sync failed are never on the disk, whatever a later sync says (Rebello et al., "Can
    /// Applications Recover from fsync Failures?", USENIX ATC 2020).
    fn settle(&self, growing: &[&Path]) -> Result<()>;

    /// Publishes a small file in one go.
    fn publish(&self, path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
        despite_sweeps(|| {
            let mut file = self.create()?;
            file.write_all(bytes)?;
            file.publish(path, replace)
        })
    }

    /// Replaces a small file that may be lost: readers see the old one or the new one whole, but
    /// after a crash of the machine it may be gone or damaged. Nothing waits for the disk.
    fn replace_cache(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        despite_sweeps(|| {
            let mut file = self.create()?;
            file.write_all(bytes)?;
            file.publish_unsynced(path)
        })
    }
}

/// Who takes the lock sweeps `tmp/`: a file of who writes without it may be gone before it got its name.
fn despite_sweeps(write: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..5 {
        match write() {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
            written => return written,
        }
    }
    write()
}

/// Bytes of a file that are copied at a time.
const PIECE: u64 = 1 << 20;

/// Names that are tried for a file under construction.
const MAX_TRIES: usize = 100;

/// Directory of files under construction.
pub const TMP_DIR: &str = "tmp";

/// A repository on a file system: the protocol by which its files become durable.
#[derive(Debug, Clone)]
pub struct OsDisk {
    root: PathBuf,
    fs: Arc<dyn FileSystem>,
    /// Directories whose names this process made durable, or found so.
    durable_dirs: Arc<Mutex<HashSet<PathBuf>>>,
    /// Directories below the root that are no links.
    plain_dirs: Arc<Mutex<HashSet<PathBuf>>>,
    /// A call failed that leaves open what is durable.
    in_doubt: Arc<AtomicBool>,
}

impl OsDisk {
    /// The repository at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::on(root, Arc::new(RealFs))
    }

    /// The same, on another file system.
    pub fn on(root: impl Into<PathBuf>, fs: Arc<dyn FileSystem>) -> Self {
        Self {
            root: root.into(),
            fs,
            durable_dirs: Arc::default(),
            plain_dirs: Arc::default(),
            in_doubt: Arc::default(),
        }
    }

    /// The full path of what lies in a directory of the repository. A link in the place of one is
    /// refused: behind it lie files of somebody else, who gets them written and removed.
    fn full(&self, path: &Path) -> Result<PathBuf> {
        path.parent().map_or(Ok(()), |dir| self.check_dir(dir))?;
        Ok(self.root.join(path))
    }

    /// Whether a directory below the root, if it is there, and all above it are no links.
    fn check_dir(&self, dir: &Path) -> Result<()> {
        let known = || self.plain_dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if dir.as_os_str().is_empty() || known().contains(dir) {
            return Ok(());
        }
        dir.parent().map_or(Ok(()), |above| self.check_dir(above))?;
        // Without a slash at the end, behind which a link is followed.
        let full = self.root.join(dir.components().as_path());
        match self.fs.is_link(&full) {
            Ok(false) => {
                known().insert(dir.to_owned());
                Ok(())
            }
            Ok(true) => {
                let why = "it is a symbolic link, and the files behind it are not the repository's: \
                    put the directory itself there";
                Err(io::Error::other(why)).context("use", &full)
            }
            // Whatever is asked of it will say so.
            Err(_) => Ok(()),
        }
    }

    fn durable_dirs(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable_dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known_durable(&self, dir: &Path) -> bool {
        self.durable_dirs().contains(dir)
    }

    fn create_in_tmp(&self) -> Result<Box<dyn NewFile>> {
        let mut tries = 0;
        loop {
            let path = self.full(&Path::new(TMP_DIR).join(new_name()))?;
            tries += 1;
            match self.fs.create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MAX_TRIES => {
                }
                file => {
                    let file = file.context("create", &path)?;
                    return Ok(Box::new(OsNewFile::new(self.clone(), file, path)));
                }
            }
        }
    }

    /// Makes a directory, or takes the one that is there: a process that was killed may have made
    /// it without making its name durable.
    fn make_durable_dir(&self, dir: &Path) -> Result<()> {
        match self.fs.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.context("create the directory", dir)?,
        }
        // The parent of a relative path of one component is empty and there.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        self.durable_dirs().insert(dir.to_owned());
        Ok(())
    }

    /// Writes a file anew, durably, if it is there.
    fn write_anew(&self, path: &Path) -> Result<()> {
        let Some(file) = self.open(path)? else { return Ok(()) };
        let (len, mut at) = (file.len()?, 0);
        let mut copy = self.create()?;
        let mut piece = vec![0; len.min(PIECE) as usize];
        while at < len {
            let part = &mut piece[..(len - at).min(PIECE) as usize];
            file.read_exact_at(part, at)?;
            copy.write_all(part)?;
            at += part.len() as u64;
        }
        copy.publish(path, true)
    }

    fn is_dir(&self, full: &Path) -> bool {
        self.fs.kind(full).is_ok_and(|(is_dir, _)| is_dir)
    }

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.certainly(self.fs.sync_dir(dir)).context("sync", dir)
    }

    /// Notes when a call fails after which nobody knows what is durable.
    fn certainly<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        if answer.is_err() {
            self.in_doubt.store(true, Ordering::Relaxed);
        }
        answer
    }
}

/// Makes the entries of a directory durable.
fn sync_dir(dir: &Path) -> Result<()> {
    RealFs.sync_dir(dir).context("sync", dir)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Disk for OsDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.check_dir(path)?;
        let full = self.root.join(path);
        let mut chain = Vec::new();
        let mut above = Some(full.as_path());
        while let Some(dir) = above.filter(|dir| !dir.as_os_str().is_empty()) {
            let is_there = self.is_dir(dir);
            // What lies around the repository was there before, for as long as anybody cares.
            if self.is_known_durable(dir) || is_there && !dir.starts_with(&self.root) {
                break;
            }
            chain.push(dir);
            above = if is_there { None } else { dir.parent() };
        }
        chain.into_iter().rev().try_for_each(|dir| self.make_durable_dir(dir))
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        let full = self.full(path)?;
        let file = found(self.fs.open(&full)).context("open", &full)?;
        let open = |file| OsReadFile(Arc::new(OpenFile { file, path: full }));
        Ok(file.map(|file| Box::new(open(file)) as Box<dyn ReadFile>))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let len = file.len()?;
        if len > limit {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, TooLong { len, limit });
            return Err(error).context("read", &self.root.join(path));
        }
        // A length is easily forged; an allocation that fails would end the process.
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX));
        let too_large =
            |_| io::Error::new(io::ErrorKind::OutOfMemory, format!("it has {len} bytes"));
        room.map_err(too_large).context("read", &self.root.join(path))?;
        bytes.resize(len as usize, 0);
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.check_dir(path)?;
        let full = self.root.join(path);
        Ok(found(self.fs.list(&full)).context("list", &full)?.unwrap_or_default())
    }

    fn file_kind(&self, path: &Path) -> Result<Option<(bool, u64)>> {
        let full = self.full(path)?;
        found(self.fs.kind(&full)).context("look at", &full)
    }

    fn create(&self) -> Result<Box<dyn NewFile>> {
        match self.create_in_tmp() {
            // Who copies a repository may leave out what holds nothing.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                self.make_durable_dir(&self.root.join(TMP_DIR))?;
                self.create_in_tmp()
            }
            created => created,
        }
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        let path = self.full(path)?;
        let file = self.fs.open_append(&path).context("open", &path)?;
        Ok(Box::new(OsAppendFile { file, path, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let full = self.full(path)?;
        found(self.fs.remove_file(&full)).context("remove", &full)?;
        Ok(())
    }

    fn remove_durably(&self, path: &Path) -> Result<()> {
        self.remove(path)?;
        let full = self.full(path)?;
        match full.parent() {
            Some(dir) if self.is_dir(dir) => self.sync_dir(dir),
            _ => Ok(()),
        }
    }

    fn move_durably(&self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (self.full(from)?, self.full(to)?);
        self.certainly(self.fs.rename(&from, &to, false)).context("move", &from)?;
        // The new name first: at no time is there none.
        [&to, &from]
            .into_iter()
            .filter_map(|path| path.parent())
            .try_for_each(|dir| self.sync_dir(dir))
    }

    fn remove_empty_dir(&self, path: &Path) -> Result<bool> {
        let full = self.full(path)?;
        self.durable_dirs().remove(&full);
        self.plain_dirs.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        match self.fs.remove_dir(&full) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            other => other.context("remove the directory", &full).map(|()| true),
        }
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        let full = self.full(path)?;
        let Some(lock) = self.fs.try_lock(&full).context("lock", &full)? else { return Ok(None) };
        let was_abandoned = lock.is_marked().context("read", &full)?;
        match lock.mark(true) {
            // Where the byte is new and the disk full, nothing else will be written either.
            Err(error) if is_full(&error) => {}
            marked => marked.context("write", &full)?,
        }
        let in_doubt = Arc::clone(&self.in_doubt);
        Ok(Some(Box::new(OsGuard { lock, was_abandoned, in_doubt })))
    }

    fn try_share(&self, path: &Path) -> Result<Option<Box<dyn SharedLock>>> {
        let full = self.full(path)?;
        self.fs.try_share(&full).context("lock", &full)
    }

    fn settle(&self, growing: &[&Path]) -> Result<()> {
        // Until all of it is done: the mark must stay for the next who tries.
        self.in_doubt.store(true, Ordering::Relaxed);
        self.fs.sync_all(&self.root).context("sync", &self.root)?;
        // One that cannot be read keeps none of the others from being written.
        let written = growing.iter().map(|path| self.write_anew(path));
        let written = written.fold(Ok(()), Result::and);
        self.in_doubt.store(written.is_err(), Ordering::Relaxed);
        written
    }
}

/// A lock, marked while it is held. The mark stays where the process dies, panics, or does not know
/// what is durable.
#[derive(Debug)]
struct OsGuard {
    lock: Box<dyn RawLock>,
    was_abandoned: bool,
    in_doubt: Arc<AtomicBool>,
}

impl LockGuard for OsGuard {
    fn was_abandoned(&self) -> bool {
        self.was_abandoned
    }
}

impl Drop for OsGuard {
    fn drop(&mut self) {
        if !self.in_doubt.load(Ordering::Relaxed) && !std::thread::panicking() {
            // A mark that stays costs the next command a sync.
            let _ = self.lock.mark(false);
        }
    }
}

#[cfg(test)]
mod tests;
