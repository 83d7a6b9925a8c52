//! The steps of a move: removals, then writes, the staging area told after each batch.

use std::os::fd::OwnedFd;

use super::super::beneath::{PathKind, stat_one};
use super::super::diff_trees::CommittedEntry;
use super::super::ignore::IN_GIT;
use super::super::operation::Operation;
use super::super::worktree::{WorkTree, why};
use super::super::{RepoError, Repository, Result};
use super::look::{Look, Looked, Verdict, all_below};
use super::{Move, MoveReport, Overwrite, Reach};
use crate::path::RepoPath;
use crate::storage::binary_staging::{Frame, StagedEntry, StagedKind};
use crate::storage::format::staging::FileStat;

/// Removals that the staging area is told at once.
const REMOVED_AT_ONCE: usize = 16 << 10;

/// See the module.
pub(super) struct Steps<'o, 'r, 'm> {
    operation: &'o mut Operation<'r>,
    repository: &'r Repository,
    moving: &'m Move<'m>,
    root: OwnedFd,
    work_tree: WorkTree,
    report: MoveReport,
}

/// Entries that are written or noted together.
#[derive(Default)]
struct Batch {
    write: Vec<CommittedEntry>,
    note: Vec<CommittedEntry>,
    cost: usize,
}

impl<'o, 'r, 'm> Steps<'o, 'r, 'm> {
    pub(super) fn new(operation: &'o mut Operation<'r>, moving: &'m Move<'m>) -> Result<Self> {
        let repository = operation.repository();
        let root = repository.work_tree_handle()?;
        let work_tree = repository.guarded_stamped()?;
        Ok(Self { operation, repository, moving, root, work_tree, report: MoveReport::default() })
    }

    pub(super) fn run(mut self) -> Result<MoveReport> {
        self.remove_all()?;
        self.write_all()?;
        Ok(self.report)
    }

    fn check_cancel(&self) -> Result<()> {
        let is_cancelled = self.repository.cancel_token().is_cancelled();
        if is_cancelled { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    /// Somebody changed the path since the move was planned.
    fn is_spared(&mut self, looked: &Looked) -> bool {
        let Some((path, obstacle)) = &looked.obstacle else { return false };
        let is_spared = self.moving.overwrite == Overwrite::Refuse || !obstacle.can_be_stored();
        if is_spared {
            self.report.skipped.push((path.clone(), obstacle.to_string()));
        }
        is_spared
    }

    /// Notes what may be replaced or removed. What is in the way was noted when it was kept.
    fn note_stored(&self, path: &RepoPath, looked: &Looked) {
        if let (Some(stat), Verdict::Write | Verdict::Remove) = (&looked.stored, looked.verdict) {
            self.repository.note_stored(path, stat);
        }
    }

    /// Removes what the target does not have, and what stands where it has a directory.
    fn remove_all(&mut self) -> Result<()> {
        let staging = self.operation.staged().snapshot();
        let root = self.repository.work_tree_handle()?;
        let look = Look::new(self.repository, &root, &staging, self.moving)?;
        let (mut frame, mut last): (_, Option<RepoPath>) = (Frame::default(), None);
        for change in self.repository.changes(self.moving)? {
            self.check_cancel()?;
            let change = change?;
            let looked = look.at(&change)?;
            let is_replaced = is_dir(&looked) && looked.verdict == Verdict::Write;
            let goes = looked.target.is_none() && looked.verdict != Verdict::Nothing;
            let path = &change.path;
            // What is in the way below it stays, as what is not tracked.
            let is_above = |way: &RepoPath| way != path && path.is_within(way);
            if let Some((way, _)) = looked.obstacle.as_ref().filter(|(way, _)| is_above(way))
                && self.moving.overwrite == Overwrite::Store
            {
                self.repository.is_modified_else_note(&root, &staging, way)?;
                self.remove(way)?;
            }
            if !(goes || is_replaced) || self.is_spared(&looked) {
                continue;
            }
            if looked.verdict != Verdict::Note {
                self.note_stored(path, &looked);
                self.remove(path)?;
            }
            // A move that was killed may have left the directory of files that are gone.
            if looked.verdict != Verdict::Note || self.operation.goes_on() {
                if last.as_ref().is_some_and(|last| last.parent() != path.parent()) {
                    self.remove_empty_dirs(last.as_ref())?;
                }
                last = Some(path.clone());
            }
            if goes {
                frame.remove(path.as_bytes());
            }
            if frame.count() as usize >= REMOVED_AT_ONCE {
                self.remove_empty_dirs(last.as_ref())?;
                self.operation.staging().apply_round(std::mem::take(&mut frame))?;
            }
        }
        self.remove_empty_dirs(last.as_ref())?;
        self.operation.staging().apply_round(frame)?;
        staging.check()?;
        Ok(())
    }

    fn remove(&mut self, path: &RepoPath) -> Result<()> {
        let removed = match self.work_tree.stat(path)? {
            Some((PathKind::Dir, _)) => self.work_tree.remove_dir(path).map(|_| ()),
            Some(_) => self.work_tree.remove_file(path).map(|_| ()),
            None => return Ok(()),
        };
        match removed {
            Ok(()) => self.report.removed += 1,
            Err(error) => self.report.skipped.push((path.clone(), why(&error))),
        }
        Ok(())
    }

    fn remove_empty_dirs(&self, below: Option<&RepoPath>) -> Result<()> {
        let Some(path) = below else { return Ok(()) };
        // A directory that cannot be removed is empty all the same.
        let _ = self.work_tree.remove_empty_dirs_up(path);
        self.check_cancel()
    }

    fn write_all(&mut self) -> Result<()> {
        let limit = self.repository.read_limits().plan;
        let mut batch = Batch::default();
        let mut staging = self.operation.staged().snapshot();
        let root = self.repository.work_tree_handle()?;
        let mut changes = self.repository.changes(self.moving)?;
        loop {
            let look = Look::new(self.repository, &root, &staging, self.moving)?;
            let mut is_last = true;
            for change in changes.by_ref() {
                self.check_cancel()?;
                let change = change?;
                let looked = look.at(&change)?;
                if matches!(looked.verdict, Verdict::Write | Verdict::Note)
                    && !self.is_spared(&looked)
                {
                    self.note_stored(&change.path, &looked);
                    if looked.is_left_out {
                        self.report.skipped.push((change.path.clone(), IN_GIT.to_owned()));
                    }
                    batch.push(change.path, looked);
                }
                if batch.cost > limit {
                    is_last = false;
                    break;
                }
            }
            staging.check()?;
            drop(look);
            drop(staging);
            self.write(std::mem::take(&mut batch))?;
            if is_last {
                return Ok(());
            }
            staging = self.operation.staged().snapshot();
        }
    }

    fn write(&mut self, batch: Batch) -> Result<()> {
        for entry in &batch.write {
            if !matches!(entry.kind, StagedKind::EmptyDir)
                && matches!(self.work_tree.stat(&entry.path)?, Some((PathKind::Dir, _)))
            {
                remove_dirs(self.repository, &self.work_tree, &entry.path)?;
            }
        }
        let written =
            self.repository.checkout(&self.work_tree, batch.write.iter().cloned().map(Ok))?;
        self.report.written += written.files;
        self.report.bytes = self.report.bytes.saturating_add(written.bytes);
        self.report.skipped.extend(written.skipped);
        let entries = batch.write.into_iter().chain(batch.note).map(|entry| self.staged(entry));
        let entries: Vec<StagedEntry> = entries.collect();
        let mut frame = Frame::default();
        for entry in &entries {
            // It was no obstacle, so that it may go: a path cannot be both a file and a directory.
            let staged = self.operation.staged();
            staged.around(entry.path.as_bytes()).for_each(|view| frame.remove(view.path));
            frame.put(&entry.view());
        }
        self.operation.staging().apply_round(frame)?;
        self.repository.objects()?.reader().trim();
        Ok(())
    }

    /// The entry as it is staged now, with the stat data of what lies there.
    fn staged(&self, entry: CommittedEntry) -> StagedEntry {
        let CommittedEntry { path, kind, size } = entry;
        let is_there = self.moving.reach != Reach::Nothing;
        let stat = stat_one(&self.root, &path).ok().flatten().filter(|_| is_there);
        // Times of no file: the next look compares the content.
        let unknown = FileStat { size, ..FileStat::default() };
        let stat = match (stat, &kind) {
            (Some((PathKind::File { .. }, stat)), StagedKind::File { .. }) if stat.size == size => {
                stat
            }
            (Some((PathKind::Symlink, stat)), StagedKind::Symlink { .. })
            | (Some((PathKind::Dir, stat)), StagedKind::EmptyDir) => stat,
            _ => unknown,
        };
        // What was not written here may be changed in this very moment.
        let racy = !self.work_tree.is_as_written(&stat);
        StagedEntry { path, kind, stat, racy }
    }
}

/// Removes a directory of the work tree and those in it; those that hold something else stay.
pub(in super::super) fn remove_dirs(
    repository: &Repository,
    work_tree: &WorkTree,
    dir: &RepoPath,
) -> Result<()> {
    let mut dirs = vec![dir.clone()];
    all_below(repository, dir, |path, is_dir| {
        dirs.extend(path.filter(|_| is_dir).cloned());
        Ok(true)
    })?;
    for dir in dirs.iter().rev() {
        work_tree.remove_dir(dir)?;
    }
    Ok(())
}

impl Batch {
    fn push(&mut self, path: RepoPath, looked: Looked) {
        let Some((kind, size)) = looked.target else { return };
        self.cost += size_of::<CommittedEntry>() + path.as_bytes().len();
        let entry = CommittedEntry { path, kind, size };
        if looked.verdict == Verdict::Write {
            self.write.push(entry);
        } else {
            self.note.push(entry);
        }
    }
}

fn is_dir(looked: &Looked) -> bool {
    matches!(looked.target, Some((StagedKind::EmptyDir, _)))
}
