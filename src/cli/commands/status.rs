//! `digstore status`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::merge::{conflict_json, letters};
use super::path_json;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::path::{RepoPath, escape};
use crate::repo::diff_trees::{Change, ChangeKind};
use crate::repo::status::{StatusOptions, StatusReport, Untracked};
use crate::repo::walk::IgnoredEntries;
use crate::storage::format::merge_state::MergeKind;
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
    /// Which untracked files are shown: no, normal (directories of them as one), all.
    #[arg(short = 'u', long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "all", default_value = "normal", value_parser = parse_untracked)]
    untracked_files: Untracked,
    /// Also show ignored files: traditional (directories of them as one, but with -u each file),
    /// matching (what a pattern names, as one), no.
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "traditional", value_enum)]
    ignored: Option<IgnoredMode>,
    /// Show a moved file as a deleted and an added one.
    #[arg(long)]
    no_renames: bool,
}

/// How ignored files are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IgnoredMode {
    /// As untracked ones are.
    Traditional,
    /// What a pattern names, a directory as one.
    Matching,
    /// Not at all.
    No,
}

impl StatusArgs {
    /// As in git, files that are not tracked are not looked for with `-uno`, ignored or not.
    fn ignored(&self) -> IgnoredEntries {
        match self.ignored.filter(|_| self.untracked_files != Untracked::No) {
            None | Some(IgnoredMode::No) => IgnoredEntries::Hide,
            Some(IgnoredMode::Traditional) if self.untracked_files == Untracked::All => {
                IgnoredEntries::Enter
            }
            Some(IgnoredMode::Traditional | IgnoredMode::Matching) => IgnoredEntries::Name,
        }
    }
}

pub(crate) fn run(args: &StatusArgs, context: &Context<'_>) -> CommandResult {
    let repository =
        context.open_with(std::sync::Arc::new(crate::progress::NullMonitor::default()))?;
    let pathspec = context.pathspec(&repository, &args.paths)?;
    let options = StatusOptions {
        pathspec: &pathspec,
        untracked: args.untracked_files,
        ignored: args.ignored(),
        renames: !args.no_renames,
    };
    let report = repository.status_with(&options)?;
    for (path, why) in &report.skipped {
        context.ui.warn(format!("cannot look at '{path}': {why}"));
    }
    if context.ui.is_json() {
        let mut document = to_json(&report);
        if options.ignored != IgnoredEntries::Hide {
            document["ignored"] = paths_json(&report.ignored);
        }
        context.ui.document(&document)?;
    } else if args.short || args.porcelain.is_some() || args.zero {
        for Row { letters, path, from } in rows(&report) {
            if args.zero {
                let mut record = [letters.as_bytes(), b" ", path, b"\0"].concat();
                if let Some(from) = from {
                    record.extend_from_slice(from.as_bytes());
                    record.push(0);
                }
                context.ui.out().write_all(&record)?;
            } else {
                let from = from.map(|from| format!("{from} -> ")).unwrap_or_default();
                context.ui.line(format!("{letters} {from}{}", escape(path)))?;
            }
        }
    } else {
        long(&report, context)?;
    }
    Ok(if report.skipped.is_empty() { ExitCode::Success } else { ExitCode::Partial })
}

/// One line of the short form.
struct Row<'a> {
    letters: String,
    path: &'a [u8],
    /// Where a moved file was.
    from: Option<&'a RepoPath>,
}

fn parse_untracked(text: &str) -> Result<Untracked, String> {
    match text {
        "no" => Ok(Untracked::No),
        "normal" => Ok(Untracked::Normal),
        "all" => Ok(Untracked::All),
        _ => Err("'no', 'normal' or 'all' is expected".to_owned()),
    }
}

/// What is staged, a move as the new path alone.
fn staged(report: &StatusReport) -> impl Iterator<Item = (&Change, Option<&RepoPath>)> {
    let origins: HashMap<&RepoPath, &RepoPath> =
        report.moves.iter().map(|one| (&one.to, &one.from)).collect();
    let gone: HashSet<&RepoPath> = report.moves.iter().map(|one| &one.from).collect();
    let is_told =
        move |change: &&Change| change.kind != ChangeKind::Deleted || !gone.contains(&change.path);
    let told = report.staged.iter().filter(is_told);
    told.map(move |change| (change, origins.get(&change.path).copied()))
}

/// git's two letters for each path, in path order, untracked and ignored ones last.
fn rows(report: &StatusReport) -> impl Iterator<Item = Row<'_>> {
    let mut staged = staged(report).peekable();
    let mut unstaged = report.unstaged.iter().peekable();
    let mut unmerged = report.unmerged().peekable();
    let tracked = std::iter::from_fn(move || {
        let next = [staged.peek().map(|(change, _)| *change), unstaged.peek().copied()];
        let conflict = unmerged.peek().map(|conflict| &conflict.path);
        let path = next.into_iter().flatten().map(|one| &one.path).chain(conflict).min()?;
        let x = staged.next_if(|(change, _)| change.path == *path);
        let y = unstaged.next_if(|change| change.path == *path);
        let from = x.and_then(|(_, from)| from);
        let letter = |change: Option<&Change>| change.map_or(' ', |one| one.kind.letter());
        let x = if from.is_some() { 'R' } else { letter(x.map(|(change, _)| change)) };
        let shown = match unmerged.next_if(|conflict| conflict.path == *path) {
            Some(conflict) => letters(conflict).to_owned(),
            None => format!("{x}{}", letter(y)),
        };
        Some(Row { letters: shown, path: path.as_bytes(), from })
    });
    let untracked = report.untracked.iter().map(|path| ("??", path));
    let others = untracked.chain(report.ignored.iter().map(|path| ("!!", path)));
    tracked.chain(others.map(|(letters, path)| Row {
        letters: letters.to_owned(),
        path,
        from: None,
    }))
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
    sparse(report, context)?;
    section(
        context,
        "Changes to be committed:",
        "(use \"digstore restore --staged PATH\" to unstage)",
        staged(report),
    )?;
    section(
        context,
        "Changes not staged for commit:",
        "(use \"digstore add PATH\" to stage, \"digstore restore PATH\" to discard)",
        report.unstaged.iter().map(|change| (change, None)),
    )?;
    for (title, flag, paths) in
        [("Untracked", "", &report.untracked), ("Ignored", "-f ", &report.ignored)]
    {
        if !paths.is_empty() {
            ui.line(format!("\n{title} files:\n  (use \"digstore add {flag}PATH\" to include them in what will be committed)"))?;
        }
        paths.iter().try_for_each(|path| ui.line(format!("\t{}", escape(path))))?;
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
    if state.kind == MergeKind::Stash {
        ui.line("\nA stash was brought back with conflicts.")?;
        return unmerged(report, context);
    }
    if state.is_between() {
        let left = format::counted(state.todo.len() as u64, "commit");
        ui.line(format!("\nA {name} has stopped with {left} left."))?;
        ui.line(format!("  (use \"digstore {name} --continue\" or \"digstore {name} --abort\")"))?;
        return Ok(());
    }
    ui.line(format!("\nA {name} waits to be finished."))?;
    if report.unmerged().next().is_none() {
        ui.line(format!("  (all conflicts are resolved: use \"digstore {name} --continue\")"))?;
        return Ok(());
    }
    ui.line(format!("  (use \"digstore {name} --abort\" to go back)"))?;
    unmerged(report, context)
}

/// Conflicts that are not resolved yet.
fn unmerged(report: &StatusReport, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    ui.line("\nUnmerged paths:\n  (edit and use \"digstore add PATH\"; or \"digstore restore --theirs PATH\" first)")?;
    for conflict in report.unmerged() {
        ui.line(format!("\t{}  {}", letters(conflict), conflict.path))?;
    }
    Ok(())
}

/// How much of it the work tree holds.
fn sparse(report: &StatusReport, context: &Context<'_>) -> anyhow::Result<()> {
    let Some(sparse) = report.sparse else { return Ok(()) };
    let share = sparse.present.filter(|_| sparse.tracked > 0).map_or_else(String::new, |present| {
        let percent = present as f64 * 100.0 / sparse.tracked as f64;
        let tracked = format::counted(sparse.tracked, "tracked path");
        let present = format::count(present);
        format!(": it holds {present} of {tracked} ({percent:.1} %)")
    });
    context.ui.line(format!("\nThe work tree is sparse{share}."))?;
    if sparse.is_unfinished {
        context.ui.line("  (a change of what it holds was interrupted: use \"digstore sparse reapply\" to finish it)")?;
    }
    Ok(())
}

fn section<'a>(
    context: &Context<'_>,
    title: &str,
    hint: &str,
    changes: impl Iterator<Item = (&'a Change, Option<&'a RepoPath>)>,
) -> anyhow::Result<()> {
    let mut is_begun = false;
    for (change, from) in changes {
        if !std::mem::replace(&mut is_begun, true) {
            context.ui.line(format!("\n{title}\n  {hint}"))?;
        }
        if let Some(from) = from {
            context.ui.line(format!("\trenamed:    {from} -> {}", change.path))?;
            continue;
        }
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
    let moves: Vec<Value> = report
        .moves
        .iter()
        .map(|one| {
            json!({
                "from": path_json(one.from.as_bytes()),
                "to": path_json(one.to.as_bytes()),
                "similarity": one.similarity,
            })
        })
        .collect();
    json!({
        "schema_version": 1,
        "branch": branch,
        "detached_at": detached,
        "has_commit": report.has_commit,
        "staged": changes(&report.staged),
        "moves": moves,
        "unstaged": changes(&report.unstaged),
        "merging": report.merging.as_ref().map(|state| json!({
            "kind": state.kind.name(),
            "others": state.others.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "conflicts": state.conflicts.iter().map(conflict_json).collect::<Vec<_>>(),
        })),
        "sparse": report.sparse.map(|sparse| json!({
            "tracked": sparse.tracked,
            "present": sparse.present,
            "unfinished": sparse.is_unfinished,
        })),
        "untracked": paths_json(&report.untracked),
    })
}

fn paths_json(paths: &[Vec<u8>]) -> Value {
    paths.iter().map(|path| path_json(path)).collect()
}
