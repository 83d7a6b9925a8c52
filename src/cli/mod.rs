//! The terminal: parses the command line, runs one command, turns its result into messages and an
//! exit code.

mod advice;
mod alias;
pub mod args;
mod changes;
pub mod commands;
mod commits;
pub mod completion;
mod context;
pub mod error;
pub mod exit_code;
mod hooks;
pub mod message;
mod output;
pub mod pathspec_args;
mod programs;
mod revisions;
mod signals;
pub mod ui;
mod usage;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process;

use clap::{CommandFactory, FromArgMatches};

use self::alias::Line;
use self::args::{Cli, Command, GlobalArgs};
use self::context::Context;
use self::error::CliError;
use self::exit_code::ExitCode;
use self::ui::{Ui, UiOptions, format};
use crate::config::{Config, ConfigSources, When};
use crate::repo::{Place, RepoError};

/// What a command returns.
pub type CommandResult = anyhow::Result<ExitCode>;

/// Runs the command line and returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    raise_open_files();
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = completion::answer(&args) {
        return code.into();
    }
    let typed = args.clone();
    let mut command = Cli::command();
    let line = match alias::expand(args, &command, alias::users_settings) {
        Ok(Line::Words(line, told)) => {
            tell(&told);
            line
        }
        Ok(Line::Told(told)) => return tell(&told).into(),
        Ok(Line::Shell(shell)) => {
            return shell.run().unwrap_or_else(|error| refuse(&error, &typed));
        }
        Err(error) => return refuse(&error, &typed),
    };
    let parsed = command.try_get_matches_from_mut(&line);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, &line, &command),
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

/// Lets the process have as many files open as it may ever have: parts of the index and long footers
/// of packs keep theirs while they are mapped.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where that is refused, the limit is what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
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

/// Prints what was asked about aliases.
fn tell(lines: &[String]) -> ExitCode {
    let ui = Ui::new(UiOptions::default(), &|_| None);
    let printed = lines.iter().try_for_each(|line| ui.line(format::printable(line)));
    // Help follows, whose own printing fails as well.
    if printed.and_then(|()| ui.flush()).is_ok() { ExitCode::Success } else { ExitCode::Failure }
}

/// Help and version go to standard output, everything else is a mistake in usage.
fn not_parsed(
    error: &clap::Error,
    line: &[OsString],
    command: &clap::Command,
) -> process::ExitCode {
    let is_answer = usage::is_answer(error);
    if is_answer || (usage::is_empty_line(error) && !asks_for_json(line)) {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        return match printed {
            // A reader that has seen enough is no failure.
            Err(error) if is_answer && error.kind() != ErrorKind::BrokenPipe => {
                refuse(&anyhow::Error::from(RepoError::Output(error)).into(), line)
            }
            _ if is_answer => ExitCode::Success.into(),
            _ => ExitCode::Usage.into(),
        };
    }
    refuse(&usage::error_of(error, line, command), line)
}

fn asks_for_json(line: &[OsString]) -> bool {
    line.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// Shows the error of a command line that could not be parsed, in the form that it asks for.
fn refuse(error: &CliError, line: &[OsString]) -> process::ExitCode {
    let color = |text: &str| <When as clap::ValueEnum>::from_str(text, true).ok();
    let words: Vec<_> = line.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let joined = words.iter().find_map(|word| word.strip_prefix("--color="));
    let apart = words.windows(2).find_map(|pair| (pair[0] == "--color").then_some(pair[1]));
    let options = UiOptions {
        json: asks_for_json(line),
        color: joined.or(apart).and_then(color).unwrap_or_default(),
        ..UiOptions::default()
    };
    error.render(&Ui::new(options, &|name| std::env::var_os(name)));
    error.code.into()
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
        Command::Gc(args) => commands::gc::run(&args, context),
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
        Command::Obliterate(args) => commands::obliterate::run(&args, context),
        Command::Store(command) => commands::store::run(&command, context),
        Command::Debug(command) => commands::debug::run(&command, context),
    }
}
