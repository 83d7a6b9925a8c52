//! Working buffers under one bound.
//!
//! Bytes on loan and bytes kept for reuse together never exceed the pool's size. Who asks for more
//! first evicts what is kept, then waits until something comes back.
//!
//! **A wait ends if this rule is kept:** whoever waits in [`BufferPool::acquire`] holds nothing of
//! the pool, or the pool is at least as large as all that its users can hold at the same moment
//! (the share of each worker, plus what may lie in queues), so that nobody ever waits. Who holds
//! something of a smaller pool takes [`BufferPool::try_acquire`], which never waits. Buffers in a
//! queue do not count where the queue is emptied by a thread that asks the pool for nothing.
//!
//! A buffer is a vector, and one that its holder makes grow cannot be stopped: the growth is counted
//! at the next touch, evicts what is kept, and holds back the requests that follow. What it took
//! beyond the bound shows in [`PoolStats::overdraft`], so that a test of a pipeline sees it. Who
//! acquires the capacity that is needed never overdraws.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use thiserror::Error;

use super::lock;

/// Capacities below this are the small class.
const SMALL: usize = 4 << 10;
/// Largest capacity of the medium class.
const MEDIUM: usize = 64 << 10;
/// A kept buffer serves a request if it is at most this many times as large.
const WASTE: usize = 4;

/// Why a buffer cannot be had at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PoolError {
    /// It never can: the request exceeds the pool.
    #[error("a buffer of {capacity} bytes exceeds the {limit} bytes of the pool")]
    TooLarge {
        /// Bytes asked for.
        capacity: usize,
        /// Size of the pool.
        limit: usize,
    },
    /// Too much is on loan.
    #[error("{lent} of the {limit} bytes of the pool are on loan")]
    Exhausted {
        /// Bytes on loan.
        lent: usize,
        /// Size of the pool.
        limit: usize,
    },
}

/// What a pool holds and did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes on loan now.
    pub lent: usize,
    /// Bytes kept for reuse now.
    pub kept: usize,
    /// Most bytes on loan and kept at any moment.
    pub peak: usize,
    /// Most bytes beyond the bound at any moment: growth on loan, and requests larger than the
    /// pool.
    pub overdraft: usize,
    /// Requests that had to wait.
    pub waits: u64,
    /// Requests served with a kept buffer.
    pub reuses: u64,
    /// Kept buffers given up for a request.
    pub evictions: u64,
}

/// Reusable buffers in three size classes; see the module for the bound and the rule of waiting.
#[derive(Debug)]
pub struct BufferPool {
    shelves: Mutex<Shelves>,
    returned: Condvar,
    max_pool_size: usize,
}

#[derive(Debug, Default)]
struct Shelves {
    /// Below 4 KiB.
    small_buffers: VecDeque<Vec<u8>>,
    /// 4 KiB to 64 KiB.
    medium_buffers: VecDeque<Vec<u8>>,
    /// Above 64 KiB.
    large_buffers: VecDeque<Vec<u8>>,
    stats: PoolStats,
}

impl Shelves {
    fn class(&mut self, capacity: usize) -> &mut VecDeque<Vec<u8>> {
        match capacity {
            ..SMALL => &mut self.small_buffers,
            SMALL..=MEDIUM => &mut self.medium_buffers,
            _ => &mut self.large_buffers,
        }
    }

    /// Takes the smallest kept buffer that fits and wastes little.
    fn reuse(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let class = self.class(capacity);
        let fits = |len: usize| len >= capacity && len <= capacity.saturating_mul(WASTE);
        let (at, _) = class
            .iter()
            .enumerate()
            .filter(|(_, buffer)| fits(buffer.capacity()))
            .min_by_key(|(_, buffer)| buffer.capacity())?;
        let buffer = class.swap_remove_back(at)?;
        self.stats.kept -= buffer.capacity();
        self.stats.reuses += 1;
        Some(buffer)
    }

    /// Gives kept buffers up, large ones first and of these the oldest, until `extra` more bytes
    /// fit; answers whether they do. The buffers are freed by the caller, outside of the lock.
    fn make_room(&mut self, extra: usize, limit: usize, evicted: &mut Vec<Vec<u8>>) -> bool {
        let fits = |stats: &PoolStats| stats.lent + stats.kept + extra <= limit;
        while !fits(&self.stats) {
            let next = [&mut self.large_buffers, &mut self.medium_buffers, &mut self.small_buffers]
                .into_iter()
                .find_map(VecDeque::pop_front);
            let Some(buffer) = next else { return false };
            self.stats.kept -= buffer.capacity();
            self.stats.evictions += 1;
            evicted.push(buffer);
        }
        true
    }

    fn lend(&mut self, bytes: usize, limit: usize) {
        self.stats.lent += bytes;
        let total = self.stats.lent + self.stats.kept;
        self.stats.peak = self.stats.peak.max(total);
        self.stats.overdraft = self.stats.overdraft.max(total.saturating_sub(limit));
    }
}

impl BufferPool {
    /// A pool of `max_pool_size` bytes, on loan and kept.
    pub fn new(max_pool_size: usize) -> Arc<Self> {
        Arc::new(Self { shelves: Mutex::default(), returned: Condvar::new(), max_pool_size })
    }

    /// An empty buffer with room for `capacity` bytes; it returns to the pool when dropped. Waits
    /// until there is room, by the rule of the module. What could never be had within the bound, a
    /// request larger than the pool, is lent at once and counted as overdraft, so that it does not
    /// hang; [`Self::try_acquire`] refuses it.
    pub fn acquire(self: &Arc<Self>, capacity: usize) -> PooledBuffer {
        let mut evicted = Vec::new();
        let mut shelves = lock(&self.shelves);
        let mut has_waited = false;
        let reused = loop {
            if let Some(buffer) = shelves.reuse(capacity) {
                break Some(buffer);
            }
            let fits = shelves.make_room(capacity, self.max_pool_size, &mut evicted);
            if fits || capacity == 0 || capacity > self.max_pool_size {
                break None;
            }
            shelves.stats.waits += u64::from(!std::mem::replace(&mut has_waited, true));
            shelves = self.returned.wait(shelves).unwrap_or_else(PoisonError::into_inner);
        };
        self.lend(shelves, capacity, reused)
    }

    /// As [`Self::acquire`], without waiting: for who holds a buffer already.
    pub fn try_acquire(self: &Arc<Self>, capacity: usize) -> Result<PooledBuffer, PoolError> {
        let limit = self.max_pool_size;
        if capacity > limit {
            return Err(PoolError::TooLarge { capacity, limit });
        }
        let mut evicted = Vec::new();
        let mut shelves = lock(&self.shelves);
        let reused = shelves.reuse(capacity);
        if reused.is_none() && !shelves.make_room(capacity, limit, &mut evicted) {
            return Err(PoolError::Exhausted { lent: shelves.stats.lent, limit });
        }
        Ok(self.lend(shelves, capacity, reused))
    }

    fn lend(
        self: &Arc<Self>,
        mut shelves: std::sync::MutexGuard<'_, Shelves>,
        capacity: usize,
        reused: Option<Vec<u8>>,
    ) -> PooledBuffer {
        let counted = reused.as_ref().map_or(capacity, Vec::capacity);
        shelves.lend(counted, self.max_pool_size);
        drop(shelves);
        let bytes = reused.unwrap_or_else(|| Vec::with_capacity(capacity));
        PooledBuffer { bytes, counted, pool: Arc::clone(self) }
    }

    /// Counts a buffer that changed its capacity on loan.
    fn recount(&self, before: usize, after: usize) {
        let mut evicted = Vec::new();
        let mut shelves = lock(&self.shelves);
        shelves.stats.lent -= before;
        shelves.make_room(after, self.max_pool_size, &mut evicted);
        shelves.lend(after, self.max_pool_size);
        drop(shelves);
        self.returned.notify_all();
    }

    fn release(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let capacity = buffer.capacity();
        let mut shelves = lock(&self.shelves);
        shelves.stats.lent -= capacity;
        let fits = shelves.stats.lent + shelves.stats.kept + capacity <= self.max_pool_size;
        if capacity > 0 && fits {
            shelves.stats.kept += capacity;
            shelves.class(capacity).push_back(buffer);
        }
        drop(shelves);
        // All of them: the first in the line may need more than came back.
        self.returned.notify_all();
    }

    /// Frees what is kept.
    pub fn trim(&self) {
        let mut shelves = lock(&self.shelves);
        let kept = [
            std::mem::take(&mut shelves.small_buffers),
            std::mem::take(&mut shelves.medium_buffers),
            std::mem::take(&mut shelves.large_buffers),
        ];
        shelves.stats.kept = 0;
        drop(shelves);
        drop(kept);
    }

    /// What it holds and did so far.
    pub fn stats(&self) -> PoolStats {
        lock(&self.shelves).stats
    }

    /// The bound, in bytes.
    pub fn limit(&self) -> usize {
        self.max_pool_size
    }
}

/// A buffer on loan from a [`BufferPool`].
#[derive(Debug)]
pub struct PooledBuffer {
    bytes: Vec<u8>,
    /// The capacity that the pool knows of.
    counted: usize,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    fn recount(&mut self) {
        if self.bytes.capacity() != self.counted {
            self.pool.recount(self.counted, self.bytes.capacity());
            self.counted = self.bytes.capacity();
        }
    }
}

impl Deref for PooledBuffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.recount();
        &mut self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.recount();
        self.pool.release(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_returned_buffer_is_reused_and_a_far_too_large_one_is_not() {
        let pool = BufferPool::new(1 << 20);
        let first = pool.acquire(70_000);
        let address = first.as_ptr();
        drop(first);
        assert_eq!((pool.stats().lent, pool.stats().kept), (0, 70_000));
        let again = pool.acquire(66_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!((pool.stats().lent, pool.stats().kept, pool.stats().reuses), (70_000, 0, 1));
        drop(pool.acquire(700_000));
        assert_eq!(pool.acquire(66_000).capacity(), 66_000);
        pool.trim();
        assert_eq!(pool.stats().kept, 0);
    }

    #[test]
    fn what_is_kept_goes_before_anybody_waits() {
        let pool = BufferPool::new(100_000);
        drop((pool.acquire(1000), pool.acquire(10_000), pool.acquire(80_000)));
        assert_eq!(pool.stats().kept, 91_000);
        let large = pool.acquire(95_000);
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.kept, stats.evictions, stats.waits), (95_000, 1000, 2, 0));
        assert!(matches!(pool.try_acquire(10_000), Err(PoolError::Exhausted { .. })));
        assert!(pool.try_acquire(4_000).is_ok());
        drop(large);
    }

    #[test]
    fn a_request_beyond_the_pool_is_refused_or_shows_as_overdraft() {
        let pool = BufferPool::new(1000);
        let refused = PoolError::TooLarge { capacity: 1001, limit: 1000 };
        assert_eq!(pool.try_acquire(1001).err(), Some(refused));
        drop((pool.acquire(600), pool.acquire(3000)));
        let stats = pool.stats();
        assert_eq!((stats.overdraft, stats.lent, stats.kept), (2600, 0, 0));
    }

    #[test]
    fn growth_on_loan_is_counted_and_holds_others_back() {
        let pool = BufferPool::new(100_000);
        drop(pool.acquire(50_000));
        let mut buffer = pool.acquire(0);
        buffer.reserve_exact(80_000);
        buffer.push(1);
        let stats = pool.stats();
        assert_eq!((stats.lent, stats.kept, stats.overdraft), (buffer.capacity(), 0, 0));
        assert!(matches!(pool.try_acquire(50_000), Err(PoolError::Exhausted { .. })));
        buffer.reserve_exact(160_000);
        drop(buffer);
        assert!(pool.stats().overdraft >= 60_000);
        assert_eq!((pool.stats().lent, pool.stats().kept), (0, 0));
    }

    /// Threads that hold nothing while they wait, as the rule has it.
    #[test]
    fn the_bound_holds_under_load_and_everybody_is_served() {
        const LIMIT: usize = 1 << 20;
        let pool = BufferPool::new(LIMIT);
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..400usize {
                        let step = (thread * 400 + round).wrapping_mul(0x9e37_79b9);
                        let sizes = [100, 9000, 200_000, 1 << 19, LIMIT];
                        let mut buffer = pool.acquire(sizes[step % sizes.len()]);
                        let room = buffer.capacity();
                        buffer.resize(room, thread as u8);
                        let stats = pool.stats();
                        assert!(stats.lent + stats.kept <= LIMIT);
                        // Who holds one may ask for more, if he takes no for an answer.
                        drop(pool.try_acquire(300_000));
                        assert!(buffer.iter().all(|byte| *byte == thread as u8));
                    }
                });
            }
        });
        let stats = pool.stats();
        assert!(stats.peak <= LIMIT && stats.overdraft == 0, "{stats:?}");
        assert!(stats.waits > 0 && stats.reuses > 0 && stats.evictions > 0, "{stats:?}");
        assert_eq!(stats.lent, 0);
    }

    proptest! {
        #[test]
        fn loans_and_returns_are_counted_exactly(
            ops in proptest::collection::vec((1usize..60_000, any::<bool>()), 1..60),
        ) {
            let pool = BufferPool::new(200_000);
            let mut held = Vec::new();
            for (size, give_back) in ops {
                if give_back {
                    held.pop();
                } else if let Ok(buffer) = pool.try_acquire(size) {
                    held.push(buffer);
                }
                let lent: usize = held.iter().map(|buffer: &PooledBuffer| buffer.capacity()).sum();
                let stats = pool.stats();
                prop_assert_eq!(stats.lent, lent);
                prop_assert!(stats.lent + stats.kept <= 200_000);
            }
        }
    }
}
