//! Refs: names of commits, changed by compare-and-swap; and `HEAD`.
//!
//! A ref is a small checksummed file below `refs/`, replaced as a whole: readers need no lock.
//! Writers read, compare and publish under the kernel lock on `refs.lock`. Names here include
//! their namespace: `heads/main`, `tags/v1`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::disk::{Disk, DiskError, LockGuard};
use super::format::FormatError;
use super::format::refs::check_ref_name;
pub use super::format::refs::{Head, RefRecord};
use crate::id::CommitId;

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
}

impl RefStore {
    /// The refs of the repository on `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// What is checked out.
    pub fn read_head(&self) -> Result<Head> {
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
                Ok(self.read(&format!("{BRANCHES}/{name}"))?.map(|record| record.new))
            }
        }
    }

    /// The ref `name`, for instance `heads/main`; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<RefRecord>> {
        check_name(name)?;
        self.load(name)
    }

    /// Moves the ref `name` from `expected_old` to `new`; `None` stands for a ref that is not there.
    pub fn update(
        &self,
        name: &str,
        expected_old: Option<CommitId>,
        new: CommitId,
    ) -> Result<RefRecord> {
        check_name(name)?;
        let _guard = self.lock()?;
        let current = self.load(name)?;
        let old = current.as_ref().map(|record| record.new);
        if old != expected_old {
            let name = name.to_owned();
            return Err(RefError::Conflict { name, expected: expected_old, found: old });
        }
        if current.is_none() {
            self.make_room(name)?;
        }
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(RefError::Random)?;
        let seq = current.map_or(0, |record| record.seq).saturating_add(1);
        let record = RefRecord { seq, old, new, nonce };
        self.disk.publish(&ref_path(name), &record.encode(), true)?;
        Ok(record)
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

    /// Creates the directories of a new ref; an error if a ref, or a directory of refs, is in the
    /// way.
    fn make_room(&self, name: &str) -> Result<()> {
        let clash =
            |other: &str| Err(RefError::Clash { name: name.to_owned(), other: other.to_owned() });
        for (slash, _) in name.match_indices('/') {
            if self.entries(&name[..slash])?.is_none() {
                return clash(&name[..slash]);
            }
        }
        let dir = Path::new(REFS_DIR).join(name);
        if self.disk.file_kind(&dir)?.is_some() {
            return clash(&format!("{name}/"));
        }
        if let Some(parent) = dir.parent() {
            self.disk.create_dir(parent)?;
        }
        Ok(())
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

fn ref_path(name: &str) -> PathBuf {
    Path::new(REFS_DIR).join(name)
}

fn is_not_a_directory(error: &DiskError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotADirectory
}

/// Checks namespace and name of a ref, each by itself: a branch may have a name of full length.
fn check_name(name: &str) -> Result<()> {
    let (namespace, short) = name.split_once('/').unwrap_or((name, ""));
    check_ref_name(namespace).and_then(|()| check_ref_name(short)).map_err(RefError::Name)
}

/// Checks a namespace, or the beginning of the name of a ref.
fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.contains('/') {
        return check_name(prefix);
    }
    check_ref_name(prefix).map_err(RefError::Name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{OsDisk, TMP_DIR};

    fn store() -> (tempfile::TempDir, RefStore) {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        disk.create_dir(Path::new(TMP_DIR)).unwrap();
        (dir, RefStore::new(Arc::new(disk)))
    }

    fn commit(text: &str) -> CommitId {
        CommitId::of(text.as_bytes())
    }

    #[test]
    fn a_ref_moves_from_where_it_is_expected_only() {
        let (_dir, refs) = store();
        let first = refs.update("heads/main", None, commit("a")).unwrap();
        assert_eq!((first.seq, first.old, first.new), (1, None, commit("a")));
        let second = refs.update("heads/main", Some(commit("a")), commit("b")).unwrap();
        assert_eq!((second.seq, second.old), (2, Some(commit("a"))));
        assert_ne!(first.nonce, second.nonce);
        for expected in [None, Some(commit("a"))] {
            match refs.update("heads/main", expected, commit("c")) {
                Err(RefError::Conflict { found, .. }) => assert_eq!(found, Some(commit("b"))),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(refs.read("heads/main").unwrap(), Some(second));
        let absent = refs.update("heads/new", Some(commit("a")), commit("b"));
        assert!(matches!(absent, Err(RefError::Conflict { found: None, .. })));
        assert_eq!(refs.read("heads/new").unwrap(), None);
    }

    #[test]
    fn of_many_rivals_one_wins() {
        let (_dir, refs) = store();
        let wins: usize = std::thread::scope(|scope| {
            let rival = |number: usize| {
                let refs = &refs;
                move || refs.update("heads/x", None, commit(&number.to_string())).is_ok()
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(rival(number))).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(wins, 1);
        assert_eq!(refs.read("heads/x").unwrap().unwrap().seq, 1);
    }

    #[test]
    fn head_leads_through_its_branch() {
        let (_dir, refs) = store();
        assert!(matches!(refs.read_head(), Err(RefError::NoHead { .. })));
        refs.write_head(&Head::Branch("main".into())).unwrap();
        assert_eq!(refs.head_commit().unwrap(), None);
        refs.update("heads/main", None, commit("a")).unwrap();
        assert_eq!(refs.head_commit().unwrap(), Some(commit("a")));
        refs.write_head(&Head::Detached(commit("b"))).unwrap();
        assert_eq!(refs.head_commit().unwrap(), Some(commit("b")));
        assert!(refs.write_head(&Head::Branch("../x".into())).is_err());
    }

    #[test]
    fn refs_are_listed_sorted_and_below_a_prefix() {
        let (dir, refs) = store();
        assert!(refs.list("").unwrap().is_empty());
        let long = format!("heads/{}", "x".repeat(255));
        let names = ["heads/a", "heads/a-b/c", "heads/a-b/d/e", &long, "tags/v1"];
        for name in names.iter().rev() {
            refs.update(name, None, commit(name)).unwrap();
        }
        std::fs::create_dir(dir.path().join("refs/heads/empty")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a stray file of another program")]
        std::fs::write(dir.path().join("refs/heads/.stray"), b"x").unwrap();
        let list = |prefix: &str| -> Vec<String> {
            refs.list(prefix).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(list(""), names);
        assert_eq!(list("heads"), names[..4]);
        assert_eq!(list("heads/a-b"), names[1..3]);
        assert_eq!(list("heads/a"), names[..1]);
        assert!(list("heads/none").is_empty());
        assert!(list("heads/empty").is_empty());
    }

    #[test]
    fn a_ref_and_a_directory_of_refs_exclude_each_other() {
        let (_dir, refs) = store();
        refs.update("heads/a", None, commit("a")).unwrap();
        refs.update("heads/b/c", None, commit("b")).unwrap();
        for (name, other) in [("heads/a/x/y", "heads/a"), ("heads/b", "heads/b/")] {
            assert_eq!(refs.read(name).unwrap(), None);
            match refs.update(name, None, commit("x")) {
                Err(RefError::Clash { other: found, .. }) => assert_eq!(found, other),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn names_are_checked_everywhere() {
        let (_dir, refs) = store();
        for name in ["", "main", "heads/", "/main", "heads/../../x", "heads/a b", "heads/x.lock"] {
            assert!(matches!(refs.read(name), Err(RefError::Name(_))), "{name}");
            assert!(matches!(refs.update(name, None, commit("x")), Err(RefError::Name(_))));
        }
        assert!(matches!(refs.list("../x"), Err(RefError::Name(_))));
    }

    #[test]
    fn a_damaged_ref_is_an_error() {
        let (dir, refs) = store();
        refs.update("heads/a", None, commit("a")).unwrap();
        for bytes in [b"".as_slice(), b"junk"] {
            #[expect(clippy::disallowed_methods, reason = "damage is done behind the disk edge")]
            std::fs::write(dir.path().join("refs/heads/a"), bytes).unwrap();
            assert!(matches!(refs.read("heads/a"), Err(RefError::Format { .. })));
            assert!(refs.update("heads/a", None, commit("b")).is_err());
            assert!(refs.list("").is_err());
        }
    }

    #[test]
    fn a_held_lock_is_waited_for_and_then_reported() {
        let (_dir, refs) = store();
        let guard = refs.disk.try_lock(Path::new(LOCK_FILE)).unwrap();
        let blocked = refs.update("heads/a", None, commit("a"));
        assert!(matches!(blocked, Err(RefError::Locked { .. })));
        drop(guard);
        assert!(refs.update("heads/a", None, commit("a")).is_ok());
    }
}
