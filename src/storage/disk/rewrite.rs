//! Changing a small file that people edit too: a file of settings, inside or outside a repository.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{Context, DiskError, sync_dir};

/// Replaces the file at `path` by what `edit` makes of its bytes; no file counts as empty, and
/// its directory is made. `None` leaves it alone. Readers see the old bytes or the new ones whole, also
/// after a crash; two processes take turns. A link is followed, as people keep their settings
/// elsewhere, and permissions stay. `temporary` is a name in the same directory that nobody uses.
pub fn rewrite<E: From<DiskError>>(
    path: &Path,
    limit: u64,
    temporary: &str,
    edit: impl FnOnce(Vec<u8>) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    let target = match std::fs::canonicalize(path) {
        // What it would lead to may be mounted later.
        Err(error) if path.is_symlink() => Err(error).context("follow the link", path)?,
        target => target.unwrap_or_else(|_| path.to_owned()),
    };
    let parent = target.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).create(parent).context("create", parent)?;
    let turn = File::open(parent).context("open", parent)?;
    // Without locks on this file system the last one wins, whole.
    let _ = flock(&turn, FlockOperation::LockExclusive);
    let (old, mode) = read(&target, limit).context("read", &target)?;
    let Some(new) = edit(old)? else { return Ok(()) };
    let draft = parent.join(temporary);
    let written = write(&draft, &new, mode).context("write", &draft);
    let published = written.and_then(|()| publish(&draft, &target).context("publish", &target));
    if let Err(error) = published {
        discard(&draft);
        return Err(error.into());
    }
    Ok(sync_dir(parent)?)
}

/// The bytes of a file and its permissions.
fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut bytes = Vec::new();
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((bytes, 0o600)),
        answer => answer?,
    };
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
    }
    Ok((bytes, metadata.permissions().mode() & 0o777))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "this is the disk edge")]
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

#[expect(clippy::disallowed_methods, reason = "this is the disk edge")]
fn discard(path: &Path) {
    // It may never have been made.
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn the_file_behind_a_link_is_replaced_whole_and_keeps_its_permissions() {
        let temp = tempfile::tempdir().unwrap();
        let (real, link) = (temp.path().join("real"), temp.path().join("new/link"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(temp.path().join("new")).unwrap();
        symlink(&real, &link).unwrap();
        let edit = |old: Vec<u8>| Ok::<_, DiskError>(Some([&old[..], b" and new"].concat()));
        rewrite(&link, 100, "draft", edit).unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), b"old and new");
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        rewrite(&temp.path().join("a/b/c"), 100, "draft", edit).unwrap();
        assert_eq!(std::fs::read(temp.path().join("a/b/c")).unwrap(), b" and new");
        assert!(rewrite(&real, 5, "draft", edit).is_err());
        assert!(rewrite(temp.path(), 5, "draft", edit).is_err());
        assert!(!temp.path().join("draft").exists());
        std::fs::remove_file(&real).unwrap();
        assert!(rewrite(&link, 100, "draft", edit).is_err());
        assert!(link.is_symlink());
    }

    #[test]
    fn those_who_change_it_at_once_take_turns() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for turn in 0..8 {
                        let name = format!("draft{thread}-{turn}");
                        let edit =
                            |old: Vec<u8>| Ok::<_, DiskError>(Some([&old[..], b"x"].concat()));
                        rewrite(path, 100, &name, edit).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 64]);
    }
}
