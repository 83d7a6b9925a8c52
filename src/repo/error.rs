//! Why an operation on a repository fails.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::ConfigError;
use crate::id::CommitId;
use crate::path::{RepoPath, escape};
use crate::storage::binary_staging::StagingError;
use crate::storage::disk::DiskError;
use crate::storage::engine::EngineError;
use crate::storage::format::FormatError;
use crate::storage::oplog::OpLogError;
use crate::storage::pack_store::StoreError;
use crate::storage::refs::RefError;

use super::branches::BranchError;
use super::exchange::ExchangeError;
use super::gc::GcError;
use super::merge::MergeError;
use super::operation::UndoError;
use super::pathspec::PathspecError;
use super::reflog::ReflogError;
use super::rename::RenameError;
use super::sparse::SparseError;
use super::stash::StashError;
use super::switch::Obstacles;
use super::tags::TagError;
use super::worktree::WorkTreeError;

/// Result of an operation.
pub type Result<T> = std::result::Result<T, RepoError>;

/// Why an operation on a repository fails.
#[derive(Debug, Error)]
pub enum RepoError {
    /// No repository here or above.
    #[error("'{}' is not in a Digstore repository", .0.display())]
    NotARepository(PathBuf),
    /// The directory named as a repository holds none.
    #[error("there is no repository at '{}'", .0.display())]
    NoRepositoryAt(PathBuf),
    /// `init` inside the work tree of another repository.
    #[error("'{}' lies in the work tree of the repository '{}'", inner.display(), outer.display())]
    Nested {
        /// Where a repository was asked for.
        inner: PathBuf,
        /// The repository around it.
        outer: PathBuf,
    },
    /// The repository's format file is damaged or of a newer release.
    #[error("cannot open the repository '{}'", path.display())]
    Format {
        /// The repository.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// The repository is another user's.
    #[error("the repository '{}' belongs to another user (number {owner})", path.display())]
    OtherOwner {
        /// The repository.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Another process changes the repository.
    #[error("another digstore command is changing the repository '{}'", .0.display())]
    Locked(PathBuf),
    /// A path that is not there.
    #[error("path '{}' is not in {place}", escape(path))]
    PathNotFound {
        /// The path.
        path: Vec<u8>,
        /// Where it was looked for.
        place: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A pathspec that matches nothing.
    #[error("nothing in {place} matches '{}'", escape(pathspec))]
    NoMatch {
        /// The pathspec.
        pathspec: Vec<u8>,
        /// Where it was looked for.
        place: String,
    },
    /// A pathspec that is none.
    #[error(transparent)]
    Pathspec(#[from] PathspecError),
    /// A path that names a directory where a file is wanted.
    #[error("'{path}' is a directory in {place}")]
    IsDirectory {
        /// The path.
        path: RepoPath,
        /// Where.
        place: String,
    },
    /// A path that names a link where a file is wanted.
    #[error("'{path}' is a symbolic link in {place}")]
    IsLink {
        /// The path.
        path: RepoPath,
        /// Where.
        place: String,
    },
    /// A path that cannot be stored.
    #[error("the path '{}' cannot be stored", escape(path))]
    BadPath {
        /// The path.
        path: Vec<u8>,
        /// Why.
        source: crate::path::PathError,
    },
    /// A name in a stored tree that makes a path which no tree may have.
    #[error("a stored tree is damaged: its entry '{}' makes no path", escape(name))]
    BadStoredPath {
        /// The name.
        name: Vec<u8>,
        /// Why.
        source: crate::path::PathError,
    },
    /// A path outside the work tree.
    #[error("'{}' lies outside the work tree '{}'", path.display(), work_tree.display())]
    Outside {
        /// The path.
        path: PathBuf,
        /// The work tree.
        work_tree: PathBuf,
    },
    /// A revision that names nothing.
    #[error("unknown revision '{}'", escape(revision.as_bytes()))]
    RevisionNotFound {
        /// The revision.
        revision: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A prefix of several ids.
    #[error("revision '{prefix}' is ambiguous: it begins {}", candidates.join(", "))]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// Ids that begin with it.
        candidates: Vec<String>,
    },
    /// A revision of an earlier time that is not known.
    #[error(transparent)]
    Reflog(#[from] ReflogError),
    /// `HEAD` where there is no commit yet.
    #[error("branch '{0}' has no commit yet")]
    Unborn(String),
    /// Nobody to name as author.
    #[error("nobody is named as the author of the commit")]
    NoIdentity,
    /// A commit that changes nothing.
    #[error("nothing to commit: nothing is staged")]
    NothingToCommit,
    /// `commit --amend` before the first commit.
    #[error("there is no commit to amend")]
    NothingToAmend,
    /// `commit --amend` where `HEAD` is at another commit than the one whose message was taken.
    #[error("HEAD moved to {} while {} was being amended", found.short(), expected.short())]
    HeadMoved {
        /// The commit to be replaced.
        expected: CommitId,
        /// The one that would have been.
        found: CommitId,
    },
    /// A merge, cherry-pick or revert cannot begin, go on or end.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// An empty or oversized message.
    #[error("the commit message is {0}")]
    BadMessage(&'static str),
    /// What no later command could read is not stored.
    #[error("this cannot be stored")]
    Unstorable(#[source] FormatError),
    /// Files that `rm` would lose.
    #[error("{} would lose changes: {}", if paths.len() == 1 { "one file" } else { "several files" }, paths.join(", "))]
    WouldLose {
        /// The files, escaped.
        paths: Vec<String>,
    },
    /// Paths that a move of the work tree would lose; nothing was touched.
    #[error("the work tree holds changes that would be lost: {0}")]
    InTheWay(Obstacles),
    /// A file that would be overwritten or removed, and whose bytes cannot be stored first.
    #[error("'{path}' cannot be stored before it goes: {why}")]
    CannotKeep {
        /// The file.
        path: RepoPath,
        /// Why.
        why: String,
    },
    /// `restore --target` into files that only `restore` without it keeps.
    #[error("cannot restore into '{}': {why}", target.display())]
    BadTarget {
        /// The directory as given.
        target: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// `rm` of a directory without `-r`.
    #[error("'{0}' is a directory")]
    NeedsRecursive(RepoPath),
    /// A range that lies outside the file.
    #[error("the range {range} lies outside '{path}', which has {size} bytes")]
    BadRange {
        /// The range as given.
        range: String,
        /// The file.
        path: RepoPath,
        /// Its length.
        size: u64,
    },
    /// Binary data for a terminal.
    #[error("'{0}' is binary and would garble the terminal")]
    BinaryToTerminal(RepoPath),
    /// The work tree cannot be read.
    #[error("cannot read '{}'", path.display())]
    WorkTreeRead {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A worker panicked; a defect of Digstore.
    #[error("a worker stopped unexpectedly; nothing was reported as stored")]
    Worker,
    /// A branch cannot be made, renamed or deleted.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// A path cannot be moved.
    #[error(transparent)]
    Rename(#[from] RenameError),
    /// A `gc` that does nothing.
    #[error(transparent)]
    Gc(#[from] GcError),
    /// Nothing can be taken back.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// A command that changes the repository, told to look at the past.
    #[error("with --at-op the repository can only be read")]
    Past,
    /// An import or an export fails.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Which paths the work tree holds.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// A stash cannot be found or brought back.
    #[error(transparent)]
    Stash(#[from] StashError),
    /// A tag cannot be made or deleted.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// The work tree cannot be written.
    #[error(transparent)]
    WorkTree(#[from] WorkTreeError),
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file that says what a killed command was doing is damaged.
    #[error("what a killed command did to the work tree cannot be read: 'moving' is damaged")]
    Moving(#[source] FormatError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The pack store.
    #[error(transparent)]
    Store(StoreError),
    /// The staging area.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// Refs.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// The log of operations.
    #[error(transparent)]
    OpLog(#[from] OpLogError),
}

impl From<StoreError> for RepoError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Interrupted => Self::Interrupted,
            error => Self::Store(error),
        }
    }
}

impl From<EngineError> for RepoError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Interrupted => Self::Interrupted,
            EngineError::Closed(_) => Self::Worker,
        }
    }
}
