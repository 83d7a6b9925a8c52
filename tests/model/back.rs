//! `undo`, `redo`, `op restore` and `switch -`: back to what was before.

use super::common::Node;
use super::files::{files, holds_below, is_within, with_bytes};
use super::shown::{said, shown};
use super::state::{FAILED, Head, OK, PARTIAL, UNKNOWN};
use super::world::{Lost, Op, World};

impl Op {
    /// Whether `HEAD` went elsewhere: neither on with a commit, nor with its branch to a new name.
    fn is_switch(&self) -> bool {
        let (before, after) = (&self.before.refs, &self.after.refs);
        match (&before.head, &after.head) {
            (old, new) if old == new => false,
            (Head::Detached(_), Head::Detached(_)) => self.command == "switch",
            (Head::Branch(name), _) => after.branches.contains_key(name),
            (Head::Detached(_), Head::Branch(_)) => true,
        }
    }
}

impl World {
    /// `switch -`: to what `HEAD` named before the last switch that was not undone.
    pub(crate) fn switch_back(&mut self) {
        let (args, before) = (["switch".to_owned(), "-".to_owned()], self.state.clone());
        let output = self.sandbox.run(&args);
        let last = self.done.iter().rev().find(|op| op.is_switch());
        let code = match last.map(|op| op.before.refs.head.clone()) {
            Some(head) => self.state.switch(head, false),
            None => UNKNOWN,
        };
        self.expect(&args, &output, code);
        self.compare(&args);
        self.enter(&before, &args);
    }

    /// `undo` and `redo`. Where nothing was edited since, everything is as it was before; where
    /// something was, the way back may be refused, and otherwise keeps it.
    pub(crate) fn take_back(&mut self, is_undo: bool) {
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
        // What was staged as a file, and is a directory with something that is not tracked.
        let is_dir = |path: &String| holds_below(&to.work, path);
        let is_exact =
            matches!(op.command.as_str(), "stash" | "reset") && !to.refs.staged.keys().any(is_dir);
        let is_as_left = !op.is_mixed
            && (is_exact || !to.refs.staged.iter().any(is_changed))
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
                // What is not tracked in a directory that `mv` took along stays where it is now.
                let is_along = op.command == "mv" && !to.refs.staged.contains_key(&path);
                if is_along {
                    continue;
                }
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
        // What the command itself wrote, as conflict markers, it writes again.
        let is_own = |path: &str, node: &Node| {
            from.work.get(path) == Some(node) && to.work.get(path) != Some(node)
        };
        let mut gone = with_bytes(&now.work);
        gone.retain(|path, node| self.state.work.get(path) != Some(node) && !is_own(path, node));
        (if is_undo { &mut op.before } else { &mut op.after }).work = self.state.work.clone();
        let by = format!("{args:?}");
        self.lost.extend(gone.into_iter().map(|(path, node)| Lost { path, node, by: by.clone() }));
        (if is_undo { &mut self.undone } else { &mut self.done }).push(op);
        self.note_seq();
    }

    /// `op restore --force`: to the state behind any operation of the sequence.
    pub(crate) fn go_back(&mut self, number: usize) {
        let before = self.state.clone();
        let (seq, refs) = self.history[number % self.history.len()].clone();
        let args = ["op", "restore", "--force", &seq.to_string()].map(str::to_owned);
        let output = self.sandbox.run(&args);
        if output.code == FAILED {
            // Something that is not tracked lies in a directory in the way.
            return self.compare(&args);
        }
        self.expect(&args, &output, OK);
        self.state.refs = refs;
        let found = files(self.sandbox.snapshot());
        let staged = [&before.refs.staged, &self.state.refs.staged];
        let moves = moves_since(&self.sandbox, seq);
        let is_moved = |path: &str| staged[0].get(path) != staged[1].get(path);
        let is_beside = |path: &str| {
            let around = |other: &String| is_within(path, other) || is_within(other, path);
            !staged[1].keys().any(|other| moves && is_moved(other) && around(other))
        };
        for (path, node) in with_bytes(staged[1]) {
            if moves && is_moved(&path) {
                assert_eq!(found.get(&path), Some(&node), "{args:?}: {path}\n{}", shown(&before));
            }
        }
        for (path, node) in with_bytes(&before.work) {
            let goes = moves && is_moved(&path);
            if !goes && is_beside(&path) {
                assert_eq!(found.get(&path), Some(&node), "{args:?}: {path}\n{}", shown(&before));
            }
        }
        self.state.work = found;
        self.compare(&args);
        self.enter(&before, &args);
    }
}

/// Whether an operation behind this one moved the work tree; the last one is left out.
fn moves_since(sandbox: &super::common::Sandbox, seq: u64) -> bool {
    let log = sandbox.ok(["op", "log", "--json"]).json();
    let operations = log["operations"].as_array().into_iter().flatten().skip(1);
    let is_after = |op: &&serde_json::Value| op["seq"].as_u64().is_some_and(|other| other > seq);
    operations.take_while(is_after).any(|op| op["moved_work_tree"] == true)
}
