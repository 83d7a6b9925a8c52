//! `gc` where something is damaged, missing or in the way.

use std::path::PathBuf;
use std::process::Command;

use crate::common::{self, Output, Sandbox, assert_same, files_below, noise};
use crate::{FORGET, gc_all, holds, verify};

#[test]
fn damage_ends_it_before_anything_goes() {
    let sandbox = Sandbox::new();
    sandbox.write("d/f", noise(1, 100_000));
    sandbox.save("one");
    sandbox.write("d/f", noise(2, 100_000));
    sandbox.save("two");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let before = files_below(&sandbox.path(".digstore/packs"));
    let lost = sandbox.packs(2).into_iter().next().unwrap();
    let bytes = std::fs::read(&lost).unwrap();
    for pack in sandbox.packs(2) {
        common::flip(&pack, 100);
    }
    let args = [&["gc", "--now"], &FORGET[..]].concat();
    sandbox.fails(21, &args);
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    for pack in sandbox.packs(2) {
        common::flip(&pack, 100);
    }
    assert_eq!(std::fs::read(&lost).unwrap(), bytes);
    // A damaged list stops writers, not readers, and the next run makes a new one.
    sandbox.ok(&args);
    sandbox.ok(["reset", "--hard", "main"]);
    let list = sandbox.path(".digstore/condemned");
    common::overwrite(&list, b"nonsense");
    sandbox.ok(["get", "d/f"]);
    sandbox.write("new", "new");
    assert!(sandbox.fails(21, ["add", "-A"]).contains("digstore gc"));
    sandbox.ok(["gc"]);
    sandbox.ok(["add", "-A"]);
    verify(&sandbox);
}

/// The packs that a run made.
fn new_packs(sandbox: &Sandbox, run: impl FnOnce()) -> Vec<PathBuf> {
    let before = files_below(&sandbox.path(".digstore/packs"));
    run();
    let mut packs = files_below(&sandbox.path(".digstore/packs"));
    packs.retain(|pack| !before.contains(pack));
    packs
}

#[test]
fn a_pack_that_cannot_be_opened_keeps_everything() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 100_000));
    sandbox.save("kept");
    let metas = new_packs(&sandbox, || {
        sandbox.write("gone", noise(2, 100_000));
        sandbox.save("gone");
    });
    let metas: Vec<_> = metas.into_iter().filter(|pack| sandbox.packs(2).contains(pack)).collect();
    assert!(!metas.is_empty());
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let last = |pack: &PathBuf| pack.metadata().unwrap().len() as usize - 1;
    for pack in &metas {
        common::flip(pack, last(pack));
    }
    // A repair brings these trees back. They would count as stored, with chunks below them that are
    // gone.
    let before = files_below(&sandbox.path(".digstore/packs"));
    let log = std::fs::read(sandbox.path(".digstore/operations")).unwrap();
    for args in [&["--now"][..], &["--now", "-n"], &[]] {
        let error = sandbox.fails(21, [&["gc"], &FORGET[..], args].concat());
        assert!(error.contains("store repair"), "{error}");
    }
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    assert!(sandbox.fails(21, ["obliterate", "--yes", "kept"]).contains("store repair"));
    assert_eq!(std::fs::read(sandbox.path(".digstore/operations")).unwrap(), log);
    sandbox.ok(["store", "repair", "--apply"]);
    verify(&sandbox);
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
    assert!(holds(&sandbox, &noise(2, 64)).is_empty());
}

/// A history of so many commits, a file each.
fn long(commits: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..commits {
        sandbox.write("f", noise(number, 100));
        sandbox.save("x");
    }
    sandbox
}

#[test]
fn damage_that_the_index_hides_ends_it_before_anything_is_done() {
    let sandbox = long(8);
    let unused = new_packs(&sandbox, || {
        sandbox.write("unused", noise(99, 100));
        sandbox.save("unused");
    });
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    for number in 0..8 {
        sandbox.write("g", noise(1000 + number, 100));
        sandbox.save("x");
    }
    assert!(!files_below(&sandbox.path(".digstore/index")).is_empty());
    let file = std::fs::OpenOptions::new().write(true).open(&unused[0]).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    let before = files_below(&sandbox.path(".digstore/packs"));
    let operations = sandbox.ok(["op", "log"]).stdout;
    sandbox.fails(21, [&["gc", "--now"], &FORGET[..]].concat());
    sandbox.fails(21, ["obliterate", "--yes", "f"]);
    assert_eq!(sandbox.ok(["op", "log"]).stdout, operations);
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    sandbox.ok(["get", "f"]);
}

#[test]
fn any_number_of_packs_can_be_read_without_an_index() {
    let sandbox = long(110);
    assert!(files_below(&sandbox.path(".digstore/packs")).len() > 320);
    let limited = |args: &[&str]| {
        // Blocks are read through at most 128 of them; a repair opens the store twice.
        let script = "ulimit -n 300; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        sandbox.surround(&mut command);
        command.args(["-c", script, env!("CARGO_BIN_EXE_digstore")]).args(args);
        Output::of(&mut command).expect_code(0)
    };
    let index = sandbox.path(".digstore/index");
    for args in [
        &["status"][..],
        &["log"],
        &["store", "verify", "--data"],
        &["store", "repair", "--apply"],
        &["gc"],
        &["add", "-A"],
    ] {
        files_below(&index).iter().for_each(|part| sandbox.remove(part));
        limited(args);
    }
    assert_eq!(sandbox.ok(["log", "--oneline"]).text().lines().count(), 110);
}

#[test]
fn a_ref_that_is_damaged_or_missing_keeps_everything() {
    for is_missing in [true, false] {
        let sandbox = Sandbox::new();
        sandbox.write("kept", noise(1, 100_000));
        sandbox.save("kept");
        sandbox.ok(["switch", "-c", "side"]);
        sandbox.write("side", noise(2, 100_000));
        let side = sandbox.save("side");
        sandbox.ok(["switch", "main"]);
        let file = sandbox.path(".digstore/refs/heads/side");
        if is_missing {
            sandbox.remove(".digstore/refs/heads/side");
        } else {
            common::flip(&file, 20);
        }
        for args in [&["--now"][..], &["--now", "-n"], &[]] {
            sandbox.fails(21, [&["gc"], &FORGET[..], args].concat());
        }
        // Also the log is there, by which it comes back.
        sandbox.ok(["store", "repair", "--apply"]);
        gc_all(&sandbox, &["--now"]);
        verify(&sandbox);
        assert_eq!(sandbox.restored("side"), sandbox.restored(&side));
        assert_eq!(sandbox.restored("side").len(), 2);
    }
}

#[test]
fn what_was_copied_is_found_among_many_packs() {
    let sandbox = Sandbox::new();
    for number in 0..30 {
        sandbox.write(format!("f{}", number % 7), noise(number, 30_000));
        sandbox.save(&format!("c{number}"));
        if number % 3 == 2 {
            sandbox.ok(["reset", "--soft", "HEAD~1"]);
        }
        if number % 10 == 9 {
            let args: &[&str] = if number == 19 { &[] } else { &["--now", "--thorough"] };
            gc_all(&sandbox, args);
            verify(&sandbox);
        }
    }
    assert_same(&sandbox.snapshot(), &{
        sandbox.save("last");
        sandbox.restored("HEAD")
    });
}

#[test]
fn verify_knows_what_is_condemned_and_what_only_operations_need() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 100_000));
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 100_000));
    sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let found = sandbox.packs(1);
    let holds_it = |pack: &&PathBuf| {
        std::fs::read(pack).unwrap().windows(64).any(|bytes| bytes == noise(2, 64))
    };
    let pack = found.iter().find(holds_it).unwrap().clone();
    common::flip(&pack, 5000);
    let problems = sandbox.run(["store", "verify", "--data"]).expect_code(21);
    assert!(problems.text().contains("operation"), "{problems:?}");
    // What no operation needs either harms nobody.
    gc_all(&sandbox, &[]);
    verify(&sandbox);
}

/// Where the only merged index says that the objects of some packs are, the next such pack is said to
/// hold them, and the checksum is right.
fn lie(sandbox: &Sandbox, is_chosen: impl Fn(&str) -> bool) {
    let index = files_below(&sandbox.path(".digstore/index")).pop().unwrap();
    let mut bytes = std::fs::read(&index).unwrap();
    let packs = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
    let hex = |id: &[u8]| id.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let ids = bytes[48..].chunks_exact(32).take(packs).map(hex);
    let chosen: Vec<u32> =
        (0..).zip(ids).filter(|(_, id)| is_chosen(id)).map(|(number, _)| number).collect();
    let end = bytes.len() - 8;
    for record in bytes[48 + 32 * packs..end].chunks_exact_mut(48) {
        let pack = u32::from_le_bytes(record[32..36].try_into().unwrap());
        if let Some(at) = chosen.iter().position(|number| *number == pack) {
            record[32..36].copy_from_slice(&chosen[(at + 1) % chosen.len()].to_le_bytes());
        }
    }
    let sum = digstore::storage::format::bytes::checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    common::overwrite(&index, &bytes);
}

#[test]
fn an_index_that_lies_is_not_believed() {
    for only_data in [false, true] {
        let sandbox = Sandbox::new();
        for number in 0..20 {
            sandbox.write("f", noise(number, 30_000));
            sandbox.save(&format!("c{number}"));
        }
        let data = sandbox.packs(1);
        // Trees and commits are read; of chunks only the footers tell where they are.
        let is_data = |id: &str| data.iter().any(|path| path.to_string_lossy().contains(id));
        lie(&sandbox, |id| !only_data || is_data(id));
        gc_all(&sandbox, &["--now"]);
        verify(&sandbox);
        sandbox.ok(["get", "f"]);
    }
}

/// As `gc` does while it removes packs, for longer than anybody waits.
#[test]
fn who_did_not_see_what_went_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", "kept");
    sandbox.save("kept");
    sandbox.write("new", "new");
    let readers = std::fs::File::open(sandbox.path(".digstore/readers")).unwrap();
    readers.lock().unwrap();
    sandbox.ok(["get", "kept"]);
    sandbox.fails(11, ["add", "-A"]);
    sandbox.fails(11, ["branch", "side"]);
    assert!(sandbox.fails(11, ["gc", "--now"]).contains("another digstore command"));
    readers.unlock().unwrap();
    // A repository of an older release has no such file; what needs two locks makes it once.
    sandbox.remove(".digstore/readers");
    sandbox.ok(["get", "kept"]);
    sandbox.ok(["add", "-A"]);
    sandbox.remove(".digstore/readers");
    sandbox.ok(["obliterate", "--yes", "kept"]);
    assert!(sandbox.path(".digstore/readers").exists());
    sandbox.ok(["gc", "--now"]);
    verify(&sandbox);
}

#[test]
fn another_command_keeps_it_out() {
    let sandbox = Sandbox::new();
    let lock =
        std::fs::OpenOptions::new().write(true).open(sandbox.path(".digstore/lock")).unwrap();
    lock.lock().unwrap();
    let error = sandbox.fails(11, ["gc"]);
    assert!(error.contains("another digstore command"), "{error}");
    drop(lock);
    sandbox.ok(["gc"]);
}
