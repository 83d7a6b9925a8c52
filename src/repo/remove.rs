//! `rm`: removes files from the staging area and from the work tree.

use std::os::fd::OwnedFd;

use super::beneath::{PathKind, stat_one};
use super::ignore::{IN_GIT, leads_into_git};
use super::operation::{Doomed, Held, Keeper, description};
use super::pathspec::Pathspec;
use super::scan::SeenBits;
use super::{RepoError, Repository, Result};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, Frame, KindView};

/// Files that are stored in one go before they are removed.
const KEPT_AT_ONCE: usize = 4096;

/// What is removed, and how.
#[derive(Debug, Clone, Default)]
pub struct RemoveOptions {
    /// Files and directories.
    pub paths: Pathspec,
    /// Directories with all that is staged below them.
    pub recursive: bool,
    /// From the staging area only.
    pub cached: bool,
    /// Also files whose content is nowhere else.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What was removed.
pub struct Removed {
    before: BinaryStagingArea,
    paths: Pathspec,
    /// What stays, by its number: a sparse work tree does not hold it.
    left_out: Option<SeenBits>,
    /// Files of the work tree that stay, because they were changed meanwhile, and why.
    pub skipped: Vec<(RepoPath, String)>,
}

impl Removed {
    /// The paths in path order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        let roots = self.paths.roots().into_iter();
        let views = roots.flat_map(|root| self.before.views_within(root.as_bytes()).numbered());
        let stays = |number| self.left_out.as_ref().is_some_and(|bits| bits.has(number));
        let meant = views.filter(move |(number, _)| !stays(*number));
        meant
            .map(|(_, view)| view)
            .filter(|view| self.paths.matches_staged(view))
            .map(|view| view.path)
    }

    /// Whether a staged path stays.
    fn leaves_out(&self, path: &RepoPath) -> bool {
        let mut views = self.before.views_within(path.as_bytes()).numbered();
        let stays = |number| self.left_out.as_ref().is_some_and(|bits| bits.has(number));
        views.any(|(number, view)| view.path == path.as_bytes() && stays(number))
    }

    /// Leaves out what the work tree does not hold because it is sparse.
    fn leave_out_unwanted(&mut self, repository: &Repository, root: &OwnedFd) -> Result<()> {
        let wanted = repository.wanted()?;
        if wanted.is_everything() {
            return Ok(());
        }
        let bits = SeenBits::new(self.before.slots());
        for within in self.paths.roots() {
            for (number, view) in self.before.views_within(within.as_bytes()).numbered() {
                if !self.paths.matches_staged(&view)
                    || !wanted.leaves_out(&self.paths, view.path, view.kind == KindView::EmptyDir)
                {
                    continue;
                }
                let Ok(path) = RepoPath::new(view.path) else { continue };
                let found = stat_one(root, &path).map_err(|source| RepoError::WorkTreeRead {
                    path: path.to_os().to_owned(),
                    source,
                })?;
                if found.is_none() {
                    bits.mark(number);
                }
            }
        }
        repository.tell_left_out(bits.count() as u64);
        self.left_out = Some(bits);
        Ok(())
    }
}

impl Repository {
    /// Removes what is named and returns the paths. Files that differ from what is staged, or
    /// whose staged content is not committed, are refused without `force`: their bytes may be
    /// nowhere else. With `force` they are stored first, so that an undo has them.
    pub fn remove(&self, options: &RemoveOptions) -> Result<Removed> {
        if options.dry_run {
            return self.removable(options, &self.staging()?, &self.work_tree_handle()?);
        }
        let mut op = self.begin(description("rm", options.paths.shown()))?;
        let root = self.work_tree_handle()?;
        let mut removed = self.removable(options, op.staged(), &root)?;
        if !options.cached && options.force {
            op.keep(self.keep_modified(&removed, &root)?)?;
        }
        let mut frame = Frame::default();
        removed.paths().for_each(|path| frame.remove(path));
        op.staging().apply_frame(frame)?;
        if !options.cached {
            op.moves_work_tree();
        }
        self.resolve_conflicts(&mut op, &options.paths, &|path| removed.leaves_out(path))?;
        op.checkpoint()?;
        if !options.cached {
            removed.skipped = self.remove_files(&removed, &root)?;
        }
        Ok(removed)
    }

    /// What the options name, checked.
    fn removable(
        &self,
        options: &RemoveOptions,
        staging: &BinaryStagingArea,
        root: &OwnedFd,
    ) -> Result<Removed> {
        let in_conflict = self.unresolved()?;
        options.paths.check_staged_or(staging, &in_conflict)?;
        if !options.recursive
            && let Some(directory) = options.paths.staged_directory(staging, &in_conflict)
        {
            return Err(RepoError::NeedsRecursive(directory));
        }
        let (before, paths) = (staging.snapshot(), options.paths.clone());
        let mut removed = Removed { before, paths, left_out: None, skipped: Vec::new() };
        removed.leave_out_unwanted(self, root)?;
        if !options.force && !options.cached {
            self.check_nothing_is_lost(&removed, root)?;
        }
        Ok(removed)
    }

    /// Stores the files that are not as they are staged: with `force`, they go all the same.
    fn keep_modified(&self, removed: &Removed, root: &OwnedFd) -> Result<Option<TreeId>> {
        let mut keeper = Keeper::new(self, root);
        let mut paths = removed.paths().filter_map(|path| RepoPath::new(path).ok());
        loop {
            let mut doomed = Vec::new();
            for path in paths.by_ref() {
                if self.is_modified_else_note(root, &removed.before, &path)? == Some(true) {
                    doomed.push(Doomed { path, held: Held::Unknown });
                }
                if doomed.len() >= KEPT_AT_ONCE {
                    break;
                }
            }
            if doomed.is_empty() {
                return keeper.finish();
            }
            let failed = keeper.keep(&doomed, &removed.before)?;
            if let Some((path, why)) = failed.into_iter().next() {
                return Err(RepoError::CannotKeep { path, why });
            }
        }
    }

    /// Refuses the removal of what is neither committed nor as it was staged.
    fn check_nothing_is_lost(&self, removed: &Removed, root: &OwnedFd) -> Result<()> {
        let uncommitted = self.staged_changes(&removed.before)?;
        let mut lost = Vec::new();
        for path in removed.paths().filter_map(|path| RepoPath::new(path).ok()) {
            let is_new = uncommitted.binary_search_by(|change| change.path.cmp(&path)).is_ok();
            if is_new || self.is_modified_else_note(root, &removed.before, &path)? == Some(true) {
                lost.push(format!("'{path}'"));
            }
        }
        if lost.is_empty() { Ok(()) } else { Err(RepoError::WouldLose { paths: lost }) }
    }

    /// Removes the files; answers which stay, and why.
    fn remove_files(&self, removed: &Removed, root: &OwnedFd) -> Result<Vec<(RepoPath, String)>> {
        let (work_tree, mut skipped) = (self.guarded()?, Vec::new());
        for path in removed.paths().filter_map(|path| RepoPath::new(path).ok()) {
            let stat = stat_one(root, &path).unwrap_or_default();
            if leads_into_git(path.as_bytes()) {
                skipped.extend(stat.map(|_| (path, IN_GIT.to_owned())));
                continue;
            }
            let is_staged_dir = || {
                let staged = removed.before.view(path.as_bytes());
                staged.is_some_and(|staged| staged.kind == KindView::EmptyDir)
            };
            let answer = match stat {
                Some((PathKind::File { .. } | PathKind::Symlink, _)) => {
                    work_tree.remove_file(&path).map(drop)
                }
                // One that is not empty stays.
                Some((PathKind::Dir, _)) if is_staged_dir() => {
                    work_tree.remove_dir(&path).map(drop)
                }
                _ => continue,
            };
            match answer {
                Err(error) if error.is_of_one_path() => skipped.push((path, error.to_string())),
                answer => {
                    answer?;
                    work_tree.remove_empty_dirs_up(&path)?;
                }
            }
        }
        Ok(skipped)
    }
}
