//! One walk of the work tree beside the staging area: what `add` and `status` share.
//!
//! The walk marks each staged path that it meets, by number, and passes on what differs. What is
//! staged and was not met afterwards is gone, unless something hid it from the walk, or it is there
//! when one looks again ([`missed`]).

pub(super) mod missed;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::pathspec::Pathspec;
use super::sparse::Wanted;
use super::status::SparseStatus;
use super::walk::{
    DirListing, Enters, IgnoredEntries, SkipReason, WalkEntry, WalkKind, WalkOptions, walk,
};
use super::{RepoError, Repository, Result};
use crate::path::{RepoPath, escape, split_last};
use crate::storage::binary_staging::{BinaryStagingArea, KindView, StagedView};
use crate::storage::format::staging::FileStat;

/// Most names of a directory among which the nearest one is looked for.
const MAX_NAMES: usize = 10_000;

/// One bit for each staged path: whether the walk met it.
pub(super) struct SeenBits(Vec<AtomicU64>);

impl SeenBits {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn mark(&self, slot: usize) {
        self.0[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.0[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }
}

/// Whether a staged path and what the walk found are the same without a look at the content.
pub(super) fn is_unchanged(staged: &StagedView<'_>, kind: WalkKind, stat: &FileStat) -> bool {
    let same_kind = match (staged.kind, kind) {
        (KindView::File { executable: a, .. }, WalkKind::File { executable: b }) => a == b,
        (KindView::Symlink { .. }, WalkKind::Symlink) => true,
        _ => false,
    };
    same_kind && !staged.racy && is_same_file(&staged.stat, stat)
}

/// Whether stat data shows the same file in the same state. The device number is left out: it
/// changes between mounts of one file system.
pub(super) fn is_same_file(a: &FileStat, b: &FileStat) -> bool {
    (a.size, a.mtime_ns, a.ctime_ns, a.ino) == (b.size, b.mtime_ns, b.ctime_ns, b.ino)
}

/// Paths that were left out. What is staged at or below one may be there still, unseen.
#[derive(Debug, Default)]
pub(crate) struct Hidden(HashSet<Vec<u8>>);

impl Hidden {
    /// Notes a path that was left out, if that hides what is staged there.
    pub(super) fn note(&mut self, path: &RepoPath, reason: &SkipReason) {
        if reason.hides() {
            self.0.insert(path.as_bytes().to_vec());
        }
    }

    /// Notes a path, whatever the reason is.
    pub(super) fn insert(&mut self, path: &RepoPath) {
        self.0.insert(path.as_bytes().to_vec());
    }

    /// Whether the path, or a directory above it, was left out.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        covers(&self.0, path)
    }
}

/// Whether a path, or a directory above it, is one of these.
fn covers(paths: &HashSet<Vec<u8>>, mut path: &[u8]) -> bool {
    while !paths.is_empty() {
        if paths.contains(path) {
            return true;
        }
        if path.is_empty() {
            break;
        }
        path = split_last(path).0;
    }
    false
}

/// See the module.
pub(super) struct Scan<'a> {
    repository: &'a Repository,
    /// The root of the work tree.
    pub(super) root: &'a OwnedFd,
    /// What is staged.
    pub(super) staging: &'a BinaryStagingArea,
    /// What of both is looked at.
    pub(super) pathspec: &'a Pathspec,
    /// What becomes of what ignore rules hide.
    pub(super) ignored: IgnoredEntries,
    seen: SeenBits,
    /// What the work tree is to hold.
    wanted: Wanted,
    /// In a sparse work tree: what lies where staged paths had to go that it need not hold.
    in_the_way: Mutex<HashSet<Vec<u8>>>,
    /// The repository's own directory, where it lies in the work tree.
    own_dir: Option<RepoPath>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        root: &'a OwnedFd,
        staging: &'a BinaryStagingArea,
        pathspec: &'a Pathspec,
    ) -> Result<Self> {
        let (seen, own_dir) = (SeenBits::new(staging.slots()), repository.own_dir());
        let ignored = IgnoredEntries::Hide;
        let (wanted, in_the_way) = (repository.wanted()?, Mutex::default());
        Ok(Self { repository, root, staging, pathspec, ignored, seen, wanted, in_the_way, own_dir })
    }

    /// Walks what the pathspec can match; `visit` is called from several threads. An error also
    /// when the command was interrupted; `Break` when `visit` broke off.
    pub(super) fn walk(
        &self,
        include_ignored: bool,
        visit: impl Fn(DirListing) -> ControlFlow<()> + Sync,
    ) -> Result<ControlFlow<()>> {
        let enters = |dir: &[u8]| self.pathspec.may_match_below(dir);
        self.walk_below(&self.pathspec.roots(), include_ignored, &enters, visit)
    }

    /// Walks what lies at the roots, in the directories that `enters` names.
    pub(super) fn walk_below(
        &self,
        roots: &[RepoPath],
        include_ignored: bool,
        enters: &Enters<'_>,
        visit: impl Fn(DirListing) -> ControlFlow<()> + Sync,
    ) -> Result<ControlFlow<()>> {
        let is_tracked = |path: &[u8], is_dir: bool| {
            if is_dir { self.holds(path) } else { self.staging.view(path).is_some() }
        };
        let is_everything = roots.iter().any(RepoPath::is_root);
        let options = WalkOptions {
            threads: self.repository.threads(),
            rules: self.repository.general_rules(),
            roots: if is_everything { Vec::new() } else { roots.to_vec() },
            include_ignored,
            ignored: self.ignored,
            is_tracked: &is_tracked,
            enters,
        };
        let cancel = self.repository.cancel_token();
        let walked = walk(self.root, &options, |listing| {
            if cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            if self.own_dir.as_ref().is_some_and(|own| listing.dir.is_within(own)) {
                return ControlFlow::Continue(());
            }
            visit(listing)
        });
        let path = || self.repository.place().work_tree.clone();
        let flow = walked.map_err(|source| RepoError::WorkTreeRead { path: path(), source })?;
        if cancel.is_cancelled() { Err(RepoError::Interrupted) } else { Ok(flow) }
    }

    /// Names in a directory of the work tree, as they are shown; none where it cannot be read.
    pub(super) fn names_in(&self, dir: &[u8]) -> Vec<String> {
        let dir = self.repository.place().work_tree.join(OsStr::from_bytes(dir));
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.take(MAX_NAMES).map(|entry| escape(entry.file_name().as_bytes()));
        names.collect()
    }

    /// Whether anything is staged at or below a path.
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        self.staging.views_within(path).next().is_some()
    }

    /// Whether anything is staged below a directory that the work tree need not hold.
    pub(super) fn holds_unwanted(&self, path: &[u8]) -> bool {
        !self.wanted.is_everything()
            && self
                .staging
                .views_within(path)
                .any(|view| view.path != path && !self.wanted.wants_staged(&view))
    }

    /// Whether the work tree need not hold everything.
    pub(super) fn is_sparse(&self) -> bool {
        !self.wanted.is_everything()
    }

    /// What a finished walk tells of a sparse work tree.
    pub(super) fn sparse_status(&self) -> Option<SparseStatus> {
        let is_unfinished = self.wanted.is_in_between();
        let present = self.pathspec.is_all().then(|| self.seen.count() as u64);
        let tracked = self.staging.len() as u64;
        self.is_sparse().then_some(SparseStatus { tracked, present, is_unfinished })
    }

    /// What is not tracked and lies where a staged path would need a directory, or is one where a
    /// staged path would be a file, hides it.
    fn note_in_the_way(&self, path: &[u8]) {
        let mut found = self.in_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(path.to_vec());
    }

    /// Notes that a path was met.
    pub(super) fn mark(&self, path: &[u8]) {
        if let Some(number) = self.staging.ordinal(path) {
            self.seen.mark(number);
        }
    }

    /// Notes that the entries of a listing were met, and calls `each` for those that the pathspec
    /// matches and that are not staged as they are, with the path and with what is staged there.
    pub(super) fn differences(
        &self,
        listing: &DirListing,
        mut each: impl FnMut(&[u8], &WalkEntry, Option<&StagedView<'_>>),
    ) {
        let mut path = listing.dir.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        let base = path.len();
        if self.is_sparse() && self.staging.view(listing.dir.as_bytes()).is_some() {
            self.note_in_the_way(listing.dir.as_bytes());
        }
        let all = self.pathspec.is_all() || self.pathspec.covers(listing.dir.as_bytes());
        // The entries are in path order, and so are the numbers.
        let mut expected = usize::MAX;
        for entry in &listing.entries {
            path.truncate(base);
            path.extend_from_slice(listing.name(entry));
            if !all && !self.pathspec.matches(&path, false) {
                continue;
            }
            let Some((number, staged)) = self.staging.locate(&path, expected) else {
                if self.is_sparse() && self.holds(&path) {
                    self.note_in_the_way(&path);
                }
                each(&path, entry, None);
                continue;
            };
            self.seen.mark(number);
            expected = number + 1;
            if !is_unchanged(&staged, entry.kind, &entry.stat) {
                each(&path, entry, Some(&staged));
            }
        }
    }

    /// What is staged, matches the pathspec, was not met and not hidden, in path order; of what the
    /// work tree need not hold only that in whose place something else lies.
    pub(super) fn gone<'s>(&'s self, hidden: &'s Hidden) -> impl Iterator<Item = StagedView<'s>> {
        let in_the_way = self.in_the_way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all_seen = self.seen.count() == self.staging.len();
        let roots = if all_seen { Vec::new() } else { self.pathspec.roots() };
        let views = roots
            .into_iter()
            .flat_map(|root| self.staging.views_within(root.as_bytes()).numbered());
        views
            .filter(|(number, view)| !self.seen.has(*number) && !hidden.covers(view.path))
            .map(|(_, view)| view)
            .filter(|view| self.pathspec.matches_staged(view))
            .filter(move |view| self.wanted.wants_staged(view) || covers(&in_the_way, view.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_hidden_path_is_hidden() {
        let mut hidden = Hidden::default();
        assert!(!hidden.covers(b"a/b"));
        let path = |path: &str| RepoPath::new(path).unwrap();
        hidden.note(&path("a/b"), &SkipReason::NestedRepository);
        hidden.note(&path("c"), &SkipReason::Fifo);
        for (path, is_hidden) in
            [("a/b", true), ("a/b/c/d", true), ("a", false), ("a/bc", false), ("c", false)]
        {
            assert_eq!(hidden.covers(path.as_bytes()), is_hidden, "{path}");
        }
        hidden.note(&RepoPath::root(), &SkipReason::NestedRepository);
        assert!(hidden.covers(b"x"));
    }

    #[test]
    fn bits_are_kept_apart() {
        let bits = SeenBits::new(130);
        for slot in [0, 63, 64, 129, 129] {
            assert!(!bits.has(slot) || slot == 129);
            bits.mark(slot);
            assert!(bits.has(slot));
        }
        assert_eq!(bits.count(), 4);
        assert!(!bits.has(1) && !bits.has(128));
    }
}
