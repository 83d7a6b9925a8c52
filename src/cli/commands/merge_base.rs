//! `digstore merge-base`.

use clap::Args;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;

/// Find the best common ancestor of two commits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore merge-base main topic               where topic left main
  digstore merge-base --is-ancestor v1 main    exit 0 if main holds v1, else 1")]
pub struct MergeBaseArgs {
    /// A revision.
    one: String,
    /// Another.
    other: String,
    /// Every best common ancestor; a criss-cross of merges has several.
    #[arg(short, long, conflicts_with = "is_ancestor")]
    all: bool,
    /// Print nothing; exit 0 if the first is an ancestor of the other, else 1.
    #[arg(long)]
    is_ancestor: bool,
}

pub(crate) fn run(args: &MergeBaseArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let (one, other) = (repository.resolve(&args.one)?, repository.resolve(&args.other)?);
    if args.is_ancestor {
        let is_ancestor = repository.is_ancestor(one, other)?;
        if context.ui.is_json() {
            context.ui.document(&json!({ "schema_version": 1, "is_ancestor": is_ancestor }))?;
        }
        return Ok(if is_ancestor { ExitCode::Success } else { ExitCode::Failure });
    }
    let mut bases = repository.merge_bases(one, other)?;
    if !args.all {
        bases.truncate(1);
    }
    if context.ui.is_json() {
        let ids: Vec<String> = bases.iter().map(ToString::to_string).collect();
        context.ui.document(&json!({ "schema_version": 1, "merge_bases": ids }))?;
    } else {
        bases.iter().try_for_each(|base| context.ui.line(base))?;
    }
    Ok(if bases.is_empty() { ExitCode::Failure } else { ExitCode::Success })
}
