//! `commit`: writes the staged state as trees and one commit, and moves the branch.
//!
//! The work tree is not read. Where the staging area knows what changed since the parent's tree,
//! only the trees above those paths are made anew; else all of them are, in one pass over the
//! staging area, whose order is that of the trees. Both give the same trees.

use super::source::WorkTreeSource;
use super::trees::{Stop, edit_tree, write_trees};
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId};
use crate::metrics::MetricsSnapshot;
use crate::progress::Phase;
use crate::storage::adaptive::Plan;
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::engine::{Engine, EngineError, Worker};
use crate::storage::format::object::{Commit, MAX_MESSAGE, Signature};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::refs::Head;
use crate::storage::objects::{ObjectSink, Objects, TreeTotals};

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

/// If more than this part of the entries changed, one pass over all of them is quicker.
const MOST_CHANGED: usize = 8;

fn check_message(message: &str) -> Result<()> {
    if message.trim().is_empty() {
        return Err(RepoError::BadMessage("empty"));
    }
    if message.len() > MAX_MESSAGE {
        return Err(RepoError::BadMessage("longer than 1 MiB"));
    }
    Ok(())
}

/// Writes the trees of everything staged, with those of the parent where nothing changed.
fn write_changed_trees(
    staging: &BinaryStagingArea,
    objects: &Objects,
    parent: Option<&Commit>,
    worker: &mut Worker<'_>,
) -> std::result::Result<TreeTotals, EngineError> {
    if let Some(parent) = parent
        && let Some((last, changed)) = staging.changes_since_tree()
        && last == parent.tree
        && changed.len() <= staging.len() / MOST_CHANGED
    {
        let Commit { tree, files, bytes, .. } = *parent;
        let old = TreeTotals { tree, files, bytes };
        match edit_tree(objects, Some(old), &changed, staging, worker) {
            Ok(totals) => return Ok(totals),
            Err(Stop::Sink(error)) => return Err(error),
            // Something of the parent cannot be read: what is staged is whole all the same.
            Err(Stop::Unreadable(_)) => {}
        }
    }
    write_trees(staging, worker)
}

impl Repository {
    /// Records what is staged.
    pub fn commit(&self, options: CommitOptions) -> Result<CommitReport> {
        check_message(&options.message)?;
        let _lock = self.lock()?;
        let mut staging = self.staging()?;
        let head = self.refs().read_head()?;
        let parent = self.refs().head_commit()?;
        let parent_commit = parent.map(|id| Ok::<_, RepoError>(self.objects()?.commit(&id)?));
        let parent_commit = parent_commit.transpose()?;
        let parent_tree = parent_commit.as_ref().map(|commit| commit.tree);
        if parent.is_none() && staging.is_empty() && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        if parent_tree.is_some() && staging.clean_tree() == parent_tree && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        self.monitor().phase(Phase::Writing);
        let engine = self.engine()?;
        let started = std::time::Instant::now();
        let (id, commit) =
            self.write_commit(&engine, &staging, parent, parent_commit.as_ref(), options)?;
        engine.metrics.add_processing_time(started.elapsed());
        staging.check()?;
        let branch = self.move_head(&head, parent, id)?;
        staging.mark_clean(commit.tree)?;
        let (metrics, plan) = (engine.metrics.snapshot(), engine.plan());
        Ok(CommitReport { id, commit, branch, metrics, plan })
    }

    fn write_commit(
        &self,
        engine: &Engine,
        staging: &BinaryStagingArea,
        parent: Option<CommitId>,
        parent_commit: Option<&Commit>,
        options: CommitOptions,
    ) -> Result<(CommitId, Commit)> {
        let root = self.work_tree_handle()?;
        let objects = self.objects()?;
        let written = engine.write_objects(&WorkTreeSource(&root), |worker| {
            let TreeTotals { tree, files, bytes } =
                write_changed_trees(staging, objects, parent_commit, worker)?;
            if parent_commit.is_some_and(|parent| parent.tree == tree) && !options.allow_empty {
                return Ok(None);
            }
            let commit = Commit {
                tree,
                files,
                bytes,
                parents: parent.into_iter().collect(),
                author: options.author,
                committer: options.committer,
                message: options.message,
            };
            let encoded = commit.encode();
            let id = CommitId::of(&encoded);
            worker.put(BlockKind::Commit, ObjectId::from(id), encoded)?;
            Ok(Some((id, commit)))
        })?;
        written.ok_or(RepoError::NothingToCommit)
    }

    /// Moves the branch that `HEAD` names, or `HEAD` itself.
    fn move_head(
        &self,
        head: &Head,
        old: Option<CommitId>,
        new: CommitId,
    ) -> Result<Option<String>> {
        match head {
            Head::Branch(name) => {
                self.refs().update(&format!("heads/{name}"), old, new)?;
                Ok(Some(name.clone()))
            }
            Head::Detached(_) => {
                self.refs().write_head(&Head::Detached(new))?;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
