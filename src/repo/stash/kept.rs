//! What the record of a stash says of the work tree, so that one undo takes it back.

use std::collections::BTreeMap;

use super::super::diff_trees::as_staged;
use super::super::operation::{Doomed, Held, Keeper, Operation};
use super::super::trees::{TreeChange, TreeDiff, find};
use super::super::{RepoError, Repository, Result};
use super::Made;
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::object::EntryKind;

/// Files that are looked at together before a stash overwrites them.
const KEPT_AT_ONCE: usize = 4096;

impl Repository {
    /// Notes what the work tree held beyond what was staged, and what comes where nothing was.
    pub(super) fn keep_unstaged(
        &self,
        op: &mut Operation<'_>,
        before: TreeId,
        made: &Made,
    ) -> Result<()> {
        let objects = self.objects()?;
        let (mut kept, mut written) = (BTreeMap::new(), Vec::new());
        for change in TreeDiff::new(objects, Some(before), Some(made.all)) {
            let TreeChange { path, new, .. } = change?;
            if new.is_some() {
                kept.insert(path, new);
            } else {
                let kind = find(objects, &made.target, &path)?;
                written.push((path, kind.filter(|kind| as_staged(kind.clone()).is_some())));
            }
        }
        // What a sparse work tree need not hold does not come back with a move.
        let wanted = self.wanted()?;
        if !wanted.is_everything() {
            for change in TreeDiff::new(objects, Some(made.target), Some(made.all)) {
                let TreeChange { path, new, .. } = change?;
                if new.is_some() && !wanted.wants(path.as_bytes(), false) {
                    kept.insert(path, new);
                }
            }
        }
        if !kept.is_empty() {
            let kept: Vec<_> = kept.into_iter().collect();
            op.keep(Some(self.write_alone(&kept)?.tree))?;
        }
        op.writes_entries(&written)
    }

    /// Notes what the work tree holds where a stash goes, and what it will hold: little of that is
    /// staged then.
    pub(super) fn keep_before(
        &self,
        op: &mut Operation<'_>,
        (ours, target): (TreeId, TreeId),
        besides: &BTreeMap<RepoPath, Option<EntryKind>>,
    ) -> Result<()> {
        let mut written = BTreeMap::new();
        for change in TreeDiff::new(self.objects()?, Some(ours), Some(target)) {
            let TreeChange { path, new, .. } = change?;
            written.insert(path, new);
        }
        written.extend(besides.clone());
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        let doomed = |path: &RepoPath| {
            let is_modified = self.is_modified(&root, op.staged(), path)?;
            let doomed = Doomed { path: path.clone(), held: Held::as_modified(is_modified) };
            Ok(is_modified.is_some().then_some(doomed))
        };
        let paths: Vec<RepoPath> = written.keys().cloned().collect();
        for batch in paths.chunks(KEPT_AT_ONCE) {
            let doomed = batch.iter().filter_map(|path| doomed(path).transpose());
            let doomed = doomed.collect::<Result<Vec<_>>>()?;
            if let Some((path, why)) = keeper.keep(&doomed, op.staged())?.into_iter().next() {
                return Err(RepoError::CannotKeep { path, why });
            }
        }
        op.keep(keeper.finish()?)?;
        op.writes_entries(&written.into_iter().collect::<Vec<_>>())
    }
}
