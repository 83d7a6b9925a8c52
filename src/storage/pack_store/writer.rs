//! Writing packs: blocks are appended to one file with large sequential writes and published as a
//! whole.

use std::path::Path;
use std::sync::Arc;

use super::{PACKS_DIR, Result, pack_path};
use crate::id::{ObjectId, PackId};
use crate::storage::cache::PooledBuffer;
use crate::storage::disk::{Disk, NewFile, Result as DiskResult};
use crate::storage::format::bytes::checksum;
use crate::storage::format::pack::{
    self, BlockEntry, BlockKind, ChunkEntry, Codec, HEADER_LEN, PackKind, TRAILER_LEN, Trailer,
};

/// Size at which a pack is sealed. The same file is the unit in an object store, where 64 MiB
/// amortises a request; see `docs/design/0001-footer-is-the-pack-index.md`.
pub const PACK_TARGET: u64 = 64 << 20;
/// Bytes gathered before a write.
const WRITE_BUFFER: usize = 1 << 20;
/// A piece of this size is written at once: copying it costs more than the system call.
const WRITE_DIRECT: usize = 128 << 10;

/// A compressed block on its way to a pack.
#[derive(Debug)]
pub struct EncodedBlock {
    /// What the chunks are.
    pub kind: BlockKind,
    /// How the payload is stored.
    pub codec: Codec,
    /// Ids and lengths of the chunks, in order.
    pub chunks: Vec<(ObjectId, u32)>,
    /// Bytes as stored.
    pub payload: PooledBuffer,
}

impl EncodedBlock {
    /// Bytes of the chunks together.
    pub fn plain_len(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.1)).sum()
    }
}

/// A pack that was published.
#[derive(Debug)]
pub struct SealedPack {
    /// Its id.
    pub id: PackId,
    /// The objects in it.
    pub objects: Vec<ObjectId>,
}

/// A pack under construction.
pub struct PackWriter {
    disk: Arc<dyn Disk>,
    file: Box<dyn NewFile>,
    kind: PackKind,
    nonce: [u8; 16],
    buffer: Vec<u8>,
    len: u64,
    blocks: Vec<BlockEntry>,
    chunks: Vec<(ObjectId, ChunkEntry)>,
}

impl PackWriter {
    /// Starts a pack.
    pub fn new(disk: Arc<dyn Disk>, kind: PackKind, nonce: [u8; 16]) -> Result<Self> {
        let file = disk.create()?;
        Ok(Self::on(disk, file, kind, nonce))
    }

    /// A pack that is measured and not written; it cannot be sealed.
    pub fn measuring(disk: Arc<dyn Disk>, kind: PackKind) -> Self {
        Self::on(disk, Box::new(Discarded), kind, [0; 16])
    }

    fn on(disk: Arc<dyn Disk>, file: Box<dyn NewFile>, kind: PackKind, nonce: [u8; 16]) -> Self {
        let mut buffer = Vec::with_capacity(WRITE_BUFFER + (64 << 10));
        buffer.extend_from_slice(&pack::encode_header(kind, &nonce));
        let len = HEADER_LEN as u64;
        Self { disk, file, kind, nonce, buffer, len, blocks: Vec::new(), chunks: Vec::new() }
    }

    /// What it holds.
    pub fn kind(&self) -> PackKind {
        self.kind
    }

    /// Bytes so far, the footer not counted.
    #[expect(clippy::len_without_is_empty, reason = "a pack begins with its header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends a block and returns the bytes it took.
    pub fn append(&mut self, block: &EncodedBlock) -> Result<u64> {
        let mut entry = BlockEntry {
            offset: self.len,
            stored_len: block.payload.len() as u32,
            plain_len: block.plain_len() as u32,
            table_len: 0,
            chunk_count: block.chunks.len() as u32,
            payload_sum: checksum(&block.payload),
            kind: block.kind,
            codec: block.codec,
        };
        let (head, table_len) =
            pack::encode_frame(&entry, block.chunks.iter().map(|chunk| chunk.1));
        entry.table_len = table_len;
        self.write(&head)?;
        self.write(&block.payload)?;
        let number = self.blocks.len() as u32;
        let mut offset = 0;
        for (id, len) in &block.chunks {
            self.chunks.push((*id, ChunkEntry { block: number, offset, len: *len }));
            offset += len;
        }
        self.blocks.push(entry);
        Ok(self.len - entry.offset)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        let is_large = bytes.len() >= WRITE_DIRECT;
        if is_large || self.buffer.len() + bytes.len() > WRITE_BUFFER {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        if is_large {
            self.file.write_all(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Bytes that the pack will have when it is sealed.
    pub fn sealed_len(&mut self) -> u64 {
        self.sort_chunks();
        let footer = pack::footer_len(self.blocks.len(), self.chunks.len());
        self.len + footer as u64 + TRAILER_LEN as u64
    }

    /// The id that the pack will have when it is sealed.
    pub(super) fn sealed_id(&mut self) -> PackId {
        self.sort_chunks();
        PackId::of(&self.footer())
    }

    fn footer(&self) -> Vec<u8> {
        pack::encode_footer(self.kind, &self.nonce, &self.blocks, &self.chunks)
    }

    fn sort_chunks(&mut self) {
        self.chunks.sort_unstable_by_key(|chunk| chunk.0);
        // An object that came twice (two writers raced for it) is listed once.
        self.chunks.dedup_by_key(|chunk| chunk.0);
    }

    /// Writes footer and trailer and publishes the pack; it is durable when this returns.
    pub fn seal(self) -> Result<SealedPack> {
        self.seal_as(false)
    }

    /// The same, in the place of a damaged pack of the same id.
    pub(super) fn seal_over(self) -> Result<SealedPack> {
        self.seal_as(true)
    }

    fn seal_as(mut self, replace: bool) -> Result<SealedPack> {
        self.sort_chunks();
        let footer = self.footer();
        let id = PackId::of(&footer);
        let trailer =
            Trailer { footer_offset: self.len, footer_len: footer.len() as u64, pack: id };
        self.write(&footer)?;
        self.write(&trailer.encode())?;
        self.file.write_all(&self.buffer)?;
        let path = pack_path(&id);
        self.disk.create_dir(path.parent().unwrap_or(PACKS_DIR.as_ref()))?;
        self.file.publish(&path, replace)?;
        let objects = self.chunks.iter().map(|chunk| chunk.0).collect();
        Ok(SealedPack { id, objects })
    }
}

/// Random bytes that make a pack distinct from every other.
pub fn new_nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    // Only uniqueness matters; without a random source the clock of the process must do.
    if getrandom::fill(&mut nonce).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        nonce = now.unwrap_or_default().as_nanos().to_le_bytes();
    }
    nonce
}

/// A file whose bytes nobody wants.
struct Discarded;

impl NewFile for Discarded {
    fn write_all(&mut self, _: &[u8]) -> DiskResult<()> {
        Ok(())
    }

    fn publish(self: Box<Self>, _: &Path, _: bool) -> DiskResult<()> {
        Ok(())
    }

    fn publish_unsynced(self: Box<Self>, _: &Path) -> DiskResult<()> {
        Ok(())
    }
}
