//! The merged index: one sorted table of the chunks of many packs.
//!
//! It is a cache. What it says is believed only as far as the pack it names is there, and every
//! read checks the id of what it got; a damaged one is dropped and rebuilt from the footers.

use super::bytes::{Reader, checksum, id_at, lower_bound, push_checksum, split_checksum, u32_at};
use super::pack::ChunkEntry;
use super::{FormatError, Result};
use crate::id::{ID_LEN, ObjectId, PackId};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 48;
/// Bytes of one record.
pub const RECORD_LEN: usize = ID_LEN + 16;
/// Bytes of the checksum that ends the file.
pub const TRAILER_LEN: usize = 8;

const MAGIC: &[u8; 8] = b"DIGMIDX1";
const WHAT: &str = "a merged index";

/// One record: which pack, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRecord {
    /// The chunk.
    pub id: ObjectId,
    /// Number of the pack in the index's table of packs.
    pub pack: u32,
    /// Place in the pack.
    pub chunk: ChunkEntry,
}

impl IndexRecord {
    /// Bytes of the record.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[..ID_LEN].copy_from_slice(self.id.as_bytes());
        let fields = [self.pack, self.chunk.block, self.chunk.offset, self.chunk.len];
        for (field, slot) in fields.iter().zip(out[ID_LEN..].chunks_exact_mut(4)) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        out
    }
}

/// Header and table of packs; `record_count` records and [`checksum`] of all before it follow.
pub fn encode_head(packs: &[PackId], record_count: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + packs.len() * ID_LEN);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(packs.len() as u64).to_le_bytes());
    out.extend_from_slice(&record_count.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    push_checksum(&mut out, 0);
    packs.iter().for_each(|pack| out.extend_from_slice(pack.as_bytes()));
    out
}

/// A view of a merged index: nothing is parsed at open but the header.
#[derive(Debug, Clone, Copy)]
pub struct PackIndex<'a> {
    packs: &'a [u8],
    records: &'a [u8],
}

impl<'a> PackIndex<'a> {
    /// Takes the tables apart; their lengths must fill `bytes` exactly.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, bytes);
        let mut head = Reader::new(WHAT, split_checksum(WHAT, reader.bytes(HEADER_LEN)?)?);
        head.magic(MAGIC)?;
        let (pack_count, record_count) = (head.u64()?, head.u64()?);
        let table = |count: u64, len: usize| {
            usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(len)
        };
        let packs = reader.bytes(table(pack_count, ID_LEN))?;
        let records = reader.bytes(table(record_count, RECORD_LEN))?;
        reader.bytes(TRAILER_LEN)?;
        reader.finish()?;
        Ok(Self { packs, records })
    }

    /// Number of packs.
    pub fn pack_count(&self) -> usize {
        self.packs.len() / ID_LEN
    }

    /// Number of records.
    pub fn record_count(&self) -> usize {
        self.records.len() / RECORD_LEN
    }

    /// Entry `number` of the table of packs.
    pub fn pack(&self, number: u32) -> Result<PackId> {
        if number as usize >= self.pack_count() {
            return Err(FormatError::invalid(WHAT, format!("there is no pack {number}")));
        }
        Ok(id_at(self.packs, number as usize * ID_LEN).into())
    }

    /// All packs, in the order of their numbers.
    pub fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.packs.chunks_exact(ID_LEN).map(|bytes| id_at(bytes, 0).into())
    }

    /// Record `number`, below [`Self::record_count`].
    pub fn record(&self, number: usize) -> IndexRecord {
        let entry = &self.records[number * RECORD_LEN..][..RECORD_LEN];
        IndexRecord {
            id: id_at(entry, 0),
            pack: u32_at(entry, ID_LEN),
            chunk: ChunkEntry {
                block: u32_at(entry, ID_LEN + 4),
                offset: u32_at(entry, ID_LEN + 8),
                len: u32_at(entry, ID_LEN + 12),
            },
        }
    }

    /// Number of the first record whose id is not below `id`.
    pub fn lower_bound(&self, id: &ObjectId) -> usize {
        lower_bound(self.records, RECORD_LEN, id)
    }

    /// Looks a chunk up.
    pub fn find(&self, id: &ObjectId) -> Option<IndexRecord> {
        self.position(id).map(|(_, record)| record)
    }

    /// Looks a chunk up, with the number of its record.
    pub fn position(&self, id: &ObjectId) -> Option<(usize, IndexRecord)> {
        let number = self.lower_bound(id);
        let record = (number < self.record_count()).then(|| self.record(number))?;
        (record.id == *id).then_some((number, record))
    }
}

/// Checks the checksum that ends a merged index, which reads all of it.
pub fn verify(bytes: &[u8]) -> Result<()> {
    let Some((body, sum)) = bytes.split_last_chunk::<TRAILER_LEN>() else {
        return Err(FormatError::Truncated { what: WHAT, needed: 8, present: bytes.len() as u64 });
    };
    if checksum(body) == u64::from_le_bytes(*sum) {
        Ok(())
    } else {
        Err(FormatError::Checksum { what: WHAT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::pack::BlockKind;
    use proptest::prelude::*;

    fn build(records: &[IndexRecord], packs: &[PackId]) -> Vec<u8> {
        let mut out = encode_head(packs, records.len() as u64);
        records.iter().for_each(|record| out.extend_from_slice(&record.encode()));
        push_checksum(&mut out, 0);
        out
    }

    proptest! {
        #[test]
        fn finds_what_it_holds_whatever_the_spread(
            heads in proptest::collection::btree_set(prop_oneof![any::<u64>(), 0u64..50, (u64::MAX - 50)..u64::MAX], 0..300),
            probe: u64,
        ) {
            let id = |head: u64| {
                let mut bytes = [0; ID_LEN];
                bytes[..8].copy_from_slice(&head.to_be_bytes());
                ObjectId::from_bytes(bytes)
            };
            let records: Vec<_> = heads.iter().map(|head| IndexRecord {
                id: id(*head), pack: 0, chunk: ChunkEntry { block: 1, offset: 2, len: 3 },
            }).collect();
            let bytes = build(&records, &[PackId::of(b"p")]);
            verify(&bytes).unwrap();
            let index = PackIndex::decode(&bytes).unwrap();
            for record in &records {
                prop_assert_eq!(index.find(&record.id), Some(*record));
            }
            prop_assert_eq!(index.find(&id(probe)).is_some(), heads.contains(&probe));
            prop_assert_eq!(index.lower_bound(&id(probe)), heads.range(..probe).count());
        }

        #[test]
        fn any_bytes_give_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = PackIndex::decode(&bytes);
            let _ = verify(&bytes);
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_found() {
        let record = IndexRecord {
            id: BlockKind::Data.id_of(b"x"),
            pack: 0,
            chunk: ChunkEntry { block: 0, offset: 0, len: 1 },
        };
        let bytes = build(&[record], &[PackId::of(b"p")]);
        for at in 0..bytes.len() {
            assert!(PackIndex::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 16;
            assert!(verify(&flipped).is_err());
        }
    }
}
