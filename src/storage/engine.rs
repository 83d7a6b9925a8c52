//! What the pipelines of a command that stores share: the dedup map, the buffers, the plan, the writer.
//!
//! Whoever has something to store gets a [`Worker`], which gathers chunks into blocks, compresses
//! them and hands them over; one writer thread appends them to packs. When [`Engine::with_writer`]
//! returns, every block is durable: data packs first, then the metadata packs that refer to them.

mod worker;
mod writer;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use thiserror::Error;

pub(in crate::storage) use worker::Level;
pub use worker::{BlockBuilder, Worker};

use super::adaptive::{Plan, Planner};
use super::cache::BufferPool;
use super::chunker::Chunker;
use super::format::object::Content;
use super::format::staging::FileStat;
use super::objects::Objects;
use super::pack_store::{EncodedBlock, PackStore, StoreError};
use super::queues::{ByteSender, CancelToken, Closed, byte_channel};
use crate::id::ObjectId;
use crate::metrics::PerformanceMetrics;
use crate::path::RepoPath;
use crate::progress::Monitor;

/// Why a run stopped.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A store failed; nothing more is written after that.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Another stage failed and closed its queue; its own error is reported.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Result of a run.
pub type Result<T> = std::result::Result<T, EngineError>;

/// A file that was opened, and what it looked like then.
#[derive(Debug)]
pub struct OpenedFile {
    /// Open for reading.
    pub file: File,
    /// Stat data of the open file.
    pub stat: FileStat,
    /// Whether it is a regular file.
    pub is_regular: bool,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Where files come from: the work tree, behind a directory handle.
pub trait FileSource: Sync {
    /// Opens a file without following links.
    fn open(&self, path: &RepoPath) -> io::Result<OpenedFile>;
    /// Stat data of an open file, now.
    fn stat(&self, file: &File) -> io::Result<FileStat>;
}

/// A file to store.
#[derive(Debug, Clone)]
pub struct FileTask {
    /// Which.
    pub path: RepoPath,
    /// Its size when the walk saw it.
    pub size: u64,
    /// What the path is staged with, and how long that is.
    pub previous: Option<(Content, u64)>,
}

/// A file that was stored.
#[derive(Debug)]
pub struct FileOutcome {
    /// Which.
    pub path: RepoPath,
    /// What it looked like when it was read.
    pub stat: FileStat,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// What it holds.
    pub content: Content,
    /// Whether it may change once more without its times showing it.
    pub racy: bool,
}

/// Why a file was left out.
#[derive(Debug, Error)]
pub enum SkipCause {
    /// It changed each time while it was read.
    #[error("it changed while it was read, three times")]
    Changed,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It is no longer a regular file.
    #[error("it is no longer a regular file")]
    NotRegular,
}

/// What a run did with the files.
#[derive(Debug, Default)]
pub struct RunOutput {
    /// Files stored.
    pub stored: Vec<FileOutcome>,
    /// Files left out.
    pub skipped: Vec<(RepoPath, SkipCause)>,
}

/// A chunk that this run stores: it is in a block that is not in a sealed pack yet.
#[derive(Debug, Clone, Copy)]
pub struct ChunkInfo {
    /// Length in bytes.
    pub len: u32,
}

/// What all pipelines of a run share.
pub struct Engine {
    /// Where blocks go.
    pub store: Arc<PackStore>,
    /// What is stored already.
    pub objects: Objects,
    /// Chunks claimed by this run and not yet in a sealed pack.
    pub chunk_dedup: Arc<DashMap<ObjectId, ChunkInfo>>,
    /// Working buffers.
    pub buffers: Arc<BufferPool>,
    /// How files are cut.
    pub chunker: Chunker,
    /// Counters.
    pub metrics: Arc<PerformanceMetrics>,
    /// Decides how to work, from the files offered so far.
    pub planner: Planner,
    /// Blocks smaller than this are not compressed.
    pub compression_threshold: usize,
    /// Stops the run.
    pub cancel: CancelToken,
    /// Whom to tell.
    pub monitor: Arc<dyn Monitor>,
}

impl Engine {
    /// Whether this run must store the object: nobody has it and nobody else of this run has
    /// claimed it.
    pub fn claim(&self, id: ObjectId, len: u32) -> bool {
        match self.chunk_dedup.entry(id) {
            Entry::Occupied(_) => false,
            // Asked under the map's lock: a chunk leaves the map only after its pack is found.
            Entry::Vacant(_) if self.store.contains(&id) => false,
            Entry::Vacant(slot) => {
                slot.insert(ChunkInfo { len });
                true
            }
        }
    }

    /// Whether somebody has the object, or somebody of this run has claimed it.
    pub fn is_known(&self, id: &ObjectId) -> bool {
        self.chunk_dedup.contains_key(id) || self.store.contains(id)
    }

    /// How to go on from here.
    pub fn plan(&self) -> Plan {
        self.planner.plan()
    }

    /// Stops when the user asked for it.
    pub fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    /// Stores the objects that `build` puts into the worker it is given, durably.
    pub fn write_objects<R: Send>(
        &self,
        source: &dyn FileSource,
        build: impl FnOnce(&mut Worker<'_>) -> Result<R> + Send,
    ) -> Result<R> {
        self.with_writer(|blocks| {
            let mut worker = Worker::new(self, source, blocks.clone())?;
            let built = build(&mut worker)?;
            worker.flush_all()?;
            Ok(built)
        })
    }

    /// Runs `work` beside a writer thread; the writer's error comes first, because the others
    /// follow from it, unless it only saw that the run was stopped. `Ok` means that every pack was
    /// sealed.
    pub fn with_writer<R: Send>(
        &self,
        work: impl FnOnce(&ByteSender<EncodedBlock>) -> Result<R> + Send,
    ) -> Result<R> {
        let (sender, blocks) = byte_channel(self.planner.limits().queue_bytes());
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let result = writer::run(self, &blocks);
                if result.is_err() {
                    self.cancel.cancel();
                }
                result
            });
            let done = work(&sender);
            drop(sender);
            let written = writer.join().unwrap_or(Err(EngineError::Closed(Closed)));
            match written {
                Err(EngineError::Interrupted) => done.and(Err(EngineError::Interrupted)),
                written => written.and(done),
            }
        })
    }
}

/// Times a file that changes while it is read is read again.
pub(super) const ATTEMPTS: usize = 3;

/// Nanoseconds since 1970 by the clock that file times are taken from.
pub(crate) fn now_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// The kernel stamps files with a clock that ticks every 1 to 10 ms.
const TICK_NS: i64 = 20_000_000;
/// Some file systems keep whole or even seconds only.
const COARSE_NS: i64 = 2_000_000_000;

/// Waits, a clock tick at most, until a file that has just been written is racy no more; worth it
/// for one that is not compared in no time. Answers the time.
pub(super) fn let_settle(stat: &FileStat) -> i64 {
    let now = now_ns();
    let wait = stat.mtime_ns.max(stat.ctime_ns).saturating_add(TICK_NS).saturating_sub(now);
    let is_in_vain = || is_racy(stat, now.saturating_add(wait).saturating_add(1));
    if !(0..=TICK_NS).contains(&wait) || !is_racy(stat, now) || is_in_vain() {
        return now;
    }
    std::thread::sleep(Duration::from_nanos(wait.unsigned_abs() + 1));
    now_ns()
}

/// Whether what was read from `started` on could be changed again and keep these times: it changed
/// within one tick of the clock (git calls such an entry racily clean). Who changes a file can set its
/// mtime back, but not the time at which that was done.
pub(crate) fn is_racy(stat: &FileStat, started: i64) -> bool {
    [stat.mtime_ns, stat.ctime_ns].iter().any(|at| {
        let tick = if at % 1_000_000_000 == 0 { COARSE_NS } else { TICK_NS };
        at.saturating_add(tick) >= started
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stat(mtime_ns: i64, ctime_ns: i64) -> FileStat {
        FileStat { mtime_ns, ctime_ns, ..FileStat::default() }
    }

    #[test]
    fn what_may_change_again_within_a_tick_of_either_time_is_racy() {
        let (long_ago, now) = (50 * SECOND, 100 * SECOND + 7);
        // Times to the nanosecond: whole ones were set by hand.
        let fine = [(now - TICK_NS, true), (now - TICK_NS - 1, false), (now + SECOND, true)];
        for (at, racy) in fine {
            assert_eq!(is_racy(&stat(at, at), now), racy, "{at}");
            assert_eq!(is_racy(&stat(long_ago, at), now), racy, "the mtime was set back: {at}");
            assert_eq!(is_racy(&stat(at, long_ago), now), racy, "{at}");
        }
        // Whole seconds.
        for (at, racy) in [(99, true), (98, false)] {
            assert_eq!(is_racy(&stat(at * SECOND, at * SECOND), now), racy, "{at}");
            assert_eq!(is_racy(&stat(long_ago, at * SECOND), now), racy, "{at}");
        }
        assert!(!is_racy(&stat(long_ago, long_ago), now));
        assert!(is_racy(&stat(i64::MAX, 0), now) && !is_racy(&stat(i64::MIN, 0), now));
    }

    #[test]
    fn a_file_of_which_only_the_mtime_is_old_settles_as_well() {
        let now = now_ns();
        // By nobody's clock a whole second.
        let just_now = now - i64::from(now % SECOND == 0);
        let fresh = stat(50 * SECOND, just_now);
        assert!(!is_racy(&fresh, let_settle(&fresh)));
        // One that does not settle within a tick is not waited for.
        for slow in [stat(now - now % SECOND, 1), stat(now + SECOND, now + SECOND)] {
            let began = std::time::Instant::now();
            let_settle(&slow);
            assert!(began.elapsed() < Duration::from_secs(1));
        }
    }
}
