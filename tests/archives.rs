//! What `import tar` makes of archives that are cut, damaged, old or odd.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::io::Write;

use common::{Node, Output, Sandbox, Tree, assert_same, noise, tar};

/// An entry of an archive: type, name, content.
type Entry<'a> = (u8, &'a [u8], &'a [u8]);

/// The entries of an archive in the format of Unix V7, without an end mark.
fn entries(list: &[Entry<'_>]) -> Vec<u8> {
    let list: Vec<_> =
        list.iter().map(|(kind, name, content)| (*kind, *name, &b""[..], *content)).collect();
    tar::entries(tar::V7, &list)
}

/// The same with an end mark.
fn archive(list: &[Entry<'_>]) -> Vec<u8> {
    tar::ended(entries(list))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A sandbox with three files below `data` and one beside it.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["data/1", "data/2", "data/3", "keep"] {
        sandbox.write(name, name);
    }
    sandbox.save("one");
    sandbox
}

/// Log, work tree, and what `status` says.
fn state(sandbox: &Sandbox) -> (Vec<u8>, Tree, Vec<String>) {
    (sandbox.ok(["log", "--json"]).stdout, sandbox.snapshot(), sandbox.status())
}

/// Refused with these words, and nothing is changed: neither files, commits nor what is staged.
#[track_caller]
fn refused(sandbox: &Sandbox, archive: &[u8], word: &str) {
    let before = state(sandbox);
    for args in [&["import", "tar", "-"][..], &["import", "tar", "-", "--prefix", "data"]] {
        let out = sandbox.feed(archive, args).expect_code(1);
        assert!(out.stderr.contains(word), "{out:?}");
    }
    assert_eq!(before, state(sandbox));
}

#[test]
fn an_archive_that_is_cut_short_is_refused() {
    let sandbox = filled();
    let list: &[Entry<'_>] = &[(b'0', b"a", b"first"), (b'0', b"b", b"second")];
    let whole = archive(list);
    for cut in [0, 1024, 2048] {
        refused(&sandbox, &whole[..cut], "it is cut short: its end mark is missing");
        refused(&sandbox, &gzip(&whole[..cut]), "it is cut short: its end mark is missing");
        refused(&sandbox, &zstd(&whole[..cut]), "it is cut short: its end mark is missing");
    }
    // In the middle of the end mark, and of what stands behind it in the compressed stream.
    refused(&sandbox, &whole[..2048 + 100], "cannot read the archive '-'");
    for packed in [gzip(&whole), zstd(&whole)] {
        for cut in [1, 4, 8] {
            refused(&sandbox, &packed[..packed.len() - cut], "cannot read the archive '-'");
        }
    }
    // A block that was lost where an entry stood.
    let mut holed = whole.clone();
    holed[1024..1536].fill(0);
    refused(&sandbox, &holed, "a block of zeros stands where an entry should");
}

#[test]
fn an_archive_with_a_wrong_checksum_is_refused() {
    let sandbox = filled();
    let bytes = noise(1, 100_000);
    let whole = archive(&[(b'0', b"a", &bytes)]);
    for mut packed in [gzip(&whole), zstd(&whole)] {
        // In the content, which does not compress and so is stored as it is.
        packed[50_000] ^= 1;
        refused(&sandbox, &packed, "checksum");
    }
}

#[test]
fn an_archive_that_is_whole_is_taken_however_it_ends() {
    let list: &[Entry<'_>] = &[(b'0', b"a", b"first"), (b'0', b"b", b"second")];
    let (bare, whole) = (entries(list), archive(list));
    let padded = [whole.clone(), vec![0; 9000]].concat();
    let lone = [bare, vec![0; 512]].concat();
    let halves = [gzip(&whole[..700]), gzip(&whole[700..])].concat();
    let taped = [gzip(&whole), vec![0; 3000]].concat();
    for (archive, code) in [
        (whole.clone(), 0),
        (padded, 0),
        (lone, 0),
        (gzip(&whole), 0),
        (zstd(&whole), 0),
        (halves, 0),
        (taped, 0),
        ([whole.clone(), whole].concat(), 3),
    ] {
        let sandbox = filled();
        let out = sandbox.feed(&archive, ["import", "tar", "-"]).expect_code(code);
        assert_eq!(out.stderr.contains("behind the end mark"), code == 3, "{out:?}");
        let file = |bytes: &[u8]| Node::File(bytes.to_vec(), true);
        let expected = Tree::from([("a".into(), file(b"first")), ("b".into(), file(b"second"))]);
        assert_same(&expected, &sandbox.snapshot());
    }
    // One that holds nothing, and says so by its end mark.
    let sandbox = filled();
    sandbox.feed(&archive(&[]), ["import", "tar", "-", "--prefix", "data"]).expect_code(0);
    assert_eq!(sandbox.read("keep"), b"keep");
    assert!(!sandbox.path("data/1").exists());
}

#[test]
fn a_command_that_fails_before_an_import_empties_nothing() {
    let sandbox = filled();
    let before = state(&sandbox);
    let digstore = env!("CARGO_BIN_EXE_digstore");
    let mut shell = std::process::Command::new("sh");
    sandbox.surround(&mut shell);
    let script = format!("false | '{digstore}' import tar - --prefix data");
    let out = Output::of(shell.arg("-c").arg(script).current_dir(sandbox.path(""))).expect_code(1);
    assert!(out.stderr.contains("its end mark is missing"), "{out:?}");
    assert_eq!(before, state(&sandbox));
}

#[test]
fn names_are_taken_as_tar_takes_them() {
    let sandbox = filled();
    let list: &[Entry<'_>] = &[
        (b'\0', b"old/", b""),
        (b'\0', b"old/file", b"below"),
        (b'0', b"none/", b""),
        (b'0', b"a//b", b"first"),
        (b'0', b"./a/./b", b"last"),
        (b'5', b"a//", b""),
        (b'0', b"a/.//c", b"c"),
    ];
    sandbox.feed(&archive(list), ["import", "tar", "-"]).expect_code(0);
    let file = |bytes: &[u8]| Node::File(bytes.to_vec(), true);
    let expected = Tree::from([
        ("old/file".into(), file(b"below")),
        ("none".into(), Node::EmptyDir),
        ("a/b".into(), file(b"last")),
        ("a/c".into(), file(b"c")),
    ]);
    assert_same(&expected, &sandbox.snapshot());
    for name in [b"dir/".as_slice(), b"dir/.", b".", b"./", b""] {
        refused(&sandbox, &archive(&[(b'\0', name, b"content")]), "it has content");
    }
}

#[test]
fn a_file_above_the_prefix_is_not_replaced() {
    let sandbox = filled();
    sandbox.link("link", "data");
    sandbox.save("link");
    let before = state(&sandbox);
    let archive = archive(&[(b'0', b"a", b"first")]);
    for (prefix, above) in [("keep/b", "keep"), ("data/1/b/c", "data/1"), ("link/b", "link")] {
        let out = sandbox.feed(&archive, ["import", "tar", "-", "--prefix", prefix]);
        let out = out.expect_code(2);
        assert!(out.stderr.contains(&format!("'{above}' is a file or a link")), "{out:?}");
    }
    assert_eq!(before, state(&sandbox));
}

#[test]
fn what_stands_behind_or_around_a_compressed_archive_is_named() {
    let sandbox = filled();
    let whole = archive(&[(b'0', b"a", b"first")]);
    let behind = [gzip(&whole), b"garbage\n".to_vec()].concat();
    refused(&sandbox, &behind, "something else follows its last gzip member");
    refused(&sandbox, b"\xfd7zXZ\0and so on", "what 'xz -dc' writes");
    refused(&sandbox, b"BZh9and so on", "what 'bzip2 -dc' writes");
    // A frame that is to be skipped, of four bytes.
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0skip";
    sandbox.feed(&[&skipped[..], &zstd(&whole)].concat(), ["import", "tar", "-"]).expect_code(0);
    assert_eq!(sandbox.read("a"), b"first");
}

#[test]
fn a_git_repository_in_an_archive_is_left_out() {
    let sandbox = filled();
    let archive = tar::ended(tar::entries(
        tar::USTAR,
        &[
            (b'0', b"sub/f", b"", b"f"),
            (b'5', b"sub/.git/", b"", b""),
            (b'0', b"sub/.git/config", b"", b"[core]"),
            (b'0', b".git", b"", b"gitdir: elsewhere"),
            (b'1', b"sub/link", b"./sub/.git/config", b""),
            (b'1', b"sub/another", b"sub/link", b""),
        ],
    ));
    let out = sandbox.feed(&archive, ["import", "tar", "-"]).expect_code(3);
    assert!(out.stderr.contains("left out 'sub/.git/config'"), "{out:?}");
    let expected = Tree::from([("sub/f".into(), Node::File(b"f".to_vec(), true))]);
    assert_same(&expected, &sandbox.snapshot());
    assert!(sandbox.status().is_empty());
    let before = state(&sandbox);
    sandbox.feed(&archive, ["import", "tar", "-", "--prefix", "a/.git"]).expect_code(2);
    assert_eq!(before, state(&sandbox));
}
