//! Every command that changes the repository can be taken back, whatever interrupts it, through the
//! binary.

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Dice, Sandbox, Tree, assert_same, far_apart, without_leftovers};
use serde_json::Value;

/// All that an operation may change.
#[derive(Debug, PartialEq)]
struct State {
    work_tree: Tree,
    status: Vec<String>,
    branches: Value,
    tags: Value,
    stashes: Value,
    merging: Value,
    head: Value,
}

impl State {
    #[track_caller]
    fn of(sandbox: &Sandbox) -> Self {
        let mut last = last_operation(sandbox);
        Self {
            work_tree: sandbox.snapshot(),
            status: sandbox.status(),
            branches: sandbox.ok(["branch", "--json"]).json(),
            tags: sandbox.ok(["tag", "--json"]).json(),
            stashes: sandbox.ok(["stash", "list", "--json"]).json(),
            merging: sandbox.ok(["status", "--json"]).json()["merging"].take(),
            // What is staged as well.
            head: last["after"].take(),
        }
    }
}

#[track_caller]
fn operations(sandbox: &Sandbox) -> Vec<Value> {
    let log = sandbox.ok(["op", "log", "--json"]).json();
    log["operations"].as_array().cloned().unwrap_or_default()
}

#[track_caller]
fn last_operation(sandbox: &Sandbox) -> Value {
    operations(sandbox).into_iter().next().unwrap_or_default()
}

/// Two commits, a branch and a tag, and unsaved changes of several kinds.
fn busy() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c", "d/e", "d/f"] {
        sandbox.write(name, format!("{name} of old"));
    }
    sandbox.save("first");
    sandbox.ok(["branch", "old"]);
    sandbox.ok(["tag", "-a", "v1", "-m", "first"]);
    sandbox.write("a", "a of today");
    sandbox.write("c", "c of today");
    sandbox.remove("d/e");
    sandbox.save("second");
    sandbox.write("a", "a, unsaved");
    sandbox.write("b", "b, staged");
    sandbox.ok(["add", "b"]);
    sandbox.write("b", "b, staged and changed");
    sandbox.write("new", "not tracked");
    sandbox
}

/// A command that ends with this code changes something and has one record; it is taken back and
/// done again twice, and taken back in the end.
fn comes_and_goes(sandbox: &Sandbox, code: i32, command: &[&str]) {
    let (before, records) = (State::of(sandbox), operations(sandbox).len());
    sandbox.run(command).expect_code(code);
    let after = State::of(sandbox);
    assert_ne!(before, after, "{command:?}");
    assert_eq!(operations(sandbox).len(), records + 1, "{command:?} has one record");
    for _ in 0..2 {
        sandbox.ok(["undo"]);
        assert_eq!(before, State::of(sandbox), "{command:?} taken back");
        sandbox.ok(["redo"]);
        assert_eq!(after, State::of(sandbox), "{command:?} done again");
    }
    sandbox.ok(["undo"]);
}

fn nothing_was_noticed(sandbox: &Sandbox) {
    let noticed = operations(sandbox).into_iter().filter(|op| op["kind"] == "noticed");
    assert_eq!(noticed.count(), 0, "each command entered all that it did");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn each_command_is_taken_back_and_done_again() {
    let sandbox = busy();
    let first = State::of(&sandbox);
    let commands: &[&[&str]] = &[
        &["add", "a"],
        &["add", "-A"],
        &["commit", "-m", "third"],
        &["rm", "c"],
        &["rm", "--cached", "c"],
        &["rm", "-r", "-f", "d", "a"],
        &["restore", "a"],
        &["restore", "b"],
        &["restore", "--staged", "b"],
        &["restore", "-s", "HEAD~1", "a", "b", "c"],
        &["store", "reset-staging"],
        &["switch", "-c", "topic"],
        &["switch", "-f", "old"],
        &["switch", "--detach", "HEAD"],
        &["branch", "another"],
        &["branch", "-f", "old", "HEAD"],
        &["branch", "-m", "trunk"],
        &["branch", "-D", "old"],
        &["tag", "v2"],
        &["tag", "-f", "-a", "v1", "-m", "moved"],
        &["tag", "-d", "v1"],
        &["add", "-u"],
        &["commit", "-a", "-m", "all"],
        &["commit", "--amend", "-m", "second, better"],
        &["mv", "c", "e"],
        &["mv", "-f", "c", "b"],
        &["mv", "d", "e"],
        &["clean", "-f", "-d"],
        &["reset", "--soft", "HEAD~1"],
        &["reset", "HEAD~1"],
        &["reset", "b"],
        &["reset", "--hard"],
        &["reset", "--hard", "HEAD~1"],
        &["stash", "push"],
        &["stash", "push", "-u", "-k"],
        &["op", "restore", "--force", "2"],
        &["op", "restore", "--force", "0"],
    ];
    for command in commands {
        comes_and_goes(&sandbox, 0, command);
    }
    assert_eq!(first, State::of(&sandbox));
    nothing_was_noticed(&sandbox);
}

#[test]
fn merges_and_stashes_are_taken_back_and_done_again() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.write(name, format!("{name} of old\n"));
    }
    sandbox.save("base");
    sandbox.ok(["branch", "ahead"]);
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("b", "b of topic\n");
    sandbox.write("d/new", "new");
    sandbox.save("clean");
    sandbox.write("a", "a of topic\n");
    sandbox.remove("c");
    sandbox.save("conflicting");
    sandbox.ok(["switch", "ahead"]);
    sandbox.write("f", "f");
    sandbox.save("ahead");
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "a, put aside\n");
    sandbox.ok(["stash"]);
    sandbox.write("a", "a of main\n");
    sandbox.write("c", "c of main\n");
    sandbox.save("main");
    sandbox.write("local", "not tracked");
    let commands: &[(i32, &[&str])] = &[
        (0, &["merge", "ahead"]),
        (0, &["merge", "--no-commit", "ahead"]),
        (0, &["merge", "--squash", "ahead"]),
        (0, &["cherry-pick", "topic~1"]),
        (0, &["cherry-pick", "-n", "topic~1"]),
        (0, &["revert", "HEAD"]),
        (1, &["stash", "pop"]),
        (1, &["stash", "apply"]),
        (0, &["stash", "drop"]),
        (0, &["stash", "clear"]),
        (1, &["cherry-pick", "topic"]),
        (1, &["merge", "topic"]),
    ];
    for (code, command) in commands {
        comes_and_goes(&sandbox, *code, command);
    }
    sandbox.run(["merge", "topic"]).expect_code(1);
    for command in [
        &["merge", "--abort"][..],
        &["merge", "--quit"],
        &["reset", "--hard"],
        &["reset"],
        &["switch", "-f", "topic"],
        &["restore", "--theirs", "a"],
        &["restore", "--theirs", "c"],
        &["add", "a"],
        &["rm", "-f", "c"],
    ] {
        comes_and_goes(&sandbox, 0, command);
    }
    sandbox.ok(["add", "-A"]);
    comes_and_goes(&sandbox, 0, &["merge", "--continue"]);
    nothing_was_noticed(&sandbox);
}

#[test]
fn all_that_was_done_is_taken_back_step_by_step_and_done_again() {
    let sandbox = busy();
    let mut states = vec![State::of(&sandbox)];
    let commands: &[&[&str]] = &[
        &["restore", "a"],
        &["switch", "-f", "old"],
        &["rm", "-f", "a"],
        &["switch", "-f", "main"],
        &["branch", "-D", "old"],
        &["restore", "-s", "HEAD~1", "a", "b", "c"],
        &["add", "-A"],
        &["commit", "-m", "third"],
    ];
    for command in commands {
        sandbox.ok(*command);
        // Something unsaved for the next one.
        states.push(State::of(&sandbox));
    }
    for _ in 0..2 {
        for state in states.iter().rev().skip(1) {
            sandbox.ok(["undo"]);
            assert_eq!(*state, State::of(&sandbox));
        }
        for state in &states[1..] {
            sandbox.ok(["redo"]);
            assert_eq!(*state, State::of(&sandbox));
        }
    }
}

#[test]
fn a_stored_change_is_no_step_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("first");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "two");
    sandbox.save("second");
    sandbox.write("a", "unsaved");
    sandbox.ok(["switch", "-f", "main"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("a"), b"unsaved");
    // The commit, and not the storing of what was unsaved.
    assert!(sandbox.ok(["undo"]).text().contains("commit: second"));
    sandbox.ok(["redo"]);
    sandbox.ok(["redo"]);
    sandbox.write("a", "changed again");
    assert!(sandbox.fails(1, ["undo"]).contains("'a' (changed in the work tree)"));
    sandbox.ok(["undo", "--force"]);
    assert_eq!(sandbox.read("a"), b"unsaved");
    sandbox.ok(["redo"]);
    assert_eq!(sandbox.read("a"), b"changed again");
}

#[test]
fn an_undo_that_is_killed_is_finished_by_the_next() {
    let (sandbox, [one, two]) = far_apart(600);
    let mut dice = Dice::new(11);
    let mut unfinished = 0;
    for round in 0..16 {
        let (command, branch, expected) =
            if round % 2 == 0 { ("undo", "two", &two) } else { ("redo", "main", &one) };
        let before = last_operation(&sandbox)["seq"].clone();
        let mut child = sandbox.command([command]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll() % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.ok(["status"]);
        if last_operation(&sandbox)["seq"] == before {
            unfinished += 1;
            sandbox.ok([command]);
        } else {
            // Refs and HEAD may be late; whoever takes the lock next moves them.
            sandbox.ok(["add", "-A"]);
        }
        assert_same(expected, &without_leftovers(sandbox.snapshot()));
        assert!(sandbox.status().is_empty(), "round {round}");
        let shown = sandbox.ok(["branch", "--show-current"]);
        assert_eq!(shown.text().trim_end(), branch, "round {round}");
    }
    assert!(unfinished > 0, "none was killed in time");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_switch_that_is_killed_is_one_step_for_undo() {
    let (sandbox, _) = far_apart(600);
    // Kept by one that keeps local changes, stored by one that does not.
    sandbox.write("d2/f2", "unsaved");
    sandbox.write("mine", "not tracked");
    let mut dice = Dice::new(23);
    let (mut unfinished, before) = (0, sandbox.snapshot());
    for round in 0..24 {
        let last = last_operation(&sandbox)["seq"].clone();
        let command: &[&str] =
            if round % 2 == 0 { &["switch", "two"] } else { &["switch", "-f", "two"] };
        let mut child = sandbox.command(command).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll() % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let is_entered = last_operation(&sandbox)["seq"] != last;
        let is_begun = sandbox.path(".digstore/moving").exists();
        unfinished += u32::from(is_begun && !is_entered);
        if is_begun && round % 3 == 0 {
            // Whoever changes something next enters it.
            sandbox.ok(["tag", "-f", "seen"]);
            sandbox.ok(["undo"]);
        }
        if is_entered || is_begun {
            sandbox.ok(["undo"]);
        }
        // Temporary files are swept too.
        assert_same(&before, &sandbox.snapshot());
        assert_eq!(sandbox.status(), [" M d2/f2", "?? mine"], "round {round}");
        assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "main\n", "round {round}");
    }
    assert!(unfinished > 0, "none was killed in time");
    sandbox.ok(["switch", "two"]);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_was_there_as_a_switch_brings_it_stays_when_that_is_undone() {
    let sandbox = Sandbox::new();
    sandbox.write("base", "base");
    sandbox.write("edited", "one");
    sandbox.ok(["add", "-A"]);
    sandbox.commit("base");
    sandbox.ok(["switch", "-c", "two"]);
    sandbox.write("d/new", "the same");
    sandbox.write("edited", "two");
    sandbox.ok(["add", "-A"]);
    sandbox.commit("two");
    sandbox.ok(["switch", "main"]);
    // By a person, who saved it nowhere else.
    sandbox.write("d/new", "the same");
    sandbox.write("edited", "two");
    let (before, status) = (sandbox.snapshot(), sandbox.status());
    assert_eq!(status, [" M edited", "?? d/"]);
    for _ in 0..2 {
        sandbox.ok(["switch", "two"]);
        assert_same(&before, &sandbox.snapshot());
        assert_eq!(sandbox.status(), [""; 0]);
        sandbox.ok(["undo"]);
        assert_same(&before, &sandbox.snapshot());
        assert_eq!(sandbox.status(), status);
        sandbox.ok(["redo"]);
        assert_eq!(sandbox.status(), [""; 0]);
        sandbox.ok(["undo"]);
    }
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn several_processes_enter_what_they_did_one_after_the_other() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("first");
    let before = operations(&sandbox).len();
    let mut done = 0;
    for round in 0..6 {
        let start = |name: &str| {
            let mut command = sandbox.command(["branch", name]);
            command.stderr(Stdio::null()).spawn().unwrap()
        };
        let names: Vec<String> = (0..4).map(|number| format!("b{round}-{number}")).collect();
        let mut children: Vec<_> = names.iter().map(|name| start(name)).collect();
        // Readers need no lock, and see whole records only.
        for _ in 0..3 {
            let seen = operations(&sandbox).len();
            assert!(seen >= before + done);
        }
        for (name, child) in names.iter().zip(&mut children) {
            let code = child.wait().unwrap().code();
            assert!(matches!(code, Some(0 | 11)), "{name}: {code:?}");
            done += usize::from(code == Some(0));
        }
    }
    assert_eq!(operations(&sandbox).len(), before + done);
    let branches = |sandbox: &Sandbox| sandbox.ok(["branch"]).text().lines().count();
    assert_eq!(branches(&sandbox), 1 + done);
    for _ in 0..done {
        sandbox.ok(["undo"]);
    }
    assert_eq!(branches(&sandbox), 1);
}
