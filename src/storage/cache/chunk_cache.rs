//! Decoded blocks, shared by all readers of a command.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lru::LruCache;
use serde::Serialize;

use super::lock;

/// Keys of blocks remembered that were used past the cache: at about 1 MiB each, the last GiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Counted for each block besides its bytes: its entries in the tables.
const OVERHEAD: usize = 192;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// Lookups that found the block among the recently used.
    pub hot_hits: u64,
    /// Lookups that found it among the once used.
    pub warm_hits: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Blocks that fell out.
    pub evictions: u64,
    /// Bytes held now.
    pub bytes: usize,
    /// Most bytes that may be held.
    pub limit: usize,
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
        self.bytes -= cost(&block);
        Some(block)
    }

    /// Inserts a block and returns what had to make room.
    fn insert(&mut self, key: K, block: Arc<Vec<u8>>) -> Vec<(K, Arc<Vec<u8>>)> {
        self.bytes += cost(&block);
        if let Some(old) = self.blocks.put(key, block) {
            self.bytes -= cost(&old);
        }
        let mut evicted = Vec::new();
        while self.bytes > self.limit {
            let Some((key, block)) = self.blocks.pop_lru() else { break };
            self.bytes -= cost(&block);
            evicted.push((key, block));
        }
        evicted
    }
}

/// What a block takes from the limit.
fn cost(block: &Vec<u8>) -> usize {
    block.capacity() + OVERHEAD
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
    /// Used once, whole, and not kept.
    bypassed: LruCache<K, ()>,
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
            bypassed: LruCache::new(REMEMBERED),
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
        if cost(&block) > self.config.warm_bytes {
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

    /// Notes that a block is used as a whole, and answers whether it was before, not long ago. The
    /// first time it need not be kept: who reads on in order will not come back.
    pub fn bypass(&self, key: K) -> bool {
        lock(&self.tiers).bypassed.put(key, ()).is_some()
    }

    /// What is known of a cached block.
    pub fn metadata(&self, key: &K) -> Option<ChunkMetadata> {
        lock(&self.tiers).chunk_metadata.get(key).copied()
    }

    /// Counters so far, and the bytes held now.
    pub fn stats(&self) -> CacheStats {
        let tiers = lock(&self.tiers);
        let bytes = tiers.hot.bytes + tiers.warm.bytes;
        let limit = self.config.hot_bytes + self.config.warm_bytes;
        CacheStats { bytes, limit, ..tiers.stats }
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
        let cache = ChunkCache::new(CacheConfig { hot_bytes: 600, warm_bytes: 600 });
        cache.insert(1u32, block(300));
        assert!(cache.get(&1).is_some());
        for key in 2..100 {
            cache.insert(key, block(300));
        }
        assert!(cache.get(&1).is_some(), "hot block survived a scan");
        assert!(cache.get(&2).is_none(), "scanned block fell out");
        assert_eq!(cache.metadata(&1).unwrap().hits, 2);
        let stats = cache.stats();
        assert_eq!((stats.warm_hits, stats.hot_hits, stats.misses), (1, 1, 1));
        assert!(stats.evictions > 90);
    }

    #[test]
    fn a_block_used_whole_is_worth_keeping_the_second_time() {
        let cache = ChunkCache::new(CacheConfig::with_total(1000));
        assert!(!cache.bypass(7u32));
        assert!(cache.bypass(7));
        (100..3000).for_each(|key| assert!(!cache.bypass(key)));
        assert!(!cache.bypass(7), "that was long ago");
    }

    #[test]
    fn a_block_larger_than_the_cache_is_not_kept() {
        let cache = ChunkCache::new(CacheConfig::with_total(1000));
        cache.insert(1u32, block(1000));
        assert_eq!(cache.stats().bytes, 0);
    }

    #[test]
    fn the_limit_holds_under_load_and_every_lookup_is_counted() {
        const LIMIT: usize = 1 << 20;
        let cache = ChunkCache::new(CacheConfig::with_total(LIMIT));
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..3000u64 {
                        // A few blocks are asked for often, most once.
                        let key = if round % 3 == 0 { round % 8 } else { thread << 32 | round };
                        match cache.get(&key) {
                            Some(block) => assert_eq!(block[0], key as u8),
                            None => cache.insert(key, Arc::new(vec![key as u8; 20_000])),
                        }
                        assert!(cache.stats().bytes <= LIMIT);
                    }
                });
            }
        });
        let stats = cache.stats();
        assert_eq!(stats.hot_hits + stats.warm_hits + stats.misses, 4 * 3000);
        assert!(stats.hot_hits > 3000 && stats.evictions > 5000, "{stats:?}");
        let metadata = lock(&cache.tiers).chunk_metadata.len();
        assert!(metadata <= LIMIT / 20_000, "{metadata} entries");
    }

    proptest! {
        #[test]
        fn the_limit_holds_whatever_happens(ops in proptest::collection::vec((0u32..40, 1usize..600, any::<bool>()), 1..300)) {
            let cache = ChunkCache::new(CacheConfig::with_total(4000));
            for (key, len, insert) in ops {
                if insert {
                    cache.insert(key, block(len));
                } else {
                    cache.get(&key);
                }
                prop_assert!(cache.stats().bytes <= 4000);
            }
        }
    }
}
