//! The parents, times and trees of commits, each commit read once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::Result;
use crate::id::{CommitId, TreeId};
use crate::storage::objects::Objects;

/// What a walk needs of a commit.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// When it was recorded, in seconds since 1970.
    pub time: i64,
    /// What it holds.
    pub tree: TreeId,
    /// Commits before it.
    pub parents: Box<[CommitId]>,
}

type Load = Box<dyn FnMut(&CommitId) -> Result<Node>>;

/// Nodes of the commits that a walk met: about 160 bytes for each.
pub(super) struct Graph {
    load: Load,
    nodes: HashMap<CommitId, Node>,
}

impl Graph {
    pub(super) fn new(objects: &Objects) -> Self {
        let objects = objects.clone();
        Self::with(move |id| {
            let commit = objects.commit(id)?;
            let parents = commit.parents.into_boxed_slice();
            Ok(Node { time: commit.committer.seconds, tree: commit.tree, parents })
        })
    }

    /// Over commits from anywhere.
    pub(super) fn with(load: impl FnMut(&CommitId) -> Result<Node> + 'static) -> Self {
        Self { load: Box::new(load), nodes: HashMap::new() }
    }

    /// The node of a commit.
    pub(super) fn node(&mut self, id: CommitId) -> Result<&Node> {
        match self.nodes.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert((self.load)(&id)?)),
        }
    }
}
