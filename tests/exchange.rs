//! Import and export through the binary, beside git itself.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests make files by any means, and a failed step fails the test"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::tar::{self, Entry};
use common::{Node, Output, Sandbox, Tree, assert_same, name, noise, snapshot, text};

/// A git repository beside the work tree, driven through git.
struct Git<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
    time: u64,
}

impl<'a> Git<'a> {
    fn init(sandbox: &'a Sandbox, dir: &str) -> Self {
        let git = Self { sandbox, dir: sandbox.beside(dir), time: 1_500_000_000 };
        fs::create_dir_all(&git.dir).unwrap();
        git.run(&["init", "-q", "--initial-branch=trunk"]);
        git
    }

    fn at(sandbox: &'a Sandbox, dir: &str) -> Self {
        Self { sandbox, dir: sandbox.beside(dir), time: 0 }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        self.sandbox.surround(&mut command);
        command.args(args).current_dir(&self.dir).env("GIT_CONFIG_NOSYSTEM", "1");
        for (who, name) in [("AUTHOR", "Bénédicte"), ("COMMITTER", "Ada Test")] {
            command.env(format!("GIT_{who}_NAME"), name);
            command.env(format!("GIT_{who}_EMAIL"), format!("{who}@example.org"));
        }
        command.env("GIT_AUTHOR_DATE", format!("{} -0530", self.time));
        command.env("GIT_COMMITTER_DATE", format!("{} +0200", self.time + 60));
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        Output::of(&mut self.command(args)).expect_code(0).text().trim_end().to_owned()
    }

    #[track_caller]
    fn commit(&mut self, message: &str) -> String {
        self.time += 1000;
        self.run(&["add", "-A"]);
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.run(&["rev-parse", "HEAD"])
    }

    fn write(&self, name: impl AsRef<std::ffi::OsStr>, bytes: impl AsRef<[u8]>) {
        let path = self.dir.join(Path::new(name.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The files of a commit, from git.
    fn tree(&self, revision: &str) -> Tree {
        let target = self.sandbox.beside(&format!("tree-{}", revision.replace('/', "-")));
        fs::create_dir_all(&target).unwrap();
        let git_dir = if self.dir.join(".git").exists() { ".git" } else { "." };
        let git_dir = format!("--git-dir={git_dir}");
        let work = format!("--work-tree={}", target.display());
        let index = self.sandbox.beside("other-index");
        let mut command =
            self.command(&[&git_dir, &work, "checkout", "-q", "-f", revision, "--", "."]);
        Output::of(command.env("GIT_INDEX_FILE", &index)).expect_code(0);
        fs::remove_file(index).unwrap();
        snapshot(&target)
    }

    /// Every ref with its object: equal lists mean equal histories.
    fn refs(&self) -> String {
        self.run(&["for-each-ref", "--format=%(refname) %(objectname)"])
    }
}

/// A history with everything that git has: merges, tags, modes, links, odd names, directories in the
/// place of files and back.
fn history(git: &mut Git<'_>) -> Vec<String> {
    let mut commits = Vec::new();
    git.write("readme", "one\n");
    git.write("d/e/deep", noise(1, 3000));
    git.write("large", noise(2, 3 << 20));
    commits.push(git.commit("first"));
    git.write(name(b"odd \xff \"q\"\ttab"), "odd");
    git.write("é", "accent");
    git.write("run", "#!/bin/sh\n");
    git.write("empty", "");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(git.dir.join("run"), mode).unwrap();
    std::os::unix::fs::symlink("d/e/deep", git.dir.join("link")).unwrap();
    commits.push(git.commit("names\n\nand a body\n"));
    git.run(&["tag", "light"]);
    git.run(&["switch", "-q", "-c", "side/one"]);
    fs::remove_file(git.dir.join("readme")).unwrap();
    git.write("readme/was/a file", "now below a directory");
    git.write("large", [noise(2, 1 << 20), b"inserted".to_vec(), noise(2, 3 << 20)].concat());
    commits.push(git.commit("a directory in the place of a file"));
    git.run(&["switch", "-q", "trunk"]);
    fs::remove_dir_all(git.dir.join("d")).unwrap();
    git.write("d", "a file in the place of a directory");
    commits.push(git.commit("and back"));
    git.run(&["merge", "-q", "--no-edit", "side/one"]);
    commits.push(git.run(&["rev-parse", "HEAD"]));
    git.run(&["tag", "-a", "v1.0", "-m", "the first\n\nrelease"]);
    git.run(&["mv", "é", "moved"]);
    commits.push(git.commit("rename"));
    git.run(&["switch", "-q", "--orphan", "other"]);
    git.write("alone", "x");
    commits.push(git.commit("a root of its own"));
    git.run(&["switch", "-q", "trunk"]);
    commits
}

/// The commit here whose message begins so.
fn commit_of(sandbox: &Sandbox, git: &Git<'_>, id: &str) -> String {
    let title = git.run(&["log", "-1", "--format=%s", id]);
    for branch in ["trunk", "side/one", "other"] {
        let log = sandbox.ok(["log", branch, "--json"]).json();
        for commit in log["commits"].as_array().unwrap() {
            if commit["message"].as_str().unwrap().starts_with(&title) {
                return commit["id"].as_str().unwrap().to_owned();
            }
        }
    }
    panic!("no commit '{title}'")
}

#[test]
fn a_git_repository_comes_and_goes_unchanged() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "source");
    let commits = history(&mut git);
    let out = sandbox.ok(["import", "git", "../source"]);
    assert!(out.text().contains(" heads/side/one\n"), "{out:?}");
    // As after a clone: the branch of HEAD is checked out, and what add would store is what is there.
    assert_same(&git.tree("HEAD"), &sandbox.snapshot());
    assert_eq!(sandbox.status(), Vec::<String>::new());
    for file in ["large", "run", "link"] {
        let path = sandbox.path(file);
        let _ = Command::new("touch").args(["-h", "-d", "2001-01-01"]).arg(path).status().unwrap();
    }
    let report = sandbox.ok(["add", "-A", "--json"]).json();
    assert_eq!(
        (&report["added"], &report["modified"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    for id in &commits {
        let here = commit_of(&sandbox, &git, id);
        assert_same(&git.tree(id), &sandbox.restored(&here));
    }
    let log = sandbox.ok(["log", "HEAD", "-n", "1", "--json"]).json();
    assert_eq!(log["commits"][0]["author"]["name"], "Bénédicte");
    // Equal ids of all commits and tags: nothing was lost either way.
    sandbox.ok(["export", "git", "../copy.git"]);
    assert_eq!(Git::at(&sandbox, "copy.git").refs(), git.refs());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn an_import_again_takes_what_is_new_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "source");
    git.write("a", "one");
    git.commit("one");
    sandbox.ok(["import", "git", "../source"]);
    git.write("a", "two");
    git.write("b", "new");
    git.commit("two");
    let report = sandbox.ok(["import", "git", "../source", "--json"]).json();
    assert_eq!((&report["commits"], &report["known"]), (&1.into(), &1.into()));
    assert_eq!(sandbox.read("a"), b"two");
    assert_eq!(sandbox.status(), Vec::<String>::new());
    // A file in the way stops it before anything is changed.
    git.write("b", "newer");
    git.commit("three");
    sandbox.write("b", "unsaved");
    let before = sandbox.ok(["log", "--json"]).stdout;
    assert!(sandbox.fails(1, ["import", "git", "../source"]).contains("'b'"));
    assert_eq!(
        (sandbox.read("b"), sandbox.ok(["log", "--json"]).stdout),
        (b"unsaved".to_vec(), before)
    );
    sandbox.ok(["restore", "b"]);
    sandbox.ok(["import", "git", "../source"]);
    // A history that was rewritten is refused, or taken with --force; undo takes that back.
    git.run(&["reset", "-q", "--hard", "HEAD~1"]);
    git.write("c", "other");
    git.commit("another three");
    assert!(sandbox.fails(1, ["import", "git", "../source"]).contains("'heads/trunk'"));
    assert_eq!(sandbox.read("b"), b"newer");
    sandbox.ok(["import", "git", "--force", "../source"]);
    assert_eq!((sandbox.read("b"), sandbox.read("c")), (b"new".to_vec(), b"other".to_vec()));
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("b"), b"newer");
}

#[test]
fn a_killed_import_goes_on_and_a_full_work_tree_is_left_alone() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "source");
    for number in 0..40 {
        git.write("noise", noise(number, 100_000));
        git.commit("next");
    }
    for wait in [5, 20, 60, 150] {
        let mut child = sandbox
            .command(["import", "git", "../source"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.ok(["store", "verify", "--data"]);
    }
    sandbox.ok(["import", "git", "../source"]);
    sandbox.ok(["export", "git", "../copy.git"]);
    assert_eq!(Git::at(&sandbox, "copy.git").refs(), git.refs());

    let other = Sandbox::new();
    other.write("mine", "kept");
    let source = sandbox.beside("source");
    let out = Output::of(other.command(["import", "git"]).arg(source)).expect_code(0);
    assert!(out.stderr.contains("the work tree holds files"), "{out:?}");
    assert_eq!(other.snapshot().len(), 1);
}

#[test]
fn what_has_no_place_here_is_named_and_left_out() {
    let sandbox = Sandbox::new();
    let git = Git::init(&sandbox, "source");
    let mut import = git.command(&["fast-import", "--quiet"]);
    let mut child = import.stdin(Stdio::piped()).spawn().unwrap();
    let person = "committer caf\u{e9} <a@b> 5 +0000";
    let latin: Vec<u8> = person.chars().map(|char| char as u8).collect();
    let stream = [
        b"commit refs/heads/trunk\n".as_slice(),
        &latin,
        b"\ndata 4\nna\xefv\nM 100644 inline good\ndata 2\nok\n",
        b"M 100644 inline .digstore/config\ndata 1\nx\n",
        b"M 120000 inline bad\ndata 14\n../.digstore/a\n",
        b"M 160000 0123456789012345678901234567890123456789 sub\n\n",
    ]
    .concat();
    child.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(child.wait().unwrap().success());
    let out = sandbox.run(["import", "git", "../source"]).expect_code(3);
    for word in ["'.digstore/config'", "'bad'", "'sub'", "Latin-1"] {
        assert!(out.stderr.contains(word), "{word}: {out:?}");
    }
    let expected = Tree::from([("good".into(), Node::File(b"ok".to_vec(), false))]);
    assert_same(&expected, &sandbox.snapshot());
    let log = sandbox.ok(["log", "--json"]).json();
    assert_eq!(log["commits"][0]["message"], "naïv");
    assert_eq!(log["commits"][0]["committer"]["name"], "café");

    assert!(sandbox.fails(20, ["import", "git", "../nowhere"]).contains("not a git repository"));
}

#[test]
fn tags_that_lead_to_no_commit_are_named_and_stop_nothing() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "source");
    history(&mut git);
    for (name, target) in
        [("note", "HEAD:d"), ("trees", "HEAD^{tree}"), ("good", "HEAD"), ("again", "good")]
    {
        git.run(&["tag", "-a", name, "-m", name, target]);
    }
    git.run(&["tag", "blob", "HEAD:d"]);
    let out = sandbox.run(["import", "git", "../source"]).expect_code(3);
    for name in ["note", "trees", "blob"] {
        let told = format!("left out the ref 'refs/tags/{name}': it leads to no commit");
        assert!(out.stderr.contains(&told), "{out:?}");
    }
    let id = |revision: &str| {
        sandbox.ok(["log", "-n", "1", "--json", revision]).json()["commits"][0]["id"].clone()
    };
    assert_eq!(id("again"), id("trunk"));
    sandbox.ok(["store", "verify", "--data"]);
    // The same again changes nothing.
    let before = sandbox.ok(["op", "log", "--json"]).stdout;
    sandbox.run(["import", "git", "../source"]).expect_code(3);
    assert_eq!(before, sandbox.ok(["op", "log", "--json"]).stdout);
}

#[test]
fn an_export_says_what_git_cannot_hold_and_refuses_what_is_no_repository() {
    let sandbox = Sandbox::new();
    assert!(sandbox.fails(1, ["export", "git", "../out.git"]).contains("no branch"));
    sandbox.write("a", text(1, 9000));
    sandbox.mkdir("empty");
    sandbox.save("one");
    fs::create_dir_all(sandbox.beside("full")).unwrap();
    fs::write(sandbox.beside("full/x"), "mine").unwrap();
    sandbox.fails(2, ["export", "git", "../full"]);
    assert_eq!(fs::read_dir(sandbox.beside("full")).unwrap().count(), 1);
    let out = sandbox.ok(["export", "git", "../out.git"]);
    assert!(out.stderr.contains("1 empty directory"), "{out:?}");
    let git = Git::at(&sandbox, "out.git");
    let expected = Tree::from([("a".into(), Node::File(text(1, 9000), false))]);
    assert_same(&expected, &git.tree("main"));
    // Again, with more: the same commits, and the new one.
    let first = git.run(&["rev-parse", "main"]);
    sandbox.write("b", "two");
    sandbox.save("two");
    sandbox.ok(["export", "git", "../out.git"]);
    assert_eq!(git.run(&["rev-parse", "main~1"]), first);
}

#[test]
fn git_works_on_the_repository_that_it_is_told() {
    let sandbox = Sandbox::new();
    let mut other = Git::init(&sandbox, "other");
    history(&mut other);
    let before = other.run(&["for-each-ref"]);
    let mut source = Git::init(&sandbox, "source");
    source.write("only", "here");
    source.commit("only here");
    let with = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("GIT_DIR", sandbox.beside("other/.git")).env("GIT_WORK_TREE", "/");
        Output::of(&mut command).expect_code(0)
    };
    with(&["import", "git", "../source"]);
    assert_eq!(sandbox.read("only"), b"here");
    sandbox.write("more", "more");
    sandbox.save("more");
    with(&["export", "git", "../target.git"]);
    let target = Git::at(&sandbox, "target.git");
    assert_eq!(target.run(&["log", "--format=%s", "trunk"]), "more\nonly here");
    assert_eq!(other.run(&["for-each-ref"]), before);
}

#[test]
fn no_program_of_a_git_repository_is_run() {
    let sandbox = Sandbox::new();
    let marker = sandbox.beside("was-run");
    let mut git = Git::init(&sandbox, "source");
    git.write("a", "lost");
    git.commit("one");
    git.write("b", "b");
    git.commit("two");
    let run = format!("touch '{}'; false", marker.display());
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", "./none"),
        ("remote.origin.uploadpack", &run),
        ("core.fsmonitor", &run),
        ("core.sshCommand", &run),
    ] {
        git.run(&["config", key, value]);
    }
    // An object that git would fetch.
    let lost = git.run(&["rev-parse", "HEAD:a"]);
    fs::remove_file(git.dir.join(format!(".git/objects/{}/{}", &lost[..2], &lost[2..]))).unwrap();
    let hooks = git.dir.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["reference-transaction", "post-checkout", "post-commit", "pre-auto-gc"] {
        fs::write(hooks.join(hook), format!("#!/bin/sh\n{run}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(hooks.join(hook), mode).unwrap();
    }
    sandbox.fails(1, ["import", "git", "../source"]);
    sandbox.write("new", "new");
    sandbox.save("new");
    sandbox.run(["export", "git", "../source"]);
    assert!(!marker.exists());
}

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    tar::ended(tar::entries(tar::USTAR, entries))
}

#[test]
fn an_archive_holds_a_version_and_brings_it_back() {
    let sandbox = Sandbox::new();
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    sandbox.write(&long, noise(1, 3 << 20));
    sandbox.write(name(b"odd \xff\t"), "odd");
    sandbox.write("run", "#!/bin/sh\n");
    sandbox.chmod("run", 0o755);
    sandbox.write("none", "");
    sandbox.link("link", &long);
    sandbox.mkdir("empty/dir");
    sandbox.save("one");
    let tar = sandbox.ok(["export", "tar"]).stdout;
    assert_eq!(sandbox.ok(["export", "tar", "HEAD"]).stdout, tar);
    sandbox.ok(["export", "tar", "-o", "../one.tar"]);
    assert_eq!(fs::read(sandbox.beside("one.tar")).unwrap(), tar);
    // The tar of the system reads it.
    let out = sandbox.beside("untarred");
    fs::create_dir_all(&out).unwrap();
    let mut command = Command::new("tar");
    Output::of(command.arg("-xf").arg(sandbox.beside("one.tar")).current_dir(&out)).expect_code(0);
    assert_same(&sandbox.snapshot(), &snapshot(&out));
    // And what the tar of the system writes is read here, compressed too.
    for (flags, file) in
        [("-cf", "two.tar"), ("-czf", "two.tar.gz"), ("--format=pax -cf", "pax.tar")]
    {
        let mut command = Command::new("tar");
        command.args(flags.split(' ')).arg(sandbox.beside(file)).arg(".").current_dir(&out);
        Output::of(&mut command).expect_code(0);
        let other = Sandbox::new();
        let file = sandbox.beside(file);
        Output::of(other.command(["import", "tar"]).arg(file)).expect_code(0);
        assert_same(&sandbox.snapshot(), &other.snapshot());
        assert_eq!(other.status(), Vec::<String>::new());
        let tree =
            |sandbox: &Sandbox| sandbox.ok(["log", "--json"]).json()["commits"][0]["tree"].clone();
        assert_eq!(tree(&sandbox), tree(&other));
    }
}

#[test]
fn an_archive_replaces_the_directory_that_it_is_for() {
    let sandbox = Sandbox::new();
    sandbox.write("keep", "kept");
    sandbox.write("data/old", "old");
    sandbox.save("one");
    let tar = archive(&[
        (b'0', b"./a", b"", b"first"),
        (b'5', b"dir/", b"", b""),
        (b'0', b"dir/b", b"", b"below"),
        (b'1', b"hard", b"dir/b", b""),
        (b'0', b"a", b"", b"last"),
    ]);
    let out = sandbox.feed(&tar, ["import", "tar", "-", "--prefix", "data", "-m", "new data"]);
    assert!(out.expect_code(0).text().starts_with("committed "));
    let file = |bytes: &[u8]| Node::File(bytes.to_vec(), true);
    let expected = Tree::from([
        ("keep".into(), Node::File(b"kept".to_vec(), false)),
        ("data/a".into(), file(b"last")),
        ("data/dir/b".into(), file(b"below")),
        ("data/hard".into(), file(b"below")),
    ]);
    assert_same(&expected, &sandbox.snapshot());
    assert_same(&expected, &sandbox.restored("HEAD"));
    sandbox.feed(&tar, ["import", "tar", "-", "--prefix", "data"]).expect_code(1);
    sandbox.ok(["undo"]);
    assert_eq!(sandbox.read("data/old"), b"old");
}

#[test]
fn hostile_archives_are_refused_and_change_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("mine", "kept");
    sandbox.save("one");
    let before = (sandbox.snapshot(), sandbox.ok(["log", "--json"]).stdout);
    let refused: [&[Entry<'_>]; 13] = [
        &[(b'0', b"../x", b"", b"x")],
        &[(b'0', b"a/../../x", b"", b"x")],
        &[(b'0', b"/abs", b"", b"x")],
        &[(b'0', b"d/.digstore/x", b"", b"x")],
        &[(b'0', b".DIGSTORE", b"", b"x")],
        &[(b'2', b"l", b".digstore/config.toml", b"")],
        &[(b'2', b"l", b"/tmp", b""), (b'0', b"l/x", b"", b"x")],
        &[(b'0', b"d/x", b"", b"x"), (b'2', b"d", b"/tmp", b"")],
        &[(b'1', b"hard", b"/etc/passwd", b"")],
        &[(b'1', b"hard", b"missing", b"")],
        &[(b'0', b"//abs", b"", b"x")],
        &[(b'0', b"a//../../x", b"", b"x")],
        &[(b'0', b"d/./.digstore//x", b"", b"x")],
    ];
    for entries in refused {
        let out = sandbox.feed(&archive(entries), ["import", "tar", "-"]).expect_code(1);
        assert!(out.stderr.contains("is refused"), "{out:?}");
    }
    let sound = archive(&[(b'0', b"a", b"", &noise(1, 5000)), (b'0', b"b", b"", b"b")]);
    for cut in [100, 600, 3000, 5700] {
        sandbox.feed(&sound[..cut], ["import", "tar", "-"]).expect_code(1);
    }
    // A line break in a name of a pax archive is not understood, and not guessed at.
    let pax: &[Entry<'_>] = &[(b'x', b"pax", b"", b"12 path=a\nb\n"), (b'5', b"f", b"", b"")];
    let out = sandbox.feed(&archive(pax), ["import", "tar", "-"]).expect_code(1);
    assert!(out.stderr.contains("cannot read the archive"), "{out:?}");
    // A long name without end.
    let endless = archive(&[(b'L', b"././@LongLink", b"", &vec![b'x'; 2 << 20])]);
    let out = sandbox.feed(&endless, ["import", "tar", "-"]).expect_code(1);
    assert!(out.stderr.contains("longer than 1 MiB"), "{out:?}");
    assert_eq!((sandbox.snapshot(), sandbox.ok(["log", "--json"]).stdout), before);
    // Devices are left out, the rest comes.
    let device =
        archive(&[(b'3', b"device", b"", b""), (b'6', b"fifo", b"", b""), (b'0', b"x", b"", b"x")]);
    let out = sandbox.feed(&device, ["import", "tar", "-"]).expect_code(3);
    assert!(out.stderr.contains("'device'") && out.stderr.contains("'fifo'"), "{out:?}");
    assert_eq!(sandbox.snapshot().len(), 1);
}

#[test]
fn names_that_differ_in_case_alone_stay_two() {
    let sandbox = Sandbox::new();
    sandbox.write("Makefile", "A");
    sandbox.write("makefile", "B");
    sandbox.save("both");
    sandbox.ok(["mv", "Makefile", "dir"]);
    sandbox.ok(["mv", "makefile", "Dir"]);
    sandbox.commit("renamed");
    let git = Git::init(&sandbox, "git");
    git.run(&["config", "core.ignorecase", "true"]);
    sandbox.ok(["export", "git", "../git"]);
    assert_eq!(git.run(&["ls-tree", "--name-only", "main"]), "Dir\ndir");
    assert_eq!(git.run(&["show", "main:Dir"]), "B");
}

#[test]
fn a_history_without_its_beginning_is_not_imported() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "git");
    for message in ["one", "two", "three"] {
        git.write(message, message);
        git.commit(message);
    }
    let from = format!("file://{}", git.dir.display());
    git.run(&["clone", "-q", "--depth", "2", &from, "../shallow"]);
    let said = sandbox.fails(1, ["import", "git", "../shallow"]);
    assert!(said.contains("is a shallow clone") && said.contains("--unshallow"), "{said}");
    Git::at(&sandbox, "shallow").run(&["fetch", "-q", "--unshallow"]);
    sandbox.ok(["import", "git", "../shallow"]);
    assert_eq!(sandbox.ok(["log", "--format=%s"]).text(), "three\ntwo\none\n");
}

#[test]
fn names_that_git_would_not_check_out_are_left_out() {
    let sandbox = Sandbox::new();
    for name in
        [".git.", "a/.git ", ".git::$INDEX_ALLOCATION", "b\\.GIT\\c", ".gitignore", "git~10"]
    {
        sandbox.write(name, "x");
    }
    sandbox.link(".gitmodules", ".gitignore");
    sandbox.save("x");
    let told = sandbox.run(["export", "git", "../git"]).expect_code(3);
    assert_eq!(told.stderr.matches("git keeps this name for itself").count(), 5, "{told:?}");
    let git = Git { time: 1_500_000_000, ..Git::at(&sandbox, "git") };
    git.run(&["clone", "-q", ".", "../clone"]);
    let mut held: Vec<_> = snapshot(&sandbox.beside("clone")).into_keys().collect();
    held.retain(|path| !path.as_encoded_bytes().starts_with(b".git/"));
    assert_eq!(held, [".gitignore", "git~10"]);
}

#[test]
fn an_interrupted_import_or_export_says_so() {
    let sandbox = Sandbox::new();
    let mut git = Git::init(&sandbox, "git");
    git.write("a", "a");
    git.commit("one");
    sandbox.ok(["import", "git", "../git"]);
    // A git that dies of the signal that its parent gets as well.
    let real = Output::of(Command::new("sh").args(["-c", "command -v git"])).expect_code(0);
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *fast-*) kill -INT $PPID; sleep 1; exit 1;; esac\nexec {} \"$@\"\n",
        real.text().trim()
    );
    sandbox.write("../bin/git", script);
    sandbox.chmod("../bin/git", 0o755);
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", sandbox.beside("bin").display());
    for args in [["import", "git", "../git"], ["export", "git", "../other"]] {
        Output::of(sandbox.command(args).env("PATH", &path)).expect_code(130);
    }
}
