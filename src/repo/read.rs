//! Reading the bytes of a stored file: in order, in flat memory, every chunk verified before any
//! of its bytes is handed out.

use std::sync::Arc;

use super::{RepoError, Repository, Result};
use crate::id::ObjectId;
use crate::storage::format::object::Content;
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::{ChunkIter, Objects};
use crate::storage::pack_store::{BlockKey, Location, StoreError, verified};
use crate::storage::queues::{CancelToken, ordered_map};

/// Bytes `start..end` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

/// A chunk and the part of it that is wanted.
struct Piece {
    id: ObjectId,
    location: Location,
    skip: usize,
    take: usize,
}

/// Consecutive chunks of a file that lie in one block.
struct Group {
    key: BlockKey,
    pieces: Vec<Piece>,
}

/// Verified bytes: parts of one decoded block, in file order.
pub struct Verified {
    block: Arc<Vec<u8>>,
    parts: Vec<(usize, usize)>,
}

impl Verified {
    /// The bytes, in file order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|(start, end)| &self.block[*start..*end])
    }
}

/// Groups the chunks of a file by block as they come.
struct Groups<'a> {
    objects: &'a Objects,
    chunks: ChunkIter,
    range: ByteRange,
    pending: Option<Group>,
    done: bool,
}

/// Most chunks of one group, so that a run of tiny chunks does not grow without bound.
const MAX_PIECES: usize = 4096;

impl Groups<'_> {
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        let Some(chunk) = self.chunks.next() else { return Ok(None) };
        let (offset, chunk) = chunk?;
        if offset >= self.range.end {
            return Ok(None);
        }
        let id = ObjectId::from(chunk.id);
        let location = self.objects.reader().locate(&id)?;
        if location.chunk.len != chunk.len {
            let why = format!("chunk {id} has {} bytes, not {}", location.chunk.len, chunk.len);
            let block = location.chunk.block;
            return Err(StoreError::Block { pack: location.pack, block, why }.into());
        }
        let end = offset + u64::from(chunk.len);
        let skip = self.range.start.saturating_sub(offset) as usize;
        let take = (self.range.end.min(end) - offset) as usize - skip;
        Ok(Some(Piece { id, location, skip, take }))
    }

    fn advance(&mut self) -> Result<Option<Group>> {
        while !self.done {
            let Some(piece) = self.next_piece()? else {
                self.done = true;
                break;
            };
            let key = (piece.location.pack, piece.location.chunk.block);
            match &mut self.pending {
                Some(group) if group.key == key && group.pieces.len() < MAX_PIECES => {
                    group.pieces.push(piece);
                }
                pending => {
                    let full = pending.replace(Group { key, pieces: vec![piece] });
                    if full.is_some() {
                        return Ok(full);
                    }
                }
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

fn read_group(objects: &Objects, group: &Group) -> Result<Verified> {
    let block = objects.reader().block(group.key)?;
    let mut parts: Vec<(usize, usize)> = Vec::with_capacity(1);
    for piece in &group.pieces {
        verified(BlockKind::Data, &piece.id, &piece.location, &block)?;
        let start = piece.location.chunk.offset as usize + piece.skip;
        match parts.last_mut() {
            Some(last) if last.1 == start => last.1 += piece.take,
            _ => parts.push((start, start + piece.take)),
        }
    }
    Ok(Verified { block, parts })
}

/// Below this, a thread costs more than it saves.
const PARALLEL_FROM: u64 = 4 << 20;

/// Hands the bytes of `range` to `sink`, in order.
pub fn read_content(
    objects: &Objects,
    content: &Content,
    size: u64,
    range: ByteRange,
    threads: usize,
    cancel: &CancelToken,
    mut sink: impl FnMut(Verified) -> Result<()>,
) -> Result<()> {
    let mut sink =
        |part| if cancel.is_cancelled() { Err(RepoError::Interrupted) } else { sink(part) };
    let chunks = objects.chunks(content, size, range.start);
    let mut groups = Groups { objects, chunks, range, pending: None, done: false };
    if range.end - range.start < PARALLEL_FROM || threads < 2 {
        return groups.try_for_each(|group| sink(read_group(objects, &group?)?));
    }
    let work = |group: Result<Group>| read_group(objects, &group?);
    ordered_map(groups, threads, threads * 4, work, sink)
}

impl Repository {
    /// Hands the bytes of a stored file to `sink`.
    pub fn read_file(
        &self,
        content: &Content,
        size: u64,
        range: ByteRange,
        sink: impl FnMut(Verified) -> Result<()>,
    ) -> Result<()> {
        read_content(
            self.objects()?,
            content,
            size,
            range,
            self.threads(),
            self.cancel_token(),
            sink,
        )
    }
}
