//! Building paged sequences.
//!
//! A page of level 0 holds items, a page of level n names pages of level n − 1. A page ends after
//! an item whose hash has its low bits clear, so the split depends on the items near it and not on
//! their position: an insertion changes the page it falls into and the path above it.

use xxhash_rust::xxh3::xxh3_64;

use crate::id::{ListId, ObjectId, TreeId};
use crate::storage::format::object::{
    ChunkRef, Content, ListChild, ListPage, TreeChild, TreeEntry, TreePage,
};
use crate::storage::format::pack::BlockKind;

/// Fewest items of a page that is not the last of its level.
const MIN_ITEMS: usize = 64;
/// Most items of a page.
const MAX_ITEMS: usize = 1024;
/// A page ends after an item whose hash has these bits clear: every 256 items on average.
const SPLIT_MASK: u64 = 0xff;

/// Takes finished objects and stores those that are not stored yet.
pub trait ObjectSink {
    /// Why an object cannot be stored.
    type Error;
    /// Stores an object of this kind.
    fn put(&mut self, kind: BlockKind, id: ObjectId, bytes: Vec<u8>) -> Result<(), Self::Error>;
}

/// What differs between sequences of chunks and of tree entries.
trait Paged {
    type Item;
    type Child;
    const KIND: BlockKind;
    fn leaf(items: &mut Vec<Self::Item>) -> Vec<u8>;
    fn node(level: u8, children: &mut Vec<Self::Child>) -> Vec<u8>;
    fn item_hash(item: &Self::Item) -> u64;
    fn child_hash(child: &Self::Child) -> u64;
    fn parent_of_items(items: &[Self::Item], id: ObjectId) -> Self::Child;
    fn parent_of_children(children: &[Self::Child], id: ObjectId) -> Self::Child;
    fn child_id(child: &Self::Child) -> ObjectId;
}

struct Pages<P: Paged> {
    items: Vec<P::Item>,
    /// Unfinished pages of level 1 and above.
    levels: Vec<Vec<P::Child>>,
}

fn is_split(len: usize, hash: u64) -> bool {
    len >= MAX_ITEMS || (len >= MIN_ITEMS && hash & SPLIT_MASK == 0)
}

impl<P: Paged> Pages<P> {
    fn new() -> Self {
        Self { items: Vec::new(), levels: Vec::new() }
    }

    fn push<S: ObjectSink>(&mut self, item: P::Item, sink: &mut S) -> Result<(), S::Error> {
        let hash = P::item_hash(&item);
        self.items.push(item);
        if is_split(self.items.len(), hash) { self.end_leaf(sink) } else { Ok(()) }
    }

    fn store<S: ObjectSink>(bytes: Vec<u8>, sink: &mut S) -> Result<ObjectId, S::Error> {
        let id = P::KIND.id_of(&bytes);
        sink.put(P::KIND, id, bytes)?;
        Ok(id)
    }

    fn end_leaf<S: ObjectSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let mut items = std::mem::take(&mut self.items);
        let id = Self::store(P::leaf(&mut items), sink)?;
        let child = P::parent_of_items(&items, id);
        self.push_child(0, child, sink)
    }

    fn push_child<S: ObjectSink>(
        &mut self,
        mut level: usize,
        mut child: P::Child,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hash = P::child_hash(&child);
            self.levels[level].push(child);
            if !is_split(self.levels[level].len(), hash) {
                return Ok(());
            }
            child = self.end_node(level, sink)?;
            level += 1;
        }
    }

    fn end_node<S: ObjectSink>(
        &mut self,
        level: usize,
        sink: &mut S,
    ) -> Result<P::Child, S::Error> {
        let mut children = std::mem::take(&mut self.levels[level]);
        let id = Self::store(P::node(level as u8 + 1, &mut children), sink)?;
        Ok(P::parent_of_children(&children, id))
    }

    /// Ends the open page of every level, from the leaves up; the page that is left alone is the
    /// root.
    fn finish<S: ObjectSink>(mut self, sink: &mut S) -> Result<ObjectId, S::Error> {
        if self.levels.is_empty() {
            return Self::store(P::leaf(&mut self.items), sink);
        }
        if !self.items.is_empty() {
            self.end_leaf(sink)?;
        }
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            if is_top && self.levels[level].len() == 1 {
                return Ok(P::child_id(&self.levels[level][0]));
            }
            if !self.levels[level].is_empty() {
                let child = self.end_node(level, sink)?;
                self.push_child(level + 1, child, sink)?;
            }
            level += 1;
        }
    }
}

struct ListKind;

impl Paged for ListKind {
    type Item = ChunkRef;
    type Child = ListChild;
    const KIND: BlockKind = BlockKind::List;

    fn leaf(items: &mut Vec<ChunkRef>) -> Vec<u8> {
        let page = ListPage::Leaf(std::mem::take(items));
        let bytes = page.encode();
        if let ListPage::Leaf(back) = page {
            *items = back;
        }
        bytes
    }

    fn node(level: u8, children: &mut Vec<ListChild>) -> Vec<u8> {
        let page = ListPage::Node { level, children: std::mem::take(children) };
        let bytes = page.encode();
        if let ListPage::Node { children: back, .. } = page {
            *children = back;
        }
        bytes
    }

    fn item_hash(item: &ChunkRef) -> u64 {
        ObjectId::from(item.id).leading()
    }

    fn child_hash(child: &ListChild) -> u64 {
        ObjectId::from(child.id).leading()
    }

    fn parent_of_items(items: &[ChunkRef], id: ObjectId) -> ListChild {
        let bytes = items.iter().map(|item| u64::from(item.len)).sum();
        ListChild { id: id.into(), bytes, chunks: items.len() as u64 }
    }

    fn parent_of_children(children: &[ListChild], id: ObjectId) -> ListChild {
        let bytes = children.iter().map(|child| child.bytes).sum();
        ListChild { id: id.into(), bytes, chunks: children.iter().map(|child| child.chunks).sum() }
    }

    fn child_id(child: &ListChild) -> ObjectId {
        child.id.into()
    }
}

/// Builds the chunk list of one file, page by page.
pub struct ListBuilder {
    pages: Pages<ListKind>,
    first: Option<ChunkRef>,
    chunks: u64,
    bytes: u64,
}

impl Default for ListBuilder {
    fn default() -> Self {
        Self { pages: Pages::new(), first: None, chunks: 0, bytes: 0 }
    }
}

impl ListBuilder {
    /// Appends the next chunk of the file.
    pub fn push<S: ObjectSink>(&mut self, chunk: ChunkRef, sink: &mut S) -> Result<(), S::Error> {
        self.first.get_or_insert(chunk);
        self.chunks += 1;
        self.bytes += u64::from(chunk.len);
        self.pages.push(chunk, sink)
    }

    /// Ends the list and returns the file's length and content; a single chunk needs no list.
    pub fn finish<S: ObjectSink>(self, sink: &mut S) -> Result<(u64, Content), S::Error> {
        let content = match (self.first, self.chunks) {
            (None, _) => Content::Empty,
            (Some(chunk), 1) => Content::Chunk(chunk.id),
            _ => Content::List(ListId::from(self.pages.finish(sink)?)),
        };
        Ok((self.bytes, content))
    }
}

struct TreeKind;

impl Paged for TreeKind {
    type Item = TreeEntry;
    type Child = TreeChild;
    const KIND: BlockKind = BlockKind::Tree;

    fn leaf(items: &mut Vec<TreeEntry>) -> Vec<u8> {
        let page = TreePage::Leaf(std::mem::take(items));
        let bytes = page.encode();
        if let TreePage::Leaf(back) = page {
            *items = back;
        }
        bytes
    }

    fn node(level: u8, children: &mut Vec<TreeChild>) -> Vec<u8> {
        let page = TreePage::Node { level, children: std::mem::take(children) };
        let bytes = page.encode();
        if let TreePage::Node { children: back, .. } = page {
            *children = back;
        }
        bytes
    }

    /// By name alone, so that new content does not move a boundary.
    fn item_hash(item: &TreeEntry) -> u64 {
        xxh3_64(&item.name)
    }

    fn child_hash(child: &TreeChild) -> u64 {
        // The first name of a page hashes to a boundary of the level below at no time, so its
        // hash is as good as a random one here.
        xxh3_64(&child.first) >> 8
    }

    fn parent_of_items(items: &[TreeEntry], id: ObjectId) -> TreeChild {
        TreeChild {
            first: items.first().map(|item| item.name.clone()).unwrap_or_default(),
            id: id.into(),
        }
    }

    fn parent_of_children(children: &[TreeChild], id: ObjectId) -> TreeChild {
        TreeChild {
            first: children.first().map(|child| child.first.clone()).unwrap_or_default(),
            id: id.into(),
        }
    }

    fn child_id(child: &TreeChild) -> ObjectId {
        child.id.into()
    }
}

/// Root and totals of a finished tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeTotals {
    /// The root page.
    pub tree: TreeId,
    /// Files and links below.
    pub files: u64,
    /// Bytes of the files below.
    pub bytes: u64,
}

/// Builds one directory, entry by entry in byte order of the names.
pub struct TreeBuilder {
    pages: Pages<TreeKind>,
    files: u64,
    bytes: u64,
}

impl Default for TreeBuilder {
    fn default() -> Self {
        Self { pages: Pages::new(), files: 0, bytes: 0 }
    }
}

impl TreeBuilder {
    /// Appends the next entry.
    pub fn push<S: ObjectSink>(&mut self, entry: TreeEntry, sink: &mut S) -> Result<(), S::Error> {
        let (files, bytes) = entry.totals();
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
        self.pages.push(entry, sink)
    }

    /// Whether the next entry begins a page.
    pub fn is_at_boundary(&self) -> bool {
        self.pages.items.is_empty()
    }

    /// Appends the entries of a stored page as they are. It must not be the last page of the
    /// directory that it comes from, and this builder must be at a boundary: then the same entries
    /// would give the same page. The totals know nothing of these entries.
    pub fn push_page<S: ObjectSink>(
        &mut self,
        page: TreeChild,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        self.pages.push_child(0, page, sink)
    }

    /// Ends the directory.
    pub fn finish<S: ObjectSink>(self, sink: &mut S) -> Result<TreeTotals, S::Error> {
        let tree = TreeId::from(self.pages.finish(sink)?);
        Ok(TreeTotals { tree, files: self.files, bytes: self.bytes })
    }
}
