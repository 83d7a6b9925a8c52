//! Merges, cherry-picks and reverts.
//!
//! All three merge trees (`trees`) and texts (`text`) and move the work tree from ours to the
//! result ([`super::switch`]). Without conflicts a commit follows at once, in the same operation.
//! With conflicts the record of the operation names the state of the merge; the result has ours
//! where there are conflicts, the work tree has text with markers there, and the user resolves each
//! path with `add` or `rm` and commits, or goes back with `--abort`. Of what is no text ours
//! stays in the work tree; theirs is in the commit that is merged, which `MERGE_HEAD` names, and
//! `restore --theirs` fetches it.

mod pick;
mod run;
mod state;
mod text;
mod trees;

use std::collections::BTreeMap;

use diffy::ConflictStyle;
use thiserror::Error;

pub use pick::PickOptions;
pub use run::{FastForward, MergeOptions, MergeOutcome};
pub use state::Side;

use super::source::WorkTreeSource;
use super::trees::{Stop, edit_tree_by, empty_tree};
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::storage::format::merge_state::{Conflict, ConflictKind, MergeKind};
use crate::storage::format::object::EntryKind;
use crate::storage::objects::TreeTotals;
use text::{Merged, merge_texts};
use trees::merge_trees;

/// Most merge bases of merge bases that are merged with each other.
const MAX_DEPTH: usize = 16;

/// Why a merge cannot begin, go on or end.
#[derive(Debug, Error)]
pub enum MergeError {
    /// Another one waits.
    #[error("a {} waits to be finished", .0.name())]
    Waiting(MergeKind),
    /// There is none to continue or abort.
    #[error("no merge, cherry-pick or revert waits to be finished")]
    NoneWaits,
    /// Another kind waits.
    #[error("what waits to be finished is a {}", .0.name())]
    OtherKind(MergeKind),
    /// Paths are not resolved yet.
    #[error("{} not resolved yet: {}", if paths.len() == 1 { "one path is" } else { "several paths are" }, paths.join(", "))]
    Unresolved {
        /// The paths, escaped.
        paths: Vec<String>,
    },
    /// Something is staged that a merge would mix with its own.
    #[error("changes are staged that are not committed")]
    Staged,
    /// The two have no common ancestor.
    #[error("the two histories have nothing in common")]
    Unrelated,
    /// Not a fast-forward.
    #[error("this is not a fast-forward: both sides have commits of their own")]
    NotFastForward,
    /// Several commits at once.
    #[error("only one commit can be merged at a time")]
    Octopus,
    /// A merge commit has several parents.
    #[error("commit {} is a merge", .0.short())]
    NeedsParent(CommitId),
    /// There is no such parent.
    #[error("commit {} has no parent {number}", commit.short())]
    NoParent {
        /// The commit.
        commit: CommitId,
        /// The number, counted from 1.
        number: usize,
    },
    /// The path is in no conflict.
    #[error("'{0}' is not in conflict")]
    NotInConflict(String),
    /// The state is damaged.
    #[error("the state of the merge is damaged")]
    Damaged(#[source] crate::storage::format::FormatError),
    /// The state of the merge that waits cannot be read.
    #[error("the state of the merge that waits is lost")]
    Lost(#[source] crate::storage::pack_store::StoreError),
}

/// What came of merging trees and texts.
pub(super) struct Combined {
    /// The merged tree, with ours where there are conflicts.
    pub(super) tree: TreeTotals,
    pub(super) conflicts: Vec<Conflict>,
    /// Texts with conflict markers, in path order.
    pub(super) marked: Vec<(RepoPath, EntryKind)>,
}

impl Repository {
    /// Merges trees and texts, and stores the result; the work tree is not touched.
    pub(super) fn combine(
        &self,
        base: Option<TreeId>,
        ours: TreeTotals,
        theirs: TreeId,
        virtual_base: bool,
    ) -> Result<Combined> {
        let objects = self.objects()?;
        let mut merge = merge_trees(objects, base, ours.tree, theirs)?;
        let mut marked = Vec::new();
        let texts = merge_texts(self, &merge.both, ConflictStyle::Merge)?;
        for (file, merged) in merge.both.into_iter().zip(texts) {
            match merged {
                Merged::Clean(kind) => merge.edits.push((file.path, Some(kind))),
                Merged::Marked(kind) if virtual_base => merge.edits.push((file.path, Some(kind))),
                merged => {
                    if let Merged::Marked(kind) = merged {
                        marked.push((file.path.clone(), kind));
                    }
                    merge.conflicts.push(Conflict {
                        path: file.path,
                        kind: ConflictKind::BothChanged,
                        base: file.base,
                        ours: Some(file.ours),
                        theirs: Some(file.theirs),
                        resolved: false,
                    });
                }
            }
        }
        if virtual_base {
            // An ancestor of ancestors has what theirs agreed on last.
            let agreed = |conflict: Conflict| (conflict.path, conflict.base);
            merge.edits.extend(std::mem::take(&mut merge.conflicts).into_iter().map(agreed));
        }
        let edits: BTreeMap<_, _> = merge.edits.into_iter().collect();
        let edits: Vec<_> = edits.into_iter().collect();
        merge.conflicts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let tree = self.write_edited(ours, &edits)?;
        Ok(Combined { tree, conflicts: merge.conflicts, marked })
    }

    /// Writes a tree with some edits, in path order; `None` removes.
    pub(super) fn write_edited(
        &self,
        old: TreeTotals,
        edits: &[(RepoPath, Option<EntryKind>)],
    ) -> Result<TreeTotals> {
        if edits.is_empty() {
            return Ok(old);
        }
        let (root, objects) = (self.work_tree_handle()?, self.objects()?);
        let mut unreadable = None;
        let written = self.engine()?.write_objects(&WorkTreeSource(&root), |worker| {
            match edit_tree_by(objects, Some(old), edits, worker) {
                Ok(totals) => Ok(Some(totals)),
                Err(Stop::Sink(error)) => Err(error),
                Err(Stop::Unreadable(error)) => {
                    unreadable = Some(error);
                    Ok(None)
                }
            }
        })?;
        match (written, unreadable) {
            (Some(totals), _) => Ok(totals),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(RepoError::Worker),
        }
    }

    /// Writes a tree of some entries and nothing else, in path order.
    pub(super) fn write_alone(
        &self,
        entries: &[(RepoPath, Option<EntryKind>)],
    ) -> Result<TreeTotals> {
        self.write_edited(TreeTotals { tree: empty_tree(), files: 0, bytes: 0 }, entries)
    }

    /// The tree that both commits come from: that of the best common ancestor; where a criss-cross
    /// of merges has several, these merged with each other, as git's `ort` does.
    fn base_tree(&self, a: CommitId, b: CommitId, depth: usize) -> Result<Option<TreeId>> {
        let bases = self.merge_bases(a, b)?;
        let Some((first, rest)) = bases.split_first() else { return Ok(None) };
        let commit = self.objects()?.commit(first)?;
        let mut tree = TreeTotals { tree: commit.tree, files: commit.files, bytes: commit.bytes };
        for other in rest.iter().take(if depth < MAX_DEPTH { usize::MAX } else { 0 }) {
            let base = self.base_tree(*first, *other, depth + 1)?;
            let theirs = self.objects()?.commit(other)?.tree;
            tree = self.combine(base, tree, theirs, true)?.tree;
        }
        Ok(Some(tree.tree))
    }
}
