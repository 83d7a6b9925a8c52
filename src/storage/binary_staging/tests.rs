use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::id::ChunkId;
use crate::path::{RepoPath, is_within};
use crate::storage::disk::{OsDisk, TMP_DIR};
use crate::storage::format::object::Content;

fn new_area() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(dir.path()));
    disk.create_dir(Path::new(TMP_DIR)).unwrap();
    BinaryStagingArea::create(&*disk).unwrap();
    (dir, disk)
}

fn file(path: &str, content: u8, mtime: i64) -> StagedEntry {
    let content = Content::Chunk(ChunkId::of(&[content]));
    StagedEntry {
        path: RepoPath::new(path).unwrap(),
        kind: StagedKind::File { executable: false, content },
        stat: FileStat { size: 1, mtime_ns: mtime, ctime_ns: -1, ino: 5, dev: 6 },
        racy: mtime % 2 == 0,
    }
}

fn put(path: &str, content: u8, mtime: i64) -> StagingOp {
    StagingOp::Put(file(path, content, mtime))
}

fn remove(path: &str) -> StagingOp {
    StagingOp::Remove(RepoPath::new(path).unwrap())
}

fn frame(ops: &[StagingOp]) -> Vec<u8> {
    let mut frame = Frame::default();
    ops.iter().for_each(|op| frame.push(op));
    frame.finish()
}

fn paths(area: &BinaryStagingArea) -> Vec<String> {
    area.iter().map(|entry| entry.path.to_string()).collect()
}

#[expect(clippy::disallowed_methods, reason = "damage is done behind the disk edge")]
fn overwrite(disk: &dyn Disk, file: &str, bytes: &[u8]) {
    std::fs::write(disk.root().join(file), bytes).unwrap();
}

fn contents(disk: &dyn Disk, file: &str) -> Vec<u8> {
    disk.read(Path::new(file), u64::MAX).unwrap().unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<StagingOp>),
    MarkClean(u8),
    TearLog(Vec<u8>),
}

const NAME: &str = "[a-c-]{1,2}(/[a-c]){0,2}";

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        3 => (NAME, 0u8..3, 0i64..9).prop_map(|(path, content, time)| put(&path, content, time)),
        1 => (NAME, 1u8..4).prop_map(|(path, len)| StagingOp::Put(StagedEntry {
            kind: StagedKind::Symlink { target: vec![b't'; len.into()] },
            ..file(&path, 0, 0)
        })),
        1 => NAME.prop_map(|path| StagingOp::Put(StagedEntry {
            kind: StagedKind::EmptyDir,
            ..file(&path, 0, 1)
        })),
        3 => NAME.prop_map(|path| remove(&path)),
    ];
    prop_oneof![
        8 => proptest::collection::vec(op, 0..8).prop_map(Step::Apply),
        2 => any::<u8>().prop_map(Step::MarkClean),
        1 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(Step::TearLog),
    ]
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<RepoPath, StagedEntry>,
    clean_tree: Option<TreeId>,
    /// The entries when the tree was marked.
    marked: Option<(TreeId, BTreeMap<RepoPath, StagedEntry>)>,
}

impl Model {
    fn apply(&mut self, op: &StagingOp) {
        let is_same = match op {
            StagingOp::Put(entry) => {
                let old = self.entries.insert(entry.path.clone(), entry.clone());
                old.is_some_and(|old| old.kind == entry.kind)
            }
            StagingOp::Remove(path) => self.entries.remove(path).is_none(),
        };
        if !is_same {
            self.clean_tree = None;
        }
    }

    fn check(&self, area: &BinaryStagingArea) {
        assert_eq!(area.len(), self.entries.len());
        assert_eq!(area.clean_tree(), self.clean_tree);
        assert!(area.iter().eq(self.entries.values().cloned()));
        self.check_changes(area);
        for (number, view) in area.views().numbered() {
            assert_eq!(area.ordinal(view.path), Some(number));
        }
        let mut seen = vec![false; area.slots()];
        for (path, entry) in &self.entries {
            assert_eq!(area.get(path.as_bytes()).as_ref(), Some(entry));
            let ordinal = area.ordinal(path.as_bytes()).unwrap();
            for guess in [ordinal, ordinal + 1, 0] {
                let found = area.locate(path.as_bytes(), guess);
                assert_eq!(found, Some((ordinal, entry.view())));
            }
            assert!(!std::mem::replace(&mut seen[ordinal], true));
        }
        for dir in ["", "a", "b", "c-", "a/b", "none"] {
            let dir = dir.as_bytes();
            let expected = self.entries.values().filter(|e| is_within(e.path.as_bytes(), dir));
            assert!(area.iter_within(dir).eq(expected.cloned()));
            let here = self.entries.contains_key(&RepoPath::new(dir).unwrap());
            assert_eq!(area.view(dir).is_some(), here);
            assert_eq!(area.ordinal(dir).is_some(), here);
        }
    }
}

impl Model {
    /// Outside of the changed paths, the area is as it was when the tree was marked.
    fn check_changes(&self, area: &BinaryStagingArea) {
        let Some((tree, changed)) = area.changes_since_tree() else { return };
        let (marked, then) = self.marked.as_ref().unwrap();
        assert_eq!(tree, *marked);
        assert!(changed.is_sorted_by(|a, b| compare(a, b).is_lt()));
        assert_eq!(changed.is_empty(), self.clean_tree.is_some());
        for path in self.entries.keys().chain(then.keys()) {
            let [old, new] = [then, &self.entries].map(|all| all.get(path).map(|one| &one.kind));
            assert!(old == new || changed.contains(&path.as_bytes()), "{path}");
        }
    }
}

fn take_step(step: Step, model: &mut Model, area: &mut BinaryStagingArea) {
    match step {
        Step::Apply(ops) => {
            for op in &ops {
                model.apply(op);
            }
            area.apply(ops).unwrap();
        }
        Step::MarkClean(tree) => {
            model.clean_tree = Some(TreeId::of(&[tree]));
            model.marked = Some((TreeId::of(&[tree]), model.entries.clone()));
            area.mark_clean(TreeId::of(&[tree])).unwrap();
        }
        Step::TearLog(tail) => {
            let disk = Arc::clone(&area.disk);
            let torn = [contents(&*disk, LOG_FILE), tail].concat();
            overwrite(&*disk, LOG_FILE, &torn);
            *area = BinaryStagingArea::open_with(disk, area.min_log).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_behaves_as_a_sorted_map(
        steps in proptest::collection::vec((step(), any::<bool>()), 1..16),
        min_log in prop_oneof![Just(0), Just(1000), Just(MIN_LOG)],
    ) {
        let (_dir, disk) = new_area();
        let mut area = BinaryStagingArea::open_with(Arc::clone(&disk), min_log).unwrap();
        let mut model = Model::default();
        for (step, reopen) in steps {
            take_step(step, &mut model, &mut area);
            model.check(&area);
            if reopen {
                area = BinaryStagingArea::open_with(Arc::clone(&disk), min_log).unwrap();
                model.check(&area);
            }
        }
    }
}

#[test]
fn the_log_becomes_a_base_when_it_is_long() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open_with(Arc::clone(&disk), 400).unwrap();
    area.apply(vec![put("a", 1, 1)]).unwrap();
    assert_eq!((area.base.len(), area.overlay.len()), (0, 1));
    area.apply((0..9).map(|n| put(&format!("b{n}"), n, 1)).collect()).unwrap();
    assert_eq!((area.base.len(), area.overlay.len()), (10, 0));
    assert_eq!(area.file_sizes().1, encode_header(1).len() as u64);
    assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
}

#[test]
fn a_crash_between_base_and_log_loses_nothing() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open_with(Arc::clone(&disk), 400).unwrap();
    area.apply(vec![put("a", 1, 1), put("b", 1, 1)]).unwrap();
    area.apply(vec![remove("b")]).unwrap();
    let old_log = contents(&*disk, LOG_FILE);
    area.rebase(frame(&[put("c", 1, 1)]), 1).unwrap();
    overwrite(&*disk, LOG_FILE, &old_log);
    let mut area = BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
    assert_eq!(paths(&area), ["a", "c"]);
    area.apply(vec![put("d", 1, 1)]).unwrap();
    let area = BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
    assert_eq!(paths(&area), ["a", "c", "d"]);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    for name in [LOG_FILE, BASE_FILE] {
        let (_dir, disk) = new_area();
        let mut area = BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
        area.apply(vec![put("a", 1, 1)]).unwrap();
        area.rebase(frame(&[put("b", 1, 1)]), 1).unwrap();
        BinaryStagingArea::create(&*disk).unwrap();
        assert_eq!(BinaryStagingArea::open(Arc::clone(&disk)).unwrap().len(), 2);
        disk.remove(Path::new(name)).unwrap();
        match BinaryStagingArea::open(disk) {
            Err(StagingError::Missing { file }) => assert!(file.ends_with(name)),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_log_that_is_far_too_long_is_not_read() {
    let (_dir, disk) = new_area();
    let file = disk.root().join(LOG_FILE);
    let log = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    log.set_len(1 << 41).unwrap();
    match BinaryStagingArea::open(disk) {
        Err(StagingError::Format { file, .. }) => assert!(file.ends_with(LOG_FILE)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
    area.apply(vec![put("a", 1, 1)]).unwrap();
    area.rebase(frame(&[put("b", 1, 1)]), 1).unwrap();
    for (name, flips) in [(BASE_FILE, contents(&*disk, BASE_FILE).len()), (LOG_FILE, 32)] {
        let sound = contents(&*disk, name);
        for at in 0..flips {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            overwrite(&*disk, name, &damaged);
            match BinaryStagingArea::open(Arc::clone(&disk)) {
                Err(StagingError::Format { file, .. }) => assert!(file.ends_with(name)),
                other => panic!("byte {at} of {name}: {other:?}"),
            }
        }
        overwrite(&*disk, name, &sound);
    }
    overwrite(&*disk, LOG_FILE, &encode_header(9));
    assert!(matches!(BinaryStagingArea::open(disk), Err(StagingError::Format { .. })));
}

#[test]
fn an_error_leaves_the_area_as_the_disk_has_it() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open_with(Arc::clone(&disk), 300).unwrap();
    area.apply(vec![put("a", 1, 1)]).unwrap();
    let tmp = disk.root().join(TMP_DIR);
    std::fs::remove_dir(&tmp).unwrap();
    std::os::unix::fs::symlink("nowhere", &tmp).unwrap();
    let many = || (0..9).map(|n| put(&format!("b{n}"), n, 1)).collect();
    assert!(area.apply(many()).is_err());
    assert_eq!(paths(&area), ["a"]);
    assert!(area.apply(vec![remove("a"), StagingOp::Remove(RepoPath::root())]).is_err());
    assert_eq!(paths(&area), ["a"]);
    disk.remove(Path::new(TMP_DIR)).unwrap();
    area.apply(many()).unwrap();
    assert_eq!(area.len(), 10);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open_with(disk, 400).unwrap();
    area.apply(vec![put("a", 1, 1)]).unwrap();
    let mut snapshot = area.snapshot();
    for round in 0..5 {
        area.apply(vec![put("a", 2, 1), put(&format!("b{round}"), 1, 1)]).unwrap();
        assert_eq!(paths(&snapshot), ["a"]);
        assert_eq!(snapshot.get(b"a"), Some(file("a", 1, 1)));
    }
    assert_eq!(area.len(), 6);
    assert!(matches!(snapshot.apply(vec![remove("a")]), Err(StagingError::OutOfStep)));
}

#[test]
fn a_touch_keeps_the_tree_and_a_change_drops_it() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open(disk).unwrap();
    let tree = TreeId::of(b"t");
    area.apply(vec![put("a", 1, 1)]).unwrap();
    area.mark_clean(tree).unwrap();
    area.apply(vec![put("a", 1, 2), remove("absent")]).unwrap();
    assert_eq!(area.clean_tree(), Some(tree));
    area.apply(vec![put("a", 2, 2)]).unwrap();
    assert_eq!(area.clean_tree(), None);
}

#[test]
#[ignore = "a measurement: run it with --release --nocapture"]
fn a_million_entries() {
    let (_dir, disk) = new_area();
    let mut area = BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
    let path = |n: usize| format!("data/part-{:03}/images/sample-{n:08}.jpg", n / 1000);
    let clock = std::time::Instant::now();
    for batch in 0..500 {
        area.apply((0..2000).map(|n| put(&path(batch * 2000 + n), 1, 1)).collect()).unwrap();
    }
    println!("500 batches of 2,000: {:?}, {:?} bytes", clock.elapsed(), area.file_sizes());
    let clock = std::time::Instant::now();
    let area = BinaryStagingArea::open(disk).unwrap();
    println!("open: {:?}", clock.elapsed());
    let clock = std::time::Instant::now();
    let paths: Vec<String> = (0..1_000_000).map(path).collect();
    println!("make paths: {:?}", clock.elapsed());
    let clock = std::time::Instant::now();
    assert!(paths.iter().all(|path| area.view(path.as_bytes()).is_some()));
    println!("a million views by path: {:?}", clock.elapsed());
    let clock = std::time::Instant::now();
    assert_eq!(area.views().count(), 1_000_000);
    println!("a walk of views: {:?}", clock.elapsed());
    let clock = std::time::Instant::now();
    assert_eq!(area.iter().count(), 1_000_000);
    println!("a walk of entries: {:?}", clock.elapsed());
}

#[test]
fn a_base_that_is_cut_off_while_it_is_open_makes_no_new_base() {
    let (dir, disk) = new_area();
    let mut area = BinaryStagingArea::open_with(Arc::clone(&disk), 0).unwrap();
    area.apply((0..2000).map(|number| put(&format!("f{number}"), 1, 1)).collect()).unwrap();
    area.check().unwrap();
    let path = dir.path().join(BASE_FILE);
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap();
    assert!(area.views().count() < 2000);
    assert!(matches!(area.check(), Err(StagingError::Disk(_))));
    assert!(matches!(area.apply(vec![put("g", 1, 1)]), Err(StagingError::Disk(_))));
    assert!(matches!(area.mark_clean(TreeId::of(b"t")), Err(StagingError::Disk(_))));
    assert_eq!(contents(&*disk, BASE_FILE).len(), 5000);
}

#[test]
fn an_area_begun_anew_is_on_the_disk_whole_or_not_at_all() {
    let (_dir, disk) = new_area();
    let open = || BinaryStagingArea::open(Arc::clone(&disk)).unwrap();
    let mut old = open();
    old.apply(vec![StagingOp::Put(file("old", 1, 1))]).unwrap();
    let mut anew = BinaryStagingArea::anew(Arc::clone(&disk)).unwrap();
    for number in 0..3 {
        anew.apply(vec![StagingOp::Put(file(&format!("new{number}"), 1, 1))]).unwrap();
    }
    let paths = |area: &BinaryStagingArea| -> Vec<String> {
        area.iter().map(|entry| entry.path.to_string()).collect()
    };
    assert_eq!(paths(&anew), ["new0", "new1", "new2"]);
    assert_eq!(paths(&open()), ["old"]);
    anew.publish().unwrap();
    assert_eq!(paths(&open()), paths(&anew));
    anew.apply(vec![StagingOp::Put(file("more", 1, 1))]).unwrap();
    assert_eq!(paths(&open()), ["more", "new0", "new1", "new2"]);
}
