#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn tree() -> (tempfile::TempDir, WorkTree) {
    let temp = tempfile::tempdir().unwrap();
    let tree = WorkTree::open(temp.path()).unwrap();
    (temp, tree)
}

/// No temporary stays behind anywhere.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_get_their_bytes_mode_and_stat() {
    let (temp, tree) = tree();
    let stat = tree.write_small(&path("a/b/c"), true, b"bytes", true).unwrap().unwrap();
    let full = temp.path().join("a/b/c");
    assert_eq!(fs::read(&full).unwrap(), b"bytes");
    let mode = fs::metadata(&full).unwrap().permissions().mode();
    assert_eq!(mode & 0o7111, 0o111 & mode);
    assert_ne!(mode & 0o100, 0);
    let kind = PathKind::File { executable: true };
    assert_eq!(tree.stat(&path("a/b/c")).unwrap(), Some((kind, stat)));
    assert_eq!(tree.write_small(&path("a/b/c"), false, b"", false).unwrap(), None);
    assert_eq!(fs::metadata(&full).unwrap().permissions().mode() & 0o111, 0);
    assert_eq!(names(&temp.path().join("a/b")), ["c"]);
}

#[test]
fn long_zeros_become_holes() {
    let (temp, tree) = tree();
    let write = |sink: &mut FileSink| -> Result<()> {
        sink.write(b"head")?;
        sink.write(&vec![0; 4 << 20])?;
        sink.write_at(16 << 20, b"middle")?;
        sink.skip((1 << 40) - (4 << 20) - 4);
        Ok(())
    };
    let stat = tree.write_file(&path("sparse"), false, true, write).unwrap().unwrap();
    assert_eq!(stat.size, 1 << 40);
    let meta = fs::metadata(temp.path().join("sparse")).unwrap();
    assert_eq!(meta.len(), 1 << 40);
    assert!(meta.blocks() * 512 <= 64 << 10, "{} blocks", meta.blocks());
}

#[test]
fn an_error_leaves_the_old_file_and_no_temporary() {
    let (temp, tree) = tree();
    tree.write_small(&path("f"), false, b"old", false).unwrap();
    let answer = tree.write_file(&path("f"), false, false, |sink| {
        sink.write(b"new")?;
        Err(WorkTreeError::Obstructed { path: path("stop") })
    });
    assert!(answer.is_err());
    assert_eq!(names(temp.path()), ["f"]);
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"old");
}

#[test]
fn what_is_in_the_way_is_reported_and_left_alone() {
    let (temp, tree) = tree();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    fs::write(temp.path().join("file"), b"").unwrap();
    fs::create_dir_all(temp.path().join("dir/full")).unwrap();
    let obstructed = |answer: Result<()>, by: &str| {
        assert!(
            matches!(&answer, Err(WorkTreeError::Obstructed { path: at }) if *at == path(by)),
            "{answer:?}"
        );
    };
    for at in ["link", "file"] {
        obstructed(tree.ensure_dir(&path(at)), at);
        let below = path(&format!("{at}/x/y"));
        obstructed(tree.write_small(&below, false, b"x", false).map(drop), at);
        obstructed(tree.write_symlink(&below, b"t", false).map(drop), at);
        assert!(!tree.remove_file(&below).unwrap());
        assert_eq!(tree.stat(&below).unwrap(), None);
    }
    obstructed(tree.write_small(&path("dir"), false, b"x", false).map(drop), "dir");
    obstructed(tree.write_symlink(&path("dir"), b"x", false).map(drop), "dir");
    obstructed(tree.remove_file(&path("dir")).map(drop), "dir");
    assert!(!tree.remove_dir(&path("dir")).unwrap());
    assert!(names(outside.path()).is_empty());
    assert_eq!(names(temp.path()), ["dir", "file", "link"]);
}

#[test]
fn symlinks_and_hard_links_are_replaced_not_written_through() {
    let (temp, tree) = tree();
    let outside = tempfile::NamedTempFile::new_in(temp.path().parent().unwrap()).unwrap();
    fs::write(outside.path(), b"outside").unwrap();
    fs::hard_link(outside.path(), temp.path().join("hard")).unwrap();
    symlink(outside.path(), temp.path().join("soft")).unwrap();
    for name in ["hard", "soft"] {
        tree.write_small(&path(name), false, b"inside", false).unwrap();
        assert_eq!(fs::read(temp.path().join(name)).unwrap(), b"inside");
    }
    assert_eq!(fs::read(outside.path()).unwrap(), b"outside");
    let stat = tree.write_symlink(&path("hard"), b"../any/where", true).unwrap().unwrap();
    assert_eq!(tree.stat(&path("hard")).unwrap(), Some((PathKind::Symlink, stat)));
    assert_eq!(fs::read_link(temp.path().join("hard")).unwrap(), Path::new("../any/where"));
    assert_eq!(names(temp.path()), ["hard", "soft"]);
}

#[test]
fn empty_directories_are_removed_up_to_the_first_that_is_not() {
    let (temp, tree) = tree();
    tree.write_small(&path("a/b/c/f"), false, b"", false).unwrap();
    tree.write_small(&path("a/g"), false, b"", false).unwrap();
    assert!(tree.remove_file(&path("a/b/c/f")).unwrap());
    assert!(!tree.remove_file(&path("a/b/c/f")).unwrap());
    tree.remove_empty_dirs_up(&path("a/b/c/f")).unwrap();
    assert_eq!(names(&temp.path().join("a")), ["g"]);
    // A remembered handle of a directory that was removed behind our back is not used.
    fs::remove_file(temp.path().join("a/g")).unwrap();
    fs::remove_dir(temp.path().join("a")).unwrap();
    tree.write_small(&path("a/g"), false, b"again", false).unwrap();
    assert_eq!(fs::read(temp.path().join("a/g")).unwrap(), b"again");
}

#[test]
fn threads_that_make_and_remove_the_same_directories_do_not_fail() {
    let (_temp, tree) = tree();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let tree = &tree;
            scope.spawn(move || {
                for number in 0..300 {
                    let file = path(&format!("d/e{}/f{thread}", number % 3));
                    match tree.write_small(&file, false, b"x", true) {
                        Ok(_) => assert!(tree.remove_file(&file).unwrap()),
                        // The others removed the directory each time it was made.
                        Err(WorkTreeError::Io { source, .. }) => {
                            assert_eq!(source.kind(), io::ErrorKind::NotFound);
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    tree.remove_empty_dirs_up(&file).unwrap();
                }
            });
        }
    });
}

/// R9 in small: parents are exchanged with symlinks to the outside while files are written.
#[test]
fn nothing_is_written_through_a_parent_that_becomes_a_symlink() {
    let (temp, _) = tree();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("sub")).unwrap();
    fs::create_dir_all(temp.path().join("dir/sub")).unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    let root = File::open(temp.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "dir", &root, "link", swap).unwrap();
            }
        });
        for number in 0..2000 {
            // A fresh work tree each time, so that every directory is resolved anew.
            let tree = WorkTree::open(temp.path()).unwrap();
            let file = path(&format!("dir/sub/f{number}"));
            let _ = tree.write_small(&file, false, b"x", false);
            let _ = tree.write_symlink(&path(&format!("dir/new{number}/l")), b"t", false);
            let _ = tree.ensure_dir(&path(&format!("dir/made{number}")));
            let _ = tree.remove_file(&file);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(outside.path()), ["sub"]);
    assert!(names(&outside.path().join("sub")).is_empty());
}

#[test]
fn a_target_is_made_with_its_parents() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("x/y/z");
    WorkTree::create(&target).unwrap().write_small(&path("f"), false, b"1", false).unwrap();
    assert_eq!(fs::read(target.join("f")).unwrap(), b"1");
    assert!(WorkTree::open(&temp.path().join("none")).is_err());
}

#[test]
fn a_fresh_directory_is_written_directly_and_nothing_planted_is_written_through() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), b"outside").unwrap();
    let target = temp.path().join("fresh");
    let tree = WorkTree::create(&target).unwrap();
    assert!(tree.is_fresh());
    tree.write_small(&path("d/e/f"), true, b"1", false).unwrap();
    tree.ensure_dir(&path("d/g")).unwrap();
    tree.ensure_dir(&path("d/g")).unwrap();
    assert_eq!(names(&target.join("d")), ["e", "g"]);
    // Who comes in between is replaced, as anywhere else.
    fs::hard_link(outside.path(), target.join("d/hard")).ok();
    symlink(outside.path(), target.join("d/soft")).unwrap();
    for name in ["hard", "soft"] {
        let stat = tree.write_small(&path(&format!("d/{name}")), false, b"in", true).unwrap();
        assert_eq!(stat.unwrap().size, 2);
        assert_eq!(fs::symlink_metadata(target.join("d").join(name)).unwrap().len(), 2);
    }
    assert_eq!(fs::read(outside.path()).unwrap(), b"outside");
    let failed = tree.write_file(&path("d/g/half"), false, false, |sink| {
        sink.write(b"half")?;
        Err(WorkTreeError::Obstructed { path: path("stop") })
    });
    assert!(failed.is_err());
    assert!(names(&target.join("d/g")).is_empty());
    assert!(!WorkTree::create(&target).unwrap().is_fresh(), "it holds something now");
}

#[test]
fn a_file_written_by_threads_in_any_order_has_its_bytes_once_it_is_published() {
    let (temp, tree) = tree();
    let file = tree.new_file(&path("big"), false).unwrap();
    file.sink().extend_to(1_000_000);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let file = &file;
            scope.spawn(move || {
                for step in (thread..90).step_by(4) {
                    file.sink().write_at(step * 10_000, &[step as u8 + 1; 10_000]).unwrap();
                }
            });
        }
    });
    assert!(!temp.path().join("big").exists());
    assert_eq!(file.publish(true).unwrap().unwrap().size, 1_000_000);
    let bytes = fs::read(temp.path().join("big")).unwrap();
    let expected = |at: usize| if at < 900_000 { (at / 10_000) as u8 + 1 } else { 0 };
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    assert_eq!(names(temp.path()), ["big"]);
}

/// A work tree in which only what is noted may be replaced.
fn guarded() -> (tempfile::TempDir, WorkTree, Arc<Stored>) {
    let (temp, tree) = tree();
    let stored = Arc::new(Stored::default());
    let tree = tree.only_stored(&stored);
    (temp, tree, stored)
}

fn note(tree: &WorkTree, stored: &Stored, name: &str) {
    stored.note(&path(name), &tree.stat(&path(name)).unwrap().unwrap().1);
}

#[test]
fn only_what_is_as_it_was_noted_is_replaced_or_removed() {
    let (temp, tree, stored) = guarded();
    let is_changed = |error: WorkTreeError| matches!(error, WorkTreeError::Changed { .. });
    let is_obstructed = |error: WorkTreeError| matches!(error, WorkTreeError::Obstructed { .. });
    for name in ["f", "d/f", "d/g"] {
        tree.write_small(&path(name), false, b"1", false).unwrap();
        assert!(is_obstructed(tree.write_small(&path(name), false, b"2", false).unwrap_err()));
        assert!(is_obstructed(tree.write_symlink(&path(name), b"2", false).unwrap_err()));
        assert!(is_changed(tree.remove_file(&path(name)).unwrap_err()));
        note(&tree, &stored, name);
        fs::write(temp.path().join(name), b"mine").unwrap();
        assert!(is_changed(tree.write_small(&path(name), false, b"2", false).unwrap_err()));
        assert_eq!(fs::read(temp.path().join(name)).unwrap(), b"mine");
        note(&tree, &stored, name);
        tree.write_small(&path(name), false, b"2", false).unwrap();
        assert_eq!(fs::read(temp.path().join(name)).unwrap(), b"2");
        note(&tree, &stored, name);
        assert!(tree.remove_file(&path(name)).unwrap());
        // What is gone meanwhile is no obstacle.
        stored.note(&path(name), &FileStat::default());
        tree.write_small(&path(name), false, b"3", false).unwrap();
    }
    assert_eq!(names(temp.path()), ["d", "f"]);
    assert_eq!(names(&temp.path().join("d")), ["f", "g"]);
}

#[test]
fn of_a_file_with_several_names_each_may_be_replaced_once_it_is_noted() {
    let (temp, tree, stored) = guarded();
    tree.write_small(&path("a"), false, b"1", false).unwrap();
    for name in ["b", "c", "d"] {
        fs::hard_link(temp.path().join("a"), temp.path().join(name)).unwrap();
    }
    ["a", "b", "c"].iter().for_each(|name| note(&tree, &stored, name));
    // Each one that goes changes the ctime of the others.
    tree.write_small(&path("a"), false, b"2", false).unwrap();
    assert!(tree.remove_file(&path("b")).unwrap());
    tree.write_small(&path("c"), false, b"2", false).unwrap();
    assert!(tree.remove_file(&path("d")).is_err());
    assert_eq!(names(temp.path()), ["a", "c", "d"]);
}
