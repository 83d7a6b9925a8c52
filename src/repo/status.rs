//! `status`: what is staged, and how the work tree differs from it.
//!
//! No content is read but of files whose times changed and whose size did not, and of racy ones.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::beneath::{PathKind, read_link, stat_one};
use super::content::content_of;
use super::diff::Move;
use super::diff_trees::{Change, ChangeKind};
use super::pathspec::Pathspec;
use super::scan::missed::Missed;
use super::scan::{Hidden, Scan, is_unchanged};
use super::walk::{DirListing, IgnoredEntries, SkipReason, WalkEntry, WalkKind};
use super::{RepoError, Repository, Result};
use crate::path::{RepoPath, compare};
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedView};
use crate::storage::chunker::Chunker;
use crate::storage::format::merge_state::{Conflict, MergeState};
use crate::storage::format::refs::Head;
use crate::storage::format::staging::FileStat;

/// Which untracked files are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Untracked {
    /// None.
    No,
    /// Of a directory that holds nothing staged only the directory.
    #[default]
    Normal,
    /// Each file.
    All,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct StatusOptions<'a> {
    /// Which paths are meant.
    pub pathspec: &'a Pathspec,
    /// Which untracked files are told.
    pub untracked: Untracked,
    /// Which ignored files are told.
    pub ignored: IgnoredEntries,
    /// Whether moved files are found.
    pub renames: bool,
}

/// The state of staging area and work tree.
#[derive(Debug)]
pub struct StatusReport {
    /// What `HEAD` names.
    pub head: Head,
    /// Whether there is a commit.
    pub has_commit: bool,
    /// Last commit against staging area.
    pub staged: Vec<Change>,
    /// Of these, the added files that come from a deleted one.
    pub moves: Vec<Move>,
    /// Staging area against work tree.
    pub unstaged: Vec<Change>,
    /// Neither staged nor ignored; a directory that holds nothing staged ends in `/`.
    pub untracked: Vec<Vec<u8>>,
    /// Ignored and not staged; an ignored directory ends in `/`.
    pub ignored: Vec<Vec<u8>>,
    /// The merge, cherry-pick or revert that waits, with its conflicts.
    pub merging: Option<MergeState>,
    /// How much of it the work tree holds, where it is sparse.
    pub sparse: Option<SparseStatus>,
    /// What could not be looked at.
    pub skipped: Vec<(RepoPath, String)>,
}

/// How much of what is staged a sparse work tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseStatus {
    /// Staged paths.
    pub tracked: u64,
    /// Of these, those that lie in the work tree; unknown where only some were looked at.
    pub present: Option<u64>,
    /// A change of what it is to hold was begun and did not end.
    pub is_unfinished: bool,
}

impl StatusReport {
    /// Conflicts that are not resolved yet, in path order.
    pub fn unmerged(&self) -> impl Iterator<Item = &Conflict> {
        self.merging.iter().flat_map(MergeState::open)
    }
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    /// Equal size, other times: the content decides.
    doubtful: Vec<RepoPath>,
    untracked: Vec<Vec<u8>>,
    ignored: Vec<Vec<u8>>,
    skipped: Vec<(RepoPath, SkipReason)>,
}

struct Looker<'a> {
    scan: Scan<'a>,
    untracked: Untracked,
    /// What waits to be resolved, in path order: tracked, though nothing may be staged there.
    open: Vec<RepoPath>,
    found: Mutex<Found>,
}

impl Repository {
    /// Compares last commit, staging area and work tree.
    pub fn status(&self) -> Result<StatusReport> {
        self.status_of(&Pathspec::all())
    }

    /// The same, for the paths that match.
    pub fn status_of(&self, pathspec: &Pathspec) -> Result<StatusReport> {
        let (untracked, ignored) = (Untracked::Normal, IgnoredEntries::Hide);
        self.status_with(&StatusOptions { pathspec, untracked, ignored, renames: false })
    }

    /// The same, as the options say.
    pub fn status_with(&self, options: &StatusOptions<'_>) -> Result<StatusReport> {
        let pathspec = options.pathspec;
        if self.is_past() {
            return Err(RepoError::Past);
        }
        let staging = self.staging()?;
        let root = self.work_tree_handle()?;
        let mut scan = Scan::new(self, &root, &staging, pathspec)?;
        scan.ignored = options.ignored;
        let merging = self.merge_state()?;
        let open =
            merging.iter().flat_map(MergeState::open).map(|open| open.path.clone()).collect();
        let looker = Looker { scan, untracked: options.untracked, open, found: Mutex::default() };
        let _ = looker.scan.walk(false, |listing| {
            looker.visit(listing);
            ControlFlow::Continue(())
        })?;
        let Looker { scan, found, .. } = looker;
        let Found { mut changes, mut doubtful, mut untracked, mut ignored, skipped } =
            found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut hidden = Hidden::default();
        skipped.iter().for_each(|(path, reason)| hidden.note(path, reason));
        let mut missed = Missed::new(&root);
        for path in scan.gone(&hidden).filter_map(|view| RepoPath::new(view.path).ok()) {
            if missed.is_there(&path) {
                doubtful.push(path);
            } else {
                changes.push(Change { path, kind: ChangeKind::Deleted });
            }
        }
        changes.extend(self.look_closer(&root, &staging, &doubtful));
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        untracked.sort_unstable();
        untracked.dedup();
        if options.ignored != IgnoredEntries::Hide {
            ignored.extend(named_ignored(&root, &skipped));
            if let Some(own) = self.own_dir() {
                ignored.retain(|path| path.strip_suffix(b"/") != Some(own.as_bytes()));
            }
        }
        ignored.sort_unstable();
        ignored.dedup();
        let sparse = scan.sparse_status();
        let head = self.refs().read_head()?;
        let mut staged = self.staged_changes(&staging)?;
        // Where an empty directory changed, it may be meant by a trailing slash.
        staged.retain(|change| pathspec.matches(change.path.as_bytes(), true));
        let moves = if options.renames { self.staged_moves(&staged)? } else { Vec::new() };
        staging.check()?;
        Ok(StatusReport {
            moves,
            has_commit: self.refs().head_commit()?.is_some(),
            head,
            staged,
            unstaged: changes,
            merging,
            sparse,
            untracked,
            ignored,
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
        Ok(self.compared(root, staging, path)?.map(|(is_modified, _)| is_modified))
    }

    /// As [`Self::is_modified`]. What is as it is staged is noted as stored: it may be replaced.
    pub(super) fn is_modified_else_note(
        &self,
        root: &OwnedFd,
        staging: &BinaryStagingArea,
        path: &RepoPath,
    ) -> Result<Option<bool>> {
        let compared = self.compared(root, staging, path)?;
        if let Some((false, stat)) = &compared {
            self.note_stored(path, stat);
        }
        Ok(compared.map(|(is_modified, _)| is_modified))
    }

    /// The same, with the stat that the file had before it was read.
    pub(super) fn compared(
        &self,
        root: &OwnedFd,
        staging: &BinaryStagingArea,
        path: &RepoPath,
    ) -> Result<Option<(bool, FileStat)>> {
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        let Some((kind, stat)) = stat_one(root, path).map_err(read)? else { return Ok(None) };
        let differs = self.differs(root, (staging, path), (kind, &stat)).map_err(read)?;
        Ok(Some((differs, stat)))
    }

    /// Whether what lies at a path is something else than is staged.
    fn differs(
        &self,
        root: &OwnedFd,
        (staging, path): (&BinaryStagingArea, &RepoPath),
        (kind, stat): (PathKind, &FileStat),
    ) -> io::Result<bool> {
        let Some(staged) = staging.view(path.as_bytes()) else { return Ok(true) };
        let walk_kind = match kind {
            PathKind::File { executable } => WalkKind::File { executable },
            PathKind::Symlink => WalkKind::Symlink,
            PathKind::Dir => return Ok(staged.kind != KindView::EmptyDir),
            PathKind::Other => return Ok(true),
        };
        if is_unchanged(&staged, walk_kind, stat) {
            return Ok(false);
        }
        match (staged.kind, walk_kind) {
            (KindView::File { executable, content }, WalkKind::File { executable: now })
                if executable == now =>
            {
                let chunker = Chunker::new(self.format().chunker);
                Ok(content_of(root, path, &chunker)? != content)
            }
            (KindView::Symlink { target }, WalkKind::Symlink) => {
                Ok(read_link(root, path)? != target)
            }
            _ => Ok(true),
        }
    }
}

impl Looker<'_> {
    fn visit(&self, listing: DirListing) {
        let (dir, mut found) = (&listing.dir, Found::default());
        if !listing.has_children && !listing.more && !dir.is_root() {
            self.visit_empty(dir, listing.is_ignored, &mut found);
        }
        self.scan.differences(&listing, |path, entry, staged| match staged {
            None if self.is_open(path) => {}
            None => found.untracked.push(path.to_vec()),
            Some(staged) => classify(path, entry, staged, &mut found),
        });
        if self.untracked == Untracked::No {
            found.untracked.clear();
        }
        let is_told_as_one = self.untracked == Untracked::Normal && !found.untracked.is_empty();
        if is_told_as_one && self.is_untracked(dir) {
            found.untracked = vec![self.untracked_top(dir)];
        }
        found.ignored = listing.ignored;
        let pathspec = self.scan.pathspec;
        found.ignored.retain(|path| match path.strip_suffix(b"/") {
            Some(dir) => pathspec.matches(dir, true) || self.is_named_below(dir),
            None => pathspec.matches(path, false),
        });
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.changes.append(&mut found.changes);
        all.doubtful.append(&mut found.doubtful);
        all.untracked.append(&mut found.untracked);
        all.ignored.append(&mut found.ignored);
        all.skipped.extend(listing.skipped);
    }

    fn is_open(&self, path: &[u8]) -> bool {
        self.open.binary_search_by(|other| compare(other.as_bytes(), path)).is_ok()
    }

    /// Whether the pathspec names something in a directory, which stands for it as in git.
    fn is_named_below(&self, dir: &[u8]) -> bool {
        let dir = RepoPath::new_unchecked(dir.to_vec());
        self.scan.pathspec.roots().iter().any(|root| root.is_within(&dir))
    }

    /// Whether a directory stands for all that lies in it: it holds nothing staged, and the
    /// pathspec matches all of it.
    fn is_untracked(&self, dir: &RepoPath) -> bool {
        let path = dir.as_bytes();
        !dir.is_root() && !self.scan.holds(path) && self.scan.pathspec.covers(path)
    }

    /// The outermost directory around `dir` that is untracked, with a slash behind it.
    fn untracked_top(&self, dir: &RepoPath) -> Vec<u8> {
        let mut top = dir.clone();
        while let Some(above) = top.parent().filter(|above| self.is_untracked(above)) {
            top = above;
        }
        let mut bytes = top.as_bytes().to_vec();
        bytes.push(b'/');
        bytes
    }

    fn visit_empty(&self, dir: &RepoPath, is_ignored: bool, found: &mut Found) {
        if !self.scan.pathspec.matches(dir.as_bytes(), true) {
            return;
        }
        self.scan.mark(dir.as_bytes());
        match self.scan.staging.view(dir.as_bytes()) {
            Some(staged) if staged.kind == KindView::EmptyDir => {}
            Some(_) => {
                found.changes.push(Change { path: dir.clone(), kind: ChangeKind::TypeChanged });
            }
            // An emptied directory shows as the files that are gone from it.
            None if is_ignored || self.scan.holds(dir.as_bytes()) => {}
            None => found.untracked.push(self.untracked_top(dir)),
        }
    }
}

/// What the user named and ignore rules hide: the walk does not begin there.
fn named_ignored(root: &OwnedFd, skipped: &[(RepoPath, SkipReason)]) -> Vec<Vec<u8>> {
    let mut named = Vec::new();
    for (path, _) in skipped.iter().filter(|(_, reason)| *reason == SkipReason::Ignored) {
        let mut bytes = path.as_bytes().to_vec();
        match stat_one(root, path) {
            Ok(Some((PathKind::Dir, _))) => bytes.push(b'/'),
            Ok(Some((PathKind::File { .. } | PathKind::Symlink, _))) => {}
            _ => continue,
        }
        named.push(bytes);
    }
    named
}

/// How an entry of the work tree differs from what is staged, as far as stat data tell.
fn classify(path: &[u8], entry: &WalkEntry, staged: &StagedView<'_>, found: &mut Found) {
    // The walk has checked the path.
    let path = RepoPath::new_unchecked(path.to_vec());
    let kind = match (staged.kind, entry.kind) {
        (KindView::File { executable, .. }, WalkKind::File { executable: now }) => {
            if executable == now && staged.stat.size == entry.stat.size {
                return found.doubtful.push(path);
            }
            ChangeKind::Modified
        }
        (KindView::Symlink { .. }, WalkKind::Symlink) => return found.doubtful.push(path),
        _ => ChangeKind::TypeChanged,
    };
    found.changes.push(Change { path, kind });
}
