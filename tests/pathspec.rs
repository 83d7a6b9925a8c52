//! Pathspecs through the binary: what `add`, `rm`, `restore`, `ls` and `status` do with globs,
//! excluding pathspecs and lists of them.

mod common;

use common::{Sandbox, name};

const FILES: [&str; 7] =
    ["top.c", "top.h", "src/a.c", "src/b.h", "src/deep/c.c", "data/[1].bin", "data/1.bin"];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    FILES.iter().for_each(|file| sandbox.write(file, *file));
    sandbox
}

fn listed(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let text = sandbox.ok([&["ls"], args].concat());
    text.text().lines().map(str::to_owned).collect()
}

#[test]
fn add_takes_globs_and_leaves_out_what_is_excluded() {
    let sandbox = sandbox();
    sandbox.ok(["add", "*.c", ":!src/deep"]);
    assert_eq!(listed(&sandbox, &[]), ["src/a.c", "top.c"]);
    sandbox.run_in("src", ["add", ":(glob)*.h", ":/data/[[]1].bin"]).expect_code(0);
    assert_eq!(listed(&sandbox, &[]), ["data/[1].bin", "src/a.c", "src/b.h", "top.c"]);
    sandbox.run_in("src", ["add", ":^/data"]).expect_code(0);
    assert_eq!(listed(&sandbox, &["*.c"]), ["src/a.c", "src/deep/c.c", "top.c"]);
    assert_eq!(sandbox.status().last().unwrap(), "?? data/1.bin");
    // The name itself comes before the glob.
    sandbox.ok(["add", ":(literal)data/1.bin"]);
    assert_eq!(listed(&sandbox, &["data/[1].bin"]), ["data/1.bin", "data/[1].bin"]);
    assert_eq!(listed(&sandbox, &[":(literal)data/[1].bin"]), ["data/[1].bin"]);
    assert_eq!(listed(&sandbox, &[":(icase)SRC/A.C"]), ["src/a.c"]);
}

#[test]
fn add_stages_deletions_only_of_what_matches() {
    let sandbox = sandbox();
    sandbox.save("all");
    ["top.c", "top.h", "src/a.c"].iter().for_each(|file| sandbox.remove(file));
    sandbox.ok(["add", "-A", "*.c"]);
    assert_eq!(sandbox.status(), ["D  src/a.c", "D  top.c", " D top.h"]);
    sandbox.ok(["restore", "--staged", ":!src"]);
    assert_eq!(sandbox.status(), ["D  src/a.c", " D top.c", " D top.h"]);
    sandbox.ok(["restore", "*.h"]);
    assert_eq!(sandbox.read("top.h"), b"top.h");
    sandbox.ok(["restore", "--source", "HEAD", "src/*.c"]);
    assert_eq!(sandbox.read("src/a.c"), b"src/a.c");
    assert!(!sandbox.path("top.c").exists());
}

#[test]
fn what_matches_nothing_is_an_error_and_nothing_is_done() {
    let sandbox = sandbox();
    let message = sandbox.fails(20, ["add", "*.c", "*.zip"]);
    assert!(message.contains("nothing in the work tree matches '*.zip'"), "{message}");
    assert!(listed(&sandbox, &[]).is_empty());
    sandbox.fails(20, ["add", "top.c/"]);
    sandbox.save("all");
    for args in
        [&["rm", "*.zip"][..], &["restore", "x*"], &["ls", "*.zip"], &["ls", "-s", "HEAD", "x*"]]
    {
        assert!(sandbox.fails(20, args).contains("matches"), "{args:?}");
    }
    assert!(sandbox.fails(20, ["restore", "topp.c"]).contains("did you mean 'top.c'?"));
    assert!(sandbox.fails(20, ["restore", "--staged", "y*"]).contains("matches"));
    assert!(sandbox.fails(2, ["add", ":(icas)x"]).contains("did you mean 'icase'?"));
    assert!(sandbox.fails(2, ["add", ""]).contains("hint: '.' names everything"));
    assert!(sandbox.fails(2, ["add", "../x*"]).contains("leads out of the work tree"));
}

#[test]
fn rm_of_a_glob_needs_no_recursive_unless_it_names_a_directory() {
    let sandbox = sandbox();
    sandbox.save("all");
    assert!(sandbox.fails(1, ["rm", "src"]).contains("is a directory"));
    let removed = sandbox.ok(["rm", "src/*.c", ":!src/deep"]);
    assert_eq!(removed.text(), "rm 'src/a.c'\n");
    assert!(!sandbox.path("src/a.c").exists() && sandbox.path("src/deep/c.c").exists());
    sandbox.run_in("src", ["rm", "-r", ":!deep"]).expect_code(0);
    assert_eq!(listed(&sandbox, &[":/src"]), ["src/deep/c.c"]);
}

#[test]
fn status_shows_what_matches() {
    let sandbox = sandbox();
    sandbox.ok(["add", "src/a.c"]);
    let status = |args: &[&str]| {
        let all = [&["status", "-s"], args].concat();
        sandbox.ok(all).text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(status(&["data"]), ["?? data/"]);
    assert_eq!(status(&["data/1.bin"]), ["?? data/1.bin"]);
    assert_eq!(status(&["src"]), ["A  src/a.c", "?? src/b.h", "?? src/deep/"]);
    assert_eq!(status(&["*.c"]), ["A  src/a.c", "?? src/deep/c.c", "?? top.c"]);
    assert_eq!(status(&[":!src", ":!*.bin"]), ["?? top.c", "?? top.h"]);
    assert!(status(&["nothing"]).is_empty());
}

#[test]
fn pathspecs_come_from_files_too() {
    let sandbox = sandbox();
    sandbox.write("odd\nname", "x");
    let list = b"src/a.c\r\n\"odd\\nname\"\n";
    sandbox.feed(list, ["add", "--pathspec-from-file=-"]).expect_code(0);
    assert_eq!(listed(&sandbox, &[]), ["odd\\nname", "src/a.c"]);
    std::os::unix::fs::symlink("src", sandbox.path("link")).unwrap();
    sandbox
        .feed(b"top.c\0:!x\0", ["add", "--pathspec-from-file", "-", "--pathspec-file-nul"])
        .expect_code(0);
    sandbox.write(name(b"list"), "top.c\n");
    sandbox.ok(["rm", "--cached", "--pathspec-from-file=list"]);
    assert_eq!(listed(&sandbox, &[]), ["odd\\nname", "src/a.c"]);
    sandbox.remove("src/a.c");
    sandbox.feed(b"*.c", ["restore", "--pathspec-from-file=-"]).expect_code(0);
    assert_eq!(sandbox.read("src/a.c"), b"src/a.c");
    // An empty list is not everything.
    for command in ["add", "rm", "restore"] {
        let output = sandbox.feed(b"", [command, "--pathspec-from-file=-"]).expect_code(2);
        assert!(output.stderr.contains("the list of pathspecs is empty"), "{command}");
    }
    sandbox.feed(b"\"a", ["add", "--pathspec-from-file=-"]).expect_code(2);
    sandbox.feed(b"a", ["add", "--pathspec-from-file=-", "b"]).expect_code(2);
    sandbox.fails(1, ["add", "--pathspec-from-file=missing"]);
}
