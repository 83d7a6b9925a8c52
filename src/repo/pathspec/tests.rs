#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::magic::Magic;
use super::*;
use crate::path::split_last;

fn parse_in(dir: &str, texts: &[String]) -> Result<Pathspec, PathspecError> {
    let dir = RepoPath::new(dir).unwrap();
    let absolute = |path: &[u8]| path.strip_prefix(b"/top/").map(<[u8]>::to_vec);
    Pathspec::parse(texts, &Base { dir: &dir, excludes_from_dir: true, absolute: &absolute })
}

fn parse(texts: &[&str]) -> Pathspec {
    parse_in("", &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_path_names_itself_and_what_lies_below() {
    let spec = parse(&["a/b"]);
    assert!(spec.matches(b"a/b", false) && spec.matches(b"a/b/c", false));
    assert!(!spec.matches(b"a", true) && !spec.matches(b"a/bc", false));
    assert!(spec.may_match_below(b"a") && spec.may_match_below(b"a/b/c"));
    assert!(!spec.may_match_below(b"a/c") && !spec.may_match_below(b"b"));
    assert_eq!(spec.roots(), [RepoPath::new("a/b").unwrap()]);
    let spec = parse(&["a/b/"]);
    assert!(spec.matches(b"a/b", true) && spec.matches(b"a/b/c", false));
    assert!(!spec.matches(b"a/b", false));
}

#[test]
fn excluding_on_its_own_leaves_the_rest() {
    let spec = parse(&[":!a"]);
    assert!(spec.matches(b"b/a", false) && !spec.matches(b"a/x", false));
    assert!(!spec.may_match_below(b"a") && spec.may_match_below(b"b"));
    assert!(!spec.covers(b"") && spec.covers(b"b") && !spec.is_all());
    let texts = [":!x".to_owned()];
    let spec = parse_in("d", &texts).unwrap();
    assert!(spec.matches(b"d/y", false) && !spec.matches(b"d/x", false));
    assert!(!spec.matches(b"y", false));
}

#[test]
fn a_glob_keeps_to_the_directory_that_it_names() {
    let spec = parse(&[":(glob)src/*/x?.rs"]);
    assert_eq!(spec.roots(), [RepoPath::new("src").unwrap()]);
    assert!(spec.may_match_below(b"src/a") && !spec.may_match_below(b"src/a/b"));
    assert!(!spec.may_match_below(b"srcs"));
    assert!(parse(&["src/*.rs"]).may_match_below(b"src/a/b"));
    assert_eq!(parse(&[":(icase)src/a"]).roots(), [RepoPath::root()]);
}

#[test]
fn two_stars_begin_where_git_begins_to_look_for_wildcards() {
    for (dir, is_match) in [("b", true), ("x*", false)] {
        let spec = parse_in(dir, &[":(glob)b**/".to_owned()]).unwrap();
        assert_eq!(spec.matches(format!("{dir}/b").as_bytes(), false), is_match, "{dir}");
    }
}

#[test]
fn what_is_no_pathspec_is_told() {
    let error = |text: &str| parse_in("d", &[text.to_owned()]).unwrap_err();
    assert_eq!(error(""), PathspecError::Empty);
    assert!(matches!(error(":(top"), PathspecError::Unclosed(_)));
    assert!(matches!(error(":(literal,glob)x"), PathspecError::LiteralGlob(_)));
    assert!(matches!(error("../../x"), PathspecError::Outside(_)));
    assert!(matches!(error("/elsewhere/x"), PathspecError::Outside(_)));
    assert!(matches!(error(".digstore/x"), PathspecError::Path { .. }));
    assert!(matches!(error(&"*/".repeat(3000)), PathspecError::Path { .. }));
    assert!(matches!(error(":%x"), PathspecError::UnknownMagic { .. }));
    let PathspecError::UnknownMagic { nearest, .. } = error(":(icas)x") else { panic!() };
    assert_eq!(nearest.as_deref(), Some("icase"));
    let spec = parse_in("d", &["/top/a/../b/".to_owned()]).unwrap();
    assert_eq!(spec.roots(), [RepoPath::new("b").unwrap()]);
}

const DIRS: [&str; 8] = ["", "a", "a/b", "b", "a[b]", "B", "a/a", "x*"];
const NAMES: [&str; 8] = ["a.c", "b", "A.c", "a[b]", "x*y", "c d", ":z", "\\q"];

/// Some files, those of git's index.
fn make_tree(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for dir in DIRS {
        fs::create_dir_all(root.join(dir)).unwrap();
        for name in NAMES {
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            // Below 'a', the name is that of a directory.
            if !DIRS.contains(&path.as_str()) {
                fs::write(root.join(&path), b"").unwrap();
                files.push(path);
            }
        }
    }
    for args in [&["init", "-q", "--template="][..], &["add", "-A"]] {
        assert!(Command::new("git").args(args).current_dir(root).status().unwrap().success());
    }
    files
}

/// The files that git finds; none when it refuses the pathspecs.
fn ask_git(root: &Path, dir: &str, texts: &[String]) -> Option<BTreeSet<String>> {
    let is_exclude =
        |text: &String| Magic::split(text.as_bytes()).is_ok_and(|(magic, _)| magic.exclude);
    // `ls-files` takes a beginning that pathspecs share off the paths, and overlooks excluding ones
    // above it; one that matches nothing lets it compare whole paths.
    let here = texts.iter().all(is_exclude).then_some(".");
    let output = Command::new("git")
        .args(["ls-files", "-z", "--full-name", "--", ":(top,literal)nothing"])
        .args(here.into_iter().chain(texts.iter().map(String::as_str)))
        .current_dir(root.join(dir))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let files = text.split_terminator('\0').map(str::to_owned).collect();
    output.status.success().then_some(files)
}

fn text() -> impl Strategy<Value = String> {
    let magic = prop_oneof![
        10 => Just(""),
        5 => prop::sample::select(vec![":!", ":^", ":/", ":!/", ":", "::", ":/:", ":(glob)"]),
        4 => prop::sample::select(vec![
            ":(icase)", ":(literal)", ":(exclude)", ":(top)", ":(exclude,icase)", ":()",
            ":(glob,top)", ":(exclude,glob)", ":(icase,glob)", ":(literal,icase,top)", ":(top,,icase)",
        ]),
        1 => prop::sample::select(vec![":(", ":(bad)", ":%", ":(literal,glob)", ":!(glob)"]),
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "/", "a.c", "*", "a/", "c d", ".c"]),
        4 => prop::sample::select(vec!["**", "?", "**/", "/**", "[ab]", "[!a]", "*.c", "a[b]", "x*"]),
        1 => prop::sample::select(vec!["\\", "[", "]", "./", "\\*", "B", "[a-c]", "[[:alpha:]]", ":z"]),
    ];
    let up = prop_oneof![8 => Just(""), 1 => Just("../"), 1 => Just("./")];
    let body = prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat());
    (magic, up, body).prop_map(|(magic, up, body)| {
        // What follows ':/' git does not tidy up: it would match nothing.
        let is_top = magic.contains('/') || magic.contains("top");
        let up = if is_top { "" } else { up };
        let mut body = format!("{up}{body}");
        while body.contains("//") || body.contains("./") && is_top {
            body = body.replace("//", "/").replace("./", "");
        }
        let body = body.trim_start_matches('/');
        format!("{magic}{body}")
    })
}

#[test]
fn pathspecs_are_those_of_git() {
    let temp = tempfile::tempdir().unwrap();
    let files = make_tree(temp.path());
    let strategy = (prop::sample::select(DIRS.to_vec()), prop::collection::vec(text(), 1..4));
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&strategy, |(dir, texts)| {
            let (ours, theirs) = (parse_in(dir, &texts), ask_git(temp.path(), dir, &texts));
            prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{:?}", ours);
            let (Ok(spec), Some(theirs)) = (ours, theirs) else { return Ok(()) };
            let matches = |path: &&String| spec.matches(path.as_bytes(), false);
            let ours: BTreeSet<String> = files.iter().filter(matches).cloned().collect();
            prop_assert_eq!(&ours, &theirs);
            for path in &ours {
                check_confined(&spec, path.as_bytes());
            }
            check_covered(&spec, &files);
            Ok(())
        })
        .unwrap();
}

#[test]
fn typed_in_the_root_a_pathspec_means_the_same() {
    let mut files = Vec::new();
    for dir in DIRS {
        files.extend(
            NAMES.map(|name| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") }),
        );
    }
    files.push("a\\[b\\]/b".to_owned());
    let strategy = (prop::sample::select(DIRS.to_vec()), prop::collection::vec(text(), 1..4));
    let config = Config { cases: 5000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&strategy, |(dir, texts)| {
            let path = RepoPath::new(dir).unwrap();
            let base = Base { dir: &path, excludes_from_dir: false, absolute: &|_| None };
            let Ok(here) = Pathspec::parse(&texts, &base) else { return Ok(()) };
            if !dir.is_empty() && texts.iter().any(|text| text.contains("icase")) {
                return Ok(());
            }
            let mut typed = Vec::new();
            for text in &texts {
                typed.extend(Pathspec::from_root(text.as_bytes(), &base).unwrap());
            }
            let root = RepoPath::root();
            let base = Base { dir: &root, excludes_from_dir: false, absolute: &|_| None };
            let from_root = Pathspec::parse(&typed, &base).unwrap();
            for (file, is_dir) in files.iter().flat_map(|file| [(file, false), (file, true)]) {
                let [a, b] = [&here, &from_root].map(|spec| spec.matches(file.as_bytes(), is_dir));
                prop_assert_eq!(a, b, "{:?} {:?} {}", &texts, &typed, file);
            }
            Ok(())
        })
        .unwrap();
}

/// What matches lies at or below a root, in directories that are entered.
fn check_confined(spec: &Pathspec, path: &[u8]) {
    assert!(spec.roots().iter().any(|root| crate::path::is_within(path, root.as_bytes())));
    let mut dir = path;
    while !dir.is_empty() {
        dir = split_last(dir).0;
        assert!(spec.may_match_below(dir), "{spec:?} {}", escape(dir));
    }
}

/// Everything below a directory that is covered matches.
fn check_covered(spec: &Pathspec, files: &[String]) {
    for dir in DIRS.iter().filter(|dir| spec.covers(dir.as_bytes())) {
        let mut below =
            files.iter().filter(|file| crate::path::is_within(file.as_bytes(), dir.as_bytes()));
        assert!(below.all(|file| spec.matches(file.as_bytes(), false)), "{spec:?} {dir}");
    }
}
