//! `merge` from its beginning to a commit or to conflicts, and the step that it shares with
//! `cherry-pick` and `revert`.

use super::super::beneath::first_non_directory;
use super::super::operation::Operation;
use super::super::switch::{Move, MoveReport, Obstacle, Obstacles};
use super::super::{RepoError, Repository, Result};
use super::{Combined, MergeError};
use crate::id::{CommitId, TreeId};
use crate::storage::format::merge_state::{Conflict, MergeKind, MergeState};
use crate::storage::format::object::{Commit, Signature};
use crate::storage::objects::TreeTotals;

/// When a branch is only moved forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FastForward {
    /// Where it can be.
    #[default]
    Auto,
    /// Or else there is an error.
    Only,
    /// Never: there is a commit always.
    Never,
}

/// What is merged, and how.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// The commit.
    pub other: CommitId,
    /// Its name in the message: "branch 'topic'".
    pub name: String,
    /// When the branch is only moved.
    pub fast_forward: FastForward,
    /// Stage the result and forget that it is a merge.
    pub squash: bool,
    /// Stage the result and wait for `commit`.
    pub no_commit: bool,
    /// The message, instead of the usual one.
    pub message: Option<String>,
    /// Histories without a common ancestor too.
    pub allow_unrelated: bool,
    /// Who commits.
    pub committer: Signature,
}

/// What came of it.
#[derive(Debug)]
pub enum MergeOutcome {
    /// Everything was there already.
    UpToDate,
    /// The branch moved forward.
    FastForward(CommitId, MoveReport),
    /// A commit was made; of several picks, the last one.
    Committed(CommitId, MoveReport),
    /// The result is staged.
    Staged(MoveReport),
    /// Conflicts wait to be resolved.
    Conflicts(Vec<Conflict>),
}

/// One step: what is merged into ours, and what the commit of it says.
pub(super) struct Step {
    pub(super) base: Option<TreeId>,
    pub(super) theirs: TreeId,
    /// Merge into what is staged, whatever it is, and not only into what is committed.
    pub(super) into_staged: bool,
    /// What waits if it does not come to an end; its tree and conflicts come of the merge.
    pub(super) state: MergeState,
}

impl Repository {
    /// Merges a commit into the one that is checked out.
    pub fn merge(&self, options: &MergeOptions) -> Result<MergeOutcome> {
        let mut op = self.begin(format!("merge {}", options.name))?;
        self.check_none_waits()?;
        let other = options.other;
        self.check_whole(other)?;
        let Some(head) = op.head_commit()? else {
            return self.fast_forward(op, None, other);
        };
        if self.is_ancestor(other, head)? {
            return Ok(MergeOutcome::UpToDate);
        }
        let is_forward = self.is_ancestor(head, other)?;
        match options.fast_forward {
            FastForward::Only if !is_forward => return Err(MergeError::NotFastForward.into()),
            FastForward::Auto | FastForward::Only if is_forward && !options.squash => {
                return self.fast_forward(op, Some(head), other);
            }
            _ => {}
        }
        let base = self.base_tree(head, other, 0)?;
        if base.is_none() && !options.allow_unrelated {
            return Err(MergeError::Unrelated.into());
        }
        let message = match &options.message {
            Some(message) => message.clone(),
            None => merge_message(&options.name, &op),
        };
        super::super::commit::check_message(&message)?;
        let others = if options.squash { Vec::new() } else { vec![other] };
        let theirs = self.objects()?.commit(&other)?.tree;
        let before = op.staged_before().tree;
        let state = MergeState::new(MergeKind::Merge, head, others, message, before);
        let step = Step { base, theirs, into_staged: false, state };
        let commits = !options.squash && !options.no_commit;
        self.step(&mut op, step, commits.then_some(&options.committer), options.squash)
    }

    fn fast_forward(
        &self,
        mut op: Operation<'_>,
        from: Option<CommitId>,
        to: CommitId,
    ) -> Result<MergeOutcome> {
        let moved = op.move_to(&Move::new(self.tree_of(from)?, self.tree_of(Some(to))?))?;
        op.move_head(to)?;
        op.finish()?;
        Ok(MergeOutcome::FastForward(to, moved))
    }

    /// An error where one waits.
    pub(in crate::repo) fn check_none_waits(&self) -> Result<()> {
        match self.merge_state()? {
            Some(state) => Err(MergeError::Waiting(state.kind).into()),
            None => Ok(()),
        }
    }

    /// Merges, moves the work tree, and commits; or leaves conflicts, or what is staged.
    pub(super) fn step(
        &self,
        op: &mut Operation<'_>,
        step: Step,
        committer: Option<&Signature>,
        forget: bool,
    ) -> Result<MergeOutcome> {
        let Step { base, theirs, into_staged, mut state } = step;
        let ours = self.objects()?.commit(&state.head)?;
        let ours = TreeTotals { tree: ours.tree, files: ours.files, bytes: ours.bytes };
        let staged = op.staged_tree()?;
        if staged.tree != ours.tree && !into_staged {
            return Err(MergeError::Staged.into());
        }
        let ours = if into_staged { staged } else { ours };
        let combined = self.combine(base, ours, theirs, false)?;
        let is_clean = combined.conflicts.is_empty();
        if is_clean && combined.tree == ours && state.kind != MergeKind::Merge {
            op.set_merge(state.rest(state.head, ours.tree).as_ref())?;
            op.checkpoint()?;
            return Ok(MergeOutcome::UpToDate);
        }
        self.check_conflict_paths(op, &combined)?;
        (state.before, state.merged) = (ours.tree, combined.tree.tree);
        state.conflicts = combined.conflicts;
        let moved = op.move_to(&Move::new(Some(ours.tree), Some(combined.tree.tree)))?;
        if !is_clean {
            op.set_merge(Some(&state))?;
            let unseen = self.unseen_conflicts(&state.conflicts, &combined.marked)?;
            self.write_marked(op, combined.tree, combined.marked, unseen)?;
            self.tell_skipped(&moved.skipped);
            op.checkpoint()?;
            return Ok(MergeOutcome::Conflicts(state.conflicts));
        }
        let Some(committer) = committer else {
            let rest = state.rest(state.head, combined.tree.tree);
            op.set_merge(if forget { rest.as_ref() } else { Some(&state) })?;
            op.checkpoint()?;
            return Ok(MergeOutcome::Staged(moved));
        };
        let id = self.commit_merge(op, &state, combined.tree, committer)?;
        Ok(MergeOutcome::Committed(id, moved))
    }

    fn commit_merge(
        &self,
        op: &mut Operation<'_>,
        state: &MergeState,
        tree: TreeTotals,
        committer: &Signature,
    ) -> Result<CommitId> {
        let mut parents = vec![state.head];
        if state.kind == MergeKind::Merge {
            parents.extend(&state.others);
        }
        let commit = Commit {
            tree: tree.tree,
            files: tree.files,
            bytes: tree.bytes,
            parents,
            author: state.author.clone().unwrap_or_else(|| committer.clone()),
            committer: committer.clone(),
            message: state.message.clone(),
        };
        let id = self.write_commit(&self.engine()?, &commit)?;
        op.move_head(id)?;
        op.set_merge(state.rest(id, tree.tree).as_ref())?;
        op.checkpoint()?;
        Ok(id)
    }

    /// Files that will get conflict markers must be as they are staged, or gone with nothing in their
    /// way.
    pub(in crate::repo) fn check_conflict_paths(
        &self,
        op: &Operation<'_>,
        combined: &Combined,
    ) -> Result<()> {
        let root = self.work_tree_handle()?;
        let mut obstacles = Obstacles::default();
        for conflict in &combined.conflicts {
            let is_tracked = op.staged().view(conflict.path.as_bytes()).is_some();
            if is_tracked && self.is_modified(&root, op.staged(), &conflict.path)? == Some(true) {
                obstacles.push(conflict.path.clone(), Obstacle::Modified);
            }
        }
        for (path, _) in &combined.marked {
            let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
            let dir = path.parent().unwrap_or_default();
            let way = first_non_directory(&root, &dir).map_err(read)?;
            // What is tracked there has a change of its own.
            if let Some(way) = way.filter(|way| op.staged().view(way.as_bytes()).is_none()) {
                obstacles.push(way, Obstacle::Untracked);
            }
        }
        if obstacles.is_empty() { Ok(()) } else { Err(RepoError::InTheWay(obstacles)) }
    }
}

fn merge_message(name: &str, op: &Operation<'_>) -> String {
    use crate::storage::format::refs::Head;
    match op.head() {
        Head::Branch(branch) if branch != super::super::DEFAULT_BRANCH => {
            format!("Merge {name} into {branch}")
        }
        _ => format!("Merge {name}"),
    }
}
