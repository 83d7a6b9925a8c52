//! `mv`, through the binary.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::{Node, Sandbox, assert_same};

/// A repository with files in two directories.
fn some_files() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.write("b", "b");
    sandbox.write("d/one", "1");
    sandbox.write("d/deep/two", "2");
    sandbox.write("e/x", "x");
    sandbox.link("link", "a");
    sandbox.mkdir("hollow");
    sandbox.save("first");
    sandbox
}

/// The files in the staging area; empty directories are not listed.
fn staged(sandbox: &Sandbox) -> Vec<String> {
    sandbox.ok(["ls"]).text().lines().map(str::to_owned).collect()
}

#[test]
fn files_links_and_directories_get_another_name() {
    let sandbox = some_files();
    let inode = fs::metadata(sandbox.path("a")).unwrap().ino();
    sandbox.ok(["mv", "a", "renamed"]);
    assert_eq!(fs::metadata(sandbox.path("renamed")).unwrap().ino(), inode, "moved, not copied");
    sandbox.ok(["mv", "link", "hollow", "e"]);
    sandbox.ok(["mv", "d", "e/d2/"]);
    assert_eq!(staged(&sandbox), ["b", "e/d2/deep/two", "e/d2/one", "e/link", "e/x", "renamed"]);
    let before = sandbox.snapshot();
    assert!(!before.contains_key("d".as_ref() as &std::ffi::OsStr));
    // Nothing differs from what is staged.
    assert!(
        sandbox.status().iter().all(|line| line.as_bytes()[1] == b' '),
        "{:?}",
        sandbox.status()
    );
    sandbox.commit("moved");
    assert_same(&before, &sandbox.restored("HEAD"));
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert!(sandbox.path("d/deep/two").exists() && !sandbox.path("e/d2").exists());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn local_changes_go_with_the_file_and_stay_local() {
    let sandbox = some_files();
    sandbox.write("a", "changed");
    sandbox.write("d/one", "changed too");
    sandbox.write("d/untracked", "new");
    sandbox.ok(["mv", "a", "z"]);
    sandbox.ok(["mv", "d", "y"]);
    let status = sandbox.status();
    for line in ["RM a -> z", "RM d/one -> y/one", "R  d/deep/two -> y/deep/two", "?? y/untracked"]
    {
        assert!(status.contains(&line.to_owned()), "{line}: {status:?}");
    }
    // A change that keeps size and time of last change is found behind a move, too.
    let kept = fs::metadata(sandbox.path("b")).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    sandbox.write("b", "B");
    fs::File::options().write(true).open(sandbox.path("b")).unwrap().set_modified(kept).unwrap();
    sandbox.ok(["mv", "b", "c"]);
    assert!(sandbox.status().contains(&"RM b -> c".to_owned()), "{:?}", sandbox.status());
}

#[test]
fn nothing_is_overwritten_without_force_and_nothing_lost_with_it() {
    let sandbox = some_files();
    sandbox.write("plain", "untracked bytes");
    sandbox.write("b", "unsaved bytes");
    let before = sandbox.snapshot();
    for target in ["b", "plain", "link"] {
        let stderr = sandbox.fails(1, ["mv", "a", target]);
        assert!(stderr.contains(&format!("'{target}' is there already")), "{stderr}");
        assert_same(&before, &sandbox.snapshot());
    }
    for target in ["b", "plain"] {
        sandbox.ok(["mv", "-f", "a", target]);
        assert_eq!(sandbox.read(target), b"a");
        assert!(!sandbox.path("a").exists());
        sandbox.ok(["undo"]);
        sandbox.ok(["undo"]);
        assert_same(&before, &sandbox.snapshot());
    }
    // A directory never replaces a file, nor a file a directory.
    sandbox.fails(1, ["mv", "-f", "d", "b"]);
    sandbox.mkdir("e/a");
    sandbox.fails(1, ["mv", "-f", "a", "e"]);
    assert_same(
        &before,
        &sandbox.snapshot().into_iter().filter(|(path, _)| path != "e/a").collect(),
    );
}

#[test]
fn what_cannot_be_moved_is_told_before_anything_is() {
    let sandbox = some_files();
    sandbox.write("new", "n");
    sandbox.write("f/a", "other");
    sandbox.ok(["add", "f/a"]);
    let before = sandbox.snapshot();
    let cases: &[(i32, &[&str], &str)] = &[
        (1, &["new", "z"], "'new' is not tracked"),
        (20, &["bb", "z"], "did you mean 'b'?"),
        (20, &["a", "no/where"], "there is no directory 'no'"),
        (20, &["a", "z/"], "there is no directory 'z'"),
        (20, &["a", "b", "z"], "there is no directory 'z'"),
        (1, &["d", "d/deep"], "'d' cannot be moved into itself"),
        (1, &["a", "d", "d/one", "e"], "'d/one' lies in 'd', which is moved too"),
        (1, &["a", "f/a", "e"], "several of the paths would become 'e/a'"),
        (1, &[".", "e"], "'.' holds the repository"),
        (2, &["a", "../outside"], "lies outside the work tree"),
        (2, &["a", ".digstore/x"], "cannot be stored"),
        (2, &["a"], "TARGET"),
    ];
    for (code, args, message) in cases {
        let stderr = sandbox.fails(*code, ["mv"].iter().chain(*args));
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        assert_same(&before, &sandbox.snapshot());
    }
    let long = "n".repeat(255);
    sandbox.ok(["mv", "a", &long]);
    sandbox.remove(&long);
    let stderr = sandbox.fails(20, ["mv", &long, "short"]);
    assert!(stderr.contains("tracked, but not in the work tree"), "{stderr}");
}

#[test]
fn some_can_be_left_out_and_a_dry_run_does_nothing() {
    let sandbox = some_files();
    sandbox.write("new", "n");
    let before = (sandbox.snapshot(), sandbox.status());
    let output = sandbox.ok(["mv", "-n", "-k", "a", "new", "d", "e"]);
    assert_eq!(output.text(), "would move 'a' to 'e/a'\nwould move 'd' to 'e/d'\n");
    assert!(output.stderr.contains("'new' was left out: 'new' is not tracked"));
    assert_eq!(before, (sandbox.snapshot(), sandbox.status()));
    let report = sandbox.ok(["mv", "--json", "-k", "a", "new", "e"]).json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["moved"][0]["from"]["path"], "a");
    assert_eq!(report["moved"][0]["to"]["path"], "e/a");
    assert_eq!(report["skipped"][0]["path"], "new");
    assert_eq!(report["dry_run"], false);
    assert_eq!(sandbox.read("e/a"), b"a");
}

#[test]
fn emptied_directories_go_but_not_the_one_where_the_user_is() {
    let sandbox = some_files();
    sandbox.run_in("d/deep", ["mv", "two", "../../two"]).expect_code(0);
    assert_eq!(
        sandbox.snapshot().get("d/deep".as_ref() as &std::ffi::OsStr),
        Some(&Node::EmptyDir)
    );
    sandbox.ok(["mv", "e/x", "x"]);
    assert!(!sandbox.path("e").exists());
    // A tracked directory that gets an entry is no empty one any more.
    sandbox.ok(["mv", "x", "hollow"]);
    assert_eq!(staged(&sandbox), ["a", "b", "d/one", "hollow/x", "link", "two"]);
}

#[test]
fn names_that_differ_in_case_and_paths_of_another_kind() {
    let sandbox = some_files();
    sandbox.ok(["mv", "a", "A"]);
    sandbox.ok(["mv", "d", "D"]);
    assert!(sandbox.path("A").exists() && sandbox.path("D/deep/two").exists());
    // Where a file was staged there is a directory now, and the other way round.
    sandbox.remove("A");
    sandbox.mkdir("A");
    sandbox.ok(["mv", "b", "A/b"]);
    sandbox.remove("D");
    sandbox.ok(["mv", "e/x", "D"]);
    assert_eq!(staged(&sandbox), ["A/b", "D", "link"]);
    sandbox.commit("kinds");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn what_is_in_conflict_stays_where_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("d/a", "base\n");
    sandbox.write("b", "b");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("d/a", "theirs\n");
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.write("d/a", "ours\n");
    sandbox.save("ours");
    sandbox.run(["merge", "topic"]).expect_code(1);
    for args in [["mv", "d/a", "c"], ["mv", "d", "e"]] {
        assert!(sandbox.fails(1, args).contains("'d/a' is in conflict"), "{args:?}");
    }
    assert!(sandbox.fails(1, ["mv", "-f", "b", "d/a"]).contains("'d/a' is in conflict"));
    sandbox.ok(["mv", "b", "c"]);
    sandbox.write("d/a", "both\n");
    sandbox.ok(["add", "d/a"]);
    sandbox.ok(["mv", "d/a", "e"]);
    sandbox.ok(["merge", "--continue"]);
    assert!(sandbox.status().is_empty());
}

#[test]
fn a_file_that_is_overwritten_comes_back_in_one_step() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.write("b", "b");
    sandbox.save("x");
    sandbox.write("b", "unsaved");
    let before = sandbox.snapshot();
    sandbox.ok(["mv", "-f", "a", "b"]);
    sandbox.ok(["undo"]);
    assert_eq!(before, sandbox.snapshot());
    assert_eq!(sandbox.status(), [" M b"]);
}

#[test]
fn nothing_is_moved_to_where_no_command_would_see_it() {
    let sandbox = some_files();
    sandbox.mkdir("d/.git");
    let before = sandbox.snapshot();
    for args in [["a", "d/.git/a"], ["a", "d/.git"], ["e", ".git"], ["a", ".GIT"]] {
        let said = sandbox.fails(1, ["mv", args[0], args[1]]);
        assert!(said.contains("part of a git repository"), "{args:?}: {said}");
    }
    assert_same(&before, &sandbox.snapshot());
}
