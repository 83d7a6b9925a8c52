//! A monitor that a ticker thread draws while workers only bump atomics.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::format;
use super::views::View;
use crate::metrics::{MetricsSnapshot, PerformanceMetrics};
use crate::progress::{CounterSnapshot, Counters, Monitor, Phase};

/// Time between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);

/// One phase at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// The phase.
    pub phase: Phase,
    /// Time since it was entered.
    pub elapsed: Duration,
    /// Its counters.
    pub counters: CounterSnapshot,
    /// What the pipelines counted so far, where the operation has any.
    pub metrics: Option<MetricsSnapshot>,
}

impl Report {
    /// Files to show: those found while looking for files, those done otherwise.
    pub fn files(&self) -> u64 {
        match self.phase {
            Phase::Discovery | Phase::Filtering => {
                self.counters.files_done.max(self.counters.discovered)
            }
            _ => self.counters.files_done,
        }
    }

    /// Amount done and in all, in bytes, or in files where there are no bytes to count.
    pub fn done_of_total(&self) -> Option<(u64, u64)> {
        // What is filtered is what was found; its total is that of the next phase.
        let totals = self.counters.totals.filter(|_| self.phase != Phase::Filtering)?;
        let pair = match (totals.bytes, totals.files) {
            (0, files) => (self.files(), files),
            (bytes, _) => (self.counters.bytes_done, bytes),
        };
        (pair.1 != 0).then_some((pair.0.min(pair.1), pair.1))
    }

    /// From 0 to 100; only when the total is known.
    pub fn percent(&self) -> Option<f64> {
        self.done_of_total().map(|(done, total)| 100.0 * done as f64 / total as f64)
    }

    /// Time left at the mean rate of this phase; only when the total is known.
    pub fn remaining(&self) -> Option<Duration> {
        let (done, total) = self.done_of_total().filter(|(done, _)| *done != 0)?;
        let seconds = self.elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// `12,345 of 17,137 files, 1.2 GiB of 3.4 GiB, 1,130 files/s, 123.4 MB/s, ETA 12.0 s`.
    pub fn progress_text(&self) -> String {
        self.parts().join(", ")
    }

    /// The same the other way round, so that a narrow terminal cuts off what matters least.
    pub fn bar_text(&self) -> String {
        let mut parts = self.parts();
        parts.reverse();
        parts.join(", ")
    }

    fn parts(&self) -> Vec<String> {
        let bytes = self.counters.bytes_done;
        let mut parts = Vec::new();
        if let Some(totals) = self.counters.totals {
            let total = format::counted(totals.files, "file");
            parts.push(format!("{} of {total}", format::count(self.files())));
            if totals.bytes != 0 {
                let total = format::bytes(totals.bytes);
                parts.push(format!("{} of {total}", format::bytes(bytes)));
            }
        } else {
            let counts = self.files() != 0 || self.phase != Phase::Writing;
            parts.extend(counts.then(|| format::counted(self.files(), "file")));
            // The walk still goes on, so that what is found is no total yet.
            let found = self.counters.discovered;
            let is_walking = self.phase == Phase::Processing && found != 0;
            parts.extend(is_walking.then(|| format!("{} found so far", format::count(found))));
            parts.extend((bytes != 0).then(|| format::bytes(bytes)));
        }
        let metrics = self.metrics.filter(|_| self.phase == Phase::Processing);
        let stored = metrics.map_or(0, |metrics| metrics.bytes_stored);
        parts.extend((stored != 0).then(|| format!("{} stored", format::bytes(stored))));
        parts.extend(format::file_rate(self.files(), self.elapsed).filter(|_| self.files() != 0));
        parts.extend(format::byte_rate(bytes, self.elapsed).filter(|_| bytes != 0));
        parts.extend(self.remaining().map(|left| format!("ETA {}", format::duration(left))));
        parts
    }

    /// `Scanned 17,137 files in 0.8 s`.
    pub fn end_text(&self) -> String {
        let bytes = self.counters.bytes_done;
        let mut parts = Vec::new();
        parts.extend((self.files() != 0).then(|| format::counted(self.files(), "file")));
        parts.extend((bytes != 0).then(|| format::bytes(bytes)));
        let time = format::duration(self.elapsed);
        if parts.is_empty() {
            return format!("{} took {time}", self.phase.present());
        }
        if let (Phase::Filtering, Some(changed)) = (self.phase, self.counters.totals) {
            let files = format::counted(self.files(), "file");
            let changed =
                format!("{}, {}", format::count(changed.files), format::bytes(changed.bytes));
            return format!("Filtered {files}: {changed} to be processed ({time})");
        }
        format!("{} {} in {time}", self.phase.past(), parts.join(", "))
    }
}

/// What the ticker and the operation share.
struct Shared {
    counters: Counters,
    state: Mutex<State>,
    stopped: Condvar,
}

struct State {
    view: Box<dyn View>,
    current: Option<(Phase, Instant)>,
    /// When a walk began that goes on while files are processed already.
    walk: Option<Instant>,
    metrics: Option<Arc<PerformanceMetrics>>,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the current phase and enters another or none. A walk goes on while the first files are
    /// processed, and ends when the total is known.
    fn enter(&self, phase: Option<Phase>) {
        let mut state = self.state();
        match (state.current, phase) {
            (current, phase) if current.map(|(current, _)| current) == phase => return,
            (Some((Phase::Discovery, since)), Some(Phase::Processing)) => state.walk = Some(since),
            _ => {
                state.end_walk(&self.counters);
                if let Some(report) = state.report(&self.counters) {
                    state.view.end(&report);
                }
            }
        }
        self.counters.restart();
        state.current = phase.map(|phase| (phase, Instant::now()));
        if let Some(report) = state.report(&self.counters) {
            state.view.begin(&report);
        }
    }

    fn run_ticker(&self) {
        let mut state = self.state();
        while !state.stop {
            let woken = self.stopped.wait_timeout(state, TICK);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(report) = state.report(&self.counters) {
                state.view.tick(&report);
            }
        }
    }
}

impl State {
    fn report(&self, counters: &Counters) -> Option<Report> {
        let (phase, since) = self.current?;
        let metrics = self.metrics.as_ref().map(|metrics| metrics.snapshot());
        Some(Report { phase, elapsed: since.elapsed(), counters: counters.snapshot(), metrics })
    }

    /// Shows that the walk ended: what it found, and what of that is to be processed.
    fn end_walk(&mut self, counters: &Counters) {
        let Some(since) = self.walk.take() else { return };
        let elapsed = since.elapsed();
        let CounterSnapshot { discovered, totals, .. } = counters.snapshot();
        let found = CounterSnapshot { discovered, ..CounterSnapshot::default() };
        let report = |phase, counters| Report { phase, elapsed, counters, metrics: None };
        self.view.end(&report(Phase::Discovery, found));
        self.view.end(&report(Phase::Filtering, CounterSnapshot { totals, ..found }));
    }
}

/// Shows an operation through a [`View`] while it runs.
pub struct LiveMonitor {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

impl LiveMonitor {
    /// Starts the ticker; without a thread to spare only the ends of phases are shown.
    pub fn new(view: Box<dyn View>) -> Self {
        let state = State { view, current: None, walk: None, metrics: None, stop: false };
        let state = Mutex::new(state);
        let shared =
            Arc::new(Shared { counters: Counters::default(), state, stopped: Condvar::new() });
        let seen = Arc::clone(&shared);
        let ticker = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || seen.run_ticker())
            .ok();
        Self { shared, ticker }
    }
}

impl Monitor for LiveMonitor {
    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn phase(&self, phase: Phase) {
        self.shared.enter(Some(phase));
    }

    fn finish(&self) {
        self.shared.enter(None);
    }

    fn watch(&self, metrics: &Arc<PerformanceMetrics>) {
        self.shared.state().metrics = Some(Arc::clone(metrics));
    }

    fn totals(&self, files: u64, bytes: u64) {
        self.shared.counters.set_totals(files, bytes);
        self.shared.state().end_walk(&self.shared.counters);
    }

    fn warn(&self, message: &str) {
        self.shared.state().view.warn(message);
    }
}

impl Drop for LiveMonitor {
    fn drop(&mut self) {
        self.finish();
        self.shared.state().stop = true;
        self.shared.stopped.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Totals;

    pub(super) fn report(phase: Phase, seconds: u64, counters: CounterSnapshot) -> Report {
        Report { phase, elapsed: Duration::from_secs(seconds), counters, metrics: None }
    }

    #[test]
    fn time_left_is_told_in_bytes_and_only_once_the_total_is_known() {
        let mut counters =
            CounterSnapshot { files_done: 90, bytes_done: 1 << 20, ..CounterSnapshot::default() };
        let unknown = report(Phase::Processing, 10, counters);
        assert_eq!((unknown.percent(), unknown.remaining()), (None, None));
        assert_eq!(unknown.progress_text(), "90 files, 1.0 MiB, 9 files/s, 0.1 MB/s");

        // Nearly all files are done, but a quarter of the bytes.
        counters.totals = Some(Totals { files: 100, bytes: 4 << 20 });
        let known = report(Phase::Processing, 10, counters);
        assert_eq!(
            (known.percent(), known.remaining()),
            (Some(25.0), Some(Duration::from_secs(30)))
        );
        assert_eq!(
            known.progress_text(),
            "90 of 100 files, 1.0 MiB of 4.0 MiB, 9 files/s, 0.1 MB/s, ETA 30.0 s"
        );
        assert!(known.bar_text().starts_with("ETA 30.0 s, 0.1 MB/s, 9 files/s, 1.0 MiB of"));
    }

    #[test]
    fn what_is_found_and_what_is_done_are_shown_while_the_walk_goes_on() {
        let counters = CounterSnapshot {
            files_done: 90,
            bytes_done: 1 << 20,
            discovered: 4000,
            ..CounterSnapshot::default()
        };
        let mut walking = report(Phase::Processing, 10, counters);
        let text = "90 files, 4,000 found so far, 1.0 MiB, 9 files/s, 0.1 MB/s";
        assert_eq!(walking.progress_text(), text);
        assert_eq!(report(Phase::Writing, 1, CounterSnapshot::default()).progress_text(), "");
        walking.metrics =
            Some(MetricsSnapshot { bytes_stored: 2048, ..MetricsSnapshot::default() });
        assert!(walking.progress_text().contains("1.0 MiB, 2.0 KiB stored, 9 files/s"));
    }

    #[test]
    fn files_count_where_there_are_no_bytes() {
        let totals = Some(Totals { files: 10, bytes: 0 });
        let counters = CounterSnapshot { files_done: 5, totals, ..CounterSnapshot::default() };
        assert_eq!(report(Phase::Verifying, 1, counters).percent(), Some(50.0));
        let none = CounterSnapshot {
            totals: Some(Totals { files: 0, bytes: 0 }),
            ..CounterSnapshot::default()
        };
        assert_eq!(report(Phase::Verifying, 1, none).percent(), None);
    }

    #[test]
    fn growing_files_never_pass_the_end() {
        let totals = Some(Totals { files: 1, bytes: 10 });
        let counters = CounterSnapshot { files_done: 1, bytes_done: 15, totals, discovered: 1 };
        let report = report(Phase::Processing, 1, counters);
        assert_eq!((report.percent(), report.remaining()), (Some(100.0), Some(Duration::ZERO)));
    }

    #[test]
    fn the_end_of_a_phase_is_told_in_the_past() {
        let found = CounterSnapshot { discovered: 17_137, ..CounterSnapshot::default() };
        let scanned = Report {
            phase: Phase::Discovery,
            elapsed: Duration::from_millis(800),
            counters: found,
            metrics: None,
        };
        assert_eq!(scanned.end_text(), "Scanned 17,137 files in 0.8 s");
        let totals = Some(Totals { files: 37, bytes: 1 << 20 });
        let filtered = report(Phase::Filtering, 3, CounterSnapshot { totals, ..found });
        assert_eq!(
            filtered.end_text(),
            "Filtered 17,137 files: 37, 1.0 MiB to be processed (3.0 s)"
        );
        assert_eq!(report(Phase::Writing, 3, found).end_text(), "Writing took 3.0 s");
    }
}
