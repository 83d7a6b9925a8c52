//! Refs: names of commits, changed by compare-and-swap; and `HEAD`.
//!
//! A ref is a small checksummed file below `refs/`, replaced as a whole: readers need no lock.
//! Writers read, compare and publish under the kernel lock on `refs.lock`. Names here include
//! their namespace: `heads/main`, `tags/v1`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::disk::{Disk, DiskError, LockGuard};
use super::format::FormatError;
use super::format::oplog::RefChange;
pub use super::format::refs::{Head, RefRecord, RefValue};
use super::format::refs::{check_full_name, check_ref_name};
use crate::id::CommitId;

mod room;

/// Directory of the refs.
pub const REFS_DIR: &str = "refs";
/// The file that names what is checked out.
pub const HEAD_FILE: &str = "HEAD";
/// The lock that writers of refs hold.
pub const LOCK_FILE: &str = "refs.lock";
/// Namespace of the branches.
pub const BRANCHES: &str = "heads";

/// Larger than any ref or `HEAD`.
const MAX_FILE: u64 = 64 << 10;
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why refs cannot be read or changed.
#[derive(Debug, Error)]
pub enum RefError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A stored ref is damaged, or of a newer release.
    #[error("'{}' is not readable as a ref", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A name that no ref may have.
    #[error("this name is not allowed for a ref")]
    Name(#[source] FormatError),
    /// There is no `HEAD`.
    #[error("'{}' is missing", file.display())]
    NoHead {
        /// The file.
        file: PathBuf,
    },
    /// The ref is not where the caller believed it to be.
    #[error("'{name}' was moved meanwhile: expected {}, found {}", at(*.expected), at(*.found))]
    Conflict {
        /// The ref.
        name: String,
        /// Where the caller believed it to be.
        expected: Option<CommitId>,
        /// Where it is.
        found: Option<CommitId>,
    },
    /// A ref cannot be a directory of refs as well.
    #[error("'{name}' cannot exist beside '{other}'")]
    Clash {
        /// The ref that was to be created.
        name: String,
        /// The ref, or the directory of refs, that is in its way.
        other: String,
    },
    /// Names that differ in case only are one name on some file systems.
    #[error("'{name}' cannot exist beside '{other}': only upper and lower case differ")]
    Twin {
        /// The ref that was to be created.
        name: String,
        /// The ref, or the directory of refs, that is in its way.
        other: String,
    },
    /// A file that is no ref lies where a ref or its directory has to be.
    #[error("'{name}' cannot be made: '{}' is in its way and is no ref", file.display())]
    InTheWay {
        /// The ref that was to be created.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// Another process holds the lock.
    #[error("another process is changing refs: '{}' is locked", file.display())]
    Locked {
        /// The lock.
        file: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes are to be had")]
    Random(#[source] getrandom::Error),
}

fn at(commit: Option<CommitId>) -> String {
    commit.map_or_else(|| "no commit".to_owned(), |commit| commit.short())
}

type Result<T> = std::result::Result<T, RefError>;

/// The refs of one repository.
#[derive(Debug, Clone)]
pub struct RefStore {
    disk: Arc<dyn Disk>,
    past: Option<Arc<Past>>,
}

/// How refs and `HEAD` were at another time.
#[derive(Debug)]
struct Past {
    head: Head,
    /// Those that differ from now.
    refs: BTreeMap<String, Option<RefValue>>,
}

impl RefStore {
    /// The refs of the repository on `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, past: None }
    }

    /// The refs as they were when `HEAD` named `head`; `refs` says where those led that changed
    /// since. They cannot be changed.
    #[must_use]
    pub fn at(&self, head: Head, refs: BTreeMap<String, Option<RefValue>>) -> Self {
        Self { disk: Arc::clone(&self.disk), past: Some(Arc::new(Past { head, refs })) }
    }

    /// Whether these are the refs of another time.
    pub fn is_past(&self) -> bool {
        self.past.is_some()
    }

    /// What is said of a ref that led elsewhere at another time.
    fn then(&self, name: &str) -> Option<&Option<RefValue>> {
        self.past.as_ref()?.refs.get(name)
    }

    /// What is checked out.
    pub fn read_head(&self) -> Result<Head> {
        if let Some(past) = &self.past {
            return Ok(past.head.clone());
        }
        let file = self.disk.root().join(HEAD_FILE);
        match self.disk.read(Path::new(HEAD_FILE), MAX_FILE)? {
            None => Err(RefError::NoHead { file }),
            Some(bytes) => Head::decode(&bytes).map_err(|source| RefError::Format { file, source }),
        }
    }

    /// Replaces what is checked out.
    pub fn write_head(&self, head: &Head) -> Result<()> {
        if let Head::Branch(name) = head {
            check_ref_name(name).map_err(RefError::Name)?;
        }
        self.disk.publish(Path::new(HEAD_FILE), &head.encode(), true)?;
        Ok(())
    }

    /// The commit that is checked out; `None` on a branch without commits.
    pub fn head_commit(&self) -> Result<Option<CommitId>> {
        match self.read_head()? {
            Head::Detached(commit) => Ok(Some(commit)),
            Head::Branch(name) => {
                Ok(self.read(&format!("{BRANCHES}/{name}"))?.map(|record| record.new.commit))
            }
        }
    }

    /// The ref `name`, for instance `heads/main`; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<RefRecord>> {
        check_name(name)?;
        if let Some(then) = self.then(name) {
            return Ok(then.map(record_then));
        }
        self.load(name)
    }

    /// Moves the ref `name` from `old` to `new`; `None` stands for a ref that is not there.
    pub fn update(&self, name: &str, old: Option<RefValue>, new: Option<RefValue>) -> Result<()> {
        self.apply(&[RefChange { name: name.to_owned(), old, new }])
    }

    /// Changes several refs, each from where it is expected; no one of them if one is elsewhere or
    /// cannot be created. A crash may come between two of them.
    pub fn apply(&self, changes: &[RefChange]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        changes.iter().try_for_each(|change| check_name(&change.name))?;
        let _guard = self.lock()?;
        let current = self.check_locked(changes)?;
        let (gone, there): (Vec<_>, Vec<_>) =
            changes.iter().zip(current).partition(|(change, _)| change.new.is_none());
        for (change, current) in gone {
            if current.is_some() {
                self.remove(&change.name)?;
            }
        }
        for (change, current) in there {
            if let Some(new) = change.new {
                self.write(&change.name, current, new)?;
            }
        }
        Ok(())
    }

    /// Whether [`Self::apply`] would refuse the changes.
    pub fn check(&self, changes: &[RefChange]) -> Result<()> {
        changes.iter().try_for_each(|change| check_name(&change.name))?;
        self.check_locked(changes).map(|_| ())
    }

    /// Does what of [`Self::apply`] could fail again and again, so that no record says what cannot
    /// be done: refuses what that would refuse, and makes the places of new refs.
    pub fn prepare(&self, changes: &[RefChange]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        changes.iter().try_for_each(|change| check_name(&change.name))?;
        let _guard = self.lock()?;
        self.check_locked(changes)?;
        let gone = room::gone(changes);
        changes.iter().filter(|change| room::is_made(change)).try_for_each(|change| {
            self.make_room(&change.name, &gone)?;
            self.make_dir(&change.name, &gone)
        })
    }

    /// The records that the changes replace.
    fn check_locked(&self, changes: &[RefChange]) -> Result<Vec<Option<RefRecord>>> {
        let mut current = Vec::with_capacity(changes.len());
        for RefChange { name, old: expected, .. } in changes {
            let record = self.load(name)?;
            let found = record.as_ref().map(|record| record.new);
            if found != *expected {
                let commit = |value: Option<RefValue>| value.map(|value| value.commit);
                let (name, expected, found) = (name.clone(), commit(*expected), commit(found));
                return Err(RefError::Conflict { name, expected, found });
            }
            current.push(record);
        }
        let mut made = changes.iter().filter(|change| room::is_made(change)).peekable();
        if made.peek().is_some() {
            room::check(&self.names()?, changes)?;
            let gone = room::gone(changes);
            made.try_for_each(|change| self.check_room(&change.name, &gone))?;
        }
        Ok(current)
    }

    /// Writes a ref anew, in the place of a file that is damaged or missing.
    pub fn put_back(&self, name: &str, value: RefValue) -> Result<()> {
        check_name(name)?;
        let _guard = self.lock()?;
        let gone = HashSet::new();
        self.check_room(name, &gone)?;
        self.make_room(name, &gone)?;
        self.make_dir(name, &gone)?;
        self.publish(&ref_path(name), None, value)
    }

    fn write(&self, name: &str, current: Option<RefRecord>, new: RefValue) -> Result<()> {
        if current.is_none() {
            let gone = HashSet::new();
            self.make_room(name, &gone)?;
            self.make_dir(name, &gone)?;
        }
        self.publish(&ref_path(name), current, new)
    }

    fn publish(&self, path: &Path, current: Option<RefRecord>, new: RefValue) -> Result<()> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(RefError::Random)?;
        let seq = current.as_ref().map_or(0, |record| record.seq).saturating_add(1);
        let old = current.map(|record| record.new);
        let record = RefRecord { seq, old, new, nonce };
        Ok(self.disk.publish(path, &record.encode(), true)?)
    }

    /// Removes a ref and the directories that it leaves empty; a namespace stays.
    fn remove(&self, name: &str) -> Result<()> {
        self.disk.remove_durably(&ref_path(name))?;
        let mut dir = name;
        while let Some((above, _)) = dir.rsplit_once('/')
            && above.contains('/')
            && self.disk.remove_empty_dir(&ref_path(above))?
        {
            dir = above;
        }
        Ok(())
    }

    /// The names of all refs, read or not.
    pub fn names(&self) -> Result<Vec<String>> {
        let (mut names, mut dirs) = (Vec::new(), vec![String::new()]);
        while let Some(dir) = dirs.pop() {
            for child in self.entries(&dir)?.unwrap_or_default() {
                let name = if dir.is_empty() { child } else { format!("{dir}/{child}") };
                if check_prefix(&name).is_err() {
                    continue;
                }
                match self.disk.file_kind(&ref_path(&name))? {
                    Some((true, _)) => dirs.push(name),
                    Some((false, _)) if name.contains('/') => names.push(name),
                    _ => {}
                }
            }
        }
        Ok(names)
    }

    /// The ref `prefix` or the refs below it, sorted by name; all refs for the empty prefix.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, RefRecord)>> {
        let mut found = Vec::new();
        if prefix.is_empty() {
            self.collect_below("", &mut found)?;
        } else {
            check_prefix(prefix)?;
            self.collect(prefix, &mut found)?;
        }
        if let Some(past) = &self.past {
            let is_below = |name: &str| {
                let rest = name.strip_prefix(prefix);
                rest.is_some_and(|rest| {
                    prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
                })
            };
            found.retain(|(name, _)| !past.refs.contains_key(name));
            let then = past.refs.iter().filter(|(name, _)| is_below(name));
            found.extend(
                then.filter_map(|(name, then)| Some((name.clone(), record_then((*then)?)))),
            );
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    fn collect(&self, name: &str, found: &mut Vec<(String, RefRecord)>) -> Result<()> {
        // Namespaces are directories: a file of that name is no ref, since no name reads it.
        if name.contains('/')
            && let Some(record) = self.load(name)?
        {
            found.push((name.to_owned(), record));
            return Ok(());
        }
        self.collect_below(name, found)
    }

    fn collect_below(&self, dir: &str, found: &mut Vec<(String, RefRecord)>) -> Result<()> {
        for child in self.entries(dir)?.unwrap_or_default() {
            let name = if dir.is_empty() { child } else { format!("{dir}/{child}") };
            // What a file manager or an editor left is no ref; the check also bounds the depth.
            if check_prefix(&name).is_ok() {
                self.collect(&name, found)?;
            }
        }
        Ok(())
    }

    /// The entries of a directory of refs; `None` if it is no directory.
    fn entries(&self, dir: &str) -> Result<Option<Vec<String>>> {
        match self.disk.list(&ref_path(dir)) {
            Ok(names) => Ok(Some(names)),
            Err(error) if is_not_a_directory(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a ref whose name is checked; a directory is none.
    fn load(&self, name: &str) -> Result<Option<RefRecord>> {
        let path = ref_path(name);
        let bytes = match self.disk.read(&path, MAX_FILE) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) if !bytes.is_empty() => bytes,
            Err(error) if is_not_a_directory(&error) => return Ok(None),
            // How reading a directory fails, or gives no bytes, depends on the file system.
            other => match (self.entries(name)?, other) {
                (Some(_), _) | (None, Ok(None)) => return Ok(None),
                (None, Ok(Some(bytes))) => bytes,
                (None, Err(error)) => return Err(error.into()),
            },
        };
        let decoded = RefRecord::decode(&bytes);
        let file = self.disk.root().join(path);
        decoded.map(Some).map_err(|source| RefError::Format { file, source })
    }

    fn lock(&self) -> Result<Box<dyn LockGuard>> {
        let start = Instant::now();
        loop {
            if let Some(guard) = self.disk.try_lock(Path::new(LOCK_FILE))? {
                return Ok(guard);
            }
            if start.elapsed() >= LOCK_PATIENCE {
                return Err(RefError::Locked { file: self.disk.root().join(LOCK_FILE) });
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }
}

/// The record of a ref of another time, as far as it is known.
fn record_then(new: RefValue) -> RefRecord {
    RefRecord { seq: 0, old: None, new, nonce: [0; 16] }
}

/// The file of a ref.
pub fn ref_path(name: &str) -> PathBuf {
    Path::new(REFS_DIR).join(name)
}

fn is_not_a_directory(error: &DiskError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotADirectory
}

fn check_name(name: &str) -> Result<()> {
    check_full_name(name).map_err(RefError::Name)
}

/// Checks a namespace, or the beginning of the name of a ref.
fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.contains('/') {
        return check_name(prefix);
    }
    check_ref_name(prefix).map_err(RefError::Name)
}

#[cfg(test)]
mod tests;
