//! Decides how a run works from what is known of the files so far. Pure but for [`machine`]: no
//! disk, no clock.
//!
//! A [`Planner`] is fed the size of each file as the walk finds it and asked for a [`Plan`] for each
//! batch and each large file, so that work starts before the walk ends and the plan follows what it
//! finds. The plan comes from the sizes ([`SizeSketch`]), from what settings and machine allow
//! ([`Limits`]), and from what earlier runs proved better than the defaults ([`tuning`]). None of it
//! changes where files are cut, nor any stored identity.

pub mod limits;
pub mod machine;
mod planner;
pub mod tuning;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub use limits::{Limits, Point};
pub use planner::{Planner, Reason};

/// A file below this is small (64 KiB).
pub const SMALL_FILE: u64 = 64 << 10;
/// A file above this is large (10 MiB).
pub const LARGE_FILE: u64 = 10 << 20;
/// Files above this (4 MiB) have pieces enough to keep several workers busy.
pub const HEAVY_FILE: u64 = 4 << 20;

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

impl WorkloadType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] =
        [Self::ManySmallFiles, Self::FewLargeFiles, Self::Mixed, Self::SingleLargeFile];

    /// The number that the history of runs stores.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name that programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ManySmallFiles => "many-small-files",
            Self::FewLargeFiles => "few-large-files",
            Self::Mixed => "mixed",
            Self::SingleLargeFile => "single-large-file",
        }
    }
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

impl ProcessingStrategy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] =
        [Self::BatchParallel, Self::StreamingLarge, Self::Hybrid, Self::Individual];

    /// The number that the history of runs stores.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name that programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BatchParallel => "batch-parallel",
            Self::StreamingLarge => "streaming-large",
            Self::Hybrid => "hybrid",
            Self::Individual => "individual",
        }
    }
}

impl fmt::Display for ProcessingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BatchParallel => "batches in parallel",
            Self::StreamingLarge => "large files streamed",
            Self::Hybrid => "batches and streams together",
            Self::Individual => "one file at a time",
        })
    }
}

/// How the bytes of a file are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMethod {
    /// System calls that copy a piece at an offset.
    Positioned,
    /// A mapping: nothing is copied, but each new page costs a fault.
    Mapped,
}

/// How a run works from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the files so far look like.
    pub workload: WorkloadType,
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
    /// Bytes of one read of a large file.
    pub buffer_bytes: usize,
    /// Bytes that may wait in each queue; the same for a whole run.
    pub queue_bytes: usize,
    /// Bytes of buffers kept for reuse; the same for a whole run.
    pub pool_bytes: usize,
    /// zstd level of solid blocks.
    pub solid_level: i32,
    /// zstd level of segments of large files.
    pub segment_level: i32,
    /// Files above this are spread over the workers.
    pub spread_above: u64,
    /// Files above this may be mapped.
    pub map_above: u64,
    /// Whether earlier runs changed a parameter.
    pub tuned: bool,
}

impl Plan {
    /// Whether the pieces of a file of `size` bytes are spread over the workers; else one worker
    /// takes it whole.
    pub fn is_spread(&self, size: u64) -> bool {
        self.workers > 1 && size > self.spread_above
    }

    /// How a file of `size` bytes is read.
    ///
    /// A chunk that is stored already is only hashed, and of a mapped file its bytes are then never
    /// copied. A new chunk is compressed and copied anyhow, and faulting its pages in costs more
    /// than one large read, so a file of new chunks is read.
    pub fn read_method(&self, size: u64, has_known_chunks: bool) -> ReadMethod {
        if has_known_chunks && size > self.map_above {
            ReadMethod::Mapped
        } else {
            ReadMethod::Positioned
        }
    }
}

/// Sizes seen so far; filled while the walk goes on.
#[derive(Debug, Default)]
pub struct SizeSketch {
    files: AtomicU64,
    bytes: AtomicU64,
    small_files: AtomicU64,
    large_bytes: AtomicU64,
    heavy_files: AtomicU64,
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
        if size > HEAVY_FILE {
            self.heavy_files.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Files so far.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Those smaller than [`SMALL_FILE`].
    pub fn small_files(&self) -> u64 {
        self.small_files.load(Ordering::Relaxed)
    }

    /// Bytes of those larger than [`LARGE_FILE`].
    pub fn large_bytes(&self) -> u64 {
        self.large_bytes.load(Ordering::Relaxed)
    }

    /// Those larger than [`HEAVY_FILE`].
    pub fn heavy_files(&self) -> u64 {
        self.heavy_files.load(Ordering::Relaxed)
    }

    /// What the files so far look like.
    pub fn workload(&self) -> WorkloadType {
        let (files, bytes) = (u128::from(self.files()), u128::from(self.bytes()));
        let (small, large) = (u128::from(self.small_files()), u128::from(self.large_bytes()));
        if files <= 2 && large > 0 {
            WorkloadType::SingleLargeFile
        } else if large * 5 > bytes * 4 {
            WorkloadType::FewLargeFiles
        } else if small * 5 > files * 4 {
            WorkloadType::ManySmallFiles
        } else {
            WorkloadType::Mixed
        }
    }
}

#[cfg(test)]
mod tests;
