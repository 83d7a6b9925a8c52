//! Mistakes in the command line, as clap finds them, in the form of every other error.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::alias::{command_word, users_settings};
use super::error::{CliError, did_you_mean};
use crate::config::{Config, ConfigSources};
use crate::repo::Place;

/// Whether clap only prints what was asked for.
pub(super) fn is_answer(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// Whether nothing was asked for, which is answered with help.
pub(super) fn is_empty_line(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// The error of a command line that clap refused.
pub(super) fn error_of(error: &clap::Error, line: &[OsString], command: &Command) -> CliError {
    if is_empty_line(error) {
        return CliError::usage("no command was given")
            .with_hint("'digstore help' lists all commands");
    }
    let word = text_of(error, ContextKind::InvalidSubcommand);
    if let (ErrorKind::InvalidSubcommand, Some(word)) = (error.kind(), &word) {
        return unknown_command(error, word, line, command);
    }
    let rendered = error.render().to_string();
    let Told { mut message, mut cause, usage, tip } = Told::parse(&rendered);
    if let Some(why) = std::error::Error::source(error).map(ToString::to_string)
        && let Some(what) = message.strip_suffix(&format!(": {why}")).map(str::len)
    {
        message.truncate(what);
        cause = Some(why);
    }
    let mut told = CliError::usage(message);
    if let Some(cause) = cause {
        told = told.with_cause(cause);
    }
    let nearest = suggested(error).map(|near| format!("did you mean '{near}'?"));
    let usage = usage.map(|usage| format!("usage: {usage}"));
    let name = command_word(line, command).and_then(|at| line[at].to_str());
    let help = name.map_or_else(
        || "'digstore help' tells what there is".to_owned(),
        |name| format!("'digstore help {name}' tells what there is"),
    );
    told.with_hint(nearest.or(tip).or(usage).unwrap_or(help))
}

/// What clap says, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    message: String,
    cause: Option<String>,
    usage: Option<String>,
    tip: Option<String>,
}

impl Told {
    fn parse(rendered: &str) -> Self {
        let mut told = Self::default();
        for (number, paragraph) in rendered.split("\n\n").enumerate() {
            let mut lines = paragraph.lines().map(str::trim).filter(|line| !line.is_empty());
            let first = lines.next().unwrap_or_default();
            let rest: Vec<&str> = lines.collect();
            if number == 0 {
                let (values, rest): (Vec<&str>, Vec<&str>) =
                    rest.into_iter().partition(|line| line.starts_with("[possible values: "));
                told.message.push_str(first.strip_prefix("error: ").unwrap_or(first));
                rest.iter().for_each(|line| told.message.push_str(&format!(" {line}")));
                told.cause = values.first().map(|line| {
                    line.trim_matches(['[', ']']).replacen(
                        "possible values: ",
                        "it expects one of ",
                        1,
                    )
                });
            } else if let Some(tip) = first.strip_prefix("tip: ") {
                told.tip.get_or_insert_with(|| tip.to_owned());
            } else if let Some(usage) = first.strip_prefix("Usage: ") {
                told.usage = Some(usage.to_owned());
            }
        }
        told
    }
}

fn text_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // The last one is the nearest.
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    }
}

fn suggested(error: &clap::Error) -> Option<String> {
    let kinds =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| text_of(error, kind))
}

/// A word that is no command, at the beginning of the line or below another command.
fn unknown_command(
    error: &clap::Error,
    word: &str,
    line: &[OsString],
    command: &Command,
) -> CliError {
    let told = CliError::usage(format!("'{word}' is no command"));
    let at = command_word(line, command);
    let typed = at.map(|at| at + usize::from(line[at] == "help")).and_then(|at| line.get(at));
    let is_below = at.is_some_and(|at| line[at] != "help");
    if is_below && typed.is_none_or(|typed| typed != word) {
        let parent = at.and_then(|at| line[at].to_str()).unwrap_or_default();
        let told = CliError::usage(format!("'{word}' is no command of 'digstore {parent}'"));
        let names = command.find_subcommand(parent).into_iter().flat_map(Command::get_subcommands);
        let nearest = did_you_mean(word, names.map(Command::get_name));
        return told.with_hint(match nearest.or_else(|| suggested(error)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("'digstore help {parent}' lists them"),
        });
    }
    if is_alias_of_repository(word) {
        return told
            .with_cause(
                "the settings of the repository name it, but aliases count in your own only",
            )
            .with_hint("'digstore config set --user' makes one");
    }
    // A mistake in the settings is another command's to tell.
    let settings = users_settings().unwrap_or_default();
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let commands =
        commands.flat_map(|one| std::iter::once(one.get_name()).chain(one.get_visible_aliases()));
    let names = commands.chain(settings.aliases().map(|(name, ..)| name));
    told.with_hint(match did_you_mean(word, names) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "'digstore help' lists all commands".to_owned(),
    })
}

/// Whether the settings of the repository at hand would make an alias of it.
fn is_alias_of_repository(word: &str) -> bool {
    let environment = |name: &str| std::env::var_os(name);
    let place = std::env::current_dir().ok().and_then(|dir| Place::discover(&dir).ok());
    let Some(place) = place else { return false };
    let sources = ConfigSources::new(&environment, Some(&place.work_tree), &[]);
    let settings = Config::load(&sources).unwrap_or_default();
    settings.passed_over().iter().any(|(key, _)| key.strip_prefix("alias.") == Some(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::CommandFactory;

    fn told(typed: &str) -> CliError {
        let line: Vec<OsString> = std::iter::once("digstore")
            .chain(typed.split_whitespace())
            .map(OsString::from)
            .collect();
        let mut command = Cli::command();
        let error = command.try_get_matches_from_mut(&line).unwrap_err();
        error_of(&error, &line, &command)
    }

    fn parts(error: &CliError) -> (&str, Option<&str>, Option<&str>) {
        (error.message.as_str(), error.cause.as_deref(), error.hint.as_deref())
    }

    #[test]
    fn the_nearest_word_is_named() {
        for (typed, message, hint) in [
            ("comit", "'comit' is no command", "did you mean 'commit'?"),
            ("-q help stauts", "'stauts' is no command", "did you mean 'status'?"),
            ("zebra", "'zebra' is no command", "'digstore help' lists all commands"),
            ("import gti", "'gti' is no command of 'digstore import'", "did you mean 'git'?"),
            ("lgo", "'lgo' is no command", "did you mean 'log'?"),
            ("store sise", "'sise' is no command of 'digstore store'", "did you mean 'size'?"),
            (
                "store zebra",
                "'zebra' is no command of 'digstore store'",
                "'digstore help store' lists them",
            ),
            ("diff --stagd", "unexpected argument '--stagd' found", "did you mean '--staged'?"),
            ("", "no command was given", "'digstore help' lists all commands"),
        ] {
            let error = told(typed);
            assert_eq!(parts(&error), (message, None, Some(hint)), "{typed}");
        }
    }

    #[test]
    fn a_wrong_value_has_a_cause() {
        let error = told("--color alwys status");
        let expected = (
            "invalid value 'alwys' for '--color <WHEN>'",
            Some("it expects one of auto, always, never"),
            Some("did you mean 'always'?"),
        );
        assert_eq!(parts(&error), expected);
        let error = told("log -n many");
        assert_eq!(error.cause.as_deref(), Some("invalid digit found in string"), "{error:?}");
        assert_eq!(error.message, "invalid value 'many' for '--max-count <COUNT>'");
        assert_eq!(error.hint.as_deref(), Some("'digstore help log' tells what there is"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_usage() {
        let error = told("get");
        assert!(error.message.ends_with("not provided: <FILE>"), "{error:?}");
        assert!(error.hint.as_deref().unwrap().starts_with("usage: digstore get "), "{error:?}");
    }
}
