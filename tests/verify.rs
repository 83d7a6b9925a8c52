//! `store verify`: what it reads, and what it names.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and damages files by any means"
)]

mod common;

use std::fs;

use common::{Sandbox, files_below, flip, noise, overwrite};
use rustix::fs::{Mode, chmod};

/// A repository with several packs of data, and one of them damaged in the middle.
fn with_damage() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    for number in 0..8 {
        sandbox.write(format!("f{number}"), noise(number, 900_000));
        sandbox.save("x");
    }
    let pack = sandbox.packs(1).pop().unwrap();
    let len = fs::metadata(&pack).unwrap().len() as usize;
    flip(&pack, len / 2);
    (sandbox, pack.file_stem().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn successive_samples_read_all_and_find_the_damage_once() {
    let (sandbox, pack) = with_damage();
    let whole = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    let (mut bytes, mut objects, mut found) = (0, 0, 0);
    let meta = sandbox.ok(["store", "verify", "--json"]).json();
    for turn in 1..=4 {
        let output = sandbox.run(["store", "verify", "--sample", "25%", "--json"]);
        let report = output.json();
        assert_eq!((&report["part"], &report["parts"]), (&turn.into(), &4.into()));
        bytes += report["bytes"].as_u64().unwrap() - meta["bytes"].as_u64().unwrap();
        objects += report["objects"].as_u64().unwrap() - meta["objects"].as_u64().unwrap();
        found += u32::from(output.code == 21 && output.text().contains(&pack));
    }
    assert_eq!(found, 1);
    assert_eq!(bytes, whole["bytes"].as_u64().unwrap() - meta["bytes"].as_u64().unwrap());
    assert_eq!(objects, whole["objects"].as_u64().unwrap() - meta["objects"].as_u64().unwrap());
    for bad in ["0", "101%", "x", "-1"] {
        sandbox.fails(2, ["store", "verify", &format!("--sample={bad}")]);
    }
    sandbox.fails(2, ["store", "verify", "--sample=3", "--data"]);
}

#[test]
fn a_sample_needs_no_right_to_write() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.save("x");
    // A file in the place of the directory in which files begin stops root as well.
    let tmp = sandbox.path(".digstore/tmp");
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "").unwrap();
    chmod(sandbox.path(".digstore"), Mode::from_raw_mode(0o500)).unwrap();
    sandbox.ok(["store", "verify", "--sample", "10%"]);
    chmod(sandbox.path(".digstore"), Mode::from_raw_mode(0o700)).unwrap();
    assert!(!sandbox.path(".digstore/verify-turn").exists());
}

#[test]
fn what_only_the_log_of_operations_names_is_checked() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 900_000));
    sandbox.ok(["add", "-A"]);
    let first = sandbox.packs(1).pop().unwrap();
    sandbox.write("a", noise(2, 900_000));
    sandbox.save("x");
    let sound = fs::read(&first).unwrap();
    flip(&first, 5000);
    let report = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    let affected = report["affected"].as_array().unwrap();
    assert!(!affected.is_empty());
    for affected in affected {
        assert_eq!((&affected["path"], &affected["commit"]), (&"a".into(), &().into()));
        assert!(affected["operation"].as_u64().unwrap() > 0);
    }
    assert!(!report["damaged"].as_array().unwrap().is_empty());
    overwrite(&first, &sound);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_damaged_directory_hides_no_other_and_a_damaged_ref_no_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("lost/a", "1");
    sandbox.save("first");
    let before = sandbox.packs(2);
    sandbox.write("other/b", noise(7, 900_000));
    sandbox.save("second");
    sandbox.ok(["branch", "side"]);
    // The tree of `lost` lies in the packs of the first commit alone.
    for pack in before {
        fs::remove_file(pack).unwrap();
    }
    let data = sandbox.packs(1).into_iter().find(|pack| fs::metadata(pack).unwrap().len() > 90_000);
    fs::remove_file(data.unwrap()).unwrap();
    fs::write(sandbox.path(".digstore/refs/heads/side"), "").unwrap();
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    for text in ["affected: 'lost' (commit", "affected: 'other/b' (commit", "heads/side"] {
        assert!(told.text().contains(text), "{text}: {}", told.text());
    }
}

#[test]
fn a_ref_that_is_gone_is_missed() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.save("x");
    sandbox.ok(["branch", "side"]);
    sandbox.ok(["branch", "gone"]);
    sandbox.ok(["branch", "-d", "gone"]);
    sandbox.write("a", "2");
    sandbox.save("y");
    sandbox.ok(["store", "verify"]);
    fs::remove_file(sandbox.path(".digstore/refs/heads/side")).unwrap();
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(told.text().contains("'heads/side' is missing"), "{told:?}");
}

#[test]
fn the_umask_opens_the_repository_to_nobody() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::bare();
    sandbox.write("a", noise(1, 9000));
    let mut shell = std::process::Command::new("sh");
    sandbox.surround(&mut shell);
    let script = "umask 000; \"$0\" init new && cd new && cp ../a . && \"$0\" add -A && \
                  \"$0\" commit -m x && \"$0\" tag v1 && \"$0\" store verify --sample 5%";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_digstore")]);
    common::Output::of(&mut shell).expect_code(0);
    let mut todo = vec![sandbox.path("new/.digstore")];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}", path.display());
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files += 1;
        }
    }
    assert!(files > 8);
}

/// One commit, and something staged that differs from it.
fn with_staged() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 9000));
    sandbox.write("b", "2");
    sandbox.save("x");
    sandbox.write("b", "3");
    sandbox.ok(["add", "-A"]);
    sandbox
}

/// Verification and repair name it, and the repair heals it.
fn named_and_healed(sandbox: &Sandbox, text: &str) {
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(told.text().contains(text), "{told:?}");
    let told = sandbox.run(["store", "repair"]).expect_code(21);
    assert!(told.text().contains("would restore: "), "{told:?}");
    sandbox.ok(["store", "repair", "--apply"]);
    sandbox.ok(["store", "verify", "--data"]);
    assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
}

#[test]
fn a_damaged_file_of_the_sparse_paths_is_named() {
    let sandbox = with_staged();
    sandbox.commit("y");
    sandbox.ok(["sparse", "set", "a"]);
    flip(&sandbox.path(".digstore/sparse"), 12);
    sandbox.fails(21, ["status"]);
    for args in [["store", "verify"], ["store", "repair"]] {
        let told = sandbox.run(args).expect_code(21);
        assert!(told.text().contains("'digstore sparse disable' writes it anew"), "{told:?}");
    }
    sandbox.ok(["sparse", "disable"]);
    sandbox.ok(["store", "verify"]);
    assert_eq!(sandbox.read("b"), b"3");
}

#[test]
fn a_log_of_the_staging_area_that_is_gone_is_missed() {
    let sandbox = with_staged();
    fs::remove_file(sandbox.path(".digstore/staging/log")).unwrap();
    assert!(sandbox.fails(21, ["status"]).contains("staging/log"));
    sandbox.fails(21, ["commit", "-m", "nothing"]);
    named_and_healed(&sandbox, "staging/log");
    assert_eq!(sandbox.status(), ["M  b"]);
}

#[test]
fn a_log_of_operations_that_is_gone_is_missed() {
    let sandbox = with_staged();
    fs::remove_file(sandbox.path(".digstore/operations")).unwrap();
    assert!(sandbox.fails(21, ["gc"]).contains("log of operations is missing"));
    named_and_healed(&sandbox, "'operations' is missing");
    sandbox.ok(["gc"]);
    assert_eq!(sandbox.status(), ["M  b"]);
}

#[test]
fn what_a_killed_command_did_is_not_forgotten_where_it_cannot_be_read() {
    let sandbox = with_staged();
    let moving = sandbox.path(".digstore/moving");
    fs::write(&moving, "DIGMOVE1 and nonsense").unwrap();
    for args in [&["gc", "--now"][..], &["add", "-A"], &["store", "reset-staging"]] {
        assert!(sandbox.fails(21, args).contains("store repair"));
    }
    named_and_healed(&sandbox, "'moving' is damaged");
    assert!(!moving.exists());
    let kept = fs::read(sandbox.path(".digstore/damaged/moving")).unwrap();
    assert_eq!(kept, b"DIGMOVE1 and nonsense");
    sandbox.ok(["gc", "--now"]);
}

#[test]
fn a_ref_in_the_place_of_another_is_named_and_taken_back() {
    let sandbox = with_staged();
    sandbox.ok(["branch", "side"]);
    sandbox.commit("y");
    sandbox.ok(["branch", "other"]);
    sandbox.ok(["store", "verify"]);
    let heads = sandbox.path(".digstore/refs/heads");
    let at_head = || sandbox.ok(["get", "HEAD:b"]).stdout;
    fs::copy(heads.join("side"), heads.join("main")).unwrap();
    assert_eq!(at_head(), b"2");
    assert!(sandbox.fails(21, ["gc", "--now"]).contains("'heads/main' is at"));
    named_and_healed(&sandbox, "'heads/main' is at");
    // Nothing moved by that, and the log has both.
    assert_eq!(at_head(), b"2");
    sandbox.ok(["undo"]);
    assert_eq!(at_head(), b"3");
    sandbox.ok(["store", "verify"]);
}

#[test]
fn a_ref_that_is_behind_a_killed_command_is_none_in_the_wrong_place() {
    let sandbox = with_staged();
    let main = sandbox.path(".digstore/refs/heads/main");
    let before = fs::read(&main).unwrap();
    sandbox.commit("y");
    let after = fs::read(&main).unwrap();
    overwrite(&main, &before);
    sandbox.ok(["store", "verify"]);
    sandbox.ok(["gc"]);
    sandbox.ok(["branch", "next"]);
    sandbox.ok(["store", "verify"]);
    assert_ne!(fs::read(&main).unwrap(), before);
    assert_ne!(before, after);
}

#[test]
fn the_paths_of_a_pack_that_cannot_be_opened_are_named_whether_an_index_covers_it_or_not() {
    let sandbox = Sandbox::new();
    for number in 0..9 {
        sandbox.write(format!("f{number}"), noise(number, 9000));
        sandbox.save("x");
    }
    assert!(!files_below(&sandbox.path(".digstore/index")).is_empty(), "no index covers them");
    let data = sandbox.packs(1);
    let is_data = |pack: &std::path::PathBuf| data.contains(pack);
    for pack in [sandbox.packs(1), sandbox.packs(2)].concat() {
        let sound = fs::read(&pack).unwrap();
        flip(&pack, sound.len() - 3);
        for args in [&["store", "verify", "--json"][..], &["store", "verify", "--data", "--json"]] {
            let report = sandbox.run(args).expect_code(21).json();
            let is_told = |what: &str| !report[what].as_array().unwrap().is_empty();
            // A commit that is gone holds no path that anybody could name.
            let is_commit = is_told("damaged") && !is_data(&pack);
            assert!(is_told("problems") && (is_told("affected") || is_commit), "{report}");
        }
        overwrite(&pack, &sound);
    }
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn beside_a_long_gc_it_waits() {
    let sandbox = with_staged();
    let readers = fs::File::open(sandbox.path(".digstore/readers")).unwrap();
    readers.lock().unwrap();
    for args in [&["store", "verify", "--data"][..], &["store", "repair"]] {
        let mut command = sandbox.command(args);
        command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_secs(4));
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        readers.unlock().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("waiting"));
        readers.lock().unwrap();
    }
    sandbox.fails(11, ["store", "repair", "--apply"]);
}

#[test]
fn staging_area_and_list_of_condemned_packs_are_healed_together() {
    for args in [&["store", "repair", "--apply"][..], &["store", "reset-staging"]] {
        let sandbox = with_staged();
        sandbox.ok(["branch", "gone"]);
        sandbox.ok(["switch", "gone"]);
        sandbox.commit("gone");
        sandbox.ok(["switch", "main"]);
        sandbox.ok(["branch", "-D", "gone"]);
        sandbox.ok(["config", "set", "gc.keep_days", "0"]);
        sandbox.ok(["config", "set", "gc.keep_operations", "0"]);
        sandbox.ok(["gc"]);
        overwrite(&sandbox.path(".digstore/condemned"), b"nonsense");
        overwrite(&sandbox.path(".digstore/staging/base"), b"nonsense");
        sandbox.fails(21, ["gc"]);
        sandbox.fails(21, ["add", "-A"]);
        sandbox.ok(args);
        if args[1] == "repair" {
            assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
        } else {
            sandbox.ok(["gc"]);
        }
        sandbox.ok(["store", "verify", "--data"]);
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["gc", "--now"]);
        sandbox.ok(["store", "verify", "--data"]);
    }
}

/// The packs that a command makes.
fn made_by(sandbox: &Sandbox, command: impl FnOnce()) -> Vec<std::path::PathBuf> {
    let packs = || files_below(&sandbox.path(".digstore/packs"));
    let before = packs();
    command();
    packs().into_iter().filter(|pack| !before.contains(pack)).collect()
}

/// `gc` does nothing where what it has to keep is damaged, and `store verify` names it.
fn each_is_missed(sandbox: &Sandbox, packs: &[std::path::PathBuf]) {
    assert!(!packs.is_empty());
    for pack in packs {
        let sound = fs::read(pack).unwrap();
        fs::remove_file(pack).unwrap();
        sandbox.fails(21, ["gc"]);
        for args in [&["store", "verify"][..], &["store", "verify", "--data"]] {
            sandbox.run(args).expect_code(21);
        }
        fs::write(pack, sound).unwrap();
    }
    sandbox.ok(["store", "verify", "--data"]);
    sandbox.ok(["gc"]);
}

#[test]
fn the_annotation_of_a_tag_that_is_deleted_is_checked() {
    let sandbox = with_staged();
    let packs = made_by(&sandbox, || {
        sandbox.ok(["tag", "-a", "v1", "-m", "why"]);
    });
    sandbox.ok(["tag", "-d", "v1"]);
    each_is_missed(&sandbox, &packs);
    sandbox.ok(["undo"]);
    assert!(sandbox.ok(["tag", "-n"]).text().contains("why"));
}

#[test]
fn what_a_sequence_that_waits_still_needs_is_checked() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "first\n");
    sandbox.save("first");
    sandbox.ok(["switch", "-c", "t"]);
    let packs = made_by(&sandbox, || {
        sandbox.write("a", "theirs\n");
        sandbox.save("theirs");
        sandbox.write("b", noise(1, 90_000));
        sandbox.save("theirs too");
    });
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    sandbox.fails(1, ["cherry-pick", "t~1", "t"]);
    sandbox.ok(["branch", "-D", "t"]);
    sandbox.ok(["branch", "other"]);
    sandbox.ok(["config", "set", "gc.keep_days", "0"]);
    sandbox.ok(["config", "set", "gc.keep_operations", "1"]);
    sandbox.ok(["gc"]);
    assert_eq!(sandbox.ok(["op", "log"]).text().lines().count(), 1);
    each_is_missed(&sandbox, &packs);
}

#[test]
fn a_condemned_pack_that_cannot_be_opened_is_named() {
    let sandbox = Sandbox::new();
    for number in 0..9 {
        sandbox.write(format!("f{number}"), noise(number, 9000));
        sandbox.save("x");
    }
    assert!(!files_below(&sandbox.path(".digstore/index")).is_empty(), "no index covers them");
    sandbox.ok(["config", "set", "gc.keep_days", "0"]);
    sandbox.ok(["config", "set", "gc.keep_operations", "1"]);
    let before = sandbox.packs(1);
    sandbox.ok(["reset", "--hard", "HEAD~8"]);
    sandbox.ok(["branch", "x"]);
    sandbox.ok(["gc"]);
    let condemned = sandbox.condemned();
    let pack = before.iter().find(|pack| condemned.contains(pack)).expect("none is condemned");
    let sound = fs::read(pack).unwrap();
    overwrite(pack, &sound[..sound.len() - 20]);
    sandbox.fails(21, ["gc"]);
    sandbox.run(["store", "verify", "--data"]).expect_code(21);
    sandbox.ok(["store", "repair", "--apply"]);
    sandbox.ok(["gc"]);
    sandbox.ok(["store", "verify", "--data"]);
}
