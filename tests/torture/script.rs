//! Commands on a repository whose files lie in a [`SimFs`], its work tree in a real directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use digstore::config::Config;
use digstore::id::CommitId;
use digstore::path::RepoPath;
use digstore::progress::NullMonitor;
use digstore::repo::add::AddOptions;
use digstore::repo::commit::CommitOptions;
use digstore::repo::gc::GcOptions;
use digstore::repo::operation::UndoOptions;
use digstore::repo::pathspec::{Base, Pathspec};
use digstore::repo::reset::ResetMode;
use digstore::repo::stash::{ApplyOptions, StashOptions};
use digstore::repo::switch::{SwitchOptions, SwitchTo};
use digstore::repo::{Place, RepoError, Repository, Result};
use digstore::storage::disk::OsDisk;
use digstore::storage::format::object::Signature;
use digstore::storage::format::refs::Head;

use crate::common::{noise, scratch};
use crate::sim::{SimFs, State};

/// What leaves nothing that is not in use.
pub(crate) const REMOVE_ALL: GcOptions = GcOptions { dry_run: false, now: true, thorough: true };

/// A file that a check stages.
pub(crate) const TOGGLED: &str = "toggled";

/// Where the repository lies in the simulated file system.
pub(crate) const ROOT: &str = "/r";

/// Operations that can be undone behind a `gc`.
const KEPT_OPERATIONS: usize = 3;

/// One command. An edit of the work tree goes before where it needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Commit,
    Amend,
    NewBranch,
    DeleteBranch,
    RenameBranch,
    Tag,
    Switch,
    Undo,
    Redo,
    Reset,
    Stash,
    StashPop,
    /// Condemns.
    Gc,
    /// Removes at once, and writes sparse packs anew.
    GcNow,
    Obliterate,
}

/// All of them.
pub(crate) const COMMANDS: [Command; 16] = [
    Command::Add,
    Command::Commit,
    Command::Amend,
    Command::NewBranch,
    Command::DeleteBranch,
    Command::RenameBranch,
    Command::Tag,
    Command::Switch,
    Command::Undo,
    Command::Redo,
    Command::Reset,
    Command::Stash,
    Command::StashPop,
    Command::Gc,
    Command::GcNow,
    Command::Obliterate,
];

/// A work tree and the machine that holds its repository.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) fs: SimFs,
    edits: u64,
}

fn signature() -> Signature {
    Signature { name: "a".into(), email: "b".into(), seconds: 1, offset_minutes: 0 }
}

/// Opens the repository of a machine; the work tree matters to commands only.
pub(crate) fn open(fs: &SimFs, work_tree: &Path) -> Result<Repository> {
    let disk = Arc::new(OsDisk::on(ROOT, Arc::new(fs.clone())));
    let place = Place { work_tree: work_tree.to_owned(), repository: PathBuf::from(ROOT) };
    let mut config = Config::default();
    config.performance.max_worker_threads = 1;
    config.reliability.parity = crate::parity();
    // Few, so that operations expire.
    (config.gc.keep_days, config.gc.keep_operations) = (0, KEPT_OPERATIONS);
    Repository::open_on(disk, place, config, Arc::new(NullMonitor::default()))
}

/// A machine without a repository.
pub(crate) fn bare() -> SimFs {
    SimFs::new(State::new(Path::new("/")))
}

pub(crate) fn init(fs: &SimFs) -> Result<()> {
    Repository::init_on(&OsDisk::on(ROOT, Arc::new(fs.clone()))).map(drop)
}

impl World {
    /// A repository with one commit.
    pub(crate) fn new() -> Self {
        let fs = bare();
        init(&fs).unwrap();
        let dir = tempfile::tempdir_in(scratch()).unwrap();
        let mut world = Self { dir, fs, edits: 0 };
        world.run(Command::Add).unwrap();
        world.run(Command::Commit).unwrap();
        world
    }

    pub(crate) fn work_tree(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open(&self) -> Repository {
        open(&self.fs, self.work_tree()).unwrap()
    }

    /// Changes the work tree: one file of each size that is stored in its own way.
    fn edit(&mut self) {
        self.edits += 1;
        let name = self.work_tree().join(format!("d/{}", self.edits % 3));
        std::fs::create_dir_all(name.parent().unwrap()).unwrap();
        let large = self.edits.is_multiple_of(4);
        let bytes = noise(self.edits, if large { 300_000 } else { 40 });
        std::fs::write(name, bytes).unwrap();
        if self.edits.is_multiple_of(3) {
            let _ = std::fs::remove_file(self.work_tree().join("d/1"));
        }
    }

    /// What the command needs in the work tree.
    pub(crate) fn prepare(&mut self, command: Command) {
        if matches!(command, Command::Add | Command::Stash) {
            self.edit();
        }
    }

    /// Runs a command as a process of its own would.
    pub(crate) fn run(&mut self, command: Command) -> Result<()> {
        self.prepare(command);
        self.run_on(&self.fs, command)
    }

    /// Runs a command on another machine with the same work tree.
    pub(crate) fn run_on(&self, fs: &SimFs, command: Command) -> Result<()> {
        run(&open(fs, self.work_tree())?, command, self.edits)
    }

    /// The files of the work tree.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        if let Ok(entries) = std::fs::read_dir(self.work_tree().join("d")) {
            for entry in entries {
                let path = entry.unwrap().path();
                files.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
        files
    }

    /// Makes the work tree hold just these.
    pub(crate) fn put_files(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        let _ = std::fs::remove_file(self.work_tree().join(TOGGLED));
        let dir = self.work_tree().join("d");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for (path, bytes) in files {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

fn commit(repository: &Repository, amend: bool, allow_empty: bool) -> Result<CommitId> {
    let amend = if amend { Some(repository.commit_to_amend()?) } else { None };
    let options = CommitOptions {
        message: "a commit".into(),
        author: signature(),
        committer: signature(),
        allow_empty,
        amend,
        all: false,
    };
    Ok(repository.commit(options)?.id)
}

/// A commit that holds what the last one holds.
pub(crate) fn empty_commit(repository: &Repository) -> Result<CommitId> {
    commit(repository, false, true)
}

fn run(repository: &Repository, command: Command, number: u64) -> Result<()> {
    let undo = UndoOptions { force: true, dry_run: false };
    match command {
        Command::Add => repository.add(&AddOptions::default()).map(drop),
        Command::Commit => commit(repository, false, true).map(drop),
        Command::Amend => commit(repository, true, true).map(drop),
        Command::NewBranch => {
            let head = head(repository)?;
            repository.create_branch(&format!("b{}", number % 2), head, true)
        }
        Command::DeleteBranch => {
            let names = [format!("b{}", number % 2)];
            repository.delete_branches(&names, true).map(drop)
        }
        Command::RenameBranch => match repository.refs().read_head()? {
            Head::Branch(name) => {
                let to = if name == "main" { "other" } else { "main" };
                repository.rename_branch(&name, to, true)
            }
            Head::Detached(_) => Ok(()),
        },
        Command::Tag => {
            let annotation = Some((signature(), "a tag".to_owned()));
            repository.create_tag("t", head(repository)?, annotation, true).map(drop)
        }
        Command::Switch => {
            let names: Vec<_> =
                repository.branches()?.into_iter().map(|branch| branch.name).collect();
            // None, once the first commit was undone.
            let name = names.get(number as usize % names.len().max(1)).cloned();
            let name = name.unwrap_or_else(|| "main".to_owned());
            let to = SwitchTo::Branch(name);
            repository.switch(&SwitchOptions { to, discard: true, dry_run: false }).map(drop)
        }
        Command::Undo => repository.undo(undo).map(drop),
        Command::Redo => repository.redo(undo).map(drop),
        Command::Reset => repository.reset(None, ResetMode::Hard, false).map(drop),
        Command::Stash => {
            let options = StashOptions {
                message: None,
                paths: Pathspec::all(),
                untracked: true,
                keep_index: false,
                committer: signature(),
            };
            repository.stash(&options).map(drop)
        }
        Command::StashPop => {
            repository.apply_stash(0, ApplyOptions { index: false, pop: true }).map(drop)
        }
        Command::Gc => repository.gc(GcOptions::default()).map(drop),
        Command::GcNow => repository.gc(REMOVE_ALL).map(drop),
        Command::Obliterate => {
            let path = format!("d/{}", number % 3);
            let root = RepoPath::root();
            let base = Base { dir: &root, excludes_from_dir: false, absolute: &|_| None };
            let paths = Pathspec::parse(&[path], &base)?;
            repository.obliterate(&paths, false).map(drop)
        }
    }
}

fn head(repository: &Repository) -> Result<CommitId> {
    let none = || RepoError::NoRepositoryAt(PathBuf::from("no commit"));
    repository.refs().head_commit()?.ok_or_else(none)
}
