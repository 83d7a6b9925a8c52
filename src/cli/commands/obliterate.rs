//! `digstore obliterate`.

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};

use clap::Args;
use serde_json::{Value, json};

use super::path_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;

/// Take files out of all history, for good.
///
/// Every commit of every branch, tag and stash that holds them is written again without them, and gets
/// another id, as do those after it. What could be undone is forgotten: nothing brings them back. The
/// files of the work tree stay. 'digstore gc --now' then frees the bytes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore obliterate -n secret.key     say what would be written again
  digstore obliterate --yes secret.key  do it
  digstore gc --now                     free the bytes")]
pub struct ObliterateArgs {
    /// Which files.
    #[arg(value_name = "PATHSPEC", required = true)]
    paths: Vec<OsString>,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &ObliterateArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let paths = context.pathspec(&repository, &args.paths)?;
    if !args.dry_run && !args.yes && !is_meant(context)? {
        return Err(CliError::new("nothing was done: this cannot be undone")
            .with_hint("-n says what would be done, --yes does it")
            .into());
    }
    let report = repository.obliterate(&paths, args.dry_run)?;
    repository.monitor().finish();
    let ui = context.ui;
    if ui.is_json() {
        let paths: Vec<Value> =
            report.paths.iter().map(|path| path_json(path.as_bytes())).collect();
        ui.document(&json!({
            "schema_version": 1,
            "dry_run": args.dry_run,
            "commits": report.commits,
            "rewritten": report.rewritten,
            "refs": report.refs,
            "staged": report.staged,
            "paths": paths,
            "freed_bytes": report.freed_bytes,
        }))?;
        return Ok(ExitCode::Success);
    }
    let would = if args.dry_run { "would take" } else { "took" };
    for path in &report.paths {
        ui.line(format!("{would} out {path}"))?;
    }
    let of = format::counted(report.commits, "commit");
    let refs = format::counted(report.refs, "ref");
    let wrote = if args.dry_run { "would write" } else { "wrote" };
    let moved = if args.dry_run { "move" } else { "moved" };
    ui.message(format!("{wrote} {} of {of} again, {moved} {refs}", report.rewritten));
    if let Some(bytes) = report.freed_bytes {
        ui.message(format!("'digstore gc --now' frees {bytes} bytes; until then they are there"));
    }
    Ok(ExitCode::Success)
}

/// Asks, where somebody can answer.
fn is_meant(context: &Context<'_>) -> anyhow::Result<bool> {
    if !stdin().is_terminal() || !context.ui.err_is_terminal() {
        return Ok(false);
    }
    context.ui.message("this rewrites history and cannot be undone; go on? [y/N]");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
