//! `add`: stores what changed in the work tree and stages it.
//!
//! The walk compares each entry with the staging area and offers what differs to the engine while
//! it goes on. When the engine returns, all content is durable; then one batch of operations makes
//! the staging area say so.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use super::beneath::read_link;
use super::source::WorkTreeSource;
use super::walk::{DirListing, SkipReason, WalkEntry, WalkKind, WalkOptions, walk};
use super::{RepoError, Repository, Result};
use crate::metrics::MetricsSnapshot;
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::adaptive::Plan;
use crate::storage::binary_staging::{
    BinaryStagingArea, KindView, StagedEntry, StagedKind, StagedView, StagingOp,
};
use crate::storage::engine::{Feeder, FileOutcome, FileTask, RunOutput};
use crate::storage::format::staging::FileStat;

/// What is added.
#[derive(Debug, Clone, Default)]
pub struct AddOptions {
    /// Files and directories; none for the whole work tree.
    pub roots: Vec<RepoPath>,
    /// Ignored files too.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What `add` did.
#[derive(Debug, Default)]
pub struct AddReport {
    /// Paths staged that were not before.
    pub added: Vec<RepoPath>,
    /// Paths whose staged content changed.
    pub modified: Vec<RepoPath>,
    /// Paths that are gone from the work tree.
    pub deleted: Vec<RepoPath>,
    /// Entries looked at.
    pub seen: u64,
    /// What was left out and why, escaped and in words.
    pub skipped: Vec<(RepoPath, String)>,
    /// Counters of the run.
    pub metrics: Option<MetricsSnapshot>,
    /// How it worked at its end.
    pub plan: Option<Plan>,
}

/// What the walk finds, gathered from its threads.
#[derive(Default)]
struct Found {
    puts: Vec<StagedEntry>,
    skipped: Vec<(RepoPath, SkipReason)>,
    warnings: Vec<String>,
    /// Files that would be read, of a dry run.
    candidates: Vec<FileTask>,
}

/// One bit for each staged path: whether the walk met it.
pub(super) struct SeenBits(Vec<AtomicU64>);

impl SeenBits {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn mark(&self, slot: usize) {
        self.0[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.0[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1
    }
}

/// Whether a staged path and what the walk found are the same without a look at the content.
pub(super) fn is_unchanged(staged: &StagedView<'_>, kind: WalkKind, stat: &FileStat) -> bool {
    let same_kind = match (staged.kind, kind) {
        (KindView::File { executable: a, .. }, WalkKind::File { executable: b }) => a == b,
        (KindView::Symlink { .. }, WalkKind::Symlink) => true,
        _ => false,
    };
    same_kind && !staged.racy && is_same_file(&staged.stat, stat)
}

/// Whether stat data shows the same file in the same state. The device number is left out: it
/// changes between mounts of one file system.
fn is_same_file(a: &FileStat, b: &FileStat) -> bool {
    (a.size, a.mtime_ns, a.ctime_ns, a.ino) == (b.size, b.mtime_ns, b.ctime_ns, b.ino)
}

struct Adder<'a> {
    root: &'a OwnedFd,
    staging: &'a BinaryStagingArea,
    seen: SeenBits,
    entries: AtomicU64,
    todo: (AtomicU64, AtomicU64),
    found: Mutex<Found>,
    repository: &'a Repository,
    /// The repository's own directory, where it lies in the work tree.
    own_dir: Option<RepoPath>,
    /// Processing begins with the first file that changed.
    begin: Once,
}

impl Repository {
    /// Stages what changed.
    pub fn add(&self, options: &AddOptions) -> Result<AddReport> {
        let _lock = if options.dry_run { None } else { Some(self.lock()?) };
        let mut staging = self.staging()?;
        let root = self.work_tree_handle()?;
        check_roots(&root, &staging, &options.roots)?;
        let adder = Adder {
            root: &root,
            seen: SeenBits::new(staging.slots()),
            staging: &staging,
            entries: AtomicU64::new(0),
            todo: Default::default(),
            found: Mutex::default(),
            repository: self,
            own_dir: self.own_dir(),
            begin: Once::new(),
        };
        self.monitor().phase(Phase::Discovery);
        let mut plan = None;
        let (output, metrics) = if options.dry_run {
            adder.walk(options, None)?;
            (RunOutput::default(), None)
        } else {
            let engine = self.engine()?;
            self.monitor().watch(&engine.metrics);
            let started = std::time::Instant::now();
            let (output, walked) =
                engine.run(&WorkTreeSource(&root), |feeder| adder.walk(options, Some(feeder)))?;
            walked?;
            engine.metrics.add_processing_time(started.elapsed());
            let metrics = engine.metrics.snapshot();
            // Where nothing was processed, nothing was planned.
            plan = (metrics.files_processed > 0).then(|| engine.plan());
            (output, Some(metrics))
        };
        let (mut report, ops) = adder.conclude(output, &options.roots);
        (report.metrics, report.plan) = (metrics, plan);
        if !options.dry_run {
            self.monitor().phase(Phase::Writing);
            staging.apply(ops)?;
        }
        Ok(report)
    }
}

/// Every root must be in the work tree or staged.
fn check_roots(root: &OwnedFd, staging: &BinaryStagingArea, roots: &[RepoPath]) -> Result<()> {
    for path in roots {
        let stat = super::walk::stat_one(root, path);
        let there = stat
            .map_err(|source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source })?;
        if there.is_none() && staging.views_within(path.as_bytes()).next().is_none() {
            return Err(path_not_found(path, "the work tree", staging));
        }
    }
    Ok(())
}

/// An error about a path, with the nearest staged one.
pub(super) fn path_not_found(
    path: &RepoPath,
    place: &str,
    staging: &BinaryStagingArea,
) -> RepoError {
    let names: Vec<String> =
        staging.views().take(100_000).map(|view| crate::path::escape(view.path)).collect();
    let nearest = crate::suggest::did_you_mean(&path.to_string(), names.iter().map(String::as_str));
    RepoError::PathNotFound { path: path.as_bytes().to_vec(), place: place.to_owned(), nearest }
}

impl Adder<'_> {
    fn walk(&self, options: &AddOptions, feeder: Option<&Feeder<'_>>) -> Result<()> {
        let is_tracked = |path: &[u8], is_dir: bool| {
            if is_dir {
                self.staging.views_within(path).next().is_some()
            } else {
                self.staging.view(path).is_some()
            }
        };
        let walk_options = WalkOptions {
            threads: self.repository.threads(),
            use_gitignore: self.repository.config().ignore.use_gitignore,
            roots: options.roots.clone(),
            include_ignored: options.force,
            is_tracked: &is_tracked,
        };
        let walked = walk(self.root, &walk_options, |listing| self.visit(listing, feeder));
        let path = || self.repository.place().work_tree.clone();
        let _ = walked.map_err(|source| RepoError::WorkTreeRead { path: path(), source })?;
        if self.repository.cancel_token().is_cancelled() {
            return Err(RepoError::Interrupted);
        }
        let (files, bytes) = (&self.todo.0, &self.todo.1);
        self.repository
            .monitor()
            .totals(files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
        Ok(())
    }

    fn visit(&self, listing: DirListing, feeder: Option<&Feeder<'_>>) -> ControlFlow<()> {
        if self.own_dir.as_ref().is_some_and(|own| listing.dir.is_within(own)) {
            return ControlFlow::Continue(());
        }
        self.entries.fetch_add(listing.entries.len() as u64, Ordering::Relaxed);
        self.repository.monitor().discovered(listing.entries.len() as u64);
        let mut tasks = Vec::new();
        let mut found = Found::default();
        let is_empty = !listing.has_children && !listing.more && !listing.dir.is_root();
        if is_empty {
            self.visit_empty(listing.dir.clone(), &mut found);
        }
        for entry in &listing.entries {
            self.visit_entry(&listing.dir, entry, &mut tasks, &mut found);
        }
        found.skipped = listing.skipped;
        found.warnings.extend(listing.warnings.iter().map(ToString::to_string));
        self.todo.0.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        self.todo.1.fetch_add(tasks.iter().map(|task| task.size).sum(), Ordering::Relaxed);
        let closed = if let Some(feeder) = feeder {
            if !tasks.is_empty() {
                self.begin.call_once(|| self.repository.monitor().phase(Phase::Processing));
            }
            feeder.offer(tasks).is_err()
        } else {
            found.candidates = tasks;
            false
        };
        self.gather(found);
        if closed || self.repository.cancel_token().is_cancelled() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn gather(&self, found: Found) {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.puts.extend(found.puts);
        all.skipped.extend(found.skipped);
        all.warnings.extend(found.warnings);
        all.candidates.extend(found.candidates);
    }

    fn mark(&self, path: &RepoPath) {
        if let Some(slot) = self.staging.ordinal(path.as_bytes()) {
            self.seen.mark(slot);
        }
    }

    fn visit_empty(&self, path: RepoPath, found: &mut Found) {
        self.mark(&path);
        let staged = self.staging.view(path.as_bytes());
        if !staged.is_some_and(|staged| staged.kind == KindView::EmptyDir) {
            let stat = FileStat::default();
            found.puts.push(StagedEntry { path, kind: StagedKind::EmptyDir, stat, racy: false });
        }
    }

    fn visit_entry(
        &self,
        dir: &RepoPath,
        entry: &WalkEntry,
        tasks: &mut Vec<FileTask>,
        found: &mut Found,
    ) {
        // The walk has checked the name.
        let Ok(path) = dir.join(&entry.name) else { return };
        self.mark(&path);
        let staged = self.staging.view(path.as_bytes());
        if staged.is_some_and(|staged| is_unchanged(&staged, entry.kind, &entry.stat)) {
            return;
        }
        match entry.kind {
            WalkKind::File { .. } => tasks.push(FileTask { path, size: entry.stat.size }),
            WalkKind::Symlink => match read_link(self.root, &path) {
                Ok(target) => {
                    if let Err(why) = crate::storage::format::object::check_target(&target) {
                        found.skipped.push((
                            path,
                            SkipReason::Unreadable(std::io::ErrorKind::InvalidData, why),
                        ));
                        return;
                    }
                    let kind = StagedKind::Symlink { target };
                    found.puts.push(StagedEntry { path, kind, stat: entry.stat, racy: false });
                }
                Err(error) => {
                    found
                        .skipped
                        .push((path, SkipReason::Unreadable(error.kind(), error.to_string())));
                }
            },
        }
    }

    /// Turns what was found into a report and the operations on the staging area.
    fn conclude(self, output: RunOutput, roots: &[RepoPath]) -> (AddReport, Vec<StagingOp>) {
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.warnings.iter().for_each(|warning| self.repository.monitor().warn(warning));
        let mut report = AddReport { seen: self.entries.into_inner(), ..AddReport::default() };
        let mut ops = Vec::new();
        for (path, cause) in output.skipped {
            report.skipped.push((path, cause.to_string()));
        }
        for (path, reason) in &found.skipped {
            if let Some(words) = reason.message() {
                report.skipped.push((path.clone(), words));
            }
        }
        // What could not be looked at is not gone.
        let kept: BTreeSet<&RepoPath> =
            found.skipped.iter().filter(|skip| skip.1.hides()).map(|skip| &skip.0).collect();
        for path in gone(self.staging, &self.seen, roots, &kept) {
            report.deleted.push(path.clone());
            ops.push(StagingOp::Remove(path));
        }
        let candidates = found.candidates.into_iter().map(|task| task.path);
        for path in candidates {
            note(&mut report, self.staging, path, None);
        }
        let stored = output.stored.into_iter().map(staged_entry);
        for entry in found.puts.into_iter().chain(stored) {
            make_room(self.staging, &self.seen, &entry, &mut report, &mut ops);
            note(&mut report, self.staging, entry.path.clone(), Some(&entry.kind));
            ops.push(StagingOp::Put(entry));
        }
        report.added.sort_unstable();
        report.modified.sort_unstable();
        report.deleted.sort_unstable();
        report.skipped.sort_unstable();
        (report, ops)
    }
}

/// Files a staged path under new or modified.
fn note(
    report: &mut AddReport,
    staging: &BinaryStagingArea,
    path: RepoPath,
    kind: Option<&StagedKind>,
) {
    match staging.view(path.as_bytes()) {
        None => report.added.push(path),
        Some(old) if kind.is_none_or(|new| old.kind != new.view()) => report.modified.push(path),
        Some(_) => {}
    }
}

pub(super) fn staged_entry(outcome: FileOutcome) -> StagedEntry {
    let kind = StagedKind::File { executable: outcome.executable, content: outcome.content };
    StagedEntry { path: outcome.path, kind, stat: outcome.stat, racy: outcome.racy }
}

/// Staged paths below the roots that the walk did not meet and that nothing hid from it.
fn gone(
    staging: &BinaryStagingArea,
    seen: &SeenBits,
    roots: &[RepoPath],
    kept: &BTreeSet<&RepoPath>,
) -> Vec<RepoPath> {
    let everything = [RepoPath::root()];
    let roots = if roots.is_empty() { &everything[..] } else { roots };
    let mut gone = BTreeSet::new();
    for root in roots {
        for view in staging.views_within(root.as_bytes()) {
            if staging.ordinal(view.path).is_some_and(|slot| seen.has(slot)) {
                continue;
            }
            let Ok(path) = RepoPath::new(view.path) else { continue };
            let mut above = Some(path.clone());
            let mut is_hidden = false;
            while let Some(dir) = above.filter(|_| !kept.is_empty() && !is_hidden) {
                is_hidden = kept.contains(&dir);
                above = dir.parent();
            }
            if !is_hidden {
                gone.insert(path);
            }
        }
    }
    gone.into_iter().collect()
}

/// A path cannot be both a file and a directory: staging one removes the other. Only paths that
/// the walk did not meet can be in the way.
fn make_room(
    staging: &BinaryStagingArea,
    seen: &SeenBits,
    entry: &StagedEntry,
    report: &mut AddReport,
    ops: &mut Vec<StagingOp>,
) {
    if staging.view(entry.path.as_bytes()).is_some() {
        return;
    }
    let mut remove = |path: &[u8]| {
        let is_seen = staging.ordinal(path).is_some_and(|slot| seen.has(slot));
        if let Ok(path) = RepoPath::new(path)
            && !is_seen
            && !report.deleted.contains(&path)
        {
            report.deleted.push(path.clone());
            ops.push(StagingOp::Remove(path));
        }
    };
    let mut above = entry.path.parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root()) {
        if staging.view(dir.as_bytes()).is_some() {
            remove(dir.as_bytes());
        }
        above = dir.parent();
    }
    for below in staging.views_within(entry.path.as_bytes()) {
        remove(below.path);
    }
}

impl SkipReason {
    /// In words, for people; `None` for what needs no message.
    pub fn message(&self) -> Option<String> {
        Some(match self {
            Self::Fifo => "it is a FIFO".to_owned(),
            Self::Socket => "it is a socket".to_owned(),
            Self::Device => "it is a device".to_owned(),
            Self::Path(error) => error.to_string(),
            Self::Unreadable(_, text) => text.clone(),
            Self::NestedRepository => "it holds a repository of its own".to_owned(),
            Self::Ignored => "it is ignored; --force adds it all the same".to_owned(),
            Self::Temporary => return None,
        })
    }

    /// Whether what is staged below this path may still be there, unseen.
    pub(super) fn hides(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(..) | Self::NestedRepository | Self::Path(_) | Self::Ignored
        )
    }
}
