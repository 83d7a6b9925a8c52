//! What a move does with one path, from what base, target, staging area and work tree hold there.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use super::super::beneath::{PathKind, first_non_directory, read_link, stat_one};
use super::super::content::content_of;
use super::super::diff_trees::as_staged;
use super::super::ignore::leads_into_git;
use super::super::sparse::Wanted;
use super::super::trees::{TreeChange, find};
use super::super::{RepoError, Repository, Result};
use super::{Move, Overwrite, Reach};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedKind};
use crate::storage::chunker::Chunker;
use crate::storage::format::staging::FileStat;

/// Why a path cannot be moved without losing something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The work tree holds other bytes than are staged.
    Modified,
    /// Something else is staged than base or target have.
    Staged,
    /// Something lies there that is not tracked.
    Untracked,
    /// A directory lies there that holds something that is not tracked.
    Directory,
    /// A conflict there is not resolved.
    Conflict,
    /// What lies there is neither a file, nor a link, nor a directory.
    Special,
}

impl Obstacle {
    /// Whether it can be stored, and then be overwritten.
    pub fn can_be_stored(self) -> bool {
        !matches!(self, Self::Directory | Self::Special)
    }

    /// Whether bytes of the work tree are in the way. What is staged is stored.
    pub(super) fn has_bytes(self) -> bool {
        matches!(self, Self::Modified | Self::Untracked)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modified => "changed in the work tree",
            Self::Staged => "changed and staged",
            Self::Untracked => "not tracked",
            Self::Directory => "a directory with files that are not tracked",
            Self::Conflict => "in conflict",
            Self::Special => "neither a file nor a directory",
        })
    }
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// The work tree is as it should be: the staging area is told.
    Note,
    /// It is removed.
    Remove,
    /// It is written.
    Write,
}

/// A path and what is done with it.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) verdict: Verdict,
    /// What must not be lost, and where: at the path, or at a directory above it.
    pub(super) obstacle: Option<(RepoPath, Obstacle)>,
    /// What the target has there, and the bytes of a file.
    pub(super) target: Option<(StagedKind, u64)>,
    /// Whether a file or link was there as the target has it, and not as it is staged.
    pub(super) is_taken_over: bool,
    /// Whether the target has there what would be written, were it not in a repository of git's.
    pub(super) is_left_out: bool,
    /// The stat of a file or link there that is as it is staged or as the target has it: its bytes
    /// are stored.
    pub(super) stored: Option<FileStat>,
}

/// What the work tree holds at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Absent,
    AsStaged,
    AsTarget,
    Dir,
    Special,
    Other,
}

/// Looks at the paths of a move.
pub(super) struct Look<'a> {
    repository: &'a Repository,
    root: &'a OwnedFd,
    staging: &'a BinaryStagingArea,
    moving: &'a Move<'a>,
    chunker: Chunker,
    /// What the work tree is to hold.
    wanted: Wanted,
    /// The directory looked at last, and what blocks the way to it.
    way: RefCell<Option<(RepoPath, Option<RepoPath>)>>,
}

type Entry = (StagedKind, u64);

impl<'a> Look<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        root: &'a OwnedFd,
        staging: &'a BinaryStagingArea,
        moving: &'a Move<'a>,
    ) -> Result<Self> {
        let chunker = Chunker::new(repository.format().chunker);
        let wanted = match moving.reach {
            Reach::Wanted => repository.wanted()?,
            Reach::Nothing | Reach::Everything => Wanted::default(),
        };
        let way = RefCell::default();
        Ok(Self { repository, root, staging, moving, chunker, wanted, way })
    }

    /// Decides about one path.
    pub(super) fn at(&self, change: &TreeChange) -> Result<Looked> {
        let path = &change.path;
        let base = change.old.clone().and_then(as_staged);
        let target = change.new.clone().and_then(as_staged);
        let staged = self.staging.view(path.as_bytes()).map(|view| view.kind);
        let is_as = |entry: Option<&Entry>| staged == entry.map(|(kind, _)| kind.view());
        let (is_base, is_target) = (is_as(base.as_ref()), is_as(target.as_ref()));
        let (found, stat) = match self.moving.reach {
            Reach::Nothing => (Found::AsStaged, None),
            _ => self.found(path, staged, target.as_ref())?,
        };
        let stored = stat.filter(|_| matches!(found, Found::AsStaged | Found::AsTarget));
        let stays_out = self.stays_out(path, found, target.as_ref())?;
        let is_in_git = leads_into_git(path.as_bytes());
        let verdict = if stays_out || is_in_git || self.moving.reach == Reach::Nothing {
            if is_target { Verdict::Nothing } else { Verdict::Note }
        } else {
            self.verdict(found, staged.is_some(), is_target, target.is_some())
        };
        let is_staged = target.is_some() && !is_target;
        let blocking = if is_staged { self.blocking(path)? } else { None };
        let obstacle = match verdict {
            _ if blocking.is_some() => blocking,
            _ if !is_base && !is_target => Some((path.clone(), Obstacle::Staged)),
            // What lies in the way there would hide it.
            Verdict::Note if stays_out => {
                self.blocked_way(path)?.map(|path| (path, Obstacle::Untracked))
            }
            Verdict::Nothing | Verdict::Note => None,
            Verdict::Remove | Verdict::Write => {
                self.obstacle(path, found, staged, target.as_ref())?
            }
        };
        // Bytes that differ from what is staged are lost besides.
        let obstacle = match (obstacle, found) {
            (Some((path, Obstacle::Staged)), Found::Other)
                if matches!(verdict, Verdict::Remove | Verdict::Write) =>
            {
                Some((path, Obstacle::Modified))
            }
            // Its files are staged, but not removed: that they are stored makes no room.
            (Some((_, Obstacle::Staged | Obstacle::Modified)), Found::Dir)
                if verdict == Verdict::Write && self.holds_untracked(path)? =>
            {
                Some((path.clone(), Obstacle::Directory))
            }
            (obstacle, _) => obstacle,
        };
        let is_dir = matches!(target, Some((StagedKind::EmptyDir, _)));
        let is_noted = verdict == Verdict::Note && !is_in_git;
        let is_taken_over = is_noted && found == Found::AsTarget && !is_dir;
        let is_left_out = is_in_git
            && target.is_some()
            && self.moving.reach != Reach::Nothing
            && self.wanted.wants(path.as_bytes(), is_dir);
        Ok(Looked { verdict, obstacle, target, is_taken_over, is_left_out, stored })
    }

    /// Whether a path is staged without being written: the work tree need not hold it, and does
    /// not.
    fn stays_out(&self, path: &RepoPath, found: Found, target: Option<&Entry>) -> Result<bool> {
        let Some((kind, _)) = target else { return Ok(false) };
        let is_dir = *kind == StagedKind::EmptyDir;
        if self.wanted.wants(path.as_bytes(), is_dir) {
            return Ok(false);
        }
        Ok(match found {
            Found::Absent => true,
            // Its files go, and nothing takes its place.
            Found::Dir => !self.holds_untracked(path)?,
            _ => false,
        })
    }

    fn verdict(
        &self,
        found: Found,
        has_staged: bool,
        is_target: bool,
        has_target: bool,
    ) -> Verdict {
        let keeps = is_target && self.moving.overwrite == Overwrite::Refuse;
        match (has_target, found) {
            // What is tracked no more, or never was, stays.
            (false, _) if !has_staged => Verdict::Nothing,
            (false, Found::Absent | Found::Dir | Found::Special) => Verdict::Note,
            (false, _) => Verdict::Remove,
            // It was moved before; what was done to it since is a local change.
            (true, _) if keeps => Verdict::Nothing,
            (true, Found::AsStaged | Found::AsTarget) if is_target => Verdict::Nothing,
            (true, Found::AsTarget) => Verdict::Note,
            (true, _) => Verdict::Write,
        }
    }

    /// What lies at a path, and the stat that a file or link had before it was read.
    fn found(
        &self,
        path: &RepoPath,
        staged: Option<KindView<'_>>,
        target: Option<&Entry>,
    ) -> Result<(Found, Option<FileStat>)> {
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        let Some((kind, stat)) = stat_one(self.root, path).map_err(read)? else {
            return Ok((Found::Absent, None));
        };
        let wants_dir = matches!(target, Some((StagedKind::EmptyDir, _)));
        match kind {
            PathKind::Other => return Ok((Found::Special, None)),
            PathKind::Dir if wants_dir => return Ok((Found::AsTarget, None)),
            PathKind::Dir if staged == Some(KindView::EmptyDir) && target.is_none() => {
                return Ok((Found::AsStaged, None));
            }
            PathKind::Dir => return Ok((Found::Dir, None)),
            PathKind::File { .. } | PathKind::Symlink => {}
        }
        if staged.is_some()
            && self.repository.is_modified(self.root, self.staging, path)? == Some(false)
        {
            return Ok((Found::AsStaged, Some(stat)));
        }
        let is_target = match target {
            Some(target) => holds(self.root, &self.chunker, path, target)?,
            None => false,
        };
        Ok((if is_target { Found::AsTarget } else { Found::Other }, Some(stat)))
    }

    /// What would be lost if the path were written or removed.
    fn obstacle(
        &self,
        path: &RepoPath,
        found: Found,
        staged: Option<KindView<'_>>,
        target: Option<&Entry>,
    ) -> Result<Option<(RepoPath, Obstacle)>> {
        let here = |obstacle| Some((path.clone(), obstacle));
        Ok(match found {
            Found::Absent => self.blocked_way(path)?.map(|path| (path, Obstacle::Untracked)),
            Found::Special => here(Obstacle::Special),
            Found::Other if staged.is_some() => here(Obstacle::Modified),
            Found::Other => here(Obstacle::Untracked),
            Found::Dir if target.is_some() && self.holds_untracked(path)? => {
                here(Obstacle::Directory)
            }
            Found::Dir | Found::AsStaged | Found::AsTarget => None,
        })
    }

    /// What stands in the place of a directory above the path and is not tracked. What is tracked
    /// there has a change of its own.
    fn blocked_way(&self, path: &RepoPath) -> Result<Option<RepoPath>> {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else {
            return Ok(None);
        };
        if let Some((dir, blocked)) = &*self.way.borrow()
            && *dir == parent
        {
            return Ok(blocked.clone());
        }
        let read = |source| RepoError::WorkTreeRead { path: parent.to_os().to_owned(), source };
        let blocked = first_non_directory(self.root, &parent).map_err(read)?;
        let blocked = blocked.filter(|path| self.staging.view(path.as_bytes()).is_none());
        self.way.replace(Some((parent, blocked.clone())));
        Ok(blocked)
    }

    /// Whether a directory in the place of a file holds something that the move does not remove.
    fn holds_untracked(&self, dir: &RepoPath) -> Result<bool> {
        holds_other(self.repository, dir, |path| self.is_in_base(path))
    }

    /// What is staged where directories above the path go, or below it, and has no change of its
    /// own. An empty directory is nothing to lose.
    fn blocking(&self, path: &RepoPath) -> Result<Option<(RepoPath, Obstacle)>> {
        for view in self.staging.around(path.as_bytes()) {
            if view.kind == KindView::EmptyDir {
                continue;
            }
            let Ok(other) = RepoPath::new(view.path) else { continue };
            if !self.is_in_base(&other)? {
                let is_modified =
                    self.repository.is_modified(self.root, self.staging, &other)? == Some(true);
                let obstacle = if is_modified { Obstacle::Modified } else { Obstacle::Staged };
                return Ok(Some((other, obstacle)));
            }
        }
        Ok(None)
    }

    fn is_in_base(&self, path: &RepoPath) -> Result<bool> {
        let in_tree = |tree: &TreeId| find(self.repository.objects()?, tree, path);
        let in_base = self.moving.base.as_ref().map_or(Ok(None), in_tree)?;
        let is_entry = in_base.and_then(as_staged).is_some();
        Ok(is_entry && self.staging.view(path.as_bytes()).is_some())
    }
}

/// Goes through a directory of the work tree, those in it before what they hold, until `visit`
/// answers `false`; whether it never did. It is given the path, if the name makes one, and whether
/// it is a directory.
pub(super) fn all_below(
    repository: &Repository,
    dir: &RepoPath,
    mut visit: impl FnMut(Option<&RepoPath>, bool) -> Result<bool>,
) -> Result<bool> {
    let mut todo = vec![dir.clone()];
    while let Some(dir) = todo.pop() {
        let full = repository.place().work_tree.join(dir.to_os());
        let read = |source| RepoError::WorkTreeRead { path: full.clone(), source };
        for entry in std::fs::read_dir(&full).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = std::os::unix::ffi::OsStringExt::into_vec(entry.file_name());
            let path = dir.join(&name).ok();
            let is_dir = entry.file_type().map_err(read)?.is_dir();
            if !visit(path.as_ref(), is_dir)? {
                return Ok(false);
            }
            todo.extend(path.filter(|_| is_dir));
        }
    }
    Ok(true)
}

/// Whether a directory of the work tree holds something, at any depth, that is no directory and
/// that `goes` does not know.
pub(in super::super) fn holds_other(
    repository: &Repository,
    dir: &RepoPath,
    goes: impl Fn(&RepoPath) -> Result<bool>,
) -> Result<bool> {
    let goes = |path: Option<&RepoPath>, is_dir| match path {
        Some(path) => Ok(is_dir || goes(path)?),
        None => Ok(false),
    };
    Ok(!all_below(repository, dir, goes)?)
}

/// Whether the work tree holds an entry at a path, as it is.
pub(in super::super) fn holds(
    root: &OwnedFd,
    chunker: &Chunker,
    path: &RepoPath,
    (wanted, size): &(StagedKind, u64),
) -> Result<bool> {
    let look = || -> io::Result<bool> {
        Ok(match (wanted, stat_one(root, path)?) {
            (
                StagedKind::File { executable, content },
                Some((PathKind::File { executable: now }, stat)),
            ) => {
                *executable == now
                    && *size == stat.size
                    && content_of(root, path, chunker)? == *content
            }
            (StagedKind::Symlink { target }, Some((PathKind::Symlink, _))) => {
                read_link(root, path)? == *target
            }
            (StagedKind::EmptyDir, Some((PathKind::Dir, _))) => true,
            _ => false,
        })
    };
    look().map_err(|source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source })
}
