//! Changed trees from an old one and a list of edits: what the edits do not name is taken over, a
//! page at a time, without a look inside.

use crate::id::{ObjectId, TreeId};
use crate::path::{RepoPath, split_last};
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::format::FormatError;
use crate::storage::format::object::{EntryKind, TreeChild, TreeEntry, TreePage};
use crate::storage::objects::{ObjectSink, Objects, TreeBuilder, TreeTotals};
use crate::storage::pack_store::StoreError;

use super::is_empty_tree;
use super::write::entry_kind;

/// Where pages of old trees come from.
pub trait TreePages {
    /// Reads one page.
    fn tree_page(&self, id: &TreeId) -> Result<TreePage, StoreError>;
    /// Whether the page is there, without reading it.
    fn contains(&self, id: &TreeId) -> bool;
}

impl TreePages for Objects {
    fn tree_page(&self, id: &TreeId) -> Result<TreePage, StoreError> {
        Self::tree_page(self, id)
    }

    fn contains(&self, id: &TreeId) -> bool {
        self.reader().store().contains(&ObjectId::from(*id))
    }
}

/// What an edit does to the path that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// This is there now, and nothing of what was; edits below a directory change that one.
    Put(EntryKind),
    /// Nothing of what was at or below it stays; edits below may put something there.
    Remove,
    /// A directory stays one, as the edits below it say; anything else goes.
    Descend,
}

/// Edits by path.
pub trait Edits {
    /// What the edit of `path` does; [`Edit::Descend`] for a path that is not edited.
    fn edit(&self, path: &[u8]) -> Edit;
}

/// The staging area as the edits of the paths that changed in it.
impl Edits for BinaryStagingArea {
    fn edit(&self, path: &[u8]) -> Edit {
        self.view(path).map_or(Edit::Descend, |view| Edit::Put(entry_kind(&view)))
    }
}

/// Edits in path order, each path once; `None` removes the path and what lies below it.
impl Edits for [(RepoPath, Option<EntryKind>)] {
    fn edit(&self, path: &[u8]) -> Edit {
        let found =
            self.binary_search_by(|(other, _)| crate::path::compare(other.as_bytes(), path));
        match found.ok().and_then(|at| self.get(at)) {
            Some((_, Some(kind))) => Edit::Put(kind.clone()),
            Some((_, None)) => Edit::Remove,
            None => Edit::Descend,
        }
    }
}

/// Why an edit ended early.
#[derive(Debug)]
pub enum Stop<E> {
    /// A page of the old trees is missing or damaged.
    Unreadable(StoreError),
    /// A new page cannot be stored.
    Sink(E),
}

type Edited<T, E> = Result<T, Stop<E>>;

/// Writes the tree that `edits` make of `old` at the paths `changed`, which come in path order;
/// without an old tree, of nothing. A directory that they empty is gone, the root excepted.
pub fn edit_tree<S: ObjectSink>(
    pages: &dyn TreePages,
    old: Option<TreeTotals>,
    changed: &[&[u8]],
    edits: &(impl Edits + ?Sized),
    sink: &mut S,
) -> Edited<TreeTotals, S::Error> {
    let editor = Editor { pages, edits };
    match editor.dir(old, 0, changed, sink)? {
        Some(totals) => Ok(totals),
        None => TreeBuilder::default().finish(sink).map_err(Stop::Sink),
    }
}

/// What [`edit_tree`] makes of a list of edits.
pub fn edit_tree_by<S: ObjectSink>(
    pages: &dyn TreePages,
    old: Option<TreeTotals>,
    edits: &[(RepoPath, Option<EntryKind>)],
    sink: &mut S,
) -> Edited<TreeTotals, S::Error> {
    let changed: Vec<&[u8]> = edits.iter().map(|(path, _)| path.as_bytes()).collect();
    edit_tree(pages, old, &changed, edits, sink)
}

struct Editor<'a, E: ?Sized> {
    pages: &'a dyn TreePages,
    edits: &'a E,
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
struct Dir<'u, 'a, E: ?Sized> {
    editor: &'u Editor<'a, E>,
    groups: std::iter::Peekable<Groups<'u>>,
    builder: TreeBuilder,
    is_empty: bool,
    /// What the directory holds more than before.
    files: u64,
    bytes: u64,
}

impl<E: Edits + ?Sized> Editor<'_, E> {
    /// Writes one directory, whose path with its slash has `prefix` bytes; `None` when nothing is
    /// left of it.
    fn dir<S: ObjectSink>(
        &self,
        old: Option<TreeTotals>,
        prefix: usize,
        changed: &[&[u8]],
        sink: &mut S,
    ) -> Edited<Option<TreeTotals>, S::Error> {
        let groups = Groups { rest: changed, prefix }.peekable();
        let (files, bytes) = old.map_or((0, 0), |old| (old.files, old.bytes));
        let builder = TreeBuilder::default();
        let mut dir = Dir { editor: self, groups, builder, is_empty: true, files, bytes };
        if let Some(old) = old {
            dir.page(old.tree, None, None, sink)?;
        }
        while let Some(group) = dir.groups.next() {
            dir.changed_entry(None, &group, sink)?;
        }
        let Dir { builder, is_empty, files, bytes, .. } = dir;
        if is_empty {
            return Ok(None);
        }
        let tree = builder.finish(sink).map_err(Stop::Sink)?.tree;
        Ok(Some(TreeTotals { tree, files, bytes }))
    }

    /// What the directory holds under a changed name now.
    fn entry<S: ObjectSink>(
        &self,
        old: Option<&EntryKind>,
        group: &Group<'_>,
        sink: &mut S,
    ) -> Edited<Option<EntryKind>, S::Error> {
        let (base, put) = match self.edits.edit(group.path) {
            Edit::Put(kind @ EntryKind::Dir { .. }) => (totals_of(&kind), Some(kind)),
            Edit::Put(kind) => return Ok(Some(kind)),
            Edit::Remove => (None, None),
            Edit::Descend => (old.and_then(totals_of), None),
        };
        let written = match group.below {
            [] if put.is_some() => None,
            below => self.dir(base, group.path.len() + 1, below, sink)?,
        };
        if let Some(TreeTotals { tree, files, bytes }) = written {
            return Ok(Some(EntryKind::Dir { tree, files, bytes }));
        }
        // What was put stays, though it be empty; of the rest nothing is left.
        let stays = put.filter(|put| group.below.is_empty() || is_empty_dir(put));
        stays.map(|put| put_dir(put, sink)).transpose()
    }
}

/// A directory as it is; that of nothing may not be stored yet.
fn put_dir<S: ObjectSink>(kind: EntryKind, sink: &mut S) -> Edited<EntryKind, S::Error> {
    if is_empty_dir(&kind) {
        TreeBuilder::default().finish(sink).map_err(Stop::Sink)?;
    }
    Ok(kind)
}

fn is_empty_dir(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::Dir { tree, .. } if is_empty_tree(tree))
}

fn totals_of(kind: &EntryKind) -> Option<TreeTotals> {
    match *kind {
        EntryKind::Dir { tree, files, bytes } => Some(TreeTotals { tree, files, bytes }),
        _ => None,
    }
}

impl<E: Edits + ?Sized> Dir<'_, '_, E> {
    /// Takes over a page of the old directory and all below it; names from `end` on lie in the
    /// pages behind. `level` is that of the page, where a page above said so.
    fn page<S: ObjectSink>(
        &mut self,
        id: TreeId,
        level: Option<u8>,
        end: Option<&[u8]>,
        sink: &mut S,
    ) -> Edited<(), S::Error> {
        let page = self.editor.pages.tree_page(&id).map_err(Stop::Unreadable)?;
        if level.is_some_and(|level| level != page.level()) {
            return Err(unreadable(id, "it is on the wrong level"));
        }
        match page {
            TreePage::Leaf(entries) => self.leaf(entries, end, sink),
            TreePage::Node { level, children } => {
                let ends = children.iter().skip(1).map(|child| Some(child.first.as_slice()));
                let ends: Vec<_> = ends.chain([end]).collect();
                for (child, end) in children.iter().zip(ends) {
                    // A look into the index: a page that only a condemned pack holds is stored again,
                    // and one that was lost is found out.
                    let is_stored = self.editor.pages.contains(&child.id);
                    if level == 1 && is_stored && self.is_reusable(end) {
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

    fn reuse<S: ObjectSink>(&mut self, page: &TreeChild, sink: &mut S) -> Edited<(), S::Error> {
        self.is_empty = false;
        self.builder.push_page(page.clone(), sink).map_err(Stop::Sink)
    }

    fn leaf<S: ObjectSink>(
        &mut self,
        entries: Vec<TreeEntry>,
        end: Option<&[u8]>,
        sink: &mut S,
    ) -> Edited<(), S::Error> {
        for old in entries {
            while let Some(group) = self.groups.next_if(|group| group.name < old.name.as_slice()) {
                self.changed_entry(None, &group, sink)?;
            }
            match self.groups.next_if(|group| group.name == old.name) {
                Some(group) => self.changed_entry(Some(&old), &group, sink)?,
                None => self.keep(old, sink)?,
            }
        }
        let is_before = |group: &Group<'_>| end.is_some_and(|end| group.name < end);
        while let Some(group) = self.groups.next_if(is_before) {
            self.changed_entry(None, &group, sink)?;
        }
        Ok(())
    }

    /// Takes over an entry in which nothing changed. As with pages, a directory that only a condemned
    /// pack holds is stored again, and one that was lost is found out.
    fn keep<S: ObjectSink>(&mut self, old: TreeEntry, sink: &mut S) -> Edited<(), S::Error> {
        if let EntryKind::Dir { tree, .. } = old.kind
            && !is_empty_tree(&tree)
            && !self.editor.pages.contains(&tree)
        {
            let again = self.editor.dir(totals_of(&old.kind), 0, &[], sink)?;
            if again.is_none_or(|again| again.tree != tree) {
                return Err(unreadable(tree, "it is not as it would be written"));
            }
        }
        self.push(old, sink)
    }

    fn changed_entry<S: ObjectSink>(
        &mut self,
        old: Option<&TreeEntry>,
        group: &Group<'_>,
        sink: &mut S,
    ) -> Edited<(), S::Error> {
        let (files, bytes) = old.map_or((0, 0), TreeEntry::totals);
        self.files = self.files.saturating_sub(files);
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(kind) = self.editor.entry(old.map(|old| &old.kind), group, sink)? else {
            return Ok(());
        };
        let entry = TreeEntry { name: group.name.to_vec(), kind };
        let (files, bytes) = entry.totals();
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
        self.push(entry, sink)
    }

    fn push<S: ObjectSink>(&mut self, entry: TreeEntry, sink: &mut S) -> Edited<(), S::Error> {
        self.is_empty = false;
        self.builder.push(entry, sink).map_err(Stop::Sink)
    }
}

fn unreadable<E>(page: TreeId, why: &str) -> Stop<E> {
    let source = FormatError::invalid("a page of a tree", why);
    Stop::Unreadable(StoreError::Object { id: page.into(), source })
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
