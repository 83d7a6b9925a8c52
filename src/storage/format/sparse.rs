//! Which paths the work tree holds: the pathspecs of `sparse`.

use super::bytes::{Reader, push_checksum, push_string, push_varint, split_checksum};
use super::{FormatError, Result};
use crate::path::{MAX_PATH, RepoPath};

const MAGIC: &[u8; 8] = b"DIGSPAR1";
const WHAT: &str = "the specification of a sparse work tree";
/// Longer than any argument of a command, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// One pathspec as it was typed, and the directory that it is relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseLine {
    /// The directory.
    pub dir: RepoPath,
    /// The text.
    pub text: Vec<u8>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SparseFile {
    /// Lists of pathspecs, an empty one for everything. The last one is meant; those before it are
    /// what was meant before, while the work tree is not yet brought from there to here.
    pub specs: Vec<Vec<SparseLine>>,
}

impl SparseFile {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        push_varint(&mut out, self.specs.len() as u64);
        for spec in &self.specs {
            push_varint(&mut out, spec.len() as u64);
            for line in spec {
                push_string(&mut out, line.dir.as_bytes());
                push_string(&mut out, &line.text);
            }
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
        return Err(reader.invalid(format!("{count} elements do not fit")));
    }
    Ok(count)
}

fn spec(reader: &mut Reader<'_>) -> Result<Vec<SparseLine>> {
    (0..count(reader)?).map(|_| line(reader)).collect()
}

fn line(reader: &mut Reader<'_>) -> Result<SparseLine> {
    let dir = RepoPath::new(reader.string(MAX_PATH)?)
        .map_err(|why| FormatError::invalid(WHAT, format!("a directory: {why}")))?;
    Ok(SparseLine { dir, text: reader.string(MAX_TEXT)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(texts: &[Vec<Vec<u8>>]) -> SparseFile {
        let line = |(number, text): (usize, &Vec<u8>)| SparseLine {
            dir: if number == 0 { RepoPath::root() } else { RepoPath::new("some/dir").unwrap() },
            text: text.clone(),
        };
        let spec = |texts: &Vec<Vec<u8>>| texts.iter().enumerate().map(line).collect();
        SparseFile { specs: texts.iter().map(spec).collect() }
    }

    proptest! {
        #[test]
        fn a_file_is_read_as_written(texts: Vec<Vec<Vec<u8>>>) {
            let file = file(&texts);
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
        let bytes = file(&[vec![], vec![b"a/".to_vec(), b":!b".to_vec()]]).encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(SparseFile::decode(&flipped).is_err(), "flip at {at}");
            assert!(SparseFile::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
