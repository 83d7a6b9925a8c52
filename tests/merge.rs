//! Merges, cherry-picks and reverts, through the binary, some beside git.

mod common;

use std::ffi::OsStr;
use std::process::Command;

use common::{Dice, Node, Output, Sandbox, assert_same, noise, snapshot};

/// `main` and `topic`, which changed different things since they parted.
fn parted() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("both", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    sandbox.write("ours", "old\n");
    sandbox.write("theirs", "old\n");
    sandbox.write("gone", "x");
    sandbox.write("moved", noise(1, 5000));
    sandbox.write("script", "#!/bin/sh\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("both", "1\n2\n3\n4\n5\n6\n7\n8\nnine\n");
    sandbox.write("theirs", "new\n");
    sandbox.remove("gone");
    sandbox.write("dir/added", "added");
    sandbox.chmod("script", 0o755);
    sandbox.write("moved", noise(2, 6000));
    sandbox.save("on topic");
    sandbox.ok(["switch", "main"]);
    sandbox.write("both", "one\n2\n3\n4\n5\n6\n7\n8\n9\n");
    sandbox.write("ours", "new\n");
    sandbox.write("script", "#!/bin/bash\n");
    let moved = sandbox.read("moved");
    sandbox.remove("moved");
    sandbox.write("elsewhere/moved", moved);
    sandbox.save("on main");
    sandbox
}

#[test]
fn a_clean_merge_has_both_sides() {
    let sandbox = parted();
    sandbox.write("untracked", "stays");
    let main = sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0]["id"].clone();
    assert!(sandbox.ok(["merge", "topic"]).text().starts_with("committed "));
    assert_eq!(sandbox.read("both"), b"one\n2\n3\n4\n5\n6\n7\n8\nnine\n");
    assert_eq!((sandbox.read("ours"), sandbox.read("theirs")), (b"new\n".into(), b"new\n".into()));
    assert_eq!(sandbox.read("script"), b"#!/bin/bash\n");
    assert_eq!(sandbox.read("elsewhere/moved"), noise(2, 6000), "a change follows a move");
    assert!(!sandbox.path("gone").exists() && !sandbox.path("moved").exists());
    assert_eq!(sandbox.status(), ["?? untracked"]);
    let commit = &sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0];
    assert_eq!(commit["message"], "Merge branch 'topic'");
    assert_eq!((commit["parents"].as_array().unwrap().len(), &commit["parents"][0]), (2, &main));
    assert!(sandbox.ok(["merge", "topic"]).stderr.contains("Already up to date"));
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0]["id"], main);
    assert_eq!(sandbox.status(), ["?? untracked"]);
    sandbox.ok(["redo"]);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_branch_moves_forward_where_it_can() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.save("one");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "2");
    let second = sandbox.save("two");
    sandbox.ok(["switch", "main"]);
    assert!(sandbox.ok(["merge", "topic"]).stderr.contains("Fast-forward"));
    let head =
        |sandbox: &Sandbox| sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0].clone();
    assert_eq!(head(&sandbox)["id"], second.as_str());
    sandbox.ok(["undo"]);
    sandbox.ok(["merge", "--no-ff", "-m", "why", "topic"]);
    assert_eq!(head(&sandbox)["message"], "why");
    sandbox.ok(["undo"]);
    sandbox.ok(["merge", "--squash", "topic"]);
    assert_eq!(sandbox.status(), ["M  a"]);
    assert_eq!(head(&sandbox)["message"], "one");
    sandbox.commit("squashed");
    assert_eq!(head(&sandbox)["parents"].as_array().unwrap().len(), 1);
    let refused = sandbox.fails(1, ["merge", "--ff-only", "topic"]);
    assert!(refused.contains("not a fast-forward"), "{refused}");
}

/// `main` and `topic`, with a conflict of each kind.
fn conflicting() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("text", "a\nb\nc\n");
    sandbox.write("binary", [b"\0".as_slice(), &noise(1, 100)].concat());
    sandbox.write("deleted-here", "x\n");
    sandbox.write("deleted-there", "x\n");
    sandbox.write("clean", "old\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("text", "a\ntheirs\nc\n");
    sandbox.write("binary", [b"\0".as_slice(), &noise(2, 200)].concat());
    sandbox.write("deleted-here", "changed\n");
    sandbox.remove("deleted-there");
    sandbox.write("new", "theirs\n");
    sandbox.write("node", "file");
    sandbox.write("clean", "new\n");
    sandbox.save("on topic");
    sandbox.ok(["switch", "main"]);
    sandbox.write("text", "a\nours\nc\n");
    sandbox.write("binary", [b"\0".as_slice(), &noise(3, 300)].concat());
    sandbox.remove("deleted-here");
    sandbox.write("deleted-there", "changed\n");
    sandbox.write("new", "ours\n");
    sandbox.write("node/inner", "in a directory");
    sandbox.save("on main");
    sandbox
}

#[test]
fn conflicts_wait_to_be_resolved() {
    let sandbox = conflicting();
    let before = sandbox.snapshot();
    let output = sandbox.run(["merge", "topic"]).expect_code(1);
    assert!(output.stderr.contains("merge --abort"), "{output:?}");
    for line in [
        "CONFLICT (both changed): binary",
        "CONFLICT (deleted here, changed there): deleted-here",
        "CONFLICT (changed here, deleted there): deleted-there",
        "CONFLICT (both changed): new",
        "CONFLICT (a file and a directory): node",
        "CONFLICT (both changed): text",
    ] {
        assert!(output.text().contains(line), "{line}: {output:?}");
    }
    assert_eq!(
        sandbox.read("text"),
        b"a\n<<<<<<< ours\nours\n=======\ntheirs\n>>>>>>> theirs\nc\n"
    );
    assert_eq!(sandbox.read("clean"), b"new\n");
    assert_eq!(sandbox.read("binary"), [b"\0".as_slice(), &noise(3, 300)].concat());
    assert_eq!(
        sandbox.status(),
        [
            "UU binary",
            "M  clean",
            "DU deleted-here",
            "UD deleted-there",
            "AA new",
            "UA node",
            "UU text"
        ]
    );
    let refused = sandbox.fails(1, ["commit", "-m", "too early"]);
    assert!(refused.contains("not resolved yet") && refused.contains("'binary'"), "{refused}");
    assert!(sandbox.fails(1, ["merge", "topic"]).contains("waits to be finished"));
    assert_eq!(
        sandbox.ok(["get", "binary@MERGE_HEAD"]).stdout,
        [b"\0".as_slice(), &noise(2, 200)].concat()
    );
    // Back, and again.
    sandbox.ok(["merge", "--abort"]);
    assert_same(&before, &sandbox.snapshot());
    assert!(sandbox.status().is_empty());
    assert!(sandbox.fails(1, ["merge", "--abort"]).contains("no merge"));
    sandbox.run(["merge", "topic"]).expect_code(1);
    sandbox.ok(["restore", "--theirs", "binary"]);
    sandbox.ok(["add", "binary"]);
    let marked = sandbox.ok(["add", "text"]).stderr;
    assert!(marked.contains("'text' still holds conflict markers"), "{marked}");
    sandbox.write("text", "a\nresolved\nc\n");
    sandbox.ok(["add", "text", "new", "node", "deleted-there"]);
    assert_eq!(sandbox.status()[2], "DU deleted-here");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["merge", "--continue"]);
    let commit = &sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0];
    assert_eq!(commit["parents"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.read("binary"), [b"\0".as_slice(), &noise(2, 200)].concat());
    assert!(sandbox.status().is_empty());
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn undo_takes_a_merge_with_conflicts_back() {
    let sandbox = conflicting();
    let before = sandbox.snapshot();
    sandbox.run(["merge", "topic"]).expect_code(1);
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    assert!(sandbox.status().is_empty());
    sandbox.ok(["redo"]);
    assert!(sandbox.read("text").starts_with(b"a\n<<<<<<< ours"));
    assert_eq!(sandbox.status().len(), 7);
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "-m", "resolved"]);
    let commit = &sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0];
    assert_eq!(commit["parents"].as_array().unwrap().len(), 2);
}

#[test]
fn local_changes_are_kept_or_stop_a_merge() {
    let sandbox = parted();
    sandbox.write("ours", "local\n");
    sandbox.ok(["merge", "topic"]);
    assert_eq!(
        (sandbox.read("ours"), sandbox.status()),
        (b"local\n".into(), vec![" M ours".into()])
    );
    sandbox.ok(["undo"]);
    sandbox.write("theirs", "local too\n");
    sandbox.write("dir", "not tracked, where a directory goes");
    let refused = sandbox.fails(1, ["merge", "topic"]);
    assert!(
        refused.contains("'theirs' (changed") && refused.contains("'dir' (not tracked)"),
        "{refused}"
    );
    assert!(sandbox.fails(1, ["merge", "--abort"]).contains("no merge"));
    sandbox.ok(["add", "theirs"]);
    assert!(sandbox.fails(1, ["merge", "topic"]).contains("staged that are not committed"));
    let sandbox = conflicting();
    sandbox.write("text", "local");
    let refused = sandbox.fails(1, ["merge", "topic"]);
    assert!(refused.contains("'text' (changed in the work tree)"), "{refused}");
    assert_eq!(sandbox.read("text"), b"local");
}

#[test]
fn histories_without_a_common_ancestor_are_merged_on_demand() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("one");
    sandbox.ok(["branch", "kept"]);
    sandbox.ok(["op", "restore", "0"]);
    sandbox.remove("a");
    sandbox.write("b", "b");
    let other = sandbox.save("another beginning");
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    sandbox.remove("b");
    sandbox.ok(["restore", "."]);
    assert!(sandbox.fails(1, ["merge", &other]).contains("nothing in common"));
    sandbox.ok(["merge", "--allow-unrelated-histories", &other]);
    assert_eq!((sandbox.read("a"), sandbox.read("b")), (b"a".into(), b"b".into()));
    assert!(sandbox.fails(2, ["merge", "kept", &other]).contains("only one commit"));
}

#[test]
fn commits_are_picked_and_reverted() {
    let sandbox = Sandbox::new();
    sandbox.write("list", "1\n2\n3\n4\n5\n6\n7\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    for number in 1..=3 {
        sandbox.write(format!("f{number}"), format!("{number}"));
        sandbox.save(&format!("add f{number}"));
    }
    sandbox.write("list", "1\n2\n3\n4\n5\n6\nseven\n");
    sandbox.save("seven");
    sandbox.ok(["switch", "main"]);
    sandbox.write("list", "one\n2\n3\n4\n5\n6\n7\n");
    sandbox.save("one");
    sandbox.ok(["cherry-pick", "-x", "topic"]);
    assert_eq!(sandbox.read("list"), b"one\n2\n3\n4\n5\n6\nseven\n");
    let message = sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0]["message"].clone();
    assert!(message.as_str().unwrap().contains("(cherry picked from commit "), "{message}");
    assert!(!sandbox.path("f1").exists());
    sandbox.ok(["cherry-pick", "topic~4..topic~1"]);
    assert_eq!(sandbox.read("f3"), b"3");
    sandbox.ok(["revert", "HEAD~1"]);
    assert!(!sandbox.path("f2").exists() && sandbox.path("f3").exists());
    let title = sandbox.ok(["log", "-n", "1", "--oneline"]);
    assert!(title.text().contains("Revert \"add f2\""), "{title:?}");
    // With conflicts: one is resolved, one skipped.
    sandbox.write("list", "uno\n2\n3\n4\n5\n6\n7\n");
    sandbox.save("uno");
    sandbox.run(["revert", "HEAD"]).expect_code(0);
    sandbox.write("list", "une\n2\n3\n4\n5\n6\n7\n");
    sandbox.save("une");
    sandbox.run(["cherry-pick", "HEAD~2"]).expect_code(1);
    sandbox.write("list", "resolved\n");
    sandbox.ok(["add", "list"]);
    sandbox.ok(["cherry-pick", "--continue"]);
    assert_eq!(sandbox.read("list"), b"resolved\n");
    let picked = sandbox.ok(["log", "-n", "1", "--oneline"]);
    assert!(picked.text().trim_end().ends_with("uno"), "{picked:?}");
    sandbox.run(["cherry-pick", "HEAD~2"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--skip"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_commit_is_amended() {
    let sandbox = Sandbox::new();
    assert!(sandbox.fails(1, ["commit", "--amend", "-m", "x"]).contains("no commit to amend"));
    sandbox.write("a", "1");
    sandbox.save("one");
    sandbox.write("a", "2");
    sandbox.write("new", "not tracked");
    sandbox.ok(["commit", "-am", "two"]);
    assert_eq!(sandbox.status(), ["?? new"]);
    sandbox.ok(["add", "new"]);
    sandbox.ok(["commit", "--amend", "--no-edit"]);
    let log = sandbox.ok(["log", "--json"]).json();
    let commits = log["commits"].as_array().unwrap();
    assert_eq!((commits.len(), &commits[0]["message"]), (2, &"two".into()));
    sandbox.ok(["commit", "--amend", "-m", "better"]);
    assert_eq!(sandbox.ok(["log", "--json"]).json()["commits"][0]["message"], "better");
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.ok(["log", "--json"]).json()["commits"][0]["message"], "two");
}

#[test]
fn changes_follow_a_move_only_where_it_is_plain() {
    let moved = |base: &[&str], ours: &[(&str, &str)], theirs: &[(&str, &str)]| {
        let sandbox = Sandbox::new();
        sandbox.write("other", "x");
        base.iter().for_each(|name| sandbox.write(name, "same\n"));
        sandbox.save("base");
        sandbox.ok(["switch", "-c", "topic"]);
        theirs.iter().for_each(|(name, text)| sandbox.write(name, text));
        sandbox.save("theirs");
        sandbox.ok(["switch", "main"]);
        base.iter().for_each(|name| sandbox.remove(name));
        ours.iter().for_each(|(name, text)| sandbox.write(name, text));
        sandbox.save("ours");
        sandbox
    };
    let sandbox = moved(&["a"], &[("c", "same\n")], &[("a", "changed\n")]);
    sandbox.ok(["merge", "topic"]);
    assert_eq!(sandbox.read("c"), b"changed\n");
    // Two files of one content, and one place: neither change is lost.
    let sandbox = moved(&["a", "b"], &[("c", "same\n")], &[("a", "one\n"), ("b", "two\n")]);
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["DU a", "DU b"]);
    assert_eq!(sandbox.read("c"), b"same\n");
    // Theirs has something of its own at the new place.
    let theirs = &[("a", "changed\n"), ("c", "their own\n")];
    let sandbox = moved(&["a"], &[("c", "same\n")], theirs);
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["DU a", "AA c"]);
}

#[test]
fn a_moved_file_keeps_its_mode_and_what_the_other_side_did_to_it() {
    let parted = |ours: &dyn Fn(&Sandbox), theirs: &dyn Fn(&Sandbox)| {
        let sandbox = Sandbox::new();
        sandbox.write("d/a", "same\n");
        sandbox.write("other", "x");
        sandbox.save("base");
        sandbox.ok(["switch", "-c", "topic"]);
        theirs(&sandbox);
        sandbox.save("theirs");
        sandbox.ok(["switch", "main"]);
        ours(&sandbox);
        sandbox.save("ours");
        sandbox
    };
    let edit = |sandbox: &Sandbox| sandbox.write("d/a", "changed\n");
    let rename = |sandbox: &Sandbox| {
        sandbox.remove("d");
        sandbox.write("b", "same\n");
    };
    let sandbox = parted(
        &|sandbox| {
            rename(sandbox);
            sandbox.chmod("b", 0o755);
        },
        &edit,
    );
    sandbox.ok(["merge", "topic"]);
    assert_eq!(sandbox.snapshot()[OsStr::new("b")], Node::File(b"changed\n".to_vec(), true));
    // What replaced it is no change of its content.
    let sandbox = parted(&rename, &|sandbox| {
        sandbox.remove("d/a");
        sandbox.link("d/a", "other");
    });
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["DU d/a"]);
    assert_eq!(sandbox.read("b"), b"same\n");
    // One side moved it, the other deleted it.
    let delete = |sandbox: &Sandbox| sandbox.remove("d");
    let sandbox = parted(&rename, &delete);
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["UD b"]);
    assert_eq!(sandbox.read("b"), b"same\n");
    let sandbox = parted(&delete, &rename);
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["DU b"]);
    sandbox.ok(["restore", "--theirs", "b"]);
    sandbox.ok(["add", "b"]);
    sandbox.ok(["merge", "--continue"]);
    assert_eq!(sandbox.ok(["get", "b"]).stdout, b"same\n");
    // It moved to where ours has a directory with a change: both are there to be chosen from.
    let sandbox = parted(&edit, &|sandbox| {
        sandbox.remove("d");
        sandbox.write("d", "same\n");
    });
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert_eq!(sandbox.status(), ["UA d", "UD d/a"]);
    assert_eq!(sandbox.read("d/a"), b"changed\n");
}

#[test]
fn a_directory_that_one_side_emptied_is_no_conflict() {
    let sandbox = Sandbox::new();
    sandbox.write("d/a", "a");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.remove("d/a");
    sandbox.save("an empty directory");
    sandbox.ok(["switch", "main"]);
    sandbox.write("d/b", "b");
    sandbox.save("ours");
    sandbox.ok(["merge", "topic"]);
    assert_eq!(sandbox.read("d/b"), b"b");
    assert!(!sandbox.path("d/a").exists());
    assert!(sandbox.status().is_empty());
}

// ---- beside git ------------------------------------------------------------------------------

fn git(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "a").env(format!("GIT_{name}_EMAIL"), "a@b");
    }
    Output::of(command.current_dir(sandbox.beside("git")).args(args))
}

/// Edits of a few files with a few lines each, as one side of a history makes them.
fn edit(
    dice: &mut Dice,
    write: &mut dyn FnMut(&str, Option<String>),
    read: &dyn Fn(&str) -> Option<String>,
) {
    for _ in 0..=(dice.roll() % 3) {
        let name = format!("{}{}", ["", "d/", "d/e/"][(dice.roll() % 3) as usize], dice.roll() % 4);
        if dice.roll().is_multiple_of(6) {
            write(&name, None);
            continue;
        }
        let old = read(&name);
        let lines = old.unwrap_or_else(|| {
            (0..8).map(|line| [name.as_str(), " ", &line.to_string(), "\n"].concat()).collect()
        });
        let mut lines: Vec<String> = lines.lines().map(|line| format!("{line}\n")).collect();
        let at = (dice.roll() % (lines.len() as u64 + 1)) as usize;
        match dice.roll() % 3 {
            0 => lines.insert(at, format!("new {}\n", dice.roll() % 100)),
            1 if at < lines.len() => drop(lines.remove(at)),
            _ if at < lines.len() => lines[at] = format!("edited {}\n", dice.roll() % 100),
            _ => {}
        }
        write(&name, Some(lines.concat()));
    }
}

/// The same history in git and here; then the merges are compared: clean ones by their trees, the
/// others by the paths in conflict.
fn compare_with_git(seed: u64) {
    let sandbox = Sandbox::new();
    sandbox.write("../git/.keep", "");
    git(&sandbox, &["init", "-q", "-b", "main"]).expect_code(0);
    let mut dice = Dice::new(seed);
    let both = |args: &[&str], git_args: &[&str]| {
        sandbox.ok(args.iter().copied());
        git(&sandbox, git_args).expect_code(0);
    };
    let step = |dice: &mut Dice, message: &str| {
        let mut write = |name: &str, text: Option<String>| {
            let beside = format!("../git/{name}");
            if let Some(text) = text {
                sandbox.write(name, &text);
                sandbox.write(beside, text);
            } else {
                sandbox.remove(name);
                sandbox.remove(beside);
            }
        };
        let path = |name: &str| sandbox.path(name);
        edit(dice, &mut write, &|name| std::fs::read_to_string(path(name)).ok());
        both(&["add", "-A"], &["add", "-A"]);
        both(
            &["commit", "--allow-empty", "-m", message],
            &["commit", "-q", "--allow-empty", "-m", message],
        );
    };
    sandbox.write(".keep", "");
    for number in 0..4 {
        step(&mut dice, &format!("base {number}"));
    }
    both(&["branch", "topic"], &["branch", "topic"]);
    for number in 0..3 {
        step(&mut dice, &format!("main {number}"));
    }
    both(&["switch", "topic"], &["checkout", "-q", "topic"]);
    for number in 0..3 {
        step(&mut dice, &format!("topic {number}"));
    }
    both(&["switch", "main"], &["checkout", "-q", "main"]);
    let merged = sandbox.run(["merge", "topic"]);
    let by_git = git(&sandbox, &["merge", "-q", "-X", "no-renames", "--no-edit", "topic"]);
    if by_git.code == 0 {
        assert_eq!(merged.code, 0, "seed {seed}: {merged:?}");
        let mut expected = snapshot(&sandbox.beside("git"));
        expected.retain(|path, _| !path.to_string_lossy().starts_with(".git"));
        assert_same(&expected, &sandbox.snapshot());
        return;
    }
    assert_eq!(merged.code, 1, "seed {seed}: git has conflicts: {by_git:?} {merged:?}");
    let unmerged = git(&sandbox, &["diff", "--name-only", "--diff-filter=U"]);
    let expected: Vec<&str> = unmerged.text().lines().collect();
    let status = sandbox.status();
    let is_conflict = |line: &&String| ["UU", "AA", "DU", "UD", "UA"].contains(&&line[..2]);
    let found: Vec<&str> = status.iter().filter(is_conflict).map(|line| &line[3..]).collect();
    assert_eq!(found, expected, "seed {seed}");
    sandbox.ok(["merge", "--abort"]);
    assert!(sandbox.status().is_empty());
}

#[test]
fn merges_come_out_as_gits() {
    for seed in 0..12 {
        compare_with_git(seed);
    }
}

/// What is staged of such a file is still ours alone, and a commit would be a merge without theirs.
#[test]
fn a_file_that_add_leaves_out_stays_in_conflict() {
    let sandbox = conflicting();
    sandbox.fails(1, ["merge", "topic"]);
    sandbox.remove("text");
    // No link may lead there.
    std::os::unix::fs::symlink(".digstore/config.toml", sandbox.path("text")).unwrap();
    sandbox.run(["add", "-A"]).expect_code(3);
    let status = sandbox.ok(["status"]);
    assert!(status.text().contains("text"), "{status:?}");
    assert!(!status.text().contains("binary"), "{status:?}");
    let told = sandbox.fails(1, ["commit", "-m", "merged"]);
    assert!(told.contains("'text'"), "{told}");
    sandbox.remove("text");
    sandbox.write("text", "a\nboth\nc\n");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "-m", "merged"]);
}

#[test]
fn a_file_deleted_here_and_changed_there_is_resolved_by_its_path() {
    for command in [&["add"][..], &["add", "-u"], &["rm"], &["rm", "-f"], &["rm", "--cached"]] {
        let sandbox = conflicting();
        sandbox.fails(1, ["merge", "topic"]);
        assert!(sandbox.status().contains(&"DU deleted-here".to_owned()));
        sandbox.ok(command.iter().copied().chain(["deleted-here"]));
        assert!(!sandbox.status().iter().any(|line| line.contains("deleted-here")), "{command:?}");
        // What is no conflict and nowhere is a mistake as before.
        sandbox.fails(20, command.iter().copied().chain(["nowhere"]));
    }
}

/// The time of the comparison grows with the square of what changed.
#[test]
fn a_text_of_which_all_changed_on_both_sides_conflicts_in_no_time() {
    let sandbox = Sandbox::new();
    let text = |side: &str, lines: u32| {
        let lines: Vec<_> = (0..lines).map(|line| format!("{side} {line}\n")).collect();
        lines.concat()
    };
    sandbox.write("large", text("base", 300_000));
    sandbox.write("small", text("base", 10));
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("large", text("theirs", 300_000));
    sandbox.write("small", text("theirs", 10));
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.write("large", text("ours", 300_000));
    sandbox.write("small", text("ours", 10));
    sandbox.save("ours");
    sandbox.fails(1, ["merge", "topic"]);
    // As if it were not text; in hours, there would be markers.
    assert_eq!(sandbox.read("large"), text("ours", 300_000).as_bytes());
    assert!(String::from_utf8(sandbox.read("small")).unwrap().contains("<<<<<<<"));
    sandbox.ok(["restore", "--theirs", "large"]);
    sandbox.write("small", "both\n");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "-m", "merged"]);
    assert_eq!(sandbox.read("large"), text("theirs", 300_000).as_bytes());
}

#[test]
fn add_of_what_is_tracked_stages_a_file_in_conflict_that_is_not_staged() {
    for args in [&["add", "-u", "deleted-here"][..], &["add", "-u"]] {
        let sandbox = conflicting();
        sandbox.fails(1, ["merge", "topic"]);
        sandbox.ok(["restore", "--theirs", "deleted-here"]);
        sandbox.write("untracked", "x");
        sandbox.ok(args.iter().copied());
        let status = sandbox.status();
        assert!(status.contains(&"A  deleted-here".to_owned()), "{args:?}: {status:?}");
        assert!(status.contains(&"?? untracked".to_owned()), "{args:?}: {status:?}");
    }
}

#[test]
fn a_file_of_theirs_takes_the_place_of_a_directory() {
    for path in ["node", "."] {
        let sandbox = conflicting();
        sandbox.fails(1, ["merge", "topic"]);
        let before = sandbox.snapshot();
        sandbox.ok(["restore", "--theirs", path]);
        assert_eq!(sandbox.read("node"), b"file");
        sandbox.ok(["undo"]);
        assert_same(&before, &sandbox.snapshot());
        sandbox.ok(["restore", "--theirs", path]);
        sandbox.ok(["add", "-A"]);
        assert!(sandbox.status().contains(&"D  node/inner".to_owned()));
    }
    // Something that nobody has stays, and so does the rest.
    let sandbox = conflicting();
    sandbox.fails(1, ["merge", "topic"]);
    sandbox.write("node/other", "not tracked");
    sandbox.run(["restore", "--theirs", "node"]).expect_code(3);
    assert_eq!(sandbox.read("node/inner"), b"in a directory");
}

/// As labels or quantised values are; a comparison that looks for rare lines finds none.
#[test]
fn a_long_text_of_few_different_lines_is_merged_at_once() {
    let sandbox = Sandbox::new();
    let mut lines: Vec<String> =
        noise(5, 200_000).iter().map(|byte| format!("{}\n", byte % 4)).collect();
    sandbox.write("labels", lines.concat());
    sandbox.save("base");
    let mut change = |numbers: [usize; 3]| {
        numbers.iter().for_each(|at| lines[*at] = "changed\n".to_owned());
        sandbox.write("labels", lines.concat());
    };
    sandbox.ok(["switch", "-c", "topic"]);
    change([1_000, 90_000, 190_000]);
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    change([2_000, 100_000, 199_000]);
    sandbox.save("ours");
    // In half a minute and more, if rare lines are looked for in all that stands before.
    sandbox.ok(["merge", "topic", "-m", "both"]);
    assert_eq!(sandbox.read("labels"), lines.concat().as_bytes());
}

#[test]
fn a_directory_in_the_place_of_a_file_in_conflict_is_not_removed_by_its_name() {
    let sandbox = Sandbox::new();
    sandbox.write("p", "base\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("p", "theirs\n");
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.remove("p");
    sandbox.write("p/x", "ours\n");
    sandbox.save("ours");
    sandbox.fails(1, ["merge", "topic"]);
    let told = sandbox.fails(1, ["rm", "p"]);
    assert!(told.contains("-r"), "{told}");
    assert_eq!(sandbox.read("p/x"), b"ours\n");
    sandbox.ok(["add", "p"]);
    sandbox.ok(["commit", "-m", "merged"]);
    assert_eq!(sandbox.read("p/x"), b"ours\n");
}
