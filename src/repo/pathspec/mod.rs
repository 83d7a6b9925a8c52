//! Pathspecs, with git's meaning: what a command line names of the paths of a work tree.
//!
//! A pathspec is relative to the current directory and names a path and all that lies below it, or
//! is a glob over whole paths, in which `*` matches slashes too. In front of it may stand magic:
//! `:/` or `:(top)` (relative to the root), `:!`, `:^` or `:(exclude)`, `:(icase)`, `:(literal)`,
//! `:(glob)` (`*` matches no slash, `**` does). A path is matched when one of the pathspecs matches
//! it and none of the excluding ones does; with excluding ones alone, when none of them does.
//!
//! Parsing and matching are pure. [`Pathspec::roots`] and [`Pathspec::may_match_below`] keep a
//! command from looking at more than it must: a literal path costs one look-up.

mod check;
mod file;
mod item;
mod magic;

use std::fmt;

pub use file::read_list;
use item::{How, Item};
use thiserror::Error;

use super::restore::normalise;
use crate::path::{PathError, RepoPath, escape};

/// Why a pathspec is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathspecError {
    /// An empty text: it could mean everything or nothing.
    #[error("an empty pathspec names nothing")]
    Empty,
    /// A list of pathspecs that holds none.
    #[error("the list of pathspecs is empty")]
    NoneListed,
    /// `:(` without `)`.
    #[error("the pathspec '{}' lacks the ')' of its magic", escape(.0))]
    Unclosed(Vec<u8>),
    /// A word of magic that does not exist.
    #[error("the pathspec '{}' has the unknown magic '{}'", escape(pathspec), escape(magic))]
    UnknownMagic {
        /// The pathspec as typed.
        pathspec: Vec<u8>,
        /// The word.
        magic: Vec<u8>,
        /// The nearest word that exists.
        nearest: Option<String>,
    },
    /// `:(literal)` and `:(glob)` at once.
    #[error("the pathspec '{}' cannot be both 'literal' and 'glob'", escape(.0))]
    LiteralGlob(Vec<u8>),
    /// It leads out of the work tree.
    #[error("the pathspec '{}' leads out of the work tree", escape(.0))]
    Outside(Vec<u8>),
    /// It names what can never be stored.
    #[error("the pathspec '{}' can match nothing", escape(pathspec))]
    Path {
        /// The pathspec as typed.
        pathspec: Vec<u8>,
        /// Why.
        source: PathError,
    },
    /// A quoted line of a list that is no such thing.
    #[error("line {0} of the list of pathspecs is not quoted as it should be")]
    BadQuotes(usize),
}

/// What pathspecs are relative to.
pub struct Base<'a> {
    /// The current directory.
    pub dir: &'a RepoPath,
    /// What excluding pathspecs on their own are taken from: the directory instead of everything.
    pub excludes_from_dir: bool,
    /// Makes an absolute path relative to the root of the work tree; `None` outside of it.
    pub absolute: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

/// A set of pathspecs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pathspec {
    /// None for everything.
    items: Vec<Item>,
    excludes: Vec<Item>,
    /// The directories and files to which all matches are confined, none within another.
    roots: Vec<RepoPath>,
}

impl Pathspec {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads pathspecs; none for everything.
    pub fn parse<T: AsRef<[u8]>>(texts: &[T], base: &Base<'_>) -> Result<Self, PathspecError> {
        let (mut items, mut excludes) = (Vec::new(), Vec::new());
        for text in texts {
            let (item, is_exclude) = Item::parse(text.as_ref(), base)?;
            if is_exclude { excludes.push(item) } else { items.push(item) }
        }
        if items.is_empty() && base.excludes_from_dir && !excludes.is_empty() {
            items.push(Item::literal(base.dir));
        }
        Self::new(items, excludes)
    }

    /// What is typed in the root of the work tree to mean what `text` means in the current
    /// directory: one pathspec, or two. Letter case that does not count does not count in that
    /// directory's path either then.
    pub fn from_root(text: &[u8], base: &Base<'_>) -> Result<Vec<Vec<u8>>, PathspecError> {
        Item::from_root(text, base)
    }

    fn new(items: Vec<Item>, excludes: Vec<Item>) -> Result<Self, PathspecError> {
        let roots: Result<Vec<_>, _> = items.iter().map(Item::root).collect();
        Ok(Self { items, excludes, roots: normalise(&roots?) })
    }

    /// Whether every path matches.
    pub fn is_all(&self) -> bool {
        self.excludes.is_empty()
            && (self.items.is_empty() || self.items.iter().any(Item::matches_everything))
    }

    /// Whether a path matches.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        (self.items.is_empty()
            || self.items.iter().any(|item| item.matches(path, is_dir).is_some()))
            && !self.excludes.iter().any(|item| item.matches(path, is_dir).is_some())
    }

    /// Whether anything below a directory may match; what is not is not looked at.
    pub fn may_match_below(&self, dir: &[u8]) -> bool {
        (self.items.is_empty() || self.items.iter().any(|item| item.may_match_below(dir)))
            && !self.excludes.iter().any(|item| item.covers(dir))
    }

    /// Whether everything at and below a directory matches.
    pub fn covers(&self, dir: &[u8]) -> bool {
        (self.items.is_empty() || self.items.iter().any(|item| item.covers(dir)))
            && !self.excludes.iter().any(|item| item.may_match_below(dir))
            && self.matches(dir, true)
    }

    /// Whether a path is named itself, without wildcards, or lies below such a name that is `far`.
    pub fn names_outright(&self, path: &[u8], far: impl Fn(&[u8]) -> bool) -> bool {
        let is_named = |item: &Item| {
            item.is_literal()
                && !item.matches_everything()
                && item.matches(path, true).is_some()
                && (item.path() == path || far(item.path()))
        };
        self.items.iter().any(is_named)
    }

    /// The files and directories at or below which everything lies that matches, in path order,
    /// none within another; the root where that may be anywhere.
    pub fn roots(&self) -> Vec<RepoPath> {
        if self.roots.is_empty() { vec![RepoPath::root()] } else { self.roots.clone() }
    }

    /// Each pathspec, for messages: from the root of the work tree where it is a plain path.
    pub fn shown(&self) -> impl Iterator<Item = String> {
        self.items.iter().chain(&self.excludes).map(ToString::to_string)
    }
}

impl From<Vec<RepoPath>> for Pathspec {
    /// These paths, literally, and all that lies below them; none for everything.
    fn from(paths: Vec<RepoPath>) -> Self {
        let roots = normalise(&paths);
        Self { items: paths.iter().map(Item::literal).collect(), excludes: Vec::new(), roots }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.shown()))
    }
}

#[cfg(test)]
mod tests;
