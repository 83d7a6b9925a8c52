//! Reading typed objects; sequences are streamed page by page.

use std::iter::Peekable;
use std::sync::{Arc, OnceLock};

use crate::id::{CommitId, ListId, ObjectId, TagId, TreeId};
use crate::storage::format::object::{
    ChunkRef, Commit, Content, ListChild, ListPage, TreeChild, TreeEntry, TreePage,
};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::tag::Tag;
use crate::storage::format::{FormatError, Result as FormatResult};
use crate::storage::pack_store::{ObjectReader, Result, StoreError};

/// The tree of a directory without entries, which has one id everywhere.
pub fn empty_tree() -> TreeId {
    static EMPTY: OnceLock<TreeId> = OnceLock::new();
    *EMPTY.get_or_init(|| TreeId::of(&TreePage::Leaf(Vec::new()).encode()))
}

/// Typed access to the objects of a store.
#[derive(Clone)]
pub struct Objects {
    reader: Arc<ObjectReader>,
}

impl Objects {
    /// Over a reader.
    pub fn new(reader: Arc<ObjectReader>) -> Self {
        Self { reader }
    }

    /// The reader below.
    pub fn reader(&self) -> &Arc<ObjectReader> {
        &self.reader
    }

    fn decode<T>(
        &self,
        kind: BlockKind,
        id: ObjectId,
        decode: impl FnOnce(&[u8]) -> FormatResult<T>,
    ) -> Result<T> {
        let bytes = self.reader.read(kind, &id)?;
        decode(&bytes).map_err(|source| StoreError::Object { id, source })
    }

    /// Reads a commit.
    pub fn commit(&self, id: &CommitId) -> Result<Commit> {
        self.decode(BlockKind::Commit, (*id).into(), Commit::decode)
    }

    /// Reads the annotation of a tag.
    pub fn tag(&self, id: &TagId) -> Result<Tag> {
        self.decode(BlockKind::Tag, (*id).into(), Tag::decode)
    }

    /// Reads one page of a tree. That of an empty directory is known, and need not be stored.
    pub fn tree_page(&self, id: &TreeId) -> Result<TreePage> {
        if *id == empty_tree() {
            return Ok(TreePage::Leaf(Vec::new()));
        }
        self.decode(BlockKind::Tree, (*id).into(), TreePage::decode)
    }

    /// Reads one page of a chunk list.
    pub fn list_page(&self, id: &ListId) -> Result<ListPage> {
        self.decode(BlockKind::List, (*id).into(), ListPage::decode)
    }

    /// The entries of a directory, in order.
    pub fn tree(&self, id: &TreeId) -> TreeIter {
        TreeIter {
            objects: self.clone(),
            stack: vec![PendingTree { id: *id, level: None }],
            entries: Vec::new().into_iter().peekable(),
            last: None,
        }
    }

    /// One entry of a directory; reads one page per level.
    pub fn tree_entry(&self, tree: &TreeId, name: &[u8]) -> Result<Option<TreeEntry>> {
        let mut id = *tree;
        let mut above = None;
        loop {
            let page = self.tree_page(&id)?;
            check_level(id.into(), page.level(), above)?;
            match page {
                TreePage::Leaf(entries) => {
                    let found = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
                    return Ok(found.ok().map(|at| entries[at].clone()));
                }
                TreePage::Node { level, children } => {
                    let after = children.partition_point(|child| child.first.as_slice() <= name);
                    let Some(child) = after.checked_sub(1) else { return Ok(None) };
                    above = Some(level);
                    id = children[child].id;
                }
            }
        }
    }

    /// The chunks of a file from the one that holds byte `from` on, each with its offset.
    pub fn chunks(&self, content: &Content, size: u64, from: u64) -> ChunkIter {
        let mut iter = ChunkIter {
            objects: self.clone(),
            stack: Vec::new(),
            chunks: Vec::new().into_iter(),
            offset: 0,
            from,
        };
        match content {
            Content::Empty => {}
            Content::Chunk(id) => {
                // A length that does not fit is caught when the chunk is looked up.
                iter.chunks =
                    vec![ChunkRef { id: *id, len: u32::try_from(size).unwrap_or(u32::MAX) }]
                        .into_iter();
            }
            Content::List(id) => iter.stack.push(PendingList {
                child: ListChild { id: *id, bytes: size, chunks: 0 },
                level: None,
                offset: 0,
            }),
        }
        iter
    }
}

/// A page's level must be one below its parent's: that bounds every descent, even on objects made
/// by hand.
fn check_level(id: ObjectId, level: u8, above: Option<u8>) -> Result<()> {
    if above.is_none_or(|above| above == level + 1) {
        return Ok(());
    }
    Err(StoreError::Object {
        id,
        source: FormatError::invalid("a page", "it is on the wrong level"),
    })
}

struct PendingTree {
    id: TreeId,
    level: Option<u8>,
}

/// Streams the entries of a directory.
pub struct TreeIter {
    objects: Objects,
    stack: Vec<PendingTree>,
    entries: Peekable<std::vec::IntoIter<TreeEntry>>,
    last: Option<Vec<u8>>,
}

/// A page that comes next in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextPage {
    /// Which.
    pub id: TreeId,
    /// Its distance from the leaves; `None` for the root page, which was not read yet.
    pub level: Option<u8>,
}

impl TreeIter {
    /// The next page, when all entries of the pages before it were taken; `None` inside a page and
    /// at the end.
    pub fn next_page(&mut self) -> Option<NextPage> {
        if self.entries.peek().is_some() {
            return None;
        }
        let PendingTree { id, level } = self.stack.last()?;
        Some(NextPage { id: *id, level: level.and_then(|above| above.checked_sub(1)) })
    }

    /// Passes over the page that [`Self::next_page`] gave and all below it.
    pub fn skip_page(&mut self) {
        self.stack.pop();
    }

    /// Opens the page that [`Self::next_page`] gave: the pages below it, or its entries, come next.
    pub fn open_page(&mut self) -> Result<()> {
        let Some(pending) = self.stack.pop() else { return Ok(()) };
        self.load(&pending).inspect_err(|_| self.stack.clear())
    }

    /// The entry that comes next.
    pub fn peek(&mut self) -> Result<Option<&TreeEntry>> {
        while self.entries.peek().is_none() && !self.stack.is_empty() {
            self.open_page()?;
        }
        Ok(self.entries.peek())
    }

    fn load(&mut self, pending: &PendingTree) -> Result<()> {
        let page = self.objects.tree_page(&pending.id)?;
        check_level(pending.id.into(), page.level(), pending.level)?;
        match page {
            TreePage::Leaf(entries) => {
                let first = entries.first().map(|entry| &entry.name);
                if self.last.is_some() && self.last.as_ref() >= first {
                    let source = FormatError::invalid("a tree", "its pages are not in order");
                    return Err(StoreError::Object { id: pending.id.into(), source });
                }
                self.last = entries.last().map(|entry| entry.name.clone()).or(self.last.take());
                self.entries = entries.into_iter().peekable();
            }
            TreePage::Node { level, children } => {
                let pending = |child: &TreeChild| PendingTree { id: child.id, level: Some(level) };
                self.stack.extend(children.iter().rev().map(pending));
            }
        }
        Ok(())
    }
}

impl Iterator for TreeIter {
    type Item = Result<TreeEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.peek() {
            Err(error) => Some(Err(error)),
            Ok(_) => self.entries.next().map(Ok),
        }
    }
}

struct PendingList {
    child: ListChild,
    level: Option<u8>,
    offset: u64,
}

/// Streams the chunks of a file with their offsets.
pub struct ChunkIter {
    objects: Objects,
    stack: Vec<PendingList>,
    chunks: std::vec::IntoIter<ChunkRef>,
    offset: u64,
    from: u64,
}

impl ChunkIter {
    fn load(&mut self, pending: &PendingList) -> Result<()> {
        let id = pending.child.id;
        let page = self.objects.list_page(&id)?;
        check_level(id.into(), page.level(), pending.level)?;
        if page.total_bytes() != Some(pending.child.bytes) {
            let source =
                FormatError::invalid("a chunk list", "its lengths disagree with the file's");
            return Err(StoreError::Object { id: id.into(), source });
        }
        match page {
            ListPage::Leaf(chunks) => {
                self.offset = pending.offset;
                self.chunks = chunks.into_iter();
            }
            ListPage::Node { level, children } => {
                let mut offset = pending.offset;
                let start = self.stack.len();
                for child in children {
                    let end = offset + child.bytes;
                    if end > self.from {
                        self.stack.push(PendingList { child, level: Some(level), offset });
                    }
                    offset = end;
                }
                self.stack[start..].reverse();
            }
        }
        Ok(())
    }
}

impl Iterator for ChunkIter {
    type Item = Result<(u64, ChunkRef)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for chunk in self.chunks.by_ref() {
                let offset = self.offset;
                self.offset += u64::from(chunk.len);
                if self.offset > self.from {
                    return Some(Ok((offset, chunk)));
                }
            }
            let pending = self.stack.pop()?;
            if let Err(error) = self.load(&pending) {
                self.stack.clear();
                return Some(Err(error));
            }
        }
    }
}
