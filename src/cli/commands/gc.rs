//! `digstore gc`.

use clap::Args;
use serde_json::json;

use super::time_text;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::repo::gc::{GcOptions, GcReport};
use crate::storage::format::object::Signature;

/// Free the space of what nothing reaches any more.
///
/// What branches, tags, stashes, HEAD, the staging area and the operations that can be undone lead to
/// stays. The rest is condemned, and removed by a run after a time of grace, as the
/// setting `gc.grace_hours` says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore gc -n          say what would be freed, to the byte
  digstore gc             condemn what is of no use, remove what was condemned a day ago
  digstore gc --now       remove it in this run
  digstore gc --now --config gc.keep_days=0 --config gc.keep_operations=0
                          forget what could be undone, too")]
pub struct GcArgs {
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Remove in this run what nothing reaches, without a time of grace.
    #[arg(long)]
    now: bool,
    /// Free every byte, though much that is in use is written anew for it.
    #[arg(long)]
    thorough: bool,
}

pub(crate) fn run(args: &GcArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let GcArgs { dry_run, now, thorough } = *args;
    let report = repository.gc(GcOptions { dry_run, now, thorough })?;
    repository.monitor().finish();
    let ui = context.ui;
    if ui.is_json() {
        ui.document(&to_json(&report, dry_run))?;
        return Ok(ExitCode::Success);
    }
    for line in lines(&report, dry_run) {
        ui.message(line);
    }
    Ok(ExitCode::Success)
}

fn due_text(due: i64) -> String {
    time_text(&Signature {
        name: String::new(),
        email: String::new(),
        seconds: due,
        offset_minutes: 0,
    })
}

fn to_json(report: &GcReport, dry_run: bool) -> serde_json::Value {
    json!({
        "schema_version": 1,
        "dry_run": dry_run,
        "objects": report.objects,
        "commits": report.commits,
        "packs": report.packs,
        "repacked": report.repacked,
        "written": report.written,
        "written_bytes": report.written_bytes,
        "removed": report.removed,
        "removed_bytes": report.removed_bytes,
        "condemned": report.condemned,
        "condemned_bytes": report.condemned_bytes,
        "due": report.due.map(due_text),
        "in_use": report.in_use,
        "expired": report.expired,
        "expired_bytes": report.expired_bytes,
        "freed_bytes": report.freed_bytes(),
    })
}

fn lines(report: &GcReport, dry_run: bool) -> Vec<String> {
    let would = |done: &str, would: &str| if dry_run { would.to_owned() } else { done.to_owned() };
    let packs = |count| format::counted(count, "pack");
    let mut lines = vec![format!(
        "in use: {} in {}",
        format::counted(report.objects, "object"),
        format::counted(report.commits, "commit"),
    )];
    if report.expired > 0 {
        let operations = format::counted(report.expired, "operation");
        lines.push(format!("{} {operations}", would("forgot", "would forget")));
    }
    if report.repacked > 0 {
        lines.push(format!(
            "{} what is in use of {} into {} of {}",
            would("wrote", "would write"),
            packs(report.repacked),
            packs(report.written),
            format::bytes(report.written_bytes),
        ));
    }
    if report.condemned > 0 {
        let due = match report.due {
            Some(due) => format!("; the first may go from {} on", due_text(due)),
            None => String::new(),
        };
        let bytes = format::bytes(report.condemned_bytes);
        lines.push(format!("condemned: {} of {bytes}{due}", packs(report.condemned)));
    }
    if report.in_use {
        lines.push("nothing is removed while other commands read: run it again later".to_owned());
    }
    let freed = report.freed_bytes();
    lines.push(format!(
        "{} {} of {}: {} bytes {}",
        would("removed", "would remove"),
        packs(report.removed),
        format::bytes(report.removed_bytes),
        freed.unsigned_abs(),
        // What is left of a block can be larger by itself than the block was.
        if freed < 0 { "more" } else { "less" },
    ));
    lines
}
