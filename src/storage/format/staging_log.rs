//! The log of the staging area: the changes since its base, one frame for each durable batch.
//!
//! The header names the generation of the base that the log continues. A frame is header (magic,
//! length, number of operations, checksum) and payload. A batch is whole or absent: a frame that
//! was torn by a crash is cut short or fails its checksum, and since each frame is durable before
//! the next is begun, it is the last one. Readers ignore it and the next writer cuts it off. A
//! damaged frame with a sound one anywhere behind it was not torn but altered: that is an error,
//! because leaving it out would change what is staged.

use xxhash_rust::xxh3::Xxh3;

use super::bytes::{HashLimit, Reader, check_version, push_checksum, push_string, split_checksum};
use super::staging::{StagedView, StagingOp, VERSION, check_entry_path};
use super::{FormatError, Result};
use crate::id::TreeId;
use crate::path::MAX_PATH;

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
    check_version::<2>(&mut reader, head, VERSION.into())?;
    split_checksum(WHAT, head)?;
    if reader.array::<6>()? != [0; 6] {
        return Err(reader.invalid("reserved bytes are in use"));
    }
    reader.u64()
}

/// One operation, read where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOp<'a> {
    /// Adds or replaces an entry.
    Put(StagedView<'a>),
    /// Removes the entry of a path.
    Remove(&'a [u8]),
    /// States that the staging area equals a tree.
    MarkClean(TreeId),
}

impl<'a> LogOp<'a> {
    /// The path that it changes.
    pub fn path(&self) -> Option<&'a [u8]> {
        match self {
            Self::Put(view) => Some(view.path),
            Self::Remove(path) => Some(path),
            Self::MarkClean(_) => None,
        }
    }
}

/// A batch under construction: its operations as the log has them, in one buffer.
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
    /// Adds an operation.
    pub fn push(&mut self, op: &StagingOp) {
        match op {
            StagingOp::Put(entry) => self.put(&entry.view()),
            StagingOp::Remove(path) => self.remove(path.as_bytes()),
        }
    }

    /// Adds or replaces an entry.
    pub fn put(&mut self, entry: &StagedView<'_>) {
        self.bytes.push(PUT);
        entry.push(&mut self.bytes);
        self.count += 1;
    }

    /// Removes the entry of a path, if there is one.
    pub fn remove(&mut self, path: &[u8]) {
        self.bytes.push(REMOVE);
        push_string(&mut self.bytes, path);
        self.count += 1;
    }

    /// Number of operations.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes that the frame has so far.
    #[expect(clippy::len_without_is_empty, reason = "a frame has a header at least")]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Adds the statement that the staging area equals `tree`.
    pub fn push_clean(&mut self, tree: TreeId) {
        self.bytes.push(MARK_CLEAN);
        self.bytes.extend_from_slice(tree.as_bytes());
        self.count += 1;
    }

    /// Refuses what could not be read back.
    pub fn check(&self) -> Result<()> {
        replay_payload(&self.bytes[FRAME_HEADER_LEN..], self.count, |_, _| ())
    }

    /// Bytes of the frame; a payload above 4 GiB cannot be read back.
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
    let (sum, count, payload) = claimed_at(bytes, at)?;
    (frame_sum(&bytes[at..][..16], payload) == sum).then_some((payload, count))
}

/// What seems to be the header of a frame at `at`: the checksum, the number of operations, and the
/// payload.
fn claimed_at(bytes: &[u8], at: usize) -> Option<(u64, u32, &[u8])> {
    let head = bytes.get(at..)?.get(..FRAME_HEADER_LEN)?;
    let mut reader = Reader::new(WHAT, head);
    reader.magic(FRAME_MAGIC).ok()?;
    let (len, count) = (reader.u32().ok()?, reader.u32().ok()?);
    reader.bytes(4).ok()?;
    let sum = reader.u64().ok()?;
    let payload = bytes[at + FRAME_HEADER_LEN..].get(..len as usize)?;
    Some((sum, count, payload))
}

/// Replays the frames of a log in order, each operation with where it begins in `bytes`; returns
/// the length of the sound part, which is shorter than `bytes` when the last write was torn.
pub fn replay<'a>(bytes: &'a [u8], mut each: impl FnMut(usize, LogOp<'a>)) -> Result<u64> {
    decode_header(bytes)?;
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let Some((payload, count)) = frame_at(bytes, at) else {
            check_is_torn(bytes, at)?;
            break;
        };
        at += FRAME_HEADER_LEN;
        replay_payload(payload, count, |offset, op| each(at + offset, op))?;
        at += payload.len();
    }
    Ok(at as u64)
}

/// Replays the payload of one frame, which holds `count` operations.
pub fn replay_payload<'a>(
    payload: &'a [u8],
    count: u32,
    mut each: impl FnMut(usize, LogOp<'a>),
) -> Result<()> {
    let mut reader = Reader::new(WHAT, payload);
    for _ in 0..count {
        let offset = payload.len() - reader.remaining();
        let op = read_op(&mut reader)?;
        op.path().map_or(Ok(()), check_entry_path)?;
        each(offset, op);
    }
    reader.finish()
}

/// The operation that begins at `at`, where [`replay`] found one.
pub fn op_at(bytes: &[u8], at: usize) -> Option<LogOp<'_>> {
    read_op(&mut Reader::new(WHAT, bytes.get(at..)?)).ok()
}

/// No sound frame begins at `bad`; an error if one begins anywhere behind, or if so much behind
/// looks like frames that not all of it can be checked.
fn check_is_torn(bytes: &[u8], bad: usize) -> Result<()> {
    let mut limit = HashLimit::of(bytes.len());
    for at in bad + 1..bytes.len() {
        let Some((_, _, payload)) = claimed_at(bytes, at) else { continue };
        if !limit.allows(payload.len()) {
            let why =
                format!("the frame at {bad} is damaged, and too much behind it looks like frames");
            return Err(FormatError::invalid(WHAT, why));
        }
        if frame_at(bytes, at).is_some() {
            let why = format!("the frame at {bad} is damaged, but that at {at} is sound");
            return Err(FormatError::invalid(WHAT, why));
        }
    }
    Ok(())
}

fn read_op<'a>(reader: &mut Reader<'a>) -> Result<LogOp<'a>> {
    match reader.u8()? {
        PUT => Ok(LogOp::Put(StagedView::read(reader)?)),
        REMOVE => Ok(LogOp::Remove(reader.string(MAX_PATH)?)),
        MARK_CLEAN => Ok(LogOp::MarkClean(reader.id()?.into())),
        other => Err(reader.invalid(format!("unknown operation {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::MAX_TARGET;
    use super::super::staging::tests::entry;
    use super::super::staging::{FileStat, KindView};
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
            assert_eq!(frame.count() as usize, batch.len());
            let len = frame.len();
            let bytes = frame.finish();
            assert_eq!(bytes.len() as u64, len);
            out.extend(bytes);
            ends.push(out.len());
        }
        (out, ends)
    }

    fn read(bytes: &[u8]) -> Result<(Vec<LogOp<'_>>, u64)> {
        let mut ops = Vec::new();
        let len = replay(bytes, |at, op| {
            assert_eq!(op_at(bytes, at), Some(op));
            ops.push(op);
        })?;
        Ok((ops, len))
    }

    fn as_log(batches: &[Vec<StagingOp>]) -> Vec<LogOp<'_>> {
        fn op(op: &StagingOp) -> LogOp<'_> {
            match op {
                StagingOp::Put(entry) => LogOp::Put(entry.view()),
                StagingOp::Remove(path) => LogOp::Remove(path.as_bytes()),
            }
        }
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
    fn what_cannot_be_read_back_is_refused() {
        let check = |target: Vec<u8>, path: &[u8]| {
            let kind = KindView::Symlink { target: &target };
            let mut frame = Frame::default();
            frame.put(&StagedView { path, kind, stat: FileStat::default(), racy: false });
            frame.check()
        };
        for target in [vec![], vec![0], vec![b'x'; MAX_TARGET + 1]] {
            assert!(check(target, b"a").is_err());
        }
        assert!(check(vec![b'x'; MAX_TARGET], b"a").is_ok());
        for path in [b"".as_slice(), b"../a", b"a/.digstore", &[b'x'; 5000]] {
            assert!(check(vec![b'x'], path).is_err());
            let mut frame = Frame::default();
            frame.remove(path);
            assert!(frame.check().is_err());
        }
    }

    /// Headers that each claim all that lies behind them.
    fn nested(count: usize) -> Vec<u8> {
        let mut bytes = encode_header(1);
        for number in 0..count {
            let behind = (count - 1 - number) * FRAME_HEADER_LEN;
            bytes.extend_from_slice(FRAME_MAGIC);
            bytes.extend_from_slice(&(behind as u32).to_le_bytes());
            bytes.extend_from_slice(&[0; 16]);
        }
        bytes
    }

    #[test]
    fn a_search_for_frames_ends_in_time() {
        // To hash all that these claim takes an hour.
        let error = read(&nested(1 << 20)).unwrap_err();
        assert!(error.to_string().contains("looks like frames"), "{error}");
        // A few are what a torn write may hold.
        assert_eq!(read(&nested(20)), Ok((vec![], HEADER_LEN as u64)));
    }

    #[test]
    fn a_clean_mark_round_trips() {
        let mut frame = Frame::default();
        frame.push_clean(TreeId::of(b"t"));
        let bytes = [encode_header(1), frame.finish()].concat();
        assert_eq!(read(&bytes).unwrap().0, [LogOp::MarkClean(TreeId::of(b"t"))]);
    }
}
