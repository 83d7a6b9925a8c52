//! The file system below the disk edge: one system call each, no protocol.
//!
//! [`OsDisk`](super::OsDisk) makes durable and atomic operations of these. Tests put another
//! [`FileSystem`] under it, which loses what was not synced, fails at any call, or stops.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{
    CWD, FlockOperation, RenameFlags, flock, link, lstat, rename, renameat_with, unlink,
};
use rustix::io::Errno;

use super::SharedLock;
use crate::storage::mapped::Mapped;

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "the length of a file, not of a collection")]
pub trait RawFile: Send + Sync + Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset`; a file that ends before is an error of kind `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Maps the bytes `offset..offset + len`; `None` where files are only read.
    fn map(&self, offset: u64, len: usize) -> Option<io::Result<Mapped>>;
    /// Writes behind the last byte. Where it fails, some of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file off.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes bytes and length durable. Where it fails, nothing is known of what was written, and a
    /// second call that succeeds proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a kernel offers.
pub trait FileSystem: Send + Sync + Debug {
    /// Makes a file, 0600, where there is nothing.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RawFile>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>>;
    /// Opens an existing file for appending; a link is an error.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn RawFile>>;
    /// Renames a file. Without `replace`, one that is there is an error of kind `AlreadyExists`.
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory, 0700.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether it is a directory, and its length; links are not followed.
    fn kind(&self, path: &Path) -> io::Result<(bool, u64)>;
    /// Whether it is a symbolic link. Where there are none, nothing is.
    fn is_link(&self, path: &Path) -> io::Result<bool> {
        self.kind(path).map(|_| false)
    }
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes durable whatever anybody wrote to the file system of a directory.
    fn sync_all(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file, which is made, without waiting; `None` when another
    /// process holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn RawLock>>>;
    /// Takes a shared lock on a file that is there, without waiting and without writing; `None` when
    /// another process holds it exclusively. On a file system that nobody else sees there is nothing
    /// to lock.
    fn try_share(&self, _path: &Path) -> io::Result<Option<Box<dyn SharedLock>>> {
        Ok(Some(Box::new(Alone)))
    }
}

/// The lock of the only user.
#[derive(Debug)]
struct Alone;

impl SharedLock for Alone {
    fn make_exclusive(&self) -> bool {
        true
    }

    fn make_shared(&self) {}
}

/// A lock that the kernel releases when the process dies, and a mark on its file that then stays.
pub trait RawLock: Send + Sync + Debug {
    /// Whether the mark is there.
    fn is_marked(&self) -> io::Result<bool>;
    /// Sets the mark or takes it away; nothing waits for the disk.
    fn mark(&self, marked: bool) -> io::Result<()>;
}

/// What is written where it lies is never a link, behind which would be a file of somebody else.
const NO_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Nothing waits for the other end of a pipe that lies in the place of a file.
const NO_WAITING: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// What lies in the place of a file: a pipe, a socket, a device.
#[derive(Debug, thiserror::Error)]
#[error("it is not a regular file")]
pub(super) struct NoRegularFile;

/// Refuses what is no file. Directories are left to who reads: refs ask for them.
fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NoRegularFile))
}

/// Gives a file a name that is not in use.
fn rename_new(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system or a kernel that cannot promise it, or a sandbox that does not know it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => link_new(from, to),
        answer => answer,
    }
}

/// The same in two steps, of which the first decides.
fn link_new(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match link(from, to) {
        Ok(()) => {
            // Who holds the lock sweeps what is left under `tmp/`.
            let _ = unlink(from);
            Ok(())
        }
        Err(error @ (Errno::EXIST | Errno::NOENT)) => Err(error),
        // A file system without hard links.
        Err(_) => look_and_rename(from, to),
    }
}

/// The same for who holds the lock, beside whom nobody makes a file of that name. Without the lock one
/// may be replaced: files that are published so are equal where their names are.
fn look_and_rename(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match lstat(to) {
        Err(Errno::NOENT) => rename(from, to),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

/// The kernel's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl RawFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn map(&self, offset: u64, len: usize) -> Option<io::Result<Mapped>> {
        Some(Mapped::new(self, offset, len))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl FileSystem for RealFs {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(options.write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let file = OpenOptions::new().read(true).custom_flags(NO_WAITING).open(path)?;
        Ok(Box::new(regular(file)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let mut options = OpenOptions::new();
        let file = options.append(true).custom_flags(NO_LINKS | NO_WAITING).open(path)?;
        Ok(Box::new(regular(file)?))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        Ok(if replace { rename(from, to) } else { rename_new(from, to) }?)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk edge")]
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(path)?.map(name).collect()
    }

    fn kind(&self, path: &Path) -> io::Result<(bool, u64)> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok((meta.is_dir(), meta.len()))
    }

    fn is_link(&self, path: &Path) -> io::Result<bool> {
        Ok(std::fs::symlink_metadata(path)?.is_symlink())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn RawLock>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = regular(options.custom_flags(NO_LINKS | NO_WAITING).open(path)?)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(error) if error == Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn try_share(&self, path: &Path) -> io::Result<Option<Box<dyn SharedLock>>> {
        // Some network file systems want to write what they lock exclusively; a repository may be
        // read only.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(NO_WAITING);
        let writable = options.clone().write(true).open(path);
        let file = regular(writable.or_else(|_| options.open(path))?)?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(error) if error == Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A kernel lock on an open file.
#[derive(Debug)]
pub(super) struct OsLock {
    pub(super) file: File,
}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing is not enough: a child of this process that has not got to its program yet holds
        // the file too, and with it the lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl SharedLock for OsLock {
    fn make_exclusive(&self) -> bool {
        let is_alone = flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !is_alone {
            // A change of a lock that fails may lose it.
            self.make_shared();
        }
        is_alone
    }

    fn make_shared(&self) {
        // Without it, the files that are open stay readable all the same.
        let _ = flock(&self.file, FlockOperation::NonBlockingLockShared);
    }
}

/// What the file of a lock holds while the lock is in use.
const MARKED: u8 = b'+';
/// And when it is not: another byte, so that marking needs no space on the disk.
const UNMARKED: u8 = b'-';

impl RawLock for OsLock {
    fn is_marked(&self) -> io::Result<bool> {
        let mut byte = [UNMARKED];
        FileExt::read_at(&self.file, &mut byte, 0)?;
        Ok(byte == [MARKED])
    }

    fn mark(&self, marked: bool) -> io::Result<()> {
        FileExt::write_all_at(&self.file, &[if marked { MARKED } else { UNMARKED }], 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn a_new_name_is_given_once_whatever_the_file_system_offers() {
        for rename_new in [rename_new, link_new, look_and_rename] {
            let temp = tempfile::tempdir().unwrap();
            let [one, two, to] = ["one", "two", "to"].map(|name| temp.path().join(name));
            std::fs::write(&one, "1").unwrap();
            std::fs::write(&two, "2").unwrap();
            rename_new(&one, &to).unwrap();
            assert!(!one.exists());
            assert_eq!(rename_new(&two, &to), Err(Errno::EXIST));
            assert_eq!(rename_new(&one, &temp.path().join("new")), Err(Errno::NOENT));
            assert_eq!(std::fs::read(&to).unwrap(), b"1");
            assert_eq!(std::fs::read(&two).unwrap(), b"2");
            // A link that leads nowhere is there as well.
            std::os::unix::fs::symlink("nowhere", &one).unwrap();
            assert_eq!(rename_new(&two, &one), Err(Errno::EXIST));
        }
    }
}
