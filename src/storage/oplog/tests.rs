use super::*;
use crate::id::TreeId;
use crate::storage::disk::{OsDisk, TMP_DIR};
use crate::storage::format::oplog::tests::nested;
use crate::storage::refs::Head;

fn disk() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new(dir.path());
    disk.create_dir(Path::new(TMP_DIR)).unwrap();
    (dir, Arc::new(disk))
}

fn record(log: &OpLog, description: &str) -> OpRecord {
    let staged = StagedTree { tree: TreeId::of(b"t"), files: 1, bytes: 2 };
    let state = OpState { head: Head::Branch("main".into()), staged, merging: None };
    OpRecord {
        link: log.next_link(),
        seconds: 5,
        offset_minutes: 0,
        user: String::new(),
        description: description.to_owned(),
        kind: OpKind::Normal,
        before: state.clone(),
        after: state,
        refs: Vec::new(),
        moved_work_tree: false,
        kept: None,
        written: None,
        undo: Some(log.next_link()),
        redo: None,
    }
}

fn append(log: &mut OpLog, description: &str) {
    log.append(record(log, description)).unwrap();
}

fn descriptions(log: &OpLog) -> Vec<String> {
    log.backwards().map(|record| record.unwrap().description).collect()
}

fn tamper(dir: &tempfile::TempDir, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.path().join(OPLOG_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    #[expect(clippy::disallowed_methods, reason = "damage is done behind the disk edge")]
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn records_are_read_from_the_end_and_by_link() {
    let (_dir, disk) = disk();
    let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
    assert!(log.last().is_none() && descriptions(&log).is_empty());
    let long = "x".repeat(4000);
    for number in 0..20 {
        append(&mut log, &format!("{number} {long}"));
        assert_eq!(log.last().unwrap().link.seq, number + 1);
    }
    let log = OpLog::open(disk).unwrap();
    let all = descriptions(&log);
    assert_eq!(all.len(), 20);
    assert!(all[0].starts_with("19 ") && all[19].starts_with("0 "));
    let seventh = log.find(7).unwrap();
    assert!(seventh.description.starts_with("6 "));
    assert_eq!(log.follow(seventh.link).unwrap(), seventh);
    assert_eq!(log.before(&seventh).unwrap().unwrap().link.seq, 6);
    assert!(log.follow(OpLink { seq: 8, ..seventh.link }).is_err());
    for seq in [0, 21] {
        assert!(matches!(log.find(seq), Err(OpLogError::Unknown { last: 20, .. })));
    }
}

#[test]
fn a_torn_record_is_cut_off_by_the_next() {
    let (dir, disk) = disk();
    let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
    append(&mut log, "one");
    append(&mut log, "two");
    let whole = log.file_len();
    let second = log.last().unwrap().link.at;
    for cut in 1..whole - second {
        tamper(&dir, |bytes| bytes.truncate((whole - cut) as usize));
        let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
        assert_eq!(descriptions(&log), ["one"]);
        append(&mut log, "two");
        assert_eq!(log.file_len(), whole);
        assert_eq!(descriptions(&OpLog::open(Arc::clone(&disk)).unwrap()), ["two", "one"]);
    }
    // What was never written reads as zeros after a loss of power.
    tamper(&dir, |bytes| bytes.extend([0; 70_000]));
    let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
    assert_eq!(descriptions(&log), ["two", "one"]);
    append(&mut log, "three");
    assert_eq!(descriptions(&OpLog::open(disk).unwrap()), ["three", "two", "one"]);
}

#[test]
fn damage_is_an_error() {
    let (dir, disk) = disk();
    let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
    ["one", "two", "three", "four"].iter().for_each(|text| append(&mut log, text));
    let (second, third) = (log.find(2).unwrap().link.at, log.find(3).unwrap().link.at);
    tamper(&dir, |bytes| bytes[second as usize + 40] ^= 1);
    let log = OpLog::open(Arc::clone(&disk)).unwrap();
    let read: Vec<bool> = log.backwards().map(|record| record.is_ok()).collect();
    assert_eq!(read, [true, true, false]);
    // Of two bad records at the end, one at most was torn.
    tamper(&dir, |bytes| {
        let last = bytes.len() - 12;
        bytes[last] ^= 1;
        bytes[third as usize + 40] ^= 1;
    });
    assert!(matches!(OpLog::open(Arc::clone(&disk)), Err(OpLogError::Format { .. })));
    tamper(&dir, |bytes| bytes[3] ^= 1);
    assert!(matches!(OpLog::open(disk), Err(OpLogError::Format { .. })));
}

#[test]
fn a_log_made_to_be_searched_for_ever_is_damaged_at_once() {
    let (dir, disk) = disk();
    let mut log = OpLog::open(Arc::clone(&disk)).unwrap();
    append(&mut log, "sound");
    tamper(&dir, |bytes| bytes.extend(nested(1 << 20)));
    let Err(OpLogError::Format { source, .. }) = OpLog::open(disk) else { panic!() };
    assert!(source.to_string().contains("looks like records"), "{source}");
    let salvaged = salvage(&std::fs::read(dir.path().join(OPLOG_FILE)).unwrap()).unwrap();
    assert_eq!(salvaged.records.len(), 1);
}
