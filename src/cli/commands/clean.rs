//! `digstore clean`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use super::{path_json, refused_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::repo::clean::{CleanOptions, CleanReport, IgnoredFiles};

/// Remove files that are not tracked from the work tree.
///
/// What goes is stored first, so that 'digstore undo' brings it back. Directories that hold a
/// repository of their own stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore clean -n              say what would go
  digstore clean -f -d           files and whole directories that are not tracked
  digstore clean -f -d -x out/   ignored files in 'out', too
  digstore clean -f -X --no-keep ignored files alone, without storing them first")]
pub struct CleanArgs {
    /// Only what lies there; the current directory when left out.
    #[arg(value_name = "PATHSPEC")]
    paths: Vec<OsString>,
    /// Do it.
    #[arg(short, long, required_unless_present = "dry_run")]
    force: bool,
    /// Say what would be removed, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Directories without anything tracked, too; with PATHSPEC they go in any case.
    #[arg(short)]
    directories: bool,
    /// Ignored files, too.
    #[arg(short = 'x', conflicts_with = "only_ignored")]
    ignored: bool,
    /// Ignored files alone.
    #[arg(short = 'X')]
    only_ignored: bool,
    /// Take what matches PATTERN for ignored, whatever else is said; may be repeated.
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Do not store what is removed: 'undo' cannot bring it back.
    #[arg(long)]
    no_keep: bool,
}

pub(crate) fn run(args: &CleanArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let here = [OsString::from(".")];
    let typed = if args.paths.is_empty() { here.as_slice() } else { &args.paths };
    let mut excludes = Vec::new();
    for pattern in &args.exclude {
        if pattern.as_bytes().contains(&b'\n') {
            return Err(CliError::usage("a pattern of --exclude is one line").into());
        }
        excludes.extend_from_slice(pattern.as_bytes());
        excludes.push(b'\n');
    }
    let options = CleanOptions {
        paths: context.pathspec_here(&repository, typed)?,
        directories: args.directories || !args.paths.is_empty(),
        ignored: match (args.ignored, args.only_ignored) {
            (_, true) => IgnoredFiles::GoAlone,
            (true, false) => IgnoredFiles::Go,
            (false, false) => IgnoredFiles::Stay,
        },
        excludes,
        forget: args.no_keep,
        dry_run: args.dry_run,
        keep_dir: context.repo_path(&repository, ".".as_ref()).unwrap_or_default(),
    };
    let report = repository.clean(&options)?;
    repository.monitor().finish();
    tell(&report, args, context)?;
    let is_whole = report.skipped.is_empty() || args.dry_run;
    Ok(if is_whole { ExitCode::Success } else { ExitCode::Partial })
}

fn tell(report: &CleanReport, args: &CleanArgs, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    if ui.is_json() {
        let all = |paths: &[crate::path::RepoPath]| -> Vec<_> {
            paths.iter().map(|path| path_json(path.as_bytes())).collect()
        };
        ui.document(&json!({
            "schema_version": 1,
            "files": all(&report.files),
            "directories": all(&report.dirs),
            "repositories": all(&report.repositories),
            "skipped": refused_json(&report.skipped),
            "kept": !args.no_keep && !args.dry_run,
            "dry_run": args.dry_run,
        }))?;
        return Ok(());
    }
    for (path, why) in &report.skipped {
        ui.warn(format!("'{path}' stays: {why}"));
    }
    for path in &report.repositories {
        ui.message(format!("'{path}' stays: it holds a repository of its own"));
    }
    let word = if args.dry_run { "would remove" } else { "removed" };
    for path in &report.files {
        ui.line(format!("{word} {path}"))?;
    }
    for path in &report.dirs {
        ui.line(format!("{word} {path}/"))?;
    }
    if !args.dry_run {
        let files = format::counted(report.files.len() as u64, "file");
        ui.message(format!("removed {files}"));
    }
    Ok(())
}
