//! Which commits come before others, and in which order they are told.

mod bases;
mod follow;
mod gather;
mod graph;
mod paths;

use std::collections::{BinaryHeap, HashMap, HashSet};

pub use self::follow::Follow;
use self::gather::gather;
use self::graph::Graph;
use self::paths::{PathHistory, Touch};
use super::path_filter::PathFilter;
use super::{RepoError, Repository, Result};
use crate::id::CommitId;
use crate::storage::format::object::Commit;
use crate::storage::objects::Objects;
use crate::storage::queues::CancelToken;

/// In which order commits are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first of those that are known to be due; where clocks ran backwards, a commit
    /// may come before one that was made on it.
    #[default]
    Time,
    /// A commit comes before its parents, whatever the clocks say; lines of history are not mixed.
    Topological,
    /// A commit comes before its parents; else the newest first.
    TopologicalByTime,
}

/// Which commits are told.
#[derive(Debug, Clone, Default)]
pub struct HistorySpec {
    /// These and what comes before them ...
    pub include: Vec<CommitId>,
    /// ... without these and what comes before them.
    pub exclude: Vec<CommitId>,
    /// In which order.
    pub order: Order,
    /// Follow only the first parent of a merge.
    pub first_parent: bool,
    /// Look at no commit that was recorded before this, nor at those before it.
    pub since: Option<i64>,
    /// Only commits that differ there from all their parents; where a merge holds what one of its
    /// parents holds, only that parent is followed.
    pub paths: PathFilter,
}

/// One commit.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// Which.
    pub id: CommitId,
    /// What it says.
    pub commit: Commit,
    /// The nearest commits before it that are told too.
    pub parents: Vec<CommitId>,
}

/// Whether a commit is told, for reasons beyond its place.
pub type Filter<'a> = &'a dyn Fn(&Commit) -> bool;

/// Streams commits, each once. After an error it ends.
pub struct History<'a> {
    objects: Objects,
    cancel: CancelToken,
    source: Source,
    filter: Option<Filter<'a>>,
}

enum Source {
    /// In the order of time, as they are met.
    Stream(Box<Stream>),
    /// All of them, gathered and put in order, the last first.
    List(Vec<(CommitId, Vec<CommitId>)>),
}

struct Stream {
    queue: BinaryHeap<(i64, CommitId)>,
    seen: HashSet<CommitId>,
    /// Commits that were read already.
    read: HashMap<CommitId, Commit>,
    paths: Option<PathHistory>,
    first_parent: bool,
    since: Option<i64>,
}

impl Stream {
    fn commit(&mut self, objects: &Objects, id: CommitId) -> Result<&Commit> {
        use std::collections::hash_map::Entry;
        match self.read.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(objects.commit(&id)?)),
        }
    }

    fn push(&mut self, objects: &Objects, id: CommitId) -> Result<()> {
        if self.seen.insert(id) {
            let time = self.commit(objects, id)?.committer.seconds;
            self.queue.push((time, id));
        }
        Ok(())
    }

    /// The next commit, and whether it changed the paths.
    fn advance(&mut self, objects: &Objects) -> Result<Option<(HistoryEntry, bool)>> {
        let Some((time, id)) = self.queue.pop() else { return Ok(None) };
        let commit = match self.read.remove(&id) {
            Some(commit) => commit,
            None => objects.commit(&id)?,
        };
        if self.since.is_some_and(|since| time < since) {
            return Ok(Some((HistoryEntry { id, commit, parents: Vec::new() }, false)));
        }
        let mut parents = commit.parents.clone();
        if self.first_parent {
            parents.truncate(1);
        }
        let touch = self.touch(objects, &commit, &parents)?;
        if let Touch::SameAs(at) = touch {
            parents = vec![parents[at]];
        }
        for parent in &parents {
            self.push(objects, *parent)?;
        }
        Ok(Some((HistoryEntry { id, commit, parents }, touch == Touch::Changed)))
    }

    fn touch(&mut self, objects: &Objects, commit: &Commit, parents: &[CommitId]) -> Result<Touch> {
        if self.paths.is_none() {
            return Ok(Touch::Changed);
        }
        let mut trees = Vec::with_capacity(parents.len());
        for parent in parents {
            trees.push(self.commit(objects, *parent)?.tree);
        }
        let paths = self.paths.as_mut();
        paths.map_or(Ok(Touch::Changed), |paths| paths.touch(commit.tree, &trees))
    }
}

impl History<'_> {
    fn advance(&mut self) -> Result<Option<HistoryEntry>> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            let (entry, is_meant) = match &mut self.source {
                Source::Stream(stream) => match stream.advance(&self.objects)? {
                    Some(step) => step,
                    None => return Ok(None),
                },
                Source::List(list) => {
                    let Some((id, parents)) = list.pop() else { return Ok(None) };
                    let commit = self.objects.commit(&id)?;
                    return Ok(Some(HistoryEntry { id, commit, parents }));
                }
            };
            if is_meant && self.filter.is_none_or(|filter| filter(&entry.commit)) {
                return Ok(Some(entry));
            }
        }
    }
}

impl Iterator for History<'_> {
    type Item = Result<HistoryEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.advance();
        if step.is_err() {
            self.source = Source::List(Vec::new());
        }
        step.transpose()
    }
}

impl Repository {
    /// Some commits and everything before them, the newest first.
    pub fn history(
        &self,
        from: impl IntoIterator<Item = CommitId>,
    ) -> Result<impl Iterator<Item = Result<(CommitId, Commit)>>> {
        let spec = HistorySpec { include: from.into_iter().collect(), ..HistorySpec::default() };
        let history = self.history_of(&spec, None)?;
        Ok(history.map(|entry| entry.map(|entry| (entry.id, entry.commit))))
    }

    /// The history that is asked for, but for commits that the filter refuses. In the order of
    /// time, without commits to leave out, they come as they are met; else the commits are gathered
    /// first, at about 300 bytes for each.
    pub fn history_of<'a>(
        &self,
        spec: &HistorySpec,
        filter: Option<Filter<'a>>,
    ) -> Result<History<'a>> {
        let objects = self.objects()?.clone();
        let cancel = self.cancel_token().clone();
        let paths = (!spec.paths.is_all()).then(|| PathHistory::new(&objects, &spec.paths));
        if spec.order != Order::Time || !spec.exclude.is_empty() {
            let is_told = |id: &CommitId| match filter {
                Some(filter) => Ok(filter(&objects.commit(id)?)),
                None => Ok(true),
            };
            let list = gather(Graph::new(&objects), spec, paths, &is_told, &cancel)?;
            return Ok(History { objects, cancel, source: Source::List(list), filter });
        }
        let mut stream = Stream {
            queue: BinaryHeap::new(),
            seen: HashSet::new(),
            read: HashMap::new(),
            paths,
            first_parent: spec.first_parent,
            since: spec.since,
        };
        for id in &spec.include {
            stream.push(&objects, *id)?;
        }
        Ok(History { objects, cancel, source: Source::Stream(Box::new(stream)), filter })
    }
}
