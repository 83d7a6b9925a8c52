//! One worker: takes jobs and segments and runs each to completion.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, select};

use super::{
    Engine, EngineError, FileOutcome, FileSource, Job, Queues, Result, RunOutput, SkipCause,
};
use crate::id::ObjectId;
use crate::metrics::{Stage, StageClock, Wait};
use crate::path::RepoPath;
use crate::storage::adaptive::Plan;
use crate::storage::batch::BatchProcessor;
use crate::storage::cache::PooledBuffer;
use crate::storage::codec::BlockEncoder;
use crate::storage::format::pack::{BlockKind, Codec};
use crate::storage::objects::ObjectSink;
use crate::storage::pack_store::{EncodedBlock, StoreError};
use crate::storage::parallel_processor::ByteSender;
use crate::storage::streaming::StreamingChunkingEngine;

/// Bytes of trees and lists that make a block.
const META_BLOCK: usize = 256 << 10;

/// Chunks gathered for one block.
pub struct BlockBuilder {
    /// What they are.
    pub kind: BlockKind,
    /// Their bytes, one after the other.
    pub plain: PooledBuffer,
    /// Their ids and lengths.
    pub chunks: Vec<(ObjectId, u32)>,
}

/// A worker's own state.
pub struct Worker<'e> {
    /// What all share.
    pub engine: &'e Engine,
    /// Where files come from.
    pub source: &'e dyn FileSource,
    /// How to work, as of the job at hand.
    pub(in crate::storage) plan: Plan,
    /// Times the steps of small files.
    pub(in crate::storage) clock: StageClock,
    pub(in crate::storage) solid: BlockBuilder,
    lists: BlockBuilder,
    trees: BlockBuilder,
    commits: BlockBuilder,
    encoder: BlockEncoder,
    blocks: ByteSender<EncodedBlock>,
    output: RunOutput,
}

impl<'e> Worker<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        source: &'e dyn FileSource,
        blocks: ByteSender<EncodedBlock>,
    ) -> Result<Self> {
        let builder =
            |kind| BlockBuilder { kind, plain: engine.buffers.acquire(0), chunks: Vec::new() };
        let plan = engine.plan();
        let encoder = BlockEncoder::new(plan.solid_level).map_err(StoreError::Codec)?;
        Ok(Self {
            engine,
            source,
            plan,
            clock: StageClock::default(),
            solid: builder(BlockKind::Data),
            lists: builder(BlockKind::List),
            trees: builder(BlockKind::Tree),
            commits: builder(BlockKind::Commit),
            encoder,
            blocks,
            output: RunOutput::default(),
        })
    }

    /// Works until there is nothing left. Segments of files that others have begun come first.
    pub(super) fn run(mut self, queues: &Queues) -> Result<RunOutput> {
        let mut jobs_open = true;
        loop {
            self.engine.check_cancel()?;
            match queues.segments.try_recv() {
                Ok(segment) => {
                    StreamingChunkingEngine::process_segment(&mut self, segment)?;
                    continue;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
            if jobs_open {
                let idle = Instant::now();
                select! {
                    recv(queues.segments) -> segment => {
                        self.engine.metrics.add_wait(Wait::WorkerForFiles, idle.elapsed());
                        if let Ok(segment) = segment {
                            StreamingChunkingEngine::process_segment(&mut self, segment)?;
                        }
                    },
                    recv(queues.jobs) -> job => {
                        self.engine.metrics.add_wait(Wait::WorkerForFiles, idle.elapsed());
                        match job {
                            Ok(job) => self.process(job, queues)?,
                            Err(_) => jobs_open = false,
                        }
                    },
                }
            } else if queues.open_files.load(Ordering::Acquire) == 0 && queues.segments.is_empty() {
                break;
            } else if let Ok(segment) = queues.segments.recv_timeout(Duration::from_millis(2)) {
                StreamingChunkingEngine::process_segment(&mut self, segment)?;
            }
        }
        self.flush_all()?;
        Ok(self.output)
    }

    fn process(&mut self, job: Job, queues: &Queues) -> Result<()> {
        self.plan = self.engine.plan();
        self.engine.metrics.note_pool(self.engine.buffers.kept() as u64);
        match job {
            Job::Batch(files) => {
                self.engine.metrics.add_batch();
                BatchProcessor::process(self, &files)
            }
            Job::File(task) => {
                queues.open_files.fetch_add(1, Ordering::AcqRel);
                let result =
                    StreamingChunkingEngine::process_file(self, &task, &queues.segment_sender);
                queues.open_files.fetch_sub(1, Ordering::AcqRel);
                result
            }
        }
    }

    /// Notes a stored file.
    pub(in crate::storage) fn stored(&mut self, outcome: FileOutcome) {
        self.engine.metrics.add_file(outcome.stat.size);
        self.output.stored.push(outcome);
    }

    /// Notes a file that was left out.
    pub(in crate::storage) fn skipped(&mut self, path: &RepoPath, cause: SkipCause) {
        self.output.skipped.push((path.clone(), cause));
    }

    /// Claims a chunk and counts it; see [`Engine::claim`].
    pub(in crate::storage) fn claim_chunk(&self, id: ObjectId, len: u32) -> bool {
        let metrics = &self.engine.metrics;
        let is_new = self.engine.claim(id, len);
        if is_new {
            metrics.add_new(u64::from(len));
        } else {
            metrics.add_deduplicated();
        }
        is_new
    }

    /// Compresses a block and hands it to the writer.
    pub(in crate::storage) fn send_block(
        &mut self,
        kind: BlockKind,
        plain: PooledBuffer,
        chunks: Vec<(ObjectId, u32)>,
        level: i32,
    ) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let engine = self.engine;
        let mut payload = engine.buffers.acquire(plain.len());
        let codec = engine
            .metrics
            .time(Stage::Compressing, || {
                self.encoder.set_level(level)?;
                self.encoder.encode(&plain, engine.compression_threshold, &mut payload)
            })
            .map_err(StoreError::Codec)?;
        if codec == Codec::Raw {
            payload = plain;
        }
        let bytes = payload.len();
        let block = EncodedBlock { kind, codec, chunks, payload };
        let sent = engine.metrics.wait(Wait::WorkerForWriter, || self.blocks.send(block, bytes));
        sent.map_err(EngineError::from)
    }

    /// Sends the gathered small files as one solid block.
    pub(in crate::storage) fn flush_solid(&mut self) -> Result<()> {
        let plain = std::mem::replace(&mut self.solid.plain, self.engine.buffers.acquire(0));
        let chunks = std::mem::take(&mut self.solid.chunks);
        self.send_block(BlockKind::Data, plain, chunks, self.plan.solid_level)
    }

    fn builder(&mut self, kind: BlockKind) -> &mut BlockBuilder {
        match kind {
            BlockKind::Data => &mut self.solid,
            BlockKind::List => &mut self.lists,
            BlockKind::Tree => &mut self.trees,
            BlockKind::Commit => &mut self.commits,
        }
    }

    fn flush_meta(&mut self, kind: BlockKind) -> Result<()> {
        let empty = self.engine.buffers.acquire(0);
        let builder = self.builder(kind);
        let plain = std::mem::replace(&mut builder.plain, empty);
        let chunks = std::mem::take(&mut builder.chunks);
        self.send_block(kind, plain, chunks, self.plan.solid_level)
    }

    /// Sends everything gathered so far.
    pub(super) fn flush_all(&mut self) -> Result<()> {
        self.flush_solid()?;
        [BlockKind::List, BlockKind::Tree, BlockKind::Commit]
            .into_iter()
            .try_for_each(|kind| self.flush_meta(kind))
    }
}

impl ObjectSink for Worker<'_> {
    type Error = EngineError;

    fn put(&mut self, kind: BlockKind, id: ObjectId, bytes: Vec<u8>) -> Result<()> {
        if !self.engine.claim(id, bytes.len() as u32) {
            return Ok(());
        }
        let builder = self.builder(kind);
        builder.plain.extend_from_slice(&bytes);
        builder.chunks.push((id, bytes.len() as u32));
        if builder.plain.len() >= META_BLOCK { self.flush_meta(kind) } else { Ok(()) }
    }
}
