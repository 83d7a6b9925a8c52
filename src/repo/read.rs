//! Reading the bytes of a stored file: in flat memory, every chunk verified before any of its bytes
//! is handed out.
//!
//! The chunks are grouped by the block that holds them, so that each block is decoded once. Groups
//! are handed out in order, or all threads write theirs where it belongs, so that no byte changes
//! threads. Chunks that are known to be zeros are neither looked up nor decoded.

use std::sync::{Mutex, PoisonError};

use super::{RepoError, Repository, Result};
use crate::id::ObjectId;
use crate::storage::chunker::Chunker;
use crate::storage::format::object::Content;
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::{ChunkIter, Objects};
use crate::storage::pack_store::{
    Block, BlockKey, Location, ObjectReader, PendingBlock, StoreError, verified,
};
use crate::storage::queues::{CancelToken, FirstError, ordered_map};

/// Bytes `start..end` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

/// The chunk into which the chunker cuts a long run of zeros. Its id is the hash of that many
/// zeros, so its content is known without reading it.
#[derive(Debug, Clone, Copy)]
pub struct ZeroChunk {
    id: ObjectId,
    len: u32,
}

impl ZeroChunk {
    /// For the parameters of a chunker.
    pub fn of(chunker: &Chunker) -> Self {
        let zeros = vec![0; chunker.lookahead()];
        let len = chunker.cut(&zeros);
        Self { id: BlockKind::Data.id_of(&zeros[..len]), len: len as u32 }
    }
}

/// A piece of the range that is read.
struct Piece {
    /// Where it lies in the file.
    at: u64,
    /// Its bytes.
    len: u64,
    source: Source,
}

enum Source {
    Zeros,
    /// A part of a chunk, from byte `skip` of it.
    Chunk {
        id: ObjectId,
        location: Location,
        skip: usize,
    },
}

/// Consecutive pieces of a file whose chunks lie in one block.
pub(super) struct Group {
    /// None where all are zeros.
    key: Option<BlockKey>,
    pieces: Vec<Piece>,
}

impl Group {
    fn accepts(&self, piece: &Piece) -> bool {
        self.pieces.len() < MAX_PIECES
            && match &piece.source {
                Source::Zeros => true,
                Source::Chunk { location, .. } => {
                    self.key.is_none_or(|key| key == key_of(location))
                }
            }
    }

    fn push(&mut self, piece: Piece) {
        if let Source::Chunk { location, .. } = &piece.source {
            self.key = Some(key_of(location));
        }
        match (self.pieces.last_mut(), &piece.source) {
            (Some(Piece { len, source: Source::Zeros, .. }), Source::Zeros) => *len += piece.len,
            _ => self.pieces.push(piece),
        }
    }

    /// Bytes of distinct chunks that are used.
    fn wanted(&self) -> usize {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece.source, Source::Chunk { .. }))
            .fold(0, |sum, piece| sum.saturating_add(piece.len as usize))
    }

    /// Finds memory for its block.
    pub(super) fn begin(self, reader: &ObjectReader) -> Result<PendingGroup> {
        let pending = self.key.map(|key| reader.begin(key, self.wanted())).transpose()?;
        Ok(PendingGroup { pieces: self.pieces, pending })
    }
}

fn key_of(location: &Location) -> BlockKey {
    (location.pack, location.chunk.block)
}

/// A group with memory for its block.
pub(super) struct PendingGroup {
    pieces: Vec<Piece>,
    pending: Option<PendingBlock>,
}

impl PendingGroup {
    /// Decodes the block and verifies every chunk that is used, each once.
    pub(super) fn finish(self, reader: &ObjectReader) -> Result<Verified> {
        let Some(pending) = self.pending else {
            return Ok(Verified { block: None, parts: parts_of(&self.pieces) });
        };
        let block = reader.finish(pending)?;
        let chunk_of = |piece: &Piece| match piece.source {
            Source::Zeros => None,
            Source::Chunk { id, location, .. } => Some((id, location)),
        };
        let mut chunks: Vec<(ObjectId, Location)> =
            self.pieces.iter().filter_map(chunk_of).collect();
        chunks.sort_unstable_by_key(|(id, location)| (location.chunk.offset, *id));
        chunks.dedup();
        for (id, location) in &chunks {
            verified(BlockKind::Data, id, location, &block)?;
        }
        Ok(Verified { block: Some(block), parts: parts_of(&self.pieces) })
    }
}

/// A run of verified bytes.
struct Part {
    at: u64,
    len: u64,
    /// Where it begins in the block; none for zeros.
    start: Option<usize>,
}

/// Joins pieces that follow each other in the file and in the block.
fn parts_of(pieces: &[Piece]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(1);
    for piece in pieces {
        let start = match piece.source {
            Source::Zeros => None,
            Source::Chunk { location, skip, .. } => Some(location.chunk.offset as usize + skip),
        };
        match parts.last_mut() {
            Some(Part { len, start: Some(before), .. })
                if start.is_some_and(|start| *before + *len as usize == start) =>
            {
                *len += piece.len;
            }
            _ => parts.push(Part { at: piece.at, len: piece.len, start }),
        }
    }
    parts
}

/// Verified bytes: parts of one decoded block, and zeros, in file order.
pub struct Verified {
    block: Option<Block>,
    parts: Vec<Part>,
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Verified {
    /// Bytes in all.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len).sum()
    }

    fn bytes(&self, part: &Part) -> Option<&[u8]> {
        let block = self.block.as_deref().unwrap_or_default();
        part.start.map(|start| &block[start..start + part.len as usize])
    }

    /// Hands the bytes out, in file order.
    pub fn for_each_slice(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for part in &self.parts {
            if let Some(bytes) = self.bytes(part) {
                take(bytes)?;
                continue;
            }
            let mut left = part.len;
            while left > 0 {
                let step = left.min(ZEROS.len() as u64);
                take(&ZEROS[..step as usize])?;
                left -= step;
            }
        }
        Ok(())
    }

    /// Hands the bytes out with their places in the file; zeros that are known to be zeros are
    /// left out.
    pub fn for_each_place(&self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        self.parts
            .iter()
            .try_for_each(|part| self.bytes(part).map_or(Ok(()), |bytes| take(part.at, bytes)))
    }
}

/// Groups the chunks of a file by block as they come.
pub(super) struct Groups<'a> {
    objects: &'a Objects,
    chunks: ChunkIter,
    range: ByteRange,
    zeros: Option<ZeroChunk>,
    pending: Option<Group>,
    done: bool,
}

/// Most pieces of one group, so that a run of tiny chunks does not grow without bound.
const MAX_PIECES: usize = 4096;

impl Groups<'_> {
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        let Some(chunk) = self.chunks.next() else { return Ok(None) };
        let (offset, chunk) = chunk?;
        if offset >= self.range.end {
            return Ok(None);
        }
        let id = ObjectId::from(chunk.id);
        let end = offset + u64::from(chunk.len);
        let skip = self.range.start.saturating_sub(offset);
        let len = self.range.end.min(end) - offset - skip;
        let at = offset + skip;
        if self.zeros.is_some_and(|zeros| zeros.id == id && zeros.len == chunk.len) {
            return Ok(Some(Piece { at, len, source: Source::Zeros }));
        }
        let location = self.objects.reader().locate(&id)?;
        if location.chunk.len != chunk.len {
            let why = format!("chunk {id} has {} bytes, not {}", location.chunk.len, chunk.len);
            let block = location.chunk.block;
            return Err(StoreError::Block { pack: location.pack, block, why }.into());
        }
        let source = Source::Chunk { id, location, skip: skip as usize };
        Ok(Some(Piece { at, len, source }))
    }

    fn advance(&mut self) -> Result<Option<Group>> {
        while !self.done {
            let Some(piece) = self.next_piece()? else {
                self.done = true;
                break;
            };
            if let Some(group) = self.pending.as_mut().filter(|group| group.accepts(&piece)) {
                group.push(piece);
                continue;
            }
            let mut group = Group { key: None, pieces: Vec::new() };
            group.push(piece);
            let full = self.pending.replace(group);
            if full.is_some() {
                return Ok(full);
            }
        }
        Ok(self.pending.take())
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Group>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.advance();
        if group.is_err() {
            self.done = true;
            self.pending = None;
        }
        group.transpose()
    }
}

/// Below this, a thread costs more than it saves.
const PARALLEL_FROM: u64 = 4 << 20;

/// Reads stored files for one command.
#[derive(Clone, Copy)]
pub struct ContentReader<'a> {
    /// Where they are stored.
    pub objects: &'a Objects,
    /// Threads that decode.
    pub threads: usize,
    /// What the repository's chunker makes of zeros.
    pub zeros: ZeroChunk,
    /// Stops the command.
    pub cancel: &'a CancelToken,
}

impl<'a> ContentReader<'a> {
    /// The groups of a range of a file, in order.
    pub(super) fn groups(&self, content: &Content, size: u64, range: ByteRange) -> Groups<'a> {
        let chunks = self.objects.chunks(content, size, range.start);
        let zeros = Some(self.zeros);
        Groups { objects: self.objects, chunks, range, zeros, pending: None, done: false }
    }

    fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    fn is_parallel(&self, range: ByteRange) -> bool {
        range.end - range.start >= PARALLEL_FROM && self.threads > 1
    }

    /// Hands the bytes of `range` to `sink`, in order.
    pub fn in_order(
        &self,
        content: &Content,
        size: u64,
        range: ByteRange,
        mut sink: impl FnMut(Verified) -> Result<()>,
    ) -> Result<()> {
        let reader = self.objects.reader();
        // Memory is given out in the order in which it comes back.
        let mut groups =
            self.groups(content, size, range).map(|group| group.and_then(|it| it.begin(reader)));
        let mut sink = |part| self.check_cancel().and_then(|()| sink(part));
        if !self.is_parallel(range) {
            return groups.try_for_each(|group| sink(group?.finish(reader)?));
        }
        let work = |group: Result<PendingGroup>| group?.finish(reader);
        ordered_map(groups, self.threads, self.threads * 2, work, sink)
    }

    /// Hands the bytes of `range` out with their places in the file, in any order and from several
    /// threads at once; zeros that are known to be zeros are left out.
    pub fn scattered(
        &self,
        content: &Content,
        size: u64,
        range: ByteRange,
        write: impl Fn(u64, &[u8]) -> Result<()> + Sync,
    ) -> Result<()> {
        let reader = self.objects.reader();
        let copy = |group: Result<Group>| -> Result<()> {
            self.check_cancel()?;
            group?.begin(reader)?.finish(reader)?.for_each_place(&write)
        };
        let mut groups = self.groups(content, size, range);
        if !self.is_parallel(range) {
            return groups.try_for_each(copy);
        }
        let groups = Mutex::new(groups);
        let next = || groups.lock().unwrap_or_else(PoisonError::into_inner).next();
        let stop = CancelToken::default();
        let errors = FirstError::new(stop.clone());
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    while let Some(group) = next().filter(|_| !stop.is_cancelled()) {
                        errors.note(copy(group));
                    }
                });
            }
        });
        errors.into_result()
    }
}

impl Repository {
    /// A reader of stored files.
    pub fn content_reader(&self) -> Result<ContentReader<'_>> {
        Ok(ContentReader {
            objects: self.objects()?,
            threads: self.read_limits().threads,
            zeros: ZeroChunk::of(&Chunker::new(self.format().chunker)),
            cancel: self.cancel_token(),
        })
    }

    /// What the cache of decoded blocks did so far.
    pub fn cache_stats(&self) -> Result<crate::storage::cache::CacheStats> {
        Ok(self.objects()?.reader().cache_stats())
    }
}
