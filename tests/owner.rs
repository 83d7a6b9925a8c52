//! Repositories of other users are refused until they are trusted.

mod common;

use std::os::unix::fs::{MetadataExt, chown};

use common::Sandbox;

/// Somebody whom no machine has.
const OTHER: u32 = 54_321;

#[test]
fn a_repository_of_another_user_is_refused_until_it_is_trusted() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("one");
    let repository = sandbox.path(".digstore");
    if chown(&repository, Some(OTHER), None).is_err() {
        // Only root can give files away.
        return;
    }
    let told = sandbox.fails(1, ["status"]);
    assert!(told.contains("belongs to another user (number 54321)"), "{told}");
    let dir = sandbox.path(".").canonicalize().unwrap();
    let dir = dir.to_str().unwrap();
    assert!(told.contains("digstore config set --user safe.directories"), "{told}");
    for command in [["add", "-A"].as_slice(), &["log"], &["commit", "-m", "x"], &["undo"]] {
        sandbox.run(command).expect_code(1);
    }
    // It is trusted by its name, by a directory above, or with all others.
    let above = format!("/nowhere:{}/*", sandbox.beside(".").display());
    for trusted in [dir, &above, "*"] {
        sandbox.ok(["config", "set", "--user", "safe.directories", trusted]);
        sandbox.ok(["status"]);
    }
    // The repository itself has no say, nor has the command line.
    sandbox.ok(["config", "unset", "--user", "safe.directories"]);
    sandbox.write(".digstore/config.toml", "[safe]\ndirectories = \"*\"\n");
    sandbox.run(["status"]).expect_code(1);
    sandbox.remove(".digstore/config.toml");
    sandbox.run(["status", "--config", "safe.directories=*"]).expect_code(2);
    // Whom sudo was called by.
    let mut command = sandbox.command(["status"]);
    let output = common::Output::of(command.env("SUDO_UID", OTHER.to_string()));
    assert_eq!(output.code, 0, "{output:?}");
    // The file that makes a directory a repository counts as well.
    let format = repository.join("format");
    let me = format.metadata().unwrap().uid();
    chown(&repository, Some(me), None).unwrap();
    sandbox.ok(["status"]);
    chown(&format, Some(OTHER), None).unwrap();
    sandbox.run(["status"]).expect_code(1);
}
