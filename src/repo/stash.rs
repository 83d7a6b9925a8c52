//! `stash`: puts local changes aside as commits, and brings them back.
//!
//! As in git, a stash is a commit of the work tree whose parents are the commit it was made on, a
//! commit of what was staged and, if files that were not tracked went too, one of these. Refs
//! `stash/NUMBER` lead to stashes; `stash@{0}` is the one with the highest number.
//!
//! Everything is staged first, so that all of it is stored, and then taken out of the work tree.
//! Bringing back goes the other way round: the work tree is moved, with everything staged, and then
//! what was not staged is unstaged. Either is one record in the log of operations, and a kill in
//! between loses nothing: what the work tree held is announced before it is touched.
//!
//! A stash that conflicts waits as a merge does until each conflict is resolved, with `add` or `rm`.

mod kept;

use std::collections::BTreeMap;

use thiserror::Error;

use super::add::AddOptions;
use super::diff_trees::as_staged;
use super::operation::Operation;
use super::pathspec::Pathspec;
use super::switch::{Move, MoveReport, Reach, holds};
use super::trees::{TreeChange, TreeDiff, TreeWalk, find};
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::storage::chunker::Chunker;
use crate::storage::format::merge_state::{Conflict, MergeKind, MergeState};
use crate::storage::format::object::{Commit, EntryKind, Signature};
use crate::storage::format::refs::Head;
use crate::storage::objects::TreeTotals;

/// Namespace of the stashes.
const STASHES: &str = "stash";

/// Why a stash cannot be found or brought back.
#[derive(Debug, Error)]
pub enum StashError {
    /// There is no such stash.
    #[error("there is no stash@{{{index}}}: {known} known")]
    NotThere {
        /// Its place in the list.
        index: usize,
        /// How many there are.
        known: usize,
    },
    /// A commit that no stash made.
    #[error("commit {} is no stash", .0.short())]
    NotAStash(CommitId),
    /// What was staged cannot be staged again.
    #[error("what was staged then does not go together with what is staged now: '{0}'")]
    IndexConflict(RepoPath),
    /// A file that was not tracked, where there is a tracked one now, or above it.
    #[error("'{0}' was not tracked when it was put aside, and is tracked now")]
    Tracked(RepoPath),
}

/// What is put aside, and how.
#[derive(Debug, Clone)]
pub struct StashOptions {
    /// What it is, instead of the last commit's title.
    pub message: Option<String>,
    /// Which files.
    pub paths: Pathspec,
    /// Files that are not tracked too.
    pub untracked: bool,
    /// What is staged stays.
    pub keep_index: bool,
    /// Who does it.
    pub committer: Signature,
}

/// A stash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stash {
    /// Its commit.
    pub id: CommitId,
    /// What it is.
    pub message: String,
    /// When it was made, and by whom.
    pub made: Signature,
    /// The ref that leads to it.
    reference: String,
}

/// What was put aside.
#[derive(Debug)]
pub struct StashReport {
    /// The stash, and what happened to the work tree; `None` where there were no local changes.
    pub made: Option<(Stash, MoveReport)>,
    /// Files that were left out; the monitor was told of each.
    pub skipped: u64,
}

/// How a stash is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyOptions {
    /// What was staged is staged again.
    pub index: bool,
    /// The stash goes if there are no conflicts, and nothing was left out.
    pub pop: bool,
}

/// What came of bringing a stash back.
#[derive(Debug)]
pub struct ApplyReport {
    /// The stash.
    pub stash: Stash,
    /// What happened to the work tree.
    pub moved: MoveReport,
    /// What could not be merged: text has conflict markers, of everything else ours stays.
    pub conflicts: Vec<Conflict>,
}

/// What was made to be put aside.
struct Made {
    message: String,
    index: TreeTotals,
    work: TreeTotals,
    untracked: Option<TreeTotals>,
    /// Everything staged.
    all: TreeId,
    /// What is left.
    target: TreeId,
}

impl Repository {
    /// Puts local changes aside.
    pub fn stash(&self, options: &StashOptions) -> Result<StashReport> {
        let mut op = self.begin("stash push")?;
        self.check_none_waits()?;
        let head = op.head_commit()?.ok_or_else(|| Self::unborn(op.head()))?;
        let before = op.staged_tree()?;
        let made = self.make_stash(&mut op, head, before, options).and_then(|(made, skipped)| {
            let enter = |made: Made| {
                let stash = self.enter_stash(&mut op, head, &made, &options.committer)?;
                Ok::<_, RepoError>((made, stash))
            };
            Ok((made.map(enter).transpose()?, skipped))
        });
        let (made, stash, skipped) = match made {
            Ok((Some((made, stash)), skipped)) => (made, stash, skipped),
            other => {
                // Where the disk is full it may fail as well, and the first error says why.
                let restaged = op.stage_tree(before.tree);
                let (_, skipped) = other?;
                restaged?;
                return Ok(StashReport { made: None, skipped });
            }
        };
        self.keep_unstaged(&mut op, before.tree, &made)?;
        let moved = op.move_to(&Move::new(Some(made.all), Some(made.target)));
        if moved.is_err() {
            op.got_no_further(made.target);
        }
        // Half of it may be out of the work tree already: whatever else failed, the stash is there.
        let finished = op.finish();
        let moved = moved?;
        finished?;
        Ok(StashReport { made: Some((stash, moved)), skipped })
    }

    /// Stages and stores what is to be put aside; also how many files were left out.
    fn make_stash(
        &self,
        op: &mut Operation<'_>,
        head: CommitId,
        before: TreeTotals,
        options: &StashOptions,
    ) -> Result<(Option<Made>, u64)> {
        let commit = self.objects()?.commit(&head)?;
        let last = totals_of(&commit);
        let paths = &options.paths;
        let add = |tracked_only| AddOptions {
            paths: paths.clone(),
            tracked_only,
            ..AddOptions::default()
        };
        let mut skipped = self.add_to(op.staging(), &add(true))?.skipped;
        let tracked = op.staged_tree()?;
        let mut all = tracked;
        if options.untracked {
            // It meets those again.
            skipped = self.add_to(op.staging(), &add(false))?.skipped;
            all = op.staged_tree()?;
        }
        let index = self.only_at(last, before.tree, paths)?;
        let work = self.work_at(last, tracked.tree, paths)?;
        let untracked = (all.tree != tracked.tree)
            .then(|| self.added_alone(tracked.tree, all.tree))
            .transpose()?;
        if index.tree == last.tree && work.tree == last.tree && untracked.is_none() {
            return Ok((None, skipped));
        }
        let target = if options.keep_index {
            before.tree
        } else {
            self.only_at(before, last.tree, paths)?.tree
        };
        let moving = Move::new(Some(all.tree), Some(target));
        let (_, obstacles) = self.plan_move(op.staged(), &moving)?;
        if !obstacles.is_empty() {
            return Err(RepoError::InTheWay(obstacles));
        }
        let message = stash_message(op.head(), head, &commit, options.message.as_deref());
        let made = Made { message, index, work, untracked, all: all.tree, target };
        Ok((Some(made), skipped))
    }

    /// Makes the commits and lets a ref lead to them.
    fn enter_stash(
        &self,
        op: &mut Operation<'_>,
        head: CommitId,
        made: &Made,
        committer: &Signature,
    ) -> Result<Stash> {
        let engine = self.engine()?;
        let write = |totals: TreeTotals, parents: Vec<CommitId>, message: String| {
            let commit = Commit {
                tree: totals.tree,
                files: totals.files,
                bytes: totals.bytes,
                parents,
                author: committer.clone(),
                committer: committer.clone(),
                message,
            };
            self.write_commit(&engine, &commit)
        };
        let message = &made.message;
        let mut parents = vec![head];
        parents.push(write(made.index, vec![head], format!("index: {message}"))?);
        if let Some(untracked) = made.untracked {
            parents.push(write(untracked, Vec::new(), format!("untracked files: {message}"))?);
        }
        let id = write(made.work, parents, message.clone())?;
        let newest = self.stash_refs()?.first().map_or(0, |(number, ..)| *number);
        let reference = format!("{STASHES}/{}", newest + 1);
        op.set_ref(&reference, Some(id.into()))?;
        op.describe(format!("stash push: {message}"));
        Ok(Stash { id, message: message.clone(), made: committer.clone(), reference })
    }

    /// A tree with what another one has at some paths.
    fn only_at(&self, tree: TreeTotals, other: TreeId, paths: &Pathspec) -> Result<TreeTotals> {
        let is_meant = |change: &TreeChange| Ok(paths.matches(change.path.as_bytes(), false));
        self.write_edited(tree, &self.edits(tree.tree, other, is_meant)?)
    }

    /// The last commit with what was changed in the work tree. What is not tracked any more and lies
    /// there as it was committed was not removed from it.
    fn work_at(&self, last: TreeTotals, tracked: TreeId, paths: &Pathspec) -> Result<TreeTotals> {
        let (root, chunker) = (self.work_tree_handle()?, Chunker::new(self.format().chunker));
        let is_meant = |change: &TreeChange| {
            let gone = change.old.clone().filter(|_| change.new.is_none()).and_then(as_staged);
            let is_there = |entry| holds(&root, &chunker, &change.path, &entry);
            Ok(paths.matches(change.path.as_bytes(), false) && !gone.map_or(Ok(false), is_there)?)
        };
        self.write_edited(last, &self.edits(last.tree, tracked, is_meant)?)
    }

    /// A tree with only what was added between two.
    fn added_alone(&self, old: TreeId, new: TreeId) -> Result<TreeTotals> {
        self.write_alone(&self.edits(old, new, |change| Ok(change.old.is_none()))?)
    }

    fn edits(
        &self,
        old: TreeId,
        new: TreeId,
        is_meant: impl Fn(&TreeChange) -> Result<bool>,
    ) -> Result<Vec<(RepoPath, Option<EntryKind>)>> {
        let mut edits = Vec::new();
        for change in TreeDiff::new(self.objects()?, Some(old), Some(new)) {
            let change = change?;
            if is_meant(&change)? {
                edits.push((change.path, change.new));
            }
        }
        Ok(edits)
    }

    /// Numbers, refs and commits of the stashes, the newest first.
    fn stash_refs(&self) -> Result<Vec<(u64, String, CommitId)>> {
        let mut found: Vec<_> = (self.refs().list(STASHES)?.into_iter())
            .filter_map(|(name, record)| {
                let number = name.strip_prefix(STASHES)?.strip_prefix('/')?.parse().ok()?;
                Some((number, name, record.new.commit))
            })
            .collect();
        found.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
        Ok(found)
    }

    /// The stashes, the newest first.
    pub fn stashes(&self) -> Result<Vec<Stash>> {
        let as_stash = |(_, reference, id): (u64, String, CommitId)| {
            let Commit { message, committer: made, .. } = self.objects()?.commit(&id)?;
            Ok(Stash { id, message, made, reference })
        };
        self.stash_refs()?.into_iter().map(as_stash).collect()
    }

    /// One of them; 0 is the newest.
    pub fn find_stash(&self, index: usize) -> Result<Stash> {
        let mut stashes = self.stash_refs()?;
        let known = stashes.len();
        if index >= known {
            return Err(StashError::NotThere { index, known }.into());
        }
        let (_, reference, id) = stashes.swap_remove(index);
        let Commit { message, committer: made, .. } = self.objects()?.commit(&id)?;
        Ok(Stash { id, message, made, reference })
    }

    /// The commit that `stash` or `stash@{1}` names; `None` for other revisions, and where `stash`
    /// is no stash.
    pub(super) fn resolve_stash(&self, revision: &str) -> Result<Option<CommitId>> {
        let Some(index) = stash_index(revision) else { return Ok(None) };
        match self.find_stash(index) {
            Ok(stash) => Ok(Some(stash.id)),
            Err(RepoError::Stash(StashError::NotThere { .. })) if revision == STASHES => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings a stash back: what it changed is merged into what is there. Local changes in the same
    /// files stop it before anything is touched.
    pub fn apply_stash(&self, index: usize, options: ApplyOptions) -> Result<ApplyReport> {
        let word = if options.pop { "stash pop" } else { "stash apply" };
        let mut op = self.begin(word)?;
        self.check_none_waits()?;
        let stash = self.find_stash(index)?;
        let commit = self.objects()?.commit(&stash.id)?;
        let [base, index_commit, rest @ ..] = commit.parents.as_slice() else {
            return Err(StashError::NotAStash(stash.id).into());
        };
        let ours = op.staged_tree()?;
        let base = self.objects()?.commit(base)?.tree;
        let combined = self.combine(Some(base), ours, commit.tree, false)?;
        self.check_conflict_paths(&op, &combined)?;
        let index_tree = self.objects()?.commit(index_commit)?.tree;
        let staged = if options.index {
            self.merged_index(base, ours, index_tree)?
        } else {
            self.with_added(ours, combined.tree.tree)?
        };
        let untracked = rest.first().copied();
        let target = self.with_untracked(combined.tree, self.tree_of(untracked)?)?;
        op.describe(format!("{word}: {}", stash.message));
        let unseen = self.unseen_conflicts(&combined.conflicts, &combined.marked)?;
        let marked = combined.marked.into_iter().map(|(path, kind)| (path, Some(kind)));
        let besides: BTreeMap<_, _> = marked.chain(unseen).collect();
        self.keep_before(&mut op, (ours.tree, target.tree), &besides)?;
        // What is not staged then lies in the work tree alone, wanted there or not.
        let reach = Reach::Everything;
        let moved = op.move_to(&Move { reach, ..Move::new(Some(ours.tree), Some(target.tree)) })?;
        let besides: Vec<_> = besides.into_iter().collect();
        self.announce_over(&mut op, target, &besides)?;
        self.write_over(&op, besides)?;
        op.stage_tree(staged.tree)?;
        if combined.conflicts.is_empty() {
            // Of what was left out, the stash alone has the bytes.
            if options.pop && moved.skipped.is_empty() {
                op.set_ref(&stash.reference, None)?;
            }
        } else if let Some(head) = op.head_commit()? {
            let (others, message) = (vec![stash.id], stash.message.clone());
            let state = MergeState {
                merged: combined.tree.tree,
                conflicts: combined.conflicts.clone(),
                ..MergeState::new(MergeKind::Stash, head, others, message, staged.tree)
            };
            op.set_merge(Some(&state))?;
        }
        op.finish()?;
        Ok(ApplyReport { stash, moved, conflicts: combined.conflicts })
    }

    fn merged_index(&self, base: TreeId, ours: TreeTotals, theirs: TreeId) -> Result<TreeTotals> {
        let combined = self.combine(Some(base), ours, theirs, false)?;
        match combined.conflicts.into_iter().next() {
            Some(conflict) => Err(StashError::IndexConflict(conflict.path).into()),
            None => Ok(combined.tree),
        }
    }

    /// Ours with the files that the merge added: like git, only these are staged.
    fn with_added(&self, ours: TreeTotals, merged: TreeId) -> Result<TreeTotals> {
        self.write_edited(ours, &self.edits(ours.tree, merged, |change| Ok(change.old.is_none()))?)
    }

    /// The merged tree with the files that were not tracked.
    fn with_untracked(&self, merged: TreeTotals, more: Option<TreeId>) -> Result<TreeTotals> {
        let Some(more) = more else { return Ok(merged) };
        let objects = self.objects()?;
        let mut edits = Vec::new();
        for item in TreeWalk::new(objects, &more, RepoPath::root()) {
            let item = item?;
            if as_staged(item.kind.clone()).is_none() {
                continue;
            }
            match find(objects, &merged.tree, &item.path)? {
                Some(kind) if kind != item.kind => {
                    return Err(StashError::Tracked(item.path).into());
                }
                _ => {}
            }
            let above = std::iter::successors(item.path.parent(), RepoPath::parent);
            for dir in above.take_while(|dir| !dir.is_root()) {
                if find(objects, &merged.tree, &dir)?
                    .is_some_and(|kind| !matches!(kind, EntryKind::Dir { .. }))
                {
                    return Err(StashError::Tracked(dir).into());
                }
            }
            edits.push((item.path, Some(item.kind)));
        }
        self.write_edited(merged, &edits)
    }

    /// Deletes a stash.
    pub fn drop_stash(&self, index: usize) -> Result<Stash> {
        let mut op = self.begin(format!("stash drop stash@{{{index}}}"))?;
        let stash = self.find_stash(index)?;
        op.set_ref(&stash.reference, None)?;
        op.finish()?;
        Ok(stash)
    }

    /// Deletes all stashes; returns how many.
    pub fn clear_stashes(&self) -> Result<usize> {
        let mut op = self.begin("stash clear")?;
        let stashes = self.stash_refs()?;
        for (_, reference, _) in &stashes {
            op.set_ref(reference, None)?;
        }
        op.finish()?;
        Ok(stashes.len())
    }
}

/// The place in the list that `stash` or `stash@{2}` names.
pub fn stash_index(text: &str) -> Option<usize> {
    match text.strip_prefix(STASHES) {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix("@{")?.strip_suffix('}')?.parse().ok(),
        None => None,
    }
}

fn totals_of(commit: &Commit) -> TreeTotals {
    TreeTotals { tree: commit.tree, files: commit.files, bytes: commit.bytes }
}

/// git's words.
fn stash_message(head: &Head, id: CommitId, commit: &Commit, given: Option<&str>) -> String {
    let branch = match head {
        Head::Branch(name) => name.as_str(),
        Head::Detached(_) => "(no branch)",
    };
    if let Some(text) = given {
        return format!("On {branch}: {text}");
    }
    let title = commit.title();
    format!("WIP on {branch}: {} {title}", id.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stashes_are_named_by_their_place() {
        let cases = [
            ("stash", Some(0)),
            ("stash@{0}", Some(0)),
            ("stash@{12}", Some(12)),
            ("stash@{}", None),
            ("stash@{-1}", None),
            ("stash/1", None),
            ("stashed", None),
            ("main", None),
        ];
        for (text, index) in cases {
            assert_eq!(stash_index(text), index, "{text}");
        }
    }
}
