//! `digstore tag`.

use clap::Args;
use serde_json::{Value, json};

use super::time_text;
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::cli::message::{MessageArgs, signature};
use crate::path::escape;
use crate::repo::Repository;
use crate::repo::tags::TagEntry;
use crate::repo::wildmatch::is_match;

/// List, make and delete tags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore tag                              list them
  digstore tag v1.0                         name the current commit
  digstore tag -a v1.0 -m \"first release\"   with who, when and why
  digstore tag -d v1.0                      delete one")]
pub struct TagArgs {
    /// The tag to make, then its revision; with --list, patterns.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List, those that match the patterns.
    #[arg(short, long, conflicts_with_all = ["delete", "annotate"])]
    list: bool,
    /// Keep who made the tag, when and why; -m and -F imply it.
    #[arg(short, long, conflicts_with = "delete")]
    annotate: bool,
    /// Why.
    #[command(flatten)]
    message: MessageArgs,
    /// Delete tags.
    #[arg(short, long)]
    delete: bool,
    /// Replace a tag that is there.
    #[arg(short, long)]
    force: bool,
    /// Print the first line of each annotation, or of the commit's message.
    #[arg(short = 'n')]
    titles: bool,
}

pub(crate) fn run(args: &TagArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    if args.delete {
        return delete(args, &repository, context);
    }
    match args.names.as_slice() {
        [] => list(args, &repository, context),
        _ if args.list => list(args, &repository, context),
        [name] => make(name, "HEAD", args, &repository, context),
        [name, revision] => make(name, revision, args, &repository, context),
        _ => Err(CliError::usage("a tag has one name and one revision").into()),
    }
}

fn make(
    name: &str,
    revision: &str,
    args: &TagArgs,
    repository: &Repository,
    context: &Context<'_>,
) -> CommandResult {
    let target = repository.resolve(revision)?;
    let annotation = if args.annotate || args.message.is_given() {
        let tagger = signature(repository.config(), None)?;
        Some((tagger, args.message.read(repository, "")?))
    } else {
        None
    };
    let tag = repository.create_tag(name, target, annotation, args.force)?;
    if context.ui.is_json() {
        context.ui.document(&json!({ "schema_version": 1, "created": to_json(&tag) }))?;
    }
    Ok(ExitCode::Success)
}

fn delete(args: &TagArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    if args.names.is_empty() {
        return Err(CliError::usage("name the tags to delete").into());
    }
    let deleted = repository.delete_tags(&args.names)?;
    if context.ui.is_json() {
        let one = |(name, commit): &(String, crate::id::CommitId)| json!({ "name": name, "id": commit.to_string() });
        let deleted: Vec<Value> = deleted.iter().map(one).collect();
        context.ui.document(&json!({ "schema_version": 1, "deleted": deleted }))?;
        return Ok(ExitCode::Success);
    }
    for (name, commit) in deleted {
        let name = escape(name.as_bytes());
        context.ui.message(format!("Deleted tag '{name}' (was {}).", commit.short()));
    }
    Ok(ExitCode::Success)
}

fn list(args: &TagArgs, repository: &Repository, context: &Context<'_>) -> CommandResult {
    let is_named = |tag: &TagEntry| {
        args.names.is_empty() || args.names.iter().any(|glob| is_match(glob, &tag.name))
    };
    let tags: Vec<TagEntry> = repository.tags()?.into_iter().filter(is_named).collect();
    if context.ui.is_json() {
        let tags: Vec<Value> = tags.iter().map(to_json).collect();
        context.ui.document(&json!({ "schema_version": 1, "tags": tags }))?;
        return Ok(ExitCode::Success);
    }
    for tag in tags {
        let name = escape(tag.name.as_bytes());
        if !args.titles {
            context.ui.line(name)?;
            continue;
        }
        let message = match &tag.annotation {
            Some((_, annotation)) => annotation.message.clone(),
            None => {
                repository
                    .objects()?
                    .commit(&tag.commit)
                    .map_err(crate::repo::RepoError::from)?
                    .message
            }
        };
        let title = message.lines().next().unwrap_or_default();
        context.ui.line(format!("{name:15} {}", escape(title.as_bytes())))?;
    }
    Ok(ExitCode::Success)
}

pub(super) fn to_json(tag: &TagEntry) -> Value {
    let annotation = tag.annotation.as_ref().map(|(id, annotation)| {
        let tagger = &annotation.tagger;
        json!({
            "id": id.to_string(),
            "tagger": { "name": tagger.name, "email": tagger.email, "time": time_text(tagger) },
            "message": annotation.message,
        })
    });
    json!({ "name": tag.name, "id": tag.commit.to_string(), "annotation": annotation })
}
