//! `reset`: moves the branch to another commit, and with it what is staged, or all tracked files.

use super::diff_trees::as_staged;
use super::merge::MergeError;
use super::operation::Operation;
use super::switch::{Move, MoveReport, Obstacles, Overwrite};
use super::trees::{TreeDiff, empty_tree};
use super::{Repository, Result};
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::storage::binary_staging::{Frame, StagedEntry};
use crate::storage::format::refs::Head;
use crate::storage::format::staging::FileStat;

/// Staged paths that change in one batch.
const STAGED_AT_ONCE: u32 = 64 << 10;

/// What goes to the commit besides the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    /// Nothing.
    Soft,
    /// What is staged.
    Mixed,
    /// What is staged, and all tracked files; unsaved bytes are stored first.
    Hard,
}

impl ResetMode {
    /// The flag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Mixed => "mixed",
            Self::Hard => "hard",
        }
    }
}

/// What `reset` did, or would do.
#[derive(Debug)]
pub struct ResetReport {
    /// Where `HEAD` was; nowhere on a branch without commits.
    pub from: Option<CommitId>,
    /// Where it is now.
    pub to: Option<CommitId>,
    /// What happened to the work tree.
    pub moved: MoveReport,
    /// With `dry_run`: local changes that would be stored and given up.
    pub given_up: Obstacles,
}

impl Repository {
    /// Moves the branch to a commit; without one it stays, and only the rest is reset. Beginning
    /// with [`ResetMode::Mixed`] this ends a merge that waits.
    pub fn reset(
        &self,
        to: Option<CommitId>,
        mode: ResetMode,
        dry_run: bool,
    ) -> Result<ResetReport> {
        if dry_run {
            return self.plan_reset(to, mode);
        }
        let mut op = self.begin(format!("reset --{}", mode.name()))?;
        let from = op.head_commit()?;
        let to = to.or(from);
        if let Some(to) = to {
            self.check_whole(to)?;
            op.describe(format!("reset --{} {}", mode.name(), to.short()));
        }
        if let (ResetMode::Soft, Some(state)) = (mode, self.merge_state()?) {
            return Err(MergeError::Waiting(state.kind).into());
        }
        let target = self.tree_of(to)?;
        let moved = match mode {
            ResetMode::Soft => MoveReport::default(),
            ResetMode::Mixed => {
                op.stage_tree(target.unwrap_or_else(empty_tree))?;
                MoveReport::default()
            }
            ResetMode::Hard => op.reset_to(target)?,
        };
        if let Some(to) = to {
            op.move_head(to)?;
        }
        if mode != ResetMode::Soft {
            op.set_merge(None)?;
        }
        op.finish()?;
        Ok(ResetReport { from, to, moved, given_up: Obstacles::default() })
    }

    fn plan_reset(&self, to: Option<CommitId>, mode: ResetMode) -> Result<ResetReport> {
        let from = self.refs().head_commit()?;
        let to = to.or(from);
        let (mut moved, mut given_up) = (MoveReport::default(), Obstacles::default());
        if mode == ResetMode::Hard {
            let status = self.status()?;
            let changed = status.staged.into_iter().chain(status.unstaged);
            let mut also: Vec<RepoPath> = changed.map(|change| change.path).collect();
            also.sort_unstable();
            also.dedup();
            let moving = Move {
                also: &also,
                overwrite: Overwrite::Store,
                ..Move::new(self.tree_of(from)?, self.tree_of(to)?)
            };
            (moved, given_up) = self.plan_move(&self.staging()?, &moving)?;
        }
        Ok(ResetReport { from, to, moved, given_up })
    }

    /// The branch that has no commit yet, for errors.
    pub(super) fn unborn(head: &Head) -> super::RepoError {
        let name = match head {
            Head::Branch(name) => name.clone(),
            Head::Detached(commit) => commit.short(),
        };
        super::RepoError::Unborn(name)
    }
}

impl Operation<'_> {
    /// Stages a tree, and leaves the work tree as it is. Removals come first, so that no path is
    /// staged as a file and as a directory in between.
    pub(super) fn stage_tree(&mut self, target: TreeId) -> Result<()> {
        let objects = self.repository().objects()?.clone();
        let now = self.staged_tree()?.tree;
        for removes in [true, false] {
            let mut frame = Frame::default();
            for change in TreeDiff::new(&objects, Some(now), Some(target)) {
                let change = change?;
                match change.new.and_then(as_staged) {
                    None if removes => frame.remove(change.path.as_bytes()),
                    Some((kind, size)) if !removes => {
                        // Times of no file: the next look compares the content.
                        let stat = FileStat { size, ..FileStat::default() };
                        let path = change.path;
                        frame.put(&StagedEntry { path, kind, stat, racy: false }.view());
                    }
                    _ => {}
                }
                if frame.count() >= STAGED_AT_ONCE {
                    self.staging().apply_round(std::mem::take(&mut frame))?;
                }
            }
            self.staging().apply_frame(frame)?;
        }
        Ok(())
    }
}
