//! Packs, the index over them, and what zstd decodes.

use std::path::Path;
use std::sync::Arc;

use digstore::id::{ChunkId, ObjectId, PackId};
use digstore::storage::codec::{BlockDecoder, BlockEncoder};
use digstore::storage::disk::{Disk, OsDisk};
use digstore::storage::format::bytes::checksum;
use digstore::storage::format::pack::{
    BlockEntry, BlockKind, ChunkEntry, Codec, FRAME_HEADER_LEN, FRAME_MAGIC, Footer, HEADER_LEN,
    MAX_BLOCK, MAX_CHUNK, PackKind, TRAILER_LEN, Trailer, decode_frame_header, decode_header,
    decode_lengths, encode_footer, encode_frame, encode_header,
};
use digstore::storage::format::pack_index::{self, IndexRecord, PackIndex, encode_head};
use digstore::storage::format::parity::{self, Layout};
use digstore::storage::pack_store::{Pack, Salvage, pack_path, rebuild_footer};

use super::{Scratch, mend_at, mended};

// ---- the structures of a pack ------------------------------------------------------------------

/// Header, frame, footer and trailer, each alone; which one it is the magic number says.
pub(crate) fn pack(_: &mut Scratch, bytes: &[u8]) {
    check_header(bytes);
    check_frame(bytes);
    check_trailer(bytes);
    check_footer(bytes);
    let mut fitting = bytes.to_vec();
    mend_at(&mut fitting, 0, HEADER_LEN - 8);
    check_header(&fitting);
    let mut fitting = bytes.to_vec();
    mend_frame(&mut fitting, 0);
    check_frame(&fitting);
    check_trailer(&mended(bytes));
}

fn check_header(bytes: &[u8]) {
    if let Ok((kind, nonce)) = decode_header(bytes) {
        assert_eq!(bytes[..HEADER_LEN], encode_header(kind, &nonce));
    }
}

/// Makes the sums of the frame at `at` fit; returns where it ends.
fn mend_frame(bytes: &mut [u8], at: usize) -> Option<usize> {
    let field = |bytes: &[u8], from: usize| {
        Some(u32::from_le_bytes(*bytes.get(at + from..)?.first_chunk()?) as usize)
    };
    let table = at + FRAME_HEADER_LEN;
    let payload = table.checked_add(field(bytes, 12)?)?;
    let end = payload.checked_add(field(bytes, 16)?)?;
    if end > bytes.len() || !bytes[at..].starts_with(FRAME_MAGIC) {
        return None;
    }
    for (at, sum) in [(24, checksum(&bytes[payload..end])), (32, checksum(&bytes[table..payload]))]
        .map(|(field, sum)| (at + field, sum))
    {
        bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    }
    mend_at(bytes, at, at + FRAME_HEADER_LEN - 8);
    Some(end)
}

fn check_frame(bytes: &[u8]) {
    let Ok((entry, table_sum)) = decode_frame_header(bytes, 0) else { return };
    assert!(entry.plain_len as usize <= MAX_BLOCK && entry.stored_len <= entry.plain_len);
    let rest = &bytes[FRAME_HEADER_LEN..];
    let Some((table, rest)) = rest.split_at_checked(entry.table_len as usize) else { return };
    let Ok(lengths) = decode_lengths(&entry, table_sum, table) else { return };
    assert!(lengths.iter().all(|len| (1..=MAX_CHUNK).contains(&(*len as usize))));
    let total: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
    assert_eq!(total, u64::from(entry.plain_len));
    let (head, table_len) = encode_frame(&entry, lengths.iter().copied());
    assert_eq!(head, bytes[..FRAME_HEADER_LEN + table_len as usize]);
    let Some(payload) = rest.get(..entry.stored_len as usize) else { return };
    decode(entry.codec, payload, entry.plain_len as usize);
}

/// Decodes a payload; what comes out has the length that was said, and takes no more memory.
fn decode(codec: Codec, payload: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let result = BlockDecoder::new().unwrap().decode(codec, payload, plain_len, &mut plain);
    // The least that is ever reserved is eight bytes.
    let most = plain_len.max(payload.len()).max(8);
    assert!(plain.capacity() <= most, "grew to {}", plain.capacity());
    result.ok()?;
    assert_eq!(plain.len(), plain_len);
    Some(plain)
}

fn check_trailer(bytes: &[u8]) {
    let end = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field));
    let fits = end(8).zip(end(16)).map(|(offset, len)| offset.wrapping_add(len).wrapping_add(72));
    for len in [bytes.len() as u64, fits.unwrap_or_default()] {
        if let Ok(trailer) = Trailer::decode(bytes, len) {
            assert_eq!(trailer.encode()[..], *bytes);
            assert_eq!(trailer.footer_offset + trailer.footer_len + TRAILER_LEN as u64, len);
        }
    }
}

fn check_footer(bytes: &[u8]) {
    let Ok(footer) = Footer::decode(bytes) else { return };
    let chunks: Vec<_> = footer.chunks().collect();
    let sorted = chunks.is_sorted_by(|a, b| a.0 < b.0);
    for (id, chunk) in &chunks {
        let found = footer.find(id);
        assert!(!sorted || found == Some(*chunk), "not found where it is");
    }
    assert!(footer.block(footer.block_count()).is_err());
    let blocks: Result<Vec<_>, _> =
        (0..footer.block_count()).map(|number| footer.block(number)).collect();
    let Ok(blocks) = blocks else { return };
    // Reserved bytes are ignored, and what adds up is not compared.
    let mut again = encode_footer(footer.kind, &footer.nonce, &blocks, &chunks);
    let tables = (0..blocks.len()).map(|number| 64 + number * 40 + 34..64 + number * 40 + 40);
    for ignored in [9..16, 40..64].into_iter().chain(tables) {
        again[ignored.clone()].copy_from_slice(&bytes[ignored]);
    }
    assert_eq!(again, bytes);
}

fn sample_block(kind: BlockKind, chunks: &[&[u8]]) -> (BlockEntry, Vec<u8>) {
    let payload = chunks.concat();
    let mut entry = BlockEntry {
        offset: HEADER_LEN as u64,
        stored_len: payload.len() as u32,
        plain_len: payload.len() as u32,
        table_len: 0,
        chunk_count: chunks.len() as u32,
        payload_sum: checksum(&payload),
        kind,
        codec: Codec::Raw,
    };
    let (mut frame, table_len) =
        encode_frame(&entry, chunks.iter().map(|chunk| chunk.len() as u32));
    entry.table_len = table_len;
    frame.extend(payload);
    (entry, frame)
}

/// The sum of the pieces of a pack with one frame.
fn sample_pack(kind: BlockKind, chunks: &[&[u8]]) -> [Vec<u8>; 4] {
    let of = if kind == BlockKind::Data { PackKind::Data } else { PackKind::Meta };
    let header = encode_header(of, &[3; 16]).to_vec();
    let (entry, frame) = sample_block(kind, chunks);
    let mut offset = 0;
    let mut table: Vec<(ObjectId, ChunkEntry)> = Vec::new();
    for chunk in chunks {
        let len = chunk.len() as u32;
        table.push((kind.id_of(chunk), ChunkEntry { block: 0, offset, len }));
        offset += len;
    }
    table.sort_by_key(|chunk| chunk.0);
    let footer = encode_footer(of, &[3; 16], &[entry], &table);
    let trailer = Trailer {
        footer_offset: (header.len() + frame.len()) as u64,
        footer_len: footer.len() as u64,
        pack: PackId::of(&footer),
    };
    [header, frame, footer, trailer.encode().to_vec()]
}

/// A frame whose payload is compressed.
fn zstd_frame() -> Vec<u8> {
    let plain = vec![7; 5000];
    let mut payload = Vec::new();
    BlockEncoder::new(3).unwrap().encode(&plain, 0, &mut payload).unwrap();
    let entry = BlockEntry {
        stored_len: payload.len() as u32,
        payload_sum: checksum(&payload),
        codec: Codec::Zstd,
        ..sample_block(BlockKind::Data, &[&plain]).0
    };
    let (mut frame, _) = encode_frame(&entry, std::iter::once(5000));
    frame.extend(payload);
    frame
}

pub(crate) fn pack_seeds() -> Vec<Vec<u8>> {
    let mut seeds = sample_pack(BlockKind::Data, &[b"one", b"and two", b"3"]).to_vec();
    seeds.push(zstd_frame());
    seeds
}

// ---- a whole pack ------------------------------------------------------------------------------

/// Makes all sums of a pack fit, and its id.
pub(crate) fn mend_pack(bytes: &mut [u8]) -> Option<PackId> {
    mend_at(bytes, 0, HEADER_LEN - 8);
    let mut at = HEADER_LEN;
    while let Some(end) = mend_frame(bytes, at) {
        at = end;
    }
    let tail = bytes.len().checked_sub(TRAILER_LEN)?;
    let field = |from: usize| {
        bytes[tail + from..].first_chunk().map(|field| u64::from_le_bytes(*field) as usize)
    };
    let (from, len) = (field(8)?, field(16)?);
    let id = PackId::of(bytes.get(from..from.checked_add(len)?)?);
    bytes[tail + 32..tail + 64].copy_from_slice(id.as_bytes());
    mend_at(bytes, tail, tail + 64);
    Some(id)
}

pub(crate) fn pack_file(scratch: &mut Scratch, bytes: &[u8]) {
    let dir = scratch.fresh_dir("pack");
    check_pack_file(&dir, PackId::of(b"any"), bytes);
    let mut fitting = bytes.to_vec();
    if let Some(id) = mend_pack(&mut fitting) {
        check_pack_file(&dir, id, &fitting);
    }
}

fn check_pack_file(dir: &Path, id: PackId, bytes: &[u8]) {
    let path = dir.join(pack_path(&id));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::create_dir_all(dir.join("tmp")).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir));
    if let Ok(pack) = Pack::open(&*disk, id) {
        read_all(&pack);
    }
    // Of each sound frame something can be made.
    if let Ok(Some(rebuilt)) = rebuild_footer(&*disk, &id) {
        let footer = Footer::decode(&rebuilt.footer).unwrap();
        assert_eq!((footer.block_count(), footer.kind), (rebuilt.blocks, rebuilt.kind));
    }
    let salvage = Salvage::look(&*disk, id).unwrap();
    let objects: std::collections::BTreeSet<_> = salvage.objects().collect();
    let file = disk.open(&pack_path(&id)).unwrap().unwrap();
    let Some(sealed) = salvage.write(&disk, &*file).unwrap() else { return };
    let pack = Pack::open(&*disk, sealed.id).unwrap();
    assert!(read_all(&pack), "what was salvaged is not sound");
    assert!(sealed.objects.iter().eq(&objects), "not all that was salvaged was written");
    let again = Salvage::look(&*disk, sealed.id).unwrap();
    assert!(again.is_sound && again.lost.is_empty());
    std::fs::remove_file(dir.join(pack_path(&sealed.id))).unwrap();
    let _ = std::fs::remove_file(path);
}

/// Reads all of a pack; whether all of it is sound.
fn read_all(pack: &Pack) -> bool {
    let (mut stored, mut plain) = (Vec::new(), Vec::new());
    let mut decoder = BlockDecoder::new().unwrap();
    let footer = pack.footer().unwrap();
    let mut sound = pack.verify_layout().is_ok();
    for number in 0..footer.block_count() {
        let read = pack.read_block(number, &mut decoder, &mut stored, &mut plain);
        let verified = pack.verify_block(number, &mut decoder, &mut stored, &mut plain);
        sound &= verified.is_ok();
        if let Ok(lengths) = verified {
            assert!(read.is_ok(), "sound, and not read");
            assert_eq!(lengths.iter().sum::<u32>() as usize, plain.len());
            let kind = footer.block(number).unwrap().kind;
            for (id, chunk) in footer.chunks().filter(|chunk| chunk.1.block == number) {
                let from = chunk.offset as usize;
                let bytes = from.checked_add(chunk.len as usize).and_then(|to| plain.get(from..to));
                sound &= bytes.is_some_and(|bytes| kind.id_of(bytes) == id);
            }
        }
    }
    sound
}

pub(crate) fn pack_file_seeds() -> Vec<Vec<u8>> {
    let [header, frame, footer, trailer] = sample_pack(BlockKind::Data, &[b"one", b"two two"]);
    let twice = [&header[..], &frame, &frame, &zstd_frame(), &footer, &trailer].concat();
    let tree = sample_pack(BlockKind::Tree, &[&super::small::object_seeds()[1]]);
    vec![[header, frame, footer, trailer].concat(), twice, tree.concat()]
}

// ---- the merged index --------------------------------------------------------------------------

pub(crate) fn pack_index(_: &mut Scratch, bytes: &[u8]) {
    check_index(bytes);
    let mut fitting = bytes.to_vec();
    mend_at(&mut fitting, 0, pack_index::HEADER_LEN - 8);
    check_index(&mended(&fitting));
}

fn check_index(bytes: &[u8]) {
    let Ok(index) = PackIndex::decode(bytes) else { return };
    let records: Vec<IndexRecord> =
        (0..index.record_count()).map(|number| index.record(number)).collect();
    let sorted = records.is_sorted_by(|a, b| a.id < b.id);
    for record in &records {
        let found = index.find(&record.id);
        assert!(!sorted || found == Some(*record));
    }
    let packs: Vec<PackId> = index.packs().collect();
    for (number, pack) in (0..).zip(&packs) {
        assert_eq!(index.pack(number), Ok(*pack));
    }
    assert!(index.pack(packs.len() as u32).is_err());
    let mut again = encode_head(&packs, records.len() as u64);
    // Reserved bytes are ignored; the sum covers them.
    again[24..48].copy_from_slice(&bytes[24..48]);
    records.iter().for_each(|record| again.extend_from_slice(&record.encode()));
    assert_eq!(again, bytes[..bytes.len() - 8]);
    assert_eq!(pack_index::verify(bytes).is_ok(), super::sealed(&again) == bytes);
}

pub(crate) fn pack_index_seeds() -> Vec<Vec<u8>> {
    let packs = [PackId::of(b"p"), PackId::of(b"q")];
    let record = |text: &[u8]| IndexRecord {
        id: ChunkId::of(text).into(),
        pack: text.len() as u32 % 2,
        chunk: ChunkEntry { block: 3, offset: 70, len: 500 },
    };
    let mut records = [record(b"a"), record(b"bb"), record(b"c"), record(b"dd")];
    records.sort_by_key(|record| record.id);
    let mut index = encode_head(&packs, records.len() as u64);
    records.iter().for_each(|record| index.extend_from_slice(&record.encode()));
    vec![super::sealed(&encode_head(&[], 0)), super::sealed(&index)]
}

// ---- parity ------------------------------------------------------------------------------------

/// The header and what it allows to be computed, and tables of sums behind it.
pub(crate) fn parity(_: &mut Scratch, bytes: &[u8]) {
    check_parity(bytes);
    let mut fitting = bytes.to_vec();
    mend_at(&mut fitting, 0, parity::HEADER_LEN - 8);
    check_parity(&fitting);
}

fn check_parity(bytes: &[u8]) {
    let Ok(layout) = Layout::decode(bytes) else { return };
    assert_eq!(layout.encode(), bytes[..parity::HEADER_LEN]);
    let len = layout.file_len();
    assert!(layout.group_len(0) as u64 <= parity::MAX_GROUP);
    for group in [0, layout.groups / 2, layout.groups - 1] {
        let table = layout.table_len(group) as u64;
        assert!(layout.tables(group).iter().all(|at| at + table <= len), "a table lies outside");
        let last = layout.recovery_shard(group, layout.recovery as usize - 1);
        assert!(last + u64::from(layout.shard_len) <= len, "a shard lies outside");
        let at = layout.group_len(group) - 1;
        assert!(layout.shard(group, at) < layout.shards(), "a shard is none of the pack");
        let sums: Vec<u64> =
            (0..(layout.group_len(group) as u64 + u64::from(layout.recovery)).min(5000)).collect();
        let written = layout.encode_table(group, &sums);
        let read = layout.decode_table(group, &written);
        assert_eq!(read.ok(), (written.len() as u64 == table).then_some(sums));
        let rest = &bytes[parity::HEADER_LEN..];
        if let Ok(sums) = layout.decode_table(group, rest) {
            assert_eq!(layout.encode_table(group, &sums), rest);
        }
    }
}

pub(crate) fn parity_seeds() -> Vec<Vec<u8>> {
    let layout = |pack_len, shard_len, groups, recovery| {
        let pack = PackId::of(b"p");
        let layout = Layout { pack, pack_len, shard_len, groups, recovery };
        let sums: Vec<u64> = (0..layout.group_len(0) as u64 + u64::from(recovery)).collect();
        [layout.encode(), layout.encode_table(0, &sums)].concat()
    };
    vec![layout(1, 64, 1, 1), layout(100_000, 4096, 2, 3), layout(1 << 30, 4096, 600, 40)]
}

// ---- zstd --------------------------------------------------------------------------------------

/// Three bytes of a length, then a payload; and what is encoded from the bytes decodes to them.
pub(crate) fn zstd(_: &mut Scratch, bytes: &[u8]) {
    let Some((len, payload)) = bytes.split_first_chunk::<3>() else { return };
    let len = u32::from_le_bytes([len[0], len[1], len[2], 0]) as usize;
    for len in [len, payload.len()] {
        if let Some(plain) = decode(Codec::Zstd, payload, len) {
            // There is one length that it decodes to.
            assert_eq!(decode(Codec::Zstd, payload, len + 1), None);
            assert!(len == 0 || decode(Codec::Zstd, payload, len - 1).is_none());
            let longer = [payload, &[0]].concat();
            assert_eq!(decode(Codec::Zstd, &longer, plain.len()), None, "more than one frame");
        }
        decode(Codec::Raw, payload, len);
    }
    let mut out = Vec::new();
    let codec = BlockEncoder::new(1 + i32::from(bytes[0] % 5)).unwrap();
    let codec = { codec }.encode(payload, 0, &mut out).unwrap();
    if codec == Codec::Zstd {
        assert!(out.len() < payload.len());
        assert_eq!(decode(codec, &out, payload.len()).as_deref(), Some(payload));
    }
}

pub(crate) fn zstd_seeds() -> Vec<Vec<u8>> {
    let seed = |plain: &[u8]| {
        let mut out = Vec::new();
        BlockEncoder::new(3).unwrap().encode(plain, 0, &mut out).unwrap();
        [&(plain.len() as u32).to_le_bytes()[..3], &out].concat()
    };
    let text: Vec<u8> =
        (0..40_000u32).flat_map(|n| format!("{} ", n * n % 977).into_bytes()).collect();
    vec![seed(&[0; 100]), seed(&text[..3000]), seed(&text), seed(&[0; 1 << 20])]
}
