//! What an operation did and where its time went: measured, never estimated.

use std::sync::Arc;
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

/// A reason why a thread stood still; its time is summed over all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A worker waits until the writer's queue has room for its block.
    WorkerForWriter,
    /// A worker waits until the walk finds something to do.
    WorkerForFiles,
    /// The writer waits for a block.
    WriterForWorkers,
}

impl Wait {
    const COUNT: usize = 3;
}

/// Counters of the batches that small files go in.
#[derive(Debug, Default)]
pub struct BatchMetrics {
    /// Batches.
    pub batches: AtomicUsize,
    /// Batches among them that went before they were full, because workers waited.
    pub early: AtomicUsize,
}

impl BatchMetrics {
    /// Counts one batch.
    pub fn add_batch(&self, is_early: bool) {
        self.batches.fetch_add(1, Relaxed);
        self.early.fetch_add(usize::from(is_early), Relaxed);
    }
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
    /// Bytes of files that were mapped into memory instead of read.
    pub bytes_mapped: AtomicU64,
    /// Bytes of files that lie in holes and were neither read nor written.
    pub bytes_in_holes: AtomicU64,
    /// Chunks whose boundaries were taken from the file's earlier version, and proved right.
    pub chunks_predicted: AtomicUsize,
    /// Bytes that two workers cut, where their pieces of a file meet.
    pub bytes_chunked_twice: AtomicU64,
    /// Batches of small files.
    pub batch: Arc<BatchMetrics>,
    /// Files whose pieces were spread over the workers.
    pub files_spread: AtomicUsize,
    /// System calls that read large files.
    pub reads: AtomicUsize,
    peak_pool_bytes: AtomicU64,
    processing_nanos: AtomicU64,
    stage_nanos: [AtomicU64; Stage::COUNT],
    wait_nanos: [AtomicU64; Wait::COUNT],
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

    /// Counts bytes that were mapped instead of read.
    pub fn add_mapped(&self, bytes: u64) {
        self.bytes_mapped.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that lie in holes.
    pub fn add_hole(&self, bytes: u64) {
        self.bytes_in_holes.fetch_add(bytes, Relaxed);
    }

    /// Counts chunks whose boundaries were predicted.
    pub fn add_predicted(&self, chunks: usize) {
        self.chunks_predicted.fetch_add(chunks, Relaxed);
    }

    /// Counts bytes that were cut twice.
    pub fn add_chunked_twice(&self, bytes: u64) {
        self.bytes_chunked_twice.fetch_add(bytes, Relaxed);
    }

    /// Counts one file whose pieces are spread over the workers.
    pub fn add_spread(&self) {
        self.files_spread.fetch_add(1, Relaxed);
    }

    /// Counts system calls that read a large file.
    pub fn add_reads(&self, calls: usize) {
        self.reads.fetch_add(calls, Relaxed);
    }

    /// Notes the bytes that the buffer pool keeps now.
    pub fn note_pool(&self, bytes: u64) {
        self.peak_pool_bytes.fetch_max(bytes, Relaxed);
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

    /// Runs one step that may stand still, and adds its time to the reason.
    pub fn wait<T>(&self, wait: Wait, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.add_wait(wait, start.elapsed());
        result
    }

    /// Adds time that a thread stood still.
    pub fn add_wait(&self, wait: Wait, time: Duration) {
        self.wait_nanos[wait as usize].fetch_add(nanos(time), Relaxed);
    }

    fn wait_seconds(&self, wait: Wait) -> f64 {
        Duration::from_nanos(self.wait_nanos[wait as usize].load(Relaxed)).as_secs_f64()
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
            bytes_mapped: self.bytes_mapped.load(Relaxed),
            bytes_in_holes: self.bytes_in_holes.load(Relaxed),
            chunks_predicted: self.chunks_predicted.load(Relaxed) as u64,
            bytes_chunked_twice: self.bytes_chunked_twice.load(Relaxed),
            batches: self.batch.batches.load(Relaxed) as u64,
            batches_early: self.batch.early.load(Relaxed) as u64,
            files_spread: self.files_spread.load(Relaxed) as u64,
            reads: self.reads.load(Relaxed) as u64,
            peak_pool_bytes: self.peak_pool_bytes.load(Relaxed),
            processing_seconds: self.processing_time().as_secs_f64(),
            stage_seconds: StageSeconds {
                reading: self.stage_seconds(Stage::Reading),
                chunking: self.stage_seconds(Stage::Chunking),
                hashing: self.stage_seconds(Stage::Hashing),
                compressing: self.stage_seconds(Stage::Compressing),
                writing: self.stage_seconds(Stage::Writing),
            },
            wait_seconds: WaitSeconds {
                worker_for_writer: self.wait_seconds(Wait::WorkerForWriter),
                worker_for_files: self.wait_seconds(Wait::WorkerForFiles),
                writer_for_workers: self.wait_seconds(Wait::WriterForWorkers),
            },
        }
    }
}

/// Values of [`PerformanceMetrics`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
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
    /// Bytes of files that were mapped into memory instead of read.
    pub bytes_mapped: u64,
    /// Bytes of files that lie in holes and were neither read nor written.
    pub bytes_in_holes: u64,
    /// Chunks whose boundaries were taken from the file's earlier version, and proved right.
    pub chunks_predicted: u64,
    /// Bytes that two workers cut, where their pieces of a file meet.
    pub bytes_chunked_twice: u64,
    /// Batches of small files.
    pub batches: u64,
    /// Batches among them that went before they were full, because workers waited.
    pub batches_early: u64,
    /// Files whose pieces were spread over the workers.
    pub files_spread: u64,
    /// System calls that read large files.
    pub reads: u64,
    /// Most bytes that the buffer pool kept for reuse.
    pub peak_pool_bytes: u64,
    /// Time by the clock spent processing.
    pub processing_seconds: f64,
    /// Time of each step, summed over all workers.
    pub stage_seconds: StageSeconds,
    /// Time that threads stood still, summed over all of them.
    pub wait_seconds: WaitSeconds,
}

/// Seconds spent in each step, summed over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
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

/// Seconds that threads stood still.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct WaitSeconds {
    /// Workers, until the writer's queue had room.
    pub worker_for_writer: f64,
    /// Workers, until the walk found something to do.
    pub worker_for_files: f64,
    /// The writer, until a block came.
    pub writer_for_workers: f64,
}

/// A worker's own stopwatch: one look at the clock ends a step and begins the next, and the sums
/// reach the shared counters once for each batch. Files of a kilobyte are read and hashed in a few
/// microseconds, so a pair of looks and an atomic for each step would be felt.
#[derive(Debug)]
pub struct StageClock {
    last: Instant,
    stages: [Duration; Stage::COUNT],
}

impl Default for StageClock {
    fn default() -> Self {
        Self { last: Instant::now(), stages: [Duration::ZERO; Stage::COUNT] }
    }
}

impl StageClock {
    /// Forgets the time since the last step: what was done in it belongs to no stage.
    pub fn restart(&mut self) {
        self.last = Instant::now();
    }

    /// Ends a step: the time since the last one is this stage's.
    pub fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.stages[stage as usize] += now.duration_since(self.last);
        self.last = now;
    }

    /// Hands the sums over and begins anew.
    pub fn flush(&mut self, metrics: &PerformanceMetrics) {
        for (index, time) in self.stages.iter_mut().enumerate() {
            let time = nanos(std::mem::take(time));
            if time != 0 {
                metrics.stage_nanos[index].fetch_add(time, Relaxed);
            }
        }
    }
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

    #[test]
    fn what_the_pipelines_note_is_shown() {
        let metrics = PerformanceMetrics::default();
        metrics.add_mapped(1);
        metrics.add_hole(2);
        metrics.add_predicted(3);
        metrics.add_chunked_twice(4);
        metrics.batch.add_batch(true);
        metrics.add_spread();
        metrics.add_reads(7);
        metrics.note_pool(9);
        metrics.note_pool(8);
        metrics.add_wait(Wait::WorkerForFiles, Duration::from_millis(500));
        assert_eq!(metrics.wait(Wait::WriterForWorkers, || 5), 5);
        let shown = metrics.snapshot();
        assert_eq!((shown.bytes_mapped, shown.bytes_in_holes), (1, 2));
        assert_eq!((shown.chunks_predicted, shown.bytes_chunked_twice), (3, 4));
        assert_eq!((shown.batches, shown.files_spread, shown.reads), (1, 1, 7));
        assert_eq!(shown.peak_pool_bytes, 9, "the highest counts, not the last");
        assert!((shown.wait_seconds.worker_for_files - 0.5).abs() < 1e-9);
        assert!(shown.wait_seconds.writer_for_workers > 0.0);
        assert!(shown.wait_seconds.worker_for_writer == 0.0);
    }

    #[test]
    fn a_stopwatch_gives_each_moment_to_one_stage() {
        let metrics = PerformanceMetrics::default();
        let mut clock = StageClock::default();
        let started = clock.last;
        clock.lap(Stage::Reading);
        clock.restart();
        clock.lap(Stage::Hashing);
        let spent = clock.last.duration_since(started);
        clock.flush(&metrics);
        let first = metrics.snapshot().stage_seconds;
        assert!(first.reading + first.hashing <= spent.as_secs_f64() + 1e-9);
        clock.flush(&metrics);
        assert_eq!(metrics.snapshot().stage_seconds, first, "handed over once");
    }
}
