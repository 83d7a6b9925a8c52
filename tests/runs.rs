//! What a run that stores files promises, where the timing cannot be had through the binary.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use digstore::config::Config;
use digstore::id::ChunkId;
use digstore::path::RepoPath;
use digstore::progress::{Counters, Monitor, NullMonitor, Phase};
use digstore::repo::{Place, Repository};
use digstore::storage::adaptive::Planner;
use digstore::storage::adaptive::limits::Limits;
use digstore::storage::cache::BufferPool;
use digstore::storage::engine::{EngineError, FileSource, FileTask, OpenedFile, RunOutput};
use digstore::storage::format::object::Content;
use digstore::storage::format::pack::BlockKind;
use digstore::storage::format::run_history::RunHistory;
use digstore::storage::format::staging::FileStat;
use digstore::storage::objects::ObjectSink;
use digstore::storage::parallel_processor::ParallelProcessor;
use tempfile::TempDir;

/// One file with any name.
struct OneFile {
    bytes: Vec<u8>,
    /// Time that opening takes.
    delay: Duration,
}

impl FileSource for OneFile {
    fn open(&self, _: &RepoPath) -> io::Result<OpenedFile> {
        std::thread::sleep(self.delay);
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.bytes)?;
        let stat = self.stat(&file)?;
        Ok(OpenedFile { file, stat, is_regular: true, executable: false })
    }

    fn stat(&self, file: &File) -> io::Result<FileStat> {
        let found = file.metadata()?;
        Ok(FileStat { size: found.len(), ino: found.ino(), ..FileStat::default() })
    }
}

fn repository(config: Config, monitor: Arc<dyn Monitor>) -> (TempDir, Repository) {
    let dir = TempDir::new().unwrap();
    let place = Place::at(dir.path());
    Repository::init(&place).unwrap();
    (dir, Repository::open(place, config, monitor).unwrap())
}

/// Stores a file of which the walk said that it has `size` bytes.
fn store(repository: &Repository, source: &OneFile, size: u64) -> RunOutput {
    let engine = repository.engine().unwrap();
    let task = FileTask { path: RepoPath::new("file").unwrap(), size, previous: None };
    let processor = ParallelProcessor::new(&engine, source);
    let (output, fed) = processor.run(|feeder| feeder.offer(0, [task])).unwrap();
    fed.unwrap();
    output
}

#[test]
fn a_run_that_is_stopped_before_its_packs_are_sealed_has_failed() {
    let (_dir, repository) = repository(Config::default(), Arc::new(NullMonitor::default()));
    let engine = repository.engine().unwrap();
    let source = OneFile { bytes: Vec::new(), delay: Duration::ZERO };
    for kind in [BlockKind::Data, BlockKind::Commit] {
        let id = kind.id_of(b"bytes");
        let written = engine.write_objects(&source, |worker| {
            worker.put(kind, id, b"bytes".to_vec())?;
            // As Ctrl-C does while the writer seals.
            engine.cancel.cancel();
            Ok(())
        });
        let is_stored = engine.store.contains(&id);
        assert!(matches!(written, Err(EngineError::Interrupted)) && !is_stored, "{written:?}");
    }
}

#[test]
fn a_file_that_shrank_is_stored_as_a_small_one() {
    let (_dir, repository) = repository(Config::default(), Arc::new(NullMonitor::default()));
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..64 << 10).map(|_| next()).collect();
    let content = Content::Chunk(ChunkId::of(&bytes));
    let source = OneFile { bytes, delay: Duration::ZERO };
    for size in [64 << 10, 300 << 20] {
        let stored = store(&repository, &source, size).stored;
        assert_eq!(stored.iter().map(|file| file.content).collect::<Vec<_>>(), [content], "{size}");
    }
    let source = OneFile { bytes: Vec::new(), delay: Duration::ZERO };
    assert_eq!(store(&repository, &source, 300 << 20).stored[0].content, Content::Empty);
}

/// Holds each thread that stores until another one does too.
#[derive(Default)]
struct Meeting {
    counters: Counters,
    threads: Mutex<HashSet<ThreadId>>,
    came: Condvar,
}

impl Monitor for Meeting {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn phase(&self, _: Phase) {}

    fn warn(&self, message: &str) {
        assert_eq!(message, "", "nothing to warn of");
    }

    fn advance(&self, _: u64, bytes: u64) {
        if bytes > 0 {
            let mut threads = self.threads.lock().unwrap();
            threads.insert(std::thread::current().id());
            self.came.notify_all();
            let patience = Duration::from_secs(10);
            let alone = |threads: &mut HashSet<ThreadId>| threads.len() < 2;
            let (_threads, waited) =
                self.came.wait_timeout_while(threads, patience, alone).unwrap();
            assert!(!waited.timed_out(), "nobody else came");
        }
    }
}

#[test]
fn the_others_wait_for_the_last_large_file_to_be_opened() {
    let mut config = Config::default();
    config.performance.max_worker_threads = 4;
    let (_dir, repository) = repository(config, Arc::new(Meeting::default()));
    let source = OneFile { bytes: vec![1; 120 << 20], delay: Duration::from_millis(100) };
    let output = store(&repository, &source, 120 << 20);
    assert_eq!(output.stored.len(), 1);
}

#[test]
fn a_run_ends_however_little_memory_the_machine_has() {
    let (_dir, repository) = repository(Config::default(), Arc::new(NullMonitor::default()));
    let bytes: Vec<u8> = (0..6u32 << 20)
        .map(|at| (at.wrapping_mul(0x9e37_79b9).rotate_left(at % 13) >> 9) as u8)
        .collect();
    let source = OneFile { bytes, delay: Duration::ZERO };
    for available in [0, 1 << 20, 2 << 20, 3 << 20, 4 << 20, 6 << 20, 12 << 20] {
        let mut engine = repository.engine().unwrap();
        let lookahead = engine.chunker.lookahead();
        let limits = Limits::new(repository.config(), 2, Some(available), lookahead);
        engine.buffers = BufferPool::new(limits.pool_bytes());
        engine.planner = Planner::new(limits, RunHistory::default);
        let path = |number: u32| RepoPath::new(format!("file{number}")).unwrap();
        let task = |number| FileTask { path: path(number), size: 6 << 20, previous: None };
        let processor = ParallelProcessor::new(&engine, &source);
        let (output, _) = processor.run(|feeder| feeder.offer(0, (0..3).map(task))).unwrap();
        let stats = engine.buffers.stats();
        assert!(output.stored.len() == 3 && stats.overdraft == 0, "{available}: {stats:?}");
    }
}
