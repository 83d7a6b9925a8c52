//! The open files of a repository, as the disk edge hands them out.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use super::fs::RawFile;
use super::{AppendFile, Context, FileBytes, MappedFile, NewFile, OsDisk, ReadFile, Result};

/// An open file and its name for messages.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: Box<dyn RawFile>,
    pub(super) path: PathBuf,
}

impl OpenFile {
    pub(super) fn len(&self) -> Result<u64> {
        self.file.len().context("look at", &self.path)
    }
}

/// A file open for reading.
pub(super) struct OsReadFile(pub(super) Arc<OpenFile>);

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
            && let Some(Ok(map)) = file.file.map(offset, len)
        {
            return Ok(FileBytes::Mapped(MappedFile { map, end, file }));
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(FileBytes::Read(bytes))
    }
}

/// A name for a file under construction that no other one has. The number of the process would not do:
/// in a container it is the same in every run, and another machine has it too.
pub(super) fn new_name() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{}", *PROCESS, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A file under construction.
pub(super) struct OsNewFile {
    file: Box<dyn RawFile>,
    path: PathBuf,
    disk: OsDisk,
    published: bool,
}

impl OsNewFile {
    /// The new, empty file at `path`.
    pub(super) fn new(disk: OsDisk, file: Box<dyn RawFile>, path: PathBuf) -> Self {
        Self { file, path, disk, published: false }
    }

    /// Without `replace`, a file that is there stays.
    fn rename(&mut self, target: &Path, replace: bool) -> Result<()> {
        match self.disk.fs.rename(&self.path, target, replace) {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !replace => {}
            Err(error) => return self.disk.certainly(Err(error)).context("publish", target),
        }
        Ok(())
    }
}

impl NewFile for OsNewFile {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes).context("write", &self.path)
    }

    fn publish(mut self: Box<Self>, path: &Path, replace: bool) -> Result<()> {
        self.file.sync().context("sync", &self.path)?;
        let target = self.disk.full(path)?;
        self.rename(&target, replace)?;
        self.disk.sync_dir(target.parent().unwrap_or(&self.disk.root))
    }

    fn publish_unsynced(mut self: Box<Self>, path: &Path) -> Result<()> {
        let target = self.disk.full(path)?;
        self.rename(&target, true)
    }
}

impl Drop for OsNewFile {
    fn drop(&mut self) {
        if !self.published {
            // Nothing refers to the file; the next command that holds the lock sweeps `tmp/` anyway.
            let _ = self.disk.fs.remove_file(&self.path);
        }
    }
}

/// A file that only grows.
pub(super) struct OsAppendFile {
    pub(super) file: Box<dyn RawFile>,
    pub(super) path: PathBuf,
    pub(super) disk: OsDisk,
}

impl OsAppendFile {
    fn try_append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes).context("append to", &self.path)?;
        self.disk.certainly(self.file.sync()).context("sync", &self.path)
    }
}

impl AppendFile for OsAppendFile {
    fn append_durable(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.file.len().context("look at", &self.path)?;
        let appended = self.try_append(bytes);
        if appended.is_err() {
            // What was not reported must not be seen. Where this fails too, the next command
            // writes the file anew.
            let cut = self.file.set_len(len).and_then(|()| self.file.sync());
            let _ = self.disk.certainly(cut);
        }
        appended
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        let cut = self.file.set_len(len).and_then(|()| self.file.sync());
        self.disk.certainly(cut).context("truncate", &self.path)
    }
}
