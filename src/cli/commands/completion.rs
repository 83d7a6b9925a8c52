//! `digstore completion` and `digstore man`: what a shell and a manual need.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::cli::CommandResult;
use crate::cli::args::Cli;
use crate::cli::commands::config::draft_name;
use crate::cli::completion::{Shell, script};
use crate::cli::context::Context;
use crate::cli::exit_code::ExitCode;
use crate::repo::RepoError;
use crate::storage::disk::rewrite;

/// Largest file that a page replaces, in bytes.
const MAX_PAGE: u64 = 1 << 20;

/// Print the script that makes a shell complete commands, flags, refs and paths.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(digstore completion bash)                                  in ~/.bashrc
  source <(digstore completion zsh)                                   in ~/.zshrc, after compinit
  digstore completion fish > ~/.config/fish/completions/digstore.fish
  digstore completion powershell | Out-String | Invoke-Expression     in $PROFILE
  eval (digstore completion elvish | slurp)                           in ~/.elvish/rc.elv")]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  digstore man | man -l -                     read the page of digstore
  digstore man ~/.local/share/man/man1        one page for each command: man digstore-add")]
pub struct ManArgs {
    /// Write one page for each command into this directory; without it, print the first.
    #[arg(id = "pages", value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn completion(args: &CompletionArgs, context: &Context<'_>) -> CommandResult {
    let script = script(args.shell).context("cannot make the script")?;
    print("script", &script, context)?;
    Ok(ExitCode::Success)
}

pub(crate) fn man(args: &ManArgs, context: &Context<'_>) -> CommandResult {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    match &args.directory {
        Some(directory) => {
            let mut pages = Vec::new();
            write_pages(&command, &context.cwd.join(directory), &mut pages)?;
            if context.ui.is_json() {
                let pages = json!({ "schema_version": 1, "pages": pages });
                context.ui.document(&pages).map_err(RepoError::Output)?;
            }
        }
        None => print("page", &page(&command)?, context)?,
    }
    Ok(ExitCode::Success)
}

/// A text as it is, or as the member `name` of a document.
fn print(name: &str, text: &[u8], context: &Context<'_>) -> Result<(), RepoError> {
    if context.ui.is_json() {
        let document = json!({ "schema_version": 1, name: String::from_utf8_lossy(text) });
        return context.ui.document(&document).map_err(RepoError::Output);
    }
    context.ui.out().write_all(text).map_err(RepoError::Output)
}

/// The page of one command, as roff.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).manual("Digstore").render(&mut page).context("cannot make a page")?;
    Ok(page)
}

/// The page of a command and those of all commands below it.
fn write_pages(
    command: &Command,
    directory: &Path,
    written: &mut Vec<String>,
) -> anyhow::Result<()> {
    let name = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
    let (path, page) = (directory.join(&name), page(command)?);
    rewrite(&path, MAX_PAGE, &draft_name()?, |old| {
        Ok::<_, RepoError>((old != page).then_some(page))
    })?;
    written.push(name);
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| write_pages(below, directory, written))
}
