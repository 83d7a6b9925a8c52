//! The engine that stores files: what `add` creates, and what its pipelines share.
//!
//! One run has a feeder (the walk offers files), workers that run to completion (read → cut →
//! hash → dedup → compress → hand over one buffer) and one writer thread that appends blocks to
//! packs. Everything shared lives in [`Engine`]: the dedup map, the buffer pool, the metrics. When
//! [`Engine::run`] returns, every block is durable: data packs first, then the metadata packs that
//! refer to them.

mod feeder;
mod worker;
mod writer;

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, bounded};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use thiserror::Error;

pub use feeder::Feeder;
pub use worker::{BlockBuilder, Worker};

use super::adaptive::{Plan, Planner};
use super::cache::BufferPool;
use super::chunker::Chunker;
use super::format::object::Content;
use super::format::staging::FileStat;
use super::pack_store::{EncodedBlock, PackStore, StoreError};
use super::parallel_processor::{
    ByteSender, CancelToken, Closed, FirstError, Queued, byte_channel,
};
use super::streaming::Segment;
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

/// Files for one worker.
#[derive(Debug)]
pub enum Job {
    /// Small files, read one after the other into solid blocks.
    Batch(Vec<FileTask>),
    /// One file that is cut into chunks.
    File(FileTask),
}

/// What a worker talks to.
pub(super) struct Queues {
    jobs: Receiver<Job>,
    segments: Receiver<Queued<Segment>>,
    pub(super) segment_sender: ByteSender<Segment>,
    /// Large files whose segments may still appear in the queue.
    pub(super) open_files: AtomicUsize,
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

    /// How to go on from here.
    pub fn plan(&self) -> Plan {
        self.planner.plan()
    }

    /// Stops when the user asked for it.
    pub fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    /// Stores the files that `feed` offers. Returns when everything is durable.
    pub fn run<R: Send>(
        &self,
        source: &dyn FileSource,
        feed: impl FnOnce(&Feeder<'_>) -> R + Send,
    ) -> Result<(RunOutput, R)> {
        let (job_sender, jobs) = bounded(self.planner.most_jobs());
        let (segment_sender, segments) = byte_channel(self.planner.limits().queue_bytes());
        let queues = Queues { jobs, segments, segment_sender, open_files: AtomicUsize::new(0) };
        self.with_writer(|blocks| {
            let errors = FirstError::new(self.cancel.clone());
            let (outputs, fed) = std::thread::scope(|scope| {
                let handles = Mutex::new(Vec::new());
                let hire = || {
                    let blocks = blocks.clone();
                    let (queues, errors) = (&queues, &errors);
                    let handle = scope.spawn(move || {
                        let worker = Worker::new(self, source, blocks);
                        errors.note(worker.and_then(|worker| worker.run(queues)))
                    });
                    handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                };
                let feeder = Feeder::new(self, job_sender, &hire);
                let fed = feed(&feeder);
                feeder.finish();
                let handles = handles.into_inner().unwrap_or_else(PoisonError::into_inner);
                let outputs: Vec<_> =
                    handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
                (outputs, fed)
            });
            errors.into_result()?;
            let mut all = RunOutput::default();
            for output in outputs {
                // A worker that panicked took the files it had stored with it: nothing may be
                // reported.
                let output = output.ok().flatten().ok_or(EngineError::Closed(Closed))?;
                all.stored.extend(output.stored);
                all.skipped.extend(output.skipped);
            }
            self.check_cancel()?;
            Ok((all, fed))
        })
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
    /// follow from it. Packs are sealed only when `work` succeeded.
    fn with_writer<R: Send>(
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
            written?;
            done
        })
    }
}
