//! How two committed trees differ, in path order and in flat memory: what both hold is not read,
//! neither whole directories nor single pages of a large one.

use std::cmp::Ordering;

use super::super::diff_trees::ChangeKind;
use super::super::{RepoError, Result};
use super::is_empty_tree;
use crate::id::TreeId;
use crate::path::{MAX_DEPTH, RepoPath};
use crate::storage::format::FormatError;
use crate::storage::format::object::{EntryKind, TreeEntry};
use crate::storage::objects::{Objects, TreeIter};
use crate::storage::pack_store::StoreError;

/// One path that differs. Files, links and empty directories have changes of their own; any other
/// directory is there by what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    /// Where.
    pub path: RepoPath,
    /// What the old tree holds there.
    pub old: Option<EntryKind>,
    /// What the new tree holds there.
    pub new: Option<EntryKind>,
}

impl TreeChange {
    /// How it differs.
    pub fn kind(&self) -> ChangeKind {
        match (&self.old, &self.new) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Deleted,
            (Some(old), Some(new))
                if std::mem::discriminant(old) == std::mem::discriminant(new) =>
            {
                ChangeKind::Modified
            }
            _ => ChangeKind::TypeChanged,
        }
    }
}

/// A directory of both trees, or of one.
struct Level {
    path: RepoPath,
    old: Option<TreeIter>,
    new: Option<TreeIter>,
}

/// Streams the changes from one tree to another. After an error it ends.
pub struct TreeDiff<'a> {
    objects: Objects,
    stack: Vec<Level>,
    /// Whether anything below a directory is of interest.
    enters: Box<dyn Fn(&RepoPath) -> bool + 'a>,
}

impl<'a> TreeDiff<'a> {
    /// The way from `old` to `new`; `None` is a tree without entries.
    pub fn new(objects: &Objects, old: Option<TreeId>, new: Option<TreeId>) -> Self {
        let level = Level {
            path: RepoPath::root(),
            old: old.map(|tree| objects.tree(&tree)),
            new: new.map(|tree| objects.tree(&tree)),
        };
        let stack = if old == new { Vec::new() } else { vec![level] };
        Self { objects: objects.clone(), stack, enters: Box::new(|_| true) }
    }

    /// Leaves out what lies below directories for which `enters` says no.
    #[must_use]
    pub fn entering(mut self, enters: impl Fn(&RepoPath) -> bool + 'a) -> Self {
        self.enters = Box::new(enters);
        self
    }

    fn advance(&mut self) -> Result<Option<TreeChange>> {
        while let Some(level) = self.stack.last_mut() {
            let Some((old, new)) = level.next_pair()? else {
                self.stack.pop();
                continue;
            };
            let name = new.as_ref().or(old.as_ref()).map(|entry| entry.name.clone());
            let name = name.unwrap_or_default();
            let path = level.path.join(&name);
            let path = path.map_err(|source| RepoError::BadStoredPath { name, source })?;
            let (old, new) = (old.map(|entry| entry.kind), new.map(|entry| entry.kind));
            if let Some(change) = self.compare(path, old, new)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// Compares one name of both; what directories hold is left for later.
    fn compare(
        &mut self,
        path: RepoPath,
        old: Option<EntryKind>,
        new: Option<EntryKind>,
    ) -> Result<Option<TreeChange>> {
        if is_same(old.as_ref(), new.as_ref()) {
            return Ok(None);
        }
        let (old_dir, new_dir) = (filled_dir(old.as_ref()), filled_dir(new.as_ref()));
        if (old_dir.is_some() || new_dir.is_some()) && (self.enters)(&path) {
            self.enter(path.clone(), old_dir, new_dir)?;
        }
        let old = old.filter(|_| old_dir.is_none());
        let new = new.filter(|_| new_dir.is_none());
        let differs = old.is_some() || new.is_some();
        Ok(differs.then_some(TreeChange { path, old, new }))
    }

    fn enter(&mut self, path: RepoPath, old: Option<TreeId>, new: Option<TreeId>) -> Result<()> {
        if self.stack.len() >= MAX_DEPTH {
            let id = new.or(old).unwrap_or_else(super::empty_tree).into();
            let source = FormatError::invalid("a tree", "it is nested too deep");
            return Err(StoreError::Object { id, source }.into());
        }
        let open = |tree: Option<TreeId>| tree.map(|tree| self.objects.tree(&tree));
        let (old, new) = (open(old), open(new));
        self.stack.push(Level { path, old, new });
        Ok(())
    }
}

impl Iterator for TreeDiff<'_> {
    type Item = Result<TreeChange>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.advance();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}

/// The entries of one name.
type Pair = (Option<TreeEntry>, Option<TreeEntry>);

impl Level {
    /// The entries of the next name, in either or in both; pages that both hold are passed over.
    fn next_pair(&mut self) -> Result<Option<Pair>> {
        if let (Some(old), Some(new)) = (&mut self.old, &mut self.new) {
            skip_common_pages(old, new)?;
        }
        let old = self.old.as_mut().map_or(Ok(None), TreeIter::peek)?;
        let new = self.new.as_mut().map_or(Ok(None), TreeIter::peek)?;
        let order = match (old, new) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
        };
        let take = |side: &mut Option<TreeIter>| side.as_mut().and_then(Iterator::next).transpose();
        let old = if order.is_le() { take(&mut self.old)? } else { None };
        let new = if order.is_ge() { take(&mut self.new)? } else { None };
        Ok(Some((old, new)))
    }
}

/// Passes over pages that come next in both. A page is opened only where the other differs.
fn skip_common_pages(old: &mut TreeIter, new: &mut TreeIter) -> Result<()> {
    while let (Some(a), Some(b)) = (old.next_page(), new.next_page()) {
        if a.id == b.id {
            old.skip_page();
            new.skip_page();
            continue;
        }
        // Whose page covers more is opened, so that both come to pages of one level.
        let order = match (a.level, b.level) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
        };
        if order.is_ge() {
            old.open_page()?;
        }
        if order.is_le() {
            new.open_page()?;
        }
    }
    Ok(())
}

/// Whether both hold the same; of directories the tree decides.
fn is_same(old: Option<&EntryKind>, new: Option<&EntryKind>) -> bool {
    match (old, new) {
        (Some(EntryKind::Dir { tree: old, .. }), Some(EntryKind::Dir { tree: new, .. })) => {
            old == new
        }
        (old, new) => old == new,
    }
}

/// The tree of a directory that holds something.
fn filled_dir(kind: Option<&EntryKind>) -> Option<TreeId> {
    match kind {
        Some(EntryKind::Dir { tree, .. }) if !is_empty_tree(tree) => Some(*tree),
        _ => None,
    }
}
