//! One round of an import: contents, trees and commits that are not in a sealed pack yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::super::trees::{Stop, TreePages, edit_tree_by};
use super::super::{RepoError, Result};
use crate::id::{CommitId, ObjectId, TreeId};
use crate::path::RepoPath;
use crate::storage::batch::BatchProcessor;
use crate::storage::engine::{Engine, EngineError, FileSource, OpenedFile, Worker};
use crate::storage::format::object::{Commit, Content, EntryKind, MAX_TARGET, TreePage};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::staging::FileStat;
use crate::storage::objects::{ObjectSink, TreeTotals};
use crate::storage::pack_store::StoreError;
use crate::storage::streaming::{StreamError, StreamingChunkingEngine};

/// Bytes of tree pages that end a round: they are in memory until it is sealed.
const MAX_PAGES: usize = 48 << 20;
/// Bytes of possible link targets that are kept.
const MAX_SMALL: usize = 16 << 20;
/// Commits that end a round.
const MAX_COMMITS: usize = 50_000;
/// A round ends after this time, so that an import that is killed has lost no more.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The pipelines of an import: contents come as streams.
pub(super) struct Pipes<'e> {
    pub(super) engine: &'e Engine,
    batches: BatchProcessor,
    streaming: StreamingChunkingEngine,
}

/// No files are read.
pub(super) struct NoFiles;

impl FileSource for NoFiles {
    fn open(&self, _: &RepoPath) -> io::Result<OpenedFile> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stat(&self, _: &File) -> io::Result<FileStat> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<'e> Pipes<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        let (batches, streaming) =
            (BatchProcessor::new(engine), StreamingChunkingEngine::new(engine));
        Self { engine, batches, streaming }
    }

    /// Runs one round; when it returns, all that `work` stored is durable.
    pub(super) fn round<R: Send>(
        &self,
        work: impl FnOnce(&mut Round<'_, '_>) -> Result<R> + Send,
    ) -> Result<R> {
        self.engine.write_objects(&NoFiles, |worker| {
            Ok(work(&mut Round {
                pipes: self,
                worker,
                pages: RefCell::default(),
                totals: HashMap::new(),
                small: HashMap::new(),
                small_bytes: 0,
                began: Instant::now(),
            }))
        })?
    }
}

/// What is under way.
pub(super) struct Round<'a, 'w> {
    pipes: &'a Pipes<'a>,
    pub(super) worker: &'a mut Worker<'w>,
    pages: RefCell<Fresh>,
    /// The trees of the commits of this round.
    totals: HashMap<CommitId, TreeTotals>,
    /// Contents that may be the target of a link.
    small: HashMap<ObjectId, Vec<u8>>,
    small_bytes: usize,
    began: Instant,
}

/// Tree pages of this round.
#[derive(Default)]
struct Fresh {
    pages: HashMap<TreeId, Vec<u8>>,
    bytes: usize,
}

impl Round<'_, '_> {
    /// Whether it is time to make durable what there is.
    pub(super) fn is_full(&self) -> bool {
        self.pages.borrow().bytes >= MAX_PAGES
            || self.totals.len() >= MAX_COMMITS
            || self.began.elapsed() >= MAX_TIME
    }

    /// An error where the user wants an end.
    pub(super) fn check_cancel(&self) -> Result<()> {
        Ok(self.pipes.engine.check_cancel()?)
    }

    /// Stores a content; `failed` says what a reader that fails means.
    pub(super) fn content(
        &mut self,
        input: &mut dyn io::Read,
        failed: impl FnOnce(io::Error) -> RepoError,
    ) -> Result<(Content, u64)> {
        self.check_cancel()?;
        let mut input = Tee { input, head: Vec::new(), is_small: true };
        let stored =
            self.pipes.streaming.process_stream(&self.pipes.batches, self.worker, &mut input);
        let (size, content) = match stored {
            Ok(stored) => stored,
            Err(StreamError::Read(error)) => return Err(failed(error)),
            Err(StreamError::Engine(error)) => return Err(error.into()),
        };
        if let (Content::Chunk(id), true) = (content, input.is_small) {
            self.keep_small(id.into(), input.head);
        }
        Ok((content, size))
    }

    fn keep_small(&mut self, id: ObjectId, bytes: Vec<u8>) {
        self.small_bytes += bytes.len();
        if self.small_bytes > MAX_SMALL {
            self.small.clear();
            self.small_bytes = bytes.len();
        }
        self.small.insert(id, bytes);
    }

    /// The bytes of a content that is short enough for the target of a link: `None` when it must be
    /// made durable before it can be read.
    pub(super) fn target(&self, content: Content, size: u64) -> Result<Option<Vec<u8>>> {
        let id = match content {
            Content::Chunk(id) if size <= MAX_TARGET as u64 => ObjectId::from(id),
            // Too long or too short; its check says so.
            _ => return Ok(Some(vec![0; (size as usize).min(MAX_TARGET + 1)])),
        };
        if let Some(bytes) = self.small.get(&id) {
            return Ok(Some(bytes.clone()));
        }
        if self.pipes.engine.chunk_dedup.contains_key(&id) {
            return Ok(None);
        }
        Ok(Some(self.pipes.engine.objects.reader().read(BlockKind::Data, &id)?.clone()))
    }

    /// Stores the tree that `edits`, in path order, make of `base`.
    pub(super) fn tree(
        &mut self,
        base: Option<TreeTotals>,
        edits: &[(RepoPath, Option<EntryKind>)],
    ) -> Result<TreeTotals> {
        let (engine, pages) = (self.pipes.engine, &self.pages);
        let mut sink = Sink { worker: self.worker, pages };
        edit_tree_by(&Pages { engine, pages }, base, edits, &mut sink).map_err(|stop| match stop {
            Stop::Unreadable(error) => error.into(),
            Stop::Sink(error) => RepoError::from(error),
        })
    }

    /// The tree of a commit.
    pub(super) fn tree_of(&self, commit: CommitId) -> Result<TreeTotals> {
        if let Some(totals) = self.totals.get(&commit) {
            return Ok(*totals);
        }
        let Commit { tree, files, bytes, .. } = self.pipes.engine.objects.commit(&commit)?;
        Ok(TreeTotals { tree, files, bytes })
    }

    /// Stores a commit.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<CommitId> {
        let encoded = commit.encode_checked().map_err(RepoError::Unstorable)?;
        let id = CommitId::of(&encoded);
        self.worker.put(BlockKind::Commit, ObjectId::from(id), encoded)?;
        let Commit { tree, files, bytes, .. } = *commit;
        self.totals.insert(id, TreeTotals { tree, files, bytes });
        Ok(id)
    }
}

/// Keeps the beginning of what is read.
struct Tee<'a> {
    input: &'a mut dyn io::Read,
    head: Vec<u8>,
    is_small: bool,
}

impl io::Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.is_small &= self.head.len() + read <= MAX_TARGET;
        if self.is_small {
            self.head.extend_from_slice(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Tree pages, those of this round included.
struct Pages<'a> {
    engine: &'a Engine,
    pages: &'a RefCell<Fresh>,
}

impl TreePages for Pages<'_> {
    fn tree_page(&self, id: &TreeId) -> std::result::Result<TreePage, StoreError> {
        match self.pages.borrow().pages.get(id) {
            Some(bytes) => TreePage::decode(bytes)
                .map_err(|source| StoreError::Object { id: (*id).into(), source }),
            None => self.engine.objects.tree_page(id),
        }
    }

    fn contains(&self, id: &TreeId) -> bool {
        self.pages.borrow().pages.contains_key(id)
            || self.engine.store.contains(&ObjectId::from(*id))
    }
}

/// Stores objects, and keeps tree pages until they can be read.
struct Sink<'a, 'w> {
    worker: &'a mut Worker<'w>,
    pages: &'a RefCell<Fresh>,
}

impl ObjectSink for Sink<'_, '_> {
    type Error = EngineError;

    fn put(
        &mut self,
        kind: BlockKind,
        id: ObjectId,
        bytes: Vec<u8>,
    ) -> std::result::Result<(), EngineError> {
        if kind == BlockKind::Tree && !self.worker.engine.store.contains(&id) {
            let mut fresh = self.pages.borrow_mut();
            fresh.bytes += bytes.len();
            fresh.pages.insert(id.into(), bytes.clone());
        }
        self.worker.put(kind, id, bytes)
    }
}
