//! Very many files, and a work tree that changes while it is read.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files by any means, and a failed helper fails the test"
)]

mod common;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Dice, Output, Sandbox, assert_same, noise};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Pid, Signal, kill_process};

/// Makes the rounds of `add` as small as they get: about 250 files.
const SMALL_ROUNDS: (&str, &str) = ("DIGSTORE_PERFORMANCE_FILE_CACHE_SIZE", "0");

fn add_in_small_rounds(sandbox: &Sandbox) -> Output {
    let mut command = sandbox.command(["add", "-A", "--json"]);
    Output::of(command.env(SMALL_ROUNDS.0, SMALL_ROUNDS.1))
}

/// Writes `count` small files, a hundred in each directory.
fn write_many(sandbox: &Sandbox, count: usize) {
    for number in 0..count {
        let file = format!("d{:03}/sample-{number:06}", number / 100);
        sandbox.write(file, format!("sample {number}"));
    }
}

fn staged_count(sandbox: &Sandbox) -> usize {
    sandbox.ok(["ls"]).text().lines().count()
}

fn tree_of_head(sandbox: &Sandbox) -> String {
    sandbox.ok(["log", "--json"]).json()["commits"][0]["tree"].as_str().unwrap().to_owned()
}

/// Kills a running `add` as soon as it has staged something; answers whether that was in time.
fn kill_between_rounds(sandbox: &Sandbox) -> bool {
    let log = sandbox.path(".digstore/staging/log");
    let before = fs::metadata(&log).unwrap().len();
    let mut command = sandbox.command(["add", "-A"]);
    command.env(SMALL_ROUNDS.0, SMALL_ROUNDS.1).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = command.spawn().unwrap();
    // Its first frame may only say which tree is staged.
    while fs::metadata(&log).unwrap().len() < before + 1000 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(100));
    }
    // It may have ended by itself.
    let _ = kill_process(Pid::from_child(&child), Signal::KILL);
    child.wait().unwrap().signal().is_some()
}

#[test]
fn an_add_that_is_killed_between_rounds_goes_on_from_there() {
    const FILES: usize = 4000;
    let sandbox = Sandbox::new();
    write_many(&sandbox, FILES);
    assert!(kill_between_rounds(&sandbox), "the add ended before it could be killed");
    let staged = staged_count(&sandbox);
    assert!(0 < staged && staged < FILES, "{staged} of {FILES}");
    sandbox.ok(["store", "verify", "--data"]);
    assert_eq!(sandbox.status().iter().filter(|line| line.starts_with("A ")).count(), staged);
    let output = add_in_small_rounds(&sandbox).expect_code(0).json();
    assert_eq!(output["added"].as_array().unwrap().len(), FILES - staged);
    let read = output["metrics"]["files_processed"].as_u64().unwrap();
    // Files that were written within a tick of the clock before are read once more.
    assert!(read >= (FILES - staged) as u64 && read < FILES as u64, "{read} files were read");
    sandbox.commit("x");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn deletions_wait_for_the_end_of_the_walk() {
    let sandbox = Sandbox::new();
    write_many(&sandbox, 4000);
    sandbox.save("x");
    for number in 0..40 {
        sandbox.remove(format!("d{number:03}/sample-{:06}", number * 100));
    }
    for number in 0..4000 {
        if number % 100 != 0 {
            sandbox.append(format!("d{:03}/sample-{number:06}", number / 100), "more");
        }
    }
    assert!(kill_between_rounds(&sandbox), "the add ended before it could be killed");
    let status = sandbox.status();
    let of = |letters: &str| status.iter().filter(|line| line.starts_with(letters)).count();
    assert_eq!((of("D "), of(" D")), (0, 40));
    assert!(of("M ") > 0 && of(" M") > 0, "{} {}", of("M "), of(" M"));
    let output = add_in_small_rounds(&sandbox).expect_code(0).json();
    assert_eq!(output["deleted"].as_array().unwrap().len(), 40);
    sandbox.commit("y");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

/// Edits of every kind to a tree of [`write_many`].
fn edit_a_lot(sandbox: &Sandbox) {
    for number in 0..900 {
        let path = format!("d{:03}/sample-{:06}", number % 20, number % 20 * 100 + number / 20);
        match number % 9 {
            0 => sandbox.remove(&path),
            1 => sandbox.write(&path, format!("changed {number}")),
            2 => {
                sandbox.remove(&path);
                sandbox.link(&path, "d000");
            }
            3 => {
                sandbox.remove(&path);
                sandbox.write(format!("{path}/inner"), "now a directory");
            }
            4 => {
                sandbox.remove(&path);
                sandbox.mkdir(&path);
            }
            5 => sandbox.write(format!("{path}.new"), "new"),
            _ => {}
        }
    }
    sandbox.remove("d019");
    sandbox.write("d019", "now a file");
    sandbox.remove("d018");
}

#[test]
fn small_rounds_stage_what_one_round_stages() {
    let sandboxes = [Sandbox::new(), Sandbox::new()];
    for sandbox in &sandboxes {
        write_many(sandbox, 2000);
    }
    let [in_one, in_many] = &sandboxes;
    let mut reports = Vec::new();
    for turn in 0..3 {
        let one = in_one.ok(["add", "-A", "--json"]).json();
        let many = add_in_small_rounds(in_many).expect_code(0).json();
        for key in ["added", "modified", "deleted", "files_seen"] {
            assert_eq!(one[key], many[key], "{key} in turn {turn}");
        }
        for sandbox in &sandboxes {
            assert_eq!(staged_count(sandbox), staged_count(in_one));
            sandbox.commit("x");
            assert!(sandbox.status().is_empty());
            assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
            match turn {
                0 => edit_a_lot(sandbox),
                _ => sandbox.write("d000/sample-000001", "last"),
            }
        }
        assert_eq!(tree_of_head(in_one), tree_of_head(in_many));
        reports.push(one);
    }
    assert!(reports[1]["deleted"].as_array().unwrap().len() > 200);
}

/// Makes, removes and replaces files, links and directories at random until told to stop.
fn churn(root: &Path, seed: u64, done: &AtomicBool) {
    let mut dice = Dice::new(seed);
    while !done.load(Ordering::Relaxed) {
        let dir = root.join(format!("c{}", dice.roll() % 6));
        let path = dir.join(format!("e{}", dice.roll() % 8));
        // Each may fail, because another thread was quicker.
        let _ = match dice.roll() % 8 {
            0 => fs::create_dir_all(&path),
            1 => fs::remove_dir_all(&path),
            2 => fs::remove_dir_all(&dir),
            3 => fs::create_dir(&dir).and_then(|()| fs::write(dir.join("x"), "x")),
            4 => std::os::unix::fs::symlink("nowhere", &path),
            5 => fs::rename(&path, dir.join("moved")),
            6 => fs::write(&dir, "a file in the place of a directory"),
            _ => fs::write(&path, noise(dice.roll(), (dice.roll() % 3000) as usize)),
        };
        if dice.roll().is_multiple_of(8) {
            let _ = fs::remove_file(&dir).and_then(|()| fs::create_dir(&dir));
        }
    }
}

#[test]
fn a_work_tree_that_changes_under_the_walk_is_stored_as_far_as_it_stands_still() {
    let sandbox = Sandbox::new();
    write_many(&sandbox, 1500);
    let still = sandbox.snapshot();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (work, done) = (&sandbox.work, &done);
            scope.spawn(move || churn(work, seed, done));
        }
        for turn in 0..8 {
            let output = add_in_small_rounds(&sandbox);
            assert!(matches!(output.code, 0 | 3), "{output:?}");
            assert!(!output.stderr.contains("panicked"), "{output:?}");
            let status = sandbox.run(["status", "--porcelain"]);
            assert!(matches!(status.code, 0 | 3), "{status:?}");
            sandbox.run(["commit", "-m", "x", "--allow-empty"]).expect_code(0);
            // Whatever it caught is a tree: each commit can be restored.
            let restored = sandbox.restored("HEAD");
            for (path, node) in &still {
                assert_eq!(restored.get(path), Some(node), "turn {turn}: {}", path.display());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    sandbox.ok(["store", "verify", "--data"]);
    sandbox.ok(["add", "-A"]);
    sandbox.run(["commit", "-m", "at rest"]);
    assert!(sandbox.status().is_empty());
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

/// One directory with `count` entries, from the first add to the last removal.
fn live_with_one_directory_of(count: usize) {
    let sandbox = Sandbox::new();
    let name = |number: usize| format!("flat/entry-{number:07}");
    sandbox.mkdir("flat");
    for number in 0..count {
        fs::write(sandbox.path(name(number)), number.to_string()).unwrap();
    }
    sandbox.save("all");
    assert!(sandbox.status().is_empty());
    assert_eq!(staged_count(&sandbox), count);
    sandbox.write(name(count / 2), "changed");
    sandbox.remove(name(count / 3));
    let status = sandbox.status();
    assert_eq!(status, [format!(" D {}", name(count / 3)), format!(" M {}", name(count / 2))]);
    sandbox.save("two");
    assert_eq!(sandbox.ok(["get", &name(count / 2)]).text(), "changed");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
    sandbox.remove("flat");
    sandbox.write("flat", "a file now");
    let output = sandbox.ok(["add", "-A", "--json"]).json();
    assert_eq!(output["deleted"].as_array().unwrap().len(), count - 1);
    sandbox.commit("three");
    assert_eq!(sandbox.ok(["ls"]).text(), "flat\n");
    sandbox.ok(["rm", "-r", "--cached", "flat"]);
    assert_eq!(staged_count(&sandbox), 0);
}

#[test]
fn a_directory_of_many_entries_is_one_like_others() {
    live_with_one_directory_of(20_000);
}

#[test]
#[ignore = "takes minutes and a million inodes: cargo test --release --test scale -- --ignored"]
fn a_directory_of_a_million_entries_is_one_like_others() {
    live_with_one_directory_of(1_000_000);
}

#[test]
fn the_longest_names_and_paths_are_kept_and_longer_ones_told() {
    let sandbox = Sandbox::new();
    let long = "n".repeat(255);
    sandbox.write("m".repeat(255), "a long name");
    // 4,096 bytes are more than one system call takes: down step by step.
    let open_dir = |dir: BorrowedFd<'_>, name: &str| {
        openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let mut dir = open_dir(CWD, sandbox.work.to_str().unwrap());
    let mut path = String::new();
    for name in [long.as_str()].repeat(15).iter().chain(&["d".repeat(128).as_str()]) {
        mkdirat(&dir, *name, Mode::RWXU).unwrap();
        dir = open_dir(dir.as_fd(), name);
        path = path + name + "/";
    }
    for len in [4096 - path.len(), 4097 - path.len()] {
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let file = openat(&dir, "f".repeat(len), flags, Mode::RUSR | Mode::WUSR).unwrap();
        rustix::io::write(file, b"deep down").unwrap();
    }
    let told = sandbox.fails(3, ["add", "-A"]);
    assert!(told.contains("a path of 4097 bytes is longer than 4096"), "{told}");
    let deepest = path.clone() + &"f".repeat(4096 - path.len());
    assert_eq!(sandbox.ok(["ls"]).text(), format!("{}\n{deepest}\n", "m".repeat(255)));
    assert_eq!(sandbox.ok(["get", &deepest]).text(), "deep down");
    sandbox.commit("x");
    assert!(sandbox.status().is_empty());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn writes_within_one_tick_of_the_clock_are_noticed() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..20).map(|number| format!("d{}/{number}", number % 3)).collect();
    for round in 0..20 {
        // Equal in length, and all within a few ticks.
        let text = |turn: &str| format!("{round:03} {turn}");
        names.iter().for_each(|name| sandbox.write(name, text("first")));
        let output =
            if round % 2 == 0 { add_in_small_rounds(&sandbox) } else { sandbox.ok(["add", "-A"]) };
        output.expect_code(0);
        names.iter().for_each(|name| sandbox.write(name, text("later")));
        let status = sandbox.status();
        assert!(status.iter().all(|line| line[1..].starts_with("M ")), "{status:?}");
        assert_eq!(status.len(), names.len(), "round {round}");
        sandbox.ok(["add", "-A"]);
        let name = &names[round % names.len()];
        assert_eq!(sandbox.ok(["get", name]).text(), text("later"), "round {round}");
    }
}

/// Most bytes of memory, file pages included, that a command had while it ran.
fn peak_memory(child: &mut Child) -> u64 {
    let file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default() << 10);
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

#[test]
fn many_files_fit_the_least_memory() {
    const FILES: usize = 100_000;
    let sandbox = Sandbox::new();
    write_many(&sandbox, FILES);
    for args in [["add", "-A"].as_slice(), &["commit", "-m", "x"], &["add", "-A"], &["status"]] {
        let mut command = sandbox.command(args);
        command.env("DIGSTORE_PERFORMANCE_MAX_MEMORY_USAGE", "64MiB");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let peak = peak_memory(&mut child);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        // The mapped staging area counts here, and the program itself.
        assert!(peak < 96 << 20, "{args:?}: {peak} bytes");
    }
    assert!(sandbox.status().is_empty());
    assert_eq!(staged_count(&sandbox), FILES);
    sandbox.ok(["store", "verify"]);
}
