//! The trees of what is staged, from the tree that it equalled last and the paths that changed
//! since: what did not change is taken over, a page at a time, without a look inside.

use crate::id::{ObjectId, TreeId};
use crate::path::split_last;
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::format::object::{EntryKind, TreeChild, TreeEntry, TreePage};
use crate::storage::objects::{ObjectSink, Objects, TreeBuilder, TreeTotals};

use super::trees::entry_kind;

/// If more than this part of the entries changed, one pass over all of them is quicker.
const MOST_CHANGED: usize = 8;

/// Why an update ended early.
#[derive(Debug)]
pub(super) enum Stop<E> {
    /// A page of the old trees is missing or damaged.
    Unreadable,
    /// A new page cannot be stored.
    Sink(E),
}

type Result<T, E> = std::result::Result<T, Stop<E>>;

/// See the module.
pub(super) struct TreeUpdate<'a> {
    staging: &'a BinaryStagingArea,
    objects: &'a Objects,
    /// In path order.
    changed: Vec<&'a [u8]>,
}

/// The changed paths at or below one entry of a directory.
struct Group<'a> {
    name: &'a [u8],
    /// The path of the entry.
    path: &'a [u8],
    /// Those below the entry.
    below: &'a [&'a [u8]],
}

/// A directory while it is made anew.
struct Dir<'u, 'a> {
    update: &'u TreeUpdate<'a>,
    groups: std::iter::Peekable<Groups<'u>>,
    builder: TreeBuilder,
    /// What the directory holds more than before.
    files: u64,
    bytes: u64,
}

impl<'a> TreeUpdate<'a> {
    /// The way from `tree` to what is staged, if it is known and short.
    pub(super) fn new(
        staging: &'a BinaryStagingArea,
        objects: &'a Objects,
        tree: TreeId,
    ) -> Option<Self> {
        let (last, changed) = staging.changes_since_tree()?;
        let is_short = changed.len() <= staging.len() / MOST_CHANGED;
        (last == tree && is_short).then_some(Self { staging, objects, changed })
    }

    /// Writes the new trees; `old` is the tree at the root.
    pub(super) fn write<S: ObjectSink>(
        &self,
        old: TreeTotals,
        sink: &mut S,
    ) -> Result<TreeTotals, S::Error> {
        self.dir(Some(old), 0, &self.changed, sink)
    }

    /// Writes one directory, whose path with its slash has `prefix` bytes. Without an old tree,
    /// all that is staged in it is among the changed paths.
    fn dir<S: ObjectSink>(
        &self,
        old: Option<TreeTotals>,
        prefix: usize,
        changed: &[&[u8]],
        sink: &mut S,
    ) -> Result<TreeTotals, S::Error> {
        let groups = Groups { rest: changed, prefix }.peekable();
        let (files, bytes) = old.map_or((0, 0), |old| (old.files, old.bytes));
        let mut dir = Dir { update: self, groups, builder: TreeBuilder::default(), files, bytes };
        if let Some(old) = old {
            dir.page(old.tree, None, None, sink)?;
        }
        while let Some(group) = dir.groups.next() {
            dir.changed_entry(None, &group, sink)?;
        }
        let Dir { builder, files, bytes, .. } = dir;
        let tree = builder.finish(sink).map_err(Stop::Sink)?.tree;
        Ok(TreeTotals { tree, files, bytes })
    }

    /// What the directory holds under a changed name now.
    fn entry<S: ObjectSink>(
        &self,
        old: Option<&EntryKind>,
        group: &Group<'_>,
        sink: &mut S,
    ) -> Result<Option<EntryKind>, S::Error> {
        if let Some(staged) = self.staging.view(group.path) {
            return entry_kind(&staged, sink).map(Some).map_err(Stop::Sink);
        }
        if self.staging.views_within(group.path).next().is_none() {
            return Ok(None);
        }
        let old = match old {
            Some(&EntryKind::Dir { tree, files, bytes }) => Some(TreeTotals { tree, files, bytes }),
            _ => None,
        };
        let TreeTotals { tree, files, bytes } =
            self.dir(old, group.path.len() + 1, group.below, sink)?;
        Ok(Some(EntryKind::Dir { tree, files, bytes }))
    }
}

impl Dir<'_, '_> {
    /// Takes over a page of the old directory and all below it; names from `end` on lie in the
    /// pages behind. `level` is that of the page, where a page above said so.
    fn page<S: ObjectSink>(
        &mut self,
        id: TreeId,
        level: Option<u8>,
        end: Option<&[u8]>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let page = self.update.objects.tree_page(&id).map_err(|_| Stop::Unreadable)?;
        if level.is_some_and(|level| level != page.level()) {
            return Err(Stop::Unreadable);
        }
        match page {
            TreePage::Leaf(entries) => self.leaf(entries, end, sink),
            TreePage::Node { level, children } => {
                let ends = children.iter().skip(1).map(|child| Some(child.first.as_slice()));
                let ends: Vec<_> = ends.chain([end]).collect();
                for (child, end) in children.iter().zip(ends) {
                    if level == 1 && self.is_reusable(end) {
                        self.reuse(child, sink)?;
                    } else {
                        self.page(child.id, level.checked_sub(1), end, sink)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether nothing changed in the page that ends before `end`, and it would begin and end in
    /// the new directory as it does in the old. The last page of all ends where nothing splits it.
    fn is_reusable(&mut self, end: Option<&[u8]>) -> bool {
        let next = self.groups.peek().map(|group| group.name);
        self.builder.is_at_boundary() && end.is_some_and(|end| next.is_none_or(|next| next >= end))
    }

    fn reuse<S: ObjectSink>(&mut self, page: &TreeChild, sink: &mut S) -> Result<(), S::Error> {
        // A look into the index: a page that was lost is made anew.
        if !self.update.objects.reader().store().contains(&ObjectId::from(page.id)) {
            return Err(Stop::Unreadable);
        }
        self.builder.push_page(page.clone(), sink).map_err(Stop::Sink)
    }

    fn leaf<S: ObjectSink>(
        &mut self,
        entries: Vec<TreeEntry>,
        end: Option<&[u8]>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        for old in entries {
            while let Some(group) = self.groups.next_if(|group| group.name < old.name.as_slice()) {
                self.changed_entry(None, &group, sink)?;
            }
            match self.groups.next_if(|group| group.name == old.name) {
                Some(group) => self.changed_entry(Some(&old), &group, sink)?,
                None => self.builder.push(old, sink).map_err(Stop::Sink)?,
            }
        }
        let is_before = |group: &Group<'_>| end.is_some_and(|end| group.name < end);
        while let Some(group) = self.groups.next_if(is_before) {
            self.changed_entry(None, &group, sink)?;
        }
        Ok(())
    }

    fn changed_entry<S: ObjectSink>(
        &mut self,
        old: Option<&TreeEntry>,
        group: &Group<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let (files, bytes) = old.map_or((0, 0), TreeEntry::totals);
        self.files = self.files.saturating_sub(files);
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(kind) = self.update.entry(old.map(|old| &old.kind), group, sink)? else {
            return Ok(());
        };
        let entry = TreeEntry { name: group.name.to_vec(), kind };
        let (files, bytes) = entry.totals();
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
        self.builder.push(entry, sink).map_err(Stop::Sink)
    }
}

/// The changed paths of a directory, entry by entry.
struct Groups<'a> {
    rest: &'a [&'a [u8]],
    /// Bytes of the directory's path with its slash.
    prefix: usize,
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let first: &'a [u8] = self.rest.first()?;
        let tail = &first[self.prefix..];
        let len = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
        let path = &first[..self.prefix + len];
        let is_here = |other: &&[u8]| {
            other.starts_with(path) && matches!(other.get(path.len()), None | Some(b'/'))
        };
        let count = self.rest.partition_point(is_here);
        let (here, rest) = self.rest.split_at(count);
        self.rest = rest;
        let below = if first.len() == path.len() { &here[1..] } else { here };
        Some(Group { name: split_last(path).1, path, below })
    }
}

#[cfg(test)]
mod tests;
