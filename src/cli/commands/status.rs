//! `digstore status`.

use std::ffi::OsString;
use std::io::Write;
use std::iter::Peekable;

use clap::Args;
use serde_json::{Value, json};

use super::merge::{conflict_json, letters};
use super::path_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::path::escape;
use crate::repo::diff_trees::{Change, ChangeKind};
use crate::repo::status::StatusReport;
use crate::storage::format::refs::Head;

/// Show what is staged for the next commit, and how the work tree differs from it.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these files, directories and quoted globs.
    #[arg(value_name = "PATHSPEC")]
    paths: Vec<OsString>,
    /// Two letters and a path on each line.
    #[arg(short, long)]
    short: bool,
    /// The same for scripts: stable, without colour.
    #[arg(long, value_name = "VERSION", num_args = 0..=1, default_missing_value = "v1", value_parser = ["v1"], require_equals = true)]
    porcelain: Option<String>,
    /// End each entry of --porcelain with NUL and quote nothing.
    #[arg(short)]
    zero: bool,
}

pub(crate) fn run(args: &StatusArgs, context: &Context<'_>) -> CommandResult {
    let repository =
        context.open_with(std::sync::Arc::new(crate::progress::NullMonitor::default()))?;
    let report = repository.status_of(&context.pathspec(&repository, &args.paths)?)?;
    for (path, why) in &report.skipped {
        context.ui.warn(format!("cannot look at '{path}': {why}"));
    }
    if context.ui.is_json() {
        context.ui.document(&to_json(&report))?;
    } else if args.short || args.porcelain.is_some() || args.zero {
        for (letters, path) in rows(&report) {
            if args.zero {
                context.ui.out().write_all(&[letters.as_bytes(), b" ", path, b"\0"].concat())?;
            } else {
                context.ui.line(format!("{letters} {}", escape(path)))?;
            }
        }
    } else {
        long(&report, context)?;
    }
    Ok(if report.skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial })
}

/// git's two letters for each path, in path order, untracked ones last.
fn rows(report: &StatusReport) -> impl Iterator<Item = (String, &[u8])> {
    let (mut staged, mut unstaged) =
        (report.staged.iter().peekable(), report.unstaged.iter().peekable());
    let mut unmerged = report.unmerged().peekable();
    let tracked = std::iter::from_fn(move || {
        let conflict = unmerged.peek().map(|conflict| &conflict.path);
        let changed = [staged.peek(), unstaged.peek()].into_iter().flatten().map(|one| &one.path);
        let path = changed.chain(conflict).min()?;
        let letter = |changes: &mut Peekable<std::slice::Iter<'_, Change>>| {
            changes.next_if(|change| change.path == *path).map_or(' ', |one| one.kind.letter())
        };
        let (x, y) = (letter(&mut staged), letter(&mut unstaged));
        if let Some(conflict) = unmerged.next_if(|conflict| conflict.path == *path) {
            return Some((letters(conflict).to_owned(), path.as_bytes()));
        }
        Some((format!("{x}{y}"), path.as_bytes()))
    });
    tracked.chain(report.untracked.iter().map(|path| ("??".to_owned(), path.as_slice())))
}

fn long(report: &StatusReport, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    ui.line(&match &report.head {
        Head::Branch(name) => format!("On branch {name}"),
        Head::Detached(id) => format!("HEAD detached at {}", id.short()),
    })?;
    if !report.has_commit {
        ui.line("\nNo commits yet")?;
    }
    merging(report, context)?;
    section(
        context,
        "Changes to be committed:",
        "(use \"digstore restore --staged PATH\" to unstage)",
        &report.staged,
    )?;
    section(
        context,
        "Changes not staged for commit:",
        "(use \"digstore add PATH\" to stage, \"digstore restore PATH\" to discard)",
        &report.unstaged,
    )?;
    if !report.untracked.is_empty() {
        ui.line("\nUntracked files:\n  (use \"digstore add PATH\" to include them in what will be committed)")?;
        for path in &report.untracked {
            ui.line(format!("\t{}", escape(path)))?;
        }
    }
    let tail =
        match (report.staged.is_empty(), report.unstaged.is_empty(), report.untracked.is_empty()) {
            (false, ..) => return Ok(()),
            (true, true, true) if report.has_commit => "nothing to commit, work tree clean",
            (true, true, true) => "nothing to commit (create files and use \"digstore add\")",
            (true, false, _) => "\nno changes staged for commit (use \"digstore add -A\")",
            (true, true, false) => {
                "\nnothing staged for commit but untracked files are present (use \"digstore add\")"
            }
        };
    Ok(ui.line(tail)?)
}

/// The merge that waits, and its conflicts.
fn merging(report: &StatusReport, context: &Context<'_>) -> anyhow::Result<()> {
    let Some(state) = &report.merging else { return Ok(()) };
    let (ui, name) = (context.ui, state.kind.name());
    ui.line(format!("\nA {name} waits to be finished."))?;
    if report.unmerged().next().is_none() {
        ui.line(format!("  (all conflicts are resolved: use \"digstore {name} --continue\")"))?;
        return Ok(());
    }
    ui.line(format!("  (use \"digstore {name} --abort\" to go back)"))?;
    ui.line("\nUnmerged paths:\n  (edit and use \"digstore add PATH\"; or \"digstore restore --theirs PATH\" first)")?;
    for conflict in report.unmerged() {
        ui.line(format!("\t{}  {}", letters(conflict), conflict.path))?;
    }
    Ok(())
}

fn section(
    context: &Context<'_>,
    title: &str,
    hint: &str,
    changes: &[Change],
) -> anyhow::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    context.ui.line(format!("\n{title}\n  {hint}"))?;
    for change in changes {
        let word = match change.kind {
            ChangeKind::Added => "new file:  ",
            ChangeKind::Modified => "modified:  ",
            ChangeKind::Deleted => "deleted:   ",
            ChangeKind::TypeChanged => "typechange:",
        };
        context.ui.line(format!("\t{word} {}", change.path))?;
    }
    Ok(())
}

fn to_json(report: &StatusReport) -> Value {
    let changes = |changes: &[Change]| -> Vec<Value> {
        let one = |change: &Change| {
            let mut value = path_json(change.path.as_bytes());
            value["change"] = json!(change.kind.letter().to_string());
            value
        };
        changes.iter().map(one).collect()
    };
    let (branch, detached) = match &report.head {
        Head::Branch(name) => (Some(name.clone()), None),
        Head::Detached(id) => (None, Some(id.to_string())),
    };
    json!({
        "schema_version": 1,
        "branch": branch,
        "detached_at": detached,
        "has_commit": report.has_commit,
        "staged": changes(&report.staged),
        "unstaged": changes(&report.unstaged),
        "merging": report.merging.as_ref().map(|state| json!({
            "kind": state.kind.name(),
            "others": state.others.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "conflicts": state.conflicts.iter().map(conflict_json).collect::<Vec<_>>(),
        })),
        "untracked": report.untracked.iter().map(|path| path_json(path)).collect::<Vec<_>>(),
    })
}
