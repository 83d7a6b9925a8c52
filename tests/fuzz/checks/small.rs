//! Structures that are read in one piece.

use digstore::id::{ChunkId, CommitId, ListId, PackId, TagId, TreeId};
use digstore::path::{RepoPath, check_name};
use digstore::storage::format::condemned::Condemned;
use digstore::storage::format::import_marks;
use digstore::storage::format::merge_state::{
    Conflict, ConflictKind, MergeKind, MergeState, PickFlags,
};
use digstore::storage::format::moving::Moving;
use digstore::storage::format::object::{
    ChunkRef, Commit, Content, EntryKind, ListChild, ListPage, Signature, TreeChild, TreeEntry,
    TreePage, check_target,
};
use digstore::storage::format::refs::{Head, RefRecord, RefValue, check_ref_name};
use digstore::storage::format::repository::{ChunkerParams, RepositoryFormat};
use digstore::storage::format::run_history::{RunCommand, RunHistory, RunRecord};
use digstore::storage::format::sparse::SparseFile;
use digstore::storage::format::tag::Tag;
use digstore::storage::format::verify_turn::{self, VerifyTurn};

use super::{Scratch, canonical, canonical_sealed};

pub(crate) fn signature() -> Signature {
    Signature { name: "Ä".into(), email: "a@b".into(), seconds: -5, offset_minutes: 90 }
}

pub(crate) fn repository(_: &mut Scratch, bytes: &[u8]) {
    let format = canonical_sealed(bytes, RepositoryFormat::decode, RepositoryFormat::encode);
    assert!(format.is_none_or(|format| format.chunker.check().is_ok()));
}

pub(crate) fn repository_seeds() -> Vec<Vec<u8>> {
    let chunker = ChunkerParams::DEFAULT;
    vec![RepositoryFormat { repository_id: [7; 16], chunker, optional_features: 3 }.encode()]
}

/// Refs, and what `HEAD` names.
pub(crate) fn refs(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, RefRecord::decode, RefRecord::encode);
    if let Some(Head::Branch(name)) = canonical_sealed(bytes, Head::decode, Head::encode) {
        assert!(check_ref_name(&name).is_ok());
    }
    if let Ok(name) = std::str::from_utf8(bytes) {
        let head = Head::Branch(name.to_owned());
        let is_read = Head::decode(&head.encode()).is_ok_and(|read| read == head);
        assert_eq!(check_ref_name(name).is_ok(), is_read, "a name is taken here and refused there");
    }
}

pub(crate) fn refs_seeds() -> Vec<Vec<u8>> {
    let commit = CommitId::of(b"c");
    let annotated = RefValue { commit, annotation: Some(TagId::of(b"t")) };
    let record = |old, new| RefRecord { seq: 3, old, new, nonce: [9; 16] }.encode();
    vec![
        record(None, commit.into()),
        record(Some(commit.into()), annotated),
        Head::Branch("topic/ä".into()).encode(),
        Head::Detached(commit).encode(),
        b"heads/a.lock".to_vec(),
        b"a@{b".to_vec(),
    ]
}

pub(crate) fn merge_state(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, MergeState::decode, MergeState::encode);
}

pub(crate) fn merge_state_seeds() -> Vec<Vec<u8>> {
    let id = |number: u8| CommitId::of(&[number]);
    let (message, before) = ("why\n".to_owned(), TreeId::of(b"b"));
    let plain = MergeState::new(MergeKind::Merge, id(1), vec![id(2)], message, before);
    let file = EntryKind::File {
        executable: true,
        size: 9,
        content: Content::Chunk(ChunkId::of(b"file")),
    };
    let dir = EntryKind::Dir { tree: TreeId::of(b"d"), files: 1, bytes: 2 };
    let conflict = |path: &str, kind, theirs| Conflict {
        path: RepoPath::new(path).unwrap(),
        kind,
        base: None,
        ours: Some(file.clone()),
        theirs,
        resolved: false,
    };
    let full = MergeState {
        kind: MergeKind::CherryPick,
        author: Some(signature()),
        todo: vec![id(3), id(4)],
        how: PickFlags { parent: Some(2), note_origin: true, no_commit: false },
        conflicts: vec![
            conflict(
                "a/b",
                ConflictKind::BothChanged,
                Some(EntryKind::Symlink { target: b"x".to_vec() }),
            ),
            conflict("c", ConflictKind::InTheWay, Some(dir)),
            conflict("d", ConflictKind::DeletedByThem, None),
        ],
        ..plain.clone()
    };
    vec![plain.encode(), full.encode()]
}

pub(crate) fn moving(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, Moving::decode, Moving::encode);
}

pub(crate) fn moving_seeds() -> Vec<Vec<u8>> {
    let (target, description) = (TreeId::of(b"t"), "switch ä".to_owned());
    let kept = Some(TreeId::of(b"k"));
    vec![
        Moving { seq: 4, target, kept: None, is_undo: false, description: description.clone() }
            .encode(),
        Moving { seq: 4, target, kept, is_undo: true, description }.encode(),
    ]
}

pub(crate) fn sparse(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, SparseFile::decode, SparseFile::encode);
}

pub(crate) fn sparse_seeds() -> Vec<Vec<u8>> {
    let spec = vec![b"a".to_vec(), b":(glob)b/**".to_vec(), Vec::new()];
    vec![
        SparseFile::default().encode(),
        SparseFile { specs: vec![spec.clone(), Vec::new(), spec] }.encode(),
    ]
}

/// Pages of chunk lists and trees, and commits.
pub(crate) fn object(_: &mut Scratch, bytes: &[u8]) {
    canonical(bytes, Commit::decode, Commit::encode);
    let list = canonical(bytes, ListPage::decode, ListPage::encode);
    assert!(list.is_none_or(|page| page.total_bytes().is_some()));
    let Some(TreePage::Leaf(entries)) = canonical(bytes, TreePage::decode, TreePage::encode) else {
        return;
    };
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    let mut totals = (0u64, 0u64);
    for entry in entries {
        assert_eq!(check_name(&entry.name), Ok(()));
        let (files, bytes) = entry.totals();
        totals = (totals.0.checked_add(files).unwrap(), totals.1.checked_add(bytes).unwrap());
        if let EntryKind::Symlink { target } = entry.kind {
            assert_eq!(check_target(&target), Ok(()));
        }
    }
}

/// Entries of a directory, of each kind.
pub(crate) fn entries() -> Vec<TreeEntry> {
    let file = |size, content| EntryKind::File { executable: false, size, content };
    let kinds = [
        file(0, Content::Empty),
        file(300, Content::Chunk(ChunkId::of(b"c"))),
        file(1 << 40, Content::List(ListId::of(b"l"))),
        EntryKind::Symlink { target: b"../x".to_vec() },
        EntryKind::Dir { tree: TreeId::of(b"t"), files: 2, bytes: 700 },
    ];
    let names = ["a", "b b", "c", "d\u{e4}", "e"];
    let entry = |(kind, name): (EntryKind, &str)| TreeEntry { name: name.into(), kind };
    kinds.into_iter().zip(names).map(entry).collect()
}

pub(crate) fn object_seeds() -> Vec<Vec<u8>> {
    let child = |first: &str| TreeChild { first: first.into(), id: TreeId::of(first.as_bytes()) };
    let chunk = |len| ChunkRef { id: ChunkId::of(&[len as u8]), len };
    let page = |bytes| ListChild { id: ListId::of(b"p"), bytes, chunks: 70 };
    let commit = |parents: Vec<CommitId>| Commit {
        tree: TreeId::of(b"t"),
        files: 3,
        bytes: 1 << 33,
        parents,
        author: signature(),
        committer: signature(),
        message: "why\n\nbecause".into(),
    };
    vec![
        TreePage::Leaf(Vec::new()).encode(),
        TreePage::Leaf(entries()).encode(),
        TreePage::Node { level: 2, children: vec![child("a"), child("m")] }.encode(),
        ListPage::Leaf(vec![chunk(5), chunk(70_000)]).encode(),
        ListPage::Node { level: 1, children: vec![page(1 << 20), page(9)] }.encode(),
        commit(Vec::new()).encode(),
        commit(vec![CommitId::of(b"p"), CommitId::of(b"q")]).encode(),
    ]
}

pub(crate) fn tag(_: &mut Scratch, bytes: &[u8]) {
    let tag = canonical(bytes, Tag::decode, Tag::encode);
    assert!(tag.is_none_or(|tag| check_ref_name(&tag.name).is_ok()));
}

pub(crate) fn tag_seeds() -> Vec<Vec<u8>> {
    let (name, message) = ("v1/ä".to_owned(), "first".to_owned());
    vec![Tag { name, target: CommitId::of(b"c"), tagger: signature(), message }.encode()]
}

pub(crate) fn import_marks(_: &mut Scratch, bytes: &[u8]) {
    for bytes in [bytes.to_vec(), super::mended(bytes)] {
        let Ok(marks) = import_marks::decode(&bytes) else { continue };
        // Without a commit, nothing says how long ids are.
        if !marks.is_empty() {
            assert_eq!(import_marks::encode(&marks), bytes);
        }
    }
}

pub(crate) fn import_marks_seeds() -> Vec<Vec<u8>> {
    let mark = |len: usize| (vec![5; len].into_boxed_slice(), CommitId::of(b"c"));
    vec![
        import_marks::encode(&[]),
        import_marks::encode(&[mark(20), mark(20)]),
        import_marks::encode(&[mark(32)]),
    ]
}

pub(crate) fn condemned(_: &mut Scratch, bytes: &[u8]) {
    let list = canonical_sealed(bytes, Condemned::decode, Condemned::encode);
    assert!(list.is_none_or(|list| list.packs.is_sorted_by(|a, b| a.0 < b.0)));
}

pub(crate) fn condemned_seeds() -> Vec<Vec<u8>> {
    let mut packs = vec![(PackId::of(b"p"), 5), (PackId::of(b"q"), -1)];
    packs.sort_unstable();
    vec![
        Condemned::default().encode(),
        Condemned { is_thorough: true, is_obliterating: true, packs }.encode(),
    ]
}

pub(crate) fn verify_turn(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, verify_turn::decode, VerifyTurn::encode);
}

pub(crate) fn verify_turn_seeds() -> Vec<Vec<u8>> {
    vec![VerifyTurn { next: 3 << 60 }.encode()]
}

pub(crate) fn run_history(_: &mut Scratch, bytes: &[u8]) {
    canonical_sealed(bytes, RunHistory::decode, RunHistory::encode);
}

pub(crate) fn run_history_seeds() -> Vec<Vec<u8>> {
    let run = |command| RunRecord { finished: 7, tuned: true, ..RunRecord::new(command) };
    vec![
        RunHistory::default().encode(),
        RunHistory { runs: vec![run(RunCommand::Add), run(RunCommand::Get)] }.encode(),
    ]
}
