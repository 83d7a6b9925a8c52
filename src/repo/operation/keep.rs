//! What a command is about to overwrite in the work tree is stored first.

use std::os::fd::OwnedFd;

use super::super::beneath::{PathKind, read_link, stat_one};
use super::super::source::WorkTreeSource;
use super::super::trees::{TreeChange, TreeDiff, TreeStack};
use super::super::{RepoError, Repository, Result};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::{BinaryStagingArea, StagedEntry, StagedKind};
use crate::storage::engine::{Engine, FileTask};
use crate::storage::format::object::check_target;
use crate::storage::format::staging::FileStat;
use crate::storage::objects::TreeTotals;
use crate::storage::parallel_processor::ParallelProcessor;

/// A path of the work tree that will be overwritten or removed.
#[derive(Debug, Clone)]
pub struct Doomed {
    /// Which.
    pub path: RepoPath,
    /// What is known of it.
    pub held: Held,
}

/// What a doomed path holds.
#[derive(Debug, Clone)]
pub enum Held {
    /// Nobody knows: it is read.
    Unknown,
    /// What is staged there, so that its bytes are stored.
    AsStaged,
    /// This, whose bytes are stored, and the bytes of a file.
    Stored(StagedKind, u64),
}

impl Held {
    /// What `Repository::is_modified` says of the path.
    pub fn as_modified(is_modified: Option<bool>) -> Self {
        if is_modified == Some(false) { Self::AsStaged } else { Self::Unknown }
    }
}

/// Stores doomed files and makes one tree of them, in batches, in path order.
pub struct Keeper<'a> {
    repository: &'a Repository,
    root: &'a OwnedFd,
    engine: Option<Engine>,
    trees: TreeStack,
    /// The last entry, if it is an empty directory: something of it may follow.
    held: Option<StagedEntry>,
    /// The last file or link: nothing lies below it.
    last: Option<RepoPath>,
    is_empty: bool,
}

impl<'a> Keeper<'a> {
    /// For the work tree at `root`. Nothing is made before there is something to keep.
    pub fn new(repository: &'a Repository, root: &'a OwnedFd) -> Self {
        Self {
            repository,
            root,
            engine: None,
            trees: TreeStack::default(),
            held: None,
            last: None,
            is_empty: true,
        }
    }

    /// Stores what is there now at `doomed`, which comes in path order behind what was kept
    /// before. What was read is noted: it may be replaced. Returns what could not be stored, and
    /// why: it must not be overwritten.
    pub fn keep(
        &mut self,
        doomed: &[Doomed],
        staging: &BinaryStagingArea,
    ) -> Result<Vec<(RepoPath, String)>> {
        let (mut tasks, mut kept, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for Doomed { path, held } in doomed {
            let known = match held {
                Held::Unknown => None,
                Held::AsStaged => staging.get(path.as_bytes()),
                Held::Stored(kind, size) => {
                    let stat = FileStat { size: *size, ..FileStat::default() };
                    Some(StagedEntry { path: path.clone(), kind: kind.clone(), stat, racy: true })
                }
            };
            match known.map_or_else(|| self.look(path), |entry| Ok(Seen::Known(entry))) {
                Ok(Seen::Known(entry)) => kept.push(entry),
                Ok(Seen::Link(entry)) => {
                    self.repository.note_stored(path, &entry.stat);
                    kept.push(entry);
                }
                Ok(Seen::File(task)) => tasks.push(task),
                Ok(Seen::Nothing) => {}
                Err(error) => failed.push((path.clone(), error.to_string())),
            }
        }
        if kept.is_empty() && tasks.is_empty() {
            return Ok(failed);
        }
        let source = WorkTreeSource(self.root);
        let engine = match &mut self.engine {
            Some(engine) => engine,
            empty => empty.insert(self.repository.engine()?),
        };
        if !tasks.is_empty() {
            // Whether somebody receives them, the run itself tells.
            let run = ParallelProcessor::new(engine, &source).run(|feeder| feeder.offer(0, tasks));
            let output = run?.0;
            let skipped = output.skipped.into_iter();
            failed.extend(skipped.map(|(path, cause)| (path, cause.to_string())));
            for file in &output.stored {
                self.repository.note_stored(&file.path, &file.stat);
            }
            kept.extend(output.stored.into_iter().map(|file| StagedEntry {
                path: file.path,
                kind: StagedKind::File { executable: file.executable, content: file.content },
                stat: file.stat,
                racy: true,
            }));
        }
        kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.enter(kept)?;
        Ok(failed)
    }

    /// Enters entries whose bytes are stored, in path order behind those before.
    pub fn enter(&mut self, entries: Vec<StagedEntry>) -> Result<()> {
        let mut rest = self.held.take().into_iter().chain(entries).peekable();
        let mut entries = Vec::new();
        while let Some(entry) = rest.next() {
            if let Some(last) = self.last.as_ref().filter(|last| entry.path.is_within(last)) {
                if *last == entry.path {
                    continue;
                }
                // Somebody replaced the directory while it was looked at.
                let why = format!("'{last}' changed meanwhile");
                return Err(RepoError::CannotKeep { path: entry.path, why });
            }
            if entry.kind != StagedKind::EmptyDir {
                self.last = Some(entry.path.clone());
            }
            match rest.peek() {
                _ if entry.kind != StagedKind::EmptyDir => entries.push(entry),
                // It was staged as empty, and is not empty any more.
                Some(next) if next.path.is_within(&entry.path) => {}
                Some(_) => entries.push(entry),
                None => self.held = Some(entry),
            }
        }
        self.push(&entries)
    }

    fn push(&mut self, entries: &[StagedEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.is_empty = false;
        let engine = match &mut self.engine {
            Some(engine) => engine,
            empty => empty.insert(self.repository.engine()?),
        };
        let trees = &mut self.trees;
        engine.write_objects(&WorkTreeSource(self.root), |worker| {
            entries.iter().try_for_each(|entry| trees.push(&entry.view(), worker))
        })?;
        Ok(())
    }

    fn look(&self, path: &RepoPath) -> std::io::Result<Seen> {
        let entry = |kind, stat| StagedEntry { path: path.clone(), kind, stat, racy: true };
        Ok(match stat_one(self.root, path)? {
            Some((PathKind::File { .. }, stat)) => {
                Seen::File(FileTask { path: path.clone(), size: stat.size, previous: None })
            }
            Some((PathKind::Symlink, stat)) => {
                let target = read_link(self.root, path)?;
                check_target(&target).map_err(std::io::Error::other)?;
                Seen::Link(entry(StagedKind::Symlink { target }, stat))
            }
            // A directory that holds something is never overwritten.
            Some((PathKind::Dir | PathKind::Other, _)) | None => Seen::Nothing,
        })
    }

    /// The tree of everything kept; none if nothing was.
    pub fn finish(mut self) -> Result<Option<TreeId>> {
        let held: Vec<StagedEntry> = self.held.take().into_iter().collect();
        self.push(&held)?;
        let Self { engine: Some(engine), trees, is_empty: false, root, .. } = self else {
            return Ok(None);
        };
        let totals = engine.write_objects(&WorkTreeSource(root), |worker| trees.finish(worker))?;
        Ok(Some(totals.tree))
    }
}

impl Repository {
    /// One tree of two that were made of single paths: what is in `over` counts.
    pub(super) fn overlaid(
        &self,
        under: Option<TreeId>,
        over: Option<TreeId>,
    ) -> Result<Option<TreeId>> {
        let (Some(tree), Some(over)) = (under, over) else { return Ok(over.or(under)) };
        let mut entries = Vec::new();
        for change in TreeDiff::new(self.objects()?, None, Some(over)) {
            let TreeChange { path, new, .. } = change?;
            entries.push((path, new));
        }
        let under = TreeTotals { tree, files: 0, bytes: 0 };
        Ok(Some(self.write_edited(under, &entries)?.tree))
    }
}

/// What lies at a doomed path.
enum Seen {
    /// Something that needs no reading.
    Known(StagedEntry),
    /// A link, which was read.
    Link(StagedEntry),
    /// A file to be read.
    File(FileTask),
    /// Nothing that has bytes.
    Nothing,
}
