//! Version control: the repository and what can be done with it.

pub mod add;
mod beneath;
pub mod branches;
pub mod check_ignore;
pub mod checkout;
pub mod clean;
pub mod commit;
pub mod content;
pub mod diff;
pub mod diff_trees;
pub mod error;
pub mod exchange;
pub mod gc;
pub mod history;
pub mod ignore;
pub mod limits;
pub mod merge;
pub mod obliterate;
pub mod operation;
mod owner;
pub mod path_filter;
pub mod pathspec;
pub mod plan;
pub mod read;
pub mod reflog;
pub mod remove;
pub mod rename;
pub mod repair;
pub mod reset;
pub mod restore;
pub mod revision;
pub mod run_history;
pub mod run_stats;
mod scan;
pub mod size;
mod source;
pub mod sparse;
pub mod stash;
pub mod status;
pub mod switch;
pub mod tags;
pub mod trees;
pub mod verify;
pub mod walk;
mod walk_rules;
pub mod wildmatch;
pub mod worktree;

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use error::{RepoError, Result};
use operation::PastState;
use worktree::Stored;

use crate::config::Config;
use crate::path::{REPOSITORY_DIR, RepoPath};
use crate::progress::Monitor;
use crate::storage::adaptive::machine::Machine;
use crate::storage::adaptive::{Limits, Planner};
use crate::storage::binary_staging::{
    BinaryStagingArea, LOG_FILE as STAGING_LOG_FILE, STAGING_DIR,
};
use crate::storage::cache::BufferPool;
use crate::storage::chunker::Chunker;
use crate::storage::disk::{Disk, LockGuard, OsDisk, SharedLock, TMP_DIR};
use crate::storage::engine::Engine;
use crate::storage::format::refs::Head;
use crate::storage::format::repository::{ChunkerParams, FILE_NAME, RepositoryFormat};
use crate::storage::objects::Objects;
use crate::storage::oplog::{OPLOG_FILE, OpLog};
use crate::storage::pack_store::{INDEX_DIR, ObjectReader, PACKS_DIR, PackStore};
use crate::storage::queues::{CancelToken, available_cores};
use crate::storage::refs::RefStore;

/// The branch that `init` names.
pub const DEFAULT_BRANCH: &str = "main";
/// The lock of commands that change the repository.
const LOCK_FILE: &str = "lock";
/// Whoever has the packs open shares the lock on this file, so that `gc` removes none meanwhile.
const READERS_FILE: &str = "readers";
const READERS_PATIENCE: Duration = Duration::from_secs(2);
const READERS_PAUSE: Duration = Duration::from_millis(2);

/// Where a repository and its work tree lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository's directory.
    pub repository: PathBuf,
    /// The root of the work tree.
    pub work_tree: PathBuf,
}

impl Place {
    /// The repository whose work tree holds `start`.
    pub fn discover(start: &Path) -> Result<Self> {
        let found = start.ancestors().find(|dir| is_repository(&dir.join(REPOSITORY_DIR)));
        found.map(Self::at).ok_or_else(|| RepoError::NotARepository(start.to_owned()))
    }

    /// A repository inside its work tree.
    pub fn at(work_tree: &Path) -> Self {
        Self { repository: work_tree.join(REPOSITORY_DIR), work_tree: work_tree.to_owned() }
    }
}

fn is_repository(dir: &Path) -> bool {
    dir.join(FILE_NAME).is_file()
}

/// The lock of those who read, from before anything is looked up.
enum Reading {
    /// While it is held no pack goes.
    Held(Box<dyn SharedLock>),
    /// `gc` was removing packs all the time: what is looked up may go.
    KeptOut,
    /// The repository is of an older release and had no such file; whether this process made it.
    NoFile(AtomicBool),
    /// There are no such locks here, so that `gc` removes nothing.
    NoLocks,
}

impl Reading {
    /// Shares the lock. While `gc` removes packs, which takes moments, it waits; it goes on without
    /// where that takes long.
    fn begin(disk: &dyn Disk) -> Self {
        let start = Instant::now();
        loop {
            match disk.try_share(READERS_FILE.as_ref()) {
                Ok(Some(lock)) => return Self::Held(lock),
                Ok(None) if start.elapsed() < READERS_PATIENCE => std::thread::sleep(READERS_PAUSE),
                Ok(None) => return Self::KeptOut,
                Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                    return Self::NoFile(AtomicBool::new(false));
                }
                Err(_) => return Self::NoLocks,
            }
        }
    }
}

/// An open repository.
pub struct Repository {
    place: Place,
    disk: Arc<dyn Disk>,
    format: RepositoryFormat,
    config: Config,
    refs: RefStore,
    /// The operation behind which it is looked at.
    looked_at: Option<u64>,
    objects: OnceLock<Objects>,
    reading: Reading,
    cancel: CancelToken,
    monitor: Arc<dyn Monitor>,
    /// What the running command may replace in the work tree.
    stored: Arc<Stored>,
}

/// What `init` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitOutcome {
    /// A repository was made.
    Created,
    /// There was one already; it is left as it is.
    Existed,
}

impl Repository {
    /// Makes a repository. The format file comes last: without it, there is none.
    pub fn init(place: &Place) -> Result<InitOutcome> {
        if is_repository(&place.repository) {
            return Ok(InitOutcome::Existed);
        }
        if let Some(outer) = place.work_tree.parent().and_then(|dir| Place::discover(dir).ok())
            && place.repository.starts_with(&place.work_tree)
        {
            return Err(RepoError::Nested {
                inner: place.work_tree.clone(),
                outer: outer.work_tree,
            });
        }
        Self::init_on(&OsDisk::new(&place.repository))
    }

    /// Makes a repository on a disk, if it holds none.
    pub fn init_on(disk: &dyn Disk) -> Result<InitOutcome> {
        disk.create_dir("".as_ref())?;
        // Another process may be making it, or may have made it and be at work in it.
        let lock = disk.try_lock(LOCK_FILE.as_ref())?;
        let _lock = lock.ok_or_else(|| RepoError::Locked(disk.root().to_owned()))?;
        if disk.file_kind(FILE_NAME.as_ref())?.is_some() {
            return Ok(InitOutcome::Existed);
        }
        for dir in [TMP_DIR, PACKS_DIR, INDEX_DIR, STAGING_DIR, "refs/heads", "refs/tags"] {
            disk.create_dir(dir.as_ref())?;
        }
        BinaryStagingArea::create(disk)?;
        OpLog::create(disk)?;
        let head = Head::Branch(DEFAULT_BRANCH.to_owned());
        disk.publish("HEAD".as_ref(), &head.encode(), true)?;
        disk.publish(READERS_FILE.as_ref(), b"", false)?;
        let mut repository_id = [0; 16];
        getrandom::fill(&mut repository_id).map_err(crate::storage::refs::RefError::Random)?;
        let format = RepositoryFormat {
            repository_id,
            chunker: ChunkerParams::DEFAULT,
            optional_features: 0,
        };
        disk.publish(FILE_NAME.as_ref(), &format.encode(), true)?;
        Ok(InitOutcome::Created)
    }

    /// Opens a repository and compares its format.
    pub fn open(place: Place, config: Config, monitor: Arc<dyn Monitor>) -> Result<Self> {
        let disk = Arc::new(OsDisk::new(&place.repository));
        Self::open_on(disk, place, config, monitor)
    }

    /// The same, on a disk of any kind; the work tree is one of the file system.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        place: Place,
        config: Config,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self> {
        let bytes = disk.read(FILE_NAME.as_ref(), 1 << 16)?;
        let bytes = bytes.ok_or_else(|| RepoError::NoRepositoryAt(place.repository.clone()))?;
        let format = RepositoryFormat::decode(&bytes)
            .map_err(|source| RepoError::Format { path: place.repository.clone(), source })?;
        let reading = Reading::begin(&*disk);
        let refs = RefStore::new(Arc::clone(&disk));
        let cancel = CancelToken::default();
        Ok(Self {
            place,
            disk,
            format,
            config,
            refs,
            looked_at: None,
            objects: OnceLock::new(),
            reading,
            cancel,
            monitor,
            stored: Arc::default(),
        })
    }

    /// The repository as it was behind an operation, for reading. The staging area is that of now.
    pub fn at_operation(mut self, seq: u64) -> Result<Self> {
        let PastState { head, refs, .. } = self.look_back(seq)?;
        self.refs = self.refs.at(head, refs);
        self.looked_at = Some(seq);
        Ok(self)
    }

    /// Whether this is how the repository was at another time.
    pub fn is_past(&self) -> bool {
        self.refs.is_past()
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its format.
    pub fn format(&self) -> &RepositoryFormat {
        &self.format
    }

    /// Its refs.
    pub fn refs(&self) -> &RefStore {
        &self.refs
    }

    /// Stops the running operation when cancelled.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Whom operations tell of their progress.
    pub fn monitor(&self) -> &Arc<dyn Monitor> {
        &self.monitor
    }

    /// Its objects; the packs are opened at the first use.
    pub fn objects(&self) -> Result<&Objects> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects);
        }
        let store = PackStore::open(Arc::clone(&self.disk))?;
        let store = Arc::new(store.with_parity(self.config.reliability.parity));
        let limits = self.read_limits();
        let reader = ObjectReader::new(store, limits.cache, limits.buffers);
        let objects = Objects::new(Arc::new(reader));
        Ok(self.objects.get_or_init(|| objects))
    }

    /// Its packs.
    pub fn store(&self) -> Result<&Arc<PackStore>> {
        Ok(self.objects()?.reader().store())
    }

    /// Its staging area. A command that changes it holds the lock first.
    pub fn staging(&self) -> Result<BinaryStagingArea> {
        Ok(BinaryStagingArea::open(Arc::clone(&self.disk))?)
    }

    /// Takes the lock of commands that change the repository, sweeps `tmp/`, and makes durable what a
    /// killed one left.
    pub fn lock(&self) -> Result<Box<dyn LockGuard>> {
        let guard = self.lock_alone()?;
        PackStore::check_condemned(&*self.disk)?;
        Ok(guard)
    }

    /// As [`Self::lock`], though the list of condemned packs may be damaged.
    fn lock_alone(&self) -> Result<Box<dyn LockGuard>> {
        self.lock_settling(false)
    }

    /// As [`Self::lock_alone`], though the disk cannot read all of a log that a killed command left: who
    /// holds it writes that anew.
    fn lock_to_repair(&self) -> Result<Box<dyn LockGuard>> {
        self.lock_settling(true)
    }

    fn lock_settling(&self, repairs: bool) -> Result<Box<dyn LockGuard>> {
        if self.refs.is_past() {
            return Err(RepoError::Past);
        }
        let guard = self.disk.try_lock(LOCK_FILE.as_ref())?;
        let guard = guard.ok_or_else(|| RepoError::Locked(self.place.repository.clone()))?;
        // On a full disk the room that settling takes may be what the dead process left there. Whatever
        // comes of it, a lock that is let go of means that all is settled.
        let swept = self.sweep_tmp();
        if guard.was_abandoned() {
            match self.settle() {
                Err(RepoError::Disk(error)) if repairs && error.is_unreadable() => {}
                settled => settled?,
            }
        }
        swept?;
        self.check_reading()?;
        if let Some(objects) = self.objects.get() {
            objects.reader().store().refresh()?;
        }
        Ok(guard)
    }

    /// Removes what commands that ended early were writing: no name leads to it.
    fn sweep_tmp(&self) -> Result<()> {
        for name in self.disk.list(TMP_DIR.as_ref())? {
            let path = Path::new(TMP_DIR).join(name);
            // Nobody of ours makes a directory there.
            if self.disk.file_kind(&path)?.is_some_and(|(is_dir, _)| !is_dir) {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Makes durable what a dead process left. That takes room for the logs, which on a full disk the
    /// caches have.
    fn settle(&self) -> Result<()> {
        let growing = [OPLOG_FILE.as_ref(), STAGING_LOG_FILE.as_ref()];
        match self.disk.settle(&growing) {
            Err(error) if error.is_full() => {
                self.disk.remove(run_history::HISTORY.as_ref())?;
                PackStore::remove_index(&*self.disk)?;
                Ok(self.disk.settle(&growing)?)
            }
            settled => Ok(settled?),
        }
    }

    /// Nothing that was looked up before the lock was taken may have gone meanwhile: a commit that is
    /// to get a branch is not looked at again.
    fn check_reading(&self) -> Result<()> {
        let locked = || RepoError::Locked(self.place.repository.clone());
        match &self.reading {
            Reading::KeptOut => Err(locked()),
            Reading::NoFile(made) if !made.load(Ordering::Relaxed) => {
                if self.disk.file_kind(READERS_FILE.as_ref())?.is_some() {
                    return Err(locked());
                }
                made.store(true, Ordering::Relaxed);
                // On a full disk it must do without.
                let _ = self.disk.publish(READERS_FILE.as_ref(), b"", false);
                Ok(())
            }
            Reading::Held(_) | Reading::NoLocks | Reading::NoFile(_) => Ok(()),
        }
    }

    /// The lock of those who read, for who must take nothing that `gc` removes meanwhile for lost: it
    /// waits as long as that takes. None where it is held already, or there are no such locks.
    fn wait_to_read(&self) -> Result<Option<Box<dyn SharedLock>>> {
        if !matches!(self.reading, Reading::KeptOut) {
            return Ok(None);
        }
        self.monitor.warn("another digstore command removes packs: waiting until it has ended");
        loop {
            self.stop_if_cancelled()?;
            if let Some(lock) = self.disk.try_share(READERS_FILE.as_ref())? {
                if let Some(objects) = self.objects.get() {
                    objects.reader().store().refresh()?;
                }
                return Ok(Some(lock));
            }
            std::thread::sleep(READERS_PAUSE);
        }
    }

    /// The lock of those who read, if it is held.
    fn reading_lock(&self) -> Option<&dyn SharedLock> {
        match &self.reading {
            Reading::Held(lock) => Some(&**lock),
            _ => None,
        }
    }

    /// A handle of the work tree's root.
    pub fn work_tree_handle(&self) -> Result<OwnedFd> {
        let path = &self.place.work_tree;
        let file = std::fs::File::open(path)
            .map_err(|source| RepoError::WorkTreeRead { path: path.clone(), source })?;
        Ok(file.into())
    }

    /// Puts a text to be edited into the repository and returns where.
    pub fn write_message_template(&self, text: &str) -> Result<PathBuf> {
        let name = Path::new("COMMIT_EDITMSG");
        self.disk.publish(name, text.as_bytes(), true)?;
        Ok(self.place.repository.join(name))
    }

    /// Where the repository lies in its own work tree, when `--repo` put it there under a name of
    /// the user's choice; it is no part of what is stored.
    pub(crate) fn own_dir(&self) -> Option<RepoPath> {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let below = real(&self.place.repository);
        let below =
            below.strip_prefix(real(&self.place.work_tree)).ok()?.as_os_str().as_bytes().to_vec();
        RepoPath::new(below).ok().filter(|path| !path.is_root())
    }

    /// Threads for work that the processor bounds.
    pub fn threads(&self) -> usize {
        match self.config.performance.max_worker_threads {
            0 => available_cores(),
            threads => threads,
        }
    }

    /// What settings and machine allow.
    pub fn limits(&self) -> Limits {
        let Machine { cores, available } = Machine::look();
        let lookahead = Chunker::new(self.format.chunker).lookahead();
        Limits::new(&self.config, cores, available, lookahead)
    }

    /// Decides how a run works; knows what earlier runs came to.
    pub fn planner(&self) -> Planner {
        let disk = Arc::clone(&self.disk);
        Planner::new(self.limits(), move || run_history::read(&*disk).unwrap_or_default())
    }

    /// The engine of a command that stores.
    pub fn engine(&self) -> Result<Engine> {
        let planner = self.planner();
        Ok(Engine {
            store: Arc::clone(self.store()?),
            objects: self.objects()?.clone(),
            chunk_dedup: Arc::default(),
            buffers: BufferPool::new(planner.limits().pool_bytes()),
            chunker: Chunker::new(self.format.chunker),
            metrics: Arc::default(),
            planner,
            compression_threshold: self.config.performance.compression_threshold.as_usize(),
            // A failure stops the workers, not what the command does about it.
            cancel: self.cancel.child(),
            monitor: Arc::clone(&self.monitor),
        })
    }
}
