//! Rows 1 to 28: names and paths.

use std::ffi::OsStr;
use std::fs;

use digstore::path::{MAX_NAME, MAX_PATH};
use digstore::storage::format::object::TreeEntry;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::archive::{Entry, archive, git_refused, import_tar, tar_refused};
use crate::common::{Node, Sandbox, Tree, assert_same, bytes_of, name};
use crate::forge::{Forge, link};
use crate::watch::{refused, sound, watched};

/// A name that may stand in no tree: not of a file, not of a directory, not further down.
#[track_caller]
fn name_refused(bad: &[u8]) {
    let trees: [fn(&mut Forge, &[u8]) -> TreeEntry; 3] = [
        |forge, bad| forge.file(bad, b"planted"),
        |forge, bad| {
            let file = forge.file(b"x", b"planted");
            forge.dir(bad, vec![file])
        },
        |forge, bad| {
            let file = forge.file(bad, b"planted");
            forge.dir(b"d", vec![file])
        },
    ];
    for make in trees {
        let (sandbox, mut forge) = (sound(), Forge::new());
        let entry = make(&mut forge, bad);
        forge.publish(&sandbox, vec![entry]);
        refused(&sandbox);
    }
}

/// A path that no archive may name.
#[track_caller]
fn path_refused(bad: &[u8]) {
    tar_refused(&sound(), &[(b'0', bad, b"", b"planted")]);
    tar_refused(&sound(), &[(b'0', b"good", b"", b"good"), (b'5', bad, b"", b"")]);
}

/// A name that git can hold and Digstore cannot.
#[track_caller]
fn git_name_refused(bad: &[u8]) {
    git_refused("100644", bad, b"planted");
}

/// Entries in byte order that one tree must not hold together, or in this order.
#[track_caller]
fn entries_refused(make: impl Fn(&mut Forge) -> Vec<TreeEntry>) {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let entries = make(&mut forge);
    forge.publish(&sandbox, entries);
    refused(&sandbox);
}

/// Names that come and go as they are.
#[track_caller]
fn byte_exact(names: &[&[u8]]) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut expected = Tree::new();
    for (number, bytes) in names.iter().enumerate() {
        let node = Node::File(number.to_string().into_bytes(), false);
        sandbox.write(name(bytes), number.to_string());
        expected.insert(name(bytes), node);
    }
    sandbox.save("odd");
    assert_same(&expected, &sandbox.restored("HEAD"));
    assert!(sandbox.status().is_empty());
    for bytes in names {
        let full = [b"HEAD:", *bytes].concat();
        watched(&sandbox, [OsStr::new("get"), &name(&full)]).expect_code(0);
        sandbox.remove(name(bytes));
    }
    sandbox.ok(["restore", "."]);
    assert_same(&expected, &sandbox.snapshot());
    sandbox
}

/// No output for people holds bytes that steer a terminal.
#[track_caller]
fn shown_escaped(sandbox: &Sandbox, hidden: &[u8]) {
    for args in [
        &["ls", "-l"][..],
        &["status"],
        &["log", "--stat"],
        &["show", "--name-only"],
        &["diff", "--stat", "HEAD~1", "HEAD"],
        &["rm", "-n", "-r", "."],
    ] {
        let output = watched(sandbox, args);
        for bytes in [&output.stdout, output.stderr.as_bytes()] {
            let shows = bytes.windows(hidden.len()).any(|window| window == hidden);
            assert!(!shows, "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a01_the_parent_directory() {
    name_refused(b"..");
    name_refused(b"../x");
    path_refused(b"../x");
    git_name_refused(b"..");
}

#[test]
fn a02_out_by_way_of_a_directory() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let file = forge.file(b"x", b"planted");
    let up = forge.dir(b"..", vec![file]);
    let up = forge.dir(b"..", vec![up]);
    let dir = forge.dir(b"a", vec![up]);
    forge.publish(&sandbox, vec![dir]);
    refused(&sandbox);
    path_refused(b"a/../../x");
    path_refused(b"a/..");
}

#[test]
fn a03_an_absolute_path() {
    let sandbox = sound();
    let outside = bytes_of(sandbox.beside("outside/planted").into_os_string());
    name_refused(&outside);
    name_refused(b"/");
    tar_refused(&sandbox, &[(b'0', &outside, b"", b"planted")]);
    path_refused(b"/abs");
}

#[test]
fn a04_an_empty_component_or_a_dot() {
    name_refused(b"");
    name_refused(b".");
    git_name_refused(b".");
    // In an archive they say nothing, as for tar, and hide nothing.
    for path in [b"a//b".as_slice(), b"a/./b", b".//a/.//b"] {
        let sandbox = sound();
        import_tar(&sandbox, &archive(&[(b'0', path, b"", b"b")])).expect_code(0);
        assert_eq!(sandbox.read("a/b"), b"b");
    }
    for bad in [b"a//../../b".as_slice(), b".//../b", b"/./b", b"a/./.digstore//b", b"//b"] {
        path_refused(bad);
    }
}

#[test]
fn a05_a_slash_in_a_name() {
    name_refused(b"a/b");
    name_refused(b"a/");
}

#[test]
fn a06_a_nul_in_a_name() {
    name_refused(b"a\0b");
    name_refused(b"\0");
    tar_refused(&sound(), &[(b'0', b"a\0b", b"", b"planted")]);
}

#[test]
fn a07_a_backslash() {
    byte_exact(&[b"a\\b", b"\\", b"..\\x", b"d/\\n"]);
}

#[test]
fn a08_drives_and_shares() {
    byte_exact(&[b"C:x", b"C:", b"\\\\host\\share"]);
}

#[test]
fn a09_digstore_anywhere() {
    name_refused(b".digstore");
    path_refused(b".digstore/config.toml");
    path_refused(b"d/.digstore/x");
    git_name_refused(b".digstore");
}

/// A stored one may be looked at; what would run it finds none, and one that is there is left alone.
#[test]
fn a_repository_of_gits_is_not_touched() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let before = sandbox.ok(["log", "-n", "1", "--format=%H"]).text().trim_end().to_owned();
    let file = forge.file(b"config", b"planted");
    let above = forge.dir(b".git", vec![file.clone()]);
    let below = forge.dir(b".git", vec![file]);
    let dir = forge.dir(b"d", vec![below]);
    let commit = forge.publish(&sandbox, vec![above, dir]).to_string();
    for args in [&["switch", "-f", "--detach", &commit][..], &["restore", "-s", &commit, "."]] {
        let said = watched(&sandbox, args).expect_code(3);
        assert!(said.stderr.contains("part of a git repository"), "{args:?}: {said:?}");
        assert!(!sandbox.path(".git").exists() && !sandbox.path("d/.git").exists(), "{args:?}");
    }
    for path in [".git/config", "d/.git/config"] {
        sandbox.write(path, "kept");
    }
    watched(&sandbox, ["reset", "--hard"]);
    watched(&sandbox, ["rm", "-r", "-f", "."]);
    watched(&sandbox, ["undo"]);
    watched(&sandbox, ["switch", "-f", "--detach", &before]).expect_code(0);
    for path in [".git/config", "d/.git/config"] {
        assert_eq!(sandbox.read(path), b"kept");
    }
}

#[test]
fn a_repository_of_gits_in_capitals_is_not_written() {
    let (sandbox, mut forge) = (sound(), Forge::new());
    let file = forge.file(b"config", b"planted");
    let dir = forge.dir(b".GIT", vec![file]);
    let commit = forge.publish(&sandbox, vec![dir]).to_string();
    watched(&sandbox, ["switch", "-f", "--detach", &commit]).expect_code(3);
    assert!(!sandbox.path(".GIT").exists());
    sandbox.write(".Git/x", "x");
    assert_eq!(sandbox.ok(["status", "--porcelain"]).text(), " D .GIT/config\n");
}

#[test]
fn a10_digstore_in_capitals() {
    for bad in [b".DIGSTORE", b".Digstore"] {
        name_refused(bad);
        path_refused(bad);
        git_name_refused(bad);
    }
}

#[test]
fn a11_digstore_with_a_character_that_nobody_sees() {
    for bad in [".dig\u{200b}store", "\u{feff}.digstore", ".digstore\u{200d}", ".d\u{2060}igstore"]
    {
        name_refused(bad.as_bytes());
        path_refused(bad.as_bytes());
        git_name_refused(bad.as_bytes());
    }
}

#[test]
fn a12_the_short_name_of_digstore() {
    for bad in [b"DIGSTO~1", b"digsto~9"] {
        name_refused(bad);
        path_refused(bad);
        git_name_refused(bad);
    }
}

#[test]
fn a13_digstore_with_dots_and_spaces_behind() {
    for bad in [&b".digstore."[..], b".digstore ", b".digstore. . "] {
        name_refused(bad);
        path_refused(bad);
        git_name_refused(bad);
    }
}

#[test]
fn a14_a_stream_of_digstore() {
    for bad in [&b".digstore:x"[..], b".digstore::$INDEX_ALLOCATION", b".digstore ::$DATA"] {
        name_refused(bad);
        path_refused(bad);
        git_name_refused(bad);
    }
    byte_exact(&[b"x:ads"]);
}

#[test]
fn a15_names_of_devices() {
    byte_exact(&[b"CON", b"NUL.txt", b"com1", b"d/aux"]);
}

#[test]
fn a16_names_that_are_not_utf_8() {
    let sandbox = byte_exact(&[b"\xff\xfe", b"caf\xe9", b"d\x80/x"]);
    shown_escaped(&sandbox, b"\xff");
    let json = watched(&sandbox, ["ls", "--json"]).expect_code(0).json();
    assert!(json.is_object());
}

#[test]
fn a17_names_of_255_bytes_and_of_256() {
    byte_exact(&[&[b'n'; MAX_NAME]]);
    name_refused(&[b'n'; MAX_NAME + 1]);
    path_refused(&[b'n'; MAX_NAME + 1]);
}

#[test]
fn a18_a_path_longer_than_4096_bytes() {
    let part = [b'p'; 250];
    entries_refused(|forge| {
        let mut entry = forge.file(b"x", b"planted");
        for _ in 0..=MAX_PATH / part.len() {
            entry = forge.dir(&part, vec![entry]);
        }
        vec![entry]
    });
    path_refused(&[part; 17].join(&b'/'));

    // In the work tree it is left out, the rest is stored.
    let sandbox = sound();
    let mut dir = rustix::fs::open(&sandbox.work, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..17 {
        rustix::fs::mkdirat(&dir, part.as_slice(), Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, part.as_slice(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    rustix::fs::openat(&dir, "x", OFlags::CREATE, Mode::RWXU).unwrap();
    sandbox.write("more", "stored");
    let output = watched(&sandbox, ["add", "-A"]).expect_code(3);
    assert!(output.stderr.contains("4096"), "{output:?}");
    assert_eq!(sandbox.ok(["get", "more"]).text(), "stored");
    // `rm` cannot name it in one piece either, so it is moved up until it is short.
    let top = sandbox.path(name(&part));
    let mut first = fs::read_dir(&top).unwrap().next();
    while let Some(entry) = first {
        let moved = sandbox.path("moved");
        rustix::fs::renameat(CWD, entry.unwrap().path(), CWD, &moved).unwrap();
        rustix::fs::unlinkat(CWD, &top, AtFlags::REMOVEDIR).unwrap();
        rustix::fs::renameat(CWD, &moved, CWD, &top).unwrap();
        if !top.is_dir() || top.join("x").exists() {
            break;
        }
        first = fs::read_dir(&top).unwrap().next();
    }
}

#[test]
fn a19_a_tree_of_100_000_levels() {
    entries_refused(|forge| {
        let mut entry = forge.file(b"x", b"planted");
        for _ in 0..100_000 {
            entry = forge.dir(b"d", vec![entry]);
        }
        vec![entry]
    });
    path_refused(&vec![b"d".as_slice(); 2000].join(&b'/'));
}

#[test]
fn a22_a_directory_and_a_link_into_the_repository_that_differ_in_case() {
    entries_refused(|forge| {
        let file = forge.file(b"x", b"planted");
        vec![forge.dir(b"A", vec![file]), link(b"a", b".digstore")]
    });
    let entries: [_; 2] =
        [(b'0', &b"A/x"[..], &b""[..], &b"planted"[..]), (b'2', b"a", b".digstore", b"")];
    tar_refused(&sound(), &entries);
}

#[test]
fn a23_an_entry_twice() {
    entries_refused(|forge| vec![forge.file(b"x", b"one"), forge.file(b"x", b"two")]);
}

#[test]
fn a24_a_link_and_a_directory_of_one_name() {
    let outside = |sandbox: &Sandbox| bytes_of(sandbox.beside("outside").into_os_string());
    for link_first in [true, false] {
        entries_refused(|forge| {
            let file = forge.file(b"planted", b"planted");
            let mut both = vec![link(b"d", b"../outside"), forge.dir(b"d", vec![file])];
            if !link_first {
                both.reverse();
            }
            both
        });
        let sandbox = sound();
        let target = outside(&sandbox);
        let mut both: Vec<Entry<'_>> =
            vec![(b'2', b"d", &target, b""), (b'0', b"d/planted", b"", b"planted")];
        if !link_first {
            both.reverse();
        }
        tar_refused(&sandbox, &both);
    }
}

#[test]
fn a25_a_tree_that_is_not_sorted() {
    entries_refused(|forge| vec![forge.file(b"y", b"one"), forge.file(b"x", b"two")]);
}

#[test]
fn a26_names_that_steer_a_terminal() {
    let sandbox = byte_exact(&[b"a\nb", b"a\rb", b"\x1b[31mred", b"\x1b]0;title\x07", b"\x9b1m"]);
    for hidden in [&b"\x1b["[..], b"\x1b]", b"\r", b"a\nb", b"\x9b"] {
        shown_escaped(&sandbox, hidden);
    }
}

#[test]
fn a27_names_that_look_like_options() {
    let sandbox = byte_exact(&[b"-x", b"--help", b"-", b"--"]);
    for name in ["-x", "--help", "-", "--"] {
        sandbox.write(name, "changed");
        watched(&sandbox, ["add", "--", name]).expect_code(0);
        watched(&sandbox, ["restore", "-s", "HEAD", "-S", "--", name]).expect_code(0);
        watched(&sandbox, ["rm", "--cached", "-f", "--", name]).expect_code(0);
    }
}

#[test]
fn a28_names_that_read_backwards() {
    let name = "txt.\u{202e}exe";
    let sandbox = byte_exact(&[name.as_bytes(), "\u{2066}x".as_bytes()]);
    for hidden in ["\u{202e}", "\u{2066}"] {
        shown_escaped(&sandbox, hidden.as_bytes());
    }
}
