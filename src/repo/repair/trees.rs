//! Trees of what is staged: the staging area knows all that is in them.

use super::super::trees::TreeDiff;
use super::super::{RepoError, Repository, Result};
use super::Repair;
use crate::id::TreeId;

/// Writes them anew where one cannot be read. What is wrong with the staging area itself is found
/// elsewhere.
pub(super) fn restore(repair: &mut Repair<'_>) -> Result<()> {
    let repository = repair.repository;
    let Ok(mut staging) = repository.staging() else { return Ok(()) };
    let Some((tree, _)) = staging.changes_since_tree() else { return Ok(()) };
    if staging.check().is_err() || is_whole(repository, tree)? {
        return Ok(());
    }
    repair.note("trees of what is staged", "the staging area");
    if repair.apply { repository.write_staged_anew(&mut staging) } else { Ok(()) }
}

fn is_whole(repository: &Repository, tree: TreeId) -> Result<bool> {
    for change in TreeDiff::new(repository.objects()?, None, Some(tree)) {
        repository.stop_if_cancelled()?;
        match change {
            Err(RepoError::Store(error)) if error.is_loss() => return Ok(false),
            change => change.map(drop)?,
        }
    }
    Ok(true)
}
