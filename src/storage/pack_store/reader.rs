//! Reading objects: decoded blocks are cached, and no byte leaves unverified.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Location, PackStore, Result, StoreError};
use crate::id::{ObjectId, PackId};
use crate::storage::cache::{CacheConfig, CacheStats, ChunkCache};
use crate::storage::codec::BlockDecoder;
use crate::storage::format::pack::BlockKind;

/// Names a block: its pack and its number there.
pub type BlockKey = (PackId, u32);

/// Decoded blocks.
pub type BlockCache = ChunkCache<BlockKey>;

/// A reader over a store; shared by threads.
pub struct ObjectReader {
    store: Arc<PackStore>,
    cache: BlockCache,
    decoders: Mutex<Vec<(BlockDecoder, Vec<u8>)>>,
}

impl ObjectReader {
    /// A reader whose cache holds up to `cache_bytes` of decoded blocks.
    pub fn new(store: Arc<PackStore>, cache_bytes: usize) -> Self {
        let cache = ChunkCache::new(CacheConfig::with_total(cache_bytes));
        Self { store, cache, decoders: Mutex::default() }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<PackStore> {
        &self.store
    }

    /// What the cache did so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Decodes a block, or takes it from the cache. Its chunks are not verified yet.
    pub fn block(&self, key: BlockKey) -> Result<Arc<Vec<u8>>> {
        if let Some(block) = self.cache.get(&key) {
            return Ok(block);
        }
        let mut plain = Vec::new();
        self.read_block(key, &mut plain)?;
        let block = Arc::new(plain);
        self.cache.insert(key, Arc::clone(&block));
        Ok(block)
    }

    /// Decodes a block into `plain`, past the cache.
    pub fn read_block(&self, (pack, number): BlockKey, plain: &mut Vec<u8>) -> Result<()> {
        let spare = self.decoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (mut decoder, mut stored) = match spare {
            Some(spare) => spare,
            None => (BlockDecoder::new().map_err(StoreError::Codec)?, Vec::new()),
        };
        let pack = self.store.pack(&pack)?;
        let result = pack.read_block(number, &mut decoder, &mut stored, plain);
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner).push((decoder, stored));
        result.map(drop).or_else(|error| pack.check_footer().and(Err(error)))
    }

    /// Finds an object.
    pub fn locate(&self, id: &ObjectId) -> Result<Location> {
        let Some(location) = self.store.locate(id) else {
            self.store.check_tables()?;
            return Err(StoreError::Missing(*id));
        };
        Ok(location)
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
