//! `clean`, through the binary.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files by any means, and a failed helper fails the test"
)]

mod common;

use std::fs;

use common::{Sandbox, assert_same};

/// Tracked files, untracked ones, ignored ones, and directories of each kind.
fn mess() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.o\nout/\n");
    sandbox.write("a", "a");
    sandbox.write("d/tracked", "t");
    sandbox.mkdir("hollow");
    sandbox.save("first");
    sandbox.write("new", "new");
    sandbox.write("d/new", "new too");
    sandbox.write("d/x.o", "ignored");
    sandbox.write("u/deep/er", "untracked");
    sandbox.write("u/y.o", "ignored");
    sandbox.write("out/big", "ignored");
    sandbox.mkdir("void/inner");
    sandbox.link("dangling", "nowhere");
    sandbox
}

/// The paths of a report, files and then directories.
fn listed(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let json = sandbox.ok(["clean", "--json"].iter().chain(args)).json();
    let paths = |name: &str| {
        let paths = json[name].as_array().unwrap().iter();
        paths.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let dirs = paths("directories").into_iter().map(|dir| format!("{dir}/"));
    paths("files").into_iter().chain(dirs).collect()
}

#[test]
fn it_does_nothing_unless_it_is_told_to() {
    let sandbox = mess();
    let before = sandbox.snapshot();
    let stderr = sandbox.fails(2, ["clean"]);
    assert!(stderr.contains("--force"), "{stderr}");
    sandbox.fails(2, ["clean", "-d", "-x"]);
    let output = sandbox.ok(["clean", "-n"]);
    assert_eq!(output.text(), "would remove d/new\nwould remove dangling\nwould remove new\n");
    assert_same(&before, &sandbox.snapshot());
}

#[test]
fn what_goes_is_what_a_dry_run_names() {
    for (args, expected) in [
        (&[][..], &["d/new", "dangling", "new"][..]),
        (&["-d"], &["d/new", "dangling", "new", "u/deep/er", "u/deep/", "void/inner/", "void/"]),
        (&["-x"], &["d/new", "d/x.o", "dangling", "new"]),
        (&["-X"], &["d/x.o"]),
        (&["-d", "-X"], &["d/x.o", "out/big", "u/y.o", "out/"]),
        (
            &["-d", "-x"],
            &[
                "d/new",
                "d/x.o",
                "dangling",
                "new",
                "out/big",
                "u/deep/er",
                "u/y.o",
                "out/",
                "u/",
                "u/deep/",
                "void/",
                "void/inner/",
            ],
        ),
        (&["-e", "new"], &["dangling"]),
        (
            &["-d", "-x", "-e", "u", "-e", "*.o", "-e", "void"],
            &["d/new", "dangling", "new", "out/big", "out/"],
        ),
        (&["u"], &["u/deep/er", "u/deep/"]),
        (&["*w"], &["d/new", "new"]),
    ] {
        let sandbox = mess();
        let named = listed(&sandbox, &[&["-n"], args].concat());
        let removed = listed(&sandbox, &[&["-f"], args].concat());
        let files = |all: &[String]| -> Vec<String> {
            all.iter().filter(|path| !path.ends_with('/')).cloned().collect()
        };
        assert_eq!(files(&named), files(&removed), "{args:?}");
        let mut expected: Vec<_> = expected.iter().map(|path| (*path).to_owned()).collect();
        let mut sorted = removed.clone();
        expected.sort();
        sorted.sort();
        assert_eq!(sorted, expected, "{args:?}");
        for path in &removed {
            assert!(fs::symlink_metadata(sandbox.path(path)).is_err(), "{path}");
        }
        assert_eq!(sandbox.read("d/tracked"), b"t");
        assert!(sandbox.path("hollow").is_dir());
    }
}

#[test]
fn undo_brings_back_what_was_removed_unless_it_was_to_be_forgotten() {
    let sandbox = mess();
    let before = sandbox.snapshot();
    sandbox.ok(["clean", "-f", "-d", "-x"]);
    assert!(sandbox.status().is_empty());
    sandbox.ok(["undo"]);
    let mut after = sandbox.snapshot();
    // Directories without files are not stored.
    after.insert("void/inner".into(), common::Node::EmptyDir);
    assert_same(&before, &after);
    sandbox.ok(["clean", "-f", "-X", "-d", "--no-keep"]);
    assert!(!sandbox.path("out").exists() && sandbox.path("new").exists());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn repositories_and_what_lies_behind_links_stay() {
    let sandbox = mess();
    sandbox.write("git/.git/HEAD", "ref");
    sandbox.write("git/sub/file", "theirs");
    sandbox.write("other/file", "theirs");
    fs::create_dir_all(sandbox.path("other/.digstore")).unwrap();
    fs::write(sandbox.beside("outside"), "outside").unwrap();
    sandbox.link("link", sandbox.beside("outside"));
    fs::create_dir(sandbox.beside("dir")).unwrap();
    fs::write(sandbox.beside("dir/file"), "outside").unwrap();
    sandbox.link("dirlink", sandbox.beside("dir"));
    let output = sandbox.ok(["clean", "-f", "-d", "-x"]);
    for name in ["git", "other"] {
        assert!(output.stderr.contains(&format!("'{name}' stays")), "{}", output.stderr);
    }
    assert_eq!(sandbox.read("git/sub/file"), b"theirs");
    assert_eq!(sandbox.read("other/file"), b"theirs");
    assert!(!sandbox.path("link").is_symlink() && !sandbox.path("dirlink").is_symlink());
    assert!(sandbox.beside("outside").exists() && sandbox.beside("dir/file").exists());
}

#[test]
fn the_current_directory_is_what_is_cleaned_and_it_stays() {
    let sandbox = mess();
    sandbox.run_in("u/deep", ["clean", "-f", "-d", "-x"]).expect_code(0);
    assert!(sandbox.path("u/deep").is_dir() && !sandbox.path("u/deep/er").exists());
    assert!(sandbox.path("u/y.o").exists() && sandbox.path("new").exists());
}

#[test]
fn what_waits_to_be_resolved_is_not_untracked() {
    let sandbox = Sandbox::new();
    sandbox.write("d/f", "1");
    sandbox.write("g", "g");
    sandbox.save("one");
    sandbox.ok(["switch", "-c", "topic"]);
    sandbox.write("d/f", "2");
    sandbox.save("changed");
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["rm", "d/f"]);
    sandbox.commit("deleted");
    sandbox.fails(1, ["merge", "topic"]);
    sandbox.ok(["restore", "--theirs", "d/f"]);
    sandbox.append("d/f", "mine");
    assert_eq!(sandbox.status(), ["DU d/f"]);
    sandbox.ok(["clean", "-f", "-d", "-x", "--no-keep"]);
    assert_eq!(sandbox.read("d/f"), b"2mine");
    sandbox.write("d/other", "o");
    assert_eq!(listed(&sandbox, &["-f", "-d"]), ["d/other"]);
    sandbox.ok(["add", "d/f"]);
    sandbox.commit("resolved");
    assert_eq!(sandbox.ok(["get", "HEAD:d/f"]).stdout, b"2mine");
}
