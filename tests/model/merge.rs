//! Three-way merges in plain Rust, and what they leave to be done.

use std::collections::{BTreeMap, BTreeSet};

use diffy::{ConflictStyle, IncompleteHunkStyle, MergeOptions};

use super::common::Node;
use super::files::{Files, above, holds_below, is_within, put};
use super::state::{Code, FAILED, OK, State, UNKNOWN};

/// A path that the user must decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// What ours and theirs hold.
    pub(crate) sides: [Option<Node>; 2],
    /// Whether it was decided.
    pub(crate) resolved: bool,
}

/// What waits to be finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merging {
    /// The command, `stash` for both of its kind.
    pub(crate) command: &'static str,
    /// The commit on which it began.
    pub(crate) head: String,
    /// What is merged, picked, reverted or brought back.
    pub(crate) other: String,
    /// The result, ours where there are conflicts.
    pub(crate) merged: Files,
    /// By their paths.
    pub(crate) conflicts: BTreeMap<String, Conflict>,
}

impl Merging {
    /// Conflicts that are not resolved.
    pub(crate) fn open(&self) -> impl Iterator<Item = &String> {
        self.conflicts.iter().filter(|(_, one)| !one.resolved).map(|(path, _)| path)
    }
}

/// What was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stash {
    /// Its commit.
    pub(crate) id: String,
    /// What was committed.
    pub(crate) base: Files,
    /// What was staged.
    pub(crate) index: Files,
    /// What tracked files held.
    pub(crate) work: Files,
    /// What was not tracked, if that went too.
    pub(crate) untracked: Files,
}

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ends with this code: unchanged, if that is a failure.
    Ends(Code),
    /// It makes a commit of what is staged, with these parents, and prints its id.
    Commits(Vec<String>),
    /// It leaves conflicts, and fails.
    Conflicts,
}

/// Trees merged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Combined {
    /// The result, ours where there are conflicts.
    pub(crate) tree: Files,
    pub(crate) conflicts: BTreeMap<String, Conflict>,
    /// Files with conflict markers.
    pub(crate) marked: Files,
}

/// Lines merged: as one side has them, or as the same crate merges them; texts beside git's merges
/// have a test of their own. An error holds the text with conflict markers.
fn merged_text(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    if ours == theirs || theirs == base {
        return Ok(ours.to_vec());
    }
    if ours == base {
        return Ok(theirs.to_vec());
    }
    let mut options = MergeOptions::new();
    options
        .set_conflict_style(ConflictStyle::Merge)
        .set_incomplete_hunk_style(IncompleteHunkStyle::Git);
    options.merge_bytes(base, ours, theirs)
}

/// The way from ours to the merged tree.
#[derive(Default)]
struct Way {
    edits: BTreeMap<String, Option<Node>>,
    combined: Combined,
    /// What both sides changed.
    both: BTreeSet<String>,
}

impl Way {
    fn conflict(&mut self, path: &str, ours: Option<&Node>, theirs: Option<&Node>) {
        let sides = [ours.cloned(), theirs.cloned()];
        self.combined.conflicts.insert(path.to_owned(), Conflict { sides, resolved: false });
    }

    fn both_there(&mut self, path: &str, base: Option<&Node>, ours: &Node, theirs: &Node) {
        let (Node::File(our_bytes, ours_runs), Node::File(their_bytes, theirs_runs)) =
            (ours, theirs)
        else {
            return self.conflict(path, Some(ours), Some(theirs));
        };
        let base = match base {
            Some(Node::File(bytes, runs)) => Some((bytes.as_slice(), *runs)),
            _ => None,
        };
        let runs = match base {
            Some((_, ran)) if ran == *ours_runs => *theirs_runs,
            Some(_) => *ours_runs,
            None => *ours_runs || *theirs_runs,
        };
        let base = base.map_or(b"".as_slice(), |base| base.0);
        match merged_text(base, our_bytes, their_bytes) {
            Ok(bytes) => drop(self.edits.insert(path.to_owned(), Some(Node::File(bytes, runs)))),
            Err(marked) => {
                self.conflict(path, Some(ours), Some(theirs));
                self.combined.marked.insert(path.to_owned(), Node::File(marked, runs));
            }
        }
    }

    /// What one side moved, and the other changed, is changed in its new place: where the content
    /// came to one place only, of which the other side knows nothing, and no other one does. What
    /// one side moved, and the other deleted, is a conflict in its new place.
    fn follow_moves(&mut self, base: &Files, ours: &Files, theirs: &Files) {
        let target = |path: &String, conflict: &Conflict| -> Option<(String, Node)> {
            let Some(Node::File(bytes, ran)) = base.get(path) else { return None };
            let (side, changed) = match &conflict.sides {
                [None, Some(theirs)] => (ours, theirs),
                [Some(ours), None] => (theirs, ours),
                _ => return None,
            };
            let Node::File(text, changed_runs) = changed else { return None };
            let [to] = places(base, side, bytes)[..] else { return None };
            let Some(Node::File(_, moved_runs)) = side.get(to) else { return None };
            let runs = if moved_runs == ran { *changed_runs } else { *moved_runs };
            let is_file = |dir: &str| ours.get(dir).is_some_and(|node| *node != Node::EmptyDir);
            let is_free = !holds_below(ours, to) && !above(to).any(is_file);
            let is_right = !self.both.contains(to) && (!ours.contains_key(path) || is_free);
            is_right.then(|| (to.clone(), Node::File(text.clone(), runs)))
        };
        let conflicts = &self.combined.conflicts;
        let moves: Vec<_> = conflicts
            .iter()
            .filter_map(|(path, conflict)| Some((path.clone(), target(path, conflict)?)))
            .collect();
        let mut settled = BTreeSet::new();
        for (path, (to, node)) in &moves {
            if moves.iter().filter(|(_, (other, _))| other == to).count() > 1 {
                continue;
            }
            self.combined.conflicts.remove(path);
            if ours.contains_key(path) {
                self.edits.insert(path.clone(), None);
            }
            settled.insert(to.clone());
            self.edits.insert(to.clone(), Some(node.clone()));
        }
        let is_gone = |path: &&String| !ours.contains_key(*path) && !theirs.contains_key(*path);
        for path in base.keys().filter(is_gone) {
            let Some(Node::File(bytes, _)) = base.get(path) else { continue };
            let to = match (&places(base, ours, bytes)[..], &places(base, theirs, bytes)[..]) {
                ([to], []) | ([], [to]) => (*to).clone(),
                _ => continue,
            };
            if !self.both.contains(&to) && settled.insert(to.clone()) {
                self.edits.remove(&to);
                self.conflict(&to, ours.get(&to), theirs.get(&to));
            }
        }
    }

    /// What would put a file where ours has a directory, or below one of our files, is a conflict.
    fn keep_apart(&mut self, base: &Files, ours: &Files) {
        let is_gone = |path: &str| self.edits.get(path) == Some(&None);
        let is_blocked = |path: &String| {
            let is_file = |dir: &str| ours.get(dir).is_some_and(|node| *node != Node::EmptyDir);
            let below = above(path).any(|dir| is_file(dir) && !is_gone(dir));
            below || stays_below(base, ours, path)
        };
        let put = self.edits.iter().filter(|(_, node)| node.is_some());
        let blocked: Vec<String> =
            put.map(|(path, _)| path.clone()).filter(|path| is_blocked(path)).collect();
        for path in blocked {
            let node = self.edits.remove(&path).flatten();
            // That a directory is empty on one side does not matter where it is not on the other.
            if node == Some(Node::EmptyDir) && stays_below(base, ours, &path) {
                continue;
            }
            self.conflict(&path, None, node.as_ref());
        }
    }
}

/// Where a side has these bytes, and there was nothing.
fn places<'a>(base: &Files, side: &'a Files, bytes: &[u8]) -> Vec<&'a String> {
    let is_there = |(path, node): &(&String, &Node)| {
        !base.contains_key(*path) && matches!(node, Node::File(found, _) if found == bytes)
    };
    let places = side.iter().filter(is_there).map(|(path, _)| path);
    if bytes.is_empty() { Vec::new() } else { places.collect() }
}

/// Whether ours has a directory at `path` in which it changed something that is there.
fn stays_below(base: &Files, ours: &Files, path: &str) -> bool {
    let is_below = |other: &str| other != path && is_within(other, path);
    ours.iter().any(|(other, node)| is_below(other) && base.get(other) != Some(node))
}

/// Merges what `theirs` changed since `base` into `ours`.
pub(crate) fn combine(base: &Files, ours: &Files, theirs: &Files) -> Combined {
    let mut way = Way::default();
    let paths: BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    for path in paths {
        let [base, ours, theirs] = [base, ours, theirs].map(|tree| tree.get(path));
        if theirs == base {
            continue;
        }
        if ours == base {
            way.edits.insert(path.clone(), theirs.cloned());
            continue;
        }
        way.both.insert(path.clone());
        match (ours, theirs) {
            (ours, theirs) if ours == theirs => {}
            (Some(ours), Some(theirs)) => way.both_there(path, base, ours, theirs),
            (ours, theirs) => way.conflict(path, ours, theirs),
        }
    }
    way.follow_moves(base, ours, theirs);
    way.keep_apart(base, ours);
    let Way { edits, mut combined, .. } = way;
    combined.tree = ours.clone();
    for (path, _) in edits.iter().filter(|(_, node)| node.is_none()) {
        combined.tree.remove(path);
    }
    for (path, node) in edits {
        let Some(node) = node else { continue };
        if !(node == Node::EmptyDir && holds_below(&combined.tree, &path)) {
            put(&mut combined.tree, &path, node);
        }
    }
    combined
}

impl State {
    /// What waits on the commit that is checked out.
    pub(crate) fn waits(&self) -> Option<&Merging> {
        self.refs.merging.as_ref().filter(|merging| merging.head == self.head_id())
    }

    /// Notes that conflicts at and below `root` are resolved.
    pub(crate) fn resolve(&mut self, root: &str) {
        if self.waits().is_none() {
            return;
        }
        let Some(merging) = &mut self.refs.merging else { return };
        for (path, conflict) in &mut merging.conflicts {
            conflict.resolved |= is_within(path, root);
        }
        if merging.command == "stash" && merging.open().next().is_none() {
            self.refs.merging = None;
        }
    }

    /// All commits that a commit comes from, and itself.
    fn history(&self, id: &str) -> BTreeSet<String> {
        let (mut known, mut todo) = (BTreeSet::new(), vec![id.to_owned()]);
        while let Some(id) = todo.pop() {
            if known.insert(id.clone()) {
                todo.extend(self.commits[&id].parents.iter().cloned());
            }
        }
        known
    }

    /// The best common ancestors.
    pub(crate) fn merge_bases(&self, a: &str, b: &str) -> Vec<String> {
        let theirs = self.history(b);
        let common: Vec<String> =
            self.history(a).into_iter().filter(|id| theirs.contains(id)).collect();
        let is_best =
            |id: &&String| !common.iter().any(|other| other != *id && self.leads_to(id, other));
        common.iter().filter(is_best).cloned().collect()
    }

    /// `merge`, where there is one best common ancestor at most.
    pub(crate) fn merge(&mut self, other: &str, no_ff: bool) -> Outcome {
        let head = self.head_id().to_owned();
        if self.waits().is_some() {
            return Outcome::Ends(FAILED);
        }
        if self.leads_to(other, &head) {
            return Outcome::Ends(OK);
        }
        let (ours, theirs) = (self.head_tree().clone(), self.commits[other].tree.clone());
        if self.leads_to(&head, other) && !no_ff {
            let code = self.move_to(&ours, &theirs);
            if code == OK {
                self.move_head(other.to_owned());
            }
            return Outcome::Ends(code);
        }
        let Some(base) = self.merge_bases(&head, other).into_iter().next() else {
            return Outcome::Ends(FAILED);
        };
        let base = self.commits[&base].tree.clone();
        self.bring(&base, &theirs, "merge", other)
    }

    /// `cherry-pick` and `revert`.
    pub(crate) fn pick(&mut self, id: &str, command: &'static str) -> Outcome {
        let Some(commit) = self.commits.get(id).cloned() else { return Outcome::Ends(UNKNOWN) };
        if self.waits().is_some() || commit.parents.len() > 1 {
            return Outcome::Ends(FAILED);
        }
        let parent = commit.parents.first().map(|id| self.commits[id].tree.clone());
        let parent = parent.unwrap_or_default();
        let (base, theirs) =
            if command == "revert" { (commit.tree, parent) } else { (parent, commit.tree) };
        self.bring(&base, &theirs, command, id)
    }

    /// Merges, and commits or waits.
    fn bring(
        &mut self,
        base: &Files,
        theirs: &Files,
        command: &'static str,
        other: &str,
    ) -> Outcome {
        let ours = self.head_tree().clone();
        if self.refs.staged != ours {
            return Outcome::Ends(FAILED);
        }
        let combined = combine(base, &ours, theirs);
        let is_clean = combined.conflicts.is_empty();
        if is_clean && combined.tree == ours && command != "merge" {
            return Outcome::Ends(OK);
        }
        if self.marks_changes(&combined) || self.move_to(&ours, &combined.tree) != OK {
            return Outcome::Ends(FAILED);
        }
        if is_clean {
            let second = Some(other.to_owned()).filter(|_| command == "merge");
            return Outcome::Commits(
                [self.head_id().to_owned()].into_iter().chain(second).collect(),
            );
        }
        self.wait(command, other, combined);
        Outcome::Conflicts
    }

    /// Whether a tracked file in conflict has local changes, or something that is not tracked is in
    /// the way of one with markers.
    pub(crate) fn marks_changes(&self, combined: &Combined) -> bool {
        let is_changed = |path: &String| {
            let staged = self.refs.staged.get(path);
            staged.is_some_and(|node| self.differs(path, node))
        };
        let is_untracked = |dir: &str| {
            let node = self.work.get(dir).filter(|_| !self.refs.staged.contains_key(dir));
            node.is_some_and(|node| *node != Node::EmptyDir)
        };
        combined.conflicts.keys().any(is_changed)
            || combined.marked.keys().any(|path| above(path).any(is_untracked))
    }

    pub(crate) fn wait(&mut self, command: &'static str, other: &str, combined: Combined) {
        let Combined { tree: merged, conflicts, marked } = combined;
        marked.into_iter().for_each(|(path, node)| put(&mut self.work, &path, node));
        let (head, other) = (self.head_id().to_owned(), other.to_owned());
        self.refs.merging = Some(Merging { command, head, other, merged, conflicts });
    }

    /// `commit`, or with `continues` that of what waits.
    pub(crate) fn next_commit(&self, continues: bool) -> Outcome {
        let mut parents = vec![self.head_id().to_owned()];
        match self.waits() {
            None if continues || self.refs.staged == *self.head_tree() => {
                return Outcome::Ends(FAILED);
            }
            Some(merging) if merging.open().next().is_some() => return Outcome::Ends(FAILED),
            Some(merging) if merging.command == "merge" => parents.push(merging.other.clone()),
            None | Some(_) => {}
        }
        Outcome::Commits(parents)
    }

    /// `commit --amend`.
    pub(crate) fn amend(&self) -> Outcome {
        match self.waits() {
            Some(_) => Outcome::Ends(FAILED),
            None => Outcome::Commits(self.commits[self.head_id()].parents.clone()),
        }
    }

    /// `merge --abort` and its like.
    pub(crate) fn abort(&mut self, command: &str) -> Code {
        let Some(merging) = self.waits().filter(|merging| merging.command == command).cloned()
        else {
            return FAILED;
        };
        let target = self.commits[&merging.head].tree.clone();
        let also: Vec<String> = merging.conflicts.keys().cloned().collect();
        let code = self.force_to(&merging.merged, &target, &also);
        if code == OK {
            self.refs.merging = None;
        }
        code
    }

    /// `restore --ours` and `--theirs`.
    pub(crate) fn take_side(&mut self, path: &str, side: usize) -> Code {
        let Some(merging) = self.waits() else { return FAILED };
        let chosen = merging.conflicts.iter().filter(|(other, _)| is_within(other, path));
        let chosen: Vec<_> =
            chosen.map(|(path, conflict)| (path.clone(), conflict.sides[side].clone())).collect();
        if chosen.is_empty() {
            return UNKNOWN;
        }
        for (path, node) in chosen {
            let is_file =
                |path: &str| self.work.get(path).is_some_and(|found| *found != Node::EmptyDir);
            match node {
                None if is_file(&path) => super::files::remove_by_hand(&mut self.work, &path),
                None => {}
                // What is in the way stays.
                Some(_) if above(&path).any(is_file) || holds_below(&self.work, &path) => {}
                Some(Node::EmptyDir) if is_file(&path) => {}
                Some(node) => put(&mut self.work, &path, node),
            }
        }
        OK
    }
}
