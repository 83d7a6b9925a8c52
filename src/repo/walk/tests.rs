#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;

/// What a walk delivered.
#[derive(Debug, Default)]
struct Seen {
    files: BTreeSet<String>,
    skipped: BTreeMap<String, SkipReason>,
    empty: BTreeSet<String>,
    warnings: Vec<IgnoreWarning>,
    listings: usize,
}

fn options<'a>(roots: &[&str], is_tracked: &'a IsTracked<'a>) -> WalkOptions<'a> {
    let roots = roots.iter().map(|root| RepoPath::new(*root).unwrap()).collect();
    WalkOptions {
        threads: 2,
        rules: IgnoreRules::root(false),
        roots,
        include_ignored: false,
        ignored: IgnoredEntries::Hide,
        is_tracked,
        enters: &|_| true,
    }
}

fn collect(root: &Path, options: &WalkOptions<'_>) -> Seen {
    let root: OwnedFd = File::open(root).unwrap().into();
    let seen = Mutex::new(Seen::default());
    let outcome = walk(&root, options, |listing| {
        let mut seen = seen.lock().unwrap();
        assert!(listing.entries.is_sorted_by(|a, b| listing.name(a) < listing.name(b)));
        assert!(listing.entries.len() <= MAX_PIECE);
        for entry in &listing.entries {
            let path = listing.dir.join(listing.name(entry)).unwrap();
            assert!(seen.files.insert(path.to_string()), "{path} came twice");
        }
        if !listing.more && !listing.has_children {
            assert!(seen.empty.insert(listing.dir.to_string()), "{} ended twice", listing.dir);
        }
        seen.skipped.extend(listing.skipped.into_iter().map(|(path, why)| (path.to_string(), why)));
        seen.warnings.extend(listing.warnings);
        seen.listings += 1;
        ControlFlow::Continue(())
    });
    assert!(outcome.unwrap().is_continue());
    seen.into_inner().unwrap()
}

fn make(root: &Path, files: &[&str]) {
    for file in files {
        let full = root.join(file);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, file).unwrap();
    }
}

fn names(seen: &Seen) -> Vec<&str> {
    seen.files.iter().map(String::as_str).collect()
}

const UNTRACKED: &IsTracked<'static> = &|_, _| false;

#[test]
fn every_file_is_found_once_with_its_stat() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a", "d/b", "d/e/c", ".hidden", ".git/x", ".digstore/y", "d/.git"]);
    fs::set_permissions(temp.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(temp.path().join("empty")).unwrap();
    symlink("/nowhere", temp.path().join("link")).unwrap();
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(names(&seen), [".hidden", "a", "d/b", "d/e/c", "link"]);
    assert_eq!(seen.empty, BTreeSet::from(["empty".to_owned()]));
    assert!(seen.skipped.is_empty());
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let kinds = Mutex::new(Vec::new());
    let _ = walk(&root, &options(&["a", "link"], UNTRACKED), |listing| {
        kinds.lock().unwrap().extend(listing.entries.iter().map(|one| (one.kind, one.stat.size)));
        ControlFlow::Continue(())
    })
    .unwrap();
    let expected = [(WalkKind::File { executable: true }, 1), (WalkKind::Symlink, 8)];
    assert_eq!(kinds.into_inner().unwrap(), expected);
}

#[test]
fn what_cannot_be_stored_is_reported_and_never_blocks() {
    let temp = tempfile::tempdir().unwrap();
    make(
        temp.path(),
        &[
            "ok",
            "sub/.digstore/x",
            "sub/y",
            ".DIGSTORE",
            ".digstore-tmp-0000000000000abc-1f",
            ".digstore-tmp-1",
        ],
    );
    rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join("pipe"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("sock")).unwrap();
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(names(&seen), [".digstore-tmp-1", "ok"]);
    let reserved = PathError::Reserved(b".DIGSTORE".to_vec());
    let expected = [
        (".DIGSTORE", SkipReason::Path(reserved)),
        (".digstore-tmp-0000000000000abc-1f", SkipReason::Temporary),
        ("pipe", SkipReason::Fifo),
        ("sock", SkipReason::Socket),
        ("sub", SkipReason::NestedRepository),
    ];
    assert_eq!(seen.skipped, expected.map(|(path, why)| (path.to_owned(), why)).into());
}

#[test]
fn names_are_any_bytes() {
    let temp = tempfile::tempdir().unwrap();
    for name in [&b"\xff\xfe"[..], b"new\nline", b"-rf", b"\x01", b"a b", &[b'x'; 255]] {
        fs::write(temp.path().join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
    }
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(seen.files.len(), 6);
    assert!(seen.files.contains("\\xff\\xfe"));
}

#[test]
fn ignored_directories_are_pruned_unless_something_in_them_is_tracked() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["out/a", "out/sub/b", "out/sub/c", "src/x.o", "src/y", "src/deep/z.o"]);
    fs::write(temp.path().join(DIGIGNORE), "out/\n*.o\n").unwrap();
    fs::write(temp.path().join("src/.digignore"), "!x.o\n").unwrap();
    fs::write(temp.path().join("out/.digignore"), "!*\n").unwrap();
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(names(&seen), [".digignore", "src/.digignore", "src/x.o", "src/y"]);
    // A directory with nothing but ignored files counts as empty.
    assert_eq!(seen.empty, BTreeSet::from(["src/deep".to_owned()]));
    let tracked: &IsTracked<'_> = &|path, is_dir| {
        if is_dir { b"out/sub/b".starts_with(path) } else { path == b"out/sub/b" }
    };
    let seen = collect(temp.path(), &options(&["out"], tracked));
    assert_eq!(names(&seen), ["out/sub/b"]);
    let all = WalkOptions { include_ignored: true, ..options(&[], UNTRACKED) };
    assert_eq!(collect(temp.path(), &all).files.len(), 9);
}

#[test]
fn roots_limit_the_walk_under_the_rules_of_their_ancestors() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/f", "a/b/g.o", "a/c", "d/e", "i/j/k", "n/.digstore/x", "n/m/y"]);
    fs::write(temp.path().join("a/.digignore"), "*.o\n").unwrap();
    fs::write(temp.path().join(DIGIGNORE), "/i\n").unwrap();
    symlink("a", temp.path().join("link")).unwrap();
    let roots = ["a/b", "a/b/f", "a/c", "missing", "a/c/x", "i/j", "i", "link/c", "n/m", "a/b/g.o"];
    let seen = collect(temp.path(), &options(&roots, UNTRACKED));
    assert_eq!(names(&seen), ["a/b/f", "a/c"]);
    let expected = [("i", SkipReason::Ignored), ("n", SkipReason::NestedRepository)];
    assert_eq!(seen.skipped, expected.map(|(path, why)| (path.to_owned(), why)).into());
    let seen = collect(temp.path(), &options(&["i/j", "a/b/g.o"], UNTRACKED));
    assert_eq!(seen.skipped.len(), 2);
    assert!(seen.skipped.values().all(|why| *why == SkipReason::Ignored));
}

#[test]
fn a_large_directory_is_empty_when_all_of_it_is_ignored() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join(DIGIGNORE), "*.tmp\n").unwrap();
    fs::create_dir(temp.path().join("large")).unwrap();
    for number in 0..10_000 {
        fs::write(temp.path().join(format!("large/{number}.tmp")), b"").unwrap();
    }
    for _ in 0..20 {
        let seen = collect(temp.path(), &options(&[], UNTRACKED));
        assert_eq!(seen.empty, BTreeSet::from(["large".to_owned()]));
    }
    fs::write(temp.path().join("large/5"), b"").unwrap();
    assert!(collect(temp.path(), &options(&[], UNTRACKED)).empty.is_empty());
}

#[test]
fn a_large_directory_comes_in_pieces() {
    let temp = tempfile::tempdir().unwrap();
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let target = temp.path().join("0");
    fs::write(&target, b"").unwrap();
    fs::write(temp.path().join(DIGIGNORE), "9*\n").unwrap();
    for number in 1..40_000 {
        rustix::fs::symlinkat("0", &root, format!("{number}")).unwrap();
    }
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(seen.files.len(), 40_001 - 1_111);
    assert_eq!(seen.listings, 40_001usize.div_ceil(MAX_PIECE));
}

#[test]
fn too_deep_and_too_long_paths_are_reported() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir: OwnedFd = File::open(temp.path()).unwrap().into();
    for _ in 0..1100 {
        rustix::fs::mkdirat(&dir, "d", 0o700.into()).unwrap();
        dir = open_beneath(dir.as_fd(), b"d", DIR_HANDLE).unwrap();
    }
    let mut dir: OwnedFd = File::open(temp.path()).unwrap().into();
    for _ in 0..20 {
        let name = "n".repeat(250);
        rustix::fs::mkdirat(&dir, &name, 0o700.into()).unwrap();
        dir = open_beneath(dir.as_fd(), name.as_bytes(), DIR_HANDLE).unwrap();
    }
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    let reasons: Vec<_> = seen.skipped.into_values().collect();
    let expected =
        [SkipReason::Path(PathError::TooDeep), SkipReason::Path(PathError::LongPath(4266))];
    assert_eq!(reasons, expected);
}

#[test]
fn odd_ignore_files_are_warned_about() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/x", "b/x"]);
    symlink("a", temp.path().join("a").join(DIGIGNORE)).unwrap();
    fs::create_dir(temp.path().join("b").join(DIGIGNORE)).unwrap();
    fs::write(temp.path().join(DIGIGNORE), vec![b'#'; 2 << 20]).unwrap();
    let seen = collect(temp.path(), &options(&[], UNTRACKED));
    assert_eq!(seen.warnings.len(), 3);
    assert!(seen.files.contains("a/x") && seen.files.contains("b/x"));
}

#[test]
fn the_visitor_can_break_off() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/x", "b/x", "c/x", "d/x"]);
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let one = WalkOptions { threads: 1, ..options(&[], UNTRACKED) };
    let calls = Mutex::new(0);
    let outcome = walk(&root, &one, |_| {
        *calls.lock().unwrap() += 1;
        ControlFlow::Break(())
    });
    assert!(outcome.unwrap().is_break());
    assert_eq!(*calls.lock().unwrap(), 1);
}

/// R9 in small: a directory is exchanged with a symlink to the outside while the walk runs.
#[test]
fn a_directory_swapped_for_a_symlink_is_never_left_through() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    make(outside.path(), &["secret", "sub/secret"]);
    make(temp.path(), &["dir/f", "dir/sub/f"]);
    symlink(outside.path(), temp.path().join("link")).unwrap();
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "dir", &root, "link", swap).unwrap();
            }
        });
        for _ in 0..300 {
            let seen = collect(temp.path(), &options(&[], UNTRACKED));
            assert!(seen.files.iter().all(|file| !file.contains("secret")), "{:?}", seen.files);
        }
        done.store(true, Ordering::Relaxed);
    });
}
