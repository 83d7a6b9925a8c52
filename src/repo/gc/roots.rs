//! Where the search for what is in use begins.

use std::path::Path;

use super::super::merge::MergeError;
use super::super::merge::state::{ASIDE_FILE, MAX_STATE, STATE_FILE};
use super::super::{Repository, Result};
use crate::id::{CommitId, ObjectId, TagId, TreeId};
use crate::storage::binary_staging::KindView;
use crate::storage::format::merge_state::MergeState;
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

impl Repository {
    /// Calls `visit` with everything that stays: refs and `HEAD`, operations from `first` on, what is
    /// staged, merges that wait or can be taken up again.
    pub(super) fn visit_roots(&self, first: u64, visit: Visit<'_>) -> Result<()> {
        for (_, record) in self.refs().list("")? {
            visit_value(&record.new, visit)?;
        }
        visit_head(&self.refs().read_head()?, visit)?;
        let log = self.operations()?;
        if let Some(last) = log.last().filter(|last| last.link.seq < first) {
            // The log will begin with what the last operation left.
            visit_state(&last.after, visit)?;
        }
        for record in log.backwards() {
            let record = record?;
            if record.link.seq < first {
                break;
            }
            visit_record(&record, visit)?;
        }
        self.visit_staged(visit)?;
        for file in [STATE_FILE, ASIDE_FILE] {
            self.visit_merge(file, visit)?;
        }
        Ok(())
    }

    fn visit_staged(&self, visit: Visit<'_>) -> Result<()> {
        let staging = self.staging()?;
        for view in staging.views() {
            if let KindView::File { content, .. } = view.kind {
                visit(Root::Content(content))?;
            }
        }
        staging.check()?;
        let known = staging.changes_since_tree().map(|(tree, _)| tree).or(staging.clean_tree());
        match known {
            // It may never have been stored. Where it is, all below it is, too.
            Some(tree) if self.store()?.contains(&ObjectId::from(tree)) => visit(Root::Tree(tree)),
            _ => Ok(()),
        }
    }

    fn visit_merge(&self, file: &str, visit: Visit<'_>) -> Result<()> {
        let Some(bytes) = self.disk.read(Path::new(file), MAX_STATE)? else { return Ok(()) };
        let state = MergeState::decode(&bytes).map_err(MergeError::Damaged)?;
        visit(Root::Commit(state.head))?;
        for commit in state.others.iter().chain(&state.todo) {
            visit(Root::Commit(*commit))?;
        }
        visit(Root::Tree(state.merged))?;
        for conflict in &state.conflicts {
            for kind in [&conflict.base, &conflict.ours, &conflict.theirs].into_iter().flatten() {
                match kind {
                    EntryKind::File { content, .. } => visit(Root::Content(*content))?,
                    EntryKind::Dir { tree, .. } => visit(Root::Tree(*tree))?,
                    EntryKind::Symlink { .. } => {}
                }
            }
        }
        Ok(())
    }
}

/// Everything that one operation needs to be undone and done again.
fn visit_record(record: &OpRecord, visit: Visit<'_>) -> Result<()> {
    visit_state(&record.before, visit)?;
    visit_state(&record.after, visit)?;
    for value in record.refs.iter().flat_map(|change| [change.old, change.new]).flatten() {
        visit_value(&value, visit)?;
    }
    record.kept.map_or(Ok(()), |tree| visit(Root::Tree(tree)))
}

fn visit_state(state: &OpState, visit: Visit<'_>) -> Result<()> {
    visit_head(&state.head, visit)?;
    visit(Root::Tree(state.staged.tree))
}

fn visit_value(value: &RefValue, visit: Visit<'_>) -> Result<()> {
    visit(Root::Commit(value.commit))?;
    value.annotation.map_or(Ok(()), |tag| visit(Root::Tag(tag)))
}

fn visit_head(head: &Head, visit: Visit<'_>) -> Result<()> {
    match head {
        Head::Detached(commit) => visit(Root::Commit(*commit)),
        Head::Branch(_) => Ok(()),
    }
}
