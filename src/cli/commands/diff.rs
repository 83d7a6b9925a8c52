//! `digstore diff`.

use std::ffi::OsString;

use clap::Args;

use super::JsonList;
use crate::cli::CommandResult;
use crate::cli::changes::{Format, FormatArgs, Printer};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::revisions::{RevisionArg, Selection, select};
use crate::id::CommitId;
use crate::repo::Repository;
use crate::repo::diff::{DiffSpec, Endpoint};

/// Show what differs: the work tree from what is staged, or any two versions.
///
/// Text is compared by lines. Of binary files, and of files above 512 MiB, the share that changed is
/// told; --ranges names the bytes. What both versions hold is not read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore diff                    what is not staged yet
  digstore diff --staged           what the next commit changes
  digstore diff HEAD~3 -- src      the work tree against an older commit, below src
  digstore diff main topic --stat  two commits, in numbers
  digstore diff main...topic       what topic did since it left main
  digstore diff v1 v2 --ranges -- disk.img")]
pub struct DiffArgs {
    /// At most two revisions, or A..B, or A...B; then paths.
    #[arg(value_name = "REVISION|PATH")]
    args: Vec<OsString>,
    /// Files and directories.
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Compare what is staged with a commit, HEAD when none is named.
    #[arg(long, visible_alias = "cached")]
    staged: bool,
    /// Exit with 1 if something differs; --quiet does so too and shows nothing.
    #[arg(long)]
    exit_code: bool,
    /// Swap the two sides.
    #[arg(short = 'R', long)]
    reverse: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) fn run(args: &DiffArgs, context: &Context<'_>) -> CommandResult {
    let repository =
        context.open_with(std::sync::Arc::new(crate::progress::NullMonitor::default()))?;
    let selection = select(context, &repository, &args.args, &args.paths)?;
    let (mut old, mut new) = endpoints(args, &repository, &selection)?;
    if args.reverse {
        std::mem::swap(&mut old, &mut new);
    }
    let spec = DiffSpec { old, new, paths: &selection.paths, renames: args.format.renames() };
    let is_quiet = context.ui.is_quiet();
    let format = FormatArgs { no_patch: args.format.no_patch || is_quiet, ..args.format.clone() };
    let differ = repository.differ()?;
    context.ui.page();
    let printer = Printer::new(context, &differ, &format, Some(Format::Patch));
    let differs = if context.ui.is_json() && !is_quiet {
        let mut list = JsonList::new(context.ui, "changes");
        let differs = printer.for_each_json(&spec, |change| list.push(&change))?;
        list.finish()?;
        differs
    } else {
        printer.show(&spec)?
    };
    let is_told = differs && (args.exit_code || is_quiet);
    Ok(if is_told { ExitCode::Failure } else { ExitCode::Success })
}

/// The two versions.
fn endpoints(
    args: &DiffArgs,
    repository: &Repository,
    selection: &Selection,
) -> anyhow::Result<(Endpoint, Endpoint)> {
    use RevisionArg::{Either, One, Range};
    let tree = |id: CommitId| -> anyhow::Result<Endpoint> {
        Ok(Endpoint::Tree(Some(repository.objects()?.commit(&id)?.tree)))
    };
    let pair = match (selection.revisions.as_slice(), args.staged) {
        ([], false) => (Endpoint::Staging, Endpoint::WorkTree),
        ([], true) => (Endpoint::Tree(repository.head_tree()?), Endpoint::Staging),
        ([One(id)], false) => (tree(*id)?, Endpoint::WorkTree),
        ([One(id)], true) => (tree(*id)?, Endpoint::Staging),
        ([One(old), One(new)] | [Range(old, new)], false) => (tree(*old)?, tree(*new)?),
        ([Either(one, other)], false) => {
            let bases = repository.merge_bases(*one, *other)?;
            let base = bases.first().ok_or_else(|| {
                CliError::new("the two commits have no common ancestor")
                    .with_hint("compare them directly: digstore diff A B")
            })?;
            (tree(*base)?, tree(*other)?)
        }
        _ => {
            return Err(CliError::usage("diff compares one or two versions, or one range")
                .with_hint("see 'digstore diff --help'")
                .into());
        }
    };
    Ok(pair)
}
