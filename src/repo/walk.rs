//! The parallel walk of the work tree.
//!
//! Directories are the unit of work: a task opens its directory by its path below the root handle
//! (no symlink followed, no handle held for its children), lists it in pieces, and starts a task
//! for each subdirectory. The pieces of a large directory are looked at by all threads while one
//! reads on. The visitor is called from the walker's threads and may block, which is how a slow
//! consumer holds the walk back. A name that is ignored is never asked for its stat.

mod names;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
pub const MAX_PIECE: usize = 4096;
/// Beginning of the names of files under construction in the work tree.
const TEMPORARY_PREFIX: &str = ".digstore-tmp-";
/// Bytes of directory entries that are read at once.
const DIR_BUFFER: usize = 32 << 10;
/// Most pieces of one directory that wait for a thread, for each thread: what bounds the memory
/// of names read ahead.
const PIECES_AHEAD: usize = 4;

/// The name of a file under construction in the work tree.
pub fn temporary_name(seed: u64, number: u64) -> String {
    format!("{TEMPORARY_PREFIX}{seed:016x}-{number:x}")
}

/// Whether a name is one of [`temporary_name`], to the last digit: a name that only begins so is a
/// user's.
pub fn is_temporary_name(name: &[u8]) -> bool {
    let parse = || {
        let rest = std::str::from_utf8(name).ok()?.strip_prefix(TEMPORARY_PREFIX)?;
        let (seed, number) = rest.split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some(temporary_name(hex(seed)?, hex(number)?))
    };
    parse().is_some_and(|made| made.as_bytes() == name)
}

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
    /// Where its name lies in the listing; see [`DirListing::name`].
    name: Range<u32>,
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
    /// Their names, one after the other.
    names: Vec<u8>,
    /// Whether any entry that is not ignored was seen in this piece, of whatever type; in the
    /// last one, in any piece: `false` means that the directory is empty.
    pub has_children: bool,
    /// What was left out.
    pub skipped: Vec<(RepoPath, SkipReason)>,
    /// Paths that ignore rules hide, if they were asked for; a directory ends in a slash.
    pub ignored: Vec<Vec<u8>>,
    /// Whether the directory is itself ignored.
    pub is_ignored: bool,
    /// What was odd about ignore files.
    pub warnings: Vec<IgnoreWarning>,
    /// Another piece of the same directory follows.
    pub more: bool,
}

impl DirListing {
    /// The name of one of its entries in the directory.
    pub fn name(&self, entry: &WalkEntry) -> &[u8] {
        name_in(&self.names, entry)
    }
}

fn name_in<'n>(names: &'n [u8], entry: &WalkEntry) -> &'n [u8] {
    &names[entry.name.start as usize..entry.name.end as usize]
}

/// Asks whether a path is tracked; with `true`, whether anything below that directory is.
pub type IsTracked<'a> = dyn Fn(&[u8], bool) -> bool + Sync + 'a;

/// Asks whether a directory is of interest; where not, it is not entered.
pub type Enters<'a> = dyn Fn(&[u8]) -> bool + Sync + 'a;

/// What becomes of what ignore rules hide and is not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IgnoredEntries {
    /// Nothing is told of it.
    #[default]
    Hide,
    /// It is named, a directory as one; see [`DirListing::ignored`].
    Name,
    /// The same, but ignored directories are entered and each file in them is named.
    Enter,
}

/// What is walked, and how.
pub struct WalkOptions<'a> {
    /// Threads; 0 for one per processor.
    pub threads: usize,
    /// The ignore rules above the work tree.
    pub rules: Arc<IgnoreRules>,
    /// Directories and files to which the walk is limited; none for everything.
    pub roots: Vec<RepoPath>,
    /// Whether ignore rules are left aside.
    pub include_ignored: bool,
    /// What becomes of what they hide.
    pub ignored: IgnoredEntries,
    /// What ignore rules do not hide.
    pub is_tracked: &'a IsTracked<'a>,
    /// Whether a directory is entered.
    pub enters: &'a Enters<'a>,
}

struct Walker<'a> {
    root: &'a OwnedFd,
    options: &'a WalkOptions<'a>,
    visit: &'a (dyn Fn(DirListing) -> ControlFlow<()> + Sync),
    stopped: AtomicBool,
    threads: usize,
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
    let stopped = AtomicBool::new(false);
    let count = threads.current_num_threads();
    let walker = Walker { root, options, visit: &visit, stopped, threads: count };
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

/// A directory while it is listed, shared by the pieces of it.
struct Dir {
    handle: Arc<OwnedFd>,
    path: RepoPath,
    depth: usize,
    rules: Arc<IgnoreRules>,
    /// Whether a piece saw an entry that is not ignored.
    has_children: AtomicBool,
    /// Pieces not delivered yet, with the last one from the beginning.
    pieces: AtomicUsize,
}

impl Dir {
    fn new(handle: Arc<OwnedFd>, path: RepoPath, depth: usize, rules: Arc<IgnoreRules>) -> Self {
        let (has_children, pieces) = (AtomicBool::new(false), AtomicUsize::new(1));
        Self { handle, path, depth, rules, has_children, pieces }
    }
}

/// Looks at the names of one piece.
struct Lister<'w, 'a> {
    walker: &'w Walker<'a>,
    dir: &'w Dir,
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

    fn names_ignored(&self) -> bool {
        self.options.ignored == IgnoredEntries::Name
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
        self.list_opened(scope, task, &Arc::new(handle));
    }

    fn list_opened<'s>(&'s self, scope: &Scope<'s>, task: Task, handle: &Arc<OwnedFd>) {
        let mut buffer = Vec::with_capacity(DIR_BUFFER);
        let mut reader = RawDir::new(&**handle, buffer.spare_capacity_mut());
        let mut names = Names::default();
        let mut filled = names.fill(&mut reader);
        let presence = Presence { names: &names, complete: filled.unwrap_or(true), handle };
        let is_top = task.dir.is_root() && !self.options.include_ignored;
        let general = if is_top { self.options.rules.warnings() } else { &[] };
        let mut warnings = general.to_vec();
        let Some(rules) = self.rules_inside(&task, &presence, &mut warnings) else { return };
        let dir = Arc::new(Dir::new(Arc::clone(handle), task.dir, task.depth, rules));
        while filled == Ok(false) && !self.is_stopped() {
            let waiting = dir.pieces.fetch_add(1, Ordering::AcqRel);
            let listing =
                DirListing { warnings: std::mem::take(&mut warnings), ..DirListing::default() };
            if waiting > PIECES_AHEAD * self.threads {
                self.piece(scope, &dir, &names, Ok(false), listing);
            } else {
                let (dir, names) = (Arc::clone(&dir), std::mem::take(&mut names));
                scope.spawn(move |scope| self.piece(scope, &dir, &names, Ok(false), listing));
            }
            filled = names.fill(&mut reader);
        }
        let listing = DirListing { warnings, ..DirListing::default() };
        self.piece(scope, &dir, &names, filled, listing);
    }

    /// Looks at one piece and delivers it.
    fn piece<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: &Dir,
        names: &Names,
        filled: rustix::io::Result<bool>,
        listing: DirListing,
    ) {
        if self.is_stopped() {
            return;
        }
        let mut lister = Lister::new(self, dir, listing);
        lister.listing.entries.reserve(names.ends.len());
        for (name, kind) in names.iter() {
            lister.entry(name, kind);
        }
        if let Err(errno) = filled {
            lister.listing.has_children = true;
            lister.listing.skipped.push((dir.path.clone(), errno.into()));
        }
        lister.finish().into_iter().for_each(|task| self.spawn(scope, task));
    }

    /// Starts at the roots: everything, or the entries that are named.
    fn start<'s>(&'s self, scope: &Scope<'s>) {
        if self.options.roots.is_empty() || self.options.roots.iter().any(RepoPath::is_root) {
            let rules = Arc::clone(&self.options.rules);
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
                Place::Ignored(dir) if self.names_ignored() && !is_always_skipped(dir.name()) => {
                    let ignored = vec![[dir.as_bytes(), b"/"].concat()];
                    let (dir, has_children) = (dir.parent().unwrap_or_default(), true);
                    self.deliver(DirListing {
                        dir,
                        has_children,
                        ignored,
                        ..DirListing::default()
                    });
                }
                Place::Ignored(_) => {
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
        let depth = dir.components().count();
        let dir = Dir::new(Arc::new(handle), dir.clone(), depth, Arc::clone(rules));
        for piece in named.chunks(MAX_PIECE) {
            let warnings = std::mem::take(&mut warnings);
            let listing = DirListing { warnings, has_children: true, ..DirListing::default() };
            dir.pieces.fetch_add(1, Ordering::AcqRel);
            let mut lister = Lister::new(self, &dir, listing);
            lister.is_named = true;
            for path in piece {
                lister.entry(path.name(), FileType::Unknown);
            }
            lister.finish().into_iter().for_each(|task| self.spawn(scope, task));
        }
    }

    /// The rules inside a directory; `None` when it is not entered.
    fn rules_inside(
        &self,
        task: &Task,
        presence: &Presence<'_, '_>,
        warnings: &mut Vec<IgnoreWarning>,
    ) -> Option<Arc<IgnoreRules>> {
        if task.depth > 0 && presence.has(REPOSITORY_DIR) {
            self.skip(task.dir.clone(), SkipReason::NestedRepository);
            return None;
        }
        if self.options.include_ignored {
            return Some(Arc::clone(&task.rules));
        }
        let files = [DIGIGNORE, GITIGNORE].map(|name| Some(name).filter(|_| presence.has(name)));
        Some(load_rules(presence.handle.as_fd(), &task.rules, &task.dir, files, warnings))
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
    fn new(walker: &'w Walker<'a>, dir: &'w Dir, listing: DirListing) -> Self {
        let mut path = dir.path.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        let (base, subdirectories) = (path.len(), Vec::new());
        Self { walker, dir, listing, path, base, subdirectories, is_named: false }
    }

    /// Delivers what was found and returns the subdirectories.
    fn finish(self) -> Vec<Task> {
        let Self { walker, dir, mut listing, subdirectories, .. } = self;
        let names = &listing.names;
        listing.entries.sort_unstable_by(|a, b| name_in(names, a).cmp(name_in(names, b)));
        listing.dir = dir.path.clone();
        listing.is_ignored = dir.rules.is_pruned();
        if listing.has_children {
            dir.has_children.store(true, Ordering::Relaxed);
        }
        // Whoever ends last has seen what the others stored before.
        listing.more = dir.pieces.fetch_sub(1, Ordering::AcqRel) > 1;
        listing.has_children |= dir.has_children.load(Ordering::Relaxed);
        walker.deliver(listing);
        subdirectories
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
            let enters = self.walker.options.ignored == IgnoredEntries::Enter;
            if self.is_named && !(is_dir && enters) {
                return self.skip(SkipReason::Ignored);
            }
            return self.ignored(name, kind);
        }
        self.visible(name, kind, pruned);
    }

    /// An entry that is ignored and not tracked.
    fn ignored(&mut self, name: &[u8], kind: FileType) {
        let how = self.walker.options.ignored;
        if how == IgnoredEntries::Hide || is_temporary_name(name) {
            return;
        }
        match kind {
            FileType::Directory if how == IgnoredEntries::Enter => self.subdirectory(true),
            FileType::Directory => self.listing.ignored.push([&self.path[..], b"/"].concat()),
            FileType::RegularFile | FileType::Symlink => {
                self.listing.ignored.push(self.path.clone());
            }
            _ => {}
        }
    }

    /// Whether ignore rules hide the entry at hand.
    fn is_hidden(&self, is_dir: bool) -> bool {
        !self.walker.options.include_ignored
            && !self.dir.rules.is_empty()
            && self.dir.rules.is_ignored_bytes(&self.path, is_dir)
    }

    /// An entry that ignore rules do not hide, or that is tracked.
    fn visible(&mut self, name: &[u8], kind: FileType, pruned: bool) {
        self.listing.has_children = true;
        if let Err(error) = self.check(name) {
            return self.skip(SkipReason::Path(error));
        }
        if is_temporary_name(name) {
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
        if self.dir.depth >= MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        Ok(())
    }

    fn subdirectory(&mut self, pruned: bool) {
        if !(self.walker.options.enters)(&self.path) {
            return;
        }
        let dir = RepoPath::new_unchecked(self.path.clone());
        let rules = &self.dir.rules;
        let rules =
            if pruned && !rules.is_pruned() { rules.pruned(&dir) } else { Arc::clone(rules) };
        self.subdirectories.push(Task { dir, depth: self.dir.depth + 1, rules });
    }

    fn skip(&mut self, reason: SkipReason) {
        self.listing.skipped.push((RepoPath::new_unchecked(self.path.clone()), reason));
    }

    /// Asks for the stat; where the listing named no type, or another one, decides anew.
    fn with_stat(&mut self, name: &[u8], expected: FileType) {
        let stat = match statat(&*self.dir.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
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
        let start = self.listing.names.len() as u32;
        self.listing.names.extend_from_slice(name);
        let name = start..self.listing.names.len() as u32;
        self.listing.entries.push(WalkEntry { name, kind, stat: file_stat(&stat) });
    }
}

#[cfg(test)]
mod tests;
