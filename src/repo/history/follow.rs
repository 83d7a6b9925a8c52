//! One file through its renames.

use super::super::Result;
use super::super::diff::{DiffSpec, Differ, Endpoint, RenameOptions};
use super::super::path_filter::PathFilter;
use super::super::trees::find;
use super::HistoryEntry;
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::object::EntryKind;

/// Knows under which name a file goes in the commits that are looked at next. Commits come children
/// first.
#[derive(Debug, Clone)]
pub struct Follow {
    path: RepoPath,
    /// The names in the commit that was looked at last.
    last: Vec<RepoPath>,
}

impl Follow {
    /// Begins with the newest name.
    pub fn new(path: RepoPath) -> Self {
        Self { last: vec![path.clone()], path }
    }

    /// The names that the file had before and after the commit that was looked at last.
    pub fn filter(&self) -> PathFilter {
        PathFilter::new(self.last.clone())
    }

    /// Whether a commit changed the file: what it holds differs from what each parent holds. If the
    /// file came from another name, that one is followed from here on.
    pub fn changes(&mut self, differ: &Differ<'_>, entry: &HistoryEntry) -> Result<bool> {
        let tree = entry.commit.tree;
        let own = self.entry(differ, tree)?;
        let mut parents = Vec::with_capacity(entry.commit.parents.len());
        for parent in &entry.commit.parents {
            let parent = differ.objects().commit(parent)?.tree;
            let there = self.entry(differ, parent)?;
            if there == own {
                return Ok(false);
            }
            parents.push((parent, there.is_some()));
        }
        self.last = vec![self.path.clone()];
        if own.is_none() {
            return Ok(!parents.is_empty());
        }
        if parents.iter().all(|(_, is_there)| !is_there)
            && let Some((parent, _)) = parents.first()
            && let Some(origin) = self.origin(differ, *parent, tree)?
        {
            self.last.push(origin.clone());
            self.path = origin;
        }
        Ok(true)
    }

    fn entry(&self, differ: &Differ<'_>, tree: TreeId) -> Result<Option<EntryKind>> {
        find(differ.objects(), &tree, &self.path)
    }

    /// The file in the parent that this one comes from.
    fn origin(
        &self,
        differ: &Differ<'_>,
        parent: TreeId,
        tree: TreeId,
    ) -> Result<Option<RepoPath>> {
        let spec = DiffSpec {
            old: Endpoint::Tree(Some(parent)),
            new: Endpoint::Tree(Some(tree)),
            paths: &PathFilter::default(),
            renames: Some(RenameOptions::default()),
        };
        let mut origin = None;
        differ.for_each_change(&spec, |change| {
            if change.similarity.is_some() && change.path() == self.path {
                origin = change.old.map(|old| old.path);
            }
            Ok(())
        })?;
        Ok(origin)
    }
}
