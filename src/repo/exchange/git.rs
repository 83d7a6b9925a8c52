//! The git command: what is asked of it, and its streams.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use super::super::Repository;
use super::ExchangeError;

type Result<T> = std::result::Result<T, ExchangeError>;

/// Most of what git says that is kept.
const MAX_SAID: u64 = 64 << 10;

/// What would have git work on another repository than the one it is told: hooks and aliases of git set
/// some of these (git-rev-parse(1), `--local-env-vars`).
const OF_ANOTHER: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Settings that let a repository name a program, here for none. Git fetches an object that a partial
/// clone lacks, by a command of its settings, if it may.
const RUN_NOTHING: [&str; 3] =
    ["core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.allow=never"];

/// Names that differ in case alone are two, whatever git found of the file system.
const TELL_CASE: &str = "core.ignorecase=false";

fn git() -> Command {
    let mut command = Command::new("git");
    OF_ANOTHER.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env("LC_ALL", "C").env("GIT_NO_LAZY_FETCH", "1").env("GIT_TERMINAL_PROMPT", "0");
    // What stands for other commits here stands for nothing where they go.
    command.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_GRAFT_FILE", "/dev/null/none");
    RUN_NOTHING.iter().chain([&TELL_CASE]).for_each(|setting| {
        command.args(["-c", setting]);
    });
    command
}

/// A git repository.
pub(super) struct Git {
    dir: PathBuf,
}

/// A git command while it runs. Its messages are read all the time, so that it never waits for that.
pub(super) struct Running {
    pub(super) child: Child,
    command: &'static str,
    said: Option<JoinHandle<String>>,
}

impl Git {
    /// The repository at a directory, its work tree or its bare self.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let git = Self { dir: dir.to_owned() };
        match git.ask("rev-parse", &["--git-dir"], &[]) {
            Ok(_) => Ok(git),
            Err(ExchangeError::Git { said, .. }) if said.contains("not a git repository") => {
                Err(ExchangeError::NotGit(dir.to_owned()))
            }
            Err(ExchangeError::Git { .. }) if !dir.is_dir() => {
                Err(ExchangeError::NotGit(dir.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a bare repository.
    pub(super) fn init(dir: &Path) -> Result<Self> {
        let mut command = git();
        command.args(["init", "-q", "--bare", "--"]).arg(dir);
        Running::start(&mut command, "init", Stdio::null(), Stdio::null())?.finish()?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = git();
        command.arg("-C").arg(&self.dir).arg(name);
        command
    }

    /// Starts a command that writes to a pipe.
    pub(super) fn read_from(&self, name: &'static str, args: &[String]) -> Result<Running> {
        let mut command = self.command(name);
        Running::start(command.args(args), name, Stdio::null(), Stdio::piped())
    }

    /// Starts a command that reads from a pipe, and answers on another.
    pub(super) fn write_to(&self, name: &'static str, args: &[&str]) -> Result<Running> {
        let mut command = self.command(name);
        Running::start(command.args(args), name, Stdio::piped(), Stdio::piped())
    }

    /// What a command says when it was given this to read.
    pub(super) fn ask(&self, name: &'static str, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut command = self.command(name);
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut running = Running::start(command.args(args), name, stdin, Stdio::piped())?;
        let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
        let mut out = Vec::new();
        let read = std::thread::scope(|scope| {
            scope.spawn(move || {
                if let Some(mut stdin) = stdin {
                    // A git that stops reading says why itself.
                    let _ = std::io::Write::write_all(&mut stdin, input);
                }
            });
            stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut out))
        });
        running.finish()?;
        read.map_err(ExchangeError::NoGit)?;
        Ok(out)
    }

    /// Whether its ids are those of SHA-256.
    pub(super) fn has_long_ids(&self) -> bool {
        let format = self.ask("rev-parse", &["--show-object-format"], &[]);
        format.is_ok_and(|format| format.starts_with(b"sha256"))
    }

    /// Whether it lacks the beginning of its history.
    pub(super) fn is_shallow(&self) -> Result<bool> {
        Ok(self.ask("rev-parse", &["--is-shallow-repository"], &[])?.starts_with(b"true"))
    }

    /// The ref that `HEAD` names.
    pub(super) fn head(&self) -> Option<String> {
        let out = self.ask("symbolic-ref", &["-q", "HEAD"], &[]).ok()?;
        Some(String::from_utf8(out).ok()?.trim_end().to_owned())
    }
}

impl Repository {
    /// Waits for a git that ends. A signal that is for both may have ended it: then that is why.
    pub(super) fn wait_for(&self, running: Running) -> super::super::Result<()> {
        let ended = running.finish();
        self.stop_if_cancelled()?;
        Ok(ended?)
    }
}

impl Running {
    fn start(
        command: &mut Command,
        name: &'static str,
        stdin: Stdio,
        stdout: Stdio,
    ) -> Result<Self> {
        let command = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ExchangeError::NoGit)?;
        let said = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut said = Vec::new();
                // Messages that cannot be read are not worth an error of their own.
                let _ = Read::by_ref(&mut stderr).take(MAX_SAID).read_to_end(&mut said);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&said).into_owned()
            })
        });
        Ok(Self { child, command: name, said })
    }

    /// Waits for its end; an exit status other than 0 is an error.
    pub(super) fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(ExchangeError::NoGit)?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let said = if said.trim().is_empty() { status.to_string() } else { said };
        Err(ExchangeError::Git { command: self.command, said })
    }
}

impl Drop for Running {
    /// Whoever is not waited for is stopped.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
