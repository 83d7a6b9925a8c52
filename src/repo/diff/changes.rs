//! Which paths differ between two versions of everything.

use std::collections::BTreeMap;

use super::super::beneath::{PathKind, read_link, stat_one};
use super::super::diff_trees::StagedChange;
use super::super::path_filter::PathFilter;
use super::super::trees::TreeDiff;
use super::super::{RepoError, Result};
use super::Differ;
use super::rename::{RenameNote, RenameOptions, detect};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, StagedKind};
use crate::storage::format::object::{Content, EntryKind};

/// A version of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A committed tree; `None` holds nothing.
    Tree(Option<TreeId>),
    /// What is staged.
    Staging,
    /// The files of the work tree that are staged.
    WorkTree,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileContent {
    /// It is stored.
    Stored(Content),
    /// It is in the work tree; what `add` would store it as, if that was asked for.
    WorkTree(Option<Content>),
}

impl FileContent {
    /// What it is stored as, where that is known.
    pub fn known(&self) -> Option<Content> {
        match self {
            Self::Stored(content) => Some(*content),
            Self::WorkTree(content) => *content,
        }
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its length in bytes.
        size: u64,
        /// Its bytes.
        content: FileContent,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A directory that holds nothing.
    EmptyDir,
}

/// A path of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where.
    pub path: RepoPath,
    /// What.
    pub kind: ItemKind,
}

/// A path that differs, or one that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// What was there.
    pub old: Option<Item>,
    /// What is there.
    pub new: Option<Item>,
    /// How much of the content is the same, in percent, where it came from another path.
    pub similarity: Option<u8>,
    /// Whether the other path is still there.
    pub is_copy: bool,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Only in the newer.
    Added,
    /// Only in the older.
    Deleted,
    /// Other content or mode.
    Modified,
    /// A file became a link, or the like.
    TypeChanged,
    /// Under another path, with about the same content.
    Renamed,
    /// As another file that is still there.
    Copied,
}

impl Status {
    /// git's letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Deleted => 'D',
            Self::Modified => 'M',
            Self::TypeChanged => 'T',
            Self::Renamed => 'R',
            Self::Copied => 'C',
        }
    }
}

impl FileChange {
    fn plain(old: Option<Item>, new: Option<Item>) -> Self {
        Self { old, new, similarity: None, is_copy: false }
    }

    /// How it differs.
    pub fn status(&self) -> Status {
        match (&self.old, &self.new) {
            _ if self.is_copy => Status::Copied,
            _ if self.similarity.is_some() => Status::Renamed,
            (None, _) => Status::Added,
            (_, None) => Status::Deleted,
            (Some(old), Some(new)) if same_type(&old.kind, &new.kind) => Status::Modified,
            _ => Status::TypeChanged,
        }
    }

    /// Where it is now, or was.
    pub fn path(&self) -> RepoPath {
        let item = self.new.as_ref().or(self.old.as_ref());
        item.map(|item| item.path.clone()).unwrap_or_default()
    }
}

fn same_type(old: &ItemKind, new: &ItemKind) -> bool {
    std::mem::discriminant(old) == std::mem::discriminant(new)
}

/// What is compared.
pub struct DiffSpec<'a> {
    /// The older version.
    pub old: Endpoint,
    /// The newer version.
    pub new: Endpoint,
    /// Which paths are of interest.
    pub paths: &'a PathFilter,
    /// Whether and how moved files are found.
    pub renames: Option<RenameOptions>,
}

impl DiffSpec<'_> {
    /// The other way round.
    fn is_reversed(&self) -> bool {
        matches!(
            (self.old, self.new),
            (Endpoint::Staging, Endpoint::Tree(_)) | (Endpoint::WorkTree, _)
        )
    }
}

impl Differ<'_> {
    /// Hands out what differs, in path order. Between two trees, and without renames to look for,
    /// changes are handed out as they are found; else they are gathered first.
    pub fn for_each_change(
        &self,
        spec: &DiffSpec<'_>,
        mut take: impl FnMut(FileChange) -> Result<()>,
    ) -> Result<Option<RenameNote>> {
        if let (Endpoint::Tree(old), Endpoint::Tree(new)) = (spec.old, spec.new)
            && (spec.renames.is_none() || old.is_none() || new.is_none())
        {
            self.tree_changes(spec, old, new, take)?;
            return Ok(None);
        }
        let mut changes = self.gather(spec)?;
        let note = match &spec.renames {
            Some(options) => detect(self, &mut changes, options)?,
            None => None,
        };
        changes.into_iter().try_for_each(&mut take)?;
        Ok(note)
    }

    fn gather(&self, spec: &DiffSpec<'_>) -> Result<Vec<FileChange>> {
        let is_tree = |endpoint| matches!(endpoint, Endpoint::Tree(_));
        if self.repository.is_past() && !(is_tree(spec.old) && is_tree(spec.new)) {
            return Err(RepoError::Past);
        }
        let mut changes = Vec::new();
        match (spec.old, spec.new) {
            (Endpoint::Tree(old), Endpoint::Tree(new)) => {
                self.tree_changes(spec, old, new, |change| {
                    changes.push(change);
                    Ok(())
                })?;
            }
            (Endpoint::Tree(tree), Endpoint::Staging)
            | (Endpoint::Staging, Endpoint::Tree(tree)) => {
                changes = self.staged(tree, &self.repository.staging()?)?;
            }
            (Endpoint::Staging, Endpoint::WorkTree) | (Endpoint::WorkTree, Endpoint::Staging) => {
                changes = self.unstaged(&self.repository.staging()?, BTreeMap::new())?;
            }
            (Endpoint::Tree(tree), Endpoint::WorkTree)
            | (Endpoint::WorkTree, Endpoint::Tree(tree)) => {
                let staging = self.repository.staging()?;
                let staged = self.staged(tree, &staging)?;
                let staged = staged.into_iter().map(|change| (change.path(), change)).collect();
                changes = self.unstaged(&staging, staged)?;
            }
            (Endpoint::Staging, Endpoint::Staging) | (Endpoint::WorkTree, Endpoint::WorkTree) => {}
        }
        changes.retain(|change| spec.paths.wants(&change.path()));
        if spec.is_reversed() {
            for change in &mut changes {
                std::mem::swap(&mut change.old, &mut change.new);
            }
        }
        Ok(changes)
    }

    fn tree_changes(
        &self,
        spec: &DiffSpec<'_>,
        old: Option<TreeId>,
        new: Option<TreeId>,
        mut take: impl FnMut(FileChange) -> Result<()>,
    ) -> Result<()> {
        let cancel = self.repository.cancel_token();
        for change in
            TreeDiff::new(self.reader.objects, old, new).entering(|dir| spec.paths.enters(dir))
        {
            if cancel.is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            let change = change?;
            if spec.paths.wants(&change.path) {
                let item = |kind| Item { path: change.path.clone(), kind: of_entry(kind) };
                take(FileChange::plain(change.old.map(item), change.new.map(item)))?;
            }
        }
        Ok(())
    }

    /// From a tree to what is staged.
    fn staged(&self, tree: Option<TreeId>, staging: &BinaryStagingArea) -> Result<Vec<FileChange>> {
        let changes = self.repository.changes_from_tree(tree, staging)?;
        let change = |StagedChange { path, old, new }: StagedChange| {
            let item = |(kind, size)| Item { path: path.clone(), kind: of_staged(kind, size) };
            FileChange::plain(old.map(item), new.map(item))
        };
        Ok(changes.into_iter().map(change).collect())
    }

    /// From what is staged to the work tree, after the changes before that.
    fn unstaged(
        &self,
        staging: &BinaryStagingArea,
        mut changes: BTreeMap<RepoPath, FileChange>,
    ) -> Result<Vec<FileChange>> {
        let report = self.repository.status()?;
        for (path, why) in &report.skipped {
            self.repository.monitor().warn(&format!("cannot look at '{path}': {why}"));
        }
        for change in report.unstaged {
            let new = self.work_item(&change.path)?;
            let before = changes.remove(&change.path);
            let is_beyond = before.is_some();
            let old = match before {
                Some(before) => before.old,
                None => staging.get(change.path.as_bytes()).map(|entry| Item {
                    path: entry.path,
                    kind: of_staged(entry.kind, entry.stat.size),
                }),
            };
            let mut change_now = FileChange::plain(old, new);
            if is_beyond && self.is_undone(&mut change_now)? {
                continue;
            }
            changes.insert(change.path, change_now);
        }
        Ok(changes.into_values().collect())
    }

    /// Whether the work tree holds what the tree does, although something else is staged.
    fn is_undone(&self, change: &mut FileChange) -> Result<bool> {
        let (Some(old), Some(new)) = (&change.old, &mut change.new) else {
            return Ok(change.old.is_none() && change.new.is_none());
        };
        let path = new.path.clone();
        if let (
            ItemKind::File { executable: a, size: before, content: FileContent::Stored(stored) },
            ItemKind::File { executable: b, size, content },
        ) = (&old.kind, &mut new.kind)
        {
            if a != b || before != size {
                return Ok(false);
            }
            let now = self.content_of_work_file(&path)?.0;
            *content = FileContent::WorkTree(Some(now));
            return Ok(now == *stored);
        }
        Ok(old.kind == new.kind)
    }

    /// What is at a path of the work tree now; `None` for nothing that can be stored.
    fn work_item(&self, path: &RepoPath) -> Result<Option<Item>> {
        let Some(root) = &self.root else { return Ok(None) };
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        let kind = match stat_one(root, path).map_err(read)? {
            Some((PathKind::File { executable }, stat)) => {
                ItemKind::File { executable, size: stat.size, content: FileContent::WorkTree(None) }
            }
            Some((PathKind::Symlink, _)) => {
                ItemKind::Symlink { target: read_link(root, path).map_err(read)? }
            }
            _ => return Ok(None),
        };
        Ok(Some(Item { path: path.clone(), kind }))
    }
}

fn of_entry(kind: EntryKind) -> ItemKind {
    match kind {
        EntryKind::File { executable, size, content } => {
            ItemKind::File { executable, size, content: FileContent::Stored(content) }
        }
        EntryKind::Symlink { target } => ItemKind::Symlink { target },
        EntryKind::Dir { .. } => ItemKind::EmptyDir,
    }
}

fn of_staged(kind: StagedKind, size: u64) -> ItemKind {
    match kind {
        StagedKind::File { executable, content } => {
            ItemKind::File { executable, size, content: FileContent::Stored(content) }
        }
        StagedKind::Symlink { target } => ItemKind::Symlink { target },
        StagedKind::EmptyDir => ItemKind::EmptyDir,
    }
}
