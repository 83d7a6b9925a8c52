//! `digstore store stats`: what there is, and how the last runs went.

use clap::Args;
use serde_json::{Value, json};

use super::debug::tuning_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::config::ByteSize;
use crate::repo::Repository;
use crate::repo::run_stats::{
    Share, Trend, bottleneck, byte_rate, cache_hit_rate, seconds, shares, strategy_of, trends,
    workload_of,
};
use crate::storage::adaptive::tuning::Tuning;
use crate::storage::adaptive::{Planner, WorkloadType};
use crate::storage::format::run_history::{RunCommand, RunHistory, RunRecord};

/// Show what there is and how the last runs went.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// The last runs one by one, what bounds them, and what tuning made of it.
    #[arg(long)]
    performance: bool,
}

/// Runs that the table shows.
const TABLE: usize = 15;

pub(super) fn stats(args: &StatsArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let history = repository.read_run_history().unwrap_or_else(|error| {
        let error = anyhow::Error::from(error);
        context.ui.warn(format!("the history of runs cannot be read: {error:#}"));
        RunHistory::default()
    });
    match (args.performance, context.ui.is_json()) {
        (true, true) => context.ui.document(&performance_json(&repository, &history))?,
        (true, false) => performance(&repository, &history, context)?,
        (false, _) => overview(&repository, &history, context)?,
    }
    Ok(ExitCode::Success)
}

/// A few lines: what is stored, and the last run of each command.
fn overview(
    repository: &Repository,
    history: &RunHistory,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let size = repository.size()?;
    let last = |command| history.runs.iter().rev().find(|run| run.command == command);
    let commands = [RunCommand::Add, RunCommand::Commit, RunCommand::Restore, RunCommand::Get];
    let runs: Vec<&RunRecord> = commands.into_iter().filter_map(last).collect();
    if context.ui.is_json() {
        return Ok(context.ui.document(&json!({
            "schema_version": 1, "commits": size.commits, "packs": size.packs,
            "unique_chunks": size.unique_chunks, "staged_files": size.staged_files,
            "disk_bytes": size.disk_bytes, "recorded_runs": history.runs.len(),
            "last_runs": runs.into_iter().map(run_json).collect::<Vec<_>>(),
        }))?);
    }
    context.ui.line(format!(
        "{}, {} staged, {} in {}, {} on disk",
        format::counted(size.commits, "commit"),
        format::counted(size.staged_files, "path"),
        format::counted(size.unique_chunks, "distinct chunk"),
        format::counted(size.packs, "pack"),
        format::bytes(size.disk_bytes),
    ))?;
    for run in runs {
        context.ui.line(format!("last {}", sentence(run)))?;
    }
    if history.runs.is_empty() {
        context.ui.line("no runs are recorded yet")?;
    }
    Ok(())
}

/// `add: 78,579 files, 1.3 GiB in 2.3 s, 565.2 MB/s, 2026-01-02T03:04:05Z`.
fn sentence(run: &RunRecord) -> String {
    let mut parts = Vec::new();
    let counters = &run.counters;
    if counters.files_processed > 0 {
        parts.push(format::counted(counters.files_processed, "file"));
        parts.push(format::bytes(counters.bytes_processed));
    }
    let time = std::time::Duration::from_nanos(run.wall_nanos);
    let mut text = format!("{}: {}", run.command.name(), parts.join(", "));
    text.push_str(if parts.is_empty() { "took " } else { " in " });
    text.push_str(&format::duration(time));
    let rate = format::byte_rate(counters.bytes_processed, time).filter(|_| !parts.is_empty());
    text.extend(rate.map(|rate| format!(", {rate}")));
    text.push_str(&format!(", {}", time_of(run)));
    text
}

fn time_of(run: &RunRecord) -> String {
    let time = jiff::Timestamp::from_second(run.finished);
    time.map_or_else(|_| format!("@{}", run.finished), |time| time.to_string())
}

fn performance(
    repository: &Repository,
    history: &RunHistory,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    if history.runs.is_empty() {
        return Ok(context.ui.line("no runs are recorded yet")?);
    }
    table(history, context)?;
    context.ui.line("")?;
    context.ui.line("trend: median of the last 5 runs beside the 5 before")?;
    for trend in trends(history) {
        context.ui.line(format!("  {}", trend_text(&trend)))?;
    }
    if let Some((run, bound)) = last_measured(history) {
        context.ui.line("")?;
        context.ui.line(format!(
            "the last {} was bound by {}: {:.0} % of its threads' time",
            run.command.name(),
            bound.name,
            bound.share * 100.0
        ))?;
        for share in shares(run) {
            let percent = format!("{:.1} %", share.share * 100.0);
            context
                .ui
                .line(format!("  {:<24} {:>8.3} s {percent:>8}", share.name, share.seconds))?;
        }
    }
    let planner = repository.planner();
    context.ui.line("")?;
    context.ui.line("tuning")?;
    for (workload, tuning) in tunings(&planner) {
        context.ui.line(format!("  {workload}: {}", tuning_text(tuning, &planner)))?;
    }
    Ok(())
}

fn table(history: &RunHistory, context: &Context<'_>) -> anyhow::Result<()> {
    context.ui.line(format!(
        "{:<20}  {:<7}  {:<17}  {:>9}  {:>10}  {:>10}  {:>10}  {:>9}  {:>10}  {:>7}  {:>6}  {:>10}",
        "finished",
        "command",
        "workload",
        "files",
        "bytes",
        "new",
        "stored",
        "seconds",
        "MB/s",
        "workers",
        "cached",
        "memory"
    ))?;
    for run in history.runs.iter().rev().take(TABLE).rev() {
        let counters = &run.counters;
        let is_add = run.command == RunCommand::Add;
        let cached = cache_hit_rate(run).map(|rate| format!("{:.0} %", rate * 100.0));
        context.ui.line(format!(
            "{:<20}  {:<7}  {:<17}  {:>9}  {:>10}  {:>10}  {:>10}  {:>9.3}  {:>10.1}  {:>7}  {:>6}  {:>10}",
            time_of(run),
            run.command.name(),
            if is_add { workload_of(run.workload).name() } else { "-" },
            format::count(counters.files_processed),
            format::bytes(counters.bytes_processed),
            format::bytes(counters.bytes_new),
            format::bytes(counters.bytes_stored),
            seconds(run.wall_nanos),
            byte_rate(run) / 1e6,
            if is_add { run.parameters.workers.to_string() } else { "-".to_owned() },
            cached.unwrap_or_else(|| "-".to_owned()),
            format::bytes(run.peak_memory),
        ))?;
    }
    Ok(())
}

fn trend_text(trend: &Trend) -> String {
    let rate = |rate: f64| {
        if trend.in_bytes {
            format!("{:.1} MB/s", rate / 1e6)
        } else {
            format!("{:.3} s", 1.0 / rate)
        }
    };
    let kind = trend.workload.map_or_else(String::new, |workload| format!(", {workload}"));
    let before = match trend.before {
        Some(before) => {
            format!("{} before ({:+.1} %)", rate(before), (trend.last / before - 1.0) * 100.0)
        }
        None => "nothing before".to_owned(),
    };
    let runs = format::counted(trend.runs as u64, "run");
    format!("{}{kind} ({runs}): {}, {before}", trend.command, rate(trend.last))
}

/// The newest run whose stages were measured, and what bound it.
fn last_measured(history: &RunHistory) -> Option<(&RunRecord, Share)> {
    let mut measured = history.runs.iter().rev().filter(|run| run.command == RunCommand::Add);
    measured.find_map(|run| Some((run, bottleneck(run)?)))
}

/// Workloads of which comparable runs are known, or all while there are none.
fn tunings(planner: &Planner) -> impl Iterator<Item = (WorkloadType, &Tuning)> {
    WorkloadType::ALL.into_iter().map(|workload| (workload, planner.tuning(workload)))
}

fn tuning_text(tuning: &Tuning, planner: &Planner) -> String {
    let (base, point) = (planner.limits().base_point(), tuning.point);
    let mut changes = Vec::new();
    if point.workers != base.workers {
        changes.push(format!("workers {} instead of {}", point.workers, base.workers));
    }
    if point.solid_bytes != base.solid_bytes {
        let size = |bytes: usize| ByteSize(bytes as u64);
        let (now, usual) = (size(point.solid_bytes), size(base.solid_bytes));
        changes.push(format!("solid_bytes {now} instead of {usual}"));
    }
    if point.solid_level != base.solid_level {
        changes.push(format!("solid_level {} instead of {}", point.solid_level, base.solid_level));
    }
    if point.batch_files != base.batch_files {
        changes.push(format!("batch_files {} instead of {}", point.batch_files, base.batch_files));
    }
    let what = if changes.is_empty() { "the defaults".to_owned() } else { changes.join(", ") };
    let rate = tuning.best_rate.map(|rate| format!("; best {:.1} MB/s", rate / 1e6));
    format!("{what}; {}{}", tuning.why, rate.unwrap_or_default())
}

fn performance_json(repository: &Repository, history: &RunHistory) -> Value {
    let planner = repository.planner();
    let tunings: serde_json::Map<_, _> = tunings(&planner)
        .map(|(workload, tuning)| (workload.name().to_owned(), tuning_json(tuning)))
        .collect();
    let bottleneck = last_measured(history).map(|(run, bound)| {
        json!({
            "command": run.command.name(), "stage": bound.name, "share": bound.share,
            "shares": shares(run),
        })
    });
    json!({
        "schema_version": 1,
        "runs": history.runs.iter().map(run_json).collect::<Vec<_>>(),
        "trends": trends(history),
        "bottleneck": bottleneck,
        "tuning": tunings,
    })
}

fn run_json(run: &RunRecord) -> Value {
    let (counters, parameters) = (&run.counters, &run.parameters);
    let [reading, chunking, hashing, compressing, writing] = run.stage_nanos.map(seconds);
    let [for_writer, for_files, writer] = run.wait_nanos.map(seconds);
    let is_planned = matches!(run.command, RunCommand::Add | RunCommand::Commit);
    json!({
        "finished": time_of(run),
        "command": run.command.name(),
        "workload": is_planned.then(|| workload_of(run.workload).name()),
        "strategy": is_planned.then(|| strategy_of(run.strategy).name()),
        "tuned": run.tuned,
        "workers": parameters.workers,
        "batch_files": parameters.batch_files,
        "solid_bytes": parameters.solid_bytes,
        "segment_bytes": parameters.segment_bytes,
        "buffer_bytes": parameters.buffer_bytes,
        "solid_level": parameters.solid_level,
        "segment_level": parameters.segment_level,
        "queue_bytes": parameters.queue_bytes,
        "pool_bytes": parameters.pool_bytes,
        "files_processed": counters.files_processed,
        "bytes_processed": counters.bytes_processed,
        "chunks_created": counters.chunks_created,
        "chunks_deduplicated": counters.chunks_deduplicated,
        "bytes_new": counters.bytes_new,
        "bytes_stored": counters.bytes_stored,
        "bytes_raw": counters.bytes_raw,
        "blocks_written": counters.blocks_written,
        "bytes_mapped": counters.bytes_mapped,
        "bytes_in_holes": counters.bytes_in_holes,
        "chunks_predicted": counters.chunks_predicted,
        "bytes_chunked_twice": counters.bytes_chunked_twice,
        "batches": counters.batches,
        "files_spread": counters.files_spread,
        "peak_pool_bytes": counters.peak_pool_bytes,
        "stage_seconds": {
            "reading": reading, "chunking": chunking, "hashing": hashing,
            "compressing": compressing, "writing": writing,
        },
        "wait_seconds": {
            "worker_for_writer": for_writer, "worker_for_files": for_files,
            "writer_for_workers": writer,
        },
        "seconds": seconds(run.wall_nanos),
        "processing_seconds": seconds(run.processing_nanos),
        "bytes_per_second": byte_rate(run),
        "cache_hit_rate": cache_hit_rate(run),
        "cache": {
            "hot_hits": run.cache[0], "warm_hits": run.cache[1], "misses": run.cache[2],
            "evictions": run.cache[3],
        },
        "peak_memory": run.peak_memory,
    })
}
