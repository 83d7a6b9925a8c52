//! Committed trees: walking, comparing, editing and writing them.

mod diff;
mod edit;
mod walk;
mod write;

pub use diff::{TreeChange, TreeDiff};
pub use edit::{Edit, Edits, Stop, TreePages, edit_tree, edit_tree_by};
pub use walk::{TreeItem, TreeWalk, find};
pub use write::{TreeStack, write_staged, write_trees};

use crate::id::TreeId;
pub use crate::storage::objects::empty_tree;

/// Whether this is the tree of a directory without entries.
pub fn is_empty_tree(tree: &TreeId) -> bool {
    *tree == empty_tree()
}

#[cfg(test)]
mod tests;
