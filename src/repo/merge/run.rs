//! `merge`, `cherry-pick` and `revert` from their beginning to a commit or to conflicts.

use super::super::operation::Operation;
use super::super::switch::{Move, MoveReport, Obstacle, Obstacles};
use super::super::worktree::WorkTree;
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

/// What is picked or reverted, and how.
#[derive(Debug, Clone)]
pub struct PickOptions {
    /// [`MergeKind::CherryPick`] or [`MergeKind::Revert`].
    pub kind: MergeKind,
    /// The parent that the change of a merge commit is taken against, counted from 1.
    pub parent: Option<usize>,
    /// Say in the message where it comes from.
    pub note_origin: bool,
    /// Stage the result only.
    pub no_commit: bool,
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
struct Step {
    kind: MergeKind,
    head: CommitId,
    base: Option<TreeId>,
    theirs: TreeId,
    others: Vec<CommitId>,
    message: String,
    author: Option<Signature>,
    todo: Vec<CommitId>,
}

impl Repository {
    /// Merges a commit into the one that is checked out.
    pub fn merge(&self, options: &MergeOptions) -> Result<MergeOutcome> {
        let mut op = self.begin(format!("merge {}", options.name))?;
        self.check_none_waits()?;
        let other = options.other;
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
        let kind = MergeKind::Merge;
        let step =
            Step { kind, head, base, theirs, others, message, author: None, todo: Vec::new() };
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

    /// Picks or reverts commits, one after the other.
    pub fn pick(&self, commits: &[CommitId], options: &PickOptions) -> Result<MergeOutcome> {
        self.check_none_waits()?;
        let mut todo: Vec<CommitId> = commits.iter().rev().copied().collect();
        let mut outcome = MergeOutcome::UpToDate;
        while let Some(commit) = todo.pop() {
            let done = self.pick_one(commit, options, &todo)?;
            if matches!(done, MergeOutcome::Conflicts(_)) {
                return Ok(done);
            }
            if !matches!(done, MergeOutcome::UpToDate) {
                outcome = done;
            }
        }
        Ok(outcome)
    }

    fn pick_one(
        &self,
        id: CommitId,
        options: &PickOptions,
        todo: &[CommitId],
    ) -> Result<MergeOutcome> {
        let kind = options.kind;
        let mut op = self.begin(format!("{} {}", kind.name(), id.short()))?;
        let head = op.head_commit()?;
        let head =
            head.ok_or_else(|| RepoError::Unborn(super::super::DEFAULT_BRANCH.to_owned()))?;
        let commit = self.objects()?.commit(&id)?;
        let parent = self.tree_of(parent_of(id, &commit, options.parent)?)?;
        let is_revert = kind == MergeKind::Revert;
        let (base, theirs) = match parent {
            parent if !is_revert => (parent, commit.tree),
            Some(parent) => (Some(commit.tree), parent),
            None => (Some(commit.tree), super::super::trees::empty_tree()),
        };
        let step = Step {
            kind,
            head,
            base,
            theirs,
            others: vec![id],
            message: pick_message(id, &commit, options),
            author: (!is_revert).then_some(commit.author),
            todo: todo.to_vec(),
        };
        let committer = (!options.no_commit).then_some(&options.committer);
        self.step(&mut op, step, committer, options.no_commit)
    }

    /// Commits what was resolved and goes on with the commits that follow.
    pub fn continue_merge(
        &self,
        kind: MergeKind,
        message: Option<String>,
        options: &PickOptions,
    ) -> Result<MergeOutcome> {
        let state = self.waiting(kind)?;
        let commit = super::super::commit::CommitOptions {
            message: message.unwrap_or_else(|| state.message.clone()),
            author: state.author.clone().unwrap_or_else(|| options.committer.clone()),
            committer: options.committer.clone(),
            allow_empty: true,
            amend: false,
            all: false,
        };
        let report = self.commit(commit)?;
        self.go_on(&state, options, MergeOutcome::Committed(report.id, MoveReport::default()))
    }

    /// Gives up the commit that waits and goes on with those that follow.
    pub fn skip_pick(&self, options: &PickOptions) -> Result<MergeOutcome> {
        let state = self.waiting(options.kind)?;
        let moved = self.abort_merge(options.kind)?;
        self.go_on(&state, options, MergeOutcome::Staged(moved))
    }

    fn go_on(
        &self,
        state: &MergeState,
        options: &PickOptions,
        so_far: MergeOutcome,
    ) -> Result<MergeOutcome> {
        if state.todo.is_empty() {
            return Ok(so_far);
        }
        let rest: Vec<CommitId> = state.todo.iter().rev().copied().collect();
        match self.pick(&rest, options)? {
            MergeOutcome::UpToDate => Ok(so_far),
            outcome => Ok(outcome),
        }
    }

    fn check_none_waits(&self) -> Result<()> {
        match self.merge_state()? {
            Some(state) => Err(MergeError::Waiting(state.kind).into()),
            None => Ok(()),
        }
    }

    /// Merges, moves the work tree, and commits; or leaves conflicts, or what is staged.
    fn step(
        &self,
        op: &mut Operation<'_>,
        step: Step,
        committer: Option<&Signature>,
        forget: bool,
    ) -> Result<MergeOutcome> {
        let ours = self.objects()?.commit(&step.head)?;
        let ours = TreeTotals { tree: ours.tree, files: ours.files, bytes: ours.bytes };
        if op.staged_tree()?.tree != ours.tree && !(forget && step.kind != MergeKind::Merge) {
            return Err(MergeError::Staged.into());
        }
        let combined = self.combine(step.base, ours, step.theirs, false)?;
        let is_clean = combined.conflicts.is_empty();
        if is_clean && combined.tree == ours && step.kind != MergeKind::Merge {
            return Ok(MergeOutcome::UpToDate);
        }
        self.check_conflict_paths(op, &combined)?;
        let waits = !is_clean || (committer.is_none() && !forget);
        let state = MergeState {
            kind: step.kind,
            head: step.head,
            others: step.others,
            merged: combined.tree.tree,
            message: step.message,
            author: step.author,
            todo: step.todo,
            conflicts: combined.conflicts,
        };
        if waits {
            // Before anything is touched, so that there is a way back from every state.
            self.write_merge_state(&state)?;
        }
        let moving = Move::new(Some(ours.tree), Some(combined.tree.tree));
        let moved = match op.move_to(&moving) {
            Ok(moved) => moved,
            Err(error) => {
                if waits && matches!(error, RepoError::InTheWay(_)) {
                    self.forget_merge()?;
                }
                return Err(error);
            }
        };
        if !is_clean {
            let work_tree = WorkTree::open(&self.place().work_tree)?;
            let unseen = self.unseen_conflicts(&state.conflicts, &combined.marked)?;
            let marked = combined.marked.into_iter().map(|(path, kind)| (path, Some(kind)));
            self.write_over(&work_tree, marked.chain(unseen).collect())?;
            op.checkpoint()?;
            return Ok(MergeOutcome::Conflicts(state.conflicts));
        }
        let Some(committer) = committer else {
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
        op.checkpoint()?;
        Ok(id)
    }

    /// Files that will get conflict markers must be as they are staged.
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

fn pick_message(id: CommitId, commit: &Commit, options: &PickOptions) -> String {
    if options.kind == MergeKind::Revert {
        let title = commit.message.lines().next().unwrap_or_default();
        return format!("Revert \"{title}\"\n\nThis reverts commit {id}.");
    }
    if options.note_origin {
        return format!("{}\n\n(cherry picked from commit {id})", commit.message.trim_end());
    }
    commit.message.clone()
}
