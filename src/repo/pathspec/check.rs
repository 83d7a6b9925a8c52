//! Whether each part of a pathspec matches something: one that matches nothing is a mistake.
//!
//! A plain path costs one look-up, a glob the way to the first path that it matches.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::add::path_not_found;
use super::super::beneath::{PathKind, stat_one};
use super::super::diff_trees::{CommittedEntry, committed};
use super::super::scan::Scan;
use super::super::trees::{TreeWalk, find};
use super::super::{RepoError, Repository, Result};
use super::{How, Item, Pathspec};
use crate::id::TreeId;
use crate::path::{RepoPath, escape, split_last};
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedKind, StagedView};
use crate::storage::format::object::EntryKind;
use crate::suggest::did_you_mean;

const STAGING_AREA: &str = "the staging area";

impl Pathspec {
    /// Whether a staged path matches.
    pub fn matches_staged(&self, view: &StagedView<'_>) -> bool {
        self.matches(view.path, view.kind == KindView::EmptyDir)
    }

    /// Whether an entry of a commit matches.
    pub fn matches_entry(&self, entry: &CommittedEntry) -> bool {
        self.matches(entry.path.as_bytes(), entry.kind == StagedKind::EmptyDir)
    }

    /// Refuses a pathspec of which a part matches nothing that is staged.
    pub fn check_staged(&self, staging: &BinaryStagingArea) -> Result<()> {
        self.check_staged_or(staging, &[])
    }

    /// The same; paths in conflict count as staged, though one side may have deleted them.
    pub(in super::super) fn check_staged_or(
        &self,
        staging: &BinaryStagingArea,
        in_conflict: &[RepoPath],
    ) -> Result<()> {
        let is_known = |item: &&Item| is_staged(item, staging) || is_one_of(item, in_conflict);
        let missing = self.items.iter().find(|item| !is_known(item));
        missing.map_or(Ok(()), |item| Err(nothing_matches(item, STAGING_AREA, staging)))
    }

    /// Refuses a pathspec of which a part matches neither what is staged nor what a tree holds.
    pub fn check_staged_or_committed(
        &self,
        repository: &Repository,
        staging: &BinaryStagingArea,
        tree: Option<&TreeId>,
    ) -> Result<()> {
        for item in self.items.iter().filter(|item| !is_staged(item, staging)) {
            let is_committed = match tree {
                Some(tree) => is_committed(item, repository, tree)?,
                None => false,
            };
            if !is_committed {
                return Err(nothing_matches(item, STAGING_AREA, staging));
            }
        }
        Ok(())
    }

    /// Refuses a pathspec of which a part matches nothing in a tree, which is called `place`.
    pub fn check_committed(
        &self,
        repository: &Repository,
        tree: &TreeId,
        place: &str,
    ) -> Result<()> {
        for item in &self.items {
            if !is_committed(item, repository, tree)? {
                if !item.is_literal() {
                    return Err(no_match(item, place));
                }
                let nearest = repository.nearest_committed(tree, &item.root()?);
                let (path, place) = (item.path().to_vec(), place.to_owned());
                return Err(RepoError::PathNotFound { path, place, nearest });
            }
        }
        Ok(())
    }

    /// Refuses a pathspec of which a part matches neither what is staged nor what lies in the work
    /// tree; what is ignored counts with `include_ignored`, and so do paths in conflict.
    pub(in super::super) fn check_work_tree(
        &self,
        scan: &Scan<'_>,
        include_ignored: bool,
        in_conflict: &[RepoPath],
    ) -> Result<()> {
        for item in &self.items {
            let is_there = is_staged(item, scan.staging)
                || is_one_of(item, in_conflict)
                || if item.is_literal() {
                    lies_there(item, scan)?
                } else {
                    is_met(item, scan, include_ignored)?
                };
            if !is_there {
                let error = nothing_matches(item, "the work tree", scan.staging);
                return Err(with_neighbour(error, scan));
            }
        }
        Ok(())
    }

    /// A directory that a part of the pathspec names, where it matches only what lies below.
    pub(in super::super) fn staged_directory(
        &self,
        staging: &BinaryStagingArea,
        in_conflict: &[RepoPath],
    ) -> Option<RepoPath> {
        let item = self.items.iter().find(|item| {
            if item.is_literal() {
                let is_conflict = in_conflict.iter().any(|path| path.as_bytes() == item.path());
                let is_below = staging.views_within(item.path()).next().is_some();
                return staging.view(item.path()).is_none() && (is_below || !is_conflict);
            }
            how_staged(item, staging).all(|how| how == How::Below)
        })?;
        RepoPath::new(item.path()).ok()
    }
}

/// How it matches each staged path that it matches.
fn how_staged<'a>(
    item: &'a Item,
    staging: &'a BinaryStagingArea,
) -> impl Iterator<Item = How> + 'a {
    let views = item.root().into_iter().flat_map(|root| staging.views_within(root.as_bytes()));
    views.filter_map(|view| item.matches(view.path, view.kind == KindView::EmptyDir))
}

fn is_staged(item: &Item, staging: &BinaryStagingArea) -> bool {
    item.matches_everything() || how_staged(item, staging).next().is_some()
}

fn is_one_of(item: &Item, paths: &[RepoPath]) -> bool {
    paths.iter().any(|path| item.matches(path.as_bytes(), false).is_some())
}

fn is_committed(item: &Item, repository: &Repository, tree: &TreeId) -> Result<bool> {
    if item.matches_everything() {
        return Ok(true);
    }
    let (objects, root) = (repository.objects()?, item.root()?);
    if item.is_literal() {
        let found = find(objects, tree, &root)?;
        return Ok(match found {
            Some(EntryKind::Dir { .. }) => true,
            Some(_) => !item.is_dir_only(),
            None => false,
        });
    }
    let below = if root.is_root() {
        *tree
    } else {
        match find(objects, tree, &root)? {
            Some(EntryKind::Dir { tree, .. }) => tree,
            _ => return Ok(false),
        }
    };
    for entry in committed(TreeWalk::new(objects, &below, root)) {
        let entry = entry?;
        let is_dir = entry.kind == StagedKind::EmptyDir;
        if item.matches(entry.path.as_bytes(), is_dir).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what a plain path names lies in the work tree.
fn lies_there(item: &Item, scan: &Scan<'_>) -> Result<bool> {
    let path = item.root()?;
    let found = stat_one(scan.root, &path)
        .map_err(|source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source })?;
    Ok(found.is_some_and(|(kind, _)| kind == PathKind::Dir || !item.is_dir_only()))
}

/// Whether a walk of the work tree meets something that the item matches; it ends there.
fn is_met(item: &Item, scan: &Scan<'_>, include_ignored: bool) -> Result<bool> {
    let is_met = AtomicBool::new(false);
    let root = item.root()?;
    let enters = |dir: &[u8]| item.may_match_below(dir);
    let flow = scan.walk_below(&[root], include_ignored, &enters, |listing| {
        let dir = listing.dir.as_bytes();
        let is_empty_dir = !listing.has_children && !listing.more;
        let met = is_empty_dir && item.matches(dir, true).is_some()
            || listing.entries.iter().any(|entry| {
                let path = listing.dir.join(listing.name(entry));
                path.is_ok_and(|path| item.matches(path.as_bytes(), false).is_some())
            });
        if met {
            is_met.store(true, Ordering::Relaxed);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    let _ = flow?;
    Ok(is_met.load(Ordering::Relaxed))
}

fn nothing_matches(item: &Item, place: &str, staging: &BinaryStagingArea) -> RepoError {
    match item.root() {
        Ok(path) if item.is_literal() => path_not_found(&path, place, staging),
        _ => no_match(item, place),
    }
}

/// Names what lies beside a path that is not there, where nothing staged is like it.
fn with_neighbour(mut error: RepoError, scan: &Scan<'_>) -> RepoError {
    if let RepoError::PathNotFound { path, nearest: nearest @ None, .. } = &mut error {
        let (dir, name) = split_last(path);
        let name = String::from_utf8_lossy(name);
        let names = scan.names_in(dir);
        let beside = did_you_mean(&name, names.iter().map(String::as_str));
        let dir = if dir.is_empty() { String::new() } else { format!("{}/", escape(dir)) };
        *nearest = beside.map(|beside| format!("{dir}{beside}"));
    }
    error
}

fn no_match(item: &Item, place: &str) -> RepoError {
    RepoError::NoMatch { pathspec: item.shown().to_vec(), place: place.to_owned() }
}
