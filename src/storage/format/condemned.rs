//! The condemned packs: those that `gc` will remove. What they hold counts as absent for whoever
//! stores something, and can still be read.

use super::Result;
use super::bytes::{Reader, check_version, push_checksum, split_checksum};
use crate::id::{ID_LEN, PackId};

const WHAT: &str = "the list of condemned packs";
const MAGIC: &[u8; 8] = b"DIGCOND1";
const VERSION: u16 = 1;
const FLAG_THOROUGH: u8 = 1;
const FLAG_OBLITERATING: u8 = 2;
/// Bytes of one entry.
const ENTRY_LEN: usize = ID_LEN + 8;

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condemned {
    /// Whether the next `gc` frees every byte that nothing reaches, also where that means to write
    /// what lies beside it anew: something is to be gone for good.
    pub is_thorough: bool,
    /// Whether an `obliterate` has begun and is not done: files that it took out of history may still
    /// be had by way of the log of operations.
    pub is_obliterating: bool,
    /// The packs, in order of their ids, and when each was condemned, in seconds since 1970-01-01
    /// UTC.
    pub packs: Vec<(PackId, i64)>,
}

impl Condemned {
    /// Bytes of the file. The packs are in order, each once.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.push(
            if self.is_thorough { FLAG_THOROUGH } else { 0 }
                | if self.is_obliterating { FLAG_OBLITERATING } else { 0 },
        );
        out.extend_from_slice(&[0; 5]);
        out.extend_from_slice(&(self.packs.len() as u64).to_le_bytes());
        for (pack, seconds) in &self.packs {
            out.extend_from_slice(pack.as_bytes());
            out.extend_from_slice(&seconds.to_le_bytes());
        }
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        check_version::<2>(&mut reader, bytes, VERSION.into())?;
        let mut reader = Reader::new(WHAT, &split_checksum(WHAT, bytes)?[MAGIC.len() + 2..]);
        let flags = reader.u8()?;
        if flags & !(FLAG_THOROUGH | FLAG_OBLITERATING) != 0 || reader.array::<5>()? != [0; 5] {
            return Err(reader.invalid("reserved bits are in use"));
        }
        let count = reader.u64()?;
        if count != (reader.remaining() / ENTRY_LEN) as u64 {
            return Err(reader.invalid(format!("{count} packs do not fit")));
        }
        let mut packs: Vec<(PackId, i64)> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let pack = reader.id()?.into();
            if packs.last().is_some_and(|(last, _)| *last >= pack) {
                return Err(reader.invalid("its packs are not in order"));
            }
            packs.push((pack, reader.i64()?));
        }
        reader.finish()?;
        let [is_thorough, is_obliterating] =
            [FLAG_THOROUGH, FLAG_OBLITERATING].map(|flag| flags & flag != 0);
        Ok(Self { is_thorough, is_obliterating, packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_round_trips_and_damage_is_found(
            is_thorough: bool,
            is_obliterating: bool,
            packs in proptest::collection::btree_map(any::<u64>(), any::<i64>(), 0..9),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut packs: Vec<_> =
                packs.iter().map(|(seed, at)| (PackId::of(&seed.to_le_bytes()), *at)).collect();
            packs.sort_unstable();
            let list = Condemned { is_thorough, is_obliterating, packs };
            let mut bytes = list.encode();
            prop_assert_eq!(Condemned::decode(&bytes).unwrap(), list);
            for cut in 0..bytes.len() {
                prop_assert!(Condemned::decode(&bytes[..cut]).is_err());
            }
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Condemned::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_give_no_panic(count: u64, rest in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut bytes =
                [MAGIC, &VERSION.to_le_bytes()[..], &[0; 6], &count.to_le_bytes(), &rest].concat();
            push_checksum(&mut bytes, 0);
            let _ = Condemned::decode(&bytes);
            let _ = Condemned::decode(&rest);
        }
    }
}
