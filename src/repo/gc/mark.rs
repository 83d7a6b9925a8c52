//! Marking: one bit for each object that something reaches.
//!
//! The search keeps a bit for each record of the store's tables, which says both that an object is
//! in use and that it was visited, and a stack of objects to be read: no recursion, and no more
//! memory for a deep history than for a wide one. The merged index is a cache, so that it is not
//! believed here: what was found by it is looked up in the footer of its pack, a pack at a time, and
//! the bits that are judged by are those of the footers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::trees::is_empty_tree;
use super::super::{RepoError, Repository, Result};
use super::roots::Root;
use crate::id::{CommitId, ListId, ObjectId, PackId, TagId, TreeId};
use crate::storage::format::object::{Content, EntryKind, ListPage, TreePage};
use crate::storage::format::pack::ChunkEntry;
use crate::storage::objects::Objects;
use crate::storage::pack_store::{PackStore, Snapshot, StoreError};

/// Finds that wait to be looked up in their footers: 40 MiB.
const MOST_FOUND: usize = 1 << 19;

/// A set of small numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Adds a number; whether it is new. None if it is not below the length.
    fn insert(&mut self, number: usize) -> Option<bool> {
        let word = self.0.get_mut(number / 64)?;
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

/// An object to be read.
#[derive(Debug, Clone, Copy)]
enum Todo {
    Commit(CommitId),
    Tag(TagId),
    Tree(TreeId),
    List(ListId),
}

/// Everything that is in use.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// The objects of each pack, by their numbers in its footer. A pack that came later is not there.
    pub(super) packs: BTreeMap<PackId, Bits>,
    /// How many objects there are.
    pub(super) objects: u64,
    /// Commits among them.
    pub(super) commits: u64,
}

/// See the module.
struct Marker<'r> {
    repository: &'r Repository,
    objects: &'r Objects,
    store: &'r Arc<PackStore>,
    snapshot: Snapshot,
    visited: Vec<Bits>,
    found: Vec<(PackId, ObjectId, ChunkEntry)>,
    stack: Vec<Todo>,
    marked: Marked,
}

impl Repository {
    /// Marks everything that stays, where operations before `first` are forgotten. An object that is
    /// missing or damaged ends it: what lies behind it would be taken for unused.
    pub(super) fn mark(&self, first: u64) -> Result<Marked> {
        let mut marker = self.marker()?;
        self.visit_roots(first, &mut |root| marker.reach(root))?;
        marker.look_up()?;
        marker.snapshot.check_tables()?;
        self.objects()?.reader().trim();
        for pack in marker.snapshot.packs() {
            marker.marked.packs.entry(pack).or_default();
        }
        Ok(marker.marked)
    }

    /// Whether all is there that a commit needs which is to be in use from now on. One that counts as
    /// stored has it; of one that only condemned packs hold, a `gc` that was killed may have removed some.
    pub(in crate::repo) fn check_whole(&self, commit: CommitId) -> Result<()> {
        if self.store()?.contains(&commit.into()) {
            return Ok(());
        }
        self.marker()?.reach(Root::Commit(commit))
    }

    fn marker(&self) -> Result<Marker<'_>> {
        let store = self.store()?;
        let snapshot = store.snapshot();
        Ok(Marker {
            repository: self,
            objects: self.objects()?,
            store,
            visited: snapshot.tables()?.into_iter().map(Bits::new).collect(),
            snapshot,
            found: Vec::new(),
            stack: Vec::new(),
            marked: Marked::default(),
        })
    }
}

impl Marker<'_> {
    /// Marks an object and all that it reaches.
    fn reach(&mut self, root: Root) -> Result<()> {
        self.start(root)?;
        while let Some(todo) = self.stack.pop() {
            if self.repository.cancel_token().is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            self.read(todo)?;
        }
        Ok(())
    }

    fn start(&mut self, root: Root) -> Result<()> {
        match root {
            Root::Commit(id) => self.push(id.into(), Todo::Commit(id)),
            Root::Tag(id) => self.push(id.into(), Todo::Tag(id)),
            Root::Tree(id) => self.tree(id),
            Root::Content(content) => self.content(content),
        }
    }

    /// That of an empty directory is known, and need not be stored.
    fn tree(&mut self, id: TreeId) -> Result<()> {
        if is_empty_tree(&id) && self.snapshot.slot(&id.into()).is_none() {
            return Ok(());
        }
        self.push(id.into(), Todo::Tree(id))
    }

    fn push(&mut self, id: ObjectId, todo: Todo) -> Result<()> {
        if self.mark(id)? {
            self.stack.push(todo);
        }
        Ok(())
    }

    fn content(&mut self, content: Content) -> Result<()> {
        match content {
            Content::Empty => Ok(()),
            Content::Chunk(id) => self.mark(id.into()).map(|_| ()),
            Content::List(id) => self.push(id.into(), Todo::List(id)),
        }
    }

    fn read(&mut self, todo: Todo) -> Result<()> {
        match todo {
            Todo::Commit(id) => {
                let commit = self.objects.commit(&id)?;
                self.marked.commits += 1;
                self.tree(commit.tree)?;
                commit.parents.iter().try_for_each(|id| self.push((*id).into(), Todo::Commit(*id)))
            }
            Todo::Tag(id) => {
                let target = self.objects.tag(&id)?.target;
                self.push(target.into(), Todo::Commit(target))
            }
            Todo::Tree(id) => match self.objects.tree_page(&id)? {
                TreePage::Node { children, .. } => {
                    children.iter().try_for_each(|child| self.tree(child.id))
                }
                TreePage::Leaf(entries) => entries.iter().try_for_each(|entry| match entry.kind {
                    EntryKind::Dir { tree, .. } => self.tree(tree),
                    EntryKind::File { content, .. } => self.content(content),
                    EntryKind::Symlink { .. } => Ok(()),
                }),
            },
            Todo::List(id) => match self.objects.list_page(&id)? {
                ListPage::Node { children, .. } => children
                    .iter()
                    .try_for_each(|child| self.push(child.id.into(), Todo::List(child.id))),
                ListPage::Leaf(chunks) => {
                    chunks.iter().try_for_each(|chunk| self.mark(chunk.id.into()).map(|_| ()))
                }
            },
        }
    }

    /// Marks an object; whether it was not marked before.
    fn mark(&mut self, id: ObjectId) -> Result<bool> {
        let Some((slot, location)) = self.snapshot.slot(&id) else {
            self.snapshot.check_tables()?;
            return Err(StoreError::Missing(id).into());
        };
        let table = self.visited.get_mut(slot.table);
        match table.and_then(|table| table.insert(slot.number)) {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => return Err(PackStore::index_lies(&location.pack).into()),
        }
        self.marked.objects += 1;
        self.repository.monitor().advance(1, 0);
        self.found.push((location.pack, id, location.chunk));
        if self.found.len() >= MOST_FOUND {
            self.look_up()?;
        }
        Ok(true)
    }

    /// Looks the finds up in the footers of their packs.
    fn look_up(&mut self) -> Result<()> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by_key(|(pack, id, _)| (*pack, *id));
        for finds in found.chunk_by(|a, b| a.0 == b.0) {
            let id = finds[0].0;
            let pack = self.store.pack(&id)?;
            let footer = pack.footer()?;
            let len = footer.chunk_count() as usize;
            let bits = self.marked.packs.entry(id).or_insert_with(|| Bits::new(len));
            for (_, object, chunk) in finds {
                match footer.position(object) {
                    Some((number, there)) if there == *chunk => {
                        bits.insert(number as usize);
                    }
                    _ => {
                        pack.check_footer()?;
                        return Err(PackStore::index_lies(&id).into());
                    }
                }
            }
        }
        found.clear();
        self.found = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_a_set(len in 1usize..300, numbers in proptest::collection::vec(0usize..300, 0..300)) {
            let mut bits = Bits::new(len);
            let mut model = std::collections::BTreeSet::new();
            for number in numbers.into_iter().filter(|number| *number < len) {
                prop_assert_eq!(bits.insert(number), Some(model.insert(number)));
            }
            prop_assert_eq!(bits.insert(len + 64), None);
            for number in 0..len {
                prop_assert_eq!(bits.contains(number), model.contains(&number));
            }
        }
    }
}
