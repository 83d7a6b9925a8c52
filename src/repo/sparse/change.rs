//! Changing what the work tree is to hold.
//!
//! The new pathspecs are published beside those before, so that what either of them does not want
//! may be absent; then files are removed and written; then the new ones stand alone. Where it was
//! killed in between, nothing seems deleted, and the next change goes on from what both wanted.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::super::beneath::{PathKind, stat_one};
use super::super::diff_trees::CommittedEntry;
use super::super::operation::Operation;
use super::super::restore::refreshed;
use super::super::switch::{MoveReport, Obstacle, Obstacles};
use super::super::worktree::{WorkTree, WorkTreeError, why};
use super::super::{RepoError, Repository, Result};
use super::{SPARSE_FILE, SparseError, SparseFile, SparseSpec, Wanted, parse};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedKind, StagedView};
use crate::storage::format::staging::FileStat;

/// Matches nothing: what is known to be wanted where the file cannot be read.
const NOTHING: &[u8] = b":(exclude).";

/// How the pathspecs change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SparseChange {
    /// To these.
    Set(SparseSpec),
    /// By these.
    Add(SparseSpec),
    /// Not at all: the work tree is brought to them again.
    Again,
    /// To everything.
    Disable,
}

/// How it is changed.
#[derive(Debug, Clone, Default)]
pub struct SparseOptions {
    /// Pathspecs that match nothing are taken too.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// A directory that is kept though it becomes empty: where the user is.
    pub keep_dir: RepoPath,
}

/// What came of a change.
#[derive(Debug, Default)]
pub struct SparseReport {
    /// The pathspecs that stand now; none for everything.
    pub spec: SparseSpec,
    /// Paths that are staged.
    pub tracked: u64,
    /// Of these, what the work tree is to hold.
    pub wanted: u64,
    /// What happened to the work tree, or would.
    pub moved: MoveReport,
    /// What is not wanted and stays, because it holds what is not committed or a conflict.
    pub stays: Obstacles,
    /// With a dry run: what would stop it.
    pub obstacles: Obstacles,
}

impl Repository {
    /// Changes what the work tree holds. Files that are not wanted any more and hold what the last
    /// commit has are removed, any others stay. Files that are newly wanted are written; what
    /// stands in the place of their directories stops it before anything is touched. A pathspec
    /// that matches nothing staged is an error, unless it is forced.
    pub fn set_sparse(
        &self,
        change: &SparseChange,
        options: &SparseOptions,
    ) -> Result<SparseReport> {
        let op = if options.dry_run { None } else { Some(self.begin("sparse")?) };
        let staging = match &op {
            Some(op) => op.staged().snapshot(),
            None => self.staging()?,
        };
        let before = self.specs_before(change)?;
        let spec = spec_after(change, &before)?;
        if let (SparseChange::Set(new) | SparseChange::Add(new), false) = (change, options.force) {
            parse(new)?.check_staged(&staging)?;
        }
        self.monitor().phase(Phase::Filtering);
        let step = Step::new(self, staging, &before, &spec)?;
        let mut report = step.plan()?;
        report.spec.clone_from(&spec);
        let Some(mut op) = op else { return Ok(report) };
        if !report.obstacles.is_empty() {
            return Err(RepoError::InTheWay(report.obstacles));
        }
        let mut specs = if before.is_empty() { vec![SparseSpec::new()] } else { before };
        specs.retain(|other| *other != spec);
        specs.push(spec.clone());
        self.write_sparse(&SparseFile { specs })?;
        let (planned, bytes) = (report.moved.written, report.moved.bytes);
        (report.moved, report.stays) = step.remove(&options.keep_dir)?;
        self.monitor().phase(Phase::Restoring);
        self.monitor().totals(planned, bytes);
        let is_whole = step.write(&mut op, &mut report.moved)?;
        op.finish()?;
        if is_whole {
            self.write_sparse(&SparseFile { specs: vec![spec] })?;
        }
        Ok(report)
    }

    /// What was wanted so far. Nothing where that cannot be read and is not needed: then everything
    /// is written that is wanted now.
    fn specs_before(&self, change: &SparseChange) -> Result<Vec<SparseSpec>> {
        match self.sparse_file() {
            Ok(file) => Ok(file.unwrap_or_default().specs),
            Err(RepoError::Sparse(SparseError::Damaged(why)))
                if !why.is_newer()
                    && matches!(change, SparseChange::Set(_) | SparseChange::Disable) =>
            {
                Ok(vec![vec![NOTHING.to_vec()]])
            }
            Err(error) => Err(error),
        }
    }

    fn write_sparse(&self, file: &SparseFile) -> Result<()> {
        if file.specs.iter().all(Vec::is_empty) {
            return Ok(self.disk.remove_durably(Path::new(SPARSE_FILE))?);
        }
        Ok(self.disk.publish(Path::new(SPARSE_FILE), &file.encode(), true)?)
    }

    /// Writes what was renamed in the staging area alone, because the work tree need not hold it, and
    /// is wanted under its new name.
    pub(in super::super) fn write_newly_wanted(
        &self,
        op: &mut Operation<'_>,
        from: &RepoPath,
        to: &RepoPath,
    ) -> Result<()> {
        let wanted = self.wanted()?;
        if wanted.is_everything() {
            return Ok(());
        }
        let mut writer = Writer::new(self)?;
        let staging = op.staged().snapshot();
        for view in staging.views_within(to.as_bytes()).filter(|view| wanted.wants_staged(view)) {
            let old = [from.as_bytes(), &view.path[to.as_bytes().len()..]].concat();
            if !wanted.wants(&old, view.kind == KindView::EmptyDir)
                && let Some(entry) = entry_of(&view)
                && look_at(&writer.root, &entry.path)?.is_none()
            {
                writer.push(entry, op)?;
            }
        }
        staging.check()?;
        writer.flush(op)?;
        self.tell_skipped(&writer.report.skipped);
        Ok(())
    }
}

/// The pathspecs that a change leads to; none for everything.
fn spec_after(change: &SparseChange, before: &[SparseSpec]) -> Result<SparseSpec> {
    let last = || before.last().cloned().ok_or(SparseError::NotSparse);
    match change {
        SparseChange::Set(spec) => Ok(spec.clone()),
        SparseChange::Disable => Ok(SparseSpec::new()),
        SparseChange::Again => Ok(last()?),
        SparseChange::Add(more) => {
            let mut spec = last()?;
            if spec.is_empty() {
                return Err(SparseError::NotSparse.into());
            }
            let new = more.iter().filter(|text| !spec.contains(text)).cloned();
            let new: Vec<_> = new.collect();
            spec.extend(new);
            Ok(spec)
        }
    }
}

fn entry_of(view: &StagedView<'_>) -> Option<CommittedEntry> {
    let entry = view.to_entry()?;
    let size = if matches!(entry.kind, StagedKind::File { .. }) { entry.stat.size } else { 0 };
    Some(CommittedEntry { path: entry.path, kind: entry.kind, size })
}

/// What becomes of a path that is not wanted.
enum Fate {
    /// It is not there.
    Absent,
    /// It holds what is not committed, or a conflict.
    Stays(Obstacle),
    /// It has this stat, and is as it is staged.
    Goes(FileStat),
}

/// The way from what was wanted to what is wanted.
struct Step<'r> {
    repository: &'r Repository,
    staging: BinaryStagingArea,
    root: OwnedFd,
    old: Wanted,
    new: Wanted,
}

impl<'r> Step<'r> {
    fn new(
        repository: &'r Repository,
        staging: BinaryStagingArea,
        before: &[SparseSpec],
        spec: &SparseSpec,
    ) -> Result<Self> {
        let old = Wanted::new(before)?;
        let new = if spec.is_empty() { Wanted::default() } else { Wanted::new([spec])? };
        let root = repository.work_tree_handle()?;
        Ok(Self { repository, staging, root, old, new })
    }

    /// Calls `visit` for each staged path, with whether it is wanted.
    fn each(&self, mut visit: impl FnMut(&StagedView<'_>, bool) -> Result<()>) -> Result<()> {
        for view in self.staging.views() {
            if self.repository.cancel_token().is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            visit(&view, self.new.wants_staged(&view))?;
        }
        Ok(self.staging.check()?)
    }

    /// The same, for those that are not wanted, with what becomes of them.
    fn each_unwanted(
        &self,
        mut visit: impl FnMut(&StagedView<'_>, RepoPath, Fate) -> Result<()>,
    ) -> Result<()> {
        if self.new.is_everything() {
            return Ok(());
        }
        let uncommitted = self.repository.staged_changes(&self.staging)?;
        let conflicts = self.repository.merge_state()?.map(|state| state.conflicts);
        let mut conflicts = conflicts.unwrap_or_default();
        conflicts.retain(|conflict| !conflict.resolved);
        self.each(|view, is_wanted| {
            let Some(path) = RepoPath::new(view.path).ok().filter(|_| !is_wanted) else {
                return Ok(());
            };
            let is_new = || uncommitted.binary_search_by(|other| other.path.cmp(&path)).is_ok();
            let in_conflict = || conflicts.binary_search_by(|other| other.path.cmp(&path)).is_ok();
            let fate = match self.repository.compared(&self.root, &self.staging, &path)? {
                None => Fate::Absent,
                Some(_) if in_conflict() => Fate::Stays(Obstacle::Conflict),
                Some((true, _)) => Fate::Stays(Obstacle::Modified),
                Some((false, _)) if is_new() => Fate::Stays(Obstacle::Staged),
                Some((false, stat)) => Fate::Goes(stat),
            };
            visit(view, path, fate)
        })
    }

    /// Whether a path is wanted that was not.
    fn is_newly_wanted(&self, view: &StagedView<'_>, is_wanted: bool) -> bool {
        is_wanted && !self.old.wants_staged(view)
    }

    fn plan(&self) -> Result<SparseReport> {
        let mut report = SparseReport::default();
        self.each_unwanted(|_, path, fate| {
            match fate {
                Fate::Absent => {}
                Fate::Stays(obstacle) => report.stays.push(path, obstacle),
                Fate::Goes(_) => report.moved.removed += 1,
            }
            Ok(())
        })?;
        let mut way = Way { root: &self.root, last: None };
        self.each(|view, is_wanted| {
            report.tracked += 1;
            report.wanted += u64::from(is_wanted);
            if !self.is_newly_wanted(view, is_wanted) {
                return Ok(());
            }
            let Some(entry) = entry_of(view) else { return Ok(()) };
            if look_at(&self.root, &entry.path)?.is_none() {
                report.moved.written += 1;
                report.moved.bytes = report.moved.bytes.saturating_add(entry.size);
                let blocked = way.new_obstacle(&entry.path)?;
                blocked
                    .into_iter()
                    .for_each(|path| report.obstacles.push(path, Obstacle::Untracked));
            }
            Ok(())
        })?;
        Ok(report)
    }

    /// Removes what is not wanted, and directories that hold nothing any more, as one that was killed
    /// may have left them; answers also what stays.
    fn remove(&self, keep_dir: &RepoPath) -> Result<(MoveReport, Obstacles)> {
        let work_tree = self.repository.guarded()?;
        let (mut report, mut kept) = (MoveReport::default(), Obstacles::default());
        let mut last: Option<RepoPath> = None;
        let sweep = |path: Option<&RepoPath>| {
            let is_where_user_is = |dir: &RepoPath| keep_dir.is_within(dir);
            // A directory that cannot be removed is empty all the same.
            path.into_iter()
                .for_each(|path| drop(work_tree.remove_empty_dirs_unless(path, is_where_user_is)));
        };
        self.each_unwanted(|view, path, fate| {
            match fate {
                Fate::Absent => {}
                Fate::Stays(obstacle) => kept.push(path.clone(), obstacle),
                Fate::Goes(stat) => {
                    self.repository.note_stored(&path, &stat);
                    match remove_one(&work_tree, view, &path) {
                        Ok(is_gone) => report.removed += u64::from(is_gone),
                        Err(error) => report.skipped.push((path.clone(), why(&error))),
                    }
                }
            }
            if last.as_ref().is_some_and(|last| last.parent() != path.parent()) {
                sweep(last.as_ref());
            }
            last = Some(path);
            Ok(())
        })?;
        sweep(last.as_ref());
        Ok((report, kept))
    }

    /// Writes what is newly wanted and absent; answers whether all of it was written.
    fn write(&self, op: &mut Operation<'_>, report: &mut MoveReport) -> Result<bool> {
        let mut writer = Writer::new(self.repository)?;
        self.each(|view, is_wanted| {
            if !self.is_newly_wanted(view, is_wanted) {
                return Ok(());
            }
            match entry_of(view) {
                Some(entry) if look_at(&self.root, &entry.path)?.is_none() => {
                    writer.push(entry, op)
                }
                _ => Ok(()),
            }
        })?;
        writer.flush(op)?;
        let MoveReport { written, bytes, skipped, .. } = writer.report;
        let is_whole = skipped.is_empty();
        (report.written, report.bytes) = (written, bytes);
        report.skipped.extend(skipped);
        Ok(is_whole)
    }
}

fn remove_one(
    work_tree: &WorkTree,
    view: &StagedView<'_>,
    path: &RepoPath,
) -> std::result::Result<bool, WorkTreeError> {
    match view.kind {
        KindView::EmptyDir => work_tree.remove_dir(path),
        KindView::File { .. } | KindView::Symlink { .. } => work_tree.remove_file(path),
    }
}

fn look_at(root: &OwnedFd, path: &RepoPath) -> Result<Option<PathKind>> {
    let found = stat_one(root, path)
        .map_err(|source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source })?;
    Ok(found.map(|(kind, _)| kind))
}

/// Writes staged entries into the work tree, many at once, and stages their new stat data.
struct Writer<'r> {
    repository: &'r Repository,
    work_tree: WorkTree,
    root: OwnedFd,
    batch: Vec<CommittedEntry>,
    cost: usize,
    report: MoveReport,
}

impl<'r> Writer<'r> {
    fn new(repository: &'r Repository) -> Result<Self> {
        let work_tree = repository.guarded_stamped()?;
        let (root, report) = (repository.work_tree_handle()?, MoveReport::default());
        Ok(Self { repository, work_tree, root, batch: Vec::new(), cost: 0, report })
    }

    fn push(&mut self, entry: CommittedEntry, op: &mut Operation<'_>) -> Result<()> {
        self.cost += size_of::<CommittedEntry>() + entry.path.as_bytes().len();
        self.batch.push(entry);
        if self.cost > self.repository.read_limits().plan { self.flush(op) } else { Ok(()) }
    }

    fn flush(&mut self, op: &mut Operation<'_>) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.cost = 0;
        let written = self.repository.checkout(&self.work_tree, batch.iter().cloned().map(Ok))?;
        self.report.written += written.files;
        self.report.bytes = self.report.bytes.saturating_add(written.bytes);
        self.report.skipped.extend(written.skipped);
        let noted = {
            let staging = op.staged().snapshot();
            refreshed(&self.work_tree, &self.root, &staging, batch)
        };
        if !noted.is_empty() {
            op.staging().apply(noted)?;
        }
        self.repository.objects()?.reader().trim();
        Ok(())
    }
}

/// Looks for what stands in the place of directories; neighbours have the same.
struct Way<'a> {
    root: &'a OwnedFd,
    last: Option<RepoPath>,
}

impl Way<'_> {
    fn new_obstacle(&mut self, path: &RepoPath) -> Result<Option<RepoPath>> {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else {
            return Ok(None);
        };
        if self.last.as_ref() == Some(&parent) {
            return Ok(None);
        }
        let above = std::iter::successors(Some(parent.clone()), RepoPath::parent);
        self.last = Some(parent);
        for dir in above.filter(|dir| !dir.is_root()) {
            match look_at(self.root, &dir)? {
                Some(PathKind::Dir) => return Ok(None),
                Some(_) => return Ok(Some(dir)),
                None => {}
            }
        }
        Ok(None)
    }
}
