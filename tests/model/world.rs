//! The model and the binary side by side: each step is taken in both, and what they hold compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use serde_json::Value;

use super::action::{Action, PATHS};
use super::common::{Node, Output, Sandbox};
use super::files::{above, files, put, remove_by_hand, within};
use super::merge::Outcome;
use super::shown::{said, shown};
use super::state::{Code, Commit, FAILED, Head, OK, Refs, State, UNKNOWN};

/// An operation that can be undone, or redone.
pub(crate) struct Op {
    /// The first word of the command.
    pub(crate) command: String,
    pub(crate) before: State,
    pub(crate) after: State,
    /// It was taken back among other edits: its states of the work tree are of the past.
    pub(crate) is_mixed: bool,
}

/// Bytes that a command took from the work tree.
pub(crate) struct Lost {
    pub(crate) path: String,
    pub(crate) node: Node,
    pub(crate) by: String,
}

/// A repository and what it should hold.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) state: State,
    /// Ids of contents, as far as they were met.
    pub(crate) ids: BTreeMap<Vec<u8>, String>,
    /// Operations that `undo` takes back, the last one first to go.
    pub(crate) done: Vec<Op>,
    /// Operations that `redo` does again.
    pub(crate) undone: Vec<Op>,
    /// What refs there were behind each operation, with its number.
    pub(crate) history: Vec<(u64, Refs)>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) steps: usize,
    /// Commands that did something, for the test that all are met.
    pub(crate) met: BTreeSet<String>,
}

fn content(number: usize) -> Vec<u8> {
    // Of one length, so that sizes tell nothing, and an empty one.
    if number == 0 { Vec::new() } else { format!("content {number}\n").into_bytes() }
}

impl World {
    /// A repository with one commit, which holds the ignore rule and these files.
    pub(crate) fn new(base: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write(".digignore", "*.ign\n");
        base.iter().for_each(|path| sandbox.write(path, path));
        let id = sandbox.save("base");
        let tree = files(sandbox.snapshot());
        let refs = Refs {
            branches: BTreeMap::from([("main".to_owned(), id.clone())]),
            tags: BTreeMap::new(),
            head: Head::Branch("main".to_owned()),
            staged: tree.clone(),
            stashes: Vec::new(),
            merging: None,
        };
        let commits =
            BTreeMap::from([(id.clone(), Commit { parents: vec![], tree: tree.clone() })]);
        let history = vec![(last_operation(&sandbox), refs.clone())];
        let state = State { commits, order: vec![id], refs, work: tree };
        Self {
            sandbox,
            state,
            ids: BTreeMap::new(),
            done: Vec::new(),
            undone: Vec::new(),
            history,
            lost: Vec::new(),
            steps: 0,
            met: BTreeSet::new(),
        }
    }

    /// Takes one step and compares.
    pub(crate) fn step(&mut self, action: Action) {
        self.steps += 1;
        if self.edit(action) {
            return;
        }
        match action {
            Action::Undo | Action::Redo => return self.take_back(action == Action::Undo),
            Action::SwitchBack => return self.switch_back(),
            Action::GoBack(number) => return self.go_back(number),
            Action::Collect(is_thorough) => return self.collect(is_thorough),
            _ => {}
        }
        let before = self.state.clone();
        let Some((args, outcome)) = self.command(action) else { return };
        let output = self.sandbox.run(&args);
        let code = match outcome {
            Outcome::Ends(code) => code,
            Outcome::Conflicts => FAILED,
            Outcome::Commits(_) => OK,
        };
        self.expect(&args, &output, code);
        match outcome {
            Outcome::Commits(parents) => {
                let id = output.text().trim_end().strip_prefix("committed ").unwrap_or_default();
                assert!(!id.is_empty(), "{args:?}: {output:?}");
                let tree = self.state.refs.staged.clone();
                self.state.commit(id.to_owned(), parents, tree);
            }
            Outcome::Ends(FAILED | UNKNOWN) => self.state = before.clone(),
            _ => {}
        }
        self.name_stash();
        self.compare(&args);
        self.enter(&before, &args);
    }

    /// Nothing that anybody can name, undo or take up again is garbage.
    fn collect(&mut self, is_thorough: bool) {
        let flags = if is_thorough { &["--now", "--thorough"][..] } else { &["--now"] };
        let args: Vec<String> = ["gc"].iter().chain(flags).map(|&arg| arg.to_owned()).collect();
        let output = self.sandbox.run(&args);
        self.expect(&args, &output, OK);
        self.compare(&args);
    }

    /// Gives a new stash in the model its id.
    fn name_stash(&mut self) {
        if self.state.refs.stashes.first().is_some_and(|stash| stash.id.is_empty()) {
            let list = self.sandbox.ok(["stash", "list", "--json"]).json();
            self.state.refs.stashes[0].id = string(&list["stashes"][0]["id"]);
        }
    }

    pub(crate) fn expect(&mut self, args: &[String], output: &Output, expected: Code) {
        if std::env::var_os("DIGSTORE_MODEL_TRACE").is_some() {
            let _ = writeln!(std::io::stderr(), "{args:?}: {}", output.code);
        }
        assert_eq!(
            output.code,
            expected,
            "exit code of {args:?}\n{}\n{}",
            said(output),
            shown(&self.state)
        );
        if expected == OK {
            let flags = args.iter().filter(|arg| arg.starts_with('-'));
            let flags: Vec<&str> = flags.map(String::as_str).collect();
            self.met.insert(format!("{} {}", args[0], flags.join(" ")).trim_end().to_owned());
        }
    }

    /// An edit by hand, in the model and in the work tree.
    fn edit(&mut self, action: Action) -> bool {
        let (Action::Write(path, _)
        | Action::Link(path, _)
        | Action::Mkdir(path)
        | Action::Chmod(path)
        | Action::Remove(path)) = action
        else {
            return false;
        };
        let path = PATHS[path % PATHS.len()];
        let node = match action {
            Action::Write(_, number) => {
                let executable = matches!(self.state.work.get(path), Some(Node::File(_, true)));
                Node::File(content(number), executable)
            }
            Action::Link(_, number) => Node::Link(["nowhere", "../a"][number % 2].into()),
            Action::Mkdir(_) => Node::EmptyDir,
            Action::Chmod(_) => match self.state.work.get(path) {
                Some(Node::File(bytes, executable)) => Node::File(bytes.clone(), !executable),
                _ => return true,
            },
            _ => {
                if !within(&self.state.work, path).is_empty() {
                    self.sandbox.remove(path);
                    remove_by_hand(&mut self.state.work, path);
                }
                return true;
            }
        };
        if self.state.work.get(path) != Some(&node) {
            self.place(path, &node);
            put(&mut self.state.work, path, node);
        }
        true
    }

    fn place(&self, path: &str, node: &Node) {
        for dir in above(path) {
            if self.state.work.get(dir).is_some_and(|node| *node != Node::EmptyDir) {
                self.sandbox.remove(dir);
            }
        }
        if !matches!((self.state.work.get(path), node), (Some(Node::File(..)), Node::File(..))) {
            self.sandbox.remove(path);
        }
        match node {
            Node::File(bytes, executable) => {
                self.sandbox.write(path, bytes);
                self.sandbox.chmod(path, if *executable { 0o755 } else { 0o644 });
            }
            Node::Link(target) => self.sandbox.link(path, target),
            Node::EmptyDir => self.sandbox.mkdir(path),
        }
    }

    /// Enters what a command did: one record in the log, or none where nothing changed.
    pub(crate) fn enter(&mut self, before: &State, args: &[String]) {
        let records = self.note_seq();
        assert!(records <= 1, "{args:?} has {records} records");
        let is_same = before.refs == self.state.refs;
        assert!(records == 1 || is_same, "{args:?} has no record");
        for (path, node) in &before.work {
            if *node != Node::EmptyDir && self.state.work.get(path) != Some(node) {
                let (path, node, by) = (path.clone(), node.clone(), format!("{args:?}"));
                self.lost.push(Lost { path, node, by });
            }
        }
        if records == 1 {
            let (command, after) = (args[0].clone(), self.state.clone());
            self.done.push(Op { command, before: before.clone(), after, is_mixed: false });
            self.undone.clear();
        }
    }

    /// Notes what there is behind the last operation; how many there were.
    pub(crate) fn note_seq(&mut self) -> u64 {
        let (last, seq) =
            (self.history.last().map_or(0, |last| last.0), last_operation(&self.sandbox));
        if seq > last {
            self.history.push((seq, self.state.refs.clone()));
        }
        seq - last
    }
}

/// What `HEAD` names in the repository.
pub(crate) fn head_of(status: &Value) -> Head {
    match &status["branch"] {
        Value::String(name) => Head::Branch(name.clone()),
        _ => Head::Detached(string(&status["detached_at"])),
    }
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn last_operation(sandbox: &Sandbox) -> u64 {
    let log = sandbox.ok(["op", "log", "-n", "1", "--json"]).json();
    log["operations"][0]["seq"].as_u64().unwrap_or(0)
}
