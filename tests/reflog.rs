//! Revisions of earlier times, through the binary.

mod common;

use common::Sandbox;

/// The commit that a revision names.
#[track_caller]
fn at(sandbox: &Sandbox, revision: &str) -> String {
    let log = sandbox.ok(["log", "-n", "1", "--json", revision]).json();
    log["commits"][0]["id"].as_str().unwrap_or_default().to_owned()
}

fn current(sandbox: &Sandbox) -> String {
    sandbox.ok(["branch", "--show-current"]).text().trim_end().to_owned()
}

#[test]
fn earlier_commits_of_branches_and_of_head_are_counted_back() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    let first = sandbox.save("first");
    sandbox.write("a", "two");
    let second = sandbox.save("second");
    sandbox.ok(["switch", "-c", "topic", "HEAD~1"]);
    sandbox.write("a", "three");
    let third = sandbox.save("third");
    for (revision, commit) in [
        ("@{0}", &third),
        ("@{1}", &first),
        ("main@{1}", &first),
        ("topic@{1}", &first),
        ("heads/main@{1}", &first),
        ("HEAD@{1}", &first),
        ("HEAD@{2}", &second),
        ("@@{3}", &first),
        ("main@{now}", &second),
        ("HEAD@{2}~1", &first),
        ("@{-1}", &second),
        ("-", &second),
        ("@{-1}~1", &first),
    ] {
        assert_eq!(at(&sandbox, revision), *commit, "{revision}");
    }
    for (text, bytes) in [
        ("a@main@{1}", "one"),
        ("a@-", "two"),
        ("a@{1}", "one"),
        ("@{1}:a", "one"),
        ("main@{now}:a", "two"),
    ] {
        assert_eq!(sandbox.ok(["get", text]).text(), bytes, "{text}");
    }
    // An undo is a change as well, and can be counted back over.
    sandbox.ok(["undo"]);
    assert_eq!((at(&sandbox, "@"), at(&sandbox, "@{1}")), (first, third));
}

#[test]
fn what_a_revision_cannot_name_is_said() {
    let sandbox = Sandbox::new();
    for revision in ["@{0}", "@{1}", "-", "main@{now}"] {
        sandbox.fails(20, ["log", revision]);
    }
    sandbox.write("a", "one");
    sandbox.save("first");
    for (revision, message) in [
        ("main@{9}", "the log of operations holds fewer changes of 'main': 1"),
        ("@{1}", "'main' led to no commit at '@{1}'"),
        ("@{last tuesday}", "the log of operations began after 'last tuesday'"),
        ("main@{upstream}", "'upstream' is neither a number of changes nor a time"),
        ("main@{-1}", "'-1' is neither a number of changes nor a time"),
        ("mian@{1}", "unknown revision 'mian'"),
        ("a b@{1}", "unknown revision 'a b'"),
        ("-", "no branch was checked out before this one"),
        ("@{-1}", "no branch was checked out before this one"),
        ("@{99999999999999999999}", "is neither a number"),
        ("@{}", "is neither a number"),
    ] {
        let stderr = sandbox.fails(20, ["log", revision]);
        assert!(stderr.contains(message), "{revision}: {stderr}");
    }
    assert!(sandbox.fails(20, ["log", "mian@{1}"]).contains("did you mean 'main'?"));
    // A file of such a name is a path.
    sandbox.write("x@{y}", "y");
    sandbox.save("second");
    assert_eq!(sandbox.ok(["get", "x@{y}"]).text(), "y");
    assert!(sandbox.ok(["diff", "HEAD~1", "HEAD", "--", "x@{y}"]).text().contains("+y"));
    assert!(sandbox.ok(["diff", "x@{y}"]).text().is_empty());
}

#[test]
fn switching_back_counts_switches_only() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "0");
    let first = sandbox.save("first");
    for name in ["b1", "b2"] {
        sandbox.ok(["switch", "-c", name]);
        sandbox.write("a", name);
        sandbox.save(name);
    }
    sandbox.ok(["switch", "@{-2}"]);
    assert_eq!(current(&sandbox), "main");
    sandbox.ok(["switch", "-"]);
    assert_eq!(current(&sandbox), "b2");
    // Commits, and a new name of the branch, are no switches.
    sandbox.ok(["commit", "--allow-empty", "-m", "more"]);
    sandbox.ok(["branch", "-m", "renamed"]);
    assert_eq!(at(&sandbox, "renamed@{2}"), at(&sandbox, "renamed~1~1"));
    sandbox.ok(["switch", "-"]);
    assert_eq!(current(&sandbox), "main");
    // Nor are commits on no branch.
    sandbox.ok(["switch", "--detach", "renamed~1"]);
    sandbox.write("a", "on no branch");
    let there = sandbox.save("on no branch");
    assert_eq!(at(&sandbox, "HEAD@{1}"), at(&sandbox, "renamed~1"));
    sandbox.ok(["switch", "--detach", "-"]);
    assert_eq!((current(&sandbox), at(&sandbox, "@")), (String::new(), first));
    sandbox.ok(["switch", "-"]);
    assert_eq!(at(&sandbox, "@"), there);
    // A branch that is gone is no place to go to.
    sandbox.ok(["switch", "renamed"]);
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["branch", "-D", "renamed"]);
    assert!(sandbox.fails(20, ["switch", "-"]).contains("'renamed'"));
    sandbox.ok(["branch", "again", "renamed@{1}"]);
    assert_eq!(at(&sandbox, "again"), at(&sandbox, "renamed@{1}"));
}

#[test]
fn a_switch_that_was_undone_does_not_count() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("x");
    sandbox.ok(["switch", "-c", "x"]);
    sandbox.ok(["undo"]);
    sandbox.fails(20, ["switch", "-"]);
    sandbox.ok(["redo"]);
    sandbox.ok(["switch", "-"]);
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "main\n");
    sandbox.ok(["switch", "-c", "y"]);
    sandbox.ok(["undo"]);
    sandbox.ok(["switch", "-"]);
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "x\n");
}
