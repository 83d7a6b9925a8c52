//! Many small files: gathered into batches, hashed one by one, compressed together in solid blocks.
//! Small is what fits into a block; a file of more than one chunk is cut where it lies in the block.
//!
//! Files come from the walk in lanes, one for each of its threads, so that neighbours stay together:
//! they compress well together. A batch is what one worker takes at a time. How many files
//! that is follows the workers: when they wait, what has been gathered goes at once, and batches get
//! smaller; while they are busy, batches grow to the size that the plan allows, which costs the
//! queue least.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use super::adaptive::Plan;
use super::engine::{
    ATTEMPTS, ChunkInfo, Engine, FileOutcome, FileTask, OpenedFile, Result, SkipCause, Worker,
    is_racy, now_ns,
};
use super::format::object::{ChunkRef, Content};
use super::objects::ListBuilder;
use super::streaming::read_more;
use crate::id::{ChunkId, ObjectId};
use crate::metrics::{BatchMetrics, Stage, StageClock};

/// The batch pipeline.
#[derive(Debug)]
pub struct BatchProcessor {
    /// Most files in a batch.
    batch_size: usize,
    /// Workers that take batches.
    worker_count: usize,
    /// Chunks that this run stores.
    chunk_dedup_cache: Arc<DashMap<ObjectId, ChunkInfo>>,
    performance_metrics: Arc<BatchMetrics>,
    /// Larger files are not for this pipeline.
    largest_file: u64,
    /// Files in the next batch.
    target: AtomicUsize,
    /// What has been gathered in each lane.
    pending: Vec<Mutex<Batch>>,
}

/// Small files for one worker.
#[derive(Debug, Default)]
pub struct Batch {
    files: Vec<FileTask>,
    bytes: u64,
}

/// Fewest files that a batch is made to have.
const MIN_BATCH: usize = 32;
/// Batches that are gathered at once.
const LANES: usize = 64;
/// Bytes worth a worker's while, when it has nothing else to do.
const EARLY_BYTES: u64 = 128 << 10;

/// What reading one file came to.
enum Attempt {
    Stored(FileOutcome),
    Grown(FileTask),
    Changed,
}

impl BatchProcessor {
    /// Works as the engine's plan says.
    pub fn new(engine: &Engine) -> Self {
        Self {
            batch_size: engine.planner.limits().batch_files,
            worker_count: engine.planner.most_workers(),
            chunk_dedup_cache: Arc::clone(&engine.chunk_dedup),
            performance_metrics: Arc::clone(&engine.metrics.batch),
            largest_file: engine.plan().segment_bytes as u64,
            target: AtomicUsize::new(engine.planner.limits().batch_files),
            pending: (0..LANES).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether a file of `size` bytes is small.
    pub fn takes(&self, size: u64) -> bool {
        size <= self.largest_file
    }

    /// Takes a file in that comes in a `lane` with its neighbours; `waiting` is how many pieces of
    /// work wait for workers. Returns a batch that is complete.
    pub fn gather(
        &self,
        lane: usize,
        task: FileTask,
        plan: &Plan,
        waiting: usize,
    ) -> Option<Batch> {
        let pending = &self.pending[lane % LANES];
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.bytes += task.size;
        pending.files.push(task);
        let most = self.batch_size.min(plan.batch_files);
        let target = self.target.load(Relaxed).min(most);
        let is_full = pending.files.len() >= target || pending.bytes >= plan.solid_bytes as u64;
        let is_early = waiting == 0 && !is_full && pending.bytes >= EARLY_BYTES;
        if !is_full && !is_early {
            return None;
        }
        let next = if is_early { target / 2 } else { target.saturating_mul(2) };
        if is_early || waiting >= self.worker_count {
            self.target.store(next.max(MIN_BATCH).min(most), Relaxed);
        }
        self.performance_metrics.add_batch(is_early);
        Some(std::mem::take(&mut *pending))
    }

    /// What was gathered and makes no whole batches.
    pub fn rest(&self) -> impl Iterator<Item = Batch> + '_ {
        let take = |pending: &Mutex<Batch>| {
            std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let rest = self.pending.iter().map(take).filter(|batch| !batch.files.is_empty());
        rest.inspect(|_| self.performance_metrics.add_batch(false))
    }

    /// Stores the files of one batch; a file that cannot be read is noted and left out. Those that
    /// have grown large since the walk saw them come back.
    pub fn process(&self, worker: &mut Worker<'_>, batch: &Batch) -> Result<Vec<FileTask>> {
        let mut grown = Vec::new();
        let mut clock = StageClock::default();
        for task in &batch.files {
            worker.engine.check_cancel()?;
            grown.extend(self.process_file(worker, task, &mut clock)?);
        }
        clock.flush(&worker.engine.metrics);
        Ok(grown)
    }

    fn process_file(
        &self,
        worker: &mut Worker<'_>,
        task: &FileTask,
        clock: &mut StageClock,
    ) -> Result<Option<FileTask>> {
        for _ in 0..ATTEMPTS {
            match self.attempt(worker, task, clock)? {
                Ok(Attempt::Stored(outcome)) => {
                    worker.engine.monitor.advance(1, outcome.stat.size);
                    worker.stored(outcome);
                    return Ok(None);
                }
                Ok(Attempt::Grown(task)) => return Ok(Some(task)),
                Ok(Attempt::Changed) => {}
                Err(cause) => {
                    worker.skipped(&task.path, cause);
                    return Ok(None);
                }
            }
        }
        worker.skipped(&task.path, SkipCause::Changed);
        Ok(None)
    }

    fn attempt(
        &self,
        worker: &mut Worker<'_>,
        task: &FileTask,
        clock: &mut StageClock,
    ) -> Result<std::result::Result<Attempt, SkipCause>> {
        clock.restart();
        let started = now_ns();
        let opened = match worker.source.open(&task.path) {
            Ok(opened) if opened.is_regular => opened,
            Ok(_) => return Ok(Err(SkipCause::NotRegular)),
            Err(error) => return Ok(Err(SkipCause::Unreadable(error))),
        };
        let size = opened.stat.size;
        if !self.takes(size) {
            return Ok(Ok(Attempt::Grown(FileTask { size, ..task.clone() })));
        }
        let start = worker.solid.plain.len();
        let solid = worker.solid_with_room(self.largest_file as usize);
        let read = read_small(&opened, solid)
            .and_then(|is_whole| is_whole.then(|| worker.source.stat(&opened.file)).transpose());
        clock.lap(Stage::Reading);
        match read {
            Ok(Some(after)) if after == opened.stat => {}
            Ok(after) => {
                worker.solid.plain.truncate(start);
                // Files of `/proc`, and of some network drives, have no size until they are read.
                let has_no_size = size == 0 && after.is_none();
                if has_no_size
                    && worker.source.stat(&opened.file).is_ok_and(|now| now == opened.stat)
                {
                    return Ok(Err(SkipCause::Unreadable(io::Error::other(NO_SIZE))));
                }
                return Ok(Ok(Attempt::Changed));
            }
            Err(error) => {
                worker.solid.plain.truncate(start);
                return Ok(Err(SkipCause::Unreadable(error)));
            }
        }
        let content = self.store(worker, start, clock)?;
        let racy = is_racy(&opened.stat, started);
        let OpenedFile { stat, executable, .. } = opened;
        let path = task.path.clone();
        Ok(Ok(Attempt::Stored(FileOutcome { path, stat, executable, content, racy })))
    }

    /// Stores what lies in the solid block from `start` on as one file.
    pub(in crate::storage) fn store_solid(
        &self,
        worker: &mut Worker<'_>,
        start: usize,
    ) -> Result<Content> {
        let mut clock = StageClock::default();
        clock.restart();
        let content = self.store(worker, start, &mut clock)?;
        clock.flush(&worker.engine.metrics);
        Ok(content)
    }

    /// Hashes what was read to the end of the solid block and keeps what is new of it.
    fn store(
        &self,
        worker: &mut Worker<'_>,
        start: usize,
        clock: &mut StageClock,
    ) -> Result<Content> {
        let len = worker.solid.plain.len() - start;
        let content = if len == 0 {
            Content::Empty
        } else if len <= worker.engine.chunker.params().whole_file as usize {
            let id = ChunkId::of(&worker.solid.plain[start..]);
            clock.lap(Stage::Hashing);
            self.keep(worker, (start, start), ChunkRef { id, len: len as u32 });
            Content::Chunk(id)
        } else {
            self.store_chunks(worker, start, clock)?
        };
        if worker.solid.plain.len() >= worker.plan.solid_bytes {
            worker.flush_solid()?;
            clock.restart();
        }
        Ok(content)
    }

    /// Cuts a file of several chunks and squeezes those out that are stored already.
    fn store_chunks(
        &self,
        worker: &mut Worker<'_>,
        start: usize,
        clock: &mut StageClock,
    ) -> Result<Content> {
        let mut lengths = Vec::new();
        worker.engine.chunker.cut_all(&worker.solid.plain[start..], true, &mut lengths);
        clock.lap(Stage::Chunking);
        let mut list = ListBuilder::default();
        let (mut from, mut to) = (start, start);
        for len in lengths {
            let id = ChunkId::of(&worker.solid.plain[from..from + len as usize]);
            let chunk = ChunkRef { id, len };
            clock.lap(Stage::Hashing);
            let next = self.keep(worker, (from, to), chunk);
            list.push(chunk, worker)?;
            (from, to) = (from + len as usize, next);
        }
        worker.solid.plain.truncate(to);
        let (_, content) = list.finish(worker)?;
        Ok(content)
    }

    /// Moves a chunk of the solid block to where the last one that is kept ends, if it is new; else
    /// leaves it out. Returns where the chunks that are kept end.
    fn keep(&self, worker: &mut Worker<'_>, (from, to): (usize, usize), chunk: ChunkRef) -> usize {
        let id = ObjectId::from(chunk.id);
        // A shared lock first: in copies of a tree most chunks are under way already.
        let is_known = self.chunk_dedup_cache.contains_key(&id);
        if is_known {
            worker.engine.metrics.add_deduplicated();
        }
        let len = chunk.len as usize;
        if is_known || !worker.claim_chunk(id, chunk.len) {
            if from + len == worker.solid.plain.len() {
                worker.solid.plain.truncate(to);
            }
            return to;
        }
        if from != to {
            worker.solid.plain.copy_within(from..from + len, to);
        }
        worker.solid.chunks.push((id, chunk.len));
        to + len
    }
}

/// Why a file is left out that holds what its size does not tell.
const NO_SIZE: &str = "it holds bytes, but its size is said to be 0";

/// Appends a small file's bytes; `false` when it is shorter than it was, or not empty though its size
/// is 0.
fn read_small(opened: &OpenedFile, out: &mut Vec<u8>) -> io::Result<bool> {
    let (start, size) = (out.len(), opened.stat.size as usize);
    if size == 0 {
        return Ok(read_more(&opened.file, out, 1, 0)? == 0);
    }
    while out.len() < start + size {
        let at = out.len() - start;
        if read_more(&opened.file, out, size - at, at as u64)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
