//! The state of version control in plain Rust: what each command should make of it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::common::{Node, Tree};

/// Entries by their path. A directory is there only where it holds nothing.
pub(crate) type Files = BTreeMap<String, Node>;

/// What a snapshot of a directory tree holds; all names of the model are UTF-8.
pub(crate) fn files(tree: Tree) -> Files {
    let name = |name: OsString| name.into_string().unwrap_or_default();
    tree.into_iter().map(|(path, node)| (name(path), node)).collect()
}

/// Whether `path` is `dir` or lies below it; `""` is the root.
pub(crate) fn is_within(path: &str, dir: &str) -> bool {
    dir.is_empty()
        || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether something lies below `dir`.
pub(crate) fn holds_below(tree: &Files, dir: &str) -> bool {
    tree.keys().any(|path| path != dir && is_within(path, dir))
}

/// The directories above a path, the outermost first.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// The entries at and below `dir`.
pub(crate) fn within(tree: &Files, dir: &str) -> Files {
    let inside = tree.iter().filter(|(path, _)| is_within(path, dir));
    inside.map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// Puts an entry, in the place of whatever keeps it from being there.
pub(crate) fn put(tree: &mut Files, path: &str, node: Node) {
    above(path).for_each(|dir| drop(tree.remove(dir)));
    tree.retain(|other, _| !is_within(other, path));
    tree.insert(path.to_owned(), node);
}

/// Removes an entry as a person does: the directory around it stays.
pub(crate) fn remove_by_hand(tree: &mut Files, path: &str) {
    tree.retain(|other, _| !is_within(other, path));
    if let Some(dir) = above(path).last()
        && !holds_below(tree, dir)
    {
        tree.insert(dir.to_owned(), Node::EmptyDir);
    }
}

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

/// The ignore rule of the model.
pub(crate) fn is_ignored(path: &str) -> bool {
    path.strip_suffix(".ign").is_some()
}

impl State {
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
    fn seen(&self) -> Files {
        let mut seen = self.work.clone();
        let hidden = self.work.keys().filter(|path| is_ignored(path));
        for path in hidden.filter(|path| !self.refs.staged.contains_key(*path)) {
            remove_by_hand(&mut seen, path);
        }
        seen
    }

    /// `add`.
    pub(crate) fn add(&mut self, root: &str) -> Code {
        let is_there = !within(&self.work, root).is_empty();
        if !is_there && within(&self.refs.staged, root).is_empty() {
            return UNKNOWN;
        }
        if is_ignored(root) && !self.refs.staged.contains_key(root) {
            return PARTIAL;
        }
        let found = within(&self.seen(), root);
        self.refs.staged.retain(|path, _| !is_within(path, root));
        for (path, node) in found {
            put(&mut self.refs.staged, &path, node);
        }
        OK
    }

    /// `commit`; the id is what the command printed.
    pub(crate) fn commit(&mut self, id: String) {
        let parents = vec![self.head_id().to_owned()];
        self.commits.insert(id.clone(), Commit { parents, tree: self.refs.staged.clone() });
        self.order.push(id.clone());
        self.move_head(id);
    }

    fn move_head(&mut self, id: String) {
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
        OK
    }

    /// Whether something else lies in the work tree than `node`; nothing is no difference.
    fn differs(&self, path: &str, node: &Node) -> bool {
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
        let is_blocked =
            above(path).any(|dir| self.work.get(dir).is_some_and(|node| *node != Node::EmptyDir));
        let is_dir = holds_below(&self.work, path);
        let is_file = !is_dir && self.work.get(path).is_some_and(|found| *found != Node::EmptyDir);
        match node {
            Node::EmptyDir if is_dir => true,
            // A file is no less in the way of an empty directory than of one that holds something.
            Node::EmptyDir if is_file => false,
            _ if is_blocked || is_dir => false,
            node => {
                put(&mut self.work, path, node);
                true
            }
        }
    }

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
        let paths = base.keys().chain(target.keys());
        let mut paths: Vec<String> =
            paths.filter(|path| base.get(*path) != target.get(*path)).cloned().collect();
        paths.sort();
        paths.dedup();
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

    /// `switch` to what `head` names.
    pub(crate) fn switch(&mut self, head: Head) -> Code {
        let goal = match &head {
            Head::Branch(name) => match self.refs.branches.get(name) {
                Some(id) => id.clone(),
                None => return UNKNOWN,
            },
            Head::Detached(id) => id.clone(),
        };
        let (base, target) = (self.head_tree().clone(), self.commits[&goal].tree.clone());
        let code = if goal == self.head_id() { OK } else { self.move_to(&base, &target) };
        if code == OK {
            self.refs.head = head;
        }
        code
    }

    /// What `status` lists as staged and as changed in the work tree: path and letter.
    pub(crate) fn changes(&self) -> [BTreeMap<String, char>; 2] {
        let letters = |old: &Files, new: &Files| {
            let mut letters = BTreeMap::new();
            for (path, node) in old {
                let letter = match (node, new.get(path)) {
                    (_, None) => 'D',
                    (node, Some(found)) if node == found => continue,
                    (Node::File(..), Some(Node::File(..)))
                    | (Node::Link(_), Some(Node::Link(_))) => 'M',
                    _ => 'T',
                };
                letters.insert(path.clone(), letter);
            }
            letters
        };
        let mut staged = letters(self.head_tree(), &self.refs.staged);
        let added = self.refs.staged.keys().filter(|path| !self.head_tree().contains_key(*path));
        staged.extend(added.map(|path| (path.clone(), 'A')));
        [staged, letters(&self.refs.staged, &self.seen())]
    }

    /// What `status` lists as untracked: a directory that holds nothing staged as a whole.
    pub(crate) fn untracked(&self) -> Vec<String> {
        let holds = |dir: &str| self.refs.staged.keys().any(|path| is_within(path, dir));
        let mut untracked = Vec::new();
        for (path, node) in &self.seen() {
            let is_empty_dir = *node == Node::EmptyDir;
            if self.refs.staged.contains_key(path) {
                continue;
            }
            // An emptied directory shows as the files that are gone from it.
            if is_empty_dir && holds(path) {
                continue;
            }
            let top = above(path).find(|dir| !holds(dir));
            untracked.push(match top {
                Some(dir) => format!("{dir}/"),
                None if is_empty_dir => format!("{path}/"),
                None => path.clone(),
            });
        }
        untracked.sort();
        untracked.dedup();
        untracked
    }
}
