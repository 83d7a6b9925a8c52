//! The terminal: parses the command line, runs one command, turns its result into messages and an
//! exit code.

mod advice;
pub mod args;
mod changes;
pub mod commands;
mod commits;
pub mod completion;
mod context;
pub mod error;
pub mod exit_code;
pub mod message;
pub mod pathspec_args;
mod revisions;
pub mod ui;

use std::ffi::OsString;
use std::process;

use clap::Parser;
use clap::error::ErrorKind;

use self::args::{Cli, Command, GlobalArgs};
use self::context::Context;
use self::error::CliError;
use self::exit_code::ExitCode;
use self::ui::{Ui, UiOptions};
use crate::config::{Config, ConfigSources};
use crate::repo::{Place, RepoError};

/// What a command returns.
pub type CommandResult = anyhow::Result<ExitCode>;

/// Runs the command line and returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let is_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if let Some(code) = completion::answer(&args) {
        return code.into();
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, is_json),
    };
    let ui = Ui::new(ui_options(&cli.global), &|name| std::env::var_os(name));
    let result = Context::new(&cli.global, &ui).and_then(|context| dispatch(cli.command, &context));
    let result = result.and_then(|code| {
        // Output that could not be written is an error of the command.
        ui.flush().map_err(RepoError::Output)?;
        Ok(code)
    });
    ui.end_paging();
    let code = result.unwrap_or_else(|error| {
        let error = CliError::from(error);
        error.render(&ui);
        error.code
    });
    code.into()
}

/// The flags; what they leave open the user's settings decide.
fn ui_options(global: &GlobalArgs) -> UiOptions {
    let environment = |name: &str| std::env::var_os(name);
    let work_tree = std::env::current_dir().ok().and_then(|dir| Place::discover(&dir).ok());
    let root = work_tree.as_ref().map(|place| place.work_tree.as_path());
    // A mistake in a settings file is told by the command itself.
    let settings = Config::load(&ConfigSources::new(&environment, root, &[])).unwrap_or_default();
    UiOptions {
        color: global.color.unwrap_or(settings.ui.color),
        progress: global.progress.unwrap_or(settings.ui.progress),
        quiet: global.quiet,
        verbose: global.verbose,
        json: global.json,
        no_pager: global.no_pager,
        pager: settings.ui.pager,
    }
}

/// Help and version go to standard output, everything else is a mistake in usage.
fn usage(error: &clap::Error, is_json: bool) -> process::ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_json && !is_help {
        let options = UiOptions { json: true, ..UiOptions::default() };
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        CliError::usage(message).render(&Ui::new(options, &|_| None));
        return ExitCode::Usage.into();
    }
    // Nowhere is left to report a failure to print the message.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Success.into(),
        _ => ExitCode::Usage.into(),
    }
}

fn dispatch(command: Command, context: &Context<'_>) -> CommandResult {
    match command {
        Command::Init(args) => commands::init::run(&args, context),
        Command::Add(args) => commands::add::run(&args, context),
        Command::Reset(args) => commands::reset::run(&args, context),
        Command::Stash(args) => commands::stash::run(&args, context),
        Command::Undo(args) => commands::undo::undo(&args, context),
        Command::Redo(args) => commands::undo::redo(&args, context),
        Command::Op(command) => commands::op::run(&command, context),
        Command::Merge(args) => commands::merge::run(&args, context),
        Command::CherryPick(args) => commands::pick::cherry_pick(&args, context),
        Command::Revert(args) => commands::pick::revert(&args, context),
        Command::Branch(args) => commands::branch::run(&args, context),
        Command::Switch(args) => commands::switch::run(&args, context),
        Command::Tag(args) => commands::tag::run(&args, context),
        Command::Commit(args) => commands::commit::run(&args, context),
        Command::Status(args) => commands::status::run(&args, context),
        Command::Log(args) => commands::log::run(&args, context),
        Command::Diff(args) => commands::diff::run(&args, context),
        Command::Show(args) => commands::show::run(&args, context),
        Command::MergeBase(args) => commands::merge_base::run(&args, context),
        Command::CheckIgnore(args) => commands::check_ignore::run(&args, context),
        Command::Ls(args) => commands::ls::run(&args, context),
        Command::Get(args) => commands::get::run(&args, context),
        Command::Restore(args) => commands::restore::run(&args, context),
        Command::Clean(args) => commands::clean::run(&args, context),
        Command::Sparse(args) => commands::sparse::run(&args, context),
        Command::Config(command) => commands::config::run(&command, context),
        Command::Completion(args) => commands::completion::completion(&args, context),
        Command::Man(args) => commands::completion::man(&args, context),
        Command::Mv(args) => commands::mv::run(&args, context),
        Command::Rm(args) => commands::rm::run(&args, context),
        Command::Import(command) => commands::import::run(&command, context),
        Command::Export(command) => commands::export::run(&command, context),
        Command::Store(command) => commands::store::run(&command, context),
        Command::Debug(command) => commands::debug::run(&command, context),
    }
}
