//! The disk edge: the only place that creates, renames, syncs, removes and locks files of a
//! repository.
//!
//! Everything durable is *published*: a temporary file made with `O_EXCL` under `tmp/` → write →
//! fsync → rename → fsync of the directory. Stores speak to the [`Disk`] trait, so that tests can
//! count, fail and crash every operation.

mod rewrite;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use thiserror::Error;

pub use rewrite::rewrite;

use super::mapped::Mapped;

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

/// A window into a file of the repository, with the file.
#[derive(Debug)]
pub struct MappedFile {
    map: Mapped,
    end: u64,
    file: Arc<OpenFile>,
}

/// The bytes of an immutable file: mapped where that pays, read where it does not.
#[derive(Debug)]
pub enum FileBytes {
    /// A read-only mapping. It may be cut off by others while it is used, see [`Self::check`].
    Mapped(MappedFile),
    /// A copy in memory.
    Read(Vec<u8>),
}

impl FileBytes {
    /// Whether the bytes used until now were those of the file. Nobody of ours truncates a
    /// published file; where someone else did, the missing bytes read as zeros, and what was
    /// decoded from them, or not found among them, means nothing.
    pub fn check(&self) -> Result<()> {
        let Self::Mapped(MappedFile { map, end, file }) = self else { return Ok(()) };
        if map.is_intact() && file.len()? >= *end {
            return Ok(());
        }
        let why = "it was truncated while it was read";
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)).context("read", &file.path)
    }
}

impl FileBytes {
    /// Takes mapped pages out of the process's memory until they are used again.
    pub fn forget_pages(&self) {
        if let Self::Mapped(mapped) = self {
            // Only an optimisation: where it fails, the pages stay.
            let _ = mapped.map.forget_pages();
        }
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => &mapped.map,
            Self::Read(bytes) => bytes,
        }
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
pub trait LockGuard: Send + std::fmt::Debug {}

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
    /// Starts a new file under `tmp/`.
    fn create(&self) -> Result<Box<dyn NewFile>>;
    /// Opens an existing file for appending.
    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>>;
    /// Removes a file; one that is already gone is no error.
    fn remove(&self, path: &Path) -> Result<()>;
    /// As [`Self::remove`]; when it returns, the file stays gone.
    fn remove_durably(&self, path: &Path) -> Result<()>;
    /// Removes a directory that holds nothing; answers whether it is gone.
    fn remove_empty_dir(&self, path: &Path) -> Result<bool>;
    /// Takes the exclusive lock on `path` without waiting; `None` when another process holds it.
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>>;

    /// Publishes a small file in one go.
    fn publish(&self, path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
        let mut file = self.create()?;
        file.write_all(bytes)?;
        file.publish(path, replace)
    }

    /// Replaces a small file that may be lost: readers see the old one or the new one whole, but
    /// after a crash of the machine it may be gone or damaged. Nothing waits for the disk.
    fn replace_cache(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.create()?;
        file.write_all(bytes)?;
        file.publish_unsynced(path)
    }
}

/// Directory of files under construction.
pub const TMP_DIR: &str = "tmp";

/// The real disk.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// The repository at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

/// Makes the entries of a directory durable.
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|file| file.sync_all()).context("sync", dir)
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
        let full = self.full(path);
        if full.is_dir() {
            return Ok(());
        }
        let mut missing = vec![full.as_path()];
        // The parent of a relative path of one component is empty and there.
        let mut base = full.parent().filter(|dir| !dir.as_os_str().is_empty());
        while let Some(dir) = base.filter(|dir| !dir.exists()) {
            missing.push(dir);
            base = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
        }
        for dir in missing.iter().rev() {
            match std::fs::DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.context("create the directory", dir)?,
            }
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
        let full = self.full(path);
        let file = found(File::open(&full)).context("open", &full)?;
        let open = |file| OsReadFile(Arc::new(OpenFile { file, path: full }));
        Ok(file.map(|file| Box::new(open(file)) as Box<dyn ReadFile>))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let len = file.len()?;
        if len > limit {
            let error =
                io::Error::new(io::ErrorKind::FileTooLarge, format!("{len} bytes exceed {limit}"));
            return Err(error).context("read", &self.full(path));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let full = self.full(path);
        let Some(entries) = found(std::fs::read_dir(&full)).context("list", &full)? else {
            return Ok(Vec::new());
        };
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect::<io::Result<_>>().context("list", &full)
    }

    fn file_kind(&self, path: &Path) -> Result<Option<(bool, u64)>> {
        let full = self.full(path);
        let meta = found(std::fs::symlink_metadata(&full)).context("look at", &full)?;
        Ok(meta.map(|meta| (meta.is_dir(), meta.len())))
    }

    fn create(&self) -> Result<Box<dyn NewFile>> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = self.full(Path::new(TMP_DIR)).join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).context("create", &path)?;
        Ok(Box::new(OsNewFile { file, path, root: self.root.clone(), published: false }))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn AppendFile>> {
        let path = self.full(path);
        let file = OpenOptions::new().append(true).open(&path).context("open", &path)?;
        Ok(Box::new(OsAppendFile { file, path }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk edge")]
    fn remove(&self, path: &Path) -> Result<()> {
        let full = self.full(path);
        found(std::fs::remove_file(&full)).context("remove", &full)?;
        Ok(())
    }

    fn remove_durably(&self, path: &Path) -> Result<()> {
        self.remove(path)?;
        let full = self.full(path);
        match full.parent() {
            Some(dir) if dir.is_dir() => sync_dir(dir),
            _ => Ok(()),
        }
    }

    fn remove_empty_dir(&self, path: &Path) -> Result<bool> {
        let full = self.full(path);
        match std::fs::remove_dir(&full) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            other => other.context("remove the directory", &full).map(|()| true),
        }
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn LockGuard>>> {
        let full = self.full(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&full).context("open the lock", &full)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error).context("lock", &full),
        }
    }
}

#[derive(Debug)]
struct OsLock {
    file: File,
}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing is not enough: a child of this process that has not got to its program yet holds
        // the file too, and with it the lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl LockGuard for OsLock {}

/// An open file and its name for messages.
#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
}

impl OpenFile {
    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().context("look at", &self.path)?.len())
    }
}

struct OsReadFile(Arc<OpenFile>);

/// Mapping costs two system calls and faults; below this, reading is cheaper.
const MAP_FROM: usize = 64 << 10;

impl ReadFile for OsReadFile {
    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.file.read_exact_at(buf, offset).context("read", &self.0.path)
    }

    fn map(&self, offset: u64, len: usize) -> Result<FileBytes> {
        let file = Arc::clone(&self.0);
        let end = offset.checked_add(len as u64);
        let file_len = file.len()?;
        let Some(end) = end.filter(|end| *end <= file_len) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("map", &file.path);
        };
        if len >= MAP_FROM
            && let Ok(map) = Mapped::new(&file.file, offset, len)
        {
            return Ok(FileBytes::Mapped(MappedFile { map, end, file }));
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(FileBytes::Read(bytes))
    }
}

struct OsNewFile {
    file: File,
    path: PathBuf,
    root: PathBuf,
    published: bool,
}

impl OsNewFile {
    /// Without `replace`, a file that is there stays.
    fn rename(&mut self, target: &Path, replace: bool) -> Result<()> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(rustix::fs::CWD, &self.path, rustix::fs::CWD, target, flags) {
            Ok(()) => self.published = true,
            Err(rustix::io::Errno::EXIST) if !replace => {}
            Err(error) => return Err(error).context("publish", target),
        }
        Ok(())
    }
}

impl NewFile for OsNewFile {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        io::Write::write_all(&mut self.file, bytes).context("write", &self.path)
    }

    fn publish(mut self: Box<Self>, path: &Path, replace: bool) -> Result<()> {
        self.file.sync_all().context("sync", &self.path)?;
        let target = self.root.join(path);
        self.rename(&target, replace)?;
        sync_dir(target.parent().unwrap_or(&self.root))
    }

    fn publish_unsynced(mut self: Box<Self>, path: &Path) -> Result<()> {
        let target = self.root.join(path);
        self.rename(&target, true)
    }
}

impl Drop for OsNewFile {
    #[expect(clippy::disallowed_methods, reason = "this is the disk edge")]
    fn drop(&mut self) {
        if !self.published {
            // Nothing refers to the file; the next command that holds the lock sweeps `tmp/` anyway.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

struct OsAppendFile {
    file: File,
    path: PathBuf,
}

impl AppendFile for OsAppendFile {
    fn append_durable(&mut self, bytes: &[u8]) -> Result<()> {
        io::Write::write_all(&mut self.file, bytes).context("append to", &self.path)?;
        self.file.sync_all().context("sync", &self.path)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).context("truncate", &self.path)?;
        self.file.sync_all().context("sync", &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, OsDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path().join("r"));
        disk.create_dir(Path::new(TMP_DIR)).unwrap();
        (dir, disk)
    }

    #[test]
    fn a_published_file_is_whole_and_leaves_no_temporary() {
        let (_dir, disk) = disk();
        disk.publish(Path::new("a"), b"one", false).unwrap();
        disk.publish(Path::new("a"), b"two", false).unwrap();
        assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"one");
        disk.publish(Path::new("a"), b"three", true).unwrap();
        assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"three");
        assert!(disk.read(Path::new("a"), 2).is_err());
        assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
    }

    #[test]
    fn a_cache_is_replaced_whole_and_leaves_no_temporary() {
        let (_dir, disk) = disk();
        disk.replace_cache(Path::new("a"), b"one").unwrap();
        disk.replace_cache(Path::new("a"), b"other").unwrap();
        assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"other");
        assert!(disk.replace_cache(Path::new("no/such/dir"), b"x").is_err());
        assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
    }

    #[test]
    fn an_unpublished_file_vanishes() {
        let (_dir, disk) = disk();
        let mut file = disk.create().unwrap();
        file.write_all(b"x").unwrap();
        drop(file);
        assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
    }

    #[test]
    fn a_lock_is_held_once() {
        let (_dir, disk) = disk();
        let guard = disk.try_lock(Path::new("lock")).unwrap();
        assert!(guard.is_some());
        assert!(disk.try_lock(Path::new("lock")).unwrap().is_none());
        drop(guard);
        assert!(disk.try_lock(Path::new("lock")).unwrap().is_some());
    }

    #[test]
    fn a_lock_ends_with_its_guard_even_if_a_child_has_the_file() {
        let (_dir, disk) = disk();
        disk.publish(Path::new("lock"), b"", false).unwrap();
        let file = File::open(disk.full(Path::new("lock"))).unwrap();
        let _of_the_child = file.try_clone().unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        drop(OsLock { file });
        assert!(disk.try_lock(Path::new("lock")).unwrap().is_some());
    }

    #[test]
    fn a_map_past_the_end_is_an_error() {
        let (_dir, disk) = disk();
        disk.publish(Path::new("a"), &[7; 100_000], false).unwrap();
        let file = disk.open(Path::new("a")).unwrap().unwrap();
        assert_eq!(&*file.map(1, 99_999).unwrap(), &[7; 99_999][..]);
        assert!(file.map(1, 100_000).is_err());
        assert!(file.map(u64::MAX, 2).is_err());
    }

    #[test]
    fn a_file_that_is_cut_off_while_it_is_mapped_is_found_out() {
        let (dir, disk) = disk();
        for left in [0, 4096, 99_999] {
            disk.publish(Path::new("a"), &[7; 100_000], true).unwrap();
            let file = disk.open(Path::new("a")).unwrap().unwrap();
            let bytes = file.map(0, 100_000).unwrap();
            assert!(matches!(bytes, FileBytes::Mapped(_)));
            assert!(bytes.iter().all(|byte| *byte == 7));
            bytes.check().unwrap();
            let path = dir.path().join("r/a");
            OpenOptions::new().write(true).open(path).unwrap().set_len(left).unwrap();
            assert_eq!(bytes.last(), Some(&0));
            let error = bytes.check().unwrap_err();
            assert!(error.source.to_string().contains("truncated"), "{error:?}");
        }
        assert!(disk.open(Path::new("b")).unwrap().is_none());
    }
}
