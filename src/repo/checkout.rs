//! Writing stored files into a directory: each block is decoded once, every chunk verified before
//! its bytes reach a file, every file moved into place whole.
//!
//! Directories are made first, files come in the order of the blocks that hold them, symlinks last,
//! so that no write can pass through a link.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::bounded;

use super::diff_trees::CommittedEntry;
use super::read::{ByteRange, read_content};
use super::worktree::{WorkTree, WorkTreeError};
use super::{RepoError, Result};
use crate::id::ObjectId;
use crate::path::RepoPath;
use crate::progress::Monitor;
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::Content;
use crate::storage::format::pack::BlockKind;
use crate::storage::objects::Objects;
use crate::storage::pack_store::{BlockKey, Location, StoreError, verified};
use crate::storage::queues::{CancelToken, FirstError};

/// Files that are planned together: bounds the memory of the plan.
const PLAN: usize = 65_536;

/// What a checkout did.
#[derive(Debug, Default)]
pub struct CheckoutReport {
    /// Files, links and empty directories written.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be written, and why.
    pub skipped: Vec<(RepoPath, String)>,
}

/// A file of one chunk, waiting for its block.
struct SmallFile {
    path: RepoPath,
    executable: bool,
    id: ObjectId,
    location: Location,
}

struct Link {
    path: RepoPath,
    target: Vec<u8>,
}

/// Writes entries below a directory.
pub struct Checkout<'a> {
    objects: &'a Objects,
    work_tree: &'a WorkTree,
    threads: usize,
    cancel: &'a CancelToken,
    monitor: &'a dyn Monitor,
    links: Vec<Link>,
    files: AtomicU64,
    bytes: AtomicU64,
    skipped: Mutex<Vec<(RepoPath, String)>>,
}

impl<'a> Checkout<'a> {
    /// A checkout into `work_tree`.
    pub fn new(
        objects: &'a Objects,
        work_tree: &'a WorkTree,
        threads: usize,
        cancel: &'a CancelToken,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            objects,
            work_tree,
            threads,
            cancel,
            monitor,
            links: Vec::new(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            skipped: Mutex::default(),
        }
    }

    /// Writes everything.
    pub fn run(
        mut self,
        entries: impl Iterator<Item = Result<CommittedEntry>>,
    ) -> Result<CheckoutReport> {
        let mut small: HashMap<BlockKey, Vec<SmallFile>> = HashMap::new();
        let (mut planned, mut last_dir, mut in_the_way) = (0, None, None);
        for entry in entries {
            self.check_cancel()?;
            let entry = entry?;
            let parent = entry.path.parent();
            if parent != last_dir {
                in_the_way = match parent.as_ref().filter(|dir| !dir.is_root()) {
                    Some(dir) => self.make_dir(dir)?,
                    None => None,
                };
                last_dir = parent;
            }
            if let Some(why) = &in_the_way {
                self.skip(&entry.path, why.clone());
                continue;
            }
            planned += self.plan(entry, &mut small)?;
            if planned >= PLAN {
                self.write_small(std::mem::take(&mut small))?;
                planned = 0;
            }
        }
        self.write_small(small)?;
        for link in std::mem::take(&mut self.links) {
            let written = self.work_tree.write_symlink(&link.path, &link.target, false);
            self.note(&link.path, 0, written)?;
        }
        let skipped = self.skipped.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(CheckoutReport {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            skipped,
        })
    }

    fn skip(&self, path: &RepoPath, why: String) {
        let mut skipped = self.skipped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        skipped.push((path.clone(), why));
    }

    /// Makes a directory; answers why the files in it must be left out.
    fn make_dir(&self, dir: &RepoPath) -> Result<Option<String>> {
        match self.work_tree.ensure_dir(dir) {
            Ok(()) => Ok(None),
            Err(error @ WorkTreeError::Obstructed { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    fn check_cancel(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    /// Writes an entry at once or files it for later; returns how many were filed.
    fn plan(
        &mut self,
        entry: CommittedEntry,
        small: &mut HashMap<BlockKey, Vec<SmallFile>>,
    ) -> Result<usize> {
        let CommittedEntry { path, kind, size } = entry;
        match kind {
            StagedKind::EmptyDir => {
                let made = self.work_tree.ensure_dir(&path);
                self.note(&path, 0, made)?;
            }
            StagedKind::Symlink { target } => self.links.push(Link { path, target }),
            StagedKind::File { executable, content: Content::Empty } => {
                let written = self.work_tree.write_small(&path, executable, b"", false);
                self.note(&path, 0, written)?;
            }
            StagedKind::File { executable, content: Content::Chunk(id) } => {
                let id = ObjectId::from(id);
                let location = self.objects.reader().locate(&id)?;
                if u64::from(location.chunk.len) != size {
                    let why = format!("chunk {id} has {} bytes, not {size}", location.chunk.len);
                    return Err(StoreError::Block {
                        pack: location.pack,
                        block: location.chunk.block,
                        why,
                    }
                    .into());
                }
                let key = (location.pack, location.chunk.block);
                small.entry(key).or_default().push(SmallFile { path, executable, id, location });
                return Ok(1);
            }
            StagedKind::File { executable, content } => {
                self.write_large(&path, executable, &content, size)?;
            }
        }
        Ok(0)
    }

    /// Counts what was written; damage to one name of the work tree is noted and the rest goes on.
    fn note<T>(
        &self,
        path: &RepoPath,
        bytes: u64,
        written: std::result::Result<T, WorkTreeError>,
    ) -> Result<()> {
        match written {
            Ok(_) => {
                self.files.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.monitor.advance(1, bytes);
                Ok(())
            }
            Err(error @ WorkTreeError::Obstructed { .. }) => {
                self.skip(path, error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_large(
        &self,
        path: &RepoPath,
        executable: bool,
        content: &Content,
        size: u64,
    ) -> Result<()> {
        let range = ByteRange { start: 0, end: size };
        let written = self.work_tree.write_file(path, executable, false, |sink| {
            read_content(self.objects, content, size, range, self.threads, self.cancel, |part| {
                part.slices().try_for_each(|bytes| sink.write(bytes)).map_err(RepoError::from)
            })
        });
        match written {
            Err(RepoError::WorkTree(error)) => self.note(path, size, Err::<(), _>(error)),
            written => self.note(path, size, Ok(written?)),
        }
    }

    /// Writes files of one chunk, block by block, on all threads.
    fn write_small(&self, blocks: HashMap<BlockKey, Vec<SmallFile>>) -> Result<()> {
        let mut blocks: Vec<(BlockKey, Vec<SmallFile>)> = blocks.into_iter().collect();
        blocks.sort_unstable_by_key(|(key, _)| *key);
        let errors = FirstError::new(self.cancel.clone());
        let (sender, jobs) = bounded::<(BlockKey, Vec<SmallFile>)>(self.threads * 2);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let (jobs, errors) = (jobs.clone(), &errors);
                scope.spawn(move || {
                    let mut plain = Vec::new();
                    for (key, files) in jobs {
                        if self.cancel.is_cancelled() {
                            break;
                        }
                        errors.note(self.write_block(key, &files, &mut plain));
                    }
                });
            }
            drop(jobs);
            blocks.into_iter().try_for_each(|job| sender.send(job)).ok();
            drop(sender);
        });
        errors.into_result()?;
        self.check_cancel()
    }

    fn write_block(&self, key: BlockKey, files: &[SmallFile], plain: &mut Vec<u8>) -> Result<()> {
        self.objects.reader().read_block(key, plain)?;
        for file in files {
            self.check_cancel()?;
            let bytes = verified(BlockKind::Data, &file.id, &file.location, plain)?;
            let written = self.work_tree.write_small(&file.path, file.executable, bytes, false);
            self.note(&file.path, bytes.len() as u64, written)?;
        }
        Ok(())
    }
}
