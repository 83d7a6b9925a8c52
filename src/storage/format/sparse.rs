//! Which paths the work tree holds: the pathspecs of `sparse`.

use super::bytes::{Reader, push_checksum, push_string, push_varint, split_checksum};
use super::{FormatError, Result};

const MAGIC: &[u8; 8] = b"DIGSPAR1";
const WHAT: &str = "the specification of a sparse work tree";
/// Longer than any argument of a command, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// Pathspecs, each as it is typed in the root of the work tree; none for everything.
pub type SparseSpec = Vec<Vec<u8>>;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SparseFile {
    /// What is meant comes last. What comes before was meant before, while the work tree is not yet
    /// brought from there to here.
    pub specs: Vec<SparseSpec>,
}

impl SparseFile {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        push_varint(&mut out, self.specs.len() as u64);
        for spec in &self.specs {
            push_varint(&mut out, spec.len() as u64);
            spec.iter().for_each(|text| push_string(&mut out, text));
        }
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
        reader.magic(MAGIC)?;
        let specs = (0..count(&mut reader)?).map(|_| spec(&mut reader)).collect::<Result<_>>()?;
        reader.finish()?;
        Ok(Self { specs })
    }
}

/// A number of things of one byte each at least.
fn count(reader: &mut Reader<'_>) -> Result<u64> {
    let count = reader.varint()?;
    if count > reader.remaining() as u64 {
        return Err(FormatError::invalid(WHAT, format!("{count} elements do not fit")));
    }
    Ok(count)
}

fn spec(reader: &mut Reader<'_>) -> Result<SparseSpec> {
    (0..count(reader)?).map(|_| Ok(reader.string(MAX_TEXT)?.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_is_read_as_written(texts: Vec<SparseSpec>) {
            let file = SparseFile { specs: texts };
            prop_assert_eq!(SparseFile::decode(&file.encode()).unwrap(), file);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut sealed = MAGIC.to_vec();
            sealed.extend_from_slice(&bytes);
            push_checksum(&mut sealed, 0);
            let _ = (SparseFile::decode(&sealed), SparseFile::decode(&bytes));
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let specs = vec![vec![], vec![b"a/".to_vec(), b":!b".to_vec()]];
        let bytes = SparseFile { specs }.encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(SparseFile::decode(&flipped).is_err(), "flip at {at}");
            assert!(SparseFile::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
