//! What can be reached: refs and `HEAD`, every commit, what is staged, and the trees that only the
//! log of operations names. Each path whose objects are damaged or missing is named.
//!
//! A tree is compared with the last one that was whole, so that only what differs is looked at.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use lru::LruCache;

use super::super::trees::TreeDiff;
use super::super::{RepoError, Repository, Result};
use super::{Affected, Holder, VerifyReport, shortage};
use crate::id::{CommitId, ObjectId, PackId, TagId, TreeId};
use crate::path::{MAX_DEPTH, MAX_PATH, RepoPath};
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::objects::TreeIter;
use crate::storage::oplog::{OPLOG_FILE, OpRecord};
use crate::storage::pack_store::{PackStore, StoreError, describe};
use crate::storage::refs::{Head, RefValue};

/// Files and directories whose soundness is remembered, so that those of many commits or places are
/// looked up once: 16 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).unwrap();
/// Changes from one tree to the next, above which the next is looked at by itself, each directory
/// once: a few objects can be a tree of more paths than anybody can count.
const MAX_CHANGES: usize = 1 << 20;
/// Paths named, above which of a damaged directory that was looked at only its own path is named.
const MAX_NAMED: usize = 100_000;

impl Repository {
    /// Walks everything that is kept, and names the paths whose objects are damaged or missing.
    pub(super) fn verify_reachable(&self, report: &mut VerifyReport) -> Result<()> {
        let mut reach = Reach {
            repository: self,
            report,
            known: LruCache::new(REMEMBERED),
            tags: HashSet::new(),
            commits: HashSet::new(),
            dirs: LruCache::new(REMEMBERED),
            trees: HashSet::new(),
            whole: None,
            packs: HashMap::new(),
            shortage: None,
        };
        let tips = reach.tips();
        reach.refresh()?;
        reach.commits(tips, None)?;
        reach.staged();
        reach.operations()?;
        reach.small_files();
        self.stop_at(reach.shortage)
    }
}

struct Reach<'a> {
    repository: &'a Repository,
    report: &'a mut VerifyReport,
    /// Files whose content was looked up: an entry may lie about the size.
    known: LruCache<(Content, u64), bool>,
    /// Annotations that were read.
    tags: HashSet<TagId>,
    /// Commits that were walked.
    commits: HashSet<CommitId>,
    /// Directories that were looked at; `None` where something in them is damaged.
    dirs: LruCache<TreeId, Option<Extent>>,
    /// Trees of commits that were walked.
    trees: HashSet<TreeId>,
    /// The last tree that is whole.
    whole: Option<TreeId>,
    /// Packs that hold something, and whether they can be opened.
    packs: HashMap<PackId, bool>,
    /// Why not all could be looked at, if that is so.
    shortage: Option<i32>,
}

/// How far a directory reaches: what may stand deeper elsewhere may be too long there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    /// Bytes of its longest path below it, with the slash before.
    len: usize,
    /// Directories in each other below it.
    depth: usize,
}

impl Extent {
    /// Takes in a directory of such a name, with the slash before.
    fn add(&mut self, name: usize, inner: Self) {
        self.len = self.len.max(name + inner.len);
        self.depth = self.depth.max(1 + inner.depth);
    }
}

/// Bytes of a path below a directory that holds it, with the slash before.
fn below(dir: &RepoPath, path: &RepoPath) -> usize {
    let slash = usize::from(dir.as_bytes().is_empty());
    path.as_bytes().len() + slash - dir.as_bytes().len()
}

/// A directory that is being looked at.
struct Level {
    path: RepoPath,
    tree: TreeId,
    iter: TreeIter,
    extent: Extent,
    /// What was found before it.
    before: Found,
}

/// Counts that grow with every damage.
type Found = (usize, usize);

/// Where refs and `HEAD` were before and after an operation.
fn commits_of(record: &OpRecord) -> Vec<CommitId> {
    let values = record.refs.iter().flat_map(|change| [change.old, change.new]).flatten();
    let heads =
        [&record.before.head, &record.after.head].into_iter().filter_map(|head| match head {
            Head::Detached(commit) => Some(*commit),
            Head::Branch(_) => None,
        });
    values.map(|value| value.commit).chain(heads).collect()
}

impl Reach<'_> {
    fn found(&self) -> Found {
        (self.report.affected.len(), self.report.damaged.len())
    }

    fn problem(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.watch(error);
        let text = describe(error);
        if !self.report.problems.contains(&text) {
            self.report.problems.push(text);
        }
    }

    fn watch(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.shortage = self.shortage.or_else(|| shortage(error));
    }

    /// Takes in what other commands stored before they changed what was just read.
    fn refresh(&self) -> Result<()> {
        self.repository.store()?.refresh()?;
        Ok(())
    }

    /// Every ref and `HEAD`: one that is damaged hides no other.
    fn tips(&mut self) -> Vec<CommitId> {
        let refs = self.repository.refs();
        let names = refs.names().unwrap_or_else(|error| {
            self.problem(&error);
            Vec::new()
        });
        let mut tips = Vec::new();
        for name in names {
            match refs.read(&name) {
                Ok(Some(record)) => {
                    tips.push(record.new.commit);
                    self.annotation(&name, &record.new);
                }
                Ok(None) => {}
                Err(error) => self.problem(&error),
            }
        }
        match refs.head_commit() {
            Ok(head) => tips.extend(head),
            Err(error) => self.problem(&error),
        }
        for stray in self.repository.stray_refs().unwrap_or_default() {
            self.report.problems.push(stray.describe());
            tips.extend(stray.said.map(|value| value.commit));
        }
        if let Ok(Some(error)) = self.repository.blocked_refs() {
            self.problem(&error);
        }
        tips
    }

    fn annotation(&mut self, name: &str, value: &RefValue) {
        let Some(tag) = value.annotation.filter(|tag| self.tags.insert(*tag)) else { return };
        let read = self.repository.objects().map(|objects| objects.tag(&tag));
        if let Ok(Err(error)) = read {
            self.watch(&error);
            self.report.damaged.insert(tag.into());
            self.report.problems.push(format!("annotation of '{name}': {}", describe(&error)));
        }
    }

    /// Walks commits and those before them; of those that only an operation names, that one holds what
    /// they need.
    fn commits(&mut self, tips: Vec<CommitId>, operation: Option<u64>) -> Result<()> {
        let mut stack = tips;
        while let Some(id) = stack.pop() {
            if !self.commits.insert(id) {
                continue;
            }
            self.report.commits += u64::from(operation.is_none());
            match self.repository.objects()?.commit(&id) {
                Ok(commit) => {
                    let holder = operation.map_or(Holder::Commit(id), Holder::Operation);
                    self.tree(commit.tree, holder)?;
                    self.trees.insert(commit.tree);
                    stack.extend(commit.parents);
                }
                Err(error) => {
                    self.watch(&error);
                    self.report.damaged.insert(id.into());
                    let text = format!("commit {}: {}", id.short(), describe(&error));
                    self.report.problems.push(text);
                }
            }
        }
        Ok(())
    }

    fn staged(&mut self) {
        let staging = match self.repository.staging() {
            Ok(staging) => staging,
            Err(error) => return self.problem(&error),
        };
        if let Err(error) = self.refresh() {
            return self.problem(&error);
        }
        for entry in staging.iter() {
            if let StagedKind::File { content, .. } = entry.kind {
                self.file(content, entry.stat.size, &entry.path, Holder::Staged);
            }
        }
        if let Err(error) = staging.check() {
            self.problem(&error);
        }
    }

    /// What `undo` and `op restore` need: where refs and `HEAD` were, what each operation staged, kept
    /// and wrote, and the merges that waited.
    fn operations(&mut self) -> Result<()> {
        let log = match self.repository.operations() {
            Ok(log) => log,
            Err(error) => {
                self.problem(&error);
                return Ok(());
            }
        };
        if log.is_missing() {
            self.report.problems.push(format!("'{OPLOG_FILE}' is missing: nothing can be undone"));
        }
        let moving = self.repository.announced(&log).unwrap_or_else(|error| {
            self.problem(&error);
            None
        });
        self.refresh()?;
        if let Some(moving) = moving {
            // What a killed command was doing counts behind the operation that it names.
            for tree in moving.trees() {
                self.tree_of(tree, moving.seq)?;
            }
        }
        for record in log.backwards() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.problem(&error);
                    break;
                }
            };
            self.report.operations += 1;
            let seq = record.link.seq;
            self.commits(commits_of(&record), Some(seq))?;
            for change in &record.refs {
                let values = [change.old, change.new].into_iter().flatten();
                values.for_each(|value| self.annotation(&change.name, &value));
            }
            let trees = [Some(record.after.staged.tree), Some(record.before.staged.tree)];
            for tree in trees.into_iter().chain([record.kept, record.written]).flatten() {
                self.tree_of(tree, seq)?;
            }
            for merging in [record.before.merging, record.after.merging].into_iter().flatten() {
                self.merge(merging, seq)?;
            }
        }
        Ok(())
    }

    /// A tree that an operation names, once.
    fn tree_of(&mut self, tree: TreeId, seq: u64) -> Result<()> {
        if self.trees.insert(tree) { self.tree(tree, Holder::Operation(seq)) } else { Ok(()) }
    }

    /// A merge that waits, or waited: the tree that holds its state, and all that it is about.
    fn merge(&mut self, merging: TreeId, seq: u64) -> Result<()> {
        if self.trees.contains(&merging) {
            return Ok(());
        }
        self.tree_of(merging, seq)?;
        let state = match self.repository.read_merge_state(&merging) {
            Ok(state) => state,
            Err(error) => {
                self.note_object(&error);
                self.problem(&error);
                return Ok(());
            }
        };
        self.commits(state.commits().collect(), Some(seq))?;
        for tree in state.trees() {
            self.tree_of(tree, seq)?;
        }
        for (path, side) in state.sides() {
            match side {
                EntryKind::File { content, size, .. } => {
                    self.file(*content, *size, path, Holder::Operation(seq));
                }
                EntryKind::Dir { tree, .. } => self.tree_of(*tree, seq)?,
                EntryKind::Symlink { .. } => {}
            }
        }
        Ok(())
    }

    /// What is no object and no ref: the merge that waits, and what the work tree is to hold.
    fn small_files(&mut self) {
        if let Err(error) = self.repository.merge_state() {
            self.problem(&error);
        }
        if let Err(error) = self.repository.wanted() {
            self.watch(&error);
            let why = describe(&error);
            self.report.problems.push(format!(
                "{why}; 'digstore sparse set PATHSPEC' or 'digstore sparse disable' writes it anew"
            ));
        }
    }

    /// Looks at what a tree does not share with the last one that was whole; at all of it where
    /// that cannot be told.
    fn tree(&mut self, tree: TreeId, holder: Holder) -> Result<()> {
        let before = self.found();
        if !self.differing(tree, holder)? {
            self.report.affected.truncate(before.0);
            self.whole_tree(tree, holder)?;
        }
        if self.found() == before {
            self.whole = Some(tree);
        }
        Ok(())
    }

    fn differing(&mut self, tree: TreeId, holder: Holder) -> Result<bool> {
        let Some(whole) = self.whole else { return Ok(false) };
        let changes = TreeDiff::new(self.repository.objects()?, Some(whole), Some(tree));
        for (number, change) in changes.enumerate() {
            self.repository.stop_if_cancelled()?;
            let Ok(change) = change else { return Ok(false) };
            if number >= MAX_CHANGES {
                return Ok(false);
            }
            if let Some(EntryKind::File { content, size, .. }) = change.new {
                self.file(content, size, &change.path, holder);
            }
        }
        Ok(true)
    }

    /// Every directory that can be read, also behind one that cannot; each once.
    fn whole_tree(&mut self, tree: TreeId, holder: Holder) -> Result<()> {
        let objects = self.repository.objects()?;
        let open = |path: RepoPath, tree: TreeId, before: Found| {
            let iter = objects.tree(&tree);
            Level { path, tree, iter, extent: Extent::default(), before }
        };
        let mut stack = vec![open(RepoPath::root(), tree, self.found())];
        while let Some(level) = stack.last_mut() {
            self.repository.stop_if_cancelled()?;
            let Some(entry) = level.iter.next() else {
                self.leave(&mut stack);
                continue;
            };
            let read = entry.map_err(RepoError::from).and_then(|entry| {
                let name = entry.name.clone();
                let path = level.path.join(&name);
                let path = path.map_err(|source| RepoError::BadStoredPath { name, source })?;
                Ok((path, entry.kind))
            });
            if let Ok((path, _)) = &read {
                level.extent.len = level.extent.len.max(below(&level.path, path));
            }
            match read {
                Ok((path, EntryKind::File { content, size, .. })) => {
                    self.file(content, size, &path, holder);
                }
                Ok((path, EntryKind::Dir { tree, .. })) => {
                    if self.enters(&mut stack, &path, tree, holder) {
                        stack.push(open(path, tree, self.found()));
                    }
                }
                Ok((_, EntryKind::Symlink { .. })) => {}
                Err(error) => {
                    let dir = level.path.clone();
                    self.note_object(&error);
                    self.problem(&error);
                    self.lost(holder, dir, None);
                    self.leave(&mut stack);
                }
            }
        }
        Ok(())
    }

    /// Ends a directory, remembers what it is like, and tells the one above.
    fn leave(&mut self, stack: &mut Vec<Level>) {
        let Some(Level { path, tree, extent, before, .. }) = stack.pop() else { return };
        self.dirs.put(tree, (self.found() == before).then_some(extent));
        if let Some(above) = stack.last_mut() {
            above.extent.add(below(&above.path, &path), extent);
        }
    }

    /// Whether a directory has to be looked at in this place.
    fn enters(
        &mut self,
        stack: &mut [Level],
        path: &RepoPath,
        tree: TreeId,
        holder: Holder,
    ) -> bool {
        let (named, depth) = (self.report.affected.len(), stack.len());
        let known = self.dirs.get(&tree).copied();
        if let (Some(Some(extent)), Some(above)) = (known, stack.last_mut())
            && depth + extent.depth < MAX_DEPTH
            && path.as_bytes().len() + extent.len <= MAX_PATH
        {
            above.extent.add(below(&above.path, path), extent);
            return false;
        }
        if depth >= MAX_DEPTH || known == Some(None) && named >= MAX_NAMED {
            self.lost(holder, path.clone(), None);
            return false;
        }
        true
    }

    fn note_object(&mut self, error: &RepoError) {
        if let RepoError::Store(StoreError::Missing(id) | StoreError::Object { id, .. }) = error {
            self.report.damaged.insert(*id);
        }
    }

    fn lost(&mut self, holder: Holder, path: RepoPath, content: Option<(Content, u64)>) {
        self.report.affected.push(Affected { holder, path, content });
    }

    fn file(&mut self, content: Content, size: u64, path: &RepoPath, holder: Holder) {
        if !self.is_whole(&content, size) {
            self.lost(holder, path.clone(), Some((content, size)));
        }
    }

    fn opens(&mut self, store: &PackStore, pack: PackId) -> bool {
        if let Some(opens) = self.packs.get(&pack) {
            return *opens;
        }
        let opened = store.pack(&pack).map(drop);
        if let Err(error) = &opened {
            self.watch(error);
        }
        self.packs.insert(pack, opened.is_ok());
        opened.is_ok()
    }

    fn is_whole(&mut self, content: &Content, size: u64) -> bool {
        if let Some(whole) = self.known.get(&(*content, size)) {
            return *whole;
        }
        let Ok(objects) = self.repository.objects() else { return false };
        let (mut total, mut whole) = (0, true);
        for chunk in objects.chunks(content, size, 0) {
            let (id, len) = match chunk {
                Ok((_, chunk)) => (ObjectId::from(chunk.id), chunk.len),
                Err(error) => {
                    whole = false;
                    let error = error.into();
                    self.note_object(&error);
                    self.problem(&error);
                    break;
                }
            };
            total += u64::from(len);
            match objects.reader().store().locate(&id) {
                None => {
                    whole = false;
                    if self.report.damaged.insert(id) {
                        self.problem(&StoreError::Missing(id));
                    }
                }
                Some(found) => {
                    // The index may cover a pack that cannot be opened.
                    if !self.opens(objects.reader().store(), found.pack) {
                        self.report.damaged.insert(id);
                    }
                    whole &= found.chunk.len == len && !self.report.damaged.contains(&id);
                }
            }
        }
        let whole = whole && total == size;
        self.known.put((*content, size), whole);
        whole
    }
}
