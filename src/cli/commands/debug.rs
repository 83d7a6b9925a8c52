//! `digstore debug`: looks at how Digstore works.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::config::ByteSize;
use crate::path::RepoPath;
use crate::storage::adaptive::tuning::Tuning;
use crate::storage::adaptive::{Limits, Plan, Planner, Point, Reason};

/// Look at how Digstore works.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Show how 'add' would process files, and why.
    Plan(PlanArgs),
}

/// Show how 'add' would process files, and why.
///
/// Every file below the paths counts as if it were not stored yet. Only names and sizes are read.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Files and directories; the whole work tree when left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(command: &DebugCommand, context: &Context<'_>) -> CommandResult {
    match command {
        DebugCommand::Plan(args) => plan(args, context),
    }
}

fn plan(args: &PlanArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let mut roots = context.repo_paths(&repository, &args.paths)?;
    if roots.iter().any(RepoPath::is_root) {
        roots.clear();
    }
    let planner = repository.survey(&roots)?;
    repository.monitor().finish();
    let (plan, reasons) = planner.explain();
    if context.ui.is_json() {
        context.ui.document(&document(&planner, &plan, &reasons))?;
    } else {
        for (name, value) in rows(&planner, &plan) {
            let own = reasons.iter().filter(|reason| reason.parameter == name);
            let why: Vec<&str> = own.map(|reason| reason.why.as_str()).collect();
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
            context.ui.line(format!("{name:<14} {value}{why}"))?;
        }
    }
    Ok(ExitCode::Success)
}

/// What was found, the plan, and what it rests on, line by line.
fn rows(planner: &Planner, plan: &Plan) -> Vec<(&'static str, String)> {
    let (sketch, limits) = (planner.sketch(), planner.limits());
    let size = |bytes: usize| ByteSize(bytes as u64).to_string();
    vec![
        (
            "files",
            format!(
                "{}, {}: {} below 64 KiB, {} in files above 10 MiB",
                format::count(sketch.files()),
                format::bytes(sketch.bytes()),
                format::count(sketch.small_files()),
                format::bytes(sketch.large_bytes())
            ),
        ),
        ("workload", plan.workload.to_string()),
        ("strategy", plan.strategy.to_string()),
        ("workers", plan.workers.to_string()),
        ("batch_files", plan.batch_files.to_string()),
        ("solid_bytes", size(plan.solid_bytes)),
        ("solid_level", plan.solid_level.to_string()),
        ("segment_bytes", size(plan.segment_bytes)),
        ("segment_level", plan.segment_level.to_string()),
        ("spread_above", ByteSize(plan.spread_above).to_string()),
        ("map_above", format!("{}, where chunks are known already", ByteSize(plan.map_above))),
        ("buffer_bytes", size(plan.buffer_bytes)),
        ("queue_bytes", size(plan.queue_bytes)),
        ("pool_bytes", size(plan.pool_bytes)),
        ("memory", memory_text(limits, plan)),
        ("chunk_cache", format::bytes(limits.chunk_cache_bytes())),
        ("file_cache", format::bytes(limits.file_cache_bytes())),
        ("tuning", planner.tuning(plan.workload).why.clone()),
    ]
}

fn memory_text(limits: &Limits, plan: &Plan) -> String {
    format!(
        "{} for the pipelines, of {}; {} for each worker",
        format::bytes(limits.pipelines()),
        format::bytes(limits.ceiling()),
        format::bytes(limits.worker_bytes(&point(plan), plan.segment_bytes)),
    )
}

fn point(plan: &Plan) -> Point {
    let Plan { workers, solid_bytes, solid_level, batch_files, .. } = *plan;
    Point { workers, solid_bytes, solid_level, batch_files }
}

fn document(planner: &Planner, plan: &Plan, reasons: &[Reason]) -> Value {
    let sketch = planner.sketch();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| json!({ "parameter": reason.parameter, "why": reason.why }))
        .collect();
    json!({
        "schema_version": 1,
        "files": {
            "count": sketch.files(),
            "bytes": sketch.bytes(),
            "small": sketch.small_files(),
            "heavy": sketch.heavy_files(),
            "large_bytes": sketch.large_bytes(),
        },
        "plan": plan_json(plan),
        "limits": limits_json(planner.limits(), plan),
        "tuning": tuning_json(planner.tuning(plan.workload)),
        "reasons": reasons,
    })
}

/// A plan, for programs.
pub(super) fn plan_json(plan: &Plan) -> Value {
    json!({
        "workload": plan.workload.name(),
        "strategy": plan.strategy.name(),
        "workers": plan.workers,
        "batch_files": plan.batch_files,
        "solid_bytes": plan.solid_bytes,
        "solid_level": plan.solid_level,
        "segment_bytes": plan.segment_bytes,
        "segment_level": plan.segment_level,
        "spread_above": plan.spread_above,
        "map_above": plan.map_above,
        "buffer_bytes": plan.buffer_bytes,
        "queue_bytes": plan.queue_bytes,
        "pool_bytes": plan.pool_bytes,
        "tuned": plan.tuned,
    })
}

fn limits_json(limits: &Limits, plan: &Plan) -> Value {
    json!({
        "cores": limits.cores,
        "memory": limits.memory,
        "available": limits.available,
        "pipelines": limits.pipelines(),
        "worker_bytes": limits.worker_bytes(&point(plan), plan.segment_bytes),
        "chunk_cache": limits.chunk_cache_bytes(),
        "file_cache": limits.file_cache_bytes(),
        "auto_tune": limits.auto_tune,
    })
}

/// A tuning, for programs.
pub(super) fn tuning_json(tuning: &Tuning) -> Value {
    let point = |point: &Point| {
        json!({
            "workers": point.workers,
            "solid_bytes": point.solid_bytes,
            "solid_level": point.solid_level,
            "batch_files": point.batch_files,
        })
    };
    json!({
        "stage": tuning.stage.name(),
        "runs": tuning.runs,
        "best_rate": tuning.best_rate,
        "point": point(&tuning.point),
        "best": point(&tuning.best),
        "why": tuning.why,
    })
}
