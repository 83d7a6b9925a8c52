//! Which commits changed certain paths.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::Result;
use super::super::path_filter::PathFilter;
use super::super::trees::find;
use crate::id::TreeId;
use crate::storage::format::object::EntryKind;
use crate::storage::objects::Objects;

/// Most trees whose entries are remembered.
const MAX_KNOWN: usize = 1 << 16;

/// What a tree holds at some paths.
type Entries = Rc<[Option<EntryKind>]>;

/// Compares trees at some paths: the entry of each is looked up, and nothing below it is read.
pub(super) struct PathHistory {
    objects: Objects,
    filter: PathFilter,
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
        Self { objects: objects.clone(), filter: filter.clone(), known: HashMap::new() }
    }

    fn entries(&mut self, tree: TreeId) -> Result<Entries> {
        if let Some(entries) = self.known.get(&tree) {
            return Ok(Rc::clone(entries));
        }
        let roots = self.filter.roots().iter();
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
        let own = self.entries(tree)?;
        if parents.is_empty() {
            let has_any = own.iter().any(Option::is_some);
            return Ok(if has_any { Touch::Changed } else { Touch::Nothing });
        }
        for (at, parent) in parents.iter().enumerate() {
            if *parent == tree || self.entries(*parent)? == own {
                return Ok(Touch::SameAs(at));
            }
        }
        Ok(Touch::Changed)
    }
}
