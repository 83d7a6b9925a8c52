//! A merge that waits: its state, resolving its conflicts, going back.
//!
//! The state is a file in a tree that the last record of the log of operations names, so that it
//! goes and comes with everything else that an undo takes back.

use std::collections::BTreeMap;

use super::super::beneath::{PathKind, stat_one};
use super::super::checkout::CheckoutReport;
use super::super::diff_trees::{CommittedEntry, as_staged};
use super::super::ignore::leads_into_git;
use super::super::operation::{Doomed, Held, Keeper, Operation};
use super::super::pathspec::Pathspec;
use super::super::read::ByteRange;
use super::super::switch::{Move, MoveReport, Overwrite, holds_other, remove_dirs};
use super::super::trees::find;
use super::super::{RepoError, Repository, Result};
use super::MergeError;
use super::text::store_bytes;
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::FormatError;
use crate::storage::format::merge_state::{Conflict, ConflictKind, MergeKind, MergeState};
use crate::storage::format::object::EntryKind;
use crate::storage::objects::TreeTotals;

/// The file of the state in its tree.
const STATE_FILE: &str = "merge";
/// Larger than the state of a merge with a million conflicts.
const MAX_STATE: u64 = 1 << 30;
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
    /// The merge, cherry-pick, revert or stash that waits, if one does.
    pub fn merge_state(&self) -> Result<Option<MergeState>> {
        let log = self.operations()?;
        let record = match self.looked_at {
            Some(0) => return Ok(None),
            Some(seq) => Some(log.find(seq)?),
            None => log.last().cloned(),
        };
        let Some(tree) = record.and_then(|record| record.after.merging) else { return Ok(None) };
        let state = self.read_merge_state(&tree).map_err(|error| match error {
            RepoError::Store(error) if error.is_loss() => MergeError::Lost(error).into(),
            error => error,
        })?;
        // Where HEAD went elsewhere, that ended it.
        let waits = self.refs().head_commit()? == Some(state.head);
        Ok(waits.then_some(state))
    }

    /// The paths that keep what waits from being committed.
    pub(in crate::repo) fn unresolved(&self) -> Result<Vec<RepoPath>> {
        let waiting = self.merge_state()?;
        let open = waiting.iter().flat_map(MergeState::open);
        Ok(open.map(|conflict| conflict.path.clone()).collect())
    }

    /// The state that a tree holds.
    pub(in crate::repo) fn read_merge_state(&self, tree: &TreeId) -> Result<MergeState> {
        let damaged = |why| MergeError::Damaged(FormatError::invalid("the state of a merge", why));
        let file = find(self.objects()?, tree, &RepoPath::new_unchecked(STATE_FILE.into()))?;
        let Some(EntryKind::File { size, content, .. }) = file else {
            return Err(damaged("it is no file").into());
        };
        if size > MAX_STATE {
            return Err(damaged("it is too long").into());
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let range = ByteRange { start: 0, end: size };
        self.content_reader()?.in_order(&content, size, range, |part| {
            part.for_each_slice(|slice| {
                bytes.extend_from_slice(slice);
                Ok(())
            })
        })?;
        Ok(MergeState::decode(&bytes).map_err(MergeError::Damaged)?)
    }

    /// Stores a state; the tree that holds it.
    pub(in crate::repo) fn store_merge_state(&self, state: &MergeState) -> Result<TreeId> {
        let name = RepoPath::new_unchecked(STATE_FILE.into());
        let encoded = state.encode_checked().map_err(RepoError::Unstorable)?;
        let kind = store_bytes(self, &name, &encoded)?;
        Ok(self.write_alone(&[(name, Some(kind))])?.tree)
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
        let mut op = self.begin(format!("{} --quit", kind.name()))?;
        self.waiting(kind)?;
        op.set_merge(None)?;
        op.finish()?;
        Ok(())
    }

    /// Goes back to the state before a merge that waits, or before the first of a sequence of
    /// commits. Changes in paths that it did not touch stay; what was done to the others is
    /// stored for `undo`.
    pub fn abort_merge(&self, kind: MergeKind) -> Result<MoveReport> {
        let mut op = self.begin(format!("{} --abort", kind.name()))?;
        let state = self.waiting(kind)?;
        let target = if state.start == state.head {
            state.before
        } else {
            self.objects()?.commit(&state.start)?.tree
        };
        let moved = go_back(&mut op, &state, target)?;
        if state.start != state.head {
            op.move_head(state.start)?;
        }
        op.set_merge(None)?;
        op.finish()?;
        Ok(moved)
    }

    /// Goes back to the state before the commit that waits, or leaves out the next one of a
    /// sequence; the others wait then.
    pub(super) fn leave_step(&self, kind: MergeKind) -> Result<(MergeState, MoveReport)> {
        let mut op = self.begin(format!("{} --skip", kind.name()))?;
        let mut state = self.waiting(kind)?;
        let moved = if state.is_between() {
            state.todo.pop();
            MoveReport::default()
        } else {
            go_back(&mut op, &state, state.before)?
        };
        op.set_merge(state.rest(state.head, state.before).as_ref())?;
        op.finish()?;
        Ok((state, moved))
    }

    /// Notes that conflicts are resolved, those whose paths match and were not left out. A stash that
    /// was brought back waits no more when all of them are.
    pub(crate) fn resolve_conflicts(
        &self,
        op: &mut Operation<'_>,
        paths: &Pathspec,
        is_left_out: &dyn Fn(&RepoPath) -> bool,
    ) -> Result<()> {
        let Some(mut state) = self.merge_state()? else { return Ok(()) };
        let mut changed = false;
        for conflict in &mut state.conflicts {
            let is_meant = paths.matches(conflict.path.as_bytes(), false);
            if !conflict.resolved && is_meant && !is_left_out(&conflict.path) {
                self.warn_of_markers(conflict)?;
                conflict.resolved = true;
                changed = true;
            }
        }
        if !changed {
            return Ok(());
        }
        let is_over =
            state.kind == MergeKind::Stash && state.conflicts.iter().all(|one| one.resolved);
        op.set_merge(Some(&state).filter(|_| !is_over))
    }

    /// Writes text with conflict markers over ours, which is staged, and conflicts that a sparse work
    /// tree does not hold; the work tree was brought to `merged` before.
    pub(in crate::repo) fn write_marked(
        &self,
        op: &mut Operation<'_>,
        merged: TreeTotals,
        marked: Vec<(RepoPath, EntryKind)>,
        unseen: Vec<(RepoPath, Option<EntryKind>)>,
    ) -> Result<()> {
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        let mut doomed = Vec::new();
        for (path, _) in &marked {
            let is_modified = self.is_modified(&root, op.staged(), path)?;
            if is_modified.is_some() {
                doomed.push(Doomed { path: path.clone(), held: Held::as_modified(is_modified) });
            }
        }
        // What cannot be stored is not overwritten either.
        keeper.keep(&doomed, op.staged())?;
        op.keep(keeper.finish()?)?;
        let marked = marked.into_iter().map(|(path, kind)| (path, Some(kind)));
        let mut entries: Vec<_> = marked.chain(unseen).collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        op.writes_entries(&entries)?;
        self.announce_over(op, merged, &entries)?;
        self.write_over(op, entries)?;
        Ok(())
    }

    /// Announces what is written over a tree that the work tree was brought to, so that an undo of a
    /// command that is killed then knows it for its own.
    pub(in crate::repo) fn announce_over(
        &self,
        op: &mut Operation<'_>,
        tree: TreeTotals,
        entries: &[(RepoPath, Option<EntryKind>)],
    ) -> Result<()> {
        if entries.is_empty() {
            Ok(())
        } else {
            op.announce(self.write_edited(tree, entries)?.tree)
        }
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
    pub fn take_side(&self, paths: &Pathspec, side: Side) -> Result<CheckoutReport> {
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
        let entries = chosen.into_iter().map(|conflict| {
            let kind = match side {
                Side::Ours => conflict.ours,
                Side::Theirs => conflict.theirs,
            };
            (conflict.path, kind)
        });
        let entries = self.with_what_gives_way(&op, entries.collect())?;
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        let doomed: Vec<Doomed> = entries
            .iter()
            .map(|(path, _)| Doomed { path: path.clone(), held: Held::Unknown })
            .collect();
        if let Some((path, why)) = keeper.keep(&doomed, op.staged())?.into_iter().next() {
            return Err(RepoError::CannotKeep { path, why });
        }
        op.keep(keeper.finish()?)?;
        op.moves_work_tree();
        op.writes_entries(&entries)?;
        op.checkpoint()?;
        self.write_over(&op, entries)
    }

    /// Entries to be written, with the files of directories in the place of files. Where one of these
    /// holds something that is not staged, it stays.
    fn with_what_gives_way(
        &self,
        op: &Operation<'_>,
        entries: Vec<(RepoPath, Option<EntryKind>)>,
    ) -> Result<Vec<(RepoPath, Option<EntryKind>)>> {
        let root = self.work_tree_handle()?;
        let is_staged = |path: &RepoPath| Ok(op.staged().view(path.as_bytes()).is_some());
        let mut all = BTreeMap::new();
        for (path, kind) in &entries {
            let is_file = kind.clone().and_then(as_staged).is_some();
            let is_dir = matches!(stat_one(&root, path), Ok(Some((PathKind::Dir, _))));
            if is_file && is_dir && !holds_other(self, path, is_staged)? {
                let below = op.staged().views_within(path.as_bytes());
                all.extend(below.filter_map(|view| Some((RepoPath::new(view.path).ok()?, None))));
            }
        }
        all.extend(entries);
        Ok(all.into_iter().collect())
    }

    /// Writes entries over what is in the work tree, or removes what is there: what is staged, or was
    /// kept. What is neither stays, and is told.
    pub(in crate::repo) fn write_over(
        &self,
        op: &Operation<'_>,
        entries: Vec<(RepoPath, Option<EntryKind>)>,
    ) -> Result<CheckoutReport> {
        let (root, work_tree) = (self.work_tree_handle()?, self.guarded()?);
        let (mut written, mut skipped) = (Vec::new(), Vec::new());
        for (path, kind) in entries {
            self.is_modified_else_note(&root, op.staged(), &path)?;
            if let Some((kind, size)) = kind.and_then(as_staged) {
                written.push(CommittedEntry { path, kind, size });
                continue;
            }
            let stat = stat_one(&root, &path).unwrap_or_default();
            let is_file = matches!(stat, Some((PathKind::File { .. } | PathKind::Symlink, _)));
            if is_file && !leads_into_git(path.as_bytes()) {
                match work_tree.remove_file(&path) {
                    Err(error) if error.is_of_one_path() => skipped.push((path, error.to_string())),
                    answer => drop(answer?),
                }
            }
        }
        // The files of a directory in the place of a file may be gone by now.
        for CommittedEntry { path, .. } in &written {
            let is_dir = matches!(work_tree.stat(path), Ok(Some((PathKind::Dir, _))));
            if is_dir && !holds_other(self, path, |_| Ok(false))? {
                remove_dirs(self, &work_tree, path)?;
            }
        }
        let mut report = self.checkout(&work_tree, written.into_iter().map(Ok))?;
        report.skipped.append(&mut skipped);
        self.tell_skipped(&report.skipped);
        Ok(report)
    }
}

/// From what a merge came to, to a tree. Between two commits nothing of what lies in the work tree
/// is the merge's, so that it is not overwritten.
fn go_back(op: &mut Operation<'_>, state: &MergeState, target: TreeId) -> Result<MoveReport> {
    let also: Vec<RepoPath> =
        state.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
    let overwrite = if state.is_between() { Overwrite::Refuse } else { Overwrite::Store };
    let moving = Move {
        also: &also,
        keeps_also: true,
        overwrite,
        ..Move::new(Some(state.merged), Some(target))
    };
    op.move_over(&moving)
}
