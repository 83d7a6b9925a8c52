//! Damaged packs: what of one is sound, and a new pack of that.
//!
//! Frames prove themselves by their checksums, and the chunks in them by their ids, so that header,
//! footer and trailer are not needed. Behind a damaged frame the next one is looked for. A pack of
//! which all frames are sound comes out with its old id.

use std::io::ErrorKind;
use std::sync::Arc;

use super::condemned::condemn_too;
use super::pack::scan_frame;
use super::writer::{EncodedBlock, PackWriter, SealedPack};
use super::{Pack, Result, StoreError, pack_path};
use crate::id::{ObjectId, PackId};
use crate::storage::cache::BufferPool;
use crate::storage::codec::BlockDecoder;
use crate::storage::disk::{Disk, ReadFile};
use crate::storage::format::pack::{
    self, BlockEntry, BlockKind, ChunkEntry, FRAME_HEADER_LEN, FRAME_MAGIC, HEADER_LEN, MAX_BLOCK,
    PackKind,
};

/// Bytes searched at a time for the next frame.
const WINDOW: usize = 1 << 20;

type Frame = (BlockEntry, Vec<(ObjectId, ChunkEntry)>);

/// What is left of a pack.
#[derive(Debug)]
pub struct Salvage {
    /// The pack.
    pub id: PackId,
    /// Sound frames.
    frames: Vec<Frame>,
    header: Option<(PackKind, [u8; 16])>,
    /// Objects that the footer names, if it is sound, and no sound frame holds.
    pub lost: Vec<ObjectId>,
    /// Whether the pack is as it was written.
    pub is_sound: bool,
}

impl Salvage {
    /// Reads all of a pack.
    pub fn look(disk: &dyn Disk, id: PackId) -> Result<Self> {
        match disk.open(&pack_path(&id))? {
            Some(file) => Self::look_at(file, id),
            None => Ok(Self::nothing(id)),
        }
    }

    /// A pack of which nothing was read.
    pub fn nothing(id: PackId) -> Self {
        Self { id, frames: Vec::new(), header: None, lost: Vec::new(), is_sound: false }
    }

    /// The same, of a file that holds, or may hold, the pack.
    pub fn look_at(file: Box<dyn ReadFile>, id: PackId) -> Result<Self> {
        let mut found = Self::nothing(id);
        found.read_header(&*file)?;
        found.read_frames(&*file)?;
        match Pack::of(file, id) {
            Ok(pack) => found.compare(&pack)?,
            Err(error) if error.is_corruption() => {}
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    fn read_header(&mut self, file: &dyn ReadFile) -> Result<()> {
        let mut header = [0; HEADER_LEN];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => self.header = pack::decode_header(&header).ok(),
            Err(error) if error.source.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read_frames(&mut self, file: &dyn ReadFile) -> Result<()> {
        let mut decoder = BlockDecoder::new().map_err(StoreError::Codec)?;
        let mut at = HEADER_LEN as u64;
        loop {
            let number = self.frames.len() as u32;
            if let Some(frame) = scan_frame(file, at, number, &mut decoder)
                && self.takes(frame.0.kind)
            {
                at = frame.0.end();
                self.frames.push(frame);
            } else if let Some(next) = next_frame(file, at + 1)? {
                at = next;
            } else {
                return Ok(());
            }
        }
    }

    /// A stored file may hold what looks like a frame: one of the pack's kind proves itself.
    fn takes(&self, kind: BlockKind) -> bool {
        self.kind().is_none_or(|pack| pack == kind_of(kind))
    }

    fn kind(&self) -> Option<PackKind> {
        let first = || self.frames.first().map(|(entry, _)| kind_of(entry.kind));
        self.header.map(|(kind, _)| kind).or_else(first)
    }

    fn compare(&mut self, pack: &Pack) -> Result<()> {
        let Ok(footer) = pack.footer() else { return Ok(()) };
        // The footer repeats the header.
        self.header = self.header.or(Some((footer.kind, footer.nonce)));
        let mut there: Vec<(ObjectId, u64, u32, u32)> = Vec::new();
        for (entry, chunks) in &self.frames {
            let place =
                |(id, chunk): &(ObjectId, ChunkEntry)| (*id, entry.offset, chunk.offset, chunk.len);
            there.extend(chunks.iter().map(place));
        }
        there.sort_unstable();
        let mut misplaced = false;
        for (id, chunk) in footer.chunks() {
            let offset = footer.block(chunk.block).map_or(u64::MAX, |block| block.offset);
            misplaced |= there.binary_search(&(id, offset, chunk.offset, chunk.len)).is_err();
            let at = there.partition_point(|known| known.0 < id);
            if there.get(at).is_none_or(|known| known.0 != id) {
                self.lost.push(id);
            }
        }
        pack.check_footer()?;
        let blocks = footer.block_count() as usize;
        self.is_sound = !misplaced && blocks == self.frames.len() && pack.verify_layout().is_ok();
        Ok(())
    }

    /// Objects in sound frames.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.frames.iter().flat_map(|(_, chunks)| chunks.iter().map(|chunk| chunk.0))
    }

    /// Writes the sound frames into a pack of their own and publishes it, over the damaged one where
    /// it has the same id; nothing where there are none. It is condemned if the damaged one is: its
    /// trees must not count as stored, because what they need may be gone. `file` is what was looked at.
    pub fn write(&self, disk: &Arc<dyn Disk>, file: &dyn ReadFile) -> Result<Option<SealedPack>> {
        let (Some(kind), false) = (self.kind(), self.frames.is_empty()) else { return Ok(None) };
        // Without the header, the id tells packs apart.
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.id.as_bytes()[..16]);
        let nonce = self.header.map_or(nonce, |(_, nonce)| nonce);
        let mut writer = PackWriter::new(Arc::clone(disk), kind, nonce)?;
        let buffers = BufferPool::new(2 * MAX_BLOCK);
        for (entry, chunks) in &self.frames {
            let mut payload = buffers.acquire(entry.stored_len as usize);
            payload.resize(entry.stored_len as usize, 0);
            file.read_exact_at(&mut payload, entry.payload_offset())?;
            let chunks = chunks.iter().map(|(id, chunk)| (*id, chunk.len)).collect();
            let (kind, codec) = (entry.kind, entry.codec);
            writer.append(&EncodedBlock { kind, codec, chunks, payload })?;
        }
        condemn_too(&**disk, &self.id, writer.sealed_id())?;
        writer.seal_over().map(Some)
    }
}

fn kind_of(kind: BlockKind) -> PackKind {
    if kind == BlockKind::Data { PackKind::Data } else { PackKind::Meta }
}

/// Where the next header of a frame lies that is sound by itself, from `at` on.
fn next_frame(file: &dyn ReadFile, mut at: u64) -> Result<Option<u64>> {
    let end = file.len()?;
    let mut window = Vec::new();
    while at + FRAME_HEADER_LEN as u64 <= end {
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
