//! What `export git` writes into a git repository that is somebody's, and what it leaves alone.

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
