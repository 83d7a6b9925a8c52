//! `add`, `commit`, `status`, `log` and the names of commits.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod common;

use std::fs;
use std::time::{Duration, SystemTime};

use common::{Node, Output, Sandbox, assert_same, name, noise};
use digstore::id::{CommitId, TreeId};
use digstore::storage::format::object::{Commit, Signature};

/// The paths that the staging area holds.
fn staged(sandbox: &Sandbox) -> Vec<String> {
    sandbox.ok(["ls"]).text().lines().map(str::to_owned).collect()
}

#[test]
fn add_takes_paths_from_the_directory_it_runs_in() {
    let sandbox = Sandbox::new();
    for file in ["top", "sub/one", "sub/two", "sub/deep/three"] {
        sandbox.write(file, file);
    }
    sandbox.run_in("sub", ["add", "one"]).expect_code(0);
    assert_eq!(sandbox.ok(["ls"]).text(), "sub/one\n");
    sandbox.run_in("sub/deep", ["add", "../two"]).expect_code(0);
    assert_eq!(staged(&sandbox), ["sub/one", "sub/two"]);
    sandbox.run_in("sub", ["add", "."]).expect_code(0);
    assert_eq!(staged(&sandbox), ["sub/deep/three", "sub/one", "sub/two"]);
    sandbox.run_in("sub/deep", ["add", "-A"]).expect_code(0);
    assert_eq!(staged(&sandbox), ["sub/deep/three", "sub/one", "sub/two", "top"]);
    sandbox.run_in("sub", ["add", "../../outside"]).expect_code(2);
    let output =
        Output::of(sandbox.command(["-C", "work/sub", "add", "."]).current_dir(sandbox.beside("")));
    output.expect_code(0);
}

#[test]
fn add_of_a_path_that_is_nowhere_stages_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("there", "x");
    let told = sandbox.fails(20, ["add", "there", "ther"]);
    assert!(told.contains("'ther' is not in the work tree"), "{told}");
    assert!(staged(&sandbox).is_empty());
    sandbox.fails(2, ["add"]);
}

#[test]
fn add_of_a_path_stages_its_deletion() {
    let sandbox = Sandbox::new();
    sandbox.write("a/one", "1");
    sandbox.write("a/two", "2");
    sandbox.write("b", "3");
    sandbox.save("x");
    sandbox.remove("a/one");
    sandbox.remove("b");
    sandbox.ok(["add", "a/one"]);
    assert_eq!(sandbox.status(), ["D  a/one", " D b"]);
    sandbox.remove("a");
    sandbox.ok(["add", "a"]);
    assert_eq!(sandbox.status(), ["D  a/one", "D  a/two", " D b"]);
    sandbox.ok(["add", "-A"]);
    sandbox.commit("all gone");
    assert!(sandbox.restored("HEAD").is_empty());
}

#[test]
fn a_dry_run_says_what_would_be_staged_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("changed", "1");
    sandbox.write("removed", "1");
    sandbox.save("x");
    sandbox.write("changed", "longer");
    sandbox.remove("removed");
    sandbox.write("new", noise(1, 200_000));
    let packs = sandbox.packs(1);
    let output = sandbox.ok(["add", "-A", "-n"]);
    assert_eq!(output.text(), "add 'new'\nmodify 'changed'\nremove 'removed'\n");
    assert_eq!(sandbox.status(), [" M changed", " D removed", "?? new"]);
    assert_eq!(sandbox.packs(1), packs);
}

#[test]
fn ignored_files_are_left_out_unless_forced() {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.tmp\n/build/\n# comment\n");
    for file in ["a.tmp", "kept", "build/out", "sub/build/out", "sub/b.tmp"] {
        sandbox.write(file, file);
    }
    sandbox.ok(["add", "."]);
    assert_eq!(staged(&sandbox), [".digignore", "kept", "sub/build/out"]);
    assert_eq!(sandbox.status().len(), 3, "ignored files are not untracked");
    sandbox.ok(["add", "-f", "a.tmp"]);
    assert!(staged(&sandbox).contains(&"a.tmp".to_owned()));
    sandbox.ok(["add", "-A", "--force"]);
    assert_eq!(staged(&sandbox).len(), 6);
}

#[test]
fn a_named_file_that_is_ignored_is_reported() {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.tmp\n");
    sandbox.write("a.tmp", "x");
    let told = sandbox.fails(3, ["add", "a.tmp"]);
    assert!(told.contains("'a.tmp'") && told.contains("--force"), "{told}");
    assert!(staged(&sandbox).is_empty());
}

#[test]
fn nested_ignore_files_can_take_back_what_others_ignore() {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.log\nout/*\n!out/keep\n");
    sandbox.write("sub/.digignore", "!important.log\n/local\n");
    for file in
        ["a.log", "sub/b.log", "sub/important.log", "sub/local", "sub/x/local", "out/a", "out/keep"]
    {
        sandbox.write(file, file);
    }
    sandbox.ok(["add", "-A"]);
    let expected = [".digignore", "out/keep", "sub/.digignore", "sub/important.log", "sub/x/local"];
    assert_eq!(staged(&sandbox), expected);
}

#[test]
fn tracked_files_stay_tracked_when_they_become_ignored() {
    let sandbox = Sandbox::new();
    sandbox.write("data.bin", "1");
    sandbox.write("dir/inner", "1");
    sandbox.save("x");
    sandbox.write(".digignore", "*.bin\ndir/\n");
    sandbox.write("data.bin", "two");
    sandbox.write("dir/inner", "two");
    sandbox.write("dir/new", "is ignored");
    sandbox.write("new.bin", "is ignored");
    sandbox.save("y");
    assert_eq!(staged(&sandbox), [".digignore", "data.bin", "dir/inner"]);
    assert_eq!(sandbox.ok(["get", "dir/inner"]).stdout, b"two");
    assert!(sandbox.status().is_empty());
}

#[test]
fn git_and_digstore_directories_are_never_added() {
    let sandbox = Sandbox::new();
    sandbox.write(".git/config", "x");
    sandbox.write(".hidden", "x");
    sandbox.ok(["add", "-A", "-f"]);
    assert_eq!(staged(&sandbox), [".hidden"]);
}

#[test]
fn a_file_can_become_a_directory_and_back() {
    let sandbox = Sandbox::new();
    sandbox.write("x", "file");
    sandbox.write("other", "1");
    sandbox.save("file");
    sandbox.remove("x");
    sandbox.write("x/y/z", "in directory");
    sandbox.save("directory");
    assert_eq!(staged(&sandbox), ["other", "x/y/z"]);
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
    sandbox.remove("x");
    sandbox.link("x", "other");
    sandbox.save("link");
    assert_eq!(sandbox.restored("HEAD")[&name(b"x")], Node::Link("other".into()));
    sandbox.remove("x");
    sandbox.mkdir("x");
    sandbox.save("empty directory");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn a_file_becomes_a_directory_also_when_only_it_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("x", "file");
    sandbox.write("d/e/f", "deep");
    sandbox.save("one");
    sandbox.remove("x");
    sandbox.write("x/y", "in directory");
    sandbox.remove("d");
    sandbox.write("d", "now a file");
    sandbox.ok(["add", "x/y"]);
    assert_eq!(staged(&sandbox), ["d/e/f", "x/y"]);
    sandbox.ok(["add", "d"]);
    assert_eq!(staged(&sandbox), ["d", "x/y"]);
    sandbox.commit("two");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
    assert!(sandbox.status().is_empty());
}

#[test]
fn a_write_of_equal_size_right_behind_an_add_is_noticed() {
    let sandbox = Sandbox::new();
    for round in 0..25 {
        sandbox.write("racy", "aaaa");
        sandbox.ok(["add", "racy"]);
        sandbox.write("racy", "bbbb");
        assert!(sandbox.status()[0].ends_with("M racy"), "round {round}");
        sandbox.ok(["add", "-A"]);
        assert_eq!(sandbox.ok(["get", "racy"]).stdout, b"bbbb", "round {round}");
        assert_eq!(sandbox.status(), ["A  racy"], "round {round}");
    }
}

#[test]
fn an_edit_that_hides_behind_its_old_times_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "aaaa");
    sandbox.save("x");
    let then = fs::metadata(sandbox.path("file")).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    sandbox.ok(["add", "-A"]);
    sandbox.write("file", "bbbb");
    let file = fs::File::options().write(true).open(sandbox.path("file")).unwrap();
    file.set_modified(then).unwrap();
    assert_eq!(sandbox.status(), [" M file"]);
}

#[test]
fn a_touch_is_no_change() {
    let sandbox = Sandbox::new();
    sandbox.write("file", noise(1, 300_000));
    sandbox.save("x");
    let file = fs::File::options().write(true).open(sandbox.path("file")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    assert!(sandbox.status().is_empty());
    let output = sandbox.ok(["add", "-A", "--json"]).json();
    assert_eq!(output["modified"].as_array().unwrap().len(), 0);
    assert!(sandbox.fails(1, ["commit", "-m", "x"]).contains("nothing to commit"));
    // A mode is a change.
    sandbox.chmod("file", 0o755);
    assert_eq!(sandbox.status(), [" M file"]);
}

#[test]
fn the_porcelain_status_is_exact() {
    let sandbox = Sandbox::new();
    for file in ["deleted", "gone", "kind", "modified", "same", "twice"] {
        sandbox.write(file, "1");
    }
    sandbox.save("x");
    sandbox.write("added", "1");
    sandbox.write(name(b"new\n\xff"), "1");
    sandbox.remove("deleted");
    sandbox.write("twice", "22");
    sandbox.ok(["add", "-A"]);
    sandbox.write("twice", "333");
    sandbox.write("modified", "22");
    sandbox.remove("gone");
    sandbox.remove("kind");
    sandbox.link("kind", "same");
    sandbox.write("dir/untracked", "1");
    sandbox.write("untracked", "1");
    let output = sandbox.ok(["status", "--porcelain=v1", "-z"]);
    let expected = b"R  added\0deleted\0 D gone\0 T kind\0 M modified\0A  new\n\xff\0MM twice\0\
        ?? dir/\0?? untracked\0";
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(expected));
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "");
    let status = sandbox.ok(["status", "--short"]);
    assert!(!status.stdout.contains(&0xff) && status.text().lines().count() == 8);
}

#[test]
fn the_status_for_programs_has_every_field() {
    let sandbox = Sandbox::new();
    let status = sandbox.ok(["status", "--json"]).json();
    assert_eq!(status["schema_version"], 1);
    assert_eq!(status["branch"], "main");
    assert_eq!(status["has_commit"], false);
    sandbox.write("a", "1");
    sandbox.save("x");
    sandbox.write("a", "22");
    sandbox.write("b", "1");
    sandbox.ok(["add", "b"]);
    sandbox.write(name(b"c\xff"), "1");
    let status = sandbox.ok(["status", "--json"]).json();
    assert_eq!(status["has_commit"], true);
    assert_eq!(status["detached_at"], serde_json::Value::Null);
    assert_eq!(status["staged"], serde_json::json!([{ "path": "b", "change": "A" }]));
    assert_eq!(status["unstaged"], serde_json::json!([{ "path": "a", "change": "M" }]));
    assert_eq!(status["untracked"][0]["path_hex"], "63ff");
}

#[test]
fn the_status_for_people_names_the_branch_and_what_to_do() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(["status"]).text().contains("No commits yet"));
    sandbox.write("a", "1");
    assert!(sandbox.ok(["status"]).text().contains("Untracked files:"));
    sandbox.save("x");
    let clean = sandbox.ok(["status"]);
    assert_eq!(clean.text(), "On branch main\nnothing to commit, work tree clean\n");
}

#[test]
fn a_commit_without_an_identity_says_how_to_give_one() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.ok(["add", "-A"]);
    let nobody = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env_remove("DIGSTORE_AUTHOR_NAME").env_remove("DIGSTORE_AUTHOR_EMAIL");
        Output::of(&mut command)
    };
    let output = nobody(&["commit", "-m", "x"]).expect_code(1);
    assert!(output.stderr.contains("hint: set DIGSTORE_AUTHOR_NAME"), "{}", output.stderr);
    assert!(sandbox.fails(20, ["log"]).contains("no commit yet"));
    nobody(&["commit", "-m", "x", "--author", "Somebody <some@body>"]).expect_code(0);
    sandbox.write("../home/config/digstore/config.toml", "[user]\nname = 'Set'\nemail = 's@e'\n");
    nobody(&["commit", "-m", "y", "--allow-empty"]).expect_code(0);
    let log = sandbox.ok(["log", "--json"]).json();
    assert_eq!(log["commits"][1]["author"]["name"], "Somebody");
    assert_eq!(log["commits"][0]["author"]["name"], "Set");
}

/// The message of the last commit.
fn last_message(sandbox: &Sandbox) -> String {
    let log = sandbox.ok(["log", "-n", "1", "--json"]).json();
    log["commits"][0]["message"].as_str().unwrap().to_owned()
}

#[test]
fn messages_come_from_flags_files_and_standard_input() {
    let sandbox = Sandbox::new();
    sandbox.ok(["commit", "--allow-empty", "-m", "title", "-m", "a paragraph"]);
    assert_eq!(last_message(&sandbox), "title\n\na paragraph");
    sandbox.write("message", "from a file\r\n");
    sandbox.ok(["commit", "--allow-empty", "-F", "message"]);
    assert!(last_message(&sandbox).starts_with("from a file"));
    sandbox.feed("p\u{ef}pe".as_bytes(), ["commit", "--allow-empty", "-F", "-"]).expect_code(0);
    assert_eq!(last_message(&sandbox), "p\u{ef}pe");
    sandbox.fails(1, ["commit", "--allow-empty", "-F", "no such file"]);
    sandbox.fails(2, ["commit", "--allow-empty", "-F", "message", "-m", "both"]);
    sandbox.feed(b"\xff", ["commit", "--allow-empty", "-F", "-"]).expect_code(1);
}

#[test]
fn the_editor_writes_the_message() {
    let sandbox = Sandbox::new();
    let edit = |script: &str| {
        sandbox.write("../editor", format!("#!/bin/sh\n{script}\n"));
        sandbox.chmod("../editor", 0o755);
        let mut command = sandbox.command(["commit", "--allow-empty"]);
        Output::of(command.env("DIGSTORE_EDITOR", sandbox.beside("editor")))
    };
    edit("grep -q '^#' \"$1\" && { echo edited; echo '# comment'; echo; } > \"$1\"").expect_code(0);
    assert_eq!(last_message(&sandbox), "edited");
    // Ctrl-C is for the editor, however often it is pressed.
    let often = "for i in 1 2 3; do kill -INT $PPID; sleep 0.05; done; echo pressed > \"$1\"";
    edit(often).expect_code(0);
    assert_eq!(last_message(&sandbox), "pressed");
    let failed = edit("exit 7").expect_code(1);
    assert!(failed.stderr.contains("editor"), "{}", failed.stderr);
    let empty = edit(": nothing").expect_code(1);
    assert!(empty.stderr.contains("message is empty"), "{}", empty.stderr);
    assert_eq!(sandbox.ok(["log", "--oneline"]).text().lines().count(), 2);
}

#[test]
fn a_commit_that_changes_nothing_needs_to_be_asked_for() {
    let sandbox = Sandbox::new();
    assert!(sandbox.fails(1, ["commit", "-m", "x"]).contains("nothing to commit"));
    sandbox.write("a", "1");
    assert!(sandbox.fails(1, ["commit", "-m", "x"]).contains("hint: 'digstore add -A'"));
    sandbox.save("one");
    assert!(sandbox.fails(1, ["commit", "-m", "x"]).contains("nothing to commit"));
    sandbox.ok(["commit", "-m", "two", "--allow-empty"]);
    // A change and its opposite are no change.
    sandbox.write("b", "1");
    sandbox.ok(["add", "-A"]);
    sandbox.remove("b");
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.fails(1, ["commit", "-m", "x"]).contains("nothing to commit"));
    assert_eq!(sandbox.ok(["log", "--oneline"]).text().lines().count(), 2);
}

#[test]
fn author_and_date_are_recorded_beside_the_committer() {
    let sandbox = Sandbox::new();
    let commit = |date: &str| {
        let author = "Grace H. <grace@example.org>";
        sandbox.run(["commit", "--allow-empty", "-m", "x", "--author", author, "--date", date])
    };
    commit("2001-02-03T04:05:06+05:30").expect_code(0);
    let entry = &sandbox.ok(["log", "--json"]).json()["commits"][0];
    assert_eq!(entry["author"]["name"], "Grace H.");
    assert_eq!(entry["author"]["email"], "grace@example.org");
    assert_eq!(entry["author"]["time"], "2001-02-03T04:05:06+05:30");
    assert_eq!(entry["committer"]["name"], "Ada Test");
    assert_ne!(entry["committer"]["time"], entry["author"]["time"]);
    for date in ["@0", "@-1", "2001-02-03", "1900-01-01T00:00:00Z", "@9223372036854775807"] {
        commit(date).expect_code(0);
    }
    commit("next tuesday").expect_code(1);
    sandbox.fails(1, ["commit", "--allow-empty", "-m", "x", "--author", "no address"]);
    sandbox.ok(["log"]);
}

#[test]
fn a_message_has_at_most_one_mebibyte() {
    let sandbox = Sandbox::new();
    let limit = vec![b'm'; 1 << 20];
    sandbox.feed(&limit, ["commit", "--allow-empty", "-F", "-"]).expect_code(0);
    assert_eq!(last_message(&sandbox).len(), 1 << 20);
    let more = vec![b'm'; (1 << 20) + 1];
    let output = sandbox.feed(&more, ["commit", "--allow-empty", "-F", "-"]).expect_code(1);
    assert!(output.stderr.contains("longer than 1 MiB"), "{}", output.stderr);
    for empty in ["", " \n\t"] {
        sandbox.fails(1, ["commit", "--allow-empty", "-m", empty]);
    }
}

#[test]
fn a_message_that_is_too_long_is_called_so_in_every_script() {
    let sandbox = Sandbox::new();
    let message = "\u{e9}".repeat(600_000);
    let output = sandbox.feed(message.as_bytes(), ["commit", "--allow-empty", "-F", "-"]);
    assert!(output.expect_code(1).stderr.contains("longer than 1 MiB"));
}

#[test]
fn a_commit_does_not_look_at_the_work_tree() {
    let sandbox = Sandbox::new();
    sandbox.write("small", "1");
    sandbox.write("dir/large", noise(1, 2 << 20));
    let before = sandbox.snapshot();
    sandbox.ok(["add", "-A"]);
    sandbox.remove("dir");
    sandbox.write("small", "changed since");
    sandbox.commit("what was staged");
    assert_same(&before, &sandbox.restored("HEAD"));
    assert_eq!(sandbox.status(), [" D dir/large", " M small"]);
}

#[test]
fn the_log_shows_the_newest_first_and_as_many_as_asked_for() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..5)
        .map(|number| {
            sandbox.write("a", number.to_string());
            sandbox.save(&format!("commit {number}\n\nbody \u{1b}[2J"))
        })
        .collect();
    let lines = sandbox.ok(["log", "--oneline"]);
    let lines: Vec<&str> = lines.text().lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], format!("{} (HEAD -> main) commit 4", &ids[4][..10]));
    assert_eq!(lines[4], format!("{} commit 0", &ids[0][..10]));
    assert_eq!(sandbox.ok(["log", "--oneline", "-n", "2"]).text().lines().count(), 2);
    assert_eq!(sandbox.ok(["log", "--oneline", "HEAD~3"]).text().lines().count(), 2);
    assert_eq!(sandbox.ok(["log", "-n", "0"]).text(), "");
    let full = sandbox.ok(["log"]);
    assert!(
        full.text().starts_with(&format!("commit {} (HEAD -> main)\nAuthor: Ada Test <", ids[4]))
    );
    assert!(!full.text().contains('\u{1b}'));
    let entries = sandbox.ok(["log", "--json"]).json();
    assert_eq!(entries["commits"][1]["id"], ids[3].as_str());
    assert_eq!(entries["commits"][0]["parents"][0], ids[3].as_str());
}

#[test]
fn commits_have_names_relative_to_others() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..4)
        .map(|number| {
            sandbox.write("a", number.to_string());
            sandbox.save("x")
        })
        .collect();
    let names = [
        ("HEAD", 3),
        ("@", 3),
        ("main", 3),
        ("heads/main", 3),
        ("HEAD~", 2),
        ("HEAD^", 2),
        ("HEAD~1", 2),
        ("main~2", 1),
        ("HEAD~1^~1", 0),
        ("HEAD^0", 3),
        ("HEAD~0", 3),
    ];
    for (revision, number) in names {
        let log = sandbox.ok(["log", "-n", "1", "--json", revision]).json();
        assert_eq!(log["commits"][0]["id"], ids[number].as_str(), "{revision}");
    }
    for id in &ids {
        for digits in [64, 40, 12] {
            let log = sandbox.ok(["log", "-n", "1", "--json", &id[..digits]]).json();
            assert_eq!(log["commits"][0]["id"], id.as_str());
        }
        let upper = id[..12].to_uppercase();
        let output = sandbox.run(["log", "-n", "1", &upper]);
        assert!(matches!(output.code, 0 | 20), "{output:?}");
    }
    let last = &ids[3];
    let short = sandbox.ok(["log", "-n", "1", "--json", &last[..4]]).json();
    assert_eq!(short["commits"][0]["id"], last.as_str());
}

#[test]
fn unknown_revisions_are_told_with_the_nearest_name() {
    let sandbox = Sandbox::new();
    assert!(sandbox.fails(20, ["log"]).contains("hint: 'digstore commit' makes the first one"));
    sandbox.write("a", "1");
    let id = sandbox.save("x");
    assert!(sandbox.fails(20, ["log", "mian"]).contains("hint: did you mean 'main'?"));
    for revision in ["HEAD~1", "HEAD^2", "HEAD~99999999999999999999", "nothing", "0000", "HEAD~x"] {
        let told = sandbox.fails(20, ["log", revision]);
        assert!(told.contains("unknown revision"), "{revision}: {told}");
    }
    sandbox.fails(20, ["log", &id[..3]]);
    sandbox.fails(2, ["log", ""]);
    sandbox.fails(20, ["log", "../../format"]);
}

/// A date that gives the next commit an id with the same four digits as that of its parent, if it
/// is made within this second.
fn colliding_date(tree: &TreeId, parent: &CommitId) -> Option<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let sign = |seconds| Signature {
        name: "Ada Test".to_owned(),
        email: "ada@example.org".to_owned(),
        seconds,
        offset_minutes: 0,
    };
    let mut commit = Commit {
        tree: *tree,
        files: 1,
        bytes: 1,
        parents: vec![*parent],
        author: sign(0),
        committer: sign(now.as_secs() as i64),
        message: "twin".to_owned(),
    };
    let wanted = parent.to_string();
    (0..1_000_000).find_map(|seconds| {
        commit.author.seconds = seconds;
        let id = CommitId::of(&commit.encode()).to_string();
        (id[..4] == wanted[..4]).then(|| format!("@{seconds}"))
    })
}

#[test]
fn an_ambiguous_prefix_lists_the_candidates() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    let mut parent = sandbox.save("first");
    for _ in 0..20 {
        let tree =
            sandbox.ok(["log", "--json"]).json()["commits"][0]["tree"].as_str().unwrap().to_owned();
        let date = colliding_date(&tree.parse().unwrap(), &parent.parse().unwrap()).unwrap();
        let args = ["commit", "--allow-empty", "-m", "twin", "--date", &date, "--json"];
        let twin = sandbox.ok(args).json()["id"].as_str().unwrap().to_owned();
        if twin[..4] == parent[..4] {
            let told = sandbox.fails(20, ["log", &twin[..4]]);
            assert!(told.contains(&twin[..10]) && told.contains(&parent[..10]), "{told}");
            assert!(told.contains("hint: give more digits"), "{told}");
            sandbox.ok(["log", &twin[..40]]);
            return;
        }
        // The second was over before the commit was made.
        parent = twin;
    }
    unreachable!("no commit was made in the second it was meant for");
}

#[test]
fn commit_all_says_by_its_exit_code_that_a_file_was_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "one");
    sandbox.write("g", "one");
    sandbox.save("first");
    sandbox.remove("f");
    // No link may lead there.
    std::os::unix::fs::symlink(".digstore/config.toml", sandbox.path("f")).unwrap();
    for (number, hook) in ["", "true"].into_iter().enumerate() {
        sandbox.write("g", format!("{number}"));
        if !hook.is_empty() {
            sandbox.ok(["config", "set", "--user", "hooks.pre-commit", hook]);
        }
        let said = sandbox.run(["commit", "-a", "-m", "second"]).expect_code(3);
        assert!(said.stderr.contains("left out 'f'"), "{said:?}");
        assert_eq!(sandbox.ok(["get", "f"]).stdout, b"one");
        assert_eq!(sandbox.ok(["get", "g"]).stdout, format!("{number}").as_bytes());
    }
    // What is not tracked is none of its business.
    sandbox.remove("f");
    sandbox.write("f", "last");
    sandbox.write("g", "last");
    std::os::unix::fs::symlink(".digstore/config.toml", sandbox.path("untracked")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    sandbox.ok(["commit", "-a", "-m", "third"]);
    sandbox.write("g", "after");
    sandbox.ok(["add", "-u"]);
}

#[test]
fn a_commit_of_nothing_leaves_what_is_staged() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1");
    sandbox.save("one");
    sandbox.write("f", "22");
    sandbox.ok(["add", "f"]);
    sandbox.write("f", "1");
    assert_eq!(sandbox.status(), ["MM f"]);
    let before = sandbox.ok(["op", "log", "--json"]).stdout;
    sandbox.fails(1, ["commit", "-a", "-m", "x"]);
    assert_eq!(sandbox.status(), ["MM f"]);
    sandbox.fails(1, ["branch", "main"]);
    assert_eq!(sandbox.ok(["op", "log", "--json"]).stdout, before);
}
