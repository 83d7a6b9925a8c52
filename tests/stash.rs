//! `reset` and `stash`, through the binary.

mod common;

use std::process::Command;

use common::{Output, Sandbox, assert_same, noise};

/// Two commits, then a change of each kind: staged, not staged, both, added, deleted.
fn changed() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["same", "staged", "unstaged", "both", "deleted", "gone/deep"] {
        sandbox.write(name, format!("{name}: first\n"));
    }
    sandbox.save("first");
    sandbox.write("second", "second");
    sandbox.save("second");
    sandbox.write("staged", "staged: mine\n");
    sandbox.write("both", "both: staged\n");
    sandbox.write("added", "added\n");
    sandbox.ok(["add", "staged", "both", "added"]);
    sandbox.write("both", "both: mine\n");
    sandbox.write("unstaged", "unstaged: mine\n");
    sandbox.remove("deleted");
    sandbox.ok(["rm", "-r", "gone"]);
    sandbox.write("other", "not tracked");
    sandbox
}

const CHANGES: [&str; 7] =
    ["A  added", "MM both", " D deleted", "D  gone/deep", "M  staged", " M unstaged", "?? other"];

fn head(sandbox: &Sandbox) -> String {
    sandbox.ok(["log", "--json"]).json()["commits"][0]["id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_stash_cleans_the_work_tree_and_comes_back() {
    let sandbox = changed();
    let before = sandbox.snapshot();
    assert_eq!(sandbox.status(), CHANGES);
    let told = sandbox.ok(["stash"]).stderr;
    assert!(told.contains("stash@{0}: WIP on main: "), "{told}");
    assert_eq!(sandbox.status(), ["?? other"]);
    sandbox.remove("other");
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
    sandbox.write("other", "not tracked");
    let list = sandbox.ok(["stash", "list"]);
    assert!(list.text().starts_with("stash@{0}: WIP on main: "), "{list:?}");
    assert!(sandbox.ok(["stash", "show"]).text().contains("unstaged"));
    // With --index it is as it was; without, only what was added is staged.
    sandbox.ok(["stash", "apply"]);
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(
        sandbox.status(),
        [
            "A  added",
            " M both",
            " D deleted",
            " D gone/deep",
            " M staged",
            " M unstaged",
            "?? other"
        ]
    );
    sandbox.ok(["reset", "--hard"]);
    sandbox.ok(["stash", "pop", "--index"]);
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(sandbox.status(), CHANGES);
    assert!(sandbox.ok(["stash", "list"]).text().is_empty());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_stash_and_a_pop_are_one_step_each_for_undo() {
    let sandbox = changed();
    let before = sandbox.snapshot();
    sandbox.ok(["stash", "-u"]);
    let clean = sandbox.snapshot();
    for _ in 0..2 {
        sandbox.ok(["undo"]);
        assert_same(&before, &sandbox.snapshot());
        assert_eq!(sandbox.status(), CHANGES);
        assert!(sandbox.ok(["stash", "list"]).text().is_empty());
        sandbox.ok(["redo"]);
        assert_same(&clean, &sandbox.snapshot());
        assert!(sandbox.status().is_empty());
    }
    sandbox.ok(["stash", "pop"]);
    let popped = sandbox.status();
    for _ in 0..2 {
        sandbox.ok(["undo"]);
        assert_same(&clean, &sandbox.snapshot());
        assert!(sandbox.status().is_empty());
        assert!(!sandbox.ok(["stash", "list"]).text().is_empty());
        sandbox.ok(["redo"]);
        assert_same(&before, &sandbox.snapshot());
        assert_eq!(sandbox.status(), popped);
    }
    // What was changed since stops it.
    sandbox.write("both", "since");
    assert!(sandbox.fails(1, ["undo"]).contains("'both' (changed in the work tree)"));
    sandbox.write("both", "both: mine\n");
    sandbox.ok(["undo"]);
    sandbox.ok(["stash", "drop"]);
    assert!(sandbox.fails(20, ["stash", "pop"]).contains("0 known"));
    sandbox.ok(["undo"]);
    sandbox.ok(["stash", "pop", "--index"]);
    assert_eq!(sandbox.status(), CHANGES);
}

#[test]
fn what_was_not_tracked_does_not_replace_a_tracked_file_above_it() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("first");
    sandbox.write("d/e", "not tracked");
    sandbox.ok(["stash", "-u"]);
    sandbox.write("d", "a file now");
    sandbox.save("second");
    assert!(sandbox.fails(1, ["stash", "pop"]).contains("'d' was not tracked"));
    assert_eq!(sandbox.read("d"), b"a file now");
    sandbox.ok(["switch", "--detach", "HEAD~1"]);
    sandbox.ok(["stash", "pop"]);
    assert_eq!(sandbox.read("d/e"), b"not tracked");
}

#[test]
fn stashes_have_names_paths_and_files_that_are_not_tracked() {
    let sandbox = changed();
    let before = sandbox.snapshot();
    sandbox.ok(["stash", "push", "-m", "one file", "both"]);
    assert_eq!(sandbox.read("both"), b"both: first\n");
    assert_eq!(sandbox.status().len(), CHANGES.len() - 1);
    sandbox.ok(["stash", "-u", "-m", "all"]);
    assert!(sandbox.status().is_empty());
    assert!(!sandbox.path("other").exists());
    let list = sandbox.ok(["stash", "list"]);
    assert_eq!(list.text(), "stash@{0}: On main: all\nstash@{1}: On main: one file\n");
    assert_eq!(sandbox.ok(["stash", "list", "--json"]).json()["stashes"][1]["name"], "stash@{1}");
    assert_eq!(sandbox.ok(["get", "stash@{1}:both"]).text(), "both: mine\n");
    sandbox.ok(["stash", "pop"]);
    sandbox.ok(["stash", "pop", "0"]);
    assert_same(&before, &sandbox.snapshot());
    assert!(sandbox.status().contains(&"?? other".to_owned()));
    // What is staged can stay.
    sandbox.ok(["add", "staged"]);
    sandbox.ok(["stash", "push", "-k"]);
    assert_eq!(sandbox.read("staged"), b"staged: mine\n");
    assert_eq!(sandbox.read("unstaged"), b"unstaged: first\n");
    sandbox.ok(["stash", "clear"]);
    assert!(sandbox.ok(["stash", "list"]).text().is_empty());
    sandbox.ok(["reset", "--hard"]);
    assert!(sandbox.ok(["stash"]).stderr.contains("No local changes"));
}

#[test]
fn a_stash_that_conflicts_is_kept_and_goes_to_a_branch() {
    let sandbox = changed();
    sandbox.ok(["stash"]);
    sandbox.write("both", "both: theirs\n");
    // Local changes in the same file: nothing is touched.
    let stderr = sandbox.fails(1, ["stash", "pop"]);
    assert!(stderr.contains("'both'"), "{stderr}");
    assert_eq!(sandbox.status(), [" M both", "?? other"]);
    sandbox.save("third");
    let output = sandbox.run(["stash", "pop"]).expect_code(1);
    assert_eq!(output.text(), "CONFLICT both\n");
    assert!(String::from_utf8(sandbox.read("both")).unwrap().contains("<<<<<<<"));
    assert_eq!(sandbox.read("unstaged"), b"unstaged: mine\n");
    assert_eq!(sandbox.ok(["stash", "list"]).text().lines().count(), 1);
    // It waits until the conflict is resolved.
    assert!(sandbox.status().contains(&"UU both".to_owned()), "{:?}", sandbox.status());
    assert!(sandbox.ok(["status"]).text().contains("A stash was brought back with conflicts."));
    let refused = sandbox.fails(1, ["commit", "-m", "too early"]);
    assert!(refused.contains("not resolved yet: 'both'"), "{refused}");
    assert!(sandbox.fails(1, ["merge", "--abort"]).contains("is a stash"));
    sandbox.ok(["restore", "--theirs", "both"]);
    assert_eq!(sandbox.read("both"), b"both: mine\n");
    sandbox.ok(["add", "both"]);
    assert!(sandbox.status().contains(&"M  both".to_owned()));
    sandbox.commit("resolved");
    for _ in 0..3 {
        sandbox.ok(["undo"]);
    }
    // Back before the conflict was resolved.
    assert!(sandbox.status().contains(&"UU both".to_owned()), "{:?}", sandbox.status());
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("both"), b"both: theirs\n");
    sandbox.remove("other");
    sandbox.ok(["stash", "branch", "fix"]);
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "fix\n");
    assert_eq!(sandbox.read("both"), b"both: mine\n");
    assert_eq!(sandbox.status(), &CHANGES[..6]);
}

#[test]
fn without_a_commit_there_is_nothing_to_stash() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.fails(20, ["stash"]).contains("no commit yet"));
    assert_eq!(sandbox.status(), ["A  a"]);
    sandbox.ok(["reset"]);
    assert_eq!(sandbox.status(), ["?? a"]);
}

#[test]
fn reset_moves_the_branch_alone_or_with_what_is_staged() {
    let sandbox = changed();
    let (before, second) = (sandbox.snapshot(), head(&sandbox));
    sandbox.ok(["reset", "--soft", "HEAD~1"]);
    assert_same(&before, &sandbox.snapshot());
    assert!(sandbox.status().contains(&"A  second".to_owned()));
    sandbox.ok(["undo"]);
    assert_eq!(
        (head(&sandbox), sandbox.status()),
        (second.clone(), CHANGES.map(str::to_owned).to_vec())
    );
    sandbox.ok(["reset", "HEAD~1"]);
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(
        sandbox.status(),
        [
            " M both",
            " D deleted",
            " D gone/deep",
            " M staged",
            " M unstaged",
            "?? added",
            "?? other",
            "?? second"
        ]
    );
    sandbox.ok(["undo"]);
    assert_eq!((head(&sandbox), sandbox.status()), (second, CHANGES.map(str::to_owned).to_vec()));
    assert_same(&before, &sandbox.snapshot());
    // With paths the branch stays.
    sandbox.ok(["reset", "HEAD", "--", "both", "added"]);
    assert_eq!(
        sandbox.status(),
        [
            " M both",
            " D deleted",
            "D  gone/deep",
            "M  staged",
            " M unstaged",
            "?? added",
            "?? other"
        ]
    );
    sandbox.fails(2, ["reset", "--hard", "--", "both"]);
    sandbox.fails(20, ["reset", "nowhere"]);
}

#[test]
fn a_hard_reset_stores_what_it_gives_up() {
    let sandbox = changed();
    let (before, second) = (sandbox.snapshot(), head(&sandbox));
    let plan = sandbox.ok(["reset", "--hard", "-n", "HEAD~1"]);
    assert!(plan.text().contains("would give up: unstaged (changed in the work tree)"), "{plan:?}");
    assert_same(&before, &sandbox.snapshot());
    let report = sandbox.ok(["reset", "--hard", "HEAD~1", "--json"]).json();
    assert_eq!((report["mode"].as_str(), report["from"].as_str()), (Some("hard"), Some(&*second)));
    assert_eq!(sandbox.status(), ["?? other"]);
    assert!(!sandbox.path("second").exists());
    sandbox.ok(["undo"]);
    assert_eq!(head(&sandbox), second);
    for (name, bytes) in [("both", "both: mine\n"), ("unstaged", "unstaged: mine\n")] {
        assert_eq!(sandbox.read(name), bytes.as_bytes());
    }
    assert!(sandbox.status().contains(&"MM both".to_owned()));
}

#[test]
fn a_hard_reset_ends_a_merge() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "base\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "theirs\n");
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    sandbox.run(["merge", "topic"]).expect_code(1);
    assert!(sandbox.fails(1, ["stash"]).contains("waits to be finished"));
    assert!(sandbox.fails(1, ["reset", "--soft"]).contains("waits to be finished"));
    sandbox.ok(["reset", "--hard"]);
    assert_eq!(sandbox.read("a"), b"ours\n");
    assert!(sandbox.status().is_empty());
    assert!(sandbox.fails(1, ["merge", "--abort"]).contains("no merge"));
    // Undo lets it wait again, with the conflict markers.
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.status(), ["UU a"]);
    assert!(sandbox.read("a").starts_with(b"<<<<<<< ours"));
    sandbox.write("a", "both\n");
    sandbox.ok(["add", "a"]);
    sandbox.ok(["merge", "--continue"]);
    let commit = &sandbox.ok(["log", "-n", "1", "--json"]).json()["commits"][0];
    assert_eq!(commit["parents"].as_array().map(Vec::len), Some(2));
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.status(), ["UU a"]);
    for end in [&["merge", "--abort"][..], &["merge", "--quit"], &["switch", "-f", "topic"]] {
        sandbox.ok(end);
        assert!(sandbox.fails(1, ["merge", "--continue"]).contains("no merge"), "{end:?}");
        sandbox.ok(["undo"]);
        assert_eq!(sandbox.status(), ["UU a"], "{end:?}");
    }
    assert!(sandbox.fails(1, ["switch", "topic"]).contains("a merge waits"));
}

#[test]
fn a_stash_that_cannot_be_stored_says_why_and_changes_nothing() {
    let sandbox = changed();
    sandbox.write("large", noise(1, 2 << 20));
    let (files, status) = (sandbox.snapshot(), sandbox.status());
    let mut command = Command::new("sh");
    sandbox.surround(&mut command);
    command.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" stash -u"]);
    let output = Output::of(command.arg(env!("CARGO_BIN_EXE_digstore"))).expect_code(1);
    assert!(output.stderr.contains("too large"), "{output:?}");
    assert_same(&files, &sandbox.snapshot());
    assert_eq!(sandbox.status(), status);
    sandbox.ok(["stash", "-u"]);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_stash_says_by_its_exit_code_that_a_file_was_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "one");
    sandbox.write("g", "one");
    sandbox.save("first");
    sandbox.remove("f");
    // No link may lead there.
    std::os::unix::fs::symlink(".digstore/config.toml", sandbox.path("f")).unwrap();
    for args in [&["stash"][..], &["stash", "-u"], &["stash", "push", "g"]] {
        sandbox.write("g", "two");
        let code = if args.contains(&"g") { 0 } else { 3 };
        let said = sandbox.run(args).expect_code(code);
        assert_eq!(said.stderr.contains("left out 'f'"), code == 3, "{said:?}");
        assert_eq!(sandbox.read("g"), b"one");
        assert_eq!(sandbox.status(), [" T f"]);
    }
    // There is nothing else to put aside.
    sandbox.run(["stash"]).expect_code(3);
    assert_eq!(sandbox.ok(["stash", "list"]).text().lines().count(), 3);
}

#[test]
fn what_is_in_the_way_of_several_files_is_named_once() {
    let sandbox = Sandbox::new();
    sandbox.write("d/x", "x");
    sandbox.write("d/y", "y");
    sandbox.save("first");
    sandbox.remove("d/x");
    sandbox.remove("d/y");
    std::fs::remove_dir(sandbox.path("d")).unwrap();
    sandbox.write("d", "not tracked");
    let told = sandbox.fails(1, ["stash"]);
    assert_eq!(told.matches("'d' (not tracked)").count(), 1, "{told}");
}

#[test]
fn what_is_not_tracked_any_more_stays() {
    for (ignored, args) in [(false, &[][..]), (true, &["-u"][..]), (false, &["--index"][..])] {
        let sandbox = Sandbox::new();
        sandbox.write("secret", "secret");
        sandbox.write("code", "code");
        sandbox.save("one");
        sandbox.ok(["rm", "--cached", "secret"]);
        if ignored {
            sandbox.write(".digignore", "secret\n");
        }
        sandbox.append("code", "more");
        let (push, pop) = if args == ["--index"] { (&[][..], args) } else { (args, &[][..]) };
        sandbox.ok(["stash", "push"].iter().chain(push));
        sandbox.ok(["stash", "pop"].iter().chain(pop));
        assert_eq!(sandbox.read("secret"), b"secret", "{args:?}");
        assert_eq!(sandbox.read("code"), b"codemore");
    }
}

#[test]
fn what_no_command_could_read_again_is_not_stored() {
    let sandbox = changed();
    let before = (sandbox.snapshot(), sandbox.status(), head(&sandbox));
    let long = "u".repeat(4097);
    let commands: [&[&str]; 5] = [
        &["commit", "-m", "x"],
        &["stash"],
        &["tag", "-a", "v1", "-m", "x"],
        &["commit", "--amend", "-m", "x"],
        &["revert", "HEAD"],
    ];
    for (name, value) in [("DIGSTORE_AUTHOR_NAME", &long), ("DIGSTORE_AUTHOR_EMAIL", &long)] {
        for args in commands {
            let output = Output::of(sandbox.command(args).env(name, value)).expect_code(1);
            assert!(output.stderr.contains("longer than 4096 bytes"), "{args:?}: {output:?}");
        }
    }
    assert_eq!((sandbox.snapshot(), sandbox.status(), head(&sandbox)), before);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn messages_that_others_grow_from_are_as_long_as_can_be() {
    let sandbox = changed();
    sandbox.write("long", "x".repeat((1 << 20) - 7));
    let long = sandbox.path("long");
    sandbox.ok(["commit", "-F", long.to_str().unwrap()]);
    sandbox.remove("long");
    let picked = head(&sandbox);
    // The title of a stash and of what reverts a commit is cut, what else is picked stays whole.
    sandbox.ok(["stash", "-u"]);
    assert!(sandbox.ok(["stash", "list"]).text().len() < 5000);
    sandbox.ok(["revert", "HEAD"]);
    let before = head(&sandbox);
    let said = sandbox.fails(1, ["cherry-pick", "-x", &picked]);
    assert!(said.contains("longer than 1 MiB"), "{said}");
    assert_eq!(head(&sandbox), before);
    sandbox.ok(["cherry-pick", &picked]);
    sandbox.ok(["reset", "--hard", &picked]);
    sandbox.ok(["stash", "pop"]);
    sandbox.ok(["gc", "--now"]);
    sandbox.ok(["store", "verify", "--data"]);
}
