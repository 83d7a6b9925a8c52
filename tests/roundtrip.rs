//! What goes in comes out: every byte, name, mode and link, through the binary.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files by any means, and a failed helper fails the test"
)]

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Dice, Sandbox, Tree, assert_same, name, noise, snapshot, text};
use proptest::prelude::*;

/// Saves the work tree and compares it with what comes back.
fn assert_returns(sandbox: &Sandbox) -> Tree {
    let before = sandbox.snapshot();
    let id = sandbox.save("all");
    assert_same(&before, &sandbox.restored(&id));
    assert_same(&before, &sandbox.snapshot());
    sandbox.ok(["store", "verify", "--data"]);
    before
}

#[test]
fn executable_bits_come_back() {
    let sandbox = Sandbox::new();
    for (file, mode) in [("run", 0o755), ("mine", 0o700), ("plain", 0o644), ("group", 0o654)] {
        sandbox.write(file, file);
        sandbox.chmod(file, mode);
    }
    sandbox.write("empty", "");
    sandbox.chmod("empty", 0o755);
    assert_returns(&sandbox);
    sandbox.chmod("run", 0o644);
    assert_returns(&sandbox);
}

#[test]
fn links_come_back_whatever_they_point_to() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/file", "x");
    sandbox.link("to-file", "dir/file");
    sandbox.link("to-dir", "dir");
    sandbox.link("dangling", "no/such/file");
    sandbox.link("absolute", "/etc/passwd");
    sandbox.link("outside", "../../../outside");
    sandbox.link("itself", "itself");
    sandbox.link("dir/up", "..");
    sandbox.link("odd", name(b"\xff\n target"));
    sandbox.link("long", name(&[b'l'; 4095]));
    assert_returns(&sandbox);
}

#[test]
fn empty_directories_come_back() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("empty");
    sandbox.mkdir("a/b/c/empty");
    sandbox.write("a/file", "x");
    sandbox.write("was-empty/file", "x");
    assert_returns(&sandbox);
    sandbox.remove("was-empty/file");
    sandbox.write("empty/now/file", "x");
    assert_returns(&sandbox);
}

#[test]
fn names_of_any_bytes_come_back() {
    let sandbox = Sandbox::new();
    let names: [&[u8]; 14] = [
        b"\xff\xfe",
        b"line\nbreak",
        b"\r",
        b"-rf",
        b"--all",
        b" ",
        b"tab\there",
        b"quote'\"",
        b"back\\slash",
        b"esc\x1b[2J",
        b"*?[a]",
        b"~",
        b"...",
        "\u{202e}bidi \u{1f980}".as_bytes(),
    ];
    for (number, bytes) in names.into_iter().enumerate() {
        sandbox.write(name(bytes), number.to_string());
        sandbox.write(Path::new(&name(bytes)).with_file_name("in").join(name(bytes)), bytes);
    }
    sandbox.write(name(&[b'n'; 255]), "the longest name");
    let before = assert_returns(&sandbox);
    assert_eq!(before.len(), 2 * names.len() + 1);
    assert_eq!(sandbox.ok(["get", "--", "-rf"]).stdout, b"3");
    let listed = sandbox.ok(["ls", "-z"]).stdout;
    assert!(listed.split(|byte| *byte == 0).any(|entry| entry == b"line\nbreak"));
}

#[test]
fn a_path_as_long_as_the_limit_comes_back() {
    let sandbox = Sandbox::new();
    let long =
        format!("{}/{}/{}/{}", "a".repeat(250), "b".repeat(250), "c".repeat(250), "d".repeat(250));
    sandbox.write(format!("{long}/file"), "deep");
    let deep = vec!["d"; 300].join("/");
    sandbox.write(format!("{deep}/file"), "deeper");
    assert_returns(&sandbox);
}

#[test]
fn files_of_every_size_at_a_limit_come_back() {
    let sandbox = Sandbox::new();
    for limit in [4, 16, 64, 128, 256, 512].map(|kib| kib << 10) {
        for len in [limit - 1, limit, limit + 1] {
            sandbox.write(format!("noise-{len}"), noise(len as u64, len));
            sandbox.write(format!("zeros-{len}"), vec![0; len]);
            sandbox.write(format!("text-{len}"), text(len as u64, len));
        }
    }
    sandbox.write("0", "");
    sandbox.write("1", "x");
    sandbox.write("zero", "\0");
    assert_returns(&sandbox);
}

#[test]
fn large_files_come_back_by_restore_and_by_get() {
    let sandbox = Sandbox::new();
    sandbox.write("noise", noise(1, 3 << 20));
    sandbox.write("text", text(2, 5 << 20));
    let before = assert_returns(&sandbox);
    for file in ["noise", "text"] {
        assert!(sandbox.ok(["get", file]).stdout == sandbox.read(file), "{file}");
        sandbox.ok(["get", file, "-o", "../copy"]);
        assert!(fs::read(sandbox.beside("copy")).unwrap() == sandbox.read(file), "{file}");
    }
    // An insertion near the start costs some chunks, not the file.
    let unique = |sandbox: &Sandbox| {
        sandbox.ok(["store", "size", "--json"]).json()["unique_bytes"].as_u64().unwrap()
    };
    let stored = unique(&sandbox);
    let mut edited = sandbox.read("noise");
    edited.splice(1000..1000, *b"inserted");
    sandbox.write("noise", &edited);
    assert_returns(&sandbox);
    assert!(unique(&sandbox) - stored <= 512 << 10, "{} bytes more", unique(&sandbox) - stored);
    assert_same(&before, &sandbox.restored("HEAD~1"));
}

#[test]
fn a_sparse_file_comes_back_sparse() {
    let sandbox = Sandbox::new();
    let mut file = fs::File::create(sandbox.path("sparse")).unwrap();
    file.seek(SeekFrom::Start(9 << 20)).unwrap();
    file.write_all(&noise(1, 100_000)).unwrap();
    file.set_len(24 << 20).unwrap();
    drop(file);
    let id = sandbox.save("sparse");
    let out = sandbox.beside("out");
    sandbox.ok(["restore", "-s", &id, "--target", out.to_str().unwrap()]);
    assert_same(&sandbox.snapshot(), &snapshot(&out));
    let metadata = fs::metadata(out.join("sparse")).unwrap();
    assert_eq!(metadata.len(), 24 << 20);
    assert!(metadata.blocks() * 512 < 2 << 20, "{} bytes on disk", metadata.blocks() * 512);
    sandbox.ok(["get", "sparse", "-o", "../got"]);
    assert!(fs::metadata(sandbox.beside("got")).unwrap().blocks() * 512 < 2 << 20);
}

#[test]
fn files_that_are_all_hole_come_back() {
    let sandbox = Sandbox::new();
    for len in [1, 4096, 65_536, 300_001, 5 << 20] {
        fs::File::create(sandbox.path(format!("hole-{len}"))).unwrap().set_len(len).unwrap();
    }
    assert_returns(&sandbox);
}

#[test]
fn equal_files_are_stored_once() {
    let sandbox = Sandbox::new();
    let (large, small) = (noise(1, 700_000), noise(2, 5000));
    for copy in 0..20 {
        sandbox.write(format!("d{copy}/large"), &large);
        sandbox.write(format!("d{copy}/small"), &small);
    }
    assert_returns(&sandbox);
    let size = sandbox.ok(["store", "size", "--json"]).json();
    assert_eq!(size["unique_bytes"], 705_000);
    assert_eq!(size["logical_bytes"], 20 * 705_000);
    assert!(size["disk_bytes"].as_u64().unwrap() < 800_000, "{size}");
    // A copy made later is found in the store.
    sandbox.write("later", &large);
    assert_returns(&sandbox);
    assert_eq!(sandbox.ok(["store", "size", "--json"]).json()["unique_bytes"], 705_000);
}

#[test]
fn a_directory_of_many_files_comes_back() {
    let sandbox = Sandbox::new();
    let mut dice = Dice::new(7);
    for number in 0..1500 {
        sandbox.write(format!("many/{number:04}"), noise(dice.roll(), number % 97));
    }
    let before = assert_returns(&sandbox);
    assert_eq!(before.len(), 1500);
    sandbox.remove("many/0700");
    sandbox.write("many/0701", "changed");
    sandbox.write("many/0701a", "new");
    assert_returns(&sandbox);
    assert_same(&before, &sandbox.restored("HEAD~1"));
}

/// Some files that people really have: sources of crates, or documentation.
fn real_files() -> Vec<(PathBuf, PathBuf)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    for root in [cargo.join("registry/src"), PathBuf::from("/usr/share/doc")] {
        let (mut found, mut bytes, mut todo) = (Vec::new(), 0, vec![root.clone()]);
        while let Some(dir) = todo.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
                if metadata.is_dir() {
                    todo.push(entry.path());
                } else if metadata.is_file() && bytes < 12 << 20 && found.len() < 700 {
                    bytes += metadata.len();
                    let below = entry.path().strip_prefix(&root).unwrap().to_owned();
                    found.push((entry.path(), below));
                }
            }
            if bytes >= 12 << 20 || found.len() >= 700 {
                break;
            }
        }
        if found.len() > 20 {
            return found;
        }
    }
    Vec::new()
}

#[test]
fn real_files_come_back() {
    let sandbox = Sandbox::new();
    for (from, below) in real_files() {
        let to = sandbox.path(below);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    sandbox.write("one", "at least");
    assert_returns(&sandbox);
}

/// A change of the work tree.
#[derive(Debug, Clone)]
enum Edit {
    File(String, u64, usize, bool),
    Append(String, u64),
    Link(String, String),
    Dir(String),
    Remove(String),
}

fn paths() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["[abc]", "[ab]\u{e9}", "a\\.[bc]"], 1..4)
        .prop_map(|names| names.join("/"))
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..5000usize, 1 => 60_000..70_000usize, 1 => 250_000..600_000usize]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        6 => (paths(), 0..6u64, sizes(), any::<bool>())
            .prop_map(|(path, seed, len, run)| Edit::File(path, seed, len, run)),
        2 => (paths(), 0..6u64).prop_map(|(path, seed)| Edit::Append(path, seed)),
        1 => (paths(), "[a-z./]{1,9}").prop_map(|(path, target)| Edit::Link(path, target)),
        1 => paths().prop_map(Edit::Dir),
        2 => paths().prop_map(Edit::Remove),
    ];
    proptest::collection::vec(edit, 1..12)
}

/// Removes what stands in the way of `path`: files above it, and what is there.
fn clear(sandbox: &Sandbox, path: &str) {
    for (end, _) in path.match_indices('/') {
        let is_dir = fs::symlink_metadata(sandbox.path(&path[..end])).is_ok_and(|it| it.is_dir());
        if !is_dir {
            sandbox.remove(&path[..end]);
        }
    }
    sandbox.remove(path);
}

fn apply(sandbox: &Sandbox, edit: &Edit) {
    match edit {
        Edit::File(path, seed, len, run) => {
            clear(sandbox, path);
            sandbox.write(path, noise(*seed, *len));
            sandbox.chmod(path, if *run { 0o755 } else { 0o644 });
        }
        Edit::Append(path, seed) => {
            if fs::symlink_metadata(sandbox.path(path)).is_ok_and(|it| it.is_file()) {
                sandbox.append(path, noise(*seed, 77));
            }
        }
        Edit::Link(path, target) => {
            clear(sandbox, path);
            sandbox.link(path, target);
        }
        Edit::Dir(path) => {
            clear(sandbox, path);
            sandbox.mkdir(path);
        }
        Edit::Remove(path) => {
            if fs::symlink_metadata(sandbox.path(path)).is_ok() {
                sandbox.remove(path);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_commit_of_any_history_comes_back(
        history in proptest::collection::vec(edits(), 2..4),
    ) {
        let sandbox = Sandbox::new();
        let mut saved = Vec::new();
        for edits in &history {
            edits.iter().for_each(|edit| apply(&sandbox, edit));
            sandbox.ok(["add", "-A"]);
            let output = sandbox.ok(["commit", "-m", "x", "--allow-empty", "--json"]).json();
            saved.push((output["id"].as_str().unwrap().to_owned(), sandbox.snapshot()));
            let status = sandbox.status();
            prop_assert!(status.is_empty(), "{:?}", status);
        }
        for (id, tree) in &saved {
            assert_same(tree, &sandbox.restored(id));
        }
        sandbox.ok(["store", "verify", "--data"]);
    }

    #[test]
    fn restoring_in_place_undoes_any_edit(first in edits(), second in edits()) {
        let sandbox = Sandbox::new();
        sandbox.write("kept", "x");
        first.iter().for_each(|edit| apply(&sandbox, edit));
        let before = sandbox.snapshot();
        sandbox.save("first");
        second.iter().for_each(|edit| apply(&sandbox, edit));
        let output = sandbox.run(["restore", "."]);
        // What is in the way and held nowhere else is left, and said so.
        let is_told = output.stderr.contains("in the way") || output.stderr.contains("left out");
        prop_assert!(output.code == 0 || is_told, "{:?}", output);
        let after = sandbox.snapshot();
        for (path, node) in before.iter().filter(|_| output.code == 0) {
            let found = after.get(path);
            // An empty directory may hold new files now.
            prop_assert!(found == Some(node) || *node == common::Node::EmptyDir, "{:?}", path);
        }
    }
}
