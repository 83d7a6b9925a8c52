//! What the history of runs says: where the time of a run went, and whether runs get faster.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::storage::adaptive::tuning::median;
use crate::storage::adaptive::{ProcessingStrategy, WorkloadType};
use crate::storage::format::run_history::{RunCommand, RunHistory, RunRecord};

/// Runs on either side of a trend.
const TREND: usize = 5;

/// A part of the time that the threads of a run had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// What was done in it.
    pub name: &'static str,
    /// Seconds, summed over threads.
    pub seconds: f64,
    /// Of the time that its threads had, from 0 to 1: workers for the steps of workers and their
    /// waits, one thread for writing.
    pub share: f64,
}

const WRITING: &str = "writing";
const WAITING_FOR_WRITER: &str = "waiting for the writer";
const WAITING_FOR_FILES: &str = "waiting for files";

/// Where the time of a run went; none where nothing was measured, as for commands that only read.
pub fn shares(run: &RunRecord) -> Vec<Share> {
    let wall = seconds(run.processing_nanos);
    let [reading, chunking, hashing, compressing, writing] = run.stage_nanos.map(seconds);
    let [for_writer, for_files, _] = run.wait_nanos.map(seconds);
    if wall <= 0.0 || run.stage_nanos.iter().all(|nanos| *nanos == 0) {
        return Vec::new();
    }
    let workers = wall * f64::from(run.parameters.workers.max(1));
    let share =
        |name, seconds: f64, of: f64| Share { name, seconds, share: (seconds / of).min(1.0) };
    vec![
        share("reading", reading, workers),
        share("chunking", chunking, workers),
        share("hashing", hashing, workers),
        share("compressing", compressing, workers),
        share(WRITING, writing, wall),
        share(WAITING_FOR_WRITER, for_writer, workers),
        share(WAITING_FOR_FILES, for_files, workers),
    ]
}

/// What bounds a run: the step with the largest share. Workers that wait for the writer mean
/// writing.
pub fn bottleneck(run: &RunRecord) -> Option<Share> {
    let shares = shares(run);
    let largest = shares.iter().copied().max_by(|a, b| a.share.total_cmp(&b.share))?;
    if largest.name == WAITING_FOR_WRITER {
        return shares.into_iter().find(|share| share.name == WRITING);
    }
    Some(largest)
}

/// Whether the runs of a command and a workload get faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// The command.
    pub command: &'static str,
    /// The workload; none for commands without a plan.
    pub workload: Option<&'static str>,
    /// Runs of the kind.
    pub runs: usize,
    /// Median of the last five, in bytes a second; in runs a second where no bytes count.
    pub last: f64,
    /// Median of the five before.
    pub before: Option<f64>,
    /// Whether the rates are in bytes.
    pub in_bytes: bool,
}

/// The trend of each kind of run.
pub fn trends(history: &RunHistory) -> Vec<Trend> {
    let mut kinds: BTreeMap<(RunCommand, Option<u8>), Vec<&RunRecord>> = BTreeMap::new();
    for run in history.runs.iter().rev().filter(|run| run.wall_nanos > 0) {
        let workload = (run.command == RunCommand::Add).then_some(run.workload);
        kinds.entry((run.command, workload)).or_default().push(run);
    }
    kinds.into_iter().map(|((command, workload), runs)| trend(command, workload, &runs)).collect()
}

/// The trend of runs of one kind, the newest first.
fn trend(command: RunCommand, workload: Option<u8>, runs: &[&RunRecord]) -> Trend {
    let in_bytes = command != RunCommand::Commit;
    let rates: Vec<f64> = runs
        .iter()
        .map(|run| if in_bytes { byte_rate(run) } else { 1.0 / seconds(run.wall_nanos) })
        .collect();
    let (last, rest) = rates.split_at(rates.len().min(TREND));
    let before = &rest[..rest.len().min(TREND)];
    Trend {
        command: command.name(),
        workload: workload.map(|number| workload_of(number).name()),
        runs: runs.len(),
        last: median(last),
        before: (!before.is_empty()).then(|| median(before)),
        in_bytes,
    }
}

/// Bytes a second, from command entry.
pub fn byte_rate(run: &RunRecord) -> f64 {
    let seconds = seconds(run.wall_nanos);
    if seconds > 0.0 { run.counters.bytes_processed as f64 / seconds } else { 0.0 }
}

/// Part of the lookups of decoded blocks that found one; none where nothing was looked up.
pub fn cache_hit_rate(run: &RunRecord) -> Option<f64> {
    let [hot, warm, misses, _] = run.cache;
    let lookups = hot.saturating_add(warm).saturating_add(misses);
    (lookups > 0).then(|| hot.saturating_add(warm) as f64 / lookups as f64)
}

/// The workload that a record names; the format admits no other number.
pub fn workload_of(number: u8) -> WorkloadType {
    WorkloadType::ALL.get(usize::from(number)).copied().unwrap_or(WorkloadType::Mixed)
}

/// The strategy that a record names.
pub fn strategy_of(number: u8) -> ProcessingStrategy {
    let known = ProcessingStrategy::ALL.get(usize::from(number)).copied();
    known.unwrap_or(ProcessingStrategy::Hybrid)
}

/// Seconds of a stored time.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn run(stage_nanos: [u64; 5], wait_nanos: [u64; 3]) -> RunRecord {
        let mut run = RunRecord::new(RunCommand::Add);
        run.parameters.workers = 4;
        run.processing_nanos = SECOND;
        (run.stage_nanos, run.wait_nanos) = (stage_nanos, wait_nanos);
        run
    }

    fn name(run: &RunRecord) -> &'static str {
        bottleneck(run).map_or("nothing", |share| share.name)
    }

    #[test]
    fn the_largest_share_of_its_threads_is_the_bottleneck() {
        let ms = SECOND / 1000;
        assert_eq!(name(&run([0; 5], [0; 3])), "nothing");
        // Two of four workers compress, the writer is busy half of the time.
        assert_eq!(name(&run([200 * ms, 0, 0, 2100 * ms, 500 * ms], [0; 3])), "compressing");
        assert_eq!(name(&run([200 * ms, 0, 0, 1900 * ms, 500 * ms], [0; 3])), "writing");
        let waiting = run([200 * ms, 0, 0, 400 * ms, 300 * ms], [3000 * ms, 100 * ms, 0]);
        assert_eq!(name(&waiting), "writing");
        let starved = run([200 * ms, 0, 0, 400 * ms, 300 * ms], [0, 3000 * ms, 900 * ms]);
        assert_eq!(name(&starved), "waiting for files");
        let shares = shares(&starved);
        assert!((shares[3].share - 0.1).abs() < 1e-9 && (shares[4].share - 0.3).abs() < 1e-9);
    }

    #[test]
    fn a_trend_is_the_median_of_five_beside_the_five_before() {
        let mut history = RunHistory::default();
        for rate in [999, 1, 2, 3, 4, 5, 10, 20, 30, 40, 50] {
            let mut run = run([1; 5], [0; 3]);
            (run.wall_nanos, run.counters.bytes_processed) = (SECOND, rate);
            history.push(run);
        }
        let mut commit = RunRecord::new(RunCommand::Commit);
        commit.wall_nanos = SECOND / 4;
        history.push(commit);
        let trends = trends(&history);
        assert_eq!(trends.len(), 2);
        assert_eq!((trends[0].command, trends[0].workload), ("add", Some("many-small-files")));
        assert_eq!((trends[0].runs, trends[0].last, trends[0].before), (11, 30.0, Some(3.0)));
        assert_eq!((trends[1].last, trends[1].before, trends[1].in_bytes), (4.0, None, false));
    }

    #[test]
    fn a_hit_rate_needs_lookups() {
        let mut run = RunRecord::new(RunCommand::Get);
        assert_eq!(cache_hit_rate(&run), None);
        run.cache = [1, 2, 1, 7];
        assert_eq!(cache_hit_rate(&run), Some(0.75));
    }
}
