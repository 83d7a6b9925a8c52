//! `digstore switch`.

use clap::Args;
use serde_json::{Value, json};

use super::{refused_json, warn_of_skipped};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::path::escape;
use crate::repo::Repository;
use crate::repo::reflog::switches_ago;
use crate::repo::switch::{MoveReport, SwitchOptions, SwitchReport, SwitchTo};
use crate::storage::format::refs::Head;

/// Go to another branch or commit.
///
/// Files that differ between here and there are written; all others, and local changes in them,
/// stay. Where local changes would be lost nothing happens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore switch main             go to a branch
  digstore switch -                go back to where you were before
  digstore switch -c topic         begin a branch here
  digstore switch -c fix v1.0      begin a branch at a tag
  digstore switch --detach HEAD~3  look at an old commit")]
pub struct SwitchArgs {
    /// A branch; '-' is the one before. With --detach any revision; with -c where to begin.
    #[arg(value_name = "BRANCH", required_unless_present_any = ["create", "force_create"])]
    target: Option<String>,
    /// Begin a branch of this name.
    #[arg(short, long, value_name = "NAME", conflicts_with = "detach")]
    create: Option<String>,
    /// As --create; a branch of this name is moved.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["create", "detach"])]
    force_create: Option<String>,
    /// Go to a commit, on no branch.
    #[arg(short, long)]
    detach: bool,
    /// Give local changes up; 'digstore undo' brings them back.
    #[arg(short = 'f', long, visible_alias = "force")]
    discard_changes: bool,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &SwitchArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let to = destination(args, &repository)?;
    let is_new = matches!(to, SwitchTo::New { .. });
    let options = SwitchOptions { to, discard: args.discard_changes, dry_run: args.dry_run };
    let report = repository.switch(&options)?;
    repository.monitor().finish();
    let is_blocked = args.dry_run && !report.obstacles.listed.is_empty();
    if context.ui.is_json() {
        context.ui.document(&to_json(&report, args.dry_run))?;
    } else {
        tell(&report, is_new, args.dry_run, &repository, context)?;
    }
    Ok(match () {
        () if is_blocked => ExitCode::Failure,
        () if !report.moved.skipped.is_empty() => ExitCode::Partial,
        () => ExitCode::Success,
    })
}

fn destination(args: &SwitchArgs, repository: &Repository) -> anyhow::Result<SwitchTo> {
    let target = args.target.as_deref();
    let (name, force) = match (&args.create, &args.force_create) {
        (Some(name), _) => (Some(name), false),
        (None, name) => (name.as_ref(), true),
    };
    if let Some(name) = name {
        let start = target.map(|start| repository.resolve(start)).transpose()?;
        return Ok(SwitchTo::New { name: name.clone(), start, force });
    }
    let Some(target) = target else {
        return Err(CliError::usage("name a branch").into());
    };
    if args.detach {
        return Ok(SwitchTo::Commit(repository.resolve(target)?));
    }
    Ok(switches_ago(target).map_or_else(|| SwitchTo::Branch(target.to_owned()), SwitchTo::Previous))
}

fn tell(
    report: &SwitchReport,
    is_new: bool,
    dry_run: bool,
    repository: &Repository,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let ui = context.ui;
    if dry_run {
        let MoveReport { written, removed, bytes, .. } = report.moved;
        ui.line(format!(
            "would write {} ({}) and remove {}",
            format::counted(written, "file"),
            format::bytes(bytes),
            format::counted(removed, "file")
        ))?;
        for (path, obstacle) in &report.obstacles.listed {
            ui.line(format!("in the way: {path} ({obstacle})"))?;
        }
        if report.obstacles.more > 0 {
            ui.line(format!("and {} more", report.obstacles.more))?;
        }
        return Ok(());
    }
    warn_of_skipped(&report.moved.skipped, ui);
    match &report.to {
        Head::Branch(name) if report.from == report.to => {
            ui.message(format!("Already on '{}'", escape(name.as_bytes())));
        }
        Head::Branch(name) if is_new => {
            ui.message(format!("Switched to a new branch '{}'", escape(name.as_bytes())));
        }
        Head::Branch(name) => {
            ui.message(format!("Switched to branch '{}'", escape(name.as_bytes())));
        }
        Head::Detached(commit) => {
            let message =
                repository.objects()?.commit(commit).map_err(crate::repo::RepoError::from)?.message;
            let title = message.lines().next().unwrap_or_default();
            ui.message(format!("HEAD is now at {} {}", commit.short(), escape(title.as_bytes())));
        }
    }
    Ok(())
}

fn head_json(head: &Head) -> Value {
    match head {
        Head::Branch(name) => json!({ "branch": name }),
        Head::Detached(commit) => json!({ "detached_at": commit.to_string() }),
    }
}

/// What a move of the work tree did, for JSON.
pub(super) fn move_json(moved: &MoveReport) -> Value {
    json!({
        "written": moved.written,
        "bytes": moved.bytes,
        "removed": moved.removed,
        "skipped": refused_json(&moved.skipped),
    })
}

fn to_json(report: &SwitchReport, dry_run: bool) -> Value {
    json!({
        "schema_version": 1,
        "from": head_json(&report.from),
        "to": head_json(&report.to),
        "id": report.commit.map(|commit| commit.to_string()),
        "work_tree": move_json(&report.moved),
        "obstacles": refused_json(&report.obstacles.listed),
        "dry_run": dry_run,
    })
}
