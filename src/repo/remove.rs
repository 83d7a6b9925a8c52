//! `rm`: removes files from the staging area and from the work tree.

use super::beneath::{PathKind, stat_one};
use super::worktree::WorkTree;
use super::{RepoError, Repository, Result};
use crate::path::RepoPath;
use crate::storage::binary_staging::StagingOp;

/// What is removed, and how.
#[derive(Debug, Clone, Default)]
pub struct RemoveOptions {
    /// Files and directories.
    pub paths: Vec<RepoPath>,
    /// Directories with all that is staged below them.
    pub recursive: bool,
    /// From the staging area only.
    pub cached: bool,
    /// Also files whose content is nowhere else.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

impl Repository {
    /// Removes what is named and returns the paths. Files that differ from what is staged, or
    /// whose staged content is not committed, are refused without `force`: their bytes may be
    /// nowhere else.
    pub fn remove(&self, options: &RemoveOptions) -> Result<Vec<RepoPath>> {
        let _lock = self.lock()?;
        let mut staging = self.staging()?;
        let root = self.work_tree_handle()?;
        let mut paths = Vec::new();
        for path in &options.paths {
            let before = paths.len();
            paths.extend(staging.iter_within(path.as_bytes()).map(|entry| entry.path));
            if paths.len() == before {
                return Err(super::add::path_not_found(path, "the staging area", &staging));
            }
            let is_directory = staging.view(path.as_bytes()).is_none();
            if is_directory && !options.recursive {
                return Err(RepoError::NeedsRecursive(path.clone()));
            }
        }
        paths.sort_unstable();
        paths.dedup();
        if !options.force && !options.cached {
            let uncommitted = self.staged_changes(&staging)?;
            let mut lost = Vec::new();
            for path in &paths {
                let is_new = uncommitted.binary_search_by(|change| change.path.cmp(path)).is_ok();
                if is_new || self.is_modified(&root, &staging, path)? == Some(true) {
                    lost.push(format!("'{path}'"));
                }
            }
            if !lost.is_empty() {
                return Err(RepoError::WouldLose { paths: lost });
            }
        }
        if options.dry_run {
            return Ok(paths);
        }
        staging.apply(paths.iter().cloned().map(StagingOp::Remove).collect())?;
        if !options.cached {
            let work_tree = WorkTree::open(&self.place().work_tree)?;
            for path in &paths {
                let stat = stat_one(&root, path).unwrap_or_default();
                if matches!(stat, Some((PathKind::File { .. } | PathKind::Symlink, _))) {
                    work_tree.remove_file(path)?;
                    work_tree.remove_empty_dirs_up(path)?;
                }
            }
        }
        Ok(paths)
    }
}
