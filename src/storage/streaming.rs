//! Large files: cut by content in flat memory, the segments of one file spread over the workers.
//!
//! A file is divided into segments of equal length. Whoever is free takes the next one, reads it and
//! cuts it from where it begins; what the segments found is joined so that the cuts are those of a
//! sequential run, whatever the timing (`trace`). If the path is staged with other
//! content, its chunk list guides the cutting (`guide`), so that what did not change is
//! only read and hashed. Runs of one byte and holes are not scanned at all.
//!
//! Bytes that are stored are hashed in a buffer that nobody else can write to, and compressed from
//! there. A mapping is used to recognise what is stored already: what is new is copied out of it
//! and hashed again, because the file may change at any moment.

mod ahead;
mod guide;
mod large_file;
mod stream;
mod trace;
mod window;

use std::io;
use std::sync::Arc;

pub use guide::{Guide, KnownChunk, KnownChunks, Previous};
pub use large_file::{LargeFile, OpenFile, OpenFiles};
pub use stream::StreamError;
pub use trace::{Cut, Trace, Window, stitch, trace};
pub(in crate::storage) use window::read_more;

use self::ahead::Ahead;
use self::large_file::{Layout, Opened, Segment, Step, Turn};
use self::window::{SegmentWindow, Source, is_hole};
use super::adaptive::limits::SEGMENTS_PER_WORKER;
use super::adaptive::{Plan, ReadMethod};
use super::cache::PooledBuffer;
use super::chunker::Chunker;
use super::engine::{
    ATTEMPTS, Engine, FileOutcome, FileTask, Level, Result, SkipCause, Worker, is_racy, let_settle,
};
use super::format::object::{ChunkRef, Content};
use super::format::pack::BlockKind;
use super::mapped::Mapped;
use crate::id::{ChunkId, ObjectId};
use crate::metrics::Stage;

/// How a run cuts large files.
#[derive(Debug, Clone)]
pub struct ChunkConfig {
    /// Where chunks end.
    pub chunker: Chunker,
    /// zstd level of the chunks.
    pub level: i32,
}

/// The streaming pipeline; it keeps nothing of the files.
#[derive(Debug)]
pub struct StreamingChunkingEngine {
    config: ChunkConfig,
    /// Bytes of one positioned read.
    buffer_size: usize,
    /// Larger files may be mapped; [`Plan::read_method`] decides.
    mmap_threshold: u64,
    open_files: OpenFiles,
    ahead: Arc<Ahead>,
}

/// Why a file cannot be stored as it was opened.
enum Trouble {
    Changed,
    Unreadable(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        // The file was as long when it was opened.
        let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
        if is_short { Self::Changed } else { Self::Unreadable(error) }
    }
}

impl StreamingChunkingEngine {
    /// Works as the engine's plan says.
    pub fn new(engine: &Engine) -> Self {
        let plan = engine.plan();
        Self {
            config: ChunkConfig { chunker: engine.chunker.clone(), level: plan.segment_level },
            buffer_size: plan.buffer_bytes,
            mmap_threshold: plan.map_above,
            open_files: OpenFiles::default(),
            ahead: Ahead::new(engine.planner.most_workers() * (SEGMENTS_PER_WORKER - 1)),
        }
    }

    /// The files that are not concluded.
    pub fn open_files(&self) -> &OpenFiles {
        &self.open_files
    }

    /// Stores one file on this worker alone.
    pub fn process_alone(&self, worker: &mut Worker<'_>, task: &FileTask) -> Result<()> {
        match self.open(worker, task, 0) {
            Some(file) => self.take_part(worker, &file),
            None => Ok(()),
        }
    }

    /// Opens a file so that workers can take part; one that cannot be read is noted.
    pub fn open(
        &self,
        worker: &mut Worker<'_>,
        task: &FileTask,
        attempt: usize,
    ) -> Option<Arc<LargeFile>> {
        let opened = match worker.source.open(&task.path) {
            Ok(opened) if opened.is_regular => opened,
            Ok(_) => {
                worker.skipped(&task.path, SkipCause::NotRegular);
                return None;
            }
            Err(error) => {
                worker.skipped(&task.path, SkipCause::Unreadable(error));
                return None;
            }
        };
        let (stat, executable) = (opened.stat, opened.executable);
        let previous = known_chunks(worker, task);
        // A failing stat is met again when the file is read.
        let blocks = rustix::fs::fstat(&opened.file).map_or(0, |stat| stat.st_blocks as u64);
        let is_sparse = blocks.saturating_mul(512) < stat.size;
        let layout = self.layout(&worker.plan, stat.size, is_sparse, previous.is_some());
        let racy = is_racy(&stat, let_settle(&stat));
        let opened = Opened { file: opened.file, stat, executable, racy };
        let held = (Arc::clone(&self.ahead), self.open_files.enter());
        Some(Arc::new(LargeFile::new(task.clone(), attempt, opened, layout, previous, held)))
    }

    fn layout(&self, plan: &Plan, size: u64, is_sparse: bool, is_known: bool) -> Layout {
        // A file that shrank since the walk saw it may be one chunk.
        let whole_file = u64::from(self.config.chunker.params().whole_file);
        let segment = (plan.segment_bytes as u64).max(whole_file);
        let method = Plan { map_above: self.mmap_threshold, ..*plan }.read_method(size, is_known);
        Layout {
            segment,
            // An empty one, where the file lost all its bytes since the walk saw it.
            count: size.div_ceil(segment).max(1),
            // The last segments of one file and the first of the next may be under way together.
            in_flight: (plan.workers * SEGMENTS_PER_WORKER / 2).max(2) as u64,
            is_whole: size <= whole_file,
            is_sparse,
            is_mapped: method == ReadMethod::Mapped,
        }
    }

    /// Takes part in a file until there is nothing left to do. Whoever does the last of it ends it.
    pub fn take_part(&self, worker: &mut Worker<'_>, file: &Arc<LargeFile>) -> Result<()> {
        let mut again = None;
        loop {
            let file = again.as_ref().unwrap_or(file);
            worker.engine.check_cancel()?;
            let done = match file.next(|| worker.engine.cancel.is_cancelled()) {
                Step::Leave => return Ok(()),
                Step::Cut(number, turn) => self.cut(worker, file, number, turn).map(|()| false),
                Step::Store(segment) => {
                    let number = segment.number;
                    match self.store(worker, *segment)? {
                        Ok(chunks) => Ok(file.list(number, chunks, worker)?),
                        Err(trouble) => Err(trouble),
                    }
                }
            };
            let next = match done {
                Ok(false) => continue,
                Ok(true) => self.conclude(worker, file)?,
                Err(trouble) if file.give_up() => self.fail(worker, file, trouble),
                Err(_) => None,
            };
            // The next attempt, if this one was in vain.
            match next {
                Some(next) => again = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Reads and cuts a segment.
    fn cut(
        &self,
        worker: &Worker<'_>,
        file: &LargeFile,
        number: u64,
        turn: Turn,
    ) -> std::result::Result<(), Trouble> {
        let (from, until) = (number * file.layout.segment, file.layout.end(number));
        let metrics = &worker.engine.metrics;
        let (entry, permit) = match turn {
            Turn::Come(entry) => (Some(entry), None),
            Turn::Ahead(permit) => (None, Some(permit)),
        };
        let mut guide =
            file.previous.as_ref().map(|previous| previous.guide(entry.unwrap_or(from)));
        let guessed = guide.as_ref().and_then(Guide::start).filter(|at| (from..until).contains(at));
        let start = entry.or(guessed).unwrap_or(from);
        // The chunk before may reach into this segment, and the real cuts begin where it ends.
        let first = if entry.is_some() { start } else { from };
        let mut window = self.window(worker, file, (first, until.max(first))).ahead(permit);
        metrics.time(Stage::Reading, || window.load(until.min(file.stat.size)))?;
        let stage = if guide.is_some() { Stage::Hashing } else { Stage::Chunking };
        let step = || {
            if file.layout.is_whole {
                return Ok(Trace::of_whole(file.stat.size));
            }
            trace(&self.config.chunker, &mut window, start, until, guide.as_mut())
        };
        let traced = metrics.time(stage, step)?;
        if let (Some(previous), Some(guide)) = (&file.previous, &guide) {
            previous.learn(guide, traced.end);
            metrics.add_predicted(guide.hits());
        }
        window.count(metrics);
        let in_vain = file.deposit(&self.config.chunker, number, window, traced)?;
        metrics.add_chunked_twice(in_vain);
        Ok(())
    }

    /// The bytes of a segment and the lookahead behind it.
    fn window(
        &self,
        worker: &Worker<'_>,
        file: &LargeFile,
        (start, until): (u64, u64),
    ) -> SegmentWindow {
        let end = (until + self.config.chunker.lookahead() as u64).min(file.stat.size).max(start);
        let source = if file.layout.is_sparse && end > start && is_hole(&file.file, (start, end)) {
            Source::Hole
        } else if file.layout.is_mapped
            && let Ok(mapped) = Mapped::new(&file.file, start, (end - start) as usize)
        {
            Source::Mapped(mapped)
        } else {
            let buffer = worker.engine.buffers.acquire((end - start) as usize);
            Source::Read { buffer, step: self.buffer_size }
        };
        SegmentWindow::new(&file.file, file.stat.size, (start, end), source)
    }

    /// Hashes a segment's chunks and stores the new ones as one block.
    fn store(
        &self,
        worker: &mut Worker<'_>,
        segment: Segment,
    ) -> Result<std::result::Result<Vec<ChunkRef>, Trouble>> {
        let Segment { window, trace, .. } = segment;
        let chunks = worker.engine.metrics.time(Stage::Hashing, || hash(&window, &trace));
        let (bytes, new, is_sound) = match window.into_buffer() {
            Ok(buffer) => {
                let (bytes, new) = squeeze(worker, buffer, &trace, &chunks);
                (bytes, new, true)
            }
            Err(window) => copy_out(worker, &window, &trace, &chunks),
        };
        worker.send_block(BlockKind::Data, bytes, new, Level::Fixed(self.config.level))?;
        worker.engine.monitor.advance(0, trace.end - trace.start);
        Ok(if is_sound { Ok(chunks) } else { Err(Trouble::Changed) })
    }

    /// Ends a file whose segments are all listed, if it is still what was opened. Otherwise the next
    /// attempt.
    fn conclude(
        &self,
        worker: &mut Worker<'_>,
        file: &LargeFile,
    ) -> Result<Option<Arc<LargeFile>>> {
        match worker.source.stat(&file.file) {
            Ok(after) if after == file.stat => {}
            Ok(_) => return Ok(self.fail(worker, file, Trouble::Changed)),
            Err(error) => return Ok(self.fail(worker, file, Trouble::Unreadable(error))),
        }
        let content = file.content(worker)?;
        worker.engine.monitor.advance(1, 0);
        worker.stored(FileOutcome {
            path: file.task.path.clone(),
            stat: file.stat,
            executable: file.executable,
            content,
            racy: file.racy,
        });
        Ok(None)
    }

    /// Notes why a file is left out, or begins it again.
    fn fail(
        &self,
        worker: &mut Worker<'_>,
        file: &LargeFile,
        trouble: Trouble,
    ) -> Option<Arc<LargeFile>> {
        match trouble {
            Trouble::Changed if file.attempt + 1 < ATTEMPTS => {
                return self.open(worker, &file.task, file.attempt + 1);
            }
            Trouble::Changed => worker.skipped(&file.task.path, SkipCause::Changed),
            Trouble::Unreadable(error) => {
                worker.skipped(&file.task.path, SkipCause::Unreadable(error));
            }
        }
        None
    }
}

/// The chunks that the path is staged with. They only guide: if they cannot be read, nothing is
/// lost but time.
fn known_chunks(worker: &Worker<'_>, task: &FileTask) -> Option<Previous> {
    let (content @ Content::List(_), len) = task.previous? else { return None };
    let chunks = worker.engine.objects.chunks(&content, len, 0).map_while(std::result::Result::ok);
    Some(Previous::new(Box::new(chunks), len))
}

/// Ids and lengths of the chunks of a segment.
fn hash(window: &SegmentWindow, trace: &Trace) -> Vec<ChunkRef> {
    let mut at = trace.start;
    let chunk = |cut: &Cut| {
        let id = cut.id.unwrap_or_else(|| ChunkId::of(window.bytes(at, cut.len)));
        at += u64::from(cut.len);
        ChunkRef { id, len: cut.len }
    };
    trace.cuts.iter().map(chunk).collect()
}

/// Ids and lengths of the chunks of a block.
type BlockChunks = Vec<(ObjectId, u32)>;

/// The chunks that nobody has, in the segment's own buffer. When all are new, as on a first save,
/// little is moved; otherwise the known ones are squeezed out.
fn squeeze(
    worker: &Worker<'_>,
    (mut bytes, start): (PooledBuffer, u64),
    trace: &Trace,
    chunks: &[ChunkRef],
) -> (PooledBuffer, BlockChunks) {
    let (mut from, mut to) = ((trace.start - start) as usize, 0);
    let mut new = Vec::with_capacity(chunks.len());
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
    (bytes, new)
}

/// The chunks that nobody has, copied out of a mapping or a hole and hashed again there. The last
/// value tells whether all were still what they were; what was claimed is sound in any case and must
/// be stored.
fn copy_out(
    worker: &Worker<'_>,
    window: &SegmentWindow,
    trace: &Trace,
    chunks: &[ChunkRef],
) -> (PooledBuffer, BlockChunks, bool) {
    let buffers = &worker.engine.buffers;
    let mut bytes = buffers.acquire(0);
    let mut new = Vec::new();
    let mut at = trace.start;
    for chunk in chunks {
        let place = at;
        at += u64::from(chunk.len);
        if worker.engine.is_known(&chunk.id.into()) {
            worker.engine.metrics.add_deduplicated();
            continue;
        }
        if bytes.capacity() == 0 {
            bytes = buffers.acquire((trace.end - place) as usize);
        }
        let start = bytes.len();
        bytes.extend_from_slice(window.bytes(place, chunk.len));
        if ChunkId::of(&bytes[start..]) != chunk.id {
            bytes.truncate(start);
            return (bytes, new, false);
        }
        if worker.claim_chunk(chunk.id.into(), chunk.len) {
            new.push((chunk.id.into(), chunk.len));
        } else {
            bytes.truncate(start);
        }
    }
    (bytes, new, window.is_intact())
}
