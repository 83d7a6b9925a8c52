//! `digstore commit`.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::ui::format;
use crate::config::Config;
use crate::date::parse_date;
use crate::repo::commit::{CommitOptions, CommitReport};
use crate::repo::run_history::Run;
use crate::repo::{RepoError, Repository};
use crate::storage::format::object::{MAX_MESSAGE, Signature};
use crate::storage::format::run_history::RunCommand;

/// Record what is staged. The work tree is not read.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// The message; each further one is a paragraph.
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    message: Vec<String>,
    /// Read the message from a file; '-' is standard input.
    #[arg(short = 'F', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who wrote the change: a name, then an address in angle brackets.
    #[arg(long, value_name = "NAME <ADDRESS>")]
    author: Option<String>,
    /// When it was written: RFC 3339, a date, 'yesterday', or '@' and seconds since 1970.
    #[arg(long, value_name = "TIME")]
    date: Option<String>,
    /// Even if nothing is staged.
    #[arg(long)]
    allow_empty: bool,
}

pub(crate) fn run(args: &CommitArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let committer = signature(repository.config(), args.author.as_deref())?;
    let mut author = committer.clone();
    if let Some(date) = &args.date {
        let date = parse_date(date).context("--date")?;
        (author.seconds, author.offset_minutes) = (date.seconds, date.offset_minutes);
    }
    let committer = match own_identity(repository.config()) {
        Some((name, email)) => Signature { name, email, ..committer },
        None => committer,
    };
    let message = message(args, &repository)?;
    let options = CommitOptions { message, author, committer, allow_empty: args.allow_empty };
    let report = repository.commit(options)?;
    repository.monitor().finish();
    let cache = repository.objects()?.reader().cache_stats();
    let (metrics, plan, wall) = (report.metrics, Some(report.plan), context.ui.elapsed());
    let run = Run { command: RunCommand::Commit, plan, metrics, cache, wall };
    context.note_run(&repository, &run);
    print(&report, context)?;
    Ok(ExitCode::Success)
}

fn print(report: &CommitReport, context: &Context<'_>) -> anyhow::Result<()> {
    if context.ui.is_json() {
        return Ok(context.ui.document(&json!({
            "message_type": "summary",
            "schema_version": 1,
            "id": report.id.to_string(),
            "tree": report.commit.tree.to_string(),
            "parents": report.commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "branch": report.branch,
            "files": report.commit.files,
            "bytes": report.commit.bytes,
            "metrics": report.metrics,
        }))?);
    }
    context.ui.line(format!("committed {}", report.id))?;
    let place = report.branch.as_deref().unwrap_or("detached HEAD");
    let files = format::counted(report.commit.files, "file");
    context.ui.message(format!(
        "[{place} {}] {files}, {}",
        report.id.short(),
        format::bytes(report.commit.bytes)
    ));
    Ok(())
}

fn own_identity(config: &Config) -> Option<(String, String)> {
    Some((config.user.name.clone()?, config.user.email.clone()?))
}

/// `--author`, else the settings.
fn signature(config: &Config, author: Option<&str>) -> anyhow::Result<Signature> {
    let (name, email) = match author {
        Some(text) => parse_author(text)
            .ok_or_else(|| anyhow!("--author expects 'Name <address>', not '{text}'"))?,
        None => own_identity(config).ok_or(RepoError::NoIdentity)?,
    };
    let now = jiff::Zoned::now();
    let offset_minutes = (now.offset().seconds() / 60) as i16;
    Ok(Signature { name, email, seconds: now.timestamp().as_second(), offset_minutes })
}

fn parse_author(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.split_once('<')?;
    let email = rest.trim_end().strip_suffix('>')?;
    let name = name.trim();
    let sound = !name.is_empty() && !email.contains(['<', '>']) && !text.contains('\n');
    sound.then(|| (name.to_owned(), email.trim().to_owned()))
}

fn message(args: &CommitArgs, repository: &Repository) -> anyhow::Result<String> {
    if !args.message.is_empty() {
        return Ok(args.message.join("\n\n"));
    }
    match &args.file {
        Some(path) if path == Path::new("-") => read_limited(std::io::stdin(), "standard input"),
        Some(path) => {
            let name = path.display().to_string();
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read '{name}'"))?;
            read_limited(file, &name)
        }
        None => edit(repository),
    }
}

fn read_limited(from: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut limited = from.take(MAX_MESSAGE as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read the message from {name}"))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(RepoError::BadMessage("longer than 1 MiB").into());
    }
    String::from_utf8(bytes).with_context(|| format!("the message from {name} is not UTF-8"))
}

const TEMPLATE: &str = "\n# Write the message of the commit above.\n# Lines that begin with '#' are left out; an empty message ends the commit.\n";

/// Lets the user write the message; the file stays in the repository until the next time.
fn edit(repository: &Repository) -> anyhow::Result<String> {
    let editor = ["DIGSTORE_EDITOR", "VISUAL", "EDITOR"].iter().find_map(std::env::var_os);
    let editor = editor.filter(|editor| !editor.is_empty()).unwrap_or_else(|| OsString::from("vi"));
    let path = repository.write_message_template(TEMPLATE)?;
    // As git does: the shell takes apart what the user set, the path is its argument.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{} \"$@\"", editor.to_string_lossy()))
        .arg("editor")
        .arg(&path)
        .status()
        .with_context(|| format!("cannot start the editor '{}'", editor.to_string_lossy()))?;
    if !status.success() {
        bail!("the editor '{}' failed; give the message with -m", editor.to_string_lossy());
    }
    let file =
        std::fs::File::open(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let text = read_limited(file, &path.display().to_string())?;
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    Ok(kept.join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_a_name_and_an_address() {
        assert_eq!(parse_author("A B <a@b>"), Some(("A B".into(), "a@b".into())));
        for text in ["A B", "<a@b>", "A <a", "A <a> b", "A <a<b>>"] {
            assert_eq!(parse_author(text), None, "{text}");
        }
    }
}
