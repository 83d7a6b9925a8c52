#![expect(clippy::disallowed_methods, reason = "tests remove files by any means")]

use std::sync::Arc;

use super::super::commit::CommitOptions;
use super::super::{Place as RepositoryPlace, Repository};
use super::*;
use crate::config::Config;
use crate::progress::NullMonitor;
use crate::storage::format::object::Signature;
use crate::storage::oplog::OPLOG_FILE;

#[test]
fn revisions_are_taken_apart_at_their_braces() {
    assert_eq!(split("main@{1}"), Some(("main", "1")));
    assert_eq!(split("@{2026-01-02 10:00}"), Some(("", "2026-01-02 10:00")));
    for text in ["main", "main@1", "main@{1", "main{1}"] {
        assert_eq!(split(text), None, "{text}");
    }
}

#[test]
fn numbers_are_changes_or_switches_and_all_else_is_a_time() {
    assert_eq!(selector("12"), Some(Selector::Changes(12)));
    assert_eq!(selector("-2"), Some(Selector::Switches(2)));
    assert_eq!(selector("1970-01-02T00:00:00Z"), Some(Selector::Time(86_400)));
    assert_eq!(selector("@7"), Some(Selector::Time(7)));
    for text in ["", "-", "-0", "x", "+1", "upstream", "99999999999999999999999"] {
        assert_eq!(selector(text), None, "{text}");
    }
}

#[test]
fn some_revisions_name_what_was_checked_out() {
    assert_eq!((switches_ago("-"), switches_ago("@{-3}")), (Some(1), Some(3)));
    for text in ["main@{-1}", "@{1}", "--", "@", "", "@{-0}"] {
        assert_eq!(switches_ago(text), None, "{text}");
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = RepositoryPlace::at(dir.path());
        Repository::init(&place).unwrap();
        let monitor = Arc::new(NullMonitor::default());
        let repository = Repository::open(place, Config::default(), monitor).unwrap();
        Self { dir, repository }
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

    /// Lets operation n have happened n hours after 1970 began.
    fn spread(&self) {
        let log = self.repository.operations().unwrap();
        let mut records: Vec<_> = log.backwards().map(|record| record.unwrap()).collect();
        std::fs::remove_file(self.dir.path().join(".digstore").join(OPLOG_FILE)).unwrap();
        let mut log = self.repository.operations().unwrap();
        while let Some(mut record) = records.pop() {
            record.seconds = record.link.seq as i64 * 3600;
            log.append(record).unwrap();
        }
    }

    fn at(&self, revision: &str) -> CommitId {
        self.repository.resolve(revision).unwrap()
    }

    fn fails(&self, revision: &str) -> String {
        self.repository.resolve(revision).unwrap_err().to_string()
    }
}

#[test]
fn a_time_names_what_was_there_then() {
    let fixture = Fixture::new();
    let repository = &fixture.repository;
    let first = fixture.commit("1");
    repository.create_branch("topic", first, false).unwrap();
    let second = fixture.commit("3");
    repository.delete_branches(&["topic".into()], true).unwrap();
    let third = fixture.commit("5");
    fixture.spread();
    for (revision, commit) in [
        ("main@{1970-01-01T01:00:00Z}", first),
        ("main@{1970-01-01T02:59:59Z}", first),
        ("main@{1970-01-01T03:00:00Z}", second),
        ("@{@17999}", second),
        ("@{@18000}", third),
        ("HEAD@{@10800}", second),
        ("@{yesterday}", third),
        ("topic@{@7200}", first),
        ("topic@{@14399}", first),
        ("topic@{1}", first),
        ("@{@18000}~2", first),
    ] {
        assert_eq!(fixture.at(revision), commit, "{revision}");
    }
    assert_eq!(fixture.fails("topic@{@7199}"), "'topic' led to no commit at '@7199'");
    assert_eq!(fixture.fails("topic@{now}"), "'topic' led to no commit at 'now'");
    assert_eq!(fixture.fails("main@{@3599}"), "the log of operations began after '@3599'");
    assert_eq!(fixture.fails("nothing@{1}"), "unknown revision 'nothing'");
    let then = |seq| {
        let place = repository.place().clone();
        let monitor = Arc::new(NullMonitor::default());
        Repository::open(place, Config::default(), monitor).unwrap().at_operation(seq).unwrap()
    };
    assert_eq!(then(3).resolve("@{1}").unwrap(), first);
    assert_eq!(then(4).resolve("main@{now}").unwrap(), second);
    assert!(then(0).resolve("@{1}").is_err());
}

#[test]
fn a_log_that_began_anew_knows_nothing_before() {
    let fixture = Fixture::new();
    let first = fixture.commit("1");
    std::fs::remove_file(fixture.dir.path().join(".digstore").join(OPLOG_FILE)).unwrap();
    assert_eq!(fixture.at("main@{0}"), first);
    assert!(fixture.fails("main@{1}").contains("fewer changes of 'main': 0"));
    assert!(fixture.fails("main@{now}").contains("began after 'now'"));
    let second = fixture.commit("2");
    assert_eq!((fixture.at("@{0}"), fixture.at("@{1}")), (second, first));
}
