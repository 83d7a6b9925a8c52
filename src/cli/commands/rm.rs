//! `digstore rm`.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::{path_json, refused_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::pathspec_args::PathspecFile;
use crate::path::escape;
use crate::repo::remove::RemoveOptions;

/// Remove files from the staging area and the work tree.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore rm old.bin          from the staging area and the work tree
  digstore rm -r data/         a directory with all that is staged below it
  digstore rm --cached '*.log' keep the files, stage that they are gone")]
pub struct RmArgs {
    /// Files, directories and quoted globs.
    #[arg(value_name = "PATHSPEC", required_unless_present = "pathspec_from_file")]
    paths: Vec<OsString>,
    #[command(flatten)]
    file: PathspecFile,
    /// Directories with everything below them.
    #[arg(short, long)]
    recursive: bool,
    /// From the staging area only; the files stay.
    #[arg(long)]
    cached: bool,
    /// Also files whose content is stored nowhere else.
    #[arg(short, long)]
    force: bool,
    /// Say what would be removed, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &RmArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let typed = args.file.or(&args.paths, context)?;
    let paths = context.pathspec_here(&repository, &typed)?;
    let options = RemoveOptions {
        paths,
        recursive: args.recursive,
        cached: args.cached,
        force: args.force,
        dry_run: args.dry_run,
    };
    let removed = repository.remove(&options)?;
    for (path, why) in &removed.skipped {
        context.ui.warn(format!("'{path}' stays: {why}"));
    }
    if context.ui.is_json() {
        context.ui.document(&json!({
            "schema_version": 1,
            "removed": removed.paths().map(path_json).collect::<Vec<_>>(),
            "skipped": refused_json(&removed.skipped),
            "dry_run": args.dry_run,
        }))?;
    } else {
        for path in removed.paths() {
            context.ui.line(format!("rm '{}'", escape(path)))?;
        }
    }
    Ok(if removed.skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial })
}
