//! Taking operations back, through the binary.

mod common;

use common::{Sandbox, assert_same};

fn commits(sandbox: &Sandbox) -> usize {
    sandbox.ok(["log", "--oneline"]).text().lines().count()
}

#[test]
fn undo_and_redo_go_through_all_that_was_done() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("first");
    let first = sandbox.snapshot();
    sandbox.write("a", "two");
    sandbox.write("d/b", "b");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.status(), ["M  a", "A  d/b"]);
    sandbox.commit("second");
    let second = sandbox.snapshot();
    sandbox.ok(["switch", "-c", "topic", "HEAD~1"]);
    assert_same(&first, &sandbox.snapshot());

    assert!(sandbox.ok(["undo"]).text().starts_with("undid "));
    assert_same(&second, &sandbox.snapshot());
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n");
    sandbox.ok(["undo"]);
    assert_eq!((commits(&sandbox), sandbox.status()), (1, vec!["M  a".into(), "A  d/b".into()]));
    sandbox.ok(["undo"]);
    // What was added stays in the work tree.
    assert_eq!(sandbox.status(), [" M a", "?? d/"]);
    assert_same(&second, &sandbox.snapshot());
    sandbox.ok(["redo"]);
    assert_eq!(sandbox.status(), ["M  a", "A  d/b"]);
    sandbox.ok(["redo"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["redo"]);
    assert_same(&first, &sandbox.snapshot());
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "topic\n");
    assert!(sandbox.fails(1, ["redo"]).contains("nothing to redo"));
    for _ in 0..5 {
        sandbox.ok(["undo"]);
    }
    assert!(sandbox.fails(1, ["undo"]).contains("nothing to undo"));
    assert_eq!(sandbox.status(), ["?? a", "?? d/"]);
    for _ in 0..4 {
        sandbox.ok(["redo"]);
    }
    assert_same(&second, &sandbox.snapshot());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_was_overwritten_or_removed_unsaved_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "stored");
    sandbox.write("b", "stored too");
    sandbox.save("first");
    sandbox.write("a", "precious");
    sandbox.write("b", "precious as well");
    let before = sandbox.snapshot();
    sandbox.ok(["restore", "a"]);
    sandbox.ok(["rm", "-f", "b"]);
    assert_eq!(sandbox.read("a"), b"stored");
    assert!(!sandbox.path("b").exists());
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("b"), b"precious as well");
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    sandbox.ok(["redo"]);
    assert_eq!(sandbox.read("a"), b"stored");
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    // A switch that gave changes up, with a file in the way that is not tracked.
    sandbox.ok(["switch", "-c", "other"]);
    sandbox.write("new", "tracked there");
    sandbox.ok(["add", "new"]);
    sandbox.commit("new");
    sandbox.ok(["switch", "main"]);
    sandbox.write("new", "mine, not tracked");
    let before = sandbox.snapshot();
    sandbox.ok(["switch", "-f", "other"]);
    assert_eq!(
        (sandbox.read("a"), sandbox.read("new")),
        (b"stored".into(), b"tracked there".into())
    );
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(sandbox.status(), [" M a", " M b", "?? new"]);
}

#[test]
fn changes_made_since_stop_an_undo_or_are_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("first");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "two");
    sandbox.save("second");
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "since then");
    sandbox.write("untouched", "stays");
    let refused = sandbox.fails(1, ["undo"]);
    assert!(refused.contains("'a' (changed in the work tree)"), "{refused}");
    assert_eq!(sandbox.read("a"), b"since then");
    let plan = sandbox.run(["undo", "-n"]).expect_code(1);
    assert!(plan.text().contains("in the way: a"), "{plan:?}");
    sandbox.ok(["undo", "--force"]);
    assert_eq!((sandbox.read("a"), sandbox.read("untouched")), (b"two".into(), b"stays".into()));
    assert_eq!(sandbox.ok(["branch", "--show-current"]).text(), "topic\n");
    sandbox.ok(["redo"]);
    assert_eq!(sandbox.read("a"), b"since then");
}

#[test]
fn a_deleted_branch_and_a_moved_tag_come_back() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    let first = sandbox.save("first");
    sandbox.ok(["branch", "topic"]);
    sandbox.ok(["tag", "-a", "v1", "-m", "why"]);
    sandbox.write("a", "two");
    sandbox.save("second");
    sandbox.ok(["branch", "-D", "topic"]);
    sandbox.ok(["tag", "-f", "v1"]);
    sandbox.ok(["branch", "-m", "trunk"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n");
    sandbox.ok(["undo"]);
    let tag = &sandbox.ok(["tag", "--json"]).json()["tags"][0];
    assert_eq!((&tag["id"], &tag["annotation"]["message"]), (&first.clone().into(), &"why".into()));
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n  topic\n");
    assert_eq!(sandbox.ok(["get", "a@topic"]).text(), "one");
}

#[test]
fn the_past_can_be_looked_at_and_gone_back_to() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one");
    sandbox.save("first");
    let first = sandbox.snapshot();
    sandbox.ok(["branch", "topic"]);
    sandbox.write("a", "two");
    sandbox.save("second");
    sandbox.ok(["branch", "-D", "topic"]);
    let log = sandbox.ok(["op", "log", "--json"]).json();
    let operations = log["operations"].as_array().unwrap();
    let made = operations.iter().find(|op| op["description"] == "branch topic").unwrap();
    let seq = made["seq"].to_string();
    assert_eq!(sandbox.ok(["branch", "--at-op", &seq]).text(), "* main\n  topic\n");
    assert_eq!(sandbox.ok(["log", "--oneline", "--at-op", &seq]).text().lines().count(), 1);
    assert_eq!(sandbox.ok(["get", "a", "--at-op", &seq]).text(), "one");
    for command in [["add", "-A"], ["status", "-q"], ["branch", "x"]] {
        let refused = sandbox.run(command.into_iter().chain(["--at-op", &seq])).expect_code(2);
        assert!(refused.stderr.contains("can only be read"), "{refused:?}");
    }
    assert!(sandbox.fails(20, ["log", "--at-op", "999"]).contains("there is no operation 999"));
    assert!(sandbox.ok(["op", "show", &seq]).text().contains("heads/topic  none -> "));
    sandbox.ok(["op", "restore", &seq]);
    assert_eq!(sandbox.ok(["branch"]).text(), "* main\n  topic\n");
    assert_eq!((commits(&sandbox), sandbox.status()), (1, vec![" M a".to_owned()]));
    sandbox.ok(["restore", "."]);
    assert_same(&first, &sandbox.snapshot());
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_eq!((commits(&sandbox), sandbox.status().len()), (2, 0));
    sandbox.ok(["op", "restore", "0"]);
    assert_eq!(sandbox.ok(["branch"]).text(), "");
    sandbox.ok(["undo"]);
    assert_eq!(commits(&sandbox), 2);
}

#[test]
fn undo_of_a_stash_pop_brings_back_tracked_and_untracked_files() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a\n");
    sandbox.save("base");
    sandbox.write("a", "a\nx\n");
    sandbox.write("u", "u\n");
    sandbox.ok(["stash", "push", "-u"]);
    // As the stash has it: it is taken over.
    sandbox.write("u", "u\n");
    sandbox.ok(["stash", "pop"]);
    sandbox.ok(["undo"]);
    assert_eq!((sandbox.read("a"), sandbox.read("u")), (b"a\n".to_vec(), b"u\n".to_vec()));
    assert_eq!(sandbox.status(), ["?? u"]);
}

#[test]
fn undo_of_a_merge_in_conflict_brings_back_what_was_taken_over() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a\n");
    sandbox.write("b", "b\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("a", "theirs\n");
    sandbox.write("n", "n\n");
    sandbox.write("b", "b2\n");
    sandbox.save("theirs");
    sandbox.ok(["switch", "main"]);
    sandbox.write("a", "ours\n");
    sandbox.save("ours");
    // As the other side has them.
    sandbox.write("n", "n\n");
    sandbox.write("b", "b2\n");
    sandbox.fails(1, ["merge", "topic"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("a"), b"ours\n");
    assert_eq!((sandbox.read("n"), sandbox.read("b")), (b"n\n".to_vec(), b"b2\n".to_vec()));
}

#[test]
fn op_restore_leaves_what_was_never_staged_to_an_undo_of_each_operation() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "a\n");
    sandbox.save("base");
    let log = sandbox.ok(["op", "log", "--json"]).json();
    let seq = log["operations"][0]["seq"].to_string();
    sandbox.write("a", "local\n");
    sandbox.write("u", "u\n");
    let local = sandbox.snapshot();
    sandbox.ok(["clean", "-f"]);
    sandbox.ok(["reset", "--hard"]);
    let clean = sandbox.snapshot();
    sandbox.ok(["op", "restore", &seq]);
    assert_same(&clean, &sandbox.snapshot());
    sandbox.ok(["undo"]);
    assert_same(&clean, &sandbox.snapshot());
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_same(&local, &sandbox.snapshot());
}
