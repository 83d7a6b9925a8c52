//! The trees of everything staged, in one pass.

use super::edit::{Stop, edit_tree};
use super::empty_tree;
use crate::path::split_last;
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedView};
use crate::storage::format::object::{Content, EntryKind, TreeEntry};
use crate::storage::objects::{ObjectSink, Objects, TreeBuilder, TreeTotals};

/// If more than this part of the entries changed, one pass over all of them is quicker.
const MOST_CHANGED: usize = 8;

/// Builds the trees of entries that come in path order.
pub struct TreeStack {
    /// Open directories from the root down, each with its name.
    open: Vec<(Vec<u8>, TreeBuilder)>,
}

impl Default for TreeStack {
    fn default() -> Self {
        Self { open: vec![(Vec::new(), TreeBuilder::default())] }
    }
}

impl TreeStack {
    /// Adds an entry, behind those before it in path order.
    pub fn push<S: ObjectSink>(
        &mut self,
        entry: &StagedView<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let (dir, name) = split_last(entry.path);
        let components = || dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let shared = {
            let open = self.open.iter().skip(1).map(|(name, _)| name.as_slice());
            open.zip(components()).take_while(|(a, b)| a == b).count()
        };
        while self.open.len() > shared + 1 {
            self.close(sink)?;
        }
        for name in components().skip(shared) {
            self.open.push((name.to_vec(), TreeBuilder::default()));
        }
        if entry.kind == KindView::EmptyDir {
            TreeBuilder::default().finish(sink)?;
        }
        let kind = entry_kind(entry);
        self.add(TreeEntry { name: name.to_vec(), kind }, sink)
    }

    fn add<S: ObjectSink>(&mut self, entry: TreeEntry, sink: &mut S) -> Result<(), S::Error> {
        match self.open.last_mut() {
            Some((_, builder)) => builder.push(entry, sink),
            None => Ok(()),
        }
    }

    /// Ends the innermost directory and enters it into the one around it.
    fn close<S: ObjectSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let Some((name, builder)) = self.open.pop() else { return Ok(()) };
        let TreeTotals { tree, files, bytes } = builder.finish(sink)?;
        self.add(TreeEntry { name, kind: EntryKind::Dir { tree, files, bytes } }, sink)
    }

    /// The tree of all entries.
    pub fn finish<S: ObjectSink>(mut self, sink: &mut S) -> Result<TreeTotals, S::Error> {
        while self.open.len() > 1 {
            self.close(sink)?;
        }
        let root = self.open.pop().map(|(_, builder)| builder).unwrap_or_default();
        root.finish(sink)
    }
}

/// What a tree says of a staged entry.
pub(super) fn entry_kind(entry: &StagedView<'_>) -> EntryKind {
    match entry.kind {
        KindView::File { executable, content } => {
            let size = if content == Content::Empty { 0 } else { entry.stat.size };
            EntryKind::File { executable, size, content }
        }
        KindView::Symlink { target } => EntryKind::Symlink { target: target.to_vec() },
        KindView::EmptyDir => EntryKind::Dir { tree: empty_tree(), files: 0, bytes: 0 },
    }
}

/// Writes the trees of everything staged.
pub fn write_trees<S: ObjectSink>(
    staging: &BinaryStagingArea,
    sink: &mut S,
) -> Result<TreeTotals, S::Error> {
    let mut stack = TreeStack::default();
    for entry in staging.views() {
        stack.push(&entry, sink)?;
    }
    stack.finish(sink)
}

/// As [`write_trees`]; where the staging area equalled `old` last, what did not change is taken
/// over.
pub fn write_staged<S: ObjectSink>(
    staging: &BinaryStagingArea,
    objects: &Objects,
    old: Option<TreeTotals>,
    sink: &mut S,
) -> Result<TreeTotals, S::Error> {
    if let Some(old) = old
        && let Some((last, changed)) = staging.changes_since_tree()
        && last == old.tree
        && changed.len() <= staging.len() / MOST_CHANGED
    {
        match edit_tree(objects, Some(old), &changed, staging, sink) {
            Ok(totals) => return Ok(totals),
            Err(Stop::Sink(error)) => return Err(error),
            // Something of the old tree cannot be read: what is staged is whole all the same.
            Err(Stop::Unreadable(_)) => {}
        }
    }
    write_trees(staging, sink)
}
