//! `digstore store`: looks at the store itself.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::path_json;
use super::stats::{StatsArgs, stats};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::repo::repair::RepairReport;
use crate::repo::size::SizeReport;
use crate::repo::verify::{Affected, Depth, Holder, VerifyReport};

/// Look at the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show how many bytes there are and what the store saves.
    Size(SizeArgs),
    /// Show what there is and how the last runs went.
    Stats(StatsArgs),
    /// Check what is stored and name everything that is damaged.
    Verify(VerifyArgs),
    /// Restore what is damaged, as far as something else still holds it.
    Repair(RepairArgs),
    /// Make a new staging area from the last commit, in the place of a damaged one.
    ResetStaging,
}

/// Show how many bytes there are and what the store saves.
#[derive(Debug, Args)]
pub struct SizeArgs {
    /// The ratios too, each with what it is counted from.
    #[arg(long)]
    efficiency: bool,
}

/// Check what is stored and name everything that is damaged.
///
/// Every index, every tree, chunk list and commit is read and checked, and every file of every
/// commit, of the staging area and of the log of operations is looked up. With --data the bytes of
/// every chunk are read and hashed too, with --sample a part of them: each run takes the next part, so
/// that successive runs read all. Parity that is missing or damaged is named too; nothing is lost by it,
/// and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore store verify --data
  digstore store verify --sample 5%    # each night; after 20 nights all was read")]
pub struct VerifyArgs {
    /// Read and hash every chunk.
    #[arg(long)]
    data: bool,
    /// Read and hash the next so many percent of the chunks, 1 to 100.
    #[arg(long, value_name = "N%", value_parser = percent, conflicts_with = "data")]
    sample: Option<u8>,
}

/// Restore what is damaged, as far as something else still holds it.
///
/// Without --apply, says what would be restored. A damaged pack is healed by its parity, where there is some
/// (reliability.parity); else its header and footer come back from the pack, and sound parts of it are kept.
/// Indexes come back from the packs, and so does parity that the settings ask for; refs and HEAD come back from the log of operations, the
/// staging area from what the last operation staged, chunks of files from the same file of the work tree
/// where its bytes are the same. Damaged originals are kept below .digstore/damaged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore store repair            # what could be restored
  digstore store repair --apply    # restore it")]
pub struct RepairArgs {
    /// Restore; without it nothing is changed.
    #[arg(long, visible_alias = "yes")]
    apply: bool,
}

/// `5%` or `5`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|number| (1..=100).contains(number))
        .ok_or_else(|| "a whole number of percent from 1 to 100 is expected".to_owned())
}

pub(crate) fn run(command: &StoreCommand, context: &Context<'_>) -> CommandResult {
    match command {
        StoreCommand::Size(args) => size(args, context),
        StoreCommand::Stats(args) => stats(args, context),
        StoreCommand::Verify(args) => verify(args, context),
        StoreCommand::Repair(args) => repair(args, context),
        StoreCommand::ResetStaging => {
            let staged = context.open()?.reset_staging()?;
            if context.ui.is_json() {
                context.ui.document(&json!({ "schema_version": 1, "staged": staged }))?;
            }
            let paths = format::counted(staged as u64, "path");
            context.ui.message(format!("made a new staging area of {paths} from the last commit"));
            Ok(ExitCode::Success)
        }
    }
}

fn size(args: &SizeArgs, context: &Context<'_>) -> CommandResult {
    let report = context.open()?.size()?;
    if context.ui.is_json() {
        let mut value = serde_json::to_value(&report)?;
        value["schema_version"] = json!(1);
        context.ui.document(&value)?;
        return Ok(ExitCode::Success);
    }
    for (name, bytes, basis) in rows(&report) {
        context.ui.line(format!("{name:<11} {:>12}   {basis}", format::bytes(bytes)))?;
    }
    if args.efficiency {
        context.ui.line("")?;
        for (name, ratio, basis) in [
            ("dedup", report.dedup_ratio, "logical / unique"),
            ("compression", report.compression_ratio, "unique / stored"),
            ("total", report.total_ratio, "logical / on disk"),
        ] {
            context.ui.line(format!("{name:<11} {ratio:>11.2}x   {basis}"))?;
        }
    }
    Ok(ExitCode::Success)
}

fn rows(report: &SizeReport) -> Vec<(&'static str, u64, String)> {
    let logical = if report.commits == 0 {
        format!("{} staged, none committed", format::counted(report.staged_files, "file"))
    } else {
        let files = format::counted(report.head_files, "file");
        format!(
            "files of {}, each kept whole; the last has {files}",
            format::counted(report.commits, "commit")
        )
    };
    let packs = format::counted(report.packs, "pack");
    let mut rows = vec![
        ("logical", report.logical_bytes, logical),
        ("unique", report.unique_bytes, format::counted(report.unique_chunks, "distinct chunk")),
        ("stored", report.stored_bytes, format!("those chunks, compressed, in {packs}")),
        (
            "metadata",
            report.metadata_bytes,
            "trees, chunk lists and commits, compressed".to_owned(),
        ),
        ("parity", report.parity_bytes, "what heals damaged packs".to_owned()),
        (
            "staging",
            report.staging_bytes,
            format!("{} staged", format::counted(report.staged_files, "path")),
        ),
        (
            "overhead",
            report.overhead_bytes,
            "headers, footers, indexes, refs, history of runs".to_owned(),
        ),
        ("on disk", report.disk_bytes, "all files of the repository".to_owned()),
    ];
    rows.retain(|(name, bytes, _)| *name != "parity" || *bytes > 0);
    rows
}

fn verify(args: &VerifyArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let depth = match args.sample {
        Some(percent) => Depth::Sample(percent),
        None if args.data => Depth::Data,
        None => Depth::Present,
    };
    let report = repository.verify_to(depth)?;
    repository.monitor().finish();
    if context.ui.is_json() {
        context.ui.document(&verify_json(&report))?;
    } else {
        verify_text(&report, context)?;
    }
    Ok(exit_code(&report))
}

fn verify_json(report: &VerifyReport) -> Value {
    let mut damaged: Vec<String> = report.damaged.iter().map(ToString::to_string).collect();
    damaged.sort_unstable();
    let affected: Vec<Value> = report.affected.iter().map(affected_json).collect();
    json!({
        "message_type": "summary", "schema_version": 1, "sound": report.is_sound(),
        "packs": report.packs, "objects": report.objects, "bytes": report.bytes,
        "commits": report.commits, "operations": report.operations,
        "part": report.part.map(|part| part.number + 1), "parts": report.part.map(|part| part.of),
        "problems": report.problems, "damaged": damaged, "affected": affected,
        "redundancy": report.redundancy,
    })
}

fn verify_text(report: &VerifyReport, context: &Context<'_>) -> std::io::Result<()> {
    for problem in &report.problems {
        context.ui.line(format!("damaged: {problem}"))?;
    }
    for affected in &report.affected {
        context.ui.line(format!("affected: {}", affected_text(affected)))?;
    }
    for problem in &report.redundancy {
        context.ui.line(format!("redundancy: {problem}"))?;
    }
    let part = match report.part {
        Some(part) if part.of > 1 => format!(", part {} of {}", part.number + 1, part.of),
        _ => String::new(),
    };
    let checked = format!(
        "checked {}, {}, {} of content{part}, {}",
        format::counted(report.packs, "pack"),
        format::counted(report.objects, "object"),
        format::bytes(report.bytes),
        format::counted(report.commits, "commit"),
    );
    let verdict = if report.is_sound() { "no damage found" } else { "damage found" };
    context.ui.message(format!("{checked}: {verdict}"));
    if report.is_sound() && !report.redundancy.is_empty() {
        context.ui.message("'digstore store repair --apply' makes the parity that is missing");
    }
    Ok(())
}

/// Damage is told apart from redundancy that is less than was asked for: all can be had then.
fn exit_code(report: &VerifyReport) -> ExitCode {
    match (report.is_sound(), report.redundancy.is_empty()) {
        (false, _) => ExitCode::Corrupt,
        (true, false) => ExitCode::Partial,
        (true, true) => ExitCode::Success,
    }
}

/// A path that cannot be had whole, with what names it.
fn affected_json(affected: &Affected) -> Value {
    let mut value = path_json(affected.path.as_bytes());
    let (commit, operation) = match affected.holder {
        Holder::Staged => (None, None),
        Holder::Commit(id) => (Some(id.to_string()), None),
        Holder::Operation(seq) => (None, Some(seq)),
    };
    value["commit"] = json!(commit);
    value["operation"] = json!(operation);
    value
}

fn affected_text(affected: &Affected) -> String {
    let place = match affected.holder {
        Holder::Staged => "staged".to_owned(),
        Holder::Commit(id) => format!("commit {}", id.short()),
        Holder::Operation(seq) => format!("operation {seq}"),
    };
    format!("'{}' ({place})", affected.path)
}

fn repair(args: &RepairArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let report = repository.repair(args.apply)?;
    repository.monitor().finish();
    if context.ui.is_json() {
        context.ui.document(&repair_json(&report, args.apply))?;
    } else {
        repair_text(&report, args.apply, context)?;
    }
    Ok(exit_code(&report.left))
}

fn repair_json(report: &RepairReport, applied: bool) -> Value {
    let left = &report.left;
    let restored: Vec<Value> = (report.restored.iter())
        .map(|restored| json!({ "what": restored.what, "from": restored.from }))
        .collect();
    let aside: Vec<_> = report.set_aside.iter().map(|path| path.to_string_lossy()).collect();
    let affected: Vec<Value> = left.affected.iter().map(affected_json).collect();
    json!({
        "message_type": "summary", "schema_version": 1, "applied": applied,
        "sound": left.is_sound(), "restored": restored, "set_aside": aside,
        "problems": left.problems, "affected": affected, "redundancy": left.redundancy,
    })
}

fn repair_text(report: &RepairReport, applied: bool, context: &Context<'_>) -> std::io::Result<()> {
    let verb = if applied { "restored" } else { "would restore" };
    for restored in &report.restored {
        context.ui.line(format!("{verb}: {} from {}", restored.what, restored.from))?;
    }
    for path in &report.set_aside {
        context.ui.line(format!("kept: {}", path.display()))?;
    }
    let (damaged, affected) = if applied { ("lost", "lost") } else { ("damaged", "affected") };
    for problem in &report.left.problems {
        context.ui.line(format!("{damaged}: {problem}"))?;
    }
    for path in &report.left.affected {
        context.ui.line(format!("{affected}: {}", affected_text(path)))?;
    }
    for problem in &report.left.redundancy {
        context.ui.line(format!("redundancy: {problem}"))?;
    }
    context.ui.message(repair_verdict(report, applied));
    Ok(())
}

fn repair_verdict(report: &RepairReport, applied: bool) -> &'static str {
    match (report.left.is_sound(), report.restored.is_empty(), applied) {
        (true, true, _) => "nothing is damaged",
        (true, false, true) => "all is restored",
        (false, _, true) => "not all could be restored; what is lost is named",
        (_, false, false) => "nothing was changed; '--apply' restores it",
        (false, true, false) => "nothing of what is damaged can be restored",
    }
}
