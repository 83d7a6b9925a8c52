//! Others who change the work tree at the worst moment.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::common::{Sandbox, assert_same, noise, snapshot, while_changing};
use crate::{below, dice, setting};

/// Two branches that differ in every file of `d` and `d/e`.
fn with_branches() -> Sandbox {
    let sandbox = Sandbox::new();
    for (branch, seed) in [("main", 1), ("other", 2)] {
        if branch == "other" {
            sandbox.ok(["switch", "-c", "other"]);
        }
        for number in 0..30 {
            sandbox.write(format!("d/{number}"), noise(seed * 100 + number, 500));
            sandbox.write(format!("d/e/{number}"), noise(seed * 100 + number, 500));
        }
        sandbox.write(format!("d/only-{branch}"), "x");
        sandbox.save(branch);
    }
    let outside = sandbox.beside("outside");
    fs::create_dir_all(outside.join("e")).unwrap();
    for name in ["0", "1", "e/0", "only-main", "only-other", "precious"] {
        fs::write(outside.join(name), "untouched").unwrap();
    }
    symlink(&outside, sandbox.beside("swap")).unwrap();
    sandbox
}

#[test]
fn a_directory_that_becomes_a_link_lets_nothing_out() {
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_SWAPS", 40);
    let sandbox = with_branches();
    let (link, dir) = (sandbox.beside("swap"), sandbox.path("d"));
    let outside = snapshot(&sandbox.beside("outside"));
    let mut swaps = 0;
    for round in 0..target {
        let args: &[&str] = match below(&mut dice, 6) {
            0 => &["restore", "-s", "main", "."],
            1 => &["restore", "-s", "other", "d"],
            2 => &["reset", "--hard", ["main", "other"][(round % 2) as usize]],
            3 => &["clean", "-f", "-d"],
            4 => &["rm", "-r", "-f", "d"],
            _ => &["switch", "-f", ["main", "other"][(round % 2) as usize]],
        };
        let exchange = |_| {
            let _ = renameat_with(CWD, &link, CWD, &dir, RenameFlags::EXCHANGE);
        };
        swaps += while_changing(exchange, || {
            let output = sandbox.run(args);
            assert!(
                !output.stderr.contains("panicked") && output.code >= 0,
                "{args:?}: {output:#?}"
            );
        });
        assert_same(&outside, &snapshot(&sandbox.beside("outside")));
        // The link is where it was, and the directory is there again.
        if fs::symlink_metadata(&dir).is_ok_and(|metadata| metadata.is_symlink()) {
            exchange(0);
        }
        if fs::symlink_metadata(&link).is_err() {
            symlink(sandbox.beside("outside"), &link).unwrap();
        }
        if !dir.exists() {
            sandbox.run(["reset", "--hard"]).expect_code(0);
        }
    }
    sandbox.ok(["store", "verify", "--data"]);
    println!("rig: directories that become links: runs={target} swaps={swaps} seed={seed}");
}

#[test]
fn a_file_cut_short_while_it_is_added_is_whole_or_left_out() {
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_TRUNCATIONS", 20);
    let sandbox = Sandbox::new();
    let (mut cuts, mut left_out) = (0, 0);
    for round in 0..target {
        let bytes = noise(dice.roll(), 3 << 20);
        sandbox.write("f", &bytes);
        let file = fs::OpenOptions::new().write(true).open(sandbox.path("f")).unwrap();
        let lengths: Vec<u64> = (0..16).map(|_| dice.roll() % (3 << 20)).collect();
        cuts += while_changing(
            |number| {
                file.set_len(lengths[number as usize % lengths.len()]).unwrap();
                std::thread::yield_now();
            },
            || {
                let output = sandbox.run(["add", "-A"]);
                assert!(matches!(output.code, 0 | 3), "{output:#?}");
                left_out += u64::from(output.code == 3);
            },
        );
        // Bytes behind a cut are zeros when the file grows again; those before it are the file's.
        let stored = sandbox.run(["get", "f"]);
        if stored.code == 0 {
            let is_sound = |(at, byte): (usize, &u8)| *byte == 0 || *byte == bytes[at];
            assert!(stored.stdout.iter().enumerate().all(is_sound), "round {round}: foreign bytes");
        }
        sandbox.run(["rm", "--cached", "f"]);
    }
    sandbox.ok(["store", "verify", "--data"]);
    println!("rig: files cut short: runs={target} cuts={cuts} left-out={left_out} seed={seed}");
}
