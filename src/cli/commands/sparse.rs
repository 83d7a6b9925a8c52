//! `digstore sparse`.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::switch::move_json;
use super::{path_json, refused_json, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::pathspec_args::PathspecFile;
use crate::cli::ui::format;
use crate::path::escape;
use crate::repo::Repository;
use crate::repo::sparse::{SparseChange, SparseOptions, SparseReport, SparseSpec};
use crate::repo::switch::Obstacles;

/// Let the work tree hold only some of the files.
///
/// Everything stays staged and committed; what the work tree does not hold is neither deleted nor
/// changed for any command. Ignore files and 'digstore.toml' are always there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore sparse set src docs/guide   hold these two directories
  digstore sparse set . ':!*.mov'      hold everything but films
  digstore sparse add data/2024        and this one too
  digstore sparse list                 what it is to hold
  digstore sparse disable              hold everything again")]
pub struct SparseArgs {
    #[command(subcommand)]
    command: SparseCommand,
}

#[derive(Debug, Subcommand)]
enum SparseCommand {
    /// Hold what matches, and nothing else.
    ///
    /// Files that are as the last commit has them are removed. Those with changes that are not
    /// committed stay, and are named; 'digstore sparse reapply' removes them later.
    Set(SpecArgs),
    /// Hold what matches too.
    Add(SpecArgs),
    /// List the pathspecs, as they are typed in the root of the work tree.
    List,
    /// Bring the work tree to the pathspecs again.
    ///
    /// This finishes a change that was interrupted, and removes what came besides: new files that
    /// are committed now, and files whose changes are.
    Reapply(ChangeArgs),
    /// Hold everything.
    Disable(ChangeArgs),
}

#[derive(Debug, Args)]
struct SpecArgs {
    /// Files, directories and quoted globs; ':!PATHSPEC' for what not to hold.
    #[arg(value_name = "PATHSPEC", required_unless_present = "pathspec_from_file")]
    paths: Vec<OsString>,
    #[command(flatten)]
    file: PathspecFile,
    /// Take pathspecs too that match nothing.
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &SparseArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let (change, args, force) = match &args.command {
        SparseCommand::List => return list(&repository, context),
        SparseCommand::Set(args) => {
            (SparseChange::Set(spec(args, &repository, context)?), &args.change, args.force)
        }
        SparseCommand::Add(args) => {
            (SparseChange::Add(spec(args, &repository, context)?), &args.change, args.force)
        }
        SparseCommand::Reapply(args) => (SparseChange::Again, args, false),
        SparseCommand::Disable(args) => (SparseChange::Disable, args, false),
    };
    let keep_dir = context.repo_path(&repository, ".".as_ref()).unwrap_or_default();
    let options = SparseOptions { force, dry_run: args.dry_run, keep_dir };
    let report = repository.set_sparse(&change, &options)?;
    repository.monitor().finish();
    if context.ui.is_json() {
        context.ui.document(&to_json(&report, args.dry_run))?;
    } else if args.dry_run {
        tell_planned(&report, context)?;
    } else {
        tell(&report, context);
    }
    Ok(match () {
        () if !report.obstacles.is_empty() => ExitCode::Failure,
        () if !report.moved.skipped.is_empty() => ExitCode::Partial,
        () => ExitCode::Success,
    })
}

fn spec(
    args: &SpecArgs,
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<SparseSpec> {
    let typed = args.file.or(&args.paths, context)?;
    Ok(context.pathspecs_from_root(repository, &typed)?)
}

fn list(repository: &Repository, context: &Context<'_>) -> CommandResult {
    let mut specs = repository.sparse_file()?.unwrap_or_default().specs;
    let is_unfinished = specs.len() > 1;
    let spec = specs.pop().unwrap_or_default();
    if context.ui.is_json() {
        context.ui.document(&json!({
            "schema_version": 1,
            "sparse": !spec.is_empty(),
            "pathspecs": spec.iter().map(|text| path_json(text)).collect::<Vec<_>>(),
            "unfinished": is_unfinished,
        }))?;
        return Ok(ExitCode::Success);
    }
    for text in &spec {
        context.ui.line(escape(text))?;
    }
    if spec.is_empty() {
        context.ui.message("the work tree holds everything");
    }
    if is_unfinished {
        context.ui.warn("the last change was interrupted: 'digstore sparse reapply' finishes it");
    }
    Ok(ExitCode::Success)
}

fn tell_planned(report: &SparseReport, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    ui.line(format!(
        "would write {} ({}) and remove {}",
        format::counted(report.moved.written, "file"),
        format::bytes(report.moved.bytes),
        format::counted(report.moved.removed, "file")
    ))?;
    for (title, obstacles) in [("in the way", &report.obstacles), ("would stay", &report.stays)] {
        for (path, why) in &obstacles.listed {
            ui.line(format!("{title}: {path} ({why})"))?;
        }
        if obstacles.more > 0 {
            ui.line(format!("{title}: {} more", obstacles.more))?;
        }
    }
    Ok(())
}

fn tell(report: &SparseReport, context: &Context<'_>) {
    let ui = context.ui;
    warn_of_skipped(&report.moved.skipped, ui);
    for (path, why) in &report.stays.listed {
        ui.message(format!("'{path}' stays: {why}"));
    }
    if report.stays.more > 0 {
        ui.message(format!("{} more stay", report.stays.more));
    }
    let SparseReport { tracked, wanted, moved, .. } = report;
    ui.message(format!(
        "wrote {} and removed {}: the work tree is to hold {}",
        format::counted(moved.written, "file"),
        format::count(moved.removed),
        if report.spec.is_empty() {
            "everything".to_owned()
        } else {
            let tracked = format::counted(*tracked, "tracked path");
            format!("{} of {tracked}", format::count(*wanted))
        }
    ));
}

fn to_json(report: &SparseReport, dry_run: bool) -> Value {
    let refused = |obstacles: &Obstacles| refused_json(&obstacles.listed);
    json!({
        "schema_version": 1,
        "sparse": !report.spec.is_empty(),
        "pathspecs": report.spec.iter().map(|text| path_json(text)).collect::<Vec<_>>(),
        "tracked": report.tracked,
        "wanted": report.wanted,
        "work_tree": move_json(&report.moved),
        "stays": refused(&report.stays),
        "obstacles": refused(&report.obstacles),
        "dry_run": dry_run,
    })
}
