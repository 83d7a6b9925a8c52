//! The log of the staging area: the changes since its base, one frame for each durable batch.
//!
//! The header names the generation of the base that the log continues. A frame is header (magic,
//! length, number of operations, checksum) and payload. A batch is whole or absent: a frame that
//! was torn by a crash is cut short or fails its checksum, and since each frame is durable before
//! the next is begun, it is the last one. Readers ignore it and the next writer cuts it off. A
//! damaged frame with a sound one anywhere behind it was not torn but altered: that is an error,
//! because leaving it out would change what is staged.

use xxhash_rust::xxh3::Xxh3;

use super::bytes::{Reader, push_checksum, push_string, split_checksum};
use super::staging::{StagedEntry, StagingOp, VERSION, check_version, read_path};
use super::{FormatError, Result};
use crate::id::TreeId;
use crate::path::RepoPath;

/// Bytes of the log's header.
pub const HEADER_LEN: usize = 32;
/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 24;

const MAGIC: &[u8; 8] = b"DIGSLOG1";
const FRAME_MAGIC: &[u8; 4] = b"DSLF";
const WHAT: &str = "the log of the staging area";
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const MARK_CLEAN: u8 = 3;
/// No operation is longer than this and its path and target.
const MOST_FIXED_BYTES: usize = 96;

/// Bytes of an empty log.
pub fn encode_header(generation: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&generation.to_le_bytes());
    push_checksum(&mut out, 0);
    out
}

/// The generation of the base that a log continues. A log is published with its header, so that a
/// short header is damage, not a torn write.
pub fn decode_header(bytes: &[u8]) -> Result<u64> {
    let head = Reader::new(WHAT, bytes).bytes(HEADER_LEN)?;
    let mut reader = Reader::new(WHAT, head);
    reader.magic(MAGIC)?;
    check_version(WHAT, reader.u16()?)?;
    split_checksum(WHAT, head)?;
    if reader.array::<6>()? != [0; 6] {
        return Err(reader.invalid("reserved bytes are in use"));
    }
    reader.u64()
}

/// One operation as replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOp {
    /// Adds or replaces an entry.
    Put(StagedEntry),
    /// Removes an entry.
    Remove(RepoPath),
    /// States that the staging area equals a tree.
    MarkClean(TreeId),
}

/// A frame under construction.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for Frame {
    fn default() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_LEN], count: 0 }
    }
}

impl Frame {
    /// The most bytes that the frame of `ops` has.
    pub fn size_limit(ops: &[StagingOp]) -> u64 {
        let size = |op: &StagingOp| {
            let variable = match op {
                StagingOp::Put(entry) => {
                    entry.path.as_bytes().len() + entry.kind.view().target().len()
                }
                StagingOp::Remove(path) => path.as_bytes().len(),
            };
            (MOST_FIXED_BYTES + variable) as u64
        };
        FRAME_HEADER_LEN as u64 + ops.iter().map(size).sum::<u64>()
    }

    /// Adds an operation.
    pub fn push(&mut self, op: &StagingOp) {
        match op {
            StagingOp::Put(entry) => {
                self.bytes.push(PUT);
                entry.view().push(&mut self.bytes);
            }
            StagingOp::Remove(path) => {
                self.bytes.push(REMOVE);
                push_string(&mut self.bytes, path.as_bytes());
            }
        }
        self.count += 1;
    }

    /// Adds the statement that the staging area equals `tree`.
    pub fn push_clean(&mut self, tree: TreeId) {
        self.bytes.push(MARK_CLEAN);
        self.bytes.extend_from_slice(tree.as_bytes());
        self.count += 1;
    }

    /// Bytes of the frame.
    pub fn finish(mut self) -> Vec<u8> {
        let len = (self.bytes.len() - FRAME_HEADER_LEN) as u32;
        let (head, payload) = self.bytes.split_at_mut(FRAME_HEADER_LEN);
        head[..4].copy_from_slice(FRAME_MAGIC);
        head[4..8].copy_from_slice(&len.to_le_bytes());
        head[8..12].copy_from_slice(&self.count.to_le_bytes());
        let sum = frame_sum(&head[..16], payload);
        head[16..].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

fn frame_sum(head: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

/// The sound frame that begins at `at`, if there is one: its payload and number of operations.
fn frame_at(bytes: &[u8], at: usize) -> Option<(&[u8], u32)> {
    let head = bytes.get(at..)?.get(..FRAME_HEADER_LEN)?;
    let mut reader = Reader::new(WHAT, head);
    reader.magic(FRAME_MAGIC).ok()?;
    let (len, count) = (reader.u32().ok()?, reader.u32().ok()?);
    reader.bytes(4).ok()?;
    let sum = reader.u64().ok()?;
    let payload = bytes[at + FRAME_HEADER_LEN..].get(..len as usize)?;
    (frame_sum(&head[..16], payload) == sum).then_some((payload, count))
}

/// Replays the frames of a log in order; returns the length of its sound part, which is shorter
/// than `bytes` when the last write was torn.
pub fn replay(bytes: &[u8], mut each: impl FnMut(LogOp)) -> Result<u64> {
    decode_header(bytes)?;
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let Some((payload, count)) = frame_at(bytes, at) else {
            check_is_torn(bytes, at)?;
            break;
        };
        let mut reader = Reader::new(WHAT, payload);
        for _ in 0..count {
            each(read_op(&mut reader)?);
        }
        reader.finish()?;
        at += FRAME_HEADER_LEN + payload.len();
    }
    Ok(at as u64)
}

/// No sound frame begins at `bad`; an error if one begins anywhere behind.
fn check_is_torn(bytes: &[u8], bad: usize) -> Result<()> {
    let is_frame =
        |at: usize| bytes[at..].starts_with(FRAME_MAGIC) && frame_at(bytes, at).is_some();
    match (bad + 1..bytes.len()).find(|at| is_frame(*at)) {
        None => Ok(()),
        Some(next) => Err(FormatError::invalid(
            WHAT,
            format!("the frame at {bad} is damaged, but that at {next} is sound"),
        )),
    }
}

fn read_op(reader: &mut Reader<'_>) -> Result<LogOp> {
    match reader.u8()? {
        PUT => Ok(LogOp::Put(StagedEntry::read(reader)?)),
        REMOVE => Ok(LogOp::Remove(read_path(reader)?)),
        MARK_CLEAN => Ok(LogOp::MarkClean(reader.id()?.into())),
        other => Err(reader.invalid(format!("unknown operation {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::staging::tests::entry;
    use super::*;
    use proptest::prelude::*;

    fn op() -> impl Strategy<Value = StagingOp> {
        prop_oneof![
            entry().prop_map(StagingOp::Put),
            entry().prop_map(|entry| StagingOp::Remove(entry.path)),
        ]
    }

    fn batches() -> impl Strategy<Value = Vec<Vec<StagingOp>>> {
        proptest::collection::vec(proptest::collection::vec(op(), 1..4), 1..5)
    }

    /// The log, and where each of its frames ends.
    fn encode(batches: &[Vec<StagingOp>]) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (encode_header(3), vec![HEADER_LEN]);
        for batch in batches {
            let mut frame = Frame::default();
            for op in batch {
                frame.push(op);
            }
            let bytes = frame.finish();
            assert!(bytes.len() as u64 <= Frame::size_limit(batch));
            out.extend(bytes);
            ends.push(out.len());
        }
        (out, ends)
    }

    fn read(bytes: &[u8]) -> Result<(Vec<LogOp>, u64)> {
        let mut ops = Vec::new();
        let len = replay(bytes, |op| ops.push(op))?;
        Ok((ops, len))
    }

    fn as_log(batches: &[Vec<StagingOp>]) -> Vec<LogOp> {
        let op = |op: &StagingOp| match op.clone() {
            StagingOp::Put(entry) => LogOp::Put(entry),
            StagingOp::Remove(path) => LogOp::Remove(path),
        };
        batches.iter().flatten().map(op).collect()
    }

    proptest! {
        #[test]
        fn every_cut_of_a_log_leaves_a_prefix_of_its_batches(batches in batches()) {
            let (bytes, ends) = encode(&batches);
            prop_assert_eq!(decode_header(&bytes), Ok(3));
            for cut in 0..=bytes.len() {
                if cut < HEADER_LEN {
                    prop_assert!(read(&bytes[..cut]).is_err());
                    continue;
                }
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                let expected = (as_log(&batches[..whole]), ends[whole] as u64);
                prop_assert_eq!(read(&bytes[..cut]), Ok(expected));
            }
        }

        #[test]
        fn a_flip_drops_the_last_frame_or_is_an_error(batches in batches(), bit in 0u8..8) {
            let (bytes, ends) = encode(&batches);
            let last = ends[ends.len() - 2];
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1u8 << bit;
                if at < last {
                    prop_assert!(read(&flipped).is_err(), "byte {}", at);
                } else {
                    let expected = (as_log(&batches[..batches.len() - 1]), last as u64);
                    prop_assert_eq!(read(&flipped), Ok(expected));
                }
            }
        }

        #[test]
        fn any_payload_gives_operations_or_an_error(
            payload in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..80),
            count in 0u32..4,
        ) {
            let mut frame = Frame { count, ..Frame::default() };
            frame.bytes.extend(&payload);
            let bytes = [encode_header(1), frame.finish()].concat();
            if let Ok((ops, len)) = read(&bytes) {
                prop_assert_eq!((ops.len(), len), (count as usize, bytes.len() as u64));
            }
        }

        #[test]
        fn any_bytes_behind_the_header_are_a_torn_frame(
            tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [encode_header(1), tail].concat();
            prop_assert_eq!(read(&bytes), Ok((vec![], HEADER_LEN as u64)));
        }
    }

    #[test]
    fn a_clean_mark_round_trips() {
        let mut frame = Frame::default();
        frame.push_clean(TreeId::of(b"t"));
        let bytes = [encode_header(1), frame.finish()].concat();
        assert_eq!(read(&bytes).unwrap().0, [LogOp::MarkClean(TreeId::of(b"t"))]);
    }
}
