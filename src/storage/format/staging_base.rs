//! The base of the staging area: fixed-size records in path order, a hash table of record numbers,
//! and the paths.
//!
//! It is read where it lies, with nothing parsed: the trailing checksum is verified once when it
//! is opened, a record when it is asked for. A checksum is no proof against a forger, so every
//! range is checked when it is used: a record that names bytes outside the file has an empty path,
//! one of an unknown kind is left out, and [`StagedView::to_entry`] checks each path before it
//! becomes a `RepoPath`.

use std::ops::{Deref, Range};

use super::bytes::{
    Reader, check_version, checksum, id_at, push_checksum, split_checksum, u32_at, u64_at,
};
use super::staging::{FileStat, KindView, RACY, StagedView, VERSION};
use super::{FormatError, Result};
use crate::id::{ID_LEN, TreeId};
use crate::path::compare;

/// Bytes of the base's header.
pub const HEADER_LEN: usize = 88;
/// Bytes of one record.
pub const RECORD_LEN: usize = 96;
/// Bytes of one slot of the hash table.
pub const SLOT_LEN: usize = 4;
/// Bytes of the checksum that ends the base.
pub const SUM_LEN: usize = 8;

const MAGIC: &[u8; 8] = b"DIGSTAG1";
const WHAT: &str = "the base of the staging area";
const MIN_SLOTS: u64 = 8;

/// The base's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseHeader {
    /// Number of this base; its log names it.
    pub generation: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of all paths and targets.
    pub string_bytes: u64,
    /// The tree that equals the staging area.
    pub clean_tree: Option<TreeId>,
}

impl BaseHeader {
    /// Slots of the hash table: a power of two, at most half of them in use.
    pub fn slots(&self) -> u64 {
        self.records.saturating_mul(2).max(MIN_SLOTS).next_power_of_two()
    }

    /// Bytes of the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.push(u8::from(self.clean_tree.is_some()));
        out.extend_from_slice(&[0; 5]);
        for field in [self.generation, self.records, self.slots(), self.string_bytes] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(self.clean_tree.unwrap_or(TreeId::from_bytes([0; 32])).as_bytes());
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the header at the start of the base.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let head = Reader::new(WHAT, bytes).bytes(HEADER_LEN)?;
        let mut reader = Reader::new(WHAT, head);
        reader.magic(MAGIC)?;
        check_version::<2>(&mut reader, head, VERSION.into())?;
        split_checksum(WHAT, head)?;
        let is_clean = reader.array::<6>()?;
        let (generation, records, slots) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let string_bytes = reader.u64()?;
        let tree = TreeId::from(reader.id()?);
        let clean_tree = match is_clean {
            [0, 0, 0, 0, 0, 0] => None,
            [1, 0, 0, 0, 0, 0] => Some(tree),
            other => return Err(FormatError::invalid(WHAT, format!("flags {other:?}"))),
        };
        if records >= u64::from(u32::MAX) {
            return Err(FormatError::invalid(WHAT, format!("{records} records")));
        }
        let header = Self { generation, records, string_bytes, clean_tree };
        if slots != header.slots() {
            return Err(FormatError::invalid(WHAT, format!("{slots} slots, {records} records")));
        }
        Ok(header)
    }
}

/// One record; the entry's path, then its target, lie at `string_offset` of the string table.
pub fn encode_record(entry: &StagedView<'_>, string_offset: u64) -> Vec<u8> {
    let (tags, id) = entry.kind.tags();
    let mut out = Vec::with_capacity(RECORD_LEN);
    out.extend_from_slice(&checksum(entry.path).to_le_bytes());
    out.extend_from_slice(&string_offset.to_le_bytes());
    entry.stat.push(&mut out);
    // Both fit: a path has at most 4,096 bytes, a target 4,095.
    out.extend_from_slice(&(entry.path.len() as u16).to_le_bytes());
    out.extend_from_slice(&(entry.kind.target().len() as u16).to_le_bytes());
    out.extend_from_slice(&tags);
    out.push(if entry.racy { RACY } else { 0 });
    out.resize(RECORD_LEN - ID_LEN, 0);
    out.extend_from_slice(&id);
    out
}

/// The hash table under construction: open addressing, linear probing, 0 for an empty slot and
/// n + 1 for record n.
#[derive(Debug)]
pub struct SlotTable {
    slots: Vec<u32>,
    next: u32,
}

impl SlotTable {
    /// An empty table for the records of `header`.
    pub fn new(header: &BaseHeader) -> Self {
        Self { slots: vec![0; header.slots() as usize], next: 0 }
    }

    /// Adds the next record.
    pub fn push(&mut self, path: &[u8]) {
        self.next += 1;
        let mask = self.slots.len() - 1;
        let mut slot = checksum(path) as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = self.next;
    }

    /// The slots as stored.
    pub fn encoded(&self) -> impl Iterator<Item = [u8; SLOT_LEN]> {
        self.slots.iter().map(|slot| slot.to_le_bytes())
    }
}

/// A base, read where its bytes lie.
#[derive(Debug)]
pub struct StagingBase<B> {
    bytes: B,
    header: BaseHeader,
    slots_at: usize,
    strings_at: usize,
    strings_end: usize,
}

impl<B: Deref<Target = [u8]>> StagingBase<B> {
    /// Verifies header, length and checksum.
    pub fn open(bytes: B) -> Result<Self> {
        let base = Self::open_written(bytes)?;
        split_checksum(WHAT, &base.bytes)?;
        Ok(base)
    }

    /// Verifies header and length: for a base that this process has just written.
    pub fn open_written(bytes: B) -> Result<Self> {
        let header = BaseHeader::decode(&bytes)?;
        // Records are fewer than 2^32, so that only the length of the strings can overflow.
        let slots_at = HEADER_LEN as u64 + header.records * RECORD_LEN as u64;
        let strings_at = slots_at + header.slots() * SLOT_LEN as u64;
        let needed = strings_at.saturating_add(header.string_bytes).saturating_add(SUM_LEN as u64);
        let present = bytes.len() as u64;
        if needed > present {
            return Err(FormatError::Truncated { what: WHAT, needed, present });
        }
        if needed < present {
            return Err(FormatError::invalid(WHAT, format!("{} bytes too many", present - needed)));
        }
        let strings_end = bytes.len() - SUM_LEN;
        let (slots_at, strings_at) = (slots_at as usize, strings_at as usize);
        Ok(Self { bytes, header, slots_at, strings_at, strings_end })
    }

    /// What it was opened over.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The header.
    pub fn header(&self) -> &BaseHeader {
        &self.header
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.header.records as usize
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.header.records == 0
    }

    fn record(&self, number: usize) -> &[u8] {
        let at = HEADER_LEN + number * RECORD_LEN;
        &self.bytes[at..at + RECORD_LEN]
    }

    /// `len` bytes of the string table behind `skip` bytes of the record's string.
    fn string(&self, record: &[u8], skip: usize, len: usize) -> &[u8] {
        let strings = &self.bytes[self.strings_at..self.strings_end];
        let start = usize::try_from(u64_at(record, 8)).ok().and_then(|at| at.checked_add(skip));
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        range.and_then(|range| strings.get(range)).unwrap_or_default()
    }

    /// The path of record `number`, which is below [`Self::len`].
    pub fn path(&self, number: usize) -> &[u8] {
        let record = self.record(number);
        self.string(record, 0, (u32_at(record, 52) & 0xffff) as usize)
    }

    /// Record `number`, which is below [`Self::len`]; `None` if its kind is unknown.
    pub fn view(&self, number: usize) -> Option<StagedView<'_>> {
        let record = self.record(number);
        let lens = u32_at(record, 52);
        let (path_len, target_len) = ((lens & 0xffff) as usize, (lens >> 16) as usize);
        let id = *id_at(record, RECORD_LEN - ID_LEN).as_bytes();
        let target = self.string(record, path_len, target_len);
        Some(StagedView {
            path: self.string(record, 0, path_len),
            kind: KindView::from_tags([record[56], record[57]], id, target)?,
            stat: FileStat::at(record, 16),
            racy: record[58] & RACY != 0,
        })
    }

    /// Whether record `number` is that of `path`: what a lookup in path order asks first.
    pub fn is_at(&self, number: usize, path: &[u8]) -> bool {
        number < self.len() && self.path(number) == path
    }

    /// The number of the record of `path`: one probe or a few.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.find_hashed(path, checksum(path))
    }

    /// As [`Self::find`], for a path whose checksum is known.
    pub fn find_hashed(&self, path: &[u8], hash: u64) -> Option<usize> {
        let slots = self.header.slots() as usize;
        let mut slot = hash as usize & (slots - 1);
        // A forged table may have no empty slot.
        for _ in 0..slots {
            let number = match u32_at(&self.bytes, self.slots_at + slot * SLOT_LEN) {
                0 => return None,
                next => next as usize - 1,
            };
            let is_here = number < self.len()
                && u64_at(self.record(number), 0) == hash
                && self.path(number) == path;
            if is_here {
                return Some(number);
            }
            slot = (slot + 1) & (slots - 1);
        }
        None
    }

    /// The numbers of the records whose path is not before `low` and before `high`.
    pub fn between(&self, low: &[u8], high: &[u8]) -> Range<usize> {
        let start = self.lower_bound(low);
        start..self.lower_bound(high).max(start)
    }

    fn lower_bound(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if compare(self.path(middle), path).is_lt() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::Content;
    use super::super::staging::tests::entry;
    use super::super::staging::{StagedEntry, StagedKind};
    use super::*;
    use crate::id::ChunkId;
    use crate::path::RepoPath;
    use proptest::prelude::*;

    fn encode(entries: &[StagedEntry], clean_tree: Option<TreeId>) -> Vec<u8> {
        let strings: Vec<u8> = entries
            .iter()
            .flat_map(|entry| [entry.path.as_bytes(), entry.kind.view().target()].concat())
            .collect();
        let (records, string_bytes) = (entries.len() as u64, strings.len() as u64);
        let header = BaseHeader { generation: 7, records, string_bytes, clean_tree };
        let (mut out, mut table, mut at) = (header.encode(), SlotTable::new(&header), 0);
        for entry in entries {
            out.extend(encode_record(&entry.view(), at));
            table.push(entry.path.as_bytes());
            at += (entry.path.as_bytes().len() + entry.kind.view().target().len()) as u64;
        }
        table.encoded().for_each(|slot| out.extend(slot));
        out.extend(strings);
        push_checksum(&mut out, 0);
        out
    }

    fn sample() -> Vec<StagedEntry> {
        let entry = |path: &str, kind| StagedEntry {
            path: RepoPath::new(path).unwrap(),
            kind,
            stat: FileStat::default(),
            racy: false,
        };
        let content = Content::Chunk(ChunkId::of(b"x"));
        vec![
            entry("a", StagedKind::File { executable: true, content }),
            entry("a/b", StagedKind::Symlink { target: b"../x".to_vec() }),
            entry("a-b", StagedKind::EmptyDir),
        ]
    }

    #[test]
    fn every_flip_and_every_cut_of_a_base_is_an_error() {
        let bytes = encode(&sample(), Some(TreeId::of(b"t")));
        assert!(StagingBase::open(bytes.as_slice()).is_ok());
        for at in 0..bytes.len() {
            assert!(StagingBase::open(&bytes[..at]).is_err());
            for bit in [1, 0x80] {
                let mut flipped = bytes.clone();
                flipped[at] ^= bit;
                assert!(StagingBase::open(flipped).is_err(), "byte {at}");
            }
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(StagingBase::open(longer).is_err());
    }

    proptest! {
        #[test]
        fn a_base_gives_back_what_was_stored(
            entries in proptest::collection::vec(entry(), 0..40),
            other in "[a-c/]{1,4}",
        ) {
            let mut entries = entries;
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            entries.dedup_by(|a, b| a.path == b.path);
            let base = StagingBase::open(encode(&entries, None)).unwrap();
            prop_assert_eq!(base.len(), entries.len());
            for (number, entry) in entries.iter().enumerate() {
                prop_assert_eq!(base.find(entry.path.as_bytes()), Some(number));
                let found = base.view(number).unwrap().to_entry();
                prop_assert_eq!(found.as_ref(), Some(entry));
            }
            let known = entries.iter().any(|entry| entry.path.as_bytes() == other.as_bytes());
            prop_assert_eq!(base.find(other.as_bytes()).is_some(), known);
        }

        #[test]
        fn a_forged_base_gives_no_panic(
            entries in proptest::collection::vec(entry(), 1..10),
            forged in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        ) {
            let mut bytes = encode(&entries, None);
            let body = bytes.len() - SUM_LEN;
            for (index, byte) in forged {
                bytes[HEADER_LEN + index.index(body - HEADER_LEN)] = byte;
            }
            bytes.truncate(body);
            push_checksum(&mut bytes, 0);
            let base = StagingBase::open(bytes).unwrap();
            for number in 0..base.len() {
                let _ = base.view(number).and_then(|view| view.to_entry());
                let _ = (base.find(base.path(number)), base.between(base.path(number), b"b"));
            }
            let _ = base.find(b"absent");
        }

        #[test]
        fn any_bytes_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(StagingBase::open(bytes).is_err());
        }
    }
}
