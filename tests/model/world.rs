//! The model and the binary side by side: each step is taken in both, and what they hold compared.

#![expect(clippy::panic, clippy::expect_used, reason = "a difference fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::action::{Action, How, KNOWN, NAMES, PATHS};
use super::common::{Node, Output, Sandbox};
use super::state::{
    Code, Commit, FAILED, Files, Head, OK, PARTIAL, Refs, State, UNKNOWN, files, put,
    remove_by_hand, within,
};

/// An operation that can be undone, or redone.
struct Op {
    before: State,
    after: State,
    /// It was taken back among other edits: its states of the work tree are of the past.
    is_mixed: bool,
}

/// Bytes that a command took from the work tree.
struct Lost {
    path: String,
    node: Node,
    by: String,
}

/// A repository and what it should hold.
pub(crate) struct World {
    sandbox: Sandbox,
    state: State,
    /// Ids of contents, as far as they were met.
    ids: BTreeMap<Vec<u8>, String>,
    /// Operations that `undo` takes back, the last one first to go.
    done: Vec<Op>,
    /// Operations that `redo` does again.
    undone: Vec<Op>,
    /// What `HEAD` named before each operation.
    heads: Vec<Head>,
    /// The number of the last operation.
    seq: u64,
    lost: Vec<Lost>,
    steps: usize,
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
        };
        let commits =
            BTreeMap::from([(id.clone(), Commit { parents: vec![], tree: tree.clone() })]);
        let state = State { commits, order: vec![id], refs, work: tree };
        let (ids, seq) = (BTreeMap::new(), last_operation(&sandbox));
        Self {
            sandbox,
            state,
            ids,
            done: Vec::new(),
            undone: Vec::new(),
            heads: Vec::new(),
            seq,
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
        if matches!(action, Action::Undo | Action::Redo) {
            return self.take_back(action == Action::Undo);
        }
        if action == Action::SwitchBack {
            return self.switch_back();
        }
        let before = self.state.clone();
        let (args, expected) = self.command(action);
        let output = self.sandbox.run(&args);
        let expected = match (action, &expected) {
            (Action::Commit, Ok(())) => {
                let id = output.text().trim_end().strip_prefix("committed ").unwrap_or_default();
                assert!(!id.is_empty(), "{args:?}: {output:?}");
                self.state.commit(id.to_owned());
                OK
            }
            _ => expected.err().unwrap_or(OK),
        };
        self.expect(&args, &output, expected);
        if matches!(expected, FAILED | UNKNOWN) {
            self.state = before.clone();
        }
        self.compare(&args);
        self.enter(&before, &args);
    }

    fn expect(&mut self, args: &[String], output: &Output, expected: Code) {
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
        for dir in super::state::above(path) {
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

    /// The path that a command is given, mostly one where something is.
    fn path(&self, number: usize) -> String {
        let State { refs, work, .. } = &self.state;
        let is_there = |path: &&str| {
            [work, &refs.staged, self.state.head_tree()]
                .iter()
                .any(|tree| !within(tree, path).is_empty())
        };
        chosen(
            &PATHS.iter().copied().filter(|path| is_there(path)).collect::<Vec<_>>(),
            &PATHS,
            number,
        )
    }

    fn branch(&self, number: usize) -> String {
        chosen(
            &self.state.refs.branches.keys().map(String::as_str).collect::<Vec<_>>(),
            &NAMES,
            number,
        )
    }

    fn new_name(&self, number: usize) -> String {
        let State { refs, .. } = &self.state;
        let is_free =
            |name: &&str| !refs.branches.contains_key(*name) && !refs.tags.contains_key(*name);
        chosen(&NAMES.iter().copied().filter(is_free).collect::<Vec<_>>(), &NAMES, number)
    }

    fn revision(&self, number: usize) -> String {
        self.state.order[number % self.state.order.len()].clone()
    }

    /// The command line of an action, done in the model; the code if it should not succeed.
    fn command(&mut self, action: Action) -> (Vec<String>, Result<(), Code>) {
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
        let path = match action {
            Action::Add(number)
            | Action::Rm(number, _)
            | Action::Restore(number)
            | Action::RestoreFrom(_, number)
            | Action::Unstage(number)
            | Action::UnstageTo(_, number) => self.path(number),
            _ => String::new(),
        };
        let state = &mut self.state;
        let (args, code): (Vec<String>, Code) = match action {
            Action::AddAll => (args(&["add", "-A"]), state.add("")),
            Action::Add(_) => (args(&["add", &path]), state.add(&path)),
            Action::Rm(_, how) => {
                let code = state.rm(&path, how == How::Cached, how == How::Force);
                let mut line = args(&["rm", "-r", &path]);
                match how {
                    How::Careful => {}
                    How::Cached => line.push("--cached".to_owned()),
                    How::Force => line.push("--force".to_owned()),
                }
                (line, code)
            }
            Action::Restore(_) => {
                let tree = state.refs.staged.clone();
                (args(&["restore", &path]), state.restore(&tree, &path))
            }
            Action::Unstage(_) => {
                let head = state.head_id().to_owned();
                (args(&["restore", "--staged", &path]), state.unstage(&head, &path))
            }
            Action::RestoreFrom(rev, _) => {
                let id = self.revision(rev);
                let tree = self.state.commits[&id].tree.clone();
                let code = self.state.restore(&tree, &path);
                (args(&["restore", "--source", &id, &path]), code)
            }
            Action::UnstageTo(rev, _) => {
                let id = self.revision(rev);
                let code = self.state.unstage(&id, &path);
                (args(&["restore", "--staged", "--source", &id, &path]), code)
            }
            Action::Commit => {
                let message = format!("step {}", self.steps);
                let is_new = state.refs.staged != *state.head_tree();
                (args(&["commit", "-m", &message]), if is_new { OK } else { FAILED })
            }
            _ => self.ref_command(action),
        };
        (args, if code == OK { Ok(()) } else { Err(code) })
    }

    fn ref_command(&mut self, action: Action) -> (Vec<String>, Code) {
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
        match action {
            Action::Branch(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                (args(&["branch", &name, &id]), self.new_branch(&name, &id))
            }
            Action::DeleteBranch(number) => {
                let name = self.branch(number);
                (args(&["branch", "-d", &name]), self.delete_branch(&name, false))
            }
            Action::DropBranch(number) => {
                let name = self.branch(number);
                (args(&["branch", "-D", &name]), self.delete_branch(&name, true))
            }
            Action::RenameBranch(old, new) => {
                let (old, new) = (self.branch(old), self.new_name(new));
                (args(&["branch", "-m", &old, &new]), self.rename_branch(&old, &new))
            }
            Action::Tag(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                let tags = &mut self.state.refs.tags;
                let code = if tags.contains_key(&name) { FAILED } else { OK };
                tags.entry(name.clone()).or_insert_with(|| id.clone());
                (args(&["tag", &name, &id]), code)
            }
            Action::DeleteTag(number) => {
                let tags = &mut self.state.refs.tags;
                let name =
                    chosen(&tags.keys().map(String::as_str).collect::<Vec<_>>(), &NAMES, number);
                let code = tags.remove(&name).map_or(UNKNOWN, |_| OK);
                (args(&["tag", "-d", &name]), code)
            }
            Action::Switch(number) => {
                let name = self.branch(number);
                let code = self.state.switch(Head::Branch(name.clone()));
                (args(&["switch", &name]), code)
            }
            Action::SwitchNew(number) => {
                let (name, id) = (self.new_name(number), self.state.head_id().to_owned());
                (args(&["switch", "-c", &name]), self.switch_new(&name, &id))
            }
            Action::SwitchNewAt(number, rev) => {
                let (name, id) = (self.new_name(number), self.revision(rev));
                (args(&["switch", "-c", &name, &id]), self.switch_new(&name, &id))
            }
            Action::Detach(rev) => {
                let id = self.revision(rev);
                let code = self.state.switch(Head::Detached(id.clone()));
                (args(&["switch", "--detach", &id]), code)
            }
            _ => unreachable!("it has a function of its own"),
        }
    }

    fn new_branch(&mut self, name: &str, id: &str) -> Code {
        let branches = &mut self.state.refs.branches;
        if branches.contains_key(name) {
            return FAILED;
        }
        branches.insert(name.to_owned(), id.to_owned());
        OK
    }

    fn delete_branch(&mut self, name: &str, force: bool) -> Code {
        let Some(id) = self.state.refs.branches.get(name).cloned() else { return UNKNOWN };
        let is_current = self.state.refs.head == Head::Branch(name.to_owned());
        if is_current || !force && !self.state.leads_to(&id, self.state.head_id()) {
            return FAILED;
        }
        self.state.refs.branches.remove(name);
        OK
    }

    fn rename_branch(&mut self, old: &str, new: &str) -> Code {
        let Some(id) = self.state.refs.branches.get(old).cloned() else { return UNKNOWN };
        if old == new {
            return OK;
        }
        if self.state.refs.branches.contains_key(new) {
            return FAILED;
        }
        self.state.refs.branches.remove(old);
        self.state.refs.branches.insert(new.to_owned(), id);
        if self.state.refs.head == Head::Branch(old.to_owned()) {
            self.state.refs.head = Head::Branch(new.to_owned());
        }
        OK
    }

    fn switch_new(&mut self, name: &str, id: &str) -> Code {
        let code = self.new_branch(name, id);
        if code == OK { self.state.switch(Head::Branch(name.to_owned())) } else { code }
    }

    /// `switch -`: to something that `HEAD` named before, if to anything, and there as `switch`.
    fn switch_back(&mut self) {
        let (args, before) = (["switch".to_owned(), "-".to_owned()], self.state.clone());
        let output = self.sandbox.run(&args);
        if output.code == OK {
            let head = self.head();
            assert!(self.heads.contains(&head), "{args:?} went to {head:?}");
            let code = self.state.switch(head);
            self.expect(&args, &output, code);
        } else {
            assert!(matches!(output.code, FAILED | UNKNOWN), "{args:?}\n{}", said(&output));
        }
        self.compare(&args);
        self.enter(&before, &args);
    }

    /// What `HEAD` names in the repository.
    fn head(&self) -> Head {
        let status = self.sandbox.ok(["status", "--json"]).json();
        match &status["branch"] {
            Value::String(name) => Head::Branch(name.clone()),
            _ => Head::Detached(string(&status["detached_at"])),
        }
    }

    /// Enters what a command did, as its records in the log say.
    fn enter(&mut self, before: &State, args: &[String]) {
        let seq = last_operation(&self.sandbox);
        let records = seq - self.seq;
        self.seq = seq;
        assert!(records > 0 || before.refs == self.state.refs, "{args:?} has no record");
        for (path, node) in &before.work {
            if *node != Node::EmptyDir && self.state.work.get(path) != Some(node) {
                let (path, node, by) = (path.clone(), node.clone(), format!("{args:?}"));
                self.lost.push(Lost { path, node, by });
            }
        }
        for record in 1..=records {
            let after = if record == records { &self.state } else { before };
            self.heads.push(before.refs.head.clone());
            self.done.push(Op { before: before.clone(), after: after.clone(), is_mixed: false });
            self.undone.clear();
        }
    }

    /// `undo` and `redo`. Where nothing was edited since, everything is as it was before; where
    /// something was, the way back may be refused, and otherwise keeps it.
    fn take_back(&mut self, is_undo: bool) {
        if is_undo && self.done.is_empty() {
            // The base of the sequence stays.
            return;
        }
        let args = [if is_undo { "undo" } else { "redo" }.to_owned()];
        let output = self.sandbox.run(&args);
        let stack = if is_undo { &mut self.done } else { &mut self.undone };
        let Some(mut op) = stack.pop() else {
            self.expect(&args, &output, FAILED);
            return self.compare(&args);
        };
        let now = self.state.clone();
        let (from, to) = if is_undo { (&op.after, &op.before) } else { (&op.before, &op.after) };
        // What a person had changed where the operation then staged may be in the way back.
        let is_changed = |(path, node): (&String, &Node)| {
            from.refs.staged.get(path) != Some(node) && to.work.get(path) != Some(node)
        };
        let is_as_left = !op.is_mixed
            && !to.refs.staged.iter().any(is_changed)
            && with_bytes(&from.work) == with_bytes(&now.work)
            && from.refs == now.refs;
        if output.code == FAILED && !is_as_left {
            (if is_undo { &mut self.done } else { &mut self.undone }).push(op);
            return self.compare(&args);
        }
        self.state.refs = to.refs.clone();
        let found = files(self.sandbox.snapshot());
        if is_as_left {
            assert_eq!(output.code, OK, "{args:?}\n{}\n{}", said(&output), shown(&now));
            self.met.insert(args[0].clone());
            // What a person had removed by hand before may be there again, as it is saved.
            for (path, node) in with_bytes(&found) {
                let saved = [to.refs.staged.get(&path), from.work.get(&path)];
                let is_right =
                    to.work.get(&path).map_or(saved.contains(&Some(&node)), |was| *was == node);
                assert!(
                    is_right,
                    "{args:?}: {path} is {node:?}\nfrom {}\nto {}",
                    shown(from),
                    shown(to)
                );
            }
            for (path, node) in with_bytes(&to.work) {
                assert_eq!(found.get(&path), Some(&node), "{args:?}: {path}\n{}", said(&output));
            }
        } else {
            assert!(
                matches!(output.code, OK | PARTIAL),
                "{args:?}\n{}\n{}",
                said(&output),
                shown(&now)
            );
            op.is_mixed = true;
        }
        self.state.work = found;
        self.compare(&args);
        (if is_undo { &mut op.before } else { &mut op.after }).work = self.state.work.clone();
        self.heads.push(now.refs.head.clone());
        for (path, node) in with_bytes(&now.work) {
            if self.state.work.get(&path) != Some(&node) {
                self.lost.push(Lost { path, node, by: format!("{args:?}") });
            }
        }
        (if is_undo { &mut self.undone } else { &mut self.done }).push(op);
        self.seq = last_operation(&self.sandbox);
    }

    /// Compares everything that can be seen.
    fn compare(&mut self, args: &[String]) {
        let found = files(self.sandbox.snapshot());
        if found != self.state.work {
            let (found, state) = (with_text(&found), shown(&self.state));
            panic!("work tree after {args:?}: found {found:?}\nexpected: {state}");
        }
        let expected = self.state.refs.staged.clone();
        let staged = self.listed(&["ls", "--json"], &expected);
        assert_eq!(with_text(&expected), with_text(&staged), "staged after {args:?}");
        let names = |value: &Value, key: &str| -> BTreeMap<String, String> {
            let list = value[key].as_array().expect("a list");
            list.iter().map(|one| (string(&one["name"]), string(&one["id"]))).collect()
        };
        let branches = self.sandbox.ok(["branch", "--json"]).json();
        assert_eq!(names(&branches, "branches"), self.state.refs.branches, "after {args:?}");
        let tags = self.sandbox.ok(["tag", "--json"]).json();
        assert_eq!(names(&tags, "tags"), self.state.refs.tags, "after {args:?}");
        self.compare_status(args);
    }

    fn compare_status(&self, args: &[String]) {
        let status = self.sandbox.ok(["status", "--json"]).json();
        assert_eq!(self.head(), self.state.refs.head, "after {args:?}");
        let listed = |key: &str| -> BTreeMap<String, char> {
            let list = status[key].as_array().expect("a list");
            let letter = |one: &Value| string(&one["change"]).chars().next().unwrap_or(' ');
            list.iter().map(|one| (string(&one["path"]), letter(one))).collect()
        };
        let found = [listed("staged"), listed("unstaged")];
        assert_eq!(found, self.state.changes(), "status after {args:?}\n{}", shown(&self.state));
        let untracked = status["untracked"].as_array().expect("a list");
        let untracked: Vec<String> = untracked.iter().map(|one| string(&one["path"])).collect();
        assert_eq!(
            untracked,
            self.state.untracked(),
            "untracked after {args:?}\n{}",
            shown(&self.state)
        );
    }

    /// What `ls --json` lists. The ids of contents must be the same as ever, and others for others.
    /// What a content is that was not met before, `expected` says.
    fn listed(&mut self, args: &[&str], expected: &Files) -> Files {
        let listed = self.sandbox.ok(args).json();
        let entries = listed["entries"].as_array().expect("a list");
        let known: BTreeMap<&String, &Vec<u8>> =
            self.ids.iter().map(|(bytes, id)| (id, bytes)).collect();
        let (mut tree, mut unknown) = (Files::new(), Vec::new());
        for entry in entries {
            let path = string(&entry["path"]);
            let node = match entry["kind"].as_str() {
                Some("file") => {
                    let id = string(&entry["id"]);
                    let bytes = known.get(&id).map(|bytes| (*bytes).clone());
                    let bytes = bytes.unwrap_or_else(|| {
                        let bytes = expected.get(&path).and_then(bytes_of).unwrap_or_default();
                        unknown.push((bytes.clone(), id));
                        bytes
                    });
                    assert_eq!(entry["size"], bytes.len());
                    Node::File(bytes, entry["executable"] == true)
                }
                Some("symlink") => Node::Link(string(&entry["target"]).into()),
                _ => Node::EmptyDir,
            };
            tree.insert(path, node);
        }
        for (bytes, id) in unknown {
            let before = self.ids.insert(bytes, id.clone());
            assert!(before.is_none_or(|before| before == id), "two ids of one content");
        }
        tree
    }

    /// At the end of a sequence: every commit is as it was made, the store is sound, and nothing
    /// that a command took from the work tree is lost.
    pub(crate) fn finish(mut self) -> BTreeSet<String> {
        let mut read = BTreeSet::new();
        for (id, commit) in self.state.commits.clone() {
            let tree = self.listed(&["ls", "--json", "-s", &id], &commit.tree);
            assert_eq!(with_text(&commit.tree), with_text(&tree), "commit {id}");
            for (path, node) in commit.tree {
                if let Node::File(bytes, _) = node
                    && read.insert(bytes.clone())
                {
                    assert_eq!(self.sandbox.ok(["get", &format!("{id}:{path}")]).stdout, bytes);
                }
            }
        }
        let restored = files(self.sandbox.restored("HEAD"));
        assert_eq!(with_text(&restored), with_text(self.state.head_tree()), "HEAD restored");
        self.sandbox.ok(["store", "verify", "--data"]);
        self.look_for_lost();
        std::mem::take(&mut self.met)
    }

    fn look_for_lost(&mut self) {
        let mut saved: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut save = |tree: &Files| {
            saved.extend(tree.values().filter_map(bytes_of));
        };
        self.state.commits.values().for_each(|commit| save(&commit.tree));
        save(&self.state.work);
        save(&self.state.refs.staged);
        for op in &self.done {
            save(&op.before.refs.staged);
        }
        while self.sandbox.run(["undo", "--force"]).code == OK {
            save(&files(self.sandbox.snapshot()));
        }
        for Lost { path, node, by } in &self.lost {
            if let Some(bytes) = bytes_of(node)
                && !saved.contains(&bytes)
            {
                let bytes = String::from_utf8_lossy(&bytes).into_owned();
                panic!("{by} lost {path}: {bytes:?}");
            }
        }
    }
}

/// One of `known`, or of `all` for a large number, or where nothing is known.
fn chosen(known: &[&str], all: &[&str], number: usize) -> String {
    let from = if number < KNOWN && !known.is_empty() { known } else { all };
    from[number % from.len()].to_owned()
}

fn said(output: &Output) -> String {
    let Output { code, stdout, stderr } = output;
    format!("it ended with {code}: {}{stderr}", String::from_utf8_lossy(stdout))
}

/// A state for people: names of commits are places in their order.
fn shown(state: &State) -> String {
    let place = |id: &String| state.order.iter().position(|other| other == id);
    let commits = state.order.iter().map(|id| {
        let Commit { parents, tree } = &state.commits[id];
        let parents: Vec<_> = parents.iter().filter_map(place).collect();
        format!("\n  commit of {parents:?}: {:?}", with_text(tree))
    });
    let refs = |refs: &BTreeMap<String, String>| -> Vec<String> {
        refs.iter().map(|(name, id)| format!("{name} at {:?}", place(id))).collect()
    };
    format!(
        "{}\n  HEAD {:?}, {:?}, {:?}\n  staged {:?}\n  work {:?}",
        commits.collect::<String>(),
        state.refs.head,
        refs(&state.refs.branches),
        refs(&state.refs.tags),
        with_text(&state.refs.staged),
        with_text(&state.work)
    )
}

fn bytes_of(node: &Node) -> Option<Vec<u8>> {
    match node {
        Node::File(bytes, _) => Some(bytes.clone()),
        _ => None,
    }
}

/// The entries that hold something.
fn with_bytes(tree: &Files) -> Files {
    let held = tree.iter().filter(|(_, node)| **node != Node::EmptyDir);
    held.map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// A tree that shows its bytes when it is printed.
fn with_text(tree: &Files) -> BTreeMap<&str, String> {
    let shown = |node: &Node| match node {
        Node::File(bytes, executable) => {
            format!("{:?}{}", String::from_utf8_lossy(bytes), if *executable { " x" } else { "" })
        }
        other => format!("{other:?}"),
    };
    tree.iter().map(|(path, node)| (path.as_str(), shown(node))).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn last_operation(sandbox: &Sandbox) -> u64 {
    let log = sandbox.ok(["op", "log", "-n", "1", "--json"]).json();
    log["operations"][0]["seq"].as_u64().unwrap_or(0)
}
