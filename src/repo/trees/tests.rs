use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::diff_trees::ChangeKind::{self, Added, Deleted};
use super::super::diff_trees::committed;
use super::super::source::WorkTreeSource;
use super::super::{Place, Repository};
use super::*;
use crate::config::Config;
use crate::id::ChunkId;
use crate::path::RepoPath;
use crate::progress::NullMonitor;
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::objects::TreeTotals;

type Files = BTreeMap<RepoPath, EntryKind>;

fn repository() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::at(dir.path());
    Repository::init(&place).unwrap();
    let monitor = Arc::new(NullMonitor::default());
    let repository = Repository::open(place, Config::default(), monitor).unwrap();
    (dir, repository)
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn file(number: u64) -> EntryKind {
    let content = Content::Chunk(ChunkId::of(&number.to_le_bytes()));
    EntryKind::File { executable: number.is_multiple_of(3), size: number + 1, content }
}

fn empty_dir() -> EntryKind {
    EntryKind::Dir { tree: empty_tree(), files: 0, bytes: 0 }
}

fn write(
    repository: &Repository,
    old: Option<TreeTotals>,
    edits: &[(RepoPath, Option<EntryKind>)],
) -> TreeTotals {
    let root = repository.work_tree_handle().unwrap();
    let objects = repository.objects().unwrap();
    let engine = repository.engine().unwrap();
    let written = engine.write_objects(&WorkTreeSource(&root), |worker| {
        match edit_tree_by(objects, old, edits, worker) {
            Ok(totals) => Ok(totals),
            Err(Stop::Sink(error)) => Err(error),
            Err(Stop::Unreadable(error)) => panic!("{error}"),
        }
    });
    written.unwrap()
}

fn write_all(repository: &Repository, files: &Files) -> TreeTotals {
    let edits: Vec<_> =
        files.iter().map(|(path, kind)| (path.clone(), Some(kind.clone()))).collect();
    write(repository, None, &edits)
}

/// Puts a path, and removes what it cannot stand beside.
fn put(files: &mut Files, path: RepoPath, kind: EntryKind) {
    files.retain(|other, _| !other.is_within(&path) && !path.is_within(other));
    files.insert(path, kind);
}

fn listed(repository: &Repository, tree: &TreeId) -> Vec<RepoPath> {
    let walk = TreeWalk::new(repository.objects().unwrap(), tree, RepoPath::root());
    committed(walk).map(|entry| entry.unwrap().path).collect()
}

#[derive(Debug, Clone)]
enum Step {
    File(String, u64),
    EmptyDir(String),
    RemoveAll(String),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![
        (0u32..3000).prop_map(|number| format!("many/{number:05}")),
        "(x|y|z)(/[a-c]){0,3}",
        (0u32..300).prop_map(|number| format!("many/deep{number}/f")),
    ];
    prop_oneof![
        6 => (name.clone(), 0u64..1000).prop_map(|(name, content)| Step::File(name, content)),
        1 => name.clone().prop_map(Step::EmptyDir),
        2 => name.prop_map(Step::RemoveAll),
    ]
}

fn apply(files: &mut Files, step: Step) {
    match step {
        Step::File(name, number) => put(files, path(&name), file(number)),
        Step::EmptyDir(name) => put(files, path(&name), empty_dir()),
        Step::RemoveAll(name) => files.retain(|other, _| !other.is_within(&path(&name))),
    }
}

fn edits_between(old: &Files, new: &Files) -> Vec<(RepoPath, Option<EntryKind>)> {
    let mut edits: BTreeMap<RepoPath, Option<EntryKind>> = BTreeMap::new();
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        edits.insert(path.clone(), None);
    }
    for (path, kind) in new.iter().filter(|(path, kind)| old.get(*path) != Some(*kind)) {
        edits.insert(path.clone(), Some(kind.clone()));
    }
    edits.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn edits_give_the_tree_of_all_and_a_diff_gives_the_edits(
        many in 0u64..3000,
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let (_dir, repository) = repository();
        let mut old = Files::new();
        for number in 0..many {
            old.insert(path(&format!("many/{:05}", number * 7 % 3000)), file(number));
        }
        old.insert(path("x/a/b"), file(1));
        let mut new = old.clone();
        steps.into_iter().for_each(|step| apply(&mut new, step));
        let old_tree = write_all(&repository, &old);
        let whole = write_all(&repository, &new);
        let edits = edits_between(&old, &new);
        prop_assert_eq!(write(&repository, Some(old_tree), &edits), whole);

        let objects = repository.objects().unwrap();
        let diff = TreeDiff::new(objects, Some(old_tree.tree), Some(whole.tree));
        let mut expected = Vec::new();
        for (path, _) in &edits {
            let (old, new) = (old.get(path).cloned(), new.get(path).cloned());
            expected.push(TreeChange { path: path.clone(), old, new });
        }
        let found: Vec<_> = diff.map(|change| change.unwrap()).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_and_back() {
    let (_dir, repository) = repository();
    let files: Files = [(path("d/a"), file(1)), (path("d/b/c"), file(2)), (path("e"), file(3))]
        .into_iter()
        .collect();
    let old = write_all(&repository, &files);
    // One edit takes all that lies below.
    let new = write(&repository, Some(old), &[(path("d"), Some(file(9)))]);
    assert_eq!(listed(&repository, &new.tree), [path("d"), path("e")]);
    assert_eq!((new.files, new.bytes), (2, 10 + 4));
    let objects = repository.objects().unwrap();
    let kinds = |from: TreeTotals, to: TreeTotals| -> Vec<(RepoPath, ChangeKind)> {
        let diff = TreeDiff::new(objects, Some(from.tree), Some(to.tree));
        diff.map(|change| change.map(|change| (change.path.clone(), change.kind())).unwrap())
            .collect()
    };
    let there = kinds(old, new);
    assert_eq!(there, [(path("d"), Added), (path("d/a"), Deleted), (path("d/b/c"), Deleted)]);
    let back = kinds(new, old);
    assert_eq!(back, [(path("d"), Deleted), (path("d/a"), Added), (path("d/b/c"), Added)]);
    // A whole directory is put by its tree, and changed on the way.
    let Some(dir) = find(objects, &old.tree, &path("d")).unwrap() else { panic!("no d") };
    let moved =
        write(&repository, Some(new), &[(path("f"), Some(dir)), (path("f/b"), Some(empty_dir()))]);
    assert_eq!(listed(&repository, &moved.tree), [path("d"), path("e"), path("f/a"), path("f/b")]);
    let none = write(&repository, Some(old), &[(path("d"), None), (path("e"), None)]);
    assert!(is_empty_tree(&none.tree));
}

#[test]
fn what_is_of_no_interest_is_not_entered() {
    let (_dir, repository) = repository();
    let files: Files = [(path("d/a"), file(1)), (path("e/b"), file(2))].into_iter().collect();
    let tree = write_all(&repository, &files).tree;
    let objects = repository.objects().unwrap();
    let diff = TreeDiff::new(objects, None, Some(tree)).entering(|dir| *dir == path("e"));
    let found: Vec<_> = diff.map(|change| change.unwrap().path).collect();
    assert_eq!(found, [path("e/b")]);
}
