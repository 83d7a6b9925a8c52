//! `digstore undo` and `digstore redo`.

use clap::Args;
use serde_json::{Value, json};

use super::switch::move_json;
use super::{refused_json, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::path::escape;
use crate::repo::Repository;
use crate::repo::operation::{UndoOptions, UndoReport};

/// Take the last operation back.
///
/// Branches, tags, HEAD and the staging area go back to what they were before; the work tree too
/// where the operation changed it, and what it had overwritten unsaved comes back. Undo again goes
/// further back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore undo            after a branch was deleted, a merge went wrong, ...
  digstore undo -n         what that would be
  digstore op log          everything that can be undone")]
pub struct UndoArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Take the last undo back.
#[derive(Debug, Args)]
pub struct RedoArgs {
    #[command(flatten)]
    flags: Flags,
}

/// How operations are taken back.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Overwrite local changes in the way; they are stored first.
    #[arg(short, long)]
    force: bool,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Flags {
    pub(super) fn options(&self) -> UndoOptions {
        UndoOptions { force: self.force, dry_run: self.dry_run }
    }
}

pub(crate) fn undo(args: &UndoArgs, context: &Context<'_>) -> CommandResult {
    run(&args.flags, "undid", context, Repository::undo)
}

pub(crate) fn redo(args: &RedoArgs, context: &Context<'_>) -> CommandResult {
    run(&args.flags, "redid", context, Repository::redo)
}

fn run(
    flags: &Flags,
    word: &'static str,
    context: &Context<'_>,
    act: impl FnOnce(&Repository, UndoOptions) -> crate::repo::Result<UndoReport>,
) -> CommandResult {
    let repository = context.open()?;
    let report = act(&repository, flags.options())?;
    repository.monitor().finish();
    tell(&report, word, flags, context)
}

/// Tells what was taken back, or would be.
pub(super) fn tell(
    report: &UndoReport,
    word: &'static str,
    flags: &Flags,
    context: &Context<'_>,
) -> CommandResult {
    let ui = context.ui;
    let UndoReport { record, moved, returned, obstacles } = report;
    if ui.is_json() {
        ui.document(&json!({
            "schema_version": 1,
            "operation": record.as_ref().map_or(Value::Null, super::op::to_json),
            "work_tree": move_json(moved),
            "returned": returned,
            "obstacles": refused_json(&obstacles.listed),
            "dry_run": flags.dry_run,
        }))?;
    } else {
        let what = record.as_ref().map_or_else(
            || "everything".to_owned(),
            |record| format!("{}: {}", record.link.seq, escape(record.description.as_bytes())),
        );
        let would = if flags.dry_run { "would have " } else { "" };
        ui.line(format!("{would}{word} {what}"))?;
        for (path, obstacle) in &obstacles.listed {
            ui.line(format!("in the way: {path} ({obstacle})"))?;
        }
        if moved.written + moved.removed + returned > 0 {
            ui.message(format!(
                "{} written, {} removed, {returned} brought back unsaved",
                format::counted(moved.written, "file"),
                moved.removed,
            ));
        }
        warn_of_skipped(&moved.skipped, ui);
    }
    Ok(match () {
        () if flags.dry_run && !obstacles.listed.is_empty() => ExitCode::Failure,
        () if !moved.skipped.is_empty() => ExitCode::Partial,
        () => ExitCode::Success,
    })
}
