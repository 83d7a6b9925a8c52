//! Writing what is in use of sparse packs into new ones.
//!
//! A block of which little is unused is copied as it is, without decoding; of others the objects in
//! use are decoded, checked against their ids and put into new blocks. Without a disk to write to,
//! the same is done and only measured.

use std::sync::Arc;

use super::super::{RepoError, Repository, Result};
use super::condemn::{Fate, Judged};
use super::mark::{Bits, Marked};
use crate::id::{ObjectId, PackId};
use crate::progress::Phase;
use crate::storage::cache::BufferPool;
use crate::storage::codec::{BlockDecoder, BlockEncoder};
use crate::storage::format::pack::{BlockKind, ChunkEntry, Codec, MAX_BLOCK, PackKind};
use crate::storage::pack_store::{
    EncodedBlock, PACK_TARGET, Pack, PackStore, PackWriter, StoreError, new_nonce,
};

/// Bytes of objects that make a new block.
const NEW_BLOCK: usize = 1 << 20;
/// Level of compression of new blocks.
const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) packs: u64,
    pub(super) bytes: u64,
}

/// An object of a pack, in the order of the blocks.
#[derive(Debug, Clone, Copy)]
struct Object {
    id: ObjectId,
    chunk: ChunkEntry,
    in_use: bool,
}

/// Reads sparse packs.
struct Repacker<'r> {
    store: &'r Arc<PackStore>,
    /// Most bytes of a copied block, in percent, that may be unused.
    sparse_percent: u64,
    decoder: BlockDecoder,
    stored: Vec<u8>,
    plain: Vec<u8>,
    out: Output<'r>,
}

/// Gathers objects into blocks, and writes blocks into packs of one kind.
struct Output<'r> {
    store: &'r Arc<PackStore>,
    /// Whether packs are only measured.
    dry_run: bool,
    threshold: usize,
    buffers: Arc<BufferPool>,
    encoder: BlockEncoder,
    /// Objects gathered for a block, all of one kind.
    gathered: Vec<u8>,
    chunks: Vec<(ObjectId, u32)>,
    pack: Option<PackWriter>,
    written: Written,
}

impl Repository {
    /// Writes what is in use of the packs to be repacked into new ones, durably; data before what
    /// refers to it.
    pub(super) fn repack(
        &self,
        judged: &[Judged],
        marked: &Marked,
        sparse_percent: u64,
        dry_run: bool,
    ) -> Result<Written> {
        let sparse: Vec<&Judged> = judged.iter().filter(|pack| pack.fate == Fate::Repack).collect();
        if sparse.is_empty() {
            return Ok(Written::default());
        }
        self.monitor().phase(Phase::Repacking);
        self.monitor().totals(sparse.len() as u64, sparse.iter().map(|pack| pack.len).sum());
        let level = self.config().compression.level.fixed().unwrap_or(LEVEL);
        let out = Output {
            store: self.store()?,
            dry_run,
            threshold: self.config().performance.compression_threshold.as_usize(),
            buffers: BufferPool::new(4 * MAX_BLOCK),
            encoder: BlockEncoder::new(level).map_err(StoreError::Codec)?,
            gathered: Vec::new(),
            chunks: Vec::new(),
            pack: None,
            written: Written::default(),
        };
        let mut repacker = Repacker {
            store: self.store()?,
            sparse_percent,
            decoder: BlockDecoder::new().map_err(StoreError::Codec)?,
            stored: Vec::new(),
            plain: Vec::new(),
            out,
        };
        for kind in [PackKind::Data, PackKind::Meta] {
            for pack in sparse.iter().filter(|pack| pack.kind == kind) {
                repacker.pack(self, &pack.id, marked.packs.get(&pack.id))?;
                self.monitor().advance(1, pack.len);
            }
            repacker.out.seal()?;
        }
        Ok(repacker.out.written)
    }
}

/// The objects of a pack, block by block.
fn objects_of(pack: &Pack, used: Option<&Bits>) -> Result<Vec<Object>> {
    let footer = pack.footer()?;
    let object = |number| {
        let (id, chunk) = footer.chunk(number);
        Object { id, chunk, in_use: used.is_some_and(|used| used.contains(number as usize)) }
    };
    let mut objects: Vec<Object> = (0..footer.chunk_count()).map(object).collect();
    pack.check_footer()?;
    objects.sort_unstable_by_key(|object| (object.chunk.block, object.chunk.offset));
    Ok(objects)
}

impl Repacker<'_> {
    fn pack(&mut self, repository: &Repository, id: &PackId, used: Option<&Bits>) -> Result<()> {
        let pack = self.store.pack(id)?;
        let objects = objects_of(&pack, used)?;
        let mut blocks: Vec<(BlockKind, &[Object])> = Vec::new();
        for objects in objects.chunk_by(|a, b| a.chunk.block == b.chunk.block) {
            if objects.iter().any(|object| object.in_use) {
                blocks.push((pack.block(objects[0].chunk.block)?.kind, objects));
            }
        }
        blocks.sort_by_key(|(kind, _)| *kind as u8);
        for blocks in blocks.chunk_by(|a, b| a.0 == b.0) {
            let kind = blocks[0].0;
            for (_, objects) in blocks {
                if repository.cancel_token().is_cancelled() {
                    return Err(RepoError::Interrupted);
                }
                self.block(&pack, kind, objects)?;
            }
            self.out.flush(kind)?;
        }
        Ok(())
    }

    fn block(&mut self, pack: &Pack, kind: BlockKind, objects: &[Object]) -> Result<()> {
        let number = objects[0].chunk.block;
        if self.is_copied(pack, kind, objects)? {
            return self.copy(pack, objects);
        }
        pack.verify_block(number, &mut self.decoder, &mut self.stored, &mut self.plain)?;
        for object in objects.iter().filter(|object| object.in_use) {
            let from = object.chunk.offset as usize;
            let bytes = self.plain.get(from..from.saturating_add(object.chunk.len as usize));
            let Some(bytes) = bytes.filter(|bytes| kind.id_of(bytes) == object.id) else {
                let why = format!("object {} has other content", object.id);
                return Err(StoreError::Block { pack: pack.id(), block: number, why }.into());
            };
            self.out.put(kind, object.id, bytes)?;
        }
        Ok(())
    }

    /// Whether a block stays as it is: all its objects are listed, and few are unused. Metadata that
    /// is not in use goes in any case.
    fn is_copied(&self, pack: &Pack, kind: BlockKind, objects: &[Object]) -> Result<bool> {
        let entry = pack.block(objects[0].chunk.block)?;
        let unused: u64 = (objects.iter())
            .filter(|object| !object.in_use)
            .map(|object| u64::from(object.chunk.len))
            .sum();
        let most = match kind {
            BlockKind::Data => u64::from(entry.plain_len) * self.sparse_percent / 100,
            _ => 0,
        };
        Ok(objects.len() == entry.chunk_count as usize && unused <= most)
    }

    fn copy(&mut self, pack: &Pack, objects: &[Object]) -> Result<()> {
        let number = objects[0].chunk.block;
        let (entry, lengths, payload) = pack.read_frame(number, &mut self.stored)?;
        if !objects.iter().map(|object| object.chunk.len).eq(lengths) {
            let why = "its frame disagrees with the footer".to_owned();
            return Err(StoreError::Block { pack: pack.id(), block: number, why }.into());
        }
        let mut copy = self.out.buffers.acquire(payload.len());
        copy.extend_from_slice(payload);
        let chunks = objects.iter().map(|object| (object.id, object.chunk.len)).collect();
        let block = EncodedBlock { kind: entry.kind, codec: entry.codec, chunks, payload: copy };
        self.out.append(&block)
    }
}

impl Output<'_> {
    /// Adds an object to those gathered, which have its kind.
    fn put(&mut self, kind: BlockKind, id: ObjectId, bytes: &[u8]) -> Result<()> {
        if self.gathered.len() + bytes.len() > NEW_BLOCK {
            self.flush(kind)?;
        }
        self.gathered.extend_from_slice(bytes);
        self.chunks.push((id, bytes.len() as u32));
        Ok(())
    }

    /// Writes what is gathered as one block.
    fn flush(&mut self, kind: BlockKind) -> Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let mut payload = self.buffers.acquire(BlockEncoder::most(self.gathered.len()));
        let codec = self.encoder.encode(&self.gathered, self.threshold, &mut payload);
        let codec = codec.map_err(StoreError::Codec)?;
        if codec == Codec::Raw {
            payload.extend_from_slice(&self.gathered);
        }
        self.gathered.clear();
        let chunks = std::mem::take(&mut self.chunks);
        self.append(&EncodedBlock { kind, codec, chunks, payload })
    }

    fn append(&mut self, block: &EncodedBlock) -> Result<()> {
        let mut pack = match self.pack.take() {
            Some(pack) => pack,
            None => self.new_pack(block.kind)?,
        };
        pack.append(block)?;
        let is_full = pack.len() >= PACK_TARGET;
        self.pack = Some(pack);
        if is_full { self.seal() } else { Ok(()) }
    }

    fn new_pack(&self, kind: BlockKind) -> Result<PackWriter> {
        let kind = if kind == BlockKind::Data { PackKind::Data } else { PackKind::Meta };
        let disk = Arc::clone(self.store.disk());
        if self.dry_run {
            return Ok(PackWriter::measuring(disk, kind));
        }
        Ok(PackWriter::new(disk, kind, new_nonce())?)
    }

    fn seal(&mut self) -> Result<()> {
        let Some(mut pack) = self.pack.take() else { return Ok(()) };
        self.written.packs += 1;
        let len = pack.sealed_len();
        self.written.bytes += len + self.store.planned_parity(pack.kind(), len);
        if !self.dry_run {
            let sealed = pack.seal()?;
            self.store.adopt_copy(sealed.id)?;
        }
        Ok(())
    }
}
