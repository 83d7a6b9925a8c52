//! Files that are edited or made while a command replaces and removes others.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{Output, Sandbox, scratch};
use crate::strace;

/// Longest time that a command may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a command did with files that were changed below it.
struct Outcome {
    output: Output,
    /// What each of them held then.
    changed: Vec<(String, Vec<u8>)>,
}

/// Runs a command and stops it when it has given the first file of the work tree its name, or removed
/// it; each of the files is changed then, or made where there is none. `None` without strace.
fn change_below(sandbox: &Sandbox, args: &[&str], files: &[&str]) -> Option<Outcome> {
    if !strace::is_there("meanwhile") {
        return None;
    }
    let mut changed = Vec::new();
    let output = stop_at(sandbox, "renameat,renameat2,unlinkat", &[], args, |log| {
        if changed.is_empty() && log.lines().any(is_in_work_tree) {
            for name in files {
                changed.push(((*name).to_owned(), change(sandbox, name)));
            }
        }
    });
    assert!(!changed.is_empty(), "{args:?} was not stopped");
    Some(Outcome { output, changed })
}

/// Runs a command that is stopped at each of some system calls, on a file with `-P` among the
/// options, or with `:when=2` at the second alone; it goes on when `meanwhile`, which is given the
/// calls so far, was done.
fn stop_at(
    sandbox: &Sandbox,
    calls: &str,
    options: &[&str],
    args: &[&str],
    mut meanwhile: impl FnMut(&str),
) -> Output {
    let log = sandbox.beside("stops");
    let _ = fs::remove_file(&log);
    let (names, when) = calls.split_once(':').unwrap_or((calls, "when=1+"));
    let trace = format!("trace={names}");
    let inject = format!("inject={names}:signal=SIGSTOP:{when}");
    let options = [options, &["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject]].concat();
    let mut command = strace::command(sandbox, &options, args);
    command.stdout(fs::File::create(sandbox.beside("stdout")).unwrap());
    command.stderr(fs::File::create(sandbox.beside("stderr")).unwrap());
    let mut child = command.spawn().unwrap();
    let mut stops = 0;
    let code = wait(&mut child, || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let stopped: Vec<&str> = log.lines().filter_map(stopped).collect();
        if stopped.len() <= stops {
            return;
        }
        stops = stopped.len();
        meanwhile(&log);
        // Another thread of it may have ended it by now.
        let _ = Command::new("kill").args(["-CONT", stopped[stops - 1]]).output();
    });
    let stderr = fs::read_to_string(sandbox.beside("stderr")).unwrap();
    Output { code, stdout: fs::read(sandbox.beside("stdout")).unwrap(), stderr }
}

/// Waits for a process to end, and calls `look` time and again until then.
fn wait(child: &mut Child, mut look: impl FnMut()) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        look();
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The thread that was stopped, if a line says so.
fn stopped(line: &str) -> Option<&str> {
    let (thread, rest) = line.split_once(' ')?;
    rest.contains("--- stopped by SIGSTOP ---").then_some(thread)
}

/// Whether the call of a line gave a file of the work tree its name or removed one. The repository
/// uses whole paths.
fn is_in_work_tree(line: &str) -> bool {
    line.contains("\".digstore-tmp-") || line.contains(" unlinkat(") && !line.contains(", \"/")
}

/// Adds a line to a file, which may not be there; what it holds then.
fn change(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    let mut bytes = fs::read(sandbox.path(name)).unwrap_or_default();
    bytes.extend_from_slice(format!("mine: {name}\n").as_bytes());
    sandbox.write(name, &bytes);
    bytes
}

/// Runs a command so; it has to end with `code`, and no byte of what was changed may be lost: it lies
/// where it was, or comes back.
#[track_caller]
fn nothing_is_lost(sandbox: &Sandbox, code: i32, args: &[&str], files: &[&str]) {
    let Some(Outcome { output, changed }) = change_below(sandbox, args, files) else { return };
    assert_eq!(output.code, code, "{args:?}: {output:#?}");
    let is_gone = |(name, bytes): &(String, Vec<u8>)| {
        fs::read(sandbox.path(name)).map_or(true, |found| found != *bytes)
    };
    let gone: Vec<_> = changed.into_iter().filter(is_gone).collect();
    if !gone.is_empty() {
        sandbox.ok(["undo", "--force"]);
    }
    let lost: Vec<_> = gone.iter().filter(|file| is_gone(file)).map(|(name, _)| name).collect();
    assert!(lost.is_empty(), "{args:?} lost {lost:?}: {}", output.stderr);
}

const FILES: [&str; 6] = ["a", "b", "c", "d/e", "d/f", "d/g"];

fn write_all(sandbox: &Sandbox, text: &str) {
    FILES.iter().for_each(|name| sandbox.write(name, format!("{text}: {name}\n")));
}

/// A branch `t` that has other bytes in all files and some more of them.
fn with_branch() -> Sandbox {
    let sandbox = Sandbox::new();
    write_all(&sandbox, "first");
    sandbox.save("first");
    sandbox.ok(["switch", "-c", "t"]);
    write_all(&sandbox, "second");
    ["new", "other", "d/new", "d/other"].iter().for_each(|name| sandbox.write(name, "new\n"));
    sandbox.save("second");
    sandbox.ok(["switch", "main"]);
    sandbox
}

#[test]
fn a_switch_leaves_what_is_edited_or_made_meanwhile() {
    let made = ["new", "other", "d/new", "d/other"];
    nothing_is_lost(&with_branch(), 3, &["switch", "t"], &FILES);
    nothing_is_lost(&with_branch(), 3, &["switch", "t"], &made);
    let sandbox = with_branch();
    sandbox.ok(["switch", "t"]);
    nothing_is_lost(&sandbox, 3, &["switch", "main"], &made);
}

#[test]
fn a_merge_leaves_what_is_edited_meanwhile_or_keeps_it() {
    let sandbox = with_branch();
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    nothing_is_lost(&sandbox, 1, &["merge", "t"], &FILES);
}

#[test]
fn a_reset_and_an_undo_leave_what_is_edited_once_it_was_stored() {
    let sandbox = with_branch();
    write_all(&sandbox, "local");
    nothing_is_lost(&sandbox, 3, &["reset", "--hard"], &FILES);
    let sandbox = with_branch();
    sandbox.ok(["switch", "t"]);
    nothing_is_lost(&sandbox, 3, &["undo"], &FILES);
    let sandbox = with_branch();
    write_all(&sandbox, "local");
    sandbox.ok(["restore", "."]);
    nothing_is_lost(&sandbox, 3, &["undo"], &FILES);
    // What a command had made where nothing was goes.
    let sandbox = with_branch();
    ["a", "b", "c"].iter().for_each(|name| sandbox.remove(name));
    sandbox.ok(["restore", "."]);
    nothing_is_lost(&sandbox, 3, &["undo"], &["a", "b", "c"]);
}

#[test]
fn a_restore_leaves_what_is_edited_or_made_meanwhile() {
    for source in [&["restore", "."][..], &["restore", "-s", "t", "."]] {
        let sandbox = with_branch();
        write_all(&sandbox, "local");
        nothing_is_lost(&sandbox, 3, source, &FILES);
        let sandbox = with_branch();
        FILES.iter().for_each(|name| sandbox.remove(name));
        nothing_is_lost(&sandbox, 3, source, &FILES);
    }
    nothing_is_lost(&with_branch(), 3, &["restore", "-s", "t", "."], &FILES);
}

#[test]
fn what_is_edited_meanwhile_is_not_removed() {
    let sandbox = with_branch();
    let untracked = ["u", "v", "w/x", "w/y"];
    untracked.iter().for_each(|name| sandbox.write(name, "not tracked\n"));
    nothing_is_lost(&sandbox, 3, &["clean", "-f", "-d"], &untracked);
    nothing_is_lost(&with_branch(), 3, &["rm", "-r", "."], &FILES);
    let sandbox = with_branch();
    write_all(&sandbox, "local");
    nothing_is_lost(&sandbox, 3, &["rm", "-r", "-f", "."], &FILES);
}

#[test]
fn a_stash_leaves_what_is_edited_or_made_meanwhile() {
    let sandbox = with_branch();
    write_all(&sandbox, "local");
    nothing_is_lost(&sandbox, 3, &["stash", "push"], &FILES);
    let stashed = || {
        let sandbox = with_branch();
        write_all(&sandbox, "local");
        ["u", "v", "w"].iter().for_each(|name| sandbox.write(name, "not tracked\n"));
        sandbox.ok(["stash", "push", "-u"]);
        sandbox
    };
    for files in [&FILES[..], &["u", "v", "w"]] {
        let sandbox = stashed();
        nothing_is_lost(&sandbox, 3, &["stash", "pop"], files);
        // What did not come back is in the stash alone.
        assert!(sandbox.ok(["stash", "list"]).text().starts_with("stash@{0}"));
    }
}

#[test]
fn a_sparse_work_tree_leaves_what_is_edited_or_made_meanwhile() {
    let sandbox = with_branch();
    sandbox.ok(["sparse", "set", "d"]);
    nothing_is_lost(&sandbox, 3, &["sparse", "disable"], &["a", "b", "c"]);
    nothing_is_lost(&with_branch(), 0, &["sparse", "set", "d"], &["a", "b", "c"]);
}

/// It looks whether something waits, and then takes the lock.
#[test]
fn a_merge_that_conflicts_before_a_pick_has_the_lock_still_waits() {
    if !strace::is_there("a merge beside a pick") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("a", "first\n");
    sandbox.save("first");
    // All of the merge is in conflict, so that nothing is staged.
    for (branch, file) in [("t", "a"), ("picked", "b")] {
        sandbox.ok(["switch", "-c", branch, "main"]);
        sandbox.write(file, "theirs\n");
        sandbox.save(branch);
    }
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    sandbox.write("c", "ours\n");
    sandbox.save("reverted");
    let lock = sandbox.path(".digstore/lock");
    for args in [["cherry-pick", "picked"], ["revert", "HEAD"]] {
        let mut is_merged = false;
        let options = ["-P", lock.to_str().unwrap()];
        let output = stop_at(&sandbox, "openat", &options, &args, |_| {
            if !std::mem::replace(&mut is_merged, true) {
                sandbox.fails(1, ["merge", "t"]);
            }
        });
        assert!(is_merged, "{args:?} was not stopped");
        assert_eq!(output.code, 1, "{args:?}: {output:?}");
        assert!(output.stderr.contains("a merge waits to be finished"), "{args:?}: {output:?}");
        assert!(sandbox.status().contains(&"UU a".to_owned()), "{args:?}");
        sandbox.ok(["merge", "--abort"]);
    }
}

/// On file systems that give a file that takes the place of another a new place in its directory.
#[test]
fn a_file_that_is_replaced_while_its_directory_is_read_does_not_count_as_deleted() {
    if !strace::is_there("a directory that is being read") {
        return;
    }
    let sandbox = Sandbox::within(tempfile::tempdir_in(scratch()).unwrap());
    sandbox.ok(["init"]);
    let name = |number: usize| format!("d/f{number:05}");
    (0..3000).for_each(|number| sandbox.write(name(number), "old\n"));
    sandbox.save("first");
    let dir = sandbox.path("d");
    let options = ["-P", dir.to_str().unwrap()];
    let replaced: Vec<_> = (0..3000).step_by(300).map(name).collect();
    for args in [&["status", "--porcelain"][..], &["add", "-A"]] {
        let mut is_replaced = false;
        let output = stop_at(&sandbox, "getdents64:when=2", &options, args, |_| {
            if !std::mem::replace(&mut is_replaced, true) {
                for file in &replaced {
                    sandbox.write("d/draft", format!("{args:?}: {file}"));
                    fs::rename(sandbox.path("d/draft"), sandbox.path(file)).unwrap();
                }
            }
        });
        assert!(is_replaced, "{args:?}: {output:?}");
        assert!([0, 3].contains(&output.code), "{args:?}: {output:?}");
        let deleted = sandbox.status().into_iter().filter(|line| line.contains('D')).count();
        assert_eq!(deleted, 0, "{args:?}: {output:?}");
        assert!(!output.text().contains(" D "), "{args:?}: {output:?}");
    }
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.ok(["ls"]).text().lines().count() >= 3000);
}
