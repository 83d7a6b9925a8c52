//! Open handles of the directories that were used last, so that the files of one directory do not
//! each resolve it anew.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

type Shard = LruCache<Box<[u8]>, Arc<OwnedFd>>;

/// Shards, so that threads in different directories seldom wait for each other.
const SHARDS: usize = 16;
/// Handles kept in each.
const PER_SHARD: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Handles by the path of their directory.
#[derive(Debug)]
pub(super) struct Handles {
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Handles {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(LruCache::new(PER_SHARD))) }
    }
}

impl Handles {
    fn shard(&self, dir: &[u8]) -> MutexGuard<'_, Shard> {
        let sum = dir.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
        // A thread that panicked left the cache whole: every change to it is one call.
        self.shards[(sum >> 4) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, dir: &[u8]) -> Option<Arc<OwnedFd>> {
        self.shard(dir).get(dir).cloned()
    }

    pub(super) fn put(&self, dir: &[u8], handle: OwnedFd) -> Arc<OwnedFd> {
        let handle = Arc::new(handle);
        self.shard(dir).put(dir.into(), Arc::clone(&handle));
        handle
    }

    pub(super) fn forget(&self, dir: &[u8]) {
        self.shard(dir).pop(dir);
    }
}
