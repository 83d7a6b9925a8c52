//! Objects and packs that no command would write, whole to the last checksum.

use std::fs;

use digstore::id::{CommitId, ObjectId, PackId, TreeId};
use digstore::storage::format::bytes::checksum;
use digstore::storage::format::object::{
    Commit, Content, EntryKind, Signature, TreeEntry, TreePage,
};
use digstore::storage::format::pack::{
    BlockEntry, BlockKind, ChunkEntry, Codec, HEADER_LEN, PackKind, Trailer, encode_footer,
    encode_frame, encode_header,
};
use digstore::storage::format::refs::{RefRecord, RefValue};

use crate::common::Sandbox;

/// One block of a pack; `payload` holds what its header says, or not.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) kind: BlockKind,
    pub(crate) codec: Codec,
    pub(crate) plain_len: u32,
    pub(crate) chunks: Vec<(ObjectId, u32)>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// An empty block of objects stored as they are.
    pub(crate) fn raw(kind: BlockKind) -> Self {
        Self { kind, codec: Codec::Raw, plain_len: 0, chunks: Vec::new(), payload: Vec::new() }
    }

    /// Adds an object under any id.
    pub(crate) fn push(&mut self, id: ObjectId, bytes: &[u8]) {
        self.chunks.push((id, bytes.len() as u32));
        self.plain_len += bytes.len() as u32;
        self.payload.extend_from_slice(bytes);
    }
}

/// A pack under construction: what [`Pack::bytes`] makes of it can be changed at every point.
#[derive(Default)]
pub(crate) struct Pack {
    /// The frames as they follow each other.
    pub(crate) body: Vec<u8>,
    /// What the footer says of them.
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) chunks: Vec<(ObjectId, ChunkEntry)>,
}

impl Pack {
    pub(crate) fn of(frames: &[Frame]) -> Self {
        let mut pack = Self::default();
        frames.iter().for_each(|frame| pack.push(frame));
        pack
    }

    fn push(&mut self, frame: &Frame) {
        let mut entry = BlockEntry {
            offset: (HEADER_LEN + self.body.len()) as u64,
            stored_len: frame.payload.len() as u32,
            plain_len: frame.plain_len,
            table_len: 0,
            chunk_count: frame.chunks.len() as u32,
            payload_sum: checksum(&frame.payload),
            kind: frame.kind,
            codec: frame.codec,
        };
        let (head, table_len) = encode_frame(&entry, frame.chunks.iter().map(|chunk| chunk.1));
        entry.table_len = table_len;
        self.body.extend_from_slice(&head);
        self.body.extend_from_slice(&frame.payload);
        let (block, mut offset) = (self.blocks.len() as u32, 0);
        for (id, len) in &frame.chunks {
            self.chunks.push((*id, ChunkEntry { block, offset, len: *len }));
            offset += len;
        }
        self.blocks.push(entry);
    }

    fn bytes(mut self, kind: PackKind) -> (PackId, Vec<u8>) {
        self.chunks.sort_by_key(|chunk| chunk.0);
        self.chunks.dedup_by_key(|chunk| chunk.0);
        let nonce = [7; 16];
        let footer = encode_footer(kind, &nonce, &self.blocks, &self.chunks);
        let pack = PackId::of(&footer);
        let mut bytes = encode_header(kind, &nonce).to_vec();
        bytes.extend_from_slice(&self.body);
        let footer_offset = bytes.len() as u64;
        let trailer = Trailer { footer_offset, footer_len: footer.len() as u64, pack };
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&trailer.encode());
        (pack, bytes)
    }

    /// Puts the pack among the others, without entering it anywhere.
    pub(crate) fn publish(self, sandbox: &Sandbox, kind: PackKind) -> PackId {
        let (id, bytes) = self.bytes(kind);
        let name = id.to_string();
        sandbox.write(format!(".digstore/packs/{}/{name}.pack", &name[..2]), bytes);
        id
    }
}

/// The objects of one commit.
pub(crate) struct Forge {
    pub(crate) data: Vec<Frame>,
    pub(crate) meta: Vec<Frame>,
}

impl Forge {
    pub(crate) fn new() -> Self {
        Self { data: Vec::new(), meta: Vec::new() }
    }

    /// Stores an object under the id that its bytes have.
    pub(crate) fn object(&mut self, kind: BlockKind, bytes: &[u8]) -> ObjectId {
        let id = kind.id_of(bytes);
        self.object_as(kind, id, bytes);
        id
    }

    /// Stores an object under any id.
    pub(crate) fn object_as(&mut self, kind: BlockKind, id: ObjectId, bytes: &[u8]) {
        let frames = if kind == BlockKind::Data { &mut self.data } else { &mut self.meta };
        if frames.last().is_none_or(|frame| frame.kind != kind) {
            frames.push(Frame::raw(kind));
        }
        frames.last_mut().unwrap().push(id, bytes);
    }

    /// A file of one chunk.
    pub(crate) fn file(&mut self, name: &[u8], bytes: &[u8]) -> TreeEntry {
        let content = Content::Chunk(self.object(BlockKind::Data, bytes).into());
        entry(name, EntryKind::File { executable: false, size: bytes.len() as u64, content })
    }

    /// A directory of these, in this order.
    pub(crate) fn dir(&mut self, name: &[u8], entries: Vec<TreeEntry>) -> TreeEntry {
        let (files, bytes) = totals(&entries);
        let tree = self.tree(entries);
        entry(name, EntryKind::Dir { tree, files, bytes })
    }

    pub(crate) fn tree(&mut self, entries: Vec<TreeEntry>) -> TreeId {
        self.object(BlockKind::Tree, &TreePage::Leaf(entries).encode()).into()
    }

    /// Publishes everything with a branch `evil` that leads to a commit of these entries.
    pub(crate) fn publish(mut self, sandbox: &Sandbox, entries: Vec<TreeEntry>) -> CommitId {
        let (files, bytes) = totals(&entries);
        let tree = self.tree(entries);
        self.publish_commit(sandbox, &Commit { files, bytes, ..commit(tree) })
    }

    pub(crate) fn publish_commit(mut self, sandbox: &Sandbox, commit: &Commit) -> CommitId {
        let id = self.object(BlockKind::Commit, &commit.encode()).into();
        if !self.data.is_empty() {
            Pack::of(&self.data).publish(sandbox, PackKind::Data);
        }
        Pack::of(&self.meta).publish(sandbox, PackKind::Meta);
        point(sandbox, id);
        id
    }
}

/// Makes the branch `evil` lead to a commit.
pub(crate) fn point(sandbox: &Sandbox, commit: CommitId) {
    let record = RefRecord { seq: 1, old: None, new: RefValue::from(commit), nonce: [1; 16] };
    fs::write(sandbox.path(".digstore/refs/heads/evil"), record.encode()).unwrap();
}

/// A commit of one tree, by nobody.
pub(crate) fn commit(tree: TreeId) -> Commit {
    let author = Signature { name: "E".into(), email: "e@x".into(), seconds: 5, offset_minutes: 0 };
    let committer = author.clone();
    let message = "evil".into();
    Commit { tree, files: 1, bytes: 7, parents: Vec::new(), author, committer, message }
}

pub(crate) fn entry(name: &[u8], kind: EntryKind) -> TreeEntry {
    TreeEntry { name: name.to_vec(), kind }
}

pub(crate) fn link(name: &[u8], target: &[u8]) -> TreeEntry {
    entry(name, EntryKind::Symlink { target: target.to_vec() })
}

fn totals(entries: &[TreeEntry]) -> (u64, u64) {
    entries
        .iter()
        .map(TreeEntry::totals)
        .fold((0, 0), |sum, add| (u64::wrapping_add(sum.0, add.0), u64::wrapping_add(sum.1, add.1)))
}
