//! `digstore ls`.

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{JsonList, path_json};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::path::escape;
use crate::repo::RepoError;
use crate::repo::diff_trees::CommittedEntry;
use crate::repo::restore::RestoreOptions;
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::Content;

/// List the files of the staging area, or of a commit.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Files, directories and quoted globs; the current directory when left out.
    #[arg(value_name = "PATHSPEC")]
    paths: Vec<OsString>,
    /// List a commit instead.
    #[arg(short, long, value_name = "REVISION")]
    source: Option<String>,
    /// Kind, size and content too.
    #[arg(short, long)]
    long: bool,
    /// End each path with NUL and escape nothing.
    #[arg(short)]
    zero: bool,
}

pub(crate) fn run(args: &LsArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let mut typed = args.paths.clone();
    if typed.is_empty() && !context.cwd.starts_with(&repository.place().repository) {
        typed.push(".".into());
    }
    let paths = context.pathspec_here(&repository, &typed)?;
    let source = args.source.as_deref().map(|revision| repository.resolve(revision)).transpose()?;
    let options = RestoreOptions { paths, source, target: None };
    let mut list = JsonList::new(context.ui, "entries");
    repository.for_each_entry(&options, |entry| {
        if context.ui.is_json() {
            return list.push(&to_json(&entry)).map_err(RepoError::Output);
        }
        if entry.kind == StagedKind::EmptyDir && !args.long {
            return Ok(());
        }
        let written = if args.zero {
            context.ui.out().write_all(&[entry.path.as_bytes(), b"\0"].concat())
        } else if args.long {
            context.ui.line(long(&entry))
        } else {
            context.ui.line(escape(entry.path.as_bytes()))
        };
        written.map_err(RepoError::Output)
    })?;
    if context.ui.is_json() {
        list.finish()?;
    }
    Ok(ExitCode::Success)
}

fn letter(kind: &StagedKind) -> char {
    match kind {
        StagedKind::File { executable: true, .. } => 'x',
        StagedKind::File { .. } => 'f',
        StagedKind::Symlink { .. } => 'l',
        StagedKind::EmptyDir => 'd',
    }
}

fn content_id(kind: &StagedKind) -> Option<String> {
    match kind {
        StagedKind::File { content: Content::Chunk(id), .. } => Some(id.to_string()),
        StagedKind::File { content: Content::List(id), .. } => Some(id.to_string()),
        _ => None,
    }
}

fn long(entry: &CommittedEntry) -> String {
    let id = content_id(&entry.kind).map_or_else(|| "-".repeat(10), |id| id[..10].to_owned());
    let mut text = format!("{} {id} {:>14} {}", letter(&entry.kind), entry.size, entry.path);
    if let StagedKind::Symlink { target } = &entry.kind {
        text.push_str(&format!(" -> {}", escape(target)));
    }
    text
}

fn to_json(entry: &CommittedEntry) -> Value {
    let mut value = path_json(entry.path.as_bytes());
    value["kind"] = json!(match entry.kind {
        StagedKind::File { .. } => "file",
        StagedKind::Symlink { .. } => "symlink",
        StagedKind::EmptyDir => "directory",
    });
    if let StagedKind::File { executable, .. } = entry.kind {
        value["executable"] = json!(executable);
        value["size"] = json!(entry.size);
        value["id"] = json!(content_id(&entry.kind));
    }
    if let StagedKind::Symlink { target } = &entry.kind {
        value["target"] = json!(String::from_utf8_lossy(target));
    }
    value
}
