//! Taking operations back: `undo`, `redo` and `op restore`.
//!
//! Each is an operation itself. Refs, `HEAD`, the staging area and a merge that waited go back to
//! what the record says; the work tree only where the operation moved it, through
//! [`crate::repo::switch`], so that local changes made since stop the way back or are stored first.
//! What an operation had written where nothing was goes, if nobody changed it since; what it had
//! overwritten unsaved comes back last.

use std::os::fd::OwnedFd;

use thiserror::Error;

use super::super::beneath::{PathKind, first_non_directory, stat_one};
use super::super::diff_trees::{CommittedEntry, as_staged, committed};
use super::super::ignore::leads_into_git;
use super::super::switch::{
    Move, MoveReport, Obstacle, Obstacles, Overwrite, Reach, holds, holds_other, remove_dirs,
};
use super::super::trees::{TreeChange, TreeDiff, TreeWalk, find};
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::way::{PastState, Way, past_state, way_of_redo, way_of_undo, way_to};
use super::{OpLog, OpRecord, Operation};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::{KindView, StagedKind};
use crate::storage::chunker::Chunker;
use crate::storage::format::moving::Moving;

/// Files that are brought back at once.
const BROUGHT_AT_ONCE: usize = 4096;

/// Why nothing can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UndoError {
    /// There is no operation, or all were undone.
    #[error("there is nothing to undo")]
    NothingToUndo,
    /// The last operation was no `undo`.
    #[error("there is nothing to redo")]
    NothingToRedo,
}

/// How operations are taken back.
#[derive(Debug, Clone, Copy, Default)]
pub struct UndoOptions {
    /// Local changes in the way are stored, and overwritten.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What was taken back.
#[derive(Debug)]
pub struct UndoReport {
    /// The operation that was taken back; for `op restore`, the one that was gone back to, if it
    /// was not the state before the first.
    pub record: Option<OpRecord>,
    /// What happened to the work tree.
    pub moved: MoveReport,
    /// Files that had been overwritten unsaved and came back.
    pub returned: u64,
    /// With `dry_run`: what would stop it.
    pub obstacles: Obstacles,
}

impl Repository {
    /// Takes the last operation back that was not taken back yet.
    pub fn undo(&self, options: UndoOptions) -> Result<UndoReport> {
        self.go_back("undo", options, way_of_undo)
    }

    /// Takes the last `undo` back.
    pub fn redo(&self, options: UndoOptions) -> Result<UndoReport> {
        self.go_back("redo", options, way_of_redo)
    }

    /// Brings everything to the state behind an operation; 0 is the state before the first. What
    /// operations since overwrote unsaved stays with them, for an undo of each.
    pub fn restore_operation(&self, seq: u64, options: UndoOptions) -> Result<UndoReport> {
        self.go_back("op restore", options, |log| way_to(log, seq))
    }

    /// Goes a way. One that a killed command began is gone on with: what it staged is no operation
    /// of its own.
    fn go_back(
        &self,
        word: &str,
        options: UndoOptions,
        way: impl Fn(&OpLog) -> Result<(Way, Option<OpRecord>)>,
    ) -> Result<UndoReport> {
        let lock = self.lock()?;
        let mut op = Operation::new(self, lock, self.staging()?, word.to_owned())?;
        let is_begun = match way(&op.log) {
            Ok((way, _)) => op.is_begun(&way.state.staged.tree)?,
            // It is the same behind what is caught up with, or there is a way then.
            Err(_) => false,
        };
        op.catch_up(!is_begun)?;
        let (way, record) = way(&op.log)?;
        op.go(way, options, record)
    }

    /// `HEAD` and the refs that changed since, as they were behind an operation.
    pub fn look_back(&self, seq: u64) -> Result<PastState> {
        let log = self.operations()?;
        past_state(&log, seq).map(|(state, ..)| state)
    }
}

impl Operation<'_> {
    /// Whether a way to `target` was begun, and killed: each path is staged either as the last
    /// record has it or as `target` has it, and no other command left the work tree half-way.
    fn is_begun(&mut self, target: &TreeId) -> Result<bool> {
        let is_other = |moving: &Moving| !moving.is_undo || moving.target != *target;
        if self.unfinished.as_ref().is_some_and(is_other) {
            return Ok(false);
        }
        let last = self.before.staged.tree;
        let now = self.staged_tree()?.tree;
        let objects = self.repository.objects()?;
        for change in TreeDiff::new(objects, Some(last), Some(now)) {
            let change = change?;
            let wanted = find(objects, target, &change.path)?.and_then(as_staged);
            if change.new.and_then(as_staged) != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn go(
        mut self,
        way: Way,
        options: UndoOptions,
        record: Option<OpRecord>,
    ) -> Result<UndoReport> {
        let base = Some(self.staged_tree()?.tree);
        let target = Some(way.state.staged.tree);
        let made = self.made(&way)?;
        let blocking = self.blocking(&way, &made)?;
        let also = self.paths_besides(&way, [made.as_slice(), &blocking].concat())?;
        let mut moving = Move { also: &also, keeps_also: true, ..Move::new(base, target) };
        if !way.moves_work_tree {
            moving.reach = Reach::Nothing;
        }
        let mut obstacles = self.obstacles(&moving, &way, &blocking)?;
        let occupied = self.occupied(&way, &made)?;
        let is_stuck = !occupied.is_empty();
        occupied.into_iter().for_each(|path| obstacles.push(path, Obstacle::Directory));
        let report = |moved, returned, obstacles| UndoReport { record, moved, returned, obstacles };
        if options.dry_run {
            let (planned, _) = self.repository.plan_move(self.staged(), &moving)?;
            return Ok(report(planned, 0, obstacles));
        }
        if is_stuck || !obstacles.listed.is_empty() && !options.force {
            return Err(RepoError::InTheWay(obstacles));
        }
        self.describe(way.description);
        self.is_undo = true;
        moving.overwrite = Overwrite::Store;
        let mut moved = self.move_to(&moving)?;
        self.remove_made(&[made, blocking].concat(), &mut moved)?;
        if let Some(written) = way.written.filter(|_| way.is_unfinished) {
            self.remove_unfilled(way.state.staged.tree, written)?;
        }
        let returned = match way.kept {
            Some(tree) => self.bring_back(tree, &mut moved)?,
            None => 0,
        };
        self.writes(way.kept)?;
        self.kind = way.kind;
        self.takes_back = way.takes_back;
        for (name, value) in way.refs {
            self.set_ref(&name, value)?;
        }
        self.set_head(way.state.head);
        self.merging = way.state.merging;
        self.moves_work_tree = way.moves_work_tree;
        self.checkpoint()?;
        Ok(report(moved, returned, Obstacles::default()))
    }

    /// Paths of what was written where nothing was, and that nobody changed since.
    fn made(&self, way: &Way) -> Result<Vec<RepoPath>> {
        let Some(written) = way.written else { return Ok(Vec::new()) };
        let (repository, objects) = (self.repository, self.repository.objects()?);
        let root = repository.work_tree_handle()?;
        let chunker = Chunker::new(repository.format().chunker);
        let before = way.is_unfinished.then_some(way.state.staged.tree);
        let mut made = Vec::new();
        // Of a command that was killed, what would have gone elsewhere as well.
        for change in TreeDiff::new(objects, before, Some(written)) {
            let TreeChange { path, old, new } = change?;
            let Some(entry) = new.and_then(as_staged).filter(|_| old.is_none()) else { continue };
            if leads_into_git(path.as_bytes()) {
                continue;
            }
            let is_kept = match &way.kept {
                Some(kept) => find(objects, kept, &path)?.is_some(),
                None => false,
            };
            if !is_kept && holds(&root, &chunker, &path, &entry)? {
                made.push(path);
            }
        }
        Ok(made)
    }

    /// Files and links where directories go of what is brought back.
    fn blocking(&self, way: &Way, made: &[RepoPath]) -> Result<Vec<RepoPath>> {
        let Some(kept) = way.kept else { return Ok(Vec::new()) };
        let root = self.repository.work_tree_handle()?;
        let mut blocking = all_above(&root, &paths_of(self.repository, kept)?)?;
        blocking.retain(|path| !made.contains(path));
        Ok(blocking)
    }

    /// Directories where files of what is brought back go, with something in them that nobody knows.
    fn occupied(&self, way: &Way, made: &[RepoPath]) -> Result<Vec<RepoPath>> {
        let Some(kept) = way.kept else { return Ok(Vec::new()) };
        let root = self.repository.work_tree_handle()?;
        let target = way.state.staged.tree;
        let objects = self.repository.objects()?;
        let goes = |path: &RepoPath| -> Result<bool> {
            if made.binary_search(path).is_ok() {
                return Ok(true);
            }
            let Some(staged) = self.staging.view(path.as_bytes()) else { return Ok(false) };
            // What the move changes, it has stored before; the rest is staged.
            let wanted = find(objects, &target, path)?.and_then(as_staged);
            Ok(wanted.is_none_or(|(kind, _)| kind.view() != staged.kind)
                || self.repository.is_modified(&root, &self.staging, path)? == Some(false))
        };
        let mut occupied = Vec::new();
        let walk = TreeWalk::new(objects, &kept, RepoPath::root());
        for entry in committed(walk) {
            let CommittedEntry { path, kind, .. } = entry?;
            let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
            if kind != StagedKind::EmptyDir
                && matches!(stat_one(&root, &path).map_err(read)?, Some((PathKind::Dir, _)))
                && holds_other(self.repository, &path, goes)?
            {
                occupied.push(path);
            }
        }
        Ok(occupied)
    }

    /// Removes what was made, and directories that are empty then.
    fn remove_made(&self, made: &[RepoPath], moved: &mut MoveReport) -> Result<()> {
        let (work_tree, root) = (self.repository.guarded()?, self.repository.work_tree_handle()?);
        for path in made.iter().rev() {
            // The move may have written it.
            self.repository.is_modified_else_note(&root, &self.staging, path)?;
            let removed = match work_tree.stat(path)? {
                None => Ok(false),
                Some((PathKind::Dir, _)) => work_tree.remove_dir(path),
                Some(_) => work_tree.remove_file(path),
            };
            match removed {
                Err(error) if error.is_of_one_path() => {
                    moved.skipped.push((path.clone(), error.to_string()));
                }
                removed => moved.removed += u64::from(removed?),
            }
            self.remove_empty_above(&work_tree, path)?;
        }
        Ok(())
    }

    /// Removes the directories that a killed command had made and not filled yet.
    fn remove_unfilled(&self, before: TreeId, written: TreeId) -> Result<()> {
        let work_tree = WorkTree::open(&self.repository.place().work_tree)?;
        let objects = self.repository.objects()?;
        for change in TreeDiff::new(objects, Some(before), Some(written)) {
            let change = change?;
            if change.old.is_none() && !leads_into_git(change.path.as_bytes()) {
                self.remove_empty_above(&work_tree, &change.path)?;
            }
        }
        Ok(())
    }

    fn remove_empty_above(&self, work_tree: &WorkTree, path: &RepoPath) -> Result<()> {
        let is_staged = |dir: &RepoPath| {
            let staged = self.staging.view(dir.as_bytes());
            staged.is_some_and(|staged| staged.kind == KindView::EmptyDir)
        };
        Ok(work_tree.remove_empty_dirs_unless(path, is_staged)?)
    }

    /// Paths that go back though they may be staged as they are to be, in path order.
    fn paths_besides(&self, way: &Way, mut paths: Vec<RepoPath>) -> Result<Vec<RepoPath>> {
        let root = self.repository.work_tree_handle()?;
        let kept = way.kept.map_or(Ok(Vec::new()), |tree| paths_of(self.repository, tree))?;
        for path in kept {
            let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
            let is_dir = matches!(stat_one(&root, &path).map_err(read)?, Some((PathKind::Dir, _)));
            let is_modified = self.repository.is_modified(&root, &self.staging, &path)?;
            // A directory that came in the place of a file goes with what was made in it.
            if !is_dir || is_modified == Some(false) {
                paths.push(path);
            }
        }
        if let Some(written) = way.written.filter(|_| way.is_unfinished) {
            let before = Some(way.state.staged.tree);
            for change in TreeDiff::new(self.repository.objects()?, before, Some(written)) {
                paths.push(change?.path);
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    /// What the way back would lose: local changes in its paths, and in those that come back. What
    /// is kept already, because it came back or went before, is none.
    fn obstacles(&self, moving: &Move<'_>, way: &Way, blocking: &[RepoPath]) -> Result<Obstacles> {
        let (_, found) = self.repository.plan_move(self.staged(), moving)?;
        let root = self.repository.work_tree_handle()?;
        let chunker = Chunker::new(self.repository.format().chunker);
        let mut obstacles = Obstacles { more: found.more, ..Obstacles::default() };
        let changed = self.changed_under(way.kept)?;
        let mut changed: Vec<_> =
            changed.into_iter().map(|path| (path, Obstacle::Modified)).collect();
        for path in blocking {
            if self.repository.is_modified(&root, &self.staging, path)? != Some(false) {
                changed.push((path.clone(), Obstacle::Untracked));
            }
        }
        for (path, obstacle) in found.listed.into_iter().chain(changed) {
            let is_listed = obstacles.listed.iter().any(|(other, _)| *other == path);
            if !is_listed && !self.is_kept(&root, &chunker, way, &path)? {
                obstacles.listed.push((path, obstacle));
            }
        }
        Ok(obstacles)
    }

    fn is_kept(
        &self,
        root: &OwnedFd,
        chunker: &Chunker,
        way: &Way,
        path: &RepoPath,
    ) -> Result<bool> {
        let objects = self.repository.objects()?;
        let at = |tree: TreeId| Ok::<_, RepoError>(find(objects, &tree, path)?.and_then(as_staged));
        let written = way.written.map_or(Ok(None), at)?;
        let kept = way.kept.map_or(Ok(None), at)?;
        for entry in [kept, written].into_iter().flatten() {
            if holds(root, chunker, path, &entry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The paths of a tree at which the work tree holds something else than is staged.
    fn changed_under(&self, tree: Option<TreeId>) -> Result<Vec<RepoPath>> {
        let Some(tree) = tree else { return Ok(Vec::new()) };
        let root = self.repository.work_tree_handle()?;
        let mut changed = paths_of(self.repository, tree)?;
        let mut error = None;
        // Whether a directory in the place of a file can go, the move and what was made decide.
        changed.retain(|path| !matches!(stat_one(&root, path), Ok(Some((PathKind::Dir, _)))));
        changed.retain(|path| {
            let is_modified = self.repository.is_modified(&root, &self.staging, path);
            is_modified.unwrap_or_else(|failed| {
                error.get_or_insert(failed);
                None
            }) == Some(true)
        });
        error.map_or(Ok(changed), Err)
    }

    /// Removes files that the move wrote where directories of what is brought back go: they are
    /// staged, and were not there before either.
    fn clear_above(
        &self,
        work_tree: &WorkTree,
        root: &OwnedFd,
        entries: &[CommittedEntry],
    ) -> Result<()> {
        let paths: Vec<RepoPath> = entries.iter().map(|entry| entry.path.clone()).collect();
        for path in all_above(root, &paths)? {
            if self.repository.is_modified_else_note(root, &self.staging, &path)? == Some(false) {
                work_tree.clear_file(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what the move left below files that are brought back, as it is staged.
    fn clear_below(
        &self,
        work_tree: &WorkTree,
        root: &OwnedFd,
        entries: &[CommittedEntry],
    ) -> Result<()> {
        for CommittedEntry { path, kind, .. } in entries {
            let is_dir = matches!(work_tree.stat(path), Ok(Some((PathKind::Dir, _))));
            if !is_dir || *kind == StagedKind::EmptyDir {
                continue;
            }
            holds_other(self.repository, path, |below| {
                let is_modified =
                    self.repository.is_modified_else_note(root, &self.staging, below)?;
                if is_modified == Some(false) {
                    work_tree.clear_file(below)?;
                }
                Ok(is_modified == Some(false))
            })?;
            remove_dirs(self.repository, work_tree, path)?;
        }
        Ok(())
    }

    /// Writes files that were overwritten unsaved over what is there.
    fn bring_back(&mut self, tree: TreeId, moved: &mut MoveReport) -> Result<u64> {
        let repository = self.repository;
        let work_tree = repository.guarded()?;
        let walk = TreeWalk::new(repository.objects()?, &tree, RepoPath::root());
        let root = repository.work_tree_handle()?;
        let chunker = Chunker::new(repository.format().chunker);
        let mut entries = committed(walk).peekable();
        let mut files = 0;
        while entries.peek().is_some() {
            let mut batch = Vec::new();
            for entry in entries.by_ref().take(BROUGHT_AT_ONCE) {
                let entry = entry?;
                let staged = self.staging.view(entry.path.as_bytes());
                // What is as it was staged was kept to tell it from nothing.
                let is_staged = staged.is_some_and(|staged| staged.kind == entry.kind.view());
                let is_modified =
                    repository.is_modified_else_note(&root, &self.staging, &entry.path)?;
                let is_there = match is_modified {
                    // Its directory may allow no change.
                    Some(true) if staged.is_none() => {
                        let wanted = (entry.kind.clone(), entry.size);
                        holds(&root, &chunker, &entry.path, &wanted)?
                    }
                    _ => is_staged && is_modified == Some(false),
                };
                if !is_there {
                    batch.push(entry);
                }
            }
            self.clear_above(&work_tree, &root, &batch)?;
            self.clear_below(&work_tree, &root, &batch)?;
            let written = repository.restore_some(&work_tree, &batch)?;
            files += written.files;
            moved.skipped.extend(written.skipped);
        }
        Ok(files)
    }
}

fn paths_of(repository: &Repository, tree: TreeId) -> Result<Vec<RepoPath>> {
    let walk = TreeWalk::new(repository.objects()?, &tree, RepoPath::root());
    committed(walk).map(|entry| Ok(entry?.path)).collect()
}

/// Files and links that stand where directories above these paths go, which come in their order.
fn all_above(root: &OwnedFd, paths: &[RepoPath]) -> Result<Vec<RepoPath>> {
    let (mut above, mut last) = (Vec::new(), None);
    for path in paths {
        let dir = path.parent().filter(|dir| !dir.is_root() && last.as_ref() != Some(dir));
        let Some(dir) = dir else { continue };
        let read = |source| RepoError::WorkTreeRead { path: dir.to_os().to_owned(), source };
        above.extend(first_non_directory(root, &dir).map_err(read)?);
        last = Some(dir);
    }
    above.dedup();
    Ok(above)
}
