//! The history of runs: what `add`, `commit`, `restore` and `get` did and how long it took, for
//! statistics and for tuning. A cache: whatever is wrong with it never fails a command.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Repository;
use crate::metrics::MetricsSnapshot;
use crate::storage::adaptive::Plan;
use crate::storage::adaptive::machine::peak_memory;
use crate::storage::cache::CacheStats;
use crate::storage::disk::{Disk, DiskError};
use crate::storage::format::FormatError;
use crate::storage::format::run_history::{
    MAX_FILE, RunCommand, RunCounters, RunHistory, RunParameters, RunRecord,
};

/// The directory of the history.
const METRICS_DIR: &str = "metrics";
pub(super) const HISTORY: &str = "metrics/history";

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is damaged, or of a newer release.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl HistoryError {
    /// Whether the file is none that any release wrote, so that nothing is lost with it.
    fn is_damage(&self) -> bool {
        match self {
            Self::Disk(error) => error.source.kind() == ErrorKind::FileTooLarge,
            Self::Format(error) => !error.is_newer(),
        }
    }
}

/// What a command knows of its run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The command.
    pub command: RunCommand,
    /// How it worked at its end, if a plan was made.
    pub plan: Option<Plan>,
    /// What it counted.
    pub metrics: MetricsSnapshot,
    /// What the cache of decoded blocks did.
    pub cache: CacheStats,
    /// Time by the clock, from command entry.
    pub wall: Duration,
}

impl Run {
    /// A run that read stored files and wrote them elsewhere.
    pub fn reading(
        repository: &Repository,
        command: RunCommand,
        files: u64,
        bytes: u64,
        wall: Duration,
    ) -> super::Result<Self> {
        let metrics = MetricsSnapshot {
            files_processed: files,
            bytes_processed: bytes,
            processing_seconds: wall.as_secs_f64(),
            ..MetricsSnapshot::default()
        };
        let cache = repository.objects()?.reader().cache_stats();
        Ok(Self { command, plan: None, metrics, cache, wall })
    }
}

pub(super) fn read(disk: &dyn Disk) -> Result<RunHistory, HistoryError> {
    match disk.read(HISTORY.as_ref(), MAX_FILE)? {
        Some(bytes) => Ok(RunHistory::decode(&bytes)?),
        None => Ok(RunHistory::default()),
    }
}

impl Repository {
    /// The last runs; an error if they cannot be read. No history is an empty one.
    pub fn read_run_history(&self) -> Result<RunHistory, HistoryError> {
        read(&*self.disk)
    }

    /// Appends a run. Two commands that end at once may lose one of the two records. The error is
    /// worth a word to those who asked for details and no more; a damaged history is begun anew.
    pub fn note_run(&self, run: &Run) -> Result<(), HistoryError> {
        let (mut history, damage) = match self.read_run_history() {
            Ok(history) => (history, None),
            Err(error) if error.is_damage() => (RunHistory::default(), Some(error)),
            Err(error) => return Err(error),
        };
        history.push(record(run));
        self.disk.create_dir(Path::new(METRICS_DIR))?;
        self.disk.replace_cache(HISTORY.as_ref(), &history.encode())?;
        damage.map_or(Ok(()), Err)
    }
}

fn nanos(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).map_or(0, whole)
}

fn whole(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The record of a run that ends now.
fn record(run: &Run) -> RunRecord {
    let metrics = &run.metrics;
    let stages = &metrics.stage_seconds;
    let waits = &metrics.wait_seconds;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RunRecord {
        finished: now.as_secs().cast_signed(),
        workload: run.plan.map_or(0, |plan| plan.workload.number()),
        strategy: run.plan.map_or(0, |plan| plan.strategy.number()),
        tuned: run.plan.is_some_and(|plan| plan.tuned),
        parameters: run.plan.as_ref().map(parameters).unwrap_or_default(),
        counters: counters(metrics),
        stage_nanos: [
            stages.reading,
            stages.chunking,
            stages.hashing,
            stages.compressing,
            stages.writing,
        ]
        .map(nanos),
        wait_nanos: [waits.worker_for_writer, waits.worker_for_files, waits.writer_for_workers]
            .map(nanos),
        wall_nanos: whole(run.wall),
        processing_nanos: nanos(metrics.processing_seconds),
        cache: [run.cache.hot_hits, run.cache.warm_hits, run.cache.misses, run.cache.evictions],
        peak_memory: peak_memory(),
        ..RunRecord::new(run.command)
    }
}

fn parameters(plan: &Plan) -> RunParameters {
    RunParameters {
        workers: plan.workers as u32,
        batch_files: plan.batch_files as u32,
        solid_bytes: plan.solid_bytes as u32,
        segment_bytes: plan.segment_bytes as u32,
        buffer_bytes: plan.buffer_bytes as u32,
        solid_level: plan.solid_level,
        segment_level: plan.segment_level,
        queue_bytes: plan.queue_bytes as u64,
        pool_bytes: plan.pool_bytes as u64,
    }
}

fn counters(metrics: &MetricsSnapshot) -> RunCounters {
    RunCounters {
        files_processed: metrics.files_processed,
        bytes_processed: metrics.bytes_processed,
        chunks_created: metrics.chunks_created,
        chunks_deduplicated: metrics.chunks_deduplicated,
        bytes_new: metrics.bytes_new,
        bytes_stored: metrics.bytes_stored,
        bytes_raw: metrics.bytes_raw,
        blocks_written: metrics.blocks_written,
        bytes_mapped: metrics.bytes_mapped,
        bytes_in_holes: metrics.bytes_in_holes,
        chunks_predicted: metrics.chunks_predicted,
        bytes_chunked_twice: metrics.bytes_chunked_twice,
        batches: metrics.batches,
        files_spread: metrics.files_spread,
        peak_pool_bytes: metrics.peak_pool_bytes,
    }
}
