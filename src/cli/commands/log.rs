//! `digstore log`.

use std::ffi::OsString;

use anyhow::Context as _;
use clap::Args;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::JsonList;
use crate::cli::CommandResult;
use crate::cli::changes::{FormatArgs, Printer};
use crate::cli::commits::{CommitFormat, Names, endpoints, to_json};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::revisions::{RevisionArg, Selection, select};
use crate::cli::ui::graph::{Graph, Rows};
use crate::date::parse_date;
use crate::repo::diff::{DiffSpec, Differ};
use crate::repo::history::{Follow, HistoryEntry, HistorySpec, Order};
use crate::repo::path_filter::PathFilter;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::{Commit, Signature};

/// Show commits, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore log --oneline --graph --all   all branches, with their lines
  digstore log main..topic               what topic has and main has not
  digstore log --since '2 weeks ago' --author ada
  digstore log --stat -- src             commits that changed src, in numbers
  digstore log --follow -p -- model.bin  one file, under all its names
  digstore log --format '%h %an %s'")]
pub struct LogArgs {
    /// Where to begin (HEAD when left out), A..B, A...B, ^A; then paths.
    #[arg(value_name = "REVISION|PATH")]
    args: Vec<OsString>,
    /// Only commits that changed these files or directories.
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Follow the one file that is named through its renames.
    #[arg(long)]
    follow: bool,
    /// One line for each commit.
    #[arg(long, conflicts_with = "format")]
    oneline: bool,
    /// How each commit is shown: oneline, medium, or a text with git's placeholders, such as %h,
    /// %H, %s, %b, %an, %ae, %ad, %D, %P, %T, %n.
    #[arg(long, alias = "pretty", value_name = "FORMAT", value_parser = CommitFormat::parse)]
    format: Option<CommitFormat>,
    /// Draw the lines of history beside the commits.
    #[arg(long, conflicts_with = "reverse")]
    graph: bool,
    /// At most this many.
    #[arg(short = 'n', long, value_name = "COUNT")]
    max_count: Option<usize>,
    /// Leave out this many first.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    skip: usize,
    /// The oldest of them first.
    #[arg(long)]
    reverse: bool,
    /// From all branches and tags, and HEAD.
    #[arg(long)]
    all: bool,
    /// From all branches.
    #[arg(long)]
    branches: bool,
    /// From all tags.
    #[arg(long)]
    tags: bool,
    /// Only merges.
    #[arg(long, conflicts_with = "no_merges")]
    merges: bool,
    /// No merges.
    #[arg(long)]
    no_merges: bool,
    /// Follow only the first parent of merges.
    #[arg(long)]
    first_parent: bool,
    /// A commit before its parents, whatever the clocks say; lines of history are kept together.
    #[arg(long)]
    topo_order: bool,
    /// A commit before its parents; else the newest first.
    #[arg(long, conflicts_with = "topo_order")]
    date_order: bool,
    /// Recorded after this time: '2026-01-31', '2 weeks ago', 'yesterday'.
    #[arg(long, visible_alias = "after", value_name = "TIME")]
    since: Option<String>,
    /// Recorded before this time.
    #[arg(long, visible_alias = "before", value_name = "TIME")]
    until: Option<String>,
    /// Whose author matches this regular expression.
    #[arg(long, value_name = "PATTERN")]
    author: Option<String>,
    /// Whose message has a line that matches this regular expression.
    #[arg(long, value_name = "PATTERN")]
    grep: Vec<String>,
    /// Patterns match whatever the case of letters.
    #[arg(short = 'i', long)]
    regexp_ignore_case: bool,
    /// Do not show branches and tags beside the commits.
    #[arg(long)]
    no_decorate: bool,
    /// Show branches and tags beside the commits; so it is without this option.
    #[arg(long, conflicts_with = "no_decorate")]
    decorate: bool,
    #[command(flatten)]
    changes: FormatArgs,
}

pub(crate) fn run(args: &LogArgs, context: &Context<'_>) -> CommandResult {
    let repository =
        context.open_with(std::sync::Arc::new(crate::progress::NullMonitor::default()))?;
    let selection = select(context, &repository, &args.args, &args.paths)?;
    let spec = spec(args, &repository, &selection)?;
    let wanted = Wanted::new(args)?;
    let differ = repository.differ()?;
    let mut follow = follow(args, &selection.paths)?;
    let filter = |commit: &Commit| wanted.has(commit);
    let filter: Option<&dyn Fn(&Commit) -> bool> =
        if wanted.is_everything() || follow.is_some() { None } else { Some(&filter) };
    let history = repository.history_of(&spec, filter)?;
    context.ui.page();
    let mut show = Show::new(args, context, &repository, &differ, selection.paths)?;
    let mut skip = args.skip;
    let mut left = args.max_count.unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    for entry in history {
        if left == 0 {
            break;
        }
        let entry = entry?;
        if let Some(follow) = &mut follow {
            let changed = follow.changes(&differ, &entry)?;
            if !changed || !wanted.has(&entry.commit) {
                continue;
            }
            show.filter = follow.filter();
        }
        if skip > 0 {
            skip -= 1;
            // The lines of a graph go on all the same.
            show.pass(&entry);
            continue;
        }
        left -= 1;
        if args.reverse {
            kept.push((entry.id, entry.parents, show.filter.clone()));
        } else {
            show.entry(&entry)?;
        }
    }
    for (id, parents, filter) in kept.into_iter().rev() {
        let commit = repository.objects()?.commit(&id).map_err(RepoError::from)?;
        show.filter = filter;
        show.entry(&HistoryEntry { id, commit, parents })?;
    }
    show.finish()?;
    Ok(ExitCode::Success)
}

fn follow(args: &LogArgs, paths: &PathFilter) -> anyhow::Result<Option<Follow>> {
    if !args.follow {
        return Ok(None);
    }
    match paths.roots().as_deref() {
        Some([path]) if !path.is_root() => Ok(Some(Follow::new(path.clone()))),
        _ => Err(CliError::usage("--follow needs exactly one path")
            .with_hint("digstore log --follow -- PATH")
            .into()),
    }
}

/// Where the history begins and what it leaves out.
fn spec(
    args: &LogArgs,
    repository: &Repository,
    selection: &Selection,
) -> anyhow::Result<HistorySpec> {
    let mut spec = HistorySpec { first_parent: args.first_parent, ..HistorySpec::default() };
    for revision in &selection.revisions {
        match *revision {
            RevisionArg::One(id) => spec.include.push(id),
            RevisionArg::Not(id) => spec.exclude.push(id),
            RevisionArg::Range(from, to) => {
                spec.exclude.push(from);
                spec.include.push(to);
            }
            RevisionArg::Either(a, b) => {
                spec.include.extend([a, b]);
                spec.exclude.extend(repository.merge_bases(a, b)?);
            }
        }
    }
    let refs = repository.refs();
    for (is_wanted, space) in [(args.all, ""), (args.branches, "heads"), (args.tags, "tags")] {
        if is_wanted {
            let listed = refs.list(space).map_err(RepoError::from)?;
            spec.include.extend(listed.into_iter().map(|(_, record)| record.new.commit));
        }
    }
    if args.all {
        spec.include.extend(refs.head_commit().map_err(RepoError::from)?);
    }
    if spec.include.is_empty() && !(args.all || args.branches || args.tags) {
        spec.include.push(repository.resolve("HEAD")?);
    }
    spec.since = args.since.as_deref().map(|text| seconds(text, "--since")).transpose()?;
    if !args.follow {
        spec.paths = selection.paths.clone();
    }
    spec.order = match (args.topo_order || args.graph, args.date_order) {
        (_, true) => Order::TopologicalByTime,
        (true, false) => Order::Topological,
        (false, false) => Order::Time,
    };
    Ok(spec)
}

fn seconds(text: &str, option: &str) -> anyhow::Result<i64> {
    let date = parse_date(text).map_err(|error| {
        CliError::usage(format!("{option} cannot be '{}'", crate::path::escape(text.as_bytes())))
            .with_cause(error)
            .with_hint("for instance '2026-01-31', '2026-01-31 10:00', '2 weeks ago', 'yesterday'")
    })?;
    Ok(date.seconds)
}

/// What a commit has to be like.
struct Wanted {
    until: Option<i64>,
    author: Option<Regex>,
    grep: Vec<Regex>,
    /// Whether merges are wanted, or all others.
    merges: Option<bool>,
}

impl Wanted {
    fn new(args: &LogArgs) -> anyhow::Result<Self> {
        let pattern = |text: &String| {
            RegexBuilder::new(text)
                .case_insensitive(args.regexp_ignore_case)
                .multi_line(true)
                .build()
                .with_context(|| format!("'{text}' is no regular expression"))
        };
        let merges = match (args.merges, args.no_merges) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        Ok(Self {
            until: args.until.as_deref().map(|text| seconds(text, "--until")).transpose()?,
            author: args.author.as_ref().map(pattern).transpose()?,
            grep: args.grep.iter().map(pattern).collect::<anyhow::Result<_>>()?,
            merges,
        })
    }

    fn is_everything(&self) -> bool {
        self.until.is_none()
            && self.author.is_none()
            && self.grep.is_empty()
            && self.merges.is_none()
    }

    fn has(&self, commit: &Commit) -> bool {
        let Signature { name, email, .. } = &commit.author;
        self.until.is_none_or(|until| commit.committer.seconds <= until)
            && self.merges.is_none_or(|merges| (commit.parents.len() > 1) == merges)
            && self.author.as_ref().is_none_or(|it| it.is_match(&format!("{name} <{email}>")))
            && (self.grep.is_empty() || self.grep.iter().any(|it| it.is_match(&commit.message)))
    }
}

/// Shows one commit after another.
struct Show<'a> {
    context: &'a Context<'a>,
    repository: &'a Repository,
    args: &'a LogArgs,
    names: Names,
    format: CommitFormat,
    printer: Printer<'a>,
    graph: Option<Graph>,
    json: Option<JsonList<'a>>,
    /// The paths whose changes are shown.
    filter: PathFilter,
    is_begun: bool,
}

impl<'a> Show<'a> {
    fn new(
        args: &'a LogArgs,
        context: &'a Context<'a>,
        repository: &'a Repository,
        differ: &'a Differ<'a>,
        filter: PathFilter,
    ) -> anyhow::Result<Self> {
        let names = if args.no_decorate { Names::default() } else { Names::of(repository)? };
        let format = match &args.format {
            Some(format) => format.clone(),
            None if args.oneline => CommitFormat::Oneline,
            None => CommitFormat::Medium,
        };
        let json = context.ui.is_json().then(|| JsonList::new(context.ui, "commits"));
        Ok(Self {
            context,
            repository,
            args,
            names,
            format,
            printer: Printer::new(context, differ, &args.changes, None),
            graph: args.graph.then(Graph::default),
            json,
            filter,
            is_begun: false,
        })
    }

    /// A commit that is left out.
    fn pass(&mut self, entry: &HistoryEntry) {
        if let Some(graph) = &mut self.graph {
            graph.next(entry.id, &entry.parents);
        }
    }

    fn entry(&mut self, entry: &HistoryEntry) -> anyhow::Result<()> {
        if self.json.is_some() {
            return self.entry_json(entry);
        }
        let ui = self.context.ui;
        let mut lines = self.format.lines(ui, &self.names, &entry.id, &entry.commit);
        let is_medium = self.format == CommitFormat::Medium;
        let is_merge = entry.commit.parents.len() > 1 && !self.args.first_parent;
        let has_changes = !self.printer.is_idle() && !is_merge;
        if is_medium && (self.graph.is_some() || has_changes) {
            lines.push(String::new());
        }
        if is_medium && self.graph.is_none() && std::mem::replace(&mut self.is_begun, true) {
            ui.line("")?;
        }
        match self.graph.as_mut().map(|graph| graph.next(entry.id, &entry.parents)) {
            None => lines.iter().try_for_each(|line| ui.line(line))?,
            Some(rows) => {
                self.beside(&rows, &lines)?;
                self.printer.set_prefix(rows.idle);
            }
        }
        if has_changes && let Some(spec) = self.spec(entry)? {
            self.printer.show(&spec)?;
        }
        Ok(())
    }

    /// Prints the lines beside the rows of the graph.
    fn beside(&self, rows: &Rows, lines: &[String]) -> anyhow::Result<()> {
        let ui = self.context.ui;
        rows.before.iter().try_for_each(|row| ui.line(row.trim_end()))?;
        let mut lines = lines.iter();
        let first = lines.next().map(String::as_str).unwrap_or_default();
        ui.line(format!("{}{first}", rows.node).trim_end())?;
        let mut after = rows.after.iter();
        for line in lines {
            let row = after.next().unwrap_or(&rows.idle);
            ui.line(format!("{row}{line}").trim_end())?;
        }
        Ok(after.try_for_each(|row| ui.line(row.trim_end()))?)
    }

    /// What is compared to show the changes of a commit; `None` for merges, unless only the first
    /// parent counts.
    fn spec(&self, entry: &HistoryEntry) -> anyhow::Result<Option<DiffSpec<'_>>> {
        if entry.commit.parents.len() > 1 && !self.args.first_parent {
            return Ok(None);
        }
        let (old, new) = endpoints(self.repository, &entry.commit)?;
        let renames = self.args.changes.renames();
        Ok(Some(DiffSpec { old, new, paths: &self.filter, renames }))
    }

    fn entry_json(&mut self, entry: &HistoryEntry) -> anyhow::Result<()> {
        let mut value = to_json(&entry.id, &entry.commit);
        if !self.printer.is_idle()
            && let Some(spec) = self.spec(entry)?
        {
            let mut changes = Vec::new();
            self.printer.for_each_json(&spec, |change| {
                changes.push(change);
                Ok(())
            })?;
            value["changes"] = Value::Array(changes);
        }
        if let Some(list) = &mut self.json {
            list.push(&value)?;
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self.json {
            Some(list) => Ok(list.finish()?),
            None => Ok(()),
        }
    }
}
