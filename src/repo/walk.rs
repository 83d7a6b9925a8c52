//! The parallel walk of the work tree.
//!
//! Directories are the unit of work: a task opens its directory by its path below the root handle
//! (no symlink followed, no handle held for its children), lists it in pieces, and starts a task
//! for each subdirectory. The visitor is called from the walker's threads and may block, which is
//! how a slow consumer holds the walk back. A name that is ignored is never asked for its stat.

mod names;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::Scope;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, statat};
use rustix::io::Errno;

use self::names::{Names, Presence};
use super::beneath::{DIR_HANDLE, file_stat, is_absent, open_beneath};
pub use super::beneath::{PathKind, fstat_of, open_file, read_link, stat_one};
use super::ignore::{DIGIGNORE, GITIGNORE, IgnoreRules, IgnoreWarning, is_always_skipped};
pub use super::walk_rules::rules_of_dir;
use super::walk_rules::{Place, Places, load_rules};
use crate::path::{MAX_DEPTH, MAX_PATH, PathError, REPOSITORY_DIR, RepoPath, check_name};
use crate::storage::format::staging::FileStat;

/// Most entries that are delivered in one piece.
pub const MAX_PIECE: usize = 16_384;
/// Beginning of the names of files under construction in the work tree.
pub const TEMPORARY_PREFIX: &str = ".digstore-tmp-";
/// Bytes of directory entries that are read at once.
const DIR_BUFFER: usize = 32 << 10;

/// What the walk delivers as an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkKind {
    /// A regular file.
    File {
        /// Its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink,
}

/// One file or symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkEntry {
    /// Its name in its directory.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: WalkKind,
    /// What `lstat` said.
    pub stat: FileStat,
}

/// Why a path was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// Its name or its path cannot be stored.
    Path(PathError),
    /// The operating system refused.
    Unreadable(io::ErrorKind, String),
    /// A directory that holds a repository of its own.
    NestedRepository,
    /// Named as a root of the walk, but ignored and not tracked.
    Ignored,
    /// What an interrupted checkout left behind.
    Temporary,
}

impl From<Errno> for SkipReason {
    fn from(errno: Errno) -> Self {
        let error = io::Error::from(errno);
        Self::Unreadable(error.kind(), error.to_string())
    }
}

/// One directory, or a piece of a large one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirListing {
    /// The directory.
    pub dir: RepoPath,
    /// Its files and symlinks, sorted by name within the piece.
    pub entries: Vec<WalkEntry>,
    /// Whether any entry that is not ignored was seen in this piece or an earlier one, of
    /// whatever type. In the last piece, `false` means that the directory is empty.
    pub has_children: bool,
    /// What was left out.
    pub skipped: Vec<(RepoPath, SkipReason)>,
    /// What was odd about ignore files.
    pub warnings: Vec<IgnoreWarning>,
    /// Another piece of the same directory follows, from the same thread.
    pub more: bool,
}

/// Asks whether a path is tracked; with `true`, whether anything below that directory is.
pub type IsTracked<'a> = dyn Fn(&[u8], bool) -> bool + Sync + 'a;

/// What is walked, and how.
pub struct WalkOptions<'a> {
    /// Threads; 0 for one per processor.
    pub threads: usize,
    /// Whether `.gitignore` files count.
    pub use_gitignore: bool,
    /// Directories and files to which the walk is limited; none for everything.
    pub roots: Vec<RepoPath>,
    /// Whether ignore rules are left aside.
    pub include_ignored: bool,
    /// What ignore rules do not hide.
    pub is_tracked: &'a IsTracked<'a>,
}

struct Walker<'a> {
    root: &'a OwnedFd,
    options: &'a WalkOptions<'a>,
    visit: &'a (dyn Fn(DirListing) -> ControlFlow<()> + Sync),
    stopped: AtomicBool,
}

/// Walks the work tree below `root`. Whatever cannot be read is reported in
/// [`DirListing::skipped`]; the result says whether the visitor broke off.
pub fn walk<F>(root: &OwnedFd, options: &WalkOptions<'_>, visit: F) -> io::Result<ControlFlow<()>>
where
    F: Fn(DirListing) -> ControlFlow<()> + Sync,
{
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|index| format!("walk-{index}"))
        .build()
        .map_err(io::Error::other)?;
    let walker = Walker { root, options, visit: &visit, stopped: AtomicBool::new(false) };
    threads.scope(|scope| walker.start(scope));
    let stopped = walker.stopped.load(Ordering::Relaxed);
    Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// A directory still to be listed.
struct Task {
    dir: RepoPath,
    depth: usize,
    /// The rules of its parent, or pruned ones.
    rules: Arc<IgnoreRules>,
}

/// A directory while it is listed.
struct Lister<'w, 'a> {
    walker: &'w Walker<'a>,
    handle: &'w OwnedFd,
    depth: usize,
    rules: Arc<IgnoreRules>,
    listing: DirListing,
    /// The directory with a slash, then the name of the entry at hand.
    path: Vec<u8>,
    base: usize,
    subdirectories: Vec<Task>,
    /// The entries were named by the user, who is told when they are ignored.
    is_named: bool,
}

impl Walker<'_> {
    fn deliver(&self, listing: DirListing) {
        if !self.is_stopped() && (self.visit)(listing).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Reports one path on its own.
    fn skip(&self, path: RepoPath, reason: SkipReason) {
        let dir = path.parent().unwrap_or_default();
        let skipped = vec![(path, reason)];
        self.deliver(DirListing { dir, has_children: true, skipped, ..DirListing::default() });
    }

    fn spawn<'s>(&'s self, scope: &Scope<'s>, task: Task) {
        scope.spawn(move |scope| {
            if !self.is_stopped() {
                self.list(scope, task);
            }
        });
    }

    fn list<'s>(&'s self, scope: &Scope<'s>, task: Task) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let handle = match open_beneath(self.root.as_fd(), task.dir.as_bytes(), flags) {
            Ok(handle) => handle,
            // It went away, or became something else, since its name was read.
            Err(errno) if is_absent(errno) && !task.dir.is_root() => return,
            Err(errno) => return self.skip(task.dir, errno.into()),
        };
        let mut buffer = Vec::with_capacity(DIR_BUFFER);
        let mut reader = RawDir::new(&handle, buffer.spare_capacity_mut());
        let mut names = Names::default();
        let mut lister: Option<Lister<'_, '_>> = None;
        let mut task = Some(task);
        loop {
            let filled = names.fill(&mut reader);
            let ended = filled.unwrap_or(true);
            if let Some(task) = task.take() {
                let presence = Presence { names: &names, complete: ended, handle: &handle };
                lister = self.begin(task, &presence);
            }
            let Some(lister) = lister.as_mut() else { return };
            lister.piece(&names, filled);
            for task in lister.subdirectories.drain(..) {
                self.spawn(scope, task);
            }
            if ended || self.is_stopped() {
                return;
            }
        }
    }

    /// Starts at the roots: everything, or the entries that are named.
    fn start<'s>(&'s self, scope: &Scope<'s>) {
        if self.options.roots.is_empty() || self.options.roots.iter().any(RepoPath::is_root) {
            let rules = IgnoreRules::root(self.options.use_gitignore);
            return self.spawn(scope, Task { dir: RepoPath::root(), depth: 0, rules });
        }
        let mut places = Places::new(self.root, self.options);
        for (dir, named) in group_by_parent(&self.options.roots) {
            match places.of(&dir) {
                Place::Inside(rules) => {
                    let warnings = std::mem::take(&mut places.warnings);
                    self.list_named(scope, &dir, &rules, &named, warnings);
                }
                Place::Nested(repository) => self.skip(repository, SkipReason::NestedRepository),
                Place::Ignored => {
                    for path in named {
                        self.skip(path, SkipReason::Ignored);
                    }
                }
                Place::Closed(errno) if is_absent(errno) => {}
                Place::Closed(errno) => self.skip(dir, errno.into()),
            }
        }
    }

    /// Looks at the named entries of one directory.
    fn list_named<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: &RepoPath,
        rules: &Arc<IgnoreRules>,
        named: &[RepoPath],
        mut warnings: Vec<IgnoreWarning>,
    ) {
        let handle = match open_beneath(self.root.as_fd(), dir.as_bytes(), DIR_HANDLE) {
            Ok(handle) => handle,
            Err(errno) if is_absent(errno) => return,
            Err(errno) => return self.skip(dir.clone(), errno.into()),
        };
        for piece in named.chunks(MAX_PIECE) {
            let warnings = std::mem::take(&mut warnings);
            let listing = DirListing { warnings, ..DirListing::default() };
            let depth = dir.components().count();
            let mut lister =
                Lister::new(self, &handle, depth, Arc::clone(rules), dir.clone(), listing);
            lister.is_named = true;
            for path in piece {
                lister.entry(path.name(), FileType::Unknown);
            }
            lister.listing.has_children = true;
            lister.finish(false);
            lister.subdirectories.drain(..).for_each(|task| self.spawn(scope, task));
        }
    }

    /// Prepares for the first piece; `None` when the directory is not entered.
    fn begin<'w>(&'w self, task: Task, presence: &Presence<'_, 'w>) -> Option<Lister<'w, 'w>> {
        let Task { dir, depth, rules } = task;
        if depth > 0 && presence.has(REPOSITORY_DIR) {
            self.skip(dir, SkipReason::NestedRepository);
            return None;
        }
        let mut listing = DirListing::default();
        let rules = if self.options.include_ignored {
            rules
        } else {
            let files =
                [DIGIGNORE, GITIGNORE].map(|name| Some(name).filter(|_| presence.has(name)));
            load_rules(presence.handle.as_fd(), &rules, &dir, files, &mut listing.warnings)
        };
        Some(Lister::new(self, presence.handle, depth, rules, dir, listing))
    }
}

/// The roots by the directory they lie in, without those below another root.
fn group_by_parent(roots: &[RepoPath]) -> BTreeMap<RepoPath, Vec<RepoPath>> {
    let mut sorted: Vec<&RepoPath> = roots.iter().collect();
    sorted.sort_unstable();
    let mut groups: BTreeMap<RepoPath, Vec<RepoPath>> = BTreeMap::new();
    let mut last: Option<&RepoPath> = None;
    for path in sorted {
        if last.is_none_or(|last| !path.is_within(last)) {
            groups.entry(path.parent().unwrap_or_default()).or_default().push(path.clone());
            last = Some(path);
        }
    }
    groups
}

impl<'w, 'a> Lister<'w, 'a> {
    fn new(
        walker: &'w Walker<'a>,
        handle: &'w OwnedFd,
        depth: usize,
        rules: Arc<IgnoreRules>,
        dir: RepoPath,
        mut listing: DirListing,
    ) -> Self {
        let mut path = dir.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        listing.dir = dir;
        let (base, subdirectories) = (path.len(), Vec::new());
        Self { walker, handle, depth, rules, listing, path, base, subdirectories, is_named: false }
    }

    /// Looks at one piece and delivers it.
    fn piece(&mut self, names: &Names, filled: rustix::io::Result<bool>) {
        self.listing.entries.reserve(names.ends.len());
        for (name, kind) in names.iter() {
            self.entry(name, kind);
        }
        if let Err(errno) = filled {
            self.listing.has_children = true;
            self.listing.skipped.push((self.listing.dir.clone(), errno.into()));
        }
        self.finish(filled == Ok(false));
    }

    /// Delivers what was found so far.
    fn finish(&mut self, more: bool) {
        let mut listing = std::mem::take(&mut self.listing);
        listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing.more = more;
        if more {
            self.listing.dir = listing.dir.clone();
            self.listing.has_children = listing.has_children;
        }
        self.walker.deliver(listing);
    }

    fn entry(&mut self, name: &[u8], kind: FileType) {
        if is_always_skipped(name) {
            return;
        }
        self.path.truncate(self.base);
        self.path.extend_from_slice(name);
        if kind == FileType::Unknown {
            return self.with_stat(name, kind);
        }
        let is_dir = kind == FileType::Directory;
        let pruned = self.is_hidden(is_dir);
        if pruned && !(self.walker.options.is_tracked)(&self.path, is_dir) {
            if self.is_named {
                self.skip(SkipReason::Ignored);
            }
            return;
        }
        self.visible(name, kind, pruned);
    }

    /// Whether ignore rules hide the entry at hand.
    fn is_hidden(&self, is_dir: bool) -> bool {
        !self.walker.options.include_ignored
            && !self.rules.is_empty()
            && self.rules.is_ignored_bytes(&self.path, is_dir)
    }

    /// An entry that ignore rules do not hide, or that is tracked.
    fn visible(&mut self, name: &[u8], kind: FileType, pruned: bool) {
        self.listing.has_children = true;
        if let Err(error) = self.check(name) {
            return self.skip(SkipReason::Path(error));
        }
        if name.starts_with(TEMPORARY_PREFIX.as_bytes()) {
            return self.skip(SkipReason::Temporary);
        }
        match kind {
            FileType::Directory => self.subdirectory(pruned),
            FileType::RegularFile | FileType::Symlink | FileType::Unknown => {
                self.with_stat(name, kind);
            }
            FileType::Fifo => self.skip(SkipReason::Fifo),
            FileType::Socket => self.skip(SkipReason::Socket),
            FileType::CharacterDevice | FileType::BlockDevice => self.skip(SkipReason::Device),
        }
    }

    fn check(&self, name: &[u8]) -> Result<(), PathError> {
        check_name(name)?;
        if self.path.len() > MAX_PATH {
            return Err(PathError::LongPath(self.path.len()));
        }
        if self.depth >= MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        Ok(())
    }

    fn subdirectory(&mut self, pruned: bool) {
        let dir = RepoPath::new_unchecked(self.path.clone());
        let rules = if pruned && !self.rules.is_pruned() {
            self.rules.pruned(&dir)
        } else {
            Arc::clone(&self.rules)
        };
        self.subdirectories.push(Task { dir, depth: self.depth + 1, rules });
    }

    fn skip(&mut self, reason: SkipReason) {
        self.listing.skipped.push((RepoPath::new_unchecked(self.path.clone()), reason));
    }

    /// Asks for the stat; where the listing named no type, or another one, decides anew.
    fn with_stat(&mut self, name: &[u8], expected: FileType) {
        let stat = match statat(self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(errno) => {
                self.listing.has_children = true;
                return self.skip(errno.into());
            }
        };
        let found = FileType::from_raw_mode(stat.st_mode);
        let kind = match PathKind::of(&stat) {
            PathKind::File { executable } if expected == found => WalkKind::File { executable },
            PathKind::Symlink if expected == found => WalkKind::Symlink,
            _ if found == FileType::Unknown => return self.skip(SkipReason::Device),
            // Not what the listing said: `entry` decides with the type that is now known.
            _ => return self.entry(name, found),
        };
        self.listing.entries.push(WalkEntry { name: name.to_vec(), kind, stat: file_stat(&stat) });
    }
}

#[cfg(test)]
mod tests;
