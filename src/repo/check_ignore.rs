//! `check-ignore`: which line of which ignore file decides about a path.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::ignore::{Decision, IgnoreRules};
use super::walk::{PathKind, rules_of_dir, stat_one};
use super::{RepoError, Repository, Result};
use crate::path::RepoPath;
use crate::storage::binary_staging::BinaryStagingArea;

/// Directories whose rules are remembered: neighbours share them.
const REMEMBERED: usize = 4096;

/// Answers questions about single paths.
pub struct IgnoreQueries {
    root: OwnedFd,
    general: Arc<IgnoreRules>,
    /// Where what is staged counts as not ignored.
    staging: Option<BinaryStagingArea>,
    known: HashMap<RepoPath, Arc<IgnoreRules>>,
}

impl Repository {
    /// Begins to answer questions; `no_index` asks the rules about what is staged too.
    pub fn ignore_queries(&self, no_index: bool) -> Result<IgnoreQueries> {
        Ok(IgnoreQueries {
            root: self.work_tree_handle()?,
            general: self.general_rules(),
            staging: if no_index { None } else { Some(self.staging()?) },
            known: HashMap::new(),
        })
    }
}

impl IgnoreQueries {
    /// The line that decides about a path, which need not exist; `is_dir` takes it for a directory
    /// all the same.
    pub fn decision(&mut self, path: &RepoPath, is_dir: bool) -> Result<Option<Decision>> {
        let is_staged = |staging: &BinaryStagingArea| {
            path.is_root() || staging.views_within(path.as_bytes()).next().is_some()
        };
        let Some(dir) = path.parent() else { return Ok(None) };
        if self.staging.as_ref().is_some_and(is_staged) {
            return Ok(None);
        }
        let found = stat_one(&self.root, path)
            .map_err(|source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source })?;
        let is_dir = is_dir || matches!(found, Some((PathKind::Dir, _)));
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let (root, general) = (&self.root, &self.general);
        let rules =
            self.known.entry(dir).or_insert_with_key(|dir| rules_of_dir(root, dir, general).0);
        Ok(rules.explain(path, is_dir))
    }
}
