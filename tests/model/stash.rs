//! `stash`.

use super::common::Node;
use super::files::{Files, above, holds_below, put};
use super::merge::{Combined, Outcome, Stash, combine};
use super::state::{Code, FAILED, OK, State, UNKNOWN};

impl State {
    /// `stash push`; the id is filled in later. Nothing is put aside where nothing changed.
    pub(crate) fn stash(&mut self, with_untracked: bool) -> (Code, Option<Stash>) {
        if self.waits().is_some() {
            return (FAILED, None);
        }
        let (base, index, work) =
            (self.head_tree().clone(), self.refs.staged.clone(), self.tracked());
        let all = if with_untracked { self.seen() } else { work.clone() };
        let mut untracked = all.clone();
        untracked.retain(|path, _| !work.contains_key(path));
        if index == base && work == base && untracked.is_empty() {
            return (OK, None);
        }
        self.refs.staged.clone_from(&all);
        if self.move_to(&all, &base) != OK {
            return (FAILED, None);
        }
        (OK, Some(Stash { id: String::new(), base, index, work, untracked }))
    }

    /// `stash apply` and `stash pop`.
    pub(crate) fn unstash(&mut self, number: usize, with_index: bool, pops: bool) -> Outcome {
        if self.waits().is_some() {
            return Outcome::Ends(FAILED);
        }
        let Some(stash) = self.refs.stashes.get(number).cloned() else {
            return Outcome::Ends(UNKNOWN);
        };
        let ours = self.refs.staged.clone();
        let combined = combine(&stash.base, &ours, &stash.work);
        if self.marks_changes(&combined) {
            return Outcome::Ends(FAILED);
        }
        let staged = if with_index {
            let index = combine(&stash.base, &ours, &stash.index);
            if !index.conflicts.is_empty() {
                return Outcome::Ends(FAILED);
            }
            index.tree
        } else {
            let mut staged = ours.clone();
            let is_added = |path: &String| !ours.contains_key(path);
            for (path, node) in combined.tree.iter().filter(|(path, _)| is_added(path)) {
                put(&mut staged, path, node.clone());
            }
            staged
        };
        let Some(target) = with_untracked(&combined, &stash.untracked) else {
            return Outcome::Ends(FAILED);
        };
        if self.move_to(&ours, &target) != OK {
            return Outcome::Ends(FAILED);
        }
        self.refs.staged = staged;
        if combined.conflicts.is_empty() {
            if pops {
                self.refs.stashes.remove(number);
            }
            return Outcome::Ends(OK);
        }
        self.wait("stash", &stash.id, combined);
        Outcome::Conflicts
    }

    /// `stash drop`.
    pub(crate) fn drop_stash(&mut self, number: usize) -> Code {
        if number >= self.refs.stashes.len() {
            return UNKNOWN;
        }
        self.refs.stashes.remove(number);
        OK
    }
}

/// The merged tree with what was not tracked; none where something tracked is in its place.
fn with_untracked(combined: &Combined, untracked: &Files) -> Option<Files> {
    let mut target = combined.tree.clone();
    for (path, node) in untracked {
        let is_file = |dir: &str| target.get(dir).is_some_and(|node| *node != Node::EmptyDir);
        let found = target.get(path);
        if above(path).any(is_file)
            || holds_below(&target, path)
            || found.is_some_and(|found| found != node)
        {
            return None;
        }
        put(&mut target, path, node.clone());
    }
    Some(target)
}
