//! `restore`: brings files back from the staging area or from a commit.

mod into;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::add::nearest_staged;
use super::beneath::{PathKind, first_non_directory, stat_one};
use super::checkout::{Checkout, CheckoutReport};
use super::diff_trees::{Change, ChangeKind, CommittedEntry, committed};
use super::operation::{Doomed, Held, Keeper, Operation, description};
use super::pathspec::Pathspec;
use super::sparse::Wanted as Sparse;
use super::trees::{TreeWalk, find, is_empty_tree};
use super::worktree::WorkTree;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::binary_staging::{
    BinaryStagingArea, KindView, StagedEntry, StagedKind, StagedView, StagingOp,
};
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::format::staging::FileStat;

/// What is restored, from where, to where.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Files and directories.
    pub paths: Pathspec,
    /// The commit; none for the staging area.
    pub source: Option<CommitId>,
    /// A directory other than the work tree.
    pub target: Option<PathBuf>,
}

impl Repository {
    /// Writes files into the work tree or into another directory.
    pub fn restore(&self, options: &RestoreOptions) -> Result<CheckoutReport> {
        match &options.target {
            Some(target) => self.restore_into(options, target),
            None => self.restore_in_place(options),
        }
    }

    pub(super) fn checkout(
        &self,
        work_tree: &WorkTree,
        entries: impl Iterator<Item = Result<CommittedEntry>>,
    ) -> Result<CheckoutReport> {
        let (reader, plan_bytes) = (self.content_reader()?, self.read_limits().plan);
        Checkout::new(reader, work_tree, plan_bytes, &**self.monitor()).run(entries)
    }

    /// Restores into the work tree, leaving alone what is equal already, and notes the new stat
    /// data, so that the next command need not read the files again. What it overwrites is stored
    /// and entered in the log of operations before.
    fn restore_in_place(&self, options: &RestoreOptions) -> Result<CheckoutReport> {
        let mut op = self.begin(description("restore", options.paths.shown()))?;
        let staging = op.staged().snapshot();
        let root = self.work_tree_handle()?;
        let work_tree = self.guarded_stamped()?;
        let mut report = CheckoutReport::default();
        let mut sweep = Sweep { work_tree: &work_tree, last_dir: None, swept: 0 };
        self.monitor().phase(Phase::Filtering);
        let mut wanted = Wanted::new(self, options, (&staging, &root))?;
        let mut batch = wanted.next(Some(&mut sweep))?;
        report.skipped = self.keep_overwritten(&mut op, &mut batch, options, (&staging, &root))?;
        let spared: HashSet<RepoPath> =
            report.skipped.iter().map(|(path, _)| path.clone()).collect();
        loop {
            batch.entries.retain(|entry| !spared.contains(&entry.path));
            batch.blocking.retain(|path| !spared.contains(path));
            self.monitor().phase(Phase::Restoring);
            if batch.is_last && report.files == 0 {
                let bytes =
                    batch.entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add);
                self.monitor().totals(batch.entries.len() as u64, bytes);
            }
            for path in &batch.blocking {
                work_tree.clear_file(path)?;
            }
            report.add(self.restore_some(&work_tree, &batch.entries)?);
            let noted = refreshed(&work_tree, &root, &staging, batch.entries);
            staging.forget_pages();
            self.objects()?.reader().trim();
            if !noted.is_empty() {
                op.staging().apply(noted)?;
            }
            if batch.is_last {
                break;
            }
            self.monitor().phase(Phase::Filtering);
            batch = wanted.next(Some(&mut sweep))?;
        }
        staging.check()?;
        if !options.paths.is_all() {
            self.tell_left_out(wanted.left_out);
        }
        report.swept = sweep.swept;
        Ok(report)
    }

    /// Stores what the restore will overwrite, all of it before anything is, and notes what it
    /// writes; returns what could not be stored, and why. Where the entries take several
    /// batches, they are looked at twice; what was changed in between is not overwritten.
    fn keep_overwritten(
        &self,
        op: &mut Operation<'_>,
        first: &mut Batch,
        options: &RestoreOptions,
        (staging, root): (&BinaryStagingArea, &OwnedFd),
    ) -> Result<Vec<(RepoPath, String)>> {
        let (mut keeper, mut written) = (Keeper::new(self, root), Keeper::new(self, root));
        let mut failed = keeper.keep(&first.doomed, staging)?;
        written.enter(std::mem::take(&mut first.written))?;
        if !first.is_last {
            let mut wanted = Wanted::new(self, options, (staging, root))?;
            let mut batch = wanted.next(None)?;
            while !batch.is_last {
                batch = wanted.next(None)?;
                failed.extend(keeper.keep(&batch.doomed, staging)?);
                written.enter(batch.written)?;
            }
        }
        op.keep(keeper.finish()?)?;
        op.writes(written.finish()?)?;
        op.moves_work_tree();
        op.checkpoint()?;
        Ok(failed)
    }

    pub(super) fn restore_some(
        &self,
        work_tree: &WorkTree,
        wanted: &[CommittedEntry],
    ) -> Result<CheckoutReport> {
        Self::clear_the_way(work_tree, wanted)?;
        self.checkout(work_tree, wanted.iter().cloned().map(Ok))
    }

    /// Removes empty directories in the place of files, which hold nothing to lose, and files in the
    /// place of directories, which are stored. A directory that is not empty stays, and the file is
    /// reported.
    fn clear_the_way(work_tree: &WorkTree, wanted: &[CommittedEntry]) -> Result<()> {
        for CommittedEntry { path, kind, .. } in wanted {
            let wants_dir = matches!(kind, StagedKind::EmptyDir);
            match work_tree.stat(path) {
                Ok(Some((PathKind::Dir, _))) if !wants_dir => drop(work_tree.remove_dir(path)?),
                Ok(Some((PathKind::File { .. } | PathKind::Symlink, _))) if wants_dir => {
                    work_tree.clear_file(path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The entries that the options name, in path order.
    fn entries<'a>(
        &'a self,
        options: &RestoreOptions,
        staging: Option<&'a BinaryStagingArea>,
    ) -> Result<Box<dyn Iterator<Item = Result<CommittedEntry>> + 'a>> {
        let pathspec = options.paths.clone();
        let roots = pathspec.roots().into_iter();
        if let (None, Some(staging)) = (options.source, staging) {
            pathspec.check_staged(staging)?;
            let entries = roots.flat_map(|root| staging.iter_within(root.as_bytes()));
            let entries = entries.filter(move |entry| pathspec.matches_staged(&entry.view()));
            return Ok(Box::new(entries.map(|entry| {
                let StagedEntry { path, kind, stat, .. } = entry;
                let size = if matches!(kind, StagedKind::File { .. }) { stat.size } else { 0 };
                Ok(CommittedEntry { path, kind, size })
            })));
        }
        let mut parts: Vec<Box<dyn Iterator<Item = Result<CommittedEntry>> + 'a>> = Vec::new();
        if let Some(source) = options.source {
            let tree = self.objects()?.commit(&source)?.tree;
            pathspec.check_committed(self, &tree, &format!("commit {}", source.short()))?;
            for root in roots {
                parts.extend(self.committed_if_any(&tree, &root, &source)?);
            }
        }
        let matches = move |entry: &Result<CommittedEntry>| {
            entry.as_ref().map_or(true, |entry| pathspec.matches_entry(entry))
        };
        Ok(Box::new(parts.into_iter().flatten().filter(matches)))
    }

    /// Calls `visit` for every entry that the options name, in path order.
    pub fn for_each_entry(
        &self,
        options: &RestoreOptions,
        mut visit: impl FnMut(CommittedEntry) -> Result<()>,
    ) -> Result<()> {
        let staging = options.source.is_none().then(|| self.staging()).transpose()?;
        self.entries(options, staging.as_ref())?.try_for_each(|entry| visit(entry?))?;
        staging.map_or(Ok(()), |staging| Ok(staging.check()?))
    }

    /// Content, size and mode of a file: in the commit named; without one, in the last commit, and
    /// what is only staged in the staging area.
    pub fn find_file(
        &self,
        revision: Option<&str>,
        path: &RepoPath,
        staging: &BinaryStagingArea,
    ) -> Result<(Content, u64, bool)> {
        let source = match revision {
            Some(revision) => Some(self.resolve(revision)?),
            None => self.refs().head_commit()?,
        };
        let place = source
            .map_or_else(|| "the staging area".to_owned(), |id| format!("commit {}", id.short()));
        let committed = match &source {
            Some(id) => find(self.objects()?, &self.objects()?.commit(id)?.tree, path)?,
            None => None,
        };
        match committed {
            Some(EntryKind::File { content, size, executable }) => {
                return Ok((content, size, executable));
            }
            Some(EntryKind::Symlink { .. }) => {
                return Err(RepoError::IsLink { path: path.clone(), place });
            }
            Some(EntryKind::Dir { .. }) => {
                return Err(RepoError::IsDirectory { path: path.clone(), place });
            }
            None => {}
        }
        match staging.view(path.as_bytes()).filter(|_| revision.is_none()) {
            Some(StagedView { kind: KindView::File { executable, content }, stat, .. }) => {
                Ok((content, stat.size, executable))
            }
            Some(StagedView { kind: KindView::Symlink { .. }, .. }) => {
                Err(RepoError::IsLink { path: path.clone(), place })
            }
            Some(_) => Err(RepoError::IsDirectory { path: path.clone(), place }),
            None if path.is_root() => Err(RepoError::IsDirectory { path: path.clone(), place }),
            None => {
                let nearest = match &source {
                    Some(id) => self.nearest_committed(&self.objects()?.commit(id)?.tree, path),
                    None => nearest_staged(path, staging),
                };
                Err(RepoError::PathNotFound { path: path.as_bytes().to_vec(), place, nearest })
            }
        }
    }

    /// Everything at or below a path of a commit.
    pub fn committed_below(
        &self,
        tree: &TreeId,
        path: &RepoPath,
        source: &CommitId,
    ) -> Result<Box<dyn Iterator<Item = Result<CommittedEntry>>>> {
        let objects = self.objects()?;
        if path.is_root() {
            return Ok(Box::new(committed(TreeWalk::new(objects, tree, RepoPath::root()))));
        }
        let one = |kind, size| {
            let entry = CommittedEntry { path: path.clone(), kind, size };
            Box::new(std::iter::once(Ok(entry))) as Box<dyn Iterator<Item = Result<CommittedEntry>>>
        };
        match find(objects, tree, path)? {
            None => {
                let place = format!("commit {}", source.short());
                Err(RepoError::PathNotFound {
                    path: path.as_bytes().to_vec(),
                    place,
                    nearest: self.nearest_committed(tree, path),
                })
            }
            Some(EntryKind::Dir { tree, .. }) if is_empty_tree(&tree) => {
                Ok(one(StagedKind::EmptyDir, 0))
            }
            Some(EntryKind::Dir { tree, .. }) => {
                Ok(Box::new(committed(TreeWalk::new(objects, &tree, path.clone()))))
            }
            Some(EntryKind::Symlink { target }) => Ok(one(StagedKind::Symlink { target }, 0)),
            Some(EntryKind::File { executable, size, content }) => {
                Ok(one(StagedKind::File { executable, content }, size))
            }
        }
    }

    /// The same; nothing where there is no such path.
    fn committed_if_any(
        &self,
        tree: &TreeId,
        path: &RepoPath,
        source: &CommitId,
    ) -> Result<Option<Box<dyn Iterator<Item = Result<CommittedEntry>>>>> {
        match self.committed_below(tree, path, source) {
            Ok(below) => Ok(Some(below)),
            Err(RepoError::PathNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn nearest_committed(&self, tree: &TreeId, path: &RepoPath) -> Option<String> {
        let walk = TreeWalk::new(self.objects().ok()?, tree, RepoPath::root());
        let names: Vec<String> =
            walk.take(20_000).filter_map(|item| Some(item.ok()?.path.to_string())).collect();
        crate::suggest::did_you_mean(&path.to_string(), names.iter().map(String::as_str))
    }

    /// Makes a new staging area from the last commit, in the place of one that is damaged. What
    /// was staged and not committed must be added again.
    pub fn reset_staging(&self) -> Result<usize> {
        let mut op = self.begin_anew(self.lock_to_repair()?, "store reset-staging")?;
        let head = op.head_commit()?;
        let changes = self.unstage_in(op.staging(), &Pathspec::all(), head)?.len();
        op.finish()?;
        Ok(changes)
    }

    /// Puts the staging area back to a commit, for the paths named; returns what changed.
    pub fn unstage(&self, paths: &Pathspec, source: Option<CommitId>) -> Result<Vec<Change>> {
        let mut op = self.begin(description("restore --staged", paths.shown()))?;
        source.map_or(Ok(()), |source| self.check_whole(source))?;
        let changes = self.unstage_in(op.staging(), paths, source)?;
        op.finish()?;
        Ok(changes)
    }

    fn unstage_in(
        &self,
        staging: &mut BinaryStagingArea,
        paths: &Pathspec,
        source: Option<CommitId>,
    ) -> Result<Vec<Change>> {
        let committed = match source {
            Some(source) => Some((self.objects()?.commit(&source)?.tree, source)),
            None => None,
        };
        let tree = committed.as_ref().map(|(tree, _)| tree);
        paths.check_staged_or_committed(self, staging, tree)?;
        let mut unstaging = Unstaging::default();
        for root in paths.roots() {
            if let Some((tree, source)) = &committed {
                for entry in self.committed_if_any(tree, &root, source)?.into_iter().flatten() {
                    let entry = entry?;
                    if paths.matches_entry(&entry) {
                        unstaging.put_back(entry, staging);
                    }
                }
            }
            let staged = staging.iter_within(root.as_bytes());
            staged
                .filter(|entry| paths.matches_staged(&entry.view()))
                .for_each(|entry| unstaging.remove(entry.path));
        }
        let Unstaging { mut changes, mut removals, mut puts, .. } = unstaging;
        removals.append(&mut puts);
        staging.apply(removals)?;
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        changes.dedup_by(|a, b| a.path == b.path);
        Ok(changes)
    }
}

/// What puts the staging area back.
#[derive(Default)]
struct Unstaging {
    changes: Vec<Change>,
    removals: Vec<StagingOp>,
    puts: Vec<StagingOp>,
    /// Paths that are committed.
    keep: HashSet<RepoPath>,
}

impl Unstaging {
    /// Stages what is committed.
    fn put_back(&mut self, entry: CommittedEntry, staging: &BinaryStagingArea) {
        let staged = staging.view(entry.path.as_bytes());
        self.keep.insert(entry.path.clone());
        if staged.is_some_and(|staged| staged.kind == entry.kind.view()) {
            return;
        }
        let kind = if staged.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.changes.push(Change { path: entry.path.clone(), kind });
        for view in staging.around(entry.path.as_bytes()) {
            RepoPath::new(view.path).into_iter().for_each(|path| self.remove(path));
        }
        // Times of no file: the next look compares the content.
        let stat = FileStat { size: entry.size, ..FileStat::default() };
        let CommittedEntry { path, kind, .. } = entry;
        self.puts.push(StagingOp::Put(StagedEntry { path, kind, stat, racy: false }));
    }

    /// Removes what is staged, unless it is committed too.
    fn remove(&mut self, path: RepoPath) {
        if !self.keep.contains(&path) {
            self.changes.push(Change { path: path.clone(), kind: ChangeKind::Deleted });
            self.removals.push(StagingOp::Remove(path));
        }
    }
}

/// Entries that are not in the work tree as they should be, as many as a plan may hold.
#[derive(Default)]
struct Batch {
    entries: Vec<CommittedEntry>,
    /// What lies in their places, or where directories above them go.
    doomed: Vec<Doomed>,
    /// Files and links where directories go.
    blocking: Vec<RepoPath>,
    /// The entries, for the log of operations.
    written: Vec<StagedEntry>,
    /// Whether no others follow.
    is_last: bool,
}

/// Looks for what must be restored.
struct Wanted<'a> {
    repository: &'a Repository,
    entries: Box<dyn Iterator<Item = Result<CommittedEntry>> + 'a>,
    paths: &'a Pathspec,
    staging: &'a BinaryStagingArea,
    root: &'a OwnedFd,
    /// The directory looked at last.
    last_dir: Option<RepoPath>,
    /// What the work tree is to hold.
    sparse: Sparse,
    /// Paths left out because it need not hold them.
    left_out: u64,
}

impl<'a> Wanted<'a> {
    fn new(
        repository: &'a Repository,
        options: &'a RestoreOptions,
        (staging, root): (&'a BinaryStagingArea, &'a OwnedFd),
    ) -> Result<Self> {
        let entries = repository.entries(options, Some(staging))?;
        let (paths, sparse) = (&options.paths, repository.wanted()?);
        Ok(Self { repository, entries, paths, staging, root, sparse, left_out: 0, last_dir: None })
    }

    /// The next ones; with `sweep`, they are written next.
    fn next(&mut self, mut sweep: Option<&mut Sweep<'_>>) -> Result<Batch> {
        let mut batch = Batch::default();
        let (mut cost, limit) = (0, self.repository.read_limits().plan);
        while let Some(entry) = self.entries.next() {
            let entry = entry?;
            if let Some(sweep) = &mut sweep {
                sweep.pass(&entry.path);
            }
            let compared = self.repository.compared(self.root, self.staging, &entry.path)?;
            let is_modified = compared.map(|(is_modified, _)| is_modified);
            if is_modified == Some(false) && is_staged(self.staging, &entry) {
                continue;
            }
            let is_dir = entry.kind == StagedKind::EmptyDir;
            if is_modified.is_none()
                && self.sparse.leaves_out(self.paths, entry.path.as_bytes(), is_dir)
            {
                self.left_out += 1;
                continue;
            }
            if let (Some((false, stat)), true) = (&compared, sweep.is_some()) {
                self.repository.note_stored(&entry.path, stat);
            }
            cost += size_of::<CommittedEntry>() + entry.path.as_bytes().len();
            match is_modified {
                Some(is_modified) if !self.is_dir(&entry.path)? => {
                    cost += size_of::<Doomed>() + entry.path.as_bytes().len();
                    let path = entry.path.clone();
                    batch.doomed.push(Doomed { path, held: Held::as_modified(Some(is_modified)) });
                }
                _ => self.look_above(&entry.path, &mut batch)?,
            }
            cost += size_of::<StagedEntry>() + entry.path.as_bytes().len();
            let CommittedEntry { path, kind, size } = entry.clone();
            let stat = FileStat { size, ..FileStat::default() };
            batch.written.push(StagedEntry { path, kind, stat, racy: true });
            batch.entries.push(entry);
            if cost > limit {
                return Ok(batch);
            }
        }
        batch.is_last = true;
        Ok(batch)
    }

    fn is_dir(&self, path: &RepoPath) -> Result<bool> {
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        Ok(matches!(stat_one(self.root, path).map_err(read)?, Some((PathKind::Dir, _))))
    }

    /// Notes a file or link that stands where a directory above the path goes.
    fn look_above(&mut self, path: &RepoPath, batch: &mut Batch) -> Result<()> {
        let dir = path.parent().filter(|dir| !dir.is_root());
        let Some(dir) = dir.filter(|dir| self.last_dir.as_ref() != Some(dir)) else {
            return Ok(());
        };
        let read = |source| RepoError::WorkTreeRead { path: dir.to_os().to_owned(), source };
        let blocking = first_non_directory(self.root, &dir).map_err(read)?;
        // Of several directories in its place, the first one has noted it.
        let is_noted =
            |path: &RepoPath| self.last_dir.as_ref().is_some_and(|last| last.is_within(path));
        if let Some(path) = blocking.filter(|path| !is_noted(path)) {
            let is_modified =
                self.repository.is_modified_else_note(self.root, self.staging, &path)?;
            let held = Held::as_modified(is_modified);
            batch.doomed.push(Doomed { path: path.clone(), held });
            batch.blocking.push(path);
        }
        self.last_dir = Some(dir);
        Ok(())
    }
}

/// Sweeps the directories of paths that come in their order.
struct Sweep<'a> {
    work_tree: &'a WorkTree,
    last_dir: Option<RepoPath>,
    swept: u64,
}

impl Sweep<'_> {
    fn pass(&mut self, path: &RepoPath) {
        let dir = path.parent();
        if dir != self.last_dir {
            self.swept += dir.as_ref().map_or(0, |dir| self.work_tree.sweep(dir));
            self.last_dir = dir;
        }
    }
}

fn is_staged(staging: &BinaryStagingArea, entry: &CommittedEntry) -> bool {
    let view = staging.view(entry.path.as_bytes());
    view.is_some_and(|view| view.kind == entry.kind.view())
}

/// What the staging area says of files that were restored as they are staged.
pub(super) fn refreshed(
    work_tree: &WorkTree,
    root: &OwnedFd,
    staging: &BinaryStagingArea,
    restored: Vec<CommittedEntry>,
) -> Vec<StagingOp> {
    let refresh = |entry: CommittedEntry| {
        let (found, stat) = stat_one(root, &entry.path).ok().flatten()?;
        let CommittedEntry { path, kind, size } = entry;
        // What was left out may lie there as something else: its size is none of this content.
        let is_there = match (&kind, found) {
            (StagedKind::File { .. }, PathKind::File { .. }) => stat.size == size,
            (StagedKind::Symlink { .. }, PathKind::Symlink)
            | (StagedKind::EmptyDir, PathKind::Dir) => true,
            _ => false,
        };
        // What was not written here may be changed in this very moment.
        let racy = !work_tree.is_as_written(&stat);
        is_there.then_some(StagingOp::Put(StagedEntry { path, kind, stat, racy }))
    };
    restored.into_iter().filter(|entry| is_staged(staging, entry)).filter_map(refresh).collect()
}

/// Sorted, without paths that lie below others; the root when there are none.
pub(super) fn normalise(paths: &[RepoPath]) -> Vec<RepoPath> {
    let mut sorted = paths.to_vec();
    if sorted.is_empty() {
        sorted.push(RepoPath::root());
    }
    sorted.sort_unstable();
    sorted.dedup_by(|below, above| below.is_within(above));
    sorted
}
