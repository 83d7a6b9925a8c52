//! What a failure prints.

use std::collections::BTreeMap;

use super::common::{Node, Output};
use super::files::Files;
use super::state::{Commit, State};

/// How a command ended, and what it said.
pub(crate) fn said(output: &Output) -> String {
    let Output { code, stdout, stderr } = output;
    format!("it ended with {code}: {}{stderr}", String::from_utf8_lossy(stdout))
}

/// A state for people: names of commits are places in their order.
pub(crate) fn shown(state: &State) -> String {
    let place = |id: &String| state.order.iter().position(|other| other == id);
    let commits = state.order.iter().map(|id| {
        let Commit { parents, tree } = &state.commits[id];
        let parents: Vec<_> = parents.iter().filter_map(place).collect();
        format!("\n  commit of {parents:?}: {:?}", with_text(tree))
    });
    let refs = |refs: &BTreeMap<String, String>| -> Vec<String> {
        refs.iter().map(|(name, id)| format!("{name} at {:?}", place(id))).collect()
    };
    format!(
        "{}\n  HEAD {:?}, {:?}, {:?}\n  staged {:?}\n  work {:?}",
        commits.collect::<String>(),
        state.refs.head,
        refs(&state.refs.branches),
        refs(&state.refs.tags),
        with_text(&state.refs.staged),
        with_text(&state.work)
    ) + &waiting(state)
}

/// What waits and what was put aside.
fn waiting(state: &State) -> String {
    let merging = state.refs.merging.as_ref().map(|merging| {
        let open: Vec<_> = merging.open().collect();
        format!("\n  {} waits, {open:?} not resolved", merging.command)
    });
    let stashes = state.refs.stashes.iter().map(|stash| {
        let [base, index, work, untracked] =
            [&stash.base, &stash.index, &stash.work, &stash.untracked].map(with_text);
        format!(
            "\n  stash of {base:?}\n    index {index:?}\n    work {work:?}\n    untracked {untracked:?}"
        )
    });
    merging.unwrap_or_default() + &stashes.collect::<String>()
}

/// A tree that shows its bytes when it is printed.
pub(crate) fn with_text(tree: &Files) -> BTreeMap<&str, String> {
    let shown = |node: &Node| match node {
        Node::File(bytes, executable) => {
            format!("{:?}{}", String::from_utf8_lossy(bytes), if *executable { " x" } else { "" })
        }
        other => format!("{other:?}"),
    };
    tree.iter().map(|(path, node)| (path.as_str(), shown(node))).collect()
}
