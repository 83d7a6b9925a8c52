//! Parity: what heals a pack, in a file of its own beside it.
//!
//! The pack is seen as shards of equal length, the last one filled up with zeros. Shard *i* belongs to
//! group *i* modulo the number of groups, so that damage in one place is spread over all of them. Each
//! group has *recovery* shards of Reed–Solomon code: any so many lost shards of the group can be had
//! again. The sum of every shard tells which ones are lost. Sums and header are there twice, at both
//! ends of the file.

use super::bytes::{Reader, check_version, checksum, push_checksum, split_checksum, u64_at};
use super::{FormatError, Result};
use crate::id::{ID_LEN, PackId};

/// Bytes of the header.
pub const HEADER_LEN: usize = 80;
/// Longest shard: what a disk loses at once. Shorter only where the pack is.
pub const MAX_SHARD: usize = 4096;
/// Lengths of shards are multiples of this, which the code works on.
pub const SHARD_STEP: usize = 64;
/// Most shards of a pack in one group, and most recovery shards of it.
pub const MAX_GROUP: u64 = 4096;
/// Longest pack: beyond what anybody stores, and far from where offsets overflow.
const MAX_PACK: u64 = 1 << 40;
/// Version that this release writes and the newest that it reads.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"DIGPARI1";
const WHAT: &str = "parity";
const TABLE: &str = "a table of sums of parity";
const SUM_LEN: u64 = 8;

/// The first and the last bytes of the file: what it belongs to, and how it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pack.
    pub pack: PackId,
    /// Its length.
    pub pack_len: u64,
    /// Bytes of a shard.
    pub shard_len: u32,
    /// Number of groups.
    pub groups: u32,
    /// Recovery shards of each group.
    pub recovery: u32,
}

impl Layout {
    /// The header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(self.pack.as_bytes());
        out.extend_from_slice(&self.pack_len.to_le_bytes());
        for field in [self.shard_len, self.groups, self.recovery, 0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        push_checksum(&mut out, 0);
        out
    }

    /// Reads a header. What it allows, [`Self::file_len`] and all offsets are computed without
    /// overflow, and a group fits into memory.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let head = Reader::new(WHAT, bytes).bytes(HEADER_LEN)?;
        let mut reader = Reader::new(WHAT, head);
        reader.magic(MAGIC)?;
        check_version::<2>(&mut reader, head, VERSION.into())?;
        split_checksum(WHAT, head)?;
        let reserved = reader.array::<6>()?;
        let parity = Self {
            pack: PackId::from_bytes(reader.array::<ID_LEN>()?),
            pack_len: reader.u64()?,
            shard_len: reader.u32()?,
            groups: reader.u32()?,
            recovery: reader.u32()?,
        };
        if reserved != [0; 6] || reader.u32()? != 0 {
            return Err(FormatError::invalid(WHAT, "reserved bytes are in use"));
        }
        parity.check()?;
        Ok(parity)
    }

    fn check(&self) -> Result<()> {
        let is_shard = (SHARD_STEP..=MAX_SHARD).contains(&(self.shard_len as usize))
            && (self.shard_len as usize).is_multiple_of(SHARD_STEP);
        let is_sound = (1..=MAX_PACK).contains(&self.pack_len)
            && is_shard
            && (1..=self.shards()).contains(&u64::from(self.groups))
            && self.shards().div_ceil(self.groups.into()) <= MAX_GROUP
            && (1..=MAX_GROUP).contains(&self.recovery.into());
        if is_sound {
            Ok(())
        } else {
            Err(FormatError::invalid(WHAT, format!("impossible sizes: {self:?}")))
        }
    }

    /// Number of shards of the pack.
    pub fn shards(&self) -> u64 {
        self.pack_len.div_ceil(self.shard_len.into())
    }

    /// Number of shards of the pack in one group.
    pub fn group_len(&self, group: u32) -> usize {
        let (whole, more) = (self.shards() / self.groups(), self.shards() % self.groups());
        whole as usize + usize::from(u64::from(group) < more)
    }

    fn groups(&self) -> u64 {
        self.groups.into()
    }

    /// Which shard of the pack is number `at` of a group.
    pub fn shard(&self, group: u32, at: usize) -> u64 {
        at as u64 * self.groups() + u64::from(group)
    }

    /// Bytes of the table of a group, its own sum counted.
    pub fn table_len(&self, group: u32) -> usize {
        (self.group_len(group) + self.recovery as usize + 1) * SUM_LEN as usize
    }

    /// Bytes of the tables of all groups before one.
    fn tables_before(&self, group: u64) -> u64 {
        let more = (self.shards() % self.groups()).min(group);
        let each = self.shards() / self.groups() + u64::from(self.recovery) + 1;
        (each * group + more) * SUM_LEN
    }

    fn shards_before(&self, group: u64) -> u64 {
        group * u64::from(self.recovery) * u64::from(self.shard_len)
    }

    /// Offsets of the two copies of the table of a group.
    pub fn tables(&self, group: u32) -> [u64; 2] {
        let group = u64::from(group);
        let first = HEADER_LEN as u64 + self.tables_before(group) + self.shards_before(group);
        let again = self.tables_before(self.groups()) + self.shards_before(self.groups());
        [first, HEADER_LEN as u64 + again + self.tables_before(group)]
    }

    /// Offset of a recovery shard of a group.
    pub fn recovery_shard(&self, group: u32, at: usize) -> u64 {
        let [table, _] = self.tables(group);
        table + self.table_len(group) as u64 + at as u64 * u64::from(self.shard_len)
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        let all = self.groups();
        2 * (HEADER_LEN as u64 + self.tables_before(all)) + self.shards_before(all)
    }

    /// The fewest bytes of a file from which anything can be healed, as when its end is cut off.
    pub fn least_len(&self) -> u64 {
        HEADER_LEN as u64 + self.tables_before(self.groups())
    }

    /// The table of a group: sums of its shards of the pack, then of its recovery shards.
    pub fn encode_table(&self, group: u32, sums: &[u64]) -> Vec<u8> {
        let mut out = Vec::with_capacity((sums.len() + 1) * SUM_LEN as usize);
        sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        let sum = self.table_sum(group, &out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// The sums of a group from `table_len` bytes.
    pub fn decode_table(&self, group: u32, bytes: &[u8]) -> Result<Vec<u64>> {
        let present = bytes.len() as u64;
        let needed = self.table_len(group) as u64;
        let Some((sums, sum)) = bytes.split_last_chunk::<8>().filter(|_| present == needed) else {
            return Err(FormatError::Truncated { what: TABLE, needed, present });
        };
        if u64::from_le_bytes(*sum) != self.table_sum(group, sums) {
            return Err(FormatError::Checksum { what: TABLE });
        }
        Ok((0..sums.len()).step_by(SUM_LEN as usize).map(|at| u64_at(sums, at)).collect())
    }

    /// Covers pack and group too: a disk may hold the table of a file that was removed.
    fn table_sum(&self, group: u32, sums: &[u8]) -> u64 {
        let mut bytes = self.pack.as_bytes().to_vec();
        bytes.extend_from_slice(&group.to_le_bytes());
        bytes.extend_from_slice(sums);
        checksum(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parity(pack_len: u64, shard_len: u32, groups: u32, recovery: u32) -> Layout {
        Layout { pack: PackId::of(b"pack"), pack_len, shard_len, groups, recovery }
    }

    #[test]
    fn a_header_round_trips_and_damage_is_found() {
        let header = parity(70_000_001, 4096, 5, 171);
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(Layout::decode(&bytes).unwrap(), header);
        for at in 0..bytes.len() {
            assert!(Layout::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Layout::decode(&flipped).is_err());
        }
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let good = parity(10_000, 4096, 1, 3);
        assert!(Layout::decode(&good.encode()).is_ok());
        for bad in [
            parity(0, 4096, 1, 1),
            parity(u64::MAX, 4096, u32::MAX, 1),
            parity(MAX_PACK + 1, 4096, 1 << 20, 1),
            parity(10_000, 0, 1, 1),
            parity(10_000, 96, 1, 1),
            parity(10_000, 8192, 1, 1),
            parity(10_000, u32::MAX - 63, 1, 1),
            parity(10_000, 4096, 0, 1),
            parity(10_000, 4096, 4, 1),
            parity(100_000_000, 4096, 5, 1),
            parity(10_000, 4096, 1, 0),
            parity(10_000, 4096, 1, 4097),
            parity(10_000, 4096, 1, u32::MAX),
        ] {
            assert!(Layout::decode(&bad.encode()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_table_of_another_group_or_pack_is_not_taken() {
        let header = parity(9000, 64, 2, 3);
        let sums: Vec<u64> = (0..header.group_len(1) as u64 + 3).collect();
        let table = header.encode_table(1, &sums);
        assert_eq!(header.decode_table(1, &table).unwrap(), sums);
        assert!(parity(9000 - 64, 64, 2, 3).decode_table(0, &table).is_err());
        let other = Layout { pack: PackId::of(b"other"), ..header };
        assert!(other.decode_table(1, &table).is_err());
        assert!(header.decode_table(1, &table[8..]).is_err());
    }

    proptest! {
        #[test]
        fn every_shard_has_one_place_and_the_file_no_gap(
            pack_len in 1u64..3_000_000, steps in 1u32..65, groups in 1u32..9, recovery in 1u32..20,
        ) {
            let header = parity(pack_len, steps * SHARD_STEP as u32, groups, recovery);
            prop_assume!(header.check().is_ok());
            let mut seen = vec![false; header.shards() as usize];
            let mut at = HEADER_LEN as u64;
            for group in 0..groups {
                for number in 0..header.group_len(group) {
                    let shard = header.shard(group, number) as usize;
                    prop_assert!(!std::mem::replace(&mut seen[shard], true));
                }
                prop_assert_eq!(header.tables(group)[0], at);
                at += header.table_len(group) as u64;
                prop_assert_eq!(header.recovery_shard(group, 0), at);
                at = header.recovery_shard(group, recovery as usize);
            }
            for group in 0..groups {
                prop_assert_eq!(header.tables(group)[1], at);
                at += header.table_len(group) as u64;
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
            prop_assert_eq!(at + HEADER_LEN as u64, header.file_len());
        }

        #[test]
        fn any_bytes_give_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Layout::decode(&bytes);
            let _ = parity(10_000, 4096, 1, 3).decode_table(0, &bytes);
        }

        #[test]
        fn any_header_with_a_good_sum_gives_no_panic(
            pack_len: u64, shard_len: u32, groups: u32, recovery: u32,
        ) {
            let header = parity(pack_len, shard_len, groups, recovery);
            if let Ok(header) = Layout::decode(&header.encode()) {
                let last = header.groups - 1;
                prop_assert!(header.tables(last)[1] < header.file_len());
                prop_assert!(header.recovery_shard(last, 0) < header.file_len());
            }
        }
    }
}
