//! Reading objects: decoded blocks are cached, and no byte leaves unverified.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Location, PackStore, Result, StoreError};
use crate::id::{ObjectId, PackId};
use crate::storage::cache::{
    BufferPool, CacheConfig, CacheStats, ChunkCache, PoolStats, PooledBuffer,
};
use crate::storage::codec::BlockDecoder;
use crate::storage::format::pack::BlockKind;

/// Names a block: its pack and its number there.
pub type BlockKey = (PackId, u32);

/// Decoded blocks.
pub type BlockCache = ChunkCache<BlockKey>;

/// A decoded block.
#[derive(Debug)]
pub enum Block {
    /// Also in the cache.
    Shared(Arc<Vec<u8>>),
    /// In a buffer that others use again.
    Pooled(PooledBuffer),
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(block) => block,
            Self::Pooled(block) => block,
        }
    }
}

/// A block that has its memory and waits to be decoded.
#[derive(Debug)]
pub struct PendingBlock {
    key: BlockKey,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Cached(Arc<Vec<u8>>),
    /// Decode and keep in the cache.
    Keep,
    Pooled(PooledBuffer),
}

/// A decoder and the payload that it decodes.
struct Decoder {
    decoder: BlockDecoder,
    stored: Vec<u8>,
}

/// Payload buffers above this size are not kept.
const KEEP_STORED: usize = 4 << 20;

/// A reader over a store; shared by threads.
pub struct ObjectReader {
    store: Arc<PackStore>,
    cache: BlockCache,
    buffers: Arc<BufferPool>,
    decoders: Mutex<Vec<Decoder>>,
}

impl ObjectReader {
    /// A reader whose cache holds up to `cache_bytes` of decoded blocks, and which decodes blocks
    /// that are not cached into up to `buffer_bytes`.
    pub fn new(store: Arc<PackStore>, cache_bytes: usize, buffer_bytes: usize) -> Self {
        let cache = ChunkCache::new(CacheConfig::with_total(cache_bytes));
        let buffers = BufferPool::new(buffer_bytes);
        Self { store, cache, buffers, decoders: Mutex::default() }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<PackStore> {
        &self.store
    }

    /// What the cache did so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// What the buffers of decoded blocks did so far.
    pub fn buffer_stats(&self) -> PoolStats {
        self.buffers.stats()
    }

    /// Frees the memory that is kept for blocks to come.
    pub fn trim(&self) {
        self.buffers.trim();
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Decodes a block, or takes it from the cache, and keeps it there. Its chunks are not verified
    /// yet.
    pub fn block(&self, key: BlockKey) -> Result<Arc<Vec<u8>>> {
        match self.cache.get(&key) {
            Some(block) => Ok(block),
            None => self.decode_to_keep(key),
        }
    }

    fn decode_to_keep(&self, key: BlockKey) -> Result<Arc<Vec<u8>>> {
        let mut plain = Vec::new();
        self.decode(key, &mut plain)?;
        let block = Arc::new(plain);
        self.cache.insert(key, Arc::clone(&block));
        Ok(block)
    }

    /// Finds memory for a block of which `wanted` bytes are used now. One that is used for the most
    /// part is not cached the first time, so that reading much in order neither fills the cache nor
    /// allocates. May wait for a buffer: the caller holds no block of this reader, or holds those
    /// that come before this one in an order in which all are given up.
    pub fn begin(&self, key: BlockKey, wanted: usize) -> Result<PendingBlock> {
        if let Some(block) = self.cache.get(&key) {
            return Ok(PendingBlock { key, target: Target::Cached(block) });
        }
        let plain_len = self.store.pack(&key.0)?.block(key.1)?.plain_len as usize;
        let is_whole = wanted >= plain_len / 2;
        let target = if is_whole && !self.cache.bypass(key) {
            Target::Pooled(self.buffers.acquire(plain_len))
        } else {
            Target::Keep
        };
        Ok(PendingBlock { key, target })
    }

    /// Decodes what was begun. Its chunks are not verified yet.
    pub fn finish(&self, pending: PendingBlock) -> Result<Block> {
        Ok(match pending.target {
            Target::Cached(block) => Block::Shared(block),
            Target::Keep => Block::Shared(self.decode_to_keep(pending.key)?),
            Target::Pooled(mut plain) => {
                self.decode(pending.key, &mut plain)?;
                Block::Pooled(plain)
            }
        })
    }

    /// Reads the frame of a block, checks all of it and decodes it, past the cache; for
    /// verification. Its chunks are not verified yet. May wait for a buffer, as [`Self::begin`].
    pub fn verify_block(&self, (pack, number): BlockKey) -> Result<Block> {
        let pack = self.store.pack(&pack)?;
        let mut plain = self.buffers.acquire(pack.block(number)?.plain_len as usize);
        self.with_decoder(|Decoder { decoder, stored }| {
            pack.verify_block(number, decoder, stored, &mut plain)
        })?;
        Ok(Block::Pooled(plain))
    }

    fn decode(&self, (pack, number): BlockKey, plain: &mut Vec<u8>) -> Result<()> {
        let pack = self.store.pack(&pack)?;
        self.with_decoder(|Decoder { decoder, stored }| {
            pack.read_block(number, decoder, stored, plain)
        })
        .map(drop)
        .or_else(|error| pack.check_footer().and(Err(error)))
    }

    fn with_decoder<T>(&self, work: impl FnOnce(&mut Decoder) -> Result<T>) -> Result<T> {
        let spare = self.decoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut decoder = match spare {
            Some(spare) => spare,
            None => Decoder {
                decoder: BlockDecoder::new().map_err(StoreError::Codec)?,
                stored: Vec::new(),
            },
        };
        let result = work(&mut decoder);
        if decoder.stored.capacity() > KEEP_STORED {
            decoder.stored = Vec::new();
        }
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner).push(decoder);
        result
    }

    /// Finds an object, also one that another process stored since the store was opened.
    pub fn locate(&self, id: &ObjectId) -> Result<Location> {
        if let Some(location) = self.store.locate(id) {
            return Ok(location);
        }
        self.store.check_tables()?;
        let location = if self.store.look_again()? { self.store.locate(id) } else { None };
        location.ok_or(StoreError::Missing(*id))
    }

    /// The bytes of an object, checked against its id.
    pub fn read(&self, kind: BlockKind, id: &ObjectId) -> Result<Vec<u8>> {
        let location = self.locate(id)?;
        let block = self.block((location.pack, location.chunk.block))?;
        let bytes = verified(kind, id, &location, &block)?;
        Ok(bytes.to_vec())
    }
}

/// The part of a decoded block that holds an object, checked against its id.
pub fn verified<'a>(
    kind: BlockKind,
    id: &ObjectId,
    location: &Location,
    block: &'a [u8],
) -> Result<&'a [u8]> {
    let chunk = &location.chunk;
    let bad = |why: String| StoreError::Block { pack: location.pack, block: chunk.block, why };
    let start = chunk.offset as usize;
    let bytes = start.checked_add(chunk.len as usize).and_then(|end| block.get(start..end));
    let bytes = bytes.ok_or_else(|| bad(format!("chunk {id} lies past its end")))?;
    if kind.id_of(bytes) != *id {
        return Err(bad(format!("chunk {id} has other content")));
    }
    Ok(bytes)
}
