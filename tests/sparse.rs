//! Sparse work trees, through the binary.

#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use common::{Dice, Node, Sandbox, Tree, assert_same, flip, text, without_leftovers};

/// Three directories and some files, committed.
fn saved() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.o\n");
    sandbox.write("top", "top");
    for dir in ["docs", "src", "src/deep", "tools"] {
        for name in ["a.c", "b.txt"] {
            sandbox.write(format!("{dir}/{name}"), format!("{dir}/{name}"));
        }
    }
    sandbox.write("docs/.digignore", "*.tmp\n");
    sandbox.link("docs/link", "a.c");
    sandbox.mkdir("docs/hollow");
    sandbox.save("first");
    sandbox
}

/// The same, holding `src` alone.
fn sparse() -> Sandbox {
    let sandbox = saved();
    sandbox.ok(["sparse", "set", "src"]);
    sandbox
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    sandbox.snapshot().into_keys().map(|name| name.into_string().unwrap()).collect()
}

const HELD: [&str; 6] =
    [".digignore", "docs/.digignore", "src/a.c", "src/b.txt", "src/deep/a.c", "src/deep/b.txt"];

#[track_caller]
fn assert_held(sandbox: &Sandbox, besides: &[&str]) {
    let mut expected: Vec<&str> = HELD.iter().chain(besides).copied().collect();
    expected.sort_unstable();
    assert_eq!(names(sandbox), expected);
}

#[test]
fn it_holds_what_is_set_and_everything_again() {
    let sandbox = saved();
    let all = sandbox.snapshot();
    let planned = sandbox.ok(["sparse", "set", "-n", "src"]);
    assert_eq!(planned.text(), "would write 0 files (0 B) and remove 7 files\n");
    assert_same(&all, &sandbox.snapshot());
    assert!(sandbox.ok(["sparse", "list"]).text().is_empty());
    let report = sandbox.ok(["sparse", "set", "src", "--json"]).json();
    assert_eq!((&report["tracked"], &report["wanted"]), (&13.into(), &6.into()), "{report}");
    assert_eq!(report["work_tree"]["removed"], 7);
    assert_held(&sandbox, &[]);
    assert!(sandbox.status().is_empty());
    assert_eq!(sandbox.ok(["sparse", "list"]).text(), "src\n");
    sandbox.run_in("src", ["sparse", "add", "../tools/*.c", "deep", ":!/src/b.txt"]).expect_code(0);
    let listed = sandbox.ok(["sparse", "list"]);
    assert_eq!(listed.text(), "src\ntools/*.c\nsrc/deep\n:(exclude)src/b.txt\n");
    assert!(sandbox.path("tools/a.c").exists() && !sandbox.path("tools/b.txt").exists());
    assert!(!sandbox.path("src/b.txt").exists() && sandbox.status().is_empty());
    // What is listed can be set.
    sandbox.feed(&listed.stdout, ["sparse", "set", "--pathspec-from-file=-"]).expect_code(0);
    assert_eq!(sandbox.ok(["sparse", "list"]).text(), listed.text());
    let absolute = sandbox.path("docs");
    sandbox.ok(["sparse".as_ref(), "set".as_ref(), absolute.as_os_str()]);
    assert_eq!(sandbox.ok(["sparse", "list"]).text(), "docs\n");
    assert!(sandbox.path("docs/link").is_symlink() && sandbox.path("docs/hollow").is_dir());
    sandbox.ok(["sparse", "disable"]);
    assert_same(&all, &sandbox.snapshot());
    assert!(sandbox.status().is_empty() && !sandbox.path(".digstore/sparse").exists());
    assert!(!sandbox.ok(["status"]).text().contains("sparse"));
    sandbox.ok(["sparse", "disable"]);
}

#[test]
fn the_current_directory_stays() {
    let sandbox = saved();
    sandbox.run_in("src/deep", ["sparse", "set", ":/tools"]).expect_code(0);
    assert!(sandbox.path("src/deep").is_dir() && sandbox.status().is_empty());
    sandbox.run_in("src/deep", ["sparse", "add", "."]).expect_code(0);
    assert_eq!(sandbox.read("src/deep/a.c"), b"src/deep/a.c");
}

#[test]
fn what_is_wrong_is_told() {
    let sandbox = saved();
    assert!(sandbox.fails(20, ["sparse", "set", "srcs"]).contains("did you mean 'src"));
    assert!(sandbox.fails(1, ["sparse", "add", "src"]).contains("sparse set"));
    assert!(sandbox.fails(1, ["sparse", "reapply"]).contains("sparse set"));
    sandbox.fails(2, ["sparse", "set"]);
    sandbox.fails(2, ["sparse", "set", "../out"]);
    sandbox.fails(2, ["sparse", "set", ""]);
    assert!(sandbox.status().is_empty() && !sandbox.path(".digstore/sparse").exists());
    sandbox.ok(["sparse", "set", "--force", "later"]);
    assert_eq!(names(&sandbox), [".digignore", "docs/.digignore"]);
    sandbox.write("later", "new");
    sandbox.save("later");
    assert!(sandbox.path("later").exists());
}

#[test]
fn a_damaged_file_is_no_deletion() {
    let sandbox = sparse();
    flip(&sandbox.path(".digstore/sparse"), 12);
    for args in [&["status"][..], &["add", "-A"], &["restore", "."], &["sparse", "add", "docs"]] {
        let stderr = sandbox.fails(21, args);
        assert!(stderr.contains("'digstore sparse disable' writes it anew"), "{args:?}: {stderr}");
    }
    sandbox.ok(["sparse", "set", "src"]);
    assert!(sandbox.status().is_empty());
    assert_held(&sandbox, &[]);
}

#[test]
fn status_tells_the_share() {
    let sandbox = sparse();
    let text = sandbox.ok(["status"]);
    let line = "The work tree is sparse: it holds 6 of 13 tracked paths (46.2 %).";
    assert!(text.text().contains(line), "{}", text.text());
    let json = sandbox.ok(["status", "--json"]).json();
    assert_eq!(json["sparse"]["present"], 6);
    assert_eq!(json["sparse"]["tracked"], 13);
    assert_eq!(json["sparse"]["unfinished"], false);
    let some = sandbox.ok(["status", "docs", "--json"]).json();
    assert!(some["sparse"]["present"].is_null() && some["unstaged"] == serde_json::json!([]));
    sandbox.remove("src/a.c");
    sandbox.write("docs/new", "n");
    assert_eq!(sandbox.status(), [" D src/a.c", "?? docs/new"]);
    sandbox.ok(["sparse", "disable"]);
    assert_eq!(sandbox.status(), [" D src/a.c", "?? docs/new"]);
    assert!(sandbox.ok(["status", "--json"]).json()["sparse"].is_null());
}

#[test]
fn what_is_not_saved_stays() {
    let sandbox = saved();
    sandbox.write("docs/a.c", "changed");
    sandbox.write("tools/a.c", "staged");
    sandbox.write("tools/new", "staged too");
    sandbox.ok(["add", "tools"]);
    sandbox.write("tools/b.o", "ignored");
    sandbox.write("docs/x.tmp", "ignored there");
    sandbox.write("docs/own", "untracked");
    let output = sandbox.ok(["sparse", "set", "src"]);
    for line in
        ["'docs/a.c' stays: changed in the work tree", "'tools/new' stays: changed and staged"]
    {
        assert!(output.stderr.contains(line), "{}", output.stderr);
    }
    let rest = ["docs/a.c", "docs/own", "docs/x.tmp", "tools/a.c", "tools/b.o", "tools/new"];
    assert_held(&sandbox, &rest);
    let status = [" M docs/a.c", "M  tools/a.c", "A  tools/new", "?? docs/own"];
    assert_eq!(sandbox.status(), status);
    sandbox.ok(["commit", "-a", "-m", "second"]);
    assert_eq!(sandbox.status(), ["?? docs/own"]);
    let report = sandbox.ok(["sparse", "reapply", "--json"]).json();
    assert_eq!(
        (&report["work_tree"]["removed"], &report["stays"]),
        (&3.into(), &serde_json::json!([]))
    );
    assert_held(&sandbox, &["docs/own", "docs/x.tmp", "tools/b.o"]);
    sandbox.ok(["sparse", "disable"]);
    assert_eq!(sandbox.read("docs/a.c"), b"changed");
    assert_eq!(sandbox.read("tools/new"), b"staged too");
    assert_eq!(sandbox.status(), ["?? docs/own"]);
}

#[test]
fn what_stands_in_the_way_stops_it() {
    let sandbox = sparse();
    sandbox.write("tools", "a file");
    let stderr = sandbox.fails(1, ["sparse", "add", "tools"]);
    assert!(stderr.contains("'tools' (not tracked)"), "{stderr}");
    let report = sandbox.run(["sparse", "add", "-n", "tools", "--json"]).expect_code(1).json();
    assert_eq!(report["obstacles"][0]["path"], "tools");
    assert_eq!(sandbox.ok(["sparse", "list"]).text(), "src\n");
    // What it hides is gone, since the two cannot be staged together.
    assert_eq!(sandbox.status(), [" D tools/a.c", " D tools/b.txt", "?? tools"]);
    sandbox.remove("tools");
    sandbox.write("top/inner", "a directory");
    assert_eq!(sandbox.status(), [" D top", "?? top/inner"]);
    sandbox.remove("top");
    assert!(sandbox.status().is_empty());
    // Something else at a path that is wanted is a change.
    sandbox.write("tools/a.c", "mine");
    sandbox.ok(["sparse", "add", "tools"]);
    assert_eq!(sandbox.status(), [" M tools/a.c"]);
    assert_eq!(sandbox.read("tools/a.c"), b"mine");
}

#[test]
fn add_and_commit_take_nothing_for_deleted() {
    let sandbox = sparse();
    let before = sandbox.ok(["ls", "-s", "HEAD"]).text().to_owned();
    sandbox.write("src/a.c", "changed");
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["add", "."]);
    sandbox.ok(["add", "-u"]);
    sandbox.ok(["add", "docs", "tools/a.c"]);
    sandbox.mkdir("tools");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.status(), ["M  src/a.c"]);
    sandbox.write("src/b.txt", "too");
    sandbox.ok(["commit", "-a", "-m", "second"]);
    assert_eq!(sandbox.ok(["ls", "-s", "HEAD"]).text(), before);
    assert!(sandbox.ok(["diff", "--json"]).json()["changes"].as_array().unwrap().is_empty());
    let changes = sandbox.ok(["diff", "HEAD~1", "--name-status"]);
    assert_eq!(changes.text(), "M\tsrc/a.c\nM\tsrc/b.txt\n");
    // A file that is taken out of what is wanted is deleted when it is said so.
    sandbox.remove("src/a.c");
    sandbox.ok(["commit", "-a", "-m", "third"]);
    assert!(!sandbox.ok(["ls", "-s", "HEAD"]).text().contains("src/a.c"));
    // New files are taken wherever they are.
    sandbox.write("docs/new", "n");
    sandbox.save("fourth");
    assert!(sandbox.status().is_empty() && sandbox.path("docs/new").exists());
    sandbox.ok(["sparse", "reapply"]);
    assert!(!sandbox.path("docs/new").exists() && sandbox.status().is_empty());
}

#[test]
fn get_ls_and_copies_know_no_difference() {
    let sandbox = sparse();
    assert_eq!(sandbox.ok(["get", "tools/a.c"]).text(), "tools/a.c");
    assert_eq!(sandbox.ok(["ls"]).text().lines().count(), 12);
    let copy = sandbox.restored("HEAD");
    assert_eq!(copy.len(), 13);
    sandbox.ok(["sparse", "disable"]);
    assert_same(&copy, &sandbox.snapshot());
}

#[test]
fn restore_means_what_is_named() {
    let sandbox = sparse();
    sandbox.write("src/a.c", "changed");
    sandbox.ok(["restore", "."]);
    assert_held(&sandbox, &[]);
    let output = sandbox.ok(["restore", "*.c"]);
    assert!(output.stderr.contains("left out 2 tracked paths"), "{}", output.stderr);
    assert_held(&sandbox, &[]);
    sandbox.ok(["restore", "tools/a.c"]);
    assert_held(&sandbox, &["tools/a.c"]);
    sandbox.ok(["restore", "docs"]);
    assert!(sandbox.path("docs/link").is_symlink() && sandbox.path("docs/hollow").is_dir());
    assert!(sandbox.status().is_empty());
    // What is there all the same is as any other.
    sandbox.write("tools/a.c", "changed");
    assert_eq!(sandbox.status(), [" M tools/a.c"]);
    sandbox.ok(["restore", "*.c"]);
    assert_eq!(sandbox.read("tools/a.c"), b"tools/a.c");
    sandbox.remove("tools/a.c");
    assert!(sandbox.status().is_empty());
    sandbox.ok(["sparse", "reapply"]);
    sandbox.ok(["restore", "--source", "HEAD", "top"]);
    assert_held(&sandbox, &["top"]);
    sandbox.ok(["restore", "--staged", "."]);
    assert!(sandbox.status().is_empty());
}

#[test]
fn rm_means_what_is_named() {
    let sandbox = sparse();
    let output = sandbox.ok(["rm", "*.txt"]);
    assert_eq!(output.text(), "rm 'src/b.txt'\nrm 'src/deep/b.txt'\n");
    assert!(output.stderr.contains("left out 2 tracked paths"), "{}", output.stderr);
    assert_eq!(
        sandbox.ok(["rm", "-r", "-n", "tools"]).text(),
        "rm 'tools/a.c'\nrm 'tools/b.txt'\n"
    );
    sandbox.ok(["rm", "top"]);
    let output = sandbox.ok(["rm", "-r", "."]);
    assert!(output.text().contains("src/a.c") && !output.text().contains("tools"));
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.status(), ["D  src/b.txt", "D  src/deep/b.txt"]);
    sandbox.ok(["undo"]);
    assert!(sandbox.status().is_empty());
    assert_held(&sandbox, &[]);
}

#[test]
fn mv_takes_along_what_is_not_there() {
    let sandbox = saved();
    sandbox.ok(["sparse", "set", "new", "src/deep", "docs/a.c", "--force"]);
    assert!(sandbox.fails(20, ["mv", "tools/a.c", "x"]).contains("digstore restore tools/a.c"));
    sandbox.ok(["mv", "src", "new"]);
    assert_eq!(sandbox.read("new/a.c"), b"src/a.c");
    assert_eq!(
        sandbox.status(),
        [
            "R  src/a.c -> new/a.c",
            "R  src/b.txt -> new/b.txt",
            "R  src/deep/a.c -> new/deep/a.c",
            "R  src/deep/b.txt -> new/deep/b.txt"
        ]
    );
    sandbox.ok(["mv", "docs/a.c", "elsewhere"]);
    assert_eq!(sandbox.read("elsewhere"), b"docs/a.c");
    sandbox.commit("moved");
    assert!(sandbox.status().is_empty());
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    sandbox.ok(["undo"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["sparse", "disable"]);
    assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
}

#[test]
fn clean_leaves_what_is_tracked() {
    let sandbox = sparse();
    sandbox.ok(["restore", "tools/a.c"]);
    sandbox.write("tools/junk", "j");
    sandbox.write("docs/junk", "j");
    sandbox.write("docs/x.tmp", "ignored");
    sandbox.ok(["clean", "-f", "-d"]);
    assert_held(&sandbox, &["docs/x.tmp", "tools/a.c"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["undo"]);
    assert_held(&sandbox, &["docs/junk", "docs/x.tmp", "tools/a.c", "tools/junk"]);
}

/// A branch `side` that changes, adds and removes files everywhere.
fn two_branches() -> Sandbox {
    let sandbox = saved();
    sandbox.ok(["switch", "-c", "side"]);
    sandbox.write("src/a.c", "side");
    sandbox.write("docs/a.c", "side");
    sandbox.write("docs/added", "side");
    sandbox.write("src/added", "side");
    sandbox.remove("tools");
    sandbox.write("tools", "now a file");
    sandbox.remove("docs/hollow");
    sandbox.save("side");
    sandbox.ok(["switch", "main"]);
    sandbox
}

#[test]
fn switch_and_reset_write_what_is_wanted() {
    let sandbox = two_branches();
    sandbox.ok(["sparse", "set", "src"]);
    sandbox.ok(["switch", "side"]);
    assert_held(&sandbox, &["src/added"]);
    assert_eq!(sandbox.read("src/a.c"), b"side");
    assert!(sandbox.status().is_empty());
    let expected = sandbox.restored("side");
    // What is there though it is not wanted goes along.
    sandbox.ok(["restore", "docs/a.c", "tools"]);
    sandbox.ok(["switch", "main"]);
    assert_eq!(sandbox.read("docs/a.c"), b"docs/a.c");
    assert!(sandbox.status().is_empty());
    sandbox.write("docs/a.c", "mine");
    let stderr = sandbox.fails(1, ["switch", "side"]);
    assert!(stderr.contains("'docs/a.c' (changed in the work tree)"), "{stderr}");
    sandbox.ok(["switch", "-f", "side"]);
    assert_eq!(sandbox.read("docs/a.c"), b"side");
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("docs/a.c"), b"mine");
    sandbox.ok(["reset", "--hard", "side"]);
    assert_held(&sandbox, &["docs/a.c", "src/added"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    sandbox.ok(["reset", "--mixed", "side"]);
    sandbox.ok(["reset", "--hard"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["sparse", "disable"]);
    assert_same(&expected, &sandbox.snapshot());
}

#[test]
fn what_would_be_hidden_stops_a_switch() {
    let sandbox = two_branches();
    sandbox.ok(["sparse", "set", "src"]);
    sandbox.ok(["switch", "side"]);
    sandbox.write("tools", "mine");
    assert_eq!(sandbox.status(), [" M tools"]);
    let stderr = sandbox.fails(1, ["switch", "main"]);
    assert!(stderr.contains("'tools' (changed in the work tree)"), "{stderr}");
    assert_eq!(sandbox.read("tools"), b"mine");
}

#[test]
fn undo_redo_and_op_restore_go_back_and_forth() {
    let sandbox = two_branches();
    sandbox.ok(["sparse", "set", "src"]);
    let seq = sandbox.ok(["op", "log", "--json"]).json()["operations"][0]["seq"].to_string();
    sandbox.ok(["switch", "side"]);
    sandbox.ok(["undo"]);
    assert_held(&sandbox, &[]);
    assert_eq!(sandbox.read("src/a.c"), b"src/a.c");
    sandbox.ok(["redo"]);
    assert_held(&sandbox, &["src/added"]);
    sandbox.ok(["op", "restore", &seq]);
    assert_held(&sandbox, &[]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["sparse", "disable"]);
    assert_same(&sandbox.restored("main"), &sandbox.snapshot());
}

#[test]
fn merges_write_conflicts_wherever_they_are() {
    let sandbox = two_branches();
    sandbox.write("docs/a.c", "main\n");
    sandbox.write("docs/blob", b"main\0");
    sandbox.save("main");
    sandbox.ok(["switch", "side"]);
    sandbox.write("docs/a.c", "side\n");
    sandbox.write("docs/blob", b"side\0");
    sandbox.save("side two");
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["sparse", "set", "src"]);
    for command in ["merge", "cherry-pick"] {
        sandbox.fails(1, [command, "side"]);
        let held = if command == "merge" {
            &["docs/a.c", "docs/blob", "src/added"][..]
        } else {
            &["docs/a.c", "docs/blob"]
        };
        assert_held(&sandbox, held);
        assert!(String::from_utf8(sandbox.read("docs/a.c")).unwrap().contains("<<<<<<<"));
        assert_eq!(sandbox.read("docs/blob"), b"main\0");
        let conflicts: Vec<_> = sandbox
            .status()
            .into_iter()
            .filter(|line| line.starts_with("AA") || line.starts_with("UU"))
            .collect();
        assert_eq!(conflicts, ["UU docs/a.c", "AA docs/blob"]);
        sandbox.ok([command, "--abort"]);
        sandbox.ok(["sparse", "reapply"]);
        assert_held(&sandbox, &[]);
        assert!(sandbox.status().is_empty(), "{command}");
    }
    sandbox.fails(1, ["merge", "side"]);
    // What is in conflict stays.
    let output = sandbox.ok(["sparse", "reapply"]);
    assert!(output.stderr.contains("'docs/blob' stays: in conflict"), "{}", output.stderr);
    sandbox.write("docs/a.c", "both\n");
    sandbox.ok(["restore", "--theirs", "docs/blob"]);
    sandbox.ok(["add", "docs/a.c", "docs/blob"]);
    sandbox.ok(["merge", "--continue"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["revert", "-m", "1", "HEAD"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["sparse", "reapply"]);
    assert_held(&sandbox, &[]);
    sandbox.ok(["sparse", "disable"]);
    assert_same(&sandbox.restored("main"), &sandbox.snapshot());
    assert_eq!(sandbox.ok(["get", "docs/blob@HEAD~1"]).stdout, b"side\0");
}

#[test]
fn stash_takes_and_brings_back() {
    let sandbox = sparse();
    sandbox.ok(["restore", "tools/a.c"]);
    sandbox.write("src/a.c", "changed");
    sandbox.write("tools/a.c", "changed");
    sandbox.write("docs/new", "untracked");
    let before = sandbox.snapshot();
    sandbox.ok(["stash", "-u"]);
    assert!(sandbox.status().is_empty());
    assert_held(&sandbox, &["tools/a.c"]);
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    sandbox.ok(["stash", "-u"]);
    sandbox.ok(["sparse", "reapply"]);
    assert_held(&sandbox, &[]);
    sandbox.ok(["stash", "pop"]);
    assert_same(&before, &sandbox.snapshot());
    assert_eq!(sandbox.status(), [" M src/a.c", " M tools/a.c", "?? docs/new"]);
}

#[test]
fn a_killed_change_deletes_nothing_and_goes_on() {
    let sandbox = Sandbox::new();
    for number in 0..3000 {
        sandbox.write(format!("d{}/f{number}", number % 17), text(number, 300));
    }
    sandbox.save("one");
    let all = sandbox.snapshot();
    let below = |dirs: &[&str]| -> Tree {
        let is_below = |path: &str| dirs.iter().any(|dir| path.starts_with(&format!("{dir}/")));
        all.clone().into_iter().filter(|(path, _)| is_below(path.to_str().unwrap())).collect()
    };
    let steps: [(&[&str], Tree); 3] = [
        (&["set", "d1", "d2", "d3"], below(&["d1", "d2", "d3"])),
        (
            &["set", "d3", "d4", "d5", "d6", "d7", "d8", "d9"],
            below(&["d3", "d4", "d5", "d6", "d7", "d8", "d9"]),
        ),
        (&["disable"], all.clone()),
    ];
    let mut dice = Dice::new(3);
    let (mut killed, mut unfinished) = (0, 0);
    for round in 0..18 {
        let (args, expected) = &steps[round % 3];
        let args: Vec<&str> = std::iter::once("sparse").chain(args.iter().copied()).collect();
        let mut child = sandbox.command(&args).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll() % 90_000));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        assert!(sandbox.status().is_empty(), "round {round}");
        let is_unfinished = sandbox.ok(["sparse", "list", "--json"]).json()["unfinished"] == true;
        unfinished += u32::from(is_unfinished);
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["commit", "-a", "--allow-empty", "-m", "nothing"]);
        if is_unfinished && round % 2 == 0 {
            assert!(sandbox.ok(["status"]).text().contains("sparse reapply"));
            sandbox.ok(["sparse", "reapply"]);
        } else {
            sandbox.ok(&args);
        }
        assert_same(expected, &without_leftovers(sandbox.snapshot()));
        assert!(sandbox.status().is_empty(), "round {round}");
    }
    assert!(killed > 0 && unfinished > 0, "{killed} were killed in time, {unfinished} half-way");
    assert_same(&all, &sandbox.restored("HEAD"));
}

/// What branches and work tree should hold.
struct Model {
    branches: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    head: &'static str,
    /// Changes of the work tree that are not committed.
    local: BTreeMap<String, Vec<u8>>,
    /// How often an undo was possible.
    undone: u32,
}

const BRANCHES: [&str; 3] = ["main", "b1", "b2"];
const SPECS: [&[&str]; 8] = [
    &["a"],
    &["a/x", "b"],
    &["*.c"],
    &[":!a/x", ":!stable"],
    &["b/", ":!*.t"],
    &[":(glob)*/*", "stable"],
    &["a/x/1.c"],
    &["stable", "nothing"],
];

impl Model {
    fn new(sandbox: &Sandbox, dice: &mut Dice) -> Self {
        let mut branches = BTreeMap::new();
        for branch in BRANCHES {
            if branch != "main" {
                sandbox.ok(["switch", "-c", branch]);
            }
            let mut tree = BTreeMap::new();
            // An empty directory would be staged as such.
            ["a", "b"].iter().for_each(|dir| sandbox.remove(dir));
            for dir in ["", "a/", "a/x/", "b/", "b/y/"] {
                for name in ["1.c", "2.t", "3.c"] {
                    let (path, content) = (format!("{dir}{name}"), format!("{}", dice.roll() % 4));
                    sandbox.remove(&path);
                    if !dice.roll().is_multiple_of(4) {
                        sandbox.write(&path, &content);
                        tree.insert(path, content.into_bytes());
                    }
                }
                let path = format!("stable/{dir}same");
                sandbox.write(&path, dir);
                tree.insert(path, dir.as_bytes().to_vec());
            }
            // A file here, a directory there.
            let path = if dice.roll().is_multiple_of(2) { "odd" } else { "odd/1.c" };
            sandbox.remove("odd");
            sandbox.write(path, branch);
            tree.insert(path.to_owned(), branch.as_bytes().to_vec());
            sandbox.ok(["add", "-A"]);
            sandbox.ok(["commit", "--allow-empty", "-m", branch]);
            branches.insert(branch, tree);
        }
        Self { branches, head: "b2", local: BTreeMap::new(), undone: 0 }
    }

    /// What `status` should say of local changes.
    fn status(&self) -> Vec<String> {
        let tree = &self.branches[self.head];
        let (tracked, new): (Vec<_>, Vec<_>) =
            self.local.keys().partition(|path| tree.contains_key(*path));
        let tracked = tracked.into_iter().map(|path| format!(" M {path}"));
        tracked.chain(new.into_iter().map(|path| format!("?? {path}"))).collect()
    }

    fn step(&mut self, sandbox: &Sandbox, dice: &mut Dice) -> String {
        let roll = dice.roll();
        let pick = (roll >> 8) as usize;
        match roll % 12 {
            0..3 => {
                let spec = SPECS[pick % SPECS.len()];
                let command = if sandbox.path(".digstore/sparse").exists() && pick.is_multiple_of(3)
                {
                    "add"
                } else {
                    "set"
                };
                let args = [&["sparse", command, "--force", "--"], spec].concat();
                sandbox.ok(&args);
                args.join(" ")
            }
            3 => {
                sandbox.ok(["sparse", "disable"]);
                "disable".to_owned()
            }
            4..7 => {
                let branch = BRANCHES[pick % BRANCHES.len()];
                // What is changed there stops it.
                if sandbox.run(["switch", branch]).code == 0 {
                    self.head = branch;
                }
                format!("switch {branch}")
            }
            7 => {
                let path = format!("new-{}", pick % 5);
                sandbox.write(&path, roll.to_string());
                self.local.insert(path.clone(), roll.to_string().into_bytes());
                path
            }
            8 => {
                let tree = &self.branches[self.head];
                let path = tree.keys().nth(pick % tree.len()).unwrap();
                sandbox.ok(["restore", path]);
                self.local.remove(path);
                if pick.is_multiple_of(2) {
                    sandbox.write(path, roll.to_string());
                    self.local.insert(path.clone(), roll.to_string().into_bytes());
                }
                format!("restore and edit {path}")
            }
            9 => {
                sandbox.run(["stash", "-u"]);
                if !sandbox.ok(["stash", "list"]).text().is_empty() {
                    assert!(sandbox.status().is_empty());
                    sandbox.ok(["stash", "pop"]);
                }
                "stash and pop".to_owned()
            }
            10 => {
                // Local changes may stop it.
                if sandbox.run(["undo"]).code == 0 {
                    sandbox.ok(["redo"]);
                    self.undone += 1;
                }
                "undo and redo".to_owned()
            }
            _ => {
                sandbox.run(["commit", "-a", "-m", "local"]);
                let tree = self.branches.get_mut(self.head).unwrap();
                let tracked: Vec<_> =
                    self.local.keys().filter(|path| tree.contains_key(*path)).cloned().collect();
                for path in tracked {
                    tree.insert(path.clone(), self.local.remove(&path).unwrap());
                }
                "commit -a".to_owned()
            }
        }
    }
}

#[test]
fn whatever_is_set_and_switched_everything_comes_back() {
    let mut undone = 0;
    for seed in 0..6 {
        let (sandbox, mut dice) = (Sandbox::new(), Dice::new(seed));
        let mut model = Model::new(&sandbox, &mut dice);
        let mut steps = Vec::new();
        for _ in 0..30 {
            steps.push(model.step(&sandbox, &mut dice));
            let status = sandbox.ok(["status", "--porcelain", "-uall"]);
            let status: Vec<_> = status.text().lines().collect();
            assert_eq!(status, model.status(), "seed {seed}: {steps:#?}");
        }
        sandbox.ok(["sparse", "disable"]);
        let mut expected = model.branches[model.head].clone();
        expected.extend(model.local.clone());
        let expected: Tree = expected
            .into_iter()
            .map(|(path, bytes)| (path.into(), Node::File(bytes, false)))
            .collect();
        assert_same(&expected, &sandbox.snapshot());
        assert!(fs::metadata(sandbox.path(".digstore/sparse")).is_err());
        for branch in BRANCHES {
            let expected: Tree = model.branches[branch]
                .iter()
                .map(|(path, bytes)| (path.into(), Node::File(bytes.clone(), false)))
                .collect();
            assert_same(&expected, &sandbox.restored(branch));
        }
        undone += model.undone;
    }
    assert!(undone > 0, "no undo was possible");
}

#[test]
fn an_empty_directory_that_is_there_is_staged_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("a/a", "a");
    sandbox.write("d/a", "a");
    sandbox.save("x");
    sandbox.ok(["sparse", "set", "a"]);
    sandbox.mkdir("out/logs");
    sandbox.save("logs");
    sandbox.append("a/a", "more");
    sandbox.ok(["commit", "-a", "-m", "second"]);
    assert!(sandbox.restored("HEAD").contains_key(std::ffi::OsStr::new("out/logs")));
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.status().is_empty());
    // In the place of a file that is not wanted.
    sandbox.mkdir("d/a");
    sandbox.ok(["add", "-A"]);
    assert_eq!(sandbox.status(), ["T  d/a"]);
}

#[test]
fn redo_leaves_no_directory_in_the_place_of_a_file_that_is_not_wanted() {
    let sandbox = Sandbox::new();
    sandbox.write("a/a", "a");
    sandbox.write("f", "f");
    sandbox.save("x");
    sandbox.ok(["sparse", "set", "a"]);
    sandbox.write("f/g", "u");
    sandbox.ok(["stash", "push", "-u"]);
    sandbox.ok(["undo"]);
    sandbox.ok(["redo"]);
    assert!(sandbox.status().is_empty() && !sandbox.path("f").exists());
}
