//! Which commit of a git repository became which commit here: what lets an import go on where
//! another one ended. A cache: without it the commits are read again and get the same ids.

use super::bytes::{Reader, push_checksum, split_checksum};
use super::{FormatError, Result};
use crate::id::{CommitId, ID_LEN};

const WHAT: &str = "a file of imported commits";
const MAGIC: &[u8; 8] = b"DIGMARK1";
/// Lengths of the ids of git: SHA-1 and SHA-256.
const GIT_IDS: [usize; 2] = [20, 32];

/// One commit: its id in git, 20 or 32 bytes, and here.
pub type ImportMark = (Box<[u8]>, CommitId);

/// Bytes of a file with these commits, whose ids in git are all of one length.
pub fn encode(marks: &[ImportMark]) -> Vec<u8> {
    let len = marks.first().map_or(GIT_IDS[0], |(git, _)| git.len());
    let mut out = MAGIC.to_vec();
    out.push(len as u8);
    out.extend_from_slice(&(marks.len() as u64).to_le_bytes());
    for (git, commit) in marks {
        out.extend_from_slice(git);
        out.extend_from_slice(commit.as_bytes());
    }
    push_checksum(&mut out, 0);
    out
}

/// Reads a file.
pub fn decode(bytes: &[u8]) -> Result<Vec<ImportMark>> {
    let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
    reader.magic(MAGIC)?;
    let len = usize::from(reader.u8()?);
    if !GIT_IDS.contains(&len) {
        return Err(FormatError::invalid(WHAT, format!("ids of git with {len} bytes")));
    }
    let count = reader.u64()?;
    if count > (reader.remaining() / (len + ID_LEN)) as u64 {
        return Err(reader.invalid(format!("{count} commits do not fit")));
    }
    let mut marks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        marks.push((reader.bytes(len)?.into(), reader.id()?.into()));
    }
    reader.finish()?;
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_round_trip_and_damage_is_found(long in any::<bool>(), seeds in proptest::collection::vec(any::<u64>(), 0..9), at in any::<usize>()) {
            let len = GIT_IDS[usize::from(long)];
            let mark = |seed: &u64| (vec![*seed as u8; len].into(), CommitId::of(&seed.to_le_bytes()));
            let marks: Vec<ImportMark> = seeds.iter().map(mark).collect();
            let mut bytes = encode(&marks);
            prop_assert_eq!(decode(&bytes).unwrap(), marks);
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
            let at = at % bytes.len();
            bytes[at] ^= 1;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_give_no_panic(len in any::<u8>(), count in any::<u64>(), rest in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut bytes = [MAGIC, &[len][..], &count.to_le_bytes(), &rest].concat();
            push_checksum(&mut bytes, 0);
            let _ = decode(&bytes);
        }
    }
}
