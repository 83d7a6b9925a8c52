//! The bytes of an immutable file, mapped or read.

use std::io;
use std::sync::Arc;

use super::{BAD_SECTOR, Context, OpenFile, Result};
use crate::storage::mapped::Mapped;

/// A window into a file of the repository, with the file.
#[derive(Debug)]
pub struct MappedFile {
    pub(super) map: Mapped,
    pub(super) end: u64,
    pub(super) file: Arc<OpenFile>,
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
        let why = "it was truncated while it was read";
        let why = match (map.is_intact(), file.len()? >= *end) {
            (true, true) => return Ok(()),
            // A sector that the disk cannot read faults as well.
            (false, true) => io::Error::from_raw_os_error(BAD_SECTOR),
            (_, false) => io::Error::new(io::ErrorKind::UnexpectedEof, why),
        };
        Err(why).context("read", &file.path)
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
