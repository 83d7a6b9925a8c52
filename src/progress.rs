//! How an operation tells what it does: workers bump atomics, a [`Monitor`] looks at them.
//!
//! An operation goes through phases one after the other. Entering a phase starts its counters
//! from zero; the totals of the phase are told as soon as they are known and not before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::PerformanceMetrics;

/// A part of an operation that is shown by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking for files.
    Discovery,
    /// Finding out which files changed.
    Filtering,
    /// Reading, chunking and storing files.
    Processing,
    /// Writing what ends the operation: trees, indexes, the staging area.
    Writing,
    /// Writing files of the work tree.
    Restoring,
    /// Checking stored data.
    Verifying,
    /// Finding what is in use.
    Marking,
    /// Writing sparse packs anew.
    Repacking,
}

impl Phase {
    /// What is being done, as a sentence begins: "Scanning".
    pub const fn present(self) -> &'static str {
        match self {
            Self::Discovery => "Scanning",
            Self::Filtering => "Filtering",
            Self::Processing => "Processing",
            Self::Writing => "Writing",
            Self::Restoring => "Restoring",
            Self::Verifying => "Verifying",
            Self::Marking => "Marking",
            Self::Repacking => "Repacking",
        }
    }

    /// What was done: "Scanned".
    pub const fn past(self) -> &'static str {
        match self {
            Self::Discovery => "Scanned",
            Self::Filtering => "Filtered",
            Self::Processing => "Processed",
            Self::Writing => "Wrote",
            Self::Restoring => "Restored",
            Self::Verifying => "Verified",
            Self::Marking => "Marked",
            Self::Repacking => "Repacked",
        }
    }

    /// The name that programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Filtering => "filtering",
            Self::Processing => "processing",
            Self::Writing => "writing",
            Self::Restoring => "restoring",
            Self::Verifying => "verifying",
            Self::Marking => "marking",
            Self::Repacking => "repacking",
        }
    }
}

/// Counters of the current phase. Every operation on them is one relaxed atomic.
#[derive(Debug, Default)]
pub struct Counters {
    files_done: AtomicU64,
    bytes_done: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
    totals_known: AtomicBool,
    discovered: AtomicU64,
}

impl Counters {
    /// Counts work that is done.
    pub fn advance(&self, files: u64, bytes: u64) {
        if files != 0 {
            self.files_done.fetch_add(files, Relaxed);
        }
        if bytes != 0 {
            self.bytes_done.fetch_add(bytes, Relaxed);
        }
    }

    /// Counts files found; kept from one phase to the next.
    pub fn discover(&self, files: u64) {
        self.discovered.fetch_add(files, Relaxed);
    }

    /// Tells how much there is to do in this phase.
    pub fn set_totals(&self, files: u64, bytes: u64) {
        self.total_files.store(files, Relaxed);
        self.total_bytes.store(bytes, Relaxed);
        self.totals_known.store(true, Relaxed);
    }

    /// Starts a phase: everything but the files found goes to zero.
    pub fn restart(&self) {
        self.totals_known.store(false, Relaxed);
        for counter in [&self.files_done, &self.bytes_done, &self.total_files, &self.total_bytes] {
            counter.store(0, Relaxed);
        }
    }

    /// The values at this moment.
    pub fn snapshot(&self) -> CounterSnapshot {
        let totals = self.totals_known.load(Relaxed).then(|| Totals {
            files: self.total_files.load(Relaxed),
            bytes: self.total_bytes.load(Relaxed),
        });
        CounterSnapshot {
            files_done: self.files_done.load(Relaxed),
            bytes_done: self.bytes_done.load(Relaxed),
            discovered: self.discovered.load(Relaxed),
            totals,
        }
    }
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Values of [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterSnapshot {
    /// Files done in this phase.
    pub files_done: u64,
    /// Bytes done in this phase.
    pub bytes_done: u64,
    /// Files found since the operation began.
    pub discovered: u64,
    /// How much there is to do, once known.
    pub totals: Option<Totals>,
}

/// Watches an operation.
pub trait Monitor: Send + Sync {
    /// The counters that workers bump.
    fn counters(&self) -> &Counters;

    /// Enters a phase, ending the one before. Call it while no worker is counting. Entering the
    /// current phase again changes nothing.
    fn phase(&self, phase: Phase);

    /// Ends the last phase. Dropping the monitor does so too.
    fn finish(&self) {}

    /// Shows what is counted here beside its own counters.
    fn watch(&self, _metrics: &Arc<PerformanceMetrics>) {}

    /// Tells something that went wrong without ending the operation. Names in `message` are
    /// already escaped.
    fn warn(&self, message: &str);

    /// Tells how much there is to do in this phase.
    fn totals(&self, files: u64, bytes: u64) {
        self.counters().set_totals(files, bytes);
    }

    /// Counts work that is done.
    fn advance(&self, files: u64, bytes: u64) {
        self.counters().advance(files, bytes);
    }

    /// Counts files found.
    fn discovered(&self, files: u64) {
        self.counters().discover(files);
    }
}

/// Shows nothing.
#[derive(Debug, Default)]
pub struct NullMonitor {
    counters: Counters,
}

impl Monitor for NullMonitor {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn phase(&self, _: Phase) {
        self.counters.restart();
    }

    fn warn(&self, _: &str) {}
}

/// Keeps everything, for tests.
#[derive(Debug, Default)]
pub struct RecordingMonitor {
    counters: Counters,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    current: Option<Phase>,
    ended: Vec<(Phase, CounterSnapshot)>,
    warnings: Vec<String>,
}

impl RecordingMonitor {
    /// The phases that ended, each with its counters at its end.
    pub fn phases(&self) -> Vec<(Phase, CounterSnapshot)> {
        self.record().ended.clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.record().warnings.clone()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Option<Phase>) {
        let mut record = self.record();
        if record.current == phase {
            return;
        }
        if let Some(ended) = record.current {
            record.ended.push((ended, self.counters.snapshot()));
        }
        record.current = phase;
        self.counters.restart();
    }
}

impl Monitor for RecordingMonitor {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn phase(&self, phase: Phase) {
        self.enter(Some(phase));
    }

    fn finish(&self) {
        self.enter(None);
    }

    fn warn(&self, message: &str) {
        self.record().warnings.push(message.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_start_from_zero_and_keep_the_files_found() {
        let monitor = RecordingMonitor::default();
        monitor.phase(Phase::Discovery);
        monitor.discovered(7);
        monitor.phase(Phase::Processing);
        monitor.totals(7, 100);
        monitor.advance(2, 30);
        monitor.phase(Phase::Processing);
        monitor.advance(1, 10);
        monitor.warn("cannot read 'x'");
        monitor.finish();
        monitor.finish();

        let scanned = CounterSnapshot { discovered: 7, ..CounterSnapshot::default() };
        let totals = Some(Totals { files: 7, bytes: 100 });
        let processed = CounterSnapshot { files_done: 3, bytes_done: 40, discovered: 7, totals };
        assert_eq!(monitor.phases(), [(Phase::Discovery, scanned), (Phase::Processing, processed)]);
        assert_eq!(monitor.warnings(), ["cannot read 'x'"]);
    }

    #[test]
    fn workers_count_from_many_threads() {
        let monitor: &dyn Monitor = &NullMonitor::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| monitor.advance(1, 3)));
            }
        });
        let snapshot = monitor.counters().snapshot();
        assert_eq!((snapshot.files_done, snapshot.bytes_done), (4000, 12000));
        assert_eq!(snapshot.totals, None);
    }
}
