//! Which paths of each commit go. They are found from the first commits to the last: of a commit with
//! a parent only what changed is looked at. Sets are kept of those commits only that another is still
//! to follow, and are handed on to the last that does.

use std::collections::{BTreeSet, HashMap};

use super::super::Result;
use super::super::pathspec::Pathspec;
use super::super::trees::TreeDiff;
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::storage::format::object::Commit;
use crate::storage::objects::Objects;

/// Commits, each behind its parents.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) commits: Vec<CommitId>,
    /// How many commits have this one as their first parent.
    followers: HashMap<CommitId, u32>,
}

impl Order {
    pub(super) fn push(&mut self, id: CommitId, commit: &Commit) {
        self.commits.push(id);
        if let Some(parent) = commit.parents.first() {
            *self.followers.entry(*parent).or_default() += 1;
        }
    }
}

/// What a commit holds of what goes.
#[derive(Debug, Clone, Default)]
struct Held {
    tree: Option<TreeId>,
    paths: BTreeSet<RepoPath>,
}

/// Looks at commits in their order.
pub(super) struct Doomed<'a> {
    objects: &'a Objects,
    paths: &'a Pathspec,
    followers: HashMap<CommitId, u32>,
    held: HashMap<CommitId, Held>,
    last: Option<CommitId>,
    /// All paths that some commit holds.
    pub(super) all: BTreeSet<RepoPath>,
}

impl<'a> Doomed<'a> {
    pub(super) fn new(objects: &'a Objects, paths: &'a Pathspec, order: &Order) -> Self {
        let followers = order.followers.clone();
        Self { objects, paths, followers, held: HashMap::new(), last: None, all: BTreeSet::new() }
    }

    /// The paths of the next commit that go.
    pub(super) fn of(&mut self, id: &CommitId, commit: &Commit) -> Result<&BTreeSet<RepoPath>> {
        if let Some(last) = self.last.replace(*id)
            && !self.followers.contains_key(&last)
        {
            self.held.remove(&last);
        }
        let mut held = commit.parents.first().map(|parent| self.follow(parent)).unwrap_or_default();
        for change in TreeDiff::new(self.objects, held.tree, Some(commit.tree)) {
            let change = change?;
            if !self.paths.matches(change.path.as_bytes(), false) {
                continue;
            }
            if change.new.is_none() {
                held.paths.remove(&change.path);
            } else if held.paths.insert(change.path.clone()) {
                self.all.insert(change.path);
            }
        }
        held.tree = Some(commit.tree);
        Ok(&self.held.entry(*id).or_insert(held).paths)
    }

    /// What a commit holds, for one that follows it; the last of these takes it.
    fn follow(&mut self, parent: &CommitId) -> Held {
        let left = self.followers.get_mut(parent).map(|count| {
            *count -= 1;
            *count
        });
        if left.is_some_and(|left| left > 0) {
            return self.held.get(parent).cloned().unwrap_or_default();
        }
        self.followers.remove(parent);
        self.held.remove(parent).unwrap_or_default()
    }
}
