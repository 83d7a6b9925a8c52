//! `digstore show`.

use std::ffi::OsString;

use clap::Args;
use serde_json::{Value, json};

use super::{JsonList, get, path_json, time_text};
use crate::cli::CommandResult;
use crate::cli::changes::{Format, FormatArgs, Printer, quoted};
use crate::cli::commits::{CommitFormat, Names, endpoints, to_json};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::{Style, format};
use crate::id::CommitId;
use crate::path::RepoPath;
use crate::repo::diff::{DiffSpec, Differ, Endpoint};
use crate::repo::path_filter::PathFilter;
use crate::repo::tags::TagEntry;
use crate::repo::trees::{TreeDiff, find};
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::{Commit, EntryKind};

/// Show commits with what they changed, annotated tags, and files of a commit.
///
/// A merge is shown with the paths that differ from what each of its parents holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore show                  the last commit
  digstore show v1.0 --stat      a tag and its commit, in numbers
  digstore show HEAD~2:src       what a directory held
  digstore show main:notes.txt   what a file held")]
pub struct ShowArgs {
    /// Revisions, or REVISION:PATH; HEAD when left out.
    #[arg(value_name = "REVISION")]
    revisions: Vec<String>,
    /// Only the changes of these files or directories.
    #[arg(last = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// How each commit is shown: oneline, medium, or a text with git's placeholders.
    #[arg(long, alias = "pretty", value_name = "FORMAT", value_parser = CommitFormat::parse)]
    format: Option<CommitFormat>,
    /// One line for each commit.
    #[arg(long, conflicts_with = "format")]
    oneline: bool,
    #[command(flatten)]
    changes: FormatArgs,
}

pub(crate) fn run(args: &ShowArgs, context: &Context<'_>) -> CommandResult {
    let repository =
        context.open_with(std::sync::Arc::new(crate::progress::NullMonitor::default()))?;
    let head = ["HEAD".to_owned()];
    let revisions = if args.revisions.is_empty() { &head } else { args.revisions.as_slice() };
    if let [one] = revisions
        && let Some((revision, path)) = one.split_once(':')
        && !revision.is_empty()
    {
        return object(context, &repository, one, revision, path);
    }
    let differ = repository.differ()?;
    let default = Some(Format::Patch);
    context.ui.page();
    let mut show = Show {
        context,
        repository: &repository,
        names: Names::of(&repository)?,
        tags: repository.tags()?,
        format: match &args.format {
            Some(format) => format.clone(),
            None if args.oneline => CommitFormat::Oneline,
            None => CommitFormat::Medium,
        },
        printer: Printer::new(context, &differ, &args.changes, default),
        filter: context.pathspec(&repository, &args.paths)?.into(),
        args,
        differ: &differ,
        json: context.ui.is_json().then(|| JsonList::new(context.ui, "commits")),
    };
    for (at, revision) in revisions.iter().enumerate() {
        if revision.contains(':') {
            return Err(CliError::usage(format!("'{revision}' cannot be shown beside others"))
                .with_hint("show one REVISION:PATH at a time")
                .into());
        }
        if at > 0 && show.json.is_none() && show.format == CommitFormat::Medium {
            context.ui.line("")?;
        }
        show.revision(revision)?;
    }
    if let Some(list) = show.json {
        list.finish()?;
    }
    Ok(ExitCode::Success)
}

struct Show<'a> {
    context: &'a Context<'a>,
    repository: &'a Repository,
    names: Names,
    tags: Vec<TagEntry>,
    format: CommitFormat,
    printer: Printer<'a>,
    filter: PathFilter,
    args: &'a ShowArgs,
    differ: &'a Differ<'a>,
    json: Option<JsonList<'a>>,
}

impl Show<'_> {
    fn revision(&mut self, revision: &str) -> anyhow::Result<()> {
        let id = self.repository.resolve(revision)?;
        let commit = self.repository.objects()?.commit(&id).map_err(RepoError::from)?;
        let is_named =
            |tag: &&TagEntry| tag.name == revision.strip_prefix("tags/").unwrap_or(revision);
        let tag = self.tags.iter().find(is_named).filter(|tag| tag.commit == id).cloned();
        if self.json.is_some() {
            return self.json(&id, &commit, tag.as_ref());
        }
        if let Some(tag) = &tag {
            self.tag(tag)?;
        }
        let ui = self.context.ui;
        let lines = self.format.lines(ui, &self.names, &id, &commit);
        lines.iter().try_for_each(|line| ui.line(line))?;
        if self.printer.is_idle() {
            return Ok(());
        }
        let is_medium = self.format == CommitFormat::Medium;
        if commit.parents.len() > 1 {
            let changed = self.merge(&commit)?;
            if is_medium && !changed.is_empty() {
                ui.line("")?;
            }
            for (letters, path) in changed {
                ui.line(format!("{letters}\t{}", quoted(path.as_bytes())))?;
            }
            return Ok(());
        }
        if is_medium {
            ui.line("")?;
        }
        self.printer.show(&self.spec(endpoints(self.repository, &commit)?))?;
        Ok(())
    }

    fn spec(&self, (old, new): (Endpoint, Endpoint)) -> DiffSpec<'_> {
        DiffSpec { old, new, paths: &self.filter, renames: self.args.changes.renames() }
    }

    fn tag(&self, tag: &TagEntry) -> anyhow::Result<()> {
        let Some((_, annotation)) = &tag.annotation else { return Ok(()) };
        let ui = self.context.ui;
        let name = format!("tag {}", crate::path::escape(tag.name.as_bytes()));
        ui.line(ui.paint(Style::Caution, &name))?;
        let tagger = &annotation.tagger;
        let (name, email) = (format::printable(&tagger.name), format::printable(&tagger.email));
        ui.line(format!("Tagger: {name} <{email}>"))?;
        ui.line(format!("Date:   {}\n", time_text(tagger)))?;
        for line in annotation.message.lines() {
            ui.line(format::printable(line))?;
        }
        Ok(ui.line("")?)
    }

    /// The paths of a merge that differ from each parent, with a letter for each.
    fn merge(&self, commit: &Commit) -> anyhow::Result<Vec<(String, RepoPath)>> {
        let objects = self.differ.objects();
        let mut parents = Vec::with_capacity(commit.parents.len());
        for parent in &commit.parents {
            parents.push(objects.commit(parent).map_err(RepoError::from)?.tree);
        }
        let Some((first, others)) = parents.split_first() else { return Ok(Vec::new()) };
        let enters = |dir: &RepoPath| self.filter.enters(dir);
        let mut changed = Vec::new();
        for change in TreeDiff::new(objects, Some(*first), Some(commit.tree)).entering(enters) {
            let change = change?;
            if !self.filter.wants(&change.path) {
                continue;
            }
            let mut letters = String::from(letter(change.old.as_ref(), change.new.as_ref()));
            for parent in others {
                let old = find(objects, parent, &change.path)?;
                if old == change.new {
                    letters.clear();
                    break;
                }
                letters.push_str(letter(old.as_ref(), change.new.as_ref()));
            }
            if !letters.is_empty() {
                changed.push((letters, change.path));
            }
        }
        Ok(changed)
    }

    fn json(
        &mut self,
        id: &CommitId,
        commit: &Commit,
        tag: Option<&TagEntry>,
    ) -> anyhow::Result<()> {
        let mut value = to_json(id, commit);
        if let Some(tag) = tag {
            value["tag"] = super::tag::to_json(tag);
        }
        let changes = if self.printer.is_idle() { Vec::new() } else { self.changes_json(commit)? };
        value["changes"] = Value::Array(changes);
        if let Some(list) = &mut self.json {
            list.push(&value)?;
        }
        Ok(())
    }

    fn changes_json(&self, commit: &Commit) -> anyhow::Result<Vec<Value>> {
        let mut changes = Vec::new();
        if commit.parents.len() > 1 {
            for (letters, path) in self.merge(commit)? {
                let mut change = path_json(path.as_bytes());
                change["change"] = json!(letters);
                changes.push(change);
            }
            return Ok(changes);
        }
        let spec = self.spec(endpoints(self.repository, commit)?);
        self.printer.for_each_json(&spec, |change| {
            changes.push(change);
            Ok(())
        })?;
        Ok(changes)
    }
}

fn letter(old: Option<&EntryKind>, new: Option<&EntryKind>) -> &'static str {
    match (old, new) {
        (None, _) => "A",
        (_, None) => "D",
        _ => "M",
    }
}

/// A file or a directory of a commit.
fn object(
    context: &Context<'_>,
    repository: &Repository,
    text: &str,
    revision: &str,
    path: &str,
) -> CommandResult {
    let id = repository.resolve(revision)?;
    let tree = repository.objects()?.commit(&id).map_err(RepoError::from)?.tree;
    let path = match path {
        "" => RepoPath::root(),
        path => context.repo_path(repository, path.as_ref())?,
    };
    let dir = if path.is_root() {
        Some(tree)
    } else {
        match find(repository.objects()?, &tree, &path)? {
            Some(EntryKind::Dir { tree, .. }) => Some(tree),
            _ => None,
        }
    };
    let Some(dir) = dir else { return get::print(text, context) };
    if context.ui.is_json() {
        let mut list = JsonList::new(context.ui, "entries");
        for entry in repository.objects()?.tree(&dir) {
            let entry = entry.map_err(RepoError::from)?;
            let mut value = path_json(&entry.name);
            value["kind"] = json!(match entry.kind {
                EntryKind::File { .. } => "file",
                EntryKind::Symlink { .. } => "symlink",
                EntryKind::Dir { .. } => "directory",
            });
            list.push(&value)?;
        }
        list.finish()?;
        return Ok(ExitCode::Success);
    }
    context.ui.line(format!("tree {}\n", crate::path::escape(text.as_bytes())))?;
    for entry in repository.objects()?.tree(&dir) {
        let entry = entry.map_err(RepoError::from)?;
        let slash = if matches!(entry.kind, EntryKind::Dir { .. }) { "/" } else { "" };
        context.ui.line(format!("{}{slash}", quoted(&entry.name)))?;
    }
    Ok(ExitCode::Success)
}
