//! What `add` would plan, without doing it.

use std::ops::ControlFlow;

use super::walk::{IgnoredEntries, WalkKind, WalkOptions, stat_one, walk};
use super::{RepoError, Repository, Result};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::adaptive::Planner;

impl Repository {
    /// A planner that has seen every file below `roots` (none for the whole work tree) that ignore
    /// rules do not hide, as if none of it were stored yet. Reads names and sizes, nothing else.
    pub fn survey(&self, roots: &[RepoPath]) -> Result<Planner> {
        let planner = self.planner();
        let root = self.work_tree_handle()?;
        let own_dir = self.own_dir();
        for path in roots {
            let stat = stat_one(&root, path);
            let there = stat.map_err(|source| RepoError::WorkTreeRead {
                path: path.to_os().to_owned(),
                source,
            })?;
            if there.is_none() {
                let (path, place) = (path.as_bytes().to_vec(), "the work tree".to_owned());
                return Err(RepoError::PathNotFound { path, place, nearest: None });
            }
        }
        self.monitor().phase(Phase::Discovery);
        let options = WalkOptions {
            threads: self.threads(),
            rules: self.general_rules(),
            roots: roots.to_vec(),
            include_ignored: false,
            ignored: IgnoredEntries::Hide,
            is_tracked: &|_, _| false,
            enters: &|_| true,
        };
        let walked = walk(&root, &options, |listing| {
            if own_dir.as_ref().is_some_and(|own| listing.dir.is_within(own)) {
                return ControlFlow::Continue(());
            }
            self.monitor().discovered(listing.entries.len() as u64);
            let files =
                listing.entries.iter().filter(|entry| matches!(entry.kind, WalkKind::File { .. }));
            files.for_each(|entry| planner.observe(entry.stat.size));
            if self.cancel_token().is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let path = self.place().work_tree.clone();
        let flow = walked.map_err(|source| RepoError::WorkTreeRead { path, source })?;
        if flow.is_break() { Err(RepoError::Interrupted) } else { Ok(planner) }
    }
}
