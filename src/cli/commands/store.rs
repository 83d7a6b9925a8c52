//! `digstore store`: looks at the store itself.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::path_json;
use super::stats::{StatsArgs, stats};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::repo::size::SizeReport;

/// Look at the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show how many bytes there are and what the store saves.
    Size(SizeArgs),
    /// Show what there is and how the last runs went.
    Stats(StatsArgs),
    /// Check what is stored and name everything that is damaged.
    Verify(VerifyArgs),
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
/// commit is looked up. With --data the bytes of every chunk are read and hashed too.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Read and hash every chunk.
    #[arg(long)]
    data: bool,
}

pub(crate) fn run(command: &StoreCommand, context: &Context<'_>) -> CommandResult {
    match command {
        StoreCommand::Size(args) => size(args, context),
        StoreCommand::Stats(args) => stats(args, context),
        StoreCommand::Verify(args) => verify(args, context),
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

fn rows(report: &SizeReport) -> [(&'static str, u64, String); 7] {
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
    [
        ("logical", report.logical_bytes, logical),
        ("unique", report.unique_bytes, format::counted(report.unique_chunks, "distinct chunk")),
        ("stored", report.stored_bytes, format!("those chunks, compressed, in {packs}")),
        (
            "metadata",
            report.metadata_bytes,
            "trees, chunk lists and commits, compressed".to_owned(),
        ),
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
    ]
}

fn verify(args: &VerifyArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let report = repository.verify(args.data)?;
    repository.monitor().finish();
    let is_sound = report.problems.is_empty() && report.affected.is_empty();
    if context.ui.is_json() {
        let affected: Vec<Value> = report
            .affected
            .iter()
            .map(|(commit, path)| {
                let mut value = path_json(path.as_bytes());
                value["commit"] = json!(commit.map(|id| id.to_string()));
                value
            })
            .collect();
        context.ui.document(&json!({
            "message_type": "summary", "schema_version": 1, "sound": is_sound,
            "packs": report.packs, "objects": report.objects, "bytes": report.bytes,
            "commits": report.commits, "problems": report.problems, "affected": affected,
        }))?;
    } else {
        for problem in &report.problems {
            context.ui.line(format!("damaged: {problem}"))?;
        }
        for (commit, path) in &report.affected {
            let place =
                commit.map_or_else(|| "staged".to_owned(), |id| format!("commit {}", id.short()));
            context.ui.line(format!("affected: '{path}' ({place})"))?;
        }
        let checked = format!(
            "checked {}, {}, {} of content, {}",
            format::counted(report.packs, "pack"),
            format::counted(report.objects, "object"),
            format::bytes(report.bytes),
            format::counted(report.commits, "commit"),
        );
        let verdict = if is_sound { "no damage found" } else { "damage found" };
        context.ui.message(format!("{checked}: {verdict}"));
    }
    Ok(if is_sound { ExitCode::Success } else { ExitCode::Corrupt })
}
