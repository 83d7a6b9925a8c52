//! One worker's hands: gathers chunks into blocks, compresses them and hands them to the writer.

use super::{Engine, EngineError, FileOutcome, FileSource, Result, RunOutput, SkipCause};
use crate::id::ObjectId;
use crate::metrics::{Stage, Wait};
use crate::path::RepoPath;
use crate::storage::adaptive::Plan;
use crate::storage::cache::PooledBuffer;
use crate::storage::codec::BlockEncoder;
use crate::storage::format::pack::{BlockKind, Codec};
use crate::storage::objects::ObjectSink;
use crate::storage::pack_store::{EncodedBlock, StoreError};
use crate::storage::queues::ByteSender;

/// How hard a block is compressed.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) enum Level {
    /// At this level.
    Fixed(i32),
    /// At this level where it pays, else at that of segments.
    UpTo(i32),
}

/// Kinds of metadata, each behind those that its objects lead to.
const META_KINDS: [BlockKind; 4] =
    [BlockKind::List, BlockKind::Tree, BlockKind::Commit, BlockKind::Tag];

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
    /// How to work on what is at hand.
    pub plan: Plan,
    pub(in crate::storage) solid: BlockBuilder,
    lists: BlockBuilder,
    trees: BlockBuilder,
    commits: BlockBuilder,
    tags: BlockBuilder,
    encoder: BlockEncoder,
    blocks: ByteSender<EncodedBlock>,
    output: RunOutput,
}

impl<'e> Worker<'e> {
    /// A worker of a run whose writer takes `blocks`.
    pub fn new(
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
            solid: builder(BlockKind::Data),
            lists: builder(BlockKind::List),
            trees: builder(BlockKind::Tree),
            commits: builder(BlockKind::Commit),
            tags: builder(BlockKind::Tag),
            encoder,
            blocks,
            output: RunOutput::default(),
        })
    }

    /// Asks how to go on, before the next piece of work.
    pub fn replan(&mut self) {
        self.plan = self.engine.plan();
        self.engine.metrics.note_pool(self.engine.buffers.stats().peak as u64);
    }

    /// Sends what is gathered and tells what became of the files.
    pub fn finish(mut self) -> Result<RunOutput> {
        self.flush_all()?;
        self.engine.metrics.note_pool(self.engine.buffers.stats().peak as u64);
        Ok(self.output)
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
        level: Level,
    ) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let engine = self.engine;
        let mut payload = engine.buffers.acquire(BlockEncoder::most(plain.len()));
        let codec = engine
            .metrics
            .time(Stage::Compressing, || {
                match level {
                    Level::Fixed(level) => self.encoder.set_level(level)?,
                    Level::UpTo(slow) => {
                        self.encoder.choose_level(&plain, slow, self.plan.segment_level)?;
                    }
                }
                self.encoder.encode(&plain, engine.compression_threshold, &mut payload)
            })
            .map_err(StoreError::Codec)?;
        if codec == Codec::Raw {
            payload = plain;
        }
        // What it takes in memory, not what will be written of it.
        let bytes = payload.capacity();
        let block = EncodedBlock { kind, codec, chunks, payload };
        let sent = engine.metrics.wait(Wait::WorkerForWriter, || self.blocks.send(block, bytes));
        sent.map_err(EngineError::from)
    }

    /// Sends the gathered small files as one solid block.
    pub(in crate::storage) fn flush_solid(&mut self) -> Result<()> {
        let plain = std::mem::replace(&mut self.solid.plain, self.engine.buffers.acquire(0));
        let chunks = std::mem::take(&mut self.solid.chunks);
        self.send_block(BlockKind::Data, plain, chunks, Level::UpTo(self.plan.solid_level))
    }

    /// The solid block, with room for a file of `len` bytes behind what it may hold already.
    pub(in crate::storage) fn solid_with_room(&mut self, len: usize) -> &mut PooledBuffer {
        if self.solid.plain.capacity() == 0 {
            self.solid.plain = self.engine.buffers.acquire(self.plan.solid_bytes + len);
        }
        &mut self.solid.plain
    }

    fn builder(&mut self, kind: BlockKind) -> &mut BlockBuilder {
        match kind {
            BlockKind::Data => &mut self.solid,
            BlockKind::List => &mut self.lists,
            BlockKind::Tree => &mut self.trees,
            BlockKind::Commit => &mut self.commits,
            BlockKind::Tag => &mut self.tags,
        }
    }

    /// Sends the gathered objects of a kind, behind those that they may lead to.
    fn flush_meta(&mut self, kind: BlockKind) -> Result<()> {
        let place = META_KINDS.iter().position(|other| *other == kind).unwrap_or(0);
        META_KINDS[..=place].iter().try_for_each(|kind| self.flush_kind(*kind))
    }

    fn flush_kind(&mut self, kind: BlockKind) -> Result<()> {
        let empty = self.engine.buffers.acquire(0);
        let builder = self.builder(kind);
        let plain = std::mem::replace(&mut builder.plain, empty);
        let chunks = std::mem::take(&mut builder.chunks);
        self.send_block(kind, plain, chunks, Level::Fixed(self.plan.solid_level))
    }

    /// Sends everything gathered so far.
    pub(super) fn flush_all(&mut self) -> Result<()> {
        self.flush_solid()?;
        self.flush_meta(BlockKind::Tag)
    }
}

impl ObjectSink for Worker<'_> {
    type Error = EngineError;

    fn put(&mut self, kind: BlockKind, id: ObjectId, bytes: Vec<u8>) -> Result<()> {
        if !self.engine.claim(id, bytes.len() as u32) {
            return Ok(());
        }
        let buffers = &self.engine.buffers;
        let builder = self.builder(kind);
        if builder.plain.capacity() == 0 {
            builder.plain = buffers.acquire(META_BLOCK + bytes.len());
        }
        builder.plain.extend_from_slice(&bytes);
        builder.chunks.push((id, bytes.len() as u32));
        if builder.plain.len() >= META_BLOCK { self.flush_meta(kind) } else { Ok(()) }
    }
}
