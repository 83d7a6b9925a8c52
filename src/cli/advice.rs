//! The exit code of each error, and what to do about it.

use std::error::Error;
use std::io;

use super::exit_code::ExitCode;
use crate::path::REPOSITORY_DIR;
use crate::repo::RepoError;
use crate::repo::branches::BranchError;
use crate::repo::exchange::ExchangeError;
use crate::repo::merge::MergeError;
use crate::repo::pathspec::PathspecError;
use crate::repo::reflog::ReflogError;
use crate::repo::rename::RenameError;
use crate::repo::sparse::SparseError;
use crate::repo::stash::StashError;
use crate::repo::tags::TagError;
use crate::storage::binary_staging::StagingError;
use crate::storage::format::merge_state::MergeKind;
use crate::storage::oplog::OpLogError;
use crate::storage::pack_store::{CONDEMNED_FILE, StoreError};
use crate::storage::refs::RefError;

/// Exit code and hint for an error.
pub(super) fn of(error: &anyhow::Error) -> (ExitCode, Option<String>) {
    let known = error.chain().find_map(|cause| cause.downcast_ref::<RepoError>());
    let (code, hint) = known.map_or((ExitCode::Failure, None), of_repo);
    let hint = hint.or_else(|| error.chain().find_map(of_io));
    (code, hint)
}

fn did_you_mean(nearest: Option<&String>) -> Option<String> {
    nearest.map(|nearest| format!("did you mean '{nearest}'?"))
}

#[expect(clippy::unnecessary_wraps, reason = "every arm wants an option")]
fn text(hint: &str) -> Option<String> {
    Some(hint.to_owned())
}

const NAME_A_FILE: &str = "name a file, or use 'digstore restore --target DIR'";
const BRING_BACK: &str = "'digstore store repair' says what can be brought back";
const REPAIR: &str = "'digstore store verify --data' names everything that is damaged";

fn of_repo(error: &RepoError) -> (ExitCode, Option<String>) {
    use ExitCode::{Corrupt, Failure, Interrupted, NotFound, Usage};
    match error {
        RepoError::NotARepository(_)
        | RepoError::NoRepositoryAt(_)
        | RepoError::Nested { .. }
        | RepoError::Format { .. }
        | RepoError::OtherOwner { .. }
        | RepoError::Locked(_) => of_open(error),
        RepoError::PathNotFound { nearest, .. }
        | RepoError::RevisionNotFound { nearest, .. }
        | RepoError::Tag(TagError::NotFound { nearest, .. }) => {
            (NotFound, did_you_mean(nearest.as_ref()))
        }
        RepoError::NoMatch { .. } => (
            NotFound,
            text(
                "'digstore ls' lists what is staged; quote globs, so that the shell leaves them alone",
            ),
        ),
        RepoError::Pathspec(error) => (Usage, of_pathspec(error)),
        RepoError::Ambiguous { .. } => (NotFound, text("give more digits")),
        RepoError::Reflog(error) => (NotFound, of_reflog(error)),
        RepoError::Unborn(_) => (NotFound, text("'digstore commit' makes the first one")),
        RepoError::IsDirectory { .. } => (NotFound, text(NAME_A_FILE)),
        RepoError::IsLink { .. } => (NotFound, text("'digstore ls -l' shows where it points")),
        RepoError::BadRange { .. } => {
            (Usage, text("a range is FIRST-LAST, FIRST- or -COUNT, in bytes"))
        }
        RepoError::BadStoredPath { .. } => (Corrupt, text(REPAIR)),
        RepoError::BadPath { .. } | RepoError::Outside { .. } => (Usage, None),
        RepoError::NoIdentity => (
            Failure,
            text(
                "set DIGSTORE_AUTHOR_NAME and DIGSTORE_AUTHOR_EMAIL, or user.name and user.email in ~/.config/digstore/config.toml, or give --author 'Name <address>'",
            ),
        ),
        RepoError::NothingToCommit
        | RepoError::HeadMoved { .. }
        | RepoError::BadMessage(_)
        | RepoError::Unstorable(_)
        | RepoError::WouldLose { .. }
        | RepoError::InTheWay(_)
        | RepoError::CannotKeep { .. }
        | RepoError::BadTarget { .. }
        | RepoError::NeedsRecursive(_)
        | RepoError::BinaryToTerminal(_) => (Failure, text(of_refusal(error))),
        RepoError::Interrupted => (Interrupted, None),
        RepoError::Branch(error) => of_branch(error),
        RepoError::Rename(error) => of_rename(error),
        RepoError::Merge(error) => of_merge(error),
        RepoError::Gc(_) | RepoError::Moving(_) => (Corrupt, text(BRING_BACK)),
        RepoError::Undo(_) => (Failure, text("'digstore op log' shows what was done")),
        RepoError::Past => (Usage, text("'digstore op restore' brings that state back")),
        RepoError::Stash(error) => of_stash(error),
        RepoError::Sparse(error) => of_sparse(error),
        RepoError::Tag(TagError::Exists(_)) => (Failure, text("--force replaces it")),
        RepoError::Exchange(error) => of_exchange(error),
        RepoError::Config(error) => (Usage, error.hint()),
        RepoError::Store(error) => of_store(error),
        RepoError::Staging(error) => of_staging(error),
        RepoError::Ref(error) => of_ref(error),
        RepoError::OpLog(error) => of_oplog(error),
        RepoError::Disk(error) if error.is_unreadable() => (Failure, text(BRING_BACK)),
        RepoError::Worker
        | RepoError::NothingToAmend
        | RepoError::Output(_)
        | RepoError::WorkTree(_)
        | RepoError::WorkTreeRead { .. }
        | RepoError::Disk(_) => (Failure, None),
    }
}

/// What to do instead of what was refused.
fn of_refusal(error: &RepoError) -> &'static str {
    match error {
        RepoError::NothingToCommit => "'digstore add -A' stages what changed",
        RepoError::HeadMoved { .. } => {
            "look at it with 'digstore show', and amend again if you still want to"
        }
        RepoError::BadMessage(_) => "give one with -m",
        RepoError::Unstorable(_) => "no later command could read it; give shorter texts",
        RepoError::WouldLose { .. } => {
            "--force removes them all the same, --cached keeps the files"
        }
        RepoError::CannotKeep { .. } => {
            "nothing was changed; move the file elsewhere if it is not needed here"
        }
        RepoError::BadTarget { .. } => {
            "name an empty or another directory; without --target files are restored in place"
        }
        RepoError::NeedsRecursive(_) => "-r removes everything below it",
        RepoError::BinaryToTerminal(_) => "write to a file with -o FILE, or redirect the output",
        _ => "nothing was changed; commit or stash them, or move what is not tracked elsewhere",
    }
}

/// Errors of a repository that cannot be opened or locked.
fn of_open(error: &RepoError) -> (ExitCode, Option<String>) {
    use ExitCode::{Failure, Format, Locked, NoRepository};
    match error {
        RepoError::NotARepository(_) | RepoError::NoRepositoryAt(_) => {
            (NoRepository, text("'digstore init' makes a repository in the current directory"))
        }
        RepoError::Nested { .. } => {
            (Failure, text("use the repository around it, or make one elsewhere with --repo"))
        }
        RepoError::Format { source, .. } if source.is_newer() => {
            (Format, text("update digstore to a release that knows this format"))
        }
        RepoError::Format { .. } => {
            (Format, text("restore the file 'format' from a copy of the repository"))
        }
        RepoError::OtherOwner { path, .. } => {
            let dir = path.parent().filter(|_| path.ends_with(REPOSITORY_DIR)).unwrap_or(path);
            let dir = dir.display();
            let hint = format!(
                "if you trust it: digstore config set --user safe.directories '{dir}' (with what is there already, ':' between them)"
            );
            (Failure, Some(hint))
        }
        RepoError::Locked(_) => {
            (Locked, text("wait until it has ended, then try again; nothing needs to be unlocked"))
        }
        _ => (Failure, None),
    }
}

fn of_merge(error: &MergeError) -> (ExitCode, Option<String>) {
    let finish = |kind: &MergeKind| {
        let name = kind.name();
        if *kind == MergeKind::Stash {
            return text(
                "resolve its conflicts and 'digstore add' the files; 'digstore undo' or 'digstore reset --hard' goes back",
            );
        }
        Some(format!(
            "'digstore {name} --continue' finishes it, 'digstore {name} --abort' goes back"
        ))
    };
    match error {
        MergeError::Waiting(kind) | MergeError::OtherKind(kind) => {
            (ExitCode::Failure, finish(kind))
        }
        MergeError::Unresolved { .. } => (
            ExitCode::Failure,
            text(
                "edit them, then 'digstore add PATH'; 'digstore restore --ours' or '--theirs' takes one side whole",
            ),
        ),
        MergeError::Staged => (ExitCode::Failure, text("commit or stash them first")),
        MergeError::Unrelated => {
            (ExitCode::Failure, text("--allow-unrelated-histories merges them all the same"))
        }
        MergeError::NotFastForward => (ExitCode::Failure, text("merge without --ff-only")),
        MergeError::Octopus => (ExitCode::Usage, text("merge one after the other")),
        MergeError::NeedsParent(_) => (
            ExitCode::Failure,
            text(
                "name with -m the parent that the change is taken against: 1 is what was merged into",
            ),
        ),
        MergeError::NoParent { .. } => (ExitCode::NotFound, None),
        MergeError::NotInConflict(_) => {
            (ExitCode::NotFound, text("'digstore status' lists conflicts"))
        }
        MergeError::Damaged(_) | MergeError::Lost(_) => (
            ExitCode::Corrupt,
            text(
                "commits and work tree are not affected: 'digstore undo' goes back to before the merge, 'digstore op log' says how far that is",
            ),
        ),
        MergeError::NoneWaits => (ExitCode::Failure, None),
    }
}

fn of_reflog(error: &ReflogError) -> Option<String> {
    text(match error {
        ReflogError::Selector(_) => {
            "write @{2}, @{yesterday}, @{2 days ago} or @{2026-01-31 10:00}"
        }
        _ => "'digstore op log' shows what was done, and when",
    })
}

fn of_stash(error: &StashError) -> (ExitCode, Option<String>) {
    match error {
        StashError::NotThere { .. } | StashError::NotAStash(_) => {
            (ExitCode::NotFound, text("'digstore stash list' lists them"))
        }
        StashError::IndexConflict(_) => {
            (ExitCode::Failure, text("nothing was changed; without --index it is not staged"))
        }
        StashError::Tracked(_) => (
            ExitCode::Failure,
            text(
                "nothing was changed; 'digstore stash branch NAME' brings it back on a new branch",
            ),
        ),
    }
}

fn of_sparse(error: &SparseError) -> (ExitCode, Option<String>) {
    match error {
        SparseError::Damaged(why) if why.is_newer() => {
            (ExitCode::Format, text("update digstore to a release that knows this format"))
        }
        SparseError::Damaged(_) => (
            ExitCode::Corrupt,
            text(
                "what is committed and staged is not affected: 'digstore sparse set PATHSPEC' or 'digstore sparse disable' writes it anew",
            ),
        ),
        SparseError::NotSparse => {
            (ExitCode::Failure, text("'digstore sparse set PATHSPEC' says what it is to hold"))
        }
    }
}

fn of_branch(error: &BranchError) -> (ExitCode, Option<String>) {
    match error {
        BranchError::Exists(_) => (ExitCode::Failure, text("--force moves it")),
        BranchError::Current(_) => (ExitCode::Failure, text("'digstore switch' to another first")),
        BranchError::NotMerged { name, .. } => (
            ExitCode::Failure,
            Some(format!(
                "'digstore branch -D {name}' deletes it all the same; undo brings it back"
            )),
        ),
        BranchError::NotABranch(name) => (
            ExitCode::NotFound,
            Some(format!(
                "'digstore switch --detach {name}' goes there, 'digstore switch -c NAME {name}' begins a branch there"
            )),
        ),
        BranchError::NoPrevious => (ExitCode::NotFound, None),
    }
}

fn of_rename(error: &RenameError) -> (ExitCode, Option<String>) {
    use ExitCode::{Failure, NotFound};
    match error {
        RenameError::NotTracked(_) => (Failure, text("'digstore add' tracks it")),
        RenameError::Gone(path) => {
            (NotFound, Some(format!("'digstore restore {path}' brings it back")))
        }
        RenameError::Exists(_) => {
            (Failure, text("--force overwrites a file; 'digstore undo' brings it back"))
        }
        RenameError::InConflict(_) => (Failure, text("resolve it first, then 'digstore add' it")),
        RenameError::NoDirectory(_) => (NotFound, text("make it first")),
        RenameError::IntoItself(_)
        | RenameError::SameTarget(_)
        | RenameError::Overlap { .. }
        | RenameError::Repository(_)
        | RenameError::InGit(_) => (Failure, None),
    }
}

fn of_exchange(error: &ExchangeError) -> (ExitCode, Option<String>) {
    match error {
        ExchangeError::NoGit(_) => (
            ExitCode::Failure,
            text("install git: its own programs read and write its repositories"),
        ),
        ExchangeError::NotGit(_) => (ExitCode::NotFound, None),
        ExchangeError::Shallow(_) => {
            (ExitCode::Failure, text("'git fetch --unshallow' in it gets the rest"))
        }
        ExchangeError::WouldLose(_) => (
            ExitCode::Failure,
            text("nothing was changed; --force moves them, undo brings them back"),
        ),
        ExchangeError::PrefixInGit(_) => (ExitCode::Usage, text("name another directory")),
        ExchangeError::BadPrefix { .. } => {
            (ExitCode::Usage, text("name another directory, or commit its removal before"))
        }
        ExchangeError::Occupied(_) => (ExitCode::Usage, text("name a directory that is not there")),
        _ => (ExitCode::Failure, None),
    }
}

fn of_pathspec(error: &PathspecError) -> Option<String> {
    match error {
        PathspecError::Empty => text("'.' names everything in the current directory"),
        PathspecError::UnknownMagic { nearest: Some(nearest), .. } => did_you_mean(Some(nearest)),
        PathspecError::UnknownMagic { .. } | PathspecError::Unclosed(_) => text(
            "magic is top, exclude, icase, literal and glob; a name that begins with ':' is written './:name'",
        ),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> (ExitCode, Option<String>) {
    match error {
        StoreError::Format { source, .. } if source.is_newer() => {
            (ExitCode::Format, text("update digstore to a release that knows this format"))
        }
        StoreError::Format { path, .. } if path.as_os_str() == CONDEMNED_FILE => (
            ExitCode::Corrupt,
            text("what is stored is not affected: 'digstore gc' makes a new list"),
        ),
        error if error.is_corruption() => (ExitCode::Corrupt, text(REPAIR)),
        _ => (ExitCode::Failure, None),
    }
}

fn of_staging(error: &StagingError) -> (ExitCode, Option<String>) {
    match error {
        StagingError::Format { source, .. } if source.is_newer() => {
            (ExitCode::Format, text("update digstore to a release that knows this format"))
        }
        StagingError::Format { .. } | StagingError::Missing { .. } => (
            ExitCode::Corrupt,
            text(
                "what is committed is not affected: 'digstore store reset-staging' makes a new staging area from the last commit",
            ),
        ),
        StagingError::Disk(_) | StagingError::OutOfStep => (ExitCode::Failure, None),
    }
}

fn of_ref(error: &RefError) -> (ExitCode, Option<String>) {
    match error {
        RefError::Format { .. } | RefError::NoHead { .. } => (ExitCode::Corrupt, text(REPAIR)),
        RefError::Locked { .. } => {
            (ExitCode::Locked, text("wait until the other command has ended, then try again"))
        }
        RefError::Conflict { .. } => (
            ExitCode::Failure,
            text("another command moved it; look at 'digstore log' and try again"),
        ),
        RefError::InTheWay { .. } => (
            ExitCode::Failure,
            text("move the file away, then try again; digstore did not write it"),
        ),
        RefError::Name(_) => (ExitCode::Usage, None),
        _ => (ExitCode::Failure, None),
    }
}

fn of_oplog(error: &OpLogError) -> (ExitCode, Option<String>) {
    match error {
        OpLogError::Format { source, .. } if source.is_newer() => {
            (ExitCode::Format, text("update digstore to a release that knows this format"))
        }
        OpLogError::Format { .. } => (
            ExitCode::Corrupt,
            text(
                "what is committed and staged is not affected: move the file away, and a new log begins, without the operations before",
            ),
        ),
        OpLogError::Unknown { .. } | OpLogError::Expired { .. } => {
            (ExitCode::NotFound, text("'digstore op log' lists them"))
        }
        OpLogError::Disk(_) => (ExitCode::Failure, None),
    }
}

/// Hints that depend on the operating system's answer alone.
fn of_io(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            text("free some space and try again; what was stored before is not affected")
        }
        io::ErrorKind::PermissionDenied => text("fix the permissions and try again"),
        io::ErrorKind::ReadOnlyFilesystem => {
            text("the file system is read-only; commands that only read still work")
        }
        _ => None,
    }
}
