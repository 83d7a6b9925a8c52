//! `store verify`: what it reads, and what it names.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and damages files by any means"
)]

mod common;

use std::fs;

use common::{Sandbox, flip, noise, overwrite};
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
