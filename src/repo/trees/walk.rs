//! Walking a committed tree in path order, in flat memory.

use super::super::{RepoError, Result};
use crate::id::TreeId;
use crate::path::{MAX_DEPTH, RepoPath};
use crate::storage::format::FormatError;
use crate::storage::format::object::{EntryKind, TreeEntry};
use crate::storage::objects::{Objects, TreeIter};
use crate::storage::pack_store::StoreError;

/// One file, link or directory of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeItem {
    /// Where.
    pub path: RepoPath,
    /// What.
    pub kind: EntryKind,
}

/// Streams everything below a directory, each directory before what it holds.
pub struct TreeWalk {
    objects: Objects,
    stack: Vec<(RepoPath, TreeIter)>,
}

impl TreeWalk {
    /// Everything below `tree`, which lies at `path`.
    pub fn new(objects: &Objects, tree: &TreeId, path: RepoPath) -> Self {
        Self { objects: objects.clone(), stack: vec![(path, objects.tree(tree))] }
    }

    fn enter(&mut self, entry: TreeEntry, dir: &RepoPath) -> Result<TreeItem> {
        let path = dir
            .join(&entry.name)
            .map_err(|source| RepoError::BadStoredPath { name: entry.name.clone(), source })?;
        if let EntryKind::Dir { tree, .. } = &entry.kind {
            if self.stack.len() >= MAX_DEPTH {
                let source = FormatError::invalid("a tree", "it is nested too deep");
                return Err(StoreError::Object { id: (*tree).into(), source }.into());
            }
            let iter = self.objects.tree(tree);
            self.stack.push((path.clone(), iter));
        }
        Ok(TreeItem { path, kind: entry.kind })
    }
}

impl Iterator for TreeWalk {
    type Item = Result<TreeItem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (dir, iter) = self.stack.last_mut()?;
            match iter.next() {
                None => {
                    self.stack.pop();
                }
                Some(Err(error)) => {
                    self.stack.clear();
                    return Some(Err(error.into()));
                }
                Some(Ok(entry)) => {
                    let dir = dir.clone();
                    let item = self.enter(entry, &dir);
                    if item.is_err() {
                        self.stack.clear();
                    }
                    return Some(item);
                }
            }
        }
    }
}

/// Looks a path up below a root tree; the root itself has no entry.
pub fn find(objects: &Objects, root: &TreeId, path: &RepoPath) -> Result<Option<EntryKind>> {
    let mut tree = *root;
    let mut components = path.components().peekable();
    while let Some(name) = components.next() {
        let Some(entry) = objects.tree_entry(&tree, name)? else { return Ok(None) };
        match entry.kind {
            kind if components.peek().is_none() => return Ok(Some(kind)),
            EntryKind::Dir { tree: below, .. } => tree = below,
            _ => return Ok(None),
        }
    }
    Ok(None)
}
