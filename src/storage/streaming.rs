//! One large file: cut by content in flat memory, its segments spread over the workers.
//!
//! The worker that takes a file reads and cuts it, segment by segment. Each segment is offered to
//! the other workers; when their queue is full the reader processes it itself, so nobody waits for
//! anybody. The chunk ids come back in any order and are put in order before they enter the list.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{ATTEMPTS, is_racy, now_ns};
use super::cache::PooledBuffer;
use super::engine::{FileOutcome, FileTask, OpenedFile, Result, SkipCause, Worker};
use super::format::object::{ChunkRef, Content};
use super::format::pack::BlockKind;
use super::format::staging::FileStat;
use super::objects::ListBuilder;
use super::parallel_processor::{ByteSender, Queued};
use crate::id::{ChunkId, ObjectId};
use crate::metrics::Stage;
use crate::path::RepoPath;

/// A piece of a large file, cut and waiting to be hashed and stored.
pub struct Segment {
    file: Arc<LargeFile>,
    number: u64,
    bytes: PooledBuffer,
    lengths: Vec<u32>,
}

/// A large file whose segments are on their way.
struct LargeFile {
    path: RepoPath,
    stat: FileStat,
    executable: bool,
    racy: bool,
    assembly: Mutex<Assembly>,
    /// Segments under way, and one for the reader.
    pending: AtomicUsize,
    /// Set by the reader when the file did not change while it was read.
    sound: AtomicBool,
}

#[derive(Default)]
struct Assembly {
    next: u64,
    waiting: BTreeMap<u64, Vec<ChunkRef>>,
    list: ListBuilder,
}

/// Why reading ended.
enum ReadEnd {
    Whole,
    Changed,
    Unreadable(std::io::Error),
}

/// The streaming pipeline; it keeps no state besides the file at hand.
pub struct StreamingChunkingEngine<'w, 'e> {
    worker: &'w mut Worker<'e>,
    /// Where segments are offered; none when the file is processed alone.
    segments: Option<&'w ByteSender<Segment>>,
}

impl<'w, 'e> StreamingChunkingEngine<'w, 'e> {
    /// Stores one file and offers its segments to the other workers.
    pub fn process_file(
        worker: &'w mut Worker<'e>,
        task: &FileTask,
        segments: &'w ByteSender<Segment>,
    ) -> Result<()> {
        let is_spread = worker.plan.is_spread(task.size);
        if is_spread {
            worker.engine.metrics.add_spread();
        }
        Self { worker, segments: is_spread.then_some(segments) }.run(task)
    }

    /// Stores one file on this worker alone.
    pub fn process_alone(worker: &'w mut Worker<'e>, task: &FileTask) -> Result<()> {
        Self { worker, segments: None }.run(task)
    }

    fn run(&mut self, task: &FileTask) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let started = now_ns();
            let opened = match self.worker.source.open(&task.path) {
                Ok(opened) if opened.is_regular => opened,
                Ok(_) => {
                    self.worker.skipped(&task.path, SkipCause::NotRegular);
                    return Ok(());
                }
                Err(error) => {
                    self.worker.skipped(&task.path, SkipCause::Unreadable(error));
                    return Ok(());
                }
            };
            match self.attempt(task, &opened, started)? {
                ReadEnd::Whole => return Ok(()),
                ReadEnd::Changed => {}
                ReadEnd::Unreadable(error) => {
                    self.worker.skipped(&task.path, SkipCause::Unreadable(error));
                    return Ok(());
                }
            }
        }
        self.worker.skipped(&task.path, SkipCause::Changed);
        Ok(())
    }

    fn attempt(&mut self, task: &FileTask, opened: &OpenedFile, started: i64) -> Result<ReadEnd> {
        let file = Arc::new(LargeFile {
            path: task.path.clone(),
            stat: opened.stat,
            executable: opened.executable,
            racy: is_racy(&opened.stat, started),
            assembly: Mutex::default(),
            pending: AtomicUsize::new(1),
            sound: AtomicBool::new(false),
        });
        let mut end = self.read(&file, opened)?;
        if matches!(end, ReadEnd::Whole) {
            match self.worker.source.stat(&opened.file) {
                Ok(after) if after == opened.stat => file.sound.store(true, Ordering::Release),
                Ok(_) => end = ReadEnd::Changed,
                Err(error) => end = ReadEnd::Unreadable(error),
            }
        }
        file.complete_one(self.worker)?;
        Ok(end)
    }

    /// Reads and cuts the file to its end, or to its first change.
    fn read(&mut self, file: &Arc<LargeFile>, opened: &OpenedFile) -> Result<ReadEnd> {
        let engine = self.worker.engine;
        let plan = self.worker.plan;
        let capacity = plan.segment_bytes + engine.chunker.lookahead();
        let mut buffer = engine.buffers.acquire(capacity);
        let mut total = 0u64;
        for number in 0.. {
            engine.check_cancel()?;
            let before = buffer.len();
            let read = engine
                .metrics
                .time(Stage::Reading, || fill(opened, &mut buffer, capacity, plan.buffer_bytes));
            match read {
                Ok(calls) => engine.metrics.add_reads(calls),
                Err(error) => return Ok(ReadEnd::Unreadable(error)),
            }
            total += (buffer.len() - before) as u64;
            if total > opened.stat.size {
                return Ok(ReadEnd::Changed);
            }
            let is_end = buffer.len() < capacity;
            let mut lengths = Vec::new();
            let cut = engine
                .metrics
                .time(Stage::Chunking, || engine.chunker.cut_all(&buffer, is_end, &mut lengths));
            let mut next = engine.buffers.acquire(capacity);
            next.extend_from_slice(&buffer[cut..]);
            buffer.truncate(cut);
            let bytes = std::mem::replace(&mut buffer, next);
            self.dispatch(Segment { file: Arc::clone(file), number, bytes, lengths })?;
            if is_end {
                break;
            }
        }
        Ok(if total == opened.stat.size { ReadEnd::Whole } else { ReadEnd::Changed })
    }

    fn dispatch(&mut self, segment: Segment) -> Result<()> {
        segment.file.pending.fetch_add(1, Ordering::AcqRel);
        let bytes = segment.bytes.capacity();
        let refused = match self.segments {
            Some(segments) => segments.try_send(segment, bytes),
            None => Err(segment),
        };
        match refused {
            Ok(()) => Ok(()),
            Err(segment) => Self::process(self.worker, segment),
        }
    }

    /// Hashes and stores a segment from the queue.
    pub(super) fn process_segment(worker: &mut Worker<'_>, queued: Queued<Segment>) -> Result<()> {
        // The bytes count against the queue until the segment is stored.
        let Queued { item, permit: _permit } = queued;
        Self::process(worker, item)
    }

    fn process(worker: &mut Worker<'_>, segment: Segment) -> Result<()> {
        let Segment { file, number, bytes, lengths } = segment;
        let chunks = worker.engine.metrics.time(Stage::Hashing, || hash_chunks(&bytes, &lengths));
        let covered = bytes.len() as u64;
        store_new(worker, bytes, &chunks)?;
        worker.engine.monitor.advance(0, covered);
        {
            let mut assembly = file.assembly.lock().unwrap_or_else(PoisonError::into_inner);
            assembly.push(number, chunks, worker)?;
        }
        file.complete_one(worker)
    }
}

/// Ids and lengths of the chunks of a segment.
fn hash_chunks(bytes: &[u8], lengths: &[u32]) -> Vec<ChunkRef> {
    let mut rest = bytes;
    let mut chunks = Vec::with_capacity(lengths.len());
    for len in lengths {
        let (chunk, tail) = rest.split_at(*len as usize);
        chunks.push(ChunkRef { id: ChunkId::of(chunk), len: *len });
        rest = tail;
    }
    chunks
}

/// Sends the chunks that nobody has as one block. When all are new, as on a first save, the
/// segment's own buffer becomes the block; otherwise the known ones are squeezed out of it.
fn store_new(worker: &mut Worker<'_>, mut bytes: PooledBuffer, chunks: &[ChunkRef]) -> Result<()> {
    let mut new: Vec<(ObjectId, u32)> = Vec::with_capacity(chunks.len());
    let (mut from, mut to) = (0, 0);
    for chunk in chunks {
        let len = chunk.len as usize;
        if worker.claim_chunk(chunk.id.into(), chunk.len) {
            if from != to {
                bytes.copy_within(from..from + len, to);
            }
            to += len;
            new.push((chunk.id.into(), chunk.len));
        }
        from += len;
    }
    bytes.truncate(to);
    let level = worker.plan.segment_level;
    worker.send_block(BlockKind::Data, bytes, new, level)
}

impl Assembly {
    /// Takes the chunks of segment `number` and passes on what is now in order.
    fn push(&mut self, number: u64, chunks: Vec<ChunkRef>, worker: &mut Worker<'_>) -> Result<()> {
        self.waiting.insert(number, chunks);
        while let Some(chunks) = self.waiting.remove(&self.next) {
            for chunk in chunks {
                self.list.push(chunk, worker)?;
            }
            self.next += 1;
        }
        Ok(())
    }
}

impl LargeFile {
    /// Counts a segment, or the reader, as done; the last one ends the file.
    fn complete_one(&self, worker: &mut Worker<'_>) -> Result<()> {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 || !self.sound.load(Ordering::Acquire) {
            return Ok(());
        }
        let assembly =
            std::mem::take(&mut *self.assembly.lock().unwrap_or_else(PoisonError::into_inner));
        let (_, content) = assembly.list.finish(worker)?;
        worker.engine.monitor.advance(1, 0);
        worker.stored(self.outcome(content));
        Ok(())
    }

    fn outcome(&self, content: Content) -> FileOutcome {
        FileOutcome {
            path: self.path.clone(),
            stat: self.stat,
            executable: self.executable,
            content,
            racy: self.racy,
        }
    }
}

/// Reads until the buffer holds `capacity` bytes or the file ends, at most `piece` bytes a call;
/// returns how often it asked.
fn fill(
    opened: &OpenedFile,
    buffer: &mut Vec<u8>,
    capacity: usize,
    piece: usize,
) -> std::io::Result<usize> {
    let mut calls = 0;
    while buffer.len() < capacity {
        let rest = (capacity - buffer.len()).min(piece);
        calls += 1;
        let spare = &mut buffer.spare_capacity_mut()[..rest];
        let read = match rustix::io::read(opened.file.as_fd(), spare) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?.0.len(),
        };
        if read == 0 {
            break;
        }
        #[expect(unsafe_code, reason = "the system call filled the spare capacity")]
        // SAFETY: `read` bytes behind the old length were initialised by the call above.
        unsafe {
            buffer.set_len(buffer.len() + read);
        }
    }
    Ok(calls)
}
