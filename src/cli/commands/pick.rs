//! `digstore cherry-pick` and `digstore revert`.

use clap::Args;

use super::merge::{abort, go_on, tell};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::hooks;
use crate::cli::message::signature;
use crate::id::CommitId;
use crate::repo::merge::PickOptions;
use crate::repo::{RepoError, Repository};
use crate::storage::format::merge_state::{MergeKind, PickFlags};

/// Bring single commits into this branch.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore cherry-pick topic~2
  digstore cherry-pick main..topic      all of them, the oldest first
  digstore cherry-pick -x v1.1          say where it comes from")]
pub struct CherryPickArgs {
    #[command(flatten)]
    common: PickArgs,
    /// Say in the message which commit it was.
    #[arg(short = 'x')]
    note_origin: bool,
}

/// Take commits back by new ones.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore revert HEAD
  digstore revert -m 1 MERGE            take back what a merge brought")]
pub struct RevertArgs {
    #[command(flatten)]
    common: PickArgs,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("begin").multiple(true).args(["revisions", "parent", "no_commit"])))]
struct PickArgs {
    /// Commits, or ranges A..B.
    #[arg(value_name = "REV", required_unless_present_any = ["abort", "continue_", "quit", "skip"])]
    revisions: Vec<String>,
    /// Of a merge, the parent that its change is taken against; 1 is what was merged into.
    #[arg(short = 'm', long = "mainline", value_name = "NUMBER")]
    parent: Option<usize>,
    /// Stage the result and make no commit.
    #[arg(short = 'n', long)]
    no_commit: bool,
    /// Commit what was resolved and go on.
    #[arg(long = "continue", group = "end", conflicts_with = "begin")]
    continue_: bool,
    /// With --continue: do not run the pre-commit hook of your settings.
    #[arg(long, requires = "continue_")]
    no_verify: bool,
    /// Give this commit up and go on.
    #[arg(long, group = "end", conflicts_with = "begin")]
    skip: bool,
    /// Go back to the state before the first of the commits.
    #[arg(long, group = "end", conflicts_with = "begin")]
    abort: bool,
    /// Forget what waits, and leave the work tree as it is.
    #[arg(long, group = "end", conflicts_with = "begin")]
    quit: bool,
}

pub(crate) fn cherry_pick(args: &CherryPickArgs, context: &Context<'_>) -> CommandResult {
    run(&args.common, MergeKind::CherryPick, args.note_origin, context)
}

pub(crate) fn revert(args: &RevertArgs, context: &Context<'_>) -> CommandResult {
    run(&args.common, MergeKind::Revert, false, context)
}

fn run(
    args: &PickArgs,
    kind: MergeKind,
    note_origin: bool,
    context: &Context<'_>,
) -> CommandResult {
    let repository = context.open()?;
    if args.abort {
        return abort(kind, &repository, context);
    }
    if args.quit {
        repository.quit_merge(kind)?;
        return Ok(ExitCode::Success);
    }
    let options = PickOptions {
        kind,
        how: PickFlags { parent: args.parent, note_origin, no_commit: args.no_commit },
        committer: signature(repository.config(), None)?,
    };
    let before = repository.refs().head_commit().map_err(RepoError::from)?;
    let outcome = match () {
        () if args.continue_ => {
            go_on(kind, &options.committer, args.no_verify, &repository, context)?
        }
        () if args.skip => repository.skip_pick(kind, &options.committer)?,
        () => {
            let mut commits = Vec::new();
            for revision in &args.revisions {
                commits.extend(range(revision, kind, &repository)?);
            }
            repository.pick(&commits, &options)?
        }
    };
    let told = tell(&outcome, kind, &repository, context)?;
    hooks::post_commits(&repository, context, before)?;
    Ok(told)
}

/// The commits of `A..B` in the order in which they are taken, or the one that is named.
fn range(text: &str, kind: MergeKind, repository: &Repository) -> anyhow::Result<Vec<CommitId>> {
    let Some((from, to)) = text.split_once("..") else {
        return Ok(vec![repository.resolve(text)?]);
    };
    let named = |text: &str| repository.resolve(if text.is_empty() { "HEAD" } else { text });
    let (from, to) = (named(from)?, named(to)?);
    let mut commits = Vec::new();
    for entry in repository.history([to])? {
        let (id, commit) = entry?;
        if !repository.is_ancestor(id, from)? && commit.parents.len() <= 1 {
            commits.push(id);
        }
    }
    if kind == MergeKind::CherryPick {
        commits.reverse();
    }
    Ok(commits)
}
