//! Resolution of paths below a directory handle that never follows a symlink.
//!
//! `openat2` does it in one call; where the kernel has none, or the path is longer than one call
//! takes, the path is walked component by component with `O_NOFOLLOW`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::path::{RepoPath, split_last};
use crate::storage::format::staging::FileStat;

/// What an entry of the work tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File {
        /// Its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink,
    /// A directory.
    Dir,
    /// A FIFO, a socket or a device.
    Other,
}

impl PathKind {
    pub(super) fn of(stat: &Stat) -> Self {
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => {
                Self::File { executable: stat.st_mode & 0o100 != 0 }
            }
            rustix::fs::FileType::Symlink => Self::Symlink,
            rustix::fs::FileType::Directory => Self::Dir,
            _ => Self::Other,
        }
    }
}

/// Nanoseconds since 1970; times outside of what 64 bits hold (1677 to 2262) are cut to it.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[expect(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the widths of the fields of stat differ between architectures"
)]
pub(super) fn file_stat(stat: &Stat) -> FileStat {
    let dev = stat.st_dev as u64;
    FileStat {
        size: stat.st_size as u64,
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        ino: stat.st_ino.into(),
        dev: (dev ^ dev >> 32) as u32,
    }
}

/// How directories are held: a place to start from, no right to read.
pub(super) const DIR_HANDLE: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ_FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Tries again after an answer of `EAGAIN`: something was renamed meanwhile.
const RACE_RETRIES: usize = 8;

/// Opens an existing entry below `root`; the empty path is `root` itself.
pub(super) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    static NO_OPENAT2: AtomicBool = AtomicBool::new(false);
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return openat(root, c".", flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for _ in 0..RACE_RETRIES {
        if NO_OPENAT2.load(Ordering::Relaxed) {
            break;
        }
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => NO_OPENAT2.store(true, Ordering::Relaxed),
            // Sandboxes refuse calls they do not know with EPERM.
            Err(Errno::NAMETOOLONG | Errno::PERM) => break,
            Err(Errno::AGAIN) => {}
            answer => return answer,
        }
    }
    open_by_component(root, path, flags)
}

fn open_by_component(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let (parent, name) = split_last(path);
    let mut dir: Option<OwnedFd> = None;
    for component in parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let from = dir.as_ref().map_or(root, AsFd::as_fd);
        dir = Some(openat(from, component, DIR_HANDLE, Mode::empty())?);
    }
    openat(dir.as_ref().map_or(root, AsFd::as_fd), name, flags, Mode::empty())
}

/// Whether the answer means that nothing of the work tree lies at the path: it is missing, or a
/// file or a symlink stands where one of its directories should.
pub(super) fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Runs `act` on the parent directory of `path` and its name there.
fn in_parent<T>(
    root: &OwnedFd,
    path: &RepoPath,
    act: impl FnOnce(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let (parent, name) = split_last(path.as_bytes());
    if parent.is_empty() {
        let name = if name.is_empty() { b"." } else { name };
        return act(root.as_fd(), name);
    }
    act(open_beneath(root.as_fd(), parent, DIR_HANDLE)?.as_fd(), name)
}

/// What lies at `path`, by `lstat`; `None` when there is nothing, or only through a symlink.
pub fn stat_one(root: &OwnedFd, path: &RepoPath) -> io::Result<Option<(PathKind, FileStat)>> {
    match in_parent(root, path, |dir, name| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some((PathKind::of(&stat), file_stat(&stat)))),
        Err(errno) if is_absent(errno) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a file for reading. No symlink is followed, and a FIFO does not block; the caller asks
/// [`fstat_of`] whether it got a regular file.
pub fn open_file(root: &OwnedFd, path: &RepoPath) -> io::Result<File> {
    Ok(open_beneath(root.as_fd(), path.as_bytes(), READ_FILE)?.into())
}

/// As [`open_file`], for an entry of an open directory.
pub(super) fn open_entry(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<File> {
    openat(dir, name, READ_FILE, Mode::empty()).map(File::from)
}

/// What an open file is now.
pub fn fstat_of(file: &File) -> io::Result<(PathKind, FileStat)> {
    let stat = fstat(file)?;
    Ok((PathKind::of(&stat), file_stat(&stat)))
}

/// The target of a symlink.
pub fn read_link(root: &OwnedFd, path: &RepoPath) -> io::Result<Vec<u8>> {
    let target = in_parent(root, path, |dir, name| readlinkat(dir, name, Vec::new()))?;
    Ok(target.into_bytes())
}

/// The first of a directory and those above it, from the root down, that is something else than a
/// directory; `None` where all are, or where there is nothing.
pub(super) fn first_non_directory(root: &OwnedFd, dir: &RepoPath) -> io::Result<Option<RepoPath>> {
    let above = std::iter::successors(Some(dir.clone()), RepoPath::parent);
    let mut above: Vec<RepoPath> = above.take_while(|dir| !dir.is_root()).collect();
    while let Some(dir) = above.pop() {
        match stat_one(root, &dir)? {
            Some((PathKind::Dir, _)) => {}
            Some(_) => return Ok(Some(dir)),
            None => return Ok(None),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn symlinks_are_never_followed_on_either_way() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"x").unwrap();
        symlink(outside.path(), temp.path().join("dir")).unwrap();
        symlink(outside.path().join("secret"), temp.path().join("file")).unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        std::fs::write(temp.path().join("real/f"), b"12").unwrap();
        let root: OwnedFd = File::open(temp.path()).unwrap().into();
        let path = |text: &str| RepoPath::new(text).unwrap();
        assert!(stat_one(&root, &path("dir/secret")).unwrap().is_none());
        assert!(open_file(&root, &path("dir/secret")).is_err());
        assert!(open_file(&root, &path("file")).is_err());
        assert_eq!(stat_one(&root, &path("file")).unwrap().unwrap().0, PathKind::Symlink);
        assert!(read_link(&root, &path("file")).unwrap().ends_with(b"/secret"));
        assert_eq!(stat_one(&root, &path("real/f")).unwrap().unwrap().1.size, 2);
        assert_eq!(stat_one(&root, &path("")).unwrap().unwrap().0, PathKind::Dir);
        for text in ["dir/secret", "file"] {
            assert!(open_by_component(root.as_fd(), text.as_bytes(), READ_FILE).is_err());
        }
        assert!(open_by_component(root.as_fd(), b"real/f", READ_FILE).is_ok());
    }

    #[test]
    fn a_fifo_does_not_block() {
        let temp = tempfile::tempdir().unwrap();
        let root: OwnedFd = File::open(temp.path()).unwrap().into();
        rustix::fs::mkfifoat(&root, "pipe", Mode::RUSR | Mode::WUSR).unwrap();
        let file = open_file(&root, &RepoPath::new("pipe").unwrap()).unwrap();
        assert_eq!(fstat_of(&file).unwrap().0, PathKind::Other);
    }
}
