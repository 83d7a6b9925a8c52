use super::*;
use crate::storage::disk::{OsDisk, TMP_DIR};

fn store() -> (tempfile::TempDir, RefStore) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new(dir.path());
    disk.create_dir(Path::new(TMP_DIR)).unwrap();
    (dir, RefStore::new(Arc::new(disk)))
}

fn update(refs: &RefStore, name: &str, old: Option<CommitId>, new: CommitId) -> Result<RefRecord> {
    refs.update(name, old.map(RefValue::from), Some(new.into()))?;
    Ok(refs.read(name)?.unwrap())
}

fn commit(text: &str) -> CommitId {
    CommitId::of(text.as_bytes())
}

#[test]
fn a_ref_moves_from_where_it_is_expected_only() {
    let (_dir, refs) = store();
    let first = update(&refs, "heads/main", None, commit("a")).unwrap();
    assert_eq!((first.seq, first.old, first.new), (1, None, commit("a").into()));
    let second = update(&refs, "heads/main", Some(commit("a")), commit("b")).unwrap();
    assert_eq!((second.seq, second.old), (2, Some(commit("a").into())));
    assert_ne!(first.nonce, second.nonce);
    for expected in [None, Some(commit("a"))] {
        match update(&refs, "heads/main", expected, commit("c")) {
            Err(RefError::Conflict { found, .. }) => assert_eq!(found, Some(commit("b"))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refs.read("heads/main").unwrap(), Some(second));
    let absent = update(&refs, "heads/new", Some(commit("a")), commit("b"));
    assert!(matches!(absent, Err(RefError::Conflict { found: None, .. })));
    assert_eq!(refs.read("heads/new").unwrap(), None);
}

#[test]
fn of_many_rivals_one_wins() {
    let (_dir, refs) = store();
    let wins: usize = std::thread::scope(|scope| {
        let rival = |number: usize| {
            let refs = &refs;
            move || update(refs, "heads/x", None, commit(&number.to_string())).is_ok()
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(rival(number))).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(wins, 1);
    assert_eq!(refs.read("heads/x").unwrap().unwrap().seq, 1);
}

#[test]
fn head_leads_through_its_branch() {
    let (_dir, refs) = store();
    assert!(matches!(refs.read_head(), Err(RefError::NoHead { .. })));
    refs.write_head(&Head::Branch("main".into())).unwrap();
    assert_eq!(refs.head_commit().unwrap(), None);
    update(&refs, "heads/main", None, commit("a")).unwrap();
    assert_eq!(refs.head_commit().unwrap(), Some(commit("a")));
    refs.write_head(&Head::Detached(commit("b"))).unwrap();
    assert_eq!(refs.head_commit().unwrap(), Some(commit("b")));
    assert!(refs.write_head(&Head::Branch("../x".into())).is_err());
}

#[test]
fn refs_are_listed_sorted_and_below_a_prefix() {
    let (dir, refs) = store();
    assert!(refs.list("").unwrap().is_empty());
    let long = format!("heads/{}", "x".repeat(255));
    let names = ["heads/a", "heads/a-b/c", "heads/a-b/d/e", &long, "tags/v1"];
    for name in names.iter().rev() {
        update(&refs, name, None, commit(name)).unwrap();
    }
    std::fs::create_dir(dir.path().join("refs/heads/empty")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a stray file of another program")]
    std::fs::write(dir.path().join("refs/heads/.stray"), b"x").unwrap();
    let list = |prefix: &str| -> Vec<String> {
        refs.list(prefix).unwrap().into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(list(""), names);
    assert_eq!(list("heads"), names[..4]);
    assert_eq!(list("heads/a-b"), names[1..3]);
    assert_eq!(list("heads/a"), names[..1]);
    assert!(list("heads/none").is_empty());
    assert!(list("heads/empty").is_empty());
}

#[test]
fn a_ref_and_a_directory_of_refs_exclude_each_other() {
    let (_dir, refs) = store();
    update(&refs, "heads/a", None, commit("a")).unwrap();
    update(&refs, "heads/b/c", None, commit("b")).unwrap();
    for (name, other) in [("heads/a/x/y", "heads/a"), ("heads/b", "heads/b/")] {
        assert_eq!(refs.read(name).unwrap(), None);
        match update(&refs, name, None, commit("x")) {
            Err(RefError::Clash { other: found, .. }) => assert_eq!(found, other),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn names_are_checked_everywhere() {
    let (_dir, refs) = store();
    for name in ["", "main", "heads/", "/main", "heads/../../x", "heads/a b", "heads/x.lock"] {
        assert!(matches!(refs.read(name), Err(RefError::Name(_))), "{name}");
        assert!(matches!(update(&refs, name, None, commit("x")), Err(RefError::Name(_))));
    }
    assert!(matches!(refs.list("../x"), Err(RefError::Name(_))));
}

#[test]
fn a_damaged_ref_is_an_error() {
    let (dir, refs) = store();
    update(&refs, "heads/a", None, commit("a")).unwrap();
    for bytes in [b"".as_slice(), b"junk"] {
        #[expect(clippy::disallowed_methods, reason = "damage is done behind the disk edge")]
        std::fs::write(dir.path().join("refs/heads/a"), bytes).unwrap();
        assert!(matches!(refs.read("heads/a"), Err(RefError::Format { .. })));
        assert!(update(&refs, "heads/a", None, commit("b")).is_err());
        assert!(refs.list("").is_err());
    }
}

#[test]
fn a_held_lock_is_waited_for_and_then_reported() {
    let (_dir, refs) = store();
    let guard = refs.disk.try_lock(Path::new(LOCK_FILE)).unwrap();
    let blocked = update(&refs, "heads/a", None, commit("a"));
    assert!(matches!(blocked, Err(RefError::Locked { .. })));
    drop(guard);
    assert!(update(&refs, "heads/a", None, commit("a")).is_ok());
}

fn change(name: &str, old: Option<&str>, new: Option<&str>) -> RefChange {
    let value = |text: Option<&str>| text.map(|text| commit(text).into());
    RefChange { name: name.to_owned(), old: value(old), new: value(new) }
}

fn names(refs: &RefStore) -> Vec<String> {
    refs.list("").unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn several_refs_change_together_or_not_at_all() {
    let (_dir, refs) = store();
    refs.apply(&[change("heads/a", None, Some("1")), change("tags/v", None, Some("1"))]).unwrap();
    let refused = [
        vec![change("heads/a", Some("1"), Some("2")), change("tags/v", Some("2"), None)],
        vec![change("heads/a", Some("1"), Some("2")), change("heads/a/b", None, Some("1"))],
        vec![change("heads/c/d", None, Some("1")), change("heads/c", None, Some("1"))],
        vec![change("tags/v", Some("1"), None), change("heads/A", None, Some("1"))],
    ];
    for changes in refused {
        assert!(refs.prepare(&changes).is_err(), "{changes:?}");
        assert!(refs.apply(&changes).is_err());
        assert_eq!(names(&refs), ["heads/a", "tags/v"]);
        assert_eq!(refs.read("heads/a").unwrap().unwrap().new, commit("1").into());
    }
    // A ref makes way for a directory of refs in the same change, and the other way round.
    refs.apply(&[change("heads/a", Some("1"), None), change("heads/a/b", None, Some("1"))])
        .unwrap();
    assert_eq!(names(&refs), ["heads/a/b", "tags/v"]);
    refs.apply(&[change("heads/a/b", Some("1"), None), change("heads/a", None, Some("1"))])
        .unwrap();
    assert_eq!(names(&refs), ["heads/a", "tags/v"]);
    let deeper = [change("heads/a", Some("1"), None), change("heads/a/b/c", None, Some("1"))];
    refs.prepare(&deeper).unwrap();
    assert_eq!(names(&refs), ["heads/a", "tags/v"]);
    refs.apply(&deeper).unwrap();
    let back = [change("heads/a/b/c", Some("1"), None), change("heads/a/b", None, Some("1"))];
    refs.prepare(&back).unwrap();
    assert_eq!(names(&refs), ["heads/a/b/c", "tags/v"]);
    refs.apply(&back).unwrap();
    assert_eq!(names(&refs), ["heads/a/b", "tags/v"]);
}

/// Behind a change that is prepared its record is written: it must not fail then.
#[test]
#[expect(clippy::disallowed_methods, reason = "stray files of another program")]
fn what_is_in_the_way_of_a_new_ref_is_named_before_anything_is_done() {
    let (dir, refs) = store();
    std::fs::create_dir_all(dir.path().join("refs/heads/a/b/c")).unwrap();
    for stray in ["refs/heads/a/b/.stray", "refs/tags"] {
        std::fs::write(dir.path().join(stray), b"x").unwrap();
    }
    let wanted = [("heads/a", "refs/heads/a/b/.stray"), ("tags/v/1", "refs/tags")];
    for (name, stray) in wanted {
        let changes = [change("heads/new", None, Some("1")), change(name, None, Some("1"))];
        for refused in [refs.check(&changes), refs.prepare(&changes), refs.apply(&changes)] {
            let Err(RefError::InTheWay { file, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(file, dir.path().join(stray));
        }
        assert_eq!(refs.read("heads/new").unwrap(), None);
        assert!(refs.put_back(name, commit("1").into()).is_err());
    }
    assert!(dir.path().join("refs/heads/a/b/c").exists());
    for (name, stray) in wanted {
        std::fs::remove_file(dir.path().join(stray)).unwrap();
        refs.prepare(&[change(name, None, Some("1"))]).unwrap();
        assert!(ref_path(name).parent().is_some_and(|above| dir.path().join(above).exists()));
        assert!(!dir.path().join(ref_path(name)).exists());
    }
}

#[test]
fn a_deleted_ref_leaves_nothing_in_the_way() {
    let (dir, refs) = store();
    refs.apply(&[change("heads/a/b/c", None, Some("1")), change("heads/a/d", None, Some("1"))])
        .unwrap();
    assert!(refs.update("heads/a/b/c", Some(commit("2").into()), None).is_err());
    refs.update("heads/a/b/c", Some(commit("1").into()), None).unwrap();
    assert_eq!(names(&refs), ["heads/a/d"]);
    assert!(!dir.path().join("refs/heads/a/b").exists());
    refs.update("heads/a/d", Some(commit("1").into()), None).unwrap();
    assert!(dir.path().join("refs/heads").exists());
    // What a killed deletion left is no obstacle either.
    std::fs::create_dir(dir.path().join("refs/heads/a")).unwrap();
    std::fs::create_dir(dir.path().join("refs/heads/a/x")).unwrap();
    update(&refs, "heads/a", None, commit("1")).unwrap();
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let (_dir, refs) = store();
    update(&refs, "heads/main", None, commit("1")).unwrap();
    update(&refs, "heads/Topic/x", None, commit("1")).unwrap();
    update(&refs, "heads/größe", None, commit("1")).unwrap();
    for name in ["heads/Main", "heads/topic/y", "heads/GRÖSSE", "heads/GRÖßE"] {
        let refused = update(&refs, name, None, commit("1"));
        let is_twin = matches!(refused, Err(RefError::Twin { .. }));
        assert_eq!(is_twin, name != "heads/GRÖSSE", "{name}: {refused:?}");
    }
    update(&refs, "heads/Topic/y", None, commit("1")).unwrap();
    refs.apply(&[change("heads/main", Some("1"), None), change("heads/Main", None, Some("1"))])
        .unwrap();
    assert!(names(&refs).contains(&"heads/Main".to_owned()));
}
