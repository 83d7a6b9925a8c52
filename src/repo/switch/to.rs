//! `switch`: lets `HEAD` name another branch or commit, and brings the work tree there.

use super::super::beneath::stat_one;
use super::super::branches::{BranchError, branch_ref};
use super::super::merge::MergeError;
use super::super::operation::Operation;
use super::super::trees::find;
use super::super::{RepoError, Repository, Result};
use super::{Move, MoveReport, Obstacles, Overwrite};
use crate::id::{CommitId, TreeId};
use crate::storage::format::refs::Head;

/// Where `HEAD` goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchTo {
    /// To a branch that is there.
    Branch(String),
    /// To the branch or commit where `HEAD` was so many switches ago.
    Previous(u64),
    /// To a new branch.
    New {
        /// Its name.
        name: String,
        /// Its first commit; where `HEAD` is when left out.
        start: Option<CommitId>,
        /// Move one that is there.
        force: bool,
    },
    /// To a commit, on no branch.
    Commit(CommitId),
}

/// How `switch` works.
#[derive(Debug, Clone)]
pub struct SwitchOptions {
    /// Where to.
    pub to: SwitchTo,
    /// Local changes are stored for `undo` and given up, instead of being kept.
    pub discard: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What `switch` did.
#[derive(Debug)]
pub struct SwitchReport {
    /// What `HEAD` named before.
    pub from: Head,
    /// What it names now.
    pub to: Head,
    /// The commit there; none on a branch without commits.
    pub commit: Option<CommitId>,
    /// What happened to the work tree.
    pub moved: MoveReport,
    /// With `dry_run`: what would stop it.
    pub obstacles: Obstacles,
}

/// Where `HEAD` is to go, with everything looked up.
struct Goal {
    head: Head,
    commit: Option<CommitId>,
    /// The branch to be made or moved.
    branch: Option<(String, CommitId)>,
}

impl Repository {
    /// Moves `HEAD` and the work tree. Local changes in paths that differ between the two commits
    /// stop it; all others are kept.
    pub fn switch(&self, options: &SwitchOptions) -> Result<SwitchReport> {
        if options.dry_run {
            return self.plan_switch(options);
        }
        let mut op = self.begin("switch")?;
        let (from, old) = (op.head().clone(), op.head_commit()?);
        let goal = self.goal(&options.to, old)?;
        match self.merge_state()? {
            // The merge was into the branch that is left.
            Some(_) if options.discard => op.set_merge(None)?,
            Some(state) => return Err(MergeError::Waiting(state.kind).into()),
            None => {}
        }
        op.describe(format!("switch: from {} to {}", place(&from), place(&goal.head)));
        let moved = if options.discard {
            op.reset_to(self.tree_of(goal.commit)?)?
        } else if goal.commit == old {
            MoveReport::default()
        } else {
            op.move_to(&Move::new(self.tree_of(old)?, self.tree_of(goal.commit)?))?
        };
        if let Some((full, commit)) = &goal.branch {
            op.set_ref(full, Some((*commit).into()))?;
        }
        op.set_head(goal.head.clone());
        op.finish()?;
        let Goal { head: to, commit, .. } = goal;
        Ok(SwitchReport { from, to, commit, moved, obstacles: Obstacles::default() })
    }

    fn plan_switch(&self, options: &SwitchOptions) -> Result<SwitchReport> {
        let (from, old) = (self.refs().read_head()?, self.refs().head_commit()?);
        let goal = self.goal(&options.to, old)?;
        let moving = Move::new(self.tree_of(old)?, self.tree_of(goal.commit)?);
        let (moved, obstacles) = self.plan_move(&self.staging()?, &moving)?;
        let Goal { head: to, commit, .. } = goal;
        Ok(SwitchReport { from, to, commit, moved, obstacles })
    }

    fn goal(&self, to: &SwitchTo, here: Option<CommitId>) -> Result<Goal> {
        match to {
            SwitchTo::Branch(name) => {
                let commit = self.branch_to_switch_to(name)?;
                Ok(Goal { head: Head::Branch(name.clone()), commit: Some(commit), branch: None })
            }
            SwitchTo::Commit(commit) => {
                Ok(Goal { head: Head::Detached(*commit), commit: Some(*commit), branch: None })
            }
            SwitchTo::New { name, start, force } => {
                let full = branch_ref(name)?;
                let is_there = self.refs().read(&full)?.is_some();
                if is_there && !force {
                    return Err(BranchError::Exists(name.clone()).into());
                }
                let commit = start.or(here);
                let branch = commit.map(|commit| (full, commit));
                Ok(Goal { head: Head::Branch(name.clone()), commit, branch })
            }
            SwitchTo::Previous(switches) => {
                let head = self.previous_head(*switches)?;
                let commit = match &head {
                    Head::Branch(name) => self.branch_to_switch_to(name)?,
                    Head::Detached(commit) => *commit,
                };
                Ok(Goal { head, commit: Some(commit), branch: None })
            }
        }
    }

    fn branch_to_switch_to(&self, name: &str) -> Result<CommitId> {
        self.branch_commit(name).map_err(|error| match self.resolve(name) {
            Ok(_) => BranchError::NotABranch(name.to_owned()).into(),
            Err(RepoError::RevisionNotFound { .. }) => error,
            Err(other) => other,
        })
    }

    /// The tree of a commit; `None` for none.
    pub fn tree_of(&self, commit: Option<CommitId>) -> Result<Option<TreeId>> {
        commit.map(|commit| Ok(self.objects()?.commit(&commit)?.tree)).transpose()
    }
}

impl Operation<'_> {
    /// Brings staging area and all tracked files to a tree. What is not tracked stays, but where a
    /// file of the tree goes; bytes that nobody has are stored first.
    pub fn reset_to(&mut self, target: Option<TreeId>) -> Result<MoveReport> {
        let base = Some(self.staged_tree()?.tree);
        let changes = self.repository().status()?.unstaged;
        let also: Vec<_> = changes.into_iter().map(|change| change.path).collect();
        let overwrite = Overwrite::Store;
        let moving = Move { also: &also, keeps_also: true, overwrite, ..Move::new(base, target) };
        self.move_over(&moving)
    }

    /// Does a move, and notes which of the paths that come besides it makes where nothing was: an
    /// undo removes them again.
    pub(in super::super) fn move_over(&mut self, moving: &Move<'_>) -> Result<MoveReport> {
        let (root, objects) = (self.repository().work_tree_handle()?, self.repository().objects()?);
        let mut made = Vec::new();
        for path in moving.also {
            let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
            if stat_one(&root, path).map_err(read)?.is_none() {
                let kind = moving.target.map_or(Ok(None), |tree| find(objects, &tree, path))?;
                made.push((path.clone(), kind));
            }
        }
        let moved = self.move_to(moving)?;
        self.writes_entries(&made)?;
        Ok(moved)
    }
}

fn place(head: &Head) -> String {
    match head {
        Head::Branch(name) => name.clone(),
        Head::Detached(commit) => commit.short(),
    }
}
