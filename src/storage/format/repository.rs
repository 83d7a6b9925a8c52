//! The `format` file: what a repository is, compared at every open.

use super::bytes::{Reader, check_version, push_checksum, split_checksum};
use super::{FormatError, Result};

/// Name of the file in the repository.
pub const FILE_NAME: &str = "format";
/// Newest version that this release reads and the one it writes.
pub const VERSION: u32 = 1;
/// Mandatory features that this release knows: none yet.
pub const KNOWN_FEATURES: u64 = 0;
/// Identifies `FastCDC` (2020 variant, normalisation level 1), the only chunker so far.
pub const CHUNKER_FASTCDC_2020: u32 = 1;

const MAGIC: &[u8; 8] = b"DIGSTORE";
const WHAT: &str = "the repository's format file";

/// Parameters of the content-defined chunker, in bytes. Every file of a repository is cut with
/// the same ones, or equal content would not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerParams {
    /// Smallest chunk but the last of a file.
    pub min: u32,
    /// Size aimed at.
    pub avg: u32,
    /// Largest chunk.
    pub max: u32,
    /// Files up to this size are one chunk, whatever they hold.
    pub whole_file: u32,
}

impl ChunkerParams {
    /// What `init` writes. 64 KiB chunks keep an insertion cheap; see `docs/design/0002-chunking.md`.
    pub const DEFAULT: Self =
        Self { min: 16 << 10, avg: 64 << 10, max: 256 << 10, whole_file: 64 << 10 };

    /// Checks the ranges that the chunker is defined for.
    pub fn check(&self) -> Result<()> {
        let sound = (1024..=1 << 20).contains(&self.min)
            && self.min <= self.avg
            && self.avg <= 4 << 20
            && self.avg <= self.max
            && (4096..=16 << 20).contains(&self.max)
            && self.whole_file <= self.max
            && (self.min | self.avg | self.max).is_multiple_of(2);
        if sound {
            return Ok(());
        }
        Err(FormatError::invalid(WHAT, format!("chunker parameters out of range: {self:?}")))
    }
}

/// The decoded `format` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFormat {
    /// Names this repository among copies and remotes.
    pub repository_id: [u8; 16],
    /// How files are cut.
    pub chunker: ChunkerParams,
    /// Optional features in use; unknown ones may be ignored.
    pub optional_features: u64,
}

impl RepositoryFormat {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u64.to_le_bytes());
        out.extend_from_slice(&self.optional_features.to_le_bytes());
        out.extend_from_slice(&self.repository_id);
        let params = &self.chunker;
        for field in [CHUNKER_FASTCDC_2020, params.min, params.avg, params.max, params.whole_file] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        push_checksum(&mut out, 0);
        out
    }

    /// Reads the file. A newer repository is called newer, not damaged, whatever its checksum is.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut head = Reader::new(WHAT, bytes);
        head.magic(MAGIC)?;
        check_version::<4>(&mut head, bytes, VERSION)?;
        let body = split_checksum(WHAT, bytes)?;
        let mut reader = Reader::new(WHAT, &body[MAGIC.len() + 4..]);
        let unknown = reader.u64()? & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(FormatError::Features { what: WHAT, features: unknown });
        }
        let optional_features = reader.u64()?;
        let repository_id = reader.array()?;
        let chunker = Self::decode_chunker(&mut reader)?;
        reader.finish()?;
        Ok(Self { repository_id, chunker, optional_features })
    }

    fn decode_chunker(reader: &mut Reader<'_>) -> Result<ChunkerParams> {
        let chunker = reader.u32()?;
        if chunker != CHUNKER_FASTCDC_2020 {
            return Err(reader.invalid(format!("unknown chunker {chunker}")));
        }
        let params = ChunkerParams {
            min: reader.u32()?,
            avg: reader.u32()?,
            max: reader.u32()?,
            whole_file: reader.u32()?,
        };
        params.check()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> RepositoryFormat {
        RepositoryFormat {
            repository_id: [7; 16],
            chunker: ChunkerParams::DEFAULT,
            optional_features: 4,
        }
    }

    #[test]
    fn round_trips_and_finds_every_flip_and_every_cut() {
        let bytes = sample().encode();
        assert_eq!(RepositoryFormat::decode(&bytes).unwrap(), sample());
        for at in 0..bytes.len() {
            assert!(RepositoryFormat::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(RepositoryFormat::decode(&flipped).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_called_newer() {
        let mut bytes = sample().encode();
        bytes[8] = 9;
        bytes.truncate(bytes.len() - 8);
        push_checksum(&mut bytes, 0);
        assert!(RepositoryFormat::decode(&bytes).unwrap_err().is_newer());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert!(RepositoryFormat::decode(&bytes).is_err());
        }
    }
}
