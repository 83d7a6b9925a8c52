use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::id::{ChunkId, TreeId};
use crate::path::RepoPath;
use crate::progress::NullMonitor;
use crate::repo::content::Forget;
use crate::repo::trees::{edit_tree, write_trees};
use crate::repo::{Place, RepoError, Repository};
use crate::storage::binary_staging::{
    BinaryStagingArea, FileStat, StagedEntry, StagedKind, StagingOp,
};
use crate::storage::format::object::{
    Content, EntryKind, Signature, TreeChild, TreeEntry, TreePage,
};
use crate::storage::objects::{Objects, TreeTotals};

fn repository() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::at(dir.path());
    Repository::init(&place).unwrap();
    let monitor = Arc::new(NullMonitor::default());
    let repository = Repository::open(place, Config::default(), monitor).unwrap();
    (dir, repository)
}

fn put(path: &str, kind: StagedKind, size: u64) -> StagingOp {
    let stat = FileStat { size, ..FileStat::default() };
    StagingOp::Put(StagedEntry { path: RepoPath::new(path).unwrap(), kind, stat, racy: false })
}

fn file(path: &str, content: u64) -> StagingOp {
    let id = ChunkId::of(&content.to_le_bytes());
    let content_of =
        StagedKind::File { executable: content.is_multiple_of(7), content: Content::Chunk(id) };
    put(path, content_of, content)
}

/// Puts a path, and removes what it cannot stand beside.
fn put_alone(staging: &BinaryStagingArea, path: &str, op: StagingOp) -> Vec<StagingOp> {
    let mut ops: Vec<_> =
        staging.iter_within(path.as_bytes()).map(|entry| StagingOp::Remove(entry.path)).collect();
    let mut above = RepoPath::new(path).unwrap().parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root()) {
        ops.push(StagingOp::Remove(dir.clone()));
        above = dir.parent();
    }
    ops.push(op);
    ops
}

/// Commits, and holds the trees against those of one pass over everything.
fn commit(repository: &Repository) {
    let who = Signature { name: "a".into(), email: "b".into(), seconds: 0, offset_minutes: 0 };
    let options = CommitOptions {
        message: "x".into(),
        author: who.clone(),
        committer: who,
        allow_empty: false,
        amend: None,
        all: false,
    };
    let staging = repository.staging().unwrap();
    let Ok(whole) = write_trees(&staging, &mut Forget);
    match repository.commit(options) {
        Ok(report) => {
            let commit = report.commit;
            assert_eq!(
                (commit.tree, commit.files, commit.bytes),
                (whole.tree, whole.files, whole.bytes)
            );
        }
        Err(RepoError::NothingToCommit) => {
            assert_eq!(repository.head_tree().unwrap(), Some(whole.tree));
        }
        Err(error) => panic!("{error}"),
    }
}

#[derive(Debug, Clone)]
enum Edit {
    File(String, u64),
    EmptyDir(String),
    Remove(String),
    /// Removes what lies at and below.
    RemoveAll(String),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Of a directory with many pages, of small ones, and of names that are now one, now the other.
    let path = prop_oneof![
        (0u32..4000).prop_map(|number| format!("many/{number:05}")),
        "(x|y|z)(/[a-c]){0,3}",
        (0u32..400).prop_map(|number| format!("many/deep{number}/f")),
    ];
    prop_oneof![
        6 => (path.clone(), 0u64..1000).prop_map(|(path, content)| Edit::File(path, content)),
        2 => path.clone().prop_map(Edit::EmptyDir),
        3 => path.clone().prop_map(Edit::Remove),
        1 => "(x|y|z)(/[a-c]){0,2}".prop_map(Edit::RemoveAll),
    ]
}

fn apply(staging: &mut BinaryStagingArea, edit: Edit) {
    let ops = match edit {
        Edit::File(path, content) => put_alone(staging, &path, file(&path, content)),
        Edit::EmptyDir(path) => {
            let op = put(&path, StagedKind::EmptyDir, 0);
            put_alone(staging, &path, op)
        }
        Edit::Remove(path) => vec![StagingOp::Remove(RepoPath::new(path).unwrap())],
        Edit::RemoveAll(path) => staging
            .iter_within(path.as_bytes())
            .map(|entry| StagingOp::Remove(entry.path))
            .collect(),
    };
    staging.apply(ops).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn an_update_gives_the_trees_of_one_pass(
        first in 0u64..5000,
        rounds in proptest::collection::vec(proptest::collection::vec(edit(), 1..12), 1..6),
    ) {
        let (_dir, repository) = repository();
        let mut staging = repository.staging().unwrap();
        let many = (0..first).map(|number| file(&format!("many/{:05}", number * 3 % 5000), number));
        staging.apply(many.collect()).unwrap();
        staging.apply(vec![file("x/a", 1), file("y", 2)]).unwrap();
        commit(&repository);
        for edits in rounds {
            let mut staging = repository.staging().unwrap();
            edits.into_iter().for_each(|edit| apply(&mut staging, edit));
            commit(&repository);
        }
    }
}

/// The last name of each page of a directory but the last page: what ends it.
fn page_ends(objects: &Objects, tree: &TreeId) -> Vec<Vec<u8>> {
    let TreePage::Node { children, .. } = objects.tree_page(tree).unwrap() else {
        panic!("a directory of several pages");
    };
    let last = |child: &TreeChild| match objects.tree_page(&child.id).unwrap() {
        TreePage::Leaf(entries) => entries.last().unwrap().name.clone(),
        TreePage::Node { .. } => panic!("a directory of two levels"),
    };
    children[..children.len() - 1].iter().map(last).collect()
}

#[test]
fn an_update_moves_the_ends_of_pages_as_one_pass_does() {
    let (_dir, repository) = repository();
    let mut staging = repository.staging().unwrap();
    let names: Vec<String> = (0..6000).map(|number| format!("many/{number:05}")).collect();
    staging.apply(names.iter().map(|name| file(name, 1)).collect()).unwrap();
    commit(&repository);
    for turn in 0..12 {
        let objects = repository.objects().unwrap();
        let tree = repository.head_tree().unwrap().unwrap();
        let Some(TreeEntry { kind: EntryKind::Dir { tree, .. }, .. }) =
            objects.tree_entry(&tree, b"many").unwrap()
        else {
            panic!("no directory");
        };
        let ends = page_ends(objects, &tree);
        let end = &ends[turn * 5 % ends.len()];
        let path = RepoPath::new([b"many/", end.as_slice()].concat()).unwrap();
        let mut staging = repository.staging().unwrap();
        staging.apply(vec![StagingOp::Remove(path.clone())]).unwrap();
        commit(&repository);
        // Back again after every other turn, so that pages both grow together and split.
        if turn % 2 == 0 {
            let mut staging = repository.staging().unwrap();
            staging.apply(vec![file(&path.to_string(), 2)]).unwrap();
            commit(&repository);
        }
    }
}

#[test]
fn an_update_reads_and_writes_in_proportion_to_the_changes() {
    struct Count(Vec<ObjectId>);
    impl ObjectSink for Count {
        type Error = std::convert::Infallible;
        fn put(
            &mut self,
            _: BlockKind,
            id: ObjectId,
            _: Vec<u8>,
        ) -> std::result::Result<(), Self::Error> {
            self.0.push(id);
            Ok(())
        }
    }
    let (_dir, repository) = repository();
    let path = |n: u64| format!("{:02}/{:02}/{n:06}", n / 1000, n / 100);
    let mut staging = repository.staging().unwrap();
    staging.apply((0..20_000).map(|n| file(&path(n), n)).collect()).unwrap();
    commit(&repository);
    let mut staging = repository.staging().unwrap();
    staging.apply(vec![file(&path(7777), 1)]).unwrap();
    let head = repository.refs().head_commit().unwrap().unwrap();
    let objects = repository.objects().unwrap();
    let old = objects.commit(&head).unwrap();
    let (last, changed) = staging.changes_since_tree().unwrap();
    assert_eq!((last, changed.len()), (old.tree, 1));
    let mut written = Count(Vec::new());
    let old = TreeTotals { tree: old.tree, files: old.files, bytes: old.bytes };
    let new = edit_tree(objects, Some(old), &changed, &staging, &mut written).unwrap();
    assert_eq!((new.files, new.bytes), (old.files, old.bytes - 7777 + 1));
    assert_eq!(written.0.len(), 3, "one page for each directory on the way");
}

/// Whoever finds metadata takes what it leads to for stored.
#[test]
fn metadata_is_sealed_when_all_that_it_leads_to_is() {
    let (_dir, repository) = repository();
    let (engine, root) = (repository.engine().unwrap(), repository.work_tree_handle().unwrap());
    let mut noise = vec![0; 300 << 10];
    // Commits fill more than one pack; the tree and the list before them stay below a block.
    let packs = engine.write_objects(&WorkTreeSource(&root), |worker| {
        worker.put(BlockKind::Tree, ObjectId::from_bytes([1; 32]), b"tree".to_vec())?;
        worker.put(BlockKind::List, ObjectId::from_bytes([2; 32]), b"list".to_vec())?;
        for number in 0..300u32 {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
            let id = CommitId::of(&noise);
            worker.put(BlockKind::Commit, id.into(), noise.clone())?;
        }
        worker.put(BlockKind::Data, ObjectId::from_bytes([3; 32]), b"data".to_vec())?;
        // One that went to the sealer is there soon.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
        while engine.store.packs().is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(engine.store.packs())
    });
    assert_eq!(packs.unwrap(), []);
    let packs = engine.store.packs();
    let (mut kinds, mut lens) = (Vec::new(), Vec::new());
    for id in packs {
        let pack = engine.store.pack(&id).unwrap();
        let footer = pack.footer().unwrap();
        let blocks = (0..footer.block_count()).map(|number| footer.block(number).unwrap().kind);
        let mut blocks: Vec<BlockKind> = blocks.collect();
        blocks.dedup();
        kinds.push(blocks);
        lens.push(footer.chunk_count());
    }
    lens.sort_unstable();
    assert!(lens.len() == 3 && lens.iter().sum::<u32>() == 303, "{lens:?}");
    assert!(
        kinds.contains(&vec![BlockKind::List, BlockKind::Tree, BlockKind::Commit]),
        "{kinds:?}"
    );
}
