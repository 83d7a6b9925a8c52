//! Logs, which are read frame by frame, and the base of the staging area.

use digstore::id::{ChunkId, CommitId, TreeId};
use digstore::path::{RepoPath, check_path};
use digstore::storage::format::bytes::checksum;
use digstore::storage::format::object::Content;
use digstore::storage::format::oplog::{
    self, OpKind, OpLink, OpRecord, OpState, RefChange, StagedTree, decode_frame, last_frame,
};
use digstore::storage::format::refs::Head;
use digstore::storage::format::staging::{FileStat, StagedEntry, StagedKind, StagingOp};
use digstore::storage::format::staging_base::{BaseHeader, SlotTable, StagingBase, encode_record};
use digstore::storage::format::staging_log::{self, Frame, LogOp, op_at, replay};
use digstore::storage::oplog::salvage;

use super::{Scratch, mend_at, mended};

/// Makes the checksums of all frames fit that begin with `magic` and have room for their payload:
/// `head` bytes of a header, whose last eight are the sum of the others and of the payload.
fn mend_frames(log: &mut [u8], start: usize, magic: [u8; 4], head: usize, tail: Option<[u8; 4]>) {
    let mut at = start;
    while at + head <= log.len() {
        let len = u32::from_le_bytes(log[at + 4..at + 8].try_into().unwrap()) as usize;
        let end = at + head + len;
        let all = end + tail.map_or(0, |_| 8);
        if !log[at..].starts_with(&magic) || all > log.len() {
            at += 1;
            continue;
        }
        if let Some(magic) = tail {
            log.copy_within(at + 4..at + 8, end);
            log[end + 4..all].copy_from_slice(&magic);
        }
        let sum = checksum(&[&log[at..at + head - 8], &log[at + head..end]].concat());
        log[at + head - 8..at + head].copy_from_slice(&sum.to_le_bytes());
        at = all;
    }
}

// ---- the log of operations ---------------------------------------------------------------------

pub(crate) fn oplog(_: &mut Scratch, bytes: &[u8]) {
    check_oplog(bytes);
    check_oplog(&mended_oplog(bytes));
}

/// A log of operations with its sums made to fit.
pub(crate) fn mended_oplog(bytes: &[u8]) -> Vec<u8> {
    let (mut log, start) = (bytes.to_vec(), oplog::HEADER_LEN);
    mend_at(&mut log, 0, start - 8);
    mend_frames(&mut log, start, *oplog::FRAME_MAGIC, oplog::FRAME_HEADER_LEN, Some(*b"FPOD"));
    log
}

fn check_oplog(log: &[u8]) {
    if oplog::decode_header(log).is_ok() {
        assert_eq!(log[..oplog::HEADER_LEN], oplog::encode_header());
    }
    if let Some(frame) = log.get(oplog::HEADER_LEN..)
        && let Ok(record) = decode_frame(frame, oplog::HEADER_LEN as u64)
    {
        assert_eq!(record.encode().unwrap(), frame);
    }
    if let Ok(Some(record)) = last_frame(log, 0) {
        let frame = record.encode().unwrap();
        assert_eq!(log[record.link.at as usize..][..frame.len()], frame);
    }
    let saved = salvage(log).unwrap();
    for (record, seq) in saved.records.iter().zip(1..) {
        assert_eq!(record.link.seq, seq);
        let frame = record.encode().unwrap();
        assert_eq!(saved.bytes[record.link.at as usize..][..frame.len()], frame);
    }
    let again = salvage(&saved.bytes).unwrap();
    assert_eq!((again.bytes, again.records), (saved.bytes, saved.records));
}

fn record(seq: u64, at: u64, kind: OpKind) -> OpRecord {
    let staged = StagedTree { tree: TreeId::of(b"s"), files: 2, bytes: 300 };
    let before = OpState { head: Head::Branch("main".into()), staged, merging: None };
    let after = OpState {
        head: Head::Detached(CommitId::of(b"c")),
        merging: Some(TreeId::of(b"m")),
        ..before.clone()
    };
    let change = |name: &str, old| RefChange {
        name: name.into(),
        old,
        new: Some(CommitId::of(b"n").into()),
    };
    OpRecord {
        link: OpLink { seq, at },
        seconds: 1_700_000_000,
        offset_minutes: -60,
        user: "somebody".into(),
        description: "commit".into(),
        kind,
        before,
        after,
        refs: vec![change("heads/main", Some(CommitId::of(b"o").into())), change("tags/v1", None)],
        moved_work_tree: true,
        kept: Some(TreeId::of(b"k")),
        written: None,
        undo: (seq > 1).then_some(OpLink { seq: 1, at: oplog::HEADER_LEN as u64 }),
        redo: None,
    }
}

pub(crate) fn oplog_seeds() -> Vec<Vec<u8>> {
    let log_of = |kinds: &[OpKind]| {
        let mut log = oplog::encode_header();
        for (kind, seq) in kinds.iter().zip(1..) {
            log.extend(record(seq, log.len() as u64, *kind).encode().unwrap());
        }
        log
    };
    vec![
        log_of(&[OpKind::Normal]),
        log_of(&[OpKind::Normal, OpKind::Undo { of: 1 }, OpKind::Redo { of: 2 }]),
        log_of(&[OpKind::Noticed, OpKind::Restore { to: 0 }]),
    ]
}

// ---- the log of the staging area ---------------------------------------------------------------

pub(crate) fn staging_log(_: &mut Scratch, bytes: &[u8]) {
    check_staging_log(bytes);
    check_staging_log(&mended_staging_log(bytes));
}

/// A log of the staging area with its sums made to fit.
pub(crate) fn mended_staging_log(bytes: &[u8]) -> Vec<u8> {
    let (mut log, start) = (bytes.to_vec(), staging_log::HEADER_LEN);
    mend_at(&mut log, 0, start - 8);
    mend_frames(&mut log, start, *b"DSLF", staging_log::FRAME_HEADER_LEN, None);
    log
}

fn check_staging_log(log: &[u8]) {
    let mut ops = Vec::new();
    let Ok(sound) = replay(log, |at, op| ops.push((at, op))) else { return };
    assert!(sound <= log.len() as u64);
    let mut frame = Frame::default();
    for (at, op) in &ops {
        assert_eq!(op_at(log, *at), Some(*op), "found where it was");
        match op {
            LogOp::Put(view) => {
                let entry = view.to_entry().expect("the path was checked");
                frame.push(&StagingOp::Put(entry));
            }
            LogOp::Remove(path) => {
                assert!(check_path(path).is_ok() && !path.is_empty());
                frame.remove(path);
            }
            LogOp::MarkClean(tree) => frame.push_clean(*tree),
        }
    }
    assert_eq!(frame.check(), Ok(()));
    let mut again = staging_log::encode_header(7);
    again.extend(frame.finish());
    let mut read = Vec::new();
    assert_eq!(replay(&again, |_, op| read.push(op)), Ok(again.len() as u64));
    assert!(read.iter().eq(ops.iter().map(|(_, op)| op)), "written, and read as something else");
    // A part that is sound is so without what comes behind it.
    let mut count = 0;
    assert_eq!(replay(&log[..sound as usize], |_, _| count += 1), Ok(sound));
    assert_eq!(count, ops.len());
}

fn staged() -> Vec<StagedEntry> {
    let stat = FileStat { size: 5, mtime_ns: 1 << 60, ctime_ns: -1, ino: 77, dev: 3 };
    let file = |content| StagedKind::File { executable: false, content };
    let kinds = [
        file(Content::Empty),
        file(Content::Chunk(ChunkId::of(b"c"))),
        StagedKind::Symlink { target: b"to".to_vec() },
        StagedKind::EmptyDir,
    ];
    let entry = |(kind, path): (StagedKind, &str)| StagedEntry {
        path: RepoPath::new(path).unwrap(),
        kind,
        stat,
        racy: path == "b",
    };
    kinds.into_iter().zip(["a/x", "b", "c", "d"]).map(entry).collect()
}

pub(crate) fn staging_log_seeds() -> Vec<Vec<u8>> {
    let mut log = staging_log::encode_header(7);
    let mut frame = Frame::default();
    staged().into_iter().for_each(|entry| frame.push(&StagingOp::Put(entry)));
    log.extend(frame.finish());
    let one = log.clone();
    let mut frame = Frame::default();
    frame.remove(b"b");
    frame.push_clean(TreeId::of(b"t"));
    log.extend(frame.finish());
    vec![staging_log::encode_header(1), one, log]
}

// ---- the base of the staging area --------------------------------------------------------------

pub(crate) fn staging_base(_: &mut Scratch, bytes: &[u8]) {
    check_base(bytes);
    let mut base = bytes.to_vec();
    mend_at(&mut base, 0, 80);
    check_base(&mended(&base));
}

fn check_base(bytes: &[u8]) {
    let Ok(base) = StagingBase::open(bytes) else { return };
    assert_eq!(base.header().encode()[..48], bytes[..48]);
    let mut frame = Frame::default();
    for number in 0..base.len() {
        let path = base.path(number);
        if let Some(found) = base.find(path) {
            assert_eq!(base.path(found), path);
        }
        let range = base.between(path, b"\xff");
        assert!(range.start <= range.end && range.end <= base.len());
        let Some(view) = base.view(number) else { continue };
        assert_eq!(view.path, path);
        if view.to_entry().is_some() {
            frame.put(&view);
        }
    }
    assert_eq!(frame.check(), Ok(()), "what the base holds, the log can hold");
}

fn base_of(entries: &[StagedEntry], clean_tree: Option<TreeId>) -> Vec<u8> {
    let (mut records, mut strings) = (Vec::new(), Vec::new());
    for entry in entries {
        records.extend(encode_record(&entry.view(), strings.len() as u64));
        strings.extend_from_slice(entry.path.as_bytes());
        strings.extend_from_slice(entry.view().kind.target());
    }
    let string_bytes = strings.len() as u64;
    let header =
        BaseHeader { generation: 7, records: entries.len() as u64, string_bytes, clean_tree };
    let mut slots = SlotTable::new(&header);
    entries.iter().for_each(|entry| slots.push(entry.path.as_bytes()));
    let slots: Vec<u8> = slots.encoded().flatten().collect();
    super::sealed(&[header.encode(), records, slots, strings].concat())
}

pub(crate) fn staging_base_seeds() -> Vec<Vec<u8>> {
    vec![base_of(&[], None), base_of(&staged(), Some(TreeId::of(b"t")))]
}
