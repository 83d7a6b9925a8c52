//! Ignore rules: `.digignore` files with git's semantics, nested, `.gitignore` files where the
//! configuration asks for them, and two files that hold for the whole work tree: `exclude` of the
//! repository, and the user's own.
//!
//! The rules of a directory are an immutable chain of nodes, one for each ancestor that has an
//! ignore file, shared by the threads of a walk. Within one kind of file the deepest decides, and
//! within a file its last matching line; any `.digignore` outranks every `.gitignore`, these outrank
//! `exclude`, and the user's own file comes last. Nothing
//! below an ignored directory is taken back: the walker does not enter it, or enters it with
//! [`IgnoreRules::pruned`] for the sake of tracked files. `.git` and `.digstore` are always
//! skipped.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::wildmatch::Pattern;
use crate::path::{REPOSITORY_DIR, RepoPath, escape, split_last};

/// Name of the ignore file.
pub const DIGIGNORE: &str = ".digignore";
/// Name of git's ignore file.
pub const GITIGNORE: &str = ".gitignore";
/// Name of the ignore file in the repository's directory, which is not versioned.
pub const EXCLUDE: &str = "exclude";
/// Bytes of an ignore file that are read; lines behind them have no effect.
pub const MAX_IGNORE_FILE: usize = 1 << 20;

/// Where an ignore file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSource {
    /// In the work tree.
    Tree(RepoPath),
    /// Elsewhere: a path as it is shown.
    Elsewhere(PathBuf),
}

impl RuleSource {
    /// The path.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Tree(path) => path.as_bytes(),
            Self::Elsewhere(path) => path.as_os_str().as_bytes(),
        }
    }
}

impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.as_bytes()))
    }
}

/// Something about an ignore file that people should know of; the walk goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IgnoreWarning {
    /// Longer than [`MAX_IGNORE_FILE`]: the lines behind have no effect.
    #[error("'{0}' is longer than {MAX_IGNORE_FILE} bytes; only its beginning has effect")]
    TooLong(RuleSource),
    /// It is there but cannot be read, so it has no effect.
    #[error("'{0}' has no effect: {1}")]
    Unreadable(RuleSource, String),
}

/// Which line decided about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The ignore file.
    pub file: RuleSource,
    /// Its line, counted from 1.
    pub line: usize,
    /// The pattern as written.
    pub pattern: Vec<u8>,
    /// Whether the path is ignored; `false` when the line begins with `!`.
    pub ignored: bool,
}

/// The lines of one ignore file.
#[derive(Debug)]
struct RuleFile {
    source: RuleSource,
    patterns: Vec<Pattern>,
    /// Patterns that are a plain name, by that name; the last is the strongest, as everywhere.
    by_name: HashMap<Box<[u8]>, Vec<u32>>,
    /// Patterns that are `*` and a literal, by its last byte.
    by_end: Vec<Vec<u32>>,
    /// The others.
    rest: Vec<u32>,
}

impl RuleFile {
    fn parse(source: RuleSource, bytes: &[u8]) -> Self {
        let bytes = head(bytes);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let patterns: Vec<_> =
            lines.filter_map(|(index, line)| Pattern::parse(line, index + 1)).collect();
        let mut by_name: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        let mut by_end = vec![Vec::new(); 256];
        let mut rest = Vec::new();
        for (index, pattern) in (0..).zip(&patterns) {
            if let Some(name) = pattern.plain_name() {
                by_name.entry(name.into()).or_default().push(index);
            } else if let Some(end) = pattern.last_byte() {
                by_end[usize::from(end)].push(index);
            } else {
                rest.push(index);
            }
        }
        Self { source, patterns, by_name, by_end, rest }
    }

    /// The last line that matches; `relative` is relative to the file's directory.
    fn last_match(&self, relative: &[u8], name: &[u8], is_dir: bool) -> Option<&Pattern> {
        let matches = |index: &u32| {
            let pattern = &self.patterns[*index as usize];
            (is_dir || !pattern.dir_only)
                && pattern.matches(if pattern.name_only { name } else { relative })
        };
        let named = self.by_name.get(name);
        let ended = name.last().map(|end| &self.by_end[usize::from(*end)]);
        let mut best: Option<u32> = None;
        for list in [named, ended, Some(&self.rest)].into_iter().flatten() {
            let later = list.iter().copied().rev().take_while(|index| Some(*index) > best);
            best = later.into_iter().find(matches).or(best);
        }
        best.map(|index| &self.patterns[index as usize])
    }

    fn decision(&self, pattern: &Pattern) -> Decision {
        Decision {
            file: self.source.clone(),
            line: pattern.line,
            pattern: pattern.text.to_vec(),
            ignored: !pattern.negated,
        }
    }
}

/// The whole lines among the first [`MAX_IGNORE_FILE`] bytes.
fn head(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= MAX_IGNORE_FILE {
        return bytes;
    }
    let end = bytes[..MAX_IGNORE_FILE].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    &bytes[..end]
}

/// The rules that hold in one directory.
pub struct IgnoreRules {
    parent: Option<Arc<IgnoreRules>>,
    /// Length of the path of the node's directory with its final slash: what is cut off a full
    /// path to make it relative to the ignore files.
    base: usize,
    digignore: Option<RuleFile>,
    gitignore: Option<RuleFile>,
    /// Files that hold everywhere, the strongest first.
    general: Arc<[RuleFile]>,
    use_gitignore: bool,
    /// The directory is ignored, by this decision, and so is everything below.
    pruned: Option<Decision>,
    warnings: Vec<IgnoreWarning>,
}

impl IgnoreRules {
    /// The rules above the work tree, where there are none. The ignore files of the root directory are added as
    /// its [`Self::child`].
    pub fn root(use_gitignore: bool) -> Arc<Self> {
        Arc::new(Self::bare(use_gitignore))
    }

    /// The rules above the work tree, from ignore files that hold for all of it, the strongest
    /// first; `warnings` are about those.
    pub(super) fn general(
        use_gitignore: bool,
        files: Vec<(RuleSource, Vec<u8>)>,
        mut warnings: Vec<IgnoreWarning>,
    ) -> Arc<Self> {
        let too_long = files.iter().filter(|(_, bytes)| bytes.len() > MAX_IGNORE_FILE);
        warnings.extend(too_long.map(|(source, _)| IgnoreWarning::TooLong(source.clone())));
        let files = files.into_iter().map(|(source, bytes)| RuleFile::parse(source, &bytes));
        let general = files.collect();
        Arc::new(Self { general, warnings, ..Self::bare(use_gitignore) })
    }

    fn bare(use_gitignore: bool) -> Self {
        Self {
            parent: None,
            base: 0,
            digignore: None,
            gitignore: None,
            general: Arc::default(),
            use_gitignore,
            pruned: None,
            warnings: Vec::new(),
        }
    }

    /// Whether `.gitignore` files count.
    pub fn use_gitignore(&self) -> bool {
        self.use_gitignore
    }

    /// The rules inside `dir`, given the bytes of its ignore files.
    #[must_use]
    pub fn child(
        self: &Arc<Self>,
        dir: &RepoPath,
        digignore: Option<&[u8]>,
        gitignore: Option<&[u8]>,
    ) -> Arc<Self> {
        let gitignore = gitignore.filter(|_| self.use_gitignore);
        if self.pruned.is_some() || (digignore.is_none() && gitignore.is_none()) {
            return Arc::clone(self);
        }
        let mut warnings = Vec::new();
        let mut read = |name: &str, bytes: Option<&[u8]>| {
            let bytes = bytes?;
            let source = file_in(dir, name);
            if bytes.len() > MAX_IGNORE_FILE {
                warnings.push(IgnoreWarning::TooLong(source.clone()));
            }
            Some(RuleFile::parse(source, bytes))
        };
        let (digignore, gitignore) = (read(DIGIGNORE, digignore), read(GITIGNORE, gitignore));
        Arc::new(Self {
            parent: Some(Arc::clone(self)),
            base: if dir.is_root() { 0 } else { dir.as_bytes().len() + 1 },
            digignore,
            gitignore,
            general: Arc::clone(&self.general),
            use_gitignore: self.use_gitignore,
            pruned: None,
            warnings,
        })
    }

    /// The rules inside `dir` when it is itself ignored by these rules: everything is ignored.
    #[must_use]
    pub fn pruned(self: &Arc<Self>, dir: &RepoPath) -> Arc<Self> {
        let decision = self.explain(dir, true).unwrap_or_else(|| Decision {
            file: RuleSource::Tree(dir.clone()),
            line: 0,
            pattern: Vec::new(),
            ignored: true,
        });
        Arc::new(Self { pruned: Some(decision), ..Self::bare(self.use_gitignore) })
    }

    /// Whether everything is ignored here because a directory above is.
    pub fn is_pruned(&self) -> bool {
        self.pruned.is_some()
    }

    /// Whether nothing is ignored here but `.git` and `.digstore`.
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.pruned.is_none() && self.general.is_empty()
    }

    /// What was odd about the ignore files of this very directory.
    pub fn warnings(&self) -> &[IgnoreWarning] {
        &self.warnings
    }

    /// Whether an entry is ignored; these must be the rules inside its parent directory.
    pub fn is_ignored(&self, path: &RepoPath, is_dir: bool) -> bool {
        self.is_ignored_bytes(path.as_bytes(), is_dir)
    }

    /// As [`Self::is_ignored`], for a path that was checked in pieces.
    pub(super) fn is_ignored_bytes(&self, path: &[u8], is_dir: bool) -> bool {
        if self.pruned.is_some() {
            return true;
        }
        is_always_skipped(split_last(path).1)
            || self.last_match(path, is_dir).is_some_and(|(_, pattern)| !pattern.negated)
    }

    /// The line that decided about an entry; these must be the rules inside its parent directory.
    pub fn explain(&self, path: &RepoPath, is_dir: bool) -> Option<Decision> {
        if self.pruned.is_some() {
            return self.pruned.clone();
        }
        self.last_match(path.as_bytes(), is_dir).map(|(file, pattern)| file.decision(pattern))
    }

    fn last_match(&self, path: &[u8], is_dir: bool) -> Option<(&RuleFile, &Pattern)> {
        let name = split_last(path).1;
        let find = |pick: fn(&Self) -> Option<&RuleFile>| {
            self.chain().find_map(|node| {
                let file = pick(node)?;
                let relative = path.get(node.base..)?;
                Some((file, file.last_match(relative, name, is_dir)?))
            })
        };
        let mut general = self.general.iter();
        find(|node| node.digignore.as_ref())
            .or_else(|| self.use_gitignore.then(|| find(|node| node.gitignore.as_ref()))?)
            .or_else(|| general.find_map(|file| Some((file, file.last_match(path, name, is_dir)?))))
    }

    /// This node and those above.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.parent.as_deref())
    }
}

impl fmt::Debug for IgnoreRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.chain().flat_map(|node| [&node.digignore, &node.gitignore]).flatten();
        let files = files.chain(self.general.iter());
        f.debug_struct("IgnoreRules")
            .field("files", &files.map(|file| &file.source).collect::<Vec<_>>())
            .field("pruned", &self.pruned)
            .finish_non_exhaustive()
    }
}

/// Whether entries of this name are never part of the work tree.
pub fn is_always_skipped(name: &[u8]) -> bool {
    // As in git: where the case of letters does not count, it would be one.
    name.eq_ignore_ascii_case(b".git") || name == REPOSITORY_DIR.as_bytes()
}

/// Whether a path lies in a repository of git's, or is one: no walk sees it, and git would run what its
/// settings name. Nothing is written or removed there.
pub(super) fn leads_into_git(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(is_always_skipped)
}

/// Why such a path is left out, in words.
pub(super) const IN_GIT: &str = "it is, or would be, part of a git repository";

/// The path of an ignore file, for messages.
pub(super) fn file_in(dir: &RepoPath, name: &str) -> RuleSource {
    RuleSource::Tree(dir.join(name.as_bytes()).unwrap_or_else(|_| dir.clone()))
}

#[cfg(test)]
mod tests;
