//! What a command that was killed left: refs that its record names and that did not move yet, what
//! is staged without a record, a work tree half-way to another tree.

use std::path::Path;

use super::super::trees::{TreeDiff, is_empty_tree};
use super::super::worktree::WorkTree;
use super::super::{RepoError, Repository, Result};
use super::{
    MAX_DESCRIPTION, OpKind, OpLog, OpRecord, OpState, Operation, RefChange, StagedTree, shortened,
    staged,
};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::moving::Moving;
use crate::storage::objects::TreeTotals;
use crate::storage::refs::RefError;

/// The file that says what happens to the work tree.
pub(in super::super) const MOVING_FILE: &str = "moving";
/// Longer than any.
const MAX_MOVING: u64 = 64 << 10;
const NOTICED: &str = "what was staged or moved by a command that did not finish";
const UNFINISHED: &str = " (not finished)";

impl Repository {
    /// What a killed command was doing to the work tree, if it died before its record was in the log.
    pub(in super::super) fn announced(&self, log: &OpLog) -> Result<Option<Moving>> {
        let Some(moving) = self.moving()? else { return Ok(None) };
        let means_this = match log.last() {
            Some(last) => moving.seq == last.link.seq,
            // The log that it goes on with is gone; what was kept must not go too.
            None => moving.seq == 0 || self.holds_trees_of(&moving)?,
        };
        Ok(means_this.then_some(moving))
    }

    fn holds_trees_of(&self, moving: &Moving) -> Result<bool> {
        for tree in moving.trees() {
            if !is_empty_tree(&tree) && !staged::is_stored(self, &tree)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The file that says it, which may be one of the past.
    pub(in super::super) fn moving(&self) -> Result<Option<Moving>> {
        let Some(bytes) = self.disk.read(Path::new(MOVING_FILE), MAX_MOVING)? else {
            return Ok(None);
        };
        // It is durable before its name is: no crash tears it, and it may be all that names what was
        // kept.
        Moving::decode(&bytes).map(Some).map_err(RepoError::Moving)
    }
}

impl Operation<'_> {
    /// Says durably, before files of the work tree change, that they are brought to `target`, and
    /// what was kept of them so far.
    pub fn announce(&mut self, target: TreeId) -> Result<()> {
        let moving = Moving {
            seq: self.log.last().map_or(0, |last| last.link.seq),
            target,
            kept: self.kept,
            is_undo: self.is_undo,
            description: shortened(&self.description, MAX_DESCRIPTION - UNFINISHED.len()),
        };
        self.repository.disk.publish(Path::new(MOVING_FILE), &moving.encode(), true)?;
        self.is_announced = true;
        Ok(())
    }

    /// What was kept, and before that by a killed command that this one goes on with.
    pub(in super::super) fn with_earlier(&self, kept: Option<TreeId>) -> Result<Option<TreeId>> {
        let earlier = self.unfinished.as_ref().and_then(|moving| moving.kept);
        self.repository.overlaid(kept, earlier)
    }

    /// Lets the record say, as one of a killed command does, that the work tree is somewhere on its way
    /// to `target`: an undo takes back what was done of it.
    pub fn got_no_further(&mut self, target: TreeId) {
        self.kind = OpKind::Noticed;
        self.description =
            shortened(&self.description, MAX_DESCRIPTION - UNFINISHED.len()) + UNFINISHED;
        self.written = Some(target);
        self.moves_work_tree = true;
    }

    /// The record says it now. A file that stays behind a crash is one of the past.
    pub(super) fn forget_announcement(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_announced) {
            self.repository.disk.remove(Path::new(MOVING_FILE))?;
        }
        Ok(())
    }

    /// Finishes what the last record says, and enters what is there besides; without
    /// `notice`, what is staged and what happened to the work tree is left to this operation.
    pub(super) fn catch_up(&mut self, notice: bool) -> Result<()> {
        if let Some(moving) = &self.unfinished {
            self.sweep(moving)?;
        }
        let moving = if notice { self.unfinished.take() } else { None };
        let last = self.log.last().cloned();
        let store = self.repository.refs();
        let (mut refs, mut head) = (Vec::new(), store.read_head()?);
        if let Some(last) = &last {
            let holds;
            (refs, holds) = self.move_late_refs(last)?;
            if holds && head == last.before.head && head != last.after.head {
                store.write_head(&last.after.head)?;
                head = last.after.head.clone();
            }
        }
        let mut staged = self.before.staged;
        let is_new = last.is_none() && self.staging.is_empty();
        if notice && !is_new {
            let known: Vec<StagedTree> = last
                .iter()
                .flat_map(|last| [last.after.staged, last.before.staged])
                .chain([self.before.staged])
                .collect();
            let TreeTotals { tree, files, bytes } =
                staged::write(self.repository, &mut self.staging, &known)?;
            staged = StagedTree { tree, files, bytes };
        }
        let found = OpState { head, staged, merging: self.before.merging };
        self.enter_noticed(found, refs, moving)
    }

    /// Moves the refs that the last record names and that did not move yet. Returns those that are
    /// elsewhere than it says, and whether the others are where it says: they are not where
    /// somebody put other refs in the place of those that were to be made.
    fn move_late_refs(&self, last: &OpRecord) -> Result<(Vec<RefChange>, bool)> {
        let store = self.repository.refs();
        let (mut late, mut strays) = (Vec::new(), Vec::new());
        let stray = |change: &RefChange, found| {
            let (name, old) = (change.name.clone(), change.new);
            RefChange { name, old, new: found }
        };
        for change in &last.refs {
            let found = store.read(&change.name)?.map(|record| record.new);
            if found == change.new {
                continue;
            }
            if found == change.old {
                late.push(change.clone());
            } else {
                strays.push(stray(change, found));
            }
        }
        // In a copy that was made while it changed, the log may know of more than the packs.
        late.iter()
            .filter_map(|change| change.new)
            .try_for_each(|new| self.repository.check_whole(new.commit))?;
        let applied = store.apply(&late);
        let holds = !matches!(applied, Err(RefError::Clash { .. } | RefError::Twin { .. }));
        if holds {
            applied?;
        } else {
            strays.extend(late.iter().map(|change| stray(change, change.old)));
            strays.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok((strays, holds))
    }

    /// Enters refs that are elsewhere than the log says, as they are: nothing moves, and an undo
    /// brings them to where it said.
    pub(in super::super) fn enter_strays(&mut self) -> Result<()> {
        let strays = self.repository.stray_refs()?.into_iter();
        let refs = strays.filter(|stray| stray.found.is_some());
        let refs =
            refs.map(|stray| RefChange { name: stray.name, old: stray.said, new: stray.found });
        self.enter_noticed(self.before.clone(), refs.collect(), None)
    }

    fn enter_noticed(
        &mut self,
        found: OpState,
        refs: Vec<RefChange>,
        moving: Option<Moving>,
    ) -> Result<()> {
        if found == self.before && refs.is_empty() && moving.is_none() {
            return Ok(());
        }
        if self.log.last().is_none() {
            self.before = found.clone();
        }
        let mut noticed = NOTICED.to_owned();
        if let Some(moving) = moving {
            noticed = moving.description + UNFINISHED;
            (self.kept, self.written) = (moving.kept, Some(moving.target));
            self.moves_work_tree = true;
            self.is_announced = true;
        }
        let kind = std::mem::replace(&mut self.kind, OpKind::Noticed);
        let description = std::mem::replace(&mut self.description, noticed);
        self.append(found.clone(), refs)?;
        self.forget_announcement()?;
        (self.kind, self.description, self.before) = (kind, description, found);
        Ok(())
    }

    /// Removes the temporary files that a killed command left where it wrote, as far as the trees that
    /// say where can be read.
    fn sweep(&self, moving: &Moving) -> Result<()> {
        let repository = self.repository;
        let work_tree = WorkTree::open(&repository.place().work_tree)?;
        let (base, objects) = (Some(self.before.staged.tree), repository.objects()?);
        let mut last: Option<RepoPath> = None;
        for change in TreeDiff::new(objects, base, Some(moving.target)) {
            if repository.cancel_token().is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            let dir = match change {
                Err(RepoError::Store(error)) if error.is_loss() => break,
                change => change?.path.parent(),
            };
            if let Some(dir) = dir.filter(|dir| last.as_ref() != Some(dir)) {
                work_tree.sweep_now(&dir);
                last = Some(dir);
            }
        }
        Ok(())
    }
}
