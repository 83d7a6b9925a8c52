//! A damaged log of operations: the records of it that are sound, as a log without gaps.

use std::collections::HashMap;

use super::START;
use crate::storage::format::Result;
use crate::storage::format::bytes::HashLimit;
use crate::storage::format::oplog::{
    FRAME_HEADER_LEN, FRAME_MAGIC, OpKind, OpLink, OpRecord, TRAILER_LEN, decode_frame,
    encode_header, frame_len, trailer_len,
};

/// What is left of a log.
#[derive(Debug)]
pub struct Salvaged {
    /// Bytes of a log that holds it.
    pub bytes: Vec<u8>,
    /// Its records, the oldest first.
    pub records: Vec<OpRecord>,
    /// The number that the last of them had before.
    pub last: u64,
}

/// Finds the sound records of a log and links them anew. Where one is lost, those behind it count on
/// without a gap; what it took back, or what took it back, is an operation as any other then.
pub fn salvage(log: &[u8]) -> Result<Salvaged> {
    let (mut bytes, mut records, mut last) = (encode_header(), Vec::new(), 0);
    let mut moved: HashMap<u64, OpLink> = HashMap::new();
    for mut record in sound_records(log) {
        let old = record.link.seq;
        last = old;
        record.link = OpLink { seq: records.len() as u64 + 1, at: bytes.len() as u64 };
        // An undo behind it takes back the record itself, as a rule.
        moved.insert(old, record.link);
        relink(&mut record, &moved);
        bytes.extend_from_slice(&record.encode()?);
        records.push(record);
    }
    Ok(Salvaged { bytes, records, last })
}

fn relink(record: &mut OpRecord, moved: &HashMap<u64, OpLink>) {
    let link = |link: OpLink| moved.get(&link.seq).copied();
    (record.undo, record.redo) = (record.undo.and_then(link), record.redo.and_then(link));
    let seq = |old: u64| moved.get(&old).map(|link| link.seq);
    record.kind = match record.kind {
        OpKind::Undo { of } => seq(of).map_or(OpKind::Normal, |of| OpKind::Undo { of }),
        OpKind::Redo { of } => seq(of).map_or(OpKind::Normal, |of| OpKind::Redo { of }),
        OpKind::Restore { to: 0 } => OpKind::Restore { to: 0 },
        OpKind::Restore { to } => seq(to).map_or(OpKind::Normal, |to| OpKind::Restore { to }),
        kind => kind,
    };
}

/// What lies behind too much that looks like records is lost.
fn sound_records(log: &[u8]) -> impl Iterator<Item = OpRecord> + '_ {
    let (mut at, mut limit) = (START as usize, HashLimit::of(log.len()));
    std::iter::from_fn(move || {
        loop {
            if let Some(frame) = frame_at(log, at) {
                if !limit.allows(frame.len()) {
                    return None;
                }
                if let Ok(record) = decode_frame(frame, at as u64) {
                    at += frame.len();
                    return Some(record);
                }
            }
            let from = at + 1;
            let rest = log.get(from..)?;
            at = from + rest.windows(FRAME_MAGIC.len()).position(|bytes| bytes == FRAME_MAGIC)?;
        }
    })
}

/// What seems to be a frame at `at`.
fn frame_at(log: &[u8], at: usize) -> Option<&[u8]> {
    let header = log.get(at..at.checked_add(FRAME_HEADER_LEN)?)?;
    let frame = log.get(at..at.checked_add(usize::try_from(frame_len(header).ok()?).ok()?)?)?;
    let trailer = frame.last_chunk::<TRAILER_LEN>()?;
    (trailer_len(trailer).ok()? == frame.len() as u64).then_some(frame)
}
