//! Tuning from earlier runs: hill climbing over [`Point`]s, one workload at a time.
//!
//! The climb is replayed from the history at each run, run by run in the order of time, so nothing but
//! the history is kept and nothing that was decided is decided anew. It starts at the defaults, and
//! once enough comparable runs of a point are known, one parameter is moved by one step. Machines are
//! busier at some times than at others, so runs of a trial take turns with runs of the best point, and
//! the two are compared only where they lie side by side. A step that proves at least [`GAIN`] faster,
//! and faster than chance, is kept and the climb goes on from there; any other is left. No point is
//! taken twice in one climb, so it ends, where no neighbour is faster. When the runs it rests on fall
//! out of the history, it begins anew, on what the machine is like by then.

use std::fmt;
use std::ops::RangeInclusive;

use super::WorkloadType;
use super::limits::{Limits, Point};
use crate::storage::format::run_history::{RunCommand, RunHistory, RunRecord};

/// Runs of a point that must be known before its neighbours are tried.
pub const RUNS: usize = 3;
/// Runs of a trial that decide: as many faster ones keep it, as many others reject it.
const MAJORITY: usize = 2;
/// Shortest run that counts, in bytes: a shorter one measures the start of the process.
pub const MIN_BYTES: u64 = 64 << 20;
/// A step is kept when it makes runs faster by this factor.
pub const GAIN: f64 = 1.03;
/// A step to a lower level costs space, some 3 % a level, and must pay more.
const LEVEL_GAIN: f64 = 1.10;
/// A trial whose first run falls below this share of the best rate is not repeated.
const HOPELESS: f64 = 0.92;

/// Sizes of solid blocks that are tried.
const SOLID_BYTES: RangeInclusive<usize> = (256 << 10)..=(4 << 20);
/// Levels of solid blocks that are tried.
const LEVELS: RangeInclusive<i32> = 1..=3;
/// Sizes of batches that are tried.
pub(super) const BATCH_FILES: RangeInclusive<usize> = 125..=2000;

/// A parameter that is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// [`Point::workers`].
    Workers,
    /// [`Point::solid_bytes`].
    SolidBytes,
    /// [`Point::solid_level`].
    SolidLevel,
    /// [`Point::batch_files`].
    BatchFiles,
}

impl Parameter {
    const ALL: [Self; 4] = [Self::Workers, Self::SolidLevel, Self::SolidBytes, Self::BatchFiles];
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workers => "workers",
            Self::SolidBytes => "solid_bytes",
            Self::SolidLevel => "solid_level",
            Self::BatchFiles => "batch_files",
        })
    }
}

/// Where the climb stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `performance.auto_tune` is off.
    Off,
    /// The runs of the best point are still too few.
    Measuring,
    /// A neighbour of the best point is tried.
    Trying(Parameter),
    /// No neighbour is faster.
    Settled,
}

impl Stage {
    /// The name that programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Measuring => "measuring",
            Self::Trying(_) => "trying",
            Self::Settled => "settled",
        }
    }
}

/// What earlier runs say of one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Where the next run works.
    pub point: Point,
    /// The best point known.
    pub best: Point,
    /// Where the climb stands.
    pub stage: Stage,
    /// Comparable runs in the history.
    pub runs: usize,
    /// Rate of the best point in bytes a second, once enough runs are known.
    pub best_rate: Option<f64>,
    /// All of it in words.
    pub why: String,
}

/// Where the next run of a workload works, from what the earlier ones came to. Deterministic: equal
/// history and limits give an equal answer.
pub fn tune(history: &RunHistory, workload: WorkloadType, limits: &Limits) -> Tuning {
    // Memory that is free now says nothing about the runs of the past.
    let limits = Limits { available: None, ..*limits };
    let base = limits.fit(limits.base_point()).point;
    let mut climb = Climb::new(base, &limits);
    let mut runs = 0;
    if limits.auto_tune {
        for sample in samples(history, workload) {
            climb.take(&sample);
            runs += 1;
        }
    }
    let mut tuning = climb.tuning(runs);
    // Where nothing changed, the point stays as the settings have it, before memory cut it.
    if tuning.point == base {
        tuning.point = limits.base_point();
    }
    tuning
}

/// A neighbour that takes turns with the best point.
struct Trial {
    point: Point,
    parameter: Parameter,
    /// Its rates.
    rates: Vec<f64>,
    /// Rates of the best point before the first of them, between them, and after the last.
    beside: Vec<f64>,
    /// Whether it is the best point's turn.
    rests: bool,
}

/// What a trial came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Faster,
    NotFaster,
    Open,
}

/// A climb, as far as the runs reach that it took in.
struct Climb<'a> {
    limits: &'a Limits,
    best: Point,
    /// Its rates, the oldest first.
    rates: Vec<f64>,
    trial: Option<Trial>,
    /// Neighbours of the best point that are not faster.
    rejected: Vec<Point>,
    /// Points that were best before.
    left: Vec<Point>,
}

impl<'a> Climb<'a> {
    fn new(best: Point, limits: &'a Limits) -> Self {
        let (rates, rejected, left) = Default::default();
        Self { limits, best, rates, trial: None, rejected, left }
    }

    /// Takes the next run in; one of neither the best point nor the trial says nothing.
    fn take(&mut self, sample: &Sample) {
        match &mut self.trial {
            trial if sample.point == self.best => {
                self.rates.push(sample.rate);
                if let Some(trial) = trial {
                    // A run out of turn takes the place of the one before.
                    trial.beside.truncate(trial.rates.len());
                    trial.beside.push(sample.rate);
                    trial.rests = false;
                }
            }
            Some(trial) if sample.point == trial.point => {
                trial.rates.truncate(trial.beside.len().saturating_sub(1));
                trial.rates.push(sample.rate);
                trial.rests = true;
            }
            _ => return,
        }
        self.decide();
    }

    /// Ends the trial if it is decided, and begins the next.
    fn decide(&mut self) {
        if let Some(trial) = self.trial.take() {
            match trial.verdict(&self.best) {
                Verdict::Open => return self.trial = Some(trial),
                Verdict::NotFaster => self.rejected.push(trial.point),
                Verdict::Faster => {
                    self.left.push(std::mem::replace(&mut self.best, trial.point));
                    self.rates = trial.rates;
                    self.rejected.clear();
                }
            }
        }
        if self.is_known() {
            let gone = |point: &Point| self.rejected.contains(point) || self.left.contains(point);
            let mut steps = neighbours(&self.best, self.limits).into_iter();
            let next = steps.find(|(point, _)| !gone(point));
            let beside = self.rates.last().copied().into_iter().collect();
            self.trial = next.map(|(point, parameter)| Trial {
                point,
                parameter,
                rates: Vec::new(),
                beside,
                rests: false,
            });
        }
    }

    /// Whether enough runs of the best point are known.
    fn is_known(&self) -> bool {
        self.rates.len() >= RUNS || !self.left.is_empty()
    }

    /// Where the climb stands after `runs` runs.
    fn tuning(self, runs: usize) -> Tuning {
        let known = self.rates.len();
        let newest = &self.rates[known.saturating_sub(RUNS)..];
        let best_rate = self.is_known().then(|| median(newest));
        let (point, stage, why) = match &self.trial {
            _ if !self.limits.auto_tune => (self.best, Stage::Off, "auto_tune is off".to_owned()),
            None if best_rate.is_none() => (
                self.best,
                Stage::Measuring,
                format!(
                    "{known} of {RUNS} runs of this workload above {} MiB are known",
                    MIN_BYTES >> 20
                ),
            ),
            None => (self.best, Stage::Settled, format!("the fastest of {runs} runs")),
            Some(Trial { parameter, rests: true, .. }) => (
                self.best,
                Stage::Trying(*parameter),
                format!("the best so far, taking turns with a trial of another {parameter}"),
            ),
            Some(Trial { point, parameter, .. }) => (
                *point,
                Stage::Trying(*parameter),
                format!("trying another {parameter}, to see whether it is faster"),
            ),
        };
        Tuning { point, best: self.best, stage, runs, best_rate, why }
    }
}

impl Trial {
    /// Compares each run of the trial with the runs of the best point before and after it.
    fn verdict(&self, best: &Point) -> Verdict {
        let gain = if self.point.solid_level < best.solid_level { LEVEL_GAIN } else { GAIN };
        let needed = gain.max(1.0 + spread(&self.beside) / 2.0);
        let pairs = self.rates.iter().zip(self.beside.windows(2));
        let gains: Vec<f64> =
            pairs.map(|(rate, beside)| rate * 2.0 / (beside[0] + beside[1])).collect();
        let faster = gains.iter().filter(|gain| **gain >= needed).count();
        let first = self.rates.first().zip(self.beside.first());
        let is_hopeless = first.is_some_and(|(trial, best)| *trial < best * HOPELESS);
        if faster >= MAJORITY {
            Verdict::Faster
        } else if is_hopeless || gains.len() - faster >= MAJORITY {
            Verdict::NotFaster
        } else {
            Verdict::Open
        }
    }
}

/// A run that counts.
struct Sample {
    point: Point,
    rate: f64,
}

/// The runs of a workload that can be compared, the oldest first: long enough, and mostly new data,
/// because what is stored already takes another way.
fn samples(history: &RunHistory, workload: WorkloadType) -> impl Iterator<Item = Sample> {
    let counts = move |run: &&RunRecord| {
        let counters = &run.counters;
        run.command == RunCommand::Add
            && run.workload == workload.number()
            && counters.bytes_processed >= MIN_BYTES
            && counters.bytes_new >= counters.bytes_processed / 2
            && run.processing_nanos > 0
    };
    let sample = |run: &RunRecord| Sample {
        point: point_of(run),
        rate: run.counters.bytes_processed as f64 * 1e9 / run.processing_nanos as f64,
    };
    history.runs.iter().filter(counts).map(sample)
}

/// The point at which a run ended.
pub fn point_of(run: &RunRecord) -> Point {
    let parameters = &run.parameters;
    Point {
        workers: parameters.workers as usize,
        solid_bytes: parameters.solid_bytes as usize,
        solid_level: parameters.solid_level,
        batch_files: parameters.batch_files as usize,
    }
}

/// The middle value; of an even number the lower one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// How far apart values lie, as a share of their median: what chance alone may look like.
fn spread(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::MIN, f64::max);
    let lowest = values.iter().copied().fold(f64::MAX, f64::min);
    let middle = median(values);
    if middle > 0.0 { (highest - lowest) / middle } else { 0.0 }
}

/// The points one step away that the user's settings and the memory allow.
fn neighbours(point: &Point, limits: &Limits) -> Vec<(Point, Parameter)> {
    let mut found = Vec::new();
    for parameter in Parameter::ALL {
        for up in [false, true] {
            let Some(neighbour) = step(point, parameter, up, limits) else { continue };
            let fits = limits.fit(neighbour).point == neighbour;
            if neighbour != *point && fits {
                found.push((neighbour, parameter));
            }
        }
    }
    found
}

/// One step of one parameter, kept within its range; `None` where the user set the parameter.
fn step(point: &Point, parameter: Parameter, up: bool, limits: &Limits) -> Option<Point> {
    let mut next = *point;
    match parameter {
        Parameter::Workers if limits.max_workers == 0 => {
            let step = (point.workers / 4).max(1);
            let moved = if up { point.workers + step } else { point.workers.saturating_sub(step) };
            next.workers = moved.clamp(1, limits.cores * 2);
        }
        Parameter::SolidBytes => {
            let moved = if up { point.solid_bytes * 2 } else { point.solid_bytes / 2 };
            next.solid_bytes = within(moved, point.solid_bytes, &SOLID_BYTES);
        }
        Parameter::SolidLevel if limits.level.is_none() => {
            let moved = if up { point.solid_level + 1 } else { point.solid_level - 1 };
            next.solid_level = moved.clamp(*LEVELS.start(), *LEVELS.end());
        }
        Parameter::BatchFiles if !limits.batch_is_set => {
            let moved = if up { point.batch_files * 2 } else { point.batch_files / 2 };
            next.batch_files = within(moved, point.batch_files, &BATCH_FILES);
        }
        _ => return None,
    }
    Some(next)
}

/// `moved` if it lies in the range, else where it was.
fn within(moved: usize, stay: usize, range: &RangeInclusive<usize>) -> usize {
    if range.contains(&moved) { moved } else { stay }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use proptest::prelude::*;

    fn limits(cores: usize) -> Limits {
        Limits::new(&Config::default(), cores, None, 256 << 10)
    }

    /// A run at a point that took `bytes` at `rate` bytes a second.
    fn run(point: &Point, workload: WorkloadType, bytes: u64, rate: f64) -> RunRecord {
        let mut run = RunRecord::new(RunCommand::Add);
        run.workload = workload.number();
        run.parameters.workers = point.workers as u32;
        run.parameters.solid_bytes = point.solid_bytes as u32;
        run.parameters.solid_level = point.solid_level;
        run.parameters.batch_files = point.batch_files as u32;
        run.counters.bytes_processed = bytes;
        run.counters.bytes_new = bytes;
        run.processing_nanos = (bytes as f64 * 1e9 / rate) as u64;
        run
    }

    const SMALL: WorkloadType = WorkloadType::ManySmallFiles;

    /// Runs `count` times, each where tuning says, at the rate that `surface` gives.
    fn simulate(
        count: usize,
        limits: &Limits,
        mut surface: impl FnMut(&Point) -> f64,
    ) -> (RunHistory, Tuning) {
        let mut history = RunHistory::default();
        for _ in 0..count {
            let point = limits.fit(tune(&history, SMALL, limits).point).point;
            history.push(run(&point, SMALL, 100 << 20, surface(&point)));
        }
        let tuning = tune(&history, SMALL, limits);
        (history, tuning)
    }

    #[test]
    fn nothing_moves_before_enough_comparable_runs() {
        let limits = limits(4);
        let base = limits.base_point();
        let mut history = RunHistory::default();
        let check = |history: &RunHistory| {
            let tuning = tune(history, SMALL, &limits);
            assert_eq!((tuning.point, tuning.stage), (base, Stage::Measuring));
        };
        check(&history);
        for _ in 0..5 {
            history.push(run(&base, SMALL, MIN_BYTES - 1, 1e8));
            history.push(run(&base, WorkloadType::Mixed, MIN_BYTES, 1e8));
            let mut known = run(&base, SMALL, MIN_BYTES, 1e8);
            known.counters.bytes_new = MIN_BYTES / 2 - 1;
            history.push(known);
            let mut other = run(&base, SMALL, MIN_BYTES, 1e8);
            other.command = RunCommand::Restore;
            history.push(other);
        }
        (0..RUNS - 1).for_each(|_| history.push(run(&base, SMALL, MIN_BYTES, 1e8)));
        check(&history);
        history.push(run(&base, SMALL, MIN_BYTES, 1e8));
        let tuning = tune(&history, SMALL, &limits);
        assert_eq!(tuning.stage, Stage::Trying(Parameter::Workers));
        assert_ne!(tuning.point, base);
        assert_eq!(tune(&history, WorkloadType::FewLargeFiles, &limits).point, base);
    }

    #[test]
    fn a_flat_surface_settles_at_the_defaults() {
        let limits = limits(4);
        let (_, tuning) = simulate(100, &limits, |_| 1e8);
        assert_eq!((tuning.point, tuning.stage), (limits.base_point(), Stage::Settled));
    }

    #[test]
    fn a_gain_below_the_threshold_is_not_kept() {
        let limits = limits(4);
        // The first step is from eight workers to six.
        let two_percent = |point: &Point| 1e8 * (1.0 + 0.01 * (8.0 - point.workers as f64));
        let (_, tuning) = simulate(100, &limits, two_percent);
        assert_eq!(tuning.point, limits.base_point());
        let five_percent = |point: &Point| 1e8 * 1.05f64.powi(8 - point.workers as i32);
        let (_, tuning) = simulate(150, &limits, five_percent);
        assert_eq!((tuning.point.workers, tuning.stage), (1, Stage::Settled));
    }

    #[test]
    fn a_lower_level_must_pay_for_its_space() {
        let limits = limits(2);
        let faster = |by: f64| move |point: &Point| 1e8 * by.powi(3 - point.solid_level);
        assert_eq!(simulate(150, &limits, faster(1.08)).1.point.solid_level, 3);
        assert_eq!(simulate(150, &limits, faster(1.2)).1.point.solid_level, 1);
    }

    #[test]
    fn a_hopeless_trial_is_made_once() {
        let limits = limits(4);
        let base = limits.base_point();
        let surface = |point: &Point| if *point == base { 1e8 } else { 5e7 };
        let (history, tuning) = simulate(60, &limits, surface);
        assert_eq!(tuning.stage, Stage::Settled);
        let trials = history.runs.iter().filter(|run| point_of(run) != base).count();
        assert_eq!(trials, neighbours(&base, &limits).len());
    }

    #[test]
    fn a_machine_that_gets_busier_misleads_nobody() {
        let limits = limits(2);
        // Each run is slower than the one before, whatever the point; then each is faster.
        for drift in [0.99, 1.01] {
            let mut busy = 1e9;
            let (history, tuning) = simulate(120, &limits, |_| {
                busy *= drift;
                busy
            });
            assert_eq!((tuning.point, tuning.stage), (limits.base_point(), Stage::Settled));
            let trials = history.runs.iter().filter(|run| point_of(run) != tuning.point).count();
            assert!(trials <= 3 * neighbours(&tuning.point, &limits).len(), "{trials}");
        }
    }

    #[test]
    fn trials_take_turns_with_the_best_point() {
        let limits = limits(4);
        let (history, _) = simulate(7, &limits, |point| point.workers as f64 * 1e7);
        let base = limits.base_point();
        let is_trial: Vec<bool> = history.runs.iter().map(|run| point_of(run) != base).collect();
        // Three to know the best point; fewer workers are hopeless at once; the next trial.
        assert_eq!(is_trial, [false, false, false, true, true, false, true]);
    }

    #[test]
    fn what_the_user_set_is_not_moved() {
        let mut limits = limits(4);
        (limits.max_workers, limits.level, limits.batch_is_set) = (3, Some(9), true);
        let (history, _) = simulate(80, &limits, |point| point.solid_bytes as f64 * 100.0);
        for run in &history.runs {
            let point = point_of(run);
            assert_eq!((point.workers, point.solid_level, point.batch_files), (3, 9, 500));
        }
        limits.auto_tune = false;
        let off = tune(&history, SMALL, &limits);
        assert_eq!((off.point, off.stage), (limits.base_point(), Stage::Off));
    }

    fn arbitrary_run() -> impl Strategy<Value = RunRecord> {
        let numbers = (0u32..40, 0u32..9 << 20, -8i32..20, 0u32..5000);
        (numbers, any::<u64>(), any::<u64>(), 0u8..4).prop_map(|(numbers, bytes, nanos, kind)| {
            let mut run = RunRecord::new(RunCommand::Add);
            let parameters = &mut run.parameters;
            (parameters.workers, parameters.solid_bytes) = (numbers.0, numbers.1);
            (parameters.solid_level, parameters.batch_files) = (numbers.2, numbers.3);
            (run.counters.bytes_processed, run.counters.bytes_new) = (bytes, bytes);
            (run.processing_nanos, run.workload) = (nanos, kind);
            run
        })
    }

    proptest! {
        #[test]
        fn any_hill_is_climbed_and_the_climb_ends(
            top in (1usize..=8, 18u32..=22, 1i32..=3, 125usize..2000),
            steep in 1.12f64..2.0,
        ) {
            let limits = limits(4);
            // One peak; each step away from it in any parameter divides the rate.
            let surface = |point: &Point| {
                let away = point.workers.abs_diff(top.0) as i32
                    + point.solid_bytes.ilog2().abs_diff(top.1) as i32
                    + point.solid_level.abs_diff(top.2) as i32
                    + (point.batch_files.ilog2().abs_diff(top.3.ilog2())) as i32;
                1e9 / steep.powi(away)
            };
            let (_, tuning) = simulate(400, &limits, surface);
            prop_assert_eq!(tuning.stage, Stage::Settled);
            prop_assert!(surface(&tuning.point) >= surface(&limits.base_point()));
            for (neighbour, _) in neighbours(&tuning.point, &limits) {
                prop_assert!(surface(&neighbour) < surface(&tuning.point) * LEVEL_GAIN);
            }
        }

        #[test]
        fn noise_never_leads_out_of_the_range(seed in any::<u64>(), cores in 1usize..20) {
            let limits = limits(cores);
            let mut state = seed;
            let (history, _) = simulate(120, &limits, |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1e7 + (state >> 40) as f64
            });
            for run in &history.runs {
                let point = point_of(run);
                prop_assert!((1..=cores * 2).contains(&point.workers));
                prop_assert!(SOLID_BYTES.contains(&point.solid_bytes));
                prop_assert!(LEVELS.contains(&point.solid_level));
                prop_assert!(BATCH_FILES.contains(&point.batch_files));
            }
        }

        #[test]
        fn any_history_gives_one_answer_within_the_limits(
            runs in proptest::collection::vec(arbitrary_run(), 0..200),
            workload in 0usize..4,
        ) {
            let limits = limits(3);
            let history = RunHistory { runs };
            let workload = WorkloadType::ALL[workload];
            let tuning = tune(&history, workload, &limits);
            prop_assert_eq!(&tuning, &tune(&history, workload, &limits));
            prop_assert!((1..=6).contains(&tuning.point.workers));
            prop_assert!(SOLID_BYTES.contains(&tuning.point.solid_bytes));
        }
    }
}
