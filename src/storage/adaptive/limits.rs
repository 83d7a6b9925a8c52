//! What settings and machine allow, and what a worker costs in memory.

use zstd::zstd_safe::compress_bound;

use crate::config::Config;

/// Parameters that tuning may move; everything else of a plan follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// Worker threads.
    pub workers: usize,
    /// Bytes of small files that make a solid block.
    pub solid_bytes: usize,
    /// zstd level of solid blocks.
    pub solid_level: i32,
    /// Most files in one batch.
    pub batch_files: usize,
}

/// Solid block, where nothing speaks against it. The Linux source takes 2 % less in blocks of this
/// size than in blocks of half of it, in the same time; one small file costs decoding one block.
const SOLID: usize = 2 << 20;
/// Segment, where nothing speaks against it: it stays in a core's cache from reading to compressing.
const SEGMENT: usize = 1 << 20;
/// Smallest solid block that memory makes.
const MIN_SOLID: usize = 256 << 10;
/// Smallest segment that memory makes.
const MIN_SEGMENT: usize = 512 << 10;
/// Segments of large files that are under way for each worker.
pub const SEGMENTS_PER_WORKER: usize = 3;
/// Trees and lists that a worker gathers for a block.
const META_BLOCK: u64 = 256 << 10;
/// Solid blocks take level 3, segments of large files level 1: small files are bound by opening and
/// reading as well as by compression, a large one by compression alone. What that comes to is in
/// `docs/performance.md`.
const SOLID_LEVEL: i32 = 3;
/// See [`SOLID_LEVEL`].
pub(super) const SEGMENT_LEVEL: i32 = 1;

/// What the machine and the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Cores.
    pub cores: usize,
    /// Most worker threads; 0 takes twice the cores.
    pub max_workers: usize,
    /// Most files in one batch.
    pub batch_files: usize,
    /// Whether the user set that.
    pub batch_is_set: bool,
    /// Bytes of one read of a large file.
    pub buffer_bytes: usize,
    /// Most memory that the user allows.
    pub memory: u64,
    /// Memory that the machine, or the control group, has left; `None` if it does not say.
    pub available: Option<u64>,
    /// Most bytes of decoded chunks in the cache.
    pub chunk_cache: u64,
    /// Most bytes of staged metadata held back.
    pub file_cache: u64,
    /// Files above this may be mapped.
    pub map_above: u64,
    /// Files above this are spread over the workers.
    pub spread_above: u64,
    /// Whether the user set that.
    pub spread_is_set: bool,
    /// Level fixed by the user, if any.
    pub level: Option<i32>,
    /// Bytes behind a segment that its last cut may need: the longest chunk.
    pub lookahead: usize,
    /// Whether earlier runs may tune what the user left open.
    pub auto_tune: bool,
}

/// A point that fits into memory, and what had to give way for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitted {
    /// The point.
    pub point: Point,
    /// Bytes of a segment.
    pub segment_bytes: usize,
    /// Bytes of one worker.
    pub worker_bytes: u64,
    /// There are fewer workers than wanted.
    pub has_fewer_workers: bool,
    /// Blocks are smaller than wanted.
    pub has_smaller_blocks: bool,
}

impl Limits {
    /// The limits that settings and machine set.
    pub fn new(config: &Config, cores: usize, available: Option<u64>, lookahead: usize) -> Self {
        let performance = &config.performance;
        Self {
            cores: cores.max(1),
            max_workers: performance.max_worker_threads,
            batch_files: performance.batch_size,
            batch_is_set: config.is_set("performance.batch_size"),
            buffer_bytes: performance.buffer_size.as_usize(),
            memory: performance.max_memory_usage.0,
            available,
            chunk_cache: performance.chunk_cache_size.0,
            file_cache: performance.file_cache_size.0,
            map_above: performance.memory_map_threshold.0,
            spread_above: performance.streaming_threshold.0,
            spread_is_set: config.is_set("performance.streaming_threshold"),
            level: config.compression.level.fixed(),
            lookahead,
            auto_tune: performance.auto_tune,
        }
    }

    /// Most memory for buffers and caches: what the user allows, and the machine has.
    pub fn ceiling(&self) -> u64 {
        self.available.map_or(self.memory, |available| self.memory.min(available))
    }

    /// The half of the ceiling that the pipelines share; the rest is for caches, indexes and what
    /// the allocator keeps.
    pub fn pipelines(&self) -> u64 {
        self.ceiling() / 2
    }

    /// Bytes that may wait for the writer.
    pub fn queue_bytes(&self) -> usize {
        (self.pipelines() / 8).clamp(512 << 10, 16 << 20) as usize
    }

    /// Bound of the buffer pool. What workers and queue can hold together stays below it
    /// ([`Self::fit`]), so nobody waits for a buffer while he holds another. Where the machine has
    /// less left than one worker with the smallest blocks takes, it is that, or the run would wait
    /// for itself.
    pub fn pool_bytes(&self) -> usize {
        // The queue takes one block even if that is larger than the queue.
        let largest = compress_bound(MIN_SEGMENT + self.lookahead.max(MIN_SOLID));
        let queue = self.queue_bytes().max(largest) as u64;
        let least = self.pooled_bytes(MIN_SOLID + MIN_SEGMENT, MIN_SEGMENT) + queue;
        usize::try_from(self.pipelines().max(least)).unwrap_or(usize::MAX)
    }

    /// Bytes of files that were found and wait for a worker.
    pub fn ahead_bytes(&self) -> u64 {
        (self.pipelines() / 16).min(64 << 20)
    }

    /// What is left of the pipelines' share for workers.
    pub fn worker_room(&self) -> u64 {
        self.pipelines().saturating_sub(self.queue_bytes() as u64 + self.ahead_bytes())
    }

    /// Most bytes of decoded chunks that are kept: half of the ceiling, so that what is in flight
    /// has room too.
    pub fn chunk_cache_bytes(&self) -> u64 {
        self.chunk_cache.min(self.ceiling() / 2)
    }

    /// Worker threads when nothing else speaks: what the user set, or twice the cores.
    pub fn wanted_workers(&self) -> usize {
        if self.max_workers == 0 { self.cores * 2 } else { self.max_workers }
    }

    /// Most bytes of staged metadata that are held back: a quarter of the ceiling, beside the
    /// pipelines that are at work meanwhile.
    pub fn file_cache_bytes(&self) -> u64 {
        self.file_cache.min(self.ceiling() / 4)
    }

    /// The point that a run takes when no earlier run proved another one better.
    pub fn base_point(&self) -> Point {
        Point {
            workers: self.wanted_workers(),
            solid_bytes: SOLID,
            solid_level: self.level.unwrap_or(SOLID_LEVEL),
            batch_files: self.batch_files.max(1),
        }
    }

    /// Level of segments of large files.
    pub fn segment_level(&self) -> i32 {
        self.level.unwrap_or(SEGMENT_LEVEL)
    }

    /// Bytes of one worker: a solid block with the last file in it, segments with their lookahead (the
    /// one at hand and those that wait for others), metadata, the compressed form of the larger
    /// one, and zstd's own memory.
    pub fn worker_bytes(&self, point: &Point, segment_bytes: usize) -> u64 {
        let solid = point.solid_bytes + segment_bytes;
        let largest = solid.max(segment_bytes + self.lookahead);
        let level = point.solid_level.max(self.segment_level());
        self.pooled_bytes(solid, segment_bytes) + context_bytes(level, largest)
    }

    /// What of [`Self::worker_bytes`] comes from the pool.
    fn pooled_bytes(&self, solid: usize, segment_bytes: usize) -> u64 {
        let segment = segment_bytes + self.lookahead;
        let largest = solid.max(segment);
        let buffers = solid + SEGMENTS_PER_WORKER * segment + compress_bound(largest);
        buffers as u64 + META_BLOCK
    }

    /// Makes a point fit into memory: fewer workers first, smaller blocks when even one is too
    /// large.
    pub fn fit(&self, wanted: Point) -> Fitted {
        let room = self.worker_room();
        let (mut point, mut segment_bytes) = (wanted, SEGMENT);
        let mut worker_bytes = self.worker_bytes(&point, segment_bytes);
        while worker_bytes > room && (point.solid_bytes > MIN_SOLID || segment_bytes > MIN_SEGMENT)
        {
            point.solid_bytes = (point.solid_bytes / 2).max(MIN_SOLID).min(point.solid_bytes);
            segment_bytes = (segment_bytes / 2).max(MIN_SEGMENT);
            worker_bytes = self.worker_bytes(&point, segment_bytes);
        }
        let affordable = usize::try_from(room / worker_bytes).unwrap_or(usize::MAX).max(1);
        point.workers = point.workers.min(affordable).max(1);
        Fitted {
            point,
            segment_bytes,
            worker_bytes,
            has_fewer_workers: point.workers < wanted.workers,
            has_smaller_blocks: point.solid_bytes < wanted.solid_bytes || segment_bytes < SEGMENT,
        }
    }
}

/// Bytes of a zstd compression context for blocks of `block` bytes: what `ZSTD_sizeof_CCtx` says of
/// zstd 1.5.7 after the first block, rounded up; a test compares. Up to level 8 the tables have a
/// size of their own, above they grow with the window, which is that of the block.
pub fn context_bytes(level: i32, block: usize) -> u64 {
    let most: u64 = match level {
        ..=1 => 600 << 10,
        2 => 800 << 10,
        3 => 1300 << 10,
        4 => 2600 << 10,
        5..=6 => 3100 << 10,
        7..=8 => 5700 << 10,
        9 => 11 << 20,
        10 => 21 << 20,
        11..=12 => 42 << 20,
        13..=15 => 68 << 20,
        _ => 86 << 20,
    };
    let window = block.next_power_of_two() as u64;
    most.min((5 << 19) + 17 * window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd::zstd_safe::{CCtx, CParameter};

    #[test]
    fn a_context_takes_what_is_said_and_not_much_less() {
        for level in [-7, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 19] {
            for block in [256 << 10, 768 << 10, 1 << 20, (5 << 20) / 4, 4 << 20] {
                let mut context = CCtx::create();
                context.set_parameter(CParameter::CompressionLevel(level)).unwrap();
                let mut out = Vec::with_capacity(compress_bound(block));
                context.compress2(&mut out, &vec![7; block]).unwrap();
                let (real, said) = (context.sizeof() as u64, context_bytes(level, block));
                assert!(real <= said, "level {level}, {block}: {real} > {said}");
                assert!(said <= real * 3, "level {level}, {block}: {said} for {real}");
            }
        }
    }
}
