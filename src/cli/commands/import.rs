//! `digstore import`.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::CommandResult;
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::cli::message::{MessageArgs, signature};
use crate::cli::ui::format;
use crate::path::{RepoPath, escape};
use crate::repo::exchange::{GitImportOptions, GitImportReport, TarImportOptions};

/// Take over what a git repository or an archive holds.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Import all branches and tags of a git repository.
    ///
    /// Authors, committers, times and messages are kept. In a repository without commits the branch
    /// of the source's HEAD is checked out, if the work tree is empty. The same command again takes
    /// over what is new; one that was killed goes on where it was.
    #[command(after_help = "Examples:
  digstore init data && digstore -C data import git ~/src/project
  digstore import git ../project            again, later: only what is new")]
    Git(GitArgs),
    /// Import an archive as one commit.
    ///
    /// In the new commit everything, or the directory named by --prefix, is what the archive says; the
    /// work tree follows. The archive may be compressed with gzip or zstd.
    #[command(after_help = "Examples:
  digstore import tar release-1.2.tar.gz -m \"release 1.2\"
  curl -L https://example.org/data.tar.zst | digstore import tar - --prefix data")]
    Tar(TarArgs),
}

/// Import an archive.
#[derive(Debug, Args)]
pub struct TarArgs {
    /// The archive; '-' is standard input.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The directory that will hold what the archive holds.
    #[arg(long, value_name = "DIR")]
    prefix: Option<OsString>,
    /// Why.
    #[command(flatten)]
    message: MessageArgs,
}

/// Import a git repository.
#[derive(Debug, Args)]
pub struct GitArgs {
    /// The git repository, its work tree or a bare one.
    #[arg(value_name = "REPO")]
    source: PathBuf,
    /// Move branches and tags that are here already and lead elsewhere.
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(command: &ImportCommand, context: &Context<'_>) -> CommandResult {
    match command {
        ImportCommand::Git(args) => git(args, context),
        ImportCommand::Tar(args) => tar(args, context),
    }
}

fn tar(args: &TarArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let name = args.archive.display().to_string();
    let source: Box<dyn Read + Send> = if args.archive.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(context.cwd.join(&args.archive));
        Box::new(file.with_context(|| format!("cannot read '{name}'"))?)
    };
    let prefix = match &args.prefix {
        Some(prefix) => context.repo_path(&repository, prefix)?,
        None => RepoPath::root(),
    };
    let message = args.message.given()?.unwrap_or_else(|| format!("Import {name}"));
    let author = signature(repository.config(), None)?;
    let options = TarImportOptions { source, name, prefix, message, author };
    let report = repository.import_tar(options)?;
    repository.monitor().finish();
    if context.ui.is_json() {
        context.ui.document(&json!({
            "message_type": "summary",
            "schema_version": 1,
            "id": report.id.to_string(),
            "tree": report.commit.tree.to_string(),
            "parents": report.commit.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "branch": report.branch,
            "files": report.commit.files,
            "bytes": report.commit.bytes,
            "files_written": report.written,
            "skipped": report.skipped,
            "seconds": context.ui.elapsed().as_secs_f64(),
            "metrics": report.metrics,
        }))?;
    } else {
        context.ui.line(format!("committed {}", report.id))?;
        context.ui.message(format!(
            "read {}, stored {} in {}; wrote {} into the work tree",
            format::bytes(report.metrics.bytes_processed),
            format::bytes(report.metrics.bytes_stored),
            format::duration(context.ui.elapsed()),
            format::counted(report.written, "file"),
        ));
    }
    Ok(if report.skipped == 0 { ExitCode::Success } else { ExitCode::Partial })
}

fn git(args: &GitArgs, context: &Context<'_>) -> CommandResult {
    let repository = context.open()?;
    let source = context.cwd.join(&args.source);
    let report = repository.import_git(&GitImportOptions { source, force: args.force })?;
    repository.monitor().finish();
    if context.ui.is_json() {
        context.ui.document(&git_json(&report, context))?;
    } else {
        print_git(&report, context)?;
    }
    Ok(if report.skipped == 0 { ExitCode::Success } else { ExitCode::Partial })
}

fn print_git(report: &GitImportReport, context: &Context<'_>) -> anyhow::Result<()> {
    for one in &report.refs {
        context.ui.line(format!("{} {}", one.new, escape(one.name.as_bytes())))?;
    }
    let mut text = format!("imported {}", format::counted(report.commits, "commit"));
    if report.known > 0 {
        text.push_str(&format!(" ({} known)", format::count(report.known)));
    }
    let metrics = &report.metrics;
    text.push_str(&format!(
        ", {}; read {}, stored {} in {}",
        format::counted(report.refs.len() as u64, "ref"),
        format::bytes(metrics.bytes_processed),
        format::bytes(metrics.bytes_stored),
        format::duration(context.ui.elapsed()),
    ));
    context.ui.message(text);
    match (&report.head, report.written) {
        (_, Some(files)) => {
            context.ui.message(format!("checked out {}", format::counted(files, "file")));
        }
        (Some(branch), None) => context.ui.message(format!(
            "the work tree holds files and was left alone: 'digstore restore .' brings those of {}",
            escape(branch.as_bytes())
        )),
        (None, None) => {}
    }
    Ok(())
}

fn git_json(report: &GitImportReport, context: &Context<'_>) -> Value {
    let refs: Vec<Value> = report
        .refs
        .iter()
        .map(|one| {
            let old = one.old.map(|id| id.to_string());
            json!({ "name": one.name, "id": one.new.to_string(), "old": old })
        })
        .collect();
    json!({
        "message_type": "summary",
        "schema_version": 1,
        "commits": report.commits,
        "known": report.known,
        "refs": refs,
        "head": report.head,
        "files_written": report.written,
        "skipped": report.skipped,
        "seconds": context.ui.elapsed().as_secs_f64(),
        "metrics": report.metrics,
    })
}
