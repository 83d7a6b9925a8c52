//! The work tree as the engine reads it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use super::beneath::{PathKind, fstat_of, open_file};
use crate::path::RepoPath;
use crate::storage::engine::{FileSource, OpenedFile};
use crate::storage::format::staging::FileStat;

/// Opens files below a directory handle, following no link.
pub(super) struct WorkTreeSource<'a>(pub &'a OwnedFd);

impl FileSource for WorkTreeSource<'_> {
    fn open(&self, path: &RepoPath) -> io::Result<OpenedFile> {
        let file = open_file(self.0, path)?;
        let (kind, stat) = fstat_of(&file)?;
        let (is_regular, executable) = match kind {
            PathKind::File { executable } => (true, executable),
            _ => (false, false),
        };
        Ok(OpenedFile { file, stat, is_regular, executable })
    }

    fn stat(&self, file: &File) -> io::Result<FileStat> {
        Ok(fstat_of(file)?.1)
    }
}
