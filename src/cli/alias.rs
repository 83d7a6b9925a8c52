//! The user's own names for commands, `[alias]` of the settings.
//!
//! They are put in their place before the command line is parsed: what stands before an alias and
//! behind it stays. Only the user's own file gives any, because an alias may be a command of the
//! shell. None takes the place of a command; the short names (`st`, `ci`, `co`, `cat`) may be given
//! another meaning.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::args::Cli;
use super::error::CliError;
use crate::config::{Config, ConfigError, ConfigSources};
use crate::repo::Place;

/// clap's own command.
const HELP: &str = "help";

/// A command line without aliases.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// To be parsed. What was asked about aliases is told before.
    Words(Vec<OsString>, Vec<String>),
    /// A command of the shell.
    Shell(Shell),
    /// Only what was asked about aliases is told.
    Told(Vec<String>),
}

/// An alias that begins with `!`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shell {
    name: String,
    script: String,
    /// `-C`.
    directory: Option<PathBuf>,
    /// What was typed behind the alias.
    args: Vec<OsString>,
}

/// Whether a word is a command of Digstore; its short names do not count.
pub(super) fn is_command(word: &str) -> bool {
    is_command_of(&Cli::command(), word)
}

fn is_command_of(command: &Command, word: &str) -> bool {
    word == HELP || command.get_subcommands().any(|one| one.get_name() == word)
}

/// The settings of the user's own file alone.
pub(super) fn users_settings() -> Result<Config, ConfigError> {
    let environment = |name: &str| std::env::var_os(name);
    match ConfigSources::new(&environment, None, &[]).files.first() {
        Some(file) => Config::of_file(file),
        None => Ok(Config::default()),
    }
}

/// Puts what the user's aliases stand for in their place. `settings` is asked only where a word is
/// no command.
pub(super) fn expand(
    args: Vec<OsString>,
    command: &Command,
    settings: impl Fn() -> Result<Config, ConfigError>,
) -> Result<Line, CliError> {
    let (mut line, mut told, mut met) = (args, Vec::new(), Vec::<String>::new());
    let mut known = None;
    loop {
        let Some(at) = command_word(&line, command) else { return Ok(Line::Words(line, told)) };
        let is_help = met.is_empty() && line[at] == HELP;
        let Some(word) = line.get(at + usize::from(is_help)).and_then(|word| word.to_str()) else {
            return Ok(Line::Words(line, told));
        };
        let (word, is_short) = (word.to_owned(), has_short_name(command, line[at].to_str()));
        if is_command_of(command, &word) || (is_short && met.contains(&word)) {
            return Ok(Line::Words(line, told));
        }
        if known.is_none() {
            known = Some(settings().map_err(|error| unreadable(&error))?);
        }
        let Some(text) = known.as_ref().and_then(|config| config.alias(&word)) else {
            return Ok(Line::Words(line, told));
        };
        if is_help {
            line.remove(at);
            line.insert(at + 1, "--help".into());
        }
        let is_asked = asks_for_help(&line[at + 1..]);
        if is_asked {
            told.push(format!("'{word}' is an alias for '{text}'"));
        }
        if met.contains(&word) {
            met.push(word);
            return Err(endless(&met));
        }
        if let Some(script) = text.strip_prefix('!') {
            if is_asked && (is_help || line.len() == at + 2) {
                return Ok(Line::Told(told));
            }
            let directory = directory_of(&line[1..at], &word)?;
            let args = line.split_off(at + 1);
            return Ok(Line::Shell(Shell {
                name: word,
                script: script.to_owned(),
                directory,
                args,
            }));
        }
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| unquoted(&word, text))?;
        met.push(word);
        line.splice(at..=at, words.into_iter().map(OsString::from));
    }
}

fn has_short_name(command: &Command, word: Option<&str>) -> bool {
    let mut all = command.get_subcommands();
    word.is_some_and(|word| all.any(|one| one.get_all_aliases().any(|alias| alias == word)))
}

/// Where the command stands: behind the options that every command takes.
pub(super) fn command_word(line: &[OsString], command: &Command) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = line.get(at)?.as_encoded_bytes();
        if word == b"--" {
            return None;
        }
        if word == b"-" || !word.starts_with(b"-") {
            return Some(at);
        }
        at += 1 + usize::from(takes_next(word, command)?);
    }
}

/// Whether the value of an option is the next word; `None` where the option is not known here.
fn takes_next(word: &[u8], command: &Command) -> Option<bool> {
    let takes_value = |arg: &Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if let Some(long) = word.strip_prefix(b"--") {
        let long = std::str::from_utf8(long).ok()?;
        let (name, value) = long.split_once('=').map_or((long, None), |(name, _)| (name, Some(())));
        let is_meant = |arg: &&Arg| {
            let others = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || others.contains(&name)
        };
        let arg = command.get_arguments().find(is_meant)?;
        return Some(takes_value(arg) && value.is_none());
    }
    for (at, letter) in word.iter().enumerate().skip(1) {
        let is_meant = |arg: &&Arg| arg.get_short() == Some(char::from(*letter));
        let arg = command.get_arguments().find(is_meant)?;
        if takes_value(arg) {
            return Some(at + 1 == word.len());
        }
    }
    Some(false)
}

/// Whether the words behind a command ask what it is.
fn asks_for_help(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "-h" || word == "--help")
}

/// `-C`; a command of the shell takes no other option of ours.
fn directory_of(options: &[OsString], alias: &str) -> Result<Option<PathBuf>, CliError> {
    match options {
        [] => Ok(None),
        [option, directory] if option == "-C" => Ok(Some(directory.into())),
        _ => Err(CliError::usage(format!(
            "'{alias}' is a command of the shell, which takes no options but -C before it"
        ))
        .with_hint("write them into the alias, 'digstore config edit --user' changes it")),
    }
}

impl Shell {
    /// Runs it in the root of the work tree, or where there is none in the current directory. Its
    /// exit status is that of the command.
    pub(super) fn run(self) -> Result<process::ExitCode, CliError> {
        let failed = |why: &dyn std::fmt::Display| {
            CliError::new(format!("cannot run the alias '{}'", self.name)).with_cause(why)
        };
        let here = std::env::current_dir().map_err(|error| failed(&error))?;
        let here = match &self.directory {
            Some(directory) => std::fs::canonicalize(here.join(directory))
                .map_err(|error| failed(&format!("'{}': {error}", directory.display())))?,
            None => here,
        };
        let root = Place::discover(&here).map_or_else(|_| here.clone(), |place| place.work_tree);
        let prefix = here.strip_prefix(&root).unwrap_or(OsStr::new("").as_ref());
        let status = process::Command::new("sh")
            .arg("-c")
            .arg(format!("{} \"$@\"", self.script))
            .arg(&self.name)
            .args(&self.args)
            .env("DIGSTORE_PREFIX", prefix)
            .current_dir(&root)
            .status()
            .map_err(|error| failed(&error))?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(process::ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
    }
}

fn unreadable(error: &ConfigError) -> CliError {
    let mut told = CliError::usage(error.to_string());
    told.cause = std::error::Error::source(error).map(ToString::to_string);
    told.hint = error.hint();
    told
}

fn endless(met: &[String]) -> CliError {
    let way = met.join("' -> '");
    CliError::usage("an alias leads back to itself")
        .with_cause(format!("'{way}'"))
        .with_hint("'digstore config edit --user' changes them")
}

fn unquoted(alias: &str, text: &str) -> CliError {
    let error = CliError::usage(format!("the alias '{alias}' is no command line: '{text}'"));
    let error = error.with_hint("'digstore config edit --user' changes it");
    if shlex::split(text).is_none() { error.with_cause("a quote is not closed") } else { error }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
mod tests {
    use super::*;
    use crate::cli::exit_code::ExitCode;
    use crate::config::Origin;

    const SETTINGS: &str = "[alias]\n\
        lg = 'log --graph'\n\
        l1 = 'lg -n 1'\n\
        loud = '--no-pager lg'\n\
        ci = 'commit -v'\n\
        st = 'st -s'\n\
        say = \"commit -m 'two words' -m \\\"it's\\\"\"\n\
        add = 'rm'\n\
        a = 'b'\n\
        b = 'a'\n\
        open = \"log 'x\"\n\
        sh = '!echo hello'\n";

    fn settings() -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, SETTINGS).unwrap();
        Config::of_file(&Origin::User(file))
    }

    fn expanded(line: &str) -> Result<Line, CliError> {
        let args = std::iter::once("digstore").chain(line.split_whitespace()).map(OsString::from);
        expand(args.collect(), &Cli::command(), settings)
    }

    fn words(line: &str) -> Vec<String> {
        match expanded(line).unwrap() {
            Line::Words(words, _) => {
                words[1..].iter().map(|word| word.to_str().unwrap().to_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_alias_stands_for_takes_its_place() {
        for (typed, expected) in [
            ("lg", "log --graph"),
            ("lg main", "log --graph main"),
            ("l1 main", "log --graph -n 1 main"),
            ("-C d --color=never -qv --repo x lg", "-C d --color=never -qv --repo x log --graph"),
            ("-q loud x", "-q --no-pager log --graph x"),
            ("-Cd --store r lg", "-Cd --store r log --graph"),
            ("ci", "commit -v"),
            ("st x", "st -s x"),
            // These are no aliases.
            ("add x", "add x"),
            ("log lg", "log lg"),
            ("-C lg status", "-C lg status"),
            ("-- lg", "-- lg"),
            ("--unknown lg", "--unknown lg"),
            ("nothing", "nothing"),
            ("help add", "help add"),
            ("", ""),
        ] {
            assert_eq!(words(typed), expected.split_whitespace().collect::<Vec<_>>(), "{typed}");
        }
        assert_eq!(words("say"), ["commit", "-m", "two words", "-m", "it's"]);
    }

    #[test]
    fn commands_do_not_need_the_settings() {
        let refused = || Err(ConfigError::NoSetting("x".to_owned()));
        let line = |word: &str| vec![OsString::from("digstore"), OsString::from(word)];
        assert!(expand(line("status"), &Cli::command(), refused).is_ok());
        assert!(expand(line("lg"), &Cli::command(), refused).is_err());
    }

    #[test]
    fn loops_and_open_quotes_are_refused() {
        let error = expanded("a").unwrap_err();
        assert_eq!(error.cause.as_deref(), Some("'a' -> 'b' -> 'a'"));
        assert_eq!(error.code, ExitCode::Usage);
        assert_eq!(expanded("open").unwrap_err().cause.as_deref(), Some("a quote is not closed"));
    }

    #[test]
    fn help_tells_what_an_alias_is() {
        for (typed, rest) in
            [("help l1", "log --graph -n 1 --help"), ("l1 -h", "log --graph -n 1 -h")]
        {
            assert_eq!(words(typed).join(" "), rest);
            let Line::Words(_, told) = expanded(typed).unwrap() else { panic!("{typed}") };
            let expected = ["'l1' is an alias for 'lg -n 1'", "'lg' is an alias for 'log --graph'"];
            assert_eq!(told, expected, "{typed}");
        }
        for typed in ["help sh", "sh -h", "sh --help"] {
            let expected = vec!["'sh' is an alias for '!echo hello'".to_owned()];
            assert_eq!(expanded(typed), Ok(Line::Told(expected)), "{typed}");
        }
    }

    #[test]
    fn the_shell_gets_what_stands_behind() {
        let Line::Shell(shell) = expanded("-C d sh a --json").unwrap() else { panic!("no shell") };
        assert_eq!((shell.script.as_str(), shell.directory), ("echo hello", Some("d".into())));
        assert_eq!(shell.args, ["a", "--json"]);
        assert_eq!(expanded("--json sh").unwrap_err().code, ExitCode::Usage);
    }
}
