//! A repository with a history, commands that change it, and what must hold afterwards, whatever
//! happened to the command.

use std::path::Path;
use std::process::Command;

use crate::below;
use crate::common::{Dice, Output, Sandbox, Tree, noise, text, without_leftovers};

/// A command, and what is done to the work tree before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) args: &'static [&'static str],
    before: &'static [&'static [&'static str]],
}

const EDIT: &[&[&str]] = &[];
const STAGE: &[&[&str]] = &[&["add", "-A"]];
/// Something that nothing reaches, once the operations are forgotten.
const GARBAGE: &[&[&str]] = &[&["stash", "-u"], &["stash", "drop"]];
const CLEAN: &[&[&str]] = &[&["add", "-A"], &["commit", "-m", "all of it"]];

/// What is done to the scene, each by itself.
pub(crate) const ACTS: [Act; 14] = [
    Act { args: &["add", "-A"], before: EDIT },
    Act { args: &["commit", "-m", "new"], before: STAGE },
    Act { args: &["commit", "-a", "-m", "new"], before: EDIT },
    Act { args: &["switch", "other"], before: CLEAN },
    Act { args: &["switch", "-f", "other"], before: EDIT },
    Act { args: &["merge", "other"], before: CLEAN },
    Act { args: &["undo"], before: CLEAN },
    Act { args: &["reset", "--hard", "HEAD~1"], before: EDIT },
    Act { args: &["restore", "-s", "HEAD~1", "."], before: EDIT },
    Act { args: &["stash", "-u"], before: EDIT },
    Act { args: &["branch", "new"], before: CLEAN },
    Act { args: &["rm", "-r", "-f", "d"], before: CLEAN },
    Act {
        args: &["gc", "--now", "--config", "gc.keep_days=0", "--config", "gc.keep_operations=0"],
        before: GARBAGE,
    },
    Act {
        args: &[
            "gc",
            "--now",
            "--thorough",
            "--config",
            "gc.keep_days=0",
            "--config",
            "gc.keep_operations=0",
        ],
        before: GARBAGE,
    },
];

/// A repository at one point, from which copies are made.
pub(crate) struct Scene {
    origin: Sandbox,
    /// The commits that were reported, with what they hold.
    commits: Vec<(String, Tree)>,
    act: Act,
    /// The work tree before the command and after it.
    old: Tree,
    new: Tree,
}

/// Files of each size that is stored in its own way.
fn fill(sandbox: &Sandbox, round: u64) {
    for number in 0..6 {
        sandbox.write(format!("d/small{number}"), noise(round * 10 + number, 300));
    }
    sandbox.write("d/e/text", text(round, 40_000));
    sandbox.write("large", [noise(1, 200_000), noise(round, 100_000)].concat());
    sandbox.write("run", format!("#!/bin/sh\necho {round}\n"));
    sandbox.chmod("run", 0o755);
    sandbox.remove("link");
    sandbox.link("link", format!("d/small{}", round % 6));
}

impl Scene {
    /// The scenes of a run with so many tries: in a sample some of them, beginning anywhere.
    pub(crate) fn some(dice: &mut Dice, target: usize, sample: usize) -> Vec<Self> {
        let count = if target < 1000 { sample } else { ACTS.len() };
        let first = below(dice, ACTS.len());
        (0..count).map(|number| Self::new(ACTS[(first + number) % ACTS.len()])).collect()
    }

    pub(crate) fn new(act: Act) -> Self {
        let origin = Sandbox::new();
        let mut commits = Vec::new();
        let save = |origin: &Sandbox, commits: &mut Vec<_>| {
            let id = origin.save("reported");
            commits.push((id, origin.snapshot()));
        };
        fill(&origin, 1);
        origin.write("only here", "first");
        save(&origin, &mut commits);
        origin.ok(["switch", "-c", "other"]);
        origin.remove("only here");
        origin.write("f/other", noise(7, 5000));
        save(&origin, &mut commits);
        origin.ok(["switch", "main"]);
        fill(&origin, 2);
        save(&origin, &mut commits);
        fill(&origin, 3);
        origin.write("new", "untracked");
        for args in act.before {
            let output = origin.ok(*args);
            if let Some(id) = reported(&output) {
                commits.push((id, origin.snapshot()));
            }
        }
        let mut scene = Self { old: origin.snapshot(), new: Tree::new(), origin, commits, act };
        let copy = scene.copy();
        copy.ok(act.args);
        scene.new = copy.snapshot();
        scene
    }

    pub(crate) fn act(&self) -> Act {
        self.act
    }

    /// A copy of everything in a directory of its own.
    pub(crate) fn copy(&self) -> Sandbox {
        copy_of(&self.origin)
    }

    pub(crate) fn copy_to(&self, work: &Path) {
        copy(&self.origin, work);
    }

    /// The repository opens, is sound, and has every commit that was reported.
    #[track_caller]
    pub(crate) fn check_store(&self, run: &dyn Fn(&[&str]) -> Output, output: &Output, at: &str) {
        let ok = |args: &[&str]| {
            let ended = run(args);
            assert_eq!(ended.code, 0, "{at}: {:?}, then {args:?}: {ended:#?}", self.act);
            ended
        };
        ok(&["status", "--porcelain"]);
        ok(&["store", "verify", "--data"]);
        let new = reported(output).map(|id| (id, self.expected()));
        for (id, _) in self.commits.iter().chain(&new) {
            ok(&["log", "-n", "1", id]);
        }
    }

    /// What a commit made by the command holds: what the work tree held, or what the merge made.
    fn expected(&self) -> Tree {
        if self.act.args[0] == "merge" {
            return self.new.clone();
        }
        let mut tree = self.old.clone();
        if self.act.args[1] == "-a" {
            tree.remove(Path::new("new").as_os_str());
        }
        tree
    }

    #[track_caller]
    fn same(&self, expected: &Tree, found: &Tree, at: &str) {
        let paths = expected.keys().chain(found.keys());
        let differs: Vec<_> =
            paths.filter(|path| expected.get(*path) != found.get(*path)).collect();
        assert!(differs.is_empty(), "{at}: {:?}: {differs:?} differ", self.act);
    }

    /// All of it, after a command in a copy was cut off: the store, each file of the work tree, and
    /// that work goes on.
    #[track_caller]
    pub(crate) fn check(&self, sandbox: &Sandbox, output: &Output, at: &str) {
        self.check_store(&|args| sandbox.run(args), output, at);
        let mut now = without_leftovers(sandbox.snapshot());
        now.retain(|path, node| {
            let is_either = |tree: &Tree| tree.get(path) == Some(&*node);
            let fine = is_either(&self.old) || is_either(&self.new) || is_empty_dir(node);
            assert!(fine, "{at}: {:?}: {} is neither old nor new", self.act, path.display());
            true
        });
        for (path, node) in
            self.old.iter().filter(|(path, node)| self.new.get(*path) == Some(*node))
        {
            assert_eq!(now.get(path), Some(node), "{at}: {:?}: {}", self.act, path.display());
        }
        let new = reported(output).map(|id| (id, self.expected()));
        for (id, tree) in self.commits.iter().chain(&new) {
            self.same(tree, &sandbox.restored(id), &format!("{at}, commit {id}"));
        }
        sandbox.ok(["add", "-A"]);
        let last = sandbox.ok(["commit", "--allow-empty", "-m", "next"]);
        let last = sandbox.restored(&reported(&last).unwrap());
        self.same(&without_leftovers(sandbox.snapshot()), &last, &format!("{at}, what came next"));
        sandbox.ok(["store", "verify"]);
    }
}

/// A copy of a work tree with its repository, in a directory of its own.
pub(crate) fn copy_of(sandbox: &Sandbox) -> Sandbox {
    let other = Sandbox::bare();
    copy(sandbox, &other.work);
    other
}

fn copy(sandbox: &Sandbox, work: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(sandbox.path(".")).arg(work);
    assert!(command.status().unwrap().success());
}

fn is_empty_dir(node: &crate::common::Node) -> bool {
    *node == crate::common::Node::EmptyDir
}

/// The commit that a command reported.
pub(crate) fn reported(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    // Only a whole line is a report.
    let id = text.strip_prefix("committed ")?.strip_suffix('\n')?;
    Some(id.to_owned())
}
