//! `store repair`: what is damaged comes back where something else holds it, and nothing is lost by it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and damages files by any means"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Sandbox, assert_same, files_below, flip, noise, overwrite, text};

/// Two commits, a branch, an annotated tag, something staged, in several packs.
fn fixture() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(1, 3_000_000));
    sandbox.write("dir/a", text(2, 4000));
    sandbox.save("first");
    sandbox.write("other", noise(3, 900_000));
    sandbox.save("second");
    sandbox.ok(["branch", "side"]);
    sandbox.ok(["tag", "v1", "-m", "one"]);
    sandbox.write("staged", text(4, 3000));
    sandbox.ok(["add", "-A"]);
    sandbox
}

fn stored(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.path(".digstore").join(name)
}

/// A dry run changes nothing and tells; the repair restores all, and keeps the damaged bytes.
fn heals(sandbox: &Sandbox, file: &Path) {
    let damaged = fs::read(file).ok();
    let before = common::snapshot(&sandbox.path(".digstore"));
    let told = sandbox.run(["store", "repair"]).expect_code(21);
    assert!(told.text().contains("would restore: "), "{told:?}");
    assert_same(&before, &common::snapshot(&sandbox.path(".digstore")));
    let done = sandbox.run(["store", "repair", "--apply"]);
    assert_eq!(done.code, 0, "{}: {done:?}", file.display());
    let below = file.strip_prefix(sandbox.path(".digstore")).unwrap();
    if let Some(damaged) = damaged.filter(|_| !below.starts_with("index")) {
        let kept = files_below(&stored(sandbox, "damaged"));
        let is_kept = |path: &PathBuf| fs::read(path).unwrap() == damaged;
        assert!(kept.iter().any(is_kept), "{}: {kept:?}", below.display());
    }
    sandbox.ok(["store", "verify", "--data"]);
    assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
    assert_same(
        &sandbox.restored("HEAD"),
        &common::without_leftovers({
            let mut tree = sandbox.snapshot();
            tree.remove(std::ffi::OsStr::new("staged"));
            tree
        }),
    );
    assert_eq!(sandbox.status(), ["A  staged"]);
    for revision in ["side", "v1"] {
        sandbox.ok(["log", revision]);
    }
}

#[test]
fn refs_and_head_come_back_from_the_log_of_operations() {
    for name in ["refs/heads/main", "refs/heads/side", "refs/tags/v1", "HEAD"] {
        let sandbox = fixture();
        let file = stored(&sandbox, name);
        let sound = fs::read(&file).unwrap();
        for damaged in [Some(&sound[..0]), Some(&sound[..9]), None] {
            match damaged {
                Some(bytes) => overwrite(&file, bytes),
                None => fs::remove_file(&file).unwrap(),
            }
            heals(&sandbox, &file);
        }
    }
}

#[test]
fn header_footer_and_trailer_of_packs_come_back_from_their_frames() {
    let sandbox = fixture();
    for kind in [1, 2] {
        for pack in sandbox.packs(kind) {
            let sound = fs::read(&pack).unwrap();
            for offset in [3, 30, sound.len() - 3, sound.len() - 100] {
                flip(&pack, offset);
                heals(&sandbox, &pack);
                assert!(fs::read(&pack).unwrap() == sound, "the pack came back as it was");
            }
            overwrite(&pack, &sound[..sound.len() - 20]);
            heals(&sandbox, &pack);
        }
    }
}

#[test]
fn damaged_chunks_come_back_from_the_work_tree() {
    let sandbox = fixture();
    for pack in sandbox.packs(1) {
        let len = fs::metadata(&pack).unwrap().len() as usize;
        flip(&pack, len / 3);
        heals(&sandbox, &pack);
        assert!(!pack.exists());
    }
    for pack in sandbox.packs(1) {
        let sound = fs::read(&pack).unwrap();
        overwrite(&pack, &sound[..sound.len() / 2]);
        heals(&sandbox, &pack);
    }
}

#[test]
fn the_index_comes_back_from_the_packs() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write(format!("f{number}"), text(number, 4000));
        sandbox.save("x");
    }
    sandbox.write("staged", "1");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["branch", "side"]);
    sandbox.ok(["branch", "v1"]);
    let index = files_below(&stored(&sandbox, "index")).pop().unwrap();
    let len = fs::metadata(&index).unwrap().len() as usize;
    flip(&index, len / 2);
    heals(&sandbox, &index);
}

#[test]
fn the_staging_area_comes_back_from_the_last_operation() {
    for name in ["staging/base", "staging/log"] {
        let sandbox = fixture();
        let file = stored(&sandbox, name);
        flip(&file, 20);
        heals(&sandbox, &file);
    }
    let sandbox = fixture();
    fs::remove_file(stored(&sandbox, "staging/base")).unwrap();
    heals(&sandbox, &stored(&sandbox, "staging/base"));
}

#[test]
fn a_file_that_is_longer_than_any_of_its_kind_is_damaged() {
    for name in ["HEAD", "refs/heads/main", "moving"] {
        let sandbox = fixture();
        let file = stored(&sandbox, name);
        let sound = fs::read(&file).unwrap_or_default();
        overwrite(&file, &[sound, vec![b' '; 100_000]].concat());
        heals(&sandbox, &file);
    }
}

/// Twenty files in each of two directories, of which `q` did not change since the first commit, with the
/// pack lost or cut that holds the tree of `q`.
fn without_a_tree(cut: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write(format!("p/{number}"), text(number, 300));
        sandbox.write(format!("q/{number}"), text(100 + number, 300));
    }
    sandbox.ok(["add", "-A"]);
    let trees = sandbox.packs(2);
    sandbox.commit("one");
    sandbox.write("p/z", "z");
    sandbox.save("two");
    for pack in trees {
        if cut {
            let bytes = fs::read(&pack).unwrap();
            overwrite(&pack, &bytes[..bytes.len() - 100]);
        } else {
            fs::remove_file(pack).unwrap();
        }
    }
    sandbox
}

#[test]
fn lost_trees_of_what_is_staged_come_back_from_the_staging_area() {
    let sandbox = without_a_tree(false);
    sandbox.fails(21, ["restore", "-s", "HEAD", "--target", "../before"]);
    let told = sandbox.run(["store", "repair"]).expect_code(21);
    assert!(told.text().contains("would restore: trees of what is staged"), "{told:?}");
    // The tree of the first commit is staged nowhere.
    sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
    assert!(!sandbox.run(["store", "repair"]).text().contains("trees of what is staged"));
}

#[test]
fn a_commit_beside_a_lost_tree_can_be_restored() {
    for cut in [false, true] {
        let sandbox = without_a_tree(cut);
        sandbox.write("p/n", "n");
        sandbox.save("three");
        assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
    }
}

#[test]
fn a_damaged_log_of_operations_keeps_its_sound_records() {
    let sandbox = fixture();
    let file = stored(&sandbox, "operations");
    let before = sandbox.ok(["op", "log", "--json"]).json();
    let count = before["operations"].as_array().unwrap().len();
    let len = fs::metadata(&file).unwrap().len() as usize;
    flip(&file, len / 2);
    heals(&sandbox, &file);
    let after = sandbox.ok(["op", "log", "--json"]).json();
    assert_eq!(after["operations"].as_array().unwrap().len(), count - 1);
    sandbox.ok(["undo"]);
    flip(&file, 2);
    sandbox.run(["store", "repair", "--apply"]).expect_code(0);
    sandbox.ok(["redo"]);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_is_lost_is_named_and_the_rest_of_its_pack_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("there", noise(1, 900_000));
    for number in 0..8 {
        sandbox.write(format!("kept{number}"), noise(10 + number, 900_000));
    }
    // One worker stores them in the order of their names.
    sandbox.ok(["--config", "performance.max_worker_threads=1", "add", "-A"]);
    sandbox.commit("x");
    for number in 0..8 {
        sandbox.remove(format!("kept{number}"));
    }
    let mut damaged = 0;
    for pack in sandbox.packs(1) {
        let len = fs::metadata(&pack).unwrap().len() as usize;
        if len > 1_000_000 {
            [len / 2, len - 500_000].into_iter().for_each(|at| flip(&pack, at));
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let before = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    let done = sandbox.run(["store", "repair", "--apply", "--json"]).expect_code(21).json();
    let paths = |report: &serde_json::Value| -> Vec<String> {
        let affected = report["affected"].as_array().unwrap();
        affected.iter().map(|path| path["path"].to_string()).collect()
    };
    // What lies in the work tree still came back.
    let mut gone = paths(&before);
    assert!(gone.contains(&"\"there\"".to_owned()), "{gone:?}");
    gone.retain(|path| path != "\"there\"");
    assert_eq!(gone, paths(&done));
    let lost = paths(&done);
    assert!((1..8).contains(&lost.len()), "{lost:?}");
    for number in 0..8 {
        let name = format!("kept{number}");
        let code = if lost.contains(&format!("\"{name}\"")) { 21 } else { 0 };
        let got = sandbox.run(["get", &name]).expect_code(code);
        assert!(noise(10 + number, 900_000).starts_with(&got.stdout));
    }
}

#[test]
fn a_ref_that_is_gone_since_the_last_command_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a");
    sandbox.save("only");
    let id = sandbox.ok(["log", "--json"]).stdout;
    fs::remove_file(stored(&sandbox, "refs/heads/main")).unwrap();
    sandbox.ok(["store", "repair", "--apply"]);
    assert_eq!(sandbox.ok(["log", "--json"]).stdout, id);
    sandbox.ok(["store", "verify", "--data"]);
}

const FORGET: [&str; 4] = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=0"];

fn gc(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    sandbox.ok([&["gc", "--json"], &FORGET[..], args].concat()).json()
}

#[test]
fn what_is_left_of_a_condemned_pack_stays_condemned() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 100_000));
    sandbox.save("kept");
    for number in 0..300 {
        sandbox.write(format!("gone/{number}"), noise(1000 + number, 10_000));
    }
    sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    assert!(gc(&sandbox, &[])["condemned"].as_u64().unwrap() > 1);
    let condemned = || sandbox.condemned();
    let (all, before) = (files_below(&stored(&sandbox, "packs")), condemned());
    for pack in &before {
        flip(pack, 100);
    }
    let repaired = sandbox.run(["store", "repair", "--apply"]);
    assert!(repaired.text().contains("sound objects of it; "), "{repaired:?}");
    let mut made = files_below(&stored(&sandbox, "packs"));
    made.retain(|pack| !all.contains(pack));
    assert!(!made.is_empty(), "no sound frame was left");
    assert!(made.iter().all(|pack| condemned().contains(pack)), "{made:?}");
    sandbox.ok(["store", "verify", "--data"]);
    let aside = common::snapshot(&stored(&sandbox, "damaged"));
    assert!(!aside.is_empty());
    gc(&sandbox, &["--now", "--thorough"]);
    assert!(condemned().is_empty());
    // What was put aside is for people to look at.
    assert_same(&aside, &common::snapshot(&stored(&sandbox, "damaged")));
    let warned = sandbox.ok(["obliterate", "--yes", "kept"]);
    assert!(warned.stderr.contains("put aside"), "{warned:?}");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_damaged_list_of_condemned_packs_keeps_no_repair_out() {
    let sandbox = fixture();
    sandbox.write("gone", noise(9, 300_000));
    sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    assert!(gc(&sandbox, &[])["condemned"].as_u64().unwrap() > 0);
    overwrite(&stored(&sandbox, "condemned"), b"nonsense");
    let pack = sandbox.packs(1).into_iter().next().unwrap();
    flip(&pack, fs::metadata(&pack).unwrap().len() as usize - 3);
    sandbox.fails(21, ["gc"]);
    let repaired = sandbox.ok(["store", "repair", "--apply"]);
    assert!(repaired.text().contains("restored: condemned from what is in use"), "{repaired:?}");
    assert!(stored(&sandbox, "damaged/condemned").exists());
    assert!(gc(&sandbox, &[])["condemned"].as_u64().unwrap() > 0);
    gc(&sandbox, &["--now"]);
    sandbox.ok(["store", "verify", "--data"]);
    assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
}

/// Files that lie in one block, stored as they are, and not in the work tree.
fn in_one_block(count: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    (0..count).for_each(|number| sandbox.write(format!("f{number}"), noise(number, 20_000)));
    sandbox.save("x");
    (0..count).for_each(|number| sandbox.remove(format!("f{number}")));
    sandbox
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

#[test]
fn a_damaged_frame_gives_up_nothing_that_could_be_read() {
    let sandbox = in_one_block(3);
    let log = sandbox.ok(["log", "--json"]).stdout;
    for pack in [sandbox.packs(1), sandbox.packs(2)].concat() {
        let sound = fs::read(&pack).unwrap();
        // In the magic, the sizes, the sums and the table of the first frame.
        for offset in [41, 60, 70, 80, 88] {
            flip(&pack, offset);
            let found = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
            assert_eq!(found["affected"].as_array().unwrap().len(), 0, "{found}");
            sandbox.run(["store", "repair", "--apply"]).expect_code(0);
            assert!(fs::read(&pack).unwrap() == sound, "{offset} of {}", pack.display());
        }
    }
    assert_eq!(sandbox.ok(["log", "--json"]).stdout, log);
    for number in 0..3 {
        assert_eq!(sandbox.ok(["get", &format!("f{number}")]).stdout, noise(number, 20_000));
    }
}

#[test]
fn of_a_damaged_block_only_the_damaged_chunk_is_named_and_lost() {
    let sandbox = in_one_block(8);
    let pack = sandbox.packs(1).remove(0);
    flip(&pack, position(&fs::read(&pack).unwrap(), &noise(5, 20_000)) + 7000);
    let paths = |report: &serde_json::Value| -> Vec<String> {
        let affected = report["affected"].as_array().unwrap().iter();
        let paths = affected.map(|path| path["path"].as_str().unwrap().to_owned());
        paths.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let found = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    assert_eq!(paths(&found), ["f5"]);
    let left = sandbox.run(["store", "repair", "--apply", "--json"]).expect_code(21).json();
    assert_eq!(paths(&left), ["f5"]);
    for number in 0..8 {
        let name = format!("f{number}");
        let got = sandbox.run(["get", &name]).expect_code(if number == 5 { 21 } else { 0 });
        assert!(number == 5 || got.stdout == noise(number, 20_000), "{name}");
    }
}

#[test]
fn the_kind_of_a_pack_is_not_that_of_a_pack_in_a_stored_file() {
    let other = in_one_block(1);
    let trees: Vec<Vec<u8>> = other.packs(2).iter().map(|pack| fs::read(pack).unwrap()).collect();
    let sandbox = Sandbox::new();
    // Before noise, so that it is stored as it is.
    let stored = [trees.concat(), noise(1, 20_000)].concat();
    sandbox.write("a", &stored);
    (0..3).for_each(|number| sandbox.write(format!("f{number}"), noise(10 + number, 20_000)));
    sandbox.save("x");
    ["a", "f0", "f1", "f2"].iter().for_each(|name| sandbox.remove(name));
    let pack = sandbox.packs(1).remove(0);
    let sound = fs::read(&pack).unwrap();
    assert!(position(&sound, &stored) < 150, "it lies in the first frame");
    let mut bytes = sound.clone();
    bytes[..88].fill(0);
    overwrite(&pack, &bytes);
    sandbox.run(["store", "repair", "--apply"]).expect_code(0);
    assert!(fs::read(&pack).unwrap() == sound);
    assert_eq!(sandbox.ok(["get", "f2"]).stdout, noise(12, 20_000));
}

#[test]
fn where_nothing_staged_can_be_read_that_is_said() {
    let sandbox = without_a_tree(false);
    for name in ["staging/base", "staging/log"] {
        overwrite(&stored(&sandbox, name), b"nonsense");
    }
    let done = sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    assert!(done.text().contains("restored: staging from nothing that could be read"), "{done:?}");
    // As it says.
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "--allow-empty", "-m", "three"]);
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
}

#[test]
fn a_damaged_list_of_condemned_packs_beside_a_loss_keeps_nobody_out() {
    let sandbox = Sandbox::new();
    let write = |seed| sandbox.write("old", noise(seed, 200_000));
    write(1);
    sandbox.ok(["add", "-A"]);
    let lost = sandbox.packs(1).pop().unwrap();
    sandbox.save("one");
    write(2);
    sandbox.save("two");
    sandbox.write("gone", noise(9, 300_000));
    sandbox.save("three");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    assert!(gc(&sandbox, &[])["condemned"].as_u64().unwrap() > 0);
    fs::remove_file(lost).unwrap();
    overwrite(&stored(&sandbox, "condemned"), b"nonsense");
    sandbox.fails(21, ["branch", "x"]);
    let done = sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    assert!(done.text().contains("restored: condemned from nothing"), "{done:?}");
    // Nothing that is stored from now on relies on what was: it may be gone.
    let before = sandbox.packs(1).len();
    sandbox.write("again", noise(9, 300_000));
    sandbox.save("four");
    assert!(sandbox.packs(1).len() > before);
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
    // What history has lost goes out of it, and all is as it was.
    sandbox.ok(["obliterate", "--yes", "old"]);
    sandbox.remove("old");
    gc(&sandbox, &["--now", "--thorough"]);
    sandbox.ok(["store", "verify", "--data"]);
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
}

#[test]
fn a_merge_whose_state_is_lost_is_ended_by_an_undo() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "first\n");
    sandbox.save("first");
    sandbox.ok(["switch", "-c", "t"]);
    sandbox.write("a", "theirs\n");
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    sandbox.fails(1, ["merge", "t"]);
    let is_state =
        |pack: &PathBuf| fs::read(pack).unwrap().windows(8).any(|window| window == b"DIGMERG1");
    let pack = sandbox.packs(1).into_iter().find(is_state).unwrap();
    fs::remove_file(pack).unwrap();
    let said = sandbox.fails(21, ["status"]);
    assert!(said.contains("the state of the merge that waits is lost"), "{said}");
    assert!(said.contains("digstore undo"), "{said}");
    sandbox.ok(["undo"]);
    assert_eq!(fs::read(sandbox.path("a")).unwrap(), b"ours\n");
    sandbox.ok(["status"]);
}

/// A repair that did not come to its end has kept the damaged pack.
#[test]
fn a_repair_that_is_run_again_keeps_one_copy() {
    let sandbox = fixture();
    let pack = sandbox.packs(1).pop().unwrap();
    let sound = fs::read(&pack).unwrap();
    let aside = || files_below(&stored(&sandbox, "damaged")).len();
    for (byte, copies) in [(10, 1), (10, 1), (11, 2)] {
        overwrite(&pack, &sound);
        flip(&pack, byte);
        let done = sandbox.ok(["store", "repair", "--apply"]);
        assert!(done.text().contains("damaged/"), "{done:?}");
        assert_eq!(aside(), copies);
    }
}
