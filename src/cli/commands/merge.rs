//! `digstore merge`, and how the outcome of merges and picks is told.

use clap::Args;
use serde_json::{Value, json};

use super::switch::move_json;
use super::{path_json, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::hooks;
use crate::cli::message::{MessageArgs, signature};
use crate::repo::merge::{FastForward, MergeError, MergeOptions, MergeOutcome};
use crate::repo::{RepoError, Repository};
use crate::storage::format::merge_state::{Conflict, ConflictKind, MergeKind};
use crate::storage::format::object::Signature;

/// Bring another branch into this one.
///
/// Files that only one side changed are taken from it; text that both changed is merged line by
/// line. What cannot be merged is left to you: text with conflict markers, everything else as it
/// was on this side.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore merge topic
  digstore restore --theirs logo.png    take their version of a file in conflict
  digstore add logo.png                 it is resolved
  digstore merge --continue             commit the merge
  digstore merge --abort                go back to the state before")]
#[command(group(clap::ArgGroup::new("begin").multiple(true).args(["revisions", "message", "file", "no_ff", "ff_only", "squash", "no_commit", "allow_unrelated_histories"])))]
pub struct MergeArgs {
    /// The branch or commit.
    #[arg(value_name = "REV", required_unless_present_any = ["abort", "continue_", "quit"])]
    revisions: Vec<String>,
    /// Why; the usual message names the branch.
    #[command(flatten)]
    message: MessageArgs,
    /// Make a commit even where the branch could just move forward.
    #[arg(long, conflicts_with = "ff_only")]
    no_ff: bool,
    /// Only move forward.
    #[arg(long)]
    ff_only: bool,
    /// Stage the result as a change of your own.
    #[arg(long)]
    squash: bool,
    /// Stage the result and wait for 'digstore commit'.
    #[arg(long)]
    no_commit: bool,
    /// Merge histories that have nothing in common.
    #[arg(long)]
    allow_unrelated_histories: bool,
    /// Commit what was resolved.
    #[arg(long = "continue", group = "end", conflicts_with = "begin")]
    continue_: bool,
    /// With --continue: do not run the pre-commit hook of your settings.
    #[arg(long, requires = "continue_")]
    no_verify: bool,
    /// Go back to the state before.
    #[arg(long, group = "end", conflicts_with = "begin")]
    abort: bool,
    /// Forget that a merge waits, and leave the work tree as it is.
    #[arg(long, group = "end", conflicts_with = "begin")]
    quit: bool,
}

pub(crate) fn run(args: &MergeArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    if args.abort {
        return abort(MergeKind::Merge, &repository, context);
    }
    if args.quit {
        repository.quit_merge(MergeKind::Merge)?;
        return Ok(ExitCode::Success);
    }
    let committer = signature(repository.config(), None)?;
    if args.continue_ {
        let before = repository.refs().head_commit().map_err(RepoError::from)?;
        let outcome = go_on(MergeKind::Merge, &committer, args.no_verify, &repository, context)?;
        let told = tell(&outcome, MergeKind::Merge, &repository, context)?;
        hooks::post_commits(&repository, context, before)?;
        return Ok(told);
    }
    let [revision] = args.revisions.as_slice() else {
        return Err(MergeError::Octopus.pack());
    };
    let options = MergeOptions {
        other: repository.resolve(revision)?,
        name: name_of(revision, &repository),
        fast_forward: match () {
            () if args.ff_only => FastForward::Only,
            () if args.no_ff => FastForward::Never,
            () => FastForward::Auto,
        },
        squash: args.squash,
        no_commit: args.no_commit,
        message: args.message.given()?,
        allow_unrelated: args.allow_unrelated_histories,
        committer,
    };
    let outcome = repository.merge(&options)?;
    tell(&outcome, MergeKind::Merge, &repository, context)
}

/// Commits what was resolved and goes on, with the hooks of a commit.
pub(super) fn go_on(
    kind: MergeKind,
    committer: &Signature,
    no_verify: bool,
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<MergeOutcome> {
    if !no_verify && repository.merge_state()?.is_some_and(|state| state.kind == kind) {
        repository.check_resolved()?;
        hooks::pre_commit(repository, context, false)?;
    }
    Ok(repository.continue_merge(kind, None, committer)?)
}

impl MergeError {
    fn pack(self) -> anyhow::Error {
        RepoError::from(self).into()
    }
}

fn name_of(revision: &str, repository: &Repository) -> String {
    let has = |namespace: &str| {
        let name = format!("{namespace}/{revision}");
        repository.refs().read(&name).is_ok_and(|found| found.is_some())
    };
    match () {
        () if has("heads") => format!("branch '{revision}'"),
        () if has("tags") => format!("tag '{revision}'"),
        () => format!("commit '{revision}'"),
    }
}

/// Goes back to the state before.
pub(super) fn abort(
    kind: MergeKind,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    let moved = repository.abort_merge(kind)?;
    repository.monitor().finish();
    let code = warn_of_skipped(&moved.skipped, context.ui);
    if context.ui.is_json() {
        let document =
            json!({ "schema_version": 1, "outcome": "aborted", "work_tree": move_json(&moved) });
        context.ui.document(&document)?;
    } else {
        context.ui.message(format!("the {} was aborted", kind.name()));
    }
    Ok(code)
}

/// Tells what came of a merge or a pick.
pub(super) fn tell(
    outcome: &MergeOutcome,
    kind: MergeKind,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    repository.monitor().finish();
    let ui = context.ui;
    if ui.is_json() {
        ui.document(&to_json(outcome))?;
    } else {
        match outcome {
            MergeOutcome::UpToDate => ui.message("Already up to date."),
            MergeOutcome::FastForward(commit, _) => {
                ui.message(format!("Fast-forward to {}", commit.short()));
            }
            MergeOutcome::Committed(commit, _) => ui.line(format!("committed {commit}"))?,
            MergeOutcome::Staged(_) => {
                ui.message("The result is staged; 'digstore commit' records it.");
            }
            MergeOutcome::Conflicts(conflicts) => {
                for conflict in conflicts {
                    ui.line(format!("CONFLICT {}: {}", why(conflict.kind), conflict.path))?;
                }
            }
        }
    }
    let moved = match outcome {
        MergeOutcome::Conflicts(_) => {
            if !ui.is_json() {
                let name = kind.name();
                let hint = format!(
                    "edit the files, 'digstore add' them, then 'digstore {name} --continue'; 'digstore {name} --abort' goes back"
                );
                CliError::new(format!("the {name} has conflicts")).with_hint(hint).render(ui);
            }
            return Ok(ExitCode::Failure);
        }
        MergeOutcome::UpToDate => return Ok(ExitCode::Success),
        MergeOutcome::FastForward(_, moved)
        | MergeOutcome::Committed(_, moved)
        | MergeOutcome::Staged(moved) => moved,
    };
    Ok(warn_of_skipped(&moved.skipped, ui))
}

fn why(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::BothChanged => "(both changed)",
        ConflictKind::DeletedByUs => "(deleted here, changed there)",
        ConflictKind::DeletedByThem => "(changed here, deleted there)",
        ConflictKind::InTheWay => "(a file and a directory)",
    }
}

/// git's two letters for a conflict.
pub(super) fn letters(conflict: &Conflict) -> &'static str {
    match conflict.kind {
        ConflictKind::BothChanged if conflict.base.is_none() => "AA",
        ConflictKind::BothChanged => "UU",
        ConflictKind::DeletedByUs => "DU",
        ConflictKind::DeletedByThem => "UD",
        ConflictKind::InTheWay => "UA",
    }
}

/// A conflict, for JSON.
pub(super) fn conflict_json(conflict: &Conflict) -> Value {
    let mut value = path_json(conflict.path.as_bytes());
    value["status"] = json!(letters(conflict));
    value["reason"] = json!(why(conflict.kind).trim_matches(['(', ')']));
    value["resolved"] = json!(conflict.resolved);
    value
}

fn to_json(outcome: &MergeOutcome) -> Value {
    let mut value = json!({ "schema_version": 1 });
    let (name, id, moved) = match outcome {
        MergeOutcome::UpToDate => ("up-to-date", None, None),
        MergeOutcome::FastForward(id, moved) => ("fast-forward", Some(id), Some(moved)),
        MergeOutcome::Committed(id, moved) => ("committed", Some(id), Some(moved)),
        MergeOutcome::Staged(moved) => ("staged", None, Some(moved)),
        MergeOutcome::Conflicts(conflicts) => {
            value["conflicts"] = conflicts.iter().map(conflict_json).collect();
            ("conflicts", None, None)
        }
    };
    value["outcome"] = json!(name);
    if let Some(id) = id {
        value["id"] = json!(id.to_string());
    }
    if let Some(moved) = moved {
        value["work_tree"] = move_json(moved);
    }
    value
}
