//! How files differ: which paths between two versions of everything, and what in one file.
//!
//! Contents are compared by the lists of their chunks (`regions`): what both hold is not read.
//! Text is compared by lines within the regions that changed (`text`), with a bound on what is in
//! memory at once; of binary and huge files the changed byte ranges are told.

mod blob;
mod changes;
mod ranges;
mod regions;
mod rename;
mod text;

pub use blob::{Blob, Pair};
pub use changes::{DiffSpec, Endpoint, FileChange, FileContent, Item, ItemKind, Status};
pub use ranges::{ChangedRanges, RangePair};
pub use rename::{Move, RenameLimits, RenameNote, RenameOptions};
pub(super) use text::line_ends;
pub use text::{Hunk, LineKind, TextCount, TextOptions, Whitespace};

use std::os::fd::OwnedFd;

use super::diff_trees::{Change, ChangeKind};
use super::path_filter::PathFilter;
use super::read::ContentReader;
use super::{Repository, Result};
use crate::storage::chunker::Chunker;
use crate::storage::objects::Objects;

/// What comparing files needs, made once for a command.
pub struct Differ<'a> {
    repository: &'a Repository,
    reader: ContentReader<'a>,
    chunker: Chunker,
    root: Option<OwnedFd>,
}

impl Differ<'_> {
    /// Where committed things are read.
    pub fn objects(&self) -> &Objects {
        self.reader.objects
    }
}

impl Repository {
    /// The moves among what is staged: added files that come from a deleted one.
    pub(super) fn staged_moves(&self, staged: &[Change]) -> Result<Vec<Move>> {
        let has = |kind| staged.iter().any(|change| change.kind == kind);
        if !has(ChangeKind::Added) || !has(ChangeKind::Deleted) {
            return Ok(Vec::new());
        }
        let spec = DiffSpec {
            old: Endpoint::Tree(self.head_tree()?),
            new: Endpoint::Staging,
            paths: &PathFilter::default(),
            renames: Some(RenameOptions::default()),
        };
        let mut moves = Vec::new();
        self.differ()?.for_each_change(&spec, |change| {
            if let (Some(old), Some(new), Some(similarity)) =
                (change.old, change.new, change.similarity)
            {
                moves.push(Move { from: old.path, to: new.path, similarity });
            }
            Ok(())
        })?;
        Ok(moves)
    }

    /// Compares files of this repository.
    pub fn differ(&self) -> Result<Differ<'_>> {
        Ok(Differ {
            repository: self,
            reader: self.content_reader()?,
            chunker: Chunker::new(self.format().chunker),
            // Without a work tree everything stored can still be compared.
            root: self.work_tree_handle().ok(),
        })
    }
}
