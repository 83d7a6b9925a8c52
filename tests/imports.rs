//! Imports into a repository where somebody is at work, and what they say of what they alter.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files by any means, and a failed step fails the test"
)]

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{Output, Sandbox};

/// A command of git in the repository `source` beside the work tree.
fn git_command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    command.current_dir(sandbox.beside("source")).args(["-c", "init.defaultBranch=main"]);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada");
        command.env(format!("GIT_{who}_EMAIL"), "ada@example.org");
        command.env(format!("GIT_{who}_DATE"), "1500000000 +0200");
    }
    command.args(args).env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

#[track_caller]
fn git(sandbox: &Sandbox, args: &[&str]) -> String {
    Output::of(&mut git_command(sandbox, args)).expect_code(0).text().trim_end().to_owned()
}

/// Commits a file in the git repository, which is made where it is not there.
#[track_caller]
fn git_save(sandbox: &Sandbox, name: &str, bytes: impl AsRef<[u8]>) {
    let dir = sandbox.beside("source");
    if !dir.exists() {
        fs::create_dir(&dir).unwrap();
        git(sandbox, &["init", "-q"]);
    }
    fs::write(dir.join(name), bytes).unwrap();
    git(sandbox, &["add", "-A"]);
    git(sandbox, &["commit", "-q", "-m", name]);
}

/// Log, work tree, what `status` says, and the log of operations.
fn state(sandbox: &Sandbox) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        sandbox.ok(["log", "--json"]).stdout,
        sandbox.snapshot(),
        sandbox.status(),
        sandbox.ok(["op", "log", "--json"]).stdout,
    )
}

/// A branch `topic` that changes `a` and `b` in a commit each.
fn with_topic(sandbox: &Sandbox) {
    sandbox.ok(["switch", "-c", "topic"]);
    for name in ["a", "b"] {
        sandbox.write(name, "theirs");
        sandbox.save(&format!("theirs in {name}"));
    }
    sandbox.ok(["switch", "main"]);
}

/// No import that would move `HEAD` begins while something waits, and nothing is changed.
#[track_caller]
fn waits(sandbox: &Sandbox, archive: &[u8]) {
    let before = state(sandbox);
    for out in [
        sandbox.feed(archive, ["import", "tar", "-"]),
        sandbox.feed(archive, ["import", "tar", "-", "--prefix", "data"]),
        sandbox.run(["import", "git", "--force", "../source"]),
    ] {
        let out = out.expect_code(1);
        assert!(out.stderr.contains("waits to be finished"), "{out:?}");
    }
    assert_eq!(before, state(sandbox));
}

#[test]
fn an_import_does_not_make_a_merge_that_waits_forgotten() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        git_save(&sandbox, name, "base");
    }
    sandbox.ok(["import", "git", "../source"]);
    let archive = sandbox.ok(["export", "tar"]).stdout;
    with_topic(&sandbox);
    git_save(&sandbox, "a", "ours");
    sandbox.ok(["import", "git", "../source"]);
    git_save(&sandbox, "c", "more");

    sandbox.fails(1, ["merge", "topic"]);
    waits(&sandbox, &archive);
    assert!(sandbox.fails(1, ["import", "git", "../source"]).contains("waits to be finished"));
    // Other branches may come.
    git(&sandbox, &["switch", "-q", "--detach"]);
    git(&sandbox, &["branch", "-f", "main", "main~1"]);
    git(&sandbox, &["branch", "other"]);
    sandbox.ok(["import", "git", "../source"]);
    sandbox.ok(["log", "other"]);
    git(&sandbox, &["branch", "-f", "main", "other"]);
    sandbox.ok(["merge", "--abort"]);

    // A sequence that stopped before its second commit.
    sandbox.write("b", "unsaved");
    sandbox.fails(1, ["cherry-pick", "topic~1", "topic"]);
    sandbox.write("a", "resolved");
    sandbox.ok(["add", "a"]);
    sandbox.fails(1, ["cherry-pick", "--continue"]);
    sandbox.write("b", "base");
    assert_eq!(sandbox.status(), Vec::<String>::new());
    waits(&sandbox, &archive);
    sandbox.ok(["cherry-pick", "--abort"]);
    sandbox.ok(["import", "git", "--force", "../source"]);
    assert_eq!(sandbox.read("c"), b"more");
}

#[test]
fn a_commit_behind_an_import_into_a_full_work_tree_removes_nothing() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.beside("source")).unwrap();
    git(&sandbox, &["init", "-q"]);
    fs::create_dir(sandbox.beside("source/d")).unwrap();
    fs::write(sandbox.beside("source/d/e"), "below").unwrap();
    git_save(&sandbox, "a", "theirs");
    sandbox.write("mine", "mine");
    let out = sandbox.ok(["import", "git", "../source"]);
    assert!(out.stderr.contains("'digstore restore .' brings those of main"), "{out:?}");
    assert_eq!(sandbox.snapshot().len(), 1);
    assert_eq!(sandbox.status(), [" D a", " D d/e", "?? mine"]);
    sandbox.ok(["restore", "."]);
    assert_eq!(sandbox.status(), ["?? mine"]);
    sandbox.ok(["add", "mine"]);
    sandbox.commit("mine");
    assert_eq!(sandbox.ok(["ls"]).text(), "a\nd/e\nmine\n");
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("mine"), b"mine");
}

#[test]
fn an_import_keeps_what_is_staged_where_it_cannot_be_checked_out() {
    let sandbox = Sandbox::new();
    git_save(&sandbox, "a", "theirs");
    git_save(&sandbox, "b", "theirs");
    sandbox.write("a/is", "a directory here");
    sandbox.write("mine", "mine");
    sandbox.ok(["add", "-A"]);
    let out = sandbox.ok(["import", "git", "../source"]);
    assert!(out.stderr.contains("was left alone"), "{out:?}");
    sandbox.commit("mine");
    assert_eq!(sandbox.ok(["ls"]).text(), "a/is\nb\nmine\n");
    assert_eq!(sandbox.status(), [" D b"]);
    sandbox.ok(["store", "verify", "--data"]);
}

/// Feeds `git fast-import` in the git repository, which is made.
#[track_caller]
fn git_feed(sandbox: &Sandbox, stream: &[u8]) {
    fs::create_dir(sandbox.beside("source")).unwrap();
    git(sandbox, &["init", "-q"]);
    let args = ["fast-import", "--quiet", "--date-format=raw-permissive"];
    let mut child = git_command(sandbox, &args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stream).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_import_says_what_git_would_not_get_back() {
    for (person, is_told) in [
        ("A B <a@b> 5 +0130", false),
        ("<a@b> 5 -0530", false),
        ("A <a@b> 5 -0000", true),
        ("A <a@b> 5 +0175", true),
    ] {
        let sandbox = Sandbox::new();
        let commit = |text: &str| format!("commit refs/heads/main\n{text}\ndata 1\nx\n");
        let (first, second) = (format!("committer {person}"), format!("committer {person}"));
        git_feed(&sandbox, [commit(&first), commit(&second)].concat().as_bytes());
        let out = sandbox.ok(["import", "git", "../source"]);
        let told = " and 1 more: a person or a date is in a form that is not kept";
        assert_eq!(out.stderr.contains(told), is_told, "{person}: {out:?}");
        assert_eq!(out.stderr.matches("is in a form").count(), usize::from(is_told), "{out:?}");
        let id = git(&sandbox, &["rev-parse", "main"]);
        sandbox.ok(["export", "git", "../out.git"]);
        let ids = git(&sandbox, &["--git-dir=../out.git", "rev-parse", "main"]);
        assert_eq!(id == ids, !is_told, "{person}");
    }
}

#[test]
fn an_import_says_what_becomes_of_tags() {
    let sandbox = Sandbox::new();
    let mut stream =
        b"commit refs/heads/main\nmark :1\ncommitter A <a@b> 5 +0000\ndata 1\nx\n".to_vec();
    stream.extend(b"tag latin\nfrom :1\ntagger caf\xe9 <a@b> 5 +0000\ndata 4\nna\xefv\n");
    stream.extend(b"tag words\nfrom :1\ntagger A <a@b> 5 +0000\ndata 4\nna\xefv\n");
    stream.extend(b"tag zone\nfrom :1\ntagger A <a@b> 5 -0000\ndata 1\nx\n");
    stream.extend(b"tag nobody\nfrom :1\ndata 1\nx\n");
    stream.extend(b"tag plain\nfrom :1\ntagger A <a@b> 5 +0000\ndata 1\nx\n");
    git_feed(&sandbox, &stream);
    git(&sandbox, &["tag", "-m", "outer", "nested", "plain"]);
    let out = sandbox.ok(["import", "git", "../source"]);
    for told in [
        "tag 'latin' is not UTF-8",
        "tag 'words' is not UTF-8",
        "tag 'zone': a person or a date is in a form",
        "tag 'nobody' does not say who made it",
        "tag 'nested' names another tag",
    ] {
        assert!(out.stderr.contains(told), "{told}: {out:?}");
    }
    assert_eq!(out.stderr.matches("warning").count(), 5, "{out:?}");
}
