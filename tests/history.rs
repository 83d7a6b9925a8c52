//! `log`, `show`, `merge-base` and the renames of `status`, beside git where the answer is git's.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a helper that fails fails the test, and tests make files by any means"
)]

mod common;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{Sandbox, noise};
use digstore::config::Config;
use digstore::id::{CommitId, ObjectId, TreeId};
use digstore::path::RepoPath;
use digstore::progress::NullMonitor;
use digstore::repo::{Place, Repository};
use digstore::storage::binary_staging::FileStat;
use digstore::storage::engine::{FileSource, OpenedFile};
use digstore::storage::format::object::{Commit, Signature};
use digstore::storage::format::pack::BlockKind;
use digstore::storage::objects::ObjectSink;
use proptest::prelude::*;

/// No files are read here.
struct NoFiles;

impl FileSource for NoFiles {
    fn open(&self, _: &RepoPath) -> io::Result<OpenedFile> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    fn stat(&self, _: &File) -> io::Result<FileStat> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

/// A commit of a history that is made at once.
#[derive(Debug, Clone)]
struct Plan {
    parents: Vec<usize>,
    time: i64,
    /// Which of the trees it holds.
    tree: usize,
    author: &'static str,
}

/// The contents of the file `f` in the trees; the last tree has no `f` but `g/x`.
const CONTENTS: [&str; 3] = ["one\n", "two\n", "three\n"];

/// The same history twice: made with the library, and by git.
struct Twins {
    sandbox: Sandbox,
    ids: Vec<CommitId>,
}

impl Twins {
    fn new(plans: &[Plan]) -> Self {
        let sandbox = Sandbox::new();
        let mut trees = Vec::new();
        for content in CONTENTS {
            sandbox.write("f", content);
            trees.push(tree_of(&sandbox, &sandbox.save("tree")));
        }
        sandbox.remove("f");
        sandbox.write("g/x", "x\n");
        trees.push(tree_of(&sandbox, &sandbox.save("tree")));
        let ids = write_history(&sandbox, plans, &trees);
        for (number, id) in ids.iter().enumerate() {
            let is_tip = !plans.iter().any(|plan| plan.parents.contains(&number));
            if is_tip {
                sandbox.ok(["branch", &format!("t{number}"), &id.to_string()]);
            }
        }
        sandbox.ok(["switch", "-q", "--detach", &ids.last().unwrap().to_string()]);
        sandbox.ok(["branch", "-D", "main"]);
        import(&sandbox, plans);
        Self { sandbox, ids }
    }

    fn ours(&self, args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(|arg| self.named(arg)).collect();
        let all = [vec!["log".to_owned(), "--format".to_owned(), "%s".to_owned()], args].concat();
        self.sandbox.ok(all).text().to_owned()
    }

    /// `#3` is commit 3.
    fn named(&self, arg: &str) -> String {
        let mut text = arg.to_owned();
        for number in (0..self.ids.len()).rev() {
            text = text.replace(&format!("#{number}"), &self.ids[number].to_string());
        }
        text
    }

    fn git(&self, args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(|arg| arg.replace('#', "refs/c/")).collect();
        git(&self.sandbox, &[vec!["log".to_owned(), "--format=%s".to_owned()], args].concat())
    }

    #[track_caller]
    fn assert_alike(&self, args: &[&str]) {
        assert_eq!(self.ours(args), self.git(args), "{args:?}");
    }
}

fn git(sandbox: &Sandbox, args: &[String]) -> String {
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    let output = command.args(args).current_dir(sandbox.beside("git")).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn tree_of(sandbox: &Sandbox, id: &str) -> TreeId {
    let json = sandbox.ok(["log", "-n1", "--json", id]).json();
    json["commits"][0]["tree"].as_str().unwrap().parse().unwrap()
}

fn write_history(sandbox: &Sandbox, plans: &[Plan], trees: &[TreeId]) -> Vec<CommitId> {
    let monitor = Arc::new(NullMonitor::default());
    let place = Place::at(&sandbox.work);
    let repository = Repository::open(place, Config::default(), monitor).unwrap();
    let engine = repository.engine().unwrap();
    let written = engine.write_objects(&NoFiles, |worker| {
        let mut ids: Vec<CommitId> = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            let who = Signature {
                name: plan.author.to_owned(),
                email: "a@b".to_owned(),
                seconds: plan.time,
                offset_minutes: 0,
            };
            let commit = Commit {
                tree: trees[plan.tree],
                files: 1,
                bytes: 4,
                parents: plan.parents.iter().map(|parent| ids[*parent]).collect(),
                author: who.clone(),
                committer: who,
                message: format!("commit {number}"),
            };
            let bytes = commit.encode();
            let id = CommitId::of(&bytes);
            worker.put(BlockKind::Commit, ObjectId::from(id), bytes)?;
            ids.push(id);
        }
        Ok(ids)
    });
    written.unwrap()
}

/// The same history for git; commit n is `refs/c/n`, tips are `refs/heads/tn`.
fn import(sandbox: &Sandbox, plans: &[Plan]) {
    let dir = sandbox.beside("git");
    let mut init = Command::new("git");
    sandbox.surround(&mut init);
    init.args(["init", "-q", "-b", "unused"]).arg(&dir);
    assert!(init.status().unwrap().success());
    let mut stream = String::new();
    for (number, plan) in plans.iter().enumerate() {
        let (time, author) = (plan.time, plan.author);
        let message = format!("commit {number}");
        writeln!(stream, "commit refs/c/{number}\nmark :{}", number + 1).unwrap();
        writeln!(stream, "author {author} <a@b> {time} +0000").unwrap();
        writeln!(stream, "committer {author} <a@b> {time} +0000").unwrap();
        writeln!(stream, "data {}\n{message}", message.len()).unwrap();
        for (at, parent) in plan.parents.iter().enumerate() {
            let word = if at == 0 { "from" } else { "merge" };
            writeln!(stream, "{word} :{}", parent + 1).unwrap();
        }
        writeln!(stream, "deleteall").unwrap();
        let (name, content) = match CONTENTS.get(plan.tree) {
            Some(content) => ("f", *content),
            None => ("g/x", "x\n"),
        };
        writeln!(stream, "M 100644 inline {name}\ndata {}\n{content}", content.len()).unwrap();
        if !plans.iter().any(|other| other.parents.contains(&number)) {
            writeln!(stream, "reset refs/heads/t{number}\nfrom :{}\n", number + 1).unwrap();
        }
    }
    let mut command = Command::new("git");
    sandbox.surround(&mut command);
    let mut child = command
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let head = format!("refs/c/{}", plans.len() - 1);
    git(sandbox, &["update-ref", "--no-deref", "HEAD", &head].map(str::to_owned));
}

fn plan(parents: &[usize], time: i64, tree: usize) -> Plan {
    // git takes small numbers for something else.
    let time = 1_500_000_000 + time;
    Plan { parents: parents.to_vec(), time, tree, author: "Ada" }
}

/// Two lines that are merged, and one that is not.
fn sample() -> Twins {
    Twins::new(&[
        plan(&[], 1000, 0),
        plan(&[0], 1010, 1),
        Plan { author: "Bob", ..plan(&[0], 1020, 0) },
        plan(&[1], 1030, 1),
        plan(&[2], 1040, 2),
        plan(&[3, 4], 1050, 1),
        plan(&[5], 1060, 1),
        plan(&[4], 1070, 3),
        plan(&[6, 7, 2], 1080, 2),
    ])
}

#[test]
fn each_choice_of_commits_is_that_of_git() {
    let twins = sample();
    for args in [
        [].as_slice(),
        &["--topo-order"],
        &["--date-order"],
        &["--first-parent"],
        &["--merges"],
        &["--no-merges"],
        &["-n", "3"],
        &["--skip=2", "-n", "2"],
        &["--reverse"],
        &["--reverse", "-n", "2"],
        &["--branches"],
        &["--all"],
        &["#3..#4"],
        &["#4..#3"],
        &["#6...#7"],
        &["#8", "^#6"],
        &["#8", "^#6", "^#7"],
        &["#1", "#2"],
        &["--since=@1500001035"],
        &["--until=@1500001035"],
        &["--since=@1500001015", "--until=@1500001045"],
        &["--author=Bob"],
        &["--author=bob", "-i"],
        &["--grep=commit [12]"],
        &["--", "f"],
        &["--", "g"],
        &["--", "f", "g"],
        &["--", "*x"],
        &["--", ":!f"],
        &["--topo-order", "--", ":(glob)**/f"],
        &["--topo-order", "--", "f"],
        &["--first-parent", "--", "f"],
        &["#3..#8", "--", "f"],
    ] {
        twins.assert_alike(args);
    }
}

#[test]
fn the_graph_is_that_of_git() {
    let twins = sample();
    let ours = twins.ours(&["--graph", "#6"]);
    assert_eq!(trimmed(&ours), trimmed(&twins.git(&["--graph", "#6"])));
    let octopus = twins.ours(&["--graph"]);
    assert!(octopus.starts_with("*-.   commit 8\n|\\ \\\n"), "{octopus}");
    let long = twins.sandbox.ok(["log", "--graph", "--stat", "-n", "1", "--all"]);
    assert!(long.text().lines().all(|line| line.starts_with(['*', '|', ' '])), "{long:?}");
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_clock_that_ran_backwards_puts_no_parent_before_its_child() {
    let times = [5000, 100, 4000, 50, 3000, 20];
    let plans: Vec<Plan> = times
        .iter()
        .enumerate()
        .map(|(at, time)| match at {
            0 => plan(&[], *time, 0),
            _ => plan(&[at - 1], *time, at % 3),
        })
        .collect();
    let twins = Twins::new(&plans);
    let expected: String =
        (0..6).rev().map(|number| format!("commit {number}\n")).collect::<Vec<_>>().concat();
    for order in ["--topo-order", "--date-order"] {
        assert_eq!(twins.ours(&[order]), expected);
    }
    let graph = twins.ours(&["--graph"]);
    assert_eq!(graph.replace("* ", ""), expected);
    assert_eq!(twins.ours(&["#2..#5"]), "commit 5\ncommit 4\ncommit 3\n");
}

#[test]
fn the_best_common_ancestors_of_a_criss_cross_are_all_told() {
    let twins = Twins::new(&[
        plan(&[], 1, 0),
        plan(&[0], 2, 1),
        plan(&[0], 3, 2),
        plan(&[1, 2], 4, 1),
        plan(&[2, 1], 5, 2),
        plan(&[], 6, 0),
    ]);
    let [three, four, five] = [3, 4, 5].map(|number| twins.ids[number].to_string());
    let sandbox = &twins.sandbox;
    let all = sandbox.ok(["merge-base", "--all", &three, &four]);
    assert_eq!(all.text(), format!("{}\n{}\n", twins.ids[2], twins.ids[1]));
    let one = sandbox.ok(["merge-base", &three, &four]);
    assert_eq!(one.text(), format!("{}\n", twins.ids[2]));
    sandbox.run(["merge-base", &three, &five]).expect_code(1);
    sandbox.ok(["merge-base", "--is-ancestor", &twins.ids[0].to_string(), &four]);
    sandbox.run(["merge-base", "--is-ancestor", &four, &three]).expect_code(1);
    let told = sandbox.fails(1, ["diff", &format!("{three}...{five}")]);
    assert!(told.contains("no common ancestor"), "{told}");
}

fn histories() -> impl Strategy<Value = Vec<Plan>> {
    let commit = (proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 0usize..4);
    proptest::collection::vec(commit, 2..16).prop_map(|commits| {
        let plan_of = |(at, (parents, tree)): (usize, (Vec<prop::sample::Index>, usize))| {
            let mut distinct: Vec<usize> = Vec::new();
            for parent in parents.iter().filter(|_| at > 0).map(|index| index.index(at)) {
                if !distinct.contains(&parent) {
                    distinct.push(parent);
                }
            }
            plan(&distinct, 1000 + 10 * at as i64, tree)
        };
        commits.into_iter().enumerate().map(plan_of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_history_is_told_as_git_tells_it(plans in histories(), pick in any::<prop::sample::Index>()) {
        let twins = Twins::new(&plans);
        let other = format!("#{}", pick.index(plans.len()));
        let last = format!("#{}", plans.len() - 1);
        let range = format!("{other}..{last}");
        let either = format!("{other}...{last}");
        for args in [
            ["--all"].as_slice(),
            &["--topo-order"],
            &["--date-order", "--all"],
            &[&range],
            &[&either],
            &["--", "f"],
            &["--date-order", "--", "f", "g"],
        ] {
            prop_assert_eq!(twins.ours(args), twins.git(args), "{:?} of {:?}", args, plans);
        }
    }
}

#[test]
fn a_file_is_followed_through_its_renames() {
    let sandbox = Sandbox::new();
    let text: String = (0..50).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
    sandbox.write("first", &text);
    sandbox.write("other", "x");
    sandbox.save("one");
    sandbox.remove("first");
    sandbox.write("second", text.replace("line 3\n", "line three\n"));
    sandbox.save("two");
    sandbox.write("other", "y");
    sandbox.save("three");
    sandbox.remove("second");
    sandbox.write("dir/third", text.replace("line 3\n", "line three\n"));
    sandbox.save("four");
    let titles = |args: &[&str]| {
        let output = sandbox.ok([&["log", "--format=%s"], args].concat());
        output.text().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(titles(&["--follow", "dir/third"]), ["four", "two", "one"]);
    assert_eq!(titles(&["--", "dir/third"]), ["four"]);
    let shown = titles(&["--follow", "--name-status", "dir/third"]);
    assert_eq!(
        shown,
        ["four", "R100\tsecond\tdir/third", "two", "R097\tfirst\tsecond", "one", "A\tfirst"]
    );
    sandbox.fails(2, ["log", "--follow"]);
    let status = sandbox.ok(["show", "--name-status", "--format=%s"]);
    assert_eq!(status.text(), "four\nR100\tsecond\tdir/third\n");
}

#[test]
fn show_tells_commits_tags_merges_and_files() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.write("d/x", "x\n");
    sandbox.save("first\n\nwith a body");
    sandbox.write("f", "2\n");
    let id = sandbox.save("second");
    let shown = sandbox.ok(["show"]);
    let head = format!("commit {id} (HEAD -> main)\nAuthor: Ada Test <ada@example.org>\nDate:   ");
    assert!(shown.text().starts_with(&head), "{shown:?}");
    assert!(shown.text().contains("\n\n    second\n\ndiff --git a/f b/f\nindex "), "{shown:?}");
    assert!(shown.text().ends_with("@@ -1 +1 @@\n-1\n+2\n"), "{shown:?}");
    assert!(sandbox.ok(["show", "HEAD~1"]).text().contains("+++ b/d/x\n"), "a root adds all");
    assert_eq!(sandbox.ok(["show", "HEAD~1:f"]).text(), "1\n");
    assert_eq!(sandbox.ok(["show", "HEAD:"]).text(), "tree HEAD:\n\nd/\nf\n");
    assert_eq!(sandbox.ok(["show", "HEAD:d"]).text(), "tree HEAD:d\n\nx\n");
    sandbox.fails(20, ["show", "HEAD:none"]);
    sandbox.fails(20, ["show", "HEAB"]);
    sandbox.ok(["tag", "-a", "v1", "-m", "a release"]);
    let tagged = sandbox.ok(["show", "v1", "-s"]);
    assert!(tagged.text().starts_with("tag v1\nTagger: Ada Test <"), "{tagged:?}");
    assert!(tagged.text().contains("\na release\n\ncommit "), "{tagged:?}");
    let json = sandbox.ok(["show", "--json", "v1"]).json();
    assert_eq!(json["commits"][0]["changes"][0]["path"], "f");
    assert_eq!(json["commits"][0]["tag"]["name"], "v1");
    let twins = sample();
    let merge = twins.sandbox.ok(["show", &twins.ids[8].to_string(), "--format=%s"]);
    assert_eq!(merge.text(), "commit 8\nMAM\tf\n");
    let merge = twins.sandbox.ok(["show", &twins.ids[5].to_string(), "--format=%s"]);
    assert_eq!(merge.text(), "commit 5\n", "it holds what a parent holds");
}

#[test]
fn log_shows_what_changed() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.save("first");
    sandbox.write("f", "2\n");
    sandbox.save("second");
    let stat = sandbox.ok(["log", "--stat", "--format=%s"]);
    let expected = "second\n f | 2 +-\n 1 file changed, 1 insertion(+), 1 deletion(-)\n\
                    first\n f | 1 +\n 1 file changed, 1 insertion(+)\n";
    assert_eq!(stat.text(), expected);
    let patch = sandbox.ok(["log", "-p", "--oneline", "-n", "1"]);
    assert!(patch.text().ends_with("@@ -1 +1 @@\n-1\n+2\n"), "{patch:?}");
    let json = sandbox.ok(["log", "--json", "--name-status"]).json();
    assert_eq!(json["commits"][1]["changes"][0]["change"], "A");
    let told = sandbox.fails(2, ["log", "--since", "whenever"]);
    assert!(
        told.contains("--since cannot be 'whenever'") && told.contains("2 weeks ago"),
        "{told}"
    );
    sandbox.fails(1, ["log", "--author", "("]);
    sandbox.fails(2, ["log", "--format", "fuller"]);
}

#[test]
fn status_tells_what_was_moved() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 300_000));
    sandbox.write("b", noise(2, 100));
    sandbox.save("x");
    sandbox.remove("a");
    sandbox.write("c", noise(1, 300_000));
    sandbox.write("new/one", "1");
    sandbox.write("new/two", "2");
    assert_eq!(sandbox.status(), [" D a", "?? c", "?? new/"]);
    sandbox.ok(["add", "a", "c"]);
    assert_eq!(sandbox.status(), ["R  a -> c", "?? new/"]);
    let records = sandbox.ok(["status", "--porcelain", "-z"]);
    assert_eq!(records.text(), "R  c\0a\0?? new/\0");
    sandbox.append("c", "more");
    assert_eq!(sandbox.status(), ["RM a -> c", "?? new/"]);
    let long = sandbox.ok(["status"]);
    assert!(long.text().contains("\trenamed:    a -> c\n"), "{long:?}");
    assert_eq!(sandbox.ok(["status", "--json"]).json()["moves"][0]["similarity"], 100);
    let plain = sandbox.ok(["status", "-s", "--no-renames", "-uno"]);
    assert_eq!(plain.text(), "D  a\nAM c\n");
    let all = sandbox.ok(["status", "-s", "-uall"]);
    assert_eq!(all.text(), "RM a -> c\n?? new/one\n?? new/two\n");
}

/// Runs a command on a terminal of its own and returns what a person sees.
fn on_terminal(sandbox: &Sandbox, line: &str, pager: Option<&str>) -> String {
    let mut command = Command::new("script");
    sandbox.surround(&mut command);
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_digstore"));
    command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
    if let Some(pager) = pager {
        command.env("DIGSTORE_PAGER", pager);
    }
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\r', "")
}

#[test]
fn a_terminal_gets_the_users_pager_and_never_the_repositorys() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "1\n");
    sandbox.save("first");
    let shown = on_terminal(&sandbox, "log --format=%s", Some("sed s/^/paged:/"));
    assert_eq!(shown, "paged:first\n");
    let shown = on_terminal(&sandbox, "--no-pager log --format=%s", Some("sed s/^/paged:/"));
    assert_eq!(shown, "first\n");
    let shown = on_terminal(&sandbox, "log --format=%s", Some("no-such-pager"));
    assert!(shown.contains("cannot start the pager 'no-such-pager'"), "{shown}");
    assert!(shown.contains("\nfirst\n"), "{shown}");
    // Not a terminal: no pager.
    let mut plain = sandbox.command(["log", "--format=%s"]);
    let plain = common::Output::of(plain.env("DIGSTORE_PAGER", "sed s/^/paged:/"));
    assert_eq!(plain.text(), "first\n");
    sandbox.write(".digstore/config.toml", "[ui]\npager = \"sed s/^/hostile:/\"\n");
    let shown = on_terminal(&sandbox, "log --format=%s", None);
    assert!(shown.contains("first") && !shown.contains("hostile"), "{shown}");
    std::fs::create_dir_all(sandbox.beside("home/config/digstore")).unwrap();
    let own = sandbox.beside("home/config/digstore/config.toml");
    std::fs::write(own, "[ui]\npager = \"sed s/^/mine:/\"\n").unwrap();
    assert_eq!(on_terminal(&sandbox, "log --format=%s", None), "mine:first\n");
    let ended = on_terminal(&sandbox, "log -p", Some("true"));
    assert_eq!(ended, "");
}
