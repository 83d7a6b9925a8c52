//! `digstore reset`.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::switch::move_json;
use super::{path_json, refused_json, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::revisions::{RevisionArg, select};
use crate::cli::ui::format;
use crate::id::CommitId;
use crate::path::escape;
use crate::repo::pathspec::Pathspec;
use crate::repo::reset::{ResetMode, ResetReport};
use crate::repo::{RepoError, Repository};

/// Move the branch to another commit, and what is staged, or all files, with it.
///
/// Without a flag, what is staged goes to the commit and the work tree stays. With paths the branch
/// stays, and only these are staged as the commit has them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore reset                    unstage everything
  digstore reset notes.md           unstage one file
  digstore reset --soft HEAD~1      take the last commit back, its changes stay staged
  digstore reset --hard             give up all changes of tracked files
  digstore reset --hard -n main~2   what that would do
  digstore undo                     take it back, unsaved changes too")]
pub struct ResetArgs {
    /// A commit, HEAD when left out; then paths.
    #[arg(value_name = "REVISION|PATH")]
    args: Vec<OsString>,
    /// Files and directories.
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Move only the branch.
    #[arg(long, conflicts_with_all = ["mixed", "hard"])]
    soft: bool,
    /// Move the branch and what is staged; the default.
    #[arg(long, conflicts_with = "hard")]
    mixed: bool,
    /// Move the branch, what is staged, and all tracked files; unsaved changes are stored for undo.
    #[arg(long)]
    hard: bool,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &ResetArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let selection = select(context, &repository, &args.args, &args.paths)?;
    let commit = match selection.revisions.as_slice() {
        [] => None,
        [RevisionArg::One(commit)] => Some(*commit),
        _ => return Err(CliError::usage("reset goes to one commit").into()),
    };
    if !args.paths.is_empty() || !selection.paths.is_all() {
        return unstage(selection.paths.spec(), commit, args, &repository, context);
    }
    let mode = match () {
        () if args.soft => ResetMode::Soft,
        () if args.hard => ResetMode::Hard,
        () => ResetMode::Mixed,
    };
    let report = repository.reset(commit, mode, args.dry_run)?;
    repository.monitor().finish();
    tell(&report, mode, args.dry_run, &repository, context)?;
    Ok(if report.moved.skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial })
}

/// Stages paths as a commit has them.
fn unstage(
    paths: &Pathspec,
    commit: Option<CommitId>,
    args: &ResetArgs,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    if args.soft || args.hard || args.dry_run {
        return Err(CliError::usage("reset with paths only changes what is staged")
            .with_hint("'digstore restore PATH' brings files of the work tree back")
            .into());
    }
    let commit = match commit {
        Some(commit) => Some(commit),
        None => repository.refs().head_commit().map_err(RepoError::from)?,
    };
    let changes = repository.unstage(paths, commit)?;
    if context.ui.is_json() {
        let paths: Vec<_> =
            changes.iter().map(|change| path_json(change.path.as_bytes())).collect();
        context.ui.document(&json!({ "schema_version": 1, "unstaged": paths }))?;
    } else {
        let paths = format::counted(changes.len() as u64, "path");
        context.ui.message(format!("unstaged {paths}"));
    }
    Ok(ExitCode::Success)
}

fn tell(
    report: &ResetReport,
    mode: ResetMode,
    dry_run: bool,
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let ui = context.ui;
    let ResetReport { from, to, moved, given_up } = report;
    if ui.is_json() {
        ui.document(&json!({
            "schema_version": 1,
            "mode": mode.name(),
            "from": from.map(|commit| commit.to_string()),
            "id": to.map(|commit| commit.to_string()),
            "work_tree": move_json(moved),
            "given_up": refused_json(&given_up.listed),
            "dry_run": dry_run,
        }))?;
        return Ok(());
    }
    if dry_run {
        let (written, removed) = (format::counted(moved.written, "file"), moved.removed);
        ui.line(format!("would write {written} and remove {removed}"))?;
        for (path, obstacle) in &given_up.listed {
            ui.line(format!("would give up: {path} ({obstacle})"))?;
        }
        if given_up.more > 0 {
            ui.line(format!("and {} more", given_up.more))?;
        }
    }
    warn_of_skipped(&moved.skipped, ui);
    if let Some(commit) = to {
        let message = repository.objects()?.commit(commit).map_err(RepoError::from)?.message;
        let title = escape(message.lines().next().unwrap_or_default().as_bytes());
        let is = if dry_run { "would be" } else { "is now" };
        ui.message(format!("HEAD {is} at {} {title}", commit.short()));
    }
    Ok(())
}
