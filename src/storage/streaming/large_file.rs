//! A large file under way: which segment is next, which are cut, which can be stored, what is listed.
//!
//! Any number of workers take part. A segment is *taken* and traced by whoever comes first, *joined*
//! to those before it in order, then stored by whoever is free, and its chunks are *listed* in
//! order. At most `in_flight` segments are between taken and listed, so memory does not depend on the
//! length of the file; a worker that finds nothing to do while others hold all of them waits.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ahead::{Ahead, AheadPermit};
use super::guide::Previous;
use super::trace::{Trace, stitch};
use super::window::SegmentWindow;
use crate::storage::chunker::Chunker;
use crate::storage::engine::{FileTask, Result, Worker};
use crate::storage::format::object::{ChunkRef, Content};
use crate::storage::format::staging::FileStat;
use crate::storage::objects::ListBuilder;

/// Counts large files that are not concluded.
#[derive(Debug, Clone, Default)]
pub struct OpenFiles(Arc<AtomicUsize>);

impl OpenFiles {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Counts one more. A file counts from when it is offered, so that no worker leaves before it
    /// is opened.
    pub fn enter(&self) -> OpenFile {
        self.0.fetch_add(1, Ordering::AcqRel);
        OpenFile(Arc::clone(&self.0))
    }
}

/// One of [`OpenFiles`], as long as it lives.
#[derive(Debug)]
pub struct OpenFile(Arc<AtomicUsize>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What every segment of a file has in common.
pub struct LargeFile {
    pub(super) task: FileTask,
    /// Times it was begun before.
    pub(super) attempt: usize,
    pub(super) file: Arc<File>,
    pub(super) stat: FileStat,
    pub(super) executable: bool,
    pub(super) racy: bool,
    pub(super) layout: Layout,
    pub(super) previous: Option<Previous>,
    ahead: Arc<Ahead>,
    order: Mutex<Order>,
    moved: Condvar,
    list: Mutex<List>,
    _open: OpenFile,
}

/// How a file is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of a segment.
    pub(super) segment: u64,
    /// Segments.
    pub(super) count: u64,
    /// Most segments between taken and listed.
    pub(super) in_flight: u64,
    /// Whether it is one chunk.
    pub(super) is_whole: bool,
    /// Whether it may have holes.
    pub(super) is_sparse: bool,
    /// Whether its windows are mapped.
    pub(super) is_mapped: bool,
}

impl Layout {
    /// Where a segment ends, the last one too.
    pub(super) fn end(&self, number: u64) -> u64 {
        (number + 1) * self.segment
    }
}

#[derive(Default)]
struct Order {
    taken: u64,
    /// Segments cut before their turn.
    cut: BTreeMap<u64, (SegmentWindow, Trace)>,
    joined: u64,
    /// Where the next segment to be joined begins.
    entry: u64,
    ready: VecDeque<Segment>,
    listed: u64,
    is_over: bool,
}

/// A segment whose chunks are known and wait to be stored.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) window: SegmentWindow,
    pub(super) trace: Trace,
}

/// When a segment is cut.
pub(super) enum Turn {
    /// Everything before it is joined, and its first chunk begins here.
    Come(u64),
    /// Before that.
    Ahead(AheadPermit),
}

/// What a worker does next.
pub(super) enum Step {
    /// Cut this segment.
    Cut(u64, Turn),
    /// Store this one.
    Store(Box<Segment>),
    /// There is nothing left to do.
    Leave,
}

#[derive(Default)]
struct List {
    next: u64,
    waiting: BTreeMap<u64, Vec<ChunkRef>>,
    builder: ListBuilder,
}

/// Longest wait before a look at whether the run was cancelled.
const PATIENCE: Duration = Duration::from_millis(50);

/// A file that was just opened.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) stat: FileStat,
    pub(super) executable: bool,
    pub(super) racy: bool,
}

impl LargeFile {
    pub(super) fn new(
        task: FileTask,
        attempt: usize,
        opened: Opened,
        layout: Layout,
        previous: Option<Previous>,
        (ahead, open): (Arc<Ahead>, OpenFile),
    ) -> Self {
        let Opened { file, stat, executable, racy } = opened;
        Self {
            task,
            attempt,
            file: Arc::new(file),
            stat,
            executable,
            racy,
            layout,
            previous,
            ahead,
            order: Mutex::default(),
            moved: Condvar::new(),
            list: Mutex::default(),
            _open: open,
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do next; waits while others hold all that may be in flight.
    pub(super) fn next(&self, is_cancelled: impl Fn() -> bool) -> Step {
        let mut order = self.order();
        loop {
            if order.is_over || is_cancelled() {
                return Step::Leave;
            }
            if let Some(segment) = order.ready.pop_front() {
                return Step::Store(Box::new(segment));
            }
            if order.taken == self.layout.count {
                return Step::Leave;
            }
            if order.taken < order.listed + self.layout.in_flight {
                let (number, entry) = (order.taken, order.entry);
                let turn = if order.joined == number {
                    Some(Turn::Come(entry))
                } else {
                    self.ahead.try_take().map(Turn::Ahead)
                };
                if let Some(turn) = turn {
                    order.taken += 1;
                    return Step::Cut(number, turn);
                }
            }
            let waited = self.moved.wait_timeout(order, PATIENCE);
            order = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes in a segment that was cut, and joins what is now in order. Returns how many bytes had been
    /// cut in vain.
    pub(super) fn deposit(
        &self,
        chunker: &Chunker,
        number: u64,
        window: SegmentWindow,
        trace: Trace,
    ) -> io::Result<u64> {
        let mut in_vain = 0;
        let mut order = self.order();
        order.cut.insert(number, (window, trace));
        let mut next = order.joined;
        while let Some((mut window, trace)) = order.cut.remove(&next) {
            let until = self.layout.end(next);
            let (trace, wasted) = stitch(chunker, &mut window, trace, order.entry, until)?;
            order.entry = trace.end;
            in_vain += wasted;
            order.ready.push_back(Segment { number: next, window, trace });
            next += 1;
            order.joined = next;
        }
        drop(order);
        self.moved.notify_all();
        Ok(in_vain)
    }

    /// Enters the chunks of a segment into the list, in order; `true` when it was the last.
    pub(super) fn list(
        &self,
        number: u64,
        chunks: Vec<ChunkRef>,
        worker: &mut Worker<'_>,
    ) -> Result<bool> {
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.waiting.insert(number, chunks);
            let mut next = list.next;
            while let Some(chunks) = list.waiting.remove(&next) {
                for chunk in chunks {
                    list.builder.push(chunk, worker)?;
                }
                next += 1;
                list.next = next;
            }
        }
        let mut order = self.order();
        order.listed += 1;
        let is_last = order.listed == self.layout.count && !order.is_over;
        order.is_over |= is_last;
        drop(order);
        self.moved.notify_all();
        Ok(is_last)
    }

    /// Ends the file before its end; `true` for the first who says so.
    pub(super) fn give_up(&self) -> bool {
        let mut order = self.order();
        let is_first = !std::mem::replace(&mut order.is_over, true);
        order.ready.clear();
        order.cut.clear();
        drop(order);
        self.moved.notify_all();
        is_first
    }

    /// Stores the chunk list; every segment is in it.
    pub(super) fn content(&self, worker: &mut Worker<'_>) -> Result<Content> {
        let list = std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner));
        let (_, content) = list.builder.finish(worker)?;
        Ok(content)
    }

    /// Segments of the file.
    pub fn segments(&self) -> u64 {
        self.layout.count
    }
}
