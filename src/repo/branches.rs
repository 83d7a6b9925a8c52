//! Branches: listing, making, renaming, deleting. Moving `HEAD` to one is `switch`.

use thiserror::Error;

use super::{RepoError, Repository, Result};
use crate::id::CommitId;
use crate::storage::format::refs::{Head, check_ref_name};
use crate::storage::refs::{BRANCHES, RefError};

/// One branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name, without `heads/`.
    pub name: String,
    /// Its newest commit.
    pub commit: CommitId,
    /// Whether `HEAD` names it.
    pub is_current: bool,
}

/// Why a branch cannot be made, renamed or deleted.
#[derive(Debug, Error)]
pub enum BranchError {
    /// There is one of that name.
    #[error("branch '{0}' exists already")]
    Exists(String),
    /// `HEAD` names it.
    #[error("branch '{0}' is checked out")]
    Current(String),
    /// Commits that no other branch leads to would be out of sight.
    #[error("branch '{name}' is not merged into {into}")]
    NotMerged {
        /// The branch.
        name: String,
        /// Where it was looked for.
        into: String,
    },
    /// The revision is a commit, not a branch.
    #[error("'{0}' is not a branch")]
    NotABranch(String),
    /// There is no branch that was checked out before.
    #[error("no branch was checked out before this one")]
    NoPrevious,
}

/// The ref of a branch.
pub(super) fn branch_ref(name: &str) -> Result<String> {
    check_ref_name(name).map_err(|source| RepoError::Ref(RefError::Name(source)))?;
    Ok(format!("{BRANCHES}/{name}"))
}

impl Repository {
    /// All branches, sorted by name.
    pub fn branches(&self) -> Result<Vec<Branch>> {
        let head = self.refs().read_head()?;
        let branch = |(name, record): (String, crate::storage::refs::RefRecord)| {
            let name = name.strip_prefix("heads/")?.to_owned();
            let is_current = head == Head::Branch(name.clone());
            Some(Branch { name, commit: record.new.commit, is_current })
        };
        Ok(self.refs().list(BRANCHES)?.into_iter().filter_map(branch).collect())
    }

    /// The commit of a branch; an error with the nearest name if there is none.
    pub fn branch_commit(&self, name: &str) -> Result<CommitId> {
        let known = match branch_ref(name) {
            Ok(full) => self.refs().read(&full)?,
            Err(_) => None,
        };
        known.map(|record| record.new.commit).ok_or_else(|| self.unknown_branch(name))
    }

    pub(super) fn unknown_branch(&self, name: &str) -> RepoError {
        let names = self.branches().unwrap_or_default();
        let names = names.iter().map(|branch| branch.name.as_str());
        let nearest = crate::suggest::did_you_mean(name, names);
        RepoError::RevisionNotFound { revision: name.to_owned(), nearest }
    }

    /// Makes a branch at a commit; with `force`, moves one that is there and not checked out.
    pub fn create_branch(&self, name: &str, at: CommitId, force: bool) -> Result<()> {
        let full = branch_ref(name)?;
        let mut op = self.begin(format!("branch {name}"))?;
        if op.read_ref(&full)?.is_some() && !force {
            return Err(BranchError::Exists(name.to_owned()).into());
        }
        if *op.head() == Head::Branch(name.to_owned()) && op.head_commit()?.is_some() {
            return Err(BranchError::Current(name.to_owned()).into());
        }
        op.set_ref(&full, Some(at.into()))?;
        op.finish()?;
        Ok(())
    }

    /// Gives a branch another name; `HEAD` follows. With `force`, a branch of the new name goes.
    pub fn rename_branch(&self, old: &str, new: &str, force: bool) -> Result<()> {
        let (old_full, new_full) = (branch_ref(old)?, branch_ref(new)?);
        let mut op = self.begin(format!("branch -m {old} {new}"))?;
        let value = op.read_ref(&old_full)?;
        let is_current = *op.head() == Head::Branch(old.to_owned());
        if value.is_none() && !is_current {
            return Err(self.unknown_branch(old));
        }
        if old == new {
            return Ok(());
        }
        if op.read_ref(&new_full)?.is_some() {
            if !force {
                return Err(BranchError::Exists(new.to_owned()).into());
            }
            if *op.head() == Head::Branch(new.to_owned()) {
                return Err(BranchError::Current(new.to_owned()).into());
            }
        }
        if let Some(value) = value {
            op.set_ref(&old_full, None)?;
            op.set_ref(&new_full, Some(value))?;
        }
        if is_current {
            op.set_head(Head::Branch(new.to_owned()));
        }
        op.finish()?;
        Ok(())
    }

    /// Deletes branches, all or none; without `force` only those that `HEAD` leads to. Returns
    /// where they were.
    pub fn delete_branches(&self, names: &[String], force: bool) -> Result<Vec<Branch>> {
        let mut op = self.begin(format!("branch -d {}", names.join(" ")))?;
        let head = op.head_commit()?;
        let mut deleted = Vec::new();
        for name in names {
            let full = branch_ref(name)?;
            let value = op.read_ref(&full)?.ok_or_else(|| self.unknown_branch(name))?;
            if *op.head() == Head::Branch(name.clone()) {
                return Err(BranchError::Current(name.clone()).into());
            }
            let is_merged = match head {
                Some(head) if !force => self.is_ancestor(value.commit, head)?,
                _ => force,
            };
            if !is_merged {
                let into = match op.head() {
                    Head::Branch(name) => format!("'{name}'"),
                    Head::Detached(id) => format!("commit {}", id.short()),
                };
                return Err(BranchError::NotMerged { name: name.clone(), into }.into());
            }
            op.set_ref(&full, None)?;
            let name = name.clone();
            deleted.push(Branch { name, commit: value.commit, is_current: false });
        }
        op.finish()?;
        Ok(deleted)
    }
}
