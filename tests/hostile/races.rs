//! Rows 91 to 97: what happens at the same time. The swapper of row 90 is in `tests/rigs/swaps.rs`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use crate::common::{Sandbox, files_below, noise, while_changing};
use crate::watch::{sound, watched};

/// Runs `add -A` while `change` is called again and again.
fn add_while(sandbox: &Sandbox, change: impl Fn(u64) + Sync) {
    while_changing(change, || {
        let output = watched(sandbox, ["add", "-A"]);
        assert!(matches!(output.code, 0 | 3), "{output:?}");
    });
}

#[test]
fn e91_a_file_cut_short_while_it_is_added() {
    let sandbox = sound();
    for round in 0..4 {
        sandbox.write("f", noise(round, 4 << 20));
        let file = fs::OpenOptions::new().write(true).open(sandbox.path("f")).unwrap();
        add_while(&sandbox, |number| file.set_len((number % 5) << 20).unwrap());
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn e92_a_file_exchanged_while_it_is_added() {
    let sandbox = sound();
    let versions = [vec![b'a'; 3 << 20], vec![b'b'; 3 << 20]];
    for (name, bytes) in ["one", "two"].iter().zip(&versions) {
        fs::write(sandbox.beside(name), bytes).unwrap();
    }
    sandbox.write("f", &versions[0]);
    add_while(&sandbox, |number| {
        let from = sandbox.beside(["one", "two"][(number % 2) as usize]);
        let copy = sandbox.beside("copy");
        fs::hard_link(from, &copy).unwrap();
        fs::rename(copy, sandbox.path("f")).unwrap();
    });
    let staged = sandbox.run(["get", "f"]);
    assert!(staged.code != 0 || versions.contains(&staged.stdout), "a mix of versions");
}

#[test]
fn e93_two_commits_at_once() {
    let sandbox = sound();
    for _ in 0..5 {
        let start = || {
            let mut command = sandbox.command(["commit", "--allow-empty", "-m", "x"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let both: Vec<_> =
            [start(), start()].into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        for output in both {
            let code = output.status.code();
            if code == Some(0) {
                let id = String::from_utf8(output.stdout).unwrap();
                let id = id.strip_prefix("committed ").unwrap().trim_end();
                assert!(sandbox.ok(["log", "--format=%H"]).text().contains(id), "{id} is lost");
            } else {
                assert!(matches!(code, Some(1 | 11)), "{output:?}");
                assert!(!output.stderr.is_empty());
            }
        }
    }
}

#[test]
fn e96_a_umask_that_allows_everything() {
    let sandbox = Sandbox::bare();
    sandbox.write("f", noise(1, 100_000));
    for args in [
        "init",
        "add -A",
        "commit -m x",
        "branch b",
        "switch b",
        "tag -m x t",
        "stash",
        "undo",
        "gc --now",
        "config set performance.batch_size 7",
    ] {
        let mut command = Command::new("sh");
        sandbox.surround(&mut command);
        command.arg("-c").arg(format!("umask 000; exec \"$0\" {args}"));
        command.arg(env!("CARGO_BIN_EXE_digstore")).output().unwrap();
    }
    let mut todo = vec![sandbox.path(".digstore")];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.mode() & 0o7777;
        assert_eq!(mode, if metadata.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if metadata.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn a36_a_link_in_the_place_of_a_directory_of_the_repository() {
    for name in
        ["tmp", "index", "packs", "staging", "refs", "refs/heads", "import", "damaged", "metrics"]
    {
        let sandbox = sound();
        for number in 0..6 {
            sandbox.write("f", noise(number, 100));
            sandbox.save("x");
        }
        let (dir, outside) = (sandbox.path(".digstore").join(name), sandbox.beside("outside"));
        let aside = sandbox.beside("aside");
        if dir.exists() {
            fs::rename(&dir, &aside).unwrap();
        }
        symlink(&outside, &dir).unwrap();
        sandbox.write("f", "more");
        for args in [
            "add -A",
            "commit -m x",
            "branch b",
            "gc --now",
            "gc --now --thorough",
            "store repair --apply",
            "store verify --data",
            "obliterate --yes no-such-file",
            "status",
        ] {
            let output = watched(&sandbox, args.split(' '));
            assert!(output.code >= 0, "{name}, {args}: {output:?}");
        }
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"untouched", "{name}");
        assert_eq!(files_below(&outside).len(), 1, "{name}");
        fs::remove_file(&dir).unwrap();
        if aside.exists() {
            fs::rename(&aside, &dir).unwrap();
        }
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn e97_a_link_in_the_place_of_a_temporary_file() {
    let sandbox = sound();
    // Names that can be guessed; those in use are random, and made with O_EXCL besides.
    for planted in [
        "mine.tmp",
        ".mine.tmp",
        ".mine.digstore-tmp",
        ".digstore-tmp-0",
        ".digstore/tmp/0",
        ".digstore/tmp/1",
        ".digstore/tmp/pack",
        ".digstore/lock.tmp",
    ] {
        symlink(sandbox.beside("outside/secret"), sandbox.path(planted)).unwrap();
    }
    sandbox.write("mine", "changed");
    watched(&sandbox, ["restore", "mine"]).expect_code(0);
    sandbox.write("mine", "again");
    watched(&sandbox, ["commit", "-a", "-m", "x"]).expect_code(0);
    watched(&sandbox, ["get", "mine", "-o", "mine"]).expect_code(0);
    assert_eq!(fs::read(sandbox.beside("outside/secret")).unwrap(), b"untouched");
    // The lock itself a link: it is not followed to another file's content.
    let lock = sandbox.path(".digstore/lock");
    fs::remove_file(&lock).unwrap();
    symlink(sandbox.beside("outside/secret"), &lock).unwrap();
    watched(&sandbox, ["commit", "--allow-empty", "-m", "x"]);
    assert_eq!(fs::read(sandbox.beside("outside/secret")).unwrap(), b"untouched");
}
