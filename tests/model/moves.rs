//! Moving the work tree: `switch`, `reset`, and what merges and stashes do.

use super::common::Node;
use super::files::{Files, above, holds_below, is_within, put, within};
use super::state::{Code, FAILED, Head, OK, State, UNKNOWN};

/// The paths in which two trees differ.
fn changed(base: &Files, target: &Files) -> Vec<String> {
    let paths = base.keys().chain(target.keys());
    let mut paths: Vec<String> =
        paths.filter(|path| base.get(*path) != target.get(*path)).cloned().collect();
    paths.sort();
    paths.dedup();
    paths
}

impl State {
    /// What a move of the work tree from one tree to another would lose.
    fn is_in_the_way(&self, base: &Files, target: &Files, path: &str) -> bool {
        let at = |tree: &Files| tree.get(path).cloned();
        let (base_node, target_node, staged) = (at(base), at(target), at(&self.refs.staged));
        if staged != base_node && staged != target_node {
            return true;
        }
        // Staged where this is a directory, or below it, and with no change of its own.
        let is_around = |(other, node): (&String, &Node)| {
            let is_other = other != path && (is_within(other, path) || is_within(path, other));
            is_other && *node != Node::EmptyDir && !base.contains_key(other)
        };
        let is_staged = target_node.is_some() && staged != target_node;
        if is_staged && self.refs.staged.iter().any(is_around) {
            return true;
        }
        let found = at(&self.work);
        let is_dir = holds_below(&self.work, path) || found == Some(Node::EmptyDir);
        let Some(target_node) = target_node else {
            return staged.is_some() && found.is_some() && found != staged && !is_dir;
        };
        // Moved before: what was done to it since is a local change.
        if staged.as_ref() == Some(&target_node)
            || found.as_ref() == Some(&target_node)
            || found.is_some() && found == staged
        {
            return false;
        }
        if target_node == Node::EmptyDir && is_dir {
            return false;
        }
        if is_dir {
            let is_tracked =
                |path: &String| base.contains_key(path) && self.refs.staged.contains_key(path);
            return within(&self.work, path)
                .iter()
                .any(|(path, node)| *node != Node::EmptyDir && !is_tracked(path));
        }
        found.is_some()
            || above(path).any(|dir| {
                self.work.get(dir).is_some_and(|node| *node != Node::EmptyDir)
                    && !self.refs.staged.contains_key(dir)
            })
    }

    /// Moves staging area and work tree from what `base` holds to `target`.
    pub(crate) fn move_to(&mut self, base: &Files, target: &Files) -> Code {
        let paths = changed(base, target);
        if paths.iter().any(|path| self.is_in_the_way(base, target, path)) {
            return FAILED;
        }
        for path in paths.iter().filter(|path| !target.contains_key(*path)) {
            let staged = self.refs.staged.remove(path);
            if staged.is_some() && self.work.get(path) == staged.as_ref() {
                self.work.remove(path);
            }
        }
        for path in &paths {
            let Some(node) = target.get(path) else { continue };
            if self.refs.staged.get(path) == Some(node) {
                continue;
            }
            put(&mut self.refs.staged, path, node.clone());
            if !(*node == Node::EmptyDir && holds_below(&self.work, path)) {
                put(&mut self.work, path, node.clone());
            }
        }
        OK
    }

    /// Moves staging area and work tree from what `base` holds to `target`, and the paths `also`,
    /// whatever lies there; only what cannot be stored stops it.
    pub(crate) fn force_to(&mut self, base: &Files, target: &Files, also: &[String]) -> Code {
        let mut paths = changed(base, target);
        paths.extend_from_slice(also);
        paths.sort();
        paths.dedup();
        let is_tracked =
            |path: &String| base.contains_key(path) && self.refs.staged.contains_key(path);
        let is_stopped = |path: &String| {
            let is_file = target.get(path).is_some_and(|node| *node != Node::EmptyDir);
            is_file
                && holds_below(&self.work, path)
                && within(&self.work, path)
                    .iter()
                    .any(|(path, node)| *node != Node::EmptyDir && !is_tracked(path))
        };
        if paths.iter().any(is_stopped) {
            return FAILED;
        }
        for path in paths.iter().filter(|path| !target.contains_key(*path)) {
            let staged = self.refs.staged.remove(path);
            let is_file = self.work.get(path).is_some_and(|node| *node != Node::EmptyDir);
            if staged.is_some() && (is_file || staged == Some(Node::EmptyDir)) {
                self.work.remove(path);
            }
        }
        for path in &paths {
            let Some(node) = target.get(path) else { continue };
            put(&mut self.refs.staged, path, node.clone());
            if !(*node == Node::EmptyDir && holds_below(&self.work, path)) {
                put(&mut self.work, path, node.clone());
            }
        }
        OK
    }

    /// Brings what is staged and all tracked files to a tree.
    pub(crate) fn reset_to(&mut self, target: &Files) -> Code {
        let base = self.refs.staged.clone();
        let also: Vec<String> = self.changes()[1].keys().cloned().collect();
        self.force_to(&base, target, &also)
    }

    /// `reset`.
    pub(crate) fn reset(&mut self, mode: &str, id: &str) -> Code {
        let target = self.commits[id].tree.clone();
        let code = match mode {
            "--soft" if self.waits().is_some() => FAILED,
            "--soft" => OK,
            "--mixed" => {
                self.refs.staged = target;
                OK
            }
            _ => self.reset_to(&target),
        };
        if code == OK {
            self.move_head(id.to_owned());
            if mode != "--soft" {
                self.refs.merging = None;
            }
        }
        code
    }

    /// `switch` to what `head` names; with `force`, local changes are given up.
    pub(crate) fn switch(&mut self, head: Head, force: bool) -> Code {
        let goal = match &head {
            Head::Branch(name) => match self.refs.branches.get(name) {
                Some(id) => id.clone(),
                None => return UNKNOWN,
            },
            Head::Detached(id) => id.clone(),
        };
        let (base, target) = (self.head_tree().clone(), self.commits[&goal].tree.clone());
        let code = match () {
            () if force => self.reset_to(&target),
            () if self.waits().is_some() => FAILED,
            () if goal == self.head_id() => OK,
            () => self.move_to(&base, &target),
        };
        if code == OK {
            self.refs.head = head;
            if force {
                self.refs.merging = None;
            }
        }
        code
    }
}
