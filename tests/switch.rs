//! Branches, tags and `switch`, through the binary.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use common::{Dice, Sandbox, assert_same, far_apart, without_leftovers};

/// `main` with a few files, and a branch `topic` that changes each kind of thing.
fn two_branches() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("same", "same");
    sandbox.write("edited", "old");
    sandbox.write("gone/deep/file", "x");
    sandbox.write("becomes-dir", "file");
    sandbox.write("becomes-file/inner", "inner");
    sandbox.write("script", "#!/bin/sh\n");
    sandbox.write("Case", "case");
    sandbox.link("link", "same");
    sandbox.mkdir("empty");
    sandbox.save("main");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("edited", "new and longer");
    sandbox.remove("gone");
    sandbox.remove("becomes-dir");
    sandbox.write("becomes-dir/a", "a");
    sandbox.write("becomes-dir/b/c", "c");
    sandbox.remove("becomes-file");
    sandbox.write("becomes-file", "file now");
    sandbox.chmod("script", 0o755);
    sandbox.remove("Case");
    sandbox.write("case", "case");
    sandbox.remove("link");
    sandbox.link("link", "edited");
    sandbox.remove("empty");
    sandbox.write("added/new", "new");
    sandbox.save("topic");
    sandbox
}

#[test]
fn there_and_back_gives_what_was_committed_and_touches_nothing_else() {
    let sandbox = two_branches();
    let topic = sandbox.snapshot();
    let main = sandbox.restored("main");
    let before = fs::metadata(sandbox.path("same")).unwrap();
    for _ in 0..2 {
        sandbox.ok(["switch", "main"]);
        assert_same(&main, &sandbox.snapshot());
        assert!(sandbox.status().is_empty());
        sandbox.ok(["switch", "-"]);
        assert_same(&topic, &sandbox.snapshot());
        assert!(sandbox.status().is_empty());
    }
    let after = fs::metadata(sandbox.path("same")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn local_changes_are_kept_or_stop_the_switch() {
    let sandbox = two_branches();
    // In a path that is the same on both sides: kept, staged or not.
    sandbox.write("same", "mine");
    sandbox.write("other", "staged");
    sandbox.ok(["add", "other"]);
    sandbox.ok(["switch", "main"]);
    assert_eq!(sandbox.status(), ["A  other", " M same"]);
    sandbox.ok(["switch", "topic"]);
    assert_eq!(sandbox.status(), ["A  other", " M same"]);
    // In one that differs: all are named, and nothing is touched.
    sandbox.write("edited", "mine too");
    sandbox.write("becomes-file", "mine as well");
    sandbox.write("gone", "not tracked, where a directory goes");
    let before = sandbox.snapshot();
    let stderr = sandbox.fails(1, ["switch", "main"]);
    for part in [
        "'becomes-file' (changed in the work tree)",
        "'edited' (changed in the work tree)",
        "'gone' (not tracked)",
        "hint: nothing was changed",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "topic\n");
    // A staged change stops it as well, and so does a plan.
    sandbox.ok(["add", "edited"]);
    assert!(sandbox.fails(1, ["switch", "main"]).contains("'edited' (changed and staged)"));
    let plan = sandbox.run(["switch", "-n", "main"]).expect_code(1);
    assert!(plan.text().contains("in the way: edited (changed and staged)"), "{plan:?}");
    // What is already as the target has it is no obstacle.
    sandbox.write("edited", "old");
    sandbox.ok(["add", "edited"]);
    sandbox.remove("gone");
    sandbox.write("becomes-file", "file now");
    sandbox.ok(["switch", "main"]);
    assert_eq!(sandbox.status(), ["A  other", " M same"]);
}

#[test]
fn what_is_not_tracked_stays_or_stops_the_switch() {
    let sandbox = two_branches();
    sandbox.ok(["switch", "main"]);
    sandbox.write("added/new", "not this one");
    sandbox.write(".digignore", "added/\n");
    let stderr = sandbox.fails(1, ["switch", "topic"]);
    assert!(stderr.contains("'added/new' (not tracked)"), "ignored files too: {stderr}");
    sandbox.write("added/new", "new");
    sandbox.write("becomes-file/mine", "not tracked");
    let stderr = sandbox.fails(1, ["switch", "topic"]);
    assert!(stderr.contains("'becomes-file' (a directory with files"), "{stderr}");
    sandbox.remove("becomes-file/mine");
    sandbox.write("gone/deep/beside", "stays");
    sandbox.ok(["switch", "topic"]);
    assert_eq!(sandbox.read("gone/deep/beside"), b"stays");
    assert!(!sandbox.path("gone/deep/file").exists());
}

#[test]
fn discarded_changes_are_stored_first() {
    let sandbox = two_branches();
    sandbox.write("edited", "precious");
    sandbox.write("same", "precious too");
    sandbox.remove("script");
    sandbox.write("untracked", "stays");
    sandbox.ok(["switch", "--discard-changes", "main"]);
    let mut main = sandbox.restored("main");
    main.insert("untracked".into(), common::Node::File(b"stays".to_vec(), false));
    assert_same(&main, &sandbox.snapshot());
    assert_eq!(sandbox.status(), ["?? untracked"]);
    let packs: Vec<u8> = sandbox.packs(1).iter().flat_map(|pack| fs::read(pack).unwrap()).collect();
    let holds = |bytes: &[u8]| packs.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"precious") && holds(b"precious too"));
}

#[test]
fn a_killed_switch_is_completed_by_the_next() {
    let (sandbox, [one, two]) = far_apart(3000);
    sandbox.ok(["switch", "two"]);
    let mut dice = Dice::new(7);
    let mut killed = 0;
    for round in 0..12 {
        let (name, expected) = if round % 2 == 0 { ("main", &one) } else { ("two", &two) };
        let mut child = sandbox.command(["switch", name]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll() % 60_000));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        sandbox.ok(["switch", name]);
        assert_same(expected, &without_leftovers(sandbox.snapshot()));
        assert!(sandbox.status().is_empty(), "round {round}");
    }
    assert!(killed > 0, "no switch was killed in time");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn branches_are_made_listed_renamed_and_deleted() {
    let sandbox = Sandbox::new();
    assert!(sandbox.fails(20, ["branch", "early"]).contains("no commit yet"));
    sandbox.write("a", "a");
    let first = sandbox.save("first");
    sandbox.ok(["branch", "topic"]);
    sandbox.ok(["switch", "topic"]);
    sandbox.write("a", "b");
    sandbox.save("second");
    assert_eq!(sandbox.ok(["branch"]).text(), "  main\n* topic\n");
    assert_eq!(sandbox.ok(["branch", "--list", "m*"]).text(), "  main\n");
    assert_eq!(sandbox.ok(["branch", "--merged", "main"]).text(), "  main\n");
    assert_eq!(sandbox.ok(["branch", "--contains", "main"]).text(), "  main\n* topic\n");
    assert!(sandbox.fails(1, ["branch", "-d", "topic"]).contains("checked out"));
    sandbox.ok(["switch", "main"]);
    let refused = sandbox.fails(1, ["branch", "-d", "topic"]);
    assert!(
        refused.contains("not merged into 'main'") && refused.contains("-D topic"),
        "{refused}"
    );
    assert!(sandbox.fails(1, ["branch", "topic"]).contains("exists already"));
    sandbox.ok(["branch", "-m", "topic", "feature/x"]);
    assert!(sandbox.fails(1, ["branch", "feature"]).contains("cannot exist beside"));
    sandbox.ok(["branch", "-m", "trunk"]);
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "trunk\n");
    sandbox.ok(["branch", "-D", "feature/x"]);
    sandbox.ok(["branch", "feature"]);
    let json = sandbox.ok(["branch", "--json"]).json();
    assert_eq!(json["branches"][1]["name"], "trunk");
    assert_eq!(json["branches"][1]["id"], first.as_str());
    assert_eq!(json["branches"][1]["current"], true);
    let unknown = sandbox.fails(20, ["switch", "featur"]);
    assert!(unknown.contains("did you mean 'feature'?"), "{unknown}");
    let commit = sandbox.fails(20, ["switch", &first]);
    assert!(commit.contains("is not a branch") && commit.contains("--detach"), "{commit}");
}

/// A file manager leaves files in the directories that it shows.
#[test]
fn a_stray_file_in_the_place_of_a_branch_stops_that_branch_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("first");
    sandbox.ok(["branch", "feature/x"]);
    sandbox.write(".digstore/refs/heads/feature/.directory", "");
    sandbox.ok(["branch", "-d", "feature/x"]);
    sandbox.remove(".digstore/refs/tags");
    sandbox.write(".digstore/refs/tags", "");
    for (command, file) in
        [(["branch", "feature"], "heads/feature/.directory"), (["tag", "v1"], "refs/tags'")]
    {
        let refused = sandbox.fails(1, command);
        assert!(refused.contains(file) && refused.contains("move the file away"), "{refused}");
    }
    sandbox.write("b", "b");
    sandbox.save("second");
    sandbox.ok(["undo"]);
    sandbox.ok(["store", "verify"]);
    sandbox.remove(".digstore/refs/heads/feature/.directory");
    sandbox.remove(".digstore/refs/tags");
    sandbox.ok(["branch", "feature"]);
    sandbox.ok(["tag", "v1"]);
}

#[test]
fn a_branch_that_was_recorded_and_cannot_be_made_is_made_when_its_place_is_free() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("first");
    sandbox.ok(["branch", "feature"]);
    // As if the command had died behind its record.
    sandbox.remove(".digstore/refs/heads/feature");
    sandbox.write(".digstore/refs/heads/feature/.directory", "");
    let problem = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(problem.text().contains("heads/feature/.directory"), "{problem:?}");
    for command in [&["add", "-A"][..], &["undo"], &["branch", "other"]] {
        let refused = sandbox.fails(1, command);
        let file = "heads/feature/.directory' is in its way";
        assert!(refused.contains(file) && refused.contains("move the file away"), "{refused}");
    }
    sandbox.remove(".digstore/refs/heads/feature/.directory");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.ok(["branch"]).text(), "  feature\n* main\n");
    sandbox.ok(["store", "verify"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n");
}

#[test]
fn a_branch_that_was_recorded_stays_unmade_where_another_was_put_in_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("first");
    let [main, head] =
        ["refs/heads/main", "HEAD"].map(|at| sandbox.read(format!(".digstore/{at}")));
    sandbox.ok(["switch", "-c", "feature"]);
    // As if the command had died behind its record, and refs had been put back from a copy then.
    sandbox.write(".digstore/HEAD", &head);
    sandbox.remove(".digstore/refs/heads/feature");
    sandbox.write(".digstore/refs/heads/feature/x", &main);
    sandbox.write("b", "b");
    sandbox.save("second");
    assert_eq!(sandbox.ok(["branch"]).text(), "  feature/x\n* main\n");
    sandbox.ok(["store", "verify"]);
    sandbox.ok(["branch", "-D", "feature/x"]);
    sandbox.ok(["branch", "feature"]);
}

#[test]
fn names_that_no_ref_may_have_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("first");
    for name in [
        "../x", "a..b", "-x", "x.lock", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "/a", "a/",
        "a//b", ".a", "a/.b", "a.", "@", "a@{b", "a\\b", "a\u{7f}", "a\u{1}b", "", "HEAD",
    ] {
        for command in [["branch", "--", name], ["tag", "--", name]] {
            let output = sandbox.run(command);
            assert!(output.code != 0, "{command:?}: {output:?}");
        }
    }
    let twin = sandbox.fails(1, ["branch", "MAIN"]);
    assert!(twin.contains("main"), "{twin}");
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n");
    assert_eq!(sandbox.ok(["tag"]).text(), "");
}

#[test]
fn tags_name_commits_and_keep_their_annotation() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    let first = sandbox.save("first");
    sandbox.ok(["tag", "light"]);
    sandbox.ok(["tag", "-a", "v1.0", "-m", "the first\n\nwith a body"]);
    assert_eq!(sandbox.ok(["tag"]).text(), "light\nv1.0\n");
    assert_eq!(sandbox.ok(["tag", "-n", "-l", "v*"]).text(), "v1.0            the first\n");
    sandbox.write("a", "b");
    sandbox.save("second");
    assert!(sandbox.fails(1, ["tag", "light"]).contains("exists already"));
    sandbox.ok(["tag", "-f", "light"]);
    let json = sandbox.ok(["tag", "--json"]).json();
    assert_ne!(json["tags"][0]["id"], first.as_str());
    assert_eq!(json["tags"][1]["id"], first.as_str());
    assert_eq!(json["tags"][1]["annotation"]["message"], "the first\n\nwith a body");
    assert_eq!(json["tags"][1]["annotation"]["tagger"]["name"], "Ada Test");
    assert_eq!(sandbox.ok(["get", "a@v1.0"]).text(), "a");
    sandbox.ok(["switch", "--detach", "v1.0"]);
    assert_eq!(sandbox.read("a"), b"a");
    assert!(sandbox.ok(["branch"]).text().starts_with("* (HEAD detached at "));
    sandbox.ok(["switch", "-"]);
    sandbox.ok(["tag", "-d", "v1.0", "light"]);
    assert!(sandbox.fails(20, ["tag", "-d", "v1.0"]).contains("no tag 'v1.0'"));
    sandbox.ok(["store", "verify"]);
}

#[test]
fn a_branch_begins_before_the_first_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["switch", "-c", "trunk"]);
    sandbox.commit("first");
    assert_eq!(sandbox.ok(["branch"]).text(), "* trunk\n");
    sandbox.ok(["switch", "--detach", "HEAD"]);
    sandbox.write("a", "b");
    let loose = sandbox.save("on no branch");
    sandbox.ok(["switch", "-c", "kept"]);
    assert_eq!(sandbox.ok(["branch", "--json"]).json()["branches"][0]["id"], loose.as_str());
}

#[test]
fn a_write_of_equal_size_right_behind_a_switch_or_restore_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "aaaa");
    sandbox.save("main");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("file", "cccc");
    sandbox.save("topic");
    for round in 0..25 {
        let to: &[&str] = match round % 3 {
            0 => &["switch", "main"],
            1 => &["switch", "topic"],
            _ => &["restore", "file"],
        };
        sandbox.ok(to);
        sandbox.write("file", "bbbb");
        assert_eq!(sandbox.status(), [" M file"], "round {round}");
        sandbox.ok(["restore", "file"]);
        assert!(sandbox.status().is_empty(), "round {round}");
    }
}
