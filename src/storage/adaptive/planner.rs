//! The planner: sizes in, plans out. Asking costs a few dozen instructions and takes no lock, so
//! each batch and each large file asks anew.

use std::fmt::Arguments;
use std::sync::OnceLock;

use super::limits::{Fitted, Limits, Point};
use super::tuning::{BATCH_FILES, Tuning, tune};
use super::{
    HEAVY_FILE, LARGE_FILE, Plan, ProcessingStrategy, SMALL_FILE, SizeSketch, WorkloadType,
};
use crate::config::ByteSize;
use crate::storage::format::run_history::RunHistory;

/// Most files that one worker takes alone (with at most one solid block of bytes): a second thread
/// and its compressor cost about as much as they would save.
const HANDFUL: u64 = 32;

/// Bytes of a file that waits: its path, and what is known of it.
const FILE_BYTES: u64 = 128;
/// Most jobs that wait, whatever memory there is.
const MOST_JOBS: usize = 4096;

/// Why a parameter of a plan is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The field of the plan.
    pub parameter: &'static str,
    /// In words.
    pub why: String,
}

/// Takes the words of a decision; those of a plan that nobody reads are never made.
type Note<'a> = dyn FnMut(&'static str, Arguments<'_>) + 'a;

/// What reads the history.
type ReadHistory = Box<dyn Fn() -> RunHistory + Send + Sync>;

/// Decides for one run, from the first file to the last.
pub struct Planner {
    sketch: SizeSketch,
    limits: Limits,
    read_history: ReadHistory,
    /// By workload. Made at the first plan: a run without a file to process needs none.
    tunings: OnceLock<[Tuning; WorkloadType::ALL.len()]>,
}

impl Planner {
    /// A planner that has seen no file yet.
    pub fn new(
        limits: Limits,
        read_history: impl Fn() -> RunHistory + Send + Sync + 'static,
    ) -> Self {
        let read_history = Box::new(read_history);
        Self { sketch: SizeSketch::default(), limits, read_history, tunings: OnceLock::new() }
    }

    /// Notes the size of a file that is about to be offered.
    pub fn observe(&self, size: u64) {
        self.sketch.add(size);
    }

    /// The sizes so far.
    pub fn sketch(&self) -> &SizeSketch {
        &self.sketch
    }

    /// What settings and machine allow.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What earlier runs say of a workload.
    pub fn tuning(&self, workload: WorkloadType) -> &Tuning {
        let tunings = self.tunings.get_or_init(|| {
            let history = (self.read_history)();
            WorkloadType::ALL.map(|workload| tune(&history, workload, &self.limits))
        });
        &tunings[workload as usize]
    }

    /// Most workers that a plan of this run may ask for; tuning never takes more.
    pub fn most_workers(&self) -> usize {
        self.limits.wanted_workers()
    }

    /// Most jobs that wait for a worker: how far the walk may run ahead. The further it does, the
    /// sooner the total is known; what waits takes memory.
    pub fn most_jobs(&self) -> usize {
        let tuned = if self.limits.batch_is_set { 0 } else { *BATCH_FILES.end() };
        let files = self.limits.batch_files.max(tuned);
        let jobs = self.limits.ahead_bytes() / (files as u64 * FILE_BYTES);
        (jobs as usize).min(MOST_JOBS).max(4 * self.most_workers())
    }

    /// How to go on.
    pub fn plan(&self) -> Plan {
        self.decide(&mut |_, _| {})
    }

    /// How to go on, and why.
    pub fn explain(&self) -> (Plan, Vec<Reason>) {
        let mut reasons = Vec::new();
        let plan = self.decide(&mut |parameter, why| {
            reasons.push(Reason { parameter, why: why.to_string() });
        });
        (plan, reasons)
    }

    fn decide(&self, note: &mut Note<'_>) -> Plan {
        let limits = &self.limits;
        let workload = self.workload(note);
        let tuning = self.tuning(workload);
        let fitted = limits.fit(tuning.point);
        self.note_point(&fitted, tuning, note);
        let strategy = self.strategy(workload, &fitted.point, note);
        let workers =
            if strategy == ProcessingStrategy::Individual { 1 } else { fitted.point.workers };
        let spread_above = self.spread_above(workers, note);
        note_memory(limits, &fitted, note);
        Plan {
            workload,
            strategy,
            workers,
            batch_files: fitted.point.batch_files,
            solid_bytes: fitted.point.solid_bytes,
            segment_bytes: fitted.segment_bytes,
            buffer_bytes: limits.buffer_bytes.min(fitted.segment_bytes),
            queue_bytes: limits.queue_bytes(),
            pool_bytes: limits.pool_bytes(),
            solid_level: fitted.point.solid_level,
            segment_level: limits.segment_level(),
            spread_above,
            map_above: limits.map_above,
            tuned: tuning.point != limits.base_point(),
        }
    }

    fn workload(&self, note: &mut Note<'_>) -> WorkloadType {
        let sketch = &self.sketch;
        let workload = sketch.workload();
        let (files, bytes) = (sketch.files(), sketch.bytes());
        match workload {
            WorkloadType::SingleLargeFile => note(
                "workload",
                format_args!("at most two files, one of them above {}", ByteSize(LARGE_FILE)),
            ),
            WorkloadType::FewLargeFiles => note(
                "workload",
                format_args!(
                    "{} of {bytes} bytes, more than 80 %, are in files above {}",
                    sketch.large_bytes(),
                    ByteSize(LARGE_FILE)
                ),
            ),
            WorkloadType::ManySmallFiles => note(
                "workload",
                format_args!(
                    "{} of {files} files, more than 80 %, are below {}",
                    sketch.small_files(),
                    ByteSize(SMALL_FILE)
                ),
            ),
            WorkloadType::Mixed if files == 0 => note("workload", format_args!("no file yet")),
            WorkloadType::Mixed => note(
                "workload",
                format_args!("neither small files nor the bytes of large ones exceed 80 %"),
            ),
        }
        workload
    }

    fn strategy(
        &self,
        workload: WorkloadType,
        point: &Point,
        note: &mut Note<'_>,
    ) -> ProcessingStrategy {
        if point.workers == 1 {
            note("strategy", format_args!("there is one worker"));
            return ProcessingStrategy::Individual;
        }
        let (files, bytes) = (self.sketch.files(), self.sketch.bytes());
        if files <= HANDFUL && bytes <= point.solid_bytes as u64 {
            note(
                "strategy",
                format_args!("a handful of files, which together make less than one solid block"),
            );
            return ProcessingStrategy::Individual;
        }
        note("strategy", format_args!("follows from the workload: {workload}"));
        match workload {
            WorkloadType::ManySmallFiles => ProcessingStrategy::BatchParallel,
            WorkloadType::FewLargeFiles | WorkloadType::SingleLargeFile => {
                ProcessingStrategy::StreamingLarge
            }
            WorkloadType::Mixed => ProcessingStrategy::Hybrid,
        }
    }

    /// Files above this are spread: those above the user's threshold, and while there are fewer
    /// heavy files than workers all of them, because workers would idle otherwise.
    fn spread_above(&self, workers: usize, note: &mut Note<'_>) -> u64 {
        let limits = &self.limits;
        if limits.spread_is_set {
            note("spread_above", format_args!("set by performance.streaming_threshold"));
            return limits.spread_above;
        }
        if limits.spread_above <= HEAVY_FILE || self.sketch.heavy_files() >= workers as u64 {
            note("spread_above", format_args!("as many large files as workers: one file a worker"));
            return limits.spread_above;
        }
        note(
            "spread_above",
            format_args!(
                "fewer large files ({}) than workers, so that smaller ones are spread too",
                self.sketch.heavy_files()
            ),
        );
        HEAVY_FILE
    }

    /// Why workers, batches and solid blocks are what they are.
    fn note_point(&self, fitted: &Fitted, tuning: &Tuning, note: &mut Note<'_>) {
        let (limits, base, point) = (&self.limits, self.limits.base_point(), &fitted.point);
        match (fitted.has_fewer_workers, limits.max_workers) {
            (true, _) => note(
                "workers",
                format_args!(
                    "{} were wanted; {} for workers hold no more of {} each",
                    tuning.point.workers,
                    rounded(limits.worker_room()),
                    rounded(fitted.worker_bytes)
                ),
            ),
            _ if tuning.point.workers != base.workers => {
                note("workers", format_args!("tuned: {}", tuning.why));
            }
            (_, 0) => note("workers", format_args!("twice the {} cores", limits.cores)),
            _ => note("workers", format_args!("set by performance.max_worker_threads")),
        }
        match (fitted.has_smaller_blocks, tuning.point.solid_bytes == base.solid_bytes) {
            (true, _) => note("solid_bytes", format_args!("made smaller to fit into memory")),
            (_, false) => note("solid_bytes", format_args!("tuned: {}", tuning.why)),
            _ => note("solid_bytes", format_args!("the default")),
        }
        match (limits.level, tuning.point.solid_level == base.solid_level) {
            (Some(_), _) => note("solid_level", format_args!("set by compression.level")),
            (None, false) => note("solid_level", format_args!("tuned: {}", tuning.why)),
            _ => note("solid_level", format_args!("the default; segments take a faster one")),
        }
        if point.batch_files != base.batch_files {
            note("batch_files", format_args!("tuned: {}", tuning.why));
        } else if limits.batch_is_set {
            note("batch_files", format_args!("set by performance.batch_size"));
        } else {
            note("batch_files", format_args!("the default"));
        }
    }
}

/// What memory changed, and settings that contradict each other.
fn note_memory(limits: &Limits, fitted: &Fitted, note: &mut Note<'_>) {
    if let Some(available) = limits.available.filter(|available| *available < limits.memory) {
        note(
            "memory",
            format_args!(
                "the machine has {} left, less than performance.max_memory_usage",
                rounded(available)
            ),
        );
    }
    if fitted.worker_bytes > limits.worker_room() {
        note(
            "memory",
            format_args!(
                "even one worker with the smallest blocks needs {}, more than its share of {}",
                rounded(fitted.worker_bytes),
                rounded(limits.worker_room())
            ),
        );
    }
    if limits.chunk_cache_bytes() < limits.chunk_cache {
        note(
            "chunk_cache",
            format_args!("cut to half of all memory, {}", rounded(limits.chunk_cache_bytes())),
        );
    }
    if limits.file_cache_bytes() < limits.file_cache {
        note(
            "file_cache",
            format_args!("cut to a quarter of all memory, {}", rounded(limits.file_cache_bytes())),
        );
    }
    if limits.buffer_bytes > fitted.segment_bytes {
        note("buffer_bytes", format_args!("cut to a segment, which is all that is read at once"));
    }
}

/// A size for people, in whole MiB or KiB.
fn rounded(bytes: u64) -> ByteSize {
    let unit = if bytes >= 10 << 20 { 20 } else { 10 };
    ByteSize(bytes >> unit << unit)
}
