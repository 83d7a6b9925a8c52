//! Taking operations back: `undo`, `redo` and `op restore`.
//!
//! Each is an operation itself. Refs, `HEAD` and the staging area go back to what the record says;
//! the work tree only where the operation moved it, through [`crate::repo::switch`], so that local
//! changes made since stop the way back or are stored first. What an operation had overwritten
//! unsaved comes back last.

use std::collections::BTreeMap;

use thiserror::Error;

use super::super::diff_trees::committed;
use super::super::switch::{Move, MoveReport, Obstacle, Obstacles, Overwrite};
use super::super::trees::TreeWalk;
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::{OpKind, OpRecord, OpState, Operation};
use crate::id::TreeId;
use crate::path::RepoPath;
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
        }
    }
}

impl Repository {
    /// Takes the last operation back that was not taken back yet.
    pub fn undo(&self, options: UndoOptions) -> Result<UndoReport> {
        let op = self.begin("undo")?;
        let link = op.log.last().and_then(|last| last.undo).ok_or(UndoError::NothingToUndo)?;
        let record = op.log.follow(link)?;
        let mut way = Way::back_from(&record, OpKind::Undo { of: link.seq }, "undo");
        let merge = self.merge_begun_by(&record)?;
        if let Some(state) = &merge {
            // What waits to be resolved goes too.
            way.besides = state.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
        }
        let report = op.go_back(way, options, Some(record))?;
        if let Some(state) = merge.filter(|_| !options.dry_run) {
            self.set_merge_aside(&state)?;
        }
        Ok(report)
    }

    /// Takes the last `undo` back.
    pub fn redo(&self, options: UndoOptions) -> Result<UndoReport> {
        let op = self.begin("redo")?;
        let link = op.log.last().and_then(|last| last.redo).ok_or(UndoError::NothingToRedo)?;
        let undo = op.log.follow(link)?;
        let mut way = Way::back_from(&undo, OpKind::Redo { of: link.seq }, "redo");
        let mut record = undo.clone();
        if let OpKind::Undo { of } = undo.kind {
            record = op.log.find(of)?;
            way.returned = record.kept;
            way.description = format!("redo {of}: {}", record.description);
        }
        let after = record.after.staged.tree;
        let report = op.go_back(way, options, Some(record))?;
        if !options.dry_run {
            self.take_merge_up(after)?;
        }
        Ok(report)
    }

    /// Brings everything to the state behind an operation; 0 is the state before the first.
    pub fn restore_operation(&self, seq: u64, options: UndoOptions) -> Result<UndoReport> {
        let op = self.begin("op restore")?;
        let (state, record, moves) = op.state_behind(seq)?;
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
        };
        op.go_back(way, options, record)
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

fn past_state(log: &super::OpLog, seq: u64) -> Result<(PastState, Option<OpRecord>, bool)> {
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
        oldest = Some(record.before);
    }
    match oldest {
        Some(OpState { head, staged }) => Ok((PastState { head, staged, refs }, None, moves)),
        None => Err(crate::storage::oplog::OpLogError::Unknown { seq, last }.into()),
    }
}

impl Operation<'_> {
    fn state_behind(&self, seq: u64) -> Result<(PastState, Option<OpRecord>, bool)> {
        past_state(&self.log, seq)
    }

    fn go_back(
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
            moving.is_wanted = &|_| false;
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
        let mut moved = self.move_to(&moving)?;
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
    /// a redo takes away again is stored.
    fn obstacles(&self, moving: &Move<'_>, way: &Way) -> Result<Obstacles> {
        let (_, found) = self.repository.plan_move(self.staged(), moving)?;
        let mut obstacles = Obstacles { more: found.more, ..Obstacles::default() };
        let going = way.returned.map(|tree| paths_of(self.repository, tree)).transpose()?;
        let is_stored =
            |path: &RepoPath| going.as_ref().is_some_and(|paths| paths.binary_search(path).is_ok());
        obstacles.listed = found.listed.into_iter().filter(|(path, _)| !is_stored(path)).collect();
        for path in self.changed_under(way.kept)? {
            if !obstacles.listed.iter().any(|(other, _)| *other == path) {
                obstacles.listed.push((path, Obstacle::Modified));
            }
        }
        Ok(obstacles)
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
