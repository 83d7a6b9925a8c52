//! Revisions as a user types them: `HEAD`, branches, tags, ids and their prefixes, `~n`, `^n`;
//! those with `@{…}` are in [`super::reflog`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{RepoError, Repository, Result};
use crate::id::{CommitId, IdPrefix};
use crate::path::RepoPath;
use crate::storage::format::pack::BlockKind;
use crate::storage::format::refs::{Head, check_ref_name};
use crate::storage::refs::RefError;

/// Most candidates that an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 8;

/// A revision and the path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionPath {
    /// The revision as typed; `None` for the default.
    pub revision: Option<String>,
    /// The path as typed.
    pub path: OsString,
}

/// A step from a commit to one of its ancestors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `~n`: n times the first parent.
    First(u64),
    /// `^n`: the n-th parent; 0 is the commit itself.
    Parent(usize),
}

/// Splits `main~2^2` into its base and steps; `None` when a number is too large.
fn split_steps(text: &str) -> Option<(&str, Vec<Step>)> {
    let base_len = text.find(['~', '^']).unwrap_or(text.len());
    let (base, mut rest) = text.split_at(base_len);
    let mut steps = Vec::new();
    while let Some(mark) = rest.chars().next() {
        let tail = &rest[mark.len_utf8()..];
        let digits = tail.len() - tail.trim_start_matches(|ch: char| ch.is_ascii_digit()).len();
        let number: u64 = if digits == 0 { 1 } else { tail[..digits].parse().ok()? };
        steps.push(match mark {
            '~' => Step::First(number),
            '^' => Step::Parent(usize::try_from(number).ok()?),
            _ => return None,
        });
        rest = &tail[digits..];
    }
    Some((base, steps))
}

/// Where `REV:PATH` or `PATH@REV` is cut, and at which of the two marks.
fn split_point(text: &str) -> Option<(usize, char)> {
    let begins_braces = |at: usize| text[at..].starts_with("@{");
    let mut marks = outside_braces(text);
    if let Some(colon) = marks.find(|(at, mark)| *mark == ':' && *at > 0) {
        return Some(colon);
    }
    let at_signs = outside_braces(text).filter(|(at, mark)| *mark == '@' && !begins_braces(*at));
    let last = at_signs.last().filter(|(at, _)| *at > 0 && *at + 1 < text.len());
    // `file@{1}` is the file at `@{1}`.
    let braces = || text.find("@{").filter(|at| *at > 0 && text[*at..].contains('}'));
    last.or_else(|| braces().map(|at| (at, '@')))
}

/// The same bytes with a letter for each that is not ASCII: a path may be of any bytes, marks are not.
fn in_ascii(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { 'x' }).collect()
}

/// The characters of a text that are not in the braces of an `@{…}`.
fn outside_braces(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut end = 0;
    text.char_indices().filter(move |(at, _)| {
        let is_outside = *at >= end;
        if is_outside && text[*at..].starts_with("@{") {
            end = text[*at..].find('}').map_or(end, |len| at + len + 1);
        }
        is_outside
    })
}

impl Repository {
    pub(super) fn unknown(&self, revision: &str) -> RepoError {
        let mut known: Vec<String> = vec!["HEAD".to_owned()];
        for (name, _) in self.refs().list("").unwrap_or_default() {
            known.extend(name.split_once('/').map(|(_, short)| short.to_owned()));
        }
        let nearest = crate::suggest::did_you_mean(revision, known.iter().map(String::as_str));
        RepoError::RevisionNotFound { revision: revision.to_owned(), nearest }
    }

    /// The commit that a revision names.
    pub fn resolve(&self, revision: &str) -> Result<CommitId> {
        let (base, steps) = split_steps(revision).ok_or_else(|| self.unknown(revision))?;
        let mut commit = self.resolve_base(base, revision)?;
        for step in steps {
            commit = self.follow(commit, step)?.ok_or_else(|| self.unknown(revision))?;
        }
        Ok(commit)
    }

    fn resolve_base(&self, base: &str, whole: &str) -> Result<CommitId> {
        if matches!(base, "HEAD" | "@") {
            return match (self.refs().head_commit()?, self.refs().read_head()?) {
                (Some(commit), _) => Ok(commit),
                (None, Head::Branch(name)) => Err(RepoError::Unborn(name)),
                (None, Head::Detached(id)) => Ok(id),
            };
        }
        if base == "MERGE_HEAD"
            && let Some(state) = self.merge_state()?
            && let Some(other) = state.others.first()
        {
            return Ok(*other);
        }
        if let Some(commit) = self.resolve_stash(base)? {
            return Ok(commit);
        }
        if let Some(commit) = self.resolve_past(base)? {
            return Ok(commit);
        }
        if check_ref_name(base).is_ok()
            && let Some((_, commit)) = self.find_ref(base)?
        {
            return Ok(commit);
        }
        self.resolve_prefix(base)?.ok_or_else(|| self.unknown(whole))
    }

    /// The ref that a name means, in full, and its commit.
    pub(super) fn find_ref(&self, name: &str) -> Result<Option<(String, CommitId)>> {
        for name in [name.to_owned(), format!("heads/{name}"), format!("tags/{name}")] {
            match self.refs().read(&name) {
                Ok(Some(record)) => return Ok(Some((name, record.new.commit))),
                Ok(None) | Err(RefError::Name(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn resolve_prefix(&self, text: &str) -> Result<Option<CommitId>> {
        let Some(prefix) = IdPrefix::parse(text) else { return Ok(None) };
        let mut found = self.store()?.find_prefix(&prefix, BlockKind::Commit, MAX_CANDIDATES)?;
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.pop().map(CommitId::from)),
            _ => {
                let candidates = found.iter().map(|id| CommitId::from(*id).short()).collect();
                Err(RepoError::Ambiguous { prefix: text.to_owned(), candidates })
            }
        }
    }

    fn follow(&self, from: CommitId, step: Step) -> Result<Option<CommitId>> {
        let objects = self.objects()?;
        match step {
            Step::Parent(0) => Ok(Some(from)),
            Step::Parent(number) => Ok(objects.commit(&from)?.parents.get(number - 1).copied()),
            Step::First(count) => {
                let mut commit = from;
                for _ in 0..count {
                    let Some(parent) = objects.commit(&commit)?.parents.first().copied() else {
                        return Ok(None);
                    };
                    commit = parent;
                }
                Ok(Some(commit))
            }
        }
    }

    /// Takes `REV:PATH` and `PATH@REV` apart. A path that is there as typed comes first, and one
    /// with a revision that is no text.
    pub fn split_revision_path(
        &self,
        text: &OsStr,
        exists: impl Fn(&OsStr) -> bool,
    ) -> RevisionPath {
        let plain = RevisionPath { revision: None, path: text.to_owned() };
        if exists(text) {
            return plain;
        }
        let bytes = text.as_bytes();
        let Some((at, mark)) = split_point(&in_ascii(bytes)) else { return plain };
        let (before, behind) = (&bytes[..at], &bytes[at + 1..]);
        let (revision, path) = match mark {
            ':' => (before, behind),
            _ if behind.starts_with(b"{") => (&bytes[at..], before),
            _ => (behind, before),
        };
        let Ok(revision) = std::str::from_utf8(revision) else { return plain };
        let path = OsStr::from_bytes(path).to_owned();
        RevisionPath { revision: Some(revision.to_owned()), path }
    }

    /// Checks a path of the repository that a user typed.
    pub fn check_path(path: Vec<u8>) -> Result<RepoPath> {
        RepoPath::new(path.clone()).map_err(|source| RepoError::BadPath { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_split_off_the_base() {
        assert_eq!(split_steps("main"), Some(("main", vec![])));
        assert_eq!(
            split_steps("HEAD~2^^3"),
            Some(("HEAD", vec![Step::First(2), Step::Parent(1), Step::Parent(3)]))
        );
        assert_eq!(split_steps("a~99999999999999999999999"), None);
        assert_eq!(split_steps("a~x"), None);
    }
    #[test]
    fn a_path_and_its_revision_are_told_apart() {
        let cut = |text: &str| split_point(&in_ascii(text.as_bytes())).map(|(at, _)| at);
        for (text, at) in [
            ("a", None),
            ("a@", None),
            ("@", None),
            (":a", None),
            ("@{1}", None),
            ("@{1", None),
            ("HEAD:a@b", Some(4)),
            ("a@HEAD", Some(1)),
            ("ä@b@HEAD", Some(4)),
            ("@{1}:a", Some(4)),
            ("main@{2026-01-02 10:00}:a:b", Some(23)),
            ("a@main@{10:00}", Some(1)),
            ("a@@{1}", Some(1)),
            ("a@{1}", Some(1)),
            ("ä/b@{2 days ago}~1", Some(4)),
            ("a@{b", None),
        ] {
            assert_eq!(cut(text), at, "{text}");
        }
    }
}
