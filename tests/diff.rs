//! `diff`: what is shown of changes, beside git where the output is defined as git's.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a helper that fails fails the test, and tests make files by any means"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Sandbox, assert_same, noise, snapshot};
use proptest::prelude::*;

/// A git repository in the same work tree, so that both see the same files.
struct Pair {
    sandbox: Sandbox,
}

impl Pair {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let pair = Self { sandbox };
        pair.git(&["init", "-q", "-b", "main", "."]);
        fs::write(pair.sandbox.path(".git/info/exclude"), ".digstore\n").unwrap();
        pair
    }

    fn git(&self, args: &[&str]) -> String {
        git_in(&self.sandbox, &self.sandbox.work, args)
    }

    fn save(&self) {
        self.sandbox.ok(["add", "-A"]);
        self.sandbox.ok(["commit", "-m", "x"]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    }

    /// Both outputs for the last commit, line by line, sorted where the order of files differs.
    #[track_caller]
    fn assert_alike(&self, options: &[&str]) {
        let git = [&["diff", "-M", "HEAD~1", "HEAD"], options].concat();
        let ours = [&["diff", "HEAD~1", "HEAD"], options].concat();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
            lines.sort();
            lines.concat()
        };
        let ours = self.sandbox.ok(ours);
        assert_eq!(sorted(ours.text()), sorted(&self.git(&git)), "{options:?}");
    }
}

fn git_in(sandbox: &Sandbox, dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    let output = command
        .args(["-c", "user.name=Ada", "-c", "user.email=a@b", "-c", "core.quotePath=false"])
        .args(["-c", "diff.algorithm=histogram", "-c", "core.autocrlf=false"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A text of numbered lines.
fn numbered(count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|line| format!("line {line}\n")).collect();
    lines.concat()
}

/// Several kinds of changes at once.
fn varied(pair: &Pair) {
    let sandbox = &pair.sandbox;
    sandbox.write("text", numbered(200));
    sandbox.write("gone", "a\nb\n");
    sandbox.write("moved/from/here", numbered(60));
    sandbox.write("exact", noise(1, 5000));
    sandbox.write("mode", "x\n");
    sandbox.write("kind", "x\n");
    sandbox.write("binary", noise(2, 3000));
    sandbox.write("no newline", "end");
    sandbox.write("empty", "");
    pair.save();
    let text = numbered(200).replace("line 100\n", "").replace("line 3\n", "line three\nmore\n");
    sandbox.write("text", text);
    sandbox.remove("gone");
    sandbox.remove("moved");
    sandbox.write("moved/to/here", numbered(60).replace("line 7\n", "seven\n"));
    sandbox.remove("exact");
    sandbox.write("sub/exact2", noise(1, 5000));
    sandbox.chmod("mode", 0o755);
    sandbox.remove("kind");
    sandbox.link("kind", "text");
    sandbox.write("binary", noise(3, 3000));
    sandbox.write("no newline", "end\nmore");
    sandbox.write(
        "a very long directory name/that does not fit/into the columns/of the statistics",
        "1\n",
    );
    sandbox.write("new", "fn head() {\n}\n");
    pair.save();
}

#[test]
fn numbers_and_names_are_those_of_git() {
    let pair = Pair::new();
    varied(&pair);
    for options in [
        ["--stat"].as_slice(),
        &["--numstat"],
        &["--numstat", "-z"],
        &["--shortstat"],
        &["--name-status"],
        &["--name-status", "-z"],
        &["--name-only"],
        &["--name-status", "--no-renames"],
        &["--stat", "--", "moved", "text"],
    ] {
        let is_records = options.contains(&"-z");
        if is_records {
            let ours = pair.sandbox.ok([&["diff", "HEAD~1", "HEAD"], options].concat());
            let git = pair.git(&[&["diff", "-M", "HEAD~1", "HEAD"], options].concat());
            let sorted = |text: &str| {
                let mut fields: Vec<String> = text.split('\0').map(str::to_owned).collect();
                fields.sort();
                fields
            };
            assert_eq!(sorted(ours.text()), sorted(&git), "{options:?}");
        } else {
            pair.assert_alike(options);
        }
    }
}

/// A patch file by file, without ids and without what is told of binary files.
fn files_of(patch: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for line in patch.split_inclusive('\n') {
        if line.starts_with("diff --git") {
            files.push(String::new());
        }
        let is_id = line.starts_with("index ") || line.starts_with("Binary file");
        if let Some(file) = files.last_mut().filter(|_| !is_id) {
            file.push_str(line);
        }
    }
    files.sort();
    files
}

#[test]
fn patches_are_those_of_git() {
    let pair = Pair::new();
    varied(&pair);
    for options in [[].as_slice(), &["-U0"], &["-U10"], &["--no-renames"], &["-w"], &["-b"]] {
        let ours = pair.sandbox.ok([&["diff", "HEAD~1", "HEAD"], options].concat());
        let git = pair.git(&[&["diff", "-M", "HEAD~1", "HEAD"], options].concat());
        assert_eq!(files_of(ours.text()), files_of(&git), "{options:?}");
    }
}

#[test]
fn white_space_that_does_not_count_is_no_change() {
    let pair = Pair::new();
    let sandbox = &pair.sandbox;
    sandbox.write("a", "one two\nthree\nfour\n");
    pair.save();
    sandbox.write("a", "one   two\nthree  \n  four\n");
    pair.save();
    for option in ["-w", "-b", "--ignore-space-at-eol"] {
        let ours = sandbox.ok(["diff", "HEAD~1", "HEAD", option]);
        let git = pair.git(&["diff", "HEAD~1", "HEAD", option]);
        assert_eq!(files_of(ours.text()), files_of(&git), "{option}");
    }
    assert_eq!(sandbox.ok(["diff", "HEAD~1", "HEAD", "-w"]).text(), "");
}

#[test]
fn each_pair_of_versions_can_be_compared() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.write("same", "s\n");
    let first = sandbox.save("first");
    sandbox.write("f", "2\n");
    sandbox.save("second");
    sandbox.write("f", "3\n");
    sandbox.ok(["add", "f"]);
    sandbox.write("f", "4\n");
    let lines = |args: &[&str]| {
        let output = sandbox.ok([&["diff"], args].concat());
        let changed: Vec<String> = output
            .text()
            .lines()
            .filter(|line| matches!(line.as_bytes(), [b'+' | b'-', b'0'..=b'9']))
            .map(str::to_owned)
            .collect();
        changed.join(" ")
    };
    assert_eq!(lines(&[]), "-3 +4");
    assert_eq!(lines(&["--staged"]), "-2 +3");
    assert_eq!(lines(&["--cached", "HEAD~1"]), "-1 +3");
    assert_eq!(lines(&["HEAD"]), "-2 +4");
    assert_eq!(lines(&["HEAD~1"]), "-1 +4");
    assert_eq!(lines(&["HEAD~1", "HEAD"]), "-1 +2");
    assert_eq!(lines(&["HEAD~1..HEAD"]), "-1 +2");
    assert_eq!(lines(&["HEAD~1.."]), "-1 +2");
    assert_eq!(lines(&["HEAD...HEAD~1"]), "");
    assert_eq!(lines(&["HEAD~1...HEAD"]), "-1 +2");
    assert_eq!(lines(&["-R", "HEAD~1", "HEAD"]), "-2 +1");
    assert_eq!(lines(&["-R"]), "-4 +3");
    assert_eq!(lines(&[&first[..12], "HEAD", "--", "same"]), "");
    assert_eq!(lines(&["f"]), "-3 +4");
    sandbox.write("f", "2\n");
    assert_eq!(lines(&["HEAD"]), "", "staged and undone");
    sandbox.remove("f");
    assert_eq!(lines(&["HEAD"]), "-2");
}

#[test]
fn the_exit_code_tells_whether_something_differs() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.save("x");
    sandbox.ok(["diff", "--exit-code"]);
    sandbox.ok(["diff", "--quiet"]);
    sandbox.write("f", "2\n");
    let shown = sandbox.run(["diff", "--exit-code"]).expect_code(1);
    assert!(shown.text().contains("+2"));
    let quiet = sandbox.run(["diff", "--quiet"]).expect_code(1);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), ("", ""));
    sandbox.ok(["diff", "--quiet", "--staged"]);
}

#[test]
fn what_is_neither_revision_nor_path_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("main", "both\n");
    sandbox.write("file", "1\n");
    sandbox.save("x");
    let told = sandbox.fails(20, ["diff", "maim"]);
    assert!(told.contains("unknown revision 'maim'") && told.contains("'main'"), "{told}");
    let told = sandbox.fails(2, ["diff", "main"]);
    assert!(told.contains("both a revision and a path") && told.contains("'--'"), "{told}");
    sandbox.ok(["diff", "main", "--", "file"]);
    sandbox.ok(["diff", "--", "main"]);
    sandbox.fails(2, ["diff", "HEAD", "HEAD", "HEAD"]);
    sandbox.fails(2, ["diff", "-M=200"]);
}

#[test]
fn an_unborn_branch_has_everything_to_add() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.ok(["add", "f"]);
    assert_eq!(sandbox.ok(["diff", "--staged", "--name-status"]).text(), "A\tf\n");
    sandbox.fails(20, ["diff", "HEAD"]);
}

#[test]
fn json_names_both_sides() {
    let sandbox = Sandbox::new();
    sandbox.write("old", noise(1, 200_000));
    sandbox.write("text", "1\n2\n");
    sandbox.save("x");
    sandbox.remove("old");
    sandbox.write("new", noise(1, 200_000));
    sandbox.write("text", "1\n3\n4\n");
    sandbox.save("y");
    let json = sandbox.ok(["diff", "HEAD~1", "HEAD", "--json", "--stat", "--ranges"]).json();
    assert_eq!(json["schema_version"], 1);
    let changes = json["changes"].as_array().unwrap();
    assert_eq!(changes[0]["path"], "new");
    assert_eq!(changes[0]["change"], "R");
    assert_eq!(changes[0]["from"]["path"], "old");
    assert_eq!(changes[0]["similarity"], 100);
    assert_eq!(changes[0]["old"]["id"], changes[0]["new"]["id"]);
    assert_eq!(changes[1]["added"], 2);
    assert_eq!(changes[1]["removed"], 1);
    assert_eq!(changes[1]["ranges"][0]["old"]["start"], 2);
    assert_eq!(changes[1]["changed_bytes"], 3);
}

/// Large binary data with a byte inserted and some bytes replaced.
#[test]
fn of_binary_files_the_changed_bytes_are_told() {
    let sandbox = Sandbox::new();
    let old = noise(7, 20 << 20);
    sandbox.write("big", &old);
    sandbox.save("x");
    let mut new = old.clone();
    new[15 << 20..(15 << 20) + 1000].fill(0xee);
    new.insert(5 << 20, 0xee);
    sandbox.write("big", &new);
    let check = |args: &[&str]| {
        let json = sandbox.ok([&["diff", "--json", "--ranges"], args].concat()).json();
        let change = &json["changes"][0];
        let ranges = change["ranges"].as_array().unwrap();
        assert_eq!(ranges.len(), 2, "{ranges:?}");
        assert_eq!(ranges[0]["old"]["length"], 0);
        assert_eq!(ranges[0]["new"]["length"], 1);
        let start = ranges[0]["new"]["start"].as_u64().unwrap();
        assert!(start <= 5 << 20 && start + 16 > 5 << 20, "{start}");
        assert_eq!(change["changed_bytes"], 1001);
        let text = sandbox.ok([&["diff"], args].concat());
        let last = text.text().lines().last().unwrap();
        assert_eq!(
            last,
            "Binary file big differs: 2 ranges, 1001 B of 20.0 MiB (< 0.01 %) changed"
        );
    };
    check(&[]);
    sandbox.save("y");
    check(&["HEAD~1", "HEAD"]);
    let listed = sandbox.ok(["diff", "HEAD~1", "HEAD", "--ranges"]);
    assert!(listed.text().contains("  nothing at 52428"), "{listed:?}");
    assert!(listed.text().contains("-15729639 -> 15728641-15729640"), "{listed:?}");
}

#[test]
fn what_both_versions_hold_is_not_read() {
    let sandbox = Sandbox::new();
    let old = noise(9, 8 << 20);
    sandbox.write("big", &old);
    sandbox.save("x");
    let packs = sandbox.packs(1);
    let mut new = old.clone();
    new[4 << 20] ^= 1;
    sandbox.write("big", &new);
    sandbox.save("y");
    // Damage at the end of the first pack, in chunks that both versions hold.
    let mut bytes = fs::read(&packs[0]).unwrap();
    let at = bytes.len() - bytes.len() / 5;
    bytes[at..at + 1000].fill(0);
    fs::write(&packs[0], bytes).unwrap();
    sandbox.fails(21, ["get", "big", "-o", "out"]);
    let shown = sandbox.ok(["diff", "HEAD~1", "HEAD"]);
    assert!(shown.text().contains("1 range, 1 B of 8.0 MiB"), "{shown:?}");
}

#[test]
fn large_texts_are_compared_around_their_changes() {
    let pair = Pair::new();
    let sandbox = &pair.sandbox;
    let line =
        |number: usize| format!("{number} {:x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let text: Vec<String> = (0..200_000).map(line).collect();
    sandbox.write("log", text.concat());
    pair.save();
    let mut changed = text.clone();
    changed[150_000] = "changed\n".to_owned();
    changed.insert(70_000, "inserted\n".to_owned());
    changed.remove(10);
    changed.push("at the end\n".to_owned());
    sandbox.write("log", changed.concat());
    pair.save();
    let ours = sandbox.ok(["diff", "HEAD~1", "HEAD"]);
    assert_eq!(files_of(ours.text()), files_of(&pair.git(&["diff", "HEAD~1", "HEAD"])));
    pair.assert_alike(&["--stat"]);
    sandbox.ok(["diff", "HEAD", "--exit-code"]);
}

#[test]
fn a_changed_stretch_that_is_too_large_is_told_in_bytes() {
    let sandbox = Sandbox::new();
    let lines = |seed: u64| -> Vec<u8> {
        noise(seed, 9 << 20).iter().flat_map(|byte| format!("{byte:02x}\n").into_bytes()).collect()
    };
    sandbox.write("text", lines(1));
    sandbox.save("x");
    sandbox.write("text", lines(2));
    let shown = sandbox.ok(["diff"]);
    assert!(shown.text().contains("Large file text differs: 1 range, 27.0 MiB of 27.0 MiB"));
    assert!(sandbox.ok(["diff", "--stat"]).text().contains("text | Bin"));
}

#[test]
fn names_that_garble_are_quoted_and_git_reads_them() {
    let sandbox = Sandbox::new();
    for name in ["a\"b", "tab\there", "new\nline", "ümlaut", "space name"] {
        sandbox.write(name, "1\n");
    }
    sandbox.save("x");
    for name in ["a\"b", "tab\there", "new\nline", "ümlaut", "space name"] {
        sandbox.write(name, "2\n");
    }
    sandbox.save("y");
    let patch = sandbox.ok(["diff", "HEAD~1", "HEAD"]).stdout;
    let names = sandbox.ok(["diff", "HEAD~1", "HEAD", "--name-only"]);
    assert!(names.text().contains("\"new\\nline\"\n"), "{names:?}");
    apply(&sandbox, &patch, "HEAD~1", "HEAD");
}

/// Applies a patch with git to one version and compares with another.
fn apply(sandbox: &Sandbox, patch: &[u8], from: &str, to: &str) {
    let dir = sandbox.beside("applied");
    let _ = fs::remove_dir_all(&dir);
    sandbox.ok(["restore", "-s", from, "--target", dir.to_str().unwrap(), "."]);
    let file = sandbox.beside("patch");
    fs::write(&file, patch).unwrap();
    if !patch.is_empty() {
        let status = Command::new("git")
            .args(["apply", "--whitespace=nowarn", "--unsafe-paths", "-p1"])
            .arg(&file)
            .current_dir(&dir)
            .env("GIT_CEILING_DIRECTORIES", sandbox.beside(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(patch);
        assert!(status.status.success(), "{}\n{shown}", String::from_utf8_lossy(&status.stderr));
    }
    assert_same(&sandbox.restored(to), &snapshot(&dir));
}

/// Lines of a small alphabet, so that they repeat, with and without an end.
fn text() -> impl Strategy<Value = String> {
    let line =
        prop_oneof![Just("a"), Just("b"), Just("  c"), Just(""), Just("}"), Just("long line")];
    (proptest::collection::vec(line, 0..40), any::<bool>()).prop_map(|(lines, has_end)| {
        let text = lines.join("\n");
        if has_end && !text.is_empty() { text + "\n" } else { text }
    })
}

fn tree() -> impl Strategy<Value = Vec<(String, String, bool)>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("d/a"), Just("d/b"), Just("e/f/g")];
    proptest::collection::vec((name.prop_map(str::to_owned), text(), any::<bool>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn git_makes_the_new_version_of_the_old_with_our_patch(old in tree(), new in tree(), context in 0usize..4) {
        let sandbox = Sandbox::new();
        let write = |files: &[(String, String, bool)]| {
            for name in ["a", "b", "d", "e"] {
                sandbox.remove(name);
            }
            for (name, text, executable) in files {
                sandbox.write(name, text);
                sandbox.chmod(name, if *executable { 0o755 } else { 0o644 });
            }
        };
        write(&old);
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["commit", "--allow-empty", "-m", "old"]);
        write(&new);
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["commit", "--allow-empty", "-m", "new"]);
        let context = format!("-U{}", context.max(1));
        let patch = sandbox.ok(["diff", "HEAD~1", "HEAD", &context]).stdout;
        apply(&sandbox, &patch, "HEAD~1", "HEAD");
        let back = sandbox.ok(["diff", "HEAD", "HEAD~1", &context, "--no-renames"]).stdout;
        apply(&sandbox, &back, "HEAD", "HEAD~1");
    }
}

#[test]
fn white_space_that_does_not_count_is_no_difference_for_the_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "one two\n");
    sandbox.save("x");
    sandbox.write("a", "one  two \n");
    for format in [
        &["--quiet"][..],
        &["--exit-code"],
        &["--exit-code", "--stat"],
        &["--exit-code", "--stat", "-p"],
    ] {
        let run = |flag: &str| sandbox.run(["diff", flag].iter().chain(format)).code;
        assert_eq!((run("-w"), run("-b"), run("-a")), (0, 0, 1), "{format:?}");
    }
    sandbox.chmod("a", 0o755);
    assert_eq!(sandbox.run(["diff", "--quiet", "-w"]).code, 1, "its mode counts");
    sandbox.chmod("a", 0o644);
    sandbox.write("a", "onetwo\n");
    assert_eq!(sandbox.run(["diff", "--quiet", "-b"]).code, 1);
}

#[test]
fn a_moved_file_with_its_lines_in_another_order_is_not_the_same() {
    let sandbox = Sandbox::new();
    let lines: Vec<String> = (1000..1400).map(|number| format!("{number}\n")).collect();
    sandbox.write("a", lines.concat());
    sandbox.save("one");
    sandbox.remove("a");
    sandbox.write("b", lines.iter().rev().cloned().collect::<String>());
    sandbox.save("two");
    let patch = sandbox.ok(["diff", "HEAD~1", "HEAD"]);
    assert!(patch.text().contains("rename from a\nrename to b\n"), "{patch:?}");
    assert!(patch.text().contains("\n+1398\n"), "{patch:?}");
    assert!(!patch.text().contains("100%"), "{patch:?}");
}
