#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use super::*;
use crate::repo::walk::rules_of_dir;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn ignored(rules: &IgnoreRules, text: &str) -> bool {
    rules.is_ignored(&path(text), false)
}

#[test]
fn the_deepest_file_and_its_last_line_decide() {
    let top = IgnoreRules::root(false).child(&path(""), Some(b"*.o\n!keep.o\nkeep.o/\n"), None);
    assert!(ignored(&top, "x.o") && ignored(&top, "a/b/x.o"));
    assert!(!ignored(&top, "keep.o"));
    assert!(top.is_ignored(&path("keep.o"), true));
    let below = top.child(&path("a"), Some(b"!x.o\n/only\n"), None);
    assert!(!ignored(&below, "a/x.o"));
    assert!(ignored(&below, "a/y.o") && ignored(&below, "a/only"));
    assert!(!ignored(&below, "a/b/only"));
}

#[test]
fn digignore_outranks_gitignore_which_is_opt_in() {
    let rules = |on| IgnoreRules::root(on).child(&path(""), Some(b"!a\n"), Some(b"a\nb\n"));
    assert!(!ignored(&rules(false), "b"));
    assert!(ignored(&rules(true), "b"));
    assert!(!ignored(&rules(true), "a"));
}

#[test]
fn nothing_below_a_pruned_directory_is_taken_back() {
    let top = IgnoreRules::root(false).child(&path(""), Some(b"a/\n"), None);
    let below = top.pruned(&path("a")).child(&path("a"), Some(b"!*\n"), None);
    assert!(ignored(&below, "a/x"));
    let decision = below.explain(&path("a/x"), false).unwrap();
    assert_eq!((decision.line, &decision.pattern[..], decision.ignored), (1, &b"a/"[..], true));
    assert_eq!(decision.file, path(".digignore"));
}

#[test]
fn odd_files_give_warnings_and_odd_bytes_are_patterns() {
    let mut long = b"first\n".repeat(MAX_IGNORE_FILE / 6);
    long.extend_from_slice(b"last\nlast\n");
    let rules = IgnoreRules::root(false).child(&path(""), Some(&long), None);
    assert_eq!(rules.warnings(), [IgnoreWarning::TooLong(path(".digignore"))]);
    assert!(ignored(&rules, "first") && !ignored(&rules, "last"));
    let rules = IgnoreRules::root(false).child(&path(""), Some(b"\xef\xbb\xbf\xff*\r\n"), None);
    assert!(rules.is_ignored(&RepoPath::new(*b"\xffx").unwrap(), false));
}

/// Directories and files of the tree on which git is asked.
const NAMES: [&str; 7] = ["a", "b", "ab", "a b", "x.o", "!a", "{a,b}"];

fn make_tree(root: &Path) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    let mut dirs = vec![(String::new(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for (index, name) in NAMES.iter().enumerate() {
            let full = if dir.is_empty() { (*name).to_owned() } else { format!("{dir}/{name}") };
            let is_dir = depth < 3 && (index < 2 || (depth == 0 && index == 4));
            if is_dir {
                fs::create_dir(root.join(&full)).unwrap();
                dirs.push((full.clone(), depth + 1));
            } else {
                fs::write(root.join(&full), b"").unwrap();
            }
            all.push((full, is_dir));
        }
    }
    all
}

/// `(file, line, pattern)` for each path, as `git check-ignore -v` says.
fn ask_git(root: &Path, paths: &[(String, bool)]) -> Vec<(String, String, String)> {
    let mut git = Command::new("git")
        .args(["-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-v", "-n"])
        .args(["--stdin", "-z"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: Vec<u8> = paths.iter().flat_map(|(path, _)| path.bytes().chain([0])).collect();
    let mut stdin = git.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = git.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    let text = String::from_utf8(output).unwrap();
    let fields: Vec<&str> = text.split('\0').collect();
    let answers = fields.chunks_exact(4);
    answers.map(|one| (one[0].to_owned(), one[1].to_owned(), one[2].to_owned())).collect()
}

fn ask_us(root: &OwnedFd, paths: &[(String, bool)]) -> Vec<(String, String, String)> {
    let mut known: HashMap<RepoPath, Arc<IgnoreRules>> = HashMap::new();
    let answer = |(text, is_dir): &(String, bool)| {
        let full = path(text);
        let dir = full.parent().unwrap();
        let rules = known.entry(dir).or_insert_with_key(|dir| rules_of_dir(root, dir, true).0);
        match rules.explain(&full, *is_dir) {
            Some(one) => (
                String::from_utf8(one.file.as_bytes().to_vec()).unwrap(),
                one.line.to_string(),
                String::from_utf8(one.pattern).unwrap(),
            ),
            None => Default::default(),
        }
    };
    paths.iter().map(answer).collect()
}

fn pattern_line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "/", "/", "*", "**", "x", ".o", "a b"]),
        3 => prop::sample::select(vec!["?", "**/", "/**", "[ab]", "[!a]", "*/", "[a-c]", "\\a"]),
        1 => prop::sample::select(vec![
            "[", "]", "\\", " ", "\\ ", "!", "#", "{a,b}", "[[:alpha:]]", "[]a]", "[^/]", "-", "\t",
            "[[:bad:]]", "\\ \\ ", "  ", "\u{feff}", "[!a-", "b\r", "[a\\]]", "?\\*", "[a\\-b]", "***", "\\/", "\r", "[[:alpha]", "[a-]", "\\!", "\\#",
        ]),
    ];
    let body = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    (prop::bool::weighted(0.25), body)
        .prop_map(|(negated, body)| if negated { format!("!{body}") } else { body })
}

#[test]
fn rules_are_those_of_git() {
    let temp = tempfile::tempdir().unwrap();
    let git = Command::new("git").args(["init", "-q", "--template="]).current_dir(&temp).status();
    assert!(git.unwrap().success());
    let paths = make_tree(temp.path());
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let file = || prop::collection::vec(pattern_line(), 0..6);
    let strategy = (file(), file(), file(), any::<bool>());
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |(top, a, b, ends)| {
        for (dir, lines) in [("", &top), ("a", &a), ("a/b", &b)] {
            let end = if ends { "\n" } else { "" };
            fs::write(temp.path().join(dir).join(GITIGNORE), lines.join("\n") + end).unwrap();
        }
        let (ours, theirs) = (ask_us(&root, &paths), ask_git(temp.path(), &paths));
        prop_assert_eq!(theirs.len(), paths.len());
        for ((path, our), their) in paths.iter().zip(&ours).zip(&theirs) {
            prop_assert_eq!(our, their, "{:?}", path);
        }
        Ok(())
    });
    result.unwrap();
}
