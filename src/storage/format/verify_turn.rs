//! Whose turn it is in `store verify --sample`: a file that may be lost.

use super::Result;
use super::bytes::{Reader, push_checksum, split_checksum};

const MAGIC: &[u8; 8] = b"DIGTURN1";
const WHAT: &str = "the turn of a sampling check";

/// Which part of the data is checked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyTurn {
    /// The hash at which it begins.
    pub next: u64,
}

impl VerifyTurn {
    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.next.to_le_bytes());
        push_checksum(&mut out, 0);
        out
    }
}

/// Reads the file.
pub fn decode(bytes: &[u8]) -> Result<VerifyTurn> {
    let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
    reader.magic(MAGIC)?;
    let turn = VerifyTurn { next: reader.u64()? };
    reader.finish()?;
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_round_trips_and_damage_is_found() {
        let turn = VerifyTurn { next: 3 << 60 };
        let bytes = turn.encode();
        assert_eq!(decode(&bytes).unwrap(), turn);
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err());
        }
    }
}
