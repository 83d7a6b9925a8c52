//! Names of directory entries while a directory is listed.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, RawDir, statat};

use super::MAX_PIECE;

/// Names read from a directory, in one buffer.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each name ends, and its type.
    pub(super) ends: Vec<(usize, FileType)>,
}

impl Names {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], FileType)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, kind))| (&self.bytes[start..*end], *kind))
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.iter().any(|(one, _)| one == name.as_bytes())
    }

    /// Reads the next piece; answers whether the directory ended.
    pub(super) fn fill(&mut self, reader: &mut RawDir<'_, &OwnedFd>) -> rustix::io::Result<bool> {
        self.bytes.clear();
        self.ends.clear();
        while self.ends.len() < MAX_PIECE {
            let Some(entry) = reader.next() else { return Ok(true) };
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.bytes.extend_from_slice(name);
                self.ends.push((self.bytes.len(), entry.file_type()));
            }
        }
        Ok(false)
    }
}

/// Whether a directory holds a name, as far as possible without a system call.
pub(super) struct Presence<'n, 'w> {
    pub(super) names: &'n Names,
    pub(super) complete: bool,
    pub(super) handle: &'w OwnedFd,
}

impl Presence<'_, '_> {
    pub(super) fn has(&self, name: &str) -> bool {
        if self.complete {
            return self.names.contains(name);
        }
        statat(self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}
