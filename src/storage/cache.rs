//! Memory that is shared and bounded: [`ChunkCache`] for decoded blocks, [`BufferPool`] for the
//! working buffers of the pipelines.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The data behind these locks stays sound at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Limits of a [`ChunkCache`], in bytes.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// Blocks used more than once.
    pub hot_bytes: usize,
    /// Blocks used once.
    pub warm_bytes: usize,
}

impl CacheConfig {
    /// Splits a total: a quarter for what was used again, the rest for what was just decoded.
    pub fn with_total(total: usize) -> Self {
        Self { hot_bytes: total / 4, warm_bytes: total - total / 4 }
    }
}

/// What is known of a cached block besides its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkMetadata {
    /// Times it was asked for and found.
    pub hits: u32,
    /// Length in bytes.
    pub len: usize,
}

/// What a cache did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found the block among the recently used.
    pub hot_hits: u64,
    /// Lookups that found it among the once used.
    pub warm_hits: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Blocks that fell out.
    pub evictions: u64,
}

#[derive(Debug)]
struct Tier<K: Hash + Eq> {
    blocks: LruCache<K, Arc<Vec<u8>>>,
    bytes: usize,
    limit: usize,
}

impl<K: Hash + Eq + Copy> Tier<K> {
    fn new(limit: usize) -> Self {
        Self { blocks: LruCache::unbounded(), bytes: 0, limit }
    }

    fn take(&mut self, key: &K) -> Option<Arc<Vec<u8>>> {
        let block = self.blocks.pop(key)?;
        self.bytes -= block.len();
        Some(block)
    }

    /// Inserts a block and returns what had to make room.
    fn insert(&mut self, key: K, block: Arc<Vec<u8>>) -> Vec<(K, Arc<Vec<u8>>)> {
        self.bytes += block.len();
        if let Some(old) = self.blocks.put(key, block) {
            self.bytes -= old.len();
        }
        let mut evicted = Vec::new();
        while self.bytes > self.limit {
            let Some((key, block)) = self.blocks.pop_lru() else { break };
            self.bytes -= block.len();
            evicted.push((key, block));
        }
        evicted
    }
}

/// Decoded blocks in two tiers, each a byte-bounded LRU. A block enters the warm tier; the second
/// use promotes it to the hot one, and what falls out of the hot tier gets one more round in the
/// warm tier. A single pass over much data therefore cannot push out what is used again and again
/// (the idea of 2Q, Johnson and Shasha 1994).
#[derive(Debug)]
pub struct ChunkCache<K: Hash + Eq + Copy> {
    tiers: Mutex<Tiers<K>>,
    config: CacheConfig,
}

#[derive(Debug)]
struct Tiers<K: Hash + Eq> {
    hot: Tier<K>,
    warm: Tier<K>,
    chunk_metadata: HashMap<K, ChunkMetadata>,
    stats: CacheStats,
}

impl<K: Hash + Eq + Copy> Tiers<K> {
    fn insert_warm(&mut self, key: K, block: Arc<Vec<u8>>) {
        for (gone, _) in self.warm.insert(key, block) {
            self.chunk_metadata.remove(&gone);
            self.stats.evictions += 1;
        }
    }

    fn insert_hot(&mut self, key: K, block: Arc<Vec<u8>>) {
        for (demoted, block) in self.hot.insert(key, block) {
            self.insert_warm(demoted, block);
        }
    }
}

impl<K: Hash + Eq + Copy> ChunkCache<K> {
    /// An empty cache.
    pub fn new(config: CacheConfig) -> Self {
        let tiers = Tiers {
            hot: Tier::new(config.hot_bytes),
            warm: Tier::new(config.warm_bytes),
            chunk_metadata: HashMap::new(),
            stats: CacheStats::default(),
        };
        Self { tiers: Mutex::new(tiers), config }
    }

    /// Looks a block up and counts the use.
    pub fn get(&self, key: &K) -> Option<Arc<Vec<u8>>> {
        let mut tiers = lock(&self.tiers);
        let tiers = &mut *tiers;
        let found = if let Some(block) = tiers.hot.blocks.get(key) {
            tiers.stats.hot_hits += 1;
            Some(Arc::clone(block))
        } else if let Some(block) = tiers.warm.take(key) {
            tiers.stats.warm_hits += 1;
            tiers.insert_hot(*key, Arc::clone(&block));
            Some(block)
        } else {
            tiers.stats.misses += 1;
            None
        };
        if let Some(metadata) = found.as_ref().and_then(|_| tiers.chunk_metadata.get_mut(key)) {
            metadata.hits += 1;
        }
        found
    }

    /// Puts a decoded block in; one larger than the warm tier is not kept.
    pub fn insert(&self, key: K, block: Arc<Vec<u8>>) {
        if block.len() > self.config.warm_bytes {
            return;
        }
        let mut tiers = lock(&self.tiers);
        if tiers.hot.blocks.contains(&key) {
            return;
        }
        tiers.warm.take(&key);
        tiers.chunk_metadata.insert(key, ChunkMetadata { hits: 0, len: block.len() });
        tiers.insert_warm(key, block);
    }

    /// What is known of a cached block.
    pub fn metadata(&self, key: &K) -> Option<ChunkMetadata> {
        lock(&self.tiers).chunk_metadata.get(key).copied()
    }

    /// Counters so far.
    pub fn stats(&self) -> CacheStats {
        lock(&self.tiers).stats
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        let tiers = lock(&self.tiers);
        tiers.hot.bytes + tiers.warm.bytes
    }
}

/// Reusable buffers in three size classes. What is handed out is not bounded here (the byte-bounded
/// queues of the pipelines do that); what is *kept* for reuse never exceeds `max_pool_size` bytes.
#[derive(Debug)]
pub struct BufferPool {
    small_buffers: Mutex<Vec<Vec<u8>>>,
    medium_buffers: Mutex<Vec<Vec<u8>>>,
    large_buffers: Mutex<Vec<Vec<u8>>>,
    kept: Mutex<usize>,
    max_pool_size: usize,
}

/// Capacities below this are the small class.
const SMALL: usize = 4 << 10;
/// Largest capacity of the medium class.
const MEDIUM: usize = 64 << 10;

impl BufferPool {
    /// A pool that keeps at most `max_pool_size` bytes.
    pub fn new(max_pool_size: usize) -> Arc<Self> {
        Arc::new(Self {
            small_buffers: Mutex::default(),
            medium_buffers: Mutex::default(),
            large_buffers: Mutex::default(),
            kept: Mutex::new(0),
            max_pool_size,
        })
    }

    fn class(&self, capacity: usize) -> &Mutex<Vec<Vec<u8>>> {
        match capacity {
            ..SMALL => &self.small_buffers,
            SMALL..=MEDIUM => &self.medium_buffers,
            _ => &self.large_buffers,
        }
    }

    /// An empty buffer with room for `capacity` bytes; it returns to the pool when dropped.
    pub fn acquire(self: &Arc<Self>, capacity: usize) -> PooledBuffer {
        let mut buffers = lock(self.class(capacity));
        let fitting = buffers.iter().rposition(|buffer| buffer.capacity() >= capacity);
        let reused = fitting.map(|at| buffers.swap_remove(at));
        drop(buffers);
        let bytes = if let Some(buffer) = reused {
            *lock(&self.kept) -= buffer.capacity();
            buffer
        } else {
            Vec::with_capacity(capacity)
        };
        PooledBuffer { bytes, pool: Arc::clone(self) }
    }

    fn release(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let capacity = buffer.capacity();
        {
            let mut kept = lock(&self.kept);
            if capacity == 0 || *kept + capacity > self.max_pool_size {
                return;
            }
            *kept += capacity;
        }
        lock(self.class(capacity)).push(buffer);
    }

    /// Bytes kept for reuse now.
    pub fn kept(&self) -> usize {
        *lock(&self.kept)
    }
}

/// A buffer on loan from a [`BufferPool`].
#[derive(Debug)]
pub struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl Deref for PooledBuffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.release(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(len: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![0; len])
    }

    #[test]
    fn a_second_use_promotes_and_a_scan_does_not_evict_it() {
        let cache = ChunkCache::new(CacheConfig { hot_bytes: 100, warm_bytes: 100 });
        cache.insert(1u32, block(50));
        assert!(cache.get(&1).is_some());
        for key in 2..100 {
            cache.insert(key, block(50));
        }
        assert!(cache.get(&1).is_some(), "hot block survived a scan");
        assert!(cache.get(&2).is_none(), "scanned block fell out");
        assert_eq!(cache.metadata(&1).unwrap().hits, 2);
        let stats = cache.stats();
        assert_eq!((stats.warm_hits, stats.hot_hits, stats.misses), (1, 1, 1));
        assert!(stats.evictions > 90);
    }

    #[test]
    fn a_block_larger_than_the_cache_is_not_kept() {
        let cache = ChunkCache::new(CacheConfig::with_total(100));
        cache.insert(1u32, block(101));
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_returned_buffer_is_reused_and_the_pool_stays_bounded() {
        let pool = BufferPool::new(100_000);
        let first = pool.acquire(70_000);
        let address = first.as_ptr();
        drop(first);
        assert!(pool.kept() >= 70_000);
        let again = pool.acquire(66_000);
        assert_eq!(again.as_ptr(), address);
        let more: Vec<_> = (0..10).map(|_| pool.acquire(70_000)).collect();
        drop((again, more));
        assert!(pool.kept() <= 100_000);
    }

    proptest! {
        #[test]
        fn the_limit_holds_whatever_happens(ops in proptest::collection::vec((0u32..40, 1usize..60, any::<bool>()), 1..300)) {
            let cache = ChunkCache::new(CacheConfig::with_total(200));
            for (key, len, insert) in ops {
                if insert {
                    cache.insert(key, block(len));
                } else {
                    cache.get(&key);
                }
                prop_assert!(cache.bytes() <= 200);
            }
        }
    }
}
