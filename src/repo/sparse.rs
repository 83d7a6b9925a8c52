//! Sparse work trees: the work tree holds the paths that pathspecs match, and everything is still
//! staged and committed.
//!
//! A staged path that is not wanted and does not lie in the work tree is not gone: `status` and
//! `add` say nothing of it, and what moves the work tree does not write it. One that lies there all
//! the same is as any other. Ignore files and the settings of the work tree are always wanted: the
//! others are read by their rules.
//!
//! [`Repository::set_sparse`] first publishes the new pathspecs beside those before, so that what
//! either of them does not want may be absent; then it removes and writes files; then the new ones
//! stand alone. Where it was killed in between, nothing seems deleted, and the next one goes on.

use std::path::Path;

use thiserror::Error;

use super::beneath::{PathKind, stat_one};
use super::ignore::{DIGIGNORE, GITIGNORE};
use super::operation::Operation;
use super::pathspec::Pathspec;
use super::switch::{Move, MoveReport, Obstacle, Obstacles, Overwrite, Reach};
use super::worktree::{WorkTree, why};
use super::{RepoError, Repository, Result};
use crate::path::{RepoPath, split_last};
use crate::progress::Phase;
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedView};
use crate::storage::format::FormatError;
use crate::storage::format::merge_state::Conflict;
use crate::storage::format::object::EntryKind;
pub use crate::storage::format::sparse::{SparseFile, SparseLine};

/// The file of the pathspecs.
const SPARSE_FILE: &str = "sparse";
/// Larger than the pathspecs of any command line.
const MAX_FILE: u64 = 1 << 28;
/// Files that are written in one go.
const WRITTEN_AT_ONCE: usize = 64 << 10;
/// The settings in the root of the work tree.
const SETTINGS: &[u8] = b"digstore.toml";

/// Why the pathspecs of a sparse work tree are refused.
#[derive(Debug, Error)]
pub enum SparseError {
    /// The file is damaged.
    #[error("which paths the work tree holds cannot be read")]
    Damaged(#[source] FormatError),
    /// `add` where there is nothing to add to.
    #[error("the work tree is not sparse: it holds everything")]
    NotSparse,
}

/// What the work tree is to hold.
#[derive(Debug, Default)]
pub struct Wanted {
    /// All of them must match; none for everything.
    specs: Vec<Pathspec>,
}

impl Wanted {
    fn new<'a>(specs: impl IntoIterator<Item = &'a Vec<SparseLine>>) -> Result<Self> {
        let parse = |spec: &Vec<SparseLine>| {
            Pathspec::parse_in(spec.iter().map(|line| (&line.dir, line.text.as_slice())))
        };
        let specs: std::result::Result<Vec<_>, _> = specs.into_iter().map(parse).collect();
        Ok(Self { specs: specs? })
    }

    /// Whether it holds a path.
    pub fn wants(&self, path: &[u8], is_empty_dir: bool) -> bool {
        self.specs.iter().all(|spec| spec.matches(path, is_empty_dir)) || is_always_wanted(path)
    }

    /// Whether it holds what is staged.
    pub(super) fn wants_staged(&self, view: &StagedView<'_>) -> bool {
        self.wants(view.path, view.kind == KindView::EmptyDir)
    }

    /// Whether it holds everything.
    pub fn is_everything(&self) -> bool {
        self.specs.is_empty()
    }
}

fn is_always_wanted(path: &[u8]) -> bool {
    let name = split_last(path).1;
    name == DIGIGNORE.as_bytes() || name == GITIGNORE.as_bytes() || path == SETTINGS
}

/// How the pathspecs change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SparseChange {
    /// To these.
    Set(Vec<SparseLine>),
    /// By these.
    Add(Vec<SparseLine>),
    /// To everything.
    Disable,
}

/// What came of a change.
#[derive(Debug, Default)]
pub struct SparseReport {
    /// The pathspecs that stand now.
    pub lines: Vec<SparseLine>,
    /// What happened to the work tree, or would.
    pub moved: MoveReport,
    /// With a dry run: what would stop it.
    pub obstacles: Obstacles,
}

impl Repository {
    /// What the work tree is to hold. While a change of it is not finished, only what was wanted
    /// before and after.
    pub fn wanted(&self) -> Result<Wanted> {
        Wanted::new(self.sparse_file()?.iter().flat_map(|file| &file.specs))
    }

    /// The pathspecs; `None` where the work tree is not sparse.
    pub fn sparse_file(&self) -> Result<Option<SparseFile>> {
        let Some(bytes) = self.disk.read(Path::new(SPARSE_FILE), MAX_FILE)? else {
            return Ok(None);
        };
        Ok(Some(SparseFile::decode(&bytes).map_err(SparseError::Damaged)?))
    }

    /// Changes what the work tree holds. Files that are not wanted any more and hold what the last
    /// commit has are removed; any other stops it, all named. Files that are newly wanted are
    /// written. A pathspec that matches nothing staged is an error, unless `force` is given.
    pub fn set_sparse(
        &self,
        change: SparseChange,
        force: bool,
        dry_run: bool,
    ) -> Result<SparseReport> {
        let op = if dry_run { None } else { Some(self.begin("sparse")?) };
        let staging = match &op {
            Some(op) => op.staged().snapshot(),
            None => self.staging()?,
        };
        let before = self.specs_before(&change)?;
        let lines = lines_of(&change, &before)?;
        if let (SparseChange::Set(new) | SparseChange::Add(new), false) = (&change, force) {
            let new = new.iter().map(|line| (&line.dir, line.text.as_slice()));
            Pathspec::parse_in(new)?.check_staged(&staging)?;
        }
        let old = Wanted::new(&before)?;
        let new = if lines.is_empty() { Wanted::default() } else { Wanted::new([&lines])? };
        self.monitor().phase(Phase::Filtering);
        let step = Step { repository: self, staging, old, new };
        let (planned, obstacles) = step.plan()?;
        let Some(op) = op else { return Ok(SparseReport { lines, moved: planned, obstacles }) };
        if !obstacles.is_empty() {
            return Err(RepoError::InTheWay(obstacles));
        }
        let mut specs = if before.is_empty() { vec![Vec::new()] } else { before };
        specs.retain(|spec| *spec != lines);
        specs.push(lines.clone());
        self.write_sparse(SparseFile { specs })?;
        self.monitor().phase(Phase::Restoring);
        self.monitor().totals(planned.written, planned.bytes);
        let (moved, is_whole) = step.run(op)?;
        if is_whole {
            self.write_sparse(SparseFile { specs: vec![lines.clone()] })?;
        }
        Ok(SparseReport { lines, moved, obstacles })
    }

    /// What was wanted so far. Nothing where that cannot be read and is not needed: then everything
    /// is written that is wanted now.
    fn specs_before(&self, change: &SparseChange) -> Result<Vec<Vec<SparseLine>>> {
        match self.sparse_file() {
            Ok(file) => Ok(file.unwrap_or_default().specs),
            Err(RepoError::Sparse(SparseError::Damaged(_)))
                if !matches!(change, SparseChange::Add(_)) =>
            {
                let nothing = SparseLine { dir: RepoPath::root(), text: b":!.".to_vec() };
                Ok(vec![vec![nothing]])
            }
            Err(error) => Err(error),
        }
    }

    fn write_sparse(&self, file: SparseFile) -> Result<()> {
        if file.specs.iter().all(Vec::is_empty) {
            return Ok(self.disk.remove_durably(Path::new(SPARSE_FILE))?);
        }
        Ok(self.disk.publish(Path::new(SPARSE_FILE), &file.encode(), true)?)
    }

    /// Our side of conflicts that the work tree need not hold and does not hold: they are resolved
    /// by looking at them. Those in `marked` are written in any case.
    pub(super) fn unseen_conflicts(
        &self,
        conflicts: &[Conflict],
        marked: &[(RepoPath, EntryKind)],
    ) -> Result<Vec<(RepoPath, Option<EntryKind>)>> {
        let (wanted, root) = (self.wanted()?, self.work_tree_handle()?);
        let mut unseen = Vec::new();
        for conflict in conflicts {
            let path = &conflict.path;
            let Some(ours @ (EntryKind::File { .. } | EntryKind::Symlink { .. })) = &conflict.ours
            else {
                continue;
            };
            let is_marked = marked.iter().any(|(marked, _)| marked == path);
            if is_marked || wanted.wants(path.as_bytes(), false) {
                continue;
            }
            if stat_one(&root, path).ok().flatten().is_none() {
                unseen.push((path.clone(), Some(ours.clone())));
            }
        }
        Ok(unseen)
    }
}

/// The pathspecs that a change leads to; none for everything.
fn lines_of(change: &SparseChange, before: &[Vec<SparseLine>]) -> Result<Vec<SparseLine>> {
    match change {
        SparseChange::Set(lines) => Ok(lines.clone()),
        SparseChange::Disable => Ok(Vec::new()),
        SparseChange::Add(more) => {
            let mut lines = before.last().cloned().unwrap_or_default();
            if lines.is_empty() {
                return Err(SparseError::NotSparse.into());
            }
            lines.extend(more.iter().cloned());
            Ok(lines)
        }
    }
}

/// What is done with a staged path.
enum Verdict {
    Nothing,
    Remove,
    Write,
    Refuse(Obstacle),
}

/// A change from one wish to another.
struct Step<'r> {
    repository: &'r Repository,
    staging: BinaryStagingArea,
    old: Wanted,
    new: Wanted,
}

impl Step<'_> {
    /// Looks at each staged path whose place changes.
    fn each(&self, mut visit: impl FnMut(RepoPath, &StagedView<'_>, Verdict) -> Result<()>) -> Result<()> {
        let root = self.repository.work_tree_handle()?;
        let uncommitted = self.repository.staged_changes(&self.staging)?;
        for view in self.staging.views() {
            if self.repository.cancel_token().is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            let is_wanted = self.new.wants_staged(&view);
            if is_wanted && self.old.wants_staged(&view) {
                continue;
            }
            let Ok(path) = RepoPath::new(view.path) else { continue };
            let is_modified = self.repository.is_modified(&root, &self.staging, &path)?;
            let is_new = || uncommitted.binary_search_by(|other| other.path.cmp(&path)).is_ok();
            let verdict = match (is_wanted, is_modified) {
                (true, None) => Verdict::Write,
                (false, Some(true)) => Verdict::Refuse(Obstacle::Modified),
                (false, Some(false)) if is_new() => Verdict::Refuse(Obstacle::Staged),
                (false, Some(false)) => Verdict::Remove,
                (true, Some(_)) | (false, None) => Verdict::Nothing,
            };
            visit(path, &view, verdict)?;
        }
        Ok(self.staging.check()?)
    }

    fn plan(&self) -> Result<(MoveReport, Obstacles)> {
        let (mut planned, mut obstacles) = (MoveReport::default(), Obstacles::default());
        let mut way = Way { root: self.repository.work_tree_handle()?, last: None };
        self.each(|path, view, verdict| {
            match verdict {
                Verdict::Nothing => {}
                Verdict::Remove => planned.removed += 1,
                Verdict::Refuse(obstacle) => obstacles.push(path, obstacle),
                Verdict::Write => {
                    planned.written += 1;
                    planned.bytes += view.stat.size;
                    if let Some(blocked) = way.new_obstacle(&path)? {
                        obstacles.push(blocked, Obstacle::Untracked);
                    }
                }
            }
            Ok(())
        })?;
        Ok((planned, obstacles))
    }

    /// Removes, then writes; answers also whether everything that is wanted was written.
    fn run(&self, mut op: Operation<'_>) -> Result<(MoveReport, bool)> {
        let mut report = MoveReport::default();
        self.remove(&mut report)?;
        let mut also = Vec::new();
        let mut is_whole = true;
        let mut write = |also: &mut Vec<RepoPath>| -> Result<()> {
            let moved = self.write(&mut op, also)?;
            also.clear();
            is_whole &= moved.skipped.is_empty();
            report.written += moved.written;
            report.bytes += moved.bytes;
            report.skipped.extend(moved.skipped);
            Ok(())
        };
        self.each(|path, _, verdict| {
            if matches!(verdict, Verdict::Write) {
                also.push(path);
            }
            if also.len() >= WRITTEN_AT_ONCE { write(&mut also) } else { Ok(()) }
        })?;
        write(&mut also)?;
        op.finish()?;
        Ok((report, is_whole))
    }

    fn write(&self, op: &mut Operation<'_>, also: &[RepoPath]) -> Result<MoveReport> {
        if also.is_empty() {
            return Ok(MoveReport::default());
        }
        let tree = Some(op.staged_tree()?.tree);
        // They are absent; what appears there in the meantime is stored.
        let overwrite = Overwrite::Store;
        op.move_to(&Move { also, overwrite, reach: Reach::Everything, ..Move::new(tree, tree) })
    }

    fn remove(&self, report: &mut MoveReport) -> Result<()> {
        let work_tree = WorkTree::open(&self.repository.place().work_tree)?;
        let mut last: Option<RepoPath> = None;
        let sweep = |path: Option<&RepoPath>| {
            // A directory that cannot be removed is empty all the same.
            path.into_iter().for_each(|path| drop(work_tree.remove_empty_dirs_up(path)));
        };
        self.each(|path, view, verdict| {
            match verdict {
                Verdict::Remove => {}
                // Changed since it was planned.
                Verdict::Refuse(obstacle) => {
                    report.skipped.push((path, obstacle.to_string()));
                    return Ok(());
                }
                Verdict::Nothing | Verdict::Write => return Ok(()),
            }
            let removed = match view.kind {
                KindView::EmptyDir => work_tree.remove_dir(&path),
                KindView::File { .. } | KindView::Symlink { .. } => work_tree.remove_file(&path),
            };
            match removed {
                Ok(_) => report.removed += 1,
                Err(error) => report.skipped.push((path.clone(), why(&error))),
            }
            if last.as_ref().is_some_and(|last| last.parent() != path.parent()) {
                sweep(last.as_ref());
            }
            last = Some(path);
            Ok(())
        })?;
        sweep(last.as_ref());
        Ok(())
    }
}

/// Looks for what stands in the place of directories; neighbours have the same.
struct Way {
    root: std::os::fd::OwnedFd,
    last: Option<RepoPath>,
}

impl Way {
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
            let stat = stat_one(&self.root, &dir).map_err(|source| RepoError::WorkTreeRead {
                path: dir.to_os().to_owned(),
                source,
            })?;
            match stat {
                Some((PathKind::Dir, _)) => return Ok(None),
                Some(_) => return Ok(Some(dir)),
                None => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<SparseLine> {
        let line = |text: &&str| SparseLine {
            dir: RepoPath::root(),
            text: text.as_bytes().to_vec(),
        };
        texts.iter().map(line).collect()
    }

    #[test]
    fn between_two_specifications_only_what_both_want_is_wanted() {
        let cases: [(&[&[&str]], &str, bool); 9] = [
            (&[], "a/x", true),
            (&[&["a"]], "a/x", true),
            (&[&["a"]], "b", false),
            (&[&["a"]], "b/.digignore", true),
            (&[&["a"]], "digstore.toml", true),
            (&[&["a"]], "b/digstore.toml", false),
            (&[&[], &["a"]], "a/x", true),
            (&[&["a", "b"], &["b", "c"]], "a/x", false),
            (&[&["a", "b"], &["b", "c"]], "b/x", true),
        ];
        for (specs, path, expected) in cases {
            let specs: Vec<_> = specs.iter().map(|spec| lines(spec)).collect();
            let wanted = Wanted::new(&specs).unwrap();
            assert_eq!(wanted.wants(path.as_bytes(), false), expected, "{specs:?} {path}");
        }
    }

    #[test]
    fn what_cannot_be_read_stands_for_nothing() {
        let wanted = Wanted::new(&[lines(&[":!."])]).unwrap();
        assert!(!wanted.wants(b"a", false) && !wanted.wants(b"a/b", true));
    }
}
