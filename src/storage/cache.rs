//! Memory that is shared and bounded: [`ChunkCache`] for decoded blocks, [`BufferPool`] for the
//! working buffers of the pipelines.

mod buffer_pool;
mod chunk_cache;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use buffer_pool::{BufferPool, PoolError, PoolStats, PooledBuffer};
pub use chunk_cache::{CacheConfig, CacheStats, ChunkCache, ChunkMetadata};

/// The data behind these locks stays sound at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
