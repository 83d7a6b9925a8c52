//! Committed trees: walking, comparing, editing and writing them.

mod diff;
mod edit;
mod walk;
mod write;

use std::sync::OnceLock;

pub use diff::{TreeChange, TreeDiff};
pub use edit::{Edit, Edits, Stop, TreePages, edit_tree, edit_tree_by};
pub use walk::{TreeItem, TreeWalk, find};
pub use write::{TreeStack, write_staged, write_trees};

use crate::id::TreeId;
use crate::storage::format::object::TreePage;

/// The tree of a directory without entries, which has one id everywhere.
pub fn empty_tree() -> TreeId {
    static EMPTY: OnceLock<TreeId> = OnceLock::new();
    *EMPTY.get_or_init(|| TreeId::of(&TreePage::Leaf(Vec::new()).encode()))
}

/// Whether this is the tree of a directory without entries.
pub fn is_empty_tree(tree: &TreeId) -> bool {
    *tree == empty_tree()
}

#[cfg(test)]
mod tests;
