//! Packs: immutable files of blocks. Header, frames, footer, trailer.
//!
//! A *frame* is one block with its checksummed header and the lengths of the chunks inside it. The
//! *footer* repeats where each block lies and adds a table of chunk ids, sorted, so that it is the
//! index of its pack; the pack's id is the hash of the footer. The *trailer* proves that writing
//! finished. A lost footer is rebuilt from the frames, because ids are hashes of the content.

use super::bytes::{
    Reader, check_version, checksum, id_at, lower_bound, push_checksum, push_varint,
    split_checksum, u32_at, u64_at,
};
use super::{FormatError, Result};
use crate::id::{ID_LEN, ObjectId, PackId};

/// Bytes of a pack's header.
pub const HEADER_LEN: usize = 40;
/// Bytes of a frame's fixed header.
pub const FRAME_HEADER_LEN: usize = 48;
/// Bytes of a pack's trailer.
pub const TRAILER_LEN: usize = 72;
/// Largest block, plain or stored, in bytes.
pub const MAX_BLOCK: usize = 32 << 20;
/// Largest chunk in bytes.
pub const MAX_CHUNK: usize = 16 << 20;
/// Version that this release writes and the newest that it reads.
pub const VERSION: u16 = 1;

const HEADER_MAGIC: &[u8; 8] = b"DIGPACK1";
/// First bytes of a frame.
pub const FRAME_MAGIC: &[u8; 4] = b"DFRM";
const FOOTER_MAGIC: &[u8; 8] = b"DIGFOOT1";
const TRAILER_MAGIC: &[u8; 8] = b"DIGTAIL1";
const FOOTER_HEADER_LEN: usize = 64;
const BLOCK_ENTRY_LEN: usize = 40;
const CHUNK_ENTRY_LEN: usize = ID_LEN + 12;

/// What the chunks of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Pieces of files.
    Data = 1,
    /// Pages of chunk lists.
    List = 2,
    /// Pages of trees.
    Tree = 3,
    /// Commits.
    Commit = 4,
    /// Annotations of tags.
    Tag = 5,
}

impl BlockKind {
    fn decode(byte: u8, what: &'static str) -> Result<Self> {
        match byte {
            1 => Ok(Self::Data),
            2 => Ok(Self::List),
            3 => Ok(Self::Tree),
            4 => Ok(Self::Commit),
            5 => Ok(Self::Tag),
            other => Err(FormatError::invalid(what, format!("unknown block kind {other}"))),
        }
    }

    /// The id of an object of this kind with these bytes.
    pub fn id_of(self, bytes: &[u8]) -> ObjectId {
        use crate::id::{ChunkId, CommitId, ListId, TagId, TreeId};
        match self {
            Self::Data => ChunkId::of(bytes).into(),
            Self::List => ListId::of(bytes).into(),
            Self::Tree => TreeId::of(bytes).into(),
            Self::Commit => CommitId::of(bytes).into(),
            Self::Tag => TagId::of(bytes).into(),
        }
    }
}

/// How the payload of a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    fn decode(byte: u8, what: &'static str) -> Result<Self> {
        match byte {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            other => Err(FormatError::invalid(what, format!("unknown codec {other}"))),
        }
    }
}

/// Whether a pack holds file content or trees, lists and commits; the two never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PackKind {
    /// Blocks of [`BlockKind::Data`] only.
    Data = 1,
    /// Every other block.
    Meta = 2,
}

/// First bytes of a pack.
pub fn encode_header(kind: PackKind, nonce: &[u8; 16]) -> [u8; HEADER_LEN] {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend_from_slice(HEADER_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&[0; 5]);
    out.extend_from_slice(nonce);
    push_checksum(&mut out, 0);
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&out);
    header
}

/// Checks the first bytes of a pack; returns its kind and nonce.
pub fn decode_header(bytes: &[u8]) -> Result<(PackKind, [u8; 16])> {
    const WHAT: &str = "a pack's header";
    let head = Reader::new(WHAT, bytes).bytes(HEADER_LEN)?;
    let mut reader = Reader::new(WHAT, head);
    reader.magic(HEADER_MAGIC)?;
    check_version::<2>(&mut reader, head, VERSION.into())?;
    split_checksum(WHAT, head)?;
    let kind = match reader.u8()? {
        1 => PackKind::Data,
        2 => PackKind::Meta,
        other => return Err(FormatError::invalid(WHAT, format!("unknown kind {other}"))),
    };
    if reader.array::<5>()? != [0; 5] {
        return Err(FormatError::invalid(WHAT, "reserved bytes are in use"));
    }
    Ok((kind, reader.array()?))
}

/// Where a block lies and how it is stored: one entry of the footer's block table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Offset of the frame from the start of the pack.
    pub offset: u64,
    /// Bytes of the payload as stored.
    pub stored_len: u32,
    /// Bytes of the payload decoded.
    pub plain_len: u32,
    /// Bytes of the length table between frame header and payload.
    pub table_len: u32,
    /// Chunks in the block.
    pub chunk_count: u32,
    /// Checksum of the payload as stored.
    pub payload_sum: u64,
    /// What the chunks are.
    pub kind: BlockKind,
    /// How the payload is stored.
    pub codec: Codec,
}

impl BlockEntry {
    /// Offset of the payload from the start of the pack.
    pub fn payload_offset(&self) -> u64 {
        self.offset + FRAME_HEADER_LEN as u64 + u64::from(self.table_len)
    }

    /// Offset of the first byte behind the frame.
    pub fn end(&self) -> u64 {
        self.payload_offset() + u64::from(self.stored_len)
    }

    fn check(&self, what: &'static str) -> Result<()> {
        let sound = self.plain_len as usize <= MAX_BLOCK
            && self.stored_len <= self.plain_len
            && (self.codec != Codec::Raw || self.stored_len == self.plain_len)
            && self.chunk_count > 0
            && self.chunk_count <= self.plain_len
            && u64::from(self.table_len) <= u64::from(self.chunk_count) * 5;
        if sound {
            Ok(())
        } else {
            Err(FormatError::invalid(what, format!("impossible sizes: {self:?}")))
        }
    }
}

/// Encodes header and length table of a frame; the payload follows. `entry.table_len` is ignored
/// and returned as it came out.
pub fn encode_frame(entry: &BlockEntry, lengths: impl Iterator<Item = u32>) -> (Vec<u8>, u32) {
    let mut table = Vec::new();
    lengths.for_each(|len| push_varint(&mut table, len.into()));
    let mut out = Vec::with_capacity(FRAME_HEADER_LEN + table.len());
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&[entry.kind as u8, entry.codec as u8, 0, 0]);
    for field in [entry.chunk_count, table.len() as u32, entry.stored_len, entry.plain_len] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&entry.payload_sum.to_le_bytes());
    out.extend_from_slice(&checksum(&table).to_le_bytes());
    push_checksum(&mut out, 0);
    out.extend_from_slice(&table);
    (out, table.len() as u32)
}

/// Reads a frame's fixed header, found at `offset` in its pack.
pub fn decode_frame_header(bytes: &[u8], offset: u64) -> Result<(BlockEntry, u64)> {
    const WHAT: &str = "a frame's header";
    let body = split_checksum(WHAT, Reader::new(WHAT, bytes).bytes(FRAME_HEADER_LEN)?)?;
    let mut reader = Reader::new(WHAT, body);
    reader.magic(FRAME_MAGIC)?;
    let kind = BlockKind::decode(reader.u8()?, WHAT)?;
    let codec = Codec::decode(reader.u8()?, WHAT)?;
    if reader.u16()? != 0 {
        return Err(reader.invalid("reserved bytes are in use"));
    }
    let (chunk_count, table_len) = (reader.u32()?, reader.u32()?);
    let (stored_len, plain_len) = (reader.u32()?, reader.u32()?);
    let (payload_sum, table_sum) = (reader.u64()?, reader.u64()?);
    let entry = BlockEntry {
        offset,
        stored_len,
        plain_len,
        table_len,
        chunk_count,
        payload_sum,
        kind,
        codec,
    };
    entry.check(WHAT)?;
    Ok((entry, table_sum))
}

/// Reads the length table of a frame: each chunk's length, together the block's.
pub fn decode_lengths(entry: &BlockEntry, table_sum: u64, table: &[u8]) -> Result<Vec<u32>> {
    const WHAT: &str = "a frame's length table";
    if checksum(table) != table_sum {
        return Err(FormatError::Checksum { what: WHAT });
    }
    let mut reader = Reader::new(WHAT, table);
    let mut lengths = Vec::with_capacity((entry.chunk_count as usize).min(table.len()));
    let mut total = 0u64;
    for _ in 0..entry.chunk_count {
        let len = reader.varint()?;
        if len == 0 || len > MAX_CHUNK as u64 {
            return Err(reader.invalid(format!("a chunk of {len} bytes")));
        }
        total += len;
        lengths.push(len as u32);
    }
    reader.finish()?;
    if total != u64::from(entry.plain_len) {
        return Err(FormatError::invalid(WHAT, "the chunks do not add up to the block"));
    }
    Ok(lengths)
}

/// Where a chunk lies inside its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Number of the block in the pack.
    pub block: u32,
    /// Offset in the decoded block.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Bytes of a footer with so many blocks and chunks.
pub fn footer_len(blocks: usize, chunks: usize) -> usize {
    FOOTER_HEADER_LEN + blocks * BLOCK_ENTRY_LEN + chunks * CHUNK_ENTRY_LEN
}

/// Encodes a footer. `chunks` must be sorted by id.
pub fn encode_footer(
    kind: PackKind,
    nonce: &[u8; 16],
    blocks: &[BlockEntry],
    chunks: &[(ObjectId, ChunkEntry)],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(footer_len(blocks.len(), chunks.len()));
    out.extend_from_slice(FOOTER_MAGIC);
    out.push(kind as u8);
    out.extend_from_slice(&[0; 7]);
    out.extend_from_slice(nonce);
    out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
    out.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    let plain: u64 = blocks.iter().map(|block| u64::from(block.plain_len)).sum();
    let stored: u64 = blocks.iter().map(|block| u64::from(block.stored_len)).sum();
    out.extend_from_slice(&plain.to_le_bytes());
    out.extend_from_slice(&stored.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    blocks.iter().for_each(|block| push_block(&mut out, block));
    for (id, chunk) in chunks {
        out.extend_from_slice(id.as_bytes());
        for field in [chunk.block, chunk.offset, chunk.len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    out
}

fn push_block(out: &mut Vec<u8>, block: &BlockEntry) {
    out.extend_from_slice(&block.offset.to_le_bytes());
    for field in [block.stored_len, block.plain_len, block.table_len, block.chunk_count] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&block.payload_sum.to_le_bytes());
    out.extend_from_slice(&[block.kind as u8, block.codec as u8, 0, 0, 0, 0, 0, 0]);
}

/// A view of a footer's bytes: nothing is parsed at open but the fixed header.
#[derive(Debug, Clone, Copy)]
pub struct Footer<'a> {
    /// Kind of the pack.
    pub kind: PackKind,
    /// The pack's nonce.
    pub nonce: [u8; 16],
    /// Decoded bytes of all blocks.
    pub plain_bytes: u64,
    /// Stored bytes of all payloads.
    pub stored_bytes: u64,
    blocks: &'a [u8],
    chunks: &'a [u8],
}

impl<'a> Footer<'a> {
    const WHAT: &'static str = "a pack's footer";

    /// Takes the tables apart; their lengths must fill `bytes` exactly.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(Self::WHAT, bytes);
        reader.magic(FOOTER_MAGIC)?;
        let kind = match reader.u8()? {
            1 => PackKind::Data,
            2 => PackKind::Meta,
            other => return Err(reader.invalid(format!("unknown kind {other}"))),
        };
        reader.bytes(7)?;
        let nonce = reader.array()?;
        let (block_count, chunk_count) = (reader.u32()? as usize, reader.u32()? as usize);
        let (plain_bytes, stored_bytes) = (reader.u64()?, reader.u64()?);
        reader.bytes(8)?;
        let blocks = reader.bytes(block_count.saturating_mul(BLOCK_ENTRY_LEN))?;
        let chunks = reader.bytes(chunk_count.saturating_mul(CHUNK_ENTRY_LEN))?;
        reader.finish()?;
        Ok(Self { kind, nonce, plain_bytes, stored_bytes, blocks, chunks })
    }

    /// Whether the bytes it states for all blocks are what its blocks add up to.
    pub fn check_totals(&self) -> Result<()> {
        let lens =
            |at| self.blocks.chunks_exact(BLOCK_ENTRY_LEN).map(move |entry| u32_at(entry, at));
        let sum = |at| lens(at).map(u64::from).sum::<u64>();
        if (sum(8), sum(12)) != (self.stored_bytes, self.plain_bytes) {
            return Err(FormatError::invalid(Self::WHAT, "its blocks do not add up to its totals"));
        }
        Ok(())
    }

    /// Number of blocks.
    pub fn block_count(&self) -> u32 {
        (self.blocks.len() / BLOCK_ENTRY_LEN) as u32
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> u32 {
        (self.chunks.len() / CHUNK_ENTRY_LEN) as u32
    }

    /// Entry `number` of the block table.
    pub fn block(&self, number: u32) -> Result<BlockEntry> {
        if number >= self.block_count() {
            return Err(FormatError::invalid(Self::WHAT, format!("there is no block {number}")));
        }
        let at = number as usize * BLOCK_ENTRY_LEN;
        let entry = &self.blocks[at..at + BLOCK_ENTRY_LEN];
        let block = BlockEntry {
            offset: u64_at(entry, 0),
            stored_len: u32_at(entry, 8),
            plain_len: u32_at(entry, 12),
            table_len: u32_at(entry, 16),
            chunk_count: u32_at(entry, 20),
            payload_sum: u64_at(entry, 24),
            kind: BlockKind::decode(entry[32], Self::WHAT)?,
            codec: Codec::decode(entry[33], Self::WHAT)?,
        };
        block.check(Self::WHAT)?;
        if block.offset.checked_add(2 * MAX_BLOCK as u64).is_none() {
            return Err(FormatError::invalid(Self::WHAT, "a block lies past the end"));
        }
        Ok(block)
    }

    /// Record `number` of the chunk table; `number` is below [`Self::chunk_count`].
    pub fn chunk(&self, number: u32) -> (ObjectId, ChunkEntry) {
        let at = number as usize * CHUNK_ENTRY_LEN;
        let entry = &self.chunks[at..at + CHUNK_ENTRY_LEN];
        let chunk = ChunkEntry {
            block: u32_at(entry, ID_LEN),
            offset: u32_at(entry, ID_LEN + 4),
            len: u32_at(entry, ID_LEN + 8),
        };
        (id_at(entry, 0), chunk)
    }

    /// All chunks, in order of their ids.
    pub fn chunks(&self) -> impl Iterator<Item = (ObjectId, ChunkEntry)> + '_ {
        (0..self.chunk_count()).map(|number| self.chunk(number))
    }

    /// Number of the first record whose id is not below `id`.
    pub fn lower_bound(&self, id: &ObjectId) -> u32 {
        lower_bound(self.chunks, CHUNK_ENTRY_LEN, id) as u32
    }

    /// Looks a chunk up.
    pub fn find(&self, id: &ObjectId) -> Option<ChunkEntry> {
        self.position(id).map(|(_, chunk)| chunk)
    }

    /// Looks a chunk up, with the number of its record.
    pub fn position(&self, id: &ObjectId) -> Option<(u32, ChunkEntry)> {
        let number = self.lower_bound(id);
        if number >= self.chunk_count() {
            return None;
        }
        let (found, chunk) = self.chunk(number);
        (found == *id).then_some((number, chunk))
    }
}

/// The end of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the footer from the start of the pack.
    pub footer_offset: u64,
    /// Bytes of the footer.
    pub footer_len: u64,
    /// The pack's id: hash of the footer.
    pub pack: PackId,
}

impl Trailer {
    /// Last bytes of a pack.
    pub fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut out = Vec::with_capacity(TRAILER_LEN);
        out.extend_from_slice(TRAILER_MAGIC);
        out.extend_from_slice(&self.footer_offset.to_le_bytes());
        out.extend_from_slice(&self.footer_len.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(self.pack.as_bytes());
        push_checksum(&mut out, 0);
        let mut trailer = [0; TRAILER_LEN];
        trailer.copy_from_slice(&out);
        trailer
    }

    /// Reads the last bytes of a pack of `file_len` bytes.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self> {
        const WHAT: &str = "a pack's trailer";
        let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
        reader.magic(TRAILER_MAGIC)?;
        let (footer_offset, footer_len) = (reader.u64()?, reader.u64()?);
        if reader.u64()? != 0 {
            return Err(reader.invalid("reserved bytes are in use"));
        }
        let pack = reader.id()?.into();
        reader.finish()?;
        let end =
            footer_offset.checked_add(footer_len).and_then(|at| at.checked_add(TRAILER_LEN as u64));
        if end != Some(file_len) || footer_offset < HEADER_LEN as u64 {
            return Err(FormatError::invalid(WHAT, "the footer does not end at the trailer"));
        }
        Ok(Self { footer_offset, footer_len, pack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(lengths: &[u32]) -> BlockEntry {
        let plain_len = lengths.iter().sum();
        BlockEntry {
            offset: 40,
            stored_len: plain_len,
            plain_len,
            table_len: 0,
            chunk_count: lengths.len() as u32,
            payload_sum: 5,
            kind: BlockKind::Data,
            codec: Codec::Raw,
        }
    }

    #[test]
    fn a_header_finds_every_flip_and_every_cut() {
        let bytes = encode_header(PackKind::Meta, &[3; 16]);
        assert_eq!(decode_header(&bytes).unwrap(), (PackKind::Meta, [3; 16]));
        for at in 0..bytes.len() {
            assert!(decode_header(&bytes[..at]).is_err());
            let mut flipped = bytes;
            flipped[at] ^= 4;
            assert!(decode_header(&flipped).is_err());
        }
    }

    #[test]
    fn a_trailer_must_meet_the_footer_and_the_file_end() {
        let trailer = Trailer { footer_offset: 100, footer_len: 50, pack: PackId::of(b"f") };
        let bytes = trailer.encode();
        let file_len = 150 + TRAILER_LEN as u64;
        assert_eq!(Trailer::decode(&bytes, file_len).unwrap(), trailer);
        assert!(Trailer::decode(&bytes, file_len + 1).is_err());
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert!(Trailer::decode(&flipped, file_len).is_err());
        }
    }

    #[test]
    fn a_footer_states_what_its_blocks_add_up_to() {
        let bytes = encode_footer(PackKind::Data, &[1; 16], &[entry(&[5]), entry(&[2, 3])], &[]);
        assert_eq!(Footer::decode(&bytes).unwrap().check_totals(), Ok(()));
        for at in (40..56).chain([64 + 8, 64 + BLOCK_ENTRY_LEN + 12]) {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Footer::decode(&other).unwrap().check_totals().is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn frames_round_trip(lengths in proptest::collection::vec(1u32..70_000, 1..40)) {
            let wanted = entry(&lengths);
            let (bytes, table_len) = encode_frame(&wanted, lengths.iter().copied());
            let (found, table_sum) = decode_frame_header(&bytes, 40).unwrap();
            prop_assert_eq!(found, BlockEntry { table_len, ..wanted });
            let table = &bytes[FRAME_HEADER_LEN..];
            prop_assert_eq!(decode_lengths(&found, table_sum, table).unwrap(), lengths);
        }

        #[test]
        fn a_flipped_frame_is_found(lengths in proptest::collection::vec(1u32..70_000, 1..40), at: prop::sample::Index, bit in 0u8..8) {
            let (mut bytes, _) = encode_frame(&entry(&lengths), lengths.iter().copied());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let decoded = decode_frame_header(&bytes, 40)
                .and_then(|(found, sum)| decode_lengths(&found, sum, &bytes[FRAME_HEADER_LEN..]));
            prop_assert!(decoded.is_err());
        }

        #[test]
        fn a_footer_finds_each_of_its_chunks(seeds in proptest::collection::btree_set(any::<u64>(), 0..300), other: u64) {
            let mut chunks: Vec<_> = seeds.iter().enumerate().map(|(n, seed)| {
                let id = BlockKind::Data.id_of(&seed.to_le_bytes());
                (id, ChunkEntry { block: n as u32, offset: 1, len: 2 })
            }).collect();
            chunks.sort_by_key(|chunk| chunk.0);
            let bytes = encode_footer(PackKind::Data, &[1; 16], &[entry(&[5])], &chunks);
            let footer = Footer::decode(&bytes).unwrap();
            for (id, chunk) in &chunks {
                prop_assert_eq!(footer.find(id), Some(*chunk));
            }
            prop_assert_eq!(footer.find(&BlockKind::Data.id_of(&other.to_le_bytes())).is_some(), seeds.contains(&other));
            prop_assert_eq!(footer.block(0).unwrap(), entry(&[5]));
            prop_assert!(footer.block(1).is_err());
        }

        #[test]
        fn any_bytes_give_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), len: u64) {
            let _ = Footer::decode(&bytes);
            let _ = Trailer::decode(&bytes, len);
            let _ = decode_frame_header(&bytes, len);
            let _ = decode_lengths(&entry(&[7, 9]), checksum(&bytes), &bytes);
        }
    }
}
