//! `digstore obliterate`: afterwards the bytes are in no file of the repository, and everything else is
//! as it was.

#![expect(clippy::unwrap_used, reason = "a failed test says so")]

mod common;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::{Node, Sandbox, Tree, assert_same, files_below, noise, text};
use digstore::id::ChunkId;

/// Files of the repository that hold these bytes.
fn holds(sandbox: &Sandbox, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = files_below(&sandbox.path(".digstore"));
    found.retain(|file| {
        std::fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes)
    });
    found
}

fn without(mut tree: Tree, names: &[&str]) -> Tree {
    tree.retain(|path, _| !names.iter().any(|name| path == *name));
    tree
}

const SECRET: u64 = 77;

/// A history in which a secret file comes, changes, goes, and is on branches, tags and in a stash.
fn history() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", text(1, 50_000));
    sandbox.save("clean");
    sandbox.ok(["tag", "clean"]);
    sandbox.write("d/secret", noise(SECRET, 5_000));
    sandbox.write("d/other", noise(3, 5_000));
    sandbox.save("secret");
    sandbox.ok(["tag", "-a", "v1", "-m", "annotated"]);
    sandbox.ok(["switch", "-c", "side"]);
    sandbox.write("side", "side");
    sandbox.save("side");
    sandbox.ok(["switch", "main"]);
    sandbox.append("d/secret", "more");
    sandbox.save("more");
    sandbox.ok(["merge", "side", "-m", "merged"]);
    sandbox.append("d/secret", "stashed");
    sandbox.append("a", "stashed");
    sandbox.ok(["stash", "push"]);
    sandbox.write("d/staged.secret", noise(SECRET + 1, 5_000));
    sandbox.ok(["add", "-A"]);
    sandbox
}

#[test]
fn the_bytes_are_gone_and_all_else_stays() {
    let sandbox = history();
    let marker = noise(SECRET, 64);
    assert!(!holds(&sandbox, &marker).is_empty());
    let names = ["d/secret", "d/staged.secret"];
    let revisions = ["clean", "v1", "side", "main", "main~1", "stash@{0}"];
    let before: Vec<Tree> =
        revisions.iter().map(|revision| without(sandbox.restored(revision), &names)).collect();
    let clean = sandbox.ok(["log", "--json", "clean"]).json()["commits"][0]["id"].clone();
    let work = sandbox.snapshot();

    let planned = sandbox.ok(["obliterate", "-n", "--json", "*secret"]).json();
    let unasked = sandbox.fails(1, ["obliterate", "*secret"]);
    assert!(unasked.contains("--yes"), "{unasked}");
    let done = sandbox.ok(["obliterate", "--yes", "--json", "*secret"]).json();
    for field in ["commits", "rewritten", "refs", "staged", "paths"] {
        assert_eq!(planned[field], done[field], "{field}");
    }
    assert_eq!((&done["staged"], &done["refs"]), (&2.into(), &4.into()), "{done:#}");
    assert_eq!(done["paths"].as_array().unwrap().len(), 2);
    assert_same(&work, &sandbox.snapshot());
    for (revision, tree) in revisions.iter().zip(&before) {
        assert_same(tree, &sandbox.restored(revision));
    }
    // What came before keeps its id; the rest has its messages and its shape.
    assert_eq!(sandbox.ok(["log", "--json", "clean"]).json()["commits"][0]["id"], clean);
    let log = sandbox.ok(["log", "--json"]).json();
    assert_eq!(log["commits"].as_array().unwrap().len(), 5);
    assert!(sandbox.ok(["show", "v1"]).text().contains("annotated"));
    assert!(sandbox.fails(1, ["undo"]).contains("nothing to undo"));

    let freed = sandbox.ok(["gc", "--now", "--json"]).json()["freed_bytes"].clone();
    assert_eq!(freed, done["freed_bytes"]);
    for seed in [SECRET, SECRET + 1] {
        assert_eq!(holds(&sandbox, &noise(seed, 64)), Vec::<PathBuf>::new());
        assert_eq!(holds(&sandbox, &noise(seed, 5_000)[4_900..]), Vec::<PathBuf>::new());
        let chunk = ChunkId::of(&noise(seed, 5_000));
        let packs = holds(&sandbox, chunk.as_bytes());
        assert!(!packs.iter().any(|file| file.extension().is_some_and(|name| name == "pack")));
    }
    sandbox.ok(["store", "verify", "--data"]);
    for (revision, tree) in revisions.iter().zip(&before) {
        assert_same(tree, &sandbox.restored(revision));
    }
    assert!(sandbox.fails(20, ["obliterate", "--yes", "*secret"]).contains("any commit"));
}

#[test]
fn a_secret_in_the_middle_of_others_takes_only_itself() {
    let sandbox = Sandbox::new();
    for number in 0..600 {
        sandbox.write(format!("d/{number:03}"), noise(number, 700));
    }
    sandbox.save("many");
    sandbox.write("last", "last");
    sandbox.save("last");
    let mut expected = sandbox.snapshot();
    let secret = expected.remove(std::ffi::OsStr::new("d/300"));
    let Some(Node::File(secret, _)) = secret else { unreachable!("it is a file") };
    sandbox.ok(["obliterate", "--yes", "d/300"]);
    sandbox.ok(["gc", "--now"]);
    assert!(holds(&sandbox, &secret[..64]).is_empty());
    assert_same(&expected, &sandbox.restored("HEAD"));
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_matches_nothing_forgets_nothing() {
    let sandbox = history();
    sandbox.ok(["obliterate", "--yes", "*secret"]);
    sandbox.write("a", "changed");
    sandbox.save("after");
    // Also as long as no `gc` was run.
    sandbox.fails(20, ["obliterate", "--yes", "no-such-file"]);
    sandbox.ok(["undo"]);
    assert!(!sandbox.ok(["log"]).text().contains("after"));
}

#[test]
fn targets_of_links_are_gone_as_well() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.link("d/l", "a-secret-target");
    sandbox.save("x");
    assert!(!holds(&sandbox, b"a-secret-target").is_empty());
    sandbox.ok(["obliterate", "--yes", "d"]);
    sandbox.ok(["gc", "--now"]);
    assert_eq!(holds(&sandbox, b"a-secret-target"), <[PathBuf; 0]>::default());
    assert_eq!(holds(&sandbox, b"d/l"), <[PathBuf; 0]>::default());
}

#[test]
fn a_killed_run_moves_all_or_nothing_and_another_goes_on() {
    for round in 0..12u64 {
        let sandbox = history();
        let args = ["obliterate", "--yes", "*secret"];
        let mut command = sandbox.command(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 1500));
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.ok(["store", "verify", "--data"]);
        let code = sandbox.run(args).code;
        assert!(matches!(code, 0 | 20), "{code}");
        sandbox.ok(["gc", "--now"]);
        assert!(holds(&sandbox, &noise(SECRET, 64)).is_empty(), "round {round}");
        sandbox.ok(["store", "verify", "--data"]);
    }
}
