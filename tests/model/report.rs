//! What `status` should list.

use std::collections::BTreeMap;

use super::common::Node;
use super::files::{Files, above, is_within};
use super::state::State;

impl State {
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
