//! Objects of the version model: pages of chunk lists, pages of trees, commits.
//!
//! A chunk list and a directory are each a *paged sequence*: level 0 pages hold the items, a page
//! of level n names pages of level n − 1, and the root page names the whole. Where a page ends is
//! decided by its items alone (`repo` splits on a hash of them), so that an insertion rewrites the
//! pages it touches and no others. A short sequence is a single page of level 0.

use super::bytes::{Reader, push_string, push_varint};
use super::{FormatError, Result};
use crate::id::{ChunkId, CommitId, ID_LEN, ListId, TreeId};
use crate::path::check_name;

/// Largest encoded page or commit, in bytes.
pub const MAX_OBJECT: usize = 4 << 20;
/// Longest commit message, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Longest target of a symlink, in bytes.
pub const MAX_TARGET: usize = 4095;
/// Most levels of a paged sequence; 8 levels of 64-item pages hold 10^14 items.
pub const MAX_LEVEL: u8 = 8;
/// Most parents of a commit.
pub const MAX_PARENTS: usize = 4096;

/// What the content of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A file of 0 bytes.
    Empty,
    /// The whole file is one chunk.
    Chunk(ChunkId),
    /// Several chunks, named by the root page of their list.
    List(ListId),
}

impl Content {
    /// Tag and id as stored in trees and in the staging area.
    pub fn to_parts(self) -> (u8, [u8; ID_LEN]) {
        match self {
            Self::Empty => (0, [0; ID_LEN]),
            Self::Chunk(id) => (1, *id.as_bytes()),
            Self::List(id) => (2, *id.as_bytes()),
        }
    }

    /// The inverse of [`Self::to_parts`]; `None` for an unknown tag.
    pub fn from_parts(tag: u8, id: [u8; ID_LEN]) -> Option<Self> {
        match tag {
            0 => Some(Self::Empty),
            1 => Some(Self::Chunk(ChunkId::from_bytes(id))),
            2 => Some(Self::List(ListId::from_bytes(id))),
            _ => None,
        }
    }
}

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// A page named by the page above it in a chunk list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListChild {
    /// The page.
    pub id: ListId,
    /// Bytes of the file below it.
    pub bytes: u64,
    /// Chunks below it.
    pub chunks: u64,
}

/// One page of a chunk list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPage {
    /// Level 0.
    Leaf(Vec<ChunkRef>),
    /// Level 1 and above.
    Node {
        /// Distance from the leaves.
        level: u8,
        /// Pages below, in file order.
        children: Vec<ListChild>,
    },
}

const LIST: &str = "a page of a chunk list";
const LIST_MAGIC: u8 = b'L';

impl ListPage {
    /// Bytes of the page; their hash is its id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LIST_MAGIC];
        match self {
            Self::Leaf(chunks) => {
                out.push(0);
                push_varint(&mut out, chunks.len() as u64);
                for chunk in chunks {
                    push_varint(&mut out, chunk.len.into());
                    out.extend_from_slice(chunk.id.as_bytes());
                }
            }
            Self::Node { level, children } => {
                out.push(*level);
                push_varint(&mut out, children.len() as u64);
                for child in children {
                    push_varint(&mut out, child.bytes);
                    push_varint(&mut out, child.chunks);
                    out.extend_from_slice(child.id.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a page.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(LIST, bytes);
        reader.magic(&[LIST_MAGIC])?;
        let level = reader.u8()?;
        let count = read_count(&mut reader, ID_LEN + 1)?;
        let page = if level == 0 {
            Self::Leaf((0..count).map(|_| Self::read_chunk(&mut reader)).collect::<Result<_>>()?)
        } else if level <= MAX_LEVEL {
            let children =
                (0..count).map(|_| Self::read_child(&mut reader)).collect::<Result<_>>()?;
            Self::Node { level, children }
        } else {
            return Err(reader.invalid(format!("level {level}")));
        };
        reader.finish()?;
        if page.total_bytes().is_none() {
            return Err(FormatError::invalid(LIST, "its sizes overflow"));
        }
        Ok(page)
    }

    fn read_chunk(reader: &mut Reader<'_>) -> Result<ChunkRef> {
        let len = reader.varint()?;
        if len == 0 || len > super::pack::MAX_CHUNK as u64 {
            return Err(reader.invalid(format!("a chunk of {len} bytes")));
        }
        Ok(ChunkRef { len: len as u32, id: reader.id()?.into() })
    }

    fn read_child(reader: &mut Reader<'_>) -> Result<ListChild> {
        let (bytes, chunks) = (reader.varint()?, reader.varint()?);
        Ok(ListChild { bytes, chunks, id: reader.id()?.into() })
    }

    /// Distance from the leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Node { level, .. } => *level,
        }
    }

    /// Bytes of the file below this page; `None` on overflow.
    pub fn total_bytes(&self) -> Option<u64> {
        let add = |sum: u64, bytes: u64| sum.checked_add(bytes);
        match self {
            Self::Leaf(chunks) => {
                chunks.iter().try_fold(0, |sum, chunk| add(sum, chunk.len.into()))
            }
            Self::Node { children, .. } => {
                children.iter().try_fold(0, |sum, child| add(sum, child.bytes))
            }
        }
    }
}

/// Reads a count of items of at least `item_len` bytes each and checks it against what is there.
fn read_count(reader: &mut Reader<'_>, item_len: usize) -> Result<usize> {
    let count = reader.varint()?;
    if count == 0 || count > (reader.remaining() / item_len) as u64 {
        return Err(reader.invalid(format!("{count} items do not fit")));
    }
    Ok(count as usize)
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Length in bytes.
        size: u64,
        /// What it holds.
        content: Content,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points: 1 to 4,095 bytes without NUL.
        target: Vec<u8>,
    },
    /// A directory.
    Dir {
        /// Root page of its tree.
        tree: TreeId,
        /// Files and links below it.
        files: u64,
        /// Bytes of the files below it.
        bytes: u64,
    },
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
}

/// A page named by the page above it in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChild {
    /// Name of the first entry below it.
    pub first: Vec<u8>,
    /// The page.
    pub id: TreeId,
}

/// One page of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreePage {
    /// Level 0, entries in byte order of their names. The only page of an empty directory is empty.
    Leaf(Vec<TreeEntry>),
    /// Level 1 and above.
    Node {
        /// Distance from the leaves.
        level: u8,
        /// Pages below, in order.
        children: Vec<TreeChild>,
    },
}

const TREE: &str = "a page of a tree";
const TREE_MAGIC: u8 = b'T';
const TAG_FILE: u8 = 0;
const TAG_EXECUTABLE: u8 = 1;
const TAG_SYMLINK: u8 = 2;
const TAG_DIR: u8 = 3;

impl TreeEntry {
    /// Appends the entry as stored.
    pub fn encode(&self, out: &mut Vec<u8>) {
        push_string(out, &self.name);
        match &self.kind {
            EntryKind::File { executable, size, content } => {
                out.push(if *executable { TAG_EXECUTABLE } else { TAG_FILE });
                push_varint(out, *size);
                let (tag, id) = content.to_parts();
                out.push(tag);
                if tag != 0 {
                    out.extend_from_slice(&id);
                }
            }
            EntryKind::Symlink { target } => {
                out.push(TAG_SYMLINK);
                push_string(out, target);
            }
            EntryKind::Dir { tree, files, bytes } => {
                out.push(TAG_DIR);
                push_varint(out, *files);
                push_varint(out, *bytes);
                out.extend_from_slice(tree.as_bytes());
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let name = reader.string(crate::path::MAX_NAME)?;
        check_name(name).map_err(|why| {
            reader.invalid(format!("the name '{}': {why}", crate::path::escape(name)))
        })?;
        let kind = match reader.u8()? {
            tag @ (TAG_FILE | TAG_EXECUTABLE) => Self::decode_file(reader, tag == TAG_EXECUTABLE)?,
            TAG_SYMLINK => {
                let target = reader.string(MAX_TARGET)?;
                check_target(target).map_err(|why| reader.invalid(why))?;
                EntryKind::Symlink { target: target.to_vec() }
            }
            TAG_DIR => {
                let (files, bytes) = (reader.varint()?, reader.varint()?);
                EntryKind::Dir { files, bytes, tree: reader.id()?.into() }
            }
            other => return Err(reader.invalid(format!("unknown kind of entry {other}"))),
        };
        Ok(Self { name: name.to_vec(), kind })
    }

    fn decode_file(reader: &mut Reader<'_>, executable: bool) -> Result<EntryKind> {
        let size = reader.varint()?;
        let tag = reader.u8()?;
        let id = if tag == 0 { [0; ID_LEN] } else { reader.array()? };
        let content = Content::from_parts(tag, id)
            .ok_or_else(|| reader.invalid(format!("unknown kind of content {tag}")))?;
        if (content == Content::Empty) != (size == 0) {
            return Err(reader.invalid("the size disagrees with the content"));
        }
        Ok(EntryKind::File { executable, size, content })
    }

    /// Files and bytes that this entry adds to its directory's totals.
    pub fn totals(&self) -> (u64, u64) {
        match &self.kind {
            EntryKind::File { size, .. } => (1, *size),
            EntryKind::Symlink { .. } => (1, 0),
            EntryKind::Dir { files, bytes, .. } => (*files, *bytes),
        }
    }
}

/// Checks the target of a symlink.
pub fn check_target(target: &[u8]) -> std::result::Result<(), String> {
    if target.is_empty() || target.len() > MAX_TARGET {
        return Err(format!("a link target of {} bytes", target.len()));
    }
    if target.contains(&0) {
        return Err("a link target holds a NUL byte".to_owned());
    }
    if target
        .split(|byte| *byte == b'/')
        .any(|part| matches!(check_name(part), Err(crate::path::PathError::Reserved(_))))
    {
        return Err("a link points into the repository's own directory".to_owned());
    }
    Ok(())
}

fn add_totals(sum: (u64, u64), more: (u64, u64)) -> Option<(u64, u64)> {
    Some((sum.0.checked_add(more.0)?, sum.1.checked_add(more.1)?))
}

impl TreePage {
    /// Bytes of the page; their hash is its id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![TREE_MAGIC];
        match self {
            Self::Leaf(entries) => {
                out.push(0);
                push_varint(&mut out, entries.len() as u64);
                entries.iter().for_each(|entry| entry.encode(&mut out));
            }
            Self::Node { level, children } => {
                out.push(*level);
                push_varint(&mut out, children.len() as u64);
                for child in children {
                    push_string(&mut out, &child.first);
                    out.extend_from_slice(child.id.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a page; names must be sound, sorted and unique.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(TREE, bytes);
        reader.magic(&[TREE_MAGIC])?;
        let level = reader.u8()?;
        let page = if level == 0 {
            Self::Leaf(Self::decode_entries(&mut reader)?)
        } else if level <= MAX_LEVEL {
            Self::Node { level, children: Self::decode_children(&mut reader)? }
        } else {
            return Err(reader.invalid(format!("level {level}")));
        };
        reader.finish()?;
        Ok(page)
    }

    fn decode_entries(reader: &mut Reader<'_>) -> Result<Vec<TreeEntry>> {
        let count = reader.varint()?;
        // The shortest entry is an empty file with a name of one byte.
        if count > (reader.remaining() / 5) as u64 {
            return Err(reader.invalid(format!("{count} entries do not fit")));
        }
        let mut entries: Vec<TreeEntry> = Vec::with_capacity(count as usize);
        let mut sum = Some((0, 0));
        for _ in 0..count {
            let entry = TreeEntry::decode(reader)?;
            sum = sum.and_then(|sum| add_totals(sum, entry.totals()));
            if sum.is_none() {
                return Err(reader.invalid("the sizes of its entries overflow"));
            }
            if entries.last().is_some_and(|last| last.name >= entry.name) {
                return Err(reader.invalid("its entries are not in order"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn decode_children(reader: &mut Reader<'_>) -> Result<Vec<TreeChild>> {
        let count = read_count(reader, ID_LEN + 2)?;
        let mut children: Vec<TreeChild> = Vec::with_capacity(count);
        for _ in 0..count {
            let first = reader.string(crate::path::MAX_NAME)?.to_vec();
            if children.last().is_some_and(|last| last.first >= first) {
                return Err(reader.invalid("its pages are not in order"));
            }
            children.push(TreeChild { first, id: reader.id()?.into() });
        }
        Ok(children)
    }

    /// Distance from the leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Node { level, .. } => *level,
        }
    }
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A person's name.
    pub name: String,
    /// Their e-mail address.
    pub email: String,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Offset of the local clock from UTC, in minutes.
    pub offset_minutes: i16,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The root directory.
    pub tree: TreeId,
    /// Files and links in it.
    pub files: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
    /// Commits before it; the first is the branch it was made on.
    pub parents: Vec<CommitId>,
    /// Who wrote the change.
    pub author: Signature,
    /// Who recorded it.
    pub committer: Signature,
    /// Why.
    pub message: String,
}

const COMMIT: &str = "a commit";
const COMMIT_MAGIC: u8 = b'C';
/// Longest name and longest address.
pub const MAX_SIGNATURE_FIELD: usize = 4096;

impl Signature {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        push_string(out, self.name.as_bytes());
        push_string(out, self.email.as_bytes());
        out.extend_from_slice(&self.seconds.to_le_bytes());
        out.extend_from_slice(&self.offset_minutes.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut text = || {
            let bytes = reader.string(MAX_SIGNATURE_FIELD)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| reader.invalid("a name is not UTF-8"))
        };
        let (name, email) = (text()?, text()?);
        let seconds = reader.i64()?;
        let offset_minutes = i16::from_le_bytes(reader.array()?);
        Ok(Self { name, email, seconds, offset_minutes })
    }
}

impl Commit {
    /// The first line of the message; of one that is longer than any title, its beginning.
    pub fn title(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        &line[..line.floor_char_boundary(MAX_SIGNATURE_FIELD)]
    }

    /// Bytes of the commit; their hash is its id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![COMMIT_MAGIC, 0];
        out.extend_from_slice(self.tree.as_bytes());
        push_varint(&mut out, self.files);
        push_varint(&mut out, self.bytes);
        push_varint(&mut out, self.parents.len() as u64);
        self.parents.iter().for_each(|parent| out.extend_from_slice(parent.as_bytes()));
        self.author.encode(&mut out);
        self.committer.encode(&mut out);
        push_string(&mut out, self.message.as_bytes());
        out
    }

    /// The same of a commit that is to be stored. What [`Self::decode`] would not take, such as a
    /// message that is too long, is an error: nobody could read it again.
    pub fn encode_checked(&self) -> Result<Vec<u8>> {
        let bytes = self.encode();
        Self::decode(&bytes).map(|_| bytes)
    }

    /// Reads a commit.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(COMMIT, bytes);
        reader.magic(&[COMMIT_MAGIC, 0])?;
        let tree = reader.id()?.into();
        let (files, bytes) = (reader.varint()?, reader.varint()?);
        let parent_count = reader.varint()?;
        if parent_count > MAX_PARENTS as u64 {
            return Err(reader.invalid(format!("{parent_count} parents")));
        }
        let parents =
            (0..parent_count).map(|_| reader.id().map(CommitId::from)).collect::<Result<_>>()?;
        let author = Signature::decode(&mut reader)?;
        let committer = Signature::decode(&mut reader)?;
        let message = String::from_utf8(reader.string(MAX_MESSAGE)?.to_vec())
            .map_err(|_| reader.invalid("the message is not UTF-8"))?;
        reader.finish()?;
        Ok(Self { tree, files, bytes, parents, author, committer, message })
    }
}

#[cfg(test)]
mod tests;
