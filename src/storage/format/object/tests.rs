use super::*;
use proptest::prelude::*;

/// Sizes of which a page of entries has no more in sum than can be counted.
const MOST: u64 = 1 << 50;

fn content() -> impl Strategy<Value = Content> {
    any::<u64>().prop_map(|n| match n % 2 {
        0 => Content::Chunk(ChunkId::of(&n.to_le_bytes())),
        _ => Content::List(ListId::of(&n.to_le_bytes())),
    })
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        (any::<bool>(), 1..MOST, content()).prop_map(|(executable, size, content)| {
            EntryKind::File { executable, size, content }
        }),
        Just(EntryKind::File { executable: false, size: 0, content: Content::Empty }),
        "[a-z/.]{1,60}".prop_map(|target| EntryKind::Symlink { target: target.into_bytes() }),
        (0..MOST, 0..MOST).prop_map(|(files, bytes)| EntryKind::Dir {
            tree: TreeId::of(b"t"),
            files,
            bytes
        }),
    ]
}

fn signature() -> impl Strategy<Value = Signature> {
    (".{0,30}", ".{0,30}", any::<i64>(), any::<i16>()).prop_map(
        |(name, email, seconds, offset_minutes)| Signature { name, email, seconds, offset_minutes },
    )
}

proptest! {
    #[test]
    fn tree_pages_round_trip(entries in proptest::collection::btree_map("[a-zé]{1,20}", kind(), 0..40)) {
        let entries = entries.into_iter().map(|(name, kind)| TreeEntry { name: name.into_bytes(), kind }).collect();
        let page = TreePage::Leaf(entries);
        prop_assert_eq!(TreePage::decode(&page.encode()).unwrap(), page);
    }

    #[test]
    fn list_pages_round_trip(lens in proptest::collection::vec(1u32..=1 << 24, 1..60)) {
        let chunks = lens.iter().map(|len| ChunkRef { id: ChunkId::of(&len.to_le_bytes()), len: *len }).collect();
        let leaf = ListPage::Leaf(chunks);
        prop_assert_eq!(ListPage::decode(&leaf.encode()).unwrap(), leaf);
        let children = lens.iter().map(|len| ListChild { id: ListId::of(&len.to_le_bytes()), bytes: (*len).into(), chunks: 1 }).collect();
        let node = ListPage::Node { level: 1, children };
        prop_assert_eq!(ListPage::decode(&node.encode()).unwrap(), node);
    }

    #[test]
    fn commits_round_trip(author in signature(), committer in signature(), message in "(?s).{0,200}", parents in 0usize..5) {
        let parents = (0..parents).map(|n| CommitId::of(&[n as u8])).collect();
        let commit = Commit { tree: TreeId::of(b"t"), files: 3, bytes: u64::MAX, parents, author, committer, message };
        prop_assert_eq!(Commit::decode(&commit.encode()).unwrap(), commit);
    }

    #[test]
    fn any_bytes_give_no_panic(tag in prop::sample::select(vec![b'L', b'T', b'C']), level in 0u8..4, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [vec![tag, level], bytes].concat();
        let _ = ListPage::decode(&bytes);
        let _ = TreePage::decode(&bytes);
        let _ = Commit::decode(&bytes);
    }
}

fn leaf(names: &[&str]) -> Vec<u8> {
    let entry = |name: &&str| TreeEntry {
        name: name.as_bytes().to_vec(),
        kind: EntryKind::File { executable: false, size: 0, content: Content::Empty },
    };
    TreePage::Leaf(names.iter().map(entry).collect()).encode()
}

#[test]
fn trees_with_bad_names_are_refused() {
    for names in [&["b", "a"][..], &["a", "a"], &[".."], &["a/b"], &[".digstore"], &[""]] {
        assert!(TreePage::decode(&leaf(names)).is_err(), "{names:?}");
    }
}

#[test]
fn a_link_into_the_repository_is_refused() {
    assert!(check_target(b"../.digstore/config.toml").is_err());
    assert!(check_target(b"a\0b").is_err());
    assert!(check_target(b"../outside").is_ok());
}

#[test]
fn sizes_that_overflow_are_refused() {
    let child = ListChild { id: ListId::of(b"x"), bytes: u64::MAX, chunks: 1 };
    let page = ListPage::Node { level: 1, children: vec![child, child] };
    assert!(ListPage::decode(&page.encode()).is_err());
}
