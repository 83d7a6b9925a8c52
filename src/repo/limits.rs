//! How much memory and how many threads a command that reads may use, from
//! `performance.max_memory_usage`.

use super::Repository;
use crate::config::Performance;
use crate::storage::queues::available_cores;

const MIB: u64 = 1 << 20;

/// Shares of the memory of a command that reads. With the rest it holds the program itself, the
/// pages of the tables that it looks things up in, and what each thread needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Threads that decode, hash and write.
    pub threads: usize,
    /// Bytes of decoded blocks that are kept.
    pub cache: usize,
    /// Bytes of decoded blocks that are in use.
    pub buffers: usize,
    /// Bytes of what is planned and not done yet: paths and places of files.
    pub plan: usize,
}

/// What a thread needs besides its block: its payload, zstd's tables, its stack.
const THREAD: u64 = 4 * MIB;

impl ReadLimits {
    /// The limits for settings; `cores` are those of the machine.
    pub fn new(performance: &Performance, cores: usize) -> Self {
        let memory = performance.max_memory_usage.0;
        let wanted = match performance.max_worker_threads {
            0 => cores,
            threads => threads,
        };
        let threads = (wanted as u64).clamp(1, (memory / 4 / THREAD).max(1));
        // A block has about 1 MiB: four for each thread are more than are in use at once.
        let buffers = (memory / 4).min((threads * 4 * MIB).max(8 * MIB));
        let cache = (memory / 32).max(16 * MIB).min(memory / 4);
        let cache = cache.min(performance.chunk_cache_size.0);
        let plan = (memory / 16).clamp(2 * MIB, 32 * MIB);
        Self {
            threads: threads as usize,
            cache: cache as usize,
            buffers: buffers as usize,
            plan: plan as usize,
        }
    }
}

impl Repository {
    /// What a command that reads may use.
    pub fn read_limits(&self) -> ReadLimits {
        ReadLimits::new(&self.config().performance, available_cores())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    fn limits(memory: u64, cache: u64, threads: usize, cores: usize) -> ReadLimits {
        let performance = Performance {
            max_memory_usage: ByteSize(memory),
            chunk_cache_size: ByteSize(cache),
            max_worker_threads: threads,
            ..Performance::default()
        };
        ReadLimits::new(&performance, cores)
    }

    #[test]
    fn the_shares_leave_room_whatever_the_machine() {
        for memory in [64 * MIB, 100 * MIB, 256 * MIB, 2048 * MIB, 1 << 40] {
            for cores in [1, 2, 16, 1024] {
                let limits = limits(memory, u64::MAX, 0, cores);
                let shares = limits.cache + limits.buffers + limits.plan;
                let used = shares as u64 + limits.threads as u64 * THREAD;
                assert!(used <= memory * 7 / 8, "{memory} bytes, {cores} cores: {limits:?}");
                assert!(limits.threads >= 1 && limits.threads <= cores);
            }
        }
    }

    #[test]
    fn settings_count_where_there_is_room() {
        assert_eq!(limits(2048 * MIB, 7, 3, 8).cache, 7);
        assert_eq!(limits(2048 * MIB, u64::MAX, 3, 8).cache, 64 << 20);
        assert_eq!(limits(2048 * MIB, 0, 3, 8).threads, 3);
        assert_eq!(limits(64 * MIB, 0, 100, 8).threads, 4);
        assert_eq!(limits(64 * MIB, u64::MAX, 0, 8).cache, 16 << 20);
    }
}
