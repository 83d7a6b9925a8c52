//! What the staging area would change in the last commit.

use std::cmp::Ordering;

use super::trees::{TreeWalk, find, is_empty_tree};
use super::{Repository, Result};
use crate::id::TreeId;
use crate::path::{RepoPath, compare};
use crate::storage::binary_staging::{BinaryStagingArea, StagedEntry, StagedKind};
use crate::storage::format::object::EntryKind;

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only in the newer.
    Added,
    /// Other content or mode.
    Modified,
    /// Only in the older.
    Deleted,
    /// A file became a link, or the other way round.
    TypeChanged,
}

impl ChangeKind {
    /// git's letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Modified => 'M',
            Self::Deleted => 'D',
            Self::TypeChanged => 'T',
        }
    }
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub path: RepoPath,
    /// How.
    pub kind: ChangeKind,
}

/// A committed entry in the terms of the staging area; directories count only when empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Where.
    pub path: RepoPath,
    /// What.
    pub kind: StagedKind,
    /// Bytes of a file.
    pub size: u64,
}

/// The entries of a committed tree as the staging area would hold them, in its order.
pub fn committed(walk: TreeWalk) -> impl Iterator<Item = Result<CommittedEntry>> {
    walk.filter_map(|item| {
        let item = match item {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        let (kind, size) = as_staged(item.kind)?;
        Some(Ok(CommittedEntry { path: item.path, kind, size }))
    })
}

/// An entry of a tree as the staging area would hold it, with its size; `None` for a directory
/// that is not empty.
pub(super) fn as_staged(kind: EntryKind) -> Option<(StagedKind, u64)> {
    Some(match kind {
        EntryKind::File { executable, content, size } => {
            (StagedKind::File { executable, content }, size)
        }
        EntryKind::Symlink { target } => (StagedKind::Symlink { target }, 0),
        EntryKind::Dir { tree, .. } => (is_empty_tree(&tree).then_some(StagedKind::EmptyDir)?, 0),
    })
}

/// A path that differs between a tree and the staging area, and what is there: its kind, and the
/// bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedChange {
    /// Where.
    pub path: RepoPath,
    /// What is committed.
    pub old: Option<(StagedKind, u64)>,
    /// What is staged.
    pub new: Option<(StagedKind, u64)>,
}

impl StagedChange {
    /// The change from one to the other; `None` where both are the same.
    fn new(old: Option<CommittedEntry>, new: Option<StagedEntry>) -> Option<Self> {
        let (path, old) = old.map(|entry| (entry.path, (entry.kind, entry.size))).unzip();
        let (new_path, new) = new.map(|entry| (entry.path, (entry.kind, entry.stat.size))).unzip();
        let change = Self { path: path.or(new_path)?, old, new };
        change.kind().is_some().then_some(change)
    }

    /// How it differs.
    fn kind(&self) -> Option<ChangeKind> {
        match (&self.old, &self.new) {
            (None, None) => None,
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Deleted),
            (Some((old, _)), Some((new, _))) => compare_kinds(old, new),
        }
    }

    fn into_change(self) -> Option<Change> {
        let kind = self.kind()?;
        Some(Change { path: self.path, kind })
    }
}

/// If more than this part of the entries changed, reading all trees in order is quicker than
/// looking each path up.
const MOST_CHANGED: usize = 64;

/// How `new` differs from `old`.
pub fn compare_kinds(old: &StagedKind, new: &StagedKind) -> Option<ChangeKind> {
    if old == new {
        None
    } else if std::mem::discriminant(old) == std::mem::discriminant(new) {
        Some(ChangeKind::Modified)
    } else {
        Some(ChangeKind::TypeChanged)
    }
}

impl Repository {
    /// The tree of the last commit.
    pub fn head_tree(&self) -> Result<Option<TreeId>> {
        let Some(head) = self.refs().head_commit()? else { return Ok(None) };
        Ok(Some(self.objects()?.commit(&head)?.tree))
    }

    /// Differences between the last commit and the staging area, in path order.
    pub fn staged_changes(&self, staging: &BinaryStagingArea) -> Result<Vec<Change>> {
        let changes = self.changes_from_tree(self.head_tree()?, staging)?;
        Ok(changes.into_iter().filter_map(StagedChange::into_change).collect())
    }

    /// Differences between a tree, or nothing, and the staging area, in path order.
    pub fn changes_from_tree(
        &self,
        tree: Option<TreeId>,
        staging: &BinaryStagingArea,
    ) -> Result<Vec<StagedChange>> {
        let Some(tree) = tree else {
            let added = |entry: StagedEntry| StagedChange::new(None, Some(entry));
            return Ok(staging.iter().filter_map(added).collect());
        };
        if staging.clean_tree() == Some(tree) {
            return Ok(Vec::new());
        }
        if let Some((last, changed)) = staging.changes_since_tree()
            && last == tree
            && changed.len() <= staging.len() / MOST_CHANGED
        {
            return self.changes_at(&tree, staging, &changed);
        }
        let mut old = committed(TreeWalk::new(self.objects()?, &tree, RepoPath::root())).peekable();
        let mut changes = Vec::new();
        for new in staging.iter() {
            while let Some(gone) =
                old.next_if(|old| old.as_ref().map_or(true, |old| old.path < new.path))
            {
                changes.extend(StagedChange::new(Some(gone?), None));
            }
            let same = old.next_if(|old| {
                old.as_ref().is_ok_and(|old| {
                    compare(old.path.as_bytes(), new.path.as_bytes()) == Ordering::Equal
                })
            });
            changes.extend(StagedChange::new(same.transpose()?, Some(new)));
        }
        for gone in old {
            changes.extend(StagedChange::new(Some(gone?), None));
        }
        Ok(changes)
    }

    /// Differences between a tree and the staging area at some paths.
    fn changes_at(
        &self,
        tree: &TreeId,
        staging: &BinaryStagingArea,
        paths: &[&[u8]],
    ) -> Result<Vec<StagedChange>> {
        let mut changes = Vec::new();
        for bytes in paths {
            let Ok(path) = RepoPath::new(*bytes) else { continue };
            let old = find(self.objects()?, tree, &path)?.and_then(as_staged);
            let old = old.map(|(kind, size)| CommittedEntry { path, kind, size });
            changes.extend(StagedChange::new(old, staging.get(bytes)));
        }
        Ok(changes)
    }
}
