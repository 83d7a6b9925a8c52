//! Damaged packs: what of one is sound, and a new pack of that.
//!
//! A sound footer says where each block lies and which chunks are in it; its hash is the pack's name.
//! Where a frame is damaged, its block is read as every command reads it, past the frame's header and
//! table, and each chunk that its id proves is taken: a repair gives up nothing that could be read.
//! Without a footer, frames prove themselves by their checksums, and behind a damaged one the next is
//! looked for. A pack of which all blocks are sound comes out with its old id.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::Arc;

use super::condemned::condemn_too;
use super::pack::{PackTable, ScannedFrame, scan_frame};
use super::writer::{EncodedBlock, PackWriter, SealedPack};
use super::{Pack, Result, StoreError, pack_path};
use crate::id::{ObjectId, PackId};
use crate::storage::cache::BufferPool;
use crate::storage::codec::BlockDecoder;
use crate::storage::disk::{Disk, ReadFile};
use crate::storage::format::bytes::checksum;
use crate::storage::format::pack::{
    self, BlockEntry, BlockKind, ChunkEntry, Codec, FRAME_HEADER_LEN, FRAME_MAGIC, HEADER_LEN,
    MAX_BLOCK, MAX_CHUNK, PackKind,
};
use crate::storage::queues::CancelToken;

/// Bytes searched at a time for the next frame.
const WINDOW: usize = 1 << 20;

/// What is sound of one block.
#[derive(Debug)]
struct SoundBlock {
    /// Where it lies.
    entry: BlockEntry,
    /// Its sound chunks, in their order.
    chunks: Vec<(ObjectId, ChunkEntry)>,
    /// Whether that is all of it, so that it is taken as it is stored.
    is_whole: bool,
}

/// What is left of a pack.
#[derive(Debug)]
pub struct Salvage {
    /// The pack.
    pub id: PackId,
    blocks: Vec<SoundBlock>,
    header: Option<(PackKind, [u8; 16])>,
    /// Objects that the footer names, if it is sound, and no sound block holds.
    pub lost: Vec<ObjectId>,
    /// Whether the pack is as it was written.
    pub is_sound: bool,
    /// Whether there was a file, and all of it could be read.
    pub was_read: bool,
}

impl Salvage {
    /// Reads all of a pack.
    pub fn look(disk: &dyn Disk, id: PackId) -> Result<Self> {
        Self::look_until(disk, id, &CancelToken::default())
    }

    /// The same, until somebody asks for a stop.
    pub fn look_until(disk: &dyn Disk, id: PackId, cancel: &CancelToken) -> Result<Self> {
        match disk.open(&pack_path(&id))? {
            Some(file) => Self::look_at(file, id, cancel),
            None => Ok(Self::nothing(id)),
        }
    }

    /// A pack of which nothing was read.
    pub fn nothing(id: PackId) -> Self {
        let (blocks, lost) = Default::default();
        Self { id, blocks, header: None, lost, is_sound: false, was_read: false }
    }

    /// As [`Self::look_until`], of a file that holds, or may hold, the pack.
    pub fn look_at(file: Box<dyn ReadFile>, id: PackId, cancel: &CancelToken) -> Result<Self> {
        let decoder = BlockDecoder::new().map_err(StoreError::Codec)?;
        let mut search = Search { found: Self::nothing(id), decoder, cancel };
        match PackTable::of(&*file, id) {
            Ok(table) => search.by_footer(&Pack::of(table, file))?,
            Err(error) if error.is_corruption() => search.by_frames(&*file)?,
            Err(error) => return Err(error),
        }
        Ok(Self { was_read: true, ..search.found })
    }

    /// Objects in sound blocks.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.blocks.iter().flat_map(|block| block.chunks.iter().map(|chunk| chunk.0))
    }

    /// Writes the sound blocks into a pack of their own and publishes it, over the damaged one where
    /// it has the same id; nothing where there are none. It is condemned if the damaged one is: its
    /// trees must not count as stored, because what they need may be gone. `file` is what was looked at.
    pub fn write(&self, disk: &Arc<dyn Disk>, file: &dyn ReadFile) -> Result<Option<SealedPack>> {
        let first = self.blocks.first().map(|block| kind_of(block.entry.kind));
        let Some(first) = first else { return Ok(None) };
        // Without the header, the id tells packs apart.
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.id.as_bytes()[..16]);
        let (kind, nonce) = self.header.unwrap_or((first, nonce));
        let mut writer = PackWriter::new(Arc::clone(disk), kind, nonce)?;
        let buffers = BufferPool::new(2 * MAX_BLOCK);
        let mut decoder = BlockDecoder::new().map_err(StoreError::Codec)?;
        for (number, block) in self.blocks.iter().enumerate() {
            let mut payload = buffers.acquire(block.entry.plain_len as usize);
            let copied = block.copy(file, &mut decoder, &mut payload)?;
            let (codec, kind) = copied.ok_or_else(|| self.changed(number as u32))?;
            let chunks = block.chunks.iter().map(|(id, chunk)| (*id, chunk.len)).collect();
            writer.append(&EncodedBlock { kind, codec, chunks, payload })?;
        }
        condemn_too(&**disk, &self.id, writer.sealed_id())?;
        writer.seal_over().map(Some)
    }

    fn changed(&self, block: u32) -> StoreError {
        let why = "it reads otherwise than a moment ago".to_owned();
        StoreError::Block { pack: self.id, block, why }
    }
}

impl SoundBlock {
    /// Reads the block as a new pack takes it into `payload`. It is proven again, because the disk may
    /// give other bytes than before; none where it is not what it was.
    fn copy(
        &self,
        file: &dyn ReadFile,
        decoder: &mut BlockDecoder,
        payload: &mut Vec<u8>,
    ) -> Result<Option<(Codec, BlockKind)>> {
        let BlockEntry { stored_len, plain_len, kind, codec, .. } = self.entry;
        payload.resize(stored_len as usize, 0);
        file.read_exact_at(payload, self.entry.payload_offset())?;
        if self.is_whole {
            let is_same = checksum(payload) == self.entry.payload_sum;
            return Ok(is_same.then_some((codec, kind)));
        }
        let mut plain = Vec::new();
        if decoder.decode(codec, payload, plain_len as usize, &mut plain).is_err() {
            return Ok(None);
        }
        payload.clear();
        for (id, chunk) in &self.chunks {
            let Some(bytes) = proven(&plain, kind, id, chunk) else { return Ok(None) };
            payload.extend_from_slice(bytes);
        }
        Ok(Some((Codec::Raw, kind)))
    }
}

/// The bytes of a chunk in its block, if they are what the id says.
fn proven<'p>(
    plain: &'p [u8],
    kind: BlockKind,
    id: &ObjectId,
    chunk: &ChunkEntry,
) -> Option<&'p [u8]> {
    let (from, len) = (chunk.offset as usize, chunk.len as usize);
    let bytes = plain.get(from..from.checked_add(len)?)?;
    let is_sound = (1..=MAX_CHUNK).contains(&len) && kind.id_of(bytes) == *id;
    is_sound.then_some(bytes)
}

fn kind_of(kind: BlockKind) -> PackKind {
    if kind == BlockKind::Data { PackKind::Data } else { PackKind::Meta }
}

/// A result without those errors that mean damage.
fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.is_corruption() => Ok(None),
        other => other.map(Some),
    }
}

/// A look at a pack, while it lasts.
struct Search<'a> {
    found: Salvage,
    decoder: BlockDecoder,
    cancel: &'a CancelToken,
}

impl Search<'_> {
    fn go_on(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    fn take(&mut self, (entry, chunks): ScannedFrame, is_whole: bool) {
        self.found.blocks.push(SoundBlock { entry, chunks, is_whole });
    }

    /// Takes what is sound of each block that the footer names.
    fn by_footer(&mut self, pack: &Pack) -> Result<()> {
        let footer = pack.footer()?;
        // The footer repeats the header.
        self.found.header = Some((footer.kind, footer.nonce));
        let mut named: Vec<_> = footer.chunks().collect();
        named.sort_unstable_by_key(|(_, chunk)| (chunk.block, chunk.offset));
        let (mut rest, mut end, mut is_sound) = (&named[..], 0, true);
        for number in 0..footer.block_count() {
            self.go_on()?;
            let in_block = rest.partition_point(|(_, chunk)| chunk.block <= number);
            let (named, behind) = rest.split_at(in_block);
            rest = behind;
            // Blocks over each other, which nobody writes, would be read any number of times.
            let entry = unless_damaged(pack.block(number))?
                .filter(|entry| (end..pack.len()).contains(&entry.offset));
            let Some(entry) = entry.filter(|entry| kind_of(entry.kind) == footer.kind) else {
                is_sound = false;
                continue;
            };
            end = entry.end();
            is_sound &= self.block(pack, number, named)?;
        }
        let is_laid_out = unless_damaged(pack.verify_layout())?.is_some();
        pack.check_footer()?;
        let there: HashSet<ObjectId> = self.found.objects().collect();
        let ids = named.iter().map(|chunk| chunk.0);
        self.found.lost = ids.filter(|id| !there.contains(id)).collect();
        self.found.is_sound = is_sound && rest.is_empty() && is_laid_out;
        Ok(())
    }

    /// Takes what is sound of one block, in which the footer names these chunks; answers whether its
    /// frame is sound and holds them.
    fn block(
        &mut self,
        pack: &Pack,
        number: u32,
        named: &[(ObjectId, ChunkEntry)],
    ) -> Result<bool> {
        let Some(frame) = pack.scan_block(number, &mut self.decoder)? else {
            self.pieces(pack, number, named)?;
            return Ok(false);
        };
        let chunks = &frame.1;
        let is_there = |named: &(ObjectId, ChunkEntry)| {
            let at = chunks.binary_search_by_key(&named.1.offset, |(_, chunk)| chunk.offset);
            at.is_ok_and(|at| chunks[at] == *named)
        };
        let is_sound = named.iter().all(is_there);
        self.take(frame, true);
        Ok(is_sound)
    }

    /// Takes the chunks of a block without its frame; all of it where they are all.
    fn pieces(&mut self, pack: &Pack, number: u32, named: &[(ObjectId, ChunkEntry)]) -> Result<()> {
        let (mut stored, mut plain) = (Vec::new(), Vec::new());
        let read = pack.read_block(number, &mut self.decoder, &mut stored, &mut plain);
        let Some(entry) = unless_damaged(read)? else { return Ok(()) };
        let (mut chunks, mut end, mut sum) = (Vec::new(), 0, 0);
        for (id, chunk) in named {
            if chunk.offset >= end && proven(&plain, entry.kind, id, chunk).is_some() {
                end = chunk.offset + chunk.len;
                sum += chunk.len;
                chunks.push((*id, *chunk));
            }
        }
        let payload = if entry.codec == Codec::Raw { &plain } else { &stored };
        let is_whole = sum == entry.plain_len && checksum(payload) == entry.payload_sum;
        if !chunks.is_empty() {
            self.take((entry, chunks), is_whole);
        }
        Ok(())
    }

    /// Takes all sound frames.
    fn by_frames(&mut self, file: &dyn ReadFile) -> Result<()> {
        self.read_header(file)?;
        let kind = self.found.header.map(|(kind, _)| kind);
        let mut at = HEADER_LEN as u64;
        loop {
            self.go_on()?;
            let number = self.found.blocks.len() as u32;
            let frame = scan_frame(file, at, number, &mut self.decoder)?;
            // A stored file may hold what looks like a frame: one of the pack's kind proves itself.
            let is_ours =
                |frame: &ScannedFrame| kind.is_none_or(|kind| kind == kind_of(frame.0.kind));
            if let Some(frame) = frame.filter(is_ours) {
                at = frame.0.end();
                self.take(frame, true);
            } else if let Some(next) = self.next_frame(file, at + 1)? {
                at = next;
            } else {
                break;
            }
        }
        if kind.is_none() {
            self.keep_one_kind();
        }
        Ok(())
    }

    fn read_header(&mut self, file: &dyn ReadFile) -> Result<()> {
        let mut header = [0; HEADER_LEN];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => self.found.header = pack::decode_header(&header).ok(),
            Err(error) if error.source.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Keeps the frames of the kind that most bytes are of: others were found in a stored file.
    fn keep_one_kind(&mut self) {
        let bytes = |kind| -> u64 {
            let blocks = self.found.blocks.iter();
            let of_kind = blocks.filter(|block| kind_of(block.entry.kind) == kind);
            of_kind.map(|block| u64::from(block.entry.stored_len)).sum()
        };
        let is_data = bytes(PackKind::Data) >= bytes(PackKind::Meta);
        let kind = if is_data { PackKind::Data } else { PackKind::Meta };
        self.found.blocks.retain(|block| kind_of(block.entry.kind) == kind);
    }

    /// Where the next header of a frame lies that is sound by itself, from `at` on.
    fn next_frame(&self, file: &dyn ReadFile, mut at: u64) -> Result<Option<u64>> {
        let end = file.len()?;
        let mut window = Vec::new();
        while at + FRAME_HEADER_LEN as u64 <= end {
            self.go_on()?;
            window.resize((end - at).min(WINDOW as u64) as usize, 0);
            file.read_exact_at(&mut window, at)?;
            let last = window.len() - FRAME_HEADER_LEN;
            for start in 0..=last {
                let offset = at + start as u64;
                let is_frame = window[start..].starts_with(FRAME_MAGIC)
                    && pack::decode_frame_header(&window[start..], offset).is_ok();
                if is_frame {
                    return Ok(Some(offset));
                }
            }
            at += last as u64 + 1;
        }
        Ok(None)
    }
}
