//! What `export git` writes into a git repository that is somebody's, and what it leaves alone.

#![expect(clippy::disallowed_methods, reason = "tests make files by any means")]

mod common;

use std::process::Command;

use common::{Output, Sandbox};

/// Runs git in a directory beside the work tree; what it says.
#[track_caller]
fn git(sandbox: &Sandbox, dir: &str, args: &[&str]) -> String {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    command.current_dir(sandbox.beside("")).args(["-C", dir, "-c", "init.defaultBranch=main"]);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada");
        command.env(format!("GIT_{who}_EMAIL"), "ada@example.org");
    }
    let out = Output::of(command.args(args).env("GIT_CONFIG_NOSYSTEM", "1")).expect_code(0);
    out.text().trim_end().to_owned()
}

/// A sandbox with a commit on `main`.
fn one() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("one");
    sandbox
}

#[test]
fn stashes_stay_behind() {
    let sandbox = one();
    sandbox.write("a", "private");
    sandbox.write("secret", "private");
    sandbox.ok(["stash", "push", "-u"]);
    sandbox.ok(["export", "git", "../out.git"]);
    assert_eq!(
        git(&sandbox, "out.git", &["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main"
    );
    let objects = ["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"];
    assert_eq!(git(&sandbox, "out.git", &objects).matches("blob").count(), 1);
}

#[test]
fn a_tag_keeps_its_name() {
    let sandbox = one();
    sandbox.ok(["tag", "tags/light"]);
    sandbox.ok(["tag", "-m", "why", "tags/tags/noted"]);
    sandbox.ok(["export", "git", "../out.git"]);
    assert_eq!(
        git(&sandbox, "out.git", &["for-each-ref", "--format=%(refname)", "refs/tags"]),
        "refs/tags/tags/light\nrefs/tags/tags/tags/noted"
    );
}

#[test]
fn tags_that_git_has_are_not_replaced_without_force() {
    let sandbox = one();
    for name in ["light", "same-light", "noted"] {
        sandbox.ok(["tag", name]);
    }
    sandbox.ok(["tag", "-m", "ours", "-a", "other"]);
    sandbox.ok(["tag", "-m", "ours", "-a", "same"]);
    sandbox.ok(["tag", "-m", "ours", "-a", "new"]);
    sandbox.ok(["export", "git", "../out.git"]);
    sandbox.ok(["export", "git", "../out.git"]);
    let first = git(&sandbox, "out.git", &["rev-parse", "main"]);
    sandbox.write("a", "two");
    sandbox.save("two");
    sandbox.ok(["export", "git", "../out.git"]);
    // A lightweight tag that leads elsewhere, one that is annotated there, one with other words.
    git(&sandbox, "out.git", &["tag", "-f", "light", "main"]);
    git(&sandbox, "out.git", &["tag", "-f", "-m", "theirs", "noted", &first]);
    git(&sandbox, "out.git", &["tag", "-f", "-m", "theirs", "other", &first]);
    git(&sandbox, "out.git", &["tag", "-d", "new"]);
    let list = ["for-each-ref", "--format=%(refname) %(objectname)"];
    let before = git(&sandbox, "out.git", &list);
    sandbox.write("a", "three");
    sandbox.save("three");
    let out = sandbox.run(["export", "git", "../out.git"]).expect_code(3);
    for name in ["light", "noted", "other"] {
        let told = format!("left out the ref 'refs/tags/{name}': it is there as another tag");
        assert!(out.stderr.contains(&told), "{out:?}");
    }
    assert_eq!(out.stderr.matches("left out").count(), 3, "{out:?}");
    let after = git(&sandbox, "out.git", &list);
    for line in before.lines().filter(|line| line.contains("/tags/")) {
        assert!(after.contains(line), "{line}: {after}");
    }
    assert!(after.contains("refs/tags/new "), "{after}");
    assert_eq!(git(&sandbox, "out.git", &["show", "main:a"]), "three");
    sandbox.ok(["export", "git", "--force", "../out.git"]);
    assert_eq!(
        git(&sandbox, "out.git", &["rev-parse", "light", "noted"]),
        format!("{first}\n{first}")
    );
    assert!(git(&sandbox, "out.git", &["cat-file", "tag", "other"]).ends_with("ours"));
}

#[test]
fn a_history_from_git_goes_back_where_it_came_from() {
    let sandbox = Sandbox::new();
    git(&sandbox, ".", &["init", "-q", "project"]);
    let commit = ["commit", "-q", "--allow-empty", "-m"];
    git(&sandbox, "project", &[&commit[..], &["one"]].concat());
    git(&sandbox, "project", &["tag", "-m", "words\n\nand more", "noted"]);
    git(&sandbox, "project", &["tag", "light"]);
    git(&sandbox, "project", &[&commit[..], &["two"]].concat());
    let before = git(&sandbox, "project", &["for-each-ref"]);
    sandbox.ok(["import", "git", "../project"]);
    sandbox.ok(["export", "git", "../project"]);
    assert_eq!(git(&sandbox, "project", &["for-each-ref"]), before);
}

#[test]
fn a_branch_that_would_lose_commits_there_stays_and_all_else_is_written() {
    let sandbox = one();
    sandbox.ok(["export", "git", "../out.git"]);
    git(&sandbox, ".", &["clone", "-q", "out.git", "clone"]);
    git(&sandbox, "clone", &["commit", "-q", "--allow-empty", "-m", "theirs"]);
    git(&sandbox, "clone", &["push", "-q"]);
    let theirs = git(&sandbox, "out.git", &["rev-parse", "main"]);
    sandbox.write("a", "ours");
    sandbox.save("ours");
    sandbox.ok(["branch", "other"]);
    sandbox.ok(["tag", "-m", "new", "-a", "new"]);
    let told = sandbox.fails(1, ["export", "git", "../out.git"]);
    assert!(told.contains("refs/heads/main"), "{told}");
    assert_eq!(git(&sandbox, "out.git", &["rev-parse", "main"]), theirs);
    assert_eq!(git(&sandbox, "out.git", &["show", "other:a", "new:a"]), "oursours");
    sandbox.ok(["export", "git", "--force", "../out.git"]);
    assert_eq!(git(&sandbox, "out.git", &["show", "main:a"]), "ours");
}

#[test]
fn a_branch_that_git_has_checked_out_stays_without_force() {
    let sandbox = one();
    // Without commits it is written.
    git(&sandbox, ".", &["init", "-q", "project"]);
    sandbox.ok(["export", "git", "../project"]);
    git(&sandbox, "project", &["reset", "-q", "--hard"]);
    let first = git(&sandbox, "project", &["rev-parse", "main"]);
    sandbox.ok(["export", "git", "../project"]);
    sandbox.ok(["branch", "side"]);
    sandbox.ok(["branch", "linked"]);
    sandbox.ok(["export", "git", "../project"]);
    git(&sandbox, "project", &["worktree", "add", "-q", "../linked", "linked"]);
    for branch in ["main", "side", "linked"] {
        sandbox.ok(["switch", branch]);
        sandbox.write("a", branch);
        sandbox.save("two");
    }
    let out = sandbox.run(["export", "git", "../project"]).expect_code(3);
    for name in ["main", "linked"] {
        let told = format!("left out the ref 'refs/heads/{name}': it is checked out there");
        assert!(out.stderr.contains(&told), "{out:?}");
        assert_eq!(git(&sandbox, "project", &["rev-parse", name]), first);
    }
    assert_eq!(git(&sandbox, "project", &["status", "--porcelain"]), "");
    assert_eq!(git(&sandbox, "project", &["show", "side:a"]), "side");
    git(&sandbox, "project", &["switch", "-q", "--detach"]);
    let out = sandbox.run(["export", "git", "../project"]).expect_code(3);
    assert!(!out.stderr.contains("heads/main"), "{out:?}");
    assert_eq!(git(&sandbox, "project", &["show", "main:a"]), "main");
    sandbox.ok(["export", "git", "--force", "../project"]);
    assert_eq!(git(&sandbox, "project", &["show", "linked:a"]), "linked");
    // A work tree that is gone holds nothing back.
    std::fs::remove_dir_all(sandbox.beside("linked")).unwrap();
    sandbox.ok(["switch", "linked"]);
    sandbox.write("a", "later");
    sandbox.save("three");
    sandbox.ok(["export", "git", "../project"]);
    assert_eq!(git(&sandbox, "project", &["show", "linked:a"]), "later");
}

#[test]
fn what_git_cannot_hold_of_an_address_is_told_once() {
    let sandbox = Sandbox::new();
    git(&sandbox, ".", &["init", "-q", "project"]);
    let tree = git(&sandbox, "project", &["write-tree"]);
    let mut parent = String::new();
    for number in 1..=2 {
        let who = format!("A <<a@b>> {number} +0000");
        let commit = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nwords\n");
        std::fs::write(sandbox.beside("commit"), commit).unwrap();
        let args = ["hash-object", "-w", "--literally", "-t", "commit", "../commit"];
        parent = format!("parent {}\n", git(&sandbox, "project", &args));
    }
    let last = &parent["parent ".len()..parent.len() - 1];
    git(&sandbox, "project", &["update-ref", "refs/heads/main", last]);
    let out = sandbox.ok(["import", "git", "../project"]);
    assert!(out.stderr.contains(" and 1 more: a person or a date is in a form"), "{out:?}");
    let out = sandbox.ok(["export", "git", "../out.git"]);
    assert_eq!(out.stderr.matches("'<a@b>' has '<', '>'").count(), 1, "{out:?}");
    let address = git(&sandbox, "out.git", &["log", "-1", "--format=%ae", "main"]);
    assert_eq!(address, "a@b");
}
