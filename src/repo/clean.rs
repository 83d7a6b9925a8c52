//! `clean`: removes what is not tracked from the work tree.
//!
//! What goes is stored first and entered in the log of operations, so that `undo` brings it back;
//! what cannot be stored stays. Directories that hold a repository of their own, Digstore's or
//! git's, stay with all that is in them, links are removed and never followed, and neither FIFOs nor
//! sockets are touched.

mod find;

use super::beneath::PathKind;
use super::ignore::IgnoreRules;
use super::operation::{Doomed, Held, Keeper, description};
use super::pathspec::Pathspec;
use super::worktree::WorkTree;
use super::{Repository, Result};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::BinaryStagingArea;
use find::Found;

/// Files that are stored in one go before they are removed.
const KEPT_AT_ONCE: usize = 4096;

/// What becomes of ignored files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IgnoredFiles {
    /// They stay.
    #[default]
    Stay,
    /// They go as well.
    Go,
    /// They alone go.
    GoAlone,
}

/// What is removed, and how.
#[derive(Debug, Clone, Default)]
pub struct CleanOptions {
    /// Where; everything without any.
    pub paths: Pathspec,
    /// Directories without anything tracked, too.
    pub directories: bool,
    /// What becomes of ignored files.
    pub ignored: IgnoredFiles,
    /// Patterns, as in an ignore file at the root, of what counts as ignored besides. With
    /// [`IgnoredFiles::Go`], these stay nevertheless.
    pub excludes: Vec<u8>,
    /// Nothing is stored first: what is removed is gone.
    pub forget: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// A directory that is kept though it becomes empty: where the user is.
    pub keep_dir: RepoPath,
}

/// What was removed.
#[derive(Debug, Default)]
pub struct CleanReport {
    /// Files and links, in path order.
    pub files: Vec<RepoPath>,
    /// Directories.
    pub dirs: Vec<RepoPath>,
    /// Directories that stay because they hold a repository of their own.
    pub repositories: Vec<RepoPath>,
    /// What stays though it was meant, and why.
    pub skipped: Vec<(RepoPath, String)>,
}

impl Repository {
    /// Removes what is not tracked.
    pub fn clean(&self, options: &CleanOptions) -> Result<CleanReport> {
        if options.dry_run {
            let found = self.find_untracked(options, &self.staging()?)?;
            let Found { files, empty_dirs: dirs, repositories, skipped } = found;
            return Ok(CleanReport { files, dirs, repositories, skipped });
        }
        let mut op = self.begin(description("clean", options.paths.shown()))?;
        let staging = op.staged().snapshot();
        let mut found = self.find_untracked(options, &staging)?;
        if !options.forget {
            op.keep(self.keep_untracked(&mut found, &staging)?)?;
            op.moves_work_tree();
            op.checkpoint()?;
        }
        self.remove_untracked(found, &staging, options)
    }

    /// Stores the files; those that cannot be stored are taken out.
    fn keep_untracked(
        &self,
        found: &mut Found,
        staging: &BinaryStagingArea,
    ) -> Result<Option<TreeId>> {
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        let mut failed = Vec::new();
        for files in found.files.chunks(KEPT_AT_ONCE) {
            let doomed: Vec<_> = files
                .iter()
                .map(|path| Doomed { path: path.clone(), held: Held::Unknown })
                .collect();
            failed.extend(keeper.keep(&doomed, staging)?);
        }
        failed.sort_unstable();
        found.files.retain(|path| failed.binary_search_by(|(other, _)| other.cmp(path)).is_err());
        let told = failed.into_iter();
        found.skipped.extend(told.map(|(path, why)| (path, format!("it cannot be stored: {why}"))));
        keeper.finish()
    }

    fn remove_untracked(
        &self,
        found: Found,
        staging: &BinaryStagingArea,
        options: &CleanOptions,
    ) -> Result<CleanReport> {
        let work_tree =
            if options.forget { WorkTree::open(&self.place().work_tree)? } else { self.guarded()? };
        let Found { repositories, skipped, .. } = found;
        let mut report = CleanReport { repositories, skipped, ..CleanReport::default() };
        for path in found.files {
            if self.cancel_token().is_cancelled() {
                return Err(super::RepoError::Interrupted);
            }
            // A directory that took its place is none of ours.
            if matches!(work_tree.stat(&path)?, None | Some((PathKind::Dir, _))) {
                continue;
            }
            match work_tree.remove_file(&path) {
                Ok(_) => {
                    let above = std::iter::successors(path.parent(), RepoPath::parent);
                    remove_empty(&work_tree, above, (staging, options), &mut report);
                    report.files.push(path);
                }
                Err(error) => report.skipped.push((path, super::worktree::why(&error))),
            }
        }
        for dir in found.empty_dirs {
            let all = std::iter::successors(Some(dir), RepoPath::parent);
            remove_empty(&work_tree, all, (staging, options), &mut report);
        }
        report.dirs.sort_unstable();
        Ok(report)
    }
}

/// Removes directories from the deepest up, as long as they are empty and nothing tracked is or
/// was in them.
fn remove_empty(
    work_tree: &WorkTree,
    dirs: impl Iterator<Item = RepoPath>,
    (staging, options): (&BinaryStagingArea, &CleanOptions),
    report: &mut CleanReport,
) {
    for dir in dirs {
        let is_tracked = staging.views_within(dir.as_bytes()).next().is_some();
        if dir.is_root() || is_tracked || options.keep_dir.is_within(&dir) {
            break;
        }
        match work_tree.stat(&dir) {
            Ok(Some((PathKind::Dir, _))) => {}
            // Removed with another one before.
            _ => continue,
        }
        if !matches!(work_tree.remove_dir(&dir), Ok(true)) {
            break;
        }
        report.dirs.push(dir);
    }
}

/// The rules that the patterns make.
fn excluding(patterns: &[u8]) -> Option<std::sync::Arc<IgnoreRules>> {
    let is_any = !patterns.is_empty();
    is_any.then(|| IgnoreRules::root(false).child(&RepoPath::root(), Some(patterns), None))
}
