//! `mv`: gives files and directories another name, in the work tree and in the staging area.
//!
//! What is moved is not read: each entry keeps its content, and where nothing but the name changed
//! since it was staged, it is staged with the stat data of its new place. Nothing is overwritten
//! without `force`; with it, the bytes in the way are stored and entered in the log of operations
//! first. Everything is checked before anything is moved. A command that is killed between the two
//! leaves files at their new names that are staged under the old ones: `status` tells, and
//! `add -A` stages them.

mod check;

use thiserror::Error;

use check::{Item, RenamePlan};

use super::operation::{Doomed, Held, Keeper, Operation, description};
use super::scan::is_same_file;
use super::worktree::WorkTree;
use super::{RepoError, Repository, Result};
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, FileStat, Frame, StagedEntry, StagingOp};

/// Paths that are staged at once.
const STAGED_AT_ONCE: u32 = 100_000;

/// What is moved, and how.
#[derive(Debug, Clone, Default)]
pub struct RenameOptions {
    /// Files and directories that are tracked.
    pub sources: Vec<RepoPath>,
    /// The new name, or the directory to move into.
    pub target: RepoPath,
    /// The target was written as a directory, with a slash behind it.
    pub into_dir: bool,
    /// Files and links in the way are overwritten.
    pub force: bool,
    /// Sources that cannot be moved are left out.
    pub skip_errors: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// A directory that is kept though it becomes empty: where the user is.
    pub keep_dir: RepoPath,
}

/// Why a path cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenameError {
    /// It is not tracked.
    #[error("'{0}' is not tracked")]
    NotTracked(RepoPath),
    /// It is tracked, and not in the work tree.
    #[error("'{0}' is tracked, but not in the work tree")]
    Gone(RepoPath),
    /// Something lies at the new name.
    #[error("'{0}' is there already")]
    Exists(RepoPath),
    /// A directory would go below itself.
    #[error("'{0}' cannot be moved into itself")]
    IntoItself(RepoPath),
    /// Two sources would get one name.
    #[error("several of the paths would become '{0}'")]
    SameTarget(RepoPath),
    /// A source lies in another one.
    #[error("'{inner}' lies in '{outer}', which is moved too")]
    Overlap {
        /// The one.
        inner: RepoPath,
        /// The other.
        outer: RepoPath,
    },
    /// There is no directory to move into.
    #[error("there is no directory '{0}'")]
    NoDirectory(RepoPath),
    /// A merge left the path in conflict.
    #[error("'{0}' is in conflict")]
    InConflict(RepoPath),
    /// The repository itself would be moved, or a path into it.
    #[error("'{0}' holds the repository, or lies in it")]
    Repository(RepoPath),
    /// The new name is one that no command would see.
    #[error("'{0}' would be part of a git repository, which is never tracked")]
    InGit(RepoPath),
}

/// What was moved, and what was left out and why.
#[derive(Debug, Default)]
pub struct RenameReport {
    /// Old and new names, as they were given: a directory is one.
    pub moved: Vec<(RepoPath, RepoPath)>,
    /// With `skip_errors`: what stayed.
    pub skipped: Vec<(RepoPath, RenameError)>,
}

impl Repository {
    /// Moves files and directories.
    pub fn rename(&self, options: &RenameOptions) -> Result<RenameReport> {
        if options.dry_run {
            let work_tree = WorkTree::open(&self.place().work_tree)?;
            let plan = self.plan_rename(options, &self.staging()?, &work_tree)?;
            return Ok(plan.into_report());
        }
        let mut op = self.begin(description("mv", &options.sources))?;
        let work_tree = self.guarded()?;
        let plan = self.plan_rename(options, op.staged(), &work_tree)?;
        self.keep_targets(&mut op, &plan)?;
        let before = op.staged().snapshot();
        let mut done = 0;
        let renamed = plan.items.iter().try_for_each(|item| {
            work_tree.rename(&item.from, &item.to, item.replaces)?;
            done += 1;
            Ok(())
        });
        // What was moved is staged as such, also where the next one could not be.
        op.moves_work_tree();
        for item in &plan.items[..done] {
            stage_rename(&mut op, &before, &work_tree, item)?;
            let is_where_user_is = |dir: &RepoPath| options.keep_dir.is_within(dir);
            work_tree.remove_empty_dirs_unless(&item.from, is_where_user_is)?;
            self.write_newly_wanted(&mut op, &item.from, &item.to)?;
        }
        before.check()?;
        op.finish()?;
        renamed.map(|()| plan.into_report())
    }

    /// Stores what will be overwritten, before anything is.
    fn keep_targets(&self, op: &mut Operation<'_>, plan: &RenamePlan) -> Result<()> {
        let mut doomed: Vec<Doomed> = plan
            .items
            .iter()
            .filter(|item| item.overwrites)
            .map(|item| Doomed { path: item.to.clone(), held: Held::Unknown })
            .collect();
        if doomed.is_empty() {
            return Ok(());
        }
        doomed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let root = self.work_tree_handle()?;
        let mut keeper = Keeper::new(self, &root);
        if let Some((path, why)) = keeper.keep(&doomed, op.staged())?.into_iter().next() {
            return Err(RepoError::CannotKeep { path, why });
        }
        op.keep(keeper.finish()?)?;
        let staged = op.staged_tree()?.tree;
        op.announce(staged)
    }
}

/// Stages under the new name what was staged under the old one.
fn stage_rename(
    op: &mut Operation<'_>,
    before: &BinaryStagingArea,
    work_tree: &WorkTree,
    item: &Item,
) -> Result<()> {
    let (from, to) = (&item.from, &item.to);
    let mut frame = Frame::default();
    // A directory that the target lies in is neither empty any more nor a file.
    for dir in std::iter::successors(to.parent(), RepoPath::parent) {
        if before.view(dir.as_bytes()).is_some() {
            frame.remove(dir.as_bytes());
        }
    }
    // What was staged at the new name and is not in the work tree any more.
    let old = before.views_within(to.as_bytes());
    old.filter(|view| !crate::path::is_within(view.path, from.as_bytes()))
        .for_each(|view| frame.remove(view.path));
    for entry in before.iter_within(from.as_bytes()) {
        frame.remove(entry.path.as_bytes());
        frame.push(&StagingOp::Put(renamed(entry, work_tree, item)?));
        if frame.count() >= STAGED_AT_ONCE {
            op.staging().apply_round(std::mem::take(&mut frame))?;
        }
    }
    Ok(op.staging().apply_round(frame)?)
}

/// The entry under its new name. Moving a file changes its `ctime`, moving a directory nothing of
/// the files in it: where all else is as it was, and was as staged, so is the content.
fn renamed(entry: StagedEntry, work_tree: &WorkTree, item: &Item) -> Result<StagedEntry> {
    let path = check::renamed_path(&entry.path, &item.from, &item.to)?;
    let mut stat = entry.stat;
    if let Some(before) = item.file.filter(|before| is_same_file(before, &entry.stat))
        && let Some((_, now)) = work_tree.stat(&path)?
        && is_same_file(&FileStat { ctime_ns: before.ctime_ns, ..now }, &before)
    {
        stat = now;
    }
    Ok(StagedEntry { path, stat, ..entry })
}
