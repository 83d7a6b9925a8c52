//! `digstore commit`.

use clap::Args;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::hooks;
use crate::cli::message::{MessageArgs, edit, own_identity, parse_date, signature};
use crate::cli::ui::format;
use crate::id::CommitId;
use crate::repo::add::AddOptions;
use crate::repo::commit::{CommitOptions, CommitReport};
use crate::repo::run_history::Run;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::Signature;
use crate::storage::format::run_history::RunCommand;

/// Record what is staged. The work tree is not read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore commit -m \"first\"           record what is staged
  digstore commit -am \"edits\"          with all changes of tracked files
  digstore commit --amend --no-edit      add what is staged to the last commit
  digstore config set --user hooks.pre-commit './check.sh'
                                         run a check before every commit")]
pub struct CommitArgs {
    /// Why.
    #[command(flatten)]
    message: MessageArgs,
    /// Who wrote the change: a name, then an address in angle brackets.
    #[arg(long, value_name = "NAME <ADDRESS>")]
    author: Option<String>,
    /// When it was written: RFC 3339, a date, or '@' and seconds since 1970.
    #[arg(long, value_name = "TIME")]
    date: Option<String>,
    /// Even if nothing is staged.
    #[arg(long)]
    allow_empty: bool,
    /// In the place of the last commit, whose message and author stay unless they are given.
    #[arg(long)]
    amend: bool,
    /// With --amend: keep the message without asking.
    #[arg(long)]
    no_edit: bool,
    /// With --amend: the author is you, now.
    #[arg(long, requires = "amend", conflicts_with = "author")]
    reset_author: bool,
    /// Stage what changed in tracked files first.
    #[arg(short, long)]
    all: bool,
    /// Do not run the pre-commit hook of your settings.
    #[arg(long)]
    no_verify: bool,
}

pub(crate) fn run(args: &CommitArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let committer = signature(repository.config(), args.author.as_deref())?;
    let mut author = committer.clone();
    if let Some(date) = &args.date {
        (author.seconds, author.offset_minutes) = parse_date(date)?;
    }
    let committer = match own_identity(repository.config()) {
        Some((name, email)) => Signature { name, email, ..committer },
        None => committer,
    };
    let earlier = earlier(args, &repository)?;
    if let Some(written) = earlier.as_ref().and_then(|earlier| earlier.author.clone())
        && !args.reset_author
    {
        let date = (author.seconds, author.offset_minutes);
        author = if args.author.is_some() { author } else { written.clone() };
        let kept = (written.seconds, written.offset_minutes);
        (author.seconds, author.offset_minutes) = if args.date.is_some() { date } else { kept };
    }
    let given = args.message.given()?;
    let (all, left_out) = verified(args, &repository, context)?;
    let (allow_empty, amend) = (args.allow_empty, earlier.as_ref().and_then(|it| it.amended));
    let message = match (given, earlier) {
        (Some(message), _) => message,
        (None, Some(earlier)) if args.no_edit => earlier.message,
        (None, Some(earlier)) => edit(&repository, &earlier.message)?,
        (None, None) => edit(&repository, "")?,
    };
    let report =
        repository.commit(CommitOptions { message, author, committer, allow_empty, amend, all })?;
    repository.monitor().finish();
    let cache = repository.objects()?.reader().cache_stats();
    let (metrics, plan, wall) = (report.metrics, Some(report.plan), context.ui.elapsed());
    let run = Run { command: RunCommand::Commit, plan, metrics, cache, wall };
    context.note_run(&repository, &run);
    print(&report, context)?;
    context.ui.flush()?;
    hooks::post_commit(&repository, context, report.id);
    Ok(if left_out + report.skipped == 0 { ExitCode::Success } else { ExitCode::Partial })
}

/// Runs the hook that may forbid the commit; whether tracked files are still to be staged, and how
/// many of those that were are left out. The hook sees what will be committed, so with `--all` they
/// are staged before it.
fn verified(
    args: &CommitArgs,
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<(bool, u64)> {
    if args.no_verify {
        return Ok((args.all, 0));
    }
    repository.check_resolved()?;
    let (stages, mut left_out) = (args.all && hooks::has_pre_commit(repository), 0);
    if stages {
        let tracked = AddOptions { tracked_only: true, ..AddOptions::default() };
        left_out = repository.add(&tracked)?.skipped;
        // The hook has the terminal for itself.
        repository.monitor().finish();
    }
    hooks::pre_commit(repository, context, args.amend)?;
    Ok((args.all && !stages, left_out))
}

/// What the commit that is amended, or the merge that waits, says already.
struct Earlier {
    message: String,
    author: Option<Signature>,
    amended: Option<CommitId>,
}

fn earlier(args: &CommitArgs, repository: &Repository) -> anyhow::Result<Option<Earlier>> {
    if args.amend {
        let head = repository.commit_to_amend()?;
        let commit = repository.objects()?.commit(&head).map_err(RepoError::from)?;
        let (message, author) = (commit.message, Some(commit.author));
        return Ok(Some(Earlier { message, author, amended: Some(head) }));
    }
    let waiting = repository.merge_state()?.filter(|state| !state.is_between());
    let said = |message, author| Earlier { message, author, amended: None };
    Ok(waiting.map(|state| said(state.message, state.author)))
}

fn print(report: &CommitReport, context: &Context<'_>) -> anyhow::Result<()> {
    if context.ui.is_json() {
        return Ok(context.ui.document(&json!({
            "message_type": "summary",
            "schema_version": 1,
            "id": report.id.to_string(),
            "tree": report.commit.tree.to_string(),
            "parents": report.commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "branch": report.branch,
            "files": report.commit.files,
            "bytes": report.commit.bytes,
            "metrics": report.metrics,
        }))?);
    }
    context.ui.line(format!("committed {}", report.id))?;
    let place = report.branch.as_deref().unwrap_or("detached HEAD");
    let files = format::counted(report.commit.files, "file");
    context.ui.message(format!(
        "[{place} {}] {files}, {}",
        report.id.short(),
        format::bytes(report.commit.bytes)
    ));
    if let Some(rest) = &report.rest {
        let (name, left) = (rest.kind.name(), format::counted(rest.todo.len() as u64, "commit"));
        context.ui.message(format!("{left} left: 'digstore {name} --continue' goes on"));
    }
    Ok(())
}
