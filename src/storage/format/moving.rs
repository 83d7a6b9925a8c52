//! A command that is changing files of the work tree: what is needed to take it back, should it be
//! killed.

use super::bytes::{Reader, push_checksum, push_string, split_checksum};
use super::oplog::MAX_TEXT;
use super::{FormatError, Result};
use crate::id::TreeId;

const WHAT: &str = "the state of a moving work tree";
const MAGIC: &[u8; 8] = b"DIGMOVE1";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The last operation in the log when it began. Once there is another, this means nothing; with a log
    /// that has none, it goes on from there.
    pub seq: u64,
    /// What the work tree is brought to.
    pub target: TreeId,
    /// What it held that is overwritten or removed and is staged nowhere.
    pub kept: Option<TreeId>,
    /// Whether an operation is taken back, which the same command goes on with.
    pub is_undo: bool,
    /// What is done, in one line.
    pub description: String,
}

impl Moving {
    /// All trees that it names.
    pub fn trees(&self) -> impl Iterator<Item = TreeId> {
        [Some(self.target), self.kept].into_iter().flatten()
    }

    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(self.target.as_bytes());
        out.push(u8::from(self.kept.is_some()));
        self.kept.iter().for_each(|kept| out.extend_from_slice(kept.as_bytes()));
        out.push(u8::from(self.is_undo));
        push_string(&mut out, self.description.as_bytes());
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
        reader.magic(MAGIC)?;
        let (seq, target) = (reader.u64()?, reader.id()?.into());
        let kept = if flag(&mut reader)? { Some(reader.id()?.into()) } else { None };
        let is_undo = flag(&mut reader)?;
        let description = String::from_utf8(reader.string(MAX_TEXT)?.to_vec())
            .map_err(|_| FormatError::invalid(WHAT, "the description is not UTF-8"))?;
        reader.finish()?;
        Ok(Self { seq, target, kept, is_undo, description })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(reader.invalid(format!("flag {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_state_is_read_as_written_and_damage_is_found(
            seq: u64,
            kept: bool,
            is_undo: bool,
            description in ".{0,40}",
            at: proptest::sample::Index,
        ) {
            let kept = kept.then(|| TreeId::of(b"k"));
            let moving = Moving { seq, target: TreeId::of(b"t"), kept, is_undo, description };
            let bytes = moving.encode();
            prop_assert_eq!(Moving::decode(&bytes).unwrap(), moving);
            let at = at.index(bytes.len());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            prop_assert!(Moving::decode(&flipped).is_err());
            prop_assert!(Moving::decode(&bytes[..at]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut sealed = MAGIC.to_vec();
            sealed.extend_from_slice(&bytes);
            push_checksum(&mut sealed, 0);
            let _ = (Moving::decode(&sealed), Moving::decode(&bytes));
        }
    }
}
