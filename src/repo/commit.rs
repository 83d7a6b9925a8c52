//! `commit`: writes the staged state as trees and one commit, and moves the branch.
//!
//! The work tree is not read. The trees are those that the operation which staged it wrote.

use super::add::AddOptions;
use super::merge::MergeError;
use super::source::WorkTreeSource;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId, TreeId};
use crate::metrics::MetricsSnapshot;
use crate::progress::Phase;
use crate::storage::adaptive::Plan;
use crate::storage::engine::Engine;
use crate::storage::format::merge_state::{MergeKind, MergeState};
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
    /// In the place of this commit, which must be the last one.
    pub amend: Option<CommitId>,
    /// With what changed in tracked files, staged first.
    pub all: bool,
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
    /// The sequence of commits that goes on behind it, if one waits.
    pub rest: Option<MergeState>,
    /// Tracked files that were to be staged first and were left out; the monitor was told of each.
    pub skipped: u64,
    /// Counters of the run.
    pub metrics: MetricsSnapshot,
    /// How it worked.
    pub plan: Plan,
}

pub(super) fn check_message(message: &str) -> Result<()> {
    if message.trim().is_empty() {
        return Err(RepoError::BadMessage("empty"));
    }
    check_message_len(message)
}

/// Whether a message that may be empty, as an imported one, can be stored.
pub(super) fn check_message_len(message: &str) -> Result<()> {
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
        let head = op.head_commit()?;
        let waiting = self.merge_state()?;
        let begun = waiting.as_ref().filter(|state| !state.is_between());
        let (parents, unchanged) = self.parents(head, begun, options.amend)?;
        let (mut skipped, before) = (0, options.all.then(|| op.staged_tree()).transpose()?);
        if options.all {
            let tracked = AddOptions { tracked_only: true, ..AddOptions::default() };
            skipped = self.add_to(op.staging(), &tracked)?.skipped;
        }
        self.monitor().phase(Phase::Writing);
        let is_new = head.is_some() || !op.staged().is_empty();
        let staged = op.staged_tree()?;
        if !options.allow_empty && (!is_new || unchanged == Some(staged.tree)) {
            if let Some(before) = before {
                op.stage_tree(before.tree)?;
            }
            return Err(RepoError::NothingToCommit);
        }
        let engine = self.engine()?;
        let started = std::time::Instant::now();
        let commit = Commit {
            tree: staged.tree,
            files: staged.files,
            bytes: staged.bytes,
            parents,
            author: options.author,
            committer: options.committer,
            message: options.message,
        };
        let id = self.write_commit(&engine, &commit)?;
        engine.metrics.add_processing_time(started.elapsed());
        let branch = op.move_head(id)?;
        // What waited for this commit waits no more, but what follows it.
        let rest = waiting.and_then(|state| state.rest(id, staged.tree));
        op.set_merge(rest.as_ref())?;
        op.checkpoint()?;
        let (metrics, plan) = (engine.metrics.snapshot(), engine.plan());
        Ok(CommitReport { id, commit, branch, rest, skipped, metrics, plan })
    }

    /// The commit that an amended one takes the place of. What a killed command left is finished first,
    /// so that this is where `HEAD` will be then.
    pub fn commit_to_amend(&self) -> Result<CommitId> {
        let op = self.begin("commit --amend".to_owned())?;
        op.head_commit()?.ok_or(RepoError::NothingToAmend)
    }

    /// Whether no conflict keeps what is staged from being committed.
    pub fn check_resolved(&self) -> Result<()> {
        self.merge_state()?.as_ref().map_or(Ok(()), check_resolved)
    }

    /// The parents of a new commit, and the tree that would make it pointless.
    fn parents(
        &self,
        head: Option<CommitId>,
        merging: Option<&MergeState>,
        amend: Option<CommitId>,
    ) -> Result<(Vec<CommitId>, Option<TreeId>)> {
        if let (Some(state), Some(_)) = (merging, amend) {
            return Err(MergeError::Waiting(state.kind).into());
        }
        if let Some(expected) = amend {
            let found = head.ok_or(RepoError::NothingToAmend)?;
            if found != expected {
                return Err(RepoError::HeadMoved { expected, found });
            }
            return Ok((self.objects()?.commit(&found)?.parents, None));
        }
        match (head, merging) {
            (head, None) => Ok((head.into_iter().collect(), self.tree_of(head)?)),
            (head, Some(state)) => {
                check_resolved(state)?;
                let is_merge = state.kind == MergeKind::Merge;
                let others = state.others.iter().copied().filter(|_| is_merge);
                Ok((head.into_iter().chain(others).collect(), None))
            }
        }
    }

    /// Stores a commit, whose tree is stored; no ref leads to it yet.
    pub(super) fn write_commit(&self, engine: &Engine, commit: &Commit) -> Result<CommitId> {
        let root = self.work_tree_handle()?;
        let encoded = commit.encode_checked().map_err(RepoError::Unstorable)?;
        let id = CommitId::of(&encoded);
        engine.write_objects(&WorkTreeSource(&root), |worker| {
            worker.put(BlockKind::Commit, ObjectId::from(id), encoded)
        })?;
        Ok(id)
    }
}

fn check_resolved(state: &MergeState) -> Result<()> {
    let paths: Vec<_> = state.open().map(|conflict| format!("'{}'", conflict.path)).collect();
    if paths.is_empty() { Ok(()) } else { Err(MergeError::Unresolved { paths }.into()) }
}

#[cfg(test)]
mod tests;
