//! One pathspec.

use super::super::wildmatch::Glob;
use super::magic::Magic;
use super::{Base, PathspecError};
use crate::path::{MAX_PATH, PathError, RepoPath, split_last};

/// How a path was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It lies below what the pathspec names.
    Below,
    /// It is what the pathspec names, or its glob matches it.
    Itself,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// As typed.
    text: Vec<u8>,
    /// From the root of the work tree, without a final slash.
    path: Vec<u8>,
    /// It ended in a slash: only a directory is meant.
    dir_only: bool,
    /// Letter case counts only in the first `fixed` bytes, which the current directory gave.
    icase: bool,
    fixed: usize,
    /// For a pathspec with wildcards; its text itself matches literally all the same.
    glob: Option<Glob>,
}

impl Item {
    /// Exactly this path, and all below it.
    pub(super) fn literal(path: &RepoPath) -> Self {
        let path = path.as_bytes().to_vec();
        let text = if path.is_empty() { b".".to_vec() } else { path.clone() };
        Self { text, path, dir_only: false, icase: false, fixed: 0, glob: None }
    }

    /// Reads one pathspec; answers also whether it excludes.
    pub(super) fn parse(text: &[u8], base: &Base<'_>) -> Result<(Self, bool), PathspecError> {
        if text.is_empty() {
            return Err(PathspecError::Empty);
        }
        let (magic, rest) = Magic::split(text)?;
        let outside = || PathspecError::Outside(text.to_vec());
        let bad = |source| PathspecError::Path { pathspec: text.to_vec(), source };
        let below;
        let (start, rest) = if rest.first() == Some(&b'/') && !magic.top {
            below = (base.absolute)(rest).ok_or_else(outside)?;
            (&b""[..], below.as_slice())
        } else {
            (if magic.top { &b""[..] } else { base.dir.as_bytes() }, rest)
        };
        let (path, fixed, dir_only) = join(start, rest).ok_or_else(outside)?;
        if path.len() > MAX_PATH {
            return Err(bad(PathError::LongPath(path.len())));
        }
        if path.contains(&0) {
            return Err(bad(PathError::ForbiddenByte));
        }
        let mut pattern = path.clone();
        if dir_only {
            pattern.push(b'/');
        }
        let wild = !magic.literal && Glob::is_glob(&pattern[fixed.min(pattern.len())..]);
        let glob = wild.then(|| Glob::new(&pattern, fixed, magic.glob, magic.icase));
        let icase = magic.icase;
        if !wild && !icase {
            crate::path::check_path(&path).map_err(bad)?;
        }
        let item = Self { text: text.to_vec(), path, dir_only, icase, fixed, glob };
        Ok((item, magic.exclude))
    }

    /// See [`super::Pathspec::from_root`].
    pub(super) fn from_root(text: &[u8], base: &Base<'_>) -> Result<Vec<Vec<u8>>, PathspecError> {
        let (item, exclude) = Self::parse(text, base)?;
        let (magic, _) = Magic::split(text)?;
        let is_special = |byte: &u8| b"*?[\\".contains(byte);
        let dir = &item.path[..item.fixed.min(item.path.len())];
        let escapes = item.glob.is_some() && dir.iter().any(is_special);
        let literal = Magic { exclude, icase: magic.icase, literal: true, ..Magic::default() };
        if item.glob.is_none() {
            let literal = Magic { literal: item.path.iter().any(is_special), ..literal };
            return Ok(vec![literal.typed(&item.path, item.dir_only)]);
        }
        let mut pattern = Vec::with_capacity(item.path.len());
        for (at, byte) in item.path.iter().enumerate() {
            if at < dir.len() && is_special(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        let wild = Magic { glob: magic.glob, literal: false, ..literal };
        let mut typed = vec![wild.typed(&pattern, item.dir_only)];
        // The text itself matches literally all the same, if there can be such a path.
        if escapes && crate::path::check_path(&item.path).is_ok() {
            typed.push(literal.typed(&item.path, item.dir_only));
        }
        Ok(typed)
    }

    /// What people see.
    pub(super) fn shown(&self) -> &[u8] {
        let is_plain = self.is_literal() && !self.text.starts_with(b":") && !self.path.is_empty();
        if is_plain { &self.path } else { &self.text }
    }

    /// The path or the pattern, from the root of the work tree.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it names one path and what lies below it.
    pub(super) fn is_literal(&self) -> bool {
        self.glob.is_none() && !self.icase
    }

    /// Whether only a directory is meant.
    pub(super) fn is_dir_only(&self) -> bool {
        self.dir_only
    }

    pub(super) fn matches_everything(&self) -> bool {
        self.path.is_empty()
    }

    /// The path at or below which everything lies that it matches.
    pub(super) fn root(&self) -> Result<RepoPath, PathspecError> {
        let path = if self.is_literal() {
            &self.path[..]
        } else {
            let plain = if self.icase { self.fixed } else { self.plain_len() };
            split_last(&self.path[..plain.min(self.path.len())]).0
        };
        let bad = |source| PathspecError::Path { pathspec: self.text.clone(), source };
        RepoPath::new(path).map_err(bad)
    }

    fn plain_len(&self) -> usize {
        self.glob.as_ref().map_or(self.path.len(), Glob::plain_len)
    }

    /// Whether `path` begins with the first `len` bytes of the pathspec.
    fn begins(&self, path: &[u8], len: usize) -> bool {
        let Some(start) = path.get(..len) else { return false };
        if self.icase {
            let fixed = self.fixed.min(len);
            start[..fixed] == self.path[..fixed] && start.eq_ignore_ascii_case(&self.path[..len])
        } else {
            *start == self.path[..len]
        }
    }

    /// How it matches a path, if it does.
    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> Option<How> {
        let len = self.path.len();
        if len == 0 {
            return Some(How::Below);
        }
        if self.begins(path, len) {
            match path.get(len) {
                None if is_dir || !self.dir_only => return Some(How::Itself),
                Some(b'/') => return Some(How::Below),
                _ => {}
            }
        }
        let glob = self.glob.as_ref()?;
        // Behind the current directory, letter case may count.
        let fixed = self.fixed.min(len);
        (self.begins(path, fixed) && glob.matches(path)).then_some(How::Itself)
    }

    /// Whether everything at and below a directory is matched, for all that its text says.
    pub(super) fn covers(&self, dir: &[u8]) -> bool {
        let len = self.path.len();
        len == 0 || self.begins(dir, len) && matches!(dir.get(len), None | Some(b'/'))
    }

    /// Whether it may match something below a directory.
    pub(super) fn may_match_below(&self, dir: &[u8]) -> bool {
        if dir.is_empty() || self.covers(dir) {
            return true;
        }
        let leads_there = self.begins(dir, dir.len().min(self.path.len()))
            && self.path.get(dir.len()) == Some(&b'/');
        leads_there || self.glob.as_ref().is_some_and(|glob| glob.may_match_below(dir))
    }
}

/// Joins a directory and a path by the text alone: takes out `.`, `..` and empty components.
/// Answers the path, how many bytes of it `dir` gave, and whether it ended in a slash; `None`
/// when it leads out of the work tree.
fn join(dir: &[u8], path: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    let mut joined = dir.to_vec();
    let mut fixed = dir.len();
    let mut is_dir = false;
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => is_dir = true,
            b".." => {
                if joined.is_empty() {
                    return None;
                }
                joined.truncate(split_last(&joined).0.len());
                fixed = fixed.min(joined.len());
                is_dir = true;
            }
            name => {
                if !joined.is_empty() {
                    joined.push(b'/');
                }
                if fixed + 1 == joined.len() {
                    fixed = joined.len();
                }
                joined.extend_from_slice(name);
                is_dir = false;
            }
        }
    }
    let is_dir = is_dir && !path.is_empty() && !joined.is_empty();
    Some((joined, fixed, is_dir))
}
