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
    assert_eq!(decision.file, RuleSource::Tree(path(".digignore")));
}

#[test]
fn files_that_hold_everywhere_are_the_weakest() {
    let general =
        |name: &str, lines: &str| (RuleSource::Elsewhere(name.into()), lines.as_bytes().to_vec());
    let files = vec![general("exclude", "!a\nb\n/c\n"), general("user", "a\n!b\nd\n")];
    let top = IgnoreRules::general(true, files, Vec::new());
    assert!(!top.is_empty());
    let below = top.child(&path("x"), Some(b"!d\n"), Some(b"e\n!c\n"));
    let decided = |rules: &IgnoreRules, text: &str| {
        let decision = rules.explain(&path(text), false);
        decision.map(|one| (one.file.to_string(), one.line, one.ignored))
    };
    assert_eq!(decided(&top, "a"), Some(("exclude".to_owned(), 1, false)));
    assert_eq!(decided(&below, "x/b"), Some(("exclude".to_owned(), 2, true)));
    assert_eq!(decided(&top, "c"), Some(("exclude".to_owned(), 3, true)));
    assert_eq!(decided(&below, "x/c"), Some(("x/.gitignore".to_owned(), 2, false)));
    assert_eq!(decided(&top, "d"), Some(("user".to_owned(), 3, true)));
    assert_eq!(decided(&below, "x/d"), Some(("x/.digignore".to_owned(), 1, false)));
    assert_eq!(decided(&below, "x/f"), None);
}

#[test]
fn odd_files_give_warnings_and_odd_bytes_are_patterns() {
    let mut long = b"first\n".repeat(MAX_IGNORE_FILE / 6);
    long.extend_from_slice(b"last\nlast\n");
    let rules = IgnoreRules::root(false).child(&path(""), Some(&long), None);
    assert_eq!(rules.warnings(), [IgnoreWarning::TooLong(RuleSource::Tree(path(".digignore")))]);
    assert!(ignored(&rules, "first") && !ignored(&rules, "last"));
    let rules = IgnoreRules::root(false).child(&path(""), Some(b"\xef\xbb\xbf\xff*\r\n"), None);
    assert!(rules.is_ignored(&RepoPath::new(*b"\xffx").unwrap(), false));
}

/// Directories and files of the trees on which git is asked.
const NAMES: [&str; 7] = ["a", "b", "ab", "a b", "x.o", "!a", "{a,b}"];
/// How many trees git is asked about at once, which saves starting it for each.
const TREES: usize = 50;

fn tree_name(number: usize) -> String {
    format!("t{number:02}")
}

fn make_tree(root: &Path, top: String) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    fs::create_dir(root.join(&top)).unwrap();
    let mut dirs = vec![(top, 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for (index, name) in NAMES.iter().enumerate() {
            let full = format!("{dir}/{name}");
            let is_dir = depth < 2 && (index < 2 || (depth == 0 && index == 4));
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
    let user = format!("core.excludesFile={}", root.join(".git/user").display());
    let mut git = Command::new("git")
        .args(["-c", &user, "check-ignore", "--no-index", "-v", "-n", "--stdin", "-z"])
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

fn ask_us(
    root: &OwnedFd,
    general: &Arc<IgnoreRules>,
    paths: &[(String, bool)],
) -> Vec<(String, String, String)> {
    let mut known: HashMap<RepoPath, Arc<IgnoreRules>> = HashMap::new();
    let answer = |(text, is_dir): &(String, bool)| {
        let full = path(text);
        let dir = full.parent().unwrap();
        let rules = known.entry(dir).or_insert_with_key(|dir| rules_of_dir(root, dir, general).0);
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

/// A line of a file that holds for all trees: also one that is anchored to some of them.
fn general_line() -> impl Strategy<Value = String> {
    let anchored = pattern_line().prop_map(|line| match line.strip_prefix('!') {
        Some(rest) => format!("!/t?[0-4]/{rest}"),
        None => format!("t?[0-4]/{line}"),
    });
    prop_oneof![pattern_line(), anchored]
}

/// The lines of the ignore files of one tree, and whether the last one ends.
type Lines = (Vec<String>, Vec<String>, Vec<String>, bool);

fn write_lines(file: &Path, lines: &[String], ends: bool) {
    fs::write(file, lines.join("\n") + if ends { "\n" } else { "" }).unwrap();
}

#[test]
fn rules_are_those_of_git() {
    let temp = tempfile::tempdir().unwrap();
    let git = Command::new("git").args(["init", "-q", "--template="]).current_dir(&temp).status();
    assert!(git.unwrap().success());
    fs::create_dir(temp.path().join(".git/info")).unwrap();
    let paths: Vec<_> =
        (0..TREES).flat_map(|number| make_tree(temp.path(), tree_name(number))).collect();
    let root: OwnedFd = File::open(temp.path()).unwrap().into();
    let file = || prop::collection::vec(pattern_line(), 0..6);
    let general = || prop::collection::vec(general_line(), 0..4);
    let trees = prop::collection::vec((file(), file(), file(), any::<bool>()), TREES);
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let ask = |(exclude, user, trees): (Vec<String>, Vec<String>, Vec<Lines>)| {
        for (number, (top, a, b, ends)) in trees.iter().enumerate() {
            let top_dir = temp.path().join(tree_name(number));
            for (dir, lines) in [("", top), ("a", a), ("a/b", b)] {
                write_lines(&top_dir.join(dir).join(GITIGNORE), lines, *ends);
            }
        }
        let files = [(".git/info/exclude", &exclude), (".git/user", &user)];
        let mut sources = Vec::new();
        for (name, lines) in files {
            let file = temp.path().join(name);
            write_lines(&file, lines, true);
            // git shows the one as it lies in the work tree, the other as it is named.
            let shown = if name == ".git/user" { file.clone() } else { name.into() };
            sources.push((RuleSource::Elsewhere(shown), fs::read(file).unwrap()));
        }
        let general = IgnoreRules::general(true, sources, Vec::new());
        let (ours, theirs) = (ask_us(&root, &general, &paths), ask_git(temp.path(), &paths));
        prop_assert_eq!(theirs.len(), paths.len());
        for ((path, our), their) in paths.iter().zip(&ours).zip(&theirs) {
            prop_assert_eq!(our, their, "{:?}", path);
        }
        Ok(())
    };
    TestRunner::new(config).run(&(general(), general(), trees), ask).unwrap();
}
