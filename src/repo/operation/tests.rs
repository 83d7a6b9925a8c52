#![expect(clippy::disallowed_methods, reason = "tests make files by any means")]

use std::fs;
use std::path::Path;

use super::super::add::AddOptions;
use super::super::commit::CommitOptions;
use super::super::diff_trees::committed;
use super::super::pathspec::Pathspec;
use super::super::remove::RemoveOptions;
use super::super::restore::RestoreOptions;
use super::super::switch::Move;
use super::super::trees::TreeWalk;
use super::super::{Place, Repository};
use super::*;
use crate::config::Config;
use crate::path::RepoPath;
use crate::progress::NullMonitor;
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::Signature;

struct Fixture {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path());
        Repository::init(&place).unwrap();
        let monitor = Arc::new(NullMonitor::default());
        let repository = Repository::open(place, Config::default(), monitor).unwrap();
        Self { dir, repository }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn add(&self) {
        self.repository.add(&AddOptions::default()).unwrap();
    }

    fn commit(&self, message: &str) -> CommitId {
        let who = Signature { name: "a".into(), email: "b".into(), seconds: 0, offset_minutes: 0 };
        let options = CommitOptions {
            message: message.into(),
            author: who.clone(),
            committer: who,
            allow_empty: true,
            amend: None,
            all: false,
        };
        self.repository.commit(options).unwrap().id
    }

    fn log(&self) -> Vec<OpRecord> {
        let log = self.repository.operations().unwrap();
        let mut all: Vec<_> = log.backwards().map(|record| record.unwrap()).collect();
        all.reverse();
        all
    }

    fn last(&self) -> OpRecord {
        self.log().pop().unwrap()
    }

    /// Whether `status` has to read a file.
    fn is_racy(&self, path: &str) -> bool {
        self.repository.staging().unwrap().view(path.as_bytes()).unwrap().racy
    }

    /// The paths of a tree.
    fn paths(&self, tree: &TreeId) -> Vec<String> {
        let walk = TreeWalk::new(self.repository.objects().unwrap(), tree, RepoPath::root());
        committed(walk).map(|entry| entry.unwrap().path.to_string()).collect()
    }

    /// What a file of a tree holds.
    fn read(&self, tree: &TreeId, path: &str) -> Vec<u8> {
        let objects = self.repository.objects().unwrap();
        let walk = TreeWalk::new(objects, tree, RepoPath::root());
        let entry = committed(walk).map(|entry| entry.unwrap());
        let entry = entry.into_iter().find(|entry| entry.path.to_string() == path).unwrap();
        let StagedKind::File { content, .. } = entry.kind else { panic!("{path} is no file") };
        let mut bytes = Vec::new();
        for chunk in objects.chunks(&content, entry.size, 0) {
            let id = chunk.unwrap().1.id.into();
            let kind = crate::storage::format::pack::BlockKind::Data;
            bytes.extend_from_slice(&objects.reader().read(kind, &id).unwrap());
        }
        bytes
    }

    fn head(&self) -> Option<CommitId> {
        self.repository.refs().head_commit().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn each_command_is_one_record_and_one_without_effect_is_none() {
    let fixture = Fixture::new();
    fixture.add();
    assert!(fixture.log().is_empty());
    fixture.write("d/a", "1");
    fixture.add();
    fixture.add();
    let commit = fixture.commit("first\nand more");
    let [add, commit_record] = &fixture.log()[..] else { panic!("{:?}", fixture.log()) };
    assert!(add.description.starts_with("add"), "{}", add.description);
    assert_eq!(add.before.staged, staged::nothing());
    assert_eq!((add.after.staged.files, add.after.staged.bytes), (1, 1));
    assert!(fixture.paths(&add.before.staged.tree).is_empty());
    assert_eq!(fixture.paths(&add.after.staged.tree), ["d/a"]);
    assert_eq!(commit_record.description, "commit: first");
    assert_eq!(commit_record.before, add.after);
    assert_eq!(commit_record.before, commit_record.after);
    let change = &commit_record.refs[..];
    let wanted = RefChange { name: "heads/main".into(), old: None, new: Some(commit.into()) };
    assert_eq!(change, [wanted]);
    assert_eq!(commit_record.undo, Some(commit_record.link));
}

#[test]
fn refs_and_head_that_a_killed_command_left_behind_are_moved() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.add();
    let first = fixture.commit("one");
    let mut op = fixture.repository.begin("make branches").unwrap();
    op.set_ref("heads/old", Some(first.into())).unwrap();
    op.finish().unwrap();
    copy(&fixture.at(".digstore/refs"), &fixture.at("saved"));
    fs::copy(fixture.at(".digstore/HEAD"), fixture.at("saved-head")).unwrap();
    let second = fixture.commit("two");
    let mut op = fixture.repository.begin("all at once").unwrap();
    op.set_ref("heads/new", Some(second.into())).unwrap();
    op.set_ref("heads/old", None).unwrap();
    op.set_ref("heads/main", Some(first.into())).unwrap();
    op.set_head(Head::Branch("new".into()));
    assert_eq!(op.head_commit().unwrap(), Some(second));
    op.finish().unwrap();
    let records = fixture.log().len();
    // As if the process had died right behind the record.
    fs::remove_dir_all(fixture.at(".digstore/refs")).unwrap();
    copy(&fixture.at("saved"), &fixture.at(".digstore/refs"));
    let refs = fixture.repository.refs();
    refs.update("heads/main", Some(first.into()), Some(second.into())).unwrap();
    fs::copy(fixture.at("saved-head"), fixture.at(".digstore/HEAD")).unwrap();
    for _ in 0..2 {
        drop(fixture.repository.begin("the next one").unwrap());
        assert_eq!(refs.read_head().unwrap(), Head::Branch("new".into()));
        let names: Vec<_> = refs.list("").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["heads/main", "heads/new"]);
        assert_eq!(refs.read("heads/main").unwrap().unwrap().new, first.into());
        assert_eq!(fixture.log().len(), records);
    }
}

#[test]
fn what_was_staged_without_a_record_gets_one() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.add();
    fixture.write("b", "2");
    // As an `add` that was killed before its end.
    let mut staging = fixture.repository.staging().unwrap();
    fixture.repository.add_to(&mut staging, &AddOptions::default()).unwrap();
    assert_eq!(fixture.log().len(), 1);
    fixture.commit("both");
    let [_, noticed, commit] = &fixture.log()[..] else { panic!("{:?}", fixture.log()) };
    assert_eq!(noticed.kind, OpKind::Noticed);
    assert_eq!(fixture.paths(&noticed.before.staged.tree), ["a"]);
    assert_eq!(fixture.paths(&noticed.after.staged.tree), ["a", "b"]);
    assert_eq!(commit.before, noticed.after);
    assert_eq!(noticed.undo, Some(noticed.link));
}

#[test]
fn an_operation_that_is_dropped_moves_no_ref() {
    let fixture = Fixture::new();
    let first = fixture.commit("one");
    let mut op = fixture.repository.begin("x").unwrap();
    op.set_ref("heads/x", Some(first.into())).unwrap();
    op.set_head(Head::Detached(first));
    drop(op);
    assert_eq!(fixture.log().len(), 1);
    assert_eq!(fixture.repository.refs().list("").unwrap().len(), 1);
    // A change that is refused leaves no record.
    let mut op = fixture.repository.begin("x").unwrap();
    op.set_ref("heads/main/x", Some(first.into())).unwrap();
    assert!(op.finish().is_err());
    assert_eq!(fixture.log().len(), 1);
}

#[test]
fn what_another_program_did_to_refs_is_noticed_and_stays() {
    let fixture = Fixture::new();
    let first = fixture.commit("one");
    let second = fixture.commit("two");
    let other = CommitId::of(b"other");
    let refs = fixture.repository.refs();
    refs.update("heads/main", Some(second.into()), Some(other.into())).unwrap();
    refs.write_head(&Head::Detached(first)).unwrap();
    drop(fixture.repository.begin("x").unwrap());
    let noticed = fixture.last();
    assert_eq!(noticed.kind, OpKind::Noticed);
    assert_eq!(noticed.after.head, Head::Detached(first));
    assert_eq!(noticed.refs[0].old, Some(second.into()));
    assert_eq!(noticed.refs[0].new, Some(other.into()));
    assert_eq!(fixture.head(), Some(first));
}

#[test]
fn a_log_that_is_gone_begins_anew_with_what_is_there() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.add();
    fixture.commit("one");
    fs::remove_file(fixture.at(".digstore/operations")).unwrap();
    fixture.write("b", "1");
    fixture.add();
    let [base, add] = &fixture.log()[..] else { panic!("{:?}", fixture.log()) };
    assert_eq!((base.kind, base.undo), (OpKind::Noticed, None));
    assert_eq!(fixture.paths(&base.before.staged.tree), ["a"]);
    assert_eq!(fixture.paths(&add.after.staged.tree), ["a", "b"]);
}

#[test]
fn files_that_rm_removes_by_force_are_kept() {
    let fixture = Fixture::new();
    for name in ["d/same", "d/changed", "d/link"] {
        fixture.write(name, "1");
    }
    fixture.add();
    fixture.write("d/changed", "precious");
    fs::remove_file(fixture.at("d/link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", fixture.at("d/link")).unwrap();
    let paths = vec![RepoPath::new("d").unwrap()];
    let options =
        RemoveOptions { paths: paths.into(), recursive: true, force: true, ..Default::default() };
    fixture.repository.remove(&options).unwrap();
    assert!(!fixture.at("d").exists());
    let record = fixture.last();
    let kept = record.kept.unwrap();
    assert!(record.moved_work_tree);
    assert_eq!(fixture.paths(&kept), ["d/changed", "d/link"]);
    assert_eq!(fixture.read(&kept, "d/changed"), b"precious");
    assert_eq!(fixture.read(&record.before.staged.tree, "d/same"), b"1");
    assert!(fixture.paths(&record.after.staged.tree).is_empty());
}

#[test]
fn files_that_restore_overwrites_are_kept_before_any_is_written() {
    let fixture = Fixture::new();
    for name in ["a", "d/b", "gone", "same"] {
        fixture.write(name, "old");
    }
    fixture.add();
    let first = fixture.commit("one");
    fixture.write("d/b", "staged");
    fixture.add();
    fixture.write("a", "precious");
    fs::remove_file(fixture.at("gone")).unwrap();
    let paths = vec![RepoPath::root()];
    let options = RestoreOptions { paths: paths.into(), source: Some(first), target: None };
    fixture.repository.restore(&options).unwrap();
    for name in ["a", "d/b", "gone", "same"] {
        assert_eq!(fs::read(fixture.at(name)).unwrap(), b"old", "{name}");
    }
    let record = fixture.last();
    let kept = record.kept.unwrap();
    assert_eq!(fixture.paths(&kept), ["a", "d/b"]);
    assert_eq!(fixture.read(&kept, "a"), b"precious");
    assert_eq!(fixture.read(&kept, "d/b"), b"staged");
    assert_eq!(record.before, record.after);
    let written = record.written.unwrap();
    assert_eq!(fixture.paths(&written), ["a", "d/b", "gone"]);
    // Nothing is overwritten, one is made.
    fs::remove_file(fixture.at("same")).unwrap();
    let paths: Vec<RepoPath> = vec![RepoPath::new("same").unwrap()];
    let options = RestoreOptions { paths: paths.into(), ..options };
    fixture.repository.restore(&options).unwrap();
    let record = fixture.last();
    assert_eq!((record.kept, fixture.paths(&record.written.unwrap())), (None, vec!["same".into()]));
    let records = fixture.log().len();
    fixture.repository.restore(&options).unwrap();
    assert_eq!(fixture.log().len(), records, "nothing to undo");
}

#[test]
fn a_new_staging_area_in_the_place_of_a_damaged_one_is_a_record() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.add();
    fixture.commit("one");
    fixture.write("b", "1");
    fixture.add();
    fs::write(fixture.at(".digstore/staging/base"), b"damage").unwrap();
    fixture.repository.reset_staging().unwrap();
    let record = fixture.last();
    assert_eq!(fixture.paths(&record.before.staged.tree), ["a", "b"]);
    assert_eq!(fixture.paths(&record.after.staged.tree), ["a"]);
}

#[test]
fn long_descriptions_are_cut_at_a_character() {
    assert_eq!(shortened("one\ntwo", 10), "one");
    assert_eq!(shortened("ééé", 6), "ééé");
    assert_eq!(shortened("éééé", 6), "é…");
    let paths: Vec<RepoPath> =
        (0..1000).map(|number| RepoPath::new(format!("f{number}")).unwrap()).collect();
    assert!(shortened(&description("add", &paths), MAX_DESCRIPTION).len() <= MAX_DESCRIPTION);
}

/// On a file system that keeps whole seconds a link can be made anew and have the same times.
#[test]
fn a_link_that_may_change_within_its_times_is_read_again() {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let fixture = Fixture::new();
    std::os::unix::fs::symlink("v1", fixture.at("cur")).unwrap();
    let link_of = |seconds| {
        let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, fixture.at("cur"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    // It changes in an hour, as far as can be told.
    link_of(jiff::Timestamp::now().as_second() + 3600);
    fixture.add();
    assert!(fixture.is_racy("cur"));
    let seen = fixture.repository.add(&AddOptions::default()).unwrap();
    assert_eq!((seen.added, seen.modified), (0, 0));
    link_of(1_600_000_000);
    std::thread::sleep(std::time::Duration::from_millis(30));
    fixture.add();
    assert!(!fixture.is_racy("cur"));
}

#[test]
fn what_a_switch_or_restore_wrote_is_known_by_its_times() {
    let fixture = Fixture::new();
    fixture.write("d/a", "1");
    fixture.add();
    let first = fixture.commit("first");
    fixture.write("d/a", "2");
    fixture.write("b", "2");
    fixture.add();
    let second = fixture.commit("second");
    for target in [first, second] {
        let mut op = fixture.repository.begin("move").unwrap();
        let tree = |id| fixture.repository.objects().unwrap().commit(id).unwrap().tree;
        let base = if target == first { second } else { first };
        op.move_to(&Move::new(Some(tree(&base)), Some(tree(&target)))).unwrap();
        op.finish().unwrap();
        assert!(!fixture.is_racy("d/a"));
    }
    fs::remove_file(fixture.at("b")).unwrap();
    let paths = Pathspec::all();
    fixture.repository.restore(&RestoreOptions { paths, source: None, target: None }).unwrap();
    assert!(!fixture.is_racy("b"));
}
