//! `digstore log`.

use clap::Args;
use serde_json::{Value, json};

use super::{JsonList, time_text};
use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::id::CommitId;
use crate::path::escape;
use crate::repo::Repository;
use crate::storage::format::object::{Commit, Signature};
use crate::storage::format::refs::Head;

/// Show commits, the newest first.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Where to begin; HEAD when left out.
    revision: Option<String>,
    /// One line for each commit.
    #[arg(long)]
    oneline: bool,
    /// At most this many.
    #[arg(short = 'n', long, value_name = "COUNT")]
    max_count: Option<usize>,
}

pub(crate) fn run(args: &LogArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let start = repository.resolve(args.revision.as_deref().unwrap_or("HEAD"))?;
    let names = names(&repository)?;
    let history = repository.history([start])?;
    let mut list = JsonList::new(context.ui, "commits");
    for entry in history.take(args.max_count.unwrap_or(usize::MAX)) {
        let (id, commit) = entry?;
        if context.ui.is_json() {
            list.push(&to_json(&id, &commit))?;
        } else if args.oneline {
            let title = commit.message.lines().next().unwrap_or_default();
            context.ui.line(format!(
                "{}{} {}",
                id.short(),
                decoration(&names, &id),
                escape(title.as_bytes())
            ))?;
        } else {
            long(context, &names, &id, &commit)?;
        }
    }
    if context.ui.is_json() {
        list.finish()?;
    }
    Ok(ExitCode::Success)
}

/// Branches and tags with the commits they name.
fn names(repository: &Repository) -> anyhow::Result<Vec<(CommitId, String)>> {
    let head = repository.refs().read_head()?;
    let mut names = Vec::new();
    if let Head::Detached(id) = head {
        names.push((id, "HEAD".to_owned()));
    }
    for (name, record) in repository.refs().list("").map_err(crate::repo::RepoError::from)? {
        let short = name.split_once('/').map_or(name.as_str(), |(_, short)| short);
        let is_head =
            matches!(&head, Head::Branch(branch) if *branch == short && name.starts_with("heads/"));
        names.push((
            record.new.commit,
            if is_head { format!("HEAD -> {short}") } else { short.to_owned() },
        ));
    }
    Ok(names)
}

fn decoration(names: &[(CommitId, String)], id: &CommitId) -> String {
    let here: Vec<&str> =
        names.iter().filter(|name| name.0 == *id).map(|name| name.1.as_str()).collect();
    if here.is_empty() { String::new() } else { format!(" ({})", here.join(", ")) }
}

fn long(
    context: &Context<'_>,
    names: &[(CommitId, String)],
    id: &CommitId,
    commit: &Commit,
) -> anyhow::Result<()> {
    let ui = context.ui;
    ui.line(format!("commit {id}{}", decoration(names, id)))?;
    if commit.parents.len() > 1 {
        let parents: Vec<String> = commit.parents.iter().map(CommitId::short).collect();
        ui.line(format!("Merge:  {}", parents.join(" ")))?;
    }
    let Signature { name, email, .. } = &commit.author;
    ui.line(format!("Author: {} <{}>", escape(name.as_bytes()), escape(email.as_bytes())))?;
    ui.line(format!("Date:   {}\n", time_text(&commit.author)))?;
    for line in commit.message.lines() {
        ui.line(format!("    {}", escape(line.as_bytes())))?;
    }
    Ok(ui.line("")?)
}

fn to_json(id: &CommitId, commit: &Commit) -> Value {
    let person = |signature: &Signature| json!({ "name": signature.name, "email": signature.email, "time": time_text(signature) });
    json!({
        "id": id.to_string(),
        "tree": commit.tree.to_string(),
        "parents": commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "author": person(&commit.author),
        "committer": person(&commit.committer),
        "time": time_text(&commit.committer),
        "files": commit.files,
        "bytes": commit.bytes,
        "message": commit.message,
    })
}
