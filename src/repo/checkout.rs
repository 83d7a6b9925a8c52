//! Writing stored files into a directory: each block is decoded once, every chunk verified before
//! its bytes reach a file, every file moved into place whole.
//!
//! Directories are made first, files come in the order of the blocks that hold them, symlinks last,
//! so that no write can pass through a link.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::diff_trees::CommittedEntry;
use super::ignore::{IN_GIT, leads_into_git};
use super::read::{ByteRange, ContentReader, Group};
use super::worktree::{NewFile, WorkTree, WorkTreeError};
use super::{RepoError, Repository, Result};
use crate::id::ObjectId;
use crate::path::RepoPath;
use crate::progress::Monitor;
use crate::storage::binary_staging::StagedKind;
use crate::storage::format::object::Content;
use crate::storage::format::pack::BlockKind;
use crate::storage::pack_store::{BlockKey, Location, StoreError, verified};
use crate::storage::queues::{CancelToken, FirstError};

/// What a checkout did.
#[derive(Debug, Default)]
pub struct CheckoutReport {
    /// Files, links and empty directories written.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be written, and why.
    pub skipped: Vec<(RepoPath, String)>,
    /// Temporary files of a killed checkout that were removed.
    pub swept: u64,
}

impl Repository {
    /// Names what was left out of the work tree, and why.
    pub(super) fn tell_skipped(&self, skipped: &[(RepoPath, String)]) {
        for (path, why) in skipped {
            self.monitor().warn(&format!("'{path}' was left out: {why}"));
        }
    }
}

impl CheckoutReport {
    /// Adds what another one did.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.skipped.extend(other.skipped);
    }
}

/// A file of one chunk, waiting for its block.
struct SmallFile {
    path: RepoPath,
    executable: bool,
    id: ObjectId,
    location: Location,
}

impl SmallFile {
    /// Bytes of memory while it waits.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.path.as_bytes().len()
    }
}

/// Files of one block.
#[derive(Default)]
struct Gathered {
    files: Vec<SmallFile>,
    /// Chunks in the block.
    chunks: usize,
}

/// A file of several chunks, written by all threads. Whoever lets go of it last gives it its name, if
/// all of it was written; otherwise it vanishes.
struct LargeFile {
    file: NewFile,
    size: u64,
    written: AtomicU64,
}

/// What a thread does in one go.
enum Job {
    Block(BlockKey, Vec<SmallFile>),
    Group(Arc<LargeFile>, Group),
}

struct Link {
    path: RepoPath,
    target: Vec<u8>,
}

/// A block and the files in it that are wanted.
type BlockFiles = (BlockKey, Vec<SmallFile>);

/// What is planned and not handed to a thread yet.
#[derive(Default)]
struct Planned {
    small: HashMap<BlockKey, Gathered>,
    links: Vec<Link>,
    /// Bytes of memory of both.
    bytes: usize,
}

impl Planned {
    /// Files a file under its block, of which `chunks_of` tells how many chunks it holds. Once
    /// there are as many files, none is likely to come any more, and the block is given out.
    fn push(
        &mut self,
        file: SmallFile,
        chunks_of: impl FnOnce(BlockKey) -> Result<usize>,
    ) -> Result<Option<BlockFiles>> {
        let key = (file.location.pack, file.location.chunk.block);
        let gathered = match self.small.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Gathered { files: Vec::new(), chunks: chunks_of(key)? })
            }
        };
        self.bytes += file.cost();
        gathered.files.push(file);
        let is_complete = gathered.files.len() >= gathered.chunks;
        let complete = if is_complete { self.small.remove(&key) } else { None };
        Ok(complete.map(|gathered| {
            self.bytes -= gathered.files.iter().map(SmallFile::cost).sum::<usize>();
            (key, gathered.files)
        }))
    }

    /// All blocks, in their order.
    fn take_blocks(&mut self) -> Vec<BlockFiles> {
        let mut blocks: Vec<_> =
            self.small.drain().map(|(key, gathered)| (key, gathered.files)).collect();
        blocks.sort_unstable_by_key(|(key, _)| *key);
        blocks
    }
}

/// Writes entries below a directory.
pub struct Checkout<'a> {
    reader: ContentReader<'a>,
    work_tree: &'a WorkTree,
    monitor: &'a dyn Monitor,
    /// Most bytes of what is planned.
    plan_bytes: usize,
    files: AtomicU64,
    bytes: AtomicU64,
    skipped: Mutex<Vec<(RepoPath, String)>>,
}

impl<'a> Checkout<'a> {
    /// A checkout into `work_tree` that holds at most `plan_bytes` of what it plans.
    pub fn new(
        reader: ContentReader<'a>,
        work_tree: &'a WorkTree,
        plan_bytes: usize,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            reader,
            work_tree,
            monitor,
            plan_bytes,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            skipped: Mutex::default(),
        }
    }

    /// Writes everything. This thread plans and makes the directories; the others read and write.
    pub fn run(
        self,
        entries: impl Iterator<Item = Result<CommittedEntry>>,
    ) -> Result<CheckoutReport> {
        // A failure here stops these threads, not the command: it has its own error to report.
        let stop = CancelToken::default();
        let errors = FirstError::new(stop.clone());
        let (sender, jobs) = bounded::<Job>(self.reader.threads * 2);
        let planned = std::thread::scope(|scope| {
            for _ in 0..self.reader.threads {
                let (this, jobs, errors, stop) = (&self, jobs.clone(), &errors, &stop);
                scope.spawn(move || this.work(jobs, errors, stop));
            }
            drop(jobs);
            let planned = self.plan_all(entries, &sender, &stop);
            if planned.is_err() {
                stop.cancel();
            }
            drop(sender);
            planned
        });
        errors.into_result()?;
        self.check_cancel()?;
        self.write_links(planned?)?;
        Ok(CheckoutReport {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            skipped: self.skipped.into_inner().unwrap_or_else(PoisonError::into_inner),
            swept: 0,
        })
    }

    /// One thread; after a failure it empties the queue, so that the planner does not wait.
    fn work(&self, jobs: Receiver<Job>, errors: &FirstError<RepoError>, stop: &CancelToken) {
        for job in jobs {
            if !stop.is_cancelled() {
                errors.note(self.check_cancel().and_then(|()| self.write(job)));
            }
        }
    }

    fn write(&self, job: Job) -> Result<()> {
        match job {
            Job::Block(key, files) => self.write_block(key, &files),
            Job::Group(file, group) => self.write_group(file, group),
        }
    }

    /// Plans entries until there are none; answers the links, which come last.
    fn plan_all(
        &self,
        entries: impl Iterator<Item = Result<CommittedEntry>>,
        jobs: &Sender<Job>,
        stop: &CancelToken,
    ) -> Result<Vec<Link>> {
        let mut planned = Planned::default();
        let (mut last_dir, mut in_the_way) = (None, None);
        for entry in entries {
            self.check_cancel()?;
            if stop.is_cancelled() {
                break;
            }
            let entry = entry?;
            if leads_into_git(entry.path.as_bytes()) {
                self.skip(&entry.path, IN_GIT.to_owned());
                continue;
            }
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
            self.plan(entry, &mut planned, jobs)?;
            if planned.bytes > self.plan_bytes {
                Self::send(planned.take_blocks(), jobs);
                self.write_links(std::mem::take(&mut planned.links))?;
                planned.bytes = 0;
            }
        }
        Self::send(planned.take_blocks(), jobs);
        Ok(planned.links)
    }

    /// Hands blocks over; workers that are gone have noted why.
    fn send(blocks: impl IntoIterator<Item = BlockFiles>, jobs: &Sender<Job>) {
        for (key, files) in blocks {
            let _ = jobs.send(Job::Block(key, files));
        }
    }

    fn skip(&self, path: &RepoPath, why: String) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
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
        if self.reader.cancel.is_cancelled() { Err(RepoError::Interrupted) } else { Ok(()) }
    }

    /// Writes an entry at once, hands it over, or files it for later.
    fn plan(&self, entry: CommittedEntry, planned: &mut Planned, jobs: &Sender<Job>) -> Result<()> {
        let CommittedEntry { path, kind, size } = entry;
        match kind {
            StagedKind::EmptyDir => {
                let made = self.work_tree.ensure_dir(&path);
                self.note(&path, 0, made)?;
            }
            StagedKind::Symlink { target } => {
                planned.bytes += size_of::<Link>() + path.as_bytes().len() + target.len();
                planned.links.push(Link { path, target });
            }
            StagedKind::File { executable, content: Content::Empty } => {
                let written = self.work_tree.write_small(&path, executable, b"", false);
                self.note(&path, 0, written)?;
            }
            StagedKind::File { executable, content: Content::Chunk(id) } => {
                let id = ObjectId::from(id);
                let location = self.reader.objects.reader().locate(&id)?;
                if u64::from(location.chunk.len) != size {
                    let why = format!("chunk {id} has {} bytes, not {size}", location.chunk.len);
                    let block = location.chunk.block;
                    return Err(StoreError::Block { pack: location.pack, block, why }.into());
                }
                let file = SmallFile { path, executable, id, location };
                let store = self.reader.objects.reader().store();
                let chunks_of = |(pack, block): BlockKey| {
                    Ok(store.pack(&pack)?.block(block)?.chunk_count as usize)
                };
                Self::send(planned.push(file, chunks_of)?, jobs);
            }
            StagedKind::File { executable, content } => {
                self.plan_large(&path, executable, &content, size, jobs)?;
            }
        }
        Ok(())
    }

    /// Starts a file and hands its groups over.
    fn plan_large(
        &self,
        path: &RepoPath,
        executable: bool,
        content: &Content,
        size: u64,
        jobs: &Sender<Job>,
    ) -> Result<()> {
        let file = match self.work_tree.new_file(path, executable) {
            Ok(file) => file,
            Err(error) => return self.note(path, 0, Err::<(), _>(error)),
        };
        file.sink().extend_to(size);
        let file = Arc::new(LargeFile { file, size, written: AtomicU64::new(0) });
        for group in self.reader.groups(content, size, ByteRange { start: 0, end: size }) {
            // Workers that are gone have noted why.
            let _ = jobs.send(Job::Group(Arc::clone(&file), group?));
        }
        self.complete(file)
    }

    fn write_group(&self, file: Arc<LargeFile>, group: Group) -> Result<()> {
        let reader = self.reader.objects.reader();
        let part = group.begin(reader)?.finish(reader)?;
        part.for_each_place(|at, bytes| Ok(file.file.sink().write_at(at, bytes)?))?;
        file.written.fetch_add(part.len(), Ordering::AcqRel);
        self.monitor.advance(0, part.len());
        self.complete(file)
    }

    /// Lets go of a large file.
    fn complete(&self, file: Arc<LargeFile>) -> Result<()> {
        let Some(LargeFile { file, size, written }) = Arc::into_inner(file) else {
            return Ok(());
        };
        if written.into_inner() == size {
            let path = file.path().clone();
            let published = file.publish(false);
            self.bytes.fetch_add(if published.is_ok() { size } else { 0 }, Ordering::Relaxed);
            self.note(&path, 0, published)?;
        }
        Ok(())
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
            Err(error) if error.is_of_one_path() => {
                self.skip(path, error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_block(&self, key: BlockKey, files: &[SmallFile]) -> Result<()> {
        let reader = self.reader.objects.reader();
        // All files of a block come together, so that it is cached only when it comes again.
        let block = reader.finish(reader.begin(key, usize::MAX)?)?;
        for file in files {
            self.check_cancel()?;
            let bytes = verified(BlockKind::Data, &file.id, &file.location, &block)?;
            let written = self.work_tree.write_small(&file.path, file.executable, bytes, false);
            self.note(&file.path, bytes.len() as u64, written)?;
        }
        Ok(())
    }

    fn write_links(&self, links: Vec<Link>) -> Result<()> {
        for link in links {
            let written = self.work_tree.write_symlink(&link.path, &link.target, false);
            self.note(&link.path, 0, written)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackId;
    use crate::storage::format::pack::ChunkEntry;

    fn file(block: u32) -> SmallFile {
        SmallFile {
            path: RepoPath::new("a/b").unwrap(),
            executable: false,
            id: BlockKind::Data.id_of(b"x"),
            location: Location {
                pack: PackId::of(b"p"),
                chunk: ChunkEntry { block, offset: 0, len: 1 },
            },
        }
    }

    #[test]
    fn a_block_is_given_out_when_all_its_files_came() {
        let mut planned = Planned::default();
        let mut push = |block| planned.push(file(block), |_| Ok(3)).unwrap();
        for number in [0, 1, 0, 2, 1] {
            assert!(push(number).is_none());
        }
        let ((_, block), files) = push(1).unwrap();
        assert_eq!((block, files.len()), (1, 3));
        assert!(push(1).is_none(), "the same content under another name comes again");
        assert_eq!(planned.bytes, 4 * file(0).cost());
        let blocks: Vec<u32> = planned.take_blocks().iter().map(|block| block.0.1).collect();
        assert_eq!(blocks, [0, 1, 2]);
        assert!(planned.small.is_empty());
    }
}
