//! `commit`: writes the staged state as trees and one commit, and moves the branch.
//!
//! The work tree is not read. Trees are built in one pass over the staging area, whose order is
//! that of the trees; a directory whose tree is stored already costs a hash and a lookup.

use super::source::WorkTreeSource;
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::binary_staging::{BinaryStagingArea, StagedEntry, StagedKind};
use crate::storage::format::object::{
    Commit, Content, EntryKind, MAX_MESSAGE, Signature, TreeEntry,
};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::refs::Head;
use crate::storage::objects::{ObjectSink, TreeBuilder, TreeTotals};

/// What is recorded besides the files.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// Why.
    pub message: String,
    /// Who wrote the change, and when.
    pub author: Signature,
    /// Who records it, and when.
    pub committer: Signature,
    /// Even when nothing changed.
    pub allow_empty: bool,
}

/// What `commit` did.
#[derive(Debug, Clone)]
pub struct CommitReport {
    /// The commit.
    pub id: CommitId,
    /// As stored.
    pub commit: Commit,
    /// The branch that moved; `None` when `HEAD` is detached.
    pub branch: Option<String>,
}

/// Builds the trees of entries that come in path order.
struct TreeStack {
    /// Open directories from the root down, each with its name.
    open: Vec<(Vec<u8>, TreeBuilder)>,
}

impl TreeStack {
    fn new() -> Self {
        Self { open: vec![(Vec::new(), TreeBuilder::default())] }
    }

    fn push<S: ObjectSink>(
        &mut self,
        entry: &StagedEntry,
        sink: &mut S,
    ) -> std::result::Result<(), S::Error> {
        let dir = entry.path.parent().unwrap_or_else(RepoPath::root);
        let shared = {
            let open = self.open.iter().skip(1).map(|(name, _)| name.as_slice());
            open.zip(dir.components()).take_while(|(a, b)| a == b).count()
        };
        while self.open.len() > shared + 1 {
            self.close(sink)?;
        }
        for name in dir.components().skip(shared) {
            self.open.push((name.to_vec(), TreeBuilder::default()));
        }
        let kind = entry_kind(entry, sink)?;
        self.add(TreeEntry { name: entry.path.name().to_vec(), kind }, sink)
    }

    fn add<S: ObjectSink>(
        &mut self,
        entry: TreeEntry,
        sink: &mut S,
    ) -> std::result::Result<(), S::Error> {
        match self.open.last_mut() {
            Some((_, builder)) => builder.push(entry, sink),
            None => Ok(()),
        }
    }

    /// Ends the innermost directory and enters it into the one around it.
    fn close<S: ObjectSink>(&mut self, sink: &mut S) -> std::result::Result<(), S::Error> {
        let Some((name, builder)) = self.open.pop() else { return Ok(()) };
        let TreeTotals { tree, files, bytes } = builder.finish(sink)?;
        self.add(TreeEntry { name, kind: EntryKind::Dir { tree, files, bytes } }, sink)
    }

    fn finish<S: ObjectSink>(mut self, sink: &mut S) -> std::result::Result<TreeTotals, S::Error> {
        while self.open.len() > 1 {
            self.close(sink)?;
        }
        let root = self.open.pop().map(|(_, builder)| builder).unwrap_or_default();
        root.finish(sink)
    }
}

fn entry_kind<S: ObjectSink>(
    entry: &StagedEntry,
    sink: &mut S,
) -> std::result::Result<EntryKind, S::Error> {
    Ok(match &entry.kind {
        StagedKind::File { executable, content } => {
            let size = if *content == Content::Empty { 0 } else { entry.stat.size };
            EntryKind::File { executable: *executable, size, content: *content }
        }
        StagedKind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        StagedKind::EmptyDir => {
            let TreeTotals { tree, files, bytes } = TreeBuilder::default().finish(sink)?;
            EntryKind::Dir { tree, files, bytes }
        }
    })
}

/// Writes the trees of everything staged.
pub fn write_trees<S: ObjectSink>(
    staging: &BinaryStagingArea,
    sink: &mut S,
) -> std::result::Result<TreeTotals, S::Error> {
    let mut stack = TreeStack::new();
    for entry in staging.iter() {
        stack.push(&entry, sink)?;
    }
    stack.finish(sink)
}

fn check_message(message: &str) -> Result<()> {
    if message.trim().is_empty() {
        return Err(RepoError::BadMessage("empty"));
    }
    if message.len() > MAX_MESSAGE {
        return Err(RepoError::BadMessage("longer than 1 MiB"));
    }
    Ok(())
}

impl Repository {
    /// Records what is staged.
    pub fn commit(&self, options: CommitOptions) -> Result<CommitReport> {
        check_message(&options.message)?;
        let _lock = self.lock()?;
        let mut staging = self.staging()?;
        let head = self.refs().read_head()?;
        let parent = self.refs().head_commit()?;
        let parent_tree = self.head_tree()?;
        if parent.is_none() && staging.is_empty() && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        if parent_tree.is_some() && staging.clean_tree() == parent_tree && !options.allow_empty {
            return Err(RepoError::NothingToCommit);
        }
        self.monitor().phase(Phase::Writing);
        let (id, commit) = self.write_commit(&staging, parent, parent_tree, options)?;
        staging.check()?;
        let branch = self.move_head(&head, parent, id)?;
        staging.mark_clean(commit.tree)?;
        Ok(CommitReport { id, commit, branch })
    }

    fn write_commit(
        &self,
        staging: &BinaryStagingArea,
        parent: Option<CommitId>,
        parent_tree: Option<crate::id::TreeId>,
        options: CommitOptions,
    ) -> Result<(CommitId, Commit)> {
        let engine = self.engine()?;
        let root = self.work_tree_handle()?;
        let written = engine.write_objects(&WorkTreeSource(&root), |worker| {
            let TreeTotals { tree, files, bytes } = write_trees(staging, worker)?;
            if parent_tree == Some(tree) && !options.allow_empty {
                return Ok(None);
            }
            let commit = Commit {
                tree,
                files,
                bytes,
                parents: parent.into_iter().collect(),
                author: options.author,
                committer: options.committer,
                message: options.message,
            };
            let encoded = commit.encode();
            let id = CommitId::of(&encoded);
            worker.put(BlockKind::Commit, ObjectId::from(id), encoded)?;
            Ok(Some((id, commit)))
        })?;
        written.ok_or(RepoError::NothingToCommit)
    }

    /// Moves the branch that `HEAD` names, or `HEAD` itself.
    fn move_head(
        &self,
        head: &Head,
        old: Option<CommitId>,
        new: CommitId,
    ) -> Result<Option<String>> {
        match head {
            Head::Branch(name) => {
                self.refs().update(&format!("heads/{name}"), old, new)?;
                Ok(Some(name.clone()))
            }
            Head::Detached(_) => {
                self.refs().write_head(&Head::Detached(new))?;
                Ok(None)
            }
        }
    }
}
