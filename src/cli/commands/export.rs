//! `digstore export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::output::Output;
use crate::cli::ui::format;
use crate::repo::RepoError;
use crate::repo::exchange::{GitExportOptions, TarExportReport};

/// Write versions as a git repository or as an archive.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Export all branches and tags into a git repository.
    ///
    /// A directory that is empty or not there becomes a bare repository. Empty directories are left
    /// out, because git cannot hold them. Left alone, and named, are tags that are another tag there,
    /// and a branch that is checked out there and would move.
    #[command(after_help = "Examples:
  digstore export git ../project.git && git clone ../project.git
  digstore export git ../project.git        again, later: what is new")]
    Git(GitArgs),
    /// Write a commit as a tar archive, the same bytes each time.
    #[command(after_help = "Examples:
  digstore export tar v1.2 -o v1.2.tar
  digstore export tar | zstd > now.tar.zst")]
    Tar(TarArgs),
}

/// Write an archive.
#[derive(Debug, Args)]
pub struct TarArgs {
    /// The commit.
    #[arg(value_name = "REV", default_value = "HEAD")]
    revision: String,
    /// Write to a file instead of standard output; it appears when it is complete.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Export into a git repository.
#[derive(Debug, Args)]
pub struct GitArgs {
    /// The git repository.
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Move branches and tags that are there already and lead elsewhere, and those checked out.
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(command: &ExportCommand, context: &Context<'_>) -> CommandResult {
    match command {
        ExportCommand::Git(args) => git(args, context),
        ExportCommand::Tar(args) => tar(args, context),
    }
}

fn tar(args: &TarArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let commit = repository.resolve(&args.revision)?;
    let Some(output) = &args.output else {
        if context.ui.out_is_terminal() {
            bail!(
                "an archive would garble the terminal; name a file with -o, or redirect the output"
            );
        }
        repository.export_tar(commit, &mut |bytes| {
            context.ui.out().write_all(bytes).map_err(RepoError::Output)
        })?;
        repository.monitor().finish();
        return Ok(ExitCode::Success);
    };
    let mut report = TarExportReport::default();
    match Output::open(context, output)? {
        Output::Device(mut device) => {
            report = repository.export_tar(commit, &mut |bytes| device.write(bytes))?;
        }
        Output::File(dir, name) => {
            dir.write_file(&name, false, false, |sink| {
                report = repository.export_tar(commit, &mut |bytes| Ok(sink.write(bytes)?))?;
                Ok::<(), RepoError>(())
            })?;
        }
    }
    repository.monitor().finish();
    let TarExportReport { files, bytes } = report;
    if context.ui.is_json() {
        context.ui.document(&json!({
            "message_type": "summary",
            "schema_version": 1,
            "id": commit.to_string(),
            "files": files,
            "bytes": bytes,
            "seconds": context.ui.elapsed().as_secs_f64(),
        }))?;
    } else {
        context.ui.message(format!(
            "exported {}, {} in {}",
            format::counted(files, "file"),
            format::bytes(bytes),
            format::duration(context.ui.elapsed()),
        ));
    }
    Ok(ExitCode::Success)
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
