//! What shells complete: commands, flags, settings, refs and paths.
//!
//! The script of a shell (`digstore completion SHELL`) calls the binary back with `VARIABLE` set for
//! every completion, so that it knows the commands of the installed release and the refs of the
//! repository at hand. Answering only reads: it takes no lock and finishes nothing.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory, ValueEnum, ValueHint};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::alias::users_settings;
use super::args::Cli;
use super::exit_code::ExitCode;
use crate::config::FIELDS;
use crate::repo::Place;
use crate::storage::disk::OsDisk;
use crate::storage::refs::RefStore;

/// Tells the binary that a shell asks, and which one.
const VARIABLE: &str = "DIGSTORE_COMPLETE";

const NAME: &str = "digstore";

/// A shell with completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// `PowerShell`.
    #[value(name = "powershell")]
    PowerShell,
    /// elvish.
    Elvish,
}

impl Shell {
    fn engine(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::PowerShell => &Powershell,
            Self::Elvish => &Elvish,
        }
    }
}

/// The script that a shell reads at its start.
pub(crate) fn script(shell: Shell) -> std::io::Result<Vec<u8>> {
    let mut script = Vec::new();
    shell.engine().write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    Ok(script)
}

/// Answers a shell, if it is one that asks: `args` are the binary, `--` and the words typed so far.
pub(crate) fn answer(args: &[OsString]) -> Option<ExitCode> {
    let shell = env::var_os(VARIABLE)?;
    let shell = Shell::from_str(shell.to_str()?, false).ok()?;
    let words = args.iter().skip_while(|arg| *arg != "--").skip(1).cloned().collect::<Vec<_>>();
    if words.is_empty() {
        return None;
    }
    let here = env::current_dir().ok();
    let place = Surroundings::of(&words, here.as_deref());
    let (mut command, mut answer) = (with_aliases(command(&place)), Vec::new());
    // A word that nothing completes is no error, and there is nobody to tell of any other.
    let _ = shell.engine().write_complete(&mut command, words, Some(&place.cwd), &mut answer);
    let _ = std::io::stdout().write_all(&answer);
    Some(ExitCode::Success)
}

/// Where the command that is being typed would run.
#[derive(Debug, Clone)]
struct Surroundings {
    cwd: PathBuf,
    repository: Option<PathBuf>,
}

impl Surroundings {
    fn of(words: &[OsString], here: Option<&Path>) -> Self {
        let here = here.unwrap_or(Path::new("."));
        let value = |names: [&str; 2]| {
            words.windows(2).find_map(|pair| {
                names.iter().any(|name| pair[0] == *name).then(|| here.join(&pair[1]))
            })
        };
        let cwd = value(["-C", "-C"]).unwrap_or_else(|| here.to_owned());
        let repository = value(["--repo", "--store"])
            .or_else(|| Place::discover(&cwd).ok().map(|place| place.repository));
        Self { cwd, repository }
    }

    /// Branches and tags as revisions name them; those of `kind` alone, where one is given.
    fn refs(&self, kind: Option<&str>) -> Vec<String> {
        let Some(repository) = &self.repository else { return Vec::new() };
        let refs = RefStore::new(Arc::new(OsDisk::new(repository)));
        let mut names = Vec::new();
        for prefix in ["heads", "tags"] {
            if kind.is_none_or(|kind| kind == prefix) {
                let listed = refs.list(prefix).unwrap_or_default();
                names.extend(listed.into_iter().filter_map(|(name, _)| {
                    Some(name.strip_prefix(prefix)?.strip_prefix('/')?.to_owned())
                }));
            }
        }
        names
    }
}

/// The commands, whose arguments know their values.
fn command(place: &Surroundings) -> Command {
    with_values(Cli::command(), place)
}

/// With the user's aliases as commands, which complete as what they stand for does.
fn with_aliases(command: Command) -> Command {
    // A mistake in the settings is no reason to complete nothing.
    let settings = users_settings().unwrap_or_default();
    let mut all = Vec::new();
    for (name, text, _) in settings.aliases() {
        if command.get_subcommands().any(|one| one.get_name_and_visible_aliases().contains(&name)) {
            continue;
        }
        let words = shlex::split(text).unwrap_or_default();
        let mut target = &command;
        for word in words.iter().skip_while(|word| word.starts_with('-')) {
            let Some(below) = target.find_subcommand(word) else { break };
            target = below;
        }
        let is_found = target.get_name() != command.get_name();
        let alias = if is_found { target.clone() } else { Command::new(NAME) };
        let alias = alias.alias(clap::builder::Resettable::Reset);
        all.push(alias.name(name.to_owned()).about(text.to_owned()));
    }
    command.subcommands(all)
}

fn with_values(command: Command, place: &Surroundings) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match Values::of(&name, &arg) {
        Some(values) => {
            let completer = ArgValueCompleter::new(Completer { values, place: place.clone() });
            arg.add(completer)
        }
        None => arg,
    });
    command.mut_subcommands(|below| with_values(below, place))
}

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Revisions, also as a range.
    Revision,
    /// The same, or a path.
    RevisionOrPath,
    /// Branches.
    Branch,
    /// Tags.
    Tag,
    /// A path, and behind an `@` a revision.
    PathAtRevision,
    /// Files and directories.
    Path,
    /// Directories.
    Dir,
    /// Settings.
    Setting,
    /// Settings, for a value behind `=`.
    Assignment,
}

impl Values {
    /// What the names in the help of `command` promise.
    fn of(command: &str, arg: &Arg) -> Option<Self> {
        let value = arg.get_value_names()?.first()?.as_str();
        Some(match (command, value) {
            ("branch", "NAME") | (_, "BRANCH") => Self::Branch,
            ("tag", "NAME") => Self::Tag,
            ("get", "FILE") if arg.is_positional() => Self::PathAtRevision,
            ("config" | "get" | "set" | "unset", "KEY") => Self::Setting,
            (_, "KEY=VALUE") => Self::Assignment,
            (_, "REV" | "REVISION") => Self::Revision,
            (_, "REVISION|PATH") => Self::RevisionOrPath,
            (_, "DIR" | "DIRECTORY") => Self::Dir,
            (_, "PATH" | "PATHSPEC" | "SOURCE" | "TARGET") => Self::Path,
            _ if arg.get_value_hint() != ValueHint::Unknown => Self::Path,
            _ => return None,
        })
    }
}

struct Completer {
    values: Values,
    place: Surroundings,
}

impl ValueCompleter for Completer {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let refs = |kind| self.place.refs(kind);
        match self.values {
            Values::Revision => beginning(current, self.revisions(), range_start(current)),
            Values::RevisionOrPath => {
                let mut found = beginning(current, self.revisions(), range_start(current));
                found.extend(self.paths(current, PathCompleter::any()));
                found
            }
            Values::Branch => beginning(current, refs(Some("heads")), 0),
            Values::Tag => beginning(current, refs(Some("tags")), 0),
            Values::PathAtRevision => {
                let at = current.as_bytes().iter().rposition(|byte| *byte == b'@');
                match at {
                    Some(at) => beginning(current, self.revisions(), at + 1),
                    None => self.paths(current, PathCompleter::any()),
                }
            }
            Values::Path => self.paths(current, PathCompleter::any()),
            Values::Dir => self.paths(current, PathCompleter::dir()),
            Values::Setting => beginning(current, settings(""), 0),
            Values::Assignment => beginning(current, settings("="), 0),
        }
    }
}

impl Completer {
    fn revisions(&self) -> Vec<String> {
        let mut names = vec!["HEAD".to_owned()];
        names.extend(self.place.refs(None));
        names
    }

    fn paths(&self, current: &OsStr, paths: PathCompleter) -> Vec<CompletionCandidate> {
        paths.current_dir(&self.place.cwd).complete(current)
    }
}

fn settings(end: &str) -> Vec<String> {
    FIELDS.iter().map(|field| format!("{}{end}", field.key)).collect()
}

/// Where the last revision of a range begins.
fn range_start(word: &OsStr) -> usize {
    let word = word.as_bytes();
    let dots = word.windows(2).rposition(|pair| pair == b"..");
    dots.map_or(usize::from(word.starts_with(b"^")), |at| at + 2)
}

/// The words that go on as the typed one does behind `start`.
fn beginning(typed: &OsStr, words: Vec<String>, start: usize) -> Vec<CompletionCandidate> {
    let (before, begun) = typed.as_bytes().split_at(start.min(typed.len()));
    let fitting = words.into_iter().filter(|word| word.as_bytes().starts_with(begun));
    let whole = |word: String| OsString::from_vec([before, word.as_bytes()].concat());
    fitting.map(|word| CompletionCandidate::new(whole(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(candidates: &[CompletionCandidate]) -> Vec<&str> {
        candidates.iter().map(|candidate| candidate.get_value().to_str().unwrap()).collect()
    }

    #[test]
    fn ranges_are_completed_behind_their_dots() {
        let words = || vec!["HEAD".to_owned(), "main".to_owned(), "more".to_owned()];
        for (typed, expected) in [
            ("m", vec!["main", "more"]),
            ("HEAD..ma", vec!["HEAD..main"]),
            ("a...mo", vec!["a...more"]),
            ("^mai", vec!["^main"]),
            ("x", vec![]),
        ] {
            let typed = OsStr::new(typed);
            assert_eq!(values(&beginning(typed, words(), range_start(typed))), expected);
        }
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_binary() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains(NAME), "{shell:?}: {script}");
        }
    }

    #[test]
    fn arguments_know_their_values() {
        let command = Cli::command();
        let of = |name: &str, id: &str| {
            let command = command.find_subcommand(name).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_id() == id).unwrap();
            Values::of(name, arg)
        };
        assert_eq!(of("switch", "target"), Some(Values::Branch));
        assert_eq!(of("merge", "revisions"), Some(Values::Revision));
        assert_eq!(of("log", "args"), Some(Values::RevisionOrPath));
        assert_eq!(of("tag", "names"), Some(Values::Tag));
        assert_eq!(of("add", "paths"), Some(Values::Path));
        assert_eq!(of("get", "file"), Some(Values::PathAtRevision));
        assert_eq!(of("get", "output"), Some(Values::Path));
        assert_eq!(of("commit", "date"), None);
    }
}
