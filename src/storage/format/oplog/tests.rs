use proptest::prelude::*;

use super::*;
use crate::id::{CommitId, TagId};

fn commit(number: u64) -> CommitId {
    CommitId::of(&number.to_le_bytes())
}

fn value() -> impl Strategy<Value = RefValue> {
    (any::<u64>(), any::<bool>()).prop_map(|(number, annotated)| RefValue {
        commit: commit(number),
        annotation: annotated.then(|| TagId::of(b"t")),
    })
}

fn state() -> impl Strategy<Value = OpState> {
    let head = prop_oneof![
        "[a-z]{1,9}".prop_map(Head::Branch),
        any::<u64>().prop_map(|number| Head::Detached(commit(number))),
    ];
    (head, any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(head, files, bytes, waits)| {
        let tree = TreeId::of(&files.to_le_bytes());
        let merging = waits.then(|| TreeId::of(b"m"));
        OpState { head, staged: StagedTree { tree, files, bytes }, merging }
    })
}

fn kind() -> impl Strategy<Value = OpKind> {
    prop_oneof![
        Just(OpKind::Normal),
        (1..u64::MAX).prop_map(|of| OpKind::Undo { of }),
        (1..u64::MAX).prop_map(|of| OpKind::Redo { of }),
        any::<u64>().prop_map(|to| OpKind::Restore { to }),
        Just(OpKind::Noticed),
    ]
}

fn link() -> impl Strategy<Value = OpLink> {
    (1u64.., HEADER_LEN as u64..).prop_map(|(seq, at)| OpLink { seq, at })
}

prop_compose! {
    fn record()(
        kind in kind(),
        before in state(),
        after in state(),
        text in "(?s).{0,30}",
        time in (any::<i64>(), any::<i16>()),
        refs in proptest::collection::btree_map("(heads|tags)/[a-z]{1,5}", (value(), 0u8..3), 0..4),
        moved_work_tree in any::<bool>(),
        kept in proptest::option::of(Just(TreeId::of(b"k"))),
        written in proptest::option::of(Just(TreeId::of(b"w"))),
        links in (proptest::option::of(link()), proptest::option::of(link())),
    ) -> OpRecord {
        let refs = refs.into_iter().map(|(name, (value, which))| {
            let other = RefValue::from(commit(7));
            let (old, new) = match which {
                0 => (None, Some(value)),
                1 => (Some(value), None),
                _ => (Some(value), Some(other)),
            };
            RefChange { name, old, new }
        });
        OpRecord {
            link: OpLink { seq: 1, at: HEADER_LEN as u64 },
            seconds: time.0,
            offset_minutes: time.1,
            user: text.clone(),
            description: text,
            kind,
            before,
            after,
            refs: refs.collect(),
            moved_work_tree,
            kept,
            written,
            undo: links.0,
            redo: links.1,
        }
    }
}

/// A log of these records, and where each frame ends.
fn log(records: &mut [OpRecord]) -> (Vec<u8>, Vec<usize>) {
    let (mut out, mut ends) = (encode_header(), vec![HEADER_LEN]);
    for (number, record) in records.iter_mut().enumerate() {
        record.link = OpLink { seq: number as u64 + 1, at: out.len() as u64 };
        out.extend(record.encode().unwrap());
        ends.push(out.len());
    }
    (out, ends)
}

proptest! {
    #[test]
    fn records_round_trip(mut records in proptest::collection::vec(record(), 1..3)) {
        let (bytes, ends) = log(&mut records);
        prop_assert!(decode_header(&bytes).is_ok());
        for (number, record) in records.iter().enumerate() {
            let frame = &bytes[ends[number]..ends[number + 1]];
            prop_assert_eq!(frame_len(frame).unwrap(), frame.len() as u64);
            prop_assert_eq!(&decode_frame(frame, ends[number] as u64).unwrap(), record);
            prop_assert!(decode_frame(frame, ends[number] as u64 + 1).is_err());
        }
    }

    #[test]
    fn every_cut_leaves_the_last_whole_record(mut records in proptest::collection::vec(record(), 1..3)) {
        let (bytes, ends) = log(&mut records);
        for cut in 0..=bytes.len() {
            if cut < HEADER_LEN {
                prop_assert!(decode_header(&bytes[..cut]).is_err());
                continue;
            }
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let expected = whole.checked_sub(1).map(|last| records[last].clone());
            prop_assert_eq!(last_frame(&bytes[HEADER_LEN..cut], HEADER_LEN as u64), Ok(expected));
        }
    }

    #[test]
    fn every_flip_is_found(mut record in record(), bit in 0u8..8) {
        let (bytes, ends) = log(std::slice::from_mut(&mut record));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1u8 << bit;
            let header = decode_header(&flipped);
            let frame = decode_frame(&flipped[ends[0]..], ends[0] as u64);
            prop_assert!(header.is_err() || frame.is_err(), "byte {}", at);
            prop_assert_eq!(last_frame(&flipped[HEADER_LEN..], HEADER_LEN as u64) == Ok(None), header.is_ok());
        }
    }

    #[test]
    fn any_payload_gives_a_record_or_an_error(bytes in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..300)) {
        let _ = OpRecord::decode_payload(&bytes);
        prop_assert_eq!(last_frame(&bytes, HEADER_LEN as u64), Ok(None));
    }
}

/// As many headers and trailers, each pair of which claims all that lies between.
pub(in crate::storage) fn nested(count: usize) -> Vec<u8> {
    let len =
        |number: usize| ((count - number - 1) * FRAME_HEADER_LEN + number * TRAILER_LEN) as u32;
    let mut bytes = Vec::new();
    for number in 0..count {
        bytes.extend_from_slice(FRAME_MAGIC);
        bytes.extend_from_slice(&len(number).to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    for number in 0..count {
        bytes.extend_from_slice(&len(number).to_le_bytes());
        bytes.extend_from_slice(END_MAGIC);
    }
    bytes
}

#[test]
fn a_search_for_the_last_record_ends_in_time() {
    let all = nested(40);
    assert_eq!(claimed_before(&all, all.len()).map(<[u8]>::len), Some(39 * 8 + 16 + 8));
    // To hash all that these claim takes an hour.
    let error = last_frame(&nested(1 << 20), 0).unwrap_err();
    assert!(error.to_string().contains("looks like records"), "{error}");
    // A few are what a torn write may hold.
    assert_eq!(last_frame(&nested(20), 0), Ok(None));
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let sound = record().new_tree(&mut TestRunner::default()).unwrap().current();
    assert!(sound.encode().is_ok());
    let change =
        |name: &str| RefChange { name: name.into(), old: None, new: Some(commit(1).into()) };
    for refs in [vec![change("heads/b"), change("heads/a")], vec![change("heads/../x")]] {
        assert!(OpRecord { refs, ..sound.clone() }.encode().is_err());
    }
    assert!(OpRecord { description: "x".repeat(MAX_TEXT + 1), ..sound.clone() }.encode().is_err());
    let many: Vec<RefChange> =
        (0..MAX_PAYLOAD / 40).map(|number| change(&format!("heads/{number:08}"))).collect();
    assert!(OpRecord { refs: many, ..sound }.encode().is_err());
}
