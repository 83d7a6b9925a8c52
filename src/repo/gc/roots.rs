//! Where the search for what is in use begins.

use std::collections::BTreeSet;

use super::super::{Repository, Result};
use crate::id::{CommitId, ObjectId, TagId, TreeId};
use crate::storage::binary_staging::KindView;
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::oplog::{OpRecord, OpState};
use crate::storage::refs::{Head, RefValue};

/// Something that stays, with all that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Commit(CommitId),
    Tag(TagId),
    Tree(TreeId),
    Content(Content),
}

type Visit<'a> = &'a mut dyn FnMut(Root) -> Result<()>;

/// Follows what is no object: records, and states of merges, which are files of trees.
struct Roots<'a> {
    repository: &'a Repository,
    visit: Visit<'a>,
    /// States of merges that were read: many records name the same.
    merges: BTreeSet<TreeId>,
}

impl Repository {
    /// Calls `visit` with everything that stays: refs and `HEAD`, operations from `first` on with the
    /// merges that waited, what is staged, and what a killed command was doing to the work tree.
    pub(super) fn visit_roots(&self, first: u64, visit: Visit<'_>) -> Result<()> {
        let mut roots = Roots { repository: self, visit, merges: BTreeSet::new() };
        for (_, record) in self.refs().list("")? {
            roots.value(&record.new)?;
        }
        roots.head(&self.refs().read_head()?)?;
        let log = self.operations()?;
        let last = log.last();
        if let Some(last) = last.filter(|last| last.link.seq < first) {
            // The log will begin with what the last operation left.
            roots.state(&last.after)?;
        }
        for record in log.backwards() {
            let record = record?;
            if record.link.seq < first {
                break;
            }
            roots.record(&record)?;
        }
        if let Some(moving) = self.announced(&log)? {
            roots.trees(moving.trees())?;
        }
        roots.staged()
    }
}

impl Roots<'_> {
    fn trees(&mut self, trees: impl IntoIterator<Item = TreeId>) -> Result<()> {
        trees.into_iter().try_for_each(|tree| (self.visit)(Root::Tree(tree)))
    }

    /// Everything that one operation needs to be undone and done again.
    fn record(&mut self, record: &OpRecord) -> Result<()> {
        self.state(&record.before)?;
        self.state(&record.after)?;
        for value in record.refs.iter().flat_map(|change| [change.old, change.new]).flatten() {
            self.value(&value)?;
        }
        self.trees([record.kept, record.written].into_iter().flatten())
    }

    fn state(&mut self, state: &OpState) -> Result<()> {
        self.head(&state.head)?;
        self.trees([state.staged.tree])?;
        match state.merging {
            Some(merging) if self.merges.insert(merging) => self.merge(merging),
            _ => Ok(()),
        }
    }

    fn value(&mut self, value: &RefValue) -> Result<()> {
        (self.visit)(Root::Commit(value.commit))?;
        value.annotation.map_or(Ok(()), |tag| (self.visit)(Root::Tag(tag)))
    }

    fn head(&mut self, head: &Head) -> Result<()> {
        match head {
            Head::Detached(commit) => (self.visit)(Root::Commit(*commit)),
            Head::Branch(_) => Ok(()),
        }
    }

    fn staged(&mut self) -> Result<()> {
        let staging = self.repository.staging()?;
        for view in staging.views() {
            if let KindView::File { content, .. } = view.kind {
                (self.visit)(Root::Content(content))?;
            }
        }
        staging.check()?;
        let known = staging.changes_since_tree().map(|(tree, _)| tree).or(staging.clean_tree());
        match known {
            // It may never have been stored. Where it is, all below it is, too.
            Some(tree) if self.repository.store()?.contains(&ObjectId::from(tree)) => {
                self.trees([tree])
            }
            _ => Ok(()),
        }
    }

    /// A merge that waits, or waited; the tree holds its state.
    fn merge(&mut self, merging: TreeId) -> Result<()> {
        self.trees([merging])?;
        let state = self.repository.read_merge_state(&merging)?;
        state.commits().try_for_each(|commit| (self.visit)(Root::Commit(commit)))?;
        self.trees(state.trees())?;
        for (_, side) in state.sides() {
            match side {
                EntryKind::File { content, .. } => (self.visit)(Root::Content(*content))?,
                EntryKind::Dir { tree, .. } => self.trees([*tree])?,
                EntryKind::Symlink { .. } => {}
            }
        }
        Ok(())
    }
}
