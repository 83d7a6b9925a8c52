//! A merge that waits: its state on disk, resolving its conflicts, going back.

use std::path::Path;

use super::super::beneath::{PathKind, stat_one};
use super::super::diff_trees::{CommittedEntry, as_staged};
use super::super::operation::{Doomed, Keeper, OpRecord};
use super::super::pathspec::Pathspec;
use super::super::switch::{Move, MoveReport, Overwrite};
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::MergeError;
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::merge_state::{Conflict, ConflictKind, MergeKind, MergeState};
use crate::storage::format::object::EntryKind;

/// The file of the state.
pub(in crate::repo) const STATE_FILE: &str = "merge";
/// The state of a merge that was undone.
pub(in crate::repo) const ASIDE_FILE: &str = "merge-undone";
/// Larger than the state of a merge with a million conflicts.
pub(in crate::repo) const MAX_STATE: u64 = 1 << 30;
/// Files larger than this are not searched for conflict markers, in bytes.
const MAX_SEARCHED: u64 = 16 << 20;

/// One side of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That of the branch that was merged into.
    Ours,
    /// That of what was merged.
    Theirs,
}

impl Repository {
    /// The merge, cherry-pick or revert that waits, if one does.
    pub fn merge_state(&self) -> Result<Option<MergeState>> {
        let Some(bytes) = self.disk.read(Path::new(STATE_FILE), MAX_STATE)? else {
            return Ok(None);
        };
        let state = MergeState::decode(&bytes).map_err(MergeError::Damaged)?;
        // Where HEAD went elsewhere, a commit or an undo ended it.
        let waits = self.refs().head_commit()? == Some(state.head);
        Ok(waits.then_some(state))
    }

    pub(super) fn write_merge_state(&self, state: &MergeState) -> Result<()> {
        Ok(self.disk.publish(Path::new(STATE_FILE), &state.encode(), true)?)
    }

    /// Forgets a merge that waits; the work tree stays as it is.
    pub fn forget_merge(&self) -> Result<()> {
        self.disk.remove(Path::new(STATE_FILE))?;
        Ok(())
    }

    /// The merge that waits, if this operation began it.
    pub(crate) fn merge_begun_by(&self, record: &OpRecord) -> Result<Option<MergeState>> {
        let state = self.merge_state()?;
        let staged = record.after.staged.tree;
        Ok(state.filter(|state| record.moved_work_tree && state.merged == staged))
    }

    /// Lets a merge that was undone wait no more.
    pub(crate) fn set_merge_aside(&self, state: &MergeState) -> Result<()> {
        self.disk.publish(Path::new(ASIDE_FILE), &state.encode(), true)?;
        self.forget_merge()
    }

    /// Lets a merge wait again that was set aside, after a redo to what it had staged.
    pub(crate) fn take_merge_up(&self, staged: TreeId) -> Result<()> {
        let Some(bytes) = self.disk.read(Path::new(ASIDE_FILE), MAX_STATE)? else { return Ok(()) };
        let state = MergeState::decode(&bytes).map_err(MergeError::Damaged)?;
        if state.merged == staged && self.refs().head_commit()? == Some(state.head) {
            self.write_merge_state(&state)?;
            self.disk.remove(Path::new(ASIDE_FILE))?;
        }
        Ok(())
    }

    /// The merge that waits and is of this kind.
    pub(super) fn waiting(&self, kind: MergeKind) -> Result<MergeState> {
        match self.merge_state()? {
            None => Err(MergeError::NoneWaits.into()),
            Some(state) if state.kind != kind => Err(MergeError::OtherKind(state.kind).into()),
            Some(state) => Ok(state),
        }
    }

    /// Ends a merge that waits without a commit, keeping the work tree.
    pub fn quit_merge(&self, kind: MergeKind) -> Result<()> {
        let _lock = self.lock()?;
        self.waiting(kind)?;
        self.forget_merge()
    }

    /// Goes back to the state before a merge that waits. Changes in paths that it did not touch
    /// stay; what was done to the others is stored for `undo`.
    pub fn abort_merge(&self, kind: MergeKind) -> Result<MoveReport> {
        let mut op = self.begin(format!("{} --abort", kind.name()))?;
        let state = self.waiting(kind)?;
        let target = self.objects()?.commit(&state.head)?.tree;
        let also: Vec<RepoPath> =
            state.conflicts.into_iter().map(|conflict| conflict.path).collect();
        let moving = Move {
            also: &also,
            overwrite: Overwrite::Store,
            ..Move::new(Some(state.merged), Some(target))
        };
        let moved = op.move_to(&moving)?;
        op.finish()?;
        self.forget_merge()?;
        Ok(moved)
    }

    /// Notes that conflicts are resolved, those whose paths match.
    pub(crate) fn resolve_conflicts(&self, paths: &Pathspec) -> Result<()> {
        let Some(mut state) = self.merge_state()? else { return Ok(()) };
        let mut changed = false;
        for conflict in &mut state.conflicts {
            if !conflict.resolved && paths.matches(conflict.path.as_bytes(), false) {
                self.warn_of_markers(conflict)?;
                conflict.resolved = true;
                changed = true;
            }
        }
        if changed { self.write_merge_state(&state) } else { Ok(()) }
    }

    fn warn_of_markers(&self, conflict: &Conflict) -> Result<()> {
        use std::io::Read;
        if conflict.kind != ConflictKind::BothChanged {
            return Ok(());
        }
        let root = self.work_tree_handle()?;
        let Ok(file) = super::super::beneath::open_file(&root, &conflict.path) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let is_read = file.take(MAX_SEARCHED).read_to_end(&mut bytes).is_ok();
        let is_marker =
            |line: &[u8]| line.starts_with(b"<<<<<<< ") || line.starts_with(b">>>>>>> ");
        if is_read && bytes.split(|byte| *byte == b'\n').any(is_marker) {
            let path = &conflict.path;
            self.monitor().warn(&format!("'{path}' still holds conflict markers"));
        }
        Ok(())
    }

    /// Writes one side of conflicts into the work tree; what was there is stored for `undo`. The
    /// conflicts are resolved by `add` as any other.
    pub fn take_side(&self, paths: &Pathspec, side: Side) -> Result<u64> {
        let mut op = self.begin("restore one side of a conflict")?;
        let state = self.merge_state()?.ok_or(MergeError::NoneWaits)?;
        let chosen: Vec<Conflict> = state
            .conflicts
            .into_iter()
            .filter(|conflict| paths.matches(conflict.path.as_bytes(), false))
            .collect();
        if chosen.is_empty() {
            let paths: Vec<String> = paths.shown().collect();
            return Err(MergeError::NotInConflict(paths.join("', '")).into());
        }
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        let doomed: Vec<Doomed> = chosen
            .iter()
            .map(|conflict| Doomed { path: conflict.path.clone(), is_staged: false })
            .collect();
        if let Some((path, why)) = keeper.keep(&doomed, op.staged())?.into_iter().next() {
            return Err(RepoError::CannotKeep { path, why });
        }
        op.keep(keeper.finish()?);
        op.moves_work_tree();
        op.checkpoint()?;
        let work_tree = WorkTree::open(&self.place().work_tree)?;
        let entries = chosen.into_iter().map(|conflict| {
            let kind = match side {
                Side::Ours => conflict.ours,
                Side::Theirs => conflict.theirs,
            };
            (conflict.path, kind)
        });
        self.write_over(&work_tree, entries.collect())
    }

    /// Writes entries over what is in the work tree, or removes what is there.
    pub(in crate::repo) fn write_over(
        &self,
        work_tree: &WorkTree,
        entries: Vec<(RepoPath, Option<EntryKind>)>,
    ) -> Result<u64> {
        let root = self.work_tree_handle()?;
        let mut written = Vec::new();
        for (path, kind) in entries {
            if let Some((kind, size)) = kind.and_then(as_staged) {
                written.push(CommittedEntry { path, kind, size });
                continue;
            }
            let stat = stat_one(&root, &path).unwrap_or_default();
            if matches!(stat, Some((PathKind::File { .. } | PathKind::Symlink, _))) {
                work_tree.remove_file(&path)?;
            }
        }
        let report = self.checkout(work_tree, written.into_iter().map(Ok))?;
        for (path, why) in &report.skipped {
            self.monitor().warn(&format!("'{path}' was left out: {why}"));
        }
        Ok(report.files)
    }
}
