//! Reading and writing the primitive fields of the stored formats: little-endian integers,
//! variable-length integers (LEB128), byte strings, ids, checksums.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::{FormatError, Result};
use crate::id::{ID_LEN, ObjectId};

/// The checksum of every stored structure: XXH3-64. It finds accidents; ids find the rest.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Takes fields off the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the structure named `what` from `bytes`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Bytes not yet taken.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(FormatError::Truncated {
                what: self.what,
                needed: len as u64,
                present: self.rest.len() as u64,
            });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, two's complement.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// An object id.
    pub fn id(&mut self) -> Result<ObjectId> {
        Ok(ObjectId::from_bytes(self.array::<ID_LEN>()?))
    }

    /// A LEB128 integer in its shortest form.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.invalid("an integer exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.invalid("an integer is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.invalid("an integer exceeds 64 bits"))
    }

    /// A byte string behind its varint length, at most `limit` bytes.
    pub fn string(&mut self, limit: usize) -> Result<&'a [u8]> {
        let len = self.varint()?;
        if len > limit as u64 {
            return Err(self.invalid(format!("a string of {len} bytes exceeds {limit}")));
        }
        self.bytes(len as usize)
    }

    /// Checks the magic number.
    pub fn magic(&mut self, magic: &[u8]) -> Result<()> {
        if self.bytes(magic.len())? == magic {
            Ok(())
        } else {
            Err(FormatError::Magic { what: self.what })
        }
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.invalid(format!("{} bytes too many", self.rest.len())))
        }
    }

    /// An error about this structure.
    pub fn invalid(&self, why: impl Into<String>) -> FormatError {
        FormatError::invalid(self.what, why)
    }
}

/// Splits a trailing checksum off `bytes` and checks it.
pub fn split_checksum<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
        return Err(FormatError::Truncated { what, needed: 8, present: bytes.len() as u64 });
    };
    if u64::from_le_bytes(*sum) == checksum(body) {
        Ok(body)
    } else {
        Err(FormatError::Checksum { what })
    }
}

/// Takes the version number, `N` bytes, of a structure that `reader` reads from the start of
/// `sealed`, which ends with its checksum. Any other than `supported` is that of a newer release,
/// whose checksum this one need not know: the number is looked at first. If the checksum is right
/// with `supported` in its place, though, then it is the number that was damaged.
pub(super) fn check_version<const N: usize>(
    reader: &mut Reader<'_>,
    sealed: &[u8],
    supported: u32,
) -> Result<()> {
    let (what, at) = (reader.what, sealed.len() - reader.remaining());
    let mut field = [0; 4];
    field[..N].copy_from_slice(&reader.array::<N>()?);
    let found = u32::from_le_bytes(field);
    if found == supported {
        return Ok(());
    }
    let mut mended = sealed.to_vec();
    mended[at..at + N].copy_from_slice(&supported.to_le_bytes()[..N]);
    match split_checksum(what, &mended) {
        Ok(_) => Err(FormatError::Checksum { what }),
        Err(_) => Err(FormatError::Version { what, found, supported }),
    }
}

/// Appends the checksum of everything in `out` from `start` on.
pub fn push_checksum(out: &mut Vec<u8>, start: usize) {
    let sum = checksum(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Appends a LEB128 integer.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a byte string behind its varint length.
pub fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The four bytes at `at`; the caller has checked the bounds of the table.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

/// The eight bytes at `at`; the caller has checked the bounds of the table.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

/// The id at `at`; the caller has checked the bounds of the table.
pub(super) fn id_at(bytes: &[u8], at: usize) -> ObjectId {
    let mut field = [0; ID_LEN];
    field.copy_from_slice(&bytes[at..at + ID_LEN]);
    ObjectId::from_bytes(field)
}

/// Number of the first record of `table` whose id is not below `id`.
///
/// Ids are evenly spread, so interpolation on their first eight bytes lands within a few records
/// (expected O(log log n) probes, Perl, Itai and Avni 1978) and no fan-out table is stored. After
/// a few probes that do not close in, as on a table made by hand, bisection takes over.
pub(super) fn lower_bound(table: &[u8], record_len: usize, id: &ObjectId) -> usize {
    const GUESSES: u32 = 12;
    let (mut low, mut high) = (0, table.len() / record_len);
    let (mut low_key, mut high_key) = (0u64, u64::MAX);
    let wanted = id.leading();
    let mut probes = 0;
    while low < high {
        let middle = if probes < GUESSES && high_key > low_key {
            let span = u128::from(high_key - low_key);
            let ahead = u128::from(wanted.clamp(low_key, high_key) - low_key);
            low + ((ahead * (high - low) as u128 / (span + 1)) as usize).min(high - low - 1)
        } else {
            low + (high - low) / 2
        };
        probes += 1;
        let found = id_at(table, middle * record_len);
        match found.cmp(id) {
            Ordering::Equal => return middle,
            Ordering::Less => (low, low_key) = (middle + 1, found.leading()),
            Ordering::Greater => (high, high_key) = (middle, found.leading()),
        }
    }
    low
}

/// How many bytes a search for sound frames may hash. In what a command wrote and a crash tore, few
/// places look like a frame; in bytes made for it each may claim all that lies behind it.
#[derive(Debug)]
pub struct HashLimit(usize);

impl HashLimit {
    /// For a search through so many bytes.
    pub fn of(len: usize) -> Self {
        Self(len.saturating_mul(16))
    }

    /// Takes the bytes of one frame off; whether there were as many left.
    pub fn allows(&mut self, len: usize) -> bool {
        let left = self.0.checked_sub(len);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn any_bytes_give_a_varint_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new("test", &bytes);
            if let Ok(value) = reader.varint() {
                let mut out = Vec::new();
                push_varint(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - reader.remaining()]);
            }
        }
    }

    #[test]
    fn another_version_is_newer_unless_only_its_number_changed() {
        let sealed = |version: u16| {
            let mut out = [&b"MAGIC"[..], &version.to_le_bytes(), b"body"].concat();
            push_checksum(&mut out, 0);
            out
        };
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new("test", bytes);
            reader.magic(b"MAGIC").unwrap();
            check_version::<2>(&mut reader, bytes, 1)
        };
        assert_eq!(read(&sealed(1)), Ok(()));
        assert!(read(&sealed(2)).unwrap_err().is_newer());
        for bit in 0..16 {
            let mut flipped = sealed(1);
            flipped[5 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), Err(FormatError::Checksum { what: "test" }));
            let mut newer_and_cut = sealed(2);
            newer_and_cut.truncate(7 + bit % 8);
            assert!(read(&newer_and_cut).unwrap_err().is_newer());
        }
    }

    #[test]
    fn strings_are_checked_against_their_limit_and_the_bytes_present() {
        let mut out = Vec::new();
        push_varint(&mut out, u64::MAX);
        assert!(Reader::new("test", &out).string(10).is_err());
        assert!(Reader::new("test", &[5, 1, 2]).string(10).is_err());
    }
}
