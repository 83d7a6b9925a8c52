//! `digstore op`: the log of operations.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::undo::{Flags, tell};
use super::{JsonList, time_text};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::{Style, format};
use crate::path::escape;
use crate::repo::RepoError;
use crate::repo::operation::{OpKind, OpRecord, OpState, RefChange};
use crate::storage::format::object::Signature;
use crate::storage::format::refs::Head;

/// Look at what was done, and go back to it.
#[derive(Debug, Subcommand)]
pub enum OpCommand {
    /// List operations, the newest first.
    #[command(after_help = "Examples:
  digstore op log -n 10
  digstore log --at-op 41        the history as it was behind operation 41
  digstore op restore 41         go back to that")]
    Log(LogArgs),
    /// Show what an operation changed.
    Show(ShowArgs),
    /// Bring everything to the state behind an operation; 0 is before the first.
    ///
    /// Of the work tree, the files that were staged otherwise then. Bytes that were never staged stay
    /// as they are: what operations since overwrote or removed of them comes back with 'digstore
    /// undo', one operation after the other.
    Restore(RestoreArgs),
}

/// List operations.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// At most this many.
    #[arg(short = 'n', long, value_name = "COUNT")]
    max_count: Option<usize>,
}

/// Show what an operation changed.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its number; the last one when left out.
    seq: Option<u64>,
}

/// Bring everything to the state behind an operation.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The number of the operation.
    seq: u64,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(command: &OpCommand, context: &Context<'_>) -> CommandResult {
    match command {
        OpCommand::Log(args) => log(args, context),
        OpCommand::Show(args) => show(args, context),
        OpCommand::Restore(args) => {
            let repository = context.open()?;
            let report = repository.restore_operation(args.seq, args.flags.options())?;
            repository.monitor().finish();
            tell(&report, "went back to", &args.flags, context)
        }
    }
}

fn log(args: &LogArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let operations = repository.operations()?;
    let mut list = JsonList::new(context.ui, "operations");
    for record in operations.backwards().take(args.max_count.unwrap_or(usize::MAX)) {
        let record = record.map_err(RepoError::from)?;
        if context.ui.is_json() {
            list.push(&to_json(&record))?;
            continue;
        }
        let seq = context.ui.paint(Style::Accent, &format!("{:>4}", record.link.seq));
        let time = time_text(&when(&record));
        context.ui.line(format!("{seq} {time} {}", escape(record.description.as_bytes())))?;
    }
    if context.ui.is_json() {
        list.finish()?;
    }
    let first = operations.first_seq().map_err(RepoError::from)?.unwrap_or(1);
    if first > 1 && args.max_count.is_none() {
        let expired = format::counted(first - 1, "older operation");
        context.ui.message(format!("{expired} expired"));
    }
    Ok(ExitCode::Success)
}

fn show(args: &ShowArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let operations = repository.operations()?;
    let last = operations.last().map_or(0, |last| last.link.seq);
    let record = operations.find(args.seq.unwrap_or(last)).map_err(RepoError::from)?;
    let ui = context.ui;
    if ui.is_json() {
        let mut value = to_json(&record);
        value["schema_version"] = json!(1);
        ui.document(&value)?;
        return Ok(ExitCode::Success);
    }
    ui.line(format!("operation {}: {}", record.link.seq, escape(record.description.as_bytes())))?;
    if !record.user.is_empty() {
        ui.line(format!("by        {}", escape(record.user.as_bytes())))?;
    }
    ui.line(format!("at        {}", time_text(&when(&record))))?;
    let (before, after) = (&record.before, &record.after);
    if before.head != after.head {
        ui.line(format!("HEAD      {} -> {}", head_text(&before.head), head_text(&after.head)))?;
    }
    for RefChange { name, old, new } in &record.refs {
        let at = |value: &Option<crate::storage::refs::RefValue>| {
            value.map_or_else(|| "none".to_owned(), |value| value.commit.short())
        };
        ui.line(format!("{name}  {} -> {}", at(old), at(new)))?;
    }
    if before.staged.tree != after.staged.tree {
        let (old, new) = (before.staged.tree.short(), after.staged.tree.short());
        ui.line(format!("staged    tree {old} -> {new}"))?;
    }
    if let Some(kept) = &record.kept {
        ui.line(format!("kept      unsaved files in tree {}", kept.short()))?;
    }
    Ok(ExitCode::Success)
}

fn when(record: &OpRecord) -> Signature {
    Signature {
        name: record.user.clone(),
        email: String::new(),
        seconds: record.seconds,
        offset_minutes: record.offset_minutes,
    }
}

fn head_text(head: &Head) -> String {
    match head {
        Head::Branch(name) => name.clone(),
        Head::Detached(commit) => commit.short(),
    }
}

fn state_json(state: &OpState) -> Value {
    let (branch, detached_at) = match &state.head {
        Head::Branch(name) => (Some(name.clone()), None),
        Head::Detached(commit) => (None, Some(commit.to_string())),
    };
    json!({
        "branch": branch,
        "detached_at": detached_at,
        "staged_tree": state.staged.tree.to_string(),
        "staged_files": state.staged.files,
        "staged_bytes": state.staged.bytes,
    })
}

/// An operation, for JSON.
pub(super) fn to_json(record: &OpRecord) -> Value {
    let (kind, of) = match record.kind {
        OpKind::Normal => ("normal", None),
        OpKind::Undo { of } => ("undo", Some(of)),
        OpKind::Redo { of } => ("redo", Some(of)),
        OpKind::Restore { to } => ("restore", Some(to)),
        OpKind::Noticed => ("noticed", None),
    };
    let refs = record.refs.iter().map(|RefChange { name, old, new }| {
        let id = |value: &Option<crate::storage::refs::RefValue>| {
            value.map(|value| value.commit.to_string())
        };
        json!({ "name": name, "old": id(old), "new": id(new) })
    });
    json!({
        "seq": record.link.seq,
        "time": time_text(&when(record)),
        "user": record.user,
        "description": record.description,
        "kind": kind,
        "of": of,
        "before": state_json(&record.before),
        "after": state_json(&record.after),
        "refs": refs.collect::<Vec<_>>(),
        "moved_work_tree": record.moved_work_tree,
        "kept": record.kept.map(|kept| kept.to_string()),
    })
}
