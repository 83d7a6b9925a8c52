//! `restore --target`: into a directory that is not the work tree.
//!
//! Nothing that it replaces there is stored first, so that it stays away from what somebody counts on:
//! the repository, and files of the work tree.

use std::path::{Path, PathBuf};

use super::super::checkout::CheckoutReport;
use super::super::worktree::WorkTree;
use super::super::{Place, RepoError, Repository, Result};
use super::{RestoreOptions, Sweep};
use crate::path::RepoPath;
use crate::progress::Phase;

impl Repository {
    pub(super) fn restore_into(
        &self,
        options: &RestoreOptions,
        target: &Path,
    ) -> Result<CheckoutReport> {
        self.monitor().phase(Phase::Restoring);
        self.check_target(target)?;
        let work_tree = WorkTree::create(target)?;
        // What was not there can be told for sure now.
        let own = self.check_target(target)?;
        // What comes from a commit needs no staging area.
        let staging = options.source.is_none().then(|| self.staging()).transpose()?;
        let mut sweep = Sweep { work_tree: &work_tree, last_dir: None, swept: 0 };
        let entries = self.entries(options, staging.as_ref())?.map(|entry| {
            let entry = entry?;
            if own.iter().any(|own| entry.path.is_within(own)) {
                return Err(bad_target(target, "it holds the repository or its work tree"));
            }
            if !work_tree.is_fresh() {
                sweep.pass(&entry.path);
            }
            Ok(entry)
        });
        let mut report = self.checkout(&work_tree, entries)?;
        report.swept = sweep.swept;
        staging.map_or(Ok(()), |staging| staging.check())?;
        Ok(report)
    }

    /// Refuses a target whose files are not for others to replace: those of the repository, and those
    /// of its work tree, which a restore without a target stores first. Answers where either lies in
    /// the target.
    fn check_target(&self, target: &Path) -> Result<Vec<RepoPath>> {
        let Place { repository, work_tree } = self.place();
        let (real_target, repository, work_tree) =
            (real(target), real(repository), real(work_tree));
        if real_target.starts_with(&repository) {
            return Err(bad_target(target, "it lies in the repository"));
        }
        let mut entries = std::fs::read_dir(&real_target).into_iter().flatten();
        if real_target.starts_with(&work_tree) && entries.next().is_some() {
            return Err(bad_target(target, "it holds files of the work tree"));
        }
        let below = |path: &PathBuf| {
            let below = path.strip_prefix(&real_target).ok()?.as_os_str();
            RepoPath::new(below.as_encoded_bytes()).ok().filter(|path| !path.is_root())
        };
        Ok([repository, work_tree].iter().filter_map(below).collect())
    }
}

fn bad_target(target: &Path, why: &'static str) -> RepoError {
    RepoError::BadTarget { target: target.to_owned(), why }
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(std::fs::canonicalize(above).ok()?.join(rest))
    });
    known.unwrap_or_else(|| path.to_owned())
}
