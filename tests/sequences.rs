//! Several commits picked or reverted by one command: what waits when it stops, and how it goes on.

mod common;

use common::{Sandbox, text};

/// A branch `topic` whose three commits change a file each, and `main` with one of its own.
fn three() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["f1", "f2", "f3"] {
        sandbox.write(name, text(1, 300));
    }
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    for number in 1..=3_u64 {
        sandbox.write(format!("f{number}"), text(number + 1, 300));
        sandbox.save(&format!("t{number}"));
    }
    sandbox.ok(["switch", "main"]);
    sandbox.write("m", "m");
    sandbox.save("m");
    sandbox
}

/// The same, with something else in the second file on `main`.
fn conflicting() -> Sandbox {
    let sandbox = three();
    sandbox.write("f2", "ours\n");
    sandbox.save("ours");
    sandbox
}

fn subjects(sandbox: &Sandbox) -> Vec<String> {
    let log = sandbox.ok(["log", "--oneline", "--no-decorate"]);
    log.text().lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

/// The command ends with 1, and says this.
#[track_caller]
fn fails(sandbox: &Sandbox, command: &[&str], expected: &str) {
    let told = sandbox.fails(1, command);
    assert!(told.contains(expected), "{told}");
}

#[test]
fn local_changes_stop_a_sequence_that_goes_on_later() {
    let sandbox = three();
    sandbox.write("f2", "unsaved");
    fails(
        &sandbox,
        &["cherry-pick", "main..topic"],
        "2 commits are left; 'digstore cherry-pick --continue' goes on",
    );
    assert_eq!(subjects(&sandbox), ["t1", "m", "base"]);
    assert!(
        sandbox.ok(["status"]).text().contains("A cherry-pick has stopped with 2 commits left.")
    );
    fails(&sandbox, &["cherry-pick", "topic"], "waits to be finished");
    fails(&sandbox, &["cherry-pick", "--continue"], "'f2' (changed in the work tree)");
    sandbox.ok(["restore", "f2"]);
    sandbox.ok(["cherry-pick", "--continue"]);
    assert_eq!(subjects(&sandbox), ["t3", "t2", "t1", "m", "base"]);
    fails(&sandbox, &["cherry-pick", "--continue"], "waits to be finished");
    // Each commit is a step for undo, and what was left to do then is left again.
    sandbox.ok(["undo"]);
    assert!(
        sandbox.ok(["status"]).text().contains("A cherry-pick has stopped with 1 commit left.")
    );
    sandbox.ok(["cherry-pick", "--continue"]);
    assert_eq!(subjects(&sandbox)[0], "t3");
}

#[test]
fn abort_goes_back_to_before_the_first() {
    let sandbox = three();
    let before = sandbox.snapshot();
    sandbox.write("f2", "unsaved");
    sandbox.run(["cherry-pick", "main..topic"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--abort"]);
    assert_eq!(subjects(&sandbox), ["m", "base"]);
    assert_eq!(sandbox.read("f2"), b"unsaved");
    sandbox.ok(["restore", "f2"]);
    assert_eq!(sandbox.snapshot(), before);
    // What was picked already is not overwritten where it was changed since.
    sandbox.write("f2", "unsaved");
    sandbox.run(["cherry-pick", "main..topic"]).expect_code(1);
    sandbox.write("f1", "changed since");
    fails(&sandbox, &["cherry-pick", "--abort"], "'f1' (changed in the work tree)");
    sandbox.ok(["cherry-pick", "--quit"]);
    assert_eq!(subjects(&sandbox), ["t1", "m", "base"]);
    assert_eq!(sandbox.read("f1"), b"changed since");
    // In the middle of a conflict as well.
    let sandbox = conflicting();
    let before = sandbox.snapshot();
    sandbox.run(["cherry-pick", "main..topic"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--abort"]);
    assert_eq!(subjects(&sandbox), ["ours", "m", "base"]);
    assert_eq!(sandbox.snapshot(), before);
    assert!(sandbox.status().is_empty());
}

#[test]
fn a_commit_ends_one_step_and_the_others_follow() {
    let sandbox = conflicting();
    sandbox.run(["cherry-pick", "-x", "main..topic"]).expect_code(1);
    sandbox.write("f2", "resolved\n");
    sandbox.ok(["add", "f2"]);
    let told = sandbox.ok(["commit", "-m", "resolved"]);
    assert!(told.stderr.contains("1 commit left: 'digstore cherry-pick --continue' goes on"));
    // A commit in between is one of its own.
    sandbox.write("m", "more");
    sandbox.save("between");
    sandbox.ok(["commit", "--amend", "-m", "amended"]);
    sandbox.ok(["cherry-pick", "--continue"]);
    assert_eq!(subjects(&sandbox), ["t3", "amended", "resolved", "t1", "ours", "m", "base"]);
    let last = sandbox.ok(["log", "-n", "1"]);
    assert!(last.text().contains("(cherry picked from commit"), "{last:?}");
}

#[test]
fn skip_leaves_out_the_one_that_waits() {
    let sandbox = conflicting();
    sandbox.run(["cherry-pick", "main..topic"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--skip"]);
    assert_eq!(subjects(&sandbox), ["t3", "t1", "ours", "m", "base"]);
    assert_eq!(sandbox.read("f2"), b"ours\n");
    // Where none is begun, the next one.
    let sandbox = three();
    sandbox.write("f2", "unsaved");
    sandbox.run(["cherry-pick", "main..topic"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--skip"]);
    assert_eq!(subjects(&sandbox), ["t3", "t1", "m", "base"]);
    assert_eq!(sandbox.read("f2"), b"unsaved");
}

#[test]
fn several_are_picked_without_a_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1\n2\n3\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "1\n2\n3\n4\n");
    sandbox.save("t1");
    sandbox.write("a", "1\n2\n3\n4\n5\n");
    sandbox.save("t2");
    sandbox.ok(["switch", "main"]);
    sandbox.write("staged", "before");
    sandbox.ok(["add", "staged"]);
    sandbox.ok(["cherry-pick", "-n", "main..topic"]);
    assert_eq!(sandbox.read("a"), b"1\n2\n3\n4\n5\n");
    assert_eq!(sandbox.status(), ["M  a", "A  staged"]);
    assert_eq!(subjects(&sandbox), ["base"]);
    // A conflict waits; what follows is staged as well, and abort keeps what was staged before.
    let sandbox = conflicting();
    sandbox.write("staged", "before");
    sandbox.ok(["add", "staged"]);
    sandbox.run(["cherry-pick", "-n", "topic~1", "topic"]).expect_code(1);
    sandbox.ok(["cherry-pick", "--abort"]);
    assert_eq!(sandbox.status(), ["A  staged"]);
    sandbox.run(["cherry-pick", "-n", "topic~1", "topic"]).expect_code(1);
    sandbox.write("f2", "resolved\n");
    sandbox.ok(["add", "f2"]);
    sandbox.ok(["cherry-pick", "--continue"]);
    assert_eq!(sandbox.status(), ["M  f2", "M  f3", "A  staged"]);
    assert_eq!(subjects(&sandbox), ["ours", "m", "base"]);
}

#[test]
fn reverts_go_on_as_well() {
    let sandbox = three();
    sandbox.ok(["switch", "topic"]);
    sandbox.write("f2", "changed since\n");
    sandbox.save("later");
    sandbox.run(["revert", "topic~4..topic~1"]).expect_code(1);
    assert_eq!(subjects(&sandbox)[..2], ["Revert \"t3\"", "later"]);
    sandbox.write("f2", "resolved\n");
    sandbox.ok(["add", "f2"]);
    sandbox.ok(["revert", "--continue"]);
    let log = subjects(&sandbox);
    assert_eq!(log[..3], ["Revert \"t1\"", "Revert \"t2\"", "Revert \"t3\""]);
    sandbox.ok(["store", "verify", "--data"]);
}
