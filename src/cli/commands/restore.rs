//! `digstore restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::{cache_line, path_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::pathspec_args::PathspecFile;
use crate::cli::ui::format;
use crate::repo::merge::Side;
use crate::repo::restore::RestoreOptions;
use crate::repo::run_history::Run;
use crate::repo::{RepoError, Repository};
use crate::storage::format::run_history::RunCommand;

/// Bring files back from the staging area or from a commit.
///
/// Without --source, files come from the staging area; with --staged or --target, from the last
/// commit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore restore data/             undo changes in the work tree
  digstore restore --source HEAD~3 . bring back an earlier state
  digstore restore --staged notes.md unstage
  digstore restore --target /tmp/x . write a copy elsewhere")]
pub struct RestoreArgs {
    /// Files, directories and quoted globs; with --target, everything when left out.
    #[arg(value_name = "PATHSPEC", required_unless_present_any = ["target", "pathspec_from_file"])]
    paths: Vec<OsString>,
    #[command(flatten)]
    file: PathspecFile,
    /// The commit to restore from.
    #[arg(short, long, value_name = "REVISION")]
    source: Option<String>,
    /// Restore the staging area instead of the work tree.
    #[arg(short = 'S', long, conflicts_with = "target")]
    staged: bool,
    /// Of a conflict, take the version of the branch that was merged into.
    #[arg(long, conflicts_with_all = ["source", "staged", "target", "theirs"])]
    ours: bool,
    /// Of a conflict, take the version of what was merged.
    #[arg(long, conflicts_with_all = ["source", "staged", "target"])]
    theirs: bool,
    /// Restore into another directory, which is made if need be; if it holds nothing, files are
    /// written directly, so that a killed restore leaves it incomplete.
    #[arg(short, long, value_name = "DIR")]
    target: Option<PathBuf>,
}

pub(crate) fn run(args: &RestoreArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let typed = args.file.or(&args.paths, context)?;
    let paths = context.pathspec(&repository, &typed)?;
    if args.ours || args.theirs {
        let side = if args.ours { Side::Ours } else { Side::Theirs };
        let report = repository.take_side(&paths, side)?;
        repository.monitor().finish();
        if context.ui.is_json() {
            context.ui.document(&json!({
                "message_type": "summary", "schema_version": 1, "files": report.files,
            }))?;
        }
        let is_whole = report.skipped.is_empty();
        return Ok(if is_whole { ExitCode::Success } else { ExitCode::Partial });
    }
    let default = if args.staged || args.target.is_some() { Some("HEAD") } else { None };
    let source = match (args.source.as_deref(), default) {
        (Some(revision), _) => Some(repository.resolve(revision)?),
        (None, Some(revision)) => head_or_none(&repository, revision)?,
        (None, None) => None,
    };
    if args.staged {
        let changes = repository.unstage(&paths, source)?;
        if context.ui.is_json() {
            let paths: Vec<_> =
                changes.iter().map(|change| path_json(change.path.as_bytes())).collect();
            context.ui.document(&json!({
                "message_type": "summary", "schema_version": 1, "unstaged": paths,
            }))?;
        } else {
            let paths = format::counted(changes.len() as u64, "path");
            context.ui.message(format!("unstaged {paths}"));
        }
        return Ok(ExitCode::Success);
    }
    if source.is_none() && args.source.is_some() {
        bail!("there is no commit to restore from");
    }
    let target = args.target.as_ref().map(|dir| context.cwd.join(dir));
    let report = repository.restore(&RestoreOptions { paths, source, target })?;
    repository.monitor().finish();
    for (path, why) in &report.skipped {
        context.ui.warn(format!("left out '{path}': {why}"));
    }
    let time = context.ui.elapsed();
    if report.files > 0 {
        let run = Run::reading(&repository, RunCommand::Restore, report.files, report.bytes, time)?;
        context.note_run(&repository, &run);
    }
    let cache = repository.cache_stats()?;
    if report.swept > 0 {
        let files = format::counted(report.swept, "temporary file");
        context.ui.message(format!("removed {files} that a killed command left"));
    }
    if context.ui.is_json() {
        let skipped: Vec<_> =
            report.skipped.iter().map(|(path, _)| path_json(path.as_bytes())).collect();
        context.ui.document(&json!({
            "message_type": "summary", "schema_version": 1, "files": report.files,
            "bytes": report.bytes, "skipped": skipped, "swept": report.swept, "cache": cache, "seconds": time.as_secs_f64(),
        }))?;
    } else {
        let files = format::counted(report.files, "file");
        context.ui.message(format!(
            "restored {files}, {} in {}",
            format::bytes(report.bytes),
            format::duration(time)
        ));
        context.ui.detail(1, cache_line(&cache));
    }
    Ok(if report.skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial })
}

/// The last commit; none before the first, when the staging area is all there is.
fn head_or_none(
    repository: &Repository,
    revision: &str,
) -> anyhow::Result<Option<crate::id::CommitId>> {
    match repository.resolve(revision) {
        Ok(id) => Ok(Some(id)),
        Err(RepoError::Unborn(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
