//! Trees of files in plain Rust, and what a person does to them.

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

/// The entries that hold something.
pub(crate) fn with_bytes(tree: &Files) -> Files {
    let held = tree.iter().filter(|(_, node)| **node != Node::EmptyDir);
    held.map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// What a file holds.
pub(crate) fn bytes_of(node: &Node) -> Option<Vec<u8>> {
    match node {
        Node::File(bytes, _) => Some(bytes.clone()),
        _ => None,
    }
}
