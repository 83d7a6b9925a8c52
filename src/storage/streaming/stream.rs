//! Content that comes as a stream, of which neither the length is known nor a second look is to be
//! had: what an import reads. It is stored as `add` stores a file of the same bytes.

use std::io::{self, Read};

use thiserror::Error;

use super::StreamingChunkingEngine;
use crate::id::{ChunkId, ObjectId};
use crate::metrics::Stage;
use crate::storage::batch::BatchProcessor;
use crate::storage::engine::{EngineError, Level, Worker};
use crate::storage::format::object::{ChunkRef, Content};
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::ListBuilder;

/// Why a stream cannot be stored.
#[derive(Debug, Error)]
pub enum StreamError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It cannot be stored.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

type Result<T> = std::result::Result<T, StreamError>;

impl StreamingChunkingEngine {
    /// Stores all that `input` has; returns its length and content. What fits a segment goes with its
    /// neighbours into a solid block, as small files do; of more, one segment at a time is in memory.
    pub fn process_stream(
        &self,
        batches: &BatchProcessor,
        worker: &mut Worker<'_>,
        input: &mut dyn Read,
    ) -> Result<(u64, Content)> {
        let segment =
            worker.plan.segment_bytes.max(self.config.chunker.params().whole_file as usize);
        let start = worker.solid.plain.len();
        let solid = worker.solid_with_room(segment + 64);
        let read = input.take(segment as u64 + 1).read_to_end(solid);
        let len = worker.solid.plain.len() - start;
        if let Err(error) = read {
            worker.solid.plain.truncate(start);
            return Err(error.into());
        }
        if len <= segment {
            let content = batches.store_solid(worker, start)?;
            worker.engine.metrics.add_file(len as u64);
            worker.engine.monitor.advance(1, len as u64);
            return Ok((len as u64, content));
        }
        let mut pending = Vec::with_capacity(segment + self.config.chunker.lookahead() + 64);
        pending.extend_from_slice(&worker.solid.plain[start..]);
        worker.solid.plain.truncate(start);
        let stored = self.large_stream(worker, pending, segment, input)?;
        worker.engine.metrics.add_file(stored.0);
        worker.engine.monitor.advance(1, 0);
        Ok(stored)
    }

    /// Stores `pending` and what comes behind it, a segment at a time.
    fn large_stream(
        &self,
        worker: &mut Worker<'_>,
        mut pending: Vec<u8>,
        segment: usize,
        input: &mut dyn Read,
    ) -> Result<(u64, Content)> {
        let wanted = segment + self.config.chunker.lookahead();
        let mut list = ListBuilder::default();
        loop {
            worker.engine.check_cancel()?;
            let missing = wanted.saturating_sub(pending.len());
            let read = input.take(missing as u64).read_to_end(&mut pending)?;
            let is_end = read < missing;
            let mut lengths = Vec::new();
            let used = worker.engine.metrics.time(Stage::Chunking, || {
                self.config.chunker.cut_all(&pending, is_end, &mut lengths)
            });
            for chunk in store(worker, &pending[..used], &lengths, self.config.level)? {
                list.push(chunk, worker)?;
            }
            worker.engine.monitor.advance(0, used as u64);
            pending.drain(..used);
            if is_end {
                return Ok(list.finish(worker)?);
            }
        }
    }
}

/// Hashes the chunks of a segment and stores the new ones as one block.
fn store(
    worker: &mut Worker<'_>,
    bytes: &[u8],
    lengths: &[u32],
    level: i32,
) -> std::result::Result<Vec<ChunkRef>, EngineError> {
    let mut plain = worker.engine.buffers.acquire(bytes.len());
    let (mut chunks, mut new) = (Vec::with_capacity(lengths.len()), Vec::new());
    let mut from = 0;
    for len in lengths {
        let size = *len as usize;
        let chunk = &bytes[from..from + size];
        let id = worker.engine.metrics.time(Stage::Hashing, || ChunkId::of(chunk));
        if worker.claim_chunk(id.into(), *len) {
            plain.extend_from_slice(chunk);
            new.push((ObjectId::from(id), *len));
        }
        chunks.push(ChunkRef { id, len: *len });
        from += size;
    }
    worker.send_block(BlockKind::Data, plain, new, Level::Fixed(level))?;
    Ok(chunks)
}
