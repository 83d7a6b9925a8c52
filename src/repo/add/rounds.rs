//! The rounds of `add`: from what the walk found to the staging area.

use crossbeam_channel::Receiver;

use super::super::diff_trees::{Change, ChangeKind};
use super::super::scan::missed::Missed;
use super::super::scan::{Hidden, Scan};
use super::super::source::WorkTreeSource;
use super::super::walk::SkipReason;
use super::super::{Repository, Result};
use super::{AddOptions, AddReport, Found};
use crate::metrics::PerformanceMetrics;
use crate::path::{RepoPath, is_within, split_last};
use crate::progress::Phase;
use crate::storage::binary_staging::{BinaryStagingArea, Frame, KindView, StagedEntry, StagedView};
use crate::storage::engine::{Engine, FileOutcome, FileTask, RunOutput};
use crate::storage::parallel_processor::{Feeder, ParallelProcessor};

/// Most bytes of files in one round: what is read again after a kill is a matter of minutes.
const ROUND_CONTENT: u64 = 16 << 30;
/// Fewest bytes of metadata in one round, however small `performance.file_cache_size` is.
const MIN_ROUND: u64 = 64 << 10;
/// Bytes that a file takes until it is staged, besides twice its path: what the pipelines say of
/// it, in the list of a worker and in that of all, and its operation in the log.
const FILE_BYTES: u64 = (2 * size_of::<FileOutcome>() + 16 + 80) as u64;

/// Why a path is neither read nor staged as deleted.
const MISSED: &str = "it was replaced while its directory was read; add it again";

/// What one round has taken in.
#[derive(Default)]
struct Round {
    puts: Vec<StagedEntry>,
    skipped: Vec<(RepoPath, SkipReason)>,
    warnings: Vec<String>,
    metadata: u64,
    content: u64,
}

impl Round {
    /// Takes files from the walk until the round is full; answers whether the walk ended.
    fn feed(
        &mut self,
        first: Found,
        finds: &Receiver<Found>,
        feeder: &Feeder<'_>,
        limit: u64,
    ) -> bool {
        let mut found = first;
        loop {
            let lane = found.lane;
            let tasks = self.take(found);
            // The run reports what closed the queue.
            if feeder.offer(lane, tasks).is_err() {
                return true;
            }
            if self.metadata >= limit || self.content >= ROUND_CONTENT {
                return false;
            }
            match finds.recv() {
                Ok(next) => found = next,
                Err(_) => return true,
            }
        }
    }

    fn take(&mut self, found: Found) -> Vec<FileTask> {
        let Found { tasks, puts, skipped, warnings, .. } = found;
        let paths = tasks.iter().map(|task| &task.path).chain(puts.iter().map(|put| &put.path));
        let paths = paths.chain(skipped.iter().map(|(path, _)| path));
        self.metadata +=
            paths.map(|path| FILE_BYTES + 2 * path.as_bytes().len() as u64).sum::<u64>();
        self.content += tasks.iter().map(|task| task.size).sum::<u64>();
        self.puts.extend(puts);
        self.skipped.extend(skipped);
        self.warnings.extend(warnings);
        tasks
    }
}

/// See the module.
pub(super) struct Rounds<'a> {
    repository: &'a Repository,
    scan: &'a Scan<'a>,
    options: &'a AddOptions,
    /// Bytes of metadata in one round.
    limit: u64,
    hidden: Hidden,
    report: AddReport,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        scan: &'a Scan<'a>,
        options: &'a AddOptions,
    ) -> Self {
        let limit = repository.limits().file_cache_bytes().max(MIN_ROUND);
        let hidden = Hidden::default();
        Self { repository, scan, options, limit, hidden, report: AddReport::default() }
    }

    /// Stores and stages what the walk finds, until it ends.
    pub(super) fn store(
        &mut self,
        finds: &Receiver<Found>,
        staging: &mut BinaryStagingArea,
    ) -> Result<()> {
        let (mut engine, mut ended) = (None, false);
        if self.options.dry_run {
            finds.iter().for_each(|found| self.foresee(found));
            return Ok(());
        }
        while !ended {
            let Ok(first) = finds.recv() else { break };
            let engine = match &mut engine {
                Some(engine) => engine,
                empty => {
                    let engine = empty.insert(self.repository.engine()?);
                    self.repository.monitor().watch(&engine.metrics);
                    engine
                }
            };
            ended = self.round(engine, first, finds, staging)?;
        }
        self.report.plan = engine.as_ref().map(Engine::plan);
        let metrics = engine.map(|engine| engine.metrics.snapshot());
        let metrics = metrics.unwrap_or_else(|| PerformanceMetrics::default().snapshot());
        self.report.metrics = Some(metrics);
        Ok(())
    }

    /// One round; answers whether it was the last.
    fn round(
        &mut self,
        engine: &Engine,
        first: Found,
        finds: &Receiver<Found>,
        staging: &mut BinaryStagingArea,
    ) -> Result<bool> {
        let (mut round, limit) = (Round::default(), self.limit);
        let started = std::time::Instant::now();
        let source = WorkTreeSource(self.scan.root);
        let (output, ended) = ParallelProcessor::new(engine, &source)
            .run(|feeder| round.feed(first, finds, feeder, limit))?;
        engine.metrics.add_processing_time(started.elapsed());
        if ended {
            self.repository.monitor().phase(Phase::Writing);
        }
        let frame = self.batch(round, output, staging);
        if ended { staging.apply_frame(frame) } else { staging.apply_round(frame) }?;
        Ok(ended)
    }

    /// What makes the staging area say what a round stored.
    fn batch(&mut self, round: Round, output: RunOutput, staging: &BinaryStagingArea) -> Frame {
        let RunOutput { mut stored, skipped } = output;
        stored.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let Round { mut puts, skipped: not_offered, warnings, .. } = round;
        puts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut batch = Batch { staging, frame: Frame::default(), last: Vec::new(), dir: None };
        let mut puts = puts.into_iter().peekable();
        let mut skips: Vec<(RepoPath, String)> = Vec::new();
        for outcome in stored {
            while let Some(put) = puts.next_if(|put| put.path < outcome.path) {
                self.put(&put.view(), &mut batch, &mut skips);
            }
            // Each is dropped as soon as it is encoded.
            self.put(&view_of(&outcome), &mut batch, &mut skips);
        }
        puts.for_each(|put| self.put(&put.view(), &mut batch, &mut skips));
        let frame = batch.frame;
        skips.extend(skipped.into_iter().map(|(path, cause)| (path, cause.to_string())));
        self.tell(skips, not_offered, &warnings);
        frame
    }

    /// Adds one entry to the batch and to the report.
    fn put(
        &mut self,
        entry: &StagedView<'_>,
        batch: &mut Batch<'_>,
        skips: &mut Vec<(RepoPath, String)>,
    ) {
        if batch.is_in_the_way(entry.path) {
            let why = "it was both a file and a directory while the work tree was read";
            return skips.push((RepoPath::new_unchecked(entry.path.to_vec()), why.to_owned()));
        }
        for path in batch.make_room(entry.path) {
            // Its deletion is staged here and now.
            let was_staged = self.scan.staging.view(&path).is_some();
            self.scan.mark(&path);
            if was_staged {
                self.count(&path, ChangeKind::Deleted);
            }
        }
        batch.put(entry);
        self.note(entry.path, Some(entry.kind));
    }

    /// Counts a path as new or modified; without a kind, as one that would be read.
    fn note(&mut self, path: &[u8], kind: Option<KindView<'_>>) {
        match self.scan.staging.view(path) {
            None => self.count(path, ChangeKind::Added),
            Some(old) if kind.is_none_or(|new| old.kind != new) => {
                self.count(path, ChangeKind::Modified);
            }
            Some(_) => {}
        }
    }

    fn count(&mut self, path: &[u8], kind: ChangeKind) {
        *match kind {
            ChangeKind::Added => &mut self.report.added,
            ChangeKind::Deleted => &mut self.report.deleted,
            ChangeKind::Modified | ChangeKind::TypeChanged => &mut self.report.modified,
        } += 1;
        if self.options.list {
            let path = RepoPath::new_unchecked(path.to_vec());
            self.report.changes.push(Change { path, kind });
        }
    }

    /// What a round would do.
    fn foresee(&mut self, found: Found) {
        let Found { tasks, puts, skipped, warnings, .. } = found;
        tasks.iter().for_each(|task| self.note(task.path.as_bytes(), None));
        puts.iter().for_each(|put| self.note(put.path.as_bytes(), Some(put.kind.view())));
        self.tell(Vec::new(), skipped, &warnings);
    }

    /// Tells of everything that was left out, and keeps what hides staged paths from the walk.
    fn tell(
        &mut self,
        mut skips: Vec<(RepoPath, String)>,
        skipped: Vec<(RepoPath, SkipReason)>,
        warnings: &[String],
    ) {
        let monitor = self.repository.monitor();
        warnings.iter().for_each(|warning| monitor.warn(warning));
        for (path, reason) in skipped {
            self.hidden.note(&path, &reason);
            skips.extend(reason.message().map(|words| (path, words)));
        }
        skips.sort_unstable();
        skips.iter().for_each(|(path, _)| self.report.left_out.insert(path));
        self.report.skipped += skips.len() as u64;
        skips.iter().for_each(|(path, why)| monitor.warn(&format!("left out '{path}': {why}")));
        if self.options.list {
            self.report.skips.append(&mut skips);
        }
    }

    /// Stages that what the walk did not meet is gone, in batches of the size of a round.
    pub(super) fn stage_deletions(&mut self, staging: &mut BinaryStagingArea) -> Result<()> {
        let scan = self.scan;
        let hidden = std::mem::take(&mut self.hidden);
        let (mut frame, mut missed) = (Frame::default(), Missed::new(scan.root));
        let mut skips = Vec::new();
        for view in scan.gone(&hidden) {
            let path = RepoPath::new_unchecked(view.path.to_vec());
            if missed.is_there(&path) {
                skips.push((path, MISSED.to_owned()));
                continue;
            }
            self.count(view.path, ChangeKind::Deleted);
            frame.remove(view.path);
            if frame.len() >= self.limit && !self.options.dry_run {
                staging.apply_round(std::mem::take(&mut frame))?;
            }
        }
        self.tell(skips, Vec::new(), &[]);
        if !self.options.dry_run {
            staging.apply_frame(frame)?;
        }
        Ok(())
    }

    pub(super) fn into_report(self, seen: u64) -> AddReport {
        let mut report = AddReport { seen, ..self.report };
        report.changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        report.skips.sort_unstable();
        report
    }
}

/// A stored file as it is staged.
fn view_of(outcome: &FileOutcome) -> StagedView<'_> {
    let kind = KindView::File { executable: outcome.executable, content: outcome.content };
    StagedView { path: outcome.path.as_bytes(), kind, stat: outcome.stat, racy: outcome.racy }
}

/// The operations of a round, in path order, beside the staging area that they are for.
///
/// A path cannot be both a file and a directory, so that staging one removes the other.
struct Batch<'a> {
    staging: &'a BinaryStagingArea,
    frame: Frame,
    /// The last path that was put.
    last: Vec<u8>,
    /// The directory of the last new path, and whether anything is staged below it: neighbours
    /// need not ask again.
    dir: Option<(Vec<u8>, bool)>,
}

impl Batch<'_> {
    /// Whether a file or link of this batch stands where a directory above `path` should.
    fn is_in_the_way(&self, path: &[u8]) -> bool {
        !self.last.is_empty() && path != self.last && is_within(path, &self.last)
    }

    fn put(&mut self, entry: &StagedView<'_>) {
        self.frame.put(entry);
        self.last.clear();
        self.last.extend_from_slice(entry.path);
    }

    /// Removes what is staged in the place of directories above `path`, and below it; returns
    /// what that was.
    fn make_room(&mut self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut removed = Vec::new();
        if self.staging.view(path).is_some() {
            return removed;
        }
        let (dir, _) = split_last(path);
        if self.dir.as_ref().is_none_or(|(known, _)| known != dir) {
            let mut above = dir;
            while !above.is_empty() {
                if self.staging.view(above).is_some() {
                    removed.push(above.to_vec());
                }
                above = split_last(above).0;
            }
            let is_populated = self.staging.views_within(dir).next().is_some();
            self.dir = Some((dir.to_vec(), is_populated));
        }
        if self.dir.as_ref().is_some_and(|(_, is_populated)| *is_populated) {
            removed.extend(self.staging.views_within(path).map(|view| view.path.to_vec()));
        }
        removed.iter().for_each(|path| self.frame.remove(path));
        removed
    }
}
