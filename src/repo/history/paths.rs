//! Which commits changed certain paths.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::Result;
use super::super::path_filter::PathFilter;
use super::super::trees::{TreeDiff, find};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::object::EntryKind;
use crate::storage::objects::Objects;

/// Most trees whose entries are remembered.
const MAX_KNOWN: usize = 1 << 16;

/// What a tree holds at some paths.
type Entries = Rc<[Option<EntryKind>]>;

/// Compares trees at some paths: the entry of each is looked up, and nothing below it is read. For
/// patterns the trees are compared until something that matches differs.
pub(super) struct PathHistory {
    objects: Objects,
    filter: PathFilter,
    /// Plain paths; `None` where there are patterns, and trees are compared.
    roots: Option<Vec<RepoPath>>,
    known: HashMap<TreeId, Entries>,
}

/// What a commit did to the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It differs from all its parents there.
    Changed,
    /// It holds what this parent holds.
    SameAs(usize),
    /// It has no parent and nothing there.
    Nothing,
}

impl PathHistory {
    pub(super) fn new(objects: &Objects, filter: &PathFilter) -> Self {
        let (objects, filter, roots) = (objects.clone(), filter.clone(), filter.roots());
        Self { objects, filter, roots, known: HashMap::new() }
    }

    /// Whether two trees are the same there.
    fn is_same(&mut self, old: Option<TreeId>, new: TreeId) -> Result<bool> {
        if old == Some(new) {
            return Ok(true);
        }
        if self.roots.is_some() {
            let new = self.entries(new)?;
            return match old {
                Some(old) => Ok(self.entries(old)? == new),
                None => Ok(new.iter().all(Option::is_none)),
            };
        }
        let enters = |dir: &RepoPath| self.filter.enters(dir);
        for change in TreeDiff::new(&self.objects, old, Some(new)).entering(enters) {
            if self.filter.wants(&change?.path) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entries(&mut self, tree: TreeId) -> Result<Entries> {
        if let Some(entries) = self.known.get(&tree) {
            return Ok(Rc::clone(entries));
        }
        let roots = self.roots.iter().flatten();
        let entries: Result<Entries> = roots.map(|path| find(&self.objects, &tree, path)).collect();
        let entries = entries?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(tree, Rc::clone(&entries));
        Ok(entries)
    }

    /// What a commit with this tree did beside its parents.
    pub(super) fn touch(&mut self, tree: TreeId, parents: &[TreeId]) -> Result<Touch> {
        if parents.is_empty() {
            let is_empty = self.is_same(None, tree)?;
            return Ok(if is_empty { Touch::Nothing } else { Touch::Changed });
        }
        for (at, parent) in parents.iter().enumerate() {
            if self.is_same(Some(*parent), tree)? {
                return Ok(Touch::SameAs(at));
            }
        }
        Ok(Touch::Changed)
    }
}
