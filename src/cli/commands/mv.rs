//! `digstore mv`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Value, json};

use super::path_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::path::RepoPath;
use crate::repo::rename::{RenameOptions, RenameReport};

/// Give files and directories another name, in the work tree and in the staging area.
///
/// With several sources, or where the last path is a directory, they go into it. Nothing is read;
/// local changes go with the files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore mv old.bin new.bin      give a file another name
  digstore mv a.bin b.bin data/    move files into a directory
  digstore mv -n raw/ archive/raw  say what would be moved")]
pub struct MvArgs {
    /// Files and directories that are tracked.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<OsString>,
    /// The new name, or the directory to move into.
    #[arg(value_name = "TARGET", required = true)]
    target: OsString,
    /// Overwrite a file in the way; its bytes are stored first, for 'digstore undo'.
    #[arg(short, long)]
    force: bool,
    /// Leave out what cannot be moved.
    #[arg(short = 'k', long)]
    skip_errors: bool,
    /// Say what would be moved, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &MvArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let options = RenameOptions {
        sources: context.repo_paths(&repository, &args.sources)?,
        target: context.repo_path(&repository, &args.target)?,
        into_dir: args.target.as_bytes().ends_with(b"/"),
        force: args.force,
        skip_errors: args.skip_errors,
        dry_run: args.dry_run,
        keep_dir: context.repo_path(&repository, ".".as_ref()).unwrap_or_default(),
    };
    let report = repository.rename(&options)?;
    let ui = context.ui;
    if ui.is_json() {
        ui.document(&to_json(&report, args.dry_run))?;
        return Ok(ExitCode::Success);
    }
    for (path, why) in &report.skipped {
        ui.warn(format!("'{path}' was left out: {why}"));
    }
    for (from, to) in &report.moved {
        if args.dry_run {
            ui.line(format!("would move '{from}' to '{to}'"))?;
        } else {
            ui.detail(1, format!("moved '{from}' to '{to}'"));
        }
    }
    Ok(ExitCode::Success)
}

fn to_json(report: &RenameReport, dry_run: bool) -> Value {
    let path = |path: &RepoPath| path_json(path.as_bytes());
    let moved = report.moved.iter().map(|(from, to)| json!({ "from": path(from), "to": path(to) }));
    let skipped = report.skipped.iter().map(|(from, why)| {
        let mut value = path(from);
        value["reason"] = json!(why.to_string());
        value
    });
    json!({
        "schema_version": 1,
        "moved": moved.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
        "dry_run": dry_run,
    })
}
