//! Hooks: commands of the user's own that run around a commit.
//!
//! They come from the user's own settings alone (`[hooks]`), because what a repository holds must
//! never run on the machine of those who look at it. A hook runs in the root of the work tree, in a
//! shell, without standard input; what it prints goes to standard error. No lock is held meanwhile,
//! so that a hook may use Digstore itself, and stage what it changed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use super::context::Context;
use super::error::CliError;
use crate::id::CommitId;
use crate::repo::{RepoError, Repository};
use crate::storage::format::refs::Head;

/// Names the hook that runs, in its environment and in that of what it starts.
const RUNNING: &str = "DIGSTORE_HOOK";

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// Before a commit is made.
    PreCommit,
    /// After one was made.
    PostCommit,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::PostCommit => "post-commit",
        }
    }

    /// The user's command. None inside of the same hook, which would start itself for ever.
    fn script(self, repository: &Repository) -> Option<&str> {
        let hooks = &repository.config().hooks;
        let script = match self {
            Self::PreCommit => hooks.pre_commit.text(),
            Self::PostCommit => hooks.post_commit.text(),
        };
        script.filter(|_| std::env::var_os(RUNNING).is_none_or(|running| running != self.name()))
    }
}

/// Whether a `pre-commit` hook will run.
pub(super) fn has_pre_commit(repository: &Repository) -> bool {
    Hook::PreCommit.script(repository).is_some()
}

/// Runs the `pre-commit` hook; an error if the commit is not to be made.
pub(super) fn pre_commit(
    repository: &Repository,
    context: &Context<'_>,
    amend: bool,
) -> anyhow::Result<()> {
    warn_of_repository(repository, context);
    let Some(script) = Hook::PreCommit.script(repository) else { return Ok(()) };
    let head = repository.refs().head_commit().map_err(RepoError::from)?;
    let mut shell = shell(Hook::PreCommit, script, repository)?;
    shell.env("DIGSTORE_AMEND", if amend { "1" } else { "0" });
    if let Some(head) = head {
        shell.env("DIGSTORE_HEAD", head.to_string());
    }
    let failed = |why: String| {
        CliError::new("nothing was committed")
            .with_cause(why)
            .with_hint("mend what the hook tells; --no-verify leaves it out")
    };
    let status = shell
        .status()
        .map_err(|error| failed(format!("cannot run the pre-commit hook: {error}")))?;
    if repository.cancel_token().is_cancelled() {
        return Err(RepoError::Interrupted.into());
    }
    match why(status) {
        Some(why) => Err(failed(format!("the pre-commit hook {why}")).into()),
        None => Ok(()),
    }
}

/// Runs the `post-commit` hook for a commit. That it fails is worth a warning: the commit is made.
pub(super) fn post_commit(repository: &Repository, context: &Context<'_>, commit: CommitId) {
    let Some(script) = Hook::PostCommit.script(repository) else { return };
    let run = || -> anyhow::Result<ExitStatus> {
        let mut shell = shell(Hook::PostCommit, script, repository)?;
        Ok(shell.env("DIGSTORE_COMMIT", commit.to_string()).status()?)
    };
    match run() {
        Ok(status) => {
            if let Some(why) = why(status) {
                context.ui.warn(format!("the post-commit hook {why}; the commit is made"));
            }
        }
        Err(error) => context.ui.warn(format!("cannot run the post-commit hook: {error:#}")),
    }
}

/// Runs the `post-commit` hook for each commit that a command put onto `before`, the oldest first.
pub(super) fn post_commits(
    repository: &Repository,
    context: &Context<'_>,
    before: Option<CommitId>,
) -> anyhow::Result<()> {
    if Hook::PostCommit.script(repository).is_none() {
        return Ok(());
    }
    let mut made = Vec::new();
    let mut at = repository.refs().head_commit().map_err(RepoError::from)?;
    while at != before {
        // Another command moved the branch elsewhere.
        let Some(commit) = at else { return Ok(()) };
        made.push(commit);
        let parents = repository.objects()?.commit(&commit).map_err(RepoError::from)?.parents;
        at = parents.first().copied();
    }
    made.into_iter().rev().for_each(|commit| post_commit(repository, context, commit));
    Ok(())
}

/// The shell that runs a hook, with what every hook knows.
fn shell(hook: Hook, script: &str, repository: &Repository) -> anyhow::Result<Command> {
    let place = repository.place();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(script)
        .arg(hook.name())
        .current_dir(&place.work_tree)
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .env(RUNNING, hook.name())
        .env("DIGSTORE_REPOSITORY", std::fs::canonicalize(&place.repository)?)
        .env("DIGSTORE_WORK_TREE", &place.work_tree)
        .env_remove("DIGSTORE_BRANCH");
    if let Head::Branch(branch) = repository.refs().read_head().map_err(RepoError::from)? {
        shell.env("DIGSTORE_BRANCH", branch);
    }
    Ok(shell)
}

/// Why a hook counts as failed; none if it does not.
fn why(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    Some(match (status.code(), status.signal()) {
        (Some(127), _) => "ended with 127: the shell did not find a command of it".to_owned(),
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    })
}

/// Hooks in the settings of a repository do not run, and those who set them there should know.
fn warn_of_repository(repository: &Repository, context: &Context<'_>) {
    for (key, origin) in repository.config().passed_over() {
        if key.starts_with("hooks.") {
            context.ui.warn(format!(
                "{origin} sets '{key}', which does not run: hooks count in your own settings only, \
                 'digstore config set --user {key} …'"
            ));
        }
    }
}
