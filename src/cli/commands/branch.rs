//! `digstore branch`.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::Style;
use crate::id::CommitId;
use crate::path::escape;
use crate::repo::Repository;
use crate::repo::branches::Branch;
use crate::repo::wildmatch::is_match;
use crate::storage::format::refs::Head;

/// List, make, rename and delete branches.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore branch                      list them; '*' is the current one
  digstore branch topic                begin one where HEAD is
  digstore branch topic v1.0           begin one at a tag
  digstore branch -m topic feature     rename one
  digstore branch -d topic             delete one that is merged")]
pub struct BranchArgs {
    /// The branch to make; with --list, patterns of the names to list.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List, those that match the patterns.
    #[arg(short, long, conflicts_with_all = ["rename", "force_rename", "delete", "force_delete"])]
    list: bool,
    /// Rename: OLD and NEW, or NEW alone for the current branch.
    #[arg(short = 'm', long = "move", conflicts_with_all = ["delete", "force_delete"])]
    rename: bool,
    /// Rename, even onto a branch that is there.
    #[arg(short = 'M', conflicts_with_all = ["delete", "force_delete"])]
    force_rename: bool,
    /// Delete branches that are merged into HEAD.
    #[arg(short, long)]
    delete: bool,
    /// Delete branches, merged or not.
    #[arg(short = 'D')]
    force_delete: bool,
    /// Move a branch that is there.
    #[arg(short, long)]
    force: bool,
    /// Those that hold this commit.
    #[arg(long, value_name = "REV")]
    contains: Option<String>,
    /// Those that are merged into this commit.
    #[arg(long, value_name = "REV", num_args = 0..=1, default_missing_value = "HEAD")]
    merged: Option<String>,
    /// Those that are not merged into this commit.
    #[arg(long, value_name = "REV", num_args = 0..=1, default_missing_value = "HEAD")]
    no_merged: Option<String>,
    /// Print the name of the current branch; nothing when HEAD is detached.
    #[arg(long, conflicts_with_all = ["names", "list", "rename", "force_rename", "delete", "force_delete", "force", "contains", "merged", "no_merged"])]
    show_current: bool,
}

pub(crate) fn run(args: &BranchArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    if args.show_current {
        let head = repository.refs().read_head().map_err(crate::repo::RepoError::from)?;
        match head {
            head if context.ui.is_json() => {
                let name = if let Head::Branch(name) = head { Some(name) } else { None };
                context.ui.document(&json!({ "schema_version": 1, "current": name }))?;
            }
            Head::Branch(name) => context.ui.line(escape(name.as_bytes()))?,
            Head::Detached(_) => {}
        }
        return Ok(ExitCode::Success);
    }
    if args.rename || args.force_rename {
        return rename(args, &repository, context);
    }
    if args.delete || args.force_delete {
        return delete(args, &repository, context);
    }
    let lists =
        args.list || args.contains.is_some() || args.merged.is_some() || args.no_merged.is_some();
    match args.names.as_slice() {
        [] => list(args, &repository, context),
        _ if lists => list(args, &repository, context),
        [name] => make(name, "HEAD", args.force, &repository, context),
        [name, start] => make(name, start, args.force, &repository, context),
        _ => Err(CliError::usage("a branch has one name and one start").into()),
    }
}

fn make(
    name: &str,
    start: &str,
    force: bool,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    let commit = repository.resolve(start)?;
    repository.create_branch(name, commit, force)?;
    if context.ui.is_json() {
        let branch = json!({ "name": name, "id": commit.to_string() });
        context.ui.document(&json!({ "schema_version": 1, "created": branch }))?;
    }
    Ok(ExitCode::Success)
}

fn rename(args: &BranchArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    let (old, new) = match args.names.as_slice() {
        [new] => match repository.refs().read_head().map_err(crate::repo::RepoError::from)? {
            Head::Branch(old) => (old, new.clone()),
            Head::Detached(_) => {
                return Err(CliError::usage("HEAD is detached: name the branch to rename").into());
            }
        },
        [old, new] => (old.clone(), new.clone()),
        _ => return Err(CliError::usage("give the new name, or the old and the new one").into()),
    };
    repository.rename_branch(&old, &new, args.force || args.force_rename)?;
    if context.ui.is_json() {
        let renamed = json!({ "from": old, "to": new });
        context.ui.document(&json!({ "schema_version": 1, "renamed": renamed }))?;
    }
    Ok(ExitCode::Success)
}

fn delete(args: &BranchArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    if args.names.is_empty() {
        return Err(CliError::usage("name the branches to delete").into());
    }
    let deleted = repository.delete_branches(&args.names, args.force_delete || args.force)?;
    if context.ui.is_json() {
        let deleted: Vec<Value> = deleted.iter().map(to_json).collect();
        context.ui.document(&json!({ "schema_version": 1, "deleted": deleted }))?;
        return Ok(ExitCode::Success);
    }
    for Branch { name, commit, .. } in deleted {
        let name = escape(name.as_bytes());
        context.ui.message(format!("Deleted branch {name} (was {}).", commit.short()));
    }
    Ok(ExitCode::Success)
}

fn list(args: &BranchArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    let at = |revision: &Option<String>| -> anyhow::Result<Option<CommitId>> {
        Ok(revision.as_ref().map(|revision| repository.resolve(revision)).transpose()?)
    };
    let (contains, merged, no_merged) =
        (at(&args.contains)?, at(&args.merged)?, at(&args.no_merged)?);
    let mut branches = Vec::new();
    for branch in repository.branches()? {
        let is_named =
            args.names.is_empty() || args.names.iter().any(|glob| is_match(glob, &branch.name));
        let is_listed = is_named
            && holds(repository, contains, Some(branch.commit))?
            && holds(repository, Some(branch.commit), merged)?
            && no_merged.map_or(Ok(true), |into| {
                repository.is_ancestor(branch.commit, into).map(|is| !is)
            })?;
        if is_listed {
            branches.push(branch);
        }
    }
    if context.ui.is_json() {
        let branches: Vec<Value> = branches.iter().map(to_json).collect();
        context.ui.document(&json!({ "schema_version": 1, "branches": branches }))?;
        return Ok(ExitCode::Success);
    }
    print(&branches, repository, context)?;
    Ok(ExitCode::Success)
}

/// Whether a commit leads to another; yes where either is left open.
fn holds(
    repository: &Repository,
    ancestor: Option<CommitId>,
    commit: Option<CommitId>,
) -> crate::repo::Result<bool> {
    match (ancestor, commit) {
        (Some(ancestor), Some(commit)) => repository.is_ancestor(ancestor, commit),
        _ => Ok(true),
    }
}

fn print(
    branches: &[Branch],
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let ui = context.ui;
    if let Head::Detached(id) =
        repository.refs().read_head().map_err(crate::repo::RepoError::from)?
    {
        let text = format!("(HEAD detached at {})", id.short());
        ui.line(format!("* {}", ui.paint(Style::Good, &text)))?;
    }
    let width = branches.iter().map(|branch| branch.name.chars().count()).max().unwrap_or(0);
    for branch in branches {
        let name = escape(branch.name.as_bytes());
        let mark = if branch.is_current { "* " } else { "  " };
        let padding = " ".repeat(width.saturating_sub(name.chars().count()));
        let name = if branch.is_current { ui.paint(Style::Good, &name) } else { name };
        if ui.verbosity() == 0 {
            ui.line(format!("{mark}{name}"))?;
            continue;
        }
        let message = repository
            .objects()?
            .commit(&branch.commit)
            .map_err(crate::repo::RepoError::from)?
            .message;
        let title = escape(message.lines().next().unwrap_or_default().as_bytes());
        let id = branch.commit.short();
        ui.line(format!("{mark}{name}{padding} {id} {title}"))?;
    }
    Ok(())
}

fn to_json(branch: &Branch) -> Value {
    json!({
        "name": branch.name,
        "id": branch.commit.to_string(),
        "current": branch.is_current,
    })
}
