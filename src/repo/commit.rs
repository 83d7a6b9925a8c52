//! `commit`: writes the staged state as trees and one commit, and moves the branch.
//!
//! The work tree is not read. The trees are those that the operation which staged it wrote.

use super::source::WorkTreeSource;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId};
use crate::metrics::MetricsSnapshot;
use crate::progress::Phase;
use crate::storage::adaptive::Plan;
use crate::storage::engine::Engine;
use crate::storage::format::object::{Commit, MAX_MESSAGE, Signature};
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::ObjectSink;

/// What is recorded besides the files.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// Why.
    pub message: String,
    /// Who wrote the change, and when.
    pub author: Signature,
    /// Who records it, and when.
    pub committer: Signature,
    /// Even when nothing changed.
    pub allow_empty: bool,
}

/// What `commit` did.
#[derive(Debug, Clone)]
pub struct CommitReport {
    /// The commit.
    pub id: CommitId,
    /// As stored.
    pub commit: Commit,
    /// The branch that moved; `None` when `HEAD` is detached.
    pub branch: Option<String>,
    /// Counters of the run.
    pub metrics: MetricsSnapshot,
    /// How it worked.
    pub plan: Plan,
}

pub(super) fn check_message(message: &str) -> Result<()> {
    if message.trim().is_empty() {
        return Err(RepoError::BadMessage("empty"));
    }
    if message.len() > MAX_MESSAGE {
        return Err(RepoError::BadMessage("longer than 1 MiB"));
    }
    Ok(())
}

impl Repository {
    /// Records what is staged.
    pub fn commit(&self, options: CommitOptions) -> Result<CommitReport> {
        check_message(&options.message)?;
        let summary = options.message.lines().find(|line| !line.trim().is_empty());
        let mut op = self.begin(format!("commit: {}", summary.unwrap_or_default().trim()))?;
        let parent = op.head_commit()?;
        let parent_tree = match parent {
            Some(id) => Some(self.objects()?.commit(&id)?.tree),
            None => None,
        };
        let is_new = parent.is_some() || !op.staged().is_empty();
        if !is_new && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        self.monitor().phase(Phase::Writing);
        let staged = op.staged_tree()?;
        if parent_tree == Some(staged.tree) && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        let engine = self.engine()?;
        let started = std::time::Instant::now();
        let commit = Commit {
            tree: staged.tree,
            files: staged.files,
            bytes: staged.bytes,
            parents: parent.into_iter().collect(),
            author: options.author,
            committer: options.committer,
            message: options.message,
        };
        let id = self.write_commit(&engine, &commit)?;
        engine.metrics.add_processing_time(started.elapsed());
        let branch = op.move_head(id)?;
        op.finish()?;
        let (metrics, plan) = (engine.metrics.snapshot(), engine.plan());
        Ok(CommitReport { id, commit, branch, metrics, plan })
    }

    /// Stores a commit, whose tree is stored; no ref leads to it yet.
    pub(super) fn write_commit(&self, engine: &Engine, commit: &Commit) -> Result<CommitId> {
        let root = self.work_tree_handle()?;
        let encoded = commit.encode();
        let id = CommitId::of(&encoded);
        engine.write_objects(&WorkTreeSource(&root), |worker| {
            worker.put(BlockKind::Commit, ObjectId::from(id), encoded)
        })?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
