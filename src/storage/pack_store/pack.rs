//! One pack, open for reading, and the rebuilding of a lost footer from the frames.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use super::{Result, StoreError, pack_path};
use crate::id::{ObjectId, PackId};
use crate::storage::codec::{BlockDecoder, DecodeError};
use crate::storage::disk::{Disk, FileBytes, ReadFile};
use crate::storage::format::FormatError;
use crate::storage::format::bytes::checksum;
use crate::storage::format::pack::{
    self, BlockEntry, ChunkEntry, Codec, FRAME_HEADER_LEN, Footer, HEADER_LEN, PackKind,
    TRAILER_LEN, Trailer,
};

/// The footer of a sealed pack: what lies where in it. It was checked against the pack's name when it
/// was opened. A short one keeps no file open, so that there may be any number of them.
pub struct PackTable {
    id: PackId,
    footer: FileBytes,
    len: u64,
}

/// A sealed pack, open for reading.
pub struct Pack {
    table: Arc<PackTable>,
    file: Box<dyn ReadFile>,
}

impl fmt::Debug for PackTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackTable({})", self.id.short())
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pack({})", self.id().short())
    }
}

fn open_file(disk: &dyn Disk, id: &PackId) -> Result<Box<dyn ReadFile>> {
    let file = disk.open(&pack_path(id))?;
    file.ok_or_else(|| cut_short(id, "a pack that was removed", 0))
}

/// The footer is not the one that the pack is named after.
const OTHER_FOOTER: FormatError = FormatError::Checksum { what: "a pack's footer" };

/// The trailer of a pack, checked against the file's length and the pack's name, and that length.
fn read_trailer(file: &dyn ReadFile, id: &PackId) -> Result<(Trailer, u64)> {
    let damaged = |source| StoreError::Format { path: pack_path(id), source };
    let len = file.len()?;
    let at = len.checked_sub(TRAILER_LEN as u64);
    let at = at.ok_or_else(|| cut_short(id, "a pack", len))?;
    let mut trailer = [0; TRAILER_LEN];
    file.read_exact_at(&mut trailer, at)?;
    let trailer = Trailer::decode(&trailer, len).map_err(damaged)?;
    if trailer.pack == *id { Ok((trailer, len)) } else { Err(damaged(OTHER_FOOTER)) }
}

/// Whether a pack ends as it was sealed: a file that was cut short, or never written out, does not. One
/// read, and nothing stays open.
pub(super) fn check_end(disk: &dyn Disk, id: &PackId) -> Result<()> {
    read_trailer(&*open_file(disk, id)?, id).map(drop)
}

impl PackTable {
    /// Reads a pack's footer, and checks trailer, footer and name against each other.
    pub fn open(disk: &dyn Disk, id: PackId) -> Result<Self> {
        Self::of(&*open_file(disk, &id)?, id)
    }

    /// The same, of a file that holds, or may hold, the pack.
    pub(super) fn of(file: &dyn ReadFile, id: PackId) -> Result<Self> {
        let (trailer, len) = read_trailer(file, &id)?;
        let footer = file.map(trailer.footer_offset, trailer.footer_len as usize)?;
        let checked = if PackId::of(&footer) == id {
            Footer::decode(&footer).and_then(|footer| footer.check_totals())
        } else {
            Err(OTHER_FOOTER)
        };
        if let Err(source) = checked {
            footer.check()?;
            return Err(StoreError::Format { path: pack_path(&id), source });
        }
        Ok(Self { id, footer, len })
    }

    /// The pack's id.
    pub fn id(&self) -> PackId {
        self.id
    }

    /// Bytes on disk.
    #[expect(clippy::len_without_is_empty, reason = "a pack is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    fn damaged(&self, source: FormatError) -> StoreError {
        StoreError::Format { path: pack_path(&self.id), source }
    }

    /// The tables of blocks and chunks.
    pub fn footer(&self) -> Result<Footer<'_>> {
        Footer::decode(&self.footer).map_err(|source| self.damaged(source))
    }

    /// Whether the footer was still whole when it was used last; asked before an absence, or a sum
    /// over many entries, is believed.
    pub fn check_footer(&self) -> Result<()> {
        Ok(self.footer.check()?)
    }

    /// Entry of one block.
    pub fn block(&self, number: u32) -> Result<BlockEntry> {
        self.footer()?.block(number).map_err(|source| self.damaged(source))
    }
}

impl Pack {
    /// Opens a pack and checks trailer, footer and name against each other.
    pub fn open(disk: &dyn Disk, id: PackId) -> Result<Self> {
        let file = open_file(disk, &id)?;
        Ok(Self::of(PackTable::of(&*file, id)?, file))
    }

    /// The pack in a file of which the footer was read.
    pub(super) fn of(table: PackTable, file: Box<dyn ReadFile>) -> Self {
        Self { table: Arc::new(table), file }
    }

    /// Opens a pack whose footer was read before.
    pub(super) fn with_table(disk: &dyn Disk, table: Arc<PackTable>) -> Result<Self> {
        Ok(Self { file: open_file(disk, &table.id)?, table })
    }

    /// What lies where.
    pub(super) fn table(&self) -> &Arc<PackTable> {
        &self.table
    }

    /// The pack's id.
    pub fn id(&self) -> PackId {
        self.table.id
    }

    /// Bytes on disk.
    #[expect(clippy::len_without_is_empty, reason = "a pack is never empty")]
    pub fn len(&self) -> u64 {
        self.table.len
    }

    /// As [`PackTable::footer`].
    pub fn footer(&self) -> Result<Footer<'_>> {
        self.table.footer()
    }

    /// As [`PackTable::check_footer`].
    pub fn check_footer(&self) -> Result<()> {
        self.table.check_footer()
    }

    /// As [`PackTable::block`].
    pub fn block(&self, number: u32) -> Result<BlockEntry> {
        self.table.block(number)
    }

    fn damaged(&self, source: FormatError) -> StoreError {
        self.table.damaged(source)
    }

    /// Reads and decodes one block into `plain`; `stored` is working memory. The ids of its chunks
    /// are not checked here.
    pub fn read_block(
        &self,
        number: u32,
        decoder: &mut BlockDecoder,
        stored: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> Result<BlockEntry> {
        let entry = self.block(number)?;
        if entry.end() > self.len() {
            return Err(
                self.damaged(FormatError::invalid("a pack's footer", "a block lies past the end"))
            );
        }
        let len = entry.stored_len as usize;
        if entry.codec == Codec::Raw {
            plain.clear();
            self.file.read_exact_at(room(plain, len), entry.payload_offset())?;
            return Ok(entry);
        }
        let payload = room(stored, len);
        self.file.read_exact_at(payload, entry.payload_offset())?;
        self.decode(number, &entry, decoder, payload, plain)?;
        Ok(entry)
    }

    fn decode(
        &self,
        number: u32,
        entry: &BlockEntry,
        decoder: &mut BlockDecoder,
        payload: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let bad = |why: DecodeError| StoreError::Block {
            pack: self.id(),
            block: number,
            why: why.to_string(),
        };
        decoder.decode(entry.codec, payload, entry.plain_len as usize, plain).map_err(bad)
    }

    /// Reads the whole frame of one block, checks header, length table and payload against their
    /// checksums and against the footer, and decodes it into `plain`; `stored` is working memory.
    /// Returns the lengths of its chunks.
    pub fn verify_block(
        &self,
        number: u32,
        decoder: &mut BlockDecoder,
        stored: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> Result<Vec<u32>> {
        let (entry, lengths, payload) = self.read_frame(number, stored)?;
        self.decode(number, &entry, decoder, payload, plain)?;
        Ok(lengths)
    }

    /// The frame of one block with the ids of its chunks; none where it is not sound, or is not what
    /// the footer says.
    pub(super) fn scan_block(
        &self,
        number: u32,
        decoder: &mut BlockDecoder,
    ) -> Result<Option<ScannedFrame>> {
        let entry = self.block(number)?;
        let frame = scan_frame(&*self.file, entry.offset, number, decoder)?;
        Ok(frame.filter(|(found, _)| *found == entry))
    }

    /// Reads the whole frame of one block into `stored` and checks header, length table and payload
    /// against their checksums and against the footer. Returns its entry, the lengths of its chunks
    /// and its payload.
    pub fn read_frame<'s>(
        &self,
        number: u32,
        stored: &'s mut Vec<u8>,
    ) -> Result<(BlockEntry, Vec<u32>, &'s [u8])> {
        let entry = self.block(number)?;
        let bad = |why: String| StoreError::Block { pack: self.id(), block: number, why };
        let head_len = FRAME_HEADER_LEN + entry.table_len as usize;
        let frame = room(stored, head_len + entry.stored_len as usize);
        self.file.read_exact_at(frame, entry.offset)?;
        let (head, payload) = frame.split_at(head_len);
        let (found, table_sum) =
            pack::decode_frame_header(head, entry.offset).map_err(|why| bad(why.to_string()))?;
        if found != entry {
            return Err(bad("its frame disagrees with the footer".to_owned()));
        }
        let lengths = pack::decode_lengths(&entry, table_sum, &head[FRAME_HEADER_LEN..])
            .map_err(|why| bad(why.to_string()))?;
        if checksum(payload) != entry.payload_sum {
            return Err(bad("its payload fails its checksum".to_owned()));
        }
        Ok((entry, lengths, payload))
    }

    /// Checks header and the space between the frames: a pack is header, frames, footer, trailer
    /// and not a byte more.
    pub fn verify_layout(&self) -> Result<()> {
        let mut header = [0; HEADER_LEN];
        self.file.read_exact_at(&mut header, 0)?;
        let (kind, nonce) = pack::decode_header(&header).map_err(|source| {
            // The footer is one that this release writes, and so was the header.
            let checksum = FormatError::Checksum { what: "a pack's header" };
            self.damaged(if source.is_newer() { checksum } else { source })
        })?;
        self.compare_layout(kind, nonce).or_else(|error| self.check_footer().and(Err(error)))
    }

    fn compare_layout(&self, kind: PackKind, nonce: [u8; 16]) -> Result<()> {
        let footer = self.footer()?;
        let bad = |why: &str| self.damaged(FormatError::invalid("a pack's footer", why));
        if (kind, nonce) != (footer.kind, footer.nonce) {
            return Err(bad("it disagrees with the header"));
        }
        let mut at = HEADER_LEN as u64;
        for number in 0..footer.block_count() {
            let entry = footer.block(number).map_err(|source| self.damaged(source))?;
            if entry.offset != at {
                return Err(bad("its blocks do not follow each other"));
            }
            at = entry.end();
        }
        if at + self.table.footer.len() as u64 + TRAILER_LEN as u64 != self.len() {
            return Err(bad("there are bytes between the last block and the footer"));
        }
        Ok(())
    }
}

fn cut_short(id: &PackId, what: &'static str, present: u64) -> StoreError {
    let source = FormatError::Truncated { what, needed: TRAILER_LEN as u64, present };
    StoreError::Format { path: pack_path(id), source }
}

/// The first `len` bytes of working memory, which grows where needed and is not cleared.
fn room(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if memory.len() < len {
        memory.resize(len, 0);
    }
    &mut memory[..len]
}

/// What a scan of the frames of a damaged pack found.
#[derive(Debug)]
pub struct RebuiltFooter {
    /// Kind of the pack.
    pub kind: PackKind,
    /// The footer, rebuilt.
    pub footer: Vec<u8>,
    /// Its hash; equal to the pack's name when every frame was sound.
    pub id: PackId,
    /// Blocks found sound.
    pub blocks: u32,
}

/// Rebuilds a footer by reading the frames of a pack from its start, decoding each block and
/// hashing its chunks. Stops at the first frame that is not sound.
pub fn rebuild_footer(disk: &dyn Disk, id: &PackId) -> Result<Option<RebuiltFooter>> {
    let path = pack_path(id);
    let Some(file) = disk.open(&path)? else { return Ok(None) };
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, 0)?;
    let (kind, nonce) =
        pack::decode_header(&header).map_err(|source| StoreError::Format { path, source })?;
    let mut decoder = BlockDecoder::new().map_err(StoreError::Codec)?;
    let (mut blocks, mut chunks) = (Vec::new(), Vec::new());
    let mut at = HEADER_LEN as u64;
    while let Some((entry, found)) = scan_frame(&*file, at, blocks.len() as u32, &mut decoder)? {
        at = entry.end();
        blocks.push(entry);
        chunks.extend(found);
    }
    chunks.sort_unstable_by_key(|chunk: &(ObjectId, ChunkEntry)| chunk.0);
    let footer = pack::encode_footer(kind, &nonce, &blocks, &chunks);
    Ok(Some(RebuiltFooter { kind, id: PackId::of(&footer), footer, blocks: blocks.len() as u32 }))
}

/// A frame and the chunks in it, with their ids.
pub(super) type ScannedFrame = (BlockEntry, Vec<(ObjectId, ChunkEntry)>);

/// The frame at an offset, decoded; none where it is not sound. The payload, which may be long, is read
/// only behind a sound table. What the disk cannot read is an error and not damage: the next try may
/// find it sound.
pub(super) fn scan_frame(
    file: &dyn ReadFile,
    at: u64,
    number: u32,
    decoder: &mut BlockDecoder,
) -> Result<Option<ScannedFrame>> {
    let Some(header) = read_there(file, at, FRAME_HEADER_LEN)? else { return Ok(None) };
    let Ok((entry, table_sum)) = pack::decode_frame_header(&header, at) else { return Ok(None) };
    if entry.end() > file.len()? {
        return Ok(None);
    }
    let table = read_there(file, at + FRAME_HEADER_LEN as u64, entry.table_len as usize)?;
    let lengths = table.map(|table| pack::decode_lengths(&entry, table_sum, &table));
    let Some(Ok(lengths)) = lengths else { return Ok(None) };
    let payload = read_there(file, entry.payload_offset(), entry.stored_len as usize)?;
    let Some(payload) = payload.filter(|payload| checksum(payload) == entry.payload_sum) else {
        return Ok(None);
    };
    let mut plain = Vec::new();
    if decoder.decode(entry.codec, &payload, entry.plain_len as usize, &mut plain).is_err() {
        return Ok(None);
    }
    let mut chunks = Vec::with_capacity(lengths.len());
    let mut offset = 0u32;
    for len in lengths {
        let bytes = &plain[offset as usize..(offset + len) as usize];
        chunks.push((entry.kind.id_of(bytes), ChunkEntry { block: number, offset, len }));
        offset += len;
    }
    Ok(Some((entry, chunks)))
}

/// So many bytes from an offset; none where the file ends before.
fn read_there(file: &dyn ReadFile, at: u64, len: usize) -> Result<Option<Vec<u8>>> {
    let (end, file_len) = (at.checked_add(len as u64), file.len()?);
    if end.is_none_or(|end| end > file_len) {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.source.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}
