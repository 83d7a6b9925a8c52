//! Which paths of the work tree `clean` is about.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use super::super::beneath::stat_one;
use super::super::ignore::IgnoreRules;
use super::super::scan::Scan;
use super::super::walk::{DirListing, SkipReason};
use super::super::{Repository, Result};
use super::{CleanOptions, IgnoredFiles, excluding};
use crate::path::RepoPath;
use crate::storage::binary_staging::BinaryStagingArea;

/// What is not tracked, in path order.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files and links.
    pub(super) files: Vec<RepoPath>,
    /// Directories that hold nothing.
    pub(super) empty_dirs: Vec<RepoPath>,
    /// Directories that hold a repository of their own.
    pub(super) repositories: Vec<RepoPath>,
    /// What stays, and why.
    pub(super) skipped: Vec<(RepoPath, String)>,
}

impl Repository {
    pub(super) fn find_untracked(
        &self,
        options: &CleanOptions,
        staging: &BinaryStagingArea,
    ) -> Result<Found> {
        let root = self.work_tree_handle()?;
        let walk = |with_ignored| self.walk_untracked(options, staging, &root, with_ignored);
        let mut found = walk(options.ignored != IgnoredFiles::Stay)?;
        let excludes = excluding(&options.excludes);
        let is_excluded =
            |path: &RepoPath| excludes.as_ref().is_some_and(|rules| is_ignored(rules, path));
        if options.ignored == IgnoredFiles::GoAlone {
            let plain = walk(false)?.files;
            let is_plain = |path: &RepoPath| plain.binary_search(path).is_ok();
            found.files.retain(|path| !is_plain(path) || is_excluded(path));
            found.empty_dirs.clear();
        } else {
            found.files.retain(|path| !is_excluded(path));
            found.empty_dirs.retain(|path| !is_excluded(path));
        }
        leave_repositories(&mut found, &root);
        // What waits to be resolved is tracked, though nothing is staged there.
        let open = self.unresolved()?;
        found.files.retain(|path| open.binary_search(path).is_err());
        staging.check()?;
        Ok(found)
    }

    fn walk_untracked(
        &self,
        options: &CleanOptions,
        staging: &BinaryStagingArea,
        root: &OwnedFd,
        with_ignored: bool,
    ) -> Result<Found> {
        let scan = Scan::new(self, root, staging, &options.paths)?;
        let found = Mutex::new(Found::default());
        let _ = scan.walk(with_ignored, |listing| {
            let some = self.untracked_in(&scan, &listing, options);
            let mut all = found.lock().unwrap_or_else(PoisonError::into_inner);
            all.files.extend(some.files);
            all.empty_dirs.extend(some.empty_dirs);
            all.repositories.extend(some.repositories);
            all.skipped.extend(some.skipped);
            ControlFlow::Continue(())
        })?;
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.files.sort_unstable();
        found.empty_dirs.sort_unstable();
        found.skipped.sort_unstable();
        Ok(found)
    }

    fn untracked_in(&self, scan: &Scan<'_>, listing: &DirListing, options: &CleanOptions) -> Found {
        let (dir, mut found) = (&listing.dir, Found::default());
        let holds_tracked = dir.is_root() || scan.holds(dir.as_bytes());
        for (path, reason) in &listing.skipped {
            match (reason, reason.message()) {
                (SkipReason::NestedRepository, _) => found.repositories.push(path.clone()),
                (SkipReason::Unreadable(..), Some(why)) => found.skipped.push((path.clone(), why)),
                _ => {}
            }
        }
        if !holds_tracked && !options.directories {
            return found;
        }
        scan.differences(listing, |path, _, staged| {
            if staged.is_none() && options.paths.matches(path, false) {
                // The walk has checked the path.
                found.files.push(RepoPath::new_unchecked(path.to_vec()));
            }
        });
        let seems_empty = !listing.has_children && !listing.more && !holds_tracked;
        if seems_empty && options.paths.matches(dir.as_bytes(), true) && self.is_empty_dir(dir) {
            found.empty_dirs.push(dir.clone());
        }
        found
    }

    /// Whether a directory holds nothing, not even what is ignored.
    fn is_empty_dir(&self, dir: &RepoPath) -> bool {
        let entries = std::fs::read_dir(self.place().work_tree.join(dir.to_os()));
        entries.is_ok_and(|mut entries| entries.next().is_none())
    }
}

/// Whether a path or a directory above it is ignored.
fn is_ignored(rules: &IgnoreRules, path: &RepoPath) -> bool {
    let mut above = std::iter::successors(path.parent(), RepoPath::parent);
    rules.is_ignored(path, false) || above.any(|dir| !dir.is_root() && rules.is_ignored(&dir, true))
}

/// Takes out what lies in a repository of git's. Those of our own the walk does not enter.
fn leave_repositories(found: &mut Found, root: &OwnedFd) {
    let mut known = HashMap::new();
    let mut is_inside = |dir: Option<RepoPath>| in_repository(dir, root, &mut known);
    found.files.retain(|path| !is_inside(path.parent()));
    found.empty_dirs.retain(|dir| !is_inside(Some(dir.clone())));
    let outermost = known.into_iter().filter(|(_, answer)| *answer == Some(true));
    found.repositories.extend(outermost.map(|(dir, _)| dir));
    found.repositories.sort_unstable();
}

/// Whether a directory is a repository of git's or lies in one; the work tree's own root does not
/// count. Remembers `Some(true)` for the repository itself, `Some(false)` below it.
fn in_repository(
    dir: Option<RepoPath>,
    root: &OwnedFd,
    known: &mut HashMap<RepoPath, Option<bool>>,
) -> bool {
    let Some(dir) = dir.filter(|dir| !dir.is_root()) else { return false };
    if let Some(answer) = known.get(&dir) {
        return answer.is_some();
    }
    let answer = if in_repository(dir.parent(), root, known) {
        Some(false)
    } else {
        let git = dir.join(b".git").ok();
        let is_there = git.is_some_and(|git| !matches!(stat_one(root, &git), Ok(None)));
        is_there.then_some(true)
    };
    known.insert(dir, answer);
    answer.is_some()
}
