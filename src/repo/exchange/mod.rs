//! Import and export: git repositories through the streams of `git fast-export` and
//! `git fast-import`, and tar archives.
//!
//! An import stores in rounds: when a round ends, all that it read is durable, and for git the
//! commits are noted, so that a command that is killed goes on from there. Refs, `HEAD` and the work
//! tree change at the very end, in one operation.

mod archive;
mod export_git;
mod export_tar;
pub mod fast_export;
mod git;
mod import_git;
mod import_tar;
mod marks;
mod round;
mod text;
mod there;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use export_git::{GitExportOptions, GitExportReport};
pub use export_tar::TarExportReport;
pub use fast_export::ExportError;
pub use import_git::{GitImportOptions, GitImportReport, ImportedRef};
pub use import_tar::{TarImportOptions, TarImportReport};

use crate::path::{RepoPath, escape};

/// Why an import or an export fails.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// There is no git.
    #[error("cannot run git")]
    NoGit(#[source] io::Error),
    /// No repository there.
    #[error("'{}' is not a git repository", .0.display())]
    NotGit(PathBuf),
    /// A command of git failed.
    #[error("git {command} failed: {}", escape(said.trim().as_bytes()))]
    Git {
        /// The command.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// A git repository without the beginning of its history.
    #[error("'{}' is a shallow clone: it lacks the beginning of its history", .0.display())]
    Shallow(PathBuf),
    /// The stream of git is not what it should be.
    #[error(transparent)]
    Stream(#[from] ExportError),
    /// The stream of git refers to what did not come before.
    #[error("the stream of git fast-export names {0}, which did not come before")]
    Unknown(String),
    /// The stream of git has something that this command did not ask for.
    #[error("the stream of git fast-export has {0}, which is not expected")]
    Unexpected(&'static str),
    /// Refs that are there already and lead elsewhere.
    #[error("refs that are here already would lose commits: {}", .0.join(", "))]
    WouldLose(Vec<String>),
    /// The stream to git cannot be written.
    #[error("cannot write to git fast-import")]
    Write(#[source] io::Error),
    /// The directory of an export holds something else.
    #[error("'{}' is neither empty nor a git repository", .0.display())]
    Occupied(PathBuf),
    /// An archive cannot be read.
    #[error("cannot read the archive '{}'", escape(name.as_bytes()))]
    Archive {
        /// What it is called.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// An entry that must not be in an archive; nothing of it was imported.
    #[error("the archive has the entry '{}', which is refused: {why}", escape(name))]
    BadEntry {
        /// The entry.
        name: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
    /// A directory of an import that would take the place of a file.
    #[error("'{prefix}' cannot be a directory: '{above}' is a file or a link")]
    BadPrefix {
        /// The directory.
        prefix: RepoPath,
        /// What lies above it.
        above: RepoPath,
    },
    /// A directory of an import that no command would see.
    #[error("'{0}' would be part of a git repository, which is never tracked")]
    PrefixInGit(RepoPath),
    /// Nothing is there to be exported.
    #[error("there is no branch and no tag to export")]
    Nothing,
}
