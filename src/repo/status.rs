//! `status`: what is staged, and how the work tree differs from it.
//!
//! No content is read but of files whose times changed and whose size did not, and of racy ones.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::add::{SeenBits, is_unchanged};
use super::beneath::{PathKind, read_link, stat_one};
use super::content::content_of;
use super::diff_trees::{Change, ChangeKind};
use super::walk::{DirListing, SkipReason, WalkEntry, WalkKind, WalkOptions, walk};
use super::{RepoError, Repository, Result};
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, KindView};
use crate::storage::chunker::Chunker;
use crate::storage::format::refs::Head;

/// The state of staging area and work tree.
#[derive(Debug)]
pub struct StatusReport {
    /// What `HEAD` names.
    pub head: Head,
    /// Whether there is a commit.
    pub has_commit: bool,
    /// Last commit against staging area.
    pub staged: Vec<Change>,
    /// Staging area against work tree.
    pub unstaged: Vec<Change>,
    /// Neither staged nor ignored; a directory that holds nothing staged ends in `/`.
    pub untracked: Vec<Vec<u8>>,
    /// What could not be looked at.
    pub skipped: Vec<(RepoPath, String)>,
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    /// Equal size, other times: the content decides.
    doubtful: Vec<RepoPath>,
    untracked: BTreeSet<Vec<u8>>,
    skipped: Vec<(RepoPath, SkipReason)>,
}

struct Looker<'a> {
    staging: &'a BinaryStagingArea,
    seen: SeenBits,
    found: Mutex<Found>,
    /// The repository's own directory, where it lies in the work tree.
    own_dir: Option<RepoPath>,
}

impl Repository {
    /// Compares last commit, staging area and work tree.
    pub fn status(&self) -> Result<StatusReport> {
        let staging = self.staging()?;
        let root = self.work_tree_handle()?;
        let looker = Looker {
            staging: &staging,
            seen: SeenBits::new(staging.slots()),
            found: Mutex::default(),
            own_dir: self.own_dir(),
        };
        looker.walk(self, &root)?;
        let gone = looker.gone();
        let Found { mut changes, doubtful, untracked, skipped } =
            looker.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hidden: BTreeSet<&RepoPath> =
            skipped.iter().filter(|skip| skip.1.hides()).map(|skip| &skip.0).collect();
        changes.extend(gone.into_iter().filter(|change| !is_below(&change.path, &hidden)));
        changes.extend(self.look_closer(&root, &staging, &doubtful));
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let head = self.refs().read_head()?;
        let staged = self.staged_changes(&staging)?;
        staging.check()?;
        Ok(StatusReport {
            has_commit: self.refs().head_commit()?.is_some(),
            head,
            staged,
            unstaged: changes,
            untracked: untracked.into_iter().collect(),
            // What cannot be stored at all, such as a FIFO, is `add`'s to tell.
            skipped: skipped
                .into_iter()
                .filter(|(_, reason)| matches!(reason, SkipReason::Unreadable(..)))
                .filter_map(|(path, reason)| Some((path, reason.message()?)))
                .collect(),
        })
    }

    /// Reads the files that stat data cannot tell apart.
    fn look_closer(
        &self,
        root: &OwnedFd,
        staging: &BinaryStagingArea,
        doubtful: &[RepoPath],
    ) -> Vec<Change> {
        let chunker = Chunker::new(self.format().chunker);
        let differs = |path: &&RepoPath| {
            let Some(staged) = staging.view(path.as_bytes()) else { return false };
            match staged.kind {
                KindView::File { content, .. } => {
                    content_of(root, path, &chunker).ok() != Some(content)
                }
                KindView::Symlink { target } => {
                    read_link(root, path).ok().as_deref() != Some(target)
                }
                KindView::EmptyDir => false,
            }
        };
        let changed = doubtful.par_iter().filter(differs);
        changed.map(|path| Change { path: path.clone(), kind: ChangeKind::Modified }).collect()
    }

    /// Whether a file of the work tree holds something else than what is staged; `None` when it is
    /// not there.
    pub(super) fn is_modified(
        &self,
        root: &OwnedFd,
        staging: &BinaryStagingArea,
        path: &RepoPath,
    ) -> Result<Option<bool>> {
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        let Some((kind, stat)) = stat_one(root, path).map_err(read)? else { return Ok(None) };
        let Some(staged) = staging.view(path.as_bytes()) else { return Ok(Some(true)) };
        let walk_kind = match kind {
            PathKind::File { executable } => WalkKind::File { executable },
            PathKind::Symlink => WalkKind::Symlink,
            PathKind::Dir => return Ok(Some(staged.kind != KindView::EmptyDir)),
            PathKind::Other => return Ok(Some(true)),
        };
        if is_unchanged(&staged, walk_kind, &stat) {
            return Ok(Some(false));
        }
        match (staged.kind, walk_kind) {
            (KindView::File { executable, content }, WalkKind::File { executable: now })
                if executable == now =>
            {
                let chunker = Chunker::new(self.format().chunker);
                Ok(Some(content_of(root, path, &chunker).map_err(read)? != content))
            }
            (KindView::Symlink { target }, WalkKind::Symlink) => {
                Ok(Some(read_link(root, path).map_err(read)? != target))
            }
            _ => Ok(Some(true)),
        }
    }
}

fn is_below(path: &RepoPath, dirs: &BTreeSet<&RepoPath>) -> bool {
    !dirs.is_empty() && dirs.iter().any(|dir| path.is_within(dir))
}

impl Looker<'_> {
    fn walk(&self, repository: &Repository, root: &OwnedFd) -> Result<()> {
        let is_tracked = |path: &[u8], is_dir: bool| {
            if is_dir {
                self.staging.views_within(path).next().is_some()
            } else {
                self.staging.view(path).is_some()
            }
        };
        let options = WalkOptions {
            threads: repository.threads(),
            use_gitignore: repository.config().ignore.use_gitignore,
            roots: Vec::new(),
            include_ignored: false,
            is_tracked: &is_tracked,
        };
        let walked = walk(root, &options, |listing| {
            self.visit(listing);
            if repository.cancel_token().is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let path = || repository.place().work_tree.clone();
        match walked.map_err(|source| RepoError::WorkTreeRead { path: path(), source })? {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RepoError::Interrupted),
        }
    }

    fn visit(&self, listing: DirListing) {
        if self.own_dir.as_ref().is_some_and(|own| listing.dir.is_within(own)) {
            return;
        }
        let mut found = Found::default();
        let dir_is_new = !listing.dir.is_root()
            && self.staging.views_within(listing.dir.as_bytes()).next().is_none();
        if !listing.has_children && !listing.more && !listing.dir.is_root() {
            self.visit_empty(&listing.dir, &mut found);
        } else if dir_is_new {
            if !listing.entries.is_empty() {
                found.untracked.insert(self.untracked_top(&listing.dir));
            }
        } else {
            for entry in &listing.entries {
                self.visit_entry(&listing.dir, entry, &mut found);
            }
        }
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.changes.extend(found.changes);
        all.doubtful.extend(found.doubtful);
        all.untracked.extend(found.untracked);
        all.skipped.extend(listing.skipped);
    }

    /// The outermost directory around `dir` that holds nothing staged, with a slash behind it.
    fn untracked_top(&self, dir: &RepoPath) -> Vec<u8> {
        let mut top = dir.clone();
        while let Some(above) = top.parent().filter(|above| !above.is_root()) {
            if self.staging.views_within(above.as_bytes()).next().is_some() {
                break;
            }
            top = above;
        }
        let mut bytes = top.as_bytes().to_vec();
        bytes.push(b'/');
        bytes
    }

    fn mark(&self, path: &RepoPath) {
        if let Some(slot) = self.staging.ordinal(path.as_bytes()) {
            self.seen.mark(slot);
        }
    }

    fn visit_empty(&self, dir: &RepoPath, found: &mut Found) {
        match self.staging.view(dir.as_bytes()) {
            Some(staged) if staged.kind == KindView::EmptyDir => self.mark(dir),
            Some(_) => {
                self.mark(dir);
                found.changes.push(Change { path: dir.clone(), kind: ChangeKind::TypeChanged });
            }
            // An emptied directory shows as the files that are gone from it.
            None if self.staging.views_within(dir.as_bytes()).next().is_some() => {}
            None => {
                found.untracked.insert(self.untracked_top(dir));
            }
        }
    }

    fn visit_entry(&self, dir: &RepoPath, entry: &WalkEntry, found: &mut Found) {
        let Ok(path) = dir.join(&entry.name) else { return };
        let Some(staged) = self.staging.view(path.as_bytes()) else {
            found.untracked.insert(path.as_bytes().to_vec());
            return;
        };
        self.mark(&path);
        if is_unchanged(&staged, entry.kind, &entry.stat) {
            return;
        }
        let kind = match (staged.kind, entry.kind) {
            (KindView::File { executable, .. }, WalkKind::File { executable: now }) => {
                if executable == now && staged.stat.size == entry.stat.size {
                    found.doubtful.push(path);
                    return;
                }
                ChangeKind::Modified
            }
            (KindView::Symlink { .. }, WalkKind::Symlink) => {
                found.doubtful.push(path);
                return;
            }
            _ => ChangeKind::TypeChanged,
        };
        found.changes.push(Change { path, kind });
    }

    /// Staged paths that the walk did not meet.
    fn gone(&self) -> Vec<Change> {
        let unseen = self.staging.views().filter(|view| {
            let slot = self.staging.ordinal(view.path);
            slot.is_some_and(|slot| !self.seen.has(slot))
        });
        let paths = unseen.filter_map(|view| RepoPath::new(view.path).ok());
        paths.map(|path| Change { path, kind: ChangeKind::Deleted }).collect()
    }
}
