//! `cherry-pick` and `revert`: sequences of commits, each an operation of its own.
//!
//! The record of each names what is left to do ([`MergeState::rest`]), so that a sequence that
//! stops, whether by a conflict, by local changes in the way or because it was killed, goes on
//! with `--continue`.

use super::super::commit::check_message_len;
use super::super::operation::description;
use super::super::switch::MoveReport;
use super::super::{RepoError, Repository, Result};
use super::MergeError;
use super::run::{MergeOutcome, Step};
use crate::id::CommitId;
use crate::storage::format::merge_state::{MergeKind, MergeState, PickFlags};
use crate::storage::format::object::{Commit, Signature};

/// What is picked or reverted, and how.
#[derive(Debug, Clone)]
pub struct PickOptions {
    /// [`MergeKind::CherryPick`] or [`MergeKind::Revert`].
    pub kind: MergeKind,
    /// What is done with each commit.
    pub how: PickFlags,
    /// Who commits.
    pub committer: Signature,
}

/// Commits to be picked one after the other.
struct Sequence<'a> {
    kind: MergeKind,
    how: PickFlags,
    /// Where `HEAD` was before the first.
    start: CommitId,
    /// The next one last.
    todo: Vec<CommitId>,
    committer: &'a Signature,
}

impl Repository {
    /// Picks or reverts commits, one after the other.
    pub fn pick(&self, commits: &[CommitId], options: &PickOptions) -> Result<MergeOutcome> {
        self.check_none_waits()?;
        let start = self.refs().head_commit()?;
        let start =
            start.ok_or_else(|| RepoError::Unborn(super::super::DEFAULT_BRANCH.to_owned()))?;
        let PickOptions { kind, how, ref committer } = *options;
        let todo = commits.iter().rev().copied().collect();
        self.run_sequence(Sequence { kind, how, start, todo, committer })
    }

    fn run_sequence(&self, mut sequence: Sequence<'_>) -> Result<MergeOutcome> {
        let mut outcome = MergeOutcome::UpToDate;
        let mut is_begun = false;
        while let Some(commit) = sequence.todo.pop() {
            let done = match self.pick_one(commit, &sequence) {
                Err(error) => {
                    if is_begun {
                        self.tell_stopped(&sequence);
                    }
                    return Err(error);
                }
                Ok(done @ MergeOutcome::Conflicts(_)) => return Ok(done),
                Ok(done) => done,
            };
            is_begun = true;
            if !matches!(done, MergeOutcome::UpToDate) {
                outcome = done;
            }
        }
        Ok(outcome)
    }

    fn tell_stopped(&self, sequence: &Sequence<'_>) {
        let (name, left) = (sequence.kind.name(), sequence.todo.len() + 1);
        self.monitor().warn(&format!(
            "{left} commits are left; 'digstore {name} --continue' goes on, 'digstore {name} --abort' goes back to before the first"
        ));
    }

    fn pick_one(&self, id: CommitId, sequence: &Sequence<'_>) -> Result<MergeOutcome> {
        let &Sequence { kind, how, start, ref todo, committer } = sequence;
        let mut op = self.begin(description(kind.name(), [id.short()]))?;
        // Another command may have stopped in a conflict between two commits of the sequence.
        if let Some(state) = self.merge_state()?.filter(|state| !state.is_between()) {
            return Err(MergeError::Waiting(state.kind).into());
        }
        let head = op.head_commit()?;
        let head =
            head.ok_or_else(|| RepoError::Unborn(super::super::DEFAULT_BRANCH.to_owned()))?;
        self.check_whole(id)?;
        let commit = self.objects()?.commit(&id)?;
        let parent = self.tree_of(parent_of(id, &commit, how.parent)?)?;
        let is_revert = kind == MergeKind::Revert;
        let (base, theirs) = match parent {
            parent if !is_revert => (parent, commit.tree),
            Some(parent) => (Some(commit.tree), parent),
            None => (Some(commit.tree), super::super::trees::empty_tree()),
        };
        let message = pick_message(id, &commit, kind, how);
        check_message_len(&message)?;
        let state = MergeState {
            author: (!is_revert).then_some(commit.author),
            todo: todo.clone(),
            start,
            how,
            ..MergeState::new(kind, head, vec![id], message, op.staged_before().tree)
        };
        let step = Step { base, theirs, into_staged: how.no_commit, state };
        self.step(&mut op, step, (!how.no_commit).then_some(committer), how.no_commit)
    }

    /// Commits what was resolved and goes on with the commits that follow.
    pub fn continue_merge(
        &self,
        kind: MergeKind,
        message: Option<String>,
        committer: &Signature,
    ) -> Result<MergeOutcome> {
        let state = self.waiting(kind)?;
        let so_far = match () {
            () if state.is_between() => MergeOutcome::UpToDate,
            () if state.how.no_commit => self.end_step(&state)?,
            () => {
                let commit = super::super::commit::CommitOptions {
                    message: message.unwrap_or_else(|| state.message.clone()),
                    author: state.author.clone().unwrap_or_else(|| committer.clone()),
                    committer: committer.clone(),
                    allow_empty: true,
                    amend: None,
                    all: false,
                };
                let report = self.commit(commit)?;
                MergeOutcome::Committed(report.id, MoveReport::default())
            }
        };
        self.go_on(state, committer, so_far)
    }

    /// What was resolved stays staged.
    fn end_step(&self, state: &MergeState) -> Result<MergeOutcome> {
        self.check_resolved()?;
        let mut op = self.begin(format!("{} --continue", state.kind.name()))?;
        let staged = op.staged_tree()?.tree;
        op.set_merge(state.rest(state.head, staged).as_ref())?;
        op.finish()?;
        Ok(MergeOutcome::Staged(MoveReport::default()))
    }

    /// Gives up the commit that waits and goes on with those that follow.
    pub fn skip_pick(&self, kind: MergeKind, committer: &Signature) -> Result<MergeOutcome> {
        let (state, moved) = self.leave_step(kind)?;
        self.go_on(state, committer, MergeOutcome::Staged(moved))
    }

    fn go_on(
        &self,
        state: MergeState,
        committer: &Signature,
        so_far: MergeOutcome,
    ) -> Result<MergeOutcome> {
        let MergeState { kind, how, start, todo, .. } = state;
        match self.run_sequence(Sequence { kind, how, start, todo, committer })? {
            MergeOutcome::UpToDate => Ok(so_far),
            outcome => Ok(outcome),
        }
    }
}

fn parent_of(id: CommitId, commit: &Commit, chosen: Option<usize>) -> Result<Option<CommitId>> {
    match (chosen, commit.parents.as_slice()) {
        (None, [] | [_]) => Ok(commit.parents.first().copied()),
        (None, _) => Err(MergeError::NeedsParent(id).into()),
        (Some(number), parents) => {
            let parent = number.checked_sub(1).and_then(|at| parents.get(at)).copied();
            parent.map(Some).ok_or_else(|| MergeError::NoParent { commit: id, number }.into())
        }
    }
}

fn pick_message(id: CommitId, commit: &Commit, kind: MergeKind, how: PickFlags) -> String {
    if kind == MergeKind::Revert {
        let title = commit.title();
        return format!("Revert \"{title}\"\n\nThis reverts commit {id}.");
    }
    if how.note_origin {
        return format!("{}\n\n(cherry picked from commit {id})", commit.message.trim_end());
    }
    commit.message.clone()
}
