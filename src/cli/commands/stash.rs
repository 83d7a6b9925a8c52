//! `digstore stash`.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::merge::conflict_json;
use super::switch::move_json;
use super::{JsonList, time_text, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::changes::{Format, FormatArgs, Printer};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::message::signature;
use crate::path::escape;
use crate::repo::diff::{DiffSpec, Endpoint};
use crate::repo::path_filter::PathFilter;
use crate::repo::pathspec::Pathspec;
use crate::repo::stash::{ApplyOptions, Stash, StashOptions, StashReport, stash_index};
use crate::repo::switch::{SwitchOptions, SwitchTo};
use crate::repo::{RepoError, Repository};

/// Put local changes aside and bring them back.
///
/// Without a command: put aside what changed in tracked files, staged or not, so that the work tree
/// is as the last commit. 'digstore undo' takes either back.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  digstore stash                  put local changes aside
  digstore stash -u -m \"idea\"     with files that are not tracked, and a name
  digstore stash push -- src      only below src
  digstore stash list
  digstore stash show -p          what is in the newest one
  digstore stash pop              bring it back
  digstore stash branch fix 1     bring stash@{1} back on a new branch"
)]
pub struct StashArgs {
    #[command(subcommand)]
    command: Option<StashCommand>,
    #[command(flatten)]
    flags: PushFlags,
}

#[derive(Debug, Subcommand)]
enum StashCommand {
    /// Put local changes aside.
    #[command(visible_alias = "save")]
    Push(PushArgs),
    /// List what was put aside, the newest first.
    List,
    /// Show what a stash changes.
    Show(ShowArgs),
    /// Bring a stash back and keep it.
    Apply(ApplyArgs),
    /// Bring a stash back and delete it.
    Pop(ApplyArgs),
    /// Delete a stash; undo brings it back.
    Drop(WhichArgs),
    /// Delete all stashes; undo brings them back.
    Clear,
    /// Bring a stash back on a new branch that begins where the stash was made, and delete it.
    Branch(BranchArgs),
}

#[derive(Debug, Args)]
struct PushFlags {
    /// What it is.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Files that are not tracked too, but for ignored ones.
    #[arg(short = 'u', long)]
    include_untracked: bool,
    /// Leave what is staged.
    #[arg(short, long)]
    keep_index: bool,
}

#[derive(Debug, Args)]
struct PushArgs {
    #[command(flatten)]
    flags: PushFlags,
    /// Files and directories; all when left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

#[derive(Debug, Args)]
struct WhichArgs {
    /// stash@{N} or N; the newest when left out.
    #[arg(value_name = "STASH", default_value = "stash@{0}", value_parser = parse_stash)]
    stash: usize,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Stage what was staged.
    #[arg(long)]
    index: bool,
}

#[derive(Debug, Args)]
struct BranchArgs {
    /// The name of the branch.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    which: WhichArgs,
}

fn parse_stash(text: &str) -> Result<usize, String> {
    let index = stash_index(text).or_else(|| text.parse().ok());
    index.ok_or_else(|| "stash@{N} or a number is expected".to_owned())
}

pub(crate) fn run(args: &StashArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    match &args.command {
        None => push(&args.flags, Pathspec::all(), &repository, context),
        Some(StashCommand::Push(push_args)) => {
            let paths = context.pathspec(&repository, &push_args.paths)?;
            push(&push_args.flags, paths, &repository, context)
        }
        Some(StashCommand::List) => list(&repository, context),
        Some(StashCommand::Show(args)) => show(args, &repository, context),
        Some(StashCommand::Apply(args)) => {
            let options = ApplyOptions { index: args.index, pop: false };
            apply(args.which.stash, options, &repository, context)
        }
        Some(StashCommand::Pop(args)) => {
            let options = ApplyOptions { index: args.index, pop: true };
            apply(args.which.stash, options, &repository, context)
        }
        Some(StashCommand::Drop(which)) => {
            let stash = repository.drop_stash(which.stash)?;
            tell_dropped(&stash, context)?;
            Ok(ExitCode::Success)
        }
        Some(StashCommand::Clear) => {
            let count = repository.clear_stashes()?;
            if context.ui.is_json() {
                context.ui.document(&json!({ "schema_version": 1, "dropped": count }))?;
            }
            Ok(ExitCode::Success)
        }
        Some(StashCommand::Branch(args)) => branch(args, &repository, context),
    }
}

fn push(
    flags: &PushFlags,
    paths: Pathspec,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    let options = StashOptions {
        message: flags.message.clone(),
        paths,
        untracked: flags.include_untracked,
        keep_index: flags.keep_index,
        committer: signature(repository.config(), None)?,
    };
    let StashReport { made, skipped } = repository.stash(&options)?;
    let partial = (skipped > 0).then_some(ExitCode::Partial);
    repository.monitor().finish();
    if context.ui.is_json() {
        let (stash, moved) = made
            .as_ref()
            .map_or((Value::Null, None), |(stash, moved)| (to_json(0, stash), Some(moved)));
        let moved = moved.map(move_json);
        let document = json!({ "schema_version": 1, "stash": stash, "work_tree": moved });
        context.ui.document(&document)?;
    }
    let Some((stash, moved)) = made else {
        context.ui.message("No local changes to put aside");
        return Ok(partial.unwrap_or(ExitCode::Success));
    };
    let message = escape(stash.message.as_bytes());
    context.ui.message(format!("Put aside as stash@{{0}}: {message}"));
    let code = warn_of_skipped(&moved.skipped, context.ui);
    Ok(partial.unwrap_or(code))
}

fn list(repository: &Repository, context: &Context<'_>) -> CommandResult {
    let stashes = repository.stashes()?;
    if context.ui.is_json() {
        let stashes: Vec<Value> =
            stashes.iter().enumerate().map(|(index, stash)| to_json(index, stash)).collect();
        context.ui.document(&json!({ "schema_version": 1, "stashes": stashes }))?;
        return Ok(ExitCode::Success);
    }
    for (index, stash) in stashes.iter().enumerate() {
        let title = stash.message.lines().next().unwrap_or_default();
        context.ui.line(format!("stash@{{{index}}}: {}", escape(title.as_bytes())))?;
    }
    Ok(ExitCode::Success)
}

fn show(args: &ShowArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    let stash = repository.find_stash(args.which.stash)?;
    let commit = repository.objects()?.commit(&stash.id).map_err(RepoError::from)?;
    let base = repository.tree_of(commit.parents.first().copied())?;
    let (old, new) = (Endpoint::Tree(base), Endpoint::Tree(Some(commit.tree)));
    let paths = PathFilter::default();
    let spec = DiffSpec { old, new, paths: &paths, renames: args.format.renames() };
    let differ = repository.differ()?;
    let printer = Printer::new(context, &differ, &args.format, Some(Format::Stat));
    if context.ui.is_json() {
        let mut list = JsonList::new(context.ui, "changes");
        printer.for_each_json(&spec, |change| list.push(&change))?;
        list.finish()?;
    } else {
        printer.show(&spec)?;
    }
    Ok(ExitCode::Success)
}

fn apply(
    index: usize,
    options: ApplyOptions,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    let report = repository.apply_stash(index, options)?;
    repository.monitor().finish();
    let ui = context.ui;
    let is_whole = report.moved.skipped.is_empty();
    let is_dropped = options.pop && report.conflicts.is_empty() && is_whole;
    if ui.is_json() {
        ui.document(&json!({
            "schema_version": 1,
            "stash": to_json(index, &report.stash),
            "dropped": is_dropped,
            "work_tree": move_json(&report.moved),
            "conflicts": report.conflicts.iter().map(conflict_json).collect::<Vec<_>>(),
        }))?;
    }
    if !report.conflicts.is_empty() {
        if !ui.is_json() {
            for conflict in &report.conflicts {
                ui.line(format!("CONFLICT {}", conflict.path))?;
            }
        }
        warn_of_skipped(&report.moved.skipped, context.ui);
        CliError::new("the stash does not go together with what was changed since")
            .with_hint("it is kept: edit the files or 'digstore restore --theirs PATH', then 'digstore add' them and 'digstore stash drop'; 'digstore undo' goes back")
            .render(ui);
        return Ok(ExitCode::Failure);
    }
    if is_dropped && !ui.is_json() {
        tell_dropped(&report.stash, context)?;
    }
    if options.pop && !is_whole {
        ui.warn("the stash is kept, because not all of it could be brought back");
    }
    Ok(warn_of_skipped(&report.moved.skipped, context.ui))
}

fn branch(args: &BranchArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    let stash = repository.find_stash(args.which.stash)?;
    let commit = repository.objects()?.commit(&stash.id).map_err(RepoError::from)?;
    let start = commit.parents.first().copied();
    let to = SwitchTo::New { name: args.name.clone(), start, force: false };
    repository.switch(&SwitchOptions { to, discard: false, dry_run: false })?;
    let name = escape(args.name.as_bytes());
    context.ui.message(format!("Switched to a new branch '{name}'"));
    apply(args.which.stash, ApplyOptions { index: true, pop: true }, repository, context)
}

fn tell_dropped(stash: &Stash, context: &Context<'_>) -> anyhow::Result<()> {
    if context.ui.is_json() {
        let document = json!({ "schema_version": 1, "dropped": stash.id.to_string() });
        context.ui.document(&document)?;
    } else {
        let message = escape(stash.message.as_bytes());
        context.ui.message(format!("Deleted the stash {} ({message})", stash.id.short()));
    }
    Ok(())
}

fn to_json(index: usize, stash: &Stash) -> Value {
    json!({
        "name": format!("stash@{{{index}}}"),
        "id": stash.id.to_string(),
        "message": stash.message,
        "time": time_text(&stash.made),
    })
}
