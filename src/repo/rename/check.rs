//! What would be moved where, and what forbids it.

use std::collections::HashSet;

use super::super::beneath::PathKind;
use super::super::ignore::leads_into_git;
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::{RenameError, RenameOptions, RenameReport};
use crate::path::RepoPath;
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::format::staging::FileStat;

/// One source and its new name.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) from: RepoPath,
    pub(super) to: RepoPath,
    /// Stat data of a file or link as it was before.
    pub(super) file: Option<FileStat>,
    /// Bytes lie at the new name that will be gone.
    pub(super) overwrites: bool,
    /// The new name is in use: by what is overwritten, or by the source itself in other letters.
    pub(super) replaces: bool,
}

/// What is moved, all of it checked, and what is left out.
#[derive(Debug, Default)]
pub(super) struct RenamePlan {
    pub(super) items: Vec<Item>,
    pub(super) skipped: Vec<(RepoPath, RenameError)>,
}

impl RenamePlan {
    pub(super) fn into_report(self) -> RenameReport {
        let moved = self.items.into_iter().map(|item| (item.from, item.to)).collect();
        RenameReport { moved, skipped: self.skipped }
    }
}

/// The path of something in or at `from` once that is `to`.
pub(super) fn renamed_path(path: &RepoPath, from: &RepoPath, to: &RepoPath) -> Result<RepoPath> {
    let below = &path.as_bytes()[from.as_bytes().len()..];
    Repository::check_path([to.as_bytes(), below].concat())
}

/// Whether two stat data are of one file that is reached under two spellings of its name.
fn is_other_spelling(from: &RepoPath, to: &RepoPath, a: &FileStat, b: &FileStat) -> bool {
    let lower = |path: &RepoPath| String::from_utf8_lossy(path.as_bytes()).to_lowercase();
    from != to && (a.ino, a.dev) == (b.ino, b.dev) && lower(from) == lower(to)
}

impl Repository {
    pub(super) fn plan_rename(
        &self,
        options: &RenameOptions,
        staging: &BinaryStagingArea,
        work_tree: &WorkTree,
    ) -> Result<RenamePlan> {
        let in_conflict = self.unresolved()?;
        let check = Check { options, staging, work_tree, own_dir: self.own_dir(), in_conflict };
        let goes_into = check.goes_into_directory()?;
        let mut plan = RenamePlan::default();
        let mut targets = HashSet::new();
        for from in &options.sources {
            let checked = check.item(from, goes_into).and_then(|item| {
                if !targets.insert(item.to.clone()) {
                    return Err(RenameError::SameTarget(item.to).into());
                }
                Ok(item)
            });
            match checked {
                Ok(item) => plan.items.push(item),
                Err(RepoError::Rename(why)) if options.skip_errors => {
                    plan.skipped.push((from.clone(), why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(plan)
    }
}

/// Looks at the sources of one command.
struct Check<'a> {
    options: &'a RenameOptions,
    staging: &'a BinaryStagingArea,
    work_tree: &'a WorkTree,
    /// The repository's own directory, where it lies in the work tree under another name.
    own_dir: Option<RepoPath>,
    /// What a merge left to be resolved.
    in_conflict: Vec<RepoPath>,
}

impl Check<'_> {
    /// Whether the sources keep their names and go into the target.
    fn goes_into_directory(&self) -> Result<bool> {
        let target = &self.options.target;
        let found = self.work_tree.stat(target)?;
        let is_dir = target.is_root() || matches!(found, Some((PathKind::Dir, _)));
        let needs_dir = self.options.into_dir || self.options.sources.len() > 1;
        if needs_dir && !is_dir && !self.is_directory_renamed() {
            return Err(RenameError::NoDirectory(target.clone()).into());
        }
        if !is_dir || self.options.sources.len() > 1 {
            return Ok(is_dir);
        }
        // The directory itself, in other letters, on a file system that does not tell them apart.
        let source = &self.options.sources[0];
        let is_itself = match (self.work_tree.stat(source)?, found) {
            (Some((PathKind::Dir, a)), Some((_, b))) => is_other_spelling(source, target, &a, &b),
            _ => false,
        };
        Ok(!is_itself)
    }

    /// `mv dir new/`: the slash is no more than a habit.
    fn is_directory_renamed(&self) -> bool {
        let [source] = self.options.sources.as_slice() else { return false };
        matches!(self.work_tree.stat(source), Ok(Some((PathKind::Dir, _))))
    }

    fn item(&self, from: &RepoPath, goes_into: bool) -> Result<Item> {
        let found = self.work_tree.stat(from)?;
        let is_dir = matches!(found, Some((PathKind::Dir, _)));
        let is_tracked = if is_dir {
            self.staging.views_within(from.as_bytes()).next().is_some()
        } else {
            self.staging.view(from.as_bytes()).is_some()
        };
        let Some((_, stat)) = found else {
            if self.staging.views_within(from.as_bytes()).next().is_some() {
                return Err(RenameError::Gone(from.clone()).into());
            }
            return Err(super::super::add::path_not_found(from, "the work tree", self.staging));
        };
        if from.is_root() || self.touches_repository(from) {
            return Err(RenameError::Repository(from.clone()).into());
        }
        if !is_tracked {
            return Err(RenameError::NotTracked(from.clone()).into());
        }
        self.check_overlap(from)?;
        let to = if goes_into {
            let bad = |source| RepoError::BadPath { path: from.as_bytes().to_vec(), source };
            self.options.target.join(from.name()).map_err(bad)?
        } else {
            self.options.target.clone()
        };
        if to.is_within(from) {
            return Err(RenameError::IntoItself(from.clone()).into());
        }
        self.check_names(from, &to)?;
        let is_meant = |path: &&RepoPath| path.is_within(from) || path.is_within(&to);
        if let Some(path) = self.in_conflict.iter().find(is_meant) {
            return Err(RenameError::InConflict(path.clone()).into());
        }
        let (overwrites, replaces) = self.look_at_target((from, &stat), &to, is_dir)?;
        let file = (!is_dir).then_some(stat);
        Ok(Item { from: from.clone(), to, file, overwrites, replaces })
    }

    fn touches_repository(&self, path: &RepoPath) -> bool {
        self.own_dir.as_ref().is_some_and(|own| own.is_within(path) || path.is_within(own))
    }

    fn check_overlap(&self, inner: &RepoPath) -> Result<()> {
        let mut sources = self.options.sources.iter();
        match sources.find(|outer| inner != *outer && inner.is_within(outer)) {
            Some(outer) => {
                Err(RenameError::Overlap { inner: inner.clone(), outer: outer.clone() }.into())
            }
            None => Ok(()),
        }
    }

    /// Every path has to be storable under its new name, before anything is moved.
    fn check_names(&self, from: &RepoPath, to: &RepoPath) -> Result<()> {
        if self.touches_repository(to) {
            return Err(RenameError::Repository(to.clone()).into());
        }
        if leads_into_git(to.as_bytes()) {
            return Err(RenameError::InGit(to.clone()).into());
        }
        for view in self.staging.views_within(from.as_bytes()) {
            let path = RepoPath::new(view.path)
                .map_err(|source| RepoError::BadPath { path: view.path.to_vec(), source })?;
            renamed_path(&path, from, to)?;
        }
        Ok(())
    }

    /// Whether the move overwrites something, and whether it has to replace a name.
    fn look_at_target(
        &self,
        (from, stat): (&RepoPath, &FileStat),
        to: &RepoPath,
        is_dir: bool,
    ) -> Result<(bool, bool)> {
        let parent = to.parent().unwrap_or_default();
        if !matches!(self.work_tree.stat(&parent)?, Some((PathKind::Dir, _))) {
            return Err(RenameError::NoDirectory(parent).into());
        }
        match self.work_tree.stat(to)? {
            None => Ok((false, false)),
            Some((_, other)) if is_other_spelling(from, to, stat, &other) => Ok((false, true)),
            Some((PathKind::File { .. } | PathKind::Symlink, _))
                if self.options.force && !is_dir =>
            {
                Ok((true, true))
            }
            Some(_) => Err(RenameError::Exists(to.clone()).into()),
        }
    }
}
