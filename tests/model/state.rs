//! The state of version control in plain Rust: what each command should make of it.

use std::collections::BTreeMap;

use super::common::Node;
use super::files::{Files, above, holds_below, is_within, put, remove_by_hand, within};
use super::merge::{Merging, Stash};

/// What `HEAD` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// A branch.
    Branch(String),
    /// A commit.
    Detached(String),
}

/// A commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    /// Ids of those it comes from.
    pub(crate) parents: Vec<String>,
    /// What it holds.
    pub(crate) tree: Files,
}

/// What an operation changes and an undo changes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refs {
    /// Commits by the name of the branch.
    pub(crate) branches: BTreeMap<String, String>,
    /// Commits by the name of the tag.
    pub(crate) tags: BTreeMap<String, String>,
    /// What is checked out.
    pub(crate) head: Head,
    /// What the next commit would hold.
    pub(crate) staged: Files,
    /// What was put aside, the newest first.
    pub(crate) stashes: Vec<Stash>,
    /// What waits to be finished.
    pub(crate) merging: Option<Merging>,
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// All that were made, by their ids.
    pub(crate) commits: BTreeMap<String, Commit>,
    /// In the order in which they were made.
    pub(crate) order: Vec<String>,
    /// What operations change.
    pub(crate) refs: Refs,
    /// What lies in the work tree.
    pub(crate) work: Files,
}

/// How a command should end.
pub(crate) type Code = i32;
/// All was done.
pub(crate) const OK: Code = 0;
/// Refused: nothing was changed.
pub(crate) const FAILED: Code = 1;
/// Done, but for something that was named.
pub(crate) const PARTIAL: Code = 3;
/// There is no such path, branch, tag or commit.
pub(crate) const UNKNOWN: Code = 20;

impl State {
    /// The ignore rule of the model, as long as its file is there.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        self.work.contains_key(".digignore")
            && path.split('/').any(|part| part.strip_suffix(".ign").is_some())
    }

    /// The commit that `HEAD` leads to.
    pub(crate) fn head_id(&self) -> &str {
        match &self.refs.head {
            Head::Branch(name) => &self.refs.branches[name],
            Head::Detached(id) => id,
        }
    }

    /// What the last commit holds.
    pub(crate) fn head_tree(&self) -> &Files {
        &self.commits[self.head_id()].tree
    }

    /// Whether `from` is `to` or comes before it.
    pub(crate) fn leads_to(&self, from: &str, to: &str) -> bool {
        from == to || self.commits[to].parents.iter().any(|parent| self.leads_to(from, parent))
    }

    /// The work tree as `add` and `status` see it: what is ignored and not staged is not there. A
    /// directory that holds nothing else is empty.
    pub(crate) fn seen(&self) -> Files {
        let mut seen = self.work.clone();
        let hidden = self.work.keys().filter(|path| self.ignores(path));
        for path in hidden.filter(|path| !self.refs.staged.contains_key(*path)) {
            remove_by_hand(&mut seen, path);
        }
        let staged = &self.refs.staged;
        seen.retain(|path, node| {
            *node != Node::EmptyDir || !self.ignores(path) || staged.contains_key(path)
        });
        seen
    }

    /// `add`.
    pub(crate) fn add(&mut self, root: &str) -> Code {
        let is_there = !within(&self.work, root).is_empty();
        if !root.is_empty() && !is_there && within(&self.refs.staged, root).is_empty() {
            return UNKNOWN;
        }
        // What is tracked below an ignored directory is staged; git refuses the directory.
        if self.ignores(root) && within(&self.refs.staged, root).is_empty() {
            return PARTIAL;
        }
        let found = within(&self.seen(), root);
        self.refs.staged.retain(|path, _| !is_within(path, root));
        for (path, node) in found {
            put(&mut self.refs.staged, &path, node);
        }
        self.resolve(root);
        OK
    }

    /// The tracked paths as the work tree has them. An emptied directory comes with what was in it.
    pub(crate) fn tracked(&self) -> Files {
        let staged = &self.refs.staged;
        let is_tracked = |path: &String, node: &Node| {
            staged.contains_key(path)
                || *node == Node::EmptyDir && staged.keys().any(|other| is_within(other, path))
        };
        self.seen().into_iter().filter(|(path, node)| is_tracked(path, node)).collect()
    }

    /// `add -u`.
    pub(crate) fn add_tracked(&mut self) -> Code {
        self.refs.staged = self.tracked();
        self.resolve("");
        OK
    }

    /// A new commit, with the id that the command printed.
    pub(crate) fn commit(&mut self, id: String, parents: Vec<String>, tree: Files) {
        let is_new = self.commits.insert(id.clone(), Commit { parents, tree }).is_none();
        if is_new {
            self.order.push(id.clone());
        }
        self.move_head(id);
        self.refs.merging = None;
    }

    pub(crate) fn move_head(&mut self, id: String) {
        match &self.refs.head {
            Head::Branch(name) => drop(self.refs.branches.insert(name.clone(), id)),
            Head::Detached(_) => self.refs.head = Head::Detached(id),
        }
    }

    /// `rm`.
    pub(crate) fn rm(&mut self, path: &str, cached: bool, force: bool) -> Code {
        let doomed = within(&self.refs.staged, path);
        if doomed.is_empty() {
            return UNKNOWN;
        }
        let is_lost = |(path, node): (&String, &Node)| {
            let is_new = self.head_tree().get(path) != Some(node);
            is_new || self.differs(path, node)
        };
        // A file that was committed here and is staged no more was dealt with before.
        if !force && !cached && doomed.iter().any(is_lost) {
            return FAILED;
        }
        self.refs.staged.retain(|path, _| !doomed.contains_key(path));
        if !cached {
            let is_file =
                |path: &str, node: &Node| doomed.contains_key(path) && *node != Node::EmptyDir;
            self.work.retain(|path, node| !is_file(path, node));
        }
        self.resolve(path);
        OK
    }

    /// Whether something else lies in the work tree than `node`; nothing is no difference.
    pub(crate) fn differs(&self, path: &str, node: &Node) -> bool {
        match self.work.get(path) {
            Some(found) => found != node,
            None => holds_below(&self.work, path) && *node != Node::EmptyDir,
        }
    }

    /// `restore --staged`.
    pub(crate) fn unstage(&mut self, source: &str, path: &str) -> Code {
        let wanted = within(&self.commits[source].tree, path);
        if wanted.is_empty() && within(&self.refs.staged, path).is_empty() {
            return UNKNOWN;
        }
        self.refs.staged.retain(|other, _| !is_within(other, path));
        wanted.into_iter().for_each(|(path, node)| put(&mut self.refs.staged, &path, node));
        OK
    }

    /// `restore`, from a tree to the work tree.
    pub(crate) fn restore(&mut self, tree: &Files, path: &str) -> Code {
        let wanted = within(tree, path);
        if wanted.is_empty() {
            return UNKNOWN;
        }
        let mut code = OK;
        for (path, node) in wanted {
            if !self.restore_one(&path, node) {
                code = PARTIAL;
            }
        }
        code
    }

    fn restore_one(&mut self, path: &str, node: Node) -> bool {
        let is_dir = holds_below(&self.work, path);
        if is_dir {
            return node == Node::EmptyDir;
        }
        // A file where a directory goes is stored and replaced.
        put(&mut self.work, path, node);
        true
    }

    /// `clean -f -d`.
    pub(crate) fn clean(&mut self) -> Code {
        let staged = &self.refs.staged;
        let holds = |dir: &str| staged.keys().any(|path| is_within(path, dir));
        let stays = |path: &String, node: &Node| match node {
            Node::EmptyDir => holds(path) || self.ignores(path),
            _ => staged.contains_key(path) || self.ignores(path),
        };
        let gone = self.work.iter().filter(|(path, node)| !stays(path, node));
        let gone: Vec<String> = gone.map(|(path, _)| path.clone()).collect();
        self.work.retain(|path, _| !gone.contains(path));
        for path in gone {
            let mut dirs: Vec<&str> = above(&path).collect();
            while let Some(dir) = dirs.pop() {
                if holds_below(&self.work, dir) || self.work.contains_key(dir) {
                    break;
                }
                if holds(dir) {
                    self.work.insert(dir.to_owned(), Node::EmptyDir);
                    break;
                }
            }
        }
        OK
    }

    /// `mv`.
    pub(crate) fn rename(&mut self, from: &str, target: &str, force: bool) -> Code {
        let is_dir = |work: &Files, path: &str| {
            path.is_empty() || holds_below(work, path) || work.get(path) == Some(&Node::EmptyDir)
        };
        let name = from.rsplit('/').next().unwrap_or(from);
        let to =
            if is_dir(&self.work, target) { format!("{target}/{name}") } else { target.to_owned() };
        let moves_dir = is_dir(&self.work, from);
        if !moves_dir && !self.work.contains_key(from) {
            return UNKNOWN;
        }
        let staged = within(&self.refs.staged, from);
        let is_tracked = if moves_dir { !staged.is_empty() } else { staged.contains_key(from) };
        let is_in_conflict = self.waits().is_some_and(|merging| {
            merging.open().any(|path| is_within(path, from) || is_within(path, &to))
        });
        if !is_tracked || is_within(&to, from) || is_in_conflict {
            return FAILED;
        }
        let parent = above(&to).last().unwrap_or_default();
        if !is_dir(&self.work, parent) {
            return UNKNOWN;
        }
        let is_taken = self.work.contains_key(&to) || is_dir(&self.work, &to);
        if is_taken && (!force || moves_dir || is_dir(&self.work, &to)) {
            return FAILED;
        }
        let renamed = |path: &str| format!("{to}{}", &path[from.len()..]);
        for (is_staged, tree) in [(false, &mut self.work), (true, &mut self.refs.staged)] {
            let moved = within(tree, from);
            tree.retain(|path, _| !is_within(path, from));
            if is_staged {
                tree.retain(|path, _| !is_within(path, &to));
                above(&to).for_each(|dir| drop(tree.remove(dir)));
            }
            for (path, node) in moved {
                put(tree, &renamed(&path), node);
            }
        }
        OK
    }
}
