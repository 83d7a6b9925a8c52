//! `add`: stores what changed in the work tree and stages it.
//!
//! The walk compares each entry with the staging area as it was at the start and passes on what
//! differs. That is stored in rounds, while the walk goes on: a round ends when what is to be
//! staged takes the memory that `performance.file_cache_size` allows, or when much new content was
//! read. Then everything it stored is durable, and one batch of changes makes the staging area
//! say so. An `add` that is killed loses its last round at most. What is gone from the work tree
//! is known, and staged, when the walk has ended.

mod rounds;

use std::ops::ControlFlow;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, bounded};

use self::rounds::Rounds;
use super::beneath::read_link;
use super::diff_trees::Change;
use super::operation::description;
use super::pathspec::Pathspec;
use super::scan::{Hidden, Scan};
use super::walk::{DirListing, SkipReason, WalkEntry, WalkKind};
use super::{RepoError, Repository, Result};
use crate::metrics::MetricsSnapshot;
use crate::path::{RepoPath, compare};
use crate::progress::Phase;
use crate::storage::adaptive::Plan;
use crate::storage::binary_staging::{
    BinaryStagingArea, KindView, StagedEntry, StagedKind, StagedView,
};
use crate::storage::engine::{FileTask, is_racy, now_ns};
use crate::storage::format::staging::FileStat;

/// What is added.
#[derive(Debug, Clone, Default)]
pub struct AddOptions {
    /// Files and directories.
    pub paths: Pathspec,
    /// Ignored files too.
    pub force: bool,
    /// Only what is tracked already.
    pub tracked_only: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Report the paths too; without, only how many.
    pub list: bool,
}

/// What `add` did.
#[derive(Debug, Default)]
pub struct AddReport {
    /// Paths staged that were not before.
    pub added: u64,
    /// Paths whose staged content changed.
    pub modified: u64,
    /// Paths that are gone from the work tree.
    pub deleted: u64,
    /// The paths counted above, in path order, if they were asked for.
    pub changes: Vec<Change>,
    /// Entries looked at.
    pub seen: u64,
    /// Paths left out; the monitor was told of each.
    pub skipped: u64,
    /// Those paths and why, in words, if they were asked for.
    pub skips: Vec<(RepoPath, String)>,
    /// Those paths; what is staged there is not what the work tree holds.
    pub(super) left_out: Hidden,
    /// Counters of the run.
    pub metrics: Option<MetricsSnapshot>,
    /// How it worked at its end.
    pub plan: Option<Plan>,
}

/// What the walk found in one directory, or in a piece of a large one.
#[derive(Default)]
struct Found {
    /// Files to read.
    tasks: Vec<FileTask>,
    /// What needs no reading.
    puts: Vec<StagedEntry>,
    skipped: Vec<(RepoPath, SkipReason)>,
    warnings: Vec<String>,
    /// The thread of the walk that found it: it goes from neighbour to neighbour.
    lane: usize,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
            && self.puts.is_empty()
            && self.skipped.is_empty()
            && self.warnings.is_empty()
    }
}

/// Listings with changes that wait for the pipelines: the walk is ahead by no more.
const QUEUED_LISTINGS: usize = 8;

impl Repository {
    /// Stages what changed.
    pub fn add(&self, options: &AddOptions) -> Result<AddReport> {
        if options.dry_run {
            return self.add_to(&mut self.staging()?, options);
        }
        let mut op = self.begin(description("add", options.paths.shown()))?;
        let report = self.add_to(op.staging(), options)?;
        let is_left_out = |path: &RepoPath| report.left_out.covers(path.as_bytes());
        self.resolve_conflicts(&mut op, &options.paths, &is_left_out)?;
        op.finish()?;
        Ok(report)
    }

    /// Stages what changed, as a part of an operation.
    pub(super) fn add_to(
        &self,
        staging: &mut BinaryStagingArea,
        options: &AddOptions,
    ) -> Result<AddReport> {
        let root = self.work_tree_handle()?;
        let before = staging.snapshot();
        let scan = Scan::new(self, &root, &before, &options.paths)?;
        let unresolved = self.unresolved()?;
        options.paths.check_work_tree(&scan, options.force, &unresolved)?;
        self.monitor().phase(Phase::Discovery);
        let known = options.tracked_only.then_some(unresolved.as_slice());
        let finder = Finder::new(&scan, self, known);
        let (sender, finds) = bounded(QUEUED_LISTINGS);
        let mut rounds = Rounds::new(self, &scan, options);
        let (stored, walked) = std::thread::scope(|scope| {
            let finder = &finder;
            let walk = scope.spawn(move || finder.walk(options, &sender));
            let stored = rounds.store(&finds, staging);
            // Nobody receives any more, so that a walk that goes on ends too.
            drop(finds);
            (stored, walk.join().unwrap_or(Err(RepoError::Worker)))
        });
        stored?;
        walked?;
        self.monitor().phase(Phase::Writing);
        rounds.stage_deletions(staging)?;
        Ok(rounds.into_report(finder.entries.into_inner()))
    }
}

impl Repository {
    /// The staged path that is most like another one.
    pub fn nearest_path(&self, path: &RepoPath) -> Option<String> {
        nearest_staged(path, &self.staging().ok()?)
    }
}

/// An error about a path, with the nearest staged one.
pub(super) fn path_not_found(
    path: &RepoPath,
    place: &str,
    staging: &BinaryStagingArea,
) -> RepoError {
    let nearest = nearest_staged(path, staging);
    RepoError::PathNotFound { path: path.as_bytes().to_vec(), place: place.to_owned(), nearest }
}

/// The staged path that is most like another one.
pub(super) fn nearest_staged(path: &RepoPath, staging: &BinaryStagingArea) -> Option<String> {
    let names: Vec<String> =
        staging.views().take(100_000).map(|view| crate::path::escape(view.path)).collect();
    crate::suggest::did_you_mean(&path.to_string(), names.iter().map(String::as_str))
}

/// Looks for what changed, on the threads of the walk.
struct Finder<'a> {
    scan: &'a Scan<'a>,
    repository: &'a Repository,
    /// Where only what is tracked is added: what is tracked without being staged, in path order.
    tracked_only: Option<&'a [RepoPath]>,
    entries: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    /// Processing begins with the first file that changed.
    begin: Once,
}

impl<'a> Finder<'a> {
    fn new(
        scan: &'a Scan<'a>,
        repository: &'a Repository,
        tracked_only: Option<&'a [RepoPath]>,
    ) -> Self {
        let [entries, files, bytes] = [0; 3].map(AtomicU64::new);
        Self { scan, repository, tracked_only, entries, files, bytes, begin: Once::new() }
    }

    fn walk(&self, options: &AddOptions, sender: &Sender<Found>) -> Result<()> {
        let visit = |listing| {
            let found = self.look(listing);
            if !found.tasks.is_empty() && !options.dry_run {
                self.begin.call_once(|| self.repository.monitor().phase(Phase::Processing));
            }
            // Nobody receives any more when the pipelines failed; they report why.
            if !found.is_empty() && sender.send(found).is_err() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let _ = self.scan.walk(options.force, visit)?;
        let (files, bytes) = (&self.files, &self.bytes);
        let totals = (files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
        self.repository.monitor().totals(totals.0, totals.1);
        Ok(())
    }

    fn look(&self, mut listing: DirListing) -> Found {
        self.entries.fetch_add(listing.entries.len() as u64, Ordering::Relaxed);
        self.repository.monitor().discovered(listing.entries.len() as u64);
        let mut found =
            Found { lane: rayon::current_thread_index().unwrap_or(0), ..Found::default() };
        let is_empty = !listing.has_children && !listing.more && !listing.dir.is_root();
        if is_empty && (self.tracked_only.is_none() || self.scan.holds(listing.dir.as_bytes())) {
            self.look_at_empty(&listing.dir, &mut found);
        }
        self.scan.differences(&listing, |path, entry, staged| {
            if staged.is_some() || self.is_meant(path) {
                self.look_at(path, entry, staged, &mut found);
            }
        });
        // Of what was never tracked, nobody misses anything.
        listing
            .skipped
            .retain(|(path, _)| self.is_meant(path.as_bytes()) || self.scan.holds(path.as_bytes()));
        found.skipped.append(&mut listing.skipped);
        found.warnings.extend(listing.warnings.iter().map(ToString::to_string));
        self.files.fetch_add(found.tasks.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(found.tasks.iter().map(|task| task.size).sum(), Ordering::Relaxed);
        found
    }

    /// Whether a path is added that is not staged.
    fn is_meant(&self, path: &[u8]) -> bool {
        self.tracked_only.is_none_or(|unresolved| {
            unresolved.binary_search_by(|other| compare(other.as_bytes(), path)).is_ok()
        })
    }

    fn look_at_empty(&self, dir: &RepoPath, found: &mut Found) {
        // What is staged below it and need not be there is not gone.
        if !self.scan.pathspec.matches(dir.as_bytes(), true)
            || self.scan.holds_unwanted(dir.as_bytes())
        {
            return;
        }
        self.scan.mark(dir.as_bytes());
        let staged = self.scan.staging.view(dir.as_bytes());
        if !staged.is_some_and(|staged| staged.kind == KindView::EmptyDir) {
            let (path, kind, stat) = (dir.clone(), StagedKind::EmptyDir, FileStat::default());
            found.puts.push(StagedEntry { path, kind, stat, racy: false });
        }
    }

    fn look_at(
        &self,
        path: &[u8],
        entry: &WalkEntry,
        staged: Option<&StagedView<'_>>,
        found: &mut Found,
    ) {
        // The walk has checked the path.
        let path = RepoPath::new_unchecked(path.to_vec());
        if let WalkKind::File { .. } = entry.kind {
            let previous = staged.and_then(|staged| match staged.kind {
                KindView::File { content, .. } => Some((content, staged.stat.size)),
                KindView::Symlink { .. } | KindView::EmptyDir => None,
            });
            return found.tasks.push(FileTask { path, size: entry.stat.size, previous });
        }
        let started = now_ns();
        let target =
            read_link(self.scan.root, &path).map_err(|error| (error.kind(), error.to_string()));
        let checked = target.and_then(|target| {
            crate::storage::format::object::check_target(&target)
                .map_err(|why| (std::io::ErrorKind::InvalidData, why))?;
            Ok(target)
        });
        match checked {
            Ok(target) => {
                let (kind, stat) = (StagedKind::Symlink { target }, entry.stat);
                let racy = is_racy(&stat, started);
                found.puts.push(StagedEntry { path, kind, stat, racy });
            }
            Err((kind, why)) => found.skipped.push((path, SkipReason::Unreadable(kind, why))),
        }
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
