//! The tables of decisions.

use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::storage::format::run_history::RunHistory;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How many files of which size.
type Sizes<'a> = &'a [(u64, u64)];

fn limits() -> Limits {
    Limits::new(&Config::default(), 4, None, 256 << 10)
}

fn planner(limits: Limits, sizes: Sizes<'_>) -> Planner {
    let planner = Planner::new(limits, RunHistory::default);
    for (count, size) in sizes {
        (0..*count).for_each(|_| planner.observe(*size));
    }
    planner
}

#[test]
fn workloads_follow_the_thresholds_of_the_specification() {
    use WorkloadType::{FewLargeFiles, ManySmallFiles, Mixed, SingleLargeFile};
    let table: [(Sizes<'_>, WorkloadType); 13] = [
        (&[], Mixed),
        (&[(1, 1)], ManySmallFiles),
        (&[(100, SMALL_FILE - 1)], ManySmallFiles),
        (&[(100, SMALL_FILE)], Mixed),
        (&[(80, 10), (20, MIB)], Mixed),
        (&[(81, 10), (19, MIB)], ManySmallFiles),
        (&[(1, LARGE_FILE + 1)], SingleLargeFile),
        (&[(1, LARGE_FILE + 1), (1, 10)], SingleLargeFile),
        (&[(1, LARGE_FILE + 1), (2, 10)], FewLargeFiles),
        (&[(3, 100 * MIB), (1000, 10)], FewLargeFiles),
        (&[(3, LARGE_FILE)], Mixed),
        // Exactly 80 % of the bytes, and one more.
        (&[(4, 16 * MIB), (16, MIB)], Mixed),
        (&[(4, 16 * MIB + 1), (16, MIB)], FewLargeFiles),
    ];
    for (sizes, wanted) in table {
        assert_eq!(planner(limits(), sizes).plan().workload, wanted, "{sizes:?}");
    }
}

#[test]
fn strategies_follow_workload_size_and_workers() {
    use ProcessingStrategy::{BatchParallel, Hybrid, Individual, StreamingLarge};
    let table: [(Sizes<'_>, usize, ProcessingStrategy, usize); 10] = [
        (&[], 0, Individual, 1),
        (&[(32, KIB)], 0, Individual, 1),
        (&[(33, KIB)], 0, BatchParallel, 8),
        (&[(1, 2 * MIB)], 0, Individual, 1),
        (&[(1, 2 * MIB + 1)], 0, Hybrid, 8),
        (&[(32, 64 * KIB - 1)], 0, Individual, 1),
        (&[(33, 62 * KIB)], 0, BatchParallel, 8),
        (&[(1, 20 * MIB)], 0, StreamingLarge, 8),
        (&[(9, 20 * MIB)], 3, StreamingLarge, 3),
        (&[(1000, KIB)], 1, Individual, 1),
    ];
    for (sizes, max_workers, strategy, workers) in table {
        let plan = planner(Limits { max_workers, ..limits() }, sizes).plan();
        assert_eq!((plan.strategy, plan.workers), (strategy, workers), "{sizes:?}");
    }
}

#[test]
fn memory_bounds_the_workers_then_the_blocks() {
    // Memory, cores, workers, solid KiB.
    let table = [
        (2 << 30, 4, 8, 2048),
        (2 << 30, 256, 83, 2048),
        (256 * MIB, 4, 8, 2048),
        (64 * MIB, 4, 2, 2048),
        (16 * MIB, 4, 1, 512),
        (MIB, 4, 1, 256),
        (0, 4, 1, 256),
    ];
    for (memory, cores, workers, solid) in table {
        let limits = Limits { cores, memory, ..limits() };
        let plan = planner(limits, &[(1000, KIB)]).plan();
        let found = (plan.workers, plan.solid_bytes as u64 / KIB);
        assert_eq!(found, (workers, solid), "{memory} bytes, {cores} cores");
    }
}

#[test]
fn what_the_plan_takes_is_within_the_pipelines_share() {
    for cores in [1, 2, 5, 64, 1000] {
        for memory in [64 * MIB, 65 * MIB, 100 * MIB, 300 * MIB, 1 << 30, 2 << 30, 1 << 40] {
            for level in [None, Some(-7), Some(9), Some(19)] {
                let limits = Limits { cores, memory, level, ..limits() };
                let fitted = limits.fit(limits.base_point());
                let shared = limits.queue_bytes() as u64 + limits.ahead_bytes();
                let taken = fitted.point.workers as u64 * fitted.worker_bytes + shared;
                let is_least = fitted.point.workers == 1 && fitted.point.solid_bytes == 256 << 10;
                assert!(taken <= memory / 2 || is_least, "{limits:?} {fitted:?}");
                assert!(level.is_some() || taken <= memory / 2, "the default level always fits");
            }
        }
    }
}

#[test]
fn the_machine_counts_where_it_has_less() {
    let limits = Limits { available: Some(64 * MIB), ..limits() };
    let (plan, reasons) = planner(limits, &[(1000, KIB)]).explain();
    assert_eq!(plan.workers, 2);
    let words = |parameter| {
        let reason = reasons.iter().find(|reason| reason.parameter == parameter);
        reason.map(|reason| reason.why.clone()).unwrap_or_default()
    };
    assert!(words("memory").starts_with("the machine has 64 MiB left"), "{reasons:?}");
    assert!(words("workers").starts_with("8 were wanted"), "{reasons:?}");
    assert!(words("chunk_cache").starts_with("cut to half"), "{reasons:?}");
}

#[test]
fn large_files_are_spread_while_workers_would_idle() {
    let spread = |limits, sizes: Sizes<'_>, size| planner(limits, sizes).plan().is_spread(size);
    // The threshold itself, at both sides.
    let many = [(8, 50 * MIB)];
    assert!(!spread(limits(), &many, 100 * MIB));
    assert!(spread(limits(), &many, 100 * MIB + 1));
    // Fewer heavy files than workers.
    assert!(spread(limits(), &[(7, 50 * MIB)], 50 * MIB));
    assert!(!spread(limits(), &[(7, 50 * MIB)], HEAVY_FILE));
    assert!(spread(limits(), &[(7, 50 * MIB)], HEAVY_FILE + 1));
    // What the user set counts whatever the files are.
    let set = Limits { spread_is_set: true, ..limits() };
    assert!(!spread(set, &[(1, 50 * MIB)], 50 * MIB));
    let low = Limits { spread_above: MIB, ..set };
    assert!(spread(low, &[(100, 2 * MIB)], 2 * MIB));
    assert!(!spread(Limits { max_workers: 1, ..limits() }, &[(1, 1 << 40)], 1 << 40));
}

#[test]
fn only_large_files_that_are_known_already_are_mapped() {
    let plan = planner(limits(), &[(1, 20 * MIB)]).plan();
    for (size, is_known, method) in [
        (10 * MIB, true, ReadMethod::Positioned),
        (10 * MIB + 1, true, ReadMethod::Mapped),
        (10 * MIB + 1, false, ReadMethod::Positioned),
        (u64::MAX, false, ReadMethod::Positioned),
    ] {
        assert_eq!(plan.read_method(size, is_known), method, "{size} {is_known}");
    }
}

#[test]
fn a_plan_with_reasons_is_the_plan() {
    for sizes in [&[][..], &[(100, 10)], &[(1, 1 << 40)], &[(5, MIB), (5, 20 * MIB)]] {
        let planner = planner(limits(), sizes);
        let (plan, reasons) = planner.explain();
        assert_eq!(plan, planner.plan());
        for parameter in ["workload", "strategy", "workers", "solid_bytes", "batch_files"] {
            let found = reasons.iter().filter(|reason| reason.parameter == parameter);
            assert_eq!(found.count(), 1, "{parameter}: {reasons:?}");
        }
    }
}

#[test]
fn queue_and_pool_stay_as_they_are_for_a_whole_run() {
    let planner = planner(limits(), &[]);
    let before = planner.plan();
    (0..1000).for_each(|_| planner.observe(KIB));
    planner.observe(1 << 40);
    let after = planner.plan();
    assert_eq!((before.queue_bytes, before.pool_bytes), (after.queue_bytes, after.pool_bytes));
    assert!(after.workers <= planner.most_workers());
}

#[test]
fn the_history_is_read_once_and_only_for_a_plan() {
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let planner = Planner::new(limits(), move || {
        count.fetch_add(1, Ordering::Relaxed);
        RunHistory::default()
    });
    planner.observe(KIB);
    let _ = (planner.most_jobs(), planner.most_workers());
    assert_eq!(read.load(Ordering::Relaxed), 0);
    let _ = (planner.plan(), planner.explain());
    assert_eq!(read.load(Ordering::Relaxed), 1);
}

#[test]
fn the_walk_runs_ahead_as_far_as_memory_allows() {
    let jobs = |limits: Limits| planner(limits, &[]).most_jobs();
    assert_eq!(jobs(limits()), 262);
    assert_eq!(jobs(Limits { memory: 64 * MIB, ..limits() }), 32);
    let set = Limits { batch_is_set: true, ..limits() };
    assert_eq!(jobs(set), 1048);
    assert_eq!(jobs(Limits { memory: 64 * MIB, batch_files: 1, ..set }), 4096);
    assert_eq!(jobs(Limits { memory: 0, ..limits() }), 32, "four for each worker at least");
}
