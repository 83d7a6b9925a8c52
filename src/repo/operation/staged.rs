//! The tree of what is staged, as records and commits name it.

use super::super::source::WorkTreeSource;
use super::super::trees::{empty_tree, is_empty_tree, write_staged};
use super::super::{Repository, Result};
use super::StagedTree;
use crate::id::{ObjectId, TreeId};
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::objects::{TreeBuilder, TreeTotals};

/// What is staged in a new repository.
pub(super) fn nothing() -> StagedTree {
    StagedTree { tree: empty_tree(), files: 0, bytes: 0 }
}

/// Writes the trees of what is staged, unless they are stored, and lets the staging area know its
/// tree. Where it equalled one of `known` last, only what changed since is written.
pub(super) fn write(
    repository: &Repository,
    staging: &mut BinaryStagingArea,
    known: &[StagedTree],
) -> Result<TreeTotals> {
    if let Some(tree) = staging.clean_tree()
        && is_stored(repository, &tree)?
    {
        return match known.iter().find(|known| known.tree == tree) {
            Some(StagedTree { tree, files, bytes }) => {
                Ok(TreeTotals { tree: *tree, files: *files, bytes: *bytes })
            }
            None => totals_of(repository, tree),
        };
    }
    let last = staging.changes_since_tree().map(|(last, _)| last);
    let old = known.iter().find(|known| Some(known.tree) == last && !is_empty_tree(&known.tree));
    let old = match (old, last) {
        (Some(StagedTree { tree, files, bytes }), _) => {
            Some(TreeTotals { tree: *tree, files: *files, bytes: *bytes })
        }
        (None, Some(last)) if is_stored(repository, &last)? => totals_of(repository, last).ok(),
        _ => None,
    };
    write_from(repository, staging, old)
}

/// Writes what differs from the tree `old`, or all.
fn write_from(
    repository: &Repository,
    staging: &mut BinaryStagingArea,
    old: Option<TreeTotals>,
) -> Result<TreeTotals> {
    let root = repository.work_tree_handle()?;
    let objects = repository.objects()?;
    let engine = repository.engine()?;
    let totals = engine.write_objects(&WorkTreeSource(&root), |worker| {
        // Every record names the tree before it, the first one this.
        TreeBuilder::default().finish(worker)?;
        write_staged(staging, objects, old, worker)
    })?;
    staging.check()?;
    staging.mark_clean(totals.tree)?;
    Ok(totals)
}

impl Repository {
    /// Writes all trees of what is staged of which none is stored, or not soundly, whatever is known of
    /// them. The caller holds the lock.
    pub(in super::super) fn write_staged_anew(
        &self,
        staging: &mut BinaryStagingArea,
    ) -> Result<()> {
        write_from(self, staging, None).map(drop)
    }
}

pub(super) fn is_stored(repository: &Repository, tree: &TreeId) -> Result<bool> {
    Ok(repository.store()?.contains(&ObjectId::from(*tree)))
}

/// The totals of a stored tree, from the entries of its root.
fn totals_of(repository: &Repository, tree: TreeId) -> Result<TreeTotals> {
    let mut totals = TreeTotals { tree, files: 0, bytes: 0 };
    for entry in repository.objects()?.tree(&tree) {
        let (files, bytes) = entry?.totals();
        totals.files = totals.files.saturating_add(files);
        totals.bytes = totals.bytes.saturating_add(bytes);
    }
    Ok(totals)
}
