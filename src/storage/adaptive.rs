//! Decides how a run works from what is known of the files so far. Pure: no disk, no clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file below this is small (64 KiB).
pub const SMALL_FILE: u64 = 64 << 10;
/// A file above this is large (10 MiB).
pub const LARGE_FILE: u64 = 10 << 20;

/// What the files of a run look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadType {
    /// More than 80 % of the files are smaller than [`SMALL_FILE`].
    ManySmallFiles,
    /// More than 80 % of the bytes are in files larger than [`LARGE_FILE`].
    FewLargeFiles,
    /// A balanced mix of sizes.
    Mixed,
    /// At most two files, with a large one among them.
    SingleLargeFile,
}

/// How the files are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessingStrategy {
    /// Batches of small files, one worker a batch.
    BatchParallel,
    /// One large file after the other, its segments spread over the workers.
    StreamingLarge,
    /// Batches and segments at once.
    Hybrid,
    /// One file at a time on one worker.
    Individual,
}

impl fmt::Display for WorkloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ManySmallFiles => "many small files",
            Self::FewLargeFiles => "few large files",
            Self::Mixed => "mixed sizes",
            Self::SingleLargeFile => "single large file",
        })
    }
}

/// Sizes seen so far; filled while the walk goes on.
#[derive(Debug, Default)]
pub struct SizeSketch {
    files: AtomicU64,
    bytes: AtomicU64,
    small_files: AtomicU64,
    large_bytes: AtomicU64,
}

impl SizeSketch {
    /// Counts one file.
    pub fn add(&self, size: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        if size < SMALL_FILE {
            self.small_files.fetch_add(1, Ordering::Relaxed);
        }
        if size > LARGE_FILE {
            self.large_bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// What the files so far look like.
    pub fn workload(&self) -> WorkloadType {
        let load = |counter: &AtomicU64| u128::from(counter.load(Ordering::Relaxed));
        let (files, bytes) = (load(&self.files), load(&self.bytes));
        if files <= 2 && load(&self.large_bytes) > 0 {
            WorkloadType::SingleLargeFile
        } else if load(&self.large_bytes) * 5 > bytes * 4 {
            WorkloadType::FewLargeFiles
        } else if load(&self.small_files) * 5 > files * 4 {
            WorkloadType::ManySmallFiles
        } else {
            WorkloadType::Mixed
        }
    }
}

/// What the machine and the settings allow.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Cores.
    pub cores: usize,
    /// Most worker threads; 0 lets the plan choose.
    pub max_workers: usize,
    /// Most files in one batch.
    pub batch_files: usize,
    /// Bytes of memory that the pipelines may use.
    pub memory: u64,
    /// Level fixed by the user, if any.
    pub level: Option<i32>,
    /// Bytes of one positioned read.
    pub buffer_size: usize,
    /// Larger files are mapped where that pays.
    pub mmap_threshold: u64,
    /// Larger files are shared by all workers.
    pub streaming_threshold: u64,
}

/// How a run works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How files are processed.
    pub strategy: ProcessingStrategy,
    /// Worker threads.
    pub workers: usize,
    /// Most files in one batch.
    pub batch_files: usize,
    /// Bytes of small files that make a solid block.
    pub solid_bytes: usize,
    /// Bytes of a large file that one worker takes at a time.
    pub segment_bytes: usize,
    /// Bytes that may wait for the writer.
    pub queue_bytes: usize,
    /// Bytes of one positioned read of a large file.
    pub buffer_size: usize,
    /// Larger files are mapped where most of them should be stored already.
    pub mmap_threshold: u64,
    /// Larger files are shared by all workers even when there is other work.
    pub streaming_threshold: u64,
    /// zstd level of solid blocks.
    pub solid_level: i32,
    /// zstd level of segments of large files.
    pub segment_level: i32,
}

/// Memory of one worker: a solid block, its compressed form, zstd's tables, a segment in the queue.
const WORKER_MEMORY: u64 = 8 << 20;

/// Chooses the plan for a workload.
///
/// Solid blocks take level 3, segments of large files level 1: small files are bound by opening and
/// reading as well as by compression, a large one by compression alone. What that comes to is in
/// `docs/performance.md`.
pub fn plan(workload: WorkloadType, limits: &Limits) -> Plan {
    let strategy = match workload {
        WorkloadType::ManySmallFiles => ProcessingStrategy::BatchParallel,
        WorkloadType::FewLargeFiles | WorkloadType::SingleLargeFile => {
            ProcessingStrategy::StreamingLarge
        }
        WorkloadType::Mixed => ProcessingStrategy::Hybrid,
    };
    let wanted = if limits.max_workers == 0 { limits.cores * 2 } else { limits.max_workers };
    let affordable = (limits.memory / WORKER_MEMORY).max(1) as usize;
    let workers = wanted.min(affordable).max(1);
    let strategy = if workers == 1 { ProcessingStrategy::Individual } else { strategy };
    let queue_bytes = (limits.memory / 4).clamp(4 << 20, 16 << 20) as usize;
    Plan {
        strategy,
        workers,
        batch_files: limits.batch_files.max(1),
        solid_bytes: 1 << 20,
        segment_bytes: 1 << 20,
        queue_bytes,
        buffer_size: limits.buffer_size,
        mmap_threshold: limits.mmap_threshold,
        streaming_threshold: limits.streaming_threshold,
        solid_level: limits.level.unwrap_or(3),
        segment_level: limits.level.unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(sizes: &[(u64, u64)]) -> WorkloadType {
        let sketch = SizeSketch::default();
        for (count, size) in sizes {
            (0..*count).for_each(|_| sketch.add(*size));
        }
        sketch.workload()
    }

    #[test]
    fn workloads_follow_the_thresholds_of_the_specification() {
        use WorkloadType::{FewLargeFiles, ManySmallFiles, Mixed, SingleLargeFile};
        const MIB: u64 = 1 << 20;
        let table: [(&[(u64, u64)], WorkloadType); 9] = [
            (&[], Mixed),
            (&[(1, 1)], ManySmallFiles),
            (&[(100, SMALL_FILE - 1)], ManySmallFiles),
            (&[(100, SMALL_FILE)], Mixed),
            (&[(80, 10), (20, MIB)], Mixed),
            (&[(81, 10), (19, MIB)], ManySmallFiles),
            (&[(1, LARGE_FILE + 1)], SingleLargeFile),
            (&[(3, 100 * MIB), (1000, 10)], FewLargeFiles),
            (&[(3, LARGE_FILE)], Mixed),
        ];
        for (sizes, wanted) in table {
            assert_eq!(workload(sizes), wanted, "{sizes:?}");
        }
    }

    #[test]
    fn workers_stay_within_cores_settings_and_memory() {
        let limits = Limits {
            cores: 4,
            max_workers: 0,
            batch_files: 500,
            memory: 2 << 30,
            level: None,
            buffer_size: 64 << 10,
            mmap_threshold: 10 << 20,
            streaming_threshold: 100 << 20,
        };
        let workers = |limits| plan(WorkloadType::Mixed, &limits).workers;
        assert_eq!(workers(limits), 8);
        assert_eq!(workers(Limits { max_workers: 3, ..limits }), 3);
        assert_eq!(workers(Limits { memory: 16 << 20, ..limits }), 2);
        assert_eq!(workers(Limits { memory: 1, ..limits }), 1);
        let single = plan(WorkloadType::ManySmallFiles, &Limits { max_workers: 1, ..limits });
        assert_eq!(single.strategy, ProcessingStrategy::Individual);
    }
}
