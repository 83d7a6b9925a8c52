//! Taking operations back: `undo`, `redo` and `op restore`.
//!
//! Each is an operation itself. Refs, `HEAD` and the staging area go back to what the record says;
//! the work tree only where the operation moved it, through [`crate::repo::switch`], so that local
//! changes made since stop the way back or are stored first. What an operation had overwritten
//! unsaved comes back last.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use thiserror::Error;

use super::super::diff_trees::{as_staged, committed};
use super::super::switch::{Move, MoveReport, Obstacle, Obstacles, Overwrite, Reach, holds};
use super::super::trees::{TreeDiff, TreeWalk, find};
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::{Doomed, Keeper, OpKind, OpLog, OpRecord, OpState, Operation};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::chunker::Chunker;
use crate::storage::refs::RefValue;

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

/// Where to go back to.
struct Way {
    kind: OpKind,
    description: String,
    state: OpState,
    refs: Vec<(String, Option<RefValue>)>,
    moves_work_tree: bool,
    /// Unsaved files to be brought back.
    kept: Option<TreeId>,
    /// Unsaved files that were brought back by what is taken back now.
    returned: Option<TreeId>,
    /// Other paths that go back though they are staged as they were.
    besides: Vec<RepoPath>,
    /// The record that is taken back.
    takes_back: Option<OpRecord>,
    /// Whether only files of the work tree were changed. What was written over them is not known
    /// then, so it is stored, whatever it is.
    is_work_tree_only: bool,
}

impl Way {
    /// Back from one record.
    fn back_from(record: &OpRecord, kind: OpKind, word: &str) -> Self {
        Self {
            kind,
            description: format!("{word} {}: {}", record.link.seq, record.description),
            state: record.before.clone(),
            refs: record.refs.iter().map(|change| (change.name.clone(), change.old)).collect(),
            moves_work_tree: record.moved_work_tree,
            kept: record.kept,
            returned: None,
            besides: Vec::new(),
            takes_back: Some(record.clone()),
            is_work_tree_only: record.before.staged == record.after.staged,
        }
    }
}

impl Repository {
    /// Takes the last operation back that was not taken back yet.
    pub fn undo(&self, options: UndoOptions) -> Result<UndoReport> {
        let mut merge = None;
        let report = self.go_back("undo", options, |log| {
            let (mut way, record) = way_of_undo(log)?;
            merge = self.merge_begun_by(&record)?;
            if let Some(state) = &merge {
                // What waits to be resolved goes too.
                way.besides =
                    state.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
            }
            Ok((way, Some(record)))
        })?;
        if let Some(state) = merge.filter(|_| !options.dry_run) {
            self.set_merge_aside(&state)?;
        }
        Ok(report)
    }

    /// Takes the last `undo` back.
    pub fn redo(&self, options: UndoOptions) -> Result<UndoReport> {
        let mut after = None;
        let report = self.go_back("redo", options, |log| {
            let (way, record) = way_of_redo(log)?;
            after = Some(record.after.staged.tree);
            Ok((way, Some(record)))
        })?;
        if let Some(after) = after.filter(|_| !options.dry_run) {
            self.take_merge_up(after)?;
        }
        Ok(report)
    }

    /// Brings everything to the state behind an operation; 0 is the state before the first.
    pub fn restore_operation(&self, seq: u64, options: UndoOptions) -> Result<UndoReport> {
        self.go_back("op restore", options, |log| way_to(log, seq))
    }

    /// Goes a way. One that a killed command began is gone on with: what it staged is no operation
    /// of its own.
    fn go_back(
        &self,
        word: &str,
        options: UndoOptions,
        mut way: impl FnMut(&OpLog) -> Result<(Way, Option<OpRecord>)>,
    ) -> Result<UndoReport> {
        let lock = self.lock()?;
        let mut op = Operation::new(self, lock, self.staging()?, word.to_owned())?;
        let is_begun = match way(&op.log) {
            Ok((way, _)) => op.is_between(&way.state.staged.tree)?,
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

/// The state behind an operation.
pub struct PastState {
    /// What `HEAD` named.
    pub head: super::Head,
    /// What was staged.
    pub staged: super::StagedTree,
    /// The refs that changed since, as they were.
    pub refs: BTreeMap<String, Option<RefValue>>,
}

fn past_state(log: &OpLog, seq: u64) -> Result<(PastState, Option<OpRecord>, bool)> {
    let last = log.last().map_or(0, |last| last.link.seq);
    if seq > last || last == 0 {
        return Err(crate::storage::oplog::OpLogError::Unknown { seq, last }.into());
    }
    let (mut refs, mut moves, mut oldest) = (BTreeMap::new(), false, None);
    for record in log.backwards() {
        let record = record?;
        if record.link.seq == seq {
            let OpState { head, staged } = record.after.clone();
            return Ok((PastState { head, staged, refs }, Some(record), moves));
        }
        for change in &record.refs {
            refs.insert(change.name.clone(), change.old);
        }
        moves |= record.moved_work_tree;
        oldest = Some((record.link.seq, record.before));
    }
    match oldest {
        Some((first, _)) if seq + 1 < first => {
            Err(crate::storage::oplog::OpLogError::Expired { seq, first }.into())
        }
        Some((_, OpState { head, staged })) => Ok((PastState { head, staged, refs }, None, moves)),
        None => Err(crate::storage::oplog::OpLogError::Unknown { seq, last }.into()),
    }
}

fn way_of_undo(log: &OpLog) -> Result<(Way, OpRecord)> {
    let link = log.last().and_then(|last| last.undo).ok_or(UndoError::NothingToUndo)?;
    let record = log.follow(link)?;
    Ok((Way::back_from(&record, OpKind::Undo { of: link.seq }, "undo"), record))
}

fn way_of_redo(log: &OpLog) -> Result<(Way, OpRecord)> {
    let link = log.last().and_then(|last| last.redo).ok_or(UndoError::NothingToRedo)?;
    let undo = log.follow(link)?;
    let mut way = Way::back_from(&undo, OpKind::Redo { of: link.seq }, "redo");
    let mut record = undo;
    if let OpKind::Undo { of } = record.kind {
        record = log.find(of)?;
        way.returned = record.kept;
        way.description = format!("redo {of}: {}", record.description);
    }
    Ok((way, record))
}

fn way_to(log: &OpLog, seq: u64) -> Result<(Way, Option<OpRecord>)> {
    let (state, record, moves) = past_state(log, seq)?;
    let way = Way {
        kind: OpKind::Restore { to: seq },
        description: format!("op restore {seq}"),
        state: OpState { head: state.head, staged: state.staged },
        refs: state.refs.into_iter().collect(),
        moves_work_tree: moves,
        kept: None,
        returned: None,
        besides: Vec::new(),
        takes_back: None,
        is_work_tree_only: false,
    };
    Ok((way, record))
}

impl Operation<'_> {
    /// Whether each path is staged either as the last record has it or as `target` has it, so that
    /// a way there was begun and nothing else was staged since.
    fn is_between(&mut self, target: &TreeId) -> Result<bool> {
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
        let also = self.paths_besides(&way)?;
        let target = Some(way.state.staged.tree);
        let mut moving = Move { also: &also, ..Move::new(base, target) };
        if !way.moves_work_tree {
            moving.reach = Reach::Nothing;
        }
        let obstacles = self.obstacles(&moving, &way)?;
        let report = |moved, returned, obstacles| UndoReport { record, moved, returned, obstacles };
        if options.dry_run {
            let (planned, _) = self.repository.plan_move(self.staged(), &moving)?;
            return Ok(report(planned, 0, obstacles));
        }
        if !obstacles.listed.is_empty() && !options.force {
            return Err(RepoError::InTheWay(obstacles));
        }
        self.describe(way.description);
        moving.overwrite = Overwrite::Store;
        let there = if way.is_work_tree_only { self.store_all(&also)? } else { None };
        let mut moved = self.move_to(&moving)?;
        self.keep(there);
        let returned = match way.kept {
            Some(tree) => self.bring_back(tree, &mut moved)?,
            None => 0,
        };
        self.kind = way.kind;
        self.takes_back = way.takes_back;
        for (name, value) in way.refs {
            self.set_ref(&name, value)?;
        }
        self.set_head(way.state.head);
        self.moves_work_tree = way.moves_work_tree;
        self.checkpoint()?;
        Ok(report(moved, returned, Obstacles::default()))
    }

    /// Stores what the work tree holds at these paths, whether it is staged or not.
    fn store_all(&self, paths: &[RepoPath]) -> Result<Option<TreeId>> {
        let root = self.repository.work_tree_handle()?;
        let mut keeper = Keeper::new(self.repository, &root);
        for batch in paths.chunks(BROUGHT_AT_ONCE) {
            let doomed = |path: &RepoPath| {
                let is_modified = self.repository.is_modified(&root, &self.staging, path)?;
                Ok(Doomed { path: path.clone(), is_staged: is_modified == Some(false) })
            };
            let doomed: Vec<_> = batch.iter().map(doomed).collect::<Result<_>>()?;
            if let Some((path, why)) = keeper.keep(&doomed, &self.staging)?.into_iter().next() {
                return Err(RepoError::CannotKeep { path, why });
            }
        }
        keeper.finish()
    }

    /// Paths whose unsaved bytes come back or go again, in path order.
    fn paths_besides(&self, way: &Way) -> Result<Vec<RepoPath>> {
        let mut paths = way.besides.clone();
        for tree in [way.kept, way.returned].into_iter().flatten() {
            paths.extend(paths_of(self.repository, tree)?);
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    /// What the way back would lose: local changes in its paths, and in those that come back. What
    /// is kept already, because it came back or went before, is none.
    fn obstacles(&self, moving: &Move<'_>, way: &Way) -> Result<Obstacles> {
        let (_, found) = self.repository.plan_move(self.staged(), moving)?;
        let root = self.repository.work_tree_handle()?;
        let chunker = Chunker::new(self.repository.format().chunker);
        let mut obstacles = Obstacles { more: found.more, ..Obstacles::default() };
        let changed = self.changed_under(way.kept)?;
        let changed = changed.into_iter().map(|path| (path, Obstacle::Modified));
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
        for tree in [way.kept, way.returned].into_iter().flatten() {
            let entry = find(self.repository.objects()?, &tree, path)?.and_then(as_staged);
            let Some(entry) = entry else { continue };
            let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
            if way.is_work_tree_only || holds(root, chunker, path, &entry).map_err(read)? {
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
        changed.retain(|path| {
            let is_modified = self.repository.is_modified(&root, &self.staging, path);
            is_modified.unwrap_or_else(|failed| {
                error.get_or_insert(failed);
                None
            }) == Some(true)
        });
        error.map_or(Ok(changed), Err)
    }

    /// Writes files that were overwritten unsaved over what is there.
    fn bring_back(&mut self, tree: TreeId, moved: &mut MoveReport) -> Result<u64> {
        let repository = self.repository;
        let work_tree = WorkTree::open(&repository.place().work_tree)?;
        let walk = TreeWalk::new(repository.objects()?, &tree, RepoPath::root());
        let mut entries = committed(walk).peekable();
        let mut files = 0;
        while entries.peek().is_some() {
            let batch: Vec<_> = entries.by_ref().take(BROUGHT_AT_ONCE).collect();
            let written = repository.checkout(&work_tree, batch.into_iter())?;
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
