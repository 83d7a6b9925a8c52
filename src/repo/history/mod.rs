//! Commits in the order of time, and how histories are related.

mod bases;
mod graph;

use std::collections::{BinaryHeap, HashSet};

use super::{Repository, Result};
use crate::id::CommitId;
use crate::storage::format::object::Commit;
use crate::storage::objects::Objects;

/// Streams a commit and everything before it, the newest first, each once.
pub struct History {
    objects: Objects,
    queue: BinaryHeap<(i64, CommitId)>,
    seen: HashSet<CommitId>,
}

impl History {
    fn push(&mut self, id: CommitId) -> Result<()> {
        if self.seen.insert(id) {
            let commit = self.objects.commit(&id)?;
            self.queue.push((commit.committer.seconds, id));
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(CommitId, Commit)>> {
        let Some((_, id)) = self.queue.pop() else { return Ok(None) };
        let commit = self.objects.commit(&id)?;
        for parent in &commit.parents {
            self.push(*parent)?;
        }
        Ok(Some((id, commit)))
    }
}

impl Iterator for History {
    type Item = Result<(CommitId, Commit)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.advance();
        if step.is_err() {
            self.queue.clear();
        }
        step.transpose()
    }
}

impl Repository {
    /// The history of some commits.
    pub fn history(&self, from: impl IntoIterator<Item = CommitId>) -> Result<History> {
        let objects = self.objects()?.clone();
        let mut history = History { objects, queue: BinaryHeap::new(), seen: HashSet::new() };
        from.into_iter().try_for_each(|id| history.push(id))?;
        Ok(history)
    }
}
