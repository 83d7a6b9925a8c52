//! `digstore add`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::debug::plan_json;
use super::{path_json, refused_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::pathspec_args::PathspecFile;
use crate::cli::ui::format;
use crate::path::RepoPath;
use crate::repo::add::{AddOptions, AddReport};
use crate::repo::diff_trees::ChangeKind;
use crate::repo::run_history::Run;
use crate::storage::format::run_history::RunCommand;

/// Store files and stage them for the next commit.
///
/// When it returns, the bytes are in the store: the files may be changed or deleted. New, modified
/// and deleted files below the given paths are staged; ignored ones are left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore add -A              everything, from any directory
  digstore add data/ notes.md  what is named
  digstore add '*.csv'         all tables, in any directory
  digstore add . ':!*.tmp'     everything here but temporary files
  digstore add -n .            only say what would be staged")]
pub struct AddArgs {
    /// Files, directories and quoted globs; see 'Paths' in docs/cli.md.
    #[arg(
        value_name = "PATHSPEC",
        required_unless_present_any = ["all", "update", "pathspec_from_file"]
    )]
    paths: Vec<OsString>,
    #[command(flatten)]
    file: PathspecFile,
    /// The whole work tree.
    #[arg(short = 'A', long)]
    all: bool,
    /// Only what is tracked already: no new files.
    #[arg(short, long, conflicts_with = "all")]
    update: bool,
    /// Ignored files too.
    #[arg(short, long)]
    force: bool,
    /// Say what would be staged, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &AddArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let typed = args.file.or(&args.paths, context)?;
    let paths = context.pathspec(&repository, &typed)?;
    let list = context.ui.is_json() || args.dry_run || context.ui.verbosity() > 0;
    let AddArgs { update: tracked_only, force, dry_run, .. } = *args;
    let options = AddOptions { paths, force, tracked_only, dry_run, list };
    let report = repository.add(&options)?;
    repository.monitor().finish();
    let time = context.ui.elapsed();
    if let Some(metrics) = report.metrics.filter(|metrics| metrics.files_processed > 0) {
        let cache = repository.objects()?.reader().cache_stats();
        let command = RunCommand::Add;
        let run = Run { command, plan: report.plan, metrics, cache, wall: time };
        context.note_run(&repository, &run);
    }
    if context.ui.is_json() {
        context.ui.document(&summary_json(&report, time))?;
    } else {
        print_changes(&report, context)?;
        if !args.dry_run {
            context.ui.message(summary(&report, time));
        }
    }
    Ok(if report.skipped == 0 { ExitCode::Success } else { ExitCode::Partial })
}

const WORDS: [(&str, ChangeKind); 3] =
    [("add", ChangeKind::Added), ("modify", ChangeKind::Modified), ("remove", ChangeKind::Deleted)];

fn of_kind(report: &AddReport, kind: ChangeKind) -> impl Iterator<Item = &RepoPath> {
    report.changes.iter().filter(move |change| change.kind == kind).map(|change| &change.path)
}

fn print_changes(report: &AddReport, context: &Context<'_>) -> anyhow::Result<()> {
    for (word, kind) in WORDS {
        for path in of_kind(report, kind) {
            context.ui.line(format!("{word} '{path}'"))?;
        }
    }
    Ok(())
}

/// One line: what was staged, what it took.
fn summary(report: &AddReport, time: Duration) -> String {
    let staged = report.added + report.modified + report.deleted;
    if staged == 0 {
        let looked = format::counted(report.seen, "file");
        return format!("nothing to stage: {looked} unchanged ({})", format::duration(time));
    }
    let mut text = format!(
        "staged {} new, {} modified, {} deleted",
        format::count(report.added),
        format::count(report.modified),
        format::count(report.deleted),
    );
    if let Some(metrics) = report.metrics.filter(|metrics| metrics.files_processed > 0) {
        text.push_str(&format!(
            "; read {}, new {}, stored {} in {}",
            format::bytes(metrics.bytes_processed),
            format::bytes(metrics.bytes_new),
            format::bytes(metrics.bytes_stored),
            format::duration(time),
        ));
        let rates = [
            format::file_rate(metrics.files_processed, time),
            format::byte_rate(metrics.bytes_processed, time),
        ];
        let rates: Vec<String> = rates.into_iter().flatten().collect();
        if !rates.is_empty() {
            text.push_str(&format!(" ({})", rates.join(", ")));
        }
    }
    text
}

fn summary_json(report: &AddReport, time: Duration) -> serde_json::Value {
    let paths =
        |kind| -> Vec<_> { of_kind(report, kind).map(|path| path_json(path.as_bytes())).collect() };
    let skipped = refused_json(&report.skips);
    json!({
        "message_type": "summary",
        "schema_version": 1,
        "added": paths(ChangeKind::Added),
        "modified": paths(ChangeKind::Modified),
        "deleted": paths(ChangeKind::Deleted),
        "skipped": skipped,
        "files_seen": report.seen,
        "seconds": time.as_secs_f64(),
        "metrics": report.metrics,
        "plan": report.plan.as_ref().map(plan_json),
    })
}
