//! `digstore export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::repo::exchange::GitExportOptions;

/// Write versions as a git repository or as an archive.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Export all branches and tags into a git repository.
    ///
    /// A directory that is empty or not there becomes a bare repository. Empty directories are left
    /// out, because git cannot hold them.
    #[command(after_help = "Examples:
  digstore export git ../project.git && git clone ../project.git
  digstore export git ~/src/project         into one that is there")]
    Git(GitArgs),
}

/// Export into a git repository.
#[derive(Debug, Args)]
pub struct GitArgs {
    /// The git repository.
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Move branches and tags that are there already and lead elsewhere.
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(command: &ExportCommand, context: &Context<'_>) -> CommandResult {
    match command {
        ExportCommand::Git(args) => git(args, context),
    }
}

fn git(args: &GitArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let target = context.cwd.join(&args.target);
    let report = repository.export_git(&GitExportOptions { target, force: args.force })?;
    repository.monitor().finish();
    if report.empty_dirs > 0 {
        let dirs = format::counted(report.empty_dirs, "empty directory");
        context.ui.warn(format!("left out {dirs}: git cannot hold them"));
    }
    if context.ui.is_json() {
        context.ui.document(&json!({
            "message_type": "summary",
            "schema_version": 1,
            "commits": report.commits,
            "files": report.files,
            "bytes": report.bytes,
            "refs": report.refs,
            "empty_directories": report.empty_dirs,
            "skipped": report.skipped,
            "created": report.created,
            "seconds": context.ui.elapsed().as_secs_f64(),
        }))?;
    } else {
        context.ui.message(format!(
            "exported {}, {}, {}, {} in {}",
            format::counted(report.commits, "commit"),
            format::counted(report.refs.len() as u64, "ref"),
            format::counted(report.files, "content"),
            format::bytes(report.bytes),
            format::duration(context.ui.elapsed()),
        ));
    }
    Ok(if report.skipped == 0 { ExitCode::Success } else { ExitCode::Partial })
}
