//! Archives and git trees, byte by byte.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

pub(crate) use crate::common::tar::Entry;
use crate::common::{Output, Sandbox, assert_same, tar};
use crate::watch::{watch, world};

fn block(kind: u8, name: &[u8], target: &[u8], size: usize) -> Vec<u8> {
    tar::header(tar::GNU, kind, name, target, size)
}

/// A tar archive. A long name or target goes before its entry as GNU tar writes it.
pub(crate) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, name, target, bytes) in entries {
        let long = |kind: u8, text: &[u8], out: &mut Vec<u8>| {
            let text = [text, b"\0"].concat();
            out.extend(block(kind, b"././@LongLink", b"", text.len()));
            tar::append(out, &text);
        };
        if name.len() > 99 || name.contains(&0) {
            long(b'L', name, &mut out);
        }
        if target.len() > 99 || target.contains(&0) {
            long(b'K', target, &mut out);
        }
        let short = |text: &[u8]| text[..text.len().min(99)].to_vec();
        out.extend(block(*kind, &short(name), &short(target), bytes.len()));
        tar::append(&mut out, bytes);
    }
    tar::ended(out)
}

/// Runs `import tar` of an archive.
#[track_caller]
pub(crate) fn import_tar(sandbox: &Sandbox, archive: &[u8]) -> Output {
    let file = sandbox.beside("stdin");
    std::fs::write(&file, archive).unwrap();
    let mut command = sandbox.command(["import", "tar", "-"]);
    watch(command.stdin(std::fs::File::open(file).unwrap()))
}

/// An archive that is refused as a whole.
#[track_caller]
pub(crate) fn tar_refused(sandbox: &Sandbox, entries: &[Entry<'_>]) {
    let before = world(sandbox);
    let output = import_tar(sandbox, &archive(entries)).expect_code(1);
    assert!(output.stderr.contains("refused") || output.stderr.contains("archive"), "{output:?}");
    assert_same(&before, &world(sandbox));
}

fn git(sandbox: &Sandbox, args: &[&OsStr], input: &[u8]) -> String {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(sandbox.beside("git")).args(args);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "E").env(format!("GIT_{who}_EMAIL"), "e@x");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn raw_id(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Makes a git repository beside the work tree with one commit of one entry, whatever its name, and
/// a sound file beside it.
pub(crate) fn git_with(sandbox: &Sandbox, mode: &str, name: &[u8], content: &[u8]) {
    let _ = std::fs::remove_dir_all(sandbox.beside("git"));
    std::fs::create_dir(sandbox.beside("git")).unwrap();
    let run = |args: &[&str], input: &[u8]| {
        git(sandbox, &args.iter().map(AsRef::as_ref).collect::<Vec<_>>(), input)
    };
    run(&["init", "-q", "--bare", "--initial-branch=trunk"], b"");
    let blob = run(&["hash-object", "-w", "--stdin"], content);
    let line = |mode: &str, name: &[u8], id: &str| {
        [mode.as_bytes(), b" ", name, b"\0", &raw_id(id)].concat()
    };
    let inner = line(mode, name, &blob);
    let tree = ["hash-object", "-w", "--literally", "-t", "tree", "--stdin"];
    let dir = run(&tree, &inner);
    let root = [line("40000", b"dir", &dir), line("100644", b"good", &blob)].concat();
    let root = run(&tree, &root);
    let commit = run(&["commit-tree", &root, "-m", "evil"], b"");
    run(&["update-ref", "refs/heads/trunk", &commit], b"");
}

/// A git repository with such a name in it: it is left out or refuses the import, and nothing of
/// that name appears.
#[track_caller]
pub(crate) fn git_refused(mode: &str, name: &[u8], content: &[u8]) {
    let sandbox = Sandbox::new();
    git_with(&sandbox, mode, name, content);
    let mut before = world(&sandbox);
    let output = watch(&mut sandbox.command(["import", "git", "../git"]));
    assert!(matches!(output.code, 1 | 3), "{output:?}");
    let mut after = world(&sandbox);
    for tree in [&mut before, &mut after] {
        tree.retain(|path, _| path != "work/good" && path != "work");
    }
    assert_same(&before, &after);
}
