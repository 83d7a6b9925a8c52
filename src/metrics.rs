//! What an operation did and where its time went: measured, never estimated.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A step of processing whose time is summed over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading files.
    Reading,
    /// Finding the boundaries of chunks.
    Chunking,
    /// Hashing.
    Hashing,
    /// Compressing.
    Compressing,
    /// Writing packs.
    Writing,
}

impl Stage {
    const COUNT: usize = 5;
}

/// Counters that all workers of an operation share.
#[derive(Debug, Default)]
pub struct PerformanceMetrics {
    /// Files read to their end.
    pub files_processed: AtomicUsize,
    /// Bytes of those files.
    pub bytes_processed: AtomicU64,
    /// Chunks found in them.
    pub chunks_created: AtomicUsize,
    /// Chunks among them that were stored already.
    pub chunks_deduplicated: AtomicUsize,
    /// Plain bytes of the chunks that were new.
    pub bytes_new: AtomicU64,
    /// Bytes that those take on disk.
    pub bytes_stored: AtomicU64,
    /// Plain bytes among the new ones that were stored as they are.
    pub bytes_raw: AtomicU64,
    /// Blocks written.
    pub blocks_written: AtomicUsize,
    processing_nanos: AtomicU64,
    stage_nanos: [AtomicU64; Stage::COUNT],
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl PerformanceMetrics {
    /// Counts one file read to its end.
    pub fn add_file(&self, bytes: u64) {
        self.files_processed.fetch_add(1, Relaxed);
        self.bytes_processed.fetch_add(bytes, Relaxed);
    }

    /// Counts one chunk of a file that was stored already.
    pub fn add_deduplicated(&self) {
        self.chunks_created.fetch_add(1, Relaxed);
        self.chunks_deduplicated.fetch_add(1, Relaxed);
    }

    /// Counts one new chunk.
    pub fn add_new(&self, bytes: u64) {
        self.chunks_created.fetch_add(1, Relaxed);
        self.bytes_new.fetch_add(bytes, Relaxed);
    }

    /// Counts one block of `plain` bytes that takes `stored` bytes on disk; `raw` if it was stored
    /// as it is.
    pub fn add_block(&self, plain: u64, stored: u64, raw: bool) {
        self.blocks_written.fetch_add(1, Relaxed);
        self.bytes_stored.fetch_add(stored, Relaxed);
        if raw {
            self.bytes_raw.fetch_add(plain, Relaxed);
        }
    }

    /// Adds time by the clock spent processing.
    pub fn add_processing_time(&self, time: Duration) {
        self.processing_nanos.fetch_add(nanos(time), Relaxed);
    }

    /// Time by the clock spent processing.
    pub fn processing_time(&self) -> Duration {
        Duration::from_nanos(self.processing_nanos.load(Relaxed))
    }

    /// Runs one step and adds its time to its stage.
    pub fn time<T>(&self, stage: Stage, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.add_stage(stage, start.elapsed());
        result
    }

    /// Adds time to a stage.
    pub fn add_stage(&self, stage: Stage, time: Duration) {
        self.stage_nanos[stage as usize].fetch_add(nanos(time), Relaxed);
    }

    fn stage_seconds(&self, stage: Stage) -> f64 {
        Duration::from_nanos(self.stage_nanos[stage as usize].load(Relaxed)).as_secs_f64()
    }

    /// The values at this moment.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            files_processed: self.files_processed.load(Relaxed) as u64,
            bytes_processed: self.bytes_processed.load(Relaxed),
            chunks_created: self.chunks_created.load(Relaxed) as u64,
            chunks_deduplicated: self.chunks_deduplicated.load(Relaxed) as u64,
            bytes_new: self.bytes_new.load(Relaxed),
            bytes_stored: self.bytes_stored.load(Relaxed),
            bytes_raw: self.bytes_raw.load(Relaxed),
            blocks_written: self.blocks_written.load(Relaxed) as u64,
            processing_seconds: self.processing_time().as_secs_f64(),
            stage_seconds: StageSeconds {
                reading: self.stage_seconds(Stage::Reading),
                chunking: self.stage_seconds(Stage::Chunking),
                hashing: self.stage_seconds(Stage::Hashing),
                compressing: self.stage_seconds(Stage::Compressing),
                writing: self.stage_seconds(Stage::Writing),
            },
        }
    }
}

/// Values of [`PerformanceMetrics`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricsSnapshot {
    /// Files read to their end.
    pub files_processed: u64,
    /// Bytes of those files.
    pub bytes_processed: u64,
    /// Chunks found in them.
    pub chunks_created: u64,
    /// Chunks among them that were stored already.
    pub chunks_deduplicated: u64,
    /// Plain bytes of the chunks that were new.
    pub bytes_new: u64,
    /// Bytes that those take on disk.
    pub bytes_stored: u64,
    /// Plain bytes among the new ones that were stored as they are.
    pub bytes_raw: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Time by the clock spent processing.
    pub processing_seconds: f64,
    /// Time of each step, summed over all workers.
    pub stage_seconds: StageSeconds,
}

/// Seconds spent in each step, summed over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Reading files.
    pub reading: f64,
    /// Finding the boundaries of chunks.
    pub chunking: f64,
    /// Hashing.
    pub hashing: f64,
    /// Compressing.
    pub compressing: f64,
    /// Writing packs.
    pub writing: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_is_shown() {
        let metrics = PerformanceMetrics::default();
        metrics.add_file(100);
        metrics.add_new(60);
        metrics.add_deduplicated();
        metrics.add_block(60, 20, false);
        metrics.add_block(7, 7, true);
        let shown = metrics.snapshot();
        assert_eq!((shown.files_processed, shown.bytes_processed), (1, 100));
        assert_eq!((shown.chunks_created, shown.chunks_deduplicated), (2, 1));
        assert_eq!((shown.bytes_new, shown.bytes_stored, shown.bytes_raw), (60, 27, 7));
        assert_eq!(shown.blocks_written, 2);
    }

    #[test]
    fn each_stage_keeps_its_own_time() {
        let metrics = PerformanceMetrics::default();
        assert_eq!(metrics.time(Stage::Hashing, || 7), 7);
        metrics.add_stage(Stage::Writing, Duration::from_millis(250));
        metrics.add_processing_time(Duration::from_secs(2));
        metrics.add_processing_time(Duration::from_secs(1));
        let shown = metrics.snapshot();
        assert!(shown.stage_seconds.hashing > 0.0);
        assert!((shown.stage_seconds.writing - 0.25).abs() < 1e-9);
        assert!(shown.stage_seconds.reading == 0.0);
        assert_eq!(metrics.processing_time(), Duration::from_secs(3));
        let json = serde_json::to_value(shown).unwrap();
        assert_eq!(json["processing_seconds"], 3.0);
        assert_eq!(json["stage_seconds"]["writing"], 0.25);
    }
}
