//! Moving staging area and work tree from one tree to another: what `switch`, `merge`, `reset`,
//! `stash` and `undo` have in common.
//!
//! Only paths that differ between the two trees are touched; all others keep what is staged and
//! what was changed locally. A path that differs must be as it was in the base, both staged and in
//! the work tree, or be as it is in the target already; otherwise it is an obstacle. With
//! [`Overwrite::Refuse`], one obstacle stops the move before anything is touched. With
//! [`Overwrite::Store`], the bytes in the way are stored first. Where the move goes and what was
//! stored is announced ([`Operation::announce`]) before anything is touched.
//!
//! The changes are gone through three times, each time in flat memory: to look for obstacles, to
//! remove, to write. After each batch of files the staging area is told. A command that is killed
//! in between leaves each file old, new or absent; the same move again goes on where it ended,
//! because what is as the target has it is no obstacle. Refs and `HEAD` are the caller's, later.

mod look;
mod steps;
#[cfg(test)]
mod tests;
mod to;

use std::fmt;
use std::iter::Peekable;

pub use look::Obstacle;
use look::{Look, Verdict};
pub(super) use look::{holds, holds_other};
use steps::Steps;
pub(super) use steps::remove_dirs;
pub use to::{SwitchOptions, SwitchReport, SwitchTo};

use super::operation::{Doomed, Held, Keeper, Operation};
use super::trees::{TreeChange, TreeDiff, empty_tree, find};
use super::{RepoError, Repository, Result};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::objects::Objects;

/// What is done with bytes that stand in the way and are stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They stay, and nothing is moved.
    Refuse,
    /// They are stored, entered in the log of operations, and overwritten.
    Store,
}

/// A move of staging area and work tree.
pub struct Move<'a> {
    /// What is staged and in the work tree, but for local changes; `None` for nothing.
    pub base: Option<TreeId>,
    /// What is to be there; `None` for nothing.
    pub target: Option<TreeId>,
    /// Paths that are brought to the target though base and target agree on them, in path order.
    pub also: &'a [RepoPath],
    /// Whether what lies at these paths is stored in any case, as what is in the way is.
    pub keeps_also: bool,
    /// What is done with unsaved bytes in the way.
    pub overwrite: Overwrite,
    /// What of it reaches the work tree.
    pub reach: Reach,
}

impl Move<'_> {
    /// From one tree to another, refusing to overwrite unsaved bytes.
    pub fn new(base: Option<TreeId>, target: Option<TreeId>) -> Self {
        let (overwrite, reach) = (Overwrite::Refuse, Reach::Wanted);
        Move { base, target, also: &[], keeps_also: false, overwrite, reach }
    }
}

/// What of a move reaches the work tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: only the staging area is moved.
    Nothing,
    /// What a sparse work tree holds. What it need not hold and does hold is moved as any other.
    Wanted,
    /// Everything, whether a sparse work tree holds it or not.
    Everything,
}

/// What a move did, or would do.
#[derive(Debug, Default)]
pub struct MoveReport {
    /// Files, links and empty directories written.
    pub written: u64,
    /// Bytes of the files written.
    pub bytes: u64,
    /// Paths removed.
    pub removed: u64,
    /// Files and links that were there as the target has them, and not as they were staged.
    pub taken_over: u64,
    /// What could not be written or removed, and why. It is staged as the target has it.
    pub skipped: Vec<(RepoPath, String)>,
    /// The tree of the bytes that were stored because they stood in the way.
    pub kept: Option<TreeId>,
}

/// Most obstacles that are listed.
const MAX_LISTED: usize = 1000;
/// Obstacles stored at once.
const KEPT_AT_ONCE: usize = 4096;

/// Paths that a move would lose.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// The first of them, in path order.
    pub listed: Vec<(RepoPath, Obstacle)>,
    /// How many more there are.
    pub more: u64,
}

impl Obstacles {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Enters one. What blocks the way to several paths is met by each.
    pub(super) fn push(&mut self, path: RepoPath, obstacle: Obstacle) {
        if self.listed.last() == Some(&(path.clone(), obstacle)) {
            return;
        }
        if self.listed.len() < MAX_LISTED {
            self.listed.push((path, obstacle));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Obstacles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, obstacle)) in self.listed.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}'{path}' ({obstacle})")?;
        }
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

impl Repository {
    /// What a move would do, with the obstacles that [`Overwrite::Refuse`] would meet.
    pub fn plan_move(
        &self,
        staging: &BinaryStagingArea,
        moving: &Move<'_>,
    ) -> Result<(MoveReport, Obstacles)> {
        let root = self.work_tree_handle()?;
        let look = Look::new(self, &root, staging, moving)?;
        let (mut report, mut obstacles) = (MoveReport::default(), Obstacles::default());
        for change in self.changes(moving)? {
            let looked = look.at(&change?)?;
            report.taken_over += u64::from(looked.is_taken_over);
            match looked.verdict {
                Verdict::Nothing | Verdict::Note => {}
                Verdict::Remove => report.removed += 1,
                Verdict::Write => {
                    report.written += 1;
                    let size = looked.target.map_or(0, |(_, size)| size);
                    report.bytes = report.bytes.saturating_add(size);
                }
            }
            if let Some((path, obstacle)) = looked.obstacle {
                obstacles.push(path, obstacle);
            }
        }
        Ok((report, obstacles))
    }

    fn changes<'a>(&self, moving: &'a Move<'_>) -> Result<Changes<'a>> {
        let objects = self.objects()?;
        let diff = TreeDiff::new(objects, moving.base, moving.target).peekable();
        let also = moving.also.iter().peekable();
        Ok(Changes { objects: objects.clone(), diff, also, moving })
    }
}

/// The changes of a move in path order: those of the trees, and the paths that come besides.
struct Changes<'a> {
    objects: Objects,
    diff: Peekable<TreeDiff<'a>>,
    also: Peekable<std::slice::Iter<'a, RepoPath>>,
    moving: &'a Move<'a>,
}

impl Changes<'_> {
    fn besides(&self, path: &RepoPath) -> Result<TreeChange> {
        let at = |tree: Option<TreeId>| match tree {
            Some(tree) => find(&self.objects, &tree, path),
            None => Ok(None),
        };
        Ok(TreeChange {
            path: path.clone(),
            old: at(self.moving.base)?,
            new: at(self.moving.target)?,
        })
    }
}

impl Iterator for Changes<'_> {
    type Item = Result<TreeChange>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(also) = self.also.peek().copied() else { return self.diff.next() };
        match self.diff.peek() {
            Some(Err(_)) => self.diff.next(),
            Some(Ok(change)) if change.path < *also => self.diff.next(),
            Some(Ok(change)) if change.path == *also => {
                self.also.next();
                self.diff.next()
            }
            _ => {
                self.also.next();
                Some(self.besides(also))
            }
        }
    }
}

impl Operation<'_> {
    /// Does a move; see the module. An error before anything was touched names the obstacles.
    pub fn move_to(&mut self, moving: &Move<'_>) -> Result<MoveReport> {
        let repository = self.repository();
        repository.monitor().phase(Phase::Filtering);
        let (planned, obstacles) = repository.plan_move(self.staged(), moving)?;
        let blocking = |(_, obstacle): &(RepoPath, Obstacle)| !obstacle.can_be_stored();
        if moving.overwrite == Overwrite::Refuse && !obstacles.is_empty()
            || obstacles.listed.iter().any(blocking)
        {
            return Err(RepoError::InTheWay(obstacles));
        }
        let keeps =
            moving.overwrite == Overwrite::Store || planned.taken_over > 0 && !self.goes_on();
        let kept = if keeps { self.keep_doomed(moving)? } else { None };
        if planned.written + planned.removed > 0 || kept.is_some() {
            self.announce(moving.target.unwrap_or_else(empty_tree))?;
        }
        repository.monitor().phase(Phase::Restoring);
        repository.monitor().totals(planned.written, planned.bytes);
        let was_base = Some(self.staged_before().tree) == moving.base;
        let mut report = Steps::new(self, moving)?.run()?;
        report.kept = kept;
        // Without local changes, and with all of it done, the trees of the target are known.
        if let Some(target) = moving.target.filter(|_| was_base && report.skipped.is_empty()) {
            self.staging().mark_clean(target)?;
        }
        self.moves_work_tree();
        Ok(report)
    }

    /// Stores the bytes in the way, before they are overwritten, and notes those that are as the
    /// target has them: an undo, which takes the target away, leaves them.
    fn keep_doomed(&mut self, moving: &Move<'_>) -> Result<Option<TreeId>> {
        let repository = self.repository();
        let root = repository.work_tree_handle()?;
        let staging = self.staged().snapshot();
        let look = Look::new(repository, &root, &staging, moving)?;
        let mut keeper = Keeper::new(repository, &root);
        let (mut doomed, mut last) = (Vec::new(), None);
        let is_also =
            |path: &RepoPath| moving.keeps_also && moving.also.binary_search(path).is_ok();
        for change in repository.changes(moving)? {
            let change = change?;
            let looked = look.at(&change)?;
            // What a killed command had written before is nobody's.
            let is_taken_over = looked.is_taken_over && !self.goes_on();
            let taken_over = looked.target.filter(|_| is_taken_over);
            if let Some((path, obstacle)) = looked.obstacle
                && obstacle.has_bytes()
                // What blocks the way to several paths is in the way of each.
                && last.as_ref() != Some(&path)
                && !is_also(&path)
            {
                last = Some(path.clone());
                doomed.push(Doomed { path, held: Held::Unknown });
            }
            if is_also(&change.path) {
                let is_modified = repository.is_modified(&root, &staging, &change.path)?;
                let held = Held::as_modified(is_modified);
                doomed.push(Doomed { path: change.path, held });
            } else if let Some((kind, size)) = taken_over {
                doomed.push(Doomed { path: change.path, held: Held::Stored(kind, size) });
            }
            if doomed.len() >= KEPT_AT_ONCE {
                keep_all(&mut keeper, &mut doomed, &staging)?;
            }
        }
        keep_all(&mut keeper, &mut doomed, &staging)?;
        let kept = self.with_earlier(keeper.finish()?)?;
        self.keep(kept)?;
        Ok(kept)
    }
}

fn keep_all(
    keeper: &mut Keeper<'_>,
    doomed: &mut Vec<Doomed>,
    staging: &BinaryStagingArea,
) -> Result<()> {
    let failed = keeper.keep(doomed, staging)?;
    doomed.clear();
    match failed.into_iter().next() {
        Some((path, why)) => Err(RepoError::CannotKeep { path, why }),
        None => Ok(()),
    }
}
