//! `digstore gc`: what is of no use goes, to the byte, and nothing else, whenever it is killed and
//! whatever runs beside it.

#![expect(clippy::unwrap_used, reason = "a failed test says so")]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod damage;

use std::path::PathBuf;

use common::{Sandbox, assert_same, files_below, noise, text};
use serde_json::Value;

/// Forget what could be undone.
const FORGET: [&str; 4] = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=0"];

fn gc(sandbox: &Sandbox, args: &[&str]) -> Value {
    sandbox.ok([&["gc", "--json"], args].concat()).json()
}

fn gc_all(sandbox: &Sandbox, args: &[&str]) -> Value {
    gc(sandbox, &[&FORGET, args].concat())
}

/// Bytes of the packs and of the log of operations.
fn stored_bytes(sandbox: &Sandbox) -> i64 {
    let packs = files_below(&sandbox.path(".digstore/packs"));
    let files = packs.into_iter().chain([sandbox.path(".digstore/operations")]);
    files.map(|file| file.metadata().unwrap().len() as i64).sum()
}

fn holds(sandbox: &Sandbox, marker: &[u8]) -> Vec<PathBuf> {
    let mut found = files_below(&sandbox.path(".digstore"));
    found.retain(|file| {
        std::fs::read(file).unwrap().windows(marker.len()).any(|bytes| bytes == marker)
    });
    found
}

/// Checks everything, the bytes too.
#[track_caller]
fn verify(sandbox: &Sandbox) {
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_nothing_reaches_is_freed_to_the_byte() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.ok(["switch", "-c", "other"]);
    sandbox.write("gone", noise(2, 500_000));
    sandbox.save("gone");
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["branch", "-D", "other"]);
    let marker = noise(2, 64);
    assert_eq!(holds(&sandbox, &marker).len(), 1);
    // What can be undone stays.
    let report = gc(&sandbox, &["--now"]);
    assert_eq!((&report["removed"], &report["expired"]), (&0.into(), &0.into()));
    assert_eq!(holds(&sandbox, &marker).len(), 1);
    sandbox.ok(["undo"]);
    sandbox.ok(["redo"]);

    let before = stored_bytes(&sandbox);
    let planned = gc_all(&sandbox, &["--now", "-n"]);
    assert_eq!(stored_bytes(&sandbox), before);
    let done = gc_all(&sandbox, &["--now"]);
    let freed = before - stored_bytes(&sandbox);
    assert_eq!(done["freed_bytes"], freed);
    assert_eq!(planned["freed_bytes"], freed);
    assert!(freed > 500_000, "{done:#}");
    assert!(holds(&sandbox, &marker).is_empty());
    verify(&sandbox);
    sandbox.ok(["get", "kept"]);
    let again = gc_all(&sandbox, &["--now"]);
    assert_eq!(again["freed_bytes"], 0, "{again:#}");
    sandbox.fails(20, ["log", "other"]);
}

/// `kept` is committed; the commit of `gone`, whose id it answers, only operations lead to.
fn with_a_lost_commit() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 500_000));
    let lost = sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    (sandbox, lost)
}

#[test]
fn what_is_condemned_waits_and_can_be_rescued() {
    let (sandbox, lost) = with_a_lost_commit();
    let report = gc_all(&sandbox, &[]);
    assert_eq!(report["removed"], 0, "{report:#}");
    assert!(report["condemned"].as_u64().unwrap() > 0);
    assert!(report["condemned_bytes"].as_u64().unwrap() > 500_000);
    assert!(report["due"].is_string());
    verify(&sandbox);
    // It is read by its id, and what is stored again is stored anew.
    assert_eq!(sandbox.restored(&lost).len(), 2);
    let before = stored_bytes(&sandbox);
    sandbox.write("back", noise(2, 500_000));
    sandbox.save("back");
    assert!(stored_bytes(&sandbox) - before > 500_000);
    // A branch rescues the rest.
    sandbox.ok(["branch", "rescued", &lost]);
    let report = gc_all(&sandbox, &["--now"]);
    assert!(report["removed_bytes"].as_u64().unwrap() > 500_000, "{report:#}");
    assert_eq!(sandbox.restored(&lost).len(), 2);
    sandbox.ok(["switch", "rescued"]);
    sandbox.write("more", "more");
    sandbox.save("more");
    verify(&sandbox);
    let again = gc_all(&sandbox, &["--now"]);
    assert_eq!(again["condemned"], 0);
    verify(&sandbox);
}

#[test]
fn what_is_not_whole_any_more_is_not_rescued() {
    let (sandbox, lost) = with_a_lost_commit();
    gc_all(&sandbox, &[]);
    // As where a run was killed that removed it.
    sandbox.remove(&holds(&sandbox, &noise(2, 64))[0]);
    for args in [&["branch", "rescued", &lost][..], &["tag", "t", &lost], &["reset", &lost]] {
        assert!(sandbox.fails(21, args).contains("missing"), "{args:?}");
    }
    assert_eq!(sandbox.restored("HEAD").len(), 1);
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
}

#[test]
fn a_commit_that_is_not_whole_any_more_is_not_merged() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", "kept");
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 500_000));
    sandbox.save("gone");
    sandbox.remove("gone");
    sandbox.write("b", "b");
    let lost = sandbox.save("b");
    sandbox.ok(["reset", "--hard", "HEAD~2"]);
    sandbox.write("other", "other");
    let head = sandbox.save("other");
    gc_all(&sandbox, &[]);
    // As where a run was killed that removed it.
    sandbox.remove(&holds(&sandbox, &noise(2, 64))[0]);
    for args in
        [&["merge", &lost][..], &["cherry-pick", &lost], &["restore", "--staged", "-s", &lost, "b"]]
    {
        assert!(sandbox.fails(21, args).contains("missing"), "{args:?}");
        assert!(sandbox.status().is_empty(), "{args:?}");
    }
    assert_eq!(sandbox.restored("HEAD"), sandbox.restored(&head));
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
}

#[test]
fn what_was_rescued_can_be_worked_with() {
    let sandbox = Sandbox::new();
    sandbox.write("base", "base");
    sandbox.save("base");
    for number in 0..900 {
        sandbox.write(format!("d/{number:03}"), format!("{number}"));
    }
    let lost = sandbox.save("many");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    assert!(gc_all(&sandbox, &[])["condemned"].as_u64().unwrap() > 0);
    sandbox.ok(["switch", "-c", "rescued", &lost]);
    sandbox.write("d/500", "changed");
    sandbox.ok(["stash", "push"]);
    sandbox.ok(["stash", "pop"]);
    sandbox.save("changed");
    sandbox.ok(["switch", "main"]);
    sandbox.write("main", "main");
    sandbox.save("main");
    sandbox.ok(["merge", "rescued", "-m", "merged"]);
    let expected = sandbox.snapshot();
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
    assert_same(&expected, &sandbox.restored("HEAD"));
    assert_eq!(sandbox.restored(&lost).len(), 901);
}

#[test]
fn no_clock_endangers_anything() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 200_000));
    sandbox.save("a");
    sandbox.write("b", noise(2, 200_000));
    sandbox.save("b");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let hours = |hours: &str| format!("gc.grace_hours={hours}");
    // Condemned, and due ten years from now: as a clock would have it that went back ten years.
    let late = hours("87600");
    assert_eq!(gc_all(&sandbox, &["--config", &late])["removed"], 0);
    assert_eq!(gc_all(&sandbox, &["--config", &late])["removed"], 0);
    // The clock goes forward past all time of grace: what is in use stays.
    sandbox.ok(["branch", "b", "main"]);
    let report = gc_all(&sandbox, &["--config", &hours("0")]);
    assert!(report["removed"].as_u64().unwrap() > 0);
    verify(&sandbox);
    sandbox.ok(["get", "a"]);
    assert_eq!(sandbox.fails(20, ["get", "b"]).lines().count(), 1);
}

#[test]
fn sparse_packs_are_written_anew_and_dense_ones_stay() {
    let sandbox = Sandbox::new();
    for number in 0..40 {
        sandbox.write(format!("f/{number:02}"), text(number, 60_000));
        sandbox.write(format!("n/{number:02}"), noise(number, 60_000));
    }
    sandbox.save("all");
    for number in 0..4 {
        sandbox.remove(format!("n/{number:02}"));
    }
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "--amend", "-m", "most"]);
    let expected = sandbox.snapshot();
    let report = gc_all(&sandbox, &["--now", "--config", "gc.sparse_percent=50"]);
    assert_eq!(sandbox.packs(1).len(), 1, "{report:#}");
    assert_eq!(holds(&sandbox, &noise(0, 64)).len(), 1);
    let before = stored_bytes(&sandbox);
    let planned = gc_all(&sandbox, &["--now", "--thorough", "-n"]);
    let done = gc_all(&sandbox, &["--now", "--thorough"]);
    assert!(done["repacked"].as_u64().unwrap() >= 1, "{done:#}");
    assert_eq!(done["freed_bytes"], before - stored_bytes(&sandbox));
    assert_eq!(planned["freed_bytes"], done["freed_bytes"]);
    assert!(holds(&sandbox, &noise(0, 64)).is_empty());
    verify(&sandbox);
    assert_same(&expected, &sandbox.restored("HEAD"));
}

#[test]
fn old_operations_expire_and_the_rest_can_be_undone() {
    let sandbox = Sandbox::new();
    for number in 0..10 {
        sandbox.write("f", text(number, 50_000));
        sandbox.save(&format!("c{number}"));
    }
    let keep = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=5"];
    let report = gc(&sandbox, &[&keep[..], &["--now"]].concat());
    assert_eq!(report["expired"], 15);
    let log = sandbox.ok(["op", "log", "--json"]).json();
    let numbers: Vec<_> = log["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [20, 19, 18, 17, 16]);
    assert!(sandbox.ok(["op", "log"]).stderr.contains("15 older operations expired"));
    assert!(sandbox.fails(20, ["op", "show", "3"]).contains("operation 3 has expired"));
    assert!(sandbox.fails(20, ["op", "restore", "0"]).contains("expired"));
    assert!(sandbox.fails(20, ["log", "--at-op", "2"]).contains("expired"));
    sandbox.ok(["log", "--at-op", "15"]);
    for _ in 0..5 {
        sandbox.ok(["undo"]);
    }
    assert!(sandbox.fails(1, ["undo"]).contains("nothing to undo"));
    sandbox.ok(["op", "restore", "15"]);
    for _ in 0..2 {
        sandbox.run(["redo"]);
    }
    sandbox.ok(["op", "restore", "20"]);
    assert_eq!(sandbox.read("f"), text(9, 50_000));
    verify(&sandbox);
}

/// A merge of `side` waits: `f` is in conflict, and `binary` comes along.
fn in_conflict() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("f", "base\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "side"]);
    sandbox.write("f", "theirs\n");
    sandbox.write("binary", noise(4, 100_000));
    sandbox.save("side");
    sandbox.ok(["switch", "main"]);
    sandbox.write("f", "ours\n");
    sandbox.save("ours");
    sandbox.fails(1, ["merge", "side"]);
    sandbox
}

/// Resolves the conflict; the id of the merge.
fn finish_merge(sandbox: &Sandbox) -> String {
    verify(sandbox);
    sandbox.write("f", "both\n");
    sandbox.ok(["add", "f"]);
    let id = sandbox.commit("merged");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
    id
}

#[test]
fn what_is_staged_and_what_waits_to_be_merged_stays() {
    let sandbox = in_conflict();
    sandbox.ok(["branch", "-D", "side"]);
    sandbox.write("staged", noise(5, 100_000));
    sandbox.ok(["add", "staged"]);
    gc_all(&sandbox, &["--now", "--thorough"]);
    finish_merge(&sandbox);
}

#[test]
fn what_a_killed_add_had_staged_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "base");
    sandbox.save("base");
    let log = sandbox.path(".digstore/operations");
    let before = std::fs::read(&log).unwrap();
    sandbox.write("staged", noise(5, 100_000));
    sandbox.ok(["add", "staged"]);
    // It was killed before its record was in the log: only the staging area knows.
    common::overwrite(&log, &before);
    // Nor did it come to note the tree of what is staged, which the last frame does.
    let staging = sandbox.path(".digstore/staging/log");
    let bytes = std::fs::read(&staging).unwrap();
    common::overwrite(&staging, &bytes[..bytes.len() - 1]);
    assert_eq!(sandbox.status(), ["A  staged"]);
    gc_all(&sandbox, &["--now", "--thorough"]);
    verify(&sandbox);
    let id = sandbox.commit("staged");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
}

#[test]
fn a_merge_that_was_undone_can_be_taken_up_again() {
    let sandbox = in_conflict();
    let waiting = sandbox.snapshot();
    sandbox.ok(["undo"]);
    gc(&sandbox, &["--now", "--thorough"]);
    sandbox.ok(["redo"]);
    assert_same(&waiting, &sandbox.snapshot());
    sandbox.ok(["branch", "-D", "side"]);
    // Only the state of the merge leads to the other side.
    gc_all(&sandbox, &["--now", "--thorough"]);
    let id = finish_merge(&sandbox);
    sandbox.ok(["get", &format!("f@{id}^2")]);
}
