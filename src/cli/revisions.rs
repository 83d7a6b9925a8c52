//! Revisions, ranges and paths on one command line, told apart as git does.

use std::ffi::OsString;

use super::context::Context;
use super::error::CliError;
use super::exit_code::ExitCode;
use crate::id::CommitId;
use crate::repo::path_filter::PathFilter;
use crate::repo::{RepoError, Repository};

/// One argument that names commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RevisionArg {
    /// `A`.
    One(CommitId),
    /// `^A`: without A and what comes before it.
    Not(CommitId),
    /// `A..B`: what B has and A has not.
    Range(CommitId, CommitId),
    /// `A...B`: what one has and the other has not.
    Either(CommitId, CommitId),
}

fn side(repository: &Repository, text: &str) -> Result<CommitId, RepoError> {
    repository.resolve(if text.is_empty() { "HEAD" } else { text })
}

/// What an argument names.
pub(crate) fn parse(repository: &Repository, text: &str) -> Result<RevisionArg, RepoError> {
    if let Some(rest) = text.strip_prefix('^') {
        return Ok(RevisionArg::Not(repository.resolve(rest)?));
    }
    if let Some((a, b)) = text.split_once("...") {
        return Ok(RevisionArg::Either(side(repository, a)?, side(repository, b)?));
    }
    if let Some((a, b)) = text.split_once("..")
        && text != ".."
    {
        return Ok(RevisionArg::Range(side(repository, a)?, side(repository, b)?));
    }
    Ok(RevisionArg::One(repository.resolve(text)?))
}

/// What a command line is about.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Commits, in the order given.
    pub revisions: Vec<RevisionArg>,
    /// Paths.
    pub paths: PathFilter,
}

/// Takes arguments for revisions as long as they are, then for paths; those behind `--` are paths.
/// What could be both is refused.
pub(crate) fn select(
    context: &Context<'_>,
    repository: &Repository,
    args: &[OsString],
    after_dashes: &[OsString],
) -> anyhow::Result<Selection> {
    let mut revisions = Vec::new();
    let mut rest = args.iter();
    let mut paths: Vec<&OsString> = Vec::new();
    let has_dashes = !after_dashes.is_empty();
    for arg in rest.by_ref() {
        let parsed = match arg.to_str() {
            Some(text) => parse(repository, text),
            None => Err(RepoError::RevisionNotFound {
                revision: arg.to_string_lossy().into_owned(),
                nearest: None,
            }),
        };
        let is_path = !has_dashes && is_path(context, repository, arg);
        match parsed {
            Ok(_) if is_path => return Err(both(arg).into()),
            Ok(revision) => revisions.push(revision),
            Err(RepoError::RevisionNotFound { .. } | RepoError::Reflog(_)) if is_path => {
                paths.push(arg);
                break;
            }
            Err(error) => return Err(with_path(error, context, repository, arg).into()),
        }
    }
    paths.extend(rest);
    paths.extend(after_dashes);
    let paths = context.pathspec(repository, &paths)?;
    Ok(Selection { revisions, paths: paths.into() })
}

/// Names the staged path that is most like an argument, where no revision is.
fn with_path(
    mut error: RepoError,
    context: &Context<'_>,
    repository: &Repository,
    arg: &OsString,
) -> RepoError {
    if let RepoError::RevisionNotFound { nearest: nearest @ None, .. } = &mut error
        && let Ok(path) = context.repo_path(repository, arg)
    {
        *nearest = repository.nearest_path(&path);
    }
    error
}

/// Whether an argument is a path of the work tree or staged, or a pattern of paths.
fn is_path(context: &Context<'_>, repository: &Repository, arg: &OsString) -> bool {
    let bytes = arg.as_encoded_bytes();
    let has_magic = bytes.starts_with(b":") || bytes.iter().any(|byte| b"*?[".contains(byte));
    if has_magic || std::fs::symlink_metadata(context.cwd.join(arg)).is_ok() {
        return true;
    }
    let Ok(path) = context.repo_path(repository, arg) else { return false };
    let staging = repository.staging();
    staging.is_ok_and(|staging| staging.views_within(path.as_bytes()).next().is_some())
}

fn both(arg: &OsString) -> CliError {
    let arg = crate::path::escape(arg.as_encoded_bytes());
    CliError::usage(format!("'{arg}' is both a revision and a path"))
        .with_hint("put '--' before paths, or behind revisions")
        .with_code(ExitCode::Usage)
}
