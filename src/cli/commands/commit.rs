//! `digstore commit`.

use clap::Args;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::message::{MessageArgs, own_identity, parse_date, signature};
use crate::cli::ui::format;
use crate::repo::commit::{CommitOptions, CommitReport};
use crate::repo::run_history::Run;
use crate::storage::format::object::Signature;
use crate::storage::format::run_history::RunCommand;

/// Record what is staged. The work tree is not read.
#[derive(Debug, Args)]
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
    let message = args.message.read(&repository, "")?;
    let options = CommitOptions { message, author, committer, allow_empty: args.allow_empty };
    let report = repository.commit(options)?;
    repository.monitor().finish();
    let cache = repository.objects()?.reader().cache_stats();
    let (metrics, plan, wall) = (report.metrics, Some(report.plan), context.ui.elapsed());
    let run = Run { command: RunCommand::Commit, plan, metrics, cache, wall };
    context.note_run(&repository, &run);
    print(&report, context)?;
    Ok(ExitCode::Success)
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
    Ok(())
}
